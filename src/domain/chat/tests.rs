use super::*;
use crate::domain::Domains;
use crate::domain::tests::World;
use crate::engine::record::JsonRecord;
use crate::engine::rules::Rules;

const NOW_MS: u64 = 1_763_715_600_000;

fn fields(json: serde_json::Value) -> Fields {
    serde_json::from_value(json).unwrap()
}

fn table(domain: serde_json::Value) -> TableConfig {
    let names = FIELDS.iter().map(|field| (*field).to_owned()).chain(["id".to_owned()]).collect();
    let mut table = TableConfig::new("chats".into(), vec!["id".into()], names);
    table.domain = fields(domain);
    table
}

fn chat(state: &str, operator: Option<&str>) -> JsonRecord {
    JsonRecord::create(&fields(serde_json::json!({
        "id": "1", "chat_state": state, "assigned_operator_id": operator, "last_operator_id": null, "operator_replied_at": null,
        "is_active": true, "created_at": "2025-11-21T08:00:00Z", "last_message_at": null, "assigned_at": null,
    })))
}

fn world() -> World {
    let mut world = World::new("maya", NOW_MS);
    world.add("operators", "maya", serde_json::json!({"id": "maya", "role": "operator"}));
    world.add("operators", "jonas", serde_json::json!({"id": "jonas", "role": "operator", "capacity": 2}));
    world.add("operators", "lena", serde_json::json!({"id": "lena", "role": "supervisor"}));
    world.add("operators", "tom", serde_json::json!({"id": "tom", "role": "supervisor", "is_active": false}));
    world
}

fn declaration() -> TableConfig {
    table(serde_json::json!({"kind": "chat", "operators": "operators"}))
}

fn intend_in(world: &World, name: &str, args: serde_json::Value, record: &JsonRecord) -> Result<Fields, Error> {
    world.ask(|context| Domains.intend(&declaration(), name, &fields(args), record, context))
}

fn code(result: Result<Fields, Error>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "done")
}

/// An operation with arguments that make sense for it.
fn args(name: &str) -> serde_json::Value {
    match name {
        "claim" | "request_next" => serde_json::json!({"operator": "maya"}),
        "release" => serde_json::json!({"reason": "shift ends"}),
        "transfer" => serde_json::json!({"to": "jonas"}),
        _ => serde_json::json!({}),
    }
}

#[test]
fn only_the_declared_transitions_exist_and_every_other_is_refused_by_name() {
    let mut world = world();
    world.user = "maya".into();
    let lead = |state: &str, name: &str| match (state, name) {
        ("assigned", "reply") => Some("waiting_real_user_reply"),
        ("waiting_assignment", "claim" | "request_next") | ("assigned", "transfer") => Some("assigned"),
        ("assigned", "release" | "unassign_chat")
        | ("waiting_assignment" | "assigned" | "waiting_real_user_reply", "user_message") => Some("waiting_assignment"),
        ("waiting_assignment" | "assigned" | "waiting_real_user_reply", "complete") => Some("completed"),
        _ => None,
    };
    // Nobody knows who is a supervisor, so the server decides about that.
    let config = table(serde_json::json!({"kind": "chat"}));
    for state in ["waiting_assignment", "assigned", "waiting_real_user_reply", "completed"] {
        let operator = (state == "assigned").then_some("maya");
        for name in NAMES {
            if operator.is_some() && matches!(name, "claim" | "request_next") {
                continue; // it came true already
            }
            let record = chat(state, operator);
            let set = world.ask(|context| Domains.intend(&config, name, &fields(args(name)), &record, context));
            match lead(state, name) {
                Some(next) => assert_eq!(set.unwrap()[CHAT_STATE], next.into(), "{state} {name}"),
                None => {
                    let error = set.unwrap_err();
                    assert_eq!(error.code(), "illegal-transition", "{state} {name}");
                    assert!(error.to_string().contains(state) && error.to_string().contains(name), "{error}");
                }
            }
        }
    }
}

