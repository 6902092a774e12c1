//! Operations — a person's intent as data — and what a server answers to them. The shapes are those of `PROTOCOL.md` §2 and §3.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::merge::Decision;
use super::time::Hlc;
use super::value::{Fields, Value, key_part, present};

pub use super::version::Version;

/// The number of the wire protocol that this engine speaks.
pub const PROTOCOL: u32 = 1;

/// The number of an operation that has parts: who knows only the first must not take such a one for what it names first.
pub const PROTOCOL_WITH_PARTS: u32 = 2;

/// How many parts a transaction may have.
pub const PARTS_MAX: usize = 100;

/// An operation's id, which is also its idempotency key: a UUIDv7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(Uuid);

impl OperationId {
    /// Makes an id out of the time and ten random bytes. The twelve bits after the milliseconds are the clock's counter (RFC 9562,
    /// section 6.2, method 1), so that the ids of one tab sort as its operations do.
    #[must_use]
    pub(crate) fn new(hlc: Hlc, mut random: [u8; 10]) -> Self {
        let [high, low] = hlc.counter().min(0x0fff).to_be_bytes();
        (random[0], random[1]) = (high, low);
        Self(uuid::Builder::from_unix_timestamp_millis(hlc.wall_ms(), &random).into_uuid())
    }

    /// Returns its sixteen bytes.
    pub(crate) const fn bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// Reads the one text form: hyphenated, lower case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok()?;
        let mut buffer = Uuid::encode_buffer();
        (&*id.hyphenated().encode_lower(&mut buffer) == text).then_some(Self(id))
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

impl Serialize for OperationId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

impl<'de> Deserialize<'de> for OperationId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("an operation id is not a lower-case UUID"))
    }
}

/// A person's intent, as it is stored, sent to the other tabs and sent to the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// The wire protocol it was written in.
    pub protocol: u32,
    /// Its identity everywhere.
    pub id: OperationId,
    /// `insert`, `patch`, `delete`, or a named operation of a domain.
    pub name: String,
    /// The record's table.
    pub table: String,
    /// The record's key.
    pub key: String,
    /// The arguments of a named operation.
    pub args: Fields,
    /// The fields it sets, and to what.
    pub set: Fields,
    /// What the person saw in those fields.
    pub base: Fields,
    /// The confirmed version under which the person decided.
    pub base_version: Option<Version>,
    /// When it was made, in an order that all tabs of a browser share.
    pub hlc: Hlc,
    /// The tab that made it.
    pub tab: String,
    /// Operations it depends on.
    pub after: Vec<OperationId>,
    /// The parts of a transaction, in their order: all are done, or none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// Operations that this one stands for: they were never sent, and never will be, or they ended in a conflict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<OperationId>,
    /// The patches that were joined into it, in their order, itself the last: for taking one of them back. It stays in the browser.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<Joined>,
    /// How often what it is based on was put onto what was beneath operations that ended without effect, or a patch that was joined into
    /// it was taken back. Of two copies the one with the higher number counts. It stays in the browser.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rebased: u32,
    /// The decision on a conflict that this operation carries out. It stays in the browser: no server is told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Box<Decision>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Operation {
    /// Returns it as a server is told of it: what was decided on a conflict, and how it came to be what it is, is no concern of the server's.
    pub(crate) fn for_server(&self) -> Self {
        Self { decision: None, rebased: 0, joined: vec![], ..self.clone() }
    }

    /// Takes what another copy of it is based on, and what that still sets of what was joined.
    pub(crate) fn take_form(&mut self, other: &Self) {
        if self.joined != other.joined {
            self.set.clone_from(&other.set);
            self.joined.clone_from(&other.joined);
        }
        self.base.clone_from(&other.base);
        self.rebased = other.rebased;
        for (part, other) in self.parts.iter_mut().zip(&other.parts) {
            part.base.clone_from(&other.base);
        }
    }

    /// True for an operation that it stands for, and that was taken back out of it.
    pub(crate) fn leaves_out(&self, id: OperationId) -> bool {
        !self.joined.is_empty() && self.replaces.contains(&id) && self.joined.iter().all(|joined| joined.id != id)
    }

    /// True when it has members that a reader of the first stored form does not know.
    pub(crate) const fn needs_form_2(&self) -> bool {
        self.protocol > 1 || !self.replaces.is_empty()
    }
}

