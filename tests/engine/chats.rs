//! Operations of chats through the engine: what is predicted, in which order it is sent, and how a wrong prediction is put right in one
//! step, whatever comes first.

use rota_engine::{
    Answer, Config, Domains, Engine, Error, Input, JsonRecord, Now, Operation, OperationId, OperationState, Output,
    Row, ServerEvent, Settlement, Stored,
};
use serde_json::{Value as Json, json};

/// One tab that sends for itself, and everything that it showed and asked for.
struct Desk {
    engine: Engine<JsonRecord>,
    now: Now,
    pushed: Vec<Operation>,
    settled: Vec<Settlement>,
    /// After each change list: who has which chat.
    seen: Vec<Json>,
    stale: Vec<Json>,
    pulls: Vec<u32>,
}

const FIELDS: [&str; 9] = [
    "id",
    "chat_state",
    "assigned_operator_id",
    "last_operator_id",
    "operator_replied_at",
    "is_active",
    "created_at",
    "last_message_at",
    "assigned_at",
];

impl Desk {
    fn new() -> Self {
        Self::declared(1, json!({"kind": "chat"}))
    }

    fn declared(batch: usize, domain: Json) -> Self {
        let chats = json!({"name": "chats", "key": ["id"], "fields": FIELDS, "domain": domain});
        let others = json!({"name": "operator_activity", "key": ["id"], "fields": ["id", "chat_id"]});
        let config: Config =
            serde_json::from_value(json!({"app": "desk", "user": "maya", "batch": batch, "tables": [chats, others]}))
                .unwrap();
        let now = Now { mono_ms: 1, wall_ms: 1_763_715_600_000 };
        let engine = Engine::new(config, Box::new(Domains), [7; 16], now).unwrap();
        let mut desk =
            Self { engine, now, pushed: vec![], settled: vec![], seen: vec![], stale: vec![], pulls: vec![] };
        desk.drain();
        desk.tell(Input::NoLocks);
        for (key, minute) in [("a", 1), ("b", 2), ("c", 3)] {
            let row = chat(key, 1, None, "waiting_assignment", None);
            let created = json!({"created_at": format!("2025-11-21T08:0{minute}:00Z")});
            desk.hear(patched(row, created));
        }
        desk.seen.clear();
        desk
    }

    fn try_tell(&mut self, input: Input<JsonRecord>) -> Result<Option<OperationId>, Error> {
        let result = self.engine.handle(input, self.now);
        self.drain();
        result
    }

    fn tell(&mut self, input: Input<JsonRecord>) {
        self.try_tell(input).unwrap();
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Persist { id, .. } => {
                    self.engine.handle(Input::OperationStored { id, stored: Stored::Now }, self.now).unwrap();
                }
                Output::Push { operation } => self.pushed.push(operation),
                Output::PushAll { .. } => panic!("operations of chats go alone"),
                Output::Settled(settlement) => self.settled.push(settlement),
                Output::Pull(call) => self.pulls.push(call.id),
                Output::Notify(changes) => {
                    self.stale.extend(changes.stale.map(|stale| serde_json::to_value(stale).unwrap()));
                    let holder = |key: &str| self.field(key, "assigned_operator_id");
                    self.seen.push(json!([holder("a"), holder("b"), holder("c")]));
                }
                _ => {}
            }
        }
    }

    fn hear(&mut self, row: Json) {
        let row: Row<JsonRecord> = serde_json::from_value(row).unwrap();
        self.tell(Input::ServerChanged { events: vec![ServerEvent::Changed { row, partial: false }] });
    }

    fn try_do(&mut self, name: &str, key: Option<&str>, args: Json) -> Result<OperationId, Error> {
        let command = json!({"name": name, "table": "chats", "key": key, "args": args});
        let id = self.try_tell(Input::Mutate(serde_json::from_value(command).unwrap()))?;
        Ok(id.unwrap())
    }

    fn act(&mut self, name: &str, key: Option<&str>, args: Json) -> OperationId {
        self.try_do(name, key, args).unwrap()
    }

    fn request(&mut self) -> Result<OperationId, Error> {
        self.try_do("request_next", None, json!({"operator": "maya"}))
    }

    fn field(&self, key: &str, field: &str) -> Json {
        let record = self.engine.visible("chats", key).map(|record| serde_json::to_value(record).unwrap());
        record.map_or(Json::Null, |record| record[field].clone())
    }

    fn answer(&mut self, answer: Json) {
        let answer: Answer<JsonRecord> = serde_json::from_value(answer).unwrap();
        self.tell(Input::Answered { answer });
    }
}

