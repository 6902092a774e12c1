//! Runs the fuzzers, each for a while, from the committed corpus on. What they find is kept under target/ and printed.

use std::fs;

use anyhow::Result;

use crate::extra::FUZZ;
use crate::step::{Failure, Said, print_failure, step};
use crate::tool::Tool;
use crate::{root, target};

/// One for each kind of thing that comes from outside.
const TARGETS: [&str; 4] = ["stored_entries", "tab_messages", "server_payloads", "configuration"];

#[derive(clap::Args)]
pub struct Options {
    /// How long each fuzzer runs
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    seconds: u64,
    /// Run this one only
    #[arg(long, value_parser = TARGETS)]
    only: Option<String>,
}

pub fn run(options: &Options) -> Result<()> {
    let program = FUZZ.find()?;
    let mut failed = Vec::new();
    for name in TARGETS.into_iter().filter(|name| options.only.as_deref().is_none_or(|only| only == *name)) {
        let result = step(&format!("fuzzing: {name}"), || {
            // The finds of a run go first, so that the committed corpus stays as it is.
            let (found, artifacts) =
                (target().join("fuzz/corpus").join(name), target().join("fuzz/artifacts").join(name));
            fs::create_dir_all(&found)?;
            fs::create_dir_all(&artifacts)?;
            let finished = Tool::new(&program)
                // No sanitizer: the engine has no unsafe code, and without one the pinned compiler can do it.
                .args(["fuzz", "run", "--sanitizer", "none", "--target-dir"])
                .args([target().join("fuzz/build")])
                .args([name])
                .args([found, root().join("fuzz/corpus").join(name)])
                .args(["--".to_owned(), format!("-max_total_time={}", options.seconds), "-max_len=16384".to_owned()])
                .args(["-rss_limit_mb=4096".to_owned(), format!("-artifact_prefix={}/", artifacts.display())])
                .directory(&root().join("fuzz"))
                // `cargo fuzz` passes flags that only a nightly compiler takes otherwise.
                .env("RUSTC_BOOTSTRAP", "1")
                .log(name)
                .remedy(format!(
                    "the case is in {}; add it to fuzz/corpus/{name} once it is mended",
                    artifacts.display()
                ))
                .run()?;
            Ok(Said::noted((), executions(&finished.lines)))
        });
        if let Err(error) = result {
            print_failure(&error);
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("found something: {}", failed.join(", "))).into())
}

/// The line in which libFuzzer says how much it did.
fn executions(lines: &[String]) -> String {
    lines.iter().rev().find(|line| line.starts_with("Done ")).cloned().unwrap_or_else(|| "clean".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_binary_and_a_corpus() {
        let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).expect("it is there");
        for name in TARGETS {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is no binary");
            assert!(root().join("fuzz/corpus").join(name).is_dir(), "{name} has no corpus");
        }
    }
}
