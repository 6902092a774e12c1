//! Records whose key the server gives: they have a temporary one until then, and nothing that named it is lost or shown twice.

use rota_engine::{Error, Input, OperationId, OperationState, ServerEvent, Value};
use serde_json::json;

use crate::server::{number, version};
use crate::world::{Echo, World};

fn order(world: &mut World, tab: usize, title: &str) -> (OperationId, String) {
    let id = world.tab(tab).try_do(json!({"name": "insert", "table": "orders", "set": {"title": title}})).unwrap();
    (id, format!("~{id}"))
}

fn patch(world: &mut World, tab: usize, key: &str, field: &str, value: &str) -> Result<OperationId, Error> {
    world.tab(tab).try_do(json!({"name": "patch", "table": "orders", "key": key, "set": {field: value}}))
}

fn field(world: &World, tab: usize, key: &str, field: &str) -> Value {
    let record = world.tabs[tab].mirror.get(&("orders".to_owned(), key.to_owned()));
    record.and_then(|record| record.get(field)).cloned().unwrap_or_default()
}

fn orders(world: &World, tab: usize) -> Vec<String> {
    let orders = world.tabs[tab].mirror.keys().filter(|(table, _)| table == "orders");
    orders.map(|(_, key)| key.clone()).collect()
}

/// Ends the first call that the tabs make, so that nothing more is sent for a moment.
fn keep_from_sending(world: &mut World) {
    world.cut_network();
    world.tab(0).patch("c-1", "city", "Jena");
    world.run_for(20);
}

fn lose_what_is_on_its_way(world: &mut World) {
    world.cut_network();
    world.run_for(50);
    world.heal_network();
}

#[test]
fn a_record_without_a_key_is_seen_at_once_under_a_temporary_one() {
    let mut world = World::with_tabs(2);
    world.faults.silent = true;
    let (_, temporary) = order(&mut world, 0, "first");
    world.run_for(50);
    for tab in 0..2 {
        assert_eq!(orders(&world, tab), std::slice::from_ref(&temporary));
        assert_eq!(field(&world, tab, &temporary, "id"), Value::from(&*temporary));
    }
}

#[test]
fn the_temporary_row_and_the_servers_are_never_both_shown_whatever_comes_first() {
    for echo in [Echo::BeforeAnswer, Echo::AfterAnswer, Echo::Never] {
        for lost_push_replies in [0, 1] {
            for tab in 0..2 {
                let mut world = World::with_tabs(2);
                (world.faults.echo, world.faults.lost_push_replies) = (echo, lost_push_replies);
                let (id, temporary) = order(&mut world, tab, "first");
                let mut seen = vec![];
                for _ in 0..200 {
                    world.run_for(1);
                    for tab in 0..2 {
                        assert!(orders(&world, tab).len() <= 1, "both are shown: {:?}", orders(&world, tab));
                    }
                    seen.push(orders(&world, tab).len());
                }
                world.run_until_quiet();
                assert!(seen.iter().all(|count| *count == 1), "the record was gone for a moment");
                assert_eq!(world.outcome(tab, id), [OperationState::Confirmed]);
                for tab in 0..2 {
                    assert_eq!(orders(&world, tab), ["1"]);
                    assert_eq!(field(&world, tab, "1", "id"), number(1));
                    assert_eq!(world.tabs[tab].renamed.get(&temporary), Some(&"1".to_owned()));
                }
                world.assert_all_agree();
                assert!(world.stored(0).is_empty());
            }
        }
    }
}

