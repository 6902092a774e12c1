//! Failures of calls: which wait, which are tried again, which end; and that one operation's trouble is its own (laws 5 and 6).

use rota_engine::{AFTER_MS_MAX, Failure, Input, OperationState, TOKEN_WAIT_MS};

use crate::world::World;

#[test]
fn a_poisoned_operation_settles_as_dead_in_every_tab_and_the_others_proceed() {
    for author in 0..2 {
        let mut world = World::with_tabs(2);
        world.faults.poison.insert("c-1".into());
        let dead = world.tab(author).assign("c-1", "maya");
        let fine = world.tab(author).assign("c-2", "maya");
        world.run_for(60_000);
        assert_eq!(world.outcome(author, dead), [OperationState::Dead]);
        assert_eq!(world.outcome(author, fine), [OperationState::Confirmed]);
        for tab in 0..2 {
            assert!(world.owner(tab, "c-1").is_null(), "what is dead is not seen");
            assert_eq!(world.tabs[tab].status.as_ref().unwrap().dead, 1);
        }
        let leader = world.leader().unwrap();
        assert_eq!(world.tabs[leader].pushed.iter().filter(|id| **id == dead).count(), 4);
        let late = world.open_tab("maya");
        world.run_for(100);
        assert!(world.owner(late, "c-1").is_null(), "a tab that came later is told that it is dead");
    }
}

#[test]
fn every_tab_knows_why_an_operation_is_dead() {
    let mut world = World::with_tabs(2);
    world.faults.poison.insert("c-1".into());
    let dead = world.tab(1).assign("c-1", "maya");
    world.run_for(60_000);
    let late = world.open_tab("maya");
    world.run_for(5_000);
    let view = |tab: usize| world.tabs[tab].operations[&dead].clone();
    assert_eq!((view(0).code.as_deref(), view(0).state), (Some("server"), OperationState::Dead));
    for tab in [1, late] {
        assert_eq!((view(tab).code, view(tab).message), (view(0).code, view(0).message));
    }
}

#[test]
fn a_dead_operation_can_be_retried_from_any_tab() {
    for tab in 0..2 {
        let mut world = World::with_tabs(2);
        world.faults.poison.insert("c-1".into());
        let id = world.tab(1).assign("c-1", "maya");
        world.run_for(60_000);
        world.faults.poison.clear();
        world.tab(tab).retry(id).unwrap();
        assert_eq!(world.owner(tab, "c-1"), "maya".into());
        world.run_until_quiet();
        assert_eq!(world.server.effects[&id], 1);
        world.assert_all_agree();
    }
}

#[test]
fn a_dead_operation_can_be_dropped_from_any_tab() {
    for tab in 0..2 {
        let mut world = World::with_tabs(2);
        world.faults.poison.insert("c-1".into());
        let id = world.tab(0).assign("c-1", "maya");
        world.run_for(60_000);
        world.tab(tab).cancel(id).unwrap();
        world.run_for(100);
        assert!(world.stored(0).is_empty());
        assert!(world.tabs.iter().all(|tab| tab.engine.stats().operations == 0));
    }
}

#[test]
fn only_a_dead_operation_can_be_retried() {
    let mut world = World::with_tabs(1);
    let id = world.tab(0).assign("c-1", "maya");
    assert_eq!(world.tab(0).retry(id).unwrap_err().code(), "invalid-operation");
    world.run_until_quiet();
    assert_eq!(world.tab(0).retry(id).unwrap_err().code(), "unknown-operation");
}

#[test]
fn a_push_that_times_out_is_tried_again_and_then_given_up() {
    let mut world = World::with_tabs(1);
    world.faults.silent = true;
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(9_000);
    assert_eq!(world.tabs[0].pushed.len(), 1);
    world.run_for(100_000);
    assert_eq!(world.outcome(0, id), [OperationState::Dead]);
    assert_eq!(world.tabs[0].pushed.len(), 4);
    assert_eq!(world.tabs[0].operations[&id].code.as_deref(), Some("timeout"));
}

#[test]
fn an_answer_that_comes_after_its_time_still_settles() {
    let mut world = World::with_tabs(1);
    world.faults.jitter_ms = 0;
    world.faults.push_failures.push_back((Failure::Timeout, None));
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(15);
    let op = serde_json::to_value(&world.ops[&id]).unwrap();
    let answer = serde_json::from_value(world.server.apply_operation(&op, "maya")).unwrap();
    world.tell(0, Input::Answered { answer });
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
}

