//! Two changed the same field: declared rules decide at once, or a person does, and everyone hears what was decided.

use rota_engine::{
    AuditEntry, Choice, Decided, Failure, FieldConflict, Fields, Input, Operation, OperationId, OperationState,
    ROUNDS_MAX, Rule, Value,
};
use serde_json::{Value as Json, json};

use crate::world::{Echo, Outcome, World};

fn value(json: Json) -> Value {
    serde_json::from_value(json).unwrap()
}

fn fields(json: Json) -> Fields {
    serde_json::from_value(json).unwrap()
}

/// A patch made while the network is down, over which somebody else changes the same record.
fn conflict(world: &mut World, tab: usize, ours: Json, theirs: Json) -> OperationId {
    world.cut_network();
    let id = world.tab(tab).set("c-1", ours);
    world.run_for(50);
    let theirs = fields(theirs);
    let theirs: Vec<(&str, Value)> = theirs.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    world.server.sql_set("c-1", &theirs);
    world.heal_network();
    for tab in world.living() {
        world.tell(tab, Input::Reconnect);
    }
    id
}

fn city_conflict(world: &mut World, tab: usize) -> OperationId {
    let id = conflict(world, tab, json!({"city": "Kiel"}), json!({"city": "Lübeck"}));
    world.run_until_quiet();
    id
}

fn decisions(world: &World, tab: usize) -> Vec<AuditEntry> {
    let kept: Vec<AuditEntry> = world.tabs[tab].engine.audit().cloned().collect();
    assert_eq!(kept, world.tabs[tab].decisions);
    kept
}

// ---- rules

#[test]
fn what_a_rule_decides_is_settled_without_a_person_and_without_a_flicker() {
    let mut world = World::with_tabs(2);
    world.server.sql_set("c-1", &[("tags", value(json!(["a"])))]);
    let id = conflict(&mut world, 0, json!({"tags": ["a", "b"]}), json!({"tags": ["a", "c"]}));
    world.run_until_quiet();
    world.assert_all_agree();
    assert_eq!(world.server.company("c-1").unwrap()["tags"], value(json!(["a", "c", "b"])));
    assert_eq!(world.outcome(0, id), [Outcome::Confirmed]);
    assert_eq!(world.tabs[0].conflicts.len(), 0);
    let seen = world.tabs[0].seen("c-1", "tags");
    // From the list that the person made to the merged one, and nothing between.
    assert_eq!(seen[seen.len() - 2..], [value(json!(["a", "b"])), value(json!(["a", "c", "b"]))]);
}

#[test]
fn a_decision_of_the_rules_is_in_the_audit_of_every_tab() {
    let mut world = World::with_tabs(3);
    let id = conflict(&mut world, 1, json!({"stage": "won", "name": "A"}), json!({"stage": "lost"}));
    world.run_until_quiet();
    for tab in 0..3 {
        let [entry] = &decisions(&world, tab)[..] else { panic!("tab {tab}: {:?}", decisions(&world, tab)) };
        assert_eq!((entry.operation, entry.decided, &entry.by), (id, Decided::Auto, &None));
        assert_eq!((entry.table.as_str(), entry.key.as_str()), ("companies", "c-1"));
        let field = FieldConflict {
            field: "stage".into(),
            base: Value::Null,
            ours: "won".into(),
            theirs: "lost".into(),
            rule: Rule::MostRecentNotNull,
            merged: Some("won".into()),
        };
        assert_eq!(entry.fields, [field]);
    }
    let company = world.server.company("c-1").unwrap();
    assert_eq!((&company["stage"], &company["name"]), (&value(json!("won")), &value(json!("A"))));
}

#[test]
fn changes_of_different_fields_both_stay_and_nothing_has_to_be_decided() {
    let mut world = World::with_tabs(2);
    let id = conflict(&mut world, 0, json!({"city": "Kiel"}), json!({"name": "Quay"}));
    world.run_until_quiet();
    world.assert_all_agree();
    let company = world.server.company("c-1").unwrap();
    assert_eq!((&company["city"], &company["name"]), (&value(json!("Kiel")), &value(json!("Quay"))));
    assert_eq!(world.outcome(0, id), [Outcome::Confirmed]);
    assert_eq!(decisions(&world, 0), []);
}

