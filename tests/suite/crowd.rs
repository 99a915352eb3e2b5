//! A crowd of callers over a pool of which half fails, each in its own way: no caller notices.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use crate::support::server::{AnyBody, HttpClient, RawServer, Received, Server, client, nowhere};
use crate::support::{BoxError, Reply, Step, Whole, chat_with, comment, done, event, read, seeded};
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tower::{Layer, Service, ServiceExt};
use tower_free_models::{Body, Model, Provider, Target, provider::FreeRule};

const CALLERS: usize = 2000;
/// Each takes two file descriptors of this process, which often has no more than 1024.
const CONNECTIONS: usize = 300;
/// What a failing target says where it can say anything; no caller may get it.
const LOSER: &str = "said-by-a-loser";

/// The ways to fail that a server of HTTP can show. Each is a model of a provider of its own.
const FAILING: [&str; 25] = [
    "account-limit",
    "limit",
    "limit-until",
    "quota",
    "unauthorised",
    "gated",
    "gone",
    "lacks-tools",
    "too-long",
    "too-many-tokens",
    "sick",
    "refused",
    "status-408",
    "status-500",
    "status-502",
    "status-503",
    "status-529",
    "redirect",
    "no-head",
    "hidden-error",
    "error-first",
    "empty",
    "stall",
    "broken",
    "page",
];

fn error(status: u16, message: &str) -> Reply {
    let message = format!("{message} ({LOSER})");
    Reply::json(
        status,
        json!({ "error": { "message": message, "code": status } }),
    )
}

/// How a failing model answers.
fn failure(model: &str, streamed: bool) -> Reply {
    let begun = event(
        &json!({ "id": LOSER, "choices": [{ "index": 0, "delta": { "role": "assistant", "content": "" } }] }),
    );
    let choice = json!({ "message": { "content": LOSER }, "finish_reason": "error" });
    match model {
        "account-limit" => error(429, "Rate limit exceeded: free-models-per-day"),
        "limit" => error(429, "slow down"),
        "limit-until" => error(429, "slow down").header("retry-after", "600"),
        "quota" => error(402, "Insufficient credits"),
        "unauthorised" => error(401, "Invalid API key"),
        "gated" => error(403, "This model needs a subscription"),
        "gone" => error(404, "The model does not exist"),
        "lacks-tools" => error(404, "No endpoints found that support tool use"),
        "too-long" => error(400, "This model's maximum context length is 10 tokens"),
        "too-many-tokens" => error(
            413,
            "Request too large: tokens per minute (TPM): Limit 6000",
        ),
        "sick" => error(400, "DEGRADED function cannot be invoked"),
        "refused" => error(422, "I do not like this"),
        "redirect" => Reply::new(302, "text/html", LOSER).header("location", "/v1/chat"),
        "no-head" => Reply::hang(),
        "hidden-error" => Reply::json(200, json!({ "choices": [choice] })),
        "error-first" if streamed => Reply::stream([
            comment(),
            begun,
            event(&json!({ "error": { "code": 502, "message": LOSER } })),
            done(),
        ]),
        "error-first" => error(200, "Provider returned error"),
        "empty" if streamed => Reply::stream([begun, done()]),
        "empty" => Reply::json(200, json!({ "id": LOSER, "choices": [] })),
        "stall" if streamed => Reply::stream([comment(), begun, comment(), Step::Hang]),
        "stall" => Reply {
            steps: vec![Step::Data("{\"choices\":".into()), Step::Hang],
            ..Reply::answer(LOSER)
        },
        "broken" if streamed => Reply::stream([begun, Step::Break]),
        "broken" => Reply::new(
            200,
            "application/json",
            format!("{{\"id\":\"{LOSER}\",\"choi"),
        ),
        "page" => Reply::new(200, "text/html", format!("<html>{LOSER}</html>")),
        status => {
            let status = status.strip_prefix("status-").expect("a way to fail");
            error(status.parse().expect("a status"), "overloaded")
        }
    }
}

/// What a healthy model answers: the words it was given.
fn echo(received: &Received) -> Reply {
    let body = received.json();
    let words = body["messages"][0]["content"].as_str().expect("words");
    if body["stream"] == true {
        let (first, rest) = words.split_at(words.len() / 2);
        return Reply::words(&[first, rest]);
    }
    Reply::answer(words)
}

/// The words of an answer.
fn words(answer: &Whole) -> String {
    if answer.header("content-type") != Some("text/event-stream") {
        let answer = answer.json();
        let content = &answer["choices"][0]["message"]["content"];
        return content.as_str().expect("content").to_owned();
    }
    let mut words = String::new();
    let mut ended = false;
    for line in answer.text().lines() {
        match line.strip_prefix("data: ") {
            Some("[DONE]") => ended = true,
            Some(data) => {
                let chunk: Value = serde_json::from_str(data).expect("a chunk");
                let content = &chunk["choices"][0]["delta"]["content"];
                words.push_str(content.as_str().unwrap_or_default());
            }
            None => assert_eq!(line, ""),
        }
    }
    assert!(ended, "{answer:?}");
    words
}

/// A client with a bounded number of connections: a clone that is ready has one, and keeps it until the end of the answer.
struct Bounded {
    client: HttpClient,
    places: Arc<Semaphore>,
    place: Place,
}

