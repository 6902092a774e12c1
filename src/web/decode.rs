//! Reads JavaScript objects into the engine's types, member by member.
//!
//! serde would do it too, but a derived reader costs the wasm 3 to 20 kB a type (80 kB in all, measured), and this file a tenth
//! of that. The shapes are the same: the package's tests feed it the fixtures that the native tests feed to serde.

use std::cell::RefCell;

use js_sys::{Array, Object, Reflect};
use wasm_bindgen::{JsCast, JsValue};

use super::js_record::JsRecord;
use super::names::name as js_name;
use crate::border::{at_most, value};
use crate::engine::input::{Choice, Command, Config, Gone};
use crate::engine::link::{LinkConfig, LinkState, LinkStatus, Polling};
use crate::engine::merge::{Decided, Decision, FieldConflict, Rule};
use crate::engine::operation::{Alias, Answer, Operation, OperationId, OperationState, Outcome, Part, Told, Winner};
use crate::engine::outbox::CONCURRENCY;
use crate::engine::presence::{At, Doing, Peer, Presence};
use crate::engine::retry::{Failure, RetryPolicy};
use crate::engine::sorted::Named;
use crate::engine::stored::{Content, STORED_FORM, StoredAlias, StoredOperation};
use crate::engine::table::{Cover, Row, TableConfig};
use crate::engine::tabs::{Kind, TAB_PROTOCOL, TabMessage};
use crate::engine::time::Hlc;
use crate::engine::value::{self, Fields, Value};
use crate::engine::version::{Version, VersionOrder};
use crate::engine::view::{
    FILTER_DEPTH_MAX, FieldName, FigureKind, FigureSpec, Filter, Range, SortKey, Term, Terms, ViewSpec,
};

/// The most room that is made for a list before it is read.
const ROOM_MAX: u32 = 1 << 16;

/// The most values that are read of one message of another tab. In JavaScript a few objects that hold each other many times are a small
/// message; here they would be as many values as there are ways to them.
const MESSAGE_VALUES_MAX: u32 = 1_000_000;

/// What was wrong, for a person.
pub(crate) type Wrong = String;

/// An object being read. What is wrong with a member is noted, and told once at the end: leaving at each member would
/// have to drop all that was read before it, which is more code than the reading itself.
struct Reader<'a> {
    js: &'a JsValue,
    wrong: RefCell<Option<Wrong>>,
}

impl<'a> Reader<'a> {
    const fn new(js: &'a JsValue) -> Self {
        Self { js, wrong: RefCell::new(None) }
    }

    /// Returns what was read, if nothing was wrong with it.
    fn end<T>(self, read: T) -> Result<T, Wrong> {
        match self.wrong.into_inner() {
            None => Ok(read),
            Some(wrong) => Err(wrong),
        }
    }

    #[cold]
    fn note(&self, wrong: Wrong) {
        self.wrong.borrow_mut().get_or_insert(wrong);
    }

