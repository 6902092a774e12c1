//! Operations that depend on others: they wait for these, and end with them when these will never happen.

use super::Engine;
use crate::engine::alias::inserts_named;
use crate::engine::error::Error;
use crate::engine::mark::mark;
use crate::engine::operation::{Operation, OperationId, OperationState, Settlement};
use crate::engine::outbox::Pending;
use crate::engine::record::Record;
use crate::engine::sabotage::sabotaged;
use crate::engine::sorted::SortedSet;

/// How many operations a command may name in `after`.
pub const AFTER_MAX: usize = 100;

impl<R: Record> Engine<R> {
    /// Returns what a command depends on that is still to come, in the ids that stand for it now.
    pub(super) fn dependencies(&self, named: &[OperationId]) -> Result<Vec<OperationId>, Error> {
        if named.len() > AFTER_MAX {
            return Err(Error::InvalidOperation(format!("an operation can depend on at most {AFTER_MAX} others")));
        }
        let mut after = Vec::new();
        for named in named {
            let id = self.outbox.replacing(*named).unwrap_or(*named);
            let whole = self.outbox.get(id).filter(|pending| pending.accepted && !pending.op.leaves_out(*named));
            if let Some(whole) = whole {
                // One that was joined may be taken back by itself.
                let is_joined = whole.op.joined.iter().any(|joined| joined.id == *named);
                for id in [id].into_iter().chain(is_joined.then_some(*named)) {
                    if !after.contains(&id) {
                        after.push(id);
                    }
                }
                continue;
            }
            match self.settled.get(*named).or_else(|| self.settled.get(id)).map(|ended| ended.settlement.outcome) {
                Some(OperationState::Confirmed) => {}
                Some(state) => return Err(Error::DependencyEnded { id: named.to_string(), state: state.name() }),
                None => return Err(Error::UnknownDependency { id: named.to_string() }),
            }
        }
        Ok(after)
    }

    /// Ends what depends on an operation that is about to end without having happened. In the same step, and before it: whoever
    /// dies in between leaves the one that others depend on, and not them alone.
    pub(super) fn end_dependants(&mut self, settlement: &Settlement) {
        // Whether the record is there nobody knows; what names it by its temporary key can never be sent.
        let is_nameless = settlement.outcome == OperationState::Unknown;
        if sabotaged!(SkipCascade) {
            return;
        }
        let Some(outcome) = of_dependant(settlement.outcome).or(is_nameless.then_some(OperationState::Refused)) else {
            return;
        };
        let Some(pending) = self.outbox.get(settlement.id) else { return };
        let mut doomed = self.outbox.doomed(pending.op.id, &pending.op.replaces);
        if is_nameless {
            let nameless = self.nameless(&doomed, settlement.id);
            doomed.retain(|id| nameless.contains(id));
        }
        for id in doomed.into_iter().rev() {
            self.end_dependant(id, outcome, settlement.id);
        }
    }

    /// The same for one that was taken back out of those that it was joined with.
    pub(super) fn end_dependants_of_part(&mut self, part: OperationId) {
        if sabotaged!(SkipCascade) {
            return;
        }
        for id in self.outbox.doomed(part, &[]).into_iter().rev() {
            self.end_dependant(id, OperationState::Cancelled, part);
        }
    }

    /// Returns those that name a record by its temporary key, and what depends on these, in whatever way.
    fn nameless(&self, doomed: &[OperationId], insert: OperationId) -> SortedSet<OperationId> {
        let mut nameless = SortedSet::new();
        loop {
            let before = nameless.len();
            for id in doomed {
                let Some(Pending { op, .. }) = self.outbox.get(*id) else { continue };
                if inserts_named(op).contains(&insert) || op.after.iter().any(|needed| nameless.contains(needed)) {
                    nameless.insert(*id);
                }
            }
            if nameless.len() == before {
                break;
            }
        }
        if !nameless.is_empty() {
            mark!(NamelessEnded);
        }
        nameless
    }

    fn end_dependant(&mut self, id: OperationId, outcome: OperationState, needed: OperationId) {
        mark!(DependantEnded);
        let (code, what) = match outcome {
            OperationState::Cancelled => ("dependency-cancelled", "was taken back"),
            _ => ("dependency-refused", "was not done"),
        };
        let message = ["operation ", &needed.to_string(), ", which it depends on, ", what].concat();
        self.end(&Settlement {
            code: Some(code.to_owned()),
            message: Some(message),
            ..super::sync::settlement(id, outcome)
        });
        if self.tabs.sends() {
            self.tell_end(id);
        }
    }

    /// Ends an operation that came late, when what it depends on has ended already without having happened.
    pub(super) fn end_if_doomed(&mut self, op: &Operation) {
        for needed in &op.after {
            let ended = self.settled.get(*needed).and_then(|ended| of_dependant(ended.settlement.outcome));
            let Some(outcome) = ended else { continue };
            for id in self.outbox.doomed(op.id, &op.replaces).into_iter().rev() {
                self.end_dependant(id, outcome, *needed);
            }
            self.end_dependant(op.id, outcome, *needed);
            return;
        }
    }
}

/// How that ends which depends on an operation with this end; `None` when it goes on.
const fn of_dependant(outcome: OperationState) -> Option<OperationState> {
    match outcome {
        OperationState::Refused | OperationState::Conflicted => Some(OperationState::Refused),
        OperationState::Cancelled => Some(OperationState::Cancelled),
        OperationState::Queued
        | OperationState::Sent
        | OperationState::Acknowledged
        | OperationState::Confirmed
        | OperationState::Dead
        | OperationState::Unknown => None,
    }
}