#[test]
fn each_operation_sets_what_the_protocol_says_with_the_time_that_came_in() {
    let world = world();
    let now = Value::from("2025-11-21T09:00:00.000Z");
    let set = intend_in(&world, "claim", args("claim"), &chat("waiting_assignment", None)).unwrap();
    assert_eq!(
        set,
        Fields::from([
            ("assigned_at".to_owned(), now.clone()),
            ("assigned_operator_id".to_owned(), "maya".into()),
            ("chat_state".to_owned(), "assigned".into()),
            ("last_operator_id".to_owned(), "maya".into()),
        ])
    );
    let set = intend_in(&world, "reply", args("reply"), &chat("assigned", Some("maya"))).unwrap();
    assert_eq!(
        set,
        Fields::from([
            ("assigned_operator_id".to_owned(), Value::Null),
            ("chat_state".to_owned(), "waiting_real_user_reply".into()),
            ("last_message_at".to_owned(), now.clone()),
            ("operator_replied_at".to_owned(), now.clone()),
        ])
    );
    let set = intend_in(&world, "transfer", args("transfer"), &chat("assigned", Some("maya"))).unwrap();
    assert_eq!((&set["assigned_operator_id"], &set["last_operator_id"]), (&"jonas".into(), &"jonas".into()));
    let names = |name: &str, state: &str| -> Vec<String> {
        let set = intend_in(&world, name, args(name), &chat(state, Some("maya"))).unwrap();
        set.keys().cloned().collect()
    };
    assert_eq!(names("user_message", "assigned"), ["assigned_operator_id", "chat_state", "last_message_at"]);
    assert_eq!(names("release", "assigned"), ["assigned_operator_id", "chat_state"]);
    assert_eq!(names("complete", "assigned"), ["assigned_operator_id", "chat_state"]);
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let (world, open) = (world(), chat("assigned", Some("maya")));
    let long = "x".repeat(501);
    for (name, wrong) in [
        ("claim", serde_json::json!({})),
        ("claim", serde_json::json!({"operator": null})),
        ("claim", serde_json::json!({"operator": ""})),
        ("claim", serde_json::json!({"operator": "x".repeat(257)})),
        ("claim", serde_json::json!({"operator": "maya", "also": 1})),
        ("reply", serde_json::json!({"text": "hi"})),
        ("release", serde_json::json!({"reason": "  "})),
        ("release", serde_json::json!({"reason": long})),
        ("release", serde_json::json!({})),
        ("transfer", serde_json::json!({"to": 7})),
        ("close", serde_json::json!({})),
    ] {
        assert_eq!(code(intend_in(&world, name, wrong.clone(), &open)), "invalid-operation", "{name} {wrong}");
    }
    assert_eq!(code(intend_in(&world, "release", serde_json::json!({"reason": "é".repeat(500)}), &open)), "done");
}

#[test]
fn who_may_do_what_is_refused_here_where_it_is_known_and_left_to_the_server_where_not() {
    let mut world = world();
    let (own, theirs, waiting) =
        (chat("assigned", Some("maya")), chat("assigned", Some("jonas")), chat("waiting_assignment", None));
    for name in ["reply", "release", "transfer"] {
        let args = if name == "transfer" { serde_json::json!({"to": "lena"}) } else { args(name) };
        assert_eq!(code(intend_in(&world, name, args.clone(), &own)), "done", "{name}");
        assert_eq!(code(intend_in(&world, name, args, &theirs)), "forbidden", "{name}");
    }
    assert_eq!(code(intend_in(&world, "unassign_chat", args("unassign_chat"), &own)), "forbidden");
    assert_eq!(code(intend_in(&world, "claim", serde_json::json!({"operator": "jonas"}), &waiting)), "forbidden");
    world.user = "lena".into();
    assert_eq!(code(intend_in(&world, "unassign_chat", args("unassign_chat"), &own)), "done");
    assert_eq!(code(intend_in(&world, "claim", serde_json::json!({"operator": "jonas"}), &waiting)), "done");
    assert_eq!(code(intend_in(&world, "reply", args("reply"), &own)), "forbidden");
    world.user = "tom".into();
    assert_eq!(code(intend_in(&world, "unassign_chat", args("unassign_chat"), &own)), "forbidden", "not active");
    world.user = "a stranger to this tab".into();
    assert_eq!(code(intend_in(&world, "unassign_chat", args("unassign_chat"), &own)), "done");
}

