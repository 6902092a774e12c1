//! Promises that were found broken.

use std::time::{Duration, Instant};

use rota_engine::{Failure, Input, JsonRecord, Now, OperationState, Unsent, Value};
use serde_json::json;

use crate::world::{Echo, World};

// ---- retry

#[test]
fn a_rate_limited_server_is_asked_less_and_less_often() {
    let mut world = World::with_tabs(1);
    for _ in 0..2_000 {
        world.faults.push_failures.push_back((Failure::RateLimit, None));
    }
    let _ = world.tab(0).assign("c-1", "maya");
    world.run_for(300_000);
    // With doubling up to a minute, some fifteen.
    assert!(world.tabs[0].pushed.len() <= 60, "{} calls in five minutes", world.tabs[0].pushed.len());
}

#[test]
fn a_rate_limit_slows_all_calls_and_not_only_the_one_that_was_told() {
    let mut world = World::new();
    world.server.seed(100);
    world.open_tab("maya");
    world.run_for(1_000);
    for _ in 0..2_000 {
        world.faults.push_failures.push_back((Failure::RateLimit, Some(30_000)));
    }
    for n in 1..=60 {
        let _ = world.tab(0).assign(&format!("c-{n}"), "maya");
    }
    world.run_for(5_000);
    assert!(world.tabs[0].pushed.len() <= 16, "{} calls while the server asks for half a minute's rest", world.tabs[0].pushed.len());
}

// ---- clocks

#[test]
fn a_tab_that_was_opened_before_the_clock_was_set_back_hears_of_a_logout() {
    let mut world = World::with_tabs(2);
    world.now.wall_ms -= 3_600_000;
    world.run_for(1_000);
    world.try_tell(0, Input::Logout { unsent: None }).unwrap();
    world.run_for(120_000);
    assert!(world.tabs[1].signed_out, "still shows {} records", world.tabs[1].mirror.len());
}

#[test]
fn the_last_word_is_the_one_that_is_seen_though_the_clock_was_set_back_before_it() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let first = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(100);
    world.now.wall_ms -= 600_000;
    let again = world.reload_tab(0);
    world.run_for(3_000);
    assert_eq!(world.tabs[again].field("c-1", "city"), "Kiel".into());
    let second = world.tab(again).patch("c-1", "city", "Jena");
    assert_eq!(world.tabs[again].field("c-1", "city"), "Jena".into(), "what the person has just done is not seen");
    world.heal_network();
    world.run_until_quiet();
    assert!(world.ended(first) && world.ended(second));
    assert_eq!(world.server.company("c-1").unwrap()["city"], "Jena".into());
}

// ---- logging out

#[test]
fn a_logout_does_not_drop_what_a_tab_stored_and_died_over() {
    let mut world = World::with_tabs(2);
    world.cut_network();
    world.run_for(1_000);
    world.faults.crash_before = Some("broadcast");
    let id = world.tab(1).patch("c-1", "city", "Kiel");
    assert!(!world.tabs[1].alive && world.stored(0).len() == 1);
    world.run_for(1_000);
    let left = world.try_tell(0, Input::Logout { unsent: None }).map_err(|error| error.code());
    assert_eq!(left, Err("unsent-operations"), "and {} is deleted with all else: {:?}", id, world.stored(0));
}

#[test]
fn a_logout_that_waits_does_not_drop_what_a_tab_stored_and_died_over() {
    let mut world = World::with_tabs(2);
    world.faults.crash_before = Some("broadcast");
    let id = world.tab(1).patch("c-1", "city", "Kiel");
    assert!(!world.tabs[1].alive && world.stored(0).len() == 1);
    world.run_for(1_000);
    world.try_tell(0, Input::Logout { unsent: Some(Unsent::Wait) }).unwrap();
    world.run_for(60_000);
    assert_eq!(world.server.effects.get(&id), Some(&1), "an accepted operation was lost");
}

// ---- undo

