//! Submissions of forms: which ones have come in, how they stand, and who is at one right now.

use super::given::{require, text};
use crate::engine::error::Error;
use crate::engine::presence::{Doing, Peer};
use crate::engine::record::Record;
use crate::engine::rules::Moved;
use crate::engine::table::TableConfig;

/// The domain's name.
pub(crate) const KIND: &str = "form";

const STATUS: &str = "status";

/// What has become of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submission {
    /// It has come in.
    Arrived,
    /// It stands differently.
    Became {
        /// Its status now, as text; empty where there is none.
        status: String,
    },
    /// It is gone.
    Withdrawn,
}

fn status(table: &TableConfig) -> Option<&str> {
    match table.domain.get(STATUS) {
        None => Some(STATUS),
        Some(field) => field.as_str(),
    }
}

/// Checks how a table of submissions is declared: `{kind, status?}`.
pub(crate) fn declare(table: &mut TableConfig) -> Result<(), Error> {
    let is_known = table.domain.keys().all(|name| ["kind", STATUS].contains(&name.as_str()));
    let Some(status) = status(table).filter(|_| is_known).map(str::to_owned) else {
        let why = "\" takes no members but kind and status, the name of a field";
        return Err(Error::InvalidConfiguration(text(&["the domain of table \"", &table.name, why])));
    };
    require(table, &[&status], &[&status])
}

/// Says what the server has made of a submission; nothing where its status is as it was.
#[must_use]
pub fn submission<R: Record>(moved: &Moved<'_, R>) -> Option<Submission> {
    let field = status(moved.table)?;
    let value = |record: &R| record.field(field).unwrap_or_default();
    match (moved.before, moved.after) {
        (None, Some(_)) => Some(Submission::Arrived),
        (Some(_), None) => Some(Submission::Withdrawn),
        (Some(before), Some(after)) if value(before) != value(after) => {
            let status = value(after).as_str().map(str::to_owned).unwrap_or_default();
            Some(Submission::Became { status })
        }
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// Returns who is editing or typing in a record, each person once, in the order of their ids.
#[must_use]
pub fn editors<'a>(peers: &'a [Peer], table: &str, key: &str) -> Vec<&'a str> {
    let is_at = |peer: &&Peer| {
        let Some(presence) = &peer.presence else { return false };
        let is_there = presence.record.as_ref().is_some_and(|at| at.table == table && at.key == key);
        is_there && presence.doing != Doing::Idle
    };
    let mut users: Vec<&str> = peers.iter().filter(is_at).map(|peer| peer.user.as_str()).collect();
    crate::engine::sorted::sort(&mut users);
    users.dedup();
    users
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::JsonRecord;
    use crate::engine::value::{Fields, Value};

    fn table(domain: serde_json::Value) -> TableConfig {
        let fields = ["id", "status", "stage"].map(str::to_owned).to_vec();
        let mut table = TableConfig::new("form_submissions".into(), vec!["id".into()], fields);
        table.domain = serde_json::from_value(domain).unwrap();
        table
    }

    #[test]
    fn a_submission_arrives_changes_its_status_and_goes() {
        let record = |status: &str| JsonRecord::create(&Fields::from([("stage".to_owned(), Value::from(status))]));
        let (new, seen) = (record("new"), record("seen"));
        let forms = table(serde_json::json!({"kind": "form", "status": "stage"}));
        let told = |before, after| submission::<JsonRecord>(&Moved { table: &forms, key: "1", before, after });
        assert_eq!(told(None, Some(&new)), Some(Submission::Arrived));
        assert_eq!(told(Some(&new), Some(&seen)), Some(Submission::Became { status: "seen".into() }));
        assert_eq!(told(Some(&new), Some(&new)), None);
        assert_eq!(told(Some(&new), None), Some(Submission::Withdrawn));
    }

    #[test]
    fn whoever_edits_or_types_in_a_submission_is_at_it() {
        let peer = |user: &str, tab: &str, doing: &str, key: &str| -> Peer {
            let presence = serde_json::json!({"place": "forms", "doing": doing, "record": {"table": "form_submissions", "key": key}});
            serde_json::from_value(serde_json::json!({"user": user, "tab": tab, "presence": presence})).unwrap()
        };
        let mut peers = vec![
            peer("maya", "1", "typing", "f-1"),
            peer("jonas", "2", "editing", "f-1"),
            peer("maya", "3", "editing", "f-1"),
            peer("lena", "4", "idle", "f-1"),
            peer("tom", "5", "editing", "f-2"),
        ];
        peers.push(Peer { presence: None, ..peers[0].clone() });
        assert_eq!(editors(&peers, "form_submissions", "f-1"), ["jonas", "maya"]);
        assert!(editors(&peers, "profiles", "f-1").is_empty());
    }

    #[test]
    fn a_declaration_that_cannot_work_is_refused() {
        let mut good = table(serde_json::json!({"kind": "form", "status": "stage"}));
        assert_eq!((declare(&mut good), good.indexed), (Ok(()), vec!["stage".to_owned()]));
        for domain in [
            serde_json::json!({"kind": "form", "status": 1}),
            serde_json::json!({"kind": "form", "status": "mood"}),
            serde_json::json!({"kind": "form", "colour": "red"}),
        ] {
            assert_eq!(declare(&mut table(domain.clone())).unwrap_err().code(), "invalid-configuration", "{domain}");
        }
    }
}
