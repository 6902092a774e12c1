//! Three-way merge, field by field: what a person saw (base), what they want (ours), what the server has by now (theirs).
//!
//! Only where both sides moved away from the base, to different values, is there a conflict. A field's declared rule decides
//! it, or, where there is none or it can't be applied to the values that are there, a person does.

use std::cmp::Ordering;

use serde::{Deserialize, Deserializer, Serialize};

use super::instant::Instant;
use super::sorted::Named;
use super::value::{Fields, INTEGER_MAX, Value};

/// How long a list may be that is merged by itself; with longer ones a person decides.
pub const UNION_LEN_MAX: usize = 2_000;

/// How a field's conflicts are decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// The later of two timestamps (RFC 3339, compared as instants), the larger of two numbers.
    Latest,
    /// Lists, each item once: what both sides kept, in the base's order, then what theirs added, then what ours added.
    /// What either side took out stays out.
    Union,
    /// Ours, which will be the later version, unless it is null; then theirs.
    MostRecentNotNull,
    /// Objects, member by member; a member that both sides changed differently is left to a person, unless it is an object itself.
    Recursive,
    /// The larger of two numbers, or the later of two timestamps.
    Max,
    /// The smaller of two numbers, or the earlier of two timestamps.
    Min,
    /// Theirs, and on top what ours added to the base; of two who added the same, each counts. In decimals, and only if the
    /// sum is exact.
    Sum,
    /// What this person wanted.
    Ours,
    /// What the server has.
    Theirs,
    /// A person decides.
    #[default]
    Person,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 10] = [
        Self::Latest,
        Self::Union,
        Self::MostRecentNotNull,
        Self::Recursive,
        Self::Max,
        Self::Min,
        Self::Sum,
        Self::Ours,
        Self::Theirs,
        Self::Person,
    ];

    /// Returns the name under which tables declare it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::Union => "union",
            Self::MostRecentNotNull => "mostRecentNotNull",
            Self::Recursive => "recursive",
            Self::Max => "max",
            Self::Min => "min",
            Self::Sum => "sum",
            Self::Ours => "ours",
            Self::Theirs => "theirs",
            Self::Person => "person",
        }
    }

    /// True where both sides moved away from the base, to different values, or, where both are to be added up, to any.
    fn is_conflict(self, base: &Value, ours: &Value, theirs: &Value) -> bool {
        !same(ours, base) && !same(theirs, base) && (self == Self::Sum || !same(ours, theirs))
    }

    /// Merges one field. A missing value is null. `None`: a person has to decide.
    #[must_use]
    pub fn merge(self, base: &Value, ours: &Value, theirs: &Value) -> Option<Value> {
        if !self.is_conflict(base, ours, theirs) {
            let is_ours_alone = same(theirs, base) && !same(ours, base);
            return Some(if is_ours_alone { ours.clone() } else { theirs.clone() });
        }
        match self {
            Self::Latest | Self::Max => extreme(ours, theirs, Ordering::Greater),
            Self::Min => extreme(ours, theirs, Ordering::Less),
            Self::Union => union(base, ours, theirs),
            Self::MostRecentNotNull => Some(if ours.is_null() { theirs.clone() } else { ours.clone() }),
            Self::Recursive => recursive(base, ours, theirs, &|_, _, _| None),
            Self::Sum => sum(base, ours, theirs),
            Self::Ours => Some(ours.clone()),
            Self::Theirs => Some(theirs.clone()),
            Self::Person => None,
        }
    }
}

/// One field that both sides changed, with its three sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldConflict {
    /// The field.
    pub field: String,
    /// What the person saw when deciding.
    pub base: Value,
    /// What the person wants.
    pub ours: Value,
    /// What the server has.
    pub theirs: Value,
    /// The rule that was declared for it.
    pub rule: Rule,
    /// What the rule makes of it; missing where a person has to decide.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub merged: Option<Value>,
}

/// A null is a value too.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl FieldConflict {
    /// Returns what a merge shown to a person holds: what the rule says, or what suits the kind of the values.
    #[must_use]
    pub fn suggestion(&self) -> Value {
        self.merged.clone().unwrap_or_else(|| suggest(&self.base, &self.ours, &self.theirs))
    }
}

/// What was decided on a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Decided {
    /// The declared rules decided every field.
    Auto,
    /// A person decided field by field.
    Manual,
    /// A person took what they had wanted.
    Local,
    /// A person, or the rules, left it as the server has it.
    Server,
    /// A person took the merge that was shown.
    Merge,
}

