//! How the link is kept: heartbeats, what stands in for a stream, fresh tokens before reconnects, and an end of attempts.

use rota_engine::{
    Config, Domains, Engine, Failure, Input, JsonRecord, LinkState, LinkStatus, Now, PONG_MS, TOKEN_WAIT_MS,
};
use serde_json::{Value as Json, json};

use crate::world::World;

fn link(world: &World, tab: usize) -> LinkStatus {
    world.tabs[tab].status.as_ref().unwrap().link.clone()
}

fn state(world: &World, tab: usize) -> LinkState {
    link(world, tab).state
}

fn with_link(link: Json, tabs: usize) -> World {
    let mut world = World::new();
    world.link = link;
    for _ in 0..tabs {
        world.open_tab("maya");
    }
    world.run_for(1_000);
    world
}

fn pulls(world: &World) -> usize {
    world.server.pulls.len()
}

// ---- half open

#[test]
fn a_half_open_link_is_found_by_a_ping_and_opened_anew_with_a_pull() {
    let mut world = World::with_tabs(2);
    let connects = world.tabs[0].connects;
    world.faults.half_open = true;
    world.sql_update("c-1", "owner_id", "jonas");
    world.run_for(23_900);
    assert_eq!((state(&world, 0), world.tabs[0].pings), (LinkState::Live, 0));
    while world.tabs[0].pings == 0 {
        world.run_for(1);
    }
    world.faults.no_streams = true;
    world.run_for(PONG_MS - 10);
    assert_eq!(state(&world, 0), LinkState::Live);
    world.run_for(20);
    assert_ne!(state(&world, 0), LinkState::Live);
    assert!(link(&world, 0).why.starts_with("timeout: the stream is silent"), "{:?}", link(&world, 0));
    world.run_for(20);
    assert_eq!(world.owner(0, "c-1"), "jonas".into(), "what the stream did not bring was pulled");
    (world.faults.half_open, world.faults.no_streams) = (false, false);
    world.run_for(30_000);
    assert_eq!(state(&world, 0), LinkState::Live);
    assert!(world.tabs[0].connects > connects);
    world.assert_all_agree();
}

#[test]
fn a_silent_link_that_answers_its_pings_lives_on() {
    let mut world = World::with_tabs(1);
    world.run_for(600_000);
    assert_eq!((state(&world, 0), world.tabs[0].connects), (LinkState::Live, 1));
    assert!((20..=24).contains(&world.tabs[0].pings), "{}", world.tabs[0].pings);
}

#[test]
fn a_stream_that_tells_something_is_not_pinged_and_saves_a_link_whose_pong_was_lost() {
    let mut world = World::with_tabs(1);
    for n in 0..10 {
        world.run_for(20_000);
        world.sql_update("c-1", "city", &n.to_string());
    }
    assert_eq!(world.tabs[0].pings, 0);
    world.has_ping = false;
    world.run_for(30_000);
    assert_eq!(world.tabs[0].pings, 1);
    world.sql_update("c-1", "city", "Kiel");
    world.run_for(15_000);
    assert_eq!((state(&world, 0), world.tabs[0].connects), (LinkState::Live, 1));
}

#[test]
fn a_backend_without_a_ping_is_never_asked_for_one() {
    for heartbeat in [json!(null), json!(0)] {
        let mut world = with_link(json!({"heartbeatMs": heartbeat}), 1);
        world.run_for(600_000);
        assert_eq!((world.tabs[0].pings, world.tabs[0].connects), (0, 1));
    }
}

#[test]
fn a_pong_of_an_earlier_attempt_saves_no_link() {
    let mut world = World::with_tabs(1);
    world.has_ping = false;
    world.run_for(25_500);
    world.tell(0, Input::Ponged { attempt: 0 });
    world.faults.no_streams = true;
    world.run_for(PONG_MS);
    assert_ne!(state(&world, 0), LinkState::Live);
}

#[test]
fn a_page_that_was_frozen_under_a_running_clock_opens_its_link_anew_and_pulls() {
    let mut world = with_link(json!({"heartbeatMs": null}), 1);
    let connects = world.tabs[0].connects;
    world.freeze(0);
    world.faults.half_open = true;
    world.sql_update("c-1", "owner_id", "jonas");
    world.run_for(300_000);
    world.faults.half_open = false;
    world.thaw(0, true);
    world.run_for(1_000);
    assert_eq!((state(&world, 0), world.tabs[0].connects), (LinkState::Live, connects + 1));
    world.assert_all_agree();
}

// ---- back-off

