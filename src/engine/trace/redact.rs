//! Takes secret values out of recorded inputs. Each is replaced by another of its kind, equal values by equal ones and in the same order, so
//! that what the engine decides by comparing them it decides again. What it computes from them — a sum, whether a text is part of another — it
//! does not; and of true and false only the difference is kept.
//!
//! Secret are the values of declared fields, and what named operations on such tables are given. A text that is secret anywhere is
//! replaced everywhere: as a value of any field, and within messages.

use super::Traced;
use crate::engine::input::{Choice, Command, Input, Pulled, ServerEvent, Stored};
use crate::engine::merge::{Decision, FieldConflict};
use crate::engine::operation::{Answer, Operation, name};
use crate::engine::record::Record;
use crate::engine::stored::Content;
use crate::engine::table::{Row, TableConfig};
use crate::engine::tabs::TabMessage;
use crate::engine::value::{Fields, Value};
use crate::engine::view::Filter;

/// Where a value was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Secret,
    /// What a named operation was given, on a table that has secrets: its texts are taken for some.
    Argument,
    Open,
}

/// What happens to the values of all inputs, one after the other.
trait Walker {
    fn value(&mut self, place: Place, value: &mut Value);
    fn text(&mut self, text: &mut String);
}

/// Replaces all that is secret.
pub(super) fn redact<R: Record>(inputs: &mut [Traced<R>], tables: &[TableConfig]) {
    if tables.iter().all(|table| table.secret.is_empty()) {
        return;
    }
    let mut secrets = Secrets::default();
    for traced in &mut *inputs {
        walk(&mut traced.input, tables, &mut secrets);
    }
    secrets.texts.sort_unstable();
    secrets.texts.dedup();
    secrets.numbers.sort_unstable_by(f64::total_cmp);
    secrets.numbers.dedup();
    let mut masks = Masks::new(secrets);
    for traced in &mut *inputs {
        walk(&mut traced.input, tables, &mut masks);
    }
}

/// Collects what is secret.
#[derive(Default)]
struct Secrets {
    texts: Vec<String>,
    numbers: Vec<f64>,
    flags: Vec<bool>,
}

impl Secrets {
    fn note_text(&mut self, text: &str) {
        if !text.is_empty() {
            self.texts.push(text.to_owned());
        }
    }
}

impl Walker for Secrets {
    fn value(&mut self, place: Place, value: &mut Value) {
        match (place, value) {
            (Place::Open, _) | (_, Value::Null) | (Place::Argument, Value::Bool(_) | Value::Number(_)) => {}
            (Place::Secret, Value::Bool(flag)) => {
                if !self.flags.contains(flag) {
                    self.flags.push(*flag);
                }
            }
            (Place::Secret, Value::Number(number)) => self.numbers.push(*number),
            (_, Value::String(text)) => self.note_text(text),
            (_, Value::List(items)) => items.iter_mut().for_each(|item| self.value(place, item)),
            (_, Value::Map(fields)) => {
                for (name, mut item) in std::mem::take(fields) {
                    if place == Place::Secret {
                        self.note_text(&name);
                    }
                    self.value(place, &mut item);
                    fields.insert(name, item);
                }
            }
        }
    }

    fn text(&mut self, _: &mut String) {}
}

/// Puts something else in the place of what is secret.
struct Masks {
    secrets: Secrets,
    /// The places of the texts in their order, the longest text first.
    by_length: Vec<usize>,
}

impl Masks {
    fn new(secrets: Secrets) -> Self {
        let mut by_length: Vec<usize> = (0..secrets.texts.len()).collect();
        by_length.sort_by_key(|rank| std::cmp::Reverse(secrets.texts[*rank].len()));
        Self { secrets, by_length }
    }

    fn mask(rank: usize) -> String {
        format!("secret-{rank:06}")
    }

    fn masked(&self, text: &str) -> Option<String> {
        self.secrets.texts.binary_search_by(|known| known.as_str().cmp(text)).ok().map(Self::mask)
    }

    fn masked_number(&self, number: f64) -> Option<f64> {
        let rank = self.secrets.numbers.binary_search_by(|known| known.total_cmp(&number)).ok()?;
        u32::try_from(rank).ok().map(f64::from)
    }
}

