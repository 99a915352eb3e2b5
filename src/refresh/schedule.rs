//! When a provider is asked again.
//!
//! Nothing in this file reads a clock or draws a random number: both are arguments.

use std::time::Duration;

use tokio::time::Instant;

use crate::catalog::FRESH;

/// After a first failure a provider is asked again after so long, then after twice as long, and so on up to its
/// interval.
const FIRST_RETRY: Duration = Duration::from_secs(30);
/// No provider is asked more often than this, whatever interval and jitter are set.
pub(super) const SHORTEST: Duration = Duration::from_secs(1);
/// Nothing that a provider says makes it wait for longer.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How often all providers are asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) interval: Duration,
    /// By what share of itself a wait may be longer or shorter.
    pub(super) jitter: f64,
}

/// The state of one provider's schedule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// When it is to be asked next.
    pub(super) due: Instant,
    /// Failures since the last success.
    failures: u32,
}

impl Schedule {
    pub(super) const fn due_at(due: Instant) -> Self {
        Self { due, failures: 0 }
    }

    /// The listing could be read. `chance` is in 0..1.
    pub(super) fn succeeded(&mut self, pace: Pace, now: Instant, chance: f64) {
        self.failures = 0;
        self.due = now + pace.spread(pace.interval, chance);
    }

    /// It could not, and the provider asks for a `pause`.
    pub(super) fn failed(&mut self, pace: Pace, pause: Duration, now: Instant, chance: f64) {
        let doubled = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let wait = FIRST_RETRY.saturating_mul(doubled).min(pace.interval);
        self.failures = self.failures.saturating_add(1);
        self.due = now + pace.spread(wait, chance).max(pause.min(LONGEST));
    }
}

impl Pace {
    /// The same for a listing whose prices decide what is free: half of the time for which a price is fresh is left for
    /// failures.
    pub(super) fn for_prices(self) -> Self {
        Self {
            interval: self.interval.min(FRESH / 2),
            ..self
        }
    }

    fn spread(self, wait: Duration, chance: f64) -> Duration {
        let spread = wait.mul_f64(1.0 + self.jitter * (2.0 * chance - 1.0));
        spread.max(SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        interval: Duration::from_secs(600),
        jitter: 0.1,
    };

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[tokio::test(start_paused = true)]
    async fn the_interval_is_spread_by_its_jitter_and_by_no_more() {
        let now = Instant::now();
        for (chance, wait) in [(0.0, 540.0), (0.5, 600.0), (1.0, 660.0)] {
            let mut schedule = Schedule::due_at(now);
            schedule.succeeded(PACE, now, chance);
            assert_eq!((schedule.due - now).as_secs_f64(), wait, "{chance}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_prices_decide_a_listing_is_asked_for_every_half_hour_at_least() {
        let now = Instant::now();
        let mut schedule = Schedule::due_at(now);
        schedule.succeeded(PACE.for_prices(), now, 0.5);
        assert_eq!(schedule.due, now + secs(600));
        let daily = Pace {
            interval: LONGEST,
            ..PACE
        };
        schedule.succeeded(daily.for_prices(), now, 0.5);
        assert_eq!(schedule.due, now + secs(1800));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_double_the_wait_up_to_the_interval_and_a_success_ends_that() {
        let now = Instant::now();
        let mut schedule = Schedule::due_at(now);
        for wait in [30, 60, 120, 240, 480, 600, 600] {
            schedule.failed(PACE, secs(0), now, 0.5);
            assert_eq!(schedule.due, now + secs(wait));
        }
        for _ in 0..100 {
            schedule.failed(PACE, secs(0), now, 0.5);
        }
        schedule.succeeded(PACE, now, 0.5);
        schedule.failed(PACE, secs(0), now, 0.5);
        assert_eq!(schedule.due, now + secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_twice_within_a_second() {
        let now = Instant::now();
        let pace = Pace {
            interval: SHORTEST,
            jitter: 0.5,
        };
        let mut schedule = Schedule::due_at(now);
        schedule.succeeded(pace, now, 0.0);
        assert_eq!(schedule.due, now + secs(1));
        schedule.failed(pace, secs(0), now, 0.0);
        assert_eq!(schedule.due, now + secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_never_waits_longer_than_a_short_interval() {
        let now = Instant::now();
        let mut schedule = Schedule::due_at(now);
        let pace = Pace {
            interval: secs(5),
            ..PACE
        };
        schedule.failed(pace, secs(0), now, 0.5);
        assert_eq!(schedule.due, now + secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_is_asked_for_is_kept_up_to_a_day() {
        let now = Instant::now();
        let mut schedule = Schedule::due_at(now);
        schedule.failed(PACE, secs(1234), now, 0.5);
        assert_eq!(schedule.due, now + secs(1234));
        schedule.failed(PACE, Duration::MAX, now, 0.5);
        assert_eq!(schedule.due, now + LONGEST);
    }
}
