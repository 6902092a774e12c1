//! What the server says: through the stream, in pulls, in answers. Confirmed changes apply at once, whatever is pending.

use super::Engine;
use crate::engine::error::Problem;
use crate::engine::input::{Pulled, ServerEvent};
use crate::engine::operation::{Answer, OperationId, OperationState, Outcome, Settlement, Told};
use crate::engine::outbox::Pending;
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::table::{Fact, RecordId, Row, Source};
use crate::engine::tabs::{Kind, Role};
use crate::engine::time::Timer;

/// What a row says about the operation that wrote it.
#[derive(Clone, Copy)]
enum Landing {
    /// It is not ours, or has ended.
    Elsewhere,
    /// It was done, and we know of all its records.
    Wholly { is_transaction: bool },
    /// It was done, and some of its records are still to come.
    Partly,
}

impl<R: Record> Engine<R> {
    pub(super) fn on_events(&mut self, events: Vec<ServerEvent<R>>) {
        let mut news = Vec::new();
        for event in events {
            match event {
                ServerEvent::Changed { row, partial } => {
                    let source = if partial { Source::Filled } else { Source::Stream };
                    if let Some(row) = self.complete(row, partial) {
                        self.learn(row, source, &mut news);
                    }
                }
                // The event has no version, so only a pull can say what is true.
                ServerEvent::Deleted { table, key } => self.puller.want_key(&table, &key),
            }
        }
        self.relay(news);
    }

    /// Fills in the columns that an event lacked. Where there is nothing to fill them from, the record is pulled.
    fn complete(&mut self, row: Row<R>, partial: bool) -> Option<Row<R>> {
        let Some(record) = row.record.as_ref().filter(|_| partial) else { return Some(row) };
        let known = self.tables.table_id(&row.table).and_then(|table| self.tables.find(table, &row.key));
        match known.and_then(|id| self.tables.cell(id)).and_then(|cell| cell.confirmed.as_ref()) {
            Some(older) => Some(Row { record: Some(record.filled(older)), ..row }),
            None => {
                self.puller.want_key(&row.table, &row.key);
                None
            }
        }
    }

    /// Takes a row in. Remembers it in `news` if it was any.
    pub(super) fn learn(&mut self, row: Row<R>, source: Source, news: &mut Vec<Row<R>>) {
        let Some(table) = self.tables.table_id(&row.table) else {
            self.problem(Problem::new(
                "malformed-event",
                row.table,
                "the server told of a table that is not declared".to_owned(),
            ));
            return;
        };
        if let (Some(op), Some(record)) = (row.op, &row.record) {
            self.claim(op, &row.table, &row.key, Some(record));
        }
        let id = self.tables.intern(table, &row.key);
        let fact = Fact { version: row.version, op: row.op, record: row.record.clone() };
        let landing = row.op.map(|op| self.land(op, id));
        let is_news = self.tables.apply(id, fact, source);
        if is_news || matches!(landing, Some(Landing::Partly)) {
            self.recompute(id);
        }
        let writer = row.op;
        if is_news {
            news.push(row);
        }
        self.retire_covered(id);
        // A row that one of our operations wrote is the proof that it was done, should its answer be late or lost.
        if let (Some(op), Some(Landing::Wholly { is_transaction })) = (writer, landing) {
            self.retire_earlier(op);
            self.settle(settlement(op, OperationState::Confirmed));
            if (!is_news || is_transaction) && self.tabs.role == Role::Leader {
                // No row goes to the others that would tell them.
                self.tell_end(op);
            }
        }
    }

    /// Takes in what was kept from the last visit, unless the server, or the leader, has been heard already.
    pub(super) fn on_found(&mut self, rows: Vec<Row<R>>) {
        if self.ready || self.tabs.caught_up {
            return;
        }
        for row in rows {
            // A table that is no longer declared is no news, and nobody's fault.
            if self.tables.table_id(&row.table).is_some() {
                self.learn(row, Source::Cache, &mut Vec::new());
            }
        }
    }

    /// Tells the followers what was learned, and keeps it for the next visit.
    fn relay(&mut self, records: Vec<Row<R>>) {
        if records.is_empty() || !self.tabs.sends() {
            return;
        }
        self.emit(Output::CacheRecords { rows: records.clone() });
        if self.tabs.role != Role::Leader {
            return;
        }
        let mut message = self.tabs.message(Kind::Changes);
        (message.records, message.cursor) = (Some(records), Some(self.puller.cursor.clone()));
        self.emit(Output::Broadcast(message));
    }

