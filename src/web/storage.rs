//! localStorage: the step of durability that is done before `mutate` returns.

use gloo_storage::{LocalStorage, Storage as _};
use wasm_bindgen::JsValue;

/// What is written to see whether anything can be.
const PROBE_KEY: &str = "rota:probe";

/// Access to localStorage, which was there when asked.
pub(crate) struct Storage(web_sys::Storage);

impl Storage {
    /// Opens localStorage; `None` where there is none, or it is blocked. A full one opens: it can still be read, and cleared.
    pub(crate) fn open() -> Option<Self> {
        // gloo's `raw` throws through our frames where there is no window or no right to it, so ask first.
        let storage = web_sys::window()?.local_storage().ok()??;
        storage.get_item(PROBE_KEY).ok()?;
        Some(Self(LocalStorage::raw()))
    }

    /// Writes an entry.
    pub(crate) fn set(&self, key: &str, text: &str) -> Result<(), JsValue> {
        self.0.set_item(key, text)
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.0.get_item(key).ok().flatten()
    }

    pub(crate) fn remove(&self, key: &str) {
        // A storage that was blocked meanwhile has nothing to remove.
        let _ = self.0.remove_item(key);
    }

    /// Moves an entry. If there is no room for both, the old place is kept: it is reported each time, and harms nobody.
    pub(crate) fn rename(&self, key: &str, to: &str) {
        if let Ok(Some(text)) = self.0.get_item(key)
            && self.0.set_item(to, &text).is_ok()
        {
            self.remove(key);
        }
    }

    /// Deletes the entries whose keys begin with one prefix, but not with the other, if there is one.
    pub(crate) fn purge(&self, prefix: &str, keep: Option<&str>) {
        let keys: Vec<String> = self
            .keys()
            .filter(|key| key.starts_with(prefix) && !keep.is_some_and(|keep| key.starts_with(keep)))
            .collect();
        for key in keys {
            self.remove(&key);
        }
    }

    fn keys(&self) -> impl Iterator<Item = String> + '_ {
        let count = self.0.length().unwrap_or(0);
        (0..count).filter_map(|index| self.0.key(index).ok().flatten())
    }

    /// Returns the entries whose keys begin with any of these. Their order is the browser's; the engine has its own.
    pub(crate) fn entries(&self, prefixes: &[String]) -> Vec<(String, String)> {
        let keys = self.keys().filter(|key| prefixes.iter().any(|prefix| key.starts_with(prefix)));
        keys.filter_map(|key| self.0.get_item(&key).ok().flatten().map(|text| (key, text))).collect()
    }
}
