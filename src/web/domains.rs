//! What JavaScript sees of the domains beside the engine: questions about records that are at hand, an index of slots, and notifications.
//! Everything goes in and out as plain values; nothing is decided here.

use js_sys::{Array, Object};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};

use super::driver::to_js;
use super::js_record::{JsRecord, set};
use crate::border::{fields, refuse, refuse_with, value};
use crate::domain::availability::SlotIndex;
use crate::domain::notification::{Notice, NoticeKind, NoticeSettings, Noticed, Notices};
use crate::domain::{assignment, chat, invalidation};
use crate::engine::operation::OperationState;
use crate::engine::table::TableConfig;

#[expect(clippy::cast_precision_loss)] // times are far below 2^53
fn ms(ms: u64) -> JsValue {
    JsValue::from((ms.min(1 << 53)) as f64)
}

fn records(list: &Array) -> Vec<JsRecord> {
    list.iter().filter_map(|item| item.dyn_into::<Object>().ok()).map(JsRecord::new).collect()
}

/// A time in milliseconds since 1970; whatever is none is the beginning.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // out of range is cut off, which is what is meant
fn at(ms: f64) -> u64 {
    ms as u64
}

/// Says since when a chat is as it is, and when it is released as idle: `{state, sinceMs?, idleAtMs?}`, or nothing for what is no chat.
#[wasm_bindgen(js_name = chatStanding)]
pub fn chat_standing(record: &Object, active_at_ms: Option<f64>) -> JsValue {
    let Some(standing) = chat::standing(&JsRecord::new(record.clone()), active_at_ms.map(at)) else {
        return JsValue::UNDEFINED;
    };
    let told = Object::new();
    set(&told, "state", &standing.state.into());
    for (name, time_ms) in [("sinceMs", standing.since_ms), ("idleAtMs", standing.idle_at_ms)] {
        if let Some(time_ms) = time_ms {
            set(&told, name, &ms(time_ms));
        }
    }
    told.into()
}

/// Says how long those have waited who can be handed out: `{count, longestMs, averageMs}`.
#[wasm_bindgen(js_name = chatWaits)]
pub fn chat_waits(chats: &Array, now_ms: f64) -> JsValue {
    to_js(&crate::engine::value::Value::from(chat::waits(records(chats).iter(), at(now_ms))))
}

/// Finds the chats that were assigned to one operator more often than this: `{chat, operator, count}`, the most frequent first.
#[wasm_bindgen(js_name = chatRepeated)]
pub fn chat_repeated(assignments: &Array, more_than: u32) -> Array {
    let told = |found: chat::Repeated| {
        let told = Object::new();
        set(&told, "chat", &found.chat.into());
        set(&told, "operator", &found.operator.into());
        set(&told, "count", &found.count.into());
        told
    };
    chat::repeated(records(assignments).iter(), more_than).into_iter().map(told).collect()
}

/// Counts what each operator was given in the last 24 hours: a list of `[operator, {total, completed, active}]`. An operator may have any name.
#[wasm_bindgen(js_name = operatorHistory)]
pub fn operator_history(assignments: &Array, now_ms: f64) -> Array {
    let told = |(operator, counted): (&String, &chat::Operators)| {
        let told = Object::new();
        set(&told, "total", &counted.total.into());
        set(&told, "completed", &counted.completed.into());
        set(&told, "active", &counted.active.into());
        Array::of2(&operator.as_str().into(), &told)
    };
    chat::history(records(assignments).iter(), at(now_ms)).iter().map(told).collect()
}

/// Finds the chats whose operator has been silent for too long, by their places in the list.
#[wasm_bindgen(js_name = chatsIdle)]
pub fn chats_idle(chats: &Array, now_ms: f64) -> Vec<u32> {
    places(chats, |standing| standing.is_idle(at(now_ms)))
}

/// Finds the chats that have been as they are for more than so many hours, by their places in the list.
#[wasm_bindgen(js_name = chatsStuck)]
pub fn chats_stuck(chats: &Array, hours: f64, now_ms: f64) -> Vec<u32> {
    places(chats, |standing| standing.is_stuck(at(now_ms), at(hours)))
}

fn places(chats: &Array, is_meant: impl Fn(chat::Standing) -> bool) -> Vec<u32> {
    let standings = (0_u32..).zip(records(chats)).filter_map(|(at, chat)| Some((at, chat::standing(&chat, None)?)));
    standings.filter(|(_, standing)| is_meant(*standing)).map(|(at, _)| at).collect()
}

