//! Routes: what comes in goes to the rooms it concerns, what they decide goes out. The only file, with its parts below
//! `engine/`, that knows every room beside it.

mod attending;
mod batching;
mod command;
mod conflicts;
mod depend;
mod hearing;
mod leaving;
mod linking;
mod lockless;
mod lookup;
mod moving;
mod parting;
mod peopling;
mod rebasing;
mod releases;
mod renaming;
mod replacing;
mod replaying;
mod report;
mod resting;
mod ruling;
mod sending;
mod storing;
mod sync;
mod together;
mod undo;
mod viewing;
mod watching;

pub use replaying::replay;

use std::collections::{HashMap, VecDeque};

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use rustc_hash::FxBuildHasher;

use super::alias::Aliases;
use super::audit::{Audit, AuditEntry};
use super::authors::Authors;
use super::error::{Error, Problem};
use super::input::{Config, Input};
use super::link::{Attention, Gate, Link, LinkConfig, Onlookers, Puller};
use super::mark::mark;
use super::operation::{Answer, Operation, OperationId, OperationState, Settlement};
use super::outbox::{CONCURRENCY_MAX, Outbox};
use super::output::{Conflict, Durability, OperationView, Output, Reach, Renamed, Status};
use super::overlay::{apply, fold};
use super::presence::Everyone;
use super::record::Record;
use super::retry::{RateLimit, RetryPolicy};
use super::rules::Rules;
use super::sabotage::sabotaged;
use super::server_clock::ServerClock;
use super::session::Session;
use super::sorted::{SortedSet, sort};
use super::table::{RecordId, Row, Tables};
use super::tabs::{AWAKE_LATE_MS, Kind, Role, TAB_PROTOCOL, Tabs};
use super::time::{Hlc, HybridClock, Now, Timers};
use super::trace::{Recorder, TRACE_MAX};
use super::value::Fields;
use super::version::Version;
use super::view::{Views, WATCH_FROM};
use batching::Gathering;

pub use batching::BATCH_MAX;
pub use conflicts::ROUNDS_MAX;
pub use depend::AFTER_MAX;
pub use replacing::{JOINED_BYTES_MAX, REPLACES_MAX};
pub use undo::UNDO_MAX;

/// How many settled operations are remembered, so that a late message about one is recognised.
const SETTLED_MAX: usize = 10_000;

/// By how much the wall clock may run ahead of the monotonic one between two inputs before we take it that the machine slept.
const SLEPT_MS: u64 = 10_000;

/// How late a timer may ring before we take it that the page was frozen, or the machine slept under a clock that went on. Hidden
/// pages are woken once a minute.
const FROZEN_MS: u64 = 90_000;

/// No clock counts further: what a JavaScript number holds exactly, and some 285,000 years.
const COUNT_MS_MAX: u64 = 1 << 53;