#[test]
fn operations_that_name_a_temporary_key_are_sent_with_the_real_one() {
    for echo in [Echo::BeforeAnswer, Echo::AfterAnswer, Echo::Never] {
        let mut world = World::with_tabs(2);
        world.faults.echo = echo;
        let (first, temporary) = order(&mut world, 1, "first");
        let patched = patch(&mut world, 1, &temporary, "title", "changed").unwrap();
        let set = json!({"title": "child", "parent": temporary, "more": [{"of": temporary}]});
        let child = world.tab(1).try_do(json!({"name": "insert", "table": "orders", "set": set})).unwrap();
        assert_eq!((&world.ops[&patched].after, &world.ops[&child].after), (&vec![first], &vec![first]));
        assert_eq!(field(&world, 1, &temporary, "title"), "changed".into());
        world.run_until_quiet();
        for tab in 0..2 {
            assert_eq!(field(&world, tab, "1", "title"), "changed".into());
            assert_eq!(field(&world, tab, "2", "parent"), number(1), "a reference has the type of the key");
            let more = world.tabs[tab].mirror[&("orders".to_owned(), "2".to_owned())]["more"].clone();
            assert_eq!(serde_json::to_value(more).unwrap(), json!([{"of": 1}]));
        }
        world.assert_all_agree();
        assert!(world.stored(0).is_empty(), "{:?}", world.stored(0));
    }
}

#[test]
fn whoever_still_knows_a_record_by_its_temporary_key_means_the_record() {
    let mut world = World::with_tabs(1);
    let (_, temporary) = order(&mut world, 0, "first");
    world.run_until_quiet();
    let id = patch(&mut world, 0, &temporary, "parent", &temporary).unwrap();
    assert_eq!((&*world.ops[&id].key, &world.ops[&id].set["parent"]), ("1", &number(1)));
    world.run_until_quiet();
    world.assert_all_agree();
}

#[test]
fn a_refused_insert_takes_its_temporary_record_and_what_depends_on_it_with_it() {
    let mut world = World::with_tabs(2);
    keep_from_sending(&mut world);
    let (id, temporary) = order(&mut world, 0, "first");
    let later = patch(&mut world, 0, &temporary, "title", "changed").unwrap();
    world.server.refused.insert(temporary.clone());
    world.heal_network();
    // The server never sees a temporary key but in its own insert, and there refuses it.
    world.run_until_quiet();
    assert_eq!(world.outcome(0, id), [OperationState::Refused]);
    assert_eq!(world.outcome(0, later), [OperationState::Refused]);
    assert!(orders(&world, 0).is_empty() && orders(&world, 1).is_empty());
    world.assert_all_agree();
}

#[test]
fn a_tab_that_dies_between_the_inserts_end_and_the_dependants_leaves_the_mapping_to_the_next() {
    for lost_messages_percent in [0, 100] {
        let mut world = World::with_tabs(2);
        keep_from_sending(&mut world);
        let (first, temporary) = order(&mut world, 0, "first");
        let later = patch(&mut world, 0, &temporary, "title", "changed").unwrap();
        world.run_for(20);
        world.faults.lost_messages_percent = lost_messages_percent;
        world.heal_network();
        // Until the very moment in which the insert is settled.
        for _ in 0..200_000 {
            world.run_for(1);
            if !world.outcome(0, first).is_empty() {
                break;
            }
        }
        assert_eq!(world.outcome(0, first), [OperationState::Confirmed]);
        assert_eq!(world.server.effects.get(&later), None);
        assert_eq!(world.stored(0).iter().filter(|key| key.contains(":id:~")).count(), 1);
        for tab in 0..2 {
            world.kill_tab(tab);
        }
        lose_what_is_on_its_way(&mut world);
        world.faults.lost_messages_percent = 0;
        let tab = world.open_tab("maya");
        world.run_until_quiet();
        assert_eq!(field(&world, tab, "1", "title"), "changed".into());
        assert_eq!(world.server.effects[&later], 1);
        world.assert_all_agree();
        assert!(world.stored(0).is_empty(), "{:?}", world.stored(0));
    }
}

