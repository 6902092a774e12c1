//! Operations that go to the server together: what goes into one call, and what a failure of such a call means for each of them (laws 5,
//! 6 and 10).

use std::collections::BTreeSet;

use rota_engine::{BATCH_MAX, CONCURRENCY, Error, Failure, Input, OperationId, OperationState, Unanswered};
use serde_json::json;

use crate::world::World;

/// One tab that may send so many operations in a call; the server has so many records.
fn world(batch: usize, records: usize) -> World {
    let mut world = World::new();
    world.server.seed(records);
    world.batch = batch;
    world.open_tab("maya");
    world.run_for(1_000);
    world
}

fn assign_all(world: &mut World, count: usize) -> Vec<OperationId> {
    (1..=count).map(|n| world.tab(0).assign(&format!("c-{n}"), "maya")).collect()
}

fn sizes(world: &World) -> Vec<usize> {
    world.tabs[0].calls.iter().map(Vec::len).collect()
}

/// What an adapter may say of one of several.
fn about(id: OperationId) -> Unanswered {
    Unanswered { id, failure: Failure::Forbidden, message: "no".into(), after_ms: None }
}

fn assert_done_once(world: &World, ids: &[OperationId]) {
    for id in ids {
        assert_eq!(world.outcome(0, *id), [OperationState::Confirmed]);
        assert_eq!(world.server.effects[id], 1);
    }
}

#[test]
fn what_one_task_wants_sent_goes_in_as_few_calls_as_the_server_takes() {
    let mut world = world(BATCH_MAX, 250);
    let ids = assign_all(&mut world, 250);
    assert_eq!(sizes(&world), [0; 0], "nothing goes before the task is over");
    world.run_until_quiet();
    assert_eq!(sizes(&world), [100, 100, 50]);
    assert_done_once(&world, &ids);
}

#[test]
fn one_operation_alone_goes_as_it_always_did() {
    let mut world = world(BATCH_MAX, 3);
    let ids = assign_all(&mut world, 1);
    world.run_until_quiet();
    assert_eq!(sizes(&world), [1]);
    assert_done_once(&world, &ids);
}

#[test]
fn a_call_holds_one_operation_of_a_record_and_nothing_that_depends_on_another() {
    let mut world = world(BATCH_MAX, 3);
    let first = world.tab(0).assign("c-1", "maya");
    let second = world.tab(0).assign("c-1", "lena");
    let other = world.tab(0).assign("c-2", "maya");
    let after = world.tab(0).patch_after("c-3", "Ulm", &[other]).unwrap();
    world.run_until_quiet();
    let calls = &world.tabs[0].calls;
    assert_eq!(calls, &[vec!["c-1".to_owned(), "c-2".to_owned()], vec!["c-1".to_owned(), "c-3".to_owned()]]);
    assert_done_once(&world, &[first, second, other, after]);
}

#[test]
fn a_call_goes_through_its_records_in_their_order_whoever_makes_it() {
    let mut world = world(BATCH_MAX, 6);
    for key in ["c-5", "c-1", "c-3"] {
        world.tab(0).assign(key, "maya");
    }
    world.run_until_quiet();
    assert_eq!(world.tabs[0].calls, [["c-1", "c-3", "c-5"].map(str::to_owned)]);
}

#[test]
fn a_transaction_goes_alone() {
    let mut world = world(BATCH_MAX, 6);
    let part = |key: &str| json!({"name": "patch", "table": "companies", "key": key, "set": {"city": "Ulm"}});
    let whole = world.tab(0).transact(json!([part("c-1"), part("c-2")]));
    let others: Vec<_> = ["c-3", "c-4", "c-5"].map(|key| world.tab(0).assign(key, "maya")).into();
    world.run_until_quiet();
    assert_eq!(sizes(&world), [1, 3]);
    assert_done_once(&world, &others);
    assert_eq!(world.outcome(0, whole), [OperationState::Confirmed]);
}

#[test]
fn no_more_calls_than_the_bound_are_on_their_way_however_much_waits() {
    let mut world = world(4, 60);
    let ids = assign_all(&mut world, 60);
    world.faults.silent = true;
    world.run_for(100);
    assert_eq!(sizes(&world), [4; CONCURRENCY]);
    world.faults.silent = false;
    world.run_until_quiet();
    assert_done_once(&world, &ids);
}

#[test]
fn what_is_large_goes_with_less_or_alone() {
    let mut world = world(BATCH_MAX, 6);
    for n in 1..=6 {
        let size = if n == 3 { 600_000 } else { 200_000 };
        world.tab(0).patch(&format!("c-{n}"), "city", &"x".repeat(size));
    }
    world.run_until_quiet();
    assert_eq!(sizes(&world), [2, 1, 2, 1]);
}

