//! Runs every suite, one after the other and all of them even when one fails, then every check, and adds them up. The
//! last line is for programs: `N passed, N failed`.

use std::ffi::OsString;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Deserialize;

use crate::engines::Browsers;
use crate::step::{Failure, Said, print_failure, seconds, step};
use crate::tool::{Finished, Tool};
use crate::{browser, build, check, engines, root, sim, target};

#[derive(clap::Args)]
pub struct Options {
    /// Run this suite alone
    #[arg(long)]
    only: Option<Suite>,
    /// Run the suite of tabs in this engine, or in all
    #[arg(long, value_enum, default_value_t = Browsers::Chromium)]
    browsers: Browsers,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Suite {
    /// The engine and this tool (cargo test)
    Rust,
    /// The simulator, 500 seeds
    Sim,
    /// The package, in node
    Pkg,
    /// The server kit, in a real PostgreSQL
    Sql,
    /// The demo's gateway
    Gateway,
    /// The seed documents' items: the package on the real backend
    Seeds,
    /// The built files
    Artifact,
    /// Everything together, in a real browser
    E2e,
    /// Several tabs, in real browsers
    Browsers,
    /// Formatters, linters, types (cargo xtask check)
    Check,
}

/// The order of running: what is quick to run and easy to understand first.
const SUITES: [Suite; 10] = [
    Suite::Rust,
    Suite::Sim,
    Suite::Pkg,
    Suite::Sql,
    Suite::Gateway,
    Suite::Seeds,
    Suite::Artifact,
    Suite::E2e,
    Suite::Browsers,
    Suite::Check,
];

#[derive(Debug, Default, PartialEq)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

struct Row {
    name: &'static str,
    counts: Counts,
    time: Duration,
}

pub fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    let mut rows = Vec::new();
    if let Err(error) = build() {
        print_failure(&error);
        rows.push(Row { name: "setup and build", counts: one_failure(), time: started.elapsed() });
        return finish(&rows);
    }
    for suite in SUITES.into_iter().filter(|suite| options.only.is_none_or(|only| only == *suite)) {
        let started = Instant::now();
        let counts = suite.run(options.browsers);
        rows.push(Row { name: suite.name(), counts, time: started.elapsed() });
    }
    finish(&rows)
}

fn one_failure() -> Counts {
    Counts { failed: 1, ..Counts::default() }
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Sim => "sim",
            Self::Pkg => "pkg",
            Self::Sql => "sql",
            Self::Gateway => "gateway",
            Self::Seeds => "seeds",
            Self::Artifact => "artifact",
            Self::E2e => "e2e",
            Self::Browsers => "browsers",
            Self::Check => "check",
        }
    }

    fn run(self, browsers: Browsers) -> Counts {
        match self {
            Self::Check => {
                let check::Tally { passed, failed } = check::all();
                Counts { passed, failed, skipped: 0 }
            }
            Self::Rust => in_one_step("rust", || {
                let finished = Tool::cargo("test").args(["--workspace", "--no-fail-fast"]).finish()?;
                let counts = cargo_counts(&finished.lines);
                Ok((finished, counts))
            }),
            Self::Sim => in_one_step("sim", || {
                let finished = sim::in_tests()?;
                let (passed, failed) = sim::counts(&finished.lines).unwrap_or_default();
                Ok((finished, Counts { passed, failed, skipped: 0 }))
            }),
            Self::E2e => match browser::find() {
                Ok(browser) => vitest("e2e", &[(browser::VARIABLE, browser.into())], None),
                Err(error) => {
                    print_failure(&error);
                    one_failure()
                }
            },
            Self::Browsers => match engines::environment(browsers) {
                Ok(environment) => {
                    let table = target().join("browsers/features.md");
                    let _ = fs::remove_file(&table);
                    let counts = vitest("browsers", &environment, Some("tests/browsers/table.ts"));
                    println!("\n{}", fs::read_to_string(&table).unwrap_or_default());
                    counts
                }
                Err(error) => {
                    print_failure(&error);
                    one_failure()
                }
            },
            Self::Pkg | Self::Sql | Self::Gateway | Self::Seeds | Self::Artifact => vitest(self.name(), &[], None),
        }
    }
}

/// Runs one suite; whatever goes wrong with it is printed and counted, and never ends the run.
fn in_one_step(name: &str, suite: impl FnOnce() -> Result<(Finished, Counts)>) -> Counts {
    let result = step(&format!("testing: {name}"), || {
        let (finished, mut counts) = suite()?;
        if finished.status.success() && counts.passed + counts.failed == 0 {
            // A suite that finds none of its tests must not look like one that passed.
            return Err(Failure::new(format!("the suite {name} ran no test")).output(&finished.lines).into());
        }
        if !finished.status.success() {
            counts.failed = counts.failed.max(1);
            print_failure(&finished.failure(&format!("suite {name}"), name, None).into());
        }
        let note = format!("{} passed, {} failed", counts.passed, counts.failed);
        Ok(Said::noted(counts, note))
    });
    result.unwrap_or_else(|error| {
        print_failure(&error);
        one_failure()
    })
}

