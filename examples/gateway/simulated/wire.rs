//! Answers in OpenAI's format, whole or as a stream of events.

use std::{convert::Infallible, time::Duration};

use axum::response::{
    IntoResponse, Response,
    sse::{Event, Sse},
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{answer::Answer, error, manner::Pace};

/// One answer with what its envelope needs.
pub(super) struct Reply {
    pub(super) number: u64,
    pub(super) created: u128,
    pub(super) model: &'static str,
    pub(super) prompt_tokens: u64,
    pub(super) answer: Answer,
}

impl Reply {
    /// The answer in one piece.
    pub(super) fn whole(&self) -> Value {
        let message = match &self.answer {
            Answer::Text { text, .. } => json!({ "role": "assistant", "content": text }),
            Answer::Call { .. } => json!({
                "role": "assistant",
                "content": null,
                "tool_calls": [self.call()],
            }),
        };
        let choice = json!({
            "index": 0,
            "message": message,
            "finish_reason": self.answer.finish_reason(),
        });
        let mut whole = self.envelope("chat.completion", &json!([choice]));
        whole["usage"] = self.usage();
        whole
    }

    /// The answer as events: comments until it begins, then word by word.
    pub(super) fn stream(&self, pace: Pace, usage: bool) -> Response {
        let mut events = processing(pace.beats);
        let mut send =
            |wait, value: Value| events.push((wait, Event::default().data(value.to_string())));

        send(
            Duration::ZERO,
            self.delta(&json!({ "role": "assistant", "content": "" }), None),
        );
        if let Answer::Call { .. } = self.answer {
            let mut call = self.call();
            call["index"] = json!(0);
            call["function"]["arguments"] = json!("");
            send(
                pace.word,
                self.delta(&json!({ "tool_calls": [call] }), None),
            );
        }
        for piece in self.answer.pieces() {
            let delta = match self.answer {
                Answer::Text { .. } => json!({ "content": piece }),
                Answer::Call { .. } => {
                    json!({ "tool_calls": [{ "index": 0, "function": { "arguments": piece } }] })
                }
            };
            send(pace.word, self.delta(&delta, None));
        }
        send(
            Duration::ZERO,
            self.delta(&json!({}), Some(self.answer.finish_reason())),
        );
        if usage {
            let mut last = self.envelope("chat.completion.chunk", &json!([]));
            last["usage"] = self.usage();
            send(Duration::ZERO, last);
        }
        respond(events, Some("[DONE]"))
    }

    fn delta(&self, delta: &Value, finish: Option<&str>) -> Value {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        self.envelope("chat.completion.chunk", &json!([choice]))
    }

    fn envelope(&self, object: &str, choices: &Value) -> Value {
        json!({
            "id": format!("chatcmpl-sim-{}", self.number),
            "object": object,
            "created": self.seconds(),
            "model": self.model,
            "choices": choices,
        })
    }

    /// When it was made, in seconds since the epoch.
    pub(super) fn seconds(&self) -> u64 {
        u64::try_from(self.created).unwrap_or_default()
    }

    fn call(&self) -> Value {
        let Answer::Call { name, arguments } = &self.answer else {
            return Value::Null;
        };
        json!({
            "id": format!("call_sim_{}", self.number),
            "type": "function",
            "function": { "name": name, "arguments": arguments },
        })
    }

    pub(super) fn usage(&self) -> Value {
        let completion = u64::try_from(self.answer.pieces().len()).unwrap_or_default();
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "cost": 0,
        })
    }
}

/// A stream that begins well and then holds an error instead of an answer.
pub(super) fn broken_stream(model: &str) -> Response {
    let mut events = processing(1);
    let mut chunk = error::broke_down(model).body();
    chunk["id"] = json!("chatcmpl-sim-broken");
    chunk["object"] = json!("chat.completion.chunk");
    chunk["model"] = json!(model);
    chunk["choices"] =
        json!([{ "index": 0, "delta": { "content": "" }, "finish_reason": "error" }]);
    events.push((Duration::ZERO, Event::default().data(chunk.to_string())));
    respond(events, Some("[DONE]"))
}

/// The comments that tell a client that the stream is alive while the model is not heard yet.
pub(super) fn processing(beats: u32) -> Vec<(Duration, Event)> {
    let beat = || (Pace::BEAT, Event::default().comment("SIMULATED PROCESSING"));
    (0..beats).map(|_| beat()).collect()
}

/// Sends the events, each after its wait, and the end mark where the API has one.
pub(super) fn respond(mut events: Vec<(Duration, Event)>, end: Option<&str>) -> Response {
    events.extend(end.map(|end| (Duration::ZERO, Event::default().data(end))));
    let events = stream::iter(events).then(|(wait, event)| async move {
        sleep(wait).await;
        Ok::<_, Infallible>(event)
    });
    Sse::new(events).into_response()
}