#[test]
fn where_the_rule_takes_the_servers_value_the_operation_ends_as_done() {
    let mut world = World::with_tabs(2);
    let (early, late) = ("2026-11-01T10:00:00+02:00", "2026-11-01T09:00:00Z");
    let id = conflict(&mut world, 1, json!({"seen_at": early}), json!({"seen_at": late}));
    world.run_until_quiet();
    world.assert_all_agree();
    assert_eq!(world.outcome(1, id), [Outcome::Confirmed]);
    assert_eq!(world.server.company("c-1").unwrap()["seen_at"], late.into());
    for tab in 0..2 {
        let entry = &decisions(&world, tab)[0];
        assert_eq!(
            (entry.decided, entry.resolution, entry.fields[0].merged.clone()),
            (Decided::Server, None, Some(late.into()))
        );
    }
    assert!(world.stored(0).is_empty());
}

#[test]
fn what_two_people_count_at_the_same_time_both_counts() {
    let mut world = World::new();
    world.server.sql_set("c-1", &[("visits", Value::Number(5.0))]);
    world.open_tab("maya");
    world.use_browser(1);
    world.open_tab("jonas");
    world.run_for(1_000);
    let maya = world.tab(0).set("c-1", json!({"visits": 6}));
    let jonas = world.tab(1).set("c-1", json!({"visits": 6}));
    world.run_until_quiet();
    world.assert_all_agree();
    assert_eq!(world.server.company("c-1").unwrap()["visits"], Value::Number(7.0));
    assert_eq!((world.outcome(0, maya), world.outcome(1, jonas)), (vec![Outcome::Confirmed], vec![Outcome::Confirmed]));
}

#[test]
fn what_a_person_did_later_stays_later_than_what_the_rules_decide_about_the_earlier() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    world.tab(0).set("c-1", json!({"stage": "won"}));
    world.run_for(500);
    world.server.sql_set("c-1", &[("stage", "lost".into())]);
    world.heal_network();
    world.tell(0, Input::Reconnect);
    // The first one is on its way when the second one is made.
    while world.tabs[0].pushed.is_empty() {
        world.run_for(1);
    }
    world.tab(0).set("c-1", json!({"stage": "paid"}));
    world.run_until_quiet();
    assert_eq!(world.server.company("c-1").unwrap()["stage"], "paid".into());
    world.assert_all_agree();
}

#[test]
fn a_tab_that_dies_with_its_decision_stored_decides_nothing_twice() {
    for crash in ["persist", "broadcast", "push", "unpersist"] {
        let mut world = World::with_tabs(2);
        world.sql_set("c-1", "visits", Value::Number(5.0));
        world.run_for(1_000);
        conflict(&mut world, 0, json!({"visits": 6}), json!({"visits": 10}));
        while world.server.ledger.is_empty() {
            world.run_for(1);
        }
        world.faults.crash_before = Some(crash);
        world.run_until_quiet();
        assert!(!world.tabs[0].alive, "{crash}: nothing crashed");
        world.assert_all_agree();
        assert_eq!(world.server.company("c-1").unwrap()["visits"], Value::Number(11.0), "{crash}");
        assert!(world.stored(0).is_empty(), "{crash}");
    }
}

#[test]
fn two_senders_of_one_conflict_make_one_decision() {
    let mut world = World::with_tabs(2);
    world.sql_set("c-1", "visits", Value::Number(5.0));
    world.run_for(1_000);
    let id = conflict(&mut world, 0, json!({"visits": 6}), json!({"visits": 10}));
    while world.server.ledger.is_empty() {
        world.run_for(1);
    }
    // The answer is on its way to the old leader when another tab takes over, sends again, and hears the same.
    world.checks = false;
    world.storage_may_repeat = true;
    world.steal_lock(1);
    world.run_until_quiet();
    world.assert_all_agree();
    assert_eq!(world.server.company("c-1").unwrap()["visits"], Value::Number(11.0));
    assert_eq!(world.outcome(0, id), [Outcome::Confirmed]);
}

