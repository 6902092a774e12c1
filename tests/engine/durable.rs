//! Law 5: accepted is durable, settled is final.

use rota_engine::{Durability, Input, OperationState, Stored, Value};
use serde_json::json;

use crate::world::{Bare, Echo, World};

#[test]
fn an_assignment_made_offline_is_sent_once_after_two_reloads() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(30_000);
    let second = world.reload_tab(0);
    world.run_for(30_000);
    let third = world.reload_tab(second);
    world.heal_network();
    world.run_until_quiet();
    assert_eq!((world.server.effects[&id], world.sent(id)), (1, 1));
    assert_eq!(world.owner(third, "c-1"), "maya".into());
    assert!(world.stored(0).is_empty());
    world.assert_all_agree();
}

#[test]
fn reloading_while_what_was_stored_is_being_sent_does_it_once() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let ids = ["c-1", "c-2", "c-3"].map(|key| world.tab(0).assign(key, "maya"));
    world.heal_network();
    let mut tab = world.reload_tab(0);
    for wait in [3, 7, 11, 13, 17, 22, 29] {
        world.run_for(wait);
        tab = world.reload_tab(tab);
    }
    world.run_until_quiet();
    assert!(ids.iter().all(|id| world.server.effects[id] == 1));
    world.assert_all_agree();
}

#[test]
fn an_answer_whose_reply_was_lost_is_found_again_in_the_ledger() {
    let mut world = World::with_tabs(1);
    (world.faults.echo, world.faults.lost_push_replies) = (Echo::Never, 1);
    let id = world.tab(0).assign("c-1", "maya");
    world.run_until_quiet();
    assert_eq!((world.server.effects[&id], world.outcome(0, id)), (1, vec![OperationState::Confirmed]));
}

#[test]
fn a_refusal_whose_reply_was_lost_is_found_again_in_the_ledger() {
    let mut world = World::with_tabs(2);
    world.server.refused.insert("c-1".into());
    world.faults.lost_push_replies = 1;
    let id = world.tab(1).assign("c-1", "maya");
    world.run_until_quiet();
    assert_eq!(world.outcome(1, id), [OperationState::Refused]);
    world.assert_all_agree();
}

#[test]
fn an_entry_is_there_before_anything_is_sent_and_gone_after_settlement() {
    let mut world = World::with_tabs(1);
    let id = world.tab(0).assign("c-1", "maya");
    assert!(world.stored(0)[0].ends_with(&id.to_string()));
    world.run_until_quiet();
    assert!(world.stored(0).is_empty());
    assert_eq!(world.tabs[0].durable, [(id, Durability::Full)]);
}

#[test]
fn storage_full_refuses_the_operation_and_shows_nothing() {
    let mut world = World::with_tabs(2);
    let before = world.tabs[0].engine.stats();
    world.faults.storage_full = true;
    let id = world.tab(0).assign("c-1", "maya");
    let insert = world.tab(0).insert("c-9");
    world.run_for(5_000);
    assert_eq!(world.tabs[0].rejected, [id, insert]);
    assert_eq!(world.tabs[0].seen("c-1", "owner_id"), [Value::Null]);
    assert_eq!((world.sent(id), world.tabs[0].engine.stats()), (0, before));
    world.faults.storage_full = false;
    world.tab(0).assign("c-1", "maya");
    world.run_until_quiet();
    world.assert_all_agree();
}

#[test]
fn without_any_storage_operations_live_in_memory_and_say_so() {
    let mut world = World::with_tabs(1);
    world.checks = false;
    let id = world.tab(0).assign("c-1", "maya");
    world.tell(0, Input::OperationStored { id, stored: Stored::Memory });
    assert!(world.tabs[0].durable.contains(&(id, Durability::Memory)));
    assert_eq!(world.tabs[0].status.as_ref().unwrap().durability, Durability::Memory);
}

