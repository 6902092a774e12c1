//! What the server changed in this step, for rules that say what becomes of it elsewhere: caches of other libraries.

use std::collections::HashSet;

use rustc_hash::FxBuildHasher;

use super::Engine;
use crate::engine::record::Record;
use crate::engine::rules::{Invalidation, Moved};
use crate::engine::table::RecordId;

impl<R: Record> Engine<R> {
    /// Returns what is confirmed of a record, where it matters what becomes of it. What is there before the first pull is no change.
    pub(super) fn before_move(&self, id: RecordId) -> Option<Option<R>> {
        let cell = self.tables.cell(id)?;
        let is_followed = self.ready && self.rules.follows(self.tables.config(cell.table), &self.facts);
        is_followed.then(|| cell.confirmed.clone())
    }

    /// Takes note of what was confirmed of a record before it changed.
    pub(super) fn note_move(&mut self, id: RecordId, before: Option<Option<R>>) {
        if let Some(before) = before {
            self.moved.push((id, before));
        }
    }

    /// Looks at everything anew once the server has changed what the person may see or do. The tab that sends does, and tells the others.
    pub(super) fn notice_rights(&mut self) {
        let is_change = |(id, before): &(RecordId, Option<R>)| {
            let Some(cell) = self.tables.cell(*id) else { return false };
            let (table, after) = (self.tables.config(cell.table), cell.confirmed.as_ref());
            let moved = Moved { table, key: &cell.key, before: before.as_ref(), after };
            self.rules.changes_rights(&self.session.user, &moved)
        };
        if self.tabs.sends() && self.moved.iter().any(is_change) {
            self.rights_changed();
        }
    }

    /// Asks the rules what has become stale, of all changes of this step together.
    pub(super) fn take_stale(&mut self) -> Option<Invalidation> {
        let noted = std::mem::take(&mut self.moved);
        if noted.is_empty() {
            return None;
        }
        // Of several changes of a record, the first says how it was.
        let mut known: HashSet<u32, FxBuildHasher> = HashSet::default();
        let mut moved = Vec::with_capacity(noted.len());
        for (id, before) in &noted {
            if let (true, Some(cell)) = (known.insert(id.0), self.tables.cell(*id)) {
                let table = self.tables.config(cell.table);
                moved.push(Moved { table, key: &cell.key, before: before.as_ref(), after: cell.confirmed.as_ref() });
            }
        }
        let stale = self.rules.stale(&self.facts, &moved);
        (stale.everything || !stale.keys.is_empty()).then_some(stale)
    }
}
