//! Pulls that come in pages, and pulls of a part of a table.

use rota_engine::{Failure, Input, JsonRecord, PullCall, Pulled, ServerEvent, Unread};
use serde_json::json;

use crate::server::version;
use crate::world::{World, row};

/// A tab that leads, and whose pulls the test answers.
fn by_hand() -> World {
    let mut world = World::with_tabs(1);
    (world.faults.silent, world.checks) = (true, false);
    world.tell(0, Input::Reconnect);
    world
}

fn asked(world: &World) -> PullCall {
    world.tabs[0].pulls.last().unwrap().clone()
}

fn pulled(id: u32, cursor: &str, whole: bool, keys: &[&str], next: Option<&str>) -> Pulled<JsonRecord> {
    let records = keys.iter().map(|key| row(key, 1, "nobody")).collect();
    let (cursor, next) = (Some(cursor.to_owned()), next.map(str::to_owned));
    Pulled {
        id,
        cursor,
        whole,
        records,
        gone: vec![],
        settled: vec![],
        covers: vec![],
        next,
        at_ms: None,
        unread: vec![],
    }
}

fn is_there(world: &World, key: &str) -> bool {
    !world.tabs[0].field(key, "id").is_null()
}

#[test]
fn a_record_whose_row_was_left_out_as_unreadable_is_not_gone_and_the_rest_is() {
    for pages in [1, 2] {
        let mut world = by_hand();
        let unread = vec![Unread { table: "companies".into(), key: "c-1".into() }];
        let next = (pages > 1).then_some("p2");
        let first = pulled(asked(&world).id, "1:50", true, &[], next);
        world.tell(0, Input::Pulled(Pulled { unread, ..first }));
        if pages > 1 {
            world.tell(0, Input::Pulled(pulled(asked(&world).id, "1:51", true, &["c-3"], None)));
        }
        assert!(is_there(&world, "c-1") && !is_there(&world, "c-2"));
        world.tell(0, Input::Missed);
        assert_eq!(asked(&world).request.cursor, None, "the next pull asks for everything again");
    }
}

#[test]
fn a_pull_in_pages_ends_where_one_of_one_page_does() {
    let mut world = World::new();
    world.server.page_rows = Some(2);
    world.server.seed(9);
    world.open_tab("maya");
    world.run_until_quiet();
    world.assert_all_agree();
    assert_eq!(world.tabs[0].mirror.len(), 9);
    world.open_tab("maya");
    world.run_until_quiet();
    world.assert_all_agree();
}

#[test]
fn rows_show_as_their_pages_come_and_what_is_missing_is_gone_only_after_the_last() {
    let mut world = by_hand();
    world.tell(0, Input::Pulled(pulled(asked(&world).id, "1:50", true, &["c-1", "n-1"], Some("p2"))));
    assert!(is_there(&world, "n-1") && is_there(&world, "c-6"));
    let second = asked(&world);
    assert_eq!(second.request.page.as_deref(), Some("p2"));
    world.tell(0, Input::Pulled(pulled(second.id, "1:60", true, &["c-2"], None)));
    assert!(is_there(&world, "c-1") && is_there(&world, "n-1") && is_there(&world, "c-2"));
    assert!(!is_there(&world, "c-3") && !is_there(&world, "c-6"));
    world.tell(0, Input::Reconnect);
    assert_eq!(asked(&world).request.cursor.as_deref(), Some("1:50"), "the cursor is that of the first page");
}

#[test]
fn what_the_stream_tells_between_two_pages_is_not_gone_after_the_last() {
    let mut world = by_hand();
    world.tell(0, Input::Pulled(pulled(asked(&world).id, "1:50", true, &["c-1"], Some("p2"))));
    let event = ServerEvent::Changed { row: row("fresh", 90, "jonas"), partial: false };
    world.tell(0, Input::ServerChanged { events: vec![event] });
    world.tell(0, Input::Pulled(pulled(asked(&world).id, "1:60", true, &[], None)));
    assert!(is_there(&world, "fresh") && is_there(&world, "c-1") && !is_there(&world, "c-2"));
}

#[test]
fn a_page_that_the_server_no_longer_knows_starts_the_pull_over_and_nothing_is_taken_for_gone() {
    let mut world = by_hand();
    world.tell(0, Input::Pulled(pulled(asked(&world).id, "1:50", true, &["c-1"], Some("p2"))));
    let id = asked(&world).id;
    world.tell(0, Input::PullFailed { id, failure: Failure::Gone, message: "the page has expired".into() });
    assert!(is_there(&world, "c-6"));
    world.faults.silent = false;
    world.run_until_quiet();
    let request = world.server.pulls.last().unwrap();
    assert_eq!(request.page, None);
    world.assert_all_agree();
}

#[test]
fn pages_arrive_whole_over_a_network_that_fails_again_and_again() {
    for seed in 0..20 {
        let mut world = World::seeded(seed);
        world.server.page_rows = Some(1);
        world.faults.lost_replies_percent = 30;
        world.open_tab("maya");
        world.run_for(20_000);
        world.sql_delete("c-2");
        world.faults.lost_replies_percent = 0;
        world.run_until_quiet();
        world.run_for(60_000);
        world.assert_all_agree();
    }
}

#[test]
fn a_pull_begun_before_an_event_never_overwrites_what_the_event_told() {
    let mut world = by_hand();
    let event = ServerEvent::Changed { row: row("c-1", 90, "jonas"), partial: false };
    world.tell(0, Input::ServerChanged { events: vec![event] });
    world.tell(0, Input::Pulled(pulled(asked(&world).id, "1:50", true, &["c-1", "c-2"], None)));
    assert_eq!(world.owner(0, "c-1"), "jonas".into());
    assert_eq!(world.tabs[0].engine.version("companies", "c-1"), Some(version(90)));
}

