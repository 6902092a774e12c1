//! One open view: its list, its window, its figures, and how a batch of changes moves them.
//!
//! A batch goes in two steps, with the records' values exchanged in between: what loses its place is taken out while the
//! old values say where it is, and put in again once the new ones say where it belongs.

use std::cmp::Ordering;

use super::figures::{Figure, Figures};
use super::filter::{Condition, Slots};
use super::order::Order;
use super::ranked::Ranked;
use super::rows::{Fresh, Indexed, Rows};
use super::spec::ViewSpec;
use super::window::{Placed, Window, edits, take_unmoved};
use crate::engine::error::Error;
use crate::engine::mark::mark;
use crate::engine::output::{Edit, ViewChange, WindowChange};
use crate::engine::sabotage::sabotaged;
use crate::engine::sorted::sort;
use crate::engine::table::{RecordId, TableId};
use crate::engine::value::Value;

/// From so many moved records on, and when they are a quarter of the list or more, it is sorted anew instead.
const SORTED_FROM: usize = 32;

/// What a batch moves in one view.
#[derive(Debug, Default)]
struct Batch {
    left: Vec<RecordId>,
    entered: Vec<RecordId>,
    stayed: Vec<RecordId>,
    old_len: u32,
    /// Where those that left were.
    places: Vec<Placed>,
    /// What the window showed, when the list is sorted anew.
    shown: Option<Vec<RecordId>>,
}

#[derive(Debug)]
pub(super) struct View {
    pub(super) id: u32,
    pub(super) table: TableId,
    /// True until it was filled and told for the first time.
    pub(super) is_new: bool,
    /// True once its user was told that there are too many groups.
    pub(super) is_full_told: bool,
    condition: Condition,
    order: Order,
    window: Window,
    list: Ranked,
    figures: Figures,
    total_told: u32,
    batch: Batch,
}

impl View {
    pub(super) fn new(id: u32, table: TableId, spec: &ViewSpec, slots: &Slots<'_>) -> Result<Self, Error> {
        spec.validate()?;
        let condition = match &spec.filter {
            Some(filter) => Condition::new(filter, slots)?,
            None => Condition::All(Vec::new()),
        };
        let mut keys = Vec::with_capacity(spec.sort.len());
        for key in &spec.sort {
            keys.push((slots(&key.field)?, key.descending));
        }
        let mut figures = Vec::with_capacity(spec.figures.len());
        for figure in &spec.figures {
            let slot = figure.field.as_ref().map(|field| slots(field)).transpose()?;
            figures.push(Figure { kind: figure.kind, slot });
        }
        let group_by = spec.group_by.iter().map(|field| slots(field)).collect::<Result<_, _>>()?;
        Ok(Self {
            id,
            table,
            is_new: true,
            is_full_told: false,
            condition,
            order: Order::new(keys),
            window: Window::new(spec.offset, spec.limit),
            list: Ranked::default(),
            figures: Figures::new(figures, group_by),
            total_told: 0,
            batch: Batch::default(),
        })
    }

    /// True when there are more groups than are kept.
    pub(super) const fn is_full(&self) -> bool {
        self.figures.is_full()
    }

    pub(super) fn shown(&self) -> Vec<RecordId> {
        self.list.range(self.window.from, self.window.to)
    }

    /// Returns the first records of the list, whatever the window shows.
    pub(super) fn first(&self, len: usize) -> Vec<RecordId> {
        self.list.range(0, u32::try_from(len).unwrap_or(u32::MAX))
    }

    /// Returns the first records whose first field to sort by has a value.
    pub(super) fn equal(&self, value: &Value, len: usize, rows: &Rows) -> Vec<RecordId> {
        // No member is the one in question: it is before or after the first that has the value, and the first after them.
        let edge = |of_equal: Ordering| {
            let place = |member: RecordId| {
                rows.get(member).map_or(Ordering::Less, |row| self.order.compare_first(row, value).then(of_equal))
            };
            self.list.rank(&place).unwrap_or_else(|rank| rank)
        };
        let (from, to) = (edge(Ordering::Greater), edge(Ordering::Less));
        self.list.range(from, to.min(from.saturating_add(u32::try_from(len).unwrap_or(u32::MAX))))
    }

