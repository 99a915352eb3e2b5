//! The way of a routed request: attempt after attempt, until one answers or there is nothing left to try.

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header, request};
use tokio::time::{Instant, sleep_until, timeout_at};
use tower_service::Service;

use super::{
    body::ResponseBody,
    call::{Call, Came},
    config::Config,
    deadlines::Wait,
    hedging::{Either, Hedges, either},
    inspect::{Answer, Incoming},
    judge::{Judge, Next},
    watch::Watch,
};
use crate::{
    attempt_slot::NoTarget,
    body::{Body, BoxError},
    byte_budget::Held,
    deadline::within,
    ready_service::{holding, ready},
    refusal::Refusal,
    request::{Admitted, Parsed},
    upstream::Irregular,
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
    let mut spare = readied.clone();
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
            Some(service) => match attempt(&mut judge, service, &mut spare).await {
                Ok(response) => return Ok(response),
                Err(next) => next,
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

/// What became of a call: the answer, or what comes next.
type Concluded<R, E> = Result<Response<ResponseBody<R>>, Next<E>>;

/// Asks one target, and a second one beside it if the first takes too long and the layer is set so.
///
/// `spare` is cloned only, and `&mut` because it need not be `Sync`.
async fn attempt<S, R>(
    judge: &mut Judge<S::Error>,
    service: S,
    spare: &mut S,
) -> Concluded<R, S::Error>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    let call = judge.call();
    match judge.hedges() {
        None => {
            let came = call.make(service).await;
            conclude(judge, came).await
        }
        // On the heap, because it is larger than all else and rare.
        Some(hedges) => Box::pin(hedged(judge, &hedges, call, service, spare)).await,
    }
}

/// Asks one target, and a second one beside it if the first takes longer than usual. The first answer wins.
async fn hedged<S, R>(
    judge: &mut Judge<S::Error>,
    hedges: &Hedges,
    mut call: Call,
    service: S,
    spare: &mut S,
) -> Concluded<R, S::Error>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    let progress = call.watch();
    let deadlines = judge.deadlines.clone();
    let mut first = pin!(call.make(service));
    let late = || match progress.picked() {
        Some(picked) => deadlines.late(picked.began, Some(&picked.usual)),
        None => deadlines.late(Instant::now(), None),
    };
    if let Some(came) = within(first.as_mut(), late).await {
        return conclude(judge, came).await;
    }
    let picked = progress.picked().filter(|picked| {
        // What a probe finds out must not be cut off, and its target is not expected to answer soon.
        !picked.is_probe && !deadlines.are_over()
    });
    let picked = match picked {
        Some(picked) if hedges.take() => picked,
        _ => {
            let came = first.await;
            return conclude(judge, came).await;
        }
    };
    let mut call = judge.hedge(&picked.target);
    let beside = call.watch();
    let ready = ready(spare.clone());
    let mut second = pin!(async {
        match within(pin!(ready), || deadlines.end).await {
            None => Came::OutOfTime,
            Some(Err(error)) => Came::Unrouted(Err(error)),
            Some(Ok(service)) => call.make(service).await,
        }
    });
    match either(first.as_mut(), second.as_mut()).await {
        Either::First(came) => {
            judge.set_beside(beside.picked().map(|picked| picked.target));
            match conclude(judge, came).await {
                Err(Next::Attempt) => {}
                concluded => return concluded,
            }
            judge.set_beside(None);
            match second.await {
                came if came.has_attempt() => conclude(judge, came).await,
                _ => {
                    hedges.give_back();
                    Err(Next::Attempt)
                }
            }
        }
        Either::Second(came) if came.has_attempt() => {
            judge.set_beside(Some(picked.target));
            match conclude(judge, came).await {
                Err(Next::Attempt) => {}
                concluded => return concluded,
            }
            judge.set_beside(None);
            let came = first.await;
            conclude(judge, came).await
        }
        // There was no second target, or it could not be called: that changes nothing for the first.
        Either::Second(_) => {
            hedges.give_back();
            let came = first.await;
            conclude(judge, came).await
        }
    }
}

/// What a call means for the request.
async fn conclude<R, E>(judge: &mut Judge<E>, came: Came<R, E>) -> Concluded<R, E>
where
    R: http_body::Body<Data = Bytes>,
{
    Err(match came {
        Came::Answer(incoming, answer) => return Ok(commit(judge, incoming, answer)),
        Came::NoAnswer(attempt, head, failure) => judge.no_answer(attempt, head, failure),
        Came::Failure(attempt, head, body) => judge.failure(attempt, head, body),
        Came::Error(attempt, error) => judge.unreachable(attempt, error),
        Came::TooSlow(attempt) => judge.too_slow(attempt),
        Came::OutOfTime => judge.out_of_time(),
        Came::NoTarget(no_target) => wait(judge, no_target).await,
        Came::Unrouted(Err(error)) => Next::Error(error),
        Came::Unrouted(Ok(response)) => {
            let mut response = response.map(ResponseBody::passing);
            match judge.instead_of(&mut response) {
                None => return Ok(response),
                Some(next) => next,
            }
        }
    })
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
