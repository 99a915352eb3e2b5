//! Frames without bytes, of which a body can have any number.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame};

/// Bounds how many empty frames are read before other tasks run and deadlines are looked at.
///
/// Frames with bytes are bounded by the limits on bytes.
#[derive(Debug, Default)]
pub(crate) struct PollBudget(u32);

type Next<B> = Option<Result<Frame<Bytes>, <B as Body>::Error>>;

impl PollBudget {
    const MOST: u32 = 64;

    /// Polls a body for its next frame. After 64 empty frames it is pending once, and wakes the task.
    pub(crate) fn poll_frame<B>(&mut self, body: Pin<&mut B>, cx: &mut Context<'_>) -> Poll<Next<B>>
    where
        B: Body<Data = Bytes>,
    {
        if self.is_over() {
            self.0 = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let frame = ready!(body.poll_frame(cx));
        self.saw(frame.as_ref());
        Poll::Ready(frame)
    }

    /// The next frame of a body.
    pub(crate) async fn next_frame<B>(&mut self, mut body: Pin<&mut B>) -> Next<B>
    where
        B: Body<Data = Bytes>,
    {
        poll_fn(|cx| self.poll_frame(body.as_mut(), cx)).await
    }

    pub(crate) fn saw<E>(&mut self, frame: Option<&Result<Frame<Bytes>, E>>) {
        if let Some(Ok(frame)) = frame {
            self.0 += u32::from(frame.data_ref().is_none_or(Bytes::is_empty));
        }
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.0 >= Self::MOST
    }
}