/// The sync engine: sans-IO and deterministic. Same configuration, same seed, same inputs: same outputs.
pub struct Engine<R> {
    session: Session,
    rules: Box<dyn Rules<R>>,
    /// What the application told of the world, for the rules.
    facts: Fields,
    /// How far the server's clock is ahead of this machine's, as far as is known.
    server_clock: ServerClock,
    retry: RetryPolicy,
    backend: Backend,
    /// How many calls have been made with operations.
    calls: u32,
    gathering: Gathering,
    random: Pcg64Mcg,
    now: Now,
    clock: HybridClock,
    timers: Timers,
    tables: Tables<R>,
    outbox: Outbox,
    link: Link,
    link_config: LinkConfig,
    attention: Attention,
    /// Follower: when the leader was last told of that.
    attention_told_mono_ms: Option<u64>,
    onlookers: Onlookers,
    puller: Puller,
    gate: Gate,
    rate_limit: RateLimit,
    tabs: Tabs,
    /// The other tabs, where there are no locks.
    authors: Authors,
    durability: Durability,
    reach: Reach,
    ready: bool,
    last_sync_ms: Option<u64>,
    closed: bool,
    /// When this tab began to send: what was made before may have been sent by whoever led then.
    /// On the monotonic clock, too.
    sends_since: Option<(Hlc, u64)>,
    /// A new leader sends nothing before it has seen what is stored, or this moment of the monotonic clock has passed: an earlier
    /// leader's last operation may stand for one that this tab has heard of.
    looks_until_mono_ms: Option<u64>,
    /// How often storage was asked for operations, and the last time that something waits for: sending, and leaving.
    looks: u32,
    sends_after_look: u32,
    leaves_after_look: u32,
    /// A leader that did not run for a while takes nothing back before this moment, and without a ledger sends nothing: it may have been
    /// replaced, and not have been told yet.
    trusts_lock_at_mono_ms: Option<u64>,
    /// What a new leader has only heard of, until it is found in storage, or told again: another operation may stand for it, and be over.
    unsure: SortedSet<OperationId>,
    /// How often storage was read once more, for what of that is neither there nor in the ledger.
    unsure_looks: u8,
    leaving: leaving::Leaving,
    /// What other tabs want cancelled and this one, which sends, has not heard of yet.
    to_cancel: SortedSet<OperationId>,
    /// When the engine was made, on the wall clock as it goes by now, and on the monotonic one: what happened before does not concern it.
    born: Now,
    /// The times of the logouts whose marks were found in storage; nothing before storage was looked into.
    known_marks: Option<Vec<u64>>,
    /// True once this tab has itself pulled since it began to send.
    pulled_here: bool,
    /// How often in a row the network kept an operation from the server.
    gate_failures: u32,
    /// How often in a row a token was refused.
    token_failures: u32,
    settled: Settled,
    aliases: Aliases,
    undoable: undo::Undoable,
    /// Operations for which a record has to be looked up.
    awaiting: SortedSet<OperationId>,
    everyone: Everyone,
    recorder: Option<Box<Recorder<R>>>,
    /// Operations that other tabs hold and this leader has never heard of: the ledger may know them.
    asked: SortedSet<OperationId>,
    /// Those of them that the pull under way asks for.
    asked_now: SortedSet<OperationId>,
    /// Answers that are taken in once the operation is stored that decides on them.
    resolving: Vec<(OperationId, Answer<R>)>,
    /// Operations that are being stored in another form.
    rebasing: Vec<rebasing::Rebasing>,
    /// Operations that are being stored because they stand for what is left of others, and these as they were.
    parting: Vec<(OperationId, Operation)>,
    /// Those of which the other tabs are still to be told.
    rebased: Vec<OperationId>,
    /// The last operations that ended without effect.
    voids: VecDeque<rebasing::Void>,
    audit: Audit,
    /// The operation that could not be stored, and is tried once more now that there should be room.
    made_room_for: Option<OperationId>,
    views: Views,
    outputs: VecDeque<Output<R>>,
    dirty_records: Records,
    /// What the server changed in this step, each with how it was; only where some rule wants to know.
    moved: Vec<(RecordId, Option<R>)>,
    dirty_operations: SortedSet<OperationId>,
    dirty_conflicts: SortedSet<OperationId>,
    ended: Vec<OperationView>,
    renamed: Vec<Renamed>,
    decisions: Vec<AuditEntry>,
    reported: Option<Status>,
}

/// What was declared of the backend.
#[derive(Clone, Copy)]
struct Backend {
    /// How many calls it takes at once.
    concurrency: usize,
    /// It keeps a ledger: sending an operation again has no further effect.
    idempotent: bool,
    /// How many operations a call may hold.
    batch: usize,
}

/// An operation that has ended, for whoever missed it.
#[derive(Clone)]
struct Ended {
    /// Table and key of each record that it concerned.
    records: Vec<(String, String)>,
    settlement: Settlement,
}

