use std::{fmt, sync::Arc};

use tower_layer::Layer;

use super::{router::Router, service::FreeModelRoute};
use crate::{catalog::Catalog, health::HealthMap, rng::Rng, select::Select, upstream::Classify};

/// Applies [`FreeModelRoute`] to a service.
///
/// Clones, and the services they make, share one catalog, one health map, one source of chance and one
/// bound on the memory of bodies in flight.
///
/// They also share the memory of which provider made which response of the Responses API, so that a request with a
/// `previous_response_id` finds it again: the last 4,096 responses, which takes 2 MB at most.
///
/// It can stand alone, without a [`FallbackLayer`](crate::FallbackLayer): then each request is sent once, to one model.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_free_models::{
///     Body, Catalog, FreeModelRouteLayer, HealthMap, Model, Provider, provider::FreeRule,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let acme = Provider::new("acme").base_url("https://acme.example/v1").free(FreeRule::All).build()?;
/// let catalog = Catalog::from_targets([acme.target(Model::new("small"))?]);
/// let client = service_fn(|request: Request<Body>| async move {
///     assert_eq!(request.uri(), "https://acme.example/v1/chat/completions");
///     Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
/// });
/// let service = FreeModelRouteLayer::new(catalog, HealthMap::new()).layer(client);
/// let request = Request::post("/v1/chat/completions").body(Full::from(r#"{"messages": []}"#))?;
/// let response = service.oneshot(request).await?;
/// assert_eq!(response.headers()["x-free-model"], "small");
/// # Ok(())
/// # }
/// ```
///
/// See the [crate docs](crate) for a complete example.
#[derive(Clone)]
pub struct FreeModelRouteLayer {
    router: Arc<Router>,
}

impl FreeModelRouteLayer {
    /// Routes to the targets of `catalog` that are healthy in `health`: at random, preferring a model that the request
    /// names. About one request in ten goes to a target whose guessed cooldown has ended and which has not answered since, if
    /// there is one that fits the request as well.
    #[must_use]
    pub fn new(catalog: Catalog, health: HealthMap) -> Self {
        Self {
            router: Arc::new(Router::new(catalog, health)),
        }
    }

    /// The strategy that picks among equally good targets. Default: [`Random`](crate::select::Random).
    #[must_use]
    pub fn select(self, select: impl Select + 'static) -> Self {
        self.with(|router| router.select = Some(Arc::new(select)))
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
    /// a request is answered with 400; a name that means any model is refused in the same way.
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
    /// evidence, and no answer is looked into. Default: [`DefaultClassify`](crate::classify::DefaultClassify).
    #[must_use]
    pub fn classify(self, classify: impl Classify + 'static) -> Self {
        self.with(|router| router.classify = Arc::new(classify))
    }

    /// Whether an [`ImageLayer`](crate::ImageLayer) is inside, so that `/images/generations` may also go to targets whose
    /// provider has [another API](crate::provider::ImageApi) for images than OpenAI's. Where it is said to be inside and is not, such
    /// a request is answered with 500. Default: no; [`stack()`](crate::stack()) has that layer in and says so.
    #[must_use]
    pub fn image_layer(self, is_inside: bool) -> Self {
        self.with(|router| router.image_layer = is_inside)
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Router)) -> Self {
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
