//! Laws 1 to 4: what is seen, and that it neither flickers nor goes back.

use rota_engine::{Input, OperationState, ServerEvent, Value};
use serde_json::json;

use crate::server::version;
use crate::world::{Echo, World, row};

const NOBODY: Value = Value::Null;

#[test]
fn an_assignment_is_seen_at_once_and_confirmed_without_a_flicker_whatever_comes_first() {
    for echo in [Echo::BeforeAnswer, Echo::AfterAnswer, Echo::Never] {
        for doubled_percent in [0, 100] {
            let mut world = World::with_tabs(2);
            (world.faults.echo, world.faults.doubled_percent) = (echo, doubled_percent);
            let id = world.tab(0).assign("c-1", "maya");
            assert_eq!(world.owner(0, "c-1"), "maya".into());
            world.run_until_quiet();
            for tab in 0..2 {
                assert_eq!(world.tabs[tab].seen("c-1", "owner_id"), [NOBODY, "maya".into()]);
            }
            assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
            world.assert_all_agree();
        }
    }
}

#[test]
fn a_confirmation_whose_answer_is_lost_does_not_flicker() {
    for echo in [Echo::BeforeAnswer, Echo::Never] {
        let mut world = World::with_tabs(2);
        (world.faults.echo, world.faults.lost_push_replies) = (echo, 1);
        let id = world.tab(1).assign("c-1", "maya");
        world.run_until_quiet();
        assert_eq!(world.tabs[0].seen("c-1", "owner_id"), [NOBODY, "maya".into()]);
        assert_eq!(world.tabs[1].seen("c-1", "owner_id"), [NOBODY, "maya".into()]);
        assert_eq!(world.outcome(1, id), [OperationState::Confirmed]);
        assert_eq!(world.server.effects[&id], 1);
        if echo == Echo::BeforeAnswer {
            assert_eq!(world.sent(id), 1, "the row that it wrote is proof enough");
        }
    }
}

#[test]
fn rapid_changes_never_show_an_older_one_again() {
    for echo in [Echo::BeforeAnswer, Echo::AfterAnswer] {
        let mut world = World::with_tabs(2);
        world.faults.echo = echo;
        for city in ["Kiel", "Lübeck", "Jena"] {
            world.tab(0).patch("c-1", "city", city);
            world.run_for(7);
        }
        world.run_until_quiet();
        let expected: Vec<Value> = ["Bremen", "Kiel", "Lübeck", "Jena"].map(Value::from).to_vec();
        assert_eq!(world.tabs[0].seen("c-1", "city"), expected);
        world.assert_all_agree();
    }
}

#[test]
fn a_refetch_never_overwrites_a_pending_change() {
    let mut world = World::with_tabs(1);
    world.faults.silent = true;
    world.tab(0).assign("c-1", "maya");
    world.sql_update("c-1", "city", "Kiel");
    world.faults.silent = false;
    world.tell(0, Input::Reconnect);
    world.run_for(500);
    assert_eq!((world.owner(0, "c-1"), world.tabs[0].field("c-1", "city")), ("maya".into(), "Kiel".into()));
    world.run_until_quiet();
    world.assert_all_agree();
}

#[test]
fn a_change_made_while_a_pull_is_on_its_way_is_seen_over_what_the_pull_brings() {
    // A pull takes 10 ms, and a push twice as long; made at each moment of it.
    for at in 0..12 {
        let mut world = World::with_tabs(2);
        world.server.sql_set("c-1", &[("owner_id", "jonas".into()), ("city", "Kiel".into())]);
        world.server.news.clear();
        world.tell(0, Input::Reconnect);
        world.run_for(at);
        let owner = world.owner(0, "c-1");
        world.tab(1).patch("c-1", "name", "Dock");
        world.run_until_quiet();
        for tab in 0..2 {
            assert_eq!(
                world.tabs[tab].seen("c-1", "name"),
                ["Harbour".into(), "Dock".into()],
                "{at} ms, after {owner:?}"
            );
        }
        world.assert_all_agree();
    }
}

#[test]
fn an_inserted_record_stays_seen_when_its_answer_is_found_again_in_the_ledger() {
    let mut world = World::with_tabs(2);
    (world.faults.echo, world.faults.lost_push_replies) = (Echo::Never, 1);
    world.tab(0).insert("c-9");
    world.run_until_quiet();
    for tab in 0..2 {
        assert_eq!(world.tabs[tab].seen("c-9", "city"), ["Kiel".into()]);
    }
    world.assert_all_agree();
}

