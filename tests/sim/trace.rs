//! The record of a run: a hash of all that every engine asked for, and, when somebody wants to read it, the lines.

use std::hash::Hasher;

use rota_engine::{Input, JsonRecord, Output};
use rustc_hash::FxHasher;

#[derive(Default)]
pub struct Trace {
    hasher: FxHasher,
    buffer: Vec<u8>,
    is_verbose: bool,
    pub lines: Vec<String>,
}

impl Trace {
    pub fn new(is_verbose: bool) -> Self {
        Self { is_verbose, ..Self::default() }
    }

    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    pub fn output(&mut self, mono_ms: u64, tab: usize, output: &Output<JsonRecord>) {
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, output).expect("an output is data");
        self.hasher.write_u64(mono_ms);
        self.hasher.write_usize(tab);
        self.hasher.write(&self.buffer);
        if self.is_verbose {
            self.lines.push(format!("{mono_ms:>8}   tab {tab} asks  {}", String::from_utf8_lossy(&self.buffer)));
        }
    }

    pub fn input(&mut self, mono_ms: u64, tab: usize, input: &Input<JsonRecord>) {
        if self.is_verbose {
            let json = serde_json::to_string(input).expect("an input is data");
            self.lines.push(format!("{mono_ms:>8} → tab {tab} hears {json}"));
        }
    }

    pub fn note(&mut self, mono_ms: u64, what: impl FnOnce() -> String) {
        if self.is_verbose {
            self.lines.push(format!("{mono_ms:>8} ─ {}", what()));
        }
    }
}