/// The live lists of a table of chats, as `openView` takes them: how many are in each state, and who waits.
///
/// # Errors
/// `{code, message}`, when the table is none of chats.
#[wasm_bindgen(js_name = chatSummary)]
pub fn chat_summary(name: String, names: Vec<String>, domain: &Object) -> Result<JsValue, JsValue> {
    let mut table = TableConfig::new(name, Vec::new(), names);
    table.domain = fields(domain).unwrap_or_default();
    chat::summary(&table).map(|lists| to_js(&lists)).map_err(|error| refuse_with(&error))
}

/// Says how far operations that were made together have come, by their states: `{total, done, failed}`.
#[wasm_bindgen(js_name = assignmentProgress)]
#[expect(clippy::needless_pass_by_value, reason = "lists of text come out of JavaScript as values")]
#[must_use]
pub fn assignment_progress(states: Vec<String>) -> Object {
    let state = |name: &String| OperationState::ALL.into_iter().find(|state| state.name() == name);
    let states: Vec<OperationState> = states.iter().map(|name| state(name).unwrap_or(OperationState::Queued)).collect();
    let assignment::Progress { total, done, failed } = assignment::progress(&states);
    let told = Object::new();
    for (name, count) in [("total", total), ("done", done), ("failed", failed)] {
        set(&told, name, &JsValue::from(u32::try_from(count).unwrap_or(u32::MAX)));
    }
    told
}

/// The live list of what was assigned, as `openView` takes it: of a record, where its table is named, else of a person.
#[wasm_bindgen(js_name = assignmentHistory)]
#[expect(clippy::needless_pass_by_value, reason = "text comes out of JavaScript as a value")]
#[must_use]
pub fn assignment_history(history: &str, table: Option<String>, of: &str, limit: u32) -> JsValue {
    let of = match &table {
        Some(table) => assignment::Assigned::Record { table, key: of },
        None => assignment::Assigned::Person(of),
    };
    to_js(&assignment::history_of(history, of, limit))
}

/// The live lists of a table with this owner field, as `openView` takes them: how many records each person has, and those that nobody has.
#[wasm_bindgen(js_name = assignmentStatistics)]
#[must_use]
pub fn assignment_statistics(name: String, owner: String) -> JsValue {
    let mut table = TableConfig::new(name, Vec::new(), Vec::new());
    table.owner = Some(owner);
    assignment::statistics(&table).map_or(JsValue::UNDEFINED, |lists| to_js(&lists))
}

/// The rules of invalidation that applications know already, for tables with an owner: `[table, owner field, …]`, flat.
#[wasm_bindgen(js_name = defaultInvalidations)]
#[expect(clippy::needless_pass_by_value, reason = "lists of text come out of JavaScript as values")]
pub fn default_invalidations(owned: Vec<String>) -> JsValue {
    let owned: Vec<(&str, &str)> = owned.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    to_js(&invalidation::default_invalidations(&owned))
}

/// Who is free when.
#[wasm_bindgen]
#[derive(Default)]
pub struct RotaSlots {
    index: SlotIndex,
}

#[wasm_bindgen]
impl RotaSlots {
    /// Makes an empty one.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells the rules of a zone: `{until, transitions}`.
    ///
    /// # Errors
    /// `{code, message}`.
    pub fn zone(&mut self, name: &str, rules: &JsValue) -> Result<(), JsValue> {
        let rules = value(rules).ok_or_else(|| refuse("invalid-value", "the rules of a zone are no plain value"))?;
        self.index.tell_zone(name, rules).map_err(|error| refuse_with(&error))
    }

    /// Takes a slot in; without one, forgets it.
    ///
    /// # Errors
    /// `{code, message}`, as for an insert of it; then nobody is free because of it.
    pub fn put(&mut self, key: &str, slot: Option<Object>) -> Result<(), JsValue> {
        let Some(slot) = slot else {
            self.index.remove(key);
            return Ok(());
        };
        let slot = fields(&slot).ok_or_else(|| refuse("invalid-value", "the slot holds what is no plain value"))?;
        self.index.put(key, &slot).map_err(|error| refuse_with(&error))
    }

    /// Returns who is free for all of a time.
    ///
    /// # Errors
    /// `{code, message}`.
    #[wasm_bindgen(js_name = freeBetween)]
    pub fn free_between(&mut self, from_ms: f64, to_ms: f64) -> Result<Vec<String>, JsValue> {
        self.index.free_between(signed(from_ms), signed(to_ms)).map_err(|error| refuse_with(&error))
    }

