//! One tab: an engine, and a shell that performs what it asks for as the one for browsers does.

use std::rc::Rc;

use rota_engine::{
    Config, Content, Domains, Durability, Engine, Error, Failure, FoundEntry, Input, JsonRecord, Kind, Now, Operation,
    OperationId, OperationState, Outcome, Output, Reach, Role, Row, Stored, StoredOperation, TabMessage,
};

use crate::browser::{Change, Write};
use crate::faults::Fault;
use crate::oracle::{Before, Made, Mirror, Tab as Asked, Who, broken, check_ends};
use crate::server::{TABLES, number};
use crate::workload::USERS;
use crate::world::{Event, World};

/// Milliseconds from one place to another, when nothing is slow.
pub const HOP_MS: u64 = 5;

pub struct Tab {
    pub engine: Engine<JsonRecord>,
    pub browser: usize,
    pub user: usize,
    pub name: String,
    pub is_alive: bool,
    pub is_closed: bool,
    /// Its page is about to be frozen: it has no channel.
    pub rests: bool,
    /// While it is frozen: what waits for it.
    pub backlog: Option<Vec<Input<JsonRecord>>>,
    /// After how many outputs more it crashes.
    pub crash_in: Option<u32>,
    pub link: Option<u32>,
    pub is_subscribed: bool,
    pub is_half_open: bool,
    /// It speaks as the release before.
    pub is_old: bool,
    pub born_ms: u64,
    pub mirror: Mirror,
    pub checks: u64,
}

impl Asked for Engine<JsonRecord> {
    fn visible(&self, table: usize, key: &str) -> Option<JsonRecord> {
        Self::visible(self, TABLES[table], key)
    }

    fn version(&self, table: usize, key: &str) -> Option<u64> {
        Self::version(self, TABLES[table], key).as_ref().map(number)
    }

    fn held(&self) -> usize {
        self.stats().records
    }
}

/// No plan has so many leaders.
const EPOCHS_MAX: u64 = 1_000;

/// No plan takes a hundredth of this.
const INPUTS_MAX: u64 = 200_000;

/// After how many steps of a tab everything is checked, and not only what the step touched.
const FULL_CHECK: u64 = 24;

impl World {
    pub fn open_tab(&mut self, browser: usize, user: usize) -> usize {
        let tab_protocol = self.draw.percent(u64::from(self.old_tabs_percent)).then_some(1);
        if tab_protocol.is_some() {
            self.faults.add(Fault::MixedProtocols);
        }
        let config = Config { user: USERS[user].to_owned(), tab_protocol, ..self.config.clone() };
        let mut seed = [0; 16];
        self.draw.fill(&mut seed);
        let index = self.tabs.len();
        let born_ms = self.mono_ms;
        let now = self.now_of(browser, born_ms);
        let engine = Engine::new(config, Box::new(Domains), seed, now).expect("the configuration works");
        self.tabs.push(Tab {
            engine,
            browser,
            user,
            name: format!("tab {index} ({} in browser {browser})", USERS[user]),
            is_alive: true,
            is_closed: false,
            rests: false,
            backlog: None,
            crash_in: None,
            link: None,
            is_subscribed: false,
            is_half_open: false,
            is_old: tab_protocol.is_some(),
            born_ms,
            mirror: Mirror::of_new_tab(born_ms),
            checks: 0,
        });
        self.oracle.truth.on_open(self.tabs[index].engine.tab(), browser, user);
        self.trace.note(self.mono_ms, || format!("tab {index} opens in browser {browser} for {}", USERS[user]));
        let place = &self.browsers[browser];
        let durability = match (place.has_local, place.has_database) {
            (true, true) => Durability::Full,
            (false, true) => Durability::Async,
            (true, false) => Durability::Tab,
            (false, false) => Durability::Memory,
        };
        let (has_database, has_local, has_channel) = (place.has_database, place.has_local, place.has_channel);
        if !has_database {
            self.faults.add(if has_local { Fault::NoDatabase } else { Fault::NoStorage });
        }
        self.tell(index, Input::StorageProbed { durability });
        if !has_channel {
            self.tell(index, Input::ChannelProbed { reach: Reach::Alone });
        }
        index
    }