/// What the rules decide about one and the same conflict, in a world of its own.
fn decided_elsewhere() -> Operation {
    let mut world = World::with_tabs(2);
    world.sql_set("c-1", "visits", Value::Number(5.0));
    world.run_for(1_000);
    conflict(&mut world, 0, json!({"visits": 6}), json!({"visits": 10}));
    world.run_until_quiet();
    let (_, decision, _) = world.server.ledger.values().find(|(_, op, _)| !op.replaces.is_empty()).unwrap();
    decision.clone()
}

#[test]
fn a_decision_that_ended_elsewhere_ends_here_what_it_stands_for() {
    let mut world = World::with_tabs(2);
    world.sql_set("c-1", "visits", Value::Number(5.0));
    world.run_for(1_000);
    let id = conflict(&mut world, 0, json!({"visits": 6}), json!({"visits": 10}));
    while world.server.ledger.is_empty() {
        world.run_for(1);
    }
    // The answer is lost with the network; some other tab has heard it, decided, and told the server.
    world.cut_network();
    world.run_for(100);
    let decision = decided_elsewhere();
    assert_eq!(decision.replaces, [id]);
    world.server.apply_operation(&serde_json::to_value(&decision).unwrap(), "maya");
    let hello = json!({"v": 1, "from": "x", "epoch": 0, "seq": 1, "kind": "hello", "pending": [decision.id]});
    world.tell(0, Input::TabMessageReceived(serde_json::from_value(hello).unwrap()));
    // One pull tells of the conflict, and of the end of its decision.
    world.heal_network();
    world.run_until_quiet();
    world.assert_all_agree();
    assert_eq!(world.outcome(0, id), [Outcome::Confirmed]);
    assert_eq!(world.server.company("c-1").unwrap()["visits"], Value::Number(11.0));
    assert!(world.stored(0).is_empty());
}

#[test]
fn a_tab_that_pulls_for_itself_leaves_conflicts_to_the_one_that_sends() {
    let mut world = World::with_tabs(1);
    world.sql_set("c-1", "visits", Value::Number(5.0));
    world.run_for(1_000);
    let id = conflict(&mut world, 0, json!({"visits": 6}), json!({"visits": 10}));
    while world.server.ledger.is_empty() {
        world.run_for(1);
    }
    world.freeze(0);
    let follower = world.open_tab("maya");
    // Nobody tells it anything, so it asks the server, which tells of the conflict.
    world.run_for(3_000);
    assert_eq!(world.server.company("c-1").unwrap()["visits"], Value::Number(10.0));
    assert_eq!(world.tabs[follower].field("c-1", "visits"), Value::Number(6.0));
    assert_eq!(world.stored(0).len(), 1, "it has decided, although it does not send");
    world.thaw(0, false);
    world.run_until_quiet();
    world.assert_all_agree();
    assert_eq!(world.outcome(0, id), [Outcome::Confirmed]);
    assert_eq!(world.server.company("c-1").unwrap()["visits"], Value::Number(11.0));
}

#[test]
fn after_so_many_rounds_a_person_decides() {
    let mut world = World::with_tabs(1);
    world.sql_set("c-1", "stage", "new".into());
    world.run_for(1_000);
    world.tab(0).set("c-1", json!({"stage": "mine"}));
    let (mut known, mut rounds) = (0, 0);
    // Somebody else is always faster.
    world.server.sql_set("c-1", &[("stage", "theirs 0".into())]);
    for _ in 0..3_000 {
        world.run_for(1);
        if world.server.ledger.len() > known {
            (known, rounds) = (world.server.ledger.len(), rounds + 1);
            world.server.sql_set("c-1", &[("stage", format!("theirs {rounds}").as_str().into())]);
        }
    }
    assert_eq!(decisions(&world, 0).len(), ROUNDS_MAX as usize);
    let waiting: Vec<_> = world.tabs[0].conflicts.values().collect();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert_eq!(waiting[0].fields[0].merged, Some("mine".into()));
}

