//! When a target, or a whole provider, may be tried again.
//!
//! A *stated* cooldown is a fact: the upstream named its end, or a fixed rule sets it. It ends at that instant. A
//! *guessed* one is an assumption: the first is short, each further failure doubles it, and it ends in *probation*: one
//! probe at a time may go until one is answered, and each answer doubles the number of probes allowed at a time, until
//! the cooldown is over.
//!
//! Nothing in this file reads a clock or draws a random number: both are arguments.

use std::time::Duration;

use tokio::time::Instant;

use crate::outcome::OutcomeKind;

/// The longest a first guess may be.
pub(super) const FIRST_GUESS: Duration = Duration::from_secs(1);
/// The longest any guess may be.
const LONGEST_GUESS: Duration = Duration::from_secs(120);
/// The longest a stated cooldown may be: the longest limits known are monthly.
const LONGEST_STATED: Duration = crate::upstream::resets::MAX;
/// A probe that has not ended after this long no longer keeps other probes from going.
const LEASE: Duration = Duration::from_secs(30);
/// A target that was not tried for this long in probation is ranked like a healthy one, with as many probes at a time as
/// before: in a large pool a target that failed once would otherwise never be tried again.
const RESTED: Duration = LONGEST_GUESS;
/// Probation is over once this many probes at a time would be allowed.
const FULL_WIDTH: u32 = 16;

/// The number of an attempt, in the order in which the attempts at one provider began.
pub(super) type Sequence = u64;

/// What a change of a cooldown goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The attempt that is the reason.
    pub(super) attempt: Sequence,
    /// The newest attempt at its provider.
    pub(super) last: Sequence,
    pub(super) now: Instant,
    /// A random number in 0..1, for the jitter of a guess.
    pub(super) chance: f64,
}

/// Where a cooldown stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Healthy,
    /// Must not be tried before this instant.
    Stated(Instant, OutcomeKind),
    /// Should not be tried before this instant.
    Guessed(Instant, OutcomeKind),
    /// A guess has ended, and a probe may go. `rested`: a probe has been answered since, or the guess ended long ago.
    Probation {
        rested: bool,
    },
    /// As many probes as are allowed are under way; the first lease expires at this instant.
    Probing(Instant),
}

/// A cooldown whose end is known, and the outcome that it follows from.
type Fact = (Instant, OutcomeKind);

#[derive(Clone, Debug, Default)]
pub(super) struct Cooldown {
    /// The fact that ends last.
    stated: Option<Fact>,
    /// The fact that ends last among those which a changed listing row does not end.
    lasting: Option<Fact>,
    guess: Option<Guess>,
    /// The probes under way, and when each lease expires.
    leases: Vec<(Sequence, Instant)>,
    /// How many times in a row the rule that doubles has been applied, and the newest attempt at the last time.
    repeats: Option<(u32, Sequence)>,
    /// The newest attempt when the last cooldown began; `None` once a later attempt has been answered.
    unanswered: Option<Sequence>,
}

#[derive(Clone, Copy, Debug)]
struct Guess {
    made: Instant,
    until: Instant,
    kind: OutcomeKind,
    /// How many times it has been doubled.
    level: u32,
    /// Attempts up to this one belong to the burst that led to this guess.
    burst: Sequence,
    /// How many probes may be under way at a time once the guess has ended.
    width: u32,
}

