//! The live catalog: asks providers for their listings, again and again.
//!
//! `schedule` knows when, `fetch` how to ask within bounds, `account` what a key says of itself, `report` how to tell.
//! This file judges what came back, and brings it into the catalog.

pub(crate) mod account;
pub(crate) mod fetch;
pub(crate) mod report;
pub(crate) mod schedule;

pub use self::{
    account::{AccountStatus, DailyRequests},
    report::{RefreshError, Report, Reports},
};

use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    pin::Pin,
    task::Poll,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{ETAG, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RETRY_AFTER},
};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tower_service::Service;

use crate::{
    body::{Body, BoxError},
    catalog::{Belief, Catalog, Swap, Target},
    clock::later,
    health::HealthMap,
    listing::{Listing, SkipReason, Skipped},
    provider::Provider,
    refresh::{
        fetch::{Answer, Bounds, get},
        report::Fault,
        schedule::{LONGEST, Pace, SHORTEST, Schedule, freshness},
    },
    rng::Rng,
    upstream::parse_reset,
};

/// Tokio's clock stands still while the machine is suspended, so the end of a model's last day is looked for at least
/// this often.
const LOOK: Duration = Duration::from_secs(600);
/// What a key says of itself is short, comes soon, or is not worth waiting for.
const ACCOUNT: Bounds = Bounds {
    timeout: Duration::from_secs(5),
    size: 64 * 1024,
};
/// So many of the entries that were left out are reported.
const MOST_SKIPPED: usize = 100;
/// A validator longer than this is not kept.
const LONGEST_VALIDATOR: usize = 1024;

/// Keeps a [`Catalog`] in step with the listings of providers.
///
/// Each provider is asked on its own schedule: every [`interval`](Self::interval), but not while its last listing is
/// fresh by its own word (`Cache-Control: max-age`, RFC 9111, up to a day), and sooner after a failure: after 30 s, then
/// 60 s, and so on up to the interval, or when its `Retry-After` says (up to a day). Where the price in a listing is what
/// makes a model free, the provider's word does not count, and it is asked every half hour at least: such a price is
/// believed for an hour after the listing was last read or found unchanged. Then its models are picked by name only, and
/// after a day they leave. It is asked only whether anything
/// has changed, where it gave a validator (`ETag`, `Last-Modified`; RFC 9110 13) and the catalog still has models of it.
///
/// What is known of a provider stays when it cannot be refreshed: on any status but success, a redirect, a timeout, a
/// body that is too large or no listing, an empty listing. A listing with entries of which none is free any more
/// takes all of its models out, and a model whose last day is over leaves even where no listing comes. Requests that
/// are under way at a swap end as they would have. After each swap the health map is [swept](HealthMap::sweep).
///
/// Any service can be the client; it is made ready for each request, and redirects are not followed. A
/// provider's credential goes to its own listing, and to its own account of that key, only. Of each listing that is
/// being read, [`max_listing`](Self::max_listing) bytes are held at most, and what is read of at most 20,000 entries;
/// afterwards its models, its validators, and at most 100 of the entries that were left out.
///
/// ```
/// use std::convert::Infallible;
///
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::service_fn;
/// use tower_free_models::{Body, Catalog, FreeRule, HealthMap, Provider, Refresh};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let acme = Provider::new("acme").base_url("https://acme.example/v1").free(FreeRule::All).build()?;
/// let (catalog, health) = (Catalog::new(), HealthMap::new());
///
/// // Any client.
/// let client = service_fn(|_: Request<Body>| async {
///     let listing = r#"{"data": [{"id": "small"}, {"id": "large"}]}"#;
///     Ok::<_, Infallible>(Response::new(Full::from(listing)))
/// });
///
/// let mut refresh = Refresh::new(catalog.clone(), health).provider(acme);
/// for report in refresh.once(client).await {
///     println!("{report}");
/// }
/// assert_eq!(catalog.snapshot().len(), 2);
///
/// // From here on in the background, for as long as the task lives.
/// let refreshing = tokio::spawn(refresh.on_report(|report| println!("{report}")).run(client));
/// # refreshing.abort();
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is refreshed until `once` or `run`"]
pub struct Refresh {
    catalog: Catalog,
    health: HealthMap,
    sources: Vec<Source>,
    pace: Pace,
    bounds: Bounds,
    rng: Rng,
    reports: Reports,
    on_report: Option<Listener>,
}

