//! IndexedDB: the step of durability that survives the end of the browser.
//!
//! Writes queue up and go in one transaction a turn, in order. A database that can't be opened, or that breaks, is opened once more,
//! and then answers each operation with an error; the next write tries again. One that is deleted under us gets back what
//! is not deleted yet. Nothing waits for an answer for ever: browsers are known to give none. Where there is no room for an
//! operation, the cached records make room.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use gloo_timers::callback::Timeout;
use js_sys::futures::{JsFuture, future_to_promise, spawn_local};
use js_sys::{Array, Function, Object, Promise, Reflect};
use rustc_hash::FxBuildHasher;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{IdbDatabase, IdbFactory, IdbKeyRange, IdbObjectStore, IdbOpenDbRequest, IdbRequest, IdbTransaction};

use super::clock::now;
use super::driver::describe;
use super::js_record::set;

/// How long the browser may take to open the database.
const OPEN_MS: u64 = 5_000;

/// How long whoever asks while it is late already waits all the same.
const LATE_MS: u64 = 50;

/// How long it may take to read, or to write and flush.
const ANSWER_MS: u32 = 10_000;

/// The number of the database's layout.
const LAYOUT: u32 = 1;
const OPERATIONS: &str = "operations";
const RECORDS: &str = "records";
/// The last is made with the database, so that filling it later needs no new layout.
const STORES: [&str; 3] = [OPERATIONS, RECORDS, "meta"];

/// What happens once a write has ended; true when it is safe.
type Done = Box<dyn FnOnce(bool)>;

/// Remembers, where a page can be left at any moment, that all is to be deleted.
pub(crate) trait Duty {
    /// What the keys begin with of the entries that stay, while it is not done.
    fn keep(&self) -> Option<String>;
    fn fulfil(&self);
}

enum Write {
    Put {
        key: String,
        entry: JsValue,
        /// False where something may lie there already.
        is_new: bool,
        done: Done,
    },
    Delete {
        key: String,
    },
    Move {
        key: String,
        to: String,
    },
    /// A record, or its end, in the cache.
    Cache {
        key: JsValue,
        entry: Option<JsValue>,
    },
    ClearCache,
    /// A record of the cache gets another key, and another form, unless there is a later one under that.
    MoveCached {
        key: JsValue,
        to: JsValue,
        entry: JsValue,
    },
    /// The database was closed: what was kept there is written again.
    Restore,
    /// Deletes all operations, and what else lies beside them, but for what begins with this.
    Purge {
        keep: String,
        done: Done,
    },
}

impl Write {
    const fn is_of_cache(&self) -> bool {
        matches!(self, Self::Cache { .. } | Self::ClearCache | Self::MoveCached { .. })
    }
}

/// The database of one session.
pub(crate) struct Database {
    connection: Rc<Connection>,
}

impl Drop for Database {
    fn drop(&mut self) {
        // The writer ends with what is in its queue.
        self.connection.writer.take();
    }
}

struct Connection {
    name: String,
    factory: IdbFactory,
    open: RefCell<Option<(IdbDatabase, Closure<dyn FnMut()>)>>,
    /// Settles when the browser has answered the request to open; and when it will be late.
    opening: RefCell<Option<(Promise, u64)>>,
    /// What this tab has put there and not deleted since.
    kept: RefCell<BTreeMap<String, JsValue>>,
    /// True since the database was closed: what was kept may be gone with it.
    is_lost: Cell<bool>,
    works: Cell<bool>,
    /// Hears when it stops to work, with the reason, and when it works again.
    tell: Box<dyn Fn(Result<(), String>)>,
    duty: Option<Box<dyn Duty>>,
    /// The way to the writer; none once the session is over.
    writer: RefCell<Option<UnboundedSender<Write>>>,
}

impl Database {
    /// Prepares the database of a session; `None` where there is no IndexedDB. It is opened by the first use.
    pub(crate) fn new(
        name: &str,
        duty: Option<Box<dyn Duty>>,
        tell: impl Fn(Result<(), String>) + 'static,
    ) -> Option<Self> {
        let factory = Reflect::get(&js_sys::global(), &"indexedDB".into()).ok()?.dyn_into::<IdbFactory>().ok()?;
        let (writes, queue) = unbounded();
        let connection = Rc::new(Connection {
            name: name.to_owned(),
            factory,
            open: RefCell::default(),
            opening: RefCell::default(),
            kept: RefCell::default(),
            is_lost: Cell::new(false),
            works: Cell::new(true),
            tell: Box::new(tell),
            duty,
            writer: RefCell::new(Some(writes)),
        });
        spawn_local(write_all(Rc::clone(&connection), queue));
        Some(Self { connection })
    }