#[test]
fn a_late_retry_answer_does_not_wake_the_dead() {
    let mut world = World::with_tabs(1);
    world.faults.poison.insert("c-1".into());
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(60_000);
    world.server.busy = 1;
    let op = serde_json::to_value(&world.ops[&id]).unwrap();
    let answer = serde_json::from_value(world.server.apply_operation(&op, "maya")).unwrap();
    world.tell(0, Input::Answered { answer });
    assert_eq!(world.tabs[0].operations[&id].state, OperationState::Dead);
}

#[test]
fn a_network_failure_never_counts_as_a_try() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(3_600_000);
    assert_eq!(world.tabs[0].operations[&id].tries, 0);
    assert!(world.tabs[0].pushed.len() < 200, "an hour off-line is {} pushes", world.tabs[0].pushed.len());
    world.heal_network();
    world.run_until_quiet();
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
}

#[test]
fn a_rate_limit_waits_as_long_as_the_server_says_and_is_no_failed_try() {
    let mut world = World::with_tabs(1);
    world.faults.push_failures.push_back((Failure::RateLimit, Some(7_000)));
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(6_900);
    assert_eq!((world.tabs[0].pushed.len(), world.tabs[0].operations[&id].tries), (1, 0));
    world.run_for(200);
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
}

#[test]
fn no_server_may_ask_for_a_wait_of_more_than_ten_minutes() {
    for failure in [Failure::RateLimit, Failure::Server] {
        let mut world = World::with_tabs(1);
        world.faults.push_failures.push_back((failure, Some(86_400_000)));
        let id = world.tab(0).assign("c-1", "maya");
        world.run_for(AFTER_MS_MAX - 100);
        assert_eq!(world.tabs[0].pushed.len(), 1);
        world.run_for(1_000);
        assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
    }
}

#[test]
fn a_busy_server_is_asked_again_not_before_it_said() {
    let mut world = World::with_tabs(1);
    world.server.busy = 1;
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(240);
    assert_eq!(world.tabs[0].pushed.len(), 1);
    world.run_until_quiet();
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
}

#[test]
fn a_call_that_makes_no_sense_is_not_repeated() {
    for failure in [Failure::Invalid, Failure::Forbidden, Failure::Gone] {
        let mut world = World::with_tabs(1);
        world.faults.push_failures.push_back((failure, None));
        let id = world.tab(0).assign("c-1", "maya");
        world.run_for(60_000);
        assert_eq!((world.tabs[0].pushed.len(), world.outcome(0, id)), (1, vec![OperationState::Dead]));
    }
}

#[test]
fn an_expired_token_pauses_everything_and_a_fresh_one_resumes_it() {
    let mut world = World::with_tabs(2);
    world.refresh_works = false;
    world.expire_token();
    let id = world.tab(1).assign("c-1", "maya");
    world.run_for(600_000);
    let leader = world.leader().unwrap();
    assert_eq!(world.tabs[leader].pushed.len(), 1);
    let state =
        |world: &World, tab: usize| serde_json::to_value(world.tabs[tab].status.as_ref().unwrap().link.state).unwrap();
    assert_eq!((state(&world, 0), state(&world, 1)), ("paused".into(), "paused".into()));
    world.token_good = true;
    world.tell(leader, Input::TokenRefreshed);
    world.run_until_quiet();
    assert_eq!(world.outcome(1, id), [OperationState::Confirmed]);
    assert_eq!(world.tabs[leader].operations.len(), 0);
    world.assert_all_agree();
}

#[test]
fn a_token_that_expires_while_off_line_is_not_tried_again_until_it_is_fresh() {
    let mut world = World::with_tabs(1);
    world.refresh_works = false;
    world.cut_network();
    world.run_for(1_000);
    world.expire_token();
    world.heal_network();
    world.run_for(120_000);
    let (connects, refreshes) = (world.tabs[0].connects, world.tabs[0].refreshes);
    world.run_for(600_000);
    assert_eq!(world.tabs[0].connects, connects);
    assert!(world.tabs[0].refreshes - refreshes <= 30, "{} tokens asked for", world.tabs[0].refreshes - refreshes);
    let refreshes = world.tabs[0].refreshes;
    world.tell(0, Input::Reconnect);
    assert_eq!(world.tabs[0].refreshes, refreshes + 1, "a person who asks to connect asks for a token");
    world.token_good = true;
    world.tell(0, Input::TokenRefreshed);
    world.run_until_quiet();
    world.assert_all_agree();
}