type Listener = Box<dyn FnMut(&Report) + Send>;

/// A provider, and what is kept from one time to the next.
#[derive(Debug)]
struct Source {
    provider: Provider,
    schedule: Schedule,
    /// Those of the listing that the catalog has.
    validators: Validators,
    /// When its listing was last read, or found unchanged.
    read_at: Option<SystemTime>,
    /// Why it could not be read the last time.
    error: Option<RefreshError>,
    account: Option<AccountStatus>,
}

impl Refresh {
    /// Refreshes this catalog, and sweeps this health map. There is no provider yet.
    pub fn new(catalog: Catalog, health: HealthMap) -> Self {
        Self {
            catalog,
            health,
            sources: Vec::new(),
            pace: Pace {
                interval: Duration::from_secs(600),
                jitter: 0.1,
                most_fresh: LONGEST,
            },
            bounds: Bounds {
                timeout: Duration::from_secs(30),
                size: 16 * 1024 * 1024,
            },
            rng: Rng::unpredictable(),
            reports: Reports::default(),
            on_report: None,
        }
    }

    /// Asks this provider too. It takes the place of one of the same name.
    pub fn provider(mut self, provider: Provider) -> Self {
        let source = Source {
            schedule: Schedule::due_at(Instant::now()),
            validators: Validators::default(),
            read_at: None,
            error: None,
            account: None,
            provider,
        };
        let name = source.provider.name();
        self.note_awaited(&source);
        let twin = |old: &&mut Source| old.provider.name() == name;
        match self.sources.iter_mut().find(twin) {
            Some(old) => *old = source,
            None => self.sources.push(source),
        }
        self
    }

