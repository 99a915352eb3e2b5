//! The laws of picking and of falling back: who is asked, in which order, and what the caller hears if nobody can.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};
use tower_free_models::{
    Body, Catalog, FallbackLayer, FreeModelRouteLayer, HealthMap, Model, Provider, Routed, Stack,
    Target,
    catalog::Capability,
    classify::{Outcome, OutcomeKind, Recovery, Scope},
    health::TargetState,
    stack,
};

const MINUTE: Duration = Duration::from_secs(60);

fn healthy() -> Upstream {
    Upstream::new(|_| Reply::answer("well"))
}

/// Those whose `provider/model` is among these answer with `reply`; all others are well.
fn failing(who: &[&str], reply: Reply) -> Upstream {
    let who: HashSet<String> = who.iter().map(|&name| name.to_owned()).collect();
    Upstream::new(move |seen| {
        if who.contains(&seen.target()) {
            reply.clone()
        } else {
            Reply::answer(&seen.target())
        }
    })
}

fn asks_for(model: &str) -> Request<Full<Bytes>> {
    chat_with(json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] }))
}

fn pinned(model: &str) -> Request<Full<Bytes>> {
    let mut request = asks_for(model);
    request
        .headers_mut()
        .insert("x-free-pin", "true".parse().unwrap());
    request
}

/// Makes one attempt for a target fail.
fn fail(health: &HealthMap, target: &Target, outcome: &Outcome) {
    health.begin(target).expect("it may be tried").fail(outcome);
}

fn succeed(health: &HealthMap, target: &Target) {
    health.begin(target).expect("it may be tried").succeed();
}

fn unavailable() -> Outcome {
    Outcome::of(OutcomeKind::Unavailable)
}

fn limited(wait: Duration) -> Outcome {
    Outcome::of(OutcomeKind::RateLimited).until(Recovery::After(wait))
}

fn of(provider: &Provider, model: Model) -> Target {
    provider.target(model).expect("a free model")
}

/// Who is asked first, over many requests; every request is answered.
async fn first_asked(
    stack: &Stack,
    requests: usize,
    request: impl Fn() -> Request<Full<Bytes>>,
) -> BTreeMap<String, usize> {
    let upstream = healthy();
    for _ in 0..requests {
        let response = send(stack, &upstream, request()).await;
        assert_eq!(response.status(), 200, "{response:?}");
    }
    let mut counts = BTreeMap::new();
    for asked in upstream.asked() {
        *counts.entry(asked).or_default() += 1;
    }
    counts
}

async fn only(stack: &Stack, request: impl Fn() -> Request<Full<Bytes>>) -> Vec<String> {
    first_asked(stack, 40, request).await.into_keys().collect()
}

fn paused<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(future)
}

// ---- 2 and 3: no request is lost, no target is asked twice.

