use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    body::ResponseBody,
    forward,
    routed::Routed,
    router::{Info, Router},
};
use crate::{
    body::{Body, BoxError},
    error::Refusal,
    fallback::{Classify, DefaultClassify, Evidence},
    health::Attempt,
    intake::Collect,
    memory::Held,
    outcome::{Outcome, OutcomeKind},
    readied::Readied,
    request::Endpoint,
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
        Collecting { #[pin] collect: Collect<B>, job: Option<Job>, service: Option<Readied<S>> },
        // The body is whole; if that took its time, another instance has to become ready first.
        Readying { service: Readied<S>, job: Option<Job>, whole: Option<(Bytes, Held)> },
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
    pub(super) const fn passing(future: S::Future) -> Self {
        Self {
            state: State::Calling { future, info: None },
        }
    }

    pub(super) const fn refused(refusal: Refusal) -> Self {
        Self {
            state: State::Refused {
                refusal: Some(refusal),
            },
        }
    }

    pub(super) fn routing(
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
                service: Some(Readied::ready(readied)),
            },
        }
    }
}

impl<S, B, ResBody> Future for ResponseFuture<S, B>
where
    S: Service<Request<Body>, Response = Response<ResBody>> + Clone,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

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
                    let result = ready!(future.poll(cx));
                    let info = info.take();
                    state.set(State::Done);
                    return Poll::Ready(finish(result, info));
                }
                StateProj::Refused { refusal } => {
                    let refusal = refusal.take();
                    state.set(State::Done);
                    match refusal {
                        Some(refusal) => {
                            return Poll::Ready(Ok(refusal
                                .into_response()
                                .map(ResponseBody::refusal)));
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

/// Marks a response with the target it came from. Without a fallback around, its head is all that is known of it.
fn finish<R, E>(
    result: Result<Response<R>, E>,
    info: Option<Info>,
) -> Result<Response<ResponseBody<R>>, E> {
    let Some(Info {
        target,
        dropped,
        attempt,
    }) = info
    else {
        return result.map(|response| response.map(ResponseBody::upstream));
    };
    match result {
        Ok(mut response) => {
            if let Some(attempt) = attempt {
                finish_by_head(attempt, &response);
            }
            forward::clean(response.headers_mut(), &target);
            Routed {
                target,
                trail: Vec::new(),
                dropped,
            }
            .mark(&mut response);
            Ok(response.map(ResponseBody::upstream))
        }
        Err(error) => {
            if let Some(attempt) = attempt {
                attempt.fail(&Outcome::of(OutcomeKind::Unreachable));
            }
            Err(error)
        }
    }
}

fn finish_by_head<B>(attempt: Attempt, response: &Response<B>) {
    let callers_own = attempt.target().provider().takes_callers_credential()
        && matches!(response.status().as_u16(), 401..=403);
    if response.status().is_success() {
        attempt.succeed();
    } else if callers_own {
        // Nothing that the caller's own credential is refused says anything to others.
        attempt.fail(&Outcome::of(OutcomeKind::Refused));
    } else {
        let now = attempt.map().wall();
        let outcome = DefaultClassify.classify(&Evidence::new(
            response.status(),
            response.headers(),
            &[],
            now,
        ));
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
