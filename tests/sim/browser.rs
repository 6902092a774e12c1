//! What the tabs of one browser share: localStorage, which is read back at once but reaches the disk later; IndexedDB, whose
//! writes commit one after the other a moment later; the locks; the rows kept for the next visit.

use std::collections::{BTreeMap, VecDeque};

use rota_engine::{Content, JsonRecord, OperationId, Row};

use crate::server::Key;
use crate::workload::Make;

/// One change of what is stored; without a content, the entry is deleted.
#[derive(Clone)]
pub struct Change {
    pub key: String,
    pub content: Option<Content>,
}

pub type Entries = BTreeMap<String, Content>;

fn apply(entries: &mut Entries, change: &Change) {
    match &change.content {
        Some(content) => drop(entries.insert(change.key.clone(), content.clone())),
        None => drop(entries.remove(&change.key)),
    }
}

/// A write that IndexedDB has not committed.
pub struct Write {
    pub tab: usize,
    pub change: Change,
    /// Who waits for the commit.
    pub id: Option<OperationId>,
}

#[derive(Default)]
pub struct Lock {
    pub holder: Option<usize>,
    pub queue: VecDeque<usize>,
}

/// How long localStorage takes from one process to another; not longer than a look into IndexedDB.
const LAG_MS_MAX: u64 = 2;

#[derive(Default)]
pub struct Browser {
    pub has_local: bool,
    pub has_database: bool,
    pub has_locks: bool,
    pub has_channel: bool,
    pub local_is_full: bool,
    pub database_is_full: bool,
    /// What the tabs read.
    pub local: Entries,
    /// Who wrote what tabs in other processes do not see yet, and when they will.
    unseen: BTreeMap<String, (usize, u64)>,
    /// What is on the disk, and what was written since.
    flushed: Entries,
    unflushed: Vec<Change>,
    pub database: Entries,
    pub writes: VecDeque<Write>,
    /// By user.
    pub locks: Vec<Lock>,
    pub cached: Vec<BTreeMap<Key, Row<JsonRecord>>>,
    pub skew_ms: i64,
    /// Its clock was set back at some time.
    pub was_set_back: bool,
    /// When somebody first logged out.
    pub signed_out_ms: Vec<Option<u64>>,
}

impl Browser {
    pub fn new(make: &Make, users: usize) -> Self {
        Self {
            has_local: make.local,
            has_database: make.database,
            has_locks: make.locks,
            has_channel: make.locks || make.channel,
            skew_ms: make.skew_ms,
            locks: (0..users).map(|_| Lock::default()).collect(),
            signed_out_ms: vec![None; users],
            cached: vec![BTreeMap::new(); users],
            ..Self::default()
        }
    }

    pub fn set_local(&mut self, change: Change) {
        apply(&mut self.local, &change);
        self.unflushed.push(change);
    }

    /// As `set_local`, by a tab. Other tabs are in other processes, which see some of it a moment later; whether the tab still lives or not.
    pub fn set_local_by(&mut self, tab: usize, mono_ms: u64, change: Change) {
        let lag_ms = change.key.bytes().fold(0_u64, |sum, byte| sum + u64::from(byte)) % 8;
        if lag_ms <= LAG_MS_MAX && !self.local.contains_key(&change.key) {
            self.unseen.insert(change.key.clone(), (tab, mono_ms + lag_ms));
        }
        self.set_local(change);
    }

    pub fn is_seen_by(&mut self, tab: usize, mono_ms: u64, key: &str) -> bool {
        self.unseen.retain(|_, (_, until_ms)| *until_ms > mono_ms);
        self.unseen.get(key).is_none_or(|(author, _)| *author == tab)
    }

    pub fn flush(&mut self) {
        for change in std::mem::take(&mut self.unflushed) {
            apply(&mut self.flushed, &change);
        }
    }

    /// Ends the oldest write; says who waited, and whether it failed.
    pub fn commit(&mut self) -> Option<(Write, bool)> {
        let write = self.writes.pop_front()?;
        let fails = self.database_is_full && write.change.content.is_some();
        if !fails {
            apply(&mut self.database, &write.change);
        }
        Some((write, fails))
    }

    /// A tab is gone, and with it what it was writing. Returns how much that was.
    pub fn abort_writes_of(&mut self, tab: usize) -> usize {
        let before = self.writes.len();
        self.writes.retain(|write| write.tab != tab);
        before - self.writes.len()
    }

    /// The whole browser is gone. Returns how many changes of localStorage and how many writes were lost.
    pub fn kill(&mut self) -> (usize, usize) {
        let lost = (self.unflushed.len(), self.writes.len());
        self.unflushed.clear();
        self.writes.clear();
        self.local = self.flushed.clone();
        for lock in &mut self.locks {
            *lock = Lock::default();
        }
        lost
    }

    /// Returns the keys of all entries, wherever they are.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.local.keys().chain(self.database.keys()).cloned().collect();
        keys.extend(self.writes.iter().map(|write| write.change.key.clone()));
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Somebody cleared the site's data.
    pub fn wipe(&mut self) {
        self.local.clear();
        self.flushed.clear();
        self.unflushed.clear();
        self.database.clear();
        self.writes.clear();
        self.cached.iter_mut().for_each(BTreeMap::clear);
    }

    /// True while an entry is anywhere, or is being written.
    pub fn holds(&self, key: &str) -> bool {
        self.local.contains_key(key)
            || self.database.contains_key(key)
            || self.writes.iter().any(|write| write.change.key == key && write.change.content.is_some())
    }
}
