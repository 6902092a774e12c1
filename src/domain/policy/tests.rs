use serde_json::{Value as Json, json};

use super::*;
use crate::domain::Domains;
use crate::domain::tests::World;
use crate::engine::record::JsonRecord;
use crate::engine::rules::Rules;
use crate::engine::table::TableConfig;

const DECLARATION: &str = include_str!("../../../tests/fixtures/policy/declaration.json");
const SQL: &str = include_str!("../../../tests/fixtures/policy/policy.sql");
const CASES: &str = include_str!("../../../tests/fixtures/policy/cases.json");

fn declaration() -> Value {
    serde_json::from_str(DECLARATION).unwrap()
}

fn fields(json: Json) -> Fields {
    serde_json::from_value(json).unwrap()
}

fn world() -> World {
    let mut world = World::new("maya", 0);
    world.facts.insert("policy:companies".into(), declaration());
    for (id, role, department) in [
        ("ada", Some("admin"), None),
        ("lee", Some("lead"), Some("north")),
        ("maya", Some("agent"), Some("north")),
        ("jonas", Some("agent"), Some("south")),
        ("guest", None, Some("north")),
        ("neil", Some("o'neil \\ \"sons\""), Some("")),
        ("gone", Some("agent"), Some("north")),
    ] {
        world.add("people", id, json!({"id": id, "role": role, "department": department, "here": id != "gone"}));
    }
    world
}

/// `to`: whom it is given to, by an argument; by a patch, in its field.
fn decide(world: &World, action: &str, record: &Json, to: Option<&str>) -> Result<(), Error> {
    let none = Fields::new();
    let set = match (action, to) {
        (name::INSERT, _) => fields(record.clone()),
        (name::PATCH, Some(to)) => fields(json!({"owner_id": to})),
        _ => Fields::new(),
    };
    let args = to.filter(|_| action != name::PATCH).map_or_else(Fields::new, |to| fields(json!({"to": to})));
    let step = Step { name: action, table: "companies", key: "c-1", args: &args, set: &set, base: &none };
    let row = (action != name::INSERT).then(|| JsonRecord::create(&fields(record.clone())));
    world.ask(|context| can(&step, row.as_ref(), context))
}

/// Every person, action, record and target, with what `can` says: null, or why not. The server's tests read the same list.
fn cases() -> Json {
    let mut world = world();
    let mut all = Vec::new();
    for person in ["ada", "lee", "maya", "jonas", "guest", "neil", "gone"] {
        world.user = person.into();
        for action in ["insert", "patch", "delete", "assign", "archive o'clock", "transfer"] {
            for owner in [None, Some("maya"), Some("jonas"), Some("gone")] {
                for department in [None, Some("north"), Some("south")] {
                    let targets: &[Option<&str>] = match action {
                        "assign" | "patch" => &[None, Some("maya"), Some("jonas"), Some("ada"), Some("gone")],
                        _ => &[None],
                    };
                    for to in targets {
                        let record = json!({"owner_id": owner, "department": department});
                        let why = decide(&world, action, &record, *to).err();
                        let why = why.map(|error| json!({"code": error.code(), "message": error.to_string()}));
                        all.push(json!([person, action, owner, department, to, why]));
                    }
                }
            }
        }
    }
    json!(all)
}

#[test]
fn the_answers_to_all_combinations_are_those_that_the_servers_tests_read() {
    let written: Json = serde_json::from_str(CASES).unwrap();
    assert_eq!(cases(), written);
}

#[test]
fn the_sql_is_that_which_the_servers_tests_run() {
    assert_eq!(policy_sql(&declaration()).unwrap(), SQL);
}

