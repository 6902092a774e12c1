//! Undo takes back what was never sent; else it does the inverse, in what still shows it, and never overwrites what somebody changed since.

use rota_engine::{OperationId, OperationState, UNDO_MAX, Value};
use serde_json::json;

use crate::world::World;

fn offline() -> World {
    let mut world = World::with_tabs(2);
    world.cut_network();
    world.tab(0).patch("c-6", "city", "Kiel");
    world.run_for(50);
    world
}

#[test]
fn undo_of_what_was_never_sent_takes_it_back() {
    let mut world = offline();
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    assert_eq!(world.tab(0).undo(id).unwrap(), None);
    assert_eq!(world.outcome(0, id), [OperationState::Cancelled]);
    assert_eq!(world.tabs[0].field("c-1", "city"), "Bremen".into());
    assert_eq!(world.tab(0).undo(id).unwrap_err().code(), "nothing-to-undo");
    world.heal_network();
    world.run_until_quiet();
    assert_eq!(world.sent(id), 0);
    world.assert_all_agree();
}

#[test]
fn undo_off_line_of_what_a_follower_did_is_an_operation_of_its_own() {
    let mut world = offline();
    let id = world.tab(1).patch("c-1", "city", "Kiel");
    // A follower does not know what its leader has sent.
    let undo = world.tab(1).undo(id).unwrap().unwrap();
    assert_eq!(world.tabs[1].field("c-1", "city"), "Bremen".into());
    world.heal_network();
    world.run_until_quiet();
    for id in [id, undo] {
        assert_eq!(world.outcome(1, id), [OperationState::Confirmed]);
    }
    world.assert_all_agree();
}

#[test]
fn every_kind_of_operation_is_undone_while_it_is_on_its_way_and_after_it_is_confirmed() {
    for wait in [3, 1_000] {
        for command in [
            json!({"name": "patch", "table": "companies", "key": "c-1", "set": {"city": "Kiel", "name": "Dock"}}),
            json!({"name": "assign", "table": "companies", "key": "c-1", "args": {"to": "maya"}}),
            json!({"name": "delete", "table": "companies", "key": "c-1"}),
            json!({"name": "insert", "table": "companies", "set": {"id": "c-9", "name": "New", "city": "Kiel", "owner_id": null}}),
        ] {
            let mut world = World::with_tabs(2);
            let before = world.tabs[0].mirror.clone();
            let id = world.tab(0).try_do(command.clone()).unwrap();
            world.run_for(wait);
            let after = world.tabs[0].mirror.clone();
            assert_ne!(before, after);
            let undo = world.tab(0).undo(id).unwrap().expect("it may have arrived");
            assert_eq!(world.tabs[0].mirror, before, "{command} is not undone at once");
            assert_eq!(world.ops[&undo].after, [id]);
            world.run_until_quiet();
            for id in [id, undo] {
                assert_eq!(world.outcome(0, id), [OperationState::Confirmed], "{command}");
            }
            assert_eq!(world.tabs[1].mirror, before);
            world.assert_all_agree();
            assert_eq!(world.tab(0).undo(id).unwrap_err().code(), "nothing-to-undo");
            let redo = world.tab(0).undo(undo).unwrap().unwrap();
            assert_eq!(world.tabs[0].mirror, after);
            world.run_until_quiet();
            assert_eq!(world.outcome(0, redo), [OperationState::Confirmed]);
            world.assert_all_agree();
        }
    }
}