#[test]
fn a_decision_that_cannot_be_stored_is_a_persons() {
    let mut world = World::with_tabs(1);
    let id = conflict(&mut world, 0, json!({"stage": "won"}), json!({"stage": "lost"}));
    world.faults.storage_full = true;
    world.run_until_quiet();
    assert_eq!(world.outcome(0, id), [Outcome::Conflicted]);
    assert!(world.tabs[0].conflicts.contains_key(&id));
    assert_eq!(world.tabs[0].rejected, []);
    world.faults.storage_full = false;
    world.tab(0).resolve(id, Choice::Merge).unwrap();
    world.run_until_quiet();
    assert_eq!(world.server.company("c-1").unwrap()["stage"], "won".into());
}

#[test]
fn no_server_is_told_who_decided_what() {
    let mut world = World::with_tabs(1);
    conflict(&mut world, 0, json!({"stage": "won"}), json!({"stage": "lost"}));
    world.run_until_quiet();
    assert_eq!(world.server.ledger.len(), 2);
    assert!(world.server.ledger.values().all(|(_, op, _)| op.decision.is_none()));
}

#[test]
fn a_race_for_an_owner_is_lost_and_not_merged() {
    let mut world = World::with_tabs(1);
    world.cut_network();
    let id = world.tab(0).assign("c-1", "maya");
    world.run_for(50);
    world.server.sql_set("c-1", &[("owner_id", "jonas".into())]);
    world.heal_network();
    world.tell(0, Input::Reconnect);
    world.run_until_quiet();
    assert_eq!(world.outcome(0, id), [Outcome::Conflicted]);
    assert!(world.tabs[0].conflicts.is_empty() && world.stored(0).is_empty());
}

// ---- people

#[test]
fn a_conflict_without_a_rule_waits_with_its_three_sides_and_a_preview_of_each_decision() {
    let mut world = World::with_tabs(2);
    let id = conflict(&mut world, 0, json!({"city": "Kiel", "name": "Quay"}), json!({"city": "Lübeck"}));
    world.run_until_quiet();
    assert_eq!(world.outcome(0, id), [Outcome::Conflicted]);
    for tab in 0..2 {
        let waiting = &world.tabs[tab].conflicts[&id];
        let [field] = &waiting.fields[..] else { panic!("{waiting:?}") };
        assert_eq!(
            (field.field.as_str(), &field.base, &field.ours, &field.theirs, field.rule, &field.merged),
            ("city", &"Bremen".into(), &"Kiel".into(), &"Lübeck".into(), Rule::Person, &None)
        );
        let previews = &waiting.previews;
        assert_eq!(previews.local, fields(json!({"city": "Kiel", "name": "Quay"})));
        assert_eq!(previews.server, fields(json!({"city": "Lübeck", "name": "Harbour"})));
        assert_eq!(previews.merge, fields(json!({"city": "Kiel", "name": "Quay"})));
        assert_eq!((waiting.mine, waiting.is_gone), (tab == 0, false));
        let status = world.tabs[tab].status.as_ref().unwrap();
        assert_eq!((status.conflicts, status.unsent, status.dead), (1, 0, 0));
        // It is not seen any more, and it is kept.
        assert_eq!(world.tabs[tab].field("c-1", "city"), "Lübeck".into());
    }
    assert_eq!((world.sent(id), world.stored(0).len()), (1, 1));
}

#[test]
fn what_waits_for_a_person_blocks_nothing() {
    let mut world = World::with_tabs(1);
    city_conflict(&mut world, 0);
    let next = world.tab(0).set("c-1", json!({"name": "Quay"}));
    world.run_until_quiet();
    assert_eq!(world.outcome(0, next), [Outcome::Confirmed]);
}

