//! What a view shows, as data: which records of one table, in which order, which part of them, and which figures over all of them.
//!
//! Two-valued throughout: a condition holds or it does not, and `not` is its opposite. A missing field reads as null.

use serde::{Deserialize, Serialize};

use crate::engine::error::Error;
use crate::engine::value::Value;

/// How many views may be open at once.
pub const VIEWS_MAX: usize = 1_000;
/// How deep `and`, `or` and `not` may nest.
pub const FILTER_DEPTH_MAX: usize = 16;
/// How many conditions a filter may have, each value of an `in` counted as one.
pub const FILTER_LEN_MAX: usize = 4_096;
/// How many fields a view may be sorted by.
pub const SORT_LEN_MAX: usize = 8;
/// How many figures a view may have.
pub const FIGURES_LEN_MAX: usize = 16;
/// How many fields may make a group.
pub const GROUP_FIELDS_MAX: usize = 4;

/// A live list: the records of a table that pass a filter, sorted, and of these a window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ViewSpec {
    /// The table.
    pub table: String,
    /// Which records; without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// By what they are sorted; what ties is sorted by key, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sort: Vec<SortKey>,
    /// How many of them the window shows at most; without it, all. None at all is fine: the figures are still kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// How many of them come before the window.
    #[serde(default)]
    pub offset: u32,
    /// What is counted over all records that pass the filter, inside the window or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<FigureSpec>,
    /// The fields whose values make the groups that the figures are kept for, besides those over everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_by: Vec<String>,
}

/// One field to sort by. Ascending: false, true, numbers, text by code point, lists (item by item), objects (name by name, value by value).
/// Descending is the reverse. Null comes last in both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SortKey {
    /// The field.
    pub field: String,
    /// The largest first.
    #[serde(default)]
    pub descending: bool,
}

/// A condition on a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Filter {
    /// The field equals the value: the same kind, the same content. Null equals null.
    Eq(Term),
    /// The field does not equal the value; so null, and what is of another kind, passes.
    Neq(Term),
    /// The field is less than the value. Both must be booleans, numbers, or text (by code point); else it does not hold.
    Lt(Term),
    /// The same, or equal; null is neither.
    Lte(Term),
    /// The field is greater than the value, under the same rule.
    Gt(Term),
    /// The same, or equal.
    Gte(Term),
    /// The field equals one of the values.
    In(Terms),
    /// The field is null, or missing.
    IsNull(FieldName),
    /// The field is text with this text in it, upper and lower case apart, or a list with an item that equals the value. Else it does not hold.
    Contains(Term),
    /// The field is not less than the one and not greater than the other; both ends count.
    Between(Range),
    /// All of them hold; of none, that is true.
    And(Vec<Filter>),
    /// One of them holds; of none, that is false.
    Or(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
}

/// A field and what it is compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Term {
    /// The field.
    pub field: String,
    /// The value.
    pub value: Value,
}

/// A field and the values that it may have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terms {
    /// The field.
    pub field: String,
    /// The values.
    pub values: Vec<Value>,
}

/// A field and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FieldName {
    /// The field.
    pub field: String,
}

/// A field and the two ends it must lie between.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Range {
    /// The field.
    pub field: String,
    /// The lower end.
    pub from: Value,
    /// The upper end.
    pub to: Value,
}

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FigureKind {
    /// How many records; with a field, how many where it is not null.
    Count,
    /// The sum of the field's numbers, rounded once; what is no number counts for nothing.
    Sum,
    /// That sum divided by how many numbers there are; null where there are none.
    Average,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FigureSpec {
    /// Its name, unique in the view.
    pub name: String,
    /// What it is.
    pub kind: FigureKind,
    /// Of which field; a count may go without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl ViewSpec {
    /// Checks the bounds, and that the figures make sense. Fields are checked where they are looked up.
    pub(super) fn validate(&self) -> Result<(), Error> {
        let wrong = |what: &str| Err(Error::InvalidView(what.to_owned()));
        if self.sort.len() > SORT_LEN_MAX {
            return wrong("a view can be sorted by at most 8 fields");
        }
        if self.figures.len() > FIGURES_LEN_MAX {
            return wrong("a view can have at most 16 figures; open another view for more");
        }
        if self.group_by.len() > GROUP_FIELDS_MAX {
            return wrong("at most 4 fields can make the groups of a view");
        }
        let mut left = FILTER_LEN_MAX;
        if !self.filter.as_ref().is_none_or(|filter| filter.is_within(FILTER_DEPTH_MAX, &mut left)) {
            return wrong("the filter nests deeper than 16 or has more than 4096 conditions; make it simpler");
        }
        for (at, figure) in self.figures.iter().enumerate() {
            if figure.name.is_empty() || self.figures[..at].iter().any(|other| other.name == figure.name) {
                return wrong("each figure needs a name of its own");
            }
            if figure.field.is_none() && figure.kind != FigureKind::Count {
                return wrong("a sum or an average needs the field that it is of");
            }
        }
        Ok(())
    }
}

impl Filter {
    fn is_within(&self, depth: usize, left: &mut usize) -> bool {
        let len = if let Self::In(terms) = self { terms.values.len().max(1) } else { 1 };
        let (Some(rest), Some(below)) = (left.checked_sub(len), depth.checked_sub(1)) else { return false };
        *left = rest;
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter().all(|filter| filter.is_within(below, left)),
            Self::Not(filter) => filter.is_within(below, left),
            Self::Eq(_)
            | Self::Neq(_)
            | Self::Lt(_)
            | Self::Lte(_)
            | Self::Gt(_)
            | Self::Gte(_)
            | Self::In(_)
            | Self::IsNull(_)
            | Self::Contains(_)
            | Self::Between(_) => true,
        }
    }
}