#[test]
fn a_database_that_dies_under_a_page_costs_no_operation_and_is_asked_once_for_each() {
    let mut world = World::with_tabs(2);
    world.cut_network();
    (world.faults.database_dead, world.tracing) = (true, true);
    let ids = ["c-1", "c-2", "c-3"].map(|key| world.tab(0).assign(key, "maya"));
    // For hours, while nobody does anything.
    world.run_for(3 * 3_600_000);
    let asked = world.tabs[0].trace.iter().filter(|output| output.starts_with("{\"persist\"")).count();
    assert_eq!(asked, 3, "nothing is written again and again");
    assert_eq!(world.tabs[0].durable, ids.map(|id| (id, Durability::Tab)), "each is told once how safe it is");
    assert_eq!(world.tabs[0].status.as_ref().unwrap().durability, Durability::Tab);
    assert_eq!(
        world.tabs[0].problems.iter().map(|problem| &*problem.code).collect::<Vec<_>>(),
        ["storage"],
        "said once"
    );
    // The copy that was written at once is enough for the next visit.
    world.faults.database_dead = false;
    for tab in 0..2 {
        world.kill_tab(tab);
    }
    world.heal_network();
    world.open_tab("maya");
    world.run_until_quiet();
    assert!(ids.iter().all(|id| world.server.effects[id] == 1));
    world.assert_all_agree();
}

#[test]
fn a_pull_that_comes_before_storage_was_read_loses_nothing_that_was_stored() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let ids = [world.tab(0).patch("c-1", "city", "Kiel"), world.tab(0).insert("c-9")];
    world.run_for(100);
    world.kill_tab(0);
    world.heal_network();
    world.faults.storage_mute = true;
    let tab = world.open_tab("maya");
    world.run_for(3_000);
    let status = world.tabs[tab].status.as_ref().unwrap();
    assert!(status.ready && status.unsent == 0, "everything was pulled, and nothing read");
    world.faults.storage_mute = false;
    world.run_for(65_000);
    assert!(ids.iter().all(|id| world.server.effects[id] == 1));
    world.assert_all_agree();
}

#[test]
fn a_corrupt_entry_is_moved_away_and_reported_and_the_others_are_taken() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let id = world.tab(0).assign("c-1", "maya");
    let good = world.stored(0)[0].clone();
    let text = world.storage[0][&good].clone();
    world.storage[0].insert("rota:1:crm:maya:op:000000000000-0000-x".into(), "{\"v\": 1, \"op\": {".into());
    // Another operation's content under this key.
    world.storage[0].insert("rota:1:crm:maya:op:000000000001-0000-y".into(), text);
    world.storage[0].insert("rota:1:crm:maya:op:000000000002-0000-z".into(), json!({"v": 0}).to_string());
    let tab = world.reload_tab(0);
    world.heal_network();
    world.run_until_quiet();
    assert_eq!(world.server.effects[&id], 1);
    assert_eq!(world.tabs[tab].problems.iter().filter(|problem| problem.code == "corrupt-entry").count(), 3);
    assert_eq!(
        world.stored(0),
        ["x", "y", "z"]
            .iter()
            .enumerate()
            .map(|(n, end)| format!("rota:1:crm:maya:bad:00000000000{n}-0000-{end}"))
            .collect::<Vec<_>>()
            .iter()
            .collect::<Vec<_>>()
    );
}

#[test]
fn an_entry_of_a_newer_form_is_left_where_it_is() {
    let mut world = World::new();
    let key = "rota:1:crm:maya:op:000000000000-0000-x";
    world.storage[0].insert(key.into(), json!({"v": 3, "ops": []}).to_string());
    let tab = world.open_tab("maya");
    world.run_until_quiet();
    assert_eq!(world.stored(0), [key]);
    assert!(world.tabs[tab].has_problem("newer-entry"));
}

#[test]
fn an_operation_of_an_undeclared_table_stays_stored_and_is_reported() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(50);
    let key = world.stored(0)[0].clone();
    let text = world.storage[0].remove(&key).unwrap().replace("companies", "invoices");
    world.storage[0].insert(key.clone(), text);
    let tab = world.reload_tab(0);
    world.heal_network();
    world.run_until_quiet();
    assert_eq!((world.stored(0), world.sent(id)), (vec![&key], 0));
    assert!(world.tabs[tab].has_problem("unknown-table"));
}

#[test]
fn closing_settles_what_is_mine_as_unknown_once_and_the_next_store_sends_it() {
    let mut world = World::with_tabs(2);
    world.retry = json!({});
    world.faults.poison.insert("c-2".into());
    let dead = world.tab(0).assign("c-2", "maya");
    world.run_for(60_000);
    world.cut_network();
    let mine = world.tab(0).assign("c-1", "maya");
    let other = world.tab(1).assign("c-3", "maya");
    world.run_for(50);
    world.close_tab(0);
    assert_eq!(world.outcome(0, mine), [OperationState::Unknown]);
    assert_eq!(world.outcome(0, dead), [OperationState::Dead]);
    assert_eq!(world.outcome(0, other), []);
    world.heal_network();
    world.faults.poison.clear();
    world.run_until_quiet();
    assert_eq!((world.server.effects[&mine], world.server.effects[&other]), (1, 1));
}

