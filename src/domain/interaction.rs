//! Interactions that are going on: which of them are active, which one a tab looks at, and what has happened in one that somebody may
//! want to hear of. An optimistic update is a patch, and rolling it back is undoing it: the engine does both.

use super::given::{require, text};
use crate::engine::error::Error;
use crate::engine::record::Record;
use crate::engine::rules::Moved;
use crate::engine::table::TableConfig;
use crate::engine::value::Value;
use crate::engine::view::{Filter, Terms, ViewSpec};

/// The domain's name.
pub(crate) const KIND: &str = "interaction";

/// How a table of interactions is declared.
struct Declared<'a> {
    status: &'a str,
    active: &'a [Value],
    campaign: &'a str,
    /// Whose turn it is, and what was done last: fields whose changes people hear of.
    turn: Option<&'a str>,
    action: Option<&'a str>,
}

/// What has happened in an interaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It is somebody else's turn.
    Turn,
    /// Somebody has done something.
    Action,
    /// It stands differently.
    Status,
}

/// What a tab looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The interaction.
    pub interaction: Option<String>,
    /// Its campaign.
    pub campaign: Option<String>,
}

fn declared(table: &TableConfig) -> Option<Declared<'_>> {
    let members = ["kind", "status", "active", "campaign", "turn", "action"];
    if !table.domain.keys().all(|name| members.contains(&name.as_str())) {
        return None;
    }
    let field = |name: &str, default| match table.domain.get(name) {
        None | Some(Value::Null) => Some(default),
        Some(Value::String(field)) => Some(Some(field.as_str())),
        Some(_) => None,
    };
    let Some(Value::List(active)) = table.domain.get("active") else { return None };
    let (status, campaign) = (field("status", Some("status"))??, field("campaign", Some("campaign_id"))??);
    let is_told = !active.is_empty() && active.len() <= 64;
    is_told.then_some(Declared { status, active, campaign, turn: field("turn", None)?, action: field("action", None)? })
}

/// Checks how a table of interactions is declared: `{kind, active: [states], status?, campaign?, turn?, action?}`.
pub(crate) fn declare(table: &mut TableConfig) -> Result<(), Error> {
    let Some(Declared { status, campaign, turn, action, .. }) = declared(table) else {
        let why = "takes active, the states in which one goes on, and perhaps the names of its fields: status, campaign, turn, action";
        return Err(Error::InvalidConfiguration(text(&["the domain of table \"", &table.name, "\" ", why])));
    };
    let fields: Vec<String> =
        [Some(status), Some(campaign), turn, action].into_iter().flatten().map(str::to_owned).collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    require(table, &fields, &fields[..2])
}

/// The live list of those that go on.
#[must_use]
pub fn active_interactions(table: &TableConfig) -> Option<ViewSpec> {
    let Declared { status, active, .. } = declared(table)?;
    let filter = Filter::In(Terms { field: status.to_owned(), values: active.to_vec() });
    Some(ViewSpec { table: table.name.clone(), filter: Some(filter), ..ViewSpec::default() })
}

/// Says what has happened, the most pressing first.
#[must_use]
pub fn happened<R: Record>(moved: &Moved<'_, R>) -> Vec<Happened> {
    let (Some(Declared { status, turn, action, .. }), Some(before), Some(after)) =
        (declared(moved.table), moved.before, moved.after)
    else {
        return Vec::new();
    };
    let watched = [(Happened::Turn, turn), (Happened::Action, action), (Happened::Status, Some(status))];
    let value = |record: &R, field: &str| record.field(field).unwrap_or_default();
    let has_changed = |field: &str| value(before, field) != value(after, field) && !value(after, field).is_null();
    watched.into_iter().filter(|(_, field)| field.is_some_and(has_changed)).map(|(what, _)| what).collect()
}

impl Selection {
    /// Looks at an interaction. Its campaign comes along.
    #[must_use]
    pub fn of<R: Record>(table: &TableConfig, key: &str, record: Option<&R>) -> Self {
        let field = declared(table).map(|declared| declared.campaign);
        let campaign = record.zip(field).and_then(|(record, field)| super::given::key(&record.field(field)?));
        Self { interaction: record.map(|_| key.to_owned()), campaign }
    }

