//! A world in virtual time: browsers with tabs, storage, locks and a channel, a network, and a server. Whatever an engine asks for
//! is performed as the shell would; what comes back comes later, as JSON where it would travel as such. After every step
//! the world checks what must always hold.

use std::cell::Cell as Knob;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use rota_engine::{
    AuditEntry, Changes, Choice, Command, Config, Conflict, Content, Domains, Durability, Engine, Error, Failure,
    Fields, FoundEntry, Gone, Input, JsonRecord, Now, Operation, OperationId, OperationState, OperationView, Output,
    Peer, Problem, PullCall, Pulled, RecordId, Role, Row, ServerEvent, Settlement, Status, Stored, StoredOperation,
    TabMessage, TableConfig, Unanswered, Value, ViewSpec,
};
use serde_json::{Value as Json, json};

use crate::server::{Key, Server, number, plain, tables, version};
use crate::watcher::{Seen, Watcher};

pub type Outcome = OperationState;

/// When the stream tells of what an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    BeforeAnswer,
    AfterAnswer,
    Never,
}

/// How little an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bare {
    WithVersion,
    WithoutVersion,
}

impl Bare {
    fn strip(self, answer: &mut Json) {
        // Who gives a key says which, as the record has it.
        if answer["table"] == "orders" {
            return;
        }
        if answer["outcome"] == "confirmed" {
            let answer = answer.as_object_mut().unwrap();
            answer.remove("record");
            if self == Self::WithoutVersion {
                answer.remove("version");
            }
        }
    }
}

/// What goes wrong, and how often.
pub struct Faults {
    pub echo: Echo,
    pub lost_push_requests: u32,
    pub lost_push_replies: u32,
    pub push_failures: VecDeque<(Failure, Option<u64>)>,
    /// Records for which the server fails, however often it is asked.
    pub poison: BTreeSet<String>,
    /// The server takes one operation a call after all.
    pub declines_batches: bool,
    /// Records whose operation the next call of several passes over.
    pub passed_over: BTreeSet<String>,
    /// What the next call of several says of operations that it has no answer to.
    pub unanswered: Vec<Unanswered>,
    /// Further delay of everything, at random, which also reorders.
    pub jitter_ms: u64,
    pub lost_messages_percent: u64,
    pub lost_replies_percent: u64,
    pub doubled_percent: u64,
    pub storage_full: bool,
    /// Entries are on their way into storage, and nobody says when they are there.
    pub stored_later: bool,
    /// How many bytes a browser's storage holds, its cache included.
    pub quota_bytes: Option<usize>,
    /// Calls are neither answered nor fail.
    pub silent: bool,
    /// Links break without a word, and pings on them have no answer.
    pub half_open: bool,
    /// Links can't be opened, while calls get through.
    pub no_streams: bool,
    /// What tabs say to each other is held back, until `release_messages`.
    pub held_messages: bool,
    /// Answers say that it was done, and not how the record is now; with its version, or without.
    pub bare_answers: Option<Bare>,
    /// Rows don't say which operation wrote them.
    pub anonymous: bool,
    /// Pulls fail like this.
    pub pull_failure: Option<Failure>,
    /// Storage takes, and gives nothing back.
    pub storage_mute: bool,
    /// What the quicker place of storage has is not seen yet, and the other one takes so long.
    pub storage_lag_ms: u64,
    /// The browser's database has gone away under the page: nothing is kept in it, and nothing found.
    pub database_dead: bool,
    /// The tab that next asks for this dies before it gets it.
    pub crash_before: Option<&'static str>,
    /// So many things are still performed, by whichever tab; who asks for the next one dies.
    pub crash_after: Option<u32>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            echo: Echo::AfterAnswer,
            lost_push_requests: 0,
            lost_push_replies: 0,
            push_failures: VecDeque::new(),
            poison: BTreeSet::new(),
            declines_batches: false,
            passed_over: BTreeSet::new(),
            unanswered: Vec::new(),
            jitter_ms: 0,
            lost_messages_percent: 0,
            lost_replies_percent: 0,
            doubled_percent: 0,
            storage_full: false,
            stored_later: false,
            quota_bytes: None,
            silent: false,
            half_open: false,
            no_streams: false,
            held_messages: false,
            bare_answers: None,
            anonymous: false,
            pull_failure: None,
            storage_mute: false,
            storage_lag_ms: 0,
            database_dead: false,
            crash_before: None,
            crash_after: None,
        }
    }
}

enum Happening {
    Tell { tab: usize, input: Input<JsonRecord> },
    Message { tab: usize, json: String },
    Push { tab: usize, op: Json },
    PushAll { tab: usize, call: u32, ops: Vec<Json> },
    Pull { tab: usize, call: PullCall },
    Join { tab: usize, attempt: u32 },
    Subscribed { tab: usize, attempt: u32 },
    Live { tab: usize, attempt: u32 },
    Load { tab: usize, look: u32 },
    LoadLater { tab: usize, look: u32 },
    LoadRecords { tab: usize },
    Grant { lock: (usize, String) },
    Steal { tab: usize },
    Ping { tab: usize, attempt: u32 },
    Stream { tab: usize, attempt: u32, key: Key, stand: crate::server::Stand, partial: bool, bare: bool },
}

pub struct Tab {
    pub engine: Engine<JsonRecord>,
    pub browser: usize,
    pub user: String,
    pub alive: bool,
    /// Its channel is closed.
    pub rests: bool,
    /// It does not run. What happens to it meanwhile comes in a burst when it is thawed.
    pub frozen: bool,
    pub waiting: Vec<Input<JsonRecord>>,
    pub pings: u32,
    pub steals: u32,
    pub locks_granted: u32,
    /// Everything that the tab's subscribers know: built from change lists only.
    pub mirror: BTreeMap<Key, Fields>,
    pub operations: BTreeMap<OperationId, OperationView>,
    pub conflicts: BTreeMap<OperationId, Conflict>,
    pub decisions: Vec<AuditEntry>,
    pub status: Option<Status>,
    /// What subscribers saw of each record, one after the other.
    pub seen: BTreeMap<Key, Vec<Option<Fields>>>,
    /// What this tab was told that temporary keys turned out to be.
    pub renamed: BTreeMap<String, String>,
    pub settled: Vec<Settlement>,
    pub rejected: Vec<OperationId>,
    pub durable: Vec<(OperationId, Durability)>,
    pub problems: Vec<Problem>,
    pub notified: u32,
    pub pushed: Vec<OperationId>,
    /// The keys of what each call with operations held.
    pub calls: Vec<Vec<String>>,
    pub pulls: Vec<PullCall>,
    pub signed_out: bool,
    pub logouts_refused: Vec<Problem>,
    pub announced: Vec<(u64, Vec<Peer>)>,
    /// Who is here, for the tab's subscribers.
    pub peers: Vec<Peer>,
    /// How often that changed for them.
    pub peers_changed: u32,
    /// What it told the other tabs.
    pub told: Vec<String>,
    pub connects: u32,
    pub refreshes: u32,
    pub trace: Vec<String>,
    pub inputs: Vec<(String, Now)>,
    /// Who watches which view, and every window that they were shown.
    pub watchers: BTreeMap<u32, Watcher>,
    pub windows: BTreeMap<u32, Vec<Vec<String>>>,
    /// The tables that it declares, in the order of their numbers.
    declared: Vec<String>,
    names: BTreeMap<RecordId, Key>,
    link: Option<u32>,
    subscribed: bool,
    versions: BTreeMap<Key, u64>,
    /// What a leader that has not heard of it yet told this tab to be gone. It comes back when the leader hears.
    gone: BTreeSet<(Key, u64)>,
    seed: [u8; 16],
    born: Now,
}

#[derive(Default)]
struct Lock {
    holder: Option<usize>,
    queue: VecDeque<usize>,
}

