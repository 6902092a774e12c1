//! Holds the operations that are not settled. Never drops one; never lets a record's operations overtake each other; lets
//! operations of different records pass each other freely.

use std::cmp::Ordering;
use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use super::alias::{inserting, inserts_named};
use super::operation::{Operation, OperationId, OperationState, Step};
use super::sabotage::sabotaged;
use super::sorted::{SortedSet, sort, sort_by};
use super::table::RecordId;
use super::time::Hlc;
use super::value::Fields;
use super::version::Version;

/// How many operations may wait; the next one is refused with `outbox-full`.
pub const OUTBOX_LEN_MAX: usize = 10_000;

/// How many operations are on their way at once, each of another record, unless the configuration says otherwise.
pub const CONCURRENCY: usize = 8;

/// How many the configuration may ask for: browsers and servers refuse more calls at once than that.
pub const CONCURRENCY_MAX: usize = 64;

/// An operation that is not settled.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says one thing that no other says")]
pub(crate) struct Pending {
    pub(crate) op: Operation,
    /// The record; of a transaction, that of its first part.
    pub(crate) record: RecordId,
    /// A transaction: the record of each part.
    pub(crate) parts: Vec<RecordId>,
    /// A transaction: those of its records that the server has told of as it left them.
    pub(crate) landed: Vec<RecordId>,
    /// The temporary keys that it named, and that were replaced in it.
    pub(crate) named: Vec<String>,
    /// What its own inserts set, with the keys that their records turned out to have, by the number of the step. It is sent without.
    pub(crate) keyed: Vec<(usize, Fields)>,
    pub(crate) state: OperationState,
    /// True when this tab made it.
    pub(crate) mine: bool,
    /// False until storage has it: until then nobody sees it and nothing is sent.
    pub(crate) accepted: bool,
    /// It no longer applies to the record as it is; the server will say.
    pub(crate) doubtful: bool,
    pub(crate) tries: u32,
    /// How often its token was refused. That is no failed try, but a call that no token will do for must not be made without a rest.
    pub(crate) token_refusals: u32,
    /// How often the server, well otherwise, asked to be asked later. That is no failed try either.
    pub(crate) postponements: u32,
    /// Not sent again before this, on the monotonic clock.
    pub(crate) not_before_mono_ms: u64,
    pub(crate) sent_at_mono_ms: u64,
    /// The call that it went with last, and how many went with it, itself included.
    pub(crate) call: u32,
    pub(crate) company: usize,
    /// How many may go in one call with it: fewer each time that a call of several failed.
    pub(crate) company_max: usize,
    /// Why the last try failed, or why it is dead.
    pub(crate) trouble: Option<(String, String)>,
    /// What has to be looked up before it can go on.
    pub(crate) lookup: Option<Lookup>,
    /// For a server without a ledger: from when on it is known not to have arrived there.
    pub(crate) unarrived_since: Option<Hlc>,
    /// It was made under a clock that has been set back since, so that its time does not tell whether an earlier leader sent it.
    pub(crate) perhaps_sent: bool,
    /// This tab made it, or its rules did: it is for this tab to send, with locks or without.
    pub(crate) made_here: bool,
    /// The first step of storing it went well.
    pub(crate) stored_at_once: bool,
    /// A follower took its cancellation, for whoever leads to decide about.
    pub(crate) cancel_asked: bool,
    /// What it stands for, of what this tab held or found.
    pub(crate) replaced: Vec<Replaced>,
    /// Why it waits for a person, while it does.
    pub(crate) conflict: Option<Box<Parked>>,
}

/// What the server said of an operation that is in conflict.
#[derive(Debug)]
pub(crate) struct Parked {
    /// The fields that somebody else changed, in the record as it was then.
    pub(crate) fields: Vec<String>,
    /// The record's version then.
    pub(crate) version: Option<Version>,
    pub(crate) at_ms: u64,
}

/// Why an operation waits for a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The server has done it, under this version where it said so.
    Acknowledged(Option<Version>),
    /// The call was not answered, and the server keeps no ledger.
    Unanswered,
    /// An earlier leader may have sent it, and the server keeps no ledger.
    Doubted,
    /// The server said that somebody else was first.
    Conflict,
}

/// What only a pull, begun from now on, can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lookup {
    pub(crate) why: Why,
    /// The last pull that began before.
    pub(crate) after_pull: u32,
    /// When to ask for the record, on the monotonic clock; `None` once it was asked for.
    pub(crate) ask_at_mono_ms: Option<u64>,
}

/// An operation that another one stands for.
#[derive(Debug)]
pub(crate) struct Replaced {
    pub(crate) id: OperationId,
    /// Where it is stored, until that entry is deleted.
    pub(crate) key: Option<String>,
    /// True when this tab made it, and has still to say how it ended.
    pub(crate) is_owed: bool,
}

impl Pending {
    /// True while it waits for a person: it is kept, and neither seen nor sent.
    pub(crate) fn is_parked(&self) -> bool {
        self.state == OperationState::Dead || (self.state == OperationState::Conflicted && !sabotaged!(ShowConflicted))
    }

    /// Returns the records that it concerns, each once.
    pub(crate) fn records(&self) -> Vec<RecordId> {
        let mut records = if self.parts.is_empty() { vec![self.record] } else { self.parts.clone() };
        sort(&mut records);
        records.dedup();
        records
    }

