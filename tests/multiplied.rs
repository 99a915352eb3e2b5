//! What a few failing calls cost all callers: failures must not be multiplied.
//!
//! Each scene runs under virtual time: callers that send one request after the other, over models of which a
//! given share of calls fails with a bare 503. The table is printed with `cargo test --test multiplied -- --nocapture`.

mod support;

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use support::{BoxError, Reply, Upstream, chat, provider, seeded, send, target};
use tokio::{task::JoinSet, time::sleep};
use tower::{Layer, Service, ServiceExt};
use tower_free_models::{Body, Target};

/// Callers, and what they meet.
#[derive(Clone, Copy)]
struct Scene {
    callers: usize,
    /// How many requests each sends, one after the other.
    requests: usize,
    models: usize,
    /// The share of calls that fail, in percent.
    failing: u32,
}

/// What became of the requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lost {
    /// Refused although attempts were left: no target was thought to be free.
    no_target: usize,
    /// Every allowed attempt failed.
    budget: usize,
}

/// An upstream that answers after one to three seconds, and fails now and then.
#[derive(Clone)]
struct Flaky {
    failing: u32,
    chance: Arc<Mutex<StdRng>>,
}

impl Service<Request<Body>> for Flaky {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let (fails, millis) = {
            let mut chance = self.chance.lock().unwrap();
            (
                chance.random_range(0..100) < self.failing,
                chance.random_range(1000..3000),
            )
        };
        Box::pin(async move {
            sleep(Duration::from_millis(millis)).await;
            let (status, body) = match fails {
                true => (503, r#"{"error":{"message":"overloaded"}}"#),
                false => (
                    200,
                    r#"{"choices":[{"message":{"content":"hello"},"finish_reason":"stop"}]}"#,
                ),
            };
            let response = Response::builder().status(status);
            Ok(response
                .header("content-type", "application/json")
                .body(Full::from(body))?)
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
        let service = stack.layer(Flaky {
            failing: self.failing,
            chance: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))),
        });
        let mut callers = JoinSet::new();
        for _ in 0..self.callers {
            let service = service.clone();
            callers.spawn(async move {
                let mut lost = Lost::default();
                for _ in 0..self.requests {
                    let response = service.clone().oneshot(chat()).await.expect("a response");
                    if response.status() == 200 {
                        continue;
                    }
                    let body = response
                        .into_body()
                        .collect()
                        .await
                        .expect("a body")
                        .to_bytes();
                    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
                    match body["error"]["metadata"]["attempts"].as_u64() {
                        Some(6) => lost.budget += 1,
                        _ => lost.no_target += 1,
                    }
                }
                lost
            });
        }
        let mut all = Lost::default();
        while let Some(lost) = callers.join_next().await {
            let lost = lost.expect("a caller");
            all.no_target += lost.no_target;
            all.budget += lost.budget;
        }
        let requests = self.callers * self.requests;
        println!(
            "{:>6} callers, {:>2} models, {:>2} % of calls fail: of {requests} requests {} found no target, {} used up all attempts",
            self.callers, self.models, self.failing, all.no_target, all.budget,
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