#[test]
fn attempts_to_connect_become_rare_and_a_link_that_never_lasts_a_minute_does_not_make_them_frequent_again() {
    let mut world = World::with_tabs(1);
    for _ in 0..8 {
        world.break_link(0, Failure::Network);
        world.run_for(61_000);
        world.break_link(0, Failure::Network);
        world.run_for(70);
        // Live for a moment only, again and again.
        for _ in 0..6 {
            world.tell(0, Input::NetworkHinted { online: true });
            world.run_for(500);
            world.break_link(0, Failure::Network);
            world.run_for(100);
        }
        let wait_ms = link(&world, 0).retry_at_ms.unwrap().saturating_sub(world.now.wall_ms);
        assert!(wait_ms > 1_000, "{wait_ms}");
        world.tell(0, Input::NetworkHinted { online: true });
        world.run_for(62_000);
        // A stable minute has passed.
        world.break_link(0, Failure::Network);
        world.run_for(10);
        assert!(link(&world, 0).retry_at_ms.unwrap() <= world.now.wall_ms + 1_000);
        world.run_for(62_000);
    }
}

#[test]
fn a_new_tab_neither_reconnects_the_link_nor_pulls_for_everyone() {
    let mut world = World::with_tabs(1);
    let before = pulls(&world);
    for _ in 0..20 {
        world.open_tab("maya");
    }
    world.run_for(5_000);
    assert_eq!((world.tabs.iter().map(|tab| tab.connects).sum::<u32>(), pulls(&world)), (1, before));
    world.assert_all_agree();
}

#[test]
fn attempts_that_are_used_up_end_them_and_a_person_who_reconnects_starts_again() {
    let mut world =
        with_link(json!({"maxAttempts": 3, "polling": {"activeMs": 5_000, "idleMs": 5_000, "hiddenMs": 5_000}}), 2);
    world.run_for(62_000);
    world.faults.no_streams = true;
    world.break_link(0, Failure::Network);
    world.run_for(120_000);
    assert_eq!((state(&world, 0), state(&world, 1)), (LinkState::Stopped, LinkState::Stopped));
    assert_eq!((world.tabs[0].connects, link(&world, 0).retry_at_ms), (4, None));
    assert!(link(&world, 0).why.starts_with("network"));
    // Polling goes on.
    world.sql_update("c-1", "owner_id", "jonas");
    let id = world.tab(1).patch("c-2", "city", "Kiel");
    world.run_for(6_000);
    world.assert_all_agree();
    assert_eq!(world.sent(id), 1);
    // A hint of the browser's is not a person's wish.
    world.tell(0, Input::NetworkHinted { online: true });
    world.run_for(60_000);
    assert_eq!(world.tabs[0].connects, 4);
    world.tell(0, Input::Reconnect);
    world.run_for(120_000);
    assert_eq!((state(&world, 0), world.tabs[0].connects), (LinkState::Stopped, 7));
    world.faults.no_streams = false;
    world.tell(0, Input::Reconnect);
    world.run_for(500);
    assert_eq!((state(&world, 0), state(&world, 1)), (LinkState::Live, LinkState::Live));
    world.assert_all_agree();
}

#[test]
fn without_a_limit_hours_of_failure_still_end_in_a_live_link() {
    let mut world = World::with_tabs(1);
    world.faults.no_streams = true;
    world.break_link(0, Failure::Server);
    world.run_for(4 * 3_600_000);
    world.faults.no_streams = false;
    world.run_for(62_000);
    assert_eq!(state(&world, 0), LinkState::Live);
}

#[test]
fn a_configuration_that_can_not_work_is_refused_by_name() {
    for link in [
        json!({"maxAttempts": 0}),
        json!({"heartbeatMs": 10}),
        json!({"polling": {"activeMs": 10}}),
        json!({"polling": {"activeMs": 60_000}}),
    ] {
        let config: Config =
            serde_json::from_value(json!({"app": "crm", "user": "maya", "tables": [], "link": link})).unwrap();
        let made = Engine::<JsonRecord>::new(config, Box::new(Domains), [7; 16], Now::default());
        assert_eq!(made.err().unwrap().code(), "invalid-configuration", "{link}");
    }
    for tab_protocol in [0, 3] {
        let config: Config =
            serde_json::from_value(json!({"app": "crm", "user": "maya", "tables": [], "tabProtocol": tab_protocol}))
                .unwrap();
        let made = Engine::<JsonRecord>::new(config, Box::new(Domains), [7; 16], Now::default());
        assert_eq!(made.err().unwrap().code(), "invalid-configuration");
    }
}

// ---- polling

