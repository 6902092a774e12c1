//! What JavaScript sees of the engine: one class with plain methods, a fact or a command each.

use std::rc::Rc;

use js_sys::{Array, Function, Object, Reflect};
use rand_core::SeedableRng;
use rand_pcg::Pcg64Mcg;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};

use super::clock::now;
use super::driver::{Driver, Refusal, unreadable};
use super::js_record::{JsRecord, handles, set};
use super::rows::Shape;
use super::sealing::Sealing;
use super::{decode, panic};
use crate::border::{refuse, refuse_with, value};
use crate::domain::Domains;
use crate::engine::engine::Engine;
use crate::engine::error::{Error, Problem};
use crate::engine::input::{Input, Pulled, ServerEvent, Unanswered, Unread, Unsent};
use crate::engine::operation::{Answer, OperationId, PROTOCOL};
use crate::engine::retry::{Failed, Failure};
use crate::engine::version::Version;

/// The engine in its shell. The package's TypeScript owns it; applications never see it.
#[wasm_bindgen]
pub struct RotaEngine {
    driver: Rc<Driver>,
    shapes: Vec<Shape>,
}

#[wasm_bindgen]
impl RotaEngine {
    /// Makes an engine. `seed`: sixteen random bytes. `host(name, detail)` performs what the shell does not. `sealer` encrypts what is
    /// stored, if it is given.
    ///
    /// # Errors
    /// `{code, message}`, when the configuration can't work.
    #[wasm_bindgen(constructor)]
    pub fn new(
        config: &JsValue,
        seed: &[u8],
        host: Function,
        memory_only: bool,
        sealer: &JsValue,
    ) -> Result<RotaEngine, JsValue> {
        panic::set_hook();
        let config = decode::config(config).map_err(|wrong| refuse("invalid-configuration", &wrong))?;
        let seed: [u8; 16] =
            seed.try_into().map_err(|_| refuse("invalid-configuration", "the seed must have sixteen bytes"))?;
        let sealing = Sealing::new(sealer).map_err(|wrong| refuse("invalid-configuration", wrong))?;
        let shapes = config.tables.iter().map(Shape::new).collect();
        let engine = Engine::new(config, Box::new(Domains), seed, now()).map_err(|error| refuse_with(&error))?;
        Ok(Self { driver: Driver::new(engine, host, memory_only, sealing), shapes })
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
    pub fn mutate(&self, command: &JsValue) -> Result<String, JsValue> {
        let command = decode::command(command).map_err(|wrong| refuse("invalid-value", &wrong))?;
        self.take(Input::Mutate(command))
    }

    /// Takes several commands as one operation, and returns its id. When it returns, the operation is stored and shown.
    ///
    /// # Errors
    /// `{code, message}`; then nothing has changed.
    pub fn transact(&self, commands: &JsValue) -> Result<String, JsValue> {
        let commands = decode::commands(commands).map_err(|wrong| refuse("invalid-value", &wrong))?;
        self.take(Input::Transact { commands })
    }

    fn take(&self, command: Input<JsRecord>) -> Result<String, JsValue> {
        let taken = self.driver.dispatch(command).map_err(|refusal| refused(&refusal))?;
        // A command that is taken always has an id.
        let id = taken.ok_or_else(|| refused(&Refusal::Crashed))?;
        match self.driver.take_rejection(id) {
            Some(refusal) => Err(refused(&refusal)),
            None => Ok(id.to_string()),
        }
    }

    /// Takes an operation back, or drops a dead one.
    ///
    /// # Errors
    /// `{code, message}`.
    pub fn cancel(&self, id: &str) -> Result<(), JsValue> {
        self.command(id, |id| Input::Cancel { id })
    }

    /// Undoes an operation. Returns the id of the operation that does so; nothing when it was simply taken back.
    ///
    /// # Errors
    /// `{code, message}`; then nothing has changed.
    pub fn undo(&self, id: &str) -> Result<Option<String>, JsValue> {
        let unknown = || refuse_with(&Error::NothingToUndo { id: id.to_owned() });
        let id = OperationId::parse(id).ok_or_else(unknown)?;
        let taken = self.driver.dispatch(Input::Undo { id }).map_err(|refusal| refused(&refusal))?;
        match taken.and_then(|id| self.driver.take_rejection(id)) {
            Some(refusal) => Err(refused(&refusal)),
            None => Ok(taken.map(|id| id.to_string())),
        }
    }

    /// Tries a dead operation again.
    ///
    /// # Errors
    /// `{code, message}`.
    pub fn retry(&self, id: &str) -> Result<(), JsValue> {
        self.command(id, |id| Input::Retry { id })
    }

    /// Decides on a conflict: `local`, `server`, `merge`, or the values of the fields. Returns the id of the operation that carries
    /// the decision out, or nothing where nothing is left to do.
    ///
    /// # Errors
    /// `{code, message}`; then nothing has changed.
    pub fn resolve(&self, id: &str, choice: &JsValue) -> Result<Option<String>, JsValue> {
        let choice = decode::choice(choice).map_err(|wrong| refuse("invalid-value", &wrong))?;
        let unknown = || refuse_with(&Error::UnknownConflict { id: id.to_owned() });
        let id = OperationId::parse(id).ok_or_else(unknown)?;
        let taken = self.driver.dispatch(Input::Resolve { id, choice }).map_err(|refusal| refused(&refusal))?;
        match taken.and_then(|id| self.driver.take_rejection(id)) {
            Some(refusal) => Err(refused(&refusal)),
            None => Ok(taken.map(|id| id.to_string())),
        }
    }

    /// Returns the record of decisions on conflicts, `{entries, dropped}`, the oldest first, or nothing once the engine has crashed.
    pub fn audit(&self) -> JsValue {
        let Some((entries, dropped)) = self.driver.audit() else { return JsValue::UNDEFINED };
        let audit = Object::new();
        set(&audit, "entries", &entries);
        set(&audit, "dropped", &JsValue::from(u32::try_from(dropped).unwrap_or(u32::MAX)));
        audit.into()
    }

    fn command(&self, id: &str, input: impl FnOnce(OperationId) -> Input<JsRecord>) -> Result<(), JsValue> {
        let unknown = || refuse_with(&Error::UnknownOperation { id: id.to_owned() });
        let id = OperationId::parse(id).ok_or_else(unknown)?;
        self.driver.dispatch(input(id)).map(|_| ()).map_err(|refusal| refused(&refusal))
    }

    /// Tries to connect now.
    pub fn reconnect(&self) {
        self.driver.tell(Input::Reconnect);
    }

    /// Forgets the records that are kept for the next visit.
    pub fn purge(&self) {
        self.driver.tell(Input::Purge);
    }

    /// Forgets everything of this person's, and leaves.
    ///
    /// # Errors
    /// `{code, message}`; then nothing has changed.
    #[expect(clippy::needless_pass_by_value, reason = "text comes out of JavaScript as a value")]
    pub fn logout(&self, unsent: Option<String>) -> Result<(), JsValue> {
        let unsent = match unsent.as_deref() {
            None => None,
            Some("wait") => Some(Unsent::Wait),
            Some("discard") => Some(Unsent::Discard),
            Some(_) => return Err(refuse("invalid-operation", "unsent must be \"wait\" or \"discard\"")),
        };
        self.driver.dispatch(Input::Logout { unsent }).map(|_| ()).map_err(|refusal| refused(&refusal))
    }

    /// The person's roles or scope have changed.
    #[wasm_bindgen(js_name = rightsChanged)]
    pub fn rights_changed(&self) {
        self.driver.tell(Input::RightsChanged);
    }

    /// Tells something of the world that the rules need: the rules of a zone, a policy, what makes queries stale.
    ///
    /// # Errors
    /// `{code, message}`; then nothing has changed.
    #[wasm_bindgen(js_name = factTold)]
    pub fn fact_told(&self, name: String, fact: &JsValue) -> Result<(), JsValue> {
        let fact = value(fact).ok_or_else(|| refuse("invalid-value", "a fact is a plain value"))?;
        self.driver.dispatch(Input::FactTold { name, fact }).map(|_| ()).map_err(|refusal| refused(&refusal))
    }

    /// Says whether a command would be taken, as far as is known here: nothing, or `{code, message}`. Nothing is changed.
    pub fn can(&self, command: &JsValue) -> JsValue {
        let command = match decode::command(command) {
            Ok(command) => command,
            Err(wrong) => return refuse("invalid-value", &wrong),
        };
        match self.driver.can(command) {
            Some(Err(error)) => refuse_with(&error),
            Some(Ok(())) => JsValue::UNDEFINED,
            None => refused(&Refusal::Crashed),
        }
    }

    /// Says where the person of this tab is; null or undefined when they are nowhere.
    ///
    /// # Errors
    /// `{code, message}`; then nothing has changed.
    #[wasm_bindgen(js_name = setPresence)]
    pub fn set_presence(&self, presence: &JsValue) -> Result<(), JsValue> {
        let presence = if presence.is_null() || presence.is_undefined() {
            None
        } else {
            Some(decode::presence(presence).map_err(|wrong| refuse("invalid-operation", &wrong))?)
        };
        self.driver.dispatch(Input::SetPresence { presence }).map(|_| ()).map_err(|refusal| refused(&refusal))
    }

    /// The backend told where others are.
    #[wasm_bindgen(js_name = presenceHeard)]
    pub fn presence_heard(&self, peers: &JsValue) {
        self.driver.tell(match decode::peers(peers) {
            Ok(peers) => Input::PresenceHeard { peers },
            Err(wrong) => unreadable("malformed-presence", "presence", &wrong),
        });
    }

    /// Keeps a live list under a number that no open view has. What it shows comes with the change lists, the first time before this returns.
    ///
    /// # Errors
    /// `{code, message}`; then nothing has changed.
    #[wasm_bindgen(js_name = openView)]
    pub fn open_view(&self, id: u32, spec: &JsValue) -> Result<(), JsValue> {
        let spec = decode::view(spec).map_err(|wrong| refuse("invalid-view", &wrong))?;
        self.driver.dispatch(Input::OpenView { id, spec }).map(|_| ()).map_err(|refusal| refused(&refusal))
    }

    /// Stops keeping a live list.
    ///
    /// # Errors
    /// `{code, message}`.
    #[wasm_bindgen(js_name = closeView)]
    pub fn close_view(&self, id: u32) -> Result<(), JsValue> {
        self.driver.dispatch(Input::CloseView { id }).map(|_| ()).map_err(|refusal| refused(&refusal))
    }

    /// Gives back what the browser lent, after a crash.
    pub fn abandon(&self) {
        self.driver.abandon();
    }

    /// Leaves.
    pub fn close(&self) {
        self.driver.tell(Input::Close);
    }

    /// The server took the subscription.
    pub fn joined(&self, attempt: u32) {
        self.driver.tell(Input::LinkJoined { attempt });
    }

    /// The server said that changes flow.
    pub fn live(&self, attempt: u32) {
        self.driver.tell(Input::LinkLive { attempt });
    }

    /// The link broke, or could not be opened.
    #[wasm_bindgen(js_name = linkClosed)]
    pub fn link_closed(&self, attempt: u32, failure: &str, message: String) {
        self.driver.tell(Input::LinkClosed { attempt, failure: decode::failure(failure), message });
    }

    /// A pull failed.
    #[wasm_bindgen(js_name = pullFailed)]
    pub fn pull_failed(&self, id: u32, failure: &str, message: String) {
        self.driver.tell(Input::PullFailed { id, failure: decode::failure(failure), message });
    }

    /// An operation's call failed.
    #[wasm_bindgen(js_name = pushFailed)]
    pub fn push_failed(&self, id: &str, failure: &str, message: String, after_ms: Option<u32>) {
        if let Some(id) = OperationId::parse(id) {
            let after_ms = after_ms.map(u64::from);
            self.driver.tell(Input::PushFailed { id, failure: decode::failure(failure), message, after_ms });
        }
    }

    /// The task that asked for something to be sent is over.
    pub fn gathered(&self) {
        self.driver.tell(Input::Gathered);
    }

    /// A call of several failed as a whole.
    #[wasm_bindgen(js_name = callFailed)]
    pub fn call_failed(&self, call: u32, failure: &str, message: String, after_ms: Option<u32>) {
        let (failure, after_ms) = (decode::failure(failure), after_ms.map(u64::from));
        self.driver.tell(Input::CallFailed { call, failure, message, after_ms });
    }

    /// The server takes one operation a call, and has done nothing of this one.
    #[wasm_bindgen(js_name = callDeclined)]
    pub fn call_declined(&self, call: u32) {
        self.driver.tell(Input::CallDeclined { call });
    }

    /// There is a fresh token.
    #[wasm_bindgen(js_name = tokenRefreshed)]
    pub fn token_refreshed(&self) {
        self.driver.tell(Input::TokenRefreshed);
    }

    /// There is no fresh token to be had.
    #[wasm_bindgen(js_name = tokenRefused)]
    pub fn token_refused(&self, message: String) {
        self.driver.tell(Input::TokenRefused { message });
    }

    /// The browser believes to be on-line, or off-line.
    pub fn hinted(&self, online: bool) {
        self.driver.tell(Input::NetworkHinted { online });
    }

    /// A token can't be asked for here.
    #[wasm_bindgen(js_name = tokenKept)]
    pub fn token_kept(&self) {
        self.driver.tell(Input::TokenKept);
    }

    /// Nobody could be asked for a fresh token.
    #[wasm_bindgen(js_name = tokenMissed)]
    pub fn token_missed(&self, failure: &str, message: String) {
        self.driver.tell(Input::TokenMissed { failure: decode::failure(failure), message });
    }

    /// The server answered a ping.
    pub fn ponged(&self, attempt: u32) {
        self.driver.tell(Input::Ponged { attempt });
    }

    /// The page is shown, or hidden.
    pub fn visible(&self, visible: bool) {
        self.driver.tell(Input::Visibility { visible });
    }

    /// Somebody works in the page, or nobody does any more.
    pub fn active(&self, active: bool) {
        self.driver.tell(Input::Activity { active });
    }

    /// The page is about to be frozen, or kept for the way back.
    pub fn froze(&self) {
        self.driver.tell(Input::Froze);
    }

    /// The page runs again.
    pub fn woke(&self) {
        self.driver.tell(Input::Woke);
    }

    /// Takes what a server has seen of the records, for as long as nothing better is known: table, version and record of each, flat.
    pub fn hydrate(&self, records: &Array) {
        let mut rows = Vec::with_capacity(records.length() as usize / 3);
        for index in (0..records.length()).step_by(3) {
            let (table, version, record) = (records.get(index), records.get(index + 1), records.get(index + 2));
            let table = table.as_string().unwrap_or_default();
            // Another release of the application may have declared it.
            let Some(shape) = self.shapes.iter().find(|shape| shape.name() == table) else { continue };
            match shape.versioned(&version, &record) {
                Ok(row) => rows.push(row),
                Err(problem) => self.report(&problem),
            }
        }
        self.driver.tell(Input::RecordsFound { rows });
    }

    /// Returns what the server last said of the records that are there, in the form that `hydrate` takes; nothing once the engine has
    /// crashed.
    pub fn confirmed(&self) -> Option<Array> {
        self.driver.confirmed()
    }

    /// Something came from outside that can't be read.
    pub fn unreadable(&self, code: &str, place: &str, message: &str) {
        self.driver.tell(unreadable(code, place, message));
    }

    /// Takes what a pull brought, in the form of `PROTOCOL.md` §5.
    pub fn pulled(&self, id: u32, response: &JsValue) {
        let input = match decode::response(response) {
            Ok(read) if read.gone.iter().any(|gone| !self.takes(&gone.table, &gone.version)) => {
                pull_failed(id, "malformed pull response: a version in \"gone\" is none of its table's".to_owned())
            }
            Ok(read) if read.protocol == PROTOCOL => self.read_pull(id, read, response),
            Ok(read) => pull_failed(id, format!("the server answered in protocol {}", read.protocol)),
            Err(wrong) => pull_failed(id, ["malformed pull response: ", &wrong].concat()),
        };
        self.driver.tell(input);
    }

    fn read_pull(&self, id: u32, read: decode::Response, response: &JsValue) -> Input<JsRecord> {
        let tables = Reflect::get(response, &"records".into()).unwrap_or(JsValue::UNDEFINED);
        let (mut records, mut unread, mut is_sound) = (Vec::new(), Vec::new(), true);
        for shape in &self.shapes {
            let rows = Reflect::get(&tables, &shape.name().into()).unwrap_or(JsValue::UNDEFINED);
            if rows.is_undefined() {
                continue;
            }
            let Ok(rows) = rows.dyn_into::<Array>() else {
                return pull_failed(
                    id,
                    format!("malformed pull response: \"{}\" in \"records\" is not a list", shape.name()),
                );
            };
            records.reserve(decode::room_for(&rows));
            for row in rows.iter() {
                match shape.row(&row) {
                    Ok(row) => records.push(row),
                    Err(problem) => {
                        match shape.key_of(&row) {
                            Ok(key) => unread.push(Unread { table: shape.name().to_owned(), key }),
                            Err(_) => is_sound = false,
                        }
                        self.report(&problem);
                    }
                }
            }
        }
        // Where nobody can say which record a row is of, nothing is concluded from what is missing, and the next pull asks for everything
        // again.
        let (whole, cursor) = if is_sound { (read.whole, read.cursor) } else { (false, None) };
        let covers = if is_sound { read.covers } else { Vec::new() };
        let (gone, settled, at_ms, next) = (read.gone, read.settled, read.at_ms, read.next);
        Input::Pulled(Pulled { id, cursor, whole, records, gone, settled, covers, at_ms, next, unread })
    }

    /// Takes a batch of the stream's events: `[table, "changed", row]` or `[table, "deleted", row with the key]`, flat.
    pub fn changed(&self, events: &Array) {
        let mut read = Vec::with_capacity(decode::room_for(events) / 3);
        for index in (0..events.length()).step_by(3) {
            let (table, kind, row) = (events.get(index), events.get(index + 1), events.get(index + 2));
            match self.read_event(&table, &kind, &row) {
                Ok(event) => read.push(event),
                Err(problem) => {
                    self.report(&problem);
                    self.stale(&table.as_string().unwrap_or_default(), &row);
                }
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

    /// False for a version that a declared table can't have.
    fn takes(&self, table: &str, version: &Version) -> bool {
        self.shapes.iter().filter(|shape| shape.name() == table).all(|shape| shape.takes(version))
    }

    fn report(&self, problem: &Problem) {
        self.driver.tell(unreadable(&problem.code, &problem.place, &problem.message));
    }

    /// Something of a table's could not be read. Where the key of its row can be, that record is pulled, else what is new.
    pub fn stale(&self, table: &str, row: &JsValue) {
        let key = self.shapes.iter().find(|shape| shape.name() == table).and_then(|shape| shape.key_of(row).ok());
        self.driver.tell(match key {
            Some(key) => Input::ServerChanged { events: vec![ServerEvent::Deleted { table: table.to_owned(), key }] },
            None => Input::Missed,
        });
    }

    /// Takes a server's answer to an operation, in the form of `PROTOCOL.md` §3.
    pub fn answered(&self, id: &str, answer: &JsValue) {
        let Some(id) = OperationId::parse(id) else { return };
        self.driver.tell(match self.read_answer(id, answer) {
            Ok(answer) => Input::Answered { answer },
            Err(message) => Input::PushFailed { id, failure: Failure::Unknown, message, after_ms: None },
        });
    }

    /// Takes a server's answers to a call of several. Both lists are flat: id and answer; and, of those that have none, id, failure, message
    /// and how long the server asked to wait.
    #[wasm_bindgen(js_name = callAnswered)]
    pub fn call_answered(&self, call: u32, told: &Array, failed: &Array) {
        let id_at = |list: &Array, at| list.get(at).as_string().and_then(|id| OperationId::parse(&id));
        let (mut answers, mut unanswered) = (Vec::new(), Vec::new());
        for at in (0..told.length()).step_by(2) {
            let Some(id) = id_at(told, at) else { continue };
            match self.read_answer(id, &told.get(at + 1)) {
                Ok(answer) => answers.push(answer),
                Err(message) => unanswered.push(Unanswered { id, failure: Failure::Unknown, message, after_ms: None }),
            }
        }
        for at in (0..failed.length()).step_by(4) {
            let Some(id) = id_at(failed, at) else { continue };
            let [failure, message] = [at + 1, at + 2].map(|at| failed.get(at).as_string().unwrap_or_default());
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the host has cut it off
            let after_ms = failed.get(at + 3).as_f64().map(|ms| ms as u64);
            unanswered.push(Unanswered { id, failure: decode::failure(&failure), message, after_ms });
        }
        self.driver.tell(Input::CallAnswered { call, answers, unanswered });
    }

    fn read_answer(&self, id: OperationId, answer: &JsValue) -> Result<Answer<JsRecord>, String> {
        match decode::server_answer(answer) {
            Ok(answer) if answer.protocol != PROTOCOL => {
                Err(format!("the server answered in protocol {}", answer.protocol))
            }
            Ok(answer) if answer.version.as_ref().is_some_and(|version| !self.takes(&answer.table, version)) => {
                Err("malformed answer: its version is none of its table's".to_owned())
            }
            Ok(answer) if answer.id == id => Ok(answer),
            Ok(_) => Err("the server answered another operation".to_owned()),
            Err(wrong) => Err(["malformed answer: ", &wrong].concat()),
        }
    }

    /// Returns the engine's figures, or nothing once it has crashed.
    pub fn stats(&self) -> JsValue {
        let Some(stats) = self.driver.stats() else { return JsValue::UNDEFINED };
        let figures = Object::new();
        for (name, figure) in [("records", stats.records), ("operations", stats.operations)] {
            set(&figures, name, &JsValue::from(u32::try_from(figure).unwrap_or(u32::MAX)));
        }
        figures.into()
    }

    /// Returns this tab's id, or nothing once the engine has crashed.
    pub fn tab(&self) -> Option<String> {
        self.driver.tab()
    }
}

/// Returns how long to wait before an application's function that has failed is run again, in milliseconds; nothing where it is not to be. It has
/// failed `times` times, `counted` of them with failures that count as tries. `seed`: sixteen random bytes.
///
/// # Errors
/// `{code, message}`, when the policy can't work.
#[wasm_bindgen(js_name = retryDelay)]
pub fn retry_delay(
    policy: &JsValue,
    failure: &str,
    times: u32,
    counted: u32,
    after_ms: Option<u32>,
    seed: &[u8],
) -> Result<Option<u32>, JsValue> {
    let policy = decode::retry(policy)
        .and_then(|policy| policy.validate().map(|()| policy))
        .map_err(|wrong| refuse("invalid-configuration", &wrong))?;
    let seed: [u8; 16] =
        seed.try_into().map_err(|_| refuse("invalid-configuration", "the seed must have sixteen bytes"))?;
    let mut random = Pcg64Mcg::from_seed(seed);
    let asked_ms = u64::from(after_ms.unwrap_or(0));
    let wait_ms = policy.again_ms(decode::failure(failure), Failed { times, counted }, asked_ms, &mut random);
    Ok(wait_ms.map(|wait_ms| u32::try_from(wait_ms).unwrap_or(u32::MAX)))
}

/// True for a failure that counts as a try.
#[wasm_bindgen(js_name = failureCounts)]
pub fn failure_counts(failure: &str) -> bool {
    decode::failure(failure).counts()
}

/// Returns what a panic said, if there was one.
#[wasm_bindgen(js_name = crashed)]
pub fn crashed() -> Option<String> {
    panic::message()
}

/// Counts the JavaScript objects that all engines of this page hold.
#[wasm_bindgen(js_name = handles)]
pub fn held_handles() -> u32 {
    u32::try_from(handles()).unwrap_or(u32::MAX)
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
