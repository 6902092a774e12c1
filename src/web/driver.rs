//! Runs the engine: takes an output, lets go of the engine, performs the output, and feeds back what came of it.
//!
//! The engine is never borrowed while anything else runs, so whatever the host does may call back in.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use js_sys::{Array, Function, Object, Promise, Uint32Array};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::JsValue;

use super::channel::{Channel, Heard};
use super::clock::{Alarm, now};
use super::decode;
use super::js_record::{JsRecord, list_of, set};
use super::locks::Lock;
use super::names::name as js_name;
use super::sealing::Sealing;
use super::shelf::{Shelf, Written};
use crate::engine::engine::{Engine, Stats};
use crate::engine::error::{Error, Problem};
use crate::engine::input::{Command, Input, Stored};
use crate::engine::operation::OperationId;
use crate::engine::output::{Changes, Durability, Edit, Output, Reach, ViewChange, WindowChange};
use crate::engine::stored::StoredOperation;

/// Why a call could not be taken.
pub(crate) enum Refusal {
    Engine(Error),
    /// Storage refused the operation; says why.
    StorageFull(String),
    /// The engine has crashed, and is locked for good.
    Crashed,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

/// What the browser lends an engine. In memory mode: nothing.
#[derive(Default)]
struct Browser {
    shelf: Shelf,
    channel: Option<Channel>,
    lock: Option<Lock>,
}

/// One engine and its surroundings.
pub(crate) struct Driver {
    engine: RefCell<Engine<JsRecord>>,
    /// Performs what is not the shell's: it takes a name and what belongs to it.
    host: Function,
    browser: RefCell<Browser>,
    alarm: Alarm,
    /// The operation that storage refused last, and why.
    rejected: RefCell<Option<(OperationId, String)>>,
    sealing: Sealing,
    memory_only: bool,
    closed: Cell<bool>,
}

impl Driver {
    pub(crate) fn new(engine: Engine<JsRecord>, host: Function, memory_only: bool, sealing: Sealing) -> Rc<Self> {
        Rc::new(Self {
            engine: RefCell::new(engine),
            host,
            browser: RefCell::default(),
            alarm: Alarm::default(),
            rejected: RefCell::new(None),
            sealing,
            memory_only,
            closed: Cell::new(false),
        })
    }

    /// Opens what the browser has, and performs what the engine asked for when it was made.
    pub(crate) fn start(self: &Rc<Self>) -> Result<(), Refusal> {
        if self.memory_only {
            self.tell(Input::ChannelProbed { reach: Reach::Alone });
            self.dispatch(Input::StorageProbed { durability: Durability::Memory })?;
            return Ok(());
        }
        let name = self.engine.try_borrow().map_err(|_| Refusal::Crashed)?.session().name();
        let places = Shelf::open(&name, self.sealing.clone(), self.watching());
        let durability = places.durability();
        self.browser.replace(Browser { shelf: places, channel: None, lock: None });
        self.open_channel();
        let reach = self.browser.borrow().channel.as_ref().map_or(Reach::Alone, Channel::reach);
        self.tell(Input::ChannelProbed { reach });
        self.dispatch(Input::StorageProbed { durability })?;
        if durability == Durability::Memory && web_sys::window().is_some() {
            let why = "the browser lends no storage; operations live as long as this page";
            self.tell(unreadable("storage", "localStorage, IndexedDB", why));
        }
        Ok(())
    }

    /// Tells the engine how safe operations are, each time the database stops to work, or works again.
    fn watching(self: &Rc<Self>) -> impl Fn(Result<(), String>) + 'static {
        let driver = Rc::downgrade(self);
        move |works| {
            let Some(driver) = driver.upgrade() else { return };
            let durability = driver.browser.borrow().shelf.durability();
            driver.tell(Input::StorageProbed { durability });
            if let Err(why) = works {
                driver.tell(unreadable("storage", "IndexedDB", &why));
            }
        }
    }