    pub fn living(&self) -> Vec<usize> {
        (0..self.tabs.len()).filter(|tab| self.tabs[*tab].is_alive).collect()
    }

    /// The tab is gone at once: no farewell, and nothing under way comes back to it.
    pub fn kill_tab(&mut self, tab: usize) {
        if !self.tabs[tab].is_alive {
            return;
        }
        let (browser, user) = (self.tabs[tab].browser, self.tabs[tab].user);
        self.trace.note(self.mono_ms, || format!("tab {tab} is gone"));
        (self.tabs[tab].is_alive, self.tabs[tab].link, self.tabs[tab].backlog) = (false, None, None);
        self.release(tab, browser, user);
        if self.draw.percent(50) && self.browsers[browser].abort_writes_of(tab) > 0 {
            self.faults.add(Fault::NotCommitted);
            self.note_losses(browser, true);
        }
    }

    pub fn release(&mut self, tab: usize, browser: usize, user: usize) {
        let lock = &mut self.browsers[browser].locks[user];
        lock.queue.retain(|waiting| *waiting != tab);
        if lock.holder == Some(tab) {
            lock.holder = None;
        }
        self.later(HOP_MS, Event::Grant { browser, user });
    }

    /// A fault took something from storage: what no copy is left of may be lost; what is back may be done though it was cancelled.
    pub fn note_losses(&mut self, browser: usize, may_resurrect: bool) {
        let place = &self.browsers[browser];
        for made in self.oracle.made.values_mut().filter(|made| made.browser == browser) {
            let is_there = place.holds(&made.storage_key);
            made.may_be_lost |= !is_there;
            made.is_resurrected |= is_there && may_resurrect;
        }
    }

    // ---- inputs

    /// Tells a tab something that happened; a frozen one hears of it later.
    pub fn tell(&mut self, tab: usize, input: Input<JsonRecord>) {
        if !self.tabs[tab].is_alive {
            return;
        }
        match &mut self.tabs[tab].backlog {
            Some(backlog) => backlog.push(input),
            None => drop(self.feed(tab, input)),
        }
    }

    /// Gives a tab an input, performs what it asks for, and checks the laws.
    pub fn feed(&mut self, tab: usize, input: Input<JsonRecord>) -> Result<Option<OperationId>, Error> {
        self.inputs += 1;
        if self.inputs > INPUTS_MAX {
            broken!("10", "the tabs never come to rest: {INPUTS_MAX} inputs");
        }
        let stale = self.stale_word(tab, &input);
        self.note_input(tab, &input);
        let part = self.before_part(tab, &input);
        let expected = expected_version(&input).filter(|_| self.tabs[tab].mirror.role() != Role::Follower);
        let result = self.handle(tab, input);
        if !self.drain(tab) {
            return result;
        }
        let since = |tab: &Tab| tab.mirror.status.as_ref().map(|status| status.link.since_ms);
        if let Some(before) = part.as_ref().filter(|_| !self.tabs[tab].is_closed) {
            let Tab { mirror, browser, user, name, .. } = &self.tabs[tab];
            let who = Who { tab, browser: *browser, user: *user, name };
            check_ends(&self.server, &who, mirror, before);
        }
        if stale.is_some() && since(&self.tabs[tab]) == stale {
            broken!("4", "{} takes the word of a leader whose epoch is over", self.tabs[tab].name);
        }
        if let Some((row, table)) = expected.filter(|_| !self.tabs[tab].is_closed)
            && self.tabs[tab].engine.version(&table, &row.0).is_none_or(|known| number(&known) < row.1)
        {
            broken!("7", "{} was told version {} of {} and does not know it", self.tabs[tab].name, row.1, row.0);
        }
        self.check(tab, false);
        result
    }

    fn before_part(&mut self, tab: usize, input: &Input<JsonRecord>) -> Option<Before> {
        let Input::Pulled(pulled) = input else { return None };
        let Mirror { parts, records, shown, .. } = &mut self.tabs[tab].mirror;
        parts.before(records, shown, pulled)
    }

    /// The same without the laws, where there are so many inputs that they would take too long.
    pub fn feed_unchecked(&mut self, tab: usize, input: Input<JsonRecord>) -> Result<Option<OperationId>, Error> {
        let result = self.handle(tab, input);
        self.drain(tab);
        result
    }

