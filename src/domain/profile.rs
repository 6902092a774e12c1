//! Profiles: who somebody is decides what they may see and do. When the server changes that for the person of this session, everything is
//! decided anew, in every tab.

use super::given::{require, text};
use crate::engine::error::Error;
use crate::engine::record::Record;
use crate::engine::rules::Moved;
use crate::engine::table::TableConfig;
use crate::engine::value::Value;

/// The domain's name.
pub(crate) const KIND: &str = "profile";

/// The fields that decide about rights, where nothing else is declared.
const ROLE: &str = "role";

/// Checks how a table of profiles is declared: `{kind, rights?: [fields]}`.
pub(crate) fn declare(table: &mut TableConfig) -> Result<(), Error> {
    let wrong = |what| Err(Error::InvalidConfiguration(text(&["the domain of table \"", &table.name, "\" ", what])));
    if table.domain.keys().any(|name| !["kind", "rights"].contains(&name.as_str())) {
        return wrong("takes no members but kind and rights");
    }
    if table.key.len() != 1 {
        return wrong("needs a key of one field: the person's id");
    }
    let Some(rights) = rights(table) else { return wrong("lists the fields that decide about rights by their names") };
    let rights: Vec<String> = rights.into_iter().map(str::to_owned).collect();
    let rights: Vec<&str> = rights.iter().map(String::as_str).collect();
    require(table, &rights, &[])
}

fn rights(table: &TableConfig) -> Option<Vec<&str>> {
    match table.domain.get("rights") {
        None => Some(vec![ROLE]),
        Some(Value::List(fields)) if !fields.is_empty() => fields.iter().map(Value::as_str).collect(),
        Some(_) => None,
    }
}

/// What has become of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edited {
    /// It can be seen for the first time.
    Created,
    /// The person may do other things than before.
    Rights,
    /// Anything else of it reads differently.
    Updated,
    /// It is gone, and what the person may do with it.
    Deleted,
}

/// Says what has become of a profile.
#[must_use]
pub fn edited<R: Record>(moved: &Moved<'_, R>) -> Option<Edited> {
    let (before, after) = match (moved.before, moved.after) {
        (Some(before), Some(after)) => (before, after),
        (None, after) => return after.map(|_| Edited::Created),
        (Some(_), None) => return Some(Edited::Deleted),
    };
    let has_changed = |field: &&str| before.field(field).unwrap_or_default() != after.field(field).unwrap_or_default();
    let is_rights = rights(moved.table).is_some_and(|fields| fields.iter().any(has_changed));
    Some(if is_rights { Edited::Rights } else { Edited::Updated })
}

/// True when the server has changed what the person of this session may do. A profile that is seen for the first time is news, and no change.
pub(crate) fn changes_rights<R: Record>(user: &str, moved: &Moved<'_, R>) -> bool {
    moved.key == user && matches!(edited(moved), Some(Edited::Rights | Edited::Deleted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::JsonRecord;
    use crate::engine::value::Fields;

    fn profiles(domain: serde_json::Value) -> TableConfig {
        let fields = ["id", "role", "department", "name"].map(str::to_owned).to_vec();
        let mut table = TableConfig::new("profiles".into(), vec!["id".into()], fields);
        table.domain = serde_json::from_value(domain).unwrap();
        table
    }

    fn profile(role: &str, department: &str, name: &str) -> JsonRecord {
        let field = |name: &str, value: &str| (name.to_owned(), Value::from(value));
        JsonRecord::create(&Fields::from([field("department", department), field("name", name), field("role", role)]))
    }

    #[test]
    fn what_decides_about_rights_is_the_role_unless_more_is_declared() {
        let (plain, more) = (
            profiles(serde_json::json!({"kind": "profile"})),
            profiles(serde_json::json!({"kind": "profile", "rights": ["role", "department"]})),
        );
        let before = profile("agent", "north", "Maya");
        let changes = |table: &TableConfig, key: &str, after: Option<&JsonRecord>| {
            changes_rights("maya", &Moved { table, key, before: Some(&before), after })
        };
        let (role, department, name) =
            (profile("admin", "north", "Maya"), profile("agent", "south", "Maya"), profile("agent", "north", "May"));
        assert!(changes(&plain, "maya", Some(&role)) && changes(&plain, "maya", None));
        assert!(!changes(&plain, "maya", Some(&department)) && changes(&more, "maya", Some(&department)));
        assert!(!changes(&more, "maya", Some(&name)) && !changes(&more, "jonas", Some(&role)));
        let first = Moved { table: &plain, key: "maya", before: None, after: Some(&role) };
        assert!(!changes_rights("maya", &first));
    }

    #[test]
    fn a_profile_is_created_edited_and_deleted_and_other_rights_are_told_apart() {
        let table = profiles(serde_json::json!({"kind": "profile"}));
        let (before, role, name) =
            (profile("agent", "north", "Maya"), profile("admin", "north", "Maya"), profile("agent", "north", "May"));
        let told = |before, after| edited::<JsonRecord>(&Moved { table: &table, key: "jonas", before, after });
        assert_eq!(told(None, Some(&before)), Some(Edited::Created));
        assert_eq!(told(Some(&before), Some(&role)), Some(Edited::Rights));
        assert_eq!(told(Some(&before), Some(&name)), Some(Edited::Updated));
        assert_eq!(told(Some(&before), None), Some(Edited::Deleted));
        assert_eq!(told(None, None), None);
    }

    #[test]
    fn a_declaration_that_cannot_work_is_refused() {
        assert_eq!(declare(&mut profiles(serde_json::json!({"kind": "profile"}))), Ok(()));
        for domain in [
            serde_json::json!({"kind": "profile", "rights": []}),
            serde_json::json!({"kind": "profile", "rights": "role"}),
            serde_json::json!({"kind": "profile", "rights": [1]}),
            serde_json::json!({"kind": "profile", "rights": ["rank"]}),
            serde_json::json!({"kind": "profile", "colour": "red"}),
        ] {
            assert_eq!(declare(&mut profiles(domain.clone())).unwrap_err().code(), "invalid-configuration", "{domain}");
        }
    }
}
