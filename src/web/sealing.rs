//! Encryption at rest, where the application gave a key: what is stored is sealed by JavaScript that the application chose, and
//! bound to its place by the entry's key.

use std::rc::Rc;

use js_sys::{Function, Object, Reflect};
use wasm_bindgen::{JsCast, JsValue};

use super::driver::describe;

/// What sealed text begins with. No JSON does.
const SEALED: char = '~';

/// Seals and opens text; does nothing where there is no key.
#[derive(Clone, Default)]
pub(crate) struct Sealing(Option<Rc<Sealer>>);

struct Sealer {
    sealer: Object,
    seal: Function,
    open: Function,
    name: Function,
}

/// Why an entry stays closed.
pub(crate) struct Unopened {
    /// Stable: `wrong-key`, `undecryptable-entry`.
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Sealing {
    /// Takes `{ seal(text, place), open(text, place), name(text) }`; nothing where it is undefined.
    pub(crate) fn new(sealer: &JsValue) -> Result<Self, &'static str> {
        if sealer.is_undefined() || sealer.is_null() {
            return Ok(Self(None));
        }
        let function = |name: &str| Reflect::get(sealer, &name.into()).ok().and_then(|it| it.dyn_into().ok());
        match (sealer.dyn_ref::<Object>(), function("seal"), function("open"), function("name")) {
            (Some(object), Some(seal), Some(open), Some(name)) => {
                Ok(Self(Some(Rc::new(Sealer { sealer: object.clone(), seal, open, name }))))
            }
            _ => Err("encryption must have the functions seal, open and name"),
        }
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Seals text for one place.
    pub(crate) fn seal(&self, place: &str, text: String) -> Result<String, JsValue> {
        let Some(key) = &self.0 else { return Ok(text) };
        let sealed = key.seal.call2(&key.sealer, &text.into(), &place.into())?;
        match sealed.as_string() {
            Some(sealed) => Ok(format!("{SEALED}{sealed}")),
            None => Err(JsValue::from_str("what seals entries returned no text")),
        }
    }

    /// Returns a name that tells nothing of what it stands for, and is the same each time.
    pub(crate) fn name(&self, text: &str) -> Option<String> {
        let key = self.0.as_ref()?;
        key.name.call1(&key.sealer, &text.into()).ok()?.as_string()
    }

    /// Opens what was sealed for a place. What was never sealed is as it is: it was stored before there was a key.
    pub(crate) fn open(&self, place: &str, text: &str) -> Result<String, Unopened> {
        let Some(sealed) = text.strip_prefix(SEALED) else { return Ok(text.to_owned()) };
        let undecryptable = |message: String| Unopened { code: "undecryptable-entry", message };
        let Some(key) = &self.0 else {
            return Err(undecryptable("it is encrypted, and this store was given no key".to_owned()));
        };
        match key.open.call2(&key.sealer, &sealed.into(), &place.into()) {
            Ok(text) => text.as_string().ok_or_else(|| undecryptable("what opens entries returned no text".to_owned())),
            Err(error) => {
                let code = Reflect::get(&error, &"code".into()).ok().and_then(|code| code.as_string());
                let code = if code.as_deref() == Some("wrong-key") { "wrong-key" } else { "undecryptable-entry" };
                Err(Unopened { code, message: describe(&error) })
            }
        }
    }
}
