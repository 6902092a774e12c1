//! What a person did after an operation that ends without effect is put onto what was beneath it: nobody loses against themselves.

use rota_engine::{Choice, Failure, Input, OperationId, OperationState, Value};
use serde_json::json;

use crate::world::World;

/// A leader that is off-line, and followers.
fn offline(tabs: usize) -> World {
    let mut world = World::with_tabs(tabs);
    world.cut_network();
    world.tab(0).patch("c-6", "city", "Kiel");
    world.run_for(50);
    world
}

fn online(world: &mut World) {
    world.heal_network();
    for tab in world.living() {
        world.tell(tab, Input::Reconnect);
    }
    world.run_until_quiet();
    world.assert_all_agree();
}

fn is_confirmed(world: &World, tab: usize, id: OperationId) {
    assert_eq!(world.outcome(tab, id), [OperationState::Confirmed]);
    for tab in world.living() {
        assert!(world.tabs[tab].conflicts.is_empty(), "nobody else did anything");
    }
}

/// Each of its values but the last was seen, and none came back.
fn never_shows(world: &World, tab: usize, field: &str, from: usize, value: impl Into<Value>) {
    let (seen, value) = (world.tabs[tab].seen("c-1", field), value.into());
    assert!(!seen[from..].contains(&value), "tab {tab} showed {seen:?}");
}

#[test]
fn a_patch_after_a_cancelled_one_is_done_and_stays_on_the_screen_of_every_tab() {
    let mut world = offline(3);
    // A follower's are not joined.
    let first = world.tab(1).patch("c-1", "city", "Kiel");
    let second = world.tab(1).patch("c-1", "city", "Ulm");
    world.run_for(50);
    let seen = [0, 1, 2].map(|tab| world.tabs[tab].seen("c-1", "city").len());
    world.tab(1).cancel(first).unwrap();
    world.run_for(50);
    assert_eq!(world.outcome(1, first), [OperationState::Cancelled]);
    for (tab, seen) in seen.into_iter().enumerate() {
        assert_eq!(world.tabs[tab].field("c-1", "city"), "Ulm".into());
        assert_eq!(world.tabs[tab].seen("c-1", "city").len(), seen);
    }
    online(&mut world);
    is_confirmed(&world, 1, second);
    assert_eq!(world.server.company("c-1").unwrap()["city"], "Ulm".into());
    assert_eq!(world.ops[&second].base["city"], "Bremen".into());
}

#[test]
fn an_assignment_after_a_cancelled_one_is_done_and_never_flickers() {
    for tab in [0, 1] {
        let mut world = offline(3);
        let first = world.tab(tab).assign("c-1", "maya");
        let second = world.tab(tab).assign("c-1", "jonas");
        world.run_for(50);
        let seen = [0, 1, 2].map(|tab| world.tabs[tab].seen("c-1", "owner_id").len());
        world.tab(tab).cancel(first).unwrap();
        world.run_for(50);
        for (other, seen) in seen.into_iter().enumerate() {
            assert_eq!(world.owner(other, "c-1"), "jonas".into());
            assert_eq!(world.tabs[other].seen("c-1", "owner_id").len(), seen);
        }
        online(&mut world);
        is_confirmed(&world, tab, second);
        assert_eq!(world.owner(0, "c-1"), "jonas".into());
    }
}

/// Lets the server refuse the first, and nothing after it.
fn refuse(world: &mut World, tab: usize, id: OperationId) {
    while world.outcome(tab, id).is_empty() {
        world.run_for(1);
    }
    world.server.refused.clear();
    assert_eq!(world.outcome(tab, id), [OperationState::Refused]);
}

#[test]
fn what_comes_after_a_refused_operation_is_done() {
    for tab in [0, 1] {
        let mut world = World::with_tabs(2);
        world.server.refused.insert("c-1".into());
        let first = world.tab(tab).patch("c-1", "city", "bad");
        let assigned = world.tab(tab).assign("c-1", "maya");
        let second = world.tab(tab).patch("c-1", "city", "good");
        refuse(&mut world, tab, first);
        let from = world.tabs[tab].seen("c-1", "city").len() - 1;
        world.run_until_quiet();
        for id in [assigned, second] {
            is_confirmed(&world, tab, id);
        }
        never_shows(&world, tab, "city", from, "Bremen");
        world.assert_all_agree();
        assert_eq!(world.server.company("c-1").unwrap()["city"], "good".into());
    }
}

