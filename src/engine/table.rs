//! Confirmed records: what the server last said of each, with its version, and the tombstones of those that are gone.
//!
//! A later version always wins, an earlier one never does, whatever the order and number of arrivals. What the person *sees*
//! is kept here too (`visible`), but decided by the overlay.

mod cover;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use rustc_hash::FxBuildHasher;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::mark::mark;
use super::merge::Rule;
use super::operation::{OperationId, Version};
use super::record::Record;
use super::sabotage::sabotaged;
use super::sorted::Named;
use super::value::{Fields, key_part};
use super::version::VersionOrder;

pub(crate) use cover::Scope;
pub use cover::{COVERS_MAX, Cover};

/// A table as the application declares it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TableConfig {
    /// Its name, on the server too.
    pub name: String,
    /// The fields that make the key, in order.
    pub key: Vec<String>,
    /// All its fields, the key's included.
    pub fields: Vec<String>,
    /// The column that holds the version.
    #[serde(default = "default_version")]
    pub version: String,
    /// How its versions are ordered.
    #[serde(default)]
    pub version_order: VersionOrder,
    /// The column that holds the id of the operation that wrote the row.
    #[serde(default = "default_operation")]
    pub operation: String,
    /// The field that `assign` sets, where records have an owner.
    #[serde(default)]
    pub owner: Option<String>,
    /// True when the server gives the keys: an insert without one gets a temporary key until the server has said the real one.
    #[serde(default)]
    pub temporary_keys: bool,
    /// How conflicts in a field are decided; where nothing is said, by a person.
    #[serde(default)]
    pub merge: Named<Rule>,
    /// The fields whose values never leave the engine in a trace.
    #[serde(default)]
    pub secret: Vec<String>,
    /// The fields by which views may filter, sort, group and sum; the key's always are.
    #[serde(default)]
    pub indexed: Vec<String>,
    /// The domain that its records are of: its `kind`, and what that takes. The engine does not look into it, the rules do.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub domain: Fields,
}

fn default_version() -> String {
    "rota_version".to_owned()
}

fn default_operation() -> String {
    "rota_op".to_owned()
}

/// How many tables, fields of a table, indexed ones among them, and parts of a key there may be.
const TABLES_MAX: usize = 256;
const FIELDS_MAX: usize = 1_024;
const INDEXED_MAX: usize = 64;
const KEY_PARTS_MAX: usize = 16;

/// How many tombstones are kept. They keep a late event from bringing back what is gone; the oldest are forgotten first,
/// and what comes so late after all is put right by the next whole pull.
pub const TOMBSTONES_MAX: usize = 10_000;

impl TableConfig {
    /// Declares a table with the usual columns for version and operation, and no owner.
    #[must_use]
    pub fn new(name: String, key: Vec<String>, fields: Vec<String>) -> Self {
        Self {
            name,
            key,
            fields,
            version: default_version(),
            version_order: VersionOrder::default(),
            operation: default_operation(),
            owner: None,
            temporary_keys: false,
            merge: Named::new(),
            secret: Vec::new(),
            indexed: Vec::new(),
            domain: Fields::new(),
        }
    }

