//! What the rules of the domains are asked, and what they may look at.

use super::Engine;
use super::command::Draft;
use crate::engine::error::Error;
use crate::engine::operation::{OperationId, Step, name};
use crate::engine::record::Record;
use crate::engine::rules::{Context, Look, Rules, WATCHES_MAX};
use crate::engine::table::{RecordId, TableConfig, TableId, Tables};
use crate::engine::value::Value;
use crate::engine::view::{ViewSpec, Views, WATCH_FROM};

/// What is seen while a command is being decided: everything, with what a transaction under way has changed.
struct Seen<'a, R> {
    tables: &'a Tables<R>,
    views: &'a Views,
    draft: &'a Draft<R>,
}

impl<R: Record> Seen<'_, R> {
    /// Puts what the transaction has left of its records in the place of what was found.
    fn found(&self, table: TableId, ids: &[RecordId]) -> Vec<(String, R)> {
        let drafted = |key: &str| self.draft.get(table, key).is_some();
        let mut found: Vec<(String, R)> =
            self.draft.of(table).map(|(key, record)| (key.to_owned(), record.clone())).collect();
        for cell in ids.iter().filter_map(|id| self.tables.cell(*id)).filter(|cell| !drafted(&cell.key)) {
            if let Some(record) = &cell.visible {
                found.push((cell.key.to_string(), record.clone()));
            }
        }
        found
    }

    fn watched(&self, table: &str, find: impl Fn(TableId) -> Option<Vec<RecordId>>) -> Vec<(String, R)> {
        let Some(table) = self.tables.table_id(table) else { return Vec::new() };
        self.found(table, &find(table).unwrap_or_default())
    }
}

impl<R: Record> Look<R> for Seen<'_, R> {
    fn record(&self, table: &str, key: &str) -> Option<R> {
        let table = self.tables.table_id(table)?;
        let seen = || self.tables.find(table, key).and_then(|id| self.tables.cell(id)?.visible.as_ref());
        self.draft.get(table, key).unwrap_or_else(seen).cloned()
    }

    fn first(&self, table: &str, watch: usize, len: usize) -> Vec<(String, R)> {
        self.watched(table, |table| self.views.first(watch_id(table, watch), len))
    }

    fn equal(&self, table: &str, watch: usize, value: &Value, len: usize) -> Vec<(String, R)> {
        self.watched(table, |table| self.views.equal(watch_id(table, watch), value, len))
    }
}

/// What the names of facts of one kind begin with.
fn kind_of(name: &str) -> &str {
    name.split_once(':').map_or(name, |(kind, _)| kind)
}

/// The number of the view that keeps one of a table's lists.
fn watch_id(table: TableId, watch: usize) -> u32 {
    // There are at most 256 tables, with eight lists each.
    WATCH_FROM + u32::try_from(table * WATCHES_MAX + watch).unwrap_or(0)
}

/// Has the rules look at how tables are declared. Returns the lists that they want kept, a table's each.
pub(super) fn declare<R>(rules: &dyn Rules<R>, tables: &mut [TableConfig]) -> Result<Vec<Vec<ViewSpec>>, Error> {
    let mut watches = Vec::with_capacity(tables.len());
    for table in tables {
        let mut wanted = rules.declare(table)?;
        wanted.truncate(WATCHES_MAX);
        watches.push(wanted);
    }
    Ok(watches)
}

impl<R: Record> Engine<R> {
    /// Opens the lists that the rules look into. Nobody else hears of them.
    pub(super) fn open_watches(&mut self, watches: &[Vec<ViewSpec>]) -> Result<(), Error> {
        for (table, specs) in watches.iter().enumerate() {
            for (watch, spec) in specs.iter().enumerate() {
                self.views.open(watch_id(table, watch), spec, table, self.tables.config(table))?;
            }
        }
        Ok(())
    }

    /// Takes note of something that the application tells of the world.
    pub(super) fn on_fact(&mut self, name: String, fact: Value) -> Result<(), Error> {
        self.rules.check_fact(&name, &fact)?;
        let (len_max, bytes_max) = self.rules.facts_max(&name);
        let kind = kind_of(&name);
        let is_full = || self.facts.keys().filter(|known| kind_of(known) == kind).count() >= len_max;
        if fact.bytes() > bytes_max || (!self.facts.contains_key(&name) && is_full()) {
            let (len_max, bytes_max) = (len_max.to_string(), bytes_max.to_string());
            return Err(Error::InvalidOperation(
                [
                    "an engine can be told at most ",
                    &len_max,
                    " facts of a kind, here of at most ",
                    &bytes_max,
                    " bytes each",
                ]
                .concat(),
            ));
        }
        self.facts.insert(name, fact);
        Ok(())
    }

    /// Asks the rules, with all that they may know.
    pub(super) fn ask<T>(&self, draft: &Draft<R>, question: impl FnOnce(&dyn Rules<R>, &Context<'_, R>) -> T) -> T {
        let look = Seen { tables: &self.tables, views: &self.views, draft };
        let (user, now_ms) = (
            self.session.user.as_str(),
            self.now.wall_ms.saturating_add_signed(self.link.status().server_ahead_ms.unwrap_or_default()),
        );
        question(&*self.rules, &Context { user, now_ms, facts: &self.facts, look: &look })
    }

    /// Returns the pending operations of other records that a new one has to wait for.
    pub(super) fn ruled_before(&self, table: TableId, step: &Step<'_>) -> Vec<OperationId> {
        let config = self.tables.config(table);
        if config.domain.is_empty() || matches!(step.name, name::INSERT | name::PATCH | name::DELETE) {
            return Vec::new();
        }
        let waits = |pending: &Step<'_>| pending.table == step.table && self.rules.waits_for(config, step, pending);
        let pending = self.outbox.iter().filter(|pending| pending.accepted && !pending.is_parked());
        let mut before: Vec<OperationId> = pending
            .filter(|pending| pending.op.steps().any(|step| waits(&step)))
            .map(|pending| pending.op.id)
            .collect();
        // The last ones are what counts, and they come after the others.
        let surplus = before.len().saturating_sub(super::AFTER_MAX);
        before.drain(..surplus);
        before
    }
}