#[test]
fn an_assignment_after_a_refused_one_is_done() {
    for tab in [0, 1] {
        let mut world = World::with_tabs(2);
        world.server.refused.insert("c-1".into());
        let first = world.tab(tab).assign("c-1", "maya");
        let second = world.tab(tab).assign("c-1", "jonas");
        world.run_for(2);
        refuse(&mut world, tab, first);
        world.run_until_quiet();
        is_confirmed(&world, tab, second);
        for other in 0..2 {
            let seen = world.tabs[other].seen("c-1", "owner_id");
            assert_eq!(seen.last(), Some(&"jonas".into()));
            let first_seen = seen.iter().position(|value| *value == "jonas".into()).unwrap();
            assert!(seen[first_seen..].iter().all(|value| *value == "jonas".into()), "tab {other} showed {seen:?}");
        }
        world.assert_all_agree();
    }
}

#[test]
fn it_goes_from_one_to_the_next_field_by_field() {
    let mut world = offline(2);
    let first = world.tab(1).set("c-1", json!({"city": "Kiel", "name": "Dock"}));
    let second = world.tab(1).set("c-1", json!({"city": "Ulm"}));
    let third = world.tab(1).set("c-1", json!({"city": "Hof", "name": "Quay"}));
    world.run_for(50);
    world.tab(1).cancel(second).unwrap();
    world.run_for(50);
    assert_eq!(serde_json::to_value(&world.ops[&third].base).unwrap(), json!({"city": "Kiel", "name": "Dock"}));
    world.tab(1).cancel(first).unwrap();
    world.run_for(50);
    assert_eq!(serde_json::to_value(&world.ops[&third].base).unwrap(), json!({"city": "Bremen", "name": "Harbour"}));
    online(&mut world);
    is_confirmed(&world, 1, third);
}

#[test]
fn parts_of_transactions_are_put_onto_what_was_beneath_as_well() {
    let mut world = offline(2);
    let first = world.tab(1).transact(json!([
        {"name": "patch", "table": "companies", "key": "c-1", "set": {"city": "Kiel"}},
        {"name": "assign", "table": "companies", "key": "c-2", "args": {"to": "maya"}},
    ]));
    let second = world.tab(1).transact(json!([
        {"name": "patch", "table": "companies", "key": "c-1", "set": {"city": "Ulm"}},
        {"name": "assign", "table": "companies", "key": "c-2", "args": {"to": "jonas"}},
    ]));
    world.run_for(50);
    world.tab(1).cancel(first).unwrap();
    world.run_for(50);
    online(&mut world);
    is_confirmed(&world, 1, second);
    assert_eq!((world.owner(0, "c-2"), world.tabs[0].field("c-1", "city")), ("jonas".into(), "Ulm".into()));
}

#[test]
fn what_somebody_else_changed_stays_a_conflict() {
    let mut world = offline(2);
    let first = world.tab(1).patch("c-1", "city", "Kiel");
    let second = world.tab(1).patch("c-1", "city", "Ulm");
    world.run_for(50);
    world.server.sql_set("c-1", &[("city", "Jena".into())]);
    world.tab(1).cancel(first).unwrap();
    world.run_for(50);
    world.heal_network();
    world.run_for(120_000);
    assert_eq!(world.outcome(1, second), [OperationState::Conflicted]);
    assert_eq!(world.server.company("c-1").unwrap()["city"], "Jena".into());
}

#[test]
fn a_conflict_in_one_field_does_not_take_a_later_change_of_another_with_it() {
    let mut world = offline(2);
    let first = world.tab(1).set("c-1", json!({"city": "Kiel", "name": "Dock"}));
    let second = world.tab(1).patch("c-1", "name", "Quay");
    world.run_for(50);
    world.server.sql_set("c-1", &[("city", "Jena".into())]);
    world.heal_network();
    world.run_for(120_000);
    assert_eq!(world.outcome(1, first), [OperationState::Conflicted]);
    assert_eq!(world.outcome(1, second), [OperationState::Confirmed]);
    assert_eq!(world.server.company("c-1").unwrap()["name"], "Quay".into());
    world.tab(1).resolve(first, Choice::Server).unwrap();
    world.run_until_quiet();
    world.assert_all_agree();
}

