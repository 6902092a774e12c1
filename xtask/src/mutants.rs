//! Changes the engine in small ways and sees whether a test notices. What survives is printed.

use anyhow::Result;

use crate::extra::MUTANTS;
use crate::step::{Said, step};
use crate::tool::Tool;
use crate::{root, target};

/// The rooms in which a wrong line costs somebody's work.
const ROOMS: [&str; 5] = ["overlay", "outbox", "merge", "tabs", "view"];

#[derive(clap::Args)]
pub struct Options {
    /// Change this room only
    #[arg(long, value_parser = ROOMS)]
    only: Option<String>,
    /// Try this part of the changes only, as `2/8`
    #[arg(long)]
    shard: Option<String>,
}

pub fn run(options: &Options) -> Result<()> {
    let program = MUTANTS.find()?;
    let rooms = ROOMS.into_iter().filter(|room| options.only.as_deref().is_none_or(|only| only == *room));
    let files = rooms.flat_map(|room| {
        [
            "--file".to_owned(),
            format!("src/engine/{room}.rs"),
            "--file".to_owned(),
            format!("src/engine/{room}/**/*.rs"),
        ]
    });
    let out = target().join("xtask");
    let finished = step("changing the engine", || {
        let finished = Tool::new(&program)
            .args(["mutants", "--package=rota-engine", "--no-shuffle", "--baseline=run", "--jobs=2", "--output"])
            .args([out.as_os_str()])
            .args(files)
            .args(options.shard.iter().flat_map(|shard| ["--shard", shard]))
            // The tests of the engine, and nothing that needs the built package.
            .args(["--", "--lib", "--test", "engine", "--test", "protocol"])
            .directory(root())
            .log("mutants")
            .finish()?;
        Ok(Said::done(finished))
    })?;
    let missed: Vec<&String> = finished.lines.iter().filter(|line| line.starts_with("MISSED")).collect();
    for line in &missed {
        println!("{line}");
    }
    if let Some(last) = finished.lines.iter().rev().find(|line| line.contains("mutants tested")) {
        println!("{last}");
    }
    if finished.status.success() || !missed.is_empty() {
        return Ok(());
    }
    Err(finished.failure("cargo mutants", "mutants", None).into())
}