#[test]
fn a_transaction_that_replaces_a_record_can_be_undone() {
    let mut world = World::with_tabs(1);
    let id = world.tab(0).transact(json!([
        {"name": "delete", "table": "companies", "key": "c-1"},
        {"name": "insert", "table": "companies", "set": {"id": "c-1", "name": "another"}},
    ]));
    world.run_until_quiet();
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
    let undone = world.tab(0).undo(id).map_err(|error| error.to_string());
    assert!(matches!(undone, Ok(Some(_))), "{undone:?}");
}

#[test]
fn a_transaction_that_changes_and_deletes_a_record_can_be_undone() {
    let mut world = World::with_tabs(1);
    let id = world.tab(0).transact(json!([
        {"name": "patch", "table": "companies", "key": "c-1", "set": {"city": "Kiel"}},
        {"name": "delete", "table": "companies", "key": "c-1"},
    ]));
    world.run_until_quiet();
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
    let undone = world.tab(0).undo(id).map_err(|error| error.to_string());
    assert!(matches!(undone, Ok(Some(_))), "{undone:?}");
}

// ---- tabs

#[test]
fn without_locks_and_without_a_ledger_each_operation_is_sent_once() {
    let mut world = World::new();
    (world.idempotent, world.server.no_ledger, world.locks_exist, world.checks) = (false, true, false, false);
    world.open_tab("maya");
    world.open_tab("maya");
    world.run_for(1_000);
    let insert = json!({"name": "insert", "table": "orders", "set": {"title": "one"}});
    let id = world.tab(0).try_do(insert).unwrap();
    world.run_for(60_000);
    assert_eq!((world.sent(id), world.server.effects[&id]), (1, 1), "one order became {:?}", world.server.given);
}

#[test]
fn a_cancel_that_was_taken_is_not_forgotten_by_the_tab_that_took_it() {
    let mut world = World::with_tabs(2);
    let (leader, other) = (world.leader().unwrap(), 1 - world.leader().unwrap());
    world.cut_network();
    world.run_for(500);
    world.freeze(leader);
    let id = world.tab(other).patch("c-1", "city", "Kiel");
    world.run_for(100);
    let cancelled = world.tab(other).cancel(id);
    world.kill_tab(leader);
    world.heal_network();
    world.run_for(60_000);
    assert!(
        cancelled.is_err() || world.outcome(other, id) == [OperationState::Cancelled],
        "nobody has sent it before, the cancel was taken, and it ended as {:?}",
        world.outcome(other, id)
    );
}

#[test]
fn a_token_that_nobody_brings_is_asked_for_again() {
    let mut world = World::with_tabs(1);
    world.refresh_works = false;
    world.expire_token();
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(600_000);
    // Whoever was asked never answered; now one would.
    world.refresh_works = true;
    world.run_for(3_600_000);
    assert!(world.ended(id), "asked {} times in more than an hour", world.tabs[0].refreshes);
}

#[test]
fn without_locks_nothing_is_cancelled_that_another_tab_has_sent() {
    let mut world = World::new();
    (world.locks_exist, world.faults.echo) = (false, Echo::Never);
    world.open_tab("maya");
    world.open_tab("maya");
    world.run_for(1_000);
    world.faults.push_failures.push_back((Failure::RateLimit, Some(30_000)));
    let _ = world.tab(0).patch("c-1", "name", "one");
    world.run_for(12);
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(200);
    let cancelled = world.tab(0).cancel(id);
    world.run_for(60_000);
    assert_eq!(world.server.effects.get(&id), Some(&1));
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed], "the cancel was {cancelled:?}");
}

#[test]
fn every_conflict_is_audited() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let lost = world.tab(0).assign("c-1", "maya");
    let both = world.tab(0).transact(json!([
        {"name": "patch", "table": "companies", "key": "c-2", "set": {"city": "Kiel"}},
        {"name": "patch", "table": "companies", "key": "c-3", "set": {"city": "Kiel"}},
    ]));
    world.sql_update("c-1", "owner_id", "jonas");
    world.sql_update("c-2", "city", "Jena");
    world.heal_network();
    world.run_for(120_000);
    assert_eq!([lost, both].map(|id| world.outcome(0, id)), [[OperationState::Conflicted]; 2]);
    let audited: Vec<_> = world.tabs[0].decisions.iter().map(|entry| entry.operation).collect();
    assert_eq!(audited.len(), 2, "law 9: conflicts are always audited");
}