impl Walker for Masks {
    fn value(&mut self, place: Place, value: &mut Value) {
        match value {
            // Of the two there are, the one that came first.
            Value::Bool(flag) if place == Place::Secret => *flag = self.secrets.flags.first() != Some(flag),
            Value::Number(number) if place != Place::Open => *number = self.masked_number(*number).unwrap_or(*number),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) => *text = self.masked(text).unwrap_or_else(|| std::mem::take(text)),
            Value::List(items) => items.iter_mut().for_each(|item| self.value(place, item)),
            Value::Map(fields) => {
                for (name, mut item) in std::mem::take(fields) {
                    self.value(place, &mut item);
                    let mask = if place == Place::Secret { self.masked(&name) } else { None };
                    fields.insert(mask.unwrap_or(name), item);
                }
            }
        }
    }

    fn text(&mut self, text: &mut String) {
        for rank in &self.by_length {
            let secret = &self.secrets.texts[*rank];
            if text.contains(secret.as_str()) {
                *text = text.replace(secret.as_str(), &Self::mask(*rank));
            }
        }
    }
}

fn declared<'a>(tables: &'a [TableConfig], name: &str) -> Option<&'a TableConfig> {
    tables.iter().find(|table| table.name == name)
}

fn walk<R: Record>(input: &mut Input<R>, tables: &[TableConfig], walker: &mut dyn Walker) {
    match input {
        Input::Mutate(wanted) => command(wanted, tables, walker),
        Input::Transact { commands } => commands.iter_mut().for_each(|wanted| command(wanted, tables, walker)),
        Input::OperationStored { stored: Stored::Failed(text), .. }
        | Input::LinkClosed { message: text, .. }
        | Input::PullFailed { message: text, .. }
        | Input::PushFailed { message: text, .. }
        | Input::CallFailed { message: text, .. }
        | Input::TokenMissed { message: text, .. }
        | Input::TokenRefused { message: text } => walker.text(text),
        Input::Unreadable { place, message, .. } => {
            walker.text(place);
            walker.text(message);
        }
        Input::EntriesFound { entries, .. } => {
            for entry in entries {
                match &mut entry.content {
                    Content::Operation(stored) => operation(&mut stored.op, tables, walker),
                    Content::Corrupt(why) | Content::Sealed(_, why) => walker.text(why),
                    // A key is never secret.
                    Content::Alias(_) | Content::Other(_) => {}
                }
            }
        }
        Input::RecordsFound { rows: found } => rows(found, tables, walker),
        Input::TabMessageReceived(heard) => message(heard, tables, walker),
        Input::ServerChanged { events } => {
            for event in events {
                if let ServerEvent::Changed { row: changed, .. } = event {
                    row(changed, tables, walker);
                }
            }
        }
        Input::Pulled(pulled) => pull(pulled, tables, walker),
        Input::Answered { answer: told } => answer(told, tables, walker),
        Input::CallAnswered { answers, unanswered, .. } => {
            for told in answers {
                answer(told, tables, walker);
            }
            for one in unanswered {
                walker.text(&mut one.message);
            }
        }
        Input::OpenView { spec, .. } => {
            if let Some(filter) = &mut spec.filter {
                condition(filter, declared(tables, &spec.table), walker);
            }
        }
        Input::Resolve { choice: Choice::Fields(set), .. } => {
            for (name, mut value) in std::mem::take(set) {
                walker.value(place_anywhere(tables, &name), &mut value);
                set.insert(name, value);
            }
        }
        Input::Cancel { .. }
        | Input::Undo { .. }
        | Input::Resolve { .. }
        | Input::Retry { .. }
        | Input::Reconnect
        | Input::Purge
        | Input::Logout { .. }
        | Input::RightsChanged
        | Input::FactTold { .. }
        | Input::CloseView { .. }
        | Input::SetPresence { .. }
        | Input::PresenceHeard { .. }
        | Input::Close
        | Input::OperationStored { .. }
        | Input::OperationDurable { .. }
        | Input::StorageProbed { .. }
        | Input::ChannelProbed { .. }
        | Input::LockGranted
        | Input::LockLost
        | Input::NoLocks
        | Input::LinkJoined { .. }
        | Input::LinkLive { .. }
        | Input::Missed
        | Input::Gathered
        | Input::CallDeclined { .. }
        | Input::TokenRefreshed
        | Input::TokenKept
        | Input::Ponged { .. }
        | Input::Activity { .. }
        | Input::Visibility { .. }
        | Input::NetworkHinted { .. }
        | Input::Froze
        | Input::Woke
        | Input::TimerFired => {}
    }
}

