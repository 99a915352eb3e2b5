//! A limit that nobody states, from which calls were accepted and which were refused.
//!
//! Of the rules "N within 1, 5, 10 or 60 seconds" and "N at once" those are possible that allow all accepted calls and
//! none of the refused ones. Of them the one with the highest sustained rate is taken. Where none is possible, the refusals
//! came from something else, congestion for example.
//!
//! When an upstream has counted a call is known only roughly. So a refusal is taken in the most generous way: whatever
//! may have been there when it was decided counts, with some tolerance at the edge of the window.
//!
//! Refusals are remembered for [`MEMORY`], and so a rule holds no longer than that after the last of them. A rule that is
//! obeyed is never contradicted: if it was wrong it has to end, and if it was right two more refusals bring it back,
//! because the calls before them are known. A single refusal makes no rule: it may be an accident.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::{
    limits::{
        log::{Entry, Log},
        rule::{Rule, Source, Window},
    },
    provider::Quantity,
};

/// Windows of limits that are not stated: a second at Mistral, a minute at NVIDIA and Cohere (facts: B0, B4, B7, B8).
const WINDOWS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(60),
];
/// Calls of this time must be known before a refusal can say anything.
pub(super) const LONGEST: Duration = WINDOWS[3];
/// How long a refusal is remembered.
pub(super) const MEMORY: Duration = Duration::from_secs(600);
/// So many refusals make a rule.
const ENOUGH: usize = 2;
/// Refusals within this time are remembered together, so that there are at most 60 of them.
const TOGETHER: Duration = Duration::from_secs(10);
/// The calls in flight are all known so long after counting has begun.
const FLIGHT: Duration = Duration::from_secs(10);
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    /// Since when all calls are known; `None`: all are.
    known_since: Option<Instant>,
    refusals: VecDeque<Refusal>,
}

/// What the refusals of some seconds say.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    /// When the first of them came.
    at: Instant,
    within: [Bound; WINDOWS.len()],
    at_once: Bound,
}

/// An upper bound of one limit.
#[derive(Clone, Copy, Debug)]
struct Bound {
    /// The fewest calls that may have been there when one was refused.
    least: u64,
    /// The number of refusals that it follows from: those before which all calls are known.
    refusals: usize,
}

impl Bound {
    const NONE: Self = Self {
        least: u64::MAX,
        refusals: 0,
    };

    fn and(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            refusals: self.refusals.saturating_add(other.refusals),
        }
    }
}

impl Evidence {
    /// All calls from now on are known.
    pub(super) fn begin(&mut self, now: Instant) {
        self.known_since = Some(now);
        self.refusals.clear();
    }

    /// There were no calls before.
    pub(super) fn knows_all(&mut self) {
        self.known_since = None;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.refusals.is_empty()
    }

    /// When the last refusal is forgotten.
    pub(super) fn until(&self) -> Option<Instant> {
        let newest = self.refusals.back();
        newest.map(|newest| newest.at + MEMORY)
    }

    pub(super) fn forget(&mut self, now: Instant) {
        let is_over = |at: Instant| now.saturating_duration_since(at) >= MEMORY;
        while self
            .refusals
            .front()
            .is_some_and(|oldest| is_over(oldest.at))
        {
            self.refusals.pop_front();
        }
    }

    /// A call was refused.
    pub(super) fn refused(&mut self, refused: &Entry, log: &Log, now: Instant) {
        self.forget(now);
        let begun = refused.begun;
        let is_known = |time: Duration| {
            let since = self.known_since;
            since.is_none_or(|since| begun.saturating_duration_since(since) >= time)
        };
        let (mut within, mut at_once) = ([0; WINDOWS.len()], 0);
        for entry in log.entries().rev() {
            let before = begun.saturating_duration_since(entry.begun);
            let requests = u64::from(entry.requests.saturating_sub(entry.refused));
            if !entry.may_count() || entry.call == refused.call {
                continue;
            }
            for (count, window) in within.iter_mut().zip(WINDOWS) {
                if before < window + tolerance(window) {
                    *count += requests;
                }
            }
            if entry.ended.is_none_or(|ended| ended > begun) {
                at_once += requests;
            }
        }
        let bound = |least, time| match is_known(time) {
            true => Bound { least, refusals: 1 },
            false => Bound::NONE,
        };
        let mut new = Refusal {
            at: now,
            within: [Bound::NONE; WINDOWS.len()],
            at_once: bound(at_once, FLIGHT),
        };
        for (index, window) in WINDOWS.into_iter().enumerate() {
            new.within[index] = bound(within[index], window);
        }
        match self.refusals.back_mut() {
            Some(last) if now.saturating_duration_since(last.at) < TOGETHER => {
                for (known, new) in last.within.iter_mut().zip(new.within) {
                    *known = known.and(new);
                }
                last.at_once = last.at_once.and(new.at_once);
            }
            _ => self.refusals.push_back(new),
        }
    }

