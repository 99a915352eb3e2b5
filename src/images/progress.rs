//! How far a server is that makes an image for an exchange.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use crate::{
    body::Body,
    images::{
        call::{Call, Room},
        exchange::Job,
        sdapi::read_progress,
    },
    provider::Turn,
    ready_service::ReadyService,
};

/// The largest report of a server's progress: it is a few numbers.
const LARGEST_REPORT: usize = 64 * 1024;
/// How often a server is asked how far it is.
const BETWEEN_REPORTS: Duration = Duration::from_secs(1);

pin_project! {
    /// Asks a server from time to time how far it is. What goes wrong with that says nothing.
    pub(crate) struct Watch<S, F, R> {
        path: &'static str,
        query: &'static str,
        spare: S,
        #[pin]
        next: Sleep,
        #[pin]
        call: Option<Call<S, F, R>>,
    }
}

impl<S, F, R> Watch<S, F, R> {
    pub(crate) fn new((path, query): (&'static str, &'static str), spare: S) -> Self {
        Self {
            path,
            query,
            spare,
            next: sleep_until(Instant::now() + BETWEEN_REPORTS),
            call: None,
        }
    }
}

impl<S, R> Watch<S, S::Future, R>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    /// Goes on until there is something to wait for.
    pub(crate) fn poll(self: Pin<&mut Self>, job: &Job, turn: &Turn, cx: &mut Context<'_>) {
        let mut this = self.project();
        loop {
            if let Some(call) = this.call.as_mut().as_pin_mut() {
                let Poll::Ready(report) = call.poll(cx) else {
                    return;
                };
                this.call.set(None);
                if let Ok(Ok(report)) = report {
                    if let Some((fraction, eta)) = read_progress(report.body()) {
                        turn.report(fraction, eta);
                    }
                }
                this.next.as_mut().reset(Instant::now() + BETWEEN_REPORTS);
            }
            if this.next.as_mut().poll(cx).is_pending() {
                return;
            }
            let request = job.request(Method::GET, this.path, Some(this.query), Bytes::new());
            let service = ReadyService::unready(this.spare.clone());
            let room = Room::of(&job.memory, LARGEST_REPORT);
            this.call.set(Some(Call::new(service, request, room)));
        }
    }
}
