//! A backend without a ledger: what may have arrived is never sent again. Its record decides, or the end is unknown (law 5).

use rota_engine::{Failure, Input, OperationId, OperationState};
use serde_json::json;

use crate::world::{Bare, Echo, World};

/// Such a backend has no columns of ours either, and its answers say nothing of the record.
fn forgetful(tabs: usize) -> World {
    let mut world = World::new();
    (world.idempotent, world.server.no_ledger, world.faults.anonymous) = (false, true, true);
    (world.faults.bare_answers, world.faults.echo) = (Some(Bare::WithoutVersion), Echo::Never);
    for _ in 0..tabs {
        world.open_tab("maya");
    }
    world.run_for(1_000);
    world
}

fn unknown(world: &World, tab: usize, id: OperationId) {
    assert_eq!(world.outcome(tab, id), [OperationState::Unknown]);
    assert!(world.tabs.iter().any(|tab| tab.has_problem("unknown-outcome")));
}

#[test]
fn an_answered_operation_is_confirmed_without_a_ledger_too() {
    let mut world = forgetful(2);
    let ids = [world.tab(0).assign("c-1", "maya"), world.tab(1).patch("c-2", "city", "Kiel")];
    world.run_until_quiet();
    assert_eq!(world.outcome(0, ids[0]), [OperationState::Confirmed]);
    assert_eq!(world.outcome(1, ids[1]), [OperationState::Confirmed]);
    world.assert_all_agree();
}

#[test]
fn a_call_that_got_no_answer_is_never_made_again_and_its_record_tells_that_it_was_done() {
    for author in 0..2 {
        for command in ["patch", "insert", "delete", "assign"] {
            let mut world = forgetful(2);
            world.faults.lost_push_replies = 1;
            let id = match command {
                "patch" => world.tab(author).patch("c-1", "city", "Kiel"),
                "insert" => world.tab(author).insert("c-9"),
                "delete" => world.tab(author).delete("c-1"),
                _ => world.tab(author).assign("c-1", "maya"),
            };
            world.run_until_quiet();
            assert_eq!((world.sent(id), world.outcome(author, id)), (1, vec![OperationState::Confirmed]), "{command}");
            world.assert_all_agree();
        }
    }
}

#[test]
fn a_call_that_did_not_arrive_ends_as_unknown_and_leaves_the_screen() {
    for author in 0..2 {
        for failure in [Failure::Network, Failure::Timeout, Failure::Server, Failure::Unknown] {
            let mut world = forgetful(2);
            world.faults.push_failures.push_back((failure, None));
            let id = world.tab(author).patch("c-1", "city", "Kiel");
            let next = world.tab(author).patch("c-1", "name", "Dock");
            world.run_until_quiet();
            assert_eq!(world.sent(id), 0);
            unknown(&world, author, id);
            assert_eq!(world.outcome(author, next), [OperationState::Confirmed], "the next one is free again");
            assert!(world.stored(0).is_empty());
            world.assert_all_agree();
        }
    }
}

#[test]
fn until_the_record_was_looked_at_an_unanswered_operation_stays_seen_and_sent() {
    let mut world = forgetful(1);
    world.faults.push_failures.push_back((Failure::Timeout, None));
    world.faults.pull_failure = Some(Failure::Server);
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(60_000);
    assert_eq!(world.tabs[0].operations[&id].state, OperationState::Sent);
    assert_eq!(world.tabs[0].field("c-1", "city"), "Kiel".into());
    assert_eq!(world.tabs[0].pushed, [id]);
    world.faults.pull_failure = None;
    world.run_until_quiet();
    unknown(&world, 0, id);
    assert_eq!(world.tabs[0].seen("c-1", "city"), ["Bremen", "Kiel", "Bremen"].map(Into::into));
}

#[test]
fn a_pull_that_began_before_the_failure_decides_nothing() {
    let mut world = forgetful(1);
    world.faults.lost_push_replies = 1;
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(5);
    // It was asked for before the call was made, and comes back after it failed.
    world.tell(0, Input::Missed);
    world.run_until_quiet();
    assert_eq!((world.sent(id), world.outcome(0, id)), (1, vec![OperationState::Confirmed]));
}

#[test]
fn a_server_that_says_no_is_asked_again_without_a_ledger_too() {
    let mut world = forgetful(1);
    world.faults.push_failures.push_back((Failure::RateLimit, Some(500)));
    world.server.busy = 1;
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_until_quiet();
    assert_eq!((world.outcome(0, id), world.server.effects[&id]), (vec![OperationState::Confirmed], 1));
}

