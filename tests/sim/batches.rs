//! Calls of several operations: what the server makes of them, and how they fail as a whole and in part.

use std::rc::Rc;

use rota_engine::{Answer, Failure, Input, JsonRecord, Operation, OperationId, OperationState, Unanswered};

use crate::faults::Fault;
use crate::oracle::{Mirror, broken, keys};
use crate::server::busy;
use crate::workload::Rate;
use crate::world::{Event, World};

impl World {
    /// They concern different records, and none waits for another: each can be decided for itself.
    pub fn check_call(&self, tab: usize, operations: &[Operation]) {
        let name = &self.tabs[tab].name;
        if !(2..=self.config.batch).contains(&operations.len()) {
            broken!("10", "{name} sends {} operations in a call", operations.len());
        }
        for (at, operation) in operations.iter().enumerate() {
            for other in &operations[..at] {
                let is_shared = operation
                    .steps()
                    .any(|step| other.steps().any(|other| (step.table, step.key) == (other.table, other.key)));
                if is_shared || operation.after.contains(&other.id) || other.after.contains(&operation.id) {
                    broken!("6", "{name} sends {} and {} in one call", other.id, operation.id);
                }
            }
        }
    }

    pub fn on_push_all(&mut self, tab: usize, call: u32, ops: &[Rc<Operation>]) {
        if let Err(failure) = self.reach(tab) {
            return failure.map_or((), |failure| self.call_failed(tab, call, failure));
        }
        if self.happens(Rate::Forbid, Fault::CallForbidden) {
            let failure = self.draw.of(&[Failure::Forbidden, Failure::Invalid, Failure::Gone, Failure::Conflict]);
            return self.call_failed(tab, call, failure);
        }
        if self.declines_batches {
            self.faults.add(Fault::BatchDeclined);
            let delay_ms = self.reply_delay();
            return self.later(delay_ms, Event::Tell { tab, input: Input::CallDeclined { call } });
        }
        let is_lost = self.happens(Rate::ReplyLoss, Fault::ReplyLost);
        let done = if is_lost { self.draw.below(ops.len() as u64 + 1) } else { ops.len() as u64 };
        let (mut answers, mut unanswered) = (Vec::new(), Vec::new());
        for (op, _) in ops.iter().zip(0..done) {
            let answer = self.answer(tab, op);
            if is_lost {
                self.note_lost_reply(op, &answer);
            } else if keys::own(op).next().is_none() && self.happens(Rate::EventBad, Fault::BatchPassedOver) {
                let id = op.id;
                if self.draw.percent(50) {
                    let failure = self.draw.of(&[Failure::Unknown, Failure::Network, Failure::RateLimit]);
                    let after_ms = (failure == Failure::RateLimit).then(|| self.draw.below(2_000));
                    unanswered.push(Unanswered { id, failure, message: "not this one".to_owned(), after_ms });
                }
            } else {
                answers.push(answer);
            }
        }
        if is_lost {
            self.faults.add(Fault::BatchCut);
            if self.draw.percent(60) {
                let failure = self.draw.of(&[Failure::Network, Failure::Network, Failure::Server, Failure::Timeout]);
                self.call_failed(tab, call, failure);
            }
            return self.spread();
        }
        let copies = 1 + u32::from(self.happens(Rate::ReplyRepeat, Fault::ReplyRepeated));
        let mut first_ms = u64::MAX;
        for _ in 0..copies {
            let delay_ms = self.reply_delay();
            first_ms = first_ms.min(delay_ms);
            let (answers, unanswered) = (answers.clone(), unanswered.clone());
            self.later(delay_ms, Event::Tell { tab, input: Input::CallAnswered { call, answers, unanswered } });
        }
        self.spread_around(first_ms);
    }

    /// What the server says of one of them.
    fn answer(&mut self, tab: usize, op: &Operation) -> Answer<JsonRecord> {
        if self.happens(Rate::Busy, Fault::ServerBusy) {
            let after_ms = 50 + self.draw.below(2_000);
            return busy(op, after_ms);
        }
        let answer = self.decide(tab, op);
        self.spoil(tab, op, answer)
    }

    fn call_failed(&mut self, tab: usize, call: u32, failure: Failure) {
        self.faults.add(Fault::BatchFailed);
        let after_ms = self.patience(failure);
        let message = "the call failed".to_owned();
        let delay_ms = self.reply_delay();
        self.later(delay_ms, Event::Tell { tab, input: Input::CallFailed { call, failure, message, after_ms } });
    }

    /// What the laws need to know of what is told of a call of several.
    pub fn note_call(&mut self, tab: usize, input: &Input<JsonRecord>) {
        let mono_ms = self.mono_ms;
        let mirror = &mut self.tabs[tab].mirror;
        let waits = |mirror: &Mirror, id: OperationId, call: u32| {
            mirror.state_of(id) == Some(OperationState::Sent) && mirror.call_of.get(&id) == Some(&(u64::from(call)))
        };
        let failed: Vec<(OperationId, Failure, Option<u64>)> = match input {
            Input::CallFailed { call, failure, after_ms, .. } => {
                let of_it = mirror.shown.iter().map(|shown| shown.id).filter(|id| waits(mirror, *id, *call));
                of_it.map(|id| (id, *failure, *after_ms)).collect()
            }
            Input::CallAnswered { call, unanswered, .. } => {
                let of_it = unanswered.iter().filter(|one| waits(mirror, one.id, *call));
                of_it.map(|one| (one.id, one.failure, one.after_ms)).collect()
            }
            _ => return,
        };
        for (id, failure, after_ms) in failed {
            mirror.is_paused |= failure == Failure::Auth;
            if let (Failure::RateLimit, Some(after_ms)) = (failure, after_ms) {
                mirror.not_before.insert(id, mono_ms + after_ms);
            }
        }
    }
}

/// Counts the calls that are on their way.
pub fn calls_under_way(mirror: &Mirror) -> usize {
    let sent = mirror.shown.iter().filter(|shown| shown.state == OperationState::Sent);
    let mut calls: Vec<Option<u64>> = sent.map(|shown| mirror.call_of.get(&shown.id).copied()).collect();
    let strangers = calls.iter().filter(|call| call.is_none()).count();
    calls.sort_unstable();
    calls.dedup();
    calls.iter().flatten().count() + strangers
}