/// The operations that ended last, in the order of their ends.
#[derive(Default)]
struct Settled {
    ended: VecDeque<Ended>,
    /// Each one's place in the count of all that ever ended.
    places: HashMap<OperationId, u32, FxBuildHasher>,
    /// How many were forgotten.
    forgotten: u32,
}

impl Settled {
    fn contains(&self, id: OperationId) -> bool {
        self.places.contains_key(&id)
    }

    fn get(&self, id: OperationId) -> Option<&Ended> {
        self.ended.get(self.places.get(&id)?.wrapping_sub(self.forgotten) as usize)
    }

    /// Remembers an end; the first one of an operation counts.
    fn remember(&mut self, ended: Ended) {
        let id = ended.settlement.id;
        if self.contains(id) {
            return;
        }
        let place = u32::try_from(self.ended.len()).unwrap_or(0).wrapping_add(self.forgotten);
        self.places.insert(id, place);
        self.ended.push_back(ended);
        if self.ended.len() > SETTLED_MAX
            && let Some(oldest) = self.ended.pop_front()
        {
            self.places.remove(&oldest.settlement.id);
            self.forgotten = self.forgotten.wrapping_add(1);
        }
    }
}

/// A set of records, walked in the order of their numbers: one bit for each.
#[derive(Default)]
struct Records {
    words: Vec<u64>,
    /// Which words have a bit.
    used: Vec<u32>,
}

impl Records {
    fn insert(&mut self, RecordId(id): RecordId) {
        let (used, word) = (id / u64::BITS, (id / u64::BITS) as usize);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        if self.words[word] == 0 {
            self.used.push(used);
        }
        self.words[word] |= 1 << (id % u64::BITS);
    }

    const fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// Takes them all out.
    fn take(&mut self) -> Vec<RecordId> {
        let mut records = Vec::new();
        sort(&mut self.used);
        let Self { words, used } = self;
        for word in used.drain(..) {
            let mut bits = std::mem::take(&mut words[word as usize]);
            while bits != 0 {
                records.push(RecordId(word * u64::BITS + bits.trailing_zeros()));
                bits &= bits - 1;
            }
        }
        records
    }
}

/// Figures of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Records held: confirmed ones, and visible ones that differ from them.
    pub records: usize,
    /// Operations that are not settled.
    pub operations: usize,
}

/// Checks what is counted or timed, and returns the protocol that is spoken with other tabs.
fn check_numbers(config: &Config) -> Result<u32, Error> {
    config.retry.validate().map_err(Error::InvalidConfiguration)?;
    config.link.validate().map_err(Error::InvalidConfiguration)?;
    let tab_protocol = config.tab_protocol.unwrap_or(TAB_PROTOCOL);
    if !(1..=TAB_PROTOCOL).contains(&tab_protocol) {
        return Err(Error::InvalidConfiguration(format!("tabProtocol must be between 1 and {TAB_PROTOCOL}")));
    }
    if !(1..=CONCURRENCY_MAX).contains(&config.concurrency) {
        return Err(Error::InvalidConfiguration(format!("concurrency must be between 1 and {CONCURRENCY_MAX}")));
    }
    if !(1..=BATCH_MAX).contains(&config.batch) {
        return Err(Error::InvalidConfiguration(format!("batch must be between 1 and {BATCH_MAX}")));
    }
    Ok(tab_protocol)
}