#[test]
fn a_mapping_stays_stored_as_long_as_an_entry_names_it_though_it_was_told_with_the_real_key() {
    let mut world = World::with_tabs(2);
    keep_from_sending(&mut world);
    world.freeze(1);
    let (first, temporary) = order(&mut world, 0, "first");
    let later = patch(&mut world, 0, &temporary, "title", "changed").unwrap();
    world.heal_network();
    for _ in 0..200_000 {
        world.run_for(1);
        if !world.outcome(0, first).is_empty() {
            break;
        }
    }
    world.faults.silent = true;
    world.tabs[1].waiting.clear();
    world.thaw(1, false);
    world.run_for(3_000);
    world.kill_tab(0);
    world.run_for(3_000);
    assert_eq!(world.server.effects.get(&later), None);
    assert_eq!(world.stored(0).iter().filter(|key| key.contains(":id:~")).count(), 1, "{:?}", world.stored(0));
    world.faults.silent = false;
    world.run_until_quiet();
    assert_eq!(field(&world, 1, "1", "title"), "changed".into());
    assert!(world.stored(0).is_empty(), "{:?}", world.stored(0));
}

#[test]
fn a_mapping_outlives_no_operation_that_stands_for_the_one_that_named_it() {
    let mut world = World::new();
    world.concurrency = 1;
    world.open_tab("maya");
    world.run_for(1_000);
    keep_from_sending(&mut world);
    let (first, temporary) = order(&mut world, 0, "first");
    world.tab(0).patch("c-2", "city", "Gera");
    patch(&mut world, 0, &temporary, "title", "changed").unwrap();
    world.heal_network();
    for _ in 0..200_000 {
        world.run_for(1);
        if !world.outcome(0, first).is_empty() {
            break;
        }
    }
    let newer = patch(&mut world, 0, "1", "title", "changed again").unwrap();
    assert_eq!(world.ops[&newer].replaces.len(), 1);
    world.run_until_quiet();
    assert_eq!(field(&world, 0, "1", "title"), "changed again".into());
    world.assert_all_agree();
    assert!(world.stored(0).is_empty(), "{:?}", world.stored(0));
}

#[test]
fn a_mapping_that_storage_lost_is_asked_of_the_ledger_before_anything_is_sent() {
    let mut world = World::with_tabs(1);
    keep_from_sending(&mut world);
    let (first, temporary) = order(&mut world, 0, "first");
    let later = patch(&mut world, 0, &temporary, "title", "changed").unwrap();
    world.heal_network();
    while world.outcome(0, first).is_empty() {
        world.run_for(1);
    }
    world.kill_tab(0);
    lose_what_is_on_its_way(&mut world);
    world.storage[0].retain(|key, _| !key.contains(":id:"));
    let tab = world.open_tab("maya");
    world.run_until_quiet();
    assert_eq!(field(&world, tab, "1", "title"), "changed".into());
    assert_eq!(world.server.effects[&later], 1);
    world.assert_all_agree();
}

#[test]
fn what_nobody_can_resolve_is_sent_all_the_same_and_ends() {
    let mut world = World::with_tabs(1);
    world.server.takes_unknown_keys = true;
    keep_from_sending(&mut world);
    let (first, temporary) = order(&mut world, 0, "first");
    let later = patch(&mut world, 0, &temporary, "title", "changed").unwrap();
    world.kill_tab(0);
    world.storage[0].retain(|key, _| !key.ends_with(&first.to_string()));
    world.heal_network();
    let tab = world.open_tab("maya");
    world.run_until_quiet();
    assert_eq!(world.server.ledger[&later].2["code"], "not-found");
    assert!(orders(&world, tab).is_empty());
    assert!(world.stored(0).is_empty());
}

