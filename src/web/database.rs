//! IndexedDB: the step of durability that survives the end of the browser.
//!
//! Writes queue up and go in one transaction a turn, in order. A database that can't be opened, or that breaks, answers
//! each operation with an error; the next write opens it again. Where there is no room for an operation, the cached records
//! make room.

use std::cell::RefCell;
use std::rc::Rc;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use js_sys::futures::{JsFuture, spawn_local};
use js_sys::{Array, Function, Object, Promise, Reflect};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{IdbDatabase, IdbFactory, IdbKeyRange, IdbObjectStore, IdbOpenDbRequest, IdbRequest, IdbTransaction};

use super::js_record::set;

/// The number of the database's layout.
const LAYOUT: u32 = 1;
const OPERATIONS: &str = "operations";
const RECORDS: &str = "records";
/// The last is made with the database, so that filling it later needs no new layout.
const STORES: [&str; 3] = [OPERATIONS, RECORDS, "meta"];

/// What happens once a write has ended; true when it is safe.
type Done = Box<dyn FnOnce(bool)>;

enum Write {
    Put {
        key: String,
        entry: JsValue,
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
    /// Deletes all operations, and what else lies beside them, but for what begins with this.
    Purge {
        keep: String,
    },
}

impl Write {
    const fn is_of_cache(&self) -> bool {
        matches!(self, Self::Cache { .. } | Self::ClearCache)
    }
}

/// The database of one session.
pub(crate) struct Database {
    connection: Rc<Connection>,
    writes: UnboundedSender<Write>,
}

struct Connection {
    name: String,
    factory: IdbFactory,
    open: RefCell<Option<IdbDatabase>>,
}

impl Database {
    /// Prepares the database of a session; `None` where there is no IndexedDB. It is opened by the first use.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let factory = Reflect::get(&js_sys::global(), &"indexedDB".into()).ok()?.dyn_into::<IdbFactory>().ok()?;
        let connection = Rc::new(Connection { name: name.to_owned(), factory, open: RefCell::new(None) });
        let (writes, queue) = unbounded();
        spawn_local(write_all(Rc::clone(&connection), queue));
        Some(Self { connection, writes })
    }

    pub(crate) fn put(&self, key: String, entry: JsValue, done: impl FnOnce(bool) + 'static) {
        self.send(Write::Put { key, entry, done: Box::new(done) });
    }

    pub(crate) fn delete(&self, key: String) {
        self.send(Write::Delete { key });
    }

    pub(crate) fn rename(&self, key: String, to: String) {
        self.send(Write::Move { key, to });
    }

    /// Keeps a record for the next visit, or forgets it. A cache that can't be written is none, and nobody is told.
    pub(crate) fn cache(&self, table: &str, key: &str, entry: Option<JsValue>) {
        self.send(Write::Cache { key: Array::of2(&table.into(), &key.into()).into(), entry });
    }

    /// Forgets all cached records.
    pub(crate) fn clear_cache(&self) {
        self.send(Write::ClearCache);
    }

    /// Deletes everything, but for the entries whose keys begin with something.
    pub(crate) fn purge(&self, keep: &str) {
        self.send(Write::Purge { keep: keep.to_owned() });
        self.send(Write::ClearCache);
    }

    /// Closes the connection once what is being written is written. The next use opens it again.
    pub(crate) fn rest(&self) {
        self.connection.forget();
    }

    /// Reads the cached records, each with its `[table, key]`.
    pub(crate) fn load_cache(&self, found: impl FnOnce(Vec<(JsValue, JsValue)>) + 'static) {
        let connection = Rc::clone(&self.connection);
        spawn_local(async move { found(connection.all(RECORDS).await.unwrap_or_default()) });
    }

    fn send(&self, write: Write) {
        // The writer ends only with this sender, so the queue is open.
        let _ = self.writes.unbounded_send(write);
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
        let (cache, operations): (Vec<Write>, Vec<Write>) = batch.into_iter().partition(Write::is_of_cache);
        let safe = connection.write_operations(&operations).await;
        // A cache that can't be written is none.
        let _ = connection.write(RECORDS, "relaxed", &cache).await;
        for write in operations {
            if let Write::Put { done, .. } = write {
                done(safe);
            }
        }
    }
    connection.forget();
}

