//! The calls of the target's API that one request takes.

use std::{convert::Infallible, future::poll_fn, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request, response};
use serde_json::Value;
use tokio::time::sleep;
use tower_service::Service;

use crate::{
    body::Body,
    byte_budget::{ByteBudget, Held},
    catalog::Target,
    health::HealthMap,
    images::{
        answer::Drawing,
        collect::{Unread, collect},
        sdapi,
    },
    provider::Turn,
    refusal::Refusal,
    upstream::answer,
};

/// The most bytes that the answers to one request may have together, since images of all of them may be held: ten images
/// of a megabyte or two in base64, and as much again.
const LARGEST_ANSWERS: usize = 64 * 1024 * 1024;
/// How much larger the answer to the client may be than the answers that it is made of: what it says of up to ten images.
const OF_ITS_OWN: usize = 16 * 1024;
/// The most bytes of a report of progress, which is a few numbers.
const LARGEST_REPORT: usize = 64 * 1024;
/// How often a server is asked how far it is.
const BETWEEN_REPORTS: Duration = Duration::from_secs(1);

/// Why a call brought no image.
pub(super) enum Failure<E> {
    /// The inner service failed.
    Service(E),
    /// What the client gets if there are no other images: the upstream's own answer, or a refusal in its place.
    Answer(Box<Response<Bytes>>),
    /// The images of all requests take the memory that they may take.
    Memory,
    /// The answer with the images that are there is due.
    Time,
}

impl<E> From<Refusal> for Failure<E> {
    fn from(refusal: Refusal) -> Self {
        Self::Answer(Box::new(refusal.into_response()))
    }
}

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
    /// The memory for the answer to the client.
    pub(super) room: Option<Held>,
}

impl Drawn {
    /// The images of a further answer come after these.
    pub(super) fn add(&mut self, further: Self) {
        self.drawing.add(further.drawing);
        self.head = further.head;
        self.billed = further.billed;
        self.length = further.length;
        self.room = further.room;
    }
}

/// Calls the inner service for one request.
pub(super) struct Calls<S> {
    /// Addressed to the target, but for the path and the body of each call.
    parts: request::Parts,
    target: Target,
    health: HealthMap,
    memory: ByteBudget,
    /// An instance that was polled ready: it makes the first call.
    readied: Option<S>,
    /// Never called itself: each later call gets a clone.
    spare: S,
}

impl<S: Clone> Calls<S> {
    pub(super) fn new(
        parts: request::Parts,
        target: Target,
        health: HealthMap,
        memory: ByteBudget,
        readied: S,
    ) -> Self {
        Self {
            parts,
            target,
            health,
            memory,
            spare: readied.clone(),
            readied: Some(readied),
        }
    }

    /// For calls beside those of this one.
    pub(super) fn beside(&self) -> Self {
        Self {
            parts: self.parts.clone(),
            target: self.target.clone(),
            health: self.health.clone(),
            memory: self.memory.clone(),
            readied: None,
            spare: self.spare.clone(),
        }
    }

    /// Memory for what is made of answers that have so many bytes together: an image that is decoded to be looked at, or
    /// the answer to the client. Neither is larger than those answers.
    pub(super) fn room<E>(&self, length: usize) -> Result<Held, Failure<E>> {
        let mut held = self.memory.hold();
        match held.add((length + OF_ITS_OWN) as u64) {
            true => Ok(held),
            false => Err(Failure::Memory),
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
        let room = self.room(length)?;
        let Some(drawing) = read(&reply)? else {
            let passed = Response::from_parts(reply.head, reply.body);
            return Err(Failure::Answer(Box::new(passed)));
        };
        Ok(Drawn {
            head: reply.head,
            drawing,
            billed: reply.found.billed,
            length,
            room: Some(room),
        })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        query: Option<&str>,
        body: Bytes,
    ) -> Request<Body> {
        let mut parts = self.parts.clone();
        parts.method = method;
        if let Some(base) = self.target.provider().base() {
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

impl<S, R> Calls<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    pub(super) async fn get(&mut self, path: &str) -> Result<Reply, Failure<S::Error>> {
        let request = self.request(Method::GET, path, None, Bytes::new());
        self.call(request, LARGEST_ANSWERS).await
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
            None => {
                let mut service = self.spare.clone();
                let ready = poll_fn(|cx| service.poll_ready(cx)).await;
                ready.map_err(Failure::Service)?;
                service
            }
        };
        let response = service.call(request);
        drop(service);
        let (head, body) = response.await.map_err(Failure::Service)?.into_parts();
        let body = match collect(body, most, self.memory.hold()).await {
            Ok(body) => body,
            Err(Unread::NoMemory) => return Err(Failure::Memory),
            Err(Unread::TooLarge) => {
                let why = format!("answers more than the {LARGEST_ANSWERS} bytes that are read");
                return Err(unreadable(&why).into());
            }
            Err(Unread::BrokeOff) => {
                return Err(unreadable("broke off before the end of its answer").into());
            }
        };
        // Before the answer is translated, because a translation has no place for all that a provider says of its costs.
        let found = answer::read(&body);
        if found.billed {
            self.health.quarantine(self.target.id());
        }
        match head.status.is_success() {
            true => Ok(Reply { head, body, found }),
            false => Err(Failure::Answer(Box::new(Response::from_parts(head, body)))),
        }
    }
}

fn unreadable(why: &str) -> Refusal {
    let message = format!("The provider {why}.");
    Refusal::new(StatusCode::BAD_GATEWAY, "invalid_answer", message)
}