#[test]
fn a_refusal_rolls_back_in_both_tabs_and_says_why() {
    let mut world = World::with_tabs(2);
    world.server.refused.insert("c-1".into());
    let id = world.tab(1).assign("c-1", "maya");
    world.run_for(3);
    assert_eq!(world.owner(0, "c-1"), "maya".into());
    world.run_until_quiet();
    assert_eq!((world.owner(0, "c-1"), world.owner(1, "c-1")), (NOBODY, NOBODY));
    let end = world.tabs[1].settled.iter().find(|end| end.id == id).unwrap();
    assert_eq!((end.outcome, end.code.as_deref()), (OperationState::Refused, Some("forbidden")));
    assert_eq!(end.message.as_deref(), Some("only members of Sales may change c-1"));
    assert!(world.tabs[0].settled.is_empty(), "the end of another tab's operation is not this tab's to settle");
}

#[test]
fn who_loses_a_race_sees_who_won_and_which_field_decided() {
    let mut world = World::with_tabs(1);
    world.faults.echo = Echo::Never;
    world.use_browser(1);
    world.open_tab("jonas");
    world.run_for(500);
    world.tab(1).assign("c-1", "jonas");
    world.run_for(8);
    let id = world.tab(0).assign("c-1", "maya");
    world.run_until_quiet();
    let end = world.tabs[0].settled.iter().find(|end| end.id == id).unwrap();
    assert_eq!((end.outcome, end.code.as_deref()), (OperationState::Conflicted, Some("taken")));
    assert_eq!(end.fields, ["owner_id"]);
    assert_eq!(world.tabs[0].seen("c-1", "owner_id"), [NOBODY, "maya".into(), "jonas".into()]);
}

#[test]
fn an_assignment_made_twice_is_one_owner_and_no_conflict() {
    let mut world = World::with_tabs(2);
    world.use_browser(1);
    let elsewhere = world.open_tab("maya");
    world.run_for(500);
    // Three tabs, of two browsers, that have not heard of each other: as an automatic assignment that runs in each of them.
    let ids = [0, 1, elsewhere].map(|tab| (tab, world.tab(tab).assign("c-1", "maya")));
    for _ in 0..30 {
        world.run_for(1);
        assert!(world.tabs.iter().flat_map(|tab| tab.operations.values()).all(|view| !view.doubtful));
    }
    world.run_until_quiet();
    for (tab, id) in ids {
        assert_eq!(world.outcome(tab, id), [OperationState::Confirmed]);
        assert_eq!(world.tabs[tab].seen("c-1", "owner_id"), [NOBODY, "maya".into()]);
    }
    world.assert_all_agree();
}

#[test]
fn an_assignment_never_overwrites_an_owner_that_its_person_had_not_seen() {
    for told in [false, true] {
        let mut world = World::with_tabs(2);
        world.faults.push_failures.push_back((rota_engine::Failure::RateLimit, Some(2_000)));
        let late = world.tab(1).assign("c-1", "maya");
        world.run_for(100);
        // Whether or not the sender hears of it before it sends: the person did not decide under it.
        world.server.sql_set("c-1", &[("owner_id", "jonas".into())]);
        world.server.news.clear();
        if told {
            world.tell(0, Input::Reconnect);
        }
        world.run_for(1_000);
        assert_eq!((world.sent(late), world.owner(1, "c-1")), (0, if told { "jonas" } else { "maya" }.into()));
        world.run_until_quiet();
        assert_eq!(world.server.company("c-1").unwrap()["owner_id"], "jonas".into());
        assert_eq!(world.outcome(1, late), [OperationState::Conflicted]);
        // Whoever has seen it may take it over.
        let seen = world.tab(1).assign("c-1", "maya");
        world.run_until_quiet();
        assert_eq!(world.outcome(1, seen), [OperationState::Confirmed]);
        world.assert_all_agree();
    }
}

