//! Holds the operations that are not settled. Never drops one; never lets a record's operations overtake each other; lets
//! operations of different records pass each other freely.

use std::cmp::Ordering;
use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use super::operation::{Operation, OperationId, OperationState};
use super::sabotage::sabotaged;
use super::sorted::SortedSet;
use super::table::RecordId;

/// How many operations may wait; the next one is refused with `outbox-full`.
pub const OUTBOX_LEN_MAX: usize = 10_000;

/// How many operations may be on their way at once, each of another record.
pub const IN_FLIGHT_MAX: usize = 8;

/// An operation that is not settled.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) op: Operation,
    pub(crate) record: RecordId,
    pub(crate) state: OperationState,
    /// True when this tab made it.
    pub(crate) mine: bool,
    /// False until storage has it: until then nobody sees it and nothing is sent.
    pub(crate) accepted: bool,
    /// It no longer applies to the record as it is; the server will say.
    pub(crate) doubtful: bool,
    pub(crate) tries: u32,
    /// Not sent again before this, on the monotonic clock.
    pub(crate) not_before_mono_ms: u64,
    pub(crate) sent_at_mono_ms: u64,
    /// Why the last try failed, or why it is dead.
    pub(crate) trouble: Option<(String, String)>,
}

impl Pending {
    fn is_dead(&self) -> bool {
        self.state == OperationState::Dead
    }
}

/// Compares by where operations stand among all of one browser.
fn by_place(one: &Operation, other: &Operation) -> Ordering {
    one.hlc.cmp(&other.hlc).then_with(|| one.tab.cmp(&other.tab)).then_with(|| one.id.cmp(&other.id))
}

/// An operation depends on earlier ones only: what names itself, or a later one, would wait for ever.
fn is_earlier(one: &Operation, other: &Operation) -> bool {
    by_place(one, other).is_lt()
}

/// Where an operation is kept, for as long as it is.
type Slot = u32;

/// All operations that are not settled, in their order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    slots: Vec<Option<Box<Pending>>>,
    vacant: Vec<Slot>,
    by_id: HashMap<OperationId, Slot, FxBuildHasher>,
    order: Slots,
    /// The operations of each record that has any, by record.
    records: Vec<OfRecord>,
    in_flight: Slots,
    /// Those that wait for nothing but their time: each the first of its record, and all it depends on settled.
    free: Slots,
    /// Those that were told to wait, and have not been sent since.
    waiting: Slots,
    /// Who depends on an operation, whether that is here or not.
    dependents: SortedSet<(OperationId, Slot)>,
    /// How many are accepted, and how many of these are dead.
    accepted: usize,
    dead: usize,
}

/// The operations of one record, of which one at most is free.
#[derive(Debug)]
struct OfRecord {
    record: RecordId,
    slots: Slots,
    free: Option<Slot>,
}

