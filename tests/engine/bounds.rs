//! Laws 10, 11 and 14: bounds with names, no input that stops the engine, and the same outputs from the same inputs.

use rota_engine::{
    Choice, Domains, Engine, Failure, Input, JsonRecord, Now, OUTBOX_LEN_MAX, Row, ServerEvent, TOMBSTONES_MAX,
    TabMessage, Version,
};
use serde_json::{Value as Json, json};

use crate::world::World;

fn refusal(world: &mut World, command: Json) -> &'static str {
    let before = world.tabs[0].engine.stats();
    let code = world.tab(0).try_do(command).unwrap_err().code();
    assert_eq!(world.tabs[0].engine.stats(), before);
    assert!(world.stored(0).is_empty());
    code
}

#[test]
fn a_command_that_makes_no_sense_is_refused_by_name_and_changes_nothing() {
    let mut world = World::with_tabs(1);
    for (code, command) in [
        ("unknown-table", json!({"name": "patch", "table": "jobs", "key": "c-1", "set": {"city": "x"}})),
        ("unknown-record", json!({"name": "patch", "table": "companies", "key": "c-0", "set": {"city": "x"}})),
        ("unknown-field", json!({"name": "patch", "table": "companies", "key": "c-1", "set": {"town": "x"}})),
        ("unknown-field", json!({"name": "insert", "table": "companies", "set": {"id": "c-9", "town": "x"}})),
        ("missing-key", json!({"name": "patch", "table": "companies", "set": {"city": "x"}})),
        ("missing-key", json!({"name": "insert", "table": "companies", "set": {"city": "x"}})),
        ("record-exists", json!({"name": "insert", "table": "companies", "set": {"id": "c-1"}})),
        ("invalid-operation", json!({"name": "insert", "table": "companies", "key": "c-8", "set": {"id": "c-9"}})),
        ("invalid-operation", json!({"name": "patch", "table": "companies", "key": "c-1", "set": {"id": "c-9"}})),
        ("invalid-operation", json!({"name": "patch", "table": "companies", "key": "c-1"})),
        ("invalid-operation", json!({"name": "assign", "table": "companies", "key": "c-1", "args": {"to": 7}})),
        ("invalid-operation", json!({"name": "promote", "table": "companies", "key": "c-1"})),
    ] {
        assert_eq!(refusal(&mut world, command.clone()), code, "{command}");
    }
}

/// An earlier tab left as many operations as fit beside the one that is stored.
fn fill_storage(world: &mut World) {
    let key = world.stored(0)[0].clone();
    let (prefix, id) = (&key[..key.len() - 36], &key[key.len() - 36..]);
    let text = world.storage[0][&key].clone();
    for n in 1..OUTBOX_LEN_MAX {
        let other = format!("00000000-0000-7000-8000-{n:012x}");
        let entry = text.replace(id, &other).replace("c-1", &format!("x-{n}"));
        world.storage[0].insert(format!("{prefix}{other}"), entry);
    }
}

#[test]
fn a_decision_at_the_bound_is_refused_by_name_and_leaving_it_to_the_server_is_not() {
    let mut world = World::with_tabs(1);
    world.checks = false;
    world.cut_network();
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.server.sql_set("c-1", &[("city", "Ulm".into())]);
    world.heal_network();
    world.run_until_quiet();
    world.cut_network();
    fill_storage(&mut world);
    world.tell(0, Input::Woke);
    world.run_for(10);
    assert_eq!(world.tabs[0].engine.stats().operations, OUTBOX_LEN_MAX);
    assert_eq!(world.tab(0).resolve(id, Choice::Local).unwrap_err().code(), "outbox-full");
    assert!(world.tabs[0].conflicts.contains_key(&id), "it waits");
    assert_eq!(world.stored(0).len(), OUTBOX_LEN_MAX);
    assert_eq!(world.tab(0).resolve(id, Choice::Server).unwrap(), None);
    assert!(world.tabs[0].conflicts.is_empty());
}

#[test]
fn the_outbox_has_a_bound_with_a_name_and_what_is_in_it_is_safe() {
    let mut world = World::new();
    world.open_tab("maya");
    world.run_for(500);
    world.cut_network();
    world.checks = false;
    world.tab(0).patch("c-1", "city", "Kiel");
    fill_storage(&mut world);
    world.reload_tab(0);
    world.run_for(10);
    let command = json!({"name": "delete", "table": "companies", "key": "c-1"});
    assert_eq!(world.tab(1).try_do(command).unwrap_err().code(), "outbox-full");
    assert_eq!((world.tabs[1].engine.stats().operations, world.stored(0).len()), (OUTBOX_LEN_MAX, OUTBOX_LEN_MAX));
}

