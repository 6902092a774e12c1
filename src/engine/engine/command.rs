//! What people want done: checked, made into operations, stored, and only then shown.

use rand_core::Rng;

use super::Engine;
use super::leaving::Leaving;
use super::rebasing::Void;
use super::replacing::{flattened, joined_with, merged};
use super::sending::GIVEN_UP;
use crate::engine::alias::{MARK, inserts_named, temporary_key};
use crate::engine::error::{Error, Problem};
use crate::engine::input::Command;
use crate::engine::mark::mark;
use crate::engine::operation::{
    Operation, OperationId, OperationState, PARTS_MAX, PROTOCOL, PROTOCOL_WITH_PARTS, Part, Step, name,
};
use crate::engine::outbox::{OUTBOX_LEN_MAX, Pending};
use crate::engine::output::Output;
use crate::engine::overlay::{apply, base};
use crate::engine::record::Record;
use crate::engine::sabotage::sabotaged;
use crate::engine::sorted::SortedSet;
use crate::engine::stored::{Content, FoundEntry, Reading, StoredOperation, read};
use crate::engine::table::{RecordId, TableId};
use crate::engine::tabs::Kind;
use crate::engine::time::{Hlc, Now};
use crate::engine::value::Fields;

/// How long an operation's id is as text.
const ID_LEN: usize = 36;

/// What the temporary keys of a transaction begin with before they are completed with its id.
const UNNAMED: &str = "~.";

/// How many operations are remembered that are to be cancelled, and were not heard of yet.
const TO_CANCEL_MAX: usize = 1_000;

/// What a command means, once it is known to make sense.
pub(super) struct Intent {
    pub(super) table: TableId,
    pub(super) part: Part,
}

impl Intent {
    /// True for an insert of a record whose temporary key is still to be completed with the operation's id.
    pub(super) fn is_unnamed(&self) -> bool {
        self.part.name == name::INSERT && self.part.key.starts_with(MARK)
    }

    pub(super) fn is_unnamed_of(&self, table: TableId) -> bool {
        self.table == table && self.is_unnamed()
    }
}

/// What the records of a transaction look like after its earlier parts.
pub(super) struct Draft<R>(Vec<(TableId, String, Option<R>)>);

impl<R> Draft<R> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn get(&self, table: TableId, key: &str) -> Option<Option<&R>> {
        let drafted = self.0.iter().rfind(|(of, named, _)| *of == table && named == key);
        drafted.map(|(_, _, record)| record.as_ref())
    }

    /// Returns what is left of the records of a table.
    pub(super) fn of(&self, table: TableId) -> impl Iterator<Item = (&str, &R)> {
        let is_last =
            move |at: usize, key: &str| !self.0[at + 1..].iter().any(|(of, named, _)| *of == table && named == key);
        let of_table = self.0.iter().enumerate().filter(move |(_, (of, ..))| *of == table);
        let last = of_table.filter(move |(at, (_, key, _))| is_last(*at, key));
        last.filter_map(|(_, (_, key, record))| Some((key.as_str(), record.as_ref()?)))
    }
}

impl<R: Record> Engine<R> {
    pub(super) fn mutate(&mut self, command: Command) -> Result<OperationId, Error> {
        self.check_room()?;
        let after = self.dependencies(&command.after)?;
        let mut command = command;
        let chosen = self.choose(&mut command)?;
        let intent = self.intend(command, &Draft::new())?;
        Ok(self.accept(vec![intent], after, !chosen))
    }

