//! When a target, or a whole provider, may be tried again.
//!
//! Two things can hold one back. A *stated* cooldown is a fact: the upstream named its end, or a fixed rule
//! sets it; it simply ends. A *guessed* one is our assumption: it is short at first, doubles while failures
//! go on, and ends in *probation*: at first one probe at a time finds out whether the target answers again. Each answer
//! doubles the number of probes allowed at a time, until the target has shown that it takes traffic.
//!
//! Nothing in this file reads a clock or draws a random number: both are arguments.

use std::time::Duration;

use tokio::time::Instant;

use crate::outcome::OutcomeKind;

/// The first guess is at most this long.
pub(crate) const FIRST_GUESS: Duration = Duration::from_secs(1);
/// No guess is longer.
pub(crate) const LONGEST_GUESS: Duration = Duration::from_secs(120);
/// No stated cooldown is trusted beyond this: the longest limits known are monthly.
pub(crate) const LONGEST_STATED: Duration = crate::upstream::resets::MAX;
/// A probe that has not come to anything by then no longer keeps others from probing.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// After this long in probation a target that was not tried is ranked like a healthy one again, with as many probes at a
/// time as before: else, in a large pool, what failed once would never be tried again.
pub(crate) const RESTED: Duration = LONGEST_GUESS;
/// Probation is over once this many probes at a time would be allowed.
pub(crate) const FULL_WIDTH: u32 = 16;

/// The order of events: each attempt's begin has its number, each guess remembers the last begin before it.
pub(crate) type Sequence = u64;

/// Where a cooldown stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Healthy,
    /// Must not be tried before this instant.
    Stated(Instant, OutcomeKind),
    /// Better not tried before this instant.
    Guessed(Instant, OutcomeKind),
    /// A guess has ended; a probe may go. `rested`: a probe has been answered since, or the guess ended long ago.
    Probation {
        rested: bool,
    },
    /// As many probes as are allowed are under way; the first lease expires at this instant.
    Probing(Instant),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Cooldown {
    /// The fact that ends last.
    stated: Option<(Instant, OutcomeKind)>,
    /// Of the facts that no new row of a listing can lift, the one that ends last: it holds where the other is lifted.
    lasting: Option<(Instant, OutcomeKind)>,
    guess: Option<Guess>,
    /// The probes under way, and when each lease expires. As many as are allowed at a time, at most.
    leases: Vec<(Sequence, Instant)>,
    /// How often in a row a fixed rule that doubles has been applied, and its last begin.
    repeats: Option<(u32, Sequence)>,
}

#[derive(Clone, Copy, Debug)]
struct Guess {
    made: Instant,
    until: Instant,
    kind: OutcomeKind,
    /// How often it has been doubled.
    level: u32,
    /// Attempts that began up to here belong to the burst that led to this guess.
    burst: Sequence,
    /// How many probes may be under way at a time once the guess has ended.
    width: u32,
}

impl Cooldown {
    pub(crate) fn phase(&self, now: Instant) -> Phase {
        if let Some((until, kind)) = self.stated.filter(|&(until, _)| until > now) {
            return Phase::Stated(until, kind);
        }
        let Some(guess) = self.guess else {
            return Phase::Healthy;
        };
        if self.room(now) == 0 {
            let ends = self.leases.iter().map(|&(_, until)| until);
            return Phase::Probing(ends.filter(|&until| until > now).min().unwrap_or(now));
        }
        if guess.until > now {
            return Phase::Guessed(guess.until, guess.kind);
        }
        let rested = now.saturating_duration_since(guess.until) >= RESTED;
        Phase::Probation {
            rested: rested || guess.width > 1,
        }
    }

    /// How many more probes may go now; 0 as well where no probe is needed.
    pub(crate) fn room(&self, now: Instant) -> u32 {
        let Some(guess) = self.guess else { return 0 };
        let allowed = if guess.until > now { 1 } else { guess.width };
        let under_way = self.leases.iter().filter(|&&(_, until)| until > now);
        allowed.saturating_sub(u32::try_from(under_way.count()).unwrap_or(u32::MAX))
    }

    /// Whether no answer has come since the last guess: then a single failure is evidence enough for a longer one.
    pub(crate) fn is_unproven(&self) -> bool {
        self.guess.is_some_and(|guess| guess.width == 1)
    }

    /// Until when, why, and whether it is stated, if it is cooling.
    pub(crate) fn cooling(&self, now: Instant) -> Option<(Instant, OutcomeKind, bool)> {
        if let Some((until, kind)) = self.stated.filter(|&(until, _)| until > now) {
            return Some((until, kind, true));
        }
        self.guess
            .filter(|guess| guess.until > now)
            .map(|guess| (guess.until, guess.kind, false))
    }

    /// A fact: not before `now + wait`. Of two facts the later end holds.
    pub(crate) fn state(&mut self, wait: Duration, kind: OutcomeKind, now: Instant) {
        let until = now + wait.min(LONGEST_STATED);
        let lasting = (!is_of_row(kind)).then_some(&mut self.lasting);
        for slot in [Some(&mut self.stated), lasting].into_iter().flatten() {
            if slot.is_none_or(|(old, _)| old < until) {
                *slot = Some((until, kind));
            }
        }
    }