#[test]
fn a_refusal_says_what_is_missing() {
    let mut world = world();
    let of = |owner: &str, department: &str| json!({"owner_id": owner, "department": department});
    let why = |world: &World, action: &str, record: &Json, to: Option<&str>| {
        decide(world, action, record, to).unwrap_err().to_string()
    };
    assert_eq!(decide(&world, "patch", &of("maya", "south"), None), Ok(()));
    assert_eq!(
        why(&world, "patch", &of("jonas", "south"), None),
        "patch in companies is for records that are anybody's or one's department's or one's own only"
    );
    assert_eq!(why(&world, "delete", &of("maya", "north"), None), "delete in companies takes the role admin only");
    assert_eq!(why(&world, "transfer", &of("maya", "north"), None), "nobody may transfer in companies");
    world.user = "lee".into();
    assert_eq!(
        why(&world, "assign", &of("maya", "north"), Some("jonas")),
        "assign in companies is to anyone or people of the record's department or oneself only"
    );
    assert_eq!(decide(&world, "assign", &of("maya", "north"), Some("nobody known here")), Ok(()), "the server knows");
    assert_eq!(decide(&world, "assign", &of("maya", "north"), Some("jonas")).unwrap_err().code(), "forbidden");
}

#[test]
fn whoever_patches_the_owner_needs_what_assigning_needs() {
    let mut world = world();
    let of = |owner: &str, department: &str| json!({"owner_id": owner, "department": department});
    world.user = "lee".into();
    assert_eq!(decide(&world, "patch", &of("maya", "north"), Some("maya")), Ok(()), "it stays with its owner");
    assert_eq!(decide(&world, "patch", &of("jonas", "north"), Some("maya")), Ok(()));
    let refused = decide(&world, "patch", &of("maya", "north"), Some("jonas")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "assign in companies is to anyone or people of the record's department or oneself only"
    );
}

#[test]
fn who_is_no_longer_active_does_nothing_and_is_given_nothing() {
    let mut world = world();
    world.user = "ada".into();
    let record = json!({"owner_id": "jonas", "department": "south"});
    let refused = decide(&world, "assign", &record, Some("gone")).unwrap_err();
    assert_eq!((refused.code(), refused.to_string().as_str()), ("inactive", "gone is not active"));
    assert_eq!(decide(&world, "patch", &json!({"owner_id": "gone"}), Some("gone")), Ok(()), "nobody is given anything");
    world.user = "gone".into();
    assert_eq!(decide(&world, "patch", &json!({"owner_id": "gone"}), None).unwrap_err().code(), "inactive");
}

#[test]
fn what_is_not_known_here_is_left_to_the_server() {
    let mut world = world();
    let record = json!({"owner_id": "jonas", "department": "south"});
    world.user = "a stranger to this tab".into();
    assert_eq!(decide(&world, "delete", &record, None), Ok(()));
    world.user = "maya".into();
    world.facts = Fields::new();
    assert_eq!(decide(&world, "delete", &record, None), Ok(()));
}

#[test]
fn a_role_that_changes_counts_at_once() {
    let mut world = world();
    let record = json!({"owner_id": "jonas", "department": "south"});
    assert!(decide(&world, "delete", &record, None).is_err());
    world.add("people", "maya", json!({"id": "maya", "role": "admin", "here": true}));
    assert_eq!(decide(&world, "delete", &record, None), Ok(()));
}

#[test]
fn the_engine_asks_the_policy_before_anything_else() {
    let world = world();
    let mut companies = TableConfig::new("companies".into(), vec!["id".into()], vec!["id".into(), "owner_id".into()]);
    companies.owner = Some("owner_id".into());
    let record = JsonRecord::create(&fields(json!({"id": "c-1", "owner_id": "jonas"})));
    let assign = |to: &str| {
        world.ask(|context| Domains.intend(&companies, "assign", &fields(json!({"to": to})), &record, context))
    };
    assert_eq!(assign("maya").unwrap_err().code(), "forbidden");
    let none = Fields::new();
    let step = Step { name: "delete", table: "companies", key: "c-1", args: &none, set: &none, base: &none };
    let checked = world.ask(|context| Domains.check(&companies, &step, Some(&record), context));
    assert_eq!(checked.unwrap_err().code(), "forbidden");
}

