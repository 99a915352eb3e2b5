//! How much of a limit is used up: by requests or tokens within a window of time.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Milliseconds since the beginning of the simulated time.
pub(crate) type Millis = u64;

/// How a limit forgets what was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Forgets {
    /// All at once, whenever the wall clock begins another window: Google's day, Mistral's minute.
    #[default]
    Fixed,
    /// Each use once it is as old as the window.
    Rolling,
    /// Steadily: a bucket that fills within the window.
    Refill,
}

/// A limit of `amount` within `per`.
///
/// Uses may be noted ahead of time, which is how the oracle keeps places. All questions are about a moment that is not
/// before the last [`forget`](Self::forget).
#[derive(Clone, Debug)]
pub(crate) struct Window {
    forgets: Forgets,
    amount: u64,
    per: Millis,
    /// The wall clock at the beginning of the simulated time, from the beginning of a window.
    phase: Millis,
    /// What was used when. Of a fixed window: by its number.
    used: BTreeMap<Millis, u64>,
    /// Of a bucket: what was left, and when, before all of `used`.
    base: (Millis, f64),
}

impl Window {
    pub(crate) fn new(forgets: Forgets, amount: u64, per: Millis, phase: Millis) -> Self {
        Self {
            forgets,
            amount,
            per: per.max(1),
            phase: phase % per.max(1),
            used: BTreeMap::new(),
            base: (0, amount as f64),
        }
    }

    pub(crate) const fn amount(&self) -> u64 {
        self.amount
    }

    /// Whether `n` may be used at `at`.
    pub(crate) fn admits(&self, at: Millis, n: u64) -> bool {
        match self.forgets {
            Forgets::Fixed => self.used_at(at) + n <= self.amount,
            Forgets::Rolling => {
                let later = self
                    .used
                    .range(at + 1..at + self.per)
                    .map(|(later, _)| *later);
                std::iter::once(at)
                    .chain(later)
                    .all(|end| self.used_at(end) + n <= self.amount)
            }
            Forgets::Refill => self.lowest(at, n) >= 0.0,
        }
    }

    /// Notes a use, whether it is admitted or not.
    pub(crate) fn note(&mut self, at: Millis, n: u64) {
        let key = match self.forgets {
            Forgets::Fixed => self.number(at),
            Forgets::Rolling | Forgets::Refill => at,
        };
        *self.used.entry(key).or_default() += n;
    }

    /// What is left at `at`.
    pub(crate) fn left(&self, at: Millis) -> u64 {
        match self.forgets {
            Forgets::Refill => self.level(at).max(0.0) as u64,
            _ => self.amount.saturating_sub(self.used_at(at)),
        }
    }

    /// The first moment after `at` at which `n` could be admitted, as far as is known at `at`; `None` if never.
    pub(crate) fn next(&self, at: Millis, n: u64) -> Option<Millis> {
        if n > self.amount {
            return None;
        }
        Some(match self.forgets {
            Forgets::Fixed => (self.number(at) + 1) * self.per - self.phase,
            Forgets::Rolling => {
                // Whatever holds it back leaves its window one use after another.
                let from = (at + 1).saturating_sub(self.per);
                let mut uses = self.used.range(from..).map(|(used, _)| used + self.per);
                uses.find(|free| *free > at && self.used_at(*free) + n <= self.amount)
                    .unwrap_or(at + 1)
            }
            Forgets::Refill => {
                let missing = (n as f64 - self.level(at)).max(1.0);
                at + ((missing * self.per as f64 / self.amount as f64).ceil() as Millis).max(1)
            }
        })
    }

    /// Forgets what no longer counts at `now` or later.
    pub(crate) fn forget(&mut self, now: Millis) {
        match self.forgets {
            Forgets::Fixed => {
                let number = self.number(now);
                self.used = self.used.split_off(&number);
            }
            Forgets::Rolling => {
                self.used = self.used.split_off(&(now + 1).saturating_sub(self.per));
            }
            Forgets::Refill => {
                while let Some(first) = self.used.first_entry().filter(|first| *first.key() < now) {
                    let (at, n) = first.remove_entry();
                    self.base = (at, self.filled(self.base, at) - n as f64);
                }
            }
        }
    }

    const fn number(&self, at: Millis) -> u64 {
        (at + self.phase) / self.per
    }

    fn used_at(&self, at: Millis) -> u64 {
        match self.forgets {
            Forgets::Fixed => self.used.get(&self.number(at)).copied().unwrap_or(0),
            _ => {
                let from = (at + 1).saturating_sub(self.per);
                self.used.range(from..=at).map(|(_, n)| n).sum()
            }
        }
    }

    /// What is in a bucket at `at` that had `base`.
    fn filled(&self, base: (Millis, f64), at: Millis) -> f64 {
        let rate = self.amount as f64 / self.per as f64;
        let filled = base.1 + at.saturating_sub(base.0) as f64 * rate;
        filled.min(self.amount as f64)
    }

    fn level(&self, at: Millis) -> f64 {
        let mut base = self.base;
        for (used, n) in self.used.range(..=at) {
            base = (*used, self.filled(base, *used) - *n as f64);
        }
        self.filled(base, at)
    }