    /// False while it can't be written.
    pub(crate) fn works(&self) -> bool {
        self.connection.works.get()
    }

    /// Looks whether it works again.
    pub(crate) fn try_again(&self) {
        self.send(Write::Restore);
    }

    /// `is_new` where nothing of that key was ever put anywhere.
    pub(crate) fn put(&self, key: String, entry: JsValue, is_new: bool, done: impl FnOnce(bool) + 'static) {
        let was_kept = self.connection.kept.borrow_mut().insert(key.clone(), entry.clone()).is_some();
        let is_new = is_new && !was_kept;
        self.send(Write::Put { key, entry, is_new, done: Box::new(done) });
    }

    pub(crate) fn delete(&self, key: String) {
        self.connection.kept.borrow_mut().remove(&key);
        self.send(Write::Delete { key });
    }

    pub(crate) fn rename(&self, key: String, to: String) {
        self.connection.kept.borrow_mut().remove(&key);
        self.send(Write::Move { key, to });
    }

    /// Keeps a record for the next visit, or forgets it. A cache that can't be written is none, and nobody is told.
    pub(crate) fn cache(&self, key: JsValue, entry: Option<JsValue>) {
        self.send(Write::Cache { key, entry });
    }

    /// Forgets all cached records.
    pub(crate) fn clear_cache(&self) {
        self.send(Write::ClearCache);
    }

    /// Gives a record of the cache another key and form.
    pub(crate) fn move_cached(&self, key: JsValue, to: JsValue, entry: JsValue) {
        self.send(Write::MoveCached { key, to, entry });
    }

    /// Deletes everything, but for the entries whose keys begin with something. `done` hears whether it is gone.
    pub(crate) fn purge(&self, keep: &str, done: impl FnOnce(bool) + 'static) {
        self.connection.kept.borrow_mut().retain(|key, _| key.starts_with(keep));
        self.send(Write::Purge { keep: keep.to_owned(), done: Box::new(done) });
        self.send(Write::ClearCache);
    }

    /// Closes the connection once what is being written is written. The next use opens it again.
    pub(crate) fn rest(&self) {
        self.connection.close();
    }

    /// Reads the cached records, each with its `[table, key]`.
    pub(crate) fn load_cache(&self, found: impl FnOnce(Vec<(JsValue, JsValue)>) + 'static) {
        let connection = Rc::clone(&self.connection);
        spawn_local(async move { found(connection.read(RECORDS).await.unwrap_or_default()) });
    }

    fn send(&self, write: Write) {
        self.connection.send(write);
    }

    /// Reads the operations and aliases of a session.
    pub(crate) fn load(
        &self,
        prefixes: [String; 4],
        found: impl FnOnce(Result<Vec<(String, JsValue)>, JsValue>) + 'static,
    ) {
        let connection = Rc::clone(&self.connection);
        spawn_local(async move { found(connection.entries(&prefixes).await) });
    }
}

/// The writer: runs until the database is dropped, and closes it then.
async fn write_all(connection: Rc<Connection>, mut queue: UnboundedReceiver<Write>) {
    while let Some(first) = queue.next().await {
        let mut batch = vec![first];
        while let Ok(write) = queue.try_recv() {
            batch.push(write);
        }
        let (cache, mut operations): (Vec<Write>, Vec<Write>) = batch.into_iter().partition(Write::is_of_cache);
        // One that does not work is tried with whatever comes.
        let passed = if connection.works.get() { take_passed(&mut operations) } else { Vec::new() };
        let safe = connection.write_operations(&operations).await;
        // A cache that can't be written is none; one that can't be cleared is one.
        let is_cached = connection.write(RECORDS, "relaxed", &cache).await.is_ok();
        for write in operations.into_iter().chain(passed) {
            match write {
                Write::Put { done, .. } => done(safe),
                Write::Purge { done, .. } => {
                    if let Some(duty) = connection.duty.as_ref().filter(|_| safe && is_cached) {
                        duty.fulfil();
                    }
                    done(safe && is_cached);
                }
                _ => {}
            }
        }
    }
    connection.forget();
}

impl Drop for Connection {
    /// Who opened it last may have been the last to use it, and an open handle that listens stays for ever.
    fn drop(&mut self) {
        self.close();
    }
}

