use std::{
    collections::VecDeque,
    fmt,
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use serde_json::json;
use tokio::time::{Instant, Sleep};

use super::{
    classify::{Classify, Evidence},
    gate::Gate,
};
use crate::{
    body::BoxError,
    health::Attempt,
    outcome::{Outcome, OutcomeKind},
};

pin_project! {
    /// The response body of [`Fallback`](super::Fallback).
    ///
    /// The upstream's bytes, unchanged. A stream that breaks off ends with one OpenAI-format error event, and
    /// without `[DONE]`; any other body that breaks off ends in an error. Dropping it drops the upstream.
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B> {
        // What is not ours to watch.
        Passing { #[pin] body: B },
        // All of it is here.
        Whole { frames: VecDeque<Bytes>, trailers: Option<HeaderMap> },
        // An event stream that has begun to answer.
        Events { body: Pin<Box<B>>, gate: Box<Gate>, trailers: Option<HeaderMap>, watch: Watch, #[pin] silence: Silence },
        // An answer that is too large, or of too strange a kind, to be looked at.
        Rest { frames: VecDeque<Bytes>, body: Pin<Box<B>>, watch: Watch, #[pin] silence: Silence },
    }
}

/// What watches over an answer that has begun: it ends the attempt.
pub(super) struct Watch {
    pub(super) attempt: Option<Attempt>,
    pub(super) classify: Arc<dyn Classify>,
}

impl Watch {
    fn succeed(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            attempt.succeed();
        }
    }

    fn fail(&mut self, outcome: &Outcome) {
        if let Some(attempt) = self.attempt.take() {
            attempt.fail(outcome);
        }
    }

    /// An error event has been passed on: what it says counts.
    fn fail_as_said(&mut self, error: &[u8]) {
        let Some(now) = self.attempt.as_ref().map(|attempt| attempt.map().wall()) else {
            return;
        };
        let outcome = self.classify.classify(&Evidence::new(
            StatusCode::OK,
            &HeaderMap::new(),
            error,
            now,
        ));
        self.fail(&outcome);
    }

    fn name(&self) -> String {
        self.attempt
            .as_ref()
            .map_or_else(String::new, |attempt| attempt.target().id().to_string())
    }
}

impl<B> ResponseBody<B> {
    pub(super) const fn passing(body: B) -> Self {
        Self {
            kind: Kind::Passing { body },
        }
    }

    pub(super) const fn whole(frames: VecDeque<Bytes>, trailers: Option<HeaderMap>) -> Self {
        Self {
            kind: Kind::Whole { frames, trailers },
        }
    }

    pub(super) fn bytes(bytes: Bytes) -> Self {
        Self::whole(VecDeque::from([bytes]), None)
    }

    pub(super) const fn events(
        body: Pin<Box<B>>,
        gate: Box<Gate>,
        watch: Watch,
        idle: Duration,
    ) -> Self {
        Self {
            kind: Kind::Events {
                body,
                gate,
                trailers: None,
                watch,
                silence: Silence::new(idle),
            },
        }
    }

    pub(super) const fn rest(
        frames: VecDeque<Bytes>,
        body: Pin<Box<B>>,
        watch: Watch,
        idle: Duration,
    ) -> Self {
        Self {
            kind: Kind::Rest {
                frames,
                body,
                watch,
                silence: Silence::new(idle),
            },
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
        let mut kind = self.project().kind;
        loop {
            match kind.as_mut().project() {
                KindProj::Passing { body } => {
                    return body
                        .poll_frame(cx)
                        .map(|frame| frame.map(|frame| frame.map_err(Into::into)));
                }
                KindProj::Whole { frames, trailers } => {
                    let frame = frames
                        .pop_front()
                        .map(Frame::data)
                        .or_else(|| trailers.take().map(Frame::trailers));
                    return Poll::Ready(frame.map(Ok));
                }
                KindProj::Events {
                    body,
                    gate,
                    trailers,
                    watch,
                    mut silence,
                } => {
                    if let Some(bytes) = gate.next() {
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                    let end = match body.as_mut().poll_frame(cx) {
                        Poll::Ready(Some(Ok(frame))) => {
                            silence.as_mut().broken();
                            match frame.into_data() {
                                Ok(chunk) => gate.push(chunk),
                                Err(frame) => *trailers = frame.into_trailers().ok(),
                            }
                            if gate.seen.billed {
                                watch.attempt.iter().for_each(Attempt::billed);
                            }
                            continue;
                        }
                        Poll::Ready(None | Some(Err(_))) => OutcomeKind::Interrupted,
                        Poll::Pending => {
                            ready!(silence.poll(cx));
                            OutcomeKind::TooSlow
                        }
                    };
                    finish(gate, watch, end);
                    let frames = std::iter::from_fn(|| gate.next()).collect();
                    let trailers = trailers.take();
                    // The upstream is let go here.
                    kind.set(Kind::Whole { frames, trailers });
                }
                KindProj::Rest {
                    frames,
                    body,
                    watch,
                    mut silence,
                } => {
                    if let Some(bytes) = frames.pop_front() {
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                    let error: BoxError = match body.as_mut().poll_frame(cx) {
                        Poll::Ready(Some(Ok(frame))) => {
                            silence.as_mut().broken();
                            return Poll::Ready(Some(Ok(frame)));
                        }
                        Poll::Ready(None) => {
                            watch.succeed();
                            kind.set(Kind::Whole {
                                frames: VecDeque::new(),
                                trailers: None,
                            });
                            return Poll::Ready(None);
                        }
                        Poll::Ready(Some(Err(error))) => {
                            watch.fail(&Outcome::of(OutcomeKind::Interrupted));
                            error.into()
                        }
                        Poll::Pending => {
                            ready!(silence.poll(cx));
                            let error = format!("the answer of {} stalled", watch.name());
                            watch.fail(&Outcome::of(OutcomeKind::TooSlow));
                            error.into()
                        }
                    };
                    kind.set(Kind::Whole {
                        frames: VecDeque::new(),
                        trailers: None,
                    });
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Passing { body } => body.is_end_stream(),
            Kind::Whole { frames, trailers } => frames.is_empty() && trailers.is_none(),
            Kind::Events { .. } | Kind::Rest { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Passing { body } => body.size_hint(),
            Kind::Whole { frames, .. } => {
                SizeHint::with_exact(frames.iter().map(|frame| frame.len() as u64).sum())
            }
            Kind::Events { .. } | Kind::Rest { .. } => SizeHint::default(),
        }
    }
}

/// Ends a stream: as it was meant to, or with an error where it broke off.
fn finish(gate: &mut Gate, watch: &mut Watch, end: OutcomeKind) {
    gate.end();
    if gate.seen.billed {
        watch.attempt.iter().for_each(Attempt::billed);
    }
    if let Some(error) = &gate.seen.error {
        watch.fail_as_said(error);
    } else if gate.seen.finished {
        watch.succeed();
    } else {
        gate.cut(error_event(&watch.name(), end));
        watch.fail(&Outcome::of(end));
    }
}

fn error_event(target: &str, end: OutcomeKind) -> Bytes {
    let what = if end == OutcomeKind::TooSlow {
        "stalled"
    } else {
        "broke off before its end"
    };
    let error = json!({ "error": {
        "message": format!("The answer of {target} {what}. What came so far is incomplete; send the request again."),
        "type": "server_error",
        "param": null,
        "code": end.name(),
    } });
    Bytes::from(format!("data: {error}\n\n"))
}

pin_project! {
    /// How long an upstream has been silent. It is counted only while somebody waits for it: a caller who
    /// reads slowly is no fault of the upstream's.
    struct Silence {
        limit: Duration,
        listening: bool,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl Silence {
    const fn new(limit: Duration) -> Self {
        Self {
            limit,
            listening: false,
            timer: None,
        }
    }

    fn broken(self: Pin<&mut Self>) {
        *self.project().listening = false;
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if !std::mem::replace(this.listening, true) {
            let end = Instant::now() + *this.limit;
            match this.timer.as_mut().as_pin_mut() {
                Some(timer) => timer.reset(end),
                None => this.timer.set(Some(tokio::time::sleep_until(end))),
            }
        }
        this.timer
            .as_pin_mut()
            .map_or(Poll::Pending, |timer| timer.poll(cx))
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Passing { .. } => "passing",
            Kind::Whole { .. } => "whole",
            Kind::Events { .. } => "events",
            Kind::Rest { .. } => "rest",
        };
        f.debug_struct("ResponseBody")
            .field("kind", &kind)
            .finish_non_exhaustive()
    }
}
