//! The change list: what one input changed, for subscribers, once.

use super::Engine;
use crate::engine::mark::mark;
use crate::engine::operation::Settlement;
use crate::engine::outbox::Pending;
use crate::engine::output::{Changes, ConflictChange, OperationView, Output, PartView, RecordChange, Status};
use crate::engine::record::Record;
use crate::engine::sabotage::sabotaged;
use crate::engine::table::RecordId;
use crate::engine::tabs::Role;

impl<R: Record> Engine<R> {
    /// Asks for subscribers to be told, if anything changed.
    pub(super) fn report(&mut self) {
        let status = self.status();
        let is_new = self.reported.as_ref() != Some(&status);
        let link_moved = self.reported.as_ref().is_none_or(|known| known.link != status.link);
        let presence = self.everyone.take_news();
        let is_quiet = self.renamed.is_empty()
            && self.dirty_records.is_empty()
            && self.dirty_operations.is_empty()
            && self.ended.is_empty()
            && self.moved.is_empty();
        let is_decided = !self.dirty_conflicts.is_empty() || !self.decisions.is_empty();
        if !is_new && is_quiet && !is_decided && !self.views.has_new() && presence.is_none() {
            return;
        }
        let ids = self.dirty_records.take();
        // Before numbers of records are given back.
        let views = self.take_views(&ids);
        let stale = self.take_stale();
        let records = self.take_records(ids);
        let ids = std::mem::take(&mut self.dirty_operations);
        let pending = ids.into_iter().filter_map(|id| self.outbox.get(id)).filter(|pending| pending.accepted);
        let mut operations: Vec<OperationView> = pending.map(|pending| view(pending, None)).collect();
        operations.append(&mut self.ended);
        self.reported = Some(status.clone());
        let (conflicts, decisions) = (self.take_conflicts(), std::mem::take(&mut self.decisions));
        let (status, renamed) = (is_new.then_some(status), std::mem::take(&mut self.renamed));
        let changes = Changes { records, operations, conflicts, decisions, views, status, renamed, presence, stale };
        self.emit(Output::Notify(changes));
        if link_moved && self.tabs.role == Role::Leader && !self.closed {
            self.beat();
        }
    }

    fn take_records(&mut self, ids: Vec<RecordId>) -> Vec<RecordChange<R>> {
        let mut changes = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(cell) = self.tables.cell(id) else { continue };
            let (table, key, record) = (cell.table, cell.key.clone(), cell.visible.clone());
            let released = !self.outbox.concerns(id) && self.tables.release_if_unknown(id);
            if released {
                mark!(NumberReleased);
            }
            if sabotaged!(HideAChange) && changes.len() == 2 {
                continue;
            }
            changes.push(RecordChange { id, table, key, record, released });
        }
        changes
    }

    fn take_conflicts(&mut self) -> Vec<ConflictChange> {
        let mut changes = Vec::new();
        for id in std::mem::take(&mut self.dirty_conflicts) {
            let conflict = self.outbox.get(id).and_then(|pending| self.conflict(pending));
            changes.push(ConflictChange { id, conflict });
        }
        changes
    }

    pub(super) fn status(&self) -> Status {
        Status {
            role: self.tabs.role,
            tabs: self.reach,
            link: self.link.status().clone(),
            unsent: self.outbox.unsent(),
            dead: self.outbox.dead(),
            conflicts: self.outbox.conflicts(),
            durability: self.durability,
            ready: self.ready,
            last_sync_ms: self.last_sync_ms,
        }
    }
}

/// Returns an operation as users see it.
pub(super) fn view(pending: &Pending, end: Option<&Settlement>) -> OperationView {
    let (code, message) = match end {
        Some(end) => (end.code.clone(), end.message.clone()),
        None => pending.trouble.clone().unzip(),
    };
    OperationView {
        id: pending.op.id,
        name: pending.op.name.clone(),
        table: pending.op.table.clone(),
        key: pending.op.key.clone(),
        parts: pending
            .op
            .parts
            .iter()
            .map(|part| PartView { name: part.name.clone(), table: part.table.clone(), key: part.key.clone() })
            .collect(),
        state: end.map_or(pending.state, |end| end.outcome),
        made_at_ms: pending.op.hlc.wall_ms(),
        mine: pending.mine,
        doubtful: pending.doubtful,
        tries: pending.tries,
        code,
        message,
        replaced_by: None,
    }
}
