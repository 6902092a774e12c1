//! Whether there is a leader, and what a tab does when nobody says so.
//!
//! Roles are the lock's to give. This file only decides when to take the lock from a leader that hangs, and when to do without a
//! channel that carries nothing.

use rand_core::Rng;

use super::Engine;
use super::command::after;
use crate::engine::authors::GRACE_MS;
use crate::engine::mark::mark;
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::tabs::{BEAT_MS, BOOT_MS, Kind, PONG_WAIT_MS, Role, SILENT_BEATS, SPREAD_MS, Watch};
use crate::engine::time::Timer;

/// How long after it a tab that is alone notices a sleep.
const PULSE_MS: u64 = 30_000;
/// How often a tab that hears nobody says something.
const CALL_MS: u64 = 2 * SILENT_BEATS * BEAT_MS;

impl<R: Record> Engine<R> {
    /// Starts, or starts anew, to count how long the leader has been silent.
    pub(super) fn watch(&mut self) {
        if self.tabs.role != Role::Follower || !self.tabs.speaks(2) || self.tabs.rests {
            return;
        }
        self.tabs.watch = Watch::Listening;
        let spread_ms = self.random.next_u64() % SPREAD_MS;
        self.timers.set(Timer::Watch, after(self.now, SILENT_BEATS * BEAT_MS + spread_ms));
    }

    pub(super) fn stop_watching(&mut self) {
        for timer in [Timer::Watch, Timer::Boot, Timer::Pull, Timer::PullTimeout] {
            self.timers.stop(timer);
        }
        if self.tabs.role == Role::Follower {
            // What a new tab asked for on its own is asked for again by what it is now.
            self.puller.abandon();
            self.tabs.pulls = false;
        }
    }

    /// This tab did not run for a while, and so can't say who else did.
    pub(super) fn wake_up(&mut self, away_ms: u64) {
        self.tabs.woke_at_mono_ms = Some(self.now.mono_ms);
        self.distrust_the_lock();
        self.watch();
        if self.tabs.role == Role::Alone {
            self.authors.forget_questions();
            if away_ms >= GRACE_MS {
                // Others may have taken this one for gone, and sent what it made.
                self.begin_to_send();
            }
        }
    }

    /// A tab that is alone may have nothing else due, and would not notice that the machine has slept.
    pub(super) fn pulse(&mut self) {
        self.timers.set(Timer::Watch, after(self.now, PULSE_MS));
    }

    /// The leader has been silent for as long as this tab has listened.
    pub(super) fn look_for_leader(&mut self) {
        if self.tabs.rests {
            self.rise();
            return;
        }
        if self.tabs.role == Role::Alone {
            if self.tabs.deaf {
                self.call_out();
            }
            self.look_after_others();
            return;
        }
        let wait_ms = match self.tabs.watch {
            Watch::Listening | Watch::Taking => {
                mark!(LeaderPinged);
                self.tell_all(Kind::Ping);
                self.tabs.watch = Watch::Pinged;
                PONG_WAIT_MS / 2
            }
            Watch::Pinged => {
                // A leader of protocol 1 does not know a ping, but answers this.
                self.say_hello();
                self.tabs.watch = Watch::Greeted;
                PONG_WAIT_MS / 2 + self.random.next_u64() % SPREAD_MS
            }
            Watch::Greeted => {
                mark!(LockTaken);
                self.emit(Output::StealLock);
                self.watch();
                self.tabs.watch = Watch::Taking;
                return;
            }
        };
        self.timers.set(Timer::Watch, after(self.now, wait_ms));
    }

    fn tell_all(&mut self, kind: Kind) {
        let message = self.tabs.message(kind);
        self.emit(Output::Broadcast(message));
    }

    pub(super) fn on_ping(&mut self) {
        if self.tabs.role == Role::Leader {
            self.tell_all(Kind::Pong);
        }
    }

    /// The lock was taken from this tab. Whoever did so took it for dead.
    pub(super) fn on_lock_lost(&mut self) {
        if self.tabs.role == Role::Leader && self.is_deaf() {
            // It was awake all the time, and has not heard a word of the question whether it is: the channel does not carry. Taking
            // the lock back, as nothing would be heard then either, would go on for ever.
            mark!(DeafLeader);
            self.step_down();
            self.tabs.deaf = true;
            self.go_alone();
            self.call_out();
        } else {
            self.follow();
        }
    }

    /// Says something now and then: two tabs that hear nobody would never know that they could again. Nor does anybody tell of what a
    /// tab that died has left in storage.
    fn call_out(&mut self) {
        self.tell_all(Kind::Ping);
        self.look();
        self.timers.set(Timer::Watch, after(self.now, CALL_MS));
    }

    fn is_deaf(&self) -> bool {
        let recently =
            |at: Option<u64>| at.is_some_and(|at| at.saturating_add(2 * SILENT_BEATS * BEAT_MS) > self.now.mono_ms);
        self.tabs.speaks(2) && !recently(self.tabs.woke_at_mono_ms) && !recently(self.tabs.heard_at_mono_ms)
    }

    /// Another tab was heard, which ends the time without a channel.
    pub(super) fn on_heard(&mut self, from: &str) {
        self.authors.hear(from, self.now.mono_ms);
        self.tabs.heard_at_mono_ms = Some(self.now.mono_ms);
        if std::mem::take(&mut self.tabs.deaf) {
            self.follow();
        }
    }

    // ---- a new tab

    /// Gives the leader a moment to tell a new tab everything.
    pub(super) fn boot(&mut self) {
        if self.tabs.speaks(2) {
            self.timers.set(Timer::Boot, after(self.now, BOOT_MS));
        }
    }

    /// A new tab that nobody has told anything does not wait for others: it asks the server itself. So does one that knows tables of
    /// which its leader knows nothing.
    pub(super) fn pull_alone(&mut self) {
        let is_untold = !self.ready && !self.tabs.caught_up;
        if self.tabs.role == Role::Follower && (is_untold || self.tabs.knows_more) {
            mark!(PulledAlone);
            self.tabs.pulls = true;
            self.puller.want();
        }
    }
}
