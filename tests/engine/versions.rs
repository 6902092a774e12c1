//! Versions are the server's: a number, a time or text, as each table declares.

use rota_engine::{Input, JsonRecord, Row, ServerEvent, Value, Version};
use serde_json::json;

use crate::world::World;

fn changed(version: &str, city: &str) -> Input<JsonRecord> {
    let record =
        serde_json::from_value(json!({"id": "c-1", "name": "Harbour", "city": city, "owner_id": null})).unwrap();
    let row = Row {
        table: "companies".into(),
        key: "c-1".into(),
        version: Version::parse(version).unwrap(),
        op: None,
        record: Some(record),
    };
    Input::ServerChanged { events: vec![ServerEvent::Changed { row, partial: false }] }
}

/// A lone tab, off-line, whose table of companies has versions of one kind.
fn world(order: &str) -> World {
    let mut world = World::new();
    world.tables["companies"] = json!({"versionOrder": order});
    world.checks = false;
    world.network = false;
    world.open_tab("maya");
    world.run_for(500);
    world
}

fn city(world: &World) -> Value {
    world.tabs[0].field("c-1", "city")
}

#[test]
fn the_later_instant_wins_whatever_the_texts_look_like_and_in_whatever_order_they_come() {
    let events = [
        ("2026-11-01T23:00:00-05:00", "latest"),
        ("2026-11-02T03:59:59.999Z", "earlier"),
        ("2026-11-02T05:00:00.0+01:00", "the same instant"),
        ("0", "never seen"),
    ];
    for turn in 0..events.len() {
        let mut world = world("timestamp");
        let mut turned = events;
        turned.rotate_left(turn);
        for (version, city) in turned {
            world.tell(0, changed(version, city));
        }
        // Of two texts of one instant, the first one stays.
        let first = if turn == 1 || turn == 2 { "the same instant" } else { "latest" };
        assert_eq!(city(&world), first.into());
    }
}

#[test]
fn text_versions_are_ordered_by_code_point() {
    let mut world = world("string");
    for (version, city) in
        [("v9", "nine"), ("v10", "ten"), ("10", "a number"), ("2026-11-01T10:00:00Z", "a time"), ("0", "none")]
    {
        world.tell(0, changed(version, city));
    }
    assert_eq!(city(&world), "nine".into());
    world.tell(0, changed("w", "later"));
    assert_eq!(city(&world), "later".into());
}

#[test]
fn a_version_of_another_kind_is_reported_and_its_row_not_taken() {
    for (order, wrong) in
        [("integer", "2026-11-01T10:00:00Z"), ("integer", "07"), ("timestamp", "7"), ("timestamp", "v7")]
    {
        let mut world = world(order);
        world.tell(0, changed(wrong, "Kiel"));
        assert!(city(&world).is_null(), "{wrong} was taken into a table of order {order}");
        assert!(world.tabs[0].has_problem("invalid-version"), "{wrong}, {order}");
    }
}

#[test]
fn a_pull_with_a_version_that_its_table_refuses_does_not_end_its_record_and_the_next_one_asks_for_everything() {
    let mut world = World::with_tabs(1);
    world.server.spoilt_version = Some(("c-2".into(), "yesterday".into()));
    world.break_link(0, rota_engine::Failure::Server);
    world.sql_update("c-2", "city", "Kiel");
    world.run_until_quiet();
    assert!(world.tabs[0].has_problem("invalid-version"));
    assert!(!world.tabs[0].field("c-2", "id").is_null(), "what can't be read is not gone");
    let before = world.server.pulls.len();
    world.server.spoilt_version = None;
    world.tell(0, Input::Reconnect);
    world.run_until_quiet();
    assert_eq!(world.server.pulls[before].cursor, None);
    world.assert_all_agree();
}

#[test]
fn one_row_that_can_not_be_read_does_not_keep_on_the_screen_what_is_gone() {
    let mut world = World::with_tabs(2);
    world.checks = false;
    world.server.page_rows = Some(2);
    world.server.spoilt_version = Some(("c-1".into(), "not a version".into()));
    world.server.hidden.insert("c-2".into());
    world.tell(0, Input::RightsChanged);
    world.run_for(60_000);
    for tab in 0..2 {
        assert!(!world.tabs[tab].field("c-1", "id").is_null(), "what can't be read is not gone");
        assert!(world.tabs[tab].field("c-2", "id").is_null(), "what the person may not see any more is shown");
    }
    assert_eq!(world.server.pulls.last().unwrap().cursor, None);
}

#[test]
fn the_version_that_a_person_decided_under_travels_back_as_the_server_wrote_it() {
    for (order, text) in
        [("timestamp", "2026-11-01 10:00:00.500+02:00"), ("string", "v-Ä"), ("integer", "18446744073709551615")]
    {
        let mut world = world(order);
        world.tell(0, changed(text, "Kiel"));
        let id = world.tab(0).patch("c-1", "city", "Jena");
        let op = serde_json::to_value(&world.ops[&id]).unwrap();
        assert_eq!(op["baseVersion"], text);
        // A reload reads it again.
        let again = world.reload_tab(0);
        world.run_for(100);
        assert_eq!(world.tabs[again].operations[&id].key, "c-1");
    }
}

#[test]
fn a_key_that_the_server_has_never_seen_is_gone_whatever_the_tables_order() {
    for order in ["integer", "timestamp", "string"] {
        let mut world = world(order);
        let row = Row {
            table: "companies".into(),
            key: "c-9".into(),
            version: Version::parse("0").unwrap(),
            op: None,
            record: None,
        };
        world.tell(0, Input::ServerChanged { events: vec![ServerEvent::Changed { row, partial: false }] });
        assert!(!world.tabs[0].has_problem("invalid-version"));
        assert_eq!(world.tabs[0].engine.version("companies", "c-9"), Version::parse("0"));
    }
}
