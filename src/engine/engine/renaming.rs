//! Records whose key the server gives: until it has, they have a temporary one, and what names that is sent with the real one.

use super::Engine;
use crate::engine::alias::{inserting, inserts_named, temporary_key};
use crate::engine::error::Problem;
use crate::engine::link::PULL_KEYS_MAX;
use crate::engine::mark::mark;
use crate::engine::operation::{Alias, Answer, Operation, OperationId, OperationState, Step, name};
use crate::engine::outbox::Pending;
use crate::engine::output::{Output, Renamed};
use crate::engine::record::Record;
use crate::engine::sabotage::sabotaged;
use crate::engine::sorted::{SortedSet, sort};
use crate::engine::stored::StoredAlias;
use crate::engine::table::{RecordId, TableId};
use crate::engine::tabs::Role;
use crate::engine::value::{Fields, Value, key_part};

impl<R: Record> Engine<R> {
    /// Sees whether a row that an operation wrote is the record that it was to insert under a temporary key.
    pub(super) fn claim(&mut self, op: OperationId, table: &str, key: &str, record: Option<&R>) {
        let (Some(table_id), Some(pending)) = (self.tables.table_id(table), self.outbox.get(op)) else { return };
        // The key of a record that it names otherwise is no news.
        if pending.op.steps().any(|step| step.table == table && step.key == key) {
            return;
        }
        let is_unnamed = |step: &Step<'_>| step.name == name::INSERT && inserting(step.key) == Some(op);
        let from =
            pending.op.steps().find(|step| step.table == table && is_unnamed(step)).map(|step| step.key.to_owned());
        let Some(from) = from else { return };
        mark!(KeyFromRow);
        let to = self.key_value(table_id, key, record);
        self.learn_alias(Alias { table: table.to_owned(), from, to });
    }

    /// Learns the keys that a confirmation gives.
    pub(super) fn claim_all(&mut self, answer: &Answer<R>) {
        for told in &answer.records {
            if let Some(from) = told.from.clone().filter(|from| inserting(from) == Some(answer.id))
                && let Some(table) = self.tables.table_id(&told.table)
            {
                mark!(KeyFromAnswer);
                let to = self.key_value(table, &told.key, told.record.as_ref());
                self.learn_alias(Alias { table: told.table.clone(), from, to });
            }
        }
        let record = answer.record.as_ref().and_then(Option::as_ref);
        self.claim(answer.id, &answer.table, &answer.key, record);
        // Its insert is not here any more, and others still name the temporary key.
        let from = temporary_key(answer.id, None);
        if self.asked.contains(&answer.id)
            && answer.key != from
            && self.outbox.naming(answer.id).next().is_some()
            && answer.records.is_empty()
            && let Some(table) =
                self.tables.table_id(&answer.table).filter(|table| self.tables.config(*table).temporary_keys)
        {
            let to = self.key_value(table, &answer.key, record);
            self.learn_alias(Alias { table: answer.table.clone(), from, to });
        }
    }

    /// Returns a key as the value that its field has.
    fn key_value(&self, table: TableId, key: &str, record: Option<&R>) -> Value {
        let field = self.tables.config(table).key.first();
        let value = field.and_then(|field| record?.field(field));
        value.filter(|value| key_part(value).as_deref() == Some(key)).unwrap_or_else(|| Value::from(key))
    }

    /// Takes in what a temporary key turned out to be. The record leaves the one key and comes under the other in the same step,
    /// and what is pending for it is from now on pending for the other. Returns false for what can't be one.
    pub(super) fn learn_alias(&mut self, alias: Alias) -> bool {
        let table = self.tables.table_id(&alias.table);
        if table.is_some_and(|table| !self.tables.config(table).temporary_keys) || inserting(&alias.from).is_none() {
            let why = ["\"", &alias.from, "\" is no temporary key of this table"].concat();
            self.problem(Problem::new("malformed-alias", alias.table, why));
            return false;
        }
        let Some(to) = alias.key() else {
            let why = ["\"", &alias.from, "\" stands for what is no key"].concat();
            self.problem(Problem::new("malformed-alias", alias.table, why));
            return false;
        };
        // A table that is not declared here is another release's.
        if sabotaged!(KeyUntold) && self.tabs.role == Role::Follower {
            return true;
        }
        let Some(table) = table.filter(|_| self.aliases.insert(alias.clone())) else { return true };
        let old = self.tables.find(table, &alias.from);
        let new = self.tables.intern(table, &to);
        let mut concerned = SortedSet::new();
        concerned.insert(new);
        old.map(|old| concerned.insert(old));
        // Only what names the key, or has it: there may be thousands of others.
        let naming = inserting(&alias.from).into_iter().flat_map(|insert| self.outbox.naming(insert));
        let mut naming: Vec<OperationId> = naming.map(|pending| pending.op.id).collect();
        naming.extend(old.into_iter().flat_map(|old| self.outbox.ids_of(old)));
        sort(&mut naming);
        naming.dedup();
        for id in naming {
            for record in self.rename_in(id, old, new) {
                concerned.insert(record);
            }
        }
        self.undoable.rewrite(&self.aliases);
        if self.is_named(&alias.from) {
            self.keep_alias(&alias.from);
        }
        self.renamed.push(Renamed { table: alias.table, from: alias.from, to });
        for record in concerned {
            self.recompute(record);
        }
        true
    }

