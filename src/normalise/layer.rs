use tower_layer::Layer;

use super::service::Normalise;

/// Applies [`Normalise`] to a service: whole answers come out as clients in typed languages can read them.
///
/// It stands outside of a [`FallbackLayer`](crate::FallbackLayer), as [`stack()`](crate::stack()) has it. The fallback
/// reads an answer before it passes it on, and marks one that a strict client would fail at; this layer rewrites the
/// marked ones and passes everything else. Without a fallback inside no answer is marked, and the layer does nothing.
///
/// It has no settings. Without this layer answers pass as the upstreams wrote them.
///
/// ```
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Full};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_free_models::{
///     Body, Catalog, FallbackLayer, FreeModelRouteLayer, HealthMap, Model, NormaliseLayer, Provider,
///     provider::FreeRule,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let acme = Provider::new("acme").free(FreeRule::All).build()?;
/// let catalog = Catalog::from_targets([acme.target(Model::new("small"))?]);
///
/// // An upstream that answers without an `id`, and with content in parts.
/// let upstream = service_fn(|_: Request<Body>| async {
///     let answer = r#"{"choices": [{"message": {"content": [{"type": "text", "text": "Hi"}]}}]}"#;
///     Ok::<_, std::convert::Infallible>(Response::new(Full::from(answer)))
/// });
/// let service = ServiceBuilder::new()
///     .layer(NormaliseLayer::new())
///     .layer(FallbackLayer::new())
///     .layer(FreeModelRouteLayer::new(catalog, HealthMap::new()))
///     .service(upstream);
///
/// let request = Request::post("/v1/chat/completions")
///     .header("content-type", "application/json")
///     .body(Full::from(r#"{"messages": [{"role": "user", "content": "Hello"}]}"#))?;
/// let response = service.oneshot(request).await?;
/// let changed = response.headers()["x-free-normalised"].to_str()?.to_owned();
/// assert!(changed.contains("content") && changed.contains("id"));
/// let answer = response.into_body().collect().await?.to_bytes();
/// let answer: serde_json::Value = serde_json::from_slice(&answer)?;
/// assert_eq!(answer["choices"][0]["message"]["content"], "Hi");
/// assert!(answer["id"].is_string());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct NormaliseLayer(());

impl NormaliseLayer {
    /// The layer.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for NormaliseLayer {
    type Service = Normalise<S>;

    fn layer(&self, inner: S) -> Normalise<S> {
        Normalise::new(inner)
    }
}