#[test]
fn somebody_elses_assignment_takes_no_pending_change_of_another_field_away() {
    for echo in [Echo::BeforeAnswer, Echo::AfterAnswer, Echo::Never] {
        let mut world = World::with_tabs(2);
        world.faults.echo = echo;
        world.faults.silent = true;
        let written = world.tab(1).patch("c-1", "name", "Half a sentence");
        world.run_for(50);
        world.sql_update("c-1", "owner_id", "jonas");
        world.sql_update("c-1", "owner_id", "lena");
        world.run_for(50);
        for tab in 0..2 {
            assert_eq!(world.owner(tab, "c-1"), "lena".into());
            assert_eq!(world.tabs[tab].seen("c-1", "name"), ["Harbour".into(), "Half a sentence".into()]);
        }
        world.faults.silent = false;
        world.run_until_quiet();
        assert_eq!(world.outcome(1, written), [OperationState::Confirmed]);
        assert_eq!(world.tabs[1].seen("c-1", "name"), ["Harbour".into(), "Half a sentence".into()]);
        world.assert_all_agree();
    }
}

#[test]
fn an_assignment_that_no_longer_applies_is_hidden_and_doubtful_until_the_server_answers() {
    let mut world = World::with_tabs(1);
    world.faults.silent = true;
    let id = world.tab(0).assign("c-1", "maya");
    world.sql_update("c-1", "owner_id", "jonas");
    world.run_for(50);
    assert_eq!(world.owner(0, "c-1"), "jonas".into());
    assert!(world.tabs[0].operations[&id].doubtful);
    world.faults.silent = false;
    world.run_until_quiet();
    assert_eq!(world.outcome(0, id), [OperationState::Conflicted]);
}

#[test]
fn two_failed_changes_leave_no_ghost() {
    let mut world = World::with_tabs(2);
    world.server.refused.insert("c-1".into());
    world.tab(0).patch("c-1", "city", "Kiel");
    world.tab(0).patch("c-1", "city", "Jena");
    world.run_until_quiet();
    world.assert_all_agree();
    assert_eq!(world.tabs[0].engine.stats().operations, 0);
}

#[test]
fn a_refused_insert_leaves_nothing_behind_and_takes_what_depends_on_it_along() {
    let mut world = World::with_tabs(1);
    world.server.refused.insert("c-9".into());
    let held = world.tabs[0].engine.stats();
    world.tab(0).insert("c-9");
    let dependent = world.tab(0).patch("c-9", "city", "Jena");
    world.server.refused.clear();
    world.server.refused.insert("c-9".into());
    world.run_until_quiet();
    assert_eq!(world.outcome(0, dependent), [OperationState::Refused]);
    assert_eq!(world.tabs[0].engine.stats(), held);
}

#[test]
fn server_events_in_any_order_and_number_end_in_the_same_state() {
    let events: Vec<_> = [(50, "a"), (51, "b"), (52, "c")].map(|(n, who)| row("c-1", n, who)).to_vec();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut world = World::with_tabs(2);
        world.checks = false;
        for index in order.into_iter().chain(order) {
            let events = vec![ServerEvent::Changed { row: events[index].clone(), partial: false }];
            world.tell(0, Input::ServerChanged { events });
        }
        world.run_for(100);
        for tab in 0..2 {
            assert_eq!(world.owner(tab, "c-1"), "c".into(), "{order:?}");
            assert_eq!(world.tabs[tab].engine.version("companies", "c-1"), Some(version(52)));
        }
    }
}

#[test]
fn a_late_event_does_not_bring_a_deleted_record_back() {
    let mut world = World::with_tabs(2);
    let before = world.server.rows[&("companies".to_owned(), "c-1".to_owned())].clone();
    world.sql_delete("c-1");
    world.run_for(500);
    let late =
        serde_json::from_value(json!({"table": "companies", "key": "c-1", "version": before.version.to_string(),
        "op": null, "record": before.record}))
        .unwrap();
    world.tell(0, Input::ServerChanged { events: vec![ServerEvent::Changed { row: late, partial: false }] });
    world.run_for(100);
    world.assert_all_agree();
}

#[test]
fn what_a_record_is_between_two_parts_of_a_transaction_is_shown_to_nobody() {
    let mut world = World::with_tabs(2);
    let between = |key: &str| {
        let record = json!({"id": key, "name": "In between", "city": "Nowhere", "owner_id": null});
        let row = json!({"table": "companies", "key": key, "version": "0", "op": null, "record": record});
        ServerEvent::Changed { row: serde_json::from_value(row).unwrap(), partial: false }
    };
    let pulls = world.server.pulls.len();
    world.tell(0, Input::ServerChanged { events: vec![between("c-1"), between("c-new")] });
    world.run_until_quiet();
    for tab in 0..2 {
        assert!(!world.tabs[tab].seen("c-1", "city").contains(&"Nowhere".into()));
        assert!(world.tabs[tab].seen("c-new", "city").is_empty());
    }
    // Of the one that was unknown the server is asked: its event may be all that is heard of it.
    assert!(
        world.server.pulls[pulls..]
            .iter()
            .any(|pull| pull.keys.as_ref().is_some_and(|keys| keys["companies"] == ["c-new"]))
    );
    world.assert_all_agree();
}

