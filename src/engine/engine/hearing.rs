//! What the tabs of one browser tell each other.

use super::Engine;
use super::command::after;
use crate::engine::error::Problem;
use crate::engine::link::{LinkStatus, PULL_KEYS_MAX};
use crate::engine::mark::mark;
use crate::engine::operation::{Answer, Operation, OperationId, OperationState, Outcome, PROTOCOL, Settlement};
use crate::engine::outbox::Pending;
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::retry::DELAY_MS_MAX;
use crate::engine::sabotage::sabotaged;
use crate::engine::sorted::SortedSet;
use crate::engine::table::{Row, Source};
use crate::engine::tabs::{
    BEAT_MS, Body, Kind, LOOK_BEATS, MESSAGE_OPERATIONS_MAX, MESSAGE_RECORDS_MAX, Received, Role, TabMessage,
};
use crate::engine::time::Timer;

/// How long a follower waits for the answer to one `hello` before a gap makes it send another one.
const HELLO_MS: u64 = 200;

/// How many operations of others a follower tells again at once: each of its authors does, too, if it lives.
const OTHERS_MAX: usize = 32;

impl<R: Record> Engine<R> {
    pub(super) fn say_hello(&mut self) {
        let mut message = self.tabs.message(Kind::Hello);
        let accepted = self.outbox.iter().filter(|pending| pending.accepted);
        message.pending = Some(accepted.take(MESSAGE_OPERATIONS_MAX).map(|pending| pending.op.id).collect());
        self.tabs.greet(self.now.mono_ms);
        self.emit(Output::Broadcast(message));
    }

    pub(super) fn beat(&mut self) {
        if self.tabs.role != Role::Leader {
            return;
        }
        self.timers.set(Timer::Beat, after(self.now, BEAT_MS));
        self.tabs.catch_up_epoch();
        let mut message = self.tabs.message(Kind::Beat);
        message.set_link(self.link.status(), self.tabs.protocol());
        self.emit(Output::Broadcast(message));
        self.tabs.beats += 1;
        if self.tabs.beats.is_multiple_of(LOOK_BEATS) {
            self.emit(Output::LoadOperations);
        }
    }

    pub(super) fn on_message(&mut self, message: Box<TabMessage<R>>) {
        let (from, v, kind) = (message.from.clone(), message.v, message.kind);
        match self.tabs.receive(message) {
            Received::Drop => {}
            Received::Malformed(why) => {
                self.problem(Problem::new("malformed-message", format!("tab {from}, protocol {v}"), why));
            }
            Received::Newer => {
                let why = "the message is of a protocol that this tab does not speak";
                self.problem(Problem::new("newer-message", format!("tab {from}, protocol {v}"), why));
            }
            Received::Take { from, body, gap } => {
                self.on_heard();
                if kind.is_of_leader() {
                    self.watch();
                }
                if gap && self.tabs.role == Role::Follower {
                    // What was lost may have carried a cursor's worth of changes.
                    self.tabs.caught_up = false;
                    self.puller.cursor = None;
                }
                self.take_body(from, body);
                if gap {
                    self.fill_gap();
                }
            }
        }
    }

    fn fill_gap(&mut self) {
        match self.tabs.role {
            // A snapshot is long; asking for one at every gap would, where much is lost, make more gaps than it fills. A beat asks again.
            Role::Follower if !self.tabs.caught_up && !self.tabs.has_just_greeted(self.now.mono_ms, HELLO_MS) => {
                self.say_hello();
            }
            // It may have been an operation; its author stored it before telling.
            Role::Leader => {
                self.hold();
                self.emit(Output::LoadOperations);
            }
            Role::Follower | Role::Alone => {}
        }
    }

    fn take_body(&mut self, from: String, body: Body<R>) {
        match body {
            Body::Hello { pending } => self.on_hello(from, &pending),
            Body::Beat { link } => self.on_beat(link),
            Body::Snapshot { to, cursor, records, operations, link } => {
                if to == self.tabs.id && self.tabs.role == Role::Follower {
                    self.on_snapshot(cursor, records, operations, link);
                }
            }
            Body::Operation { op } => self.on_operation(op),
            Body::Changes { records, cursor } => self.on_changes(records, cursor),
            Body::Settled { answer } => {
                // From a leader that was deposed meanwhile: what followers take from this one must not lack it.
                let news = self.end_with(&answer);
                self.relay(news);
            }
            Body::SettledLocally { settlement } => self.on_state(settlement),
            Body::Cancel { id } => {
                if self.tabs.sends() && self.cancel(id).is_err() {
                    // Too late: the operation goes its way, and its author hears of its end like everyone.
                }
            }
            Body::Ping => self.on_ping(),
            Body::Bye | Body::Pong => {}
        }
    }

