//! Takes one patch back out of those that wait joined as one. What the others set stays, and is sent; when nothing is left, the whole is
//! cancelled. Only what was surely never sent is taken apart: a ledger compares whole operations.

use rand_core::Rng;

use super::Engine;
use super::command::pending;
use super::rebasing::{Layer, Void};
use super::replacing::flattened;
use crate::engine::mark::mark;
use crate::engine::operation::{Joined, Operation, OperationId, OperationState};
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::sabotage::sabotaged;
use crate::engine::value::{Fields, Value};

/// What is left of joined patches without one of them: where that set a field, the last of the others that does counts.
fn without(whole: &Operation, part: OperationId) -> Operation {
    let mut left = whole.clone();
    let Some(at) = left.joined.iter().position(|joined| joined.id == part) else { return left };
    let Joined { set, .. } = left.joined.remove(at);
    for field in set.keys().filter(|_| !sabotaged!(KeepTakenBack)) {
        match left.joined.iter().rev().find_map(|joined| joined.set.get(field)) {
            Some(value) => {
                left.set.insert(field.clone(), value.clone());
            }
            None => {
                left.set.remove(field);
                left.base.remove(field);
            }
        }
    }
    left
}

/// What one patch of those that are joined found in a field that it sets.
pub(super) fn found_by(whole: &Operation, at: usize, field: &str) -> Value {
    let earlier = whole.joined.get(..at).unwrap_or_default().iter().rev().find_map(|joined| joined.set.get(field));
    earlier.or_else(|| whole.base.get(field)).cloned().unwrap_or_default()
}

impl<R: Record> Engine<R> {
    /// Takes a patch back out of the operation that it was joined into, which this tab has surely not sent. Returns false where others
    /// depend on what would get another id.
    pub(super) fn take_out(&mut self, part: OperationId, whole: OperationId) -> bool {
        let Some(pending) = self.outbox.get(whole) else { return false };
        let left = without(&pending.op, part);
        if left.set.is_empty() {
            mark!(NothingLeftOfJoined);
            self.cancel_here(whole);
            return true;
        }
        if part != whole {
            mark!(TakenOut);
            self.store_anew(left, Some(part));
            return true;
        }
        let needs_a_part = |op: &Operation| left.joined.iter().any(|joined| op.after.contains(&joined.id));
        if self.outbox.dependents(whole).any(|dependent| needs_a_part(&dependent.op)) {
            return false;
        }
        mark!(LastTakenOut);
        self.go_on_without(left);
        true
    }

    /// The last of the joined patches, whose id the whole had, was taken back: another operation stands for what is left, in the same place.
    fn go_on_without(&mut self, mut left: Operation) {
        let Some((before, record)) = self.outbox.get(left.id).map(|whole| (whole.op.clone(), whole.record)) else {
            return;
        };
        let mut random = [0; 10];
        self.random.fill_bytes(&mut random);
        left.replaces = flattened(&left);
        left.id = OperationId::new(left.hlc, random);
        left.joined.push(Joined { id: left.id, set: Fields::new() });
        left.rebased = 0;
        self.persist(&left);
        self.parting.push((left.id, before));
        self.outbox.insert(pending(left, vec![record], true));
    }

    /// Returns what an operation was made of that stands for what is left of it.
    pub(super) fn take_parted(&mut self, id: OperationId) -> Option<Operation> {
        let at = self.parting.iter().position(|(newer, _)| *newer == id)?;
        Some(self.parting.remove(at).1)
    }

    /// A patch was taken out of those that it was joined with, and what is left is stored. `before`: the whole as it was.
    pub(super) fn end_part(&mut self, part: OperationId, before: &Operation) {
        if part != before.id {
            self.end_dependants_of_part(part);
        }
        let Some(whole) = self.outbox.replacing(part) else { return };
        let end = super::sync::settlement(part, OperationState::Cancelled);
        let Some(pending) = self.outbox.get(whole) else { return };
        let (op, record, records) = (pending.op.clone(), pending.record, self.records_of(pending));
        self.remember_settled(records, &end);
        self.undoable.forget(part);
        self.undoable.set_base(&op);
        let replaced = self.outbox.get_mut(whole).and_then(|it| it.replaced.iter_mut().find(|it| it.id == part));
        if let Some(replaced) = replaced {
            let is_owed = std::mem::take(&mut replaced.is_owed);
            // That of the whole is deleted once what stands for it is safe.
            let key = if part == before.id { None } else { replaced.key.take() };
            if let Some(key) = key {
                self.emit(Output::Unpersist { key });
            }
            if is_owed && !sabotaged!(ForgetReplaced) {
                self.emit(Output::Settled(end));
            }
        }
        let layer = |(field, set): (&String, &Value)| {
            let base = op.set.get(field).or_else(|| before.base.get(field)).cloned().unwrap_or_default();
            (base != *set).then(|| Layer { record, field: field.clone(), set: set.clone(), base })
        };
        let layers = before.set.iter().filter_map(layer).collect();
        self.rebase_later(Void { op, records: vec![record], layers });
    }
}
