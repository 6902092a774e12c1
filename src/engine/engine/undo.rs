//! Undo: takes back what was never sent; of anything else it does the inverse, which conflicts rather than overwrite what somebody
//! changed since.

use std::collections::VecDeque;

use super::Engine;
use super::command::{Draft, Intent};
use crate::engine::alias::{Aliases, MARK};
use crate::engine::error::Error;
use crate::engine::operation::{Operation, OperationId, OperationState, Part, Step, name};
use crate::engine::record::Record;
use crate::engine::rules::Inverse;
use crate::engine::value::Fields;

/// How many of a tab's own operations can be undone.
pub const UNDO_MAX: usize = 100;

/// What can be undone, oldest first.
#[derive(Debug, Default)]
pub(super) struct Undoable {
    done: VecDeque<Done>,
    /// An undoing operation that is not stored yet, and what it undoes.
    undoing: Option<(OperationId, OperationId)>,
}

#[derive(Clone, Debug)]
struct Done {
    op: Operation,
    /// Of each step that deleted a record: that record.
    before: Vec<Option<Fields>>,
    /// The operations that it stands for because the declared rules decided so. Their author knows no other id.
    known_as: Vec<OperationId>,
}

impl Undoable {
    /// Remembers an operation that was accepted. If it undoes another one, that is undone now.
    pub(super) fn remember(&mut self, op: Operation, before: Vec<Option<Fields>>) {
        if let Some((_, undone)) = self.undoing.take_if(|(id, _)| *id == op.id) {
            self.forget(undone);
        }
        if self.done.len() >= UNDO_MAX {
            self.done.pop_front();
        }
        self.done.push_back(Done { op, before, known_as: vec![] });
    }

    /// Puts real keys into what named temporary ones.
    pub(super) fn rewrite(&mut self, aliases: &Aliases) {
        for done in &mut self.done {
            aliases.rewrite(&mut done.op, &mut Vec::new());
            done.before.iter_mut().flatten().for_each(|fields| aliases.rewrite_fields(fields));
        }
    }

    pub(super) fn forget(&mut self, id: OperationId) {
        self.done.retain(|done| done.op.id != id);
    }

    /// Has an operation undone in the place of the one that it stands for: the declared rules made it of a conflict.
    pub(super) fn hand_over(&mut self, older: OperationId, newer: &Operation) {
        if !self.done.iter().any(|done| done.op.id == older) {
            return;
        }
        // Who sends has made it, and remembers it by its own id.
        self.forget(newer.id);
        if let Some(done) = self.done.iter_mut().find(|done| done.op.id == older) {
            done.known_as.push(older);
            (done.op, done.before) = (newer.clone(), vec![None]);
        }
    }

    /// Returns the operation that is undone when this one is to be.
    fn undone_by(&self, id: OperationId) -> OperationId {
        self.done.iter().find(|done| done.known_as.contains(&id)).map_or(id, |done| done.op.id)
    }
}

impl<R: Record> Engine<R> {
    /// Undoes an operation of this tab. Returns the operation that does so, or nothing when it was simply taken back.
    pub(super) fn undo(&mut self, id: OperationId) -> Result<Option<OperationId>, Error> {
        let id = self.undoable.undone_by(id);
        if let Some(newer) = self.outbox.replacing(id) {
            return Err(Error::Replaced { id: id.to_string(), by: newer.to_string() });
        }
        if self.outbox.get(id).is_some_and(|pending| pending.state == OperationState::Conflicted) {
            return Err(Error::InvalidOperation(format!("operation {id} is in conflict; resolve it")));
        }
        if let Some(pending) = self.outbox.get(id).filter(|pending| pending.mine)
            && (pending.state == OperationState::Dead || (self.tabs.sends() && self.was_never_sent(pending)))
        {
            self.cancel(id)?;
            return Ok(None);
        }
        let done = self.undoable.done.iter().find(|done| done.op.id == id).cloned();
        let Some(done) = done else { return Err(Error::NothingToUndo { id: id.to_string() }) };
        let intents = self.inverse(&done)?;
        self.check_room()?;
        let undoing = self.accept(intents, vec![id], false);
        self.undoable.undoing = Some((undoing, id));
        Ok(Some(undoing))
    }

