//! Undo: takes back what was never sent; of anything else it does the inverse, in what still shows it. What this person changed later
//! covers it, and is undone to what was beneath; what somebody else changed since stays.

use std::collections::VecDeque;

use super::Engine;
use super::command::{Draft, Intent};
use super::parting::found_by;
use crate::engine::alias::{Aliases, MARK};
use crate::engine::error::Error;
use crate::engine::mark::mark;
use crate::engine::merge::same;
use crate::engine::operation::{Joined, Operation, OperationId, OperationState, Part, Step, name};
use crate::engine::outbox::Pending;
use crate::engine::record::Record;
use crate::engine::rules::Inverse;
use crate::engine::value::{Fields, Value};

/// How many of a tab's own operations can be undone.
pub const UNDO_MAX: usize = 100;

/// What can be undone, oldest first.
#[derive(Debug, Default)]
pub(super) struct Undoable {
    done: VecDeque<Done>,
    /// An undoing operation that is not stored yet, what it undoes, and what can be undone afterwards.
    undoing: Option<(OperationId, OperationId, VecDeque<Done>)>,
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
    /// Remembers an operation that was accepted; of one that earlier ones are joined into, only what it does itself: the others are undone
    /// by themselves. If it undoes another one, that is undone now.
    pub(super) fn remember(&mut self, op: &Operation, before: Vec<Option<Fields>>) {
        if let Some((_, undone, rest)) = self.undoing.take_if(|(id, ..)| *id == op.id) {
            self.done = rest;
            self.forget(undone);
        }
        if self.done.len() >= UNDO_MAX {
            self.done.pop_front();
        }
        self.done.push_back(Done { op: last_of(op), before, known_as: vec![] });
    }

    /// Puts real keys into what named temporary ones.
    pub(super) fn rewrite(&mut self, aliases: &Aliases) {
        for done in &mut self.done {
            aliases.rewrite(&mut done.op, &mut Vec::new());
            done.before.iter_mut().flatten().for_each(|fields| aliases.rewrite_fields(fields));
        }
    }

    /// Has an operation, or each of those that were joined into it, undone to what it is based on now.
    pub(super) fn set_base(&mut self, op: &Operation) {
        for done in &mut self.done {
            if let Some(at) = op.joined.iter().position(|joined| joined.id == done.op.id) {
                done.op.base = bases(op, at, &done.op.set);
            } else if done.op.id == op.id {
                done.op.take_form(op);
            }
        }
    }

    pub(super) fn forget(&mut self, id: OperationId) {
        self.done.retain(|done| done.op.id != id);
    }

    /// Forgets an operation, and all that were joined into it.
    pub(super) fn forget_all(&mut self, op: &Operation) {
        self.done.retain(|done| !is_of(op, done.op.id));
    }

    /// Has an operation undone in the place of the one that it stands for: the declared rules made it of a conflict. What was joined is
    /// undone together from then on.
    pub(super) fn hand_over(&mut self, older: &Operation, newer: &Operation) {
        let Some(at) = self.done.iter().rposition(|done| is_of(older, done.op.id)) else { return };
        let mut known_as = Vec::new();
        for done in self.done.iter().filter(|done| is_of(older, done.op.id)) {
            known_as.extend(done.known_as.iter().copied().chain([done.op.id]));
        }
        self.done[at] = Done { op: newer.clone(), before: vec![None], known_as };
        // Who sends has made it, and remembers it by its own id.
        let mut place = 0;
        self.done.retain(|done| {
            place += 1;
            place - 1 == at || !(is_of(older, done.op.id) || done.op.id == newer.id)
        });
    }

    /// Returns the operation that is undone when this one is to be.
    fn undone_by(&self, id: OperationId) -> OperationId {
        self.done.iter().find(|done| done.known_as.contains(&id)).map_or(id, |done| done.op.id)
    }
}

/// True for an operation, and for all that were joined into it.
fn is_of(whole: &Operation, id: OperationId) -> bool {
    whole.id == id || whole.joined.iter().any(|joined| joined.id == id)
}

