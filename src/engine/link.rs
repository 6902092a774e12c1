//! The connection to the backend: its states, its back-off, and what has to be pulled.
//!
//! Nothing is missed around a join, because a whole answer of the server's — a pull — always follows the server's word that
//! the stream is live. Only a leader (or a tab that is alone) has a link.

use rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::mark::mark;
use super::operation::OperationId;
use super::retry::{Failure, RetryPolicy};
use super::sorted::{Named, SortedSet};

/// How long a link may take to open.
pub const JOIN_TIMEOUT_MS: u64 = 15_000;

/// How long a link has to live before its earlier failures are forgotten.
pub const STABLE_MS: u64 = 60_000;

/// How long a pull may take.
pub const PULL_TIMEOUT_MS: u64 = 30_000;

/// How many records one pull may name, and how many pending operations it may ask for.
pub const PULL_KEYS_MAX: usize = 1_000;

/// What the waits between attempts to connect grow by: 1 s, doubled, up to a minute.
const RECONNECT: RetryPolicy =
    RetryPolicy { max_retries: u32::MAX, retry_delay: 1_000, backoff_multiplier: 2.0, timeout: JOIN_TIMEOUT_MS };

/// Where the link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LinkState {
    /// Not connected; waiting to try again, or for a leader to say.
    Offline,
    /// Being opened.
    Connecting,
    /// The server has said that the stream is live.
    Live,
    /// Waiting for a fresh token.
    Paused,
}

/// The link as users see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkStatus {
    /// Where it is.
    pub state: LinkState,
    /// Why, for a person; empty when all is well.
    pub why: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// When the next attempt is due, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at_ms: Option<u64>,
}

/// Returns how long to wait after a number of failures in a row.
pub(crate) fn wait_ms(failures: u32, random: &mut dyn Rng) -> u64 {
    RECONNECT.delay_ms(failures, random)
}

/// The link of this tab.
#[derive(Debug)]
pub(crate) struct Link {
    status: LinkStatus,
    /// Counts the attempts; what belongs to an earlier one is dropped.
    attempt: u32,
    /// Failures since the link was last stable.
    failures: u32,
}

impl Link {
    pub(crate) fn new(wall_ms: u64) -> Self {
        let status =
            LinkStatus { state: LinkState::Offline, why: "starting".to_owned(), since_ms: wall_ms, retry_at_ms: None };
        Self { status, attempt: 0, failures: 0 }
    }

    pub(crate) const fn status(&self) -> &LinkStatus {
        &self.status
    }

    pub(crate) fn is(&self, state: LinkState) -> bool {
        self.status.state == state
    }

    /// True when a report is of the attempt under way.
    pub(crate) fn is_current(&self, attempt: u32) -> bool {
        self.attempt == attempt && matches!(self.status.state, LinkState::Connecting | LinkState::Live)
    }

    /// Takes a leader's word for where the link is.
    pub(crate) fn follow(&mut self, status: LinkStatus) -> bool {
        let changed = self.status != status;
        self.status = status;
        changed
    }

    /// Starts an attempt, and returns its number.
    pub(crate) fn connect(&mut self, wall_ms: u64) -> u32 {
        self.attempt = self.attempt.wrapping_add(1);
        self.enter(LinkState::Connecting, String::new(), wall_ms, None);
        self.attempt
    }

    pub(crate) fn live(&mut self, wall_ms: u64) {
        self.enter(LinkState::Live, String::new(), wall_ms, None);
    }

    pub(crate) fn pause(&mut self, why: String, wall_ms: u64, retry_at_ms: Option<u64>) {
        self.enter(LinkState::Paused, why, wall_ms, retry_at_ms);
    }

    /// Notes a failure, and returns how long to wait before the next attempt.
    pub(crate) fn close(&mut self, why: String, wall_ms: u64, random: &mut dyn Rng) -> u64 {
        let delay_ms = wait_ms(self.failures, random);
        self.failures = self.failures.saturating_add(1);
        self.enter(LinkState::Offline, why, wall_ms, Some(wall_ms + delay_ms));
        delay_ms
    }

    /// Says what is wrong although the stream is live, or that nothing is any more.
    pub(crate) fn explain(&mut self, why: String) {
        if self.is(LinkState::Live) {
            self.status.why = why;
        }
    }

    pub(crate) const fn forget_failures(&mut self) {
        self.failures = 0;
    }

    fn enter(&mut self, state: LinkState, why: String, wall_ms: u64, retry_at_ms: Option<u64>) {
        let since_ms = if self.status.state == state { self.status.since_ms } else { wall_ms };
        self.status = LinkStatus { state, why, since_ms, retry_at_ms };
    }
}

/// What to ask a server for. The shape is that of `PROTOCOL.md` §5.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullRequest {
    /// The wire protocol.
    pub protocol: u32,
    /// Which tables.
    pub tables: Vec<String>,
    /// Where the client stands; null asks for everything.
    pub cursor: Option<String>,
    /// Exactly these records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Named<Vec<String>>>,
    /// The unsettled operations.
    pub pending: Vec<OperationId>,
}

/// What was asked for, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PullUnderWay {
    pub(crate) id: u32,
    pub(crate) by_keys: bool,
    /// The count of arrivals when it began: what arrived later is not covered by it.
    pub(crate) arrivals: u64,
}

/// What has to be pulled: one pull at a time, and another one if something came up meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Puller {
    pub(crate) cursor: Option<String>,
    last_id: u32,
    under_way: Option<PullUnderWay>,
    wanted: bool,
    wanted_keys: SortedSet<(String, String)>,
    /// The records that the pull under way names.
    asked_keys: SortedSet<(String, String)>,
    failures: u32,
}