impl<R: Record> Engine<R> {
    /// Makes an engine. The seed is its only randomness: sixteen bytes that no other engine has.
    ///
    /// # Errors
    /// [`Error::InvalidConfiguration`], which says what can't work.
    pub fn new(mut config: Config, rules: Box<dyn Rules<R>>, seed: [u8; 16], now: Now) -> Result<Self, Error> {
        if config.trace > TRACE_MAX {
            return Err(Error::InvalidConfiguration(format!("a trace keeps at most {TRACE_MAX} inputs")));
        }
        let recorder = Recorder::new(&config, seed, now);
        let tab_protocol = check_numbers(&config)?;
        let session = Session { app: config.app, user: config.user };
        session.validate()?;
        let watches = ruling::declare(&*rules, &mut config.tables)?;
        let tables = Tables::new(config.tables)?;
        let views = Views::new(tables.configs());
        let mut random = Pcg64Mcg::from_seed(seed);
        let tab = format!("{:016x}", random.next_u64());
        let mut engine = Self {
            session,
            rules,
            facts: Fields::new(),
            server_clock: ServerClock::default(),
            retry: config.retry,
            backend: Backend {
                concurrency: config.concurrency,
                idempotent: config.idempotent,
                // Of a call of several that failed without a ledger nobody could say what became of each.
                batch: if config.idempotent { config.batch } else { 1 },
            },
            calls: 0,
            gathering: Gathering::default(),
            random,
            now,
            clock: HybridClock::default(),
            timers: Timers::default(),
            tables,
            outbox: Outbox::default(),
            link: Link::new(now.wall_ms, config.link.max_attempts),
            link_config: config.link,
            attention: Attention { active: true, visible: true },
            attention_told_mono_ms: None,
            onlookers: Onlookers::default(),
            puller: Puller::default(),
            gate: Gate::Open,
            rate_limit: RateLimit::default(),
            tabs: Tabs::new(tab, tab_protocol),
            authors: Authors::default(),
            durability: Durability::Full,
            reach: Reach::Channel,
            ready: false,
            last_sync_ms: None,
            closed: false,
            sends_since: None,
            looks_until_mono_ms: None,
            looks: 0,
            sends_after_look: 0,
            leaves_after_look: 0,
            trusts_lock_at_mono_ms: None,
            unsure: SortedSet::new(),
            unsure_looks: 0,
            leaving: leaving::Leaving::No,
            to_cancel: SortedSet::new(),
            born: now,
            known_marks: None,
            pulled_here: false,
            gate_failures: 0,
            token_failures: 0,
            settled: Settled::default(),
            aliases: Aliases::default(),
            undoable: undo::Undoable::default(),
            awaiting: SortedSet::new(),
            everyone: Everyone::default(),
            recorder,
            asked: SortedSet::new(),
            asked_now: SortedSet::new(),
            resolving: Vec::new(),
            rebasing: Vec::new(),
            parting: Vec::new(),
            rebased: Vec::new(),
            voids: VecDeque::new(),
            audit: Audit::default(),
            made_room_for: None,
            views,
            outputs: VecDeque::new(),
            dirty_records: Records::default(),
            moved: Vec::new(),
            dirty_operations: SortedSet::new(),
            dirty_conflicts: SortedSet::new(),
            ended: Vec::new(),
            renamed: Vec::new(),
            decisions: Vec::new(),
            reported: None,
        };
        engine.open_watches(&watches)?;
        // The lock last: where it is granted at once, this tab has loaded what earlier ones left.
        engine.look();
        engine.outputs.push_back(Output::LoadRecords);
        engine.say_hello();
        engine.outputs.push_back(Output::RequestLock);
        engine.watch();
        engine.boot();
        engine.report();
        Ok(engine)
    }

