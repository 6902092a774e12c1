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
    /// No pending operation has this id.
    UnknownOperation { id: String },
    /// The operation may have reached the server, or has ended: it can't be cancelled any more.
    TooLate { id: String, state: &'static str },
    /// The outbox is at its bound.
    OutboxFull { len_max: usize },
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
            Self::UnknownOperation { .. } => "unknown-operation",
            Self::TooLate { .. } => "too-late",
            Self::OutboxFull { .. } => "outbox-full",
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
            Self::InvalidConfiguration(what) | Self::InvalidOperation(what) | Self::InvalidView(what) => {
                f.write_str(what)
            }
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
            Self::OutboxFull { len_max } => {
                write!(f, "{len_max} operations are waiting to be sent, and no more can be taken until some are")
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
