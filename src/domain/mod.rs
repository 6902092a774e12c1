//! The rules of who does what when, on top of the engine. One file, one domain; they never import each other.

pub(crate) mod assignment;

use crate::engine::error::Error;
use crate::engine::operation::Step;
use crate::engine::overlay::{Effect, Inverse, Rules};
use crate::engine::record::Record;
use crate::engine::table::TableConfig;
use crate::engine::value::Fields;

/// Sends each named operation to its domain.
#[derive(Clone, Copy, Debug, Default)]
pub struct Domains;

impl<R: Record> Rules<R> for Domains {
    fn intend(&self, table: &TableConfig, name: &str, args: &Fields, _record: &R) -> Result<Fields, Error> {
        match name {
            assignment::ASSIGN => assignment::intend(table, args),
            _ => Err(Error::InvalidOperation(format!(
                "there is no operation \"{name}\"; there are insert, patch, delete and assign"
            ))),
        }
    }

    fn inverse(&self, table: &TableConfig, step: &Step<'_>) -> Option<Inverse> {
        match step.name {
            assignment::ASSIGN => assignment::inverse(table, step),
            _ => None,
        }
    }

    fn effect(&self, table: &TableConfig, step: &Step<'_>, record: &R) -> Effect {
        match step.name {
            assignment::ASSIGN => assignment::effect(table, step, record),
            // A newer release's operation: it stays in the outbox, and only the server can say what it does.
            _ => Effect::DoesNotApply,
        }
    }
}
