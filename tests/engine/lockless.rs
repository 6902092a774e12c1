//! A browser without locks: each tab has a link, and sends what it made itself. What another tab made it sends only when that one is
//! gone, and then one of those that stay does.

use rota_engine::{Failure, Input, OperationId, OperationState, Reach, Role, Value};

use crate::world::World;

fn lockless(tabs: usize) -> World {
    let mut world = World::new();
    world.locks_exist = false;
    for _ in 0..tabs {
        world.open_tab("maya");
    }
    world.run_for(1_000);
    world
}

fn pushed(world: &World, tab: usize) -> Vec<OperationId> {
    let mut pushed = world.tabs[tab].pushed.clone();
    pushed.sort();
    pushed.dedup();
    pushed
}

/// The tab that others leave the operations of the dead to.
fn first(world: &World) -> usize {
    world.living().into_iter().min_by_key(|tab| world.tabs[*tab].engine.tab().to_owned()).unwrap()
}

#[test]
fn a_tab_sends_what_it_made_and_shows_what_another_one_made() {
    let mut world = lockless(2);
    world.cut_network();
    let ids = [0, 1].map(|tab| world.tab(tab).assign(&format!("c-{}", tab + 1), "maya"));
    world.run_for(60_000);
    assert_eq!(world.owner(0, "c-2"), Value::from("maya"));
    assert_eq!(world.owner(1, "c-1"), Value::from("maya"));
    world.heal_network();
    world.run_until_quiet();
    for (tab, id) in ids.into_iter().enumerate() {
        assert_eq!(world.tabs[tab].status.as_ref().unwrap().role, Role::Alone);
        assert_eq!(pushed(&world, tab), [id]);
        assert_eq!(world.outcome(tab, id), [OperationState::Confirmed]);
    }
    world.assert_all_agree();
}

#[test]
fn operations_of_one_record_are_sent_in_their_order_whoever_made_them() {
    let mut world = lockless(2);
    world.cut_network();
    let mut ids = Vec::new();
    for turn in 0..6 {
        ids.push(world.tab(turn % 2).patch("c-1", "city", &format!("city {turn}")));
        world.run_for(20);
    }
    world.heal_network();
    world.run_until_quiet();
    assert!(ids.iter().all(|id| world.server.effects[id] == 1));
    assert!((0..2).all(|tab| world.tabs[tab].field("c-1", "city") == "city 5".into()));
    world.assert_all_agree();
}

#[test]
fn what_a_dead_tab_left_is_sent_by_one_of_those_that_stay() {
    let mut world = lockless(4);
    world.cut_network();
    let ids = ["c-1", "c-2"].map(|key| world.tab(3).assign(key, "maya"));
    world.run_for(100);
    world.kill_tab(3);
    world.heal_network();
    world.run_for(60_000);
    let heir = first(&world);
    for tab in world.living() {
        assert_eq!(pushed(&world, tab), if tab == heir { ids.to_vec() } else { vec![] }, "tab {tab}, heir {heir}");
    }
    assert!(ids.iter().all(|id| world.server.effects[id] == 1));
    world.assert_all_agree();
}

#[test]
fn what_a_tab_left_that_said_goodbye_is_taken_over_at_once() {
    let mut world = lockless(2);
    world.cut_network();
    let id = world.tab(1).assign("c-1", "maya");
    world.run_for(100);
    world.close_tab(1);
    world.heal_network();
    world.tell(0, rota_engine::Input::NetworkHinted { online: true });
    world.run_for(2_000);
    assert_eq!(world.server.effects.get(&id), Some(&1));
}

#[test]
fn what_an_earlier_visit_left_is_sent_by_the_next_after_a_moment_of_grace() {
    let mut world = lockless(1);
    world.cut_network();
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(100);
    world.kill_tab(0);
    world.heal_network();
    let next = world.open_tab("maya");
    world.run_for(4_000);
    assert_eq!(world.sent(id), 0, "its author may be in another tab");
    world.run_for(6_000);
    assert_eq!((world.sent(id), pushed(&world, next)), (1, vec![id]));
    world.assert_all_agree();
}

#[test]
fn an_end_that_was_not_heard_of_is_asked_for() {
    let mut world = lockless(2);
    world.cut_network();
    let ids = [world.tab(0).assign("c-1", "maya"), world.tab(0).assign("c-2", "maya")];
    world.run_for(100);
    world.server.refused.insert("c-1".into());
    world.faults.lost_messages_percent = 100;
    world.heal_network();
    world.run_for(3_000);
    assert_eq!(world.outcome(0, ids[0]), [OperationState::Refused]);
    world.faults.lost_messages_percent = 0;
    world.run_for(60_000);
    assert_eq!(world.tabs[1].engine.stats().operations, 0);
    assert_eq!(pushed(&world, 1), []);
    world.assert_all_agree();
}

