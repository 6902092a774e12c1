//! Changes of several records that are done together or not at all: seen so, sent so, ended so.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rota_engine::{
    Answer, Config, Domains, Engine, Error, Failure, Fields, Input, JsonRecord, Now, Operation, OperationId,
    OperationState, Output, PARTS_MAX, Row, ServerEvent, Step, Stored, Value,
};
use serde_json::{Value as Json, json};

use crate::server::{plain, tables, version};
use crate::world::{Echo, World, applied};

fn patch(key: &str, city: &str) -> Json {
    json!({"name": "patch", "table": "companies", "key": key, "set": {"city": city}})
}

fn assign(key: &str, to: &str) -> Json {
    json!({"name": "assign", "table": "companies", "key": key, "args": {"to": to}})
}

fn insert(key: &str) -> Json {
    json!({"name": "insert", "table": "companies", "set": {"id": key, "name": "New", "city": "Kiel", "owner_id": null}})
}

fn delete(key: &str) -> Json {
    json!({"name": "delete", "table": "companies", "key": key})
}

fn city(world: &World, tab: usize, key: &str) -> Value {
    world.tabs[tab].field(key, "city")
}

#[test]
fn a_transaction_is_seen_at_once_and_confirmed_without_a_flicker_whatever_comes_first() {
    for echo in [Echo::BeforeAnswer, Echo::AfterAnswer, Echo::Never] {
        for lost_push_replies in [0, 1] {
            let mut world = World::with_tabs(2);
            (world.faults.echo, world.faults.lost_push_replies) = (echo, lost_push_replies);
            let id = world.tab(1).transact(json!([assign("c-1", "maya"), patch("c-2", "Jena"), insert("c-9")]));
            assert_eq!((world.owner(1, "c-1"), city(&world, 1, "c-9")), ("maya".into(), "Kiel".into()));
            world.run_until_quiet();
            for tab in 0..2 {
                let tab = &world.tabs[tab];
                assert_eq!(tab.seen("c-1", "owner_id"), [Value::Null, "maya".into()]);
                assert_eq!(tab.seen("c-2", "city"), ["Bremen".into(), Value::from("Jena")]);
                assert_eq!(tab.seen("c-9", "city"), [Value::from("Kiel")]);
            }
            assert_eq!(world.outcome(1, id), [OperationState::Confirmed]);
            assert_eq!(world.server.effects[&id], 1);
            world.assert_all_agree();
        }
    }
}

