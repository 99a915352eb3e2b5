//! What the layers cost around a service that answers at once, next to that service alone.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    task::{Context, Poll},
};

use bytes::Bytes;
use criterion::Criterion;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::runtime::Runtime;
use tower::{Layer, Service, ServiceExt};
use tower_free_models::{Catalog, HealthMap, Model, Provider, provider::FreeRule, stack};

type AnyBody = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

/// Answers at once: with one JSON document, or with fifty events and their end.
#[derive(Clone)]
struct Mock {
    kind: &'static str,
    frames: Vec<Bytes>,
}

impl Mock {
    fn answer() -> Self {
        let text = "The river takes what the river is given. ".repeat(20);
        let answer = serde_json::json!({
            "id": "gen-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 10, "completion_tokens": 200, "total_tokens": 210, "cost": 0 },
        });
        Self {
            kind: "application/json",
            frames: vec![answer.to_string().into()],
        }
    }

    fn events() -> Self {
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
            frames,
        }
    }

    /// The same answer in one frame.
    fn in_one_frame(self) -> Self {
        let frames = vec![self.frames.concat().into()];
        Self { frames, ..self }
    }
}

impl<B> Service<Request<B>> for Mock {
    type Response = Response<AnyBody>;
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

fn request(stream: bool) -> Request<Full<Bytes>> {
    static BODIES: [&str; 2] = [
        r#"{"model":"free","messages":[{"role":"system","content":"You are brief."},{"role":"user","content":"What does the river take?"}],"temperature":0.7}"#,
        r#"{"model":"free","messages":[{"role":"system","content":"You are brief."},{"role":"user","content":"What does the river take?"}],"stream":true}"#,
    ];
    Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .header("authorization", "Bearer caller")
        .header("user-agent", "bench/1")
        .body(Full::new(Bytes::from_static(
            BODIES[usize::from(stream)].as_bytes(),
        )))
        .expect("a request")
}

/// One request, and its whole answer; how many bytes there were.
async fn run<S, B>(service: S, stream: bool) -> usize
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes>,
{
    let Ok(response) = service.oneshot(request(stream)).await;
    assert_eq!(response.status(), 200);
    let mut body = std::pin::pin!(response.into_body());
    let mut len = 0;
    while let Some(Ok(frame)) = body.frame().await {
        len += frame.data_ref().map_or(0, Bytes::len);
    }
    len
}

fn define(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let provider = Provider::new("acme")
        .base_url("https://acme.example/v1")
        .key("acme-key")
        .free(FreeRule::All)
        .build()
        .expect("a provider");
    let targets = (0..20).map(|n| provider.target(Model::new(format!("model-{n}"))));
    let targets: Result<Vec<_>, _> = targets.collect();
    let stack = stack(
        Catalog::from_targets(targets.expect("free models")),
        HealthMap::new(),
    );
    for (name, mock, stream) in [
        ("answer", Mock::answer(), false),
        ("stream_of_50_events", Mock::events(), true),
        (
            "stream_of_50_events_in_one_frame",
            Mock::events().in_one_frame(),
            true,
        ),
    ] {
        let layered = stack.layer(mock.clone());
        let both = (
            runtime.block_on(run(mock.clone(), stream)),
            runtime.block_on(run(layered.clone(), stream)),
        );
        assert_eq!(both.0, both.1, "the same bytes arrive");
        let mut group = c.benchmark_group(name);
        group.bench_function("bare", |b| {
            b.iter(|| runtime.block_on(run(mock.clone(), stream)));
        });
        group.bench_function("stack", |b| {
            b.iter(|| runtime.block_on(run(layered.clone(), stream)));
        });
        group.finish();
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    define(&mut criterion);
    criterion.final_summary();
}