/// A row of the server's.
fn chat(key: &str, version: u64, writer: Option<OperationId>, state: &str, operator: Option<&str>) -> Json {
    let record = json!({
        "id": key, "chat_state": state, "assigned_operator_id": operator, "last_operator_id": operator, "operator_replied_at": null,
        "is_active": true, "created_at": "2025-11-21T08:00:00Z", "last_message_at": null, "assigned_at": null,
    });
    json!({"table": "chats", "key": key, "version": version.to_string(), "op": writer, "record": record})
}

fn patched(mut row: Json, set: Json) -> Json {
    for (field, value) in set.as_object().unwrap() {
        row["record"][field] = value.clone();
    }
    row
}

fn told(row: &Json) -> Json {
    json!({"table": row["table"], "key": row["key"], "version": row["version"], "record": row["record"]})
}

/// The answer to a request that was predicted to bring one chat, and brought another.
fn other(id: OperationId, predicted: &Json, chosen: &Json) -> Json {
    json!({
        "protocol": 1, "id": id, "table": "chats", "key": predicted["key"], "replayed": false, "outcome": "confirmed",
        "code": "assigned-other", "message": "it was taken; you have another one", "version": predicted["version"],
        "record": predicted["record"], "records": [told(predicted), told(chosen)], "chosen": chosen["key"],
    })
}

#[test]
fn a_request_shows_the_longest_waiting_chat_at_once_and_names_it_to_the_server() {
    let mut desk = Desk::new();
    desk.request().unwrap();
    assert_eq!(desk.seen, [json!(["maya", null, null])]);
    let op = &desk.pushed[0];
    assert_eq!((op.name.as_str(), op.key.as_str()), ("request_next", "a"));
    let seen = serde_json::to_value(&op.base).unwrap();
    assert_eq!(seen["chat_state"], "waiting_assignment");
    assert_eq!(seen["assigned_operator_id"], Json::Null);
    assert_eq!(desk.field("a", "assigned_at"), "2025-11-21T09:00:00.000Z");
}

#[test]
fn another_chat_than_the_predicted_one_takes_its_place_in_one_step_and_the_asker_hears_which() {
    let mut desk = Desk::new();
    let id = desk.request().unwrap();
    let (predicted, chosen) =
        (chat("a", 5, None, "assigned", Some("jonas")), chat("b", 6, Some(id), "assigned", Some("maya")));
    desk.answer(other(id, &predicted, &chosen));
    assert_eq!(desk.seen, [json!(["maya", null, null]), json!(["jonas", "maya", null])]);
    let settled = desk.settled.pop().unwrap();
    assert_eq!((settled.id, settled.outcome), (id, OperationState::Confirmed));
    assert_eq!((settled.code.as_deref(), settled.chosen.as_deref()), (Some("assigned-other"), Some("b")));
    // The echo says nothing new.
    desk.hear(chosen);
    assert_eq!(desk.seen.len(), 2);
}

#[test]
fn the_row_of_another_chat_than_the_predicted_one_proves_as_much_as_the_answer() {
    let mut desk = Desk::new();
    let id = desk.request().unwrap();
    let (predicted, chosen) =
        (chat("a", 2, None, "waiting_assignment", None), chat("b", 6, Some(id), "assigned", Some("maya")));
    desk.hear(chosen.clone());
    assert_eq!(desk.seen, [json!(["maya", null, null]), json!([null, "maya", null])]);
    assert_eq!(desk.settled.len(), 1);
    let settled = desk.settled[0].clone();
    assert_eq!((settled.code.as_deref(), settled.chosen.as_deref()), (Some("assigned-other"), Some("b")));
    desk.answer(other(id, &predicted, &chosen));
    assert_eq!((desk.settled.len(), desk.engine.stats().operations), (1, 0));
    assert_eq!(desk.field("b", "assigned_operator_id"), "maya");
}