#[test]
fn what_somebody_else_has_changed_since_stays_and_nothing_is_sent() {
    for (field, command) in [
        ("city", json!({"name": "patch", "table": "companies", "key": "c-1", "set": {"city": "Kiel"}})),
        ("owner_id", json!({"name": "assign", "table": "companies", "key": "c-1", "args": {"to": "maya"}})),
    ] {
        let mut world = World::with_tabs(1);
        let id = world.tab(0).try_do(command).unwrap();
        world.run_until_quiet();
        world.sql_update("c-1", field, "jonas");
        world.run_for(100);
        let seen = world.tabs[0].seen("c-1", field).len();
        assert_eq!(world.tab(0).undo(id).unwrap(), None);
        world.run_until_quiet();
        assert_eq!(world.tabs[0].field("c-1", field), "jonas".into());
        assert_eq!((world.tabs[0].seen("c-1", field).len(), world.tabs[0].pushed.len()), (seen, 1));
        assert_eq!(world.tab(0).undo(id).unwrap_err().code(), "nothing-to-undo");
    }
}

#[test]
fn what_somebody_else_has_changed_and_nobody_here_has_seen_is_for_the_server_to_judge() {
    for (field, command) in [
        ("city", json!({"name": "patch", "table": "companies", "key": "c-1", "set": {"city": "Kiel"}})),
        ("owner_id", json!({"name": "assign", "table": "companies", "key": "c-1", "args": {"to": "maya"}})),
    ] {
        let mut world = World::with_tabs(1);
        let id = world.tab(0).try_do(command).unwrap();
        world.run_until_quiet();
        world.sql_update("c-1", field, "jonas");
        let undo = world.tab(0).undo(id).unwrap().unwrap();
        world.run_until_quiet();
        assert_eq!(world.outcome(0, undo), [OperationState::Conflicted]);
        assert_eq!(world.tabs[0].field("c-1", field), "jonas".into());
    }
}

#[test]
fn of_several_fields_those_are_taken_back_that_still_show_what_was_set() {
    let mut world = World::with_tabs(2);
    let id = world.tab(0).set("c-1", json!({"city": "Kiel", "name": "Dock"}));
    world.run_until_quiet();
    world.sql_update("c-1", "city", "Jena");
    world.run_for(100);
    let seen = world.tabs[0].seen("c-1", "city").len();
    let undo = world.tab(0).undo(id).unwrap().unwrap();
    world.run_until_quiet();
    assert_eq!(world.outcome(0, undo), [OperationState::Confirmed]);
    assert_eq!(world.tabs[1].field("c-1", "city"), "Jena".into());
    assert_eq!(world.tabs[1].field("c-1", "name"), "Harbour".into());
    assert_eq!((world.tabs[0].seen("c-1", "city").len(), world.tabs[0].conflicts.len()), (seen, 0));
    world.assert_all_agree();
}

/// Three changes of one field, one after the other, as the server has done them.
fn three(world: &mut World, tab: usize) -> [OperationId; 3] {
    let ids = ["A", "B", "C"].map(|city| {
        let id = world.tab(tab).patch("c-1", "city", city);
        world.run_until_quiet();
        id
    });
    world.tabs[tab].seen.clear();
    ids
}

fn seen(world: &World, tab: usize) -> Vec<Value> {
    let seen = world.tabs[tab].seen.get(&("companies".to_owned(), "c-1".to_owned()));
    let mut cities: Vec<Value> = seen.into_iter().flatten().map(|it| it.as_ref().unwrap()["city"].clone()).collect();
    cities.dedup();
    cities
}

#[test]
fn changes_that_are_undone_oldest_first_show_one_step_and_end_as_it_was_before() {
    for tab in [0, 1] {
        let mut world = World::with_tabs(2);
        let ids = three(&mut world, tab);
        for id in ids {
            world.tab(tab).undo(id).unwrap();
        }
        world.run_until_quiet();
        assert_eq!(seen(&world, tab), ["Bremen".into()]);
        assert_eq!(world.server.company("c-1").unwrap()["city"], "Bremen".into());
        assert!(world.tabs.iter().all(|tab| tab.conflicts.is_empty()));
        world.assert_all_agree();
    }
}

