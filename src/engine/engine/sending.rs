//! Everything that goes to the server: the link, pulls, operations, and what follows when they fail.

use super::Engine;
use super::command::after;
use crate::engine::error::Problem;
use crate::engine::input::PullCall;
use crate::engine::link::{
    Gate, JOIN_TIMEOUT_MS, LinkState, PULL_KEYS_MAX, PULL_TIMEOUT_MS, PullRequest, STABLE_MS, describe, wait_ms,
};
use crate::engine::mark::mark;
use crate::engine::operation::{Answer, OperationId, OperationState, PROTOCOL};
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::retry::{AFTER_MS_MAX, Failure};
use crate::engine::sabotage::sabotaged;
use crate::engine::tabs::Role;
use crate::engine::time::Timer;

/// How long storage may take to say what it holds.
const HOLD_MS: u64 = 50;

impl<R: Record> Engine<R> {
    pub(super) fn lead(&mut self) {
        self.tabs.lead();
        self.pulled_here = false;
        if sabotaged!(NoResendAfterLeaderChange) {
            let others: Vec<OperationId> =
                self.outbox.iter().filter(|pending| !pending.mine).map(|pending| pending.op.id).collect();
            for id in others {
                self.outbox.mark_sent(id, u64::MAX);
            }
        }
        // Between a dying leader and us, some tab may have stored what nobody has read, and it may have to go first.
        self.hold();
        self.emit(Output::LoadOperations);
        self.start_link();
        self.beat();
    }

    pub(super) fn go_alone(&mut self) {
        self.tabs.role = Role::Alone;
        self.start_link();
    }

    /// Another tab has the link now.
    pub(super) fn follow(&mut self) {
        self.tabs.role = Role::Follower;
        for timer in [
            Timer::Reconnect,
            Timer::JoinTimeout,
            Timer::Stable,
            Timer::Pull,
            Timer::PullTimeout,
            Timer::Outbox,
            Timer::Beat,
            Timer::Token,
        ] {
            self.timers.stop(timer);
        }
        self.puller.abandon();
        // The new leader sends them again, and the ledger answers one of us.
        for id in self.outbox.return_all() {
            self.dirty_operations.insert(id);
        }
        (self.pulled_here, self.gate, self.tabs.caught_up) = (false, Gate::Open, false);
        self.tabs.owed.clear();
        self.asked.clear();
        self.emit(Output::Disconnect);
        self.emit(Output::RequestLock);
        self.say_hello();
    }

    fn start_link(&mut self) {
        // A first pull at once shows data before the stream is up; the one after "live" makes it whole.
        self.puller.want();
        self.connect();
    }

    fn connect(&mut self) {
        self.timers.stop(Timer::Reconnect);
        self.timers.stop(Timer::Stable);
        let attempt = self.link.connect(self.now.wall_ms);
        self.timers.set(Timer::JoinTimeout, after(self.now, JOIN_TIMEOUT_MS));
        self.emit(Output::Connect { attempt });
    }

