//! What the cases are measured with: bodies, pools, and a service in place of an upstream.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::{Value, json};
use tower::Service;
use tower_free_models::{
    HealthMap, Model, Provider, Target,
    classify::{Outcome, OutcomeKind, Recovery},
    provider::FreeRule,
};

// ---- Bodies of requests.

/// A conversation of about `len` bytes.
pub(crate) fn conversation(len: usize) -> Bytes {
    let turn =
        "Please look at the second paragraph again:\n\"the river will take it\" is too strong. ";
    let messages: Vec<_> = (0..len / (turn.len() + 45) + 1)
        .map(|n| json!({"role": if n % 2 == 0 { "user" } else { "assistant" }, "content": turn}))
        .collect();
    request(&json!(messages))
}

/// A conversation of about `len` bytes with all that makes a body hard to read fast: tools and their calls, parts, several
/// roles, scripts beyond ASCII, escapes, and the name of the model behind it all.
pub(crate) fn mixed(len: usize) -> Bytes {
    let round = r#"{"role":"user","content":[{"type":"text","text":"请看第二段：\n\"the river will take it\"\tis too strong — nicht wahr? \ud83d\ude00"}]},
        {"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"look_up","arguments":"{\"title\":\"The river\",\"lines\":[3,4,5]}"}}]},
        {"role":"tool","tool_call_id":"call_1","content":"{\"text\":\"Что река возьмёт, то и отдаст. 川は流れる。\"}"},
        {"role":"assistant","name":"editor","content":"It is, a little.\n\n- first, the verb\n- then the \\ in the title"}"#;
    let rounds = vec![round; len / round.len() + 1].join(",");
    let tools = r#"[{"type":"function","function":{"name":"look_up","description":"Finds lines of a poem.","parameters":{"type":"object","properties":{"title":{"type":"string"},"lines":{"type":"array","items":{"type":"integer"}}},"required":["title"]}}}]"#;
    format!(r#"{{"messages":[{{"role":"system","content":"You are brief."}},{rounds}],"tools":{tools},"tool_choice":"auto","stream":true,"model":"free"}}"#).into()
}

/// A question about an image of `len` bytes of base64.
pub(crate) fn image(len: usize) -> Bytes {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let data: String = (0..len).map(|n| alphabet[n * 7919 % 64] as char).collect();
    let url = format!("data:image/png;base64,{data}");
    request(&json!([{"role": "user", "content": [
        {"type": "text", "text": "What is in this image?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]}]))
}

fn request(messages: &Value) -> Bytes {
    let body = json!({"model": "free", "stream": true, "max_tokens": 1000, "messages": messages});
    body.to_string().into()
}

// ---- Requests.

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

// ---- Pools.

/// So many targets, at five providers.
pub(crate) fn pool(size: usize) -> Vec<Target> {
    let providers: Vec<_> = (0..5)
        .map(|n| {
            Provider::new(format!("provider-{n}"))
                .base_url(&format!("https://provider-{n}.example/v1"))
                .key("key")
                .free(FreeRule::All)
                .build()
                .expect("a provider")
        })
        .collect();
    (0..size)
        .map(|n| {
            let model = Model::new(format!("author/model-{n}:free")).context_length(131_072);
            providers[n % 5].target(model).expect("a free model")
        })
        .collect()
}

/// A map in which every third target has failed and all others have succeeded.
pub(crate) fn history(targets: &[Target]) -> HealthMap {
    let health = HealthMap::seeded(7);
    for (n, target) in targets.iter().enumerate() {
        let attempt = health.begin(target).expect("nothing is held against it");
        match n % 3 {
            // One must be left to pick.
            1 if n > 1 => {
                let hour = Recovery::After(Duration::from_secs(3600));
                attempt.fail(&Outcome::of(OutcomeKind::RateLimited).until(hour));
            }
            _ => attempt.succeed(),
        }
    }
    health
}

/// Rows as OpenRouter has them, about 1.3 kB each; every tenth is free.
pub(crate) fn listing(rows: usize) -> Bytes {
    let rows = (0..rows).map(|n| {
        let (suffix, price) = if n % 10 == 0 { (":free", "0") } else { ("", "0.0000012") };
        json!({
            "id": format!("author-{}/model-{n}{suffix}", n % 40),
            "canonical_slug": format!("author-{}/model-{n}", n % 40),
            "name": format!("Author: Model {n}"),
            "created": 1_760_000_000 + n,
            "description": "A model of many words. ".repeat(25),
            "context_length": 131_072,
            "architecture": {
                "modality": "text+image->text",
                "input_modalities": ["text", "image"],
                "output_modalities": ["text"],
                "tokenizer": "Other",
                "instruct_type": null,
            },
            "pricing": { "prompt": price, "completion": price, "request": "0", "image": "0" },
            "top_provider": { "context_length": 131_072, "max_completion_tokens": 16_384, "is_moderated": false },
            "per_request_limits": null,
            "supported_parameters": [
                "max_tokens", "temperature", "top_p", "tools", "tool_choice", "response_format",
                "structured_outputs", "stop", "seed", "frequency_penalty", "presence_penalty",
            ],
        })
    });
    json!({ "data": rows.collect::<Vec<_>>() })
        .to_string()
        .into()
}

// ---- The upstream.

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
