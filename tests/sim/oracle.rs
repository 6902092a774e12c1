//! What must always hold, decided without a look into the engine: from the inputs a tab was given, the outputs it made, the
//! server's own books, and the description in `PROTOCOL.md`. A broken law is a panic whose message begins with its number.

mod folding;
mod joined;
pub mod keys;
pub mod own;
mod presence;
mod pulls;
pub mod unanswered;
mod views;

use std::rc::Rc;

use rota_engine::{
    CONCURRENCY, Changes, Fields, JsonRecord, Operation, OperationId, OperationState, OperationView, Outcome, Record,
    Role, Settlement, Status, TOMBSTONES_MAX, Value,
};

use crate::batches::calls_under_way;
use crate::server::{Decision, Key, LARGE, Server, TABLES, number};
use crate::shell::is_of_rules;
use crate::{FastMap, FastSet};
use presence::{Heard, Truth};
use pulls::Parts;
pub use pulls::{Before, check_ends, is_in};
use views::Watchers;

/// Stops the run: a law is broken.
macro_rules! broken {
    ($law:literal, $($what:tt)+) => { panic!(concat!("law ", $law, ": {}"), format_args!($($what)+)) };
}
pub(crate) use broken;

/// An operation that some tab made.
pub struct Made {
    pub op: Rc<Operation>,
    /// The same, put onto what was beneath operations that ended without effect.
    pub rebased: Vec<Rc<Operation>>,
    /// The operations of its records that its author saw, itself included.
    pub seen: Vec<OperationId>,
    pub browser: usize,
    pub user: usize,
    pub tab: usize,
    /// When its tab was opened.
    pub born_ms: u64,
    /// When it was made.
    pub made_ms: u64,
    pub storage_key: String,
    /// Storage refused it, or its tab died before the person was told that it was taken.
    pub is_rejected: bool,
    /// A fault took the last copy that outlives a tab, or there never was one: it may be lost.
    pub may_be_lost: bool,
    /// A fault brought back an entry that had been deleted.
    pub is_resurrected: bool,
    pub is_cancel_asked: bool,
    /// It was undone by itself, with nothing done in its place: what it was joined with stays.
    pub is_undone: bool,
    /// The tab that decided that it is cancelled.
    pub cancelled_by: Option<usize>,
    /// Somebody chose what the server has, in a conflict about it.
    pub is_left: bool,
    /// It was given up at some time: its last try may have been done all the same.
    pub was_dead: bool,
    /// The tabs that sent it.
    pub sent_by: Vec<usize>,
}

impl Made {
    /// Somebody wanted it not to happen.
    pub const fn is_unwanted(&self) -> bool {
        self.is_cancel_asked || self.is_undone
    }
}

/// A pending operation as one tab knows it.
pub struct Shown {
    pub id: OperationId,
    /// The record of each of its steps.
    pub keys: Vec<Key>,
    /// The key that the record of its insert turned out to have.
    pub own_key: Option<String>,
    /// With the real keys, where this tab has been told them.
    pub op: Rc<Operation>,
    pub state: OperationState,
    pub is_doubtful: bool,
    /// Not only since the step under way.
    pub is_known: bool,
}

impl Shown {
    pub fn concerns(&self, key: Key) -> bool {
        self.keys.contains(&key)
    }

    /// What was given up, or waits for a person, is not to be seen.
    pub fn is_seen(&self) -> bool {
        !matches!(self.state, OperationState::Dead | OperationState::Conflicted)
    }
}

