//! Views: live lists that are always what filtering, sorting and cutting all visible records would give.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rota_engine::{
    Answer, Command, Config, Domains, Edit, Engine, Error, Fields, Input, JsonRecord, Now, OperationId, Output,
    Problem, Row, ServerEvent, Stored, ViewSpec,
};
use serde_json::{Value as Json, json};

use crate::server::version;
use crate::watcher::{Seen, Watcher};
use crate::world::{Echo, World};

fn spec(json: Json) -> ViewSpec {
    serde_json::from_value(json).unwrap()
}

// ---- one engine and its watchers

/// One engine without surroundings, and everybody who watches it.
struct Stage {
    engine: Engine<JsonRecord>,
    watchers: BTreeMap<u32, Watcher>,
    seen: Seen,
    operations: Vec<OperationId>,
    problems: Vec<Problem>,
    version: u64,
    notified: u32,
    /// Checking costs as much as everything else; tests of sheer numbers check at their end.
    checks: bool,
}

impl Stage {
    fn new() -> Self {
        let tables = json!([
            {"name": "jobs", "key": ["id"], "fields": ["id", "a", "b", "c", "note"], "indexed": ["a", "b", "c"]},
            {"name": "people", "key": ["id"], "fields": ["id", "a"], "indexed": ["a"]},
        ]);
        let config: Config = serde_json::from_value(json!({"app": "crm", "user": "maya", "tables": tables})).unwrap();
        let engine = Engine::new(config, Box::new(Domains), [7; 16], Now::default()).unwrap();
        let mut stage = Self {
            engine,
            watchers: BTreeMap::new(),
            seen: Seen::new(),
            operations: Vec::new(),
            problems: Vec::new(),
            version: 0,
            notified: 0,
            checks: true,
        };
        stage.drain();
        stage
    }

    fn try_tell(&mut self, input: Input<JsonRecord>) -> Result<Option<OperationId>, Error> {
        let result = self.engine.handle(input, Now::default());
        self.drain();
        result
    }

    fn tell(&mut self, input: Input<JsonRecord>) {
        let _ = self.try_tell(input);
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Persist { id, .. } => {
                    let stored = Input::OperationStored { id, stored: Stored::Now };
                    self.engine.handle(stored, Now::default()).unwrap();
                }
                Output::Notify(changes) => {
                    self.notified += 1;
                    let mut released = Vec::new();
                    for change in changes.records {
                        match change.record {
                            Some(record) => {
                                let record = (change.key.to_string(), record.fields().clone());
                                self.seen.insert(change.id, record);
                            }
                            None => drop(self.seen.remove(&change.id)),
                        }
                        if change.released {
                            released.push(change.id);
                        }
                    }
                    for change in &changes.views {
                        self.watchers.get_mut(&change.id).unwrap().hear(change, &self.seen);
                    }
                    let held = self.watchers.values().flat_map(|watcher| &watcher.window).map(|(id, _)| *id);
                    assert!(held.into_iter().all(|id| !released.contains(&id)), "a number in a window was given back");
                }
                Output::Report(problem) => self.problems.push(problem),
                _ => {}
            }
        }
        if self.checks {
            self.check();
        }
    }

    fn check(&self) {
        let of = |table: &str| -> Vec<(&str, &Fields)> {
            let is_there =
                |key: &str, record| self.engine.visible(table, key).is_some_and(|seen| seen.fields() == record);
            let records = self.seen.values().filter(|(key, record)| is_there(key, record));
            records.map(|(key, record)| (key.as_str(), record)).collect()
        };
        let (jobs, people) = (of("jobs"), of("people"));
        for (id, watcher) in &self.watchers {
            watcher.check(if watcher.spec.table == "jobs" { &jobs } else { &people }, &self.seen);
            let shown: Vec<_> = watcher.window.iter().map(|(id, _)| *id).collect();
            assert_eq!(self.engine.shown(*id), Some(shown));
        }
    }

    fn open(&mut self, id: u32, view: Json) -> &Watcher {
        let spec = spec(view);
        self.watchers.insert(id, Watcher::new(&spec));
        self.try_tell(Input::OpenView { id, spec }).unwrap();
        &self.watchers[&id]
    }

    fn refuse(&mut self, id: u32, view: Json) -> Error {
        let before = self.notified;
        let error = self.try_tell(Input::OpenView { id, spec: spec(view) }).unwrap_err();
        assert_eq!(self.notified, before, "something changed");
        error
    }

    fn close(&mut self, id: u32) {
        self.watchers.remove(&id);
        self.try_tell(Input::CloseView { id }).unwrap();
    }

    fn event(&mut self, table: &str, key: &str, record: Option<Json>) -> ServerEvent<JsonRecord> {
        self.version += 1;
        let record = record.map(|record| serde_json::from_value(record).unwrap());
        let row = Row { table: table.into(), key: key.into(), version: version(self.version), op: None, record };
        ServerEvent::Changed { row, partial: false }
    }

    fn put(&mut self, key: &str, fields: Json) {
        let event = self.event("jobs", key, Some(job(key, fields)));
        self.tell(Input::ServerChanged { events: vec![event] });
    }

    fn put_all(&mut self, rows: impl IntoIterator<Item = (String, Json)>) {
        let events = rows.into_iter().map(|(key, fields)| self.event("jobs", &key, Some(job(&key, fields)))).collect();
        self.tell(Input::ServerChanged { events });
    }

    fn delete(&mut self, key: &str) {
        let event = self.event("jobs", key, None);
        self.tell(Input::ServerChanged { events: vec![event] });
    }

    fn mutate(&mut self, command: Json) {
        let command: Command = serde_json::from_value(command).unwrap();
        if let Ok(Some(id)) = self.try_tell(Input::Mutate(command)) {
            self.operations.push(id);
        }
    }

    fn refuse_operation(&mut self, id: OperationId) {
        self.operations.retain(|other| *other != id);
        let answer = json!({"protocol": 1, "id": id, "table": "jobs", "key": "j1", "replayed": false,
            "outcome": "refused", "code": "forbidden", "message": "no"});
        let answer: Answer<JsonRecord> = serde_json::from_value(answer).unwrap();
        self.tell(Input::Answered { answer });
    }

    fn keys(&self, id: u32) -> Vec<String> {
        self.watchers[&id].keys(&self.seen)
    }

    fn told(&self, id: u32) -> u32 {
        self.watchers[&id].told
    }
}

