//! What only the record itself can say: whether an acknowledged operation's row is here, and, with a server that keeps no
//! ledger, what became of a call that was not answered. There, at most once is the law: what may have arrived is never sent
//! again before its record was looked at.

use super::Engine;
use super::command::after;
use crate::engine::alias::inserting;
use crate::engine::error::Problem;
use crate::engine::link::LinkState;
use crate::engine::mark::mark;
use crate::engine::operation::{
    Answer, Operation, OperationId, OperationState, Outcome, PROTOCOL, Settlement, Step, name,
};
use crate::engine::outbox::{Lookup, Pending, Why};
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::sabotage::sabotaged;
use crate::engine::table::RecordId;
use crate::engine::tabs::Role;
use crate::engine::value::Fields;
use crate::engine::version::Version;

impl<R: Record> Engine<R> {
    /// The server has done it, and did not say how the record is now. It stays as seen as it is until its row arrives.
    pub(super) fn acknowledge(&mut self, answer: &Answer<R>) {
        mark!(Acknowledged);
        if sabotaged!(EndAtAcknowledgement) {
            self.settle(&super::sync::settlement(answer.id, OperationState::Confirmed));
            return;
        }
        self.claim_all(answer);
        self.notice_stand_in(answer.id, answer.replayed);
        let Some(pending) = self.outbox.get(answer.id) else { return };
        let (id, records, state) = (answer.id, pending.records(), pending.state);
        let key = self.session.operation_key(pending.op.hlc, id);
        if state != OperationState::Acknowledged {
            self.outbox.mark_returned(id, OperationState::Acknowledged);
            self.dirty_operations.insert(id);
            if !self.backend.idempotent {
                // Whoever finds it might send it again.
                self.emit(Output::Unpersist { key });
                self.unpersist_replaced(id);
            }
            // Where it has a version, the stream is about to bring it.
            let is_expected = answer.version.is_some() && self.link.is(LinkState::Live);
            let delay_ms = if is_expected { self.retry.timeout } else { 0 };
            // That of a transaction's first record says nothing of its others, though theirs may be higher.
            let version = answer.version.clone().filter(|_| records.len() == 1);
            self.look_up(id, Why::Acknowledged(version), after(self.now, delay_ms));
            if state == OperationState::Dead {
                self.recompute_all(&records);
            }
        }
        for record in records {
            self.retire_covered(record);
        }
    }

    /// Notes what is to be looked up for an operation, and asks when it is time.
    pub(super) fn look_up(&mut self, id: OperationId, why: Why, ask_at_mono_ms: u64) {
        let lookup = Lookup { why, after_pull: self.puller.last_id(), ask_at_mono_ms: Some(ask_at_mono_ms) };
        self.outbox.look_up(id, Some(lookup));
        self.awaiting.insert(id);
        self.ask_what_is_due();
    }

    /// Asks for the records of those whose time has come.
    pub(super) fn ask_what_is_due(&mut self) {
        if !self.tabs.sends() {
            return;
        }
        for id in self.awaiting.iter().copied().collect::<Vec<_>>() {
            let after_pull = self.puller.last_id();
            let Some(Pending { lookup: Some(lookup), op, .. }) = self.outbox.get_mut(id) else { continue };
            if lookup.ask_at_mono_ms.is_some_and(|at_mono_ms| at_mono_ms <= self.now.mono_ms) {
                (lookup.ask_at_mono_ms, lookup.after_pull) = (None, after_pull);
                for step in op.steps() {
                    self.puller.want_key(step.table, step.key);
                }
            }
        }
    }

    /// Returns when to ask next.
    pub(super) fn next_question(&self) -> Option<u64> {
        self.awaiting.iter().filter_map(|id| self.outbox.get(*id)?.lookup.as_ref()?.ask_at_mono_ms).min()
    }

    /// Nothing is to be looked up any more for what goes back into the queue; what is done stays done.
    pub(super) fn forget_questions(&mut self) {
        for id in std::mem::take(&mut self.awaiting) {
            match self.outbox.get(id).map(|pending| pending.state) {
                Some(OperationState::Acknowledged) => drop(self.awaiting.insert(id)),
                Some(_) => self.outbox.look_up(id, None),
                None => {}
            }
        }
    }

    /// Returns the operations about which the pull that has just come can decide.
    pub(super) fn looked_up(&self) -> Vec<OperationId> {
        let covered = |id: &&OperationId| {
            let Some(Pending { lookup: Some(lookup), op, .. }) = self.outbox.get(**id) else { return false };
            let is_asked = lookup.ask_at_mono_ms.is_none() || matches!(lookup.why, Why::Acknowledged(_));
            is_asked && op.steps().all(|step| self.puller.covers(step.table, step.key, lookup.after_pull))
        };
        self.awaiting.iter().filter(covered).copied().collect()
    }

