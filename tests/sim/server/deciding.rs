//! What the model server makes of an operation: each of its parts on what the earlier ones leave, in one transaction, all or none.

#![allow(clippy::result_large_err, reason = "an answer is made once an operation, and this is a model")]

use rota_engine::{Answer, Fields, JsonRecord, Operation, OperationId, Outcome, PROTOCOL, Record, Step, Told, Value};

use super::{Decision, Key, ORDERS, OWNER, Server, TABLES, version};

/// What an operation makes of its records, before any of it is written.
#[derive(Default)]
struct Draft {
    records: Vec<(Key, Option<JsonRecord>)>,
    /// Temporary keys, and the records that they stand for.
    given: Vec<(String, Key)>,
}

impl Draft {
    fn get(&self, key: Key) -> Option<&Option<JsonRecord>> {
        self.records.iter().find(|(drafted, _)| *drafted == key).map(|(_, record)| record)
    }

    fn set(&mut self, key: Key, record: Option<JsonRecord>) {
        match self.records.iter_mut().find(|(drafted, _)| *drafted == key) {
            Some((_, drafted)) => *drafted = record,
            None => self.records.push((key, record)),
        }
    }
}

impl Server {
    pub fn apply_operation(&mut self, op: &Operation, actor: usize) -> Answer<JsonRecord> {
        if let Some(decision) = self.recorded(&op.id) {
            if decision.actor != actor || decision.op != *op {
                return refusal(op, "operation-mismatch");
            }
            return Answer { replayed: true, ..decision.answer.clone() };
        }
        if op.steps().any(|step| !TABLES.contains(&step.table)) {
            return refusal(op, "invalid");
        }
        let (mut verdict, draft) = match self.draft(op, actor) {
            Ok(draft) => (confirmation(op), draft),
            Err(verdict) if verdict.outcome == Outcome::Retry => return verdict,
            Err(verdict) => (verdict, Draft::default()),
        };
        self.given.extend(draft.given);
        let xid = self.begin();
        for (key, record) in draft.records {
            let stand = self.draw(xid, record, Some(op.id));
            self.known[key].history.push(stand);
            self.news.push(key);
        }
        self.tell_records(op, actor, &mut verdict);
        let effects = u32::from(verdict.outcome == Outcome::Confirmed);
        let earlier = self.ledger.remove(&op.id).map_or_else(Vec::new, |before| {
            let mut earlier = before.earlier;
            earlier.push(before.answer.outcome);
            earlier
        });
        let decision = Decision { actor, op: op.clone(), answer: verdict.clone(), effects, earlier };
        self.ledger.insert(op.id, decision);
        verdict
    }

    /// What the server itself remembers of an operation. One without a ledger forgets at once, and the books are the oracle's alone.
    pub fn recorded(&self, id: &OperationId) -> Option<&Decision> {
        self.ledger.get(id).filter(|_| !self.keeps_no_ledger)
    }

    /// Returns the record that is meant by a key: under a temporary one, that which it turned out to be.
    pub fn find(&self, table: &str, key: &str) -> Option<Key> {
        let table = TABLES.iter().position(|name| *name == table)?;
        self.given.get(key).or_else(|| self.numbers[table].get(key)).copied()
    }

    fn draft(&mut self, op: &Operation, actor: usize) -> Result<Draft, Answer<JsonRecord>> {
        let failed = |id: &OperationId| self.recorded(id).is_some_and(|it| it.answer.outcome != Outcome::Confirmed);
        if op.after.iter().any(failed) {
            return Err(refusal(op, "dependency-refused"));
        }
        let mut draft = Draft::default();
        for step in op.steps() {
            let gives_key = step.table == ORDERS && step.name == "insert" && step.key.starts_with('~');
            let key = if gives_key {
                self.last_order += 1;
                let number = self.last_order.to_string();
                self.key(ORDERS, &number)
            } else {
                self.key(step.table, step.key)
            };
            if self.known[key].is_locked {
                return Err(busy(op, 250));
            }
            if self.known[key].is_refused || (self.refuses_orders && step.table == ORDERS) {
                return Err(refusal(op, "forbidden"));
            }
            let Some(next) = self.decide_step(op, &step, actor, key, &draft)? else { continue };
            let next = next.map(|record| if gives_key { self.named(key, &record) } else { record });
            draft.set(key, next);
            if gives_key {
                draft.given.push((step.key.to_owned(), key));
            }
        }
        Ok(draft)
    }

