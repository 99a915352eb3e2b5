use std::{fmt, sync::Arc, time::Duration};

use http::HeaderValue;
use tower_layer::Layer;

use super::service::FreeModelRoute;
use crate::{
    catalog::Catalog,
    health::HealthMap,
    intake::Intake,
    rng::{Rng, identity},
    select::{Random, Select},
};

/// Applies [`FreeModelRoute`] to a service.
///
/// Clones, and the services they make, share one catalog, one health map, one source of chance and one
/// bound on the memory of bodies in flight.
///
/// See the [crate docs](crate) for a complete example.
#[derive(Clone)]
pub struct FreeModelRouteLayer {
    pub(super) shared: Arc<Shared>,
}

/// What a router goes by.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) catalog: Catalog,
    pub(super) health: HealthMap,
    pub(super) select: Arc<dyn Select>,
    pub(super) rng: Rng,
    pub(super) intake: Intake,
    /// For what comes from a fallback, which has its own bounds.
    pub(super) inner_intake: Intake,
    pub(super) prefer_requested: bool,
    pub(super) identity: HeaderValue,
}

impl FreeModelRouteLayer {
    /// Routes to the targets of `catalog` that are healthy in `health`: uniformly at random, preferring a
    /// model that the request names.
    #[must_use]
    pub fn new(catalog: Catalog, health: HealthMap) -> Self {
        let identity = format!("{:016x}", identity());
        Self {
            shared: Arc::new(Shared {
                catalog,
                health,
                select: Arc::new(Random),
                rng: Rng::unpredictable(),
                intake: Intake::default(),
                inner_intake: Intake::unbounded(),
                prefer_requested: true,
                // Hexadecimal digits are always fit for a header.
                identity: HeaderValue::from_str(&identity).unwrap_or(HeaderValue::from_static("0")),
            }),
        }
    }

    /// The strategy that picks among equally good targets. Default: [`Random`].
    #[must_use]
    pub fn select(self, select: impl Select + 'static) -> Self {
        self.with(|shared| shared.select = Arc::new(select))
    }

    /// Makes the choice reproducible: requests that come one after the other get the same targets again from
    /// a router with the same seed, the same catalog and the same answers. Default: unpredictable.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.with(|shared| shared.rng = Rng::seeded(seed))
    }

    /// Whether a `model` that names a model of the pool is tried first. Default: yes. A request with
    /// `x-free-pin: true` insists on its model in any case.
    #[must_use]
    pub fn prefer_requested(self, prefer: bool) -> Self {
        self.with(|shared| shared.prefer_requested = prefer)
    }

    /// The largest request body, in bytes; a larger one is answered with 413. Default: 64 MB.
    #[must_use]
    pub fn max_body(self, bytes: u64) -> Self {
        self.with(|shared| shared.intake.max_body = bytes)
    }

    /// How long the upload of a body may take; a slower one is answered with 408. Default: 30 s.
    #[must_use]
    pub fn body_timeout(self, limit: Duration) -> Self {
        self.with(|shared| shared.intake.body_timeout = limit)
    }

    /// The most bytes of request bodies held at a time, over all requests; beyond that requests are answered
    /// with 503. Default: 512 MB.
    #[must_use]
    pub fn max_bodies_in_flight(self, bytes: u64) -> Self {
        self.with(|shared| shared.intake = shared.intake.clone().max_in_flight(bytes))
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::make_mut(&mut self.shared));
        self
    }
}

impl<S> Layer<S> for FreeModelRouteLayer {
    type Service = FreeModelRoute<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FreeModelRoute {
            inner,
            shared: Arc::clone(&self.shared),
        }
    }
}

impl fmt::Debug for FreeModelRouteLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug("FreeModelRouteLayer", f)
    }
}

impl Shared {
    pub(super) fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("catalog", &self.catalog)
            .field("health", &self.health)
            .field("prefer_requested", &self.prefer_requested)
            .finish_non_exhaustive()
    }
}
