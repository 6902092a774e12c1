//! Slots in which somebody is available: what can be one, and which of them overlap. Predicts what the server decides (`PROTOCOL.md` §10);
//! what this tab can't see (other slots, the rules of their zones), it leaves to the server.

mod index;
mod occur;
mod slot;
mod zone;

use occur::{Span, beginning, first_shared, spans};
use slot::{DAY_S, Draft, ENDS_AT, IS_ACTIVE, RECURRENCE, STARTS_AT, Slot, TIME_ZONE, USER_ID, refused};
use zone::Zone;

use super::given::{require, text};
use crate::engine::error::Error;
use crate::engine::instant;
use crate::engine::operation::{Step, name};
use crate::engine::record::Record;
use crate::engine::rules::Context;
use crate::engine::table::TableConfig;
use crate::engine::value::{Fields, Value};
use crate::engine::view::{SortKey, ViewSpec};

pub use index::{Free, SlotIndex};

/// The domain's name.
pub(crate) const KIND: &str = "availability";

/// What the name of a fact begins with that says the rules of a zone.
const ZONE: &str = "zone:";

/// How many zones an engine can be told of, more than there are, and how long the rules of each may be, in bytes: three times the longest.
const ZONES_MAX: usize = 1_024;
const ZONE_BYTES_MAX: usize = 1 << 15;

const FIELDS: [&str; 6] = [USER_ID, STARTS_AT, ENDS_AT, TIME_ZONE, RECURRENCE, IS_ACTIVE];

/// The list that the rules look into: each person's slots.
const OF_PERSON: usize = 0;

/// How many slots of a person are looked at; behind so many, the server alone finds what overlaps.
const LOOK_MAX: usize = 1_000;

/// How far from the later of two beginnings an overlap is looked for. Weeks repeat, and so do the zones' years.
const HORIZON_S: i64 = 400 * DAY_S;

/// More occurrences than a slot can have in that time.
const OCCURRENCES_MAX: usize = 512;

/// Checks how a table of slots is declared.
pub(crate) fn declare(table: &mut TableConfig) -> Result<Vec<ViewSpec>, Error> {
    if table.domain.len() > 1 {
        let why = text(&["the domain of table \"", &table.name, "\" takes no members but kind"]);
        return Err(Error::InvalidConfiguration(why));
    }
    require(table, &FIELDS, &[USER_ID])?;
    let sort = vec![SortKey { field: USER_ID.to_owned(), descending: false }];
    Ok(vec![ViewSpec { table: table.name.clone(), sort, limit: Some(0), ..ViewSpec::default() }])
}

/// Checks the rules of a zone; `None` for what is none of this domain's facts.
pub(crate) fn check_fact(name: &str, fact: &Value) -> Option<Result<(), Error>> {
    name.strip_prefix(ZONE)?;
    let why =
        "the rules of a zone are {until: ms, transitions: [[ms, seconds east of UTC], …]}, whole seconds in order";
    Some(Zone::read(fact).map(|_| ()).ok_or_else(|| Error::InvalidOperation(why.to_owned())))
}

/// Returns the bounds of what is told of zones; `None` for what is none of this domain's facts.
pub(crate) fn facts_max(name: &str) -> Option<(usize, usize)> {
    name.starts_with(ZONE).then_some((ZONES_MAX, ZONE_BYTES_MAX))
}

fn zone(facts: &Fields, name: &str) -> Option<Zone> {
    Zone::read(facts.get(&text(&[ZONE, name]))?)
}

/// Reads a slot whose zone's rules are known, and checks it by itself.
fn read(field: &dyn Fn(&str) -> Value, facts: &Fields) -> Result<(Slot, Zone), Error> {
    let draft = Draft::read(field)?;
    let Some(zone) = zone(facts, draft.zone()) else {
        return refused("unknown-zone", &text(&["nothing is known of a time zone \"", draft.zone(), "\""]));
    };
    let slot = draft.finish()?;
    let window = Span { from_s: i64::MIN / 2, to_s: i64::MAX / 2 };
    if slot.weekly.is_none() && spans(&slot, &zone, window, 1).is_empty() {
        return match beginning(&slot, &zone) {
            Some(_) => refused("empty-slot", "the clocks change, so that nothing is left of the slot"),
            None => refused("unknown-zone", "the rules of the slot's zone are not known for that time"),
        };
    }
    Ok((slot, zone))
}

/// Checks the slot as it would be.
pub(crate) fn check<R: Record>(
    table: &TableConfig,
    step: &Step<'_>,
    record: Option<&R>,
    context: &Context<'_, R>,
) -> Result<(), Error> {
    if step.name == name::DELETE
        || (step.name == name::PATCH && !FIELDS.iter().any(|field| step.set.contains_key(field)))
    {
        return Ok(());
    }
    let before = |field: &str| record.and_then(|record| record.field(field)).unwrap_or_default();
    let field = |field: &str| step.set.get(field).cloned().unwrap_or_else(|| before(field));
    let (slot, zone) = read(&field, context.facts)?;
    if !slot.is_active {
        return Ok(());
    }
    for (key, other) in context.look.equal(&table.name, OF_PERSON, &field(USER_ID), LOOK_MAX) {
        if key == step.key {
            continue;
        }
        // One that can't be read here is the server's to judge.
        let Ok((other, other_zone)) = read(&|field| other.field(field).unwrap_or_default(), context.facts) else {
            continue;
        };
        if other.is_active
            && other.user == slot.user
            && let Some(at_s) = overlap((&slot, &zone), (&other, &other_zone))
        {
            let at = instant::text(u64::try_from(at_s).unwrap_or(0).saturating_mul(1_000));
            let why = text(&["it overlaps with slot ", &key, " of the same person, first at ", &at]);
            return Err(Error::NotAllowed { code: "overlap", message: why });
        }
    }
    Ok(())
}

/// Returns the first moment that two slots share, within the horizon.
fn overlap(one: (&Slot, &Zone), other: (&Slot, &Zone)) -> Option<i64> {
    let from_s = beginning(one.0, one.1)?.max(beginning(other.0, other.1)?);
    let window = Span { from_s, to_s: from_s.saturating_add(HORIZON_S) };
    let spans = |(slot, zone): (&Slot, &Zone)| spans(slot, zone, window, OCCURRENCES_MAX);
    // A span that began before the window meets the other's only inside it: one of the two begins where the window does.
    first_shared(&spans(one), &spans(other))
}

#[cfg(test)]
mod tests;
