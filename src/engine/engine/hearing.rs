//! What the tabs of one browser tell each other.

use super::command::after;
use super::conflicts::RESOLVED;
use super::{Ended, Engine};
use crate::engine::error::Problem;
use crate::engine::link::{LinkState, LinkStatus, PULL_KEYS_MAX};
use crate::engine::mark::mark;
use crate::engine::merge::Decision;
use crate::engine::operation::{
    Alias, Answer, Operation, OperationId, OperationState, Outcome, PROTOCOL, Settlement, Told,
};
use crate::engine::outbox::Pending;
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::retry::DELAY_MS_MAX;
use crate::engine::sabotage::sabotaged;
use crate::engine::sorted::{SortedSet, sort};
use crate::engine::table::{Row, Scope};
use crate::engine::tabs::{
    BEAT_MS, BOOT_MS, Body, Kind, LOOK_BEATS, MESSAGE_OPERATIONS_MAX, MESSAGE_RECORDS_MAX, Received, Role, TabMessage,
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
            self.look();
        }
    }

    /// True for a leader that has never heard another tab: nobody follows it. Who follows has got a snapshot for the asking, and who comes,
    /// or hears of this leader by a beat, asks for one before anything else is of use to it.
    pub(super) fn is_unheard(&self) -> bool {
        self.tabs.role == Role::Leader && self.tabs.heard_at_mono_ms.is_none()
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
                self.on_heard(&from);
                if kind.is_of_leader() {
                    self.watch();
                }
                if gap && self.tabs.role == Role::Follower {
                    // What was lost may have carried a cursor's worth of changes.
                    self.tabs.caught_up = false;
                    self.puller.cursor = None;
                    self.attention_told_mono_ms = None;
                }
                self.take_body(from, body);
                if gap && !self.closed {
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
                self.look_before_sending();
            }
            // It may have been the end of one, which the server knows, too.
            Role::Alone => {
                self.look();
                self.puller.want();
            }
            Role::Follower => {}
        }
    }

    fn take_body(&mut self, from: String, body: Body<R>) {
        if let Body::Settled { answer, .. } = &body {
            // Whoever tells of it has sent it, or has asked what became of it.
            self.notice_stand_in(answer.id, true);
        }
        match body {
            Body::Hello { pending } => self.on_hello(from, &pending),
            Body::Beat { link } => self.on_beat(link),
            Body::Snapshot { to, cursor, records, tables, operations, following, aliases, link } => {
                if to == self.tabs.id && self.tabs.role == Role::Follower {
                    self.learn_aliases(aliases);
                    let scope = self.told_of(tables.as_deref());
                    self.on_snapshot((cursor, records, scope), (operations, following), link);
                }
            }
            Body::Operation { op, aliases } => {
                self.learn_aliases(aliases);
                self.on_operation(op);
            }
            Body::Changes { records, cursor } => self.on_changes(records, cursor),
            Body::Settled { answer, done: false, .. } if self.outbox.contains(answer.id) => self.acknowledge(&answer),
            Body::Settled { answer, decision, aliases, rebased, .. } => {
                self.learn_aliases(aliases);
                self.adopt_all(rebased);
                if let Some(decision) = decision {
                    self.note_decision(answer.id, None, (&answer.table, &answer.key), decision);
                }
                // From a leader that was deposed meanwhile: what followers take from this one must not lack it.
                let news = self.end_with(&answer);
                self.relay(news);
            }
            Body::SettledLocally { settlement, rebased, decision } => {
                self.adopt_all(rebased);
                self.on_state(settlement, decision);
            }
            Body::Cancel { id } => self.on_cancel(id),
            Body::SignedOut { at_ms } => self.on_signed_out(at_ms),
            Body::RightsChanged => self.look_anew(),
            Body::Presence { peers } => self.hear_peers(peers, Some(&from)),
            Body::Ping => self.on_ping(),
            Body::Bye => {
                self.authors.leave(&from, self.now.mono_ms);
                self.hear_attention(&from, None);
                self.everyone.leave(&from);
            }
            Body::Attention(attention) => self.hear_attention(&from, Some(attention)),
            Body::Reconnect if self.tabs.role == Role::Leader => self.reconnect(),
            Body::Token if self.tabs.role == Role::Leader => self.on_token(),
            // Said to the leader; and that somebody is there, is noted of whoever says anything.
            Body::Reconnect | Body::Token | Body::Pong | Body::Alive => {}
        }
    }

    /// A state that no server's answer brought about.
    fn on_state(&mut self, settlement: Settlement, decision: Option<Decision>) {
        match settlement.outcome {
            OperationState::Cancelled if self.outbox.contains(settlement.id) => self.settle(&settlement),
            // The news of its end has overtaken the operation itself, which must not come back to life when it is heard of.
            OperationState::Cancelled => self.remember_settled(vec![], &settlement),
            OperationState::Queued => self.revive(settlement.id),
            // Somebody decided that it stays as the server has it.
            OperationState::Conflicted => self.end_conflict(settlement.id, decision),
            // Only who sends can know.
            OperationState::Dead if !self.sends_for(settlement.id) => {
                let code = settlement.code.unwrap_or_else(|| settlement.outcome.name().to_owned());
                self.bury(settlement.id, (code, settlement.message.unwrap_or_default()));
            }
            // A server without a ledger never answered; its record was looked at.
            OperationState::Unknown if settlement.code.is_some() => self.settle(&settlement),
            // The ledger does not know it, and storage does not have it: its author, if there still is one, tells it again.
            OperationState::Unknown if self.tabs.role == Role::Follower => self.drop_unknown(settlement.id),
            OperationState::Dead
            | OperationState::Unknown
            | OperationState::Sent
            | OperationState::Acknowledged
            | OperationState::Confirmed
            | OperationState::Refused => {}
        }
    }

    pub(super) fn drop_unknown(&mut self, id: OperationId) {
        if self.outbox.get(id).is_none_or(|pending| pending.mine) {
            return;
        }
        mark!(UnknownDropped);
        let Some(pending) = self.outbox.remove(id) else { return };
        self.dirty_operations.remove(&id);
        self.ended.push(super::report::view(&pending, Some(&super::sync::settlement(id, OperationState::Unknown))));
        self.recompute_all(&pending.records());
    }

    fn adopt_all(&mut self, operations: Vec<Operation>) {
        for op in operations {
            self.adopt(op);
        }
    }

    fn on_operation(&mut self, op: Operation) {
        let id = op.id;
        self.asked.remove(&id);
        self.unsure.remove(&id);
        self.adopt(op);
        if self.tabs.sends() && (self.settled.contains(id) || self.sends_for(id)) {
            self.tell_end(id);
        }
    }

    /// Tells the others again how an operation ended, if it did.
    pub(super) fn tell_end(&mut self, id: OperationId) {
        if self.outbox.get(id).is_some_and(|pending| pending.state == OperationState::Dead) {
            self.tell_state(id, OperationState::Dead);
            return;
        }
        if sabotaged!(SilentEnd) {
            return;
        }
        if let Some(waiting) = self.outbox.get(id).and_then(conflict_of) {
            self.tell_ended(&waiting);
        } else if let Some(ended) = self.settled.get(id) {
            let ended = ended.clone();
            self.tell_ended(&ended);
        }
    }

    fn tell_ended(&mut self, ended: &Ended) {
        mark!(EndToldAgain);
        let id = ended.settlement.id;
        let outcome = match ended.settlement.outcome {
            OperationState::Confirmed => Outcome::Confirmed,
            OperationState::Refused => Outcome::Refused,
            OperationState::Conflicted if ended.settlement.code.as_deref() != Some(RESOLVED) => Outcome::Conflicted,
            state @ (OperationState::Queued
            | OperationState::Sent
            | OperationState::Acknowledged
            | OperationState::Conflicted
            | OperationState::Cancelled
            | OperationState::Dead
            | OperationState::Unknown) => {
                let mut message = self.tabs.message(Kind::Settled);
                (message.id, message.outcome) = (Some(id), Some(state));
                (message.code, message.message) = (ended.settlement.code.clone(), ended.settlement.message.clone());
                message.rebased = self.take_rebased();
                self.emit(Output::Broadcast(message));
                return;
            }
        };
        let Some((table, key)) = ended.records.first() else { return };
        let cell = self.tables.named(table, key);
        let version = cell.and_then(|cell| cell.version.clone());
        let now = |(table, key): &(String, String)| {
            let cell = self.tables.named(table, key)?;
            let from = self.aliases.temporary_of(id, table, key);
            let (table, key, record) = (table.clone(), key.clone(), cell.confirmed.clone());
            Some(Told { table, key, version: cell.version.clone()?, record, from })
        };
        let records = if ended.records.len() > 1 { ended.records.iter().filter_map(now).collect() } else { vec![] };
        let answer = Answer {
            protocol: PROTOCOL,
            id,
            table: table.clone(),
            key: key.clone(),
            replayed: true,
            outcome,
            code: ended.settlement.code.clone(),
            message: ended.settlement.message.clone(),
            fields: ended.settlement.fields.clone(),
            after_ms: None,
            record: version.as_ref().and(cell).map(|cell| cell.confirmed.clone()),
            version,
            records,
            chosen: ended.settlement.chosen.clone(),
            winner: ended.settlement.winner.clone(),
        };
        let mut message = self.tabs.message(Kind::Settled);
        message.answer = Some(answer);
        // The record may be gone, and only its row says of which type its key is.
        message.with_aliases(self.aliases.given_by(id));
        message.rebased = self.take_rebased();
        self.emit(Output::Broadcast(message));
    }

    /// Tells the others of a state that no server's answer brought about.
    pub(super) fn tell_state(&mut self, id: OperationId, state: OperationState) {
        let mut message = self.tabs.message(Kind::Settled);
        (message.id, message.outcome) = (Some(id), Some(state));
        message.rebased = self.take_rebased();
        if state == OperationState::Dead {
            (message.code, message.message) = self.outbox.get(id).and_then(|pending| pending.trouble.clone()).unzip();
        } else if let Some(ended) = self.settled.get(id).filter(|_| state != OperationState::Queued) {
            (message.code, message.message) = (ended.settlement.code.clone(), ended.settlement.message.clone());
        }
        self.emit(Output::Broadcast(message));
    }

    fn on_hello(&mut self, from: String, pending: &[OperationId]) {
        self.introduce();
        if self.tabs.role == Role::Alone {
            self.answer_hello(pending);
        }
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
            // They are in storage, or the ledger knows them; what that tab makes next may be based on them.
            for id in std::mem::replace(&mut self.asked, unheard) {
                if self.asked.len() < PULL_KEYS_MAX {
                    self.asked.insert(id);
                }
            }
            self.look_before_sending();
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
        message.tables = Some(self.tables.names());
        let accepted = self.outbox.iter().filter(|pending| pending.accepted).take(MESSAGE_OPERATIONS_MAX);
        let (operations, with_parts): (Vec<_>, Vec<_>) =
            accepted.map(|pending| pending.op.clone()).partition(|op| op.parts.is_empty());
        message.operations = Some(operations);
        message.pending = Some(with_parts.iter().map(|op| op.id).collect());
        message.with_aliases(self.needed_aliases());
        message.set_link(self.link.status(), self.tabs.protocol());
        self.emit(Output::Broadcast(message));
        // On their own, so that a tab that can't read them can read the rest.
        for op in with_parts {
            let mut message = self.tabs.message(Kind::Operation);
            message.with_operation(op);
            self.emit(Output::Broadcast(message));
        }
        let dead = self.outbox.iter().filter(|pending| pending.is_parked());
        for id in dead.map(|pending| pending.op.id).collect::<Vec<_>>() {
            self.tell_end(id);
        }
    }

    fn on_snapshot(
        &mut self,
        (cursor, records, scope): (Option<String>, Vec<Row<R>>, Scope),
        (operations, following): (Vec<Operation>, Option<Vec<OperationId>>),
        link: LinkStatus,
    ) {
        let before = self.tables.arrivals();
        self.learn_told(records);
        // A tab that was told before may know more than a leader that can't reach the server, and asks again once that one can.
        let is_sure = cursor.is_some() && (is_reached(&link) || !self.ready);
        self.tabs.asks_again = cursor.is_some() && !is_sure;
        // What was kept may be newer than the snapshot, which was on its way: then the news of it are, too, or are in the next one.
        let is_outrun = is_sure && self.tables.spare_kept();
        if is_sure {
            self.forget_unseen(&scope, before, &mut Vec::new());
        }
        // Transactions follow on their own. A leader that does not say which may hold them all.
        let tells_of_all = following.is_some();
        let mut listed: Vec<OperationId> = operations.iter().map(|op| op.id).collect();
        listed.extend(following.unwrap_or_default());
        sort(&mut listed);
        for op in operations {
            self.adopt(op);
        }
        // The end of what the leader no longer lists was lost, or overtaken by the snapshot. It is told to whoever asks.
        let is_missing = |it: &Pending| {
            let may_be_listed = tells_of_all || it.op.parts.is_empty();
            it.accepted && !it.mine && may_be_listed && listed.binary_search(&it.op.id).is_err()
        };
        let is_behind = self.outbox.iter().any(is_missing);
        self.tabs.caught_up = !is_outrun && !is_behind;
        if self.tabs.knows_more {
            self.pull_beside_leader(BOOT_MS);
        } else {
            self.ready |= cursor.is_some();
            self.puller.cursor = cursor.filter(|_| !is_outrun);
        }
        self.follow_link(link);
        if is_outrun {
            self.say_hello();
        }
    }

    fn on_changes(&mut self, records: Vec<Row<R>>, cursor: Option<String>) {
        self.learn_told(records);
        if self.tabs.role == Role::Follower {
            // Where the leader stands is where we stand only if we have heard everything.
            if self.tabs.caught_up && !self.tabs.knows_more {
                self.ready |= cursor.is_some();
                self.puller.cursor = cursor;
            }
            self.last_sync_ms = Some(self.now.wall_ms);
        }
    }

    fn on_beat(&mut self, link: LinkStatus) {
        let reached = is_reached(&link);
        self.follow_link(link);
        if self.tabs.role != Role::Follower {
            return;
        }
        if reached && std::mem::take(&mut self.tabs.asks_again) {
            self.say_hello();
        }
        // The question or its answer was lost.
        if !self.tabs.caught_up && !self.tabs.has_just_greeted(self.now.mono_ms, BEAT_MS) {
            mark!(HelloRepeated);
            self.say_hello();
        }
        self.tell_own_again();
        self.tell_attention();
    }

    /// Tells again, ever more rarely, of what is pending here: the leader may never have heard of it, or we not of its end.
    fn tell_own_again(&mut self) {
        let told = |pending: &&Pending| pending.accepted && !pending.is_parked();
        let pending = || self.outbox.iter().filter(told);
        let others = pending().filter(|pending| !pending.mine).take(OTHERS_MAX);
        let to_cancel: Vec<OperationId> =
            self.outbox.iter().filter(|pending| pending.cancel_asked).map(|pending| pending.op.id).collect();
        let own: Vec<(Operation, Vec<Alias>)> = pending()
            .filter(|pending| pending.mine)
            .chain(others)
            .map(|pending| (pending.op.clone(), self.aliases_of(pending)))
            .collect();
        let (due_mono_ms, wait_ms) = self.tabs.retell;
        if own.is_empty() && to_cancel.is_empty() {
            self.tabs.retell = (after(self.now, 2 * BEAT_MS), 2 * BEAT_MS);
        } else if due_mono_ms <= self.now.mono_ms {
            self.tabs.retell = (after(self.now, wait_ms), (wait_ms * 2).clamp(BEAT_MS, DELAY_MS_MAX));
            // Before the operations, which a leader that has not heard of them would send at once.
            for id in to_cancel {
                self.tell_cancel(id);
            }
            for (op, aliases) in own {
                mark!(OperationRetold);
                let mut message = self.tabs.message(Kind::Operation);
                message.with_operation(op);
                // Where it once named a temporary key, it comes with the real one; what else comes late may still name the other.
                message.with_aliases(aliases);
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

/// True where the server answers, through the stream or beside it.
const fn is_reached(link: &LinkStatus) -> bool {
    matches!(link.state, LinkState::Live | LinkState::Degraded)
}

/// What to tell others of an operation that waits for a person because it is in conflict.
fn conflict_of(pending: &Pending) -> Option<Ended> {
    let parked = pending.conflict.as_ref()?;
    let (code, message) = pending.trouble.clone().unzip();
    let fields = parked.fields.clone();
    let settlement =
        Settlement { code, message, fields, ..super::sync::settlement(pending.op.id, OperationState::Conflicted) };
    Some(Ended { records: vec![(pending.op.table.clone(), pending.op.key.clone())], settlement })
}
