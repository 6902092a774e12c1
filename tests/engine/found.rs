//! What the simulator found, each as the promise that was broken.

use rota_engine::{Input, OperationState, Role};

use crate::world::World;

#[test]
fn an_operation_whose_predecessor_was_not_heard_of_does_not_overtake_it() {
    let mut world = World::with_tabs(2);
    world.faults.lost_messages_percent = 100;
    let first = world.tab(1).insert("c-9");
    world.faults.lost_messages_percent = 0;
    let second = world.tab(1).patch("c-9", "city", "Kiel");
    world.run_until_quiet();
    assert_eq!(world.server.applied, [first, second]);
    assert_eq!(world.outcome(1, second), [OperationState::Confirmed]);
}

#[test]
fn an_operation_does_not_overtake_a_predecessor_that_is_read_late() {
    let mut world = World::with_tabs(2);
    world.faults.storage_lag_ms = 300;
    world.faults.lost_messages_percent = 100;
    let first = world.tab(1).patch("c-1", "city", "Ulm");
    world.faults.lost_messages_percent = 0;
    let second = world.tab(1).patch("c-1", "city", "Kiel");
    world.run_until_quiet();
    assert_eq!(world.server.applied, [first, second]);
    assert_eq!(world.outcome(1, second), [OperationState::Confirmed]);
}

#[test]
fn what_is_made_upon_what_only_storage_knows_does_not_overtake_it() {
    let mut world = World::with_tabs(2);
    world.faults.lost_messages_percent = 100;
    let first = world.tab(1).patch("c-1", "city", "Ulm");
    world.kill_tab(1);
    world.faults.lost_messages_percent = 0;
    let late = world.open_tab("maya");
    world.run_for(5);
    assert_eq!(world.tabs[late].field("c-1", "city"), "Ulm".into());
    world.faults.storage_lag_ms = 300;
    let second = world.tab(late).patch("c-1", "city", "Kiel");
    world.run_until_quiet();
    assert_eq!(world.server.applied, [first, second]);
    assert_eq!(world.outcome(late, second), [OperationState::Confirmed]);
}

#[test]
fn a_new_leader_waits_for_all_of_storage() {
    let mut world = World::with_tabs(3);
    world.faults.lost_messages_percent = 100;
    let first = world.tab(1).patch("c-1", "city", "Ulm");
    world.kill_tab(1);
    world.faults.lost_messages_percent = 0;
    world.faults.storage_lag_ms = 300;
    let second = world.tab(2).patch("c-2", "city", "Kiel");
    world.kill_tab(0);
    world.run_for(250);
    assert!(world.server.applied.is_empty());
    world.run_until_quiet();
    assert_eq!(world.server.applied, [first, second]);
}

#[test]
fn a_logout_waits_for_all_of_storage() {
    let mut world = World::with_tabs(2);
    world.network = false;
    world.faults.lost_messages_percent = 100;
    let _ = world.tab(1).patch("c-1", "city", "Ulm");
    world.kill_tab(1);
    world.faults.lost_messages_percent = 0;
    world.faults.storage_lag_ms = 300;
    world.tell(0, Input::Logout { unsent: None });
    world.run_for(2_000);
    assert_eq!((world.tabs[0].signed_out, world.tabs[0].logouts_refused.len()), (false, 1));
}

#[test]
fn an_event_of_a_table_that_is_not_declared_holds_up_nothing() {
    let mut world = World::with_tabs(1);
    let event = rota_engine::ServerEvent::Deleted { table: "ghosts".into(), key: "1".into() };
    world.tell(0, Input::ServerChanged { events: vec![event] });
    world.run_for(1_000);
    assert!(world.tabs[0].has_problem("malformed-event"));
    let asked = world.server.pulls.iter().filter_map(|pull| pull.keys.as_ref());
    assert!(asked.into_iter().all(|keys| !keys.contains_key("ghosts")));
}

#[test]
fn an_operation_that_ended_while_a_new_tab_read_storage_ends_there_too() {
    let mut world = World::with_tabs(1);
    let id = world.tab(0).assign("c-1", "maya");
    let stored = world.storage[0].clone();
    world.run_until_quiet();
    let late = world.open_tab("maya");
    world.run_for(500);
    // What it read was there when it began to read.
    let entries = stored.iter().map(|(key, text)| {
        let entry = serde_json::from_str(text).unwrap();
        rota_engine::FoundEntry { key: key.clone(), content: rota_engine::Content::Operation(entry) }
    });
    let entries = entries.collect();
    world.tell(late, Input::EntriesFound { entries, look: None });
    assert_eq!(world.tabs[late].status.as_ref().unwrap().unsent, 1);
    world.run_for(10_000);
    assert_eq!((world.tabs[late].status.as_ref().unwrap().unsent, world.server.effects[&id]), (0, 1));
}

