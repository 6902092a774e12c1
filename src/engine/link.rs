//! The connection to the backend: its states, its back-off, and what has to be pulled.
//!
//! Nothing is missed around a join, because a whole answer of the server's — a pull — always follows the server's word that
//! the stream is live. Only a leader (or a tab that is alone) has a link.

use rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::mark::mark;
use super::operation::OperationId;
use super::retry::{Failure, RetryPolicy};
use super::sabotage::sabotaged;
use super::sorted::{Named, SortedSet};
use super::table::{COVERS_MAX, Cover};
use super::time::Now;

/// How long a link may take to open.
pub const JOIN_TIMEOUT_MS: u64 = 15_000;

/// How long a link has to live before its earlier failures are forgotten.
pub const STABLE_MS: u64 = 60_000;

/// How long a pull may take.
pub const PULL_TIMEOUT_MS: u64 = 30_000;

/// How many records one pull may name, and how many pending operations it may ask for.
pub const PULL_KEYS_MAX: usize = 1_000;

/// How long the answer to a ping may take. Nothing else is heard of a link that is half open.
pub const PONG_MS: u64 = 10_000;

/// How long a fresh token is waited for before the link is opened with the one there is.
pub const TOKEN_WAIT_MS: u64 = 10_000;

/// How many records are asked for one by one; beyond that, everything is pulled.
pub const WANTED_KEYS_MAX: usize = 10 * PULL_KEYS_MAX;

/// How long another tab's word counts that somebody looks at its page. It is said again twice in that time.
pub(crate) const ATTENTION_MS: u64 = 60_000;

/// How many other tabs' pages are kept in mind.
const ONLOOKERS_MAX: usize = 256;

/// The longest interval that can be configured; an hour.
const INTERVAL_MS_MAX: u64 = 3_600_000;

/// What the waits between attempts to connect grow by: 1 s, doubled, up to a minute.
const RECONNECT: RetryPolicy =
    RetryPolicy { max_retries: u32::MAX, retry_delay: 1_000, backoff_multiplier: 2.0, timeout: JOIN_TIMEOUT_MS };

/// How the link is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct LinkConfig {
    /// How many attempts in a row, none of which led to a stable link, end the attempts; `None`: it is tried for ever.
    pub max_attempts: Option<u32>,
    /// After how much silence of the stream the server is asked whether it is there, in milliseconds; `None` or 0: never, as for
    /// a backend that has no such question.
    pub heartbeat_ms: Option<u64>,
    /// How often to pull while there is no stream; `None`: never.
    pub polling: Option<Polling>,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self { max_attempts: None, heartbeat_ms: Some(25_000), polling: Some(Polling::default()) }
    }
}

/// How often to pull while there is no stream, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Polling {
    /// While somebody works in the page.
    pub active_ms: u64,
    /// While the page is seen, but nobody touches it.
    pub idle_ms: u64,
    /// While the page is hidden.
    pub hidden_ms: u64,
}

impl Default for Polling {
    fn default() -> Self {
        Self { active_ms: 5_000, idle_ms: 30_000, hidden_ms: 120_000 }
    }
}

impl LinkConfig {
    /// Says what is wrong with it, if anything.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if self.max_attempts == Some(0) {
            return Err("link.maxAttempts must be at least 1; leave it out to try for ever".to_owned());
        }
        let heartbeat_ms = self.heartbeat_ms.unwrap_or(0);
        if heartbeat_ms != 0 && !(1_000..=INTERVAL_MS_MAX).contains(&heartbeat_ms) {
            return Err("link.heartbeatMs must be between 1000 and 3600000 ms, or 0 for none".to_owned());
        }
        if let Some(Polling { active_ms, idle_ms, hidden_ms }) = self.polling
            && (active_ms < 1_000 || active_ms > idle_ms || idle_ms > hidden_ms || hidden_ms > INTERVAL_MS_MAX)
        {
            return Err(
                "link.polling must have 1000 ms <= activeMs <= idleMs <= hiddenMs <= 3600000 ms, or be null".to_owned()
            );
        }
        Ok(())
    }
}

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
    /// There is no stream, but pulls get through.
    Degraded,
    /// Waiting for a fresh token.
    Paused,
    /// As many attempts as there may be have failed, and nobody has asked for more. Pulls go on.
    Stopped,
}