#[test]
fn a_tab_that_holds_a_transaction_of_another_one_does_not_ask_the_leader_again_and_again() {
    for tab_protocol in 1..=2 {
        let mut world = World::with_tabs(1);
        world.cut_network();
        world.tab(0).transact(json!([patch("c-1", "Jena"), patch("c-2", "Jena")]));
        world.tab_protocol = json!(tab_protocol);
        let late = world.open_tab("maya");
        world.run_for(60_000);
        assert_eq!((city(&world, late, "c-1"), city(&world, late, "c-2")), ("Jena".into(), "Jena".into()));
        let asked = world.tabs[late].told.iter().filter(|json| json.contains(r#""kind":"hello""#)).count();
        assert!(asked <= 2, "a tab of protocol {tab_protocol} asked {asked} times");
    }
}

#[test]
fn a_refused_transaction_restores_all_its_records_at_once() {
    let mut world = World::with_tabs(2);
    world.server.refused.insert("c-3".into());
    let id = world.tab(0).transact(json!([patch("c-1", "Jena"), delete("c-2"), insert("c-9"), patch("c-3", "Jena")]));
    assert_eq!(world.tabs[0].mirror.len(), 6);
    world.run_until_quiet();
    assert_eq!(world.outcome(0, id), [OperationState::Refused]);
    for tab in 0..2 {
        assert_eq!(world.tabs[tab].seen("c-1", "city"), ["Bremen", "Jena", "Bremen"].map(Value::from));
        assert_eq!(city(&world, tab, "c-9"), Value::Null);
    }
    world.assert_all_agree();
}

#[test]
fn a_transaction_of_which_one_part_lost_a_race_changes_nothing() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let id = world.tab(0).transact(json!([assign("c-1", "maya"), patch("c-2", "Jena")]));
    world.sql_update("c-1", "owner_id", "jonas");
    world.heal_network();
    world.run_until_quiet();
    assert_eq!(world.outcome(0, id), [OperationState::Conflicted]);
    assert_eq!((world.owner(0, "c-1"), city(&world, 0, "c-2")), ("jonas".into(), "Bremen".into()));
    world.assert_all_agree();
}

#[test]
fn when_one_part_no_longer_applies_the_whole_is_hidden_and_doubtful_in_every_record() {
    let mut world = World::with_tabs(2);
    world.faults.silent = true;
    let id = world.tab(0).transact(json!([assign("c-1", "maya"), patch("c-2", "Jena"), insert("c-9")]));
    world.run_for(100);
    world.sql_update("c-1", "owner_id", "jonas");
    world.run_for(100);
    let tab = &world.tabs[0];
    assert!(tab.operations[&id].doubtful);
    assert_eq!((tab.field("c-1", "owner_id"), tab.field("c-2", "city")), ("jonas".into(), "Bremen".into()));
    assert_eq!(tab.field("c-9", "city"), Value::Null);
    world.sql_update("c-1", "owner_id", "maya");
    world.run_for(100);
    let tab = &world.tabs[0];
    assert!(!tab.operations[&id].doubtful);
    assert_eq!((tab.field("c-2", "city"), tab.field("c-9", "city")), ("Jena".into(), "Kiel".into()));
}

#[test]
fn a_later_part_may_build_on_an_earlier_one_of_the_same_record() {
    let mut world = World::with_tabs(2);
    let parts = json!([insert("c-9"), patch("c-9", "Jena"), assign("c-9", "maya"), patch("c-1", "Jena")]);
    let id = world.tab(0).transact(parts);
    assert_eq!((city(&world, 0, "c-9"), world.owner(0, "c-9")), ("Jena".into(), "maya".into()));
    world.run_until_quiet();
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
    assert_eq!(world.tabs[1].seen("c-9", "city"), [Value::from("Jena")]);
    world.assert_all_agree();
}

#[test]
fn a_transaction_with_one_part_that_makes_no_sense_is_refused_and_changes_nothing() {
    let mut world = World::with_tabs(1);
    let before = world.tabs[0].mirror.clone();
    for (part, code) in [
        (patch("c-99", "Jena"), "unknown-record"),
        (insert("c-2"), "record-exists"),
        (json!({"name": "patch", "table": "planets", "key": "c-2", "set": {}}), "unknown-table"),
        (json!({"name": "patch", "table": "companies", "key": "c-2", "set": {"colour": 1}}), "unknown-field"),
        (json!({"name": "patch", "table": "companies", "key": "c-2", "set": {}}), "invalid-operation"),
        (json!({"name": "transaction", "table": "companies", "key": "c-2"}), "invalid-operation"),
        (json!({"name": "patch", "table": "companies", "set": {"city": "x"}}), "missing-key"),
        (delete("c-1"), "unknown-record"),
    ] {
        let error = world.tab(0).try_transact(json!([delete("c-1"), part, patch("c-3", "Jena")])).unwrap_err();
        assert_eq!(error.code(), code);
    }
    assert_eq!((&world.tabs[0].mirror, world.tabs[0].operations.len()), (&before, 0));
    assert!(world.stored(0).is_empty());
}

#[test]
fn a_transaction_has_two_to_a_hundred_parts() {
    let mut world = World::with_tabs(1);
    for len in [0, 1, PARTS_MAX + 1] {
        let parts: Vec<Json> = (0..len).map(|n| insert(&format!("n-{n}"))).collect();
        let error = world.tab(0).try_transact(json!(parts)).unwrap_err();
        assert_eq!(error, Error::TransactionLength { len, len_max: PARTS_MAX });
        assert_eq!(error.code(), "transaction-length");
        assert!(error.to_string().contains(&format!("this one has {len}")), "{error}");
    }
    let parts: Vec<Json> = (0..PARTS_MAX).map(|n| insert(&format!("n-{n}"))).collect();
    let id = world.tab(0).transact(json!(parts));
    world.run_until_quiet();
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
    world.assert_all_agree();
}

#[test]
fn a_transaction_waits_for_the_earlier_operations_of_each_record_and_holds_the_later_ones() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let first = world.tab(0).patch("c-1", "city", "Jena");
    let both = world.tab(0).transact(json!([patch("c-1", "Gera"), patch("c-2", "Gera")]));
    let second = world.tab(0).patch("c-2", "city", "Jena");
    let apart = world.tab(0).patch("c-3", "city", "Jena");
    world.faults.jitter_ms = 50;
    world.heal_network();
    world.run_until_quiet();
    let place = |id| world.server.applied.iter().position(|other| *other == id).unwrap();
    assert!(place(first) < place(both) && place(both) < place(second));
    assert!(place(apart) < place(second), "an independent record waited");
    world.assert_all_agree();
}

