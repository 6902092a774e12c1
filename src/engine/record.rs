//! What the engine needs to be able to do with a record, and its implementation for JSON.
//!
//! In the browser a record is a JavaScript object held by reference (`web::js_record`); natively it is [`JsonRecord`], and
//! the very same engine runs over both.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::value::{Fields, Value};

/// One row of a table, as the engine holds it: immutable, cheap to clone, never looked into except field by field.
pub trait Record: Clone {
    /// Returns a field's value; a missing field is `None`.
    fn field(&self, name: &str) -> Option<Value>;

    /// Makes a record out of its fields.
    fn create(fields: &Fields) -> Self;

    /// Makes the record that has these fields changed; `self` stays as it is.
    #[must_use]
    fn patched(&self, set: &Fields) -> Self;

    /// Makes the record that has the fields which `self` lacks filled in from an older state of it.
    #[must_use]
    fn filled(&self, older: &Self) -> Self;
}

/// A record for everywhere outside the browser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonRecord(Rc<Fields>);

impl JsonRecord {
    /// Returns all fields.
    #[must_use]
    pub fn fields(&self) -> &Fields {
        &self.0
    }
}

impl Record for JsonRecord {
    fn field(&self, name: &str) -> Option<Value> {
        self.0.get(name).cloned()
    }

    fn create(fields: &Fields) -> Self {
        Self(Rc::new(fields.clone()))
    }

    fn patched(&self, set: &Fields) -> Self {
        let mut fields = (*self.0).clone();
        fields.extend(set.iter().map(|(name, value)| (name.clone(), value.clone())));
        Self(Rc::new(fields))
    }

    fn filled(&self, older: &Self) -> Self {
        let mut fields = (*older.0).clone();
        fields.extend(self.0.iter().map(|(name, value)| (name.clone(), value.clone())));
        Self(Rc::new(fields))
    }
}