#[test]
fn without_a_stream_pulls_keep_everyone_up_to_date_and_the_link_is_degraded_in_every_tab() {
    let mut world = World::with_tabs(2);
    world.faults.no_streams = true;
    world.break_link(0, Failure::Server);
    world.run_for(30_000);
    assert_eq!((state(&world, 0), state(&world, 1)), (LinkState::Degraded, LinkState::Degraded));
    let since = link(&world, 0).since_ms;
    for n in 0..5 {
        world.sql_update("c-1", "city", &n.to_string());
        world.run_for(5_100);
        world.assert_all_agree();
    }
    world.run_for(120_000);
    assert_eq!(link(&world, 0).since_ms, since, "attempts meanwhile change nothing");
    assert!(link(&world, 1).why.starts_with("network"), "{:?}", link(&world, 1));
    assert!(world.server.pulls.iter().rev().take(10).all(|pull| pull.cursor.is_some()), "from the cursor");
}

#[test]
fn a_link_is_degraded_only_after_an_attempt_failed_and_a_pull_got_through() {
    let mut world = World::with_tabs(1);
    world.live_delay_ms = 12_000;
    world.break_link(0, Failure::Network);
    world.run_for(8_000);
    assert_eq!(state(&world, 0), LinkState::Connecting, "no attempt has failed");
    world.run_for(10_000);
    assert_eq!(state(&world, 0), LinkState::Live);
    world.cut_network();
    world.run_for(60_000);
    assert!(matches!(state(&world, 0), LinkState::Offline | LinkState::Connecting), "no pull gets through");
    world.heal_network();
    world.faults.no_streams = true;
    world.run_for(120_000);
    assert_eq!(state(&world, 0), LinkState::Degraded);
    world.cut_network();
    world.run_for(120_000);
    assert!(matches!(state(&world, 0), LinkState::Offline | LinkState::Connecting), "nor does any now");
}

#[test]
fn polling_yields_when_the_stream_returns() {
    let mut world = World::with_tabs(1);
    world.faults.no_streams = true;
    world.break_link(0, Failure::Server);
    world.run_for(60_000);
    world.faults.no_streams = false;
    world.run_for(70_000);
    assert_eq!(state(&world, 0), LinkState::Live);
    let before = pulls(&world);
    world.run_for(600_000);
    assert_eq!(pulls(&world), before);
}

#[test]
fn polling_follows_activity_and_visibility() {
    let mut world = World::with_tabs(1);
    world.faults.no_streams = true;
    world.break_link(0, Failure::Server);
    world.run_for(60_000);
    let count = |world: &mut World, ms: u64| {
        let before = pulls(world);
        world.run_for(ms);
        pulls(world) - before
    };
    let active = count(&mut world, 600_000);
    world.tell(0, Input::Activity { active: false });
    let idle = count(&mut world, 600_000);
    world.tell(0, Input::Visibility { visible: false });
    let hidden = count(&mut world, 600_000);
    assert!((110..=130).contains(&active), "{active}");
    assert!((18..=22).contains(&idle), "{idle}");
    assert!((4..=6).contains(&hidden), "{hidden}");
    // Whoever comes back sees at once what happened.
    world.run_for(10_000);
    world.sql_update("c-1", "owner_id", "jonas");
    world.run_for(100);
    assert!(world.owner(0, "c-1").is_null());
    world.tell(0, Input::Visibility { visible: true });
    world.run_for(30);
    assert_eq!(world.owner(0, "c-1"), "jonas".into());
}

#[test]
fn polling_can_be_switched_off() {
    let mut world = with_link(json!({"polling": null}), 1);
    world.faults.no_streams = true;
    world.break_link(0, Failure::Server);
    let before = pulls(&world);
    world.run_for(600_000);
    assert_eq!(pulls(&world), before);
}

#[test]
fn polls_that_fail_become_rare_and_one_is_under_way_at_a_time() {
    let mut world = with_link(json!({"polling": {"activeMs": 1_000, "idleMs": 1_000, "hiddenMs": 1_000}}), 1);
    world.tracing = true;
    world.faults.no_streams = true;
    world.faults.silent = true;
    world.break_link(0, Failure::Server);
    world.run_for(600_000);
    let asked = world.tabs[0].trace.iter().filter(|output| output.starts_with("{\"pull\"")).count();
    // Each takes half a minute to time out, and is followed by a wait that grows to a minute.
    assert!((5..=20).contains(&asked), "{asked}");
}

// ---- tokens

#[test]
fn a_fresh_token_is_asked_for_before_every_reconnect_and_not_before_the_first_connect() {
    let mut world = World::with_tabs(2);
    assert_eq!((world.tabs[0].refreshes, world.tabs[0].connects), (0, 1));
    world.token_good = false;
    world.break_link(0, Failure::Network);
    world.run_for(3_000);
    assert_eq!((state(&world, 0), world.tabs[0].refreshes, world.tabs[0].connects), (LinkState::Live, 1, 2));
    // After a sleep, with a token that ended during it.
    world.sleep_for(3_600_000);
    world.token_good = false;
    let mut states = Vec::new();
    for _ in 0..3_000 {
        world.run_for(1);
        states.push(state(&world, 0));
    }
    assert!(!states.contains(&LinkState::Paused), "the stream was never opened with the old one");
    assert_eq!((state(&world, 0), world.tabs[0].refreshes, world.tabs[0].connects), (LinkState::Live, 2, 3));
    world.assert_all_agree();
}

