//! Web Locks: one queued, exclusive request a tab. The browser grants it to the next tab when the holder dies.

use std::cell::Cell;
use std::rc::Rc;

use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};

use super::js_record::set;

/// A place in the queue for the lock, or the lock itself; given up when dropped.
pub(crate) struct Lock {
    abort: web_sys::AbortController,
    /// Resolves the promise for as long as which the lock is held.
    release: Function,
    /// True from when it is granted until it is given up.
    held: Rc<Cell<bool>>,
    _granted: Closure<dyn FnMut(JsValue) -> Promise>,
}

impl Lock {
    /// True where the browser has locks.
    pub(crate) fn supported() -> bool {
        manager().is_some()
    }

    /// Queues for the lock, or takes it from whoever has it. `tell` runs with true when this tab has it, and with false when another
    /// one has taken it away.
    pub(crate) fn request(name: &str, steal: bool, tell: impl Fn(bool) + 'static) -> Option<Self> {
        let locks = manager()?;
        let request: Function = Reflect::get(&locks, &"request".into()).ok()?.dyn_into().ok()?;
        let abort = web_sys::AbortController::new().ok()?;
        let mut release = None;
        let until = Promise::new(&mut |resolve, _reject| release = Some(resolve));
        let (tell, held) = (Rc::new(tell), Rc::new(Cell::new(false)));
        let on_granted = {
            let (tell, held) = (Rc::clone(&tell), Rc::clone(&held));
            Closure::new(move |_lock: JsValue| {
                held.set(true);
                tell(true);
                until.clone()
            })
        };
        let options = Object::new();
        set(&options, "mode", &"exclusive".into());
        // A request that steals never waits, and may have no signal.
        if steal {
            set(&options, "steal", &JsValue::TRUE);
        } else {
            set(&options, "signal", &abort.signal());
        }
        let queued = request.call3(&locks, &name.into(), &options, on_granted.as_ref()).ok()?;
        // Both aborting and being robbed reject the request; only what was held can be taken away.
        let on_end = {
            let held = Rc::clone(&held);
            Closure::once_into_js(move |_error: JsValue| {
                if held.replace(false) {
                    tell(false);
                }
            })
        };
        // Called either way: what is never called stays for ever.
        let then: Function = Reflect::get(&queued, &"then".into()).ok()?.dyn_into().ok()?;
        let _ = then.call2(&queued, &on_end, &on_end);
        Some(Self { abort, release: release?, held, _granted: on_granted })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.held.set(false);
        let _ = self.release.call0(&JsValue::UNDEFINED);
        self.abort.abort();
    }
}

fn manager() -> Option<JsValue> {
    let navigator = Reflect::get(&js_sys::global(), &"navigator".into()).ok().filter(JsValue::is_object)?;
    Reflect::get(&navigator, &"locks".into()).ok().filter(JsValue::is_object)
}
