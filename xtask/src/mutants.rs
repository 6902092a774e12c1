//! Changes the engine in small ways and sees whether a test notices. What survives is printed.

use anyhow::Result;

use crate::extra::MUTANTS;
use crate::step::{Said, step};
use crate::tool::Tool;
use crate::{root, target};

/// The rooms in which a wrong line costs somebody's work.
const ROOMS: [&str; 5] = ["overlay", "outbox", "merge", "tabs", "view"];

/// First the rooms' own tests, which take a second; then those of the whole engine, for what these did not notice.
const STAGES: [(&str, &[&str]); 2] = [
    ("the rooms' own tests", &["--cargo-arg=--lib"]),
    (
        "the engine's tests",
        &["--iterate", "--cargo-arg=--lib", "--cargo-arg=--test=engine", "--cargo-arg=--test=protocol"],
    ),
];

#[derive(clap::Args)]
pub struct Options {
    /// Change this room only
    #[arg(long, value_parser = ROOMS)]
    only: Option<String>,
}

pub fn run(options: &Options) -> Result<()> {
    let program = MUTANTS.find()?;
    let rooms = || ROOMS.into_iter().filter(|room| options.only.as_deref().is_none_or(|only| only == *room));
    let files = || {
        rooms().flat_map(|room| {
            [
                "--file".to_owned(),
                format!("src/engine/{room}.rs"),
                "--file".to_owned(),
                format!("src/engine/{room}/**/*.rs"),
            ]
        })
    };
    let out = target().join("xtask");
    let mut lines = Vec::new();
    for (tests, arguments) in STAGES {
        let finished = step(&format!("changing the engine, and running {tests}"), || {
            let finished = Tool::new(&program)
                .args(["mutants", "--package=rota-engine", "--no-shuffle", "--baseline=run", "--jobs=2", "--output"])
                .args([out.as_os_str()])
                .args(files())
                // Compiling is most of the work.
                .args(["--cargo-arg=--config=profile.test.package.rota-engine.opt-level=0"])
                .args(arguments)
                .env("CARGO_PROFILE_TEST_DEBUG", "none")
                .env("CARGO_PROFILE_DEV_DEBUG", "none")
                .directory(root())
                .log("mutants")
                .finish()?;
            Ok(Said::done(finished))
        })?;
        if !finished.lines.iter().any(|line| line.contains("mutants tested")) {
            return Err(finished.failure("cargo mutants", "mutants", None).into());
        }
        lines = finished.lines;
    }
    for line in lines.iter().filter(|line| line.starts_with("MISSED") || line.contains("mutants tested")) {
        println!("{line}");
    }
    Ok(())
}
