//! Who is free when: each person's active slots as spans of time, joined where they touch, and an index over them that finds all that hold
//! a moment or an hour without looking at the others. A slot that changes costs its person's spans; they are put in place at the next
//! question.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use super::occur::{Span, spans};
use super::slot::{DAY_S, Slot};
use super::zone::Zone;
use super::{OCCURRENCES_MAX, ZONE, check_fact, read};
use crate::engine::error::Error;
use crate::engine::sorted::sort;
use crate::engine::value::{Fields, Value};

/// How much more than what is asked for is laid out, so that the next question finds it there.
const AHEAD_S: i64 = 35 * DAY_S;
const BEHIND_S: i64 = 7 * DAY_S;

/// The longest window of one question.
const WINDOW_S_MAX: i64 = 366 * DAY_S;

/// A free span of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Free {
    /// The slot.
    pub key: String,
    /// Its beginning, in milliseconds since 1970.
    pub from_ms: i64,
    /// Its end, which is not part of it.
    pub to_ms: i64,
}

#[derive(Debug)]
struct Entry {
    key: String,
    person: usize,
    slot: Slot,
    zone: Zone,
}

#[derive(Debug)]
struct Person {
    id: String,
    entries: Vec<usize>,
    /// False once a slot has changed: then what is placed is not to be believed.
    is_laid_out: bool,
}

/// One span of one person, in the order of their beginnings.
#[derive(Clone, Copy, Debug)]
struct Placed {
    span: Span,
    person: usize,
}

/// All slots, and who is free when.
#[derive(Debug, Default)]
pub struct SlotIndex {
    facts: Fields,
    entries: Vec<Option<Entry>>,
    vacant: Vec<usize>,
    /// Never walked.
    keys: HashMap<String, usize, FxBuildHasher>,
    people: Vec<Person>,
    /// Never walked.
    ids: HashMap<String, usize, FxBuildHasher>,
    /// What is laid out.
    reach: Option<Span>,
    placed: Vec<Placed>,
    /// The latest end below each node of a tree over `placed`; the leaves are its second half.
    latest: Vec<i64>,
    is_stale: bool,
}