    /// A state that no server's answer brought about.
    fn on_state(&mut self, settlement: Settlement) {
        match settlement.outcome {
            OperationState::Cancelled => self.settle(settlement),
            OperationState::Queued => self.revive(settlement.id),
            // Only who sends can know.
            OperationState::Dead if self.tabs.role == Role::Follower => {
                let code = settlement.code.unwrap_or_else(|| settlement.outcome.name().to_owned());
                self.bury(settlement.id, (code, settlement.message.unwrap_or_default()));
            }
            // The ledger does not know it, and storage does not have it: its author, if there still is one, tells it again.
            OperationState::Unknown if self.tabs.role == Role::Follower => self.drop_unknown(settlement.id),
            OperationState::Dead
            | OperationState::Unknown
            | OperationState::Sent
            | OperationState::Confirmed
            | OperationState::Refused
            | OperationState::Conflicted => {}
        }
    }

    fn drop_unknown(&mut self, id: OperationId) {
        if self.outbox.get(id).is_none_or(|pending| pending.mine) {
            return;
        }
        mark!(UnknownDropped);
        let Some(pending) = self.outbox.remove(id) else { return };
        self.dirty_operations.remove(&id);
        self.ended.push(super::report::view(&pending, Some(&super::sync::settlement(id, OperationState::Unknown))));
        self.recompute(pending.record);
    }

    fn on_operation(&mut self, op: Operation) {
        let id = op.id;
        self.asked.remove(&id);
        self.adopt(op);
        if self.tabs.role == Role::Leader {
            self.tell_end(id);
        }
    }

    /// Tells the others again how an operation ended, if it did.
    pub(super) fn tell_end(&mut self, id: OperationId) {
        if self.outbox.get(id).is_some_and(|pending| pending.state == OperationState::Dead) {
            self.tell_state(id, OperationState::Dead);
            return;
        }
        let Some(ended) = self.settled.get(id).filter(|_| !sabotaged!(SilentEnd)) else { return };
        mark!(EndToldAgain);
        let outcome = match ended.settlement.outcome {
            OperationState::Confirmed => Outcome::Confirmed,
            OperationState::Refused => Outcome::Refused,
            OperationState::Conflicted => Outcome::Conflicted,
            state @ (OperationState::Queued
            | OperationState::Sent
            | OperationState::Cancelled
            | OperationState::Dead
            | OperationState::Unknown) => {
                self.tell_state(id, state);
                return;
            }
        };
        let cell = self.tables.table_id(&ended.table).and_then(|table| self.tables.find(table, &ended.key));
        let cell = cell.and_then(|id| self.tables.cell(id));
        let version = cell.and_then(|cell| cell.version);
        let answer = Answer {
            protocol: PROTOCOL,
            id,
            table: ended.table.clone(),
            key: ended.key.clone(),
            replayed: true,
            outcome,
            code: ended.settlement.code.clone(),
            message: ended.settlement.message.clone(),
            fields: ended.settlement.fields.clone(),
            after_ms: None,
            version,
            record: version.and(cell).map(|cell| cell.confirmed.clone()),
        };
        let mut message = self.tabs.message(Kind::Settled);
        message.answer = Some(answer);
        self.emit(Output::Broadcast(message));
    }

    /// Tells the others of a state that no server's answer brought about.
    pub(super) fn tell_state(&mut self, id: OperationId, state: OperationState) {
        let mut message = self.tabs.message(Kind::Settled);
        (message.id, message.outcome) = (Some(id), Some(state));
        if state == OperationState::Dead {
            (message.code, message.message) = self.outbox.get(id).and_then(|pending| pending.trouble.clone()).unzip();
        }
        self.emit(Output::Broadcast(message));
    }

    fn on_hello(&mut self, from: String, pending: &[OperationId]) {
        if self.tabs.role != Role::Leader {
            return;
        }
        if !self.pulled_here {
            self.tabs.owe(from.clone());
        }
        self.send_snapshot(from);
        for id in pending {
            // Of the dead ones the snapshot has told.
            if !self.outbox.contains(*id) {
                self.tell_end(*id);
            }
        }
        let mut unheard = SortedSet::new();
        for id in pending {
            if !self.outbox.contains(*id) && !self.settled.contains(*id) && unheard.len() < PULL_KEYS_MAX {
                unheard.insert(*id);
            }
        }
        if !unheard.is_empty() {
            mark!(UnheardAsked);
            // They are in storage, or the ledger knows them.
            for id in std::mem::replace(&mut self.asked, unheard) {
                if self.asked.len() < PULL_KEYS_MAX {
                    self.asked.insert(id);
                }
            }
            self.emit(Output::LoadOperations);
            self.puller.want();
        }
    }

