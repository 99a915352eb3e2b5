use std::{fmt, sync::Arc, time::Duration};

use http::HeaderValue;
use tower_layer::Layer;

use crate::{
    catalog::Catalog,
    health::HealthMap,
    request::Intake,
    rng::{Rng, identity},
    route::{response_owners::Responses, router::Router, service::FreeModelRoute},
    select::{Random, Select},
    upstream::{Classify, DefaultClassify},
};

/// Applies [`FreeModelRoute`] to a service.
///
/// Clones, and the services they make, share one catalog, one health map, one source of chance and one
/// bound on the memory of bodies in flight.
///
/// They also share the memory of which provider made which response of the Responses API, so that a request with a
/// `previous_response_id` finds it again: the last 4,096 responses, which takes 2 MB at most.
///
/// See the [crate docs](crate) for a complete example.
#[derive(Clone)]
pub struct FreeModelRouteLayer {
    pub(crate) router: Arc<Router>,
}

impl FreeModelRouteLayer {
    /// Routes to the targets of `catalog` that are healthy in `health`: uniformly at random, preferring a
    /// model that the request names.
    #[must_use]
    pub fn new(catalog: Catalog, health: HealthMap) -> Self {
        let identity = format!("{:016x}", identity());
        Self {
            router: Arc::new(Router {
                catalog,
                health,
                select: Arc::new(Random),
                classify: Arc::new(DefaultClassify),
                rng: Rng::unpredictable(),
                intake: Intake::default(),
                inner_intake: Intake::unbounded(),
                image_layer: false,
                prefer_requested: true,
                embedding_model: None,
                responses: Responses::default(),
                // Hexadecimal digits are always fit for a header.
                identity: HeaderValue::from_str(&identity).unwrap_or(HeaderValue::from_static("0")),
            }),
        }
    }

    /// The strategy that picks among equally good targets. Default: [`Random`].
    #[must_use]
    pub fn select(self, select: impl Select + 'static) -> Self {
        self.with(|router| router.select = Arc::new(select))
    }

    /// Makes the choice reproducible: requests that come one after the other get the same targets again from
    /// a router with the same seed, the same catalog and the same answers. Default: unpredictable.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.with(|router| router.rng = Rng::seeded(seed))
    }

    /// Whether a `model` that names a model of the pool is tried first. Default: yes. A request with
    /// `x-free-pin: true` insists on its model in any case.
    #[must_use]
    pub fn prefer_requested(self, prefer: bool) -> Self {
        self.with(|router| router.prefer_requested = prefer)
    }

    /// The model that embedding requests get which name none, as its id or as `provider/id`. Default: none, and such
    /// a request is answered with 400; a name that means any model is none too.
    ///
    /// Vectors of different models cannot be compared, so `/embeddings` is never given another model than the one
    /// that is asked for: it falls back only to the same model at another provider.
    #[must_use]
    pub fn embedding_model(self, model: impl Into<String>) -> Self {
        let model = model.into();
        self.with(|router| router.embedding_model = Some(model))
    }

    /// How failures are told apart, unless the [`FallbackLayer`](crate::FallbackLayer) around this one has
    /// [a setting of its own](crate::FallbackLayer::classify). Without a `FallbackLayer`, only the head of a response is
    /// evidence, and no answer is looked into. Default: [`DefaultClassify`].
    #[must_use]
    pub fn classify(self, classify: impl Classify + 'static) -> Self {
        self.with(|router| router.classify = Arc::new(classify))
    }

    /// The largest request body, in bytes; a larger one is answered with 413. Default: 64 MB.
    #[must_use]
    pub fn max_body(self, bytes: u64) -> Self {
        self.with(|router| router.intake.max_body = bytes)
    }

    /// How long the upload of a body may take; a slower one is answered with 408. Default: 30 s.
    #[must_use]
    pub fn body_timeout(self, limit: Duration) -> Self {
        self.with(|router| router.intake.body_timeout = limit)
    }

    /// The most bytes of request bodies held at a time, over all requests; beyond that requests are answered
    /// with 503. Unless it is alone, a body may hold no more than it leaves free, and the last eighth is for bodies of at
    /// most a 512th, so that a few large ones do not shut out the small. Default: 512 MB.
    #[must_use]
    pub fn max_bodies_in_flight(self, bytes: u64) -> Self {
        self.with(|router| router.intake = router.intake.clone().max_in_flight(bytes))
    }

    /// Whether an [`ImageLayer`](crate::ImageLayer) is inside, so that `/images/generations` may also go to targets whose
    /// provider has [another API](crate::ImageApi) for images than OpenAI's. Where it is said to be inside and is not, such
    /// a request is answered with 500. Default: no; [`stack()`](crate::stack()) has that layer in and says so.
    #[must_use]
    pub fn image_layer(self, is_inside: bool) -> Self {
        self.with(|router| router.image_layer = is_inside)
    }

    fn with(mut self, change: impl FnOnce(&mut Router)) -> Self {
        change(Arc::make_mut(&mut self.router));
        self
    }
}

impl<S> Layer<S> for FreeModelRouteLayer {
    type Service = FreeModelRoute<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FreeModelRoute {
            inner,
            router: Arc::clone(&self.router),
        }
    }
}

impl fmt::Debug for FreeModelRouteLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.router.debug("FreeModelRouteLayer", f)
    }
}
