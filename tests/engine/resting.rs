//! A page that is about to be frozen, or kept for the way back, hands over, and comes back having missed nothing.

use rota_engine::{Input, LinkState, OperationState, Role, Unsent};

use crate::world::World;

fn role(world: &World, tab: usize) -> Role {
    world.tabs[tab].status.as_ref().unwrap().role
}

/// The page is told that it is to be frozen, and then is.
fn freeze(world: &mut World, tab: usize) {
    world.tell(tab, Input::Froze);
    world.freeze(tab);
}

#[test]
fn a_leader_about_to_be_frozen_hands_over_at_once_and_nobody_has_to_take_the_lock() {
    let mut world = World::with_tabs(3);
    let id = world.tab(0).assign("c-1", "maya");
    freeze(&mut world, 0);
    world.run_for(100);
    assert_eq!(world.tabs[0].status.as_ref().unwrap().link.state, LinkState::Offline);
    let leader = world.leader_running().expect("another one leads");
    assert_ne!(leader, 0);
    world.run_for(30_000);
    assert_eq!(world.tabs.iter().map(|tab| tab.steals).sum::<u32>(), 0);
    assert_eq!(world.server.effects[&id], 1);
    world.thaw(0, true);
    world.run_for(1_000);
    assert_eq!((world.leader(), role(&world, 0)), (Some(leader), Role::Follower));
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
    world.assert_all_agree();
}

#[test]
fn a_follower_about_to_be_frozen_gives_up_its_place_so_that_the_lock_never_comes_to_a_tab_that_does_not_run() {
    let mut world = World::with_tabs(3);
    freeze(&mut world, 1);
    world.close_tab(0);
    world.run_for(100);
    assert_eq!(world.leader_running(), Some(2));
}

#[test]
fn whatever_says_that_the_page_runs_again_brings_it_back_or_else_the_first_timer_does() {
    let signs = [
        Some(Input::Woke),
        Some(Input::Visibility { visible: true }),
        Some(Input::Activity { active: true }),
        Some(Input::Reconnect),
        None,
    ];
    for sign in signs {
        let mut world = World::with_tabs(2);
        freeze(&mut world, 0);
        world.run_for(600_000);
        world.sql_update("c-1", "owner_id", "jonas");
        world.sql_delete("c-2");
        world.run_for(50);
        let early = sign.is_some();
        world.thaw(0, !early);
        if let Some(sign) = sign {
            world.tell(0, sign);
        }
        world.run_for(300);
        world.assert_all_agree();
        assert!(world.tabs[0].engine.visible("companies", "c-2").is_none());
        world.tab(1).assign("c-3", "lena");
        world.run_for(300);
        world.assert_all_agree();
    }
}

#[test]
fn a_page_that_was_not_frozen_after_all_takes_part_again_within_seconds() {
    for tabs in [1, 2] {
        let mut world = World::with_tabs(tabs);
        world.tell(0, Input::Froze);
        world.tell(0, Input::Froze);
        world.run_for(4_000);
        assert_eq!(role(&world, 0), Role::Follower);
        world.run_for(2_000);
        assert!(world.leader().is_some());
        let id = world.tab(0).assign("c-1", "maya");
        world.run_for(1_000);
        assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
        world.assert_all_agree();
    }
}

#[test]
fn a_change_on_the_way_out_waits_in_storage_and_keeps_the_page_from_nothing() {
    let mut world = World::with_tabs(1);
    world.tell(0, Input::Froze);
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(100);
    assert_eq!(role(&world, 0), Role::Follower, "it did not come back for that");
    world.freeze(0);
    let later = world.open_tab("maya");
    world.run_for(1_000);
    assert_eq!(world.server.effects[&id], 1, "the next tab found it");
    world.thaw(0, false);
    world.tell(0, Input::Woke);
    world.run_for(1_000);
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
    assert_eq!(world.leader(), Some(later));
}

#[test]
fn a_logout_meanwhile_is_noticed_before_anything_else() {
    let mut world = World::with_tabs(2);
    freeze(&mut world, 0);
    world.run_for(1_000);
    world.tell(1, Input::Logout { unsent: Some(Unsent::Discard) });
    world.run_for(60_000);
    world.thaw(0, false);
    world.tell(0, Input::Woke);
    world.run_for(5);
    assert!(world.tabs[0].signed_out);
}

#[test]
fn a_logout_in_a_page_that_was_to_be_frozen_reaches_the_other_tabs() {
    let mut world = World::with_tabs(2);
    world.tell(0, Input::Froze);
    world.run_for(100);
    world.tell(0, Input::Logout { unsent: Some(Unsent::Discard) });
    world.run_for(100);
    assert!(world.tabs[0].signed_out && world.tabs[1].signed_out);
}

#[test]
fn a_tab_without_locks_lets_go_of_its_link_and_opens_it_again() {
    let mut world = World::new();
    world.locks_exist = false;
    world.open_tab("maya");
    world.run_for(1_000);
    assert_eq!((role(&world, 0), world.tabs[0].connects), (Role::Alone, 1));
    freeze(&mut world, 0);
    world.run_for(60_000);
    world.sql_update("c-1", "owner_id", "jonas");
    world.thaw(0, true);
    world.run_for(1_000);
    assert_eq!((role(&world, 0), world.tabs[0].connects), (Role::Alone, 2));
    world.assert_all_agree();
}

#[test]
fn a_tab_that_is_alone_and_has_nothing_to_do_notices_that_the_machine_has_slept() {
    let mut world = World::new();
    (world.locks_exist, world.has_ping) = (false, false);
    world.link = serde_json::json!({ "heartbeatMs": null });
    world.open_tab("maya");
    world.run_for(600_000);
    let connects = world.tabs[0].connects;
    // The monotonic clock stands still while the machine sleeps.
    world.now.wall_ms += 3_600_000;
    world.run_for(30_000);
    assert_eq!(world.tabs[0].connects, connects + 1);
}