/// Everything that one tab's subscribers know, from its change lists alone, and what the tab was told.
#[derive(Default)]
pub struct Mirror {
    pub records: Vec<Option<JsonRecord>>,
    versions: Vec<u64>,
    /// Pending operations in their order.
    pub shown: Vec<Shown>,
    pub status: Option<Status>,
    pub settled: FastMap<OperationId, OperationState>,
    /// Records that the step under way has to do with.
    pub touched: Vec<Key>,
    pub pushed: Vec<OperationId>,
    /// The call that each operation went with last, and how many went alone.
    pub call_of: FastMap<OperationId, u64>,
    pub singles: u64,
    /// Operations that ended as confirmed in this step.
    confirmed: Vec<OperationId>,
    /// Operations that ended in this step without having happened.
    ended_in_vain: Vec<OperationId>,
    /// The cursor that was asked from in this step.
    pub asked_from: Option<String>,
    /// A refused token was heard of, and no fresh one since.
    pub is_paused: bool,
    /// The server's word on when to come again.
    /// Rows kept from the last visit, which a whole answer that is older than they are makes gone.
    pub cached: FastSet<(Key, u64)>,
    pub not_before: FastMap<OperationId, u64>,
    /// The highest epoch that this tab has heard or spoken of.
    pub epoch: u64,
    pub notified: u32,
    /// Several operations were answered within the step under way.
    pub is_told_much: bool,
    /// Storage was read within the step under way, and may have shown something by itself.
    pub has_looked: bool,
    pub handled: u32,
    /// When the tab was opened.
    pub born_ms: u64,
    /// The live lists that are open.
    pub lists: Watchers,
    /// Since when it leads, if it does.
    pub leads_since_ms: Option<u64>,
    /// What its pulls cover.
    pub parts: Parts,
    /// How operations have ended, as this tab told it.
    ended: FastMap<OperationId, OperationState>,
    /// Its person has logged out here, and dropped nothing.
    pub waits_to_leave: bool,
    /// Who is where, as it was told and as it shows it.
    pub heard: Heard,
    /// What this tab has said that temporary keys turned out to be.
    pub renamed: FastMap<String, String>,
    /// Temporary keys that it has stored the real ones of.
    pub kept_keys: FastSet<String>,
    /// Temporary keys that it has deleted from storage in this step, and inserts under such.
    pub dropped_keys: Vec<String>,
    pub dropped_inserts: Vec<OperationId>,
    /// The inserts that ended as confirmed in this step.
    pub confirmed_inserts: Vec<OperationId>,
    /// Without a ledger: operations whose entries were deleted in this step though the server has not decided.
    pub ended_by_record: Vec<OperationId>,
}

impl Mirror {
    /// The version in which this tab had a record when it was last checked.
    pub fn version(&self, key: Key) -> u64 {
        self.versions.get(key).copied().unwrap_or(0)
    }

    /// Making an engine counts as its first input.
    pub fn of_new_tab(born_ms: u64) -> Self {
        Self { handled: 1, born_ms, ..Self::default() }
    }

    pub fn role(&self) -> Role {
        self.status.as_ref().map_or(Role::Follower, |status| status.role)
    }

    pub fn record(&self, key: Key) -> Option<&JsonRecord> {
        self.records.get(key).and_then(Option::as_ref)
    }

    fn fit(&mut self, count: usize) {
        if self.records.len() < count {
            self.records.resize(count, None);
            self.versions.resize(count, 0);
        }
    }

    pub fn state_of(&self, id: OperationId) -> Option<OperationState> {
        self.shown.iter().find(|shown| shown.id == id).map(|shown| shown.state)
    }
}

#[derive(Default)]
pub struct Oracle {
    pub made: FastMap<OperationId, Made>,
    /// In the order in which they were made.
    pub order: Vec<OperationId>,
    /// Operations of which a tab of the release before hears that they are done without what they did: it knows no acknowledgements.
    pub unread: FastSet<OperationId>,
    /// When somebody last logged out, or was about to, by browser and user: what their tabs of before made may be dropped.
    pub logouts: FastMap<(usize, usize), u64>,
    /// When somebody was last logged out by a tab of theirs, in the same way.
    pub left: FastMap<(usize, usize), u64>,
    /// Browsers whose clock was set back: there a tab may take an earlier logout for a later one.
    pub set_back: FastSet<usize>,
    /// Who stands for an operation: what joined it, or decided on its conflict.
    pub newer: FastMap<OperationId, Vec<OperationId>>,
    /// Versions whose large column was filled in from an earlier one, by some tab of a browser and user.
    pub filled: FastSet<(usize, usize, Key, u64)>,
    /// Who is really where.
    pub truth: Truth,
    /// Without a ledger: operations that some tab has ended by what their records say.
    pub looked_up: FastSet<OperationId>,
}

/// A tab, as far as the oracle needs to know it.
pub struct Who<'a> {
    pub tab: usize,
    pub browser: usize,
    pub user: usize,
    pub name: &'a str,
}

impl Oracle {
    fn made(&self, id: OperationId) -> &Made {
        let Some(made) = self.made.get(&id) else { broken!("5", "nobody made operation {id}") };
        made
    }

    /// Takes note of an operation. Storage may be asked a second time for the same one, when there was no room.
    pub fn make(&mut self, tab: usize, made: Made) {
        let id = made.op.id;
        joined::check(self, &made.op);
        if made.op.rebased > 0 {
            return self.rebase(made);
        }
        if let Some(before) = self.made.get_mut(&id) {
            if before.op != made.op && !is_of_rules(&made.op) || (before.tab != tab && !is_of_rules(&made.op)) {
                broken!("14", "two operations have the id {id}");
            }
            before.may_be_lost &= made.may_be_lost;
            return;
        }
        for older in &made.op.replaces {
            self.newer.entry(*older).or_default().push(id);
        }
        self.order.push(id);
        self.made.insert(id, made);
    }

