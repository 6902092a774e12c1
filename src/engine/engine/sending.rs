//! Everything that goes to the server but for the link: pulls, operations, and what follows when they fail.

use super::command::after;
use super::lockless::may_send;
use super::rebasing::Void;
use super::{Backend, Engine};
use crate::engine::error::Problem;
use crate::engine::input::PullCall;
use crate::engine::link::{Asking, Gate, LinkState, Onlookers, PULL_KEYS_MAX, PULL_TIMEOUT_MS, PullRequest, describe};
use crate::engine::mark::mark;
use crate::engine::operation::{Answer, OperationId, OperationState, PROTOCOL};
use crate::engine::outbox::{Pending, Why};
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::retry::{AFTER_MS_MAX, Failure, RateLimit};
use crate::engine::sabotage::sabotaged;
use crate::engine::tabs::Role;
use crate::engine::time::Timer;

/// How long a new leader, or who logs out, waits for what is stored.
pub(super) const LOOK_MS: u64 = 1_000;

/// Why an operation is dead of which no more is known than that it was given up.
pub(super) const GIVEN_UP: &str = "given-up";

impl<R: Record> Engine<R> {
    pub(super) fn lead(&mut self) {
        if self.tabs.role == Role::Leader {
            return;
        }
        self.stop_watching();
        self.tabs.lead();
        self.everyone.say_again(crate::engine::presence::Audience::Backend);
        self.pulled_here = false;
        self.begin_to_send();
        if sabotaged!(NoResendAfterLeaderChange) {
            let others: Vec<OperationId> =
                self.outbox.iter().filter(|pending| !pending.mine).map(|pending| pending.op.id).collect();
            for id in others {
                self.outbox.mark_sent(id, u64::MAX);
            }
        }
        // Between a dying leader and us, some tab may have stored what nobody has read.
        self.look_before_sending();
        self.unsure_looks = 0;
        for pending in self.outbox.iter().filter(|pending| pending.accepted && !pending.mine && !pending.is_parked()) {
            self.unsure.insert(pending.op.id);
        }
        self.cancel_what_was_asked();
        self.start_link();
        self.beat();
    }

    pub(super) fn go_alone(&mut self) {
        self.stop_watching();
        self.tabs.role = Role::Alone;
        self.pulse();
        self.begin_to_send();
        self.start_link();
        self.authors.forget_questions();
        self.authors.looked_mono_ms = self.now.mono_ms;
    }

    /// Whatever is here was made before, though its author's clock may have been ahead of this tab's.
    pub(super) fn begin_to_send(&mut self) {
        let made = self.outbox.iter().map(|pending| pending.op.hlc).max();
        let since = self.clock.mint(self.now);
        self.sends_since = Some((made.map_or(since, |made| made.max(since)), self.now.mono_ms));
    }

    /// Another tab has the link now.
    pub(super) fn follow(&mut self) {
        self.step_down();
        self.emit(Output::RequestLock);
        self.say_hello();
        self.watch();
    }

    /// Gives up everything that only a sender has.
    pub(super) fn step_down(&mut self) {
        self.tabs.role = Role::Follower;
        (self.sends_since, self.looks_until_mono_ms, self.trusts_lock_at_mono_ms) = (None, None, None);
        for timer in [
            Timer::Reconnect,
            Timer::JoinTimeout,
            Timer::Stable,
            Timer::Pull,
            Timer::PullTimeout,
            Timer::Outbox,
            Timer::Beat,
            Timer::Token,
            Timer::TokenWait,
            Timer::Heartbeat,
            Timer::Pong,
            Timer::Poll,
        ] {
            self.timers.stop(timer);
        }
        self.puller.abandon();
        self.link.give_up();
        // The new leader sends them again, and the ledger answers one of us.
        for id in self.outbox.return_all() {
            self.dirty_operations.insert(id);
        }
        self.forget_questions();
        (self.pulled_here, self.gate, self.tabs.caught_up) = (false, Gate::Open, false);
        self.rate_limit = RateLimit::default();
        self.onlookers = Onlookers::default();
        self.tabs.owed.clear();
        self.asked.clear();
        self.unsure.clear();
        self.to_cancel.clear();
        self.emit(Output::Disconnect);
    }

    pub(super) fn open_gate(&mut self) {
        self.gate_failures = 0;
        if matches!(self.gate, Gate::Network { .. }) {
            self.gate = Gate::Open;
        }
    }

    pub(super) fn look_at_outbox(&mut self) {
        if let Gate::Network { until_mono_ms } = self.gate
            && until_mono_ms <= self.now.mono_ms
        {
            mark!(GateReopened);
            self.gate = Gate::Open;
        }
        self.ask_what_is_due();
        for call in self.outbox.timed_out(self.now.mono_ms, self.retry.timeout) {
            mark!(PushTimedOut);
            self.on_call_failed(call, Failure::Timeout, "no answer in time", None);
        }
    }