impl Cooldown {
    pub(super) fn phase(&self, now: Instant) -> Phase {
        if let Some((until, kind)) = self.fact(now) {
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

    /// Whether nothing is held against the target, whatever the time.
    pub(super) const fn holds_nothing(&self) -> bool {
        self.stated.is_none() && self.guess.is_none()
    }

    /// Whether an answer changes nothing either: nothing is held against the target, and it has answered since something
    /// was.
    pub(super) fn is_blank(&self) -> bool {
        let (repeats, unanswered) = (self.repeats.is_none(), self.unanswered.is_none());
        self.holds_nothing() && repeats && unanswered && self.leases.is_empty()
    }

    /// The end of the fact that ends last, which may be over.
    pub(super) fn stated_end(&self) -> Option<Instant> {
        self.stated.map(|(until, _)| until)
    }

    /// Forgets facts that are over, which say nothing any more.
    pub(super) fn drop_past(&mut self, now: Instant) {
        for slot in [&mut self.stated, &mut self.lasting] {
            slot.take_if(|(until, _)| *until <= now);
        }
    }

    /// How many more probes may go now; 0 as well where no probe is needed.
    pub(super) fn room(&self, now: Instant) -> u32 {
        let Some(guess) = self.guess else { return 0 };
        let allowed = if guess.until > now { 1 } else { guess.width };
        let under_way = self.leases.iter().filter(|&&(_, until)| until > now);
        allowed.saturating_sub(u32::try_from(under_way.count()).unwrap_or(u32::MAX))
    }

    /// Whether no answer has come since the last guess: then a single failure is evidence enough for a longer one.
    pub(super) fn is_unproven(&self) -> bool {
        self.guess.is_some_and(|guess| guess.width == 1)
    }

    /// Until when it cools, for which outcome, and whether that is stated.
    pub(super) fn cooling(&self, now: Instant) -> Option<(Instant, OutcomeKind, bool)> {
        let guess = self.guess.filter(|guess| guess.until > now);
        let stated = self.fact(now).map(|(until, kind)| (until, kind, true));
        stated.or_else(|| guess.map(|guess| (guess.until, guess.kind, false)))
    }

    fn fact(&self, now: Instant) -> Option<Fact> {
        self.stated.filter(|&(until, _)| until > now)
    }

    /// A fact: not before `wait` is over. Of two facts the later end holds.
    pub(super) fn state(&mut self, wait: Duration, kind: OutcomeKind, at: Moment) {
        let until = at.now + wait.min(LONGEST_STATED);
        let lasting = (!is_of_row(kind)).then_some(&mut self.lasting);
        for slot in [Some(&mut self.stated), lasting].into_iter().flatten() {
            if slot.is_none_or(|(old, _)| old < until) {
                *slot = Some((until, kind));
            }
        }
        self.unanswered = Some(at.last);
    }

    /// A fact whose length doubles each time it is met by an attempt that began after the last time.
    pub(super) fn state_doubling(&mut self, first: Duration, kind: OutcomeKind, at: Moment) {
        let repeats = match self.repeats {
            Some((_, burst)) if at.attempt <= burst => return,
            Some((repeats, _)) => repeats + 1,
            None => 0,
        };
        self.repeats = Some((repeats, at.last));
        self.state(doubled(first, repeats), kind, at);
    }

    /// The attempt failed: cools by a guess, longer than the last one unless the attempt is part of the same burst.
    pub(super) fn guess(&mut self, kind: OutcomeKind, at: Moment) {
        let level = match self.guess {
            Some(guess) if at.attempt <= guess.burst => return,
            Some(guess) if guess.width == 1 => guess.level.saturating_add(1),
            // The target has answered since the last guess.
            Some(_) | None => 0,
        };
        let longest = doubled(FIRST_GUESS, level).min(LONGEST_GUESS);
        self.guess = Some(Guess {
            made: at.now,
            until: at.now + jittered(longest, at.chance),
            kind,
            level,
            burst: at.last,
            width: 1,
        });
        self.unanswered = Some(at.last);
    }

    /// The attempt was answered: ends a guess made before it began and doubles the number of probes allowed at a time,
    /// which ends the probation in the end. Says whether this is the first answer since the last cooldown began.
    pub(super) fn success(&mut self, at: Moment) -> bool {
        if let Some(guess) = self.guess.as_mut().filter(|guess| at.attempt > guess.burst) {
            guess.until = guess.until.min(at.now);
            guess.width *= 2;
            if guess.width >= FULL_WIDTH {
                self.guess = None;
                self.leases.clear();
            }
        }
        self.repeats.take_if(|(_, burst)| at.attempt > *burst);
        self.unanswered.take_if(|last| at.attempt > *last).is_some()
    }

    /// Gives a lease to this attempt, if a probe is needed and may go. Says whether it has.
    pub(super) fn take_lease(&mut self, holder: Sequence, now: Instant) -> bool {
        let may_go = self.room(now) > 0;
        if may_go {
            self.leases.retain(|&(_, until)| until > now);
            self.leases.push((holder, now + LEASE));
        }
        may_go
    }

    /// Gives this attempt's lease back. Says whether there was one.
    pub(super) fn free_lease(&mut self, holder: Sequence) -> bool {
        let before = self.leases.len();
        self.leases.retain(|&(by, _)| by != holder);
        self.leases.len() < before
    }

    /// Ends a guess of this kind as if it had never been made, if `is_recent` of the instant it was made at.
    pub(super) fn forgive(&mut self, kind: OutcomeKind, is_recent: impl Fn(Instant) -> bool) {
        let is_meant = |guess: &mut Guess| guess.kind == kind && is_recent(guess.made);
        if self.guess.take_if(is_meant).is_some() {
            self.leases.clear();
            self.unanswered = None;
        }
    }

    /// The listing row of the model has changed: facts that followed from the old row end.
    pub(super) fn row_changed(&mut self) {
        if self.stated.is_some_and(|(_, kind)| is_of_row(kind)) {
            self.stated = self.lasting;
        }
    }

    /// The machine was suspended for this long while tokio's clock stood still: facts end that much sooner on it.
    pub(super) fn jump(&mut self, ahead: Duration, now: Instant) {
        let facts = [&mut self.stated, &mut self.lasting];
        for (until, _) in facts.into_iter().flatten() {
            *until = until.checked_sub(ahead).unwrap_or(now).max(now);
        }
    }
}

/// A guess of at most `longest`. "Equal jitter": half of it is certain, so that guesses do grow; half is chance, so that
/// the attempts after it spread out.
pub(super) fn jittered(longest: Duration, chance: f64) -> Duration {
    longest.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX))
}

