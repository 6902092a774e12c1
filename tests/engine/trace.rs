//! A recorded run does the same again, byte for byte, and holds nothing secret.

use rota_engine::{Domains, Input, JsonRecord, TRACE_MAX, Trace, Unsent, replay};
use serde_json::json;

use crate::world::World;

/// A busy hour of two tabs, with most of what can happen.
fn busy(mut world: World) -> World {
    world.tracing = true;
    (world.recorded, world.faults.doubled_percent, world.faults.lost_messages_percent) = (TRACE_MAX, 20, 10);
    world.open_tab("maya");
    world.open_tab("maya");
    world.run_for(1_000);
    world.tab(0).patch("c-1", "city", "Kiel");
    world.tab(1).assign("c-2", "worker-7");
    world.run_for(40);
    world.sql_update("c-2", "city", "Jena");
    world.sql_update("c-3", "owner_id", "worker-8");
    world.cut_network();
    world.tab(1).assign("c-3", "worker-9");
    world.tab(0).insert("c-9");
    world.run_for(20_000);
    world.heal_network();
    world.run_until_quiet();
    world.server.refused.insert("c-4".into());
    world.tab(1).patch("c-4", "city", "Jena");
    world.sql_delete("c-5");
    world.tell(0, Input::RightsChanged);
    world.run_until_quiet();
    world
}

/// The trace of a tab as it is exported, and what its replay asks for.
fn exported(world: &World, tab: usize) -> (String, Vec<String>) {
    let text = serde_json::to_string(&world.tabs[tab].engine.trace().unwrap()).unwrap();
    let trace: Trace<JsonRecord> = serde_json::from_str(&text).unwrap();
    let outputs = replay(trace, Box::new(Domains)).unwrap();
    (text, outputs.iter().map(|output| serde_json::to_string(output).unwrap()).collect())
}

#[test]
fn a_trace_replays_to_the_same_outputs_byte_for_byte() {
    let world = busy(World::new());
    for tab in 0..2 {
        let (_, outputs) = exported(&world, tab);
        assert!(outputs.len() > 50);
        assert_eq!(outputs, world.tabs[tab].trace);
    }
}

#[test]
fn a_trace_holds_no_secret_and_replays_to_the_same_outputs_with_the_secrets_replaced() {
    let mut world = World::new();
    world.tables["companies"] = json!({"secret": ["city", "owner_id"]});
    let world = busy(world);
    let mut secrets = ["Bremen", "Kiel", "Jena", "worker-7", "worker-8", "worker-9"];
    secrets.sort_unstable();
    for tab in 0..2 {
        let (text, outputs) = exported(&world, tab);
        let seen: Vec<&str> = secrets
            .into_iter()
            .filter(|secret| world.tabs[tab].inputs.iter().any(|(input, _)| input.contains(secret)))
            .collect();
        assert!(seen.len() >= 5, "{seen:?}");
        for secret in &seen {
            assert!(!text.contains(secret), "{secret} is in the trace of tab {tab}");
        }
        let hidden = |output: &String| {
            seen.iter()
                .enumerate()
                .fold(output.clone(), |text, (rank, secret)| text.replace(secret, &format!("secret-{rank:06}")))
        };
        assert_eq!(outputs, world.tabs[tab].trace.iter().map(hidden).collect::<Vec<_>>());
    }
}

#[test]
fn a_secret_within_a_message_of_the_servers_is_hidden_too() {
    let mut world = World::new();
    world.tables["companies"] = json!({"secret": ["city"]});
    world.recorded = TRACE_MAX;
    world.open_tab("maya");
    world.run_for(500);
    world.tell(0, Input::TokenRefused { message: "nobody in Bremen may do this".into() });
    let (text, outputs) = exported(&world, 0);
    assert!(!text.contains("Bremen") && !outputs.concat().contains("Bremen"));
    assert!(text.contains("nobody in secret-000000 may"));
}

#[test]
fn what_a_view_filters_by_is_as_secret_as_the_field() {
    let mut world = World::new();
    world.tables["companies"] = json!({"secret": ["city"], "indexed": ["city"]});
    (world.recorded, world.tracing) = (TRACE_MAX, true);
    world.open_tab("maya");
    world.run_for(500);
    let filter =
        json!({"or": [{"eq": {"field": "city", "value": "Bremen"}}, {"in": {"field": "city", "values": ["Ulm"]}}]});
    let spec = serde_json::from_value(json!({"table": "companies", "filter": filter})).unwrap();
    world.open_view(0, 1, &spec);
    let (text, outputs) = exported(&world, 0);
    assert!(!text.contains("Bremen") && !text.contains("Ulm"));
    assert_eq!(outputs.len(), world.tabs[0].trace.len());
    let hidden = world.tabs[0].trace.last().unwrap().replace("Bremen", "secret-000000");
    assert_eq!(*outputs.last().unwrap(), hidden, "it shows the same records");
}

#[test]
fn a_trace_that_lost_its_beginning_says_so_and_is_not_replayed() {
    let mut world = World::new();
    world.recorded = 10;
    world.open_tab("maya");
    world.run_for(10_000);
    let trace = world.tabs[0].engine.trace().unwrap();
    assert_eq!(trace.inputs.len(), 10);
    assert!(trace.dropped > 0);
    let error = replay(trace, Box::new(Domains)).unwrap_err();
    assert_eq!(error.code(), "incomplete-trace");
}

#[test]
fn nothing_is_recorded_unless_asked_for_nor_kept_after_a_logout_nor_beyond_the_bound() {
    let mut world = World::with_tabs(1);
    assert_eq!(world.tabs[0].engine.trace(), None);
    world.recorded = 100;
    let tab = world.open_tab("jonas");
    world.run_for(500);
    assert!(!world.tabs[tab].engine.trace().unwrap().inputs.is_empty());
    world.tell(tab, Input::Logout { unsent: Some(Unsent::Discard) });
    assert_eq!(world.tabs[tab].engine.trace(), None);
    world.recorded = TRACE_MAX + 1;
    assert_eq!(world.try_open("ada").unwrap_err().code(), "invalid-configuration");
}