#[test]
fn the_echo_alone_is_the_mapping() {
    let mut world = World::with_tabs(1);
    world.faults.silent = true;
    world.checks = false;
    let (id, temporary) = order(&mut world, 0, "first");
    let later = patch(&mut world, 0, &temporary, "title", "changed").unwrap();
    world.run_for(20);
    let record = json!({"id": 77, "title": "first", "parent": null, "more": null});
    let row = json!({"table": "orders", "key": "77", "version": version(900), "op": id, "record": record});
    let event = ServerEvent::Changed { row: serde_json::from_value(row).unwrap(), partial: false };
    world.tell(0, Input::ServerChanged { events: vec![event] });
    assert_eq!(orders(&world, 0), ["77"]);
    assert_eq!(field(&world, 0, "77", "title"), "changed".into());
    assert_eq!(world.tabs[0].operations[&later].key, "77");
    assert_eq!(world.tabs[0].seen[&("orders".to_owned(), temporary)].last(), Some(&None));
}

#[test]
fn a_tab_that_joins_late_and_one_that_missed_everything_know_the_real_key() {
    let mut world = World::with_tabs(2);
    let (_, temporary) = order(&mut world, 1, "first");
    world.run_for(3);
    world.faults.lost_messages_percent = 100;
    world.run_for(100);
    world.faults.lost_messages_percent = 0;
    let late = world.open_tab("maya");
    world.run_until_quiet();
    world.run_for(70_000);
    for tab in [0, 1, late] {
        assert_eq!(orders(&world, tab), ["1"]);
    }
    assert_eq!(world.tabs[1].renamed.get(&temporary), Some(&"1".to_owned()));
    world.assert_all_agree();
}

#[test]
fn who_hears_only_that_an_inserted_record_is_gone_still_refers_to_it_in_the_type_of_its_key() {
    let mut world = World::with_tabs(2);
    keep_from_sending(&mut world);
    let (_, temporary) = order(&mut world, 0, "first");
    world.run_for(20);
    world.freeze(1);
    world.heal_network();
    world.run_for(2_000);
    world.tab(0).try_do(json!({"name": "delete", "table": "orders", "key": "1"})).unwrap();
    world.run_for(2_000);
    world.tabs[1].waiting.clear();
    world.thaw(1, false);
    world.cut_network();
    let command = json!({"name": "insert", "table": "orders", "set": {"title": "second", "parent": temporary}});
    world.faults.lost_messages_percent = 100;
    let second = world.tab(1).try_do(command).unwrap();
    world.faults.lost_messages_percent = 0;
    world.run_for(5_000);
    assert_eq!(field(&world, 1, &format!("~{second}"), "parent"), number(1));
    world.heal_network();
    world.run_until_quiet();
    assert_eq!(field(&world, 1, "2", "parent"), number(1));
    world.assert_all_agree();
}

#[test]
fn a_transaction_may_insert_a_record_without_a_key_beside_others() {
    for echo in [Echo::BeforeAnswer, Echo::AfterAnswer, Echo::Never] {
        let mut world = World::with_tabs(2);
        world.faults.echo = echo;
        let insert = json!({"name": "insert", "table": "orders", "set": {"title": "first"}});
        let patch_company = json!({"name": "patch", "table": "companies", "key": "c-1", "set": {"city": "Jena"}});
        let id = world.tab(1).transact(json!([patch_company, insert]));
        let temporary = format!("~{id}.1");
        assert_eq!(orders(&world, 1), std::slice::from_ref(&temporary));
        let later = patch(&mut world, 1, &temporary, "title", "changed").unwrap();
        assert_eq!(world.ops[&later].after, [id]);
        for _ in 0..200 {
            world.run_for(1);
            assert_eq!(orders(&world, 1).len(), 1);
            assert_eq!(world.tabs[1].field("c-1", "city"), "Jena".into());
        }
        world.run_until_quiet();
        assert_eq!(world.outcome(1, id), [OperationState::Confirmed]);
        for tab in 0..2 {
            assert_eq!(field(&world, tab, "1", "title"), "changed".into());
        }
        world.assert_all_agree();
        assert!(world.stored(0).is_empty());
    }
}

