//! Holds events of a stream back until they may be passed on.
//!
//! Before commit, all of them are held. After it, only the part of an event whose end has not come: a stream that is cut
//! can then be ended with an error at an event boundary, and no client gets half an event.

use bytes::Bytes;

use super::frames::Frames;
use crate::upstream::{EventReader, Indexes, Meaning};

/// What a stream has been seen to hold so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The first semantic event: text, a tool call, reasoning, a refusal, audio, an image.
    pub(super) content: bool,
    /// The answer is whole: a finish reason for each choice that was spoken of, `[DONE]`, or a terminal event.
    pub(super) finished: bool,
    /// `[DONE]` or a terminal event: nothing has to follow.
    terminated: bool,
    /// The choices that were spoken of, ...
    begun: Indexes,
    /// ... and those that have a finish reason.
    ended: Indexes,
    /// The first error event.
    pub(super) error: Option<Bytes>,
    /// The error event came before any content.
    pub(super) failed_first: bool,
    /// An event reports a cost.
    pub(super) billed: bool,
}

#[derive(Debug)]
pub(super) struct StreamBuffer {
    reader: EventReader,
    limit: usize,
    /// Whole events.
    ready: Frames,
    /// The beginning of an event.
    held: Frames,
    /// All bytes that came in.
    total: usize,
    /// Part of an event that was too large to hold has been passed on.
    torn: bool,
    pub(super) seen: Seen,
}

impl StreamBuffer {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            reader: EventReader::new(limit),
            limit,
            ready: Frames::default(),
            held: Frames::default(),
            total: 0,
            torn: false,
            seen: Seen::default(),
        }
    }

    pub(super) fn push(&mut self, mut chunk: Bytes) {
        self.total = self.total.saturating_add(chunk.len());
        let seen = &mut self.seen;
        let safe = self
            .reader
            .push(&chunk, &mut |meaning, _| note(seen, meaning));
        if safe > 0 {
            self.release();
            self.torn = false;
            self.ready.push(chunk.split_to(safe.min(chunk.len())));
        }
        if !chunk.is_empty() {
            self.held.push(chunk);
            if self.held.len() > self.limit {
                self.release();
                self.torn = true;
            }
        }
    }

    /// The stream has ended. An event that lacks nothing but its blank line counts if it, or one before it, ends
    /// the answer; else it is held, and dropped when the stream is [cut](Self::cut). So is half an event.
    pub(super) fn end(&mut self) {
        let whole = self.reader.ends_whole();
        let mut seen = self.seen.clone();
        if let Some(last) = self.reader.finish().filter(|_| whole) {
            note(&mut seen, last);
        }
        if whole && (seen.finished || seen.error.is_some()) {
            self.seen = seen;
            self.release();
        }
    }

    /// Ends a stream that was cut: what is held is dropped, an error event stands in its place.
    pub(super) fn cut(&mut self, error: Bytes) {
        self.held.clear();
        if self.torn {
            // Half an event is out already; this ends it.
            self.ready.push(Bytes::from_static(b"\n\n"));
        }
        self.ready.push(error);
    }

    pub(super) fn next(&mut self) -> Option<Bytes> {
        self.ready.pop()
    }

    /// All that may be passed on.
    pub(super) fn take(&mut self) -> Frames {
        std::mem::take(&mut self.ready)
    }

    /// So many bytes have come without content that they are not held any longer.
    pub(super) const fn is_full(&self) -> bool {
        self.total >= self.limit
    }

    fn release(&mut self) {
        self.ready.append(&mut self.held);
    }
}

fn note(seen: &mut Seen, meaning: Meaning) {
    seen.failed_first |= meaning.error.is_some() && !seen.content;
    seen.content |= meaning.content;
    seen.begun.join(meaning.begun);
    seen.ended.join(meaning.ended);
    // With `n` above 1 each choice ends for itself.
    let all_ended = !seen.ended.is_empty() && seen.begun.are_among(seen.ended);
    let ends_all = meaning.finished && meaning.ended.is_empty();
    seen.terminated |= ends_all;
    seen.finished = seen.terminated || all_ended;
    seen.billed |= meaning.billed;
    if seen.error.is_none() {
        seen.error = meaning.error.map(Bytes::from);
    }
}
