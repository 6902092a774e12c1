//! Says what the engine predicts, one question a line: `cargo run --example predict < questions.jsonl`.
//!
//! A question is `{user, seed, nowMs, tables, facts, seen, now, command}`: what a person sees, what they do, and, if `now` is
//! there, what the server's rows have become by the time that the operation arrives. The answer is `{refused, message}`, or
//! the operation as it is sent, and its record as it is shown. `{figures: {chats, activity, nowMs, hours}}` asks instead what a client says of
//! these chats: `{waits, sinceMs, idle, stuck}`.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::error::Error;
use std::io::{self, BufRead, Write};

use rota_engine::{
    Activity, Command, Config, Domains, Engine, Fields, Input, JsonRecord, Now, Operation, Output, Record, Row,
    ServerEvent, Standing, Stored, TableConfig, Value, standing, waits,
};
use serde::Deserialize;
use serde_json::{Value as Json, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Question {
    user: String,
    seed: u64,
    now_ms: u64,
    tables: Vec<TableConfig>,
    #[serde(default)]
    facts: Fields,
    seen: Vec<Row<JsonRecord>>,
    #[serde(default)]
    now: Vec<Row<JsonRecord>>,
    command: Command,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Figures {
    chats: Vec<Fields>,
    activity: Vec<Fields>,
    now_ms: u64,
    hours: u64,
}

fn figures(asked: &Figures) -> Json {
    let records = |rows: &[Fields]| rows.iter().map(JsonRecord::create).collect::<Vec<_>>();
    let (chats, activity) = (records(&asked.chats), Activity::read(records(&asked.activity).iter()));
    let stands: Vec<Option<Standing>> = chats.iter().map(|chat| standing(chat, activity.of(chat))).collect();
    let ids = |is_meant: &dyn Fn(&Standing) -> bool| {
        let meant = asked.chats.iter().zip(&stands).filter(|(_, stands)| stands.as_ref().is_some_and(is_meant));
        meant.map(|(chat, _)| chat.get("id").cloned()).collect::<Vec<_>>()
    };
    json!({
        "waits": Value::from(waits(chats.iter(), asked.now_ms)),
        "sinceMs": stands.iter().map(|stands| stands.and_then(|stands| stands.since_ms)).collect::<Vec<_>>(),
        "idle": ids(&|stands| stands.is_idle(asked.now_ms)),
        "stuck": ids(&|stands| stands.is_stuck(asked.now_ms, asked.hours)),
    })
}

struct Tab {
    engine: Engine<JsonRecord>,
    now: Now,
    sent: Option<Operation>,
}

impl Tab {
    fn tell(&mut self, input: Input<JsonRecord>) -> Result<(), rota_engine::Error> {
        let result = self.engine.handle(input, self.now).map(|_| ());
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Persist { id, .. } => {
                    self.engine.handle(Input::OperationStored { id, stored: Stored::Now }, self.now)?;
                }
                Output::Push { operation } => self.sent = Some(operation),
                _ => {}
            }
        }
        result
    }

    fn hear(&mut self, rows: Vec<Row<JsonRecord>>) -> Result<(), rota_engine::Error> {
        let events = rows.into_iter().map(|row| ServerEvent::Changed { row, partial: false }).collect();
        self.tell(Input::ServerChanged { events })
    }
}

fn answer(question: Question) -> Result<Json, Box<dyn Error>> {
    let Question { user, seed, now_ms, tables, facts, seen, now: later, command } = question;
    let config =
        Config { user, tables, ..serde_json::from_value(json!({"app": "predict", "user": "", "tables": []}))? };
    let now = Now { mono_ms: 1, wall_ms: now_ms };
    let mut random = [0; 16];
    random[..8].copy_from_slice(&seed.to_le_bytes());
    let mut tab = Tab { engine: Engine::new(config, Box::new(Domains), random, now)?, now, sent: None };
    tab.tell(Input::NoLocks)?;
    for (name, fact) in facts {
        tab.tell(Input::FactTold { name, fact })?;
    }
    tab.hear(seen)?;
    if let Err(error) = tab.tell(Input::Mutate(command)) {
        return Ok(json!({"refused": error.code(), "message": error.to_string()}));
    }
    let operation = tab.sent.take().ok_or("the operation was not sent")?;
    tab.hear(later)?;
    let record = tab.engine.visible(&operation.table, &operation.key);
    Ok(json!({"operation": operation, "record": record.map(serde_json::to_value).transpose()?}))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let mut asked: Json = serde_json::from_str(&line?)?;
        let answer = match asked.get_mut("figures") {
            Some(asked) => figures(&serde_json::from_value(asked.take())?),
            None => answer(serde_json::from_value(asked)?)?,
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
