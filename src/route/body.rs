use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{
    body::{BoxError, poll_boxed},
    catalog::Target,
    poll_budget::PollBudget,
    provider::Redactor,
    route::{incoming, inflate::Inflated, response_owners::Learner},
};

pin_project! {
    /// The response body of [`FreeModelRoute`](super::FreeModelRoute).
    ///
    /// Of a routed request: the upstream's bytes, but for gzip and deflate, which are inflated, and the provider's
    /// credential in an error, or in an answer from the first word "error" on, which gives way to as many other
    /// characters; or the router's own refusal or translated answer. Of any other request: the body of the inner
    /// service as it is.
    #[project = ResponseBodyProj]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B> {
        // Of a request that is not routed.
        Passing { #[pin] body: B },
        Upstream { #[pin] body: Inflated<B>, reading: Option<Box<Reading>>, target: Target },
        Whole { bytes: Option<Bytes> },
    }
}

/// Reads and redacts the bytes of a body as they pass.
struct Reading {
    learner: Option<Learner>,
    redactor: Option<Redactor>,
    /// Trailers, or an error, that came while bytes were held back.
    last: Option<Result<Frame<Bytes>, BoxError>>,
    ended: bool,
}

impl<B> ResponseBody<B> {
    pub(super) const fn passing(body: B) -> Self {
        Self {
            kind: Kind::Passing { body },
        }
    }

    /// An upstream's body. `headers` no longer describe the bytes that were sent if these are inflated.
    pub(super) fn upstream(
        body: B,
        headers: &mut HeaderMap,
        target: Target,
        learner: Option<Learner>,
        redactor: Option<Redactor>,
    ) -> Self {
        let reading = (learner.is_some() || redactor.is_some()).then(|| {
            Box::new(Reading {
                learner,
                redactor,
                last: None,
                ended: false,
            })
        });
        let body = Inflated::new(body, headers);
        Self {
            kind: Kind::Upstream {
                body,
                reading,
                target,
            },
        }
    }

    pub(super) const fn whole(bytes: Bytes) -> Self {
        Self {
            kind: Kind::Whole { bytes: Some(bytes) },
        }
    }
}

/// An empty body, with which some layers around this one answer (tower-http's timeout).
impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self {
            kind: Kind::Whole { bytes: None },
        }
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
        match self.project().kind.project() {
            KindProj::Passing { body } => poll_boxed(body, cx),
            KindProj::Upstream {
                body,
                reading,
                target,
            } => {
                let mut frame = ready!(match reading {
                    Some(reading) => reading.poll_frame(body, cx),
                    None => body.poll_frame(cx),
                });
                if let Some(Ok(frame)) = &mut frame {
                    if let Some(trailers) = frame.trailers_mut() {
                        incoming::clean_trailers(trailers, target.provider());
                    }
                }
                Poll::Ready(frame)
            }
            KindProj::Whole { bytes } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Passing { body } => body.is_end_stream(),
            Kind::Upstream { body, reading, .. } => {
                let is_empty = |reading: &Reading| reading.last.is_none() && reading.held() == 0;
                body.is_end_stream() && reading.as_deref().is_none_or(is_empty)
            }
            Kind::Whole { bytes } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Passing { body } => body.size_hint(),
            Kind::Upstream { body, reading, .. } => {
                let held = reading.as_deref().map_or(0, Reading::held) as u64;
                let rest = body.size_hint();
                let mut hint = SizeHint::new();
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper.saturating_add(held));
                }
                hint.set_lower(rest.lower().saturating_add(held));
                hint
            }
            Kind::Whole { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}

impl Reading {
    fn poll_frame<B: Body<Data = Bytes, Error = BoxError>>(
        &mut self,
        mut body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut budget = PollBudget::default();
        while !self.ended {
            let frame = ready!(budget.poll_frame(body.as_mut(), cx));
            // A client that reads exactly Content-Length bytes may never poll for the end of the body.
            self.ended = frame.is_none() || body.is_end_stream();
            let data = match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => data,
                last => {
                    self.ended = true;
                    self.last = match last {
                        Some(Ok(Err(trailers))) => Some(Ok(trailers)),
                        Some(Err(error)) => Some(Err(error)),
                        _ => None,
                    };
                    Bytes::new()
                }
            };
            if let Some(learner) = &mut self.learner {
                learner.pass(&data, self.ended);
            }
            let passed = self.redacted(data);
            if !passed.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(passed))));
            }
        }
        Poll::Ready(self.last.take())
    }

    fn redacted(&mut self, data: Bytes) -> Bytes {
        let Some(redactor) = &mut self.redactor else {
            return data;
        };
        let passed = redactor.push(data);
        match self.ended && redactor.held() > 0 {
            true if passed.is_empty() => redactor.finish(),
            true => [passed, redactor.finish()].concat().into(),
            false => passed,
        }
    }

    fn held(&self) -> usize {
        self.redactor.as_ref().map_or(0, Redactor::held)
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Passing { .. } => "passing",
            Kind::Upstream { .. } => "upstream",
            Kind::Whole { .. } => "whole",
        };
        f.debug_struct("ResponseBody")
            .field("kind", &kind)
            .finish_non_exhaustive()
    }
}
