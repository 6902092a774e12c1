//! What views need to know of records: key and indexed values, taken out of each record once, whatever the number of views.

use std::rc::Rc;

use crate::engine::record::Record;
use crate::engine::table::{RecordId, TableId};
use crate::engine::value::Value;

static MISSING: Value = Value::Null;

/// A record's key, and the values of its table's key fields and indexed fields.
#[derive(Debug, PartialEq)]
pub(crate) struct Indexed {
    table: TableId,
    pub(super) key: Rc<str>,
    values: Box<[Value]>,
}

impl Indexed {
    /// Takes the values out of a record.
    pub(crate) fn of<R: Record>(table: TableId, key: &Rc<str>, fields: &[String], record: &R) -> Self {
        let values = fields.iter().map(|field| record.field(field).unwrap_or_default()).collect();
        Self { table, key: Rc::clone(key), values }
    }

    pub(super) fn value(&self, slot: usize) -> &Value {
        self.values.get(slot).unwrap_or(&MISSING)
    }
}

/// What became of a record: its values now, or nothing when there is nothing to be seen.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) id: RecordId,
    pub(crate) table: TableId,
    pub(crate) row: Option<Indexed>,
}

/// The values of all records of the tables that have views, by the records' numbers.
#[derive(Debug, Default)]
pub(super) struct Rows(Vec<Option<Indexed>>);

impl Rows {
    pub(super) fn get(&self, RecordId(id): RecordId) -> Option<&Indexed> {
        self.0.get(id as usize)?.as_ref()
    }

    pub(super) fn set(&mut self, RecordId(id): RecordId, row: Option<Indexed>) {
        let at = id as usize;
        if at >= self.0.len() {
            if row.is_none() {
                return;
            }
            self.0.resize_with(at + 1, || None);
        }
        self.0[at] = row;
    }

    /// Forgets what is known of a table's records.
    pub(super) fn forget(&mut self, table: TableId) {
        for row in &mut self.0 {
            if row.as_ref().is_some_and(|row| row.table == table) {
                *row = None;
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.0 = Vec::new();
    }
}