    fn validate(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::InvalidConfiguration(format!("table \"{}\" {what}", self.name)));
        if self.name.is_empty() {
            return Err(Error::InvalidConfiguration("a table has no name".to_owned()));
        }
        if self.version.is_empty() || self.operation.is_empty() || self.version == self.operation {
            return wrong("needs two columns with names of their own for version and operation".to_owned());
        }
        if self.key.is_empty() || self.key.len() > KEY_PARTS_MAX {
            return wrong(format!("needs a key of 1 to {KEY_PARTS_MAX} fields"));
        }
        if self.fields.len() > FIELDS_MAX {
            return wrong(format!("has more than {FIELDS_MAX} fields"));
        }
        if let Some(field) = self.key.iter().chain(&self.owner).find(|field| !self.fields.contains(field)) {
            return wrong(format!("uses \"{field}\" as key or owner, which is not among its fields"));
        }
        let is_mergeable = |field: &String| self.fields.contains(field) && !self.key.contains(field);
        if let Some(field) = self.merge.keys().find(|field| !is_mergeable(field)) {
            return wrong(format!(
                "has a merge rule for \"{field}\", which is not among its fields, or is a part of its key"
            ));
        }
        if self.fields.contains(&self.version) || self.fields.contains(&self.operation) {
            return wrong(format!(
                "lists \"{}\" or \"{}\" among its fields; these belong to the server",
                self.version, self.operation
            ));
        }
        if let Some(field) = self.secret.iter().find(|field| !self.fields.contains(field) || self.key.contains(field)) {
            return wrong(format!("keeps \"{field}\" secret, which is not among its fields or is a part of its key"));
        }
        if self.indexed.len() > INDEXED_MAX {
            return wrong(format!("has more than {INDEXED_MAX} indexed fields"));
        }
        for (what, names) in [("key", &self.key), ("fields", &self.fields), ("indexed fields", &self.indexed)] {
            if names.iter().enumerate().any(|(at, name)| name.is_empty() || names[..at].contains(name)) {
                return wrong(format!("lists a name twice, or an empty one, among its {what}"));
            }
        }
        if let Some(field) = self.indexed.iter().find(|field| !self.fields.contains(field)) {
            return wrong(format!("lists \"{field}\" as indexed, which is not among its fields"));
        }
        if self.owner.as_ref().is_some_and(|owner| self.key.contains(owner)) {
            return wrong("has an owner that is a part of its key".to_owned());
        }
        if self.temporary_keys && self.key.len() > 1 {
            return wrong("has temporary keys, which need a key of one field".to_owned());
        }
        Ok(())
    }

    /// Returns the fields that views may use: the key's, and those declared as indexed.
    pub(crate) fn indexed_fields(&self) -> Vec<String> {
        let mut fields = self.key.clone();
        fields.extend(self.indexed.iter().filter(|field| !self.key.contains(field)).cloned());
        fields
    }

    /// Refuses names that are not fields of the table.
    pub(crate) fn check_fields<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Result<(), Error> {
        match names.into_iter().find(|name| !self.fields.contains(name)) {
            Some(field) => Err(Error::UnknownField { table: self.name.clone(), field: field.clone() }),
            None => Ok(()),
        }
    }

    /// Refuses what a patch can't set.
    pub(crate) fn check_patch(&self, set: &Fields) -> Result<(), Error> {
        self.check_fields(set.keys())?;
        match set.keys().find(|field| self.key.contains(field)) {
            Some(field) => Err(Error::InvalidOperation(format!(
                "\"{field}\" is a part of the key, and a key never changes; insert another record"
            ))),
            None => Ok(()),
        }
    }

    /// Returns the key of a record: its one key field as text, or the JSON array of the parts as text.
    pub fn key_of(&self, fields: &Fields) -> Result<String, Error> {
        let mut parts = Vec::with_capacity(self.key.len());
        for field in &self.key {
            let part = fields.get(field).and_then(key_part);
            parts.push(part.ok_or_else(|| Error::MissingKey { table: self.name.clone(), field: field.clone() })?);
        }
        Ok(join_key(&parts))
    }
}

/// Joins the parts of a key.
#[must_use]
pub fn join_key(parts: &[String]) -> String {
    match parts {
        [part] => part.clone(),
        _ => {
            let quoted: Vec<String> = parts.iter().map(|part| quote(part)).collect();
            format!("[{}]", quoted.join(","))
        }
    }
}

/// Writes a JSON string, escaping as `JSON.stringify` does.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 => out.extend(format!("\\u{:04x}", u32::from(c)).chars()),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A table's number, in the order of declaration.
pub(crate) type TableId = usize;

/// A record's number inside one engine. Reused after the record is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(pub u32);