    /// Only what an operation is based on may change, and which of the patches that were joined are left, and only before it is sent.
    fn rebase(&mut self, made: Made) {
        let Some(before) = self.made.get_mut(&made.op.id) else {
            broken!("5", "nobody made {}, which is put onto another base", made.op.id)
        };
        if !before.sent_by.is_empty() {
            broken!("5", "{} is put onto another base, and was sent", made.op.id);
        }
        let parts = |op: &Operation| -> Vec<(String, Fields)> {
            op.steps().map(|step| (step.name.to_owned(), step.args.clone())).collect()
        };
        let rest = |op: &Operation| (op.hlc, op.tab.clone(), op.replaces.clone(), op.after.len(), parts(op));
        let is_another = made.op.joined.is_empty() && !made.op.set.keys().eq(before.op.set.keys());
        if is_another || rest(&made.op) != rest(&before.op) {
            broken!("5", "{} became {:?}", before.op.id, made.op);
        }
        before.rebased.push(made.op);
    }

    /// Walks over an operation and all that stand for it.
    pub fn standing_for(&self, id: OperationId) -> impl Iterator<Item = OperationId> {
        self.newer.get(&id).into_iter().flatten().copied().chain([id])
    }

    /// True for what somebody took back, and for that of which nothing is left: each patch that was joined into it was undone.
    fn is_wholly_taken_back(&self, id: OperationId) -> bool {
        let made = self.made(id);
        let mut parts = made.op.joined.iter().filter(|joined| !joined.set.is_empty());
        let is_nothing_left =
            if made.op.joined.is_empty() { made.is_undone } else { parts.all(|joined| self.made(joined.id).is_undone) };
        made.is_cancel_asked || is_nothing_left
    }

    /// True for what was taken back, alone or with all that it was joined with.
    pub fn is_taken_back(&self, id: OperationId) -> bool {
        self.made(id).is_undone || self.standing_for(id).any(|id| self.is_wholly_taken_back(id))
    }

    /// True when the server has decided so about an operation, or about one that stands for it.
    fn is_decided(&self, server: &Server, id: OperationId, outcome: Outcome) -> bool {
        let is_it = |id: OperationId| {
            server.ledger.get(&id).is_some_and(|it| it.answer.outcome == outcome || it.earlier.contains(&outcome))
        };
        self.standing_for(id).any(is_it)
    }

    /// True when the server called it a conflict, and the record was already as the patch would have made it.
    fn is_agreed(&self, server: &Server, id: OperationId) -> bool {
        self.standing_for(id).any(|id| {
            let Some(decision) = server.ledger.get(&id) else { return false };
            let record = decision.answer.record.as_ref().and_then(Option::as_ref);
            // Or the person had left the field as it was.
            let is_so = |record: &JsonRecord| {
                let op = &decision.op;
                op.set.iter().all(|(field, value)| {
                    let there = record.field(field).unwrap_or_default();
                    there == *value || op.base.get(field) == Some(value) || has_news(&there, value, op.base.get(field))
                })
            };
            decision.answer.outcome == Outcome::Conflicted && decision.op.name == "patch" && record.is_some_and(is_so)
        })
    }

    /// True when an operation, or one that stands for it, depends on something that will never happen.
    pub fn is_doomed(&self, server: &Server, id: OperationId) -> bool {
        let will_not_be = |needed: &OperationId| {
            self.is_decided(server, *needed, Outcome::Refused)
                || self.is_decided(server, *needed, Outcome::Conflicted)
                || self.is_taken_back(*needed)
                || self.is_late_decision(*needed)
                || self.is_dropped(*needed)
                || self.may_stay_nameless(server, *needed)
                || self.is_doomed(server, *needed)
        };
        self.standing_for(id).any(|id| self.made(id).op.after.iter().any(will_not_be))
    }

    /// True for what may be dropped because its author has logged out since the tab was opened. Who comes back loses nothing more.
    pub fn is_dropped(&self, id: OperationId) -> bool {
        let made = self.made(id);
        let is_before = |at_ms: &u64| made.born_ms <= *at_ms || self.set_back.contains(&made.browser);
        self.logouts.get(&(made.browser, made.user)).is_some_and(is_before)
    }