    fn handle(&mut self, tab: usize, input: Input<JsonRecord>) -> Result<Option<OperationId>, Error> {
        self.trace.input(self.mono_ms, tab, &input);
        let now = self.now(tab);
        self.tabs[tab].mirror.handled += 1;
        self.tabs[tab].engine.handle(input, now)
    }

    pub fn now(&self, tab: usize) -> Now {
        self.now_of(self.tabs[tab].browser, self.tabs[tab].born_ms)
    }

    /// What the laws need to know of what a tab is told.
    fn note_input(&mut self, tab: usize, input: &Input<JsonRecord>) {
        let mono_ms = self.mono_ms;
        if let Input::RecordsFound { rows } = input {
            for row in rows {
                let key = self.server.key(&row.table, &row.key);
                self.tabs[tab].mirror.cached.insert((key, number(&row.version)));
            }
        }
        let peers = match input {
            Input::PresenceHeard { peers } => Some(peers),
            Input::TabMessageReceived(message) => message.peers.as_ref(),
            _ => None,
        };
        if let Some(peers) = peers {
            self.tabs[tab].mirror.heard.on_words(peers, mono_ms);
        }
        if let Input::TabMessageReceived(message) = input {
            self.note_snapshot(tab, message);
        }
        if let Input::CallFailed { .. } | Input::CallAnswered { .. } = input {
            self.tabs[tab].mirror.is_told_much = true;
            self.note_call(tab, input);
        }
        let Tab { mirror, link, .. } = &mut self.tabs[tab];
        let sends = mirror.role() != Role::Follower;
        let answers = match input {
            Input::Answered { answer } => std::slice::from_ref(answer),
            Input::CallAnswered { answers, .. } => answers,
            _ => &[],
        };
        for answer in answers.iter().filter(|answer| answer.outcome == Outcome::Retry) {
            if mirror.state_of(answer.id) == Some(OperationState::Sent)
                && let Some(after_ms) = answer.after_ms
            {
                mirror.not_before.insert(answer.id, mono_ms + after_ms);
            }
        }
        match input {
            Input::PushFailed { id, failure, after_ms, .. } => {
                let is_sent = mirror.state_of(*id) == Some(OperationState::Sent);
                mirror.is_paused |= sends && is_sent && *failure == Failure::Auth;
                if is_sent
                    && *failure == Failure::RateLimit
                    && let Some(after_ms) = after_ms
                {
                    mirror.not_before.insert(*id, mono_ms + after_ms);
                }
            }
            Input::LinkClosed { attempt, failure: Failure::Auth, .. } => {
                mirror.is_paused |= sends && *link == Some(*attempt);
            }
            Input::TokenRefreshed | Input::LockGranted | Input::LockLost | Input::NoLocks => mirror.is_paused = false,
            // Another tab was given a fresh one.
            Input::TabMessageReceived(message) if sends && message.kind == Kind::Token => mirror.is_paused = false,
            Input::Retry { id } => drop(mirror.not_before.remove(id)),
            _ => {}
        }
    }

    /// Returns what an old leader says of the link, where that is news to a follower.
    fn stale_word(&self, tab: usize, input: &Input<JsonRecord>) -> Option<u64> {
        let Input::TabMessageReceived(message) = input else { return None };
        let Tab { mirror, .. } = &self.tabs[tab];
        let known = mirror.status.as_ref().map(|status| status.link.since_ms);
        let told = message.link.as_ref().map(|link| link.since_ms);
        let is_stale = message.epoch < mirror.epoch && mirror.role() == Role::Follower && told != known;
        told.filter(|_| is_stale)
    }

    /// What a leader's snapshot does not bring is gone, even where this tab, as the leader before, had heard of it and the new one
    /// has not yet: it comes back as soon as that one hears of it.
    fn note_snapshot(&mut self, tab: usize, message: &TabMessage<JsonRecord>) {
        let Tab { engine, mirror, is_old: is_of_before, .. } = &mut self.tabs[tab];
        let is_old = message.epoch < mirror.epoch;
        // The release before does not read what it doesn't speak.
        if message.epoch <= EPOCHS_MAX && (message.v == 1 || !*is_of_before) {
            mirror.epoch = mirror.epoch.max(message.epoch);
        }
        if is_old {
            return;
        }
        for row in message.records.iter().flatten().filter(|row| row.record.is_none()) {
            let key = self.server.key(&row.table, &row.key);
            mirror.cached.insert((key, number(&row.version)));
        }
        if message.to.as_deref() != Some(engine.tab()) {
            return;
        }
        for (key, known) in self.server.known.iter().enumerate() {
            let is_it = |row: &Row<JsonRecord>| row.table == TABLES[known.table] && row.key == known.key;
            let is_there = message.records.iter().flatten().any(|row| row.record.is_some() && is_it(row));
            if let Some(version) = Asked::version(engine, known.table, &known.key).filter(|_| !is_there) {
                mirror.cached.insert((key, version));
            }
        }
    }