    fn hearing(self: &Rc<Self>) -> impl Fn(Heard) + Clone + 'static {
        let driver = Rc::downgrade(self);
        move |heard| {
            let Some(driver) = driver.upgrade() else { return };
            driver.tell(match heard.and_then(|message| read_message(&message)) {
                Ok(input) => input,
                Err(wrong) => unreadable("malformed-message", "another tab", &wrong),
            });
        }
    }

    /// Tells the engine something, and performs what it asks for.
    pub(crate) fn dispatch(self: &Rc<Self>, input: Input<JsRecord>) -> Result<Option<OperationId>, Refusal> {
        let result = self.engine.try_borrow_mut().map_err(|_| Refusal::Crashed)?.handle(input, now());
        self.drain();
        self.wake_at_deadline();
        Ok(result?)
    }

    /// The same for facts, which are never refused: a crashed engine is the only one that does not listen, and whoever calls it hears of that.
    pub(crate) fn tell(self: &Rc<Self>, input: Input<JsRecord>) {
        let _ = self.dispatch(input);
    }

    /// Takes the reason why storage refused an operation, if it did.
    pub(crate) fn take_rejection(&self, id: OperationId) -> Option<Refusal> {
        let (_, message) = self.rejected.borrow_mut().take_if(|(rejected, _)| *rejected == id)?;
        Some(Refusal::StorageFull(message))
    }

    pub(crate) fn stats(&self) -> Option<Stats> {
        self.engine.try_borrow().ok().map(|engine| engine.stats())
    }

    /// Returns the decisions on conflicts, the oldest first, and how many were forgotten.
    pub(crate) fn audit(&self) -> Option<(JsValue, u64)> {
        self.engine
            .try_borrow()
            .ok()
            .map(|engine| (engine.audit().map(to_js).collect::<Array>().into(), engine.audit_dropped()))
    }

    /// Returns what the server last said of the records that are there: table, version and record of each, flat.
    pub(crate) fn confirmed(&self) -> Option<Array> {
        let engine = self.engine.try_borrow().ok()?;
        let flat = Array::new();
        for row in engine.confirmed() {
            let Some(record) = &row.record else { continue };
            flat.push(&JsValue::from_str(&row.table));
            flat.push(&to_js(&row.version));
            flat.push(record.object());
        }
        Some(flat)
    }

    /// Asks whether a command would be taken; nothing once the engine has crashed.
    pub(crate) fn can(&self, command: Command) -> Option<Result<(), Error>> {
        self.engine.try_borrow().ok().map(|engine| engine.can(command))
    }

    pub(crate) fn tab(&self) -> Option<String> {
        self.engine.try_borrow().ok().map(|engine| engine.tab().to_owned())
    }

    fn drain(self: &Rc<Self>) {
        loop {
            // The borrow ends with this line.
            let output = self.engine.try_borrow_mut().ok().and_then(|mut engine| engine.poll());
            match output {
                Some(output) => self.perform(output),
                None => return,
            }
        }
    }

    fn perform(self: &Rc<Self>, output: Output<JsRecord>) {
        match output {
            Output::Persist { id, key, entry } => {
                let stored = self.persist(id, key, &entry);
                // Answered at once: nobody sees the operation, and nothing is sent, before this.
                if let Ok(mut engine) = self.engine.try_borrow_mut() {
                    let _ = engine.handle(Input::OperationStored { id, stored }, now());
                }
            }
            Output::PersistAlias { key, entry } => {
                // The ledger can be asked for it again.
                let _ = self.browser.borrow().shelf.write(key, &to_js(&entry), false, |_| ());
            }
            Output::PersistMark { key } => self.browser.borrow().shelf.write_mark(key),
            Output::Unpersist { key } => self.browser.borrow().shelf.remove(key),
            Output::Quarantine { key, to } => self.browser.borrow().shelf.rename(key, to),
            Output::ForgetQuarantined { prefix } => self.browser.borrow().shelf.forget_quarantined(&prefix),
            Output::LoadOperations { look } => self.load(look),
            Output::CacheRecords { rows } => self.browser.borrow().shelf.cache(&rows),
            Output::LoadRecords => self.load_records(),
            Output::ForgetRecords => self.browser.borrow().shelf.clear_cache(),
            Output::PurgeSession { prefix, keep, mark } => self.purge(&prefix, &keep, mark.as_deref()),
            Output::SignedOut => self.call_host("signedOut", &JsValue::UNDEFINED),
            Output::LogoutRefused(problem) => self.call_host("logoutRefused", &to_js(&problem)),
            Output::RequestLock => self.request_lock(),
            Output::StealLock => self.take_lock(true),
            Output::ReleaseLock => self.release(),
            Output::Rest => self.rest(),
            Output::Broadcast(message) => self.broadcast(&*message),
            Output::Notify(changes) => self.notify(&changes),
            Output::Rejected { id, message } => *self.rejected.borrow_mut() = Some((id, message)),
            Output::Connect { attempt } => self.call_host("connect", &JsValue::from(attempt)),
            Output::Ping { attempt } => self.call_host("ping", &JsValue::from(attempt)),
            Output::Disconnect => self.call_host("disconnect", &JsValue::UNDEFINED),
            Output::Pull(call) => self.call_host("pull", &to_js(&call)),
            Output::Push { operation } => self.call_host("push", &to_js(&operation)),
            Output::PushAll { call, operations } => self.call_host("pushAll", &to_js(&(call, operations))),
            Output::Gather => self.call_host("gather", &JsValue::UNDEFINED),
            Output::AnnouncePresence { peers } => self.call_host("presence", &to_js(&peers)),
            Output::RefreshToken => self.call_host("refreshToken", &JsValue::UNDEFINED),
            Output::Settled(settlement) => self.call_host("settled", &to_js(&settlement)),
            Output::Durable { id, durability } => self.call_host("durable", &to_js(&(id, durability))),
            Output::Report(problem) => self.call_host("report", &to_js(&problem)),
        }
    }

    /// Calls the host, which catches what its own callees throw.
    fn call_host(&self, name: &str, detail: &JsValue) {
        let _ = self.host.call2(&JsValue::UNDEFINED, &js_name(name), detail);
    }

    fn persist(self: &Rc<Self>, id: OperationId, key: String, entry: &StoredOperation) -> Stored {
        if self.browser.borrow().shelf.is_none() {
            return Stored::Memory;
        }
        let driver = Rc::downgrade(self);
        // One that was put onto another base is there already.
        let is_new = entry.op.rebased == 0;
        let entry = to_js(entry);
        let written =
            self.browser.borrow().shelf.write(key, &entry, is_new, move |durable| ended(&driver, id, durable));
        match written {
            Written { at_once: Some(Ok(())), later: true } => Stored::Now,
            Written { at_once: Some(Ok(())), later: false } => {
                // There is no second step here, so the first is all there is.
                let driver = Rc::downgrade(self);
                js_sys::futures::spawn_local(async move { ended(&driver, id, false) });
                Stored::Now
            }
            Written { at_once: None | Some(Err(_)), later: true } => Stored::Later,
            Written { at_once: Some(Err(error)), later: false } => Stored::Failed(describe(&error)),
            Written { at_once: None, later: false } => Stored::Memory,
        }
    }

    /// Reads what is stored: at once from the one place, a moment later from the other.
    fn load(self: &Rc<Self>, look: u32) {
        let Ok(prefixes) = self.engine.try_borrow().map(|engine| engine.session().looked_for()) else { return };
        let (at_once, has_later) = {
            let browser = self.browser.borrow();
            (browser.shelf.entries_at_once(&prefixes), browser.shelf.has_later())
        };
        // Told even where there is no storage: a new leader waits for this.
        if let Some(entries) = at_once {
            self.tell(Input::EntriesFound { entries, look: (!has_later).then_some(look) });
        }
        let driver = Rc::downgrade(self);
        self.browser.borrow().shelf.entries_later(prefixes.clone(), move |found| {
            if let Some(driver) = driver.upgrade() {
                driver.tell(match found {
                    Ok(mut entries) => {
                        // What a tab in another process writes to localStorage is seen here a moment later.
                        entries.extend(driver.browser.borrow().shelf.entries_at_once(&prefixes).into_iter().flatten());
                        Input::EntriesFound { entries, look: Some(look) }
                    }
                    Err(error) => unreadable("storage", "IndexedDB", &describe(&error)),
                });
            }
        });
    }

    fn load_records(self: &Rc<Self>) {
        let driver = Rc::downgrade(self);
        self.browser.borrow().shelf.load_cache(move |rows| {
            let Some(driver) = driver.upgrade() else { return };
            driver.browser.borrow().shelf.tidy_cache(&rows);
            let rows: Vec<_> = rows.into_iter().filter_map(|(_, _, row)| row).collect();
            if !rows.is_empty() {
                driver.tell(Input::RecordsFound { rows });
            }
        });
    }

    /// Deletes all of the session, and tells the host of a promise that resolves once it is gone, with whether it is.
    fn purge(&self, prefix: &str, keep: &str, mark: Option<&str>) {
        let purging = Promise::new(&mut |resolve, _reject| {
            let done = move |is_gone| drop(resolve.call1(&JsValue::UNDEFINED, &JsValue::from_bool(is_gone)));
            self.browser.borrow().shelf.purge(prefix, keep, mark.map(str::to_owned), done);
        });
        self.call_host("purging", &purging);
    }

    /// A message to a page that is kept for the way back would end it, and so would its lock, or a database that others want to change.
    fn rest(&self) {
        let mut browser = self.browser.borrow_mut();
        (browser.lock, browser.channel) = (None, None);
        browser.shelf.rest();
    }

    /// Opens the channel, where there is none yet.
    fn open_channel(self: &Rc<Self>) {
        // Where nothing is shared, no tab is: a server has a BroadcastChannel, too.
        let is_shared = self.browser.borrow().shelf.durability() != Durability::Memory || Lock::supported();
        if self.memory_only || !is_shared || self.browser.borrow().channel.is_some() {
            return;
        }
        let Ok(name) = self.engine.try_borrow().map(|engine| engine.session().name()) else { return };
        let channel = Channel::open(&name, &self.sealing, self.hearing());
        self.browser.borrow_mut().channel = channel;
    }

    fn request_lock(self: &Rc<Self>) {
        self.open_channel();
        // A leader that nobody hears would have followers that nobody sends for.
        if self.browser.borrow().channel.is_none() {
            self.tell(Input::NoLocks);
            return;
        }
        self.take_lock(false);
    }

    /// Queues for the lock, or takes it from whoever has it.
    fn take_lock(self: &Rc<Self>, steal: bool) {
        let Ok(name) = self.engine.try_borrow().map(|engine| engine.session().name()) else { return };
        let driver = Rc::downgrade(self);
        let lock = Lock::request(&name, steal, move |is_ours| {
            if let Some(driver) = driver.upgrade() {
                driver.tell(if is_ours { Input::LockGranted } else { Input::LockLost });
            }
        });
        match lock {
            Some(lock) => self.browser.borrow_mut().lock = Some(lock),
            None => self.tell(Input::NoLocks),
        }
    }

    /// Does what it can when the engine has crashed: another tab may lead, and nobody is called any more.
    pub(crate) fn abandon(&self) {
        self.closed.set(true);
        if let Ok(mut browser) = self.browser.try_borrow_mut() {
            *browser = Browser::default();
        }
        self.alarm.stop();
    }

    /// Gives everything back. What was being written is still written.
    fn release(&self) {
        self.closed.set(true);
        self.browser.replace(Browser::default());
        self.alarm.stop();
    }

    fn broadcast<T: Serialize>(self: &Rc<Self>, message: &T) {
        let send = |channel: &Channel| {
            let message = to_js(message);
            // What can't be written would reach the others as nothing at all.
            let sent =
                if message.is_null() { Err("a message could not be written".into()) } else { channel.send(&message) };
            Some((sent.err()?, channel.place()))
        };
        let failed = self.browser.borrow().channel.as_ref().and_then(send);
        if let Some((error, place)) = failed {
            let why = format!("the other tabs miss messages, and have to ask for them: {}", describe(&error));
            self.call_host("report", &to_js(&Problem::new("storage", place, why)));
        }
    }

    /// Hands a change list to the host: records flat — number, table, key, record or undefined, released — and by reference; views flat, too.
    fn notify(&self, changes: &Changes<JsRecord>) {
        let records = Array::new();
        for change in &changes.records {
            records.push(&JsValue::from(change.id.0));
            records.push(&JsValue::from(u32::try_from(change.table).unwrap_or(u32::MAX)));
            records.push(&JsValue::from_str(&change.key));
            records.push(change.record.as_ref().map_or(&JsValue::UNDEFINED, |record| record.object()));
            records.push(&JsValue::from_bool(change.released));
        }
        let detail = Object::new();
        set(&detail, "records", &records);
        set(&detail, "operations", &to_js(&changes.operations));
        if !changes.conflicts.is_empty() {
            set(&detail, "conflicts", &to_js(&changes.conflicts));
        }
        if !changes.decisions.is_empty() {
            set(&detail, "decisions", &to_js(&changes.decisions));
        }
        if !changes.views.is_empty() {
            set(&detail, "views", &flat_views(&changes.views));
        }
        if let Some(status) = &changes.status {
            set(&detail, "status", &to_js(status));
        }
        if !changes.renamed.is_empty() {
            set(&detail, "renamed", &to_js(&changes.renamed));
        }
        if let Some(presence) = &changes.presence {
            set(&detail, "presence", &to_js(presence));
        }
        if let Some(stale) = &changes.stale {
            set(&detail, "stale", &to_js(stale));
        }
        self.call_host("notify", &detail);
    }

    fn wake_at_deadline(self: &Rc<Self>) {
        if self.closed.get() {
            return;
        }
        let Some(due_mono_ms) = self.deadline() else { return };
        let driver = Rc::downgrade(self);
        self.alarm.set(due_mono_ms, move || {
            if let Some(driver) = driver.upgrade() {
                driver.ring();
            }
        });
    }

    fn deadline(&self) -> Option<u64> {
        self.engine.try_borrow().ok().and_then(|engine| engine.deadline())
    }

    fn ring(self: &Rc<Self>) {
        self.alarm.ring();
        if self.deadline().is_some_and(|due_mono_ms| due_mono_ms <= now().mono_ms) {
            self.tell(Input::TimerFired);
        } else {
            // What it was set for is over, or was put off.
            self.wake_at_deadline();
        }
    }
}

