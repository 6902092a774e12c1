//! Operations that go to the server together: what is free to go when the running task is over, in as few calls as may be. They concern
//! different records and do not depend on each other, so each has its own answer, tries and end. A call of several that fails as a whole
//! says nothing of any one of them.

use super::Engine;
use crate::engine::input::Unanswered;
use crate::engine::link::LinkState;
use crate::engine::mark::mark;
use crate::engine::operation::{Answer, Operation, OperationId, OperationState};
use crate::engine::outbox::Pending;
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::retry::{AFTER_MS_MAX, Failure};
use crate::engine::sorted::sort_by;
use crate::engine::value::Fields;

/// How many operations one call may hold; the server kit takes no more.
pub const BATCH_MAX: usize = 100;

/// How much they may hold together, in bytes of text, roughly. The server kit takes twice as much of a single one, which goes alone.
const BATCH_BYTES_MAX: usize = 500_000;

/// What else an operation says about itself, in bytes.
const FRAME_BYTES: usize = 500;

/// Whether the running task may still want more sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Gathering {
    #[default]
    No,
    /// The shell was asked to say when it is over.
    Asked,
    /// It has just said so.
    Done,
}

impl Gathering {
    /// What it has said counts for one look at the outbox.
    pub(super) fn forget(&mut self) {
        if *self == Self::Done {
            *self = Self::No;
        }
    }
}

impl<R: Record> Engine<R> {
    /// Sends these in as few calls as may be, once whatever the running task wants sent is here.
    pub(super) fn send_together(&mut self, ids: &[OperationId]) {
        match self.gathering {
            Gathering::Asked => return,
            Gathering::No => {
                self.gathering = Gathering::Asked;
                self.emit(Output::Gather);
                return;
            }
            Gathering::Done => {}
        }
        let room = self.outbox.room(self.backend.concurrency, self.backend.batch);
        for call in self.calls_of(ids).into_iter().take(room) {
            self.push(&call);
        }
    }

    /// In a call they are in the order of their records: of two that concern some of the same ones, the later waits for the earlier, and
    /// never each for the other.
    fn calls_of(&self, ids: &[OperationId]) -> Vec<Vec<OperationId>> {
        let mut calls: Vec<Vec<&Pending>> = Vec::new();
        let (mut bytes, mut len_max) = (0, 0);
        for pending in ids.iter().filter_map(|id| self.outbox.get(*id)) {
            let (more, company_max) = (bytes_of(&pending.op), self.company_max(pending));
            match calls.last_mut() {
                Some(call) if call.len() < company_max.min(len_max) && bytes + more <= BATCH_BYTES_MAX => {
                    call.push(pending);
                    (bytes, len_max) = (bytes + more, len_max.min(company_max));
                }
                _ => {
                    calls.push(vec![pending]);
                    (bytes, len_max) = (more, company_max);
                }
            }
        }
        let in_order = |mut call: Vec<&Pending>| {
            sort_by(&mut call, |one, other| (&one.op.table, &one.op.key).cmp(&(&other.op.table, &other.op.key)));
            call.iter().map(|pending| pending.op.id).collect()
        };
        calls.into_iter().map(in_order).collect()
    }

    /// Returns how many may go in one call with an operation.
    fn company_max(&self, pending: &Pending) -> usize {
        let table = self.tables.cell(pending.record).map(|cell| self.tables.config(cell.table));
        let is_self_contained = table.is_none_or(|table| self.rules.is_self_contained(table));
        if pending.parts.is_empty() && is_self_contained { pending.company_max.min(self.backend.batch) } else { 1 }
    }

    /// Takes in the answers to a call of several.
    pub(super) fn on_call_answered(&mut self, call: u32, answers: Vec<Answer<R>>, unanswered: Vec<Unanswered>) {
        let mut passed_over = self.outbox.of_call(call);
        passed_over.retain(|id| answers.iter().all(|answer| answer.id != *id));
        for answer in answers {
            self.on_answer(answer);
        }
        for Unanswered { id, failure, message, after_ms } in unanswered {
            // What was sent again since has another call to wait for.
            if passed_over.contains(&id) {
                passed_over.retain(|other| *other != id);
                self.on_push_failed(id, failure, &message, after_ms);
            }
        }
        for id in passed_over {
            mark!(PassedOver);
            self.on_push_failed(
                id,
                Failure::Unknown,
                "the server answered others of the same call, and not this one",
                None,
            );
        }
    }

    /// A call has failed. Of one that held a single operation, that is what became of it; of one that held several, nobody knows whose fault it
    /// was: no try is counted, and they go again in halves, until the one that is to blame goes alone.
    pub(super) fn on_call_failed(&mut self, call: u32, failure: Failure, message: &str, after_ms: Option<u64>) {
        let ids = self.outbox.of_call(call);
        let Some(pending) = ids.first().and_then(|id| self.outbox.get(*id)) else { return };
        let (company, tries) = (pending.company, pending.tries);
        if company <= 1 {
            for id in ids {
                self.on_push_failed(id, failure, message, after_ms);
            }
            return;
        }
        mark!(CallOfSeveralFailed);
        // A server that was not reached, or let nobody in, has not even looked at it.
        let is_unseen = match failure {
            Failure::Auth | Failure::RateLimit => true,
            Failure::Network => !self.link.is(LinkState::Live),
            _ => false,
        };
        if !is_unseen {
            for id in &ids {
                if let Some(pending) = self.outbox.get_mut(*id) {
                    pending.company_max = (company / 2).max(1);
                }
            }
        }
        let asked_ms = after_ms.unwrap_or(0).min(AFTER_MS_MAX);
        // One delay for all, so that they go together again.
        let delay_ms = match failure {
            Failure::Network => {
                self.shut_gate();
                0
            }
            Failure::Auth => self.refuse_token(&ids),
            Failure::RateLimit => {
                mark!(RateLimited);
                self.rate_limit.note(self.now.mono_ms, asked_ms, &self.retry, &mut self.random);
                let postponed_ms = ids.iter().map(|id| self.postpone(*id)).max().unwrap_or(0);
                asked_ms.max(postponed_ms)
            }
            Failure::Timeout | Failure::Server | Failure::Unknown => {
                let is_live = self.link.is(LinkState::Live);
                if !is_live {
                    self.puller.want();
                }
                let tries = if is_live || self.puller.works { tries } else { tries.max(2) };
                asked_ms.max(self.retry.delay_ms(tries, &mut self.random))
            }
            Failure::Conflict | Failure::Forbidden | Failure::Invalid | Failure::Gone => 0,
        };
        for id in ids {
            let tries = self.outbox.get(id).map_or(0, |pending| pending.tries);
            self.wait(id, delay_ms, tries, (failure.code().to_owned(), message.to_owned()));
        }
        if failure == Failure::Auth {
            self.close_link(failure, message);
        }
    }

    /// The server takes one operation a call: from now on they go so.
    pub(super) fn on_call_declined(&mut self, call: u32) {
        mark!(CallDeclined);
        self.backend.batch = 1;
        for id in self.outbox.of_call(call) {
            self.outbox.mark_returned(id, OperationState::Queued);
            self.dirty_operations.insert(id);
        }
    }
}

fn bytes_of(op: &Operation) -> usize {
    let fields = |fields: &Fields| fields.iter().map(|(name, value)| name.len() + value.bytes()).sum::<usize>();
    let steps =
        op.steps().map(|step| step.key.len() + fields(step.args) + fields(step.set) + fields(step.base) + FRAME_BYTES);
    steps.sum::<usize>() + (op.after.len() + op.replaces.len()) * 40
}
