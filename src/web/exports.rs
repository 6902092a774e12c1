//! What JavaScript sees of the engine: one class with few, plain methods.

use std::rc::Rc;

use js_sys::{Array, Function, Object, Reflect};
use serde::Deserialize;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};

use super::clock::now;
use super::driver::{Driver, Refusal, unreadable};
use super::js_record::{JsRecord, handles, set};
use super::panic;
use super::rows::Shape;
use crate::domain::Domains;
use crate::engine::engine::Engine;
use crate::engine::error::{Error, Problem};
use crate::engine::input::{Config, Gone, Input, Pulled, ServerEvent};
use crate::engine::operation::{Answer, OperationId};
use crate::engine::retry::Failure;

/// The engine in its shell. The package's TypeScript owns it; applications never see it.
#[wasm_bindgen]
pub struct RotaEngine {
    driver: Rc<Driver>,
    shapes: Vec<Shape>,
}

/// The members of a pull's response, but for the rows, which stay JavaScript objects.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    protocol: u32,
    cursor: Option<String>,
    whole: bool,
    gone: Vec<Gone>,
    settled: Vec<Answer<JsRecord>>,
}

#[wasm_bindgen]
impl RotaEngine {
    /// Makes an engine. `seed`: sixteen random bytes. `host(name, detail)` performs what the shell does not.
    ///
    /// # Errors
    /// `{code, message}`, when the configuration can't work.
    #[wasm_bindgen(constructor)]
    pub fn new(config: JsValue, seed: &[u8], host: Function, memory_only: bool) -> Result<RotaEngine, JsValue> {
        panic::set_hook();
        let config: Config = serde_wasm_bindgen::from_value(config)
            .map_err(|error| refuse("invalid-configuration", &error.to_string()))?;
        let seed: [u8; 16] =
            seed.try_into().map_err(|_| refuse("invalid-configuration", "the seed must have sixteen bytes"))?;
        let shapes = config.tables.iter().map(Shape::new).collect();
        let engine = Engine::new(config, Box::new(Domains), seed, now()).map_err(|error| refuse_with(&error))?;
        Ok(Self { driver: Driver::new(engine, host, memory_only), shapes })
    }

    /// Starts the engine. From here on the host is called.
    ///
    /// # Errors
    /// `{code, message}`.
    pub fn start(&self) -> Result<(), JsValue> {
        self.driver.start().map_err(|refusal| refused(&refusal))
    }

    /// Takes a command, and returns the id of the operation. When it returns, the operation is stored and shown.
    ///
    /// # Errors
    /// `{code, message}`; then nothing has changed.
    pub fn mutate(&self, command: JsValue) -> Result<String, JsValue> {
        let command =
            serde_wasm_bindgen::from_value(command).map_err(|error| refuse("invalid-value", &error.to_string()))?;
        let taken = self.driver.dispatch(Input::Mutate(command)).map_err(|refusal| refused(&refusal))?;
        // A command that is taken always has an id.
        let id = taken.ok_or_else(|| refused(&Refusal::Crashed))?;
        match self.driver.take_rejection(id) {
            Some(refusal) => Err(refused(&refusal)),
            None => Ok(id.to_string()),
        }
    }

    /// Tells the engine anything that is plain data, in the form of its `Input`.
    ///
    /// # Errors
    /// `{code, message}`, for commands only.
    pub fn tell(&self, input: JsValue) -> Result<(), JsValue> {
        let input =
            serde_wasm_bindgen::from_value(input).map_err(|error| refuse("invalid-operation", &error.to_string()))?;
        self.driver.dispatch(input).map(|_| ()).map_err(|refusal| refused(&refusal))
    }

    /// Takes what a pull brought, in the form of `PROTOCOL.md` §5.
    pub fn pulled(&self, id: u32, response: &JsValue) {
        let input = match serde_wasm_bindgen::from_value::<Response>(response.clone()) {
            Ok(read) if read.protocol == crate::engine::operation::PROTOCOL => self.read_pull(id, read, response),
            Ok(read) => pull_failed(id, format!("the server answered in protocol {}", read.protocol)),
            Err(error) => pull_failed(id, format!("malformed pull response: {error}")),
        };
        self.driver.tell(input);
    }

