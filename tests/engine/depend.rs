//! Operations that depend on others wait for them, and end with them; nothing else does (law 6).

use rota_engine::{AFTER_MAX, Failure, OperationId, OperationState};
use serde_json::json;

use crate::world::World;

fn codes(world: &World, tab: usize, id: OperationId) -> Vec<(OperationState, Option<String>)> {
    world.tabs[tab].settled.iter().filter(|end| end.id == id).map(|end| (end.outcome, end.code.clone())).collect()
}

const fn refused() -> OperationState {
    OperationState::Refused
}

#[test]
fn what_depends_on_another_is_sent_after_it_is_confirmed() {
    let mut world = World::with_tabs(2);
    let first = world.tab(0).patch("c-1", "city", "Kiel");
    let second = world.tab(1).patch("c-2", "city", "Kiel");
    world.run_for(2);
    let third = world.tab(0).patch_after("c-3", "Kiel", &[first, second]).unwrap();
    assert_eq!(world.ops[&third].after, [first, second]);
    world.run_until_quiet();
    assert_eq!(world.server.applied.last(), Some(&third));
    world.assert_all_agree();
}

#[test]
fn a_refusal_ends_what_depends_on_it_at_once_through_any_number_of_steps_and_nothing_else() {
    for author in 0..2 {
        let mut world = World::with_tabs(2);
        world.server.refused.insert("c-1".into());
        let first = world.tab(author).patch("c-1", "city", "Kiel");
        let second = world.tab(author).patch_after("c-2", "Kiel", &[first]).unwrap();
        let third = world.tab(author).patch_after("c-3", "Kiel", &[second]).unwrap();
        let other = world.tab(author).patch("c-4", "city", "Kiel");
        let same_record = world.tab(author).assign("c-2", "maya");
        world.run_until_quiet();
        assert_eq!(world.outcome(author, first), [refused()]);
        for id in [second, third] {
            assert_eq!(codes(&world, author, id), [(refused(), Some("dependency-refused".to_owned()))]);
            assert_eq!(world.sent(id), 0);
        }
        for id in [other, same_record] {
            assert_eq!(world.outcome(author, id), [OperationState::Confirmed]);
        }
        assert!(world.stored(0).is_empty());
        world.assert_all_agree();
    }
}

#[test]
fn what_depends_on_another_leaves_the_screen_in_the_same_step() {
    let mut world = World::with_tabs(1);
    world.server.refused.insert("c-1".into());
    let first = world.tab(0).patch("c-1", "city", "Kiel");
    world.tab(0).patch_after("c-2", "Kiel", &[first]).unwrap();
    // The change list of the step that brings the refusal takes both away: `World` checks every step.
    while world.tabs[0].field("c-1", "city") == "Kiel".into() {
        assert_eq!(world.tabs[0].field("c-2", "city"), "Kiel".into());
        world.run_for(1);
    }
    assert_eq!(world.tabs[0].field("c-2", "city"), "Bremen".into());
}

#[test]
fn a_conflict_refuses_what_depends_on_it() {
    let mut world = World::with_tabs(2);
    let first = world.tab(1).assign("c-1", "maya");
    world.server.sql_set("c-1", &[("owner_id", "jonas".into())]);
    let second = world.tab(1).patch_after("c-2", "Kiel", &[first]).unwrap();
    world.run_until_quiet();
    assert_eq!(world.outcome(1, first), [OperationState::Conflicted]);
    assert_eq!(codes(&world, 1, second), [(refused(), Some("dependency-refused".to_owned()))]);
}