fn command(command: &mut Command, tables: &[TableConfig], walker: &mut dyn Walker) {
    let Command { name, table, set, args, .. } = command;
    fields(declared(tables, table), set, walker);
    arguments(declared(tables, table), name, args, walker);
}

fn pull<R: Record>(pulled: &mut Pulled<R>, tables: &[TableConfig], walker: &mut dyn Walker) {
    rows(&mut pulled.records, tables, walker);
    for settled in &mut pulled.settled {
        answer(settled, tables, walker);
    }
    for cover in &mut pulled.covers {
        if let Some(values) = &mut cover.values {
            fields(declared(tables, &cover.table), values, walker);
        }
    }
}

fn condition(filter: &mut Filter, table: Option<&TableConfig>, walker: &mut dyn Walker) {
    let mut value = |field: &str, value: &mut Value| walker.value(place(table, field), value);
    match filter {
        Filter::Eq(term)
        | Filter::Neq(term)
        | Filter::Lt(term)
        | Filter::Lte(term)
        | Filter::Gt(term)
        | Filter::Gte(term)
        | Filter::Contains(term) => value(&term.field, &mut term.value),
        Filter::In(terms) => terms.values.iter_mut().for_each(|one| value(&terms.field, one)),
        Filter::Between(range) => {
            value(&range.field, &mut range.from);
            value(&range.field, &mut range.to);
        }
        Filter::IsNull(_) => {}
        Filter::And(all) | Filter::Or(all) => all.iter_mut().for_each(|one| condition(one, table, walker)),
        Filter::Not(one) => condition(one, table, walker),
    }
}

fn message<R: Record>(message: &mut TabMessage<R>, tables: &[TableConfig], walker: &mut dyn Walker) {
    if let Some(records) = &mut message.records {
        rows(records, tables, walker);
    }
    for op in message.operations.iter_mut().chain(&mut message.rebased).flatten().chain(&mut message.op) {
        operation(op, tables, walker);
    }
    if let Some(told) = &mut message.answer {
        answer(told, tables, walker);
    }
    if let Some(link) = &mut message.link {
        walker.text(&mut link.why);
    }
    if let Some(text) = &mut message.message {
        walker.text(text);
    }
    if let Some(decided) = &mut message.decision {
        decision(decided, tables, walker);
    }
}

/// A decision names no table: what is secret in any of them is secret in it.
fn decision(decision: &mut Decision, tables: &[TableConfig], walker: &mut dyn Walker) {
    for FieldConflict { field, base, ours, theirs, merged, .. } in &mut decision.fields {
        for value in [base, ours, theirs].into_iter().chain(merged) {
            walker.value(place_anywhere(tables, field), value);
        }
    }
}

fn operation(op: &mut Operation, tables: &[TableConfig], walker: &mut dyn Walker) {
    let table = declared(tables, &op.table);
    fields(table, &mut op.set, walker);
    fields(table, &mut op.base, walker);
    for joined in &mut op.joined {
        fields(table, &mut joined.set, walker);
    }
    arguments(table, &op.name, &mut op.args, walker);
    for part in &mut op.parts {
        let table = declared(tables, &part.table);
        fields(table, &mut part.set, walker);
        fields(table, &mut part.base, walker);
        arguments(table, &part.name, &mut part.args, walker);
    }
    if let Some(decided) = &mut op.decision {
        decision(decided, tables, walker);
    }
}

fn answer<R: Record>(answer: &mut Answer<R>, tables: &[TableConfig], walker: &mut dyn Walker) {
    if let Some(Some(told)) = &mut answer.record {
        *told = record(told, declared(tables, &answer.table), walker);
    }
    for each in &mut answer.records {
        if let Some(told) = &mut each.record {
            *told = record(told, declared(tables, &each.table), walker);
        }
    }
    if let Some(text) = &mut answer.message {
        walker.text(text);
    }
}

fn rows<R: Record>(rows: &mut [Row<R>], tables: &[TableConfig], walker: &mut dyn Walker) {
    for each in rows {
        row(each, tables, walker);
    }
}

fn row<R: Record>(row: &mut Row<R>, tables: &[TableConfig], walker: &mut dyn Walker) {
    if let Some(told) = &mut row.record {
        *told = record(told, declared(tables, &row.table), walker);
    }
}

