//! Visible = confirmed ⊕ pending: folds the pending operations of one record, in their order, over what is confirmed.
//!
//! Nothing is kept here. The fold starts from the confirmed record every time, so a change of the server's re-bases the
//! pending operations by itself, and what is seen is always what recomputing from scratch would give.

use super::operation::{Operation, name};
use super::record::Record;
use super::table::TableConfig;
use super::value::{Fields, Value};

/// What a named operation does to the current record.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// It sets these fields.
    Set(Fields),
    /// It no longer applies: it is hidden, and doubtful until the server answers.
    DoesNotApply,
}

/// What undoes an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Inverse {
    /// `patch`, or a named operation.
    pub name: String,
    /// Its arguments.
    pub args: Fields,
    /// What it sets.
    pub set: Fields,
    /// What it must find in the record: what the undone operation set.
    pub base: Fields,
}

/// The named operations of the domains, as functions of the current record.
pub trait Rules<R> {
    /// Says what a named operation sets, when a person asks for it.
    ///
    /// # Errors
    /// When there is no such operation, or its arguments make no sense.
    fn intend(&self, table: &TableConfig, name: &str, args: &Fields, record: &R)
    -> Result<Fields, super::error::Error>;

    /// Says what undoes a named operation; `None` when nothing does.
    fn inverse(&self, table: &TableConfig, operation: &Operation) -> Option<Inverse>;

    /// Says what a pending named operation does to the record as it is now.
    fn effect(&self, table: &TableConfig, operation: &Operation, record: &R) -> Effect;
}

/// The outcome of a fold: what to show, whether any operation made it so, and which ones no longer apply (by position).
pub(crate) struct Folded<R> {
    pub(crate) visible: Option<R>,
    pub(crate) overlaid: bool,
    pub(crate) doubtful: Vec<bool>,
}

/// Folds operations over a confirmed record.
pub(crate) fn fold<'a, R: Record>(
    confirmed: Option<&R>,
    operations: impl Iterator<Item = &'a Operation>,
    table: &TableConfig,
    rules: &dyn Rules<R>,
) -> Folded<R> {
    let mut visible = confirmed.cloned();
    let mut doubtful = Vec::new();
    for operation in operations {
        let applied = apply(visible.as_ref(), operation, table, rules);
        doubtful.push(applied.is_none());
        if let Some(next) = applied {
            visible = next;
        }
    }
    Folded { visible, overlaid: doubtful.contains(&false), doubtful }
}

/// Applies one operation; `None` when it does not apply.
pub(crate) fn apply<R: Record>(
    current: Option<&R>,
    operation: &Operation,
    table: &TableConfig,
    rules: &dyn Rules<R>,
) -> Option<Option<R>> {
    match (operation.name.as_str(), current) {
        (name::INSERT, None) => Some(Some(R::create(&operation.set))),
        (name::DELETE, Some(_)) => Some(None),
        (name::PATCH, Some(record)) => Some(Some(record.patched(&operation.set))),
        (name::INSERT, Some(_)) | (_, None) => None,
        (_, Some(record)) => match rules.effect(table, operation, record) {
            Effect::Set(fields) => Some(Some(record.patched(&fields))),
            Effect::DoesNotApply => None,
        },
    }
}

/// Returns what a person sees in the fields that an operation is about to set.
pub(crate) fn base<R: Record>(visible: &R, set: &Fields) -> Fields {
    set.keys().map(|name| (name.clone(), visible.field(name).unwrap_or(Value::Null))).collect()
}