#[test]
fn a_row_that_an_operation_wrote_into_another_table_proves_nothing() {
    let mut desk = Desk::new();
    let id = desk.request().unwrap();
    desk.hear(json!({"table": "operator_activity", "key": "1", "version": "7", "op": id, "record": {"id": "1", "chat_id": "b"}}));
    assert_eq!((desk.settled.len(), desk.engine.stats().operations), (0, 1));
    assert_eq!(desk.field("a", "assigned_operator_id"), "maya");
}

#[test]
fn a_predicted_chat_that_somebody_else_gets_meanwhile_is_not_shown_as_ours() {
    let mut desk = Desk::new();
    let id = desk.request().unwrap();
    desk.hear(chat("a", 5, None, "assigned", Some("jonas")));
    assert_eq!(desk.seen.last(), Some(&json!(["jonas", null, null])));
    let (predicted, chosen) =
        (chat("a", 5, None, "assigned", Some("jonas")), chat("b", 6, Some(id), "assigned", Some("maya")));
    desk.answer(other(id, &predicted, &chosen));
    assert_eq!(desk.seen.last(), Some(&json!(["jonas", "maya", null])));
}

#[test]
fn operations_of_chats_go_alone_even_where_a_call_may_hold_several() {
    let mut desk = Desk::declared(100, json!({"kind": "chat", "capacity": 5}));
    for key in ["a", "b", "c"] {
        desk.act("claim", Some(key), json!({"operator": "maya"}));
    }
    assert!(desk.pushed.is_empty(), "the task is not over");
    desk.tell(Input::Gathered);
    assert_eq!(desk.pushed.iter().map(|op| op.key.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn a_second_request_is_refused_at_the_capacity_and_one_after_a_reply_is_sent_only_after_it() {
    let mut desk = Desk::new();
    let first = desk.request().unwrap();
    assert_eq!(desk.request().unwrap_err().code(), "capacity-exceeded");
    desk.answer(json!({
        "protocol": 1, "id": first, "table": "chats", "key": "a", "replayed": false, "outcome": "confirmed", "version": "5",
        "record": chat("a", 5, Some(first), "assigned", Some("maya"))["record"], "chosen": "a",
    }));
    assert_eq!(desk.settled.pop().unwrap().chosen.as_deref(), Some("a"));
    let reply = desk.act("reply", Some("a"), json!({}));
    let second = desk.request().unwrap();
    assert_eq!(desk.seen.last(), Some(&json!([null, "maya", null])));
    let sent: Vec<OperationId> = desk.pushed.iter().map(|op| op.id).collect();
    assert_eq!(sent, [first, reply], "the request waits for the reply");
    desk.hear(chat("a", 6, Some(reply), "waiting_real_user_reply", None));
    let op = desk.pushed.last().unwrap();
    assert_eq!((op.id, op.key.as_str(), &op.after), (second, "b", &vec![reply]));
}

#[test]
fn what_the_server_refuses_is_taken_back_with_what_waited_for_it() {
    let mut desk = Desk::new();
    desk.hear(chat("a", 5, None, "assigned", Some("maya")));
    let reply = desk.act("reply", Some("a"), json!({}));
    desk.request().unwrap();
    desk.answer(json!({
        "protocol": 1, "id": reply, "table": "chats", "key": "a", "replayed": false, "outcome": "refused", "code": "forbidden",
        "message": "not yours", "version": "5", "record": chat("a", 5, None, "assigned", Some("maya"))["record"],
    }));
    assert_eq!(desk.seen.last(), Some(&json!(["maya", null, null])));
    let codes: Vec<_> = desk.settled.iter().map(|settled| settled.code.as_deref().unwrap()).collect();
    assert_eq!(codes, ["dependency-refused", "forbidden"]);
}

#[test]
fn a_request_names_no_chat_and_is_no_part_of_a_transaction() {
    let mut desk = Desk::new();
    let named = desk.try_do("request_next", Some("a"), json!({"operator": "maya"}));
    assert_eq!(named.unwrap_err().code(), "invalid-operation");
    let part = json!({"name": "request_next", "table": "chats", "args": {"operator": "maya"}});
    let other = json!({"name": "user_message", "table": "chats", "key": "b"});
    let commands = [part, other].map(|command| serde_json::from_value(command).unwrap()).to_vec();
    assert_eq!(desk.try_tell(Input::Transact { commands }).unwrap_err().code(), "invalid-operation");
    assert_eq!(desk.engine.stats().operations, 0);
}

#[test]
fn a_transaction_is_judged_by_what_its_earlier_parts_leave() {
    let mut desk = Desk::new();
    desk.hear(chat("a", 5, None, "assigned", Some("maya")));
    let claim = |key: &str| json!({"name": "claim", "table": "chats", "key": key, "args": {"operator": "maya"}});
    let reply = json!({"name": "reply", "table": "chats", "key": "a"});
    let mut transact = |commands: Vec<Json>| {
        let commands = commands.into_iter().map(|command| serde_json::from_value(command).unwrap()).collect();
        desk.try_tell(Input::Transact { commands })
    };
    assert_eq!(transact(vec![claim("b"), reply.clone()]).unwrap_err().code(), "capacity-exceeded");
    assert_eq!(transact(vec![reply.clone(), claim("b"), claim("c")]).unwrap_err().code(), "capacity-exceeded");
    assert!(transact(vec![reply, claim("b")]).is_ok());
    assert_eq!(desk.seen.last(), Some(&json!([null, "maya", null])));
}

#[test]
fn an_illegal_transition_is_refused_before_anything_is_stored() {
    let mut desk = Desk::new();
    let error = desk.try_do("reply", Some("a"), json!({})).unwrap_err();
    assert_eq!(error.code(), "illegal-transition");
    assert!(error.to_string().contains("waiting_assignment"), "{error}");
    assert_eq!((desk.engine.stats().operations, desk.seen.len()), (0, 0));
}

#[test]
fn whether_something_may_be_done_is_asked_without_doing_it() {
    let mut desk = Desk::new();
    let can = |desk: &Desk, name: &str, key: Option<&str>, args: Json| {
        let command = json!({"name": name, "table": "chats", "key": key, "args": args});
        desk.engine.can(serde_json::from_value(command).unwrap()).map_err(|error| error.code())
    };
    let asks = || json!({"operator": "maya"});
    assert_eq!(can(&desk, "request_next", None, asks()), Ok(()));
    assert_eq!(can(&desk, "claim", Some("b"), asks()), Ok(()));
    assert_eq!(can(&desk, "reply", Some("b"), json!({})), Err("illegal-transition"));
    assert_eq!((desk.engine.stats().operations, desk.seen.len()), (0, 0));
    desk.request().unwrap();
    assert_eq!(can(&desk, "claim", Some("b"), asks()), Err("capacity-exceeded"));
    assert_eq!(can(&desk, "reply", Some("a"), json!({})), Ok(()));
}

#[test]
fn the_lists_of_the_rules_are_nobodys_to_open_or_close_and_nobody_hears_of_them() {
    let mut desk = Desk::new();
    let spec = serde_json::from_value(json!({"table": "chats"})).unwrap();
    let taken = desk.try_tell(Input::OpenView { id: u32::MAX, spec }).unwrap_err();
    assert_eq!(taken.code(), "invalid-view");
    for id in [u32::MAX, u32::MAX - 0xffff] {
        assert_eq!(desk.try_tell(Input::CloseView { id }).unwrap_err().code(), "unknown-view");
    }
    desk.request().unwrap();
}

#[test]
fn what_is_predicted_has_the_time_of_the_servers_clock_and_not_of_this_devices() {
    let mut desk = Desk::new();
    let id = desk.pulls[0];
    desk.now = Now { mono_ms: desk.now.mono_ms + 200, wall_ms: desk.now.wall_ms + 200 };
    let pulled = json!({"id": id, "cursor": "1:1", "whole": false, "records": [], "gone": [], "settled": [], "atMs": 1_763_719_200_100_u64});
    desk.tell(Input::Pulled(serde_json::from_value(pulled).unwrap()));
    desk.act("claim", Some("a"), json!({"operator": "maya"}));
    assert_eq!(desk.field("a", "assigned_at"), "2025-11-21T10:00:00.200Z");
}

#[test]
fn what_the_server_changes_makes_the_declared_queries_stale_once_and_what_is_only_predicted_does_not() {
    let mut desk = Desk::new();
    let rules =
        json!([{"tables": ["chats"], "changed": ["assigned_operator_id"], "keys": [["chat", "$key"], ["queue"]]}]);
    let told =
        |fact: Json| Input::FactTold { name: "invalidations".into(), fact: serde_json::from_value(fact).unwrap() };
    assert_eq!(desk.try_tell(told(json!("all"))).unwrap_err().code(), "invalid-configuration");
    desk.tell(told(rules));
    // Before the first pull nothing is a change: nobody can have fetched what came before it.
    desk.hear(chat("a", 2, None, "assigned", Some("jonas")));
    assert!(desk.stale.is_empty());
    let rows: Vec<Row<JsonRecord>> = ["a", "b", "c"]
        .map(|key| serde_json::from_value(chat(key, 3, None, "waiting_assignment", None)).unwrap())
        .to_vec();
    let id = desk.pulls[0];
    desk.tell(Input::Pulled(rota_engine::Pulled {
        id,
        cursor: Some("1:1".into()),
        whole: true,
        records: rows,
        gone: vec![],
        settled: vec![],
        covers: vec![],
        next: None,
        at_ms: None,
        unread: vec![],
    }));
    assert!(desk.stale.is_empty());
    let op = desk.request().unwrap();
    assert!(desk.stale.is_empty(), "it is only predicted");
    let (predicted, chosen) =
        (chat("a", 5, None, "assigned", Some("jonas")), chat("b", 6, Some(op), "assigned", Some("maya")));
    desk.answer(other(op, &predicted, &chosen));
    let stale = json!({"everything": false, "keys": [["chat", "a"], ["queue"], ["chat", "b"]]});
    assert_eq!(desk.stale, [stale]);
    desk.hear(chosen);
    desk.hear(chat("c", 9, None, "waiting_assignment", None));
    assert_eq!(desk.stale.len(), 1, "nothing that counts has changed");
}

#[test]
fn a_new_role_of_ones_own_has_everything_looked_at_anew_and_any_other_edit_has_not() {
    let profiles =
        json!({"name": "profiles", "key": ["id"], "fields": ["id", "role", "name"], "domain": {"kind": "profile"}});
    let config: Config = serde_json::from_value(json!({"app": "desk", "user": "maya", "tables": [profiles]})).unwrap();
    let now = Now { mono_ms: 1, wall_ms: 1_763_715_600_000 };
    let mut engine: Engine<JsonRecord> = Engine::new(config, Box::new(Domains), [7; 16], now).unwrap();
    let mut pulls = Vec::new();
    let mut tell = |input: Input<JsonRecord>| {
        engine.handle(input, now).unwrap();
        let mut anew = false;
        while let Some(output) = engine.poll() {
            match output {
                Output::Pull(call) => pulls.push(call),
                Output::Disconnect => anew = true,
                _ => {}
            }
        }
        (anew, pulls.last().cloned())
    };
    let row = |key: &str, version: u64, role: &str, name: &str| -> Row<JsonRecord> {
        let record = json!({"id": key, "role": role, "name": name});
        serde_json::from_value(
            json!({"table": "profiles", "key": key, "version": version.to_string(), "op": null, "record": record}),
        )
        .unwrap()
    };
    let hear = |row| Input::ServerChanged { events: vec![ServerEvent::Changed { row, partial: false }] };
    let (_, call) = tell(Input::NoLocks);
    let pulled = rota_engine::Pulled {
        id: call.unwrap().id,
        cursor: Some("1:1".into()),
        whole: true,
        records: vec![row("maya", 1, "agent", "Maya"), row("jonas", 1, "agent", "Jonas")],
        gone: vec![],
        settled: vec![],
        covers: vec![],
        next: None,
        at_ms: None,
        unread: vec![],
    };
    assert!(!tell(Input::Pulled(pulled)).0);
    assert!(!tell(hear(row("maya", 2, "agent", "May"))).0);
    assert!(!tell(hear(row("jonas", 2, "admin", "Jonas"))).0);
    let (anew, call) = tell(hear(row("maya", 3, "admin", "May")));
    assert!(anew);
    assert_eq!(call.unwrap().request.cursor, None, "everything is pulled");
    assert!(!tell(hear(row("maya", 3, "admin", "May"))).0, "told again, it is no change");
}
