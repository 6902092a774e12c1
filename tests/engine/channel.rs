//! The same tabs over a channel that reorders, repeats, delivers late in a burst, or not at all; and tabs of two protocols together.

use rota_engine::{Input, LinkState, OperationId, OperationState, Role};
use serde_json::json;

use crate::world::World;

fn role(world: &World, tab: usize) -> Role {
    world.tabs[tab].status.as_ref().unwrap().role
}

fn grants(world: &World) -> u32 {
    world.tabs.iter().map(|tab| tab.locks_granted).sum()
}

/// Every tab changes something, and the server too.
fn work(world: &mut World, rounds: usize) -> Vec<(usize, OperationId)> {
    let mut made = Vec::new();
    for round in 0..rounds {
        for tab in world.living() {
            let key = format!("c-{}", 1 + (tab + round) % 6);
            made.push((tab, world.tab(tab).patch(&key, "city", &format!("{tab} {round}"))));
            world.run_for(37);
        }
        world.sql_update(&format!("c-{}", 1 + round % 6), "owner_id", "jonas");
        world.run_for(500);
    }
    made
}

fn assert_settled(world: &World, made: &[(usize, OperationId)]) {
    for (tab, id) in made {
        assert_eq!(world.outcome(*tab, *id).len(), 1, "operation {id} of tab {tab}");
    }
    world.assert_all_agree();
}

#[test]
fn over_a_channel_that_reorders_everything_settles_and_all_agree() {
    let mut world = World::with_tabs(4);
    world.faults.jitter_ms = 3_000;
    let made = work(&mut world, 6);
    world.run_for(20_000);
    world.faults.jitter_ms = 0;
    world.run_until_quiet();
    assert_settled(&world, &made);
}

#[test]
fn over_a_channel_that_repeats_everything_settles_and_all_agree() {
    let mut world = World::with_tabs(4);
    (world.faults.doubled_percent, world.faults.jitter_ms) = (100, 200);
    let made = work(&mut world, 6);
    world.run_until_quiet();
    assert_settled(&world, &made);
}

#[test]
fn over_a_channel_that_delivers_late_in_a_burst_everything_settles_and_all_agree() {
    for silence_ms in [1_000, 5_000, 9_000, 60_000] {
        let mut world = World::with_tabs(4);
        world.faults.held_messages = true;
        let made = work(&mut world, 3);
        world.run_for(silence_ms);
        world.release_messages();
        world.run_until_quiet();
        world.run_for(30_000);
        assert_settled(&world, &made);
        let leaders = world.living().into_iter().filter(|tab| role(&world, *tab) == Role::Leader).count();
        assert_eq!(leaders, 1, "after {silence_ms} ms");
    }
}

#[test]
fn over_a_channel_that_carries_nothing_every_tab_sends_its_own_and_the_lock_comes_to_rest() {
    let mut world = World::with_tabs(1);
    world.faults.lost_messages_percent = 100;
    for _ in 0..3 {
        world.open_tab("maya");
    }
    let made = work(&mut world, 3);
    world.run_for(60_000);
    assert_settled(&world, &made);
    let before = grants(&world);
    let made = work(&mut world, 3);
    world.run_for(600_000);
    assert_eq!(grants(&world), before, "nobody takes the lock from anybody any more");
    assert!(before <= 5, "{before} grants");
    assert!((0..4).all(|tab| role(&world, tab) != Role::Follower));
    assert_settled(&world, &made);
    assert!(world.server.effects.values().all(|times| *times == 1));
}

#[test]
fn tabs_that_hear_each_other_again_have_one_leader_again() {
    let mut world = World::with_tabs(4);
    world.faults.lost_messages_percent = 100;
    world.run_for(120_000);
    assert!((0..4).filter(|tab| role(&world, *tab) == Role::Alone).count() >= 2);
    world.faults.lost_messages_percent = 0;
    let made = work(&mut world, 2);
    world.run_for(30_000);
    assert_eq!((0..4).filter(|tab| role(&world, *tab) == Role::Leader).count(), 1);
    assert_eq!((0..4).filter(|tab| role(&world, *tab) == Role::Follower).count(), 3);
    assert_settled(&world, &made);
}

#[test]
fn over_a_channel_that_loses_half_of_everything_the_lock_stays_where_it_is_most_of_the_time() {
    let mut world = World::with_tabs(3);
    world.faults.lost_messages_percent = 50;
    let made = work(&mut world, 6);
    world.run_for(300_000);
    world.faults.lost_messages_percent = 0;
    world.run_until_quiet();
    world.run_for(30_000);
    assert_settled(&world, &made);
    assert!(grants(&world) < 12, "{} grants", grants(&world));
}