    /// Returns a person's free slots within a time, `{key, fromMs, toMs}`, in order, at most so many.
    ///
    /// # Errors
    /// `{code, message}`.
    #[wasm_bindgen(js_name = freeSlots)]
    #[expect(clippy::cast_precision_loss)] // times are far below 2^53
    pub fn free_slots(&self, user: &str, from_ms: f64, to_ms: f64, len_max: u32) -> Result<Array, JsValue> {
        let found = self.index.free_slots(user, signed(from_ms), signed(to_ms), len_max as usize);
        let found = found.map_err(|error| refuse_with(&error))?;
        let told = found.into_iter().map(|free| {
            let told = Object::new();
            set(&told, "key", &free.key.into());
            set(&told, "fromMs", &JsValue::from(free.from_ms as f64));
            set(&told, "toMs", &JsValue::from(free.to_ms as f64));
            told
        });
        Ok(told.collect())
    }
}

#[expect(clippy::cast_possible_truncation)] // out of range is cut off, and refused as too long
fn signed(ms: f64) -> i64 {
    ms as i64
}

/// The notifications of a tab.
#[wasm_bindgen]
#[derive(Default)]
pub struct RotaNotices {
    notices: Notices,
}

#[wasm_bindgen]
impl RotaNotices {
    /// Makes an empty one.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what a component shows of a kind. Without a time it stays until somebody closes it.
    ///
    /// # Errors
    /// `{code, message}`.
    pub fn set(
        &mut self,
        component: &str,
        kind: &str,
        enabled: bool,
        auto_close_ms: Option<f64>,
        sound: bool,
    ) -> Result<(), JsValue> {
        let settings = NoticeSettings { enabled, auto_close_ms: auto_close_ms.map(at), sound };
        if self.notices.set(component, read_kind(kind)?, settings) {
            Ok(())
        } else {
            Err(refuse("too-many-components", "too many components have settings of their own"))
        }
    }

    /// Forgets what a component has said.
    pub fn forget(&mut self, component: &str) {
        self.notices.forget(component);
    }

    /// Takes a notification in, from here or from another tab: `shown`, `waits`, `known`.
    ///
    /// # Errors
    /// `{code, message}`.
    pub fn create(
        &mut self,
        id: String,
        kind: &str,
        message: String,
        at_ms: f64,
        sound: bool,
        now_ms: f64,
    ) -> Result<String, JsValue> {
        let notice = Notice { id, kind: read_kind(kind)?, message, at_ms: at(at_ms), sound };
        Ok(match self.notices.create(notice, at(now_ms)) {
            Noticed::Shown => "shown",
            Noticed::Waits => "waits",
            Noticed::Known => "known",
            Noticed::Refused => {
                return Err(refuse(
                    "invalid-value",
                    "a notification has an id of 1 to 256 bytes, and at most 4,096 of words",
                ));
            }
        }
        .to_owned())
    }

    /// The link is there, or is not. Returns the ids of those that waited, in order.
    pub fn online(&mut self, online: bool, now_ms: f64) -> Vec<String> {
        self.notices.set_online(online, at(now_ms))
    }

    /// Returns how many were dropped at a bound though somebody was to see them.
    pub fn dropped(&self) -> u32 {
        self.notices.dropped()
    }

    /// Somebody has closed one.
    pub fn close(&mut self, id: &str) {
        self.notices.close(id);
    }

    /// Returns what a component is to show, `{notices: [{id, kind, message, atMs, sound}], nextMs?}`: the oldest first, and when it changes by
    /// itself. `sound` is whether this component makes one.
    pub fn shown(&self, component: &str, now_ms: f64) -> Object {
        let told = |notice: &Notice| {
            let told = Object::new();
            set(&told, "id", &notice.id.as_str().into());
            set(&told, "kind", &notice.kind.name().into());
            set(&told, "message", &notice.message.as_str().into());
            set(&told, "atMs", &ms(notice.at_ms));
            set(&told, "sound", &self.notices.sounds(component, notice).into());
            told
        };
        let shown: Array = self.notices.shown(component, at(now_ms)).into_iter().map(told).collect();
        let all = Object::new();
        set(&all, "notices", &shown);
        if let Some(next_ms) = self.notices.next_ms(component, at(now_ms)) {
            set(&all, "nextMs", &ms(next_ms));
        }
        all
    }
}

fn read_kind(name: &str) -> Result<NoticeKind, JsValue> {
    let known = NoticeKind::ALL.into_iter().find(|kind| kind.name() == name);
    known.ok_or_else(|| refuse("invalid-value", "a notification is of the kind turn, action or status"))
}
