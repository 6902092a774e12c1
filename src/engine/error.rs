//! What can be wrong with a command or a configuration: a stable code, and a message that says what, where and what to do.
//!
//! Only commands end in an [`Error`]. What comes from outside (servers, tabs, storage) and can't be read becomes a
//! [`Problem`]: it is reported, and the engine goes on.

#![allow(missing_docs, reason = "a variant's line speaks for its members")]

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a command or a configuration was not taken. Nothing has changed when one is returned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The configuration can't work; says which part.
    InvalidConfiguration(String),
    /// No such table was declared.
    UnknownTable { table: String },
    /// The table has no such field.
    UnknownField { table: String, field: String },
    /// There is no such record to change.
    UnknownRecord { table: String, key: String },
    /// A record with this key is there already.
    RecordExists { table: String, key: String },
    /// A record lacks a part of its key.
    MissingKey { table: String, field: String },
    /// The operation makes no sense; says why.
    InvalidOperation(String),
    /// A rule of the table's domain does not allow it; the code is the one that a server would refuse with (`PROTOCOL.md` §4).
    NotAllowed { code: &'static str, message: String },
    /// No pending operation has this id.
    UnknownOperation { id: String },
    /// The operation may have reached the server, or has ended: it can't be cancelled any more.
    TooLate { id: String, state: &'static str },
    /// A transaction has too few parts, or too many.
    TransactionLength { len: usize, len_max: usize },
    /// Another operation stands for this one, and is what can be taken back.
    Replaced { id: String, by: String },
    /// What it is to depend on is not known here.
    UnknownDependency { id: String },
    /// What it is to depend on has ended, and was not done.
    DependencyEnded { id: String, state: &'static str },
    /// This tab knows of nothing that could be undone.
    NothingToUndo { id: String },
    /// No conflict waits under this id: it was decided, or there never was one.
    UnknownConflict { id: String },
    /// The outbox is at its bound.
    OutboxFull { len_max: usize },
    /// The person can't be logged out like this: something is not sent yet, given up, or waits for a person.
    UnsentOperations { count: usize },
    /// A logout is under way, and waits for what is not sent.
    SigningOut,
    /// The beginning of the trace is missing, so it can't be replayed.
    IncompleteTrace { dropped: u64 },
    /// The view makes no sense, or asks for too much; says why.
    InvalidView(String),
    /// A view uses a field that is not declared as indexed.
    NotIndexed { table: String, field: String },
    /// As many views are open as can be.
    TooManyViews { len_max: usize },
    /// A view with this number is open already.
    ViewOpen { id: u32 },
    /// No open view has this number.
    UnknownView { id: u32 },
    /// The engine was closed.
    Closed,
}

impl Error {
    /// Returns the stable code, in kebab case.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidConfiguration(_) => "invalid-configuration",
            Self::UnknownTable { .. } => "unknown-table",
            Self::UnknownField { .. } => "unknown-field",
            Self::UnknownRecord { .. } => "unknown-record",
            Self::RecordExists { .. } => "record-exists",
            Self::MissingKey { .. } => "missing-key",
            Self::InvalidOperation(_) => "invalid-operation",
            Self::NotAllowed { code, .. } => code,
            Self::UnknownOperation { .. } => "unknown-operation",
            Self::TooLate { .. } | Self::Replaced { .. } => "too-late",
            Self::TransactionLength { .. } => "transaction-length",
            Self::UnknownDependency { .. } => "unknown-dependency",
            Self::DependencyEnded { .. } => "dependency-ended",
            Self::NothingToUndo { .. } => "nothing-to-undo",
            Self::UnknownConflict { .. } => "unknown-conflict",
            Self::OutboxFull { .. } => "outbox-full",
            Self::UnsentOperations { .. } => "unsent-operations",
            Self::SigningOut => "signing-out",
            Self::IncompleteTrace { .. } => "incomplete-trace",
            Self::InvalidView(_) => "invalid-view",
            Self::NotIndexed { .. } => "not-indexed",
            Self::TooManyViews { .. } => "too-many-views",
            Self::ViewOpen { .. } => "view-open",
            Self::UnknownView { .. } => "unknown-view",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidConfiguration(what)
            | Self::InvalidOperation(what)
            | Self::InvalidView(what)
            | Self::NotAllowed { message: what, .. } => f.write_str(what),
            Self::UnknownTable { table } => {
                write!(f, "there is no table \"{table}\"; declare it in createStore({{ tables }})")
            }
            Self::UnknownField { table, field } => {
                write!(f, "table \"{table}\" has no field \"{field}\"; declare it in the table's fields")
            }
            Self::UnknownRecord { table, key } => write!(f, "table \"{table}\" has no record \"{key}\""),
            Self::RecordExists { table, key } => {
                write!(f, "table \"{table}\" already has a record \"{key}\"; patch it instead of inserting it")
            }
            Self::MissingKey { table, field } => {
                write!(
                    f,
                    "a record of table \"{table}\" lacks its key field \"{field}\", or it is neither text nor an integer"
                )
            }
            Self::UnknownOperation { id } => write!(f, "there is no pending operation {id}"),
            Self::TooLate { id, state } => write!(f, "operation {id} is {state}: too late for this"),
            Self::TransactionLength { len, len_max } => {
                write!(f, "a transaction has 2 to {len_max} parts, and this one has {len}")
            }
            Self::Replaced { id, by } => {
                write!(f, "operation {id} was joined with a later one, {by}, which stands for both: take that one back")
            }
            Self::UnknownDependency { id } => {
                write!(
                    f,
                    "\"after\" names operation {id}, of which nothing is known here; name pending or confirmed ones"
                )
            }
            Self::DependencyEnded { id, state } => {
                write!(f, "\"after\" names operation {id}, which is {state}: what depends on it can't happen")
            }
            Self::NothingToUndo { id } => {
                write!(
                    f,
                    "operation {id} can't be undone: it is not among the last that this tab did, or it has no inverse"
                )
            }
            Self::UnknownConflict { id } => {
                write!(f, "no conflict waits under {id}: it was decided, or there was none")
            }
            Self::OutboxFull { len_max } => {
                write!(f, "{len_max} operations are waiting to be sent, and no more can be taken until some are")
            }
            Self::UnsentOperations { count } => write!(
                f,
                "{count} operations are not done yet; say whether to wait for them, or to discard them: logout({{ unsent: 'wait' | 'discard' }})"
            ),
            Self::SigningOut => f.write_str("the person is being logged out, and nothing new can be done"),
            Self::IncompleteTrace { dropped } => {
                write!(f, "the first {dropped} inputs of the trace were dropped; record more of them to replay it")
            }
            Self::NotIndexed { table, field } => {
                write!(
                    f,
                    "field \"{field}\" of table \"{table}\" is not indexed, so no view can use it; list it in the table's `indexed`"
                )
            }
            Self::TooManyViews { len_max } => write!(f, "{len_max} views are open; close those that nobody watches"),
            Self::ViewOpen { id } => write!(f, "view {id} is open already; close it first, or take another number"),
            Self::UnknownView { id } => write!(f, "there is no open view {id}"),
            Self::Closed => f.write_str("the store is closed"),
        }
    }
}

impl std::error::Error for Error {}

/// Something from outside that could not be used. The engine dropped it and goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A stable code: `malformed-event`, `corrupt-entry`, `newer-entry`, `malformed-message`, `newer-message`, `storage`, …
    pub code: String,
    /// Where it came from: a storage key, a table and key, a tab.
    pub place: String,
    /// What was wrong.
    pub message: String,
}

impl Problem {
    /// Makes a problem.
    pub fn new(code: &str, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), place: place.into(), message: message.into() }
    }
}
