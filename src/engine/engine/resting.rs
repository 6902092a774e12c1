//! A page that is about to be frozen, or to be kept for the way back, lets go of what others wait for, and takes part again once it runs.
//!
//! It may never run again, or run on as if nothing had been said: no event that tells of the one or the other is relied upon.

use super::Engine;
use super::command::after;
use crate::engine::input::Input;
use crate::engine::link::{LinkState, LinkStatus};
use crate::engine::mark::mark;
use crate::engine::output::Output;
use crate::engine::presence::Audience;
use crate::engine::record::Record;
use crate::engine::tabs::Kind;
use crate::engine::time::Timer;

/// A page that still runs so long after it was to be frozen is not frozen.
const REST_MS: u64 = 5_000;

impl<R: Record> Engine<R> {
    /// A leader hands over now, rather than being taken for dead later. A follower gives up its place in the queue: the lock would come
    /// to a tab that does not run.
    pub(super) fn on_froze(&mut self) {
        if self.tabs.rests {
            return;
        }
        mark!(Rested);
        self.step_down();
        self.stop_watching();
        (self.tabs.rests, self.tabs.deaf) = (true, false);
        self.link.follow(LinkStatus {
            state: LinkState::Offline,
            why: "the page does not run".to_owned(),
            since_ms: self.now.wall_ms,
            retry_at_ms: None,
            server_ahead_ms: self.link.status().server_ahead_ms,
        });
        let bye = self.tabs.message(Kind::Bye);
        self.emit(Output::Broadcast(bye));
        self.emit(Output::Rest);
        self.timers.set(Timer::Watch, after(self.now, REST_MS));
    }

    /// The page runs after all, or again: what it has missed is in storage, and the leader's to tell.
    pub(super) fn rise(&mut self) {
        if !std::mem::take(&mut self.tabs.rests) {
            return;
        }
        mark!(Rose);
        self.tabs.woke_at_mono_ms = Some(self.now.mono_ms);
        self.everyone.say_again(Audience::Tabs);
        self.look();
        self.follow();
    }
}

/// What only comes where a page runs. Changes do not count: a page that goes may make some on its way out, which wait in storage.
pub(super) const fn is_sign_of_life<R>(input: &Input<R>) -> bool {
    matches!(
        input,
        Input::Woke
            | Input::Visibility { visible: true }
            | Input::Activity { active: true }
            | Input::Cancel { .. }
            | Input::Undo { .. }
            | Input::Retry { .. }
            | Input::Resolve { .. }
            | Input::Reconnect
            | Input::Purge
            | Input::Logout { .. }
            | Input::RightsChanged
    )
}

/// What reaches a tab that rests, and is no longer, or not yet, meant for it.
pub(super) const fn is_for_others<R>(input: &Input<R>) -> bool {
    matches!(input, Input::TabMessageReceived(_) | Input::LockLost | Input::NoLocks)
}