#[test]
fn a_pause_for_a_token_ends_the_wait_for_the_next_attempt_to_connect() {
    let mut world = World::with_tabs(1);
    world.refresh_works = false;
    world.cut_network();
    world.run_for(300_000);
    (world.network, world.token_good) = (true, false);
    let (connects, refreshes) = (world.tabs[0].connects, world.tabs[0].refreshes);
    world.tell(0, Input::NetworkHinted { online: false });
    world.run_for(TOKEN_WAIT_MS);
    assert_eq!((world.tabs[0].connects, world.tabs[0].refreshes), (connects, refreshes + 1));
    world.run_for(300_000);
    assert_eq!(world.tabs[0].connects, connects);
}

#[test]
fn a_token_that_nobody_brings_is_asked_for_again_ever_more_rarely() {
    let mut world = World::with_tabs(1);
    world.refresh_works = false;
    world.expire_token();
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(600_000);
    let asked = world.tabs[0].refreshes;
    assert!((5..=30).contains(&asked), "asked {asked} times in ten minutes");
    // Whoever was asked never answered; now somebody would.
    world.refresh_works = true;
    world.run_for(90_000);
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
}

#[test]
fn where_no_token_can_be_asked_for_a_pause_does_not_ask_again() {
    let mut world = World::with_tabs(1);
    world.refresh_works = false;
    world.expire_token();
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(1_000);
    world.tell(0, Input::TokenKept);
    world.run_for(600_000);
    assert_eq!(world.tabs[0].refreshes, 1);
    world.token_good = true;
    world.tell(0, Input::TokenRefreshed);
    world.run_for(1_000);
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
}

#[test]
fn operations_of_one_record_are_applied_in_the_order_they_were_made() {
    let mut world = World::with_tabs(2);
    world.faults.jitter_ms = 30;
    let mut made = Vec::new();
    for n in 0..10 {
        made.push(world.tab(n % 2).patch("c-1", "city", &format!("city {n}")));
        world.run_for(120);
    }
    world.run_until_quiet();
    assert_eq!(world.server.applied, made);
}

#[test]
fn a_server_that_fails_while_there_is_no_stream_either_costs_no_tries() {
    let mut world = World::new();
    world.live_delay_ms = 1_000_000;
    world.open_tab("maya");
    world.run_for(500);
    world.faults.poison.insert("c-1".into());
    world.faults.pull_failure = Some(Failure::Server);
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(60_000);
    assert_eq!(world.outcome(0, id), []);
    assert_eq!(world.owner(0, "c-1"), "maya".into());
    world.faults.poison.clear();
    world.faults.pull_failure = None;
    world.run_for(20_000);
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
}

#[test]
fn a_server_that_can_be_reached_buries_poison_without_a_stream_too() {
    let mut world = World::new();
    world.live_delay_ms = 10_000_000;
    world.open_tab("maya");
    world.run_for(500);
    world.faults.poison.insert("c-1".into());
    let dead = world.tab(0).assign("c-1", "maya");
    let fine = world.tab(0).assign("c-2", "maya");
    world.run_for(60_000);
    assert_eq!(world.outcome(0, dead), [OperationState::Dead]);
    assert_eq!(world.outcome(0, fine), [OperationState::Confirmed]);
    assert_eq!(world.tabs[0].pushed.iter().filter(|id| **id == dead).count(), 4);
}

#[test]
fn a_conflict_without_a_record_pulls_the_record_and_ends_as_conflicted() {
    for author in 0..2 {
        let mut world = World::with_tabs(2);
        world.server.sql_set("c-1", &[("city", "Ulm".into())]);
        world.server.news.clear();
        world.faults.push_failures.push_back((Failure::Conflict, None));
        let id = world.tab(author).patch("c-1", "city", "Kiel");
        world.run_for(1_000);
        assert_eq!((world.sent(id), world.outcome(author, id)), (0, vec![OperationState::Conflicted]));
        let end = world.tabs[author].settled.iter().find(|end| end.id == id).unwrap();
        assert_eq!(end.code.as_deref(), Some("conflict"));
        for tab in 0..2 {
            // What was there before is not shown again in between.
            assert_eq!(world.tabs[tab].seen("c-1", "city"), ["Bremen", "Kiel", "Ulm"].map(Into::into));
        }
        world.assert_all_agree();
    }
}