fn job(key: &str, fields: Json) -> Json {
    let mut record = json!({"id": key, "a": null, "b": null, "c": null});
    record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    record
}

// ---- what a view is

#[test]
fn a_view_shows_what_is_there_when_it_opens_and_follows_from_then_on() {
    let mut stage = Stage::new();
    stage.put_all((0..5).map(|n| (format!("j{n}"), json!({"a": n % 3}))));
    let watcher = stage.open(1, json!({"table": "jobs", "sort": [{"field": "a"}], "limit": 3}));
    assert_eq!((watcher.total, watcher.told), (5, 1));
    assert_eq!(stage.keys(1), ["j0", "j3", "j1"]);
    stage.put("j9", json!({"a": 0.5}));
    assert_eq!(stage.keys(1), ["j0", "j3", "j9"]);
    assert_eq!(
        stage.watchers[&1].edits,
        [Edit::Remove { at: 2 }, Edit::Insert { at: 2, id: stage.watchers[&1].window[2].0 }]
    );
}

#[test]
fn a_view_of_an_empty_table_is_told_of_too() {
    let mut stage = Stage::new();
    let watcher = stage.open(1, json!({"table": "jobs", "figures": [{"name": "n", "kind": "count"}]}));
    assert_eq!((watcher.told, watcher.total, watcher.figures.as_slice()), (1, 0, &[Some(0.0)][..]));
}

#[test]
fn nobody_is_told_when_nothing_in_the_window_changes() {
    let mut stage = Stage::new();
    stage.put_all((0..100).map(|n| (format!("j{n:02}"), json!({"a": n, "b": "open"}))));
    let filter = json!({"eq": {"field": "b", "value": "open"}});
    stage.open(1, json!({"table": "jobs", "filter": filter, "sort": [{"field": "a"}], "limit": 10, "offset": 20}));
    stage.put("j60", json!({"a": 70, "b": "open", "note": "behind the window, and moved there"}));
    stage.put("j03", json!({"a": 11.5, "b": "open", "note": "before the window, and moved there"}));
    stage.put("x", json!({"a": 1, "b": "closed"}));
    stage.put("x", json!({"a": 25, "b": "closed"}));
    stage.delete("x");
    assert_eq!(stage.told(1), 1);
    // In one batch, one goes and one comes in front: the window shows the same.
    let events = vec![
        stage.event("jobs", "j04", None),
        stage.event("jobs", "new", Some(job("new", json!({"a": 1, "b": "open"})))),
    ];
    stage.tell(Input::ServerChanged { events });
    assert_eq!(stage.told(1), 1);
    stage.event("people", "p", None);
    stage.put("j24", json!({"a": 24, "b": "open", "note": "now"}));
    assert_eq!((stage.told(1), stage.watchers[&1].edits.len()), (2, 1));
}

#[test]
fn a_record_that_changes_and_keeps_its_place_is_one_update() {
    let mut stage = Stage::new();
    stage.put_all((0..5).map(|n| (format!("j{n}"), json!({"a": n}))));
    stage.open(1, json!({"table": "jobs", "sort": [{"field": "a"}]}));
    stage.put("j2", json!({"a": 2.5}));
    stage.put("j2", json!({"a": 2.5, "note": "not indexed"}));
    assert_eq!(stage.watchers[&1].edits, [Edit::Update { at: 2 }, Edit::Update { at: 2 }]);
}

#[test]
fn a_record_that_moves_is_taken_out_and_put_in() {
    let mut stage = Stage::new();
    stage.put_all((0..5).map(|n| (format!("j{n}"), json!({"a": n}))));
    stage.open(1, json!({"table": "jobs", "sort": [{"field": "a", "descending": true}]}));
    stage.put("j0", json!({"a": 3.5}));
    let id = stage.watchers[&1].window[1].0;
    assert_eq!(stage.watchers[&1].edits, [Edit::Remove { at: 4 }, Edit::Insert { at: 1, id }]);
    assert_eq!(stage.keys(1), ["j4", "j0", "j3", "j2", "j1"]);
}

