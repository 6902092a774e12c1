//! When a slot is: its occurrences as spans of time, within a window and never more than asked for.

use super::slot::{DAY_S, Day, Slot};
use super::zone::{Wall, Zone};

/// A span of time in seconds since 1970; its end is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) from_s: i64,
    pub(crate) to_s: i64,
}

impl Span {
    pub(crate) const fn len_s(self) -> i64 {
        self.to_s.saturating_sub(self.from_s)
    }

    pub(crate) const fn meets(self, other: Self) -> bool {
        self.from_s < other.to_s && other.from_s < self.to_s
    }
}

/// Days of air around a window: a zone may be 26 hours off, and gaps move what is in them.
const AIR_DAYS: i64 = 3;

/// Returns the spans of a slot that meet a window, in order, and at most so many.
pub(crate) fn spans(slot: &Slot, zone: &Zone, window: Span, len_max: usize) -> Vec<Span> {
    let of_day = |day: Day| {
        let start = slot.start.0 + (day.0 - slot.first_day().0) * DAY_S;
        let (from_s, to_s) = (zone.moment(Wall(start))?, zone.moment(Wall(start + slot.length_s))?);
        Some(Span { from_s, to_s }).filter(|span| from_s < to_s && span.meets(window))
    };
    let Some(weekly) = &slot.weekly else { return of_day(slot.first_day()).into_iter().take(len_max).collect() };
    let first = (window.from_s - slot.length_s).div_euclid(DAY_S) - AIR_DAYS;
    let last = Day(window.to_s.div_euclid(DAY_S) + AIR_DAYS);
    let days = weekly.days_from(slot.first_day(), Day(first)).take_while(|day| *day <= last);
    days.filter(|day| !weekly.is_excepted(*day)).filter_map(of_day).take(len_max).collect()
}

/// Returns the moment at which a slot first begins.
pub(crate) fn beginning(slot: &Slot, zone: &Zone) -> Option<i64> {
    zone.moment(slot.start)
}

/// Returns the first moment that two lists of spans share, both in order.
pub(crate) fn first_shared(one: &[Span], other: &[Span]) -> Option<i64> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    while let (Some(left), Some(right)) = (one.peek(), other.peek()) {
        if left.meets(**right) {
            return Some(left.from_s.max(right.from_s));
        }
        if left.to_s <= right.to_s {
            one.next()
        } else {
            other.next()
        };
    }
    None
}