impl LinkState {
    /// What a tab of protocol 1 is told, which knows four states: those that it does not are to it what they were called then.
    pub(crate) const fn in_protocol_1(self) -> Self {
        match self {
            Self::Degraded | Self::Stopped => Self::Offline,
            Self::Offline | Self::Connecting | Self::Live | Self::Paused => self,
        }
    }
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
    /// How far the server's clock is ahead of this device's, in milliseconds, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_ahead_ms: Option<i64>,
}

/// Returns how long to wait after a number of failures in a row.
pub(crate) fn wait_ms(failures: u32, random: &mut dyn Rng) -> u64 {
    RECONNECT.delay_ms(failures, random)
}

/// What stands in for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fallback {
    /// Nothing has to: no attempt has failed since there was one.
    Unneeded,
    /// An attempt has failed, and no pull got through since.
    Wanted,
    /// Pulls do.
    Works,
}

/// Who is looking at the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attention {
    /// Somebody works in it.
    pub(crate) active: bool,
    /// It is shown.
    pub(crate) visible: bool,
}

impl Attention {
    /// Returns how long to wait between two pulls.
    pub(crate) const fn interval_ms(self, polling: &Polling) -> u64 {
        match (self.visible, self.active) {
            (false, _) => polling.hidden_ms,
            (true, true) => polling.active_ms,
            (true, false) => polling.idle_ms,
        }
    }
}

/// Who looks at the pages of the other tabs.
#[derive(Debug, Default)]
pub(crate) struct Onlookers(Vec<(String, Attention, u64)>);

impl Onlookers {
    /// Takes another tab's word, which counts until a moment of the monotonic clock; `None` when it closes.
    pub(crate) fn hear(&mut self, tab: &str, attention: Option<Attention>, until_mono_ms: u64) {
        self.0.retain(|(other, ..)| other != tab);
        if let Some(attention) = attention.filter(|attention| attention.visible) {
            if self.0.len() >= ONLOOKERS_MAX {
                self.0.remove(0);
            }
            self.0.push((tab.to_owned(), attention, until_mono_ms));
        }
    }

    /// Walks over those that count.
    pub(crate) fn now(&self, mono_ms: u64) -> impl Iterator<Item = Attention> {
        self.0.iter().filter(move |(.., until_mono_ms)| *until_mono_ms > mono_ms).map(|(_, attention, _)| *attention)
    }
}

/// The link of this tab.
#[derive(Debug)]
pub(crate) struct Link {
    status: LinkStatus,
    /// Where the socket is; pulls that get through beside it make of it what is shown.
    socket: LinkState,
    /// Why the socket is there.
    why: String,
    fallback: Fallback,
    attempts_max: Option<u32>,
    /// Counts the attempts; what belongs to an earlier one is dropped.
    attempt: u32,
    /// True while an attempt waits for a fresh token.
    awaits_token: bool,
    /// Failures since the link was last stable.
    failures: u32,
    /// True when this connection has lived for long enough.
    stable: bool,
    /// Attempts since then that led to no stable link.
    unstable_attempts: u32,
}

impl Link {
    pub(crate) fn new(wall_ms: u64, attempts_max: Option<u32>) -> Self {
        let status = LinkStatus {
            state: LinkState::Offline,
            why: "starting".to_owned(),
            since_ms: wall_ms,
            retry_at_ms: None,
            server_ahead_ms: None,
        };
        Self {
            status,
            socket: LinkState::Offline,
            why: String::new(),
            fallback: Fallback::Unneeded,
            attempts_max,
            attempt: 0,
            awaits_token: false,
            failures: 0,
            stable: false,
            unstable_attempts: 0,
        }
    }

    pub(crate) const fn status(&self) -> &LinkStatus {
        &self.status
    }

    /// True when the socket is there, whatever pulls make of it.
    pub(crate) fn is(&self, socket: LinkState) -> bool {
        self.socket == socket
    }

