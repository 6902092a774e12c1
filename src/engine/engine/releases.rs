//! Tabs of two releases of an application side by side, which may know different tables.

use super::Engine;
use super::command::after;
use crate::engine::record::Record;
use crate::engine::table::{Cover, Row, Scope, Source};
use crate::engine::tabs::Role;
use crate::engine::time::Timer;

impl<R: Record> Engine<R> {
    /// Notes which of our tables a snapshot is of, and returns that part: of the others it says nothing.
    pub(super) fn told_of(&mut self, tables: Option<&[String]>) -> Scope {
        let ours = self.tables.names();
        let is_told = |name: &String| tables.is_none_or(|tables| tables.contains(name));
        self.tabs.knows_more = !ours.iter().all(is_told);
        if !self.tabs.knows_more {
            return Scope::Everything;
        }
        let told = ours.into_iter().filter(is_told);
        self.tables.scope(told.map(|table| Cover { table, keys: None, values: None }).collect()).0
    }

    /// Takes in what the leader tells. It may be of a release that knows tables which this one does not.
    pub(super) fn learn_told(&mut self, records: Vec<Row<R>>) {
        for row in records {
            if self.tables.table_id(&row.table).is_some() {
                self.learn(row, Source::Leader, &mut Vec::new());
            }
        }
    }

    /// Beside a leader that does not know all of this tab's tables, what is in them is asked for now and then.
    pub(super) fn pull_beside_leader(&mut self, delay_ms: u64) {
        if self.tabs.role == Role::Follower && self.tabs.knows_more && !self.timers.is_set(Timer::Boot) {
            self.timers.set(Timer::Boot, after(self.now, delay_ms));
        }
    }
}
