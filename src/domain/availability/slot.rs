//! A slot as its fields say: local times, a zone, perhaps a weekly recurrence. What can't be one is refused with the code that the server
//! gives too.

use time::{Date, Month};

use super::super::given::text;
use super::zone::Wall;
use crate::engine::error::Error;
use crate::engine::sorted::sort;
use crate::engine::value::{Fields, Value, whole};

pub(crate) const USER_ID: &str = "user_id";
pub(crate) const STARTS_AT: &str = "starts_at";
pub(crate) const ENDS_AT: &str = "ends_at";
pub(crate) const TIME_ZONE: &str = "time_zone";
pub(crate) const RECURRENCE: &str = "recurrence";
pub(crate) const IS_ACTIVE: &str = "is_active";

pub(crate) const DAY_S: i64 = 86_400;

/// How long a slot may be.
const LENGTH_S_MAX: i64 = 366 * DAY_S;

/// The years that a slot may be in.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=2199;

const COUNT_MAX: u64 = 1_000;
const EXCEPT_MAX: usize = 1_000;
const WEEKDAYS: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];

/// A date, in days since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(pub(crate) i64);

impl Day {
    fn read(text: &str) -> Option<Self> {
        let (year, rest) = text.split_once('-')?;
        let (month, day) = rest.split_once('-')?;
        let (year, month, day) = (digits(year, 4)?, digits(month, 2)?, digits(day, 2)?);
        let (month, day) = (Month::try_from(u8::try_from(month).ok()?).ok()?, u8::try_from(day).ok()?);
        let year = i32::try_from(year).ok().filter(|year| YEARS.contains(year))?;
        let date = Date::from_calendar_date(year, month, day).ok()?;
        Some(Self(i64::from(date.to_julian_day()) - 2_440_588))
    }

    /// Monday is the first bit; 1970 began on a Thursday.
    pub(crate) const fn weekday(self) -> u32 {
        // Between 0 and 6.
        #[expect(clippy::cast_possible_truncation)]
        {
            (self.0 + 3).rem_euclid(7) as u32
        }
    }
}

fn digits(text: &str, len: usize) -> Option<i64> {
    (text.len() == len && text.bytes().all(|digit| digit.is_ascii_digit())).then(|| text.parse().ok())?
}

impl Wall {
    /// Reads `2026-11-01T09:00`, with or without seconds.
    fn read(text: &str) -> Option<Self> {
        let (date, time) = text.split_once('T')?;
        let mut parts = time.split(':');
        let (hours, minutes) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
        let seconds = parts.next().map_or(Some(0), |seconds| digits(seconds, 2))?;
        let is_time = hours < 24 && minutes < 60 && seconds < 60 && parts.next().is_none();
        is_time.then_some(Self(Day::read(date)?.0 * DAY_S + hours * 3_600 + minutes * 60 + seconds))
    }
}

/// When a recurrence ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Never,
    /// The last date on which an occurrence begins.
    Until(Day),
    /// After so many, the excepted ones included.
    Count(u64),
}

/// On which days of each week it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Weekly {
    /// A bit for each day, Monday the lowest.
    pub(crate) days: u8,
    pub(crate) end: End,
    /// In order.
    pub(crate) except: Vec<Day>,
}

/// A slot. Its zone's rules are not looked at here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) user: String,
    pub(crate) start: Wall,
    /// In wall time, and more than nothing.
    pub(crate) length_s: i64,
    pub(crate) zone: String,
    pub(crate) weekly: Option<Weekly>,
    pub(crate) is_active: bool,
}

/// A slot whose times and recurrence are still to be looked at: zones come first.
pub(crate) struct Draft {
    slot: Slot,
    recurrence: Option<Fields>,
}

impl Draft {
    /// Reads the fields of a slot.
    ///
    /// # Errors
    /// [`Error::InvalidOperation`].
    pub(crate) fn read(field: &dyn Fn(&str) -> Value) -> Result<Self, Error> {
        let words = |name: &str| match field(name) {
            Value::String(words) if !words.is_empty() => Ok(words),
            _ => Err(unreadable(name, "text")),
        };
        let wall = |name: &str| {
            Wall::read(&words(name)?).ok_or_else(|| unreadable(name, "a local time like 2026-11-01T09:00"))
        };
        let (user, zone) = (
            super::super::given::key(&field(USER_ID)).ok_or_else(|| unreadable(USER_ID, "a person's id"))?,
            words(TIME_ZONE)?,
        );
        let (start, end) = (wall(STARTS_AT)?, wall(ENDS_AT)?);
        let is_active = match field(IS_ACTIVE) {
            Value::Bool(is_active) => is_active,
            // What the column's default says.
            Value::Null => true,
            _ => return Err(unreadable(IS_ACTIVE, "true or false")),
        };
        let recurrence = match field(RECURRENCE) {
            Value::Null => None,
            Value::Map(fields) => Some(fields),
            _ => return Err(unreadable(RECURRENCE, "an object or null")),
        };
        let slot = Slot { user, start, length_s: end.0 - start.0, zone, weekly: None, is_active };
        Ok(Self { slot, recurrence })
    }

    pub(crate) fn zone(&self) -> &str {
        &self.slot.zone
    }

