//! The idle timeout of an answer that has begun.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use crate::clock::later;

/// How long an upstream has been silent. Only the time is counted in which the client waits for it: a client that reads
/// slowly is no fault of the upstream.
pub(super) struct Silence {
    limit: Duration,
    listening: bool,
    /// On the heap, so that the body is `Unpin`; made when the first wait begins.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    pub(super) const fn new(limit: Duration) -> Self {
        Self {
            limit,
            listening: false,
            timer: None,
        }
    }

    pub(super) const fn broken(&mut self) {
        self.listening = false;
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = || later(Instant::now(), self.limit);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end())));
        if !std::mem::replace(&mut self.listening, true) {
            timer.as_mut().reset(end());
        }
        timer.as_mut().poll(cx)
    }
}
