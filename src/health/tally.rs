//! Counts and averages of one target.

use std::time::Duration;

use crate::outcome::OutcomeKind;

/// How many attempts there were. `started` is always the sum of the others and of those in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Attempts begun.
    pub started: u64,
    /// Attempts that ended in a whole answer.
    pub succeeded: u64,
    /// Attempts that ended in a failure of any kind.
    pub failed: u64,
    /// Attempts that were dropped without an outcome, because the caller went away for instance.
    pub abandoned: u64,
}

impl Tally {
    /// Attempts that have not ended.
    #[must_use]
    pub const fn in_flight(&self) -> u64 {
        self.started - self.succeeded - self.failed - self.abandoned
    }

    pub(super) const fn end(&mut self, outcome: OutcomeKind) {
        match outcome {
            OutcomeKind::Succeeded => self.succeeded += 1,
            OutcomeKind::Abandoned => self.abandoned += 1,
            _ => self.failed += 1,
        }
    }
}

/// How long an answer took, to its first content and to its end.
#[derive(Clone, Copy)]
pub(super) struct Speed {
    pub(super) first_content: Duration,
    pub(super) total: Duration,
}

/// How long something usually takes, in seconds, over recent attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    mean: f64,
    /// The mean distance from the mean.
    deviation: f64,
}

impl Pace {
    /// `factor` times the mean, or the mean and `deviations` times the mean distance from it: whichever is longer.
    pub(crate) fn at_most(&self, factor: f64, deviations: f64) -> Duration {
        let seconds = (factor * self.mean).max(self.mean + deviations * self.deviation);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// Adds a sample. What is known of the deviation after the first one is a guess, as in RFC 6298.
    fn add(pace: &mut Option<Self>, sample: Duration) {
        let sample = sample.as_secs_f64();
        let (mean, deviation) = match *pace {
            None => (sample, sample / 2.0),
            Some(Self { mean, deviation }) => {
                let distance = (sample - mean).abs();
                (
                    mean + WEIGHT * (sample - mean),
                    deviation + WEIGHT * (distance - deviation),
                )
            }
        };
        *pace = Some(Self { mean, deviation });
    }
}

/// What is known of the time that a target takes to answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usual {
    /// Of successes only: a failure that comes back at once must never make its target look fast.
    pub(crate) first_content: Option<Pace>,
    pub(crate) total: Option<Pace>,
    /// The longest wait since the last success that was given up before an answer had begun.
    pub(crate) in_vain: Duration,
}

/// The share of successes among recent attempts, and how soon they began to answer and ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    rate: Option<f64>,
    usual: Usual,
}

impl Record {
    /// A whole answer.
    pub(super) fn success(&mut self, speed: Speed) {
        add(&mut self.rate, 1.0);
        Pace::add(&mut self.usual.first_content, speed.first_content);
        Pace::add(&mut self.usual.total, speed.total);
        self.usual.in_vain = Duration::ZERO;
    }

    /// An answer had not begun after so long, and was not waited for any longer.
    pub(super) fn waited_in_vain(&mut self, waited: Duration) {
        self.usual.in_vain = self.usual.in_vain.max(waited);
    }

    pub(super) const fn usual(&self) -> Usual {
        self.usual
    }

    pub(super) fn failure(&mut self) {
        add(&mut self.rate, 0.0);
    }

    pub(super) const fn success_rate(&self) -> Option<f64> {
        self.rate
    }

    pub(super) fn mean_first_token(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.usual.first_content?.mean).ok()
    }

    pub(super) fn mean_total(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.usual.total?.mean).ok()
    }
}

/// What a new sample weighs in a mean: it follows a change within a few attempts, and no single attempt decides.
const WEIGHT: f64 = 0.2;

/// Adds a sample to a mean.
fn add(mean: &mut Option<f64>, sample: f64) {
    *mean = Some(mean.map_or(sample, |mean| mean + WEIGHT * (sample - mean)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_lower_the_rate_and_leave_the_speed_alone() {
        let mut record = Record::default();
        assert_eq!(record.success_rate(), None);
        record.success(Speed {
            first_content: Duration::from_secs(4),
            total: Duration::from_secs(8),
        });
        for _ in 0..20 {
            record.failure();
        }
        assert!(record.success_rate().is_some_and(|rate| rate < 0.02));
        assert_eq!(record.mean_first_token(), Some(Duration::from_secs(4)));
        assert_eq!(record.mean_total(), Some(Duration::from_secs(8)));
    }

    #[test]
    fn the_deviation_falls_where_attempts_take_alike_and_rises_where_they_do_not() {
        let (mut even, mut uneven) = (None, None);
        for n in 0..100 {
            Pace::add(&mut even, Duration::from_secs(4));
            Pace::add(
                &mut uneven,
                Duration::from_secs(if n % 2 == 0 { 1 } else { 7 }),
            );
            if n == 0 {
                let first = even.expect("a sample").at_most(1.0, 4.0);
                assert_eq!(first, Duration::from_secs(12), "half of the first sample");
            }
        }
        let most = |pace: Option<Pace>| pace.expect("samples").at_most(1.0, 4.0).as_secs_f64();
        assert!((most(even) - 4.0).abs() < 0.01, "{}", most(even));
        assert!(most(uneven) > 14.0, "{}", most(uneven));
        let thrice = even.expect("samples").at_most(3.0, 4.0);
        assert_eq!(thrice, Duration::from_secs(12));
    }

    #[test]
    fn a_success_ends_what_was_waited_in_vain() {
        let mut record = Record::default();
        for seconds in [20, 5] {
            record.waited_in_vain(Duration::from_secs(seconds));
        }
        assert_eq!(record.usual().in_vain, Duration::from_secs(20));
        record.success(Speed {
            first_content: Duration::from_secs(30),
            total: Duration::from_secs(30),
        });
        assert_eq!(record.usual().in_vain, Duration::ZERO);
    }
}
