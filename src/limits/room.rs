//! What a quota answers.

use std::time::Duration;

use tokio::time::Instant;

use crate::{limits::rule::Source, provider::Quantity};

/// Whether one more call has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// It has.
    Now,
    /// By the table, or by what was inferred, not before this instant.
    Estimated(Instant),
    /// The same, and a call that was sent all the same was refused lately, or is under way.
    Confirmed(Instant),
    /// By what the upstream has stated, or the operator, not before this instant.
    Stated(Instant),
    /// As many calls are in flight as are allowed: when one of them ends is not known.
    AtOnce {
        /// Whether that limit is stated, or confirmed, and no mere estimate.
        is_fact: bool,
    },
    /// It never has, because it has more tokens than the whole limit. Smaller calls may have room.
    TooLarge {
        /// The whole limit, in tokens.
        most: u64,
        /// Whether that limit is stated, and no estimate.
        is_fact: bool,
    },
}

impl Room {
    /// What a limit that is full until then says.
    pub(super) const fn until(end: Instant, is_fact: bool) -> Self {
        if is_fact {
            Self::Stated(end)
        } else {
            Self::Estimated(end)
        }
    }

    /// What two limits say together: facts before estimates, "never" before "later", and of two ends the later.
    pub(super) fn and(self, other: Self) -> Self {
        if other.severity() > self.severity() {
            other
        } else {
            self
        }
    }

    const fn severity(self) -> (bool, u8, Option<Instant>) {
        match self {
            Self::Now => (false, 0, None),
            Self::AtOnce { is_fact } => (is_fact, 1, None),
            Self::Estimated(end) | Self::Confirmed(end) => (false, 2, Some(end)),
            Self::Stated(end) => (true, 2, Some(end)),
            Self::TooLarge { is_fact, .. } => (is_fact, 3, None),
        }
    }
}

/// What the scarcest limit of requests leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Left {
    /// How many requests a second it leaves until it resets, or over the next 60 s where it resets earlier.
    pub(crate) per_second: f64,
    /// How many requests a second it allows in the long run.
    pub(crate) granted: f64,
}

/// One limit, for snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reported {
    /// What it counts.
    pub(crate) of: Quantity,
    /// The length of its window; `None` for calls in flight, and where it is not known.
    pub(crate) window: Option<Duration>,
    /// Whether it counts the calls in flight.
    pub(crate) at_once: bool,
    /// How many are allowed, if that is known.
    pub(crate) limit: Option<u64>,
    /// How many are left.
    pub(crate) left: u64,
    /// When all are, or when more of them are where the window is a rolling one.
    pub(crate) resets: Option<Instant>,
    /// Who says so.
    pub(crate) source: Source,
}