pub struct World {
    pub tabs: Vec<Tab>,
    pub server: Server,
    pub faults: Faults,
    /// One storage a browser.
    pub storage: Vec<BTreeMap<String, String>>,
    /// The rows kept for the next visit, by browser and session.
    pub cached: BTreeMap<(usize, String), BTreeMap<Key, Row<JsonRecord>>>,
    pub network: bool,
    pub token_good: bool,
    pub refresh_works: bool,
    /// There are fresh tokens, and the server refuses them all.
    pub fresh_tokens_are_refused: bool,
    pub locks_exist: bool,
    /// How long the server takes from taking a subscription to feeding it.
    pub live_delay_ms: u64,
    pub streams_partial: bool,
    pub retry: Json,
    /// What the tables declare beside the usual, by name.
    pub tables: Json,
    /// Tables that tabs opened from now on do not declare, as those of another release of the application.
    pub undeclared: BTreeSet<String>,
    /// The link's configuration of tabs that are opened from now on.
    pub link: Json,
    /// Their protocol of tab messages.
    pub tab_protocol: Json,
    /// The timers of this tab ring no more often than that, as those of a hidden page.
    pub slow_timers: Option<(usize, u64)>,
    /// Pings are answered.
    pub has_ping: bool,
    pub concurrency: usize,
    pub idempotent: bool,
    /// How many operations a call may hold, as the adapter says.
    pub batch: usize,
    pub now: Now,
    pub ops: BTreeMap<OperationId, Operation>,
    /// What operations were based on before that was put onto something else: some tab may not have heard of it yet.
    pub former: Vec<Operation>,
    /// Operations that a tab died over before they were stored.
    pub unstored: BTreeSet<OperationId>,
    pub tracing: bool,
    /// How many inputs each engine records itself.
    pub recorded: usize,
    /// Tests of what can't be (a stolen lock, an event twice out of nowhere) switch this off.
    pub checks: bool,
    /// Two tabs that both believe to lead may both store what the rules decide.
    pub storage_may_repeat: bool,
    random: Pcg64Mcg,
    agenda: BTreeMap<(u64, u64), Happening>,
    count: u64,
    locks: BTreeMap<(usize, String), Lock>,
    held: Vec<(usize, String)>,
    browser: Knob<usize>,
    /// Since when the steps are counted, how many there were, and what was asked for in the last of them.
    pace: (u64, u32),
    asked_last: VecDeque<String>,
}

const HOP_MS: u64 = 5;

/// So many steps within a second are no work, but something that goes round in circles.
const STEPS_A_SECOND_MAX: u32 = 20_000;

/// How many outputs are shown of it.
const ASKED_LAST: u32 = 40;

impl World {
    pub fn new() -> Self {
        Self::seeded(1)
    }

    pub fn seeded(seed: u64) -> Self {
        let mut bytes = [3; 16];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut server = Server::default();
        server.seed(6);
        Self {
            tabs: Vec::new(),
            server,
            faults: Faults::default(),
            storage: vec![BTreeMap::new(); 4],
            cached: BTreeMap::new(),
            network: true,
            token_good: true,
            refresh_works: true,
            fresh_tokens_are_refused: false,
            locks_exist: true,
            live_delay_ms: 20,
            streams_partial: false,
            retry: json!({}),
            tables: json!({}),
            undeclared: BTreeSet::new(),
            link: json!({}),
            tab_protocol: Json::Null,
            slow_timers: None,
            has_ping: true,
            concurrency: 8,
            idempotent: true,
            batch: 1,
            now: Now { mono_ms: 1_000, wall_ms: 1_763_721_600_000 },
            ops: BTreeMap::new(),
            former: Vec::new(),
            unstored: BTreeSet::new(),
            tracing: false,
            recorded: 0,
            checks: true,
            storage_may_repeat: false,
            random: Pcg64Mcg::from_seed(bytes),
            agenda: BTreeMap::new(),
            count: 0,
            locks: BTreeMap::new(),
            held: Vec::new(),
            browser: Knob::new(0),
            pace: (0, 0),
            asked_last: VecDeque::new(),
        }
    }

    /// A world with so many tabs of one user in one browser, all of them quiet.
    pub fn with_tabs(count: usize) -> Self {
        let mut world = Self::new();
        for _ in 0..count {
            world.open_tab("maya");
        }
        world.run_for(1_000);
        world
    }

    pub fn draw(&mut self, below: u64) -> u64 {
        self.random.next_u64() % below.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        percent > 0 && self.draw(100) < percent
    }

    // ---- people

    /// Tabs opened from now on belong to this browser.
    pub fn use_browser(&self, browser: usize) {
        self.browser.set(browser);
    }

    fn config(&self, user: &str) -> Config {
        let known = |table: &TableConfig| !self.undeclared.contains(&table.name);
        let mut declared = json!(tables().into_iter().filter(known).collect::<Vec<_>>());
        for table in declared.as_array_mut().unwrap() {
            let more = self.tables[table["name"].as_str().unwrap()].as_object().cloned().unwrap_or_default();
            table.as_object_mut().unwrap().extend(more);
        }
        let (retry, concurrency, idempotent) = (&self.retry, self.concurrency, self.idempotent);
        serde_json::from_value(json!({
            "app": "crm", "user": user, "tables": declared, "retry": retry, "concurrency": concurrency, "idempotent": idempotent,
            "batch": self.batch, "link": self.link, "tabProtocol": self.tab_protocol, "trace": self.recorded,
        }))
        .unwrap()
    }

    /// Makes an engine of this world's configuration, and no tab.
    pub fn try_open(&self, user: &str) -> Result<(), Error> {
        Engine::<JsonRecord>::new(self.config(user), Box::new(Domains), [1; 16], self.now).map(|_| ())
    }

    pub fn open_tab(&mut self, user: &str) -> usize {
        let config = self.config(user);
        let declared = config.tables.iter().map(|table| table.name.clone()).collect();
        let mut seed = [0; 16];
        self.random.fill_bytes(&mut seed);
        let engine = Engine::new(config, Box::new(Domains), seed, self.now).unwrap();
        let tab = Tab {
            engine,
            browser: self.browser.get(),
            user: user.to_owned(),
            alive: true,
            rests: false,
            frozen: false,
            waiting: Vec::new(),
            pings: 0,
            steals: 0,
            locks_granted: 0,
            mirror: BTreeMap::new(),
            operations: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            decisions: Vec::new(),
            status: None,
            seen: BTreeMap::new(),
            renamed: BTreeMap::new(),
            settled: Vec::new(),
            rejected: Vec::new(),
            durable: Vec::new(),
            problems: Vec::new(),
            notified: 0,
            pushed: Vec::new(),
            calls: Vec::new(),
            pulls: Vec::new(),
            signed_out: false,
            logouts_refused: Vec::new(),
            announced: Vec::new(),
            peers: Vec::new(),
            peers_changed: 0,
            told: Vec::new(),
            connects: 0,
            refreshes: 0,
            trace: Vec::new(),
            inputs: Vec::new(),
            watchers: BTreeMap::new(),
            windows: BTreeMap::new(),
            declared,
            names: BTreeMap::new(),
            link: None,
            subscribed: false,
            versions: BTreeMap::new(),
            gone: BTreeSet::new(),
            seed,
            born: self.now,
        };
        self.tabs.push(tab);
        let index = self.tabs.len() - 1;
        self.drain(index);
        index
    }

    /// The tab hears nothing and does nothing, until it wakes; what it would have heard meanwhile is lost. Of one that is only
    /// frozen, it waits.
    pub fn hang(&mut self, tab: usize) {
        self.tabs[tab].alive = false;
    }

    /// A tab that hung goes on, with nothing of what happened meanwhile but what it is told now.
    pub fn wake_deaf(&mut self, tab: usize, input: Input<JsonRecord>) {
        self.tabs[tab].alive = true;
        self.tell(tab, input);
    }

    pub fn open_view(&mut self, tab: usize, id: u32, spec: &ViewSpec) {
        self.tabs[tab].watchers.insert(id, Watcher::new(spec));
        self.try_tell(tab, Input::OpenView { id, spec: spec.clone() }).unwrap();
    }

    /// The tab is gone at once: no farewell, and nothing under way comes back to it.
    pub fn kill_tab(&mut self, tab: usize) {
        self.tabs[tab].alive = false;
        self.tabs[tab].link = None;
        self.release(tab);
    }

    pub fn reload_tab(&mut self, tab: usize) -> usize {
        self.kill_tab(tab);
        self.use_browser(self.tabs[tab].browser);
        let user = self.tabs[tab].user.clone();
        self.open_tab(&user)
    }

