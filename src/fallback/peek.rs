//! Looking at a response before it is passed on.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::Frame;

use crate::{
    capability::Capability,
    endpoint::Endpoint,
    fallback::{frames::Frames, gate::Gate},
    request::is_json,
    upstream::{Verdict, answer, encodings, is_event_stream},
};

/// An error body is read for its evidence up to here ...
pub(crate) const DRAIN_LIMIT: usize = 64 * 1024;
/// ... and for so long. Reading it to its end lets HTTP/1 use the connection again.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(2);

/// What a success seems to be, by its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Server-sent events.
    Events,
    /// One JSON document, or something that should be one.
    Answer,
    /// Anything else: audio, an image. The head is all there is to go by.
    Opaque,
    /// It is in a content encoding that was not asked for and is not undone.
    Unreadable,
}

impl Kind {
    pub(crate) fn of(headers: &HeaderMap, endpoint: Endpoint) -> Self {
        if is_encoded(headers) {
            return Self::Unreadable;
        }
        let Some(kind) = headers.get(header::CONTENT_TYPE) else {
            return Self::Answer;
        };
        let essence = kind
            .as_bytes()
            .split(|&b| b == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        let is_text = essence.len() >= 5 && essence[..5].eq_ignore_ascii_case(b"text/");
        // What was said can be asked for as bare text or subtitles, which hold anything (`response_format`).
        let transcript = endpoint.output() == Capability::Transcription
            && !essence.eq_ignore_ascii_case(b"text/html");
        if is_event_stream(kind.as_bytes()) {
            Self::Events
        } else if is_json(essence) || is_text && !transcript {
            Self::Answer
        } else {
            Self::Opaque
        }
    }
}

/// Whether a body is in a content encoding that is not undone.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    encodings(headers).next().is_some()
}

/// A look at the beginning of a success.
#[derive(Debug)]
pub(crate) enum Peek {
    Events(Box<Gate>),
    Answer {
        frames: Frames,
        trailers: Option<HeaderMap>,
        limit: usize,
        endpoint: Endpoint,
        billed: bool,
        /// It is whole, and strict clients may fail at it.
        irregular: bool,
    },
}

/// What it came to.
#[derive(Debug)]
pub(crate) enum Peeked {
    /// It answers, and there is more to come.
    Begun,
    /// It answers, and this is all.
    Whole,
    /// It holds an error, which stands in this JSON.
    Error(Bytes),
    /// There is no answer in it.
    Empty,
    /// It broke off, or is not what it should be.
    Broken,
}

impl Peek {
    pub(crate) fn events(limit: usize) -> Self {
        Self::Events(Box::new(Gate::new(limit)))
    }

    pub(crate) fn answer(limit: usize, endpoint: Endpoint) -> Self {
        Self::Answer {
            frames: Frames::default(),
            trailers: None,
            limit,
            endpoint,
            billed: false,
            irregular: false,
        }
    }

    /// Takes the next frame, or the end, and says what it came to, if that is clear now.
    pub(crate) fn frame<E>(&mut self, frame: Option<Result<Frame<Bytes>, E>>) -> Option<Peeked> {
        let frame = match frame {
            Some(Ok(frame)) => Some(frame),
            Some(Err(_)) => return Some(Peeked::Broken),
            None => None,
        };
        match self {
            Self::Events(gate) => {
                match frame {
                    // Trailers of a stream without content tell nobody anything.
                    Some(frame) => gate.push(frame.into_data().ok()?),
                    None => {
                        gate.end();
                        return Some(end_of_events(gate));
                    }
                }
                if gate.seen.failed_first {
                    return Some(
                        gate.seen
                            .error
                            .clone()
                            .map_or(Peeked::Broken, Peeked::Error),
                    );
                }
                (gate.seen.content || gate.is_full()).then_some(Peeked::Begun)
            }
            Self::Answer {
                frames,
                trailers,
                limit,
                endpoint,
                billed,
                irregular,
            } => {
                let Some(frame) = frame else {
                    let body = frames.joined();
                    let answer;
                    (answer, *irregular) = answer::read_for(*endpoint, &body);
                    *billed = answer.billed;
                    return Some(match answer.verdict {
                        Verdict::Content => Peeked::Whole,
                        Verdict::Empty => Peeked::Empty,
                        Verdict::Error => Peeked::Error(body),
                        Verdict::NotJson => Peeked::Broken,
                    });
                };
                match frame.into_data() {
                    Ok(data) => frames.push(data),
                    Err(frame) => *trailers = frame.into_trailers().ok(),
                }
                (frames.len() > *limit).then_some(Peeked::Begun)
            }
        }
    }

    /// Whether what was seen so far cost money.
    pub(crate) fn billed(&self) -> bool {
        match self {
            Self::Events(gate) => gate.seen.billed,
            Self::Answer { billed, .. } => *billed,
        }
    }
}

fn end_of_events(gate: &Gate) -> Peeked {
    match &gate.seen.error {
        Some(error) if gate.seen.failed_first => Peeked::Error(error.clone()),
        _ if gate.seen.content => Peeked::Begun,
        _ if gate.seen.finished => Peeked::Empty,
        _ => Peeked::Broken,
    }
}

/// The body of a failure, as far as it is read.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    frames: Frames,
    /// There was more.
    pub(crate) cut: bool,
}

impl Drain {
    /// Takes the next frame, or the end; says whether that was all.
    pub(crate) fn frame<E>(&mut self, frame: Option<Result<Frame<Bytes>, E>>) -> bool {
        match frame {
            None => true,
            Some(Err(_)) => {
                self.cut = true;
                true
            }
            Some(Ok(frame)) => {
                let Ok(mut data) = frame.into_data() else {
                    return false;
                };
                let room = DRAIN_LIMIT.saturating_sub(self.frames.len());
                if data.len() > room {
                    data.truncate(room);
                    self.cut = true;
                }
                self.frames.push(data);
                self.cut
            }
        }
    }

    pub(crate) fn body(&mut self) -> Bytes {
        self.frames.joined()
    }
}
