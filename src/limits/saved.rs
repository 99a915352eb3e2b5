//! What is kept of a quota across restarts: plain values, with times as milliseconds since 1970.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    clock::later,
    limits::{
        count::Counted,
        counting::Counting,
        rule::{Rule, Source, Window},
        stated::{Counter, StatedLimit},
    },
    provider::Quantity,
};

/// Shorter windows are over when a process has been started again, or soon after.
const SHORTEST: Duration = Duration::from_secs(3600);
/// Calls of rolling windows are merged to so many.
const MOST_CALLS: usize = 256;

/// An instant, and the wall-clock time at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchor {
    /// Now.
    pub(crate) instant: Instant,
    /// In milliseconds since 1970.
    pub(crate) epoch_ms: u64,
}

impl Anchor {
    fn wall(self, at: Instant) -> u64 {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        match at.checked_duration_since(self.instant) {
            Some(after) => self.epoch_ms.saturating_add(millis(after)),
            None => self.epoch_ms.saturating_sub(millis(self.instant - at)),
        }
    }

    /// An instant in the past that is too early to be represented is now: then what began at it counts for longer.
    fn instant(self, wall: u64) -> Instant {
        match wall.checked_sub(self.epoch_ms) {
            Some(after) => later(self.instant, Duration::from_millis(after)),
            None => {
                let before = Duration::from_millis(self.epoch_ms - wall);
                self.instant.checked_sub(before).unwrap_or(self.instant)
            }
        }
    }

    /// The same of what is not over.
    fn future(self, wall: u64) -> Option<Instant> {
        (wall > self.epoch_ms).then(|| self.instant(wall))
    }
}

