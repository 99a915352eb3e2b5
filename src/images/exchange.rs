//! One request for images, from the client's request to its answer.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use serde_json::Value;
use tokio::time::timeout_at;
use tower_service::Service;

use crate::{
    attempt_slot::AttemptSlot,
    body::Body,
    byte_budget::ByteBudget,
    endpoint::Endpoint,
    health::HealthMap,
    images::{
        Api, Handover, Translated,
        attempts::Attempts,
        calls::{Calls, Drawn, Failure},
        chat,
        collect::counted,
        openrouter,
        request::ImageRequest,
        sdapi::{self, Generation},
    },
    outcome::{Outcome, OutcomeKind},
    provider::{Queue, Turn},
    refusal::Refusal,
    upstream::relabel,
};

/// Asks the target for images and answers as OpenAI would. The first call is made by the instance that is ready.
pub(super) async fn translate<S, R>(
    handover: Handover,
    request: Request<Body>,
    memory: ByteBudget,
    readied: S,
) -> Result<Response<Bytes>, S::Error>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    // The body keeps its place in the memory of bodies: what is asked holds what was in it.
    let (parts, _body) = request.into_parts();
    let Handover {
        api,
        target,
        body,
        slot,
        health,
    } = handover;
    let mut translated = Translated::default();
    let mut attempts = Attempts::new(slot.clone(), target.clone(), health.clone());
    let mut calls = Calls::new(parts, target.clone(), health.clone(), memory, readied);
    let model = target.model();
    let answered = async {
        let request = ImageRequest::read(&body, model)?;
        let drawn = match api {
            Api::Chat => {
                translated.dropped = request.left_out(&[]);
                let question = chat::question(model.id(), &request);
                let drawn = chats(&mut calls, &mut attempts, &question, request.n).await?;
                if drawn.drawing.is_short_of(request.n) {
                    translated.adjusted.push("n".to_owned());
                }
                drawn
            }
            Api::OpenRouter => {
                translated.dropped = request.left_out(openrouter::FIELDS);
                let question = openrouter::question(model.id(), &request);
                let reply = calls.post(openrouter::PATH, &question, 0).await?;
                calls.drawn(reply, 0, openrouter::read)?
            }
            Api::Sdapi => {
                let generation = Generation::new(model.id(), &request)?;
                translated.dropped = request.left_out(sdapi::FIELDS);
                let queue = target.provider().queue();
                let queue = queue.map_or_else(Queue::new, Arc::clone);
                generate(&mut calls, &generation, &queue, &slot).await?
            }
        };
        answer(&calls, drawn, &request, &health)
    };
    let mut response = match answered.await {
        Ok(response) => response,
        Err(Failure::Service(error)) => return Err(error),
        Err(Failure::Answer(response)) => *response,
        Err(Failure::Memory | Failure::Time) => {
            attempts.withdraw();
            too_busy().into_response()
        }
    };
    response.extensions_mut().insert(translated);
    Ok(response)
}

/// A chat makes one image, so `n` images are `n` chats, one after the other. Where a further chat fails or may not be made,
/// the images that are there are the answer.
async fn chats<S, R>(
    calls: &mut Calls<S>,
    attempts: &mut Attempts,
    question: &Value,
    n: usize,
) -> Result<Drawn, Failure<S::Error>>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    let mut drawn = one_chat(calls, question, 0).await?;
    drawn.drawing.pictures.truncate(n);
    while drawn.drawing.is_short_of(n) {
        // What costs is not asked for again.
        let may_go_on = match drawn.billed {
            true => Err("billed"),
            false => attempts.next(&drawn.head.headers),
        };
        if let Err(stopped_by) = may_go_on {
            drawn.drawing.stopped(n, stopped_by);
            return Ok(drawn);
        }
        drawn.room = None;
        let chat = one_chat(calls, question, drawn.length);
        let further = match attempts.until() {
            Some(until) => timeout_at(until, chat).await.unwrap_or(Err(Failure::Time)),
            None => chat.await,
        };
        let stopped_by = match further {
            Ok(further) => {
                let is_empty = further.drawing.pictures.is_empty();
                drawn.add(further);
                drawn.drawing.pictures.truncate(n);
                if !is_empty {
                    continue;
                }
                attempts.ended(&Outcome::of(OutcomeKind::Empty))
            }
            Err(failure) => attempts.failed(&failure),
        };
        drawn.drawing.stopped(n, stopped_by);
        return Ok(drawn);
    }
    Ok(drawn)
}

/// Answers with so many bytes are held beside that of the chat.
async fn one_chat<S, R>(
    calls: &mut Calls<S>,
    question: &Value,
    beside: usize,
) -> Result<Drawn, Failure<S::Error>>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    let path = Endpoint::ChatCompletions.versioned_path();
    let reply = calls.post(path, question, beside).await?;
    calls.drawn(reply, beside, chat::read)
}

/// A server ignores a checkpoint that it does not have, and another one would answer: so it is looked for first. Images are
/// made in turn, because the server makes one at a time.
async fn generate<S, R>(
    calls: &mut Calls<S>,
    generation: &Generation<'_>,
    queue: &Arc<Queue>,
    slot: &AttemptSlot,
) -> Result<Drawn, Failure<S::Error>>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    let checkpoints = calls.get(sdapi::CHECKPOINTS).await?;
    let question = generation.question(&checkpoints.body)?;
    drop(checkpoints);
    let turn = in_turn(queue, slot).await;
    let reports = calls.beside().report(&turn);
    let reply = while_reporting(calls.post(sdapi::TXT2IMG, &question, 0), reports).await?;
    drop(turn);
    calls.drawn(reply, 0, |reply| generation.read(&reply.body).map(Some))
}

/// Waits for the turn, and marks the attempt if there is something to wait for: the time that other requests take is no
/// fault of the server.
async fn in_turn(queue: &Arc<Queue>, slot: &AttemptSlot) -> Turn {
    let mut turn = pin!(queue.turn());
    poll_fn(|cx| {
        let turn = turn.as_mut().poll(cx);
        if turn.is_pending() {
            slot.waits_in_line();
        }
        turn
    })
    .await
}

/// Polls the reports for as long as the call takes.
async fn while_reporting<T>(
    call: impl Future<Output = T>,
    reports: impl Future<Output = Infallible>,
) -> T {
    let (mut call, mut reports) = (pin!(call), pin!(reports));
    poll_fn(|cx| {
        let answer = call.as_mut().poll(cx);
        if answer.is_pending() {
            // They have no end.
            let _ = reports.as_mut().poll(cx);
        }
        answer
    })
    .await
}

/// The answer with the images that are there.
fn answer<S: Clone, E>(
    calls: &Calls<S>,
    drawn: Drawn,
    request: &ImageRequest,
    health: &HealthMap,
) -> Result<Response<Bytes>, Failure<E>> {
    let Drawn {
        mut head,
        drawing,
        length,
        room,
        ..
    } = drawn;
    let room = match room {
        Some(room) => room,
        None => calls.room(length)?,
    };
    let since = health.wall().duration_since(UNIX_EPOCH);
    let created = since.map(|since| since.as_secs()).unwrap_or_default();
    let body = counted(drawing.into_bytes(created, request.as_url), room);
    head.status = StatusCode::OK;
    head.headers.remove(header::TRAILER);
    relabel(&mut head.headers, body.len());
    Ok(Response::from_parts(head, body))
}

fn too_busy() -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "too_many_images",
        "Too many large images are being served at the moment. Try again shortly.",
    )
    .retry_after(Duration::from_secs(1))
}