    /// Takes one input. Afterwards, [`Engine::poll`] until it is empty.
    ///
    /// Returns the new operation's id for [`Input::Mutate`] and [`Input::Transact`], and for [`Input::Undo`] and [`Input::Resolve`] where
    /// it takes one; nothing for everything else.
    ///
    /// # Errors
    /// Only commands fail, and then nothing has changed. What comes from outside and makes no sense becomes an
    /// [`Output::Report`].
    pub fn handle(&mut self, input: Input<R>, now: Now) -> Result<Option<OperationId>, Error> {
        if let Some(recorder) = &mut self.recorder {
            recorder.record(&input, now);
        }
        if self.closed {
            return handle_closed(&input);
        }
        self.advance(now);
        if self.tabs.rests && resting::is_for_others(&input) {
            return Ok(None);
        }
        if self.tabs.rests && resting::is_sign_of_life(&input) {
            self.rise();
        }
        let asks_to_store =
            matches!(input, Input::Mutate(_) | Input::Transact { .. } | Input::Undo { .. } | Input::Resolve { .. });
        let result = self.route(input);
        // Until the new operation is stored, nothing is sent that it may stand for. The answer comes before the next poll.
        if self.closed
            || (asks_to_store && matches!(result, Ok(Some(_))))
            || !self.resolving.is_empty()
            || !self.rebasing.is_empty()
            || !self.parting.is_empty()
        {
            return result;
        }
        self.fire_timers();
        self.notice_rights();
        self.pump();
        self.leave_if_nothing_waits();
        if self.closed {
            return result;
        }
        self.tell_rebased();
        self.keep_presence();
        while let Some(id) = self.tables.forget_oldest_end() {
            mark!(TombstoneForgotten);
            self.dirty_records.insert(id);
        }
        self.report();
        result
    }

    /// Takes the next thing that the engine asks for.
    #[must_use = "an output that is not performed is lost"]
    pub fn poll(&mut self) -> Option<Output<R>> {
        self.outputs.pop_front()
    }

