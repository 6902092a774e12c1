//! A small server that obeys `PROTOCOL.md`: a ledger of operation ids, versions, a feed, pulls. Everything it says is JSON.

use std::collections::{BTreeMap, BTreeSet};

use rota_engine::{Fields, JsonRecord, Operation, OperationId, PullRequest, Step, TableConfig, Value, Version};
use serde_json::{Value as Json, json};

pub type Key = (String, String);

/// A row as it stands, or as it stood at some version.
#[derive(Clone, Debug)]
pub struct Stand {
    pub version: u64,
    pub record: Option<Fields>,
    pub op: Option<OperationId>,
}

#[derive(Default)]
pub struct Server {
    pub rows: BTreeMap<Key, Stand>,
    pub history: BTreeMap<(Key, u64), Option<Fields>>,
    pub ledger: BTreeMap<OperationId, (String, Operation, Json)>,
    /// How often each operation had an effect.
    pub effects: BTreeMap<OperationId, u32>,
    /// The operations that had an effect, in the order in which they had it.
    pub applied: Vec<OperationId>,
    /// How often each operation was sent, by any tab.
    pub pushes: BTreeMap<OperationId, u32>,
    /// Keys of records that nobody may change.
    pub refused: BTreeSet<String>,
    /// How many of the next operations are answered with `retry`.
    pub busy: u32,
    /// The server forgets at once what it did.
    pub no_ledger: bool,
    pub pulls: Vec<PullRequest>,
    pub incarnation: u32,
    /// What the stream has to tell, in the order of commits.
    pub news: Vec<Key>,
    /// What became of temporary keys.
    pub given: BTreeMap<String, u64>,
    /// Otherwise a temporary key that is not the operation's own stops the test.
    pub takes_unknown_keys: bool,
    /// Keys of records that nobody may see, and a field that nobody may.
    pub hidden: BTreeSet<String>,
    pub masked: Option<String>,
    /// How many rows a page of a pull has; without it, all come in one.
    pub page_rows: Option<usize>,
    /// A key whose rows are told with this version.
    pub spoilt_version: Option<(String, String)>,
    version: u64,
    last_order: u64,
}

pub fn number(n: u64) -> Value {
    Value::number(f64::from(u32::try_from(n).unwrap())).unwrap()
}

pub fn version(n: u64) -> Version {
    Version::parse(&n.to_string()).unwrap()
}

pub fn tables() -> Vec<TableConfig> {
    serde_json::from_value(json!([
        {
            "name": "companies",
            "key": ["id"],
            "fields": ["id", "name", "city", "owner_id", "tags", "seen_at", "stage", "meta", "visits"],
            "owner": "owner_id",
            "indexed": ["name", "city", "owner_id"],
            "merge": {
                "tags": "union", "seen_at": "latest", "stage": "mostRecentNotNull", "meta": "recursive", "visits": "sum"
            },
        },
        {"name": "leads", "key": ["id"], "fields": ["id", "name"]},
        {"name": "orders", "key": ["id"], "fields": ["id", "title", "parent", "more"], "temporaryKeys": true},
    ]))
    .unwrap()
}

impl Server {
    pub fn seed(&mut self, count: usize) {
        for n in 1..=count {
            let id = format!("c-{n}");
            self.sql_set(&id, &[("id", id.as_str().into()), ("name", "Harbour".into()), ("city", "Bremen".into())]);
        }
        self.news.clear();
    }

