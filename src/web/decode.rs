//! Reads JavaScript objects into the engine's types, member by member.
//!
//! serde would do it too, but a derived reader costs the wasm 3 to 20 kB a type (80 kB in all, measured), and this file a tenth
//! of that. The shapes are the same: the package's tests feed it the fixtures that the native tests feed to serde.

use js_sys::{Array, Object, Reflect};
use wasm_bindgen::{JsCast, JsValue};

use super::js_record::JsRecord;
use crate::engine::input::{Command, Config, Gone};
use crate::engine::link::{LinkState, LinkStatus};
use crate::engine::operation::{Answer, Operation, OperationId, OperationState, Outcome, Version};
use crate::engine::retry::{Failure, RetryPolicy};
use crate::engine::stored::{Content, StoredOperation};
use crate::engine::table::{Row, TableConfig};
use crate::engine::tabs::{Kind, TabMessage};
use crate::engine::time::Hlc;
use crate::engine::value::{DEPTH_MAX, Fields, Value};

/// What was wrong, for a person.
pub(crate) type Wrong = String;

/// Reads a value; `None` for what is none.
pub(crate) fn value(js: &JsValue) -> Option<Value> {
    value_within(js, DEPTH_MAX)
}

fn value_within(js: &JsValue, depth: usize) -> Option<Value> {
    if js.is_null() {
        return Some(Value::Null);
    }
    if let Some(flag) = js.as_bool() {
        return Some(Value::Bool(flag));
    }
    if let Some(number) = js.as_f64() {
        return Value::number(number);
    }
    if let Some(text) = js.as_string() {
        return Some(Value::String(text));
    }
    let depth = depth.checked_sub(1)?;
    if let Some(items) = js.dyn_ref::<Array>() {
        return items.iter().map(|item| value_within(&item, depth)).collect::<Option<_>>().map(Value::List);
    }
    // A function is an object to JavaScript, and no value to us.
    if js.is_function() {
        return None;
    }
    fields_within(js.dyn_ref::<Object>()?, depth).map(Value::Map)
}

fn fields_within(object: &Object, depth: usize) -> Option<Fields> {
    let names = Object::keys(object);
    let mut fields = Fields::new();
    for name in names.iter() {
        let item = Reflect::get(object, &name).ok()?;
        fields.insert(name.as_string()?, value_within(&item, depth)?);
    }
    Some(fields)
}

/// An object being read.
struct Reader<'a>(&'a JsValue);

impl Reader<'_> {
    fn get(&self, name: &str) -> JsValue {
        // Fails on what is no object, which reads as having no member.
        Reflect::get(self.0, &name.into()).unwrap_or(JsValue::UNDEFINED)
    }

    fn text(&self, name: &str) -> Result<String, Wrong> {
        self.get(name).as_string().ok_or_else(|| wrong(name, "text"))
    }

    /// Text that may be missing or null.
    fn text_or_none(&self, name: &str) -> Result<Option<String>, Wrong> {
        self.optional(name, |js| js.as_string().ok_or_else(|| wrong(name, "text")))
    }

    fn flag(&self, name: &str) -> Result<bool, Wrong> {
        self.get(name).as_bool().ok_or_else(|| wrong(name, "true or false"))
    }

    fn count(&self, name: &str) -> Result<u64, Wrong> {
        whole(&self.get(name)).ok_or_else(|| wrong(name, "a whole number"))
    }

    fn number(&self, name: &str) -> Result<u32, Wrong> {
        u32::try_from(self.count(name)?).map_err(|_| wrong(name, "a smaller number"))
    }

    fn fields(&self, name: &str) -> Result<Fields, Wrong> {
        match value(&self.get(name)) {
            Some(Value::Map(fields)) => Ok(fields),
            _ => Err(wrong(name, "an object of values: null, booleans, finite numbers, text, lists and objects")),
        }
    }

    /// A member that may be missing or null.
    fn optional<T>(&self, name: &str, read: impl FnOnce(&JsValue) -> Result<T, Wrong>) -> Result<Option<T>, Wrong> {
        let js = self.get(name);
        if js.is_undefined() || js.is_null() { Ok(None) } else { read(&js).map(Some) }
    }

    fn list<T>(&self, name: &str, read: impl FnMut(&JsValue) -> Result<T, Wrong>) -> Result<Vec<T>, Wrong> {
        list(&self.get(name), name, read)
    }

    fn parsed<T>(&self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Wrong> {
        parse(&self.text(name)?).ok_or_else(|| wrong(name, "of a known form"))
    }
}

fn wrong(name: &str, expected: &str) -> Wrong {
    ["\"", name, "\" is missing, or is not ", expected].concat()
}

