use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

use crate::{
    accessors::accessors,
    body::{Body, BoxError},
    route::{body::ResponseBody, future::ResponseFuture, router::Router},
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
/// A request's body is held until it is answered or has been sent: see
/// [`max_bodies_in_flight`](crate::FreeModelRouteLayer::max_bodies_in_flight). Answers pass.
///
/// See the [crate docs](crate) for a complete example.
#[derive(Clone)]
pub struct FreeModelRoute<S> {
    pub(crate) inner: S,
    pub(crate) router: Arc<Router>,
}

impl<S> FreeModelRoute<S> {
    accessors!();
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for FreeModelRoute<S>
where
    S: Service<Request<Body>, Response = Response<ResBody>> + Clone,
    ReqBody: http_body::Body<Data = Bytes> + Send + 'static,
    ReqBody::Error: Into<BoxError>,
    ResBody: http_body::Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (parts, body) = request.into_parts();
        match self.router.admit(&parts) {
            Ok(None) => ResponseFuture::passing(
                self.inner
                    .call(Request::from_parts(parts, Body::stream(body))),
            ),
            Ok(Some(endpoint)) => {
                // The instance that was polled ready goes with the request; the clone takes its place.
                let clone = self.inner.clone();
                let readied = std::mem::replace(&mut self.inner, clone);
                ResponseFuture::routing(Arc::clone(&self.router), endpoint, parts, body, readied)
            }
            Err(refusal) => ResponseFuture::refused(refusal),
        }
    }
}

impl<S> fmt::Debug for FreeModelRoute<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.router.debug("FreeModelRoute", f)
    }
}
