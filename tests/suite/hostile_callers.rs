//! One caller against the others: whatever it writes into a request, and however upstreams quote that in their errors,
//! the next caller is served at once, and no target and no provider is held back for longer than a guess.

use std::time::Duration;

use crate::support::*;
use serde_json::{Value, json};
use tower_free_models::{HealthMap, classify::Scope, health::TargetState};

/// What a first guess is at most.
const GUESS: Duration = Duration::from_secs(1);

/// What a caller may write in order to bench a provider.
const WRITTEN: &[&str] = &[
    "Please try again in 30 days.",
    "x\nRate limit exceeded: free-models-per-day. Please try again in 30 days.",
    "insufficient credits",
    "x\ninsufficient balance\ny",
    "Incorrect API key provided",
    "Your credit balance is too low",
    "x\u{2028}User location is not supported for the API use.",
    "User location is not supported for the API use.\nx",
    "The model `m` does not exist",
    "x' the model has been decommissioned 'y",
    "a/m is not a valid model ID",
    "Your API key, daily, for your account, free-models-per-day",
    "{\"error\":{\"code\":\"insufficient_quota\",\"retry_after\":\"2592000\"}}",
    "\",\"code\":\"invalid_api_key\",\"x\":\"",
];

const QUOTES: &[(&str, &str)] = &[
    ("'", "'"),
    ("\"", "\""),
    ("`", "`"),
    ("“", "”"),
    ("«", "»"),
    ("", ""),
    ("'", ""),
];

/// The errors in which an upstream may quote it.
fn errors(written: &str) -> Vec<Reply> {
    let mut replies = Vec::new();
    for (n, (open, close)) in QUOTES.iter().enumerate() {
        // Not each in each: every quote and every text meets every status somewhere.
        let status = [400, 422, 500][(n + written.len()) % 3];
        let message = format!(
            "Invalid value: {open}{written}{close}. Supported values are: 'low' and 'high'."
        );
        let field = format!("{open}{written}{close}: Extra inputs are not permitted");
        let loc = json!(["body", written]);
        let relayed = json!({ "code": status, "message": "Provider returned error",
                "metadata": { "provider_name": "Venice", "raw": json!({ "error": { "message": message } }).to_string() } });
        let bodies = [
            json!({ "error": { "message": message } }),
            json!({ "error": { "message": field, "param": written, "code": "unknown_parameter" } }),
            json!({ "error": { "message": "Invalid value.", "details": written, "failed_generation": written } }),
            json!({ "error": message }),
            json!({ "message": field }),
            json!({ "detail": [{ "type": "enum", "loc": loc, "msg": message, "input": { "code": "insufficient_quota" } }] }),
            json!({ "error": { "message": message }, "metadata": { "code": "insufficient_quota", "retry_after": "2592000" } }),
            json!({ "error": relayed }),
        ];
        replies.extend(bodies.map(|body| Reply::json(status, body)));
        let text = format!("{open}{written}{close} is no field of a request");
        replies.push(Reply::new(status, "text/plain", text));
        // As the first event of a stream, after a head that says success.
        replies.push(Reply::stream([event(
            &json!({ "error": { "message": message } }),
        )]));
    }
    replies
}

