//! Brings what a provider answered into the catalog, and reports it.

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use tokio::time::Instant;

use super::{
    account::AccountStatus,
    fetch::{Answer, Fault},
    report::{RefreshError, Report},
    run::Answered,
    settings::{Refresh, Source},
};
use crate::{
    catalog::{Belief, Swap, Target},
    listing::{Listing, SkipReason, Skipped},
    provider::Provider,
    upstream::parse_reset,
};

/// Tokio's clock stands still while the machine is suspended, so the end of a model's last day is looked for at least
/// this often.
const LOOK: Duration = Duration::from_secs(600);
/// So many of the entries that were left out are reported.
const MOST_SKIPPED: usize = 100;

impl Refresh {
    /// Takes what a provider answered: into its schedule, the catalog, the health map and a report.
    pub(super) fn settle(&mut self, index: usize, answered: Answered) -> Report {
        let (now, wall) = (Instant::now(), self.health.wall());
        let chance = self.rng.unit();
        let source = &mut self.sources[index];
        let provider = &source.provider;
        let pace = match provider.free_rule().is_by_price() {
            true => self.pace.for_prices(),
            false => self.pace,
        };
        let account = answered.account;
        source.account = account
            .and_then(|answer| AccountStatus::read(&answer, wall))
            .or(source.account);
        let (mut swap, mut listing) = (None, Listing::default());
        match read(provider, answered.listing, wall) {
            Ok(new) => {
                source.schedule.succeeded(pace, now, chance);
                source.read_at = Some(wall);
                source.error = None;
                swap = Some(self.catalog.swap(provider.name(), new.targets().to_vec()));
                listing = new;
            }
            Err(bad) => {
                source.schedule.failed(pace, bad.pause, now, chance);
                source.error = Some(RefreshError::new(bad.fault, provider));
            }
        }
        self.expire_of(index);
        self.report(index, swap, &listing)
    }

    /// Takes out what has expired, whether its listing can be read or not.
    pub(super) fn expire(&mut self) {
        for index in 0..self.sources.len() {
            self.expire_of(index);
        }
    }

    fn expire_of(&mut self, index: usize) {
        let (now, wall) = (Instant::now(), self.health.wall());
        let name = self.sources[index].provider.name();
        if let Some(swap) = self.catalog.expire(name, wall, now) {
            self.report(index, Some(swap), &Listing::default());
        }
    }

    /// After how long a target may have expired.
    pub(super) fn next_look(&self) -> Duration {
        let (now, wall) = (Instant::now(), self.health.wall());
        let snapshot = self.catalog.snapshot();
        let targets = snapshot.targets().iter();
        let waits = targets.flat_map(|target| {
            let day_ends = target.model().expires();
            let price_ends = target.price_ends();
            [
                day_ends.and_then(|end| end.duration_since(wall).ok()),
                price_ends.map(|end| end.saturating_duration_since(now)),
            ]
        });
        // A target that has expired already belongs to a provider that is not refreshed here.
        waits
            .flatten()
            .filter(|wait| !wait.is_zero())
            .min()
            .map_or(Duration::MAX, |wait| wait.min(LOOK))
    }

    /// Tells the catalog whether a provider has no models because its listing could not be read.
    pub(super) fn note_awaited(&self, source: &Source) {
        let name = source.provider.name();
        let snapshot = self.catalog.snapshot();
        let has_none = !snapshot
            .targets()
            .iter()
            .any(|target| target.id().provider() == name);
        let is_unread = source.read_at.is_none() || source.error.is_some();
        self.catalog.set_awaited(name, has_none && is_unread);
    }

    fn report(&mut self, index: usize, swap: Option<Swap>, listing: &Listing) -> Report {
        let (now, wall) = (Instant::now(), self.health.wall());
        let source = &self.sources[index];
        let name = source.provider.name();
        self.note_awaited(source);
        let snapshot = self.catalog.snapshot();
        self.health.sweep(&snapshot);
        let own = |target: &&Target| target.id().provider() == name;
        let own = || snapshot.targets().iter().filter(own);
        let report = Report {
            provider: name.to_owned(),
            swap,
            free: own().count(),
            by_name_only: own()
                .filter(|target| target.belief(now) != Belief::Fresh)
                .count(),
            not_free: listing.not_free(),
            unpriced: listing.unpriced(),
            skipped: listing
                .skipped()
                .iter()
                .take(MOST_SKIPPED)
                .cloned()
                .collect(),
            error: source.error.clone(),
            read_at: source.read_at,
            next: wall + source.schedule.due.saturating_duration_since(now),
            account: source.account,
        };
        self.reports.keep(&report);
        if let Some(tell) = &mut self.on_report {
            tell(&report);
        }
        report
    }
}

/// Why an answer holds no listing.
struct Bad {
    fault: Fault,
    /// How long the provider asks not to be asked.
    pause: Duration,
}

impl From<Fault> for Bad {
    fn from(fault: Fault) -> Self {
        let pause = Duration::ZERO;
        Self { fault, pause }
    }
}

/// Reads the listing that a provider answered with.
fn read(
    provider: &Provider,
    answer: Result<Answer, Fault>,
    now: SystemTime,
) -> Result<Listing, Bad> {
    let answer = answer?;
    if !answer.status.is_success() {
        let pause = answer.headers.get(RETRY_AFTER);
        let pause = pause
            .and_then(|value| value.to_str().ok())
            .and_then(|text| parse_reset(text, now));
        return Err(Bad {
            fault: Fault::Status(answer.status),
            pause: pause.unwrap_or_default(),
        });
    }
    let listing = provider
        .read_listing(&answer.body, now)
        .map_err(Fault::Listing)?;
    if listing.targets().is_empty() {
        check_emptiness(&listing)?;
    }
    Ok(listing)
}

/// No entry at all, or none that can be read, is more often broken than true. Entries of which none is free are a fact.
fn check_emptiness(listing: &Listing) -> Result<(), Fault> {
    let unreadable = |reason| matches!(reason, SkipReason::Malformed | SkipReason::BadId);
    let mut reasons = listing.skipped().iter().map(Skipped::reason);
    if listing.not_free() > 0 || reasons.any(|reason| !unreadable(reason)) {
        Ok(())
    } else if listing.skipped().is_empty() {
        Err(Fault::NoEntry)
    } else {
        Err(Fault::Unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalog::Catalog, health::HealthMap, provider::FreeRule};

    #[tokio::test(start_paused = true)]
    async fn an_end_that_is_far_away_is_looked_for_again_and_again() {
        let provider = Provider::new("p").free(FreeRule::All).build();
        let provider = provider.expect("a provider");
        let look = |row: &str| {
            let wall = HealthMap::new().wall();
            let listing = provider.read_listing(row.as_bytes(), wall);
            let targets = listing.expect("a listing").into_targets();
            assert_eq!(targets.len(), 1);
            Refresh::new(Catalog::from_targets(targets), HealthMap::new()).next_look()
        };
        let prices = r#""pricing":{"prompt":0,"completion":0}"#;
        let ends = look(&format!(
            r#"[{{"id":"m",{prices},"expiration_date":"9998-12-31"}}]"#
        ));
        assert_eq!(ends, LOOK);
        assert_eq!(look(&format!(r#"[{{"id":"m",{prices}}}]"#)), Duration::MAX);
    }
}