/// Six entries a view: number, total, whether the window is told anew, the window, figures or undefined, groups or undefined. A window
/// told anew is its records' numbers; else three numbers an edit: 0 remove, 1 insert, 2 update; the place; the record, for an insert.
/// Groups are two entries each: the values that make it, or undefined for the rest; its figures, or undefined when it is gone.
fn flat_views(views: &[ViewChange]) -> Array {
    let flat = Array::new();
    for view in views {
        let (is_anew, window) = match &view.window {
            WindowChange::Reset(ids) => (true, ids.iter().map(|id| id.0).collect()),
            WindowChange::Edits(edits) => (false, flat_edits(edits)),
        };
        flat.push(&JsValue::from(view.id));
        flat.push(&JsValue::from(view.total));
        flat.push(&JsValue::from_bool(is_anew));
        flat.push(&Uint32Array::from(window.as_slice()));
        flat.push(&figures(view.figures.as_ref()));
        if view.groups.is_empty() {
            flat.push(&JsValue::UNDEFINED);
            continue;
        }
        let groups = Array::new();
        for change in &view.groups {
            groups.push(&change.group.as_ref().map_or(JsValue::UNDEFINED, |values| list_of(values)));
            groups.push(&figures(change.figures.as_ref()));
        }
        flat.push(&groups);
    }
    flat
}