    // ---- outputs

    /// Performs everything the tab asks for. Returns false when it crashed on the way.
    pub fn drain(&mut self, tab: usize) -> bool {
        while let Some(output) = self.tabs[tab].engine.poll() {
            if self.tabs[tab].crash_in == Some(0) {
                self.faults.add(Fault::TabCrashedAtOutput);
                self.kill_tab(tab);
                return false;
            }
            self.tabs[tab].crash_in = self.tabs[tab].crash_in.map(|outputs| outputs - 1);
            self.trace.output(self.mono_ms, tab, &output);
            self.perform(tab, output);
        }
        true
    }

    pub fn check(&mut self, tab: usize, full: bool) {
        let Self { tabs, server, oracle, mono_ms, browsers, .. } = self;
        let Tab { engine, mirror, browser, user, name, checks, is_closed, .. } = &mut tabs[tab];
        *checks += 1;
        let who = Who { tab, browser: *browser, user: *user, name };
        if !*is_closed {
            let keeps = |from: &str| browsers[*browser].keeps_key(*user, from);
            oracle.check_keys(server, &who, mirror, engine, &keeps);
            oracle.check(server, &who, mirror, engine, *mono_ms, full || checks.is_multiple_of(FULL_CHECK));
        }
        let leads = mirror.role() == Role::Leader;
        mirror.leads_since_ms = leads.then(|| mirror.leads_since_ms.unwrap_or(*mono_ms));
        (mirror.handled, mirror.notified) = (0, 0);
    }