#[test]
fn nulls_come_last_either_way_and_ties_go_by_key() {
    let mut stage = Stage::new();
    let values = [("n1", json!(null)), ("z", json!(1)), ("y", json!(1)), ("n0", json!(null)), ("b", json!(2))];
    stage.put_all(values.map(|(key, a)| (key.to_owned(), json!({"a": a}))));
    stage.open(1, json!({"table": "jobs", "sort": [{"field": "a"}]}));
    stage.open(2, json!({"table": "jobs", "sort": [{"field": "a", "descending": true}]}));
    assert_eq!(stage.keys(1), ["y", "z", "b", "n0", "n1"]);
    assert_eq!(stage.keys(2), ["b", "y", "z", "n0", "n1"]);
}

#[test]
fn values_of_every_kind_have_one_order_and_text_goes_by_code_point() {
    let mut stage = Stage::new();
    let values = [
        json!(false),
        json!(true),
        json!(-3),
        json!(0.5),
        json!(12),
        json!(""),
        json!("Z"),
        json!("a"),
        json!("ä"),
        json!("\u{ffff}"),
        json!("\u{10000}"),
        json!([]),
        json!([1]),
        json!([1, 2]),
        json!([2]),
        json!({}),
        json!({"a": 1}),
        json!({"a": 2}),
        json!({"b": 0}),
        json!(null),
    ];
    let shuffled = (0..values.len()).map(|n| n * 7 % values.len());
    stage.put_all(shuffled.map(|n| (format!("j{n:02}"), json!({"a": values[n]}))));
    stage.open(1, json!({"table": "jobs", "sort": [{"field": "a"}]}));
    assert_eq!(serde_json::to_value(stage.watchers[&1].column("a")).unwrap(), json!(values));
}

#[test]
fn a_condition_means_what_it_says_whatever_the_kinds() {
    let mut stage = Stage::new();
    let values = [
        ("null", json!(null)),
        ("false", json!(false)),
        ("true", json!(true)),
        ("1", json!(1)),
        ("2", json!(2)),
        ("text 1", json!("1")),
        ("ab", json!("ab")),
        ("AB", json!("AB")),
        ("list", json!(["ab", 2])),
        ("map", json!({"ab": 2})),
    ];
    stage.put_all(values.clone().map(|(key, a)| (key.to_owned(), json!({"a": a}))));
    let term = |name: &str, value: Json| json!({name: {"field": "a", "value": value}});
    let cases = [
        (term("eq", json!(1)), vec!["1"]),
        (term("eq", json!("1")), vec!["text 1"]),
        (term("eq", json!(null)), vec!["null"]),
        (term("eq", json!(["ab", 2])), vec!["list"]),
        (term("eq", json!({"ab": 2})), vec!["map"]),
        (term("neq", json!(1)), vec!["null", "false", "true", "2", "text 1", "ab", "AB", "list", "map"]),
        (term("neq", json!(null)), vec!["false", "true", "1", "2", "text 1", "ab", "AB", "list", "map"]),
        (term("lt", json!(2)), vec!["1"]),
        (term("lte", json!(2)), vec!["1", "2"]),
        (term("gt", json!(1)), vec!["2"]),
        (term("gte", json!(1)), vec!["1", "2"]),
        (term("gt", json!(false)), vec!["true"]),
        (term("lt", json!("a")), vec!["text 1", "AB"]),
        (term("lte", json!(null)), vec![]),
        (term("gte", json!(["ab", 2])), vec![]),
        (json!({"not": term("lt", json!(2))}), vec!["null", "false", "true", "2", "text 1", "ab", "AB", "list", "map"]),
        (json!({"in": {"field": "a", "values": ["ab", 2, null, "zz"]}}), vec!["null", "2", "ab"]),
        (json!({"in": {"field": "a", "values": []}}), vec![]),
        (json!({"isNull": {"field": "a"}}), vec!["null"]),
        (json!({"isNull": {"field": "b"}}), values.each_ref().map(|(key, _)| *key).to_vec()),
        (term("contains", json!("b")), vec!["ab"]),
        (term("contains", json!("ab")), vec!["ab", "list"]),
        (term("contains", json!("")), vec!["text 1", "ab", "AB"]),
        (term("contains", json!(2)), vec!["list"]),
        (json!({"between": {"field": "a", "from": 1, "to": 2}}), vec!["1", "2"]),
        (json!({"between": {"field": "a", "from": 2, "to": 1}}), vec![]),
        (json!({"between": {"field": "a", "from": 1, "to": "z"}}), vec![]),
        (json!({"and": []}), values.each_ref().map(|(key, _)| *key).to_vec()),
        (json!({"or": []}), vec![]),
        (json!({"and": [term("gt", json!("A")), term("lt", json!("a"))]}), vec!["AB"]),
        (json!({"or": [term("eq", json!(1)), term("eq", json!(true))]}), vec!["true", "1"]),
    ];
    for (filter, expected) in cases {
        stage.open(1, json!({"table": "jobs", "filter": filter}));
        let mut expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        expected.sort_unstable();
        assert_eq!(stage.keys(1), expected, "{filter}");
        stage.close(1);
    }
}

