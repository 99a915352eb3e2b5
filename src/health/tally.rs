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

/// The share of successes, and how soon they began to answer and ended: means over recent attempts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    rate: Option<f64>,
    /// In seconds. Of successes only: a failure that comes back at once must never make its target look fast.
    first_token: Option<f64>,
    total: Option<f64>,
}

impl Record {
    /// A whole answer.
    pub(super) fn success(&mut self, speed: Speed) {
        add(&mut self.rate, 1.0);
        add(&mut self.first_token, speed.first_content.as_secs_f64());
        add(&mut self.total, speed.total.as_secs_f64());
    }

    pub(super) fn failure(&mut self) {
        add(&mut self.rate, 0.0);
    }

    pub(super) const fn success_rate(&self) -> Option<f64> {
        self.rate
    }

    pub(super) fn mean_first_token(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.first_token?).ok()
    }

    pub(super) fn mean_total(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.total?).ok()
    }
}

/// Adds a sample to a mean in which each new one weighs a fifth: it follows a change within a few attempts, and no single
/// attempt decides.
fn add(mean: &mut Option<f64>, sample: f64) {
    *mean = Some(mean.map_or(sample, |mean| mean + 0.2 * (sample - mean)));
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
}
