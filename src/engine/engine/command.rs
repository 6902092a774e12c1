//! What people want done: checked, made into operations, stored, and only then shown.

use rand_core::Rng;

use super::Engine;
use super::replacing::{flattened, merged};
use crate::engine::error::{Error, Problem};
use crate::engine::input::{Command, Stored};
use crate::engine::operation::{Operation, OperationId, OperationState, PROTOCOL, Settlement, name};
use crate::engine::outbox::{OUTBOX_LEN_MAX, Pending};
use crate::engine::output::{Durability, Output};
use crate::engine::overlay::base;
use crate::engine::record::Record;
use crate::engine::stored::{FoundEntry, Reading, StoredOperation, read};
use crate::engine::table::TableId;
use crate::engine::tabs::{Kind, Role};
use crate::engine::time::Now;
use crate::engine::value::Fields;

/// What a command means, once it is known to make sense.
struct Intent {
    table: TableId,
    key: String,
    set: Fields,
    base: Fields,
}

impl<R: Record> Engine<R> {
    pub(super) fn mutate(&mut self, command: Command) -> Result<OperationId, Error> {
        if self.logging_out {
            return Err(Error::SigningOut);
        }
        if self.outbox.len() >= OUTBOX_LEN_MAX {
            return Err(Error::OutboxFull { len_max: OUTBOX_LEN_MAX });
        }
        let Some(table) = self.tables.table_id(&command.table) else {
            return Err(Error::UnknownTable { table: command.table });
        };
        let intent = match command.name.as_str() {
            name::INSERT => self.intend_insert(table, &command)?,
            _ => self.intend_change(table, &command)?,
        };
        Ok(self.accept(command, intent))
    }

    fn intend_insert(&self, table: TableId, command: &Command) -> Result<Intent, Error> {
        let config = self.tables.config(table);
        config.check_fields(command.set.keys())?;
        let key = config.key_of(&command.set)?;
        if command.key.as_ref().is_some_and(|given| *given != key) {
            return Err(Error::InvalidOperation("the key given for an insert is not that of the record".to_owned()));
        }
        if self.tables.find(table, &key).and_then(|id| self.tables.cell(id)).is_some_and(|cell| cell.visible.is_some())
        {
            return Err(Error::RecordExists { table: config.name.clone(), key });
        }
        Ok(Intent { table, key, set: command.set.clone(), base: Fields::new() })
    }

    fn intend_change(&self, table: TableId, command: &Command) -> Result<Intent, Error> {
        let config = self.tables.config(table);
        let Some(key) = command.key.clone() else {
            return Err(Error::MissingKey { table: config.name.clone(), field: config.key.join(", ") });
        };
        let visible =
            self.tables.find(table, &key).and_then(|id| self.tables.cell(id)).and_then(|cell| cell.visible.as_ref());
        let Some(record) = visible else {
            return Err(Error::UnknownRecord { table: config.name.clone(), key });
        };
        let set = match command.name.as_str() {
            name::PATCH => {
                config.check_patch(&command.set)?;
                if command.set.is_empty() {
                    return Err(Error::InvalidOperation("a patch must set at least one field".to_owned()));
                }
                command.set.clone()
            }
            name::DELETE => Fields::new(),
            named => self.rules.intend(config, named, &command.args, record)?,
        };
        Ok(Intent { table, key, base: base(record, &set), set })
    }

    /// Makes the operation, and asks for it to be stored. It is neither seen nor sent before that.
    fn accept(&mut self, command: Command, intent: Intent) -> OperationId {
        let mut random = [0; 10];
        self.random.fill_bytes(&mut random);
        let hlc = self.clock.mint(self.now);
        let record = self.tables.intern(intent.table, &intent.key);
        // What changes a record that is itself still to be inserted depends on that.
        let mut after: Vec<OperationId> = self
            .outbox
            .shown(record)
            .filter(|pending| pending.op.name == name::INSERT)
            .map(|pending| pending.op.id)
            .collect();
        let (mut set, mut base) = (intent.set, intent.base);
        let mut base_version = self.tables.cell(record).and_then(|cell| cell.version.clone());
        let mut replaces = Vec::new();
        if let Some(older) = self.coalescible(&command.name, record, &after).map(|pending| &pending.op) {
            (set, base) = merged(older, set, base);
            after.extend(older.after.iter().filter(|id| !after.contains(id)).copied().collect::<Vec<_>>());
            (base_version, replaces) = (older.base_version.clone(), flattened(older));
        }
        let op = Operation {
            protocol: PROTOCOL,
            id: OperationId::new(hlc, random),
            name: command.name,
            table: command.table,
            key: intent.key,
            args: command.args,
            set,
            base,
            base_version,
            hlc,
            tab: self.tabs.id.clone(),
            after,
            replaces,
            decision: None,
        };
        let id = op.id;
        self.persist(&op);
        self.outbox.insert(pending(op, record, true));
        id
    }

