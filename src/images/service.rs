use std::{
    fmt, mem,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

use super::{body::ResponseBody, exchange::translate, future::ResponseFuture, handover::Handover};
use crate::{accessors::accessors, body::Body, byte_budget::ByteBudget};

/// With ten images of a megabyte each and the answer made of them, some twenty requests at a time.
pub(super) const MAX_IMAGES_IN_FLIGHT: u64 = 512_000_000;

/// Translates requests for images that the router has sent to a provider with another API for them, and passes all other
/// requests on untouched. Made by [`ImageLayer`](crate::ImageLayer).
///
/// See the [module docs](crate::images) for what is translated and how.
///
/// # Errors
///
/// Those of the inner service, as they are, where they come before the first image. All else is a response: the
/// upstream's own where it says why there is no image, or an error in OpenAI's format: 400 where the API cannot do what is
/// asked, 404 where the server does not have the model, 502 where an answer has no image in it, 503 where images of other
/// requests take all the memory that images may take.
///
/// # Cancel safety
///
/// Dropping the response future drops the call of the inner service and leaves the [queue](crate::ImageQueue) of the
/// server.
///
/// # Memory
///
/// The answers to one request, 64 MiB at most, and the answer that is made of them, together bounded over all requests by
/// [`max_images_in_flight`](crate::ImageLayer::max_images_in_flight).
#[derive(Clone)]
pub struct Images<S> {
    pub(super) inner: S,
    pub(super) memory: ByteBudget,
}

impl<S> Images<S> {
    /// Asks `inner` for images, with the defaults of [`ImageLayer`](crate::ImageLayer).
    #[must_use]
    pub fn new(inner: S) -> Self {
        let memory = ByteBudget::of(MAX_IMAGES_IN_FLIGHT);
        Self { inner, memory }
    }

    accessors!();
}

impl<S, ResBody> Service<Request<Body>> for Images<S>
where
    S: Service<Request<Body>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    ResBody: http_body::Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(handover) = request.extensions_mut().remove::<Handover>() else {
            return ResponseFuture::passing(self.inner.call(request));
        };
        // The instance that was polled ready goes with the request; the clone takes its place.
        let clone = self.inner.clone();
        let readied = mem::replace(&mut self.inner, clone);
        let memory = self.memory.clone();
        ResponseFuture::translating(translate(handover, request, memory, readied))
    }
}

impl<S> fmt::Debug for Images<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Images")
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}
