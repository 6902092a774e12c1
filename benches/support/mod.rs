//! An engine with many records, a live link and nobody around it: what each bench starts from.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "shared by the benches, each uses a part"
)]

use rota_engine::{
    Answer, Command, Config, Domains, Engine, Input, JsonRecord, Now, OperationId, Output, PullCall, Pulled, Row,
    ServerEvent, Stored, Version,
};
use serde_json::{Value as Json, json};

/// How many records the growth is measured over.
pub const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

pub struct Bench {
    pub engine: Engine<JsonRecord>,
    now: Now,
    pulls: Vec<PullCall>,
    pub pushed: Vec<OperationId>,
    version: u64,
    random: u64,
    pub records: u64,
}

pub fn record(n: u64, score: u64) -> JsonRecord {
    let owner = if n.is_multiple_of(3) { Json::Null } else { json!(format!("person-{}", n % 50)) };
    serde_json::from_value(
        json!({"id": n.to_string(), "name": format!("Company {n}"), "score": score, "owner_id": owner}),
    )
    .unwrap()
}

impl Bench {
    /// An engine that leads, and has pulled so many records.
    pub fn with_records(records: u64) -> Self {
        let config: Config = serde_json::from_value(json!({"app": "bench", "user": "maya", "tables": [
            {"name": "companies", "key": ["id"], "fields": ["id", "name", "score", "owner_id"], "owner": "owner_id",
             "indexed": ["score", "owner_id", "name"]},
            {"name": "orders", "key": ["id"], "fields": ["id", "title"], "temporaryKeys": true},
        ]}))
        .unwrap();
        let now = Now { mono_ms: 1_000, wall_ms: 1_763_721_600_000 };
        let engine = Engine::new(config, Box::new(Domains), [7; 16], now).unwrap();
        let mut bench = Self { engine, now, pulls: vec![], pushed: vec![], version: 0, random: 1, records };
        bench.drain();
        bench.tell(Input::LockGranted);
        bench.tell(Input::LinkJoined { attempt: 1 });
        bench.tell(Input::LinkLive { attempt: 1 });
        let rows: Vec<Row<JsonRecord>> = (0..records).map(|n| bench.row(n)).collect();
        let id = bench.pulls.pop().unwrap().id;
        let pulled: Pulled<JsonRecord> = Pulled {
            records: rows,
            ..serde_json::from_value(
                json!({"id": id, "cursor": "a:1", "whole": true, "records": [], "gone": [], "settled": []}),
            )
            .unwrap()
        };
        bench.tell(Input::Pulled(pulled));
        assert_eq!(bench.engine.stats().records, usize::try_from(records).unwrap());
        bench
    }

    pub fn draw(&mut self, below: u64) -> u64 {
        // Numerical Recipes' linear congruential generator: the same draws in every run.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    pub fn row(&mut self, n: u64) -> Row<JsonRecord> {
        self.version += 1;
        let score = self.draw(1_000_000_000);
        let version = Version::Integer(self.version);
        Row { table: "companies".into(), key: n.to_string(), version, op: None, record: Some(record(n, score)) }
    }

    pub fn tell(&mut self, input: Input<JsonRecord>) -> Option<OperationId> {
        let id = self.engine.handle(input, self.now).unwrap();
        self.drain();
        id
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Persist { id, .. } => {
                    let _ = self.engine.handle(Input::OperationStored { id, stored: Stored::Now }, self.now);
                }
                Output::Pull(call) => self.pulls.push(call),
                Output::Push { operation } => self.pushed.push(operation.id),
                _ => {}
            }
        }
    }

    /// The server tells of one changed record.
    pub fn change(&mut self, row: Row<JsonRecord>) {
        self.tell(Input::ServerChanged { events: vec![ServerEvent::Changed { row, partial: false }] });
    }

    pub fn command(n: u64, name: &str) -> Command {
        serde_json::from_value(
            json!({"name": "patch", "table": "companies", "key": n.to_string(), "set": {"name": name}}),
        )
        .unwrap()
    }

    /// The insert of an order, which the server gives its key.
    pub fn insert() -> Command {
        serde_json::from_value(json!({"name": "insert", "table": "orders", "set": {"title": "new"}})).unwrap()
    }

    /// The server's confirmation of the insert of an order, with the key that it has given.
    pub fn given(&mut self, id: OperationId) -> Answer<JsonRecord> {
        self.version += 1;
        let (n, key) = (self.version, self.version.to_string());
        serde_json::from_value(
            json!({"protocol": 1, "id": id, "table": "orders", "key": key, "replayed": false, "outcome": "confirmed",
            "version": key, "record": {"id": n, "title": "new"}}),
        )
        .unwrap()
    }

    /// The server's confirmation of an operation, with the record as it then is.
    pub fn confirmation(&mut self, id: OperationId, n: u64) -> Answer<JsonRecord> {
        let row = self.row(n);
        let answer = json!({"protocol": 1, "id": id, "table": "companies", "key": row.key, "replayed": false,
            "outcome": "confirmed", "version": row.version});
        Answer { record: Some(row.record), ..serde_json::from_value(answer).unwrap() }
    }
}
