//! A router of another crate under the fallback: it fills the slot, is told what to avoid, and can say "not now".

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::*;
use http::{Request, Response};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_free_models::{
    AttemptSlot, Body, FallbackLayer, HealthMap, Target,
    classify::{OutcomeKind, Scope},
};

/// Takes the first target that may be tried. It has none before `opens`, and says so.
fn router(
    pool: Vec<Target>,
    opens: Instant,
    health: HealthMap,
    upstream: Upstream,
) -> impl Service<Request<Body>, Response = Response<ScriptedBody>, Error = BoxError, Future: Send> + Clone
{
    service_fn(move |request: Request<Body>| {
        let slot = request.extensions().get::<AttemptSlot>().expect("a slot");
        let wait = opens.saturating_duration_since(Instant::now());
        let mut open = pool.iter().filter(|target| slot.may_try(target));
        let attempt = open.find_map(|target| health.begin(target).filter(|_| wait.is_zero()));
        let upstream = match attempt {
            Some(attempt) => {
                slot.fill(attempt);
                upstream.clone()
            }
            None => {
                // Where all were tried, they are back after their reset.
                slot.not_now(Some(wait.max(Duration::from_secs(3))));
                Upstream::script([Reply::answer("dropped")])
            }
        };
        upstream.oneshot(request)
    })
}

async fn answer(pool: Vec<Target>, opens_in: u64, replies: &[Reply]) -> (Whole, usize, Duration) {
    answer_and_learn(pool, opens_in, replies, &HealthMap::seeded(1)).await
}

async fn answer_and_learn(
    pool: Vec<Target>,
    opens_in: u64,
    replies: &[Reply],
    health: &HealthMap,
) -> (Whole, usize, Duration) {
    let began = Instant::now();
    let upstream = Upstream::script(replies.to_vec());
    let opens = began + Duration::from_secs(opens_in);
    let service = FallbackLayer::new().layer(router(pool, opens, health.clone(), upstream.clone()));
    let response = read(service.oneshot(chat()).await.expect("a response")).await;
    (response, upstream.calls(), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_fallback_waits_as_long_as_a_foreign_router_says() {
    let pool = targets(&["a", "b"], &["m"]);
    let (response, calls, waited) = answer(pool, 4, &[Reply::answer("well")]).await;
    assert_eq!((response.status(), calls), (200, 1));
    assert_eq!(waited.as_secs(), 4);
    assert_eq!(response.header("x-free-trail"), Some("a/m=succeeded"));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_too_long_is_refused_with_its_end() {
    let pool = targets(&["a", "b"], &["m"]);
    let (response, calls, waited) = answer(pool, 45, &[]).await;
    assert_eq!((response.status(), calls), (429, 0));
    assert_eq!(waited, Duration::ZERO);
    assert_eq!(response.header("retry-after"), Some("45"));
    assert_eq!(response.json()["error"]["code"], "rate_limit_exceeded");
}

#[tokio::test(start_paused = true)]
async fn a_router_that_knows_no_end_is_not_waited_for() {
    let router = service_fn(|request: Request<Body>| {
        let slot = request.extensions().get::<AttemptSlot>().expect("a slot");
        slot.not_now(None);
        Upstream::script([Reply::answer("dropped")]).oneshot(request)
    });
    let began = Instant::now();
    let service = FallbackLayer::new().layer(router);
    let response = read(service.oneshot(chat()).await.expect("a response")).await;
    assert_eq!((response.status(), began.elapsed()), (503, Duration::ZERO));
    assert_eq!(response.json()["error"]["code"], "no_model_available");
}

#[tokio::test(start_paused = true)]
async fn no_wait_that_a_router_asks_for_is_too_short_or_too_long() {
    for (wait, status, most) in [(Duration::ZERO, 429, 251), (Duration::MAX, 429, 1)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let router = service_fn(move |request: Request<Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            let slot = request.extensions().get::<AttemptSlot>().expect("a slot");
            slot.not_now(Some(wait));
            Upstream::script([Reply::answer("dropped")]).oneshot(request)
        });
        let service = FallbackLayer::new().layer(router);
        let response = read(service.oneshot(chat()).await.expect("a response")).await;
        assert_eq!(response.status(), status);
        let asked = asked.load(Ordering::Relaxed);
        assert!((1..=most).contains(&asked), "{asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_router_is_told_what_to_avoid() {
    let pool = targets(&["a", "b"], &["m", "n"]);
    let account =
        serde_json::json!({ "error": { "message": "Rate limit exceeded: free-models-per-day" } });
    let replies = [
        Reply::json(429, account).header("retry-after", "9"),
        Reply::error(503),
        Reply::answer("well"),
    ];
    let health = HealthMap::seeded(1);
    let (response, calls, _) = answer_and_learn(pool, 0, &replies, &health).await;
    assert_eq!((response.status(), calls), (200, 3));
    // The limit is that of the whole provider; the overload that of one target.
    let trail = "a/m=rate_limited, b/m=unavailable, b/n=succeeded";
    assert_eq!(response.header("x-free-trail"), Some(trail));
    // What became of its attempts is in the map that they were begun in.
    let known = health.snapshot();
    let cooling = |provider, model| {
        let cooling = known.target(provider, model)?.cooling?;
        Some((cooling.reason, cooling.stated, cooling.scope))
    };
    let limited = (OutcomeKind::RateLimited, true, Scope::Provider);
    let overloaded = (OutcomeKind::Unavailable, false, Scope::Target);
    assert_eq!(cooling("a", "m"), Some(limited));
    assert_eq!(cooling("b", "m"), Some(overloaded));
    assert_eq!(cooling("b", "n"), None);
}

#[tokio::test(start_paused = true)]
async fn after_a_wait_for_its_reset_a_target_may_be_tried_once_more_and_not_twice() {
    let limited = Reply::error(429).header("retry-after", "3");
    let replies = [limited.clone(), limited, Reply::answer("not asked for")];
    let (response, calls, _) = answer(targets(&["a"], &["m"]), 0, &replies).await;
    assert_eq!((response.status(), calls), (429, 2));
    let (response, calls, waited) = answer(
        targets(&["a"], &["m"]),
        0,
        &[replies[0].clone(), Reply::answer("well")],
    )
    .await;
    assert_eq!((response.status(), calls, waited.as_secs()), (200, 2, 3));
}

#[tokio::test(start_paused = true)]
async fn what_a_router_answers_by_itself_goes_back_unless_an_upstream_has_refused_the_request() {
    for (reply, status, trail) in [
        (Reply::error(503), 418, "a/m=unavailable"),
        (Reply::error(400), 400, "a/m=refused"),
    ] {
        let health = HealthMap::seeded(1);
        let target = targets(&["a"], &["m"]).remove(0);
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let router = service_fn(move |request: Request<Body>| {
            let slot = request.extensions().get::<AttemptSlot>().expect("a slot");
            let replies = match count.fetch_add(1, Ordering::Relaxed) {
                0 => {
                    slot.fill(health.begin(&target).expect("it is healthy"));
                    [reply.clone()]
                }
                _ => [Reply::error(418)],
            };
            Upstream::script(replies).oneshot(request)
        });
        let service = FallbackLayer::new().layer(router);
        let response = read(service.oneshot(chat()).await.expect("a response")).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.header("x-free-trail"), Some(trail));
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
}
