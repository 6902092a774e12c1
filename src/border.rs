//! What passes the border to JavaScript in both modules of the package: values on the way in, refusals on the way out.

use std::cell::Cell;

use js_sys::{Array, Object, Reflect};
use wasm_bindgen::{JsCast, JsValue};

use crate::engine::error::Error;
use crate::engine::value::{DEPTH_MAX, Fields, Value};

thread_local! {
    /// How many more values may be read of what is being read.
    static LEFT: Cell<u32> = const { Cell::new(u32::MAX) };
}

/// Reads something of which at most so many values are read.
#[cfg(feature = "browser")]
pub(crate) fn at_most<T>(values: u32, read: impl FnOnce() -> T) -> T {
    LEFT.with(|left| left.set(values));
    let read = read();
    LEFT.with(|left| left.set(u32::MAX));
    read
}

fn take_one(left: &Cell<u32>) -> bool {
    match left.get() {
        u32::MAX => true,
        0 => false,
        more => {
            left.set(more - 1);
            true
        }
    }
}

/// Reads a value; `None` for what is none.
pub(crate) fn value(js: &JsValue) -> Option<Value> {
    value_within(js, DEPTH_MAX)
}

fn value_within(js: &JsValue, depth: usize) -> Option<Value> {
    if !LEFT.with(take_one) {
        return None;
    }
    if js.is_null() {
        return Some(Value::Null);
    }
    if let Some(flag) = js.as_bool() {
        return Some(Value::Bool(flag));
    }
    if let Some(number) = js.as_f64() {
        return Value::number(number);
    }
    if let Some(text) = js.as_string() {
        return Some(Value::String(text));
    }
    let depth = depth.checked_sub(1)?;
    if let Some(items) = js.dyn_ref::<Array>() {
        return items.iter().map(|item| value_within(&item, depth)).collect::<Option<_>>().map(Value::List);
    }
    // A function is an object to JavaScript, and no value to us.
    if js.is_function() {
        return None;
    }
    fields_within(js.dyn_ref::<Object>()?, depth).map(Value::Map)
}

/// Reads an object of values; `None` for what is none.
#[cfg(feature = "browser")]
pub(crate) fn fields(object: &Object) -> Option<Fields> {
    fields_within(object, DEPTH_MAX)
}

fn fields_within(object: &Object, depth: usize) -> Option<Fields> {
    let mut fields = Vec::new();
    for name in Object::keys(object).iter() {
        let item = Reflect::get(object, &name).ok()?;
        fields.push((name.as_string()?, value_within(&item, depth)?));
    }
    Some(Fields::from(fields))
}

/// What is thrown for an error of the engine.
pub(crate) fn refuse_with(error: &Error) -> JsValue {
    refuse(error.code(), &error.to_string())
}

/// What is thrown: the package makes a `RotaError` of it.
pub(crate) fn refuse(code: &str, message: &str) -> JsValue {
    let error = Object::new();
    for (name, words) in [("code", code), ("message", message)] {
        // On an object of ours, with no setter and not frozen, that can't fail.
        let _ = Reflect::set(&error, &name.into(), &words.into());
    }
    error.into()
}
