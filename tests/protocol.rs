//! Every fixture of the protocol is read by the type it is for and written back as it was; what is spoilt is an error.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a broken assumption stops a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::Path;

use rota_engine::{
    Answer, Cover, Gone, JsonRecord, Operation, OperationId, PullRequest, StoredAlias, StoredOperation, TabMessage,
    Version,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

fn fixtures() -> BTreeMap<String, Json> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/protocol");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    };
    std::fs::read_dir(folder).unwrap().map(read).collect()
}

/// Reads as one type and writes back.
fn pass<T: DeserializeOwned + Serialize + Debug>(json: &Json) -> Result<Json, String> {
    let read: T = serde_json::from_value(json.clone()).map_err(|error| error.to_string())?;
    serde_json::to_value(read).map_err(|error| error.to_string())
}

/// Reads what is no type of the engine's through the pieces that are.
fn pass_pull_response(json: &Json) -> Result<Json, String> {
    let settled = pass::<Vec<Answer<JsonRecord>>>(&json["settled"])?;
    let gone = pass::<Vec<Gone>>(&json["gone"])?;
    let mut records = json!({});
    for (table, rows) in json["records"].as_object().ok_or("no records")? {
        records[table] = rows.as_array().ok_or("no rows")?.iter().map(pass_row).collect::<Result<Json, String>>()?;
    }
    let cursor = pass::<Option<String>>(&json["cursor"])?;
    let (protocol, whole) = (pass::<u32>(&json["protocol"])?, pass::<bool>(&json["whole"])?);
    let mut read = json!({"protocol": protocol, "cursor": cursor, "whole": whole, "records": records, "gone": gone, "settled": settled});
    if let Some(covers) = json.get("covers") {
        read["covers"] = pass::<Vec<Cover>>(covers)?;
    }
    if let Some(at_ms) = json.get("atMs") {
        read["atMs"] = json!(pass::<u64>(at_ms)?);
    }
    if let Some(next) = json.get("next") {
        read["next"] = pass::<String>(next)?;
    }
    Ok(read)
}

fn pass_row(row: &Json) -> Result<Json, String> {
    pass::<Version>(&row["rota_version"])?;
    pass::<Option<OperationId>>(&row["rota_op"])?;
    pass::<JsonRecord>(row)
}

fn pass_stored_record(json: &Json) -> Result<Json, String> {
    let (v, version) = (pass::<u32>(&json["v"])?, pass::<Version>(&json["version"])?);
    Ok(json!({"v": v, "version": version, "record": pass_row(&json["record"])?}))
}

type Pass = fn(&Json) -> Result<Json, String>;

/// Which type reads a fixture; a fixture that none reads stops the tests.
fn reader(name: &str) -> Pass {
    match name.split('.').next().unwrap() {
        "operation" => pass::<Operation>,
        "answer" => pass::<Answer<JsonRecord>>,
        "pull-request" => pass::<PullRequest>,
        "pull-response" => pass_pull_response,
        "stored" if name.starts_with("stored.operation-") => pass::<StoredOperation>,
        "stored" if name == "stored.alias.json" => pass::<StoredAlias>,
        "stored" if name == "stored.record.json" => pass_stored_record,
        "tab" => pass::<TabMessage<JsonRecord>>,
        _ => panic!("no test reads {name}"),
    }
}

#[test]
fn every_fixture_is_read_and_written_back_as_it_was() {
    let fixtures = fixtures();
    assert!(fixtures.len() >= 30, "fixtures are missing");
    for (name, json) in fixtures {
        assert_eq!(reader(&name)(&json).as_ref(), Ok(&json), "{name}");
    }
}

/// The members that may be missing: where a reader has a default, or where the kind of a message decides.
fn is_optional(name: &str, member: &str) -> bool {
    let optional: &[&str] = match name.split('.').next().unwrap() {
        // A null and a missing base version, or cursor, mean the same.
        "operation" => &["baseVersion", "parts", "replaces", "rebased", "decision"],
        "answer" => &["code", "message", "fields", "afterMs", "version", "record", "records", "chosen", "winner"],
        "pull-request" => &["cursor", "keys", "page"],
        "pull-response" => &["cursor", "covers", "next", "atMs"],
        "tab" => &[
            "pending",
            "link",
            "state",
            "to",
            "cursor",
            "records",
            "tables",
            "operations",
            "aliases",
            "op",
            "answer",
            "id",
            "outcome",
            "code",
            "message",
            "rebased",
            "decision",
            "atMs",
            "active",
            "visible",
            "peers",
        ],
        _ => &[],
    };
    optional.contains(&member)
}

#[test]
fn a_fixture_without_a_required_member_is_an_error() {
    for (name, json) in fixtures() {
        for member in json.as_object().unwrap().keys() {
            let mut spoilt = json.clone();
            spoilt.as_object_mut().unwrap().remove(member);
            let outcome = reader(&name)(&spoilt);
            assert_eq!(outcome.is_err(), !is_optional(&name, member), "{name} without {member}: {outcome:?}");
        }
    }
}

