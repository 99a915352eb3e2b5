use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::responses::Learner;

pin_project! {
    /// The response body of [`FreeModelRoute`](super::FreeModelRoute): the upstream's, or one of the router's
    /// own: a refusal, or a translated answer.
    #[project = ResponseBodyProj]
    #[derive(Clone)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Clone)]
    enum Kind<B> {
        Upstream { #[pin] body: B, learner: Option<Learner> },
        Whole { bytes: Option<Bytes> },
    }
}

impl<B> ResponseBody<B> {
    pub(crate) const fn upstream(body: B) -> Self {
        Self {
            kind: Kind::Upstream {
                body,
                learner: None,
            },
        }
    }

    /// An upstream's body whose beginning is read as it passes.
    pub(super) const fn learnt(body: B, learner: Learner) -> Self {
        Self {
            kind: Kind::Upstream {
                body,
                learner: Some(learner),
            },
        }
    }

    pub(crate) const fn whole(bytes: Bytes) -> Self {
        Self {
            kind: Kind::Whole { bytes: Some(bytes) },
        }
    }
}

/// An empty body, which some layers around this one want to answer with (tower-http's timeout).
impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self {
            kind: Kind::Whole { bytes: None },
        }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProj::Upstream { mut body, learner } => {
                let polled = body.as_mut().poll_frame(cx);
                if let (Poll::Ready(frame), Some(learner)) = (&polled, learner) {
                    let data = frame
                        .as_ref()
                        .and_then(|frame| frame.as_ref().ok()?.data_ref());
                    // Who knows the length does not ask for the end.
                    let last = frame.is_none() || body.is_end_stream();
                    learner.pass(data.unwrap_or(&Bytes::new()), last);
                }
                polled
            }
            KindProj::Whole { bytes } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Upstream { body, .. } => body.is_end_stream(),
            Kind::Whole { bytes } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Upstream { body, .. } => body.size_hint(),
            Kind::Whole { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Upstream { .. } => "upstream",
            Kind::Whole { .. } => "whole",
        };
        f.debug_struct("ResponseBody")
            .field("kind", &kind)
            .finish_non_exhaustive()
    }
}