impl SlotIndex {
    /// Tells the rules of a zone. Slots that are here already keep those they came with.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn tell_zone(&mut self, name: &str, rules: Value) -> Result<(), Error> {
        let fact = [ZONE, name].concat();
        check_fact(&fact, &rules).unwrap_or(Ok(()))?;
        self.facts.insert(fact, rules);
        Ok(())
    }

    /// Takes a slot in, in the place of what was there under its key. One that can't be read is nobody's, and says why.
    ///
    /// # Errors
    /// As for an insert of the slot.
    pub fn put(&mut self, key: &str, fields: &Fields) -> Result<(), Error> {
        self.remove(key);
        let (slot, zone) = read(&|field| fields.get(field).cloned().unwrap_or_default(), &self.facts)?;
        if !slot.is_active {
            return Ok(());
        }
        let person = match self.ids.get(&slot.user) {
            Some(person) => *person,
            None => {
                self.people.push(Person { id: slot.user.clone(), entries: Vec::new(), is_laid_out: false });
                self.ids.insert(slot.user.clone(), self.people.len() - 1);
                self.people.len() - 1
            }
        };
        let entry = Some(Entry { key: key.to_owned(), person, slot, zone });
        let at = match self.vacant.pop() {
            Some(at) => {
                self.entries[at] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        };
        self.keys.insert(key.to_owned(), at);
        self.people[person].entries.push(at);
        self.touch(person);
        Ok(())
    }

    /// Forgets a slot.
    pub fn remove(&mut self, key: &str) {
        let Some(at) = self.keys.remove(key) else { return };
        let Some(entry) = self.entries[at].take() else { return };
        self.vacant.push(at);
        self.people[entry.person].entries.retain(|other| *other != at);
        self.touch(entry.person);
    }

    fn touch(&mut self, person: usize) {
        self.people[person].is_laid_out = false;
        self.is_stale = true;
    }

    /// Returns who is free for all of a time, in the order of their ids. Slots that touch count as one.
    ///
    /// # Errors
    /// When the time ends before it begins, or is longer than 366 days.
    pub fn free_between(&mut self, from_ms: i64, to_ms: i64) -> Result<Vec<String>, Error> {
        let asked = window(from_ms, to_ms)?;
        self.lay_out(asked);
        let begun = self.placed.partition_point(|placed| placed.span.from_s <= asked.from_s);
        let mut found = Vec::new();
        if !self.placed.is_empty() {
            self.gather(1, (0, self.latest.len() / 2), begun, asked.to_s, &mut found);
        }
        let mut people: Vec<&str> = found.into_iter().map(|person| self.people[person].id.as_str()).collect();
        sort(&mut people);
        Ok(people.into_iter().map(str::to_owned).collect())
    }

    /// Returns a person's slots within a time, in order, at most so many: their parts that lie in it.
    ///
    /// # Errors
    /// As for [`SlotIndex::free_between`].
    pub fn free_slots(&self, user: &str, from_ms: i64, to_ms: i64, len_max: usize) -> Result<Vec<Free>, Error> {
        let asked = window(from_ms, to_ms)?;
        let Some(person) = self.ids.get(user) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for entry in self.people[*person].entries.iter().filter_map(|at| self.entries[*at].as_ref()) {
            for span in spans(&entry.slot, &entry.zone, asked, len_max) {
                found.push((span, entry.key.as_str()));
            }
        }
        sort(&mut found);
        found.truncate(len_max);
        let free = |(span, key): (Span, &str)| Free {
            key: key.to_owned(),
            from_ms: span.from_s.saturating_mul(1_000).max(from_ms),
            to_ms: span.to_s.saturating_mul(1_000).min(to_ms),
        };
        Ok(found.into_iter().map(free).collect())
    }

    /// Sees that what is asked for is laid out.
    fn lay_out(&mut self, asked: Span) {
        let reaches = self.reach.is_some_and(|reach| reach.from_s <= asked.from_s && asked.to_s <= reach.to_s);
        if reaches && !self.is_stale {
            return;
        }
        let wanted = Span { from_s: asked.from_s.saturating_sub(BEHIND_S), to_s: asked.to_s.saturating_add(AHEAD_S) };
        if !reaches {
            self.reach = Some(wanted);
            self.people.iter_mut().for_each(|person| person.is_laid_out = false);
        } else if self.reach.is_some_and(|reach| reach.len_s() / 2 > wanted.len_s()) {
            // One long question does not make all later changes dear.
            self.reach = Some(wanted);
            self.placed.retain(|placed| placed.span.meets(wanted));
        }
        self.place();
        self.raise();
        self.is_stale = false;
    }

    /// Lays out those who are not, among the others.
    fn place(&mut self) {
        let mut lists: Vec<Vec<Placed>> = Vec::new();
        for person in (0..self.people.len()).filter(|at| !self.people[*at].is_laid_out) {
            lists.push(self.joined(person).into_iter().map(|span| Placed { span, person }).collect());
        }
        let mut kept = std::mem::take(&mut self.placed);
        kept.retain(|placed| self.people[placed.person].is_laid_out);
        // The longest last: it is merged with the others only once they are one.
        lists.push(kept);
        self.placed = merged(lists);
        self.people.iter_mut().for_each(|person| person.is_laid_out = true);
    }

    /// Returns a person's spans within reach, joined where they touch.
    fn joined(&self, person: usize) -> Vec<Span> {
        let Some(reach) = self.reach else { return Vec::new() };
        let entries = self.people[person].entries.iter().filter_map(|at| self.entries[*at].as_ref());
        let mut all: Vec<Span> =
            entries.flat_map(|entry| spans(&entry.slot, &entry.zone, reach, OCCURRENCES_MAX)).collect();
        sort(&mut all);
        let mut joined: Vec<Span> = Vec::with_capacity(all.len());
        for span in all {
            match joined.last_mut().filter(|last| span.from_s <= last.to_s) {
                Some(last) => last.to_s = last.to_s.max(span.to_s),
                None => joined.push(span),
            }
        }
        joined
    }

    /// Builds the tree of latest ends.
    fn raise(&mut self) {
        let leaves = self.placed.len().next_power_of_two();
        self.latest.clear();
        self.latest.resize(2 * leaves, i64::MIN);
        for (at, placed) in self.placed.iter().enumerate() {
            self.latest[leaves + at] = placed.span.to_s;
        }
        for node in (1..leaves).rev() {
            self.latest[node] = self.latest[2 * node].max(self.latest[2 * node + 1]);
        }
    }

    /// Finds whose spans, of those before `begun`, end no earlier than this. `below`: the leaves of the node.
    fn gather(&self, node: usize, below: (usize, usize), begun: usize, to_s: i64, found: &mut Vec<usize>) {
        let (from, to) = below;
        if from >= begun || self.latest[node] < to_s {
            return;
        }
        if to - from == 1 {
            found.push(self.placed[from].person);
            return;
        }
        let middle = usize::midpoint(from, to);
        self.gather(2 * node, (from, middle), begun, to_s, found);
        self.gather(2 * node + 1, (middle, to), begun, to_s, found);
    }
}

/// Makes one list in order of many that are, two by two.
fn merged(mut lists: Vec<Vec<Placed>>) -> Vec<Placed> {
    while lists.len() > 1 {
        let mut left = lists.into_iter();
        lists = Vec::with_capacity(left.len().div_ceil(2));
        while let Some(one) = left.next() {
            lists.push(match left.next() {
                Some(other) => merge(one, other),
                None => one,
            });
        }
    }
    lists.pop().unwrap_or_default()
}

fn merge(one: Vec<Placed>, other: Vec<Placed>) -> Vec<Placed> {
    if one.is_empty() || other.is_empty() {
        return if one.is_empty() { other } else { one };
    }
    let order = |placed: &Placed| (placed.span, placed.person);
    let mut both = Vec::with_capacity(one.len() + other.len());
    let mut one = one.into_iter().peekable();
    for placed in other {
        while let Some(earlier) = one.next_if(|earlier| order(earlier) < order(&placed)) {
            both.push(earlier);
        }
        both.push(placed);
    }
    both.extend(one);
    both
}

/// A window in whole seconds that holds what was asked for.
fn window(from_ms: i64, to_ms: i64) -> Result<Span, Error> {
    let (start_s, end_s) = (from_ms.div_euclid(1_000), to_ms.saturating_add(999).div_euclid(1_000));
    let len_s = end_s.saturating_sub(start_s);
    if from_ms >= to_ms || len_s > WINDOW_S_MAX {
        let why = "ask for a time that ends after it begins, and no later than 366 days after that";
        return Err(Error::InvalidOperation(why.to_owned()));
    }
    Ok(Span { from_s: start_s, to_s: end_s })
}