    /// Walks over its changes, each with its record.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (RecordId, Step<'_>)> {
        let alone = self.parts.is_empty().then_some(self.record);
        let steps = self.op.steps().enumerate().map(|(at, step)| match self.keyed.iter().find(|(of, _)| *of == at) {
            Some((_, set)) => Step { set, ..step },
            None => step,
        });
        alone.into_iter().chain(self.parts.iter().copied()).zip(steps)
    }

    /// True for what keeps no later operation of its record waiting.
    const fn stands_aside(&self) -> bool {
        matches!(self.state, OperationState::Dead | OperationState::Conflicted | OperationState::Acknowledged)
    }
}

/// Compares by where operations stand among all of one browser.
fn by_place(one: &Operation, other: &Operation) -> Ordering {
    one.hlc.cmp(&other.hlc).then_with(|| one.tab.cmp(&other.tab)).then_with(|| one.id.cmp(&other.id))
}

/// An operation depends on earlier ones only: what names itself, or a later one, would wait for ever.
pub(crate) fn is_earlier(one: &Operation, other: &Operation) -> bool {
    by_place(one, other).is_lt()
}

/// True while an operation keeps one waiting that depends on it. The server has not done what is in conflict, and refuses what depends
/// on it: that need not wait for a person.
fn is_needed(needed: &Pending, by: &Operation) -> bool {
    !matches!(needed.state, OperationState::Acknowledged | OperationState::Conflicted) && is_earlier(&needed.op, by)
}