    /// True for a decision of a person's when there is another one on the same conflict.
    pub fn is_late_decision(&self, id: OperationId) -> bool {
        let made = self.made(id);
        let has_other = |older: &OperationId| {
            // The conflict may also have been left as it was, of which the server is not told.
            self.made(*older).is_left || self.newer.get(older).is_some_and(|newer| newer.len() > 1)
        };
        made.op.decision.is_some() && made.op.replaces.iter().any(has_other)
    }

    // ---- what a tab tells its subscribers

    pub fn on_notify(&mut self, server: &mut Server, who: &Who, mirror: &mut Mirror, changes: Changes<JsonRecord>) {
        mirror.notified += 1;
        if mirror.notified > mirror.handled {
            broken!("12", "{} told its subscribers twice of one input", who.name);
        }
        let mut released = Vec::new();
        for change in changes.records {
            let key = server.key(TABLES[change.table], &change.key);
            mirror.lists.on_record(key, &change);
            released.extend(change.released.then_some(change.id));
            if change.released && change.record.is_some() {
                broken!("12", "{} gave the number of a record back that is seen", who.name);
            }
            mirror.fit(server.known.len());
            mirror.records[key] = change.record;
            mirror.touched.push(key);
        }
        mirror.lists.hear(who, &changes.views, &mirror.records);
        for id in released {
            mirror.lists.on_released(id);
        }
        mirror.rename(server, who, changes.renamed);
        for view in changes.operations {
            self.on_view(server, who, mirror, &view);
        }
        if let Some(peers) = changes.presence {
            if mirror.heard.shown == peers {
                broken!("12", "{} tells of people of whom nothing has changed", who.name);
            }
            mirror.heard.shown = peers;
        }
        if changes.status.is_some() {
            mirror.status = changes.status;
        }
    }

    fn on_view(&mut self, server: &mut Server, who: &Who, mirror: &mut Mirror, view: &OperationView) {
        let made = self.made(view.id);
        if made.user != who.user || made.browser != who.browser {
            broken!("13", "{} shows operation {} of another user or browser", who.name, view.id);
        }
        if made.is_rejected {
            broken!("5", "{} shows operation {} although it was not stored", who.name, view.id);
        }
        if view.mine != (made.tab == who.tab && !is_of_rules(&made.op)) {
            broken!("5", "{} is wrong about whose operation {} is", who.name, view.id);
        }
        let shown = mirror.shown_as(server, &made.op, view.state, view.doubtful);
        mirror.touched.extend(&shown.keys);
        let place = mirror.shown.iter().position(|shown| shown.id == view.id);
        if let Some(newer) = view.replaced_by {
            if !self.made(newer).op.replaces.contains(&view.id) {
                broken!("5", "{} says that {newer} stands for {}, which it does not name", who.name, view.id);
            }
            if let Some(place) = place {
                mirror.shown.remove(place);
            }
            return;
        }
        // A patch in conflict is kept until somebody decides.
        let is_parked = view.state == OperationState::Conflicted
            && view.name == "patch"
            && view.code.as_deref() != Some("resolved");
        match view.state {
            OperationState::Conflicted if !is_parked => self.on_left(server, who, mirror, view, place),
            OperationState::Queued
            | OperationState::Sent
            | OperationState::Acknowledged
            | OperationState::Conflicted
            | OperationState::Dead => {
                if is_parked && !self.is_decided(server, view.id, Outcome::Conflicted) {
                    broken!("5", "{} says that {} is in conflict, the server does not", who.name, view.id);
                }
                if view.state == OperationState::Acknowledged && !self.is_decided(server, view.id, Outcome::Confirmed) {
                    broken!("5", "{} says that {} is done, the server does not", who.name, view.id);
                }
                if view.state == OperationState::Dead
                    && let Some(made) = self.made.get_mut(&view.id)
                {
                    made.was_dead = true;
                }
                if view.state == OperationState::Dead && view.code.as_deref() == Some("network") {
                    broken!("5", "{} gave {} up because of the network", who.name, view.id);
                }
                match place {
                    Some(place) => mirror.shown[place] = Shown { is_known: mirror.shown[place].is_known, ..shown },
                    None => {
                        let order = |op: &Operation| (op.hlc, op.tab.clone(), op.id);
                        let at = mirror.shown.partition_point(|other| order(&other.op) < order(&shown.op));
                        mirror.shown.insert(at, shown);
                    }
                }
            }
            _ => self.on_left(server, who, mirror, view, place),
        }
    }

