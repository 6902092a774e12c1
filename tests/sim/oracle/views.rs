//! What is watched: each tab's live lists, kept from what it tells alone, and compared with its records filtered, sorted, cut and
//! counted afresh. What the words of a list mean is written here from their description.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rota_engine::{
    Edit, Fields, FigureKind, Filter, GROUPS_MAX, JsonRecord, RecordChange, RecordId, Value, ViewChange, ViewSpec,
    WindowChange,
};

use super::{Who, broken};
use crate::server::{Key, Server, TABLES};

type Told = Vec<Option<f64>>;

/// Somebody who watches one live list.
struct Watcher {
    id: u32,
    table: usize,
    spec: ViewSpec,
    /// Each record as it was when this was last told of it.
    window: Vec<(Key, JsonRecord)>,
    total: u32,
    figures: Told,
    groups: BTreeMap<String, Told>,
    /// What is told of all groups that are not kept.
    rest: Option<Told>,
    was_told: bool,
    /// Something in the step under way has to do with it.
    is_touched: bool,
}

/// All lists that one tab keeps for its people.
#[derive(Default)]
pub struct Watchers {
    open: Vec<Watcher>,
    /// The records' numbers, as the tab tells them.
    numbers: Vec<Option<Key>>,
    /// The records that the change list at hand tells of.
    changed: Vec<Key>,
    last_id: u32,
}

impl Watchers {
    /// Somebody is about to watch. Returns the number to give the list.
    pub fn open(&mut self, spec: &ViewSpec) -> u32 {
        let table = TABLES.iter().position(|name| *name == spec.table).expect("only declared tables are watched");
        self.last_id += 1;
        self.open.push(Watcher {
            id: self.last_id,
            table,
            spec: spec.clone(),
            window: Vec::new(),
            total: 0,
            figures: Vec::new(),
            groups: BTreeMap::new(),
            rest: None,
            was_told: false,
            is_touched: true,
        });
        self.last_id
    }

    pub fn close(&mut self, id: u32) {
        self.open.retain(|watcher| watcher.id != id);
    }

    /// The numbers of all open lists.
    pub fn ids(&self) -> Vec<u32> {
        self.open.iter().map(|watcher| watcher.id).collect()
    }

    /// How many groups a list is told of one by one, and whether there is a rest.
    pub fn groups_of(&self, id: u32) -> (usize, bool) {
        let watcher = self.open.iter().find(|watcher| watcher.id == id);
        watcher.map_or((0, false), |watcher| (watcher.groups.len(), watcher.rest.is_some()))
    }

    /// A record is told of.
    pub fn on_record(&mut self, key: Key, change: &RecordChange<JsonRecord>) {
        let at = change.id.0 as usize;
        if at >= self.numbers.len() {
            self.numbers.resize(at + 1, None);
        }
        self.numbers[at] = Some(key);
        self.changed.push(key);
        for watcher in self.open.iter_mut().filter(|watcher| watcher.table == change.table) {
            watcher.is_touched = true;
        }
    }

    /// Lists are told of, with the records already as the same change list has them.
    pub fn hear(&mut self, who: &Who, changes: &[ViewChange], records: &[Option<JsonRecord>]) {
        let seen = Seen { who, numbers: &self.numbers, changed: &self.changed, records };
        for (at, change) in changes.iter().enumerate() {
            if changes[..at].iter().any(|earlier| earlier.id == change.id) {
                broken!("12", "{} tells twice at once of list {}", who.name, change.id);
            }
            let Some(watcher) = self.open.iter_mut().find(|watcher| watcher.id == change.id) else {
                broken!("12", "{} tells of list {}, which nobody watches", who.name, change.id)
            };
            watcher.hear(change, &seen);
        }
        self.changed.clear();
    }

    /// Numbers that are given back may be another record's from now on.
    pub fn on_released(&mut self, id: RecordId) {
        self.numbers[id.0 as usize] = None;
    }

