use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use pin_project_lite::pin_project;

use super::body::ResponseBody;

pin_project! {
    /// The response future of [`Images`](super::Images).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, E> {
        #[pin]
        state: State<F, E>,
    }
}

type Translating<E> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, E>> + Send>>;

pin_project! {
    #[project = StateProj]
    enum State<F, E> {
        Passing { #[pin] future: F },
        Translating { future: Translating<E> },
    }
}

impl<F, E> ResponseFuture<F, E> {
    pub(super) const fn passing(future: F) -> Self {
        Self {
            state: State::Passing { future },
        }
    }

    pub(super) fn translating(
        future: impl Future<Output = Result<Response<Bytes>, E>> + Send + 'static,
    ) -> Self {
        Self {
            state: State::Translating {
                future: Box::pin(future),
            },
        }
    }
}

impl<F, E, B> Future for ResponseFuture<F, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Passing { future } => future
                .poll(cx)
                .map_ok(|response| response.map(ResponseBody::upstream)),
            StateProj::Translating { future } => future
                .as_mut()
                .poll(cx)
                .map_ok(|response| response.map(ResponseBody::whole)),
        }
    }
}

impl<F, E> fmt::Debug for ResponseFuture<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