#[test]
fn a_late_answer_of_a_pull_that_was_given_up_is_dropped() {
    let mut world = World::with_tabs(2);
    (world.faults.silent, world.checks) = (true, false);
    world.tell(0, Input::Reconnect);
    let abandoned = asked(&world).id;
    world.tell(0, Input::LockLost);
    world.tell(0, Input::LockGranted);
    assert_ne!(asked(&world).id, abandoned);
    world.tell(0, Input::Pulled(pulled(abandoned, "1:1", true, &["ghost"], None)));
    world.tell(0, Input::PullFailed { id: abandoned, failure: Failure::Gone, message: String::new() });
    assert!(!is_there(&world, "ghost") && is_there(&world, "c-1"));
    world.tell(0, Input::Pulled(pulled(asked(&world).id, "1:50", true, &["c-1"], None)));
    assert!(!is_there(&world, "c-2"));
    let repeated = asked(&world).id;
    world.tell(0, Input::Pulled(pulled(repeated, "1:50", true, &[], None)));
    assert!(is_there(&world, "c-1"), "an answer counts once");
}

#[test]
fn a_pull_of_a_part_makes_gone_what_is_missing_in_that_part_and_nothing_else() {
    for (covers, gone) in [
        (json!([]), vec![]),
        (json!([{"table": "companies", "keys": ["c-2", "c-3", "c-99"]}]), vec!["c-2", "c-3"]),
        (json!([{"table": "companies", "where": {"city": "Kiel"}}]), vec!["c-5", "c-6"]),
        (json!([{"table": "companies", "where": {"city": "Kiel", "name": "Pier"}}]), vec!["c-6"]),
        (json!([{"table": "companies", "where": {"town": "Kiel"}}, {"table": "towns"}]), vec![]),
        (json!([{"table": "leads"}, {"table": "companies", "keys": ["c-4"]}]), vec!["c-4"]),
    ] {
        let mut world = World::with_tabs(2);
        world.sql_update("c-5", "city", "Kiel");
        world.sql_update("c-6", "city", "Kiel");
        world.sql_update("c-6", "name", "Pier");
        world.run_until_quiet();
        (world.faults.silent, world.checks) = (true, false);
        world.tell(0, Input::Reconnect);
        let id = asked(&world).id;
        let part = Pulled {
            covers: serde_json::from_value(covers.clone()).unwrap(),
            ..pulled(id, "1:50", false, &["c-1"], None)
        };
        world.tell(0, Input::Pulled(part));
        world.run_for(100);
        for tab in 0..2 {
            let missing = (1..=6).map(|n| format!("c-{n}")).filter(|key| world.tabs[tab].field(key, "id").is_null());
            assert_eq!(missing.collect::<Vec<_>>(), gone, "{covers}, tab {tab}");
        }
        let is_wrong = covers.to_string().contains("town");
        assert_eq!(world.tabs[0].has_problem("malformed-pull"), is_wrong);
    }
}

#[test]
fn a_pending_change_of_what_is_gone_from_a_part_is_not_lost() {
    let mut world = World::with_tabs(1);
    (world.faults.silent, world.checks) = (true, false);
    let id = world.tab(0).assign("c-2", "maya");
    world.tell(0, Input::Reconnect);
    let covers = serde_json::from_value(json!([{"table": "companies", "keys": ["c-2"]}])).unwrap();
    let part = Pulled { covers, ..pulled(asked(&world).id, "1:50", false, &[], None) };
    world.tell(0, Input::Pulled(part));
    assert!(!is_there(&world, "c-2") && world.tabs[0].operations[&id].doubtful);
    assert_eq!(world.stored(0).len(), 1);
}

#[test]
fn what_is_told_between_two_pages_in_answers_or_in_vain_is_looked_up_when_no_page_brings_it() {
    let looked_up = |world: &mut World| {
        if asked(world).request.keys.is_none() {
            world.tell(0, Input::Pulled(pulled(asked(world).id, "1:60", false, &[], None)));
        }
        asked(world).request.keys.map(|keys| serde_json::to_value(keys).unwrap())
    };
    let mut world = by_hand();
    let version = world.tabs[0].engine.version("companies", "c-2").unwrap();
    let answer = json!({
        "protocol": 1, "id": "019aa5e3-f1c0-7a3b-9c1d-2e4f60718293", "table": "companies", "key": "c-2", "replayed": true,
        "outcome": "confirmed", "version": version, "record": row("c-2", 1, "nobody").record,
    });
    let first = pulled(asked(&world).id, "1:50", true, &["c-1"], Some("p2"));
    world.tell(0, Input::Pulled(Pulled { settled: vec![serde_json::from_value(answer).unwrap()], ..first }));
    world.tell(0, Input::Pulled(pulled(asked(&world).id, "1:60", true, &[], None)));
    assert_eq!(looked_up(&mut world), Some(json!({"companies": ["c-2"]})));

    let mut world = by_hand();
    world.tell(0, Input::Pulled(pulled(asked(&world).id, "1:50", true, &["c-1"], Some("p2"))));
    let id = asked(&world).id;
    let event = ServerEvent::Changed { row: row("c-2", 90, "jonas"), partial: false };
    world.tell(0, Input::ServerChanged { events: vec![event] });
    world.tell(0, Input::PullFailed { id, failure: Failure::Network, message: "lost".into() });
    world.run_for(5_000);
    assert_ne!(asked(&world).id, id);
    world.tell(0, Input::Pulled(pulled(asked(&world).id, "1:60", true, &[], None)));
    assert_eq!(looked_up(&mut world), Some(json!({"companies": ["c-2"]})));
}