    /// Looks at the times, now that the zone is known.
    ///
    /// # Errors
    /// `reversed-slot`, `empty-slot`, `invalid-recurrence`, and [`Error::InvalidOperation`] for one that is too long.
    pub(crate) fn finish(self) -> Result<Slot, Error> {
        let Self { mut slot, recurrence } = self;
        if slot.length_s < 0 {
            return refused("reversed-slot", "the slot ends before it begins");
        }
        if slot.length_s == 0 {
            return refused("empty-slot", "the slot ends when it begins");
        }
        if slot.length_s > LENGTH_S_MAX {
            return Err(unreadable(ENDS_AT, "at most 366 days after the beginning"));
        }
        if let Some(fields) = recurrence {
            let weekly = Weekly::read(&fields)?;
            weekly.check(slot.first_day(), slot.length_s)?;
            slot.weekly = Some(weekly);
        }
        Ok(slot)
    }
}

impl Slot {
    /// The date on which it first begins.
    pub(crate) const fn first_day(&self) -> Day {
        Day(self.start.0.div_euclid(DAY_S))
    }
}

impl Weekly {
    fn read(fields: &Fields) -> Result<Self, Error> {
        let wrong = || not_recurring("it is {freq: \"weekly\", byDay: [\"MO\", …], until or count, except: [dates]}");
        let is_known = |name: &String| ["freq", "byDay", "until", "count", "except"].contains(&name.as_str());
        if !fields.keys().all(is_known) || fields.get("freq").and_then(Value::as_str) != Some("weekly") {
            return Err(wrong());
        }
        let Some(Value::List(names)) = fields.get("byDay") else { return Err(wrong()) };
        let mut days = 0;
        for name in names {
            let at = WEEKDAYS.iter().position(|known| name.as_str() == Some(known)).ok_or_else(wrong)?;
            if days & 1 << at != 0 {
                return Err(not_recurring("it names a day twice"));
            }
            days |= 1 << at;
        }
        let given = |name: &str| fields.get(name).filter(|value| !value.is_null());
        let end = match (given("until"), given("count")) {
            (None, None) => End::Never,
            (Some(until), None) => End::Until(day(until).ok_or_else(wrong)?),
            (None, Some(Value::Number(count))) => {
                let count = whole(*count).filter(|count| (1..=COUNT_MAX).contains(count));
                End::Count(count.ok_or_else(|| not_recurring("its count is not between 1 and 1000"))?)
            }
            _ => return Err(wrong()),
        };
        let mut except = match given("except") {
            None => Vec::new(),
            Some(Value::List(dates)) if dates.len() <= EXCEPT_MAX => {
                dates.iter().map(day).collect::<Option<Vec<Day>>>().ok_or_else(wrong)?
            }
            Some(_) => return Err(wrong()),
        };
        sort(&mut except);
        Ok(Self { days, end, except })
    }

    fn check(&self, first: Day, length_s: i64) -> Result<(), Error> {
        if self.days & 1 << first.weekday() == 0 {
            return Err(not_recurring("its byDay lacks the weekday on which it begins"));
        }
        if matches!(self.end, End::Until(until) if until < first) {
            return Err(not_recurring("it ends before it begins"));
        }
        if length_s > self.shortest_gap_s() {
            return Err(not_recurring("it begins again before it ends"));
        }
        // Endless ones have more occurrences than exceptions; of the others one beyond the exceptions has to be left.
        let mut days = self.days_from(first, first).take(EXCEPT_MAX + 1);
        if days.all(|day| self.is_excepted(day)) {
            return Err(not_recurring("all its occurrences are excepted"));
        }
        Ok(())
    }

    /// The shortest time between two of its days.
    fn shortest_gap_s(&self) -> i64 {
        let is_on = |day: u32| self.days & 1 << (day % 7) != 0;
        let gap = |from: u32| (1..=7).find(|days| is_on(from + days)).unwrap_or(7);
        let gaps = (0..7).filter(|day| is_on(*day)).map(gap);
        i64::from(gaps.min().unwrap_or(7)) * DAY_S
    }

    pub(crate) fn is_excepted(&self, day: Day) -> bool {
        self.except.binary_search(&day).is_ok()
    }

    /// Walks over the days on which it begins, excepted ones included, from a day on.
    pub(crate) fn days_from(&self, first: Day, from: Day) -> impl Iterator<Item = Day> {
        let start = from.max(first);
        let before = self.count_between(first, start);
        let on = (start.0..).map(Day).filter(|day| self.days & 1 << day.weekday() != 0);
        on.zip(before..)
            .take_while(|(day, count)| match self.end {
                End::Never => true,
                End::Until(until) => *day <= until,
                End::Count(count_max) => *count < count_max,
            })
            .map(|(day, _)| day)
    }

    /// How many of its days there are from one to, and without, another.
    fn count_between(&self, from: Day, to: Day) -> u64 {
        let days = u64::try_from(to.0 - from.0).unwrap_or(0);
        let weeks = days / 7 * u64::from(self.days.count_ones());
        let rest = (0..i64::try_from(days % 7).unwrap_or(0)).map(|day| Day(from.0 + day));
        weeks + rest.filter(|day| self.days & 1 << day.weekday() != 0).map(|_| 1).sum::<u64>()
    }
}

fn day(value: &Value) -> Option<Day> {
    Day::read(value.as_str()?)
}

pub(crate) fn refused<T>(code: &'static str, message: &str) -> Result<T, Error> {
    Err(Error::NotAllowed { code, message: message.to_owned() })
}

fn not_recurring(why: &str) -> Error {
    Error::NotAllowed { code: "invalid-recurrence", message: text(&["the recurrence can't be: ", why]) }
}

fn unreadable(field: &str, what: &str) -> Error {
    Error::InvalidOperation(text(&["\"", field, "\" of a slot is not ", what]))
}