#[test]
fn a_closed_engine_takes_no_commands_and_asks_for_nothing() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    world.run_for(100);
    // Closed at the very moment when the link would be tried again.
    world.now.mono_ms += 120_000;
    let connects = world.tabs[0].connects;
    world.tell(0, Input::Close);
    assert_eq!(world.tabs[0].connects, connects);
    assert_eq!(world.tabs[0].engine.deadline(), None);
    let command = json!({"name": "delete", "table": "companies", "key": "c-1"});
    assert_eq!(world.tab(0).try_do(command).unwrap_err().code(), "closed");
    world.tell(0, Input::Woke);
    assert!(world.tabs[0].engine.poll().is_none());
}

#[test]
fn a_queued_operation_can_be_cancelled_and_is_never_sent() {
    let mut world = World::with_tabs(2);
    world.cut_network();
    world.faults.silent = true;
    for key in ["c-1", "c-2", "c-3", "c-4", "c-5", "c-6"] {
        world.tab(0).patch(key, "city", "Kiel");
    }
    let id = world.tab(1).assign("c-1", "maya");
    world.run_for(10);
    world.tab(1).cancel(id).unwrap();
    world.run_for(10);
    assert_eq!(world.outcome(1, id), [OperationState::Cancelled]);
    assert_eq!((world.owner(0, "c-1"), world.owner(1, "c-1")), (Value::Null, Value::Null));
    (world.network, world.faults.silent) = (true, false);
    world.run_until_quiet();
    assert_eq!(world.sent(id), 0);
    world.assert_all_agree();
}

#[test]
fn an_operation_that_may_have_arrived_is_not_cancelled() {
    let mut world = World::with_tabs(2);
    (world.faults.echo, world.faults.lost_push_replies) = (Echo::Never, 1);
    let id = world.tab(0).assign("c-1", "maya");
    assert_eq!(world.tab(0).cancel(id).unwrap_err().code(), "too-late");
    world.run_for(12);
    assert_eq!(world.tab(0).cancel(id).unwrap_err().code(), "too-late");
    world.run_until_quiet();
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
}

#[test]
fn a_tab_may_die_before_anything_that_it_asks_for_and_nothing_is_lost_or_done_twice() {
    for followed in [false, true] {
        for bare in [None, Some(Bare::WithVersion), Some(Bare::WithoutVersion)] {
            let mut points = 0;
            for point in 0.. {
                let mut world = World::with_tabs(if followed { 2 } else { 1 });
                world.faults.bare_answers = bare;
                world.server.refused.insert("c-5".into());
                world.faults.crash_after = Some(point);
                live_through(&mut world);
                if world.faults.crash_after.take().is_some() {
                    break;
                }
                points += 1;
                world.open_tab("maya");
                world.heal_network();
                for tab in world.living() {
                    world.tell(tab, Input::Reconnect);
                }
                world.run_until_quiet();
                world.run_for(65_000);
                assert!(world.stored(0).is_empty(), "{point}: {:?}", world.stored(0));
                assert!(world.server.effects.values().all(|times| *times == 1));
                let replaced = |id| world.ops.values().any(|op| op.replaces.contains(id));
                for (id, op) in world.ops.iter().filter(|(id, _)| !replaced(id)) {
                    let is_decided = world.server.ledger.contains_key(id);
                    let is_refused =
                        |id| world.server.ledger.get(id).is_some_and(|told| told.2["outcome"] == "refused");
                    let is_ended = world.ended(*id) || op.after.iter().any(is_refused);
                    // The one that was about to be stored was never accepted.
                    assert!(is_decided || is_ended || world.unstored.contains(id), "{point}: {op:?} is lost");
                }
                world.assert_all_agree();
            }
            assert!(points > 60, "only {points} points were tried");
        }
    }
}