/// The ways in which a target can fail without its provider's other targets, or the caller, having any part in it.
fn ways_to_fail() -> Vec<Reply> {
    vec![
        Reply::error(429),
        Reply::error(503).header("retry-after", "30"),
        Reply::error(404),
        Reply::json(
            404,
            json!({ "error": { "message": "No endpoints found that support tool use." } }),
        ),
        Reply::json(200, json!({ "choices": [] })),
        Reply::json(
            200,
            json!({ "error": { "code": 502, "message": "bad gateway" } }),
        ),
        Reply::new(200, "application/json", "<html>"),
        Reply::error(301),
        Reply::unreachable(),
        Reply {
            steps: vec![Step::Break],
            ..Reply::answer("")
        },
        Reply::hang(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_request_is_lost_while_an_eligible_target_is_healthy(
        failures in prop::collection::vec(prop::option::weighted(0.7, 0..11_usize), 2..16),
        requests in 1..6_usize,
        seed in any::<u64>(),
    ) {
        prop_assume!(failures.iter().any(Option::is_none));
        paused(async {
            let models: Vec<String> = (0..failures.len()).map(|n| format!("m{n}")).collect();
            // Each at a provider of its own, so that none is held back for another.
            let pool: Vec<_> = models.iter().map(|m| target(&provider(&format!("p-{m}")), m)).collect();
            let budget = failures.len() + 1;
            let stack = stack(Catalog::from_targets(pool), HealthMap::seeded(seed))
                .route(|r| r.seed(seed))
                .fallback(|f| f.max_attempts(budget).answer_timeout(Duration::from_secs(10)));
            let ways = ways_to_fail();
            let replies: BTreeMap<String, Reply> = models
                .into_iter()
                .zip(&failures)
                .map(|(model, way)| (model, way.map_or_else(|| Reply::answer("well"), |way| ways[way].clone())))
                .collect();
            for _ in 0..requests {
                let replies = replies.clone();
                let upstream = Upstream::new(move |seen| replies[&seen.model()].clone());
                let response = send(&stack, &upstream, chat()).await;
                assert_eq!(response.status(), 200, "{response:?}");
                assert!(response.text().contains("well"));
                let asked = upstream.asked();
                let different: HashSet<_> = asked.iter().collect();
                assert_eq!(different.len(), asked.len(), "asked twice: {asked:?}");
                tokio::time::advance(Duration::from_millis(700)).await;
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_the_attempts() {
    for budget in [0, 1, 2, 6] {
        let (stack, _) = seeded(targets(&["a", "b", "c", "d", "e", "f", "g", "h"], &["m"]));
        let stack = stack.fallback(|f| f.max_attempts(budget));
        let upstream = Upstream::script([Reply::error(503)]);
        let response = send(&stack, &upstream, chat()).await;
        assert_eq!(upstream.calls(), budget.max(1));
        assert_eq!(response.status(), 503);
        assert_eq!(
            response.header("x-free-attempts"),
            Some(budget.max(1).to_string().as_str())
        );
    }
    let (stack, _) = seeded(targets(&["a", "b", "c", "d", "e", "f", "g", "h"], &["m"]));
    let upstream = Upstream::script([Reply::error(503)]);
    send(&stack, &upstream, chat()).await;
    assert_eq!(upstream.calls(), 6, "the default");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_it_with_a_504() {
    let (stack, _) = seeded(targets(&["a", "b", "c", "d", "e"], &["m"]));
    let stack = stack.fallback(|f| {
        f.deadline(Duration::from_secs(25))
            .answer_timeout(Duration::from_secs(10))
    });
    let upstream = Upstream::new(|_| Reply::hang());
    let start = Instant::now();
    let response = send(&stack, &upstream, chat()).await;
    assert_eq!((response.status(), upstream.calls()), (504, 3));
    assert_eq!(start.elapsed(), Duration::from_secs(25));
    assert_eq!(response.json()["error"]["code"], "deadline_exceeded");
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_head_counts_for_the_first_token() {
    for (head, token) in [(3, 120), (30, 3)] {
        let (stack, _) = seeded(targets(&["a", "b"], &["m"]));
        let stack = stack.fallback(|f| {
            f.header_timeout(Duration::from_secs(head))
                .first_token_timeout(Duration::from_secs(token))
        });
        let upstream = Upstream::script([Reply::hang(), Reply::words(&["hello"])]);
        let start = Instant::now();
        let response = send(&stack, &upstream, streamed_chat()).await;
        assert_eq!((response.status(), upstream.calls()), (200, 2));
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_takes_no_revenge_on_the_last_that_was_asked() {
    let (stack, health) = seeded(targets(&["a", "b"], &["m"]));
    let stack = stack.fallback(|f| {
        f.deadline(Duration::from_secs(12))
            .answer_timeout(Duration::from_secs(10))
    });
    let upstream = Upstream::new(|_| Reply::hang());
    send(&stack, &upstream, chat()).await;
    let failed: u64 = health
        .snapshot()
        .targets
        .iter()
        .map(|t| t.tally.failed)
        .sum();
    assert_eq!(failed, 1, "it had two seconds of its ten");
}

#[tokio::test(start_paused = true)]
async fn after_a_first_failure_the_proven_go_before_the_unproven() {
    for seed in 0..30 {
        let pool = targets(&["a", "b", "c", "d", "e"], &["m"]);
        let health = HealthMap::seeded(seed);
        let stack =
            stack(Catalog::from_targets(pool.clone()), health.clone()).route(|r| r.seed(seed));
        succeed(&health, &pool[3]);
        let upstream = failing(&["a/m"], Reply::error(503));
        let request = asks_for("a/m");
        send(&stack, &upstream, request).await;
        assert_eq!(upstream.asked(), ["a/m", "d/m"]);
    }
    // Before a failure all have the same chance.
    let pool = targets(&["a", "b"], &["m"]);
    let (stack, health) = seeded(pool.clone());
    succeed(&health, &pool[0]);
    assert_eq!(only(&stack, chat).await, ["a/m", "b/m"]);
}

// ---- 4: an outcome is its own target's.

#[tokio::test(start_paused = true)]
async fn an_outcome_belongs_to_its_attempts_own_target_under_concurrency() {
    let names = ["a", "b", "c", "d"];
    let (stack, health) = seeded(targets(&names, &["good", "bad"]));
    let upstream = Upstream::new(|seen| {
        let wait = Duration::from_millis(seen.body.len() as u64 * 7 % 31);
        if seen.model() == "bad" {
            Reply::error(418).after(wait)
        } else {
            Reply::answer(&seen.target()).after(wait)
        }
    });
    let mut running = tokio::task::JoinSet::new();
    for n in 0..200 {
        let (stack, upstream) = (stack.clone(), upstream.clone());
        let body =
            json!({ "model": "free", "messages": [{ "role": "user", "content": "x".repeat(n) }] });
        running.spawn(async move { send(&stack, &upstream, chat_with(body)).await });
    }
    while let Some(response) = running.join_next().await {
        let response = response.unwrap();
        let who = format!(
            "{}/{}",
            response.header("x-free-provider").unwrap(),
            response.header("x-free-model").unwrap()
        );
        if response.status() == 200 {
            assert_eq!(
                response.json()["choices"][0]["message"]["content"],
                who.as_str()
            );
        }
    }
    for target in health.snapshot().targets {
        let asked = upstream
            .asked()
            .iter()
            .filter(|asked| **asked == target.id.to_string())
            .count() as u64;
        assert_eq!((target.tally.started, target.tally.in_flight()), (asked, 0));
        let expected = if target.id.model() == "bad" {
            (0, asked)
        } else {
            (asked, 0)
        };
        assert_eq!(
            (target.tally.succeeded, target.tally.failed),
            expected,
            "{}",
            target.id
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallbacks_limit_is_not_written_onto_the_target_that_failed_first() {
    let (stack, health) = seeded(targets(&["a", "b", "c"], &["m"]));
    let upstream = Upstream::new(|seen| match seen.target().as_str() {
        "a/m" => Reply::error(503),
        "c/m" => Reply::answer("well"),
        _ => Reply::error(402),
    });
    while !upstream.asked().contains(&"b/m".to_owned()) {
        send(&stack, &upstream, asks_for("a/m")).await;
    }
    let snapshot = health.snapshot();
    let provider = |name| snapshot.providers.iter().find(|p| p.name == name).unwrap();
    assert!(provider("a").cooling.is_none());
    assert_eq!(
        provider("b").cooling.unwrap().reason,
        OutcomeKind::OutOfQuota
    );
}

#[tokio::test(start_paused = true)]
async fn evidence_has_an_order() {
    let pool = targets(&["a"], &["m"]);
    let health = HealthMap::seeded(1);
    let (early, late) = (
        health.begin(&pool[0]).unwrap(),
        health.begin(&pool[0]).unwrap(),
    );
    fail(&health, &pool[0], &unavailable());
    let before = health.snapshot().targets[0].cooling.unwrap();
    late.fail(&unavailable());
    assert_eq!(
        health.snapshot().targets[0].cooling,
        Some(before),
        "a failure begun before does not escalate"
    );
    early.succeed();
    assert_eq!(
        health.snapshot().targets[0].cooling,
        Some(before),
        "a success begun before does not end it"
    );
}

// ---- 5: cooldowns.

#[tokio::test(start_paused = true)]
async fn a_cooldown_is_seen_by_the_very_next_pick() {
    for reply in [
        Reply::error(429),
        Reply::error(503).header("retry-after", "5"),
        Reply::error(404),
        Reply::error(401),
    ] {
        let (stack, _) = seeded(targets(&["a", "b"], &["m"]));
        let upstream = failing(&["a/m"], reply);
        for _ in 0..50 {
            assert_eq!(send(&stack, &upstream, chat()).await.status(), 200);
        }
        let to_a = upstream
            .asked()
            .iter()
            .filter(|asked| *asked == "a/m")
            .count();
        assert_eq!(to_a, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn no_pick_after_a_recorded_failure_gets_its_target_under_concurrency() {
    let pool = targets(&["a", "b"], &["m"]);
    let (stack, health) = seeded(pool);
    let known = health.clone();
    let upstream = Upstream::new(move |seen| {
        if seen.target() != "a/m" {
            return Reply::answer("well");
        }
        let cooling = known.snapshot().target("a", "m").unwrap().cooling;
        assert!(cooling.is_none(), "asked while it cools: {cooling:?}");
        // The answers arrive one after the other, and so requests begin between them.
        Reply::error(429)
            .header("retry-after", "600")
            .after(Duration::from_millis(10))
    });
    let mut running = tokio::task::JoinSet::new();
    for n in 0..200 {
        let (stack, upstream) = (stack.clone(), upstream.clone());
        running.spawn(async move {
            tokio::time::sleep(Duration::from_millis(n / 5)).await;
            send(&stack, &upstream, chat()).await.status()
        });
    }
    while let Some(status) = running.join_next().await {
        assert_eq!(status.expect("no pick of a cooling target"), 200);
    }
    assert!(upstream.asked().contains(&"a/m".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_burst_escalates_once() {
    let (stack, health) = seeded(targets(&["a"], &["m"]));
    let stack = without_waiting(stack);
    let upstream = Upstream::new(|_| Reply::error(503).after(Duration::from_millis(100)));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (stack, upstream) = (stack.clone(), upstream.clone());
        running.spawn(async move { send(&stack, &upstream, chat()).await.status() });
    }
    while running.join_next().await.is_some() {}
    assert_eq!(upstream.calls(), 50);
    assert!(health.snapshot().targets[0].cooling.unwrap().remaining <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn guesses_double_up_to_two_minutes_while_probes_fail() {
    let target = &targets(&["a"], &["m"])[0];
    let health = HealthMap::seeded(3);
    let mut last = Duration::ZERO;
    for n in 0..20_u32 {
        fail(&health, target, &unavailable());
        let wait = health.snapshot().targets[0].cooling.unwrap().remaining;
        let most = Duration::from_secs(1 << n.min(7)).min(2 * MINUTE);
        assert!(
            wait <= most && wait >= last.min(MINUTE),
            "{n}: {last:?}, then {wait:?}"
        );
        last = wait;
        tokio::time::advance(wait).await;
    }
    assert!(last >= MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_guess_never_shortens_a_stated_cooldown() {
    let target = &targets(&["a"], &["m"])[0];
    let health = HealthMap::seeded(3);
    let (one, other) = (health.begin(target).unwrap(), health.begin(target).unwrap());
    one.fail(&limited(MINUTE));
    other.fail(&unavailable());
    let cooling = health.snapshot().targets[0].cooling.unwrap();
    assert_eq!((cooling.stated, cooling.remaining), (true, MINUTE));
}

#[tokio::test(start_paused = true)]
async fn in_probation_one_probe_goes_and_the_others_go_elsewhere() {
    let pool = targets(&["a", "b"], &["m"]);
    let (stack, health) = seeded(pool.clone());
    fail(&health, &pool[0], &unavailable());
    tokio::time::advance(Duration::from_secs(2)).await;
    let upstream = Upstream::new(|_| Reply::answer("well").after(Duration::from_secs(1)));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (stack, upstream) = (stack.clone(), upstream.clone());
        running.spawn(async move { send(&stack, &upstream, asks_for("a/m")).await.status() });
    }
    while let Some(status) = running.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(
        upstream
            .asked()
            .iter()
            .filter(|asked| *asked == "a/m")
            .count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_elsewhere_others_wait_for_the_probe_and_none_is_refused() {
    for (max_wait, at_first) in [(Duration::ZERO, 20), (MINUTE, 1)] {
        let pool = targets(&["a"], &["m"]);
        let (stack, health) = seeded(pool.clone());
        let stack = stack.fallback(|f| f.max_wait(max_wait));
        fail(&health, &pool[0], &unavailable());
        tokio::time::advance(Duration::from_secs(2)).await;
        let upstream = Upstream::new(|_| Reply::answer("well").after(Duration::from_secs(1)));
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (stack, upstream) = (stack.clone(), upstream.clone());
            running.spawn(async move { send(&stack, &upstream, chat()).await });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(upstream.calls(), at_first, "max_wait {max_wait:?}");
        while let Some(response) = running.join_next().await {
            assert_eq!(response.unwrap().status(), 200);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stated_cooldown_simply_ends_and_never_before_its_instant() {
    let pool = targets(&["a"], &["m"]);
    let (stack, health) = seeded(pool.clone());
    let stack = without_waiting(stack);
    fail(&health, &pool[0], &limited(MINUTE));
    let upstream = healthy();
    tokio::time::advance(MINUTE - Duration::from_millis(1)).await;
    assert_eq!(send(&stack, &upstream, chat()).await.status(), 429);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(health.snapshot().targets[0].state, TargetState::Healthy);
    assert_eq!(send(&stack, &upstream, chat()).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_manual_reset_forgets_a_stale_cooldown() {
    let pool = targets(&["a"], &["m"]);
    let (stack, health) = seeded(pool.clone());
    let upstream = failing(&["a/m"], Reply::error(402));
    send(&stack, &upstream, chat()).await;
    assert_eq!(send(&stack, &healthy(), chat()).await.status(), 429);
    assert!(health.reset_provider("a"));
    assert_eq!(send(&stack, &healthy(), chat()).await.status(), 200);
}

/// Asks 27: a free model that answered `free-models-per-day` for four hours, and was never left alone.
#[tokio::test(start_paused = true)]
async fn an_account_whose_day_is_used_up_is_left_at_once_and_not_asked_again_until_its_reset() {
    let (stack, health) = seeded(targets(&["router", "other"], &["m", "n", "o"]));
    let spent = Reply::json(
        429,
        json!({ "error": { "message": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day", "code": 429,
            "metadata": { "headers": { "X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1790726400000" }, "provider_name": null } } }),
    )
    .header("date", "Tue, 29 Sep 2026 19:30:00 GMT");
    let upstream = Upstream::new(move |seen| {
        if seen.target().starts_with("router/") {
            spent.clone()
        } else {
            Reply::answer("well")
        }
    });
    let to_router = || {
        upstream
            .asked()
            .iter()
            .filter(|asked| asked.starts_with("router/"))
            .count()
    };
    let response = send(&stack, &upstream, asks_for("router/m")).await;
    assert_eq!(
        (response.status(), response.header("x-free-attempts")),
        (200, Some("2"))
    );
    let reset = Duration::from_secs(4 * 3600 + 1800);
    for _ in 0..269 {
        tokio::time::advance(MINUTE).await;
        let response = send(&stack, &upstream, asks_for("router/m")).await;
        assert_eq!(
            (response.status(), response.header("x-free-attempts")),
            (200, Some("1"))
        );
    }
    assert_eq!(to_router(), 1);
    let router = health
        .snapshot()
        .providers
        .iter()
        .find(|p| p.name == "router")
        .unwrap()
        .cooling
        .unwrap();
    assert_eq!(
        (router.stated, router.scope, router.remaining),
        (true, Scope::Provider, reset - 269 * MINUTE)
    );
    tokio::time::advance(MINUTE).await;
    send(&stack, &upstream, asks_for("router/m")).await;
    assert_eq!(to_router(), 2, "its day has begun");
}

// ---- 6: tiers.

#[tokio::test(start_paused = true)]
async fn a_model_asked_for_by_name_goes_first() {
    let (stack, _) = seeded(targets(&["a", "b"], &["m", "n", "x/y"]));
    assert_eq!(
        only(&stack, || asks_for("n")).await,
        ["a/n", "b/n"],
        "an exact id, at any provider"
    );
    assert_eq!(
        only(&stack, || asks_for("b/n")).await,
        ["b/n"],
        "provider/id, there"
    );
    assert_eq!(
        only(&stack, || asks_for("x/y")).await,
        ["a/x/y", "b/x/y"],
        "an id with a slash"
    );
    assert_eq!(only(&stack, || asks_for("a/x/y")).await, ["a/x/y"]);
}

#[tokio::test(start_paused = true)]
async fn a_model_asked_for_by_name_is_left_when_it_fails() {
    let (stack, _) = seeded(targets(&["a", "b"], &["m"]));
    let upstream = failing(&["a/m"], Reply::error(503));
    let response = send(&stack, &upstream, asks_for("a/m")).await;
    assert_eq!(
        (response.status(), response.header("x-free-provider")),
        (200, Some("b"))
    );
}

#[tokio::test(start_paused = true)]
async fn names_that_mean_any_and_unknown_names_mean_any() {
    let all = ["a/m", "a/n", "b/m", "b/n"];
    let (stack, _) = seeded(targets(&["a", "b"], &["m", "n"]));
    for name in [
        "free",
        "auto",
        "openrouter/free",
        "",
        "gpt-4o",
        "c/m",
        "a/zzz",
    ] {
        assert_eq!(only(&stack, || asks_for(name)).await, all, "{name:?}");
    }
    let missing = || chat_with(json!({ "messages": [{ "role": "user", "content": "hi" }] }));
    assert_eq!(only(&stack, missing).await, all);
}

#[tokio::test(start_paused = true)]
async fn a_model_whose_name_means_any_is_not_insisted_on() {
    let (stack, _) = seeded(targets(&["a", "b"], &["m", "free"]));
    assert_eq!(only(&stack, || asks_for("free")).await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_name_need_not_be_preferred() {
    let (stack, _) = seeded(targets(&["a", "b"], &["m", "n"]));
    let stack = stack.route(|r| r.prefer_requested(false));
    assert_eq!(only(&stack, || asks_for("a/n")).await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_pin_forbids_substitution() {
    let (stack, _) = seeded(targets(&["a", "b"], &["m", "n"]));
    let upstream = healthy();
    let response = send(&stack, &upstream, pinned("zzz")).await;
    assert_eq!((response.status(), upstream.calls()), (404, 0));
    let error = &response.json()["error"];
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!("model_not_found"), &json!("model"))
    );

    assert_eq!(only(&stack, || pinned("a/n")).await, ["a/n"]);
    let upstream = failing(&["a/n"], Reply::error(503));
    let response = send(&stack, &upstream, pinned("a/n")).await;
    assert_eq!(response.status(), 503);
    assert_eq!(upstream.asked(), ["a/n", "a/n"], "no other stands in");
}

#[tokio::test(start_paused = true)]
async fn guard_models_are_never_picked_at_random_and_answer_when_named() {
    let guards = ["llama-guard-4", "gpt-oss-safeguard", "omni-moderation"];
    let (stack, _) = seeded(targets(&["a"], &[guards[0], guards[1], guards[2], "chat"]));
    assert_eq!(only(&stack, chat).await, ["a/chat"]);
    for guard in guards {
        assert_eq!(
            only(&stack, || asks_for(guard)).await,
            [format!("a/{guard}")]
        );
    }
    // Not even where everybody else has failed.
    let upstream = failing(&["a/chat"], Reply::error(503));
    assert_eq!(send(&stack, &upstream, chat()).await.status(), 503);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_not_for_random_picks_answers_only_by_name() {
    let a = provider("a");
    let (stack, _) = seeded([
        target(&a, "m"),
        of(&a, Model::new("dear").random(false).build()),
    ]);
    assert_eq!(only(&stack, chat).await, ["a/m"]);
    assert_eq!(only(&stack, || asks_for("unknown")).await, ["a/m"]);
    assert_eq!(only(&stack, || asks_for("dear")).await, ["a/dear"]);
    assert_eq!(only(&stack, || asks_for("a/dear")).await, ["a/dear"]);
}

fn with_tools() -> Request<Full<Bytes>> {
    chat_with(
        json!({ "model": "free", "messages": [{ "role": "user", "content": "hi" }], "tools": [{ "type": "function", "function": { "name": "f" } }] }),
    )
}

#[tokio::test(start_paused = true)]
async fn known_to_fit_goes_before_unknown_and_unknown_is_not_excluded() {
    let (a, b, c) = (provider("a"), provider("b"), provider("c"));
    let pool = [
        of(&a, Model::new("yes").parameters(["tools"]).build()),
        target(&b, "unknown"),
        of(&c, Model::new("no").parameters(["temperature"]).build()),
    ];
    let (stack, health) = seeded(pool.clone());
    assert_eq!(only(&stack, with_tools).await, ["a/yes"]);
    fail(&health, &pool[0], &limited(MINUTE));
    assert_eq!(only(&stack, with_tools).await, ["b/unknown"]);
    fail(&health, &pool[1], &limited(MINUTE));
    let upstream = healthy();
    assert_eq!(send(&stack, &upstream, with_tools()).await.status(), 429);
    assert_eq!(upstream.calls(), 0, "a stated no excludes");
}

/// A prompt of very many words.
fn long(words: usize) -> Request<Full<Bytes>> {
    chat_with(
        json!({ "model": "free", "messages": [{ "role": "user", "content": "word ".repeat(words) }] }),
    )
}

#[tokio::test(start_paused = true)]
async fn too_small_by_estimate_goes_last_and_then_the_largest_first() {
    let a = provider("a");
    let window = |name: &str, tokens| of(&a, Model::new(name).context_length(tokens).build());
    let pool = [
        window("small", 4096),
        window("middle", 32_768),
        window("large", 131_072),
        window("huge", 1_000_000),
    ];
    let (stack, health) = seeded(pool.clone());
    assert_eq!(
        only(&stack, || long(60_000)).await,
        ["a/huge", "a/large"],
        "these are large enough"
    );
    for target in &pool[2..] {
        fail(&health, target, &limited(MINUTE));
    }
    // Never to nobody: an estimate can be wrong.
    assert_eq!(only(&stack, || long(60_000)).await, ["a/middle"]);
    assert_eq!(
        only(&stack, chat).await,
        ["a/middle", "a/small"],
        "a short one fits everywhere"
    );
}

#[tokio::test(start_paused = true)]
async fn the_output_that_is_asked_for_needs_room_too() {
    let a = provider("a");
    let pool = [
        of(
            &a,
            Model::new("short")
                .context_length(131_072)
                .max_output(4096)
                .build(),
        ),
        of(
            &a,
            Model::new("long")
                .context_length(131_072)
                .max_output(65_536)
                .build(),
        ),
        of(&a, Model::new("tight").context_length(32_768).build()),
    ];
    let (stack, _) = seeded(pool);
    let request = || {
        chat_with(
            json!({ "model": "free", "max_tokens": 32_768, "messages": [{ "role": "user", "content": "hi" }] }),
        )
    };
    assert_eq!(only(&stack, request).await, ["a/long"]);
}

#[tokio::test(start_paused = true)]
async fn cooling_by_guess_goes_last_and_goes_nevertheless() {
    let pool = targets(&["a", "b"], &["m"]);
    let (stack, health) = seeded(pool.clone());
    fail(&health, &pool[0], &unavailable());
    assert_eq!(only(&stack, chat).await, ["b/m"]);
    fail(&health, &pool[1], &limited(MINUTE));
    let upstream = healthy();
    let response = send(&stack, &upstream, chat()).await;
    assert_eq!(
        (response.status(), upstream.asked()),
        (200, vec!["a/m".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_name_does_not_reach_into_a_cooldown() {
    for outcome in [unavailable(), limited(MINUTE)] {
        let pool = targets(&["a", "b"], &["m"]);
        let (stack, health) = seeded(pool.clone());
        fail(&health, &pool[0], &outcome);
        assert_eq!(
            only(&stack, || asks_for("a/m")).await,
            ["b/m"],
            "{outcome:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_context_error_larger_windows_go_first_though_smaller_ones_are_proven() {
    for seed in 0..20 {
        let a = provider("a");
        let window = |name: &str, tokens| of(&a, Model::new(name).context_length(tokens).build());
        let pool = vec![
            window("asked", 32_768),
            window("small", 16_384),
            window("large", 65_536),
            window("larger", 131_072),
        ];
        let health = HealthMap::seeded(seed);
        let stack =
            stack(Catalog::from_targets(pool.clone()), health.clone()).route(|r| r.seed(seed));
        succeed(&health, &pool[1]);
        succeed(&health, &pool[2]);
        let reply = Reply::json(
            400,
            json!({ "error": { "message": "This endpoint's maximum context length is 32768 tokens.", "code": 400 } }),
        );
        let upstream = failing(&["a/asked", "a/larger"], reply);
        send(&stack, &upstream, asks_for("asked")).await;
        assert_eq!(upstream.asked(), ["a/asked", "a/larger", "a/large"]);
    }
}

/// A request that needs this, and nothing else out of the ordinary.
fn needing(capability: Capability) -> Request<Full<Bytes>> {
    let mut body = json!({ "model": "free", "messages": [{ "role": "user", "content": "hi" }] });
    let part = |part: Value| json!([{ "type": "text", "text": "hi" }, part]);
    match capability.name() {
        "tools" => body["tools"] = json!([{ "type": "function", "function": { "name": "f" } }]),
        "image" => {
            body["messages"][0]["content"] = part(
                json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==" } }),
            )
        }
        "audio" => {
            body["messages"][0]["content"] = part(
                json!({ "type": "input_audio", "input_audio": { "data": "AA==", "format": "wav" } }),
            )
        }
        "file" => {
            body["messages"][0]["content"] = part(
                json!({ "type": "file", "file": { "file_data": "data:application/pdf;base64,AA==" } }),
            )
        }
        "video" => {
            body["messages"][0]["content"] = part(
                json!({ "type": "video_url", "video_url": { "url": "https://example.com/v.mp4" } }),
            )
        }
        "json_schema" => {
            body["response_format"] =
                json!({ "type": "json_schema", "json_schema": { "name": "s", "schema": {} } })
        }
        "json_object" => body["response_format"] = json!({ "type": "json_object" }),
        "output_image" => body["modalities"] = json!(["image", "text"]),
        "output_audio" => body["modalities"] = json!(["audio", "text"]),
        "logprobs" => body["logprobs"] = json!(true),
        other => panic!("{other}"),
    }
    chat_with(body)
}

/// Each by the list that governs it, once with it and once without.
fn stated(capability: Capability, has: bool) -> Model {
    let model = Model::new(if has { "yes" } else { "no" });
    let (input, output, parameters) = match capability.name() {
        name @ ("image" | "audio" | "file" | "video") => (Some(name), None, None),
        "output_image" => (None, Some("image"), None),
        "output_audio" => (None, Some("audio"), None),
        "json_schema" => (None, None, Some("structured_outputs")),
        "json_object" => (None, None, Some("response_format")),
        name => (None, None, Some(name)),
    };
    let words = |common: &'static str, word: Option<&'static str>| {
        [Some(common), word.filter(|_| has)].into_iter().flatten()
    };
    model
        .input(words("text", input))
        .output(words("text", output))
        .parameters(words("temperature", parameters))
        .build()
}

const HARD: [Capability; 10] = [
    Capability::Tools,
    Capability::ImageInput,
    Capability::AudioInput,
    Capability::FileInput,
    Capability::VideoInput,
    Capability::JsonSchema,
    Capability::JsonObject,
    Capability::ImageOutput,
    Capability::AudioOutput,
    Capability::Logprobs,
];

#[tokio::test(start_paused = true)]
async fn a_stated_no_excludes_and_is_named() {
    for capability in HARD {
        let name = capability.name();
        let a = provider("a");
        let (stack, _) = seeded([of(&a, stated(capability, false))]);
        let upstream = healthy();
        let response = send(&stack, &upstream, needing(capability)).await;
        assert_eq!((response.status(), upstream.calls()), (404, 0), "{name}");
        let error = &response.json()["error"];
        assert_eq!(error["param"], name, "{error}");
        assert_eq!(error["code"], "missing_capability", "{name}");
        assert!(error["message"].as_str().unwrap().contains(name));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stated_yes_is_preferred_and_unknown_is_not_excluded() {
    for capability in HARD {
        let name = capability.name();
        let a = provider("a");
        let (stack, _) = seeded([
            of(&a, stated(capability, false)),
            of(&a, stated(capability, true)),
            target(&a, "unknown"),
        ]);
        assert_eq!(
            only(&stack, || needing(capability)).await,
            ["a/yes"],
            "{name}"
        );
        let (stack, _) = seeded([of(&a, stated(capability, false)), target(&a, "unknown")]);
        assert_eq!(
            only(&stack, || needing(capability)).await,
            ["a/unknown"],
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn json_object_is_satisfied_by_structured_outputs_and_not_the_other_way_round() {
    let a = provider("a");
    let (stack, _) = seeded([of(
        &a,
        Model::new("schema")
            .parameters(["structured_outputs"])
            .build(),
    )]);
    assert_eq!(
        only(&stack, || needing(Capability::JsonObject)).await,
        ["a/schema"]
    );
    let (stack, _) = seeded([of(
        &a,
        Model::new("object").parameters(["response_format"]).build(),
    )]);
    let response = send(&stack, &healthy(), needing(Capability::JsonSchema)).await;
    assert_eq!(
        (response.status(), response.json()["error"]["param"].clone()),
        (404, json!("json_schema"))
    );
}

#[tokio::test(start_paused = true)]
async fn the_need_that_nobody_meets_is_the_one_that_is_named() {
    let a = provider("a");
    let pool = [
        of(
            &a,
            Model::new("sees")
                .input(["text", "image"])
                .parameters(["temperature"])
                .build(),
        ),
        of(
            &a,
            Model::new("blind")
                .input(["text"])
                .parameters(["temperature"])
                .build(),
        ),
    ];
    let (stack, _) = seeded(pool);
    let body = json!({ "model": "free", "tools": [{ "type": "function", "function": { "name": "f" } }],
        "messages": [{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==" } }] }] });
    let response = send(&stack, &healthy(), chat_with(body)).await;
    assert_eq!(response.json()["error"]["param"], "tools");
}

#[tokio::test(start_paused = true)]
async fn an_empty_pool_says_so() {
    let (stack, _) = seeded([]);
    let response = send(&stack, &healthy(), chat()).await;
    assert_eq!(
        (response.status(), response.json()["error"]["code"].clone()),
        (503, json!("empty_pool"))
    );
}

// ---- The choice.

#[tokio::test(start_paused = true)]
async fn the_choice_is_uniform() {
    let (stack, _) = seeded(targets(&["a", "b"], &["m", "n", "o", "p", "q"]));
    let service = stack.layer(service_fn(|_: Request<Body>| async {
        Ok::<_, BoxError>(Response::new(Full::from(
            r#"{"choices":[{"message":{"content":"x"}}]}"#,
        )))
    }));
    let mut counts = BTreeMap::<_, u32>::new();
    for _ in 0..10_000 {
        let response = service.clone().oneshot(chat()).await.unwrap();
        *counts
            .entry(
                response
                    .extensions()
                    .get::<Routed>()
                    .unwrap()
                    .target
                    .id()
                    .to_string(),
            )
            .or_default() += 1;
    }
    // A thousand each; the standard deviation is thirty.
    assert_eq!(counts.len(), 10);
    assert!(
        counts.values().all(|n| (850..=1150).contains(n)),
        "{counts:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_seed_makes_serial_choices_reproducible() {
    async fn choices(seed: u64) -> Vec<String> {
        let health = HealthMap::seeded(seed);
        let stack = stack(
            Catalog::from_targets(targets(&["a", "b", "c"], &["m", "n"])),
            health,
        )
        .route(|r| r.seed(seed));
        let upstream = failing(&["a/m", "c/n"], Reply::error(503));
        for _ in 0..60 {
            send(&stack, &upstream, chat()).await;
            tokio::time::advance(Duration::from_millis(300)).await;
        }
        upstream.asked()
    }
    let once = choices(7).await;
    assert_eq!(once, choices(7).await);
    assert_ne!(once, choices(8).await);
}

// ---- 4.6: refusals.

#[tokio::test(start_paused = true)]
async fn a_429_names_the_earliest_stated_recovery() {
    let pool = targets(&["a", "b", "c"], &["m"]);
    let (stack, health) = seeded(pool.clone());
    for (target, seconds) in pool.iter().zip([50, 27, 900]) {
        fail(&health, target, &limited(Duration::from_secs(seconds)));
    }
    let upstream = healthy();
    let response = send(&stack, &upstream, chat()).await;
    assert_eq!((response.status(), upstream.calls()), (429, 0));
    assert_eq!(response.header("retry-after"), Some("27"));
    assert_eq!(response.header("x-should-retry"), None);
    assert_eq!(response.header("x-free-attempts"), Some("0"));
    let error = &response.json()["error"];
    assert_eq!(
        (&error["type"], &error["code"]),
        (&json!("rate_limit_error"), &json!("rate_limit_exceeded"))
    );
    assert_eq!(error["metadata"]["held_back"], json!({ "rate_limited": 3 }));
    assert_eq!(error["metadata"]["targets"], 3);
    assert!(
        error["message"].as_str().unwrap().contains("in 27 s"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_recovery_of_those_that_could_not_serve_it_does_not_count() {
    let (a, b) = (provider("a"), provider("b"));
    let pool = [
        of(&a, Model::new("yes").parameters(["tools"]).build()),
        of(&b, Model::new("no").parameters(["temperature"]).build()),
    ];
    let (stack, health) = seeded(pool.clone());
    fail(&health, &pool[0], &limited(Duration::from_secs(40)));
    fail(&health, &pool[1], &limited(Duration::from_secs(5)));
    let response = send(&stack, &healthy(), with_tools()).await;
    assert_eq!(
        (response.status(), response.header("retry-after")),
        (429, Some("40"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_recovery_that_is_far_away_says_not_to_retry() {
    let pool = targets(&["a"], &["m"]);
    let (stack, health) = seeded(pool.clone());
    fail(&health, &pool[0], &limited(Duration::from_secs(61)));
    let response = send(&stack, &healthy(), chat()).await;
    assert_eq!(
        (
            response.header("retry-after"),
            response.header("x-should-retry")
        ),
        (Some("61"), Some("false"))
    );
    tokio::time::advance(Duration::from_secs(1)).await;
    let response = send(&stack, &healthy(), chat()).await;
    assert_eq!(
        (
            response.header("retry-after"),
            response.header("x-should-retry")
        ),
        (Some("60"), None)
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_stated_recovery_it_is_a_503() {
    let (stack, _) = seeded(targets(&["a", "b"], &["m"]));
    let stack = without_waiting(stack);
    let upstream = Upstream::script([Reply::error(502)]);
    let response = send(&stack, &upstream, chat()).await;
    assert_eq!(response.status(), 503);
    let error = &response.json()["error"];
    assert_eq!(error["metadata"]["attempts"], 2);
    assert_eq!(error["metadata"]["outcomes"], json!({ "unavailable": 2 }));
    let last = &error["metadata"]["last_error"];
    assert_eq!(
        (&last["status"], &last["message"]),
        (&json!(502), &json!("status 502"))
    );
    assert_eq!(
        format!("{}/m", last["provider"].as_str().unwrap()),
        upstream.asked()[1]
    );
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_ends_on_limits_says_when_the_first_ends() {
    let replies = [
        Reply::error(429).header("retry-after", "45"),
        Reply::error(429).header("retry-after", "30"),
        Reply::error(503),
    ];
    let (stack, _) = seeded(targets(&["a", "b", "c", "d"], &["m"]));
    let stack = stack.fallback(|f| f.max_attempts(3));
    let response = send(&stack, &Upstream::script(replies), chat()).await;
    assert_eq!(
        (response.status(), response.header("retry-after")),
        (429, Some("30"))
    );
    // A day that is used up has an end as well.
    let (stack, _) = seeded(targets(&["a", "b"], &["m"]));
    let stack = stack.fallback(|f| f.max_attempts(1));
    let response = send(&stack, &Upstream::script([Reply::error(402)]), chat()).await;
    assert_eq!(
        (response.status(), response.header("retry-after")),
        (429, Some("86400"))
    );
    assert_eq!(response.header("x-should-retry"), Some("false"));
}

#[tokio::test(start_paused = true)]
async fn the_pools_own_credential_never_shows_as_the_callers_401_or_402() {
    for status in [401, 402, 403] {
        for hidden in [false, true] {
            let reply = match hidden {
                false => Reply::error(status),
                true => Reply::json(200, json!({ "error": { "code": status, "message": "no" } })),
            };
            let (stack, _) = seeded(targets(&["a", "b"], &["m", "n"]));
            let response = send(&stack, &Upstream::script([reply]), chat()).await;
            assert!(
                matches!(response.status(), 429 | 503),
                "{status}: {response:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_trail_is_bounded() {
    let long = "x".repeat(100);
    let models: Vec<String> = (0..100).map(|n| format!("{long}{n}")).collect();
    let names: Vec<&str> = models.iter().map(String::as_str).collect();
    let (stack, _) = seeded(targets(&["a-provider"], &names));
    let stack = stack.fallback(|f| f.max_attempts(100));
    let upstream = Upstream::script([Reply::error(503)]);
    let response = send(&stack, &upstream, chat()).await;
    assert_eq!(
        (upstream.calls(), response.header("x-free-attempts")),
        (100, Some("100"))
    );
    let trail = response.header("x-free-trail").unwrap();
    assert!(trail.len() < 8192, "{}", trail.len());
    let last = upstream.asked().pop().unwrap();
    assert!(
        trail.ends_with(&format!("{last}=unavailable")),
        "the newest are shown: {trail}"
    );
    let heads: usize = response
        .parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    assert!(heads < 8192);
}

#[tokio::test(start_paused = true)]
async fn no_credential_shows_anywhere() {
    const CANARY: &str = "sk-canary-0123456789";
    let keyed = |name: &str| {
        Provider::new(name)
            .base_url(&format!("http://{name}.test/v1"))
            .key(CANARY)
            .free(tower_free_models::provider::FreeRule::All)
            .build()
            .unwrap()
    };
    let echo = json!({ "error": { "message": format!("Incorrect API key provided: {CANARY}"), "code": "x", "param": CANARY } });
    for status in [400, 401, 402, 403, 404, 413, 422, 429, 500, 200] {
        let pool = vec![target(&keyed("a"), "m"), target(&keyed("b"), "m")];
        let (stack, health) = seeded(pool.clone());
        let upstream =
            Upstream::script([Reply::json(status, echo.clone()).header("x-echo", CANARY)]);
        let service = stack.layer(upstream.clone());
        let debug = format!(
            "{stack:?} {service:?} {health:?} {pool:?} {:?} {:?}",
            pool[0].provider(),
            health.begin(&pool[0])
        );
        assert!(!debug.contains("canary"), "{debug}");
        let response = send(&stack, &upstream, chat()).await;
        let all = format!("{response:?} {:?}", health.snapshot());
        assert!(!all.contains("canary"), "{status}: {all}");
        let seen = upstream.seen.lock().unwrap();
        assert_eq!(
            seen[0].parts.headers["authorization"],
            format!("Bearer {CANARY}")
        );
        assert!(
            !format!("{:?}", seen[0].parts).contains("canary"),
            "a sensitive header"
        );
    }
}

// ---- 11: bad input.

/// One request through both layers with another layer between them, and what the upstream got.
async fn through(
    between: impl Fn(Request<Body>) -> Request<Body> + Clone + Send + 'static,
) -> Seen {
    let catalog = Catalog::from_targets(targets(&["a"], &["m", "n"]));
    let upstream = healthy();
    let service = FallbackLayer::new().layer(
        FreeModelRouteLayer::new(catalog, HealthMap::seeded(7))
            .layer(upstream.clone())
            .map_request(between),
    );
    let response = service.oneshot(asks_for("m")).await.unwrap();
    assert_eq!(response.status(), 200);
    let seen = upstream.seen.lock().unwrap().pop();
    seen.expect("a call")
}

#[tokio::test(start_paused = true)]
async fn what_a_layer_between_the_two_has_changed_is_read_again() {
    assert_eq!(through(|request| request).await.model(), "m");
    let other = through(|request| request.map(|_| Body::from(r#"{"model": "n", "messages": []}"#)));
    let other = other.await;
    assert_eq!(
        (other.model(), &other.json()["messages"]),
        ("n".into(), &json!([]))
    );
    // The same bytes, which mean something else there.
    let moved = through(|mut request| {
        *request.uri_mut() = "/v1/completions".parse().unwrap();
        request
    });
    assert_eq!(moved.await.parts.uri.path(), "/v1/completions");
}

#[tokio::test(start_paused = true)]
async fn bad_input_gets_an_openai_error_and_reaches_no_upstream() {
    let (stack, health) = seeded(targets(&["a"], &["m"]));
    let stack = stack.fallback(|f| f.max_body(2000));
    let with = |name: &'static str, value: &'static str| {
        let mut request = chat();
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let body = |bytes: &[u8]| post("/v1/chat/completions", Bytes::copy_from_slice(bytes));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(600), "]".repeat(600));
    let requests = [
        (400, body(b"")),
        (400, body(b"not json")),
        (400, body(b"{")),
        (400, body(b"[]")),
        (400, body(b"null")),
        (400, body(b"\"free\"")),
        (400, body(b"{\"model\":\"free\"} {}")),
        (400, body(b"{\"model\":\"\xff\"}")),
        (400, body(deep.as_bytes())),
        (
            400,
            chat_with(
                json!({ "model": "free", "tool_choice": { "type": "openrouter:web_search" } }),
            ),
        ),
        (
            400,
            post("/openai/deployments/gpt-4o/chat/completions", "{}"),
        ),
        (413, body(&[b' '; 3000])),
        (415, with("content-encoding", "gzip")),
        (415, with("content-encoding", "br")),
        (415, with("content-type", "text/plain")),
        (415, with("content-type", "multipart/form-data; boundary=x")),
    ];
    let upstream = healthy();
    for (status, request) in requests {
        let what = format!("{request:?}");
        let response = send(&stack, &upstream, request).await;
        assert_eq!(response.status(), status, "{what}");
        assert_eq!(
            response.header("content-type"),
            Some("application/json"),
            "{what}"
        );
        let error = &response.json()["error"];
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty()),
            "{what}"
        );
        assert_eq!(error["type"], "invalid_request_error", "{what}");
        assert!(
            error["code"].is_string() && error.get("param").is_some(),
            "{what}"
        );
    }
    assert_eq!(upstream.calls(), 0);
    assert!(
        health
            .snapshot()
            .targets
            .iter()
            .all(|target| target.tally.started == 0)
    );
    assert_eq!(send(&stack, &upstream, chat()).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_from_ourselves_is_a_508() {
    let (stack, _) = seeded(targets(&["a"], &["m"]));
    let upstream = healthy();
    send(&stack, &upstream, chat()).await;
    let via = upstream.seen.lock().unwrap()[0].parts.headers["x-free-via"].clone();
    let mut request = chat();
    request.headers_mut().insert("x-free-via", via.clone());
    let response = send(&stack, &upstream, request).await;
    assert_eq!((response.status(), upstream.calls()), (508, 1));
    assert!(response.json()["error"]["message"].is_string());
    // Another router's mark is none of ours.
    let (other, _) = seeded(targets(&["a"], &["m"]));
    let mut request = chat();
    request.headers_mut().insert("x-free-via", via);
    assert_eq!(send(&other, &upstream, request).await.status(), 200);
}

// ---- 9: whose credential it is.

#[tokio::test(start_paused = true)]
async fn what_the_callers_own_credential_is_refused_goes_back_and_is_not_held_against_anyone() {
    for status in [401, 402, 403] {
        let bare = bare_provider("bare");
        let (stack, health) = seeded([target(&bare, "m"), target(&bare, "n")]);
        let upstream = Upstream::script([Reply::error(status)]);
        let response = send(&stack, &upstream, chat()).await;
        assert_eq!((response.status(), upstream.calls()), (status, 1));
        assert_eq!(
            response.json()["error"]["message"],
            format!("status {status}")
        );
        assert!(
            health
                .snapshot()
                .targets
                .iter()
                .all(|t| t.state == TargetState::Healthy && t.cooling.is_none())
        );
        assert!(
            health
                .snapshot()
                .providers
                .iter()
                .all(|p| p.cooling.is_none())
        );
    }
    // Other failures are not the credential's.
    let bare = bare_provider("bare");
    let (stack, _) = seeded([target(&bare, "m"), target(&bare, "n")]);
    let upstream = Upstream::script([Reply::error(503), Reply::answer("well")]);
    assert_eq!(send(&stack, &upstream, chat()).await.status(), 200);
}

// ---- Errors of the inner service.

#[tokio::test(start_paused = true)]
async fn if_all_attempts_are_errors_of_the_inner_service_the_last_is_returned_as_it_is() {
    #[derive(Debug, PartialEq)]
    struct Own(u32);
    let calls = Arc::new(Mutex::new(0));
    let service = service_fn({
        let calls = Arc::clone(&calls);
        move |_: Request<Body>| {
            let mut calls = calls.lock().unwrap();
            *calls += 1;
            let error = Own(*calls);
            async move { Err::<Response<Full<Bytes>>, _>(error) }
        }
    });
    let (stack, _) = seeded(targets(&["a", "b", "c"], &["m"]));
    let stack = without_waiting(stack);
    let error = stack.layer(service).oneshot(chat()).await.err();
    assert_eq!(error, Some(Own(3)));
}

#[tokio::test(start_paused = true)]
async fn one_answer_among_the_errors_makes_it_a_refusal() {
    for replies in [
        [Reply::error(503), Reply::unreachable()],
        [Reply::unreachable(), Reply::error(503)],
    ] {
        let (stack, _) = seeded(targets(&["a", "b"], &["m"]));
        assert_eq!(
            send(&stack, &Upstream::script(replies), chat())
                .await
                .status(),
            503
        );
    }
}

#[tokio::test(start_paused = true)]
async fn if_every_provider_is_unreachable_nobody_suffers() {
    let (stack, health) = seeded(targets(&["a", "b", "c"], &["m", "n"]));
    let down = Upstream::new(|_| Reply::unreachable());
    assert!(stack.layer(down).oneshot(chat()).await.is_err());
    for target in health.snapshot().targets {
        assert_eq!(target.state, TargetState::Healthy, "{}", target.id);
    }
    assert_eq!(send(&stack, &healthy(), chat()).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn our_own_outage_says_nothing_of_who_was_out_of_reach_before() {
    let pool = targets(&["a", "b"], &["m", "n"]);
    let health = HealthMap::seeded(1);
    health.observe(&Catalog::from_targets(pool.clone()).snapshot());
    let unreachable = Outcome::of(OutcomeKind::Unreachable);
    // For some minutes this one is out of reach, and the others are not.
    for _ in 0..8 {
        fail(&health, &pool[0], &unreachable);
        tokio::time::advance(Duration::from_secs(20)).await;
    }
    for target in &pool[1..] {
        fail(&health, target, &unreachable);
    }
    fail(&health, &pool[3], &unreachable);
    fail(&health, &pool[1], &unreachable);
    let cooling = |i: usize| {
        let shown = health.snapshot().targets;
        let target = shown.iter().find(|shown| shown.id == *pool[i].id());
        target.is_some_and(|shown| shown.state != TargetState::Healthy)
    };
    assert_eq!(
        [cooling(0), cooling(1), cooling(2), cooling(3)],
        [true, false, false, false]
    );
}

#[tokio::test(start_paused = true)]
async fn three_targets_of_a_provider_out_of_reach_within_ten_seconds_are_the_provider() {
    let cooled = |pauses: [u64; 2]| async move {
        let pool = targets(&["a", "b"], &["m", "n", "o", "p"]);
        let health = HealthMap::seeded(1);
        health.observe(&Catalog::from_targets(pool.clone()).snapshot());
        let unreachable = Outcome::of(OutcomeKind::Unreachable);
        fail(&health, &pool[0], &unreachable);
        tokio::time::advance(Duration::from_secs(pauses[0])).await;
        fail(&health, &pool[1], &unreachable);
        assert!(
            health.snapshot().providers[0].cooling.is_none(),
            "two are not enough"
        );
        tokio::time::advance(Duration::from_secs(pauses[1])).await;
        fail(&health, &pool[2], &unreachable);
        health.snapshot().providers[0]
            .cooling
            .is_some_and(|c| !c.stated && c.reason == OutcomeKind::Unreachable)
    };
    assert!(cooled([5, 5]).await);
    assert!(!cooled([6, 5]).await, "the first is too long ago");
}

// ---- 13, and the slot.

#[tokio::test(start_paused = true)]
async fn every_response_says_which_model_answered() {
    for streamed in [false, true] {
        let (stack, _) = seeded(targets(&["a", "b"], &["x/y"]));
        let upstream = Upstream::script([
            Reply::error(503),
            if streamed {
                Reply::words(&["hi"])
            } else {
                Reply::answer("hi")
            },
        ]);
        let request = if streamed { streamed_chat() } else { chat() };
        let response = stack
            .layer(upstream.clone())
            .oneshot(request)
            .await
            .unwrap();
        let asked = upstream.asked();
        let header = |name| response.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(
            format!("{}/{}", header("x-free-provider"), header("x-free-model")),
            asked[1]
        );
        assert_eq!(header("x-free-attempts"), "2");
        assert_eq!(
            header("x-free-trail"),
            format!("{}=unavailable, {}=succeeded", asked[0], asked[1])
        );
        let routed = response.extensions().get::<Routed>().unwrap();
        assert_eq!(routed.target.id().to_string(), asked[1]);
        let trail: Vec<_> = routed
            .trail
            .iter()
            .map(|(id, kind)| (id.to_string(), *kind))
            .collect();
        assert_eq!(
            trail,
            [
                (asked[0].clone(), OutcomeKind::Unavailable),
                (asked[1].clone(), OutcomeKind::Succeeded)
            ]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_left_empty_makes_one_attempt_that_is_passed_on() {
    for reply in [
        Reply::error(503),
        Reply::error(401),
        Reply::json(200, json!({ "choices": [] })),
        Reply::answer("well"),
    ] {
        let upstream = Upstream::script([reply.clone()]);
        let response = FallbackLayer::new()
            .layer(upstream.clone())
            .oneshot(chat())
            .await
            .unwrap();
        let response = read(response).await;
        assert_eq!(
            (response.status(), upstream.calls()),
            (reply.status.as_u16(), 1)
        );
        let Some(Step::Data(body)) = reply.steps.first() else {
            panic!("no body")
        };
        assert_eq!(response.body, *body);
        assert_eq!(response.header("x-free-trail"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_billed_quarantines_its_target_across_refreshes() {
    let (a, b) = (provider("a"), provider("b"));
    let catalog = Catalog::from_targets([target(&a, "m"), target(&b, "m")]);
    let health = HealthMap::seeded(1);
    let stack = stack(catalog.clone(), health.clone());
    let billed = Reply::json(
        200,
        json!({ "choices": [{ "message": { "content": "hi" } }], "usage": { "cost": 0.0001 } }),
    );
    send(&stack, &failing(&["a/m"], billed), asks_for("a/m")).await;
    assert_eq!(
        health.snapshot().target("a", "m").unwrap().state,
        TargetState::Quarantined
    );
    catalog
        .replace(
            &a,
            vec![of(&a, Model::new("m").context_length(8192).build())],
        )
        .unwrap();
    tokio::time::advance(Duration::from_secs(40 * 24 * 3600)).await;
    assert_eq!(only(&stack, || asks_for("a/m")).await, ["b/m"]);
}

// ---- What a review found.

#[tokio::test(start_paused = true)]
async fn a_target_that_breaks_off_never_looks_fast() {
    let health = HealthMap::seeded(7);
    let target = target(&provider("a"), "m");
    let mut attempt = health.begin(&target).expect("it is healthy");
    tokio::time::advance(Duration::from_millis(50)).await;
    attempt.commit();
    attempt.fail(&Outcome::of(OutcomeKind::Interrupted));
    assert_eq!(health.snapshot().targets[0].first_token, None);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_inner_service_does_not_hide_that_the_time_was_over() {
    let (stack, _) = seeded(targets(&["a", "b"], &["m"]));
    let stack = stack.fallback(|layer| layer.deadline(Duration::from_secs(20)));
    let upstream = Upstream::script([Reply::unreachable(), Reply::hang()]);
    assert_eq!(send(&stack, &upstream, chat()).await.status(), 504);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_inner_service_does_not_hide_what_the_callers_own_credential_was_refused() {
    let own = bare_provider("own");
    let (stack, _) = seeded([target(&own, "m"), target(&own, "n")]);
    let upstream = Upstream::script([Reply::unreachable(), Reply::error(401)]);
    assert_eq!(send(&stack, &upstream, chat()).await.status(), 401);
}

#[tokio::test(start_paused = true)]
async fn a_model_whose_id_is_not_ascii_is_routed_and_named() {
    for id in ["grün/模型:free", "50% more [ab12]"] {
        let pool = [target(&provider("a"), id), target(&provider("a"), "other")];
        let (stack, _) = seeded(pool);
        let upstream = Upstream::script([Reply::answer("hi")]);
        let raw = send(&stack, &upstream, asks_for(id)).await;
        let shown = raw.header("x-free-model").expect("printable").to_owned();
        // The caller sends back what it has read, and gets the same model.
        let again = send(&stack, &upstream, asks_for(&shown)).await;
        let there = send(&stack, &upstream, asks_for(&format!("a/{shown}"))).await;
        for whole in [raw, again, there] {
            assert_eq!(whole.header("x-free-model"), Some(&*shown));
            let trail = whole.header("x-free-trail").expect("printable");
            assert!(trail.starts_with("a/") && trail.ends_with("=succeeded"));
        }
        let seen = upstream.seen.lock().unwrap();
        assert!(seen.iter().all(|seen| seen.model() == id));
        assert_eq!(seen.len(), 3);
    }
}
