//! All runs, several at a time, with a bar that shows how far they are.

use std::{
    io::{IsTerminal as _, stderr},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    policy::Policy,
    report::{Comparison, Summary},
    run::{Outcome, run},
    scenario::{BoxError, Scenario},
};

/// Runs each scenario with each policy and each seed. What is returned does not depend on `jobs`.
pub(crate) fn all(
    scenarios: &[Scenario],
    policies: &[Policy],
    seeds: &[u64],
    jobs: usize,
) -> Result<Vec<Comparison>, BoxError> {
    let mut todo = Vec::new();
    for scenario in scenarios {
        for policy in policies {
            todo.extend(seeds.iter().map(|seed| (scenario, policy, *seed)));
        }
    }
    let bar = bar(todo.iter().map(|(scenario, ..)| scenario.length()).sum());
    let done: Vec<Mutex<Option<Result<Outcome, BoxError>>>> =
        todo.iter().map(|_| Mutex::default()).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, todo.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((scenario, policy, seed)) = todo.get(at) else {
                        break;
                    };
                    bar.set_message(format!("{} {}", scenario.name, policy.name()));
                    let outcome = run(scenario, policy, *seed, |passed| bar.inc(passed));
                    *done[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut done = done.into_iter().map(|outcome| {
        let outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcome.unwrap_or_else(|| Err("a run was left out".into()))
    });
    let mut comparisons = Vec::new();
    for scenario in scenarios {
        let mut summaries = Vec::new();
        for policy in policies {
            let outcomes: Result<Vec<_>, _> = done.by_ref().take(seeds.len()).collect();
            summaries.push((policy.name().to_owned(), Summary::of(&outcomes?)));
        }
        comparisons.push(Comparison {
            name: scenario.name.clone(),
            title: scenario.title.clone(),
            policies: summaries,
        });
    }
    Ok(comparisons)
}

fn bar(length: u64) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3} % {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar
}
