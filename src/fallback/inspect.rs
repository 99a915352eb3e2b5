//! Reading a response before anything of it goes to the client.

use std::{
    pin::{Pin, pin},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, header, response};
use http_body::Frame;
use tokio::time::Instant;

use super::{frames::Frames, stream_buffer::StreamBuffer};
use crate::{
    capability::Capability,
    content_type::{essence, is_event_stream, is_json, is_text},
    deadline::within,
    endpoint::Endpoint,
    health::Attempt,
    outcome::OutcomeKind,
    poll_budget::PollBudget,
    upstream::{Verdict, answer, encodings},
};

/// An error body is read for its evidence up to here ...
const DRAIN_LIMIT: usize = 64 * 1024;
/// ... and for so long. Reading it to its end lets HTTP/1 use the connection again.
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(2);

/// A response that is being read.
///
/// Its body is pinned on the heap, because it need not be `Unpin` and moves on into the response to the client.
pub(super) struct Incoming<R> {
    pub(super) attempt: Attempt,
    pub(super) head: response::Parts,
    pub(super) body: Pin<Box<R>>,
}

/// Within which bounds a success is read.
pub(super) struct Limits {
    pub(super) endpoint: Endpoint,
    /// How many bytes are held back.
    pub(super) bytes: usize,
    /// The first content of a stream must have come by then.
    pub(super) first_token: Instant,
    /// An answer that is not streamed must be whole by then.
    pub(super) answer: Instant,
}

/// A success that answers.
pub(super) enum Answer {
    /// A stream of events that has begun to answer.
    Stream(Box<StreamBuffer>),
    /// The whole answer.
    Whole {
        frames: Frames,
        trailers: Option<HeaderMap>,
        /// A strict client may fail at it.
        is_irregular: bool,
    },
    /// The beginning of an answer that is not held until it is whole.
    Part(Frames),
}

/// A success that does not answer.
pub(super) enum Failure {
    /// There is no answer in it, it broke off, or it took too long.
    Outcome(OutcomeKind),
    /// It holds an error, which stands in this JSON.
    Error(Bytes),
}

/// What a success seems to be, by its head.
enum Kind {
    /// Server-sent events.
    Events,
    /// One JSON document, or something that should be one.
    Document,
    /// Anything else, such as audio or an image: only its head can be judged.
    Opaque,
    /// It is in a content encoding that was not asked for and cannot be undone.
    Unreadable,
}

impl Kind {
    fn of(headers: &HeaderMap, endpoint: Endpoint) -> Self {
        if is_encoded(headers) {
            return Self::Unreadable;
        }
        let Some(kind) = headers.get(header::CONTENT_TYPE) else {
            return Self::Document;
        };
        let essence = essence(kind.as_bytes());
        // A transcript can be asked for as bare text or subtitles, which hold anything (`response_format`).
        let is_transcript = endpoint.output() == Capability::Transcription
            && !essence.eq_ignore_ascii_case(b"text/html");
        if is_event_stream(kind.as_bytes()) {
            Self::Events
        } else if is_json(essence) || is_text(essence) && !is_transcript {
            Self::Document
        } else {
            Self::Opaque
        }
    }
}

/// Whether a body is in a content encoding that is not undone.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    encodings(headers).next().is_some()
}

/// Reads a success until it is clear whether it answers. What is seen to cost money quarantines its target at once.
pub(super) async fn look<R>(incoming: &mut Incoming<R>, limits: Limits) -> Result<Answer, Failure>
where
    R: http_body::Body<Data = Bytes>,
{
    match Kind::of(&incoming.head.headers, limits.endpoint) {
        Kind::Events => look_at_events(incoming, limits).await,
        Kind::Document => look_at_document(incoming, limits).await,
        Kind::Opaque => Ok(Answer::Part(Frames::default())),
        Kind::Unreadable => Err(Failure::Outcome(OutcomeKind::Unavailable)),
    }
}