/// Returns what one of joined patches is based on by itself.
fn bases(whole: &Operation, at: usize, set: &Fields) -> Fields {
    set.keys().map(|field| (field.clone(), found_by(whole, at, field))).collect()
}

/// Returns what the last of joined patches does by itself.
fn last_of(op: &Operation) -> Operation {
    let mut last = op.clone();
    if let Some(Joined { set, .. }) = last.joined.pop() {
        let at = last.joined.len();
        last.base = bases(op, at, &set);
        last.set = set;
    }
    (last.joined, last.replaces) = (vec![], vec![]);
    last
}

impl<R: Record> Engine<R> {
    /// Undoes an operation of this tab. Returns the operation that does so, or nothing when it was simply taken back.
    pub(super) fn undo(&mut self, id: OperationId) -> Result<Option<OperationId>, Error> {
        let id = self.undoable.undone_by(id);
        // What it goes to the server with, which has the id of the last of those that were joined.
        let whole = self.outbox.replacing(id).unwrap_or(id);
        if let Some(pending) = self.outbox.get(whole) {
            let is_joined = pending.op.joined.iter().any(|joined| joined.id == id && !joined.set.is_empty());
            if pending.op.leaves_out(id) {
                return Err(Error::NothingToUndo { id: id.to_string() });
            }
            let is_given_up = pending.state == OperationState::Dead;
            if id != whole && (is_given_up || !is_joined) {
                return Err(Error::Replaced { id: id.to_string(), by: whole.to_string() });
            }
            if pending.state == OperationState::Conflicted {
                return Err(Error::InvalidOperation(format!("operation {whole} is in conflict; resolve it")));
            }
            let is_unsent = is_given_up || (self.tabs.sends() && self.was_never_sent(pending));
            if pending.mine && is_unsent {
                if is_given_up || pending.op.joined.is_empty() {
                    self.cancel(id)?;
                    return Ok(None);
                }
                if is_joined && self.take_out(id, whole) {
                    return Ok(None);
                }
            }
        }
        let done = self.undoable.done.iter().find(|done| done.op.id == id).cloned();
        let Some(done) = done else { return Err(Error::NothingToUndo { id: id.to_string() }) };
        let mut rest = self.undoable.done.clone();
        let intents = self.inverse(&done, &mut rest)?;
        if intents.is_empty() {
            mark!(NothingLeftToUndo);
            self.undoable.done = rest;
            self.undoable.forget(id);
            return Ok(None);
        }
        self.check_room()?;
        let undoing = self.accept(intents, vec![whole], false);
        self.undoable.undoing = Some((undoing, id, rest));
        Ok(Some(undoing))
    }

