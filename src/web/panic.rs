//! Makes a panic speak: in wasm it would else be a bare `unreachable`.

use std::cell::RefCell;

use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

thread_local! {
    static MESSAGE: RefCell<Option<String>> = const { RefCell::new(None) };
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn console_error(message: &JsValue);
}

/// Remembers what a panic says, and prints it.
pub(crate) fn set_hook() {
    std::panic::set_hook(Box::new(|info| {
        let message = info.to_string();
        console_error(&JsValue::from_str(&message));
        MESSAGE.with(|slot| {
            if let Ok(mut slot) = slot.try_borrow_mut() {
                *slot = Some(message);
            }
        });
    }));
}

/// Returns what the first panic said, if there was one. From then on the engine can't be used.
pub(crate) fn message() -> Option<String> {
    MESSAGE.with(|slot| slot.try_borrow().ok().and_then(|message| message.clone()))
}
