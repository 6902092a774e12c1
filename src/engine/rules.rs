//! What the domains add to the engine: named operations as functions of the record that is seen, and of what else is.
//!
//! Rules are pure: what they may know is in their arguments, so the same trace gives the same decisions. Only what a person asks for
//! is decided by the clock and by other records; a pending operation keeps what was decided then, however often it is folded again.

use super::error::Error;
use super::operation::Step;
pub use super::output::Invalidation;
use super::table::TableConfig;
use super::value::{Fields, Value};
use super::view::ViewSpec;

/// How many lists a table's rules may have kept for them.
pub const WATCHES_MAX: usize = 8;

/// How many facts of a kind an engine can be told, and how long each may be, in bytes of text, roughly, where its rules say nothing else.
/// Of one kind are those whose names are the same up to a colon.
pub const FACTS_MAX: usize = 256;
/// See [`FACTS_MAX`].
pub const FACT_BYTES_MAX: usize = 1 << 18;

/// What a named operation does to the current record.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// It sets these fields.
    Set(Fields),
    /// It no longer applies: it is hidden, and doubtful until the server answers.
    DoesNotApply,
}

/// What undoes a named operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Inverse {
    /// `patch`, or a named operation.
    pub name: String,
    /// Its arguments.
    pub args: Fields,
    /// What it sets.
    pub set: Fields,
    /// What it must find in the record: what the undone operation set.
    pub base: Fields,
}

/// What else is seen. Each look costs as much as it brings, and O(log n).
pub trait Look<R> {
    /// Returns the record under a key.
    fn record(&self, table: &str, key: &str) -> Option<R>;

    /// Returns the first records of one of the table's lists, with their keys. Records that a transaction under way has touched come
    /// first, whether they belong into the list or not.
    fn first(&self, table: &str, watch: usize, len: usize) -> Vec<(String, R)>;

    /// Returns the records of one of the table's lists whose first field to sort by has this value, under the same rule.
    fn equal(&self, table: &str, watch: usize, value: &Value, len: usize) -> Vec<(String, R)>;
}

/// What a rule may know besides the record.
#[derive(Clone, Copy)]
pub struct Context<'a, R> {
    /// The person's id.
    pub user: &'a str,
    /// The server's clock, as far as this engine can tell: milliseconds since 1970.
    pub now_ms: u64,
    /// What the application told of the world, by name.
    pub facts: &'a Fields,
    /// The other records.
    pub look: &'a dyn Look<R>,
}

/// A record that the server changed.
#[derive(Clone, Copy)]
pub struct Moved<'a, R> {
    /// Its table.
    pub table: &'a TableConfig,
    /// Its key.
    pub key: &'a str,
    /// How it was, if it was there.
    pub before: Option<&'a R>,
    /// How it is.
    pub after: Option<&'a R>,
}

/// The rules of the domains.
pub trait Rules<R> {
    /// Checks how a table is declared, adds the indexed fields that its rules need, and returns the lists that they look into.
    ///
    /// # Errors
    /// [`Error::InvalidConfiguration`], which says what can't work.
    fn declare(&self, _table: &mut TableConfig) -> Result<Vec<ViewSpec>, Error> {
        Ok(Vec::new())
    }

    /// Checks something that the application tells of the world.
    ///
    /// # Errors
    /// When no rule knows such a thing, or it can't be read.
    fn check_fact(&self, name: &str, _fact: &Value) -> Result<(), Error> {
        Err(Error::InvalidOperation(["no rule knows what \"", name, "\" is"].concat()))
    }

    /// Says how many facts of such a kind there may be, and how long each, as [`FACTS_MAX`] and [`FACT_BYTES_MAX`] do.
    fn facts_max(&self, _name: &str) -> (usize, usize) {
        (FACTS_MAX, FACT_BYTES_MAX)
    }

    /// True when it matters to some rule what the server changes in a table.
    fn follows(&self, _table: &TableConfig, _facts: &Fields) -> bool {
        false
    }

    /// True when such a change is one of what the person of this session may see or do.
    fn changes_rights(&self, _user: &str, _moved: &Moved<'_, R>) -> bool {
        false
    }

    /// Says which queries of other caches have become stale by changes of the server's.
    fn stale(&self, _facts: &Fields, _moved: &[Moved<'_, R>]) -> Invalidation {
        Invalidation::default()
    }

    /// True when a server that decides about a record of this table holds nothing but that record. What holds more takes its locks in an order
    /// of its own, and two calls that each decide about several would wait for each other.
    fn is_self_contained(&self, _table: &TableConfig) -> bool {
        true
    }

    /// True for a named operation that leaves it to the server which record it is about.
    fn leaves_choice(&self, _table: &TableConfig, _name: &str) -> bool {
        false
    }

    /// Predicts which record the server will choose, and returns its key.
    ///
    /// # Errors
    /// When there is none that it could choose.
    fn choose(
        &self,
        table: &TableConfig,
        name: &str,
        _args: &Fields,
        _context: &Context<'_, R>,
    ) -> Result<String, Error> {
        Err(Error::MissingKey { table: table.name.clone(), field: name.to_owned() })
    }

    /// Says what a named operation sets, when a person asks for it.
    ///
    /// # Errors
    /// When there is no such operation, its arguments make no sense, or the record does not allow it.
    fn intend(
        &self,
        table: &TableConfig,
        name: &str,
        args: &Fields,
        record: &R,
        context: &Context<'_, R>,
    ) -> Result<Fields, Error>;

    /// Checks an insert, a patch or a delete, when a person asks for it. `record`: as it is before.
    ///
    /// # Errors
    /// When a rule of the table's domain does not allow it.
    fn check(
        &self,
        _table: &TableConfig,
        _step: &Step<'_>,
        _record: Option<&R>,
        _context: &Context<'_, R>,
    ) -> Result<(), Error> {
        Ok(())
    }

    /// True when a new operation can be done only after a pending one of the same table, whatever their records.
    fn waits_for(&self, _table: &TableConfig, _step: &Step<'_>, _pending: &Step<'_>) -> bool {
        false
    }

    /// Says what undoes a named operation; `None` when nothing does.
    fn inverse(&self, table: &TableConfig, step: &Step<'_>) -> Option<Inverse>;

    /// Says what a pending named operation, or such a part of one, does to the record as it is now.
    fn effect(&self, table: &TableConfig, step: &Step<'_>, record: &R) -> Effect;
}