    /// Passes on what could be read.
    fn noted<T>(&self, read: Result<T, Wrong>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err(wrong) => {
                self.note(wrong);
                None
            }
        }
    }

    fn get(&self, name: &str) -> JsValue {
        // Fails on what is no object, which reads as having no member.
        Reflect::get(self.js, &js_name(name)).unwrap_or(JsValue::UNDEFINED)
    }

    /// A member that may be missing or null.
    fn given(&self, name: &str) -> Option<JsValue> {
        let js = self.get(name);
        if js.is_undefined() || js.is_null() { None } else { Some(js) }
    }

    fn text(&self, name: &str) -> String {
        self.noted(self.get(name).as_string().ok_or_else(|| wrong(name, "text"))).unwrap_or_default()
    }

    /// Text that may be missing or null.
    fn text_or_none(&self, name: &str) -> Option<String> {
        self.given(name).map(|_| self.text(name))
    }

    fn flag(&self, name: &str) -> bool {
        self.noted(self.get(name).as_bool().ok_or_else(|| wrong(name, "true or false"))).unwrap_or_default()
    }

    fn count(&self, name: &str) -> u64 {
        self.noted(whole(&self.get(name)).ok_or_else(|| wrong(name, "a whole number"))).unwrap_or_default()
    }

    fn count_or_none(&self, name: &str) -> Option<u64> {
        self.given(name).map(|_| self.count(name))
    }

    fn number(&self, name: &str) -> u32 {
        self.noted(u32::try_from(self.count(name)).map_err(|_| wrong(name, "a smaller number"))).unwrap_or_default()
    }

    fn fields(&self, name: &str) -> Fields {
        match value(&self.get(name)) {
            Some(Value::Map(fields)) => fields,
            _ => {
                self.note(wrong(name, "an object of values: null, booleans, finite numbers, text, lists and objects"));
                Fields::new()
            }
        }
    }

    fn value(&self, name: &str) -> Value {
        self.noted(value(&self.get(name)).ok_or_else(|| wrong(name, "a value"))).unwrap_or_default()
    }

    /// A flag that may be missing.
    fn is(&self, name: &str) -> bool {
        self.given(name).is_some_and(|_| self.flag(name))
    }

    /// Notes a member that is not among these.
    fn only(&self, names: &[&str]) {
        for name in self.js.dyn_ref::<Object>().map(Object::keys).unwrap_or_default().iter() {
            if let Some(name) = name.as_string().filter(|name| !names.contains(&name.as_str())) {
                self.note(["\"", &name, "\" is none of its members"].concat());
            }
        }
    }

    /// A member that may be missing or null.
    fn optional<T>(&self, name: &str, read: fn(&JsValue) -> Result<T, Wrong>) -> Option<T> {
        self.noted(read(&self.given(name)?))
    }

    fn list<T>(&self, name: &str, read: fn(&JsValue) -> Result<T, Wrong>) -> Vec<T> {
        self.noted(list(&self.get(name), name, read)).unwrap_or_default()
    }

    fn list_or_none<T>(&self, name: &str, read: fn(&JsValue) -> Result<T, Wrong>) -> Option<Vec<T>> {
        self.given(name).map(|_| self.list(name, read))
    }

    /// What has no default is read first, so that there is nothing yet to drop.
    fn parsed<T>(&self, name: &str, parse: fn(&str) -> Option<T>) -> Result<T, Wrong> {
        self.get(name).as_string().as_deref().and_then(parse).ok_or_else(|| wrong(name, "of a known form"))
    }
}

fn wrong(name: &str, expected: &str) -> Wrong {
    ["\"", name, "\" is missing, or is not ", expected].concat()
}

fn list<T>(js: &JsValue, name: &str, read: fn(&JsValue) -> Result<T, Wrong>) -> Result<Vec<T>, Wrong> {
    let items = js.dyn_ref::<Array>().ok_or_else(|| wrong(name, "a list"))?;
    let mut list = Vec::with_capacity(room_for(items));
    for item in items.iter() {
        list.push(read(&item)?);
    }
    Ok(list)
}

/// For how many items to make room at once. A list may say to be longer than there is memory, and have none.
pub(crate) fn room_for(items: &Array) -> usize {
    items.length().min(ROOM_MAX) as usize
}

fn whole(js: &JsValue) -> Option<u64> {
    value::whole(js.as_f64()?)
}

fn signed(js: &JsValue) -> Option<i64> {
    let number = js.as_f64()?;
    let size = value::whole(number.abs())?.cast_signed();
    Some(if number < 0.0 { -size } else { size })
}

fn text_item(js: &JsValue) -> Result<String, Wrong> {
    js.as_string().ok_or_else(|| wrong("item", "text"))
}

fn flag_item(js: &JsValue) -> Result<bool, Wrong> {
    js.as_bool().ok_or_else(|| wrong("item", "true or false"))
}

fn id_item(js: &JsValue) -> Result<OperationId, Wrong> {
    js.as_string().as_deref().and_then(OperationId::parse).ok_or_else(|| wrong("item", "an operation id"))
}

/// Reads a version: text, or a number that holds it exactly. Whether it is one of its table's, the engine decides.
pub(crate) fn version(js: &JsValue) -> Option<Version> {
    match js.as_string() {
        Some(text) => Version::parse(&text),
        None => js.as_f64().and_then(Version::from_number),
    }
}

fn version_item(js: &JsValue) -> Result<Version, Wrong> {
    version(js).ok_or_else(|| wrong("version", "a version"))
}

fn record_item(js: &JsValue) -> Result<JsRecord, Wrong> {
    js.dyn_ref::<Object>().map(|object| JsRecord::new(object.clone())).ok_or_else(|| wrong("record", "an object"))
}