#[test]
fn a_declaration_that_cannot_work_is_refused() {
    let with = |path: &str, value: Json| {
        let mut declared: Json = serde_json::from_str(DECLARATION).unwrap();
        *declared.pointer_mut(path).unwrap() = value;
        serde_json::from_value::<Value>(declared).unwrap()
    };
    for (path, value) in [
        ("", json!(null)),
        ("/table", json!(7)),
        ("/table", json!("")),
        ("/table", json!("a\u{0}b")),
        ("/table", json!("x".repeat(64))),
        ("/owner", json!(null)),
        ("/department", json!(null)),
        ("/people", json!({})),
        ("/people/department", json!(null)),
        ("/rules", json!({})),
        ("/rules", json!(vec![json!({"actions": ["read"]}); 257])),
        ("/rules/0", json!({})),
        ("/rules/0/actions", json!([])),
        ("/rules/0/actions", json!([1])),
        ("/rules/1/roles", json!("admin")),
        ("/rules/2/scope", json!("world")),
        ("/rules/5/to", json!("own")),
        ("/rules/0", json!({"actions": ["read"], "role": "admin"})),
    ] {
        let error = Policy::read(&with(path, value.clone())).unwrap_err();
        assert_eq!(error.code(), "invalid-configuration", "{path} {value}");
    }
    let told = |name: &str| Rules::<JsonRecord>::check_fact(&Domains, name, &declaration());
    assert_eq!(told("policy:companies"), Ok(()));
    assert_eq!(told("policy:jobs").unwrap_err().code(), "invalid-configuration");
}

#[test]
fn what_is_wrong_with_a_declaration_is_said_with_its_place_and_what_there_is() {
    let people = json!({"table": "people", "department": "department"});
    let base = json!({"table": "companies", "owner": "owner_id", "people": people, "rules": []});
    let said = |changes: Json| {
        let mut declared = base.clone();
        declared.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        policy_sql(&serde_json::from_value(declared).unwrap()).unwrap_err().to_string()
    };
    let read = json!({"actions": ["read"]});
    for (changes, words) in [
        (json!({"tabel": "x"}), "a policy does not know \"tabel\", only table, owner, department, people, rules"),
        (json!({"table": null}), "a policy lacks \"table\""),
        (json!({"people": "people"}), "a policy says in \"people\", an object, where they are"),
        (json!({"people": {"key": "id"}}), "a policy lacks \"table\" (people)"),
        (json!({"people": {"table": 7}}), "a policy has \"table\" that is no name of 1 to 63 bytes (people)"),
        (json!({"rules": [read, {"actions": "read"}]}), "a policy has \"actions\" that is no list (rules[1])"),
        (
            json!({"rules": [{"action": ["read"]}]}),
            "a policy does not know \"action\", only actions, roles, scope, to (rules[0])",
        ),
        (
            json!({"rules": [read, read, {"actions": ["patch"], "scope": "team"}]}),
            "a policy has a rule with \"scope\" that is none of any, own, unowned, department (rules[2])",
        ),
    ] {
        assert_eq!(said(changes.clone()), words, "{changes}");
    }
}

#[test]
fn what_an_engine_cannot_be_told_has_no_sql() {
    let rule = json!({"actions": vec!["x".repeat(63); 64]});
    let declared = json!({"table": "companies", "people": {"table": "people"}, "rules": vec![rule; 64]});
    let error = policy_sql(&serde_json::from_value(declared).unwrap()).unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), ("invalid-operation", "a policy has at most 262144 bytes"));
}

#[test]
fn whatever_names_hold_stays_a_name_in_the_sql() {
    let hostile = "a\"b'; $rota$; drop table x; --\\";
    let declared = json!({
        "table": hostile, "owner": hostile, "people": {"table": hostile, "role": hostile},
        "rules": [{"actions": [hostile], "roles": [hostile], "scope": "own"}],
    });
    let sql = policy_sql(&serde_json::from_value(declared).unwrap()).unwrap();
    // With everything that is quoted taken away, nothing of it is left.
    let mut left = String::new();
    let mut quote = None;
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            None if c == '"' || c == '\'' => quote = Some(c),
            None => left.push(c),
            Some('\'') if c == '\\' => drop(chars.next()),
            Some(open) if c == open && chars.peek() == Some(&open) => drop(chars.next()),
            Some(open) if c == open => quote = None,
            Some(_) => {}
        }
    }
    assert_eq!(sql.matches("$_rota$").count(), 4, "the marks of the bodies are not in them");
    assert!(quote.is_none() && !left.contains("drop table x"), "{left}");
}
