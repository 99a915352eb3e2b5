//! Whether a connection is in use, since when it is not, and since when its client takes nothing.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

/// What is known of one connection. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Activity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The last request under way has ended, or the rest of its answer was written after a wait.
    idle: Notify,
    /// Something could not be written.
    blocked: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests whose heads have arrived and whose answers have not ended.
    under_way: usize,
    /// When the last of them ended, or when something was last written.
    since: Instant,
    /// Since when nothing could be written that should be.
    blocked: Option<Instant>,
}

/// A request under way; dropping it ends it.
#[derive(Debug)]
pub(crate) struct UnderWay(Activity);

impl Activity {
    /// That of a connection which begins now.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                under_way: 0,
                since: Instant::now(),
                blocked: None,
            }),
            idle: Notify::new(),
            blocked: Notify::new(),
        }))
    }

    /// A request's head has arrived.
    pub(crate) fn begin(&self) -> UnderWay {
        self.lock().under_way += 1;
        UnderWay(self.clone())
    }

    /// Measures the time from now on.
    pub(crate) fn touch(&self) {
        self.lock().since = Instant::now();
    }

    /// Resolves when the connection has been out of use for so long: no request is under way, nothing waits to be written, and
    /// nothing was written. What arrives does not count, because a head may arrive a byte at a time.
    pub(crate) async fn unused_for(&self, limit: Duration) {
        loop {
            let (in_use, end) = {
                let state = self.lock();
                let in_use = state.under_way > 0 || state.blocked.is_some();
                (in_use, state.since + limit)
            };
            if in_use {
                self.0.idle.notified().await;
            } else if Instant::now() >= end {
                return;
            } else {
                sleep_until(end).await;
            }
        }
    }

    /// Resolves when something has been waiting to be written for so long, and not a byte of it was.
    pub(crate) async fn blocked_for(&self, limit: Duration) {
        loop {
            // An operator may have set a limit that no clock reaches, so no instant is made of it.
            let since = self.lock().blocked;
            match since.map(|since| limit.saturating_sub(since.elapsed())) {
                None => self.0.blocked.notified().await,
                Some(Duration::ZERO) => return,
                Some(left) => sleep(left).await,
            }
        }
    }

    fn written(&self) {
        let mut state = self.lock();
        state.since = Instant::now();
        if state.blocked.take().is_some() && state.under_way == 0 {
            self.0.idle.notify_one();
        }
    }

    fn not_written(&self) {
        let mut state = self.lock();
        if state.blocked.is_none() {
            state.blocked = Some(Instant::now());
            self.0.blocked.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.under_way -= 1;
        state.since = Instant::now();
        if state.under_way == 0 {
            self.0.0.idle.notify_one();
        }
    }
}

/// A connection whose writes are noted.
#[derive(Debug)]
pub(crate) struct Noted<I> {
    io: I,
    activity: Activity,
}

impl<I> Noted<I> {
    pub(crate) const fn new(io: I, activity: Activity) -> Self {
        Self { io, activity }
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(1..)) => self.activity.written(),
            Poll::Pending => self.activity.not_written(),
            Poll::Ready(_) => {}
        }
        written
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Noted<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Noted<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