    /// Who logs out and drops nothing loses nothing, unless another tab of theirs does.
    fn must_not_drop(&self, who: &Who, mirror: &Mirror, id: OperationId, code: Option<&str>) {
        let is_own = self.left.get(&(who.browser, who.user)).is_none_or(|at_ms| *at_ms < mirror.born_ms);
        if code == Some("signed-out") && mirror.waits_to_leave && is_own {
            broken!("13", "{} drops {id} at a logout that was to drop nothing", who.name);
        }
    }

    fn note_end(&mut self, who: &Who, id: OperationId, end: OperationState) {
        if end == OperationState::Cancelled
            && let Some(made) = self.made.get_mut(&id)
        {
            made.cancelled_by.get_or_insert(who.tab);
        }
    }

    /// What a tab has sent itself it does not call cancelled when the server has done it, whichever came first; and who made an operation
    /// and has stayed is told how it ended, unless nothing was left of it.
    pub fn check_told(&self, server: &Server, id: OperationId, name: &str, told: OperationState) {
        let made = self.made(id);
        let is_done = server.ledger.get(&id).is_some_and(|decision| decision.answer.outcome == Outcome::Confirmed);
        let by_sender = made.cancelled_by.is_some_and(|tab| made.sent_by.contains(&tab));
        let is_excused = made.was_dead || made.is_resurrected;
        if told == OperationState::Cancelled && is_done && by_sender && !is_excused && !self.is_dropped(id) {
            broken!("5", "{name} was told that {id} is cancelled, and the server has done it");
        }
        // Without a ledger it may be that nobody can know.
        let may_be_unknown = server.keeps_no_ledger || self.is_dropped(id) || made.may_be_lost;
        if told == OperationState::Unknown && !may_be_unknown {
            broken!("5", "{name} was never told how {id} ended, which was stored");
        }
    }

    /// An operation has left the list.
    fn on_left(&mut self, server: &Server, who: &Who, mirror: &mut Mirror, view: &OperationView, place: Option<usize>) {
        if view.state == OperationState::Confirmed {
            mirror.confirmed.push(view.id);
            if keys::own(&self.made(view.id).op).next().is_some() {
                mirror.confirmed_inserts.push(view.id);
            }
        } else if view.state != OperationState::Unknown {
            mirror.ended_in_vain.push(view.id);
        }
        self.must_not_drop(who, mirror, view.id, view.code.as_deref());
        let was_dead = place.is_some_and(|place| mirror.shown[place].state == OperationState::Dead);
        if let Some(place) = place {
            mirror.shown.remove(place);
        }
        // What nobody knows of has not ended: it may turn up.
        if view.state != OperationState::Unknown || view.code.is_some() {
            mirror.ended.insert(view.id, view.state);
        }
        self.note_end(who, view.id, view.state);
        self.on_end(server, who, view.id, (view.state, view.code.as_deref()), was_dead);
    }

    /// An end must be true.
    fn on_end(
        &self,
        server: &Server,
        who: &Who,
        id: OperationId,
        (end, code): (OperationState, Option<&str>),
        was_dead: bool,
    ) {
        let decision = server.ledger.get(&id).map(|decision| decision.answer.outcome);
        let made = self.made(id);
        let is_true = match (end, code) {
            (OperationState::Cancelled | OperationState::Unknown, Some("signed-out")) => self.is_dropped(id),
            (OperationState::Cancelled, Some("already-resolved")) => {
                self.standing_for(id).any(|id| self.is_late_decision(id))
            }
            (
                OperationState::Refused | OperationState::Cancelled,
                Some("dependency-refused" | "dependency-cancelled"),
            ) if decision != Some(Outcome::Confirmed) => self.is_doomed(server, id),
            (OperationState::Confirmed, _) => {
                self.is_decided(server, id, Outcome::Confirmed)
                    || self.is_agreed(server, id)
                    || self.reads_as_done(server, id)
            }
            (OperationState::Unknown, Some("unanswered")) => server.keeps_no_ledger,
            (OperationState::Refused, _) => self.is_decided(server, id, Outcome::Refused),
            (OperationState::Conflicted, _) => self.is_decided(server, id, Outcome::Conflicted),
            // A tab knows what it sent itself. What an earlier leader sent and told nobody of it may cancel in vain, and what was
            // given up may have been done all the same.
            (OperationState::Cancelled, _) => {
                let could_know = made.cancelled_by == Some(who.tab)
                    && made.sent_by.contains(&who.tab)
                    && !was_dead
                    && !made.is_resurrected;
                // So may what depends on it.
                let is_asked = self.is_taken_back(id);
                (is_asked || (code == Some("dependency-cancelled") && self.is_doomed(server, id)))
                    && (decision != Some(Outcome::Confirmed) || !could_know)
            }
            _ => true,
        };
        if !is_true {
            broken!("5", "{} says that {id} ended as {}, the server says {decision:?}", who.name, end.name());
        }
    }