#[test]
fn several_records_that_change_without_passing_each_other_are_updates_only() {
    let mut stage = Stage::new();
    stage.put_all((0..20).map(|n| (format!("j{n:02}"), json!({"a": n}))));
    stage.open(1, json!({"table": "jobs", "sort": [{"field": "a"}], "limit": 10, "offset": 2}));
    let moved = [1.5, 3.25, 4.5, 4.75, 11.5, 15.5];
    let keys = ["j01", "j03", "j04", "j05", "j11", "j15"];
    stage.put_all(keys.into_iter().zip(moved).map(|(key, a)| (key.to_owned(), json!({"a": a}))));
    assert_eq!(stage.watchers[&1].edits, [1, 2, 3, 9].map(|at| Edit::Update { at }));
    // Two change places: one of them stays where it was, the other goes around it.
    stage.put_all([("j06", 7), ("j07", 6)].map(|(key, a)| (key.to_owned(), json!({"a": a}))));
    assert_eq!(stage.watchers[&1].edits.len(), 4 + 3);
}

#[test]
fn a_window_larger_than_the_list_and_one_behind_its_end_follow_too() {
    let mut stage = Stage::new();
    stage.open(1, json!({"table": "jobs", "limit": 3, "offset": 2}));
    stage.open(2, json!({"table": "jobs", "limit": 100}));
    for n in 0..6 {
        stage.put(&format!("j{n}"), json!({}));
    }
    assert_eq!((stage.keys(1), stage.told(1)), (["j2", "j3", "j4"].map(str::to_owned).to_vec(), 7));
    for n in 0..6 {
        stage.delete(&format!("j{n}"));
    }
    assert!(stage.keys(1).is_empty() && stage.keys(2).is_empty());
}

#[test]
fn a_window_may_be_empty_while_the_figures_are_kept() {
    let mut stage = Stage::new();
    stage.open(1, json!({"table": "jobs", "limit": 0, "figures": [{"name": "s", "kind": "sum", "field": "a"}]}));
    stage.open(2, json!({"table": "jobs", "offset": 4_294_967_295u32, "limit": 4_294_967_295u32}));
    stage.put("j1", json!({"a": 0.1}));
    stage.put("j2", json!({"a": 0.2}));
    assert_eq!((stage.watchers[&1].figures.as_slice(), stage.watchers[&1].window.len()), (&[Some(0.1 + 0.2)][..], 0));
    assert_eq!((stage.watchers[&2].total, stage.watchers[&2].window.len()), (2, 0));
}

#[test]
fn figures_are_kept_over_everything_that_matches_and_for_each_group() {
    let mut stage = Stage::new();
    let figures = json!([
        {"name": "all", "kind": "count"}, {"name": "known", "kind": "count", "field": "a"},
        {"name": "sum", "kind": "sum", "field": "a"}, {"name": "mean", "kind": "average", "field": "a"},
    ]);
    stage.open(1, json!({"table": "jobs", "limit": 1, "figures": figures, "groupBy": ["b"]}));
    stage.put_all(
        [
            ("1", json!({"a": 1, "b": "x"})),
            ("2", json!({"a": 2, "b": "y"})),
            ("3", json!({"a": "text", "b": "x"})),
            ("4", json!({"b": "x"})),
        ]
        .map(|(key, job)| (key.to_owned(), job)),
    );
    let watcher = &stage.watchers[&1];
    assert_eq!(watcher.figures, [Some(4.0), Some(3.0), Some(3.0), Some(1.5)]);
    assert_eq!(watcher.groups["[\"x\"]"], [Some(3.0), Some(2.0), Some(1.0), Some(1.0)]);
    stage.put("2", json!({"b": "x"}));
    let watcher = &stage.watchers[&1];
    assert_eq!(
        (watcher.figures.as_slice(), watcher.groups.len()),
        (&[Some(4.0), Some(2.0), Some(1.0), Some(1.0)][..], 1)
    );
    for key in ["1", "3", "4"] {
        stage.delete(key);
    }
    assert_eq!(stage.watchers[&1].figures, [Some(1.0), Some(0.0), Some(0.0), None]);
}

#[test]
fn sums_that_come_and_go_leave_no_error_behind() {
    let mut stage = Stage::new();
    stage.open(1, json!({"table": "jobs", "limit": 0, "figures": [{"name": "s", "kind": "sum", "field": "a"}]}));
    stage.put("small", json!({"a": 0.1}));
    for n in 0..50 {
        stage.put("large", json!({"a": 9_007_199_254_740_991_i64 - n}));
    }
    stage.delete("large");
    assert_eq!(stage.watchers[&1].figures, [Some(0.1)]);
}

#[test]
fn a_view_follows_what_is_pending_and_what_is_taken_back() {
    let mut stage = Stage::new();
    stage.put_all((0..3).map(|n| (format!("j{n}"), json!({"a": n}))));
    stage.open(1, json!({"table": "jobs", "sort": [{"field": "a"}]}));
    stage.mutate(json!({"name": "patch", "table": "jobs", "key": "j0", "set": {"a": 9}}));
    stage.mutate(json!({"name": "insert", "table": "jobs", "set": {"id": "j7", "a": 1.5}}));
    stage.mutate(json!({"name": "delete", "table": "jobs", "key": "j2"}));
    assert_eq!(stage.keys(1), ["j1", "j7", "j0"]);
    for id in stage.operations.clone() {
        stage.refuse_operation(id);
    }
    assert_eq!(stage.keys(1), ["j0", "j1", "j2"]);
}

