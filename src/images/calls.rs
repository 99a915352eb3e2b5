//! The calls of the target's API that one request takes.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header, request, response};
use serde_json::Value;
use tokio::time::sleep;
use tower_service::Service;

use super::{answer::Drawing, collect::collect, failure::Failure, handover::Handover, sdapi};
use crate::{
    body::Body,
    byte_budget::{ByteBudget, Held},
    provider::Turn,
    ready_service::ready,
    refusal::Refusal,
    upstream::answer,
};

/// The most bytes that the answers to one request may have together, because images of all of them may be held: ten images
/// of a megabyte or two in base64, and as much again.
const LARGEST_ANSWERS: usize = 64 * 1024 * 1024;
/// How much larger the answer to the client may be than the answers that it is made of, because it describes up to ten
/// images.
const OF_ITS_OWN: usize = 16 * 1024;
/// The most bytes of a list of checkpoints, each of which takes some hundred.
const LARGEST_LIST: usize = 4 * 1024 * 1024;
/// The most bytes of a report of progress, which is a few numbers.
const LARGEST_REPORT: usize = 64 * 1024;
/// How often a server is asked how far it is.
const BETWEEN_REPORTS: Duration = Duration::from_secs(1);

/// A 2xx that was read to its end.
pub(super) struct Reply {
    pub(super) head: response::Parts,
    pub(super) body: Bytes,
    /// What the body says of errors and costs.
    pub(super) found: answer::Answer,
}

#[cfg(test)]
impl Reply {
    pub(super) fn of(body: impl Into<Bytes>) -> Self {
        let (head, body) = Response::new(body.into()).into_parts();
        let found = answer::read(&body);
        Self { head, body, found }
    }
}

/// Images, and what the answer that is made of them needs.
pub(super) struct Drawn {
    /// Of the last answer with images, because it may tell of limits.
    pub(super) head: response::Parts,
    pub(super) drawing: Drawing,
    /// An answer reported a cost.
    pub(super) billed: bool,
    /// How many bytes the answers have together whose images are held.
    pub(super) length: usize,
}

impl Drawn {
    /// The images of a further answer come after these.
    pub(super) fn add(&mut self, further: Self) {
        self.drawing.add(further.drawing);
        self.head = further.head;
        self.billed = further.billed;
        self.length = further.length;
    }
}

/// Calls the inner service for one request.
pub(super) struct Calls<'a, S> {
    pub(super) handover: &'a Handover,
    /// Addressed to the target, but for the path and the body of each call.
    parts: &'a request::Parts,
    memory: &'a ByteBudget,
    /// An instance that was polled ready: it makes the first call.
    readied: Option<S>,
    /// Never called itself: each later call gets a clone.
    spare: S,
}

impl<'a, S: Clone> Calls<'a, S> {
    pub(super) fn new(
        handover: &'a Handover,
        parts: &'a request::Parts,
        memory: &'a ByteBudget,
        readied: S,
    ) -> Self {
        Self {
            handover,
            parts,
            memory,
            spare: readied.clone(),
            readied: Some(readied),
        }
    }

    /// For calls at the same time as those of this one.
    pub(super) fn beside(&self) -> Self {
        Self {
            readied: None,
            spare: self.spare.clone(),
            ..*self
        }
    }

    /// Memory for what is made of answers that have so many bytes together: an image that is decoded to be looked at, or
    /// the answer to the client. Neither is larger than those answers.
    pub(super) fn room<E>(&self, length: usize) -> Result<Held, Failure<E>> {
        let mut held = self.memory.hold();
        match held.add((length + OF_ITS_OWN) as u64) {
            true => Ok(held),
            false => Err(Failure::Stopped("memory")),
        }
    }

    /// The images of a reply, beside which answers with so many bytes are held. `read` finds none where the upstream says
    /// what is wrong.
    pub(super) fn drawn<E>(
        &self,
        reply: Reply,
        beside: usize,
        read: impl FnOnce(&Reply) -> Result<Option<Drawing>, Refusal>,
    ) -> Result<Drawn, Failure<E>> {
        let length = beside + reply.body.len();
        let _room = self.room(length)?;
        let Some(drawing) = read(&reply)? else {
            return Err(Response::from_parts(reply.head, reply.body).into());
        };
        Ok(Drawn {
            head: reply.head,
            drawing,
            billed: reply.found.billed,
            length,
        })
    }

    /// The request of one call. An empty `body` makes a request without a body.
    fn request(
        &self,
        method: Method,
        path: &str,
        query: Option<&str>,
        body: Bytes,
    ) -> Request<Body> {
        let mut parts = self.parts.clone();
        parts.method = method;
        if let Some(base) = self.handover.target.provider().base() {
            parts.uri = base.uri(path, query);
        }
        let headers = &mut parts.headers;
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if body.is_empty() {
            headers.remove(header::CONTENT_TYPE);
            headers.remove(header::CONTENT_LENGTH);
        } else {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Request::from_parts(parts, Body::from(body))
    }
}

impl<S, R> Calls<'_, S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    pub(super) async fn get(&mut self, path: &str) -> Result<Reply, Failure<S::Error>> {
        let request = self.request(Method::GET, path, None, Bytes::new());
        self.call(request, LARGEST_LIST).await
    }

    /// Posts JSON. Answers with so many bytes are held beside the reply.
    pub(super) async fn post(
        &mut self,
        path: &str,
        body: &Value,
        beside: usize,
    ) -> Result<Reply, Failure<S::Error>> {
        let body = Bytes::from(body.to_string());
        let request = self.request(Method::POST, path, None, body);
        let most = LARGEST_ANSWERS.saturating_sub(beside);
        self.call(request, most).await
    }

    /// Asks the server from time to time how far it is, without an end. A report that fails is left out.
    pub(super) async fn report(mut self, turn: &Turn) -> Infallible {
        loop {
            sleep(BETWEEN_REPORTS).await;
            let (path, query) = sdapi::PROGRESS;
            let request = self.request(Method::GET, path, Some(query), Bytes::new());
            if let Ok(reply) = self.call(request, LARGEST_REPORT).await {
                if let Some((fraction, eta)) = sdapi::read_progress(&reply.body) {
                    turn.report(fraction, eta);
                }
            }
        }
    }

    /// Readies an instance, calls it, and reads the answer to its end.
    async fn call(
        &mut self,
        request: Request<Body>,
        most: usize,
    ) -> Result<Reply, Failure<S::Error>> {
        let mut service = match self.readied.take() {
            Some(readied) => readied,
            None => ready(self.spare.clone()).await.map_err(Failure::Service)?,
        };
        let response = service.call(request);
        drop(service);
        let (head, body) = response.await.map_err(Failure::Service)?.into_parts();
        let body = collect(body, most, self.memory.hold()).await?;
        // Before the answer is translated, because a translation has no place for all that a provider says of its costs.
        let found = answer::read(&body);
        if found.billed {
            self.handover.health.quarantine(self.handover.target.id());
        }
        match head.status.is_success() {
            true => Ok(Reply { head, body, found }),
            false => Err(Response::from_parts(head, body).into()),
        }
    }
}
