//! Whether a stated limit is a bucket that is refilled all the time, or a count that begins anew at its end.
//!
//! Both state how many are allowed, how many are left, and a time. Groq's is the time until the bucket is full again: of
//! 8000 tokens a minute with 6000 left, 15 s (facts: B0). To take that for the end of a window would keep a request back for
//! a minute that has room after two seconds. A bucket gives itself away by stating exactly that time again and again.

use std::time::Duration;

use tokio::time::Instant;

use crate::{clock::later, limits::stated::StatedLimit};

/// So many statements must agree.
const ENOUGH: u8 = 3;
/// By how much the stated time may differ: times are often rounded to seconds.
const ROUNDING: Duration = Duration::from_millis(500);

/// What the statements of one limit say of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refill {
    /// Statements that a bucket would have made.
    agree: u8,
    /// One that a bucket would not have made.
    is_refuted: bool,
    /// Until when what has been refilled is counted.
    pub(super) counted: Option<Instant>,
}

impl Refill {
    /// After one more statement.
    pub(super) fn and(mut self, stated: &StatedLimit, now: Instant) -> Self {
        self.counted = Some(now);
        match is_as_of_bucket(stated, now) {
            Some(true) => self.agree = self.agree.saturating_add(1),
            Some(false) => self.is_refuted = true,
            None => {}
        }
        self
    }

    pub(super) const fn is_bucket(&self) -> bool {
        self.agree >= ENOUGH && !self.is_refuted
    }

    /// How many have come in since the last time.
    pub(super) fn gain(&mut self, limit: u64, window: Duration, now: Instant) -> u64 {
        let since = self.counted.unwrap_or(now);
        let time = now.saturating_duration_since(since).as_nanos();
        let gain = time.saturating_mul(limit.into()) / window.as_nanos().max(1);
        let gain = u64::try_from(gain).unwrap_or(u64::MAX);
        // The rest, less than one, comes in the next time.
        self.counted = Some(later(since, time_of(gain, limit, window)).min(now));
        gain
    }

    /// When so many more will have come in.
    pub(super) fn when(&self, missing: u64, limit: u64, window: Duration, now: Instant) -> Instant {
        let time = time_of(missing, limit, window);
        later(self.counted.unwrap_or(now), time + Duration::from_nanos(1))
    }
}

/// How long so many take to come in.
fn time_of(amount: u64, limit: u64, window: Duration) -> Duration {
    let nanos = window.as_nanos().saturating_mul(amount.into()) / u128::from(limit.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2))
}

/// Whether the time is what a bucket takes to be full; `None` if that cannot be told.
fn is_as_of_bucket(stated: &StatedLimit, now: Instant) -> Option<bool> {
    let (limit, window) = (stated.limit?, stated.window?);
    let used = limit
        .checked_sub(stated.remaining?)
        .filter(|&used| used > 0)?;
    let rest = stated.until?.saturating_duration_since(now);
    let full = time_of(used, limit, window);
    let apart = full.max(rest) - full.min(rest);
    Some(apart <= full / 50 + ROUNDING)
}
