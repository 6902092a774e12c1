//! The link: opening it, knowing that it lives, and what takes its place while there is none.

use super::Engine;
use super::command::after;
use crate::engine::error::Problem;
use crate::engine::link::{Gate, JOIN_TIMEOUT_MS, LinkState, PONG_MS, STABLE_MS, TOKEN_WAIT_MS, describe, wait_ms};
use crate::engine::mark::mark;
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::retry::Failure;
use crate::engine::sabotage::sabotaged;
use crate::engine::tabs::Kind;
use crate::engine::time::Timer;

impl<R: Record> Engine<R> {
    pub(super) fn start_link(&mut self) {
        self.link.forget_failures();
        // A first pull at once shows data before the stream is up; the one after "live" makes it whole.
        self.puller.want();
        self.connect();
    }

    /// Opens the link. But for a tab's first time, the token may have grown old since, and a stream that joins with an old one is
    /// shut out: a fresh one is asked for before.
    fn connect(&mut self) {
        for timer in [Timer::Reconnect, Timer::Stable, Timer::Heartbeat, Timer::Pong, Timer::JoinTimeout] {
            self.timers.stop(timer);
        }
        let is_first = self.link.attempt() == 0;
        self.link.connect(!is_first, self.now.wall_ms);
        self.keep_polling();
        if is_first {
            self.open_link();
        } else {
            self.timers.set(Timer::TokenWait, after(self.now, TOKEN_WAIT_MS));
            self.emit(Output::RefreshToken);
        }
    }

    fn open_link(&mut self) {
        self.timers.stop(Timer::TokenWait);
        self.link.go_on();
        self.timers.set(Timer::JoinTimeout, after(self.now, JOIN_TIMEOUT_MS));
        self.emit(Output::Connect { attempt: self.link.attempt() });
    }

    pub(super) fn reconnect(&mut self) {
        if self.leave_to_leader(Kind::Reconnect) || self.link.is(LinkState::Connecting) {
            return;
        }
        if self.gate == Gate::Auth {
            self.ask_for_token();
            return;
        }
        self.link.forget_failures();
        self.open_gate();
        self.puller.want();
        self.timers.stop(Timer::Pull);
        if !self.link.is(LinkState::Live) {
            self.connect();
        }
    }

    pub(super) fn on_joined(&mut self, attempt: u32) {
        if self.tabs.sends() && self.link.is_current(attempt) {
            self.puller.want();
            self.open_gate();
        }
    }

    pub(super) fn on_live(&mut self, attempt: u32) {
        if !self.tabs.sends() || !self.link.is_current(attempt) {
            return;
        }
        self.link.live(self.now.wall_ms);
        self.token_failures = 0;
        self.timers.stop(Timer::JoinTimeout);
        self.timers.stop(Timer::Poll);
        self.timers.set(Timer::Stable, after(self.now, STABLE_MS));
        self.hear_stream();
        if sabotaged!(NoPullWhenLive) {
            return;
        }
        self.timers.stop(Timer::Pull);
        self.puller.want();
        self.open_gate();
    }

    pub(super) fn on_closed(&mut self, attempt: u32, failure: Failure, message: &str) {
        if self.tabs.sends() && self.link.is_current(attempt) {
            self.close_link(failure, message);
        }
    }

    pub(super) fn close_link(&mut self, failure: Failure, message: &str) {
        for timer in [Timer::JoinTimeout, Timer::Stable, Timer::Heartbeat, Timer::Pong] {
            self.timers.stop(timer);
        }
        self.emit(Output::Disconnect);
        if failure == Failure::Auth {
            self.pause(message);
            return;
        }
        self.timers.stop(Timer::TokenWait);
        self.puller.works = false;
        if !self.backend.idempotent {
            // Nothing is sent before the server is known to be there.
            self.puller.want();
        }
        match self.link.close(describe(failure, message), self.now.wall_ms, &mut self.random) {
            Some(delay_ms) => self.timers.set(Timer::Reconnect, after(self.now, delay_ms)),
            None => {
                mark!(LinkStopped);
                self.timers.stop(Timer::Reconnect);
            }
        }
        self.keep_polling();
    }

    // ---- is it alive?