#[test]
fn an_end_that_a_snapshot_overtook_is_heard_of_after_all() {
    let mut world = World::with_tabs(2);
    world.cut_network();
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(100);
    assert!(world.tabs[1].operations.contains_key(&id));
    // The follower hears nothing of the end but a later snapshot, in which the operation is no more.
    world.faults.held_messages = true;
    world.heal_network();
    while !world.outcome(0, id).contains(&OperationState::Confirmed) {
        world.run_for(1);
    }
    world.run_for(100);
    world.lose_messages();
    let hello =
        json!({"v": 1, "from": world.tabs[1].engine.tab(), "epoch": 1, "seq": 99, "kind": "hello", "pending": []});
    world.tell(0, Input::TabMessageReceived(serde_json::from_value(hello).unwrap()));
    world.run_for(100);
    assert!(world.tabs[1].operations.is_empty());
    assert_eq!(world.tabs[1].status.as_ref().unwrap().unsent, 0);
}

#[test]
fn a_leader_without_a_network_takes_nothing_from_a_tab_that_has_heard_more() {
    let mut world = World::with_tabs(2);
    world.sql_update("c-1", "name", "Newer");
    world.run_for(100);
    // It slept meanwhile, and nobody has told it that it leads no more.
    let snapshot = json!({"v": 1, "from": "woken", "epoch": 1, "seq": 9, "kind": "snapshot", "to": world.tabs[1].engine.tab(),
        "link": {"state": "offline", "why": "", "sinceMs": 1}, "cursor": "0:1", "records": [], "operations": []});
    world.tell(1, Input::TabMessageReceived(serde_json::from_value(snapshot).unwrap()));
    assert_eq!(world.tabs[1].field("c-1", "name"), "Newer".into());
    world.sql_delete("c-2");
    world.run_for(5_000);
    world.assert_all_agree();
}

#[test]
fn what_ended_after_a_tab_pulled_for_itself_is_gone_with_a_leader_that_has_no_stream() {
    let mut world = World::with_tabs(1);
    world.faults.no_streams = true;
    world.break_link(0, rota_engine::Failure::Network);
    world.run_for(20_000);
    world.faults.held_messages = true;
    let tab = world.open_tab("maya");
    world.run_for(2_000);
    assert!(!world.tabs[tab].field("c-1", "id").is_null(), "it has pulled for itself");
    world.sql_delete("c-1");
    world.run_for(20_000);
    world.lose_messages();
    world.run_for(5_000);
    assert!(world.tabs[tab].field("c-1", "id").is_null());
}

#[test]
fn what_an_old_tab_does_not_know_is_reported_as_newer_and_harms_nothing() {
    let mut world = World::new();
    world.tab_protocol = json!(1);
    world.open_tab("maya");
    world.run_for(1_000);
    let message = json!({"v": 2, "from": "x", "epoch": 1, "seq": 9, "kind": "ping"});
    world.tell(0, Input::TabMessageReceived(serde_json::from_value(message).unwrap()));
    assert!(world.tabs[0].has_problem("newer-message") && !world.tabs[0].has_problem("malformed-message"));
    world.tab_protocol = json!(null);
    let tab = world.open_tab("maya");
    world.run_for(100);
    let message = json!({"v": 3, "from": "x", "epoch": 1, "seq": 9, "kind": "ping"});
    world.tell(tab, Input::TabMessageReceived(serde_json::from_value(message).unwrap()));
    assert!(world.tabs[tab].has_problem("newer-message"));
}

/// Tabs of protocols 1 and 2, the first of which leads.
fn mixed(protocols: &[u32]) -> World {
    let mut world = World::new();
    for protocol in protocols {
        world.tab_protocol = json!(protocol);
        world.open_tab("maya");
        world.run_for(200);
    }
    world.run_for(1_000);
    world
}

#[test]
fn tabs_of_protocols_1_and_2_settle_and_agree_in_every_role() {
    for protocols in [[1, 2, 2], [1, 1, 2], [2, 1, 1], [2, 2, 1], [1, 2, 1], [2, 1, 2]] {
        let mut world = mixed(&protocols);
        world.faults.jitter_ms = 30;
        world.faults.doubled_percent = 10;
        let mut made = work(&mut world, 4);
        world.run_for(60_000);
        // Nobody misses anything for the others' new words.
        assert!(world.tabs.iter().all(|tab| tab.steals == 0), "{protocols:?}");
        world.kill_tab(0);
        made.retain(|(tab, _)| *tab != 0);
        made.extend(work(&mut world, 3));
        world.run_until_quiet();
        assert_settled(&world, &made);
        assert!(world.living().iter().all(|tab| !world.tabs[*tab].has_problem("malformed-message")), "{protocols:?}");
    }
}