#[test]
fn an_answer_out_of_the_ledger_does_not_bring_a_deleted_record_back() {
    let mut world = World::with_tabs(1);
    (world.faults.echo, world.faults.lost_push_replies) = (Echo::Never, 1);
    world.tab(0).assign("c-1", "maya");
    world.run_for(6);
    world.kill_tab(0);
    world.sql_delete("c-1");
    // What was kept from the last visit may be shown until the server is heard; here it is the ledger's turn alone.
    world.cached.clear();
    let tab = world.open_tab("maya");
    world.run_until_quiet();
    world.assert_all_agree();
    assert!(world.tabs[tab].seen("c-1", "owner_id").iter().all(Value::is_null), "it was shown again");
}

#[test]
fn an_event_that_lacks_columns_keeps_the_confirmed_ones() {
    let mut world = World::with_tabs(2);
    world.streams_partial = true;
    world.sql_update("c-1", "owner_id", "jonas");
    world.run_for(100);
    world.assert_all_agree();
}

#[test]
fn columns_filled_in_from_an_old_state_are_corrected_by_the_next_pull_in_every_tab() {
    let mut world = World::with_tabs(2);
    world.checks = false;
    world.server.sql_set("c-1", &[("name", "Renamed".into())]);
    world.server.news.clear();
    world.streams_partial = true;
    world.sql_update("c-1", "owner_id", "jonas");
    world.run_for(100);
    assert_eq!(world.tabs[1].field("c-1", "name"), "Harbour".into());
    world.tell(0, Input::Reconnect);
    world.run_for(100);
    world.assert_all_agree();
}

#[test]
fn an_event_of_an_unknown_record_that_lacks_columns_is_pulled() {
    let mut world = World::with_tabs(1);
    world.streams_partial = true;
    world.sql_update("c-77", "owner_id", "jonas");
    world.run_for(100);
    world.assert_all_agree();
}

#[test]
fn one_input_is_one_notification_however_much_it_brings() {
    let mut world = World::with_tabs(1);
    world.checks = false;
    let events = (0..100)
        .map(|n| ServerEvent::Changed { row: row(&format!("x-{n}"), 100 + n, "lena"), partial: false })
        .collect();
    world.tell(0, Input::ServerChanged { events });
    assert_eq!(world.tabs[0].notified, 1);
    assert_eq!(world.tabs[0].mirror.len(), 106);
}

#[test]
fn what_changes_nothing_notifies_nobody() {
    let mut world = World::with_tabs(1);
    world.checks = false;
    let event = ServerEvent::Changed { row: row("c-1", 1, "old"), partial: false };
    world.tell(0, Input::ServerChanged { events: vec![event] });
    assert_eq!(world.tabs[0].notified, 0);
}

#[test]
fn events_that_lack_columns_end_in_the_same_state_in_any_order() {
    let mut ends = Vec::new();
    for order in [[0, 1], [1, 0]] {
        let mut world = World::with_tabs(1);
        world.checks = false;
        let id = "c-1";
        let mut full = world.server.company(id).unwrap();
        full.insert("name".into(), "renamed".into());
        world.server.sql_set(id, &[("name", "renamed".into())]);
        let one = world.server.rows[&("companies".to_owned(), id.to_owned())].version;
        world.server.sql_set(id, &[("city", "Kiel".into())]);
        let two = world.server.rows[&("companies".to_owned(), id.to_owned())].version;
        world.server.news.clear();
        let mut part = full.clone();
        part.insert("city".into(), "Kiel".into());
        part.remove("name");
        let event = |version: u64, record: &rota_engine::Fields, partial: bool| json!({"changed": {"row": {"table": "companies", "key": id, "version": version.to_string(), "op": null, "record": record}, "partial": partial}});
        let events = [event(one, &full, false), event(two, &part, true)];
        for at in order {
            world.tell(0, serde_json::from_value(json!({"serverChanged": {"events": [events[at]]}})).unwrap());
        }
        world.run_for(600_000);
        ends.push((world.tabs[0].field(id, "name"), world.tabs[0].field(id, "city")));
    }
    assert_eq!(ends[0], ends[1]);
}
