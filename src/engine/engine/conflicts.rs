//! Conflicts: a patch met somebody else's change of the same field. The declared rules decide at once, in the tab that sends,
//! or the patch waits for a person, in every tab. Either way what was decided is an operation like any other.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::Engine;
use super::command::pending;
use super::rebasing::Void;
use super::replacing::flattened;
use crate::engine::audit::AuditEntry;
use crate::engine::error::Error;
use crate::engine::input::Choice;
use crate::engine::mark::mark;
use crate::engine::merge::{Decided, Decision, FieldConflict, conflicts, differing, merged};
use crate::engine::operation::{
    Answer, Operation, OperationId, OperationState, Outcome, PROTOCOL, Settlement, Version, name,
};
use crate::engine::outbox::{Parked, Pending};
use crate::engine::output::{Conflict, Output, Previews};
use crate::engine::record::Record;
use crate::engine::sorted::SortedSet;
use crate::engine::table::RecordId;
use crate::engine::tabs::{Kind, Role};
use crate::engine::value::Fields;

/// How often in a row the rules decide on one change, while others keep changing the same fields; then a person does.
pub const ROUNDS_MAX: u32 = 5;

/// The code of a conflict that ended without an operation: it is left as the server has it.
pub(super) const RESOLVED: &str = "resolved";

/// The code of a decision that came after another one.
const ALREADY_RESOLVED: &str = "already-resolved";

/// What follows from a conflicted answer.
pub(super) enum Met<R> {
    /// It is taken as it is now, perhaps with a decision that others should hear of.
    End(Answer<R>, Option<Decision>),
    /// An operation that decides it is being stored.
    Later,
}

/// What the rules make of a conflict.
struct Ruling {
    set: Fields,
    base: Fields,
    decision: Decision,
}

impl<R: Record> Engine<R> {
    /// Looks whether the rules decide on a conflicted answer.
    pub(super) fn meet(&mut self, answer: Answer<R>) -> Met<R> {
        if self.resolving.iter().any(|(_, known)| known.id == answer.id) {
            return Met::Later;
        }
        let (Some(ruling), Some(version)) = (self.rule_on(&answer), answer.version.clone()) else {
            return Met::End(answer, None);
        };
        if ruling.set.is_empty() {
            mark!(RuleKeptTheirs);
            let decision = Decision { decided: Decided::Server, ..ruling.decision };
            self.note_decision(answer.id, None, (&answer.table, &answer.key), decision.clone());
            let (outcome, code, message, fields) = (Outcome::Confirmed, None, None, vec![]);
            return Met::End(Answer { outcome, code, message, fields, ..answer }, Some(decision));
        }
        let Some(older) = self.outbox.get(answer.id) else { return Met::End(answer, None) };
        let (op, record) = (resolution(&older.op, version, ruling), older.record);
        let id = op.id;
        if let Some(ended) = self.settled.get(id) {
            // Another tab was faster, and its decision has ended already.
            let settlement = ended.settlement.clone();
            self.end_as_decided(&answer, &settlement);
            return Met::Later;
        }
        if self.outbox.contains(id) {
            self.take_resolved(&op, &answer, false);
            return Met::Later;
        }
        mark!(RuleDecided);
        // Nothing is taken in before the decision is stored: what is seen goes from the one straight to the other.
        self.persist(&op);
        self.outbox.insert(Pending { made_here: true, ..pending(op, vec![record], false) });
        self.resolving.push((id, answer));
        Met::Later
    }

    /// Ends an operation in conflict as the one that decides it has ended.
    pub(super) fn end_as_decided(&mut self, answer: &Answer<R>, decided: &Settlement) {
        let settlement = Settlement { id: answer.id, ..decided.clone() };
        let news = self.learn_answer(answer);
        self.remember_settled(vec![(answer.table.clone(), answer.key.clone())], &settlement);
        self.settle(&settlement);
        if self.tabs.sends() {
            self.tell_end(answer.id);
        }
        self.relay(news);
    }

