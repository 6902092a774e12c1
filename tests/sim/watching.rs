//! People who watch: which live lists they open, and a crowd of records that no list can keep all groups of.

use rota_engine::{
    FieldName, Fields, FigureKind, FigureSpec, Filter, GROUPS_MAX, Input, JsonRecord, Range, Record, Row, ServerEvent,
    SortKey, TOMBSTONES_MAX, Term, Terms, Value, ViewSpec,
};

use crate::faults::Fault;
use crate::oracle::broken;
use crate::server::{Key, TABLES, version};
use crate::workload::{Draw, Pick, USERS, generator};
use crate::world::World;

/// How many lists one tab keeps open.
const LISTS_MAX: usize = 5;

/// Weights of which sums round, and what is none.
const WEIGHTS: [f64; 8] = [0.1, 0.7, -0.3, 3.0, 1e9 + 0.1, 1e15, -1e15, 0.2];

/// The value that a record's weight is set to.
pub fn weight(nth: u64) -> Value {
    let at = usize::try_from(nth).unwrap_or(0);
    WEIGHTS.get(at).map_or(Value::Null, |number| Value::Number(*number))
}

/// The list that weighs everything there is.
pub const SCALES: u64 = 0;

fn scales() -> ViewSpec {
    let figure = |name: &str, kind| FigureSpec { name: name.to_owned(), kind, field: Some("weight".to_owned()) };
    let figures = vec![figure("sum", FigureKind::Sum), figure("average", FigureKind::Average)];
    let group_by = vec!["city".to_owned()];
    ViewSpec { table: TABLES[0].to_owned(), figures, group_by, limit: Some(0), ..ViewSpec::default() }
}

/// Makes a list out of a number.
pub fn spec_of(number: u64) -> ViewSpec {
    if number == SCALES {
        return scales();
    }
    let mut draw = Draw(generator(number, 2));
    let is_main = draw.percent(80);
    let fields: &[&str] =
        if is_main { &["id", "name", "city", "owner_id", "visits", "tags", "weight"] } else { &["id", "name"] };
    let sort = (0..draw.of(&[0, 1, 1, 1, 2, 3]))
        .map(|_| SortKey { field: draw.of(fields).to_owned(), descending: draw.percent(50) })
        .collect();
    let mut figures = Vec::new();
    for n in 0..draw.of(&[0, 0, 1, 2, 3]) {
        let kind = draw.of(&[FigureKind::Count, FigureKind::Sum, FigureKind::Average]);
        let number = if is_main { draw.of(&["weight", "weight", "visits", "city"]) } else { "name" };
        let field = (kind != FigureKind::Count || draw.percent(50)).then(|| number.to_owned());
        figures.push(FigureSpec { name: format!("f{n}"), kind, field });
    }
    let groups = if figures.is_empty() { 0 } else { draw.of(&[0, 0, 1, 2]) };
    ViewSpec {
        table: TABLES[usize::from(!is_main)].to_owned(),
        filter: draw.percent(65).then(|| filter(&mut draw, fields, 2)),
        sort,
        limit: draw.of(&[None, Some(0), Some(1), Some(2), Some(3), Some(3), Some(5), Some(50)]),
        offset: draw.of(&[0, 0, 0, 1, 2, 20]),
        figures,
        group_by: (0..groups).map(|_| draw.of(fields).to_owned()).collect(),
    }
}

fn value(draw: &mut Draw) -> Value {
    match draw.below(10) {
        0 => Value::Null,
        1 => Value::Number(0.0),
        2 => Value::Number(2.0),
        3 => weight(draw.below(8)),
        4 => "c-1".into(),
        5 => "Harbour".into(),
        6 => "r".into(),
        7 => "anna".into(),
        _ => draw.of(&["Bremen", "Kiel", "Ulm", "Jena", "Hof"]).into(),
    }
}

fn filter(draw: &mut Draw, fields: &[&str], depth: u32) -> Filter {
    let field = draw.of(fields).to_owned();
    let kinds = if depth == 0 { 10 } else { 14 };
    match draw.below(kinds) {
        0 => Filter::Eq(Term { field, value: value(draw) }),
        1 => Filter::Neq(Term { field, value: value(draw) }),
        2 => Filter::Lt(Term { field, value: value(draw) }),
        3 => Filter::Lte(Term { field, value: value(draw) }),
        4 => Filter::Gt(Term { field, value: value(draw) }),
        5 => Filter::Gte(Term { field, value: value(draw) }),
        6 => Filter::In(Terms { field, values: (0..draw.below(4)).map(|_| value(draw)).collect() }),
        7 => Filter::IsNull(FieldName { field }),
        8 => Filter::Contains(Term { field, value: value(draw) }),
        9 => Filter::Between(Range { field, from: value(draw), to: value(draw) }),
        10 => Filter::And((0..draw.below(3)).map(|_| filter(draw, fields, depth - 1)).collect()),
        11 => Filter::Or((0..=draw.below(3)).map(|_| filter(draw, fields, depth - 1)).collect()),
        _ => Filter::Not(Box::new(filter(draw, fields, depth - 1))),
    }
}

