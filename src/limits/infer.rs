//! A limit that no upstream states, from which calls were accepted and which were refused.
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
/// What was in flight when a call was refused has an answer so long after, or is taken to be accepted.
const SETTLED: Duration = Duration::from_secs(15);
/// As many refusals wait for that at a time; of more, the oldest are settled before.
const FRESH: usize = 16;
/// The calls in flight are all known so long after counting has begun.
const FLIGHT: Duration = Duration::from_secs(10);
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    /// Since when all calls are known; `None`: all are.
    known_since: Option<Instant>,
    refusals: VecDeque<Refusal>,
    /// The last refusals, each by itself: calls that were in flight with them may turn out to have been refused as well, and
    /// then they did not count.
    fresh: VecDeque<Fresh>,
}

/// A refusal of which it is not yet clear which calls around it were accepted.
#[derive(Clone, Copy, Debug)]
struct Fresh {
    call: u64,
    begun: Instant,
    at: Instant,
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

    /// The most that the refusals allow, if they are enough.
    fn most(self) -> Option<u64> {
        (self.refusals >= ENOUGH).then_some(self.least)
    }
}

impl Refusal {
    /// What both say.
    fn and(&self, other: &Self) -> Self {
        let mut all = *self;
        for (known, new) in all.within.iter_mut().zip(other.within) {
            *known = known.and(new);
        }
        all.at_once = all.at_once.and(other.at_once);
        all
    }

    /// The most generous rule that this and all accepted calls allow.
    fn rule(&self, may_be_fixed: bool, log: &Log, now: Instant) -> Option<Rule> {
        let mut best: Option<(f64, Rule)> = None;
        let mut offer = |amount: u64, window, seconds: f64| {
            let rate = amount as f64 / seconds;
            let is_better = best
                .is_none_or(|(known, rule)| rate > known || rate == known && amount > rule.amount);
            if is_better {
                let (of, source) = (Quantity::Requests, Source::Inferred);
                let rule = Rule {
                    amount,
                    of,
                    window,
                    source,
                };
                best = Some((rate, rule));
            }
        };
        // Where windows are fixed, the end of one and the beginning of the next are as long as one together.
        let windows = if may_be_fixed { 2 } else { 1 };
        for (bound, window) in self.within.iter().zip(WINDOWS) {
            let is_possible =
                |&most: &u64| most.saturating_mul(windows) >= accepted_within(window, log).max(1);
            if let Some(most) = bound.most().filter(is_possible) {
                offer(most, Window::Rolling(window), window.as_secs_f64());
            }
        }
        if let Some(most) = self.at_once.most() {
            let (together, mean) = accepted_at_once(log, now);
            if most >= together.max(1) {
                offer(most, Window::AtOnce, mean);
            }
        }
        best.map(|(_, rule)| rule)
    }
}

impl Evidence {
    /// All calls from now on are known.
    pub(super) fn begin(&mut self, now: Instant) {
        self.known_since = Some(now);
        self.refusals.clear();
        self.fresh.clear();
    }

    /// There were no calls before.
    pub(super) fn knows_all(&mut self) {
        self.known_since = None;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.refusals.is_empty() && self.fresh.is_empty()
    }

    /// When the last refusal is forgotten.
    pub(super) fn until(&self) -> Option<Instant> {
        let fresh = self.fresh.back().map(|fresh| fresh.at);
        let newest = fresh.or_else(|| self.refusals.back().map(|settled| settled.at));
        newest.map(|newest| newest + MEMORY)
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
        self.fresh.retain(|fresh| !is_over(fresh.at));
    }

    /// A call was refused.
    pub(super) fn refused(&mut self, refused: &Entry, log: &Log, now: Instant) {
        self.forget(now);
        self.fresh.push_back(Fresh {
            call: refused.call,
            begun: refused.begun,
            at: now,
        });
        let is_settled = |fresh: &Fresh| now.saturating_duration_since(fresh.at) >= SETTLED;
        while self.fresh.len() > FRESH || self.fresh.front().is_some_and(is_settled) {
            let Some(fresh) = self.fresh.pop_front() else {
                return;
            };
            let new = self.bounds_of(&fresh, log);
            match self.refusals.back_mut() {
                Some(last) if fresh.at.saturating_duration_since(last.at) < TOGETHER => {
                    *last = last.and(&new);
                }
                _ => self.refusals.push_back(new),
            }
        }
    }

    /// What a refusal says by what is known now of the calls around it.
    fn bounds_of(&self, refused: &Fresh, log: &Log) -> Refusal {
        let Fresh { call, begun, at } = *refused;
        let is_known = |time: Duration| {
            let since = self.known_since;
            since.is_none_or(|since| begun.saturating_duration_since(since) >= time)
        };
        let (mut within, mut at_once) = ([0; WINDOWS.len()], 0);
        let newest_first = log.entries().rev();
        let farthest = LONGEST + tolerance(LONGEST);
        for entry in newest_first.skip_while(|entry| entry.begun > at) {
            let before = begun.saturating_duration_since(entry.begun);
            let is_open = entry.ended.is_none_or(|ended| ended > begun);
            if before >= farthest && !is_open {
                continue;
            }
            let requests = u64::from(entry.requests.saturating_sub(entry.refused));
            if !entry.may_count() || entry.call == call {
                continue;
            }
            for (count, window) in within.iter_mut().zip(WINDOWS) {
                if before < window + tolerance(window) {
                    *count += requests;
                }
            }
            if is_open {
                at_once += requests;
            }
        }
        let bound = |least, time| match is_known(time) {
            true => Bound { least, refusals: 1 },
            false => Bound::NONE,
        };
        let mut new = Refusal {
            at,
            within: [Bound::NONE; WINDOWS.len()],
            at_once: bound(at_once, FLIGHT),
        };
        for (index, window) in WINDOWS.into_iter().enumerate() {
            new.within[index] = bound(within[index], window);
        }
        new
    }

    /// The most generous rule that all calls allow. `None`: there are not refusals enough to say that a rule holds, or that
    /// none does.
    pub(super) fn rule(&self, may_be_fixed: bool, log: &Log, now: Instant) -> Option<Option<Rule>> {
        let settled = self.refusals.iter().copied();
        let fresh = self.fresh.iter().map(|fresh| self.bounds_of(fresh, log));
        let known = settled.chain(fresh).reduce(|all, one| all.and(&one))?;
        let mut all = known.within.iter().chain([&known.at_once]);
        all.any(|bound| bound.most().is_some())
            .then(|| known.rule(may_be_fixed, log, now))
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
        self.fresh.retain_mut(|fresh| {
            let times = older(fresh.begun).zip(older(fresh.at));
            times.is_some_and(|times| {
                (fresh.begun, fresh.at) = times;
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