#[test]
fn a_server_that_fails_a_few_times_is_tried_again_within_the_declared_waits() {
    for failure in [Failure::Server, Failure::Timeout, Failure::Unknown] {
        let mut world = World::with_tabs(1);
        world.faults.push_failures.extend([(failure, None); 3]);
        let id = world.tab(0).assign("c-1", "maya");
        // 1, 2 and 4 seconds at most.
        world.run_for(7_500);
        assert_eq!((world.tabs[0].pushed.len(), world.outcome(0, id)), (4, vec![OperationState::Confirmed]));
    }
}

#[test]
fn no_more_calls_are_made_at_once_than_declared() {
    for concurrency in [1, 3, 64] {
        let mut world = World::new();
        world.concurrency = concurrency;
        world.server.seed(80);
        world.open_tab("maya");
        world.run_for(1_000);
        world.faults.silent = true;
        for n in 1..=80 {
            world.tab(0).patch(&format!("c-{n}"), "city", "Kiel");
        }
        assert_eq!(world.tabs[0].pushed.len(), concurrency);
        world.faults.silent = false;
        world.run_until_quiet();
        world.assert_all_agree();
    }
}

#[test]
fn a_concurrency_of_none_or_too_many_is_refused() {
    for concurrency in [0, rota_engine::CONCURRENCY_MAX + 1] {
        let mut world = World::new();
        world.concurrency = concurrency;
        assert_eq!(world.try_open("maya").unwrap_err().code(), "invalid-configuration");
    }
}

#[test]
fn a_dead_operation_can_be_dropped() {
    for tab in 0..2 {
        let mut world = World::with_tabs(2);
        world.faults.push_failures.push_back((Failure::Invalid, None));
        let id = world.tab(1).assign("c-1", "maya");
        world.run_for(1_000);
        world.tab(tab).cancel(id).unwrap();
        world.run_for(10);
        assert!(world.stored(0).is_empty());
        assert!((0..2).all(|tab| world.tabs[tab].operations.is_empty()));
    }
}

#[test]
fn what_is_not_configured_is_as_the_documents_say() {
    let json = r#"{"app": "crm", "user": "maya", "tables": []}"#;
    let config: rota_engine::Config = serde_json::from_str(json).unwrap();
    let retry = config.retry;
    assert_eq!((retry.max_retries, retry.retry_delay, retry.timeout), (3, 1_000, 10_000));
    assert!((retry.backoff_multiplier - 2.0).abs() < f64::EPSILON);
    assert_eq!((config.concurrency, config.idempotent), (8, true));
}

#[test]
fn a_rate_limit_that_names_no_wait_is_no_invitation_to_ask_again_at_once() {
    let mut world = World::with_tabs(1);
    for _ in 0..200 {
        world.faults.push_failures.push_back((Failure::RateLimit, Some(0)));
    }
    let _ = world.tab(0).assign("c-1", "maya");
    world.run_for(1_000);
    assert!(world.tabs[0].pushed.len() <= 20, "{} calls in a second", world.tabs[0].pushed.len());
}

/// Tabs that wait, and a server that limits the rate of every call.
fn limited(after_ms: Option<u64>) -> World {
    let mut world = World::new();
    world.server.seed(100);
    world.open_tab("maya");
    world.run_for(1_000);
    world.faults.push_failures.extend(vec![(Failure::RateLimit, after_ms); 2_000]);
    world
}

#[test]
fn a_server_that_limits_the_rate_or_is_busy_is_asked_less_and_less_often() {
    for is_busy in [false, true] {
        let mut world = limited(None);
        if is_busy {
            world.faults.push_failures.clear();
            world.server.busy = 2_000;
        }
        let id = world.tab(0).assign("c-1", "maya");
        world.run_for(300_000);
        // Doubled up to a minute.
        let calls = world.tabs[0].pushed.len();
        assert!((6..=60).contains(&calls), "{calls} calls in five minutes, busy: {is_busy}");
        assert_eq!(world.tabs[0].operations[&id].tries, 0);
        world.faults.push_failures.clear();
        world.server.busy = 0;
        world.run_for(61_000);
        assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
    }
}

