use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, header::CONTENT_TYPE, request::Parts};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    body::{Body, BoxError},
    endpoint::Endpoint,
    health::Attempt,
    memory::Held,
    outcome::{Outcome, OutcomeKind},
    provider::Redactor,
    ready_service::ReadyService,
    refusal::Refusal,
    request::Collect,
    route::{
        body::ResponseBody,
        incoming,
        router::{Info, Router},
    },
    routed::Routed,
    upstream::{Classify, Evidence, UpstreamError, is_event_stream},
};

pin_project! {
    /// The response future of [`FreeModelRoute`](super::FreeModelRoute).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<Body>>,
    {
        #[pin]
        state: State<S, S::Future, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, B> {
        // The body is on its way; the service was ready when the request came.
        Collecting { #[pin] collect: Collect<B>, job: Option<Job>, service: Option<ReadyService<S>> },
        // The body is whole; if that took its time, another instance has to become ready first.
        Readying { service: ReadyService<S>, job: Option<Job>, whole: Option<(Bytes, Held)> },
        // The inner service is at it.
        Calling { #[pin] future: F, info: Option<Info> },
        Refused { refusal: Option<Refusal> },
        Done,
    }
}

/// A request without its body.
struct Job {
    router: Arc<Router>,
    endpoint: Endpoint,
    parts: Parts,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<Body>>,
{
    pub(crate) const fn passing(future: S::Future) -> Self {
        Self {
            state: State::Calling { future, info: None },
        }
    }

    pub(crate) const fn refused(refusal: Refusal) -> Self {
        Self {
            state: State::Refused {
                refusal: Some(refusal),
            },
        }
    }

    pub(crate) fn routing(
        router: Arc<Router>,
        endpoint: Endpoint,
        parts: Parts,
        body: B,
        readied: S,
    ) -> Self {
        let collect = router.intake(&parts).collect(body);
        Self {
            state: State::Collecting {
                collect,
                job: Some(Job {
                    router,
                    endpoint,
                    parts,
                }),
                service: Some(ReadyService::ready(readied)),
            },
        }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    R: http_body::Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Collecting {
                    collect,
                    job,
                    service,
                } => match (collect.poll(cx), service.as_mut()) {
                    (Poll::Pending, Some(service)) => {
                        service.let_go();
                        return Poll::Pending;
                    }
                    (Poll::Ready(Ok(whole)), Some(_)) => match service.take() {
                        Some(service) => State::Readying {
                            service,
                            job: job.take(),
                            whole: Some(whole),
                        },
                        None => State::Done,
                    },
                    (Poll::Ready(Err(refusal)), _) => State::Refused {
                        refusal: Some(refusal),
                    },
                    (_, None) => State::Done,
                },
                StateProj::Readying {
                    service,
                    job,
                    whole,
                } => {
                    let service = ready!(service.poll_take(cx))?;
                    match (job.take(), whole.take()) {
                        (Some(job), Some((bytes, held))) => send(service, job, &bytes, held),
                        _ => State::Done,
                    }
                }
                StateProj::Calling { future, info } => {
                    let mut result = ready!(future.poll(cx));
                    let mut info = info.take();
                    state.set(State::Done);
                    let translated = info
                        .as_mut()
                        .map_or(Ok(()), |info| info.take_translated(&mut result));
                    if let Err(refusal) = translated {
                        let response = refusal.into_response().map(ResponseBody::whole);
                        return Poll::Ready(Ok(response));
                    }
                    let result = result.map(|response| match &mut info {
                        Some(info) => upstream(response, info),
                        None => response.map(ResponseBody::passing),
                    });
                    return Poll::Ready(finish(result, info));
                }
                StateProj::Refused { refusal } => {
                    let refusal = refusal.take();
                    state.set(State::Done);
                    match refusal {
                        Some(refusal) => {
                            let response = refusal.into_response().map(ResponseBody::whole);
                            return Poll::Ready(Ok(response));
                        }
                        None => return Poll::Pending,
                    }
                }
                // Polled after completion: there is nothing more to come.
                StateProj::Done => return Poll::Pending,
            };
            state.set(next);
        }
    }
}

/// Routes a whole request and hands it to a service that is ready for it.
fn send<S, B>(mut service: S, job: Job, bytes: &Bytes, held: Held) -> State<S, S::Future, B>
where
    S: Service<Request<Body>>,
{
    match job.router.route(job.endpoint, job.parts, bytes, held) {
        Ok((request, info)) => State::Calling {
            future: service.call(request),
            info: Some(info),
        },
        Err(refusal) => State::Refused {
            refusal: Some(refusal),
        },
    }
}

/// The upstream's response: inflated, without the provider's credential in an error or in a stream that holds one, and
/// read as it passes where later requests may build upon it.
fn upstream<R>(response: Response<R>, info: &mut Info) -> Response<ResponseBody<R>> {
    let (mut head, body) = response.into_parts();
    let is_error = !head.status.is_success();
    let kind = head.headers.get(CONTENT_TYPE);
    let is_stream = kind.is_some_and(|kind| is_event_stream(kind.as_bytes()));
    let redactor = Redactor::new(info.target.provider().credential(), is_error, is_stream);
    let learner = info.learner.take().filter(|_| !is_error);
    let body = ResponseBody::upstream(body, &mut head.headers, learner, redactor);
    Response::from_parts(head, body)
}

/// Marks a response with the target it came from. Without a fallback around, its head is all that is known of it.
fn finish<B, E>(result: Result<Response<B>, E>, info: Option<Info>) -> Result<Response<B>, E> {
    let Some(Info {
        target,
        endpoint,
        dropped,
        adjusted,
        attempt,
        classify,
        ..
    }) = info
    else {
        return result;
    };
    match result {
        Ok(mut response) => {
            if let Some(attempt) = attempt {
                finish_by_head(attempt, endpoint, &*classify, &response);
            }
            incoming::clean(response.headers_mut(), target.provider());
            Routed {
                target,
                trail: Vec::new(),
                dropped,
                adjusted,
            }
            .mark(&mut response);
            Ok(response)
        }
        Err(error) => {
            if let Some(attempt) = attempt {
                attempt.fail(&Outcome::of(OutcomeKind::Unreachable));
            }
            Err(error)
        }
    }
}

fn finish_by_head<B>(
    attempt: Attempt,
    endpoint: Endpoint,
    classify: &dyn Classify,
    response: &Response<B>,
) {
    let callers_own = attempt.target().provider().takes_callers_credential()
        && matches!(response.status().as_u16(), 401..=403);
    if response.status().is_success() {
        attempt.succeed();
    } else if callers_own {
        // Nothing that the caller's own credential is refused says anything to others.
        attempt.fail(&Outcome::of(OutcomeKind::Refused));
    } else {
        let headers = response.headers();
        let error = UpstreamError::read(response.status(), headers, Bytes::new());
        let (target, now) = (attempt.target(), attempt.map().wall());
        let evidence = Evidence::new(target, endpoint, headers, &error, now);
        let outcome = classify.classify(&evidence);
        attempt.fail(&outcome);
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<Body>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