    /// Changes a company, or makes it, behind everyone's back.
    pub fn sql_set(&mut self, key: &str, set: &[(&str, Value)]) {
        let mut record = self.company(key).unwrap_or_else(|| {
            Fields::from([("id".to_owned(), Value::from(key)), ("owner_id".to_owned(), Value::Null)])
        });
        record.extend(set.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.write(("companies".into(), key.into()), Some(record), None);
    }

    pub fn sql_lead(&mut self, key: &str, name: &str) {
        let record = Fields::from([("id".to_owned(), Value::from(key)), ("name".to_owned(), name.into())]);
        self.write(("leads".into(), key.into()), Some(record), None);
    }

    pub fn sql_delete(&mut self, key: &str) {
        self.write(("companies".into(), key.into()), None, None);
    }

    pub fn company(&self, key: &str) -> Option<Fields> {
        self.rows.get(&("companies".into(), key.into()))?.record.clone()
    }

    fn write(&mut self, key: Key, record: Option<Fields>, op: Option<OperationId>) {
        self.version += 1;
        self.history.insert((key.clone(), self.version), record.clone());
        self.rows.insert(key.clone(), Stand { version: self.version, record, op });
        self.news.push(key);
    }

    pub fn row_json(stand: &Stand) -> Json {
        let mut json = json!(stand.record);
        if let Some(fields) = json.as_object_mut() {
            fields.insert("rota_version".into(), json!(stand.version.to_string()));
            fields.insert("rota_op".into(), json!(stand.op));
        }
        json
    }

    pub fn apply_operation(&mut self, op: &Json, actor: &str) -> Json {
        let op: Operation = serde_json::from_value(op.clone()).unwrap();
        *self.pushes.entry(op.id).or_default() += 1;
        if let Some((author, known, answer)) = self.ledger.get(&op.id) {
            if author != actor || *known != op {
                return self
                    .answer(&op, json!({"outcome": "refused", "code": "operation-mismatch", "message": "another's"}));
            }
            let mut answer = answer.clone();
            answer["replayed"] = json!(true);
            return answer;
        }
        if self.busy > 0 {
            self.busy -= 1;
            let retry = json!({"outcome": "retry", "code": "busy", "message": "deadlock", "afterMs": 250});
            return self.answer(&op, retry);
        }
        let verdict = self.decide(&op);
        let answer = self.answer(&op, verdict);
        if !self.no_ledger {
            self.ledger.insert(op.id, (actor.to_owned(), op, answer.clone()));
        }
        answer
    }

    fn answer(&self, op: &Operation, verdict: Json) -> Json {
        let real = |key: &str| self.given.get(key).map_or_else(|| key.to_owned(), u64::to_string);
        let key = real(&op.key);
        let mut answer = json!({"protocol": 1, "id": op.id, "table": op.table, "key": key, "replayed": false});
        let seen = self.rows.get(&(op.table.clone(), key));
        if let (Some(stand), true) = (seen, verdict["outcome"] != "retry") {
            answer["version"] = json!(stand.version.to_string());
            answer["record"] = Self::row_json(stand);
        }
        let keys: BTreeSet<Key> = op.parts.iter().map(|part| (part.table.clone(), part.key.clone())).collect();
        let told = |(table, named): &Key| {
            let key = real(named);
            let stand = self.rows.get(&(table.clone(), key.clone()))?;
            let (version, record) = (stand.version.to_string(), Self::row_json(stand));
            let mut told = json!({"table": table, "key": key, "version": version, "record": record});
            if key != *named {
                told["from"] = json!(named);
            }
            Some(told)
        };
        let records: Vec<Json> = keys.iter().filter_map(told).collect();
        if !records.is_empty() && verdict["outcome"] != "retry" {
            answer["records"] = json!(records);
        }
        answer.as_object_mut().unwrap().extend(verdict.as_object().unwrap().clone());
        answer
    }

    fn decide(&mut self, op: &Operation) -> Json {
        let refused = |code: &str, message: &str| json!({"outcome": "refused", "code": code, "message": message});
        if op.protocol != if op.parts.is_empty() { 1 } else { 2 } {
            return refused("protocol-unsupported", "the number is not that of the form");
        }
        let failed =
            |id: &OperationId| self.ledger.get(id).is_some_and(|(_, _, answer)| answer["outcome"] != "confirmed");
        if op.after.iter().any(failed) {
            return refused("dependency-refused", "what it depends on was refused");
        }
        // Nothing is written before every part is known to apply to what the earlier ones leave.
        let mut draft: Vec<(Key, Option<Fields>)> = Vec::new();
        let mut given = BTreeMap::new();
        for step in op.steps() {
            let gives_key = step.table == "orders" && step.name == "insert" && step.key.starts_with('~');
            if gives_key {
                assert!(!step.set.contains_key("id"), "a temporary key is no value to store");
                self.last_order += 1;
                given.insert(step.key.to_owned(), self.last_order);
            } else {
                let names = serde_json::to_string(&(step.key, step.set, step.args, step.base)).unwrap();
                assert!(
                    self.takes_unknown_keys || !names.contains('~'),
                    "the server was sent a temporary key of another operation: {names}"
                );
            }
            let order = given.get(step.key).copied();
            let key = (step.table.to_owned(), order.map_or_else(|| step.key.to_owned(), |order| order.to_string()));
            let drafted = draft.iter().find(|(drafted, _)| *drafted == key).map(|(_, record)| record.clone());
            let current = drafted.unwrap_or_else(|| self.rows.get(&key).and_then(|stand| stand.record.clone()));
            let next = match self.decide_step(&step, current) {
                Ok(next) => next.map(|mut record| {
                    if let Some(order) = order {
                        record.insert("id".into(), number(order));
                    }
                    record
                }),
                Err(verdict) => return verdict,
            };
            match draft.iter_mut().find(|(drafted, _)| *drafted == key) {
                Some((_, record)) => *record = next,
                None => draft.push((key, next)),
            }
        }
        self.given.append(&mut given);
        for (key, next) in draft {
            self.write(key, next, Some(op.id));
        }
        *self.effects.entry(op.id).or_default() += 1;
        self.applied.push(op.id);
        json!({"outcome": "confirmed"})
    }

    /// Says what a change makes of a record, or why it does not.
    fn decide_step(&self, step: &Step<'_>, current: Option<Fields>) -> Result<Option<Fields>, Json> {
        let refused = |code: &str, message: &str| json!({"outcome": "refused", "code": code, "message": message});
        if self.refused.contains(step.key) {
            return Err(refused("forbidden", &format!("only members of Sales may change {}", step.key)));
        }
        match (step.name, current) {
            ("insert", Some(_)) => Err(refused("exists", "it is there already")),
            ("insert", None) => Ok(Some(step.set.clone())),
            (_, None) => Err(refused("not-found", "there is no such record")),
            ("delete", Some(_)) => Ok(None),
            ("patch" | "assign", Some(mut record)) => {
                let differs = |field: &&String| {
                    record.get(field).cloned().unwrap_or_default() != step.base.get(field).cloned().unwrap_or_default()
                };
                if step.name == "assign" && record.get("owner_id") == step.args.get("to") {
                    return Ok(Some(record));
                }
                let fields: Vec<&String> = step.set.keys().filter(differs).collect();
                if !fields.is_empty() {
                    let code = if step.name == "assign" { "taken" } else { "changed" };
                    return Err(
                        json!({"outcome": "conflicted", "code": code, "message": "somebody was first", "fields": fields}),
                    );
                }
                record.extend(step.set.clone());
                Ok(Some(record))
            }
            (other, Some(_)) => Err(refused("invalid", &format!("there is no {other}"))),
        }
    }

    pub fn pull(&mut self, request: &Json, actor: &str) -> Json {
        let request: PullRequest = serde_json::from_value(request.clone()).unwrap();
        self.pulls.push(request.clone());
        let since = request.cursor.as_deref().and_then(|cursor| {
            let (incarnation, position) = cursor.split_once(':')?;
            (incarnation == self.incarnation.to_string()).then(|| position.parse::<u64>().ok()).flatten()
        });
        let whole = since.is_none() && request.keys.is_none();
        let wanted = |(table, key): &Key, stand: &Stand| {
            !self.hidden.contains(key)
                && request.tables.contains(table)
                && match &request.keys {
                    Some(keys) => keys.get(table).is_some_and(|keys| keys.contains(key)),
                    // The cursor is the lowest transaction still running, so the last change may come twice.
                    None => stand.version >= since.unwrap_or(0),
                }
        };
        let mut records: BTreeMap<&str, Vec<Json>> = BTreeMap::new();
        let mut gone = Vec::new();
        // A page begins after the key that names it.
        let after: Option<Key> = request.page.as_deref().and_then(|page| serde_json::from_str(page).ok());
        let rest = self
            .rows
            .iter()
            .filter(|(key, stand)| wanted(key, stand) && after.as_ref().is_none_or(|after| *key > after));
        let page_rows = self.page_rows.filter(|_| request.keys.is_none()).unwrap_or(usize::MAX);
        let page: Vec<_> = rest.take(page_rows).collect();
        let next = page.get(page_rows - 1).map(|(key, _)| serde_json::to_string(key).unwrap());
        for ((table, key), stand) in page {
            if stand.record.is_some() {
                let mut row = Self::row_json(stand);
                if let Some(field) = &self.masked {
                    row[field] = Json::Null;
                }
                if let Some((_, version)) = self.spoilt_version.as_ref().filter(|(spoilt, _)| spoilt == key) {
                    row["rota_version"] = json!(version);
                }
                records.entry(table).or_default().push(row);
            } else if !whole {
                gone.push(json!({"table": table, "key": key, "version": stand.version.to_string()}));
            }
        }
        let settled: Vec<Json> = request.pending.iter().filter_map(|id| self.recorded(*id, actor)).collect();
        let cursor = request.keys.is_none().then(|| format!("{}:{}", self.incarnation, self.version));
        let mut response = json!({"protocol": 1, "cursor": cursor, "whole": whole, "records": records, "gone": gone, "settled": settled});
        if let Some(next) = next {
            response["next"] = json!(next);
        }
        response
    }

    fn recorded(&self, id: OperationId, actor: &str) -> Option<Json> {
        let (author, _, answer) = self.ledger.get(&id)?;
        let mut answer = answer.clone();
        answer["replayed"] = json!(true);
        (author == actor).then_some(answer)
    }
}

/// The fields of a record that the application declared.
pub fn plain(record: &JsonRecord) -> Fields {
    record.fields().iter().filter(|(name, _)| !name.starts_with("rota_")).map(|(n, v)| (n.clone(), v.clone())).collect()
}