/// What a quota knows that is worth knowing after a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SavedQuota {
    /// Calls of rolling windows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    calls: Vec<SavedCalls>,
    /// What is used of fixed windows, and believed beyond the table.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<SavedRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stated: Vec<SavedStatement>,
    /// Sizes in tokens, and until when no request of them has room.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    held: Vec<(u64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inferred: Option<SavedInferred>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct SavedCalls {
    at: u64,
    requests: u32,
    tokens: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct SavedRule {
    #[serde(with = "SavedQuantity")]
    of: Quantity,
    source: Source,
    window_ms: Option<u64>,
    /// What it was, where the upstream has stated it: those of the table and of the operator are given again.
    amount: u64,
    used: u64,
    /// When its fixed window ends.
    end: Option<u64>,
    raised: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct SavedStatement {
    #[serde(with = "SavedQuantity")]
    of: Quantity,
    window_ms: Option<u64>,
    limit: Option<u64>,
    left: u64,
    until: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct SavedInferred {
    amount: u64,
    /// `None`: at once.
    window_ms: Option<u64>,
    /// When the refusals that it follows from are forgotten.
    until: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Quantity", rename_all = "lowercase")]
enum SavedQuantity {
    Requests,
    Tokens,
}

impl SavedQuota {
    /// Whether it says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Counting {
    pub(super) fn save(&self, anchor: Anchor) -> SavedQuota {
        let now = anchor.instant;
        let inferred = self.inferred.as_ref().filter(|(_, until)| *until > now);
        SavedQuota {
            calls: self.saved_calls(anchor),
            rules: self
                .rules
                .iter()
                .filter_map(|counted| saved_rule(counted, anchor))
                .collect(),
            stated: self
                .counters
                .iter()
                .filter_map(|counter| saved_statement(counter, anchor))
                .collect(),
            held: {
                let held = self.holds.iter().filter(|&(_, until)| until > now);
                held.map(|(least, until)| (least, anchor.wall(until)))
                    .collect()
            },
            inferred: inferred.map(|(counted, until)| SavedInferred {
                amount: counted.rule.amount,
                window_ms: counted.rule.window.length().map(millis),
                until: anchor.wall(*until),
            }),
        }
    }

    fn saved_calls(&self, anchor: Anchor) -> Vec<SavedCalls> {
        let rolling = |counted: &Counted| match counted.rule.window {
            Window::Rolling(length) if length >= SHORTEST => Some(length),
            Window::Rolling(_) | Window::Until { .. } | Window::AtOnce => None,
        };
        let Some(longest) = self.rules.iter().filter_map(rolling).max() else {
            return Vec::new();
        };
        let now = anchor.instant;
        let calls = self.log.merged(MOST_CALLS, now);
        let calls = calls.filter(|entry| {
            entry.requests > 0 && now.saturating_duration_since(entry.begun) < longest
        });
        let saved = |entry: crate::limits::log::Entry| SavedCalls {
            at: anchor.wall(entry.begun),
            requests: entry.requests,
            tokens: entry.tokens,
        };
        calls.map(saved).collect()
    }

    pub(super) fn restore(&mut self, saved: &SavedQuota, anchor: Anchor) {
        let now = anchor.instant;
        self.log.restore(saved.calls.iter().map(|calls| {
            (
                anchor.instant(calls.at).min(now),
                calls.requests,
                calls.tokens,
            )
        }));
        for saved in &saved.rules {
            self.restore_rule(saved, anchor);
        }
        for counted in &mut self.rules {
            counted.recount(&self.log, now);
        }
        for saved in &saved.stated {
            let Some(until) = anchor.future(saved.until) else {
                continue;
            };
            let stated = StatedLimit {
                of: saved.of,
                window: saved.window_ms.map(Duration::from_millis),
                limit: saved.limit,
                remaining: Some(saved.left),
                until: Some(until),
            };
            self.state(None, stated, now);
        }
        for &(least, until) in &saved.held {
            if let Some(until) = anchor.future(until) {
                self.holds.add(least, until, now);
            }
        }
        let inferred = saved
            .inferred
            .and_then(|saved| Some((saved, anchor.future(saved.until)?)));
        self.inferred = inferred.map(|(saved, until)| {
            let window = saved.window_ms.map(Duration::from_millis);
            let rule = Rule {
                amount: saved.amount,
                of: Quantity::Requests,
                window: window.map_or(Window::AtOnce, Window::Rolling),
                source: Source::Inferred,
            };
            (
                Counted::new(rule, &self.log, now),
                until.min(later(now, crate::limits::infer::MEMORY)),
            )
        });
    }

    fn restore_rule(&mut self, saved: &SavedRule, anchor: Anchor) {
        let now = anchor.instant;
        let length = saved.window_ms.map(Duration::from_millis);
        let end = saved.end.and_then(|end| anchor.future(end));
        if let (Source::Stated, Some(length)) = (saved.source, length) {
            let stated = StatedLimit {
                of: saved.of,
                window: Some(length),
                limit: Some(saved.amount),
                remaining: None,
                until: end,
            };
            if end.is_some() || saved.end.is_none() {
                self.state(None, stated, now);
            }
        }
        let is_same = |counted: &&mut Counted| {
            let rule = counted.rule;
            (rule.of, rule.source, rule.window.length()) == (saved.of, saved.source, length)
        };
        let Some(counted) = self.rules.iter_mut().find(is_same) else {
            return;
        };
        let is_present = match (counted.rule.window, end) {
            (Window::Until { end: own, period }, Some(saved)) => {
                let apart = own.max(saved) - own.min(saved);
                apart < period / 2
            }
            _ => false,
        };
        let raised = saved
            .raised
            .and_then(|(amount, until)| Some((amount, anchor.future(until)?)));
        counted.restore(if is_present { saved.used } else { 0 }, raised);
    }
}

fn saved_rule(counted: &Counted, anchor: Anchor) -> Option<SavedRule> {
    let now = anchor.instant;
    let (used, raised) = counted.kept();
    let raised = raised.filter(|&(_, until)| until > now);
    let rule = counted.rule;
    let end = match rule.window {
        Window::Until { end, .. } => Some(end),
        Window::Rolling(_) | Window::AtOnce => None,
    };
    let is_long = rule
        .window
        .length()
        .is_some_and(|length| length >= SHORTEST);
    let end = end.filter(|&end| is_long && end > now);
    let is_worth =
        end.is_some() && used > 0 || raised.is_some() || is_long && rule.source == Source::Stated;
    is_worth.then(|| SavedRule {
        of: rule.of,
        source: rule.source,
        window_ms: rule.window.length().map(millis),
        amount: rule.amount,
        used: if end.is_some() { used } else { 0 },
        end: end.map(|end| anchor.wall(end)),
        raised: raised.map(|(amount, until)| (amount, anchor.wall(until))),
    })
}

fn saved_statement(counter: &Counter, anchor: Anchor) -> Option<SavedStatement> {
    let until = counter
        .stated_end(anchor.instant)
        .filter(|&until| until > anchor.instant)?;
    Some(SavedStatement {
        of: counter.stated.of,
        window_ms: counter.stated.window.map(millis),
        limit: counter.stated.limit,
        left: counter.left(),
        until: anchor.wall(until),
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
