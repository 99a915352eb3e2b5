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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::overview;

    /// Few places, bursts, stalls and a model that vanishes.
    const SCENARIO: &str = r#"
        title = "all kinds of trouble"
        [[provider]]
        name = "narrow"
        [[provider.limit]]
        name = "minute"
        counts = "requests"
        of = "account"
        amount = 8
        per_s = 60
        window = "rolling"
        others_per_minute = 2
        refusal = { status = 429, headers = [["retry-after", "<reset_s>"]], body = '{"error":{"message":"Slow down."}}' }
        [[provider.model]]
        id = "a"
        copies = 2
        window = 32768
        first_token_s = 1
        tokens_per_s = 50
        [[provider]]
        name = "troubled"
        [[provider.model]]
        id = "b"
        window = 32768
        first_token_s = 2
        tokens_per_s = 50
        stalls = 0.1
        errors_in_200 = 0.1
        bursts = { on_s = 20, off_s = 40, refuses = 0.9, says_s = 3 }
        [[provider.model]]
        id = "c"
        window = 32768
        first_token_s = 2
        tokens_per_s = 50
        until_s = 100
        [[demand]]
        name = "conversations"
        for_s = 200
        count = 40
        turns = 3
        think_s = 4
        prompt_tokens = 300
    "#;

    fn compare(jobs: usize, seeds: &[u64]) -> Vec<Comparison> {
        let settings = [("ours".to_owned(), crate::policy::Setting::default())];
        let policies = ["ours", "uniform", "cooldown", "oracle"]
            .map(|name| Policy::named(name, &settings).unwrap());
        all(&[Scenario::parse(SCENARIO)], &policies, seeds, jobs).unwrap()
    }

    fn text(comparisons: &[Comparison]) -> String {
        overview(comparisons) + &comparisons[0].markdown()
    }

    #[test]
    fn the_same_seeds_give_the_same_report_however_many_runs_there_are_at_a_time() {
        let one = text(&compare(1, &[1, 2]));
        assert_eq!(one, text(&compare(3, &[1, 2])));
        assert_ne!(one, text(&compare(1, &[1, 3])));
    }

    #[test]
    fn each_call_either_served_a_request_or_was_in_vain() {
        let comparison = &compare(1, &[5])[0];
        for (name, summary) in &comparison.policies {
            assert_eq!(summary.asked, 120);
            let lost: u64 = summary.lost.values().sum();
            assert_eq!(summary.served + lost, summary.asked, "{name}");
            let tally = &summary.tally;
            assert_eq!(
                tally.calls,
                summary.served + tally.wasted(),
                "{name}: {tally:?}"
            );
            assert!(tally.knowable() <= tally.wasted());
            let of_services: u64 = tally.services.values().map(|service| service[0]).sum();
            assert_eq!(of_services, tally.calls);
            assert_eq!(tally.wasted() > 0, name != "oracle", "{name}");
        }
    }
}