    /// A fact whose length doubles each time it is met again by an attempt that began after the last time.
    pub(crate) fn state_doubling(
        &mut self,
        first: Duration,
        kind: OutcomeKind,
        began: Sequence,
        last: Sequence,
        now: Instant,
    ) {
        let repeats = match self.repeats {
            Some((_, burst)) if began <= burst => return,
            Some((repeats, _)) => repeats + 1,
            None => 0,
        };
        self.repeats = Some((repeats, last));
        self.state(
            first.saturating_mul(1_u32.checked_shl(repeats).unwrap_or(u32::MAX)),
            kind,
            now,
        );
    }

    /// A failure of an attempt that began at `began`: cools by a guess, longer than the last one unless it is
    /// part of the same burst. `last` is the newest begin so far, `chance` is in 0..1.
    pub(crate) fn guess(
        &mut self,
        kind: OutcomeKind,
        began: Sequence,
        last: Sequence,
        now: Instant,
        chance: f64,
    ) {
        let level = match self.guess {
            Some(guess) if began <= guess.burst => return,
            Some(guess) if guess.width == 1 => guess.level.saturating_add(1),
            // It has answered since.
            Some(_) | None => 0,
        };
        let full = FIRST_GUESS
            .saturating_mul(1_u32.checked_shl(level).unwrap_or(u32::MAX))
            .min(LONGEST_GUESS);
        // "Equal jitter": half is certain, so that it does grow; half is chance, so that callers spread out.
        let until = now + full.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0));
        self.guess = Some(Guess {
            made: now,
            until,
            kind,
            level,
            burst: last,
            width: 1,
        });
    }

    /// A success of an attempt that began at `began` ends a guess made before that, and doubles the number of probes
    /// allowed at a time; enough of them end the probation.
    pub(crate) fn success(&mut self, began: Sequence, now: Instant) {
        if let Some(guess) = self.guess.as_mut().filter(|guess| began > guess.burst) {
            guess.until = guess.until.min(now);
            guess.width *= 2;
            if guess.width >= FULL_WIDTH {
                self.guess = None;
                self.leases.clear();
            }
        }
        if self.repeats.is_some_and(|(_, burst)| began > burst) {
            self.repeats = None;
        }
    }

    pub(crate) fn take_lease(&mut self, holder: Sequence, now: Instant) {
        self.leases.retain(|&(_, until)| until > now);
        self.leases.push((holder, now + LEASE));
    }

    /// Gives this holder's lease back. Says whether there was one.
    pub(crate) fn free_lease(&mut self, holder: Sequence) -> bool {
        let before = self.leases.len();
        self.leases.retain(|&(by, _)| by != holder);
        self.leases.len() < before
    }

    /// Lifts a guess of this kind, as if it had never been made, if `is_recent` of when it was.
    pub(crate) fn forgive(&mut self, kind: OutcomeKind, is_recent: impl Fn(Instant) -> bool) {
        if self
            .guess
            .is_some_and(|guess| guess.kind == kind && is_recent(guess.made))
        {
            self.guess = None;
            self.leases.clear();
        }
    }

    /// The listing says something else of the model than it did: what followed from the old row no longer holds.
    pub(crate) fn row_changed(&mut self) {
        if self.stated.is_some_and(|(_, kind)| is_of_row(kind)) {
            self.stated = self.lasting;
        }
    }

    /// The clock has jumped: what is stated in wall-clock time ends that much sooner on tokio's.
    pub(crate) fn jump(&mut self, ahead: Duration, now: Instant) {
        let facts = [&mut self.stated, &mut self.lasting];
        for (until, _) in facts.into_iter().flatten() {
            *until = until.checked_sub(ahead).unwrap_or(now).max(now);
        }
    }
}

