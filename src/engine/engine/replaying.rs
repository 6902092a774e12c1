//! Doing again what was recorded.

use super::Engine;
use crate::engine::error::Error;
use crate::engine::output::Output;
use crate::engine::record::Record;
use crate::engine::rules::Rules;
use crate::engine::trace::{TRACE_FORM, Trace};

impl<R: Record> Engine<R> {
    /// Returns what was recorded so far, without what is secret; nothing unless `Config::trace` asks for it, nor after a logout.
    #[must_use]
    pub fn trace(&self) -> Option<Trace<R>> {
        self.recorder.as_ref().map(|recorder| recorder.trace())
    }
}

/// Makes the engine of a trace again, tells it the same, and returns what it asks for.
///
/// # Errors
/// [`Error::IncompleteTrace`] when inputs are missing, [`Error::InvalidConfiguration`] when there can't have been such an engine.
pub fn replay<R: Record>(trace: Trace<R>, rules: Box<dyn Rules<R>>) -> Result<Vec<Output<R>>, Error> {
    if trace.v != TRACE_FORM {
        return Err(Error::InvalidConfiguration(format!(
            "the trace has form {}, and this release reads {TRACE_FORM}",
            trace.v
        )));
    }
    if trace.dropped > 0 {
        return Err(Error::IncompleteTrace { dropped: trace.dropped });
    }
    let mut config = trace.config;
    config.trace = 0;
    let mut engine = Engine::new(config, rules, trace.seed, trace.start)?;
    for traced in trace.inputs {
        // What was refused then is refused again, and asks for nothing.
        let _ = engine.handle(traced.input, traced.now);
    }
    Ok(std::iter::from_fn(|| engine.poll()).collect())
}