#[test]
fn each_decision_of_a_person_is_done_and_audited_in_every_tab() {
    let chosen = |json| Choice::Fields(fields(json));
    for (choice, decided, expected) in [
        (Choice::Local, Decided::Local, "Kiel"),
        (Choice::Merge, Decided::Merge, "Kiel"),
        (chosen(json!({"city": "Hamburg"})), Decided::Manual, "Hamburg"),
        (Choice::Server, Decided::Server, "Lübeck"),
        // What comes to the same as the server has needs no operation.
        (chosen(json!({"city": "Lübeck"})), Decided::Manual, "Lübeck"),
    ] {
        for by in 0..3 {
            let mut world = World::with_tabs(3);
            let id = city_conflict(&mut world, 1);
            let resolution = world.tab(by).resolve(id, choice.clone()).unwrap();
            assert_eq!(resolution.is_some(), expected != "Lübeck");
            assert_eq!(world.tabs[by].field("c-1", "city"), expected.into());
            world.run_until_quiet();
            world.assert_all_agree();
            assert_eq!(world.server.company("c-1").unwrap()["city"], expected.into());
            if let Some(resolution) = resolution {
                assert_eq!(world.outcome(by, resolution), [Outcome::Confirmed]);
            }
            assert_eq!(world.outcome(1, id), [Outcome::Conflicted], "its author heard of its end once");
            assert!(world.stored(0).is_empty());
            for tab in 0..3 {
                let tab_ = &world.tabs[tab];
                assert!(tab_.conflicts.is_empty() && tab_.status.as_ref().unwrap().conflicts == 0);
                let entries = decisions(&world, tab);
                assert_eq!(entries.len(), 1, "tab {tab}, decided in {by}: {entries:?}");
                let told = (entries[0].operation, entries[0].resolution, entries[0].decided, entries[0].by.as_deref());
                assert_eq!(told, (id, resolution, decided, Some("maya")));
                assert_eq!(entries[0].fields[0].merged, Some(expected.into()));
            }
        }
    }
}

#[test]
fn the_first_of_two_decisions_counts_and_the_second_is_told_so() {
    for (first, second) in [(0, 1), (1, 0), (1, 2)] {
        let mut world = World::with_tabs(3);
        let id = city_conflict(&mut world, 0);
        let one = world.tab(first).resolve(id, Choice::Local).unwrap().unwrap();
        let other = world.tab(second).resolve(id, Choice::Fields(fields(json!({"city": "Ulm"})))).unwrap().unwrap();
        world.run_until_quiet();
        world.assert_all_agree();
        let leader = world.leader().unwrap();
        // The leader hears its own first.
        let (one, other, winner, loser, city) =
            if second == leader { (other, one, second, first, "Ulm") } else { (one, other, first, second, "Kiel") };
        assert_eq!(world.outcome(winner, one), [Outcome::Confirmed]);
        assert_eq!(world.outcome(loser, other), [Outcome::Cancelled]);
        let end = world.tabs[loser].settled.iter().find(|end| end.id == other).unwrap();
        assert_eq!(end.code.as_deref(), Some("already-resolved"));
        assert_eq!(world.server.company("c-1").unwrap()["city"], city.into());
        assert!(world.stored(0).is_empty());
        let late = world.tab(0).resolve(id, Choice::Server).unwrap_err();
        assert_eq!(late.code(), "unknown-conflict");
    }
}

#[test]
fn a_conflict_survives_a_reload() {
    let mut world = World::with_tabs(1);
    let id = city_conflict(&mut world, 0);
    let tab = world.reload_tab(0);
    world.run_until_quiet();
    let waiting = &world.tabs[tab].conflicts[&id];
    assert_eq!((&waiting.fields[0].ours, &waiting.fields[0].theirs), (&"Kiel".into(), &"Lübeck".into()));
    assert_eq!(world.outcome(tab, id), [], "its author is gone");
    world.tab(tab).resolve(id, Choice::Local).unwrap();
    world.run_until_quiet();
    world.assert_all_agree();
    assert_eq!(world.server.company("c-1").unwrap()["city"], "Kiel".into());
}

