//! Makes a failing plan shorter, as long as it breaks the same law: first large parts of it are left out, then smaller ones.

use crate::run::{Outcome, run};
use crate::workload::Plan;

/// How many plans are tried.
const TRIES_MAX: usize = 1_500;

/// Returns the shortest plan that was found, and what it breaks.
pub fn shrink(plan: &Plan, law: &str) -> (Plan, Outcome) {
    let mut best = plan.clone();
    let mut outcome = run(&best, false);
    let mut tries = 0;
    let mut attempt = |candidate: Plan, best: &mut Plan, outcome: &mut Outcome| {
        tries += 1;
        let found = run(&candidate, false);
        let is_same = found.violation.as_ref().is_some_and(|violation| violation.law() == law);
        if is_same {
            (*best, *outcome) = (candidate, found);
        }
        (is_same, tries < TRIES_MAX)
    };
    for tab in (0..best.tabs.len()).rev() {
        let mut candidate = best.clone();
        candidate.tabs.remove(tab);
        attempt(candidate, &mut best, &mut outcome);
    }
    let mut part = best.steps.len().div_ceil(2).max(1);
    loop {
        let (mut at, mut is_shorter) = (0, false);
        while at < best.steps.len() {
            let mut candidate = best.clone();
            candidate.steps.drain(at..(at + part).min(candidate.steps.len()));
            let (worked, may_go_on) = attempt(candidate, &mut best, &mut outcome);
            if !may_go_on {
                return (best, outcome);
            }
            is_shorter |= worked;
            at += if worked { 0 } else { part };
        }
        if part == 1 && !is_shorter {
            return (best, outcome);
        }
        if !is_shorter {
            part = part.div_ceil(2);
        }
    }
}
