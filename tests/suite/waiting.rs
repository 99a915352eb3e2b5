//! Requests that wait for a target: whatever happens in between, each one is served once targets recover.

use std::time::Duration;

use crate::support::*;
use proptest::prelude::*;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::{Layer, ServiceExt};

/// How a call ends before the targets recover.
fn failing() -> impl Strategy<Value = Reply> {
    let stated = |after: u64| Reply::error(429).header("retry-after", &after.to_string());
    let of_account = json!({ "error": { "message": "Rate limit exceeded: free-models-per-min" } });
    prop_oneof![
        3 => Just(Reply::error(503)),
        2 => Just(Reply::error(429)),
        1 => (1..8_u64).prop_map(stated),
        1 => Just(Reply::json(429, of_account)),
        2 => Just(Reply::unreachable()),
        1 => Just(Reply::json(200, json!({ "choices": [] }))),
        1 => Just(Reply::stream([event(&json!({ "error": { "code": 503, "message": "m" } }))])),
        1 => Just(Reply::answer("late")),
        2 => Just(Reply::hang()),
    ]
    .prop_flat_map(|reply| {
        (0..3000_u64).prop_map(move |ms| match reply.after.is_zero() {
            true => reply.clone().after(Duration::from_millis(ms)),
            false => reply.clone(),
        })
    })
}

/// A request: when it comes, and after how many milliseconds its caller leaves, if it does.
fn caller() -> impl Strategy<Value = (u64, Option<u64>)> {
    (0..30_000_u64, prop::option::weighted(0.3, 0..15_000_u64))
}

fn paused<F: Future>(future: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_request_that_waits_is_served_soon_after_the_targets_recover(
        replies in prop::collection::vec(failing(), 1..60),
        callers in prop::collection::vec(caller(), 1..60),
        models in 1..4_usize,
        seed in any::<u64>(),
    ) {
        const RECOVERY: Duration = Duration::from_secs(20);
        /// The longest end that was stated or guessed by then, a probe of every target that hangs until its caller's
        /// time is over, and the turns of the requests that wait.
        const SOON: Duration = Duration::from_secs(90);

        paused(async {
            let providers = ["p", "q"];
            let models: Vec<_> = (0..models).map(|n| format!("m{n}")).collect();
            let models: Vec<_> = models.iter().map(String::as_str).collect();
            let all = providers.len() * models.len();
            let health = tower_free_models::HealthMap::seeded(seed);
            let catalog = tower_free_models::Catalog::from_targets(targets(&providers, &models));
            let stack = tower_free_models::stack(catalog, health.clone())
                .route(|route| route.seed(seed))
                .fallback(|fallback| {
                    let day = Duration::from_secs(86_400);
                    fallback.max_wait(day).deadline(2 * day).max_attempts(1000).answer_timeout(Duration::from_secs(10))
                });
            let began = Instant::now();
            let upstream = Upstream::new(move |seen: &Seen| {
                let call = seen.body.len() as u64 ^ began.elapsed().as_micros() as u64;
                match began.elapsed() < RECOVERY {
                    true => replies[(call % replies.len() as u64) as usize].clone(),
                    false => Reply::answer("well").after(Duration::from_millis(500)),
                }
            });
            let service = stack.layer(upstream);
            let mut requests = JoinSet::new();
            for (comes, leaves) in callers {
                let service = service.clone();
                requests.spawn(async move {
                    sleep(Duration::from_millis(comes)).await;
                    let request = service.oneshot(chat());
                    match leaves {
                        Some(leaves) => {
                            let patience = Duration::from_millis(leaves);
                            let _ = tokio::time::timeout(patience, request).await;
                            true
                        }
                        None => match tokio::time::timeout(RECOVERY + SOON, request).await {
                            Ok(Ok(response)) if response.status() == 200 => true,
                            // Each target was tried, and not one of them had recovered by then.
                            Ok(Ok(response)) => {
                                let attempts = &response.headers()["x-free-attempts"];
                                let attempts: usize = attempts.to_str().unwrap().parse().unwrap();
                                attempts >= all && comes < RECOVERY.as_millis() as u64
                            }
                            Ok(Err(_)) => comes < RECOVERY.as_millis() as u64,
                            Err(_) => false,
                        },
                    }
                });
            }
            while let Some(served) = requests.join_next().await {
                prop_assert!(served.unwrap(), "{:?}", health.snapshot());
            }
            // Nothing is left behind: a request that comes now is served.
            sleep(SOON).await;
            let response = service.oneshot(chat()).await.unwrap();
            prop_assert_eq!(response.status(), 200, "{:?}", health.snapshot());
            prop_assert!(health.snapshot().targets.iter().all(|target| target.tally.in_flight() == 0));
            Ok(())
        })?;
    }
}
