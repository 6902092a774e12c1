//! What the server says: through the stream, in pulls, in answers. Confirmed changes apply at once, whatever is pending.

use super::Engine;
use crate::engine::error::Problem;
use crate::engine::input::{Pulled, ServerEvent};
use crate::engine::mark::mark;
use crate::engine::operation::{Answer, OperationId, OperationState, Outcome, Settlement};
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::sabotage::sabotaged;
use crate::engine::table::{Fact, Row, Source};
use crate::engine::tabs::{Kind, Role};
use crate::engine::time::Timer;

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
                ServerEvent::Deleted { table, key } => self.look_up(&table, &key),
            }
        }
        self.relay(news);
    }

    /// Has a record pulled. One of a table that is not declared would make every pull fail that names it.
    fn look_up(&mut self, table: &str, key: &str) {
        if self.tables.table_id(table).is_some() {
            self.puller.want_key(table, key);
        } else {
            self.undeclared(table);
        }
    }

    fn undeclared(&mut self, table: &str) {
        self.problem(Problem::new("malformed-event", table, "the server told of a table that is not declared"));
    }

    /// Fills in the columns that an event lacked. Where there is nothing to fill them from, the record is pulled.
    fn complete(&mut self, row: Row<R>, partial: bool) -> Option<Row<R>> {
        let Some(record) = row.record.as_ref().filter(|_| partial) else { return Some(row) };
        let known = self.tables.table_id(&row.table).and_then(|table| self.tables.find(table, &row.key));
        match known.and_then(|id| self.tables.cell(id)).and_then(|cell| cell.confirmed.as_ref()) {
            Some(_) if sabotaged!(LoseColumns) => Some(row),
            Some(older) => {
                mark!(ColumnsFilled);
                Some(Row { record: Some(record.filled(older)), ..row })
            }
            None => {
                mark!(PartialLookedUp);
                self.look_up(&row.table, &row.key);
                None
            }
        }
    }

    /// Takes a row in. Remembers it in `news` if it was any.
    pub(super) fn learn(&mut self, row: Row<R>, source: Source, news: &mut Vec<Row<R>>) {
        let Some(table) = self.tables.table_id(&row.table) else {
            self.undeclared(&row.table);
            return;
        };
        let id = self.tables.intern(table, &row.key);
        let fact = Fact { version: row.version, op: row.op, record: row.record.clone() };
        let writer = row.op;
        let is_news = self.tables.apply(id, fact, source);
        if is_news {
            self.recompute(id);
            news.push(row);
        }
        // A row that one of our operations wrote is the proof that it was done, should its answer be late or lost.
        if let Some(op) = writer.filter(|op| self.outbox.contains(*op)) {
            mark!(RetiredByRow);
            self.settle(settlement(op, OperationState::Confirmed));
            if !is_news && self.tabs.role == Role::Leader {
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
    pub(super) fn relay(&mut self, records: Vec<Row<R>>) {
        if records.is_empty() || !self.tabs.sends() {
            return;
        }
        // What was filled in may be wrong until the next pull, and the next visit could not tell.
        let is_sure = |row: &&Row<R>| {
            let known = self.tables.table_id(&row.table).and_then(|table| self.tables.find(table, &row.key));
            !known.and_then(|id| self.tables.cell(id)).is_some_and(|cell| cell.filled)
        };
        let sure: Vec<Row<R>> = records.iter().filter(is_sure).cloned().collect();
        if !sure.is_empty() {
            self.emit(Output::CacheRecords { rows: sure });
        }
        if self.tabs.role != Role::Leader {
            return;
        }
        let mut message = self.tabs.message(Kind::Changes);
        // Who would go on from the cursor must not miss what is still to be looked up.
        let cursor = self.puller.cursor.clone().filter(|_| !self.puller.wants_keys());
        (message.records, message.cursor) = (Some(records), Some(cursor));
        self.emit(Output::Broadcast(message));
    }

    pub(super) fn on_pulled(&mut self, pulled: Pulled<R>) {
        let Some(asked) = self.puller.end(pulled.id) else { return };
        self.timers.stop(Timer::PullTimeout);
        let mut news = Vec::new();
        let whole = pulled.whole && !asked.by_keys;
        let heard = self.tables.arrivals();
        let skipped = usize::from(sabotaged!(CursorPastEvent));
        for row in pulled.records.into_iter().skip(skipped) {
            self.learn(row, Source::Pull, &mut news);
        }
        for gone in pulled.gone {
            let row = Row { table: gone.table, key: gone.key, version: gone.version, op: None, record: None };
            self.learn(row, Source::Pull, &mut news);
        }
        if whole {
            self.forget_unseen(asked.arrivals, &mut news);
            self.look_up_unsure(asked.arrivals, heard);
        }
        for answer in pulled.settled {
            self.on_answer(answer);
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

    /// What was told of while a whole pull was under way, and is not in it, may be newer than the pull, or may have ended before it: an
    /// answer of the ledger, or an event, can be that late.
    fn look_up_unsure(&mut self, from: u64, to: u64) {
        for table in 0..self.tables.names().len() {
            for id in self.tables.confirmed_before(table, to) {
                let Some(cell) = self.tables.cell(id).filter(|cell| cell.seen > from) else { continue };
                mark!(UnsureLookedUp);
                self.puller.want_key(&self.tables.config(table).name, &cell.key);
            }
        }
    }

    /// What neither storage nor the ledger knows was cancelled, or lives in its author's tab alone.
    fn give_up_asking(&mut self) {
        for id in std::mem::take(&mut self.asked_now) {
            if self.asked.remove(&id) && !self.outbox.contains(id) {
                mark!(UnheardGivenUp);
                self.tell_state(id, OperationState::Unknown);
            }
        }
    }

    /// A whole pull brings everything: what it did not bring, and nothing told of since it began, is gone.
    pub(super) fn forget_unseen(&mut self, arrivals: u64, news: &mut Vec<Row<R>>) {
        if sabotaged!(KeepUnseen) {
            return;
        }
        for table in 0..self.tables.names().len() {
            for id in self.tables.confirmed_before(table, arrivals) {
                mark!(GoneByWholePull);
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
        let news = self.end_with(&answer);
        if self.tabs.role == Role::Leader && !sabotaged!(SilentEnd) {
            let mut message = self.tabs.message(Kind::Settled);
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
        let mut news = Vec::new();
        if let (Some(version), Some(record)) = (answer.version, answer.record.clone()) {
            let op = (outcome == OperationState::Confirmed).then_some(answer.id);
            let row = Row { table: answer.table.clone(), key: answer.key.clone(), version, op, record };
            // Retired here rather than by `learn`, which knows only confirmations.
            if self.is_worth_learning(answer) && !sabotaged!(DropOverlayAtAnswer) {
                self.learn_quietly(row, &mut news);
            }
        }
        let settlement = Settlement {
            code: answer.code.clone(),
            message: answer.message.clone(),
            fields: answer.fields.clone(),
            ..settlement(answer.id, outcome)
        };
        self.asked.remove(&answer.id);
        if answer.record.is_none() && outcome != OperationState::Refused && self.tabs.sends() {
            mark!(AnswerWithoutRecord);
            // The answer's record could not be read; what is true now has to be looked up.
            self.look_up(&answer.table, &answer.key);
        }
        self.remember_settled(&answer.table, &answer.key, &settlement);
        self.settle(settlement);
        news
    }

    /// The ledger repeats what was true when it decided, and so does an answer that comes after its operation's end. Where we know of
    /// no record, it may have ended since, so the server is asked; until then it stays as seen as it is.
    fn is_worth_learning(&mut self, answer: &Answer<R>) -> bool {
        let known = self.tables.table_id(&answer.table).and_then(|table| self.tables.find(table, &answer.key));
        let cell = known.and_then(|id| self.tables.cell(id));
        let is_fresh = !answer.replayed && self.outbox.contains(answer.id);
        if is_fresh || cell.is_some_and(|cell| cell.confirmed.is_some()) {
            return true;
        }
        mark!(ReplayedAnswerLookedUp);
        let is_seen = cell.is_some_and(|cell| cell.visible.is_some());
        if self.tabs.sends() {
            self.look_up(&answer.table, &answer.key);
        }
        is_seen
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
    }
}

pub(super) const fn settlement(id: OperationId, outcome: OperationState) -> Settlement {
    Settlement { id, outcome, code: None, message: None, fields: Vec::new() }
}