    /// Returns the inverse of each of its steps, the last one first. Each is judged by what those before it leave: a transaction may have
    /// touched a record more than once.
    fn inverse(&self, Done { op, before, .. }: &Done) -> Result<Vec<Intent>, Error> {
        let steps: Vec<Step<'_>> = op.steps().collect();
        let mut intents: Vec<Intent> = Vec::with_capacity(steps.len());
        let (is_alone, mut draft) = (steps.len() == 1, Draft::new());
        for (step, before) in steps.into_iter().zip(before).rev() {
            let mut intent = self.inverse_of(op.id, &step, before.as_ref(), &draft)?;
            if intent.is_unnamed() {
                // The server tells the one from the other by their tables.
                if intents.iter().any(|earlier| earlier.is_unnamed_of(intent.table)) {
                    return Err(Error::NothingToUndo { id: op.id.to_string() });
                }
                self.unname(&mut intent, (!is_alone).then_some(intents.len()));
            }
            // Whether it still applies to the record as it is now, the server says.
            self.draft(&mut draft, intent.table, intent.part.step());
            intents.push(intent);
        }
        Ok(intents)
    }

    /// A record that had a temporary key and was deleted comes back as another one, under a temporary key of its own.
    fn unname(&self, intent: &mut Intent, part: Option<usize>) {
        for field in &self.tables.config(intent.table).key {
            intent.part.set.remove(field);
        }
        intent.part.key = MARK.to_string();
        if let Some(part) = part {
            intent.part.key.push('.');
            intent.part.key.push_str(&part.to_string());
        }
        intent.part.base_version = None;
    }

    fn inverse_of(
        &self,
        id: OperationId,
        step: &Step<'_>,
        before: Option<&Fields>,
        draft: &Draft<R>,
    ) -> Result<Intent, Error> {
        let nothing = || Error::NothingToUndo { id: id.to_string() };
        let table = self.tables.table_id(step.table).ok_or_else(nothing)?;
        let config = self.tables.config(table);
        let key = self.aliases.key(step.key).into_owned();
        let cell = self.tables.find(table, &key).and_then(|record| self.tables.cell(record));
        let is_there = self.visible_after(draft, table, &key).is_some();
        let (name, args, set, base) = match step.name {
            name::DELETE if is_there => return Err(Error::RecordExists { table: config.name.clone(), key }),
            name::DELETE => {
                (name::INSERT.to_owned(), Fields::new(), before.cloned().ok_or_else(nothing)?, Fields::new())
            }
            _ if !is_there => return Err(Error::UnknownRecord { table: config.name.clone(), key }),
            name::INSERT => (name::DELETE.to_owned(), Fields::new(), Fields::new(), step.set.clone()),
            name::PATCH => {
                let seen = |field: &String| step.base.get(field).cloned().unwrap_or_default();
                let set = step.set.keys().map(|field| (field.clone(), seen(field))).collect();
                (name::PATCH.to_owned(), Fields::new(), set, step.set.clone())
            }
            _ => {
                let Inverse { name, args, set, base } = self.rules.inverse(config, step).ok_or_else(nothing)?;
                (name, args, set, base)
            }
        };
        let base_version = cell.and_then(|cell| cell.version.clone());
        Ok(Intent { table, part: Part { name, table: config.name.clone(), key, args, set, base, base_version } })
    }

    /// Returns, for each step that deletes a record, its fields, for bringing it back.
    pub(super) fn fields_before(&self, op: &Operation) -> Vec<Option<Fields>> {
        let mut draft = Draft::new();
        let before = |step: Step<'_>| {
            let fields = self.fields_of_deleted(&step, &draft);
            if let Some(table) = self.tables.table_id(step.table) {
                self.draft(&mut draft, table, step);
            }
            fields
        };
        op.steps().map(before).collect()
    }

    fn fields_of_deleted(&self, step: &Step<'_>, draft: &Draft<R>) -> Option<Fields> {
        if step.name != name::DELETE {
            return None;
        }
        let table = self.tables.table_id(step.table)?;
        let record = self.visible_after(draft, table, step.key)?;
        let fields = &self.tables.config(table).fields;
        Some(fields.iter().filter_map(|field| Some((field.clone(), record.field(field)?))).collect())
    }
}