#[test]
fn what_was_filled_in_is_not_kept_for_the_next_visit() {
    let mut world = World::with_tabs(1);
    world.sql_update("c-1", "city", "Kiel");
    world.run_for(100);
    world.streams_partial = true;
    world.sql_update("c-1", "city", "Ulm");
    // The row came without its name, which was taken from before.
    world.run_for(20);
    let cached = world.cached.values().flat_map(|rows| rows.values()).find(|row| row.key == "c-1").unwrap();
    assert_eq!(world.tabs[0].field("c-1", "city"), "Ulm".into());
    assert_ne!(cached.record.as_ref().unwrap().fields()["city"], "Ulm".into());
}

#[test]
fn two_tabs_that_heard_nothing_find_each_other_when_the_channel_carries_again() {
    let mut world = World::with_tabs(3);
    let role = |world: &World, tab: usize| world.tabs[tab].status.as_ref().unwrap().role;
    world.faults.lost_messages_percent = 100;
    world.run_for(120_000);
    let leader = world.leader().unwrap();
    world.kill_tab(leader);
    assert!(world.living().into_iter().all(|tab| role(&world, tab) == Role::Alone));
    world.faults.lost_messages_percent = 0;
    world.run_for(60_000);
    let roles: Vec<Role> = world.living().into_iter().map(|tab| role(&world, tab)).collect();
    assert!(roles.contains(&Role::Leader) && !roles.contains(&Role::Alone), "{roles:?}");
}

#[test]
fn an_operation_in_conflict_is_not_given_up_by_a_word_that_comes_late() {
    let mut world = World::with_tabs(2);
    world.cut_network();
    let id = world.tab(1).patch("c-1", "city", "Kiel");
    world.server.sql_set("c-1", &[("city", "Ulm".into())]);
    world.heal_network();
    world.run_until_quiet();
    assert_eq!(world.outcome(1, id), [OperationState::Conflicted]);
    let told = world.tabs[0].told.last().unwrap();
    let mut message: rota_engine::TabMessage<_> = serde_json::from_str(told).unwrap();
    (message.kind, message.id, message.outcome) = (rota_engine::Kind::Settled, Some(id), Some(OperationState::Dead));
    (message.v, message.seq, message.answer, message.to) = (1, message.seq + 1, None, None);
    world.tell(1, Input::TabMessageReceived(Box::new(message)));
    assert_eq!(world.outcome(1, id), [OperationState::Conflicted]);
    assert!(world.tabs[1].conflicts.contains_key(&id));
}

#[test]
fn an_operation_that_was_found_after_its_end_ends_also_where_the_stream_was_given_up() {
    let mut world = World::new();
    world.link = serde_json::json!({"maxAttempts": 1});
    world.faults.no_streams = true;
    world.open_tab("maya");
    world.run_for(120_000);
    assert_eq!(world.tabs[0].status.as_ref().unwrap().link.state, rota_engine::LinkState::Stopped);
    let _ = world.tab(0).assign("c-1", "maya");
    let stored = world.storage[0].clone();
    world.run_for(120_000);
    assert_eq!(world.tabs[0].status.as_ref().unwrap().unsent, 0);
    let late = world.open_tab("maya");
    world.run_for(500);
    let entries = stored.iter().map(|(key, text)| {
        let entry = serde_json::from_str(text).unwrap();
        rota_engine::FoundEntry { key: key.clone(), content: rota_engine::Content::Operation(entry) }
    });
    let entries = entries.collect();
    world.tell(late, Input::EntriesFound { entries, look: None });
    assert_eq!(world.tabs[late].status.as_ref().unwrap().unsent, 1);
    world.run_for(60_000);
    assert_eq!(world.tabs[late].status.as_ref().unwrap().unsent, 0);
}

#[test]
fn an_end_that_a_leader_knows_no_version_of_is_taken_with_the_end_of_its_operation() {
    let mut world = World::with_tabs(2);
    (world.faults.silent, world.checks) = (true, false);
    let id = world.tab(1).delete("c-1");
    let version = world.tabs[1].engine.version("companies", "c-1").unwrap();
    let answer = serde_json::json!({
        "protocol": 1, "id": id, "table": "companies", "key": "c-1", "replayed": true, "outcome": "confirmed",
        "version": version, "record": null,
    });
    let told = world.tabs[0].told.last().unwrap();
    let mut message: rota_engine::TabMessage<_> = serde_json::from_str(told).unwrap();
    (message.kind, message.answer) = (rota_engine::Kind::Settled, Some(serde_json::from_value(answer).unwrap()));
    (message.v, message.seq, message.to) = (1, message.seq + 1, None);
    world.tell(1, Input::TabMessageReceived(Box::new(message)));
    assert_eq!(world.outcome(1, id), [OperationState::Confirmed]);
    assert!(world.tabs[1].field("c-1", "id").is_null());
}