    /// What was told is what filtering, sorting, cutting and counting everything that is seen gives.
    pub fn check(&mut self, server: &Server, who: &Who, records: &[Option<JsonRecord>], full: bool) {
        for watcher in self.open.iter_mut().filter(|watcher| full || watcher.is_touched) {
            watcher.check(server, who, records);
            watcher.is_touched = false;
        }
    }
}

/// What a change list may be read with: numbers of records, and the records as it leaves them.
struct Seen<'a> {
    who: &'a Who<'a>,
    numbers: &'a [Option<Key>],
    changed: &'a [Key],
    records: &'a [Option<JsonRecord>],
}

impl Seen<'_> {
    fn by_number(&self, id: RecordId) -> (Key, JsonRecord) {
        let Some(Some(key)) = self.numbers.get(id.0 as usize) else {
            broken!("12", "{} lists a number {id:?} that it has given to no record", self.who.name)
        };
        (*key, self.at(*key))
    }

    fn at(&self, key: Key) -> JsonRecord {
        let Some(record) = &self.records[key] else {
            broken!("12", "{} lists record {key}, of which there is nothing to be seen", self.who.name)
        };
        record.clone()
    }
}

impl Watcher {
    fn hear(&mut self, change: &ViewChange, seen: &Seen) {
        let who = seen.who;
        let is_first = !std::mem::replace(&mut self.was_told, true);
        self.is_touched = true;
        let mut is_news = is_first || change.total != self.total;
        match &change.window {
            WindowChange::Reset(ids) => {
                let window: Vec<_> = ids.iter().map(|id| seen.by_number(*id)).collect();
                is_news |= window != self.window || window.iter().any(|(key, _)| seen.changed.contains(key));
                self.window = window;
            }
            WindowChange::Edits(edits) => {
                if is_first {
                    broken!("12", "{} begins list {} with steps from nothing", who.name, self.id);
                }
                is_news |= !edits.is_empty();
                for edit in edits {
                    self.repeat(*edit, seen);
                }
                if edits.len() > self.window.len() {
                    broken!("12", "{} tells list {} in more steps than it is long", who.name, self.id);
                }
            }
        }
        self.total = change.total;
        if let Some(figures) = &change.figures {
            is_news |= self.figures != *figures;
            self.figures.clone_from(figures);
        }
        for change in &change.groups {
            let before = match &change.group {
                None => std::mem::replace(&mut self.rest, change.figures.clone()),
                Some(values) => match &change.figures {
                    Some(figures) => self.groups.insert(name_of(values), figures.clone()),
                    None => self.groups.remove(&name_of(values)),
                },
            };
            if before == change.figures {
                broken!("12", "{} tells list {} of a group that is as it was", who.name, self.id);
            }
            is_news = true;
        }
        if !is_news {
            broken!("12", "{} tells list {} of nothing", who.name, self.id);
        }
    }

    fn repeat(&mut self, edit: Edit, seen: &Seen) {
        let (Edit::Remove { at } | Edit::Insert { at, .. } | Edit::Update { at }) = edit;
        let (at, len, who) = (at as usize, self.window.len(), seen.who);
        let is_in = at < len || (at == len && matches!(edit, Edit::Insert { .. }));
        if !is_in {
            broken!("12", "{} tells list {} of place {at}, with {len} there", who.name, self.id);
        }
        match edit {
            Edit::Remove { .. } => drop(self.window.remove(at)),
            Edit::Insert { id, .. } => self.window.insert(at, seen.by_number(id)),
            Edit::Update { .. } => {
                let key = self.window[at].0;
                if !seen.changed.contains(&key) {
                    broken!("12", "{} tells list {} of a change of record {key}, which has none", who.name, self.id);
                }
                self.window[at].1 = seen.at(key);
            }
        }
    }

