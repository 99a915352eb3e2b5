//! What came of all runs, as tables.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use crate::{policy::Reply, run::Outcome, tally::Tally, window::Millis};

/// What came of one policy in one scenario, over all seeds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) asked: u64,
    pub(crate) served: u64,
    pub(crate) tally: Tally,
    /// Times to the first content of streamed answers, in order.
    pub(crate) first: Vec<Millis>,
    /// Turns that were served after an earlier one of the same conversation, and those of them by another model.
    pub(crate) turns: (u64, u64),
    /// Why requests were not served.
    pub(crate) lost: BTreeMap<String, u64>,
}

impl Summary {
    pub(crate) fn of(outcomes: &[Outcome]) -> Self {
        let mut summary = Self::default();
        for outcome in outcomes {
            summary.add(outcome);
        }
        summary.first.sort_unstable();
        summary
    }

    fn add(&mut self, outcome: &Outcome) {
        self.tally.add(&outcome.tally);
        let mut last = HashMap::new();
        for record in &outcome.records {
            self.asked += 1;
            match &record.reply {
                Reply::Lost(why) => *self.lost.entry(why.clone()).or_default() += 1,
                Reply::Served { first, model } => {
                    self.served += 1;
                    if record.stream {
                        self.first.push(*first);
                    }
                    if let Some(before) = last.insert(record.conversation, *model) {
                        self.turns.0 += 1;
                        self.turns.1 += u64::from(before != *model);
                    }
                }
            }
        }
    }

    /// Calls that served no client, in percent of those that served.
    pub(crate) fn wasted(&self) -> f64 {
        percent(self.tally.wasted(), self.served)
    }

    /// Those of them that could have been known: see [`Tally`].
    pub(crate) fn knowable(&self) -> f64 {
        percent(self.tally.knowable(), self.served)
    }

    /// The time within which this share of the answers began, in seconds.
    pub(crate) fn first_token(&self, share: f64) -> f64 {
        let at = (self.first.len() as f64 * share).ceil() as usize;
        let first = self.first.get(at.max(1) - 1);
        first.map_or(f64::NAN, |first| *first as f64 / 1e3)
    }
}

/// All policies in one scenario.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) policies: Vec<(String, Summary)>,
}

impl Comparison {
    /// What is served by a policy, in percent of what the oracle serves.
    pub(crate) fn of_oracle(&self, summary: &Summary) -> Option<f64> {
        let oracle = self.policies.iter().find(|(name, _)| name == "oracle");
        oracle.map(|(_, oracle)| percent(summary.served, oracle.served))
    }

    /// The tables of this scenario, in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("## {}: {}\n\n", self.name, self.title);
        text += "| policy | served | % of oracle | wasted calls, % of served (knowable) | lost | first token p50 / p95 / p99, s | \
                 calls per served | model changes, % of turns |\n|---|---|---|---|---|---|---|---|\n";
        for (name, summary) in &self.policies {
            let of_oracle = self
                .of_oracle(summary)
                .map_or_else(String::new, |share| format!("{share:.1}"));
            let changes = match summary.turns {
                (0, _) => String::new(),
                (turns, changed) => format!("{:.0}", percent(changed, turns)),
            };
            let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| summary.first_token(share));
            let _ = writeln!(
                text,
                "| {name} | {} of {} | {of_oracle} | {:.1} ({:.1}) | {} | {p50:.1} / {p95:.1} / {p99:.1} | {:.2} | {changes} |",
                summary.served,
                summary.asked,
                summary.wasted(),
                summary.knowable(),
                summary.asked - summary.served,
                summary.tally.calls as f64 / summary.served.max(1) as f64,
            );
        }
        text.push('\n');
        for (name, summary) in &self.policies {
            let lost: Vec<_> = summary
                .lost
                .iter()
                .map(|(why, n)| format!("{n} {why}"))
                .collect();
            let in_vain = summary.tally.in_vain.iter();
            let in_vain: Vec<_> = in_vain
                .map(|(cause, (n, knowable))| format!("{n} {} ({knowable})", cause.name()))
                .collect();
            if lost.is_empty() && in_vain.is_empty() {
                continue;
            }
            let none = |list: Vec<String>| {
                if list.is_empty() {
                    "none".to_owned()
                } else {
                    list.join(", ")
                }
            };
            let _ = writeln!(
                text,
                "- {name}: lost {}; calls in vain (knowable): {}",
                none(lost),
                none(in_vain)
            );
        }
        if let Some((name, summary)) = self.policies.first() {
            let services = summary.tally.services.iter();
            let services: Vec<_> = services
                .map(|(name, [calls, in_vain, knowable])| {
                    format!("{name} {calls} − {in_vain} ({knowable})")
                })
                .collect();
            let _ = writeln!(
                text,
                "- {name}, by service: calls − in vain (knowable): {}",
                services.join(", ")
            );
        }
        text + "\n"
    }
}

/// One line for each policy: served % of oracle / wasted % of served (knowable), for each scenario.
pub(crate) fn overview(comparisons: &[Comparison]) -> String {
    let mut text =
        "Served % of oracle / wasted upstream calls % of served (knowable)\n\n|".to_owned();
    for comparison in comparisons {
        let _ = write!(text, " | {}", comparison.name);
    }
    text += " |\n|---";
    text += &"|---".repeat(comparisons.len());
    text += "|\n";
    let policies = comparisons.first().map_or(&[][..], |first| &first.policies);
    for (at, (name, _)) in policies.iter().enumerate() {
        let _ = write!(text, "| {name}");
        for comparison in comparisons {
            let summary = &comparison.policies[at].1;
            let share = comparison
                .of_oracle(summary)
                .unwrap_or_else(|| percent(summary.served, summary.asked));
            let _ = write!(
                text,
                " | {share:.1} / {:.0} ({:.0})",
                summary.wasted(),
                summary.knowable()
            );
        }
        text += " |\n";
    }
    text + "\n"
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}