impl Connection {
    async fn database(&self) -> Result<IdbDatabase, JsValue> {
        if let Some(open) = self.open.borrow().clone() {
            return Ok(open);
        }
        let request = self.factory.open_with_u32(&self.name, LAYOUT)?;
        let upgrade = {
            let request = request.clone();
            Closure::<dyn FnMut()>::new(move || make_stores(&request))
        };
        request.set_onupgradeneeded(Some(upgrade.as_ref().unchecked_ref()));
        let database: IdbDatabase = result(&request).await?.unchecked_into();
        request.set_onupgradeneeded(None);
        // Another tab that deletes or upgrades the database must not wait for us.
        let closing = database.clone();
        let on_version_change = Closure::<dyn FnMut()>::new(move || closing.close());
        database.set_onversionchange(Some(on_version_change.as_ref().unchecked_ref()));
        on_version_change.forget();
        *self.open.borrow_mut() = Some(database.clone());
        Ok(database)
    }

    fn forget(&self) {
        if let Some(database) = self.open.borrow_mut().take() {
            database.close();
        }
    }

    /// Writes operations. Returns whether they are safe.
    async fn write_operations(&self, batch: &[Write]) -> bool {
        if self.write(OPERATIONS, "strict", batch).await.is_ok() {
            return true;
        }
        // The browser may have dropped the handle (background tabs do lose theirs), or there is no room: open once more, and
        // shed the cache.
        self.forget();
        let _ = self.write(RECORDS, "strict", &[Write::ClearCache]).await;
        let safe = self.write(OPERATIONS, "strict", batch).await.is_ok();
        if !safe {
            self.forget();
        }
        safe
    }

    async fn write(&self, store: &str, durability: &str, batch: &[Write]) -> Result<(), JsValue> {
        if batch.is_empty() {
            return Ok(());
        }
        let transaction = self.begin(store, "readwrite", durability).await?;
        let store = transaction.object_store(store)?;
        for write in batch {
            match write {
                Write::Put { key, entry, .. } => drop(store.put_with_key(entry, &key.into())?),
                Write::Delete { key } => drop(store.delete(&key.into())?),
                Write::Move { key, to } => rename(&store, key, to)?,
                Write::Purge { keep } => purge(&store, keep)?,
                Write::Cache { key, entry: Some(entry) } => drop(store.put_with_key(entry, key)?),
                Write::Cache { key, entry: None } => drop(store.delete(key)?),
                Write::ClearCache => drop(store.clear()?),
            }
        }
        committed(&transaction).await
    }

    async fn begin(&self, store: &str, mode: &str, durability: &str) -> Result<IdbTransaction, JsValue> {
        let database = self.database().await?;
        // web-sys has no stable binding for the options yet.
        let begin: Function = Reflect::get(&database, &"transaction".into())?.unchecked_into();
        let options = Object::new();
        set(&options, "durability", &durability.into());
        begin.call3(&database, &store.into(), &mode.into(), &options).map(JsCast::unchecked_into)
    }

    /// Reads everything of one store, with its keys.
    async fn all(&self, store: &str) -> Result<Vec<(JsValue, JsValue)>, JsValue> {
        let store = self.begin(store, "readonly", "relaxed").await?.object_store(store)?;
        let (keys, values) = (store.get_all_keys()?, store.get_all()?);
        let keys: Array = result(&keys).await?.unchecked_into();
        let values: Array = result(&values).await?.unchecked_into();
        Ok(keys.iter().zip(values.iter()).collect())
    }

    async fn entries(&self, prefixes: &[String]) -> Result<Vec<(String, JsValue)>, JsValue> {
        let named = self.all(OPERATIONS).await?.into_iter().filter_map(|(key, value)| Some((key.as_string()?, value)));
        Ok(named.filter(|(key, _)| prefixes.iter().any(|prefix| key.starts_with(prefix))).collect())
    }
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

async fn result(request: &IdbRequest) -> Result<JsValue, JsValue> {
    let ended = Promise::new(&mut |resolve, reject| {
        request.set_onsuccess(Some(&resolve));
        request.set_onerror(Some(&reject));
    });
    JsFuture::from(ended).await?;
    request.result()
}

async fn committed(transaction: &IdbTransaction) -> Result<(), JsValue> {
    let ended = Promise::new(&mut |resolve, reject| {
        transaction.set_oncomplete(Some(&resolve));
        transaction.set_onerror(Some(&reject));
        transaction.set_onabort(Some(&reject));
    });
    JsFuture::from(ended).await.map(|_| ())
}
