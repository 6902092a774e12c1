//! Records as JavaScript objects, held by reference: no field is copied until somebody asks for it.

use std::cell::Cell;
use std::rc::Rc;

use js_sys::{Object, Reflect};
use serde::{Serialize, Serializer};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use super::names::name as js_name;
use crate::border;
use crate::engine::record::Record;
use crate::engine::value::{Fields, Value};

thread_local! {
    static HANDLES: Cell<usize> = const { Cell::new(0) };
}

/// Counts the JavaScript objects that are held. When no record is, it is zero.
pub(crate) fn handles() -> usize {
    HANDLES.get()
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = Object)]
    fn assign(target: &Object, first: &Object, second: &Object) -> Object;
}

struct Handle(Object);

impl Handle {
    fn new(object: Object) -> Self {
        HANDLES.set(HANDLES.get() + 1);
        Self(object)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        HANDLES.set(HANDLES.get() - 1);
    }
}

/// A plain, immutable JavaScript object.
#[derive(Clone)]
pub(crate) struct JsRecord(Rc<Handle>);

impl JsRecord {
    pub(crate) fn new(object: Object) -> Self {
        Self(Rc::new(Handle::new(object)))
    }

    pub(crate) fn object(&self) -> &Object {
        &self.0.0
    }
}

impl Record for JsRecord {
    fn field(&self, name: &str) -> Option<Value> {
        let value = Reflect::get(self.object(), &js_name(name)).ok()?;
        if value.is_undefined() { None } else { border::value(&value) }
    }

    fn create(fields: &Fields) -> Self {
        Self::new(object_of(fields))
    }

    fn patched(&self, set: &Fields) -> Self {
        Self::new(assign(&Object::new(), self.object(), &object_of(set)))
    }

    fn filled(&self, older: &Self) -> Self {
        Self::new(assign(&Object::new(), older.object(), self.object()))
    }
}

fn object_of(fields: &Fields) -> Object {
    let object = Object::new();
    for (name, value) in fields {
        set(&object, name, &js_value(value));
    }
    object
}

fn js_value(value: &Value) -> JsValue {
    match value {
        Value::Null => JsValue::NULL,
        Value::Bool(flag) => JsValue::from_bool(*flag),
        Value::Number(number) => JsValue::from_f64(*number),
        Value::String(text) => JsValue::from_str(text),
        Value::List(items) => list_of(items),
        Value::Map(fields) => object_of(fields).into(),
    }
}

/// Makes a list of values.
pub(crate) fn list_of(items: &[Value]) -> JsValue {
    items.iter().map(js_value).collect::<js_sys::Array>().into()
}

/// Sets a member of an object of ours. On a plain object, with no setter and not frozen, that can't fail.
pub(crate) fn set(object: &Object, name: &str, value: &JsValue) {
    let _ = Reflect::set(object, &js_name(name), value);
}

// Inside messages, a record stays the object it is: `preserve` hands the reference through.
impl Serialize for JsRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_wasm_bindgen::preserve::serialize(self.object(), serializer)
    }
}
