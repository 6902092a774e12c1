//! Who is here: what this tab says, what it hears, and when it says it again.

use super::Engine;
use crate::engine::error::{Error, Problem};
use crate::engine::mark::mark;
use crate::engine::output::Output;
use crate::engine::presence::{Audience, Peer, Presence};
use crate::engine::record::Record;
use crate::engine::tabs::{Kind, Role};
use crate::engine::time::Timer;

impl<R: Record> Engine<R> {
    pub(super) fn set_presence(&mut self, presence: Option<Presence>) -> Result<(), Error> {
        if presence.as_ref().is_some_and(|presence| !presence.is_short()) {
            return Err(Error::InvalidOperation(
                "a place and a table have names of at most 256 bytes, a key of 1,000".to_owned(),
            ));
        }
        self.everyone.set(presence, self.now.mono_ms);
        Ok(())
    }

    /// The backend tells who is where; the other tabs hear of it from here.
    pub(super) fn on_presence(&mut self, peers: Vec<Peer>) {
        if self.tabs.role == Role::Leader {
            self.tell_peers(peers.clone());
        }
        self.hear_peers(peers, None);
    }

    pub(super) fn hear_peers(&mut self, peers: Vec<Peer>, from: Option<&str>) {
        let refused = self.everyone.hear(peers, (&self.session.user, &self.tabs.id), from, self.now.mono_ms);
        let place = from.unwrap_or("presence").to_owned();
        if refused.malformed > 0 {
            let why = "somebody has no name, or a name or place that is too long";
            self.problem(Problem::new("malformed-presence", place.clone(), why));
        }
        if refused.is_full {
            self.problem(Problem::new("too-many-peers", place, "more people are here than are kept track of"));
        }
    }

    /// Tells a tab that has come who else is here.
    pub(super) fn introduce(&mut self) {
        self.everyone.say_again(Audience::Tabs);
        // Whoever slept may know of people who are long gone.
        self.everyone.expire(self.now.mono_ms);
        let strangers = self.everyone.strangers();
        if self.tabs.role == Role::Leader && !strangers.is_empty() {
            mark!(PeersIntroduced);
            self.tell_peers(strangers);
        }
    }

    fn tell_peers(&mut self, peers: Vec<Peer>) {
        let mut message = self.tabs.message(Kind::Presence);
        message.peers = Some(peers);
        self.emit(Output::Broadcast(message));
    }

    /// Says what is due, and lets run out what was not renewed.
    pub(super) fn keep_presence(&mut self) {
        if self.everyone.is_quiet() {
            self.timers.stop(Timer::Presence);
            return;
        }
        let mono_ms = self.now.mono_ms;
        self.everyone.expire(mono_ms);
        self.say_presence(mono_ms);
        match self.everyone.deadline((&self.session.user, &self.tabs.id), self.tabs.sends()) {
            Some(due_mono_ms) => self.timers.set(Timer::Presence, due_mono_ms),
            None => self.timers.stop(Timer::Presence),
        }
    }

    fn say_presence(&mut self, mono_ms: u64) {
        if let Some(peers) = self.everyone.say(Audience::Tabs, (&self.session.user, &self.tabs.id), mono_ms)
            && self.tabs.role != Role::Alone
        {
            self.tell_peers(peers);
        }
        if self.tabs.sends()
            && let Some(peers) = self.everyone.say(Audience::Backend, (&self.session.user, &self.tabs.id), mono_ms)
        {
            self.emit(Output::AnnouncePresence { peers });
        }
    }

    /// This tab is leaving: whoever knows of it hears so.
    pub(super) fn take_leave(&mut self) {
        self.everyone.set(None, self.now.mono_ms);
        // However recently something was said.
        self.say_presence(u64::MAX);
    }
}
