//! Time zones, whose rules enter as data: which offset is in force from when on. Gaps and overlaps as Temporal's `compatible`: a wall
//! time that does not exist is moved on by the gap, and of one that exists twice the first is meant.

use crate::engine::value::Value;

/// How many changes of its offset a zone may have.
const TRANSITIONS_MAX: usize = 4_096;

/// No zone is further from UTC, and none ever was.
const OFFSET_S_MAX: i64 = 26 * 3_600;

const DAY_S: i64 = 86_400;

/// Seconds of wall time, counted as if the wall hung in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wall(pub(crate) i64);

/// The offset that is in force from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Transition {
    at_s: i64,
    offset_s: i64,
}

/// A zone's rules between two moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    /// The first one is the offset at the beginning.
    transitions: Vec<Transition>,
    end_s: i64,
}

impl Zone {
    /// Reads `{"until": ms, "transitions": [[ms, seconds east of UTC], …]}`: the first offset is in force where the rules begin.
    pub(crate) fn read(fact: &Value) -> Option<Self> {
        let Value::Map(fact) = fact else { return None };
        let (Value::List(items), end) = (fact.get("transitions")?, fact.get("until")?) else { return None };
        if fact.len() != 2 || items.is_empty() || items.len() > TRANSITIONS_MAX {
            return None;
        }
        let mut transitions: Vec<Transition> = Vec::with_capacity(items.len());
        for item in items {
            let Value::List(pair) = item else { return None };
            let [at, offset] = &pair[..] else { return None };
            let transition = Transition { at_s: seconds(at)?, offset_s: integer(offset)? };
            let is_later = transitions.last().is_none_or(|last| last.at_s < transition.at_s);
            if !is_later || transition.offset_s.abs() > OFFSET_S_MAX {
                return None;
            }
            transitions.push(transition);
        }
        let end_s = seconds(end)?;
        (end_s > transitions.last()?.at_s).then_some(Self { transitions, end_s })
    }

    /// Returns the moment that a wall shows, in seconds since 1970; nothing beyond what the rules say.
    pub(crate) fn moment(&self, Wall(wall): Wall) -> Option<i64> {
        // Whatever is in force this long before, its moment is not the one in question.
        let near = self.transitions.partition_point(|transition| transition.at_s < wall - 2 * DAY_S).max(1) - 1;
        for (at, Transition { at_s, offset_s }) in self.transitions.iter().enumerate().skip(near) {
            let until = self.transitions.get(at + 1).map_or(self.end_s, |next| next.at_s);
            let moment = wall - offset_s;
            if moment < *at_s {
                // A gap: the offset before it did not show this time any more, and the one after it does not yet.
                let before = at.checked_sub(1)?;
                return Some(wall - self.transitions[before].offset_s);
            }
            if moment < until {
                return Some(moment);
            }
        }
        None
    }
}

fn integer(value: &Value) -> Option<i64> {
    let Value::Number(number) = value else { return None };
    // An integer is within 2^53 (`Value::number`), so the cast is exact.
    #[expect(clippy::cast_possible_truncation)]
    (number.fract() == 0.0).then_some(*number as i64)
}

/// Milliseconds as seconds; a zone changes on a whole one.
fn seconds(value: &Value) -> Option<i64> {
    integer(value).filter(|ms| ms % 1_000 == 0).map(|ms| ms / 1_000)
}