#[test]
fn a_fixture_with_a_member_of_another_type_is_an_error() {
    for (name, json) in fixtures() {
        for (member, value) in json.as_object().unwrap() {
            let others = [json!(-1.5), json!(true), json!("☃"), json!([[]]), json!({"☃": 1})];
            let same = |other: &Json| std::mem::discriminant(other) == std::mem::discriminant(value);
            // A nullable member that is null here may as well be text; a record may be any object.
            let may_be = |other: &Json| same(other) || (value.is_null() && (other.is_string() || other.is_object()));
            for other in others.iter().filter(|other| !may_be(other)) {
                let mut spoilt = json.clone();
                spoilt[member] = other.clone();
                assert!(reader(&name)(&spoilt).is_err(), "{name} took {other} as {member}");
            }
        }
    }
}

#[test]
fn identities_versions_and_times_that_are_not_are_errors() {
    let all = fixtures();
    for (fixture, member, wrong) in [
        ("operation.assign.json", "id", "019AA5E3-F1C0-7A3B-9C1D-2E4F60718293"),
        ("operation.assign.json", "baseVersion", ""),
        ("operation.assign.json", "hlc", "019aa5e3f1c0"),
        ("answer.confirmed.json", "version", ""),
        ("answer.confirmed.json", "outcome", "done"),
        ("tab.beat.json", "kind", "boo"),
        ("tab.beat-degraded.json", "state", "asleep"),
        ("tab.settled-local.json", "outcome", "lost"),
    ] {
        let mut spoilt = all[fixture].clone();
        spoilt[member] = json!(wrong);
        assert!(reader(fixture)(&spoilt).is_err(), "{fixture} took {wrong} as {member}");
    }
}

#[test]
fn a_decision_that_cannot_be_read_is_an_error() {
    let all = fixtures();
    for (member, wrong) in [("decided", json!("guessed")), ("atMs", json!(-1)), ("fields", json!([{"field": "tags"}]))]
    {
        let mut spoilt = all["operation.patch-decided.json"].clone();
        spoilt["decision"][member] = wrong;
        assert!(reader("operation.patch-decided.json")(&spoilt).is_err(), "{member}");
    }
    let mut spoilt = all["tab.settled-decided.json"].clone();
    spoilt["decision"]["fields"][0]["rule"] = json!("newest");
    assert!(reader("tab.settled-decided.json")(&spoilt).is_err());
}

#[test]
fn members_that_are_not_known_are_ignored() {
    for (name, json) in
        fixtures().into_iter().filter(|(name, _)| !name.starts_with("pull-response") && name != "stored.record.json")
    {
        let mut more = json.clone();
        more["ofALaterRelease"] = json!({"any": ["thing"]});
        assert_eq!(reader(&name)(&more), Ok(json), "{name}");
    }
}

#[test]
fn every_kind_outcome_and_name_has_a_fixture() {
    let all = fixtures();
    let of = |prefix: &str, member: &str| -> BTreeSet<String> {
        let of_prefix = all.iter().filter(|(name, _)| name.starts_with(prefix));
        of_prefix.map(|(_, json)| json[member].as_str().unwrap().to_owned()).collect()
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
    let operations = ["assign", "claim", "delete", "insert", "patch", "release", "request_next", "transaction"];
    assert_eq!(of("operation.", "name"), names(&operations));
    assert_eq!(of("answer.", "outcome"), names(&["confirmed", "conflicted", "refused", "retry"]));
    let kinds = [
        "alive",
        "attention",
        "beat",
        "bye",
        "cancel",
        "changes",
        "hello",
        "operation",
        "ping",
        "pong",
        "presence",
        "reconnect",
        "rightsChanged",
        "settled",
        "signedOut",
        "snapshot",
        "token",
    ];
    assert_eq!(of("tab.", "kind"), names(&kinds));
}

#[test]
fn a_part_or_a_told_record_that_lacks_a_member_is_an_error() {
    let all = fixtures();
    for (fixture, list, optional) in [
        ("operation.transaction.json", "parts", &["baseVersion"][..]),
        ("answer.confirmed-transaction.json", "records", &["from"][..]),
        ("tab.snapshot-aliases.json", "aliases", &[][..]),
    ] {
        for (at, item) in all[fixture][list].as_array().unwrap().iter().enumerate() {
            for member in item.as_object().unwrap().keys() {
                let mut spoilt = all[fixture].clone();
                spoilt[list][at].as_object_mut().unwrap().remove(member);
                let outcome = reader(fixture)(&spoilt);
                assert_eq!(outcome.is_err(), !optional.contains(&member.as_str()), "{fixture} without {member}");
            }
        }
    }
}
