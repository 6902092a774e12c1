//! What a change of the list does to the part of it that is shown, as edits a subscriber can repeat.
//!
//! Records that keep their places among each other are the *core*; the others left their old places and entered new ones.
//! The window shows a run of the core before and after, so the edits are: those that left go, the run is cut at its ends,
//! and what is missing is put in, from the front to the back.

use super::ranked::Ranked;
use crate::engine::output::Edit;
use crate::engine::sorted::sort;
use crate::engine::table::RecordId;

/// The part of a list that is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) from: u32,
    /// Without.
    pub(super) to: u32,
}

impl Window {
    pub(super) fn new(offset: u32, limit: Option<u32>) -> Self {
        Self { from: offset, to: limit.map_or(u32::MAX, |limit| offset.saturating_add(limit)) }
    }

    /// Returns where in the window a place of the list is.
    pub(super) fn place(self, rank: u32) -> Option<u32> {
        (self.from <= rank && rank < self.to).then(|| rank - self.from)
    }

    /// Returns the window over a list of so many.
    fn over(self, len: u32) -> (u32, u32) {
        let to = self.to.min(len);
        (self.from.min(to), to)
    }

    pub(super) fn len_over(self, len: u32) -> u32 {
        let (from, to) = self.over(len);
        to - from
    }
}

/// A record and a place in the list.
pub(super) type Placed = (u32, RecordId);

/// Finds the records that left a place and entered the same one again, as seen by all the others. They stay after all.
pub(super) fn take_unmoved(left: &mut Vec<Placed>, entered: &mut Vec<Placed>) -> Vec<RecordId> {
    // The place among the core: how many of it come before.
    let gap = |(at, (rank, _)): (usize, &Placed)| rank - u32::try_from(at).unwrap_or(u32::MAX).min(*rank);
    let mut still = Vec::new();
    let (mut is_still_left, mut is_still_entered) = (vec![false; left.len()], vec![false; entered.len()]);
    let (mut old, mut new) = (0, 0);
    while old < left.len() && new < entered.len() {
        let (old_gap, new_gap) = (gap((old, &left[old])), gap((new, &entered[new])));
        if old_gap == new_gap && left[old].1 == entered[new].1 {
            still.push(left[old].1);
            (is_still_left[old], is_still_entered[new]) = (true, true);
            (old, new) = (old + 1, new + 1);
        } else if old_gap <= new_gap {
            old += 1;
        } else {
            new += 1;
        }
    }
    retain_unless(left, &is_still_left);
    retain_unless(entered, &is_still_entered);
    still
}

fn retain_unless(list: &mut Vec<Placed>, gone: &[bool]) {
    let mut gone = gone.iter();
    list.retain(|_| !gone.next().copied().unwrap_or(false));
}

/// Returns the edits that make the old window the new one. `left` are the places in the old list of what is gone from
/// there, `entered` those in the new one of what is new there, both in order.
pub(super) fn edits(window: Window, old_len: u32, left: &[Placed], entered: &[Placed], list: &Ranked) -> Vec<Edit> {
    let (old_from, old_to) = window.over(old_len);
    let (new_from, new_to) = window.over(list.len());
    let core_before = |moved: &[Placed], rank: u32| rank - count_before(moved, rank);
    let (old_core, old_core_to) = (core_before(left, old_from), core_before(left, old_to));
    let (new_core, new_core_to) = (core_before(entered, new_from), core_before(entered, new_to));

    let mut edits = Vec::new();
    for (rank, _) in left.iter().rev() {
        if (old_from..old_to).contains(rank) {
            edits.push(Edit::Remove { at: rank - old_from });
        }
    }
    for core in (new_core_to.max(old_core)..old_core_to).rev() {
        edits.push(Edit::Remove { at: core - old_core });
    }
    for _ in old_core..new_core.min(old_core_to).min(new_core_to.max(old_core)) {
        edits.push(Edit::Remove { at: 0 });
    }

    let missing_in_front = old_core.min(new_core_to).saturating_sub(new_core);
    let missing_behind = new_core_to.saturating_sub(old_core_to.max(new_core));
    let is_entered = |rank: u32| entered.binary_search_by_key(&rank, |(rank, _)| *rank).is_ok();
    let mut places: Vec<u32> = core_places(new_from..new_to, missing_in_front, is_entered);
    places.extend(entered.iter().map(|(rank, _)| *rank).filter(|rank| (new_from..new_to).contains(rank)));
    places.extend(core_places((new_from..new_to).rev(), missing_behind, is_entered));
    sort(&mut places);
    for rank in places {
        if let Some(id) = list.at(rank) {
            edits.push(Edit::Insert { at: rank - new_from, id });
        }
    }
    edits
}

fn count_before(moved: &[Placed], rank: u32) -> u32 {
    u32::try_from(moved.partition_point(|(other, _)| *other < rank)).unwrap_or(u32::MAX)
}

/// The first places, of those walked, that hold core records.
fn core_places(walked: impl Iterator<Item = u32>, count: u32, is_entered: impl Fn(u32) -> bool) -> Vec<u32> {
    if count == 0 {
        return Vec::new();
    }
    walked.filter(|rank| !is_entered(*rank)).take(count as usize).collect()
}