    fn perform(&mut self, tab: usize, output: Output<JsonRecord>) {
        let (browser, user) = (self.tabs[tab].browser, self.tabs[tab].user);
        match output {
            Output::Persist { id, key, entry } => self.persist(tab, id, key, entry),
            Output::Unpersist { key } => self.unpersist(tab, key),
            Output::Quarantine { key, to } => self.quarantine(tab, &key, to),
            Output::LoadOperations { look } => self.load(tab, look),
            Output::CacheRecords { rows } => self.cache(tab, rows),
            Output::LoadRecords => {
                let delay_ms = self.database_delay();
                self.later(delay_ms, Event::LoadRecords { tab });
            }
            Output::ForgetRecords => {
                self.faults.add(Fault::CacheForgotten);
                self.browsers[browser].cached[user].clear();
            }
            Output::Rest => {
                self.faults.add(Fault::PageRested);
                self.release(tab, browser, user);
                self.tabs[tab].rests = true;
            }
            Output::RequestLock if !self.browsers[browser].has_locks => {
                self.tabs[tab].rests = false;
                self.faults.add(Fault::NoLocks);
                self.later(1, Event::Tell { tab, input: Input::NoLocks });
            }
            Output::RequestLock => {
                self.tabs[tab].rests = false;
                self.browsers[browser].locks[user].queue.push_back(tab);
                self.later(HOP_MS, Event::Grant { browser, user });
            }
            Output::StealLock => self.steal_lock(tab),
            Output::Ping { attempt } => {
                let delay_ms = self.request_delay();
                self.later(delay_ms, Event::Ping { tab, attempt });
            }
            Output::ReleaseLock => {
                self.release(tab, browser, user);
                (self.tabs[tab].is_closed, self.tabs[tab].link) = (true, None);
            }
            Output::Broadcast(message) => {
                let epoch = &mut self.tabs[tab].mirror.epoch;
                *epoch = message.epoch.max(*epoch);
                if let Some(peers) = &message.peers {
                    let Tab { mirror, name, engine, .. } = &self.tabs[tab];
                    let who = Who { tab, browser, user, name };
                    self.oracle.truth.check_told(&who, engine.tab(), &mirror.heard, peers, self.mono_ms);
                }
                self.broadcast(tab, &message);
            }
            Output::Connect { attempt } => {
                let asked = &mut self.tabs[tab];
                (asked.link, asked.is_subscribed, asked.is_half_open) = (Some(attempt), false, false);
                self.later(HOP_MS, Event::Join { tab, attempt });
            }
            Output::Disconnect => self.tabs[tab].link = None,
            Output::Pull(call) => {
                self.must_not_be_paused(tab, "pulls");
                self.tabs[tab].mirror.asked_from.clone_from(&call.request.cursor);
                self.tabs[tab].mirror.parts.on_pull(&call);
                self.later(HOP_MS, Event::Pull { tab, call });
            }
            Output::Push { operation } => {
                self.must_not_be_paused(tab, "sends");
                let mirror = &mut self.tabs[tab].mirror;
                mirror.pushed.push(operation.id);
                // No call of several has such a number.
                mirror.singles += 1;
                mirror.call_of.insert(operation.id, mirror.singles << u32::BITS);
                self.oracle.on_push(tab, operation.id);
                let delay_ms = self.request_delay();
                self.later(delay_ms, Event::Push { tab, op: Rc::new(operation) });
            }
            Output::PushAll { call, operations } => {
                self.must_not_be_paused(tab, "sends");
                self.check_call(tab, &operations);
                for operation in &operations {
                    let mirror = &mut self.tabs[tab].mirror;
                    mirror.pushed.push(operation.id);
                    mirror.call_of.insert(operation.id, u64::from(call));
                    self.oracle.on_push(tab, operation.id);
                }
                let delay_ms = self.request_delay();
                self.later(delay_ms, Event::PushAll { tab, call, ops: operations.into_iter().map(Rc::new).collect() });
            }
            Output::Gather => self.later(0, Event::Tell { tab, input: Input::Gathered }),
            Output::RefreshToken => self.refresh_token(tab),
            Output::Notify(changes) => {
                let Self { tabs, server, oracle, .. } = self;
                let Tab { mirror, name, .. } = &mut tabs[tab];
                oracle.on_notify(server, &Who { tab, browser, user, name }, mirror, changes);
            }
            Output::Settled(settlement) => {
                let Self { tabs, server, oracle, .. } = self;
                let Tab { mirror, name, .. } = &mut tabs[tab];
                oracle.on_settled(server, &Who { tab, browser, user, name }, mirror, &settlement);
            }
            Output::PersistAlias { key, entry } => {
                self.note_alias(tab, &key);
                self.store(tab, key, Content::Alias(entry));
            }
            // The mark has no content that anybody reads.
            Output::PersistMark { key } => self.store(tab, key, Content::Corrupt("a mark".into())),
            Output::ForgetQuarantined { prefix } => {
                self.faults.add(Fault::QuotaShed);
                self.remove(tab, |key| key.starts_with(&prefix));
            }
            Output::PurgeSession { prefix, keep, mark } => {
                if mark.is_some() {
                    self.oracle.logouts.insert((browser, user), self.mono_ms);
                    self.oracle.left.insert((browser, user), self.mono_ms);
                }
                // The mark has no content that anybody reads.
                let mark = mark.map(|key| (key, Content::Corrupt("a mark".into())));
                if let Some((key, content)) = mark {
                    self.store(tab, key, content);
                }
                self.remove(tab, |key| key.starts_with(&prefix) && !key.starts_with(&keep));
                self.browsers[browser].cached[user].clear();
            }
            Output::SignedOut => self.sign_out(tab),
            Output::AnnouncePresence { peers } => self.announce(tab, &peers),
            Output::Rejected { id, .. } => {
                if let Some(made) = self.oracle.made.get_mut(&id) {
                    made.is_rejected = true;
                }
            }
            Output::Durable { .. } | Output::Report(_) | Output::LogoutRefused(_) => {}
        }
    }

    fn must_not_be_paused(&self, tab: usize, what: &str) {
        if self.tabs[tab].mirror.is_paused {
            broken!("8", "{} {what} with a token that was refused", self.tabs[tab].name);
        }
    }

