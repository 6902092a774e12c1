//! Time comes in with every input; this room keeps what is due, and the hybrid logical clock.

use serde::{Deserialize, Serialize};

use super::mark::mark;

/// What the clocks said when an input came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Now {
    /// A clock that never goes back, in milliseconds from any start. Timers run on it.
    pub mono_ms: u64,
    /// Milliseconds since 1970. It may jump.
    pub wall_ms: u64,
}

/// What may be due. One of each at most: setting a timer again moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Try to open the link again.
    Reconnect,
    /// The link has been opening for too long.
    JoinTimeout,
    /// The link has been live for long enough to forget earlier failures.
    Stable,
    /// Ask again for what a failed pull should have brought.
    Pull,
    /// A pull has had no answer for too long.
    PullTimeout,
    /// Look at the outbox: something waits for its back-off, or has had no answer for too long.
    Outbox,
    /// Tell the other tabs that the leader is alive.
    Beat,
    /// Ask for a fresh token again.
    Token,
    /// Something about who is here is to be said, or runs out.
    Presence,
    /// A fresh token has been waited for long enough.
    TokenWait,
    /// The stream has been silent for long enough to ask whether it lives.
    Heartbeat,
    /// The answer to that has been missing for too long.
    Pong,
    /// Pull, as there is no stream.
    Poll,
    /// Look whether the leader is alive.
    Watch,
    /// Nobody has told this new tab anything.
    Boot,
    /// A logout has asked what is stored, and was not answered.
    Leave,
}

impl Timer {
    const ALL: [Self; 16] = [
        Self::Reconnect,
        Self::JoinTimeout,
        Self::Stable,
        Self::Pull,
        Self::PullTimeout,
        Self::Outbox,
        Self::Beat,
        Self::Token,
        Self::Presence,
        Self::TokenWait,
        Self::Heartbeat,
        Self::Pong,
        Self::Poll,
        Self::Watch,
        Self::Boot,
        Self::Leave,
    ];

    fn slot(self) -> usize {
        // Every timer is in `ALL` (a test says so), so the position is always found.
        Self::ALL.iter().position(|timer| *timer == self).unwrap_or(0)
    }
}

/// The one table of everything that is due.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due_mono_ms: [Option<u64>; Timer::ALL.len()],
}

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, due_mono_ms: u64) {
        self.due_mono_ms[timer.slot()] = Some(due_mono_ms);
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.due_mono_ms[timer.slot()] = None;
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.due_mono_ms[timer.slot()].is_some()
    }

    /// Returns when the next timer is due, on the monotonic clock.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.due_mono_ms.iter().flatten().min().copied()
    }

    /// Returns by how much the earliest timer is overdue: whoever was to wake us could not.
    pub(crate) fn late_ms(&self, mono_ms: u64) -> u64 {
        self.deadline().map_or(0, |due| mono_ms.saturating_sub(due))
    }

    /// Takes one timer that is due, if there is one.
    pub(crate) fn take_due(&mut self, mono_ms: u64) -> Option<Timer> {
        let timer =
            Timer::ALL.into_iter().find(|timer| self.due_mono_ms[timer.slot()].is_some_and(|due| due <= mono_ms))?;
        self.stop(timer);
        Some(timer)
    }
}

/// How far ahead of ours a peer's clock may be before we stop following it.
pub const CLOCK_AHEAD_MS_MAX: u64 = 5 * 60_000;

/// Twelve hexadecimal digits hold the milliseconds until the year 10889.
const WALL_MS_MAX: u64 = (1 << 48) - 1;

/// A point in hybrid logical time: ordered, and close to the wall clock of whoever made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hlc {
    wall_ms: u64,
    counter: u16,
}

impl Hlc {
    /// Reads the text form: twelve lower-case hexadecimal digits, `-`, four more.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (wall, counter) = text.split_once('-')?;
        let lower_hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if wall.len() != 12 || counter.len() != 4 || !lower_hex(wall) || !lower_hex(counter) {
            return None;
        }
        Some(Self { wall_ms: u64::from_str_radix(wall, 16).ok()?, counter: u16::from_str_radix(counter, 16).ok()? })
    }

    /// Returns the wall-clock part.
    #[must_use]
    pub const fn wall_ms(self) -> u64 {
        self.wall_ms
    }

    /// Returns the count of those of one millisecond.
    #[must_use]
    pub const fn counter(self) -> u16 {
        self.counter
    }

    fn next(self) -> Self {
        match self.counter.checked_add(1) {
            Some(counter) => Self { counter, ..self },
            None => Self { wall_ms: (self.wall_ms + 1).min(WALL_MS_MAX), counter: 0 },
        }
    }
}