/// Reads an operation (`PROTOCOL.md` §2).
pub(crate) fn operation(js: &JsValue) -> Result<Operation, Wrong> {
    let reader = Reader::new(js);
    let id = reader.parsed("id", OperationId::parse)?;
    let hlc = reader.parsed("hlc", Hlc::parse)?;
    let operation = Operation {
        protocol: reader.number("protocol"),
        id,
        name: reader.text("name"),
        table: reader.text("table"),
        key: reader.text("key"),
        args: reader.fields("args"),
        set: reader.fields("set"),
        base: reader.fields("base"),
        base_version: reader.optional("baseVersion", version_item),
        hlc,
        tab: reader.text("tab"),
        after: reader.list("after", id_item),
        parts: reader.list_or_none("parts", part).unwrap_or_default(),
        replaces: reader.list_or_none("replaces", id_item).unwrap_or_default(),
        rebased: if reader.get("rebased").is_undefined() { 0 } else { reader.number("rebased") },
        decision: reader.optional("decision", decision).map(Box::new),
    };
    reader.end(operation)
}

/// Reads a decision on a conflict (`PROTOCOL.md` §7).
fn decision(js: &JsValue) -> Result<Decision, Wrong> {
    let reader = Reader::new(js);
    let decided = reader.parsed("decided", |text| Decided::ALL.into_iter().find(|decided| decided.name() == text))?;
    let decision = Decision {
        decided,
        by: reader.text_or_none("by"),
        at_ms: reader.count("atMs"),
        round: reader.number("round"),
        fields: reader.list("fields", field_conflict),
    };
    reader.end(decision)
}

fn field_conflict(js: &JsValue) -> Result<FieldConflict, Wrong> {
    let reader = Reader::new(js);
    let rule = reader.parsed("rule", rule)?;
    let side =
        |name: &str| reader.noted(value(&reader.get(name)).ok_or_else(|| wrong(name, "a value"))).unwrap_or_default();
    let has_merged = !reader.get("merged").is_undefined();
    let field = FieldConflict {
        field: reader.text("field"),
        base: side("base"),
        ours: side("ours"),
        theirs: side("theirs"),
        rule,
        merged: has_merged.then(|| side("merged")),
    };
    reader.end(field)
}

fn rule(text: &str) -> Option<Rule> {
    Rule::ALL.into_iter().find(|rule| rule.name() == text)
}

/// Reads what a person decides on a conflict: the name of a choice, or an object of values.
pub(crate) fn choice(js: &JsValue) -> Result<Choice, Wrong> {
    match js.as_string().as_deref() {
        Some("local") => Ok(Choice::Local),
        Some("server") => Ok(Choice::Server),
        Some("merge") => Ok(Choice::Merge),
        _ => match value(js) {
            Some(Value::Map(fields)) => Ok(Choice::Fields(fields)),
            _ => Err(wrong("choice", "\"local\", \"server\", \"merge\" or an object of values")),
        },
    }
}

fn part(js: &JsValue) -> Result<Part, Wrong> {
    let reader = Reader::new(js);
    let part = Part {
        name: reader.text("name"),
        table: reader.text("table"),
        key: reader.text("key"),
        args: reader.fields("args"),
        set: reader.fields("set"),
        base: reader.fields("base"),
        base_version: reader.optional("baseVersion", version_item),
    };
    reader.end(part)
}

fn told(js: &JsValue) -> Result<Told<JsRecord>, Wrong> {
    let reader = Reader::new(js);
    let version = version_item(&reader.get("version"))?;
    if reader.get("record").is_undefined() {
        return Err(wrong("record", "an object or null"));
    }
    let told = Told {
        table: reader.text("table"),
        key: reader.text("key"),
        version,
        record: reader.optional("record", record_item),
        from: reader.text_or_none("from"),
    };
    reader.end(told)
}

