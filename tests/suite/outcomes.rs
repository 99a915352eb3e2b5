//! What each kind of answer means: for the health of its target, and for the request that met it.

use std::{ops::RangeInclusive, path::Path, time::Duration};

use crate::support::*;
use serde_json::{Value, json};
use tower_free_models::{
    Catalog, FallbackLayer, HealthMap, Model, Provider, Target,
    classify::{OutcomeKind, Scope},
    health::{Cooling, TargetState},
    provider::{Day, FreeRule},
    stack,
};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// What the failed attempt leaves behind.
#[derive(Clone, Debug, PartialEq)]
enum Health {
    Nothing,
    /// A guess, which for a first failure is at most a second.
    Guessed(Scope),
    /// A fact, whose end is so many seconds away.
    Stated(Scope, RangeInclusive<u64>),
}

/// What becomes of the request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// Any other target gets it.
    Next,
    /// Any target of another provider gets it.
    OtherProvider,
    /// The target with the largest window gets it.
    Larger,
    /// One other provider gets it; if that refuses too, the caller gets the first answer as it came.
    OneOtherProvider,
}

use Health::{Guessed, Nothing, Stated};
use Then::{Larger, Next, OneOtherProvider, OtherProvider};

const TARGET: Scope = Scope::Target;
const PROVIDER: Scope = Scope::Provider;

fn exactly(scope: Scope, seconds: u64) -> Health {
    Stated(scope, seconds..=seconds)
}

fn error(status: u16, message: &str) -> Reply {
    Reply::json(
        status,
        json!({ "error": { "message": message, "code": status } }),
    )
}

fn coded(status: u16, code: &str) -> Reply {
    Reply::json(
        status,
        json!({ "error": { "message": "it did not work", "code": code } }),
    )
}

/// `first` is asked by name; the others are there to go on with.
struct Pool {
    stack: tower_free_models::Stack,
    health: HealthMap,
}

impl Pool {
    fn of(targets: Vec<Target>) -> Self {
        let (stack, health) = seeded(targets);
        let stack = without_waiting(stack);
        Self { stack, health }
    }

    /// Asks `first/asked` first, which answers with `reply`; everybody else answers well.
    async fn meet(&self, reply: Reply, streamed: bool) -> (Whole, Vec<String>) {
        self.meet_with(reply, Reply::answer("well"), streamed).await
    }

    async fn meet_with(&self, reply: Reply, other: Reply, streamed: bool) -> (Whole, Vec<String>) {
        let upstream = Upstream::new(move |seen| match seen.target().as_str() {
            "first/asked" => reply.clone(),
            _ => other.clone(),
        });
        let request = chat_with(json!({
            "model": "first/asked", "stream": streamed, "messages": [{ "role": "user", "content": "hi" }],
        }));
        let response = send(&self.stack, &upstream, request).await;
        (response, upstream.asked())
    }

    fn state(&self) -> TargetState {
        self.health
            .snapshot()
            .target("first", "asked")
            .expect("it was asked")
            .state
    }

    fn own_cooling(&self) -> Option<Cooling> {
        self.health
            .snapshot()
            .target("first", "asked")
            .expect("it was asked")
            .cooling
    }

    #[track_caller]
    fn assert_left(&self, expected: &Health, kind: &str, what: &str) {
        let cooling = self.own_cooling();
        match (expected, cooling) {
            (Nothing, None) => assert_eq!(self.state(), TargetState::Healthy, "{what}"),
            (Guessed(scope), Some(cooling)) => {
                assert!(!cooling.stated, "{what}: {cooling:?}");
                assert!(
                    cooling.remaining <= Duration::from_secs(1),
                    "{what}: {cooling:?}"
                );
                assert!(!cooling.remaining.is_zero(), "{what}: {cooling:?}");
                assert_eq!(
                    (cooling.scope, cooling.reason.name()),
                    (*scope, kind),
                    "{what}"
                );
            }
            (Stated(scope, seconds), Some(cooling)) => {
                assert!(cooling.stated, "{what}: {cooling:?}");
                let whole = cooling.remaining.as_secs_f64().round() as u64;
                assert!(seconds.contains(&whole), "{what}: {cooling:?}");
                assert_eq!(
                    (cooling.scope, cooling.reason.name()),
                    (*scope, kind),
                    "{what}"
                );
            }
            (_, cooling) => panic!("{what}: expected {expected:?}, found {cooling:?}"),
        }
        // What is the provider's holds back all of it; what is the target's does not.
        let sibling = self.health.snapshot().target("first", "sibling").cloned();
        if let Some(sibling) = sibling {
            let held = matches!(expected, Guessed(PROVIDER) | Stated(PROVIDER, _));
            assert_eq!(sibling.cooling.is_some(), held, "{what}: {sibling:?}");
        }
    }
}

fn sized(provider: &Provider, model: &str, window: u64) -> Target {
    provider
        .target(Model::new(model).context_length(window))
        .expect("a free model")
}

/// Two models of one provider, and one of another, so that it shows where a request goes.
fn pool() -> Pool {
    let (first, second) = (provider("first"), provider("second"));
    Pool::of(vec![
        sized(&first, "asked", 8192),
        sized(&first, "sibling", 4096),
        sized(&second, "other", 131_072),
    ])
}

