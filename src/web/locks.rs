//! Web Locks: one queued, exclusive request a tab. The browser grants it to the next tab when the holder dies.

use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};

use super::js_record::set;

/// A place in the queue for the lock, or the lock itself; given up when dropped.
pub(crate) struct Lock {
    abort: web_sys::AbortController,
    /// Resolves the promise for as long as which the lock is held.
    release: Function,
    _granted: Closure<dyn FnMut(JsValue) -> Promise>,
}

impl Lock {
    /// True where the browser has locks.
    pub(crate) fn supported() -> bool {
        manager().is_some()
    }

    /// Queues for the lock. `granted` runs when this tab has it.
    pub(crate) fn request(name: &str, mut granted: impl FnMut() + 'static) -> Option<Self> {
        let locks = manager()?;
        let request: Function = Reflect::get(&locks, &"request".into()).ok()?.dyn_into().ok()?;
        let abort = web_sys::AbortController::new().ok()?;
        let mut release = None;
        let held = Promise::new(&mut |resolve, _reject| release = Some(resolve));
        let on_granted = Closure::new(move |_lock: JsValue| {
            granted();
            held.clone()
        });
        let options = Object::new();
        set(&options, "mode", &"exclusive".into());
        set(&options, "signal", &abort.signal());
        let queued = request.call3(&locks, &name.into(), &options, on_granted.as_ref()).ok()?;
        // Aborting rejects the request; nobody waits for it.
        let ignore = Closure::<dyn FnMut(JsValue)>::new(|_| ());
        let _ = queued.unchecked_into::<Promise>().catch(&ignore);
        ignore.forget();
        Some(Self { abort, release: release?, _granted: on_granted })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.release.call0(&JsValue::UNDEFINED);
        self.abort.abort();
    }
}

fn manager() -> Option<JsValue> {
    let navigator = Reflect::get(&js_sys::global(), &"navigator".into()).ok().filter(JsValue::is_object)?;
    Reflect::get(&navigator, &"locks".into()).ok().filter(JsValue::is_object)
}