#[test]
fn changes_are_undone_in_any_order() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for quiet in [false, true] {
            let mut world = World::with_tabs(1);
            let ids = three(&mut world, 0);
            let mut left = vec!["Bremen", "A", "B", "C"];
            for (n, at) in order.into_iter().enumerate() {
                world.tab(0).undo(ids[at]).unwrap();
                left.retain(|city| *city != ["A", "B", "C"][at]);
                assert_eq!(world.tabs[0].field("c-1", "city"), left[left.len() - 1].into(), "{order:?}, after {n}");
                if quiet {
                    world.run_until_quiet();
                }
            }
            world.run_until_quiet();
            assert_eq!(world.server.company("c-1").unwrap()["city"], "Bremen".into(), "{order:?}");
            assert!(world.tabs[0].conflicts.is_empty());
            world.assert_all_agree();
        }
    }
}

#[test]
fn what_a_later_change_covers_is_undone_without_a_step_and_without_a_call() {
    let mut world = World::with_tabs(2);
    let [first, second, third] = three(&mut world, 0);
    let pushed = world.tabs[0].pushed.len();
    assert_eq!(world.tab(0).undo(first).unwrap(), None);
    world.run_until_quiet();
    assert_eq!((seen(&world, 0), world.tabs[0].pushed.len()), (vec![], pushed));
    world.tab(0).undo(third).unwrap().unwrap();
    world.run_until_quiet();
    assert_eq!(world.tabs[1].field("c-1", "city"), "B".into());
    world.tab(0).undo(second).unwrap().unwrap();
    world.run_until_quiet();
    assert_eq!(world.tabs[1].field("c-1", "city"), "Bremen".into());
    world.assert_all_agree();
}

#[test]
fn assignments_are_undone_in_any_order() {
    for order in [[0, 1], [1, 0]] {
        let mut world = World::with_tabs(1);
        let ids = ["maya", "jonas"].map(|to| {
            let id = world.tab(0).assign("c-1", to);
            world.run_until_quiet();
            id
        });
        let before = world.server.company("c-2").unwrap()["owner_id"].clone();
        for at in order {
            world.tab(0).undo(ids[at]).unwrap();
            world.run_until_quiet();
        }
        assert_eq!(world.owner(0, "c-1"), before);
        world.assert_all_agree();
    }
}

#[test]
fn a_change_that_waits_is_undone_under_a_later_one_that_stays() {
    for locks in [true, false] {
        let mut world = World::new();
        world.locks_exist = locks;
        world.open_tab("maya");
        world.run_for(1_000);
        world.faults.silent = true;
        let first = world.tab(0).patch("c-1", "city", "A");
        world.run_for(3);
        let second = world.tab(0).assign("c-1", "maya");
        let third = world.tab(0).assign("c-1", "jonas");
        let seen = world.tabs[0].seen("c-1", "owner_id").len();
        assert_eq!(world.tab(0).undo(second).unwrap(), None);
        assert_eq!(world.tabs[0].seen("c-1", "owner_id").len(), seen);
        world.faults.silent = false;
        world.run_until_quiet();
        assert_eq!(world.outcome(0, first), [OperationState::Confirmed]);
        assert_eq!(world.outcome(0, third), [OperationState::Confirmed]);
        assert_eq!(world.owner(0, "c-1"), "jonas".into());
        world.tab(0).undo(third).unwrap().unwrap();
        world.run_until_quiet();
        assert_eq!(world.owner(0, "c-1"), Value::Null);
        world.assert_all_agree();
    }
}

#[test]
fn undo_of_an_insert_takes_what_the_person_changed_in_it_since_with_it() {
    let mut world = World::with_tabs(1);
    let id = world.tab(0).insert("c-9");
    world.tab(0).patch("c-9", "city", "Kiel");
    world.run_until_quiet();
    world.tab(0).patch("c-9", "city", "Ulm");
    world.run_until_quiet();
    let undo = world.tab(0).undo(id).unwrap().unwrap();
    world.run_until_quiet();
    assert_eq!(world.outcome(0, undo), [OperationState::Confirmed]);
    assert!(world.server.company("c-9").is_none());
    world.assert_all_agree();
}

