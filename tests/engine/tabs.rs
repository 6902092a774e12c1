//! Many tabs of one browser: one leads and sends for all, and whoever misses something is told again.

use rota_engine::{Input, OperationState, Role, Value};

use crate::world::World;

fn role(world: &World, tab: usize) -> Role {
    world.tabs[tab].status.as_ref().unwrap().role
}

#[test]
fn one_tab_leads_and_an_operation_of_any_tab_is_sent_once() {
    let mut world = World::with_tabs(4);
    assert_eq!((0..4).filter(|tab| role(&world, *tab) == Role::Leader).count(), 1);
    let ids = [0, 1, 2, 3].map(|tab| world.tab(tab).assign(&format!("c-{}", tab + 1), "maya"));
    world.run_until_quiet();
    assert!(ids.iter().all(|id| world.sent(*id) == 1));
    assert_eq!(world.tabs.iter().filter(|tab| tab.connects > 0).count(), 1);
    world.assert_all_agree();
}

#[test]
fn many_tabs_that_come_back_on_line_send_what_is_queued_once() {
    let mut world = World::with_tabs(4);
    world.cut_network();
    let ids = [0, 1, 2, 3].map(|tab| world.tab(tab).assign(&format!("c-{}", tab + 1), "maya"));
    world.run_for(60_000);
    world.heal_network();
    for tab in 0..4 {
        world.tell(tab, Input::NetworkHinted { online: true });
    }
    world.run_until_quiet();
    assert!(ids.iter().all(|id| world.sent(*id) == 1));
    world.assert_all_agree();
}

#[test]
fn the_second_tab_leads_when_the_first_dies_and_sends_what_it_left() {
    let mut world = World::with_tabs(2);
    world.cut_network();
    let left = world.tab(0).assign("c-1", "maya");
    let own = world.tab(1).assign("c-2", "maya");
    world.run_for(1_000);
    world.kill_tab(0);
    world.heal_network();
    world.run_until_quiet();
    assert_eq!(role(&world, 1), Role::Leader);
    assert_eq!((world.server.effects[&left], world.server.effects[&own]), (1, 1));
    assert_eq!(world.outcome(1, own), [OperationState::Confirmed]);
    world.assert_all_agree();
}

#[test]
fn an_operation_stored_by_a_tab_that_died_before_telling_is_sent() {
    let mut world = World::with_tabs(2);
    world.faults.lost_messages_percent = 100;
    let id = world.tab(1).assign("c-1", "maya");
    world.kill_tab(1);
    world.faults.lost_messages_percent = 0;
    world.kill_tab(0);
    world.open_tab("maya");
    world.run_until_quiet();
    assert_eq!(world.server.effects[&id], 1);
}

#[test]
fn a_new_leader_looks_at_once_for_what_others_stored() {
    let mut world = World::with_tabs(3);
    world.faults.lost_messages_percent = 100;
    let id = world.tab(2).assign("c-1", "maya");
    world.kill_tab(2);
    world.faults.lost_messages_percent = 0;
    world.kill_tab(0);
    world.run_for(1_000);
    assert_eq!(world.server.effects[&id], 1);
}

#[test]
fn what_a_tab_stored_before_it_died_is_found_by_the_leader_that_stays() {
    let mut world = World::with_tabs(2);
    world.faults.lost_messages_percent = 100;
    let id = world.tab(1).assign("c-1", "maya");
    world.kill_tab(1);
    world.faults.lost_messages_percent = 0;
    world.run_for(65_000);
    assert_eq!(world.server.effects[&id], 1);
    world.assert_all_agree();
}

#[test]
fn an_operation_whose_message_was_lost_is_told_again() {
    let mut world = World::with_tabs(2);
    world.faults.lost_messages_percent = 100;
    let id = world.tab(1).assign("c-1", "maya");
    world.faults.lost_messages_percent = 0;
    world.run_for(10_000);
    assert_eq!((world.sent(id), world.outcome(1, id)), (1, vec![OperationState::Confirmed]));
}

