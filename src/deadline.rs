//! Waiting with an end.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Poll, ready},
};

use tokio::time::{Instant, sleep_until};

/// Waits for `future` until the instant that `end` gives; `None` if that came first.
///
/// `end` is called only if `future` is not ready at once, after its first poll: a future that is ready at once costs no
/// timer. When that instant has come, `end` is called again, because what it depends on may have become known since; the
/// wait is over if it gives no later instant.
pub(crate) async fn within<F: Future>(
    mut future: Pin<&mut F>,
    mut end: impl FnMut() -> Instant,
) -> Option<F::Output> {
    let mut timer = pin!(None);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if timer.is_none() {
            timer.set(Some(sleep_until(end())));
        }
        while let Some(mut sleep) = timer.as_mut().as_pin_mut() {
            ready!(sleep.as_mut().poll(cx));
            let end = end();
            if end <= sleep.deadline() {
                break;
            }
            sleep.reset(end);
        }
        Poll::Ready(None)
    })
    .await
}
