//! Where a request stands on its way through the fallback.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, request, response};
use pin_project_lite::pin_project;
use tokio::{sync::futures::OwnedNotified, time::Instant};
use tower_service::Service;

use crate::{
    attempt_slot::AttemptSlot,
    body::Body,
    endpoint::Endpoint,
    fallback::{
        body::ResponseBody,
        config::Config,
        peek::{Drain, Peek},
    },
    health::{Attempt, Place},
    ready_service::ReadyService,
    refusal::Refusal,
    request::Collect,
};

pin_project! {
    #[project = StageProj]
    pub(crate) enum Stage<S, F, B, R> {
        // Not routed, so none of our business.
        Passing { #[pin] future: F },
        // The body is on its way; the service was ready when the request came.
        Collecting { #[pin] collect: Collect<B>, begin: Option<(Arc<Config>, Endpoint, request::Parts)>, service: Option<ReadyService<S>> },
        // An instance of the service has to become ready for the next attempt.
        Readying { service: ReadyService<S> },
        // An attempt is under way.
        Calling { #[pin] future: F, slot: OwnSlot, began: Instant },
        // A success is looked at before it is passed on.
        Peeking { peeking: Option<Read<R>>, peek: Option<Peek> },
        // What a failure says of itself is read.
        Draining { draining: Option<Read<R>>, drain: Drain },
        // No target is free, and the request may wait.
        Waiting { #[pin] called: OwnedNotified, place: Option<Place> },
        // An answer of our own.
        Refused { refusal: Option<Refusal> },
        Done,
    }
}

/// The slot of an attempt that is under way. The request that carries it belongs to the inner service, which
/// may keep it for long after the caller has left; the attempt must not wait for that.
pub(crate) struct OwnSlot(pub(crate) AttemptSlot);

impl Drop for OwnSlot {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A response that is being read. It moves from stage to stage and on to the caller, and so its body is
/// pinned on the heap: a body need not be `Unpin`, and what is pinned in place can not move on.
pub(crate) struct Read<R> {
    pub(crate) attempt: Attempt,
    pub(crate) head: response::Parts,
    pub(crate) body: Pin<Box<R>>,
}

/// What a stage leads to.
pub(crate) enum Next<S: Service<Request<Body>>, B, R> {
    Stage(Stage<S, S::Future, B, R>),
    Answer(Result<Response<ResponseBody<R>>, S::Error>),
}

/// An answer of our own.
pub(crate) fn own<S, B, R>(response: Response<Bytes>) -> Next<S, B, R>
where
    S: Service<Request<Body>>,
{
    Next::Answer(Ok(response.map(ResponseBody::bytes)))
}