/// A row as a server or a tab tells it. Without a record: it is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row<R> {
    /// The table's name.
    pub table: String,
    /// The record's key.
    pub key: String,
    /// Its version.
    pub version: Version,
    /// The operation that wrote it.
    pub op: Option<OperationId>,
    /// The record, or null when it is gone.
    pub record: Option<R>,
}

/// What the server says of one record at one version; without a record, it is gone.
#[derive(Clone, Debug)]
pub(crate) struct Fact<R> {
    pub(crate) version: Version,
    pub(crate) op: Option<OperationId>,
    pub(crate) record: Option<R>,
}

/// Where a fact comes from. A record may leave a person's sight, and come back, without a new version: only a pull,
/// which looks under the person's own rights, can tell, so only a pull may change whether a known version is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Stream,
    /// An event that lacked columns, with what was known filled in.
    Filled,
    Pull,
    /// The leader, which looked for us.
    Leader,
    /// Kept from the last visit: better than nothing, and than nothing only.
    Cache,
}

/// Everything known of one record.
#[derive(Debug)]
pub(crate) struct Cell<R> {
    pub(crate) table: TableId,
    pub(crate) key: Rc<str>,
    pub(crate) confirmed: Option<R>,
    /// Of the confirmed record, or of its tombstone.
    pub(crate) version: Option<Version>,
    /// The operation that wrote the confirmed version.
    pub(crate) op: Option<OperationId>,
    pub(crate) visible: Option<R>,
    /// True while a pending operation makes `visible` differ from `confirmed`.
    pub(crate) overlaid: bool,
    /// True while columns of `confirmed` may be out of date at their version: the event lacked them, or rights have changed.
    pub(crate) filled: bool,
    /// When the confirmed part last changed, in the engine's own count of arrivals.
    pub(crate) seen: u64,
    /// When it ended, in the same count; only while it is a tombstone.
    gone_at: Option<u64>,
}

#[derive(Debug)]
struct Table {
    config: TableConfig,
    /// Never walked: the cells are, in the order of their numbers.
    ids: HashMap<Rc<str>, RecordId, FxBuildHasher>,
}

/// All tables.
#[derive(Debug)]
pub(crate) struct Tables<R> {
    tables: Vec<Table>,
    cells: Vec<Option<Cell<R>>>,
    free: Vec<RecordId>,
    arrivals: u64,
    /// The ends of records, with the count of arrivals then. A record that came back is still in it, with another count.
    ends: VecDeque<(u64, RecordId)>,
}

impl<R: Record> Tables<R> {
    pub(crate) fn new(configs: Vec<TableConfig>) -> Result<Self, Error> {
        if configs.is_empty() || configs.len() > TABLES_MAX {
            return Err(Error::InvalidConfiguration(format!("declare 1 to {TABLES_MAX} tables")));
        }
        let mut tables: Vec<Table> = Vec::with_capacity(configs.len());
        for config in configs {
            config.validate()?;
            if tables.iter().any(|table| table.config.name == config.name) {
                return Err(Error::InvalidConfiguration(format!("table \"{}\" is declared twice", config.name)));
            }
            tables.push(Table { config, ids: HashMap::default() });
        }
        Ok(Self { tables, cells: Vec::new(), free: Vec::new(), arrivals: 0, ends: VecDeque::new() })
    }

    pub(crate) fn table_id(&self, name: &str) -> Option<TableId> {
        self.tables.iter().position(|table| table.config.name == name)
    }

    pub(crate) fn config(&self, table: TableId) -> &TableConfig {
        &self.tables[table].config
    }

    pub(crate) fn configs(&self) -> impl Iterator<Item = &TableConfig> {
        self.tables.iter().map(|table| &table.config)
    }

    /// Returns the records of a table of which there is something to be seen, in the order of their numbers.
    pub(crate) fn visible(&self, table: TableId) -> impl Iterator<Item = (RecordId, &Cell<R>, &R)> {
        let of_table = self.cells().filter(move |(_, cell)| cell.table == table);
        of_table.filter_map(|(id, cell)| Some((id, cell, cell.visible.as_ref()?)))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.tables.iter().map(|table| table.config.name.clone()).collect()
    }