    /// Whether there are refusals enough to say that a rule holds, or none.
    pub(super) fn is_enough(&self) -> bool {
        let mut windows = 0..WINDOWS.len();
        let is_known = |index: usize| self.most(|refusal| refusal.within[index]).is_some();
        windows.any(is_known) || self.most(|refusal| refusal.at_once).is_some()
    }

    /// The most generous rule that all calls allow.
    pub(super) fn rule(&self, log: &Log, now: Instant) -> Option<Rule> {
        let mut best: Option<(f64, Rule)> = None;
        let mut offer = |amount: u64, window, seconds: f64| {
            let rate = amount as f64 / seconds;
            let is_better = best
                .is_none_or(|(known, rule)| rate > known || rate == known && amount > rule.amount);
            if is_better {
                let (of, source) = (Quantity::Requests, Source::Inferred);
                best = Some((
                    rate,
                    Rule {
                        amount,
                        of,
                        window,
                        source,
                    },
                ));
            }
        };
        for (index, window) in WINDOWS.into_iter().enumerate() {
            let most = self.most(|refusal| refusal.within[index]);
            if let Some(most) = most.filter(|&most| most >= accepted_within(window, log).max(1)) {
                offer(most, Window::Rolling(window), window.as_secs_f64());
            }
        }
        if let Some(most) = self.most(|refusal| refusal.at_once) {
            let (together, mean) = accepted_at_once(log, now);
            if most >= together.max(1) {
                offer(most, Window::AtOnce, mean);
            }
        }
        best.map(|(_, rule)| rule)
    }

    /// The most that all refusals allow, if there are enough of them.
    fn most(&self, of: impl Fn(&Refusal) -> Bound) -> Option<u64> {
        let bound = self.refusals.iter().map(of).fold(Bound::NONE, Bound::and);
        (bound.refusals >= ENOUGH).then_some(bound.least)
    }

    /// The machine was suspended for this long while tokio's clock stood still.
    pub(super) fn jump(&mut self, ahead: Duration) {
        let older = |at: Instant| at.checked_sub(ahead);
        // What cannot be represented is over.
        self.refusals.retain_mut(|refusal| {
            older(refusal.at).is_some_and(|at| {
                refusal.at = at;
                true
            })
        });
        self.known_since = self.known_since.and_then(older);
    }
}

/// Whether what was accepted contradicts a rule.
pub(super) fn is_contradicted(rule: &Rule, log: &Log, now: Instant) -> bool {
    let accepted = match rule.window {
        Window::Rolling(window) => accepted_within(window, log),
        Window::AtOnce => accepted_at_once(log, now).0,
        Window::Until { .. } => 0,
    };
    accepted > rule.amount
}

/// How much the time between two calls may differ between here and the upstream.
fn tolerance(window: Duration) -> Duration {
    (window / 20).min(Duration::from_millis(500))
}

/// The most calls that began within such a window and were accepted.
fn accepted_within(window: Duration, log: &Log) -> u64 {
    let accepted = || log.entries().filter(|entry| entry.was_accepted());
    let mut oldest = accepted().peekable();
    let (mut count, mut most) = (0_u64, 0);
    for newest in accepted() {
        count += 1;
        while oldest
            .next_if(|oldest| newest.begun.saturating_duration_since(oldest.begun) >= window)
            .is_some()
        {
            count -= 1;
        }
        most = most.max(count);
    }
    most
}

/// The most accepted calls that were in flight at one time, and how long one is in flight, in seconds.
fn accepted_at_once(log: &Log, now: Instant) -> (u64, f64) {
    let accepted = || log.entries().filter(|entry| entry.was_accepted());
    let mut ends: Vec<Instant> = accepted().filter_map(|entry| entry.ended).collect();
    ends.sort_unstable();
    let mut ends = ends.into_iter().peekable();
    let (mut count, mut most, mut calls, mut time) = (0_u64, 0, 0_u64, Duration::ZERO);
    for entry in accepted() {
        count += 1;
        while ends.next_if(|&end| end <= entry.begun).is_some() {
            count = count.saturating_sub(1);
        }
        most = most.max(count);
        calls += 1;
        time += entry
            .ended
            .unwrap_or(now)
            .saturating_duration_since(entry.begun);
    }
    let mean = if calls > 0 {
        time.as_secs_f64() / calls as f64
    } else {
        1.0
    };
    (most, mean.max(0.001))
}