#[test]
fn of_a_transaction_the_parts_are_undone_that_nothing_covers() {
    let mut world = World::with_tabs(2);
    let id = world.tab(0).transact(json!([
        {"name": "patch", "table": "companies", "key": "c-1", "set": {"city": "Kiel", "name": "Dock"}},
        {"name": "patch", "table": "companies", "key": "c-1", "set": {"city": "Ulm"}},
        {"name": "patch", "table": "companies", "key": "c-2", "set": {"city": "Kiel"}},
    ]));
    world.run_until_quiet();
    let later = world.tab(0).patch("c-1", "city", "Hof");
    world.run_until_quiet();
    let before = world.server.company("c-3").unwrap().clone();
    world.tab(0).undo(id).unwrap().unwrap();
    world.run_until_quiet();
    let city = |world: &World, key: &str| world.server.company(key).unwrap()["city"].clone();
    assert_eq!((city(&world, "c-1"), city(&world, "c-2")), ("Hof".into(), before["city"].clone()));
    assert_eq!(world.server.company("c-1").unwrap()["name"], "Harbour".into());
    world.tab(0).undo(later).unwrap().unwrap();
    world.run_until_quiet();
    assert_eq!(city(&world, "c-1"), "Bremen".into());
    world.assert_all_agree();
}

#[test]
fn undo_of_an_insert_expects_the_record_as_it_was_inserted() {
    let mut world = World::with_tabs(1);
    let id = world.tab(0).insert("c-9");
    world.run_until_quiet();
    let undo = world.tab(0).undo(id).unwrap().unwrap();
    assert_eq!((world.ops[&undo].name.as_str(), &world.ops[&undo].base), ("delete", &world.ops[&id].set));
}

#[test]
fn undo_leaves_what_others_changed_in_other_fields() {
    let mut world = World::with_tabs(1);
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_until_quiet();
    world.sql_update("c-1", "name", "Dock");
    world.run_for(100);
    world.tab(0).undo(id).unwrap().unwrap();
    world.run_until_quiet();
    assert_eq!(world.tabs[0].field("c-1", "city"), "Bremen".into());
    assert_eq!(world.tabs[0].field("c-1", "name"), "Dock".into());
    world.assert_all_agree();
}

#[test]
fn undo_off_line_with_a_queue_behind_it_applies() {
    let mut world = offline();
    let sent = world.tab(0).patch("c-6", "name", "Dock");
    let first = world.tab(0).patch("c-1", "city", "Kiel");
    let second = world.tab(0).assign("c-1", "maya");
    assert_eq!(world.tab(0).undo(first).unwrap(), None);
    assert_eq!(world.tab(0).undo(sent).unwrap(), None);
    assert_eq!((world.tabs[0].field("c-1", "city"), world.owner(0, "c-1")), ("Bremen".into(), "maya".into()));
    world.heal_network();
    world.run_until_quiet();
    assert_eq!(world.outcome(0, second), [OperationState::Confirmed]);
    world.assert_all_agree();
}

#[test]
fn an_undo_is_not_joined_with_an_earlier_change_that_waits() {
    let mut world = World::with_tabs(1);
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_until_quiet();
    world.cut_network();
    world.tab(0).patch("c-6", "city", "Kiel");
    world.run_for(50);
    let waits = world.tab(0).patch("c-1", "name", "Dock");
    let undo = world.tab(0).undo(id).unwrap().unwrap();
    assert!(world.ops[&undo].replaces.is_empty());
    world.heal_network();
    world.run_until_quiet();
    for id in [waits, undo] {
        assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
    }
    assert_eq!(world.tabs[0].field("c-1", "city"), "Bremen".into());
}