    /// Asks storage for what other tabs have left there.
    pub(super) fn look(&mut self) {
        self.looks = self.looks.wrapping_add(1);
        self.emit(Output::LoadOperations { look: self.looks });
    }

    /// Sends nothing until storage has said what may have to go first, or a moment is over.
    pub(super) fn look_before_sending(&mut self) {
        self.look();
        self.sends_after_look = self.looks;
        self.looks_until_mono_ms = Some(after(self.now, LOOK_MS));
    }

    /// A leader that did not run for a while may have been replaced, and be told so only after what else has waited for it. Until that
    /// news has had its time, it takes nothing back. The ledger tells two leaders' calls apart; without one, nothing is sent either. One
    /// that wakes from timer to timer only has heard it meanwhile, and need not wait again.
    pub(super) fn distrust_the_lock(&mut self) {
        if self.tabs.role == Role::Leader && self.trusts_lock_at_mono_ms.is_none() {
            mark!(LockDistrusted);
            self.trusts_lock_at_mono_ms = Some(after(self.now, LOOK_MS));
        }
    }

    /// Starts whatever may start now.
    pub(super) fn pump(&mut self) {
        if self.closed {
            return;
        }
        if self.tabs.role == Role::Alone && self.authors.is_due {
            self.look_after_others();
        }
        if !self.tabs.sends() {
            if self.tabs.pulls {
                self.pull();
            }
            return;
        }
        self.pull();
        if self.looks_until_mono_ms.take_if(|until_mono_ms| *until_mono_ms <= self.now.mono_ms).is_some() {
            // Storage says nothing, so nothing can be concluded from it.
            self.unsure.clear();
        }
        self.trusts_lock_at_mono_ms.take_if(|at_mono_ms| *at_mono_ms <= self.now.mono_ms);
        let distrusts = !self.backend.idempotent && self.trusts_lock_at_mono_ms.is_some();
        let is_limited = self.rate_limit.until(self.now.mono_ms).is_some();
        let holds = self.looks_until_mono_ms.is_some() || distrusts || is_limited;
        if self.gate == Gate::Open && !holds && self.may_be_reached() {
            self.send();
            self.pull();
        }
        self.gathering.forget();
        self.set_outbox_timer();
    }

    fn send(&mut self) {
        let (role, authors) = (self.tabs.role, &self.authors);
        let may = |pending: &Pending| may_send(role, authors, pending);
        let Backend { concurrency, batch, .. } = self.backend;
        let mut ids = Vec::new();
        for id in self.outbox.sendable(self.now.mono_ms, concurrency, batch, may) {
            if self.unsure.contains(&id) {
                continue;
            }
            if self.is_doubtful_whether_sent(id) {
                self.doubt(id);
            } else if self.outbox.get(id).is_some_and(|pending| !self.waits_for_key(pending)) {
                ids.push(id);
            }
        }
        if batch == 1 {
            for id in ids {
                self.push(&[id]);
            }
        } else if !ids.is_empty() {
            self.send_together(&ids);
        }
    }

    /// With a ledger it costs nothing to try. Without one, a call that is not answered may be the end of an operation, so none is
    /// made into the blue.
    fn may_be_reached(&self) -> bool {
        let may = self.backend.idempotent || self.link.is(LinkState::Live) || self.puller.works;
        if !may {
            mark!(NotCalledBlindly);
        }
        may
    }

    fn set_outbox_timer(&mut self) {
        let probe = if let Gate::Network { until_mono_ms } = self.gate { Some(until_mono_ms) } else { None };
        let waiting = self.outbox.deadline(self.now.mono_ms, self.retry.timeout);
        let held = self.looks_until_mono_ms.into_iter().chain(self.trusts_lock_at_mono_ms);
        let limited = self.rate_limit.until(self.now.mono_ms);
        match probe.into_iter().chain(waiting).chain(held).chain(limited).chain(self.next_question()).min() {
            Some(due_mono_ms) => self.timers.set(Timer::Outbox, due_mono_ms),
            None => self.timers.stop(Timer::Outbox),
        }
    }

    /// Makes one call with these operations.
    pub(super) fn push(&mut self, ids: &[OperationId]) {
        self.calls = self.calls.wrapping_add(1);
        self.outbox.mark_call(self.calls, ids, self.now.mono_ms.max(1));
        let pending = ids.iter().filter_map(|id| self.outbox.get(*id));
        // What was decided on a conflict, and by whom, is no concern of the server's.
        let mut operations: Vec<_> = pending.map(|pending| pending.op.for_server()).collect();
        for id in ids {
            self.dirty_operations.insert(*id);
        }
        let lost: Vec<String> = if sabotaged!(LoseOnCrash) {
            operations.iter().map(|op| self.session.operation_key(op.hlc, op.id)).collect()
        } else {
            Vec::new()
        };
        if operations.len() > 1 {
            mark!(SentTogether);
            self.emit(Output::PushAll { call: self.calls, operations });
        } else if let Some(operation) = operations.pop() {
            self.emit(Output::Push { operation });
        }
        for key in lost {
            self.emit(Output::Unpersist { key });
        }
    }