    /// Returns when to send [`Input::TimerFired`], on the monotonic clock.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        if self.closed { None } else { self.timers.deadline() }
    }

    /// Returns what names this engine's channel, lock and database.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// Returns this tab's id.
    #[must_use]
    pub fn tab(&self) -> &str {
        &self.tabs.id
    }

    /// Returns the record that is to be seen under a key.
    #[must_use]
    pub fn visible(&self, table: &str, key: &str) -> Option<R> {
        let id = self.tables.find(self.tables.table_id(table)?, key)?;
        self.tables.cell(id)?.visible.clone()
    }

    /// Returns the version that the server gave a record, or its tombstone.
    #[must_use]
    pub fn version(&self, table: &str, key: &str) -> Option<Version> {
        let id = self.tables.find(self.tables.table_id(table)?, key)?;
        self.tables.cell(id)?.version.clone()
    }

    /// Walks over what the server last said of the records that are there, in the order of their numbers. Left out is what may lack columns,
    /// and was not looked up yet.
    pub fn confirmed(&self) -> impl Iterator<Item = Row<R>> {
        self.tables.cells().filter(|(_, cell)| !cell.filled).filter_map(|(_, cell)| {
            Some(Row {
                table: self.tables.config(cell.table).name.clone(),
                key: cell.key.to_string(),
                version: cell.version.clone()?,
                op: cell.op,
                record: Some(cell.confirmed.clone()?),
            })
        })
    }

    /// Returns the conflicts that wait for a person, the oldest operation first.
    #[must_use]
    pub fn conflicts(&self) -> Vec<Conflict> {
        self.outbox.iter().filter_map(|pending| self.conflict(pending)).collect()
    }

    /// Walks over the decisions on conflicts that this tab made or heard of, the oldest first. Each is a line of the export.
    pub fn audit(&self) -> impl ExactSizeIterator<Item = &AuditEntry> {
        self.audit.entries()
    }

    /// Returns how many decisions were forgotten at the bound.
    #[must_use]
    pub const fn audit_dropped(&self) -> u64 {
        self.audit.dropped()
    }

    /// Returns the numbers of the records that an open view shows, in order.
    #[must_use]
    pub fn shown(&self, view: u32) -> Option<Vec<RecordId>> {
        self.views.shown(view)
    }

    /// Returns the engine's figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { records: self.tables.held(), operations: self.outbox.len() }
    }

    fn route(&mut self, input: Input<R>) -> Result<Option<OperationId>, Error> {
        match input {
            Input::Mutate(command) => return self.mutate(command).map(Some),
            Input::Transact { commands } => return self.transact(commands).map(Some),
            Input::Cancel { id } => self.cancel(id)?,
            Input::Undo { id } => return self.undo(id),
            Input::Retry { id } => self.retry_dead(id)?,
            Input::Resolve { id, choice } => return self.resolve(id, choice),
            Input::Reconnect => self.reconnect(),
            Input::Purge => self.emit(Output::ForgetRecords),
            Input::Logout { unsent } => self.logout(unsent)?,
            Input::RightsChanged => self.rights_changed(),
            Input::FactTold { name, fact } => self.on_fact(name, fact)?,
            Input::SetPresence { presence } => self.set_presence(presence)?,
            Input::PresenceHeard { peers } => self.on_presence(peers),
            Input::OpenView { id, spec } => self.open_view(id, &spec)?,
            Input::CloseView { id } if id >= WATCH_FROM => return Err(Error::UnknownView { id }),
            Input::CloseView { id } => self.views.close(id)?,
            Input::Close => self.close(),
            Input::OperationStored { id, stored } => self.on_stored(id, stored),
            Input::OperationDurable { id, durable } => self.on_durable(id, durable),
            Input::StorageProbed { durability } => self.durability = durability,
            Input::ChannelProbed { reach } => self.reach = reach,
            Input::EntriesFound { entries, look } => self.on_entries(entries, look),
            Input::RecordsFound { rows } => self.on_found(rows),
            // It was on its way when this tab let go of it.
            Input::LockGranted if self.tabs.rests => self.emit(Output::Rest),
            Input::LockGranted => self.lead(),
            Input::LockLost => self.on_lock_lost(),
            Input::NoLocks => self.go_alone(),
            Input::TabMessageReceived(message) => self.on_message(message),
            Input::Unreadable { code, place, message } => self.problem(Problem::new(&code, place, message)),
            Input::LinkJoined { attempt } => self.on_joined(attempt),
            Input::LinkLive { attempt } => self.on_live(attempt),
            Input::LinkClosed { attempt, failure, message } => self.on_closed(attempt, failure, &message),
            Input::Ponged { attempt } => self.on_ponged(attempt),
            Input::ServerChanged { events } => {
                self.hear_stream();
                self.on_events(events);
            }
            Input::Missed => self.puller.want(),
            Input::Pulled(pulled) => self.on_pulled(pulled),
            Input::PullFailed { id, failure, message } => self.on_pull_failed(id, failure, &message),
            Input::Answered { answer } => self.on_answer(answer),
            Input::PushFailed { id, failure, message, after_ms } => {
                self.on_push_failed(id, failure, &message, after_ms);
            }
            Input::Gathered => self.gathering = Gathering::Done,
            Input::CallAnswered { call, answers, unanswered } => self.on_call_answered(call, answers, unanswered),
            Input::CallFailed { call, failure, message, after_ms } => {
                self.on_call_failed(call, failure, &message, after_ms);
            }
            Input::CallDeclined { call } => self.on_call_declined(call),
            Input::TokenRefreshed => self.on_token(),
            Input::TokenRefused { message } => self.on_token_refused(&message),
            Input::TokenMissed { failure, message } => self.on_token_missed(failure, &message),
            Input::TokenKept => self.on_token_kept(),
            Input::Activity { active } => self.on_activity(active),
            Input::Visibility { visible } => self.on_visibility(visible),
            Input::NetworkHinted { online } => self.on_hint(online),
            Input::Froze => self.on_froze(),
            Input::Woke => {
                self.look();
                self.on_hint(true);
            }
            Input::TimerFired => {}
        }
        Ok(None)
    }

    /// Moves the clocks on. The monotonic one never goes back, whatever the shell says.
    fn advance(&mut self, now: Now) {
        // Far from where counting on would end.
        let now = Now { mono_ms: now.mono_ms.min(COUNT_MS_MAX), wall_ms: now.wall_ms.min(COUNT_MS_MAX) };
        let mono_passed = now.mono_ms.saturating_sub(self.now.mono_ms);
        let wall_passed = now.wall_ms.saturating_sub(self.now.wall_ms);
        self.now = Now { mono_ms: self.now.mono_ms.max(now.mono_ms), wall_ms: now.wall_ms };
        // After the clock was set back, all that happens has earlier times, and this engine's beginning with it.
        let age_ms = self.now.mono_ms.saturating_sub(self.born.mono_ms);
        self.born.wall_ms = self.born.wall_ms.min(now.wall_ms.saturating_sub(age_ms));
        let late_ms = self.timers.late_ms(self.now.mono_ms);
        let slept = wall_passed > mono_passed + SLEPT_MS || late_ms > FROZEN_MS;
        if slept || late_ms > AWAKE_LATE_MS {
            self.wake_up(late_ms.max(wall_passed.saturating_sub(mono_passed)));
        }
        if mono_passed.max(wall_passed) > SLEPT_MS {
            // This tab was frozen, or idle. A logout that it has not heard of left its mark in storage.
            self.look();
        }
        if slept {
            mark!(SleepNoticed);
            self.on_slept();
        }
    }

    /// Asks for something. Never inlined: the queue's code is long, and this is called everywhere.
    #[inline(never)]
    fn emit(&mut self, output: Output<R>) {
        self.outputs.push_back(output);
    }

    fn problem(&mut self, problem: Problem) {
        self.emit(Output::Report(problem));
    }

    /// Decides anew what is to be seen of a record.
    fn recompute(&mut self, id: RecordId) {
        self.look_at_conflicts(id);
        if self.outbox.shown(id).any(|pending| !pending.parts.is_empty()) {
            return self.recompute_together(id);
        }
        let Some(cell) = self.tables.cell(id) else { return };
        let config = self.tables.config(cell.table);
        let operations: Vec<OperationId> = self.outbox.shown(id).map(|pending| pending.op.id).collect();
        let folded = fold(
            cell.confirmed.as_ref(),
            self.outbox.shown(id).flat_map(|pending| pending.changes().map(|(_, step)| step)),
            config,
            &*self.rules,
        );
        for (operation, doubtful) in operations.into_iter().zip(folded.doubtful) {
            if let Some(pending) = self.outbox.get_mut(operation)
                && pending.doubtful != doubtful
            {
                if doubtful {
                    mark!(DoubtfulHidden);
                }
                pending.doubtful = doubtful;
                self.dirty_operations.insert(operation);
            }
        }
        self.tables.set_visible(id, folded.visible, folded.overlaid);
        self.dirty_records.insert(id);
    }

    /// Shows an operation that was just accepted. As the last of its record it goes over what is seen already; only one that
    /// comes in between makes the whole fold necessary.
    fn show(&mut self, id: OperationId, record: RecordId) {
        let Some(pending) = self.outbox.get(id) else { return };
        if !pending.parts.is_empty() {
            return self.show_together(id);
        }
        if !self.outbox.is_last(pending) {
            mark!(HeardOutOfOrder);
            return self.recompute(record);
        }
        let Some(cell) = self.tables.cell(record) else { return };
        let config = self.tables.config(cell.table);
        let applied =
            pending.changes().next().and_then(|(_, step)| apply(cell.visible.as_ref(), step, config, &*self.rules));
        match applied {
            Some(visible) => self.tables.set_visible(record, visible, true),
            None => {
                if let Some(pending) = self.outbox.get_mut(id) {
                    pending.doubtful = true;
                }
            }
        }
        self.dirty_records.insert(record);
    }

    /// Ends an operation: it leaves outbox and storage, everyone hears of it, and what it showed is gone or confirmed.
    fn settle(&mut self, settlement: &Settlement) {
        self.end_dependants(settlement);
        self.end(settlement);
    }

    fn end(&mut self, settlement: &Settlement) {
        let Some(pending) = self.outbox.remove(settlement.id) else { return };
        self.remember_settled(self.records_of(&pending), settlement);
        self.dirty_operations.remove(&settlement.id);
        self.rebasing.retain(|rebasing| rebasing.id != settlement.id);
        if is_in_vain(settlement) {
            self.rebase_later(rebasing::Void::of(&pending));
        }
        self.awaiting.remove(&settlement.id);
        if settlement.outcome != OperationState::Confirmed {
            self.undoable.forget_all(&pending.op);
        }
        if pending.conflict.is_some() {
            self.dirty_conflicts.insert(settlement.id);
        }
        if settlement.outcome == OperationState::Conflicted {
            self.note_lost(&pending, &settlement.fields);
        }
        self.ended.push(report::view(&pending, Some(settlement)));
        self.emit(Output::Unpersist { key: self.session.operation_key(pending.op.hlc, pending.op.id) });
        if pending.state == OperationState::Dead {
            self.emit(Output::Unpersist { key: self.session.dead_key(pending.op.id) });
        }
        self.end_replaced(&pending, settlement);
        let answered = self.take_answered(settlement.id);
        // Of a conflict its author has heard when it began.
        if (pending.mine || sabotaged!(SettleForOthers)) && pending.conflict.is_none() {
            if sabotaged!(SettleTwice) {
                self.emit(Output::Settled(settlement.clone()));
            }
            self.emit(Output::Settled(settlement.clone()));
        }
        self.drop_aliases(&pending.named);
        self.recompute_all(&pending.records());
        if let Some(answer) = answered {
            // Another tab made the same decision before, and it has ended while this one's was being stored.
            self.end_as_decided(&answer, settlement);
        }
    }

    fn recompute_all(&mut self, records: &[RecordId]) {
        for record in records {
            self.recompute(*record);
        }
    }

    fn remember_settled(&mut self, records: Vec<(String, String)>, settlement: &Settlement) {
        self.settled.remember(Ended { records, settlement: settlement.clone() });
    }

    fn close(&mut self) {
        let mine: Vec<(OperationId, OperationState)> = self
            .outbox
            .iter()
            .flat_map(|pending| {
                let own = pending.mine && !pending.is_parked();
                let replaced = pending.replaced.iter().filter(|replaced| replaced.is_owed).map(|replaced| replaced.id);
                own.then_some(pending.op.id).into_iter().chain(replaced).map(|id| (id, pending.state))
            })
            .collect();
        for (id, state) in mine {
            mark!(ClosedUnsettled);
            if state == OperationState::Acknowledged {
                self.emit(Output::Settled(sync::settlement(id, OperationState::Confirmed)));
                continue;
            }
            self.emit(Output::Settled(Settlement {
                code: Some("closed".to_owned()),
                message: Some("the store was closed before the server answered; the operation stays stored and is sent by the next store".to_owned()),
                ..sync::settlement(id, OperationState::Unknown)
            }));
        }
        self.take_leave();
        let bye = self.tabs.message(Kind::Bye);
        self.emit(Output::Broadcast(bye));
        if self.tabs.role != Role::Follower {
            self.emit(Output::Disconnect);
        }
        self.emit(Output::ReleaseLock);
        self.closed = true;
    }
}

/// True for an end without effect, after which the person goes on. Who logs out does not.
fn is_in_vain(settlement: &Settlement) -> bool {
    let is_without_effect =
        matches!(settlement.outcome, OperationState::Refused | OperationState::Conflicted | OperationState::Cancelled);
    is_without_effect && settlement.code.as_deref() != Some(leaving::SIGNED_OUT)
}

/// A closed engine takes no commands, and drops what still arrives.
fn handle_closed<R>(input: &Input<R>) -> Result<Option<OperationId>, Error> {
    match input {
        Input::Mutate(_)
        | Input::Transact { .. }
        | Input::Cancel { .. }
        | Input::Undo { .. }
        | Input::Retry { .. }
        | Input::Resolve { .. }
        | Input::Reconnect
        | Input::Logout { .. }
        | Input::OpenView { .. }
        | Input::FactTold { .. }
        | Input::SetPresence { .. } => Err(Error::Closed),
        _ => Ok(None),
    }
}
