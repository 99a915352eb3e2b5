//! What the behaviour tests share: pools of targets, and an upstream that answers as the test says.

#![allow(unreachable_pub)]
#![allow(
    clippy::must_use_candidate,
    clippy::needless_pass_by_value,
    clippy::return_self_not_must_use
)]

pub mod png;
pub mod probe;
pub mod sdnext;
pub mod server;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, request::Parts};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep};
use tower::{Layer, Service, ServiceExt};
use tower_free_models::{
    Body, Catalog, HealthMap, Model, Provider, Stack, Target, provider::FreeRule, stack,
};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A provider with a base URL and a key of its own, whose models are all free.
pub fn provider(name: &str) -> Provider {
    Provider::new(name)
        .base_url(&format!("http://{name}.test/v1"))
        .key(&format!("key-of-{name}"))
        .free(FreeRule::All)
        .build()
        .expect("a valid provider")
}

/// A provider without a base URL: the inner service knows where to go.
pub fn bare_provider(name: &str) -> Provider {
    Provider::new(name)
        .free(FreeRule::All)
        .build()
        .expect("a valid provider")
}

pub fn target(provider: &Provider, model: &str) -> Target {
    provider.target(Model::new(model)).expect("a free model")
}

/// `models` at each of `providers`.
pub fn targets(providers: &[&str], models: &[&str]) -> Vec<Target> {
    providers
        .iter()
        .map(|name| provider(name))
        .flat_map(|provider| {
            models
                .iter()
                .map(move |model| target(&provider, model))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Both layers over a pool, reproducible.
pub fn seeded(targets: impl IntoIterator<Item = Target>) -> (Stack, HealthMap) {
    let health = HealthMap::seeded(7);
    let stack = stack(Catalog::from_targets(targets), health.clone()).route(|route| route.seed(7));
    (stack, health)
}

/// The same stack, in which no request waits: what one failure leaves behind can then be seen.
pub fn without_waiting(stack: Stack) -> Stack {
    stack.fallback(|fallback| fallback.max_wait(Duration::ZERO))
}

pub fn chat() -> Request<Full<Bytes>> {
    chat_with(json!({ "model": "free", "messages": [{ "role": "user", "content": "hi" }] }))
}

pub fn streamed_chat() -> Request<Full<Bytes>> {
    chat_with(
        json!({ "model": "free", "stream": true, "messages": [{ "role": "user", "content": "hi" }] }),
    )
}

pub fn chat_with(body: Value) -> Request<Full<Bytes>> {
    post("/v1/chat/completions", body.to_string())
}

pub fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .expect("a valid request")
}

/// What an upstream received.
#[derive(Debug)]
pub struct Seen {
    pub parts: Parts,
    pub body: Bytes,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON arrives")
    }

    /// `provider/model`, by the host that it was addressed to.
    pub fn target(&self) -> String {
        let host = self.parts.uri.host().unwrap_or("none");
        format!("{}/{}", host.trim_end_matches(".test"), self.model())
    }

    pub fn model(&self) -> String {
        self.json()["model"].as_str().unwrap_or_default().to_owned()
    }
}

/// One step of a response body.
#[derive(Clone, Debug)]
pub enum Step {
    Data(Bytes),
    /// Nothing, for so long.
    Pause(Duration),
    /// Nothing, for ever.
    Hang,
    /// The connection breaks.
    Break,
}

/// What an upstream answers.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: Vec<(String, String)>,
    pub steps: Vec<Step>,
    /// The head comes after so long.
    pub after: Duration,
    /// The service fails instead.
    pub error: Option<String>,
}

impl Reply {
    pub fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::from_u16(status).expect("a valid status"),
            headers: vec![("content-type".into(), content_type.into())],
            steps: vec![Step::Data(body.into())],
            after: Duration::ZERO,
            error: None,
        }
    }

    pub fn json(status: u16, body: Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// A whole answer of one model.
    pub fn answer(text: &str) -> Self {
        Self::json(
            200,
            json!({
                "id": "1", "object": "chat.completion", "created": 1, "model": "m",
                "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
            }),
        )
    }

    pub fn error(status: u16) -> Self {
        Self::json(
            status,
            json!({ "error": { "message": format!("status {status}"), "code": status } }),
        )
    }

    /// A stream of these steps.
    pub fn stream(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            ..Self::new(200, "text/event-stream", "")
        }
    }

    /// A whole stream that says these words.
    pub fn words(words: &[&str]) -> Self {
        let mut steps = vec![role()];
        steps.extend(words.iter().map(|word| delta(word)));
        steps.extend([finish(), done()]);
        Self::stream(steps)
    }

    /// The inner service itself fails.
    pub fn unreachable() -> Self {
        Self {
            error: Some("connection refused".into()),
            ..Self::error(500)
        }
    }

    pub fn hang() -> Self {
        Self::answer("too late").after(Duration::from_secs(1_000_000))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn after(mut self, wait: Duration) -> Self {
        self.after = wait;
        self
    }
}