impl World {
    /// Somebody watches a list from now on.
    pub fn watch(&mut self, tab: Pick, number: u64) {
        let Some(tab) = self.awake(tab).filter(|tab| self.tabs[*tab].mirror.lists.ids().len() < LISTS_MAX) else {
            return;
        };
        self.open_list(tab, &spec_of(number));
    }

    fn open_list(&mut self, tab: usize, spec: &ViewSpec) -> u32 {
        let id = self.tabs[tab].mirror.lists.open(spec);
        if let Err(error) = self.feed(tab, Input::OpenView { id, spec: spec.clone() }) {
            broken!("12", "{} does not open {spec:?}: {error}", self.tabs[tab].name);
        }
        id
    }

    /// Somebody has seen enough.
    pub fn look_away(&mut self, tab: Pick, nth: u64) {
        let Some(tab) = self.awake(tab) else { return };
        let ids = self.tabs[tab].mirror.lists.ids();
        let Some(at) = nth.checked_rem(ids.len() as u64).and_then(|at| usize::try_from(at).ok()) else { return };
        self.tabs[tab].mirror.lists.close(ids[at]);
        if let Err(error) = self.feed(tab, Input::CloseView { id: ids[at] }) {
            broken!("12", "{} does not close a list: {error}", self.tabs[tab].name);
        }
    }

    /// More records come and go than lists keep groups of, and than ends of records are remembered. One tab that nobody else hears
    /// watches them come; the others hear of their ends.
    pub fn end_many(&mut self) {
        let (browser, user) = (2, 2);
        let count = TOMBSTONES_MAX.max(GROUPS_MAX) + 50;
        self.server.ended += count;
        let is_there = |tab: &crate::shell::Tab| tab.is_alive && (tab.browser, tab.user) == (browser, user);
        if self.living().len() < 9 && !self.tabs.iter().any(is_there) {
            self.watch_a_crowd(browser, user, count);
        } else {
            self.server.end_many(count);
        }
        self.faults.add(Fault::ManyEnded);
        for tab in self.open_tabs() {
            self.tell(tab, Input::Reconnect);
        }
    }

    fn watch_a_crowd(&mut self, browser: usize, user: usize, count: usize) {
        self.faults.add(Fault::CrowdWatched);
        let tab = self.open_tab(browser, user);
        let figures = vec![FigureSpec { name: "n".into(), kind: FigureKind::Count, field: None }];
        let by = |field: &str| vec![SortKey { field: field.to_owned(), descending: true }];
        let all = ViewSpec { table: TABLES[1].to_owned(), figures, ..ViewSpec::default() };
        let grouped = self
            .open_list(tab, &ViewSpec { limit: Some(3), group_by: vec!["name".to_owned()], sort: by("name"), ..all });
        let plain = ViewSpec { table: TABLES[1].to_owned(), limit: Some(4), offset: 9_000, ..ViewSpec::default() };
        self.open_list(tab, &ViewSpec { sort: by("id"), ..plain });
        let keys: Vec<Key> = (0..count).map(|n| self.server.key(TABLES[1], &format!("e-{n}"))).collect();
        for (n, key) in keys.iter().enumerate() {
            self.server.sql_set(*key, "name", format!("g{n}").as_str().into());
        }
        self.tell_of(tab, &keys);
        if self.tabs[tab].mirror.lists.groups_of(grouped) != (GROUPS_MAX, true) {
            let told = self.tabs[tab].mirror.lists.groups_of(grouped);
            broken!("10", "{} tells of {told:?} groups", self.tabs[tab].name);
        }
        // Within the groups that are kept, among the rest, from one to the other, and one at a time.
        for (n, name) in [(count - 1, "g7"), (9, "g7"), (11, "new"), (count - 2, "new"), (13, USERS[0])] {
            self.server.sql_set(keys[n], "name", name.into());
            self.tell_of(tab, &keys[n..=n]);
        }
        for key in &keys[10..] {
            self.server.sql_delete(*key);
        }
        self.tell_of(tab, &keys[10..]);
        // There is room again.
        self.server.sql_set(keys[5], "name", "newer".into());
        self.tell_of(tab, &keys[5..6]);
        for key in &keys[..10] {
            self.server.sql_delete(*key);
        }
        self.server.news.clear();
        self.kill_tab(tab);
        self.browsers[browser].cached[user].clear();
    }

    /// The stream tells one tab of records as they are now, all at once.
    fn tell_of(&mut self, tab: usize, keys: &[Key]) {
        let event = |key: &Key| {
            let known = &self.server.known[*key];
            let stand = known.stand()?;
            let (table, key) = (TABLES[known.table].to_owned(), known.key.clone());
            let record = stand.record.as_ref().map(|record| JsonRecord::create(record.fields()));
            let row = Row { table, key, version: version(stand.version), op: None, record };
            Some(ServerEvent::Changed { row, partial: false })
        };
        let events = keys.iter().filter_map(event).collect();
        self.tell(tab, Input::ServerChanged { events });
    }
}

/// What sets a record's weight.
pub fn weighing(nth: u64) -> Fields {
    Fields::from([("weight".to_owned(), weight(nth))])
}