    pub fn prefix(&self, tab: usize) -> String {
        prefix_of(self.tabs[tab].user)
    }

    fn persist(&mut self, tab: usize, id: OperationId, key: String, entry: StoredOperation) {
        let op = Rc::new(entry.op.clone());
        if key != format!("{}op:{}-{id}", self.prefix(tab), op.hlc) {
            broken!("13", "{} stores under {key}, which is not its own", self.tabs[tab].name);
        }
        self.must_not_show_yet(tab, &op);
        let browser = self.tabs[tab].browser;
        let place = &mut self.browsers[browser];
        let content = Content::Operation(entry);
        let at_once = place.has_local.then_some(!place.local_is_full);
        if at_once == Some(true) {
            // Two tabs that both send store the same decision of the rules.
            if place.local.contains_key(&key) && !is_of_rules(&op) && op.rebased == 0 {
                broken!("5", "{} writes {key} twice", self.tabs[tab].name);
            }
            place.set_local_by(tab, self.mono_ms, Change { key: key.clone(), content: Some(content.clone()) });
            self.flush_later(browser);
        } else if at_once == Some(false) {
            self.faults.add(Fault::QuotaFull);
        }
        let place = &mut self.browsers[browser];
        let later = place.has_database;
        if later {
            let change = Change { key: key.clone(), content: Some(content) };
            place.writes.push_back(Write { tab, change, id: Some(id) });
            self.commit_later(browser);
        }
        let stored = match (at_once, later) {
            (Some(true), true) => Stored::Now,
            (Some(true), false) => {
                self.later(0, Event::Tell { tab, input: Input::OperationDurable { id, durable: false } });
                Stored::Now
            }
            (None | Some(false), true) => Stored::Later,
            (Some(false), false) => Stored::Failed("the quota is used up".into()),
            (None, false) => Stored::Memory,
        };
        self.make(tab, &op, key, &stored);
        let _ = self.handle(tab, Input::OperationStored { id, stored });
    }

    fn seen_by(&mut self, tab: usize, op: &Operation) -> Vec<OperationId> {
        let keys: Vec<_> = op.steps().map(|step| self.server.key(step.table, step.key)).collect();
        let shown = self.tabs[tab].mirror.shown.iter().filter(|shown| keys.iter().any(|key| shown.concerns(*key)));
        shown.map(|shown| shown.id).chain([op.id]).collect()
    }

    fn make(&mut self, tab: usize, op: &Rc<Operation>, storage_key: String, stored: &Stored) {
        let made = Made {
            browser: self.tabs[tab].browser,
            user: self.tabs[tab].user,
            tab,
            born_ms: self.tabs[tab].born_ms,
            made_ms: self.mono_ms,
            storage_key,
            is_rejected: false,
            may_be_lost: matches!(stored, Stored::Memory | Stored::Failed(_)),
            is_resurrected: false,
            is_cancel_asked: false,
            is_undone: false,
            cancelled_by: None,
            is_left: false,
            was_dead: false,
            sent_by: Vec::new(),
            rebased: Vec::new(),
            seen: self.seen_by(tab, op),
            op: Rc::clone(op),
        };
        self.oracle.make(tab, made);
    }

    /// Until storage has it, nobody sees it.
    fn must_not_show_yet(&mut self, tab: usize, op: &Operation) {
        let keys: Vec<_> = op.steps().map(|step| self.server.key(step.table, step.key)).collect();
        let Tab { engine, mirror, name, .. } = &self.tabs[tab];
        if mirror.has_looked || op.rebased > 0 {
            return;
        }
        for (step, key) in op.steps().zip(keys) {
            let visible = engine.visible(step.table, step.key);
            // What the rules decide follows from what came with the answer, and newer rows, or the keys of others, may have come in the
            // same step.
            let version = engine.version(step.table, step.key).map_or(0, |version| number(&version));
            let is_of_news = is_of_rules(op) && (mirror.is_told_much || version > mirror.version(key));
            if visible.as_ref() != mirror.record(key) && !is_of_news {
                broken!("5", "{name} shows {} before it is stored", op.id);
            }
        }
    }