enum Place {
    None,
    Asked(Pin<Box<dyn Future<Output = OwnedSemaphorePermit> + Send + Sync>>),
    Taken(OwnedSemaphorePermit),
}

impl Clone for Bounded {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            places: Arc::clone(&self.places),
            place: Place::None,
        }
    }
}

impl Service<Request<Body>> for Bounded {
    type Response = Response<AnyBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        loop {
            self.place = match &mut self.place {
                Place::None => {
                    let places = Arc::clone(&self.places);
                    let asked = async { places.acquire_owned().await.expect("open") };
                    Place::Asked(Box::pin(asked))
                }
                Place::Asked(asked) => Place::Taken(ready!(asked.as_mut().poll(cx))),
                Place::Taken(_) => return Poll::Ready(Ok(())),
            };
        }
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Place::Taken(place) = std::mem::replace(&mut self.place, Place::None) else {
            panic!("called without being ready")
        };
        let answer = self.client.request(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| {
                let place = Mutex::new(place);
                body.map_err(move |error| {
                    let _ = &place;
                    error.into()
                })
                .boxed_unsync()
            }))
        })
    }
}

fn target(name: &str, url: &str) -> Target {
    let provider = Provider::new(name)
        .base_url(url)
        .key(&format!("key-of-{name}"))
        .free(FreeRule::All)
        .build()
        .expect("a provider");
    provider.target(Model::new(name)).expect("a free model")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_the_pool_fails_in_every_way_and_no_caller_of_two_thousand_notices() {
    let server = Server::start(|received: &Received| {
        let model = received.model();
        let streamed = received.json()["stream"] == true;
        if model.starts_with("healthy") {
            echo(received)
        } else {
            failure(&model, streamed)
        }
    })
    .await;
    let cut_head = RawServer::start(b"HTTP/1.1 200 OK\r\ncontent-ty").await;
    let no_http = RawServer::start(b"SSH-2.0-OpenSSH_9.9\r\n").await;
    let cut_body = RawServer::start(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{\"id\":\"said-by-a-loser",
    )
    .await;
    let mut targets: Vec<_> = FAILING
        .iter()
        .map(|name| target(name, &server.url()))
        .collect();
    for (name, address) in [
        ("nowhere", nowhere().await),
        ("cut-head", cut_head.address),
        ("no-http", no_http.address),
        ("cut-body", cut_body.address),
    ] {
        targets.push(target(name, &format!("http://{address}/v1")));
    }
    let failing = targets.len();
    targets.extend((0..failing).map(|n| target(&format!("healthy-{n}"), &server.url())));

    // What hangs is given up after this; what is healthy must answer within it, however busy the machine.
    let patience = Duration::from_secs(8);
    let (stack, health) = seeded(targets);
    let stack = stack.fallback(|fallback| {
        fallback
            .max_attempts(failing + 1)
            .header_timeout(patience)
            .first_token_timeout(patience)
            .answer_timeout(patience)
    });
    let service = stack.layer(Bounded {
        client: client(),
        places: Arc::new(Semaphore::new(CONNECTIONS)),
        place: Place::None,
    });

    let mut callers = JoinSet::new();
    for n in 0..CALLERS {
        let nonce = format!("the words of caller {n}, and of no other");
        let content = json!([{ "role": "user", "content": nonce }]);
        let request =
            chat_with(json!({ "model": "free", "stream": n % 2 == 0, "messages": content }));
        let service = service.clone();
        callers.spawn(async move {
            let response = service.oneshot(request).await.expect("a response");
            let answer = read(response).await;
            assert_eq!(answer.status(), 200, "{answer:?}");
            assert_eq!(answer.broken, None);
            assert_eq!(words(&answer), nonce);
            assert!(!format!("{answer:?}").contains(LOSER), "{answer:?}");
            let model = answer.header("x-free-model").expect("a model");
            assert!(model.starts_with("healthy"), "{answer:?}");
            let attempts = answer.header("x-free-attempts").expect("a count");
            attempts.parse::<u64>().expect("a number")
        });
    }
    let attempts: u64 = callers.join_all().await.iter().sum();

    let targets = health.snapshot().targets;
    assert_eq!(targets.len(), 2 * failing);
    let count = |of: fn(&tower_free_models::health::Tally) -> u64| -> u64 {
        targets.iter().map(|target| of(&target.tally)).sum()
    };
    assert_eq!(count(tower_free_models::health::Tally::in_flight), 0);
    assert_eq!(count(|tally| tally.started), attempts);
    assert_eq!(count(|tally| tally.succeeded), CALLERS as u64);
    assert_eq!(count(|tally| tally.failed), attempts - CALLERS as u64);
    assert_eq!(count(|tally| tally.abandoned), 0);
    for target in &targets {
        let healthy = target.id.model().starts_with("healthy");
        let (name, tally) = (&target.id, target.tally);
        // Each had its turn, so each way to fail was met.
        assert!(tally.started > 0, "{name}");
        assert_eq!(tally.succeeded > 0, healthy, "{name} {tally:?}");
        assert_eq!(tally.failed > 0, !healthy, "{name} {tally:?}");
    }
}