    /// Fills a new view, and returns what it shows.
    pub(super) fn fill(&mut self, records: &[RecordId], rows: &Rows) -> ViewChange {
        let mut members = Vec::new();
        for id in records {
            if let Some(row) = rows.get(*id)
                && self.condition.holds(row)
            {
                self.figures.add(row);
                members.push(*id);
            }
        }
        self.sort(&members, rows);
        self.is_new = false;
        self.total_told = self.list.len();
        ViewChange {
            id: self.id,
            window: WindowChange::Reset(self.shown()),
            total: self.list.len(),
            figures: self.figures.tell(),
            groups: self.figures.tell_groups(),
        }
    }

    fn sort(&mut self, members: &[RecordId], rows: &Rows) {
        let order = &self.order;
        // Most pairs differ in what can be compared without looking the records up.
        let hint = |id: &RecordId| (rows.get(*id).map_or(u64::MAX, |row| order.hint(row)), *id);
        let mut hinted: Vec<(u64, RecordId)> = members.iter().map(hint).collect();
        hinted.sort_unstable_by(|one, other| {
            one.0.cmp(&other.0).then_with(|| match (rows.get(one.1), rows.get(other.1)) {
                (Some(one), Some(other)) => order.compare(one, other),
                // Every member has values.
                _ => Ordering::Equal,
            })
        });
        let sorted: Vec<RecordId> = hinted.into_iter().map(|(_, id)| id).collect();
        self.list = Ranked::build(&sorted);
    }

    /// The first step: `rows` are as before the batch.
    pub(super) fn leave(&mut self, fresh: &[Fresh], rows: &Rows) {
        let table = self.table;
        for change in fresh.iter().filter(|change| change.table == table) {
            let (old, new) = (rows.get(change.id), change.row.as_ref());
            let is_same = old == new;
            let was = old.filter(|row| self.condition.holds(row));
            let is = if is_same { was } else { new.filter(|row| self.condition.holds(row)) };
            self.note(change.id, was, is, is_same);
        }
        self.batch.old_len = self.list.len();
        let moved = self.batch.left.len() + self.batch.entered.len();
        if moved >= SORTED_FROM && moved >= self.list.len() as usize / 4 {
            self.batch.shown = Some(self.shown());
            return;
        }
        // One alone tells its place when it goes; of several, each place is asked for while all are there.
        if self.batch.left.len() > 1 {
            self.batch.places = self.ranks(&self.batch.left, rows);
        }
        for id in &self.batch.left {
            let rank = place_of(&self.order, rows, *id).and_then(|place| self.list.remove(&place));
            if let (Some(rank), [_]) = (rank, &self.batch.left[..]) {
                self.batch.places.push((rank, *id));
            }
        }
    }

    fn note(&mut self, id: RecordId, was: Option<&Indexed>, is: Option<&Indexed>, is_same: bool) {
        if let (Some(old), Some(new)) = (was, is) {
            if is_same || self.order.ties(old, new) {
                self.batch.stayed.push(id);
            } else {
                self.batch.left.push(id);
                self.batch.entered.push(id);
            }
            if is_same || !self.figures.differ(old, new) {
                return;
            }
        } else if was.is_some() {
            if sabotaged!(ViewKeepsWhatLeft) && self.list.len() > 1 {
                return;
            }
            self.batch.left.push(id);
        } else if is.is_some() {
            self.batch.entered.push(id);
        }
        if let Some(old) = was {
            self.figures.remove(old);
        }
        if let Some(new) = is {
            self.figures.add(new);
        }
    }

