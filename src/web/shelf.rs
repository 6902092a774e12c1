//! Where operations and records are kept: each entry in localStorage at once, and in IndexedDB a moment later; sealed, where the
//! application gave a key.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use js_sys::{Array, JSON, Object};
use rustc_hash::FxBuildHasher;
use wasm_bindgen::{JsCast, JsValue};

use super::database::{Database, Duty};
use super::decode;
use super::driver::{describe, to_js};
use super::js_record::{JsRecord, set};
use super::sealing::{Sealing, Unopened};
use super::storage::Storage;
use crate::engine::output::Durability;
use crate::engine::session::FORMAT;
use crate::engine::stored::{Content, FoundEntry};
use crate::engine::table::Row;

/// What became of an entry, in each place that there is.
pub(crate) struct Written {
    /// In the place that has it at once.
    pub(crate) at_once: Option<Result<(), JsValue>>,
    /// True where it goes to the other one, too.
    pub(crate) later: bool,
}

/// The places that the browser lends a session. In memory mode: none.
#[derive(Default)]
pub(crate) struct Shelf {
    storage: Option<Storage>,
    /// True since localStorage refused an entry, until it takes one.
    is_full: Cell<bool>,
    database: Option<Database>,
    sealing: Sealing,
    /// The sealed records that were written, or forgotten, since the shelf was opened; until what earlier visits kept is tidied.
    known: RefCell<Option<HashSet<String, FxBuildHasher>>>,
}

impl Shelf {
    /// `tell` hears when the database stops to work, and why, and when it works again.
    pub(crate) fn open(name: &str, sealing: Sealing, tell: impl Fn(Result<(), String>) + 'static) -> Self {
        let duty = || {
            Some(Box::new(Purging { storage: Storage::open()?, key: purging_key(&[name, ":"].concat()) })
                as Box<dyn Duty>)
        };
        let database = Database::new(name, duty(), tell);
        let known = RefCell::new(sealing.is_on().then(HashSet::default));
        Self { storage: Storage::open(), is_full: Cell::new(false), database, sealing, known }
    }

    pub(crate) fn durability(&self) -> Durability {
        let is_at_once = self.storage.is_some() && !self.is_full.get();
        match (is_at_once, self.database.as_ref().is_some_and(Database::works)) {
            (true, true) => Durability::Full,
            (false, true) => Durability::Async,
            (true, false) => Durability::Tab,
            (false, false) => Durability::Memory,
        }
    }

    /// True where there is no place at all, and nothing needs to be made ready for one.
    pub(crate) const fn is_none(&self) -> bool {
        self.storage.is_none() && self.database.is_none()
    }

    /// Lets go of what would keep others waiting. The next use takes it again.
    pub(crate) fn rest(&self) {
        if let Some(database) = &self.database {
            database.rest();
        }
    }

    /// Writes an entry to both places. `is_new` where nothing of that key was ever written; `done` hears whether it is safe in the later one.
    pub(crate) fn write(
        &self,
        key: String,
        entry: &JsValue,
        is_new: bool,
        done: impl FnOnce(bool) + 'static,
    ) -> Written {
        let text = JSON::stringify(entry).map(String::from).and_then(|text| self.sealing.seal(&key, text));
        let text = match text {
            Ok(text) => text,
            // It is stored nowhere in clear.
            Err(error) => return Written { at_once: Some(Err(error)), later: false },
        };
        let at_once = self.storage.as_ref().map(|storage| storage.set(&key, &text));
        self.is_full.set(matches!(at_once, Some(Err(_))));
        let Some(database) = &self.database else { return Written { at_once, later: false } };
        if !database.works() && !matches!(at_once, Some(Ok(()))) {
            // It is not taken, so it must not be found there either. But perhaps the next one can be.
            database.try_again();
            return Written { at_once, later: false };
        }
        database.put(key, if self.sealing.is_on() { text.into() } else { entry.clone() }, is_new, done);
        Written { at_once, later: true }
    }