    /// The attempt under way.
    pub(crate) const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// True when a report is of the attempt under way.
    pub(crate) fn is_current(&self, attempt: u32) -> bool {
        self.attempt == attempt && !self.awaits_token && matches!(self.socket, LinkState::Connecting | LinkState::Live)
    }

    /// True while an attempt waits for a fresh token.
    pub(crate) fn awaits_token(&self) -> bool {
        self.awaits_token && self.is(LinkState::Connecting)
    }

    /// Takes a leader's word for where the link is.
    pub(crate) fn follow(&mut self, status: LinkStatus) {
        self.status = status;
    }

    /// Notes how far the server's clock is ahead.
    pub(crate) const fn note_server_ahead(&mut self, ahead_ms: i64) {
        self.status.server_ahead_ms = Some(ahead_ms);
    }

    /// Another tab has the link now. What is shown stays, until that one says.
    pub(crate) const fn give_up(&mut self) {
        (self.socket, self.fallback, self.awaits_token) = (LinkState::Offline, Fallback::Unneeded, false);
    }

    /// Starts an attempt, and returns its number.
    pub(crate) fn connect(&mut self, awaits_token: bool, wall_ms: u64) -> u32 {
        self.attempt = self.attempt.wrapping_add(1);
        (self.stable, self.awaits_token) = (false, awaits_token);
        self.enter(LinkState::Connecting, String::new(), wall_ms, None);
        self.attempt
    }

    /// The attempt under way need not wait for a token any longer.
    pub(crate) const fn go_on(&mut self) {
        self.awaits_token = false;
    }

    pub(crate) fn live(&mut self, wall_ms: u64) {
        self.fallback = Fallback::Unneeded;
        self.enter(LinkState::Live, String::new(), wall_ms, None);
    }

    pub(crate) fn pause(&mut self, why: String, wall_ms: u64, retry_at_ms: Option<u64>) {
        self.enter(LinkState::Paused, why, wall_ms, retry_at_ms);
    }

    /// Notes a failure. Returns how long to wait before the next attempt; `None` when there is to be none.
    pub(crate) fn close(&mut self, why: String, wall_ms: u64, random: &mut dyn Rng) -> Option<u64> {
        let delay_ms = wait_ms(self.failures, random);
        self.failures = self.failures.saturating_add(1);
        if self.is(LinkState::Connecting) && self.fallback == Fallback::Unneeded {
            self.fallback = Fallback::Wanted;
        }
        if !self.stable {
            self.unstable_attempts = self.unstable_attempts.saturating_add(1);
        }
        if self.attempts_max.is_some_and(|max| self.unstable_attempts >= max) {
            self.enter(LinkState::Stopped, why, wall_ms, None);
            return None;
        }
        self.enter(LinkState::Offline, why, wall_ms, Some(wall_ms.saturating_add(delay_ms)));
        Some(delay_ms)
    }

    /// Notes whether the server could be reached beside the stream.
    pub(crate) fn note_pull(&mut self, reached: bool, wall_ms: u64) {
        if self.fallback == Fallback::Unneeded {
            return;
        }
        self.fallback = if reached { Fallback::Works } else { Fallback::Wanted };
        self.show(wall_ms, self.status.retry_at_ms);
    }

    /// Says what is wrong although the stream is live, or that nothing is any more.
    pub(crate) fn explain(&mut self, why: String) {
        if self.is(LinkState::Live) {
            self.status.why = why;
        }
    }

    /// The link has lived for long enough.
    pub(crate) const fn settle(&mut self) {
        self.stable = true;
        self.forget_failures();
    }

    pub(crate) const fn forget_failures(&mut self) {
        (self.failures, self.unstable_attempts) = (0, 0);
    }

    fn enter(&mut self, socket: LinkState, why: String, wall_ms: u64, retry_at_ms: Option<u64>) {
        // What broke the stream is still why there is none while the next one is being opened.
        if socket != LinkState::Connecting || self.fallback == Fallback::Unneeded {
            self.why = why;
        }
        self.socket = socket;
        self.show(wall_ms, retry_at_ms);
    }

