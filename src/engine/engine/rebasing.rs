//! Operations that end without effect: what the person did later, having seen their values, is put onto what was beneath these. Else
//! they would lose against themselves. What may have been sent stays as it is, for the ledger compares whole operations.

use std::cmp::Ordering;

use super::Engine;
use crate::engine::error::Problem;
use crate::engine::input::Stored;
use crate::engine::mark::mark;
use crate::engine::operation::{Operation, OperationId, OperationState, Step, name};
use crate::engine::outbox::{Pending, is_earlier};
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::sabotage::sabotaged;
use crate::engine::sorted::sort_by;
use crate::engine::table::RecordId;
use crate::engine::tabs::{Kind, Role};
use crate::engine::value::Value;

/// How many operations that ended without effect are remembered for what other tabs did before they heard of that.
const VOIDS_MAX: usize = 100;

/// An operation that is being stored in another form.
#[derive(Debug)]
pub(super) struct Rebasing {
    pub(super) id: OperationId,
    /// How it was before.
    pub(super) before: Operation,
    /// The patch that is taken back out of what was joined into it.
    pub(super) taken: Option<OperationId>,
}

/// What an operation that came to nothing had in one field, and what was beneath.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) record: RecordId,
    pub(super) field: String,
    pub(super) set: Value,
    pub(super) base: Value,
}

/// An operation that came to nothing.
#[derive(Debug)]
pub(super) struct Void {
    pub(super) op: Operation,
    pub(super) records: Vec<RecordId>,
    pub(super) layers: Vec<Layer>,
}

impl Void {
    pub(super) fn of(pending: &Pending) -> Self {
        Self { op: pending.op.clone(), records: pending.records(), layers: layers(pending.changes()) }
    }
}

/// Of several steps on a field, the layer is from what the first one found to what the last one left.
fn layers<'a>(changes: impl Iterator<Item = (RecordId, Step<'a>)>) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    for (record, step) in changes.filter(|(_, step)| step.name != name::INSERT) {
        for (field, set) in step.set {
            match layers.iter_mut().find(|layer| layer.record == record && layer.field == *field) {
                Some(layer) => layer.set = set.clone(),
                None => {
                    let base = step.base.get(field).cloned().unwrap_or_default();
                    layers.push(Layer { record, field: field.clone(), set: set.clone(), base });
                }
            }
        }
    }
    layers.retain(|layer| layer.set != layer.base);
    layers
}

/// Puts an operation onto what was beneath some layers. Those that it covers are used up: what came after it saw its values. Returns
/// whether its base has changed.
fn put_onto(op: &mut Operation, records: &[RecordId], layers: &mut Vec<Layer>, is_seen: bool) -> bool {
    let mut is_changed = false;
    for (record, (step, base)) in records.iter().zip(op.steps_mut()) {
        layers.retain(|layer| {
            if layer.record != *record {
                return true;
            }
            if base.get(&layer.field) == Some(&layer.set) {
                base.insert(layer.field.clone(), layer.base.clone());
                is_changed = true;
            }
            !(is_seen && step.set.contains_key(&layer.field))
        });
    }
    is_changed
}

impl<R: Record> Engine<R> {
    /// Puts what came after an operation that has ended without effect onto what was beneath it.
    pub(super) fn rebase_later(&mut self, mut void: Void) {
        void.layers.retain(|layer| !self.is_there_anyway(layer, &void.op) || self.is_set_by(void.op.id, &layer.field));
        if void.layers.is_empty() || !self.tabs.sends() || sabotaged!(KeepDeadBase) {
            return;
        }
        let mut layers = void.layers.clone();
        for id in self.outbox.later(&void.records, &void.op) {
            self.rebase(id, &mut layers);
        }
        if self.voids.len() >= VOIDS_MAX {
            self.voids.pop_front();
        }
        self.voids.push_back(void);
    }

    /// An operation that was given up is tried again: what was put onto what was beneath it, or made without it, comes after it.
    pub(super) fn rebase_onto(&mut self, revived: Void) {
        self.voids.retain(|void| void.op.id != revived.op.id);
        let turned = |Layer { record, field, set, base }| Layer { record, field, set: base, base: set };
        let mut layers: Vec<Layer> = revived.layers.into_iter().map(turned).collect();
        if self.tabs.sends() {
            for id in self.outbox.later(&revived.records, &revived.op) {
                self.rebase(id, &mut layers);
            }
        }
    }

    /// Of an operation that its author made before hearing of ends that this tab knows.
    pub(super) fn rebase_late(&mut self, id: OperationId) {
        let Some(op) = self.outbox.get(id).map(|pending| pending.op.clone()).filter(|_| self.tabs.sends()) else {
            return;
        };
        // What came between them is what its author saw, though that may have had the same value.
        let is_covered = |void: &Void, layer: &Layer| {
            let sets =
                |(record, step): (RecordId, Step<'_>)| record == layer.record && step.set.contains_key(&layer.field);
            let is_between = |it: &Pending| is_earlier(&void.op, &it.op) && is_earlier(&it.op, &op);
            self.outbox.shown(layer.record).any(|it| is_between(it) && it.changes().any(sets))
        };
        let mut earlier: Vec<(usize, &Void)> =
            self.voids.iter().enumerate().filter(|(_, void)| is_earlier(&void.op, &op)).collect();
        // The last one first: beneath it there may have been another. What was taken out of one lay on what was left of it.
        sort_by(&mut earlier, |(at, one), (other_at, other)| {
            match (is_earlier(&one.op, &other.op), is_earlier(&other.op, &one.op)) {
                (true, _) => Ordering::Greater,
                (_, true) => Ordering::Less,
                _ => at.cmp(other_at),
            }
        });
        let uncovered = |(_, void): (usize, &Void)| -> Vec<Layer> {
            void.layers.iter().filter(|layer| !is_covered(void, layer)).cloned().collect()
        };
        let mut layers: Vec<Layer> = earlier.into_iter().flat_map(uncovered).collect();
        // The number may be another record's by now.
        let is_of = |layer: &Layer, step: Step<'_>| {
            self.tables.table_id(step.table).and_then(|table| self.tables.find(table, step.key)) == Some(layer.record)
        };
        layers.retain(|layer| op.steps().any(|step| is_of(layer, step)) && !self.is_there_anyway(layer, &op));
        for layer in layers {
            self.rebase(id, &mut vec![layer]);
        }
    }