#[test]
fn an_operation_is_cancelled_by_the_tab_that_made_it() {
    let mut world = lockless(2);
    world.cut_network();
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(100);
    // While a call is under way, it may arrive.
    let sent = world.sent(id);
    let later = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(10);
    world.tab(1).cancel(later).unwrap();
    world.run_for(1_000);
    assert_eq!(world.outcome(0, later), [OperationState::Cancelled]);
    world.heal_network();
    world.run_until_quiet();
    assert_eq!((sent, world.sent(later), world.server.effects[&id]), (0, 0, 1));
    world.assert_all_agree();
}

#[test]
fn what_was_given_up_is_given_up_everywhere_and_tried_again_by_the_tab_that_made_it() {
    let mut world = lockless(2);
    world.faults.push_failures.push_back((Failure::Invalid, None));
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(1_000);
    assert_eq!(world.tabs[1].status.as_ref().unwrap().dead, 1);
    world.tab(1).retry(id).unwrap();
    world.run_for(5_000);
    assert_eq!((world.server.effects[&id], pushed(&world, 1)), (1, vec![]));
    assert!((0..2).all(|tab| world.tabs[tab].status.as_ref().unwrap().dead == 0));
}

#[test]
fn without_a_ledger_what_a_dead_tab_left_is_done_once() {
    for seed in 0..8 {
        let mut world = World::seeded(seed);
        (world.locks_exist, world.idempotent, world.server.no_ledger) = (false, false, true);
        for _ in 0..3 {
            world.open_tab("maya");
        }
        world.run_for(1_000);
        world.cut_network();
        let id = world.tab(2).patch("c-1", "city", "Kiel");
        world.run_for(100);
        world.kill_tab(2);
        world.heal_network();
        world.run_for(120_000);
        assert_eq!(world.server.effects.get(&id), Some(&1), "seed {seed}");
        assert_eq!(world.sent(id), 1, "seed {seed}");
    }
}

#[test]
fn without_a_ledger_a_tab_that_slept_sends_nothing_that_others_may_have_sent_for_it() {
    let mut world = lockless(0);
    (world.idempotent, world.server.no_ledger) = (false, true);
    for _ in 0..2 {
        world.open_tab("maya");
    }
    world.run_for(1_000);
    world.cut_network();
    let id = world.tab(1).patch("c-1", "city", "Kiel");
    world.run_for(100);
    world.freeze(1);
    world.heal_network();
    world.run_for(120_000);
    assert_eq!(world.server.effects.get(&id), Some(&1));
    world.thaw(1, true);
    world.run_for(60_000);
    assert_eq!((world.server.effects[&id], world.sent(id)), (1, 1));
    world.assert_all_agree();
}

/// Two changes of one record, of which the server refuses the first, wait in one tab; another one takes it for gone, and sends them.
fn taken_for_gone(reach: Reach) -> (World, [OperationId; 2]) {
    let mut world = lockless(2);
    for tab in 0..2 {
        world.tell(tab, Input::ChannelProbed { reach });
    }
    world.cut_network();
    world.server.refused.insert("c-1".into());
    let ids = ["maya", "jonas"].map(|to| world.tab(0).assign("c-1", to));
    world.run_for(20);
    world.faults.lost_messages_percent = 100;
    world.run_for(60_000);
    (world, ids)
}

/// What was sent by one tab is what another one sends: in between nothing has become of it.
fn stays_as_it_was(world: &mut World, ids: [OperationId; 2]) {
    let before = world.ops[&ids[1]].clone();
    world.run_until_quiet();
    assert_eq!(world.ops[&ids[1]], before, "it may have been sent");
    assert_eq!(world.outcome(0, ids[0]), [OperationState::Refused]);
}

#[test]
fn a_tab_that_hears_the_end_of_what_it_never_sent_keeps_what_comes_after_as_it_was() {
    let (mut world, ids) = taken_for_gone(Reach::Channel);
    world.heal_network();
    // Only the other one hears of the network.
    world.tell(1, Input::Reconnect);
    world.faults.lost_messages_percent = 0;
    stays_as_it_was(&mut world, ids);
    assert!(world.tabs[1].pushed.contains(&ids[1]));
}

#[test]
fn a_tab_that_no_other_one_can_hear_keeps_what_comes_after_an_operation_that_came_to_nothing_as_it_was() {
    let (mut world, ids) = taken_for_gone(Reach::Alone);
    world.heal_network();
    world.tell(0, Input::Reconnect);
    stays_as_it_was(&mut world, ids);
}