/// Reads an answer (`PROTOCOL.md` §3).
pub(crate) fn answer(js: &JsValue) -> Result<Answer<JsRecord>, Wrong> {
    let reader = Reader::new(js);
    let id = reader.parsed("id", OperationId::parse)?;
    let outcome = reader.parsed("outcome", |text| match text {
        "confirmed" => Some(Outcome::Confirmed),
        "refused" => Some(Outcome::Refused),
        "conflicted" => Some(Outcome::Conflicted),
        "retry" => Some(Outcome::Retry),
        _ => None,
    })?;
    let is_told = !reader.get("record").is_undefined();
    let answer = Answer {
        protocol: reader.number("protocol"),
        id,
        table: reader.text("table"),
        key: reader.text("key"),
        replayed: reader.flag("replayed"),
        outcome,
        code: reader.text_or_none("code"),
        message: reader.text_or_none("message"),
        fields: reader.list_or_none("fields", text_item).unwrap_or_default(),
        after_ms: reader.count_or_none("afterMs"),
        version: reader.optional("version", version_item),
        record: is_told.then(|| reader.optional("record", record_item)),
        records: reader.list_or_none("records", told).unwrap_or_default(),
        chosen: reader.text_or_none("chosen"),
        winner: reader.optional("winner", winner),
    };
    reader.end(answer)
}

/// Reads who was first (`PROTOCOL.md` §3).
fn winner(js: &JsValue) -> Result<Winner, Wrong> {
    let reader = Reader::new(js);
    let winner = Winner { user: reader.text("user"), at: reader.text("at") };
    reader.end(winner)
}

/// Reads an answer that a server gave. It must have all that its outcome calls for; between tabs less is told.
pub(crate) fn server_answer(js: &JsValue) -> Result<Answer<JsRecord>, Wrong> {
    let read = answer(js)?;
    let required: &[&str] = match read.outcome {
        // One without a record is an acknowledgement.
        Outcome::Confirmed if read.record.is_none() => &[],
        Outcome::Confirmed => &["version"],
        Outcome::Refused => &["code", "message"],
        Outcome::Conflicted => &["code", "message", "fields", "version", "record"],
        Outcome::Retry => &["code", "message", "afterMs"],
    };
    let reader = Reader::new(js);
    // The host could not read the record, and says so: what was decided counts all the same.
    let is_unreadable = reader.get("recordUnreadable").is_truthy();
    let is_missing = |name: &&&str| {
        if is_unreadable && matches!(**name, "version" | "record") {
            return false;
        }
        let member = reader.get(name);
        // A null record is one that is gone.
        member.is_undefined() || (member.is_null() && **name != "record")
    };
    match required.iter().find(is_missing) {
        Some(name) => Err(wrong(name, "what the outcome calls for")),
        None => Ok(read),
    }
}

/// Reads one of a pull's records that are gone (`PROTOCOL.md` §5).
pub(crate) fn gone(js: &JsValue) -> Result<Gone, Wrong> {
    let reader = Reader::new(js);
    let version = version_item(&reader.get("version"))?;
    let gone = Gone { table: reader.text("table"), key: reader.text("key"), version };
    reader.end(gone)
}

/// The members of a pull's response but for its rows, which have a reader of their own.
pub(crate) struct Response {
    pub(crate) protocol: u32,
    pub(crate) cursor: Option<String>,
    pub(crate) whole: bool,
    pub(crate) gone: Vec<Gone>,
    pub(crate) settled: Vec<Answer<JsRecord>>,
    pub(crate) covers: Vec<Cover>,
    pub(crate) at_ms: Option<u64>,
    pub(crate) next: Option<String>,
}

fn cover(js: &JsValue) -> Result<Cover, Wrong> {
    let reader = Reader::new(js);
    let cover = Cover {
        table: reader.text("table"),
        keys: reader.list_or_none("keys", text_item),
        values: reader.given("where").map(|_| reader.fields("where")),
    };
    reader.end(cover)
}

/// Reads a pull's response (`PROTOCOL.md` §5).
pub(crate) fn response(js: &JsValue) -> Result<Response, Wrong> {
    let reader = Reader::new(js);
    // Without it a whole pull would read as "everything is gone".
    if !reader.get("records").is_object() {
        return Err(wrong("records", "an object"));
    }
    let response = Response {
        protocol: reader.number("protocol"),
        cursor: reader.text_or_none("cursor"),
        whole: reader.flag("whole"),
        gone: reader.list("gone", gone),
        settled: reader.list("settled", server_answer),
        covers: reader.list_or_none("covers", cover).unwrap_or_default(),
        at_ms: reader.count_or_none("atMs"),
        next: reader.text_or_none("next"),
    };
    reader.end(response)
}