    /// Nothing of the person's is left behind, but the mark that they have left.
    fn sign_out(&mut self, tab: usize) {
        let prefix = self.prefix(tab);
        let mark = format!("{prefix}out:");
        let Tab { browser, user, name, .. } = &self.tabs[tab];
        let place = &self.browsers[*browser];
        // What others have made since is theirs: a person who has come back, or a tab that has not heard of it either.
        let since_ms = self.oracle.left.get(&(*browser, *user)).copied().unwrap_or(0);
        let is_late = since_ms < self.mono_ms;
        let made = self.oracle.made.values().filter(|made| made.made_ms < since_ms || made.tab == tab);
        let made: Vec<&String> = made.map(|made| &made.storage_key).collect();
        let is_theirs = |key: &String| is_late && !made.contains(&key);
        let is_left = |key: &&String| key.starts_with(&prefix) && !key.starts_with(&mark) && !is_theirs(key);
        let left = place.local.keys().find(is_left);
        if let Some(left) = left {
            broken!("13", "{name} has logged out, and {left} is still stored");
        }
        if !place.cached[*user].is_empty() {
            broken!("13", "{name} has logged out, and rows are still kept");
        }
        let at_ms = self.mono_ms;
        self.browsers[*browser].signed_out_ms[*user].get_or_insert(at_ms);
        self.tabs[tab].link = None;
    }

    /// Stores something that nobody waits for.
    fn store(&mut self, tab: usize, key: String, content: Content) {
        let browser = self.tabs[tab].browser;
        let place = &mut self.browsers[browser];
        let change = Change { key, content: Some(content) };
        if place.has_local && !place.local_is_full {
            place.set_local_by(tab, self.mono_ms, change.clone());
        }
        if place.has_database {
            place.writes.push_back(Write { tab, change, id: None });
        }
        self.flush_later(browser);
        self.commit_later(browser);
    }

    /// Deletes all entries of some kind.
    fn remove(&mut self, tab: usize, is_it: impl Fn(&str) -> bool) {
        let browser = self.tabs[tab].browser;
        let place = &mut self.browsers[browser];
        for key in place.keys().into_iter().filter(|key| is_it(key)) {
            let change = Change { key, content: None };
            if place.has_local {
                place.set_local(change.clone());
            }
            if place.has_database {
                place.writes.push_back(Write { tab, change, id: None });
            }
        }
        self.flush_later(browser);
        self.commit_later(browser);
    }

    fn unpersist(&mut self, tab: usize, key: String) {
        let prefix = self.prefix(tab);
        self.note_unpersist(tab, &key);
        let Self { tabs, server, oracle, browsers, .. } = self;
        let Tab { name, browser, user, mirror, .. } = &mut tabs[tab];
        let browser = *browser;
        oracle.on_unpersist(server, &Who { tab, browser, user: *user, name }, mirror, &key, &prefix);
        let place = &mut browsers[browser];
        if place.has_local {
            place.set_local(Change { key: key.clone(), content: None });
        }
        if place.has_database {
            place.writes.push_back(Write { tab, change: Change { key, content: None }, id: None });
        }
        self.flush_later(browser);
        self.commit_later(browser);
    }

    fn quarantine(&mut self, tab: usize, key: &str, to: String) {
        let browser = self.tabs[tab].browser;
        let id = OperationId::parse(&key[key.len().saturating_sub(36)..]);
        let place = &mut self.browsers[browser];
        let is_good = |content: Option<&Content>| matches!(content, Some(Content::Operation(_)));
        let was_made = id.is_some_and(|id| self.oracle.made.get(&id).is_some_and(|made| made.storage_key == key));
        if was_made && is_good(place.local.get(key)) && is_good(place.database.get(key).or(place.local.get(key))) {
            broken!("5", "{} moves {key} away, which can be read", self.tabs[tab].name);
        }
        if let Some(content) = place.local.get(key).cloned() {
            place.set_local(Change { key: key.to_owned(), content: None });
            place.set_local(Change { key: to.clone(), content: Some(content) });
        }
        if let Some(content) = place.database.get(key).cloned() {
            let moved = Change { key: to, content: Some(content) };
            place.writes.push_back(Write { tab, change: Change { key: key.to_owned(), content: None }, id: None });
            place.writes.push_back(Write { tab, change: moved, id: None });
        }
        self.flush_later(browser);
        self.commit_later(browser);
    }