/// A patch that was joined with others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// The id under which it was made.
    pub id: OperationId,
    /// The fields that it sets itself, and to what.
    pub set: Fields,
}

/// One change of one record within a transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// `insert`, `patch`, `delete`, or a named operation of a domain.
    pub name: String,
    /// The record's table.
    pub table: String,
    /// The record's key.
    pub key: String,
    /// The arguments of a named operation.
    pub args: Fields,
    /// The fields it sets, and to what.
    pub set: Fields,
    /// What the person saw in those fields.
    pub base: Fields,
    /// The confirmed version under which the person decided.
    pub base_version: Option<Version>,
}

/// One change of one record: what an operation does, or one of its parts.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// `insert`, `patch`, `delete`, or a named operation of a domain.
    pub name: &'a str,
    /// The record's table.
    pub table: &'a str,
    /// The record's key.
    pub key: &'a str,
    /// The arguments of a named operation.
    pub args: &'a Fields,
    /// The fields it sets, and to what.
    pub set: &'a Fields,
    /// What the person saw in those fields.
    pub base: &'a Fields,
}

impl Part {
    /// Returns the change that it is.
    #[must_use]
    pub const fn step(&self) -> Step<'_> {
        let Self { name, table, key, args, set, base, base_version: _ } = self;
        Step { name: name.as_str(), table: table.as_str(), key: key.as_str(), args, set, base }
    }
}

impl Operation {
    /// Returns how many changes of records it is made of.
    #[must_use]
    pub const fn steps_len(&self) -> usize {
        if self.parts.is_empty() { 1 } else { self.parts.len() }
    }

    /// Walks over the same, each with what it is based on, to be changed.
    pub(crate) fn steps_mut(&mut self) -> impl Iterator<Item = (Step<'_>, &mut Fields)> {
        const NONE: &Fields = &Fields::new();
        let Self { name, table, key, args, set, base, parts, .. } = self;
        let whole = (Step { name, table, key, args, set, base: NONE }, base);
        let is_alone = parts.is_empty();
        let parts = parts.iter_mut().map(|Part { name, table, key, args, set, base, .. }| {
            (Step { name, table, key, args, set, base: NONE }, base)
        });
        is_alone.then_some(whole).into_iter().chain(parts)
    }

    /// Walks over the changes of records that it is made of.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let Self { name, table, key, args, set, base, parts, .. } = self;
        let whole = Step { name, table, key, args, set, base };
        parts.is_empty().then_some(whole).into_iter().chain(parts.iter().map(Part::step))
    }
}

/// The names of the plain operations.
pub mod name {
    /// Makes a record.
    pub const INSERT: &str = "insert";
    /// Sets fields of a record.
    pub const PATCH: &str = "patch";
    /// Removes a record.
    pub const DELETE: &str = "delete";
    /// Does several of the others, or nothing.
    pub const TRANSACTION: &str = "transaction";
}

/// Where an operation is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OperationState {
    /// Durable, and waiting to be sent.
    Queued,
    /// On its way; the server may have it.
    Sent,
    /// Done, says the server; but its row is not here yet.
    Acknowledged,
    /// Done, says the server.
    Confirmed,
    /// Not done, and never will be, says the server.
    Refused,
    /// Not done, because somebody else changed the same thing.
    Conflicted,
    /// Taken back before it was sent.
    Cancelled,
    /// Given up after the last try; kept until somebody retries or drops it.
    Dead,
    /// Its end is not known: the store was closed before, or a server that keeps no ledger never answered.
    Unknown,
}

impl OperationState {
    /// All states.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Sent,
        Self::Acknowledged,
        Self::Confirmed,
        Self::Refused,
        Self::Conflicted,
        Self::Cancelled,
        Self::Dead,
        Self::Unknown,
    ];

    /// Returns the name that users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Acknowledged => "acknowledged",
            Self::Confirmed => "confirmed",
            Self::Refused => "refused",
            Self::Conflicted => "conflicted",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        }
    }
}