    /// True where something is left of an operation, which still sets a field.
    fn is_set_by(&self, id: OperationId, field: &str) -> bool {
        self.outbox.get(id).is_some_and(|pending| !pending.is_parked() && pending.op.set.contains_key(field))
    }

    /// True where the server has the same value, with nothing of this person's before it.
    fn is_there_anyway(&self, layer: &Layer, op: &Operation) -> bool {
        let confirmed = self.tables.cell(layer.record).and_then(|cell| cell.confirmed.as_ref());
        let sets = |(record, step): (RecordId, Step<'_>)| record == layer.record && step.set.contains_key(&layer.field);
        confirmed.and_then(|record| record.field(&layer.field)).unwrap_or_default() == layer.set
            && !self.outbox.shown(layer.record).any(|it| is_earlier(&it.op, op) && it.changes().any(sets))
    }

    fn rebase(&mut self, id: OperationId, layers: &mut Vec<Layer>) {
        let Some(pending) = self.outbox.get(id).filter(|pending| pending.accepted) else { return };
        let records: Vec<RecordId> = pending.changes().map(|(record, _)| record).collect();
        let mut op = pending.op.clone();
        let is_changed = put_onto(&mut op, &records, layers, !pending.is_parked());
        // In a tab that sends its own alone, another's may be on its way; and its own, where others can't hear that it is there.
        let is_alone = || pending.made_here && !self.may_be_taken_for_gone(pending);
        let is_ours = self.sends_for(id) && (self.tabs.role == Role::Leader || is_alone());
        if !is_changed || !is_ours || !self.was_never_sent(pending) {
            return;
        }
        mark!(Rebased);
        self.store_anew(op, None);
    }

    /// Stores an operation in another form, and goes on with that.
    pub(super) fn store_anew(&mut self, mut op: Operation, taken: Option<OperationId>) {
        let Some(before) = self.outbox.get(op.id).map(|pending| pending.op.clone()) else { return };
        op.rebased = before.rebased.saturating_add(1);
        self.persist(&op);
        self.set_form(&op);
        self.rebased.push(op.id);
        self.rebasing.push(Rebasing { id: op.id, before, taken });
    }

    fn set_form(&mut self, op: &Operation) {
        self.undoable.set_base(op);
        self.outbox.rework(op.id, |pending| pending.op.take_form(op));
        let records = self.outbox.get(op.id).map(Pending::records).unwrap_or_default();
        self.recompute_all(&records);
    }

    /// Takes what another copy of a pending operation is based on, where that is the later one. What was sent from here stays as it was.
    pub(super) fn take_newer_base(&mut self, op: &Operation) {
        let Some(pending) = self.outbox.get(op.id) else { return };
        if op.rebased > pending.op.rebased
            && pending.sent_at_mono_ms == 0
            && pending.state != OperationState::Acknowledged
            && op.parts.len() == pending.op.parts.len()
        {
            mark!(NewerBaseTaken);
            let mut op = op.clone();
            self.aliases.rewrite(&mut op, &mut Vec::new());
            self.set_form(&op);
        }
    }

    /// Takes note of whether an operation is stored with its new base. Returns false when that was not the question.
    pub(super) fn on_rebase_stored(&mut self, id: OperationId, stored: &Stored) -> bool {
        let Some(at) = self.rebasing.iter().position(|rebasing| rebasing.id == id) else { return false };
        if let Stored::Failed(why) = stored {
            let Some(op) = self.outbox.get(id).map(|pending| pending.op.clone()) else { return true };
            if self.made_room_for != Some(id) {
                self.make_room(&op);
                return true;
            }
            // Whoever comes later finds it as it was, so that is how it has to be sent.
            self.problem(Problem::new("storage", id.to_string(), why.clone()));
            let Rebasing { before, .. } = self.rebasing.remove(at);
            self.set_form(&Operation { rebased: op.rebased.saturating_add(1), ..before });
            self.rebased.push(id);
            return true;
        }
        let Rebasing { before, taken, .. } = self.rebasing.remove(at);
        if let Some(part) = taken {
            self.end_part(part, &before);
        }
        true
    }

    /// Returns those that were put onto another base in this step, for the message that says why.
    pub(super) fn take_rebased(&mut self) -> Option<Vec<Operation>> {
        let ids = std::mem::take(&mut self.rebased);
        let ops = ids.into_iter().filter_map(|id| self.outbox.get(id)).map(|pending| pending.op.clone());
        Some(ops.collect::<Vec<_>>()).filter(|ops| !ops.is_empty())
    }

    /// Tells the other tabs of those of which no message about an end has told.
    pub(super) fn tell_rebased(&mut self) {
        let is_unheard = self.is_unheard();
        for op in self.take_rebased().into_iter().flatten().filter(|_| !is_unheard) {
            let mut message = self.tabs.message(Kind::Operation);
            message.with_operation(op);
            self.emit(Output::Broadcast(message));
        }
    }
}