/// Reads what lies under a storage key (`PROTOCOL.md` §7).
pub(crate) fn content(js: &JsValue) -> Content {
    let reader = Reader::new(js);
    let Some(v) = reader.get("v").as_f64() else { return Content::Corrupt(wrong("v", "a number")) };
    match whole(&reader.get("v")).and_then(|v| u32::try_from(v).ok()) {
        Some(v @ 1..=STORED_FORM) => {
            let read = match reader.given("alias") {
                Some(js) => alias(&js).map(|alias| Content::Alias(StoredAlias { v, alias })),
                None => operation(&reader.get("op")).map(|op| Content::Operation(StoredOperation { v, op })),
            };
            read.unwrap_or_else(Content::Corrupt)
        }
        _ => Content::Other(v),
    }
}

fn alias(js: &JsValue) -> Result<Alias, Wrong> {
    let reader = Reader::new(js);
    let to = value(&reader.get("to")).ok_or_else(|| wrong("to", "a value"))?;
    let alias = Alias { table: reader.text("table"), from: reader.text("from"), to };
    reader.end(alias)
}

/// Reads a record that was kept for the next visit, by its `[table, key]` and its entry (`PROTOCOL.md` §7).
pub(crate) fn cached(key: &JsValue, entry: &JsValue) -> Option<Row<JsRecord>> {
    let (key, reader) = (key.dyn_ref::<Array>()?, Reader::new(entry));
    if whole(&reader.get("v")) != Some(u64::from(crate::engine::session::FORMAT)) {
        return None;
    }
    let version = reader.parsed("version", Version::parse).ok()?;
    let record = Some(record_item(&reader.get("record")).ok()?);
    Some(Row { table: key.get(0).as_string()?, key: key.get(1).as_string()?, version, op: None, record })
}

fn row(js: &JsValue) -> Result<Row<JsRecord>, Wrong> {
    let reader = Reader::new(js);
    let version = reader.parsed("version", Version::parse)?;
    let row = Row {
        table: reader.text("table"),
        key: reader.text("key"),
        version,
        op: reader.optional("op", id_item),
        record: reader.optional("record", record_item),
    };
    reader.end(row)
}

fn link(js: &JsValue) -> Result<LinkStatus, Wrong> {
    let reader = Reader::new(js);
    let state = reader.parsed("state", link_state)?;
    let link = LinkStatus {
        state,
        why: reader.text("why"),
        since_ms: reader.count("sinceMs"),
        retry_at_ms: reader.count_or_none("retryAtMs"),
        server_ahead_ms: reader.given("serverAheadMs").and_then(|ahead| signed(&ahead)),
    };
    reader.end(link)
}

fn link_state(text: &str) -> Option<LinkState> {
    match text {
        "offline" => Some(LinkState::Offline),
        "connecting" => Some(LinkState::Connecting),
        "live" => Some(LinkState::Live),
        "degraded" => Some(LinkState::Degraded),
        "paused" => Some(LinkState::Paused),
        "stopped" => Some(LinkState::Stopped),
        _ => None,
    }
}

/// True for a message that a later release wrote, whatever it holds.
pub(crate) fn is_of_newer_protocol(js: &JsValue) -> bool {
    whole(&Reader::new(js).get("v")).is_some_and(|v| v > u64::from(TAB_PROTOCOL))
}

/// Reads a tab message (`PROTOCOL.md` §8).
pub(crate) fn tab_message(js: &JsValue) -> Result<TabMessage<JsRecord>, Wrong> {
    at_most(MESSAGE_VALUES_MAX, || message(js))
}