    /// Writes what has no content but its key.
    pub(crate) fn write_mark(&self, key: String) {
        if let Some(storage) = &self.storage {
            let _ = storage.set(&key, &mark_text());
        }
        if let Some(database) = &self.database {
            database.put(key, mark_entry(), false, |_| ());
        }
    }

    pub(crate) fn remove(&self, key: String) {
        if let Some(storage) = &self.storage {
            storage.remove(&key);
        }
        if let Some(database) = &self.database {
            database.delete(key);
        }
    }

    pub(crate) fn rename(&self, key: String, to: String) {
        if let Some(storage) = &self.storage {
            storage.rename(&key, &to);
        }
        if let Some(database) = &self.database {
            database.rename(key, to);
        }
    }

    /// Forgets what could not be read.
    pub(crate) fn forget_quarantined(&self, prefix: &str) {
        if let Some(storage) = &self.storage {
            storage.purge(prefix, None);
        }
    }

    /// Deletes all of a session. The mark goes where it can be read at once. `done` hears whether all of it is gone.
    pub(crate) fn purge(&self, prefix: &str, keep: &str, mark: Option<String>, done: impl FnOnce(bool) + 'static) {
        let is_marked = self.storage.as_ref().is_some_and(|storage| {
            let is_marked = mark.as_ref().is_none_or(|key| storage.set(key, &mark_text()).is_ok());
            storage.purge(prefix, Some(keep));
            // The page may be gone before the database has done its part: then the next one that opens it does.
            if self.database.is_some() {
                let _ = storage.set(&purging_key(prefix), keep);
            }
            // Where there was no room for it, there is now.
            is_marked || mark.as_ref().is_some_and(|key| storage.set(key, "{}").is_ok())
        });
        let Some(database) = &self.database else { return done(true) };
        database.purge(keep, done);
        if let Some(key) = mark.filter(|_| !is_marked) {
            database.put(key, mark_entry(), false, |_| ());
        }
    }

    /// Reads what can be read at once; nothing where only the other place has any.
    pub(crate) fn entries_at_once(&self, prefixes: &[String; 4]) -> Option<Vec<FoundEntry>> {
        let Some(storage) = &self.storage else { return self.database.is_none().then(Vec::new) };
        let texts = storage.entries(prefixes).into_iter();
        Some(texts.map(|(key, text)| FoundEntry { content: content_of(&self.sealing, &key, &text), key }).collect())
    }

    /// True where there is a place that answers later.
    pub(crate) fn has_later(&self) -> bool {
        self.database.is_some()
    }

    /// Reads what the later place has.
    pub(crate) fn entries_later(
        &self,
        prefixes: [String; 4],
        found: impl FnOnce(Result<Vec<FoundEntry>, JsValue>) + 'static,
    ) {
        let Some(database) = &self.database else { return };
        let sealing = self.sealing.clone();
        let read = move |(key, value): (String, JsValue)| {
            let content = match value.as_string() {
                Some(text) => content_of(&sealing, &key, &text),
                None => decode::content(&value),
            };
            FoundEntry { key, content }
        };
        database.load(prefixes, move |entries| found(entries.map(|entries| entries.into_iter().map(read).collect())));
    }

    /// Keeps rows for the next visit, or forgets what is gone. A cache that can't be written is none, and nobody is told.
    pub(crate) fn cache(&self, rows: &[Row<JsRecord>]) {
        let Some(database) = &self.database else { return };
        for row in rows {
            let at: JsValue = Array::of2(&row.table.as_str().into(), &row.key.as_str().into()).into();
            let entry = row.record.as_ref().map(|record| {
                let entry = Object::new();
                set(&entry, "v", &JsValue::from(FORMAT));
                set(&entry, "version", &to_js(&row.version));
                set(&entry, "record", record.object());
                entry
            });
            if !self.sealing.is_on() {
                database.cache(at, entry.map(Into::into));
            } else if let Some((key, sealed)) = self.sealed(&at, entry) {
                if let (Some(known), Some(name)) = (&mut *self.known.borrow_mut(), key.as_string()) {
                    known.insert(name);
                }
                database.cache(key, sealed);
            }
        }
    }

