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

/// A mean in which each new sample weighs a fifth: recent enough to follow a change within a few attempts,
/// long enough that one stray does not decide.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean(Option<f64>);

const WEIGHT: f64 = 0.2;

impl Mean {
    pub(super) fn add(&mut self, sample: f64) {
        self.0 = Some(
            self.0
                .map_or(sample, |mean| mean + WEIGHT * (sample - mean)),
        );
    }

    pub(super) const fn get(self) -> Option<f64> {
        self.0
    }
}

/// The share of successes, and how soon they began to answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    rate: Mean,
    /// Successes only: a failure that comes back at once must never make its target look fast.
    first_token: Mean,
    total: Mean,
}

impl Record {
    /// A whole answer: when its first content came, and its end.
    pub(super) fn success(&mut self, first_token: Duration, total: Duration) {
        self.rate.add(1.0);
        self.first_token.add(first_token.as_secs_f64());
        self.total.add(total.as_secs_f64());
    }

    pub(super) fn failure(&mut self) {
        self.rate.add(0.0);
    }

    pub(super) const fn success_rate(&self) -> Option<f64> {
        self.rate.get()
    }

    pub(super) fn mean_first_token(&self) -> Option<Duration> {
        seconds(self.first_token)
    }

    pub(super) fn mean_total(&self) -> Option<Duration> {
        seconds(self.total)
    }
}

fn seconds(mean: Mean) -> Option<Duration> {
    mean.get().and_then(|s| Duration::try_from_secs_f64(s).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_lower_the_rate_and_leave_the_speed_alone() {
        let mut record = Record::default();
        assert_eq!(record.success_rate(), None);
        record.success(Duration::from_secs(4), Duration::from_secs(8));
        for _ in 0..20 {
            record.failure();
        }
        assert!(record.success_rate().is_some_and(|rate| rate < 0.02));
        assert_eq!(record.mean_first_token(), Some(Duration::from_secs(4)));
        assert_eq!(record.mean_total(), Some(Duration::from_secs(8)));
    }
}