#[test]
fn what_goes_alone_takes_no_more_calls_than_the_bound_either() {
    let mut world = world(BATCH_MAX, 20);
    let ids: Vec<_> = (1..=20).map(|n| world.tab(0).patch(&format!("c-{n}"), "city", &"x".repeat(400_000))).collect();
    world.faults.silent = true;
    world.run_for(100);
    assert_eq!(sizes(&world), [1; CONCURRENCY]);
    world.faults.silent = false;
    world.run_until_quiet();
    assert_done_once(&world, &ids);
}

#[test]
fn each_has_its_own_answer() {
    let mut world = world(BATCH_MAX, 3);
    world.server.refused.insert("c-2".into());
    let lost = world.tab(0).assign("c-3", "maya");
    world.server.sql_set("c-3", &[("owner_id", "lena".into())]);
    let (fine, refused) = (world.tab(0).assign("c-1", "maya"), world.tab(0).assign("c-2", "maya"));
    world.run_until_quiet();
    assert_eq!(sizes(&world), [3]);
    assert_eq!(world.outcome(0, fine), [OperationState::Confirmed]);
    assert_eq!(world.outcome(0, refused), [OperationState::Refused]);
    assert_eq!(world.outcome(0, lost), [OperationState::Conflicted]);
    world.assert_all_agree();
}

#[test]
fn one_poisoned_operation_ends_alone_and_the_others_of_its_call_are_done() {
    for failure in [Failure::Server, Failure::Invalid] {
        let mut world = world(BATCH_MAX, 100);
        if failure == Failure::Server {
            world.faults.poison.insert("c-37".into());
        }
        let ids = assign_all(&mut world, 100);
        if failure == Failure::Invalid {
            // The whole is too large for something in between; each alone is not.
            world.faults.push_failures = vec![(failure, None); 3].into();
        }
        world.run_for(120_000);
        let (poisoned, others): (Vec<_>, Vec<_>) =
            ids.iter().partition(|id| world.faults.poison.contains(&world.ops[id].key));
        assert_done_once(&world, &others);
        for id in &poisoned {
            assert_eq!(world.outcome(0, *id), [OperationState::Dead]);
        }
        assert!(world.tabs[0].calls.len() < 30, "in halves, not one by one: {:?}", sizes(&world));
    }
}

#[test]
fn a_call_that_fails_as_a_whole_is_no_failed_try_of_any_of_its_operations() {
    for failure in
        [Failure::Network, Failure::Timeout, Failure::Server, Failure::Auth, Failure::RateLimit, Failure::Gone]
    {
        let mut world = world(BATCH_MAX, 20);
        world.faults.push_failures.push_back((failure, None));
        let ids = assign_all(&mut world, 20);
        world.run_for(30);
        let tries = |id: &OperationId| world.tabs[0].operations.get(id).map_or(0, |view| view.tries);
        assert_eq!(ids.iter().map(tries).max(), Some(0), "{failure:?}");
        world.run_until_quiet();
        assert_done_once(&world, &ids);
    }
}

#[test]
fn a_server_that_asks_for_patience_is_asked_once_and_for_all() {
    let mut world = world(BATCH_MAX, 100);
    world.faults.push_failures.push_back((Failure::RateLimit, Some(4_000)));
    let ids = assign_all(&mut world, 100);
    world.run_for(3_500);
    assert_eq!(sizes(&world), [100]);
    world.run_until_quiet();
    assert_eq!(sizes(&world), [100, 100], "it has not looked at them, so they go together again");
    assert_done_once(&world, &ids);
}

#[test]
fn what_waited_off_line_goes_together_once_the_link_is_back() {
    let mut world = world(BATCH_MAX, 250);
    world.cut_network();
    world.run_for(2_000);
    let ids = assign_all(&mut world, 250);
    world.run_for(60_000);
    world.tabs[0].calls.clear();
    world.heal_network();
    world.run_until_quiet();
    assert_eq!(sizes(&world).iter().max(), Some(&100));
    assert!(world.tabs[0].calls.len() <= 6, "{:?}", sizes(&world));
    assert_done_once(&world, &ids);
}

#[test]
fn a_lost_reply_to_many_does_none_of_them_twice() {
    let mut world = world(BATCH_MAX, 50);
    world.faults.lost_push_replies = 2;
    let ids = assign_all(&mut world, 50);
    world.run_until_quiet();
    assert_done_once(&world, &ids);
    world.assert_all_agree();
}