/// Whether it is a fact only as long as the listing says the same of the model.
const fn is_of_row(kind: OutcomeKind) -> bool {
    matches!(kind, OutcomeKind::Gone | OutcomeKind::Gated)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: OutcomeKind = OutcomeKind::Unavailable;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stated_cooldown_is_never_shortened_and_simply_ends() {
        let (now, mut c) = (Instant::now(), Cooldown::default());
        c.state(secs(60), KIND, now);
        c.state(secs(10), KIND, now);
        c.guess(KIND, 1, 1, now, 0.0);
        (2..=5).for_each(|began| c.success(began, now));
        assert_eq!(c.phase(now + secs(59)), Phase::Stated(now + secs(60), KIND));
        assert_eq!(c.phase(now + secs(60)), Phase::Healthy);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_row_ends_what_was_said_of_the_old_one_and_no_limit() {
        use OutcomeKind::{Gated, Gone, RateLimited};
        for (first, second) in [(Gone, RateLimited), (RateLimited, Gated)] {
            let (now, mut c) = (Instant::now(), Cooldown::default());
            for kind in [first, second] {
                c.state(
                    secs(if kind == RateLimited { 60 } else { 86_400 }),
                    kind,
                    now,
                );
            }
            c.row_changed();
            let limited = Phase::Stated(now + secs(60), RateLimited);
            assert_eq!(c.phase(now), limited, "{first} {second}");
            assert_eq!(c.phase(now + secs(60)), Phase::Healthy);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stated_cooldown_is_trusted_for_32_days_and_no_longer() {
        let (now, mut c) = (Instant::now(), Cooldown::default());
        c.state(Duration::MAX, KIND, now);
        assert_eq!(c.phase(now), Phase::Stated(now + secs(32 * 86_400), KIND));
    }

    #[tokio::test(start_paused = true)]
    async fn guesses_start_at_a_second_at_most_double_and_stop_at_two_minutes() {
        for chance in [0.0, 0.999_999] {
            let (mut now, mut c, mut last) = (Instant::now(), Cooldown::default(), Duration::ZERO);
            for n in 1..100 {
                c.guess(KIND, n, n, now, chance);
                let Phase::Guessed(until, _) = c.phase(now) else {
                    panic!("not cooling")
                };
                let length = until - now;
                assert!(n > 1 || length <= secs(1), "first guess is {length:?}");
                assert!(
                    length <= secs(120) && length >= last,
                    "{last:?} then {length:?}"
                );
                (now, last) = (until, length);
            }
            assert!(last >= secs(60));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_escalates_once() {
        let (now, mut c) = (Instant::now(), Cooldown::default());
        for began in 1..=50 {
            c.guess(KIND, began, 50, now, 0.999_999);
        }
        let Phase::Guessed(until, _) = c.phase(now) else {
            panic!("not cooling")
        };
        assert!(until - now <= secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_begun_before_a_guess_does_not_end_it() {
        let (now, mut c) = (Instant::now(), Cooldown::default());
        c.guess(KIND, 5, 9, now, 0.5);
        c.success(9, now);
        assert!(matches!(c.phase(now), Phase::Guessed(..)));
        c.success(10, now);
        assert_eq!(c.phase(now), Phase::Probation { rested: true });
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_doubles_the_probes_until_probation_is_over() {
        let (now, mut c) = (Instant::now(), Cooldown::default());
        c.guess(KIND, 1, 1, now, 0.0);
        let mut holder = 1;
        for width in [1, 2, 4, 8] {
            let over = now + secs(1);
            assert_eq!(c.room(over), width);
            for _ in 0..width {
                assert!(matches!(c.phase(over), Phase::Probation { .. }));
                holder += 1;
                c.take_lease(holder, over);
            }
            assert!(matches!(c.phase(over), Phase::Probing(_)));
            (holder + 1 - width as u64..=holder).for_each(|holder| assert!(c.free_lease(holder)));
            c.success(holder, over);
        }
        assert_eq!(c.phase(now), Phase::Healthy);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_after_an_answer_starts_with_a_short_guess_again() {
        let (mut now, mut c) = (Instant::now(), Cooldown::default());
        for began in 1..=6 {
            c.guess(KIND, began, began, now, 0.999_999);
            now += secs(120);
        }
        c.success(7, now);
        c.guess(KIND, 8, 8, now, 0.999_999);
        let Phase::Guessed(until, _) = c.phase(now) else {
            panic!("not cooling")
        };
        assert!(until - now <= FIRST_GUESS);
    }

    #[tokio::test(start_paused = true)]
    async fn probation_has_one_probe_whose_lease_expires() {
        let (now, mut c) = (Instant::now(), Cooldown::default());
        c.guess(KIND, 1, 1, now, 0.0);
        let over = now + secs(1);
        assert_eq!(c.phase(over), Phase::Probation { rested: false });
        c.take_lease(2, over);
        assert_eq!(c.phase(over), Phase::Probing(over + LEASE));
        assert_eq!(c.phase(over + LEASE), Phase::Probation { rested: false });
        c.take_lease(3, over + LEASE);
        assert!(
            !c.free_lease(2),
            "an expired holder must not free another's lease"
        );
        assert!(c.free_lease(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubling_rule_doubles_once_per_burst_and_starts_anew_after_a_success() {
        let (now, mut c) = (Instant::now(), Cooldown::default());
        let length = |c: &Cooldown| match c.phase(now) {
            Phase::Stated(until, _) => until - now,
            other => panic!("{other:?}"),
        };
        c.state_doubling(secs(3600), KIND, 1, 4, now);
        c.state_doubling(secs(3600), KIND, 4, 5, now);
        assert_eq!(length(&c), secs(3600));
        c.state_doubling(secs(3600), KIND, 5, 5, now);
        assert_eq!(length(&c), secs(7200));
        c.success(6, now);
        let mut fresh = Cooldown { stated: None, ..c };
        fresh.state_doubling(secs(3600), KIND, 7, 7, now);
        assert_eq!(length(&fresh), secs(3600));
    }
}
