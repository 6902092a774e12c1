//! Points in time as text, read so that they compare whatever their offset and fraction. The calendar is the `time` crate's.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How many digits a fraction of a second may have. More would be equal to each other where their texts are not.
const FRACTION_LEN_MAX: usize = 9;

/// A point in time: seconds since 1970, and nanoseconds from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant {
    seconds: i64,
    nanoseconds: u32,
}

impl Instant {
    /// Reads an RFC 3339 time with an offset, and a fraction of at most nine digits. Date and time may be apart by a space, as databases
    /// write them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let rest = rest.strip_prefix([' ', 'T', 't'])?;
        let fraction = rest.split_once('.').map_or("", |(_, fraction)| fraction);
        if fraction.bytes().take_while(u8::is_ascii_digit).count() > FRACTION_LEN_MAX {
            return None;
        }
        let time = OffsetDateTime::parse(&[date, "T", rest].concat(), &Rfc3339).ok()?;
        Some(Self { seconds: time.unix_timestamp(), nanoseconds: time.nanosecond() })
    }

    /// Returns the milliseconds since 1970; nothing for what was before.
    pub(crate) fn wall_ms(self) -> Option<u64> {
        let ms = u64::try_from(self.seconds).ok()?.checked_mul(1_000)?;
        ms.checked_add(u64::from(self.nanoseconds / 1_000_000))
    }

    /// Reads the same without an offset, too, or a date alone: both are in UTC, as everywhere in the protocol.
    pub(crate) fn parse_lax(text: &str) -> Option<Self> {
        // Nearly every text is told apart by its first letter.
        if !text.as_bytes().first()?.is_ascii_digit() {
            return None;
        }
        let zone = if text.len() == 10 { "T00:00:00Z" } else { "Z" };
        Self::parse(text).or_else(|| Self::parse(&[text, zone].concat()))
    }
}

/// Writes milliseconds since 1970 as RFC 3339 does, in UTC. By hand, as the crate's own writer would cost the wasm 4 kB.
pub(crate) fn text(wall_ms: u64) -> String {
    let seconds = i64::try_from(wall_ms / 1_000).unwrap_or(i64::MAX);
    // Beyond the year 9999 no clock is right.
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut text = String::with_capacity(24);
    let mut put = |number: u32, digits: u32, end: char| {
        for place in (0..digits).rev() {
            text.extend(char::from_digit(number / 10_u32.pow(place) % 10, 10));
        }
        text.push(end);
    };
    put(u32::try_from(time.year()).unwrap_or(0), 4, '-');
    put(u32::from(u8::from(time.month())), 2, '-');
    put(u32::from(time.day()), 2, 'T');
    put(u32::from(time.hour()), 2, ':');
    put(u32::from(time.minute()), 2, ':');
    put(u32::from(time.second()), 2, '.');
    put(u32::try_from(wall_ms % 1_000).unwrap_or(0), 3, 'Z');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::{datetime, format_description};
    use time::{Duration, UtcOffset};

    use super::*;

    fn at(text: &str) -> Instant {
        Instant::parse(text).expect(text)
    }

    #[test]
    fn instants_compare_whatever_their_offset_and_fraction() {
        let ascending = [
            "0000-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999999Z",
            "1970-01-01T00:00:00Z",
            "1970-01-01T00:00:00.000000001Z",
            "2024-02-29T12:00:00+05:30",
            "2024-02-29T12:00:00.1+05:00",
            "2024-02-29T12:00:00.100000001+05:00",
            "2024-02-29T12:00:00.2+05:00",
            "2024-02-29 08:00:00z",
            "2024-03-01T00:00:00+00:00",
            "2024-12-31T23:59:59.999-12:00",
            "2025-01-01t12:00:00Z",
            "9999-12-31T23:59:59Z",
        ];
        for pair in ascending.windows(2) {
            assert!(at(pair[0]) < at(pair[1]), "{} is not before {}", pair[0], pair[1]);
        }
        assert_eq!(at("1970-01-01T00:00:00Z"), Instant { seconds: 0, nanoseconds: 0 });
        assert_eq!(at("2026-01-01T00:30:00.50+01:00"), at("2025-12-31 23:30:00.5-00:00"));
        assert_eq!(at("2016-12-31T23:59:60Z"), at("2016-12-31T23:59:59.999999999Z"), "a leap second ends its minute");
    }

    #[test]
    fn without_an_offset_a_time_is_in_utc_where_that_is_let_in() {
        for (text, full) in [
            ("2026-11-01", "2026-11-01T00:00:00Z"),
            ("2026-11-01 10:00:00", "2026-11-01T10:00:00Z"),
            ("2026-11-01T10:00:00.25", "2026-11-01T10:00:00.25Z"),
            ("2026-11-01T10:00:00+02:00", "2026-11-01T08:00:00Z"),
        ] {
            assert_eq!(Instant::parse_lax(text), Some(at(full)), "{text}");
        }
        for text in ["2026-11-01", "2026-11-01 10:00:00", "2026-11-01T10:00:00.25"] {
            assert_eq!(Instant::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "now",
            "1042",
            "2026-02-29",
            "2023-02-29T10:00:00Z",
            "1900-02-29T10:00:00Z",
            "2026-04-31T10:00:00Z",
            "2026-13-01T10:00:00Z",
            "2026-00-01T10:00:00Z",
            "2026-11-00T10:00:00Z",
            "2026-11-01T24:00:00Z",
            "2026-11-01T10:60:00Z",
            "2026-11-01T10:00:61Z",
            "2026-11-01T10:00Z",
            "2026-11-01T10:00:00.Z",
            "2026-11-01T10:00:00.0123456789Z",
            "2026-11-01T10:00:00+2:00",
            "2026-11-01T10:00:00+24:00",
            "2026-11-01T10:00:00Zz",
            "2026-11-01T10:00:0\u{e9}",
            "2026-11-0\u{e9}T10:00:00Z",
            "2026-11-01-10:00:00Z",
            "2026/11/01T10:00:00Z",
            "+2026-11-01T10:00:00Z",
            "2026-11-01T",
            "26-11-01T10:00:00Z",
        ] {
            assert_eq!(Instant::parse(text), None, "{text}");
            assert_eq!(Instant::parse_lax(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn milliseconds_are_written_as_they_are_read(ms in 0_u64..253_402_300_800_000) {
            let text = super::text(ms);
            prop_assert_eq!(text.len(), 24);
            prop_assert_eq!(Instant::parse(&text).and_then(Instant::wall_ms), Some(ms), "{}", text);
        }

        #[test]
        fn what_is_written_is_read_again(
            seconds in -62_000_000_000_i64..253_000_000_000,
            nanoseconds in 0_u32..1_000_000_000,
            minutes in -14 * 60..14 * 60_i32,
        ) {
            let offset = UtcOffset::from_whole_seconds(minutes * 60).unwrap();
            let since = Duration::new(seconds, i32::try_from(nanoseconds).unwrap());
            let time = (datetime!(1970-01-01 00:00 UTC) + since).to_offset(offset);
            let format = format_description!(
                "[year]-[month]-[day] [hour]:[minute]:[second].[subsecond][offset_hour sign:mandatory]:[offset_minute]"
            );
            let read = Instant::parse(&time.format(&format).unwrap());
            prop_assert_eq!(read, Some(Instant { seconds, nanoseconds }));
        }
    }
}