impl Decided {
    /// All decisions.
    pub const ALL: [Self; 5] = [Self::Auto, Self::Manual, Self::Local, Self::Server, Self::Merge];

    /// Returns the name that users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Manual => "manual",
            Self::Local => "local",
            Self::Server => "server",
            Self::Merge => "merge",
        }
    }
}

/// A decision, as it travels with the operation that carries it out: what the record of decisions is made of, in every tab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// What was decided.
    pub decided: Decided,
    /// Who decided: a user's id, or null for the declared rules.
    pub by: Option<String>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// How many decisions in a row the rules made on this change, this one included; 0 where a person decided.
    pub round: u32,
    /// The fields in conflict, with what came of each in `merged`.
    pub fields: Vec<FieldConflict>,
}

/// Finds the fields in which a patch and the server are at odds. `named` are those that the server named: it compares by the
/// columns' types, and its word counts, where it gave one.
pub(crate) fn conflicts(
    base: &Fields,
    set: &Fields,
    theirs: &dyn Fn(&str) -> Value,
    named: &[String],
    rules: &Named<Rule>,
) -> Vec<FieldConflict> {
    let mut found = Vec::new();
    for (field, ours) in set {
        let (base, theirs) = (base.get(field).cloned().unwrap_or_default(), theirs(field));
        let rule = rules.get(field).copied().unwrap_or_default();
        if rule.is_conflict(&base, ours, &theirs) && (named.is_empty() || named.contains(field)) {
            let merged = rule.merge(&base, ours, &theirs);
            found.push(FieldConflict { field: field.clone(), base, ours: ours.clone(), theirs, rule, merged });
        }
    }
    // A field that was only watched has no side of ours to merge: whether the change still holds, a person knows.
    for (field, base) in base {
        let theirs = theirs(field);
        if !set.contains_key(field) && !same(base, &theirs) && (named.is_empty() || named.contains(field)) {
            let (field, base, ours) = (field.clone(), base.clone(), base.clone());
            found.push(FieldConflict { field, base, ours, theirs, rule: Rule::Person, merged: None });
        }
    }
    found
}

/// Returns what a merge holds in each field that a patch sets. The conflicts among them are decided by `decided`; elsewhere
/// what moved is taken, and of what both sides moved alike, the server's spelling.
pub(crate) fn merged(
    (base, set): (&Fields, &Fields),
    theirs: &dyn Fn(&str) -> Value,
    found: &[FieldConflict],
    decided: &dyn Fn(&FieldConflict) -> Value,
) -> Fields {
    let field = |(name, ours): &(String, Value)| {
        let value = match found.iter().find(|conflict| conflict.field == *name) {
            Some(conflict) => decided(conflict),
            None => {
                let (seen, theirs) = (base.get(name).cloned().unwrap_or_default(), theirs(name));
                if same(ours, &theirs) || same(ours, &seen) { theirs } else { ours.clone() }
            }
        };
        (name.clone(), value)
    };
    set.into_iter().map(field).collect()
}

/// Takes those fields that differ from the server's, with the server's values as what is seen now.
pub(crate) fn differing(wanted: Fields, theirs: &dyn Fn(&str) -> Value) -> (Fields, Fields) {
    let (mut set, mut base) = (Fields::new(), Fields::new());
    for (field, value) in wanted {
        let theirs = theirs(&field);
        if !same(&value, &theirs) {
            base.insert(field.clone(), theirs);
            set.insert(field, value);
        }
    }
    (set, base)
}

/// Equal, or the same instant in another spelling: a server writes timestamps in its own.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    one == other || matches!((instant(one), instant(other)), (Some(one), Some(other)) if one == other)
}

fn extreme(ours: &Value, theirs: &Value, wanted: Ordering) -> Option<Value> {
    let order = compare(ours, theirs)?;
    Some(if order == wanted { ours.clone() } else { theirs.clone() })
}

/// Compares two numbers, or two timestamps. Integers that are text because they are too large for a number are numbers.
fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    if let (Value::Number(one), Value::Number(other)) = (one, other) {
        return one.partial_cmp(other);
    }
    if let (Some(one), Some(other)) = (instant(one), instant(other)) {
        return Some(one.cmp(&other));
    }
    Some(integer(one)?.cmp(&integer(other)?))
}

/// Reads an integer of at most 64 bits: a number, or text in its one decimal form.
fn integer(value: &Value) -> Option<i64> {
    match value {
        // In range by what `Value::number` lets in, so the cast is exact.
        #[expect(clippy::cast_possible_truncation)]
        Value::Number(number) if number.fract() == 0.0 => Some(*number as i64),
        Value::String(text) => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let is_plain = text == "0" || (!digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
            if is_plain { text.parse().ok() } else { None }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_) => None,
    }
}