#[test]
fn a_transaction_given_up_blocks_none_of_its_records_and_can_be_retried() {
    let mut world = World::with_tabs(2);
    world.faults.poison.insert("c-1".into());
    let both = world.tab(0).transact(json!([patch("c-1", "Gera"), patch("c-2", "Gera")]));
    let later = world.tab(0).patch("c-2", "name", "Later");
    world.run_until_quiet();
    assert_eq!(world.outcome(0, both), [OperationState::Dead]);
    assert_eq!(world.outcome(0, later), [OperationState::Confirmed]);
    assert_eq!((city(&world, 1, "c-1"), city(&world, 1, "c-2")), ("Bremen".into(), "Bremen".into()));
    world.faults.poison.clear();
    world.tab(0).retry(both).unwrap();
    assert_eq!((city(&world, 0, "c-1"), city(&world, 0, "c-2")), ("Gera".into(), "Gera".into()));
    world.run_until_quiet();
    world.assert_all_agree();
    assert_eq!(city(&world, 1, "c-2"), "Gera".into());
}

#[test]
fn a_transaction_survives_its_tab_and_a_reload_and_is_done_once() {
    let mut world = World::with_tabs(2);
    world.faults.lost_push_replies = 1;
    let id = world.tab(1).transact(json!([patch("c-1", "Gera"), insert("c-9")]));
    world.kill_tab(1);
    world.run_for(12);
    let tab = world.reload_tab(0);
    world.run_until_quiet();
    assert_eq!(world.server.effects[&id], 1);
    assert_eq!((city(&world, tab, "c-1"), city(&world, tab, "c-9")), ("Gera".into(), "Kiel".into()));
    world.assert_all_agree();
    assert!(world.stored(0).is_empty());
}

#[test]
fn a_cancelled_transaction_is_gone_from_all_its_records_in_all_tabs() {
    let mut world = World::with_tabs(2);
    world.cut_network();
    // The first try that fails keeps the others from being sent.
    world.tab(0).patch("c-5", "city", "Jena");
    world.run_for(20);
    let id = world.tab(1).transact(json!([patch("c-1", "Gera"), insert("c-9")]));
    world.run_for(20);
    world.tab(1).cancel(id).unwrap();
    world.run_for(100);
    for tab in 0..2 {
        assert_eq!((city(&world, tab, "c-1"), city(&world, tab, "c-9")), ("Bremen".into(), Value::Null));
    }
    assert_eq!(world.outcome(1, id), [OperationState::Cancelled]);
    assert_eq!(world.stored(0).len(), 1);
}

#[test]
fn a_change_of_a_record_that_a_transaction_inserts_depends_on_it() {
    let mut world = World::with_tabs(1);
    world.server.refused.insert("c-1".into());
    let both = world.tab(0).transact(json!([patch("c-1", "Gera"), insert("c-9")]));
    let later = world.tab(0).patch("c-9", "city", "Jena");
    assert_eq!(world.ops[&later].after, [both]);
    world.run_until_quiet();
    assert_eq!(world.outcome(0, later), [OperationState::Refused]);
    world.assert_all_agree();
}