async fn look_at_events<R>(incoming: &mut Incoming<R>, limits: Limits) -> Result<Answer, Failure>
where
    R: http_body::Body<Data = Bytes>,
{
    let mut buffer = Box::new(StreamBuffer::new(limits.bytes));
    let read = async {
        let mut budget = PollBudget::default();
        loop {
            match budget.next_frame(incoming.body.as_mut()).await {
                Some(Ok(frame)) => {
                    // Trailers of a stream without content say nothing.
                    buffer.push(frame.into_data().unwrap_or_default());
                    if buffer.seen.failed_first || buffer.seen.content || buffer.is_full() {
                        return Ok(());
                    }
                }
                Some(Err(_)) => return Err(OutcomeKind::Unavailable),
                None => {
                    buffer.end();
                    return match &buffer.seen {
                        seen if seen.content || seen.failed_first => Ok(()),
                        seen if seen.finished => Err(OutcomeKind::Empty),
                        _ => Err(OutcomeKind::Unavailable),
                    };
                }
            }
        }
    };
    let read = within(pin!(read), || limits.first_token).await;
    if buffer.seen.billed {
        incoming.attempt.billed();
    }
    match read.unwrap_or(Err(OutcomeKind::TooSlow)) {
        Ok(()) if buffer.seen.failed_first => Err(Failure::Error(
            buffer.seen.error.clone().unwrap_or_default(),
        )),
        Ok(()) => Ok(Answer::Stream(buffer)),
        Err(kind) => Err(Failure::Outcome(kind)),
    }
}

async fn look_at_document<R>(incoming: &mut Incoming<R>, limits: Limits) -> Result<Answer, Failure>
where
    R: http_body::Body<Data = Bytes>,
{
    let (mut held, mut trailers) = (Frames::default(), None);
    let read = async {
        let mut budget = PollBudget::default();
        while let Some(frame) = budget.next_frame(incoming.body.as_mut()).await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => held.push(data),
                Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
                Err(_) => return Err(OutcomeKind::Unavailable),
            }
            if held.len() > limits.bytes {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let read = within(pin!(read), || limits.answer).await;
    match read {
        Some(Ok(true)) => {}
        Some(Ok(false)) => return Ok(Answer::Part(held)),
        Some(Err(kind)) => return Err(Failure::Outcome(kind)),
        None => return Err(Failure::Outcome(OutcomeKind::TooSlow)),
    }
    let body = held.joined();
    let (answer, is_irregular) = answer::read_for(limits.endpoint, body);
    if answer.billed {
        incoming.attempt.billed();
    }
    // An answer without content says that a recording holds no speech. An empty body says nothing.
    let is_silence = limits.endpoint.output() == Capability::Transcription && !body.is_empty();
    let whole = |frames| Answer::Whole {
        frames,
        trailers,
        is_irregular,
    };
    match answer.verdict {
        Verdict::Content => Ok(whole(held)),
        Verdict::Empty if is_silence => Ok(whole(held)),
        Verdict::Empty => Err(Failure::Outcome(OutcomeKind::Empty)),
        Verdict::Error => Err(Failure::Error(body.clone())),
        Verdict::NotJson => Err(Failure::Outcome(OutcomeKind::Unavailable)),
    }
}

/// Reads what a failure says of itself, as far as the limits allow.
pub(super) async fn drain<R>(mut body: Pin<&mut R>, end: Instant) -> Bytes
where
    R: http_body::Body<Data = Bytes>,
{
    let mut held = Frames::default();
    let read = async {
        let mut budget = PollBudget::default();
        while let Some(Ok(frame)) = budget.next_frame(body.as_mut()).await {
            let mut data = frame.into_data().unwrap_or_default();
            let room = DRAIN_LIMIT - held.len();
            let is_too_much = data.len() > room;
            data.truncate(room);
            held.push(data);
            if is_too_much {
                return;
            }
        }
    };
    // What came until the deadline is evidence, too.
    let _ = within(pin!(read), || end).await;
    held.joined().clone()
}
