//! Assignment: a record has one owner or none. Whoever assigns says whom they saw as the owner; if that is no longer so, they
//! have lost a race, and the server's word decides.

use super::given::is_id;
use crate::engine::error::Error;
use crate::engine::instant::Instant;
use crate::engine::operation::{OperationState, Step, Winner};
use crate::engine::record::Record;
use crate::engine::rules::{Effect, Inverse, Moved};
use crate::engine::table::TableConfig;
use crate::engine::value::{Fields, Value};
use crate::engine::view::{FieldName, FigureKind, FigureSpec, Filter, SortKey, Term, ViewSpec};

/// The operation's name.
pub(crate) const ASSIGN: &str = "assign";

const TO: &str = "to";

/// Returns the fields that an assignment sets.
pub(crate) fn intend(table: &TableConfig, args: &Fields) -> Result<Fields, Error> {
    let Some(owner) = &table.owner else {
        return Err(Error::InvalidOperation(format!(
            "table \"{}\" declares no owner field, so its records can't be assigned",
            table.name
        )));
    };
    match args.get(TO) {
        Some(to @ (Value::Null | Value::String(_))) if args.len() == 1 && to.as_str().is_none_or(is_id) => {
            Ok(Fields::from([(owner.clone(), to.clone())]))
        }
        _ => {
            Err(Error::InvalidOperation("assign takes a person's id of 1 to 256 bytes, or null to unassign".to_owned()))
        }
    }
}

/// Returns the assignment to whom the record had before.
pub(crate) fn inverse(table: &TableConfig, step: &Step<'_>) -> Option<Inverse> {
    let before = step.base.get(table.owner.as_ref()?).cloned().unwrap_or_default();
    let args = Fields::from([(TO.to_owned(), before)]);
    let set = intend(table, &args).ok()?;
    Some(Inverse { name: ASSIGN.to_owned(), args, set, base: step.set.clone() })
}

/// Re-runs a pending assignment on the record as it is now.
pub(crate) fn effect<R: Record>(table: &TableConfig, step: &Step<'_>, record: &R) -> Effect {
    let (Some(owner), Ok(set)) = (&table.owner, intend(table, step.args)) else {
        return Effect::DoesNotApply;
    };
    let current = record.field(owner).unwrap_or_default();
    let seen = step.base.get(owner).cloned().unwrap_or_default();
    if current == seen || set.get(owner) == Some(&current) { Effect::Set(set) } else { Effect::DoesNotApply }
}

/// Who had a record, and who has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    /// Who had it; nobody, where nothing is said.
    pub from: Option<String>,
    /// Who has it.
    pub to: Option<String>,
}

/// Says whose a record has become, and whose it was; nothing where that is the same person, or nobody still. A record that comes was nobody's before,
/// and one that goes is nobody's afterwards.
#[must_use]
pub fn handed<R: Record>(moved: &Moved<'_, R>) -> Option<Handed> {
    let owner = moved.table.owner.as_ref()?;
    let has = |record: Option<&R>| match record.and_then(|record| record.field(owner)) {
        Some(Value::String(person)) if !person.is_empty() => Some(person),
        _ => None,
    };
    let (from, to) = (has(moved.before), has(moved.after));
    (from != to).then_some(Handed { from, to })
}

/// What a person is to be told of an assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It has become theirs.
    Assigned,
    /// It is theirs no more.
    Unassigned,
}

/// Says what a person is to be told of a row of `assignment_history`: nothing of what they did themselves, or of what is others'.
#[must_use]
pub fn news<R: Record>(history: &R, person: &str) -> Option<News> {
    let is = |field: &str| history.field(field).as_ref().and_then(Value::as_str) == Some(person);
    match (is("changed_by"), is("to_owner"), is("from_owner")) {
        (false, true, false) => Some(News::Assigned),
        (false, false, true) => Some(News::Unassigned),
        _ => None,
    }
}

/// How far many assignments have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many there are.
    pub total: usize,
    /// How many the server has done.
    pub done: usize,
    /// How many will never be done.
    pub failed: usize,
}

/// Says how far operations that were made together have come. What was given up may be tried again, so it still counts as on its way.
#[must_use]
pub fn progress(states: &[OperationState]) -> Progress {
    let mut progress = Progress { total: states.len(), ..Progress::default() };
    for state in states {
        match state {
            OperationState::Confirmed => progress.done += 1,
            OperationState::Refused
            | OperationState::Conflicted
            | OperationState::Cancelled
            | OperationState::Unknown => progress.failed += 1,
            OperationState::Queued | OperationState::Sent | OperationState::Acknowledged | OperationState::Dead => {}
        }
    }
    progress
}

/// How long before now somebody else was first, in milliseconds.
#[must_use]
pub fn lost_by_ms(winner: &Winner, now_ms: u64) -> Option<u64> {
    Some(now_ms.saturating_sub(Instant::parse(&winner.at)?.wall_ms()?))
}