    /// Says what the rules make of a conflict; nothing where a person has to decide.
    fn rule_on(&self, answer: &Answer<R>) -> Option<Ruling> {
        let older = self.outbox.get(answer.id).filter(|older| older.accepted && older.op.name == name::PATCH)?;
        if older.state == OperationState::Conflicted {
            return None;
        }
        let record = answer.record.as_ref()?.as_ref()?;
        let rules = &self.tables.config(self.tables.table_id(&older.op.table)?).merge;
        let theirs = |field: &str| record.field(field).unwrap_or_default();
        let (base, set) = (&older.op.base, &older.op.set);
        let fields = conflicts(base, set, &theirs, &answer.fields, rules);
        let round = older.op.decision.as_ref().map_or(0, |decision| decision.round) + 1;
        if round > ROUNDS_MAX || fields.iter().any(|field| field.merged.is_none()) {
            return None;
        }
        let wanted = merged((base, set), &theirs, &fields, &FieldConflict::suggestion);
        let (set, mut seen) = differing(wanted, &theirs);
        for field in base.keys().filter(|field| !older.op.set.contains_key(field)) {
            seen.insert(field.clone(), theirs(field));
        }
        let decision = Decision { decided: Decided::Auto, by: None, at_ms: self.now.wall_ms, round, fields };
        Some(Ruling { set, base: seen, decision })
    }

    /// Takes the answer for which an operation was made that decides it.
    pub(super) fn take_answered(&mut self, resolution: OperationId) -> Option<Answer<R>> {
        let at = self.resolving.iter().position(|(id, _)| *id == resolution)?;
        Some(self.resolving.remove(at).1)
    }

    /// Takes in an answer together with the operation that decides it.
    pub(super) fn take_resolved(&mut self, op: &Operation, answer: &Answer<R>, is_stored: bool) {
        let news = self.learn_answer(answer);
        self.relay(news);
        self.let_go_of_replaced(op, is_stored, Some(answer.id));
    }

    /// Keeps a patch in conflict until a person decides. It is no longer seen, stays stored, and blocks nothing.
    pub(super) fn park(&mut self, answer: &Answer<R>) {
        let id = answer.id;
        let at_ms = self.now.wall_ms;
        let Some(pending) = self.outbox.get_mut(id).filter(|it| it.state != OperationState::Conflicted) else { return };
        mark!(ConflictParked);
        pending.trouble = answer.code.clone().zip(answer.message.clone());
        let (fields, version) = (answer.fields.clone(), answer.version.clone());
        pending.conflict = Some(Box::new(Parked { fields, version, at_ms }));
        let own = pending.mine.then_some(id);
        let owed = pending.replaced.iter_mut();
        let owed = owed.filter_map(|replaced| std::mem::take(&mut replaced.is_owed).then_some(replaced.id));
        let owed: Vec<OperationId> = own.into_iter().chain(owed).collect();
        let record = pending.record;
        self.outbox.mark_returned(id, OperationState::Conflicted);
        if let Some(void) = self.outbox.get(id).map(Void::of) {
            self.rebase_later(void);
        }
        self.dirty_operations.insert(id);
        self.dirty_conflicts.insert(id);
        for id in owed {
            self.emit(Output::Settled(Settlement {
                code: answer.code.clone(),
                message: answer.message.clone(),
                fields: answer.fields.clone(),
                ..super::sync::settlement(id, OperationState::Conflicted)
            }));
        }
        self.recompute(record);
    }

    /// What waits for a person about a record is shown anew when the record may have changed.
    pub(super) fn look_at_conflicts(&mut self, record: RecordId) {
        for id in self.outbox.conflicted(record) {
            self.dirty_conflicts.insert(id);
        }
    }

    /// Returns a conflict as users see it, as things stand now.
    pub(super) fn conflict(&self, pending: &Pending) -> Option<Conflict> {
        let parked = pending.conflict.as_ref()?;
        let cell = self.tables.cell(pending.record)?;
        let rules = &self.tables.config(cell.table).merge;
        let (op, confirmed) = (&pending.op, cell.confirmed.as_ref());
        let theirs = |field: &str| confirmed.and_then(|record| record.field(field)).unwrap_or_default();
        // The server named the fields of the record as it was then.
        let named: &[String] = if cell.version == parked.version { &parked.fields } else { &[] };
        let mut fields = conflicts(&op.base, &op.set, &theirs, named, rules);
        if fields.is_empty() {
            // The others took their change back, or made ours; there still is a person's change that was not taken.
            let undecided = op.set.iter().filter(|(field, _)| parked.fields.contains(field));
            fields = undecided
                .map(|(field, ours)| {
                    let (base, theirs) = (op.base.get(field).cloned().unwrap_or_default(), theirs(field));
                    let rule = rules.get(field).copied().unwrap_or_default();
                    let merged = rule.merge(&base, ours, &theirs);
                    FieldConflict { field: field.clone(), base, ours: ours.clone(), theirs, rule, merged }
                })
                .collect();
        }
        let previews = Previews {
            local: op.set.clone(),
            server: op.set.keys().map(|field| (field.clone(), theirs(field))).collect(),
            merge: merged((&op.base, &op.set), &theirs, &fields, &FieldConflict::suggestion),
        };
        let (id, table, key) = (op.id, op.table.clone(), op.key.clone());
        let (at_ms, is_gone) = (parked.at_ms, confirmed.is_none());
        Some(Conflict { id, table, key, at_ms, mine: pending.mine, is_gone, fields, previews })
    }

