//! A request for images that its provider wants in another form: several calls that come to one answer.

#[cfg(test)]
mod tests;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep_until};
use tower_service::Service;

use crate::{
    body::Body,
    catalog::Target,
    health::HealthMap,
    images::{
        Ask, Step, Translation,
        call::{Call, Room, Unread, counted},
        progress::Watch,
        series::{Series, Stop},
    },
    memory::{Held, Memory},
    outcome::{Outcome, OutcomeKind},
    provider::{Turn, Waiting},
    ready_service::ReadyService,
    refusal::Refusal,
    request,
    route::{Info, outgoing},
};

/// How large the answers of one exchange may be together, since images of all of them may be held: ten images of a
/// megabyte or two, in base64, and as much again.
const LARGEST_ANSWERS: usize = 64 * 1024 * 1024;
/// How much larger the caller's answer may be than the answers that it is made of: what it says of up to ten images.
const OF_ITS_OWN: usize = 16 * 1024;

/// A request that has to be translated.
pub(crate) struct Job {
    pub(crate) translation: Translation,
    /// Addressed to the target, but for the path and the body.
    pub(crate) parts: Parts,
    pub(crate) target: Target,
    pub(crate) health: HealthMap,
    /// Set if the attempt has to wait for its turn.
    pub(crate) in_line: Arc<AtomicBool>,
    /// Its place in the memory that all bodies may take: the translation holds what was in the body.
    pub(crate) _held: Held,
    /// What all answers may take together, and what is made of them.
    pub(crate) memory: Memory,
    pub(crate) series: Series,
    /// How many bytes the answers have together whose images are kept.
    pub(crate) received: usize,
    /// Of the last answer that was followed by another question.
    pub(crate) head: HeaderMap,
}

impl Job {
    /// The request that asks this.
    pub(crate) fn request(
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

    fn created(&self) -> u64 {
        let since = self.health.wall().duration_since(UNIX_EPOCH);
        since.map(|since| since.as_secs()).unwrap_or_default()
    }
}

pin_project! {
    /// Drives a translation. Dropping it drops the call that is under way and leaves the queue.
    pub(crate) struct Exchange<S, F, R> {
        job: Job,
        // For the calls after the first one.
        spare: S,
        #[pin]
        stage: Stage<S, F, R>,
        // Asks how far the server is, while that is at it.
        #[pin]
        watch: Option<Watch<S, F, R>>,
        turn: Option<Turn>,
        // The end of the wait for a further image.
        #[pin]
        until: Option<Sleep>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<S, F, R> {
        Waiting { waiting: Waiting, ask: Option<Ask> },
        Asking { #[pin] call: Call<S, F, R> },
    }
}

impl<S, F, R> Exchange<S, F, R>
where
    S: Clone,
{
    /// The first call is made by the instance that is ready.
    pub(crate) fn new(job: Job, service: S) -> Self {
        let ask = job.translation.first();
        let spare = service.clone();
        let stage = stage(&job, ReadyService::ready(service), ask);
        Self {
            job,
            spare,
            stage,
            watch: None,
            turn: None,
            until: None,
        }
    }

    /// What there is to say of the request, once it is answered.
    pub(crate) fn tell(&self, info: &mut Info) {
        info.attempt = self.job.series.left();
        if self.job.translation.is_short() {
            request::note(&mut info.adjusted, "n");
        }
    }
}

/// Asks, or waits for the turn to. Readiness is not held that long.
fn stage<S, F, R>(job: &Job, service: ReadyService<S>, ask: Ask) -> Stage<S, F, R> {
    match job.target.provider().queue().filter(|_| ask.in_turn) {
        Some(queue) => Stage::Waiting {
            waiting: queue.wait(),
            ask: Some(ask),
        },
        None => asking(job, service, ask),
    }
}

fn asking<S, F, R>(job: &Job, service: ReadyService<S>, ask: Ask) -> Stage<S, F, R> {
    let request = job.request(ask.method, ask.path, None, ask.body);
    let most = LARGEST_ANSWERS.saturating_sub(job.received);
    Stage::Asking {
        call: Call::new(service, request, Room::of(&job.memory, most)),
    }
}

impl<S, R> Future for Exchange<S, S::Future, R>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    type Output = Result<Response<Bytes>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.stage.as_mut().project() {
                StageProj::Waiting { waiting, ask } => {
                    let Poll::Ready(turn) = Pin::new(waiting).poll(cx) else {
                        this.job.in_line.store(true, Ordering::Relaxed);
                        return Poll::Pending;
                    };
                    let Some(ask) = ask.take() else {
                        return Poll::Pending;
                    };
                    *this.turn = Some(turn);
                    if let Some(progress) = this.job.translation.progress() {
                        this.watch
                            .set(Some(Watch::new(progress, this.spare.clone())));
                    }
                    asking(this.job, ReadyService::unready(this.spare.clone()), ask)
                }
                StageProj::Asking { call } => {
                    let Poll::Ready(answer) = call.poll(cx) else {
                        if let (Some(watch), Some(turn)) =
                            (this.watch.as_mut().as_pin_mut(), &this.turn)
                        {
                            watch.poll(this.job, turn, cx);
                        }
                        if let Some(until) = this.until.as_mut().as_pin_mut() {
                            if until.poll(cx).is_ready() {
                                // It had only what the calls before it left of the time.
                                let no_fault = Outcome::of(OutcomeKind::Abandoned);
                                return Poll::Ready(Ok(this.job.give_up(&no_fault, Stop::Time)));
                            }
                        }
                        return Poll::Pending;
                    };
                    this.watch.set(None);
                    *this.turn = None;
                    match this.job.follow(answer)? {
                        Next::Ask(ask) => {
                            if this.job.translation.has_images() {
                                let until = this.job.series.until();
                                this.until.set(until.map(sleep_until));
                            }
                            stage(this.job, ReadyService::unready(this.spare.clone()), ask)
                        }
                        Next::Answer(answer) => return Poll::Ready(Ok(answer)),
                    }
                }
            };
            this.stage.set(next);
        }
    }
}