    fn check(&self, server: &Server, who: &Who, records: &[Option<JsonRecord>]) {
        if !self.was_told {
            broken!("12", "{} never told list {} what it shows", who.name, self.id);
        }
        let all = server.known.iter().zip(records).enumerate().filter(|(_, (known, _))| known.table == self.table);
        let mut matching: Vec<(Key, &str, &JsonRecord)> = all
            .filter_map(|(key, (known, record))| Some((key, known.key.as_str(), record.as_ref()?)))
            .filter(|(_, _, record)| self.spec.filter.as_ref().is_none_or(|filter| holds(filter, record.fields())))
            .collect();
        matching.sort_by(|one, other| {
            let order = sorted(&self.spec, one.2.fields(), other.2.fields());
            order.then_with(|| one.1.chars().cmp(other.1.chars()))
        });
        let limit = self.spec.limit.map_or(usize::MAX, |limit| limit as usize);
        let expected = matching.iter().skip(self.spec.offset as usize).take(limit);
        if !expected.clone().map(|(key, _, record)| (*key, *record)).eq(self.window.iter().map(|(key, it)| (*key, it)))
        {
            let expected: Vec<_> = expected.collect();
            broken!("2", "{}: {:?} shows {:?} instead of {expected:?}", who.name, self.spec, self.window);
        }
        if self.total as usize != matching.len() {
            let count = matching.len();
            broken!("2", "{}: {:?} has a total of {} instead of {count}", who.name, self.spec, self.total);
        }
        let matching: Vec<&Fields> = matching.iter().map(|(_, _, record)| record.fields()).collect();
        let figures = self.figures_of(&matching);
        if self.figures != figures {
            broken!("2", "{}: {:?} has the figures {:?}, not {figures:?}", who.name, self.spec, self.figures);
        }
        self.check_groups(who, &matching);
    }

    /// Each group that is told of is right as a whole, and the rest is all others together. There is a rest only once there were
    /// more groups than are kept.
    fn check_groups(&self, who: &Who, matching: &[&Fields]) {
        let mut groups: BTreeMap<String, Vec<&Fields>> = BTreeMap::new();
        for record in matching.iter().filter(|_| !self.spec.group_by.is_empty()) {
            let values: Vec<Value> = self.spec.group_by.iter().map(|field| read(record, field)).collect();
            groups.entry(name_of(&values)).or_default().push(record);
        }
        for (name, told) in &self.groups {
            let figures = self.figures_of(groups.get(name).map_or(&[], Vec::as_slice));
            if !groups.contains_key(name) || *told != figures {
                broken!("2", "{}: {:?} has {told:?} for group {name}, not {figures:?}", who.name, self.spec);
            }
        }
        let rest: Vec<&Fields> = groups
            .iter()
            .filter(|(name, _)| !self.groups.contains_key(*name))
            .flat_map(|(_, all)| all.clone())
            .collect();
        let expected = (!rest.is_empty()).then(|| self.figures_of(&rest));
        if self.rest != expected {
            broken!("2", "{}: {:?} has {:?} for all other groups, not {expected:?}", who.name, self.spec, self.rest);
        }
        if self.groups.len() > GROUPS_MAX {
            broken!("10", "{}: a list has {} groups", who.name, self.groups.len());
        }
    }

    fn figures_of(&self, records: &[&Fields]) -> Told {
        let figure = |figure: &rota_engine::FigureSpec| {
            let value = |record: &&Fields| figure.field.as_ref().map_or(Value::Bool(true), |field| read(record, field));
            let values: Vec<Value> = records.iter().map(value).collect();
            let number = |value: &Value| if let Value::Number(number) = value { Some(*number) } else { None };
            let numbers: Vec<f64> = values.iter().filter_map(number).collect();
            match figure.kind {
                FigureKind::Count => Some(size(values.iter().filter(|value| !value.is_null()).count())),
                FigureKind::Sum => Some(sum(&numbers)),
                FigureKind::Average => (!numbers.is_empty()).then(|| sum(&numbers) / size(numbers.len())),
            }
        };
        self.spec.figures.iter().map(figure).collect()
    }
}

