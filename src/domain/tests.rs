//! What rules can look at, in their tests: every record, without any order kept.

use std::collections::BTreeMap;

use crate::engine::record::{JsonRecord, Record};
use crate::engine::rules::{Context, Look};
use crate::engine::value::{Fields, Value};

/// What is seen, by whom, and when.
pub(crate) struct World {
    pub(crate) user: String,
    pub(crate) now_ms: u64,
    pub(crate) facts: Fields,
    records: BTreeMap<(String, String), JsonRecord>,
}

impl World {
    pub(crate) fn new(user: &str, now_ms: u64) -> Self {
        Self { user: user.into(), now_ms, facts: Fields::new(), records: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, table: &str, key: &str, record: serde_json::Value) {
        let fields: Fields = serde_json::from_value(record).unwrap();
        self.records.insert((table.into(), key.into()), JsonRecord::create(&fields));
    }

    pub(crate) fn ask<T>(&self, question: impl FnOnce(&Context<'_, JsonRecord>) -> T) -> T {
        question(&Context { user: &self.user, now_ms: self.now_ms, facts: &self.facts, look: self })
    }
}

impl Look<JsonRecord> for World {
    fn record(&self, table: &str, key: &str) -> Option<JsonRecord> {
        self.records.get(&(table.into(), key.into())).cloned()
    }

    /// By `created_at`, as the only list that is asked for in its order is.
    fn first(&self, table: &str, _watch: usize, len: usize) -> Vec<(String, JsonRecord)> {
        let of_table = self.records.iter().filter(|((of, _), _)| of == table);
        let mut found: Vec<(String, JsonRecord)> =
            of_table.map(|((_, key), record)| (key.clone(), record.clone())).collect();
        let order = |record: &JsonRecord| record.field("created_at").and_then(|at| at.as_str().map(str::to_owned));
        found.sort_by_key(|(_, record)| order(record));
        found.truncate(len);
        found
    }

    /// Everything: a rule looks at what it gets.
    fn equal(&self, table: &str, watch: usize, _value: &Value, _len: usize) -> Vec<(String, JsonRecord)> {
        self.first(table, watch, usize::MAX)
    }
}