#[test]
fn an_undo_ends_with_what_it_undoes() {
    let mut world = World::with_tabs(1);
    world.server.refused.insert("c-1".into());
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(3);
    let undo = world.tab(0).undo(id).unwrap().unwrap();
    world.run_until_quiet();
    assert_eq!(world.outcome(0, id), [OperationState::Refused]);
    assert_eq!((world.outcome(0, undo), world.sent(undo)), (vec![OperationState::Refused], 0));
    assert_eq!(world.tabs[0].field("c-1", "city"), "Bremen".into());
}

#[test]
fn what_can_not_be_undone_is_an_error_with_a_name_and_changes_nothing() {
    let mut world = World::with_tabs(2);
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    let deleted = world.tab(0).delete("c-2");
    let patched = world.tab(0).patch("c-3", "city", "Kiel");
    world.server.refused.insert("c-4".into());
    let refused = world.tab(0).patch("c-4", "city", "Kiel");
    world.run_until_quiet();
    assert_eq!(world.tab(1).undo(id).unwrap_err().code(), "nothing-to-undo", "another tab's");
    assert_eq!(world.tab(0).undo(refused).unwrap_err().code(), "nothing-to-undo");
    world.server.sql_set("c-2", &[("id", "c-2".into())]);
    world.sql_update("c-2", "city", "Ulm");
    world.sql_delete("c-3");
    world.run_for(1_000);
    let before = world.tabs[0].mirror.clone();
    assert_eq!(world.tab(0).undo(deleted).unwrap_err().code(), "record-exists");
    assert_eq!(world.tab(0).undo(patched).unwrap_err().code(), "unknown-record");
    assert_eq!(world.tabs[0].mirror, before);
    world.close_tab(0);
}

#[test]
fn only_so_many_operations_can_be_undone_the_last_ones() {
    let mut world = World::with_tabs(1);
    let first = world.tab(0).patch("c-1", "city", "0");
    let mut last = first;
    for n in 1..=UNDO_MAX {
        world.run_for(100);
        last = world.tab(0).patch("c-1", "city", &n.to_string());
    }
    world.run_until_quiet();
    assert_eq!(world.tab(0).undo(first).unwrap_err().code(), "nothing-to-undo");
    assert!(world.tab(0).undo(last).is_ok());
}

#[test]
fn an_undo_that_could_not_be_stored_can_be_tried_again() {
    let mut world = World::with_tabs(1);
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_until_quiet();
    world.faults.storage_full = true;
    let rejected = world.tab(0).undo(id).unwrap().unwrap();
    assert_eq!((&world.tabs[0].rejected, world.tabs[0].field("c-1", "city")), (&vec![rejected], "Kiel".into()));
    world.faults.storage_full = false;
    world.tab(0).undo(id).unwrap().unwrap();
    assert_eq!(world.tabs[0].field("c-1", "city"), "Bremen".into());
}

#[test]
fn undo_of_joined_operations_undoes_each_by_itself_after_they_were_sent_as_one() {
    let mut world = offline();
    let first = world.tab(0).patch("c-1", "city", "Kiel");
    let second = world.tab(0).patch("c-1", "name", "Dock");
    world.heal_network();
    world.run_until_quiet();
    assert_eq!((world.sent(first), world.sent(second)), (0, 1));
    world.tab(0).undo(second).unwrap().unwrap();
    world.run_until_quiet();
    assert_eq!(world.tabs[1].field("c-1", "city"), "Kiel".into());
    assert_eq!(world.tabs[1].field("c-1", "name"), "Harbour".into());
    world.tab(0).undo(first).unwrap().unwrap();
    world.run_until_quiet();
    assert_eq!(world.tabs[1].field("c-1", "city"), "Bremen".into());
    assert_eq!(world.tab(0).undo(first).unwrap_err().code(), "nothing-to-undo");
    world.assert_all_agree();
}

#[test]
fn undo_of_a_dead_operation_drops_it() {
    let mut world = World::with_tabs(1);
    world.faults.push_failures.push_back((rota_engine::Failure::Invalid, None));
    let dead = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(100);
    assert_eq!(world.tab(0).undo(dead).unwrap(), None);
    assert_eq!(world.outcome(0, dead), [OperationState::Dead, OperationState::Cancelled]);
    assert!(world.stored(0).is_empty());
}