#[test]
fn a_follower_that_missed_a_message_asks_for_a_snapshot_and_ends_equal() {
    let mut world = World::with_tabs(3);
    world.faults.lost_messages_percent = 100;
    world.sql_update("c-1", "owner_id", "jonas");
    world.sql_delete("c-2");
    world.tab(0).assign("c-3", "maya");
    world.run_for(100);
    world.faults.lost_messages_percent = 0;
    assert!(world.owner(1, "c-1").is_null());
    world.run_for(2_500);
    world.assert_all_agree();
}

#[test]
fn a_follower_that_missed_how_its_operation_ended_is_told() {
    for refused in [false, true] {
        let mut world = World::with_tabs(2);
        if refused {
            world.server.refused.insert("c-1".into());
        }
        let id = world.tab(1).assign("c-1", "maya");
        world.run_for(3);
        world.faults.lost_messages_percent = 100;
        world.run_for(100);
        // A later change of the record hides who wrote it before.
        world.sql_update("c-1", "city", "Kiel");
        world.run_for(100);
        world.faults.lost_messages_percent = 0;
        world.run_for(10_000);
        let end = if refused { OperationState::Refused } else { OperationState::Confirmed };
        assert_eq!(world.outcome(1, id), [end]);
        world.assert_all_agree();
    }
}

#[test]
fn a_new_tab_whose_first_question_was_lost_still_learns_everything() {
    let mut world = World::with_tabs(1);
    world.faults.lost_messages_percent = 100;
    let tab = world.open_tab("maya");
    world.run_for(10);
    world.faults.lost_messages_percent = 0;
    world.run_for(5_000);
    world.assert_all_agree();
    assert!(world.tabs[tab].status.as_ref().unwrap().ready);
}

#[test]
fn a_tab_that_leads_after_missing_messages_pulls_what_it_missed() {
    let mut world = World::with_tabs(1);
    world.faults.lost_messages_percent = 100;
    world.open_tab("maya");
    world.run_for(10);
    world.faults.lost_messages_percent = 0;
    // All that the new tab hears before it leads is one change.
    world.sql_update("c-1", "owner_id", "jonas");
    world.run_for(2);
    assert_eq!(world.owner(1, "c-1"), "jonas".into());
    world.kill_tab(0);
    world.run_for(2_000);
    world.assert_all_agree();
}

#[test]
fn what_only_the_dead_leader_and_one_follower_knew_reaches_the_other() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    world.run_for(500);
    world.open_tab("maya");
    world.run_for(500);
    world.heal_network();
    world.tell(0, Input::Reconnect);
    world.run_for(500);
    world.faults.lost_messages_percent = 100;
    world.open_tab("maya");
    world.run_for(20);
    world.faults.lost_messages_percent = 0;
    world.kill_tab(0);
    world.run_for(10_000);
    assert_eq!(role(&world, 1), Role::Leader);
    world.assert_all_agree();
}

#[test]
fn a_closed_tab_changes_nothing_in_the_others() {
    let mut world = World::with_tabs(3);
    let before = world.tabs[1].mirror.clone();
    world.close_tab(2);
    world.close_tab(0);
    world.run_for(2_000);
    assert_eq!((world.tabs[1].mirror == before, role(&world, 1)), (true, Role::Leader));
}

#[test]
fn a_leader_whose_lock_was_taken_follows_and_leaves_sending_to_the_new_one() {
    let mut world = World::with_tabs(2);
    world.faults.silent = true;
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(50);
    let connects = world.tabs[0].connects;
    world.steal_lock(1);
    world.tell(
        0,
        Input::LinkClosed { attempt: connects, failure: rota_engine::Failure::Network, message: String::new() },
    );
    world.tell(
        0,
        Input::PushFailed { id, failure: rota_engine::Failure::Invalid, message: String::new(), after_ms: None },
    );
    world.faults.silent = false;
    world.run_until_quiet();
    assert_eq!((role(&world, 0), role(&world, 1)), (Role::Follower, Role::Leader));
    assert_eq!(world.tabs[0].connects, connects, "a follower has no link of its own");
    assert_eq!((world.server.effects[&id], world.outcome(0, id)), (1, vec![OperationState::Confirmed]));
    world.assert_all_agree();
}

