//! A server may say that it has done something, and not how the record is now. What was changed stays as seen as it is until its
//! row arrives, in every order of acknowledgement and echo (laws 2 and 3).

use rota_engine::{Input, OperationState, Value};
use serde_json::json;

use crate::world::{Bare, Echo, World};

fn bare(tabs: usize, bare: Bare, echo: Echo) -> World {
    let mut world = World::with_tabs(tabs);
    (world.faults.bare_answers, world.faults.echo) = (Some(bare), echo);
    world
}

const ORDERS: [(Bare, Echo); 6] = [
    (Bare::WithVersion, Echo::BeforeAnswer),
    (Bare::WithVersion, Echo::AfterAnswer),
    (Bare::WithVersion, Echo::Never),
    (Bare::WithoutVersion, Echo::BeforeAnswer),
    (Bare::WithoutVersion, Echo::AfterAnswer),
    (Bare::WithoutVersion, Echo::Never),
];

#[test]
fn nothing_flickers_whatever_order_acknowledgement_and_row_come_in() {
    for (how, echo) in ORDERS {
        for anonymous in [false, true] {
            for author in 0..2 {
                let mut world = bare(3, how, echo);
                world.faults.anonymous = anonymous;
                let id = world.tab(author).assign("c-1", "maya");
                world.run_for(30_000);
                for tab in 0..3 {
                    assert_eq!(
                        world.tabs[tab].seen("c-1", "owner_id"),
                        [Value::Null, "maya".into()],
                        "tab {tab} of {author}, {anonymous}, {how:?}, {echo:?}"
                    );
                }
                assert_eq!(world.outcome(author, id), [OperationState::Confirmed]);
                assert_eq!(world.sent(id), 1);
                assert!(world.stored(0).is_empty());
                world.assert_all_agree();
            }
        }
    }
}

#[test]
fn an_acknowledgement_that_comes_twice_or_late_counts_once() {
    for (how, echo) in ORDERS {
        let mut world = bare(2, how, echo);
        world.faults.doubled_percent = 100;
        world.faults.jitter_ms = 40;
        let id = world.tab(0).assign("c-1", "maya");
        world.run_for(30_000);
        assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
        assert_eq!(world.tabs[0].seen("c-1", "owner_id"), [Value::Null, "maya".into()]);
        assert_eq!(world.tabs[1].seen("c-1", "owner_id"), [Value::Null, "maya".into()]);
        world.assert_all_agree();
    }
}

#[test]
fn an_acknowledged_operation_says_so_in_every_tab_and_settles_only_with_its_row() {
    let mut world = bare(2, Bare::WithVersion, Echo::Never);
    let id = world.tab(1).assign("c-1", "maya");
    world.run_for(100);
    for tab in 0..2 {
        assert_eq!(world.tabs[tab].operations[&id].state, OperationState::Acknowledged);
        assert_eq!(world.owner(tab, "c-1"), "maya".into());
    }
    assert_eq!(world.outcome(1, id), []);
    assert_eq!(world.tab(1).cancel(id).unwrap_err().code(), "too-late");
    // The stream does not bring it, so after a while it is looked up.
    world.run_for(11_000);
    assert_eq!(world.outcome(1, id), [OperationState::Confirmed]);
    world.assert_all_agree();
}

#[test]
fn a_later_row_retires_what_was_acknowledged_under_an_earlier_version() {
    let mut world = bare(1, Bare::WithVersion, Echo::Never);
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(100);
    world.sql_update("c-1", "city", "Kiel");
    world.run_for(10);
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
    assert_eq!(world.tabs[0].seen("c-1", "owner_id"), [Value::Null, "maya".into()]);
}

#[test]
fn a_row_of_before_the_acknowledgement_retires_nothing() {
    let mut world = bare(1, Bare::WithVersion, Echo::Never);
    world.checks = false;
    let id = world.tab(0).patch("c-1", "city", "Kiel");
    world.run_for(100);
    let row = crate::world::row("c-1", 3, "jonas");
    world.tell(0, Input::ServerChanged { events: vec![rota_engine::ServerEvent::Changed { row, partial: false }] });
    assert_eq!((world.outcome(0, id), world.tabs[0].field("c-1", "city")), (vec![], "Kiel".into()));
    assert_eq!(world.owner(0, "c-1"), "jonas".into());
}

#[test]
fn the_next_operation_of_the_record_does_not_wait_for_the_row_and_its_own_row_retires_both() {
    for how in [Bare::WithVersion, Bare::WithoutVersion] {
        let mut world = bare(2, how, Echo::Never);
        // Pulls that would bring the row fail for now.
        world.faults.pull_failure = Some(rota_engine::Failure::Server);
        let first = world.tab(0).patch("c-1", "city", "Kiel");
        world.run_for(40);
        assert_eq!(world.tabs[0].operations[&first].state, OperationState::Acknowledged);
        world.faults.bare_answers = None;
        let second = world.tab(0).patch("c-1", "city", "Ulm");
        world.run_for(40);
        assert_eq!(world.outcome(0, second), [OperationState::Confirmed]);
        assert_eq!(world.outcome(0, first), [OperationState::Confirmed], "the server did them in their order");
        for tab in 0..2 {
            assert_eq!(world.tabs[tab].seen("c-1", "city"), ["Bremen", "Kiel", "Ulm"].map(Into::into));
        }
        world.faults.pull_failure = None;
        world.run_until_quiet();
        world.assert_all_agree();
    }
}