#[test]
fn taking_an_operation_back_takes_back_what_depends_on_it_in_every_tab() {
    for canceller in 0..2 {
        let mut world = World::with_tabs(2);
        world.cut_network();
        world.tab(canceller).patch("c-6", "city", "Kiel");
        world.run_for(50);
        let first = world.tab(canceller).patch("c-1", "city", "Kiel");
        // It waits for one that is on its way, and so was never sent itself.
        world.run_for(5);
        let second = world.tab(1 - canceller).patch_after("c-2", "Ulm", &[first]).unwrap();
        world.run_for(5);
        world.tab(canceller).cancel(first).unwrap();
        world.run_for(5);
        assert_eq!(world.outcome(canceller, first), [OperationState::Cancelled]);
        let ended = codes(&world, 1 - canceller, second);
        assert_eq!(ended, [(OperationState::Cancelled, Some("dependency-cancelled".to_owned()))]);
        world.heal_network();
        world.run_until_quiet();
        assert_eq!((world.sent(first), world.sent(second)), (0, 0));
        world.assert_all_agree();
    }
}

#[test]
fn what_depends_on_a_dead_one_waits_and_ends_when_that_is_dropped() {
    let mut world = World::with_tabs(2);
    world.faults.push_failures.push_back((Failure::Invalid, None));
    let dead = world.tab(0).patch("c-1", "city", "Kiel");
    let waiting = world.tab(0).patch_after("c-2", "Kiel", &[dead]).unwrap();
    world.run_for(60_000);
    assert_eq!((world.outcome(0, dead), world.outcome(0, waiting)), (vec![OperationState::Dead], vec![]));
    let late = world.tab(0).patch_after("c-3", "Kiel", &[dead]).unwrap();
    world.tab(0).cancel(dead).unwrap();
    for id in [waiting, late] {
        assert_eq!(codes(&world, 0, id), [(OperationState::Cancelled, Some("dependency-cancelled".to_owned()))]);
    }
    world.run_until_quiet();
    world.assert_all_agree();
}

#[test]
fn a_dead_one_that_is_retried_lets_what_depends_on_it_go() {
    let mut world = World::with_tabs(1);
    world.faults.push_failures.push_back((Failure::Invalid, None));
    let dead = world.tab(0).patch("c-1", "city", "Kiel");
    let waiting = world.tab(0).patch_after("c-2", "Kiel", &[dead]).unwrap();
    world.run_for(1_000);
    world.tab(0).retry(dead).unwrap();
    world.run_until_quiet();
    assert_eq!(world.server.applied, [dead, waiting]);
}

#[test]
fn an_insert_that_is_refused_ends_the_patches_of_its_record() {
    let mut world = World::with_tabs(1);
    world.server.refused.insert("c-9".into());
    let insert = world.tab(0).insert("c-9");
    let patch = world.tab(0).patch("c-9", "city", "Ulm");
    world.run_until_quiet();
    assert_eq!(world.outcome(0, insert), [refused()]);
    assert_eq!((codes(&world, 0, patch), world.sent(patch)), (vec![(refused(), Some("dependency-refused".into()))], 0));
    assert!(world.tabs[0].engine.visible("companies", "c-9").is_none());
}

#[test]
fn depending_on_what_is_confirmed_is_no_wait_and_on_what_is_unknown_or_ended_an_error() {
    let mut world = World::with_tabs(1);
    let done = world.tab(0).patch("c-1", "city", "Kiel");
    world.server.refused.insert("c-2".into());
    let refused = world.tab(0).patch("c-2", "city", "Kiel");
    world.run_until_quiet();
    let id = world.tab(0).patch_after("c-3", "Kiel", &[done]).unwrap();
    assert_eq!(world.ops[&id].after, []);
    let error = world.tab(0).patch_after("c-4", "Kiel", &[refused]).unwrap_err();
    assert_eq!(error.code(), "dependency-ended");
    assert!(error.to_string().contains("refused"), "{error}");
    let unknown = OperationId::parse("019aa5e3-f1c0-7a3b-9c1d-2e4f60718293").unwrap();
    assert_eq!(world.tab(0).patch_after("c-4", "Kiel", &[unknown]).unwrap_err().code(), "unknown-dependency");
    let many = vec![id; AFTER_MAX + 1];
    assert_eq!(world.tab(0).patch_after("c-4", "Kiel", &many).unwrap_err().code(), "invalid-operation");
    assert_eq!(world.tabs[0].field("c-4", "city"), "Bremen".into());
}

