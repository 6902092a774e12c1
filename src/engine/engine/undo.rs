//! Undo: takes back what was never sent; of anything else it does the inverse, which conflicts rather than overwrite what somebody
//! changed since.

use std::collections::VecDeque;

use super::Engine;
use super::command::Intent;
use crate::engine::error::Error;
use crate::engine::operation::{Operation, OperationId, OperationState, name};
use crate::engine::overlay::Inverse;
use crate::engine::record::Record;
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
    /// The record before it was deleted.
    before: Option<Fields>,
}

impl Undoable {
    /// Remembers an operation that was accepted. If it undoes another one, that is undone now.
    pub(super) fn remember(&mut self, op: Operation, before: Option<Fields>) {
        if let Some((_, undone)) = self.undoing.take_if(|(id, _)| *id == op.id) {
            self.forget(undone);
        }
        if self.done.len() >= UNDO_MAX {
            self.done.pop_front();
        }
        self.done.push_back(Done { op, before });
    }

    pub(super) fn forget(&mut self, id: OperationId) {
        self.done.retain(|done| done.op.id != id);
    }
}

impl<R: Record> Engine<R> {
    /// Undoes an operation of this tab. Returns the operation that does so, or nothing when it was simply taken back.
    pub(super) fn undo(&mut self, id: OperationId) -> Result<Option<OperationId>, Error> {
        if let Some(newer) = self.outbox.replacing(id) {
            return Err(Error::Replaced { id: id.to_string(), by: newer.to_string() });
        }
        if let Some(pending) = self.outbox.get(id).filter(|pending| pending.mine)
            && (pending.state == OperationState::Dead || (self.tabs.sends() && self.was_never_sent(pending)))
        {
            self.cancel_here(id);
            return Ok(None);
        }
        let done = self.undoable.done.iter().find(|done| done.op.id == id).cloned();
        let Some(done) = done else { return Err(Error::NothingToUndo { id: id.to_string() }) };
        let (name, args, intent) = self.inverse(done)?;
        self.check_room()?;
        let undoing = self.accept(name, args, intent, vec![id], false);
        self.undoable.undoing = Some((undoing, id));
        Ok(Some(undoing))
    }

    fn inverse(&self, Done { op, before }: Done) -> Result<(String, Fields, Intent), Error> {
        let nothing = || Error::NothingToUndo { id: op.id.to_string() };
        let table = self.tables.table_id(&op.table).ok_or_else(nothing)?;
        let config = self.tables.config(table);
        let cell = self.tables.find(table, &op.key).and_then(|record| self.tables.cell(record));
        let is_there = cell.is_some_and(|cell| cell.visible.is_some());
        let intent = |set, base| Intent { table, key: op.key.clone(), set, base };
        if op.name == name::DELETE {
            if is_there {
                return Err(Error::RecordExists { table: op.table, key: op.key });
            }
            let record = before.ok_or_else(nothing)?;
            return Ok((name::INSERT.to_owned(), Fields::new(), intent(record, Fields::new())));
        }
        if !is_there {
            return Err(Error::UnknownRecord { table: op.table, key: op.key });
        }
        Ok(match op.name.as_str() {
            name::INSERT => (name::DELETE.to_owned(), Fields::new(), intent(Fields::new(), op.set.clone())),
            name::PATCH => {
                let seen = |field: &String| op.base.get(field).cloned().unwrap_or_default();
                let set = op.set.keys().map(|field| (field.clone(), seen(field))).collect();
                (name::PATCH.to_owned(), Fields::new(), intent(set, op.set.clone()))
            }
            _ => {
                let Inverse { name, args, set, base } = self.rules.inverse(config, &op).ok_or_else(nothing)?;
                (name, args, intent(set, base))
            }
        })
    }

    /// Returns a record's fields, for bringing it back.
    pub(super) fn fields_before(&self, op: &Operation) -> Option<Fields> {
        if op.name != name::DELETE {
            return None;
        }
        let table = self.tables.table_id(&op.table)?;
        let record = self.tables.cell(self.tables.find(table, &op.key)?)?.visible.as_ref()?;
        let fields = &self.tables.config(table).fields;
        Some(fields.iter().filter_map(|field| Some((field.clone(), record.field(field)?))).collect())
    }
}