    /// The least that is in the bucket from `at` on, if `n` are taken then and all that is noted afterwards too.
    fn lowest(&self, at: Millis, n: u64) -> f64 {
        let mut base = (at, self.level(at) - n as f64);
        let mut lowest = base.1;
        for (used, n) in self.used.range(at + 1..) {
            base = (*used, self.filled(base, *used) - *n as f64);
            lowest = lowest.min(base.1);
        }
        lowest
    }
}

/// Calls under way at a time.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    amount: u64,
    /// Call, beginning, end. The end of a call that has none yet is far away.
    calls: Vec<(u64, Millis, Millis)>,
}

impl InFlight {
    pub(crate) const fn new(amount: u64) -> Self {
        Self {
            amount,
            calls: Vec::new(),
        }
    }

    /// Whether one more call may be under way from `from` to `until`.
    pub(crate) fn admits(&self, from: Millis, until: Millis) -> bool {
        let begins = self.calls.iter().map(|call| call.1);
        begins
            .filter(|begin| (from..until).contains(begin))
            .chain([from])
            .all(|at| self.at(at) < self.amount)
    }

    pub(crate) fn note(&mut self, call: u64, from: Millis, until: Millis) {
        self.calls.push((call, from, until));
    }

    pub(crate) fn end(&mut self, call: u64, at: Millis) {
        for known in self.calls.iter_mut().filter(|known| known.0 == call) {
            known.2 = known.2.min(at);
        }
    }

    pub(crate) fn left(&self, at: Millis) -> u64 {
        self.amount.saturating_sub(self.at(at))
    }

    /// The first moment after `at` at which a call ends.
    pub(crate) fn next(&self, at: Millis) -> Option<Millis> {
        let ends = self.calls.iter().map(|call| call.2);
        ends.filter(|end| *end > at && *end != Millis::MAX).min()
    }

    pub(crate) fn forget(&mut self, now: Millis) {
        self.calls.retain(|call| call.2 > now);
    }

    fn at(&self, at: Millis) -> u64 {
        let under_way = |call: &&(u64, Millis, Millis)| call.1 <= at && at < call.2;
        self.calls.iter().filter(under_way).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Millis = 60_000;

    /// How many of one use per second are admitted, and when the last one was.
    fn admitted(window: &mut Window, seconds: u64) -> Vec<u64> {
        let mut admitted = Vec::new();
        for second in 0..seconds {
            let at = second * 1000;
            window.forget(at);
            if window.admits(at, 1) {
                window.note(at, 1);
                admitted.push(second);
            }
        }
        admitted
    }

    #[test]
    fn a_fixed_window_begins_anew_with_the_wall_clock() {
        let mut window = Window::new(Forgets::Fixed, 2, MINUTE, 50_000);
        assert_eq!(admitted(&mut window, 75), [0, 1, 10, 11, 70, 71]);
        assert_eq!(window.left(74_000), 0);
        assert_eq!(window.next(74_000, 1), Some(130_000));
        assert_eq!(window.next(0, 3), None);
    }

    #[test]
    fn a_rolling_window_frees_each_use_when_it_is_old() {
        let mut window = Window::new(Forgets::Rolling, 2, MINUTE, 50_000);
        assert_eq!(admitted(&mut window, 125), [0, 1, 60, 61, 120, 121]);
        assert_eq!(window.next(124_000, 1), Some(180_000));
        assert_eq!(window.next(124_000, 2), Some(181_000));
    }

    #[test]
    fn a_bucket_fills_steadily() {
        let mut window = Window::new(Forgets::Refill, 4, MINUTE, 0);
        assert_eq!(admitted(&mut window, 61), [0, 1, 2, 3, 15, 30, 45, 60]);
        assert_eq!(window.next(60_000, 1), Some(75_000));
    }

    #[test]
    fn a_place_that_was_noted_ahead_is_kept() {
        for forgets in [Forgets::Rolling, Forgets::Refill] {
            let mut window = Window::new(forgets, 1, MINUTE, 0);
            window.note(30_000, 1);
            assert!(!window.admits(10_000, 1), "{forgets:?}");
            assert!(!window.admits(40_000, 1), "{forgets:?}");
            assert!(window.admits(90_000, 1), "{forgets:?}");
        }
        let mut calls = InFlight::new(1);
        calls.note(1, 10, 20);
        assert!(!calls.admits(5, 11) && !calls.admits(19, 30) && calls.admits(5, 10));
        assert!(calls.admits(20, 30));
        assert_eq!(
            (calls.next(5), calls.left(15), calls.left(20)),
            (Some(20), 0, 1)
        );
    }

    #[test]
    fn forgetting_changes_no_answer() {
        for forgets in [Forgets::Fixed, Forgets::Rolling, Forgets::Refill] {
            let dice = crate::dice::Dice::new(5);
            let mut whole = Window::new(forgets, 100, MINUTE, 7_000);
            let mut lean = whole.clone();
            for step in 0..2000 {
                let (at, n) = (step * 700, dice.number(&[step]) % 12);
                lean.forget(at);
                assert_eq!(
                    whole.admits(at, n),
                    lean.admits(at, n),
                    "{forgets:?} {step}"
                );
                assert_eq!(whole.left(at), lean.left(at), "{forgets:?} {step}");
                if whole.admits(at, n) {
                    whole.note(at, n);
                    lean.note(at, n);
                }
            }
        }
    }
}
