use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header, request, response};
use pin_project_lite::pin_project;
use tokio::{
    sync::futures::OwnedNotified,
    time::{Instant, Sleep},
};
use tower_service::Service;

use super::{
    body::{ResponseBody, Watch},
    job::{After, Job},
    layer::Config,
    peek::{DRAIN_TIME, Drain, Kind, Peek, Peeked},
};
use crate::{
    body::{Body, BoxError},
    error::Refusal,
    health::Attempt,
    intake::Collect,
    limits,
    outcome::OutcomeKind,
    slot::AttemptSlot,
};

pin_project! {
    /// The response future of [`Fallback`](super::Fallback).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<Body>>,
    {
        #[pin]
        stage: Stage<S, S::Future, B, R>,
        // All that outlives one attempt; there from the moment the body is whole.
        job: Option<Job<S, S::Error>>,
        // The end of the present stage.
        #[pin]
        timer: Option<Sleep>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<S, F, B, R> {
        // Not routed, so none of our business.
        Passing { #[pin] future: F },
        // The body is on its way; the service was ready when the request came.
        Collecting { #[pin] collect: Collect<B>, begin: Option<(Arc<Config>, request::Parts)>, service: Option<S>, readied: bool },
        // An instance of the service has to become ready for the next attempt.
        Readying { service: Option<S> },
        // An attempt is under way; `began` is there until it is known when its head is due.
        Calling { #[pin] future: F, slot: AttemptSlot, began: Option<Instant> },
        // A success is looked at before it is passed on.
        Peeking { peeking: Option<Read<R>>, peek: Option<Peek> },
        // What a failure says of itself is read.
        Draining { draining: Option<Read<R>>, drain: Drain },
        // Nobody is free, and the caller may wait.
        Waiting { #[pin] changed: OwnedNotified },
        // An answer of our own.
        Refused { refusal: Option<Refusal> },
        Done,
    }
}

/// A response that is being read. It moves from stage to stage and on to the caller, and so its body is
/// pinned on the heap: a body need not be `Unpin`, and what is pinned in place can not move on.
struct Read<R> {
    attempt: Attempt,
    head: response::Parts,
    body: Pin<Box<R>>,
}

/// What a stage leads to.
enum Next<S: Service<Request<Body>>, B, R> {
    Stage(Stage<S, S::Future, B, R>),
    Answer(Result<Response<ResponseBody<R>>, S::Error>),
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<Body>>,
{
    const fn at(stage: Stage<S, S::Future, B, R>) -> Self {
        Self {
            stage,
            job: None,
            timer: None,
        }
    }

    pub(super) const fn passing(future: S::Future) -> Self {
        Self::at(Stage::Passing { future })
    }

    pub(super) const fn refused(refusal: Refusal) -> Self {
        Self::at(Stage::Refused {
            refusal: Some(refusal),
        })
    }

    pub(super) fn falling_back(
        config: Arc<Config>,
        parts: request::Parts,
        body: B,
        readied: S,
    ) -> Self {
        let collect = config.intake.collect(body);
        Self::at(Stage::Collecting {
            collect,
            begin: Some((config, parts)),
            service: Some(readied),
            readied: true,
        })
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    R: http_body::Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let mut run = Run {
                job: this.job,
                timer: this.timer.as_mut(),
            };
            let next = match this.stage.as_mut().project() {
                StageProj::Passing { future } => Next::Answer(
                    ready!(future.poll(cx)).map(|response| response.map(ResponseBody::passing)),
                ),
                StageProj::Collecting {
                    collect,
                    begin,
                    service,
                    readied,
                } => {
                    let Poll::Ready(whole) = collect.poll(cx) else {
                        if std::mem::take(readied) {
                            // Nothing readied is held while collecting: it may be a place that others wait for.
                            *service = service.as_ref().map(S::clone);
                        }
                        return Poll::Pending;
                    };
                    match (whole, begin.take(), service.take()) {
                        (Ok((bytes, held)), Some((config, parts)), Some(service)) => {
                            *run.job = Some(Job::new(config, parts, bytes, held, service.clone()));
                            if *readied {
                                run.call(service)
                            } else {
                                run.ready_next()
                            }
                        }
                        (Err(refusal), ..) => own(refusal.into_response()),
                        _ => return Poll::Pending,
                    }
                }
                StageProj::Readying { service } => {
                    let Some(inner) = service else {
                        return Poll::Pending;
                    };
                    match inner.poll_ready(cx) {
                        Poll::Ready(Ok(())) => match service.take() {
                            Some(service) => run.call(service),
                            None => return Poll::Pending,
                        },
                        Poll::Ready(Err(error)) => Next::Answer(Err(error)),
                        Poll::Pending => {
                            ready!(run.poll_timer(cx));
                            run.then(Job::out_of_time)
                        }
                    }
                }
                StageProj::Calling {
                    future,
                    slot,
                    began,
                } => match future.poll(cx) {
                    Poll::Ready(Ok(response)) => run.answered(slot, response),
                    Poll::Ready(Err(error)) => match slot.take_attempt() {
                        Some(attempt) => run.then(|job| job.unreachable(attempt, error)),
                        None => Next::Answer(Err(error)),
                    },
                    Poll::Pending => {
                        run.set_head_timer(began);
                        ready!(run.poll_timer(cx));
                        match slot.take_attempt() {
                            Some(attempt) => run.then(|job| job.too_slow(attempt)),
                            None => run.then(Job::out_of_time),
                        }
                    }
                },
                StageProj::Peeking { peeking, peek } => {
                    let peeked = loop {
                        let (Some(response), Some(peek)) = (peeking.as_mut(), peek.as_mut()) else {
                            return Poll::Pending;
                        };
                        match response.body.as_mut().poll_frame(cx) {
                            Poll::Ready(frame) => {
                                if let Some(peeked) = peek.frame(frame) {
                                    break Some(peeked);
                                }
                            }
                            Poll::Pending => {
                                ready!(run.poll_timer(cx));
                                break None;
                            }
                        }
                    };
                    let (Some(response), Some(peek)) = (peeking.take(), peek.take()) else {
                        return Poll::Pending;
                    };
                    run.peeked(response, peek, peeked)
                }
                StageProj::Draining { draining, drain } => {
                    loop {
                        let Some(response) = draining.as_mut() else {
                            return Poll::Pending;
                        };
                        match response.body.as_mut().poll_frame(cx) {
                            Poll::Ready(frame) => {
                                if drain.frame(frame) {
                                    break;
                                }
                            }
                            Poll::Pending => {
                                ready!(run.poll_timer(cx));
                                drain.cut = true;
                                break;
                            }
                        }
                    }
                    let Some(Read {
                        attempt,
                        head,
                        body,
                    }) = draining.take()
                    else {
                        return Poll::Pending;
                    };
                    drop(body);
                    run.then(|job| job.failure(attempt, head, drain))
                }
                StageProj::Waiting { changed } => {
                    if changed.poll(cx).is_pending() {
                        ready!(run.poll_timer(cx));
                    }
                    run.ready_next()
                }
                StageProj::Refused { refusal } => match refusal.take() {
                    Some(refusal) => own(refusal.into_response()),
                    None => return Poll::Pending,
                },
                // Polled after completion: there is nothing more to come.
                StageProj::Done => return Poll::Pending,
            };
            match next {
                Next::Stage(stage) => this.stage.set(stage),
                Next::Answer(answer) => {
                    this.stage.set(Stage::Done);
                    *this.job = None;
                    return Poll::Ready(answer);
                }
            }
        }
    }
}

/// The steps between the stages.
struct Run<'a, S, E> {
    job: &'a mut Option<Job<S, E>>,
    timer: Pin<&'a mut Option<Sleep>>,
}

impl<S, R> Run<'_, S, S::Error>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    /// Begins an attempt with a service that is ready.
    fn call<B>(&mut self, mut service: S) -> Next<S, B, R> {
        let Some(job) = self.job else {
            return Next::Stage(Stage::Done);
        };
        let began = Instant::now();
        let (request, slot) = job.request();
        let future = service.call(request);
        let end = job.within(began, job.config.answer_timeout);
        self.set_timer(end);
        Next::Stage(Stage::Calling {
            future,
            slot,
            began: Some(began),
        })
    }

    /// Once it is known whether the answer is to be streamed, sets the end of the wait for its head.
    fn set_head_timer(&mut self, began: &mut Option<Instant>) {
        let job = self.job.as_ref();
        let end = began.and_then(|began| job?.head_deadline(began));
        if let Some(end) = end {
            self.set_timer(end);
            *began = None;
        }
    }

    fn ready_next<B>(&mut self) -> Next<S, B, R> {
        let Some(job) = self.job else {
            return Next::Stage(Stage::Done);
        };
        let (service, end) = (job.service(), job.deadline);
        self.set_timer(end);
        Next::Stage(Stage::Readying {
            service: Some(service),
        })
    }

    /// Lets the job decide what comes after a failure.
    fn then<B>(
        &mut self,
        decide: impl FnOnce(&mut Job<S, S::Error>) -> After<S::Error>,
    ) -> Next<S, B, R> {
        let Some(job) = self.job else {
            return Next::Stage(Stage::Done);
        };
        match decide(job) {
            After::Again => self.ready_next(),
            After::Answer(response) => own(response),
            After::Error(error) => Next::Answer(Err(error)),
        }
    }

    /// The inner service has answered with a head.
    fn answered<B>(&mut self, slot: &AttemptSlot, response: Response<R>) -> Next<S, B, R> {
        let Some(job) = self.job else {
            return Next::Stage(Stage::Done);
        };
        if let Some(no_target) = slot.take_no_target() {
            return match job.wait(&no_target) {
                Some(until) => {
                    self.set_timer(until);
                    Next::Stage(Stage::Waiting {
                        changed: no_target.changed,
                    })
                }
                None => self.then(|job| job.nobody(no_target)),
            };
        }
        let Some(attempt) = slot.take_attempt() else {
            // Nobody routed this, or the router has refused it: there is nothing to choose.
            return Next::Answer(Ok(response.map(ResponseBody::passing)));
        };
        if is_callers_own(&attempt, response.status()) {
            let mut response = response.map(ResponseBody::passing);
            job.mark_refused(attempt, &mut response);
            return Next::Answer(Ok(response));
        }
        let (head, body) = response.into_parts();
        let response = Read {
            attempt,
            head,
            body: Box::pin(body),
        };
        if !response.head.status.is_success() {
            let end = job.within(Instant::now(), DRAIN_TIME);
            self.set_timer(end);
            return Next::Stage(Stage::Draining {
                draining: Some(response),
                drain: Drain::default(),
            });
        }
        if let Some(reset) =
            limits::exhausted(&response.head.headers, response.attempt.map().wall())
        {
            response.attempt.exhausted(reset);
        }
        let (began, limit) = (response.attempt.began(), job.config.peek_limit);
        let (peek, end) = match Kind::of(&response.head.headers) {
            Kind::Events => (
                Peek::events(limit),
                job.within(began, job.config.first_token_timeout),
            ),
            Kind::Answer => (
                Peek::answer(limit),
                job.within(began, job.config.answer_timeout),
            ),
            Kind::Opaque => return self.commit(response, Peek::answer(limit), Peeked::Begun),
        };
        self.set_timer(end);
        Next::Stage(Stage::Peeking {
            peeking: Some(response),
            peek: Some(peek),
        })
    }

    /// A success has been looked at; `None` if its time was over first.
    fn peeked<B>(
        &mut self,
        response: Read<R>,
        peek: Peek,
        peeked: Option<Peeked>,
    ) -> Next<S, B, R> {
        if peek.billed() {
            response.attempt.billed();
        }
        match peeked {
            Some(peeked @ (Peeked::Begun | Peeked::Whole)) => self.commit(response, peek, peeked),
            Some(Peeked::Error(error)) => {
                self.then(|job| job.hidden_error(response.attempt, response.head, error))
            }
            Some(Peeked::Empty) => {
                self.then(|job| job.no_answer(response.attempt, OutcomeKind::Empty))
            }
            Some(Peeked::Broken) => {
                self.then(|job| job.no_answer(response.attempt, OutcomeKind::Unavailable))
            }
            None => self.then(|job| job.too_slow(response.attempt)),
        }
    }

    /// From here on bytes reach the caller.
    fn commit<B>(&mut self, response: Read<R>, peek: Peek, peeked: Peeked) -> Next<S, B, R> {
        let Some(job) = self.job else {
            return Next::Stage(Stage::Done);
        };
        let Read {
            mut attempt,
            head,
            body,
        } = response;
        attempt.commit();
        let id = attempt.target().id().clone();
        let idle = job.config.idle_timeout;
        let watch = |attempt| Watch {
            attempt: Some(attempt),
            classify: Arc::clone(&job.config.classify),
        };
        let (body, is_stream) = match (peek, peeked) {
            (Peek::Events(gate), _) => {
                (ResponseBody::events(body, gate, watch(attempt), idle), true)
            }
            (
                Peek::Answer {
                    frames, trailers, ..
                },
                Peeked::Whole,
            ) => {
                attempt.succeed();
                (ResponseBody::whole(frames, trailers), false)
            }
            (Peek::Answer { frames, .. }, _) => (
                ResponseBody::rest(frames, body, watch(attempt), idle),
                false,
            ),
        };
        let mut response = Response::from_parts(head, body);
        if is_stream {
            // An error may have to be appended.
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        job.mark(&id, &mut response);
        Next::Answer(Ok(response))
    }

    fn set_timer(&mut self, end: Instant) {
        match self.timer.as_mut().as_pin_mut() {
            Some(timer) => timer.reset(end),
            None => self.timer.set(Some(tokio::time::sleep_until(end))),
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer
            .as_mut()
            .as_pin_mut()
            .map_or(Poll::Pending, |timer| timer.poll(cx))
    }
}

/// Where no base URL is applied, the credential is the caller's own, and so is what it is refused.
fn is_callers_own(attempt: &Attempt, status: StatusCode) -> bool {
    attempt.target().provider().base().is_none() && matches!(status.as_u16(), 401..=403)
}

fn own<S, B, R>(response: Response<Bytes>) -> Next<S, B, R>
where
    S: Service<Request<Body>>,
{
    Next::Answer(Ok(response.map(ResponseBody::bytes)))
}

impl<S, B, R> fmt::Debug for ResponseFuture<S, B, R>
where
    S: Service<Request<Body>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