    pub(super) fn on_pulled(&mut self, pulled: Pulled<R>) {
        let looked_up = self.looked_up();
        let Some(asked) = self.puller.end(pulled.id) else { return };
        self.timers.stop(Timer::PullTimeout);
        let mut news = Vec::new();
        let whole = pulled.whole && !asked.by_keys;
        for row in pulled.records {
            self.learn(row, Source::Pull, &mut news);
        }
        for gone in pulled.gone {
            let row = Row { table: gone.table, key: gone.key, version: gone.version, op: None, record: None };
            self.learn(row, Source::Pull, &mut news);
        }
        if whole {
            self.forget_unseen(asked.arrivals, &mut news);
        }
        for answer in pulled.settled {
            self.on_answer(answer);
        }
        for id in looked_up {
            self.decide(id);
        }
        if !asked.by_keys {
            self.puller.cursor = pulled.cursor;
            (self.ready, self.pulled_here) = (true, true);
            self.give_up_asking();
        }
        self.last_sync_ms = Some(self.now.wall_ms);
        self.token_failures = 0;
        if self.tabs.sends() {
            self.link.note_pull(true, self.now.wall_ms);
            self.link.explain(String::new());
            if self.timers.is_set(Timer::Poll) {
                self.poll_later();
            }
        }
        self.tabs.pulls = false;
        self.open_gate();
        self.relay(news);
        if self.pulled_here {
            self.send_owed_snapshots();
        }
    }

    /// What neither storage nor the ledger knows was cancelled, or lives in its author's tab alone.
    fn give_up_asking(&mut self) {
        for id in std::mem::take(&mut self.asked_now) {
            if self.asked.remove(&id) && !self.outbox.contains(id) {
                self.tell_state(id, OperationState::Unknown);
            }
        }
    }

    /// A whole pull brings everything: what it did not bring, and nothing told of since it began, is gone.
    pub(super) fn forget_unseen(&mut self, arrivals: u64, news: &mut Vec<Row<R>>) {
        for table in 0..self.tables.names().len() {
            for id in self.tables.confirmed_before(table, arrivals) {
                self.tables.forget(id);
                self.recompute(id);
                let Some(cell) = self.tables.cell(id) else { continue };
                let Some(version) = cell.version else { continue };
                news.push(Row {
                    table: self.tables.config(table).name.clone(),
                    key: cell.key.to_string(),
                    version,
                    op: None,
                    record: None,
                });
            }
        }
    }

    pub(super) fn on_answer(&mut self, answer: Answer<R>) {
        if answer.outcome == Outcome::Retry {
            self.on_retry(&answer);
            return;
        }
        self.token_failures = 0;
        self.open_gate();
        if answer.is_acknowledgement() && self.settled.contains(answer.id) {
            // Its row came first, and the others are told with that.
            if self.tabs.role == Role::Leader {
                self.tell_end(answer.id);
            }
            return;
        }
        let is_acknowledged = answer.is_acknowledgement() && self.outbox.contains(answer.id);
        let news = if is_acknowledged {
            self.acknowledge(&answer);
            Vec::new()
        } else {
            self.end_with(&answer)
        };
        if self.tabs.role == Role::Leader {
            let mut message = self.tabs.message(Kind::Settled);
            if is_acknowledged {
                // To a tab of protocol 1 it is the end.
                message.v = self.tabs.protocol();
            }
            message.answer = Some(answer);
            self.emit(Output::Broadcast(message));
        }
        self.relay(news);
    }

    /// Ends an operation as the server says, with the record as it is now in the same step, so that nothing flickers.
    pub(super) fn end_with(&mut self, answer: &Answer<R>) -> Vec<Row<R>> {
        let outcome = match answer.outcome {
            Outcome::Confirmed => OperationState::Confirmed,
            Outcome::Refused => OperationState::Refused,
            Outcome::Conflicted => OperationState::Conflicted,
            Outcome::Retry => return Vec::new(),
        };
        if outcome == OperationState::Confirmed {
            self.claim_all(answer);
        }
        let mut news = Vec::new();
        // All looked at before any is taken in: a transaction that is told in part may no longer be seen in the rest.
        for row in self.worth_learning(answer, outcome == OperationState::Confirmed) {
            // Retired here rather than by `learn`, which knows only confirmations.
            self.learn_quietly(row, &mut news);
        }
        let settlement = Settlement {
            code: answer.code.clone(),
            message: answer.message.clone(),
            fields: answer.fields.clone(),
            ..settlement(answer.id, outcome)
        };
        self.asked.remove(&answer.id);
        if answer.row().is_some() || !answer.records.is_empty() {
            self.retire_earlier(answer.id);
        }
        let records = self.records_told(answer);
        if outcome != OperationState::Refused && self.tabs.sends() {
            for (table, key) in &records {
                let is_first = *table == answer.table && *key == answer.key;
                let is_told = answer.records.iter().any(|told| told.table == *table && told.key == *key);
                if !(is_told || (is_first && answer.record.is_some())) {
                    // The answer's record could not be read; what is true now has to be looked up.
                    self.puller.want_key(table, key);
                }
            }
        }
        self.remember_settled(records, &settlement);
        self.settle(settlement);
        news
    }

