//! The package's second module: it writes the SQL of a policy, for whoever prepares the database. No page loads it, and nothing of
//! an engine that runs is in it.

use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::border::{refuse, refuse_with, value};
use crate::domain::policy;

/// Writes the guard and the row-level security of a policy.
///
/// # Errors
/// `{code, message}`, as the engine refuses the same declaration.
#[wasm_bindgen(js_name = policySql)]
pub fn policy_sql(declaration: &JsValue) -> Result<String, JsValue> {
    let declaration = value(declaration).ok_or_else(|| refuse("invalid-value", "a policy is a plain value"))?;
    policy::policy_sql(&declaration).map_err(|error| refuse_with(&error))
}
