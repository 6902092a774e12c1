//! A server that keeps no ledger: whatever may have arrived is at most once done, and what nobody can tell ends as unknown.

use rota_engine::{Operation, OperationId, Record};

use super::{Mirror, Oracle, Who, broken, keys};
use crate::server::Server;

impl Oracle {
    /// True when some record of every step was as the operation makes it: without a ledger, that counts as its proof.
    pub fn reads_as_done(&self, server: &Server, id: OperationId) -> bool {
        self.standing_for(id).any(|id| {
            let made = self.made(id);
            let op = keys::as_sent(server, &made.op);
            let steps: Vec<_> = op.steps().collect();
            server.keeps_no_ledger
                && steps.iter().enumerate().all(|(at, step)| {
                    let is_last =
                        !steps[at + 1..].iter().any(|later| (later.table, later.key) == (step.table, step.key));
                    let Some(key) = server.find(step.table, step.key) else { return step.name == "delete" };
                    let history = &server.known[key].history;
                    // Of what the person may not see nobody can tell that it is still there.
                    let was_hidden = server.known[key].ever_hidden & (1 << made.user) != 0;
                    let is_it = |record: &rota_engine::JsonRecord| {
                        step.set.iter().all(|(field, value)| record.field(field).unwrap_or_default() == *value)
                    };
                    !is_last
                        || match step.name {
                            "delete" => {
                                was_hidden || history.is_empty() || history.iter().any(|stand| stand.record.is_none())
                            }
                            _ => history.iter().filter_map(|stand| stand.record.as_ref()).any(is_it),
                        }
                })
        })
    }

    /// Nobody knows whether the record of a temporary key is there once its insert has ended as unknown: what names it can't be sent.
    pub fn may_stay_nameless(&self, server: &Server, needed: OperationId) -> bool {
        server.keeps_no_ledger && keys::own(&self.made(needed).op).next().is_some()
    }
}

/// What has no entry any more has ended.
pub fn check_looked_up(who: &Who, mirror: &mut Mirror) {
    for id in std::mem::take(&mut mirror.ended_by_record) {
        if let Some(state) = mirror.state_of(id) {
            broken!("5", "{} deletes the entry of {id}, which is {}", who.name, state.name());
        }
    }
}

/// What was done is not sent again.
pub fn check_sending(server: &Server, op: &Operation) {
    if server.keeps_no_ledger && server.ledger.get(&op.id).is_some_and(|before| before.effects > 0) {
        broken!("5", "{} was sent again to a server that keeps no ledger, and had been done", op.id);
    }
}