#[test]
fn an_operator_gets_no_more_chats_than_they_may_have() {
    let mut world = world();
    let waiting = chat("waiting_assignment", None);
    assert_eq!(code(intend_in(&world, "claim", args("claim"), &waiting)), "done");
    world.add("chats", "2", serde_json::json!({"chat_state": "assigned", "assigned_operator_id": "maya"}));
    world.add("chats", "3", serde_json::json!({"chat_state": "waiting_real_user_reply", "assigned_operator_id": null}));
    world.add("chats", "4", serde_json::json!({"chat_state": "assigned", "assigned_operator_id": "jonas"}));
    assert_eq!(code(intend_in(&world, "claim", args("claim"), &waiting)), "capacity-exceeded");
    let own = chat("assigned", Some("maya"));
    assert_eq!(code(intend_in(&world, "transfer", args("transfer"), &own)), "done");
    world.add("chats", "5", serde_json::json!({"chat_state": "assigned", "assigned_operator_id": "jonas"}));
    assert_eq!(code(intend_in(&world, "transfer", args("transfer"), &own)), "capacity-exceeded");
    world.user = "lena".into();
    assert_eq!(code(intend_in(&world, "transfer", serde_json::json!({"to": "tom"}), &own)), "inactive");
}

#[test]
fn an_inactive_chat_is_not_handed_out() {
    let world = world();
    let inactive = chat("waiting_assignment", None).patched(&fields(serde_json::json!({"is_active": false})));
    assert_eq!(code(intend_in(&world, "claim", args("claim"), &inactive)), "inactive");
}

fn chosen(world: &World) -> Result<String, Error> {
    world.ask(|context| Domains.choose(&declaration(), "request_next", &fields(args("request_next")), context))
}

fn wait(world: &mut World, key: &str, created_at: &str, last: Option<&str>) {
    world.add(
        "chats",
        key,
        serde_json::json!({
            "chat_state": "waiting_assignment", "is_active": true, "created_at": created_at, "last_operator_id": last,
        }),
    );
}

#[test]
fn the_longest_waiting_chat_is_predicted_and_one_that_was_the_askers_last_only_when_no_other_waits() {
    let mut world = world();
    assert_eq!(chosen(&world).unwrap_err().code(), "queue-empty");
    wait(&mut world, "a", "2025-11-21T08:00:00Z", Some("maya"));
    assert_eq!(chosen(&world).unwrap(), "a");
    wait(&mut world, "c", "2025-11-21T08:02:00Z", Some("jonas"));
    wait(&mut world, "b", "2025-11-21T08:01:00Z", None);
    assert_eq!(chosen(&world).unwrap(), "b");
    world.add(
        "chats",
        "b",
        serde_json::json!({"chat_state": "waiting_assignment", "is_active": false, "created_at": "2025"}),
    );
    assert_eq!(chosen(&world).unwrap(), "c");
    world.add("chats", "z", serde_json::json!({"chat_state": "assigned", "assigned_operator_id": "maya"}));
    assert_eq!(chosen(&world).unwrap_err().code(), "capacity-exceeded");
}

fn step<'a>(name: &'a str, args: &'a Fields, set: &'a Fields, base: &'a Fields) -> Step<'a> {
    Step { name, table: "chats", key: "1", args, set, base }
}

#[test]
fn a_pending_operation_keeps_its_times_and_no_longer_applies_once_somebody_else_has_acted() {
    let world = world();
    let effect_on = |name: &str, seen: &JsonRecord, now_is: &JsonRecord| {
        let args = fields(args(name));
        let set = world.ask(|context| Domains.intend(&declaration(), name, &args, seen, context)).unwrap();
        let effect = Domains.effect(&declaration(), &step(name, &args, &set, seen.fields()), now_is);
        (effect, set)
    };
    let (waiting, own, theirs) =
        (chat("waiting_assignment", None), chat("assigned", Some("maya")), chat("assigned", Some("jonas")));
    let (effect, set) = effect_on("claim", &waiting, &waiting);
    assert_eq!(effect, Effect::Set(set));
    assert_eq!(effect_on("claim", &waiting, &theirs).0, Effect::DoesNotApply);
    assert_eq!(effect_on("claim", &waiting, &own).0, Effect::Set(Fields::new()), "it came true");
    assert_eq!(
        effect_on("release", &own, &theirs).0,
        Effect::DoesNotApply,
        "the chat of somebody else is another matter"
    );
    assert_eq!(effect_on("reply", &own, &waiting).0, Effect::DoesNotApply);
    assert_eq!(effect_on("complete", &own, &theirs).0, Effect::Set(effect_on("complete", &own, &own).1));
    assert_eq!(effect_on("user_message", &own, &chat("completed", None)).0, Effect::DoesNotApply);
}