    /// The key of a sealed record says nothing of it either; which record it is, is sealed with it.
    fn sealed(&self, at: &JsValue, entry: Option<Object>) -> Option<(JsValue, Option<JsValue>)> {
        let place = self.sealing.name(&String::from(JSON::stringify(at).ok()?))?;
        let Some(entry) = entry else { return Some((place.into(), None)) };
        set(&entry, "at", at);
        let sealed = self.sealing.seal(&place, String::from(JSON::stringify(&entry).ok()?)).ok()?;
        Some((place.into(), Some(sealed.into())))
    }

    /// Reads the rows that an earlier visit kept, with its key. What can't be read is not worth a word: the next pull brings it again.
    pub(crate) fn load_cache(&self, found: impl FnOnce(Vec<(JsValue, JsValue, Option<Row<JsRecord>>)>) + 'static) {
        let Some(database) = &self.database else { return };
        let sealing = self.sealing.clone();
        let read = move |key: &JsValue, entry: &JsValue| {
            let Some(text) = entry.as_string() else { return decode::cached(key, entry) };
            let entry = JSON::parse(&sealing.open(&key.as_string()?, &text).ok()?).ok()?;
            decode::cached(&js_sys::Reflect::get(&entry, &"at".into()).ok()?, &entry)
        };
        database.load_cache(move |entries| {
            let rows = entries.into_iter().map(|(key, entry)| {
                let row = read(&key, &entry);
                (key, entry, row)
            });
            found(rows.collect());
        });
    }

    /// Seals what was kept in clear before there was a key, and forgets what nobody with this key will ever read.
    pub(crate) fn tidy_cache(&self, found: &[(JsValue, JsValue, Option<Row<JsRecord>>)]) {
        let Some(database) = &self.database else { return };
        let known = self.known.take().unwrap_or_default();
        for (key, entry, row) in found {
            if row.is_none() && entry.is_string() {
                database.cache(key.clone(), None);
            } else if self.sealing.is_on() && !entry.is_string() {
                match entry
                    .dyn_ref::<Object>()
                    .and_then(|entry| self.sealed(key, Some(Object::assign(&Object::new(), entry))))
                {
                    // Of one that has come, or gone, meanwhile, nothing older is to be kept.
                    Some((to, Some(sealed))) if to.as_string().is_none_or(|name| !known.contains(&name)) => {
                        database.move_cached(key.clone(), to, sealed);
                    }
                    _ => database.cache(key.clone(), None),
                }
            }
        }
    }

    pub(crate) fn clear_cache(&self) {
        if let Some(database) = &self.database {
            database.clear_cache();
        }
    }
}

/// The entry that says that a logout is not over yet.
struct Purging {
    storage: Storage,
    key: String,
}

impl Duty for Purging {
    fn keep(&self) -> Option<String> {
        self.storage.get(&self.key)
    }

    fn fulfil(&self) {
        self.storage.remove(&self.key);
    }
}

fn purging_key(prefix: &str) -> String {
    [prefix, "purge"].concat()
}

fn content_of(sealing: &Sealing, key: &str, text: &str) -> Content {
    match sealing.open(key, text) {
        Ok(text) => match JSON::parse(&text) {
            Ok(value) => decode::content(&value),
            Err(error) => Content::Corrupt(describe(&error)),
        },
        Err(Unopened { code, message }) => Content::Sealed(code.to_owned(), message),
    }
}

fn mark_entry() -> JsValue {
    let entry = Object::new();
    set(&entry, "v", &JsValue::from(FORMAT));
    entry.into()
}

fn mark_text() -> String {
    format!("{{\"v\":{FORMAT}}}")
}