    fn persist(&mut self, op: &Operation) {
        let (key, entry) = (self.session.operation_key(op.hlc, op.id), StoredOperation::new(op.clone()));
        self.emit(Output::Persist { id: op.id, key, entry });
    }

    /// Gives up what can be fetched again, or can't be read, for the sake of an operation.
    fn make_room(&mut self, op: &Operation) {
        self.made_room_for = Some(op.id);
        self.emit(Output::ForgetRecords);
        self.emit(Output::ForgetQuarantined { prefix: self.session.quarantine_prefix() });
        self.persist(op);
    }

    pub(super) fn on_stored(&mut self, id: OperationId, stored: Stored) {
        let Some(entry) = self.outbox.get_mut(id) else { return };
        let (op, record, mine, is_stored) = (entry.op.clone(), entry.record, entry.mine, stored == Stored::Now);
        if matches!(stored, Stored::Failed(_)) && self.made_room_for != Some(id) {
            return self.make_room(&op);
        }
        let answered = self.take_answered(id);
        match stored {
            Stored::Failed(message) => {
                self.outbox.remove(id);
                if let Some(answer) = answered {
                    // The decision could not be kept, so it is a person's.
                    self.end_answered(answer, None);
                    return;
                }
                if !self.outbox.concerns(record) {
                    self.tables.release_if_unknown(record);
                }
                self.emit(Output::Rejected { id, message });
                return;
            }
            Stored::Now => {}
            Stored::Later => self.durability = Durability::Async,
            Stored::Memory => {
                self.durability = Durability::Memory;
                if mine {
                    self.emit(Output::Durable { id, durability: Durability::Memory });
                }
            }
        }
        entry_accepted(self, id);
        self.show(id, record);
        // Until an entry that is written later is there, those that it stands for stay as well.
        match answered {
            Some(answer) => self.take_resolved(&op, &answer, is_stored),
            None => self.let_go_of_replaced(&op, is_stored, None),
        }
        self.note_decision_of(&op);
        let mut message = self.tabs.message(Kind::Operation);
        message.op = Some(op);
        self.emit(Output::Broadcast(message));
    }

    pub(super) fn on_durable(&mut self, id: OperationId, durable: bool) {
        if durable {
            self.unpersist_replaced(id);
        }
        let level = match (durable, self.durability) {
            (true, _) => Durability::Full,
            // Neither step has it: say so, and keep it while this tab lives.
            (false, Durability::Async | Durability::Memory) => {
                self.durability = Durability::Memory;
                let why = "an operation could be stored neither at once nor later; it lives as long as this page";
                self.problem(Problem::new("storage", id.to_string(), why));
                Durability::Memory
            }
            (false, Durability::Full | Durability::Tab) => {
                self.durability = Durability::Tab;
                Durability::Tab
            }
        };
        // What the rules decided has no author who waits for this.
        if self.outbox.get(id).is_none_or(|pending| pending.mine) {
            self.emit(Output::Durable { id, durability: level });
        }
    }

    /// Takes in what earlier tabs left in storage.
    pub(super) fn on_entries(&mut self, entries: Vec<FoundEntry>) {
        let mut found = Vec::new();
        let (marks, entries): (Vec<FoundEntry>, Vec<FoundEntry>) =
            entries.into_iter().partition(|entry| self.session.mark_at_ms(&entry.key).is_some());
        if self.read_marks(marks.into_iter().map(|mark| mark.key).collect()) {
            return;
        }
        for entry in entries {
            let key = entry.key.clone();
            match read(entry, &self.session) {
                Reading::Take(op) if self.settled.contains(op.id) => self.emit(Output::Unpersist { key }),
                Reading::Take(op) => {
                    self.keep_for_newer(&op);
                    self.unsure.remove(&op.id);
                    found.push(op.id);
                    self.adopt(op);
                }
                Reading::Leave(problem) => self.problem(problem),
                Reading::Quarantine(problem) => {
                    if let Some(to) = self.session.quarantine_key(&key) {
                        self.emit(Output::Quarantine { key, to });
                    }
                    self.problem(problem);
                }
            }
        }
        self.looks_until_mono_ms = None;
        for id in found {
            self.unpersist_replaced(id);
        }
    }

