use std::{
    fmt,
    future::{Future, Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use pin_project_lite::pin_project;

use super::body::ResponseBody;
use crate::refusal::Refusal;

type Boxed<R, E> = Pin<Box<dyn Future<Output = Result<Response<ResponseBody<R>>, E>> + Send>>;

pin_project! {
    /// The response future of [`Fallback`](super::Fallback).
    ///
    /// A request that is not routed is not boxed; a routed one is, once for all its attempts.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, R, E> {
        #[pin]
        way: Way<F, R, E>,
    }
}

pin_project! {
    #[project = WayProj]
    enum Way<F, R, E> {
        Passing { #[pin] future: F },
        Routed { future: Boxed<R, E> },
        Refused { response: Ready<Response<ResponseBody<R>>> },
    }
}

impl<F, R, E> ResponseFuture<F, R, E> {
    pub(super) const fn passing(future: F) -> Self {
        let way = Way::Passing { future };
        Self { way }
    }

    pub(super) fn routed(
        future: impl Future<Output = Result<Response<ResponseBody<R>>, E>> + Send + 'static,
    ) -> Self {
        let future = Box::pin(future);
        Self {
            way: Way::Routed { future },
        }
    }

    pub(super) fn refused(refusal: Refusal) -> Self {
        let response = ready(refusal.into_response().map(ResponseBody::bytes));
        Self {
            way: Way::Refused { response },
        }
    }
}

impl<F, R, E> Future for ResponseFuture<F, R, E>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().way.project() {
            WayProj::Passing { future } => {
                let passing = |response: Response<R>| response.map(ResponseBody::passing);
                future.poll(cx).map_ok(passing)
            }
            WayProj::Routed { future } => future.as_mut().poll(cx),
            WayProj::Refused { response } => Pin::new(response).poll(cx).map(Ok),
        }
    }
}

impl<F, R, E> fmt::Debug for ResponseFuture<F, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