    /// The database answers soon, or, when the machine is busy, after the network did.
    fn database_delay(&mut self) -> u64 {
        if self.draw.percent(10) {
            self.draw.of(&[400, 400, 4_000]) * self.draw.below(100) / 100
        } else {
            2 + self.draw.below(3)
        }
    }

    fn flush_later(&mut self, browser: usize) {
        let delay_ms = 1 + self.draw.below(2_000);
        self.later(delay_ms, Event::Flush { browser });
    }

    fn commit_later(&mut self, browser: usize) {
        let delay_ms = 2 + self.draw.below(30);
        self.later(delay_ms, Event::Commit { browser });
    }

    /// Reads what is stored: at once from the one place, a moment later from the other.
    fn load(&mut self, tab: usize, look: u32) {
        let prefixes = self.tabs[tab].engine.session().looked_for();
        let browser = self.tabs[tab].browser;
        if self.browsers[browser].has_database {
            let delay_ms = self.database_delay();
            self.later(delay_ms, Event::LoadDatabase { tab, look });
        }
        let place = &self.browsers[browser];
        if place.has_local {
            let look = (!place.has_database).then_some(look);
            self.tabs[tab].mirror.has_looked = true;
            let entries = self.found_locally(tab, &prefixes);
            let _ = self.handle(tab, Input::EntriesFound { entries, look });
        }
    }

    pub fn load_database(&mut self, tab: usize, look: u32) {
        let prefixes = self.tabs[tab].engine.session().looked_for();
        let mut entries = found(&self.browsers[self.tabs[tab].browser].database, &prefixes);
        entries.extend(self.found_locally(tab, &prefixes));
        self.tell(tab, Input::EntriesFound { entries, look: Some(look) });
    }

    fn found_locally(&mut self, tab: usize, prefixes: &[String]) -> Vec<FoundEntry> {
        let (place, mono_ms) = (&mut self.browsers[self.tabs[tab].browser], self.mono_ms);
        let mut entries = found(&place.local, prefixes);
        entries.retain(|entry| place.is_seen_by(tab, mono_ms, &entry.key));
        entries
    }

    fn cache(&mut self, tab: usize, rows: Vec<Row<JsonRecord>>) {
        let (browser, user) = (self.tabs[tab].browser, self.tabs[tab].user);
        if !self.browsers[browser].has_database {
            return;
        }
        for row in rows {
            let key = self.server.key(&row.table, &row.key);
            let cached = &mut self.browsers[browser].cached[user];
            match row.record {
                // The shell keeps version and record, and not who wrote it.
                Some(_) => drop(cached.insert(key, Row { op: None, ..row })),
                None => drop(cached.remove(&key)),
            }
        }
    }

    pub fn load_records(&mut self, tab: usize) {
        let (browser, user) = (self.tabs[tab].browser, self.tabs[tab].user);
        let rows: Vec<_> = self.browsers[browser].cached[user].values().cloned().collect();
        if self.browsers[browser].has_database && !rows.is_empty() {
            self.tell(tab, Input::RecordsFound { rows });
        }
    }
}

pub fn prefix_of(user: usize) -> String {
    let user = USERS[user].replace('%', "%25").replace(':', "%3A");
    format!("rota:1:crm:{user}:")
}

/// True for what the declared rules decided, of which no person is the author.
pub fn is_of_rules(op: &Operation) -> bool {
    op.decision.as_ref().is_some_and(|decision| decision.by.is_none())
}

fn found(entries: &crate::browser::Entries, prefixes: &[String]) -> Vec<FoundEntry> {
    let of = |prefix: &String| {
        let prefix = prefix.clone();
        entries.range(prefix.clone()..).take_while(move |(key, _)| key.starts_with(&prefix))
    };
    prefixes
        .iter()
        .flat_map(of)
        .map(|(key, content)| FoundEntry { key: key.clone(), content: content.clone() })
        .collect()
}

/// The version that a tab must know after an input, whatever is pending.
fn expected_version(input: &Input<JsonRecord>) -> Option<((String, u64), String)> {
    let Input::ServerChanged { events } = input else { return None };
    match events.last() {
        Some(rota_engine::ServerEvent::Changed { row, partial: false }) if TABLES.contains(&row.table.as_str()) => {
            Some(((row.key.clone(), number(&row.version)), row.table.clone()))
        }
        _ => None,
    }
}