fn list<T>(js: &JsValue, name: &str, mut read: impl FnMut(&JsValue) -> Result<T, Wrong>) -> Result<Vec<T>, Wrong> {
    let items = js.dyn_ref::<Array>().ok_or_else(|| wrong(name, "a list"))?;
    let mut list = Vec::with_capacity(items.length() as usize);
    for item in items.iter() {
        list.push(read(&item)?);
    }
    Ok(list)
}

fn whole(js: &JsValue) -> Option<u64> {
    Version::from_number(js.as_f64()?).map(Version::number)
}

fn text_item(js: &JsValue) -> Result<String, Wrong> {
    js.as_string().ok_or_else(|| wrong("item", "text"))
}

fn id_item(js: &JsValue) -> Result<OperationId, Wrong> {
    js.as_string().as_deref().and_then(OperationId::parse).ok_or_else(|| wrong("item", "an operation id"))
}

/// Reads a version: text, or a number that holds it exactly.
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
    let reader = Reader(js);
    Ok(Operation {
        protocol: reader.number("protocol")?,
        id: reader.parsed("id", OperationId::parse)?,
        name: reader.text("name")?,
        table: reader.text("table")?,
        key: reader.text("key")?,
        args: reader.fields("args")?,
        set: reader.fields("set")?,
        base: reader.fields("base")?,
        base_version: reader.optional("baseVersion", version_item)?,
        hlc: reader.parsed("hlc", Hlc::parse)?,
        tab: reader.text("tab")?,
        after: reader.list("after", id_item)?,
    })
}

/// Reads an answer (`PROTOCOL.md` §3).
pub(crate) fn answer(js: &JsValue) -> Result<Answer<JsRecord>, Wrong> {
    let reader = Reader(js);
    let record = reader.get("record");
    Ok(Answer {
        protocol: reader.number("protocol")?,
        id: reader.parsed("id", OperationId::parse)?,
        table: reader.text("table")?,
        key: reader.text("key")?,
        replayed: reader.flag("replayed")?,
        outcome: reader.parsed("outcome", |text| match text {
            "confirmed" => Some(Outcome::Confirmed),
            "refused" => Some(Outcome::Refused),
            "conflicted" => Some(Outcome::Conflicted),
            "retry" => Some(Outcome::Retry),
            _ => None,
        })?,
        code: reader.text_or_none("code")?,
        message: reader.text_or_none("message")?,
        fields: reader.optional("fields", |js| list(js, "fields", text_item))?.unwrap_or_default(),
        after_ms: reader.optional("afterMs", |js| whole(js).ok_or_else(|| wrong("afterMs", "a whole number")))?,
        version: reader.optional("version", version_item)?,
        record: if record.is_undefined() {
            None
        } else if record.is_null() {
            Some(None)
        } else {
            Some(Some(record_item(&record)?))
        },
    })
}