    /// Goes on after a change of the interaction that is looked at: one that is gone is looked at no more, its campaign still is.
    #[must_use]
    pub fn after<R: Record>(self, table: &TableConfig, record: Option<&R>) -> Self {
        match (&self.interaction, record) {
            (Some(key), Some(_)) => Self::of(table, key, record),
            (Some(_), None) => Self { interaction: None, ..self },
            (None, _) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::JsonRecord;

    fn table(domain: serde_json::Value) -> TableConfig {
        let fields = ["id", "status", "campaign_id", "turn_id", "last_action", "note"].map(str::to_owned).to_vec();
        let mut table = TableConfig::new("interactions".into(), vec!["id".into()], fields);
        table.domain = serde_json::from_value(domain).unwrap();
        table
    }

    fn sessions() -> TableConfig {
        table(
            serde_json::json!({"kind": "interaction", "active": ["live", "paused"], "turn": "turn_id", "action": "last_action"}),
        )
    }

    fn record(json: serde_json::Value) -> JsonRecord {
        JsonRecord::create(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn turns_actions_and_states_are_told_and_nothing_else() {
        let table = sessions();
        let before =
            record(serde_json::json!({"status": "live", "turn_id": "maya", "last_action": "a-1", "note": "x"}));
        let told = |set: serde_json::Value| {
            let after = before.patched(&serde_json::from_value(set).unwrap());
            happened(&Moved { table: &table, key: "1", before: Some(&before), after: Some(&after) })
        };
        assert_eq!(told(serde_json::json!({"turn_id": "jonas"})), [Happened::Turn]);
        assert_eq!(
            told(serde_json::json!({"last_action": "a-2", "turn_id": "jonas"})),
            [Happened::Turn, Happened::Action]
        );
        assert_eq!(told(serde_json::json!({"status": "paused"})), [Happened::Status]);
        assert!(told(serde_json::json!({"note": "y", "turn_id": null})).is_empty());
        assert!(happened(&Moved { table: &table, key: "1", before: None, after: Some(&before) }).is_empty());
    }

    #[test]
    fn a_tab_looks_at_one_with_its_campaign_until_it_is_gone() {
        let (table, one) = (sessions(), record(serde_json::json!({"campaign_id": 7})));
        let selection = Selection::of(&table, "i-1", Some(&one));
        assert_eq!(selection, Selection { interaction: Some("i-1".into()), campaign: Some("7".into()) });
        let moved = record(serde_json::json!({"campaign_id": 8}));
        let selection = selection.after(&table, Some(&moved));
        assert_eq!(selection.campaign.as_deref(), Some("8"));
        let selection = selection.after::<JsonRecord>(&table, None);
        assert_eq!(selection, Selection { interaction: None, campaign: Some("8".into()) });
        assert_eq!(Selection::of::<JsonRecord>(&table, "i-2", None), Selection::default());
    }

    #[test]
    fn a_declaration_names_the_states_in_which_one_goes_on() {
        let mut good = sessions();
        assert_eq!(declare(&mut good), Ok(()));
        assert_eq!(good.indexed, ["status", "campaign_id"]);
        assert!(
            matches!(active_interactions(&good).unwrap().filter, Some(Filter::In(terms)) if terms.values.len() == 2)
        );
        for domain in [
            serde_json::json!({"kind": "interaction"}),
            serde_json::json!({"kind": "interaction", "active": []}),
            serde_json::json!({"kind": "interaction", "active": ["live"], "turn": 1}),
            serde_json::json!({"kind": "interaction", "active": ["live"], "turn": "whose"}),
            serde_json::json!({"kind": "interaction", "active": ["live"], "colour": "red"}),
        ] {
            assert_eq!(declare(&mut table(domain.clone())).unwrap_err().code(), "invalid-configuration", "{domain}");
        }
    }
}