#[test]
fn a_number_that_is_given_to_another_record_was_taken_out_of_every_view_before() {
    let mut stage = Stage::new();
    stage.tell(Input::NoLocks);
    stage.open(1, json!({"table": "jobs", "sort": [{"field": "a"}]}));
    stage.mutate(json!({"name": "insert", "table": "jobs", "set": {"id": "j1", "a": 1}}));
    let id = stage.watchers[&1].window[0].0;
    stage.refuse_operation(stage.operations[0]);
    assert!(stage.watchers[&1].window.is_empty());
    // The same number, another table, and no view of it.
    let event = stage.event("people", "p", Some(json!({"id": "p", "a": 5})));
    stage.tell(Input::ServerChanged { events: vec![event] });
    assert_eq!(stage.seen.keys().next(), Some(&id));
    stage.open(2, json!({"table": "people", "sort": [{"field": "a"}]}));
    assert_eq!((stage.keys(1).len(), stage.keys(2)), (0, vec!["p".to_owned()]));
}

#[test]
fn a_table_that_was_not_watched_for_a_while_is_looked_at_afresh() {
    let mut stage = Stage::new();
    stage.put("j1", json!({"a": 1}));
    let view = json!({"table": "jobs", "figures": [{"name": "s", "kind": "sum", "field": "a"}]});
    let other = json!({"table": "people"});
    stage.open(1, view.clone());
    stage.open(2, other);
    stage.close(1);
    stage.put("j1", json!({"a": 2}));
    stage.put("j2", json!({"a": 4}));
    stage.delete("j1");
    stage.open(1, view);
    stage.put("j1", json!({"a": 8}));
    assert_eq!(stage.watchers[&1].figures, [Some(12.0)]);
}

#[test]
fn a_whole_table_that_arrives_at_once_is_one_reset() {
    let mut stage = Stage::new();
    stage.open(1, json!({"table": "jobs", "sort": [{"field": "a"}], "limit": 5, "groupBy": ["b"]}));
    stage.put_all((0..3_000).map(|n| (format!("j{n:04}"), json!({"a": n * 7 % 3_000, "b": n % 10}))));
    assert_eq!((stage.told(1), stage.watchers[&1].edits.len(), stage.watchers[&1].total), (2, 0, 3_000));
    // Again, with nothing but the rest changed.
    stage.put_all((0..3_000).map(|n| {
        (format!("j{n:04}"), json!({"a": if n * 7 % 3_000 < 5 { n * 7 % 3_000 } else { 9_000 - n }, "b": n % 10}))
    }));
    assert_eq!((stage.told(1), stage.watchers[&1].total), (3, 3_000));
    assert!(stage.watchers[&1].edits.iter().all(|edit| matches!(edit, Edit::Update { .. })));
}

#[test]
fn a_hundred_views_follow_at_once() {
    let mut stage = Stage::new();
    stage.checks = false;
    stage.put_all((0..200).map(|n| (format!("j{n:03}"), json!({"a": n % 17, "b": format!("{}", n % 5)}))));
    for id in 0..100 {
        let filter = json!({"or": [{"eq": {"field": "b", "value": format!("{}", id % 5)}}, {"lt": {"field": "a", "value": id % 17}}]});
        let sort = json!([{"field": (["a", "b"][id as usize % 2]), "descending": id % 3 == 0}]);
        stage.open(id, json!({"table": "jobs", "filter": filter, "sort": sort, "limit": 1 + id, "offset": id % 7, "groupBy": ["b"]}));
    }
    for n in 0..40 {
        stage.put(&format!("j{:03}", n * 37 % 200), json!({"a": n % 19, "b": format!("{}", n % 6)}));
        stage.delete(&format!("j{:03}", n * 41 % 200));
        if n % 8 == 0 {
            stage.check();
        }
    }
    stage.check();
}

#[test]
fn groups_beyond_the_bound_are_counted_together_and_reported_once() {
    let mut stage = Stage::new();
    stage.checks = false;
    let figures = json!([{"name": "n", "kind": "count"}, {"name": "s", "kind": "sum", "field": "b"}]);
    stage.open(1, json!({"table": "jobs", "limit": 0, "figures": figures, "groupBy": ["a"]}));
    let max = rota_engine::GROUPS_MAX;
    stage.put_all((0..max).map(|n| (format!("j{n}"), json!({"a": n, "b": 1}))));
    assert_eq!((stage.watchers[&1].groups.len(), stage.problems.len()), (max, 0));
    stage.put_all((0..3).map(|n| (format!("x{n}"), json!({"a": format!("more {n}"), "b": 0.1}))));
    stage.put("x3", json!({"a": "more 0", "b": 0.2}));
    let codes: Vec<_> = stage.problems.iter().map(|problem| (problem.code.as_str(), problem.place.as_str())).collect();
    assert_eq!(codes, [("view-groups-full", "1")]);
    let watcher = &stage.watchers[&1];
    assert_eq!((watcher.groups.len(), watcher.groups["null"].as_slice()), (max + 1, &[Some(4.0), Some(0.5)][..]));
    assert_eq!(watcher.figures, [Some(max as f64 + 4.0), Some(max as f64 + 0.5)]);
    // Room alone does not split the rest: a group is kept as a whole or not at all.
    stage.delete("j5");
    stage.put("x4", json!({"a": "more 1", "b": 1}));
    assert_eq!(stage.watchers[&1].groups["null"], [Some(5.0), Some(1.5)]);
    for n in 0..5 {
        stage.delete(&format!("x{n}"));
    }
    assert_eq!(stage.watchers[&1].groups.get("null"), None);
    stage.put("x5", json!({"a": "more 1", "b": 1}));
    stage.check();
    assert_eq!(stage.problems.len(), 1);
}