    pub(super) fn reconnect(&mut self) {
        if !self.tabs.sends() || self.link.is(LinkState::Connecting) {
            return;
        }
        if self.gate == Gate::Auth {
            self.emit(Output::RefreshToken);
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
        self.timers.set(Timer::Stable, after(self.now, STABLE_MS));
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

    fn close_link(&mut self, failure: Failure, message: &str) {
        self.timers.stop(Timer::JoinTimeout);
        self.timers.stop(Timer::Stable);
        self.emit(Output::Disconnect);
        if failure == Failure::Auth {
            self.pause(message);
            return;
        }
        let delay_ms = self.link.close(describe(failure, message), self.now.wall_ms, &mut self.random);
        self.timers.set(Timer::Reconnect, after(self.now, delay_ms));
    }

    /// The token was refused: nothing is tried with it again, and nothing is lost.
    fn pause(&mut self, message: &str) {
        mark!(TokenPause);
        if !sabotaged!(SendWithoutToken) {
            self.gate = Gate::Auth;
        }
        self.timers.stop(Timer::Reconnect);
        if self.link.is(LinkState::Paused) {
            return;
        }
        // The first refusal is what happens to every token in the end. A second one in a row is not cured by asking faster.
        let retry_at_ms = if self.token_failures == 0 { None } else { Some(self.ask_for_token_later()) };
        if retry_at_ms.is_none() {
            self.emit(Output::RefreshToken);
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

    /// Whoever gives tokens has none now; it is asked again, ever more rarely.
    pub(super) fn on_token_refused(&mut self, message: &str) {
        self.problem(Problem::new("auth", "refreshToken", message));
        if self.gate == Gate::Auth && self.tabs.sends() {
            self.token_failures = self.token_failures.saturating_add(1);
            let retry_at_ms = self.ask_for_token_later();
            let why = self.link.status().why.clone();
            self.link.pause(why, self.now.wall_ms, Some(retry_at_ms));
        }
    }

    pub(super) fn on_token(&mut self) {
        if self.gate == Gate::Auth || self.link.is(LinkState::Paused) {
            self.gate = Gate::Open;
            self.timers.stop(Timer::Token);
            if self.tabs.sends() {
                self.start_link();
            }
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
            self.timers.stop(Timer::Token);
            self.emit(Output::RefreshToken);
        } else if online {
            self.open_gate();
            if self.link.is(LinkState::Offline) {
                self.connect();
            }
        }
    }

    /// The machine slept: a stream that looks open may be dead, and what it carried is lost.
    pub(super) fn on_slept(&mut self) {
        if self.tabs.sends() && (self.link.is(LinkState::Live) || self.link.is(LinkState::Connecting)) {
            self.emit(Output::Disconnect);
            self.puller.want();
            self.connect();
        }
    }

    pub(super) fn open_gate(&mut self) {
        self.gate_failures = 0;
        if matches!(self.gate, Gate::Network { .. }) {
            self.gate = Gate::Open;
        }
    }

    pub(super) fn fire_timers(&mut self) {
        while let Some(timer) = self.timers.take_due(self.now.mono_ms) {
            match timer {
                Timer::Reconnect => self.connect(),
                Timer::JoinTimeout => {
                    mark!(JoinTimedOut);
                    self.close_link(Failure::Timeout, "the stream did not come up in time");
                }
                Timer::Stable => {
                    mark!(FailuresForgotten);
                    self.link.forget_failures();
                }
                Timer::Pull => {}
                Timer::PullTimeout => {
                    if let Some(id) = self.puller.id_under_way() {
                        mark!(PullTimedOut);
                        self.on_pull_failed(id, Failure::Timeout, "no answer in time");
                    }
                }
                Timer::Outbox => self.look_at_outbox(),
                Timer::Beat => self.beat(),
                Timer::Token => self.emit(Output::RefreshToken),
            }
        }
    }

    fn look_at_outbox(&mut self) {
        if let Gate::Network { until_mono_ms } = self.gate
            && until_mono_ms <= self.now.mono_ms
        {
            mark!(GateReopened);
            self.gate = Gate::Open;
        }
        for id in self.outbox.timed_out(self.now.mono_ms, self.retry.timeout) {
            mark!(PushTimedOut);
            self.on_push_failed(id, Failure::Timeout, "no answer in time", None);
        }
    }

    /// Sends nothing for a moment: storage was asked for what may have to go first.
    pub(super) fn hold(&mut self) {
        self.hold_until_mono_ms = after(self.now, HOLD_MS);
    }

    /// Starts whatever may start now.
    pub(super) fn pump(&mut self) {
        if self.closed || !self.tabs.sends() {
            return;
        }
        self.pull();
        if self.gate == Gate::Open && self.hold_until_mono_ms <= self.now.mono_ms {
            for id in self.outbox.sendable(self.now.mono_ms) {
                self.push(id);
            }
        }
        self.set_outbox_timer();
    }

    fn set_outbox_timer(&mut self) {
        let held = Some(self.hold_until_mono_ms).filter(|until_mono_ms| *until_mono_ms > self.now.mono_ms);
        let probe = if let Gate::Network { until_mono_ms } = self.gate { Some(until_mono_ms) } else { None };
        let waiting = self.outbox.deadline(self.now.mono_ms, self.retry.timeout);
        match probe.into_iter().chain(waiting).chain(held).min() {
            Some(due_mono_ms) => self.timers.set(Timer::Outbox, due_mono_ms),
            None => self.timers.stop(Timer::Outbox),
        }
    }

    fn push(&mut self, id: OperationId) {
        self.outbox.mark_sent(id, self.now.mono_ms.max(1));
        self.dirty_operations.insert(id);
        if let Some(pending) = self.outbox.get(id) {
            let (operation, hlc) = (pending.op.clone(), pending.op.hlc);
            self.emit(Output::Push { operation });
            if sabotaged!(LoseOnCrash) {
                self.emit(Output::Unpersist { key: self.session.operation_key(hlc, id) });
            }
        }
    }

    fn pull(&mut self) {
        if self.gate == Gate::Auth || self.timers.is_set(Timer::Pull) {
            return;
        }
        let Some((id, keys)) = self.puller.begin(self.tables.arrivals()) else { return };
        let pending = self
            .outbox
            .iter()
            .filter(|pending| pending.accepted)
            .map(|pending| pending.op.id)
            .chain(self.asked.iter().copied())
            .take(PULL_KEYS_MAX)
            .collect();
        let cursor = if keys.is_some() { None } else { self.puller.cursor.clone() };
        self.asked_now.clone_from(&self.asked);
        let request = PullRequest { protocol: PROTOCOL, tables: self.tables.names(), cursor, keys, pending };
        self.timers.set(Timer::PullTimeout, after(self.now, PULL_TIMEOUT_MS));
        self.emit(Output::Pull(PullCall { id, request }));
    }

    pub(super) fn on_pull_failed(&mut self, id: u32, failure: Failure, message: &str) {
        let Some(delay_ms) = self.puller.fail(id, &mut self.random) else { return };
        mark!(PullFailed);
        self.timers.stop(Timer::PullTimeout);
        if failure == Failure::Auth {
            self.close_link(failure, message);
            return;
        }
        self.timers.set(Timer::Pull, after(self.now, delay_ms));
        if !matches!(failure, Failure::Network | Failure::Timeout) {
            let why = describe(failure, message);
            if self.link.status().why != why {
                self.problem(Problem::new("pull-failed", "pull", why.clone()));
            }
            self.link.explain(why);
        }
        // A stream that looks open beside a server that can't be reached is most likely dead.
        if failure == Failure::Network && self.link.is(LinkState::Live) {
            self.close_link(failure, message);
        }
    }

    pub(super) fn on_retry(&mut self, answer: &Answer<R>) {
        let asked_ms = answer.after_ms.filter(|_| !sabotaged!(IgnoreRetryAfter)).unwrap_or(0).min(AFTER_MS_MAX);
        let sent = self.outbox.get(answer.id).filter(|pending| pending.state == OperationState::Sent);
        let Some(tries) = sent.map(|pending| pending.tries) else { return };
        let delay_ms = asked_ms.max(self.retry.delay_ms(tries, &mut self.random));
        mark!(RetryAsked);
        let trouble = (answer.code.clone().unwrap_or_default(), answer.message.clone().unwrap_or_default());
        // The server is there and well; it only could not decide. That is no failed try.
        self.wait(answer.id, delay_ms, tries, trouble);
    }

    pub(super) fn on_push_failed(&mut self, id: OperationId, failure: Failure, message: &str, after_ms: Option<u64>) {
        let Some(pending) = self.outbox.get(id).filter(|pending| pending.state == OperationState::Sent) else { return };
        let tries = pending.tries;
        let after_ms = after_ms.filter(|_| !sabotaged!(IgnoreRetryAfter)).map(|asked_ms| asked_ms.min(AFTER_MS_MAX));
        let trouble = (failure.code().to_owned(), message.to_owned());
        match failure {
            Failure::Network if sabotaged!(NetworkIsATry) => {
                if tries < self.retry.max_retries {
                    self.wait(id, 0, tries + 1, trouble);
                } else {
                    self.bury(id, trouble);
                }
            }
            Failure::Network => {
                self.wait(id, 0, tries, trouble);
                if self.gate == Gate::Open {
                    mark!(GateShut);
                    let delay_ms = self.retry.delay_ms(self.gate_failures, &mut self.random);
                    self.gate_failures = self.gate_failures.saturating_add(1);
                    self.gate = Gate::Network { until_mono_ms: after(self.now, delay_ms) };
                }
                // See whether the server can be reached at all: if not, the link is told.
                self.puller.want();
            }
            Failure::Auth => {
                self.wait(id, 0, tries, trouble);
                self.close_link(failure, message);
            }
            Failure::RateLimit => {
                mark!(RateLimited);
                let delay_ms = after_ms.unwrap_or_else(|| self.retry.delay_ms(tries, &mut self.random));
                self.wait(id, delay_ms, tries, trouble);
            }
            // With no stream either, it is the server's trouble and not the operation's: that is no try.
            Failure::Timeout | Failure::Server | Failure::Unknown if !self.link.is(LinkState::Live) => {
                let delay_ms = after_ms.unwrap_or(0).max(self.retry.delay_ms(tries.max(2), &mut self.random));
                self.wait(id, delay_ms, tries, trouble);
            }
            Failure::Timeout | Failure::Server | Failure::Unknown if tries < self.retry.max_retries => {
                let delay_ms = after_ms.unwrap_or(0).max(self.retry.delay_ms(tries, &mut self.random));
                self.wait(id, delay_ms, tries + 1, trouble);
            }
            Failure::Timeout
            | Failure::Server
            | Failure::Unknown
            | Failure::Forbidden
            | Failure::Invalid
            | Failure::Gone => self.bury(id, trouble),
        }
    }

    fn wait(&mut self, id: OperationId, delay_ms: u64, tries: u32, trouble: (String, String)) {
        self.outbox.mark_returned(id, OperationState::Queued);
        self.dirty_operations.insert(id);
        let not_before = after(self.now, delay_ms);
        if let Some(pending) = self.outbox.get_mut(id) {
            (pending.tries, pending.trouble) = (tries, Some(trouble));
        }
        self.outbox.wait(id, not_before);
    }

    /// Gives an operation up. It is no longer seen, stays stored, and blocks nothing but what depends on it.
    pub(super) fn bury(&mut self, id: OperationId, trouble: (String, String)) {
        if self.outbox.get(id).is_none_or(|pending| pending.state == OperationState::Dead) {
            return;
        }
        mark!(Buried);
        self.outbox.mark_returned(id, OperationState::Dead);
        self.dirty_operations.insert(id);
        let Some(pending) = self.outbox.get_mut(id) else { return };
        pending.trouble = Some(trouble.clone());
        let (record, mine) = (pending.record, pending.mine);
        if self.tabs.role == Role::Leader {
            self.tell_state(id, OperationState::Dead);
        }
        if mine {
            let mut settlement = super::sync::settlement(id, OperationState::Dead);
            (settlement.code, settlement.message) = Some(trouble).unzip();
            self.emit(Output::Settled(settlement));
        }
        self.recompute(record);
    }
}