enum Next {
    Ask(Ask),
    Answer(Response<Bytes>),
}

impl Job {
    /// What follows from an answer: another question, or the caller's answer.
    fn follow<E>(&mut self, answer: Result<Result<Response<Bytes>, Unread>, E>) -> Result<Next, E> {
        let further = self.translation.has_images();
        let answer = match answer {
            Err(_) if further => return Ok(self.lost(&Outcome::of(OutcomeKind::Unreachable))),
            Err(error) => return Err(error),
            Ok(Err(Unread::NoMemory)) => return Ok(self.no_memory()),
            Ok(Err(Unread::TooLarge)) => {
                let why = format!("answers more than the {LARGEST_ANSWERS} bytes that are read");
                return Ok(self.unanswered(unreadable(&why)));
            }
            Ok(Err(Unread::BrokeOff)) => {
                let why = "broke off before the end of its answer";
                return Ok(self.unanswered(unreadable(why)));
            }
            Ok(Ok(answer)) => answer,
        };
        // Before it is translated: a translation has no place for all that a provider says of its costs.
        self.series.look_for_a_cost(answer.body());
        if !answer.status().is_success() {
            return Ok(self.unanswered(answer));
        }
        let length = answer.body().len();
        let Some(held) = self.room(length) else {
            // Its place may be what the answer with the earlier images takes.
            drop(answer);
            return Ok(self.no_memory());
        };
        let created = self.created();
        Ok(match self.translation.next(answer.body(), created) {
            Ok(Step::Ask(ask)) if !self.translation.has_images() => Next::Ask(ask),
            Ok(Step::Ask(ask)) => {
                drop(held);
                self.received += length;
                self.head = answer.into_parts().0.headers;
                match self.series.next(&self.head) {
                    Ok(()) => Next::Ask(ask),
                    Err(why) => Next::Answer(self.finish(why)),
                }
            }
            Ok(Step::Pass) => {
                drop(held);
                self.unanswered(answer)
            }
            Ok(Step::NoFurther) => {
                drop((held, answer));
                self.lost(&Outcome::of(OutcomeKind::Empty))
            }
            Ok(Step::Answer(body)) => Next::Answer(translated(answer.map(|_| counted(body, held)))),
            Err(refusal) => {
                drop(held);
                self.unanswered(refusal.into_response())
            }
        })
    }

    /// An answer without an image: the caller gets it as it is, unless there are images from earlier ones.
    fn unanswered(&mut self, answer: Response<Bytes>) -> Next {
        if !self.translation.has_images() {
            return Next::Answer(answer);
        }
        let outcome = self.series.classify(&answer);
        drop(answer);
        self.lost(&outcome)
    }

    /// A further call came to nothing.
    fn lost(&mut self, outcome: &Outcome) -> Next {
        Next::Answer(self.give_up(outcome, Stop::Failed(outcome.kind)))
    }

    /// There is no room for an answer. What was made of earlier ones is kept.
    fn no_memory(&mut self) -> Next {
        Next::Answer(if self.translation.has_images() {
            self.give_up(&Outcome::of(OutcomeKind::Abandoned), Stop::Memory)
        } else {
            self.too_busy()
        })
    }

    fn give_up(&mut self, outcome: &Outcome, why: Stop) -> Response<Bytes> {
        self.series.failed(outcome);
        self.finish(why)
    }

    /// Answers with the images that are there.
    fn finish(&mut self, why: Stop) -> Response<Bytes> {
        let Some(held) = self.room(0) else {
            return self.too_busy();
        };
        let created = self.created();
        match self.translation.finish(created, &why.to_string()) {
            Some(body) => {
                let mut answer = Response::new(counted(body, held));
                *answer.headers_mut() = std::mem::take(&mut self.head);
                translated(answer)
            }
            None => self.too_busy(),
        }
    }

    /// Room for what is made of the answers: an image that is decoded to be looked at, or the caller's answer. Neither is
    /// larger than the answers with images and the `last` one together.
    fn room(&self, last: usize) -> Option<Held> {
        let mut held = self.memory.hold();
        let most = self.received + last + OF_ITS_OWN;
        held.add(most as u64).then_some(held)
    }

    fn too_busy(&mut self) -> Response<Bytes> {
        self.series.withdraw();
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_images",
            "Too many large images are being served at the moment. Try again shortly.",
        )
        .retry_after(Duration::from_secs(1))
        .into_response()
    }
}

/// The refusal for an upstream whose answer cannot be read to its end.
fn unreadable(why: &str) -> Response<Bytes> {
    let message = format!("The provider {why}.");
    Refusal::new(StatusCode::BAD_GATEWAY, "invalid_answer", message).into_response()
}

/// The head of the last answer, which may tell of limits, with a body that is no longer the one it describes.
fn translated(mut answer: Response<Bytes>) -> Response<Bytes> {
    *answer.status_mut() = StatusCode::OK;
    let length = answer.body().len();
    let headers = answer.headers_mut();
    for name in outgoing::OF_THE_BODY {
        headers.remove(*name);
    }
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    answer
}
