//! A small server that obeys `PROTOCOL.md`: a ledger of operation ids, versions, a feed, pulls. Everything it says is JSON.

use std::collections::{BTreeMap, BTreeSet};

use rota_engine::{Fields, JsonRecord, Operation, OperationId, PullRequest, TableConfig, Value, Version};
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
    pub pulls: Vec<PullRequest>,
    pub incarnation: u32,
    /// What the stream has to tell, in the order of commits.
    pub news: Vec<Key>,
    version: u64,
}

pub fn version(n: u64) -> Version {
    Version::parse(&n.to_string()).unwrap()
}

pub fn tables() -> Vec<TableConfig> {
    serde_json::from_value(json!([
        {"name": "companies", "key": ["id"], "fields": ["id", "name", "city", "owner_id"], "owner": "owner_id",
            "indexed": ["name", "city", "owner_id"]},
        {"name": "leads", "key": ["id"], "fields": ["id", "name"]},
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
        self.ledger.insert(op.id, (actor.to_owned(), op, answer.clone()));
        answer
    }

    fn answer(&self, op: &Operation, verdict: Json) -> Json {
        let mut answer = json!({"protocol": 1, "id": op.id, "table": op.table, "key": op.key, "replayed": false});
        let seen = self.rows.get(&(op.table.clone(), op.key.clone()));
        if let (Some(stand), true) = (seen, verdict["outcome"] != "retry") {
            answer["version"] = json!(stand.version.to_string());
            answer["record"] = Self::row_json(stand);
        }
        answer.as_object_mut().unwrap().extend(verdict.as_object().unwrap().clone());
        answer
    }

    fn decide(&mut self, op: &Operation) -> Json {
        let refused = |code: &str, message: &str| json!({"outcome": "refused", "code": code, "message": message});
        if self.refused.contains(&op.key) {
            return refused("forbidden", &format!("only members of Sales may change {}", op.key));
        }
        let failed =
            |id: &OperationId| self.ledger.get(id).is_some_and(|(_, _, answer)| answer["outcome"] != "confirmed");
        if op.after.iter().any(failed) {
            return refused("dependency-refused", "what it depends on was refused");
        }
        let key = (op.table.clone(), op.key.clone());
        let current = self.rows.get(&key).and_then(|stand| stand.record.clone());
        let next = match (op.name.as_str(), current) {
            ("insert", Some(_)) => return refused("exists", "it is there already"),
            ("insert", None) => Some(op.set.clone()),
            (_, None) => return refused("not-found", "there is no such record"),
            ("delete", Some(_)) => None,
            ("patch" | "assign", Some(mut record)) => {
                let differs = |field: &&String| {
                    record.get(field).cloned().unwrap_or_default() != op.base.get(field).cloned().unwrap_or_default()
                };
                let fields: Vec<&String> = op.set.keys().filter(differs).collect();
                if !fields.is_empty() {
                    let code = if op.name == "assign" { "taken" } else { "changed" };
                    return json!({"outcome": "conflicted", "code": code, "message": "somebody was first", "fields": fields});
                }
                record.extend(op.set.clone());
                Some(record)
            }
            (other, Some(_)) => return refused("invalid", &format!("there is no {other}")),
        };
        self.write(key, next, Some(op.id));
        *self.effects.entry(op.id).or_default() += 1;
        self.applied.push(op.id);
        json!({"outcome": "confirmed"})
    }

    pub fn pull(&mut self, request: &Json, actor: &str) -> Json {
        let request: PullRequest = serde_json::from_value(request.clone()).unwrap();
        self.pulls.push(request.clone());
        let since = request.cursor.as_deref().and_then(|cursor| {
            let (incarnation, position) = cursor.split_once(':')?;
            (incarnation == self.incarnation.to_string()).then(|| position.parse::<u64>().ok()).flatten()
        });
        let whole = since.is_none() && request.keys.is_none();
        let wanted = |(table, key): &Key, stand: &Stand| match &request.keys {
            Some(keys) => keys.get(table).is_some_and(|keys| keys.contains(key)),
            // The cursor is the lowest transaction still running, so the last change may come twice.
            None => stand.version >= since.unwrap_or(0),
        };
        let mut records: BTreeMap<&str, Vec<Json>> = BTreeMap::new();
        let mut gone = Vec::new();
        for ((table, key), stand) in self.rows.iter().filter(|(key, stand)| wanted(key, stand)) {
            if stand.record.is_some() {
                records.entry(table).or_default().push(Self::row_json(stand));
            } else if !whole {
                gone.push(json!({"table": table, "key": key, "version": stand.version.to_string()}));
            }
        }
        let settled: Vec<Json> = request.pending.iter().filter_map(|id| self.recorded(*id, actor)).collect();
        let cursor = request.keys.is_none().then(|| format!("{}:{}", self.incarnation, self.version));
        json!({"protocol": 1, "cursor": cursor, "whole": whole, "records": records, "gone": gone, "settled": settled})
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