// ---- what is refused

#[test]
fn a_view_that_makes_no_sense_is_refused_by_name_and_changes_nothing() {
    let mut stage = Stage::new();
    let deep = |depth: usize| (0..depth).fold(json!({"isNull": {"field": "a"}}), |inner, _| json!({"not": inner}));
    let figure = |name: &str, kind: &str| json!({"name": name, "kind": kind});
    let cases = [
        (json!({"table": "nowhere"}), "unknown-table"),
        (json!({"table": "jobs", "sort": [{"field": "colour"}]}), "unknown-field"),
        (json!({"table": "jobs", "sort": [{"field": "note"}]}), "not-indexed"),
        (json!({"table": "jobs", "groupBy": ["note"]}), "not-indexed"),
        (json!({"table": "jobs", "filter": {"not": {"or": [{"isNull": {"field": "note"}}]}}}), "not-indexed"),
        (json!({"table": "jobs", "filter": {"between": {"field": "note", "from": 1, "to": 2}}}), "not-indexed"),
        (json!({"table": "jobs", "figures": [{"name": "s", "kind": "sum", "field": "colour"}]}), "unknown-field"),
        (json!({"table": "jobs", "figures": [figure("s", "sum")]}), "invalid-view"),
        (json!({"table": "jobs", "figures": [figure("m", "average")]}), "invalid-view"),
        (json!({"table": "jobs", "figures": [figure("", "count")]}), "invalid-view"),
        (json!({"table": "jobs", "figures": [figure("n", "count"), figure("n", "count")]}), "invalid-view"),
        (
            json!({"table": "jobs", "figures": (0..17).map(|n| figure(&n.to_string(), "count")).collect::<Vec<_>>()}),
            "invalid-view",
        ),
        (json!({"table": "jobs", "sort": vec![json!({"field": "a"}); 9]}), "invalid-view"),
        (json!({"table": "jobs", "groupBy": ["a", "b", "c", "a", "b"]}), "invalid-view"),
        (json!({"table": "jobs", "filter": deep(16)}), "invalid-view"),
        (json!({"table": "jobs", "filter": {"or": vec![json!({"isNull": {"field": "a"}}); 4_096]}}), "invalid-view"),
        (json!({"table": "jobs", "filter": {"in": {"field": "a", "values": vec![1; 4_097]}}}), "invalid-view"),
    ];
    for (view, code) in cases {
        assert_eq!(stage.refuse(1, view.clone()).code(), code, "{view}");
    }
    stage.open(1, json!({"table": "jobs", "filter": deep(15)}));
    stage.open(2, json!({"table": "jobs", "filter": {"in": {"field": "a", "values": vec![1; 4_096]}}}));
}

#[test]
fn a_refusal_says_what_to_do() {
    let mut stage = Stage::new();
    let not_indexed = stage.refuse(1, json!({"table": "jobs", "sort": [{"field": "note"}]})).to_string();
    assert!(
        not_indexed.contains("\"note\"") && not_indexed.contains("list it in the table's `indexed`"),
        "{not_indexed}"
    );
    stage.open(1, json!({"table": "jobs"}));
    let open = stage.refuse(1, json!({"table": "jobs"}));
    assert_eq!(
        (open.code(), open.to_string().as_str()),
        ("view-open", "view 1 is open already; close it first, or take another number")
    );
    assert_eq!(stage.try_tell(Input::CloseView { id: 2 }).unwrap_err().code(), "unknown-view");
    stage.close(1);
    stage.open(1, json!({"table": "jobs"}));
    stage.tell(Input::Close);
    assert_eq!(stage.refuse(2, json!({"table": "jobs"})).code(), "closed");
    assert_eq!(stage.try_tell(Input::CloseView { id: 1 }), Ok(None));
}

#[test]
fn a_view_with_a_member_that_is_none_of_its_own_is_not_read() {
    for json in [
        json!({"table": "jobs", "order": []}),
        json!({"table": "jobs", "filter": {"eq": {"field": "a", "value": 1, "or": 2}}}),
        json!({"table": "jobs", "filter": {"like": {"field": "a", "value": 1}}}),
        json!({"table": "jobs", "figures": [{"name": "n", "kind": "median"}]}),
    ] {
        assert!(serde_json::from_value::<ViewSpec>(json.clone()).is_err(), "{json} was read");
    }
}

#[test]
fn views_are_bounded_in_number() {
    let mut stage = Stage::new();
    stage.checks = false;
    for id in 0..rota_engine::VIEWS_MAX as u32 {
        stage.open(id, json!({"table": "jobs"}));
    }
    let error = stage.refuse(5_000, json!({"table": "jobs"}));
    assert_eq!((error.code(), error.to_string().contains("close those that nobody watches")), ("too-many-views", true));
    stage.close(7);
    stage.open(5_000, json!({"table": "jobs"}));
}

