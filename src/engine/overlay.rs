//! Visible = confirmed ⊕ pending: folds the pending operations of one record, in their order, over what is confirmed.
//! Records that share a transaction are folded together, for it is seen in all of its records or in none.
//!
//! Nothing is kept here. The fold starts from the confirmed record every time, so a change of the server's re-bases the
//! pending operations by itself, and what is seen is always what recomputing from scratch would give.

use super::mark::mark;
use super::operation::{Step, name};
use super::record::Record;
use super::rules::{Effect, Rules};
use super::sabotage::sabotaged;
use super::table::{RecordId, TableConfig};
use super::value::{Fields, Value};

/// The outcome of a fold: what to show, whether any operation made it so, and which ones no longer apply (by position).
pub(crate) struct Folded<R> {
    pub(crate) visible: Option<R>,
    pub(crate) overlaid: bool,
    pub(crate) doubtful: Vec<bool>,
}

/// Folds operations over a confirmed record.
pub(crate) fn fold<'a, R: Record>(
    confirmed: Option<&R>,
    steps: impl Iterator<Item = Step<'a>>,
    table: &TableConfig,
    rules: &dyn Rules<R>,
) -> Folded<R> {
    let mut visible = confirmed.cloned();
    let mut doubtful = Vec::new();
    for step in steps {
        let applied = apply(visible.as_ref(), step, table, rules);
        doubtful.push(applied.is_none());
        if let Some(next) = applied {
            visible = next;
        }
    }
    Folded { visible, overlaid: doubtful.contains(&false), doubtful }
}

/// Applies one change; `None` when it does not apply.
pub(crate) fn apply<R: Record>(
    current: Option<&R>,
    step: Step<'_>,
    table: &TableConfig,
    rules: &dyn Rules<R>,
) -> Option<Option<R>> {
    match (step.name, current) {
        (name::INSERT, None) => Some(Some(create(step, table))),
        (name::DELETE, Some(_)) => Some(None),
        (name::PATCH, Some(record)) => Some(Some(record.patched(step.set))),
        (name::INSERT, Some(_)) | (_, None) => None,
        (_, Some(record)) => match rules.effect(table, &step, record) {
            Effect::Set(fields) => Some(Some(record.patched(&fields))),
            Effect::DoesNotApply => None,
        },
    }
}

/// Makes the record of an insert. One whose key the server is to give has its temporary key, so that it can be referred to.
fn create<R: Record>(step: Step<'_>, table: &TableConfig) -> R {
    match table.key.first() {
        Some(field) if table.temporary_keys && !step.set.contains_key(field) => {
            let mut fields = step.set.clone();
            fields.insert(field.clone(), Value::from(step.key));
            R::create(&fields)
        }
        Some(_) | None => R::create(step.set),
    }
}

/// One of the records over which operations are folded together.
pub(crate) struct Folding<'a, R> {
    pub(crate) id: RecordId,
    pub(crate) table: &'a TableConfig,
    pub(crate) visible: Option<R>,
    pub(crate) overlaid: bool,
}

/// Applies the changes of one operation to the records that it shares with others: all of them, or none. Returns whether it
/// did. Of one that is known to be done, `landed` names the records that have it in their confirmed part; its other changes
/// are shown as far as they apply.
pub(crate) fn apply_all<'a, R: Record>(
    records: &mut [Folding<'_, R>],
    changes: impl Iterator<Item = (RecordId, Step<'a>)>,
    landed: &[RecordId],
    rules: &dyn Rules<R>,
) -> bool {
    let mut before = Vec::new();
    for (record, step) in changes.filter(|(record, _)| !landed.contains(record)) {
        let found = records.binary_search_by_key(&record, |folding| folding.id).ok();
        let applied =
            found.and_then(|at| Some((at, apply(records[at].visible.as_ref(), step, records[at].table, rules)?)));
        match applied {
            Some((at, next)) => {
                let folding = &mut records[at];
                before.push((at, std::mem::replace(&mut folding.visible, next), folding.overlaid));
                folding.overlaid = true;
            }
            None if landed.is_empty() && !sabotaged!(ShowHalf) => {
                mark!(TransactionHidden);
                for (at, visible, overlaid) in before.into_iter().rev() {
                    (records[at].visible, records[at].overlaid) = (visible, overlaid);
                }
                return false;
            }
            None => {}
        }
    }
    true
}

/// Returns what a person sees in the fields that an operation is about to set.
pub(crate) fn base<R: Record>(visible: &R, set: &Fields) -> Fields {
    set.keys().map(|name| (name.clone(), visible.field(name).unwrap_or(Value::Null))).collect()
}

#[cfg(test)]
mod tests;