#[test]
fn a_rule_that_is_declared_decides_within_a_transaction_too() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let id = world.tab(0).transact(json!([
        {"name": "patch", "table": "companies", "key": "c-2", "set": {"tags": ["ours"]}},
        {"name": "patch", "table": "companies", "key": "c-3", "set": {"city": "Kiel"}},
    ]));
    world.sql_set("c-2", "tags", serde_json::from_value(json!(["theirs"])).unwrap());
    world.heal_network();
    world.run_for(120_000);
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed], "shows {:?}", world.tabs[0].field("c-3", "city"));
}

// ---- dead letters

#[test]
fn what_was_given_up_is_not_sent_again_by_a_reload_but_by_a_person() {
    let mut world = World::with_tabs(1);
    world.faults.push_failures.push_back((Failure::Invalid, None));
    let dead = world.tab(0).delete("c-1");
    world.run_for(1_000);
    assert_eq!(world.outcome(0, dead), [OperationState::Dead]);
    let later = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(1_000);
    assert_eq!(world.outcome(0, later), [OperationState::Confirmed]);
    world.reload_tab(0);
    world.run_for(60_000);
    assert!(world.server.company("c-1").is_some(), "what was given up came after what was made later");
}

// ---- input

#[test]
fn an_object_with_many_members_in_any_order_is_read_in_no_time() {
    let text = |count: usize| {
        let members: Vec<String> = (0..count).rev().map(|n| format!("\"k{n:07}\":1")).collect();
        ["{", &members.join(","), "}"].concat()
    };
    let time = |count: usize| {
        let (text, start) = (text(count), Instant::now());
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(!value.is_null());
        start.elapsed()
    };
    let (few, many) = (time(5_000), time(40_000));
    assert!(many < few * 20, "eight times as many took {few:?} and {many:?}");
}

// ---- costs

fn engine(config: serde_json::Value) -> rota_engine::Engine<JsonRecord> {
    rota_engine::Engine::new(
        serde_json::from_value(config).unwrap(),
        Box::new(rota_engine::Domains),
        [1; 16],
        Now { mono_ms: 1_000, wall_ms: 1_763_721_600_000 },
    )
    .unwrap()
}

fn do_all(engine: &mut rota_engine::Engine<JsonRecord>, commands: Vec<serde_json::Value>) -> Vec<rota_engine::OperationId> {
    let now = Now { mono_ms: 2_000, wall_ms: 1_763_721_601_000 };
    let mut ids = Vec::new();
    for command in commands {
        let input: Input<JsonRecord> = serde_json::from_value(command).unwrap();
        let id = engine.handle(input, now).unwrap();
        while let Some(output) = engine.poll() {
            if let rota_engine::Output::Persist { id, .. } = output {
                let _ = engine.handle(Input::OperationStored { id, stored: rota_engine::Stored::Now }, now);
            }
        }
        ids.extend(id);
    }
    ids
}

#[test]
fn confirming_one_of_many_inserts_without_keys_does_not_cost_more_the_more_there_are() {
    let cost = |count: usize| -> Duration {
        let mut engine = engine(json!({"app": "a", "user": "u", "tables": [
            {"name": "orders", "key": ["id"], "fields": ["id", "title", "more"], "temporaryKeys": true}]}));
        let insert = |n: usize| json!({"mutate": {"name": "insert", "table": "orders", "set": {"title": n.to_string(), "more": "x"}}});
        let ids = do_all(&mut engine, (0..count).map(insert).collect());
        let now = Now { mono_ms: 3_000, wall_ms: 1_763_721_602_000 };
        let start = Instant::now();
        for (n, id) in ids.iter().take(100).enumerate() {
            let key = (n + 1).to_string();
            let answer = serde_json::from_value(json!({"protocol": 1, "id": id, "table": "orders", "key": key, "replayed": false,
                "outcome": "confirmed", "version": key, "record": {"id": n + 1, "title": "t", "more": "x"}})).unwrap();
            engine.handle(Input::Answered { answer }, now).unwrap();
            while engine.poll().is_some() {}
        }
        start.elapsed() / 100
    };
    let (few, many) = (cost(1_000), cost(8_000));
    assert!(many < few * 3, "one confirmation took {few:?} with 1,000 pending, {many:?} with 8,000");
}

