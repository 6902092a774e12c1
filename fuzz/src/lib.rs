//! What the fuzzers do with their bytes. The project's own tests run the committed corpus through the same functions, without
//! a fuzzer (`tests/corpus.rs`).
//!
//! Bytes are read as lines of JSON, so that one case can hold a conversation. What no reader takes is told to the engine as
//! unreadable, as a shell would. Whatever comes, the engine must go on: it takes a change afterwards, and comes to rest.

#![allow(clippy::expect_used, clippy::panic, reason = "a broken promise must stop the fuzzer")]

use rota_engine::{
    Answer, Command, Config, Content, Domains, Engine, Error, Failure, FoundEntry, Input, JsonRecord, Now, Output,
    Pulled, STORED_FORM, ServerEvent, Stored, StoredOperation, TabMessage,
};
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

/// A target: what it is called, and what it does with bytes.
pub const TARGETS: [(&str, fn(&[u8])); 4] = [
    ("stored_entries", stored_entries),
    ("tab_messages", tab_messages),
    ("server_payloads", server_payloads),
    ("configuration", configuration),
];

/// More outputs of one input than this, and the engine talks to itself.
const OUTPUTS_MAX: usize = 100_000;

struct Run {
    engine: Engine<JsonRecord>,
    now: Now,
    pulls: Vec<u32>,
    attempt: u32,
}

impl Run {
    fn new() -> Self {
        let config = json!({"app": "crm", "user": "maya", "tables": [
            {"name": "companies", "key": ["id"], "fields": ["id", "name", "city", "owner_id"], "owner": "owner_id"},
            {"name": "visits", "key": ["region", "number"], "fields": ["region", "number", "note"]},
        ]});
        let config: Config = serde_json::from_value(config).expect("the configuration is good");
        Self::with(config).expect("the configuration is accepted")
    }

    fn with(config: Config) -> Result<Self, Error> {
        let now = Now { mono_ms: 1_000, wall_ms: 1_763_721_600_000 };
        let engine = Engine::new(config, Box::new(Domains), [7; 16], now)?;
        let mut run = Self { engine, now, pulls: Vec::new(), attempt: 0 };
        run.drain();
        Ok(run)
    }

    /// Makes this tab the leader, with a live link and a record to change.
    fn lead(&mut self) {
        self.tell(Input::LockGranted);
        let attempt = self.attempt;
        self.tell(Input::LinkJoined { attempt });
        self.tell(Input::LinkLive { attempt });
        let row = json!({"id": "1", "name": "Harbour", "city": "Bremen", "owner_id": null});
        let event = json!({"changed": {"row": {"table": "companies", "key": "1", "version": "5", "op": null, "record": row},
            "partial": false}});
        self.tell(Input::ServerChanged { events: vec![serde_json::from_value(event).expect("an event")] });
        self.mutate(json!({"name": "patch", "table": "companies", "key": "1", "set": {"city": "Kiel"}}))
            .expect("the record is there");
    }

    fn mutate(&mut self, command: Json) -> Result<(), Error> {
        let command: Command = serde_json::from_value(command).expect("a command");
        self.try_tell(Input::Mutate(command))
    }

    fn tell(&mut self, input: Input<JsonRecord>) {
        let _ = self.try_tell(input);
    }

    fn try_tell(&mut self, input: Input<JsonRecord>) -> Result<(), Error> {
        self.now = Now { mono_ms: self.now.mono_ms + 1, wall_ms: self.now.wall_ms + 1 };
        let result = self.engine.handle(input, self.now).map(|_| ());
        self.drain();
        result
    }

    fn drain(&mut self) {
        for _ in 0..OUTPUTS_MAX {
            match self.engine.poll() {
                None => return,
                Some(Output::Persist { id, .. }) => {
                    let stored = Input::OperationStored { id, stored: Stored::Now };
                    let _ = self.engine.handle(stored, self.now);
                }
                Some(Output::Pull(call)) => self.pulls.push(call.id),
                Some(Output::Connect { attempt }) => self.attempt = attempt,
                Some(output) => {
                    // Everything that leaves must be writable: a trace is made of it.
                    serde_json::to_string(&output).expect("outputs are data");
                }
            }
        }
        panic!("one input asked for more than {OUTPUTS_MAX} outputs");
    }