    pub fn close_tab(&mut self, tab: usize) {
        self.tell(tab, Input::Close);
        self.tabs[tab].alive = false;
        self.tabs[tab].link = None;
    }

    /// The tab does not run any more, as one in the background of a telephone; it keeps its lock, and what happens to it waits.
    pub fn freeze(&mut self, tab: usize) {
        self.tabs[tab].frozen = true;
    }

    /// The tab runs again: what happened to it comes at once, before or after what was due.
    pub fn thaw(&mut self, tab: usize, timers_first: bool) {
        self.tabs[tab].frozen = false;
        let waiting = std::mem::take(&mut self.tabs[tab].waiting);
        if timers_first {
            self.tell(tab, Input::TimerFired);
        }
        for input in waiting {
            self.tell(tab, input);
        }
    }

    /// What was held back on the channel arrives in a burst.
    pub fn release_messages(&mut self) {
        self.faults.held_messages = false;
        for (tab, json) in std::mem::take(&mut self.held) {
            self.later(1, Happening::Message { tab, json });
        }
    }

    /// What was held back on the channel is lost.
    pub fn lose_messages(&mut self) {
        self.faults.held_messages = false;
        self.held.clear();
    }

    /// The lock is taken from whoever has it, as of a tab that hangs.
    pub fn steal_lock(&mut self, thief: usize) {
        let name = self.lock_name(thief);
        let lock = self.locks.entry(name).or_default();
        let victim = lock.holder.replace(thief);
        lock.queue.retain(|tab| *tab != thief);
        if let Some(victim) = victim.filter(|victim| *victim != thief) {
            self.tell(victim, Input::LockLost);
        }
        self.tabs[thief].locks_granted += 1;
        self.tell(thief, Input::LockGranted);
    }

