//! What a few failing calls cost all callers: failures must not be multiplied.
//!
//! Each scene runs under virtual time: callers that send one request after the other, over models of which a
//! given share of calls fails with a bare 503. The table is printed with `cargo test --test suite multiplied -- --nocapture`.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use crate::support::{
    BoxError, Reply, Upstream, chat, provider, seeded, send, streamed_chat, target,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::{Layer, Service, ServiceExt};
use tower_free_models::{Body, Target};

/// How the models answer and fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// After one to three seconds, as a whole: an answer, or a bare 503.
    Whole,
    /// A head at once, the first token after two seconds, then twenty seconds of stream; or a bare 503 at once.
    Stream,
    /// The same, but a failure is an error event after the two seconds, behind the head of a success.
    ErrorEvent,
    /// As a whole, but each model fails for ten seconds on end.
    Bursts,
}

/// Callers, and what they meet.
#[derive(Clone, Copy)]
struct Scene {
    callers: usize,
    /// How many requests each sends, one after the other.
    requests: usize,
    models: usize,
    /// The share of calls that fail, in percent.
    failing: u32,
    way: Way,
}

/// What became of the requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lost {
    /// Refused although attempts were left: no target was thought to be free.
    no_target: usize,
    /// Every allowed attempt failed.
    budget: usize,
}

/// An upstream whose calls fail now and then.
#[derive(Clone)]
struct Flaky {
    scene: Scene,
    seed: u64,
    began: Instant,
    chance: Arc<Mutex<StdRng>>,
}

impl Flaky {
    /// Whether a call of this model fails now, and how long it takes.
    fn meets(&self, model: &str) -> (bool, Duration) {
        let mut chance = self.chance.lock().unwrap();
        let millis = chance.random_range(1000..3000);
        let percent = match self.scene.way {
            Way::Bursts => {
                let burst = self.began.elapsed().as_secs() / 10;
                let model: u64 = model
                    .trim_start_matches(|c: char| !c.is_ascii_digit())
                    .parse()
                    .unwrap();
                let seed = self.seed << 40 | model << 20 | burst;
                StdRng::seed_from_u64(seed).random_range(0..100)
            }
            _ => chance.random_range(0..100),
        };
        (percent < self.scene.failing, Duration::from_millis(millis))
    }
}

const ANSWER: &str = r#"{"choices":[{"message":{"content":"hello"},"finish_reason":"stop"}]}"#;
const OVERLOADED: &str = r#"{"error":{"message":"overloaded"}}"#;
const TOKEN: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const ERROR: &str = "data: {\"error\":{\"message\":\"overloaded\",\"code\":503}}\n\n";

/// A body whose parts come one after the other, each after its pause.
fn parts(parts: Vec<(Duration, &'static str)>) -> UnsyncBoxBody<Bytes, Infallible> {
    StreamBody::new(stream::iter(parts).then(|(pause, part)| async move {
        sleep(pause).await;
        Ok(Frame::data(Bytes::from(part)))
    }))
    .boxed_unsync()
}

impl Service<Request<Body>> for Flaky {
    type Response = Response<UnsyncBoxBody<Bytes, Infallible>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let flaky = self.clone();
        Box::pin(async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let (fails, takes) = flaky.meets(body["model"].as_str().unwrap());
            let second = Duration::from_secs(1);
            let way = flaky.scene.way;
            if matches!(way, Way::Whole | Way::Bursts) {
                sleep(takes).await;
            }
            let (status, kind, body) = match (way, fails) {
                (Way::Whole | Way::Bursts, false) => {
                    (200, "application/json", vec![(Duration::ZERO, ANSWER)])
                }
                (Way::Whole | Way::Bursts | Way::Stream, true) => {
                    (503, "application/json", vec![(Duration::ZERO, OVERLOADED)])
                }
                (Way::ErrorEvent, true) => (200, "text/event-stream", vec![(2 * second, ERROR)]),
                (Way::Stream | Way::ErrorEvent, false) => {
                    let mut tokens = vec![(2 * second, TOKEN)];
                    tokens.extend([(second, TOKEN); 20]);
                    tokens.push((Duration::ZERO, "data: [DONE]\n\n"));
                    (200, "text/event-stream", tokens)
                }
            };
            let response = Response::builder().status(status);
            Ok(response.header("content-type", kind).body(parts(body))?)
        })
    }
}

/// As many models, twelve at each provider.
fn pool(models: usize) -> Vec<Target> {
    (0..models)
        .map(|n| target(&provider(&format!("p{}", n / 12)), &format!("m{n}")))
        .collect()
}

