//! Patches that wait are sent as one: nothing is lost, nothing happens twice, and every promise is kept.

use rota_engine::{Failure, Input, OperationState, REPLACES_MAX, Stored};
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
}

#[test]
fn patches_that_wait_are_sent_as_one_that_sets_all_of_them() {
    let mut world = offline();
    let first = world.tab(0).patch("c-1", "city", "Kiel");
    let second = world.tab(0).patch("c-1", "name", "Dock");
    let third = world.tab(0).patch("c-1", "city", "Hamburg");
    let op = world.ops[&third].clone();
    assert_eq!(serde_json::to_value(&op.set).unwrap(), json!({"city": "Hamburg", "name": "Dock"}));
    assert_eq!(serde_json::to_value(&op.base).unwrap(), json!({"city": "Bremen", "name": "Harbour"}));
    assert_eq!((op.replaces, op.base_version), (vec![first, second], world.ops[&first].base_version.clone()));
    assert_eq!(world.stored(0).len(), 2);
    world.run_for(50);
    for tab in 0..2 {
        assert_eq!(world.tabs[tab].status.as_ref().unwrap().unsent, 2, "the one, and that of the other record");
        assert_eq!(world.tabs[tab].field("c-1", "city"), "Hamburg".into());
        assert_eq!(world.tabs[tab].operations.len(), 2);
    }
    online(&mut world);
    assert_eq!((world.sent(first), world.sent(second), world.server.effects[&third]), (0, 0, 1));
    for id in [first, second, third] {
        assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
        assert_eq!(world.outcome(1, id), []);
    }
    assert!(world.stored(0).is_empty());
    world.assert_all_agree();
}

#[test]
fn a_new_leader_does_not_send_what_another_one_stood_for_of_which_it_never_heard() {
    let mut world = offline();
    let first = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(50);
    // From here on the follower hears nothing: the second one is made, sent and done.
    world.faults.held_messages = true;
    let second = world.tab(0).patch("c-1", "city", "Hamburg");
    world.heal_network();
    world.tell(0, Input::Reconnect);
    while world.outcome(0, second).is_empty() {
        world.run_for(1);
    }
    world.run_for(50);
    world.lose_messages();
    world.kill_tab(0);
    world.run_until_quiet();
    assert_eq!(world.sent(first), 0);
    world.assert_all_agree();
    assert_eq!(world.server.company("c-1").unwrap()["city"], "Hamburg".into());
}

#[test]
fn what_was_seen_while_patches_were_joined_is_what_was_typed() {
    let mut world = offline();
    for city in ["K", "Ki", "Kie", "Kiel"] {
        world.tab(0).patch("c-1", "city", city);
        world.run_for(10);
    }
    online(&mut world);
    let typed = ["Bremen", "K", "Ki", "Kie", "Kiel"].map(Into::into);
    assert_eq!(world.tabs[0].seen("c-1", "city"), typed);
    assert_eq!(world.tabs[1].seen("c-1", "city"), typed);
}

#[test]
fn a_refusal_of_the_one_refuses_all_that_it_stands_for() {
    let mut world = offline();
    world.server.refused.insert("c-1".into());
    let ids = ["Kiel", "Hamburg"].map(|city| world.tab(0).patch("c-1", "city", city));
    online(&mut world);
    for id in ids {
        assert_eq!(world.outcome(0, id), [OperationState::Refused]);
    }
    assert_eq!(world.tabs[0].field("c-1", "city"), "Bremen".into());
    world.assert_all_agree();
}

#[test]
fn only_a_plain_patch_that_was_never_sent_of_the_same_tab_is_joined() {
    let mut world = offline();
    let never = |world: &World, id| world.ops[&id].replaces.is_empty();
    // Sent, and lost on its way.
    let second = world.tab(0).patch("c-6", "city", "Hamburg");
    assert!(never(&world, second), "the first may have arrived");
    world.tab(0).assign("c-1", "maya");
    let after_named = world.tab(0).patch("c-1", "city", "Kiel");
    assert!(never(&world, after_named));
    let named = world.tab(0).assign("c-1", "jonas");
    assert!(never(&world, named));
    world.tab(0).insert("c-9");
    let after_insert = world.tab(0).patch("c-9", "city", "Hamburg");
    assert!(never(&world, after_insert));
    let of_the_follower = ["Kiel", "Hamburg"].map(|city| world.tab(1).patch("c-2", "city", city));
    assert!(of_the_follower.iter().all(|id| never(&world, *id)), "a follower does not know what its leader sent");
    world.run_for(20);
    let after_another_tab = world.tab(0).patch("c-2", "city", "Ulm");
    assert!(never(&world, after_another_tab));
    world.tab(0).patch("c-3", "city", "Kiel");
    world.tab(0).delete("c-3");
    online(&mut world);
    world.assert_all_agree();
}

