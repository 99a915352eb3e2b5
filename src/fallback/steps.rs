//! The steps between the stages: what follows from an answer, a failure, or the end of a wait.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::SystemTime,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use tokio::time::{Instant, Sleep};
use tower_service::Service;

use crate::{
    attempt_slot::AttemptSlot,
    body::Body,
    capability::Capability,
    endpoint::Endpoint,
    fallback::{
        body::ResponseBody,
        frames::Frames,
        job::{After, Job, Wait},
        peek::{DRAIN_TIME, Drain, Kind, Peek, Peeked},
        stage::{Next, OwnSlot, Read, Stage, own},
        watch::Watch,
    },
    headers::NORMALISED,
    health::Place,
    normalise,
    outcome::OutcomeKind,
    ready_service::ReadyService,
    upstream::{relabel, resets},
};

/// The steps between the stages.
pub(crate) struct Run<'a, S, E> {
    pub(crate) job: &'a mut Option<Job<S, E>>,
    pub(crate) timer: Pin<&'a mut Option<Sleep>>,
}

impl<S, R> Run<'_, S, S::Error>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    /// Begins an attempt with a service that is ready.
    pub(crate) fn call<B>(&mut self, mut service: S) -> Next<S, B, R> {
        let Some(job) = self.job else {
            return Next::Stage(Stage::Done);
        };
        let began = Instant::now();
        let (request, slot) = job.request();
        let future = service.call(request);
        let end = job.first_deadline(began);
        self.set_timer(end);
        Next::Stage(Stage::Calling {
            future,
            slot: OwnSlot(slot),
            began,
        })
    }

    /// The time for the head of a stream is over. By now the router has read whether it is one; if not, there is
    /// more time.
    pub(crate) fn extend_head_deadline(&mut self, began: Instant) -> bool {
        let Some(end) = self.job.as_ref().map(|job| job.head_deadline(began)) else {
            return false;
        };
        let extended = end > Instant::now();
        if extended {
            self.set_timer(end);
        }
        extended
    }

    /// The body is whole: the first attempt is made by the service that came with it.
    pub(crate) fn begin<B>(
        &mut self,
        job: Job<S, S::Error>,
        service: ReadyService<S>,
    ) -> Next<S, B, R> {
        let end = job.deadline;
        *self.job = Some(job);
        self.set_timer(end);
        Next::Stage(Stage::Readying { service })
    }

    pub(crate) fn ready_next<B>(&mut self) -> Next<S, B, R> {
        let Some(job) = self.job else {
            return Next::Stage(Stage::Done);
        };
        let (service, end) = (job.service(), job.deadline);
        self.set_timer(end);
        Next::Stage(Stage::Readying {
            service: ReadyService::unready(service),
        })
    }

    /// A wait is over.
    pub(crate) fn look_again<B>(&mut self, place: Option<Place>) -> Next<S, B, R> {
        if let Some(job) = self.job {
            job.waited(place);
        }
        self.ready_next()
    }

    /// Lets the job decide what comes after a failure.
    pub(crate) fn then<B>(
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
    pub(crate) fn answered<B>(
        &mut self,
        slot: &AttemptSlot,
        response: Response<R>,
    ) -> Next<S, B, R> {
        let Some(job) = self.job else {
            return Next::Stage(Stage::Done);
        };
        if let Some(no_target) = slot.take_no_target() {
            return match (job.wait(&no_target), no_target.place) {
                (Wait::Until(end), Some(place)) => {
                    self.set_timer(end);
                    Next::Stage(Stage::Waiting {
                        called: place.called(),
                        place: Some(place),
                    })
                }
                (Wait::Over, _) => self.ready_next(),
                (Wait::OutOfTime, _) => self.then(Job::out_of_time),
                _ => self.then(|job| job.nobody(no_target.refusal)),
            };
        }
        let Some(attempt) = slot.take_attempt() else {
            // There is no router, or it has refused the request: there is nothing to choose.
            let mut response = response.map(ResponseBody::passing);
            return match job.passed_on(&mut response) {
                Some(after) => self.then(|_| after),
                None => Next::Answer(Ok(response)),
            };
        };
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
        response.attempt.responded();
        if let Some(reset) =
            resets::exhausted(&response.head.headers, response.attempt.map().wall())
        {
            response.attempt.exhausted(reset);
        }
        let (began, limit) = (response.attempt.began(), job.config.peek_limit);
        let (peek, end) = match Kind::of(&response.head.headers, job.endpoint) {
            Kind::Events => (
                Peek::events(limit),
                job.within(began, job.config.first_token_timeout),
            ),
            Kind::Answer => (Peek::answer(limit), job.answer_deadline(began)),
            Kind::Unreadable => {
                return self.then(|job| job.no_answer(response.attempt, OutcomeKind::Unavailable));
            }
            Kind::Opaque => return self.commit(response, Peek::answer(limit), Peeked::Begun),
        };
        self.set_timer(end);
        Next::Stage(Stage::Peeking {
            peeking: Some(response),
            peek: Some(peek),
        })
    }

    /// A success has been looked at; `None` if its time was over first.
    pub(crate) fn peeked<B>(
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
            Some(Peeked::Empty) if self.is_silence(&peek) => {
                self.commit(response, peek, Peeked::Whole)
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

    /// Whether an answer without content says that nobody spoke in a recording. An empty body says nothing.
    fn is_silence(&self, peek: &Peek) -> bool {
        let output = self.job.as_ref().map(|job| job.endpoint.output());
        output == Some(Capability::Transcription)
            && matches!(peek, Peek::Answer { frames, .. } if frames.len() > 0)
    }

    /// From here on bytes reach the caller.
    fn commit<B>(&mut self, response: Read<R>, peek: Peek, peeked: Peeked) -> Next<S, B, R> {
        let Some(job) = self.job else {
            return Next::Stage(Stage::Done);
        };
        let Read {
            mut attempt,
            mut head,
            body,
        } = response;
        attempt.commit();
        let id = attempt.target().id().clone();
        let idle = job.config.idle_timeout;
        let (classify, endpoint) = (job.classify(), job.endpoint);
        // Only in a stream can an error come after the head has gone to the caller.
        let headers = match &peek {
            Peek::Events(_) => head.headers.clone(),
            Peek::Answer { .. } => HeaderMap::new(),
        };
        let watch = |attempt| Watch::new(attempt, classify, endpoint, headers);
        let (body, is_stream) = match (peek, peeked) {
            (Peek::Events(gate), _) => {
                (ResponseBody::events(body, gate, watch(attempt), idle), true)
            }
            (
                Peek::Answer {
                    mut frames,
                    trailers,
                    ..
                },
                Peeked::Whole,
            ) => {
                let now = attempt.map().wall();
                normalise(endpoint, &mut head.headers, &mut frames, id.model(), now);
                if trailers.is_some() {
                    // HTTP/1 has trailers only where the length is not said.
                    head.headers.remove(header::CONTENT_LENGTH);
                }
                attempt.succeed();
                (ResponseBody::whole(frames, trailers), false)
            }
            (Peek::Answer { frames, .. }, _)
                if frames.len() == 0 && http_body::Body::is_end_stream(&body) =>
            {
                attempt.succeed();
                (ResponseBody::whole(frames, None), false)
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

    pub(crate) fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer
            .as_mut()
            .as_pin_mut()
            .map_or(Poll::Pending, |timer| timer.poll(cx))
    }
}

/// Makes a whole answer such that strict clients can read it, and its head fit it and say so.
fn normalise(
    endpoint: Endpoint,
    headers: &mut HeaderMap,
    frames: &mut Frames,
    model: &str,
    now: SystemTime,
) {
    let Some(normal) = normalise::normalise(endpoint, &frames.joined(), model, now) else {
        return;
    };
    relabel(headers, normal.body.len());
    if let Ok(changed) = HeaderValue::from_str(&normal.changed.join(", ")) {
        headers.insert(NORMALISED, changed);
    }
    *frames = Frames::from_iter([normal.body]);
}