    /// Does what a person decided. Returns the operation that carries it out, where there is anything to do.
    ///
    /// A logout that waits lets it through: it begins nothing new, but ends what the logout waits for. The bound of the outbox holds
    /// for it as for everything else that people do; leaving it to the server needs no room, and is always possible.
    pub(super) fn resolve(&mut self, id: OperationId, choice: Choice) -> Result<Option<OperationId>, Error> {
        let unknown = || Error::UnknownConflict { id: id.to_string() };
        let older = self.outbox.get(id).ok_or_else(unknown)?;
        let conflict = self.conflict(older).ok_or_else(unknown)?;
        let (decided, wanted) = match choice {
            Choice::Server => (Decided::Server, conflict.previews.server),
            Choice::Local => (Decided::Local, conflict.previews.local),
            Choice::Merge => (Decided::Merge, conflict.previews.merge),
            Choice::Fields(given) => {
                let config = &self.tables.config(self.tables.table_id(&conflict.table).ok_or_else(unknown)?);
                config.check_patch(&given)?;
                let is_open =
                    |it: &&FieldConflict| older.op.set.contains_key(&it.field) && !given.contains_key(&it.field);
                if let Some(open) = conflict.fields.iter().find(is_open) {
                    return Err(Error::InvalidOperation(
                        ["a decision field by field must name every field in conflict; it lacks \"", &open.field, "\""]
                            .concat(),
                    ));
                }
                let mut wanted = conflict.previews.merge;
                wanted.extend(given);
                (Decided::Manual, wanted)
            }
        };
        let cell = self.tables.cell(older.record).ok_or_else(unknown)?;
        let theirs = |field: &str| cell.confirmed.as_ref().and_then(|record| record.field(field)).unwrap_or_default();
        let came_of = |it: FieldConflict| {
            let merged = Some(wanted.get(&it.field).cloned().unwrap_or_else(|| it.theirs.clone()));
            FieldConflict { merged, ..it }
        };
        let fields = conflict.fields.into_iter().map(came_of).collect();
        let (by, at_ms) = (Some(self.session.user.clone()), self.now.wall_ms);
        let decision = Decision { decided, by, at_ms, round: 0, fields };
        let (set, base) = differing(wanted, &theirs);
        if set.is_empty() || decided == Decided::Server {
            self.end_conflict(id, Some(decision.clone()));
            let mut message = self.tabs.message(Kind::Settled);
            (message.id, message.outcome) = (Some(id), Some(OperationState::Conflicted));
            (message.code, message.decision) = (Some(RESOLVED.to_owned()), Some(decision));
            self.emit(Output::Broadcast(message));
            return Ok(None);
        }
        if conflict.is_gone {
            return Err(Error::UnknownRecord { table: conflict.table, key: conflict.key });
        }
        self.check_bound()?;
        let (record, base_version, replaces) = (older.record, cell.version.clone(), flattened(&older.op));
        let mut random = [0; 10];
        self.random.fill_bytes(&mut random);
        let hlc = self.clock.mint(self.now);
        let op = Operation {
            protocol: PROTOCOL,
            id: OperationId::new(hlc, random),
            name: name::PATCH.to_owned(),
            table: conflict.table,
            key: conflict.key,
            args: Fields::new(),
            set,
            base,
            base_version,
            hlc,
            tab: self.tabs.id.clone(),
            after: vec![],
            parts: vec![],
            replaces,
            joined: vec![],
            rebased: 0,
            decision: Some(Box::new(decision)),
        };
        let id = op.id;
        self.persist(&op);
        self.outbox.insert(pending(op, vec![record], true));
        Ok(Some(id))
    }

    /// Ends a conflict about which nothing is left to do.
    pub(super) fn end_conflict(&mut self, id: OperationId, decision: Option<Decision>) {
        let Some(older) = self.outbox.get(id) else { return };
        let (table, key) = (older.op.table.clone(), older.op.key.clone());
        if let Some(decision) = decision {
            self.note_decision(id, None, (&table, &key), decision);
        }
        let code = Some(RESOLVED.to_owned());
        self.settle(&Settlement { code, ..super::sync::settlement(id, OperationState::Conflicted) });
    }