/// What a server says to an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer<R> {
    /// The wire protocol it is written in.
    pub protocol: u32,
    /// The operation.
    pub id: OperationId,
    /// The record's table.
    pub table: String,
    /// The record's key.
    pub key: String,
    /// True when the ledger knew the operation already.
    pub replayed: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// Why not, as a stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why not, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The fields in conflict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// How long to wait before a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
    /// The record's version now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The record now: missing when not told, null when there is none.
    #[serde(default = "no_record", skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[serde(bound(deserialize = "R: Deserialize<'de>"))]
    pub record: Option<Option<R>>,
    /// A transaction: its records now, as far as the person may see them.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<Told<R>>,
    /// The key of the record that the server chose, where it was left to the server which one it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    /// Who was first, where the race was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<Winner>,
}

/// Who was first, and when: for whoever lost a race.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Winner {
    /// The person's id.
    pub user: String,
    /// When, as the server writes it.
    pub at: String,
}

/// A record as an answer tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told<R> {
    /// The record's table.
    pub table: String,
    /// The record's key.
    pub key: String,
    /// Its version.
    pub version: Version,
    /// The record, or null when it is gone.
    #[serde(bound(deserialize = "R: Deserialize<'de>"), deserialize_with = "Option::deserialize")]
    pub record: Option<R>,
    /// The temporary key under which the operation inserted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// What a temporary key turned out to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alias {
    /// The record's table.
    pub table: String,
    /// The temporary key.
    pub from: String,
    /// What the record's key field holds: text or a whole number.
    pub to: Value,
}

impl Alias {
    /// Returns the real key; `None` when it is none.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        key_part(&self.to)
    }
}

impl<R> Answer<R> {
    /// Returns the record as it is now and its version, where both are told.
    pub(crate) fn row(&self) -> Option<(&Version, Option<&R>)> {
        Some((self.version.as_ref()?, self.record.as_ref()?.as_ref()))
    }

    /// True when the server has done it, and does not say how the record is now.
    pub(crate) fn is_acknowledgement(&self) -> bool {
        self.outcome == Outcome::Confirmed && self.row().is_none() && self.records.is_empty()
    }
}

const fn no_record<R>() -> Option<Option<R>> {
    None
}

/// How the server decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Done.
    Confirmed,
    /// Not done, and never will be.
    Refused,
    /// Not done, because somebody else was first.
    Conflicted,
    /// Not decided; send it again.
    Retry,
}

/// How an operation ended, for whoever made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settlement {
    /// The operation.
    pub id: OperationId,
    /// Its end.
    pub outcome: OperationState,
    /// Why, as a stable code, where it was not confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The fields in conflict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// The key of the record that the server chose, where it was left to the server which one it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    /// Who was first, where the race was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<Winner>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_text_form() {
        let text = "019aa5e3-f1c0-7a3b-9c1d-2e4f60718293";
        assert_eq!(OperationId::parse(text).unwrap().to_string(), text);
        for other in [
            "",
            "019AA5E3-F1C0-7A3B-9C1D-2E4F60718293",
            "019aa5e3f1c07a3b9c1d2e4f60718293",
            "{019aa5e3-f1c0-7a3b-9c1d-2e4f60718293}",
        ] {
            assert_eq!(OperationId::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_minted_id_is_a_uuid_of_version_7_that_holds_the_time() {
        let hlc = Hlc::parse("019aa5e3f1c0-0abc").unwrap();
        let text = OperationId::new(hlc, [0xff; 10]).to_string();
        assert!(text.starts_with("019aa5e3-f1c0-7abc-"), "{text}");
    }

    #[test]
    fn ids_of_one_millisecond_sort_in_the_order_they_were_made() {
        let ids = ["019aa5e3f1c0-0000", "019aa5e3f1c0-0001", "019aa5e3f1c0-0fff", "019aa5e3f1c1-0000"];
        let randoms = [0xff, 0x11, 0xee, 0x00];
        let ids = ids.iter().zip(randoms).map(|(hlc, random)| OperationId::new(Hlc::parse(hlc).unwrap(), [random; 10]));
        assert!(ids.is_sorted());
    }
}