#[test]
fn without_locks_every_tab_sends_and_each_operation_is_done_once() {
    let mut world = World::new();
    world.locks_exist = false;
    world.open_tab("maya");
    world.open_tab("maya");
    world.run_for(1_000);
    let ids = [0, 1].map(|tab| world.tab(tab).assign(&format!("c-{}", tab + 1), "maya"));
    world.run_until_quiet();
    assert!(ids.iter().all(|id| world.server.effects[id] == 1));
    world.assert_all_agree();
}

#[test]
fn one_users_operations_are_never_another_users() {
    let mut world = World::with_tabs(1);
    world.open_tab("jonas");
    world.run_for(1_000);
    world.cut_network();
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(2_000);
    assert_eq!((world.owner(1, "c-1"), world.tabs[1].status.as_ref().unwrap().unsent), (Value::Null, 0));
    world.kill_tab(0);
    world.heal_network();
    world.run_for(60_000);
    let again = world.reload_tab(1);
    world.run_for(5_000);
    assert_eq!((world.sent(id), world.tabs[again].pushed.len()), (0, 0));
    assert_eq!(world.stored(0).len(), 1);
}

#[test]
fn the_pending_operations_are_counted_and_listed_in_every_tab() {
    let mut world = World::with_tabs(2);
    world.cut_network();
    let ids = [world.tab(0).assign("c-1", "maya"), world.tab(1).assign("c-2", "maya")];
    world.run_for(500);
    for tab in 0..2 {
        assert_eq!(world.tabs[tab].status.as_ref().unwrap().unsent, 2);
        let views = &world.tabs[tab].operations;
        assert_eq!(views.values().map(|view| view.mine).filter(|mine| *mine).count(), 1);
        assert!(ids.iter().all(|id| views.contains_key(id)));
    }
}

#[test]
fn what_a_dead_leader_may_have_sent_is_not_taken_back() {
    for author in 0..2 {
        let mut world = World::with_tabs(3);
        world.faults.lost_push_replies = 1;
        let id = world.tab(if author == 0 { 1 } else { 2 }).assign("c-1", "maya");
        // It has just arrived at the server when the leader dies.
        world.run_for(6);
        assert_eq!(world.sent(id), 1);
        world.cut_network();
        // The new leader has not sent it itself yet, as it still waits for what is stored.
        world.faults.storage_mute = true;
        world.kill_tab(0);
        world.run_for(20);
        assert_eq!((world.leader(), world.tabs[1].pushed.len()), (Some(1), 0));
        let _ = world.tab(1).cancel(id);
        let _ = world.tab(2).cancel(id);
        world.run_for(100);
        world.faults.storage_mute = false;
        world.heal_network();
        world.run_until_quiet();
        let author = if author == 0 { 1 } else { 2 };
        assert_eq!(world.outcome(author, id), [OperationState::Confirmed]);
        assert_eq!((world.owner(1, "c-1"), world.owner(2, "c-1")), ("maya".into(), "maya".into()));
        world.assert_all_agree();
    }
}

#[test]
fn a_new_leader_refuses_by_name_to_take_back_what_was_made_before_it_led() {
    let mut world = World::with_tabs(2);
    world.cut_network();
    world.run_for(50);
    world.tab(1).patch("c-1", "city", "Kiel");
    let early = world.tab(1).assign("c-1", "maya");
    world.kill_tab(0);
    world.run_for(50);
    let error = world.tab(1).cancel(early).unwrap_err();
    assert_eq!((error.code(), error.to_string().contains("perhaps sent already")), ("too-late", true));
    // What was made since can be taken back: nobody else can have sent it.
    world.tab(1).patch("c-6", "city", "Kiel");
    let late = world.tab(1).assign("c-2", "maya");
    world.tell(
        1,
        Input::PushFailed { id: late, failure: rota_engine::Failure::Network, message: String::new(), after_ms: None },
    );
    let later = world.tab(1).assign("c-2", "jonas");
    world.tab(1).cancel(later).unwrap();
    assert_eq!(world.outcome(1, later), [OperationState::Cancelled]);
    // And undo serves for the other one: both are sent, one after the other.
    world.tab(1).undo(early).unwrap().unwrap();
    assert_eq!(world.owner(1, "c-1"), Value::Null);
    world.heal_network();
    world.run_until_quiet();
    assert_eq!(world.outcome(1, early), [OperationState::Confirmed]);
    world.assert_all_agree();
}
