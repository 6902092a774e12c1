//! Why a call failed, and what follows from it: wait for the link, wait for a token, try again later, or give up.

use rand_core::Rng;
use serde::{Deserialize, Serialize};

/// Why a call to the backend brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// The server was not reached, or the connection broke. Waits for the link; never counts as a try.
    Network,
    /// No answer in time.
    Timeout,
    /// The server failed.
    Server,
    /// Too many requests; all calls wait as long as the server says.
    RateLimit,
    /// The token is missing, expired or refused. Pauses until there is a fresh one.
    Auth,
    /// Somebody else was first, says the server, and not how the record is now.
    Conflict,
    /// The call itself is not allowed.
    Forbidden,
    /// The call itself makes no sense to the server.
    Invalid,
    /// What the call names is not there.
    Gone,
    /// None of these.
    Unknown,
}

impl Failure {
    /// All failures.
    pub const ALL: [Self; 10] = [
        Self::Network,
        Self::Timeout,
        Self::Server,
        Self::RateLimit,
        Self::Auth,
        Self::Conflict,
        Self::Forbidden,
        Self::Invalid,
        Self::Gone,
        Self::Unknown,
    ];

    /// Returns the stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Timeout => "timeout",
            Self::Server => "server",
            Self::RateLimit => "rate-limit",
            Self::Auth => "auth",
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::Invalid => "invalid",
            Self::Gone => "gone",
            Self::Unknown => "unknown",
        }
    }

    /// True for a failure that counts as a try. Of the others, some say that nobody could be asked, and some that asking again is of no use.
    #[must_use]
    pub const fn counts(self) -> bool {
        matches!(self, Self::Timeout | Self::Server | Self::Unknown)
    }
}

/// How often something has failed, the last time included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Whatever the failures were.
    pub times: u32,
    /// Of these, those that count as tries.
    pub counted: u32,
}

/// How often and how fast to try again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Tries after the first one.
    pub max_retries: u32,
    /// The wait before the first retry, at most, in milliseconds.
    pub retry_delay: u64,
    /// By how much each wait exceeds the one before.
    pub backoff_multiplier: f64,
    /// How long an answer may take, in milliseconds.
    pub timeout: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_retries: 3, retry_delay: 1_000, backoff_multiplier: 2.0, timeout: 10_000 }
    }
}

/// No wait of our own is longer than this.
pub const DELAY_MS_MAX: u64 = 60_000;

/// A server that asks for a longer wait is asked again after this one: a wrong header must not hold an operation for a day.
pub const AFTER_MS_MAX: u64 = 10 * 60_000;

impl RetryPolicy {
    /// Says what is wrong with the policy, if anything.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if !(self.backoff_multiplier.is_finite() && (1.0..=10.0).contains(&self.backoff_multiplier)) {
            return Err("retry.backoffMultiplier must be between 1 and 10".to_owned());
        }
        if self.retry_delay == 0
            || self.retry_delay > DELAY_MS_MAX
            || self.timeout == 0
            || self.timeout > 10 * DELAY_MS_MAX
        {
            return Err(
                "retry.retryDelay must be between 1 and 60000 ms, retry.timeout between 1 and 600000 ms".to_owned()
            );
        }
        if self.max_retries > 100 {
            return Err("retry.maxRetries must be at most 100".to_owned());
        }
        Ok(())
    }

    /// Returns how long to wait before an application's function that has failed is run again, in milliseconds; `None`: it is not run again. The
    /// rule is that of operations, but for what only the engine can do for these: it neither fetches tokens for a function nor looks up
    /// what became of it.
    #[must_use]
    pub fn again_ms(&self, failure: Failure, failed: Failed, asked_ms: u64, random: &mut dyn Rng) -> Option<u64> {
        match failure {
            Failure::Network => Some(self.delay_ms(failed.times.saturating_sub(1), random)),
            Failure::RateLimit => {
                Some(self.delay_ms(failed.times.saturating_sub(1), random).max(asked_ms.min(AFTER_MS_MAX)))
            }
            Failure::Timeout | Failure::Server | Failure::Unknown => (failed.counted <= self.max_retries)
                .then(|| self.delay_ms(failed.counted.saturating_sub(1), random).max(asked_ms.min(AFTER_MS_MAX))),
            Failure::Auth | Failure::Conflict | Failure::Forbidden | Failure::Invalid | Failure::Gone => None,
        }
    }

    /// Returns the wait before retry number `attempt` (from 0): a random part of the capped exponential ("full jitter", as in the
    /// AWS architecture blog's "Exponential Backoff And Jitter"), and at least a twentieth of it, so that a lucky draw is no hot loop.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // 1..=60,000 throughout
    pub(crate) fn delay_ms(&self, attempt: u32, random: &mut dyn Rng) -> u64 {
        let exponent = i32::try_from(attempt.min(64)).unwrap_or(64);
        let ceiling =
            (self.retry_delay as f64 * self.backoff_multiplier.powi(exponent)).min(DELAY_MS_MAX as f64) as u64;
        let floor = (ceiling / 20).max(1);
        floor + random.next_u64() % (ceiling - floor + 1).max(1)
    }
}