/// Reads an answer that a server gave. It must have all that its outcome calls for; between tabs less is told.
pub(crate) fn server_answer(js: &JsValue) -> Result<Answer<JsRecord>, Wrong> {
    let read = answer(js)?;
    let required: &[&str] = match read.outcome {
        Outcome::Confirmed => &["version", "record"],
        Outcome::Refused => &["code", "message"],
        Outcome::Conflicted => &["code", "message", "fields", "version", "record"],
        Outcome::Retry => &["code", "message", "afterMs"],
    };
    let reader = Reader(js);
    let is_missing = |name: &&&str| {
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
    let reader = Reader(js);
    Ok(Gone { table: reader.text("table")?, key: reader.text("key")?, version: version_item(&reader.get("version"))? })
}

/// The members of a pull's response but for its rows, which have a reader of their own.
pub(crate) struct Response {
    pub(crate) protocol: u32,
    pub(crate) cursor: Option<String>,
    pub(crate) whole: bool,
    pub(crate) gone: Vec<Gone>,
    pub(crate) settled: Vec<Answer<JsRecord>>,
}

/// Reads a pull's response (`PROTOCOL.md` §5).
pub(crate) fn response(js: &JsValue) -> Result<Response, Wrong> {
    let reader = Reader(js);
    // Without it a whole pull would read as "everything is gone".
    if !reader.get("records").is_object() {
        return Err(wrong("records", "an object"));
    }
    Ok(Response {
        protocol: reader.number("protocol")?,
        cursor: reader.text_or_none("cursor")?,
        whole: reader.flag("whole")?,
        gone: reader.list("gone", gone)?,
        settled: reader.list("settled", server_answer)?,
    })
}

/// Reads what lies under a storage key (`PROTOCOL.md` §7).
pub(crate) fn content(js: &JsValue) -> Content {
    let reader = Reader(js);
    let Some(v) = reader.get("v").as_f64() else { return Content::Corrupt(wrong("v", "a number")) };
    match reader.number("v") {
        Ok(v) if v == crate::engine::session::FORMAT => match operation(&reader.get("op")) {
            Ok(op) => Content::Operation(StoredOperation { v, op }),
            Err(why) => Content::Corrupt(why),
        },
        _ => Content::Other(v),
    }
}

fn row(js: &JsValue) -> Result<Row<JsRecord>, Wrong> {
    let reader = Reader(js);
    Ok(Row {
        table: reader.text("table")?,
        key: reader.text("key")?,
        version: reader.parsed("version", Version::parse)?,
        op: reader.optional("op", id_item)?,
        record: reader.optional("record", record_item)?,
    })
}

fn link(js: &JsValue) -> Result<LinkStatus, Wrong> {
    let reader = Reader(js);
    Ok(LinkStatus {
        state: reader.parsed("state", |text| match text {
            "offline" => Some(LinkState::Offline),
            "connecting" => Some(LinkState::Connecting),
            "live" => Some(LinkState::Live),
            "paused" => Some(LinkState::Paused),
            _ => None,
        })?,
        why: reader.text("why")?,
        since_ms: reader.count("sinceMs")?,
        retry_at_ms: reader
            .optional("retryAtMs", |js| whole(js).ok_or_else(|| wrong("retryAtMs", "a whole number")))?,
    })
}

/// Reads a tab message (`PROTOCOL.md` §8).
pub(crate) fn tab_message(js: &JsValue) -> Result<TabMessage<JsRecord>, Wrong> {
    let reader = Reader(js);
    let cursor = reader.get("cursor");
    Ok(TabMessage {
        v: reader.number("v")?,
        from: reader.text("from")?,
        epoch: reader.count("epoch")?,
        seq: reader.count("seq")?,
        kind: reader.parsed("kind", |text| match text {
            "hello" => Some(Kind::Hello),
            "beat" => Some(Kind::Beat),
            "snapshot" => Some(Kind::Snapshot),
            "operation" => Some(Kind::Operation),
            "changes" => Some(Kind::Changes),
            "settled" => Some(Kind::Settled),
            "cancel" => Some(Kind::Cancel),
            "bye" => Some(Kind::Bye),
            _ => None,
        })?,
        pending: reader.optional("pending", |js| list(js, "pending", id_item))?,
        link: reader.optional("link", link)?,
        to: reader.text_or_none("to")?,
        cursor: if cursor.is_undefined() { None } else { Some(reader.text_or_none("cursor")?) },
        records: reader.optional("records", |js| list(js, "records", row))?,
        operations: reader.optional("operations", |js| list(js, "operations", operation))?,
        op: reader.optional("op", operation)?,
        answer: reader.optional("answer", answer)?,
        id: reader.optional("id", id_item)?,
        outcome: reader.optional("outcome", |js| {
            js.as_string().as_deref().and_then(state).ok_or_else(|| wrong("outcome", "a state"))
        })?,
    })
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
    let reader = Reader(js);
    let fields_of = |name| if reader.get(name).is_undefined() { Ok(Fields::new()) } else { reader.fields(name) };
    Ok(Command {
        name: reader.text("name")?,
        table: reader.text("table")?,
        key: reader.text_or_none("key")?,
        args: fields_of("args")?,
        set: fields_of("set")?,
    })
}

/// Reads what an engine is made for.
pub(crate) fn config(js: &JsValue) -> Result<Config, Wrong> {
    let reader = Reader(js);
    Ok(Config {
        app: reader.text("app")?,
        user: reader.text("user")?,
        tables: reader.list("tables", table)?,
        retry: reader.optional("retry", retry)?.unwrap_or_default(),
    })
}

fn table(js: &JsValue) -> Result<TableConfig, Wrong> {
    let reader = Reader(js);
    let mut table =
        TableConfig::new(reader.text("name")?, reader.list("key", text_item)?, reader.list("fields", text_item)?);
    table.owner = reader.text_or_none("owner")?;
    if let Some(version) = reader.text_or_none("version")? {
        table.version = version;
    }
    if let Some(operation) = reader.text_or_none("operation")? {
        table.operation = operation;
    }
    Ok(table)
}

fn retry(js: &JsValue) -> Result<RetryPolicy, Wrong> {
    let reader = Reader(js);
    let mut policy = RetryPolicy::default();
    let given = |name: &str| !reader.get(name).is_undefined();
    if given("maxRetries") {
        policy.max_retries = reader.number("maxRetries")?;
    }
    if given("retryDelay") {
        policy.retry_delay = reader.count("retryDelay")?;
    }
    if given("backoffMultiplier") {
        let multiplier = reader.get("backoffMultiplier").as_f64();
        policy.backoff_multiplier = multiplier.ok_or_else(|| wrong("backoffMultiplier", "a number"))?;
    }
    if given("timeout") {
        policy.timeout = reader.count("timeout")?;
    }
    Ok(policy)
}
