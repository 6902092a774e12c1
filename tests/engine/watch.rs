//! A leader that hangs is replaced, and a tab that itself did not run says nothing about others.

use rota_engine::{BEAT_MS, Failure, Input, OperationState, Role};

use crate::world::World;

fn role(world: &World, tab: usize) -> Role {
    world.tabs[tab].status.as_ref().unwrap().role
}

fn steals(world: &World) -> u32 {
    world.tabs.iter().map(|tab| tab.steals).sum()
}

/// How long it takes until another tab leads.
fn time_until_replaced(world: &mut World, hung: usize) -> u64 {
    for ms in 1..=60_000 {
        world.run_for(1);
        if world.living().into_iter().any(|tab| tab != hung && role(world, tab) == Role::Leader) {
            return ms;
        }
    }
    panic!("nobody took its place");
}

#[test]
fn a_hung_leader_is_replaced_within_ten_seconds_whenever_it_hangs() {
    for at in (0..2_000).step_by(130) {
        for tabs in [2, 3, 6] {
            let mut world = World::with_tabs(tabs);
            world.run_for(5_000 + at);
            world.freeze(0);
            let ms = time_until_replaced(&mut world, 0);
            assert!((6_000..10_000).contains(&ms), "{ms} ms, {tabs} tabs, at {at}");
            world.run_for(30_000);
            assert_eq!(steals(&world), 1, "one tab takes it");
        }
    }
}

#[test]
fn what_a_hung_leader_had_not_sent_is_sent_once_and_its_late_waking_changes_nothing() {
    for timers_first in [false, true] {
        let mut world = World::with_tabs(3);
        world.faults.silent = true;
        let sent = world.tab(0).assign("c-1", "maya");
        world.run_for(20);
        let told = world.tab(1).assign("c-2", "maya");
        world.freeze(0);
        world.faults.silent = false;
        let own = world.tab(2).assign("c-3", "maya");
        world.run_for(11_000);
        world.sql_update("c-4", "owner_id", "jonas");
        world.run_for(60_000);
        let ends = |world: &World| [(1, told), (2, own)].map(|(tab, id)| world.outcome(tab, id));
        assert_eq!(ends(&world), [vec![OperationState::Confirmed], vec![OperationState::Confirmed]]);
        let leader = world.leader_running().unwrap();
        let before = [1, 2].map(|tab| world.tabs[tab].mirror.clone());
        world.thaw(0, timers_first);
        world.run_for(200);
        assert_eq!((role(&world, 0), role(&world, leader)), (Role::Follower, Role::Leader));
        assert_eq!([1, 2].map(|tab| world.tabs[tab].mirror.clone()), before);
        world.run_for(60_000);
        assert_eq!(
            (ends(&world), world.outcome(0, sent)),
            ([vec![OperationState::Confirmed], vec![OperationState::Confirmed]], vec![OperationState::Confirmed])
        );
        assert!([sent, told, own].iter().all(|id| world.server.effects[id] == 1));
        assert_eq!(world.leader(), Some(leader), "it does not take the lock back");
        world.assert_all_agree();
    }
}

#[test]
fn a_leader_whose_beats_come_rarely_but_who_answers_keeps_the_lock() {
    let mut world = World::with_tabs(3);
    // As a hidden page whose timers ring once a minute: it hears, and its timers do not run.
    world.slow_timers = Some((0, 60_000));
    world.run_for(600_000);
    assert_eq!((steals(&world), role(&world, 0)), (0, Role::Leader));
}

#[test]
fn a_follower_that_was_frozen_itself_starts_counting_anew() {
    for timers_first in [false, true] {
        let mut world = World::with_tabs(2);
        world.freeze(1);
        world.faults.lost_messages_percent = 100;
        world.run_for(120_000);
        world.faults.lost_messages_percent = 0;
        world.thaw(1, timers_first);
        world.run_for(60_000);
        assert_eq!((steals(&world), role(&world, 0)), (0, Role::Leader));
        world.assert_all_agree();
    }
}

#[test]
fn tabs_that_all_slept_steal_nothing_when_they_wake() {
    let mut world = World::with_tabs(4);
    for tab in 0..4 {
        world.freeze(tab);
    }
    world.run_for(3_600_000);
    for tab in [3, 2, 1, 0] {
        world.thaw(tab, true);
    }
    world.run_for(60_000);
    assert_eq!((steals(&world), role(&world, 0)), (0, Role::Leader));
    world.assert_all_agree();
}