    /// Takes several commands as one operation. Each is checked against what the earlier ones leave; if any makes no sense, none is taken.
    pub(super) fn transact(&mut self, commands: Vec<Command>) -> Result<OperationId, Error> {
        self.check_room()?;
        if !(2..=PARTS_MAX).contains(&commands.len()) {
            return Err(Error::TransactionLength { len: commands.len(), len_max: PARTS_MAX });
        }
        let named: Vec<OperationId> = commands.iter().flat_map(|command| command.after.iter().copied()).collect();
        let after = self.dependencies(&named)?;
        let (mut draft, mut intents) = (Draft::new(), Vec::with_capacity(commands.len()));
        for mut command in commands {
            if self.choose(&mut command)? {
                let why = "what leaves the record to the server can't be a part of a transaction";
                return Err(Error::InvalidOperation(why.to_owned()));
            }
            let mut intent = self.intend(command, &draft)?;
            if intent.is_unnamed() {
                if intents.iter().any(|earlier: &Intent| earlier.is_unnamed_of(intent.table)) {
                    let why =
                        "a transaction may insert one record without a key into each table; give the others their keys";
                    return Err(Error::InvalidOperation(why.to_owned()));
                }
                intent.part.key = [&intent.part.key, ".", &intents.len().to_string()].concat();
            }
            if !self.draft(&mut draft, intent.table, intent.part.step()) {
                return Err(Error::InvalidOperation(
                    ["a part of a transaction does not apply to record ", &intent.part.key].concat(),
                ));
            }
            intents.push(intent);
        }
        Ok(self.accept(intents, after, false))
    }

    /// Says whether a command would be taken now, as far as is known here. Nothing is changed.
    ///
    /// # Errors
    /// As for [`Input::Mutate`](crate::Input::Mutate).
    pub fn can(&self, mut command: Command) -> Result<(), Error> {
        self.check_room()?;
        self.dependencies(&command.after)?;
        self.choose(&mut command)?;
        self.intend(command, &Draft::new()).map(|_| ())
    }

    /// Says whether something new may begin.
    pub(super) fn check_room(&self) -> Result<(), Error> {
        if self.leaving != Leaving::No {
            return Err(Error::SigningOut);
        }
        self.check_bound()
    }

    /// Says whether the outbox holds one operation more.
    pub(super) fn check_bound(&self) -> Result<(), Error> {
        if self.outbox.len() >= OUTBOX_LEN_MAX {
            mark!(OutboxFull);
            return Err(Error::OutboxFull { len_max: OUTBOX_LEN_MAX });
        }
        Ok(())
    }

    /// Has the rules choose the record of a command that leaves it to the server. Returns whether it is one.
    fn choose(&self, command: &mut Command) -> Result<bool, Error> {
        let Some(table) = self.tables.table_id(&command.table) else { return Ok(false) };
        let config = self.tables.config(table);
        if !self.rules.leaves_choice(config, &command.name) {
            return Ok(false);
        }
        if command.key.is_some() {
            let why = "the server chooses the record of this operation, so none is named";
            return Err(Error::InvalidOperation(why.to_owned()));
        }
        let chosen =
            self.ask(&Draft::new(), |rules, context| rules.choose(config, &command.name, &command.args, context));
        command.key = Some(chosen?);
        Ok(true)
    }

    /// Has the rules look at a plain change.
    fn check(
        &self,
        (table, key): (TableId, &str),
        command: &Command,
        record: Option<&R>,
        draft: &Draft<R>,
    ) -> Result<(), Error> {
        let (config, none) = (self.tables.config(table), Fields::new());
        let Command { name, set, .. } = command;
        let step = Step { name, table: &config.name, key, args: &none, set, base: &none };
        self.ask(draft, |rules, context| rules.check(config, &step, record, context))
    }

    fn intend(&self, mut command: Command, draft: &Draft<R>) -> Result<Intent, Error> {
        // Whoever still knows a record by its temporary key means the record.
        command.key = command.key.map(|key| self.aliases.key(&key).into_owned());
        for fields in [&mut command.args, &mut command.set] {
            self.aliases.rewrite_fields(fields);
        }
        let Some(table) = self.tables.table_id(&command.table) else {
            return Err(Error::UnknownTable { table: command.table });
        };
        let (key, set, base) = match command.name.as_str() {
            name::INSERT => self.intend_insert(table, &command, draft)?,
            _ => self.intend_change(table, &command, draft)?,
        };
        let version =
            self.tables.find(table, &key).and_then(|id| self.tables.cell(id)).and_then(|cell| cell.version.clone());
        let Command { name, table: table_name, args, .. } = command;
        Ok(Intent { table, part: Part { name, table: table_name, key, args, set, base, base_version: version } })
    }

