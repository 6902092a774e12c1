//! Rota's own tool: `cargo xtask <command>`. Every command prepares what it needs, says what it does and how long that
//! took, and names the cause and the remedy when something fails. It never changes files that are in git.

mod bench;
mod browser;
mod check;
mod clean;
mod coverage;
mod demo;
mod engines;
mod extra;
mod fresh;
mod fuzz;
mod kit;
mod mutants;
mod package;
mod setup;
mod sim;
mod size;
mod step;
mod test;
mod tool;
mod wasm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Sets up, builds, tests and measures Rota", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prepare this machine: node packages, the wasm target, a browser
    Setup,
    /// Build the wasm and the npm package
    Build,
    /// Build and serve the demo
    Demo(demo::Options),
    /// Build, then run every test suite and every check
    Test(test::Options),
    /// Simulate tabs, browsers, network and server, and everything that goes wrong between them
    Sim(sim::Options),
    /// Build, then run formatters, linters, type checks and package checks
    Check,
    /// Measure the engine, and print how its costs grow
    Bench(bench::Options),
    /// Run the fuzzers from the committed corpus on
    Fuzz(fuzz::Options),
    /// Measure which lines of the engine its tests run
    Coverage(coverage::Options),
    /// Change the engine in small ways, and see whether a test notices
    Mutants(mutants::Options),
    /// Apply, take back and apply again the server kit's migrations, on an empty database and on one with chats in use
    Sql(kit::SqlOptions),
    /// Let 64 operators empty a queue of chats on a real PostgreSQL while connections are killed, and count everything
    Race(kit::RaceOptions),
    /// Build, then measure on the real backend, over a run with faults: how soon others see, who agrees, what fails and recovers
    Metrics(kit::MetricsOptions),
    /// Build, then print the sizes of what is shipped
    Size(size::Options),
    /// Delete what the other commands made, except target/ and `node_modules`
    Clean(clean::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match supported_platform().and_then(|()| run(&arguments.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            step::print_failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Setup => setup::everything(),
        Command::Build => build(),
        Command::Demo(options) => demo::run(options),
        Command::Test(options) => test::run(options),
        Command::Sim(options) => sim::run(options),
        Command::Check => build().and_then(|()| check::run()),
        Command::Bench(options) => bench::run(options),
        Command::Fuzz(options) => fuzz::run(options),
        Command::Coverage(options) => coverage::run(options),
        Command::Mutants(options) => mutants::run(options),
        Command::Sql(options) => kit::sql(options),
        Command::Race(options) => kit::race(options),
        Command::Metrics(options) => build().and_then(|()| kit::metrics(options)),
        Command::Size(options) => size::run(options),
        Command::Clean(options) => clean::run(options),
    }
}

/// What every command but `setup` and `clean` starts with.
fn build() -> Result<()> {
    setup::for_building()?;
    let _lock = fresh::lock()?;
    wasm::build()?;
    package::build()
}

fn supported_platform() -> Result<()> {
    if cfg!(any(target_os = "linux", target_os = "macos")) {
        return Ok(());
    }
    Err(step::Failure::new(format!("cargo xtask does not support {}", std::env::consts::OS))
        .remedy("use Linux or macOS; on Windows, WSL 2 is a Linux that works")
        .into())
}

/// The root of the repository, wherever the command was started.
fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        manifest.parent().unwrap_or(manifest).to_path_buf()
    })
}

/// Cargo's target directory, which may have been moved by the environment.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |moved| root().join(moved))
}