/// Takes out what came and went while it waited: an operation that ended before it was written here needs no writing.
fn take_passed(batch: &mut Vec<Write>) -> Vec<Write> {
    if !batch.iter().all(|write| matches!(write, Write::Put { .. } | Write::Delete { .. })) {
        return Vec::new();
    }
    // True for what was deleted again, false for what stays, whatever happens to it.
    let mut fates: HashMap<String, Option<bool>, FxBuildHasher> = HashMap::default();
    for write in &*batch {
        match write {
            Write::Put { key, is_new, .. } => {
                // Nothing is put twice but what could not be stored the first time.
                let fate = if *is_new && !fates.contains_key(key) { None } else { Some(false) };
                fates.insert(key.clone(), fate);
            }
            Write::Delete { key } => {
                if let Some(fate) = fates.get_mut(key) {
                    fate.get_or_insert(true);
                }
            }
            _ => {}
        }
    }
    let is_passed = |write: &Write| matches!(write, Write::Put { key, .. } | Write::Delete { key } if fates.get(key) == Some(&Some(true)));
    let (taken, left) = std::mem::take(batch).into_iter().partition(is_passed);
    *batch = left;
    taken
}

impl Connection {
    fn send(&self, write: Write) {
        if let Some(writer) = &*self.writer.borrow() {
            // The writer ends only with this sender, so the queue is open.
            let _ = writer.unbounded_send(write);
        }
    }

    async fn database(self: &Rc<Self>) -> Result<IdbDatabase, JsValue> {
        if let Some((open, _)) = &*self.open.borrow() {
            return Ok(open.clone());
        }
        let asked = self.opening.borrow().clone();
        let (opening, late_mono_ms) = asked.unwrap_or_else(|| {
            let opening = future_to_promise(Rc::clone(self).open_anew());
            let asked = (opening, now().mono_ms.saturating_add(OPEN_MS));
            *self.opening.borrow_mut() = Some(asked.clone());
            asked
        });
        let wait_ms = u32::try_from(late_mono_ms.saturating_sub(now().mono_ms).max(LATE_MS)).unwrap_or(u32::MAX);
        within(wait_ms, &opening).await.map(JsCast::unchecked_into)
    }

    /// However long it takes: whoever asks next has what comes late.
    async fn open_anew(self: Rc<Self>) -> Result<JsValue, JsValue> {
        let opened = self.ask_to_open().await;
        self.opening.take();
        let database = opened?;
        let is_over = self.writer.borrow().is_none() && Rc::strong_count(&self) == 1;
        if is_over {
            database.close();
            return Err("the session is over".into());
        }
        if let Err(error) = self.finish_purge(&database).await {
            database.close();
            return Err(error);
        }
        // Another tab that deletes or upgrades the database must not wait for us; and the browser may close it by itself.
        let on_close = {
            let connection = Rc::downgrade(&self);
            Closure::<dyn FnMut()>::new(move || {
                if let Some(connection) = connection.upgrade() {
                    connection.forget();
                    connection.send(Write::Restore);
                }
            })
        };
        database.set_onversionchange(Some(on_close.as_ref().unchecked_ref()));
        database.set_onclose(Some(on_close.as_ref().unchecked_ref()));
        *self.open.borrow_mut() = Some((database.clone(), on_close));
        Ok(database.into())
    }

    /// Deletes what a logout left here whose page was gone too early, or that the browser would not let.
    async fn finish_purge(&self, database: &IdbDatabase) -> Result<(), JsValue> {
        let Some((duty, keep)) = self.duty.as_ref().and_then(|duty| Some((duty, duty.keep()?))) else { return Ok(()) };
        // Another tab may be doing the same, and go on to write: its transactions are in between only if it has fulfilled the duty.
        let both = Array::of2(&OPERATIONS.into(), &RECORDS.into());
        let transaction = begin_in(database, &both, "readwrite", "strict")?;
        purge(&transaction.object_store(OPERATIONS)?, &keep)?;
        drop(transaction.object_store(RECORDS)?.clear()?);
        committed(&transaction).await?;
        duty.fulfil();
        Ok(())
    }

    async fn ask_to_open(&self) -> Result<IdbDatabase, JsValue> {
        let request = self.factory.open_with_u32(&self.name, LAYOUT)?;
        let upgrade = {
            let request = request.clone();
            Closure::<dyn FnMut()>::new(move || make_stores(&request))
        };
        request.set_onupgradeneeded(Some(upgrade.as_ref().unchecked_ref()));
        let opened = JsFuture::from(ended(&request)).await;
        request.set_onupgradeneeded(None);
        opened.map_err(|event| why(&request, event))?;
        request.result().map(JsCast::unchecked_into)
    }

