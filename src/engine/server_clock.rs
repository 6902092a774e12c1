//! How far the server's clock is ahead of this device's: estimated from the times that pulls bring, as NTP does (RFC 5905, section 8), from the call
//! with the shortest way.

use super::time::Now;

/// How much worse an estimate becomes by its age: clocks drift apart by far less than a thousandth.
const DRIFT_PARTS: u64 = 1_000;

/// How far the device's two clocks may come apart before an estimate is of no use: somebody has set the clock, or the device has slept.
const STEP_MS: u64 = 1_000;

/// How long a call may have taken for its time to say anything.
const WAY_MS_MAX: u64 = 10_000;

/// What one call has told.
#[derive(Clone, Copy, Debug)]
struct Sample {
    ahead_ms: i64,
    /// By how much it may be wrong: half of the call's time, at worst.
    error_ms: u64,
    taken: Now,
}

/// The estimate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServerClock(Option<Sample>);

impl ServerClock {
    /// Takes in the server's time, of an answer to what was asked a while ago. Returns the estimate, where it is a new one.
    pub(crate) fn learn(&mut self, at_ms: u64, asked: Now, now: Now) -> Option<i64> {
        let way_ms = now.mono_ms.saturating_sub(asked.mono_ms);
        if way_ms > WAY_MS_MAX || is_stepped(asked, now) {
            return None;
        }
        let error_ms = way_ms / 2;
        if let Some(known) = self.0 {
            let age_ms = now.mono_ms.saturating_sub(known.taken.mono_ms);
            let is_better = error_ms <= known.error_ms.saturating_add(age_ms / DRIFT_PARTS);
            if !is_better && !is_stepped(known.taken, now) {
                return None;
            }
        }
        // What the server said was true about half-way.
        let here_ms = now.wall_ms.saturating_sub(error_ms);
        let ahead_ms = i64::try_from(at_ms).ok()?.checked_sub(i64::try_from(here_ms).ok()?)?;
        let is_new = self.0.is_none_or(|known| known.ahead_ms != ahead_ms);
        self.0 = Some(Sample { ahead_ms, error_ms, taken: now });
        is_new.then_some(ahead_ms)
    }
}

/// True when the wall clock went otherwise than time did.
const fn is_stepped(from: Now, to: Now) -> bool {
    let (mono_ms, wall_ms) =
        (to.mono_ms.saturating_sub(from.mono_ms), to.wall_ms.cast_signed().saturating_sub(from.wall_ms.cast_signed()));
    wall_ms.saturating_sub(mono_ms.cast_signed()).unsigned_abs() > STEP_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(mono_ms: u64, wall_ms: u64) -> Now {
        Now { mono_ms, wall_ms }
    }

    #[test]
    fn what_the_server_says_was_true_half_way() {
        let mut clock = ServerClock::default();
        assert_eq!(clock.learn(5_050, at(0, 1_000), at(100, 1_100)), Some(4_000));
        assert_eq!(clock.learn(5_050, at(0, 1_000), at(100, 1_100)), None, "nothing new");
        let mut behind = ServerClock::default();
        assert_eq!(behind.learn(550, at(0, 1_000), at(100, 1_100)), Some(-500));
    }

    #[test]
    fn the_shortest_way_counts_until_it_is_old() {
        let mut clock = ServerClock::default();
        assert_eq!(clock.learn(5_010, at(0, 1_000), at(20, 1_020)), Some(4_000));
        assert_eq!(clock.learn(6_500, at(1_000, 2_000), at(1_900, 2_900)), None, "a longer way may be wrong by more");
        assert_eq!(clock.learn(7_005, at(2_000, 3_000), at(2_010, 3_010)), None, "a shorter one, and the same");
        let later = 2_010 + 500 * DRIFT_PARTS;
        assert_eq!(
            clock.learn(later + 5_450, at(later, later + 1_000), at(later + 900, later + 1_900)),
            None,
            "the same again"
        );
        let last = later + 900 + 500 * DRIFT_PARTS;
        assert_eq!(clock.learn(last + 5_250, at(last, last + 1_000), at(last + 500, last + 1_500)), None);
        assert_eq!(clock.learn(last + 5_260, at(last, last + 1_000), at(last + 500, last + 1_500)), Some(4_010));
    }

    #[test]
    fn after_the_clock_was_set_or_the_device_has_slept_the_next_answer_counts_whatever_its_way() {
        let mut clock = ServerClock::default();
        assert_eq!(clock.learn(5_001, at(0, 1_000), at(2, 1_002)), Some(4_000));
        // An hour back.
        assert_eq!(clock.learn(5_400, at(100, 0), at(1_100, 1_000)), Some(4_900));
        // Set while the call was under way: nobody knows which clock that was.
        assert_eq!(clock.learn(9_000, at(1_200, 1_100), at(1_300, 90_000)), None);
    }

    #[test]
    fn calls_that_took_long_and_times_that_make_no_sense_say_nothing() {
        let mut clock = ServerClock::default();
        assert_eq!(clock.learn(5_000, at(0, 1_000), at(10_001, 11_001)), None);
        assert_eq!(clock.learn(u64::MAX, at(0, 1_000), at(10, 1_010)), None);
        assert_eq!(clock.learn(0, at(50, 10), at(40, 0)), Some(0));
    }
}
