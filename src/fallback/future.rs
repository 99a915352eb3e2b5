use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, request};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_service::Service;

use crate::{
    body::{Body, BoxError},
    endpoint::Endpoint,
    fallback::{
        body::ResponseBody,
        config::Config,
        job::Job,
        stage::{Next, Read, Stage, StageProj, own},
        steps::Run,
    },
    poll_budget::PollBudget,
    ready_service::ReadyService,
    refusal::Refusal,
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

    pub(crate) const fn passing(future: S::Future) -> Self {
        Self::at(Stage::Passing { future })
    }

    pub(crate) const fn refused(refusal: Refusal) -> Self {
        Self::at(Stage::Refused {
            refusal: Some(refusal),
        })
    }

    pub(crate) fn falling_back(
        config: Arc<Config>,
        endpoint: Endpoint,
        parts: request::Parts,
        body: B,
        readied: S,
    ) -> Self {
        let collect = config.intake.collect(body);
        Self::at(Stage::Collecting {
            collect,
            begin: Some((config, endpoint, parts)),
            service: Some(ReadyService::ready(readied)),
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
                } => {
                    let Poll::Ready(whole) = collect.poll(cx) else {
                        service.iter_mut().for_each(ReadyService::let_go);
                        return Poll::Pending;
                    };
                    let spare = service.as_ref().and_then(ReadyService::spare);
                    match (whole, begin.take(), service.take().zip(spare)) {
                        (
                            Ok((bytes, held)),
                            Some((config, endpoint, parts)),
                            Some((service, spare)),
                        ) => run.begin(
                            Job::new(config, endpoint, parts, bytes, held, spare),
                            service,
                        ),
                        (Err(refusal), ..) => own(refusal.into_response()),
                        _ => return Poll::Pending,
                    }
                }
                StageProj::Readying { service } => match service.poll_take(cx) {
                    Poll::Ready(Ok(service)) => run.call(service),
                    Poll::Ready(Err(error)) => Next::Answer(Err(error)),
                    Poll::Pending => {
                        ready!(run.poll_timer(cx));
                        run.then(Job::out_of_time)
                    }
                },
                StageProj::Calling {
                    future,
                    slot,
                    began,
                } => match future.poll(cx) {
                    Poll::Ready(Ok(response)) => run.answered(&slot.0, response),
                    Poll::Ready(Err(error)) => match slot.0.take_attempt() {
                        Some(attempt) => run.then(|job| job.unreachable(attempt, error)),
                        None => Next::Answer(Err(error)),
                    },
                    Poll::Pending => {
                        ready!(run.poll_timer(cx));
                        if run.extend_head_deadline(*began) {
                            continue;
                        }
                        match slot.0.take_attempt() {
                            Some(attempt) => run.then(|job| job.too_slow(attempt)),
                            None => run.then(Job::out_of_time),
                        }
                    }
                },
                StageProj::Peeking { peeking, peek } => {
                    let mut budget = PollBudget::default();
                    let peeked = loop {
                        if budget.is_over() {
                            if run.poll_timer(cx).is_ready() {
                                break None;
                            }
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        let (Some(response), Some(peek)) = (peeking.as_mut(), peek.as_mut()) else {
                            return Poll::Pending;
                        };
                        match http_body::Body::poll_frame(response.body.as_mut(), cx) {
                            Poll::Ready(frame) => {
                                budget.saw(frame.as_ref());
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
                    let mut budget = PollBudget::default();
                    loop {
                        if budget.is_over() {
                            if run.poll_timer(cx).is_ready() {
                                drain.cut = true;
                                break;
                            }
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        let Some(response) = draining.as_mut() else {
                            return Poll::Pending;
                        };
                        match http_body::Body::poll_frame(response.body.as_mut(), cx) {
                            Poll::Ready(frame) => {
                                budget.saw(frame.as_ref());
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
                StageProj::Waiting { called, place } => {
                    if called.poll(cx).is_pending() {
                        ready!(run.poll_timer(cx));
                    }
                    run.look_again(place.take())
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

impl<S, B, R> fmt::Debug for ResponseFuture<S, B, R>
where
    S: Service<Request<Body>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
