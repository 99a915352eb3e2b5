//! The Responses API: its requests read as the chats that they stand for, its answers as items and events.

use std::time::Duration;

use axum::{
    body::Bytes,
    response::{Response, sse::Event},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    answer::Answer,
    manner::Pace,
    request::{ChatRequest, Message},
    wire::{Reply, processing, respond},
};

/// A request, as far as it matters here.
#[derive(Deserialize)]
struct Request {
    model: String,
    input: Value,
    #[serde(default)]
    stream: bool,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    text: Option<Value>,
    max_output_tokens: Option<u64>,
}

/// Reads a request as the chat that it stands for.
pub(super) fn read(body: &Bytes) -> serde_json::Result<ChatRequest> {
    let request: Request = serde_json::from_slice(body)?;
    let messages = match request.input {
        Value::Array(items) => items.into_iter().filter_map(message).collect(),
        text => vec![said("user", text)],
    };
    // Here a function stands beside its type; a chat nests it.
    let nested = |function: Value| json!({ "type": "function", "function": function });
    let tools = request.tools.map(|tools| tools.into_iter().map(nested));
    let choice = request.tool_choice.map(|choice| match choice {
        Value::Object(named) => nested(Value::Object(named)),
        word => word,
    });
    let format = request.text.and_then(|text| {
        let format = text.get("format")?.clone();
        Some(json!({ "type": format["type"], "json_schema": format }))
    });
    Ok(ChatRequest {
        model: request.model,
        messages,
        stream: request.stream,
        tools: tools.map(Iterator::collect),
        tool_choice: choice,
        response_format: format,
        max_tokens: request.max_output_tokens,
        ..ChatRequest::default()
    })
}

fn message(item: Value) -> Option<Message> {
    match item["type"].as_str() {
        Some("function_call_output") => Some(said("tool", item["output"].clone())),
        Some("message") | None => {
            let role = item["role"].as_str().unwrap_or("user");
            Some(said(role, item["content"].clone()))
        }
        _ => None,
    }
}

fn said(role: &str, content: Value) -> Message {
    Message {
        role: role.to_owned(),
        content,
    }
}

/// The answer in one piece.
pub(super) fn whole(reply: &Reply) -> Value {
    let cut = reply.answer.finish_reason() == "length";
    let mut whole = envelope(reply, if cut { "incomplete" } else { "completed" });
    if cut {
        whole["incomplete_details"] = json!({ "reason": "max_output_tokens" });
    }
    whole["output"] = json!([item(reply, &reply.answer.pieces().concat(), "completed")]);
    let usage = reply.usage();
    whole["usage"] = json!({
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": { "cached_tokens": 0 },
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": usage["total_tokens"],
        "cost": 0,
    });
    whole
}

/// The answer as events, word by word. There is no mark after the last one.
pub(super) fn stream(reply: &Reply, pace: Pace) -> Response {
    let mut events = processing(pace.beats);
    let mut number = 0;
    let mut send = |wait, name: &str, mut data: Value| {
        data["type"] = json!(name);
        data["sequence_number"] = json!(number);
        number += 1;
        let event = Event::default().event(name).data(data.to_string());
        events.push((wait, event));
    };
    let now = Duration::ZERO;
    let text = reply.answer.pieces().concat();
    let begun = json!({ "response": envelope(reply, "in_progress") });
    send(now, "response.created", begun.clone());
    send(now, "response.in_progress", begun);
    let added = json!({ "output_index": 0, "item": item(reply, "", "in_progress") });
    send(now, "response.output_item.added", added);

    let at = json!({ "item_id": item_id(reply), "output_index": 0 });
    let with = |fields: Value| {
        let mut data = at.clone();
        if let (Some(data), Value::Object(fields)) = (data.as_object_mut(), fields) {
            data.extend(fields);
        }
        data
    };
    match reply.answer {
        Answer::Text { .. } => {
            let added = with(json!({ "content_index": 0, "part": part("") }));
            send(now, "response.content_part.added", added);
            for piece in reply.answer.pieces() {
                let delta = with(json!({ "content_index": 0, "delta": piece, "logprobs": [] }));
                send(pace.word, "response.output_text.delta", delta);
            }
            let done = with(json!({ "content_index": 0, "text": text, "logprobs": [] }));
            send(now, "response.output_text.done", done);
            let done = with(json!({ "content_index": 0, "part": part(&text) }));
            send(now, "response.content_part.done", done);
        }
        Answer::Call { .. } => {
            for piece in reply.answer.pieces() {
                let delta = with(json!({ "delta": piece }));
                send(pace.word, "response.function_call_arguments.delta", delta);
            }
            let done = with(json!({ "arguments": text }));
            send(now, "response.function_call_arguments.done", done);
        }
    }
    let done = json!({ "output_index": 0, "item": item(reply, &text, "completed") });
    send(now, "response.output_item.done", done);
    let whole = whole(reply);
    let end = format!("response.{}", whole["status"].as_str().unwrap_or_default());
    send(now, &end, json!({ "response": whole }));
    respond(events, None)
}

fn envelope(reply: &Reply, status: &str) -> Value {
    json!({
        "id": format!("resp_sim_{}", reply.number),
        "object": "response",
        "created_at": reply.seconds(),
        "status": status,
        "error": null,
        "incomplete_details": null,
        "model": reply.model,
        "output": [],
        "parallel_tool_calls": true,
        "tool_choice": "auto",
        "tools": [],
        "usage": null,
    })
}

/// The one item of the answer, with so much of its text.
fn item(reply: &Reply, text: &str, status: &str) -> Value {
    match &reply.answer {
        Answer::Text { .. } => json!({
            "id": item_id(reply),
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": if text.is_empty() { json!([]) } else { json!([part(text)]) },
        }),
        Answer::Call { name, .. } => json!({
            "id": item_id(reply),
            "type": "function_call",
            "status": status,
            "call_id": format!("call_sim_{}", reply.number),
            "name": name,
            "arguments": text,
        }),
    }
}

fn item_id(reply: &Reply) -> String {
    let kind = match reply.answer {
        Answer::Text { .. } => "msg",
        Answer::Call { .. } => "fc",
    };
    format!("{kind}_sim_{}", reply.number)
}

fn part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}