    pub fn on_settled(&mut self, server: &Server, who: &Who, mirror: &mut Mirror, settlement: &Settlement) {
        let id = settlement.id;
        if self.made(id).tab != who.tab {
            broken!("5", "{} was told how {id} ended, which it did not make", who.name);
        }
        let before = mirror.settled.insert(id, settlement.outcome);
        if before.is_some_and(|before| before != OperationState::Dead) {
            broken!("5", "{} was told twice how {id} ended", who.name);
        }
        let was_dead = before == Some(OperationState::Dead);
        self.must_not_drop(who, mirror, id, settlement.code.as_deref());
        self.note_end(who, id, settlement.outcome);
        self.on_end(server, who, id, (settlement.outcome, settlement.code.as_deref()), was_dead);
    }

    // ---- storage

    pub fn on_unpersist(&mut self, server: &Server, who: &Who, mirror: &mut Mirror, key: &str, prefix: &str) {
        if !key.starts_with(prefix) {
            broken!("13", "{} deletes {key}, which is not its own", who.name);
        }
        if !key.contains(":op:") {
            return;
        }
        let id = key.get(key.len().saturating_sub(36)..).and_then(OperationId::parse);
        let Some((id, made)) = id.and_then(|id| Some((id, self.made.get(&id)?))) else {
            broken!("10", "{} deletes the entry {key}, which no operation of today's form wrote", who.name)
        };
        let is_replaced = self.newer.contains_key(&id);
        let is_over = self.is_dropped(id)
            || server.ledger.contains_key(&id)
            || made.is_unwanted()
            || self.is_wholly_taken_back(id)
            || self.is_doomed(server, id);
        if server.keeps_no_ledger && !is_over {
            // The record decides, and whatever it says is the end: see `check_looked_up`.
            self.looked_up.insert(id);
            mirror.ended_by_record.push(id);
            return;
        }
        if !is_over && !is_replaced && !self.is_late_decision(id) {
            broken!("5", "{} deletes the entry of {id}, of which the server has not decided", who.name);
        }
    }

    // ---- sending

    pub fn on_push(&mut self, tab: usize, id: OperationId) {
        if let Some(made) = self.made.get_mut(&id) {
            made.sent_by.push(tab);
        }
    }

    fn check_pushes(&self, who: &Who, mirror: &Mirror, mono_ms: u64) {
        for id in &mirror.pushed {
            let made = self.made(*id);
            if made.user != who.user {
                broken!("13", "{} sends {id}, which another user made", who.name);
            }
            if made.is_rejected {
                broken!("5", "{} sends {id}, which was not stored", who.name);
            }
            // What a fault brings back to storage may be done after all.
            if let Some(end) = mirror.ended.get(id).filter(|_| !made.is_resurrected) {
                broken!("5", "{} sends {id}, which it has told as {}", who.name, end.name());
            }
            if mirror.not_before.get(id).is_some_and(|not_before| mono_ms < *not_before) {
                broken!("5", "{} sends {id} before the time that the server asked for", who.name);
            }
            let Some(at) = mirror.shown.iter().position(|shown| shown.id == *id) else { continue };
            let earlier = mirror.shown[..at].iter().find(|shown| {
                shown.keys.iter().any(|key| mirror.shown[at].concerns(*key))
                    && matches!(shown.state, OperationState::Queued | OperationState::Sent)
            });
            if let Some(earlier) = earlier {
                broken!("6", "{} sends {id} before {}, which is earlier", who.name, earlier.id);
            }
        }
        if mirror.role() != Role::Follower {
            let calls = calls_under_way(mirror);
            if calls > CONCURRENCY {
                broken!("10", "{} has {calls} calls on their way", who.name);
            }
        }
    }

    /// What depends on something that never happens ends with it, unless the server may have it.
    fn check_cascade(&self, who: &Who, mirror: &mut Mirror) {
        for id in std::mem::take(&mut mirror.ended_in_vain) {
            let is_left = |shown: &&Shown| {
                let sent = self.made(shown.id).sent_by.len();
                // What goes out in this very step was not on its way before.
                let is_waiting = match shown.state {
                    OperationState::Queued => sent == 0,
                    OperationState::Sent => sent == mirror.pushed.iter().filter(|id| **id == shown.id).count(),
                    _ => false,
                };
                is_waiting && shown.op.after.contains(&id)
            };
            if let Some(left) = mirror.shown.iter().find(is_left) {
                broken!("6", "{} keeps {}, which depends on {id}, which has ended in vain", who.name, left.id);
            }
        }
    }