    /// Says what a step makes of its record; nothing where there is nothing to do.
    fn decide_step(
        &self,
        op: &Operation,
        step: &Step<'_>,
        actor: usize,
        key: Key,
        draft: &Draft,
    ) -> Result<Option<Option<JsonRecord>>, Answer<JsonRecord>> {
        let known = &self.known[key];
        let there = draft.get(key).map_or_else(|| known.record(), Option::as_ref);
        let current = there.filter(|_| known.is_seen_by(actor));
        let changed = |record: &JsonRecord, code: &str, next: Option<JsonRecord>| match conflict(op, step, record, code)
        {
            Some(conflict) => Err(conflict),
            None => Ok(Some(next)),
        };
        match (step.name, current) {
            ("insert", _) if there.is_some() => Err(refusal(op, "exists")),
            ("insert", _) => Ok(Some(Some(JsonRecord::create(step.set)))),
            ("delete", None) if there.is_none() => Ok(None),
            (_, None) => Err(refusal(op, "not-found")),
            ("delete", Some(record)) => changed(record, "changed", None),
            ("patch", Some(record)) => changed(record, "changed", Some(record.patched(step.set))),
            ("assign", Some(record)) => {
                let to = step.args.get("to").cloned().unwrap_or_default();
                changed(record, "taken", Some(record.patched(&Fields::from([(OWNER.to_owned(), to)]))))
            }
            (_, Some(_)) => Err(refusal(op, "invalid")),
        }
    }

    /// Puts the key that it was given into a record.
    fn named(&self, key: Key, record: &JsonRecord) -> JsonRecord {
        record.patched(&Fields::from([("id".to_owned(), key_value(&self.known[key].key))]))
    }

    /// Tells, as far as the person may see them, how the records of an operation are now.
    fn tell_records(&self, op: &Operation, actor: usize, verdict: &mut Answer<JsonRecord>) {
        if let Some(key) = self.find(&op.table, &op.key) {
            verdict.key.clone_from(&self.known[key].key);
            if verdict.outcome != Outcome::Refused || self.known[key].is_seen_by(actor) {
                let stand = self.known[key].stand();
                verdict.version = Some(version(stand.map_or(0, |stand| stand.version)));
                verdict.record = Some(stand.and_then(|stand| stand.record.clone()));
            }
        }
        let mut told: Vec<Key> = Vec::new();
        for part in &op.parts {
            let Some(key) = self.find(&part.table, &part.key).filter(|key| !told.contains(key)) else { continue };
            told.push(key);
            let known = &self.known[key];
            let Some(stand) = known.stand().filter(|_| known.is_seen_by(actor)) else { continue };
            verdict.records.push(Told {
                table: part.table.clone(),
                key: known.key.clone(),
                version: version(stand.version),
                record: stand.record.clone(),
                from: (known.key != part.key).then(|| part.key.clone()),
            });
        }
    }
}

/// A key that this server gave, as the value that the key field has.
pub fn key_value(key: &str) -> Value {
    Value::Number(key.parse().expect("the server gives numbers"))
}

fn answer(op: &Operation, outcome: Outcome, code: Option<&str>) -> Answer<JsonRecord> {
    Answer {
        protocol: PROTOCOL,
        id: op.id,
        table: op.table.clone(),
        key: op.key.clone(),
        replayed: false,
        outcome,
        code: code.map(str::to_owned),
        message: code.map(str::to_owned),
        fields: Vec::new(),
        after_ms: None,
        version: None,
        record: None,
        records: Vec::new(),
        chosen: None,
        winner: None,
    }
}

fn confirmation(op: &Operation) -> Answer<JsonRecord> {
    answer(op, Outcome::Confirmed, None)
}

fn refusal(op: &Operation, code: &str) -> Answer<JsonRecord> {
    answer(op, Outcome::Refused, Some(code))
}

pub fn busy(op: &Operation, after_ms: u64) -> Answer<JsonRecord> {
    Answer { after_ms: Some(after_ms), ..answer(op, Outcome::Retry, Some("busy")) }
}

/// Somebody else changed one of the fields since the base.
fn conflict(op: &Operation, step: &Step<'_>, record: &JsonRecord, code: &str) -> Option<Answer<JsonRecord>> {
    let differs =
        |field: &&String| record.fields().get(field).cloned().unwrap_or_default() != step.base[field.as_str()];
    let fields: Vec<String> = step.base.keys().filter(differs).cloned().collect();
    if fields.is_empty() {
        return None;
    }
    Some(Answer { fields, ..answer(op, Outcome::Conflicted, Some(code)) })
}
