//! Measures which lines of the engine the native tests run, and names those that they don't.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde_json::Value as Json;

use crate::extra::COVERAGE;
use crate::step::{Failure, Said, step};
use crate::tool::{Tool, version};
use crate::{root, target};

#[derive(clap::Args)]
pub struct Options {
    /// Fail below this share of lines, in per cent
    #[arg(long, default_value_t = 95.0, value_name = "PERCENT")]
    at_least: f64,
}

/// Of one file: lines that could run, and those that did not.
struct Lines {
    count: usize,
    missed: Vec<u64>,
}

pub fn run(options: &Options) -> Result<()> {
    let program = COVERAGE.find()?;
    step("looking for llvm-tools", || {
        if version("rustup").is_some() {
            Tool::new("rustup").args(["component", "add", "llvm-tools"]).run()?;
        }
        Ok(Said::done(()))
    })?;
    let report = target().join("xtask/coverage.json");
    fs::create_dir_all(target().join("xtask"))?;
    step("running the tests of the engine with counters", || {
        Tool::new(&program)
            .args(["llvm-cov", "--package=rota-engine", "--tests", "--json", "--output-path"])
            .args([report.as_os_str()])
            .log("coverage")
            .run()?;
        Ok(Said::done(()))
    })?;
    let files = read(&fs::read_to_string(&report).context("the report can't be read")?)?;
    let (mut count, mut missed) = (0, 0);
    println!("\n{:<44} {:>6} {:>7}  missed lines", "file", "lines", "run");
    for (file, lines) in &files {
        (count, missed) = (count + lines.count, missed + lines.missed.len());
        println!(
            "{file:<44} {:>6} {:>6.1}%  {}",
            lines.count,
            share(lines.count, lines.missed.len()),
            ranges(&lines.missed)
        );
    }
    let all = share(count, missed);
    println!("{:<44} {count:>6} {all:>6.1}%", "src/engine");
    if all < options.at_least {
        return Err(Failure::new(format!("{all:.1} % of the lines run, {} % should", options.at_least)).into());
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a share of lines, for people")]
fn share(count: usize, missed: usize) -> f64 {
    if count == 0 { 100.0 } else { (count - missed) as f64 * 100.0 / count as f64 }
}

/// Reads llvm's segments: from each on, a line counts as run as often as the segment says, until the next one.
fn read(json: &str) -> Result<BTreeMap<String, Lines>> {
    let json: Json = serde_json::from_str(json).context("the report can't be understood")?;
    let mut found = BTreeMap::new();
    for file in json["data"][0]["files"].as_array().context("the report names no files")? {
        let name = file["filename"].as_str().unwrap_or_default();
        let Some(name) = name.strip_prefix(&*root().to_string_lossy()).map(|name| name.trim_start_matches('/')) else {
            continue;
        };
        if !name.starts_with("src/engine/") || name.ends_with("/tests.rs") || name.contains("/tests/") {
            continue;
        }
        let text = fs::read_to_string(root().join(name))?;
        // The tests inside a file are not what is measured.
        let end = text.lines().position(|line| line.trim() == "#[cfg(test)]").map_or(u64::MAX, |line| line as u64 + 1);
        let mut lines = count(&file["segments"]);
        lines.retain(|line, _| *line < end);
        let missed = lines.iter().filter(|(_, runs)| **runs == 0).map(|(line, _)| *line).collect();
        found.insert(name.to_owned(), Lines { count: lines.len(), missed });
    }
    Ok(found)
}

/// How often each line ran: the most that any part of it did.
fn count(segments: &Json) -> BTreeMap<u64, u64> {
    let mut lines: BTreeMap<u64, u64> = BTreeMap::new();
    // (runs, counted) of the region that a line starts in
    let mut current: Option<(u64, u64)> = None;
    for segment in segments.as_array().into_iter().flatten() {
        let number = |at: usize| segment[at].as_u64().unwrap_or(0);
        let (line, runs, counts) = (number(0), number(2), segment[3].as_bool().unwrap_or(false));
        if let Some((from, before)) = current {
            for covered in from + 1..=line {
                let is_last = covered == line;
                // The region's last line belongs to it only as far as it goes; what follows on that line decides too.
                if !is_last {
                    lines.entry(covered).and_modify(|known| *known = (*known).max(before)).or_insert(before);
                }
            }
        }
        let is_gap = segment[5].as_bool().unwrap_or(false);
        current = (counts && !is_gap).then_some((line, runs));
        if counts && !is_gap && segment[4].as_bool().unwrap_or(false) {
            lines.entry(line).and_modify(|known| *known = (*known).max(runs)).or_insert(runs);
        }
    }
    lines
}

/// `3, 7–9`
fn ranges(lines: &[u64]) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for line in lines {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *line => *last = *line,
            _ => ranges.push((*line, *line)),
        }
    }
    let text =
        ranges.iter().map(|(first, last)| if first == last { first.to_string() } else { format!("{first}–{last}") });
    text.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_follow_each_other_are_named_as_one() {
        assert_eq!(ranges(&[3, 7, 8, 9, 11]), "3, 7–9, 11");
    }

    #[test]
    fn a_line_counts_as_run_when_any_part_of_it_ran() {
        // A function over lines 1 to 5 that ran once, with a branch over lines 3 and 4 that never did.
        let segments = serde_json::json!([
            [1, 1, 1, true, true, false],
            [3, 20, 0, true, true, false],
            [5, 2, 1, true, false, false],
            [5, 3, 0, false, false, false],
        ]);
        let lines = count(&segments);
        assert_eq!(lines.get(&1), Some(&1));
        assert_eq!(lines.get(&2), Some(&1));
        assert_eq!(lines.get(&4), Some(&0));
    }
}
