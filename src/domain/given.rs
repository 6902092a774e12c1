//! Reading what rules are given: arguments, and how a table is declared.

use crate::engine::error::Error;
use crate::engine::table::TableConfig;
use crate::engine::value::{Fields, Value};

/// How long a person's id may be, in bytes.
const ID_BYTES_MAX: usize = 256;

/// True when it can be a person's id.
pub(crate) fn is_id(id: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len())
}

/// Puts pieces of text together. What formats costs the wasm more.
pub(crate) fn text(pieces: &[&str]) -> String {
    pieces.concat()
}

/// Milliseconds as a value; they are far below what a number holds exactly.
#[expect(clippy::cast_precision_loss)]
pub(crate) const fn ms(ms: u64) -> Value {
    Value::Number(ms as f64)
}

/// A person's id as text, whatever its column's type.
pub(crate) fn key(value: &Value) -> Option<String> {
    crate::engine::value::key_part(value)
}

/// The arguments of a named operation.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    name: &'a str,
    args: &'a Fields,
}

impl<'a> Given<'a> {
    pub(crate) const fn new(name: &'a str, args: &'a Fields) -> Self {
        Self { name, args }
    }

    fn wrong(self, argument: &str, what: &str) -> Error {
        Error::InvalidOperation(text(&[self.name, " takes ", argument, what]))
    }

    /// Passes on what an operation means that takes no arguments.
    pub(crate) fn nothing<T>(self, means: T) -> Result<T, Error> {
        if self.args.is_empty() { Ok(means) } else { Err(self.wrong("no arguments", "")) }
    }

    /// Refuses other arguments.
    pub(crate) fn only(self, argument: &str) -> Result<Self, Error> {
        if self.args.keys().all(|name| name == argument) {
            Ok(self)
        } else {
            Err(self.wrong(argument, ", and nothing else"))
        }
    }

    /// A person's id.
    pub(crate) fn id(self, argument: &str) -> Result<&'a str, Error> {
        let id = self.args.get(argument).and_then(Value::as_str);
        let fits = id.filter(|id| is_id(id));
        fits.ok_or_else(|| self.wrong(argument, ", a person's id of 1 to 256 bytes"))
    }

    /// Words for a person.
    pub(crate) fn words(self, argument: &str, len_max: usize) -> Result<&'a str, Error> {
        let words = self.args.get(argument).and_then(Value::as_str);
        let fits = words.filter(|words| !words.trim().is_empty() && words.chars().count() <= len_max);
        fits.ok_or_else(|| self.wrong(argument, ", text that is neither empty nor too long"))
    }
}

/// Refuses a table that lacks a field which its domain needs, and has those indexed that its lists are kept by.
pub(crate) fn require(table: &mut TableConfig, fields: &[&str], indexed: &[&str]) -> Result<(), Error> {
    let is_there = |field: &&&str| table.fields.iter().any(|known| known == **field);
    if let Some(field) = fields.iter().find(|field| !is_there(field)) {
        let why = text(&["table \"", &table.name, "\" needs the field \"", field, "\" for its domain"]);
        return Err(Error::InvalidConfiguration(why));
    }
    for field in indexed {
        if !table.indexed.iter().any(|known| known == field) {
            table.indexed.push((*field).to_owned());
        }
    }
    Ok(())
}
