//! The older API for texts: a prompt and no messages.

use std::time::Duration;

use axum::{
    body::Bytes,
    response::{Response, sse::Event},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    manner::Pace,
    request::{ChatRequest, Message},
    wire::{Reply, processing, respond},
};

/// A request, as far as it matters here.
#[derive(Deserialize)]
struct Completion {
    model: String,
    prompt: Value,
    #[serde(default)]
    stream: bool,
    max_tokens: Option<u64>,
}

/// Reads a request as the chat that it stands for.
pub(super) fn read(body: &Bytes) -> serde_json::Result<ChatRequest> {
    let Completion {
        model,
        prompt,
        stream,
        max_tokens,
    } = serde_json::from_slice(body)?;
    let prompt = match prompt {
        Value::Array(prompts) => {
            let texts: Vec<_> = prompts.iter().filter_map(Value::as_str).collect();
            texts.join(" ")
        }
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    Ok(ChatRequest {
        model,
        messages: vec![Message {
            role: "user".to_owned(),
            content: Value::String(prompt),
        }],
        stream,
        max_tokens,
        ..ChatRequest::default()
    })
}

/// The answer in one piece.
pub(super) fn whole(reply: &Reply) -> Value {
    let text = reply.answer.pieces().concat();
    let mut whole = chunk(reply, &text, Some(reply.answer.finish_reason()));
    whole["usage"] = reply.usage();
    whole
}

/// The answer as events, word by word.
pub(super) fn stream(reply: &Reply, pace: Pace) -> Response {
    let mut events = processing(pace.beats);
    let mut send =
        |wait, value: Value| events.push((wait, Event::default().data(value.to_string())));
    for piece in reply.answer.pieces() {
        send(pace.word, chunk(reply, piece, None));
    }
    let last = chunk(reply, "", Some(reply.answer.finish_reason()));
    send(Duration::ZERO, last);
    respond(events, Some("[DONE]"))
}

fn chunk(reply: &Reply, text: &str, finish: Option<&str>) -> Value {
    json!({
        "id": format!("cmpl-sim-{}", reply.number),
        "object": "text_completion",
        "created": reply.seconds(),
        "model": reply.model,
        "choices": [{ "index": 0, "text": text, "logprobs": null, "finish_reason": finish }],
    })
}