    /// Puts a change onto what is drafted. Returns false when it does not apply.
    pub(super) fn draft(&self, draft: &mut Draft<R>, table: TableId, step: Step<'_>) -> bool {
        let key = step.key.to_owned();
        let applied = apply(self.visible_after(draft, table, &key), step, self.tables.config(table), &*self.rules);
        let Some(record) = applied else { return false };
        draft.0.push((table, key, record));
        true
    }

    /// Returns what is seen of a record, after what is drafted.
    pub(super) fn visible_after<'a>(&'a self, draft: &'a Draft<R>, table: TableId, key: &str) -> Option<&'a R> {
        let seen = || self.tables.find(table, key).and_then(|id| self.tables.cell(id)?.visible.as_ref());
        draft.get(table, key).unwrap_or_else(seen)
    }

    fn intend_insert(
        &self,
        table: TableId,
        command: &Command,
        draft: &Draft<R>,
    ) -> Result<(String, Fields, Fields), Error> {
        let config = self.tables.config(table);
        config.check_fields(command.set.keys())?;
        if config.temporary_keys
            && config.key.iter().all(|field| !command.set.contains_key(field))
            && command.key.is_none()
        {
            self.check((table, ""), command, None, draft)?;
            return Ok((MARK.to_string(), command.set.clone(), Fields::new()));
        }
        let key = config.key_of(&command.set)?;
        if config.temporary_keys && key.starts_with(MARK) {
            let why = "a key that begins with ~ is a temporary one, and only the engine gives these";
            return Err(Error::InvalidOperation(why.to_owned()));
        }
        if command.key.as_ref().is_some_and(|given| *given != key) {
            return Err(Error::InvalidOperation("the key given for an insert is not that of the record".to_owned()));
        }
        if self.visible_after(draft, table, &key).is_some() {
            return Err(Error::RecordExists { table: config.name.clone(), key });
        }
        self.check((table, &key), command, None, draft)?;
        Ok((key, command.set.clone(), Fields::new()))
    }

    fn intend_change(
        &self,
        table: TableId,
        command: &Command,
        draft: &Draft<R>,
    ) -> Result<(String, Fields, Fields), Error> {
        let config = self.tables.config(table);
        let Some(key) = command.key.clone() else {
            return Err(Error::MissingKey { table: config.name.clone(), field: config.key.join(", ") });
        };
        // What is drafted has the temporary keys of this very transaction, which nobody can name: they are completed with its id.
        let named = Some(&key).filter(|key| !(config.temporary_keys && key.starts_with(UNNAMED)));
        let Some(record) = named.and_then(|key| self.visible_after(draft, table, key)) else {
            return Err(Error::UnknownRecord { table: config.name.clone(), key });
        };
        let set = match command.name.as_str() {
            name::PATCH => {
                config.check_patch(&command.set)?;
                if command.set.is_empty() {
                    return Err(Error::InvalidOperation("a patch must set at least one field".to_owned()));
                }
                self.check((table, &key), command, Some(record), draft)?;
                command.set.clone()
            }
            name::DELETE => {
                self.check((table, &key), command, Some(record), draft)?;
                Fields::new()
            }
            named => self.ask(draft, |rules, context| rules.intend(config, named, &command.args, record, context))?,
        };
        let base = base(record, &set);
        Ok((key, set, base))
    }

