//! What is kept for the next visit, and a token that is refused again and again.

use std::collections::BTreeMap;

use rota_engine::{Input, LinkState, OperationState, Record, Value};

use crate::world::World;

#[test]
fn without_a_network_a_reload_shows_the_last_visit_with_the_unsent_change_on_it() {
    let mut world = World::new();
    world.open_tab("maya");
    world.run_for(500);
    world.cut_network();
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(100);
    let again = world.reload_tab(0);
    world.run_for(500);
    assert_eq!(world.owner(again, "c-1"), Value::from("maya"));
    assert!(!world.tabs[again].field("c-2", "id").is_null());
    world.heal_network();
    world.run_until_quiet();
    assert_eq!(world.sent(id), 1);
}

#[test]
fn what_ended_since_the_last_visit_is_gone_after_the_pull_even_if_it_was_kept() {
    let mut world = World::new();
    world.open_tab("maya");
    world.run_for(500);
    world.kill_tab(0);
    world.sql_delete("c-1");
    let again = world.open_tab("maya");
    world.run_until_quiet();
    assert!(world.tabs[again].field("c-1", "id").is_null());
    world.kill_tab(again);
    world.cut_network();
    let offline = world.open_tab("maya");
    world.run_for(500);
    assert!(world.tabs[offline].field("c-1", "id").is_null(), "it was still kept");
    assert!(!world.tabs[offline].field("c-2", "id").is_null());
}

#[test]
fn what_was_kept_since_the_snapshot_was_made_does_not_vanish_until_the_leaders_word_of_it_comes() {
    for key in ["c-1", "c-9"] {
        let mut world = World::with_tabs(1);
        world.sql_delete("c-1");
        world.run_for(1_000);
        // The snapshot is on its way when the leader learns of the record, and keeps it.
        world.faults.held_messages = true;
        let tab = world.open_tab("maya");
        let hello = world.tabs[tab].told.pop().unwrap();
        world.tell(0, Input::TabMessageReceived(serde_json::from_str(&hello).unwrap()));
        world.sql_update(key, "name", "Back");
        world.run_for(20);
        assert_eq!(world.tabs[tab].field(key, "name"), "Back".into());
        world.release_messages();
        // Held or not, the world checks at every step that nothing confirmed is hidden.
        world.run_for(100);
        assert_eq!(world.tabs[tab].field(key, "name"), "Back".into());
        world.assert_all_agree();
    }
}

#[test]
fn what_is_found_late_does_not_undo_what_the_server_said() {
    let mut world = World::new();
    world.open_tab("maya");
    world.run_for(500);
    let kept: Vec<_> = world.cached.values().flat_map(|rows| rows.values().cloned()).collect();
    world.sql_delete("c-1");
    world.sql_update("c-2", "owner_id", "jonas");
    world.run_until_quiet();
    world.tell(0, Input::RecordsFound { rows: kept });
    assert!(world.tabs[0].field("c-1", "id").is_null());
    assert_eq!(world.owner(0, "c-2"), Value::from("jonas"));
}

#[test]
fn of_what_was_kept_twice_the_newer_counts_in_whatever_order_it_is_found() {
    for newer_first in [false, true] {
        let mut world = World::new();
        world.open_tab("maya");
        world.run_for(500);
        let kept = |world: &World| world.tabs[0].engine.confirmed().filter(|row| row.key == "c-1").collect::<Vec<_>>();
        let older = kept(&world);
        world.sql_update("c-1", "owner_id", "jonas");
        world.run_until_quiet();
        let mut found = vec![older, kept(&world)];
        assert_ne!(found[0], found[1]);
        world.kill_tab(0);
        world.cut_network();
        world.cached.clear();
        let again = world.open_tab("maya");
        if newer_first {
            found.reverse();
        }
        for rows in found {
            world.tell(again, Input::RecordsFound { rows });
        }
        assert_eq!(world.owner(again, "c-1"), Value::from("jonas"));
    }
}

#[test]
fn what_is_confirmed_is_told_without_what_is_pending_and_without_what_is_not_sure() {
    let mut world = World::new();
    world.streams_partial = true;
    world.open_tab("maya");
    world.run_for(500);
    world.faults.silent = true;
    world.tab(0).assign("c-1", "maya");
    world.tab(0).delete("c-2");
    let confirmed = |world: &World| {
        let rows = world.tabs[0].engine.confirmed().filter(|row| row.table == "companies");
        rows.map(|row| (row.key.clone(), row.record.unwrap())).collect::<BTreeMap<_, _>>()
    };
    let told = confirmed(&world);
    assert!(told["c-1"].field("owner_id").unwrap_or_default() == Value::Null && told.contains_key("c-2"));
    // An event that lacks columns leaves the record in doubt until the next pull.
    world.checks = false;
    world.sql_update("c-3", "name", "Half known");
    world.run_for(50);
    assert!(!confirmed(&world).contains_key("c-3"));
}

#[test]
fn purging_forgets_what_is_kept_and_nothing_unsent() {
    let mut world = World::new();
    world.open_tab("maya");
    world.run_for(500);
    world.cut_network();
    world.tab(0).assign("c-1", "maya");
    world.run_for(100);
    world.tell(0, Input::Purge);
    world.tell(0, Input::Close);
    assert!(world.cached.is_empty());
    assert_eq!(world.stored(0).len(), 1);
}

#[test]
fn another_user_of_the_browser_sees_nothing_that_was_kept() {
    let mut world = World::new();
    world.open_tab("maya");
    world.run_for(500);
    world.kill_tab(0);
    world.cut_network();
    let other = world.open_tab("jonas");
    world.run_for(500);
    assert!(world.tabs[other].field("c-2", "id").is_null());
}

#[test]
fn a_token_that_is_refused_again_and_again_is_asked_for_ever_more_rarely_and_nothing_is_lost() {
    let mut world = World::new();
    world.open_tab("maya");
    world.run_for(500);
    // The server refuses every token, and fresh ones are to be had at once.
    world.token_good = false;
    world.fresh_tokens_are_refused = true;
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(10 * 60_000);
    let asked = world.tabs[0].refreshes;
    assert!((3..60).contains(&asked), "asked {asked} times in ten minutes");
    assert_eq!(world.tabs[0].status.as_ref().unwrap().link.state, LinkState::Paused);
    assert_eq!(world.tabs[0].status.as_ref().unwrap().unsent, 1);
    world.fresh_tokens_are_refused = false;
    world.run_for(2 * 60_000);
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
}