    /// Ends, or frees, an operation whose record was looked up.
    pub(super) fn decide(&mut self, id: OperationId) {
        let Some(pending) = self.outbox.get(id) else { return };
        let Some(lookup) = pending.lookup.clone() else { return };
        let (is_done, is_untouched) = (self.reads_as_done(pending), self.reads_as_untouched(pending));
        let records = pending.records();
        match lookup.why {
            Why::Acknowledged(_) => {
                mark!(RetiredByPull);
                self.end_looked_up(id, OperationState::Confirmed, None);
            }
            Why::Unanswered | Why::Doubted if is_done || sabotaged!(TakeForDone) => {
                mark!(UnansweredDone);
                self.end_looked_up(id, OperationState::Confirmed, None);
            }
            Why::Doubted if is_untouched => {
                mark!(DoubtLifted);
                // Nor can any later one of this record have been sent: they keep their order.
                for id in records.iter().flat_map(|record| self.outbox.ids_of(*record)).collect::<Vec<_>>() {
                    if let Some(pending) = self.outbox.get_mut(id) {
                        pending.unarrived_since = self.sends_since.map(|(since, _)| since);
                    }
                }
                self.awaiting.remove(&id);
                self.outbox.look_up(id, None);
            }
            Why::Unanswered | Why::Doubted => {
                mark!(UnansweredUnknown);
                let why =
                    "the server did not answer, keeps no ledger, and the record does not tell whether it was done";
                self.problem(Problem::new("unknown-outcome", id.to_string(), why));
                self.end_looked_up(id, OperationState::Unknown, Some(("unanswered", why)));
            }
            Why::Conflict if self.outbox.get(id).is_some_and(|pending| pending.op.name == name::PATCH) => {
                self.meet_looked_up(id);
            }
            Why::Conflict => {
                let why = "somebody else was first, says the server";
                self.end_looked_up(id, OperationState::Conflicted, Some(("conflict", why)));
            }
        }
    }

    /// A patch that was turned down without a word on the record: what was looked up is what it conflicts with.
    fn meet_looked_up(&mut self, id: OperationId) {
        self.awaiting.remove(&id);
        self.outbox.look_up(id, None);
        let Some(pending) = self.outbox.get(id) else { return };
        let Some(cell) = self.tables.cell(pending.record) else { return };
        let answer = Answer {
            protocol: PROTOCOL,
            id,
            table: pending.op.table.clone(),
            key: pending.op.key.clone(),
            replayed: false,
            outcome: Outcome::Conflicted,
            code: Some("conflict".to_owned()),
            message: Some("somebody else was first, says the server".to_owned()),
            fields: vec![],
            after_ms: None,
            version: cell.version.clone(),
            record: Some(cell.confirmed.clone()),
            records: vec![],
            chosen: None,
            winner: None,
        };
        self.on_answer(answer);
    }

    /// True when every record is as the operation's last change of it makes it.
    fn reads_as_done(&self, pending: &Pending) -> bool {
        let changes: Vec<_> = pending.changes().collect();
        changes.iter().enumerate().all(|(at, (record, step))| {
            let is_last = !changes[at + 1..].iter().any(|(later, _)| later == record);
            !is_last || reads_as_set(step, self.tables.cell(*record).and_then(|cell| cell.confirmed.as_ref()))
        })
    }

    /// True when every record is as it was. One that reads as before may have been changed and changed back; one whose version is that of
    /// before was not.
    fn reads_as_untouched(&self, pending: &Pending) -> bool {
        let versions = pending.op.parts.iter().map(|part| part.base_version.clone());
        let alone = pending.op.parts.is_empty().then(|| pending.op.base_version.clone());
        let changes: Vec<_> = pending.changes().zip(alone.into_iter().chain(versions)).collect();
        // Done or not, nothing is ever found under a temporary key: only the other parts of a transaction can tell.
        let tells = |step: &Step<'_>| step.name != name::INSERT || inserting(step.key) != Some(pending.op.id);
        if !changes.iter().any(|((_, step), _)| tells(step)) {
            return false;
        }
        changes.iter().enumerate().filter(|(_, ((_, step), _))| tells(step)).all(
            |(at, ((record, step), base_version))| {
                let is_first = !changes[..at].iter().any(|((earlier, _), _)| earlier == record);
                let cell = self.tables.cell(*record);
                let version = cell.and_then(|cell| cell.version.as_ref());
                let confirmed = cell.and_then(|cell| cell.confirmed.as_ref());
                !is_first
                    || (version.is_none_or(|version| {
                        *version == Version::Integer(0) || base_version.as_ref().is_some_and(|base| version <= base)
                    }) && reads_as_before(step, confirmed))
            },
        )
    }