#[test]
fn what_follows_an_operation_whose_call_was_turned_down_is_done_and_the_retried_one_comes_before_it() {
    for tab in [0, 1] {
        let mut world = World::with_tabs(2);
        world.faults.push_failures.push_back((Failure::Forbidden, None));
        let dead = world.tab(tab).assign("c-1", "maya");
        let later = world.tab(tab).assign("c-1", "jonas");
        world.run_until_quiet();
        assert_eq!(world.outcome(tab, dead), [OperationState::Dead]);
        is_confirmed(&world, tab, later);
        assert_eq!(world.owner(1 - tab, "c-1"), "jonas".into());
    }
}

#[test]
fn what_waits_comes_after_an_operation_that_is_tried_again() {
    let mut world = World::with_tabs(2);
    world.faults.push_failures.push_back((Failure::Forbidden, None));
    let dead = world.tab(1).assign("c-1", "maya");
    world.run_for(20);
    assert_eq!(world.outcome(1, dead), [OperationState::Dead]);
    world.cut_network();
    world.tab(0).patch("c-6", "city", "Kiel");
    world.run_for(50);
    let later = world.tab(1).assign("c-1", "jonas");
    world.run_for(50);
    let seen = world.tabs[1].seen("c-1", "owner_id").len();
    world.tab(1).retry(dead).unwrap();
    world.run_for(50);
    assert_eq!(world.tabs[1].field("c-1", "owner_id"), "jonas".into());
    assert!(world.tabs[1].seen("c-1", "owner_id").len() <= seen + 2);
    online(&mut world);
    assert_eq!(world.outcome(1, dead).last(), Some(&OperationState::Confirmed));
    is_confirmed(&world, 1, later);
    assert_eq!(world.owner(0, "c-1"), "jonas".into());
}

#[test]
fn the_new_base_outlives_the_tabs_and_the_leader() {
    for how in 0..3 {
        let mut world = offline(3);
        let first = world.tab(1).assign("c-1", "maya");
        let second = world.tab(1).assign("c-1", "jonas");
        world.run_for(50);
        world.tab(1).cancel(first).unwrap();
        match how {
            // All are gone.
            0 => {
                world.run_for(50);
                world.kill_tab(2);
                world.kill_tab(1);
                world.reload_tab(0);
            }
            // The leader dies before anybody has heard of it.
            1 => {
                world.run_for(1);
                world.kill_tab(0);
            }
            _ => {
                world.run_for(50);
                world.steal_lock(2);
            }
        }
        world.run_for(1_500);
        online(&mut world);
        let is_cancelled = how != 1 || world.outcome(1, first) == [OperationState::Cancelled];
        assert_eq!(world.server.effects.get(&second), Some(&1), "how {how}, cancelled: {is_cancelled}");
        assert_eq!(world.owner(world.living()[0], "c-1"), "jonas".into());
        assert!(world.stored(0).is_empty());
    }
}

#[test]
fn a_tab_that_did_not_hear_of_the_new_base_learns_it_from_storage_when_it_leads() {
    let mut world = offline(2);
    let first = world.tab(0).assign("c-1", "maya");
    let second = world.tab(0).assign("c-1", "jonas");
    world.run_for(50);
    world.faults.lost_messages_percent = 100;
    world.tab(0).cancel(first).unwrap();
    world.steal_lock(1);
    world.faults.lost_messages_percent = 0;
    online(&mut world);
    assert_eq!(world.outcome(0, first), [OperationState::Cancelled]);
    is_confirmed(&world, 0, second);
}

#[test]
fn what_may_have_been_sent_keeps_its_base() {
    let mut world = offline(2);
    let first = world.tab(1).assign("c-1", "maya");
    let second = world.tab(1).assign("c-1", "jonas");
    let before = world.ops[&second].clone();
    world.run_for(50);
    world.kill_tab(0);
    world.run_for(1_500);
    assert_eq!(world.leader(), Some(1));
    world.server.refused.insert("c-1".into());
    world.heal_network();
    world.tell(1, Input::Reconnect);
    refuse(&mut world, 1, first);
    world.run_until_quiet();
    assert_eq!(world.ops[&second], before);
}

#[test]
fn where_the_new_base_can_not_be_stored_the_operation_is_sent_as_it_was() {
    let mut world = offline(2);
    let first = world.tab(1).assign("c-1", "maya");
    let second = world.tab(1).assign("c-1", "jonas");
    world.run_for(50);
    world.faults.storage_full = true;
    world.tab(1).cancel(first).unwrap();
    world.run_for(50);
    world.faults.storage_full = false;
    assert!(world.tabs[0].has_problem("storage"));
    online(&mut world);
    assert_eq!(world.outcome(1, second), [OperationState::Conflicted]);
    assert_eq!(world.server.effects.get(&second), None);
}

