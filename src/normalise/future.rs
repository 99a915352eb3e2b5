use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::Body;
use http_body_util::{BodyExt, Collected, combinators::Collect};
use pin_project_lite::pin_project;

use super::{body::ResponseBody, mend::normalise};
use crate::{
    body::BoxError,
    headers::NORMALISED,
    upstream::{Irregular, relabel},
};

pin_project! {
    /// The response future of [`Normalise`](crate::normalise::Normalise).
    pub struct ResponseFuture<F, B>
    where
        B: Body,
    {
        #[pin]
        state: State<F, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B>
    where
        B: Body,
    {
        Calling { #[pin] future: F },
        // The answer has to be rewritten. The fallback has all of it, so this takes one poll.
        Reading { head: Response<()>, #[pin] body: Collect<B> },
    }
}

impl<F, B: Body> ResponseFuture<F, B> {
    pub(super) const fn new(future: F) -> Self {
        Self {
            state: State::Calling { future },
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Calling { future } => {
                    let response = ready!(future.poll(cx))?;
                    if response.extensions().get::<Irregular>().is_none() {
                        return Poll::Ready(Ok(response.map(ResponseBody::passing)));
                    }
                    let (head, body) = response.into_parts();
                    state.set(State::Reading {
                        head: Response::from_parts(head, ()),
                        body: body.collect(),
                    });
                }
                StateProj::Reading { head, body } => {
                    let read = ready!(body.poll(cx));
                    return Poll::Ready(Ok(rewritten(std::mem::take(head), read)));
                }
            }
        }
    }
}

/// The response with its body normalised, and a head that fits that body and names the fields that were changed.
fn rewritten<B, E: Into<BoxError>>(
    response: Response<()>,
    read: Result<Collected<Bytes>, E>,
) -> Response<ResponseBody<B>> {
    let (mut head, ()) = response.into_parts();
    let irregular = head.extensions.remove::<Irregular>();
    let read = match read {
        Ok(read) => read,
        Err(error) => return Response::from_parts(head, ResponseBody::failed(error)),
    };
    let trailers = read.trailers().cloned();
    let mut data = read.to_bytes();
    if let Some(normal) = irregular.and_then(|irregular| normalise(&irregular, &data)) {
        data = normal.body;
        relabel(&mut head.headers, data.len());
        if trailers.is_some() {
            // HTTP/1 has trailers only where the length is not stated.
            head.headers.remove(header::CONTENT_LENGTH);
        }
        if let Ok(changed) = HeaderValue::from_str(&normal.changed.join(", ")) {
            head.headers.insert(NORMALISED, changed);
        }
    }
    Response::from_parts(head, ResponseBody::whole(data, trailers))
}

impl<F, B: Body> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