    /// Something was heard of the stream, so it is alive.
    pub(super) fn hear_stream(&mut self) {
        if !self.link.is(LinkState::Live) {
            return;
        }
        self.timers.stop(Timer::Pong);
        if let Some(heartbeat_ms) = self.link_config.heartbeat_ms.filter(|ms| *ms > 0) {
            self.timers.set(Timer::Heartbeat, after(self.now, heartbeat_ms));
        }
    }

    fn ping(&mut self) {
        self.timers.set(Timer::Pong, after(self.now, PONG_MS));
        self.emit(Output::Ping { attempt: self.link.attempt() });
    }

    pub(super) fn on_ponged(&mut self, attempt: u32) {
        if self.tabs.sends() && self.link.is_current(attempt) {
            self.hear_stream();
        }
    }

    /// Half open: our side believes in the link, and nothing comes of it. What it should have brought is pulled.
    fn on_no_pong(&mut self) {
        mark!(HalfOpenNoticed);
        self.puller.want();
        if sabotaged!(BelieveSilentStream) {
            return;
        }
        self.close_link(Failure::Timeout, "the stream is silent, and the server did not answer a ping in time");
    }

    /// The machine slept: a stream that looks open may be dead, and what it carried is lost.
    pub(super) fn on_slept(&mut self) {
        if self.tabs.sends() && (self.link.is(LinkState::Live) || self.link.is(LinkState::Connecting)) {
            self.puller.want();
            self.open_anew();
        }
    }

    /// Replaces an open stream, or one that is opening.
    pub(super) fn open_anew(&mut self) {
        if self.link.is(LinkState::Live) || self.link.is(LinkState::Connecting) {
            self.emit(Output::Disconnect);
            self.connect();
        }
    }

    // ---- polling

    /// Sets when to pull next for want of a stream.
    pub(super) fn poll_later(&mut self) {
        let Some(interval_ms) = self.poll_interval_ms() else { return };
        if !self.tabs.sends() || self.gate == Gate::Auth || self.link.is(LinkState::Live) {
            self.timers.stop(Timer::Poll);
            return;
        }
        self.timers.set(Timer::Poll, after(self.now, interval_ms));
    }

    /// Attempts to connect do not put off the next pull.
    fn keep_polling(&mut self) {
        if !self.timers.is_set(Timer::Poll) {
            self.poll_later();
        }
    }

    /// The browser's word is a hint: on-line means try now, off-line means look whether the server still answers.
    pub(super) fn on_hint(&mut self, online: bool) {
        if !self.tabs.sends() {
            return;
        }
        self.puller.want();
        self.timers.stop(Timer::Pull);
        if online && self.gate == Gate::Auth {
            self.ask_for_token();
        } else if online {
            self.open_gate();
            if self.link.is(LinkState::Offline) {
                self.connect();
            }
        }
    }

    // ---- tokens

    /// The token was refused: nothing is tried with it again, and nothing is lost.
    fn pause(&mut self, message: &str) {
        mark!(TokenPause);
        let is_asked = self.link.awaits_token();
        if !sabotaged!(SendWithoutToken) {
            self.gate = Gate::Auth;
        }
        for timer in [Timer::Reconnect, Timer::TokenWait, Timer::Poll] {
            self.timers.stop(timer);
        }
        if self.link.is(LinkState::Paused) {
            return;
        }
        // The first refusal is what happens to every token in the end. A second one in a row is not cured by asking faster.
        let retry_at_ms = if self.token_failures == 0 { None } else { Some(self.ask_for_token_later()) };
        if retry_at_ms.is_none() && is_asked {
            self.await_token();
        } else if retry_at_ms.is_none() {
            self.ask_for_token();
        }
        self.token_failures = self.token_failures.saturating_add(1);
        self.link.pause(describe(Failure::Auth, message), self.now.wall_ms, retry_at_ms);
    }

    /// Returns when, on the wall clock.
    fn ask_for_token_later(&mut self) -> u64 {
        mark!(TokenAskedLater);
        let delay_ms = wait_ms(self.token_failures, &mut self.random);
        self.timers.set(Timer::Token, after(self.now, delay_ms));
        self.now.wall_ms.saturating_add(delay_ms)
    }

    fn ask_for_token(&mut self) {
        self.emit(Output::RefreshToken);
        self.await_token();
    }