impl Puller {
    pub(crate) const fn want(&mut self) {
        self.wanted = true;
    }

    pub(crate) fn want_key(&mut self, table: &str, key: &str) {
        self.wanted_keys.insert((table.to_owned(), key.to_owned()));
    }

    /// True while records are to be looked up one by one.
    pub(crate) fn wants_keys(&self) -> bool {
        !self.wanted_keys.is_empty() || !self.asked_keys.is_empty()
    }

    /// Starts the next pull, if one is wanted and none is under way. Says which records it names, if it names any.
    pub(crate) fn begin(&mut self, arrivals: u64) -> Option<(u32, Option<Named<Vec<String>>>)> {
        if self.under_way.is_some() || (!self.wanted && self.wanted_keys.is_empty()) {
            return None;
        }
        self.last_id = self.last_id.wrapping_add(1);
        let by_keys = !self.wanted;
        self.under_way = Some(PullUnderWay { id: self.last_id, by_keys, arrivals });
        if !by_keys {
            self.wanted = false;
            return Some((self.last_id, None));
        }
        let mut keys: Named<Vec<String>> = Named::new();
        // By table, and then by key.
        for (table, key) in self.wanted_keys.take_first(PULL_KEYS_MAX) {
            self.asked_keys.insert((table.clone(), key.clone()));
            match keys.get_mut(&table) {
                Some(list) => list.push(key),
                None => drop(keys.insert(table, vec![key])),
            }
        }
        Some((self.last_id, Some(keys)))
    }

    /// Ends the pull under way, if this is it.
    pub(crate) fn end(&mut self, id: u32) -> Option<PullUnderWay> {
        let under_way = self.under_way.take_if(|pull| pull.id == id)?;
        self.failures = 0;
        self.asked_keys.clear();
        Some(under_way)
    }

    /// Notes that a pull failed: everything it was to bring is wanted again. Returns how long to wait.
    pub(crate) fn fail(&mut self, id: u32, random: &mut dyn Rng) -> Option<u64> {
        self.under_way.take_if(|pull| pull.id == id)?;
        // One from the cursor comes first, but it does not stand for a pull by keys: a cursor that is past the end of a
        // record does not tell of that end, and an event from before it may still be on its way.
        self.wanted = true;
        if !self.asked_keys.is_empty() {
            mark!(PullWithKeysFailed);
        }
        for key in std::mem::take(&mut self.asked_keys) {
            self.wanted_keys.insert(key);
        }
        let delay_ms = RECONNECT.delay_ms(self.failures, random);
        self.failures = self.failures.saturating_add(1);
        Some(delay_ms)
    }

    pub(crate) fn id_under_way(&self) -> Option<u32> {
        self.under_way.map(|pull| pull.id)
    }

    /// Forgets what was asked: the tab no longer leads.
    pub(crate) fn abandon(&mut self) {
        self.under_way = None;
        self.wanted = false;
        self.wanted_keys.clear();
        self.asked_keys.clear();
    }
}

/// Whether operations may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// The server was not reached: wait for the link, or until this moment of the monotonic clock.
    Network {
        until_mono_ms: u64,
    },
    /// The token was refused: wait for a fresh one.
    Auth,
}

/// Returns a person's words for a failure.
pub(crate) fn describe(failure: Failure, message: &str) -> String {
    if message.is_empty() { failure.code().to_owned() } else { format!("{}: {message}", failure.code()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng;

    #[test]
    fn reports_of_an_earlier_attempt_are_not_current() {
        let mut link = Link::new(0);
        let first = link.connect(1);
        let second = link.connect(2);
        assert!(!link.is_current(first));
        assert!(link.is_current(second));
        link.close("gone".into(), 3, &mut rand_pcg::Pcg64Mcg::from_seed([1; 16]));
        assert!(!link.is_current(second));
    }

    #[test]
    fn the_wait_grows_with_each_failure_until_a_stable_link_resets_it() {
        let mut random = rand_pcg::Pcg64Mcg::from_seed([1; 16]);
        let mut link = Link::new(0);
        for _ in 0..10 {
            link.connect(0);
            link.close(String::new(), 0, &mut random);
        }
        let late = (0..50).map(|_| link.close(String::new(), 0, &mut random)).max().unwrap();
        assert!(late > 30_000 && late <= 60_000, "{late}");
        link.forget_failures();
        assert!(link.close(String::new(), 0, &mut random) <= 1_000);
    }

    #[test]
    fn one_pull_at_a_time_and_another_when_something_came_up_meanwhile() {
        let mut puller = Puller::default();
        puller.want();
        let (first, _) = puller.begin(0).unwrap();
        puller.want();
        assert!(puller.begin(0).is_none());
        assert!(puller.end(first + 1).is_none());
        assert!(puller.end(first).is_some());
        assert!(puller.begin(0).is_some());
    }

    #[test]
    fn a_failed_pull_by_keys_follows_a_pull_from_the_cursor() {
        let mut puller = Puller::default();
        puller.want_key("jobs", "1");
        let (id, keys) = puller.begin(0).unwrap();
        assert_eq!(keys.unwrap()["jobs"], ["1"]);
        puller.fail(id, &mut rand_pcg::Pcg64Mcg::from_seed([1; 16])).unwrap();
        let (id, keys) = puller.begin(0).unwrap();
        assert_eq!(keys, None);
        puller.end(id).unwrap();
        assert_eq!(puller.begin(0).unwrap().1.unwrap()["jobs"], ["1"]);
    }
}