#[test]
fn a_conflict_survives_its_leader() {
    let mut world = World::with_tabs(2);
    let id = city_conflict(&mut world, 0);
    world.kill_tab(0);
    world.run_for(5_000);
    assert!(world.tabs[1].conflicts.contains_key(&id));
    assert_eq!(world.sent(id), 1, "it need not be asked again");
    world.tab(1).resolve(id, Choice::Local).unwrap();
    world.run_until_quiet();
    assert_eq!(world.server.company("c-1").unwrap()["city"], "Kiel".into());
    world.assert_all_agree();
}

#[test]
fn a_tab_that_comes_later_knows_what_waits() {
    let mut world = World::with_tabs(1);
    let id = city_conflict(&mut world, 0);
    let tab = world.open_tab("maya");
    world.run_for(1_000);
    assert_eq!(world.sent(id), 1);
    assert!(world.tabs[tab].conflicts.contains_key(&id));
}

#[test]
fn a_conflict_follows_what_others_go_on_changing() {
    let mut world = World::with_tabs(2);
    let id = city_conflict(&mut world, 0);
    world.sql_update("c-1", "city", "Rostock");
    world.run_for(1_000);
    for tab in 0..2 {
        let waiting = &world.tabs[tab].conflicts[&id];
        assert_eq!(waiting.fields[0].theirs, "Rostock".into());
        assert_eq!(waiting.previews.server, fields(json!({"city": "Rostock"})));
    }
    // Even back to what the person saw: the change was not taken, and somebody should know.
    world.sql_update("c-1", "city", "Bremen");
    world.run_for(1_000);
    assert_eq!(world.tabs[0].conflicts[&id].fields[0].theirs, "Bremen".into());
    world.tab(0).resolve(id, Choice::Local).unwrap();
    world.run_until_quiet();
    assert_eq!(world.server.company("c-1").unwrap()["city"], "Kiel".into());
}

#[test]
fn a_conflict_follows_what_others_change_while_its_record_is_in_a_transaction_that_waits() {
    let mut world = World::with_tabs(2);
    let id = city_conflict(&mut world, 0);
    world.faults.push_failures.push_back((Failure::RateLimit, Some(60_000)));
    let patch = |key: &str| json!({"name": "patch", "table": "companies", "key": key, "set": {"name": "Quay"}});
    let waiting = world.tab(1).transact(json!([patch("c-1"), patch("c-2")]));
    world.run_for(1_000);
    world.sql_update("c-1", "city", "Rostock");
    world.run_for(1_000);
    assert!(!world.ended(waiting));
    for tab in 0..2 {
        assert_eq!(world.tabs[tab].conflicts[&id].fields[0].theirs, "Rostock".into());
    }
}

#[test]
fn of_a_record_that_is_gone_only_the_servers_word_can_be_taken() {
    let mut world = World::with_tabs(1);
    let id = city_conflict(&mut world, 0);
    world.sql_delete("c-1");
    world.run_for(1_000);
    assert!(world.tabs[0].conflicts[&id].is_gone);
    let error = world.tab(0).resolve(id, Choice::Local).unwrap_err();
    assert_eq!(error.code(), "unknown-record");
    assert_eq!(world.tab(0).resolve(id, Choice::Server).unwrap(), None);
    world.run_for(1_000);
    assert!(world.tabs[0].conflicts.is_empty() && world.stored(0).is_empty());
    world.assert_all_agree();
}

