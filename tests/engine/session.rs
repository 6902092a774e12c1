//! Law 13: one user's data is theirs alone, and a logout leaves none of it. Law 8 around a change of rights.

use rota_engine::{
    Choice, Failure, Input, JsonRecord, OperationId, OperationState, Pulled, Role, ServerEvent, TabMessage, Unsent,
};
use serde_json::json;

use crate::world::{World, row};

fn log_out(world: &mut World, tab: usize, unsent: Option<Unsent>) -> Result<(), &'static str> {
    world.try_tell(tab, Input::Logout { unsent }).map(|_| ()).map_err(|error| error.code())
}

/// Nothing of the session is stored but the mark of its end, and its tabs show nothing.
fn assert_gone(world: &World, tabs: &[usize]) {
    let left: Vec<_> = world.stored(0).into_iter().filter(|key| !key.contains(":out:")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(world.cached.is_empty());
    for tab in tabs {
        let tab = &world.tabs[*tab];
        assert!(tab.signed_out && tab.mirror.is_empty() && tab.operations.is_empty());
        assert_eq!((tab.engine.stats().records, tab.engine.stats().operations), (0, 0));
        assert_eq!((tab.status.as_ref().unwrap().ready, tab.status.as_ref().unwrap().unsent), (false, 0));
    }
}

#[test]
fn a_logout_empties_every_running_tab_within_a_second_and_leaves_nothing_stored() {
    let mut world = World::with_tabs(3);
    log_out(&mut world, 1, None).unwrap();
    world.run_for(1_000);
    assert_gone(&world, &[0, 1, 2]);
    assert_eq!(world.stored(0).len(), 1, "the mark for tabs that sleep");
}

#[test]
fn a_logout_with_anything_undone_is_refused_unless_told_what_becomes_of_it() {
    let mut world = World::with_tabs(2);
    world.server.refused.insert("none".into());
    world.faults.poison.insert("c-1".into());
    let dead = world.tab(0).assign("c-1", "maya");
    world.run_for(60_000);
    assert_eq!(world.tabs[0].operations[&dead].state, OperationState::Dead);
    assert_eq!(log_out(&mut world, 0, None), Err("unsent-operations"));
    assert_eq!(log_out(&mut world, 1, None), Err("unsent-operations"));
    world.cut_network();
    world.tab(1).assign("c-2", "maya");
    world.run_for(10);
    let error = world.try_tell(0, Input::Logout { unsent: None }).unwrap_err();
    assert!(error.to_string().starts_with("2 operations"), "{error}");
    assert!(!world.tabs[0].signed_out);
    assert_eq!(world.stored(0).iter().filter(|key| key.contains(":op:")).count(), 2);
}

#[test]
fn discarding_ends_everything_undone_and_sends_none_of_it() {
    let mut world = World::with_tabs(2);
    world.cut_network();
    let ids = [world.tab(0).assign("c-1", "maya"), world.tab(1).assign("c-2", "maya")];
    world.run_for(100);
    let was_sent = world.tabs[0].pushed.clone();
    log_out(&mut world, 0, Some(Unsent::Discard)).unwrap();
    world.run_for(500);
    assert_gone(&world, &[0, 1]);
    for (tab, id) in ids.into_iter().enumerate() {
        // What was on its way when the network went may have arrived.
        let expected =
            if was_sent.contains(&id) && tab == 0 { OperationState::Unknown } else { OperationState::Cancelled };
        assert_eq!(world.outcome(tab, id), [expected]);
        assert_eq!(world.tabs[tab].settled[0].code.as_deref(), Some("signed-out"));
    }
    world.heal_network();
    world.open_tab("maya");
    world.run_until_quiet();
    assert!(world.server.effects.is_empty(), "what was discarded came back");
}

#[test]
fn waiting_sends_first_takes_nothing_new_and_then_leaves() {
    let mut world = World::with_tabs(2);
    world.cut_network();
    let ids = [world.tab(0).assign("c-1", "maya"), world.tab(1).assign("c-2", "maya")];
    world.run_for(100);
    log_out(&mut world, 1, Some(Unsent::Wait)).unwrap();
    let command = json!({"name": "patch", "table": "companies", "key": "c-3", "set": {"city": "Kiel"}});
    assert_eq!(world.tab(1).try_do(command).unwrap_err().code(), "signing-out");
    world.run_for(5_000);
    assert!(!world.tabs[1].signed_out && world.stored(0).len() == 2);
    world.heal_network();
    world.run_for(60_000);
    assert_gone(&world, &[0, 1]);
    assert!(ids.iter().all(|id| world.server.effects[id] == 1));
    assert_eq!(
        (world.outcome(0, ids[0]), world.outcome(1, ids[1])),
        (vec![OperationState::Confirmed], vec![OperationState::Confirmed])
    );
}

/// Another tab stores an operation, and dies before it tells of it. Returns who is left.
fn die_over_a_stored_operation(world: &mut World) -> (usize, OperationId) {
    world.faults.crash_before = Some("broadcast");
    let other = 1 - world.leader().unwrap();
    let id = world.tab(other).patch("c-1", "city", "Kiel");
    assert!(!world.tabs[other].alive && world.stored(0).iter().any(|key| key.ends_with(&id.to_string())));
    (1 - other, id)
}

#[test]
fn a_logout_is_refused_over_what_a_tab_stored_and_died_over() {
    let mut world = World::with_tabs(2);
    world.cut_network();
    world.run_for(500);
    let (left, id) = die_over_a_stored_operation(&mut world);
    // It is not known here, so the command itself is taken. Nothing new is, until storage has answered.
    log_out(&mut world, left, None).unwrap();
    assert_eq!(world.tab(left).try_patch("c-2", "Kiel").unwrap_err().code(), "signing-out");
    world.run_for(10);
    assert!(!world.tabs[left].signed_out && world.stored(0).len() == 1);
    let refused: Vec<_> = world.tabs[left].logouts_refused.iter().map(|problem| &*problem.code).collect();
    assert_eq!(refused, ["unsent-operations"]);
    assert_eq!(world.tabs[left].field("c-1", "city"), "Kiel".into(), "the person sees what it is about");
    assert_eq!(log_out(&mut world, left, None), Err("unsent-operations"));
    assert!(world.tab(left).try_patch("c-2", "Kiel").is_ok());
    world.heal_network();
    world.run_until_quiet();
    assert_eq!(world.server.effects.get(&id), Some(&1));
    log_out(&mut world, left, None).unwrap();
    world.run_for(10);
    assert_gone(&world, &[left]);
}

#[test]
fn a_logout_that_waits_waits_for_what_a_tab_stored_and_died_over() {
    for is_known in [false, true] {
        let mut world = World::with_tabs(2);
        let leader = world.leader().unwrap();
        if is_known {
            world.faults.jitter_ms = 50;
            let _ = world.tab(leader).patch("c-2", "city", "Kiel");
        }
        let (left, id) = die_over_a_stored_operation(&mut world);
        log_out(&mut world, left, Some(Unsent::Wait)).unwrap();
        world.run_for(10_000);
        assert_eq!(world.server.effects.get(&id), Some(&1), "an accepted operation was lost");
        assert_gone(&world, &[left]);
    }
}

#[test]
fn a_logout_does_not_wait_for_a_storage_that_says_nothing() {
    let mut world = World::with_tabs(2);
    world.faults.storage_mute = true;
    log_out(&mut world, 1, None).unwrap();
    world.run_for(2_000);
    assert_gone(&world, &[0, 1]);
}

#[test]
fn a_logout_that_waits_for_what_was_given_up_ends_when_somebody_decides() {
    let mut world = World::with_tabs(1);
    world.faults.poison.insert("c-1".into());
    let dead = world.tab(0).assign("c-1", "maya");
    world.run_for(60_000);
    log_out(&mut world, 0, Some(Unsent::Wait)).unwrap();
    world.run_for(60_000);
    assert!(!world.tabs[0].signed_out);
    world.tab(0).cancel(dead).unwrap();
    world.run_for(10);
    assert_gone(&world, &[0]);
}

#[test]
fn a_logout_that_waits_lets_a_person_decide_about_a_conflict_and_ends_with_the_decision() {
    for by in 0..2 {
        let mut world = World::with_tabs(2);
        world.cut_network();
        let id = world.tab(1).patch("c-1", "city", "Kiel");
        world.run_for(50);
        world.server.sql_set("c-1", &[("city", "Ulm".into())]);
        world.heal_network();
        world.run_until_quiet();
        assert!(world.tabs[by].conflicts.contains_key(&id));
        log_out(&mut world, by, Some(Unsent::Wait)).unwrap();
        world.run_for(60_000);
        assert!(!world.tabs[by].signed_out, "it waits for the decision");
        let command = json!({"name": "patch", "table": "companies", "key": "c-3", "set": {"city": "Kiel"}});
        assert_eq!(world.tab(by).try_do(command).unwrap_err().code(), "signing-out");
        let decision = world.tab(by).resolve(id, Choice::Local).unwrap().unwrap();
        world.run_for(1_000);
        assert_eq!(world.server.effects[&decision], 1);
        assert_eq!(world.server.company("c-1").unwrap()["city"], "Kiel".into());
        assert_gone(&world, &[0, 1]);
    }
}

#[test]
fn what_arrives_after_a_logout_is_dropped_and_nothing_is_stored_any_more() {
    let mut world = World::with_tabs(1);
    world.faults.jitter_ms = 50;
    let id = world.tab(0).assign("c-1", "maya");
    world.tell(0, Input::Reconnect);
    world.run_for(3);
    log_out(&mut world, 0, Some(Unsent::Discard)).unwrap();
    assert_eq!(world.outcome(0, id), [OperationState::Unknown], "it was sent");
    let call = world.tabs[0].pulls.last().unwrap().id;
    let late = Pulled {
        id: call,
        cursor: Some("0:9".into()),
        whole: true,
        records: vec![row("c-1", 99, "maya")],
        gone: vec![],
        settled: vec![],
        covers: vec![],
        next: None,
        at_ms: None,
        unread: vec![],
    };
    world.tell(0, Input::Pulled(late));
    world.tell(
        0,
        Input::ServerChanged { events: vec![ServerEvent::Changed { row: row("c-2", 99, "maya"), partial: false }] },
    );
    world.tell(0, Input::RecordsFound { rows: vec![row("c-3", 1, "maya")] });
    world.tell(0, Input::LockGranted);
    world.run_for(60_000);
    assert_gone(&world, &[0]);
    assert_eq!(world.outcome(0, id).len(), 1);
    for refused in [Input::Reconnect, Input::Logout { unsent: None }] {
        assert_eq!(world.try_tell(0, refused).unwrap_err().code(), "closed");
    }
}

#[test]
fn a_tab_that_was_frozen_during_a_logout_empties_itself_when_it_wakes_and_brings_nothing_back() {
    for input in [Input::Woke, Input::TimerFired, Input::NetworkHinted { online: true }] {
        let mut world = World::with_tabs(2);
        world.cut_network();
        let left = world.tab(1).assign("c-1", "maya");
        world.run_for(100);
        world.hang(1);
        log_out(&mut world, 0, Some(Unsent::Discard)).unwrap();
        world.run_for(60_000);
        world.heal_network();
        // The person comes back, in a new tab, before the frozen one wakes.
        let again = world.open_tab("maya");
        world.run_for(1_000);
        world.wake_deaf(1, input);
        world.run_for(2);
        assert!(world.tabs[1].signed_out && world.tabs[1].mirror.is_empty());
        assert_eq!(world.outcome(1, left), [OperationState::Cancelled]);
        world.run_until_quiet();
        assert!(!world.tabs[again].signed_out);
        assert!(world.server.effects.is_empty());
        world.assert_all_agree();
    }
}

#[test]
fn a_tab_that_hears_late_of_a_logout_takes_nothing_from_who_has_come_back_since() {
    for kills in [false, true] {
        let mut world = World::with_tabs(2);
        world.freeze(0);
        log_out(&mut world, 1, None).unwrap();
        world.run_for(1_000);
        let back = world.open_tab("maya");
        world.run_for(15_000);
        world.cut_network();
        let id = world.tab(back).patch("c-1", "city", "Kiel");
        world.run_for(1_000);
        if kills {
            world.kill_tab(back);
        }
        world.thaw(0, true);
        world.run_for(15_000);
        assert!(world.tabs[0].signed_out);
        assert!(world.stored(0).iter().any(|key| key.contains(&id.to_string())), "{:?}", world.stored(0));
        world.heal_network();
        let next = world.open_tab("maya");
        world.run_until_quiet();
        assert_eq!(world.server.effects[&id], 1);
        assert_eq!(world.tabs[next].field("c-1", "city"), "Kiel".into());
    }
}

#[test]
fn an_engine_made_after_a_logout_is_not_ended_by_it_however_late_it_hears() {
    let mut world = World::with_tabs(2);
    log_out(&mut world, 0, None).unwrap();
    world.run_for(1);
    let message: TabMessage<JsonRecord> = world.tabs[0].last_message("signedOut");
    world.run_for(1_000);
    let again = world.open_tab("maya");
    world.tell(again, Input::TabMessageReceived(Box::new(message)));
    world.run_until_quiet();
    world.tell(again, Input::Woke);
    world.run_until_quiet();
    assert!(!world.tabs[again].signed_out);
    world.assert_all_agree();
}

#[test]
fn a_logout_from_a_time_that_has_not_come_is_malformed() {
    let mut world = World::with_tabs(2);
    log_out(&mut world, 1, None).unwrap();
    world.run_for(1);
    let mut message = world.tabs[1].last_message("signedOut");
    message.at_ms = Some(u64::MAX);
    let again = world.open_tab("jonas");
    world.tell(again, Input::TabMessageReceived(Box::new(message)));
    assert!(!world.tabs[again].signed_out && world.tabs[again].has_problem("malformed-message"));
}

#[test]
fn the_marks_of_logouts_do_not_pile_up_and_vanish_in_the_end() {
    let mut world = World::new();
    for _ in 0..5 {
        let tab = world.open_tab("maya");
        world.run_for(500);
        log_out(&mut world, tab, None).unwrap();
        world.run_for(500);
        assert!(world.stored(0).len() <= 2);
    }
    world.now.wall_ms += 31 * 24 * 60 * 60_000;
    world.open_tab("maya");
    world.run_for(500);
    assert!(world.stored(0).is_empty());
}

#[test]
fn a_clock_that_was_set_back_after_a_logout_ends_nobody() {
    let mut world = World::new();
    let tab = world.open_tab("maya");
    world.run_for(500);
    log_out(&mut world, tab, None).unwrap();
    world.run_for(500);
    world.now.wall_ms -= 600_000;
    let again = world.open_tab("maya");
    world.run_for(500);
    world.run_for(1_200_000);
    world.tell(again, Input::Woke);
    world.run_for(500);
    assert!(!world.tabs[again].signed_out);
}

#[test]
fn a_tab_that_was_opened_before_the_clock_was_set_back_hears_of_a_logout() {
    let mut world = World::with_tabs(2);
    world.now.wall_ms -= 3_600_000;
    world.run_for(1_000);
    log_out(&mut world, 0, None).unwrap();
    world.run_for(1_000);
    assert_gone(&world, &[0, 1]);
}

#[test]
fn a_tab_that_slept_while_the_clock_was_set_back_finds_the_mark_of_a_logout() {
    for (before_ms, after_ms) in [(3_600_000, 0), (0, 3_600_000), (3_600_000, 3_600_000)] {
        let mut world = World::with_tabs(2);
        world.hang(1);
        world.now.wall_ms -= before_ms;
        world.run_for(1_000);
        log_out(&mut world, 0, None).unwrap();
        world.run_for(60_000);
        world.now.wall_ms -= after_ms;
        world.wake_deaf(1, Input::Woke);
        world.run_for(2);
        assert!(world.tabs[1].signed_out && world.tabs[1].mirror.is_empty(), "{before_ms} and {after_ms} ms");
    }
}

#[test]
fn a_logout_from_before_a_tab_does_not_end_it_when_the_clock_is_set_back() {
    let mut world = World::with_tabs(1);
    log_out(&mut world, 0, None).unwrap();
    world.run_for(600_000);
    let again = world.open_tab("maya");
    world.run_for(60_000);
    // By now it seems to have been opened before that logout.
    world.now.wall_ms -= 900_000;
    for _ in 0..30 {
        world.run_for(60_000);
        world.tell(again, Input::Woke);
    }
    assert!(!world.tabs[again].signed_out);
}

#[test]
fn one_user_leaving_takes_nothing_from_another() {
    let mut world = World::new();
    let (maya, jonas) = (world.open_tab("maya"), world.open_tab("jonas"));
    world.run_for(500);
    world.cut_network();
    world.tab(jonas).assign("c-1", "jonas");
    world.run_for(100);
    log_out(&mut world, maya, None).unwrap();
    world.run_for(1_000);
    assert!(!world.tabs[jonas].signed_out && !world.tabs[jonas].mirror.is_empty());
    assert_eq!(world.stored(0).iter().filter(|key| key.contains(":jonas:op:")).count(), 1);
    assert_eq!(world.cached.len(), 1);
}

#[test]
fn without_locks_a_logout_leaves_nothing_either() {
    let mut world = World::new();
    world.locks_exist = false;
    let tab = world.open_tab("maya");
    world.run_for(500);
    assert_eq!(world.tabs[tab].status.as_ref().unwrap().role, Role::Alone);
    log_out(&mut world, tab, None).unwrap();
    world.run_for(10);
    assert_gone(&world, &[tab]);
}

#[test]
fn a_change_of_rights_is_a_whole_pull_and_what_is_no_longer_shown_is_gone_from_every_tab() {
    for teller in 0..3 {
        let mut world = World::with_tabs(3);
        world.checks = false;
        world.server.hidden.insert("c-2".into());
        world.tell(teller, Input::RightsChanged);
        world.run_until_quiet();
        for tab in 0..3 {
            assert!(world.tabs[tab].field("c-2", "id").is_null(), "tab {tab} still shows it; tab {teller} was told");
            assert!(!world.tabs[tab].field("c-1", "id").is_null());
        }
        world.server.hidden.clear();
        world.tell(teller, Input::RightsChanged);
        world.run_until_quiet();
        assert!((0..3).all(|tab| !world.tabs[tab].field("c-2", "id").is_null()));
    }
}

#[test]
fn a_field_that_new_rights_show_differently_changes_in_every_tab_though_its_version_does_not() {
    for teller in 0..2 {
        let mut world = World::with_tabs(2);
        world.checks = false;
        world.server.masked = Some("city".into());
        world.tell(teller, Input::RightsChanged);
        world.run_until_quiet();
        assert!((0..2).all(|tab| world.tabs[tab].field("c-1", "city").is_null()));
    }
}

#[test]
fn the_answer_of_a_pull_that_began_under_other_rights_is_dropped() {
    let mut world = World::with_tabs(1);
    (world.checks, world.faults.silent) = (false, true);
    world.tell(0, Input::Reconnect);
    let before = world.tabs[0].pulls.last().unwrap().id;
    world.tell(0, Input::RightsChanged);
    let after = world.tabs[0].pulls.last().unwrap().clone();
    assert_eq!((after.id == before, after.request.cursor), (false, None));
    let records = vec![row("secret", 99, "nobody")];
    let (gone, settled, covers) = (vec![], vec![], vec![]);
    world.tell(
        0,
        Input::Pulled(Pulled {
            id: before,
            cursor: Some("0:99".into()),
            whole: false,
            records,
            gone,
            settled,
            covers,
            next: None,
            at_ms: None,
            unread: vec![],
        }),
    );
    world.tell(0, Input::PullFailed { id: before, failure: Failure::Auth, message: String::new() });
    assert!(world.tabs[0].field("secret", "id").is_null());
}

#[test]
fn a_pending_operation_outlives_a_change_of_rights() {
    let mut world = World::with_tabs(2);
    world.cut_network();
    let id = world.tab(1).assign("c-1", "maya");
    world.tell(1, Input::RightsChanged);
    world.run_for(1_000);
    world.heal_network();
    world.run_until_quiet();
    assert_eq!(world.outcome(1, id), [OperationState::Confirmed]);
    world.assert_all_agree();
}
