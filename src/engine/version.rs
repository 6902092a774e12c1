//! The server's order for a record. What a version looks like is the table's to say: a number, a time, or text.
//!
//! Reading is liberal, because a version is often read before its table is known; [`VersionOrder::take`] decides. The text is
//! kept as the server wrote it, as it travels back in `baseVersion`.

use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::instant::Instant;
use super::value::whole;

/// How long a version may be, in bytes.
pub const VERSION_BYTES_MAX: usize = 256;

/// How the versions of a table are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VersionOrder {
    /// Decimal integers, by number.
    #[default]
    Integer,
    /// RFC 3339 times with any offset, by instant.
    Timestamp,
    /// Any text, by code point.
    String,
}

impl VersionOrder {
    /// All orders.
    pub const ALL: [Self; 3] = [Self::Integer, Self::Timestamp, Self::String];

    /// Returns the name under which it is declared.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Timestamp => "timestamp",
            Self::String => "string",
        }
    }

    /// Takes a version into a table of this order; `None` when it is of another kind. `0`, which says that a server has never seen
    /// a key, is in every table, and below all others.
    #[must_use]
    pub(crate) fn take(self, version: Version) -> Option<Version> {
        match (self, version) {
            (_, lowest @ Version::Integer(0)) | (Self::Integer, lowest @ Version::Integer(_)) => Some(lowest),
            (Self::Timestamp, time @ Version::Time(_)) => Some(time),
            (Self::String, Version::Text(text)) => Some(Version::Text(text)),
            (Self::String, Version::Time(time)) => Some(Version::Text(Rc::clone(&time.text))),
            (Self::String, Version::Integer(number)) => Some(Version::Text(Rc::from(number.to_string()))),
            (Self::Integer | Self::Timestamp, _) => None,
        }
    }

    /// Returns what is wrong with a version that was not taken.
    pub(crate) const fn wants(self) -> &'static str {
        match self {
            Self::Integer => "its version must be a decimal string or a non-negative safe integer",
            Self::Timestamp => "its version must be a time with an offset, as RFC 3339 writes it",
            Self::String => "its version must be text of 1 to 256 bytes",
        }
    }
}

/// A record's version: newer wins, equal is the same fact. Only versions of one table compare.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// A decimal integer.
    Integer(u64),
    /// A point in time.
    Time(Rc<Time>),
    /// Anything else.
    Text(Rc<str>),
}

/// A point in time, with its text. Two texts of one instant are equal.
#[derive(Clone, Debug)]
pub struct Time {
    instant: Instant,
    text: Rc<str>,
}

impl Time {
    fn parse(text: &str) -> Option<Self> {
        Some(Self { instant: Instant::parse(text)?, text: Rc::from(text) })
    }
}

impl Ord for Time {
    fn cmp(&self, other: &Self) -> Ordering {
        self.instant.cmp(&other.instant)
    }
}

impl PartialOrd for Time {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Time {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Time {}

impl Version {
    /// Reads a version; `None` for what is none in any table: nothing at all, or too much.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > VERSION_BYTES_MAX {
            return None;
        }
        let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        if is_plain && let Ok(number) = text.parse() {
            return Some(Self::Integer(number));
        }
        Some(Time::parse(text).map_or_else(|| Self::Text(Rc::from(text)), |time| Self::Time(Rc::new(time))))
    }

    /// Takes a number that holds an integer exactly.
    #[must_use]
    pub fn from_number(number: f64) -> Option<Self> {
        whole(number).map(Self::Integer)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => fmt::Display::fmt(number, f),
            Self::Time(time) => f.write_str(&time.text),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a version is text of 1 to 256 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(order: VersionOrder, text: &str) -> Option<Version> {
        Version::parse(text).and_then(|version| order.take(version))
    }

    fn assert_ascends(order: VersionOrder, texts: &[&str]) {
        let versions: Vec<Version> = texts.iter().map(|text| taken(order, text).expect(text)).collect();
        for (n, pair) in versions.windows(2).enumerate() {
            assert!(pair[0] < pair[1], "{} is not below {}", texts[n], texts[n + 1]);
        }
        for (version, text) in versions.iter().zip(texts) {
            assert_eq!(version.to_string(), *text, "the text is the server's");
        }
    }

    #[test]
    fn integers_order_by_number_not_by_text() {
        assert_ascends(VersionOrder::Integer, &["0", "9", "10", "18446744073709551615"]);
        assert_eq!(Version::from_number(7.0), Version::parse("7"));
    }

    #[test]
    fn texts_order_by_code_point_not_by_number() {
        assert_ascends(
            VersionOrder::String,
            &["0", "10", "9", "99999999999999999999", "B", "a", "\u{ffff}", "\u{10000}"],
        );
    }

    #[test]
    fn times_order_by_instant_whatever_their_offset_and_fraction() {
        let ascending = [
            "0",
            "0000-01-01T00:00:00Z",
            "1970-01-01T00:00:00Z",
            "2024-02-29T12:00:00.1+05:00",
            "2024-02-29 08:00:00z",
            "9999-12-31T23:59:59Z",
        ];
        assert_ascends(VersionOrder::Timestamp, &ascending);
    }

    #[test]
    fn two_texts_of_one_instant_are_the_same_fact() {
        let of = |text: &str| taken(VersionOrder::Timestamp, text).expect(text);
        assert_eq!(of("2026-11-01T10:00:00Z"), of("2026-11-01T12:00:00.000+02:00"));
        assert_eq!(of("2026-01-01T00:30:00.50+01:00"), of("2025-12-31 23:30:00.5-00:00"));
        assert_ne!(of("2026-11-01T10:00:00Z"), of("2026-11-01T10:00:00.0001Z"));
    }

    #[test]
    fn what_is_not_a_version_of_its_table_is_refused() {
        for text in ["-1", "01", "1.0", "1e3", "one", " 1", "99999999999999999999", "2026-11-01T10:00:00Z"] {
            assert_eq!(taken(VersionOrder::Integer, text), None, "{text}");
        }
        for text in [
            "1042",
            "2026-11-01T10:00:00",
            "2026-11-01",
            "2026-02-29T10:00:00Z",
            "2026-13-01T10:00:00Z",
            "2026-00-01T10:00:00Z",
            "2026-11-00T10:00:00Z",
            "2026-11-01T24:00:00Z",
            "2026-11-01T10:60:00Z",
            "2026-11-01T10:00:61Z",
            "2026-11-01T10:00:00.Z",
            "2026-11-01T10:00:00+2:00",
            "2026-11-01T10:00:00+24:00",
            "2026-11-01T10:00:00Zz",
            "2026-11-01T10:00:0\u{e9}",
            "now",
        ] {
            assert_eq!(taken(VersionOrder::Timestamp, text), None, "{text}");
        }
        for text in ["", &"x".repeat(VERSION_BYTES_MAX + 1)] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
        for number in [-1.0, 0.5, f64::NAN, f64::INFINITY, 9_007_199_254_740_992.0] {
            assert_eq!(Version::from_number(number), None, "{number}");
        }
    }

    #[test]
    fn zero_is_the_lowest_in_every_table() {
        for (order, other) in [
            (VersionOrder::Integer, "1"),
            (VersionOrder::Timestamp, "0000-01-01T00:00:00Z"),
            (VersionOrder::String, "!"),
        ] {
            assert!(taken(order, "0") < taken(order, other), "{}", order.name());
        }
    }
}
