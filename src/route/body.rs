use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{poll_budget::PollBudget, provider::Redactor, route::response_owners::Learner};

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
        Upstream { #[pin] body: B },
        // An upstream's whose bytes are read as they pass.
        Read { #[pin] body: B, reading: Box<Reading> },
        Whole { bytes: Option<Bytes> },
    }
}

/// What reads the bytes of a body as they pass.
#[derive(Clone)]
struct Reading {
    learner: Option<Learner>,
    redactor: Option<Redactor>,
    /// Trailers, or the end, that came while bytes were held back.
    last: Option<HeaderMap>,
    ended: bool,
}

impl<B> ResponseBody<B> {
    pub(crate) const fn upstream(body: B) -> Self {
        Self {
            kind: Kind::Upstream { body },
        }
    }

    /// An upstream's body that is read as it passes, if there is anything to read it for.
    pub(crate) fn read(body: B, learner: Option<Learner>, redactor: Option<Redactor>) -> Self {
        if learner.is_none() && redactor.is_none() {
            return Self::upstream(body);
        }
        let reading = Box::new(Reading {
            learner,
            redactor,
            last: None,
            ended: false,
        });
        Self {
            kind: Kind::Read { body, reading },
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
            KindProj::Upstream { body } => body.poll_frame(cx),
            KindProj::Read { body, reading } => reading.poll_frame(body, cx),
            KindProj::Whole { bytes } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Upstream { body } => body.is_end_stream(),
            Kind::Read { body, reading } => body.is_end_stream() && reading.is_done(),
            Kind::Whole { bytes } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Upstream { body } => body.size_hint(),
            Kind::Read { body, reading } => reading.size_hint(body.size_hint()),
            Kind::Whole { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}

impl Reading {
    fn poll_frame<B: Body<Data = Bytes>>(
        &mut self,
        mut body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut budget = PollBudget::default();
        loop {
            if self.ended {
                return Poll::Ready(
                    self.last
                        .take()
                        .map(|trailers| Ok(Frame::trailers(trailers))),
                );
            }
            if budget.is_over() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let frame = ready!(body.as_mut().poll_frame(cx));
            budget.saw(frame.as_ref());
            // A client that knows the length may never poll for the end.
            let is_last = frame.is_none() || body.is_end_stream();
            let data = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(frame) => {
                        self.last = frame.into_trailers().ok();
                        Bytes::new()
                    }
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => Bytes::new(),
            };
            if let Some(learner) = &mut self.learner {
                learner.pass(&data, is_last);
            }
            let passed = self.redacted(data, is_last);
            self.ended = is_last || self.last.is_some();
            if !passed.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(passed))));
            }
        }
    }

    fn redacted(&mut self, data: Bytes, is_last: bool) -> Bytes {
        let ends = is_last || self.last.is_some();
        let Some(redactor) = &mut self.redactor else {
            return data;
        };
        let passed = redactor.push(data);
        match ends && redactor.held() > 0 {
            true if passed.is_empty() => redactor.finish(),
            true => [passed, redactor.finish()].concat().into(),
            false => passed,
        }
    }

    fn is_done(&self) -> bool {
        self.last.is_none() && self.held() == 0
    }

    fn held(&self) -> usize {
        self.redactor.as_ref().map_or(0, Redactor::held)
    }

    /// The length stays, whatever is redacted.
    fn size_hint(&self, rest: SizeHint) -> SizeHint {
        let held = self.held() as u64;
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint.set_lower(rest.lower().saturating_add(held));
        hint
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Upstream { .. } | Kind::Read { .. } => "upstream",
            Kind::Whole { .. } => "whole",
        };
        f.debug_struct("ResponseBody")
            .field("kind", &kind)
            .finish_non_exhaustive()
    }
}
