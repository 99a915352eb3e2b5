use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::body::{BoxError, poll_boxed};

pin_project! {
    /// The response body of [`Normalise`](crate::normalise::Normalise): that of the inner service, or a rewritten answer.
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B> {
        Passing { #[pin] body: B },
        Whole { data: Bytes, trailers: Option<HeaderMap> },
        // The body of the inner service ended in this error while it was read.
        Failed { error: Option<BoxError> },
    }
}

impl<B> ResponseBody<B> {
    pub(super) const fn passing(body: B) -> Self {
        Self {
            kind: Kind::Passing { body },
        }
    }

    pub(super) const fn whole(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self {
            kind: Kind::Whole { data, trailers },
        }
    }

    pub(super) fn failed(error: impl Into<BoxError>) -> Self {
        let error = Some(error.into());
        Self {
            kind: Kind::Failed { error },
        }
    }
}

/// An empty body, which some layers around this one want to answer with (tower-http's timeout).
impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::whole(Bytes::new(), None)
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(match self.project().kind.project() {
            KindProj::Passing { body } => {
                return poll_boxed(body, cx);
            }
            KindProj::Whole { data, .. } if !data.is_empty() => {
                Some(Ok(Frame::data(std::mem::take(data))))
            }
            KindProj::Whole { trailers, .. } => trailers.take().map(Frame::trailers).map(Ok),
            KindProj::Failed { error } => error.take().map(Err),
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Passing { body } => body.is_end_stream(),
            Kind::Whole { data, trailers } => data.is_empty() && trailers.is_none(),
            Kind::Failed { error } => error.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Passing { body } => body.size_hint(),
            Kind::Whole {
                data,
                trailers: None,
            } => SizeHint::with_exact(data.len() as u64),
            // HTTP/1 has no trailers after a body of a stated length.
            Kind::Whole { .. } | Kind::Failed { .. } => SizeHint::default(),
        }
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Passing { .. } => "passing",
            Kind::Whole { .. } => "whole",
            Kind::Failed { .. } => "failed",
        };
        f.debug_struct("ResponseBody")
            .field("kind", &kind)
            .finish_non_exhaustive()
    }
}