/// Makes a record of what is declared: whether anything else in it is secret nobody has said.
fn record<R: Record>(told: &R, table: Option<&TableConfig>, walker: &mut dyn Walker) -> R {
    let mut known = Fields::new();
    if let Some(table) = table {
        for name in table.fields.iter().chain([&table.version, &table.operation]) {
            if let Some(value) = told.field(name) {
                known.insert(name.clone(), value);
            }
        }
    }
    fields(table, &mut known, walker);
    R::create(&known)
}

fn place(table: Option<&TableConfig>, field: &str) -> Place {
    let is_secret = table.is_some_and(|table| table.secret.iter().any(|secret| secret == field));
    if is_secret { Place::Secret } else { Place::Open }
}

fn place_anywhere(tables: &[TableConfig], field: &str) -> Place {
    let is_secret = tables.iter().any(|table| place(Some(table), field) == Place::Secret);
    if is_secret { Place::Secret } else { Place::Open }
}

fn fields(table: Option<&TableConfig>, fields: &mut Fields, walker: &mut dyn Walker) {
    for (name, mut value) in std::mem::take(fields) {
        walker.value(place(table, &name), &mut value);
        fields.insert(name, value);
    }
}

fn arguments(table: Option<&TableConfig>, operation: &str, args: &mut Fields, walker: &mut dyn Walker) {
    let has_secrets = table.is_some_and(|table| !table.secret.is_empty());
    let is_named = !matches!(operation, name::INSERT | name::PATCH | name::DELETE);
    for (name, mut value) in std::mem::take(args) {
        let is_secret = table.is_some_and(|table| table.secret.contains(&name));
        let place = match (is_secret, has_secrets && is_named) {
            (true, _) => Place::Secret,
            (false, true) => Place::Argument,
            (false, false) => Place::Open,
        };
        walker.value(place, &mut value);
        args.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::JsonRecord;
    use crate::engine::time::Now;
    use serde_json::{Value as Json, json};

    fn redacted(sets: &[Json]) -> Vec<Json> {
        let fields = ["id", "pay", "note"].map(str::to_owned).to_vec();
        let mut table = TableConfig::new("jobs".into(), vec!["id".into()], fields);
        table.secret = vec!["pay".into()];
        let input = |set: &Json| -> Traced<JsonRecord> {
            let command = json!({"mutate": {"name": "insert", "table": "jobs", "set": set}});
            Traced { now: Now::default(), input: serde_json::from_value(command).unwrap() }
        };
        let mut inputs: Vec<_> = sets.iter().map(input).collect();
        redact(&mut inputs, &[table]);
        inputs.iter().map(|traced| serde_json::to_value(&traced.input).unwrap()["mutate"]["set"].clone()).collect()
    }

    fn masks(values: &[Json]) -> Vec<Json> {
        redacted(&values.iter().map(|value| json!({"pay": value})).collect::<Vec<_>>())
            .into_iter()
            .map(|set| set["pay"].clone())
            .collect()
    }

    #[test]
    fn equal_values_have_equal_masks_of_their_kind_and_in_their_order() {
        assert_eq!(masks(&[json!(900), json!(-3.5), json!(900)]), [json!(1), json!(0), json!(1)]);
        assert_eq!(
            masks(&[json!("b"), json!("a"), json!("")]),
            [json!("secret-000001"), json!("secret-000000"), json!("")]
        );
        assert_eq!(
            masks(&[json!(true), json!(false), json!(true), json!(null)]),
            [json!(false), json!(true), json!(false), json!(null)]
        );
    }

    #[test]
    fn what_is_inside_a_secret_is_secret_its_names_too() {
        assert_eq!(masks(&[json!(["b", {"a": "c"}])]), [json!(["secret-000001", {"secret-000000": "secret-000002"}])]);
    }

    #[test]
    fn a_secret_text_is_replaced_wherever_it_is_a_value_and_other_values_stay() {
        let sets = [json!({"pay": "much", "note": "much"}), json!({"note": "little"}), json!({"pay": 7, "note": 7})];
        let expected = [
            json!({"pay": "secret-000000", "note": "secret-000000"}),
            json!({"note": "little"}),
            json!({"pay": 0, "note": 7}),
        ];
        assert_eq!(redacted(&sets), expected);
    }
}