/// The live list of what was assigned: of one record, or all that concerns a person, the newest first. `history`: the table of
/// `assignment_history`.
#[must_use]
pub fn history_of(history: &str, of: Assigned<'_>, limit: u32) -> ViewSpec {
    let is = |field: &str, value: &str| Filter::Eq(Term { field: field.to_owned(), value: value.into() });
    let filter = match of {
        Assigned::Record { table, key } => Filter::And(vec![is("table_name", table), is("record_key", key)]),
        Assigned::Person(person) => {
            Filter::Or(vec![is("from_owner", person), is("to_owner", person), is("changed_by", person)])
        }
    };
    let sort = vec![SortKey { field: "changed_at".to_owned(), descending: true }];
    ViewSpec { table: history.to_owned(), filter: Some(filter), sort, limit: Some(limit), ..ViewSpec::default() }
}

/// Whose history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned<'a> {
    /// A record's.
    Record {
        /// Its table.
        table: &'a str,
        /// Its key.
        key: &'a str,
    },
    /// A person's: what they gave, got and lost.
    Person(&'a str),
}

/// The live figures of a table: how many records each person has, and, as a list, those that nobody has.
#[must_use]
pub fn statistics(table: &TableConfig) -> Option<[ViewSpec; 2]> {
    let owner = table.owner.clone()?;
    let count = FigureSpec { name: "count".to_owned(), kind: FigureKind::Count, field: None };
    let all = ViewSpec { table: table.name.clone(), ..ViewSpec::default() };
    let people = ViewSpec { limit: Some(0), figures: vec![count], group_by: vec![owner.clone()], ..all.clone() };
    Some([people, ViewSpec { filter: Some(Filter::IsNull(FieldName { field: owner })), ..all }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::operation::{Operation, OperationId};
    use crate::engine::record::JsonRecord;
    use crate::engine::time::Hlc;

    fn table(owner: Option<&str>) -> TableConfig {
        let fields = vec!["id".into(), "owner_id".into()];
        let mut table = TableConfig::new("companies".into(), vec!["id".into()], fields);
        table.owner = owner.map(str::to_owned);
        table
    }

    fn fields(name: &str, value: Value) -> Fields {
        Fields::from([(name.to_owned(), value)])
    }

    fn assign(seen: &Value, to: &Value) -> Operation {
        let json = serde_json::json!({
            "protocol": 1, "id": OperationId::new(Hlc::default(), [1; 10]), "name": ASSIGN, "table": "companies", "key": "1",
            "args": {TO: to}, "set": {"owner_id": to}, "base": {"owner_id": seen}, "hlc": Hlc::default(), "tab": "t", "after": [],
        });
        serde_json::from_value(json).unwrap()
    }

    fn effect_on(current: Value, operation: &Operation) -> Effect {
        effect(
            &table(Some("owner_id")),
            &operation.steps().next().unwrap(),
            &JsonRecord::create(&fields("owner_id", current)),
        )
    }

    #[test]
    fn an_assignment_applies_while_the_owner_is_the_one_that_was_seen() {
        let operation = assign(&Value::Null, &"maya".into());
        assert_eq!(effect_on(Value::Null, &operation), Effect::Set(fields("owner_id", "maya".into())));
    }

    #[test]
    fn an_assignment_no_longer_applies_once_somebody_else_was_assigned() {
        assert_eq!(effect_on("jonas".into(), &assign(&Value::Null, &"maya".into())), Effect::DoesNotApply);
        assert_eq!(effect_on("jonas".into(), &assign(&"lena".into(), &Value::Null)), Effect::DoesNotApply);
    }

    #[test]
    fn nobody_is_assigned_whose_id_is_empty_or_longer_than_the_server_takes() {
        let to = |id: String| intend(&table(Some("owner_id")), &fields(TO, id.as_str().into()));
        assert!(to("é".repeat(128)).is_ok());
        for wrong in [String::new(), "é".repeat(128) + "x"] {
            assert_eq!(to(wrong).unwrap_err().code(), "invalid-operation");
        }
    }

    #[test]
    fn an_assignment_that_already_came_true_still_applies() {
        assert_eq!(
            effect_on("maya".into(), &assign(&Value::Null, &"maya".into())),
            Effect::Set(fields("owner_id", "maya".into()))
        );
    }

    #[test]
    fn the_inverse_assigns_to_whom_the_record_had_before_and_expects_the_one_it_has() {
        let inverse =
            inverse(&table(Some("owner_id")), &assign(&"lena".into(), &"maya".into()).steps().next().unwrap()).unwrap();
        assert_eq!((inverse.name.as_str(), inverse.args), (ASSIGN, fields(TO, "lena".into())));
        assert_eq!((inverse.set, inverse.base), (fields("owner_id", "lena".into()), fields("owner_id", "maya".into())));
        // An owner that is no person's id was never assigned by us.
        assert_eq!(
            super::inverse(
                &table(Some("owner_id")),
                &assign(&Value::Number(1.0), &"maya".into()).steps().next().unwrap()
            ),
            None
        );
    }

    #[test]
    fn a_record_is_handed_on_when_its_owner_is_another_one() {
        let companies = table(Some("owner_id"));
        let record = |owner: Value| JsonRecord::create(&fields("owner_id", owner));
        let (nobodys, mayas, jonas) = (record(Value::Null), record("maya".into()), record("jonas".into()));
        let told = |before: Option<&JsonRecord>, after: Option<&JsonRecord>| {
            let moved = Moved { table: &companies, key: "1", before, after };
            handed(&moved).map(|Handed { from, to }| (from.unwrap_or_default(), to.unwrap_or_default()))
        };
        let is = |from: &str, to: &str| Some((from.to_owned(), to.to_owned()));
        assert_eq!(told(Some(&nobodys), Some(&mayas)), is("", "maya"));
        assert_eq!(told(Some(&mayas), Some(&jonas)), is("maya", "jonas"));
        assert_eq!(told(Some(&jonas), Some(&nobodys)), is("jonas", ""));
        assert_eq!((told(None, Some(&mayas)), told(Some(&mayas), None)), (is("", "maya"), is("maya", "")));
        assert_eq!((told(None, Some(&nobodys)), told(Some(&mayas), Some(&mayas))), (None, None));
        let unowned = table(None);
        assert_eq!(handed(&Moved { table: &unowned, key: "1", before: Some(&nobodys), after: Some(&mayas) }), None);
    }

    #[test]
    fn the_old_and_the_new_owner_are_told_and_nobody_of_what_they_did_themselves() {
        let told = |from: Option<&str>, to: Option<&str>, by: Option<&str>| {
            let field = |name: &str, value: Option<&str>| (name.to_owned(), value.map(Value::from).unwrap_or_default());
            news(
                &JsonRecord::create(&Fields::from([
                    field("changed_by", by),
                    field("from_owner", from),
                    field("to_owner", to),
                ])),
                "maya",
            )
        };
        assert_eq!(told(Some("jonas"), Some("maya"), Some("lee")), Some(News::Assigned));
        assert_eq!(told(None, Some("maya"), None), Some(News::Assigned), "by whoever runs the database");
        assert_eq!(told(Some("maya"), None, Some("lee")), Some(News::Unassigned));
        assert_eq!(told(Some("jonas"), Some("maya"), Some("maya")), None);
        assert_eq!(told(Some("jonas"), Some("lee"), Some("ada")), None);
    }

    #[test]
    fn the_progress_of_many_counts_what_is_over() {
        let states = OperationState::ALL;
        assert_eq!(progress(&states), Progress { total: 9, done: 1, failed: 4 });
        assert_eq!(progress(&[]), Progress::default());
    }

    #[test]
    fn who_lost_hears_by_how_long() {
        let winner = |at: &str| Winner { user: "jonas".into(), at: at.into() };
        assert_eq!(lost_by_ms(&winner("2025-11-21T09:59:58+01:00"), 1_763_715_600_000), Some(2_000));
        assert_eq!(lost_by_ms(&winner("2025-11-21T09:00:01Z"), 1_763_715_600_000), Some(0), "clocks differ");
        assert_eq!(lost_by_ms(&winner("just now"), 0), None);
    }

    #[test]
    fn history_and_statistics_are_views_like_any_other() {
        let record = history_of("assignment_history", Assigned::Record { table: "jobs", key: "j-1" }, 50);
        assert!(matches!(record.filter, Some(Filter::And(terms)) if terms.len() == 2));
        assert!(record.sort[0].descending && record.limit == Some(50));
        let person = history_of("assignment_history", Assigned::Person("maya"), 50);
        assert!(matches!(person.filter, Some(Filter::Or(terms)) if terms.len() == 3));
        let [people, nobodys] = statistics(&table(Some("owner_id"))).unwrap();
        assert_eq!(people.group_by, ["owner_id"]);
        assert!(matches!(nobodys.filter, Some(Filter::IsNull(field)) if field.field == "owner_id"));
        assert_eq!(statistics(&table(None)), None);
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        let two = Fields::from([(TO.to_owned(), Value::Null), ("x".to_owned(), Value::Null)]);
        for args in
            [Fields::new(), fields(TO, Value::Number(1.0)), fields(TO, "".into()), fields("too", Value::Null), two]
        {
            assert_eq!(intend(&table(Some("owner_id")), &args).unwrap_err().code(), "invalid-operation", "{args:?}");
        }
        let error = intend(&table(None), &fields(TO, Value::Null)).unwrap_err();
        assert!(error.to_string().contains("declares no owner"), "{error}");
    }
}
