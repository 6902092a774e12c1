//! The rules of who does what when, on top of the engine. One file, one domain; they never import each other.

pub(crate) mod assignment;
pub(crate) mod availability;
pub(crate) mod chat;
pub(crate) mod form;
mod given;
pub(crate) mod interaction;
pub(crate) mod invalidation;
pub(crate) mod notification;
pub(crate) mod policy;
pub(crate) mod profile;
#[cfg(test)]
mod tests;

use crate::engine::error::Error;
use crate::engine::operation::Step;
use crate::engine::record::Record;
use crate::engine::rules::{Context, Effect, FACT_BYTES_MAX, FACTS_MAX, Invalidation, Inverse, Moved, Rules};
use crate::engine::table::TableConfig;
use crate::engine::value::{Fields, Value};
use crate::engine::view::ViewSpec;

use given::text;

/// Sends each table to its domain, and each named operation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Domains;

/// The domain of a table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// None but what every table has: an owner, perhaps.
    Plain,
    Availability,
    Chat,
    Form,
    Interaction,
    Profile,
}

impl Kind {
    fn of(table: &TableConfig) -> Result<Self, Error> {
        match table.domain.get("kind").map(Value::as_str) {
            None if table.domain.is_empty() => Ok(Self::Plain),
            Some(Some(availability::KIND)) => Ok(Self::Availability),
            Some(Some(chat::KIND)) => Ok(Self::Chat),
            Some(Some(form::KIND)) => Ok(Self::Form),
            Some(Some(interaction::KIND)) => Ok(Self::Interaction),
            Some(Some(profile::KIND)) => Ok(Self::Profile),
            None | Some(_) => Err(Error::InvalidConfiguration(text(&[
                "the domain of table \"",
                &table.name,
                "\" has a kind that is not known here; there are availability, chat, form, interaction and profile",
            ]))),
        }
    }

    /// The kinds were checked when the tables were declared.
    fn known(table: &TableConfig) -> Self {
        Self::of(table).unwrap_or(Self::Plain)
    }
}

impl<R: Record> Rules<R> for Domains {
    fn declare(&self, table: &mut TableConfig) -> Result<Vec<ViewSpec>, Error> {
        match Kind::of(table)? {
            Kind::Plain => Ok(Vec::new()),
            Kind::Availability => availability::declare(table),
            Kind::Chat => chat::declare(table),
            Kind::Form => form::declare(table).map(|()| Vec::new()),
            Kind::Interaction => interaction::declare(table).map(|()| Vec::new()),
            Kind::Profile => profile::declare(table).map(|()| Vec::new()),
        }
    }

    fn check_fact(&self, name: &str, fact: &Value) -> Result<(), Error> {
        let unknown = || Err(Error::InvalidOperation(text(&["no rule knows what \"", name, "\" is"])));
        let known = availability::check_fact(name, fact).or_else(|| policy::check_fact(name, fact));
        known.or_else(|| invalidation::check_fact(name, fact)).unwrap_or_else(unknown)
    }

    fn facts_max(&self, name: &str) -> (usize, usize) {
        availability::facts_max(name).unwrap_or((FACTS_MAX, FACT_BYTES_MAX))
    }

    fn follows(&self, table: &TableConfig, facts: &Fields) -> bool {
        Kind::known(table) == Kind::Profile || facts.contains_key(invalidation::INVALIDATIONS)
    }

    fn changes_rights(&self, user: &str, moved: &Moved<'_, R>) -> bool {
        Kind::known(moved.table) == Kind::Profile && profile::changes_rights(user, moved)
    }

    fn stale(&self, facts: &Fields, moved: &[Moved<'_, R>]) -> Invalidation {
        invalidation::stale(facts, moved)
    }

    /// Chats go with their operators, and slots with whose they are.
    fn is_self_contained(&self, table: &TableConfig) -> bool {
        !matches!(Kind::known(table), Kind::Chat | Kind::Availability)
    }

    fn leaves_choice(&self, table: &TableConfig, name: &str) -> bool {
        Kind::known(table) == Kind::Chat && chat::leaves_choice(name)
    }

    fn choose(
        &self,
        table: &TableConfig,
        _name: &str,
        args: &Fields,
        context: &Context<'_, R>,
    ) -> Result<String, Error> {
        chat::choose(table, args, context)
    }

    fn intend(
        &self,
        table: &TableConfig,
        name: &str,
        args: &Fields,
        record: &R,
        context: &Context<'_, R>,
    ) -> Result<Fields, Error> {
        let none = Fields::new();
        let step = Step { name, table: &table.name, key: "", args, set: &none, base: &none };
        policy::can(&step, Some(record), context)?;
        match (Kind::known(table), name) {
            (Kind::Chat, _) => chat::intend(table, name, args, record, context),
            (_, assignment::ASSIGN) => assignment::intend(table, args),
            (_, _) if chat::NAMES.contains(&name) => Err(Error::InvalidOperation(text(&[
                "\"",
                name,
                "\" is an operation of chats, and table \"",
                &table.name,
                "\" declares no domain of that kind",
            ]))),
            (_, _) => Err(Error::InvalidOperation(text(&[
                "there is no operation \"",
                name,
                "\"; there are insert, patch, delete, assign, and those of the table's domain",
            ]))),
        }
    }

    fn check(
        &self,
        table: &TableConfig,
        step: &Step<'_>,
        record: Option<&R>,
        context: &Context<'_, R>,
    ) -> Result<(), Error> {
        policy::can(step, record, context)?;
        match Kind::known(table) {
            Kind::Plain | Kind::Form | Kind::Interaction | Kind::Profile => Ok(()),
            Kind::Availability => availability::check(table, step, record, context),
            Kind::Chat => chat::check(step),
        }
    }

    fn waits_for(&self, table: &TableConfig, step: &Step<'_>, pending: &Step<'_>) -> bool {
        Kind::known(table) == Kind::Chat && chat::waits_for(step, pending)
    }

    fn inverse(&self, table: &TableConfig, step: &Step<'_>) -> Option<Inverse> {
        match step.name {
            assignment::ASSIGN => assignment::inverse(table, step),
            // What a chat has been through is not undone: somebody may have read it.
            _ => None,
        }
    }

    fn effect(&self, table: &TableConfig, step: &Step<'_>, record: &R) -> Effect {
        match (Kind::known(table), step.name) {
            (Kind::Chat, _) => chat::effect(step, record),
            (_, assignment::ASSIGN) => assignment::effect(table, step, record),
            // A newer release's operation: it stays in the outbox, and only the server can say what it does.
            (_, _) => Effect::DoesNotApply,
        }
    }
}
