//! Many tabs of one browser: one leads and sends for all, and whoever misses something is told again.

use rota_engine::{Failure, Input, OperationState, Role, Value};

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

/// What a tab has told the others, but for what says that it is there.
fn news(world: &World, tab: usize) -> usize {
    let is_news = |json: &&String| !json.contains(r#""kind":"beat""#) && !json.contains(r#""kind":"hello""#);
    world.tabs[tab].told.iter().filter(is_news).count()
}

#[test]
fn a_leader_that_has_heard_nobody_tells_nobody_and_whoever_comes_learns_everything() {
    let mut world = World::with_tabs(1);
    let id = world.tab(0).assign("c-1", "maya");
    world.sql_update("c-2", "city", "Kiel");
    world.run_for(1_000);
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
    assert_eq!(news(&world, 0), 0);
    world.faults.lost_messages_percent = 100;
    world.tab(0).assign("c-2", "maya");
    world.open_tab("maya");
    // The new tab has asked in vain, and hears the leader's beat.
    world.run_for(10);
    world.faults.lost_messages_percent = 0;
    world.run_for(5_000);
    world.assert_all_agree();
    let before = news(&world, 0);
    world.tab(0).assign("c-3", "maya");
    world.run_for(1_000);
    assert!(news(&world, 0) > before);
    world.assert_all_agree();
}

#[test]
fn a_tab_that_leads_after_missing_messages_pulls_what_it_missed() {
    // The second one follows, so that the leader tells of what it learns.
    let mut world = World::with_tabs(2);
    world.faults.lost_messages_percent = 100;
    let tab = world.open_tab("maya");
    world.run_for(10);
    world.faults.lost_messages_percent = 0;
    // All that the new tab hears before it leads is one change.
    world.sql_update("c-1", "owner_id", "jonas");
    world.run_for(2);
    assert_eq!(world.owner(tab, "c-1"), "jonas".into());
    world.kill_tab(1);
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

/// What every tab but this one shows, and how often it changed.
fn others(world: &World, tab: usize) -> Vec<String> {
    let others = world.living().into_iter().filter(|other| *other != tab).map(|other| &world.tabs[other]);
    others.map(|other| format!("{:?} {:?}", other.mirror, other.seen)).collect()
}

#[test]
fn a_tab_that_knows_less_takes_nothing_from_the_others() {
    // It knows nothing at all, or what was true before; it follows, or leads without a server; and its messages get through.
    for (kept, leads, offline) in [
        (false, false, false),
        (true, false, false),
        (false, true, true),
        (true, true, true),
        (false, true, false),
        (true, true, false),
    ] {
        let mut world = World::with_tabs(3);
        let old = world.cached.clone();
        world.sql_update("c-1", "city", "Kiel");
        world.sql_delete("c-2");
        world.run_for(500);
        world.cached = if kept { old } else { std::collections::BTreeMap::new() };
        if offline {
            world.cut_network();
            world.run_for(500);
        }
        let before = others(&world, 3);
        let late = world.open_tab("maya");
        if leads {
            world.steal_lock(late);
        }
        world.run_for(60_000);
        assert_eq!(others(&world, late), before, "kept: {kept}, leads: {leads}, off-line: {offline}");
        world.heal_network();
        world.tell(late, Input::Reconnect);
        world.run_until_quiet();
        assert_eq!(others(&world, late), before, "kept: {kept}, leads: {leads}, off-line: {offline}");
        world.assert_all_agree();
    }
}

#[test]
fn what_one_tab_gives_up_stays_in_the_others() {
    let view = serde_json::from_value(serde_json::json!({"table": "companies", "limit": 3})).unwrap();
    for giver in 0..3 {
        let mut world = World::with_tabs(3);
        for tab in 0..3 {
            world.open_view(tab, 1, &view);
        }
        world.cut_network();
        world.tab(1).assign("c-1", "maya");
        world.run_for(100);
        let before = others(&world, giver);
        world.tell(giver, Input::CloseView { id: 1 });
        world.tell(giver, Input::Purge);
        world.run_for(10_000);
        assert_eq!(others(&world, giver), before);
        world.tell(giver, Input::Close);
        world.tabs[giver].alive = false;
        world.run_for(60_000);
        assert_eq!(others(&world, giver), before);
        for tab in world.living() {
            assert_eq!(world.tabs[tab].engine.shown(1).unwrap().len(), 3);
            assert_eq!(world.tabs[tab].status.as_ref().unwrap().unsent, 1);
        }
        world.heal_network();
        world.run_until_quiet();
        world.assert_all_agree();
    }
}

#[test]
fn what_concerns_one_tab_alone_is_told_to_no_other() {
    let mut world = World::with_tabs(3);
    world.server.refused.insert("c-2".into());
    let done = world.tab(1).patch("c-1", "city", "Kiel");
    world.tab(1).patch("c-2", "city", "Kiel");
    world.faults.storage_full = true;
    world.tab(1).patch("c-3", "city", "Kiel");
    world.faults.storage_full = false;
    let unreadable = Input::Unreadable { code: "malformed-message".into(), place: "x".into(), message: "x".into() };
    world.tell(1, unreadable);
    world.run_until_quiet();
    let told = |tab: &crate::world::Tab| (tab.settled.len(), tab.durable.len(), tab.rejected.len(), tab.problems.len());
    assert_eq!(
        (told(&world.tabs[1]), told(&world.tabs[0]), told(&world.tabs[2])),
        ((2, 2, 1, 1), (0, 0, 0, 0), (0, 0, 0, 0))
    );
    // Nor can another tab undo it; its author can.
    assert_eq!(world.tab(0).undo(done).unwrap_err().code(), "nothing-to-undo");
    assert_eq!(world.tab(2).undo(done).unwrap_err().code(), "nothing-to-undo");
    world.tab(1).undo(done).unwrap();
    world.run_until_quiet();
    assert_eq!(world.tabs[2].field("c-1", "city"), "Bremen".into());
    world.assert_all_agree();
}

#[test]
fn what_a_tab_tells_is_in_its_message_and_need_not_be_found_in_storage() {
    let mut world = World::with_tabs(3);
    // What one tab writes, no other one finds for now.
    world.faults.storage_mute = true;
    let order = serde_json::json!({"name": "insert", "table": "orders", "set": {"title": "First"}});
    let insert = world.tab(2).try_do(order).unwrap();
    let key = world.ops[&insert].key.clone();
    let names = serde_json::json!({"name": "patch", "table": "orders", "key": key, "set": {"title": "Second"}});
    let second = world.tab(2).try_do(names).unwrap();
    let id = world.tab(2).assign("c-1", "maya");
    world.run_for(2);
    assert_eq!((world.owner(0, "c-1"), world.owner(1, "c-1")), ("maya".into(), "maya".into()));
    world.kill_tab(2);
    world.run_for(2_000);
    assert!([insert, second, id].iter().all(|id| world.server.effects[id] == 1));
    world.assert_all_agree();
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

/// A tab of a release that does not know leads leads, and one of the next release opens beside it.
fn two_releases() -> (World, usize) {
    let mut world = World::new();
    world.undeclared.insert("leads".into());
    world.open_tab("maya");
    world.run_for(1_000);
    world.sql_lead("l-1", "Early");
    world.sql_update("c-1", "city", "Kiel");
    // The leader's cursor passes the lead, of which it never hears.
    world.tell(0, Input::Reconnect);
    world.run_for(1_000);
    world.undeclared.clear();
    let newer = world.open_tab("maya");
    (world, newer)
}

fn lead(world: &World, tab: usize, key: &str) -> Value {
    let record = world.tabs[tab].mirror.get(&("leads".to_owned(), key.to_owned()));
    record.map(|record| record["name"].clone()).unwrap_or_default()
}

#[test]
fn a_tab_of_a_newer_release_misses_nothing_of_a_table_that_the_leader_does_not_know() {
    let (mut world, newer) = two_releases();
    world.run_for(5_000);
    assert!(world.tabs[newer].status.as_ref().unwrap().ready);
    assert_eq!((lead(&world, newer, "l-1"), role(&world, newer)), ("Early".into(), Role::Follower));
    world.sql_lead("l-1", "Late");
    world.sql_update("c-2", "city", "Kiel");
    world.run_for(100);
    assert_eq!(world.tabs[newer].field("c-2", "city"), "Kiel".into());
    world.run_for(120_000);
    assert_eq!(lead(&world, newer, "l-1"), "Late".into(), "it asks now and then, as nobody tells it");
    world.sql_lead("l-2", "Last");
    // The leader's cursor passes that one, too, and is told.
    world.sql_update("c-3", "city", "Kiel");
    world.tell(0, Input::Reconnect);
    world.run_for(100);
    world.sql_update("c-4", "city", "Kiel");
    world.run_for(100);
    world.kill_tab(0);
    world.run_until_quiet();
    world.assert_all_agree();
}

#[test]
fn a_cursor_counts_only_for_the_tables_that_its_owner_declares() {
    let (mut world, newer) = two_releases();
    world.cut_network();
    world.run_for(5_000);
    assert!(lead(&world, newer, "l-1").is_null());
    assert!(!world.tabs[newer].status.as_ref().unwrap().ready, "it has not seen all of its tables");
    world.kill_tab(0);
    world.heal_network();
    world.run_until_quiet();
    assert_eq!(lead(&world, newer, "l-1"), "Early".into());
    world.assert_all_agree();
}

#[test]
fn what_the_leader_does_not_declare_is_not_gone_because_its_snapshot_lacks_it() {
    let mut world = World::with_tabs(1);
    world.sql_lead("l-1", "Early");
    world.run_for(100);
    let newer = world.open_tab("maya");
    world.undeclared.insert("leads".into());
    let older = world.open_tab("maya");
    world.run_for(100);
    assert_eq!(lead(&world, newer, "l-1"), "Early".into());
    world.steal_lock(older);
    world.run_for(120_000);
    assert_eq!((role(&world, older), world.tabs[newer].seen[&("leads".into(), "l-1".into())].len()), (Role::Leader, 1));
    assert!(!world.tabs[older].has_problem("malformed-event"), "another release is nobody's fault");
}

#[test]
fn an_operation_of_a_table_that_the_leader_does_not_know_waits_for_a_leader_that_does() {
    let (mut world, newer) = two_releases();
    world.run_for(5_000);
    let patch = serde_json::json!({"name": "patch", "table": "leads", "key": "l-1", "set": {"name": "Mine"}});
    let waits = world.tab(newer).try_do(patch).unwrap();
    let goes = world.tab(newer).assign("c-2", "maya");
    world.run_for(200_000);
    assert_eq!((world.sent(waits), world.outcome(newer, goes)), (0, vec![OperationState::Confirmed]));
    assert_eq!(lead(&world, newer, "l-1"), "Mine".into());
    assert!(world.tabs[0].has_problem("unknown-table"));
    world.close_tab(0);
    world.run_until_quiet();
    assert_eq!((world.server.effects[&waits], world.outcome(newer, waits)), (1, vec![OperationState::Confirmed]));
    world.assert_all_agree();
}

#[test]
fn a_cancel_that_a_follower_took_is_heard_though_its_message_was_lost() {
    for is_heard_before in [false, true] {
        let mut world = World::with_tabs(2);
        let (leader, other) = (world.leader().unwrap(), 1 - world.leader().unwrap());
        world.refresh_works = false;
        world.expire_token();
        world.tab(leader).patch("c-2", "city", "Kiel");
        world.run_for(500);
        world.faults.lost_messages_percent = if is_heard_before { 0 } else { 100 };
        let id = world.tab(other).patch("c-1", "city", "Kiel");
        world.run_for(100);
        world.faults.lost_messages_percent = 100;
        world.tab(other).cancel(id).unwrap();
        assert_eq!(world.tabs[leader].operations.contains_key(&id), is_heard_before);
        world.faults.lost_messages_percent = 0;
        world.run_for(10_000);
        assert_eq!(world.outcome(other, id), [OperationState::Cancelled]);
        world.token_good = true;
        world.tell(leader, Input::TokenRefreshed);
        world.run_until_quiet();
        assert_eq!(world.sent(id), 0);
        world.assert_all_agree();
    }
}

#[test]
fn a_dead_operation_that_a_follower_has_dropped_is_dropped_by_it_when_it_leads() {
    let mut world = World::with_tabs(2);
    let (leader, other) = (world.leader().unwrap(), 1 - world.leader().unwrap());
    world.faults.push_failures.push_back((Failure::Invalid, None));
    let id = world.tab(other).patch("c-1", "city", "Kiel");
    world.run_for(1_000);
    assert_eq!(world.outcome(other, id), [OperationState::Dead]);
    world.freeze(leader);
    world.tab(other).cancel(id).unwrap();
    world.run_for(100);
    world.kill_tab(leader);
    world.run_for(10_000);
    assert!(world.tabs[other].operations.is_empty() && world.stored(0).is_empty());
}
