//! Which part of a table a pull covers: what is in that part, and was not brought, is gone; the rest is untouched.

use serde::{Deserialize, Serialize};

use super::{Cell, RecordId, TableId, Tables};
use crate::engine::record::Record;
use crate::engine::sorted::sort;
use crate::engine::value::{Fields, Value};

/// How many parts one pull may name.
pub const COVERS_MAX: usize = 1_000;

/// A part of a table: these keys, or the records with these values in these fields, or without either all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cover {
    /// The table's name.
    pub table: String,
    /// Exactly these records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<String>>,
    /// The records that have these values; a field that is missing counts as null.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub values: Option<Fields>,
}

/// What a pull covers, in the engine's own numbers.
#[derive(Debug)]
pub(crate) enum Scope {
    /// All tables.
    Everything,
    /// Parts of tables: single records, and what has certain values.
    Parts { records: Vec<RecordId>, values: Vec<(TableId, Fields)> },
}

impl Scope {
    pub(super) fn covers<R: Record>(&self, id: RecordId, cell: &Cell<R>) -> bool {
        match self {
            Self::Everything => true,
            Self::Parts { records, values } => {
                records.binary_search(&id).is_ok()
                    || values.iter().any(|(table, fields)| *table == cell.table && has(cell, fields))
            }
        }
    }
}

fn has<R: Record>(cell: &Cell<R>, fields: &Fields) -> bool {
    let Some(record) = &cell.confirmed else { return false };
    fields.iter().all(|(name, value)| record.field(name).unwrap_or(Value::Null) == *value)
}

impl<R: Record> Tables<R> {
    /// Makes a scope of what a pull says that it covers. What makes no sense covers nothing; says which.
    pub(crate) fn scope(&self, covers: Vec<Cover>) -> (Scope, Option<String>) {
        let (mut records, mut values, mut wrong) = (Vec::new(), Vec::new(), None);
        for cover in covers {
            let Some(table) = self.table_id(&cover.table) else {
                wrong = Some(cover.table);
                continue;
            };
            let fields = cover.values.unwrap_or_default();
            if self.config(table).check_fields(fields.keys()).is_err() {
                wrong = Some(cover.table);
            } else if let Some(keys) = cover.keys {
                let found = keys.iter().filter_map(|key| self.find(table, key));
                records.extend(
                    found.filter(|id| self.cell(*id).is_some_and(|cell| fields.is_empty() || has(cell, &fields))),
                );
            } else {
                values.push((table, fields));
            }
        }
        sort(&mut records);
        (Scope::Parts { records, values }, wrong)
    }

    /// Returns the records within a scope that are confirmed and were last seen before a point in the count of arrivals.
    pub(crate) fn unseen(&self, scope: &Scope, arrivals: u64) -> Vec<RecordId> {
        let is_unseen = |cell: &Cell<R>| cell.confirmed.is_some() && cell.seen <= arrivals;
        let unseen = self.cells().filter(|(id, cell)| is_unseen(cell) && scope.covers(*id, cell));
        unseen.map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::operation::Version;
    use crate::engine::record::JsonRecord;
    use crate::engine::table::{Fact, Source, TableConfig};

    fn tables() -> Tables<JsonRecord> {
        let fields = ["id", "city"].map(str::to_owned).to_vec();
        let config = |name: &str| TableConfig::new(name.into(), vec!["id".into()], fields.clone());
        let mut tables = Tables::new(vec![config("jobs"), config("people")]).unwrap();
        for (table, key, city) in
            [(0, "1", Some("Kiel")), (0, "2", Some("Jena")), (0, "3", None), (1, "1", Some("Kiel"))]
        {
            let id = tables.intern(table, key);
            let fields = city.map(|city| ("city".to_owned(), Value::from(city))).into_iter().collect();
            let fact = Fact { version: Version::Integer(1), op: None, record: Some(JsonRecord::create(&fields)) };
            tables.apply(id, fact, Source::Pull);
        }
        tables
    }

    fn unseen(covers: serde_json::Value) -> (Vec<u32>, Option<String>) {
        let tables = tables();
        let (scope, wrong) = tables.scope(serde_json::from_value(covers).unwrap());
        (tables.unseen(&scope, 9).into_iter().map(|id| id.0).collect(), wrong)
    }

    #[test]
    fn a_part_is_a_table_some_keys_or_the_records_with_some_values() {
        use serde_json::json;
        assert_eq!(unseen(json!([])), (vec![], None));
        assert_eq!(unseen(json!([{"table": "jobs"}])), (vec![0, 1, 2], None));
        assert_eq!(
            unseen(json!([{"table": "jobs", "keys": ["3", "1", "9"]}, {"table": "people", "keys": ["1"]}])),
            (vec![0, 2, 3], None)
        );
        assert_eq!(unseen(json!([{"table": "jobs", "where": {"city": "Kiel"}}])), (vec![0], None));
        assert_eq!(unseen(json!([{"table": "jobs", "where": {"city": null}}])), (vec![2], None));
        assert_eq!(unseen(json!([{"table": "jobs", "keys": ["1", "2"], "where": {"city": "Jena"}}])), (vec![1], None));
    }

    #[test]
    fn a_part_of_what_is_not_declared_covers_nothing_and_is_named() {
        use serde_json::json;
        assert_eq!(unseen(json!([{"table": "towns"}])), (vec![], Some("towns".to_owned())));
        assert_eq!(unseen(json!([{"table": "jobs", "where": {"town": 1}}])), (vec![], Some("jobs".to_owned())));
    }

    #[test]
    fn what_was_seen_since_is_not_unseen() {
        let tables = tables();
        assert_eq!(tables.unseen(&Scope::Everything, 2), [RecordId(0), RecordId(1)]);
    }
}