#[test]
fn a_decision_that_makes_no_sense_is_refused_and_changes_nothing() {
    let mut world = World::with_tabs(1);
    let id = conflict(&mut world, 0, json!({"city": "Kiel", "name": "A"}), json!({"city": "Ulm", "name": "B"}));
    world.run_until_quiet();
    let chosen = |json| Choice::Fields(fields(json));
    for (choice, code) in [
        (chosen(json!({"city": "Ulm"})), "invalid-operation"),
        (chosen(json!({"city": "Ulm", "name": "B", "nope": 1})), "unknown-field"),
        (chosen(json!({"city": "Ulm", "name": "B", "id": "c-2"})), "invalid-operation"),
    ] {
        assert_eq!(world.tab(0).resolve(id, choice).unwrap_err().code(), code);
    }
    let other = world.tab(0).set("c-2", json!({"city": "Ulm"}));
    assert_eq!(world.tab(0).resolve(other, Choice::Local).unwrap_err().code(), "unknown-conflict");
    assert_eq!(world.tab(0).cancel(id).unwrap_err().code(), "invalid-operation");
    assert_eq!(world.tab(0).retry(id).unwrap_err().code(), "invalid-operation");
    assert!(world.tabs[0].conflicts.contains_key(&id));
    world.tell(0, Input::Close);
    assert_eq!(world.tab(0).resolve(id, Choice::Local).unwrap_err().code(), "closed");
}

#[test]
fn a_decision_that_meets_another_change_is_a_conflict_again() {
    let mut world = World::with_tabs(1);
    let id = city_conflict(&mut world, 0);
    world.cut_network();
    let resolution = world.tab(0).resolve(id, Choice::Local).unwrap().unwrap();
    world.run_for(50);
    world.server.sql_set("c-1", &[("city", "Ulm".into())]);
    world.heal_network();
    world.tell(0, Input::Reconnect);
    world.run_until_quiet();
    assert_eq!(world.outcome(0, resolution), [Outcome::Conflicted]);
    let waiting = &world.tabs[0].conflicts[&resolution];
    assert_eq!((&waiting.fields[0].base, &waiting.fields[0].theirs), (&"Lübeck".into(), &"Ulm".into()));
    assert_eq!(world.tabs[0].conflicts.len(), 1);
}

#[test]
fn a_closed_store_leaves_conflicts_for_the_next_one() {
    let mut world = World::with_tabs(1);
    let id = city_conflict(&mut world, 0);
    world.close_tab(0);
    assert_eq!(world.outcome(0, id), [OperationState::Conflicted]);
    assert_eq!(world.stored(0).len(), 1);
}

#[test]
fn the_answer_to_a_decision_may_come_after_its_echo() {
    let mut world = World::with_tabs(2);
    world.faults.echo = Echo::BeforeAnswer;
    let id = conflict(&mut world, 1, json!({"stage": "won"}), json!({"stage": "lost"}));
    world.run_until_quiet();
    world.assert_all_agree();
    assert_eq!(world.outcome(1, id), [Outcome::Confirmed]);
    assert!(world.stored(0).is_empty());
}

// ---- what nobody decides about

#[test]
fn a_lost_assignment_and_a_transaction_in_conflict_are_audited_in_every_tab_with_what_the_server_has() {
    let mut world = World::with_tabs(2);
    world.cut_network();
    let lost = world.tab(0).assign("c-1", "maya");
    let both = world.tab(0).transact(json!([
        {"name": "patch", "table": "companies", "key": "c-2", "set": {"city": "Kiel"}},
        {"name": "patch", "table": "companies", "key": "c-3", "set": {"city": "Kiel"}},
    ]));
    world.run_for(50);
    world.sql_update("c-1", "owner_id", "jonas");
    world.sql_update("c-2", "city", "Jena");
    world.heal_network();
    world.run_for(120_000);
    assert_eq!([lost, both].map(|id| world.outcome(0, id)), [[OperationState::Conflicted]; 2]);
    for tab in 0..2 {
        let audited = decisions(&world, tab);
        let told: Vec<_> = audited.iter().map(|it| (it.operation, &*it.key, it.decided, it.fields.len())).collect();
        assert_eq!(told, [(lost, "c-1", Decided::Server, 1), (both, "c-2", Decided::Server, 1)], "tab {tab}");
        let city = &audited[1].fields[0];
        assert_eq!((&city.ours, &city.theirs, &city.merged), (&"Kiel".into(), &"Jena".into(), &Some("Jena".into())));
    }
}