    /// Makes the operation, and asks for it to be stored. It is neither seen nor sent before that.
    pub(super) fn accept(
        &mut self,
        mut intents: Vec<Intent>,
        mut after: Vec<OperationId>,
        may_join: bool,
    ) -> OperationId {
        let mut random = [0; 10];
        self.random.fill_bytes(&mut random);
        let hlc = self.clock.mint(self.now);
        let id = OperationId::new(hlc, random);
        for intent in intents.iter_mut().filter(|intent| intent.is_unnamed()) {
            let part = intent.part.key.split_once('.').and_then(|(_, part)| part.parse().ok());
            intent.part.key = temporary_key(id, part);
        }
        let records: Vec<RecordId> =
            intents.iter().map(|intent| self.tables.intern(intent.table, &intent.part.key)).collect();
        let mut op = operation(id, hlc, &self.tabs.id, intents.into_iter().map(|intent| intent.part).collect());
        let tables = records.iter().filter_map(|record| self.tables.cell(*record)).map(|cell| cell.table);
        let ruled: Vec<OperationId> =
            tables.zip(op.steps()).flat_map(|(table, step)| self.ruled_before(table, &step)).collect();
        for needed in self.inserts_of(&op, &records).into_iter().chain(ruled) {
            if !after.contains(&needed) {
                after.push(needed);
            }
        }
        op.after = after;
        let joined = records.first().and_then(|record| self.coalescible(&op, *record));
        if let Some(older) = joined.filter(|_| may_join).map(|pending| &pending.op) {
            mark!(PatchJoined);
            op.joined = joined_with(older, id, op.set.clone());
            (op.set, op.base) = merged(older, op.set, op.base);
            (op.base_version, op.replaces) = (older.base_version.clone(), flattened(older));
        }
        self.persist(&op);
        let record = records.first().copied();
        self.outbox.insert(pending(op, records, true));
        if let Some(record) = record.filter(|_| sabotaged!(ShowUnstored)) {
            entry_accepted(self, id);
            self.show(id, record);
        }
        id
    }

    /// Returns the pending inserts of an operation's records, and of those that it refers to: it depends on them.
    fn inserts_of(&self, op: &Operation, records: &[RecordId]) -> Vec<OperationId> {
        let mut inserts = SortedSet::new();
        for id in inserts_named(op).into_iter().filter(|id| self.outbox.contains(*id)) {
            inserts.insert(id);
        }
        for record in records {
            for pending in self.outbox.shown(*record) {
                if pending.changes().any(|(of, step)| of == *record && step.name == name::INSERT) {
                    inserts.insert(pending.op.id);
                }
            }
        }
        inserts.into_iter().collect()
    }

    pub(super) fn persist(&mut self, op: &Operation) {
        let (key, entry) = (self.session.operation_key(op.hlc, op.id), StoredOperation::new(op.clone()));
        self.emit(Output::Persist { id: op.id, key, entry });
    }

