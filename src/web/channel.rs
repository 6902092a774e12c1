//! What the tabs of one browser say to each other. By BroadcastChannel, where records travel by structured clone; where there
//! is none, by entries of localStorage, of whose changes the browser tells the other tabs.

use std::cell::Cell;

use js_sys::{Function, Reflect};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{BroadcastChannel, MessageEvent, StorageEvent};

use super::sealing::Sealing;
use super::storage::Storage;
use crate::engine::output::Reach;

/// What came in: a message, or why it can't be read.
pub(crate) type Heard = Result<JsValue, String>;

/// An open channel; closed when dropped.
pub(crate) struct Channel {
    way: Way,
    /// True since a message could not be sent.
    fails: Cell<bool>,
}

enum Way {
    Broadcast(Broadcast),
    Storage(Entries),
}

impl Channel {
    /// Opens the channel of a session; `None` where the browser has no way.
    pub(crate) fn open(name: &str, sealing: &Sealing, hear: impl Fn(Heard) + Clone + 'static) -> Option<Self> {
        let broadcast = || Broadcast::open(name, hear.clone()).map(Way::Broadcast);
        let entries = || Entries::open(name, sealing.clone(), hear.clone()).map(Way::Storage);
        let way = broadcast().or_else(entries)?;
        Some(Self { way, fails: Cell::new(false) })
    }

    pub(crate) const fn reach(&self) -> Reach {
        match self.way {
            Way::Broadcast(_) => Reach::Channel,
            Way::Storage(_) => Reach::Storage,
        }
    }

    /// What it is called where it fails.
    pub(crate) const fn place(&self) -> &'static str {
        match self.way {
            Way::Broadcast(_) => "BroadcastChannel",
            Way::Storage(_) => "storage events",
        }
    }

    /// Sends a message to the other tabs. Says why it could not be sent, the first time in a row: the others notice the gap, and ask.
    pub(crate) fn send(&self, message: &JsValue) -> Result<(), JsValue> {
        let sent = match &self.way {
            Way::Broadcast(broadcast) => broadcast.channel.post_message(message),
            Way::Storage(entries) => entries.send(message),
        };
        let failed_before = self.fails.replace(sent.is_err());
        sent.or_else(|error| if failed_before { Ok(()) } else { Err(error) })
    }
}

struct Broadcast {
    channel: BroadcastChannel,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_error: Closure<dyn FnMut()>,
}

impl Broadcast {
    fn open(name: &str, hear: impl Fn(Heard) + Clone + 'static) -> Option<Self> {
        if !Reflect::has(&js_sys::global(), &"BroadcastChannel".into()).unwrap_or(false) {
            return None;
        }
        let channel = BroadcastChannel::new(name).ok()?;
        let hear_error = hear.clone();
        let on_message = Closure::new(move |event: MessageEvent| hear(Ok(event.data())));
        let on_error = Closure::new(move || hear_error(Err("it can't be copied into this page".to_owned())));
        channel.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        channel.set_onmessageerror(Some(on_error.as_ref().unchecked_ref()));
        Some(Self { channel, _on_message: on_message, _on_error: on_error })
    }
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        self.channel.set_onmessage(None);
        self.channel.set_onmessageerror(None);
        self.channel.close();
    }
}

/// Messages as entries that are there for a moment only. What the event says is all that counts: storage itself may be read before
/// what was written to it can be seen.
struct Entries {
    storage: Storage,
    /// What the keys of this tab's messages begin with.
    own: String,
    sealing: Sealing,
    /// No two messages may have one key: where a value is written that is there already, nobody is told.
    sent: Cell<u32>,
    on_change: Closure<dyn FnMut(StorageEvent)>,
}

impl Entries {
    fn open(name: &str, sealing: Sealing, hear: impl Fn(Heard) + 'static) -> Option<Self> {
        let (storage, window) = (Storage::open()?, web_sys::window()?);
        let prefix = [name, ":say:"].concat();
        // Of a tab that died between its two steps. Of one that lives, the event is under way already. And a tab that has never read
        // storage is told of nothing.
        storage.purge(&prefix, None);
        // Random enough to tell the tabs of one browser apart.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let tag = (js_sys::Math::random() * 9e15) as u64;
        let own = format!("{prefix}{tag:x}-");
        let on_change = {
            let (own, sealing) = (own.clone(), sealing.clone());
            Closure::new(move |event: StorageEvent| {
                let Some(key) = event.key().filter(|key| key.starts_with(&prefix)) else { return };
                // Some browsers tell a tab of what it wrote itself. The removal says nothing.
                let Some(text) = event.new_value().filter(|_| !key.starts_with(&own)) else { return };
                let opened = sealing.open(&key, &text).map_err(|wrong| wrong.message);
                hear(opened.and_then(|text| js_sys::JSON::parse(&text).map_err(|_| "it is no JSON".to_owned())));
            })
        };
        window.add_event_listener_with_callback("storage", on_change.as_ref().unchecked_ref()).ok()?;
        Some(Self { storage, own, sealing, sent: Cell::new(0), on_change })
    }

    fn send(&self, message: &JsValue) -> Result<(), JsValue> {
        self.sent.set(self.sent.get().wrapping_add(1));
        let key = format!("{}{}", self.own, self.sent.get());
        let text = String::from(js_sys::JSON::stringify(message)?);
        let written = self.sealing.seal(&key, text).and_then(|text| self.storage.set(&key, &text));
        self.storage.remove(&key);
        written
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        if let Some(window) = web_sys::window() {
            let listener: &Function = self.on_change.as_ref().unchecked_ref();
            let _ = window.remove_event_listener_with_callback("storage", listener);
        }
    }
}