    /// Whatever came before: the engine still takes a change, shows it, and its timers come to rest.
    fn still_works(&mut self) {
        let row = json!({"id": "fuzz", "name": "After", "city": "Kiel", "owner_id": null});
        match self.mutate(json!({"name": "insert", "table": "companies", "set": row})) {
            Ok(()) => assert!(self.engine.visible("companies", "fuzz").is_some(), "an accepted change is not seen"),
            Err(error) => assert!(!error.to_string().is_empty(), "an error that says nothing"),
        }
        for _ in 0..50 {
            let Some(due) = self.engine.deadline() else { return };
            let passed = due.saturating_sub(self.now.mono_ms).min(120_000);
            self.now = Now { mono_ms: self.now.mono_ms + passed, wall_ms: self.now.wall_ms.saturating_add(passed) };
            self.tell(Input::TimerFired);
            let again = self.engine.deadline();
            assert!(again.is_none_or(|again| again > self.now.mono_ms), "a timer never rests");
        }
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').take(200)
}

/// Reads a line, or says why not.
fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| error.to_string())
}

fn unreadable(code: &str, message: String) -> Input<JsonRecord> {
    Input::Unreadable { code: code.to_owned(), place: "fuzz".to_owned(), message }
}

/// Each line is an entry `[key, content]`; a key of `""` stands for the key that fits the content.
pub fn stored_entries(bytes: &[u8]) {
    let mut run = Run::new();
    run.lead();
    let entries = lines(bytes).map(|line| {
        let (key, content) = match read::<(String, Json)>(line) {
            Ok((key, json)) => (key, content(json)),
            Err(error) => (String::from_utf8_lossy(line).into_owned(), Content::Corrupt(error)),
        };
        let key = match &content {
            Content::Operation(entry) if key.is_empty() => {
                run.engine.session().operation_key(entry.op.hlc, entry.op.id)
            }
            _ => key,
        };
        FoundEntry { key, content }
    });
    let entries: Vec<FoundEntry> = entries.collect();
    run.tell(Input::EntriesFound { entries: entries.clone(), look: Some(u32::MAX) });
    // What is found twice is taken once.
    let operations = run.engine.stats().operations;
    run.tell(Input::EntriesFound { entries, look: Some(u32::MAX) });
    assert_eq!(run.engine.stats().operations, operations, "an entry was taken twice");
    run.still_works();
}

fn content(json: Json) -> Content {
    let Some(v) = json.get("v").and_then(Json::as_f64) else { return Content::Corrupt("it has no form".to_owned()) };
    match serde_json::from_value::<StoredOperation>(json) {
        Ok(entry) => Content::Operation(entry),
        Err(_) if v > f64::from(STORED_FORM) || v < 1.0 => Content::Other(v),
        Err(error) => Content::Corrupt(error.to_string()),
    }
}

/// Each line is a tab message; it is heard by a leader and by a follower.
pub fn tab_messages(bytes: &[u8]) {
    for leads in [true, false] {
        let mut run = Run::new();
        if leads {
            run.lead();
        }
        for line in lines(bytes) {
            let input = match read::<TabMessage<JsonRecord>>(line) {
                Ok(message) => Input::TabMessageReceived(Box::new(message)),
                Err(error) => unreadable("malformed-message", error),
            };
            run.tell(input);
        }
        run.still_works();
    }
}

/// Each line is an event, an answer, what a pull brought, or a failure.
pub fn server_payloads(bytes: &[u8]) {
    let mut run = Run::new();
    run.lead();
    for line in lines(bytes) {
        let input = if let Ok(event) = read::<ServerEvent<JsonRecord>>(line) {
            Input::ServerChanged { events: vec![event] }
        } else if let Ok(answer) = read::<Answer<JsonRecord>>(line) {
            Input::Answered { answer }
        } else if let Ok(mut pulled) = read::<Pulled<JsonRecord>>(line) {
            // An answer to a pull that nobody made is dropped; nearly all should be to one that was.
            if let Some(id) = run.pulls.pop() {
                pulled.id = id;
            }
            Input::Pulled(pulled)
        } else if let Ok(failure) = read::<Failure>(line) {
            let (id, message) = (run.pulls.pop().unwrap_or_default(), "fuzz".to_owned());
            Input::PullFailed { id, failure, message }
        } else {
            unreadable("malformed-event", "no reader takes it".to_owned())
        };
        run.tell(input);
    }
    run.still_works();
}

/// The first line is a configuration; the others are inputs of any kind for the engine that it makes.
pub fn configuration(bytes: &[u8]) {
    let mut lines = lines(bytes);
    let Ok(config) = read::<Config>(lines.next().unwrap_or_default()) else { return };
    let mut run = match Run::with(config) {
        Ok(run) => run,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "an error that says nothing");
            return;
        }
    };
    for line in lines {
        if let Ok(input) = read::<Input<JsonRecord>>(line) {
            run.tell(input);
        }
    }
    run.still_works();
}