    /// Returns the inverse of each of its steps, the last one first. Each is judged by what those before it leave: a transaction may have
    /// touched a record more than once. Nothing for a step of which nothing is left to undo. `rest`: what can be undone, which this changes
    /// where it covers the operation.
    fn inverse(&self, Done { op, before, .. }: &Done, rest: &mut VecDeque<Done>) -> Result<Vec<Intent>, Error> {
        let steps: Vec<Step<'_>> = op.steps().collect();
        let mut intents: Vec<Intent> = Vec::with_capacity(steps.len());
        let (is_alone, mut draft) = (steps.len() == 1, Draft::new());
        for (step, before) in steps.into_iter().zip(before).rev() {
            let mut later = self.later(rest, op.id);
            let Some(mut intent) = self.inverse_of(op.id, &step, before.as_ref(), (&draft, &mut later))? else {
                continue;
            };
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

    /// Returns what an operation goes to the server with: itself, or what it was joined into.
    fn pending_with(&self, id: OperationId) -> Option<&Pending> {
        self.outbox.get(self.outbox.replacing(id).unwrap_or(id))
    }

    /// Walks over the steps of what this tab did after an operation, as far as it is to be seen.
    fn later<'a>(&self, rest: &'a mut VecDeque<Done>, id: OperationId) -> Vec<(Step<'a>, &'a mut Fields)> {
        let from = rest.iter().position(|done| done.op.id == id).map_or(rest.len(), |at| at + 1);
        let is_seen = |done: &&mut Done| self.pending_with(done.op.id).is_none_or(|pending| !pending.is_parked());
        rest.iter_mut().skip(from).filter(is_seen).flat_map(|done| done.op.steps_mut()).collect()
    }

    /// True where a later change of this person's was made on top of this one: that is then undone to what was beneath both.
    fn is_covered(&self, step: &Step<'_>, field: &str, later: &mut [(Step<'_>, &mut Fields)]) -> bool {
        let key = self.aliases.key(step.key);
        let ours = step.set.get(field);
        let covers = |(over, base): &&mut (Step<'_>, &mut Fields)| {
            over.table == step.table && *over.key == *key && over.set.contains_key(field) && base.get(field) == ours
        };
        let Some((_, base)) = later.iter_mut().find(covers) else { return false };
        base.insert(field.to_owned(), step.base.get(field).cloned().unwrap_or_default());
        true
    }

    /// Returns what an insert has become by what the person did to its record afterwards.
    fn as_left(&self, step: &Step<'_>, later: &[(Step<'_>, &mut Fields)]) -> Fields {
        let (key, mut fields) = (self.aliases.key(step.key), step.set.clone());
        for (over, base) in later.iter().filter(|(over, _)| over.table == step.table && *over.key == *key) {
            for (field, value) in over.set {
                if fields.get(field).is_some_and(|left| base.get(field) == Some(left)) {
                    fields.insert(field.clone(), value.clone());
                }
            }
        }
        fields
    }

    fn inverse_of(
        &self,
        id: OperationId,
        step: &Step<'_>,
        before: Option<&Fields>,
        (draft, later): (&Draft<R>, &mut [(Step<'_>, &mut Fields)]),
    ) -> Result<Option<Intent>, Error> {
        let nothing = || Error::NothingToUndo { id: id.to_string() };
        let table = self.tables.table_id(step.table).ok_or_else(nothing)?;
        let config = self.tables.config(table);
        let key = self.aliases.key(step.key).into_owned();
        let cell = self.tables.find(table, &key).and_then(|record| self.tables.cell(record));
        let visible = self.visible_after(draft, table, &key);
        // Of one that is hidden because it may no longer apply, the server may yet say that it does.
        let is_hidden = self.pending_with(id).is_some_and(|pending| pending.doubtful);
        let shows = |field: &String, ours: &Value| {
            is_hidden || visible.is_some_and(|record| same(&record.field(field).unwrap_or_default(), ours))
        };
        let (name, args, set, base) = match step.name {
            name::DELETE if visible.is_some() => {
                return Err(Error::RecordExists { table: config.name.clone(), key });
            }
            name::DELETE => {
                (name::INSERT.to_owned(), Fields::new(), before.cloned().ok_or_else(nothing)?, Fields::new())
            }
            _ if visible.is_none() => return Err(Error::UnknownRecord { table: config.name.clone(), key }),
            name::INSERT => (name::DELETE.to_owned(), Fields::new(), Fields::new(), self.as_left(step, later)),
            name::PATCH => {
                let (mut set, mut base) = (Fields::new(), Fields::new());
                for (field, ours) in step.set {
                    if !self.is_covered(step, field, later) && shows(field, ours) {
                        set.insert(field.clone(), step.base.get(field).cloned().unwrap_or_default());
                        base.insert(field.clone(), ours.clone());
                    }
                }
                if set.is_empty() {
                    return Ok(None);
                }
                (name::PATCH.to_owned(), Fields::new(), set, base)
            }
            _ => {
                let Inverse { name, args, set, base } = self.rules.inverse(config, step).ok_or_else(nothing)?;
                // It is undone as a whole or not at all.
                let covered = step.set.keys().filter(|field| self.is_covered(step, field, later)).count();
                if covered > 0 || !step.set.iter().all(|(field, ours)| shows(field, ours)) {
                    return Ok(None);
                }
                (name, args, set, base)
            }
        };
        let base_version = cell.and_then(|cell| cell.version.clone());
        Ok(Some(Intent { table, part: Part { name, table: config.name.clone(), key, args, set, base, base_version } }))
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