#[test]
fn a_dead_patch_is_not_joined() {
    let mut world = World::with_tabs(1);
    world.faults.push_failures.push_back((Failure::Invalid, None));
    let dead = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(50);
    assert_eq!(world.outcome(0, dead), [OperationState::Dead]);
    world.cut_network();
    let id = world.tab(0).patch("c-1", "city", "Ulm");
    assert!(world.ops[&id].replaces.is_empty());
}

#[test]
fn tabs_without_locks_join_nothing_as_each_may_have_sent_what_it_heard() {
    let mut world = World::new();
    world.locks_exist = false;
    world.open_tab("maya");
    world.run_for(1_000);
    world.cut_network();
    world.tab(0).patch("c-6", "city", "Kiel");
    world.run_for(50);
    world.tab(0).patch("c-1", "city", "Kiel");
    let id = world.tab(0).patch("c-1", "city", "Ulm");
    assert!(world.ops[&id].replaces.is_empty());
}

#[test]
fn what_an_earlier_leader_may_have_sent_is_not_joined() {
    let mut world = offline();
    let early = world.tab(1).patch("c-1", "city", "Kiel");
    world.run_for(10);
    world.kill_tab(0);
    world.run_for(50);
    assert_eq!(world.leader(), Some(1));
    let late = world.tab(1).patch("c-1", "city", "Ulm");
    assert!(world.ops[&late].replaces.is_empty());
    let later = world.tab(1).patch("c-1", "city", "Berlin");
    assert_eq!(world.ops[&later].replaces, [late]);
    online(&mut world);
    assert_eq!(world.outcome(1, early), [OperationState::Confirmed]);
    assert_eq!(world.outcome(1, late), [OperationState::Confirmed]);
    world.assert_all_agree();
}

#[test]
fn an_operation_stands_for_no_more_than_the_bound() {
    let mut world = offline();
    let ids: Vec<_> = (0..=REPLACES_MAX + 1).map(|n| world.tab(0).patch("c-1", "city", &n.to_string())).collect();
    assert_eq!(world.ops[&ids[REPLACES_MAX]].replaces.len(), REPLACES_MAX);
    assert!(world.ops[&ids[REPLACES_MAX + 1]].replaces.is_empty());
    online(&mut world);
    assert!(ids.iter().all(|id| world.outcome(0, *id) == [OperationState::Confirmed]));
    world.assert_all_agree();
}

#[test]
fn a_tab_that_dies_between_writing_the_one_and_deleting_the_other_loses_and_doubles_nothing() {
    for crash in ["persist", "unpersist", "broadcast", "notify"] {
        for followed in [false, true] {
            let mut world = offline();
            if !followed {
                world.kill_tab(1);
            }
            let first = world.tab(0).patch("c-1", "city", "Kiel");
            world.run_for(20);
            world.faults.crash_before = Some(crash);
            let second = world.tab(0).patch("c-1", "name", "Dock");
            assert!(!world.tabs[0].alive);
            let tab = world.open_tab("maya");
            online(&mut world);
            let is_stored = crash != "persist";
            assert_eq!(
                (world.sent(first), world.sent(second)),
                (u32::from(!is_stored), u32::from(is_stored)),
                "{crash}"
            );
            assert_eq!(world.tabs[tab].field("c-1", "city"), "Kiel".into());
            assert_eq!(world.tabs[tab].field("c-1", "name"), if is_stored { "Dock" } else { "Harbour" }.into());
            assert!(world.stored(0).is_empty(), "{crash}: {:?}", world.stored(0));
            world.assert_all_agree();
        }
    }
}

#[test]
fn a_reload_while_patches_are_joined_sends_them_once() {
    let mut world = offline();
    world.kill_tab(1);
    world.tab(0).patch("c-1", "city", "Kiel");
    let second = world.tab(0).patch("c-1", "name", "Dock");
    world.reload_tab(0);
    online(&mut world);
    assert_eq!(world.server.applied.iter().filter(|id| **id == second).count(), 1);
    assert_eq!(world.server.applied.len(), 2, "and that of the other record");
    world.assert_all_agree();
}