fn vitest(name: &str, environment: &[(&str, OsString)], reporter: Option<&str>) -> Counts {
    in_one_step(name, || {
        let config = format!("tests/{name}/vitest.config.ts");
        if !root().join(&config).exists() {
            return Err(Failure::new(format!("{config} is missing")).remedy("check out the whole repository").into());
        }
        let report = target().join(format!("xtask/{name}.json"));
        let _ = fs::remove_file(&report);
        let mut tool = Tool::node_bin("vitest")
            .args(["run", "--config", &config, "--reporter=default", "--reporter=json"])
            .args([format!("--outputFile.json={}", report.display())]);
        if let Some(reporter) = reporter {
            tool = tool.args([format!("--reporter={}", root().join(reporter).display())]);
        }
        for (key, value) in environment {
            tool = tool.env(key, value);
        }
        let finished = tool.finish()?;
        let counts = match fs::read_to_string(&report) {
            Ok(json) => vitest_counts(&json)?,
            // Without a report it ended before its first test; the exit status is counted by the caller.
            Err(_) => Counts::default(),
        };
        Ok((finished, counts))
    })
}

/// Adds up the `test result:` lines, one for each binary and the documentation's examples.
fn cargo_counts(lines: &[String]) -> Counts {
    let number = |line: &str, word: &str| -> usize {
        let mut before = "";
        for part in line.split([' ', ';']) {
            if part == word {
                return before.parse().unwrap_or(0);
            }
            before = part;
        }
        0
    };
    lines.iter().filter(|line| line.trim_start().starts_with("test result:")).fold(Counts::default(), |sum, line| {
        Counts {
            passed: sum.passed + number(line, "passed"),
            failed: sum.failed + number(line, "failed"),
            skipped: sum.skipped + number(line, "ignored"),
        }
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    num_passed_tests: usize,
    num_failed_tests: usize,
    num_pending_tests: usize,
    #[serde(default)]
    num_todo_tests: usize,
    test_results: Vec<FileReport>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileReport {
    status: String,
    assertion_results: Vec<serde_json::Value>,
}

fn vitest_counts(json: &str) -> Result<Counts> {
    let report: Report = serde_json::from_str(json).context("vitest's report can't be understood")?;
    // A file that does not even load has no tests to fail.
    let broken = |file: &&FileReport| file.status == "failed" && file.assertion_results.is_empty();
    Ok(Counts {
        passed: report.num_passed_tests,
        failed: report.num_failed_tests + report.test_results.iter().filter(broken).count(),
        skipped: report.num_pending_tests + report.num_todo_tests,
    })
}

fn finish(rows: &[Row]) -> Result<()> {
    println!("\n{:<16} {:>8} {:>8} {:>8} {:>10}", "suite", "passed", "failed", "skipped", "time");
    for Row { name, counts, time } in rows {
        let Counts { passed, failed, skipped } = counts;
        println!("{name:<16} {passed:>8} {failed:>8} {skipped:>8} {:>10}", seconds(*time));
    }
    let passed: usize = rows.iter().map(|row| row.counts.passed).sum();
    let failed: usize = rows.iter().map(|row| row.counts.failed).sum();
    let names: Vec<_> = rows.iter().filter(|row| row.counts.failed > 0).map(|row| row.name).collect();
    if failed > 0 {
        println!("\nfailed: {}; each cause is above", names.join(", "));
        println!("`cargo xtask test --only <suite>` runs one suite again");
    }
    // Programs read this line: it stays the last one.
    println!("\n{passed} passed, {failed} failed");
    if failed == 0 { Ok(()) } else { Err(Failure::told().into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_all_test_binaries_are_added_up() {
        let lines = [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s",
        ];
        let counts = cargo_counts(&lines.map(String::from));
        assert_eq!(counts, Counts { passed: 15, failed: 2, skipped: 1 });
    }

    #[test]
    fn a_test_file_that_does_not_load_counts_as_a_failure() {
        let json = r#"{"numPassedTests":4,"numFailedTests":1,"numPendingTests":2,"numTodoTests":1,"testResults":[
            {"status":"passed","assertionResults":[{},{}]},
            {"status":"failed","assertionResults":[{}]},
            {"status":"failed","assertionResults":[]}]}"#;
        let counts = vitest_counts(json).expect("the sample is a report");
        assert_eq!(counts, Counts { passed: 4, failed: 2, skipped: 3 });
    }

    #[test]
    fn the_suites_of_the_command_line_all_run() {
        assert!(Suite::value_variants().iter().all(|suite| SUITES.contains(suite)));
    }
}