/// Whether it is a fact only as long as the listing says the same of the model.
const fn is_of_row(kind: OutcomeKind) -> bool {
    matches!(kind, OutcomeKind::Gone | OutcomeKind::Gated)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: OutcomeKind = OutcomeKind::Unavailable;

    fn at(attempt: Sequence, last: Sequence, now: Instant, chance: f64) -> Moment {
        Moment {
            attempt,
            last,
            now,
            chance,
        }
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stated_cooldown_is_never_shortened_and_simply_ends() {
        let (now, mut c) = (Instant::now(), Cooldown::default());
        c.state(secs(60), KIND, at(0, 0, now, 0.0));
        c.state(secs(10), KIND, at(0, 0, now, 0.0));
        c.guess(KIND, at(1, 1, now, 0.0));
        (2..=5).for_each(|began| _ = c.success(at(began, began, now, 0.0)));
        assert_eq!(c.phase(now + secs(59)), Phase::Stated(now + secs(60), KIND));
        assert_eq!(c.phase(now + secs(60)), Phase::Healthy);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_row_ends_what_was_said_of_the_old_one_and_no_limit() {
        use OutcomeKind::{Gated, Gone, RateLimited};
        for (first, second) in [(Gone, RateLimited), (RateLimited, Gated)] {
            let (now, mut c) = (Instant::now(), Cooldown::default());
            for kind in [first, second] {
                let wait = if kind == RateLimited { 60 } else { 86_400 };
                c.state(secs(wait), kind, at(0, 0, now, 0.0));
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
        c.state(Duration::MAX, KIND, at(0, 0, now, 0.0));
        assert_eq!(c.phase(now), Phase::Stated(now + secs(32 * 86_400), KIND));
    }

    #[tokio::test(start_paused = true)]
    async fn guesses_start_at_a_second_at_most_double_and_stop_at_two_minutes() {
        for chance in [0.0, 0.999_999] {
            let (mut now, mut c, mut last) = (Instant::now(), Cooldown::default(), Duration::ZERO);
            for n in 1..100 {
                c.guess(KIND, at(n, n, now, chance));
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
            c.guess(KIND, at(began, 50, now, 0.999_999));
        }
        let Phase::Guessed(until, _) = c.phase(now) else {
            panic!("not cooling")
        };
        assert!(until - now <= secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_begun_before_a_guess_does_not_end_it() {
        let (now, mut c) = (Instant::now(), Cooldown::default());
        c.guess(KIND, at(5, 9, now, 0.5));
        c.success(at(9, 9, now, 0.0));
        assert!(matches!(c.phase(now), Phase::Guessed(..)));
        c.success(at(10, 10, now, 0.0));
        assert_eq!(c.phase(now), Phase::Probation { rested: true });
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_doubles_the_probes_until_probation_is_over() {
        let (now, mut c) = (Instant::now(), Cooldown::default());
        c.guess(KIND, at(1, 1, now, 0.0));
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
            c.success(at(holder, holder, over, 0.0));
        }
        assert_eq!(c.phase(now), Phase::Healthy);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_after_an_answer_starts_with_a_short_guess_again() {
        let (mut now, mut c) = (Instant::now(), Cooldown::default());
        for began in 1..=6 {
            c.guess(KIND, at(began, began, now, 0.999_999));
            now += secs(120);
        }
        c.success(at(7, 7, now, 0.0));
        c.guess(KIND, at(8, 8, now, 0.999_999));
        let Phase::Guessed(until, _) = c.phase(now) else {
            panic!("not cooling")
        };
        assert!(until - now <= FIRST_GUESS);
    }

    #[tokio::test(start_paused = true)]
    async fn probation_has_one_probe_whose_lease_expires() {
        let (now, mut c) = (Instant::now(), Cooldown::default());
        c.guess(KIND, at(1, 1, now, 0.0));
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
    async fn a_lease_that_expires_now_is_not_the_first_to_expire() {
        let (now, mut c) = (Instant::now(), Cooldown::default());
        c.guess(KIND, at(1, 1, now, 0.0));
        let over = now + secs(1);
        c.success(at(2, 2, over, 0.0));
        c.take_lease(3, over);
        c.take_lease(4, over + secs(2));
        // Only one probe at a time is allowed again.
        c.guess(KIND, at(5, 5, over + secs(2), 0.0));
        assert_eq!(c.phase(over + secs(2)), Phase::Probing(over + LEASE));
        let later = Phase::Probing(over + secs(2) + LEASE);
        assert_eq!(c.phase(over + LEASE), later);
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubling_rule_doubles_once_per_burst_and_starts_anew_after_a_success() {
        let (now, mut c) = (Instant::now(), Cooldown::default());
        let length = |c: &Cooldown| match c.phase(now) {
            Phase::Stated(until, _) => until - now,
            other => panic!("{other:?}"),
        };
        c.state_doubling(secs(3600), KIND, at(1, 4, now, 0.0));
        c.state_doubling(secs(3600), KIND, at(4, 5, now, 0.0));
        assert_eq!(length(&c), secs(3600));
        c.state_doubling(secs(3600), KIND, at(5, 5, now, 0.0));
        assert_eq!(length(&c), secs(7200));
        c.success(at(6, 6, now, 0.0));
        let mut fresh = Cooldown { stated: None, ..c };
        fresh.state_doubling(secs(3600), KIND, at(7, 7, now, 0.0));
        assert_eq!(length(&fresh), secs(3600));
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspend_ends_facts_sooner_and_no_earlier_than_now() {
        let now = Instant::now() + secs(1000);
        for (slept, left) in [(40, 20), (60, 0), (900, 0)] {
            let mut c = Cooldown::default();
            c.state(secs(60), KIND, at(1, 1, now, 0.0));
            c.guess(KIND, at(2, 2, now, 1.0));
            c.jump(secs(slept), now);
            let fact = Phase::Stated(now + secs(left), KIND);
            let guess = Phase::Guessed(now + secs(1), KIND);
            assert_eq!(c.phase(now), if left > 0 { fact } else { guess });
        }
    }
}