#[test]
fn an_entry_that_waits_for_itself_is_sent() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let id = world.tab(0).assign("c-1", "maya");
    let key = world.stored(0)[0].clone();
    let text = world.storage[0][&key].replace("\"after\":[]", &format!("\"after\":[\"{id}\"]"));
    assert!(text.contains(&format!("[\"{id}\"]")), "{text}");
    world.storage[0].insert(key, text);
    world.reload_tab(0);
    world.heal_network();
    world.run_until_quiet();
    assert_eq!(world.server.effects[&id], 1);
}

fn ended(key: &str) -> Input<rota_engine::JsonRecord> {
    let version = Version::parse("900").unwrap();
    let row = Row { table: "companies".to_owned(), key: key.to_owned(), version, op: None, record: None };
    Input::ServerChanged { events: vec![ServerEvent::Changed { row, partial: false }] }
}

#[test]
fn only_so_many_tombstones_are_kept_and_the_oldest_are_forgotten_first() {
    let mut world = World::with_tabs(1);
    world.checks = false;
    world.tell(0, ended("c-1"));
    for n in 1..TOMBSTONES_MAX {
        world.tell(0, ended(&format!("x-{n}")));
    }
    let version = |world: &World, key: &str| world.tabs[0].engine.version("companies", key);
    assert!(version(&world, "c-1").is_some());
    // One that comes again is not a new one.
    world.tell(0, ended("x-1"));
    assert!(version(&world, "c-1").is_some());
    world.tell(0, ended("y"));
    assert_eq!(version(&world, "c-1"), None);
    assert!(version(&world, "x-1").is_some() && version(&world, "y").is_some());
    world.tell(0, ended("z"));
    assert_eq!(version(&world, "x-1"), None);
}

#[test]
fn a_tombstone_that_is_forgotten_takes_no_operation_with_it() {
    let mut world = World::with_tabs(1);
    world.checks = false;
    world.tell(0, ended("c-1"));
    world.cut_network();
    let id = world.tab(0).insert("c-1");
    for n in 0..TOMBSTONES_MAX {
        world.tell(0, ended(&format!("x-{n}")));
    }
    assert_eq!(world.tabs[0].engine.version("companies", "c-1"), None);
    assert_eq!(world.tabs[0].mirror[&("companies".to_owned(), "c-1".to_owned())]["id"], "c-1".into());
    assert!(world.tabs[0].operations.contains_key(&id));
}

#[test]
fn a_malformed_message_is_reported_and_harms_nothing() {
    let mut world = World::with_tabs(2);
    let before = world.tabs[1].mirror.clone();
    for json in [
        json!({"v": 3, "from": "x", "epoch": 1, "seq": 1, "kind": "beat"}),
        json!({"v": 1, "from": "x", "epoch": 1, "seq": 2, "kind": "beat"}),
        json!({"v": 1, "from": "x", "epoch": 1, "seq": 3, "kind": "changes", "records": []}),
        json!({"v": 1, "from": "x", "epoch": 1, "seq": 4, "kind": "settled"}),
    ] {
        let message: Box<TabMessage<_>> = serde_json::from_value(json).unwrap();
        world.tell(1, Input::TabMessageReceived(message));
    }
    let codes: Vec<&str> = world.tabs[1].problems.iter().map(|problem| problem.code.as_str()).collect();
    assert_eq!(codes, ["newer-message", "malformed-message", "malformed-message", "malformed-message"]);
    assert_eq!(world.tabs[1].mirror, before);
}

#[test]
fn numbers_at_their_ends_stop_nothing() {
    let mut world = World::with_tabs(2);
    for _ in 0..2 {
        let json = json!({"v": 1, "from": "x", "epoch": u64::MAX, "seq": u64::MAX, "kind": "bye"});
        world.tell(1, Input::TabMessageReceived(serde_json::from_value(json).unwrap()));
    }
    world.kill_tab(0);
    world.run_for(1_000);
    world.faults.push_failures.push_back((Failure::RateLimit, Some(u64::MAX)));
    world.tab(1).assign("c-1", "maya");
    world.run_for(10_000);
    world.tab(1).assign("c-2", "maya");
    world.run_for(1_000);
    assert_eq!(world.owner(1, "c-2"), "maya".into());
}

#[test]
fn answers_events_and_failures_of_things_nobody_knows_harm_nothing() {
    let mut world = World::with_tabs(1);
    let id = "019aa5e3-f1c0-7a3b-9c1d-2e4f60718293";
    for input in [
        json!({"answered": {"answer": {"protocol": 1, "id": id, "table": "jobs", "key": "1", "replayed": false,
            "outcome": "confirmed", "version": "9", "record": {}}}}),
        json!({"answered": {"answer": {"protocol": 1, "id": id, "table": "companies", "key": "1", "replayed": false,
            "outcome": "retry", "afterMs": 5}}}),
        json!({"pushFailed": {"id": id, "failure": "server", "message": "", "afterMs": null}}),
        json!({"pullFailed": {"id": 99, "failure": "server", "message": ""}}),
        json!({"pulled": {"id": 99, "cursor": null, "whole": true, "records": [], "gone": [], "settled": []}}),
        json!({"operationStored": {"id": id, "stored": "now"}}),
        json!({"serverChanged": {"events": [{"changed": {"partial": true,
            "row": {"table": "jobs", "key": "1", "version": "3", "op": null, "record": {}}}}]}}),
        json!({"linkLive": {"attempt": 12}}),
        json!("tokenRefreshed"),
        json!("lockGranted"),
    ] {
        world.tell(0, serde_json::from_value(input).unwrap());
    }
    world.run_for(1_000);
    world.assert_all_agree();
}

