//! Records that share transactions: what is to be seen of them is decided together, for a transaction is seen in all of its
//! records, or in none.

use super::Engine;
use crate::engine::operation::OperationId;
use crate::engine::overlay::{Folding, apply_all};
use crate::engine::record::Record;
use crate::engine::table::{Cell, RecordId};

impl<R: Record> Engine<R> {
    /// Decides anew what is to be seen of a record, and of all that share transactions with it.
    pub(super) fn recompute_together(&mut self, id: RecordId) {
        let sharing = self.outbox.sharing(id);
        let mut foldings = self.foldings(&sharing, |cell| (cell.confirmed.clone(), false));
        let mut doubts = Vec::new();
        for pending in self.outbox.shown_of(&sharing) {
            let applied = apply_all(&mut foldings, pending.changes(), &pending.landed, &*self.rules);
            doubts.push((pending.op.id, !applied));
        }
        let seen = foldings.into_iter().map(|folding| (folding.id, folding.visible, folding.overlaid)).collect();
        for (operation, doubtful) in doubts {
            if let Some(pending) = self.outbox.get_mut(operation)
                && pending.doubtful != doubtful
            {
                pending.doubtful = doubtful;
                self.dirty_operations.insert(operation);
            }
        }
        self.set_seen(seen, id);
    }

    /// Shows a transaction that was just accepted. As the last of all its records it goes over what is seen already.
    pub(super) fn show_together(&mut self, id: OperationId) {
        let Some(pending) = self.outbox.get(id) else { return };
        let (record, records) = (pending.record, pending.records());
        if !pending.landed.is_empty() || !self.outbox.is_last(pending) {
            return self.recompute_together(record);
        }
        let mut foldings = self.foldings(&records, |cell| (cell.visible.clone(), cell.overlaid));
        let applied = apply_all(&mut foldings, pending.changes(), &[], &*self.rules);
        let seen = foldings.into_iter().map(|folding| (folding.id, folding.visible, folding.overlaid)).collect();
        if applied {
            self.set_seen(seen, record);
        } else if let Some(pending) = self.outbox.get_mut(id) {
            pending.doubtful = true;
        }
    }

    fn foldings(&self, records: &[RecordId], start: fn(&Cell<R>) -> (Option<R>, bool)) -> Vec<Folding<'_, R>> {
        let folding = |id: &RecordId| {
            let cell = self.tables.cell(*id)?;
            let (visible, overlaid) = start(cell);
            Some(Folding { id: *id, table: self.tables.config(cell.table), visible, overlaid })
        };
        records.iter().filter_map(folding).collect()
    }

    /// Sets what is to be seen. Of a record that is only there because it shares a transaction, what looks the same stays the same.
    fn set_seen(&mut self, seen: Vec<(RecordId, Option<R>, bool)>, concerned: RecordId) {
        for (id, visible, overlaid) in seen {
            if id == concerned || !self.tables.looks_like(id, visible.as_ref(), overlaid) {
                self.tables.set_visible(id, visible, overlaid);
                self.dirty_records.insert(id);
            }
        }
    }
}
