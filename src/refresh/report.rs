//! What a refresh came to, for people and for a page of status.

use std::{
    error::Error,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use http::StatusCode;

use crate::{
    catalog::Swap,
    listing::Skipped,
    provider::Provider,
    refresh::{account::AccountStatus, fetch::Fault},
};

/// What asking one provider for its models came to.
///
/// Its `Display` is one line for people.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The provider's name.
    pub provider: String,
    /// What changed in the catalog; `None` after a failure, where its targets were left as they are. Models that have expired are reported by themselves.
    pub swap: Option<Swap>,
    /// How many free models of it are in the catalog now.
    pub free: usize,
    /// How many of those are picked by name only, because the price that makes them free could not be confirmed for an
    /// hour.
    pub by_name_only: usize,
    /// How many entries of its listing were not free. 0 where no new listing was read.
    pub not_free: usize,
    /// How many of those stated no price.
    pub unpriced: usize,
    /// The entries that were left out for other reasons: the first 100 of them.
    pub skipped: Vec<Skipped>,
    /// Why it could not be refreshed the last time that it was tried.
    pub error: Option<RefreshError>,
    /// When its listing was last read; `None` if that never was.
    pub read_at: Option<SystemTime>,
    /// When it is to be asked again.
    pub next: SystemTime,
    /// What it last said of its key's own quota; `None` where that is not known.
    pub account: Option<AccountStatus>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} free models", self.provider, self.free)?;
        if let Some(swap) = self.swap.filter(|swap| swap.added + swap.removed > 0) {
            write!(f, ", {} new, {} gone", swap.added, swap.removed)?;
        }
        if self.free == 0 && self.not_free > 0 {
            let (not_free, unpriced) = (self.not_free, self.unpriced);
            write!(
                f,
                ", {not_free} not free ({unpriced} of them without a price)"
            )?;
        }
        if self.by_name_only > 0 {
            let old = self.by_name_only;
            write!(
                f,
                ", {old} of them by name only, since their prices are an hour old"
            )?;
        }
        match &self.error {
            Some(error) => write!(f, "; not refreshed: {error}"),
            None => Ok(()),
        }
    }
}

/// The latest [`Report`] of each provider. A cheap handle: clones read the same.
#[derive(Clone, Debug, Default)]
pub struct Reports(Arc<Mutex<Vec<Report>>>);

impl Reports {
    /// All of them, in the order in which the providers were first reported.
    #[must_use]
    pub fn all(&self) -> Vec<Report> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// That of the provider of this name.
    #[must_use]
    pub fn of(&self, provider: &str) -> Option<Report> {
        let reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reports
            .iter()
            .find(|report| report.provider == provider)
            .cloned()
    }

    pub(super) fn keep(&self, report: &Report) {
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match reports
            .iter_mut()
            .find(|old| old.provider == report.provider)
        {
            Some(old) => old.clone_from(report),
            None => reports.push(report.clone()),
        }
    }
}

/// Why a provider could not be refreshed. It holds neither a key nor what the provider sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshError {
    fault: Fault,
}

impl RefreshError {
    pub(super) fn new(fault: Fault, provider: &Provider) -> Self {
        let fault = match fault {
            // A client may put into its words what it was given.
            Fault::Unreachable(text) => {
                let text = provider.credential().redact_text(&text);
                Fault::Unreachable(text.chars().take(500).collect())
            }
            other => other,
        };
        Self { fault }
    }

    /// The status that its listing was answered with, if that was the matter.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self.fault {
            Fault::Status(status) => Some(status),
            _ => None,
        }
    }
}

impl fmt::Display for RefreshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Fault::NoAddress => f.write_str("it has no base URL under which to ask for its models"),
            Fault::Unreachable(text) => write!(f, "its listing could not be read: {text}"),
            Fault::TooSlow(after) => write!(f, "its listing did not come within {after:?}"),
            Fault::TooLarge(most) => write!(f, "its listing is larger than {most} bytes"),
            Fault::Status(status) => write!(f, "its listing was answered with {status}"),
            Fault::Listing(error) => error.fmt(f),
            Fault::NoEntry => f.write_str("its listing is empty"),
            Fault::Unreadable => f.write_str("no entry of its listing could be read"),
        }
    }
}

impl Error for RefreshError {}