    pub(crate) fn find(&self, table: TableId, key: &str) -> Option<RecordId> {
        self.tables[table].ids.get(key).copied()
    }

    pub(crate) fn cell(&self, id: RecordId) -> Option<&Cell<R>> {
        self.cells.get(id.0 as usize)?.as_ref()
    }

    /// Returns what is known of a record.
    pub(crate) fn named(&self, table: &str, key: &str) -> Option<&Cell<R>> {
        self.cell(self.find(self.table_id(table)?, key)?)
    }

    /// Returns the number of a record, giving it one when it is new.
    pub(crate) fn intern(&mut self, table: TableId, key: &str) -> RecordId {
        if let Some(id) = self.find(table, key) {
            return id;
        }
        let key: Rc<str> = Rc::from(key);
        let cell = Cell {
            table,
            key: Rc::clone(&key),
            confirmed: None,
            version: None,
            op: None,
            visible: None,
            overlaid: false,
            filled: false,
            seen: 0,
            gone_at: None,
        };
        let id = if let Some(id) = self.free.pop() {
            self.cells[id.0 as usize] = Some(cell);
            id
        } else {
            let id = RecordId(u32::try_from(self.cells.len()).unwrap_or(u32::MAX));
            self.cells.push(Some(cell));
            id
        };
        self.tables[table].ids.insert(key, id);
        id
    }

    /// Gives a record's number back when nothing is known of it: no record, no tombstone, nothing visible.
    pub(crate) fn release_if_unknown(&mut self, id: RecordId) -> bool {
        let Some(cell) = self.cell(id) else { return false };
        if cell.version.is_some() || cell.visible.is_some() {
            return false;
        }
        let (table, key) = (cell.table, Rc::clone(&cell.key));
        self.tables[table].ids.remove(&key);
        self.cells[id.0 as usize] = None;
        self.free.push(id);
        true
    }

    /// Takes what the server says of a record. Returns false when something newer, or the same, is known.
    pub(crate) fn apply(&mut self, id: RecordId, fact: Fact<R>, source: Source) -> bool {
        // What was kept has not arrived: a whole pull that does not bring it still makes it gone.
        if source != Source::Cache {
            self.arrivals += 1;
        }
        let arrivals = self.arrivals;
        let Some(cell) = self.cells.get_mut(id.0 as usize).and_then(Option::as_mut) else { return false };
        let Some(config) = self.tables.get(cell.table).map(|table| &table.config) else { return false };
        // An end that is older than what is known is no sign of the record: who says so has forgotten it since.
        let is_old_end = fact.record.is_none() && cell.version.as_ref().is_some_and(|known| *known > fact.version);
        if source != Source::Cache && !is_old_end {
            cell.seen = arrivals;
        }
        let news = match &cell.version {
            None => true,
            // Of two things that were kept, the newer one; nothing that was kept says more than what has arrived.
            Some(known) if source == Source::Cache => cell.seen == 0 && cell.gone_at.is_none() && *known < fact.version,
            Some(known) if *known == fact.version => {
                let looked = matches!(source, Source::Pull | Source::Leader);
                let may_differ = source == Source::Leader || cell.filled;
                cell.filled &= !looked;
                let differs = looked && differs(cell.confirmed.as_ref(), fact.record.as_ref(), config, may_differ);
                if differs {
                    mark!(SameVersionDiffers);
                }
                differs
            }
            Some(known) => {
                if *known > fact.version {
                    mark!(OlderVersionRefused);
                }
                *known < fact.version
                    || (sabotaged!(LatePullWins) && source == Source::Pull)
                    || (sabotaged!(LateEventWins) && source == Source::Stream)
                    || (sabotaged!(Resurrect) && cell.confirmed.is_none() && fact.record.is_some())
            }
        };
        if news {
            (cell.version, cell.op, cell.confirmed) = (Some(fact.version), fact.op, fact.record);
            // What a leader tells may be filled in, too.
            cell.filled = matches!(source, Source::Filled | Source::Leader);
            cell.gone_at = if cell.confirmed.is_none() { Some(arrivals) } else { None };
            if sabotaged!(NoTombstones) && cell.confirmed.is_none() {
                (cell.version, cell.gone_at) = (None, None);
            }
            if cell.gone_at.is_some() {
                self.ends.push_back((arrivals, id));
            }
        }
        news
    }