    pub(super) fn send_owed_snapshots(&mut self) {
        for tab in std::mem::take(&mut self.tabs.owed) {
            mark!(SnapshotOwed);
            self.send_snapshot(tab);
        }
    }

    fn send_snapshot(&mut self, to: String) {
        let mut message = self.tabs.message(Kind::Snapshot);
        message.to = Some(to);
        // With a cursor, what is not in it is gone; that can be said only after a pull.
        let mut records = self.tables.rows();
        let is_whole = self.pulled_here && records.len() <= MESSAGE_RECORDS_MAX;
        records.truncate(MESSAGE_RECORDS_MAX);
        message.cursor = Some(if is_whole { self.puller.cursor.clone() } else { None });
        message.records = Some(records);
        let accepted = self.outbox.iter().filter(|pending| pending.accepted);
        message.operations = Some(accepted.take(MESSAGE_OPERATIONS_MAX).map(|pending| pending.op.clone()).collect());
        message.set_link(self.link.status(), self.tabs.protocol());
        self.emit(Output::Broadcast(message));
        let dead = self.outbox.iter().filter(|pending| pending.state == OperationState::Dead);
        for id in dead.map(|pending| pending.op.id).collect::<Vec<_>>() {
            self.tell_state(id, OperationState::Dead);
        }
    }

    fn on_snapshot(
        &mut self,
        cursor: Option<String>,
        records: Vec<Row<R>>,
        operations: Vec<Operation>,
        link: LinkStatus,
    ) {
        let before = self.tables.arrivals();
        for row in records {
            self.learn(row, Source::Leader, &mut Vec::new());
        }
        if cursor.is_some() {
            self.forget_unseen(before, &mut Vec::new());
        }
        self.tabs.caught_up = true;
        for op in operations {
            self.adopt(op);
        }
        self.ready |= cursor.is_some();
        self.puller.cursor = cursor;
        self.follow_link(link);
    }

    fn on_changes(&mut self, records: Vec<Row<R>>, cursor: Option<String>) {
        for row in records {
            self.learn(row, Source::Leader, &mut Vec::new());
        }
        if self.tabs.role == Role::Follower {
            // Where the leader stands is where we stand only if we have heard everything.
            if self.tabs.caught_up {
                self.ready |= cursor.is_some();
                self.puller.cursor = cursor;
            }
            self.last_sync_ms = Some(self.now.wall_ms);
        }
    }

    fn on_beat(&mut self, link: LinkStatus) {
        self.follow_link(link);
        if self.tabs.role != Role::Follower {
            return;
        }
        // The question or its answer was lost.
        if !self.tabs.caught_up && !self.tabs.has_just_greeted(self.now.mono_ms, BEAT_MS) {
            mark!(HelloRepeated);
            self.say_hello();
        }
        self.tell_own_again();
    }

    /// Tells again, ever more rarely, of what is pending here: the leader may never have heard of it, or we not of its end.
    fn tell_own_again(&mut self) {
        let told = |pending: &&Pending| pending.accepted && pending.state != OperationState::Dead;
        let pending = || self.outbox.iter().filter(told);
        let others = pending().filter(|pending| !pending.mine).take(OTHERS_MAX);
        let own: Vec<Operation> =
            pending().filter(|pending| pending.mine).chain(others).map(|pending| pending.op.clone()).collect();
        let (due_mono_ms, wait_ms) = self.tabs.retell;
        if own.is_empty() {
            self.tabs.retell = (after(self.now, 2 * BEAT_MS), 2 * BEAT_MS);
        } else if due_mono_ms <= self.now.mono_ms {
            self.tabs.retell = (after(self.now, wait_ms), (wait_ms * 2).clamp(BEAT_MS, DELAY_MS_MAX));
            for op in own {
                mark!(OperationRetold);
                let mut message = self.tabs.message(Kind::Operation);
                message.op = Some(op);
                self.emit(Output::Broadcast(message));
            }
        }
    }

    fn follow_link(&mut self, link: LinkStatus) {
        if self.tabs.role == Role::Follower {
            self.link.follow(link);
        }
    }
}
