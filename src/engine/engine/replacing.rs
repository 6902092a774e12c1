//! Operations that stand for earlier ones. Patches of one record that wait are sent as one; and whoever holds an operation that
//! another stands for lets go of it. Only what was never sent, or is in conflict, is replaced: nothing is lost, and nothing happens twice.

use super::Engine;
use crate::engine::mark::mark;
use crate::engine::operation::{Operation, OperationId, OperationState, Settlement, name};
use crate::engine::outbox::{Pending, Replaced};
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::sabotage::sabotaged;
use crate::engine::table::RecordId;
use crate::engine::tabs::Role;
use crate::engine::value::Fields;

/// How many operations one may stand for. It names them all, in storage and on the wire.
pub const REPLACES_MAX: usize = 100;

impl<R: Record> Engine<R> {
    /// True when neither this tab nor an earlier leader, nor a later one that this tab has not heard of yet, can have sent it.
    pub(super) fn was_never_sent(&self, pending: &Pending) -> bool {
        pending.state == OperationState::Queued
            && pending.sent_at_mono_ms == 0
            && !pending.perhaps_sent
            && self.trusts_lock_at_mono_ms.is_none()
            && self.sends_since.is_some_and(|(since, _)| pending.op.hlc > since)
    }

    /// Returns the operation that a new patch of a record stands for as well. Only a leader knows what was sent: of tabs
    /// without locks each sends for itself, and another one may have been faster.
    pub(super) fn coalescible(&self, command: &str, record: RecordId, after: &[OperationId]) -> Option<&Pending> {
        let last = self.outbox.last(record)?;
        let fits = command == name::PATCH
            && self.tabs.role == Role::Leader
            && last.op.name == name::PATCH
            && last.op.tab == self.tabs.id
            && last.accepted
            && self.was_never_sent(last)
            && !self.outbox.has_dependents(last.op.id)
            // Neither may end with what only the other depends on; what has ended decided about neither.
            && last.op.after.iter().all(|id| after.contains(id) || !self.outbox.contains(*id))
            && after.iter().all(|id| last.op.after.contains(id))
            && last.op.replaces.len() < REPLACES_MAX;
        fits.then_some(last)
    }

    /// Lets go of what an operation stands for, now that the operation itself is safe. What was sent meanwhile stays: the server
    /// decides about it.
    ///
    /// `answered` was sent, and the server has said that it is in conflict.
    pub(super) fn let_go_of_replaced(&mut self, op: &Operation, is_stored: bool, answered: Option<OperationId>) {
        let mut records = Vec::new();
        for older in &op.replaces {
            let Some(pending) = self.outbox.get(*older) else { continue };
            let may_be_done =
                pending.state == OperationState::Sent || (self.tabs.sends() && pending.sent_at_mono_ms > 0);
            if may_be_done && pending.conflict.is_none() && answered != Some(*older) {
                continue;
            }
            if let Some(pending) = self.outbox.remove(*older) {
                mark!(ReplacedLetGo);
                records.extend(pending.records());
                self.hand_over(pending, op.id);
            }
        }
        self.recompute_all(&records);
        if is_stored {
            self.unpersist_replaced(op.id);
        }
    }

    /// What was owed to a replaced operation — its end told, its entry and those of the keys that it named deleted — is owed by the one that stands for it.
    fn hand_over(&mut self, older: Pending, id: OperationId) {
        self.dirty_operations.remove(&older.op.id);
        let by_rules = |newer: &&Pending| newer.op.decision.as_ref().is_some_and(|decision| decision.by.is_none());
        match self.outbox.get(id).filter(by_rules) {
            Some(newer) => self.undoable.hand_over(older.op.id, &newer.op),
            None => self.undoable.forget(older.op.id),
        }
        if older.conflict.is_some() {
            self.dirty_conflicts.insert(older.op.id);
        }
        let mut view = super::report::view(&older, None);
        view.replaced_by = Some(id);
        self.ended.push(view);
        let key = Some(self.session.operation_key(older.op.hlc, older.op.id));
        let is_owed = older.mine && !older.is_parked();
        let Some(newer) = self.outbox.get_mut(id) else { return };
        newer.replaced.extend(older.replaced);
        newer.replaced.push(Replaced { id: older.op.id, key, is_owed });
        self.outbox.add_named(id, older.named);
    }

    /// Takes note of a replaced operation that was found in storage only now.
    pub(super) fn keep_for_newer(&mut self, op: &Operation) {
        let Some(newer) = self.outbox.replacing(op.id).filter(|_| !self.outbox.contains(op.id)) else { return };
        mark!(ReplacedFound);
        let key = Some(self.session.operation_key(op.hlc, op.id));
        let Some(newer) = self.outbox.get_mut(newer) else { return };
        match newer.replaced.iter_mut().find(|replaced| replaced.id == op.id) {
            Some(replaced) => replaced.key = key,
            None => newer.replaced.push(Replaced { id: op.id, key, is_owed: false }),
        }
    }

    /// Deletes the entries of what an operation stands for; its own is safe.
    pub(super) fn unpersist_replaced(&mut self, id: OperationId) {
        let Some(pending) = self.outbox.get_mut(id) else { return };
        let keys: Vec<String> = pending.replaced.iter_mut().filter_map(|replaced| replaced.key.take()).collect();
        for key in keys {
            self.emit(Output::Unpersist { key });
        }
    }

    /// Ends what an operation stood for as the operation itself ended.
    pub(super) fn end_replaced(&mut self, pending: &Pending, settlement: &Settlement) {
        for replaced in &pending.replaced {
            if let Some(key) = replaced.key.clone() {
                self.emit(Output::Unpersist { key });
            }
            if replaced.is_owed && !sabotaged!(ForgetReplaced) {
                self.emit(Output::Settled(Settlement { id: replaced.id, ..settlement.clone() }));
            }
        }
        for id in &pending.op.replaces {
            let settlement = Settlement { id: *id, ..settlement.clone() };
            self.remember_settled(self.records_of(pending), &settlement);
            if self.tabs.sends() {
                // Whoever never heard of the one that stands for it still shows it.
                self.tell_end(*id);
            }
        }
    }
}

/// What one patch after another sets, and what was seen in those fields before the first.
pub(super) fn merged(older: &Operation, set: Fields, base: Fields) -> (Fields, Fields) {
    let (mut all, mut seen) = (older.set.clone(), base);
    all.extend(set);
    seen.extend(older.base.clone());
    (all, seen)
}

/// The ids that an operation stands for which stands for another one.
pub(super) fn flattened(older: &Operation) -> Vec<OperationId> {
    older.replaces.iter().copied().chain([older.id]).collect()
}
