//! Counts, sums and averages over all records that a view matches, and for each group of them: kept record by record, and yet
//! what counting afresh would give, to the bit.
//!
//! A group is kept as a whole or not at all. When there are too many, the records of further groups are counted
//! together, as the rest; groups are taken in again once there is no rest.

use std::cmp::Ordering;

use super::exact::Sum;
use super::order::compare;
use super::rows::Indexed;
use super::spec::FigureKind;
use crate::engine::mark::mark;
use crate::engine::output::GroupChange;
use crate::engine::sabotage::sabotaged;
use crate::engine::value::Value;

/// How many groups of one view are kept.
pub const GROUPS_MAX: usize = 10_000;

/// One figure, with its field looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figure {
    pub(super) kind: FigureKind,
    pub(super) slot: Option<usize>,
}

/// Figures as they are told, in the order in which they were asked for.
type Told = Vec<Option<f64>>;

/// What is counted for one figure.
#[derive(Debug, Default)]
struct Part {
    counted: u32,
    sum: Sum,
}

/// What is counted over some records.
#[derive(Debug, Default)]
struct Tally {
    rows: u32,
    parts: Vec<Part>,
    /// As told last.
    told: Option<Told>,
}

#[derive(Debug)]
struct Group {
    values: Vec<Value>,
    tally: Tally,
    touched: bool,
}

/// All figures of one view.
#[derive(Debug)]
pub(super) struct Figures {
    figures: Vec<Figure>,
    group_by: Vec<usize>,
    all: Tally,
    /// In the order of their values.
    groups: Vec<Group>,
    rest: Tally,
    /// The groups that something changed in since they were last told.
    touched: Vec<Vec<Value>>,
    /// True once a group was not kept.
    is_full: bool,
}

impl Figures {
    pub(super) fn new(figures: Vec<Figure>, group_by: Vec<usize>) -> Self {
        let (all, rest) = (Tally::default(), Tally::default());
        Self { figures, group_by, all, groups: Vec::new(), rest, touched: Vec::new(), is_full: false }
    }

    /// True once there were more groups than are kept.
    pub(super) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// True when a change from one state of a record to another moves a figure.
    pub(super) fn differ(&self, one: &Indexed, other: &Indexed) -> bool {
        let slots = self.figures.iter().filter_map(|figure| figure.slot).chain(self.group_by.iter().copied());
        slots.into_iter().any(|slot| compare(one.value(slot), other.value(slot)).is_ne())
    }

    pub(super) fn add(&mut self, row: &Indexed) {
        self.all.add(&self.figures, row);
        if self.group_by.is_empty() {
            return;
        }
        match self.find(row) {
            Ok(at) => self.touch(at).add_to(row),
            Err(at) if (self.groups.len() < GROUPS_MAX && self.rest.rows == 0) || sabotaged!(GroupsUnbounded) => {
                if self.is_full {
                    mark!(GroupKeptAgain);
                }
                let values = self.group_by.iter().map(|slot| row.value(*slot).clone()).collect();
                self.groups.insert(at, Group { values, tally: Tally::default(), touched: false });
                self.touch(at).add_to(row);
            }
            Err(_) => {
                mark!(GroupNotKept);
                self.is_full = true;
                self.rest.add(&self.figures, row);
            }
        }
    }

    pub(super) fn remove(&mut self, row: &Indexed) {
        self.all.remove(&self.figures, row);
        if self.group_by.is_empty() {
            return;
        }
        match self.find(row) {
            Ok(at) => self.touch(at).remove_from(row),
            Err(_) => self.rest.remove(&self.figures, row),
        }
    }

    fn find(&self, row: &Indexed) -> Result<usize, usize> {
        self.groups.binary_search_by(|group| {
            let pairs = group.values.iter().zip(&self.group_by);
            pairs
                .map(|(value, slot)| compare(value, row.value(*slot)))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        })
    }

