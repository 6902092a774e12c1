//! The simulator: browsers, tabs, storage, locks, a network and a server in one process and in virtual time, all of which
//! fail, from one seed; and the laws, checked after every step. `cargo xtask sim` builds and runs it.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::struct_excessive_bools,
    clippy::too_many_lines,
    missing_docs,
    reason = "a broken law stops a run"
)]

mod batches;
mod browser;
mod faults;
mod oracle;
mod pages;
mod people;
mod presence;
mod run;
mod server;
mod shell;
mod shrink;
mod stories;
mod trace;
mod transactions;
mod watching;
mod workload;
mod world;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use faults::{Counts, Fault};
use rota_engine::Mark;
use run::{Violation, catch_panics, run};
use rustc_hash::FxBuildHasher;
use workload::Plan;

/// Maps with no random seed: the same everywhere.
type FastMap<K, V> = HashMap<K, V, FxBuildHasher>;
type FastSet<T> = HashSet<T, FxBuildHasher>;

/// A run of so many seeds must have reached every fault and every mark.
const SEEDS_FOR_ALL: u64 = 500;

/// Seeds that once broke a law, and are beyond those that are run every time.
const ONCE_BROKEN: [u64; 4] = [2_393, 3_310, 3_792, 4_824];

/// How many failing seeds are explained.
const EXPLAINED_MAX: usize = 3;

/// A planted fault is looked for in so many seeds, and until it was found so often.
#[cfg(feature = "sabotage")]
const SABOTAGE_SEEDS: u64 = 300;
#[cfg(feature = "sabotage")]
const SABOTAGE_FINDS: u64 = 3;

struct Options {
    seeds: u64,
    from: u64,
    seed: Option<u64>,
    replay: bool,
    sabotage: Option<String>,
    threads: usize,
}

fn options() -> Result<Options, lexopt::Error> {
    use lexopt::prelude::*;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut options = Options { seeds: 500, from: 0, seed: None, replay: false, sabotage: None, threads };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seeds") => options.seeds = parser.value()?.parse()?,
            Long("from") => options.from = parser.value()?.parse()?,
            Long("seed") => options.seed = Some(parser.value()?.parse()?),
            Long("replay") => options.replay = true,
            Long("sabotage") => options.sabotage = Some(parser.value()?.string()?),
            Long("threads") => options.threads = parser.value()?.parse()?,
            other => return Err(other.unexpected()),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            println!(
                "{error}\nusage: [--seeds N] [--from K] [--seed X [--replay]] [--sabotage all|NAME] [--threads T]"
            );
            return ExitCode::FAILURE;
        }
    };
    catch_panics();
    let is_well = match (&options.sabotage, options.seed) {
        (Some(name), None) => find_planted(name, &options),
        (name, Some(seed)) => plant_one(name.as_deref()) && explain(seed, options.replay),
        (None, None) => try_seeds(&options),
    };
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// ---- many seeds

#[derive(Default)]
struct Sum {
    runs: u64,
    inputs: u64,
    faults: Counts,
    marks: Vec<u64>,
    failed: Vec<(u64, Violation)>,
}

/// Runs a seed twice. Both runs must ask for the same things.
fn run_twice(seed: u64) -> (run::Outcome, Option<Violation>) {
    let plan = Plan::of(seed);
    let first = run(&plan, false);
    let again = run(&plan, false);
    let differs = (first.hash, &first.violation) != (again.hash, &again.violation);
    let unlike = differs.then(|| Violation { message: "law 14: the same seed twice gave two traces".to_owned() });
    let violation = unlike.or_else(|| first.violation.clone());
    (first, violation)
}

