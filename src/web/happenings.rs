//! What JavaScript asks of interactions, submissions, profiles, owners and lost races: what has happened, what a tab looks at, who is at it. Nothing is
//! decided here.

use js_sys::{Array, Object};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use super::decode;
use super::driver::to_js;
use super::js_record::{JsRecord, set};
use crate::border::{fields, refuse};
use crate::domain::assignment::{self, Handed, News};
use crate::domain::form::{self, Submission};
use crate::domain::interaction::{self, Happened, Selection};
use crate::domain::profile::{self, Edited};
use crate::engine::operation::Winner;
use crate::engine::rules::Moved;
use crate::engine::table::TableConfig;

/// A table of this domain, as far as its rules look at it.
fn table(name: String, domain: &Object) -> TableConfig {
    let mut table = TableConfig::new(name, Vec::new(), Vec::new());
    table.domain = fields(domain).unwrap_or_default();
    table
}

/// Says what has happened in an interaction, the most pressing first: `turn`, `action`, `status`.
#[wasm_bindgen(js_name = interactionHappened)]
#[must_use]
pub fn interaction_happened(domain: &Object, before: Object, after: Object) -> Vec<String> {
    let (before, after) = (JsRecord::new(before), JsRecord::new(after));
    let table = table(String::new(), domain);
    let moved = Moved { table: &table, key: "", before: Some(&before), after: Some(&after) };
    let name = |what: Happened| match what {
        Happened::Turn => "turn",
        Happened::Action => "action",
        Happened::Status => "status",
    };
    interaction::happened(&moved).into_iter().map(|what| name(what).to_owned()).collect()
}

/// The live list of the interactions that go on, as `openView` takes it; nothing where the table is none of interactions.
#[wasm_bindgen(js_name = interactionsActive)]
pub fn interactions_active(name: String, domain: &Object) -> JsValue {
    interaction::active_interactions(&table(name, domain)).as_ref().map_or(JsValue::UNDEFINED, to_js)
}

/// Looks at an interaction, or goes on after a change of the one that is looked at: `{interaction?, campaign?}`. `campaign`: the one so far, which
/// stays when the interaction is gone.
#[wasm_bindgen(js_name = interactionSelected)]
#[must_use]
pub fn interaction_selected(domain: &Object, key: String, record: Option<Object>, campaign: Option<String>) -> Object {
    let before = Selection { interaction: Some(key), campaign };
    let after = before.after(&table(String::new(), domain), record.map(JsRecord::new).as_ref());
    let told = Object::new();
    for (name, value) in [("interaction", after.interaction), ("campaign", after.campaign)] {
        if let Some(value) = value {
            set(&told, name, &value.into());
        }
    }
    told
}

/// Says what has become of a submission: `arrived`, `became`, `withdrawn`; nothing where its status is as it was.
#[wasm_bindgen(js_name = submissionMoved)]
#[must_use]
pub fn submission_moved(domain: &Object, before: Option<Object>, after: Option<Object>) -> Option<String> {
    let (before, after) = (before.map(JsRecord::new), after.map(JsRecord::new));
    let table = table(String::new(), domain);
    let moved = Moved { table: &table, key: "", before: before.as_ref(), after: after.as_ref() };
    let name = |what| match what {
        Submission::Arrived => "arrived",
        Submission::Became { .. } => "became",
        Submission::Withdrawn => "withdrawn",
    };
    form::submission(&moved).map(|what| name(what).to_owned())
}

/// Says what has become of a profile: `created`, `rights`, `updated`, `deleted`.
#[wasm_bindgen(js_name = profileMoved)]
#[must_use]
pub fn profile_moved(domain: &Object, before: Option<Object>, after: Option<Object>) -> Option<String> {
    let (before, after) = (before.map(JsRecord::new), after.map(JsRecord::new));
    let table = table(String::new(), domain);
    let moved = Moved { table: &table, key: "", before: before.as_ref(), after: after.as_ref() };
    let name = |what| match what {
        Edited::Created => "created",
        Edited::Rights => "rights",
        Edited::Updated => "updated",
        Edited::Deleted => "deleted",
    };
    profile::edited(&moved).map(|what| name(what).to_owned())
}

/// Says who had a record and who has it now: `[from, to]`, each undefined for nobody; nothing where that is the same.
#[wasm_bindgen(js_name = ownerMoved)]
#[must_use]
pub fn owner_moved(owner: String, before: Option<Object>, after: Option<Object>) -> Option<Array> {
    let (before, after) = (before.map(JsRecord::new), after.map(JsRecord::new));
    let mut table = TableConfig::new(String::new(), Vec::new(), Vec::new());
    table.owner = Some(owner);
    let Handed { from, to } =
        assignment::handed(&Moved { table: &table, key: "", before: before.as_ref(), after: after.as_ref() })?;
    Some([from, to].into_iter().map(JsValue::from).collect())
}

/// Says what a person is to be told of a row of `assignment_history`: `assigned`, `unassigned`, or nothing.
#[wasm_bindgen(js_name = assignmentTold)]
#[must_use]
pub fn assignment_told(history: Object, person: &str) -> Option<String> {
    let name = |what| match what {
        News::Assigned => "assigned",
        News::Unassigned => "unassigned",
    };
    assignment::news(&JsRecord::new(history), person).map(|what| name(what).to_owned())
}

/// Returns who is editing or typing in a record, each person once.
///
/// # Errors
/// `{code, message}`, when the peers are none.
#[wasm_bindgen(js_name = editorsOf)]
pub fn editors_of(peers: &JsValue, table: &str, key: &str) -> Result<Vec<String>, JsValue> {
    let peers = decode::peers(peers).map_err(|wrong| refuse("invalid-value", &wrong))?;
    Ok(form::editors(&peers, table, key).into_iter().map(str::to_owned).collect())
}

/// Says how long before now somebody else was first, in milliseconds; nothing where the time can't be read.
#[wasm_bindgen(js_name = lostByMs)]
#[must_use]
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // times are far below 2^53
pub fn lost_by_ms(at: String, now_ms: f64) -> Option<f64> {
    let winner = Winner { user: String::new(), at };
    assignment::lost_by_ms(&winner, now_ms as u64).map(|ms| ms as f64)
}
