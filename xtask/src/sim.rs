//! Builds and runs the simulator (`tests/sim`): many seeds, one seed again, or every planted fault.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::root;
use crate::step::Failure;
use crate::tool::{Finished, Tool};

#[derive(clap::Args)]
pub struct Options {
    /// How many seeds to run
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run this one seed, and shrink what it breaks
    #[arg(long)]
    seed: Option<u64>,
    /// Print every input and output of the one seed
    #[arg(long, requires = "seed")]
    replay: bool,
    /// Plant faults into the engine and find them: "all", or a fault's name
    #[arg(long)]
    sabotage: Option<String>,
}

/// How many seeds `cargo xtask test` runs.
const SEEDS_IN_TESTS: u64 = 500;

pub fn run(options: &Options) -> Result<()> {
    let mut arguments = vec!["--from".to_owned(), options.from.to_string()];
    arguments.extend(["--seeds".to_owned(), options.seeds.to_string()]);
    if let Some(seed) = options.seed {
        arguments.extend(["--seed".to_owned(), seed.to_string()]);
    }
    if options.replay {
        arguments.push("--replay".to_owned());
    }
    if let Some(fault) = &options.sabotage {
        arguments.extend(["--sabotage".to_owned(), fault.clone()]);
    }
    // Its output is what was asked for, so nothing stands between it and the screen.
    let status = Command::new("cargo")
        .current_dir(root())
        .stdin(Stdio::null())
        .args(cargo_arguments(options.sabotage.is_some()))
        .args(arguments)
        .status()
        .context("cargo could not be started")?;
    if status.success() { Ok(()) } else { Err(Failure::told().into()) }
}

/// Runs what belongs into every test run.
pub fn in_tests() -> Result<Finished> {
    let [command, arguments @ ..] = cargo_arguments(false);
    let seeds = SEEDS_IN_TESTS.to_string();
    Tool::cargo(command).args(arguments).args(["--seeds", &seeds]).finish()
}

const fn cargo_arguments(with_faults: bool) -> [&'static str; 9] {
    let features = if with_faults { "sabotage" } else { "marks" };
    ["test", "--quiet", "--package=rota-engine", "--profile=sim", "--features", features, "--test", "sim", "--"]
}

/// Reads the simulator's last line: `N passed, N failed`.
pub fn counts(lines: &[String]) -> Option<(usize, usize)> {
    let line = lines.iter().rev().find(|line| line.contains(" passed, ") && line.ends_with(" failed"))?;
    let (passed, failed) = line.trim_end_matches(" failed").split_once(" passed, ")?;
    Some((passed.trim().parse().ok()?, failed.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_read_though_cargo_says_more_after_it() {
        let lines = ["seed 7: law 5", "499 passed, 1 failed", "error: test failed"].map(String::from);
        assert_eq!(counts(&lines), Some((499, 1)));
        assert_eq!(counts(&["error: could not compile".to_owned()]), None);
    }
}
