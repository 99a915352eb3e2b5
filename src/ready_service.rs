//! A service on its way to a call.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, ready},
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

/// Waits for `future` with an instance that was polled ready, and drops the instance as soon as that takes time.
///
/// Readiness may be a place that other requests wait for, so it is not held while anything else is waited for.
pub(crate) async fn held_while_ready<S, F: Future>(
    service: S,
    future: F,
) -> (F::Output, Option<S>) {
    let (mut service, mut future) = (Some(service), pin!(future));
    let output = poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            service = None;
        }
        polled
    })
    .await;
    (output, service)
}

/// A service, and whether this very instance has been polled ready.
///
/// Readiness may be a place that others wait for, so it is not held while anything but readiness is waited for.
pub(crate) struct ReadyService<S> {
    service: Option<S>,
    ready: bool,
}

impl<S> ReadyService<S> {
    /// An instance that was polled ready.
    pub(crate) const fn ready(service: S) -> Self {
        Self {
            service: Some(service),
            ready: true,
        }
    }

    /// An instance that was not.
    pub(crate) const fn unready(service: S) -> Self {
        Self {
            service: Some(service),
            ready: false,
        }
    }

    /// Gives readiness back, if it is there: to a service, that is its instance being dropped.
    pub(crate) fn let_go(&mut self)
    where
        S: Clone,
    {
        if std::mem::take(&mut self.ready) {
            self.service = self.service.clone();
        }
    }

    /// An instance for later; `None` if the service has been taken.
    pub(crate) fn spare(&self) -> Option<S>
    where
        S: Clone,
    {
        self.service.clone()
    }

    /// The service, once it is ready for a call. After that, pending for ever.
    pub(crate) fn poll_take<R>(&mut self, cx: &mut Context<'_>) -> Poll<Result<S, S::Error>>
    where
        S: Service<R>,
    {
        if !self.ready {
            if let Some(service) = &mut self.service {
                ready!(service.poll_ready(cx))?;
            }
        }
        self.service
            .take()
            .map_or(Poll::Pending, |service| Poll::Ready(Ok(service)))
    }
}