    fn forget(&self) {
        if self.close() {
            self.is_lost.set(true);
        }
    }

    /// Gives the handle back. Returns whether there was one.
    fn close(&self) -> bool {
        let open = self.open.borrow_mut().take();
        let was_open = open.is_some();
        if let Some((database, on_close)) = open {
            database.set_onversionchange(None);
            database.set_onclose(None);
            database.close();
            // It may be running right now.
            spawn_local(async move { drop(on_close) });
        }
        was_open
    }

    fn note(&self, written: &Result<(), JsValue>) {
        if self.works.replace(written.is_ok()) != written.is_ok() {
            (self.tell)(written.as_ref().copied().map_err(describe));
        }
    }

    /// Writes operations. Returns whether they are safe.
    async fn write_operations(self: &Rc<Self>, batch: &[Write]) -> bool {
        if batch.is_empty() {
            return true;
        }
        let mut written = self.write(OPERATIONS, "strict", batch).await;
        if written.is_err() {
            // The browser may have dropped the handle (background tabs do lose theirs), or there is no room: open once more, and
            // shed the cache.
            self.forget();
            let _ = self.write(RECORDS, "strict", &[Write::ClearCache]).await;
            written = self.write(OPERATIONS, "strict", batch).await;
        }
        if written.is_err() {
            self.forget();
        }
        self.note(&written);
        written.is_ok()
    }

    async fn write(self: &Rc<Self>, store: &str, durability: &str, batch: &[Write]) -> Result<(), JsValue> {
        if batch.is_empty() {
            return Ok(());
        }
        let transaction = self.begin(store, "readwrite", durability).await?;
        let restores = store == OPERATIONS && self.is_lost.get();
        let store = transaction.object_store(store)?;
        if restores {
            for (key, entry) in &*self.kept.borrow() {
                drop(store.put_with_key(entry, &key.into())?);
            }
        }
        for (at, write) in batch.iter().enumerate() {
            match write {
                Write::Put { key, entry, .. } => drop(store.put_with_key(entry, &key.into())?),
                Write::Delete { key } => drop(store.delete(&key.into())?),
                Write::Move { key, to } => rename(&store, key, to)?,
                Write::Purge { keep, .. } => purge(&store, keep)?,
                Write::Cache { key, entry: Some(entry) } => drop(store.put_with_key(entry, key)?),
                Write::Cache { key, entry: None } => drop(store.delete(key)?),
                Write::ClearCache => drop(store.clear()?),
                // What it reads comes after all that is asked for here, and so would what it puts.
                Write::MoveCached { key, to, .. } if is_overtaken(to, &batch[at + 1..]) => drop(store.delete(key)?),
                Write::MoveCached { key, to, entry } => move_cached(&store, key, to, entry)?,
                Write::Restore => {}
            }
        }
        committed(&transaction).await?;
        if restores {
            self.is_lost.set(false);
        }
        Ok(())
    }

    async fn begin(self: &Rc<Self>, store: &str, mode: &str, durability: &str) -> Result<IdbTransaction, JsValue> {
        let database = self.database().await?;
        begin_in(&database, &store.into(), mode, durability)
    }

    /// Reads everything of one store, with its keys. A handle that the browser has dropped is taken up anew, once.
    async fn read(self: &Rc<Self>, store: &str) -> Result<Vec<(JsValue, JsValue)>, JsValue> {
        if let Ok(all) = self.all(store).await {
            return Ok(all);
        }
        self.forget();
        self.all(store).await
    }

    async fn all(self: &Rc<Self>, store: &str) -> Result<Vec<(JsValue, JsValue)>, JsValue> {
        let store = self.begin(store, "readonly", "relaxed").await?.object_store(store)?;
        let (keys, values) = (store.get_all_keys()?, store.get_all()?);
        let both = Promise::all(&Array::of2(&ended(&keys), &ended(&values)));
        within(ANSWER_MS, &both).await.map_err(|event| why(&values, why(&keys, event)))?;
        let (keys, values): (Array, Array) = (keys.result()?.unchecked_into(), values.result()?.unchecked_into());
        Ok(keys.iter().zip(values.iter()).collect())
    }