/// Returns the operations whose temporary keys an operation names, or named.
fn inserts_concerned(pending: &Pending) -> Vec<OperationId> {
    let mut inserts = inserts_named(&pending.op);
    inserts.extend(pending.named.iter().filter_map(|key| inserting(key)));
    inserts
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
    /// Those that wait for nothing, as far as was looked: each the first of all its records, and all it depends on settled.
    free: Slots,
    /// Those that wait for nothing but their time, by when it comes. Thousands may wait, and each input asks whether one is due.
    waiting: SortedSet<(u64, Slot)>,
    /// Who depends on an operation, whether that is here or not.
    dependents: SortedSet<(OperationId, Slot)>,
    /// Who names the records that an operation inserts by their temporary keys, or did before the real ones were put in.
    naming: SortedSet<(OperationId, Slot)>,
    /// Which operation stands for one that may still turn up.
    replacing: HashMap<OperationId, OperationId, FxBuildHasher>,
    /// How many are accepted, and how many of these are dead, or in conflict.
    accepted: usize,
    dead: usize,
    conflicts: usize,
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
        self.accepted - self.dead - self.conflicts
    }

    /// Returns how many are given up.
    pub(crate) const fn dead(&self) -> usize {
        self.dead
    }

    /// Returns how many wait for a person because they are in conflict.
    pub(crate) const fn conflicts(&self) -> usize {
        self.conflicts
    }

    /// Returns the operations of a record that are in conflict.
    pub(crate) fn conflicted(&self, record: RecordId) -> Vec<OperationId> {
        if self.conflicts == 0 {
            return Vec::new();
        }
        let of = self.of(record).filter(|pending| pending.state == OperationState::Conflicted);
        of.map(|pending| pending.op.id).collect()
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
        let (id, records) = (pending.op.id, pending.records());
        if self.contains(id) {
            return;
        }
        let after = pending.op.after.clone();
        for older in &pending.op.replaces {
            self.replacing.insert(*older, id);
        }
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot::try_from(self.slots.len() - 1).unwrap_or(Slot::MAX)
        });
        for insert in inserts_concerned(&pending) {
            self.naming.insert((insert, slot));
        }
        self.count(&pending, true);
        self.slots[slot as usize] = Some(Box::new(pending));
        self.by_id.insert(id, slot);
        self.list(|outbox| &mut outbox.order, slot, true);
        for record in &records {
            if let Err(at) = self.find_record(*record) {
                self.records.insert(at, OfRecord { record: *record, slots: Slots::default(), free: None });
            }
            self.list_of_record(*record, slot, true);
        }
        for needed in after {
            self.dependents.insert((needed, slot));
        }
        self.free_up(id, &records);
    }

    pub(crate) fn remove(&mut self, id: OperationId) -> Option<Pending> {
        let slot = self.by_id.remove(&id)?;
        let records = self.at(slot)?.records();
        self.list(|outbox| &mut outbox.order, slot, false);
        self.list(|outbox| &mut outbox.in_flight, slot, false);
        self.set_free(slot, &records, false);
        for record in &records {
            self.list_of_record(*record, slot, false);
        }
        let pending = *self.slots.get_mut(slot as usize)?.take()?;
        self.vacant.push(slot);
        for needed in &pending.op.after {
            self.dependents.remove(&(*needed, slot));
        }
        for insert in inserts_concerned(&pending) {
            self.naming.remove(&(insert, slot));
        }
        for older in &pending.op.replaces {
            if self.replacing.get(older) == Some(&id) {
                self.replacing.remove(older);
            }
        }
        // It could not be stored: the last one that it was to stand for goes on standing for others.
        if let Some(last) = pending.op.replaces.last().and_then(|last| self.get(*last)) {
            let (last, older) = (last.op.id, last.op.replaces.clone());
            self.replacing.extend(older.into_iter().map(|older| (older, last)));
        }
        self.count(&pending, false);
        self.free_up(id, &records);
        Some(pending)
    }

    /// Changes which records an operation concerns. It keeps its place, for that is decided by when it was made.
    pub(crate) fn rework(&mut self, id: OperationId, change: impl FnOnce(&mut Pending)) {
        let Some(mut pending) = self.remove(id) else { return };
        let (state, until_mono_ms) = (pending.state, pending.not_before_mono_ms);
        change(&mut pending);
        self.insert(pending);
        self.wait(id, until_mono_ms);
        self.mark_returned(id, state);
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
        let count = |is: bool| usize::from(pending.accepted && is);
        let (accepted, dead) = (count(true), count(pending.state == OperationState::Dead));
        let conflicts = count(pending.state == OperationState::Conflicted);
        if here {
            self.accepted += accepted;
            self.dead += dead;
            self.conflicts += conflicts;
        } else {
            self.accepted -= accepted;
            self.dead -= dead;
            self.conflicts -= conflicts;
        }
    }

    /// Returns the operations of a record that are to be seen, in order.
    pub(crate) fn shown(&self, record: RecordId) -> impl Iterator<Item = &Pending> {
        self.of(record).filter(|pending| pending.accepted && !pending.is_parked())
    }

    fn of(&self, record: RecordId) -> impl Iterator<Item = &Pending> {
        self.walk(self.find_record(record).map_or(&[], |at| &self.records[at].slots.0))
    }

    /// Returns true for an operation that is the last one of each of its records.
    pub(crate) fn is_last(&self, pending: &Pending) -> bool {
        let is_last_of = |record: RecordId| self.last(record).is_some_and(|last| last.op.id == pending.op.id);
        pending.records().into_iter().all(is_last_of)
    }

    /// Returns the records that a record shares transactions with, directly or through others, itself included. Their operations can
    /// be shown only together: each transaction is seen in all of them, or in none.
    pub(crate) fn sharing(&self, record: RecordId) -> Vec<RecordId> {
        let (mut sharing, mut looked_at) = (vec![record], 0);
        // Looked up in a set; walked in the list.
        let mut known = SortedSet::new();
        known.insert(record);
        while let Some(record) = sharing.get(looked_at).copied() {
            looked_at += 1;
            for other in self.shown(record).flat_map(|pending| pending.parts.iter().copied()) {
                if known.insert(other) {
                    sharing.push(other);
                }
            }
        }
        sort(&mut sharing);
        sharing
    }

    /// Returns the operations of some records that are to be seen, each once, in order.
    pub(crate) fn shown_of(&self, records: &[RecordId]) -> Vec<&Pending> {
        let mut shown: Vec<&Pending> = records.iter().flat_map(|record| self.shown(*record)).collect();
        sort_by(&mut shown, |one, other| by_place(&one.op, &other.op));
        shown.dedup_by_key(|pending| pending.op.id);
        shown
    }

    /// Returns the operations of some records that come after another one, in order.
    pub(crate) fn later(&self, records: &[RecordId], than: &Operation) -> Vec<OperationId> {
        let of = records.iter().flat_map(|record| self.of(*record));
        let mut later: Vec<&Pending> = of.filter(|pending| is_earlier(than, &pending.op)).collect();
        sort_by(&mut later, |one, other| by_place(&one.op, &other.op));
        later.dedup_by_key(|pending| pending.op.id);
        later.into_iter().map(|pending| pending.op.id).collect()
    }

    /// Returns the last operation of a record.
    pub(crate) fn last(&self, record: RecordId) -> Option<&Pending> {
        let at = self.find_record(record).ok()?;
        self.at(*self.records.get(at)?.slots.0.last()?)
    }

    /// Returns which operation stands for another one.
    pub(crate) fn replacing(&self, id: OperationId) -> Option<OperationId> {
        self.replacing.get(&id).copied()
    }

    /// Returns the operations that name what another one inserts by a temporary key, or did before the real one was put in.
    pub(crate) fn naming(&self, insert: OperationId) -> impl Iterator<Item = &Pending> {
        let naming = self.naming.from(&(insert, 0)).iter().take_while(move |(named, _)| *named == insert);
        naming.filter_map(|(_, slot)| self.at(*slot))
    }

    /// Notes temporary keys that an operation's predecessors named.
    pub(crate) fn add_named(&mut self, id: OperationId, named: Vec<String>) {
        let Some(slot) = self.by_id.get(&id).copied() else { return };
        for insert in named.iter().filter_map(|key| inserting(key)) {
            self.naming.insert((insert, slot));
        }
        if let Some(pending) = self.get_mut(id) {
            pending.named.extend(named);
        }
    }

    /// Returns true while something waits for an operation.
    pub(crate) fn has_dependents(&self, id: OperationId) -> bool {
        self.dependents.from(&(id, 0)).first().is_some_and(|(needed, _)| *needed == id)
    }

    /// Walks over those that name an operation in `after`.
    pub(crate) fn dependents(&self, id: OperationId) -> impl Iterator<Item = &Pending> {
        let named = self.dependents.from(&(id, 0)).iter().take_while(move |(needed, _)| *needed == id);
        named.filter_map(|(_, slot)| self.at(*slot))
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
        let records = pending.records();
        self.slots[slot as usize] = Some(pending);
        self.list(|outbox| &mut outbox.in_flight, slot, state == OperationState::Sent);
        self.free_up(id, &records);
    }

    /// Looks anew at which operations are free: those of the records of one that came, went or changed, and what depends on that.
    fn free_up(&mut self, id: OperationId, records: &[RecordId]) {
        let mut concerned = records.to_vec();
        for (needed, slot) in self.dependents.from(&(id, 0)) {
            match self.at(*slot) {
                Some(pending) if *needed == id => concerned.append(&mut pending.records()),
                Some(_) | None => break,
            }
        }
        for record in concerned {
            self.free_first(record);
        }
    }

    fn free_first(&mut self, record: RecordId) {
        let Ok(at) = self.find_record(record) else { return };
        let of = &self.records[at];
        let mut first =
            of.slots.0.iter().copied().find(|slot| self.at(*slot).is_some_and(|pending| !pending.stands_aside()));
        if sabotaged!(NoOrderPerRecord) {
            first = of.slots.0.last().copied();
        }
        let free = first.filter(|slot| self.at(*slot).is_some_and(|pending| self.is_free(pending)));
        let before = of.free;
        if before != free {
            self.unfree(before);
            let records = free.and_then(|slot| self.at(slot)).map(Pending::records).unwrap_or_default();
            for record in &records {
                let other = self.find_record(*record).ok().and_then(|at| self.records[at].free);
                self.unfree(other);
            }
            if let Some(slot) = free {
                self.set_free(slot, &records, true);
            }
        }
    }

    fn unfree(&mut self, slot: Option<Slot>) {
        if let Some((slot, records)) = slot.and_then(|slot| Some((slot, self.at(slot)?.records()))) {
            self.set_free(slot, &records, false);
        }
    }

    /// Lists an operation as free, now or from its time on, or as neither.
    fn list_free(&mut self, slot: Slot, is_free: bool) {
        let until_mono_ms = self.at(slot).map_or(0, |pending| pending.not_before_mono_ms);
        let waits = is_free && until_mono_ms > 0;
        if waits {
            self.waiting.insert((until_mono_ms, slot));
        } else {
            self.waiting.remove(&(until_mono_ms, slot));
        }
        self.list(|outbox| &mut outbox.free, slot, is_free && !waits);
    }

    /// Notes in all records of an operation whether it is free.
    fn set_free(&mut self, slot: Slot, records: &[RecordId], is_free: bool) {
        self.list_free(slot, is_free);
        for record in records {
            let Ok(at) = self.find_record(*record) else { continue };
            let of = &mut self.records[at];
            if is_free || of.free == Some(slot) {
                of.free = is_free.then_some(slot);
            }
        }
    }

    /// Marks an operation as stored: from now on it is seen, and may be sent.
    pub(crate) fn accept(&mut self, id: OperationId) {
        if let Some(state) = self.get(id).map(|pending| pending.state) {
            self.change(id, true, state);
        }
    }

    /// Marks operations as on their way, in one call.
    pub(crate) fn mark_call(&mut self, call: u32, ids: &[OperationId], mono_ms: u64) {
        for id in ids {
            if let Some(pending) = self.get_mut(*id) {
                (pending.call, pending.company) = (call, ids.len());
            }
            self.mark_sent(*id, mono_ms);
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
        let Some(slot) = self.by_id.get(&id).copied() else { return };
        let Some(pending) = self.at(slot) else { return };
        let of = self.find_record(pending.record).ok().and_then(|at| self.records.get(at));
        let is_free = of.is_some_and(|of| of.free == Some(slot));
        // It is listed under the old moment.
        self.list_free(slot, false);
        if let Some(pending) = self.get_mut(id) {
            pending.not_before_mono_ms = until_mono_ms;
        }
        self.list_free(slot, is_free);
    }

    /// Returns a record's operations that the server has done and whose rows are not here.
    pub(crate) fn acknowledged(&self, record: RecordId) -> Vec<OperationId> {
        let done = self.of(record).filter(|pending| pending.state == OperationState::Acknowledged);
        done.map(|pending| pending.op.id).collect()
    }

    /// Returns the operations of a record, in order.
    pub(crate) fn ids_of(&self, record: RecordId) -> Vec<OperationId> {
        self.of(record).map(|pending| pending.op.id).collect()
    }

    /// Returns true when one operation comes before another.
    pub(crate) fn is_before(&self, one: OperationId, other: OperationId) -> bool {
        let (Some(one), Some(other)) = (self.get(one), self.get(other)) else { return false };
        is_earlier(&one.op, &other.op)
    }

    /// Notes what has to be looked up for an operation, or that nothing has.
    pub(crate) fn look_up(&mut self, id: OperationId, lookup: Option<Lookup>) {
        let Some(pending) = self.get_mut(id) else { return };
        pending.lookup = lookup;
        let records = pending.records();
        self.free_up(id, &records);
    }

    /// Returns what depends on an operation that will never happen, and on that in turn, as far as it was never sent; those that
    /// others depend on first.
    pub(crate) fn doomed(&self, by: OperationId, replaced: &[OperationId]) -> Vec<OperationId> {
        let mut doomed: Vec<OperationId> = Vec::new();
        let mut seen = SortedSet::new();
        let mut next: Vec<OperationId> = replaced.iter().copied().chain([by]).collect();
        while let Some(id) = next.pop() {
            for (needed, slot) in self.dependents.from(&(id, 0)) {
                let Some(pending) = self.at(*slot).filter(|_| *needed == id) else { break };
                let waits = pending.state == OperationState::Dead
                    || (pending.state == OperationState::Queued && pending.sent_at_mono_ms == 0);
                if waits && pending.accepted && pending.op.id != by && !seen.contains(&pending.op.id) {
                    seen.insert(pending.op.id);
                    doomed.push(pending.op.id);
                    next.extend(pending.op.replaces.iter().copied().chain([pending.op.id]));
                }
            }
        }
        doomed
    }

    /// Takes everything back into the queue that is on its way.
    pub(crate) fn return_all(&mut self) -> Vec<OperationId> {
        let ids: Vec<OperationId> = self.walk(&self.in_flight.0).map(|pending| pending.op.id).collect();
        for id in &ids {
            self.mark_returned(*id, OperationState::Queued);
        }
        ids
    }

    /// Returns the operations of a call that are still on their way with it, and are not being looked up.
    pub(crate) fn of_call(&self, call: u32) -> Vec<OperationId> {
        let of_it = |pending: &&Pending| pending.call == call && pending.lookup.is_none();
        self.walk(&self.in_flight.0).filter(of_it).map(|pending| pending.op.id).collect()
    }

    /// Returns how many calls may be made beside those on their way.
    pub(crate) fn room(&self, concurrency: usize, batch: usize) -> usize {
        let concurrency = if sabotaged!(NoBoundInFlight) { usize::MAX } else { concurrency };
        if batch == 1 {
            return concurrency.saturating_sub(self.in_flight.0.len());
        }
        let mut calls: Vec<u32> = Vec::new();
        for pending in self.walk(&self.in_flight.0) {
            if !calls.contains(&pending.call) {
                calls.push(pending.call);
            }
        }
        concurrency.saturating_sub(calls.len())
    }

    /// Returns the operations that may be sent now, of those that are for this tab to send.
    pub(crate) fn sendable(
        &mut self,
        mono_ms: u64,
        concurrency: usize,
        batch: usize,
        may: impl Fn(&Pending) -> bool,
    ) -> Vec<OperationId> {
        let due_len = self.waiting.iter().take_while(|(until_mono_ms, _)| *until_mono_ms <= mono_ms).count();
        if due_len > 0 {
            for (_, slot) in self.waiting.take_first(due_len) {
                self.list(|outbox| &mut outbox.free, slot, true);
            }
        }
        if self.free.0.is_empty() {
            return Vec::new();
        }
        let len_max = self.room(concurrency, batch).saturating_mul(batch);
        let ready = self.walk(&self.free.0).filter(|pending| pending.not_before_mono_ms <= mono_ms);
        ready.filter(|pending| may(pending)).take(len_max).map(|pending| pending.op.id).collect()
    }

    /// True when an operation waits for nothing but its time: first of each of its records, and all it depends on settled.
    fn is_free(&self, pending: &Pending) -> bool {
        let is_first = |record: RecordId| {
            let first = self.of(record).find(|other| !other.stands_aside());
            first.is_some_and(|first| first.op.id == pending.op.id)
                // One that was heard of late does not join an earlier one that is on its way already.
                && !self.of(record).any(|other| other.state == OperationState::Sent)
        };
        pending.accepted
            && pending.state == OperationState::Queued
            && pending.lookup.is_none()
            && (sabotaged!(NoOrderPerRecord) || pending.records().into_iter().all(is_first))
            && !pending.op.after.iter().any(|id| self.get(*id).is_some_and(|needed| is_needed(needed, &pending.op)))
    }

    /// Returns when to look again: at the next end of a back-off, or of a wait for an answer.
    pub(crate) fn deadline(&self, mono_ms: u64, timeout_ms: u64) -> Option<u64> {
        let mut deadline: Option<u64> = None;
        let mut note = |due: u64| deadline = Some(deadline.map_or(due, |known| known.min(due)));
        if let Some((until_mono_ms, _)) = self.waiting.from(&(mono_ms.saturating_add(1), 0)).first() {
            note(*until_mono_ms);
        }
        for pending in self.walk(&self.in_flight.0).filter(|pending| pending.lookup.is_none()) {
            note(pending.sent_at_mono_ms.saturating_add(timeout_ms));
        }
        deadline
    }

    /// Returns the calls with operations that have had no answer for too long.
    pub(crate) fn timed_out(&self, mono_ms: u64, timeout_ms: u64) -> Vec<u32> {
        let sent = self.walk(&self.in_flight.0).filter(|pending| pending.lookup.is_none());
        let late = sent.filter(|pending| pending.sent_at_mono_ms.saturating_add(timeout_ms) <= mono_ms);
        let mut calls: Vec<u32> = late.map(|pending| pending.call).collect();
        calls.dedup();
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::alias::temporary_key;
    use crate::engine::operation::{PROTOCOL, name};
    use crate::engine::time::{Hlc, HybridClock, Now};

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
            parts: vec![],
            replaces: vec![],
            joined: vec![],
            rebased: 0,
            decision: None,
        };
        Pending {
            op,
            record: RecordId(record),
            parts: vec![],
            landed: vec![],
            named: vec![],
            keyed: vec![],
            state: OperationState::Queued,
            mine: true,
            accepted: true,
            doubtful: false,
            tries: 0,
            token_refusals: 0,
            postponements: 0,
            not_before_mono_ms: 0,
            sent_at_mono_ms: 0,
            call: 0,
            company: 0,
            company_max: usize::MAX,
            trouble: None,
            lookup: None,
            unarrived_since: None,
            perhaps_sent: false,
            made_here: true,
            stored_at_once: false,
            cancel_asked: false,
            replaced: vec![],
            conflict: None,
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
    fn one_operation_is_before_another_by_when_it_was_made() {
        let outbox = outbox([pending(2, 1), pending(1, 1)]);
        assert!(outbox.is_before(id(1), id(2)));
        assert!(!outbox.is_before(id(2), id(1)) && !outbox.is_before(id(1), id(1)));
        assert!(!outbox.is_before(id(1), id(3)) && !outbox.is_before(id(3), id(1)));
    }

    #[test]
    fn one_that_is_heard_of_late_waits_for_a_later_one_of_its_record_that_is_on_its_way() {
        for parts in [vec![], vec![RecordId(3), RecordId(1)]] {
            let mut outbox = outbox([Pending { parts, ..pending(2, 1) }]);
            outbox.mark_sent(id(2), 5);
            outbox.insert(pending(1, 1));
            outbox.insert(pending(4, 4));
            assert_eq!(outbox.sendable(10, 8, 1, |_| true), [id(4)]);
            outbox.remove(id(2));
            assert_eq!(outbox.sendable(10, 8, 1, |_| true), [id(1), id(4)]);
        }
    }

    #[test]
    fn what_depends_on_an_operation_in_vain_ends_with_it_unless_it_was_sent() {
        let after = |n: u8, needed: u8| {
            let mut entry = pending(n, u32::from(n));
            entry.op.after = vec![id(needed)];
            entry
        };
        let sent = Pending { state: OperationState::Sent, sent_at_mono_ms: 5, ..after(3, 1) };
        let sent_before = Pending { sent_at_mono_ms: 5, ..after(6, 1) };
        let dead = Pending { state: OperationState::Dead, sent_at_mono_ms: 5, ..after(7, 1) };
        let unstored = Pending { accepted: false, ..after(8, 1) };
        let others = [after(2, 1), sent, after(4, 3), after(5, 2), sent_before, dead, unstored, after(9, 4)];
        let outbox = outbox([pending(1, 1)].into_iter().chain(others));
        let mut doomed = outbox.doomed(id(1), &[]);
        let place = |n: u8| doomed.iter().position(|doomed| *doomed == id(n));
        assert!(place(2) < place(5), "what others depend on comes first");
        doomed.sort_unstable();
        assert_eq!(doomed, [id(2), id(5), id(7)]);
    }

    #[test]
    fn order_per_record_and_independence_between_records() {
        let mut outbox = outbox([pending(3, 7), pending(1, 7), pending(2, 8)]);
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(1), id(2)]);
        outbox.mark_sent(id(1), 0);
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(2)]);
        outbox.remove(id(1));
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(2), id(3)]);
    }

    #[test]
    fn a_dead_operation_blocks_only_what_depends_on_it() {
        let mut dependent = pending(3, 9);
        dependent.op.after.push(id(1));
        let mut outbox = outbox([pending(1, 7), pending(2, 7), dependent]);
        outbox.mark_sent(id(1), 0);
        outbox.mark_returned(id(1), OperationState::Dead);
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(2)]);
    }

    #[test]
    fn what_is_not_for_this_tab_to_send_takes_no_place_of_what_is() {
        let mut outbox = outbox([pending(1, 1), pending(2, 2), pending(3, 3)]);
        assert_eq!(outbox.sendable(0, 1, 1, |pending| pending.op.id == id(3)), [id(3)]);
    }

    #[test]
    fn no_more_than_the_bound_is_on_its_way_at_once() {
        let mut outbox = outbox((0..20).map(|n| pending(n, u32::from(n))));
        for id in outbox.sendable(0, CONCURRENCY, 1, |_| true) {
            outbox.mark_sent(id, 0);
        }
        assert_eq!(outbox.in_flight.0.len(), CONCURRENCY);
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), []);
        outbox.remove(id(0));
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true).len(), 1);
    }

    #[test]
    fn what_the_server_has_done_frees_the_next_of_its_record_and_its_place_among_those_on_their_way() {
        let mut dependent = pending(3, 8);
        dependent.op.after.push(id(1));
        let mut outbox = outbox([pending(1, 7), pending(2, 7), dependent]);
        outbox.mark_sent(id(1), 0);
        assert_eq!(outbox.sendable(0, 1, 1, |_| true), []);
        outbox.mark_returned(id(1), OperationState::Acknowledged);
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(2), id(3)]);
        assert_eq!(outbox.shown(RecordId(7)).count(), 2);
    }

    #[test]
    fn what_depends_on_what_never_happens_is_found_through_any_number_of_steps_and_circles_end() {
        let depending = |n: u8, on: &[u8]| {
            let mut pending = pending(n, u32::from(n));
            pending.op.after.extend(on.iter().map(|n| id(*n)));
            pending
        };
        let mut outbox =
            outbox([pending(1, 1), depending(2, &[1]), depending(3, &[2, 4]), depending(4, &[3]), depending(5, &[9])]);
        assert_eq!(outbox.doomed(id(1), &[]), [id(2), id(3), id(4)]);
        outbox.mark_sent(id(3), 1);
        assert_eq!(
            outbox.doomed(id(1), &[]),
            [id(2)],
            "what is on its way waits for the server's word, and what depends on it as well"
        );
    }

    #[test]
    fn a_back_off_holds_the_later_operations_of_its_record_and_is_the_deadline() {
        let mut waiting = pending(1, 7);
        waiting.tries = 1;
        let mut outbox = outbox([waiting, pending(2, 7)]);
        outbox.wait(id(1), 500);
        assert_eq!(outbox.sendable(499, CONCURRENCY, 1, |_| true), []);
        assert_eq!(outbox.deadline(499, 10_000), Some(500));
        assert_eq!(outbox.sendable(500, CONCURRENCY, 1, |_| true), [id(1)]);
    }

    #[test]
    fn whoever_asks_what_is_due_does_not_look_at_what_is_not() {
        let mut outbox = outbox((0..200).map(|n| pending(n, u32::from(n))));
        for n in 0..200 {
            outbox.wait(id(n), 1_000 + u64::from(n));
        }
        assert_eq!(outbox.sendable(999, CONCURRENCY, 1, |_| true), []);
        assert_eq!((outbox.free.0.len(), outbox.waiting.len(), outbox.deadline(999, 10_000)), (0, 200, Some(1_000)));
        assert_eq!(outbox.sendable(1_001, CONCURRENCY, 1, |_| true), [id(0), id(1)]);
        assert_eq!((outbox.free.0.len(), outbox.waiting.len(), outbox.deadline(1_001, 10_000)), (2, 198, Some(1_002)));
    }

    #[test]
    fn an_answer_that_does_not_come_is_noticed() {
        let mut outbox = outbox([pending(1, 7)]);
        outbox.mark_call(7, &[id(1)], 100);
        assert_eq!(outbox.deadline(100, 10_000), Some(10_100));
        assert!(outbox.timed_out(10_099, 10_000).is_empty());
        assert_eq!(outbox.timed_out(10_100, 10_000), [7]);
        assert_eq!(outbox.of_call(7), [id(1)]);
    }

    #[test]
    fn what_depends_on_itself_or_in_a_circle_does_not_wait_for_ever() {
        let (mut one, mut two, mut three) = (pending(1, 7), pending(2, 8), pending(3, 9));
        one.op.after.push(id(2));
        two.op.after.push(id(1));
        three.op.after.push(id(3));
        let mut outbox = outbox([two, three, one]);
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(1), id(3)]);
        outbox.remove(id(1));
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(2), id(3)]);
    }

    #[test]
    fn what_is_free_follows_what_comes_late_and_what_dies_and_is_revived() {
        let mut dependent = pending(4, 8);
        dependent.op.after.push(id(1));
        let mut outbox = outbox([pending(3, 7), dependent]);
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(3), id(4)]);
        outbox.insert(pending(1, 7));
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(1)]);
        outbox.mark_returned(id(1), OperationState::Dead);
        assert_eq!((outbox.sendable(0, CONCURRENCY, 1, |_| true), outbox.unsent(), outbox.dead()), (vec![id(3)], 2, 1));
        outbox.mark_returned(id(1), OperationState::Queued);
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(1)]);
        outbox.remove(id(1));
        assert_eq!(
            (outbox.sendable(0, CONCURRENCY, 1, |_| true), outbox.unsent(), outbox.dead()),
            (vec![id(3), id(4)], 2, 0)
        );
    }

    #[test]
    fn who_names_a_temporary_key_is_found_for_as_long_as_it_is_here() {
        let key = temporary_key(id(1), None);
        let mut by_value = pending(2, 8);
        by_value.op.set.insert("parent".into(), (&*key).into());
        let mut outbox = outbox([pending(1, 7), by_value, pending(3, 9)]);
        let naming = |outbox: &Outbox| outbox.naming(id(1)).map(|pending| pending.op.id).collect::<Vec<_>>();
        assert_eq!(naming(&outbox), [id(2)]);
        outbox.rework(id(2), |pending| (pending.op.set, pending.named) = (Fields::new(), vec![key.clone()]));
        assert_eq!(naming(&outbox), [id(2)]);
        let named = outbox.remove(id(2)).unwrap().named;
        assert_eq!(naming(&outbox), []);
        outbox.add_named(id(3), named);
        assert_eq!(naming(&outbox), [id(3)]);
        outbox.remove(id(3));
        assert_eq!((naming(&outbox), outbox.naming.len()), (vec![], 0));
    }

    #[test]
    fn the_same_operation_is_taken_once() {
        let outbox = outbox([pending(1, 7), pending(1, 7)]);
        assert_eq!(outbox.len(), 1);
    }

    fn transaction(n: u8, records: &[u32]) -> Pending {
        let mut transaction = pending(n, records[0]);
        transaction.parts = records.iter().copied().map(RecordId).collect();
        transaction
    }

    #[test]
    fn a_transaction_is_free_when_it_is_the_first_of_each_of_its_records() {
        let mut outbox = outbox([pending(1, 7), transaction(2, &[7, 8]), pending(3, 8), pending(4, 9)]);
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(1), id(4)]);
        outbox.remove(id(1));
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(2), id(4)]);
        outbox.mark_sent(id(2), 0);
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(4)]);
        outbox.mark_returned(id(2), OperationState::Dead);
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(3), id(4)]);
        outbox.mark_returned(id(2), OperationState::Queued);
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(2), id(4)]);
    }

    #[test]
    fn what_comes_late_before_a_transaction_in_one_record_holds_it_in_all() {
        let mut outbox = outbox([transaction(2, &[7, 8]), pending(3, 8)]);
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(2)]);
        outbox.insert(pending(1, 7));
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(1)]);
        outbox.remove(id(1));
        assert_eq!(outbox.sendable(0, CONCURRENCY, 1, |_| true), [id(2)]);
    }

    proptest::proptest! {
        #[test]
        fn every_queue_drains_in_the_order_of_each_record(
            concerned in proptest::collection::vec(proptest::collection::vec(0_u32..6, 1..4), 1..60),
            choices in proptest::collection::vec(0_usize..100, 400),
        ) {
            let mut outbox = outbox((0_u8..).zip(&concerned).map(|(n, records)| match &records[..] {
                [record] => pending(n, *record),
                _ => transaction(n, records),
            }));
            let (mut last, mut ended) = ([None; 6], 0);
            for choice in choices {
                let sendable = outbox.sendable(0, CONCURRENCY, 1, |_| true);
                let on_its_way: Vec<OperationId> = outbox.walk(&outbox.in_flight.0).map(|pending| pending.op.id).collect();
                if let (true, Some(next)) = (choice % 2 == 0, sendable.get(choice % sendable.len().max(1))) {
                    let of: Vec<RecordId> = outbox.get(*next).map(Pending::records).unwrap_or_default();
                    for RecordId(record) in of {
                        let before = last[record as usize].replace(*next);
                        assert!(before < Some(*next), "record {record}: {next} was sent after {before:?}");
                    }
                    outbox.mark_sent(*next, 0);
                } else if let Some(end) = on_its_way.get(choice % on_its_way.len().max(1)) {
                    outbox.remove(*end);
                    ended += 1;
                }
                let free = outbox.iter().filter(|pending| outbox.is_free(pending)).count();
                assert_eq!(outbox.free.0.len() + outbox.waiting.len(), free, "what is listed as free is not what is");
                assert!(outbox.len() == 0 || !sendable.is_empty() || !on_its_way.is_empty(), "nothing can move");
            }
            assert_eq!(ended, concerned.len());
            assert_eq!((outbox.free.0.len(), outbox.records.len()), (0, 0));
        }

        #[test]
        fn what_is_listed_as_free_is_what_is_whatever_happens(
            made in proptest::collection::vec((0_u8..40, proptest::collection::vec(0_u32..5, 1..4), proptest::collection::vec(0_u8..40, 0..2)), 1..40),
            deeds in proptest::collection::vec((0_u8..9, 0_u8..40, 0_u32..5), 1..200),
        ) {
            let (mut outbox, mut mono_ms) = (Outbox::default(), 0);
            let mut made = made.into_iter();
            for (deed, n, record) in deeds {
                let id_ = id(n);
                match deed {
                    0 | 1 => if let Some((n, records, after)) = made.next() {
                        let mut next = if records.len() == 1 { pending(n, records[0]) } else { transaction(n, &records) };
                        next.op.after = after.into_iter().map(id).collect();
                        next.accepted = deed == 0;
                        outbox.insert(next);
                    },
                    2 => outbox.accept(id_),
                    3 => if outbox.sendable(0, 64, 1, |_| true).contains(&id_) { outbox.mark_sent(id_, 1) },
                    4 => outbox.mark_returned(id_, OperationState::ALL[usize::from(n) % 9]),
                    5 => drop(outbox.remove(id_)),
                    6 => outbox.wait(id_, u64::from(record)),
                    7 => outbox.look_up(id_, (record > 2).then_some(Lookup { why: Why::Unanswered, after_pull: 0, ask_at_mono_ms: None })),
                    _ => outbox.rework(id_, |pending| {
                        if pending.parts.is_empty() { pending.record = RecordId(record); } else { pending.parts[0] = RecordId(record); pending.record = RecordId(record); }
                    }),
                }
                let free: Vec<(OperationId, u64)> = outbox.iter().filter(|pending| outbox.is_free(pending))
                    .map(|pending| (pending.op.id, pending.not_before_mono_ms)).collect();
                let later = free.iter().map(|(_, until)| *until).filter(|until| *until > mono_ms).min();
                let sent = outbox.walk(&outbox.in_flight.0).filter(|pending| pending.lookup.is_none());
                let deadline = sent.map(|pending| pending.sent_at_mono_ms + 9).chain(later).min();
                assert_eq!(outbox.deadline(mono_ms, 9), deadline, "after deed {deed} of {n}");
                mono_ms += u64::from(deed == 6 && record == 4);
                let due: Vec<OperationId> = free.iter().filter(|(_, until)| *until <= mono_ms).map(|(id, _)| *id).collect();
                assert_eq!(outbox.sendable(mono_ms, usize::MAX, 1, |_| true), due, "after deed {deed} of {n}");
                assert_eq!(outbox.free.0.len() + outbox.waiting.len(), free.len(), "after deed {deed} of {n}");
            }
        }
    }
}