    /// Takes in what earlier tabs left in storage.
    pub(super) fn on_entries(&mut self, entries: Vec<FoundEntry>, look: Option<u32>) {
        let (marks, entries): (Vec<FoundEntry>, Vec<FoundEntry>) =
            entries.into_iter().partition(|entry| self.session.mark_at_ms(&entry.key).is_some());
        if self.read_marks(marks.into_iter().map(|mark| mark.key).collect()) {
            return;
        }
        let (marks, entries): (Vec<FoundEntry>, Vec<FoundEntry>) =
            entries.into_iter().partition(|entry| self.session.dead_id(&entry.key).is_some());
        let given_up = self.read_dead_marks(&marks, &entries);
        // What temporary keys turned out to be is read before what names them.
        let (aliases, others): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| matches!(entry.content, Content::Alias(_)));
        let (mut found, mut found_aliases) = (Vec::new(), Vec::new());
        for entry in aliases.into_iter().chain(others) {
            let key = entry.key.clone();
            match read(entry, &self.session) {
                Reading::Take(op) if self.settled.contains(op.id) => self.emit(Output::Unpersist { key }),
                Reading::Take(op) => {
                    let (id, is_known) = (op.id, self.outbox.contains(op.id));
                    if !self.outbox.contains(op.id) && !self.settled.contains(op.id) {
                        mark!(AdoptedFromStorage);
                        self.note_found(&op);
                    }
                    self.keep_for_newer(&op);
                    self.unsure.remove(&op.id);
                    found.push(op.id);
                    if is_known {
                        self.note_named(&op);
                    }
                    self.adopt(op);
                    // Of what is known here somebody may have asked for another try since the mark was read.
                    if !is_known && given_up.contains(&id) {
                        mark!(GivenUpBefore);
                        self.bury(id, (GIVEN_UP.to_owned(), "it was given up on an earlier visit".to_owned()));
                    }
                }
                Reading::TakeAlias(alias) => {
                    let is_of_ours = self.tables.table_id(&alias.table).is_some();
                    let from = alias.from.clone();
                    mark!(KeyFromStorage);
                    if !self.learn_alias(alias) {
                        self.quarantine(key);
                    } else if is_of_ours {
                        found_aliases.push(from);
                    }
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
                    self.quarantine(key);
                    self.problem(problem);
                }
            }
        }
        // The quicker place alone may lack what the other has, or what a tab of another process has just written there.
        let has_looked = |awaited: u32| look.is_some_and(|look| look >= awaited);
        if has_looked(self.sends_after_look) && self.looks_until_mono_ms.take().is_some() && !self.unsure.is_empty() {
            // What storage does not have, the ledger may know; the pull that asked it may have ended before.
            self.puller.want();
        }
        for id in found {
            self.unpersist_replaced(id);
        }
        self.drop_aliases(&found_aliases);
        if has_looked(self.leaves_after_look) {
            self.leave_after_look();
        }
    }

    /// Returns which operations were given up. A mark that was left behind by the end of its operation is deleted.
    fn read_dead_marks(&mut self, marks: &[FoundEntry], entries: &[FoundEntry]) -> SortedSet<OperationId> {
        let (mut stored, mut given_up) = (SortedSet::new(), SortedSet::new());
        for entry in entries.iter().filter(|_| !marks.is_empty()) {
            // Even one that can't be read, or is of another release, ends with its id.
            let tail = entry.key.get(entry.key.len().saturating_sub(ID_LEN)..);
            if let Some(id) = tail.and_then(OperationId::parse) {
                stored.insert(id);
            }
        }
        for mark in marks {
            let Some(id) = self.session.dead_id(&mark.key) else { continue };
            if stored.contains(&id) || self.outbox.contains(id) {
                given_up.insert(id);
            } else {
                self.emit(Output::Unpersist { key: mark.key.clone() });
            }
        }
        given_up
    }

    fn quarantine(&mut self, key: String) {
        if let Some(to) = self.session.quarantine_key(&key) {
            self.emit(Output::Quarantine { key, to });
        }
    }

    /// Takes in an operation of another tab, once.
    pub(super) fn adopt(&mut self, mut op: Operation) {
        if sabotaged!(ApplyTwiceAfterAdoption) && !self.outbox.contains(op.id) && !self.settled.contains(op.id) {
            op.id = OperationId::new(op.hlc, [7; 10]);
        }
        let id = op.id;
        self.take_newer_base(&op);
        if self.outbox.contains(id) || self.settled.contains(id) || self.outbox.replacing(id).is_some() {
            return;
        }
        if self.is_late_decision(&op) {
            return self.refuse_late_decision(&op);
        }
        if op.protocol > PROTOCOL_WITH_PARTS || op.parts.len() > PARTS_MAX {
            let why = ["operation ", &id.to_string(), " is of a later release; it stays stored"].concat();
            self.problem(Problem::new("newer-operation", op.table, why));
            return;
        }
        let mut named = Vec::new();
        self.aliases.rewrite(&mut op, &mut named);
        if sabotaged!(LeavePartOut) && op.parts.len() > 2 {
            op.parts.pop();
        }
        let mut records = Vec::with_capacity(op.steps_len());
        for step in op.steps() {
            let Some(table) = self.tables.table_id(step.table) else {
                mark!(UnknownTable);
                // Another release of the application made it; it stays stored for a tab that knows the table.
                let why = format!("operation {id} is of a table that is not declared here; it stays stored");
                let place = step.table.to_owned();
                self.problem(Problem::new("unknown-table", place, why));
                return;
            };
            records.push((table, self.aliases.key(step.key).into_owned()));
        }
        self.clock.observe(op.hlc, self.now);
        let records: Vec<RecordId> = records.into_iter().map(|(table, key)| self.tables.intern(table, &key)).collect();
        // An operation has at least one step, so there is a record.
        let record = records[0];
        let bound = if op.replaces.is_empty() && op.after.is_empty() { None } else { Some(op.clone()) };
        let mut pending = pending(op, records, false);
        pending.perhaps_sent = pending.op.hlc.wall_ms() > self.now.wall_ms;
        (pending.landed, pending.named) = (self.landed(&pending), named);
        if !pending.landed.is_empty() {
            mark!(LandedBefore);
        }
        pending.keyed = self.keyed(&pending.op);
        self.ask_for_keys(&pending);
        self.outbox.insert(pending);
        self.authors.is_due = true;
        entry_accepted(self, id);
        self.show(id, record);
        self.rebase_late(id);
        if let Some(op) = bound {
            self.let_go_of_replaced(&op, false, None);
            self.note_decision_of(&op);
            self.end_if_doomed(&op);
        }
        if self.to_cancel.remove(&id) {
            self.on_cancel(id);
        }
    }

    pub(super) fn cancel(&mut self, id: OperationId) -> Result<(), Error> {
        if let Some(newer) = self.outbox.replacing(id) {
            return Err(Error::Replaced { id: id.to_string(), by: newer.to_string() });
        }
        let Some(pending) = self.outbox.get(id) else { return Err(Error::UnknownOperation { id: id.to_string() }) };
        // One that was ever sent may have arrived, though its call failed.
        if !sabotaged!(CancelSent)
            && (matches!(pending.state, OperationState::Sent | OperationState::Acknowledged)
                || (pending.state == OperationState::Queued && pending.sent_at_mono_ms > 0))
        {
            mark!(CancelTooLate);
            return Err(Error::TooLate { id: id.to_string(), state: OperationState::Sent.name() });
        }
        if pending.state == OperationState::Conflicted {
            return Err(Error::InvalidOperation(format!("operation {id} is in conflict; resolve it")));
        }
        if !self.sends_for(id) {
            mark!(CancelPassedOn);
            if let Some(pending) = self.outbox.get_mut(id) {
                pending.cancel_asked = true;
            }
            self.tell_cancel(id);
            return Ok(());
        }
        // What an earlier leader may have sent can still arrive, whatever the ledger says now.
        if pending.state != OperationState::Dead && !self.was_never_sent(pending) && !sabotaged!(CancelSent) {
            return Err(Error::TooLate { id: id.to_string(), state: "perhaps sent already" });
        }
        self.cancel_here(id);
        Ok(())
    }

    pub(super) fn tell_cancel(&mut self, id: OperationId) {
        let mut message = self.tabs.message(Kind::Cancel);
        message.id = Some(id);
        self.emit(Output::Broadcast(message));
    }

    /// Another tab asks the one that sends to cancel an operation.
    pub(super) fn on_cancel(&mut self, id: OperationId) {
        if !self.sends_for(id) || self.settled.contains(id) {
            return;
        }
        if !self.outbox.contains(id) && self.outbox.replacing(id).is_none() {
            // It has overtaken the operation itself.
            if self.to_cancel.len() < TO_CANCEL_MAX {
                self.to_cancel.insert(id);
            }
        } else if self.cancel(id).is_err() {
            // Too late: the operation goes its way, and its author hears of its end like everyone.
        }
    }

    /// Does what this tab has promised as a follower, as far as it can be done now that it leads.
    pub(super) fn cancel_what_was_asked(&mut self) {
        let asked = self.outbox.iter().filter(|pending| pending.cancel_asked).map(|pending| pending.op.id);
        for id in asked.collect::<Vec<_>>() {
            if self.cancel(id).is_err() {
                // The leader before may have sent it.
            }
        }
    }

    /// Cancels an operation for all tabs.
    pub(super) fn cancel_here(&mut self, id: OperationId) {
        self.settle(&super::sync::settlement(id, OperationState::Cancelled));
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
        self.outputs.push_back(Output::Unpersist { key: self.session.dead_key(id) });
        (pending.tries, pending.postponements, pending.trouble, pending.cancel_asked) = (0, 0, None, false);
        let records = pending.records();
        self.outbox.wait(id, 0);
        self.outbox.mark_returned(id, OperationState::Queued);
        self.dirty_operations.insert(id);
        if let Some(void) = self.outbox.get(id).map(Void::of) {
            self.rebase_onto(void);
        }
        self.recompute_all(&records);
    }
}