fn try_seeds(options: &Options) -> bool {
    let started = Instant::now();
    let end = options.from.saturating_add(options.seeds);
    let once_broken =
        ONCE_BROKEN.into_iter().filter(|seed| options.seeds >= SEEDS_FOR_ALL && !(options.from..end).contains(seed));
    let once_broken: Vec<u64> = once_broken.collect();
    let count = options.seeds + once_broken.len() as u64;
    let next = AtomicU64::new(0);
    let sum = Mutex::new(Sum { marks: vec![0; Mark::ALL.len()], ..Sum::default() });
    let told = Mutex::new(Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let beyond = at.checked_sub(options.seeds).and_then(|at| usize::try_from(at).ok());
                    let seed = beyond.map_or(Some(options.from + at), |at| once_broken.get(at).copied());
                    let Some(seed) = seed else { return };
                    let (outcome, violation) = run_twice(seed);
                    let Ok(mut sum) = sum.lock() else { return };
                    sum.runs += 1;
                    sum.inputs += outcome.inputs;
                    sum.faults.merge(&outcome.faults);
                    for (all, more) in sum.marks.iter_mut().zip(outcome.marks) {
                        *all += more;
                    }
                    sum.failed.extend(violation.map(|violation| (seed, violation)));
                    let (runs, failed) = (sum.runs, sum.failed.len());
                    drop(sum);
                    tell_progress(&told, started, runs, count, failed);
                }
            });
        }
    });
    let Ok(mut sum) = sum.into_inner() else { return false };
    sum.failed.sort_by_key(|(seed, _)| *seed);
    report(&sum, options, started.elapsed())
}

fn tell_progress(told: &Mutex<Instant>, started: Instant, runs: u64, seeds: u64, failed: usize) {
    let Ok(mut told) = told.lock() else { return };
    if told.elapsed() > Duration::from_secs(5) {
        *told = Instant::now();
        println!("{runs} of {seeds} seeds after {} s, {failed} failed", started.elapsed().as_secs());
        let _ = std::io::stdout().flush();
    }
}

fn report(sum: &Sum, options: &Options, time: Duration) -> bool {
    let names: Vec<String> = Mark::ALL.iter().map(|mark| format!("{mark:?}")).collect();
    let faults = Fault::ALL.iter().map(|fault| fault.name()).zip(sum.faults.0.iter().copied()).collect::<Vec<_>>();
    let marks = names.iter().map(String::as_str).zip(sum.marks.iter().copied()).collect::<Vec<_>>();
    print_table("fault", &faults);
    print_table("mark in the engine", &marks);
    let missed: Vec<&str> =
        faults.iter().chain(&marks).filter(|(_, count)| *count == 0).map(|(name, _)| *name).collect();
    for (seed, violation) in sum.failed.iter().take(EXPLAINED_MAX) {
        println!("\nseed {seed}: {}", violation.message);
        explain(*seed, false);
    }
    if sum.failed.len() > EXPLAINED_MAX {
        println!("\nfailing seeds, by law:");
        let mut laws: Vec<(&str, Vec<u64>)> = Vec::new();
        for (seed, violation) in &sum.failed {
            match laws.iter_mut().find(|(law, _)| *law == violation.law()) {
                Some((_, seeds)) => seeds.push(*seed),
                None => laws.push((violation.law(), vec![*seed])),
            }
        }
        for (law, seeds) in laws {
            let shown: Vec<String> = seeds.iter().take(20).map(u64::to_string).collect();
            println!("  {law}: {} seeds: {}", seeds.len(), shown.join(" "));
        }
    }
    let must_reach_all = options.seeds >= SEEDS_FOR_ALL;
    if must_reach_all && !missed.is_empty() {
        println!("\nnever reached: {}", missed.join(", "));
    }
    let per_run = time.as_secs_f64() * 1_000.0 / f64::from(u32::try_from(sum.runs.max(1) * 2).unwrap_or(u32::MAX));
    println!(
        "\n{} seeds, each twice, {} inputs, {:.1} s, {per_run:.1} ms a run on {} threads",
        sum.runs,
        sum.inputs,
        time.as_secs_f64(),
        options.threads,
    );
    let missed = if must_reach_all { missed.len() } else { 0 };
    println!("{} passed, {} failed", sum.runs - sum.failed.len() as u64, sum.failed.len() + missed);
    sum.failed.is_empty() && missed == 0
}

fn print_table(title: &str, rows: &[(&str, u64)]) {
    println!("\n{title:<54} reached");
    for (name, count) in rows {
        println!("  {name:<50} {count:>9}");
    }
}

// ---- one seed