#[test]
fn what_gives_an_operator_a_chat_waits_for_what_takes_one_from_them() {
    let taken_from = |who: &str| {
        (
            fields(serde_json::json!({CHAT_STATE: "assigned", OPERATOR: who})),
            Chat::read(&chat("waiting_assignment", None)).unwrap().fields(),
        )
    };
    let (base, set) = taken_from("maya");
    let (other_base, _) = taken_from("jonas");
    let (none, asks, claims) =
        (Fields::new(), fields(args("request_next")), fields(serde_json::json!({"operator": "jonas"})));
    let waits = |args: &Fields, name: &str, base: &Fields| {
        let (new, pending) = (step(name, args, &none, &none), step("reply", &none, &set, base));
        Rules::<JsonRecord>::waits_for(&Domains, &declaration(), &new, &pending)
    };
    assert!(waits(&asks, "request_next", &base));
    assert!(!waits(&asks, "request_next", &other_base));
    assert!(waits(&claims, "claim", &other_base));
    assert!(!waits(&none, "user_message", &base));
}

#[test]
fn what_is_the_operations_own_is_not_set_by_a_patch_and_a_chat_begins_by_waiting() {
    let world = world();
    let check = |name: &str, set: serde_json::Value| {
        let (set, none) = (fields(set), Fields::new());
        world.ask(|context| Domains.check(&declaration(), &step(name, &none, &set, &none), None, context)).is_ok()
    };
    assert!(check("patch", serde_json::json!({"is_active": false, "last_message_at": "2025-11-21T08:00:00Z"})));
    for own in OWN {
        assert!(!check("patch", serde_json::json!({own: null})), "{own}");
    }
    assert!(check("insert", serde_json::json!({"chat_state": "waiting_assignment", "assigned_operator_id": null})));
    assert!(check("insert", serde_json::json!({})));
    assert!(!check("insert", serde_json::json!({"chat_state": "assigned", "assigned_operator_id": "maya"})));
    assert!(!check("insert", serde_json::json!({"assigned_operator_id": "maya"})));
}

#[test]
fn a_declaration_that_cannot_work_is_refused() {
    let declare = |table: &mut TableConfig| Rules::<JsonRecord>::declare(&Domains, table).map(|lists| lists.len());
    let mut good = declaration();
    assert_eq!(declare(&mut good), Ok(2));
    assert_eq!(good.indexed, INDEXED, "what the lists need is indexed without being asked for");
    assert_eq!(declare(&mut good), Ok(2));
    assert_eq!(good.indexed, INDEXED);
    for domain in [
        serde_json::json!({"kind": "chess"}),
        serde_json::json!({"operators": "operators"}),
        serde_json::json!({"kind": "chat", "capacity": 0}),
        serde_json::json!({"kind": "chat", "capacity": 1.5}),
        serde_json::json!({"kind": "chat", "operators": 1}),
        serde_json::json!({"kind": "chat", "activity": ["operator_activity"]}),
        serde_json::json!({"kind": "chat", "colour": "red"}),
    ] {
        assert_eq!(declare(&mut table(domain.clone())).unwrap_err().code(), "invalid-configuration", "{domain}");
    }
    let mut bare = TableConfig::new("chats".into(), vec!["id".into()], vec!["id".into()]);
    bare.domain = fields(serde_json::json!({"kind": "chat"}));
    assert!(declare(&mut bare).unwrap_err().to_string().contains("chat_state"));
    let mut owned = declaration();
    owned.owner = Some("assigned_operator_id".into());
    assert!(declare(&mut owned).unwrap_err().to_string().contains("claimed"));
}

#[test]
fn an_operation_of_chats_is_refused_by_name_elsewhere_and_so_is_assigning_a_chat() {
    let world = world();
    let jobs = TableConfig::new("jobs".into(), vec!["id".into()], vec!["id".into()]);
    let record = chat("waiting_assignment", None);
    for name in NAMES {
        let error =
            world.ask(|context| Domains.intend(&jobs, name, &fields(args(name)), &record, context)).unwrap_err();
        assert!(error.to_string().contains("operation of chats"), "{error}");
    }
    assert_eq!(code(intend_in(&world, "assign", serde_json::json!({"to": "maya"}), &record)), "invalid-operation");
}

