//! What the world tells the engine: facts, and people's commands. All are data, so a list of them is a trace.
//!
//! Variants are tagged from outside (`{"linkLive": {"attempt": 1}}`): a tag inside would make the reader buffer the
//! content, and records held by reference would not survive that.

#![allow(missing_docs, reason = "a variant's line speaks for its members")]

use serde::{Deserialize, Serialize};

use super::link::{LinkConfig, PullRequest};
use super::operation::{Answer, OperationId, Version};
use super::outbox::CONCURRENCY;
use super::output::{Durability, Reach};
use super::presence::{Peer, Presence};
use super::retry::{Failure, RetryPolicy};
use super::stored::FoundEntry;
use super::table::{Cover, Row, TableConfig};
use super::tabs::TabMessage;
use super::value::{Fields, Value};
use super::view::ViewSpec;

/// What an engine is made for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The application's name.
    pub app: String,
    /// The user's id.
    pub user: String,
    /// The tables.
    pub tables: Vec<TableConfig>,
    /// How to retry.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// How many inputs are recorded; none by default.
    #[serde(default)]
    pub trace: usize,
    /// How the link is kept.
    #[serde(default)]
    pub link: LinkConfig,
    /// Holds the tab back at an earlier protocol of tab messages; `None`: the latest.
    #[serde(default)]
    pub tab_protocol: Option<u32>,
    /// How many operations may be on their way at once, each of another record.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// True when the server keeps a ledger of operation ids, so that sending one again has no further effect.
    #[serde(default = "yes")]
    pub idempotent: bool,
    /// How many operations a call may hold, each for itself. Without a ledger each goes alone, whatever is said here.
    #[serde(default = "one")]
    pub batch: usize,
}

const fn default_concurrency() -> usize {
    CONCURRENCY
}

const fn yes() -> bool {
    true
}

const fn one() -> usize {
    1
}

/// What a person wants done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Command {
    /// `insert`, `patch`, `delete`, or a named operation.
    pub name: String,
    /// The record's table.
    pub table: String,
    /// The record's key; for an insert it is taken from the record.
    #[serde(default)]
    pub key: Option<String>,
    /// The arguments of a named operation.
    #[serde(default)]
    pub args: Fields,
    /// The fields to set; for an insert, the record.
    #[serde(default)]
    pub set: Fields,
    /// Operations that it depends on: it is not sent before they are confirmed, and ends with them if they are not.
    #[serde(default)]
    pub after: Vec<OperationId>,
}

/// What a person decides on a conflict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Choice {
    /// What this person had wanted, over whatever the others did since.
    Local,
    /// What the server has: the change is given up.
    Server,
    /// The merge that the conflict shows.
    Merge,
    /// These values; they must name every field in conflict.
    Fields(Fields),
}

/// What becomes of operations that are not done when a person logs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Unsent {
    /// They are sent first. Those that were given up, or wait for a person, keep the logout waiting until somebody decides.
    Wait,
    /// They are dropped.
    Discard,
}

/// How an operation was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stored {
    /// It survives this tab already, and the rest is under way.
    Now,
    /// It will survive the browser, but is not written yet.
    Later,
    /// There is no storage here; it lives as long as the engine.
    Memory,
    /// It could not be stored; says why.
    Failed(String),
}

/// Something the server's stream told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ServerEvent<R> {
    /// A record is now like this. `partial`: the event lacked columns.
    Changed { row: Row<R>, partial: bool },
    /// A record is gone; the event said no more than that.
    Deleted { table: String, key: String },
}

/// A record that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gone {
    /// The table's name.
    pub table: String,
    /// The record's key.
    pub key: String,
    /// The version of its end.
    pub version: Version,
}

/// What a pull brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "R: Deserialize<'de>"))]
pub struct Pulled<R> {
    /// Which pull.
    pub id: u32,
    /// Where the client stands now.
    pub cursor: Option<String>,
    /// True when what is not in it is gone.
    pub whole: bool,
    /// The records.
    pub records: Vec<Row<R>>,
    /// The records that are gone.
    pub gone: Vec<Gone>,
    /// What became of the pending operations.
    pub settled: Vec<Answer<R>>,
    /// Which parts of the tables it covers, where it is not whole: what is in them, and not in it, is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub covers: Vec<Cover>,
    /// What the server's clock read, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// What to ask for the next page with; without it this is the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The records whose rows could not be read: they are not gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<Unread>,
}

/// A record whose row in a pull could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// The table.
    pub table: String,
    /// The record's key.
    pub key: String,
}

