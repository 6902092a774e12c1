//! The clocks, and the one timer.

use std::cell::RefCell;

use gloo_timers::callback::Timeout;
use js_sys::{Function, Reflect};
use wasm_bindgen::{JsCast, JsValue};

use crate::engine::time::Now;

/// `setTimeout` takes a 32-bit delay; a longer one would fire at once. Waking up early does no harm.
const DELAY_MS_MAX: u64 = 0x7fff_ffff;

/// Reads both clocks.
pub(crate) fn now() -> Now {
    let wall_ms = millis(js_sys::Date::now());
    // Looked for once: it is asked at every input.
    thread_local!(static PERFORMANCE: Option<web_sys::Performance> = {
        Reflect::get(&js_sys::global(), &"performance".into()).ok().and_then(|value| value.dyn_into().ok())
    });
    let mono_ms =
        PERFORMANCE.with(|performance| performance.as_ref().map_or(wall_ms, |performance| millis(performance.now())));
    Now { mono_ms, wall_ms }
}

/// Whole milliseconds; no clock counts below zero or beyond 2⁵³.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn millis(time: f64) -> u64 {
    time.max(0.0) as u64
}

/// Wakes the driver at one moment at a time.
#[derive(Default)]
pub(crate) struct Alarm {
    set: RefCell<Option<(u64, Timer)>>,
}

enum Timer {
    Browser(Timeout),
    /// In Node, where a timer would keep the process alive: only its handle can say that it must not.
    Node(#[expect(dead_code, reason = "dropping it stops the timer")] Handle),
}

struct Handle(JsValue);

impl Alarm {
    /// Sees to it that the alarm rings by a moment of the monotonic clock. Where it rings earlier anyway, that stays: deadlines move on with
    /// nearly every input, and a timer costs more than what an input changes.
    pub(crate) fn set(&self, due_mono_ms: u64, wake: impl FnOnce() + 'static) {
        let Ok(mut set) = self.set.try_borrow_mut() else { return };
        if set.as_ref().is_some_and(|(set_to, _)| *set_to <= due_mono_ms) {
            return;
        }
        // One more, because both clocks are cut to whole milliseconds.
        let delay_ms = due_mono_ms.saturating_sub(now().mono_ms).saturating_add(1).min(DELAY_MS_MAX);
        *set = Some((due_mono_ms, Timer::start(u32::try_from(delay_ms).unwrap_or(u32::MAX / 2), wake)));
    }

    /// Sets it off.
    pub(crate) fn stop(&self) {
        if let Ok(mut set) = self.set.try_borrow_mut() {
            *set = None;
        }
    }

    /// Forgets the moment that has come.
    pub(crate) fn ring(&self) {
        if let Ok(mut set) = self.set.try_borrow_mut()
            && let Some((_, Timer::Browser(timeout))) = set.take()
        {
            timeout.forget();
        }
    }
}

impl Timer {
    fn start(delay_ms: u32, wake: impl FnOnce() + 'static) -> Self {
        let timeout = Timeout::new(delay_ms, wake);
        if !is_node() {
            return Self::Browser(timeout);
        }
        // What is forgotten is collected with its handle, rung or not.
        let handle = timeout.forget();
        call(&handle, "unref", &handle);
        Self::Node(Handle(handle))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        call(&js_sys::global(), "clearTimeout", &self.0);
    }
}

fn call(of: &JsValue, name: &str, argument: &JsValue) {
    if let Some(method) = Reflect::get(of, &name.into()).ok().and_then(|method| method.dyn_into::<Function>().ok()) {
        let _ = method.call1(of, argument);
    }
}

/// True in Node, and nowhere else: a browser's `setTimeout` gives a number.
fn is_node() -> bool {
    thread_local!(static IS_NODE: bool = {
        let inner = |of: &JsValue, name: &str| Reflect::get(of, &name.into()).ok().filter(JsValue::is_object);
        let versions = inner(&js_sys::global(), "process").and_then(|process| inner(&process, "versions"));
        versions.is_some_and(|versions| Reflect::has(&versions, &"node".into()).unwrap_or(false))
    });
    IS_NODE.with(|is_node| *is_node)
}
