//! The data that may enter the engine: JSON's kinds, with finite numbers, and nothing else.
//!
//! An integer beyond 2⁵³ − 1 is refused, because a JavaScript number can't hold it; it travels as a string.

use std::fmt;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::sorted::Named;

/// The largest integer that a 64-bit float holds exactly together with its neighbours: 2⁵³ − 1.
pub const INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// Returns the integer that a number holds exactly, if it is one and not negative.
#[must_use]
pub fn whole(number: f64) -> Option<u64> {
    let is_exact = number.fract() == 0.0 && (0.0..=INTEGER_MAX).contains(&number);
    // In range by the line above, so the cast is exact.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    is_exact.then_some(number as u64)
}

/// How deep lists and maps may nest. Deeper input is refused, so that no input can exhaust the stack.
pub const DEPTH_MAX: usize = 64;

/// The fields of a record, or the arguments of an operation, by name.
pub type Fields = Named<Value>;

/// One value of a record.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing; also what a missing field reads as.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A finite number.
    Number(f64),
    /// Text.
    String(String),
    /// An ordered list.
    List(Vec<Value>),
    /// Named values.
    Map(Fields),
}

impl Value {
    /// Returns the text of a string value.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// Returns how much it holds, in bytes of text, roughly.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => 8,
            Self::String(text) => 8 + text.len(),
            Self::List(items) => 8 + items.iter().map(Self::bytes).sum::<usize>(),
            Self::Map(fields) => 8 + fields.iter().map(|(name, value)| name.len() + value.bytes()).sum::<usize>(),
        }
    }

    /// Returns true for [`Value::Null`].
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Takes a number, if it is one that the engine can keep: finite, and exact where it is an integer.
    #[must_use]
    pub fn number(number: f64) -> Option<Self> {
        let keeps = number.is_finite() && (number.fract() != 0.0 || number.abs() <= INTEGER_MAX);
        keeps.then_some(Self::Number(if number == 0.0 { 0.0 } else { number }))
    }
}

/// Returns a key field's value as text; text must not be empty, a number must be an integer.
#[must_use]
pub fn key_part(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        // An integer is within 2^53 (`Value::number`), so the cast is exact; printing a float would cost the wasm 11 kB.
        #[expect(clippy::cast_possible_truncation)]
        Value::Number(number) if number.fract() == 0.0 => Some((*number as i64).to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::List(_) | Value::Map(_) => None,
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Number(number) => serialize_number(*number, serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(fields) => fields.serialize(serializer),
        }
    }
}

/// Writes an integer without a fraction (`12`, not `12.0`), as JavaScript and RFC 8785 do.
fn serialize_number<S: Serializer>(number: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if number.fract() == 0.0 && number.abs() <= INTEGER_MAX {
        // In range by the line above, so the cast is exact.
        #[expect(clippy::cast_possible_truncation)]
        return serializer.serialize_i64(number as i64);
    }
    serializer.serialize_f64(number)
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

const NOT_EXACT: &str = "a number must be finite, and an integer at most 2^53 - 1; send larger ones as text";

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a boolean, a finite number, text, a list or an object")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    #[expect(clippy::cast_precision_loss)] // `Value::number` refuses whatever the cast would round
    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
        Value::number(number as f64).ok_or_else(|| E::custom(NOT_EXACT))
    }

    #[expect(clippy::cast_precision_loss)] // as above
    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        Value::number(number as f64).ok_or_else(|| E::custom(NOT_EXACT))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        Value::number(number).ok_or_else(|| E::custom(NOT_EXACT))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        shallow(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        shallow(Value::Map(Fields::from(fields)))
    }
}

/// Refuses what nests deeper than [`DEPTH_MAX`].
fn shallow<E: serde::de::Error>(value: Value) -> Result<Value, E> {
    if depth(&value) > DEPTH_MAX {
        return Err(E::custom("lists and objects nest too deep"));
    }
    Ok(value)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
    }
}

/// Reads a member that may be null *and* may be missing, keeping the two apart.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Value, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn an_integer_is_written_without_a_fraction() {
        let text = serde_json::to_string(&read("[1, 1.0, -0, 2.5, 9007199254740991]").unwrap()).unwrap();
        assert_eq!(text, "[1,1,0,2.5,9007199254740991]");
    }

    #[test]
    fn an_integer_beyond_two_to_the_53_is_refused() {
        for json in ["9007199254740992", "-9007199254740992", "18446744073709551615", "1e300"] {
            assert!(read(json).is_err(), "{json} was taken");
        }
    }

    #[test]
    fn nesting_beyond_the_bound_is_refused_and_up_to_it_is_taken() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(DEPTH_MAX)).is_ok());
        assert!(read(&nested(DEPTH_MAX + 1)).is_err());
    }
}
