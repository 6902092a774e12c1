//! The world in virtual time: what is under way between tabs, storage, locks and the server, and how it goes wrong.

use std::collections::BTreeMap;
use std::rc::Rc;

use rota_engine::{
    Answer, Choice, Config, Failure, Input, JsonRecord, Now, Operation, OperationId, OperationState, PullCall, Role,
    Row, ServerEvent, TabMessage,
};

use crate::browser::Browser;
use crate::faults::{Counts, Fault};
use crate::oracle::{Oracle, broken};
use crate::server::{Key, LARGE, Server, Stand, TABLES, busy, version};
use crate::shell::{HOP_MS, Tab};
use crate::trace::Trace;
use crate::workload::{Draw, Plan, Rate, USERS, generator};

const START_MS: u64 = 10_000;
const WALL_MS: u64 = 1_763_721_600_000;

pub enum Event {
    Tell { tab: usize, input: Input<JsonRecord> },
    Message { tab: usize, message: Box<TabMessage<JsonRecord>> },
    Push { tab: usize, op: Rc<Operation> },
    PushAll { tab: usize, call: u32, ops: Vec<Rc<Operation>> },
    Pull { tab: usize, call: PullCall },
    Join { tab: usize, attempt: u32 },
    Subscribed { tab: usize, attempt: u32 },
    Stream { tab: usize, attempt: u32, key: Key, stand: Stand, partial: bool },
    LoadDatabase { tab: usize, look: u32 },
    LoadRecords { tab: usize },
    Ping { tab: usize, attempt: u32 },
    Steal { tab: usize, notice_ms: u64 },
    Grant { browser: usize, user: usize },
    Flush { browser: usize },
    Commit { browser: usize },
    Thaw { tab: usize },
    SqlCommit { number: u64 },
}

/// What one user's tabs have in their hands.
#[derive(Clone, Copy)]
pub struct Token {
    pub is_good: bool,
    /// Until then there is no fresh one.
    pub none_before_ms: u64,
}

pub struct World {
    pub server: Server,
    pub browsers: Vec<Browser>,
    pub tabs: Vec<Tab>,
    pub oracle: Oracle,
    pub faults: Counts,
    pub trace: Trace,
    pub inputs: u64,
    pub draw: Draw,
    pub mono_ms: u64,
    pub rates: [u8; Rate::ALL.len()],
    pub tokens: [Token; USERS.len()],
    pub cut_until_ms: u64,
    pub down_until_ms: u64,
    pub config: Config,
    pub old_tabs_percent: u8,
    /// How many pulls, in percent, name parts that they cover.
    pub parts_percent: u8,
    /// The server takes one operation a call, whatever the adapter said.
    pub declines_batches: bool,
    without_token_giver: u32,
    agenda: BTreeMap<(u64, u64), Event>,
    count: u64,
}

