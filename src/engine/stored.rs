//! The persisted forms, each with its number. The shapes are those of `PROTOCOL.md` §7.

use serde::{Deserialize, Serialize};

use super::error::Problem;
use super::operation::{Alias, Operation};
use super::session::Session;
use super::value::whole;

/// The latest form of a stored operation. Form 2 has members of an operation that form 1 has not; what form 1 says, it says in the same
/// way, with those members empty.
pub const STORED_FORM: u32 = 2;

/// An operation as it lies in storage: written when it is accepted, deleted after settlement. Between, what it is based on may change, and
/// which of joined patches are left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredOperation {
    /// The number of the form.
    pub v: u32,
    /// The operation.
    pub op: Operation,
}

impl StoredOperation {
    /// Takes the earliest form that can hold the operation, so that an earlier release reads what it can.
    pub(crate) const fn new(op: Operation) -> Self {
        Self { v: if op.needs_form_2() { 2 } else { 1 }, op }
    }
}

/// What a temporary key turned out to be, as it lies in storage: written once, deleted when no pending operation names the key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredAlias {
    /// The number of the form.
    pub v: u32,
    /// The alias.
    pub alias: Alias,
}

impl StoredAlias {
    pub(crate) const fn new(alias: Alias) -> Self {
        Self { v: 1, alias }
    }
}

/// What the shell found under one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundEntry {
    /// The storage key.
    pub key: String,
    /// What was there.
    pub content: Content,
}

/// What an entry turned out to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// An entry of today's form, or an earlier one.
    Operation(StoredOperation),
    /// What a temporary key turned out to be.
    Alias(StoredAlias),
    /// Of a form with this number, which this release does not know.
    Other(f64),
    /// Not readable; says why.
    Corrupt(String),
    /// Encrypted, and not to be opened here; says so by a stable code, and why.
    Sealed(String, String),
}

/// What to do with an entry.
#[derive(Debug)]
pub(crate) enum Reading {
    Take(Operation),
    TakeAlias(Alias),
    /// Move it away, and report.
    Quarantine(Problem),
    /// Leave it for the release that wrote it, or whoever has the key, and report.
    Leave(Problem),
}

pub(crate) fn read(entry: FoundEntry, session: &Session) -> Reading {
    let FoundEntry { key, content } = entry;
    let corrupt = |key: String, why: String| Reading::Quarantine(Problem::new("corrupt-entry", key, why));
    match content {
        Content::Operation(StoredOperation { v, op }) if (1..=STORED_FORM).contains(&v) => {
            if session.operation_key(op.hlc, op.id) == key {
                Reading::Take(op)
            } else {
                corrupt(key, "the entry's key is not that of its operation".to_owned())
            }
        }
        Content::Alias(StoredAlias { v, alias }) if (1..=STORED_FORM).contains(&v) => {
            if session.alias_key(&alias.from) == key {
                Reading::TakeAlias(alias)
            } else {
                corrupt(key, "the entry's key is not that of its temporary key".to_owned())
            }
        }
        Content::Operation(StoredOperation { v, .. }) | Content::Alias(StoredAlias { v, .. }) => {
            other(key, f64::from(v))
        }
        Content::Other(v) => other(key, v),
        Content::Corrupt(why) => corrupt(key, why),
        Content::Sealed(code, why) => Reading::Leave(Problem::new(&code, key, why)),
    }
}

fn other(key: String, v: f64) -> Reading {
    // Printing a float would cost the wasm 11 kB.
    let form = whole(v).map_or_else(|| "that is no whole number".to_owned(), |form| form.to_string());
    if v > f64::from(STORED_FORM) {
        let why = ["the entry has form ", &form, "; this release reads up to ", &STORED_FORM.to_string()].concat();
        return Reading::Leave(Problem::new("newer-entry", key, why));
    }
    Reading::Quarantine(Problem::new("corrupt-entry", key, ["there never was a form ", &form].concat()))
}