    /// How often each provider is asked: 10 minutes by default, a second at least, a day at most, and half an hour at
    /// most where the price in its listing is what makes a model free.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.pace.interval = interval.clamp(SHORTEST, LONGEST);
        self
    }

    /// By what share of itself a wait may be longer or shorter by chance, so that many who started together do not ask
    /// together: 0.1 by default, 0.5 at most. While a listing is fresh by its own word the wait is longer only.
    pub fn jitter(mut self, share: f64) -> Self {
        // Whatever is no number is no jitter.
        self.pace.jitter = if share > 0.0 { share.min(0.5) } else { 0.0 };
        self
    }

    /// How long one listing may take, from the client's readiness to the last byte: 30 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.bounds.timeout = timeout;
        self
    }

    /// How large a listing may be, in bytes: 16 MiB by default. The largest known has half a megabyte.
    pub fn max_listing(mut self, bytes: usize) -> Self {
        self.bounds.size = bytes;
        self
    }

    /// Makes the jitter reproducible.
    pub fn seed(mut self, seed: u64) -> Self {
        self.rng = Rng::seeded(seed);
        self
    }

    /// Is told of every report, as soon as the catalog has what it speaks of. It must not block.
    pub fn on_report(mut self, tell: impl FnMut(&Report) + Send + 'static) -> Self {
        self.on_report = Some(Box::new(tell));
        self
    }

    /// The latest report of each provider, readable while [`run`](Self::run) goes on.
    #[must_use]
    pub fn reports(&self) -> Reports {
        self.reports.clone()
    }

    /// Asks all providers now and at once, whether they are due or not.
    ///
    /// When the last has answered or failed, their models are brought into the catalog, in the order in which the
    /// providers were given, so that a seeded choice among them is reproducible. Dropped before that, it has changed
    /// nothing.
    pub async fn once<S, B>(&mut self, client: S) -> Vec<Report>
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        self.once_within(client, Duration::MAX).await
    }

    /// The same, but waits for so long at most: providers that have neither answered nor failed by then are not reported,
    /// and are still due, so that [`run`](Self::run) asks them at once.
    pub async fn once_within<S, B>(&mut self, client: S, limit: Duration) -> Vec<Report>
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let until = later(Instant::now(), limit);
        let (catalog, bounds) = (self.catalog.clone(), self.bounds);
        let ask = |source: &Source| {
            let ask = Ask::now(source, catalog.clone(), bounds);
            Some(Box::pin(ask.send(client.clone())))
        };
        let mut asks: Vec<_> = self.sources.iter().map(ask).collect();
        let mut answers: Vec<_> = asks.iter().map(|_| None).collect();
        while asks.iter().any(Option::is_some) {
            let Ok((index, answer)) = timeout_at(until, first(&mut asks)).await else {
                break;
            };
            asks[index] = None;
            answers[index] = Some(answer);
        }
        let answers = answers.into_iter().enumerate();
        let reports = answers.filter_map(|(index, answer)| Some(self.settle(index, answer?)));
        let reports = reports.collect();
        self.expire();
        reports
    }

    /// Asks each provider whenever it is due, for ever.
    ///
    /// It never returns, and is stopped by being dropped, at any time: what is under way is then forgotten. The
    /// future is `Send` where the client's are.
    pub async fn run<S, B>(mut self, client: S) -> Infallible
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (catalog, bounds) = (self.catalog.clone(), self.bounds);
        let ask = |source: &Source| {
            let ask = Ask::when_due(source, catalog.clone(), bounds);
            Some(Box::pin(ask.send(client.clone())))
        };
        let mut asks: Vec<_> = self.sources.iter().map(ask).collect();
        loop {
            self.expire();
            if let Ok((index, answer)) = timeout(self.next_look(), first(&mut asks)).await {
                self.settle(index, answer);
                asks[index] = ask(&self.sources[index]);
            }
        }
    }

    /// Takes what a provider answered: into its schedule, the catalog, the health map and a report.
    fn settle(&mut self, index: usize, answered: Answered) -> Report {
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
        match judge(provider, answered.conditional, answered.listing, wall) {
            Ok(good) => {
                let fresh = freshness(&good.headers);
                source.schedule.succeeded(pace, fresh, now, chance);
                source.read_at = Some(wall);
                source.error = None;
                match good.listing {
                    Some(new) => {
                        source.validators = Validators::of(&good.headers);
                        swap = Some(self.catalog.swap(provider.name(), new.targets().to_vec()));
                        listing = new;
                    }
                    None => {
                        source.validators.update(&good.headers);
                        self.catalog.confirm(provider.name(), now);
                    }
                }
            }
            Err(bad) => {
                source.schedule.failed(pace, bad.pause, now, chance);
                source.error = Some(RefreshError::new(bad.fault, provider));
            }
        }
        // Now that the prices of an unchanged listing are confirmed.
        self.expire_of(index);
        self.report(index, swap, &listing)
    }

    /// Takes out what has expired, whether its listing can be read or not.
    fn expire(&mut self) {
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
    fn next_look(&self) -> Duration {
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
        // Another one's that is over already is not ours to wait for.
        waits
            .flatten()
            .filter(|wait| !wait.is_zero())
            .min()
            .map_or(Duration::MAX, |wait| wait.min(LOOK))
    }

    /// Tells the catalog whether a provider has no models because its listing could not be read.
    fn note_awaited(&self, source: &Source) {
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

impl fmt::Debug for Refresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh")
            .field("sources", &self.sources)
            .field("pace", &self.pace)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

/// All that it takes to ask one provider, apart from the client.
struct Ask {
    provider: Provider,
    catalog: Catalog,
    validators: Validators,
    bounds: Bounds,
    due: Option<Instant>,
}

/// What a provider answered.
struct Answered {
    /// It was only asked whether anything has changed.
    conditional: bool,
    listing: Result<Answer, Fault>,
    account: Option<Answer>,
}

impl Ask {
    fn now(source: &Source, catalog: Catalog, bounds: Bounds) -> Self {
        Self {
            provider: source.provider.clone(),
            catalog,
            validators: source.validators.clone(),
            bounds,
            due: None,
        }
    }

    fn when_due(source: &Source, catalog: Catalog, bounds: Bounds) -> Self {
        Self {
            due: Some(source.schedule.due),
            ..Self::now(source, catalog, bounds)
        }
    }

    async fn send<S, B>(self, client: S) -> Answered
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        if let Some(due) = self.due {
            sleep_until(due).await;
        }
        // Somebody else may have taken its models out: then "nothing has changed" would never bring them back.
        let is_there = self.catalog.snapshot().providers().contains(&self.provider);
        let conditional = is_there && !self.validators.is_none();
        let listing = match self.provider.listing_request() {
            Some(mut request) => {
                if conditional {
                    self.validators.ask(request.headers_mut());
                }
                get(client.clone(), request, self.bounds).await
            }
            None => Err(Fault::NoAddress),
        };
        let account = match account::request(&self.provider) {
            Some(request) => get(client, request, ACCOUNT).await.ok(),
            None => None,
        };
        Answered {
            conditional,
            listing,
            account,
        }
    }
}

/// By what a provider tells whether its listing has changed (RFC 9110 8.8). Both are sent, the older one for servers
/// that know no other (13.1.3).
#[derive(Clone, Debug, Default)]
struct Validators {
    etag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let value = |name: HeaderName| {
            let value = headers.get(name)?;
            (value.len() <= LONGEST_VALIDATOR).then(|| value.clone())
        };
        Self {
            etag: value(ETAG),
            modified: value(LAST_MODIFIED),
        }
    }

    /// What a 304 says replaces what was known (RFC 9111 4.3.4); what it leaves out stays.
    fn update(&mut self, headers: &HeaderMap) {
        let new = Self::of(headers);
        self.etag = new.etag.or_else(|| self.etag.take());
        self.modified = new.modified.or_else(|| self.modified.take());
    }

    const fn is_none(&self) -> bool {
        self.etag.is_none() && self.modified.is_none()
    }

    fn ask(self, headers: &mut HeaderMap) {
        let both = [
            (IF_NONE_MATCH, self.etag),
            (IF_MODIFIED_SINCE, self.modified),
        ];
        headers.extend(
            both.into_iter()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    }
}

/// An answer that says what is free there now.
struct Good {
    /// `None`: the same as before.
    listing: Option<Listing>,
    headers: HeaderMap,
}

/// An answer that does not.
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

fn judge(
    provider: &Provider,
    conditional: bool,
    answer: Result<Answer, Fault>,
    now: SystemTime,
) -> Result<Good, Bad> {
    let Answer {
        status,
        headers,
        body,
    } = answer?;
    if status == StatusCode::NOT_MODIFIED && conditional {
        return Ok(Good {
            listing: None,
            headers,
        });
    }
    if !status.is_success() {
        let pause = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok());
        return Err(Bad {
            fault: Fault::Status(status),
            pause: pause
                .and_then(|text| parse_reset(text, now))
                .unwrap_or_default(),
        });
    }
    let listing = provider.read_listing(&body, now).map_err(Fault::Listing)?;
    if listing.targets().is_empty() {
        check_emptiness(&listing)?;
    }
    Ok(Good {
        listing: Some(listing),
        headers,
    })
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

/// The first of these futures that is ready, and its place. With none, pending for ever.
async fn first<F: Future>(futures: &mut [Option<Pin<Box<F>>>]) -> (usize, F::Output) {
    poll_fn(|cx| {
        for (index, future) in futures.iter_mut().enumerate() {
            if let Some(Poll::Ready(output)) =
                future.as_mut().map(|future| future.as_mut().poll(cx))
            {
                return Poll::Ready((index, output));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::FreeRule;

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