    /// What an operation did is seen from the moment on when it is no longer pending.
    fn check_confirmed(&self, server: &Server, who: &Who, mirror: &mut Mirror, tab: &dyn Tab) {
        for id in std::mem::take(&mut mirror.confirmed) {
            if self.unread.contains(&id) {
                continue;
            }
            let op = &self.made(id).op;
            let answered =
                server.ledger.get(&id).and_then(|decision| decision.answer.version.as_ref()).map_or(0, number);
            for key in keys::records_of(server, op) {
                let known = &server.known[key];
                let wrote = known.history.iter().find(|stand| stand.op == Some(id)).map_or(0, |stand| stand.version);
                let done = if op.parts.is_empty() { answered } else { wrote };
                let version = tab.version(known.table, &known.key).unwrap_or(0);
                let is_hidden = known.ever_hidden & (1 << who.user) != 0;
                let visible = tab.visible(known.table, &known.key);
                if version < done && !is_hidden && visible != folding::over_nothing(self, mirror, key) {
                    broken!(
                        "3",
                        "{} no longer shows {id} as pending, nor what it did to {}: version {version}, not {done}",
                        who.name,
                        known.key
                    );
                }
            }
        }
    }

    // ---- after every step

    pub fn check(&self, server: &Server, who: &Who, mirror: &mut Mirror, tab: &dyn Tab, mono_ms: u64, full: bool) {
        mirror.fit(server.known.len());
        self.check_pushes(who, mirror, mono_ms);
        check_cursor(server, who, mirror, tab);
        self.check_confirmed(server, who, mirror, tab);
        self.check_cascade(who, mirror);
        unanswered::check_looked_up(who, mirror);
        let mut touched = std::mem::take(&mut mirror.touched);
        let (mut least, mut most) = (0, 0);
        if full {
            touched.clear();
            touched.extend(0..server.known.len());
        } else {
            touched.sort_unstable();
            touched.dedup();
        }
        let mut done: Vec<Key> = Vec::new();
        for key in &touched {
            if done.contains(key) {
                continue;
            }
            let together = folding::sharing(mirror, *key);
            let parts: Vec<folding::Part> =
                together.iter().map(|key| self.look_at(server, who, mirror, tab, *key)).collect();
            let Some((low, high)) = folding::explain(self, server, mirror, &parts) else {
                folding::fail(server, who, mirror, &parts)
            };
            (least, most) = (least + low, most + high);
            if together.len() > 1 {
                done.extend(together);
            }
        }
        if full && !(least..=most).contains(&tab.held()) {
            broken!("12", "{} holds {} records instead of {least} to {most}", who.name, tab.held());
        }
        if let Some(status) = &mirror.status {
            let dead = mirror.shown.iter().filter(|shown| shown.state == OperationState::Dead).count();
            let conflicts = mirror.shown.iter().filter(|shown| shown.state == OperationState::Conflicted).count();
            let unsent = mirror.shown.len() - dead - conflicts;
            if (status.unsent, status.dead, status.conflicts) != (unsent, dead, conflicts) {
                broken!(
                    "12",
                    "{} says {} unsent, {} dead and {} in conflict, and tells of {unsent}, {dead} and {conflicts}",
                    who.name,
                    status.unsent,
                    status.dead,
                    status.conflicts
                );
            }
        }
        mirror.lists.check(server, who, &mirror.records, full);
        touched.clear();
        mirror.touched = touched;
        mirror.pushed.clear();
        (mirror.asked_from, mirror.has_looked, mirror.is_told_much) = (None, false, false);
    }

