//! How safe operations are: what became of the two steps in which each is stored, and what that says of those to come.

use super::Engine;
use super::command::entry_accepted;
use crate::engine::error::Problem;
use crate::engine::input::Stored;
use crate::engine::mark::mark;
use crate::engine::operation::{Operation, OperationId};
use crate::engine::output::{Durability, Output};
use crate::engine::record::Record;
use crate::engine::sabotage::sabotaged;
use crate::engine::tabs::Kind;

impl Durability {
    const fn of(at_once: bool, later: bool) -> Self {
        match (at_once, later) {
            (true, true) => Self::Full,
            (false, true) => Self::Async,
            (true, false) => Self::Tab,
            (false, false) => Self::Memory,
        }
    }

    const fn is_at_once(self) -> bool {
        matches!(self, Self::Full | Self::Tab)
    }

    const fn is_later(self) -> bool {
        matches!(self, Self::Full | Self::Async)
    }
}

impl<R: Record> Engine<R> {
    /// The first step works, or does not. Said aloud when it is news.
    fn note_at_once(&mut self, works: bool) {
        if self.durability.is_at_once() && !works {
            let why = "localStorage takes nothing more: operations survive a reload only once IndexedDB has them";
            self.problem(Problem::new("storage", "localStorage", why));
        }
        self.durability = Durability::of(works, self.durability.is_later());
    }

    /// The same for the second.
    fn note_later(&mut self, works: bool) {
        if self.durability.is_later() && !works {
            let why = "IndexedDB takes nothing: operations do not survive the end of the browser";
            self.problem(Problem::new("storage", "IndexedDB", why));
        }
        self.durability = Durability::of(self.durability.is_at_once(), works);
    }

    /// Gives up what can be fetched again, or can't be read, for the sake of an operation.
    pub(super) fn make_room(&mut self, op: &Operation) {
        mark!(QuotaShed);
        self.made_room_for = Some(op.id);
        self.emit(Output::ForgetRecords);
        self.emit(Output::ForgetQuarantined { prefix: self.session.quarantine_prefix() });
        self.persist(op);
    }

    pub(super) fn on_stored(&mut self, id: OperationId, stored: Stored) {
        if self.on_rebase_stored(id, &stored) {
            return;
        }
        let Some(entry) = self.outbox.get_mut(id) else { return };
        let (op, record, mine, is_stored) = (entry.op.clone(), entry.record, entry.mine, stored == Stored::Now);
        if matches!(stored, Stored::Failed(_)) && self.made_room_for != Some(id) {
            return self.make_room(&op);
        }
        let (answered, parted) = (self.take_answered(id), self.take_parted(id));
        match stored {
            Stored::Failed(message) => {
                mark!(NotStored);
                if sabotaged!(KeepUnstored) {
                    entry_accepted(self, id);
                    self.show(id, record);
                    self.emit(Output::Rejected { id, message });
                    return;
                }
                let removed = self.outbox.remove(id);
                if let Some(answer) = answered {
                    // The decision could not be kept, so it is a person's.
                    self.end_answered(answer, None);
                    return;
                }
                if parted.is_some() {
                    // Nothing was taken back.
                    self.problem(Problem::new("storage", id.to_string(), message));
                    return;
                }
                for record in removed.map(|pending| pending.records()).unwrap_or_default() {
                    if !self.outbox.concerns(record) {
                        self.tables.release_if_unknown(record);
                    }
                }
                self.emit(Output::Rejected { id, message });
                return;
            }
            Stored::Now => {
                if let Some(pending) = self.outbox.get_mut(id) {
                    pending.stored_at_once = true;
                }
                self.note_at_once(true);
            }
            Stored::Later => {
                mark!(StoredLater);
                self.note_at_once(false);
            }
            Stored::Memory => {
                self.durability = Durability::Memory;
                if mine {
                    self.emit(Output::Durable { id, durability: Durability::Memory });
                }
            }
        }
        entry_accepted(self, id);
        if let Some(parted) = &parted {
            self.end_dependants_of_part(parted.id);
        } else {
            let before = self.fields_before(&op);
            self.undoable.remember(&op, before);
        }
        self.show(id, record);
        // Until an entry that is written later is there, those that it stands for stay as well.
        match answered {
            Some(answer) => self.take_resolved(&op, &answer, is_stored),
            None => self.let_go_of_replaced(&op, is_stored, None),
        }
        if let Some(parted) = &parted {
            self.end_part(parted.id, parted);
        }
        self.note_decision_of(&op);
        if self.is_unheard() {
            return;
        }
        let mut message = self.tabs.message(Kind::Operation);
        message.with_operation(op);
        self.emit(Output::Broadcast(message));
    }

    pub(super) fn on_durable(&mut self, id: OperationId, durable: bool) {
        if durable {
            self.unpersist_replaced(id);
        }
        // What has ended is safe in the server's hands.
        let is_at_once = self.outbox.get(id).is_none_or(|pending| pending.stored_at_once);
        let level = match (durable, is_at_once) {
            (true, _) => Durability::Full,
            (false, true) => Durability::Tab,
            (false, false) => {
                mark!(DurabilityLost);
                let why = "an operation could be stored neither at once nor later; it lives as long as this page";
                self.problem(Problem::new("storage", id.to_string(), why));
                Durability::Memory
            }
        };
        self.note_later(durable);
        // What the rules decided has no author who waits for this.
        if self.outbox.get(id).is_none_or(|pending| pending.mine) {
            self.emit(Output::Durable { id, durability: level });
        }
    }
}
