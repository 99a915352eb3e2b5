use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tower_service::Service;

use super::{attempts, body::ResponseBody, config::Config, future::ResponseFuture};
use crate::{
    accessors::accessors,
    attempt_slot::RoutedWithoutFallback,
    body::{Body, BoxError},
    refusal::Refusal,
    request::admit,
};

/// Sends a request again, to another target, until one answers; and finishes each attempt with what it came to.
///
/// It stands around a [`FreeModelRoute`](crate::FreeModelRoute). Before the first byte of an answer has been passed on,
/// any failure leads to another attempt; from then on the upstream's bytes pass unchanged. What is not a POST to a routed
/// endpoint passes through untouched.
///
/// # Errors
///
/// Those of the inner service: where every attempt ended in one, the last of them; and those of its
/// `poll_ready`. Everything else is a response: an upstream's, or a refusal in OpenAI's error format: 400, 408, 413,
/// 415, 429, 503, 504, or a 500 where the layers are in the wrong order.
///
/// # Cancel safety
///
/// Dropping the response future, or the response body, drops the upstream at once, in every stage, and ends
/// the attempt as abandoned: that counts neither for nor against its target.
///
/// # Memory
///
/// The request body is held once, until an answer begins. Of an answer that is being looked at, at most the
/// peek limit is held, and at most 64 KiB of an error.
///
/// See the [crate docs](crate) for a complete example.
#[derive(Clone)]
pub struct Fallback<S> {
    pub(super) inner: S,
    pub(super) config: Arc<Config>,
}

impl<S> Fallback<S> {
    /// A fallback with the defaults of [`FallbackLayer`](crate::FallbackLayer), which has the settings.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            config: Arc::default(),
        }
    }

    accessors!();
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Fallback<S>
where
    S: Service<Request<Body>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: http_body::Body<Data = Bytes> + Send + 'static,
    ReqBody::Error: Into<BoxError>,
    ResBody: http_body::Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (parts, body) = request.into_parts();
        match admit(&parts) {
            Ok(None) => ResponseFuture::passing(
                self.inner
                    .call(Request::from_parts(parts, Body::stream(body))),
            ),
            Ok(Some(_)) if parts.extensions.get::<RoutedWithoutFallback>().is_some() => {
                ResponseFuture::refused(wrong_order())
            }
            Ok(Some(admitted)) => {
                // The instance that was polled ready goes with the request; the clone takes its place.
                let clone = self.inner.clone();
                let readied = std::mem::replace(&mut self.inner, clone);
                let config = Arc::clone(&self.config);
                ResponseFuture::routed(attempts::answer(config, admitted, parts, body, readied))
            }
            Err(refusal) => ResponseFuture::refused(refusal),
        }
    }
}

fn wrong_order() -> Refusal {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "layers_in_wrong_order",
        "FallbackLayer is inside FreeModelRouteLayer, where it cannot choose another model. Put it outside: use `stack`, \
         or add FallbackLayer to the ServiceBuilder before FreeModelRouteLayer.",
    )
}

impl<S> fmt::Debug for Fallback<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}