/// Something of everything, until the tab dies.
fn live_through(world: &mut World) {
    let steps: [fn(&mut World); 9] = [
        |world| world.cut_network(),
        |world| {
            let _ = world
                .tab(0)
                .try_do(json!({"name": "assign", "table": "companies", "key": "c-1", "args": {"to": "maya"}}));
        },
        |world| {
            let _ = world.tab(0).try_patch("c-2", "Kiel");
        },
        |world| {
            let _ = world.tab(0).try_patch("c-2", "Ulm");
        },
        |world| {
            let record = json!({"id": "c-9", "city": "Ulm", "name": "New", "owner_id": null});
            let _ = world.tab(0).try_do(json!({"name": "insert", "table": "companies", "set": record}));
        },
        |world| {
            let _ = world.tab(0).try_patch("c-9", "Kiel");
        },
        |world| {
            let refused = world.tab(0).try_patch("c-5", "Kiel");
            if let (Ok(id), true) = (refused, world.tabs[0].alive) {
                let _ = world.tab(0).patch_after("c-3", "Kiel", &[id]);
            }
        },
        |world| {
            world.heal_network();
            world.tell(0, Input::Reconnect);
        },
        |world| {
            let _ = world.tab(0).try_do(json!({"name": "delete", "table": "companies", "key": "c-4"}));
        },
    ];
    for step in steps {
        if world.tabs[0].alive {
            step(world);
            world.run_for(30);
        }
    }
    world.run_for(2_000);
}

#[test]
fn an_operation_that_this_release_does_not_know_is_kept_and_left_to_the_server() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(50);
    let key = world.stored(0)[0].clone();
    let text = world.storage[0].remove(&key).unwrap().replace("\"assign\"", "\"promote\"");
    world.storage[0].insert(key.clone(), text);
    world.checks = false;
    let tab = world.reload_tab(0);
    world.run_for(100);
    assert!(world.tabs[tab].operations[&id].doubtful);
    assert_eq!((world.owner(tab, "c-1"), world.stored(0)), (Value::Null, vec![&key]));
    world.heal_network();
    world.run_until_quiet();
    assert_eq!((world.sent(id), world.server.effects.get(&id)), (1, None));
    assert!(world.stored(0).is_empty());
}

#[test]
fn where_there_is_no_room_the_cache_and_what_is_unreadable_go_first_and_the_operation_is_taken() {
    for is_cached in [true, false] {
        let mut world = World::new();
        if !is_cached {
            world.storage[0].insert("rota:1:crm:maya:bad:old".into(), "x".repeat(1_000));
        }
        world.open_tab("maya");
        world.run_for(500);
        if is_cached {
            assert!(!world.cached.is_empty());
        } else {
            world.cached.clear();
        }
        world.cut_network();
        world.faults.quota_bytes = Some(550);
        let id = world.tab(0).assign("c-1", "maya");
        assert_eq!(world.owner(0, "c-1"), Value::from("maya"));
        assert!(world.tabs[0].rejected.is_empty() && world.cached.is_empty());
        assert_eq!(world.stored(0).len(), 1);
        assert!(world.stored(0)[0].ends_with(&id.to_string()));
        // Now there is nothing left to give up: what was taken stays, and the next one is refused.
        world.faults.quota_bytes = Some(10);
        let refused = world.tab(0).assign("c-2", "maya");
        assert_eq!(world.tabs[0].rejected, [refused]);
        assert_eq!(world.owner(0, "c-2"), Value::Null);
        assert_eq!(world.stored(0).len(), 1);
        world.heal_network();
        world.run_until_quiet();
        assert_eq!(world.server.effects[&id], 1);
        assert!(!world.server.effects.contains_key(&refused));
    }
}

#[test]
fn an_entry_of_every_form_that_there_ever_was_is_taken_and_a_newer_one_left_alone() {
    for (v, is_taken) in [(1, true), (2, true), (3, false)] {
        let mut world = World::new();
        world.open_tab("maya");
        world.run_for(500);
        world.cut_network();
        let id = world.tab(0).assign("c-1", "maya");
        world.run_for(100);
        let key = world.stored(0)[0].clone();
        let mut entry: serde_json::Value = serde_json::from_str(&world.storage[0][&key]).unwrap();
        assert_eq!(entry["v"], 1, "an earlier release reads what it can");
        entry["v"] = v.into();
        world.storage[0].insert(key.clone(), entry.to_string());
        let again = world.reload_tab(0);
        world.run_for(100);
        assert_eq!(world.tabs[again].operations.contains_key(&id), is_taken, "form {v}");
        assert_eq!(world.tabs[again].has_problem("newer-entry"), !is_taken);
        assert_eq!(world.stored(0), [&key]);
    }
}
