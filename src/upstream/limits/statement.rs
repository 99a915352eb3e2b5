//! One limit as an upstream states it.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    clock::later,
    limits::StatedLimit,
    outcome::Scope,
    provider::{Limit, Period, Quantity},
};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How far the stated reset of a bucket may be from the calculated one, beside 2 %: some upstreams state whole seconds.
const ROUNDING: Duration = SECOND;

/// One limit as an upstream states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// What it counts.
    pub(crate) of: Quantity,
    /// The length of its window, if that is stated.
    pub(crate) window: Option<Duration>,
    /// How many are allowed.
    pub(crate) limit: Option<u64>,
    /// How many are left, after the call that was answered.
    pub(crate) remaining: Option<u64>,
    /// In which time all are left again.
    pub(crate) resets: Option<Duration>,
}

impl Statement {
    /// A limit of which nothing more is stated.
    pub(super) const fn new(of: Quantity, window: Option<Duration>) -> Self {
        Self {
            of,
            window,
            limit: None,
            remaining: None,
            resets: None,
        }
    }

    /// Whether something follows from it: what is left, or how many are allowed in which time.
    pub(super) const fn says_something(&self) -> bool {
        self.remaining.is_some() || (self.limit.is_some() && self.window.is_some())
    }

    /// For a quota. `table` has the limits that are known of the provider: they tell the window where the upstream
    /// does not (Groq, whose `requests` are those of a day, and `tokens` those of a minute).
    pub(crate) fn stated(&self, table: &[Limit], now: Instant) -> StatedLimit {
        StatedLimit {
            of: self.of,
            window: self.window.or_else(|| self.window_in(table)),
            limit: self.limit,
            remaining: self.remaining,
            until: self.resets.map(|resets| later(now, resets)),
        }
    }

    /// Whether the account or each model has it, where a limit like it is in the table.
    pub(crate) fn scope_in(&self, table: &[Limit]) -> Option<Scope> {
        let window = self.window.or_else(|| self.window_in(table));
        let is_like = |known: &&Limit| {
            known.of == self.of && (window.is_none() || length(known.per) == window)
        };
        table.iter().find(is_like).map(|known| known.scope)
    }

    /// The window of the one limit in the table that has this amount; else of the one that, as a bucket which is refilled all
    /// the time, is full when it is stated to be.
    fn window_in(&self, table: &[Limit]) -> Option<Duration> {
        let limit = self.limit?;
        let candidates = || {
            let same = table.iter().filter(|known| known.of == self.of);
            let timed = same.filter_map(|known| Some((known.amount, length(known.per)?)));
            timed.filter(|(_, length)| self.resets.is_none_or(|resets| resets <= *length))
        };
        let of_this_amount = candidates().filter(|(amount, _)| *amount == limit);
        let of_this_reset = candidates().filter(|(_, length)| self.is_bucket_of(*length));
        only(of_this_amount).or_else(|| only(of_this_reset))
    }

    /// Whether a bucket that takes this long from empty to full is full when it is stated to be.
    fn is_bucket_of(&self, window: Duration) -> bool {
        let (Some(limit), Some(remaining), Some(resets)) =
            (self.limit, self.remaining, self.resets)
        else {
            return false;
        };
        let used = limit.saturating_sub(remaining);
        if used == 0 {
            return false;
        }
        // At most the window, because no more is used than is allowed.
        let full = window.mul_f64(used as f64 / limit as f64);
        full.abs_diff(resets) <= full / 50 + ROUNDING
    }
}

/// The length that all of these have.
fn only(mut found: impl Iterator<Item = (u64, Duration)>) -> Option<Duration> {
    let (_, length) = found.next()?;
    found.all(|(_, other)| other == length).then_some(length)
}

/// The time of a limit that is counted in windows of one length.
const fn length(period: Period) -> Option<Duration> {
    match period {
        Period::Second => Some(SECOND),
        Period::Minute => Some(MINUTE),
        Period::Hour => Some(HOUR),
        Period::Day => Some(DAY),
        Period::Month | Period::AtOnce => None,
    }
}
