//! What an engine was made with, and everything it was told: enough to make it do the same again.

mod redact;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::input::{Config, Input};
use super::record::Record;
use super::time::Now;

/// How many inputs may be kept.
pub const TRACE_MAX: usize = 100_000;

/// The number of the form of a trace.
pub const TRACE_FORM: u32 = 1;

/// A recorded run of an engine. Values of fields that are declared secret are not in it: others of their kind stand for them, the same
/// for the same value and in the same order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "R: Deserialize<'de>"))]
pub struct Trace<R> {
    /// The number of the form.
    pub v: u32,
    /// What the engine was made for.
    pub config: Config,
    /// Its seed.
    pub seed: [u8; 16],
    /// When it was made.
    pub start: Now,
    /// How many inputs were dropped, because more came than are kept. Without them nothing can be replayed.
    pub dropped: u64,
    /// What it was told.
    pub inputs: Vec<Traced<R>>,
}

/// One input, and when it came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "R: Deserialize<'de>"))]
pub struct Traced<R> {
    /// When.
    pub now: Now,
    /// What.
    pub input: Input<R>,
}

/// Keeps the last inputs.
#[derive(Debug)]
pub(crate) struct Recorder<R> {
    config: Config,
    seed: [u8; 16],
    start: Now,
    dropped: u64,
    inputs: VecDeque<Traced<R>>,
}

impl<R: Record> Recorder<R> {
    /// Makes a recorder, if one was asked for.
    pub(crate) fn new(config: &Config, seed: [u8; 16], start: Now) -> Option<Box<Self>> {
        let recorder = Self { config: config.clone(), seed, start, dropped: 0, inputs: VecDeque::new() };
        (config.trace > 0).then(|| Box::new(recorder))
    }

    pub(crate) fn record(&mut self, input: &Input<R>, now: Now) {
        if self.inputs.len() >= self.config.trace {
            self.inputs.pop_front();
            self.dropped += 1;
        }
        self.inputs.push_back(Traced { now, input: input.clone() });
    }

    /// Returns what was kept, without what is secret.
    pub(crate) fn trace(&self) -> Trace<R> {
        let mut inputs: Vec<Traced<R>> = self.inputs.iter().cloned().collect();
        redact::redact(&mut inputs, &self.config.tables);
        let (config, seed, start, dropped) = (self.config.clone(), self.seed, self.start, self.dropped);
        Trace { v: TRACE_FORM, config, seed, start, dropped, inputs }
    }
}
