//! Which cached queries a change makes stale, by declared rules: exactly what is declared, all changes of one step together, each key
//! once. A query is refetched from the server, so what counts are the server's own changes, not what a tab predicts.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use rustc_hash::{FxBuildHasher, FxHasher};

use super::given::text;
use crate::engine::error::Error;
use crate::engine::record::Record;
use crate::engine::rules::{Invalidation, Moved};
use crate::engine::value::{Fields, Value};

/// The name of the fact that holds the rules.
pub(crate) const INVALIDATIONS: &str = "invalidations";

const RULES_MAX: usize = 256;
const KEYS_MAX: usize = 64;

/// Stand in a key for what has changed.
const TABLE: &str = "$table";
const KEY: &str = "$key";

/// One declared rule.
#[derive(Clone, Debug, PartialEq)]
struct Rule {
    /// None: of whichever table.
    tables: Option<Vec<String>>,
    /// Only where one of these fields has changed; a record that comes or goes changes all that it has.
    changed: Option<Vec<String>>,
    /// Only where none of these has.
    unchanged: Vec<String>,
    /// Everything, whatever its key.
    everything: bool,
    keys: Vec<Vec<Value>>,
}

impl Rule {
    fn read(value: &Value) -> Result<Self, Error> {
        let Value::Map(fields) = value else { return wrong("is an object") };
        let known = ["tables", "changed", "unchanged", "everything", "keys"];
        if !fields.keys().all(|name| known.contains(&name.as_str())) {
            return wrong("takes tables, changed, unchanged, everything and keys, and nothing else");
        }
        let everything = match fields.get("everything") {
            None => false,
            Some(Value::Bool(everything)) => *everything,
            Some(_) => return wrong("says of everything true or false"),
        };
        let keys = match fields.get("keys") {
            None => Vec::new(),
            Some(Value::List(keys)) if keys.len() <= KEYS_MAX => keys
                .iter()
                .map(query_key)
                .collect::<Option<_>>()
                .map_or_else(|| wrong("has keys that are lists"), Ok)?,
            Some(_) => return wrong("has a list of at most 64 keys"),
        };
        if keys.is_empty() != everything {
            return wrong("names keys, or everything");
        }
        let (tables, changed) = (names(fields, "tables")?, names(fields, "changed")?);
        Ok(Self { tables, changed, unchanged: names(fields, "unchanged")?.unwrap_or_default(), everything, keys })
    }

    fn applies<R: Record>(&self, moved: &Moved<'_, R>) -> bool {
        let is_of_table = self.tables.as_ref().is_none_or(|tables| tables.contains(&moved.table.name));
        let has_changed = |field: &String| value_of(moved.before, field) != value_of(moved.after, field);
        is_of_table
            && self.changed.as_ref().is_none_or(|fields| fields.iter().any(has_changed))
            && !self.unchanged.iter().any(has_changed)
    }
}

fn value_of<R: Record>(record: Option<&R>, field: &str) -> Option<Value> {
    record.and_then(|record| record.field(field)).filter(|value| !value.is_null())
}

fn query_key(value: &Value) -> Option<Vec<Value>> {
    match value {
        Value::List(parts) if !parts.is_empty() => Some(parts.clone()),
        _ => None,
    }
}

fn names(fields: &Fields, name: &str) -> Result<Option<Vec<String>>, Error> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::List(items)) => {
            let names = items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>();
            names.map_or_else(|| wrong("lists names as text"), |names| Ok(Some(names)))
        }
        Some(_) => wrong("lists names as text"),
    }
}

fn wrong<T>(what: &str) -> Result<T, Error> {
    Err(Error::InvalidConfiguration(text(&["a rule of invalidation ", what])))
}

fn read(fact: &Value) -> Result<Vec<Rule>, Error> {
    match fact {
        Value::List(rules) if rules.len() <= RULES_MAX => rules.iter().map(Rule::read).collect(),
        _ => wrong("is one of a list of at most 256"),
    }
}

