//! The committed corpus of the fuzzers, run through the same functions without a fuzzer: what once was found stays found.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a broken assumption stops a test")]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::path::Path;

#[test]
fn nothing_in_the_corpus_stops_the_engine() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, run) in fuzz::TARGETS {
        let cases = std::fs::read_dir(folder.join(target)).unwrap().map(|entry| entry.unwrap().path());
        let cases: Vec<_> = cases.collect();
        assert!(cases.len() >= 5, "{target} has hardly a corpus");
        for case in cases {
            let bytes = std::fs::read(&case).unwrap();
            let ended = std::panic::catch_unwind(|| run(&bytes));
            assert!(ended.is_ok(), "{target} fails on {}", case.display());
        }
    }
}

#[test]
fn no_prefix_of_a_case_stops_the_engine() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, run) in fuzz::TARGETS {
        for entry in std::fs::read_dir(folder.join(target)).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            for end in (0..bytes.len()).step_by(97) {
                run(&bytes[..end]);
            }
        }
    }
}