#[test]
fn transactions_that_share_a_record_do_not_cost_more_the_more_there_are() {
    let cost = |count: usize| -> Duration {
        let mut engine = engine(json!({"app": "a", "user": "u", "tables": [{"name": "t", "key": ["id"], "fields": ["id", "n"]}]}));
        let rows: Vec<_> = (0..=count).map(|n| json!({"table": "t", "key": n.to_string(), "version": "1", "op": null, "record": {"id": n.to_string(), "n": 0}})).collect();
        let now = Now { mono_ms: 2_000, wall_ms: 1_763_721_601_000 };
        let events: Vec<_> = rows.into_iter().map(|row| json!({"changed": {"row": row, "partial": false}})).collect();
        engine.handle(serde_json::from_value(json!({"serverChanged": {"events": events}})).unwrap(), now).unwrap();
        while engine.poll().is_some() {}
        let both = |n: usize| json!({"transact": {"commands": [
            {"name": "patch", "table": "t", "key": "0", "set": {"n": n}}, {"name": "patch", "table": "t", "key": (n + 1).to_string(), "set": {"n": n}}]}});
        let ids = do_all(&mut engine, (0..count).map(both).collect());
        let start = Instant::now();
        for (n, id) in ids.iter().take(10).enumerate() {
            let told = |key: String| json!({"table": "t", "key": key, "version": (n + 2).to_string(), "record": {"id": key, "n": n}});
            let (one, other) = (told("0".into()), told((n + 1).to_string()));
            let answer = serde_json::from_value(json!({"protocol": 1, "id": id, "table": "t", "key": "0", "replayed": false,
                "outcome": "confirmed", "version": one["version"], "record": one["record"], "records": [one, other]})).unwrap();
            engine.handle(Input::Answered { answer }, now).unwrap();
            while engine.poll().is_some() {}
        }
        start.elapsed() / 10
    };
    let (few, many) = (cost(200), cost(1_600));
    assert!(many < few * 3, "one confirmation took {few:?} with 200 pending, {many:?} with 1,600");
}

#[test]
fn an_input_that_changes_nothing_costs_the_same_with_many_operations_waiting() {
    let cost = |count: usize| -> Duration {
        let mut engine = engine(json!({"app": "a", "user": "u", "tables": [{"name": "t", "key": ["id"], "fields": ["id"]}]}));
        let now = |ms: u64| Now { mono_ms: ms, wall_ms: 1_763_721_601_000 + ms };
        engine.handle(Input::LockGranted, now(2_000)).unwrap();
        engine.handle(Input::EntriesFound { entries: vec![] }, now(2_000)).unwrap();
        while engine.poll().is_some() {}
        let mut pushed = Vec::new();
        for n in 0..count {
            let input: Input<JsonRecord> = serde_json::from_value(json!({"mutate": {"name": "insert", "table": "t", "set": {"id": n.to_string()}}})).unwrap();
            engine.handle(input, now(2_000)).unwrap();
            while let Some(output) = engine.poll() {
                match output {
                    rota_engine::Output::Persist { id, .. } => drop(engine.handle(Input::OperationStored { id, stored: rota_engine::Stored::Now }, now(2_000))),
                    rota_engine::Output::Push { operation } => pushed.push(operation.id),
                    _ => {}
                }
            }
        }
        // The server limits the rate of each.
        while let Some(id) = pushed.pop() {
            engine.handle(Input::PushFailed { id, failure: Failure::RateLimit, message: String::new(), after_ms: Some(500_000) }, now(2_000)).unwrap();
            while let Some(output) = engine.poll() {
                if let rota_engine::Output::Push { operation } = output {
                    pushed.push(operation.id);
                }
            }
        }
        let start = Instant::now();
        for n in 0..100 {
            engine.handle(Input::Ponged { attempt: 9 }, now(2_001 + n)).unwrap();
            while engine.poll().is_some() {}
        }
        start.elapsed() / 100
    };
    let (few, many) = (cost(300), cost(2_400));
    assert!(many < few * 3, "a word that changes nothing took {few:?} with 300 waiting, {many:?} with 2,400");
}

