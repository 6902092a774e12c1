//! Each of the patches that wait joined as one is taken back by itself: the others stay, in any order, and across reloads.

use rota_engine::{Failure, Input, OperationId, OperationState, Value};
use serde_json::json;

use crate::world::World;

/// A leader that is off-line, so that what it accepts waits, and a follower.
fn offline() -> World {
    let mut world = World::with_tabs(2);
    world.cut_network();
    // Something of another record finds out that the server is away, and closes the gate.
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
    assert!(world.stored(0).is_empty(), "{:?}", world.stored(0));
}

/// Four patches of one record: two fields are set twice, one by the second alone.
const SETS: [&str; 4] =
    [r#"{"city": "A"}"#, r#"{"city": "B", "name": "B"}"#, r#"{"owner_id": "maya"}"#, r#"{"city": "D", "name": "D"}"#];

fn make(world: &mut World) -> [OperationId; 4] {
    SETS.map(|set| world.tab(0).set("c-1", serde_json::from_str(set).unwrap()))
}

/// What is to be seen of a field when some of the four are left.
fn expected(before: &Value, field: &str, left: &[usize]) -> Value {
    let sets = left.iter().map(|at| serde_json::from_str::<serde_json::Value>(SETS[*at]).unwrap());
    let last = sets.filter_map(|set| set.get(field).cloned()).next_back();
    last.map_or_else(|| before.clone(), |value| value.as_str().unwrap().into())
}

fn orders() -> Vec<Vec<usize>> {
    let mut orders = vec![vec![]];
    for _ in 0..4 {
        let longer = |order: &Vec<usize>| {
            (0..4).filter(|at| !order.contains(at)).map(|at| [&order[..], &[at]].concat()).collect::<Vec<_>>()
        };
        orders = orders.iter().flat_map(longer).collect();
    }
    orders
}

#[test]
fn each_of_joined_patches_is_taken_back_by_itself_in_any_order() {
    for order in orders() {
        for count in 1..=4 {
            let mut world = offline();
            let before = ["city", "name", "owner_id"].map(|field| world.tabs[0].field("c-1", field));
            let ids = make(&mut world);
            let mut left = vec![0, 1, 2, 3];
            for at in &order[..count] {
                assert_eq!(world.tab(0).undo(ids[*at]).unwrap(), None, "{order:?}");
                left.retain(|one| one != at);
                assert_eq!(world.outcome(0, ids[*at]), [OperationState::Cancelled], "{order:?}");
                world.run_for(20);
                for tab in [0, 1] {
                    for (field, before) in ["city", "name", "owner_id"].into_iter().zip(&before) {
                        let seen = world.tabs[tab].field("c-1", field);
                        assert_eq!(seen, expected(before, field, &left), "{order:?}, {left:?}, tab {tab}, {field}");
                    }
                }
                assert_eq!(world.tab(0).undo(ids[*at]).unwrap_err().code(), "nothing-to-undo");
            }
            assert_eq!(world.tabs[0].status.as_ref().unwrap().unsent, 1 + usize::from(!left.is_empty()));
            online(&mut world);
            for (at, id) in ids.into_iter().enumerate() {
                let end = if left.contains(&at) { OperationState::Confirmed } else { OperationState::Cancelled };
                assert_eq!(world.outcome(0, id), [end], "{order:?}, {at}");
            }
            for (field, before) in ["city", "name", "owner_id"].into_iter().zip(&before) {
                assert_eq!(world.server.company("c-1").unwrap()[field], expected(before, field, &left), "{order:?}");
            }
            let applied = world.server.applied.len();
            assert_eq!(
                applied,
                1 + usize::from(!left.is_empty()),
                "one call for what is left, and that of the other record"
            );
        }
    }
}

#[test]
fn what_is_left_was_decided_on_what_the_first_of_them_saw() {
    let mut world = offline();
    let [first, .., last] = make(&mut world);
    world.tab(0).undo(first).unwrap();
    let op = world.ops[&last].clone();
    let json = |fields: &rota_engine::Fields| serde_json::to_value(fields).unwrap();
    assert_eq!(json(&op.base), json!({"city": "Bremen", "name": "Harbour", "owner_id": null}));
    assert_eq!(json(&op.set), json!({"city": "D", "name": "D", "owner_id": "maya"}));
    online(&mut world);
    assert!(world.tabs[0].conflicts.is_empty());
}

#[test]
fn what_came_later_is_put_onto_what_is_left() {
    for at in 0..2 {
        let mut world = offline();
        let ids = ["A", "B"].map(|city| world.tab(0).patch("c-1", "city", city));
        // Of another kind, so it is not joined, nor is what follows it.
        let assigned = world.tab(0).assign("c-1", "maya");
        let later = world.tab(0).patch("c-1", "city", "C");
        let seen = world.tabs[0].seen("c-1", "city").len();
        world.tab(0).undo(ids[at]).unwrap();
        assert_eq!(world.tabs[0].seen("c-1", "city").len(), seen, "it never flickers");
        assert_eq!(world.ops[&later].base["city"], if at == 0 { "B" } else { "A" }.into());
        world.tab(0).undo(ids[1 - at]).unwrap();
        assert_eq!(world.ops[&later].base["city"], "Bremen".into());
        online(&mut world);
        for id in [assigned, later] {
            assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
        }
        assert!(world.tabs[0].conflicts.is_empty());
        assert_eq!(world.server.company("c-1").unwrap()["city"], "C".into());
    }
}

#[test]
fn more_is_joined_to_what_is_left_and_taken_back_again() {
    let mut world = offline();
    let [first, second] = ["A", "B"].map(|city| world.tab(0).patch("c-1", "city", city));
    world.tab(0).undo(second).unwrap();
    let third = world.tab(0).patch("c-1", "name", "C");
    let fourth = world.tab(0).patch("c-1", "city", "D");
    assert_eq!(world.tabs[0].operations.len(), 2, "the one, and that of the other record");
    world.tab(0).undo(third).unwrap();
    world.tab(0).undo(fourth).unwrap();
    assert_eq!(world.tabs[0].field("c-1", "city"), "A".into());
    world.run_for(20);
    assert_eq!(world.tabs[1].field("c-1", "city"), "A".into());
    online(&mut world);
    let outcomes = [first, second, third, fourth].map(|id| world.outcome(0, id));
    let [done, back] = [vec![OperationState::Confirmed], vec![OperationState::Cancelled]];
    assert_eq!(outcomes, [done, back.clone(), back.clone(), back]);
}

#[test]
fn when_nothing_is_left_the_operation_is_cancelled_in_every_tab() {
    let mut world = offline();
    let ids = make(&mut world);
    for id in ids {
        world.tab(0).undo(id).unwrap();
    }
    world.run_for(20);
    for tab in 0..2 {
        assert_eq!(world.tabs[tab].operations.len(), 1, "that of the other record");
        assert_eq!(world.tabs[tab].field("c-1", "city"), "Bremen".into());
    }
    assert_eq!(world.stored(0).len(), 1);
    online(&mut world);
    assert!(ids.iter().all(|id| world.sent(*id) == 0));
}

#[test]
fn what_is_left_survives_the_tab_and_what_was_taken_back_does_not_come_back() {
    for at in 0..4 {
        let mut world = offline();
        let ids = make(&mut world);
        world.tab(0).undo(ids[at]).unwrap();
        world.run_for(20);
        world.kill_tab(1);
        world.reload_tab(0);
        online(&mut world);
        let left: Vec<usize> = (0..4).filter(|one| *one != at).collect();
        let company = world.server.company("c-1").unwrap().clone();
        assert_eq!(company["city"], expected(&"Bremen".into(), "city", &left));
        assert_eq!(company["name"], expected(&"Harbour".into(), "name", &left));
        assert_eq!(company["owner_id"], expected(&Value::Null, "owner_id", &left));
        assert_eq!(world.server.applied.len(), 2, "what is left once, and that of the other record");
    }
}

#[test]
fn a_tab_that_dies_while_one_is_taken_back_loses_and_doubles_nothing_of_the_others() {
    for at in [0, 3] {
        for crash in ["persist", "unpersist", "broadcast", "notify"] {
            let mut world = offline();
            let ids = make(&mut world);
            world.run_for(20);
            world.faults.crash_before = Some(crash);
            let _ = world.tab(0).undo(ids[at]);
            if world.tabs[0].alive {
                // Nothing is deleted where the one in the middle is taken back.
                continue;
            }
            world.kill_tab(1);
            world.open_tab("maya");
            online(&mut world);
            let company = world.server.company("c-1").unwrap().clone();
            assert_eq!(company["owner_id"], "maya".into(), "{at}, {crash}");
            let name = if at == 3 && crash != "persist" { "B" } else { "D" };
            assert_eq!(company["name"], name.into(), "{at}, {crash}");
            assert_eq!(world.server.applied.len(), 2, "{at}, {crash}");
        }
    }
}

#[test]
fn where_what_is_left_can_not_be_stored_nothing_is_taken_back() {
    for at in 0..4 {
        let mut world = offline();
        let ids = make(&mut world);
        world.faults.storage_full = true;
        let _ = world.tab(0).undo(ids[at]);
        world.faults.storage_full = false;
        assert!(world.tabs[0].has_problem("storage"));
        assert_eq!(world.outcome(0, ids[at]), []);
        assert_eq!(world.tabs[0].field("c-1", "city"), "D".into());
        assert_eq!(world.tabs[0].rejected, []);
        // It can be tried again.
        world.tab(0).undo(ids[at]).unwrap();
        assert_eq!(world.outcome(0, ids[at]), [OperationState::Cancelled]);
        online(&mut world);
        assert_eq!(world.server.applied.len(), 2);
    }
}

#[test]
fn what_depends_on_the_one_that_is_taken_back_ends_with_it_and_nothing_else() {
    for at in 0..3 {
        let mut world = offline();
        let ids = ["A", "B", "C"].map(|city| world.tab(0).patch("c-1", "city", city));
        let depending = ids.map(|id| {
            world
                .tab(0)
                .try_do(
                    json!({"name": "patch", "table": "companies", "key": "c-2", "set": {"city": "Ulm"}, "after": [id]}),
                )
                .unwrap()
        });
        let undone = world.tab(0).undo(ids[at]).unwrap();
        // Under the id of the last one others wait for the whole: it is undone by an operation of its own, which follows.
        assert_eq!(undone.is_some(), at == 2);
        assert_eq!(world.tabs[0].field("c-1", "city"), ["C", "C", "B"][at].into());
        for (other, id) in depending.into_iter().enumerate() {
            let is_over = other == at && undone.is_none();
            assert_eq!(
                world.outcome(0, id),
                if is_over { vec![OperationState::Cancelled] } else { vec![] },
                "{at}, {other}"
            );
        }
        online(&mut world);
        assert_eq!(world.server.company("c-1").unwrap()["city"], ["C", "C", "B"][at].into());
    }
}

#[test]
fn what_depends_on_one_that_was_taken_back_is_refused() {
    let mut world = offline();
    let ids = ["A", "B", "C"].map(|city| world.tab(0).patch("c-1", "city", city));
    world.tab(0).undo(ids[0]).unwrap();
    world.tab(0).undo(ids[2]).unwrap();
    for (id, code) in [(ids[0], "dependency-ended"), (ids[2], "dependency-ended")] {
        let command =
            json!({"name": "patch", "table": "companies", "key": "c-2", "set": {"city": "Ulm"}, "after": [id]});
        assert_eq!(world.tab(0).try_do(command).unwrap_err().code(), code);
    }
    let command =
        json!({"name": "patch", "table": "companies", "key": "c-2", "set": {"city": "Ulm"}, "after": [ids[1]]});
    let id = world.tab(0).try_do(command).unwrap();
    online(&mut world);
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
}

#[test]
fn once_they_are_sent_each_is_undone_by_an_operation_of_its_own() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for quiet in [false, true] {
            let mut world = offline();
            let ids = ["A", "B", "C"].map(|city| world.tab(0).patch("c-1", "city", city));
            world.heal_network();
            world.tell(0, Input::Reconnect);
            if quiet {
                world.run_until_quiet();
            } else {
                while world.sent(ids[2]) == 0 {
                    world.run_for(1);
                }
            }
            let mut left = vec!["Bremen", "A", "B", "C"];
            for at in order {
                world.tab(0).undo(ids[at]).unwrap();
                left.retain(|city| *city != ["A", "B", "C"][at]);
                assert_eq!(world.tabs[0].field("c-1", "city"), left[left.len() - 1].into(), "{order:?}, {quiet}");
            }
            online(&mut world);
            assert_eq!(world.server.company("c-1").unwrap()["city"], "Bremen".into(), "{order:?}, {quiet}");
            assert!(world.tabs[0].conflicts.is_empty());
            assert!(ids.iter().all(|id| world.outcome(0, *id) == [OperationState::Confirmed]));
        }
    }
}