#[test]
fn an_index_on_a_field_that_is_not_declared_is_refused() {
    for indexed in [json!(["colour"]), json!(vec!["id"; 65])] {
        let tables = json!([{"name": "jobs", "key": ["id"], "fields": ["id"], "indexed": indexed}]);
        let config: Config = serde_json::from_value(json!({"app": "crm", "user": "maya", "tables": tables})).unwrap();
        let error = Engine::<JsonRecord>::new(config, Box::new(Domains), [7; 16], Now::default()).err().unwrap();
        assert_eq!(error.code(), "invalid-configuration");
    }
}

// ---- whatever happens

fn value() -> impl Strategy<Value = Json> {
    prop_oneof![
        4 => (-3..4i32).prop_map(|n| json!(f64::from(n) / 10.0)),
        2 => (0..3u8).prop_map(|n| json!(["", "ab", "b"][n as usize])),
        1 => Just(json!(null)),
        1 => any::<bool>().prop_map(|flag| json!(flag)),
        1 => (0..3u8).prop_map(|n| json!([n, "b"])),
    ]
}

fn field() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("c"), Just("id")]
}

fn filter() -> impl Strategy<Value = Json> {
    let names =
        prop_oneof![Just("eq"), Just("neq"), Just("lt"), Just("lte"), Just("gt"), Just("gte"), Just("contains")];
    let leaf = prop_oneof![
        5 => (names, field(), value()).prop_map(|(name, field, value)| json!({name: {"field": field, "value": value}})),
        1 => (field(), proptest::collection::vec(value(), 0..4)).prop_map(|(field, values)| json!({"in": {"field": field, "values": values}})),
        1 => field().prop_map(|field| json!({"isNull": {"field": field}})),
        1 => (field(), value(), value()).prop_map(|(field, from, to)| json!({"between": {"field": field, "from": from, "to": to}})),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(|filters| json!({"and": filters})),
            proptest::collection::vec(inner.clone(), 0..3).prop_map(|filters| json!({"or": filters})),
            inner.prop_map(|filter| json!({"not": filter})),
        ]
    })
}

fn view() -> impl Strategy<Value = Json> {
    let sort = proptest::collection::vec((field(), any::<bool>()), 0..3);
    let window = (proptest::option::of(0..8u32), 0..6u32);
    let figures = proptest::collection::vec((0..4u8, field()), 0..3);
    let group_by = proptest::collection::vec(field(), 0..3);
    (proptest::option::of(filter()), sort, window, figures, group_by).prop_map(|(filter, sort, window, figures, group_by)| {
        let sort: Vec<Json> = sort.iter().map(|(field, descending)| json!({"field": field, "descending": descending})).collect();
        let figure = |(at, (kind, field)): (usize, &(u8, &str))| {
            let kind = ["count", "sum", "average", "count"][*kind as usize];
            json!({"name": at.to_string(), "kind": kind, "field": field})
        };
        let figures: Vec<Json> = figures.iter().enumerate().map(figure).collect();
        json!({"table": "jobs", "filter": filter, "sort": sort, "limit": window.0, "offset": window.1, "figures": figures, "groupBy": group_by})
    })
}

