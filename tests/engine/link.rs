//! Laws 7, 8 and 15: the stream and mutations do not wait for each other, and nothing is missed.

use rota_engine::{Failure, Input, LinkState};

use crate::world::{Echo, World};

fn state(world: &World, tab: usize) -> LinkState {
    world.tabs[tab].status.as_ref().unwrap().link.state
}

#[test]
fn a_change_between_joined_and_live_is_not_missed() {
    let mut world = World::new();
    world.live_delay_ms = 3_000;
    world.open_tab("maya");
    world.run_for(1_000);
    world.sql_update("c-1", "owner_id", "jonas");
    world.run_for(1_500);
    assert!(world.owner(0, "c-1").is_null(), "no stream, and no pull before it is live");
    world.run_for(1_000);
    world.assert_all_agree();
}

#[test]
fn a_change_while_the_first_pull_is_on_its_way_is_not_missed() {
    for at in 0..60 {
        let mut world = World::new();
        world.open_tab("maya");
        world.run_for(at);
        world.sql_update("c-1", "owner_id", "jonas");
        world.sql_delete("c-2");
        world.run_for(1_000);
        world.assert_all_agree();
    }
}

#[test]
fn a_row_that_a_whole_pull_does_not_bring_is_gone_unless_it_arrived_meanwhile() {
    let mut world = World::with_tabs(2);
    world.server.incarnation += 1;
    world.server.rows.remove(&("companies".into(), "c-1".into()));
    world.tell(0, Input::Reconnect);
    world.run_for(6);
    world.sql_update("c-88", "owner_id", "jonas");
    world.run_for(1_000);
    world.assert_all_agree();
    assert!(world.tabs[1].mirror.contains_key(&("companies".into(), "c-88".into())));
}

#[test]
fn what_happened_during_an_outage_is_there_after_it_by_cursor() {
    let mut world = World::with_tabs(2);
    world.cut_network();
    world.run_for(5_000);
    world.sql_update("c-1", "owner_id", "jonas");
    world.sql_delete("c-2");
    let pulls = world.server.pulls.len();
    world.heal_network();
    world.run_for(60_000);
    world.assert_all_agree();
    assert!(world.server.pulls[pulls..].iter().all(|pull| pull.cursor.is_some() || pull.keys.is_some()));
}

#[test]
fn the_cursor_never_passes_what_was_not_taken() {
    // A push is on its way while its own row and others' rows arrive; then stream and answer are lost, at every moment of that.
    for echo in [Echo::BeforeAnswer, Echo::AfterAnswer, Echo::Never] {
        for at in 0..40 {
            let mut world = World::with_tabs(2);
            (world.faults.echo, world.faults.lost_push_replies) = (echo, 1);
            let id = world.tab(1).patch("c-1", "city", "Kiel");
            world.run_for(at);
            world.sql_update("c-1", "owner_id", "jonas");
            world.sql_delete("c-2");
            // A pull goes out that sees all this, and its answer is lost, too.
            world.tell(0, Input::Reconnect);
            world.run_for(at % 7);
            world.cut_network();
            world.sql_update("c-3", "owner_id", "lena");
            world.run_for(5_000);
            world.heal_network();
            world.tell(0, Input::Reconnect);
            world.run_until_quiet();
            world.assert_all_agree();
            assert_eq!((world.server.effects[&id], world.owner(1, "c-1")), (1, "jonas".into()), "{echo:?}, {at} ms");
        }
    }
}

#[test]
fn what_a_pull_brings_while_an_operation_of_its_record_waits_is_taken_at_once() {
    let mut world = World::with_tabs(2);
    world.faults.push_failures.push_back((Failure::RateLimit, Some(5_000)));
    world.tab(1).patch("c-1", "city", "Kiel");
    world.run_for(100);
    world.server.sql_set("c-1", &[("owner_id", "jonas".into())]);
    world.server.news.clear();
    // The cursor of this pull is past it.
    world.tell(0, Input::Reconnect);
    world.run_for(200);
    for tab in 0..2 {
        assert_eq!(world.owner(tab, "c-1"), "jonas".into());
        assert_eq!(world.tabs[tab].field("c-1", "city"), "Kiel".into());
    }
    world.run_until_quiet();
    world.assert_all_agree();
}

#[test]
fn the_stream_does_not_wait_for_a_mutation_nor_a_mutation_for_the_stream() {
    let mut world = World::with_tabs(1);
    world.live_delay_ms = 10_000;
    world.break_link(0, Failure::Network);
    world.run_for(3_000);
    assert_eq!(state(&world, 0), LinkState::Connecting);
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(30);
    assert_eq!(world.outcome(0, id).len(), 1, "it was sent without a stream");
    world.run_for(20_000);
    world.faults.silent = true;
    world.tab(0).assign("c-2", "maya");
    world.sql_update("c-3", "city", "Kiel");
    world.run_for(30);
    assert_eq!(world.tabs[0].field("c-3", "city"), "Kiel".into());
}