    fn end_looked_up(&mut self, id: OperationId, outcome: OperationState, why: Option<(&str, &str)>) {
        let (code, message) = why.map(|(code, message)| (code.to_owned(), message.to_owned())).unzip();
        self.settle(&Settlement { code, message, ..super::sync::settlement(id, outcome) });
        if self.tabs.sends() {
            self.tell_end(id);
        }
    }

    /// Retires what is acknowledged under a version that is here, or an earlier one.
    pub(super) fn retire_covered(&mut self, record: RecordId) {
        if self.awaiting.is_empty() {
            return;
        }
        let Some(known) = self.tables.cell(record).and_then(|cell| cell.version.clone()) else { return };
        for id in self.outbox.acknowledged(record) {
            let lookup = self.outbox.get(id).and_then(|pending| pending.lookup.clone());
            if matches!(lookup, Some(Lookup { why: Why::Acknowledged(Some(version)), .. }) if version <= known) {
                mark!(RetiredByVersion);
                self.end_looked_up(id, OperationState::Confirmed, None);
            }
        }
    }

    /// Retires what is acknowledged and came before an operation whose own row is here: the server did them in their order.
    pub(super) fn retire_earlier(&mut self, id: OperationId) {
        if self.awaiting.is_empty() {
            return;
        }
        let records = self.outbox.get(id).map(Pending::records).unwrap_or_default();
        for earlier in records.into_iter().flat_map(|record| self.outbox.acknowledged(record)).collect::<Vec<_>>() {
            // A transaction is proved by its own rows, all of them.
            let is_alone = self.outbox.get(earlier).is_some_and(|pending| pending.op.parts.is_empty());
            if is_alone && earlier != id && self.outbox.is_before(earlier, id) {
                mark!(RetiredByLater);
                self.end_looked_up(earlier, OperationState::Confirmed, None);
            }
        }
    }

    /// True for what an earlier leader may have sent to a server that keeps no ledger.
    pub(super) fn is_doubtful_whether_sent(&self, id: OperationId) -> bool {
        let (Some(pending), Some((since, _))) = (self.outbox.get(id), self.sends_since) else { return false };
        // Without locks every tab sends its own, whenever they were made.
        let may_be_sent =
            pending.op.hlc <= since || pending.perhaps_sent || (self.tabs.role == Role::Alone && !pending.made_here);
        !self.backend.idempotent && !sabotaged!(NoDoubt) && may_be_sent && pending.unarrived_since != Some(since)
    }

    /// What nobody told of and storage has may have been sent before this tab led, whatever its time says: clocks are set back.
    pub(super) fn note_found(&mut self, op: &Operation) {
        if let Some((since, _)) = self.sends_since.as_mut().filter(|_| !self.backend.idempotent) {
            *since = (*since).max(op.hlc);
        }
    }

    /// Looks at the record first; not before what an earlier leader sent last has arrived or never will. Where there are no locks, its
    /// author may be sending it right now.
    pub(super) fn doubt(&mut self, id: OperationId) {
        mark!(Doubted);
        let since_mono_ms = match self.sends_since {
            Some((_, since_mono_ms)) if self.tabs.role != Role::Alone => since_mono_ms,
            Some(_) | None => self.now.mono_ms,
        };
        self.look_up(id, Why::Doubted, since_mono_ms.saturating_add(self.retry.timeout));
    }
}

fn reads_as<R: Record>(fields: &Fields, record: &R) -> bool {
    fields.iter().all(|(name, value)| record.field(name).unwrap_or_default() == *value)
}

/// True when a record is as a change makes it.
fn reads_as_set<R: Record>(step: &Step<'_>, confirmed: Option<&R>) -> bool {
    match (step.name, confirmed) {
        (name::DELETE, confirmed) => confirmed.is_none(),
        (_, None) => false,
        // What sets nothing that can be seen leaves no trace.
        (_, Some(record)) => !step.set.is_empty() && reads_as(step.set, record),
    }
}

/// True when a record is as it was when the operation was made.
fn reads_as_before<R: Record>(step: &Step<'_>, confirmed: Option<&R>) -> bool {
    match (step.name, confirmed) {
        (name::INSERT, confirmed) => confirmed.is_none(),
        (_, None) => false,
        (name::DELETE, Some(record)) => reads_as(step.base, record),
        (_, Some(record)) => !step.base.is_empty() && reads_as(step.base, record),
    }
}