    /// Looks at one record: what is seen of it, and what may be confirmed of it.
    fn look_at(&self, server: &Server, who: &Who, mirror: &mut Mirror, tab: &dyn Tab, key: Key) -> folding::Part {
        let known = &server.known[key];
        let visible = tab.visible(known.table, &known.key);
        if mirror.records[key] != visible {
            broken!(
                "12",
                "{}: the change lists told another story of {}: {:?}, not {visible:?}",
                who.name,
                known.key,
                mirror.records[key]
            );
        }
        let version = tab.version(known.table, &known.key);
        let is_forgotten = version.is_none() && server.ended > TOMBSTONES_MAX;
        if version.unwrap_or(0) < mirror.versions[key] && !is_forgotten {
            broken!(
                "4",
                "{}: the version of {} went from {} back to {version:?}",
                who.name,
                known.key,
                mirror.versions[key]
            );
        }
        mirror.versions[key] = version.unwrap_or(0);
        if let Some(record) = &visible
            && !keys::is_key_of(record, &known.key)
        {
            broken!("2", "{} shows {record:?} under {}", who.name, known.key);
        }
        let stand = version.filter(|version| *version > 0).map(|version| {
            known.at(version).unwrap_or_else(|| {
                broken!("4", "{} knows a version {version} of {} that never was", who.name, known.key)
            })
        });
        let mut stands: Vec<Option<JsonRecord>> = Vec::new();
        let mut consider = |confirmed: Option<JsonRecord>| {
            if !stands.contains(&confirmed) {
                stands.push(confirmed);
            }
        };
        let confirmed = stand.and_then(|stand| stand.record.clone());
        let is_filled = confirmed.is_some()
            && version.is_some_and(|version| self.filled.contains(&(who.browser, who.user, key, version)));
        // A record can be gone from sight without a new version, and a whole pull does not name what it does not bring.
        let may_be_gone = known.ever_hidden & (1 << who.user) != 0
            || version.is_some_and(|version| mirror.cached.contains(&(key, version)))
            || known.history.iter().rev().any(|later| Some(later.version) > version && later.record.is_none());
        consider(confirmed.clone());
        if may_be_gone {
            consider(None);
        }
        if let Some(record) = confirmed.filter(|_| is_filled) {
            for earlier in known.history.iter().filter(|earlier| Some(earlier.version) < version) {
                let large = earlier.record.as_ref().and_then(|record| record.field(LARGE));
                if let Some(large) = large {
                    consider(Some(record.patched(&Fields::from([(LARGE.to_owned(), large)]))));
                }
            }
        }
        folding::Part { key, visible, stands, version: version.unwrap_or(0) }
    }
}

/// A cursor may be asked from only when everything before it is known.
fn check_cursor(server: &Server, who: &Who, mirror: &Mirror, tab: &dyn Tab) {
    let Some(position) = mirror.asked_from.as_deref().and_then(|cursor| server.position(cursor)) else { return };
    for known in &server.known {
        if known.ever_hidden & (1 << who.user) != 0 {
            continue;
        }
        let Some(stand) = known.history.iter().rev().find(|stand| stand.xid < position) else { continue };
        let version = tab.version(known.table, &known.key).unwrap_or(0);
        if version >= stand.version {
            continue;
        }
        // The end of a record may be known without its version, or be looked up right now; that it comes is checked in the end.
        let ended = known.history.iter().any(|later| later.version >= stand.version && later.record.is_none());
        if !ended {
            let name = &known.key;
            broken!("8", "{} stands past version {} of {name}, and knows {version}", who.name, stand.version);
        }
    }
}

/// True for a list that has everything that another one has more than their base.
fn has_news(list: &Value, of: &Value, base: Option<&Value>) -> bool {
    let is_old = |value: &Value| matches!(base, Some(Value::List(base)) if base.contains(value));
    matches!((list, of), (Value::List(list), Value::List(of)) if of.iter().all(|value| list.contains(value) || is_old(value)))
}

/// What the oracle may ask of an engine: what any user may.
pub trait Tab {
    fn visible(&self, table: usize, key: &str) -> Option<JsonRecord>;
    fn version(&self, table: usize, key: &str) -> Option<u64>;
    fn held(&self) -> usize;
}

/// Nothing has an effect twice, and the ledger has the operation that was made.
pub fn check_decision(oracle: &Oracle, server: &Server, made: &Made, decision: &Decision) {
    if decision.effects > 1 {
        broken!("5", "{} had its effect {} times", made.op.id, decision.effects);
    }
    // What was decided on a conflict is no concern of the server's.
    let is_it = |op: &Rc<Operation>| {
        Operation { decision: None, rebased: 0, joined: vec![], ..keys::as_sent(server, op) } == decision.op
    };
    // Without a ledger a key that was given may stay unknown, and an insert that was never stored may have been known to nobody but
    // its author: what names it finds no such record.
    let may_be_unheard = |from: &String| keys::maker(from).is_some_and(|id| oracle.made(id).may_be_lost);
    let unknown = keys::named(&decision.op);
    let is_nameless = !unknown.is_empty() && (server.keeps_no_ledger || unknown.iter().all(may_be_unheard));
    if !is_it(&made.op) && !made.rebased.iter().any(is_it) && !is_nameless {
        broken!("5", "{} reached the server as {:?}, and was made as {:?}", made.op.id, decision.op, made.op);
    }
}