#[test]
fn what_is_made_off_line_is_not_tried_into_the_blue() {
    let mut world = forgetful(1);
    world.cut_network();
    world.run_for(100);
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(600_000);
    assert_eq!((world.tabs[0].pushed.len(), world.outcome(0, id)), (0, vec![]));
    world.heal_network();
    world.run_until_quiet();
    assert_eq!((world.sent(id), world.outcome(0, id)), (1, vec![OperationState::Confirmed]));
}

#[test]
fn a_new_leader_looks_at_the_record_before_it_sends_what_an_earlier_one_may_have_sent() {
    for arrived in [false, true] {
        for author in 0..2 {
            let mut world = forgetful(2);
            if arrived {
                world.faults.lost_push_replies = 1;
            } else {
                world.faults.silent = true;
            }
            let id = world.tab(author).patch("c-1", "city", "Kiel");
            world.run_for(8);
            world.kill_tab(0);
            world.faults.silent = false;
            world.run_until_quiet();
            assert_eq!(world.server.effects[&id], 1);
            assert_eq!(world.sent(id), 1);
            if author == 1 {
                assert_eq!(world.outcome(1, id), [OperationState::Confirmed]);
            }
            world.assert_all_agree();
        }
    }
}

#[test]
fn a_new_leader_waits_until_what_the_earlier_one_sent_has_arrived_or_never_will() {
    let mut world = forgetful(2);
    let id = world.tab(1).patch("c-1", "city", "Kiel");
    world.kill_tab(0);
    world.run_for(9_000);
    assert_eq!(world.sent(id), 0, "a call of the dead leader may be on its way for as long as calls may take");
    world.run_until_quiet();
    assert_eq!((world.sent(id), world.outcome(1, id)), (1, vec![OperationState::Confirmed]));
}

#[test]
fn after_a_reload_what_somebody_else_has_changed_is_unknown_and_not_sent() {
    let mut world = forgetful(1);
    world.cut_network();
    world.run_for(50);
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.server.sql_set("c-1", &[("city", "Ulm".into())]);
    let tab = world.reload_tab(0);
    world.heal_network();
    world.run_until_quiet();
    assert_eq!(world.sent(id), 0);
    assert!(world.tabs[tab].has_problem("unknown-outcome"));
    assert_eq!(world.tabs[tab].field("c-1", "city"), "Ulm".into());
    assert!(world.stored(0).is_empty());
}

#[test]
fn reloading_at_any_moment_applies_nothing_twice() {
    for wait in 0..40 {
        let mut world = forgetful(1);
        let id = world.tab(0).patch("c-1", "city", "Kiel");
        world.run_for(wait);
        let tab = world.reload_tab(0);
        world.run_until_quiet();
        assert_eq!(world.server.effects[&id], 1, "after {wait} ms");
        assert_eq!(world.tabs[tab].field("c-1", "city"), "Kiel".into());
        assert!(world.stored(0).is_empty());
    }
}

#[test]
fn a_leader_that_loses_its_lock_leaves_its_unanswered_calls_to_the_next() {
    let mut world = forgetful(2);
    world.faults.lost_push_replies = 1;
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(8);
    world.steal_lock(1);
    world.run_until_quiet();
    world.run_for(30_000);
    assert_eq!((world.sent(id), world.outcome(0, id)), (1, vec![OperationState::Confirmed]));
    world.assert_all_agree();
}

#[test]
fn a_leader_that_was_replaced_in_its_sleep_sends_nothing_that_it_finds_when_it_wakes() {
    for timers_first in [false, true] {
        let mut world = forgetful(2);
        world.freeze(0);
        let id = world.tab(1).patch("c-1", "city", "Kiel");
        world.run_until_quiet();
        world.run_for(30_000);
        assert_eq!(world.outcome(1, id), [OperationState::Confirmed]);
        world.thaw(0, timers_first);
        world.run_for(30_000);
        assert_eq!((world.sent(id), world.server.effects[&id]), (1, 1));
        world.assert_all_agree();
    }
}

#[test]
fn a_leader_that_runs_once_a_minute_sends_all_the_same() {
    let mut world = forgetful(1);
    world.freeze(0);
    world.run_for(60_000);
    world.thaw(0, true);
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.freeze(0);
    world.run_for(60_000);
    world.thaw(0, true);
    world.run_for(50);
    assert_eq!((world.sent(id), world.outcome(0, id)), (1, vec![OperationState::Confirmed]));
}