fn alone() -> Pool {
    let first = provider("first");
    Pool::of(vec![
        sized(&first, "asked", 8192),
        sized(&first, "sibling", 131_072),
    ])
}

/// One row of the table, in every way in which it shows.
async fn row(what: &str, reply: Reply, kind: &str, health: Health, then: Then) {
    row_of(what, reply, kind, health, then, false).await;
}

async fn row_of(what: &str, reply: Reply, kind: &str, health: Health, then: Then, streamed: bool) {
    let trail = format!("first/asked={kind}, ");
    let body = reply.clone();

    // With another provider in the pool the caller does not notice.
    let all = pool();
    let (response, asked) = all.meet(reply.clone(), streamed).await;
    assert_eq!(response.status(), 200, "{what}: {response:?}");
    assert_eq!(asked[0], "first/asked", "{what}");
    assert!(
        response.header("x-free-trail").unwrap().starts_with(&trail),
        "{what}: {response:?}"
    );
    assert_eq!(response.header("x-free-attempts"), Some("2"), "{what}");
    match then {
        Next => assert_ne!(asked[1], "first/asked", "{what}"),
        _ => assert_eq!(asked[1], "second/other", "{what}"),
    }
    all.assert_left(&health, kind, what);

    // With one provider alone it shows whether that is asked again.
    let one = alone();
    let (response, asked) = one.meet(reply, streamed).await;
    match then {
        Next | Larger => {
            assert_eq!(asked, ["first/asked", "first/sibling"], "{what}");
            assert_eq!(response.status(), 200, "{what}");
        }
        OtherProvider | OneOtherProvider => {
            assert_eq!(asked, ["first/asked"], "{what}");
            assert_ne!(response.status(), 200, "{what}");
        }
    }

    // A refusal by a second provider is the last word, and the first refusal the answer.
    if then == OneOtherProvider {
        let more = Pool::of(targets(&["first", "second", "third"], &["asked"]));
        let again = Reply::json(
            body.status.as_u16(),
            json!({ "error": { "message": "also no" } }),
        );
        let (response, asked) = more.meet_with(body.clone(), again, streamed).await;
        assert_eq!(asked.len(), 2, "{what}: {asked:?}");
        let Some(Step::Data(said)) = body.steps.first() else {
            panic!("{what}: no body")
        };
        // In its own bytes, or with them in OpenAI's envelope; of a page for browsers it is only said that it was one.
        if said.starts_with(b"<") {
            let message = response.json()["error"]["message"].to_string();
            assert!(message.contains("web page"), "{what}: {message}");
        } else if response.body != *said {
            let text = || String::from_utf8_lossy(said).into_owned().into();
            let said: Value = serde_json::from_slice(said).unwrap_or_else(|_| text());
            assert_eq!(response.json()["error"]["metadata"]["raw"], said, "{what}");
        }
    }
}

// ---- Success.

