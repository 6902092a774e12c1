//! In which order values and records come. A total order, so that equal records give equal lists wherever they came from.

use std::cmp::Ordering;

use super::rows::Indexed;
use crate::engine::value::Value;

/// Compares two values of any kind: booleans, numbers, text by code point, lists, objects, null.
pub(super) fn compare(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        // Numbers are finite (`Value::number`), so they always compare.
        (Value::Number(one), Value::Number(other)) => one.partial_cmp(other).unwrap_or(Ordering::Equal),
        // Bytes of UTF-8 sort as code points do.
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::List(one), Value::List(other)) => {
            first_difference(one.iter().zip(other).map(|(one, other)| compare(one, other)))
                .then(one.len().cmp(&other.len()))
        }
        (Value::Map(one), Value::Map(other)) => {
            let members = one.iter().zip(other.iter());
            first_difference(members.map(|(one, other)| one.0.cmp(other.0).then_with(|| compare(one.1, other.1))))
                .then(one.len().cmp(&other.len()))
        }
        _ => kind(one).cmp(&kind(other)),
    }
}

/// Compares what has an order that people know: two booleans, two numbers, two texts.
pub(super) fn compare_alike(one: &Value, other: &Value) -> Option<Ordering> {
    let is_plain = matches!(one, Value::Bool(_) | Value::Number(_) | Value::String(_));
    (is_plain && kind(one) == kind(other)).then(|| compare(one, other))
}

const fn kind(value: &Value) -> u8 {
    match value {
        Value::Bool(_) => 0,
        Value::Number(_) => 1,
        Value::String(_) => 2,
        Value::List(_) => 3,
        Value::Map(_) => 4,
        Value::Null => 5,
    }
}

/// The first eight bytes of a text.
fn text_hint(text: &str) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    u64::from_be_bytes(bytes)
}

fn first_difference(mut compared: impl Iterator<Item = Ordering>) -> Ordering {
    compared.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// By which values records are sorted.
#[derive(Debug)]
pub(super) struct Order(Vec<(usize, bool)>);

impl Order {
    /// Makes the order by these places in a record's indexed values; true for the largest first.
    pub(super) const fn new(keys: Vec<(usize, bool)>) -> Self {
        Self(keys)
    }

    /// Compares two records of one table. Only a record and itself are equal.
    pub(super) fn compare(&self, one: &Indexed, other: &Indexed) -> Ordering {
        for (slot, descending) in &self.0 {
            let (left, right) = (one.value(*slot), other.value(*slot));
            let order = compare(left, right);
            // Null comes last whichever way the others are sorted.
            let is_reversed = *descending && !left.is_null() && !right.is_null();
            let order = if is_reversed { order.reverse() } else { order };
            if order.is_ne() {
                return order;
            }
        }
        one.key.cmp(&other.key)
    }

    /// Compares a record's first field to sort by with a value.
    pub(super) fn compare_first(&self, row: &Indexed, value: &Value) -> Ordering {
        let Some((slot, descending)) = self.0.first() else { return Ordering::Equal };
        let order = compare(row.value(*slot), value);
        let is_reversed = *descending && !row.value(*slot).is_null() && !value.is_null();
        if is_reversed { order.reverse() } else { order }
    }

    /// Returns a number that never goes down from one record to a later one.
    pub(super) fn hint(&self, row: &Indexed) -> u64 {
        let Some((slot, descending)) = self.0.first() else { return text_hint(&row.key) };
        let value = row.value(*slot);
        let content = match value {
            Value::Null => return u64::MAX,
            Value::Bool(flag) => u64::from(*flag),
            Value::Number(number) => {
                // The bits of floats sort as floats do, once the negative ones are turned around. Zero has one sign here.
                let bits = (number + 0.0).to_bits();
                (if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }) >> 3
            }
            Value::String(text) => text_hint(text) >> 3,
            Value::List(_) | Value::Map(_) => 0,
        };
        let hint = u64::from(kind(value)) << 61 | content;
        if *descending { !hint } else { hint }
    }

    /// True when two states of one record have the same place among the others.
    pub(super) fn ties(&self, one: &Indexed, other: &Indexed) -> bool {
        self.0.iter().all(|(slot, _)| compare(one.value(*slot), other.value(*slot)).is_eq())
    }
}