    async fn entries(self: &Rc<Self>, prefixes: &[String]) -> Result<Vec<(String, JsValue)>, JsValue> {
        let named = self.read(OPERATIONS).await?.into_iter().filter_map(|(key, value)| Some((key.as_string()?, value)));
        Ok(named.filter(|(key, _)| prefixes.iter().any(|prefix| key.starts_with(prefix))).collect())
    }
}

fn begin_in(database: &IdbDatabase, stores: &JsValue, mode: &str, durability: &str) -> Result<IdbTransaction, JsValue> {
    // web-sys has no stable binding for the options yet.
    let begin: Function = Reflect::get(database, &"transaction".into())?.unchecked_into();
    let options = Object::new();
    set(&options, "durability", &durability.into());
    begin.call3(database, stores, &mode.into(), &options).map(JsCast::unchecked_into)
}

fn make_stores(request: &IdbOpenDbRequest) {
    if let Ok(database) = request.result() {
        let database: IdbDatabase = database.unchecked_into();
        for store in STORES {
            // Fails when it is there already, which is what is wanted.
            let _ = database.create_object_store(store);
        }
    }
}

/// Deletes what is before some keys, and what is after them.
fn purge(store: &IdbObjectStore, keep: &str) -> Result<(), JsValue> {
    let last = [keep, "\u{ffff}"].concat();
    store.delete(IdbKeyRange::upper_bound_with_open(&keep.into(), true)?.as_ref())?;
    store.delete(IdbKeyRange::lower_bound(&last.into())?.as_ref())?;
    Ok(())
}

fn rename(store: &IdbObjectStore, key: &str, to: &str) -> Result<(), JsValue> {
    let read = store.get(&key.into())?;
    let (target, to, source) = (store.clone(), JsValue::from_str(to), read.clone());
    let copy = Closure::once_into_js(move || {
        if let Ok(entry) = source.result()
            && !entry.is_undefined()
        {
            let _ = target.put_with_key(&entry, &to);
        }
    });
    read.set_onsuccess(Some(copy.unchecked_ref()));
    store.delete(&key.into())?;
    Ok(())
}

/// True where a record of the cache is written, or forgotten, by what comes later.
fn is_overtaken(record: &JsValue, later: &[Write]) -> bool {
    later.iter().any(|write| match write {
        Write::Cache { key, .. } => key == record,
        Write::ClearCache => true,
        _ => false,
    })
}

fn move_cached(store: &IdbObjectStore, key: &JsValue, to: &JsValue, entry: &JsValue) -> Result<(), JsValue> {
    let read = store.get_key(to)?;
    let (target, to, entry, there) = (store.clone(), to.clone(), entry.clone(), read.clone());
    let put = Closure::once_into_js(move || {
        if there.result().is_ok_and(|key| key.is_undefined()) {
            let _ = target.put_with_key(&entry, &to);
        }
    });
    read.set_onsuccess(Some(put.unchecked_ref()));
    store.delete(key)?;
    Ok(())
}

/// Settles when a request has ended. No closure of ours listens: one for what hardly ever happens would stay, and the database with it.
fn ended(request: &IdbRequest) -> Promise {
    Promise::new(&mut |resolve, reject| {
        request.set_onsuccess(Some(&resolve));
        request.set_onerror(Some(&reject));
    })
}

async fn committed(transaction: &IdbTransaction) -> Result<(), JsValue> {
    let ended = Promise::new(&mut |resolve, reject| {
        transaction.set_oncomplete(Some(&resolve));
        transaction.set_onabort(Some(&reject));
    });
    let ended = within(ANSWER_MS, &ended).await;
    ended.map(|_| ()).map_err(|event| transaction.error().map_or(event, JsValue::from))
}

/// What an event says of the error is hard to read for a person; its request says it, once it has ended.
fn why(request: &IdbRequest, event: JsValue) -> JsValue {
    request.error().ok().flatten().map_or(event, JsValue::from)
}

/// Waits for something, but not for ever.
async fn within(wait_ms: u32, wanted: &Promise) -> Result<JsValue, JsValue> {
    let mut timeout = None;
    let too_late = Promise::new(&mut |_resolve, reject| {
        timeout = Some(Timeout::new(wait_ms, move || {
            let _ = reject.call1(&JsValue::UNDEFINED, &"it does not answer".into());
        }));
    });
    let answered = JsFuture::from(Promise::race(&Array::of2(wanted, &too_late))).await;
    // Which is forgotten here, if it has not come.
    drop(timeout);
    answered
}
