//! What the engine asks of the world. Nothing else leaves it.

#![allow(missing_docs, reason = "a variant's line speaks for its members")]

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::audit::AuditEntry;
use super::error::Problem;
use super::input::PullCall;
use super::link::LinkStatus;
use super::merge::FieldConflict;
use super::operation::{Operation, OperationId, OperationState, Settlement};
use super::presence::Peer;
use super::stored::{StoredAlias, StoredOperation};
use super::table::{RecordId, Row};
use super::tabs::{Role, TabMessage};
use super::value::{Fields, Value};

/// How safe accepted operations are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Durability {
    /// Before `mutate` returns they survive the tab; a moment later, the browser.
    Full,
    /// A moment after `mutate` returns they survive the browser.
    Async,
    /// They survive the tab, but not the end of the browser.
    Tab,
    /// They live as long as the engine.
    Memory,
}

/// How the tabs of this browser reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reach {
    /// By BroadcastChannel.
    Channel,
    /// By entries of localStorage, of whose changes browsers tell the other tabs.
    Storage,
    /// Not at all: each is on its own.
    Alone,
}

/// A record changed for its viewers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordChange<R> {
    /// The record's number.
    pub id: RecordId,
    /// Its table's place in the declaration.
    pub table: usize,
    /// Its key.
    #[serde(serialize_with = "as_str")]
    pub key: Rc<str>,
    /// What is to be seen; `None` when there is nothing.
    pub record: Option<R>,
    /// True when the number may be given to another record from now on.
    pub released: bool,
}

fn as_str<S: serde::Serializer>(text: &Rc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// An operation as users see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationView {
    /// The operation.
    pub id: OperationId,
    /// What it does.
    pub name: String,
    /// The record's table.
    pub table: String,
    /// The record's key.
    pub key: String,
    /// A transaction: what each of its parts does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartView>,
    /// Where it is in its life.
    pub state: OperationState,
    /// When it was made, in milliseconds since 1970.
    pub made_at_ms: u64,
    /// True when this tab made it.
    pub mine: bool,
    /// True when it no longer applies to the record as it is now; the server will say.
    pub doubtful: bool,
    /// Tries that failed.
    pub tries: u32,
    /// Why it ended as it did, or why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The same, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The operation that stands for this one from now on: it has left the list, and ends as that one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<OperationId>,
}

/// A part of a transaction, as users see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartView {
    /// What it does.
    pub name: String,
    /// The record's table.
    pub table: String,
    /// The record's key.
    pub key: String,
}

/// An operation that somebody else's change stands against, for a person to decide.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Conflict {
    /// The operation.
    pub id: OperationId,
    /// The record's table.
    pub table: String,
    /// The record's key.
    pub key: String,
    /// Since when it waits, in milliseconds since 1970.
    pub at_ms: u64,
    /// True when this tab made the operation.
    pub mine: bool,
    /// True when there is no record any more to be changed: all that is left is the server's word.
    pub is_gone: bool,
    /// The fields in conflict, with their three sides as they are now.
    pub fields: Vec<FieldConflict>,
    /// What the record would hold after each decision.
    pub previews: Previews,
}

/// What a record would hold after each decision, in the fields that the operation sets.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Previews {
    /// What this person wanted.
    pub local: Fields,
    /// What the server has.
    pub server: Fields,
    /// Both, where that makes sense: by the declared rules, and where there are none, by the kind of the values.
    pub merge: Fields,
}

/// A conflict came, changed, or ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConflictChange {
    /// The operation.
    pub id: OperationId,
    /// The conflict as it is now; null when it has ended.
    pub conflict: Option<Conflict>,
}

/// How the engine is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// This tab's part.
    pub role: Role,
    /// How it reaches the other tabs.
    pub tabs: Reach,
    /// The link, this tab's or the leader's.
    pub link: LinkStatus,
    /// Operations that are not settled, of all tabs.
    pub unsent: usize,
    /// Operations given up.
    pub dead: usize,
    /// Operations in conflict that wait for a person.
    pub conflicts: usize,
    /// How safe accepted operations are.
    pub durability: Durability,
    /// True once everything was pulled, by this tab or its leader.
    pub ready: bool,
    /// When a pull last succeeded, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_ms: Option<u64>,
}

/// A step that leads from what a view showed to what it shows now. Steps apply one after the other, each to the list that the
/// earlier ones left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Edit {
    /// The record at this place goes.
    Remove { at: u32 },
    /// A record comes in at this place.
    Insert { at: u32, id: RecordId },
    /// The record at this place changed; its place did not.
    Update { at: u32 },
}

impl Edit {
    /// Returns where a record comes in.
    pub(crate) const fn inserted_at(&self) -> Option<u32> {
        match self {
            Self::Insert { at, .. } => Some(*at),
            Self::Remove { .. } | Self::Update { .. } => None,
        }
    }
}

/// What became of a view's window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum WindowChange {
    /// It shows these records now. Any of them may have changed.
    Reset(Vec<RecordId>),
    /// These steps lead there; none, if it shows what it did.
    Edits(Vec<Edit>),
}

/// The figures of one group of a view's records.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupChange {
    /// The values that make the group; `None`: all records of groups that are not kept, because there are too many.
    pub group: Option<Vec<Value>>,
    /// Its figures, in the order of the view's; `None` when no record is left in it.
    pub figures: Option<Vec<Option<f64>>>,
}