/// Makes an operation of one part, or a transaction of several.
fn operation(id: OperationId, hlc: Hlc, tab: &str, parts: Vec<Part>) -> Operation {
    let tab = tab.to_owned();
    match <[Part; 1]>::try_from(parts) {
        Ok([Part { name, table, key, args, set, base, base_version }]) => Operation {
            protocol: PROTOCOL,
            id,
            name,
            table,
            key,
            args,
            set,
            base,
            base_version,
            hlc,
            tab,
            after: vec![],
            parts: vec![],
            replaces: vec![],
            joined: vec![],
            rebased: 0,
            decision: None,
        },
        Err(parts) => Operation {
            protocol: PROTOCOL_WITH_PARTS,
            id,
            name: name::TRANSACTION.to_owned(),
            table: parts.first().map(|part| part.table.clone()).unwrap_or_default(),
            key: parts.first().map(|part| part.key.clone()).unwrap_or_default(),
            args: Fields::new(),
            set: Fields::new(),
            base: Fields::new(),
            base_version: None,
            hlc,
            tab,
            after: vec![],
            parts,
            replaces: vec![],
            joined: vec![],
            rebased: 0,
            decision: None,
        },
    }
}

/// `records`: that of each of its parts; there is one at least.
pub(super) fn pending(op: Operation, records: Vec<RecordId>, mine: bool) -> Pending {
    Pending {
        record: records[0],
        parts: if op.parts.is_empty() { vec![] } else { records },
        op,
        landed: vec![],
        named: vec![],
        keyed: vec![],
        state: OperationState::Queued,
        mine,
        accepted: false,
        doubtful: false,
        tries: 0,
        token_refusals: 0,
        postponements: 0,
        not_before_mono_ms: 0,
        sent_at_mono_ms: 0,
        call: 0,
        company: 0,
        company_max: usize::MAX,
        trouble: None,
        lookup: None,
        unarrived_since: None,
        perhaps_sent: false,
        made_here: mine,
        stored_at_once: false,
        cancel_asked: false,
        replaced: vec![],
        conflict: None,
    }
}

pub(super) fn entry_accepted<R: Record>(engine: &mut Engine<R>, id: OperationId) {
    engine.outbox.accept(id);
    engine.dirty_operations.insert(id);
}

/// The engine's clock, for its parts.
pub(super) const fn after(now: Now, delay_ms: u64) -> u64 {
    now.mono_ms.saturating_add(delay_ms)
}