mod figures {
    use super::*;

    fn at(minutes: u64) -> String {
        instant::text(NOW_MS + minutes * 60_000)
    }

    #[test]
    fn an_assigned_chat_is_idle_after_five_silent_minutes_and_one_that_waits_for_the_user_never_is() {
        let assigned = chat("assigned", Some("maya")).patched(&fields(serde_json::json!({"assigned_at": at(0)})));
        let found = standing(&assigned, None).unwrap();
        assert!(!found.is_idle(NOW_MS + IDLE_MS - 1) && found.is_idle(NOW_MS + IDLE_MS));
        let active = standing(&assigned, Some(NOW_MS + 60_000)).unwrap();
        assert!(!active.is_idle(NOW_MS + IDLE_MS) && active.is_idle(NOW_MS + IDLE_MS + 60_000));
        let replied = chat("waiting_real_user_reply", None)
            .patched(&fields(serde_json::json!({"assigned_at": at(0), "operator_replied_at": at(1)})));
        assert!(!standing(&replied, None).unwrap().is_idle(u64::MAX));
        assert!(!standing(&chat("waiting_assignment", None), None).unwrap().is_idle(u64::MAX));
    }

    #[test]
    fn a_sign_of_life_is_of_the_operator_who_has_the_chat() {
        let assigned = chat("assigned", Some("maya")).patched(&fields(serde_json::json!({"assigned_at": at(0)})));
        let row = |chat: &str, operator: &str, minutes: u64| {
            let row = serde_json::json!({"chat_id": chat, "operator_id": operator, "last_activity_at": at(minutes)});
            JsonRecord::create(&fields(row))
        };
        let known = |rows: &[JsonRecord]| Activity::read(rows.iter()).of(&assigned);
        assert_eq!(known(&[row("1", "maya", 3), row("1", "jonas", 9), row("2", "maya", 9)]), Some(NOW_MS + 180_000));
        assert_eq!(known(&[row("1", "jonas", 9)]), None);
        let idle_at = |active| standing(&assigned, active).unwrap().idle_at_ms.unwrap();
        assert_eq!(idle_at(Some(NOW_MS - 60_000)), NOW_MS + IDLE_MS, "what was before the assignment does not count");
    }

    #[test]
    fn an_operator_says_that_they_are_at_work_in_a_chat_of_theirs_four_times_before_it_is_idle() {
        let code = |record: &JsonRecord| sign_of_life(record, "maya").map_or_else(|error| error.code(), |()| "fine");
        assert_eq!(code(&chat("assigned", Some("maya"))), "fine");
        assert_eq!(code(&chat("assigned", Some("jonas"))), "forbidden");
        assert_eq!(code(&chat("waiting_assignment", None)), "illegal-transition");
        assert!(is_sign_due(None, false, 0));
        assert!(!is_sign_due(Some(1_000), true, 75_999) && is_sign_due(Some(1_000), true, 76_000));
        assert!(!is_sign_due(Some(1_000), false, 5_999) && is_sign_due(Some(1_000), false, 6_000));
    }

    #[test]
    fn a_chat_has_been_in_its_state_since_that_changed_and_not_since_its_last_message_or_a_transfer() {
        let times = fields(serde_json::json!({
            "created_at": at(0), "assigned_at": at(20), "operator_replied_at": at(10), "last_message_at": at(40),
        }));
        for (state, operator, known, guessed) in [
            ("waiting_assignment", None, 5, 20),
            ("assigned", Some("maya"), 5, 20),
            ("waiting_real_user_reply", None, 5, 10),
            ("completed", None, 5, 20),
        ] {
            let guess = chat(state, operator).patched(&times);
            assert_eq!(standing(&guess, None).unwrap().since_ms, Some(NOW_MS + guessed * 60_000), "{state}");
            let told = guess.patched(&fields(serde_json::json!({"state_changed_at": at(known)})));
            assert_eq!(standing(&told, None).unwrap().since_ms, Some(NOW_MS + known * 60_000), "{state}");
        }
    }

