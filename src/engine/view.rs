//! Views: live lists of one table's records, filtered, sorted and cut to a window, with figures over all that match.
//!
//! A view follows what is *seen*, pending operations included. It is never searched anew: each change costs O(log n) in each view
//! that it touches, and whoever watches hears only of what changed for it, as edits that lead from the last window to this one.
//! What views need to know of a record, its indexed values, is taken out of it once, however many there are.

mod exact;
mod figures;
mod filter;
mod live;
mod order;
mod ranked;
mod rows;
mod spec;
mod window;

use live::View;
use rows::Rows;

use super::error::Error;
use super::output::ViewChange;
use super::table::{RecordId, TableConfig, TableId};
use super::value::Value;
use crate::engine::sorted::sort;

pub use figures::GROUPS_MAX;
pub(crate) use rows::{Fresh, Indexed};
pub use spec::{
    FIGURES_LEN_MAX, FILTER_DEPTH_MAX, FILTER_LEN_MAX, FieldName, FigureKind, FigureSpec, Filter, GROUP_FIELDS_MAX,
    Range, SORT_LEN_MAX, SortKey, Term, Terms, VIEWS_MAX, ViewSpec,
};

/// The numbers from here on are those of the lists that rules look into. Nobody is told of them.
pub(crate) const WATCH_FROM: u32 = u32::MAX - 0xffff;

/// What is known of a table, whether it has views or not.
#[derive(Debug)]
struct Watched {
    /// The fields whose values are taken out of its records.
    fields: Vec<String>,
    views: usize,
    /// True once the values of all its records are here.
    is_filled: bool,
}

/// All open views.
#[derive(Debug)]
pub(crate) struct Views {
    tables: Vec<Watched>,
    /// In the order of their numbers.
    views: Vec<View>,
    rows: Rows,
    /// How many are still to be filled.
    new: usize,
}

impl Views {
    pub(crate) fn new<'a>(tables: impl Iterator<Item = &'a TableConfig>) -> Self {
        let watched = |config: &TableConfig| Watched { fields: config.indexed_fields(), views: 0, is_filled: false };
        Self { tables: tables.map(watched).collect(), views: Vec::new(), rows: Rows::default(), new: 0 }
    }

    /// Opens a view. It is filled by [`Views::fill`].
    pub(crate) fn open(&mut self, id: u32, spec: &ViewSpec, table: TableId, config: &TableConfig) -> Result<(), Error> {
        let Err(at) = self.find(id) else { return Err(Error::ViewOpen { id }) };
        // The lists that rules look into come last.
        let len = self.views.partition_point(|view| view.id < WATCH_FROM);
        if len >= VIEWS_MAX && id < WATCH_FROM {
            return Err(Error::TooManyViews { len_max: VIEWS_MAX });
        }
        let fields = &self.tables[table].fields;
        let slots = |field: &str| {
            fields.iter().position(|indexed| indexed == field).ok_or_else(|| {
                let (table, field) = (config.name.clone(), field.to_owned());
                if config.fields.contains(&field) {
                    Error::NotIndexed { table, field }
                } else {
                    Error::UnknownField { table, field }
                }
            })
        };
        let view = View::new(id, table, spec, &slots)?;
        self.views.insert(at, view);
        self.tables[table].views += 1;
        self.new += 1;
        Ok(())
    }

    pub(crate) fn close(&mut self, id: u32) -> Result<(), Error> {
        let at = self.find(id).map_err(|_| Error::UnknownView { id })?;
        let view = self.views.remove(at);
        self.new -= usize::from(view.is_new);
        let watched = &mut self.tables[view.table];
        watched.views -= 1;
        if self.views.is_empty() {
            watched.is_filled = false;
            self.rows.clear();
        } else if watched.views == 0 {
            watched.is_filled = false;
            self.rows.forget(view.table);
        }
        Ok(())
    }

    fn find(&self, id: u32) -> Result<usize, usize> {
        self.views.binary_search_by_key(&id, |view| view.id)
    }

    /// Returns the records that a view shows, in order.
    pub(crate) fn shown(&self, id: u32) -> Option<Vec<RecordId>> {
        self.find(id).ok().map(|at| self.views[at].shown())
    }

    /// Returns the first records of a list, whatever its window shows.
    pub(crate) fn first(&self, id: u32, len: usize) -> Option<Vec<RecordId>> {
        self.find(id).ok().map(|at| self.views[at].first(len))
    }

    /// Returns the first records of a list whose first field to sort by has a value.
    pub(crate) fn equal(&self, id: u32, value: &Value, len: usize) -> Option<Vec<RecordId>> {
        self.find(id).ok().map(|at| self.views[at].equal(value, len, &self.rows))
    }

    /// True when some view is still to be filled.
    pub(crate) const fn has_new(&self) -> bool {
        self.new > 0
    }

    /// True when the changes of a table's records matter here.
    pub(crate) fn follows(&self, table: TableId) -> bool {
        self.tables.get(table).is_some_and(|watched| watched.is_filled)
    }

    /// Returns the fields whose values are taken out of a table's records.
    pub(crate) fn fields(&self, table: TableId) -> &[String] {
        &self.tables[table].fields
    }

    /// Takes what became of records of tables that it follows, and returns what changed in which view.
    pub(crate) fn update(&mut self, fresh: Vec<Fresh>) -> Vec<ViewChange> {
        if fresh.is_empty() {
            return Vec::new();
        }
        for view in self.views.iter_mut().filter(|view| !view.is_new) {
            view.leave(&fresh, &self.rows);
        }
        for change in fresh {
            self.rows.set(change.id, change.row);
        }
        self.views.iter_mut().filter_map(|view| view.enter(&self.rows)).collect()
    }

    /// Returns the tables of new views, and whether their records' values are here already.
    pub(crate) fn tables_to_fill(&self) -> Vec<(TableId, bool)> {
        let mut tables: Vec<TableId> = self.views.iter().filter(|view| view.is_new).map(|view| view.table).collect();
        sort(&mut tables);
        tables.dedup();
        tables.into_iter().map(|table| (table, self.tables[table].is_filled)).collect()
    }

    /// Fills the new views of a table with its visible records. Those whose values are not here yet bring them along.
    pub(crate) fn fill(&mut self, table: TableId, records: Vec<(RecordId, Option<Indexed>)>) -> Vec<ViewChange> {
        let mut ids = Vec::with_capacity(records.len());
        for (id, row) in records {
            if row.is_some() {
                self.rows.set(id, row);
            }
            ids.push(id);
        }
        self.tables[table].is_filled = true;
        let mut changes = Vec::new();
        for view in self.views.iter_mut().filter(|view| view.is_new && view.table == table) {
            changes.push(view.fill(&ids, &self.rows));
            self.new -= 1;
        }
        changes
    }

    /// Returns the views in which groups are newly counted together because there are too many.
    pub(crate) fn newly_full(&mut self) -> Vec<u32> {
        let is_news = |view: &&mut View| view.is_full() && !view.is_full_told;
        let full = self.views.iter_mut().filter(is_news);
        full.map(|view| {
            view.is_full_told = true;
            view.id
        })
        .collect()
    }
}

#[cfg(test)]
mod tests;