#[test]
fn a_tab_opened_beside_a_hung_leader_is_complete_without_it() {
    let mut world = World::with_tabs(1);
    world.freeze(0);
    world.run_for(1_000);
    world.sql_update("c-1", "owner_id", "jonas");
    let tab = world.open_tab("maya");
    world.run_for(10);
    assert!(world.tabs[tab].mirror.len() >= 6, "what the browser kept is there at once");
    world.run_for(1_100);
    assert!(world.tabs[tab].status.as_ref().unwrap().ready);
    assert_eq!(world.owner(tab, "c-1"), "jonas".into());
    let id = world.tab(tab).assign("c-2", "maya");
    let ms = time_until_replaced(&mut world, 0);
    assert!(ms < 10_000, "{ms}");
    world.run_for(1_000);
    assert_eq!(world.outcome(tab, id), [OperationState::Confirmed]);
}

#[test]
fn a_new_tab_that_can_not_reach_the_server_either_asks_ever_more_rarely_until_it_is_told() {
    let mut world = World::with_tabs(1);
    world.faults.held_messages = true;
    world.network = false;
    let tab = world.open_tab("maya");
    world.tracing = true;
    world.run_for(5_000);
    assert!(!world.tabs[tab].status.as_ref().unwrap().ready);
    world.network = true;
    world.release_messages();
    world.run_for(5_000);
    let asked = world.tabs[tab].trace.iter().filter(|output| output.starts_with("{\"pull\"")).count();
    assert!((1..=8).contains(&asked), "{asked}");
    world.assert_all_agree();
}

#[test]
fn a_new_tab_beside_a_leader_that_answers_asks_the_server_for_nothing() {
    let mut world = World::with_tabs(1);
    let pulls = world.server.pulls.len();
    world.open_tab("maya");
    world.run_for(30_000);
    assert_eq!(world.server.pulls.len(), pulls);
    world.assert_all_agree();
}

#[test]
fn when_the_successor_hangs_too_the_next_one_leads() {
    let mut world = World::with_tabs(3);
    world.freeze(0);
    time_until_replaced(&mut world, 0);
    let second = world.leader_running().unwrap();
    world.run_for(BEAT_MS);
    world.freeze(second);
    let third = 3 - second;
    for _ in 0..100 {
        world.run_for(100);
    }
    assert_eq!(world.leader_running(), Some(third));
    let id = world.tab(third).assign("c-1", "maya");
    world.run_for(1_000);
    world.thaw(0, false);
    world.thaw(second, true);
    world.run_until_quiet();
    assert_eq!((world.server.effects[&id], world.leader_running()), (1, Some(third)));
    world.assert_all_agree();
}

#[test]
fn a_frozen_leader_that_wakes_cancels_nothing_that_its_successor_has_sent() {
    let mut world = World::with_tabs(2);
    let (old, new) = (world.leader().unwrap(), 1 - world.leader().unwrap());
    world.expire_token();
    world.refresh_works = false;
    world.break_link(old, Failure::Auth);
    world.run_for(500);
    let id = world.tab(new).patch("c-1", "city", "Kiel");
    world.run_for(500);
    world.freeze(old);
    world.run_for(15_000);
    assert_eq!(world.leader_running(), Some(new));
    (world.refresh_works, world.token_good) = (true, true);
    world.tell(new, Input::TokenRefreshed);
    world.run_for(12);
    assert_eq!(world.server.effects.get(&id), Some(&1));
    // The click comes before the news that the lock is gone.
    world.tabs[old].frozen = false;
    let cancelled = world.tab(old).cancel(id);
    world.thaw(old, true);
    world.run_for(10_000);
    assert_eq!(world.outcome(new, id), [OperationState::Confirmed], "the cancel of the old leader was {cancelled:?}");
}

#[test]
fn a_frozen_leader_that_wakes_makes_no_conflict_of_a_person_with_themselves() {
    let mut world = World::with_tabs(2);
    let (old, new) = (world.leader().unwrap(), 1 - world.leader().unwrap());
    world.expire_token();
    world.refresh_works = false;
    world.break_link(old, Failure::Auth);
    world.run_for(500);
    let _ = world.tab(old).patch("c-1", "city", "Kiel");
    world.run_for(500);
    world.freeze(old);
    world.run_for(15_000);
    assert_eq!(world.leader_running(), Some(new));
    (world.refresh_works, world.token_good) = (true, true);
    world.tell(new, Input::TokenRefreshed);
    world.run_for(12);
    world.tabs[old].frozen = false;
    let later = world.tab(old).patch("c-1", "city", "Jena");
    world.thaw(old, true);
    world.run_for(30_000);
    assert!(world.tabs.iter().all(|tab| tab.conflicts.is_empty()), "nobody else changed anything");
    assert_eq!(world.outcome(old, later), [OperationState::Confirmed]);
}