    #[test]
    fn a_table_that_declares_when_states_change_has_it_predicted_where_they_do() {
        let mut declared = declaration();
        let set = |declared: &TableConfig, name: &str, record: &JsonRecord| {
            let intend = |context: &Context<'_, JsonRecord>| {
                Domains.intend(declared, name, &fields(args(name)), record, context)
            };
            world().ask(intend).unwrap().remove(STATE_CHANGED_AT)
        };
        let (waiting, mine) = (chat("waiting_assignment", None), chat("assigned", Some("maya")));
        assert_eq!(set(&declared, "claim", &waiting), None);
        declared.fields.push(STATE_CHANGED_AT.to_owned());
        assert_eq!(set(&declared, "claim", &waiting), Some(Value::from(instant::text(NOW_MS).as_str())));
        assert_eq!(set(&declared, "transfer", &mine), None);
        assert_eq!(set(&declared, "user_message", &waiting), None);
        assert!(set(&declared, "user_message", &mine).is_some());
    }

    #[test]
    fn a_chat_is_stuck_once_it_has_been_in_its_state_for_more_than_so_many_hours() {
        let assigned = chat("assigned", Some("maya")).patched(&fields(serde_json::json!({"assigned_at": at(0)})));
        let found = standing(&assigned, None).unwrap();
        assert!(!found.is_stuck(NOW_MS + HOURS, 1) && found.is_stuck(NOW_MS + HOURS + 1, 1));
        assert!(!found.is_stuck(NOW_MS + HOURS + 1, u64::MAX));
        assert!(!standing(&chat("completed", None), None).unwrap().is_stuck(u64::MAX, 1));
    }

    const HOURS: u64 = 3_600_000;

    #[test]
    fn waits_count_those_who_can_be_handed_out() {
        let waiting = |minutes: u64| {
            chat("waiting_assignment", None)
                .patched(&fields(serde_json::json!({"created_at": at(minutes), "last_message_at": at(9)})))
        };
        let inactive = waiting(0).patched(&fields(serde_json::json!({"is_active": false})));
        let chats = [waiting(0), waiting(4), inactive, chat("assigned", Some("maya"))];
        let found = waits(chats.iter(), NOW_MS + 10 * 60_000);
        assert_eq!(found, Waits { count: 2, longest_ms: 600_000, average_ms: 480_000 });
        assert_eq!(waits::<JsonRecord>([].iter(), 0), Waits::default());
    }

    #[test]
    fn repeated_assignments_and_the_last_day_of_each_operator_are_found() {
        let row = |chat: &str, operator: &str, minutes: u64, is_released: bool| {
            let released = if is_released { Value::from(at(minutes).as_str()) } else { Value::Null };
            JsonRecord::create(&Fields::from([
                ("chat_id".to_owned(), chat.into()),
                ("operator_id".to_owned(), operator.into()),
                ("assigned_at".to_owned(), at(minutes).as_str().into()),
                ("released_at".to_owned(), released),
            ]))
        };
        let mut rows: Vec<JsonRecord> = (0..4).map(|n| row("a", "maya", n, true)).collect();
        rows.extend((0..5).map(|n| row("b", "jonas", n, true)));
        rows.extend((0..3).map(|n| row("c", "maya", n, false)));
        let found = repeated(rows.iter(), 3);
        assert_eq!(found.iter().map(|r| (r.chat.as_str(), r.count)).collect::<Vec<_>>(), [("b", 5), ("a", 4)]);
        let today = history(rows.iter(), NOW_MS + 2 * 60_000);
        assert_eq!(today["maya"], Operators { total: 7, completed: 4, active: 3 });
        let later = history(rows.iter(), NOW_MS + 24 * HOURS + 2 * 60_000);
        assert_eq!(later["maya"], Operators { total: 1, completed: 1, active: 0 }, "a day ago is too long ago");
    }

    #[test]
    fn the_lists_of_a_table_are_views_like_any_other() {
        let [states, queue] = summary(&declaration()).unwrap();
        assert_eq!((states.group_by, states.limit), (vec![CHAT_STATE.to_owned()], Some(0)));
        assert_eq!((queue.sort[0].field.as_str(), queue.limit), (CREATED_AT, None));
    }
}
