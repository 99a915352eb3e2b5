//! A small chat, and a service that answers it in place of an upstream.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::json;
use tower::Service;

/// A small chat, as a client of OpenAI's sends it.
pub(crate) fn chat(streams: bool) -> Request<Full<Bytes>> {
    let body = match streams {
        true => {
            r#"{"model":"free","messages":[{"role":"system","content":"You are brief."},{"role":"user","content":"What does the river take?"}],"stream":true}"#
        }
        false => {
            r#"{"model":"free","messages":[{"role":"system","content":"You are brief."},{"role":"user","content":"What does the river take?"}],"temperature":0.7}"#
        }
    };
    Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .header("authorization", "Bearer caller")
        .header("user-agent", "bench/1")
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .expect("a request")
}

/// Answers at once: with one JSON document, or with fifty events and their end.
#[derive(Clone)]
pub(crate) struct Mock {
    kind: &'static str,
    /// Clones of the service share them, so that a clone allocates nothing.
    frames: Arc<[Bytes]>,
}

impl Mock {
    pub(crate) fn answer() -> Self {
        let text = "The river takes what the river is given. ".repeat(20);
        let answer = json!({
            "id": "gen-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 10, "completion_tokens": 200, "total_tokens": 210, "cost": 0 },
        });
        Self {
            kind: "application/json",
            frames: [answer.to_string().into()].into(),
        }
    }

    pub(crate) fn events() -> Self {
        let chunk = |delta: &str, finish: &str| {
            Bytes::from(format!(
                "data: {{\"id\":\"gen-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
                 \"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
            ))
        };
        let mut frames = vec![chunk(r#"{"content":" word"}"#, "null"); 50];
        frames.push(chunk("{}", "\"stop\""));
        frames.push(Bytes::from_static(b"data: [DONE]\n\n"));
        Self {
            kind: "text/event-stream",
            frames: frames.into(),
        }
    }

    /// The same answer in one frame.
    pub(crate) fn in_one_frame(self) -> Self {
        let frames = [self.frames.concat().into()].into();
        Self { frames, ..self }
    }
}

impl<B> Service<Request<B>> for Mock {
    type Response = Response<UnsyncBoxBody<Bytes, Infallible>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        black_box(&request);
        let body = match &self.frames[..] {
            [whole] => Full::new(whole.clone()).boxed_unsync(),
            frames => {
                let frames: Vec<_> = frames.iter().cloned().map(|f| Ok(Frame::data(f))).collect();
                StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
            }
        };
        let response = Response::builder().header("content-type", self.kind);
        ready(Ok(response.body(body).expect("a response")))
    }
}