    /// Notes that a group changes.
    fn touch(&mut self, at: usize) -> Touched<'_> {
        let group = &mut self.groups[at];
        if !group.touched {
            group.touched = true;
            self.touched.push(group.values.clone());
        }
        Touched { tally: &mut group.tally, figures: &self.figures }
    }

    /// Returns the figures over everything, if they are not what was told last.
    pub(super) fn tell(&mut self) -> Option<Told> {
        if self.figures.is_empty() { None } else { self.all.tell(&self.figures) }
    }

    /// Returns the groups that are not as told last, and forgets those without records.
    pub(super) fn tell_groups(&mut self) -> Vec<GroupChange> {
        let mut changes = Vec::new();
        for values in std::mem::take(&mut self.touched) {
            let same = |group: &Group| {
                let pairs = group.values.iter().zip(&values);
                pairs.map(|(one, other)| compare(one, other)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
            };
            let Ok(at) = self.groups.binary_search_by(same) else { continue };
            let group = &mut self.groups[at];
            group.touched = false;
            if group.tally.rows > 0 {
                if let Some(figures) = group.tally.tell(&self.figures) {
                    changes.push(GroupChange { group: Some(values), figures: Some(figures) });
                }
            } else if self.groups.remove(at).tally.told.is_some() {
                changes.push(GroupChange { group: Some(values), figures: None });
            }
        }
        if self.rest.rows > 0 {
            let told = self.rest.tell(&self.figures);
            changes.extend(told.map(|figures| GroupChange { group: None, figures: Some(figures) }));
        } else if self.rest.told.take().is_some() {
            changes.push(GroupChange { group: None, figures: None });
        }
        changes
    }
}

/// A group being changed.
struct Touched<'a> {
    tally: &'a mut Tally,
    figures: &'a [Figure],
}

impl Touched<'_> {
    fn add_to(self, row: &Indexed) {
        self.tally.add(self.figures, row);
    }

    fn remove_from(self, row: &Indexed) {
        self.tally.remove(self.figures, row);
    }
}

impl Tally {
    fn add(&mut self, figures: &[Figure], row: &Indexed) {
        self.rows += 1;
        self.parts.resize_with(figures.len(), Part::default);
        for (part, figure) in self.parts.iter_mut().zip(figures) {
            if let Some(number) = figure.counts(row) {
                part.counted += 1;
                part.sum.add(number);
            }
        }
    }

    fn remove(&mut self, figures: &[Figure], row: &Indexed) {
        self.rows = self.rows.saturating_sub(1);
        for (part, figure) in self.parts.iter_mut().zip(figures) {
            if let Some(number) = figure.counts(row) {
                part.counted = part.counted.saturating_sub(1);
                part.sum.add(-number);
            }
        }
    }

    /// Returns the figures, if they are not what was told last.
    fn tell(&mut self, figures: &[Figure]) -> Option<Told> {
        self.parts.resize_with(figures.len(), Part::default);
        let now: Told = self.parts.iter().zip(figures).map(|(part, figure)| part.figure(figure.kind)).collect();
        if self.told.as_ref() == Some(&now) {
            return None;
        }
        self.told = Some(now.clone());
        Some(now)
    }
}

impl Figure {
    /// Returns what a record adds to the sum, if it counts at all.
    fn counts(&self, row: &Indexed) -> Option<f64> {
        let Some(slot) = self.slot else { return Some(0.0) };
        match (self.kind, row.value(slot)) {
            (FigureKind::Count, Value::Null) => None,
            (FigureKind::Count, _) => Some(0.0),
            (FigureKind::Sum | FigureKind::Average, Value::Number(number)) => Some(*number),
            (FigureKind::Sum | FigureKind::Average, _) => None,
        }
    }
}

impl Part {
    fn figure(&self, kind: FigureKind) -> Option<f64> {
        match kind {
            FigureKind::Count => Some(f64::from(self.counted)),
            FigureKind::Sum => Some(self.sum.rounded()),
            FigureKind::Average if self.counted == 0 => None,
            FigureKind::Average => Some(self.sum.rounded() / f64::from(self.counted)),
        }
    }
}