#[test]
fn what_is_in_conflict_is_resolved_and_not_undone() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.sql_update("c-1", "city", "Jena");
    world.heal_network();
    world.run_for(120_000);
    assert_eq!(world.tabs[0].conflicts.len(), 1);
    assert_eq!(world.tabs[0].field("c-1", "city"), "Jena".into());
    let undone = world.tab(0).undo(id);
    assert!(undone.is_err(), "{undone:?}, and shows {:?}", world.tabs[0].field("c-1", "city"));
}

#[test]
fn undo_of_a_transaction_that_replaced_a_record_brings_the_former_one_back() {
    let mut world = World::with_tabs(2);
    let id = world.tab(0).transact(json!([
        {"name": "delete", "table": "companies", "key": "c-1"},
        {"name": "insert", "table": "companies", "set": {"id": "c-1", "name": "another"}},
    ]));
    world.run_until_quiet();
    assert_eq!(world.tabs[1].field("c-1", "city"), Value::Null);
    let undo = world.tab(0).undo(id).unwrap().unwrap();
    world.run_until_quiet();
    assert_eq!([id, undo].map(|id| world.outcome(0, id)), [[OperationState::Confirmed]; 2]);
    assert_eq!(world.tabs[1].field("c-1", "city"), "Bremen".into());
    world.assert_all_agree();
}

#[test]
fn undo_of_a_transaction_that_changed_and_deleted_a_record_brings_it_back_as_it_was_before() {
    let mut world = World::with_tabs(2);
    let id = world.tab(0).transact(json!([
        {"name": "patch", "table": "companies", "key": "c-1", "set": {"city": "Kiel"}},
        {"name": "delete", "table": "companies", "key": "c-1"},
    ]));
    world.run_until_quiet();
    let undo = world.tab(0).undo(id).unwrap().unwrap();
    world.run_until_quiet();
    assert_eq!([id, undo].map(|id| world.outcome(0, id)), [[OperationState::Confirmed]; 2]);
    assert_eq!(world.tabs[1].field("c-1", "city"), "Bremen".into());
    world.assert_all_agree();
}

/// What is undone is what the rules made of the change: what the others added stays.
fn undo_what_was_merged(tab: usize) {
    let mut world = World::with_tabs(2);
    world.cut_network();
    let id = world.tab(tab).set("c-1", json!({"tags": ["ours"]}));
    world.run_for(50);
    world.sql_set("c-1", "tags", serde_json::from_value(json!(["theirs"])).unwrap());
    world.heal_network();
    world.run_for(120_000);
    assert_eq!(world.outcome(tab, id), [OperationState::Confirmed]);
    let tags = |world: &World| serde_json::to_value(&world.server.company("c-1").unwrap()["tags"]).unwrap();
    assert_eq!(tags(&world), json!(["theirs", "ours"]));
    let undo = world.tab(tab).undo(id).unwrap().unwrap();
    world.run_until_quiet();
    assert_eq!(world.outcome(tab, undo), [OperationState::Confirmed]);
    assert_eq!(tags(&world), json!(["theirs"]));
    assert_eq!(world.tab(tab).undo(id).unwrap_err().code(), "nothing-to-undo");
    world.assert_all_agree();
}

#[test]
fn what_the_rules_merged_is_undone_by_the_id_that_its_author_holds_in_the_tab_that_sends() {
    let leader = World::with_tabs(2).leader().unwrap();
    undo_what_was_merged(leader);
}

#[test]
fn what_the_rules_merged_is_undone_by_the_id_that_its_author_holds_in_a_tab_that_does_not_send() {
    let leader = World::with_tabs(2).leader().unwrap();
    undo_what_was_merged(1 - leader);
}