#[test]
fn a_token_that_does_not_come_is_waited_for_ten_seconds() {
    let mut world = World::with_tabs(1);
    world.refresh_works = false;
    world.break_link(0, Failure::Network);
    world.run_for(1_100);
    assert_eq!((state(&world, 0), world.tabs[0].refreshes, world.tabs[0].connects), (LinkState::Connecting, 1, 1));
    world.run_for(TOKEN_WAIT_MS);
    assert_eq!((state(&world, 0), world.tabs[0].connects), (LinkState::Live, 2));
}

#[test]
fn where_no_token_can_be_asked_for_the_link_is_opened_at_once() {
    let mut world = World::with_tabs(1);
    world.refresh_works = false;
    world.tell(0, Input::TokenKept);
    world.break_link(0, Failure::Network);
    world.run_for(1_100);
    world.tell(0, Input::TokenKept);
    world.run_for(100);
    assert_eq!((state(&world, 0), world.tabs[0].connects), (LinkState::Live, 2));
}

#[test]
fn a_token_that_is_refused_before_a_reconnect_pauses_and_nothing_is_lost() {
    let mut world = World::with_tabs(2);
    world.refresh_works = false;
    world.break_link(0, Failure::Network);
    world.run_for(1_100);
    world.tell(0, Input::TokenRefused { message: "signed out".into() });
    let id = world.tab(1).assign("c-1", "maya");
    world.run_for(600_000);
    assert_eq!((state(&world, 0), state(&world, 1)), (LinkState::Paused, LinkState::Paused));
    assert!(link(&world, 1).why.contains("signed out"));
    assert_eq!((world.tabs[0].connects, world.sent(id)), (1, 0));
    world.refresh_works = true;
    world.tell(0, Input::Reconnect);
    world.run_until_quiet();
    assert_eq!(state(&world, 0), LinkState::Live);
    world.assert_all_agree();
}

#[test]
fn a_token_that_can_not_be_asked_for_for_want_of_a_network_is_off_line_and_not_a_pause() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    for _ in 0..200 {
        world.run_for(1_000);
        assert!(matches!(state(&world, 0), LinkState::Offline | LinkState::Connecting));
    }
    assert_eq!(world.tabs[0].problems, []);
    world.heal_network();
    world.run_for(62_000);
    assert_eq!(state(&world, 0), LinkState::Live);
}

#[test]
fn a_token_expired_and_the_network_gone_resume_by_themselves_when_both_are_back() {
    let mut world = World::with_tabs(1);
    world.expire_token();
    world.network = false;
    world.tell(0, Input::LinkClosed { attempt: 1, failure: Failure::Auth, message: "expired".into() });
    world.run_for(30_000);
    assert_eq!(state(&world, 0), LinkState::Paused);
    world.heal_network();
    world.run_for(120_000);
    assert_eq!(state(&world, 0), LinkState::Live);
}

// ---- what must not reconnect

#[test]
fn a_closed_tab_never_reconnects() {
    let mut world = World::with_tabs(1);
    world.break_link(0, Failure::Network);
    world.run_for(10);
    let (connects, before) = (world.tabs[0].connects, pulls(&world));
    world.tell(0, Input::Close);
    for input in [
        Input::TokenRefreshed,
        Input::NetworkHinted { online: true },
        Input::Visibility { visible: true },
        Input::Woke,
        Input::TimerFired,
    ] {
        world.tell(0, input);
    }
    world.run_for(600_000);
    assert_eq!((world.tabs[0].connects, pulls(&world), world.tabs[0].engine.deadline()), (connects, before, None));
}

#[test]
fn a_tab_that_no_longer_leads_neither_reconnects_nor_polls_nor_pings() {
    let mut world = World::with_tabs(2);
    world.steal_lock(1);
    world.run_for(100);
    let (connects, pings) = (world.tabs[0].connects, world.tabs[0].pings);
    world.tell(0, Input::LinkClosed { attempt: connects, failure: Failure::Network, message: String::new() });
    for input in [Input::TokenRefreshed, Input::NetworkHinted { online: true }, Input::Visibility { visible: true }] {
        world.tell(0, input);
    }
    world.run_for(300_000);
    assert_eq!((world.tabs[0].connects, world.tabs[0].pings), (connects, pings));
    assert!(world.tabs[1].pings > 5);
}