    /// The ledger repeats what was true when it decided. Where we know of no record, it may have ended since, so the server is asked;
    /// until then it stays as seen as it is.
    fn is_worth_learning(&mut self, table: &str, key: &str) -> bool {
        let cell = self.tables.named(table, key);
        if cell.is_some_and(|cell| cell.confirmed.is_some()) {
            return true;
        }
        let is_seen = cell.is_some_and(|cell| cell.visible.is_some());
        if self.tabs.sends() {
            self.puller.want_key(table, key);
        }
        is_seen
    }

    /// Returns the rows that an answer tells, as far as they are to be believed.
    fn worth_learning(&mut self, answer: &Answer<R>, is_confirmed: bool) -> Vec<Row<R>> {
        let op = is_confirmed.then_some(answer.id);
        let (table, key) = (answer.table.clone(), answer.key.clone());
        let first = answer.version.zip(answer.record.clone());
        let first = first.map(|(version, record)| Row { table, key, version, op, record });
        let told = answer.records.iter().cloned();
        let told = told.map(|Told { table, key, version, record, .. }| Row { table, key, version, op, record });
        let mut rows: Vec<Row<R>> = first.into_iter().chain(told).collect();
        if answer.replayed {
            rows.retain(|row| self.is_worth_learning(&row.table, &row.key));
        }
        rows
    }

    /// Returns table and key of each record that an answered operation concerns.
    fn records_told(&self, answer: &Answer<R>) -> Vec<(String, String)> {
        if let Some(pending) = self.outbox.get(answer.id) {
            return self.records_of(pending);
        }
        let told = answer.records.iter().map(|told| (told.table.clone(), told.key.clone()));
        let mut records = vec![(answer.table.clone(), answer.key.clone())];
        records.extend(told.filter(|(table, key)| *table != answer.table || *key != answer.key));
        records
    }

    /// Returns table and key of each record that an operation concerns, the first one's first.
    pub(super) fn records_of(&self, pending: &Pending) -> Vec<(String, String)> {
        let mut ids = pending.records();
        ids.sort_unstable_by_key(|id| (*id != pending.record, *id));
        let name = |id: RecordId| {
            let cell = self.tables.cell(id)?;
            Some((self.tables.config(cell.table).name.clone(), cell.key.to_string()))
        };
        ids.into_iter().filter_map(name).collect()
    }

    /// Notes that a row has come which an operation wrote.
    fn land(&mut self, op: OperationId, record: RecordId) -> Landing {
        let Some(pending) = self.outbox.get_mut(op) else { return Landing::Elsewhere };
        if pending.parts.is_empty() {
            return Landing::Wholly { is_transaction: false };
        }
        if pending.parts.contains(&record) && !pending.landed.contains(&record) {
            pending.landed.push(record);
        }
        let records = pending.records();
        if pending.landed.len() == records.len() {
            return Landing::Wholly { is_transaction: true };
        }
        // An answer under way, or the next try's, brings the rest. Until then its other records go on showing it.
        Landing::Partly
    }

    /// Returns those of a transaction's records that are confirmed as it left them.
    pub(super) fn landed(&self, pending: &Pending) -> Vec<RecordId> {
        let has_landed =
            |record: &RecordId| self.tables.cell(*record).is_some_and(|cell| cell.op == Some(pending.op.id));
        if pending.parts.is_empty() { vec![] } else { pending.records().into_iter().filter(has_landed).collect() }
    }

    /// Takes a row in without deciding anything by the operation that wrote it.
    fn learn_quietly(&mut self, row: Row<R>, news: &mut Vec<Row<R>>) {
        let Some(table) = self.tables.table_id(&row.table) else { return };
        let id = self.tables.intern(table, &row.key);
        if self.tables.apply(id, Fact { version: row.version, op: row.op, record: row.record.clone() }, Source::Stream)
        {
            self.recompute(id);
            news.push(row);
        }
        self.retire_covered(id);
    }
}

pub(super) const fn settlement(id: OperationId, outcome: OperationState) -> Settlement {
    Settlement { id, outcome, code: None, message: None, fields: Vec::new() }
}