fn flat_edits(edits: &[Edit]) -> Vec<u32> {
    let mut flat = Vec::with_capacity(edits.len() * 3);
    for edit in edits {
        flat.extend(match edit {
            Edit::Remove { at } => [0, *at, 0],
            Edit::Insert { at, id } => [1, *at, id.0],
            Edit::Update { at } => [2, *at, 0],
        });
    }
    flat
}

fn figures(figures: Option<&Vec<Option<f64>>>) -> JsValue {
    let Some(figures) = figures else { return JsValue::UNDEFINED };
    let list = Array::new();
    for figure in figures {
        list.push(&figure.map_or(JsValue::NULL, JsValue::from_f64));
    }
    list.into()
}

/// Reports the end of an operation's second step.
fn ended(driver: &Weak<Driver>, id: OperationId, durable: bool) {
    if let Some(driver) = driver.upgrade() {
        driver.tell(Input::OperationDurable { id, durable });
    }
}

pub(crate) fn unreadable(code: &str, place: &str, message: &str) -> Input<JsRecord> {
    Input::Unreadable { code: code.to_owned(), place: place.to_owned(), message: message.to_owned() }
}

/// Makes plain JavaScript of anything that is data: objects for maps, null for nothing.
pub(crate) fn to_js<T: Serialize + ?Sized>(value: &T) -> JsValue {
    value.serialize(&Serializer::json_compatible()).unwrap_or(JsValue::NULL)
}

/// Reads what another tab said.
fn read_message(message: &JsValue) -> Result<Input<JsRecord>, String> {
    match decode::tab_message(message) {
        Ok(message) => Ok(Input::TabMessageReceived(Box::new(message))),
        Err(wrong) if decode::is_of_newer_protocol(message) => Ok(unreadable("newer-message", "another tab", &wrong)),
        Err(wrong) => Err(wrong),
    }
}

/// Returns an error's own words.
pub(crate) fn describe(error: &JsValue) -> String {
    match js_sys::Reflect::get(error, &"message".into()).ok().and_then(|message| message.as_string()) {
        Some(message) => message,
        None => error.as_string().unwrap_or_else(|| "unknown error".to_owned()),
    }
}