// ---- what a follower is told

#[test]
fn a_follower_can_ask_for_the_link_by_hand() {
    let mut world = World::new();
    world.link = json!({"maxAttempts": 1});
    world.open_tab("maya");
    world.open_tab("maya");
    world.run_for(1_000);
    let other = 1 - world.leader().unwrap();
    world.cut_network();
    world.run_for(60_000);
    world.heal_network();
    world.run_for(5_000);
    let state = |world: &World| format!("{:?}", world.tabs[other].status.as_ref().unwrap().link.state);
    assert_ne!(state(&world), "Live");
    let connects: u32 = world.tabs.iter().map(|tab| tab.connects).sum();
    world.tell(other, Input::Reconnect);
    world.run_for(5_000);
    assert!(world.tabs.iter().map(|tab| tab.connects).sum::<u32>() > connects, "nobody tried; still {}", state(&world));
}

#[test]
fn polling_follows_the_tab_in_which_somebody_works() {
    let mut world = World::with_tabs(2);
    let (leader, other) = (world.leader().unwrap(), 1 - world.leader().unwrap());
    world.faults.no_streams = true;
    world.break_link(leader, Failure::Network);
    world.tell(leader, Input::Visibility { visible: false });
    world.tell(leader, Input::Activity { active: false });
    world.tell(other, Input::Visibility { visible: true });
    world.tell(other, Input::Activity { active: true });
    world.run_for(180_000);
    world.server.sql_set("c-1", &[("city", "Kiel".into())]);
    world.server.news.clear();
    world.run_for(15_000);
    assert_eq!(world.tabs[other].field("c-1", "city"), "Kiel".into(), "somebody works here, and polls come every two minutes");
}

#[test]
fn a_token_that_a_follower_is_given_ends_the_pause() {
    let mut world = World::with_tabs(2);
    let (leader, other) = (world.leader().unwrap(), 1 - world.leader().unwrap());
    world.refresh_works = false;
    world.expire_token();
    world.break_link(leader, Failure::Auth);
    world.run_for(1_000);
    let id = world.tab(other).patch("c-1", "city", "Kiel");
    world.run_for(1_000);
    world.token_good = true;
    world.tell(other, Input::TokenRefreshed);
    world.run_for(600_000);
    assert!(world.ended(id));
}

#[test]
fn the_audit_outlives_a_reload() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.sql_update("c-1", "city", "Jena");
    world.heal_network();
    world.run_for(120_000);
    world.tab(0).resolve(id, rota_engine::Choice::Local).unwrap();
    world.run_until_quiet();
    assert_eq!(world.tabs[0].engine.audit().len(), 1);
    let again = world.reload_tab(0);
    world.run_for(5_000);
    assert_eq!(world.tabs[again].engine.audit().len(), 1);
}

#[test]
fn what_the_rules_merged_can_be_undone_by_the_id_that_its_author_knows() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let id = world.tab(0).set("c-1", json!({"tags": ["ours"]}));
    world.sql_set("c-1", "tags", serde_json::from_value(json!(["theirs"])).unwrap());
    world.heal_network();
    world.run_for(120_000);
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
    let undone = world.tab(0).undo(id);
    assert!(undone.is_ok(), "{undone:?}");
}

#[test]
fn one_row_that_can_not_be_read_does_not_keep_what_is_gone_on_the_screen_for_ever() {
    let mut world = World::with_tabs(1);
    world.checks = false;
    world.server.spoilt_version = Some(("c-1".into(), "not a version".into()));
    world.server.hidden.insert("c-2".into());
    for _ in 0..10 {
        world.break_link(0, Failure::Network);
        world.run_for(60_000);
    }
    world.tell(0, Input::RightsChanged);
    world.run_for(600_000);
    assert!(world.tabs[0].field("c-2", "id").is_null(), "another record, which the person may not see, is shown all the same");
}