#[track_caller]
fn assert_none_is_held_back(health: &HealthMap, what: &str) {
    let snapshot = health.snapshot();
    for provider in &snapshot.providers {
        assert!(provider.cooling.is_none(), "{what}: {provider:?}");
    }
    for target in &snapshot.targets {
        let cooling = target.cooling.as_ref();
        let guessed = |cooling: &tower_free_models::health::Cooling| {
            !cooling.stated && cooling.scope == Scope::Target && cooling.remaining <= GUESS
        };
        assert!(cooling.is_none_or(guessed), "{what}: {target:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_caller_writes_holds_nothing_back_longer_than_a_guess() {
    for written in WRITTEN {
        for reply in errors(written) {
            let what = format!("{} {:?}", reply.status, reply.steps);
            let (stack, health) = seeded(targets(&["a", "b", "c"], &["m", "n"]));
            let hostile = json!({ "model": "free", "messages": [{ "role": "user", "content": written }], *written: 1 });
            send(&stack, &Upstream::script([reply]), chat_with(hostile)).await;
            assert_none_is_held_back(&health, &what);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_hostile_caller_the_next_one_is_served_at_once() {
    let (stack, health) = seeded(targets(&["a", "b", "c"], &["m", "n"]));
    let upstream = Upstream::new(|seen: &Seen| {
        let body = seen.json();
        let written = body["messages"][0]["content"].as_str().unwrap_or_default();
        match written {
            "hi" => Reply::answer("well"),
            written => Reply::json(
                400,
                json!({ "error": { "message": format!("Invalid value: {written}") } }),
            ),
        }
    });
    for written in WRITTEN {
        let hostile = json!({ "messages": [{ "role": "user", "content": written }] });
        let refused = send(&stack, &upstream, chat_with(hostile)).await;
        assert_eq!(refused.status(), 400, "{written}");
        let began = tokio::time::Instant::now();
        let served = send(&stack, &upstream, chat()).await;
        assert_eq!(
            (served.status(), served.header("x-free-attempts")),
            (200, Some("1")),
            "{written}"
        );
        assert_eq!(began.elapsed(), Duration::ZERO, "{written}");
    }
    let all = health.snapshot();
    assert!(
        all.targets
            .iter()
            .all(|target| target.state == TargetState::Healthy)
    );
}

// ---- What costs one other provider at most.

#[tokio::test(start_paused = true)]
async fn an_argument_that_no_service_knows_costs_one_other_provider() {
    let (stack, health) = seeded(targets(&["a", "b", "c", "d"], &["m", "n"]));
    let reply = Reply::json(
        400,
        json!({ "error": { "message": "Unrecognized request argument supplied: foo", "type": "invalid_request_error" } }),
    );
    let upstream = Upstream::script([reply]);
    let response = send(
        &stack,
        &upstream,
        chat_with(json!({ "foo": 1, "messages": [] })),
    )
    .await;
    assert_eq!((response.status(), upstream.calls()), (400, 2));
    assert_none_is_held_back(&health, "foo");
}

#[tokio::test(start_paused = true)]
async fn a_broken_tool_history_costs_one_other_provider_and_cools_nothing() {
    let (stack, health) = seeded(targets(&["a", "b", "c", "d"], &["m", "n"]));
    let message = "Failed to parse tool call arguments as JSON: [json.exception.parse_error.101] parse error at line 1, column 2";
    let reply = Reply::json(
        500,
        json!({ "error": { "code": 500, "message": message, "type": "server_error" } }),
    );
    let upstream = Upstream::script([reply]);
    let response = send(&stack, &upstream, chat()).await;
    assert_eq!((response.status(), upstream.calls()), (500, 2));
    assert_eq!(response.json()["error"]["message"], message);
    let all = health.snapshot();
    assert!(all.targets.iter().all(|target| target.cooling.is_none()));
}

// ---- A refusal that a router relays.

fn relayed_refusal() -> Reply {
    Reply::json(
        400,
        json!({ "error": { "code": 400, "message": "Provider returned error",
            "metadata": { "provider_name": "Venice", "raw": "unsupported value" } } }),
    )
}

#[tokio::test(start_paused = true)]
async fn after_a_relayed_refusal_another_model_of_the_same_provider_is_asked() {
    for seed in 0..20 {
        let health = HealthMap::seeded(seed);
        let catalog =
            tower_free_models::Catalog::from_targets(targets(&["router"], &["bad", "good"]));
        let stack =
            tower_free_models::stack(catalog, health.clone()).route(|route| route.seed(seed));
        let upstream = Upstream::new(|seen: &Seen| match &*seen.model() {
            "bad" => relayed_refusal(),
            _ => Reply::answer("well"),
        });
        let response = send(&stack, &upstream, chat()).await;
        assert_eq!(
            response.status(),
            200,
            "seed {seed}: {:?}",
            upstream.asked()
        );
        assert_none_is_held_back(&health, "a relayed refusal");
    }
}

#[tokio::test(start_paused = true)]
async fn two_relayed_refusals_end_the_request() {
    let (stack, _) = seeded(targets(&["router"], &["a", "b", "c", "d"]));
    let upstream = Upstream::script([relayed_refusal()]);
    let response = send(&stack, &upstream, chat()).await;
    assert_eq!((response.status(), upstream.calls()), (400, 2));
}

// ---- What is learned.

#[tokio::test(start_paused = true)]
async fn a_parameter_that_is_not_supported_is_remembered_for_its_need() {
    let formats: [Value; 2] = [
        json!({ "type": "json_object" }),
        json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": { "type": "object" } } }),
    ];
    for format in formats {
        let (stack, health) = seeded(targets(&["first", "second"], &["m"]));
        let upstream = Upstream::new(|seen: &Seen| match &*seen.target() {
            "first/m" if seen.json().get("response_format").is_some() => Reply::json(
                400,
                json!({ "error": { "message": "Unsupported parameter: 'response_format'.", "code": "unsupported_parameter", "param": "response_format" } }),
            ),
            _ => Reply::answer("{}"),
        });
        let ask = |model: &str| {
            chat_with(json!({ "model": model, "messages": [], "response_format": format }))
        };
        assert_eq!(send(&stack, &upstream, ask("first/m")).await.status(), 200);
        assert_eq!(upstream.asked(), ["first/m", "second/m"]);
        for _ in 0..20 {
            send(&stack, &upstream, ask("free")).await;
        }
        assert!(
            upstream.asked()[2..]
                .iter()
                .all(|asked| asked == "second/m"),
            "{format}"
        );
        // For all else it is as good as before.
        for _ in 0..20 {
            send(&stack, &upstream, chat()).await;
        }
        assert!(
            upstream.asked()[22..]
                .iter()
                .any(|asked| asked == "first/m"),
            "{format}"
        );
        assert_none_is_held_back(&health, "response_format");
    }
}

// ---- The callers' own credentials.

#[tokio::test(start_paused = true)]
async fn no_limit_of_a_callers_own_credential_is_held_against_others() {
    let limits = [
        Reply::error(429).header("retry-after", "600"),
        Reply::json(
            429,
            json!({ "error": { "message": "free-models-per-day" } }),
        ),
        Reply::error(402),
        Reply::error(401),
        Reply::error(403),
        Reply::json(
            403,
            json!({ "error": { "message": "not permitted to call model m" } }),
        ),
        Reply::json(
            404,
            json!({ "error": { "message": "The model `m` does not exist or you do not have access to it." } }),
        ),
        Reply::json(
            400,
            json!({ "error": { "message": "m", "code": "insufficient_quota" } }),
        ),
        Reply::json(
            200,
            json!({ "error": { "code": 429, "message": "m", "metadata": { "retry_after_seconds": 60 } } }),
        ),
        Reply::stream([event(&json!({ "error": { "code": 429, "message": "m" } }))]),
        Reply::answer("the last one")
            .header("x-ratelimit-remaining-requests", "0")
            .header("x-ratelimit-reset-requests", "2m0s"),
    ];
    for limit in limits {
        let what = format!("{} {:?} {:?}", limit.status, limit.headers, limit.steps);
        let own = bare_provider("own");
        let (stack, health) = seeded([target(&own, "m"), target(&own, "n")]);
        send(&stack, &Upstream::script([limit]), chat()).await;
        let snapshot = health.snapshot();
        assert!(
            snapshot
                .providers
                .iter()
                .all(|provider| provider.cooling.is_none()),
            "{what}"
        );
        for target in &snapshot.targets {
            assert_eq!(
                (target.state, &target.cooling),
                (TargetState::Healthy, &None),
                "{what}"
            );
        }
        let other = Upstream::script([Reply::answer("well")]);
        let response = send(&stack, &other, chat()).await;
        assert_eq!((response.status(), other.calls()), (200, 1), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_the_callers_own_credential_goes_back_as_it_was_said() {
    let own = bare_provider("own");
    let (stack, _) = seeded([target(&own, "m"), target(&own, "n")]);
    let reply = Reply::json(
        429,
        json!({ "error": { "message": "slow down", "type": "requests", "code": "rate_limit_exceeded" } }),
    );
    let upstream = Upstream::script([reply.header("retry-after", "30")]);
    let response = send(&stack, &upstream, chat()).await;
    assert_eq!((response.status(), upstream.calls()), (429, 2));
    assert_eq!(response.header("retry-after"), Some("30"));
    assert_eq!(response.json()["error"]["message"], "slow down");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_is_down_for_every_caller() {
    let own = bare_provider("own");
    let (stack, health) = seeded([target(&own, "m")]);
    let reply = Reply::error(503).header("retry-after", "40");
    send(&stack, &Upstream::script([reply]), chat()).await;
    let cooling = health.snapshot().targets[0].cooling;
    assert!(cooling.is_some_and(|cooling| cooling.stated));
}

// ---- What a request refers to.

#[tokio::test(start_paused = true)]
async fn what_a_caller_refers_to_in_vain_holds_no_target_back_longer_than_a_guess() {
    let error = |status, message: &str| {
        Reply::json(
            status,
            json!({ "error": { "code": status, "message": message } }),
        )
    };
    for reply in [
        // Gemini, of `cached_content` and of a file.
        error(403, "CachedContent not found (or permission denied)"),
        error(404, "Requested entity was not found."),
        // OpenAI, of a tool's store and of a stored prompt.
        error(404, "Vector store with id [vs_1] not found."),
        error(404, "Prompt with id 'pmpt_1' not found."),
        // A guard before the API, of a word in the request.
        error(403, "Request blocked: select * from users"),
        // A template that fails, where every response has the counters of a limit.
        error(500, "Value is not callable: null at row 1")
            .header("x-ratelimit-remaining-requests", "49")
            .header("x-ratelimit-reset-requests", "7h12m0s"),
    ] {
        let what = format!("{} {:?}", reply.status, reply.steps);
        let (stack, health) = seeded(targets(&["a", "b", "c"], &["m", "n"]));
        send(&without_waiting(stack), &Upstream::script([reply]), chat()).await;
        assert_none_is_held_back(&health, &what);
    }
}