/// Checks the rules; `None` for what is none of these facts.
pub(crate) fn check_fact(name: &str, fact: &Value) -> Option<Result<(), Error>> {
    (name == INVALIDATIONS).then(|| read(fact).map(|_| ()))
}

/// Says what some changes make stale.
pub(crate) fn stale<R: Record>(facts: &Fields, moved: &[Moved<'_, R>]) -> Invalidation {
    let mut found = Invalidation::default();
    let rules = facts.get(INVALIDATIONS).map(read).and_then(Result::ok).unwrap_or_default();
    let mut known = Known::default();
    for moved in moved {
        for rule in rules.iter().filter(|rule| rule.applies(moved)) {
            found.everything |= rule.everything;
            for key in &rule.keys {
                let fill = |part: &Value| match part.as_str() {
                    Some(TABLE) => Value::from(moved.table.name.as_str()),
                    Some(KEY) => key_of(moved),
                    Some(_) | None => part.clone(),
                };
                let key: Vec<Value> = key.iter().map(fill).collect();
                if known.is_new(&found.keys, &key) {
                    found.keys.push(key);
                }
            }
        }
    }
    if found.everything {
        found.keys.clear();
    }
    found
}

/// The key of what has changed as its record has it, since a query's key with a number is none with that number as text.
fn key_of<R: Record>(moved: &Moved<'_, R>) -> Value {
    let own = match moved.table.key.as_slice() {
        [field] => value_of(moved.after, field).or_else(|| value_of(moved.before, field)),
        _ => None,
    };
    own.unwrap_or_else(|| Value::from(moved.key))
}

/// Which keys were found, by what their text comes to: thousands of records may change at once.
#[derive(Default)]
struct Known(HashMap<u64, Vec<usize>, FxBuildHasher>);

impl Known {
    /// Says whether a key is none of these, and takes it for the next of them.
    fn is_new(&mut self, keys: &[Vec<Value>], key: &[Value]) -> bool {
        let mut hasher = FxHasher::default();
        for part in key {
            hash(part, &mut hasher);
        }
        let alike = self.0.entry(hasher.finish()).or_default();
        let is_new = !alike.iter().any(|at| keys.get(*at).is_some_and(|known| known == key));
        if is_new {
            alike.push(keys.len());
        }
        is_new
    }
}

/// Equal values come to the same; what is within a list or a map is left to the comparison.
fn hash(value: &Value, hasher: &mut FxHasher) {
    match value {
        Value::String(text) => text.hash(hasher),
        // Of the two zeros one.
        Value::Number(number) => (number + 0.0).to_bits().hash(hasher),
        Value::Bool(is_true) => is_true.hash(hasher),
        Value::Null | Value::List(_) | Value::Map(_) => 0_u8.hash(hasher),
    }
}

/// The rules that five applications wrote by hand, for tables with an owner (and the field that it is in), and for those of known names.
#[must_use]
pub fn default_invalidations(owned: &[(&str, &str)]) -> Value {
    let list = |words: &[&str]| Value::List(words.iter().map(|word| Value::from(*word)).collect());
    let rule = |members: Vec<(&str, Value)>| {
        Value::Map(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    let mut rules: Vec<Value> = Vec::new();
    for (table, owner) in owned {
        let all = [
            "user-assignment-stats",
            "leads-with-assignments",
            "companies-with-assignments",
            "unassigned-leads",
            "unassigned-companies",
            "leads",
            "companies",
            "jobs",
        ];
        let keys = std::iter::once(list(&["assignment", TABLE, KEY])).chain(all.iter().map(|key| list(&[key])));
        let (tables, changed) = (list(&[table]), list(&[owner]));
        rules.push(rule(vec![("tables", tables), ("changed", changed), ("keys", Value::List(keys.collect()))]));
    }
    let (profiles, rights) = (|| list(&["profiles"]), || list(&["role"]));
    rules.push(rule(vec![("tables", profiles()), ("changed", rights()), ("everything", Value::Bool(true))]));
    let profile = Value::List(vec![list(&["profile"])]);
    rules.push(rule(vec![("tables", profiles()), ("unchanged", rights()), ("keys", profile)]));
    for (table, key) in
        [("form_submissions", "formSubmissions"), ("patients", "patients"), ("availability", "availability")]
    {
        rules.push(rule(vec![("tables", list(&[table])), ("keys", Value::List(vec![list(&[key])]))]));
    }
    Value::List(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::JsonRecord;
    use crate::engine::table::TableConfig;

    fn table(name: &str) -> TableConfig {
        TableConfig::new(name.into(), vec!["id".into()], vec!["id".into()])
    }

    fn record(json: serde_json::Value) -> Option<JsonRecord> {
        (!json.is_null()).then(|| JsonRecord::create(&serde_json::from_value(json).unwrap()))
    }

    type Change<'a> = (&'a str, &'a str, serde_json::Value, serde_json::Value);

    fn stale_by(rules: &Value, changes: &[Change<'_>]) -> (bool, String) {
        let facts = Fields::from([(INVALIDATIONS.to_owned(), rules.clone())]);
        let records: Vec<_> = changes
            .iter()
            .map(|(name, key, before, after)| (table(name), *key, record(before.clone()), record(after.clone())))
            .collect();
        let moved: Vec<Moved<'_, JsonRecord>> = records
            .iter()
            .map(|(table, key, before, after)| Moved { table, key, before: before.as_ref(), after: after.as_ref() })
            .collect();
        let found = stale(&facts, &moved);
        (found.everything, serde_json::to_string(&found.keys).unwrap())
    }

    #[test]
    fn an_assignment_makes_the_declared_keys_stale_and_nothing_else() {
        let rules = default_invalidations(&[("companies", "owner_id")]);
        let (from, to) =
            (serde_json::json!({"owner_id": null, "name": "x"}), serde_json::json!({"owner_id": "maya", "name": "x"}));
        let all = r#"["user-assignment-stats"],["leads-with-assignments"],["companies-with-assignments"],["unassigned-leads"],["unassigned-companies"],["leads"],["companies"],["jobs"]]"#;
        let one = stale_by(&rules, &[("companies", "c-1", from.clone(), to.clone())]);
        assert_eq!(one, (false, format!(r#"[["assignment","companies","c-1"],{all}"#)));
        // A name is no owner, and another table has none.
        let renamed = serde_json::json!({"owner_id": null, "name": "y"});
        assert_eq!(stale_by(&rules, &[("companies", "c-1", from.clone(), renamed)]), (false, "[]".into()));
        assert_eq!(stale_by(&rules, &[("orders", "o-1", from.clone(), to.clone())]), (false, "[]".into()));
        // Many changes at once name each key once.
        let two = stale_by(&rules, &[("companies", "c-1", from.clone(), to.clone()), ("companies", "c-2", from, to)]);
        assert_eq!(two.1.matches("jobs").count(), 1);
        assert_eq!(two.1.matches("assignment\",\"companies").count(), 2);
    }

    #[test]
    fn the_key_of_a_record_is_named_as_the_record_has_it() {
        let rules = default_invalidations(&[("companies", "owner_id")]);
        let with = |id: serde_json::Value, owner: Option<&str>| serde_json::json!({"id": id, "owner_id": owner});
        let of = |change: Change<'_>| stale_by(&rules, &[change]).1;
        let number = of(("companies", "7", with(7.into(), None), with(7.into(), Some("maya"))));
        assert!(number.starts_with(r#"[["assignment","companies",7],"#), "{number}");
        let text = of(("companies", "7", with("7".into(), None), with("7".into(), Some("maya"))));
        assert!(text.starts_with(r#"[["assignment","companies","7"],"#), "{text}");
        let gone = of(("companies", "7", with(7.into(), Some("maya")), serde_json::Value::Null));
        assert!(gone.starts_with(r#"[["assignment","companies",7],"#), "{gone}");
        let bare = of(("companies", "7", serde_json::json!({"owner_id": "maya"}), serde_json::Value::Null));
        assert!(bare.starts_with(r#"[["assignment","companies","7"],"#), "{bare}");
    }

    #[test]
    fn a_key_that_several_rules_name_for_several_records_is_named_once() {
        let rules = serde_json::json!([
            {"keys": [["x", "$key"], ["x", "$table"], ["x", null], ["x", [1]], ["x", [2]], ["x", 0]]},
            {"keys": [["x", "$key"], ["x", [2]], ["x", -0.0]]},
        ]);
        let rules: Value = serde_json::from_value(rules).unwrap();
        let made = |name: &str| serde_json::json!({"id": "c-1", "name": name});
        let changes = [("companies", "c-1", made("x"), made("y")), ("leads", "c-1", made("x"), made("y"))];
        let expected = r#"[["x","c-1"],["x","companies"],["x",null],["x",[1]],["x",[2]],["x",0],["x","leads"]]"#;
        assert_eq!(stale_by(&rules, &changes).1, expected);
    }

    #[test]
    fn a_role_makes_everything_stale_and_any_other_edit_of_a_profile_only_that() {
        let rules = default_invalidations(&[]);
        let profile = |role: &str, name: &str| serde_json::json!({"role": role, "name": name});
        let edit = |after| stale_by(&rules, &[("profiles", "maya", profile("agent", "Maya"), after)]);
        assert_eq!(edit(profile("admin", "Maya")), (true, "[]".into()));
        assert_eq!(edit(profile("agent", "May")), (false, r#"[["profile"]]"#.into()));
        let submitted = ("form_submissions", "f-1", serde_json::Value::Null, serde_json::json!({"status": "new"}));
        assert_eq!(stale_by(&rules, &[submitted]), (false, r#"[["formSubmissions"]]"#.into()));
    }

    #[test]
    fn a_record_that_comes_or_goes_changes_the_fields_that_it_has() {
        let rules = default_invalidations(&[("companies", "owner_id")]);
        let (none, owned, free) =
            (serde_json::Value::Null, serde_json::json!({"owner_id": "maya"}), serde_json::json!({"owner_id": null}));
        let is_stale = |before: &serde_json::Value, after: &serde_json::Value| {
            stale_by(&rules, &[("companies", "c-1", before.clone(), after.clone())]).1 != "[]"
        };
        assert!(is_stale(&none, &owned) && is_stale(&owned, &none));
        assert!(!is_stale(&none, &free) && !is_stale(&free, &none));
    }

    #[test]
    fn rules_that_cannot_be_are_refused() {
        for wrong in [
            serde_json::json!({}),
            serde_json::json!([1]),
            serde_json::json!([{}]),
            serde_json::json!([{"keys": []}]),
            serde_json::json!([{"keys": [[]]}]),
            serde_json::json!([{"keys": ["jobs"]}]),
            serde_json::json!([{"everything": true, "keys": [["jobs"]]}]),
            serde_json::json!([{"everything": 1}]),
            serde_json::json!([{"keys": [["jobs"]], "tables": "jobs"}]),
            serde_json::json!([{"keys": [["jobs"]], "changed": [1]}]),
            serde_json::json!([{"keys": [["jobs"]], "colour": "red"}]),
            serde_json::Value::Array(vec![serde_json::json!({"keys": [["jobs"]]}); 257]),
        ] {
            let checked = check_fact(INVALIDATIONS, &serde_json::from_value(wrong.clone()).unwrap());
            assert_eq!(checked.unwrap().unwrap_err().code(), "invalid-configuration", "{wrong}");
        }
        assert_eq!(check_fact(INVALIDATIONS, &default_invalidations(&[("jobs", "owner_id")])), Some(Ok(())));
        assert_eq!(check_fact("other", &Value::Null), None);
    }
}