fn name_of(group: &[Value]) -> String {
    serde_json::to_string(group).expect("values are data")
}

fn size(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("no world has so many records"))
}

/// The exact sum, rounded once: the numbers of a world are whole multiples of 2⁻⁶⁰, and whole numbers do not round.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the one is exact, the other is the rounding"
)]
fn sum(numbers: &[f64]) -> f64 {
    let scale = 2.0_f64.powi(60);
    let whole = |number: &f64| {
        let scaled = number * scale;
        assert!(scaled.fract() == 0.0 && scaled.abs() < 2.0_f64.powi(120), "too fine a number for this world");
        scaled as i128
    };
    numbers.iter().map(whole).sum::<i128>() as f64 / scale
}

fn read(record: &Fields, field: &str) -> Value {
    record.get(field).cloned().unwrap_or_default()
}

/// How two records of a list stand to each other, but for their keys.
fn sorted(spec: &ViewSpec, one: &Fields, other: &Fields) -> Ordering {
    let by = |key: &rota_engine::SortKey| {
        let (left, right) = (read(one, &key.field), read(other, &key.field));
        match (left.is_null(), right.is_null()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) if key.descending => order(&right, &left),
            (false, false) => order(&left, &right),
        }
    };
    spec.sort.iter().map(by).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn order(one: &Value, other: &Value) -> Ordering {
    let kind = |value: &Value| match value {
        Value::Bool(_) => 0,
        Value::Number(_) => 1,
        Value::String(_) => 2,
        Value::List(_) => 3,
        Value::Map(_) => 4,
        Value::Null => 5,
    };
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        (Value::Number(one), Value::Number(other)) => one.total_cmp(other),
        (Value::String(one), Value::String(other)) => one.chars().cmp(other.chars()),
        (Value::List(one), Value::List(other)) => {
            let unequal = one.iter().zip(other).map(|(one, other)| order(one, other)).find(|order| order.is_ne());
            unequal.unwrap_or_else(|| one.len().cmp(&other.len()))
        }
        _ => kind(one).cmp(&kind(other)),
    }
}

fn holds(filter: &Filter, record: &Fields) -> bool {
    let alike = |field: &str, value: &Value| {
        let known = read(record, field);
        let is_plain = matches!(known, Value::Bool(_) | Value::Number(_) | Value::String(_));
        let is_alike = std::mem::discriminant(&known) == std::mem::discriminant(value);
        (is_plain && is_alike).then(|| order(&known, value))
    };
    match filter {
        Filter::Eq(term) => read(record, &term.field) == term.value,
        Filter::Neq(term) => read(record, &term.field) != term.value,
        Filter::Lt(term) => alike(&term.field, &term.value).is_some_and(Ordering::is_lt),
        Filter::Lte(term) => alike(&term.field, &term.value).is_some_and(Ordering::is_le),
        Filter::Gt(term) => alike(&term.field, &term.value).is_some_and(Ordering::is_gt),
        Filter::Gte(term) => alike(&term.field, &term.value).is_some_and(Ordering::is_ge),
        Filter::In(terms) => terms.values.contains(&read(record, &terms.field)),
        Filter::IsNull(named) => read(record, &named.field).is_null(),
        Filter::Contains(term) => match (read(record, &term.field), &term.value) {
            (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
            (Value::List(items), value) => items.contains(value),
            _ => false,
        },
        Filter::Between(range) => {
            alike(&range.field, &range.from).is_some_and(Ordering::is_ge)
                && alike(&range.field, &range.to).is_some_and(Ordering::is_le)
        }
        Filter::And(filters) => filters.iter().all(|filter| holds(filter, record)),
        Filter::Or(filters) => filters.iter().any(|filter| holds(filter, record)),
        Filter::Not(filter) => !holds(filter, record),
    }
}
