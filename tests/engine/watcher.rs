//! Somebody who watches a view: repeats the edits that it is told, and compares what comes of them with the records
//! filtered, sorted and cut afresh. What the words of a view mean is written here a second time, from their description alone.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rota_engine::{Edit, Fields, FigureKind, Filter, RecordId, Value, ViewChange, ViewSpec, WindowChange};

/// What a watcher may look records up in: their keys and contents by number.
pub type Seen = BTreeMap<RecordId, (String, Fields)>;

pub struct Watcher {
    pub spec: ViewSpec,
    /// The window, each record as it was when the watcher was last told of it.
    pub window: Vec<(RecordId, Fields)>,
    pub total: u32,
    pub figures: Vec<Option<f64>>,
    pub groups: BTreeMap<String, Vec<Option<f64>>>,
    /// How often it was told something.
    pub told: u32,
    /// The steps that it was told, resets counted as none.
    pub edits: Vec<Edit>,
}

impl Watcher {
    pub fn new(spec: &ViewSpec) -> Self {
        let (window, groups, edits) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { spec: spec.clone(), window, total: 0, figures: Vec::new(), groups, told: 0, edits }
    }

    pub fn hear(&mut self, change: &ViewChange, seen: &Seen) {
        let is_first = self.told == 0;
        let look = |id: &RecordId| (*id, seen[id].1.clone());
        match &change.window {
            WindowChange::Reset(ids) => self.window = ids.iter().map(look).collect(),
            WindowChange::Edits(edits) => {
                for edit in edits {
                    match edit {
                        Edit::Remove { at } => drop(self.window.remove(*at as usize)),
                        Edit::Insert { at, id } => self.window.insert(*at as usize, look(id)),
                        Edit::Update { at } => {
                            let place = &mut self.window[*at as usize];
                            *place = look(&place.0);
                        }
                    }
                }
                assert!(edits.len() <= self.window.len(), "a reset would have been shorter");
                self.edits.extend(edits);
                let is_news = !edits.is_empty()
                    || change.total != self.total
                    || change.figures.is_some()
                    || !change.groups.is_empty();
                assert!(is_news && !is_first, "told of nothing");
            }
        }
        self.total = change.total;
        if let Some(figures) = &change.figures {
            assert_ne!(&self.figures, figures, "told of figures that are as they were");
            self.figures.clone_from(figures);
        }
        for group in &change.groups {
            let name = serde_json::to_string(&group.group).unwrap();
            let before = match &group.figures {
                Some(figures) => self.groups.insert(name, figures.clone()),
                None => self.groups.remove(&name),
            };
            assert_ne!(before, group.figures, "told of a group that is as it was");
        }
        self.told += 1;
    }

    /// The keys of the records in the window.
    pub fn keys(&self, seen: &Seen) -> Vec<String> {
        self.window.iter().map(|(id, _)| seen[id].0.clone()).collect()
    }

    /// A field of the records in the window.
    pub fn column(&self, field: &str) -> Vec<Value> {
        self.window.iter().map(|(_, record)| record.get(field).cloned().unwrap_or_default()).collect()
    }

    /// What it was told is what filtering, sorting, cutting and counting all visible records of the table gives.
    pub fn check(&self, records: &[(&str, &Fields)], seen: &Seen) {
        let matching = select(&self.spec, records);
        assert_eq!(self.total as usize, matching.len(), "the total of {:?}", self.spec);
        let rest = matching.iter().skip(self.spec.offset as usize);
        let expected: Vec<_> = rest.take(self.spec.limit.map_or(usize::MAX, |limit| limit as usize)).collect();
        let shown: Vec<_> = self.window.iter().map(|(id, record)| (seen[id].0.as_str(), record)).collect();
        assert!(shown.iter().eq(expected), "{:?} shows {shown:?}", self.spec);
        let records =
            |matching: &[(&str, &Fields)]| matching.iter().map(|(_, record)| (*record).clone()).collect::<Vec<_>>();
        if !self.spec.figures.is_empty() {
            assert_eq!(self.figures, figures(&self.spec, &records(&matching)), "the figures of {:?}", self.spec);
        }
        let mut groups: BTreeMap<String, Vec<Fields>> = BTreeMap::new();
        for record in records(&matching).into_iter().filter(|_| !self.spec.group_by.is_empty()) {
            let group: Vec<Value> = self.spec.group_by.iter().map(|field| read(&record, field)).collect();
            groups.entry(serde_json::to_string(&group).unwrap()).or_default().push(record);
        }
        let groups: BTreeMap<_, _> =
            groups.into_iter().map(|(group, records)| (group, figures(&self.spec, &records))).collect();
        assert_eq!(self.groups, groups, "the groups of {:?}", self.spec);
    }
}

/// The records that match, in order.
fn select<'a>(spec: &ViewSpec, records: &[(&'a str, &'a Fields)]) -> Vec<(&'a str, &'a Fields)> {
    let passes = |record: &Fields| spec.filter.as_ref().is_none_or(|filter| holds(filter, record));
    let mut matching: Vec<_> = records.iter().filter(|(_, record)| passes(record)).copied().collect();
    matching.sort_by(|one, other| {
        for key in &spec.sort {
            let (left, right) = (read(one.1, &key.field), read(other.1, &key.field));
            let order = match (left.is_null(), right.is_null()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) if key.descending => order(&right, &left),
                (false, false) => order(&left, &right),
            };
            if order.is_ne() {
                return order;
            }
        }
        one.0.chars().cmp(other.0.chars())
    });
    matching
}

fn read(record: &Fields, field: &str) -> Value {
    record.get(field).cloned().unwrap_or_default()
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
        (Value::Map(one), Value::Map(other)) => {
            let pairs = |fields: &Fields| -> Vec<Value> {
                fields.iter().flat_map(|(name, value)| [Value::from(name.as_str()), value.clone()]).collect()
            };
            order(&Value::List(pairs(one)), &Value::List(pairs(other)))
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

fn figures(spec: &ViewSpec, records: &[Fields]) -> Vec<Option<f64>> {
    let figure = |figure: &rota_engine::FigureSpec| {
        let values: Vec<Value> = match &figure.field {
            Some(field) => records.iter().map(|record| read(record, field)).collect(),
            None => vec![Value::Bool(true); records.len()],
        };
        let numbers: Vec<f64> = values
            .iter()
            .filter_map(|value| if let Value::Number(number) = value { Some(*number) } else { None })
            .collect();
        match figure.kind {
            FigureKind::Count => Some(values.iter().filter(|value| !value.is_null()).count() as f64),
            FigureKind::Sum => Some(sum(&numbers)),
            FigureKind::Average if numbers.is_empty() => None,
            FigureKind::Average => Some(sum(&numbers) / numbers.len() as f64),
        }
    };
    spec.figures.iter().map(figure).collect()
}

/// The exact sum, rounded once: the numbers of these tests are whole multiples of 2⁻⁶⁰, and integers do not round.
fn sum(numbers: &[f64]) -> f64 {
    let scale = 2.0_f64.powi(60);
    let whole = |number: &f64| {
        let scaled = number * scale;
        assert!(scaled.fract() == 0.0 && scaled.abs() < 2.0_f64.powi(120), "too fine a number for this test");
        scaled as i128
    };
    numbers.iter().map(whole).sum::<i128>() as f64 / scale
}