impl std::fmt::Display for Hlc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:012x}-{:04x}", self.wall_ms, self.counter)
    }
}

impl Serialize for Hlc {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hlc {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("hlc is not a hybrid logical time like 019aa5e3f1c0-0000"))
    }
}

/// Mints hybrid logical times: each later than all minted or seen before.
#[derive(Debug, Default)]
pub(crate) struct HybridClock {
    last: Hlc,
}

impl HybridClock {
    pub(crate) fn mint(&mut self, now: Now) -> Hlc {
        let wall = Hlc { wall_ms: now.wall_ms.min(WALL_MS_MAX), counter: 0 };
        self.last = if wall > self.last { wall } else { self.last.next() };
        self.last
    }

    /// Follows a peer's time, unless its clock is too far ahead of ours to be believed.
    pub(crate) fn observe(&mut self, peer: Hlc, now: Now) {
        if peer.wall_ms <= now.wall_ms.saturating_add(CLOCK_AHEAD_MS_MAX) {
            self.last = self.last.max(peer);
        } else {
            mark!(FastClockNotFollowed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(wall_ms: u64) -> Now {
        Now { mono_ms: 0, wall_ms }
    }

    #[test]
    fn each_timer_has_its_own_slot() {
        for (slot, timer) in Timer::ALL.into_iter().enumerate() {
            assert_eq!(timer.slot(), slot);
        }
    }

    #[test]
    fn a_timer_fires_once_and_the_earliest_is_the_deadline() {
        let mut timers = Timers::default();
        timers.set(Timer::Beat, 20);
        timers.set(Timer::Outbox, 10);
        assert_eq!(timers.deadline(), Some(10));
        assert_eq!(timers.take_due(9), None);
        assert_eq!(timers.take_due(10), Some(Timer::Outbox));
        assert_eq!(timers.take_due(10), None);
        assert_eq!(timers.deadline(), Some(20));
    }

    #[test]
    fn minted_times_grow_even_when_the_wall_clock_goes_back() {
        let mut clock = HybridClock::default();
        let first = clock.mint(at(1_000));
        let second = clock.mint(at(500));
        let third = clock.mint(at(1_001));
        assert!(first < second && second < third);
        assert_eq!(second.to_string(), "0000000003e8-0001");
    }

    #[test]
    fn the_order_as_text_is_the_order_in_time() {
        let mut clock = HybridClock::default();
        let mut last = clock.mint(at(7));
        for wall_ms in [7, 8, 8, 9_999_999, 3] {
            let next = clock.mint(at(wall_ms));
            assert!(next > last && next.to_string() > last.to_string());
            last = next;
        }
    }

    #[test]
    fn a_peer_with_a_fast_clock_is_followed_up_to_five_minutes_and_no_further() {
        let mut clock = HybridClock::default();
        clock.observe(Hlc { wall_ms: 1_000 + CLOCK_AHEAD_MS_MAX, counter: 3 }, at(1_000));
        assert_eq!(clock.mint(at(1_000)), Hlc { wall_ms: 1_000 + CLOCK_AHEAD_MS_MAX, counter: 4 });
        clock.observe(Hlc { wall_ms: 2_001 + CLOCK_AHEAD_MS_MAX, counter: 0 }, at(2_000));
        assert_eq!(clock.mint(at(2_000)), Hlc { wall_ms: 1_000 + CLOCK_AHEAD_MS_MAX, counter: 5 });
    }

    #[test]
    fn what_is_not_a_hybrid_logical_time_is_refused() {
        for text in [
            "",
            "-",
            "019aa5e3f1c0",
            "019aa5e3f1c0-000",
            "019AA5E3F1C0-0000",
            "+19aa5e3f1c0-0000",
            "019aa5e3f1c00-0000",
        ] {
            assert_eq!(Hlc::parse(text), None, "{text}");
        }
    }
}
