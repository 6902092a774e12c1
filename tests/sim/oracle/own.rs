//! Nobody loses against themselves: where nobody else has changed a record, no operation of a person ends as conflicted.

use rota_engine::{Operation, OperationId};

use super::{Mirror, Oracle, broken};
use crate::server::{Known, Server, number};
use crate::shell::is_of_rules;

/// Checks that a conflict is with somebody else. What an earlier leader may have sent keeps what it is based on, whatever became of that; and tabs
/// without locks, each of which sends its own, may not hear of each other's ends in time.
pub fn check_conflict(oracle: &Oracle, server: &Server, sender: &Mirror, op: &Operation) {
    let made = oracle.made(op.id);
    let was_made_under_it = sender.leads_since_ms.is_some_and(|since_ms| since_ms < made.made_ms);
    // A deletion that undoes an insert expects what this tab, and no other, has made of the record.
    let is_other_matter = is_of_rules(op) || made.op.decision.is_some() || op.steps().any(|step| step.name == "delete");
    if !was_made_under_it || is_other_matter || made.is_resurrected || server.keeps_no_ledger {
        return;
    }
    // What was given up may have been done, and was not seen; what was cancelled may have come back; and a leader of the release before sends
    // what follows a transaction that it can't read before that.
    let is_sure = |id: &OperationId| {
        let made = oracle.made(*id);
        let is_over = |id: OperationId| server.ledger.contains_key(&id) || oracle.made(id).is_unwanted();
        oracle.standing_for(*id).any(is_over)
            && !made.was_dead
            && !made.is_resurrected
            && !made.may_be_lost
            && (!made.is_unwanted() || !is_done(server, *id))
    };
    if !made.seen.iter().all(is_sure) {
        return;
    }
    let is_own = |(step, version): (rota_engine::Step<'_>, &Option<rota_engine::Version>)| {
        let Some(key) = server.find(step.table, step.key) else { return false };
        let known: &Known = &server.known[key];
        // What lay beneath the person's own changes they did not see: others may have changed it before, too.
        let seen = made.seen.iter().flat_map(|id| stands(&oracle.made(*id).op));
        let beneath =
            seen.filter(|(seen, _)| (seen.table, seen.key) == (step.table, step.key)).map(|(_, version)| version);
        let from = beneath.chain([version]).map(|version| version.as_ref().map_or(0, number)).min().unwrap_or_default();
        let is_filled = oracle.filled.iter().any(|(_, _, of, _)| *of == key);
        let later = known.history.iter().filter(|stand| stand.version > from);
        let is_ours = |id: OperationId| made.seen.contains(&id);
        known.ever_hidden == 0 && !is_filled && later.into_iter().all(|stand| stand.op.is_some_and(is_ours))
    };
    if stands(op).all(is_own) {
        broken!("5", "{} conflicts with nothing that anybody else did: {op:?}", op.id);
    }
}

fn is_done(server: &Server, id: OperationId) -> bool {
    server.ledger.get(&id).is_some_and(|decision| decision.answer.outcome == rota_engine::Outcome::Confirmed)
}

/// The steps of an operation, each with the version that it was made on.
fn stands(op: &Operation) -> impl Iterator<Item = (rota_engine::Step<'_>, &Option<rota_engine::Version>)> {
    let alone = op.parts.is_empty().then_some(&op.base_version);
    op.steps().zip(alone.into_iter().chain(op.parts.iter().map(|part| &part.base_version)))
}