    fn pull(&mut self) {
        if self.gate == Gate::Auth || self.timers.is_set(Timer::Pull) {
            return;
        }
        let Some(Asking { id, keys, page }) = self.puller.begin(self.tables.arrivals(), self.now) else { return };
        let mut pending = Vec::new();
        // The first page tells of the operations; the others are only more rows.
        if page.is_none() {
            // Those asked for first: once the pull has ended without them, they are given up.
            let accepted = self.outbox.iter().filter(|pending| pending.accepted && pending.conflict.is_none());
            let accepted = accepted.map(|pending| pending.op.id);
            pending = self.asked.iter().copied().chain(accepted).take(PULL_KEYS_MAX).collect();
            self.asked_now.clone_from(&self.asked);
        }
        let cursor = if keys.is_some() { None } else { self.puller.cursor.clone() };
        let request = PullRequest { protocol: PROTOCOL, tables: self.tables.names(), cursor, keys, pending, page };
        self.timers.set(Timer::PullTimeout, after(self.now, PULL_TIMEOUT_MS));
        self.emit(Output::Pull(PullCall { id, request }));
    }

    /// What was pulled can't be used as it came; it is asked for again, ever more rarely.
    pub(super) fn pull_later(&mut self) {
        let delay_ms = self.puller.delay_ms(&mut self.random);
        self.timers.set(Timer::Pull, after(self.now, delay_ms));
    }

    pub(super) fn on_pull_failed(&mut self, id: u32, failure: Failure, message: &str) {
        let Some(delay_ms) = self.puller.fail(id, failure, &mut self.random) else { return };
        mark!(PullFailed);
        self.timers.stop(Timer::PullTimeout);
        if !self.tabs.sends() {
            // A follower that nobody tells anything asks again as long as that is so.
            self.tabs.pulls = false;
            self.timers.set(Timer::Boot, after(self.now, delay_ms));
            return;
        }
        self.link.note_pull(false, self.now.wall_ms);
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
        self.awaiting.remove(&answer.id);
        self.outbox.look_up(answer.id, None);
        let delay_ms = asked_ms.max(self.postpone(answer.id));
        mark!(RetryAsked);
        let trouble = (answer.code.clone().unwrap_or_default(), answer.message.clone().unwrap_or_default());
        // The server is there and well; it only could not decide. That is no failed try.
        self.wait(answer.id, delay_ms, tries, trouble);
    }