    /// Whoever was asked may never answer: a page of theirs hangs, or the answer is lost. Nothing else would ever end the pause.
    fn await_token(&mut self) {
        let delay_ms = TOKEN_WAIT_MS + wait_ms(self.token_failures, &mut self.random);
        self.timers.set(Timer::Token, after(self.now, delay_ms));
    }

    fn on_token_due(&mut self) {
        mark!(TokenAskedAgain);
        self.token_failures = self.token_failures.saturating_add(1);
        self.ask_for_token();
    }

    /// Whoever gives tokens has none now; it is asked again, ever more rarely.
    pub(super) fn on_token_refused(&mut self, message: &str) {
        self.problem(Problem::new("auth", "refreshToken", message));
        if !self.tabs.sends() {
            return;
        }
        let why = if self.gate == Gate::Auth {
            self.link.status().why.clone()
        } else if self.link.awaits_token() {
            describe(Failure::Auth, message)
        } else {
            return;
        };
        self.gate = Gate::Auth;
        for timer in [Timer::Reconnect, Timer::TokenWait, Timer::Poll] {
            self.timers.stop(timer);
        }
        self.token_failures = self.token_failures.saturating_add(1);
        let retry_at_ms = self.ask_for_token_later();
        self.link.pause(why, self.now.wall_ms, Some(retry_at_ms));
    }

    /// Whoever gives tokens was not reached, which says nothing about the token.
    pub(super) fn on_token_missed(&mut self, failure: Failure, message: &str) {
        if !self.tabs.sends() {
            return;
        }
        if self.gate == Gate::Auth {
            self.token_failures = self.token_failures.saturating_add(1);
            let why = self.link.status().why.clone();
            let retry_at_ms = self.ask_for_token_later();
            self.link.pause(why, self.now.wall_ms, Some(retry_at_ms));
        } else if self.link.awaits_token() {
            mark!(TokenGiverNotReached);
            let failure = if failure == Failure::Auth { Failure::Unknown } else { failure };
            self.close_link(failure, message);
        }
    }

    /// There is no asking for tokens here: the one there is has to do, or its owner brings another.
    pub(super) fn on_token_kept(&mut self) {
        if self.tabs.sends() && self.link.awaits_token() {
            self.open_link();
        } else if self.gate == Gate::Auth {
            self.timers.stop(Timer::Token);
        }
    }

    pub(super) fn on_token(&mut self) {
        if self.leave_to_leader(Kind::Token) {
            return;
        }
        if self.link.awaits_token() {
            self.open_link();
        } else if self.gate == Gate::Auth || self.link.is(LinkState::Paused) {
            self.gate = Gate::Open;
            self.timers.stop(Timer::Token);
            self.puller.want();
            // This one is as fresh as can be.
            self.link.connect(false, self.now.wall_ms);
            self.keep_polling();
            self.open_link();
        }
    }

    // ---- what is due

    pub(super) fn fire_timers(&mut self) {
        while !self.closed
            && let Some(timer) = self.timers.take_due(self.now.mono_ms)
        {
            match timer {
                Timer::Reconnect => self.connect(),
                Timer::JoinTimeout => {
                    mark!(JoinTimedOut);
                    self.close_link(Failure::Timeout, "the stream did not come up in time");
                }
                Timer::Stable => {
                    mark!(FailuresForgotten);
                    self.link.settle();
                }
                Timer::Pull | Timer::Presence => {}
                Timer::PullTimeout => {
                    if let Some(id) = self.puller.id_under_way() {
                        mark!(PullTimedOut);
                        self.on_pull_failed(id, Failure::Timeout, "no answer in time");
                    }
                }
                Timer::Outbox => self.look_at_outbox(),
                Timer::Beat => self.beat(),
                Timer::Token => self.on_token_due(),
                Timer::TokenWait => {
                    mark!(TokenNotAwaited);
                    self.on_token_kept();
                }
                Timer::Heartbeat => self.ping(),
                Timer::Pong => self.on_no_pong(),
                Timer::Poll => {
                    mark!(Polled);
                    self.puller.want();
                    self.poll_later();
                }
                Timer::Watch => self.look_for_leader(),
                Timer::Boot => self.pull_alone(),
                Timer::Leave => self.leave_after_look(),
            }
        }
    }
}
