use tower_layer::Layer;

use super::service::{Images, MAX_IMAGES_IN_FLIGHT};
use crate::byte_budget::ByteBudget;

/// Applies [`Images`] to a service: asks for images where a provider has another API for them than OpenAI's.
///
/// It stands inside a [`FreeModelRouteLayer`](crate::FreeModelRouteLayer) that is
/// [told so](crate::FreeModelRouteLayer::image_layer); [`stack()`](crate::stack()) has it in. Clones, and the services they
/// make, share one bound on the memory of images.
///
/// ```
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Full};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_free_models::{
///     Body, Catalog, Dialect, FreeModelRouteLayer, FreeRule, HealthMap, ImageApi, ImageLayer, Model, Provider,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// // A provider whose chat models draw.
/// let mut dialect = Dialect::default();
/// dialect.images = ImageApi::Chat;
/// let acme = Provider::new("acme")
///     .base_url("https://acme.example/v1")
///     .free(FreeRule::All)
///     .dialect(dialect)
///     .build()?;
/// let painter = Model::new("painter").output(["text", "image"]);
/// let catalog = Catalog::from_targets([acme.target(painter)?]);
///
/// let client = service_fn(async |request: Request<Body>| {
///     assert_eq!(request.uri(), "https://acme.example/v1/chat/completions");
///     let image = r#"{"image_url": {"url": "https://acme.example/fox.png"}}"#;
///     let body = format!(r#"{{"choices": [{{"message": {{"images": [{image}]}}}}]}}"#);
///     Response::builder().body(Full::from(body))
/// });
/// let service = FreeModelRouteLayer::new(catalog, HealthMap::new())
///     .image_layer(true)
///     .layer(ImageLayer::new().layer(client));
///
/// let request = Request::post("/v1/images/generations")
///     .header("content-type", "application/json")
///     .body(Full::from(r#"{"prompt": "a fox"}"#))?;
/// let answer = service.oneshot(request).await?.into_body().collect().await?.to_bytes();
/// assert!(std::str::from_utf8(&answer)?.contains(r#""data":[{"url":"https://acme.example/fox.png"}]"#));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ImageLayer {
    pub(super) memory: ByteBudget,
}

impl ImageLayer {
    /// The layer with its defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            memory: ByteBudget::of(MAX_IMAGES_IN_FLIGHT),
        }
    }

    /// The most bytes of images held at a time, over all requests that are translated: the upstream's answers from the
    /// moment they arrive, and the answer made of them until the client has read it. Beyond that a request is answered
    /// with 503 and `Retry-After: 1`, or with those of its images that are there. Default: 512 MB. The upstream's answers
    /// to one request may have 64 MiB together.
    #[must_use]
    pub fn max_images_in_flight(self, bytes: u64) -> Self {
        Self {
            memory: ByteBudget::of(bytes),
        }
    }
}

impl Default for ImageLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for ImageLayer {
    type Service = Images<S>;

    fn layer(&self, inner: S) -> Images<S> {
        Images {
            inner,
            memory: self.memory.clone(),
        }
    }
}