#[tokio::test(start_paused = true)]
async fn a_2xx_with_content_is_a_success() {
    for reply in [
        Reply::answer("hello"),
        Reply {
            status: http::StatusCode::CREATED,
            ..Reply::answer("hello")
        },
    ] {
        let pool = pool();
        let (response, asked) = pool.meet(reply, false).await;
        assert_eq!(asked, ["first/asked"]);
        assert_eq!(
            response.header("x-free-trail"),
            Some("first/asked=succeeded")
        );
        pool.assert_left(&Nothing, "", "success");
        let snapshot = pool.health.snapshot();
        let target = snapshot.target("first", "asked").unwrap();
        assert_eq!(
            (target.tally.succeeded, target.success_rate),
            (1, Some(1.0))
        );
        assert!(target.first_token.is_some() && target.total.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn four_successes_end_probation() {
    let pool = pool();
    pool.meet(error(503, "overloaded"), false).await;
    tokio::time::advance(Duration::from_secs(2)).await;
    for _ in 0..4 {
        assert_eq!(pool.state(), TargetState::Probation);
        let (_, asked) = pool.meet(Reply::answer("well"), false).await;
        assert_eq!(asked, ["first/asked"], "a name asks for the probe");
    }
    assert_eq!(pool.state(), TargetState::Healthy);
}

// ---- Limits.

#[tokio::test(start_paused = true)]
async fn a_limit_of_the_account_cools_the_provider_until_its_stated_reset() {
    // OpenRouter, a day: the reset is in epoch milliseconds in the body, and counts from the answer's own clock.
    let day = Reply::json(
        429,
        json!({ "error": { "message": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day", "code": 429,
            "metadata": { "headers": { "X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1790726400000" }, "provider_name": null } } }),
    )
    .header("date", "Tue, 29 Sep 2026 23:00:00 GMT");
    row(
        "free-models-per-day",
        day,
        "rate_limited",
        exactly(PROVIDER, HOUR),
        OtherProvider,
    )
    .await;

    let minute = Reply::json(
        429,
        json!({ "error": { "message": "Rate limit exceeded: free-models-per-min. ", "code": 429,
            "metadata": { "headers": { "X-RateLimit-Reset": "1790726400000" }, "limit_source": "openrouter_free_tier_per_minute" } } }),
    )
    .header("date", "Tue, 29 Sep 2026 23:59:20 GMT");
    row(
        "free-models-per-min",
        minute,
        "rate_limited",
        exactly(PROVIDER, 40),
        OtherProvider,
    )
    .await;

    let by_user = error(429, "Rate limit of 10 per 60s exceeded for UserByMinute. Please wait 12 seconds before retrying.")
        .header("retry-after", "12");
    row(
        "GitHub, all models",
        by_user,
        "rate_limited",
        exactly(PROVIDER, 12),
        OtherProvider,
    )
    .await;

    let key = error(429, "Too many requests for your account").header("retry-after", "7");
    row(
        "an account in words",
        key,
        "rate_limited",
        exactly(PROVIDER, 7),
        OtherProvider,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_the_account_without_a_reset_is_a_guess_for_the_provider() {
    let reply = error(
        429,
        "Rate limit exceeded for free models. Please try again later.",
    );
    row(
        "Kilo",
        reply,
        "rate_limited",
        Guessed(PROVIDER),
        OtherProvider,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn any_other_429_cools_the_target() {
    let upstream = Reply::json(
        429,
        json!({ "error": { "message": "Provider returned error", "code": 429, "metadata": { "raw": "m:free is temporarily rate-limited upstream.",
            "provider_name": "Venice", "retry_after_seconds": 29, "headers": { "Retry-After": "29" } } } }),
    );
    row(
        "upstream of one model",
        upstream,
        "rate_limited",
        exactly(TARGET, 29),
        Next,
    )
    .await;
    row(
        "bare",
        Reply::new(429, "text/plain", ""),
        "rate_limited",
        Guessed(TARGET),
        Next,
    )
    .await;
    let past = error(429, "slow down").header("retry-after", "0");
    row(
        "a reset that is now",
        past,
        "rate_limited",
        Guessed(TARGET),
        Next,
    )
    .await;
    let groq = error(
        429,
        "Rate limit reached for model `m` in organization `o` on requests per minute (RPM): Limit 30. Please try again in 2s.",
    );
    row(
        "organisation and model",
        groq,
        "rate_limited",
        exactly(TARGET, 2),
        Next,
    )
    .await;
    let github = error(
        429,
        "Rate limit of 50 per 86400s exceeded for UserByModelByDay.",
    )
    .header("retry-after", "9000");
    row(
        "user and model",
        github,
        "rate_limited",
        exactly(TARGET, 9000),
        Next,
    )
    .await;
    let gemini = Reply::json(
        429,
        json!([{ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "You exceeded your current quota", "details": [
            { "violations": [{ "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier" }] }, { "retryDelay": "34s" }] } }]),
    );
    row(
        "project and model",
        gemini,
        "rate_limited",
        exactly(TARGET, 34),
        Next,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_day_that_is_used_up_is_not_over_in_15_seconds() {
    let reply = Reply::json(
        429,
        json!([{ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "You exceeded your current quota", "details": [
            { "violations": [{ "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier" }] }, { "retryDelay": "15s" }] } }]),
    );
    row(
        "Gemini's day",
        reply,
        "rate_limited",
        exactly(TARGET, DAY),
        Next,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stated_reset_is_trusted_for_days_and_for_32_at_most() {
    let days = error(429, "busy").header("retry-after", &(20 * DAY).to_string());
    row(
        "20 days",
        days,
        "rate_limited",
        exactly(TARGET, 20 * DAY),
        Next,
    )
    .await;
    let years = error(429, "busy").header("retry-after", "99999999999");
    let pool = pool();
    pool.meet(years, false).await;
    let most = Duration::from_secs(32 * DAY);
    assert!(pool.own_cooling().is_some_and(|c| c.remaining <= most));
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_on_a_success_means_nothing() {
    let pool = pool();
    pool.meet(Reply::answer("hi").header("retry-after", "60"), false)
        .await;
    pool.assert_left(&Nothing, "", "Retry-After on a 200");
}

// ---- Quota, credentials, gates.

#[tokio::test(start_paused = true)]
async fn a_402_is_a_quota_that_is_used_up_until_its_day_ends() {
    row(
        "402",
        error(402, "Payment required"),
        "out_of_quota",
        exactly(PROVIDER, DAY),
        OtherProvider,
    )
    .await;
    let credits = error(402, "Insufficient credits");
    row(
        "credits",
        credits,
        "out_of_quota",
        exactly(PROVIDER, DAY),
        OtherProvider,
    )
    .await;
    let stated = error(402, "Payment required").header("retry-after", "7200");
    row(
        "402 with a time",
        stated,
        "out_of_quota",
        exactly(PROVIDER, 7200),
        OtherProvider,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_phrase_counts_under_another_status() {
    for status in [401, 403, 429] {
        let reply = coded(status, "insufficient_quota");
        row(
            "insufficient_quota",
            reply,
            "out_of_quota",
            exactly(PROVIDER, DAY),
            OtherProvider,
        )
        .await;
    }
    let neurons = Reply::json(
        429,
        json!({ "errors": [{ "code": 4006, "message": "you have used up your daily free allocation of 10,000 neurons" }] }),
    );
    row(
        "Cloudflare",
        neurons,
        "out_of_quota",
        exactly(PROVIDER, DAY),
        OtherProvider,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_of_a_utc_day_ends_at_its_midnight() {
    let first = Provider::new("first")
        .base_url("http://first.test/v1")
        .free(FreeRule::All)
        .day(Day::Utc)
        .build()
        .unwrap();
    let pool = Pool::of(vec![
        target(&first, "asked"),
        target(&provider("second"), "other"),
    ]);
    pool.meet(error(402, "Payment required"), false).await;
    let cooling = pool.own_cooling().unwrap();
    let end = cooling.until.duration_since(std::time::UNIX_EPOCH).unwrap();
    let off = end.as_secs_f64().rem_euclid(DAY as f64);
    assert!(
        off < 1.0 || off > DAY as f64 - 1.0,
        "it ends {off} s after midnight"
    );
    assert!(cooling.stated && cooling.remaining <= Duration::from_secs(DAY));
}

#[tokio::test(start_paused = true)]
async fn a_402_of_requests_in_flight_is_a_limit_that_is_soon_over() {
    let reply = Reply::json(
        402,
        json!({ "error": { "code": 402, "message": "This request would exceed your available credits given your current in-flight requests. Retry shortly.",
            "metadata": { "limit_source": "openrouter_in_flight_budget", "headers": { "Retry-After": "3" } } } }),
    );
    let pool = pool();
    let (response, asked) = pool.meet(reply, false).await;
    assert_eq!((response.status(), asked.len()), (200, 2));
    let cooling = pool.own_cooling().unwrap();
    assert_eq!(
        (cooling.reason, cooling.stated),
        (OutcomeKind::RateLimited, true)
    );
    assert_eq!(cooling.remaining, Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_benches_its_provider_for_an_hour() {
    let hour = exactly(PROVIDER, HOUR);
    row(
        "401",
        error(401, "User not found."),
        "unauthorised",
        hour.clone(),
        OtherProvider,
    )
    .await;
    row(
        "401, bare",
        Reply::new(401, "text/plain", ""),
        "unauthorised",
        hour.clone(),
        OtherProvider,
    )
    .await;
    row(
        "403",
        error(403, "Forbidden"),
        "unauthorised",
        hour.clone(),
        OtherProvider,
    )
    .await;
    row(
        "403 of the key",
        error(403, "Your API key is disabled"),
        "unauthorised",
        hour.clone(),
        OtherProvider,
    )
    .await;
    let google = Reply::json(
        400,
        json!([{ "error": { "code": 400, "message": "API key not valid.", "details": [{ "reason": "API_KEY_INVALID" }] } }]),
    );
    row(
        "400 with a bad key",
        google,
        "unauthorised",
        hour,
        OtherProvider,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_stays_refused_is_benched_for_twice_as_long() {
    let pool = pool();
    for hours in [1, 2, 4] {
        let (_, asked) = pool.meet(error(401, "no"), false).await;
        assert_eq!(asked[0], "first/asked");
        pool.assert_left(&exactly(PROVIDER, hours * HOUR), "unauthorised", "doubled");
        tokio::time::advance(Duration::from_secs(hours * HOUR)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_is_the_models_own() {
    let day = exactly(TARGET, DAY);
    let harness = Reply::json(
        403,
        json!({ "error": { "message": "m:free is only available on agentic harnesses.", "code": 403,
            "metadata": { "failed_routing_step": "Gate Free Endpoints by Agentic Harness" } } }),
    );
    row("harness", harness, "gated", day.clone(), Next).await;
    row(
        "subscription",
        error(403, "this model requires a subscription"),
        "gated",
        day.clone(),
        Next,
    )
    .await;
    row(
        "region",
        error(400, "User location is not supported for the API use."),
        "gated",
        day,
        Next,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_not_there_is_gone() {
    let day = exactly(TARGET, DAY);
    for reply in [
        coded(404, "model_not_found"),
        coded(410, "gone"),
        error(404, "No endpoints found for a/m:free."),
        coded(400, "model_decommissioned"),
        error(400, "a/m:free is not a valid model ID"),
        coded(404, "free_variant_ended"),
        Reply::new(404, "text/plain", ""),
    ] {
        let what = format!("{} {:?}", reply.status, reply.steps);
        row(&what, reply, "gone", day.clone(), Next).await;
    }
    let pool = pool();
    pool.meet(coded(404, "model_not_found"), false).await;
    assert_eq!(pool.state(), TargetState::Gone);
}

#[tokio::test(start_paused = true)]
async fn gated_and_gone_end_when_the_listing_row_changes() {
    for (reply, kind) in [
        (error(403, "this model requires a subscription"), "gated"),
        (coded(404, "model_not_found"), "gone"),
    ] {
        let (first, second) = (provider("first"), provider("second"));
        let catalog = Catalog::from_targets([target(&first, "asked"), target(&second, "other")]);
        let health = HealthMap::seeded(1);
        let pool = Pool {
            stack: stack(catalog.clone(), health.clone()),
            health,
        };
        pool.meet(reply, false).await;
        catalog
            .replace(&first, vec![target(&first, "asked")])
            .unwrap();
        pool.health.observe(&catalog.snapshot());
        pool.assert_left(&exactly(TARGET, DAY), kind, "the same row");
        catalog
            .replace(&first, vec![sized(&first, "asked", 8192)])
            .unwrap();
        pool.health.observe(&catalog.snapshot());
        pool.assert_left(&Nothing, kind, "another row");
    }
}

// ---- Unfit.

#[tokio::test(start_paused = true)]
async fn a_model_that_lacks_a_feature_is_unfit_and_stays_healthy() {
    for reply in [
        error(404, "No endpoints found that support tool use."),
        error(404, "No endpoints found that support image input"),
        error(
            404,
            "No endpoints found that can handle the requested parameters.",
        ),
        error(500, "tools param requires --jinja flag"),
        coded(400, "unsupported_parameter"),
        error(422, "m is not a multimodal model"),
    ] {
        let what = format!("{:?}", reply.steps);
        row(&what, reply, "unfit", Nothing, Next).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lack_is_remembered_for_that_need_for_an_hour() {
    let tools = || {
        chat_with(
            json!({ "model": "free", "messages": [], "tools": [{ "type": "function", "function": { "name": "f" } }] }),
        )
    };
    let (first, second) = (provider("first"), provider("second"));
    let pool = Pool::of(vec![target(&first, "asked"), target(&second, "other")]);
    pool.meet(
        error(404, "No endpoints found that support tool use."),
        false,
    )
    .await;
    let upstream = Upstream::new(|_| Reply::answer("well"));
    for _ in 0..20 {
        send(&pool.stack, &upstream, tools()).await;
    }
    assert!(
        upstream.asked().iter().all(|asked| asked == "second/other"),
        "{:?}",
        upstream.asked()
    );
    // Another need is not touched by it, and an hour later it is forgotten.
    for _ in 0..20 {
        send(&pool.stack, &upstream, chat()).await;
    }
    assert!(
        upstream.asked()[20..]
            .iter()
            .any(|asked| asked == "first/asked")
    );
    tokio::time::advance(Duration::from_secs(HOUR)).await;
    for _ in 0..20 {
        send(&pool.stack, &upstream, tools()).await;
    }
    assert!(
        upstream.asked()[40..]
            .iter()
            .any(|asked| asked == "first/asked")
    );
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_is_too_long_goes_to_the_largest_window() {
    for reply in [
        error(
            400,
            "This endpoint's maximum context length is 8192 tokens. However, you requested about 33000 tokens",
        ),
        coded(400, "context_length_exceeded"),
        Reply::new(413, "text/plain", ""),
        error(413, "Payload too large"),
        error(
            400,
            "request (2009 tokens) exceeds the available context size (512 tokens), try increasing it",
        ),
    ] {
        let what = format!("{} {:?}", reply.status, reply.steps);
        row(&what, reply, "unfit", Nothing, Larger).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_413_of_tokens_per_minute_goes_to_another_provider_and_waits_for_nothing() {
    let reply = Reply::json(
        413,
        json!({ "error": { "message": "Request too large for model `m` in organization `o` on tokens per minute (TPM): Limit 8000, Requested 32979",
            "type": "tokens", "code": "rate_limit_exceeded" } }),
    )
    .header("retry-after", "9");
    row("TPM", reply, "unfit", Nothing, OtherProvider).await;
}

// ---- Unavailable.

#[tokio::test(start_paused = true)]
async fn a_sick_deployment_or_a_bad_generation_under_400_is_unavailable() {
    let nim = Reply::json(
        400,
        json!({ "detail": "Function id '1': DEGRADED function cannot be invoked" }),
    );
    row("NIM", nim, "unavailable", Guessed(TARGET), Next).await;
    row(
        "Groq",
        coded(400, "tool_use_failed"),
        "unavailable",
        Guessed(TARGET),
        Next,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn overloads_cool_the_target() {
    for status in [408, 425, 500, 502, 503, 504, 524, 529] {
        let what = status.to_string();
        row(
            &what,
            Reply::error(status),
            "unavailable",
            Guessed(TARGET),
            Next,
        )
        .await;
        let stated = Reply::error(status).header("retry-after", "40");
        row(&what, stated, "unavailable", exactly(TARGET, 40), Next).await;
    }
}

#[tokio::test(start_paused = true)]
async fn any_other_5xx_and_any_3xx_is_unavailable() {
    for status in [300, 301, 302, 304, 307, 308, 399, 501, 505, 520, 599] {
        let reply = Reply::error(status).header("location", "http://elsewhere.test/");
        row(
            &status.to_string(),
            reply,
            "unavailable",
            Guessed(TARGET),
            Next,
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_inner_service_is_unreachable() {
    row(
        "unreachable",
        Reply::unreachable(),
        "unreachable",
        Guessed(TARGET),
        Next,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_deadline_before_commit_is_too_slow() {
    let stalls = |steps: Vec<Step>| Reply::stream(steps);
    row_of(
        "header",
        Reply::hang(),
        "too_slow",
        Guessed(TARGET),
        Next,
        true,
    )
    .await;
    row_of(
        "first token",
        stalls(vec![comment(), role(), Step::Hang]),
        "too_slow",
        Guessed(TARGET),
        Next,
        true,
    )
    .await;
    let stuck = Reply {
        steps: vec![Step::Data("{\"choices\":".into()), Step::Hang],
        ..Reply::answer("")
    };
    // The answer's limit is the whole deadline by default, so this one needs a shorter one.
    let Pool { stack, health } = pool();
    let pool = Pool {
        stack: stack.fallback(|f| f.answer_timeout(Duration::from_secs(20))),
        health,
    };
    let (response, _) = pool.meet(stuck, false).await;
    assert_eq!(response.status(), 200);
    assert!(
        response
            .header("x-free-trail")
            .unwrap()
            .starts_with("first/asked=too_slow, ")
    );
    pool.assert_left(&Guessed(TARGET), "too_slow", "answer");
}

// ---- Refused.

#[tokio::test(start_paused = true)]
async fn a_request_found_at_fault_is_shown_to_one_other_provider() {
    for reply in [
        error(400, "Temperature must be between 0 and 2, got 100"),
        Reply::json(
            400,
            json!({ "success": false, "error": { "name": "ZodError", "message": "[]" } }),
        ),
        error(422, "messages: field required"),
        Reply::new(400, "text/html", "<h1>Bad Request</h1>"),
    ] {
        let what = format!("{} {:?}", reply.status, reply.steps);
        row(&what, reply, "refused", Nothing, OneOtherProvider).await;
    }
}

#[tokio::test(start_paused = true)]
async fn any_other_4xx_is_shown_to_one_other_provider() {
    for status in [405, 406, 409, 412, 415, 418, 421, 426, 431, 451, 499] {
        row(
            &status.to_string(),
            Reply::error(status),
            "refused",
            Nothing,
            OneOtherProvider,
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_refusal_goes_back_with_its_status_headers_and_body() {
    let (stack, _) = seeded(targets(&["a", "b", "c"], &["m"]));
    let upstream = Upstream::new(|seen| {
        error(422, &format!("{} says no", seen.target())).header("x-request-id", &seen.target())
    });
    let response = send(&stack, &upstream, chat()).await;
    let asked = upstream.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(response.status(), 422);
    assert_eq!(response.header("x-request-id"), Some(asked[0].as_str()));
    assert_eq!(
        response.json()["error"]["message"],
        format!("{} says no", asked[0])
    );
    assert_eq!(
        response.header("x-free-trail").unwrap(),
        format!("{}=refused, {}=refused", asked[0], asked[1])
    );
}

// ---- Errors within a 200.

#[tokio::test(start_paused = true)]
async fn an_error_in_a_200_is_what_its_inner_code_says() {
    let inner = |error: Value| Reply::json(200, json!({ "error": error }));
    row("429", inner(json!({ "code": 429, "message": "Provider returned error", "metadata": { "retry_after_seconds": 9 } })), "rate_limited", exactly(TARGET, 9), Next).await;
    row(
        "account",
        inner(json!({ "code": 429, "message": "Rate limit exceeded: free-models-per-day" })),
        "rate_limited",
        exactly(PROVIDER, DAY),
        OtherProvider,
    )
    .await;
    row(
        "401",
        inner(json!({ "code": 401, "message": "bad key" })),
        "unauthorised",
        exactly(PROVIDER, HOUR),
        OtherProvider,
    )
    .await;
    row(
        "502 as text",
        inner(json!({ "code": "502", "message": "bad gateway" })),
        "unavailable",
        Guessed(TARGET),
        Next,
    )
    .await;
    row(
        "server_error",
        inner(json!({ "code": "server_error", "message": "oops" })),
        "unavailable",
        Guessed(TARGET),
        Next,
    )
    .await;
    row(
        "400",
        inner(json!({ "code": 400, "message": "bad temperature" })),
        "refused",
        Nothing,
        OtherProvider,
    )
    .await;
    row(
        "no code",
        inner(json!({ "message": "oops" })),
        "unavailable",
        Guessed(TARGET),
        Next,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_finish_reason_of_error_is_what_its_inner_code_says() {
    let reply = Reply::json(
        200,
        json!({ "choices": [{ "message": { "role": "assistant", "content": "partial" }, "finish_reason": "error", "error": { "code": 503, "message": "overloaded" } }] }),
    );
    row(
        "finish_reason error",
        reply,
        "unavailable",
        Guessed(TARGET),
        Next,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_error_event_before_content_is_what_its_inner_code_says() {
    let stream = |error: Value| Reply::stream([comment(), role(), event(&error)]);
    let busy = stream(
        json!({ "error": { "code": 429, "message": "Provider returned error", "metadata": { "retry_after_seconds": 9 } },
        "choices": [{ "index": 0, "delta": { "content": "" }, "finish_reason": "error" }] }),
    );
    row_of("429", busy, "rate_limited", exactly(TARGET, 9), Next, true).await;
    let account = stream(json!({ "error": { "code": 402, "message": "Insufficient credits" } }));
    row_of(
        "402",
        account,
        "out_of_quota",
        exactly(PROVIDER, DAY),
        OtherProvider,
        true,
    )
    .await;
    let named = Reply::stream([Step::Data("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n".into())]);
    row_of(
        "an event called error",
        named,
        "unavailable",
        Guessed(TARGET),
        Next,
        true,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_error_event_after_content_passes_and_is_recorded_as_it_says() {
    let pool = pool();
    let failed = event(
        &json!({ "error": { "code": 429, "message": "busy", "metadata": { "retry_after_seconds": 9 } } }),
    );
    let (response, asked) = pool
        .meet(Reply::stream([role(), delta("one"), failed]), true)
        .await;
    assert_eq!(asked, ["first/asked"]);
    assert_eq!(
        response.text().matches("\"error\"").count(),
        1,
        "the upstream's own error is enough"
    );
    pool.assert_left(&exactly(TARGET, 9), "rate_limited", "error after commit");
}

// ---- Empty, interrupted, abandoned.

#[tokio::test(start_paused = true)]
async fn an_answer_without_an_answer_in_it_is_empty_and_soft() {
    let choice = |message: Value| {
        Reply::json(
            200,
            json!({ "choices": [{ "message": message, "finish_reason": "stop" }] }),
        )
    };
    for reply in [
        Reply::json(200, json!({ "choices": [] })),
        Reply::json(200, json!({})),
        choice(json!({ "role": "assistant", "content": "" })),
        choice(json!({ "role": "assistant", "content": null })),
        choice(json!({ "content": null, "tool_calls": [] })),
    ] {
        let what = format!("{:?}", reply.steps);
        row(&what, reply, "empty", Nothing, Next).await;
    }
    let stream = Reply::stream([role(), finish(), done()]);
    row_of("an empty stream", stream, "empty", Nothing, Next, true).await;
}

#[tokio::test(start_paused = true)]
async fn three_soft_failures_in_a_row_cool_a_target_and_two_do_not() {
    let pool = pool();
    let empty = || Reply::json(200, json!({ "choices": [] }));
    for _ in 0..2 {
        pool.meet(empty(), false).await;
        pool.assert_left(&Nothing, "", "soft");
    }
    pool.meet(Reply::answer("well"), false).await;
    for _ in 0..2 {
        pool.meet(empty(), false).await;
        pool.assert_left(&Nothing, "", "soft after a success");
    }
    pool.meet(empty(), false).await;
    pool.assert_left(&Guessed(TARGET), "empty", "the third in a row");
}

#[tokio::test(start_paused = true)]
async fn an_answer_cut_after_commit_is_interrupted_and_soft() {
    for end in [vec![Step::Break], vec![]] {
        let pool = pool();
        let steps: Vec<_> = [role(), delta("one")].into_iter().chain(end).collect();
        for n in 1..=3 {
            let (response, asked) = pool.meet(Reply::stream(steps.clone()), true).await;
            assert_eq!(asked, ["first/asked"]);
            assert!(
                response.text().contains("\"code\":\"interrupted\"")
                    && !response.text().contains("[DONE]")
            );
            let left = if n == 3 { Guessed(TARGET) } else { Nothing };
            pool.assert_left(&left, "interrupted", "cut");
        }
    }
}

// ---- Every status.

#[tokio::test(start_paused = true)]
async fn no_status_shows_while_another_provider_is_healthy() {
    for status in 100..=599 {
        let pool = pool();
        let (response, asked) = pool
            .meet(Reply::new(status, "application/json", ""), false)
            .await;
        assert_eq!(
            (response.status(), asked.len()),
            (200, 2),
            "{status}: {response:?}"
        );
        assert!(response.text().contains("well"), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_finds_fault_goes_back_and_no_other_does() {
    for status in 100..=599 {
        let (stack, _) = seeded(targets(&["a", "b", "c"], &["m"]));
        let stack = without_waiting(stack);
        let upstream = Upstream::new(move |seen| {
            Reply::new(status, "application/json", "").header("x-request-id", &seen.target())
        });
        let response = send(&stack, &upstream, chat()).await;
        let asked = upstream.asked();
        // The caller's fault, as far as anybody can tell.
        let fault =
            matches!(status, 400 | 405..=407 | 409 | 411..=424 | 426..=428 | 430..=497 | 499);
        if fault {
            assert_eq!(response.status(), status);
            let error = &response.json()["error"];
            assert!(error["message"].is_string(), "{status}");
            // A window that is too small is asked of everyone, anything else of two.
            assert_eq!(asked.len(), if status == 413 { 3 } else { 2 }, "{status}");
            if status != 413 {
                let first = &asked[0][..1];
                assert_eq!(error["metadata"]["provider"], first, "{status}");
                assert_eq!(
                    response.header("x-request-id"),
                    Some(asked[0].as_str()),
                    "{status}"
                );
            }
        } else {
            // Of all the others the pool speaks itself; quota has an end by rule, and so a time to come back.
            let expected = if status == 402 { 429 } else { 503 };
            assert_eq!(response.status(), expected, "{status}");
            assert_eq!(asked.len(), 3, "{status}");
            assert!(response.json()["error"]["message"].is_string(), "{status}");
        }
    }
}

// ---- Recorded errors.

/// Errors of the same shapes as recorded ones, and the recordings where they are at hand.
fn recorded(name: &str) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ours = std::fs::read_to_string(root.join("tests/fixtures/errors").join(name));
    let theirs = std::fs::read_to_string(root.join("../shared/data/errors").join(name));
    let text = [
        ours.expect("our own are always there"),
        theirs.unwrap_or_default(),
    ]
    .concat();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

fn reply_of(line: &Value) -> Reply {
    let status = u16::try_from(line["status"].as_u64().expect("a status")).expect("a status");
    let body = line["body"].as_str().unwrap_or_default().to_owned();
    let events = body.starts_with("data:");
    let kind = if events {
        "text/event-stream"
    } else {
        "application/json"
    };
    let headers = line["headers"].as_object().into_iter().flatten();
    headers
        .filter_map(|(name, value)| Some((name.to_ascii_lowercase(), value.as_str()?)))
        .fold(Reply::new(status, kind, body), |reply, (name, value)| {
            reply.header(&name, value)
        })
}

fn recordings() -> Vec<Value> {
    let mut all = recorded("verbatim_errors.jsonl");
    all.extend(recorded("cassette_errors.jsonl"));
    all
}

fn streamed(line: &Value) -> bool {
    line["body"]
        .as_str()
        .is_some_and(|body| body.starts_with("data:"))
}

#[tokio::test(start_paused = true)]
async fn no_recorded_error_shows_while_another_provider_is_healthy() {
    for line in recordings() {
        let pool = pool();
        let (response, asked) = pool.meet(reply_of(&line), streamed(&line)).await;
        assert_eq!(response.status(), 200, "{line}");
        // Recorded in the middle of an answer, some are after commit and pass.
        assert!(asked.len() == 2 || streamed(&line), "{line}: {asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_recorded_error_shows_as_the_callers_401_or_402() {
    for line in recordings() {
        let (stack, _) = seeded(targets(&["a", "b"], &["m", "n"]));
        let reply = reply_of(&line);
        let upstream = Upstream::new(move |_| reply.clone());
        let request = if streamed(&line) {
            streamed_chat()
        } else {
            chat()
        };
        let response = send(&stack, &upstream, request).await;
        assert!(
            !matches!(response.status(), 401 | 402),
            "{line}: {response:?}"
        );
    }
}

/// What the labels of the recordings that are clear about it say.
fn scope_by_label(label: &str) -> Option<Scope> {
    match label {
        "account/daily"
        | "account/minute"
        | "account/month"
        | "account/day"
        | "account/week"
        | "account/hour"
        | "account (not retryable)"
        | "auth" => Some(Scope::Provider),
        "model/upstream"
        | "model/all-providers"
        | "model gone"
        | "model gated"
        | "model id"
        | "model/capacity"
        | "model capacity"
        | "model/deployment sick"
        | "org+model/minute tokens"
        | "org+model/minute requests"
        | "org+model/day tokens"
        | "org+model/minute"
        | "project+model/day"
        | "project+model/minute"
        | "project+model/minute tokens"
        | "user+model/day"
        | "workspace+model/minute" => Some(Scope::Target),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorded_error_has_the_scope_that_its_label_says() {
    for line in recorded("verbatim_errors.jsonl") {
        let Some(scope) = line["scope"].as_str().and_then(scope_by_label) else {
            continue;
        };
        let (first, second) = (provider("first"), provider("second"));
        let pool = Pool::of(vec![target(&first, "asked"), target(&second, "other")]);
        pool.meet(reply_of(&line), false).await;
        let asked = pool.health.snapshot().targets[0].id.clone();
        let held = crate::providers::tokens_held(&pool.health.snapshot(), &asked);
        let held = held.map(|(scope, _)| scope);
        let cools = pool.own_cooling().map(|cooling| cooling.scope);
        assert_eq!(held.or(cools), Some(scope), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorded_error_of_the_request_leaves_no_mark() {
    for line in recorded("verbatim_errors.jsonl") {
        let label = line["scope"].as_str().unwrap_or_default();
        if !matches!(
            label,
            "capability" | "request too long" | "validation" | "param" | "request shape"
        ) {
            continue;
        }
        let pool = pool();
        pool.meet(reply_of(&line), false).await;
        pool.assert_left(&Nothing, "", &line.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn the_users_own_classifier_is_asked_first() {
    let classify =
        |evidence: &tower_free_models::classify::Evidence<'_>| match evidence.status.as_u16() {
            418 => tower_free_models::classify::Outcome::of(OutcomeKind::Unavailable),
            _ => tower_free_models::Classify::classify(
                &tower_free_models::classify::DefaultClassify,
                evidence,
            ),
        };
    let Pool { stack, health } = pool();
    let pool = Pool {
        stack: stack.fallback(|f: FallbackLayer| f.classify(classify)),
        health,
    };
    pool.meet(Reply::error(418), false).await;
    pool.assert_left(&Guessed(TARGET), "unavailable", "418");
}
