//! What the tabs of one browser tell each other.

use super::Engine;
use super::command::after;
use crate::engine::error::Problem;
use crate::engine::link::LinkStatus;
use crate::engine::operation::{Operation, OperationId, OperationState};
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::table::{Row, Source};
use crate::engine::tabs::{BEAT_MS, Body, Kind, Received, Role, TabMessage};
use crate::engine::time::Timer;

impl<R: Record> Engine<R> {
    pub(super) fn say_hello(&mut self) {
        let mut message = self.tabs.message(Kind::Hello);
        message.pending = Some(self.outbox.iter().map(|pending| pending.op.id).collect());
        self.outputs.push_back(Output::Broadcast(message));
    }

    pub(super) fn beat(&mut self) {
        if self.tabs.role != Role::Leader {
            return;
        }
        self.timers.set(Timer::Beat, after(self.now, BEAT_MS));
        let mut message = self.tabs.message(Kind::Beat);
        message.link = Some(self.link.status().clone());
        self.outputs.push_back(Output::Broadcast(message));
    }

    pub(super) fn on_message(&mut self, message: TabMessage<R>) {
        let (from, v) = (message.from.clone(), message.v);
        match self.tabs.receive(message) {
            Received::Drop => {}
            Received::Malformed(why) => {
                self.problem(Problem::new("malformed-message", format!("tab {from}, protocol {v}"), why));
            }
            Received::Take { from, body, gap } => {
                let is_whole = matches!(body, Body::Snapshot { .. });
                self.take_body(from, body);
                if gap && !is_whole && self.tabs.role == Role::Follower {
                    // What was lost may have carried a cursor's worth of changes.
                    self.puller.cursor = None;
                    self.say_hello();
                }
            }
        }
    }

    fn take_body(&mut self, from: String, body: Body<R>) {
        match body {
            Body::Hello { pending } => self.on_hello(from, &pending),
            Body::Beat { link } => self.follow_link(link),
            Body::Snapshot { to, cursor, records, operations, link } => {
                if to == self.tabs.id && self.tabs.role == Role::Follower {
                    self.on_snapshot(cursor, records, operations, link);
                }
            }
            Body::Operation { op } => self.adopt(op),
            Body::Changes { records, cursor } => self.on_changes(records, cursor),
            Body::Settled { answer } => {
                self.end_with(&answer);
            }
            Body::SettledLocally { settlement } => {
                if settlement.outcome == OperationState::Cancelled {
                    self.settle(settlement);
                }
            }
            Body::Cancel { id } => {
                if self.tabs.sends() && self.cancel(id).is_err() {
                    // Too late: the operation goes its way, and its author hears of its end like everyone.
                }
            }
            Body::Bye => {}
        }
    }

    fn on_hello(&mut self, from: String, pending: &[OperationId]) {
        if self.tabs.role != Role::Leader {
            return;
        }
        if pending.iter().any(|id| !self.outbox.contains(*id)) {
            // It holds operations that we have not heard of: they are in storage, or settled.
            self.outputs.push_back(Output::LoadOperations);
            self.puller.want();
        }
        let mut message = self.tabs.message(Kind::Snapshot);
        message.to = Some(from);
        message.cursor = Some(if self.ready { self.puller.cursor.clone() } else { None });
        message.records = Some(self.tables.rows().collect());
        message.operations =
            Some(self.outbox.iter().filter(|pending| pending.accepted).map(|pending| pending.op.clone()).collect());
        message.link = Some(self.link.status().clone());
        self.outputs.push_back(Output::Broadcast(message));
    }

    fn on_snapshot(
        &mut self,
        cursor: Option<String>,
        records: Vec<Row<R>>,
        operations: Vec<Operation>,
        link: LinkStatus,
    ) {
        for row in records {
            self.learn(row, Source::Pull, &mut Vec::new());
        }
        for op in operations {
            self.adopt(op);
        }
        self.ready |= cursor.is_some();
        self.puller.cursor = cursor;
        self.follow_link(link);
    }

    fn on_changes(&mut self, records: Vec<Row<R>>, cursor: Option<String>) {
        for row in records {
            self.learn(row, Source::Pull, &mut Vec::new());
        }
        if self.tabs.role == Role::Follower {
            self.ready |= cursor.is_some();
            if self.puller.cursor.is_some() || cursor.is_some() {
                self.puller.cursor = cursor;
            }
            self.last_sync_ms = Some(self.now.wall_ms);
        }
    }

    fn follow_link(&mut self, link: LinkStatus) {
        if self.tabs.role == Role::Follower {
            self.link.follow(link);
        }
    }
}