#[test]
fn the_browser_saying_off_line_stops_nothing() {
    let mut world = World::with_tabs(1);
    world.tell(0, Input::NetworkHinted { online: false });
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(100);
    assert_eq!(world.outcome(0, id).len(), 1);
}

#[test]
fn the_browser_saying_on_line_makes_it_try_at_once() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    world.run_for(300_000);
    world.heal_network();
    let id = world.tab(0).assign("c-1", "maya");
    world.tell(0, Input::NetworkHinted { online: true });
    world.run_for(60);
    assert_eq!(state(&world, 0), LinkState::Live);
    assert_eq!(world.outcome(0, id).len(), 1);
}

#[test]
fn after_a_sleep_the_link_is_opened_anew_and_what_was_missed_is_pulled() {
    let mut world = World::with_tabs(2);
    world.sleep_for(3_600_000);
    world.sql_update("c-1", "owner_id", "jonas");
    let connects = world.tabs[0].connects;
    world.run_for(3_000);
    assert_eq!(world.tabs[0].connects, connects + 1, "no event said so; the clocks did");
    world.assert_all_agree();
}

#[test]
fn a_wall_clock_that_jumps_back_harms_nothing() {
    let mut world = World::with_tabs(2);
    world.now.wall_ms -= 86_400_000;
    let first = world.tab(0).patch("c-1", "city", "Kiel");
    let second = world.tab(0).patch("c-1", "city", "Jena");
    world.run_until_quiet();
    assert_eq!(world.server.applied, [first, second]);
    world.assert_all_agree();
}

#[test]
fn a_link_that_does_not_come_up_in_time_is_tried_again() {
    let mut world = World::new();
    world.live_delay_ms = 20_000;
    world.open_tab("maya");
    world.run_for(20_000);
    assert!(world.tabs[0].connects > 1);
    world.live_delay_ms = 20;
    world.run_for(60_000);
    assert_eq!(state(&world, 0), LinkState::Live);
}

#[test]
fn reports_of_an_earlier_attempt_are_ignored() {
    let mut world = World::with_tabs(1);
    world.tell(0, Input::LinkClosed { attempt: 77, failure: Failure::Network, message: String::new() });
    assert_eq!(state(&world, 0), LinkState::Live);
}

#[test]
fn a_pull_without_an_answer_is_made_again() {
    let mut world = World::with_tabs(1);
    world.faults.silent = true;
    world.tell(0, Input::Reconnect);
    world.run_for(20_000);
    world.faults.silent = false;
    world.server.sql_set("c-1", &[("city", "Kiel".into())]);
    world.server.news.clear();
    world.run_for(80_000);
    world.assert_all_agree();
}

#[test]
fn a_deletion_is_seen_even_when_its_first_pull_fails() {
    let mut world = World::with_tabs(2);
    world.sql_delete("c-1");
    world.run_for(4);
    world.faults.lost_replies_percent = 100;
    world.run_for(50);
    world.faults.lost_replies_percent = 0;
    world.run_for(90_000);
    world.assert_all_agree();
}

#[test]
fn what_the_stream_could_not_tell_is_pulled() {
    let mut world = World::with_tabs(1);
    let before = world.tabs[0].status.as_ref().unwrap().last_sync_ms;
    world.run_for(1_000);
    world.tell(0, Input::Missed);
    world.run_for(100);
    assert!(world.tabs[0].status.as_ref().unwrap().last_sync_ms > before);
}

#[test]
fn a_pull_that_makes_no_sense_to_the_server_is_reported_once_and_said_in_the_status() {
    let mut world = World::with_tabs(1);
    for _ in 0..2 {
        world.tell(0, Input::Missed);
        for id in 1..20 {
            let message = "companies is not synced".to_owned();
            world.tell(0, Input::PullFailed { id, failure: Failure::Invalid, message });
        }
    }
    assert_eq!(world.tabs[0].problems.iter().filter(|problem| problem.code == "pull-failed").count(), 1);
    assert_eq!(world.tabs[0].status.as_ref().unwrap().link.why, "invalid: companies is not synced");
    assert_eq!(state(&world, 0), LinkState::Live);
    world.run_for(60_000);
    assert_eq!(world.tabs[0].status.as_ref().unwrap().link.why, "");
}

#[test]
fn the_browser_coming_on_line_asks_again_for_a_token_that_was_not_to_be_had() {
    let mut world = World::with_tabs(1);
    (world.token_good, world.refresh_works) = (false, false);
    world.tab(0).assign("c-1", "maya");
    world.run_for(60_000);
    assert_eq!(state(&world, 0), LinkState::Paused);
    world.refresh_works = true;
    world.tell(0, Input::NetworkHinted { online: true });
    world.run_for(500);
    world.assert_all_agree();
    assert_eq!(world.owner(0, "c-1"), "maya".into());
}
