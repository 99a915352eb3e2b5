use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

use super::{body::ResponseBody, future::ResponseFuture};
use crate::{accessors::accessors, body::BoxError};

/// Rewrites whole answers that strict clients fail at. Made by [`NormaliseLayer`](crate::NormaliseLayer).
///
/// See the [module docs](crate::normalise) for what is changed.
///
/// # Errors
///
/// Those of the inner service, as they are.
///
/// # Cancel safety
///
/// Dropping the response future or the response body drops that of the inner service.
///
/// # Memory
///
/// An answer that is rewritten is held twice while that is done: the original, of at most the fallback's
/// [peek limit](crate::FallbackLayer::peek_limit), and the copy.
#[derive(Clone, Copy, Debug)]
pub struct Normalise<S> {
    inner: S,
}

impl<S> Normalise<S> {
    /// Rewrites the answers of `inner`.
    pub const fn new(inner: S) -> Self {
        Self { inner }
    }

    accessors!();
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Normalise<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: http_body::Body<Data = Bytes>,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        ResponseFuture::new(self.inner.call(request))
    }
}
