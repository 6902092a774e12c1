//! What a tab without a link is told that concerns the link: the one that has it acts.

use rota_engine::{Failure, Input, LinkState, OperationState};
use serde_json::json;

use crate::world::World;

/// Two tabs: the one that leads, and the other.
fn two() -> (World, usize, usize) {
    let world = World::with_tabs(2);
    let leader = world.leader().unwrap();
    (world, leader, 1 - leader)
}

fn state(world: &World, tab: usize) -> LinkState {
    world.tabs[tab].status.as_ref().unwrap().link.state
}

#[test]
fn a_person_can_ask_for_the_link_in_any_tab() {
    let mut world = World::new();
    world.link = json!({"maxAttempts": 1});
    world.open_tab("maya");
    world.open_tab("maya");
    world.run_for(1_000);
    let other = 1 - world.leader().unwrap();
    world.cut_network();
    world.run_for(60_000);
    world.heal_network();
    world.run_for(5_000);
    assert_ne!(state(&world, other), LinkState::Live);
    world.tell(other, Input::Reconnect);
    world.run_for(1_000);
    assert_eq!((state(&world, 0), state(&world, 1)), (LinkState::Live, LinkState::Live));
}

#[test]
fn a_token_that_any_tab_is_given_ends_the_pause() {
    let (mut world, leader, other) = two();
    world.refresh_works = false;
    world.expire_token();
    world.break_link(leader, Failure::Auth);
    world.run_for(1_000);
    let id = world.tab(other).patch("c-1", "city", "Kiel");
    world.run_for(1_000);
    assert_eq!((state(&world, other), world.sent(id)), (LinkState::Paused, 0));
    world.token_good = true;
    world.tell(other, Input::TokenRefreshed);
    world.run_for(1_000);
    assert_eq!(world.outcome(other, id), [OperationState::Confirmed]);
}

/// Two tabs, no streams, and nobody at the leader's page.
fn unwatched() -> (World, usize, usize) {
    let (mut world, leader, other) = two();
    world.faults.no_streams = true;
    world.break_link(leader, Failure::Network);
    world.tell(leader, Input::Visibility { visible: false });
    world.tell(leader, Input::Activity { active: false });
    (world, leader, other)
}

/// How often is pulled in ten minutes.
fn pulls(world: &mut World) -> usize {
    let before = world.server.pulls.len();
    world.run_for(600_000);
    world.server.pulls.len() - before
}

#[test]
fn polling_follows_the_tab_in_which_somebody_works() {
    let (mut world, _, other) = unwatched();
    world.tell(other, Input::Visibility { visible: true });
    world.tell(other, Input::Activity { active: true });
    world.run_for(180_000);
    world.server.sql_set("c-1", &[("city", "Kiel".into())]);
    world.server.news.clear();
    world.run_for(6_000);
    assert_eq!(world.tabs[other].field("c-1", "city"), "Kiel".into());
    // At once when somebody comes back, and no more often than need be once nobody is there.
    world.tell(other, Input::Visibility { visible: false });
    world.run_for(10_000);
    let hidden = pulls(&mut world);
    world.tell(other, Input::Visibility { visible: true });
    world.run_for(6_000);
    let seen = pulls(&mut world);
    // Of the attempts to connect, too, each of which pulls.
    assert!(hidden <= 30 && seen >= 100, "{hidden} pulls while nobody looks, {seen} while somebody works");
}

#[test]
fn a_tab_that_dies_without_a_word_does_not_keep_polling_fast() {
    let (mut world, _, other) = unwatched();
    world.run_for(60_000);
    world.kill_tab(other);
    world.run_for(70_000);
    let count = pulls(&mut world);
    assert!(count <= 30, "{count} pulls in ten minutes for nobody");
}

#[test]
fn where_the_link_is_live_nobody_says_who_looks() {
    let (mut world, leader, other) = two();
    assert_eq!(state(&world, leader), LinkState::Live);
    world.tabs[other].told.clear();
    world.tell(other, Input::Activity { active: false });
    world.run_for(120_000);
    let said = |world: &World| world.tabs[other].told.iter().filter(|json| json.contains("\"attention\"")).count();
    assert_eq!(said(&world), 0);
    world.cut_network();
    world.run_for(60_000);
    assert!((1..=4).contains(&said(&world)), "said {} times in a minute", said(&world));
}
