//! What is refreshed, and how often.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{
    account::AccountStatus,
    fetch::Bounds,
    report::{RefreshError, Report, Reports},
    schedule::{LONGEST, Pace, SHORTEST, Schedule},
};
use crate::{catalog::Catalog, health::HealthMap, provider::Provider, rng::Rng};

/// Keeps a [`Catalog`] in step with the listings of providers.
///
/// Each provider is asked on its own schedule: every [`interval`](Self::interval), and sooner after a failure: after
/// 30 s, then 60 s, and so on up to the interval, or when its `Retry-After` says (up to a day). Where the price in a
/// listing is what makes a model free, the provider is asked every half hour at least: such a price is believed for an
/// hour after the listing was last read. Then its models are picked by name only, and after a day they leave.
///
/// What is known of a provider stays when it cannot be refreshed: on any status but success, a redirect, a timeout, a
/// body that is too large or no listing, an empty listing. A listing with entries of which none is free any more
/// takes all of its models out, and a model whose last day is over leaves even where no listing comes. Requests that
/// are under way at a swap end as they would have. After each swap the health map is [swept](HealthMap::sweep).
///
/// Any service can be the client; it is made ready for each request, and redirects are not followed. A
/// provider's credential goes to its own listing, and to its own account of that key, only. Of each listing that is
/// being read, [`max_listing`](Self::max_listing) bytes are held at most, and what is read of at most 20,000 entries;
/// afterwards its models, and at most 100 of the entries that were left out.
///
/// ```
/// use std::convert::Infallible;
///
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::service_fn;
/// use tower_free_models::{Body, Catalog, HealthMap, Provider, provider::FreeRule, refresh::Refresh};
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
    pub(super) catalog: Catalog,
    pub(super) health: HealthMap,
    pub(super) sources: Vec<Source>,
    pub(super) pace: Pace,
    pub(super) bounds: Bounds,
    pub(super) rng: Rng,
    pub(super) reports: Reports,
    pub(super) on_report: Option<Listener>,
}

type Listener = Box<dyn FnMut(&Report) + Send>;

/// A provider, and what is kept from one time to the next.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) provider: Provider,
    pub(super) schedule: Schedule,
    /// When its listing was last read.
    pub(super) read_at: Option<SystemTime>,
    /// Why it could not be read the last time.
    pub(super) error: Option<RefreshError>,
    pub(super) account: Option<AccountStatus>,
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

    /// By what share of itself a wait may be longer or shorter by chance, so that gateways that were started together do
    /// not ask together: 0.1 by default, 0.5 at most.
    pub fn jitter(mut self, share: f64) -> Self {
        // NaN is no jitter.
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

    /// A function that gets every report, as soon as the catalog has what it tells of. It must not block.
    pub fn on_report(mut self, tell: impl FnMut(&Report) + Send + 'static) -> Self {
        self.on_report = Some(Box::new(tell));
        self
    }

    /// The latest report of each provider, readable while [`run`](Self::run) goes on.
    #[must_use]
    pub fn reports(&self) -> Reports {
        self.reports.clone()
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