#[test]
fn an_operation_that_its_author_made_before_hearing_of_the_end_is_put_onto_what_was_beneath() {
    let mut world = World::with_tabs(2);
    world.server.refused.insert("c-1".into());
    let first = world.tab(1).assign("c-1", "maya");
    while !world.ended(first) {
        world.run_for(1);
        if world.leader().is_some_and(|leader| !world.tabs[leader].operations.contains_key(&first)) {
            break;
        }
    }
    world.server.refused.clear();
    let second = world.tab(1).assign("c-1", "jonas");
    world.run_until_quiet();
    is_confirmed(&world, 1, second);
    world.assert_all_agree();
}

#[test]
fn what_was_made_on_a_later_change_to_the_same_value_keeps_its_base() {
    let mut world = offline(2);
    let first = world.tab(0).assign("c-1", "maya");
    world.run_for(20);
    world.tab(0).cancel(first).unwrap();
    world.run_for(20);
    let again = world.tab(1).assign("c-1", "maya");
    let then = world.tab(1).assign("c-1", "jonas");
    world.run_for(20);
    assert_eq!(world.ops[&then].base["owner_id"], "maya".into());
    online(&mut world);
    for id in [again, then] {
        is_confirmed(&world, 1, id);
    }
}

#[test]
fn a_transaction_that_is_put_onto_what_was_beneath_when_it_is_heard_of_is_shown_once() {
    let mut world = offline(2);
    let first = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(20);
    world.tab(0).cancel(first).unwrap();
    // Before this tab has heard of it.
    let late = world.tab(1).transact(json!([
        {"name": "insert", "table": "companies", "set": {"id": "c-9", "name": "New", "city": null, "owner_id": null}},
        {"name": "patch", "table": "companies", "key": "c-1", "set": {"city": "Ulm"}},
    ]));
    world.run_for(20);
    assert_eq!(world.ops[&late].parts[1].base["city"], "Bremen".into());
    for tab in 0..2 {
        assert!(!world.tabs[tab].operations[&late].doubtful, "tab {tab}");
        assert_eq!(world.tabs[tab].field("c-9", "name"), "New".into());
    }
    online(&mut world);
    is_confirmed(&world, 1, late);
}

#[test]
fn tabs_without_locks_put_their_own_onto_what_was_beneath() {
    let mut world = World::new();
    world.locks_exist = false;
    world.open_tab("maya");
    world.open_tab("maya");
    world.run_for(1_000);
    world.server.refused.insert("c-1".into());
    let first = world.tab(0).assign("c-1", "maya");
    let second = world.tab(0).assign("c-1", "jonas");
    refuse(&mut world, 0, first);
    world.run_until_quiet();
    is_confirmed(&world, 0, second);
    world.assert_all_agree();
}

#[test]
fn where_a_killed_browser_has_lost_the_new_base_the_ledger_says_what_became_of_the_operation() {
    let mut world = offline(1);
    let first = world.tab(0).assign("c-1", "maya");
    let second = world.tab(0).assign("c-1", "jonas");
    let before = world.storage[0].clone();
    world.tab(0).cancel(first).unwrap();
    world.faults.lost_push_replies = 2;
    world.heal_network();
    world.tell(0, Input::Reconnect);
    while !world.server.effects.contains_key(&second) {
        world.run_for(1);
    }
    let key = world.storage[0].keys().find(|key| key.ends_with(&second.to_string())).unwrap().clone();
    world.kill_tab(0);
    world.faults.lost_push_replies = 0;
    world.storage[0].insert(key.clone(), before[&key].clone());
    // It is sent again before a pull has told of it.
    world.faults.pull_failure = Some(Failure::Server);
    let sent = world.sent(second);
    world.open_tab("maya");
    world.run_for(5_000);
    assert!(world.sent(second) > sent);
    world.faults.pull_failure = None;
    world.run_until_quiet();
    assert_eq!(world.server.effects[&second], 1);
    assert_eq!(world.owner(1, "c-1"), "jonas".into());
    assert!(world.stored(0).is_empty(), "{:?}", world.stored(0));
    world.assert_all_agree();
}
