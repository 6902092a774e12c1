//! The server kit on a real PostgreSQL: its migrations forward and back, and many operators at one queue.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::step::Failure;
use crate::{root, setup};

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

pub fn sql() -> Result<()> {
    run("tests/sql/verify.main.ts", &[])
}

pub fn race(options: &RaceOptions) -> Result<()> {
    let (operators, chats, seed) = (options.operators.to_string(), options.chats.to_string(), options.seed.to_string());
    run("tests/sql/race.main.ts", &["--operators", &operators, "--chats", &chats, "--seed", &seed])
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