#[test]
fn a_leader_that_changes_while_patches_are_joined_loses_and_doubles_nothing() {
    for lost in [0, 100] {
        let mut world = offline();
        let first = world.tab(0).patch("c-1", "city", "Kiel");
        world.run_for(20);
        world.faults.lost_messages_percent = lost;
        let second = world.tab(0).patch("c-1", "city", "Hamburg");
        world.steal_lock(1);
        world.faults.lost_messages_percent = 0;
        online(&mut world);
        assert_eq!((world.sent(first), world.server.effects[&second]), (0, 1));
        for id in [first, second] {
            assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
        }
        world.assert_all_agree();
    }
}

#[test]
fn a_follower_that_missed_the_one_lets_go_of_the_other_when_it_ends() {
    let mut world = offline();
    world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(20);
    world.faults.lost_messages_percent = 100;
    world.tab(0).patch("c-1", "city", "Hamburg");
    world.faults.lost_messages_percent = 0;
    online(&mut world);
    assert_eq!(world.tabs[1].operations.len(), 0);
    world.assert_all_agree();
}

#[test]
fn the_one_that_stands_for_others_is_taken_back_with_them_and_they_name_it() {
    let mut world = offline();
    let first = world.tab(0).patch("c-1", "city", "Kiel");
    let second = world.tab(0).patch("c-1", "city", "Hamburg");
    let error = world.tab(0).cancel(first).unwrap_err();
    assert_eq!(error.code(), "too-late");
    assert!(error.to_string().contains(&second.to_string()), "{error}");
    world.tab(0).cancel(second).unwrap();
    for id in [first, second] {
        assert_eq!(world.outcome(0, id), [OperationState::Cancelled]);
    }
    assert_eq!(world.tabs[0].field("c-1", "city"), "Bremen".into());
    online(&mut world);
    assert_eq!((world.sent(first), world.sent(second)), (0, 0));
    world.assert_all_agree();
}

#[test]
fn a_patch_that_could_not_be_stored_leaves_the_one_before_it_alone() {
    let mut world = offline();
    let first = world.tab(0).patch("c-1", "city", "Kiel");
    world.faults.storage_full = true;
    let second = world.tab(0).patch("c-1", "city", "Hamburg");
    world.faults.storage_full = false;
    assert_eq!((&world.tabs[0].rejected, world.tabs[0].field("c-1", "city")), (&vec![second], "Kiel".into()));
    online(&mut world);
    assert_eq!(world.outcome(0, first), [OperationState::Confirmed]);
    assert_eq!(world.outcome(0, second), []);
}

#[test]
fn what_a_patch_stands_for_stays_stored_until_the_patch_itself_is() {
    let mut world = offline();
    world.tab(0).patch("c-1", "city", "Kiel");
    world.faults.stored_later = true;
    let second = world.tab(0).patch("c-1", "city", "Hamburg");
    assert_eq!(world.stored(0).len(), 3, "of the other record, the first, and the second");
    world.tell(0, Input::OperationDurable { id: second, durable: true });
    assert_eq!(world.stored(0).len(), 2);
}

#[test]
fn closing_settles_what_was_joined_as_well() {
    let mut world = offline();
    let ids = ["Kiel", "Hamburg"].map(|city| world.tab(0).patch("c-1", "city", city));
    world.close_tab(0);
    for id in ids {
        assert_eq!(world.outcome(0, id), [OperationState::Unknown]);
    }
}

#[test]
fn nothing_is_sent_between_the_decision_to_join_and_the_joined_one_being_stored() {
    let mut world = World::with_tabs(1);
    world.faults.silent = true;
    // The first is on its way and is never answered; the second waits for it, until the clock passes its time.
    world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(50);
    let second = world.tab(0).patch("c-1", "city", "Ulm");
    // Not so late that this tab would have to ask itself whether it still leads.
    world.run_for(9_000);
    world.now.mono_ms += 1_900;
    world.now.wall_ms += 1_900;
    let third = world.tab(0).patch("c-1", "city", "Hamburg");
    assert_eq!(world.ops[&third].replaces, [second]);
    assert!(!world.tabs[0].pushed.contains(&second));
    world.faults.silent = false;
    world.run_until_quiet();
    assert_eq!(world.sent(second), 0);
    world.assert_all_agree();
}

#[test]
fn a_stored_answer_that_comes_for_nothing_harms_nothing() {
    let mut world = offline();
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.tab(0).patch("c-1", "city", "Ulm");
    world.tell(0, Input::OperationStored { id, stored: Stored::Now });
    online(&mut world);
    world.assert_all_agree();
}

#[test]
fn a_new_leader_whose_storage_does_not_answer_sends_after_a_second() {
    let mut world = World::new();
    world.faults.storage_mute = true;
    world.open_tab("maya");
    world.run_for(100);
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(500);
    assert_eq!(world.sent(id), 0, "it may yet learn of something that stands for this");
    world.run_for(1_000);
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
}
