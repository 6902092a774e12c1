//! What the server says: through the stream, in pulls, in answers. Confirmed changes apply at once, whatever is pending.

use super::Engine;
use super::conflicts::Met;
use crate::engine::error::Problem;
use crate::engine::input::{Pulled, ServerEvent, Unread};
use crate::engine::link::{Brought, Page, Turn};
use crate::engine::mark::mark;
use crate::engine::merge::Decision;
use crate::engine::operation::{Answer, OperationId, OperationState, Outcome, Settlement, Told, name};
use crate::engine::outbox::Pending;
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::sabotage::sabotaged;
use crate::engine::sorted::sort_by;
use crate::engine::table::{Cell, Fact, RecordId, Row, Scope, Source};
use crate::engine::tabs::{Kind, Role};
use crate::engine::time::Timer;
use crate::engine::version::Version;

/// The code of a plain operation that is in conflict.
const CHANGED: &str = "changed";

/// The code of a refusal because the id belongs to another operation.
const MISMATCH: &str = "operation-mismatch";

/// After so many tries it is believed that the other operation is another one's.
const MISMATCHES_MAX: u32 = 2;

/// The code of a confirmation of what was done to another record than the one predicted.
const OTHER: &str = "assigned-other";

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
                    if self.is_between(&row) {
                        self.look_up_key(&row.table, &row.key);
                        continue;
                    }
                    let source = if partial { Source::Filled } else { Source::Stream };
                    if let Some(row) = self.complete(row, partial) {
                        let (table, key) = (row.table.clone(), row.key.clone());
                        if !self.learn(row, source, &mut news) && self.tables.table_id(&table).is_some() {
                            // Something happened to it, whatever the event's version was to say.
                            self.puller.want_key(&table, &key);
                        }
                    }
                }
                // The event has no version, so only a pull can say what is true.
                ServerEvent::Deleted { table, key } => self.look_up_key(&table, &key),
            }
        }
        self.relay(news);
    }

    /// True for a row without a version yet, of a record of which nothing is known: its transaction goes on to change it, and what it was
    /// in between nobody should see. Where something is known, that is newer.
    fn is_between(&self, row: &Row<R>) -> bool {
        let known = self.tables.table_id(&row.table).and_then(|table| self.tables.find(table, &row.key));
        row.record.is_some()
            && row.version == Version::Integer(0)
            && known.and_then(|id| self.tables.cell(id)).is_none_or(|cell| cell.version.is_none())
    }

    /// Has a record pulled. One of a table that is not declared would make every pull fail that names it.
    fn look_up_key(&mut self, table: &str, key: &str) {
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
                self.look_up_key(&row.table, &row.key);
                None
            }
        }
    }

    /// Finds which record a row is of, and what it says. One that can't be of its table is reported.
    fn place(&mut self, row: &Row<R>) -> Option<(RecordId, Fact<R>)> {
        let Some(table) = self.tables.table_id(&row.table) else {
            let why = "the server told of a table that is not declared";
            self.problem(Problem::new("malformed-event", row.table.clone(), why));
            return None;
        };
        let order = self.tables.config(table).version_order;
        let Some(version) = order.take(row.version.clone()) else {
            self.problem(Problem::new("invalid-version", [&*row.table, " ", &*row.key].concat(), order.wants()));
            return None;
        };
        if let (Some(op), Some(record)) = (row.op, &row.record)
            && !sabotaged!(IgnoreWriter)
        {
            self.claim(op, &row.table, &row.key, Some(record));
        }
        let id = self.tables.intern(table, &row.key);
        Some((id, Fact { version, op: row.op, record: row.record.clone() }))
    }

    /// Takes a row in. Remembers it in `news` if it was any. Returns false when it could not be taken.
    pub(super) fn learn(&mut self, row: Row<R>, source: Source, news: &mut Vec<Row<R>>) -> bool {
        let Some((id, fact)) = self.place(&row) else { return false };
        let landing = row.op.map(|op| self.land(op, id));
        let version = fact.version.clone();
        let before = self.before_move(id);
        let is_news = self.tables.apply(id, fact, source);
        self.note_move(id, before.filter(|_| is_news));
        let is_overtaken = |cell: &Cell<R>| cell.filled && cell.version.as_ref().is_some_and(|known| *known > version);
        if source == Source::Stream && self.tabs.sends() && self.tables.cell(id).is_some_and(is_overtaken) {
            // The event that came before it lacked columns, and this one may have changed them.
            self.puller.want_key(&row.table, &row.key);
        }
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
            mark!(RetiredByRow);
            self.notice_stand_in(op, false);
            let is_chosen = self.is_chosen(op, id);
            if !is_chosen || self.outbox.get(op).is_some_and(|pending| pending.record == id) {
                self.retire_earlier(op);
            }
            let settlement = if is_chosen { self.chosen(op, id) } else { settlement(op, OperationState::Confirmed) };
            self.settle(&settlement);
            if (!is_news || is_transaction) && self.tabs.role == Role::Leader {
                // No row goes to the others that would tell them.
                self.tell_end(op);
            }
        }
        true
    }

    /// Takes in what was kept from the last visit, unless the server, or the leader, has been heard already.
    pub(super) fn on_found(&mut self, rows: Vec<Row<R>>) {
        if self.ready || self.tabs.caught_up {
            return;
        }
        for row in rows {
            // A table that is no longer declared, or has another order now, is no news, and nobody's fault.
            let order = self.tables.table_id(&row.table).map(|table| self.tables.config(table).version_order);
            if order.is_some_and(|order| order.take(row.version.clone()).is_some()) {
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
        if self.tabs.role != Role::Leader || self.is_unheard() {
            return;
        }
        let mut message = self.tabs.message(Kind::Changes);
        // Who would go on from the cursor must not miss what is still to be looked up.
        let cursor = self.puller.cursor.clone().filter(|_| !self.puller.wants_keys());
        (message.records, message.cursor) = (Some(records), Some(cursor));
        self.emit(Output::Broadcast(message));
    }

    pub(super) fn on_pulled(&mut self, pulled: Pulled<R>) {
        let looked_up = self.looked_up();
        let Some(asked) = self.puller.end(pulled.id) else { return };
        if let Some(ahead_ms) = pulled.at_ms.and_then(|at_ms| self.server_clock.learn(at_ms, asked.asked, self.now)) {
            self.link.note_server_ahead(ahead_ms);
        }
        self.timers.stop(Timer::PullTimeout);
        let (mut news, mut is_sound) = (Vec::new(), true);
        let heard = (asked.arrivals, self.tables.arrivals());
        let skipped = usize::from(sabotaged!(CursorPastEvent));
        let skipped = if asked.is_page && sabotaged!(LosePage) { usize::MAX } else { skipped };
        for Unread { table, key } in pulled.unread {
            self.spare_unread(&table, &key);
            is_sound = false;
        }
        for row in pulled.records.into_iter().skip(skipped) {
            let (table, key) = (row.table.clone(), row.key.clone());
            if !self.learn(row, Source::Pull, &mut news) {
                self.spare_unread(&table, &key);
                is_sound = false;
            }
        }
        for gone in pulled.gone {
            let row = Row { table: gone.table, key: gone.key, version: gone.version, op: None, record: None };
            is_sound &= self.learn(row, Source::Pull, &mut news);
        }
        let page = Page {
            whole: pulled.whole,
            // Where a row could not be taken, the next pull asks for everything again.
            cursor: pulled.cursor.filter(|_| is_sound),
            covers: pulled.covers,
            next: pulled.next,
            heard,
            taken: self.tables.arrivals(),
        };
        let brought = self.puller.turn(&asked, page);
        let is_over = !matches!(brought, Turn::Next);
        if let Turn::Last(brought) = &brought {
            self.conclude(brought, asked.by_keys, &mut news);
        }
        for answer in pulled.settled {
            self.on_answer(answer);
        }
        let is_decisive = is_over && !asked.is_page;
        match brought {
            Turn::Last(brought) if !asked.by_keys => {
                self.puller.cursor = brought.cursor;
                (self.ready, self.pulled_here) = (true, true);
                self.give_up_asking();
            }
            Turn::TooMany => {
                self.problem(Problem::new("too-many-pages", "pull", "the pages of a pull have no end; it starts over"));
                self.pull_later();
            }
            Turn::Last(_) | Turn::Next => {}
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
        // A follower that pulls for itself does so to the last page.
        self.tabs.pulls &= !is_over;
        if let (Some(interval_ms), true) = (self.poll_interval_ms(), is_over) {
            self.pull_beside_leader(interval_ms);
        }
        self.open_gate();
        self.relay(news);
        // Those who hear of an end have heard of its record.
        for id in looked_up.into_iter().filter(|_| is_decisive) {
            self.decide(id);
        }
        if self.pulled_here {
            self.send_owed_snapshots();
        }
    }

    /// A row that can't be read says that its record is there, and nothing more. What else the pull says holds all the same: one bad
    /// row must not keep on the screen what the person may no longer see.
    fn spare_unread(&mut self, table: &str, key: &str) {
        if let Some(id) = self.tables.table_id(table).and_then(|table| self.tables.find(table, key)) {
            self.tables.spare(id);
        }
    }

    /// What a pull covers and did not bring is gone, once its last page is there.
    fn conclude(&mut self, brought: &Brought, by_keys: bool, news: &mut Vec<Row<R>>) {
        let mut scope = Scope::Everything;
        if !brought.whole || by_keys {
            if brought.covers.is_empty() || sabotaged!(KeepUnseenInPart) {
                return;
            }
            let (parts, wrong) = self.tables.scope(brought.covers.clone());
            mark!(PartConcluded);
            if let Some(table) = wrong {
                mark!(CoverRejected);
                let why = "the pull covers a table or a field that is not declared";
                self.problem(Problem::new("malformed-pull", table, why));
            }
            scope = if sabotaged!(PartEndsRest) { Scope::Everything } else { parts };
        }
        self.forget_unseen(&scope, brought.arrivals, news);
        self.look_up_told(&scope, &brought.heard);
    }

    /// What neither storage nor the ledger knows was cancelled, or lives in its author's tab alone.
    fn give_up_asking(&mut self) {
        for id in std::mem::take(&mut self.asked_now) {
            if !self.asked.remove(&id) || self.outbox.contains(id) {
                continue;
            }
            if self.settled.contains(id) {
                // It was found meanwhile, and has ended.
                self.tell_end(id);
            } else {
                mark!(UnheardGivenUp);
                self.tell_state(id, OperationState::Unknown);
            }
        }
        if self.looks_until_mono_ms.is_some() || self.unsure.is_empty() {
            return;
        }
        if self.unsure_looks == 0 {
            mark!(UnsureLookedForTwice);
            // A tab that died may still have been writing when storage was read.
            self.unsure_looks += 1;
            self.look_before_sending();
            self.puller.want();
            return;
        }
        for id in std::mem::take(&mut self.unsure) {
            self.drop_unknown(id);
            self.tell_state(id, OperationState::Unknown);
        }
    }

    /// What is within a pull's scope, was not brought, and not told of since it began, is gone.
    pub(super) fn forget_unseen(&mut self, scope: &Scope, arrivals: u64, news: &mut Vec<Row<R>>) {
        if sabotaged!(KeepUnseen) {
            return;
        }
        for id in self.tables.unseen(scope, arrivals) {
            mark!(GoneByWholePull);
            let before = self.before_move(id);
            self.note_move(id, before);
            self.tables.forget(id);
            self.recompute(id);
            let Some(cell) = self.tables.cell(id) else { continue };
            let Some(version) = cell.version.clone() else { continue };
            let (table, key) = (self.tables.config(cell.table).name.clone(), cell.key.to_string());
            news.push(Row { table, key, version, op: None, record: None });
        }
    }

    /// What was told of while a pull was under way, and is within its scope but not in it, is newer than the pull, or was told of late,
    /// and is gone.
    fn look_up_told(&mut self, scope: &Scope, heard: &[(u64, u64)]) {
        for id in self.tables.confirmed_between(scope, heard) {
            if let Some(cell) = self.tables.cell(id) {
                mark!(UnsureLookedUp);
                self.puller.want_key(&self.tables.config(cell.table).name, &cell.key);
            }
        }
    }

    pub(super) fn on_answer(&mut self, answer: Answer<R>) {
        if answer.outcome == Outcome::Retry {
            self.on_retry(&answer);
            return;
        }
        self.token_failures = 0;
        self.rate_limit.forget();
        self.open_gate();
        if self.is_over(answer.id) {
            // A late repetition: what it stood for has gone on, and the others hear where to.
            let news = self.learn_answer(&answer);
            self.asked.remove(&answer.id);
            self.relay(news);
            if self.tabs.sends() {
                self.tell_end(answer.id);
            }
            return;
        }
        if answer.code.as_deref() == Some(MISMATCH) && self.looks_it_up(answer.id) {
            return;
        }
        if answer.is_acknowledgement() && self.outbox.contains(answer.id) {
            self.acknowledge(&answer);
            if self.tabs.sends() && !self.is_unheard() {
                let mut message = self.tabs.message(Kind::Settled);
                // To a tab of protocol 1 it is the end.
                (message.v, message.answer) = (self.tabs.protocol(), Some(answer));
                self.emit(Output::Broadcast(message));
            }
            return;
        }
        let is_patch = self.outbox.get(answer.id).is_some_and(|pending| pending.op.name == name::PATCH);
        if answer.outcome == Outcome::Conflicted && is_patch && !self.sends_for(answer.id) {
            // A tab that pulled for itself: who sends hears the same, decides or asks a person, and tells.
            self.learn_answer(&answer);
            return;
        }
        match if answer.outcome == Outcome::Conflicted { self.meet(answer) } else { Met::End(answer, None) } {
            Met::End(answer, decision) => self.end_answered(answer, decision),
            Met::Later => {}
        }
    }

    /// The ledger knows an operation of this id, which is based on something else: a browser that was killed may have lost that form of it. What
    /// became of it the next pull tells.
    fn looks_it_up(&mut self, id: OperationId) -> bool {
        let tries = self.outbox.get(id).filter(|it| it.state == OperationState::Sent).map(|pending| pending.tries);
        if !self.tabs.sends() || tries.is_none_or(|tries| tries >= MISMATCHES_MAX) {
            return false;
        }
        self.puller.want();
        let trouble = (MISMATCH.to_owned(), "the server knows another form of it".to_owned());
        let tries = tries.unwrap_or_default();
        let delay_ms = self.retry.timeout.max(self.retry.delay_ms(tries, &mut self.random));
        self.wait(id, delay_ms, tries.saturating_add(1), trouble);
        true
    }

    /// True when an operation has ended, or another one stands for it.
    fn is_over(&self, id: OperationId) -> bool {
        !self.outbox.contains(id) && (self.settled.contains(id) || self.outbox.replacing(id).is_some())
    }

    /// Takes in a server's answer, and tells the others.
    pub(super) fn end_answered(&mut self, answer: Answer<R>, decision: Option<Decision>) {
        let news = self.end_with(&answer);
        if self.tabs.sends() && !self.is_unheard() && !sabotaged!(SilentEnd) {
            let mut message = self.tabs.message(Kind::Settled);
            (message.answer, message.decision) = (Some(answer), decision);
            message.rebased = self.take_rebased();
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
        self.notice_stand_in(answer.id, answer.replayed);
        let news = self.learn_answer(answer);
        // A plain operation in conflict waits for a decision: one that was not heard of yet has not ended.
        let is_open = outcome == OperationState::Conflicted && answer.code.as_deref() == Some(CHANGED);
        if self.is_over(answer.id) || (is_open && !self.outbox.contains(answer.id)) {
            self.asked.remove(&answer.id);
            return news;
        }
        let settlement = Settlement {
            code: answer.code.clone(),
            message: answer.message.clone(),
            fields: answer.fields.clone(),
            chosen: answer.chosen.clone(),
            winner: answer.winner.clone(),
            ..settlement(answer.id, outcome)
        };
        self.asked.remove(&answer.id);
        if answer.row().is_some() || !answer.records.is_empty() {
            self.retire_earlier(answer.id);
        }
        let is_patch = self.outbox.get(answer.id).is_some_and(|pending| pending.op.name == name::PATCH);
        if is_patch && outcome == OperationState::Conflicted {
            self.park(answer);
            return news;
        }
        let records = self.records_told(answer);
        if outcome != OperationState::Refused && self.tabs.sends() {
            for (table, key) in &records {
                let is_first = *table == answer.table && *key == answer.key;
                let is_told = answer.records.iter().any(|told| told.table == *table && told.key == *key);
                if !(is_told || (is_first && answer.record.is_some())) {
                    mark!(AnswerWithoutRecord);
                    // The answer's record could not be read; what is true now has to be looked up.
                    self.puller.want_key(table, key);
                }
            }
        }
        self.remember_settled(records, &settlement);
        self.settle(&settlement);
        news
    }

    /// Takes in the records that an answer tells of.
    pub(super) fn learn_answer(&mut self, answer: &Answer<R>) -> Vec<Row<R>> {
        if answer.outcome == Outcome::Confirmed {
            self.claim_all(answer);
        }
        let mut news = Vec::new();
        // All looked at before any is taken in: a transaction that is told in part may no longer be seen in the rest.
        for row in self.worth_learning(answer).into_iter().filter(|_| !sabotaged!(DropOverlayAtAnswer)) {
            let (table, key) = (row.table.clone(), row.key.clone());
            // Retired by its answer rather than by `learn`, which knows only confirmations.
            if !self.learn_quietly(row, &mut news) && self.tabs.sends() {
                // It could not be read; what is true now has to be looked up.
                self.puller.want_key(&table, &key);
            }
        }
        news
    }

    /// The ledger repeats what was true when it decided. The record may have ended since, and a pull under way would leave alone what
    /// was heard of after it began, so the server is asked. Until then, where we know of no record, it stays as seen as it is.
    fn is_worth_learning(&mut self, table: &str, key: &str, version: &Version) -> bool {
        let cell = self.tables.named(table, key);
        let is_seen = cell.is_some_and(|cell| cell.confirmed.is_some() || cell.visible.is_some());
        let is_news = cell.and_then(|cell| cell.version.as_ref()).is_none_or(|known| known < version);
        if is_news && self.tabs.sends() {
            mark!(ReplayedAnswerLookedUp);
            self.puller.want_key(table, key);
        }
        is_seen
    }

    /// Returns the rows that an answer tells, as far as they are to be believed.
    fn worth_learning(&mut self, answer: &Answer<R>) -> Vec<Row<R>> {
        let op = (answer.outcome == Outcome::Confirmed).then_some(answer.id);
        let (table, key) = (answer.table.clone(), answer.key.clone());
        let first = answer.version.clone().zip(answer.record.clone());
        let first = first.map(|(version, record)| Row { table, key, version, op, record });
        let told_len = if sabotaged!(TakeFirstRecord) { 0 } else { answer.records.len() };
        let told = answer.records.iter().take(told_len).cloned();
        let told = told.map(|Told { table, key, version, record, .. }| Row { table, key, version, op, record });
        let mut rows: Vec<Row<R>> = first.into_iter().chain(told).collect();
        // So is one that comes after its operation's end.
        if answer.replayed || !self.outbox.contains(answer.id) {
            rows.retain(|row| self.is_worth_learning(&row.table, &row.key, &row.version));
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
        let place = |id: &RecordId| (*id != pending.record, *id);
        sort_by(&mut ids, |one, other| place(one).cmp(&place(other)));
        let name = |id: RecordId| {
            let cell = self.tables.cell(id)?;
            Some((self.tables.config(cell.table).name.clone(), cell.key.to_string()))
        };
        ids.into_iter().filter_map(name).collect()
    }

    /// Notes that a row has come which an operation wrote.
    fn land(&mut self, op: OperationId, record: RecordId) -> Landing {
        let Some(pending) = self.outbox.get(op) else { return Landing::Elsewhere };
        if pending.parts.is_empty() {
            // An operation may write rows of other tables too: its history, say. These prove nothing about its own.
            let is_own = pending.record == record || self.is_chosen(op, record);
            return if is_own { Landing::Wholly { is_transaction: false } } else { Landing::Elsewhere };
        }
        let Some(pending) = self.outbox.get_mut(op) else { return Landing::Elsewhere };
        if pending.parts.contains(&record) && !pending.landed.contains(&record) {
            pending.landed.push(record);
        }
        let records = pending.records();
        if pending.landed.len() == records.len() {
            mark!(LandedWholly);
            return Landing::Wholly { is_transaction: true };
        }
        mark!(LandedPartly);
        if sabotaged!(EndAtFirstRow) {
            return Landing::Wholly { is_transaction: true };
        }
        // An answer under way, or the next try's, brings the rest. Until then its other records go on showing it.
        Landing::Partly
    }

    /// True when an operation left it to the server which record it is about, and the server may have chosen this one.
    fn is_chosen(&self, op: OperationId, record: RecordId) -> bool {
        let Some(pending) = self.outbox.get(op) else { return false };
        let Some(cell) = self.tables.cell(record) else { return false };
        let config = self.tables.config(cell.table);
        config.name == pending.op.table && self.rules.leaves_choice(config, &pending.op.name)
    }

    /// The row of the record that the server chose has come before the answer.
    fn chosen(&self, op: OperationId, record: RecordId) -> Settlement {
        let is_predicted = self.outbox.get(op).is_some_and(|pending| pending.record == record);
        let why = (!is_predicted).then(|| (OTHER.to_owned(), "the server chose another record".to_owned()));
        let (code, message) = why.unzip();
        let chosen = self.tables.cell(record).map(|cell| cell.key.to_string());
        Settlement { code, message, chosen, ..settlement(op, OperationState::Confirmed) }
    }

    /// Returns those of a transaction's records that are confirmed as it left them.
    pub(super) fn landed(&self, pending: &Pending) -> Vec<RecordId> {
        let has_landed =
            |record: &RecordId| self.tables.cell(*record).is_some_and(|cell| cell.op == Some(pending.op.id));
        if pending.parts.is_empty() { vec![] } else { pending.records().into_iter().filter(has_landed).collect() }
    }

    /// Takes a row in without deciding anything by the operation that wrote it. Returns false when it could not be taken.
    fn learn_quietly(&mut self, row: Row<R>, news: &mut Vec<Row<R>>) -> bool {
        if self.tables.table_id(&row.table).is_none() {
            return true;
        }
        let Some((id, fact)) = self.place(&row) else { return false };
        // A leader that no longer finds a record knows no version of its end: it tells of it under the last one there was.
        let is_leaders = fact.record.is_none() && self.tabs.role == Role::Follower;
        let source = if is_leaders { Source::Leader } else { Source::Stream };
        let before = self.before_move(id);
        if self.tables.apply(id, fact, source) {
            self.note_move(id, before);
            self.recompute(id);
            news.push(row);
        }
        self.retire_covered(id);
        true
    }
}

pub(super) const fn settlement(id: OperationId, outcome: OperationState) -> Settlement {
    Settlement { id, outcome, code: None, message: None, fields: Vec::new(), chosen: None, winner: None }
}