#[test]
fn an_operation_of_a_later_release_stays_stored_and_is_neither_seen_nor_sent() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let id = world.tab(0).patch("c-1", "city", "Jena");
    world.run_for(20);
    world.kill_tab(0);
    let key = world.stored(0)[0].clone();
    let entry = world.storage[0].get_mut(&key).unwrap();
    *entry = entry.replace("\"protocol\":1", "\"protocol\":3");
    world.heal_network();
    let tab = world.open_tab("maya");
    world.run_until_quiet();
    assert!(world.tabs[tab].has_problem("newer-operation"));
    assert_eq!((world.sent(id), city(&world, tab, "c-1")), (0, "Bremen".into()));
    assert_eq!(world.stored(0), [&key]);
}

#[test]
fn rows_that_arrive_one_by_one_never_show_half_a_transaction() {
    let mut lone = Lone::new();
    let id = lone.transact(&[patch("c-1", "Gera"), insert("c-9"), delete("c-2")]);
    for (n, (key, record)) in (100..).zip([
        ("c-9", Some(json!({"id": "c-9", "name": "New", "city": "Kiel", "owner_id": null}))),
        ("c-2", None),
        ("c-1", Some(json!({"id": "c-1", "name": "Harbour", "city": "Gera", "owner_id": null}))),
    ]) {
        lone.changed(key, n, Some(id), record);
        assert_eq!(lone.seen("c-1").unwrap()["city"], "Gera".into());
        assert_eq!(lone.seen("c-9").unwrap()["city"], "Kiel".into());
        assert_eq!(lone.seen("c-2"), None);
    }
    assert_eq!(lone.engine.stats().operations, 0, "the rows of all its parts are proof enough");
}

#[test]
fn what_others_change_after_a_transaction_is_seen_though_its_other_rows_are_still_to_come() {
    let mut lone = Lone::new();
    let id = lone.transact(&[patch("c-1", "Gera"), patch("c-2", "Gera")]);
    let harbour = |city: &str| Some(json!({"id": "c-1", "name": "Harbour", "city": city, "owner_id": null}));
    lone.changed("c-1", 100, Some(id), harbour("Gera"));
    lone.changed("c-1", 101, None, harbour("Ulm"));
    assert_eq!(lone.seen("c-1").unwrap()["city"], "Ulm".into());
    assert_eq!(lone.seen("c-2").unwrap()["city"], "Gera".into());
}

// ---------------------------------------------------------------------------------------------- one engine by itself

/// An engine that sends for itself, and what it must show: kept as confirmed records and a list of operations.
struct Lone {
    engine: Engine<JsonRecord>,
    now: Now,
    confirmed: BTreeMap<String, (u64, Option<Fields>)>,
    pending: Vec<Operation>,
    version: u64,
}

const KEYS: [&str; 5] = ["c-1", "c-2", "c-3", "c-4", "c-9"];

impl Lone {
    fn new() -> Self {
        let config: Config = serde_json::from_value(json!({"app": "crm", "user": "maya", "tables": tables()})).unwrap();
        let now = Now { mono_ms: 1_000, wall_ms: 1_763_721_600_000 };
        let engine = Engine::new(config, Box::new(Domains), [5; 16], now).unwrap();
        let mut lone = Self { engine, now, confirmed: BTreeMap::new(), pending: Vec::new(), version: 0 };
        lone.tell(Input::NoLocks);
        for key in &KEYS[..4] {
            lone.set_confirmed(key, Some(json!({"id": key, "name": "Harbour", "city": "Bremen", "owner_id": null})));
        }
        lone
    }