/// A server's word that it is asked too often. It is meant for all calls, whichever of them it was said to.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    /// No call before this, on the monotonic clock.
    until_mono_ms: u64,
    /// How often in a row, without an answer in between.
    times: u32,
}

impl RateLimit {
    /// Notes that the server has asked for a rest. Calls that were on their way together are told so together: that is once.
    pub(crate) fn note(&mut self, mono_ms: u64, asked_ms: u64, policy: &RetryPolicy, random: &mut dyn Rng) {
        let mut rest_ms = asked_ms;
        if self.until(mono_ms).is_none() {
            rest_ms = rest_ms.max(policy.delay_ms(self.times, random));
            self.times = self.times.saturating_add(1);
        }
        self.until_mono_ms = self.until_mono_ms.max(mono_ms.saturating_add(rest_ms));
    }

    /// Returns until when nothing may be sent.
    pub(crate) fn until(&self, mono_ms: u64) -> Option<u64> {
        Some(self.until_mono_ms).filter(|until_mono_ms| *until_mono_ms > mono_ms)
    }

    /// The server answers. The rest that it asked for it gets all the same.
    pub(crate) const fn forget(&mut self) {
        self.times = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng;

    #[test]
    fn waits_grow_to_the_cap_and_spread_over_the_whole_range() {
        let mut random = rand_pcg::Pcg64Mcg::from_seed([7; 16]);
        let policy = RetryPolicy::default();
        for (attempt, ceiling) in [(0, 1_000), (1, 2_000), (5, 32_000), (6, 60_000), (1_000, 60_000)] {
            let waits: Vec<u64> = (0..2_000).map(|_| policy.delay_ms(attempt, &mut random)).collect();
            assert!(waits.iter().all(|wait| (ceiling / 20..=ceiling).contains(wait)));
            assert!(waits.iter().any(|wait| *wait < ceiling / 10) && waits.iter().any(|wait| *wait > ceiling * 9 / 10));
        }
    }

    #[test]
    fn a_function_is_run_again_as_often_as_the_policy_says_and_while_nobody_can_be_asked_forever() {
        let mut random = rand_pcg::Pcg64Mcg::from_seed([7; 16]);
        let policy = RetryPolicy::default();
        let failed = |times, counted| Failed { times, counted };
        for failure in Failure::ALL {
            let mut again = |failed| policy.again_ms(failure, failed, 0, &mut random).is_some();
            let (first, last, forever) = (again(failed(1, 1)), again(failed(3, 3)), again(failed(4, 4)));
            let expected = match failure {
                Failure::Network | Failure::RateLimit => (true, true, true),
                Failure::Timeout | Failure::Server | Failure::Unknown => (true, true, false),
                Failure::Auth | Failure::Conflict | Failure::Forbidden | Failure::Invalid | Failure::Gone => {
                    (false, false, false)
                }
            };
            assert_eq!((first, last, forever), expected, "{failure:?}");
            assert_eq!(failure.counts(), expected == (true, true, false), "{failure:?}");
        }
        assert_eq!(policy.again_ms(Failure::RateLimit, failed(1, 0), 90_000, &mut random), Some(90_000));
        assert_eq!(policy.again_ms(Failure::Server, failed(1, 1), u64::MAX, &mut random), Some(AFTER_MS_MAX));
        assert!(policy.again_ms(Failure::Network, failed(1, 0), 0, &mut random).is_some_and(|wait| wait <= 1_000));
    }

    #[test]
    fn a_policy_that_cannot_work_is_refused() {
        let good = RetryPolicy::default();
        assert!(good.validate().is_ok());
        for bad in [
            RetryPolicy { backoff_multiplier: f64::NAN, ..good },
            RetryPolicy { backoff_multiplier: 0.5, ..good },
            RetryPolicy { retry_delay: 0, ..good },
            RetryPolicy { timeout: 0, ..good },
            RetryPolicy { max_retries: 101, ..good },
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }
}
