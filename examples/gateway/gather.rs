//! Joins what is ready of a streamed answer, so that a stream of small events takes few writes.
//!
//! hyper's client hands over one chunk at a time: its connection decodes the next chunk when the last one was taken. hyper's
//! server writes what it has as soon as the body is pending. Together they make one write of each event, though many
//! have arrived. So this body, once it has data, lets the client's connection run before it passes the data on.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Bytes;
use bytes::BytesMut;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

/// No more data is joined than this.
const MOST: usize = 16 * 1024;

/// A chunk counts as at least this much, so that the number of chunks is bounded too.
const SMALLEST: usize = 64;

/// So often in a row the body is pending without another chunk before data is passed on. Taking a chunk has woken the
/// client's connection, so that is before this task in the runtime's queue and has run at the next turn of this task. It is
/// two because hyper's server polls a pending body twice in one turn.
const YIELDS: u8 = 2;

/// Data is not held for longer than this where other tasks make each yield long.
const LONGEST: Duration = Duration::from_millis(5);

pin_project! {
    /// A body with its chunks joined, but for those that are ready at first: hyper's server writes them with the head, so
    /// that a client does not wait for the first text of a stream until more of it has come. A chunk that nothing follows
    /// is passed on at once, too.
    pub(crate) struct Gathered<B: Body> {
        #[pin]
        body: B,
        // A frame was passed on.
        begun: bool,
        // Then the body was pending: what was passed on is being written, and chunks are joined from here on.
        gathers: bool,
        taken: Taken,
        // What came after the taken data and is not joined with it: a large chunk, trailers, an error, the end.
        next: Option<Next<B>>,
        // The body was pending once before it failed: hyper's server writes what it has when a body is pending, and drops it
        // when a body fails.
        paused: bool,
    }
}

type Next<B> = Option<Result<Frame<Bytes>, <B as Body>::Error>>;

/// Data that was taken of the body and is not passed on yet.
#[derive(Default)]
struct Taken {
    /// The only chunk, which is passed on as it is.
    only: Bytes,
    /// Several chunks.
    joined: BytesMut,
    size: usize,
    since: Option<Instant>,
    yields: u8,
}

impl<B: Body> Gathered<B> {
    pub(crate) fn new(body: B) -> Self {
        Self {
            body,
            begun: false,
            gathers: false,
            taken: Taken::default(),
            next: None,
            paused: false,
        }
    }
}

impl<B: Body<Data = Bytes>> Body for Gathered<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next<B>> {
        let mut this = self.project();
        let taken = this.taken;
        loop {
            if let Some(next) = this.next.take() {
                let is_error = matches!(next, Some(Err(_)));
                if !taken.is_empty() {
                    *this.next = Some(next);
                    return Poll::Ready(Some(Ok(taken.frame())));
                }
                if is_error && !mem::replace(this.paused, true) {
                    *this.next = Some(next);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                return Poll::Ready(next);
            }
            match this.body.as_mut().poll_frame(cx) {
                Poll::Pending if taken.is_empty() => {
                    *this.gathers = *this.begun;
                    return Poll::Pending;
                }
                Poll::Pending if taken.is_due() => return Poll::Ready(Some(Ok(taken.frame()))),
                Poll::Pending => {
                    taken.yields += 1;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(frame))) if *this.gathers => match frame.into_data() {
                    Ok(data) if taken.has_room_for(&data) => taken.push(data),
                    Ok(data) => *this.next = Some(Some(Ok(Frame::data(data)))),
                    Err(frame) => *this.next = Some(Some(Ok(frame))),
                },
                Poll::Ready(next) => *this.next = Some(next),
            }
            *this.begun = true;
        }
    }

    fn is_end_stream(&self) -> bool {
        let nothing_left = match &self.next {
            None => self.body.is_end_stream(),
            Some(next) => next.is_none(),
        };
        self.taken.is_empty() && nothing_left
    }

    fn size_hint(&self) -> SizeHint {
        let next = match &self.next {
            Some(Some(Ok(frame))) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        let held = (self.taken.len() + next) as u64;
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(held));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

impl Taken {
    const fn is_empty(&self) -> bool {
        self.size == 0
    }

    fn len(&self) -> usize {
        self.only.len() + self.joined.len()
    }

    fn has_room_for(&self, data: &Bytes) -> bool {
        self.size + data.len().max(SMALLEST) <= MOST
    }

    fn push(&mut self, data: Bytes) {
        self.size += data.len().max(SMALLEST);
        self.yields = 0;
        if self.since.is_none() {
            self.since = Some(Instant::now());
            self.only = data;
            return;
        }
        let only = mem::take(&mut self.only);
        self.joined.extend_from_slice(&only);
        self.joined.extend_from_slice(&data);
    }

    /// Whether the data should wait no longer.
    fn is_due(&self) -> bool {
        let is_late = || self.since.is_some_and(|since| since.elapsed() >= LONGEST);
        self.yields >= YIELDS || self.yields == 0 && is_late()
    }

    fn frame(&mut self) -> Frame<Bytes> {
        (self.size, self.since, self.yields) = (0, None, 0);
        let only = mem::take(&mut self.only);
        Frame::data(match self.joined.is_empty() {
            true => only,
            false => self.joined.split().freeze(),
        })
    }
}

#[cfg(test)]
mod tests;