#[test]
fn a_refusal_of_what_is_left_says_nothing_else_of_what_was_taken_back() {
    let mut world = offline();
    world.server.refused.insert("c-1".into());
    let ids = make(&mut world);
    world.tab(0).undo(ids[1]).unwrap();
    world.tab(0).undo(ids[3]).unwrap();
    online(&mut world);
    let outcomes = ids.map(|id| world.outcome(0, id));
    let [refused, back] = [vec![OperationState::Refused], vec![OperationState::Cancelled]];
    assert_eq!(outcomes, [refused.clone(), back.clone(), refused, back]);
    assert_eq!(world.tabs[0].field("c-1", "city"), "Bremen".into());
}

#[test]
fn what_was_given_up_is_dropped_as_a_whole() {
    let mut world = offline();
    world.faults.push_failures.extend([(Failure::Invalid, None), (Failure::Invalid, None)]);
    let ids = make(&mut world);
    world.heal_network();
    world.tell(0, Input::Reconnect);
    world.run_for(5_000);
    assert_eq!(world.outcome(0, ids[3]), [OperationState::Dead]);
    assert_eq!(world.tab(0).undo(ids[1]).unwrap_err().code(), "too-late");
    assert_eq!(world.tab(0).undo(ids[3]).unwrap(), None);
    assert_eq!(world.outcome(0, ids[3]), [OperationState::Dead, OperationState::Cancelled]);
}

#[test]
fn long_texts_are_joined_only_so_far_as_storage_bears_it() {
    let mut world = offline();
    let text = "x".repeat(10_000);
    let ids: Vec<_> = (0..8).map(|n| world.tab(0).patch("c-1", "city", &format!("{n}{text}"))).collect();
    assert!(world.stored(0).len() > 2);
    world.tab(0).undo(ids[7]).unwrap();
    assert_eq!(world.tabs[0].field("c-1", "city"), format!("6{text}").as_str().into());
    online(&mut world);
    assert_eq!(world.server.company("c-1").unwrap()["city"], format!("6{text}").as_str().into());
}