#[test]
fn a_row_deleted_since_the_acknowledgement_is_gone_and_not_brought_back() {
    for how in [Bare::WithVersion, Bare::WithoutVersion] {
        let mut world = bare(2, how, Echo::Never);
        let id = world.tab(1).patch("c-1", "city", "Kiel");
        world.run_for(12);
        world.sql_delete("c-1");
        world.run_for(30_000);
        assert_eq!(world.outcome(1, id), [OperationState::Confirmed]);
        assert!(world.tabs[0].engine.visible("companies", "c-1").is_none());
        world.assert_all_agree();
    }
}

#[test]
fn inserts_and_deletes_are_acknowledged_like_everything_else() {
    for (how, echo) in ORDERS {
        let mut world = bare(2, how, echo);
        let ids = [world.tab(0).insert("c-9"), world.tab(1).delete("c-2")];
        world.run_for(30_000);
        assert_eq!(world.outcome(0, ids[0]), [OperationState::Confirmed]);
        assert_eq!(world.outcome(1, ids[1]), [OperationState::Confirmed]);
        for tab in 0..2 {
            assert_eq!(world.tabs[tab].seen[&("companies".to_owned(), "c-9".to_owned())].iter().flatten().count(), 1);
            assert_eq!(world.tabs[tab].seen[&("companies".to_owned(), "c-2".to_owned())].len(), 2);
        }
        world.assert_all_agree();
    }
}

#[test]
fn a_leader_that_dies_after_an_acknowledgement_leaves_its_end_to_the_next() {
    for (how, echo) in ORDERS {
        for author in 0..2 {
            let mut world = bare(2, how, echo);
            let id = world.tab(author).assign("c-1", "maya");
            world.run_for(21);
            world.kill_tab(0);
            world.run_until_quiet();
            world.run_for(15_000);
            if author == 1 {
                assert_eq!(world.outcome(1, id), [OperationState::Confirmed]);
            }
            assert_eq!(world.server.effects[&id], 1);
            assert_eq!(world.tabs[1].seen("c-1", "owner_id"), [Value::Null, "maya".into()]);
            world.assert_all_agree();
        }
    }
}

#[test]
fn a_leader_that_loses_its_lock_after_an_acknowledgement_still_hears_of_the_end() {
    for (how, echo) in ORDERS {
        let mut world = bare(2, how, echo);
        let id = world.tab(0).assign("c-1", "maya");
        world.run_for(21);
        world.steal_lock(1);
        world.run_for(40_000);
        assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
        world.assert_all_agree();
    }
}

#[test]
fn a_follower_that_missed_the_acknowledgement_or_the_row_is_told_of_the_end() {
    for (how, echo) in ORDERS {
        let mut world = bare(2, how, echo);
        let id = world.tab(1).assign("c-1", "maya");
        world.run_for(3);
        world.faults.lost_messages_percent = 100;
        world.run_for(15_000);
        world.faults.lost_messages_percent = 0;
        world.run_for(20_000);
        assert_eq!(world.outcome(1, id), [OperationState::Confirmed]);
        world.assert_all_agree();
    }
}

#[test]
fn a_tab_of_the_protocol_before_hears_only_of_the_end() {
    let answer = json!({"protocol": 1, "id": "019aa5e3-f1c0-7a3b-9c1d-2e4f60718293", "table": "companies", "key": "c-1",
        "replayed": false, "outcome": "confirmed"});
    for (v, end) in [(1, OperationState::Confirmed), (2, OperationState::Acknowledged)] {
        let mut world = World::with_tabs(2);
        world.faults.silent = true;
        let id = world.tab(1).assign("c-1", "maya");
        let mut answer = answer.clone();
        answer["id"] = json!(id);
        let message = json!({"v": v, "from": "x", "epoch": 1, "seq": 1, "kind": "settled", "answer": answer});
        world.tell(1, Input::TabMessageReceived(serde_json::from_value(message).unwrap()));
        let told = world.outcome(1, id);
        let state = world.tabs[1].operations.get(&id).map_or_else(|| told[0], |view| view.state);
        assert_eq!(state, end);
    }
}

#[test]
fn closing_confirms_what_is_acknowledged() {
    let mut world = bare(1, Bare::WithVersion, Echo::Never);
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(100);
    world.close_tab(0);
    assert_eq!(world.outcome(0, id), [OperationState::Confirmed]);
}

#[test]
fn what_depends_on_an_acknowledged_operation_is_sent() {
    let mut world = bare(1, Bare::WithVersion, Echo::Never);
    let first = world.tab(0).patch("c-1", "city", "Kiel");
    let second = world.tab(0).patch_after("c-2", "Kiel", &[first]).unwrap();
    world.run_for(200);
    assert_eq!(world.sent(second), 1);
}
