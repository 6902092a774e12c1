//! Temporary keys, and what they turned out to be. A record that the server gives its key is known as `~<the operation that
//! inserts it>` until the server has said which one it is; what was meant for the temporary key is then meant for the real one.

use super::operation::{Alias, Operation, OperationId};
use super::sorted::{Named, sort};
use super::value::{Fields, Value};

/// How many temporary keys are remembered after they were replaced; the oldest are forgotten first. No pending operation
/// needs them: it is rewritten as soon as the real key is known.
pub(crate) const ALIASES_MAX: usize = 10_000;

/// What every temporary key begins with, and no other key of a table that has them.
pub(crate) const MARK: char = '~';

/// Returns the temporary key of the record that an operation inserts; within a transaction, that its n-th part does.
pub(crate) fn temporary_key(id: OperationId, part: Option<usize>) -> String {
    let whole = [MARK.to_string(), id.to_string()].concat();
    match part {
        Some(part) => [whole, part.to_string()].join("."),
        None => whole,
    }
}

/// Returns the operation that inserts the record with this temporary key; `None` for every other text.
pub(crate) fn inserting(key: &str) -> Option<OperationId> {
    let rest = key.strip_prefix(MARK)?;
    let (id, part) = rest.split_once('.').map_or((rest, None), |(id, part)| (id, Some(part)));
    let is_part = part.is_none_or(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    OperationId::parse(id).filter(|_| is_part)
}

/// What temporary keys turned out to be.
#[derive(Debug, Default)]
pub(crate) struct Aliases(Named<Alias>);

impl Aliases {
    pub(crate) fn get(&self, from: &str) -> Option<&Alias> {
        // Nearly every text is told apart by its first letter.
        if from.starts_with(MARK) { self.0.get(from) } else { None }
    }

    /// Takes one in; what is known already stays as it is. Returns whether it is new.
    pub(crate) fn insert(&mut self, alias: Alias) -> bool {
        if self.0.contains_key(&alias.from) {
            return false;
        }
        self.0.insert(alias.from.clone(), alias);
        if self.0.len() > ALIASES_MAX {
            // Temporary keys sort as the operations were made.
            let oldest = self.0.keys().next().cloned();
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        true
    }

    /// Returns those that an operation's inserts brought about.
    pub(crate) fn given_by(&self, id: OperationId) -> Vec<Alias> {
        // Ids have one length, so that none is the beginning of another.
        let prefix = temporary_key(id, None);
        self.0.values().filter(|alias| alias.from.starts_with(&prefix)).cloned().collect()
    }

    /// Returns the temporary key under which an operation inserted a record.
    pub(crate) fn temporary_of(&self, id: OperationId, table: &str, key: &str) -> Option<String> {
        let mut aliases = self.given_by(id).into_iter();
        aliases.find(|alias| alias.table == table && alias.key().as_deref() == Some(key)).map(|alias| alias.from)
    }

    /// Returns the key that is meant by a key.
    pub(crate) fn key<'a>(&'a self, key: &'a str) -> std::borrow::Cow<'a, str> {
        match self.get(key).and_then(Alias::key) {
            Some(real) => real.into(),
            None => key.into(),
        }
    }

    /// Puts the real keys into an operation that another one's temporary keys are named in. Notes these.
    pub(crate) fn rewrite(&self, op: &mut Operation, named: &mut Vec<String>) {
        let own = Some(op.id);
        let mut rewriting = Rewriting { aliases: self, own, named };
        rewriting.key(&mut op.key);
        for fields in [&mut op.args, &mut op.set, &mut op.base] {
            rewriting.fields(fields);
        }
        for joined in &mut op.joined {
            rewriting.fields(&mut joined.set);
        }
        for part in &mut op.parts {
            rewriting.key(&mut part.key);
            for fields in [&mut part.args, &mut part.set, &mut part.base] {
                rewriting.fields(fields);
            }
        }
    }

    /// The same for a command's fields.
    pub(crate) fn rewrite_fields(&self, fields: &mut Fields) {
        Rewriting { aliases: self, own: None, named: &mut Vec::new() }.fields(fields);
    }
}

struct Rewriting<'a> {
    aliases: &'a Aliases,
    /// An operation's own temporary keys stay: sent again, it must be what it was.
    own: Option<OperationId>,
    named: &'a mut Vec<String>,
}

impl Rewriting<'_> {
    fn find(&mut self, text: &str) -> Option<Alias> {
        let alias = self.aliases.get(text).filter(|_| self.own.is_none() || inserting(text) != self.own)?.clone();
        if !self.named.contains(&alias.from) {
            self.named.push(alias.from.clone());
        }
        Some(alias)
    }

    fn key(&mut self, key: &mut String) {
        if let Some(real) = self.find(key).and_then(|alias| alias.key()) {
            *key = real;
        }
    }

    fn fields(&mut self, fields: &mut Fields) {
        for value in fields.values_mut() {
            self.value(value);
        }
    }

    fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(alias) = self.find(text) {
                    *value = alias.to;
                }
            }
            Value::List(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Map(fields) => self.fields(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Returns the operations whose temporary keys an operation names, beside its own.
pub(crate) fn inserts_named(op: &Operation) -> Vec<OperationId> {
    let mut named = Vec::new();
    for step in op.steps() {
        named.extend(inserting(step.key));
        for fields in [step.args, step.set, step.base] {
            fields.values().for_each(|value| collect(value, &mut named));
        }
    }
    // What a later one covers is seen again once that is taken back.
    for joined in &op.joined {
        joined.set.values().for_each(|value| collect(value, &mut named));
    }
    named.retain(|id| *id != op.id);
    sort(&mut named);
    named.dedup();
    named
}

fn collect(value: &Value, named: &mut Vec<OperationId>) {
    match value {
        Value::String(text) => named.extend(inserting(text)),
        Value::List(items) => items.iter().for_each(|item| collect(item, named)),
        Value::Map(fields) => fields.values().for_each(|value| collect(value, named)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "019aa5e3-f1c0-7a3b-9c1d-2e4f60718293";

    fn id() -> OperationId {
        OperationId::parse(ID).unwrap()
    }

    fn alias(from: String) -> Alias {
        Alias { table: "orders".into(), from, to: Value::Number(7.0) }
    }

    #[test]
    fn a_temporary_key_names_the_operation_that_inserts_its_record() {
        assert_eq!(inserting(&temporary_key(id(), None)), Some(id()));
        assert_eq!(inserting(&temporary_key(id(), Some(12))), Some(id()));
        for text in
            ["", "~", "~.1", ID, &format!("~{ID}."), &format!("~{ID}.x"), &format!("~{ID}0"), &format!("~~{ID}")]
        {
            assert_eq!(inserting(text), None, "{text}");
        }
    }

    #[test]
    fn values_are_replaced_at_any_depth_and_nothing_that_only_resembles_them() {
        let (from, mut aliases) = (temporary_key(id(), None), Aliases::default());
        assert!(aliases.insert(alias(from.clone())) && !aliases.insert(alias(from.clone())));
        let like = format!("see {from}");
        let nested = |text: &str| Value::List(vec![Value::Map(Fields::from([("a".to_owned(), Value::from(text))]))]);
        let mut fields = Fields::from([("deep".to_owned(), nested(&from)), ("like".to_owned(), Value::from(&*like))]);
        aliases.rewrite_fields(&mut fields);
        let map = Value::Map(Fields::from([("a".to_owned(), Value::Number(7.0))]));
        assert_eq!((&fields["deep"], &fields["like"]), (&Value::List(vec![map]), &Value::from(&*like)));
    }

    #[test]
    fn no_more_than_the_bound_is_remembered_and_the_oldest_goes_first() {
        let mut aliases = Aliases::default();
        for n in 0..=ALIASES_MAX {
            aliases.insert(alias(temporary_key(id(), Some(100_000 + n))));
        }
        assert_eq!(aliases.0.len(), ALIASES_MAX);
        assert!(aliases.get(&temporary_key(id(), Some(100_000))).is_none());
        assert!(aliases.get(&temporary_key(id(), Some(100_000 + ALIASES_MAX))).is_some());
    }
}
