use std::{
    fmt,
    future::{Future, Ready, ready},
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;

use super::{body::ResponseBody, routing::Routing};
use crate::refusal::Refusal;

type Boxed<R, E> = Pin<Box<dyn Future<Output = Result<Response<ResponseBody<R>>, E>> + Send>>;

pin_project! {
    /// The response future of [`FreeModelRoute`](super::FreeModelRoute).
    ///
    /// Boxed only if the router has to collect the body itself.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, R, E> {
        #[pin]
        way: Way<F, R, E>,
    }
}

pin_project! {
    #[project = WayProj]
    enum Way<F, R, E> {
        // Without a routing, what passes.
        Calling { #[pin] future: F, routing: Option<Box<Routing>> },
        Collecting { future: Boxed<R, E> },
        Refused { response: Ready<Response<ResponseBody<R>>> },
    }
}

impl<F, R, E> ResponseFuture<F, R, E> {
    pub(super) const fn passing(future: F) -> Self {
        let routing = None;
        Self {
            way: Way::Calling { future, routing },
        }
    }

    pub(super) fn routed(future: F, routing: Routing) -> Self {
        let routing = Some(Box::new(routing));
        Self {
            way: Way::Calling { future, routing },
        }
    }

    pub(super) fn collecting(
        future: impl Future<Output = Result<Response<ResponseBody<R>>, E>> + Send + 'static,
    ) -> Self {
        let future = Box::pin(future);
        Self {
            way: Way::Collecting { future },
        }
    }

    pub(super) fn refused(refusal: Refusal) -> Self {
        let response = ready(refusal.into_response().map(ResponseBody::whole));
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
            WayProj::Calling { future, routing } => {
                let result = ready!(future.poll(cx));
                Poll::Ready(match routing.take() {
                    Some(routing) => routing.finish(result),
                    None => result.map(|response| response.map(ResponseBody::passing)),
                })
            }
            WayProj::Collecting { future } => future.as_mut().poll(cx),
            WayProj::Refused { response } => Pin::new(response).poll(cx).map(Ok),
        }
    }
}

impl<F, R, E> fmt::Debug for ResponseFuture<F, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
