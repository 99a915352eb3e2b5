//! When a provider is asked again.
//!
//! Nothing in this file reads a clock or draws a random number: both are arguments.

use std::time::Duration;

use http::{
    HeaderMap,
    header::{AGE, CACHE_CONTROL},
};
use tokio::time::Instant;

use crate::catalog::FRESH;

/// After a first failure a provider is asked again after so long, then after twice as long, and so on up to its
/// interval.
const FIRST_RETRY: Duration = Duration::from_secs(30);
/// No provider is asked more often than this, whatever interval and jitter are set.
pub(crate) const SHORTEST: Duration = Duration::from_secs(1);
/// Nothing that a provider says makes it wait for longer.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How often all providers are asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) interval: Duration,
    /// By what share of itself a wait may be longer or shorter.
    pub(crate) jitter: f64,
    /// The longest freshness that counts of what a provider claims for its listing.
    pub(crate) most_fresh: Duration,
}

/// The state of one provider's schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// When it is to be asked next.
    pub(crate) due: Instant,
    /// Failures since the last success.
    failures: u32,
}

impl Schedule {
    pub(crate) const fn due_at(due: Instant) -> Self {
        Self { due, failures: 0 }
    }

    /// The listing could be read, and says that it holds for `fresh`. `chance` is in 0..1.
    pub(crate) fn succeeded(&mut self, pace: Pace, fresh: Duration, now: Instant, chance: f64) {
        self.failures = 0;
        let wait = pace.spread(pace.interval, chance);
        self.due = now
            + wait.max(
                pace.stretch(fresh.min(pace.most_fresh), chance)
                    .min(LONGEST),
            );
    }

    /// It could not, and the provider asks for a `pause`.
    pub(crate) fn failed(&mut self, pace: Pace, pause: Duration, now: Instant, chance: f64) {
        let doubled = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let wait = FIRST_RETRY.saturating_mul(doubled).min(pace.interval);
        self.failures = self.failures.saturating_add(1);
        self.due = now + pace.spread(wait, chance).max(pause.min(LONGEST));
    }
}

impl Pace {
    /// The same for a listing whose prices decide what is free: its provider's word does not lengthen the interval, and
    /// half of the time for which a price is fresh is left for failures.
    pub(crate) fn for_prices(self) -> Self {
        Self {
            interval: self.interval.min(FRESH / 2),
            most_fresh: Duration::ZERO,
            ..self
        }
    }

    fn spread(self, wait: Duration, chance: f64) -> Duration {
        let spread = wait.mul_f64(1.0 + self.jitter * (2.0 * chance - 1.0));
        spread.max(SHORTEST)
    }

    /// The same for what must not be shorter: a listing in a shared cache is stale for all at one moment.
    fn stretch(self, wait: Duration, chance: f64) -> Duration {
        wait.mul_f64(1.0 + self.jitter * chance)
    }
}

/// For how long an answer may be used without asking again (RFC 9111 4.2): `max-age` less `Age`.
///
/// `no-cache` and `no-store` grant nothing. A `max-age` that is no number means that the answer is stale (4.2.1).
pub(crate) fn freshness(headers: &HeaderMap) -> Duration {
    let mut granted = None;
    let values = headers.get_all(CACHE_CONTROL).iter();
    for directive in values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
    {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-cache" | "no-store" => return Duration::ZERO,
            "max-age" => {
                granted = Some(granted.unwrap_or_else(|| seconds(value.trim().trim_matches('"'))))
            }
            _ => {}
        }
    }
    let age = headers.get(AGE).and_then(|age| age.to_str().ok());
    granted
        .unwrap_or_default()
        .saturating_sub(age.map(seconds).unwrap_or_default())
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.trim().parse().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        interval: Duration::from_secs(600),
        jitter: 0.1,
        most_fresh: LONGEST,
    };

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn said(cache_control: &'static str) -> Duration {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, cache_control.parse().expect("a value"));
        freshness(&headers)
    }

    #[test]
    fn freshness_is_what_rfc_9111_says() {
        assert_eq!(freshness(&HeaderMap::new()), secs(0));
        assert_eq!(said("max-age=60"), secs(60));
        assert_eq!(said("Public, MAX-AGE=\"60\" , s-maxage=5"), secs(60));
        assert_eq!(said("max-age=60, max-age=90"), secs(60));
        assert_eq!(said("max-age=60, no-cache"), secs(0));
        assert_eq!(said("no-store, max-age=60"), secs(0));
        for nonsense in [
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age=1e9",
            "max-age=99999999999999999999",
        ] {
            assert_eq!(said(nonsense), secs(0), "{nonsense}");
        }
    }

    #[test]
    fn what_was_spent_on_the_way_is_not_fresh_any_more() {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, "max-age=60".parse().expect("a value"));
        for (age, left) in [("20", 40), ("60", 0), ("90", 0), ("old", 60)] {
            headers.insert(AGE, age.parse().expect("a value"));
            assert_eq!(freshness(&headers), secs(left), "{age}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_interval_is_spread_by_its_jitter_and_by_no_more() {
        let now = Instant::now();
        for (chance, wait) in [(0.0, 540.0), (0.5, 600.0), (1.0, 660.0)] {
            let mut schedule = Schedule::due_at(now);
            schedule.succeeded(PACE, secs(0), now, chance);
            assert_eq!((schedule.due - now).as_secs_f64(), wait, "{chance}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_listing_is_left_alone_for_its_age_and_a_day_at_most() {
        let now = Instant::now();
        let mut schedule = Schedule::due_at(now);
        for (chance, wait) in [(0.0, 3600), (0.5, 3780), (1.0, 3960)] {
            schedule.succeeded(PACE, secs(3600), now, chance);
            assert_eq!(schedule.due, now + secs(wait));
        }
        schedule.succeeded(PACE, secs(60), now, 0.5);
        assert_eq!(schedule.due, now + secs(600));
        schedule.succeeded(PACE, Duration::MAX, now, 0.5);
        assert_eq!(schedule.due, now + LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn where_prices_decide_a_listing_is_fresh_for_the_interval_and_half_an_hour_at_most() {
        let now = Instant::now();
        let mut schedule = Schedule::due_at(now);
        schedule.succeeded(PACE.for_prices(), secs(3600), now, 0.5);
        assert_eq!(schedule.due, now + secs(600));
        let daily = Pace {
            interval: LONGEST,
            ..PACE
        };
        schedule.succeeded(daily.for_prices(), Duration::MAX, now, 0.5);
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
        schedule.succeeded(PACE, secs(0), now, 0.5);
        schedule.failed(PACE, secs(0), now, 0.5);
        assert_eq!(schedule.due, now + secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_twice_within_a_second() {
        let now = Instant::now();
        let pace = Pace {
            interval: SHORTEST,
            jitter: 0.5,
            ..PACE
        };
        let mut schedule = Schedule::due_at(now);
        schedule.succeeded(pace, secs(0), now, 0.0);
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
