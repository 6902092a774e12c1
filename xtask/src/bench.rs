//! Runs the benches and prints how their costs grow, or measures in real browsers. The machine is shared and noisy: what counts is the ratio
//! within one run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::engines::Browsers;
use crate::step::{Failure, Said, step};
use crate::tool::Tool;
use crate::{build, engines, target};

const BENCHES: [&str; 5] = ["table", "view", "overlay", "outbox", "value"];

#[derive(clap::Args)]
pub struct Options {
    /// Run this one only
    #[arg(long, value_parser = BENCHES)]
    only: Option<String>,
    /// How long each figure is measured
    #[arg(long, default_value_t = 2, value_name = "SECONDS")]
    seconds: u64,
    /// Measure tabs in this engine instead, or in all: latency, hand-over, cache, durable changes
    #[arg(long, value_enum, value_name = "ENGINE", num_args = 0..=1, default_missing_value = "chromium")]
    browsers: Option<Browsers>,
}

#[derive(Deserialize)]
struct Named {
    group_id: String,
    function_id: Option<String>,
    value_str: Option<String>,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// Nanoseconds by size, for each figure.
type Figures = BTreeMap<(String, String), BTreeMap<u64, f64>>;

pub fn run(options: &Options) -> Result<()> {
    match options.browsers {
        Some(browsers) => in_browsers(browsers),
        None => native(options),
    }
}

fn in_browsers(browsers: Browsers) -> Result<()> {
    build()?;
    let environment = engines::environment(browsers)?;
    step("measuring: browsers", || {
        let config = ["run", "--config", "tests/browsers/figures.config.ts"];
        let tool = Tool::node_bin("vitest").args(config).log("bench-browsers");
        environment.iter().fold(tool, |tool, (key, value)| tool.env(key, value)).run()?;
        Ok(Said::done(()))
    })?;
    let figures = target().join("browsers/figures.md");
    println!("\n{}", fs::read_to_string(&figures).context("the run left no figures")?);
    Ok(())
}

fn native(options: &Options) -> Result<()> {
    let found = target().join("criterion");
    if found.exists() {
        fs::remove_dir_all(&found).context("old figures can't be deleted")?;
    }
    for bench in BENCHES.into_iter().filter(|bench| options.only.as_deref().is_none_or(|only| only == *bench)) {
        step(&format!("measuring: {bench}"), || {
            Tool::cargo("bench")
                .args(["--package=rota-engine", "--bench", bench, "--"])
                .args(["--noplot".to_owned(), "--warm-up-time=1".to_owned()])
                .args([format!("--measurement-time={}", options.seconds), "--sample-size=20".to_owned()])
                .log(bench)
                .run()?;
            Ok(Said::done(()))
        })?;
    }
    let mut figures = Figures::new();
    read(&found, &mut figures)?;
    if figures.is_empty() {
        return Err(Failure::new("the benches left no figures").into());
    }
    print(&figures);
    Ok(())
}

fn read(folder: &Path, figures: &mut Figures) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let (named, estimates) = (path.join("new/benchmark.json"), path.join("new/estimates.json"));
        if named.exists() && estimates.exists() {
            let named: Named = serde_json::from_str(&fs::read_to_string(named)?)?;
            let estimates: Estimates = serde_json::from_str(&fs::read_to_string(estimates)?)?;
            let size = named.value_str.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0);
            let name = (named.group_id, named.function_id.unwrap_or_default());
            figures.entry(name).or_default().insert(size, estimates.median.point_estimate);
        } else if path.is_dir() && !path.ends_with("report") {
            read(&path, figures)?;
        }
    }
    Ok(())
}

/// A line a figure: the median at each size, and how often that is the one at the smallest.
fn print(figures: &Figures) {
    for ((group, what), sizes) in figures {
        println!("\n{group}: {what}");
        let first = sizes.values().next().copied().unwrap_or(1.0);
        for (size, nanoseconds) in sizes {
            println!("  {:>10} {:>12} {:>8.2}×", thousands(*size), time(*nanoseconds), nanoseconds / first);
        }
    }
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        small if small < 1e3 => format!("{small:.0} ns"),
        medium if medium < 1e6 => format!("{:.2} µs", medium / 1e3),
        large => format!("{:.2} ms", large / 1e6),
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_written_for_people() {
        assert_eq!(
            ["1", "999", "1000", "1000000"].map(|n| thousands(n.parse().expect("a number"))),
            ["1", "999", "1,000", "1,000,000"]
        );
        assert_eq!([12.4, 1_500.0, 2.5e6].map(time), ["12 ns", "1.50 µs", "2.50 ms"]);
    }
}