#[test]
fn depending_on_one_that_was_joined_with_a_later_one_is_depending_on_that_and_on_itself_which_may_be_taken_back() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    world.tab(0).patch("c-6", "city", "Kiel");
    world.run_for(50);
    let first = world.tab(0).patch("c-1", "city", "Kiel");
    let second = world.tab(0).patch("c-1", "city", "Ulm");
    let third = world.tab(0).patch_after("c-2", "Ulm", &[first]).unwrap();
    assert_eq!(world.ops[&third].after, [second, first]);
    let fourth = world.tab(0).patch("c-1", "city", "Berlin");
    assert!(world.ops[&fourth].replaces.is_empty(), "something depends on the one before");
}

#[test]
fn patches_that_depend_on_different_things_are_not_joined() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let other = world.tab(0).patch("c-6", "city", "Kiel");
    world.run_for(50);
    world.tab(0).patch("c-1", "city", "Kiel");
    let second = world.tab(0).patch_after("c-1", "Ulm", &[other]).unwrap();
    assert!(world.ops[&second].replaces.is_empty());
    let third = world.tab(0).patch_after("c-1", "Berlin", &[other]).unwrap();
    assert_eq!(world.ops[&third].replaces, [second]);
}

#[test]
fn a_tab_that_hears_late_of_what_depends_on_an_ended_one_ends_it() {
    let mut world = World::with_tabs(2);
    world.server.refused.insert("c-1".into());
    let first = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(5);
    world.faults.lost_messages_percent = 100;
    let second = world.tab(1).patch_after("c-2", "Kiel", &[first]).unwrap();
    world.run_for(100);
    world.faults.lost_messages_percent = 0;
    world.run_for(10_000);
    assert_eq!((world.outcome(1, second), world.sent(second)), (vec![refused()], 0));
    world.assert_all_agree();
}

#[test]
fn a_tab_that_dies_while_dependants_end_leaves_none_of_them_alone() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    world.tab(0).patch("c-6", "city", "Kiel");
    world.run_for(50);
    let first = world.tab(0).patch("c-1", "city", "Kiel");
    let second = world.tab(0).patch_after("c-2", "Kiel", &[first]).unwrap();
    for n in 1..=2 {
        let mut left = World::with_tabs(1);
        std::mem::swap(&mut left.storage, &mut world.storage);
        world.storage.clone_from(&left.storage);
        // So many of the two entries are deleted before the tab dies.
        left.storage[0].clone_from(&world.storage[0]);
        let order = unpersisted(&mut world_of(&world), first);
        for key in order.iter().take(n) {
            left.storage[0].remove(key);
        }
        let has = |id: OperationId| left.storage[0].keys().any(|key| key.ends_with(&id.to_string()));
        assert!(has(first) || !has(second), "what depends on the other is alone");
    }
}

/// A world that goes on from what another has stored.
fn world_of(world: &World) -> World {
    let mut next = World::new();
    next.cut_network();
    next.storage.clone_from(&world.storage);
    next.tracing = true;
    next.open_tab("maya");
    next.run_for(50);
    next
}

/// The entries in the order in which they are deleted when an operation is dropped.
fn unpersisted(world: &mut World, id: OperationId) -> Vec<String> {
    let answer = json!({"protocol": 1, "id": id, "table": "companies", "key": "c-1", "replayed": false,
        "outcome": "refused", "code": "forbidden", "message": "no"});
    world.tell(0, rota_engine::Input::Answered { answer: serde_json::from_value(answer).unwrap() });
    let outputs = world.tabs[0].trace.iter().map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
    let keys = outputs.filter_map(|output| Some(output.get("unpersist")?["key"].as_str()?.to_owned()));
    let keys: Vec<String> = keys.collect();
    assert_eq!(keys.len(), 2);
    keys
}
