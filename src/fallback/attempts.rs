//! The way of a routed request: attempt after attempt, until one answers or there is nothing left to try.

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header, request};
use tokio::time::{Instant, sleep_until, timeout_at};
use tower_service::Service;

use super::{
    body::ResponseBody,
    config::Config,
    deadlines::Wait,
    inspect::{Answer, DRAIN_TIME, Incoming, drain, look},
    judge::{Judge, Next},
    watch::Watch,
};
use crate::{
    attempt_slot::{NoTarget, OpenSlot, Taken},
    body::{Body, BoxError},
    byte_budget::Held,
    deadline::within,
    health::Attempt,
    ready_service::{holding, ready},
    refusal::Refusal,
    request::{Admitted, Parsed},
    upstream::{Irregular, resets},
};

/// Answers a routed request, with an instance of the inner service that was polled ready.
pub(super) async fn answer<S, B, R>(
    config: Arc<Config>,
    admitted: Admitted,
    parts: request::Parts,
    body: B,
    readied: S,
) -> Result<Response<ResponseBody<R>>, S::Error>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    R: http_body::Body<Data = Bytes>,
{
    // This one is never called: each later attempt gets a clone of it.
    let spare = readied.clone();
    let mut readied = Some(readied);
    let received = {
        let receive = pin!(receive(&config, admitted, parts, body));
        holding(&mut readied, receive).await
    };
    let mut judge = match received {
        Ok((parsed, held)) => Judge::new(config, parsed, held),
        Err(refusal) => return Ok(refusal.into_response().map(ResponseBody::bytes)),
    };
    loop {
        let service = match readied.take() {
            Some(service) => Some(service),
            None => {
                let ready = pin!(ready(spare.clone()));
                within(ready, || judge.deadlines.end).await.transpose()?
            }
        };
        let next = match service {
            None => judge.out_of_time(),
            Some(service) => match call(&mut judge, service).await {
                Came::Response(attempt, response) => {
                    match inspect(&mut judge, attempt, response).await {
                        Ok(response) => return Ok(response),
                        Err(next) => next,
                    }
                }
                Came::Error(attempt, error) => judge.unreachable(attempt, error),
                Came::Nothing(Some(attempt)) => judge.too_slow(attempt),
                Came::Nothing(None) => judge.out_of_time(),
                Came::NoTarget(no_target) => wait(&mut judge, no_target).await,
                Came::Unrouted(response) => {
                    let mut response = response?.map(ResponseBody::passing);
                    match judge.instead_of(&mut response) {
                        None => return Ok(response),
                        Some(next) => next,
                    }
                }
            },
        };
        match next {
            Next::Attempt => {}
            Next::Answer(response) => return Ok(response.map(ResponseBody::bytes)),
            Next::Error(error) => return Err(error),
        }
    }
}

/// Collects the request and reads it.
async fn receive<B>(
    config: &Config,
    admitted: Admitted,
    parts: request::Parts,
    body: B,
) -> Result<(Parsed, Held), Refusal>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (mut body, held) = config.bounds.collect(body, admitted.assembly()).await?;
    let parsed = Parsed {
        envelope: admitted.read(&mut body)?,
        parts,
        body,
    };
    Ok((parsed, held))
}

/// What came of one call of the inner service.
enum Came<R, E> {
    Response(Attempt, Response<R>),
    Error(Attempt, E),
    /// The deadline came first.
    Nothing(Option<Attempt>),
    /// The router has found no target.
    NoTarget(NoTarget),
    /// There is no router, or it has refused the request: there is nothing to choose.
    Unrouted(Result<Response<R>, E>),
}

/// Calls the inner service, in which the router begins an attempt, and waits for the head of the response.
async fn call<S, R>(judge: &mut Judge<S::Error>, mut service: S) -> Came<R, S::Error>
where
    S: Service<Request<Body>, Response = Response<R>>,
{
    let mut began = Instant::now();
    let (request, slot) = judge.request(began);
    let slot = OpenSlot(slot);
    let future = pin!(service.call(request));
    drop(service);
    // Whether other targets could have been tried is known when the router has picked one. Where a layer in between queues
    // requests, that takes longer than the first poll: as long as there is no attempt, none is too slow, and the deadline is
    // put off.
    let open = &slot.0;
    let deadline = move || {
        let usual = open.usual();
        if usual.is_none() {
            began = Instant::now();
        }
        judge.head_deadline(began, usual)
    };
    let came = within(future, deadline).await;
    match (came, slot.0.take()) {
        (Some(Ok(response)), Taken::Attempt(attempt)) => Came::Response(attempt, response),
        (Some(Err(error)), Taken::Attempt(attempt)) => Came::Error(attempt, error),
        (None, Taken::Attempt(attempt)) => Came::Nothing(Some(attempt)),
        (Some(Ok(_)), Taken::NoTarget(no_target)) => Came::NoTarget(no_target),
        (Some(result), _) => Came::Unrouted(result),
        (None, _) => Came::Nothing(None),
    }
}