fn message(js: &JsValue) -> Result<TabMessage<JsRecord>, Wrong> {
    let reader = Reader::new(js);
    let kind = reader.parsed("kind", |text| match text {
        "hello" => Some(Kind::Hello),
        "beat" => Some(Kind::Beat),
        "snapshot" => Some(Kind::Snapshot),
        "operation" => Some(Kind::Operation),
        "changes" => Some(Kind::Changes),
        "settled" => Some(Kind::Settled),
        "cancel" => Some(Kind::Cancel),
        "bye" => Some(Kind::Bye),
        "signedOut" => Some(Kind::SignedOut),
        "rightsChanged" => Some(Kind::RightsChanged),
        "presence" => Some(Kind::Presence),
        "ping" => Some(Kind::Ping),
        "pong" => Some(Kind::Pong),
        "reconnect" => Some(Kind::Reconnect),
        "token" => Some(Kind::Token),
        "attention" => Some(Kind::Attention),
        "alive" => Some(Kind::Alive),
        _ => None,
    })?;
    let has_cursor = !reader.get("cursor").is_undefined();
    let message = TabMessage {
        v: reader.number("v"),
        from: reader.text("from"),
        epoch: reader.count("epoch"),
        seq: reader.count("seq"),
        kind,
        pending: reader.list_or_none("pending", id_item),
        link: reader.optional("link", link),
        state: reader.optional("state", |js| {
            js.as_string().as_deref().and_then(link_state).ok_or_else(|| wrong("state", "a link's state"))
        }),
        to: reader.text_or_none("to"),
        cursor: has_cursor.then(|| reader.text_or_none("cursor")),
        records: reader.list_or_none("records", row),
        tables: reader.list_or_none("tables", text_item),
        operations: reader.list_or_none("operations", operation),
        aliases: reader.list_or_none("aliases", alias),
        op: reader.optional("op", operation),
        answer: reader.optional("answer", answer),
        id: reader.optional("id", id_item),
        outcome: reader.optional("outcome", |js| {
            js.as_string().as_deref().and_then(state).ok_or_else(|| wrong("outcome", "a state"))
        }),
        code: reader.text_or_none("code"),
        message: reader.text_or_none("message"),
        rebased: reader.list_or_none("rebased", operation),
        decision: reader.optional("decision", decision),
        at_ms: reader.count_or_none("atMs"),
        active: reader.optional("active", flag_item),
        visible: reader.optional("visible", flag_item),
        peers: reader.list_or_none("peers", peer),
    };
    reader.end(message)
}

/// Reads where somebody is.
pub(crate) fn presence(js: &JsValue) -> Result<Presence, Wrong> {
    let reader = Reader::new(js);
    let doing = reader.parsed("doing", |text| match text {
        "idle" => Some(Doing::Idle),
        "typing" => Some(Doing::Typing),
        "editing" => Some(Doing::Editing),
        _ => None,
    })?;
    let presence = Presence { place: reader.text("place"), doing, record: reader.optional("record", at) };
    reader.end(presence)
}

fn at(js: &JsValue) -> Result<At, Wrong> {
    let reader = Reader::new(js);
    let at = At { table: reader.text("table"), key: reader.text("key") };
    reader.end(at)
}

fn peer(js: &JsValue) -> Result<Peer, Wrong> {
    let reader = Reader::new(js);
    let peer =
        Peer { user: reader.text("user"), tab: reader.text("tab"), presence: reader.optional("presence", presence) };
    reader.end(peer)
}

/// Reads who is where.
pub(crate) fn peers(js: &JsValue) -> Result<Vec<Peer>, Wrong> {
    list(js, "peers", peer)
}

fn state(text: &str) -> Option<OperationState> {
    OperationState::ALL.into_iter().find(|state| state.name() == text)
}

/// Reads why a call failed.
pub(crate) fn failure(text: &str) -> Failure {
    Failure::ALL.into_iter().find(|failure| failure.code() == text).unwrap_or(Failure::Unknown)
}

/// Reads a command.
pub(crate) fn command(js: &JsValue) -> Result<Command, Wrong> {
    let reader = Reader::new(js);
    let fields_of = |name| if reader.get(name).is_undefined() { Fields::new() } else { reader.fields(name) };
    let command = Command {
        name: reader.text("name"),
        table: reader.text("table"),
        key: reader.text_or_none("key"),
        args: fields_of("args"),
        set: fields_of("set"),
        after: reader.list_or_none("after", id_item).unwrap_or_default(),
    };
    reader.end(command)
}

/// Reads a list of commands.
pub(crate) fn commands(js: &JsValue) -> Result<Vec<Command>, Wrong> {
    list(js, "commands", command)
}