fn busy_world() -> World {
    let mut world = World::seeded(42);
    world.tracing = true;
    world.open_tab("maya");
    world.open_tab("maya");
    world.run_for(500);
    (world.faults.jitter_ms, world.faults.doubled_percent, world.faults.lost_replies_percent) = (30, 20, 20);
    for n in 0..40 {
        let tab = n % 2;
        world.tab(tab).assign(&format!("c-{}", 1 + n % 6), ["maya", "jonas"][n % 2]);
        world.sql_update(&format!("c-{}", 1 + n % 5), "city", &format!("city {n}"));
        world.run_for(70);
        if n == 20 {
            world.cut_network();
        }
        if n == 25 {
            world.heal_network();
        }
    }
    world.run_until_quiet();
    world
}

#[test]
fn the_same_seed_gives_the_same_outputs_byte_for_byte() {
    let (one, two) = (busy_world(), busy_world());
    for tab in 0..2 {
        assert!(one.tabs[tab].trace.len() > 100);
        assert_eq!(one.tabs[tab].trace, two.tabs[tab].trace);
    }
}

#[test]
fn a_trace_read_back_from_json_gives_the_same_outputs() {
    let world = busy_world();
    for tab in 0..2 {
        assert_eq!(world.replay(tab), world.tabs[tab].trace);
    }
}

#[test]
fn a_clock_beyond_all_measure_neither_panics_nor_hangs() {
    let mut world = World::with_tabs(1);
    let end = Now { mono_ms: u64::MAX - 1, wall_ms: u64::MAX };
    world.tabs[0].engine.handle(Input::TimerFired, end).unwrap();
    world.tabs[0].engine.handle(Input::TimerFired, Now { mono_ms: u64::MAX, ..end }).unwrap();
}

#[test]
fn every_mistake_in_a_table_is_refused() {
    let taken = |table: serde_json::Value| {
        let config = serde_json::from_value(json!({"app": "a", "user": "u", "tables": [table]})).unwrap();
        let now = Now { mono_ms: 1_000, wall_ms: 1_763_721_600_000 };
        Engine::<JsonRecord>::new(config, Box::new(Domains), [1; 16], now).is_ok()
    };
    let mut wrong = Vec::new();
    for (what, table) in [
        ("a key that names a field twice", json!({"name": "t", "key": ["id", "id"], "fields": ["id"]})),
        ("a field twice", json!({"name": "t", "key": ["id"], "fields": ["id", "n", "n"]})),
        ("a field without a name", json!({"name": "t", "key": ["id"], "fields": ["id", ""]})),
        (
            "one column for version and operation",
            json!({"name": "t", "key": ["id"], "fields": ["id"], "version": "x", "operation": "x"}),
        ),
        ("no name for the version", json!({"name": "t", "key": ["id"], "fields": ["id"], "version": ""})),
        ("a field indexed twice", json!({"name": "t", "key": ["id"], "fields": ["id", "n"], "indexed": ["n", "n"]})),
    ] {
        if taken(table) {
            wrong.push(what);
        }
    }
    assert!(wrong.is_empty(), "taken without a word: {wrong:?}");
}

#[test]
fn facts_of_one_kind_have_a_bound_that_others_do_not_count_for() {
    let mut world = World::with_tabs(1);
    let rules = json!({"until": 7_258_118_400_000_u64, "transitions": [[-604_800_000, 0]]});
    let mut tell = |name: String, fact: &Json| {
        let fact = serde_json::from_value(fact.clone()).unwrap();
        world.try_tell(0, Input::FactTold { name, fact }).map(|_| ()).map_err(|error| error.code())
    };
    for n in 0..1_024 {
        assert_eq!(tell(format!("zone:Area/City{n}"), &rules), Ok(()));
    }
    assert_eq!(tell("zone:Area/City1024".into(), &rules), Err("invalid-operation"));
    assert_eq!(tell("zone:Area/City7".into(), &rules), Ok(()), "one that is known may be told anew");
    assert_eq!(tell("invalidations".into(), &json!([])), Ok(()), "and so may whatever is something else");
    let long: Vec<Json> = (0..2_000).map(|n| json!([n * 1_000, n % 60])).collect();
    let long = json!({"until": 7_258_118_400_000_u64, "transitions": long});
    assert_eq!(tell("zone:Area/City7".into(), &long), Err("invalid-operation"));
}