    fn read_pull(&self, id: u32, read: Response, response: &JsValue) -> Input<JsRecord> {
        let tables = Reflect::get(response, &"records".into()).unwrap_or(JsValue::UNDEFINED);
        let (mut records, mut is_sound) = (Vec::new(), true);
        for shape in &self.shapes {
            let rows = Reflect::get(&tables, &shape.name().into()).unwrap_or(JsValue::UNDEFINED);
            let Ok(rows) = rows.dyn_into::<Array>() else { continue };
            records.reserve(rows.length() as usize);
            for row in rows.iter() {
                match shape.row(&row) {
                    Ok(row) => records.push(row),
                    Err(problem) => {
                        is_sound = false;
                        self.report(&problem);
                    }
                }
            }
        }
        // Where a row could not be read, nothing is concluded from what is missing, and the next pull asks for everything again.
        let (whole, cursor) = if is_sound { (read.whole, read.cursor) } else { (false, None) };
        Input::Pulled(Pulled { id, cursor, whole, records, gone: read.gone, settled: read.settled })
    }

    /// Takes a batch of the stream's events: `[table, "changed", row]` or `[table, "deleted", row with the key]`, flat.
    pub fn changed(&self, events: &Array) {
        let mut read = Vec::with_capacity(events.length() as usize / 3);
        for index in (0..events.length()).step_by(3) {
            let (table, kind, row) = (events.get(index), events.get(index + 1), events.get(index + 2));
            match self.read_event(&table, &kind, &row) {
                Ok(event) => read.push(event),
                Err(problem) => self.report(&problem),
            }
        }
        if !read.is_empty() {
            self.driver.tell(Input::ServerChanged { events: read });
        }
    }

    fn read_event(&self, table: &JsValue, kind: &JsValue, row: &JsValue) -> Result<ServerEvent<JsRecord>, Problem> {
        let name = table.as_string().unwrap_or_default();
        let Some(shape) = self.shapes.iter().find(|shape| shape.name() == name) else {
            return Err(Problem::new("malformed-event", name, "the event is of a table that is not declared"));
        };
        match kind.as_string().as_deref() {
            Some("changed") => {
                let row = shape.row(row)?;
                let partial = row.record.as_ref().is_some_and(|record| shape.is_partial(record));
                Ok(ServerEvent::Changed { row, partial })
            }
            Some("deleted") => Ok(ServerEvent::Deleted { key: shape.key_of(row)?, table: name }),
            _ => Err(Problem::new("malformed-event", name, "the event is neither a change nor a deletion")),
        }
    }

    fn report(&self, problem: &Problem) {
        self.driver.tell(unreadable(&problem.code, &problem.place, &problem.message));
    }

    /// Takes a server's answer to an operation, in the form of `PROTOCOL.md` §3.
    pub fn answered(&self, id: &str, answer: JsValue) {
        let Some(id) = OperationId::parse(id) else { return };
        let failed = |message: String| Input::PushFailed { id, failure: Failure::Unknown, message, after_ms: None };
        self.driver.tell(match serde_wasm_bindgen::from_value::<Answer<JsRecord>>(answer) {
            Ok(answer) if answer.id == id => Input::Answered { answer },
            Ok(_) => failed("the server answered another operation".to_owned()),
            Err(error) => failed(format!("malformed answer: {error}")),
        });
    }

    /// Returns the engine's figures, or nothing once it has crashed.
    pub fn stats(&self) -> JsValue {
        let Some(stats) = self.driver.stats() else { return JsValue::UNDEFINED };
        let figures = Object::new();
        for (name, figure) in [("records", stats.records), ("operations", stats.operations), ("handles", handles())] {
            set(&figures, name, &JsValue::from(u32::try_from(figure).unwrap_or(u32::MAX)));
        }
        figures.into()
    }

    /// Returns this tab's id, or nothing once the engine has crashed.
    pub fn tab(&self) -> Option<String> {
        self.driver.tab()
    }
}

/// Returns what a panic said, if there was one.
#[wasm_bindgen(js_name = crashed)]
pub fn crashed() -> Option<String> {
    panic::message()
}

/// Returns the version of the package that this was built for.
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

fn pull_failed(id: u32, message: String) -> Input<JsRecord> {
    Input::PullFailed { id, failure: Failure::Unknown, message }
}

fn refused(refusal: &Refusal) -> JsValue {
    match refusal {
        Refusal::Engine(error) => refuse_with(error),
        Refusal::StorageFull(why) => {
            refuse("storage-full", &format!("the operation could not be stored, so it was not taken: {why}"))
        }
        Refusal::Crashed => {
            refuse("engine-crashed", &panic::message().unwrap_or_else(|| "the engine is locked".to_owned()))
        }
    }
}

fn refuse_with(error: &Error) -> JsValue {
    refuse(error.code(), &error.to_string())
}

fn refuse(code: &str, message: &str) -> JsValue {
    let error = Object::new();
    set(&error, "code", &code.into());
    set(&error, "message", &message.into());
    error.into()
}