    /// Takes in an operation of another tab, once.
    pub(super) fn adopt(&mut self, op: Operation) {
        let id = op.id;
        if self.outbox.contains(id) || self.settled.contains(id) || self.outbox.replacing(id).is_some() {
            return;
        }
        if self.is_late_decision(&op) {
            return self.refuse_late_decision(&op);
        }
        let Some(table) = self.tables.table_id(&op.table) else {
            // Another release of the application made it; it stays stored for a tab that knows the table.
            self.problem(Problem::new(
                "unknown-table",
                op.table,
                format!("operation {id} is of a table that is not declared here; it stays stored"),
            ));
            return;
        };
        self.clock.observe(op.hlc, self.now);
        let record = self.tables.intern(table, &op.key);
        let replacing = if op.replaces.is_empty() { None } else { Some(op.clone()) };
        self.outbox.insert(pending(op, record, false));
        entry_accepted(self, id);
        self.show(id, record);
        if let Some(op) = replacing {
            self.let_go_of_replaced(&op, false, None);
            self.note_decision_of(&op);
        }
    }

    pub(super) fn cancel(&mut self, id: OperationId) -> Result<(), Error> {
        if let Some(newer) = self.outbox.replacing(id) {
            return Err(Error::Replaced { id: id.to_string(), by: newer.to_string() });
        }
        let Some(pending) = self.outbox.get(id) else { return Err(Error::UnknownOperation { id: id.to_string() }) };
        // One that was ever sent may have arrived, though its call failed.
        if pending.state == OperationState::Sent
            || (pending.state == OperationState::Queued && pending.sent_at_mono_ms > 0)
        {
            return Err(Error::TooLate { id: id.to_string(), state: OperationState::Sent.name() });
        }
        if pending.state == OperationState::Conflicted {
            return Err(Error::InvalidOperation(format!("operation {id} is in conflict; resolve it")));
        }
        if self.tabs.role == Role::Follower && pending.state != OperationState::Dead {
            let mut message = self.tabs.message(Kind::Cancel);
            message.id = Some(id);
            self.emit(Output::Broadcast(message));
            return Ok(());
        }
        self.cancel_here(id);
        Ok(())
    }

    /// Cancels an operation for all tabs.
    pub(super) fn cancel_here(&mut self, id: OperationId) {
        self.settle(Settlement { id, outcome: OperationState::Cancelled, code: None, message: None, fields: vec![] });
        self.tell_state(id, OperationState::Cancelled);
    }

    pub(super) fn retry_dead(&mut self, id: OperationId) -> Result<(), Error> {
        let Some(pending) = self.outbox.get(id) else { return Err(Error::UnknownOperation { id: id.to_string() }) };
        if pending.state != OperationState::Dead {
            return Err(Error::InvalidOperation(format!(
                "operation {id} is {}; only a dead one can be retried",
                pending.state.name()
            )));
        }
        self.revive(id);
        self.tell_state(id, OperationState::Queued);
        Ok(())
    }

    /// Puts a dead operation back into the queue.
    pub(super) fn revive(&mut self, id: OperationId) {
        let Some(pending) = self.outbox.get_mut(id).filter(|pending| pending.state == OperationState::Dead) else {
            return;
        };
        (pending.tries, pending.trouble) = (0, None);
        let record = pending.record;
        self.outbox.wait(id, 0);
        self.outbox.mark_returned(id, OperationState::Queued);
        self.dirty_operations.insert(id);
        self.recompute(record);
    }
}

pub(super) const fn pending(op: Operation, record: crate::engine::table::RecordId, mine: bool) -> Pending {
    Pending {
        op,
        record,
        state: OperationState::Queued,
        mine,
        accepted: false,
        doubtful: false,
        tries: 0,
        not_before_mono_ms: 0,
        sent_at_mono_ms: 0,
        trouble: None,
        replaced: vec![],
        conflict: None,
    }
}

fn entry_accepted<R: Record>(engine: &mut Engine<R>, id: OperationId) {
    engine.outbox.accept(id);
    engine.dirty_operations.insert(id);
}

/// The engine's clock, for its parts.
pub(super) const fn after(now: Now, delay_ms: u64) -> u64 {
    now.mono_ms.saturating_add(delay_ms)
}
