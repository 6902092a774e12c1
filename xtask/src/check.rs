//! Formatters, linters, type checks and package checks. Each is a check of its own, and all run even when one fails.

use anyhow::Result;

use crate::setup::WASM_TARGET;
use crate::step::{Failure, Said, print_failure, step};
use crate::tool::Tool;

struct Check {
    what: &'static str,
    tool: fn() -> Tool,
}

const CHECKS: [Check; 11] = [
    Check {
        what: "the Rust is formatted",
        tool: || Tool::new("cargo").args(["fmt", "--all", "--check"]).remedy("run `cargo fmt --all`"),
    },
    Check {
        what: "clippy has nothing to say (host)",
        tool: || Tool::cargo("clippy").args(["--workspace", "--all-targets", "--", "--deny=warnings"]),
    },
    Check {
        what: "clippy has nothing to say (simulator)",
        tool: || {
            let what = ["--package=rota-engine", "--lib", "--test", "sim", "--features", "sabotage"];
            Tool::cargo("clippy").args(what).args(["--", "--deny=warnings"])
        },
    },
    Check {
        // The host never compiles src/web.
        what: "clippy has nothing to say (wasm)",
        tool: || {
            let package = ["--package=rota-engine", "--lib", "--target", WASM_TARGET];
            Tool::cargo("clippy").args(package).args(["--", "--deny=warnings"])
        },
    },
    Check {
        what: "clippy has nothing to say (wasm of policies' SQL)",
        tool: || {
            let package = ["--package=rota-engine", "--lib", "--target", WASM_TARGET];
            let features = ["--no-default-features", "--features=policy-sql"];
            Tool::cargo("clippy").args(package).args(features).args(["--", "--deny=warnings"])
        },
    },
    Check {
        what: "the package's types are right",
        tool: || Tool::node_bin("tsc").args(["--noEmit", "-p", "pkg/tsconfig.json"]),
    },
    Check {
        what: "the demo's types are right",
        tool: || Tool::node_bin("vue-tsc").args(["--noEmit", "-p", "www/tsconfig.json"]),
    },
    Check {
        what: "the tests' types are right",
        tool: || Tool::node_bin("tsc").args(["--noEmit", "-p", "tests/tsconfig.json"]),
    },
    Check { what: "oxlint has nothing to say", tool: || Tool::node_bin("oxlint").args(["--deny-warnings"]) },
    Check { what: "publint has nothing to say", tool: || Tool::node_bin("publint").args(["run", "pkg", "--strict"]) },
    Check {
        what: "every entry point resolves with its types",
        tool: || Tool::node_bin("attw").args(["--pack", "pkg", "--profile", "esm-only", "--no-color", "--no-emoji"]),
    },
];

/// How many held and how many did not.
#[derive(Default)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
}

pub fn run() -> Result<()> {
    let tally = all();
    println!("cargo-deny takes minutes to install and runs in the workflow alone; by hand: `cargo deny check`");
    if tally.failed == 0 {
        return Ok(());
    }
    let count = CHECKS.len();
    Err(Failure::new(format!("{} of {count} checks failed", tally.failed))
        .remedy("each one's cause is above; mend it and run `cargo xtask check` again")
        .into())
}

pub fn all() -> Tally {
    let mut tally = Tally::default();
    for check in &CHECKS {
        match step(check.what, || (check.tool)().log(check.what).run().map(|_| Said::done(()))) {
            Ok(()) => tally.passed += 1,
            Err(error) => {
                tally.failed += 1;
                print_failure(&error);
            }
        }
    }
    tally
}
