//! Waiting with an end.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Poll, ready},
};

use tokio::time::{Instant, sleep_until};

/// Waits for `future` until the instant that `end` gives; `None` if that came first.
///
/// `end` is called only if `future` is not ready at once, after its first poll: what it depends on may be known only
/// then, and a future that is ready at once costs no timer.
pub(crate) async fn within<F: Future>(
    mut future: Pin<&mut F>,
    end: impl FnOnce() -> Instant,
) -> Option<F::Output> {
    let (mut timer, mut end) = (pin!(None), Some(end));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if let Some(end) = end.take() {
            timer.set(Some(sleep_until(end())));
        }
        if let Some(timer) = timer.as_mut().as_pin_mut() {
            ready!(timer.poll(cx));
        }
        Poll::Ready(None)
    })
    .await
}
