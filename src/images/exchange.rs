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
use serde_json::{Value, json};
use tokio::time::timeout_at;
use tower_service::Service;

use super::{
    api::Api,
    attempts::Attempts,
    calls::{Calls, Drawn},
    chat,
    collect::counted,
    failure::Failure,
    handover::{Handover, Translated},
    openrouter,
    request::ImageRequest,
    sdapi::{self, Generation},
};
use crate::{
    attempt_slot::AttemptSlot,
    body::Body,
    byte_budget::ByteBudget,
    endpoint::Endpoint,
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
    let model = handover.target.model();
    let mut translated = Translated::default();
    let mut attempts = Attempts::new(&handover);
    let mut calls = Calls::new(&handover, &parts, &memory, readied);
    let answered = async {
        let request = ImageRequest::read(&handover.body, model)?;
        let drawn = match handover.api {
            Api::Chat => {
                translated.dropped = request.left_out(&[]);
                let question = chat::question(model.id(), &request);
                let drawn = calls.chats(&mut attempts, &question, request.n).await?;
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
                calls.generate(&generation).await?
            }
        };
        calls.answer(drawn, request.as_url)
    };
    let mut response = match answered.await {
        Ok(response) => response,
        Err(Failure::Service(error)) => return Err(error),
        Err(Failure::Answer(response)) => *response,
        Err(Failure::Stopped(_)) => {
            attempts.withdraw();
            too_busy().into_response()
        }
    };
    response.extensions_mut().insert(translated);
    Ok(response)
}

impl<S, R> Calls<'_, S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    /// A chat makes one image, so `n` images are `n` chats, one after the other. Where a further chat fails or may not be
    /// made, the images that are there are the answer.
    async fn chats(
        &mut self,
        attempts: &mut Attempts<'_>,
        question: &Value,
        n: usize,
    ) -> Result<Drawn, Failure<S::Error>> {
        let mut drawn = self.chat(question, 0).await?;
        let stopped_by = loop {
            drawn.drawing.pictures.truncate(n);
            if !drawn.drawing.is_short_of(n) {
                return Ok(drawn);
            }
            // What costs is not asked for again.
            if drawn.billed {
                break "billed";
            }
            if let Err(stopped_by) = attempts.next(&drawn.head.headers) {
                break stopped_by;
            }
            let chat = self.chat(question, drawn.length);
            let further = match attempts.until() {
                Some(until) => timeout_at(until, chat)
                    .await
                    .unwrap_or(Err(Failure::Stopped("time"))),
                None => chat.await,
            };
            match further {
                Ok(further) if further.drawing.pictures.is_empty() => {
                    drawn.drawing.add(further.drawing);
                    break attempts.ended(&Outcome::of(OutcomeKind::Empty));
                }
                Ok(further) => drawn.add(further),
                Err(failure) => break attempts.failed(&failure),
            }
        };
        drawn.drawing.metadata = json!({
            "images_asked_for": n,
            "images_made": drawn.drawing.pictures.len(),
            "stopped_by": stopped_by,
        });
        Ok(drawn)
    }

    /// Asks for one image. Answers with so many bytes are held beside the one to this.
    async fn chat(&mut self, question: &Value, beside: usize) -> Result<Drawn, Failure<S::Error>> {
        let path = Endpoint::ChatCompletions.versioned_path();
        let reply = self.post(path, question, beside).await?;
        self.drawn(reply, beside, chat::read)
    }

    /// A server ignores a checkpoint that it does not have, and another one would answer: so it is looked for first. Images
    /// are made in turn, because the server makes one at a time.
    async fn generate(&mut self, generation: &Generation<'_>) -> Result<Drawn, Failure<S::Error>> {
        let checkpoints = self.get(sdapi::CHECKPOINTS).await?;
        let question = generation.question(&checkpoints.body)?;
        drop(checkpoints);
        let queue = self.handover.target.provider().queue();
        let queue = queue.map_or_else(Queue::new, Arc::clone);
        let turn = in_turn(&queue, &self.handover.slot).await;
        let reports = self.beside().report(&turn);
        let reply = while_reporting(self.post(sdapi::TXT2IMG, &question, 0), reports).await?;
        drop(turn);
        self.drawn(reply, 0, |reply| generation.read(&reply.body).map(Some))
    }

    /// The answer with the images that are there.
    fn answer<E>(&self, drawn: Drawn, as_url: bool) -> Result<Response<Bytes>, Failure<E>> {
        let room = self.room(drawn.length)?;
        let since = self.handover.health.wall().duration_since(UNIX_EPOCH);
        let created = since.map(|since| since.as_secs()).unwrap_or_default();
        let body = counted(drawn.drawing.into_bytes(created, as_url), room);
        let mut head = drawn.head;
        head.status = StatusCode::OK;
        head.headers.remove(header::TRAILER);
        relabel(&mut head.headers, body.len());
        Ok(Response::from_parts(head, body))
    }
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

fn too_busy() -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "too_many_images",
        "Too many large images are being served at the moment. Try again shortly.",
    )
    .retry_after(Duration::from_secs(1))
}