/// A view changed for its watchers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewChange {
    /// The number that the view was opened with.
    pub id: u32,
    /// What it shows.
    pub window: WindowChange,
    /// How many records match, inside the window or not.
    pub total: u32,
    /// The figures over all of them, in the order of the view's, if any changed.
    pub figures: Option<Vec<Option<f64>>>,
    /// The groups that changed.
    pub groups: Vec<GroupChange>,
}

/// The change list: everything that one input changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes<R> {
    /// Records.
    pub records: Vec<RecordChange<R>>,
    /// Operations, the settled ones included.
    pub operations: Vec<OperationView>,
    /// Conflicts that wait for a person.
    pub conflicts: Vec<ConflictChange>,
    /// Decisions on conflicts, the rules' and people's, in any tab.
    pub decisions: Vec<AuditEntry>,
    /// The views whose window, total or figures changed.
    pub views: Vec<ViewChange>,
    /// The status, if it changed.
    pub status: Option<Status>,
    /// Temporary keys, and what they turned out to be. The record under the one is gone, and the same record is there under the other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub renamed: Vec<Renamed>,
    /// Everybody else who is here, if that changed; nobody is in it twice with the same tab.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence: Option<Vec<Peer>>,
    /// What other caches hold and should fetch again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<Invalidation>,
}

/// Queries of other caches that have become stale.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Invalidation {
    /// All of them; then none is named.
    pub everything: bool,
    /// Their keys, each once.
    pub keys: Vec<Vec<Value>>,
}

/// A record has its real key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Renamed {
    /// The record's table.
    pub table: String,
    /// The temporary key.
    pub from: String,
    /// The key that the server gave.
    pub to: String,
}

/// One thing that the engine asks for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Output<R> {
    /// Store an operation; answered within the drain by `Input::OperationStored`.
    Persist { id: OperationId, key: String, entry: StoredOperation },
    /// Store what a temporary key turned out to be. Not answered: it can be asked of the server again.
    PersistAlias { key: String, entry: StoredAlias },
    /// Store a mark, of which the key says all. Not answered: without it, the operation is tried once more.
    PersistMark { key: String },
    /// Delete a stored operation, alias or mark.
    Unpersist { key: String },
    /// Move an entry that can't be read out of the way.
    Quarantine { key: String, to: String },
    /// Delete the entries that could not be read: there is no room for an operation.
    ForgetQuarantined { prefix: String },
    /// Look for stored operations and aliases; answered by `Input::EntriesFound`, by several where there are several places.
    LoadOperations { look: u32 },
    /// Keep rows for the next visit; one without a record is to be forgotten.
    CacheRecords { rows: Vec<Row<R>> },
    /// Look for rows that were kept; answered by `Input::RecordsFound`.
    LoadRecords,
    /// Forget all rows that were kept.
    ForgetRecords,
    /// Delete everything stored whose key begins with `prefix`, but for what begins with `keep`, and all rows that were kept; before that,
    /// leave a mark.
    PurgeSession { prefix: String, keep: String, mark: Option<String> },
    /// The person is logged out: the engine has closed, and all that it held is gone.
    SignedOut,
    /// The person is not logged out: what was not known when they asked for it turned up in storage.
    LogoutRefused(Problem),
    /// Queue for the lock; answered by `Input::LockGranted` or `Input::NoLocks`.
    RequestLock,
    /// Take the lock from whoever has it, who does not answer; answered by `Input::LockGranted`. The place in the queue is given up.
    StealLock,
    /// Give the lock back, or stop waiting for it.
    ReleaseLock,
    /// Let go of what would hold others up while the page does not run, or would end it: the lock or the place in its queue, the channel,
    /// open connections to storage. What is asked for next opens them again.
    Rest,
    /// Tell the other tabs.
    Broadcast(Box<TabMessage<R>>),
    /// Open the link; answered by `LinkJoined`, `LinkLive`, `LinkClosed` with the same number.
    Connect { attempt: u32 },
    /// Ask over the link whether the server is there; answered by `Ponged` with the same number. No answer says no.
    Ping { attempt: u32 },
    /// Close the link.
    Disconnect,
    /// Ask the server; answered by `Pulled` or `PullFailed`.
    Pull(PullCall),
    /// Send an operation; answered by `Answered` or `PushFailed`.
    Push { operation: Operation },
    /// Send several in one call, each for itself; answered by `CallAnswered`, `CallFailed` or `CallDeclined` with the same number.
    PushAll { call: u32, operations: Vec<Operation> },
    /// Say when the task that runs now is over, so that what it wants sent can go together; answered by `Gathered`.
    Gather,
    /// Tell everybody else where the tabs of this browser are; one without presence has left. Nothing is answered.
    AnnouncePresence { peers: Vec<Peer> },
    /// Get a fresh token; answered by `TokenRefreshed`, `TokenRefused`, `TokenMissed` or `TokenKept`.
    RefreshToken,
    /// Tell subscribers.
    Notify(Changes<R>),
    /// An operation that this tab made has ended.
    Settled(Settlement),
    /// An operation that this tab made is as durable as it gets here.
    Durable { id: OperationId, durability: Durability },
    /// An operation could not be stored, and was not accepted.
    Rejected { id: OperationId, message: String },
    /// Something from outside could not be used.
    Report(Problem),
}
