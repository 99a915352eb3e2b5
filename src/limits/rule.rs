//! One limit: how many of what within which time, and who says so.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    clock::later,
    provider::{Limit, Period, Quantity},
};

/// A day that has no known end is counted as the last 24 hours.
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
/// A month that has no known end is counted as the last 30 days.
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Source {
    /// The upstream has said it.
    Stated,
    /// The operator has set it.
    Operator,
    /// It stands in the table of known providers.
    Table,
    /// It follows from which calls the upstream took and which it refused.
    Inferred,
}

impl Source {
    /// The name in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stated => "stated",
            Self::Operator => "operator",
            Self::Table => "table",
            Self::Inferred => "inferred",
        }
    }

    /// Whether it holds until it is changed, and is no estimate.
    pub(crate) const fn is_fact(self) -> bool {
        matches!(self, Self::Stated | Self::Operator)
    }
}

/// The time within which a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// The time of this length that ends now.
    Rolling(Duration),
    /// The time up to `end`, and then times of the length `period`, one after the other. Give the rule again with a new
    /// end where the lengths differ, as those of months do and of days when the clock is put forward or back.
    Until {
        /// When the present one ends.
        end: Instant,
        /// The length of those that follow.
        period: Duration,
    },
    /// Only calls in flight count.
    AtOnce,
}

impl Window {
    /// How long it is; `None` for calls in flight.
    pub(crate) const fn length(self) -> Option<Duration> {
        match self {
            Self::Rolling(length) | Self::Until { period: length, .. } => Some(length),
            Self::AtOnce => None,
        }
    }
}

/// When the present day and month of an account end; `None` where that is not known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ends {
    /// The end of the day.
    pub(crate) day: Option<Instant>,
    /// The end of the month.
    pub(crate) month: Option<Instant>,
}

/// A limit that is not to be exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// How many.
    pub(crate) amount: u64,
    /// Of what. Of calls in flight only requests are counted.
    pub(crate) of: Quantity,
    /// Within which time.
    pub(crate) window: Window,
    /// Who says so.
    pub(crate) source: Source,
}

impl Rule {
    /// A limit of a provider, as the table of known ones or its user has it.
    pub(crate) fn of(limit: &Limit, source: Source, ends: Ends) -> Self {
        let fixed = |end: Option<Instant>, period| match end {
            Some(end) => Window::Until { end, period },
            None => Window::Rolling(period),
        };
        let window = match limit.per {
            Period::AtOnce => Window::AtOnce,
            Period::Second => Window::Rolling(Duration::from_secs(1)),
            Period::Minute => Window::Rolling(Duration::from_secs(60)),
            Period::Hour => Window::Rolling(Duration::from_secs(3600)),
            Period::Day => fixed(ends.day, DAY),
            Period::Month => fixed(ends.month, MONTH),
        };
        Self {
            amount: limit.amount,
            of: limit.of,
            window,
            source,
        }
    }

    /// Whether both count the same within times of the same length.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.of == other.of && self.window.length() == other.window.length()
    }
}

/// What is to be said of a time that has ended at `end`: when the one that contains `now` began, and when it ends.
pub(super) fn next(end: Instant, period: Duration, now: Instant) -> (Instant, Instant) {
    let period = period.max(Duration::from_millis(1));
    let over = now.saturating_duration_since(end);
    let rest = over.as_nanos() % period.as_nanos();
    let rest = Duration::from_nanos(u64::try_from(rest).unwrap_or(0));
    let began = now.checked_sub(rest).unwrap_or(now);
    (began, later(began, period))
}