#[test]
fn a_record_that_was_changed_and_changed_back_does_not_read_as_if_nothing_had_arrived() {
    let mut world = forgetful(1);
    world.faults.lost_push_replies = 1;
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(8);
    assert_eq!(world.server.effects[&id], 1);
    let tab = world.reload_tab(0);
    world.server.sql_set("c-1", &[("city", "Bremen".into())]);
    world.run_until_quiet();
    assert_eq!(world.server.effects[&id], 1);
    assert!(world.tabs[tab].has_problem("unknown-outcome"));
    world.assert_all_agree();
}

#[test]
fn all_that_was_queued_for_a_record_is_sent_after_a_reload_when_its_first_was_not() {
    let mut world = forgetful(1);
    world.cut_network();
    world.run_for(50);
    let ids =
        [world.tab(0).patch("c-1", "city", "Kiel"), world.tab(0).assign("c-1", "maya"), world.tab(0).delete("c-1")];
    world.reload_tab(0);
    world.heal_network();
    world.run_until_quiet();
    assert_eq!(world.server.applied, ids);
    world.assert_all_agree();
}

#[test]
fn a_new_leader_never_inserts_again_what_would_be_found_under_no_key_it_knows() {
    let mut world = forgetful(2);
    let insert = json!({"name": "insert", "table": "orders", "set": {"title": "first"}});
    let id = world.tab(0).try_do(insert).unwrap();
    // It has arrived, and the answer is on its way.
    world.run_for(7);
    world.kill_tab(0);
    world.run_until_quiet();
    assert_eq!((world.sent(id), world.server.effects[&id]), (1, 1));
    assert!(world.tabs[1].has_problem("unknown-outcome"));
    world.assert_all_agree();
}

#[test]
fn the_other_parts_of_a_transaction_tell_whether_its_insert_arrived() {
    let mut world = forgetful(2);
    let insert = json!({"name": "insert", "table": "orders", "set": {"title": "first"}});
    let patch = json!({"name": "patch", "table": "companies", "key": "c-1", "set": {"city": "Kiel"}});
    world.cut_network();
    let id = world.tab(1).transact(json!([insert, patch]));
    world.run_for(20);
    world.kill_tab(0);
    world.heal_network();
    world.run_until_quiet();
    assert_eq!((world.outcome(1, id), world.server.effects[&id]), (vec![OperationState::Confirmed], 1));
    world.assert_all_agree();
}

#[test]
fn what_names_a_record_that_nobody_knows_of_ends_and_so_does_what_depends_on_that_in_turn() {
    let mut world = forgetful(2);
    let order = |title: &str, parent: Option<&str>| {
        let set = json!({"title": title, "parent": parent});
        json!({"name": "insert", "table": "orders", "set": set})
    };
    world.faults.push_failures.push_back((Failure::Network, None));
    let first = world.tab(0).try_do(order("first", None)).unwrap();
    let second = world.tab(0).try_do(order("second", Some(&format!("~{first}")))).unwrap();
    let third = json!({"name": "delete", "table": "orders", "key": format!("~{second}")});
    let third = world.tab(0).try_do(third).unwrap();
    world.run_until_quiet();
    unknown(&world, 0, first);
    for id in [second, third] {
        assert_eq!((world.sent(id), world.outcome(0, id)), (0, vec![OperationState::Refused]));
    }
    world.assert_all_agree();
}

#[test]
fn what_was_sent_before_the_clock_was_set_back_is_not_cancelled_after_it() {
    let mut world = forgetful(1);
    world.checks = false;
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(8);
    assert_eq!(world.sent(id), 1);
    world.cut_network();
    world.now.wall_ms -= 600_000;
    let again = world.reload_tab(0);
    world.run_for(3_000);
    let cancelled = world.tab(again).cancel(id);
    assert!(cancelled.is_err(), "what the server has done ended as {:?}", world.tabs[again].operations.get(&id));
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_happen_twice_without_a_ledger() {
    let mut world = forgetful(1);
    world.checks = false;
    world.faults.silent = true;
    let id = world.tab(0).set("c-1", json!({"city": "Kiel"}));
    world.run_for(3);
    // It arrives, and the tab dies before the answer does.
    world.faults.silent = false;
    world.run_for(10);
    assert_eq!(world.sent(id), 1);
    world.now.wall_ms -= 600_000;
    world.reload_tab(0);
    world.run_for(60_000);
    assert_eq!(world.sent(id), 1, "what may have arrived is never sent again before its record was looked at");
}