#[test]
fn a_leader_that_dies_with_many_on_their_way_leaves_each_to_be_done_once() {
    let mut world = World::new();
    world.server.seed(50);
    world.batch = BATCH_MAX;
    world.open_tab("maya");
    world.open_tab("maya");
    world.run_for(1_000);
    let leader = world.leader().unwrap();
    let ids: Vec<_> = (1..=50).map(|n| world.tab(1 - leader).assign(&format!("c-{n}"), "maya")).collect();
    world.run_for(12);
    world.kill_tab(leader);
    world.run_until_quiet();
    for id in ids {
        assert_eq!(world.outcome(1 - leader, id), [OperationState::Confirmed]);
        assert_eq!(world.server.effects[&id], 1);
    }
    world.assert_all_agree();
}

#[test]
fn an_operation_without_an_answer_in_the_list_is_asked_for_again_alone() {
    let mut world = world(BATCH_MAX, 10);
    world.faults.passed_over = BTreeSet::from(["c-4".to_owned(), "c-7".to_owned()]);
    let ids = assign_all(&mut world, 10);
    world.run_until_quiet();
    assert_eq!(sizes(&world), [10, 1, 1]);
    assert_done_once(&world, &ids);
}

#[test]
fn what_an_adapter_says_of_one_operation_counts_for_that_one_only() {
    let mut world = world(BATCH_MAX, 5);
    world.faults.passed_over.insert("c-2".to_owned());
    let ids = assign_all(&mut world, 5);
    // Of one that was answered, and of one that was never asked for, nothing more can be said.
    let stranger = world.tab(0).insert("c-new");
    world.faults.unanswered = vec![about(ids[1]), about(ids[0])];
    world.run_until_quiet();
    assert_eq!(world.outcome(0, ids[1]), [OperationState::Dead]);
    let others: Vec<_> = ids.iter().copied().filter(|id| *id != ids[1]).chain([stranger]).collect();
    assert_done_once(&world, &others);
}

#[test]
fn a_server_that_takes_only_one_is_asked_once_and_then_gets_them_one_by_one() {
    let mut world = world(BATCH_MAX, 40);
    world.faults.declines_batches = true;
    let ids = assign_all(&mut world, 40);
    world.run_until_quiet();
    assert_done_once(&world, &ids);
    let sizes = sizes(&world);
    assert_eq!((sizes[0], &sizes[1..]), (40, [1; 40].as_slice()));
    assert!(ids.iter().all(|id| world.tabs[0].operations.get(id).is_none_or(|view| view.tries == 0)));
}

#[test]
fn without_a_ledger_each_goes_alone() {
    let mut world = World::new();
    (world.batch, world.idempotent) = (BATCH_MAX, false);
    world.open_tab("maya");
    world.run_for(1_000);
    let ids = assign_all(&mut world, 6);
    world.run_until_quiet();
    assert_eq!(sizes(&world), [1; 6]);
    assert_done_once(&world, &ids);
}

#[test]
fn what_one_task_takes_back_was_never_sent() {
    let mut world = world(BATCH_MAX, 2);
    let back = world.tab(0).assign("c-1", "maya");
    let done = world.tab(0).assign("c-2", "maya");
    world.tab(0).cancel(back).unwrap();
    world.run_until_quiet();
    assert_eq!(world.outcome(0, back), [OperationState::Cancelled]);
    assert!(!world.server.effects.contains_key(&back));
    assert_done_once(&world, &[done]);
}

#[test]
fn words_about_calls_that_nobody_made_change_nothing() {
    let mut world = world(BATCH_MAX, 3);
    let ids = assign_all(&mut world, 3);
    world.run_for(1);
    let message = "late".to_owned();
    world.tell(0, Input::CallFailed { call: 77, failure: Failure::Invalid, message, after_ms: None });
    let unanswered = ids.iter().map(|id| about(*id)).collect();
    world.tell(0, Input::CallAnswered { call: 77, answers: vec![], unanswered });
    world.tell(0, Input::Gathered);
    world.run_until_quiet();
    assert_eq!(sizes(&world), [3]);
    assert_done_once(&world, &ids);
}

#[test]
fn a_batch_of_none_or_of_more_than_the_server_takes_is_no_configuration() {
    for batch in [0, BATCH_MAX + 1] {
        let mut world = World::new();
        world.batch = batch;
        assert!(matches!(world.try_open("maya"), Err(Error::InvalidConfiguration(why)) if why.contains("batch")));
    }
}