    /// Stores what a temporary key turned out to be, for as long as stored operations name it.
    pub(super) fn keep_alias(&mut self, from: &str) {
        if let Some(alias) = self.aliases.get(from).filter(|_| self.tabs.sends() && !sabotaged!(LoseKey)) {
            mark!(KeyKept);
            let entry = StoredAlias::new(alias.clone());
            self.emit(Output::PersistAlias { key: self.session.alias_key(from), entry });
        }
    }

    /// Puts the real key into an operation. Returns the records that it concerns, if it named the temporary one.
    fn rename_in(&mut self, id: OperationId, old: Option<RecordId>, new: RecordId) -> Vec<RecordId> {
        let Some(pending) = self.outbox.get(id) else { return vec![] };
        let (mut op, mut named) = (pending.op.clone(), pending.named.clone());
        if !sabotaged!(LeaveTemporaryKey) {
            self.aliases.rewrite(&mut op, &mut named);
        }
        let is_of_old = old.is_some_and(|old| pending.records().contains(&old));
        if named.len() == pending.named.len() && !is_of_old {
            return vec![];
        }
        if named.len() > pending.named.len() {
            mark!(KeyPutIn);
        }
        let rename = |record: &mut RecordId| {
            if Some(*record) == old {
                *record = new;
            }
        };
        let keyed = self.keyed(&op);
        self.outbox.rework(id, |pending| {
            (pending.op, pending.named, pending.keyed) = (op, named, keyed);
            rename(&mut pending.record);
            pending.parts.iter_mut().for_each(rename);
        });
        self.dirty_operations.insert(id);
        self.outbox.get(id).map(Pending::records).unwrap_or_default()
    }

    /// Returns what an operation's own inserts set, with the keys that their records turned out to have.
    pub(super) fn keyed(&self, op: &Operation) -> Vec<(usize, Fields)> {
        let with_key = |(at, step): (usize, Step<'_>)| {
            let alias = self.aliases.get(step.key).filter(|_| step.name == name::INSERT)?;
            let field = self.tables.config(self.tables.table_id(step.table)?).key.first()?;
            let mut set = step.set.clone();
            set.insert(field.clone(), alias.to.clone());
            Some((at, set))
        };
        op.steps().enumerate().filter_map(with_key).collect()
    }

    fn is_named(&self, from: &String) -> bool {
        let mut naming = inserting(from).into_iter().flat_map(|insert| self.outbox.naming(insert));
        naming.any(|pending| pending.named.contains(from))
    }

    /// Takes note of the temporary keys that an operation's entry names. It may have been told with the real ones.
    pub(super) fn note_named(&mut self, stored: &Operation) {
        let mut named = Vec::new();
        self.aliases.rewrite(&mut stored.clone(), &mut named);
        let known = self.outbox.get(stored.id).map(|pending| &pending.named);
        named.retain(|from| known.is_some_and(|known| !known.contains(from)));
        self.outbox.add_named(stored.id, named);
    }

    /// Forgets what is stored of the temporary keys that nothing pending names any more.
    pub(super) fn drop_aliases(&mut self, named: &[String]) {
        for from in named {
            let is_over = !self.is_named(from) || sabotaged!(DropKeyEarly);
            if self.tabs.sends() && is_over && !sabotaged!(KeepKey) {
                mark!(KeyDropped);
                self.emit(Output::Unpersist { key: self.session.alias_key(from) });
            }
        }
    }

    /// Returns those of the known aliases that pending operations need.
    pub(super) fn needed_aliases(&self) -> Vec<Alias> {
        let mut named: Vec<&String> = self.outbox.iter().flat_map(|pending| &pending.named).collect();
        sort(&mut named);
        named.dedup();
        named.into_iter().filter_map(|from| self.aliases.get(from).cloned()).collect()
    }

    pub(super) fn aliases_of(&self, pending: &Pending) -> Vec<Alias> {
        pending.named.iter().filter_map(|from| self.aliases.get(from).cloned()).collect()
    }

    pub(super) fn learn_aliases(&mut self, aliases: Vec<Alias>) {
        for alias in aliases {
            mark!(KeyTold);
            self.learn_alias(alias);
        }
    }

    /// Asks the ledger for the real keys that an operation needs, where neither the insert is here nor its end is known.
    pub(super) fn ask_for_keys(&mut self, pending: &Pending) {
        for from in &pending.named {
            self.keep_alias(from);
        }
        let mut is_asked = false;
        for id in inserts_named(&pending.op) {
            // Its end may have been heard of when nothing here named its key yet.
            let ended = self.settled.get(id).map(|ended| ended.settlement.outcome);
            let may_be_known = ended.is_none_or(|outcome| outcome == OperationState::Confirmed);
            if may_be_known && !self.outbox.contains(id) && self.asked.len() < PULL_KEYS_MAX {
                mark!(KeyAsked);
                self.asked.insert(id);
                self.puller.want();
                is_asked = true;
            }
        }
        if is_asked && self.tabs.sends() {
            // The insert may not have been heard of yet, and be in storage.
            self.look_before_sending();
        }
    }

    /// True while it may turn out what a temporary key stands for that an operation names.
    pub(super) fn waits_for_key(&self, pending: &Pending) -> bool {
        let waits = !self.asked.is_empty() && inserts_named(&pending.op).iter().any(|id| self.asked.contains(id));
        if waits {
            mark!(KeyAwaited);
        }
        waits
    }
}