#[test]
fn what_can_not_have_a_temporary_key_is_refused_by_name() {
    let mut world = World::with_tabs(1);
    let insert = |table: &str, set: serde_json::Value| json!({"name": "insert", "table": table, "set": set});
    for (command, code) in [
        (insert("companies", json!({"name": "x"})), "missing-key"),
        (insert("orders", json!({"id": "~mine"})), "invalid-operation"),
        (insert("orders", json!({"id": null})), "missing-key"),
    ] {
        assert_eq!(world.tab(0).try_do(command).unwrap_err().code(), code);
    }
    let nameless = insert("orders", json!({"title": "x"}));
    let error = world.tab(0).try_transact(json!([nameless, nameless])).unwrap_err();
    assert_eq!(error.code(), "invalid-operation");
    world.tab(0).try_do(insert("orders", json!({"id": "mine"}))).unwrap();
    world.run_until_quiet();
    assert_eq!(orders(&world, 0), ["mine"]);
    let config = json!({"app": "a", "user": "u",
        "tables": [{"name": "t", "key": ["a", "b"], "fields": ["a", "b"], "temporaryKeys": true}]});
    let config = serde_json::from_value(config).unwrap();
    let made = rota_engine::Engine::<rota_engine::JsonRecord>::new(
        config,
        Box::new(rota_engine::Domains),
        [1; 16],
        rota_engine::Now::default(),
    );
    assert!(made.err().unwrap().to_string().contains("temporary keys"));
}

#[test]
fn an_alias_that_makes_no_sense_is_reported_and_harms_nothing() {
    let mut world = World::new();
    let id = "019aa5e3-f1c0-7a3b-9c1d-2e4f60718293";
    for (n, alias) in (0..).zip([
        json!({"table": "companies", "from": format!("~{id}"), "to": "1"}),
        json!({"table": "orders", "from": format!("~{id}.{}", 1), "to": null}),
        json!({"table": "orders", "from": "x", "to": "1"}),
    ]) {
        let key = format!("rota:1:crm:maya:id:{}", alias["from"].as_str().unwrap());
        world.storage[0].insert(key, json!({"v": 1, "alias": alias}).to_string());
        assert_eq!(world.storage[0].len(), n + 1);
    }
    world.storage[0].insert(format!("rota:1:crm:maya:id:~{id}.7"), json!({"v": 9, "alias": {}}).to_string());
    world.storage[0].insert(format!("rota:1:crm:maya:id:~{id}.8"), "no json".into());
    let tab = world.open_tab("maya");
    world.run_until_quiet();
    let problems = world.tabs[tab].problems.iter().map(|problem| &*problem.code).collect::<Vec<_>>();
    assert_eq!(problems.iter().filter(|code| **code == "malformed-alias").count(), 3);
    assert!(problems.contains(&"corrupt-entry"), "{problems:?}");
    assert!(world.stored(0).iter().any(|key| key.contains(":bad:")));
}

#[test]
fn a_deleted_record_that_had_a_temporary_key_comes_back_under_one_of_its_own() {
    for is_joint in [false, true] {
        let mut world = World::with_tabs(2);
        keep_from_sending(&mut world);
        let (_, temporary) = order(&mut world, 1, "first");
        let delete = json!({"name": "delete", "table": "orders", "key": temporary});
        let patch = json!({"name": "patch", "table": "companies", "key": "c-2", "set": {"city": "Kiel"}});
        let deleted =
            if is_joint { world.tab(1).transact(json!([delete, patch])) } else { world.tab(1).try_do(delete).unwrap() };
        let undo = world.tab(1).undo(deleted).unwrap().expect("the leader may have sent it");
        let own = if is_joint { format!("~{undo}.1") } else { format!("~{undo}") };
        assert_eq!(orders(&world, 1), std::slice::from_ref(&own));
        assert_eq!(field(&world, 1, &own, "id"), Value::from(&*own));
        world.heal_network();
        world.run_until_quiet();
        assert_eq!(world.outcome(1, undo), [OperationState::Confirmed]);
        assert_eq!(orders(&world, 1).len(), 1);
        world.assert_all_agree();
    }
}