impl World {
    pub fn new(plan: &Plan, is_verbose: bool) -> Self {
        let mut config: Config = serde_json::from_str(
            r#"{"app": "crm", "user": "", "tables": [
                {"name": "companies", "key": ["id"], "fields": ["id", "name", "city", "owner_id", "visits", "tags", "weight"], "owner": "owner_id",
                 "merge": {"visits": "sum", "tags": "union"}, "indexed": ["name", "city", "owner_id", "visits", "tags", "weight"]},
                {"name": "leads", "key": ["id"], "fields": ["id", "name"], "indexed": ["name"]},
                {"name": "orders", "key": ["id"], "fields": ["id", "title", "parent"], "temporaryKeys": true}]}"#,
        )
        .expect("the configuration can be read");
        config.link.max_attempts = plan.attempts_max;
        config.idempotent = !plan.has_no_ledger;
        config.batch = plan.batch;
        let mut world = Self {
            server: Server::default(),
            browsers: Vec::new(),
            tabs: Vec::new(),
            oracle: Oracle::default(),
            faults: Counts::default(),
            trace: Trace::new(is_verbose),
            inputs: 0,
            draw: Draw(generator(plan.seed, 1)),
            mono_ms: START_MS,
            rates: [0; Rate::ALL.len()],
            tokens: [Token { is_good: true, none_before_ms: 0 }; USERS.len()],
            cut_until_ms: 0,
            down_until_ms: 0,
            config,
            old_tabs_percent: plan.old_tabs_percent,
            parts_percent: plan.parts_percent,
            declines_batches: plan.declines_batches,
            without_token_giver: plan.without_token_giver,
            agenda: BTreeMap::new(),
            count: 0,
        };
        world.server.is_anonymous = plan.is_anonymous;
        world.server.page_rows = plan.page_rows;
        world.server.keeps_no_ledger = plan.has_no_ledger;
        if plan.has_no_ledger {
            world.faults.add(Fault::NoLedger);
        }
        if plan.is_anonymous {
            world.faults.add(Fault::RowsAnonymous);
        }
        for make in &plan.browsers {
            world.browsers.push(Browser::new(make, USERS.len()));
        }
        for n in 0..6 {
            let key = world.server.key(TABLES[0], &format!("c-{n}"));
            world.server.sql_set(key, "name", "Harbour".into());
        }
        world.server.news.clear();
        for (browser, user) in &plan.tabs {
            world.open_tab(*browser, *user);
        }
        world
    }

    pub fn run(&mut self, plan: &Plan) {
        self.run_for(400);
        for step in &plan.steps {
            self.draw = Draw(generator(plan.seed, step.salt + 1));
            self.trace.note(self.mono_ms, || format!("step {}: {:?}", step.salt, step.action));
            self.act(&step.action);
            self.run_for(step.pause_ms);
            self.check_people();
        }
        self.draw = Draw(generator(plan.seed, 0xffff));
        self.trace.note(self.mono_ms, || "from here on nothing goes wrong any more".to_owned());
        self.finish(plan);
    }

    // ---- chance

    pub fn goes_wrong(&mut self, rate: Rate) -> bool {
        let percent = self.rates[rate as usize];
        percent > 0 && self.draw.percent(u64::from(percent))
    }

    pub fn happens(&mut self, rate: Rate, fault: Fault) -> bool {
        let wrong = self.goes_wrong(rate);
        if wrong {
            self.faults.add(fault);
        }
        wrong
    }

    /// Sometimes a little late, sometimes very.
    pub fn lateness(&mut self) -> u64 {
        let bound = self.draw.of(&[30, 300, 300, 4_000, 20_000]);
        self.draw.below(bound)
    }

    // ---- time

    pub fn now_of(&self, browser: usize, born_ms: u64) -> Now {
        let wall = WALL_MS + self.mono_ms;
        Now {
            mono_ms: 1_000 + self.mono_ms - born_ms,
            wall_ms: wall.saturating_add_signed(self.browsers[browser].skew_ms),
        }
    }

    pub fn later(&mut self, delay_ms: u64, event: Event) {
        self.count += 1;
        self.agenda.insert((self.mono_ms + delay_ms, self.count), event);
    }

    pub fn run_for(&mut self, ms: u64) {
        let end = self.mono_ms + ms;
        while self.step(end) {}
        self.mono_ms = end;
    }

    /// When a tab wants to be woken, in the world's time.
    fn wake_of(&self, tab: &Tab) -> Option<u64> {
        if !tab.is_alive || tab.backlog.is_some() {
            return None;
        }
        // Its own clock began at a thousand when it was born.
        tab.engine.deadline().map(|due| (due + tab.born_ms).saturating_sub(1_000).max(self.mono_ms))
    }

    fn step(&mut self, end: u64) -> bool {
        let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let mut wake: Option<(u64, usize)> = None;
        for (index, tab) in self.tabs.iter().enumerate() {
            if let Some(at) = self.wake_of(tab)
                && wake.is_none_or(|(earliest, _)| at < earliest)
            {
                wake = Some((at, index));
            }
        }
        match (next, wake) {
            (Some(at), _) if at <= end && wake.is_none_or(|(wake, _)| at <= wake) => {
                self.mono_ms = self.mono_ms.max(at);
                if let Some((_, event)) = self.agenda.pop_first() {
                    self.happen(event);
                }
                true
            }
            (_, Some((at, tab))) if at <= end => {
                self.mono_ms = self.mono_ms.max(at);
                self.tell(tab, Input::TimerFired);
                let rests = self.wake_of(&self.tabs[tab]).is_none_or(|again| again > self.mono_ms);
                if !rests {
                    broken!("10", "{} has a timer that never rests", self.tabs[tab].name);
                }
                true
            }
            _ => false,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tell { tab, input } => self.tell(tab, input),
            Event::Message { tab, message } => self.tell(tab, Input::TabMessageReceived(message)),
            Event::Push { tab, op } => self.on_push(tab, &op),
            Event::PushAll { tab, call, ops } => self.on_push_all(tab, call, &ops),
            Event::Pull { tab, call } => self.on_pull(tab, &call),
            Event::Join { tab, attempt } => self.on_join(tab, attempt),
            Event::Subscribed { tab, attempt } => {
                if self.tabs[tab].link == Some(attempt) && self.tabs[tab].is_alive {
                    self.tabs[tab].is_subscribed = true;
                    let delay_ms = HOP_MS + self.draw.below(40);
                    self.later(delay_ms, Event::Tell { tab, input: Input::LinkLive { attempt } });
                }
            }
            Event::Stream { tab, attempt, key, stand, partial } => self.on_stream(tab, attempt, key, stand, partial),
            Event::LoadDatabase { tab, look } => self.load_database(tab, look),
            Event::LoadRecords { tab } => self.load_records(tab),
            Event::Ping { tab, attempt } => self.on_ping(tab, attempt),
            Event::Steal { tab, notice_ms } => {
                if self.tabs[tab].is_alive && !self.tabs[tab].is_closed {
                    self.take_lock(tab, notice_ms);
                }
            }
            Event::Grant { browser, user } => self.grant(browser, user),
            Event::Flush { browser } => self.browsers[browser].flush(),
            Event::Commit { browser } => self.commit(browser),
            Event::Thaw { tab } => self.thaw(tab),
            Event::SqlCommit { number } => {
                self.server.sql_commit(number);
                self.spread();
            }
        }
    }

    // ---- the browser

    fn commit(&mut self, browser: usize) {
        let Some((write, fails)) = self.browsers[browser].commit() else { return };
        if fails {
            self.faults.add(Fault::DatabaseFailed);
            self.note_losses(browser, false);
        }
        if let Some(id) = write.id {
            self.tell(write.tab, Input::OperationDurable { id, durable: !fails });
        }
    }

    fn grant(&mut self, browser: usize, user: usize) {
        let lock = &mut self.browsers[browser].locks[user];
        if lock.holder.is_some() {
            return;
        }
        if let Some(next) = lock.queue.pop_front() {
            lock.holder = Some(next);
            self.tell(next, Input::LockGranted);
        }
    }

    pub fn thaw(&mut self, tab: usize) {
        let Some(backlog) = self.tabs[tab].backlog.take() else { return };
        self.trace.note(self.mono_ms, || format!("tab {tab} thaws"));
        if backlog.iter().filter(|input| matches!(input, Input::TabMessageReceived(_))).count() > 1 {
            self.faults.add(Fault::MessagesInBurst);
        }
        for input in backlog {
            // What a link had still to say is dropped with it.
            let is_of_link = matches!(input, Input::ServerChanged { .. } | Input::Missed);
            if is_of_link && self.tabs[tab].link.is_none() {
                continue;
            }
            self.tell(tab, input);
        }
    }

    pub fn broadcast(&mut self, from: usize, message: &TabMessage<JsonRecord>) {
        let (browser, user) = (self.tabs[from].browser, self.tabs[from].user);
        if !self.browsers[browser].has_channel || self.tabs[from].rests {
            return;
        }
        for tab in 0..self.tabs.len() {
            let other = &self.tabs[tab];
            let hears = tab != from && other.is_alive && !other.is_closed && !other.rests;
            if !hears || self.tabs[tab].browser != browser || self.tabs[tab].user != user {
                continue;
            }
            if self.happens(Rate::MessageLoss, Fault::MessageLost) {
                continue;
            }
            let copies = 1 + u32::from(self.happens(Rate::MessageRepeat, Fault::MessageRepeated));
            for _ in 0..copies {
                let late = self.happens(Rate::MessageDelay, Fault::MessageDelayed);
                let delay_ms = 1 + if late { self.lateness() } else { 0 };
                self.later(delay_ms, Event::Message { tab, message: Box::new(message.clone()) });
            }
        }
    }

    // ---- the network

    pub fn request_delay(&mut self) -> u64 {
        HOP_MS + self.draw.below(4)
    }

    /// Says why a call does not reach the server, if it doesn't; `Err(None)` when nobody will ever hear.
    pub fn reach(&mut self, tab: usize) -> Result<(), Option<Failure>> {
        if self.mono_ms < self.cut_until_ms {
            self.faults.add(Fault::NetworkCut);
            return Err(Some(Failure::Network));
        }
        if self.happens(Rate::Hang, Fault::CallHung) {
            return Err(None);
        }
        if self.mono_ms < self.down_until_ms {
            self.faults.add(Fault::ServerDown);
            let failure = self.draw.of(&[Failure::Network, Failure::Server]);
            return Err(Some(failure));
        }
        if self.happens(Rate::RequestLoss, Fault::RequestLost) {
            return Err(Some(Failure::Network));
        }
        if !self.tokens[self.tabs[tab].user].is_good {
            self.faults.add(Fault::TokenExpired);
            return Err(Some(Failure::Auth));
        }
        if self.happens(Rate::ServerError, Fault::ServerFailed) {
            let failure = self.draw.of(&[Failure::Server, Failure::Unknown, Failure::Timeout]);
            return Err(Some(failure));
        }
        if self.happens(Rate::Limit, Fault::ServerLimits) {
            return Err(Some(Failure::RateLimit));
        }
        Ok(())
    }

    fn push_failed(&mut self, tab: usize, id: OperationId, failure: Failure) {
        let after_ms = self.patience(failure);
        let message = "the call failed".to_owned();
        let delay_ms = self.reply_delay();
        self.later(delay_ms, Event::Tell { tab, input: Input::PushFailed { id, failure, message, after_ms } });
    }

    pub fn patience(&mut self, failure: Failure) -> Option<u64> {
        let limited = failure == Failure::RateLimit;
        (limited && self.draw.percent(70)).then(|| 100 + self.draw.below(6_000))
    }

    pub fn reply_delay(&mut self) -> u64 {
        let late = self.happens(Rate::ReplyDelay, Fault::ReplyDelayed);
        HOP_MS + self.draw.below(6) + if late { self.lateness() } else { 0 }
    }

    fn on_push(&mut self, tab: usize, op: &Operation) {
        if let Err(failure) = self.reach(tab) {
            return failure.map_or((), |failure| self.push_failed(tab, op.id, failure));
        }
        if self.happens(Rate::Forbid, Fault::CallForbidden) {
            let failure = self.draw.of(&[Failure::Forbidden, Failure::Invalid, Failure::Gone]);
            return self.push_failed(tab, op.id, failure);
        }
        let answer = if self.happens(Rate::Busy, Fault::ServerBusy) {
            let after_ms = 50 + self.draw.below(2_000);
            busy(op, after_ms)
        } else {
            self.decide(tab, op)
        };
        if self.happens(Rate::ReplyLoss, Fault::ReplyLost) {
            self.note_lost_reply(op, &answer);
            if self.draw.percent(60) {
                self.push_failed(tab, op.id, Failure::Network);
            }
            self.spread();
            return;
        }
        let answer = self.spoil(tab, op, answer);
        let copies = 1 + u32::from(self.happens(Rate::ReplyRepeat, Fault::ReplyRepeated));
        let mut first_ms = u64::MAX;
        for _ in 0..copies {
            let delay_ms = self.reply_delay();
            first_ms = first_ms.min(delay_ms);
            self.later(delay_ms, Event::Tell { tab, input: Input::Answered { answer: answer.clone() } });
        }
        self.spread_around(first_ms);
    }

    /// Takes from an answer what may be missing in it.
    pub fn spoil(&mut self, tab: usize, op: &Operation, answer: Answer<JsonRecord>) -> Answer<JsonRecord> {
        let is_done = answer.outcome == rota_engine::Outcome::Confirmed;
        // Whoever gives a key says so.
        let gives_key = crate::oracle::keys::own(op).next().is_some();
        let answer = if is_done && !gives_key && self.happens(Rate::Bare, Fault::AnswerBare) {
            self.note_unread(tab, op.id);
            Answer { record: None, records: Vec::new(), ..answer }
        } else {
            answer
        };
        if !gives_key && self.happens(Rate::EventBad, Fault::AnswerUnreadable) {
            self.note_unread(tab, op.id);
            // The adapter could read how it ended, but not the record.
            Answer { version: None, record: None, records: Vec::new(), ..answer }
        } else {
            answer
        }
    }

    /// An answer says no more than that it is done: a tab of the release before takes that for the end.
    fn note_unread(&mut self, tab: usize, id: OperationId) {
        let Tab { browser, user, .. } = self.tabs[tab];
        if self.tabs.iter().any(|tab| tab.is_old && (tab.browser, tab.user) == (browser, user)) {
            self.oracle.unread.insert(id);
        }
    }

    pub fn decide(&mut self, tab: usize, op: &Operation) -> Answer<JsonRecord> {
        let user = self.tabs[tab].user;
        self.check_names(tab, op);
        crate::oracle::unanswered::check_sending(&self.server, op);
        let answer = self.server.apply_operation(op, user);
        self.note_verdict(op, &answer);
        let Some(made) = self.oracle.made.get(&op.id) else {
            broken!("5", "the server was sent {}, which nobody made", op.id)
        };
        // A browser that was killed may have lost the later form of it.
        if answer.code.as_deref() == Some("operation-mismatch") && made.rebased.is_empty() {
            broken!("5", "{} was sent as something else than it was made as", op.id);
        }
        if answer.code.as_deref() == Some("forbidden") {
            self.faults.add(Fault::OperationRefused);
        }
        if let Some(decision) = self.server.ledger.get(&op.id) {
            crate::oracle::check_decision(&self.oracle, &self.server, made, decision);
        }
        if !answer.replayed && answer.outcome == rota_engine::Outcome::Conflicted && !self.is_muddled() {
            crate::oracle::own::check_conflict(&self.oracle, &self.server, &self.tabs[tab].mirror, op);
        }
        answer
    }

    /// True once a leader may not have known what an earlier one sent, or could not store what it decided.
    fn is_muddled(&self) -> bool {
        let muddling = [
            Fault::TabFrozen,
            Fault::MachineSlept,
            Fault::ClockJumpedBack,
            Fault::ClockJumpedAhead,
            Fault::LeaderDeposed,
            Fault::LockStolen,
            Fault::LockTakenByNewTab,
            Fault::LockTakenByTab,
            Fault::TabCrashedAtOutput,
            Fault::NotCommitted,
            Fault::QuotaFull,
            Fault::DatabaseFailed,
        ];
        muddling.into_iter().any(|fault| self.faults.0[fault as usize] > 0)
    }

    fn on_pull(&mut self, tab: usize, call: &PullCall) {
        let mut failure = self.reach(tab);
        let is_unknown = |table: &String| !TABLES.contains(&table.as_str());
        if call.request.keys.as_ref().is_some_and(|keys| keys.keys().any(is_unknown)) {
            let failed = Input::PullFailed { id: call.id, failure: Failure::Invalid, message: "no such table".into() };
            return self.later(HOP_MS, Event::Tell { tab, input: failed });
        }
        let pulled = self.answer_pull(tab, call);
        if failure.is_ok() && self.happens(Rate::ReplyLoss, Fault::ReplyLost) {
            failure = Err(Some(Failure::Network));
        }
        self.note_page(call, failure.is_err());
        let is_repeated = self.happens(Rate::ReplyRepeat, Fault::ReplyRepeated);
        if is_repeated && call.request.page.is_some() {
            self.faults.add(Fault::PageRepeated);
        }
        let answer = match failure {
            Ok(()) => pulled.map_err(Some),
            Err(failure) => Err(failure),
        };
        let input = match answer {
            Ok(pulled) => Input::Pulled(pulled),
            Err(None) => return,
            Err(Some(failure)) => Input::PullFailed { id: call.id, failure, message: "the call failed".into() },
        };
        for _ in 0..=u32::from(is_repeated) {
            let delay_ms = self.reply_delay();
            self.later(delay_ms, Event::Tell { tab, input: input.clone() });
        }
    }

    fn on_join(&mut self, tab: usize, attempt: u32) {
        if self.tabs[tab].link != Some(attempt) || !self.tabs[tab].is_alive {
            return;
        }
        if self.happens(Rate::LinkHang, Fault::LinkHung) {
            return;
        }
        match self.reach(tab) {
            Err(None) => {}
            Err(Some(failure)) => self.break_link(tab, failure),
            Ok(()) => {
                self.tell(tab, Input::LinkJoined { attempt });
                let delay_ms = 10 + self.draw.below(60);
                self.later(delay_ms, Event::Subscribed { tab, attempt });
            }
        }
    }

    pub fn break_link(&mut self, tab: usize, failure: Failure) {
        if let Some(attempt) = self.tabs[tab].link {
            self.tabs[tab].is_subscribed = false;
            let message = "the connection broke".to_owned();
            self.later(HOP_MS, Event::Tell { tab, input: Input::LinkClosed { attempt, failure, message } });
        }
    }

    fn on_ping(&mut self, tab: usize, attempt: u32) {
        let Tab { is_alive: true, link: Some(link), is_subscribed: true, is_half_open: false, .. } = self.tabs[tab]
        else {
            return self.faults.add(Fault::PingLost);
        };
        if link == attempt && self.mono_ms >= self.cut_until_ms.max(self.down_until_ms) {
            self.later(HOP_MS, Event::Tell { tab, input: Input::Ponged { attempt } });
        } else {
            self.faults.add(Fault::PingLost);
        }
    }

    pub fn refresh_token(&mut self, tab: usize) {
        let user = self.tabs[tab].user;
        let input = if self.without_token_giver & (1 << user) != 0 {
            // Its owner brings another one when it is time.
            self.faults.add(Fault::NoTokenGiver);
            self.tokens[user].is_good = true;
            self.later(600, Event::Tell { tab, input: Input::TokenRefreshed });
            Input::TokenKept
        } else if self.mono_ms < self.cut_until_ms.max(self.down_until_ms) {
            self.faults.add(Fault::TokenGiverGone);
            let failure = self.draw.of(&[Failure::Network, Failure::Timeout, Failure::Server, Failure::Auth]);
            Input::TokenMissed { failure, message: "nobody there".into() }
        } else if self.mono_ms < self.tokens[user].none_before_ms {
            self.faults.add(Fault::TokenNotRefreshed);
            Input::TokenRefused { message: "the session has ended".into() }
        } else {
            self.tokens[user].is_good = true;
            Input::TokenRefreshed
        };
        let delay_ms = self.reply_delay();
        self.later(delay_ms, Event::Tell { tab, input });
    }

    // ---- the stream

    pub fn spread(&mut self) {
        self.spread_around(u64::MAX);
    }

    /// The server's publication: every change goes to every subscribed link. Says whether an answer is overtaken.
    pub fn spread_around(&mut self, answer_ms: u64) {
        for key in std::mem::take(&mut self.server.news) {
            let history = &self.server.known[key].history;
            let Some(stand) = history.last().cloned() else { continue };
            let before = history.len().checked_sub(2).and_then(|at| history[at].record.clone());
            for tab in 0..self.tabs.len() {
                let Tab { is_alive: true, link: Some(attempt), is_subscribed: true, user, .. } = self.tabs[tab] else {
                    continue;
                };
                if stand.record.is_some() && !self.server.known[key].is_seen_by(user) {
                    continue;
                }
                if self.tabs[tab].is_half_open {
                    self.faults.add(Fault::LinkHalfOpen);
                    continue;
                }
                if self.mono_ms < self.cut_until_ms || self.happens(Rate::EventLoss, Fault::EventLost) {
                    continue;
                }
                let partial = self.is_partial(key, &stand, before.as_ref());
                let copies = 1 + u32::from(self.happens(Rate::EventRepeat, Fault::EventRepeated));
                for _ in 0..copies {
                    let late = self.happens(Rate::EventDelay, Fault::EventDelayed);
                    let delay_ms = 1 + self.draw.below(30) + if late { self.lateness() } else { 0 };
                    if answer_ms != u64::MAX {
                        self.faults.add(if delay_ms < answer_ms {
                            Fault::EchoBeforeAnswer
                        } else {
                            Fault::EchoAfterAnswer
                        });
                    }
                    self.later(delay_ms, Event::Stream { tab, attempt, key, stand: stand.clone(), partial });
                }
            }
        }
    }

    /// An event may lack a large column that the change left as it was.
    fn is_partial(&mut self, key: Key, stand: &Stand, before: Option<&JsonRecord>) -> bool {
        let large = |record: &JsonRecord| record.fields().get(LARGE).cloned();
        let is_same = stand.record.as_ref().zip(before).is_some_and(|(now, before)| large(now) == large(before));
        TABLES[self.server.known[key].table] == TABLES[0] && is_same && self.goes_wrong(Rate::Partial)
    }

    fn on_stream(&mut self, tab: usize, attempt: u32, key: Key, stand: Stand, partial: bool) {
        let Tab { is_alive: true, link: Some(link), browser, user, .. } = self.tabs[tab] else { return };
        if link != attempt || self.tabs[tab].is_half_open {
            return;
        }
        if self.happens(Rate::EventBad, Fault::EventUnreadable) {
            return self.tell(tab, Input::Missed);
        }
        let (table, name) = self.server.name(key);
        let (table, name) = (table.to_owned(), name.to_owned());
        let event = match stand.record {
            None => {
                self.faults.add(Fault::BareDelete);
                ServerEvent::Deleted { table, key: name }
            }
            Some(record) => {
                let record = if partial {
                    self.faults.add(Fault::PartialRow);
                    self.oracle.filled.insert((browser, user, key, stand.version));
                    let kept = record.fields().iter().filter(|(field, _)| *field != LARGE);
                    let kept = kept.map(|(field, value)| (field.clone(), value.clone())).collect();
                    <JsonRecord as rota_engine::Record>::create(&kept)
                } else {
                    record
                };
                let row = Row {
                    table,
                    key: name,
                    version: version(stand.version),
                    op: stand.op.filter(|_| !self.server.is_anonymous),
                    record: Some(record),
                };
                ServerEvent::Changed { row, partial }
            }
        };
        self.tell(tab, Input::ServerChanged { events: vec![event] });
    }

    // ---- the end

    fn finish(&mut self, plan: &Plan) {
        self.heal();
        // A call that was never answered is given up after half a minute, and a leader looks into storage once a minute.
        self.run_for(70_000);
        self.run_until_quiet();
        self.each_sender(|world, tab| world.tell(tab, Input::Reconnect));
        self.run_for(9_000);
        self.run_until_quiet();
        self.decide_conflicts();
        self.check_agreement("after one pull");
        self.check_everyone_is_seen();
        if plan.breaks_at_end {
            self.break_and_join(plan.seed.is_multiple_of(2));
            self.decide_conflicts();
            self.check_agreement("after every link broke");
        }
        self.check_ends();
    }

    fn heal(&mut self) {
        self.rates = [0; Rate::ALL.len()];
        (self.cut_until_ms, self.down_until_ms) = (0, 0);
        for token in &mut self.tokens {
            token.none_before_ms = 0;
        }
        for known in &mut self.server.known {
            known.is_refused = false;
        }
        self.server.refuses_orders = false;
        self.server.commit_all();
        self.spread();
        for browser in &mut self.browsers {
            (browser.local_is_full, browser.database_is_full) = (false, false);
        }
        for tab in self.living() {
            self.tabs[tab].crash_in = None;
            self.thaw(tab);
        }
        self.come_back();
        self.run_for(70);
        self.replace_deaf_leaders();
        self.come_back();
        for tab in self.open_tabs() {
            let dead: Vec<OperationId> = self.dead_of(tab);
            for id in dead {
                let _ = self.feed(tab, Input::Retry { id });
            }
        }
    }

    /// Whatever an earlier visit left behind, the next one brings to its end.
    fn come_back(&mut self) {
        for browser in 0..self.browsers.len() {
            for user in 0..USERS.len() {
                let is_there = |tab: &Tab| tab.is_alive && !tab.is_closed && (tab.browser, tab.user) == (browser, user);
                let has_work = self.oracle.made.values().any(|made| (made.browser, made.user) == (browser, user));
                // Without locks nobody looks after what a tab that died has left: that is for the next one to come.
                if has_work && (!self.browsers[browser].has_locks || !self.tabs.iter().any(is_there)) {
                    self.open_tab(browser, user);
                }
            }
        }
    }

    pub fn open_tabs(&self) -> Vec<usize> {
        (0..self.tabs.len()).filter(|tab| self.tabs[*tab].is_alive && !self.tabs[*tab].is_closed).collect()
    }

    pub fn dead_of(&self, tab: usize) -> Vec<OperationId> {
        let dead = |shown: &&crate::oracle::Shown| shown.state == rota_engine::OperationState::Dead;
        self.tabs[tab].mirror.shown.iter().filter(dead).map(|shown| shown.id).collect()
    }

    fn each_sender(&mut self, mut what: impl FnMut(&mut Self, usize)) {
        for tab in self.open_tabs() {
            if self.tabs[tab].mirror.role() != Role::Follower {
                what(self, tab);
            }
        }
    }

    fn run_until_quiet(&mut self) {
        for _ in 0..2_400 {
            let busy = |tab: &Tab| {
                tab.mirror.status.as_ref().is_none_or(|status| status.unsent > 0 || status.dead > 0 || !status.ready)
            };
            let open = self.open_tabs();
            if !open.iter().any(|tab| busy(&self.tabs[*tab])) {
                return;
            }
            for tab in open {
                for id in self.dead_of(tab) {
                    let _ = self.feed(tab, Input::Retry { id });
                }
            }
            self.run_for(500);
        }
        for tab in self.open_tabs() {
            let Tab { mirror, name, .. } = &self.tabs[tab];
            let waiting: Vec<_> = mirror.shown.iter().map(|shown| (shown.id, shown.state)).collect();
            if !waiting.is_empty() || mirror.status.as_ref().is_none_or(|status| !status.ready) {
                broken!("5", "{name} never comes to rest: {:?}, waiting for {waiting:?}", mirror.status);
            }
        }
    }

    /// People decide on whatever is in conflict, one after the other.
    fn decide_conflicts(&mut self) {
        for _ in 0..100 {
            let conflicted = |tab: &usize| {
                let is_it = |shown: &&crate::oracle::Shown| shown.state == OperationState::Conflicted;
                self.tabs[*tab].mirror.shown.iter().find(is_it).map(|shown| (*tab, shown.id))
            };
            let Some((tab, id)) = self.open_tabs().iter().find_map(conflicted) else { return };
            let choice = self.draw.of(&[0, 1, 2]);
            self.resolve(tab, id, choice);
            self.run_for(300);
            self.run_until_quiet();
        }
        broken!("5", "there is no end to conflicts");
    }

    /// A person decides on a conflict; where there is nothing to write to any more, what the server has is all that is left.
    pub fn resolve(&mut self, tab: usize, id: OperationId, choice: u64) {
        let choice = [Choice::Server, Choice::Local, Choice::Merge][usize::try_from(choice).unwrap_or(0)].clone();
        let before = self.oracle.made.get_mut(&id).map(|made| std::mem::replace(&mut made.is_left, true));
        match self.feed(tab, Input::Resolve { id, choice }) {
            Ok(None) => {}
            Ok(Some(_)) => {
                if let (Some(made), Some(before)) = (self.oracle.made.get_mut(&id), before) {
                    made.is_left = before;
                }
            }
            Err(_) => drop(self.feed(tab, Input::Resolve { id, choice: Choice::Server })),
        }
    }

    /// Everything that changes while links are down or being joined is there when they are live again.
    fn break_and_join(&mut self, silently: bool) {
        self.each_sender(|world, tab| {
            if silently {
                world.tabs[tab].is_half_open = world.tabs[tab].link.is_some();
            } else {
                world.break_link(tab, Failure::Network);
            }
        });
        for n in 0..120 {
            self.run_for(500);
            let key = self.server.key(TABLES[0], &format!("c-{}", n % 3));
            let joining = self.open_tabs().into_iter().any(|tab| {
                let Tab { link, is_subscribed, is_half_open, mirror, .. } = &self.tabs[tab];
                mirror.role() != Role::Follower && (link.is_none() || !is_subscribed || *is_half_open)
            });
            if !joining {
                break;
            }
            // Not told to those whose link is not up yet.
            self.server.sql_set(key, "name", USERS[n / 3 % 3].into());
            self.spread();
        }
        self.run_for(75_000);
        self.run_until_quiet();
    }

    fn check_agreement(&mut self, when: &str) {
        for tab in self.open_tabs() {
            self.check(tab, true);
            let Tab { mirror, name, user, browser, born_ms, is_old, .. } = &self.tabs[tab];
            let place = &self.browsers[*browser];
            let was_there = place.signed_out_ms[*user].is_some_and(|at_ms| *born_ms < at_ms);
            // Where nothing can be stored there is no mark to be found, and the word may have been lost.
            let can_know = place.has_locks && (place.has_local || place.has_database) && !place.was_set_back;
            if was_there && can_know && !is_old {
                broken!("13", "{when}, {name} is still open, though the person has logged out");
            }
            for (key, known) in self.server.known.iter().enumerate() {
                let truth = known.record().filter(|_| known.is_seen_by(*user));
                if mirror.record(key) != truth {
                    broken!(
                        "15",
                        "{when}, {name} shows {:?} as {}, the server has {:?}",
                        mirror.record(key),
                        known.key,
                        known.stand()
                    );
                }
            }
        }
        for browser in 0..self.browsers.len() {
            for (user, person) in USERS.iter().enumerate() {
                let mut roles = [0; 3];
                for tab in self.open_tabs() {
                    if (self.tabs[tab].browser, self.tabs[tab].user) == (browser, user) {
                        roles[self.tabs[tab].mirror.role() as usize] += 1;
                    }
                }
                let [followers, leaders, alone] = roles;
                let is_right = if self.browsers[browser].has_locks {
                    let tabs = followers + leaders + alone;
                    // One that hears nobody may go on alone, as long as there is nobody to hear.
                    (leaders, alone) == (usize::from(tabs > 0), 0) || (tabs, alone) == (1, 1)
                } else {
                    (followers, leaders) == (0, 0)
                };
                if !is_right {
                    broken!(
                        "15",
                        "{when}, browser {browser} has {leaders} leaders, {followers} followers, {alone} alone for {}",
                        person
                    );
                }
            }
        }
    }

    /// Every operation has ended, once, and everyone who asked for one has been told.
    fn check_ends(&self) {
        for id in &self.oracle.order {
            let made = &self.oracle.made[id];
            if let Some(decision) = self.server.ledger.get(id) {
                crate::oracle::check_decision(&self.oracle, &self.server, made, decision);
            }
            let tab = &self.tabs[made.tab];
            let told = tab.mirror.settled.get(id);
            let is_open = tab.is_alive && !tab.is_closed;
            if let Some(told) = told.filter(|_| is_open) {
                self.oracle.check_told(&self.server, *id, &tab.name, *told);
            }
            if is_open && !made.is_rejected && told.is_none() && !crate::shell::is_of_rules(&made.op) {
                broken!("5", "{} was never told how {id} ended", tab.name);
            }
            let oracle = &self.oracle;
            // The one that stands for it was sent in its place.
            let is_decided = oracle
                .standing_for(*id)
                .any(|id| self.server.ledger.contains_key(&id) || oracle.looked_up.contains(&id));
            let is_excused = oracle.standing_for(*id).any(|id| {
                let made = &oracle.made[&id];
                made.is_rejected || made.may_be_lost
            }) || oracle.is_taken_back(*id)
                || oracle.is_doomed(&self.server, *id)
                || oracle.is_late_decision(*id)
                || oracle.standing_for(*id).any(|id| oracle.is_dropped(id));
            if !is_decided && !is_excused {
                broken!("5", "{id} of {} is lost", tab.name);
            }
            let left = self.browsers[made.browser].local.contains_key(&made.storage_key);
            if left && is_decided && !made.is_resurrected {
                broken!("10", "the entry of {id} is left in storage");
            }
        }
        self.check_no_keys_left();
    }
}