    fn tell(&mut self, input: Input<JsonRecord>) -> Option<OperationId> {
        self.now.mono_ms += 1;
        let id = self.engine.handle(input, self.now).ok().flatten();
        while let Some(output) = self.engine.poll() {
            if let Output::Unpersist { key } = &output {
                self.pending.retain(|op| !key.ends_with(&op.id.to_string()));
            }
            if let Output::Persist { id, entry, .. } = output {
                // One that was put onto another base is stored anew.
                self.pending.retain(|op| op.id != id && !entry.op.replaces.contains(&op.id));
                self.pending.push(entry.op);
                // What rules decide takes the place of what was in conflict.
                self.pending.sort_by_key(|op| (op.hlc, op.tab.clone(), op.id));
                let _ = self.engine.handle(Input::OperationStored { id, stored: Stored::Memory }, self.now);
            }
        }
        id
    }

    fn transact(&mut self, commands: &[Json]) -> OperationId {
        self.tell(Input::Transact { commands: serde_json::from_value(json!(commands)).unwrap() }).unwrap()
    }

    fn changed(&mut self, key: &str, n: u64, op: Option<OperationId>, record: Option<Json>) {
        let record = record.map(|record| serde_json::from_value(record).unwrap());
        let row = Row { table: "companies".into(), key: key.into(), version: version(n), op, record };
        self.tell(Input::ServerChanged { events: vec![ServerEvent::Changed { row, partial: false }] });
    }

    fn set_confirmed(&mut self, key: &str, record: Option<Json>) {
        self.version += 1;
        let fields = record.clone().map(|record| serde_json::from_value(record).unwrap());
        self.confirmed.insert(key.to_owned(), (self.version, fields));
        self.changed(key, self.version, None, record);
    }

    fn end(&mut self, at: usize, outcome: &str) {
        let op = self.pending.remove(at);
        if outcome == "confirmed" {
            let mut records: BTreeMap<String, Option<Fields>> =
                self.confirmed.iter().map(|(key, (_, record))| (key.clone(), record.clone())).collect();
            if op.steps().all(|step| take(&mut records, &step)) {
                for step in op.steps() {
                    self.version += 1;
                    self.confirmed.insert(step.key.to_owned(), (self.version, records[step.key].clone()));
                }
            }
        }
        let told = |key: &str| {
            let (version, record) = self.confirmed.get(key)?;
            Some(json!({"table": "companies", "key": key, "version": version.to_string(), "record": record}))
        };
        let mut answer = json!({"protocol": 1, "id": op.id, "table": op.table, "key": op.key, "replayed": false,
            "outcome": outcome, "code": "x", "message": "x"});
        if let Some(first) = told(&op.key) {
            (answer["version"], answer["record"]) = (first["version"].clone(), first["record"].clone());
        }
        if !op.parts.is_empty() {
            answer["records"] = op.steps().filter_map(|step| told(step.key)).collect();
        }
        let answer: Answer<JsonRecord> = serde_json::from_value(answer).unwrap();
        self.tell(Input::Answered { answer });
    }

    fn seen(&self, key: &str) -> Option<Fields> {
        self.engine.visible("companies", key).map(|record| plain(&record))
    }

    /// What is to be seen, from scratch.
    fn expected(&self) -> BTreeMap<String, Option<Fields>> {
        let confirmed = |key: &&str| {
            let record = self.confirmed.get(*key).and_then(|(_, record)| record.clone());
            ((*key).to_owned(), record)
        };
        let mut records: BTreeMap<String, Option<Fields>> = KEYS.iter().map(confirmed).collect();
        for op in &self.pending {
            let mut after = records.clone();
            if op.steps().all(|step| take(&mut after, &step)) {
                records = after;
            }
        }
        records
    }

    fn check(&self) {
        for (key, expected) in self.expected() {
            assert_eq!(self.seen(&key), expected, "{key} with {:#?} over {:?}", self.pending, self.confirmed);
        }
    }
}

/// Applies one change in place; false when it does not apply.
fn take(records: &mut BTreeMap<String, Option<Fields>>, step: &Step<'_>) -> bool {
    let next = applied(records.get(step.key).cloned().flatten(), step);
    let does_apply = next.is_some();
    if let Some(next) = next {
        records.insert(step.key.to_owned(), next);
    }
    does_apply
}

