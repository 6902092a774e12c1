//! Holds the operations that are not settled. Never drops one; never lets a record's operations overtake each other; lets
//! operations of different records pass each other freely.

use std::collections::{BTreeMap, BTreeSet};

use super::operation::{Operation, OperationId, OperationState};
use super::table::RecordId;
use super::time::Hlc;

/// How many operations may wait; the next one is refused with `outbox-full`.
pub const OUTBOX_LEN_MAX: usize = 10_000;

/// How many operations may be on their way at once, each of another record.
pub const IN_FLIGHT_MAX: usize = 8;

/// Where an operation stands among all of one browser.
pub(crate) type Place = (Hlc, String, OperationId);

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
    pub(crate) fn place(&self) -> Place {
        place(&self.op)
    }
}

fn place(op: &Operation) -> Place {
    (op.hlc, op.tab.clone(), op.id)
}

/// All operations that are not settled, in their order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    entries: BTreeMap<Place, Pending>,
    places: BTreeMap<OperationId, Place>,
    records: BTreeMap<RecordId, BTreeSet<Place>>,
    in_flight: BTreeSet<Place>,
}

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains(&self, id: OperationId) -> bool {
        self.places.contains_key(&id)
    }

    pub(crate) fn get(&self, id: OperationId) -> Option<&Pending> {
        self.entries.get(self.places.get(&id)?)
    }

    pub(crate) fn get_mut(&mut self, id: OperationId) -> Option<&mut Pending> {
        self.entries.get_mut(self.places.get(&id)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.entries.values()
    }

    /// Takes an operation in; one that is there already stays as it is.
    pub(crate) fn insert(&mut self, pending: Pending) {
        if self.contains(pending.op.id) {
            return;
        }
        let place = pending.place();
        self.places.insert(pending.op.id, place.clone());
        self.records.entry(pending.record).or_default().insert(place.clone());
        self.entries.insert(place, pending);
    }

    pub(crate) fn remove(&mut self, id: OperationId) -> Option<Pending> {
        let place = self.places.remove(&id)?;
        let pending = self.entries.remove(&place)?;
        self.in_flight.remove(&place);
        if let Some(places) = self.records.get_mut(&pending.record) {
            places.remove(&place);
            if places.is_empty() {
                self.records.remove(&pending.record);
            }
        }
        Some(pending)
    }

    /// Returns the operations of a record that are to be seen, in order.
    pub(crate) fn shown(&self, record: RecordId) -> impl Iterator<Item = &Pending> {
        self.of(record).filter(|pending| pending.accepted && pending.state != OperationState::Dead)
    }

    fn of(&self, record: RecordId) -> impl Iterator<Item = &Pending> {
        self.records.get(&record).into_iter().flatten().filter_map(|place| self.entries.get(place))
    }

    /// Returns true while a record has any operation, shown or not.
    pub(crate) fn concerns(&self, record: RecordId) -> bool {
        self.records.contains_key(&record)
    }

    /// Marks an operation as on its way.
    pub(crate) fn mark_sent(&mut self, id: OperationId, mono_ms: u64) {
        if let Some(pending) = self.get_mut(id) {
            (pending.state, pending.sent_at_mono_ms) = (OperationState::Sent, mono_ms);
            let place = pending.place();
            self.in_flight.insert(place);
        }
    }

    /// Marks an operation as no longer on its way, in its new state.
    pub(crate) fn mark_returned(&mut self, id: OperationId, state: OperationState) {
        if let Some(pending) = self.get_mut(id) {
            pending.state = state;
            let place = pending.place();
            self.in_flight.remove(&place);
        }
    }

    /// Takes everything back into the queue that is on its way.
    pub(crate) fn return_all(&mut self) -> Vec<OperationId> {
        let ids: Vec<OperationId> = self.in_flight.iter().map(|(_, _, id)| *id).collect();
        for id in &ids {
            self.mark_returned(*id, OperationState::Queued);
        }
        ids
    }

    /// Returns the operations that may be sent now.
    pub(crate) fn sendable(&self, mono_ms: u64) -> Vec<OperationId> {
        let room = IN_FLIGHT_MAX.saturating_sub(self.in_flight.len());
        let ready = |pending: &&Pending| pending.not_before_mono_ms <= mono_ms && self.is_free(pending);
        self.entries.values().filter(ready).take(room).map(|pending| pending.op.id).collect()
    }

    /// True when an operation waits for nothing but its time: first of its record, and all it depends on settled.
    fn is_free(&self, pending: &Pending) -> bool {
        pending.accepted
            && pending.state == OperationState::Queued
            && self
                .of(pending.record)
                .find(|other| other.state != OperationState::Dead)
                .is_some_and(|first| first.op.id == pending.op.id)
            // One that was heard of late does not join an earlier one that is on its way already.
            && !self.of(pending.record).any(|other| other.state == OperationState::Sent)
            && pending.op.after.iter().all(|id| !self.contains(*id))
    }

    /// Returns when to look again: at the next end of a back-off, or of a wait for an answer.
    pub(crate) fn deadline(&self, mono_ms: u64, timeout_ms: u64) -> Option<u64> {
        let waiting =
            self.entries.values().filter(|pending| pending.not_before_mono_ms > mono_ms && self.is_free(pending));
        let answers = self.in_flight.iter().filter_map(|place| self.entries.get(place));
        waiting
            .map(|pending| pending.not_before_mono_ms)
            .chain(answers.map(|pending| pending.sent_at_mono_ms + timeout_ms))
            .min()
    }

    /// Returns the operations that have had no answer for too long.
    pub(crate) fn timed_out(&self, mono_ms: u64, timeout_ms: u64) -> Vec<OperationId> {
        let sent = self.in_flight.iter().filter_map(|place| self.entries.get(place));
        sent.filter(|pending| pending.sent_at_mono_ms + timeout_ms <= mono_ms).map(|pending| pending.op.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::operation::{PROTOCOL, name};
    use crate::engine::time::{HybridClock, Now};
    use crate::engine::value::Fields;

    fn pending(n: u8, record: u32) -> Pending {
        let mut clock = HybridClock::default();
        let op = Operation {
            protocol: PROTOCOL,
            id: OperationId::new(u64::from(n), &[n; 10]),
            name: name::PATCH.into(),
            table: "jobs".into(),
            key: record.to_string(),
            args: Fields::new(),
            set: Fields::new(),
            base: Fields::new(),
            base_version: None,
            hlc: clock.mint(Now { mono_ms: 0, wall_ms: u64::from(n) }),
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

    fn id(n: u8) -> OperationId {
        OperationId::new(u64::from(n), &[n; 10])
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
        assert_eq!(outbox.in_flight.len(), IN_FLIGHT_MAX);
        assert_eq!(outbox.sendable(0), []);
        outbox.remove(id(0));
        assert_eq!(outbox.sendable(0).len(), 1);
    }

    #[test]
    fn a_back_off_holds_the_later_operations_of_its_record_and_is_the_deadline() {
        let mut waiting = pending(1, 7);
        waiting.not_before_mono_ms = 500;
        let outbox = outbox([waiting, pending(2, 7)]);
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
    fn the_same_operation_is_taken_once() {
        let outbox = outbox([pending(1, 7), pending(1, 7)]);
        assert_eq!(outbox.len(), 1);
    }
}