/// Waits for a target, if there is one that is worth waiting for.
async fn wait<E>(judge: &mut Judge<E>, no_target: NoTarget) -> Next<E> {
    let end = match judge.wait(&no_target) {
        Wait::Until(end) => end,
        Wait::Over => return Next::Attempt,
        Wait::OutOfTime => return judge.out_of_time(),
        Wait::Refuse => return judge.no_target(no_target.refusal),
    };
    if let Some(place) = &no_target.place {
        // Whether it was called or the time is over: it looks again.
        let _ = timeout_at(end, place.called()).await;
    } else {
        sleep_until(end).await;
    }
    judge.waited(no_target.place);
    Next::Attempt
}

/// Reads a response until it is clear what it is. A success is passed on; what a failure means, the judge says.
async fn inspect<R, E>(
    judge: &mut Judge<E>,
    attempt: Attempt,
    response: Response<R>,
) -> Result<Response<ResponseBody<R>>, Next<E>>
where
    R: http_body::Body<Data = Bytes>,
{
    let (head, body) = response.into_parts();
    let body = Box::pin(body);
    let mut incoming = Incoming {
        attempt,
        head,
        body,
    };
    if !incoming.head.status.is_success() {
        let end = judge.deadlines.until(Instant::now(), DRAIN_TIME);
        let body = drain(incoming.body.as_mut(), end).await;
        let Incoming { attempt, head, .. } = incoming;
        return Err(judge.failure(attempt, head, body));
    }
    let attempt = &incoming.attempt;
    attempt.responded();
    if let Some(reset) = resets::exhausted(&incoming.head.headers, attempt.map().wall()) {
        attempt.exhausted(reset);
    }
    let limits = judge.limits(attempt);
    match look(&mut incoming, limits).await {
        Ok(answer) => Ok(commit(judge, incoming, answer)),
        Err(failure) => Err(judge.no_answer(incoming.attempt, incoming.head, failure)),
    }
}

/// From here on bytes reach the client.
fn commit<R, E>(
    judge: &mut Judge<E>,
    incoming: Incoming<R>,
    answer: Answer,
) -> Response<ResponseBody<R>>
where
    R: http_body::Body<Data = Bytes>,
{
    let Incoming {
        mut attempt,
        mut head,
        body,
    } = incoming;
    attempt.commit();
    let id = attempt.target().id().clone();
    let (endpoint, config) = (judge.endpoint(), &judge.config);
    let idle = config.idle_timeout;
    let watch = |attempt, headers| Watch::new(attempt, judge.classify(), endpoint, headers);
    let body = match answer {
        Answer::Stream(buffer) => {
            // An error may have to be appended; and one that comes later is classified with the head of the response.
            head.headers.remove(header::CONTENT_LENGTH);
            let watch = watch(attempt, head.headers.clone());
            ResponseBody::events(body, buffer, watch, idle)
        }
        Answer::Whole {
            frames,
            trailers,
            is_irregular,
        } => {
            if is_irregular {
                head.extensions.insert(Irregular {
                    endpoint,
                    model: id.model().to_owned(),
                    now: attempt.map().wall(),
                });
            }
            if trailers.is_some() {
                // HTTP/1 has trailers only where the length is not said.
                head.headers.remove(header::CONTENT_LENGTH);
            }
            attempt.succeed();
            ResponseBody::whole(frames, trailers)
        }
        Answer::Part(frames) if frames.len() == 0 && http_body::Body::is_end_stream(&body) => {
            attempt.succeed();
            ResponseBody::whole(frames, None)
        }
        Answer::Part(frames) => {
            ResponseBody::rest(frames, body, watch(attempt, HeaderMap::new()), idle)
        }
    };
    let mut response = Response::from_parts(head, body);
    judge.succeeded(&id, &mut response);
    response
}
