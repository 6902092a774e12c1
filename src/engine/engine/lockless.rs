//! Tabs without locks: each sends what it made itself, and after what it hears of or finds in storage it looks only when the tab that
//! made it is gone.

use super::Engine;
use super::command::after;
use crate::engine::authors::{Authors, GRACE_MS, HEARD_MS, LOOK_MS, Tended};
use crate::engine::mark::mark;
use crate::engine::operation::{OperationId, OperationState};
use crate::engine::outbox::Pending;
use crate::engine::output::{Durability, Output, Reach};
use crate::engine::record::Record;
use crate::engine::tabs::{Kind, Role};
use crate::engine::time::Timer;

/// True for what a tab sends.
pub(super) fn may_send(role: Role, authors: &Authors, pending: &Pending) -> bool {
    role != Role::Alone || pending.made_here || authors.is_gone(&pending.op.tab)
}

impl<R: Record> Engine<R> {
    /// True when it is for this tab to send an operation, and to decide about it.
    pub(super) fn sends_for(&self, id: OperationId) -> bool {
        let may = |pending: &Pending| may_send(self.tabs.role, &self.authors, pending);
        self.tabs.sends() && self.outbox.get(id).is_none_or(may)
    }

    /// True where another tab may find an operation of this one in storage, and can't hear that this one is there to send it.
    pub(super) fn may_be_taken_for_gone(&self, pending: &Pending) -> bool {
        let is_found = self.durability != Durability::Memory || pending.stored_at_once;
        is_found && (self.reach == Reach::Alone || self.tabs.deaf)
    }

    /// The server has decided about what this tab made and did not send, or it may have been sent by another one, too: that one has
    /// taken this one for gone, and may have sent more.
    pub(super) fn notice_stand_in(&mut self, id: OperationId, may_be_others: bool) {
        let is_others = |pending: &Pending| pending.made_here && (may_be_others || pending.sent_at_mono_ms == 0);
        if self.tabs.role == Role::Alone && self.outbox.get(id).is_some_and(is_others) {
            mark!(StandInNoticed);
            self.begin_to_send();
        }
    }

    /// Looks after the operations of others: asks whether their authors are there, and takes them over where they are not.
    pub(super) fn look_after_others(&mut self) {
        if self.tabs.role != Role::Alone {
            return;
        }
        self.authors.is_due = false;
        let mono_ms = self.now.mono_ms;
        if mono_ms.saturating_sub(self.authors.looked_mono_ms) >= LOOK_MS {
            self.authors.looked_mono_ms = mono_ms;
            self.look();
        }
        let (mut asks, mut is_watched) = (false, false);
        for tab in self.authors_of_others() {
            match self.authors.tend(&tab, &self.tabs.id, mono_ms) {
                Tended::Alive => is_watched = true,
                Tended::Ask => asks = true,
                Tended::Gone { is_news: false } => {}
                Tended::Gone { is_news: true } => self.take_over(),
            }
        }
        if asks {
            self.ask_who_is_there();
        }
        let wait_ms = match (asks, is_watched || self.tabs.deaf) {
            (true, _) => GRACE_MS / 2,
            (false, true) => HEARD_MS,
            (false, false) => LOOK_MS,
        };
        self.timers.set(Timer::Watch, after(self.now, wait_ms));
    }

    fn authors_of_others(&self) -> Vec<String> {
        let mut tabs: Vec<String> = Vec::new();
        let is_open = |pending: &&Pending| {
            pending.accepted
                && !pending.made_here
                && !pending.is_parked()
                && pending.state != OperationState::Acknowledged
        };
        for pending in self.outbox.iter().filter(is_open) {
            if !tabs.contains(&pending.op.tab) {
                tabs.push(pending.op.tab.clone());
            }
        }
        tabs
    }

    /// Says what is pending here: whoever is there answers, and tells of what has ended. And the server may know, too.
    fn ask_who_is_there(&mut self) {
        mark!(AuthorAsked);
        self.say_hello();
        let to_cancel = self.outbox.iter().filter(|pending| pending.cancel_asked).map(|pending| pending.op.id);
        for id in to_cancel.collect::<Vec<_>>() {
            self.tell_cancel(id);
        }
        self.puller.want();
    }

    /// The author of some operations is gone. What storage has is read before they are sent: somebody may have put another one in
    /// the place of one of them.
    fn take_over(&mut self) {
        mark!(AuthorGone);
        self.look_before_sending();
        self.cancel_what_was_asked();
    }

    /// Says that this tab is there, to one that asks.
    pub(super) fn answer_hello(&mut self, pending: &[OperationId]) {
        if self.tabs.speaks(2) {
            let message = self.tabs.message(Kind::Alive);
            self.emit(Output::Broadcast(message));
        }
        for id in pending {
            if !self.outbox.contains(*id) || self.sends_for(*id) {
                self.tell_end(*id);
            }
        }
    }
}