/// Says what a seed breaks: the shortest plan that breaks the same law, and how to run it again.
fn explain(seed: u64, is_verbose: bool) -> bool {
    let plan = Plan::of(seed);
    let outcome = run(&plan, is_verbose);
    for line in &outcome.lines {
        println!("{line}");
    }
    let Some(violation) = outcome.violation else {
        println!("seed {seed} breaks no law; {} inputs, hash {:016x}", outcome.inputs, outcome.hash);
        return true;
    };
    let (short, outcome) = shrink::shrink(&plan, violation.law());
    println!("seed {seed} breaks {}", violation.message);
    println!(
        "shrunk from {} steps to {}; tabs at the beginning (browser, user): {:?}",
        plan.steps.len(),
        short.steps.len(),
        short.tabs
    );
    for step in &short.steps {
        println!("  {:>3}. {:?}, then {} ms", step.salt, step.action, step.pause_ms);
    }
    if let Some(violation) = outcome.violation {
        println!("which breaks {}", violation.message);
    }
    if is_verbose {
        println!("\nthe shrunk run:");
        for line in run(&short, true).lines {
            println!("{line}");
        }
    }
    println!("replay with: cargo xtask sim --seed {seed} --replay");
    false
}

// ---- planted faults

#[cfg(not(feature = "sabotage"))]
fn find_planted(_: &str, _: &Options) -> bool {
    println!("this build has no planted faults; `cargo xtask sim --sabotage` makes one that has");
    false
}

#[cfg(not(feature = "sabotage"))]
fn plant_one(name: Option<&str>) -> bool {
    name.is_none()
        || find_planted("", &Options { seeds: 0, from: 0, seed: None, replay: false, sabotage: None, threads: 1 })
}

#[cfg(feature = "sabotage")]
fn plant_one(name: Option<&str>) -> bool {
    let fault = name.and_then(|name| rota_engine::Sabotage::ALL.iter().copied().find(|fault| fault.name() == name));
    rota_engine::plant(fault);
    name.is_none() || fault.is_some()
}

#[cfg(feature = "sabotage")]
fn find_planted(name: &str, options: &Options) -> bool {
    use rota_engine::{Sabotage, plant};
    let chosen: Vec<Sabotage> =
        Sabotage::ALL.iter().copied().filter(|fault| name == "all" || fault.name() == name).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = Sabotage::ALL.iter().map(|fault| fault.name()).collect();
        println!("there is no planted fault \"{name}\"; there are {}", names.join(", "));
        return false;
    }
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let found = Mutex::new(vec![None; chosen.len()]);
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(fault) = usize::try_from(at).ok().and_then(|at| chosen.get(at)) else { return };
                    plant(Some(*fault));
                    let (mut tried, mut finds, mut first) = (0, 0, None);
                    while tried < SABOTAGE_SEEDS && finds < SABOTAGE_FINDS {
                        let seed = options.from + tried;
                        tried += 1;
                        if let Some(violation) = run(&Plan::of(seed), false).violation {
                            finds += 1;
                            first.get_or_insert((seed, violation));
                        }
                    }
                    if let (Ok(mut found), Ok(at)) = (found.lock(), usize::try_from(at)) {
                        found[at] = Some((tried, finds, first));
                    }
                }
            });
        }
    });
    let Ok(found) = found.into_inner() else { return false };
    println!("{:<46} {:>6} {:>6}  first find", "planted fault", "seeds", "found");
    let mut missed = 0;
    for (fault, row) in chosen.iter().zip(found) {
        let Some((tried, finds, first)) = row else { continue };
        let what = first.map_or_else(
            || "NOT FOUND".to_owned(),
            |(seed, violation): (u64, Violation)| {
                let message: String = violation.message.chars().take(110).collect();
                format!("seed {seed}, {message}")
            },
        );
        missed += u64::from(finds == 0);
        println!("{:<46} {tried:>6} {finds:>6}  {what}", fault.name());
    }
    println!("\n{} planted faults in {:.1} s", chosen.len(), started.elapsed().as_secs_f64());
    println!("{} passed, {missed} failed", chosen.len() as u64 - missed);
    missed == 0
}
