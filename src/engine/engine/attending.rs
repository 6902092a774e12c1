//! What any tab may be told although only the one with the link can act upon it: that somebody wants the link, that there is a fresh
//! token, that somebody works in the page. Followers tell the leader.

use super::Engine;
use super::command::after;
use crate::engine::link::{ATTENTION_MS, Attention, LinkState};
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::tabs::{Kind, Role};
use crate::engine::time::Timer;

impl<R: Record> Engine<R> {
    /// Returns true where it is the leader's to act, who is told.
    pub(super) fn leave_to_leader(&mut self, kind: Kind) -> bool {
        if self.tabs.role != Role::Follower {
            return false;
        }
        if self.tabs.speaks(2) {
            let message = self.tabs.message(kind);
            self.emit(Output::Broadcast(message));
        }
        true
    }

    pub(super) fn on_activity(&mut self, active: bool) {
        self.attend(Attention { active, ..self.attention });
    }

    pub(super) fn on_visibility(&mut self, visible: bool) {
        self.attend(Attention { visible, ..self.attention });
        if visible {
            self.on_hint(true);
        }
    }

    fn attend(&mut self, attention: Attention) {
        if attention == self.attention {
            return;
        }
        let before_ms = self.poll_interval_ms();
        self.attention = attention;
        self.attention_told_mono_ms = None;
        self.tell_attention();
        self.poll_as_attended(before_ms);
    }

    /// Where somebody looks at a follower's page matters only to a leader that polls.
    pub(super) fn tell_attention(&mut self) {
        if self.tabs.role != Role::Follower || !self.tabs.speaks(2) || self.link.status().state == LinkState::Live {
            self.attention_told_mono_ms = None;
            return;
        }
        // A page that nobody sees need not be kept in mind.
        let is_over = |told: u64| self.attention.visible && told.saturating_add(ATTENTION_MS / 2) <= self.now.mono_ms;
        if self.attention_told_mono_ms.is_some_and(|told| !is_over(told)) {
            return;
        }
        self.attention_told_mono_ms = Some(self.now.mono_ms);
        let mut message = self.tabs.message(Kind::Attention);
        (message.active, message.visible) = (Some(self.attention.active), Some(self.attention.visible));
        self.emit(Output::Broadcast(message));
    }

    /// Somebody looks at another tab's page, or no longer does.
    pub(super) fn hear_attention(&mut self, from: &str, attention: Option<Attention>) {
        if self.tabs.role == Role::Leader {
            let before_ms = self.poll_interval_ms();
            self.onlookers.hear(from, attention, after(self.now, ATTENTION_MS));
            self.poll_as_attended(before_ms);
        }
    }

    /// Returns how long to wait between two pulls: the tab in which most is going on decides.
    pub(super) fn poll_interval_ms(&mut self) -> Option<u64> {
        let polling = self.link_config.polling?;
        let others = self.onlookers.now(self.now.mono_ms).map(|other| other.interval_ms(&polling)).min();
        let own = self.attention.interval_ms(&polling);
        Some(others.map_or(own, |others| others.min(own)))
    }

    fn poll_as_attended(&mut self, before_ms: Option<u64>) {
        if self.poll_interval_ms() != before_ms && self.timers.is_set(Timer::Poll) {
            self.poll_later();
        }
    }
}