    /// Forgets a record that a whole pull did not bring, keeping its last version as a tombstone.
    pub(crate) fn forget(&mut self, id: RecordId) {
        if let Some(cell) = self.cells.get_mut(id.0 as usize).and_then(Option::as_mut) {
            (cell.op, cell.confirmed, cell.gone_at) = (None, None, Some(self.arrivals));
            self.ends.push_back((self.arrivals, id));
        }
    }

    /// Forgets a tombstone where there are too many. Returns the record, of which nothing is known any more.
    pub(crate) fn forget_oldest_end(&mut self) -> Option<RecordId> {
        while self.ends.len() > TOMBSTONES_MAX {
            let (arrival, id) = self.ends.pop_front()?;
            let cell = self.cells.get_mut(id.0 as usize).and_then(Option::as_mut);
            if let Some(cell) = cell.filter(|cell| cell.gone_at == Some(arrival)) {
                (cell.version, cell.op, cell.gone_at) = (None, None, None);
                return Some(id);
            }
        }
        None
    }

    /// Takes a record for told of now, though nothing new is known of it.
    pub(crate) fn spare(&mut self, id: RecordId) {
        self.arrivals += 1;
        if let Some(cell) = self.cells.get_mut(id.0 as usize).and_then(Option::as_mut) {
            cell.seen = self.arrivals;
        }
    }

    /// Takes what was kept from the last visit, and nobody has told of since, for told of now: once. Returns true if there was any.
    pub(crate) fn spare_kept(&mut self) -> bool {
        let mut has_any = false;
        for cell in self.cells.iter_mut().flatten().filter(|cell| cell.confirmed.is_some() && cell.seen == 0) {
            (cell.seen, has_any) = (self.arrivals + 1, true);
        }
        self.arrivals += u64::from(has_any);
        has_any
    }

    /// Forgets everything, and returns the records of which anything was known.
    pub(crate) fn clear(&mut self) -> Vec<RecordId> {
        self.ends.clear();
        let mut known = Vec::new();
        for (id, cell) in (0..).map(RecordId).zip(&mut self.cells) {
            if let Some(cell) = cell {
                (cell.version, cell.op, cell.confirmed, cell.gone_at) = (None, None, None, None);
                (cell.visible, cell.overlaid) = (None, false);
                known.push(id);
            }
        }
        known
    }

    /// Takes it that every record may look different, at its version.
    pub(crate) fn doubt(&mut self) {
        for cell in self.cells.iter_mut().flatten() {
            cell.filled = true;
        }
    }

    pub(crate) fn set_visible(&mut self, id: RecordId, visible: Option<R>, overlaid: bool) {
        if let Some(cell) = self.cells.get_mut(id.0 as usize).and_then(Option::as_mut) {
            (cell.visible, cell.overlaid) = (visible, overlaid);
        }
    }

    /// True when what is seen of a record would not change.
    pub(crate) fn looks_like(&self, id: RecordId, visible: Option<&R>, overlaid: bool) -> bool {
        self.cell(id).is_some_and(|cell| {
            cell.overlaid == overlaid && !differs(cell.visible.as_ref(), visible, self.config(cell.table), true)
        })
    }

    /// Returns the count of arrivals so far; what is seen later has a higher one.
    pub(crate) const fn arrivals(&self) -> u64 {
        self.arrivals
    }

    /// Returns the confirmed records within a scope that were last seen between two points in the count of arrivals: after the first, and
    /// not after the second of any pair.
    pub(crate) fn confirmed_between(&self, scope: &Scope, spans: &[(u64, u64)]) -> Vec<RecordId> {
        let is_between = |seen: u64| spans.iter().any(|(first, last)| seen > *first && seen <= *last);
        let between = self.cells().filter(|(_, cell)| cell.confirmed.is_some() && is_between(cell.seen));
        between.filter(|(id, cell)| scope.covers(*id, cell)).map(|(id, _)| id).collect()
    }

