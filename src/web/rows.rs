//! Reads rows, as a server tells them, into what the engine takes: key, version and writer are looked up, the object stays as it is.

use js_sys::{Object, Reflect};
use wasm_bindgen::{JsCast, JsValue};

use super::decode;
use super::js_record::JsRecord;
use crate::border::value;
use crate::engine::error::Problem;
use crate::engine::operation::OperationId;
use crate::engine::table::{Row, TableConfig, join_key};
use crate::engine::value::key_part;
use crate::engine::version::{Version, VersionOrder};

/// How to read the rows of one table. The names are made into JavaScript strings once.
pub(crate) struct Shape {
    name: String,
    key: Vec<JsValue>,
    fields: Vec<JsValue>,
    version: JsValue,
    order: VersionOrder,
    operation: JsValue,
}

impl Shape {
    pub(crate) fn new(config: &TableConfig) -> Self {
        let names = |names: &[String]| names.iter().map(|name| JsValue::from_str(name)).collect();
        Self {
            name: config.name.clone(),
            key: names(&config.key),
            fields: names(&config.fields),
            version: JsValue::from_str(&config.version),
            order: config.version_order,
            operation: JsValue::from_str(&config.operation),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Reads a row.
    pub(crate) fn row(&self, value: &JsValue) -> Result<Row<JsRecord>, Problem> {
        let object = self.object(value)?;
        let key = self.key(object)?;
        let version = self.version(object, &key)?;
        let op = get(object, &self.operation).as_string().and_then(|id| OperationId::parse(&id));
        Ok(Row { table: self.name.clone(), key, version, op, record: Some(JsRecord::new(object.clone())) })
    }

    /// Reads a record whose version stands beside it.
    pub(crate) fn versioned(&self, version: &JsValue, value: &JsValue) -> Result<Row<JsRecord>, Problem> {
        let object = self.object(value)?;
        let key = self.key(object)?;
        let version = self.take_version(version, &key)?;
        Ok(Row { table: self.name.clone(), key, version, op: None, record: Some(JsRecord::new(object.clone())) })
    }

    /// True for a version that this table can have.
    pub(crate) fn takes(&self, version: &Version) -> bool {
        self.order.take(version.clone()).is_some()
    }

    /// Reads the key of a row that may hold nothing else.
    pub(crate) fn key_of(&self, value: &JsValue) -> Result<String, Problem> {
        self.key(self.object(value)?)
    }

    /// True when a row lacks a declared field.
    pub(crate) fn is_partial(&self, row: &JsRecord) -> bool {
        self.fields.iter().any(|field| !Reflect::has(row.object(), field).unwrap_or(false))
    }

    fn object<'a>(&self, value: &'a JsValue) -> Result<&'a Object, Problem> {
        match value.dyn_ref::<Object>() {
            Some(object) => Ok(object),
            None => Err(self.malformed("", "the row is not an object")),
        }
    }

    fn key(&self, object: &Object) -> Result<String, Problem> {
        let mut parts = Vec::with_capacity(self.key.len());
        for field in &self.key {
            let part = value(&get(object, field)).as_ref().and_then(key_part);
            let missing = || {
                let field = field.as_string().unwrap_or_default();
                self.malformed("", &format!("its key field \"{field}\" is missing, or neither text nor an integer"))
            };
            parts.push(part.ok_or_else(missing)?);
        }
        Ok(join_key(&parts))
    }

    fn version(&self, object: &Object, key: &str) -> Result<Version, Problem> {
        self.take_version(&get(object, &self.version), key)
    }

    fn take_version(&self, version: &JsValue, key: &str) -> Result<Version, Problem> {
        decode::version(version).and_then(|version| self.order.take(version)).ok_or_else(|| {
            let field = self.version.as_string().unwrap_or_default();
            let problem = self.order.wants();
            Problem::new("invalid-version", format!("{} {key}", self.name), format!("\"{field}\": {problem}"))
        })
    }

    fn malformed(&self, key: &str, why: &str) -> Problem {
        Problem::new("malformed-event", format!("{} {key}", self.name).trim_end(), why)
    }
}

fn get(object: &Object, name: &JsValue) -> JsValue {
    Reflect::get(object, name).unwrap_or(JsValue::UNDEFINED)
}