#[derive(Clone, Debug)]
enum Step {
    /// Keys and their new records; without one, the record is gone.
    Events(Vec<(u8, Option<Json>)>),
    Patch(u8, Json),
    Insert(u8, Json),
    Delete(u8),
    Refuse(u8),
    Open(u8, Json),
    Close(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let fields = || {
        (value(), value(), value(), any::<u8>())
            .prop_map(|(a, b, c, note)| json!({"a": a, "b": b, "c": c, "note": note}))
    };
    let events = move |len| {
        proptest::collection::vec((0..40u8, proptest::option::weighted(0.8, fields())), len).prop_map(Step::Events)
    };
    prop_oneof![
        6 => events(1..2),
        4 => events(1..6),
        1 => events(30..90),
        3 => (0..40u8, "[abc]", value()).prop_map(|(key, field, value)| Step::Patch(key, json!({field: value}))),
        2 => (0..60u8, fields()).prop_map(|(key, fields)| Step::Insert(key, fields)),
        2 => (0..40u8).prop_map(Step::Delete),
        3 => any::<u8>().prop_map(Step::Refuse),
        2 => (0..6u8, view()).prop_map(|(id, view)| Step::Open(id, view)),
        1 => (0..6u8).prop_map(Step::Close),
    ]
}

fn act(stage: &mut Stage, step: Step) {
    let key = |n: u8| format!("j{n}");
    match step {
        Step::Events(events) => {
            let events = events
                .into_iter()
                .map(|(n, fields)| stage.event("jobs", &key(n), fields.map(|fields| job(&key(n), fields))))
                .collect();
            stage.tell(Input::ServerChanged { events });
        }
        Step::Patch(n, set) => stage.mutate(json!({"name": "patch", "table": "jobs", "key": key(n), "set": set})),
        Step::Insert(n, fields) => {
            stage.mutate(json!({"name": "insert", "table": "jobs", "set": job(&key(n), fields)}));
        }
        Step::Delete(n) => stage.mutate(json!({"name": "delete", "table": "jobs", "key": key(n)})),
        Step::Refuse(n) if !stage.operations.is_empty() => {
            let id = stage.operations[n as usize % stage.operations.len()];
            stage.refuse_operation(id);
        }
        Step::Open(id, view) if !stage.watchers.contains_key(&u32::from(id)) => drop(stage.open(id.into(), view)),
        Step::Close(id) if stage.watchers.contains_key(&u32::from(id)) => stage.close(id.into()),
        Step::Refuse(_) | Step::Open(..) | Step::Close(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn a_view_equals_filter_sort_slice_of_all_visible_records(
        views in proptest::collection::vec(view(), 1..4),
        steps in proptest::collection::vec(step(), 0..40),
    ) {
        let mut stage = Stage::new();
        stage.tell(Input::NoLocks);
        for (id, view) in (0..).zip(views) {
            stage.open(id, view);
        }
        for step in steps {
            act(&mut stage, step);
        }
    }
}

// ---- in the world

#[test]
fn a_view_shows_a_change_at_once_in_every_tab_and_settles_without_a_flicker() {
    for echo in [Echo::BeforeAnswer, Echo::AfterAnswer, Echo::Never] {
        let mut world = World::with_tabs(2);
        world.faults.echo = echo;
        let mine = spec(json!({"table": "companies", "filter": {"eq": {"field": "owner_id", "value": "maya"}},
            "figures": [{"name": "n", "kind": "count"}]}));
        for tab in 0..2 {
            world.open_view(tab, 1, &mine);
        }
        world.tab(0).assign("c-2", "maya");
        assert_eq!(world.tabs[0].windows[&1], [vec![], vec!["c-2".to_owned()]]);
        world.run_until_quiet();
        for tab in 0..2 {
            assert_eq!(world.tabs[tab].windows[&1], [vec![], vec!["c-2".to_owned()]], "it flickered");
            assert_eq!(world.tabs[tab].watchers[&1].figures, [Some(1.0)]);
        }
        world.assert_all_agree();
    }
}

#[test]
fn a_view_takes_back_what_the_server_refused() {
    let mut world = World::with_tabs(2);
    world.server.refused.insert("c-1".into());
    let by_city = spec(json!({"table": "companies", "sort": [{"field": "city", "descending": true}], "limit": 2}));
    for tab in 0..2 {
        world.open_view(tab, 7, &by_city);
    }
    let before = ["c-1".to_owned(), "c-2".to_owned()].to_vec();
    world.tab(1).patch("c-1", "city", "Aachen");
    world.run_until_quiet();
    for tab in 0..2 {
        let during = ["c-2".to_owned(), "c-3".to_owned()].to_vec();
        assert_eq!(world.tabs[tab].windows[&7], [before.clone(), during, before.clone()]);
    }
}

#[test]
fn views_are_right_after_every_step_of_a_rough_day() {
    for seed in 0..6 {
        let mut world = World::seeded(seed);
        world.open_tab("maya");
        world.open_tab("maya");
        world.faults.jitter_ms = 30;
        world.faults.doubled_percent = 20;
        world.faults.lost_replies_percent = 15;
        let filters =
            [json!(null), json!({"isNull": {"field": "owner_id"}}), json!({"gt": {"field": "city", "value": "C"}})];
        for tab in 0..2 {
            for (id, filter) in (0..).zip(&filters) {
                let sort = json!([{"field": "city", "descending": id == 1}, {"field": "name"}]);
                let view = json!({"table": "companies", "filter": filter, "sort": sort, "limit": 4 - id, "offset": id,
                    "figures": [{"name": "n", "kind": "count", "field": "owner_id"}], "groupBy": ["city"]});
                world.open_view(tab, id, &spec(view));
            }
        }
        for n in 0..40_usize {
            let (tab, key) = (n % 2, format!("c-{}", 1 + world.draw(6)));
            let is_there = world.tabs[tab].mirror.contains_key(&("companies".into(), key.clone()));
            let city = ["Aachen", "Bonn", "Celle", "Dessau"][world.draw(4) as usize];
            match world.draw(7) {
                0..=2 if is_there => drop(world.tab(tab).patch(&key, "city", city)),
                3 if is_there => drop(world.tab(tab).assign(&key, city)),
                4 if is_there => drop(world.tab(tab).delete(&key)),
                4 => drop(world.tab(tab).insert(&key)),
                5 => world.sql_update(&key, "city", city),
                6 => world.sql_delete(&key),
                _ => {}
            }
            let pause = [0, 3, 40, 2_000][world.draw(4) as usize];
            world.run_for(pause);
        }
        world.run_until_quiet();
        assert!(world.tabs.iter().all(|tab| tab.watchers.values().all(|watcher| watcher.told > 1)));
        let seen: usize = world.tabs[0].watchers.values().map(|watcher| watcher.column("city").len()).sum();
        assert!(seen > 0 || world.tabs[0].mirror.values().all(Fields::is_empty), "nothing was left to compare");
    }
}

#[test]
fn a_trace_with_views_replays_to_the_same_outputs() {
    let mut world = World::new();
    world.tracing = true;
    world.open_tab("maya");
    let view = json!({"table": "companies", "sort": [{"field": "city"}], "limit": 3, "groupBy": ["owner_id"],
        "figures": [{"name": "n", "kind": "count"}]});
    world.open_view(0, 1, &spec(view));
    world.run_for(500);
    world.tab(0).patch("c-2", "city", "Aachen");
    world.run_until_quiet();
    assert_eq!(world.replay(0), world.tabs[0].trace);
    assert!(world.tabs[0].trace.iter().any(|output| output.contains("\"edits\":[{")), "no edit was recorded");
}
