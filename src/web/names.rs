//! Names of members as JavaScript strings that are made once: each crossing would decode, copy and look up the same few again.

use std::cell::RefCell;
use std::collections::HashMap;

use rustc_hash::FxBuildHasher;
use wasm_bindgen::JsValue;

/// How many are kept. Those of the protocol are some hundred, and an application declares the others; what else comes in arguments is
/// made anew beyond this.
const NAMES_MAX: usize = 1_024;

/// Longer ones are rare.
const BYTES_MAX: usize = 64;

thread_local! {
    static NAMES: RefCell<HashMap<String, JsValue, FxBuildHasher>> = RefCell::default();
}

/// Returns a name. Nothing stays borrowed while it is used, for a getter of somebody else's may call in again.
pub(crate) fn name(text: &str) -> JsValue {
    NAMES.with(|names| {
        // A crash may have left it borrowed.
        let Ok(mut names) = names.try_borrow_mut() else { return JsValue::from_str(text) };
        if let Some(known) = names.get(text) {
            return known.clone();
        }
        let name = JsValue::from_str(text);
        if text.len() <= BYTES_MAX && names.len() < NAMES_MAX {
            names.insert(text.to_owned(), name.clone());
        }
        name
    })
}