    /// Makes of the socket and the pulls what is shown.
    fn show(&mut self, wall_ms: u64, retry_at_ms: Option<u64>) {
        let state = match self.socket {
            LinkState::Offline | LinkState::Connecting if self.fallback == Fallback::Works => LinkState::Degraded,
            socket => socket,
        };
        let since_ms = if self.status.state == state { self.status.since_ms } else { wall_ms };
        let why = if state == LinkState::Connecting { String::new() } else { self.why.clone() };
        let server_ahead_ms = self.status.server_ahead_ms;
        self.status = LinkStatus { state, why, since_ms, retry_at_ms, server_ahead_ms };
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
    /// The next page of an answer that came in pages, as the page before it named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// How many pages one pull may have. One that has more starts over, more slowly.
pub const PAGES_MAX: u32 = 10_000;

/// How long the name of a page may be, in bytes.
const PAGE_BYTES_MAX: usize = 10_000;

/// How often in a row a page is asked for in vain before its pull starts over.
const PAGE_FAILURES_MAX: u32 = 5;

/// What was asked for, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PullUnderWay {
    pub(crate) id: u32,
    pub(crate) by_keys: bool,
    /// The count of arrivals when it began: what arrived later is not covered by it.
    pub(crate) arrivals: u64,
    pub(crate) is_page: bool,
    pub(crate) asked: Now,
}

/// What to ask for.
#[derive(Debug, PartialEq)]
pub(crate) struct Asking {
    pub(crate) id: u32,
    /// The records that it names, if it names any.
    pub(crate) keys: Option<Named<Vec<String>>>,
    pub(crate) page: Option<String>,
}

/// What one page says beside its rows.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) whole: bool,
    pub(crate) cursor: Option<String>,
    pub(crate) covers: Vec<Cover>,
    pub(crate) next: Option<String>,
    /// The counts of arrivals when it was asked for and when it came: what arrived between was told by others.
    pub(crate) heard: (u64, u64),
    /// The count once its rows were taken in.
    pub(crate) taken: u64,
}

/// What a pull brought with all its pages.
#[derive(Debug)]
pub(crate) struct Brought {
    /// That of the first page: what changed while the others came is found by the next pull.
    pub(crate) cursor: Option<String>,
    pub(crate) whole: bool,
    pub(crate) covers: Vec<Cover>,
    /// The count of arrivals when the first page was asked for.
    pub(crate) arrivals: u64,
    /// From when to when, in that count, the pull waited for a page: everything but the rows of its pages.
    pub(crate) heard: Vec<(u64, u64)>,
}

/// What follows a page.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Another one.
    Next,
    /// Nothing: it was the last.
    Last(Brought),
    /// It starts over, later: it had more pages, or larger names for them, than any pull may have.
    TooMany,
}

/// A pull of which some pages are there.
#[derive(Debug)]
struct Paging {
    next: String,
    pages: u32,
    failures: u32,
    /// The count of arrivals once the last page's rows were taken in.
    taken: u64,
    brought: Brought,
}

/// What has to be pulled: one pull at a time, and another one if something came up meanwhile.
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
#[derive(Debug, Default)]
pub(crate) struct Puller {
    pub(crate) cursor: Option<String>,
    last_id: u32,
    under_way: Option<PullUnderWay>,
    wanted: bool,
    /// True when the next pull is to bring everything, wherever this one stands by then.
    wanted_whole: bool,
    wanted_keys: SortedSet<(String, String)>,
    /// The records that the pull under way names.
    asked_keys: SortedSet<(String, String)>,
    paging: Option<Paging>,
    /// True when the last pull was by keys: between two of those there is a page.
    keys_were_last: bool,
    failures: u32,
    /// The last call that could tell found the server there.
    pub(crate) works: bool,
}

impl Puller {
    pub(crate) const fn want(&mut self) {
        self.wanted = true;
    }

    pub(crate) fn want_key(&mut self, table: &str, key: &str) {
        if self.wanted_keys.len() < WANTED_KEYS_MAX {
            self.wanted_keys.insert((table.to_owned(), key.to_owned()));
        } else {
            // So many at once that asking for everything is the shorter question.
            self.wanted_keys.clear();
            (self.wanted, self.wanted_whole) = (true, true);
        }
    }

