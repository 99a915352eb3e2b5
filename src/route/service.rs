use std::{
    any::Any,
    fmt, mem,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use tower_service::Service;

use super::{body::ResponseBody, future::ResponseFuture, router::Router};
use crate::{
    accessors::accessors,
    attempt_slot::AttemptSlot,
    body::{Body, BoxError},
    catalog::Catalog,
    health::HealthMap,
    ready_service::{holding, ready},
    refusal::Refusal,
    request::{Admitted, Parsed, admit},
};

/// Rewrites the `model` of outgoing OpenAI-format requests to a free model that can serve them and is healthy now.
///
/// What is not a POST to a routed endpoint passes through untouched.
///
/// # Errors
///
/// Those of the inner service, as they are. What the router itself refuses is a response in OpenAI's error
/// format: 400, 404, 408, 413, 415, 429, 503, 508; and 500 where an [`ImageLayer`](crate::ImageLayer) is
/// [said](crate::FreeModelRouteLayer::image_layer) to be inside and is not.
///
/// # Cancel safety
///
/// Dropping the response future drops the call of the inner service and ends the attempt as abandoned.
///
/// # Memory
///
/// Under a [`Fallback`](crate::Fallback) the router holds nothing, and the fallback's bounds apply. A router that stands
/// alone collects request bodies itself: at most 64 MB each (else 413), within 30 seconds (else 408), and 512 MB over all
/// requests that have not been answered or sent (else 503). Answers pass.
///
/// See the [crate docs](crate) for a complete example.
#[derive(Clone)]
pub struct FreeModelRoute<S> {
    pub(super) inner: S,
    pub(super) router: Arc<Router>,
}

impl<S> FreeModelRoute<S> {
    /// A router with the defaults of [`FreeModelRouteLayer`](crate::FreeModelRouteLayer), which has the settings.
    #[must_use]
    pub fn new(inner: S, catalog: Catalog, health: HealthMap) -> Self {
        Self {
            inner,
            router: Arc::new(Router::new(catalog, health)),
        }
    }

    accessors!();
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for FreeModelRoute<S>
where
    S: Service<Request<Body>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: http_body::Body<Data = Bytes> + Send + 'static,
    ReqBody::Error: Into<BoxError>,
    ResBody: http_body::Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (parts, body) = request.into_parts();
        if let Some(parsed) = read_by_fallback(&parts, &body) {
            let routed = self
                .router
                .route(parts, &parsed.envelope, &parsed.body, None);
            return match routed {
                Ok((request, routing)) => ResponseFuture::routed(self.inner.call(request), routing),
                Err(refusal) => ResponseFuture::refused(refusal),
            };
        }
        match admit(&parts) {
            Ok(None) => {
                let request = Request::from_parts(parts, Body::stream(body));
                ResponseFuture::passing(self.inner.call(request))
            }
            Ok(Some(admitted)) => {
                // The instance that was polled ready goes with the request; the clone takes its place.
                let clone = self.inner.clone();
                let readied = mem::replace(&mut self.inner, clone);
                let router = Arc::clone(&self.router);
                ResponseFuture::collecting(collect(router, admitted, parts, body, readied))
            }
            Err(refusal) => ResponseFuture::refused(refusal),
        }
    }
}

/// What a fallback around the router has read of this very request. Nothing, if a layer in between has changed it.
fn read_by_fallback<B: 'static>(parts: &Parts, body: &B) -> Option<Arc<Parsed>> {
    let slot = parts.extensions.get::<AttemptSlot>()?;
    let body = (body as &dyn Any).downcast_ref::<Body>()?.as_whole()?;
    let parsed = slot.session().lock().parsed.clone();
    parsed.filter(|parsed| parsed.is_of(parts, body))
}

/// Routes a request whose body the router has to collect itself.
async fn collect<S, B, R>(
    router: Arc<Router>,
    admitted: Admitted,
    parts: Parts,
    body: B,
    readied: S,
) -> Result<Response<ResponseBody<R>>, S::Error>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let refuse = |refusal: Refusal| Ok(refusal.into_response().map(ResponseBody::whole));
    let spare = readied.clone();
    let mut readied = Some(readied);
    let collected = {
        let bounds = router.bounds_for(&parts);
        let collect = pin!(bounds.collect(body, admitted.assembly()));
        holding(&mut readied, collect).await
    };
    let (mut body, held) = match collected {
        Ok(collected) => collected,
        Err(refusal) => return refuse(refusal),
    };
    let envelope = match admitted.read(&mut body) {
        Ok(envelope) => envelope,
        Err(refusal) => return refuse(refusal),
    };
    // The target is picked when the request can be sent, and not before.
    let mut service = match readied {
        Some(service) => service,
        None => ready(spare).await?,
    };
    let (request, routing) = match router.route(parts, &envelope, &body, Some(held)) {
        Ok(routed) => routed,
        Err(refusal) => return refuse(refusal),
    };
    let call = service.call(request);
    // While the upstream answers, the bytes are held by the request alone, which holds their place in memory.
    drop((service, envelope, body));
    routing.finish(call.await)
}

impl<S> fmt::Debug for FreeModelRoute<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.router.debug("FreeModelRoute", f)
    }
}