/// One thing that the engine is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", bound(deserialize = "R: Deserialize<'de>"))]
pub enum Input<R> {
    /// Command: change something.
    Mutate(Command),
    /// Command: change several things, or nothing.
    Transact { commands: Vec<Command> },
    /// Command: take an operation back, if it is not sent yet; drop it, if it is dead.
    Cancel { id: OperationId },
    /// Command: undo what an operation did: take it back where it was never sent, else do the inverse.
    Undo { id: OperationId },
    /// Command: try a dead operation again.
    Retry { id: OperationId },
    /// Command: decide on a conflict, by the id of the operation that is in it.
    Resolve { id: OperationId, choice: Choice },
    /// Command: try to connect now.
    Reconnect,
    /// Command: forget the rows that are kept for the next visit.
    Purge,
    /// Command: forget everything of this person's in this browser, and leave. Refused while operations are not done, unless told what
    /// becomes of them.
    Logout { unsent: Option<Unsent> },
    /// The person's roles or scope have changed.
    RightsChanged,
    /// Command: know something of the world that the rules need, a time zone say. Told again, it takes the place of what was told.
    FactTold { name: String, fact: Value },
    /// Command: say where the person of this tab is, and what they do; nothing when they are nowhere. Typing runs out unless it is said
    /// again.
    SetPresence { presence: Option<Presence> },
    /// The backend told where others are; one without presence has left.
    PresenceHeard { peers: Vec<Peer> },
    /// Command: keep a live list. The number is the caller's to choose, and free again once the view is closed.
    OpenView { id: u32, spec: ViewSpec },
    /// Command: stop keeping a live list.
    CloseView { id: u32 },
    /// Command: leave. Nothing is lost, and nothing is taken any more.
    Close,
    /// The answer to `Output::Persist`.
    OperationStored { id: OperationId, stored: Stored },
    /// The second step of durability ended.
    OperationDurable { id: OperationId, durable: bool },
    /// What storage there is, before anything was stored.
    StorageProbed { durability: Durability },
    /// How other tabs can be reached.
    ChannelProbed { reach: Reach },
    /// What the shell found in storage. `look` is that of the request which this is the last answer to; none where another place is
    /// still to be read.
    EntriesFound {
        entries: Vec<FoundEntry>,
        #[serde(default = "any_look")]
        look: Option<u32>,
    },
    /// What the shell kept from the last visit.
    RecordsFound { rows: Vec<Row<R>> },
    /// This tab leads.
    LockGranted,
    /// Another tab took the lock away.
    LockLost,
    /// The browser has no locks, or no channel.
    NoLocks,
    /// Another tab said something.
    TabMessageReceived(Box<TabMessage<R>>),
    /// Something came that can't be read: a tab's message, a server's event.
    Unreadable { code: String, place: String, message: String },
    /// The server took the subscription; changes may not flow yet.
    LinkJoined { attempt: u32 },
    /// The server said that changes flow.
    LinkLive { attempt: u32 },
    /// The link broke, or could not be opened.
    LinkClosed { attempt: u32, failure: Failure, message: String },
    /// The answer to `Output::Ping`: the link is alive.
    Ponged { attempt: u32 },
    /// The stream told of changes.
    ServerChanged { events: Vec<ServerEvent<R>> },
    /// The stream told of something that could not be read, not even which record it was of.
    Missed,
    /// A pull brought something.
    Pulled(Pulled<R>),
    /// A pull failed.
    PullFailed { id: u32, failure: Failure, message: String },
    /// The server answered an operation.
    Answered { answer: Answer<R> },
    /// An operation's call failed.
    PushFailed { id: OperationId, failure: Failure, message: String, after_ms: Option<u64> },
    /// The task that ran is over: whatever it wanted sent is here. The answer to `Output::Gather`.
    Gathered,
    /// A call of several was answered. Those that are in neither list were passed over.
    CallAnswered { call: u32, answers: Vec<Answer<R>>, unanswered: Vec<Unanswered> },
    /// A call of several failed as a whole.
    CallFailed { call: u32, failure: Failure, message: String, after_ms: Option<u64> },
    /// The server takes one operation a call after all, and has done nothing of this one.
    CallDeclined { call: u32 },
    /// There is a fresh token.
    TokenRefreshed,
    /// There is no fresh token to be had.
    TokenRefused { message: String },
    /// Nobody could be asked for a fresh token; says nothing about the one there is.
    TokenMissed { failure: Failure, message: String },
    /// There is no way to ask for a fresh token here. There may be one all the same, and then it is told of.
    TokenKept,
    /// The browser believes to be on-line, or off-line. A hint, no more.
    NetworkHinted { online: bool },
    /// Somebody works in the page, or nobody does any more.
    Activity { active: bool },
    /// The page is shown, or hidden.
    Visibility { visible: bool },
    /// The page is about to be frozen, or kept for the way back. It may never run again.
    Froze,
    /// The page is shown again, or time has passed without us.
    Woke,
    /// Something is due.
    TimerFired,
}

/// Why an operation of a call of several has no answer that could be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unanswered {
    /// The operation.
    pub id: OperationId,
    /// Of which kind.
    pub failure: Failure,
    /// The same, for a person.
    pub message: String,
    /// How long the server asked to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
}

/// A pull to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullCall {
    /// Its number, for the answer.
    pub id: u32,
    /// What to ask.
    pub request: PullRequest,
}

/// In traces of engines that did not tell one answer from another, each was the last.
#[expect(clippy::unnecessary_wraps, reason = "a default is of its field's type")]
const fn any_look() -> Option<u32> {
    Some(u32::MAX)
}