    /// True while records are to be looked up one by one.
    pub(crate) fn wants_keys(&self) -> bool {
        !self.wanted_keys.is_empty() || !self.asked_keys.is_empty()
    }

    /// Starts the next pull, if one is wanted and none is under way.
    pub(crate) fn begin(&mut self, arrivals: u64, now: Now) -> Option<Asking> {
        if self.under_way.is_some() {
            return None;
        }
        let has_keys = !self.wanted_keys.is_empty();
        let page = self.paging.as_ref().filter(|_| !has_keys || self.keys_were_last).map(|paging| paging.next.clone());
        let by_keys = has_keys && page.is_none() && (!self.wanted || self.paging.is_some());
        if page.is_none() && !by_keys && !self.wanted {
            return None;
        }
        let id = self.last_id.wrapping_add(1);
        self.last_id = id;
        self.keys_were_last = by_keys;
        self.under_way = Some(PullUnderWay { id, by_keys, arrivals, is_page: page.is_some(), asked: now });
        if !by_keys {
            if page.is_some() {
                mark!(PageAsked);
            }
            self.wanted &= page.is_some();
            if page.is_none() && std::mem::take(&mut self.wanted_whole) {
                self.cursor = None;
            }
            return Some(Asking { id, keys: None, page });
        }
        if self.paging.is_some() {
            mark!(KeysBetweenPages);
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
        Some(Asking { id, keys: Some(keys), page })
    }

    /// Ends the pull under way, if this is it.
    pub(crate) fn end(&mut self, id: u32) -> Option<PullUnderWay> {
        let under_way = self.under_way.take_if(|pull| pull.id == id)?;
        (self.failures, self.works) = (0, true);
        self.asked_keys.clear();
        Some(under_way)
    }

    /// Puts a page to those before it. A pull by keys has one.
    pub(crate) fn turn(&mut self, asked: &PullUnderWay, page: Page) -> Turn {
        let Page { whole, cursor, mut covers, next, heard, taken } = page;
        let before = if asked.is_page { self.paging.take() } else { None };
        let pages = before.as_ref().map_or(1, |paging| paging.pages.saturating_add(1));
        let brought = match before {
            Some(Paging { brought, taken: before, .. }) => {
                let mut all = brought.covers;
                covers.retain(|cover| !all.contains(cover));
                all.append(&mut covers);
                let mut waits = brought.heard;
                // Whatever came since the page before: its answers, what was told while it was asked for in vain.
                waits.push((before, heard.1));
                // One page that can't be relied on, and the whole can't.
                Brought {
                    whole: brought.whole && whole,
                    covers: all,
                    heard: waits,
                    cursor: if sabotaged!(CursorOfLastPage) {
                        cursor
                    } else {
                        brought.cursor.filter(|_| cursor.is_some())
                    },
                    ..brought
                }
            }
            None => Brought { cursor, whole, covers, arrivals: asked.arrivals, heard: vec![heard] },
        };
        if brought.covers.len() > COVERS_MAX {
            self.wanted |= !asked.by_keys;
            return Turn::TooMany;
        }
        match next.filter(|_| !asked.by_keys) {
            None => Turn::Last(brought),
            Some(next) if pages < PAGES_MAX && next.len() <= PAGE_BYTES_MAX => {
                self.paging = Some(Paging { next, pages, failures: 0, taken, brought });
                Turn::Next
            }
            Some(_) => {
                mark!(PagesTooMany);
                self.wanted = true;
                Turn::TooMany
            }
        }
    }

    /// Notes that a pull failed: everything it was to bring is wanted again. Returns how long to wait.
    pub(crate) fn fail(&mut self, id: u32, failure: Failure, random: &mut dyn Rng) -> Option<u64> {
        let under_way = self.under_way.take_if(|pull| pull.id == id)?;
        self.works = false;
        if !self.asked_keys.is_empty() {
            mark!(PullWithKeysFailed);
        }
        if under_way.is_page {
            self.fail_page(failure);
        } else {
            // One from the cursor comes first, but it does not stand for a pull by keys: a cursor that is past the end of a
            // record does not tell of that end, and an event from before it may still be on its way.
            self.wanted = true;
        }
        for (table, key) in std::mem::take(&mut self.asked_keys) {
            self.want_key(&table, &key);
        }
        Some(self.delay_ms(random))
    }

    /// A page is asked for again, unless the server no longer knows it: then the whole pull starts over.
    fn fail_page(&mut self, failure: Failure) {
        let Some(paging) = &mut self.paging else { return };
        mark!(PageFailed);
        paging.failures += u32::from(!matches!(failure, Failure::Network | Failure::Auth));
        if matches!(failure, Failure::Gone | Failure::Invalid) || paging.failures >= PAGE_FAILURES_MAX {
            self.start_over();
        }
    }

    /// Returns how long to wait after one more failure.
    pub(crate) fn delay_ms(&mut self, random: &mut dyn Rng) -> u64 {
        let delay_ms = RECONNECT.delay_ms(self.failures, random);
        self.failures = self.failures.saturating_add(1);
        delay_ms
    }

    /// Forgets where the server's answers stood: everything is wanted again, and what is under way counts no more.
    pub(crate) fn start_over(&mut self) {
        if self.paging.is_some() {
            mark!(PagesStartOver);
        }
        (self.paging, self.wanted) = (None, true);
    }

    /// The same for somebody who may see other things now: not even the cursor counts.
    pub(crate) fn look_anew(&mut self) {
        (self.cursor, self.under_way) = (None, None);
        for key in std::mem::take(&mut self.asked_keys) {
            self.wanted_keys.insert(key);
        }
        self.start_over();
    }

    /// Returns the number of the last pull that began.
    pub(crate) const fn last_id(&self) -> u32 {
        self.last_id
    }

    /// True when the pull under way says how a record is, and began after an earlier one.
    pub(crate) fn covers(&self, table: &str, key: &str, after: u32) -> bool {
        let Some(pull) = &self.under_way else { return false };
        let is_later = pull.id != after && pull.id.wrapping_sub(after) < u32::MAX / 2;
        is_later && (!pull.by_keys || self.asked_keys.contains(&(table.to_owned(), key.to_owned())))
    }

    pub(crate) fn id_under_way(&self) -> Option<u32> {
        self.under_way.map(|pull| pull.id)
    }

    /// Forgets what was asked: the tab no longer leads. What was still to be looked up is not covered by the cursor.
    pub(crate) fn abandon(&mut self) {
        if self.wants_keys() {
            self.cursor = None;
        }
        (self.under_way, self.paging) = (None, None);
        (self.wanted, self.wanted_whole) = (false, false);
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
        let mut link = Link::new(0, None);
        let first = link.connect(false, 1);
        let second = link.connect(false, 2);
        assert!(!link.is_current(first));
        assert!(link.is_current(second));
        link.close("gone".into(), 3, &mut rand_pcg::Pcg64Mcg::from_seed([1; 16]));
        assert!(!link.is_current(second));
    }

    #[test]
    fn the_wait_grows_with_each_failure_until_a_stable_link_resets_it() {
        let mut random = rand_pcg::Pcg64Mcg::from_seed([1; 16]);
        let mut link = Link::new(0, None);
        for _ in 0..10 {
            link.connect(false, 0);
            link.close(String::new(), 0, &mut random);
        }
        let late = (0..50).filter_map(|_| link.close(String::new(), 0, &mut random)).max().unwrap();
        assert!(late > 30_000 && late <= 60_000, "{late}");
        link.forget_failures();
        assert!(link.close(String::new(), 0, &mut random).unwrap() <= 1_000);
    }

    #[test]
    fn attempts_are_used_up_by_links_that_never_became_stable_and_by_those_alone() {
        let mut random = rand_pcg::Pcg64Mcg::from_seed([1; 16]);
        let mut link = Link::new(0, Some(2));
        for _ in 0..10 {
            link.connect(false, 0);
            link.live(0);
            link.settle();
            assert!(link.close(String::new(), 0, &mut random).is_some());
        }
        link.connect(false, 0);
        link.live(0);
        assert!(link.close(String::new(), 0, &mut random).is_some());
        link.connect(false, 0);
        assert!(link.close(String::new(), 0, &mut random).is_none());
        assert_eq!(link.status().state, LinkState::Stopped);
    }

    #[test]
    fn a_link_that_can_not_work_as_configured_is_refused_and_says_which_part() {
        let good = LinkConfig::default();
        let polling = Polling::default();
        assert_eq!(good.validate(), Ok(()));
        assert_eq!(LinkConfig { max_attempts: Some(1), heartbeat_ms: Some(0), polling: None }.validate(), Ok(()));
        for (part, bad) in [
            ("link.maxAttempts", LinkConfig { max_attempts: Some(0), ..good }),
            ("link.heartbeatMs", LinkConfig { heartbeat_ms: Some(999), ..good }),
            ("link.heartbeatMs", LinkConfig { heartbeat_ms: Some(3_600_001), ..good }),
            ("link.polling", LinkConfig { polling: Some(Polling { active_ms: 0, ..polling }), ..good }),
            ("link.polling", LinkConfig { polling: Some(Polling { active_ms: 40_000, ..polling }), ..good }),
            ("link.polling", LinkConfig { polling: Some(Polling { idle_ms: 200_000, ..polling }), ..good }),
            ("link.polling", LinkConfig { polling: Some(Polling { hidden_ms: u64::MAX, ..polling }), ..good }),
        ] {
            assert!(bad.validate().unwrap_err().starts_with(part), "{bad:?}");
        }
    }

    #[test]
    fn too_many_records_to_name_are_pulled_with_everything_else_whatever_pull_is_under_way() {
        let mut puller = Puller { cursor: Some("1:7".into()), ..Puller::default() };
        puller.want();
        let id = puller.begin(0, Now::default()).unwrap().id;
        for n in 0..=WANTED_KEYS_MAX {
            puller.want_key("jobs", &n.to_string());
        }
        assert!(puller.wanted_keys.len() <= WANTED_KEYS_MAX);
        puller.end(id).unwrap();
        puller.cursor = Some("1:9".into());
        assert_eq!(puller.begin(0, Now::default()).unwrap().keys, None);
        assert_eq!(puller.cursor, None);
    }

    #[test]
    fn what_was_never_looked_up_is_not_covered_by_the_cursor_of_whoever_gave_up() {
        let mut puller = Puller { cursor: Some("0:7".into()), ..Puller::default() };
        puller.abandon();
        assert_eq!(puller.cursor.as_deref(), Some("0:7"));
        puller.want_key("jobs", "1");
        puller.abandon();
        assert_eq!(puller.cursor, None);
    }

    #[test]
    fn one_pull_at_a_time_and_another_when_something_came_up_meanwhile() {
        let mut puller = Puller::default();
        puller.want();
        let first = puller.begin(0, Now::default()).unwrap().id;
        puller.want();
        assert!(puller.begin(0, Now::default()).is_none());
        assert!(puller.end(first + 1).is_none());
        assert!(puller.end(first).is_some());
        assert!(puller.begin(0, Now::default()).is_some());
    }

    #[test]
    fn a_failed_pull_by_keys_follows_a_pull_from_the_cursor() {
        let mut puller = Puller::default();
        puller.want_key("jobs", "1");
        let first = puller.begin(0, Now::default()).unwrap();
        assert_eq!(first.keys.unwrap()["jobs"], ["1"]);
        puller.fail(first.id, Failure::Server, &mut random()).unwrap();
        let second = puller.begin(0, Now::default()).unwrap();
        assert_eq!(second.keys, None);
        puller.end(second.id).unwrap();
        assert_eq!(puller.begin(0, Now::default()).unwrap().keys.unwrap()["jobs"], ["1"]);
    }

    fn random() -> rand_pcg::Pcg64Mcg {
        rand_pcg::Pcg64Mcg::from_seed([1; 16])
    }

    fn page(cursor: Option<&str>, next: Option<&str>) -> Page {
        let (cursor, next) = (cursor.map(str::to_owned), next.map(str::to_owned));
        Page { whole: true, cursor, covers: vec![], next, heard: (0, 0), taken: 0 }
    }

    /// Asks once, and gets a page.
    fn bring(puller: &mut Puller, arrivals: u64, page: Page) -> (Asking, Turn) {
        let asking = puller.begin(arrivals, Now::default()).unwrap();
        let asked = puller.end(asking.id).unwrap();
        (asking, puller.turn(&asked, page))
    }

    #[test]
    fn the_cursor_and_the_beginning_of_a_pull_are_those_of_its_first_page() {
        let mut puller = Puller::default();
        puller.want();
        assert!(matches!(bring(&mut puller, 7, page(Some("a"), Some("p2"))), (Asking { page: None, .. }, Turn::Next)));
        let (second, turn) = bring(&mut puller, 9, page(Some("b"), None));
        assert_eq!(second.page.as_deref(), Some("p2"));
        let Turn::Last(brought) = turn else { panic!("there is no third page") };
        assert_eq!((brought.cursor.as_deref(), brought.arrivals, brought.whole), (Some("a"), 7, true));
        assert_eq!(puller.begin(9, Now::default()), None);
    }

    #[test]
    fn one_page_that_is_not_whole_or_not_sound_spoils_the_whole() {
        let mut puller = Puller::default();
        puller.want();
        bring(&mut puller, 0, page(Some("a"), Some("p2")));
        let (_, turn) = bring(&mut puller, 0, Page { whole: false, ..page(None, None) });
        let Turn::Last(brought) = turn else { panic!("there is no third page") };
        assert_eq!((brought.cursor, brought.whole), (None, false));
    }

    #[test]
    fn between_two_pages_there_is_room_for_records_that_are_wanted_by_key_but_not_for_ever() {
        let mut puller = Puller::default();
        puller.want();
        bring(&mut puller, 0, page(Some("a"), Some("p2")));
        puller.want_key("jobs", "1");
        let keys = puller.begin(0, Now::default()).unwrap();
        assert!(keys.keys.is_some() && keys.page.is_none());
        puller.want_key("jobs", "2");
        let asked = puller.end(keys.id).unwrap();
        assert!(matches!(puller.turn(&asked, page(None, Some("ignored"))), Turn::Last(_)));
        assert_eq!(puller.begin(0, Now::default()).unwrap().page.as_deref(), Some("p2"));
    }

    #[test]
    fn a_page_that_fails_is_asked_for_again_and_one_that_the_server_no_longer_knows_starts_the_pull_over() {
        for (failure, again) in [(Failure::Server, Some("p2")), (Failure::Gone, None), (Failure::Invalid, None)] {
            let mut puller = Puller::default();
            puller.want();
            bring(&mut puller, 0, page(Some("a"), Some("p2")));
            let id = puller.begin(0, Now::default()).unwrap().id;
            puller.fail(id, failure, &mut random()).unwrap();
            assert_eq!(puller.begin(0, Now::default()).unwrap().page.as_deref(), again, "{failure:?}");
        }
    }

    #[test]
    fn a_page_that_never_comes_is_not_asked_for_for_ever() {
        let mut puller = Puller::default();
        puller.want();
        bring(&mut puller, 0, page(Some("a"), Some("p2")));
        let mut asked = 0;
        while let Some(Asking { id, page: Some(_), .. }) = puller.begin(0, Now::default()) {
            asked += 1;
            puller.fail(id, Failure::Timeout, &mut random()).unwrap();
        }
        assert_eq!(asked, PAGE_FAILURES_MAX);
    }

    #[test]
    fn a_pull_has_a_bound_of_pages_and_then_starts_over() {
        let mut puller = Puller::default();
        puller.want();
        let mut pages = 1;
        while let (_, Turn::Next) = bring(&mut puller, 0, page(Some("a"), Some("more"))) {
            pages += 1;
        }
        assert_eq!(pages, PAGES_MAX);
        assert_eq!(puller.begin(0, Now::default()).unwrap().page, None);
        let mut puller = Puller::default();
        puller.want();
        let long = "x".repeat(PAGE_BYTES_MAX + 1);
        assert!(matches!(bring(&mut puller, 0, page(Some("a"), Some(&long))), (_, Turn::TooMany)));
    }
}