    /// The second step: `rows` are as after the batch. Returns what changed for whoever watches.
    pub(super) fn enter(&mut self, rows: &Rows) -> Option<ViewChange> {
        let batch = std::mem::take(&mut self.batch);
        if batch.left.is_empty() && batch.entered.is_empty() && batch.stayed.is_empty() {
            return None;
        }
        let window = match batch.shown {
            Some(_) => self.sort_anew(batch, rows),
            None => self.put_in(batch, rows),
        };
        let (figures, groups) = (self.figures.tell(), self.figures.tell_groups());
        let total = self.list.len();
        let is_quiet = matches!(&window, WindowChange::Edits(edits) if edits.is_empty());
        let is_same = total == self.total_told && figures.is_none() && groups.is_empty();
        if is_quiet && is_same && !sabotaged!(ViewTellsNothing) {
            return None;
        }
        self.total_told = total;
        Some(ViewChange { id: self.id, window, total, figures, groups })
    }

    fn put_in(&mut self, batch: Batch, rows: &Rows) -> WindowChange {
        let mut entered = Vec::with_capacity(batch.entered.len());
        for id in &batch.entered {
            if let Some(place) = place_of(&self.order, rows, *id) {
                entered.push((self.list.insert(*id, &place), *id));
            }
        }
        // Those that came later may have moved the earlier ones on.
        if entered.len() > 1 {
            entered = self.ranks(&batch.entered, rows);
        }
        let mut left = batch.places;
        sort(&mut left);
        sort(&mut entered);
        let mut stayed = batch.stayed;
        stayed.append(&mut take_unmoved(&mut left, &mut entered));
        let edits = edits(self.window, batch.old_len, &left, &entered, &self.list);
        let places: Vec<u32> =
            self.ranks(&stayed, rows).into_iter().filter_map(|(rank, _)| self.window.place(rank)).collect();
        self.with_updates(edits, places)
    }

    fn ranks(&self, ids: &[RecordId], rows: &Rows) -> Vec<Placed> {
        let rank = |id: &RecordId| {
            let place = place_of(&self.order, rows, *id)?;
            Some((self.list.rank(&place).ok()?, *id))
        };
        ids.iter().filter_map(rank).collect()
    }

    fn sort_anew(&mut self, mut batch: Batch, rows: &Rows) -> WindowChange {
        let mut members = self.list.range(0, u32::MAX);
        sort(&mut batch.left);
        members.retain(|id| batch.left.binary_search(id).is_err());
        members.append(&mut batch.entered.clone());
        self.sort(&members, rows);
        mark!(ViewSortedAnew);
        let shown = self.shown();
        if batch.shown.as_ref() != Some(&shown) {
            return WindowChange::Reset(shown);
        }
        let mut changed = batch.stayed;
        changed.append(&mut batch.entered);
        sort(&mut changed);
        let places = (0..).zip(&shown).filter(|(_, id)| changed.binary_search(id).is_ok()).map(|(place, _)| place);
        self.with_updates(Vec::new(), places.collect())
    }

    /// Tells of the records that changed where they are, or of the whole window where that is shorter.
    fn with_updates(&self, mut edits: Vec<Edit>, mut places: Vec<u32>) -> WindowChange {
        let mut put_in: Vec<u32> = edits.iter().filter_map(Edit::inserted_at).collect();
        sort(&mut put_in);
        sort(&mut places);
        places.retain(|place| put_in.binary_search(place).is_err());
        edits.extend(places.into_iter().map(|at| Edit::Update { at }));
        if edits.len() > self.window.len_over(self.list.len()) as usize {
            mark!(ViewToldWhole);
            return WindowChange::Reset(self.shown());
        }
        WindowChange::Edits(edits)
    }
}

/// How the members of a list stand to a record.
fn place_of<'a>(order: &'a Order, rows: &'a Rows, id: RecordId) -> Option<impl Fn(RecordId) -> Ordering + 'a> {
    let row = rows.get(id)?;
    // Every member has values.
    Some(move |member| rows.get(member).map_or(Ordering::Less, |member| order.compare(member, row)))
}