    pub(super) fn on_push_failed(&mut self, id: OperationId, failure: Failure, message: &str, after_ms: Option<u64>) {
        let sent = self.outbox.get(id).filter(|pending| pending.state == OperationState::Sent);
        // One that is being looked up has failed before.
        let Some(pending) = sent.filter(|pending| pending.lookup.is_none()) else { return };
        let tries = pending.tries;
        if pending.company > 1
            && let Some(pending) = self.outbox.get_mut(id)
        {
            // The others of its call were answered: what is wrong may be that it was one of several.
            pending.company_max = 1;
        }
        let after_ms = after_ms.filter(|_| !sabotaged!(IgnoreRetryAfter)).map(|asked_ms| asked_ms.min(AFTER_MS_MAX));
        let trouble = (failure.code().to_owned(), message.to_owned());
        let is_unanswered = matches!(failure, Failure::Network | Failure::Timeout | Failure::Server | Failure::Unknown);
        let is_idempotent = self.backend.idempotent || sabotaged!(SendAgain);
        if is_unanswered && !is_idempotent {
            self.dirty_operations.insert(id);
            if let Some(pending) = self.outbox.get_mut(id) {
                pending.trouble = Some(trouble.clone());
            }
            self.look_up(id, Why::Unanswered, self.now.mono_ms);
        }
        match failure {
            Failure::Network if sabotaged!(NetworkIsATry) => {
                if tries < self.retry.max_retries {
                    self.wait(id, 0, tries + 1, trouble);
                } else {
                    self.bury(id, trouble);
                }
            }
            Failure::Timeout | Failure::Server | Failure::Unknown if !is_idempotent => {}
            Failure::Network => {
                if is_idempotent {
                    self.wait(id, 0, tries, trouble);
                }
                self.shut_gate();
            }
            Failure::Auth => {
                let delay_ms = self.refuse_token(&[id]);
                self.wait(id, delay_ms, tries, trouble);
                self.close_link(failure, message);
            }
            Failure::RateLimit => {
                mark!(RateLimited);
                // A server that names no wait, or none at all, does not mean that it wants to be asked again at once.
                let asked_ms = after_ms.unwrap_or(0);
                self.rate_limit.note(self.now.mono_ms, asked_ms, &self.retry, &mut self.random);
                let delay_ms = asked_ms.max(self.postpone(id));
                self.wait(id, delay_ms, tries, trouble);
            }
            Failure::Conflict => {
                if let Some(pending) = self.outbox.get_mut(id) {
                    pending.trouble = Some(trouble);
                }
                self.look_up(id, Why::Conflict, self.now.mono_ms);
            }
            // With neither stream nor pulls, it is the server's trouble and not the operation's: that is no try.
            Failure::Timeout | Failure::Server | Failure::Unknown
                if !self.link.is(LinkState::Live) && !self.puller.works =>
            {
                self.puller.want();
                let delay_ms = after_ms.unwrap_or(0).max(self.retry.delay_ms(tries.max(2), &mut self.random));
                self.wait(id, delay_ms, tries, trouble);
            }
            Failure::Timeout | Failure::Server | Failure::Unknown if tries < self.retry.max_retries => {
                if !self.link.is(LinkState::Live) {
                    // Do pulls still work?
                    self.puller.want();
                }
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

    /// The network keeps operations from the server: nothing is sent for a while.
    pub(super) fn shut_gate(&mut self) {
        self.puller.works = false;
        if self.gate == Gate::Open {
            mark!(GateShut);
            let delay_ms = self.retry.delay_ms(self.gate_failures, &mut self.random);
            self.gate_failures = self.gate_failures.saturating_add(1);
            self.gate = Gate::Network { until_mono_ms: after(self.now, delay_ms) };
        }
        // See whether the server can be reached at all: if not, the link is told.
        self.puller.want();
    }

    /// The token of a call was refused. Returns how long its operations wait besides for a fresh one.
    pub(super) fn refuse_token(&mut self, ids: &[OperationId]) -> u64 {
        let mut refusals = 0;
        for id in ids {
            if let Some(pending) = self.outbox.get_mut(*id) {
                pending.token_refusals = pending.token_refusals.saturating_add(1);
                refusals = refusals.max(pending.token_refusals);
            }
        }
        // The first refusal is what happens to every token in the end.
        if refusals > 1 { self.retry.delay_ms(refusals, &mut self.random) } else { 0 }
    }

    /// Returns how long to leave alone a server that asked to be asked later, at least: ever longer, however often it says so.
    pub(super) fn postpone(&mut self, id: OperationId) -> u64 {
        let before = self.outbox.get_mut(id).map_or(0, |pending| {
            let before = pending.postponements.max(pending.tries);
            pending.postponements = pending.postponements.saturating_add(1);
            before
        });
        self.retry.delay_ms(before, &mut self.random)
    }

    pub(super) fn wait(&mut self, id: OperationId, delay_ms: u64, tries: u32, trouble: (String, String)) {
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
        // What the server has decided is not given up by a word that comes late.
        let known = self.outbox.get_mut(id).filter(|pending| pending.state == OperationState::Dead);
        if let Some(pending) =
            known.filter(|pending| pending.trouble.as_ref().is_some_and(|(code, _)| code == GIVEN_UP))
        {
            // The mark in storage does not say why.
            pending.trouble = Some(trouble);
            self.dirty_operations.insert(id);
            return;
        }
        let is_decided =
            |state| matches!(state, OperationState::Dead | OperationState::Conflicted | OperationState::Acknowledged);
        if self.outbox.get(id).is_none_or(|pending| is_decided(pending.state)) {
            return;
        }
        mark!(Buried);
        self.outbox.mark_returned(id, OperationState::Dead);
        self.dirty_operations.insert(id);
        // Where the call itself was turned down, it surely was not done.
        let is_turned_down =
            [Failure::Forbidden, Failure::Invalid, Failure::Gone].iter().any(|it| it.code() == trouble.0);
        if let Some(void) = self.outbox.get(id).filter(|_| is_turned_down).map(Void::of) {
            self.rebase_later(void);
        }
        let Some(pending) = self.outbox.get_mut(id) else { return };
        pending.trouble = Some(trouble.clone());
        let (records, mine) = (pending.records(), pending.mine);
        if self.tabs.sends() {
            // Whoever comes later must not send it again unasked.
            self.emit(Output::PersistMark { key: self.session.dead_key(id) });
        }
        if self.tabs.sends() && self.sends_for(id) {
            self.tell_state(id, OperationState::Dead);
        }
        if mine {
            let mut settlement = super::sync::settlement(id, OperationState::Dead);
            (settlement.code, settlement.message) = Some(trouble).unzip();
            self.emit(Output::Settled(settlement));
        }
        self.recompute_all(&records);
    }
}
