//! Runs one plan to its end, or to the first broken law.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rota_engine::{Mark, take_marks};

use crate::faults::Counts;
use crate::workload::Plan;
use crate::world::World;

#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    pub message: String,
}

impl Violation {
    /// Which law it is that was broken: `law 5`. A panic of the engine breaks the eleventh.
    pub fn law(&self) -> &str {
        self.message.split(':').next().filter(|law| law.starts_with("law ")).unwrap_or("law 11")
    }
}

pub struct Outcome {
    pub hash: u64,
    pub inputs: u64,
    pub violation: Option<Violation>,
    pub faults: Counts,
    pub marks: [u64; Mark::ALL.len()],
    pub lines: Vec<String>,
}

thread_local! {
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A broken law is a panic: it is kept for the report instead of being printed.
pub fn catch_panics() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload().downcast_ref::<String>().cloned();
        let text = text.or_else(|| info.payload().downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let text = text.unwrap_or_default();
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let text = if text.starts_with("law ") { text } else { format!("law 11: panicked at {place}: {text}") };
        CAUGHT.with(|caught| *caught.borrow_mut() = Some(text));
    }));
}

pub fn run(plan: &Plan, is_verbose: bool) -> Outcome {
    let _ = take_marks();
    let mut world = None;
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let world = world.insert(World::new(plan, is_verbose));
        world.run(plan);
    }));
    let violation = ended.is_err().then(|| {
        let message = CAUGHT.with(|caught| caught.borrow_mut().take());
        Violation { message: message.unwrap_or_default() }
    });
    let marks = take_marks();
    let Some(world) = world else {
        return Outcome { hash: 0, inputs: 0, violation, faults: Counts::default(), marks, lines: Vec::new() };
    };
    let (hash, inputs) = (world.trace.hash(), world.inputs);
    Outcome { hash, inputs, violation, faults: world.faults, marks, lines: world.trace.lines }
}