#[test]
fn an_insert_that_was_done_is_seen_under_its_real_key_and_nothing_in_it_names_the_temporary_one() {
    let mut world = World::with_tabs(1);
    keep_from_sending(&mut world);
    let (_, temporary) = order(&mut world, 0, "first");
    let later = patch(&mut world, 0, &temporary, "title", "changed").unwrap();
    world.kill_tab(0);
    world.checks = false;
    // A tab has stored which key it is, and died before it deleted the insert.
    let alias = json!({"v": 1, "alias": {"table": "orders", "from": temporary, "to": 77}});
    world.storage[0].insert(format!("rota:1:crm:maya:id:{temporary}"), alias.to_string());
    let tab = world.open_tab("maya");
    world.run_for(50);
    assert_eq!(orders(&world, tab), ["77"]);
    assert_eq!((field(&world, tab, "77", "id"), field(&world, tab, "77", "title")), (number(77), "changed".into()));
    assert_eq!(world.tabs[tab].operations[&later].key, "77");
}

#[test]
fn an_insert_that_was_not_heard_of_is_looked_for_in_storage_before_what_names_its_record_is_sent() {
    let mut world = World::new();
    world.tab_protocol = json!(1);
    world.open_tab("maya");
    world.tab_protocol = json!(2);
    let tab = world.open_tab("maya");
    world.run_for(1_000);
    // A leader of the release before does not hear of transactions, and the server stops the test if it is sent a temporary key.
    let insert = json!({"name": "insert", "table": "orders", "set": {"title": "first"}});
    let city = json!({"name": "patch", "table": "companies", "key": "c-1", "set": {"city": "Kiel"}});
    let first = world.tab(tab).transact(json!([insert, city]));
    let later = patch(&mut world, tab, &format!("~{first}.0"), "title", "changed").unwrap();
    world.run_until_quiet();
    assert_eq!(world.server.applied, [first, later]);
    assert_eq!(field(&world, tab, "1", "title"), "changed".into());
    world.assert_all_agree();
}

#[test]
fn a_later_part_of_a_transaction_cannot_name_a_temporary_key_that_is_not_complete_yet() {
    let mut world = World::with_tabs(1);
    let insert = json!({"name": "insert", "table": "orders", "set": {"title": "first"}});
    for name in ["patch", "delete"] {
        let later = json!({"name": name, "table": "orders", "key": "~.0", "set": {"title": "changed"}});
        let refused = world.tab(0).try_transact(json!([insert, later]));
        assert_eq!(refused.unwrap_err().code(), "unknown-record", "{name}");
    }
    assert!(orders(&world, 0).is_empty());
}

#[test]
fn what_names_an_insert_waits_until_what_a_dying_tab_wrote_of_it_has_come_into_storage() {
    let mut world = World::with_tabs(2);
    keep_from_sending(&mut world);
    let (id, temporary) = order(&mut world, 0, "first");
    world.run_for(1);
    let amended = patch(&mut world, 1, &temporary, "title", "second").unwrap();
    // The tab dies while its database still writes.
    let key = world.storage[0].keys().find(|key| key.ends_with(&id.to_string())).unwrap().clone();
    let entry = world.storage[0].remove(&key).unwrap();
    world.kill_tab(0);
    world.run_for(100);
    assert_eq!(world.leader(), Some(1));
    world.storage[0].insert(key, entry);
    world.heal_network();
    world.tell(1, Input::Reconnect);
    world.run_until_quiet();
    assert_eq!(world.outcome(1, amended), [OperationState::Confirmed]);
    assert_eq!(world.server.effects[&id], 1);
    assert_eq!(orders(&world, 1).len(), 1);
    world.assert_all_agree();
}