/// Reads what an engine is made for.
pub(crate) fn config(js: &JsValue) -> Result<Config, Wrong> {
    let reader = Reader::new(js);
    let config = Config {
        app: reader.text("app"),
        user: reader.text("user"),
        tables: reader.list("tables", table),
        retry: reader.optional("retry", retry).unwrap_or_default(),
        // Nothing in the browser asks for a recorded run yet, and writing one would cost the wasm its readers' worth again.
        trace: 0,
        link: reader.optional("link", link_config).unwrap_or_default(),
        tab_protocol: reader.given("tabProtocol").map(|_| reader.number("tabProtocol")),
        concurrency: reader.given("concurrency").map_or(CONCURRENCY, |_| reader.number("concurrency") as usize),
        idempotent: reader.given("idempotent").is_none() || reader.flag("idempotent"),
        batch: reader.given("batch").map_or(1, |_| reader.number("batch") as usize),
    };
    reader.end(config)
}

fn link_config(js: &JsValue) -> Result<LinkConfig, Wrong> {
    let reader = Reader::new(js);
    let max_attempts = reader.given("maxAttempts").map(|_| reader.number("maxAttempts"));
    let mut config = LinkConfig { max_attempts, ..LinkConfig::default() };
    if !reader.get("heartbeatMs").is_undefined() {
        config.heartbeat_ms = reader.count_or_none("heartbeatMs");
    }
    if !reader.get("polling").is_undefined() {
        config.polling = reader.optional("polling", polling);
    }
    reader.end(config)
}

fn polling(js: &JsValue) -> Result<Polling, Wrong> {
    let reader = Reader::new(js);
    let mut polling = Polling::default();
    for (name, ms) in
        [("activeMs", &mut polling.active_ms), ("idleMs", &mut polling.idle_ms), ("hiddenMs", &mut polling.hidden_ms)]
    {
        if !reader.get(name).is_undefined() {
            *ms = reader.count(name);
        }
    }
    reader.end(polling)
}

fn table(js: &JsValue) -> Result<TableConfig, Wrong> {
    let reader = Reader::new(js);
    let (name, key, fields) = (reader.text("name"), reader.list("key", text_item), reader.list("fields", text_item));
    let mut table = TableConfig::new(name, key, fields);
    table.owner = reader.text_or_none("owner");
    table.temporary_keys = reader.given("temporaryKeys").is_some() && reader.flag("temporaryKeys");
    table.indexed = reader.list_or_none("indexed", text_item).unwrap_or_default();
    if let Some(version) = reader.text_or_none("version") {
        table.version = version;
    }
    if !reader.get("versionOrder").is_undefined() {
        table.version_order = reader.parsed("versionOrder", version_order)?;
    }
    table.secret = reader.list_or_none("secret", text_item).unwrap_or_default();
    if let Some(operation) = reader.text_or_none("operation") {
        table.operation = operation;
    }
    if reader.given("domain").is_some() {
        table.domain = reader.fields("domain");
    }
    if let Some(rules) = reader.given("merge") {
        table.merge = reader.noted(merge_rules(&rules)).unwrap_or_default();
    }
    reader.end(table)
}

fn merge_rules(js: &JsValue) -> Result<Named<Rule>, Wrong> {
    let object = js.dyn_ref::<Object>().ok_or_else(|| wrong("merge", "an object: field → rule"))?;
    let mut rules = Named::new();
    for field in Object::keys(object).iter().filter_map(|field| field.as_string()) {
        let rule = Reader::new(js).parsed(&field, rule)?;
        rules.insert(field, rule);
    }
    Ok(rules)
}

fn version_order(text: &str) -> Option<VersionOrder> {
    VersionOrder::ALL.into_iter().find(|order| order.name() == text)
}

/// Reads how to retry.
pub(crate) fn retry(js: &JsValue) -> Result<RetryPolicy, Wrong> {
    let reader = Reader::new(js);
    let mut policy = RetryPolicy::default();
    let given = |name: &str| !reader.get(name).is_undefined();
    if given("maxRetries") {
        policy.max_retries = reader.number("maxRetries");
    }
    if given("retryDelay") {
        policy.retry_delay = reader.count("retryDelay");
    }
    if given("backoffMultiplier") {
        let multiplier = reader.get("backoffMultiplier").as_f64();
        let multiplier = reader.noted(multiplier.ok_or_else(|| wrong("backoffMultiplier", "a number")));
        policy.backoff_multiplier = multiplier.unwrap_or_default();
    }
    if given("timeout") {
        policy.timeout = reader.count("timeout");
    }
    reader.end(policy)
}