#[derive(Clone, Debug)]
enum Deed {
    Do(Json),
    Transact(Vec<Json>),
    Server(usize, Option<&'static str>),
    End(usize, &'static str),
    Fail(usize),
}

fn command() -> impl Strategy<Value = Json> {
    (0..KEYS.len(), 0..4_usize, 0..2_usize).prop_map(|(key, what, which)| {
        let (key, word) = (KEYS[key], ["maya", "jonas"][which]);
        [patch(key, word), assign(key, word), insert(key), delete(key)][what].clone()
    })
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => command().prop_map(Deed::Do),
        4 => prop::collection::vec(command(), 2..4).prop_map(Deed::Transact),
        3 => (0..KEYS.len(), prop::option::of(prop::sample::select(vec!["maya", "jonas"])))
            .prop_map(|(key, owner)| Deed::Server(key, owner)),
        2 => (0..9_usize, prop::sample::select(vec!["confirmed", "refused", "conflicted"]))
            .prop_map(|(at, outcome)| Deed::End(at, outcome)),
        1 => (0..9_usize).prop_map(Deed::Fail),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_seen_is_always_what_recomputing_from_scratch_gives(deeds in prop::collection::vec(deed(), 1..40)) {
        let mut lone = Lone::new();
        for deed in deeds {
            match deed {
                Deed::Do(command) => { lone.tell(Input::Mutate(serde_json::from_value(command).unwrap())); }
                Deed::Transact(commands) => {
                    lone.tell(Input::Transact { commands: serde_json::from_value(json!(commands)).unwrap() });
                }
                Deed::Server(key, None) => lone.set_confirmed(KEYS[key], None),
                Deed::Server(key, Some(owner)) => {
                    let record = json!({"id": KEYS[key], "name": "Harbour", "city": "Bremen", "owner_id": owner});
                    lone.set_confirmed(KEYS[key], Some(record));
                }
                // The server confirms in the order of each record, so the first of all is always one of them.
                Deed::End(at, outcome) if !lone.pending.is_empty() => {
                    let at = if outcome == "confirmed" { 0 } else { at % lone.pending.len() };
                    lone.end(at, outcome);
                }
                Deed::Fail(at) if !lone.pending.is_empty() => {
                    let id = lone.pending[at % lone.pending.len()].id;
                    let message = "the call failed".to_owned();
                    lone.tell(Input::PushFailed { id, failure: Failure::RateLimit, message, after_ms: Some(1_000) });
                }
                Deed::End(..) | Deed::Fail(_) => {}
            }
            lone.check();
        }
    }
}

#[test]
fn what_was_only_acknowledged_stays_seen_until_the_rows_of_all_its_records_are_here() {
    let mut world = World::with_tabs(1);
    (world.faults.silent, world.checks) = (true, false);
    let city = |key: &str| json!({"name": "patch", "table": "companies", "key": key, "set": {"city": "Kiel"}});
    let id = world.tab(0).transact(json!([city("c-1"), city("c-2")]));
    // The version is that of the first record; the second one's is higher.
    let answer = json!({"protocol": 1, "id": id, "table": "companies", "key": "c-1", "replayed": false, "outcome": "confirmed", "version": "900"});
    world.tell(0, Input::Answered { answer: serde_json::from_value(answer).unwrap() });
    let row = |key: &str, version: &str| {
        let record = json!({"id": key, "city": "Kiel"});
        let row = json!({"table": "companies", "key": key, "version": version, "op": null, "record": record});
        ServerEvent::Changed { row: serde_json::from_value(row).unwrap(), partial: false }
    };
    world.tell(0, Input::ServerChanged { events: vec![row("c-2", "901")] });
    assert_eq!(world.tabs[0].field("c-1", "city"), "Kiel".into());
    assert_eq!(world.tabs[0].operations[&id].state, OperationState::Acknowledged);
}