/// Operations in their order.
#[derive(Debug, Default)]
struct Slots(Vec<Slot>);

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.order.0.len()
    }

    /// Returns how many are accepted and may still be sent.
    pub(crate) const fn unsent(&self) -> usize {
        self.accepted - self.dead
    }

    /// Returns how many are given up.
    pub(crate) const fn dead(&self) -> usize {
        self.dead
    }

    pub(crate) fn contains(&self, id: OperationId) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(crate) fn get(&self, id: OperationId) -> Option<&Pending> {
        self.at(*self.by_id.get(&id)?)
    }

    /// For what decides nothing here: see `accept`, `mark_sent`, `mark_returned`, `wait` for the rest.
    pub(crate) fn get_mut(&mut self, id: OperationId) -> Option<&mut Pending> {
        let slot = *self.by_id.get(&id)?;
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }

    fn at(&self, slot: Slot) -> Option<&Pending> {
        self.slots.get(slot as usize)?.as_deref()
    }

    fn walk<'a>(&'a self, slots: &'a [Slot]) -> impl Iterator<Item = &'a Pending> {
        slots.iter().filter_map(|slot| self.at(*slot))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.walk(&self.order.0)
    }

    /// Finds where in a list an operation is, or would be.
    fn rank(&self, slots: &Slots, op: &Operation) -> Result<usize, usize> {
        let place = |slot: &Slot| self.at(*slot).map_or(Ordering::Less, |other| by_place(&other.op, op));
        match slots.0.last() {
            Some(last) if place(last).is_ge() => slots.0.binary_search_by(place),
            Some(_) | None => Err(slots.0.len()),
        }
    }

    /// Puts an operation into one of the lists, or takes it out.
    fn list(&mut self, which: fn(&mut Self) -> &mut Slots, slot: Slot, listed: bool) {
        let slots = std::mem::take(which(self));
        let rank = self.at(slot).map(|pending| self.rank(&slots, &pending.op));
        let list = which(self);
        *list = slots;
        match (rank, listed) {
            (Some(Err(at)), true) => list.0.insert(at, slot),
            (Some(Ok(at)), false) => drop(list.0.remove(at)),
            (Some(Err(_)), false) | (Some(Ok(_)), true) | (None, _) => {}
        }
    }

    /// Takes an operation in; one that is there already stays as it is.
    pub(crate) fn insert(&mut self, pending: Pending) {
        let (id, record) = (pending.op.id, pending.record);
        if self.contains(id) {
            return;
        }
        let after = pending.op.after.clone();
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot::try_from(self.slots.len() - 1).unwrap_or(Slot::MAX)
        });
        self.count(&pending, true);
        self.slots[slot as usize] = Some(Box::new(pending));
        self.by_id.insert(id, slot);
        self.list(|outbox| &mut outbox.order, slot, true);
        if let Err(at) = self.find_record(record) {
            self.records.insert(at, OfRecord { record, slots: Slots::default(), free: None });
        }
        self.list_of_record(record, slot, true);
        for needed in after {
            self.dependents.insert((needed, slot));
        }
        self.free_up(id, record);
    }

    pub(crate) fn remove(&mut self, id: OperationId) -> Option<Pending> {
        let slot = self.by_id.remove(&id)?;
        let record = self.at(slot)?.record;
        self.list(|outbox| &mut outbox.order, slot, false);
        self.list(|outbox| &mut outbox.in_flight, slot, false);
        self.list(|outbox| &mut outbox.waiting, slot, false);
        self.list(|outbox| &mut outbox.free, slot, false);
        self.list_of_record(record, slot, false);
        let pending = *self.slots.get_mut(slot as usize)?.take()?;
        self.vacant.push(slot);
        for needed in &pending.op.after {
            self.dependents.remove(&(*needed, slot));
        }
        self.count(&pending, false);
        self.free_up(id, record);
        Some(pending)
    }

    fn find_record(&self, record: RecordId) -> Result<usize, usize> {
        self.records.binary_search_by_key(&record, |of| of.record)
    }

    fn list_of_record(&mut self, record: RecordId, slot: Slot, listed: bool) {
        let Ok(at) = self.find_record(record) else { return };
        let Some(rank) = self.at(slot).map(|pending| self.rank(&self.records[at].slots, &pending.op)) else { return };
        match (rank, listed) {
            (Err(rank), true) => self.records[at].slots.0.insert(rank, slot),
            (Ok(rank), false) => drop(self.records[at].slots.0.remove(rank)),
            (Err(_), false) | (Ok(_), true) => {}
        }
        if self.records[at].slots.0.is_empty() {
            self.records.remove(at);
        }
    }

    fn count(&mut self, pending: &Pending, here: bool) {
        let (accepted, dead) = (usize::from(pending.accepted), usize::from(pending.accepted && pending.is_dead()));
        if here {
            self.accepted += accepted;
            self.dead += dead;
        } else {
            self.accepted -= accepted;
            self.dead -= dead;
        }
    }

    /// Returns the operations of a record that are to be seen, in order.
    pub(crate) fn shown(&self, record: RecordId) -> impl Iterator<Item = &Pending> {
        self.of(record).filter(|pending| pending.accepted && !pending.is_dead())
    }

    fn of(&self, record: RecordId) -> impl Iterator<Item = &Pending> {
        self.walk(self.find_record(record).map_or(&[], |at| &self.records[at].slots.0))
    }

    /// Returns true for the last operation of a record.
    pub(crate) fn is_last(&self, record: RecordId, id: OperationId) -> bool {
        let slots = self.find_record(record).map_or(&[][..], |at| &self.records[at].slots.0);
        slots.last().and_then(|slot| self.at(*slot)).is_some_and(|pending| pending.op.id == id)
    }

    /// Returns true while a record has any operation, shown or not.
    pub(crate) fn concerns(&self, record: RecordId) -> bool {
        self.find_record(record).is_ok()
    }

    /// Changes what decides whether operations may be sent.
    fn change(&mut self, id: OperationId, accepted: bool, state: OperationState) {
        let Some(slot) = self.by_id.get(&id).copied() else { return };
        let Some(mut pending) = self.slots.get_mut(slot as usize).and_then(Option::take) else { return };
        self.count(&pending, false);
        (pending.accepted, pending.state) = (accepted, state);
        self.count(&pending, true);
        let record = pending.record;
        self.slots[slot as usize] = Some(pending);
        self.list(|outbox| &mut outbox.in_flight, slot, state == OperationState::Sent);
        self.free_up(id, record);
    }

    /// Looks anew at which operations are free: those of a record of which one came, went or changed, and what depends on that.
    fn free_up(&mut self, id: OperationId, record: RecordId) {
        self.free_first(record);
        let mut dependents = Vec::new();
        for (needed, slot) in self.dependents.from(&(id, 0)) {
            match self.at(*slot) {
                Some(pending) if *needed == id => dependents.push(pending.record),
                Some(_) | None => break,
            }
        }
        for record in dependents {
            self.free_first(record);
        }
    }

    fn free_first(&mut self, record: RecordId) {
        let Ok(at) = self.find_record(record) else { return };
        let of = &self.records[at];
        let mut first =
            of.slots.0.iter().copied().find(|slot| self.at(*slot).is_some_and(|pending| !pending.is_dead()));
        if sabotaged!(NoOrderPerRecord) {
            first = of.slots.0.last().copied();
        }
        let free = first.filter(|slot| self.at(*slot).is_some_and(|pending| self.is_free(pending)));
        let before = std::mem::replace(&mut self.records[at].free, free);
        if before != free {
            for (slot, is_free) in [(before, false), (free, true)] {
                if let Some(slot) = slot {
                    self.list(|outbox| &mut outbox.free, slot, is_free);
                }
            }
        }
    }

    /// Marks an operation as stored: from now on it is seen, and may be sent.
    pub(crate) fn accept(&mut self, id: OperationId) {
        if let Some(state) = self.get(id).map(|pending| pending.state) {
            self.change(id, true, state);
        }
    }

    /// Marks an operation as on its way.
    pub(crate) fn mark_sent(&mut self, id: OperationId, mono_ms: u64) {
        let Some(pending) = self.get_mut(id) else { return };
        pending.sent_at_mono_ms = mono_ms;
        self.wait(id, 0);
        self.change(id, true, OperationState::Sent);
    }

    /// Marks an operation as no longer on its way, in its new state.
    pub(crate) fn mark_returned(&mut self, id: OperationId, state: OperationState) {
        if let Some(accepted) = self.get(id).map(|pending| pending.accepted) {
            self.change(id, accepted, state);
        }
    }

    /// Keeps an operation from being sent before a moment of the monotonic clock.
    pub(crate) fn wait(&mut self, id: OperationId, until_mono_ms: u64) {
        let Some(pending) = self.get_mut(id) else { return };
        pending.not_before_mono_ms = until_mono_ms;
        if let Some(slot) = self.by_id.get(&id).copied() {
            self.list(|outbox| &mut outbox.waiting, slot, until_mono_ms > 0);
        }
    }

    /// Takes everything back into the queue that is on its way.
    pub(crate) fn return_all(&mut self) -> Vec<OperationId> {
        let ids: Vec<OperationId> = self.walk(&self.in_flight.0).map(|pending| pending.op.id).collect();
        for id in &ids {
            self.mark_returned(*id, OperationState::Queued);
        }
        ids
    }

    /// Returns the operations that may be sent now.
    pub(crate) fn sendable(&self, mono_ms: u64) -> Vec<OperationId> {
        let bound = if sabotaged!(NoBoundInFlight) { usize::MAX } else { IN_FLIGHT_MAX };
        let room = bound.saturating_sub(self.in_flight.0.len());
        let ready = self.walk(&self.free.0).filter(|pending| pending.not_before_mono_ms <= mono_ms);
        ready.take(room).map(|pending| pending.op.id).collect()
    }

    /// True when an operation waits for nothing but its time: first of its record, and all it depends on settled.
    fn is_free(&self, pending: &Pending) -> bool {
        pending.accepted
            && pending.state == OperationState::Queued
            && (sabotaged!(NoOrderPerRecord)
                || self.of(pending.record).find(|other| !other.is_dead()).is_some_and(|first| first.op.id == pending.op.id))
            // One that was heard of late does not join an earlier one that is on its way already.
            && !self.walk(&self.in_flight.0).any(|other| other.record == pending.record)
            && !pending.op.after.iter().any(|id| self.get(*id).is_some_and(|needed| is_earlier(&needed.op, &pending.op)))
    }

    /// Returns when to look again: at the next end of a back-off, or of a wait for an answer.
    pub(crate) fn deadline(&self, mono_ms: u64, timeout_ms: u64) -> Option<u64> {
        let mut deadline: Option<u64> = None;
        let mut note = |due: u64| deadline = Some(deadline.map_or(due, |known| known.min(due)));
        for pending in self.walk(&self.waiting.0) {
            if pending.not_before_mono_ms > mono_ms && self.is_free(pending) {
                note(pending.not_before_mono_ms);
            }
        }
        for pending in self.walk(&self.in_flight.0) {
            note(pending.sent_at_mono_ms.saturating_add(timeout_ms));
        }
        deadline
    }

    /// Returns the operations that have had no answer for too long.
    pub(crate) fn timed_out(&self, mono_ms: u64, timeout_ms: u64) -> Vec<OperationId> {
        let sent = self.walk(&self.in_flight.0);
        sent.filter(|pending| pending.sent_at_mono_ms.saturating_add(timeout_ms) <= mono_ms)
            .map(|pending| pending.op.id)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::operation::{PROTOCOL, name};
    use crate::engine::time::{Hlc, HybridClock, Now};
    use crate::engine::value::Fields;

    fn pending(n: u8, record: u32) -> Pending {
        let op = Operation {
            protocol: PROTOCOL,
            id: id(n),
            name: name::PATCH.into(),
            table: "jobs".into(),
            key: record.to_string(),
            args: Fields::new(),
            set: Fields::new(),
            base: Fields::new(),
            base_version: None,
            hlc: hlc(n),
            tab: "t".into(),
            after: vec![],
        };
        Pending {
            op,
            record: RecordId(record),
            state: OperationState::Queued,
            mine: true,
            accepted: true,
            doubtful: false,
            tries: 0,
            not_before_mono_ms: 0,
            sent_at_mono_ms: 0,
            trouble: None,
        }
    }

    fn outbox(entries: impl IntoIterator<Item = Pending>) -> Outbox {
        let mut outbox = Outbox::default();
        entries.into_iter().for_each(|entry| outbox.insert(entry));
        outbox
    }

    fn hlc(n: u8) -> Hlc {
        HybridClock::default().mint(Now { mono_ms: 0, wall_ms: u64::from(n) })
    }

    fn id(n: u8) -> OperationId {
        OperationId::new(hlc(n), [n; 10])
    }

    #[test]
    fn order_per_record_and_independence_between_records() {
        let mut outbox = outbox([pending(3, 7), pending(1, 7), pending(2, 8)]);
        assert_eq!(outbox.sendable(0), [id(1), id(2)]);
        outbox.mark_sent(id(1), 0);
        assert_eq!(outbox.sendable(0), [id(2)]);
        outbox.remove(id(1));
        assert_eq!(outbox.sendable(0), [id(2), id(3)]);
    }

    #[test]
    fn a_dead_operation_blocks_only_what_depends_on_it() {
        let mut dependent = pending(3, 9);
        dependent.op.after.push(id(1));
        let mut outbox = outbox([pending(1, 7), pending(2, 7), dependent]);
        outbox.mark_sent(id(1), 0);
        outbox.mark_returned(id(1), OperationState::Dead);
        assert_eq!(outbox.sendable(0), [id(2)]);
    }

    #[test]
    fn no_more_than_the_bound_is_on_its_way_at_once() {
        let mut outbox = outbox((0..20).map(|n| pending(n, u32::from(n))));
        for id in outbox.sendable(0) {
            outbox.mark_sent(id, 0);
        }
        assert_eq!(outbox.in_flight.0.len(), IN_FLIGHT_MAX);
        assert_eq!(outbox.sendable(0), []);
        outbox.remove(id(0));
        assert_eq!(outbox.sendable(0).len(), 1);
    }

    #[test]
    fn a_back_off_holds_the_later_operations_of_its_record_and_is_the_deadline() {
        let mut waiting = pending(1, 7);
        waiting.tries = 1;
        let mut outbox = outbox([waiting, pending(2, 7)]);
        outbox.wait(id(1), 500);
        assert_eq!(outbox.sendable(499), []);
        assert_eq!(outbox.deadline(499, 10_000), Some(500));
        assert_eq!(outbox.sendable(500), [id(1)]);
    }

    #[test]
    fn an_answer_that_does_not_come_is_noticed() {
        let mut outbox = outbox([pending(1, 7)]);
        outbox.mark_sent(id(1), 100);
        assert_eq!(outbox.deadline(100, 10_000), Some(10_100));
        assert_eq!(outbox.timed_out(10_099, 10_000), []);
        assert_eq!(outbox.timed_out(10_100, 10_000), [id(1)]);
    }

    #[test]
    fn what_depends_on_itself_or_in_a_circle_does_not_wait_for_ever() {
        let (mut one, mut two, mut three) = (pending(1, 7), pending(2, 8), pending(3, 9));
        one.op.after.push(id(2));
        two.op.after.push(id(1));
        three.op.after.push(id(3));
        let mut outbox = outbox([two, three, one]);
        assert_eq!(outbox.sendable(0), [id(1), id(3)]);
        outbox.remove(id(1));
        assert_eq!(outbox.sendable(0), [id(2), id(3)]);
    }

    #[test]
    fn what_is_free_follows_what_comes_late_and_what_dies_and_is_revived() {
        let mut dependent = pending(4, 8);
        dependent.op.after.push(id(1));
        let mut outbox = outbox([pending(3, 7), dependent]);
        assert_eq!(outbox.sendable(0), [id(3), id(4)]);
        outbox.insert(pending(1, 7));
        assert_eq!(outbox.sendable(0), [id(1)]);
        outbox.mark_returned(id(1), OperationState::Dead);
        assert_eq!((outbox.sendable(0), outbox.unsent(), outbox.dead()), (vec![id(3)], 2, 1));
        outbox.mark_returned(id(1), OperationState::Queued);
        assert_eq!(outbox.sendable(0), [id(1)]);
        outbox.remove(id(1));
        assert_eq!((outbox.sendable(0), outbox.unsent(), outbox.dead()), (vec![id(3), id(4)], 2, 0));
    }

    #[test]
    fn the_same_operation_is_taken_once() {
        let outbox = outbox([pending(1, 7), pending(1, 7)]);
        assert_eq!(outbox.len(), 1);
    }
}
