//! What people want done: checked, made into operations, stored, and only then shown.

use rand_core::Rng;

use super::Engine;
use crate::engine::error::{Error, Problem};
use crate::engine::input::{Command, Stored};
use crate::engine::mark::mark;
use crate::engine::operation::{Operation, OperationId, OperationState, PROTOCOL, Settlement, name};
use crate::engine::outbox::{OUTBOX_LEN_MAX, Pending};
use crate::engine::output::{Durability, Output};
use crate::engine::overlay::base;
use crate::engine::record::Record;
use crate::engine::sabotage::sabotaged;
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
        if self.outbox.len() >= OUTBOX_LEN_MAX {
            mark!(OutboxFull);
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
                config.check_fields(command.set.keys())?;
                if let Some(field) = command.set.keys().find(|field| config.key.contains(field)) {
                    return Err(Error::InvalidOperation(format!(
                        "\"{field}\" is a part of the key, and a key never changes; insert another record"
                    )));
                }
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
        let after = self
            .outbox
            .shown(record)
            .filter(|pending| pending.op.name == name::INSERT)
            .map(|pending| pending.op.id)
            .collect();
        let op = Operation {
            protocol: PROTOCOL,
            id: OperationId::new(hlc, random),
            name: command.name,
            table: command.table,
            key: intent.key,
            args: command.args,
            set: intent.set,
            base: intent.base,
            base_version: self.tables.cell(record).and_then(|cell| cell.version),
            hlc,
            tab: self.tabs.id.clone(),
            after,
        };
        let id = op.id;
        let entry = StoredOperation::new(op.clone());
        self.emit(Output::Persist { id, key: self.session.operation_key(hlc, id), entry });
        self.outbox.insert(pending(op, record, true));
        if sabotaged!(ShowUnstored) {
            entry_accepted(self, id);
            self.show(id, record);
        }
        id
    }

    pub(super) fn on_stored(&mut self, id: OperationId, stored: Stored) {
        let Some(entry) = self.outbox.get_mut(id) else { return };
        let (op, record) = (entry.op.clone(), entry.record);
        match stored {
            Stored::Failed(message) => {
                mark!(NotStored);
                if sabotaged!(KeepUnstored) {
                    entry_accepted(self, id);
                    self.show(id, record);
                    self.emit(Output::Rejected { id, message });
                    return;
                }
                self.outbox.remove(id);
                if !self.outbox.concerns(record) {
                    self.tables.release_if_unknown(record);
                }
                self.emit(Output::Rejected { id, message });
                return;
            }
            Stored::Now => {}
            Stored::Later => {
                mark!(StoredLater);
                self.durability = Durability::Async;
            }
            Stored::Memory => {
                self.durability = Durability::Memory;
                self.emit(Output::Durable { id, durability: Durability::Memory });
            }
        }
        entry_accepted(self, id);
        self.show(id, record);
        let mut message = self.tabs.message(Kind::Operation);
        message.op = Some(op);
        self.emit(Output::Broadcast(message));
    }

    pub(super) fn on_durable(&mut self, id: OperationId, durable: bool) {
        let level = match (durable, self.durability) {
            (true, _) => Durability::Full,
            // Neither step has it: say so, and keep it while this tab lives.
            (false, Durability::Async | Durability::Memory) => {
                mark!(DurabilityLost);
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
        self.emit(Output::Durable { id, durability: level });
    }

    /// Takes in what earlier tabs left in storage.
    pub(super) fn on_entries(&mut self, entries: Vec<FoundEntry>) {
        for entry in entries {
            let key = entry.key.clone();
            match read(entry, &self.session) {
                Reading::Take(op) => {
                    if !self.outbox.contains(op.id) && !self.settled.contains(op.id) {
                        mark!(AdoptedFromStorage);
                    }
                    self.adopt(op);
                }
                Reading::Leave(problem) => {
                    mark!(NewerEntryLeft);
                    if sabotaged!(DropNewerEntry) {
                        self.emit(Output::Unpersist { key });
                    }
                    self.problem(problem);
                }
                Reading::Quarantine(problem) => {
                    mark!(EntryQuarantined);
                    if let Some(to) = self.session.quarantine_key(&key) {
                        self.emit(Output::Quarantine { key, to });
                    }
                    self.problem(problem);
                }
            }
        }
    }

    /// Takes in an operation of another tab, once.
    pub(super) fn adopt(&mut self, op: Operation) {
        let op = if sabotaged!(ApplyTwiceAfterAdoption) && !self.outbox.contains(op.id) && !self.settled.contains(op.id)
        {
            Operation { id: OperationId::new(op.hlc, [7; 10]), ..op }
        } else {
            op
        };
        let id = op.id;
        if self.outbox.contains(id) || self.settled.contains(id) {
            return;
        }
        let Some(table) = self.tables.table_id(&op.table) else {
            mark!(UnknownTable);
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
        self.outbox.insert(pending(op, record, false));
        entry_accepted(self, id);
        self.show(id, record);
    }

    pub(super) fn cancel(&mut self, id: OperationId) -> Result<(), Error> {
        let Some(pending) = self.outbox.get(id) else { return Err(Error::UnknownOperation { id: id.to_string() }) };
        // One that was ever sent may have arrived, though its call failed.
        if !sabotaged!(CancelSent)
            && (pending.state == OperationState::Sent
                || (pending.state == OperationState::Queued && pending.sent_at_mono_ms > 0))
        {
            mark!(CancelTooLate);
            return Err(Error::TooLate { id: id.to_string(), state: OperationState::Sent.name() });
        }
        if self.tabs.role == Role::Follower && pending.state != OperationState::Dead {
            mark!(CancelPassedOn);
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
        mark!(Revived);
        (pending.tries, pending.trouble) = (0, None);
        let record = pending.record;
        self.outbox.wait(id, 0);
        self.outbox.mark_returned(id, OperationState::Queued);
        self.dirty_operations.insert(id);
        self.recompute(record);
    }
}

const fn pending(op: Operation, record: crate::engine::table::RecordId, mine: bool) -> Pending {
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