/// Reads an RFC 3339 timestamp, or a date alone.
fn instant(value: &Value) -> Option<Instant> {
    Instant::parse_lax(value.as_str()?)
}

fn union(base: &Value, ours: &Value, theirs: &Value) -> Option<Value> {
    let (Value::List(ours), Value::List(theirs)) = (ours, theirs) else { return None };
    let base: &[Value] = match base {
        Value::List(base) => base,
        Value::Null => &[],
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Map(_) => return None,
    };
    if [base.len(), ours.len(), theirs.len()].into_iter().any(|len| len > UNION_LEN_MAX) {
        return None;
    }
    let mut merged: Vec<Value> = Vec::new();
    let mut add = |item: &Value| {
        if !merged.contains(item) {
            merged.push(item.clone());
        }
    };
    base.iter().filter(|item| ours.contains(item) && theirs.contains(item)).for_each(&mut add);
    theirs.iter().chain(ours).filter(|item| !base.contains(item)).for_each(&mut add);
    Some(Value::List(merged))
}

/// Decides a member that both sides changed differently.
type Inner<'a> = &'a dyn Fn(&Value, &Value, &Value) -> Option<Value>;

/// Merges objects by member; one that is missing and one that is null are two things.
fn recursive(base: &Value, ours: &Value, theirs: &Value, inner: Inner<'_>) -> Option<Value> {
    let (Value::Map(ours), Value::Map(theirs)) = (ours, theirs) else { return None };
    let none = Fields::new();
    let base = match base {
        Value::Map(base) => base,
        Value::Null => &none,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::List(_) => return None,
    };
    let mut merged = Vec::new();
    for name in ours.keys().chain(theirs.keys().filter(|name| !ours.contains_key(name))) {
        let sides = (base.get(name), ours.get(name), theirs.get(name));
        let member = match sides {
            (base, ours, theirs) if ours == theirs || theirs == base => ours.cloned(),
            (base, ours, theirs) if ours == base => theirs.cloned(),
            (base, Some(ours), Some(theirs)) => {
                let base = base.cloned().unwrap_or_default();
                Some(recursive(&base, ours, theirs, inner).or_else(|| inner(&base, ours, theirs))?)
            }
            // One side took out what the other changed.
            (base, ours, theirs) => {
                let side = |value: Option<&Value>| value.cloned().unwrap_or_default();
                Some(inner(&side(base), &side(ours), &side(theirs))?)
            }
        };
        if let Some(member) = member {
            merged.push((name.clone(), member));
        }
    }
    Some(Value::Map(Fields::from(merged)))
}

/// What suits the kind of the values, for a person to look at: objects by member, lists united, the later of two timestamps,
/// else what this person wanted, unless that is nothing.
fn suggest(base: &Value, ours: &Value, theirs: &Value) -> Value {
    recursive(base, ours, theirs, &|base, ours, theirs| Some(suggest(base, ours, theirs)))
        .or_else(|| union(base, ours, theirs))
        .or_else(|| instant(ours).and(instant(theirs)).and_then(|_| extreme(ours, theirs, Ordering::Greater)))
        .unwrap_or_else(|| if ours.is_null() { theirs.clone() } else { ours.clone() })
}

/// How many digits after the point a sum may have.
const SCALE_MAX: u32 = 9;

fn sum(base: &Value, ours: &Value, theirs: &Value) -> Option<Value> {
    let (Value::Number(base), Value::Number(ours), Value::Number(theirs)) = (base, ours, theirs) else { return None };
    (0..=SCALE_MAX).find_map(|scale| {
        let unit = 10_f64.powi(i32::try_from(scale).ok()?);
        // Three integers below 2^53 add up far below 2^63.
        let sum = units(*theirs, unit)? + units(*ours, unit)? - units(*base, unit)?;
        // In range by the line below, so the cast is exact.
        #[expect(clippy::cast_precision_loss)]
        let exact = sum as f64;
        if exact.abs() <= INTEGER_MAX { Value::number(exact / unit) } else { None }
    })
}

/// Counts a decimal number's units: the integer which, divided by so many, is read as this very number.
fn units(number: f64, unit: f64) -> Option<i64> {
    let count = (number * unit).round_ties_even();
    // In range by the condition, so the cast is exact.
    #[expect(clippy::cast_possible_truncation, clippy::float_cmp)]
    (count.abs() <= INTEGER_MAX && count / unit == number).then_some(count as i64)
}

#[cfg(test)]
mod tests;