    /// Takes note of the decision that an operation carries out.
    pub(super) fn note_decision_of(&mut self, op: &Operation) {
        if let (Some(decision), Some(older)) = (&op.decision, op.replaces.last()) {
            self.note_decision(*older, Some(op.id), (&op.table, &op.key), (**decision).clone());
        }
    }

    /// Takes note of what was lost to somebody else. Nobody decides about a named operation or a transaction: the server's word
    /// stands, for each of its records that somebody else had changed. `named` are the fields that the server named.
    pub(super) fn note_lost(&mut self, pending: &Pending, named: &[String]) {
        if pending.op.name == name::PATCH {
            return;
        }
        let decision =
            |fields| Decision { decided: Decided::Server, by: None, at_ms: self.now.wall_ms, round: 0, fields };
        let mut seen = SortedSet::new();
        let mut entries = Vec::new();
        for (record, step) in pending.changes() {
            // What a later step of the same record found was an earlier one's.
            let Some(cell) = self.tables.cell(record).filter(|_| seen.insert(record)) else { continue };
            let theirs = |field: &str| cell.confirmed.as_ref().and_then(|it| it.field(field)).unwrap_or_default();
            let mut fields = conflicts(step.base, step.set, &theirs, named, &self.tables.config(cell.table).merge);
            for field in &mut fields {
                field.merged = Some(field.theirs.clone());
            }
            if !fields.is_empty() {
                entries.push(AuditEntry::new((pending.op.id, None), (step.table, step.key), decision(fields)));
            }
        }
        if entries.is_empty() {
            // That somebody was faster is true, though no field tells how.
            let place = (&*pending.op.table, &*pending.op.key);
            entries.push(AuditEntry::new((pending.op.id, None), place, decision(vec![])));
        }
        for entry in entries {
            self.note_entry(entry);
        }
    }

    fn note_entry(&mut self, entry: AuditEntry) {
        if self.audit.note(entry.clone()) {
            self.decisions.push(entry);
        }
    }

    pub(super) fn note_decision(
        &mut self,
        operation: OperationId,
        resolution: Option<OperationId>,
        (table, key): (&str, &str),
        decision: Decision,
    ) {
        // Where both sides wanted the same, there was nothing to decide.
        if decision.fields.is_empty() {
            return;
        }
        self.note_entry(AuditEntry::new((operation, resolution), (table, key), decision));
    }

    /// A person decided what another one, or another tab, had decided before: the first decision counts. Only who sends
    /// can say which one was first.
    pub(super) fn is_late_decision(&mut self, op: &Operation) -> bool {
        let is_by_person = op.decision.as_ref().is_some_and(|decision| decision.by.is_some());
        if !is_by_person || self.tabs.role != Role::Leader {
            return false;
        }
        let is_taken = |older: &OperationId| {
            self.settled.contains(*older) || self.outbox.replacing(*older).is_some_and(|newer| newer != op.id)
        };
        op.replaces.last().is_some_and(is_taken)
    }

    /// Refuses a decision that came too late, for all tabs.
    pub(super) fn refuse_late_decision(&mut self, op: &Operation) {
        mark!(LateDecisionRefused);
        let why = "somebody else decided about this conflict before; look at the record, and change it if need be";
        let settlement = Settlement {
            code: Some(ALREADY_RESOLVED.to_owned()),
            message: Some(why.to_owned()),
            ..super::sync::settlement(op.id, OperationState::Cancelled)
        };
        self.remember_settled(vec![(op.table.clone(), op.key.clone())], &settlement);
        self.emit(Output::Unpersist { key: self.session.operation_key(op.hlc, op.id) });
        self.tell_end(op.id);
    }
}

/// Makes the operation that carries out what the rules decided, in the place of the one in conflict: before whatever the
/// person did later. Whoever makes it makes the same one, so that the ledger knows it when two tabs do.
fn resolution(older: &Operation, version: Version, ruling: Ruling) -> Operation {
    let mut random = [0; 10];
    Pcg64Mcg::from_seed(older.id.bytes()).fill_bytes(&mut random);
    Operation {
        protocol: PROTOCOL,
        id: OperationId::new(older.hlc, random),
        name: name::PATCH.to_owned(),
        table: older.table.clone(),
        key: older.key.clone(),
        args: Fields::new(),
        set: ruling.set,
        base: ruling.base,
        base_version: Some(version),
        hlc: older.hlc,
        tab: older.tab.clone(),
        after: vec![],
        parts: vec![],
        replaces: flattened(older),
        joined: vec![],
        rebased: 0,
        decision: Some(Box::new(ruling.decision)),
    }
}
