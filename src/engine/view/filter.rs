//! Whether a record passes a filter: the filter with its fields looked up and its lists sorted, evaluated without a copy.

use std::cmp::Ordering;

use super::order::{compare, compare_alike};
use super::rows::Indexed;
use super::spec::{Filter, Term};
use crate::engine::error::Error;
use crate::engine::sorted::sort_by;
use crate::engine::value::Value;

/// A filter, ready to be asked.
#[derive(Debug)]
pub(super) enum Condition {
    Equals(usize, Value),
    /// The one less than the other, or the same if that counts too; true for greater.
    Beyond {
        slot: usize,
        value: Value,
        greater: bool,
        or_equal: bool,
    },
    /// The values are sorted.
    OneOf(usize, Vec<Value>),
    Contains(usize, Value),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
}

/// Where a field is among a record's indexed values.
pub(super) type Slots<'a> = dyn Fn(&str) -> Result<usize, Error> + 'a;

impl Condition {
    /// Looks the fields of a filter up.
    pub(super) fn new(filter: &Filter, slots: &Slots<'_>) -> Result<Self, Error> {
        let equals = |term: &Term| Ok(Self::Equals(slots(&term.field)?, term.value.clone()));
        let beyond = |field: &str, value: &Value, greater, or_equal| {
            Ok(Self::Beyond { slot: slots(field)?, value: value.clone(), greater, or_equal })
        };
        let each = |filters: &[Filter]| -> Result<Vec<Self>, Error> {
            filters.iter().map(|filter| Self::new(filter, slots)).collect()
        };
        Ok(match filter {
            Filter::Eq(term) => equals(term)?,
            Filter::Neq(term) => Self::Not(Box::new(equals(term)?)),
            Filter::Lt(term) => beyond(&term.field, &term.value, false, false)?,
            Filter::Lte(term) => beyond(&term.field, &term.value, false, true)?,
            Filter::Gt(term) => beyond(&term.field, &term.value, true, false)?,
            Filter::Gte(term) => beyond(&term.field, &term.value, true, true)?,
            Filter::In(terms) => {
                let mut values = terms.values.clone();
                sort_by(&mut values, compare);
                Self::OneOf(slots(&terms.field)?, values)
            }
            Filter::IsNull(named) => Self::Equals(slots(&named.field)?, Value::Null),
            Filter::Contains(term) => Self::Contains(slots(&term.field)?, term.value.clone()),
            Filter::Between(range) => {
                let (from, to) = (&range.from, &range.to);
                Self::All(vec![beyond(&range.field, from, true, true)?, beyond(&range.field, to, false, true)?])
            }
            Filter::And(filters) => Self::All(each(filters)?),
            Filter::Or(filters) => Self::Any(each(filters)?),
            Filter::Not(filter) => Self::Not(Box::new(Self::new(filter, slots)?)),
        })
    }

    /// Says whether a record passes. As deep as the filter is, which is bounded.
    pub(super) fn holds(&self, row: &Indexed) -> bool {
        match self {
            Self::Equals(slot, value) => compare(row.value(*slot), value).is_eq(),
            Self::Beyond { slot, value, greater, or_equal } => match compare_alike(row.value(*slot), value) {
                Some(Ordering::Equal) => *or_equal,
                Some(Ordering::Less) => !greater,
                Some(Ordering::Greater) => *greater,
                None => false,
            },
            Self::OneOf(slot, values) => values.binary_search_by(|value| compare(value, row.value(*slot))).is_ok(),
            Self::Contains(slot, wanted) => match (row.value(*slot), wanted) {
                (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
                (Value::List(items), wanted) => items.iter().any(|item| compare(item, wanted).is_eq()),
                _ => false,
            },
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(row)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(row)),
            Self::Not(condition) => !condition.holds(row),
        }
    }
}