impl Scene {
    async fn run(self, seed: u64) -> Lost {
        let (stack, _) = seeded(pool(self.models));
        let (began, mut longest) = (Instant::now(), Duration::ZERO);
        let is_streamed = matches!(self.way, Way::Stream | Way::ErrorEvent);
        let service = stack.layer(Flaky {
            scene: self,
            seed,
            began,
            chance: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))),
        });
        let mut callers = JoinSet::new();
        for _ in 0..self.callers {
            let service = service.clone();
            callers.spawn(async move {
                let (mut lost, mut longest) = (Lost::default(), Duration::ZERO);
                for _ in 0..self.requests {
                    let request = if is_streamed { streamed_chat() } else { chat() };
                    let asked = Instant::now();
                    let response = service.clone().oneshot(request).await.expect("a response");
                    longest = longest.max(asked.elapsed());
                    let status = response.status();
                    let body = response
                        .into_body()
                        .collect()
                        .await
                        .expect("a body")
                        .to_bytes();
                    if status == 200 {
                        continue;
                    }
                    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
                    match body["error"]["metadata"]["attempts"].as_u64() {
                        Some(6) => lost.budget += 1,
                        _ => lost.no_target += 1,
                    }
                }
                (lost, longest)
            });
        }
        let mut all = Lost::default();
        while let Some(lost) = callers.join_next().await {
            let (lost, wait) = lost.expect("a caller");
            longest = longest.max(wait);
            all.no_target += lost.no_target;
            all.budget += lost.budget;
        }
        let requests = self.callers * self.requests;
        println!(
            "{:>6} callers, {:>2} models, {:>2} % of calls fail ({:?}), seed {seed}: of {requests} requests {} found no \
             target, {} used up all attempts; the longest took {longest:?} to begin",
            self.callers, self.models, self.failing, self.way, all.no_target, all.budget,
        );
        all
    }
}

#[tokio::test(start_paused = true)]
async fn ten_callers_of_one_model_that_fails_at_times_lose_one_request_in_a_hundred_at_most() {
    let scene = Scene {
        callers: 10,
        requests: 200,
        models: 1,
        failing: 5,
        way: Way::Whole,
    };
    let lost = scene.run(1).await;
    assert!(lost.no_target + lost.budget <= 20, "{lost:?}");
}

#[tokio::test(start_paused = true)]
async fn two_hundred_callers_lose_nothing_where_a_fifth_of_calls_fails() {
    let scene = Scene {
        callers: 200,
        requests: 10,
        models: 60,
        failing: 20,
        way: Way::Whole,
    };
    assert_eq!(scene.run(2).await, Lost::default());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_lose_nothing_where_a_fiftieth_of_calls_fails() {
    let scene = Scene {
        callers: 1000,
        requests: 10,
        models: 60,
        failing: 2,
        way: Way::Whole,
    };
    assert_eq!(scene.run(1).await, Lost::default());
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_at_once_find_a_target_until_their_attempts_are_used_up() {
    let scene = Scene {
        callers: 10_000,
        requests: 1,
        models: 60,
        failing: 30,
        way: Way::Whole,
    };
    assert_eq!(scene.run(1).await.no_target, 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_local_model_that_failed_once_serves_all_whom_it_can() {
    let (stack, _) = seeded(pool(1));
    let upstream = Upstream::script([
        Reply::error(503),
        Reply::answer("hello").after(Duration::from_secs(60)),
    ]);
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let (stack, upstream) = (stack.clone(), upstream.clone());
        callers.spawn(async move { send(&stack, &upstream, chat()).await.status() });
        sleep(Duration::from_secs(2)).await;
    }
    let served = callers.join_all().await;
    assert!(served.iter().all(|&status| status == 200), "{served:?}");
}

/// All scenes in all ways, with several seeds: `cargo test --test suite multiplied::table -- --ignored --nocapture`.
#[tokio::test(start_paused = true)]
#[ignore = "prints a table, and takes minutes"]
async fn table() {
    for way in [Way::Whole, Way::Stream, Way::ErrorEvent, Way::Bursts] {
        for (callers, requests, models, failing) in [
            (10, 200, 1, 5),
            (200, 10, 60, 20),
            (1000, 10, 60, 2),
            (10_000, 1, 60, 30),
        ] {
            let scene = Scene {
                callers,
                requests,
                models,
                failing,
                way,
            };
            let seeds = if callers > 1000 { 1..=2 } else { 1..=4 };
            for seed in seeds {
                scene.run(seed).await;
            }
        }
    }
}