/// Reads what a view shows.
pub(crate) fn view(js: &JsValue) -> Result<ViewSpec, Wrong> {
    let reader = Reader::new(js);
    reader.only(&["table", "filter", "sort", "limit", "offset", "figures", "groupBy"]);
    let number_or_none = |name| reader.given(name).map(|_| reader.number(name));
    let spec = ViewSpec {
        table: reader.text("table"),
        filter: reader.optional("filter", filter),
        sort: reader.list_or_none("sort", sort_key).unwrap_or_default(),
        limit: number_or_none("limit"),
        offset: number_or_none("offset").unwrap_or_default(),
        figures: reader.list_or_none("figures", figure).unwrap_or_default(),
        group_by: reader.list_or_none("groupBy", text_item).unwrap_or_default(),
    };
    reader.end(spec)
}

fn sort_key(js: &JsValue) -> Result<SortKey, Wrong> {
    let reader = Reader::new(js);
    reader.only(&["field", "descending"]);
    let key = SortKey { field: reader.text("field"), descending: reader.is("descending") };
    reader.end(key)
}

fn figure(js: &JsValue) -> Result<FigureSpec, Wrong> {
    let reader = Reader::new(js);
    reader.only(&["name", "kind", "field"]);
    let kind = reader.parsed("kind", |text| match text {
        "count" => Some(FigureKind::Count),
        "sum" => Some(FigureKind::Sum),
        "average" => Some(FigureKind::Average),
        _ => None,
    })?;
    let figure = FigureSpec { name: reader.text("name"), kind, field: reader.text_or_none("field") };
    reader.end(figure)
}

fn filter(js: &JsValue) -> Result<Filter, Wrong> {
    // One level more than a view may have, so that it is the view that is refused.
    filter_within(js, FILTER_DEPTH_MAX + 1)
}

/// A filter is an object of one member: what kind it is, and what belongs to that.
fn filter_within(js: &JsValue, depth: usize) -> Result<Filter, Wrong> {
    let depth = depth.checked_sub(1).ok_or_else(|| wrong("filter", "flat enough"))?;
    let names = js.dyn_ref::<Object>().map(Object::keys).unwrap_or_default();
    let kind = if names.length() == 1 { names.get(0).as_string() } else { None };
    let Some(kind) = kind else { return Err(wrong("filter", "an object of one member")) };
    let inner = Reader::new(js).get(&kind);
    let each = || -> Result<Vec<Filter>, Wrong> {
        let items = inner.dyn_ref::<Array>().ok_or_else(|| wrong(&kind, "a list"))?;
        let mut filters = Vec::with_capacity(room_for(items));
        for item in items.iter() {
            filters.push(filter_within(&item, depth)?);
        }
        Ok(filters)
    };
    Ok(match kind.as_str() {
        "eq" => Filter::Eq(term(&inner)?),
        "neq" => Filter::Neq(term(&inner)?),
        "lt" => Filter::Lt(term(&inner)?),
        "lte" => Filter::Lte(term(&inner)?),
        "gt" => Filter::Gt(term(&inner)?),
        "gte" => Filter::Gte(term(&inner)?),
        "contains" => Filter::Contains(term(&inner)?),
        "in" => {
            let reader = Reader::new(&inner);
            reader.only(&["field", "values"]);
            let value_item = |js: &JsValue| value(js).ok_or_else(|| wrong("item", "a value"));
            let terms = Terms { field: reader.text("field"), values: reader.list("values", value_item) };
            Filter::In(reader.end(terms)?)
        }
        "isNull" => {
            let reader = Reader::new(&inner);
            reader.only(&["field"]);
            let field = FieldName { field: reader.text("field") };
            Filter::IsNull(reader.end(field)?)
        }
        "between" => {
            let reader = Reader::new(&inner);
            reader.only(&["field", "from", "to"]);
            let range = Range { field: reader.text("field"), from: reader.value("from"), to: reader.value("to") };
            Filter::Between(reader.end(range)?)
        }
        "and" => Filter::And(each()?),
        "or" => Filter::Or(each()?),
        "not" => Filter::Not(Box::new(filter_within(&inner, depth)?)),
        _ => return Err(wrong(&kind, "a kind of filter")),
    })
}

fn term(js: &JsValue) -> Result<Term, Wrong> {
    let reader = Reader::new(js);
    reader.only(&["field", "value"]);
    let term = Term { field: reader.text("field"), value: reader.value("value") };
    reader.end(term)
}