pub fn event(data: &Value) -> Step {
    Step::Data(Bytes::from(format!("data: {data}\n\n")))
}

pub fn comment() -> Step {
    Step::Data(Bytes::from_static(b": PROCESSING\n\n"))
}

pub fn role() -> Step {
    event(
        &json!({ "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": { "role": "assistant", "content": "" } }] }),
    )
}

pub fn delta(text: &str) -> Step {
    event(
        &json!({ "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": { "content": text } }] }),
    )
}

pub fn finish() -> Step {
    event(
        &json!({ "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] }),
    )
}

pub fn done() -> Step {
    Step::Data(Bytes::from_static(b"data: [DONE]\n\n"))
}

/// An upstream that answers as the test says, and remembers what it was asked.
#[derive(Clone)]
pub struct Upstream {
    answer: Arc<dyn Fn(&Seen) -> Reply + Send + Sync>,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    /// Calls and bodies that are still alive.
    pub alive: Arc<AtomicUsize>,
}

impl Upstream {
    pub fn new(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self {
            answer: Arc::new(answer),
            seen: Arc::default(),
            alive: Arc::default(),
        }
    }

    /// Answers the first call with the first reply, and so on; the last one stays.
    pub fn script(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies = Mutex::new(replies.into_iter().collect::<VecDeque<_>>());
        Self::new(move |_| {
            let mut replies = replies.lock().unwrap();
            if replies.len() > 1 {
                replies.pop_front().unwrap()
            } else {
                replies[0].clone()
            }
        })
    }

    /// The targets asked so far, in order.
    pub fn asked(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(Seen::target).collect()
    }

    pub fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }
}

impl Service<Request<Body>> for Upstream {
    type Response = Response<ScriptedBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        let alive = Alive::new(&self.alive);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let seen = Seen {
                parts,
                body: body.collect().await?.to_bytes(),
            };
            let reply = (this.answer)(&seen);
            this.seen.lock().unwrap().push(seen);
            if !reply.after.is_zero() {
                tokio::time::sleep(reply.after).await;
            }
            if let Some(error) = reply.error {
                return Err(error.into());
            }
            let mut response = Response::builder().status(reply.status);
            for (name, value) in &reply.headers {
                response = response.header(name, value);
            }
            Ok(response.body(ScriptedBody {
                steps: reply.steps.into(),
                pause: None,
                _alive: alive,
            })?)
        })
    }
}

struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A body that goes through its steps.
pub struct ScriptedBody {
    steps: VecDeque<Step>,
    pause: Option<Pin<Box<Sleep>>>,
    _alive: Alive,
}

impl http_body::Body for ScriptedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match self.steps.pop_front() {
                Some(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Step::Pause(time)) => {
                    self.pause = Some(Box::pin(tokio::time::sleep_until(Instant::now() + time)))
                }
                Some(Step::Hang) => {
                    self.steps.push_front(Step::Hang);
                    return Poll::Pending;
                }
                Some(Step::Break) => {
                    self.steps.clear();
                    return Poll::Ready(Some(Err("connection reset".into())));
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

/// A response, read to its end.
#[derive(Debug)]
pub struct Whole {
    pub parts: http::response::Parts,
    pub body: Bytes,
    /// The body ended in an error.
    pub broken: Option<String>,
}

impl Whole {
    pub fn status(&self) -> u16 {
        self.parts.status.as_u16()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }
}

pub async fn read<B>(response: Response<B>) -> Whole
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let (parts, body) = response.into_parts();
    let mut body = std::pin::pin!(body);
    let (mut bytes, mut broken) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend(frame.into_data().unwrap_or_default()),
            Err(error) => broken = Some(error.to_string()),
        }
    }
    Whole {
        parts,
        body: bytes.into(),
        broken,
    }
}

/// Sends one request through a stack over an upstream, and reads the whole response.
pub async fn send(stack: &Stack, upstream: &Upstream, request: Request<Full<Bytes>>) -> Whole {
    let response = stack
        .layer(upstream.clone())
        .oneshot(request)
        .await
        .expect("a response");
    read(response).await
}
