//! Brings what changed to the views.

use super::Engine;
use crate::engine::error::{Error, Problem};
use crate::engine::output::ViewChange;
use crate::engine::record::Record;
use crate::engine::sabotage::sabotaged;
use crate::engine::table::RecordId;
use crate::engine::view::{Fresh, GROUPS_MAX, Indexed, ViewSpec, WATCH_FROM};

impl<R: Record> Engine<R> {
    pub(super) fn open_view(&mut self, id: u32, spec: &ViewSpec) -> Result<(), Error> {
        let Some(table) = self.tables.table_id(&spec.table) else {
            return Err(Error::UnknownTable { table: spec.table.clone() });
        };
        if id >= WATCH_FROM {
            return Err(Error::InvalidView("the numbers of views end before the last 65,536".to_owned()));
        }
        self.views.open(id, spec, table, self.tables.config(table))
    }

    /// Lets the views follow the records that changed, and fills the new ones.
    pub(super) fn take_views(&mut self, dirty: &[RecordId]) -> Vec<ViewChange> {
        let mut fresh = Vec::new();
        for id in dirty {
            if sabotaged!(ViewMissesOverlay) && self.outbox.concerns(*id) {
                continue;
            }
            if let Some(cell) = self.tables.cell(*id).filter(|cell| self.views.follows(cell.table)) {
                let (table, fields) = (cell.table, self.views.fields(cell.table));
                let row = cell.visible.as_ref().map(|record| Indexed::of(table, &cell.key, fields, record));
                fresh.push(Fresh { id: *id, table, row });
            }
        }
        let mut changes = self.views.update(fresh);
        for (table, is_filled) in self.views.tables_to_fill() {
            let fields = self.views.fields(table);
            let mut rows = Vec::new();
            for (id, cell, record) in self.tables.visible(table) {
                rows.push((id, (!is_filled).then(|| Indexed::of(table, &cell.key, fields, record))));
            }
            changes.append(&mut self.views.fill(table, rows));
        }
        for view in self.views.newly_full() {
            self.problem(Problem::new(
                "view-groups-full",
                view.to_string(),
                format!("the view has more than {GROUPS_MAX} groups; further ones are counted together"),
            ));
        }
        changes.retain(|change| change.id < WATCH_FROM);
        changes
    }
}