#[test]
fn a_rate_limit_slows_all_calls_and_not_only_the_one_that_was_told() {
    for after_ms in [Some(30_000), None] {
        let mut world = limited(after_ms);
        for n in 1..=60 {
            let _ = world.tab(0).assign(&format!("c-{n}"), "maya");
        }
        world.run_for(5_000);
        let calls = world.tabs[0].pushed.len();
        assert!(calls <= 48, "{calls} calls in five seconds, asked to rest for {after_ms:?}");
        if after_ms.is_some() {
            world.run_for(24_900);
            assert!(world.tabs[0].pushed.len() <= 8, "{} calls in the rest asked for", world.tabs[0].pushed.len());
        }
        world.faults.push_failures.clear();
        world.run_for(120_000);
        assert_eq!(world.tabs[0].operations.len(), 0);
    }
}

#[test]
fn a_rest_that_a_server_asks_for_is_no_longer_when_its_calls_were_told_together_and_ends_with_it() {
    let mut world = limited(Some(7_000));
    world.faults.push_failures.truncate(4);
    let ids: Vec<_> = (1..=20).map(|n| world.tab(0).assign(&format!("c-{n}"), "maya")).collect();
    world.run_for(8_500);
    for id in ids {
        assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
    }
}

#[test]
fn a_dead_operation_that_one_tab_retries_while_another_drops_it_ends_as_it_is() {
    let mut world = World::with_tabs(2);
    let (leader, other) = (world.leader().unwrap(), 1 - world.leader().unwrap());
    world.faults.poison.insert("c-1".into());
    let id = world.tab(other).patch("c-1", "city", "Kiel");
    world.run_for(60_000);
    world.faults.poison.clear();
    world.tab(leader).retry(id).unwrap();
    world.tab(other).cancel(id).unwrap();
    world.run_for(60_000);
    let ended = world.outcome(other, id);
    let is_done = world.server.effects.contains_key(&id);
    assert_eq!(ended.last() == Some(&OperationState::Cancelled), !is_done, "{ended:?}, and done: {is_done}");
}

#[test]
fn a_call_whose_every_token_is_refused_while_pulls_go_through_asks_ever_more_rarely() {
    let mut world = World::with_tabs(1);
    for _ in 0..100_000 {
        world.faults.push_failures.push_back((Failure::Auth, None));
    }
    let _ = world.tab(0).assign("c-1", "maya");
    world.run_for(20_000);
    let (refreshes, connects) = (world.tabs[0].refreshes, world.tabs[0].connects);
    assert!(refreshes <= 30, "{refreshes} tokens were asked for and {connects} streams opened in twenty seconds");
}

#[test]
fn what_was_given_up_is_not_sent_again_by_a_reload_but_by_a_person() {
    let mut world = World::with_tabs(1);
    world.faults.push_failures.push_back((Failure::Invalid, None));
    let dead = world.tab(0).delete("c-1");
    world.run_for(1_000);
    assert_eq!(world.outcome(0, dead), [OperationState::Dead]);
    let later = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(1_000);
    assert_eq!(world.outcome(0, later), [OperationState::Confirmed]);
    let again = world.reload_tab(0);
    world.run_for(60_000);
    assert!(world.server.company("c-1").is_some(), "what was given up came after what was made later");
    assert_eq!(world.tabs[again].operations[&dead].state, OperationState::Dead);
    // Nor by the next one, until a person wants it.
    let again = world.reload_tab(again);
    world.run_for(1_000);
    world.tab(again).retry(dead).unwrap();
    let again = world.reload_tab(again);
    world.run_until_quiet();
    assert!(world.server.company("c-1").is_none());
    assert!(world.stored(0).is_empty() && world.tabs[again].operations.is_empty());
}

#[test]
fn what_was_given_up_and_dropped_leaves_nothing_stored() {
    let mut world = World::with_tabs(2);
    for tab in 0..2 {
        world.faults.push_failures.push_back((Failure::Invalid, None));
        let dead = world.tab(tab).patch("c-1", "city", "Kiel");
        world.run_for(1_000);
        assert_eq!(world.stored(0).len(), 2, "the operation, and that it was given up");
        world.tab(tab).cancel(dead).unwrap();
        world.run_for(1_000);
        assert!(world.stored(0).is_empty());
    }
    // One whose tab died before it could delete the mark.
    let left = world.tabs[0].engine.session().dead_key(world.ops.keys().next().copied().unwrap());
    world.storage[0].insert(left, "{}".to_owned());
    world.open_tab("maya");
    world.run_for(1_000);
    assert!(world.stored(0).is_empty());
}
