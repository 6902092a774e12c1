//! Operations that stand for earlier ones. Patches of one record that wait are sent as one; and whoever holds an operation that
//! another stands for lets go of it. Only what was never sent, or is in conflict, is replaced: nothing is lost, and nothing happens twice.

use super::Engine;
use crate::engine::mark::mark;
use crate::engine::operation::{Joined, Operation, OperationId, OperationState, Settlement, name};
use crate::engine::outbox::{Pending, Replaced};
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::sabotage::sabotaged;
use crate::engine::table::RecordId;
use crate::engine::tabs::Role;
use crate::engine::value::Fields;

/// How many operations one may stand for. It names them all, in storage and on the wire.
pub const REPLACES_MAX: usize = 100;

/// How much all that was joined into one operation may set: each is stored with it, and written anew with each that is joined.
pub const JOINED_BYTES_MAX: usize = 32 * 1024;

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
    pub(super) fn coalescible(&self, op: &Operation, record: RecordId) -> Option<&Pending> {
        let (last, after) = (self.outbox.last(record)?, &op.after);
        // One that was joined into another one may still be taken back.
        let is_open = |id: OperationId| self.outbox.contains(id) || self.outbox.replacing(id).is_some();
        let fits = op.name == name::PATCH
            && self.tabs.role == Role::Leader
            && last.op.name == name::PATCH
            && last.op.tab == self.tabs.id
            && last.accepted
            && self.was_never_sent(last)
            // What carries out a decision stands for the conflict, and can't be taken out of it.
            && last.op.decision.is_none()
            && !self.outbox.has_dependents(last.op.id)
            // Neither may end with what only the other depends on; what has ended decided about neither.
            && last.op.after.iter().all(|id| after.contains(id) || !is_open(*id))
            && after.iter().all(|id| last.op.after.contains(id))
            && last.op.replaces.len() < REPLACES_MAX
            && bytes_of(&last.op.joined) + fields_bytes(&last.op.set) + fields_bytes(&op.set) <= JOINED_BYTES_MAX;
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
        let is_by_rules = |op: &Operation| op.decision.as_ref().is_some_and(|decision| decision.by.is_none());
        let is_taken_back = match self.outbox.get(id).map(|newer| &newer.op) {
            Some(newer) if is_by_rules(newer) => {
                self.undoable.hand_over(&older.op, newer);
                false
            }
            // Each that was joined is still undone by itself.
            Some(newer) if !newer.joined.is_empty() => newer.leaves_out(older.op.id),
            Some(_) | None => {
                self.undoable.forget_all(&older.op);
                false
            }
        };
        if older.conflict.is_some() {
            self.dirty_conflicts.insert(older.op.id);
        }
        let taken_back = is_taken_back.then(|| super::sync::settlement(older.op.id, OperationState::Cancelled));
        let mut view = super::report::view(&older, taken_back.as_ref());
        view.replaced_by = taken_back.is_none().then_some(id);
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
            let settlement = if pending.op.leaves_out(*id) {
                super::sync::settlement(*id, OperationState::Cancelled)
            } else {
                Settlement { id: *id, ..settlement.clone() }
            };
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

/// What was joined into a patch once a later one is joined to it.
pub(super) fn joined_with(older: &Operation, id: OperationId, set: Fields) -> Vec<Joined> {
    let mut all = older.joined.clone();
    if all.is_empty() {
        all.push(Joined { id: older.id, set: older.set.clone() });
    }
    all.push(Joined { id, set });
    all
}

fn bytes_of(joined: &[Joined]) -> usize {
    joined.iter().map(|joined| fields_bytes(&joined.set)).sum()
}

fn fields_bytes(fields: &Fields) -> usize {
    fields.iter().map(|(name, value)| name.len() + value.bytes()).sum()
}

/// The ids that an operation stands for which stands for another one.
pub(super) fn flattened(older: &Operation) -> Vec<OperationId> {
    older.replaces.iter().copied().chain([older.id]).collect()
}
