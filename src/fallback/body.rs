use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use serde_json::json;

use super::{frames::Frames, silence::Silence, stream_buffer::StreamBuffer, watch::Watch};
use crate::{
    body::{BoxError, poll_boxed},
    endpoint::Endpoint,
    outcome::{Outcome, OutcomeKind},
    poll_budget::PollBudget,
    upstream::Follow,
};

pin_project! {
    /// The response body of [`Fallback`](super::Fallback).
    ///
    /// The bytes of the inner body as they are. A stream that breaks off ends with one OpenAI-format error event, and
    /// without `[DONE]`; any other body that breaks off ends in an error, a JSON document that lacks its end included.
    /// Dropping it drops the upstream.
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B> {
        // Not routed, or answered by a layer inside: it is not watched.
        Passing { #[pin] body: B },
        // All of it is here.
        Whole { frames: Frames, trailers: Option<HeaderMap> },
        // An event stream that has begun to answer.
        Events { body: Pin<Box<B>>, gate: Box<StreamBuffer>, trailers: Option<HeaderMap>, watch: Watch, silence: Silence },
        // An answer that is too large to be held, or of a kind that is not read. JSON is followed as it passes.
        Rest { frames: Frames, body: Pin<Box<B>>, document: Option<Follow>, watch: Watch, silence: Silence },
    }
}

impl<B> ResponseBody<B> {
    pub(super) const fn passing(body: B) -> Self {
        Self {
            kind: Kind::Passing { body },
        }
    }

    pub(super) fn whole(frames: Frames, trailers: Option<HeaderMap>) -> Self {
        Self {
            kind: Kind::Whole { frames, trailers },
        }
    }

    pub(super) fn bytes(bytes: Bytes) -> Self {
        Self::whole(Frames::from_iter([bytes]), None)
    }

    pub(super) fn events(
        body: Pin<Box<B>>,
        gate: Box<StreamBuffer>,
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

    /// The rest of an answer. What was read of it is JSON; where nothing was, nothing is known of its form.
    pub(super) fn rest(frames: Frames, body: Pin<Box<B>>, watch: Watch, idle: Duration) -> Self {
        let document = (frames.len() > 0).then(Follow::document);
        Self {
            kind: Kind::Rest {
                frames,
                body,
                document,
                watch,
                silence: Silence::new(idle),
            },
        }
    }
}

/// An empty body, which some layers around this one want to answer with (tower-http's timeout).
impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::whole(Frames::default(), None)
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
        let mut budget = PollBudget::default();
        loop {
            match kind.as_mut().project() {
                KindProj::Passing { body } => {
                    return poll_boxed(body, cx);
                }
                KindProj::Whole { frames, trailers } => {
                    let frame = frames
                        .pop()
                        .map(Frame::data)
                        .or_else(|| trailers.take().map(Frame::trailers));
                    return Poll::Ready(frame.map(Ok));
                }
                KindProj::Events {
                    body,
                    gate,
                    trailers,
                    watch,
                    silence,
                } => {
                    if let Some(bytes) = gate.next() {
                        // The end may have come with the beginning.
                        watch.note(gate);
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                    let end = match budget.poll_frame(body.as_mut(), cx) {
                        Poll::Ready(Some(Ok(frame))) => {
                            match frame.into_data() {
                                Ok(chunk) if chunk.is_empty() => continue,
                                Ok(chunk) => {
                                    silence.broken();
                                    gate.push(chunk);
                                }
                                Err(frame) => *trailers = frame.into_trailers().ok(),
                            }
                            watch.note(gate);
                            continue;
                        }
                        Poll::Ready(None | Some(Err(_))) => OutcomeKind::Interrupted,
                        Poll::Pending => {
                            ready!(silence.poll(cx));
                            OutcomeKind::TooSlow
                        }
                    };
                    finish(gate, watch, end);
                    let frames = gate.take();
                    let trailers = trailers.take();
                    // The upstream is let go here.
                    kind.set(Kind::Whole { frames, trailers });
                }
                KindProj::Rest {
                    frames,
                    body,
                    document,
                    watch,
                    silence,
                } => {
                    if let Some(bytes) = frames.pop() {
                        follow(document, watch, &bytes);
                        // A client that reads exactly Content-Length bytes may never poll for the end.
                        if frames.len() == 0 && body.is_end_stream() {
                            succeed_if_whole(document.as_ref(), watch);
                        }
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                    let end = match budget.poll_frame(body.as_mut(), cx) {
                        Poll::Ready(Some(Ok(frame))) => {
                            if frame.data_ref().is_some_and(Bytes::is_empty) {
                                // It says nothing, so the silence goes on.
                                continue;
                            }
                            silence.broken();
                            if let Some(bytes) = frame.data_ref() {
                                follow(document, watch, bytes);
                            }
                            if body.is_end_stream() {
                                succeed_if_whole(document.as_ref(), watch);
                            }
                            return Poll::Ready(Some(Ok(frame)));
                        }
                        Poll::Ready(None) if is_whole(document.as_ref()) => {
                            watch.succeed();
                            None
                        }
                        Poll::Ready(None) => {
                            let name = watch.name();
                            let error = format!("the answer of {name} broke off before its end");
                            watch.fail(&Outcome::of(OutcomeKind::Interrupted));
                            Some(error.into())
                        }
                        Poll::Ready(Some(Err(error))) => {
                            watch.fail(&Outcome::of(OutcomeKind::Interrupted));
                            Some(error.into())
                        }
                        Poll::Pending => {
                            ready!(silence.poll(cx));
                            let error = format!("the answer of {} stalled", watch.name());
                            watch.fail(&Outcome::of(OutcomeKind::TooSlow));
                            Some(error.into())
                        }
                    };
                    // The upstream is let go here.
                    kind.set(Kind::Whole {
                        frames: Frames::default(),
                        trailers: None,
                    });
                    return Poll::Ready(end.map(Err));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Passing { body } => body.is_end_stream(),
            Kind::Whole { frames, trailers } => frames.len() == 0 && trailers.is_none(),
            Kind::Events { .. } => false,
            Kind::Rest {
                frames,
                body,
                document,
                ..
            } => frames.len() == 0 && body.is_end_stream() && is_whole(document.as_ref()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Passing { body } => body.size_hint(),
            Kind::Whole { frames, trailers } => {
                let len = frames.len() as u64;
                let mut hint = SizeHint::with_exact(len);
                if trailers.is_some() {
                    // HTTP/1 has no trailers after a body of a stated length.
                    hint = SizeHint::new();
                    hint.set_lower(len);
                }
                hint
            }
            Kind::Events { .. } | Kind::Rest { .. } => SizeHint::default(),
        }
    }
}

/// A part of a document passes.
fn follow(document: &mut Option<Follow>, watch: &Watch, bytes: &[u8]) {
    if let Some(document) = document {
        let billed = document.billed();
        document.push(bytes);
        if document.billed() && !billed {
            watch.billed();
        }
    }
}

/// Whether nothing of the document is known to be missing.
fn is_whole(document: Option<&Follow>) -> bool {
    document.is_none_or(|document| !document.is_cut())
}

fn succeed_if_whole(document: Option<&Follow>, watch: &mut Watch) {
    if is_whole(document) {
        watch.succeed();
    }
}

/// Ends a stream: as it was meant to, or with an error where it broke off.
fn finish(gate: &mut StreamBuffer, watch: &mut Watch, end: OutcomeKind) {
    gate.end();
    watch.note(gate);
    if !watch.end_as_said() {
        gate.cut(error_event(&watch.name(), watch.endpoint, end));
        watch.fail(&Outcome::of(end));
    }
}

/// One event that says that the stream is no whole answer.
fn error_event(target: &str, endpoint: Endpoint, end: OutcomeKind) -> Bytes {
    let what = if end == OutcomeKind::TooSlow {
        "stalled"
    } else {
        "broke off before its end"
    };
    let message = format!(
        "The answer of {target} {what}. What came so far is incomplete; send the request again."
    );
    let mut event = json!({ "error": {
        "message": message,
        "type": "server_error",
        "param": null,
        "code": end.name(),
    } });
    if endpoint != Endpoint::Responses {
        return Bytes::from(format!("data: {event}\n\n"));
    }
    // OpenAI's own clients raise on any event with an `error`, in every kind of stream (`openai-python`,
    // `_streaming.py`); others know errors of a response by their type, and read what stands beside it.
    event["type"] = json!("error");
    event["code"] = json!(end.name());
    event["message"] = json!(message);
    event["param"] = json!(null);
    Bytes::from(format!("event: error\ndata: {event}\n\n"))
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