#[test]
fn a_tab_of_protocol_2_replaces_a_hung_leader_of_protocol_1_and_one_of_protocol_1_never_steals() {
    let mut world = mixed(&[1, 1, 2]);
    world.freeze(0);
    world.run_for(11_000);
    assert_eq!((role(&world, 2), world.tabs[1].steals), (Role::Leader, 0));
    let made = work_of(&mut world, &[1, 2]);
    world.run_for(5_000);
    world.thaw(0, true);
    world.run_until_quiet();
    assert_settled(&world, &made);
    let mut world = mixed(&[2, 1, 1]);
    world.freeze(0);
    world.run_for(120_000);
    assert!(world.tabs.iter().all(|tab| tab.steals == 0));
    let made = work_of(&mut world, &[1, 2]);
    world.thaw(0, true);
    world.run_until_quiet();
    assert_settled(&world, &made);
}

fn work_of(world: &mut World, tabs: &[usize]) -> Vec<(usize, OperationId)> {
    tabs.iter().map(|tab| (*tab, world.tab(*tab).assign(&format!("c-{}", tab + 1), "maya"))).collect()
}

#[test]
fn a_slow_leader_of_protocol_1_that_answers_in_its_own_words_keeps_the_lock() {
    let mut world = mixed(&[1, 2]);
    world.slow_timers = Some((0, 60_000));
    world.run_for(300_000);
    assert_eq!((role(&world, 0), world.tabs[1].steals), (Role::Leader, 0));
}

#[test]
fn a_tab_of_protocol_1_hears_of_a_state_that_it_does_not_know_as_off_line() {
    let mut world = mixed(&[2, 1, 2]);
    world.faults.no_streams = true;
    world.break_link(0, rota_engine::Failure::Server);
    world.run_for(60_000);
    let state = |tab: usize| world.tabs[tab].status.as_ref().unwrap().link.state;
    assert_eq!((state(0), state(1), state(2)), (LinkState::Degraded, LinkState::Offline, LinkState::Degraded));
}

#[test]
fn an_operation_that_was_orphaned_is_adopted_once_by_whoever_leads() {
    let mut world = World::with_tabs(3);
    world.faults.lost_messages_percent = 100;
    let id = world.tab(2).assign("c-1", "maya");
    world.kill_tab(2);
    world.freeze(0);
    world.run_for(1_000);
    world.faults.lost_messages_percent = 0;
    world.run_for(12_000);
    assert_eq!((world.sent(id), world.server.effects[&id]), (1, 1));
    world.thaw(0, true);
    world.run_until_quiet();
    assert_eq!((world.server.effects[&id], world.owner(0, "c-1")), (1, "maya".into()));
    assert_ne!(world.tabs[1].status.as_ref().map(|status| status.unsent), Some(1));
    assert!(!world.outcome(1, id).contains(&OperationState::Confirmed), "it is not the adopter's own");
    world.assert_all_agree();
}

#[test]
fn an_operation_that_is_overtaken_by_the_news_that_it_was_taken_back_does_not_come_back_to_life() {
    let mut world = World::with_tabs(2);
    let (leader, other) = (world.leader().unwrap(), 1 - world.leader().unwrap());
    world.cut_network();
    world.run_for(500);
    // One is on its way for ever, the other waits for it.
    let _ = world.tab(leader).assign("c-1", "maya");
    world.run_for(500);
    world.faults.held_messages = true;
    let id = world.tab(leader).assign("c-1", "jonas");
    let operation = world.tabs[leader].last_message("operation");
    world.tab(leader).cancel(id).unwrap();
    let end = world.tabs[leader].last_message("settled");
    world.lose_messages();
    world.tell(other, Input::TabMessageReceived(Box::new(end)));
    world.tell(other, Input::TabMessageReceived(Box::new(operation)));
    assert!(!world.tabs[other].operations.contains_key(&id), "it is shown as pending");
    world.kill_tab(leader);
    world.heal_network();
    world.run_for(60_000);
    assert_eq!(world.server.effects.get(&id), None, "it was taken back, and done");
}