    pub fn tab(&mut self, index: usize) -> Person<'_> {
        Person { world: self, index }
    }

    pub fn leader(&self) -> Option<usize> {
        let leads = |tab: &Tab| tab.alive && tab.status.as_ref().is_some_and(|status| status.role == Role::Leader);
        self.tabs.iter().position(leads)
    }

    /// The leader that runs: one that is frozen may still believe to lead.
    pub fn leader_running(&self) -> Option<usize> {
        let leads = |tab: &Tab| tab.status.as_ref().is_some_and(|status| status.role == Role::Leader);
        self.tabs.iter().position(|tab| tab.alive && !tab.frozen && leads(tab))
    }

    pub fn living(&self) -> Vec<usize> {
        (0..self.tabs.len()).filter(|tab| self.tabs[*tab].alive && !self.tabs[*tab].signed_out).collect()
    }

    // ---- the world outside

    pub fn cut_network(&mut self) {
        self.network = false;
        for tab in self.living() {
            self.break_link(tab, Failure::Network);
        }
    }

    pub fn heal_network(&mut self) {
        self.network = true;
    }

    pub fn break_link(&mut self, tab: usize, failure: Failure) {
        if let Some(attempt) = self.tabs[tab].link.take() {
            let message = "the connection broke".to_owned();
            self.later(HOP_MS, Happening::Tell { tab, input: Input::LinkClosed { attempt, failure, message } });
        }
    }

    pub fn expire_token(&mut self) {
        self.token_good = false;
    }

    pub fn sql_update(&mut self, key: &str, field: &str, value: &str) {
        self.server.sql_set(key, &[(field, value.into())]);
        self.spread();
    }

    pub fn sql_set(&mut self, key: &str, field: &str, value: Value) {
        self.server.sql_set(key, &[(field, value)]);
        self.spread();
    }

    /// Somebody makes or changes a lead.
    pub fn sql_lead(&mut self, key: &str, name: &str) {
        self.server.sql_lead(key, name);
        self.spread();
    }

    pub fn sql_delete(&mut self, key: &str) {
        self.server.sql_delete(key);
        self.spread();
    }

    /// The server's publication: every change goes to every subscribed link.
    fn spread(&mut self) {
        for key in std::mem::take(&mut self.server.news) {
            let stand = self.server.rows[&key].clone();
            let bare = stand.record.is_none();
            let by_operation = stand.op.is_some();
            if by_operation && self.faults.echo == Echo::Never {
                continue;
            }
            let wait = if by_operation && self.faults.echo == Echo::AfterAnswer { 4 * HOP_MS } else { 1 };
            for tab in self.living() {
                let (Some(attempt), true) = (self.tabs[tab].link, self.tabs[tab].subscribed) else { continue };
                let copies = if self.chance(self.faults.doubled_percent) { 2 } else { 1 };
                for _ in 0..copies {
                    let (key, stand, partial) = (key.clone(), stand.clone(), self.streams_partial);
                    self.later(wait, Happening::Stream { tab, attempt, key, stand, partial, bare });
                }
            }
        }
    }

    // ---- time

    fn later(&mut self, delay_ms: u64, happening: Happening) {
        let jitter = self.draw(self.faults.jitter_ms + 1);
        self.count += 1;
        self.agenda.insert((self.now.mono_ms + delay_ms + jitter, self.count), happening);
    }

    fn pass_to(&mut self, mono_ms: u64) {
        let passed = mono_ms.saturating_sub(self.now.mono_ms);
        self.now = Now { mono_ms: self.now.mono_ms + passed, wall_ms: self.now.wall_ms + passed };
    }

    /// The machine sleeps: the wall clock goes on, the monotonic one stands, and the streams die without a word.
    pub fn sleep_for(&mut self, ms: u64) {
        for tab in &mut self.tabs {
            tab.link = None;
        }
        self.now.wall_ms += ms;
    }

    pub fn run_for(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        while self.step(end) {
            self.count_step();
        }
        self.pass_to(end);
    }

    /// Fails when something goes round in circles, and says what.
    fn count_step(&mut self) {
        let (since_ms, steps) = self.pace;
        self.pace = if self.now.mono_ms >= since_ms + 1_000 { (self.now.mono_ms, 0) } else { (since_ms, steps + 1) };
        assert!(self.pace.1 < STEPS_A_SECOND_MAX, "time hardly goes on any more: {:#?}", self.asked_last);
    }

    /// Notes the last outputs before the count of steps is full.
    fn note_asked(&mut self, tab: usize, output: &Output<JsonRecord>) {
        if self.pace.1 > STEPS_A_SECOND_MAX - ASKED_LAST {
            let json = serde_json::to_string(output).unwrap();
            self.asked_last.push_back(format!("{} ms, tab {tab}: {json}", self.now.mono_ms));
            self.asked_last.drain(..self.asked_last.len().saturating_sub(ASKED_LAST as usize));
        }
    }

    fn wake_at(&self, tab: usize) -> Option<u64> {
        let at = self.tabs[tab].engine.deadline()?;
        match self.slow_timers {
            Some((slow, every_ms)) if slow == tab => Some((at.max(self.now.mono_ms) / every_ms + 1) * every_ms),
            _ => Some(at),
        }
    }

    fn step(&mut self, end: u64) -> bool {
        let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let wake = self
            .living()
            .into_iter()
            .filter(|tab| !self.tabs[*tab].frozen)
            .filter_map(|tab| self.wake_at(tab).map(|at| (at.max(self.now.mono_ms), tab)))
            .min();
        match (next, wake) {
            (Some(at), _) if at <= end && wake.is_none_or(|(wake, _)| at <= wake) => {
                self.pass_to(at);
                let (_, happening) = self.agenda.pop_first().unwrap();
                self.happen(happening);
                true
            }
            (_, Some((at, tab))) if at <= end => {
                self.pass_to(at);
                self.tell(tab, Input::TimerFired);
                let again = self.wake_at(tab);
                assert!(again.is_none_or(|again| again > self.now.mono_ms), "tab {tab} has a timer that never rests");
                true
            }
            _ => false,
        }
    }

    /// Runs until every operation of every living tab is settled or dead; fails when that takes longer than ten minutes.
    pub fn run_until_quiet(&mut self) {
        for _ in 0..600 {
            self.run_for(1_000);
            let busy = |tab: &Tab| tab.status.as_ref().is_some_and(|status| status.unsent > 0 || !status.ready);
            if !self.living().into_iter().any(|tab| busy(&self.tabs[tab])) {
                self.run_for(3_000);
                return;
            }
        }
        let stuck: Vec<_> =
            self.living().into_iter().map(|tab| (tab, &self.tabs[tab].status, &self.tabs[tab].operations)).collect();
        panic!("something never came to rest: {stuck:#?}");
    }

    // ---- what happens

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tell { tab, input } => self.tell(tab, input),
            Happening::Message { tab, json } => {
                self.note_ends(tab, &json);
                let input = match serde_json::from_str(&json) {
                    Ok(message) => Input::TabMessageReceived(message),
                    Err(error) => Input::Unreadable {
                        code: "malformed-message".into(),
                        place: "channel".into(),
                        message: error.to_string(),
                    },
                };
                self.tell(tab, input);
            }
            Happening::Push { tab, op } => self.on_push(tab, &op),
            Happening::PushAll { tab, call, ops } => self.on_push_all(tab, call, ops),
            Happening::Pull { tab, call } => self.on_pull(tab, &call),
            Happening::Join { tab, attempt } => self.on_join(tab, attempt),
            Happening::Subscribed { tab, attempt } => {
                if self.tabs[tab].link == Some(attempt) {
                    self.tabs[tab].subscribed = true;
                    self.later(HOP_MS, Happening::Live { tab, attempt });
                }
            }
            Happening::Live { tab, attempt } => {
                if self.tabs[tab].link == Some(attempt) {
                    self.tell(tab, Input::LinkLive { attempt });
                }
            }
            Happening::Load { tab, look } => self.on_load(tab, look),
            Happening::LoadLater { tab, look } => self.on_load_later(tab, look),
            Happening::LoadRecords { tab } => self.on_load_records(tab),
            Happening::Grant { lock } => self.grant(&lock),
            Happening::Steal { tab } if self.tabs[tab].alive => self.steal_lock(tab),
            Happening::Steal { .. } => {}
            Happening::Ping { tab, attempt } => {
                if self.tabs[tab].link == Some(attempt) && self.network && !self.faults.half_open && !self.faults.silent
                {
                    self.tell(tab, Input::Ponged { attempt });
                }
            }
            Happening::Stream { tab, attempt, key, stand, partial, bare } => {
                let is_asked_for = self.tabs[tab].declared.contains(&key.0);
                if self.tabs[tab].link == Some(attempt) && self.network && !self.faults.half_open && is_asked_for {
                    self.on_stream(tab, key, &stand, partial, bare);
                }
            }
        }
    }

    fn on_stream(&mut self, tab: usize, key: Key, stand: &crate::server::Stand, partial: bool, bare: bool) {
        let event = if bare {
            ServerEvent::Deleted { table: key.0, key: key.1 }
        } else {
            let mut record = Server::row_json(stand);
            if partial {
                record.as_object_mut().unwrap().remove("name");
            }
            let op = stand.op.filter(|_| !self.faults.anonymous);
            record["rota_op"] = json!(op);
            let row =
                json!({"table": key.0, "key": key.1, "version": stand.version.to_string(), "op": op, "record": record});
            ServerEvent::Changed { row: serde_json::from_value(row).unwrap(), partial }
        };
        self.tell(tab, Input::ServerChanged { events: vec![event] });
    }

    fn push_failed(&mut self, tab: usize, id: OperationId, failure: Failure, after_ms: Option<u64>) {
        let message = "the call failed".to_owned();
        self.later(HOP_MS, Happening::Tell { tab, input: Input::PushFailed { id, failure, message, after_ms } });
    }

    fn on_push(&mut self, tab: usize, op: &Json) {
        let id: OperationId = serde_json::from_value(op["id"].clone()).unwrap();
        if self.faults.silent {
            return;
        }
        if !self.network {
            return self.push_failed(tab, id, Failure::Network, None);
        }
        if !self.token_good {
            return self.push_failed(tab, id, Failure::Auth, None);
        }
        if let Some((failure, after_ms)) = self.faults.push_failures.pop_front() {
            return self.push_failed(tab, id, failure, after_ms);
        }
        if self.faults.poison.contains(op["key"].as_str().unwrap()) {
            return self.push_failed(tab, id, Failure::Server, None);
        }
        if self.faults.lost_push_requests > 0 {
            self.faults.lost_push_requests -= 1;
            return self.push_failed(tab, id, Failure::Network, None);
        }
        let user = self.tabs[tab].user.clone();
        let mut answer = self.server.apply_operation(op, &user);
        if let Some(bare) = self.faults.bare_answers {
            bare.strip(&mut answer);
        }
        self.spread();
        let is_lost = self.chance(self.faults.lost_replies_percent);
        if self.faults.lost_push_replies > 0 || is_lost {
            self.faults.lost_push_replies = self.faults.lost_push_replies.saturating_sub(1);
            return self.push_failed(tab, id, Failure::Network, None);
        }
        let copies = if self.chance(self.faults.doubled_percent) { 2 } else { 1 };
        for _ in 0..copies {
            let answer = serde_json::from_value(answer.clone()).unwrap();
            self.later(2 * HOP_MS, Happening::Tell { tab, input: Input::Answered { answer } });
        }
    }

    /// Several in one call, each for itself.
    fn on_push_all(&mut self, tab: usize, call: u32, ops: Vec<Json>) {
        let fail = |world: &mut Self, failure, after_ms| {
            let message = "the call failed".to_owned();
            let input = Input::CallFailed { call, failure, message, after_ms };
            world.later(HOP_MS, Happening::Tell { tab, input });
        };
        if self.faults.silent {
            return;
        }
        if !self.network {
            return fail(self, Failure::Network, None);
        }
        if !self.token_good {
            return fail(self, Failure::Auth, None);
        }
        if let Some((failure, after_ms)) = self.faults.push_failures.pop_front() {
            return fail(self, failure, after_ms);
        }
        if self.faults.declines_batches {
            return self.later(HOP_MS, Happening::Tell { tab, input: Input::CallDeclined { call } });
        }
        if ops.iter().any(|op| self.faults.poison.contains(op["key"].as_str().unwrap())) {
            return fail(self, Failure::Server, None);
        }
        let user = self.tabs[tab].user.clone();
        let mut answers = Vec::new();
        for op in &ops {
            if !self.faults.passed_over.remove(op["key"].as_str().unwrap()) {
                answers.push(serde_json::from_value(self.server.apply_operation(op, &user)).unwrap());
            }
        }
        self.spread();
        if self.faults.lost_push_replies > 0 {
            self.faults.lost_push_replies -= 1;
            return fail(self, Failure::Network, None);
        }
        let unanswered = std::mem::take(&mut self.faults.unanswered);
        self.later(2 * HOP_MS, Happening::Tell { tab, input: Input::CallAnswered { call, answers, unanswered } });
    }

    fn on_pull(&mut self, tab: usize, call: &PullCall) {
        let id = call.id;
        let failure = match (self.faults.silent, self.network, self.token_good) {
            (true, _, _) => return,
            (_, false, _) => Some(Failure::Network),
            (_, _, false) => Some(Failure::Auth),
            (false, true, true) => None,
        };
        let failure = failure.or(self.faults.pull_failure);
        let failure = if self.chance(self.faults.lost_replies_percent) { Some(Failure::Network) } else { failure };
        if let Some(failure) = failure {
            let message = "the call failed".to_owned();
            return self.later(HOP_MS, Happening::Tell { tab, input: Input::PullFailed { id, failure, message } });
        }
        let user = self.tabs[tab].user.clone();
        let mut response = self.server.pull(&serde_json::to_value(&call.request).unwrap(), &user);
        if let Some(bare) = self.faults.bare_answers {
            response["settled"].as_array_mut().unwrap().iter_mut().for_each(|answer| bare.strip(answer));
        }
        if self.faults.anonymous {
            let tables = response["records"].as_object_mut().unwrap().values_mut();
            tables.flat_map(|rows| rows.as_array_mut().unwrap()).for_each(|row| row["rota_op"] = Json::Null);
        }
        self.later(HOP_MS, Happening::Tell { tab, input: Input::Pulled(pulled(id, &response)) });
    }

    fn on_join(&mut self, tab: usize, attempt: u32) {
        if self.tabs[tab].link != Some(attempt) {
            return;
        }
        if !self.network || !self.token_good || self.faults.no_streams {
            let failure = if self.network && !self.faults.no_streams { Failure::Auth } else { Failure::Network };
            return self.break_link(tab, failure);
        }
        self.tell(tab, Input::LinkJoined { attempt });
        self.later(self.live_delay_ms, Happening::Subscribed { tab, attempt });
    }

    fn on_load(&mut self, tab: usize, look: u32) {
        if self.faults.storage_mute {
            return;
        }
        let prefixes = self.tabs[tab].engine.session().looked_for();
        let storage = &self.storage[self.tabs[tab].browser];
        let found = storage.iter().filter(|(key, _)| prefixes.iter().any(|prefix| key.starts_with(prefix)));
        let entries = found.map(|(key, text)| FoundEntry { key: key.clone(), content: content(text) }).collect();
        if self.faults.storage_lag_ms > 0 {
            self.later(self.faults.storage_lag_ms, Happening::LoadLater { tab, look });
            return self.tell(tab, Input::EntriesFound { entries: Vec::new(), look: None });
        }
        self.tell(tab, Input::EntriesFound { entries, look: Some(look) });
    }

    fn on_load_later(&mut self, tab: usize, look: u32) {
        let lag_ms = std::mem::take(&mut self.faults.storage_lag_ms);
        self.on_load(tab, look);
        self.faults.storage_lag_ms = lag_ms;
    }

    fn cache(&mut self, tab: usize, rows: Vec<Row<JsonRecord>>) {
        if self.faults.database_dead {
            return;
        }
        let cached = self.cached.entry(self.lock_name(tab)).or_default();
        for row in rows {
            let key = (row.table.clone(), row.key.clone());
            match row.record {
                // The shell keeps version and record, and not who wrote it.
                Some(_) => cached.insert(key, Row { op: None, ..row }),
                None => cached.remove(&key),
            };
        }
    }

    fn on_load_records(&mut self, tab: usize) {
        let rows = self.cached.get(&self.lock_name(tab)).map(|rows| rows.values().cloned().collect());
        self.tell(tab, Input::RecordsFound { rows: rows.unwrap_or_default() });
    }

    fn lock_name(&self, tab: usize) -> (usize, String) {
        (self.tabs[tab].browser, self.tabs[tab].engine.session().name())
    }

    fn release(&mut self, tab: usize) {
        let name = self.lock_name(tab);
        let lock = self.locks.entry(name.clone()).or_default();
        lock.queue.retain(|waiting| *waiting != tab);
        if lock.holder == Some(tab) {
            lock.holder = None;
        }
        self.later(HOP_MS, Happening::Grant { lock: name });
    }

    fn grant(&mut self, name: &(usize, String)) {
        let lock = self.locks.entry(name.clone()).or_default();
        if lock.holder.is_some() {
            return;
        }
        if let Some(next) = lock.queue.pop_front() {
            lock.holder = Some(next);
            self.tabs[next].locks_granted += 1;
            self.tell(next, Input::LockGranted);
        }
    }

    /// Tells a tab something, and performs what it asks for.
    pub fn tell(&mut self, tab: usize, input: Input<JsonRecord>) {
        let _ = self.try_tell(tab, input);
    }

    pub fn try_tell(&mut self, tab: usize, input: Input<JsonRecord>) -> Result<Option<OperationId>, Error> {
        if !self.tabs[tab].alive {
            return Ok(None);
        }
        if self.tabs[tab].frozen {
            self.tabs[tab].waiting.push(input);
            return Ok(None);
        }
        let result = self.handle(tab, input);
        self.drain(tab);
        result
    }

    fn handle(&mut self, tab: usize, input: Input<JsonRecord>) -> Result<Option<OperationId>, Error> {
        if self.tracing {
            self.tabs[tab].inputs.push((serde_json::to_string(&input).unwrap(), self.now));
        }
        self.tabs[tab].notified = 0;
        self.tabs[tab].engine.handle(input, self.now)
    }

    fn drain(&mut self, tab: usize) {
        while let Some(output) = self.tabs[tab].engine.poll() {
            if self.tracing {
                self.tabs[tab].trace.push(serde_json::to_string(&output).unwrap());
            }
            if self.crashes_before(&output) {
                if let Output::Persist { id, .. } = output {
                    self.unstored.insert(id);
                }
                self.kill_tab(tab);
                return;
            }
            self.note_asked(tab, &output);
            self.perform(tab, output);
        }
        if self.checks && !self.tabs[tab].signed_out {
            self.check(tab);
        }
    }

    fn crashes_before(&mut self, output: &Output<JsonRecord>) -> bool {
        if let Some(left) = self.faults.crash_after {
            self.faults.crash_after = left.checked_sub(1);
            return left == 0;
        }
        let Some(name) = self.faults.crash_before else { return false };
        let json = serde_json::to_value(output).unwrap();
        let is_it = json.as_str() == Some(name) || json.get(name).is_some();
        if is_it {
            self.faults.crash_before = None;
        }
        is_it
    }

    fn perform(&mut self, tab: usize, output: Output<JsonRecord>) {
        let hop = HOP_MS;
        match output {
            Output::Persist { id, key, entry } => self.persist(tab, id, key, &entry),
            Output::PersistAlias { key, entry } => {
                let text = serde_json::to_string(&entry).unwrap();
                let before = self.storage[self.tabs[tab].browser].insert(key, text.clone());
                assert!(before.is_none_or(|before| before == text), "a temporary key became two records");
            }
            Output::PersistMark { key } => {
                self.storage[self.tabs[tab].browser].insert(key, r#"{"v":1}"#.to_owned());
            }
            Output::Unpersist { key } => {
                self.storage[self.tabs[tab].browser].remove(&key);
            }
            Output::Quarantine { key, to } => {
                let storage = &mut self.storage[self.tabs[tab].browser];
                if let Some(text) = storage.remove(&key) {
                    storage.insert(to, text);
                }
            }
            Output::ForgetQuarantined { prefix } => {
                self.storage[self.tabs[tab].browser].retain(|key, _| !key.starts_with(&prefix));
            }
            Output::LoadOperations { look } => self.later(1, Happening::Load { tab, look }),
            Output::CacheRecords { rows } => self.cache(tab, rows),
            Output::LoadRecords => self.later(2, Happening::LoadRecords { tab }),
            Output::ForgetRecords => drop(self.cached.remove(&self.lock_name(tab))),
            Output::PurgeSession { prefix, keep, mark } => {
                let storage = &mut self.storage[self.tabs[tab].browser];
                storage.extend(mark.map(|key| (key, r#"{"v":1}"#.to_owned())));
                storage.retain(|key, _| !key.starts_with(&prefix) || key.starts_with(&keep));
                self.cached.remove(&self.lock_name(tab));
            }
            Output::SignedOut => {
                self.tabs[tab].signed_out = true;
                self.tabs[tab].link = None;
            }
            Output::LogoutRefused(problem) => self.tabs[tab].logouts_refused.push(problem),
            Output::RequestLock if !self.locks_exist => {
                self.tabs[tab].rests = false;
                self.later(1, Happening::Tell { tab, input: Input::NoLocks });
            }
            Output::RequestLock => {
                self.tabs[tab].rests = false;
                let lock = self.lock_name(tab);
                self.locks.entry(lock.clone()).or_default().queue.push_back(tab);
                self.later(hop, Happening::Grant { lock });
            }
            Output::ReleaseLock => self.release(tab),
            Output::Rest => {
                self.release(tab);
                self.tabs[tab].rests = true;
            }
            Output::StealLock => {
                self.tabs[tab].steals += 1;
                self.later(hop, Happening::Steal { tab });
            }
            Output::Broadcast(message) => self.broadcast(tab, &serde_json::to_string(&message).unwrap()),
            Output::Connect { attempt } => {
                let tab_ = &mut self.tabs[tab];
                (tab_.link, tab_.subscribed, tab_.connects) = (Some(attempt), false, tab_.connects + 1);
                self.later(hop, Happening::Join { tab, attempt });
            }
            Output::Ping { attempt } => {
                self.tabs[tab].pings += 1;
                if self.has_ping {
                    self.later(hop, Happening::Ping { tab, attempt });
                }
            }
            Output::Disconnect => self.tabs[tab].link = None,
            Output::Pull(call) => {
                self.tabs[tab].pulls.push(call.clone());
                self.later(hop, Happening::Pull { tab, call });
            }
            Output::Push { operation } => {
                self.tabs[tab].pushed.push(operation.id);
                self.tabs[tab].calls.push(vec![operation.key.clone()]);
                let op = serde_json::to_value(&operation).unwrap();
                self.later(hop, Happening::Push { tab, op });
            }
            Output::PushAll { call, operations } => {
                self.tabs[tab].pushed.extend(operations.iter().map(|operation| operation.id));
                self.tabs[tab].calls.push(operations.iter().map(|operation| operation.key.clone()).collect());
                let ops = operations.iter().map(|operation| serde_json::to_value(operation).unwrap()).collect();
                self.later(hop, Happening::PushAll { tab, call, ops });
            }
            Output::Gather => self.later(0, Happening::Tell { tab, input: Input::Gathered }),
            Output::AnnouncePresence { peers } => {
                self.tabs[tab].announced.push((self.now.mono_ms, peers.clone()));
                // The backend tells everybody who has a link, the sender included.
                let linked: Vec<usize> = self.living().into_iter().filter(|tab| self.tabs[*tab].subscribed).collect();
                for other in linked {
                    let peers = peers.clone();
                    self.later(hop, Happening::Tell { tab: other, input: Input::PresenceHeard { peers } });
                }
            }
            Output::RefreshToken => {
                self.tabs[tab].refreshes += 1;
                if !self.network {
                    let input = Input::TokenMissed { failure: Failure::Network, message: "no route".into() };
                    self.later(hop, Happening::Tell { tab, input });
                } else if self.refresh_works {
                    self.token_good = !self.fresh_tokens_are_refused;
                    self.later(hop, Happening::Tell { tab, input: Input::TokenRefreshed });
                }
            }
            Output::Notify(changes) => self.tabs[tab].hear(changes),
            Output::Settled(settlement) => self.tabs[tab].settled.push(settlement),
            Output::Durable { id, durability } => self.tabs[tab].durable.push((id, durability)),
            Output::Rejected { id, .. } => self.tabs[tab].rejected.push(id),
            Output::Report(problem) => self.tabs[tab].problems.push(problem),
        }
    }

    fn persist(&mut self, tab: usize, id: OperationId, key: String, entry: &StoredOperation) {
        if let Some(before) = self.ops.insert(id, entry.op.clone())
            && before.rebased < entry.op.rebased
        {
            assert_eq!(self.sent(id), 0, "what was sent must stay as it was");
            self.former.push(before);
        }
        let is_full = self.faults.quota_bytes.is_some_and(|quota| {
            let browser = self.tabs[tab].browser;
            let entries = self.storage[browser].iter().map(|(key, text)| key.len() + text.len());
            let cached = self.cached.iter().filter(|((of, _), _)| *of == browser).map(|(_, rows)| 100 * rows.len());
            entries.sum::<usize>() + cached.sum::<usize>() > quota
        });
        let stored = if self.faults.storage_full || is_full {
            Stored::Failed("the quota is used up".into())
        } else {
            let text = serde_json::to_string(entry).unwrap();
            let before = self.storage[self.tabs[tab].browser].insert(key, text);
            assert!(before.is_none() || self.storage_may_repeat || entry.op.rebased > 0, "an entry was written twice");
            if self.faults.stored_later {
                Stored::Later
            } else {
                let durable = !self.faults.database_dead;
                self.later(3, Happening::Tell { tab, input: Input::OperationDurable { id, durable } });
                Stored::Now
            }
        };
        let _ = self.handle(tab, Input::OperationStored { id, stored });
    }

    fn broadcast(&mut self, from: usize, json: &str) {
        if self.tabs[from].rests {
            return;
        }
        self.tabs[from].told.push(json.to_owned());
        let name = self.lock_name(from);
        for tab in self.living() {
            if tab == from
                || self.tabs[tab].rests
                || self.lock_name(tab) != name
                || self.chance(self.faults.lost_messages_percent)
            {
                continue;
            }
            let copies = if self.chance(self.faults.doubled_percent) { 2 } else { 1 };
            for _ in 0..copies {
                if self.faults.held_messages {
                    self.held.push((tab, json.to_owned()));
                } else {
                    self.later(1, Happening::Message { tab, json: json.to_owned() });
                }
            }
        }
    }

    /// Notes what a tab message says is gone, in so many words or, in a snapshot, without any.
    fn note_ends(&mut self, tab: usize, json: &str) {
        let Ok(message) = serde_json::from_str::<Json>(json) else { return };
        let rows = message["records"].as_array().cloned().unwrap_or_default();
        let key =
            |row: &Json| (row["table"].as_str().unwrap_or("").to_owned(), row["key"].as_str().unwrap_or("").to_owned());
        let tab = &mut self.tabs[tab];
        for row in rows.iter().filter(|row| row["record"].is_null()) {
            tab.gone.insert((key(row), row["version"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)));
        }
        if message["to"] == tab.engine.tab() {
            let there: BTreeSet<Key> = rows.iter().filter(|row| !row["record"].is_null()).map(key).collect();
            let missing = tab.versions.iter().filter(|(key, _)| !there.contains(*key));
            tab.gone.extend(missing.map(|(key, version)| (key.clone(), *version)).collect::<Vec<_>>());
        }
    }

    // ---- what must always hold

    fn check(&mut self, tab: usize) {
        let (Self { server, ops, .. }, tab) = (&*self, &self.tabs[tab]);
        assert!(server.effects.values().all(|times| *times == 1), "an operation had its effect twice");
        let keys: BTreeSet<Key> = server.rows.keys().cloned().chain(tab.mirror.keys().cloned()).collect();
        let all = tab.all_shown(ops);
        let joint = Tab::shared(&all);
        tab.check_shared(&joint, server, &all);
        for key in &keys {
            let visible = tab.engine.visible(&key.0, &key.1).map(|record| plain(&record));
            assert_eq!(tab.mirror.get(key), visible.as_ref(), "the change lists told another story of {key:?}");
            let known = tab.engine.version(&key.0, &key.1).map(|version| version.to_string().parse::<u64>().unwrap());
            assert!(known >= tab.versions.get(key).copied(), "the version of {key:?} went back");
            let confirmed = known.and_then(|known| server.history.get(&(key.clone(), known)).cloned().flatten());
            if joint.contains(key) {
                continue;
            }
            let shown: Vec<&Operation> = all.iter().filter(|op| op.table == key.0 && op.key == key.1).collect();
            let is_rebased = |op: &Operation| self.former.iter().any(|it| it.id == op.id);
            let olds: Vec<&Operation> =
                shown.iter().map(|op| self.former.iter().find(|it| it.id == op.id).unwrap_or(op)).collect();
            let is_old = shown.iter().any(|op| is_rebased(op)) && visible == fold(confirmed.clone(), &olds);
            let expected = fold(confirmed, &shown);
            let may_be_gone =
                server.rows.get(key).is_none_or(|stand| stand.record.is_none() || stand.version > known.unwrap_or(0))
                    || known.is_some_and(|known| tab.gone.contains(&(key.clone(), known)));
            assert!(
                visible == expected || is_old || (may_be_gone && visible == fold(None, &shown)),
                "{key:?} shows {visible:?}, which is not confirmed {known:?} with {shown:?} over it: {expected:?}"
            );
        }
        let told: Vec<&Conflict> = tab.conflicts.values().collect();
        let mut waiting = tab.engine.conflicts();
        waiting.sort_by_key(|conflict| conflict.id);
        assert_eq!(told, waiting.iter().collect::<Vec<_>>(), "the change lists told of other conflicts");
        assert_eq!(tab.decisions.len(), tab.engine.audit().len(), "the change lists told of other decisions");
        tab.check_views();
        let versions: Vec<(Key, u64)> = keys
            .into_iter()
            .filter_map(|key| {
                let version = tab.engine.version(&key.0, &key.1)?.to_string().parse().unwrap();
                Some((key, version))
            })
            .collect();
        let index = self.tabs.iter().position(|other| std::ptr::eq(other, tab)).unwrap();
        self.tabs[index].versions.extend(versions);
    }

    /// Every living tab shows what the server has, and holds nothing unsettled but the dead.
    pub fn assert_all_agree(&self) {
        for index in self.living() {
            let tab = &self.tabs[index];
            let truth: BTreeMap<Key, Fields> =
                self.server.rows.iter().filter_map(|(key, stand)| Some((key.clone(), stand.record.clone()?))).collect();
            assert_eq!(tab.mirror, truth, "tab {index} of {} differs from the server", tab.user);
            assert_eq!(tab.status.as_ref().unwrap().unsent, 0, "tab {index} still waits for {:?}", tab.operations);
        }
    }

    pub fn outcome(&self, tab: usize, id: OperationId) -> Vec<Outcome> {
        self.tabs[tab].settled.iter().filter(|end| end.id == id).map(|end| end.outcome).collect()
    }

    /// True when somebody was told how an operation ended.
    pub fn ended(&self, id: OperationId) -> bool {
        self.tabs.iter().flat_map(|tab| &tab.settled).any(|end| end.id == id)
    }

    pub fn owner(&self, tab: usize, key: &str) -> Value {
        self.tabs[tab].field(key, "owner_id")
    }

    pub fn sent(&self, id: OperationId) -> u32 {
        self.server.pushes.get(&id).copied().unwrap_or(0)
    }

    pub fn stored(&self, browser: usize) -> Vec<&String> {
        self.storage[browser].keys().collect()
    }

    /// Runs a tab's recorded inputs on a new engine, and returns what that one asks for.
    pub fn replay(&self, tab: usize) -> Vec<String> {
        let tab = &self.tabs[tab];
        let config = self.config(&tab.user);
        let mut engine: Engine<JsonRecord> = Engine::new(config, Box::new(Domains), tab.seed, tab.born).unwrap();
        let mut outputs = Vec::new();
        let mut inputs = tab.inputs.iter().peekable();
        loop {
            while let Some(output) = engine.poll() {
                let is_persist = matches!(output, Output::Persist { .. });
                outputs.push(serde_json::to_string(&output).unwrap());
                if is_persist {
                    break;
                }
            }
            let Some((input, now)) = inputs.next() else { return outputs };
            let _ = engine.handle(serde_json::from_str(input).unwrap(), *now);
        }
    }
}

impl Tab {
    fn hear(&mut self, changes: Changes<JsonRecord>) {
        self.notified += 1;
        assert_eq!(self.notified, 1, "subscribers were told twice of one input");
        for change in changes.records {
            let table = self.declared[change.table].clone();
            let key = (table, change.key.to_string());
            self.names.insert(change.id, key.clone());
            let record = change.record.as_ref().map(plain);
            assert!(!(change.released && record.is_some()), "a record that is seen was released");
            let seen = self.seen.entry(key.clone()).or_default();
            if seen.last() != Some(&record) {
                seen.push(record.clone());
            }
            match record {
                Some(record) => self.mirror.insert(key, record),
                None => self.mirror.remove(&key),
            };
        }
        for renamed in changes.renamed {
            let known = self.renamed.insert(renamed.from, renamed.to);
            assert_eq!(known, None, "a temporary key was replaced twice");
        }
        let seen = if changes.views.is_empty() { Seen::new() } else { self.seen_by_number() };
        for change in &changes.views {
            let watcher = self.watchers.get_mut(&change.id).expect("it is watched");
            watcher.hear(change, &seen);
            let windows = self.windows.entry(change.id).or_default();
            let keys = watcher.keys(&seen);
            if windows.last() != Some(&keys) {
                windows.push(keys);
            }
        }
        for view in changes.operations {
            match view.state {
                _ if view.replaced_by.is_some() => self.operations.remove(&view.id),
                Outcome::Queued | Outcome::Sent | Outcome::Acknowledged | Outcome::Dead => {
                    self.operations.insert(view.id, view)
                }
                _ => self.operations.remove(&view.id),
            };
        }
        for change in changes.conflicts {
            match change.conflict {
                Some(conflict) => self.conflicts.insert(change.id, conflict),
                None => self.conflicts.remove(&change.id),
            };
        }
        self.decisions.extend(changes.decisions);
        self.status = changes.status.or(self.status.take());
        if let Some(peers) = changes.presence {
            assert_ne!(peers, self.peers, "nothing has changed");
            (self.peers, self.peers_changed) = (peers, self.peers_changed + 1);
        }
    }

    fn seen_by_number(&self) -> Seen {
        let seen = |(id, key): (&RecordId, &Key)| Some((*id, (key.1.clone(), self.mirror.get(key)?.clone())));
        self.names.iter().filter_map(seen).collect()
    }

    fn check_views(&self) {
        let seen = if self.watchers.is_empty() { Seen::new() } else { self.seen_by_number() };
        for watcher in self.watchers.values() {
            let of_table = self.mirror.iter().filter(|((table, _), _)| *table == watcher.spec.table);
            let records: Vec<_> = of_table.map(|((_, key), record)| (key.as_str(), record)).collect();
            watcher.check(&records, &seen);
        }
    }

    /// The pending operations, with temporary keys replaced as far as this tab was told.
    fn all_shown(&self, ops: &BTreeMap<OperationId, Operation>) -> Vec<Operation> {
        let pending = self.operations.values().filter(|view| view.state != Outcome::Dead);
        let mut shown: Vec<Operation> =
            pending.filter_map(|view| ops.get(&view.id)).map(|op| self.with_real_keys(op)).collect();
        shown.sort_by_key(|op| (op.hlc, op.tab.clone(), op.id));
        shown
    }

    fn with_real_keys(&self, op: &Operation) -> Operation {
        let mut op = op.clone();
        let own = op.id.to_string();
        let real = |key: &str| self.renamed.get(key).cloned();
        let is_other = |key: &str| !key.contains(&own);
        let change = |name: &str, key: &mut String, set: &mut Fields, table: &str| {
            if table == "orders" && name == "insert" && key.starts_with('~') {
                // Once it has a real key, it is seen under that one.
                set.insert(
                    "id".into(),
                    real(key).map_or_else(|| key.as_str().into(), |to| number(to.parse().unwrap())),
                );
            }
            *key = real(key).unwrap_or_else(|| key.clone());
            *set = set.iter().map(|(name, value)| (name.clone(), self.with_real_values(value, &is_other))).collect();
        };
        change(&op.name, &mut op.key, &mut op.set, &op.table);
        for part in &mut op.parts {
            change(&part.name, &mut part.key, &mut part.set, &part.table);
        }
        op
    }

    fn with_real_values(&self, value: &Value, is_other: &dyn Fn(&str) -> bool) -> Value {
        let within = |value: &Value| self.with_real_values(value, is_other);
        match value {
            Value::String(text) if is_other(text) => {
                self.renamed.get(text).map_or_else(|| value.clone(), |to| number(to.parse().unwrap()))
            }
            Value::List(items) => Value::List(items.iter().map(within).collect()),
            Value::Map(fields) => {
                Value::Map(fields.iter().map(|(name, value)| (name.clone(), within(value))).collect())
            }
            other => other.clone(),
        }
    }

    /// The records that pending transactions concern, and those that share them.
    fn shared(shown: &[Operation]) -> BTreeSet<Key> {
        let transactions = shown.iter().filter(|op| !op.parts.is_empty());
        let named =
            |op: &Operation| op.steps().map(|step| (step.table.to_owned(), step.key.to_owned())).collect::<Vec<_>>();
        transactions.flat_map(named).collect()
    }

    /// Records that share transactions show what folding all pending operations over them from scratch gives; unless the server has
    /// done some of these already, or knows the records by now in another state than this tab: then confirmed and pending overlap.
    fn check_shared(&self, shared: &BTreeSet<Key>, server: &Server, shown: &[Operation]) {
        let known = |key: &Key| self.engine.version(&key.0, &key.1).map(|v| v.to_string().parse::<u64>().unwrap());
        let is_done = |op: &Operation| server.effects.contains_key(&op.id);
        let is_behind = |key: &Key| server.rows.get(key).map(|stand| stand.version) != known(key);
        if shown.iter().any(is_done) || shared.iter().any(is_behind) {
            return;
        }
        let mut records: BTreeMap<Key, Option<Fields>> = shared
            .iter()
            .map(|key| (key.clone(), server.rows.get(key).and_then(|stand| stand.record.clone())))
            .collect();
        for op in shown {
            let mut after = records.clone();
            let applies = |step: rota_engine::Step<'_>| {
                let Some(record) = after.get_mut(&(step.table.to_owned(), step.key.to_owned())) else { return true };
                let next = applied(record.clone(), &step);
                next.is_some_and(|next| {
                    *record = next;
                    true
                })
            };
            if op.steps().all(applies) {
                records = after;
            }
        }
        for (key, expected) in records {
            let visible = self.engine.visible(&key.0, &key.1).map(|record| plain(&record));
            assert_eq!(visible, expected, "{key:?} does not show all of its transactions, or none");
        }
    }

    /// The last message of a kind that this tab told the others.
    pub fn last_message(&self, kind: &str) -> TabMessage<JsonRecord> {
        let mut told = self.told.iter().rev().map(|json| serde_json::from_str::<Json>(json).unwrap());
        serde_json::from_value(told.find(|json| json["kind"] == kind).unwrap()).unwrap()
    }

    pub fn field(&self, key: &str, field: &str) -> Value {
        let record = self.mirror.get(&("companies".to_owned(), key.to_owned()));
        record.and_then(|record| record.get(field)).cloned().unwrap_or_default()
    }

    /// What subscribers saw of a field, one after the other.
    pub fn seen(&self, key: &str, field: &str) -> Vec<Value> {
        let all = self.seen.get(&("companies".to_owned(), key.to_owned())).cloned().unwrap_or_default();
        let mut values: Vec<Value> = all
            .into_iter()
            .map(|record| record.and_then(|record| record.get(field).cloned()).unwrap_or_default())
            .collect();
        values.dedup();
        values
    }

    pub fn has_problem(&self, code: &str) -> bool {
        self.problems.iter().any(|problem| problem.code == code)
    }
}

/// Folds operations over a record, from their description in `PROTOCOL.md` alone.
fn fold(confirmed: Option<Fields>, ops: &[&Operation]) -> Option<Fields> {
    let steps = ops.iter().flat_map(|op| op.steps());
    steps.fold(confirmed, |current, step| applied(current.clone(), &step).unwrap_or(current))
}

/// What one change makes of a record; nothing when it does not apply.
pub fn applied(current: Option<Fields>, step: &rota_engine::Step<'_>) -> Option<Option<Fields>> {
    let set = |mut record: Fields| {
        record.extend(step.set.clone());
        Some(Some(record))
    };
    match (step.name, current) {
        ("insert", None) => set(Fields::new()),
        ("insert", Some(_)) | (_, None) => None,
        ("delete", Some(_)) => Some(None),
        ("assign", Some(record)) => {
            let owner = record.get("owner_id").cloned().unwrap_or_default();
            let applies = owner == step.base["owner_id"] || owner == step.args["to"];
            applies.then(|| set(record)).flatten()
        }
        (_, Some(record)) => set(record),
    }
}

/// Reads a stored entry as the shell does.
fn content(text: &str) -> Content {
    let Ok(json) = serde_json::from_str::<Json>(text) else { return Content::Corrupt("it is not JSON".into()) };
    match json["v"].as_f64() {
        Some(1.0 | 2.0) => {
            let read = if json["alias"].is_null() {
                serde_json::from_value(json).map(Content::Operation)
            } else {
                serde_json::from_value(json).map(Content::Alias)
            };
            read.unwrap_or_else(|error| Content::Corrupt(error.to_string()))
        }
        Some(other) => Content::Other(other),
        None => Content::Corrupt("it has no form".into()),
    }
}

/// Reads a pull's response as an adapter does.
pub fn pulled(id: u32, response: &Json) -> Pulled<JsonRecord> {
    let row = |table: &String, row: &Json| Row {
        table: table.clone(),
        key: row["id"].as_str().map_or_else(|| row["id"].to_string(), str::to_owned),
        version: serde_json::from_value(row["rota_version"].clone()).unwrap(),
        op: serde_json::from_value(row["rota_op"].clone()).unwrap(),
        record: Some(serde_json::from_value(row.clone()).unwrap()),
    };
    let tables = response["records"].as_object().unwrap();
    let gone: Vec<Gone> = serde_json::from_value(response["gone"].clone()).unwrap();
    Pulled {
        id,
        cursor: serde_json::from_value(response["cursor"].clone()).unwrap(),
        whole: response["whole"].as_bool().unwrap(),
        records: tables
            .iter()
            .flat_map(|(table, rows)| rows.as_array().unwrap().iter().map(move |json| row(table, json)))
            .collect(),
        gone,
        settled: serde_json::from_value(response["settled"].clone()).unwrap(),
        covers: response
            .get("covers")
            .map(|covers| serde_json::from_value(covers.clone()).unwrap())
            .unwrap_or_default(),
        next: response["next"].as_str().map(str::to_owned),
        at_ms: None,
        unread: vec![],
    }
}

/// Somebody at a tab.
pub struct Person<'a> {
    world: &'a mut World,
    index: usize,
}

impl Person<'_> {
    pub fn try_do(&mut self, command: Json) -> Result<OperationId, Error> {
        let command: Command = serde_json::from_value(command).unwrap();
        self.world.try_tell(self.index, Input::Mutate(command)).map(|id| id.expect("a mutation has an id"))
    }

    pub fn try_transact(&mut self, commands: Json) -> Result<OperationId, Error> {
        let commands: Vec<Command> = serde_json::from_value(commands).unwrap();
        self.world.try_tell(self.index, Input::Transact { commands }).map(|id| id.expect("a transaction has an id"))
    }

    pub fn transact(&mut self, commands: Json) -> OperationId {
        self.try_transact(commands).unwrap()
    }

    pub fn assign(&mut self, key: &str, to: &str) -> OperationId {
        self.try_do(json!({"name": "assign", "table": "companies", "key": key, "args": {"to": to}})).unwrap()
    }

    pub fn patch(&mut self, key: &str, field: &str, value: &str) -> OperationId {
        self.try_do(json!({"name": "patch", "table": "companies", "key": key, "set": {field: value}})).unwrap()
    }

    pub fn try_patch(&mut self, key: &str, city: &str) -> Result<OperationId, Error> {
        self.try_do(json!({"name": "patch", "table": "companies", "key": key, "set": {"city": city}}))
    }

    pub fn insert(&mut self, key: &str) -> OperationId {
        let record = json!({"id": key, "name": "New", "city": "Kiel", "owner_id": null});
        self.try_do(json!({"name": "insert", "table": "companies", "set": record})).unwrap()
    }

    pub fn delete(&mut self, key: &str) -> OperationId {
        self.try_do(json!({"name": "delete", "table": "companies", "key": key})).unwrap()
    }

    pub fn cancel(&mut self, id: OperationId) -> Result<(), Error> {
        self.world.try_tell(self.index, Input::Cancel { id }).map(|_| ())
    }

    pub fn undo(&mut self, id: OperationId) -> Result<Option<OperationId>, Error> {
        self.world.try_tell(self.index, Input::Undo { id })
    }

    pub fn patch_after(&mut self, key: &str, value: &str, after: &[OperationId]) -> Result<OperationId, Error> {
        self.try_do(json!({"name": "patch", "table": "companies", "key": key, "set": {"city": value}, "after": after}))
    }

    pub fn resolve(&mut self, id: OperationId, choice: Choice) -> Result<Option<OperationId>, Error> {
        self.world.try_tell(self.index, Input::Resolve { id, choice })
    }

    pub fn set(&mut self, key: &str, set: Json) -> OperationId {
        self.try_do(json!({"name": "patch", "table": "companies", "key": key, "set": set})).unwrap()
    }

    pub fn retry(&mut self, id: OperationId) -> Result<(), Error> {
        self.world.try_tell(self.index, Input::Retry { id }).map(|_| ())
    }
}

/// A row as a stream tells it.
pub fn row(key: &str, n: u64, owner: &str) -> Row<JsonRecord> {
    let record = json!({"id": key, "name": "Harbour", "city": "Bremen", "owner_id": owner});
    Row {
        table: "companies".into(),
        key: key.into(),
        version: version(n),
        op: None,
        record: Some(serde_json::from_value(record).unwrap()),
    }
}
