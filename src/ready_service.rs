//! Readiness of the inner service.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
};

use tower_service::Service;

/// Waits until an instance is ready, and returns it.
pub(crate) async fn ready<S, T>(mut service: S) -> Result<S, S::Error>
where
    S: Service<T>,
{
    poll_fn(|cx| service.poll_ready(cx)).await?;
    Ok(service)
}

/// Waits for `future`, and drops an instance that was polled ready as soon as that takes time.
///
/// Readiness may be a place that other requests wait for, so it is not held while anything else is waited for.
pub(crate) async fn holding<S, F: Future>(
    readied: &mut Option<S>,
    mut future: Pin<&mut F>,
) -> F::Output {
    poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            *readied = None;
        }
        polled
    })
    .await
}