    pub(crate) fn cells(&self) -> impl Iterator<Item = (RecordId, &Cell<R>)> {
        (0..).map(RecordId).zip(&self.cells).filter_map(|(id, cell)| Some((id, cell.as_ref()?)))
    }

    /// Returns everything confirmed, tombstones included, in the order of the records' numbers.
    pub(crate) fn rows(&self) -> Vec<Row<R>> {
        let mut rows = Vec::with_capacity(self.cells.len());
        for (_, cell) in self.cells() {
            if let Some(version) = cell.version.clone() {
                let (table, key) = (self.config(cell.table).name.clone(), cell.key.to_string());
                rows.push(Row { table, key, version, op: cell.op, record: cell.confirmed.clone() });
            }
        }
        rows
    }

    /// Counts the records that are held: the confirmed ones, and the visible ones that differ from them.
    pub(crate) fn held(&self) -> usize {
        let held = |cell: &Cell<R>| {
            usize::from(cell.confirmed.is_some()) + usize::from(cell.overlaid && cell.visible.is_some())
        };
        self.cells.iter().flatten().map(held).sum()
    }
}

/// Compares two records of one version: whether they are there, and, if asked, their fields.
fn differs<R: Record>(known: Option<&R>, told: Option<&R>, config: &TableConfig, by_fields: bool) -> bool {
    match (known, told) {
        (Some(known), Some(told)) => {
            by_fields && config.fields.iter().any(|field| known.field(field) != told.field(field))
        }
        (known, told) => known.is_some() != told.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::JsonRecord;
    use crate::engine::value::Value;

    fn config() -> TableConfig {
        let fields = ["id", "name", "owner"].map(str::to_owned).to_vec();
        let mut config = TableConfig::new("jobs".into(), vec!["id".into()], fields);
        config.owner = Some("owner".into());
        config
    }

    fn tables() -> Tables<JsonRecord> {
        Tables::new(vec![config()]).unwrap()
    }

    fn version(n: u64) -> Version {
        Version::parse(&n.to_string()).unwrap()
    }

    fn record(name: &str) -> JsonRecord {
        JsonRecord::create(&Fields::from([("name".to_owned(), Value::from(name))]))
    }

    #[test]
    fn a_configuration_that_cannot_work_is_refused_and_says_why() {
        let cases: [(&str, fn(&mut TableConfig)); 9] = [
            ("\"nope\" secret", |c| c.secret = vec!["nope".into()]),
            ("\"id\" secret", |c| c.secret = vec!["name".into(), "id".into()]),
            ("needs a key", |c| c.key.clear()),
            ("\"nope\" as key or owner", |c| c.owner = Some("nope".into())),
            ("\"id2\" as key or owner", |c| c.key = vec!["id2".into()]),
            ("belong to the server", |c| c.fields.push("rota_op".into())),
            ("part of its key", |c| c.owner = Some("id".into())),
            ("merge rule for \"nope\"", |c| c.merge = Named::from([("nope".to_owned(), Rule::Latest)])),
            ("merge rule for \"id\"", |c| c.merge = Named::from([("id".to_owned(), Rule::Ours)])),
        ];
        for (why, spoil) in cases {
            let mut spoilt = config();
            spoil(&mut spoilt);
            let error = Tables::<JsonRecord>::new(vec![spoilt]).unwrap_err();
            assert_eq!(error.code(), "invalid-configuration");
            assert!(error.to_string().contains(why), "{error}");
        }
        assert!(Tables::<JsonRecord>::new(vec![config(), config()]).is_err());
        assert!(Tables::<JsonRecord>::new(vec![]).is_err());
    }

    #[test]
    fn a_merge_rule_that_there_is_not_is_refused() {
        let declared = |rule: &str| {
            format!(r#"{{"name": "jobs", "key": ["id"], "fields": ["id", "n"], "merge": {{"n": "{rule}"}}}}"#)
        };
        for rule in Rule::ALL {
            let table: TableConfig = serde_json::from_str(&declared(rule.name())).unwrap();
            assert_eq!(table.merge.get("n"), Some(&rule));
        }
        let error = serde_json::from_str::<TableConfig>(&declared("newest")).unwrap_err();
        assert!(error.to_string().contains("newest"), "{error}");
    }

    #[test]
    fn a_composite_key_is_the_json_array_of_its_parts() {
        let mut table = config();
        table.key = vec!["id".into(), "name".into()];
        let fields =
            Fields::from([("id".to_owned(), Value::Number(42.0)), ("name".to_owned(), Value::from("a \"b\"\n\u{1}"))]);
        assert_eq!(table.key_of(&fields).unwrap(), r#"["42","a \"b\"\n\u0001"]"#);
    }

    #[test]
    fn a_record_without_its_key_is_refused() {
        for value in [Value::Null, Value::from(""), Value::Number(1.5), Value::Bool(true), Value::List(vec![])] {
            let error = config().key_of(&Fields::from([("id".to_owned(), value)])).unwrap_err();
            assert_eq!(error.code(), "missing-key");
        }
        assert!(config().key_of(&Fields::new()).is_err());
    }

    fn fact(n: u64, name: Option<&str>) -> Fact<JsonRecord> {
        Fact { version: version(n), op: None, record: name.map(record) }
    }

    #[test]
    fn an_older_version_never_wins_and_a_delete_does_not_resurrect() {
        for source in [Source::Stream, Source::Pull] {
            let mut tables = tables();
            let id = tables.intern(0, "1");
            assert!(tables.apply(id, fact(5, Some("five")), source));
            assert!(!tables.apply(id, fact(4, Some("four")), source));
            assert!(!tables.apply(id, fact(5, Some("other five")), source));
            assert!(tables.apply(id, fact(6, None), source));
            assert!(!tables.apply(id, fact(5, Some("five")), source));
            assert_eq!(tables.cell(id).unwrap().confirmed, None);
            assert!(tables.apply(id, fact(7, Some("again")), source));
        }
    }

    #[test]
    fn a_record_that_leaves_and_enters_sight_at_one_version_follows_the_pulls_only() {
        let mut tables = tables();
        let id = tables.intern(0, "1");
        assert!(tables.apply(id, fact(5, Some("five")), Source::Pull));
        assert!(!tables.apply(id, fact(5, None), Source::Stream));
        assert!(tables.apply(id, fact(5, None), Source::Pull));
        assert!(!tables.apply(id, fact(5, Some("five")), Source::Stream));
        assert!(tables.apply(id, fact(5, Some("five")), Source::Pull));
    }

    #[test]
    fn an_older_end_of_a_record_does_not_count_as_seeing_it() {
        let mut tables = tables();
        let id = tables.intern(0, "1");
        assert!(tables.apply(id, fact(8, Some("eight")), Source::Stream));
        let before = tables.arrivals();
        assert!(!tables.apply(id, fact(1, None), Source::Pull));
        assert_eq!(tables.unseen(&Scope::Everything, before), [id]);
        assert!(!tables.apply(id, fact(1, Some("one")), Source::Pull));
        assert_eq!(tables.unseen(&Scope::Everything, before), []);
    }

    #[test]
    fn a_number_is_given_again_only_after_everything_of_its_record_is_forgotten() {
        let mut tables = tables();
        let id = tables.intern(0, "1");
        assert_eq!(tables.intern(0, "1"), id);
        tables.set_visible(id, Some(record("mine")), true);
        assert!(!tables.release_if_unknown(id));
        tables.set_visible(id, None, false);
        assert!(tables.release_if_unknown(id));
        assert_eq!(tables.find(0, "1"), None);
        assert_eq!(tables.intern(0, "2"), id);
    }
}
