use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use std::time::{Duration, SystemTime};

use crate::{
    capability::Capability,
    catalog::Model,
    outcome::{Lack, LimitOf, OutcomeKind, Recovery, Scope},
    provider::{FreeRule, Provider},
    upstream::{
        classify::*,
        patterns::{By, Means, SIGNS, Sign, signs_under},
        resets,
    },
};
use OutcomeKind::{
    Gated, Gone, OutOfQuota, RateLimited, Refused, Unauthorised, Unavailable, Unfit,
};

/// 2026-09-04T10:00:00Z.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_788_516_000)
}

fn classify_with(status: u16, headers: &HeaderMap, body: &[u8]) -> Outcome {
    classify_at(Endpoint::ChatCompletions, status, headers, body)
}

/// A target of a provider that serves all endpoints, with a model that is for all of them.
fn target() -> Target {
    let provider = Provider::new("acme").free(FreeRule::All).build().unwrap();
    let model = Model::new("m").output(["text", "image", "embeddings", "transcription"]);
    provider.target(model).unwrap()
}

fn classify_at(endpoint: Endpoint, status: u16, headers: &HeaderMap, body: &[u8]) -> Outcome {
    // Which limit it was is for the tests of limits.
    Outcome {
        limit: None,
        ..with_limit(endpoint, status, headers, body)
    }
}

fn with_limit(endpoint: Endpoint, status: u16, headers: &HeaderMap, body: &[u8]) -> Outcome {
    let status = StatusCode::from_u16(status).unwrap();
    let error = UpstreamError::read(status, headers, body.to_vec());
    let target = target();
    let evidence = Evidence::new(&target, endpoint, headers, &error, now());
    let outcome = DefaultClassify.classify(&evidence);
    let is_of_limit = matches!(outcome.kind, RateLimited | OutOfQuota);
    assert!(is_of_limit || outcome.limit.is_none(), "{outcome:?}");
    outcome
}

fn classify(status: u16, body: &str) -> Outcome {
    classify_with(status, &HeaderMap::new(), body.as_bytes())
}

fn error(status: u16, message: &str) -> Outcome {
    classify(
        status,
        &serde_json::json!({ "error": { "message": message } }).to_string(),
    )
}

fn after(outcome: Outcome, seconds: f64) -> Outcome {
    outcome.until(Recovery::After(Duration::from_secs_f64(seconds)))
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
}

fn limited() -> Outcome {
    Outcome::of(RateLimited)
}

fn quota() -> Outcome {
    Outcome::of(OutOfQuota).provider().until(Recovery::DayEnd)
}

fn lacks(capability: Capability) -> Outcome {
    Outcome::unfit(Lack::Capability(capability))
}

fn too_long(window: impl Into<Option<u64>>) -> Outcome {
    Outcome::unfit(Lack::ContextLength(window.into()))
}

fn parameter() -> Outcome {
    Outcome::unfit(Lack::Parameter)
}

#[test]
fn a_status_alone_gives_the_outcome_of_the_table() {
    for status in 100..=599 {
        let expected = match status {
            401 | 403 => Outcome::of(Unauthorised).provider(),
            402 => quota(),
            404 | 410 => Outcome::of(Gone),
            408 | 425 | 498 => Outcome::of(Unavailable),
            413 => too_long(None),
            429 => limited(),
            400..=499 => Outcome::of(Refused),
            _ => Outcome::of(Unavailable),
        };
        for body in ["", "{}", "null"] {
            assert_eq!(classify(status, body), expected, "{status} {body:?}");
        }
    }
}

#[test]
fn a_limit_that_names_the_account_is_the_providers() {
    let day = r#"{"error":{"message":"Rate limit exceeded: free-models-per-day. ","code":429,"metadata":{"headers":{"X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1788519600000"},"provider_name":null}}}"#;
    assert_eq!(classify(429, day), after(limited().provider(), 3600.0));
    assert_eq!(
        error(429, "Rate limit exceeded: free-models-per-day. "),
        limited().provider().until(Recovery::DayEnd)
    );
    assert_eq!(
        error(429, "Rate limit exceeded: free-models-per-min. "),
        limited().provider()
    );
    assert_eq!(
        error(429, "Rate limit exceeded for your API key"),
        limited().provider()
    );
    assert_eq!(
        classify(
            429,
            r#"{"error":{"message":"m","metadata":{"limit_source":"openrouter_free_tier_per_minute"}}}"#
        ),
        limited().provider()
    );
}

#[test]
fn a_limit_that_names_nobody_is_the_targets() {
    assert_eq!(error(429, "Rate limit exceeded"), limited());
    assert_eq!(classify(429, "<html>error code: 1015</html>"), limited());
    assert_eq!(
        error(
            429,
            "Rate limit reached for model `m` in organization `o` on requests per day (RPD): Limit 1000"
        ),
        limited().until(Recovery::DayEnd)
    );
}

#[test]
fn a_limit_ends_when_it_says() {
    let headers = headers(&[("retry-after", "29")]);
    assert_eq!(classify_with(429, &headers, b""), after(limited(), 29.0));
    assert_eq!(
        classify_with(503, &headers, b""),
        after(Outcome::of(Unavailable), 29.0)
    );
    assert_eq!(error(429, "Please try again in 2s."), after(limited(), 2.0));
}

#[test]
fn github_says_whose_limit_it_is_in_a_header() {
    for (kind, expected) in [
        ("UserByModelByDay", limited()),
        ("UserByModelByMinute", limited()),
        ("UserByMinute", limited().provider()),
        ("UserConcurrentRequests", limited().provider()),
    ] {
        assert_eq!(
            classify_with(429, &headers(&[("x-ratelimit-type", kind)]), b""),
            expected,
            "{kind}"
        );
    }
}

#[test]
fn googles_quota_ids_give_scope_and_day() {
    let quota = |id: &str| {
        classify(
            429,
            &format!(
                r#"[{{"error":{{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{{"violations":[{{"quotaId":"{id}"}}]}},{{"retryDelay":"15s"}}]}}}}]"#
            ),
        )
    };
    assert_eq!(
        quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
        limited().until(Recovery::DayEnd)
    );
    assert_eq!(
        quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
        after(limited(), 15.0)
    );
    assert_eq!(
        quota("GenerateRequestsPerMinutePerProject"),
        after(limited().provider(), 15.0)
    );
}

#[test]
fn a_quota_phrase_beats_its_status() {
    for status in [401, 402, 403, 429] {
        assert_eq!(error(status, "Insufficient balance"), quota(), "{status}");
    }
    for status in [400, 401, 402, 403, 422, 429, 500] {
        assert_eq!(
            classify(
                status,
                r#"{"error":{"message":"m","type":"insufficient_quota"}}"#
            ),
            quota(),
            "{status}"
        );
    }
}

#[test]
fn a_quota_is_not_refilled_within_a_minute() {
    assert_eq!(
        classify_with(402, &headers(&[("retry-after", "15")]), b""),
        quota()
    );
    assert_eq!(
        classify_with(402, &headers(&[("retry-after", "7200")]), b""),
        after(Outcome::of(OutOfQuota).provider(), 7200.0)
    );
}

#[test]
fn a_402_for_requests_in_flight_is_a_limit() {
    let body = r#"{"error":{"code":402,"message":"m","metadata":{"reason":"in_flight_budget_exhausted","headers":{"Retry-After":"3"}}}}"#;
    assert_eq!(classify(402, body), after(limited().provider(), 3.0));
}

#[test]
fn a_403_is_about_the_key_the_model_the_content_or_the_edge() {
    let key = Outcome::of(Unauthorised).provider();
    for (message, expected) in [
        ("Forbidden", key.clone()),
        ("Permission denied.", key.clone()),
        ("Your API key has no credentials", key),
        (
            "Project `p` does not have access to model `m`",
            Outcome::of(Gated),
        ),
        ("this model requires a subscription", Outcome::of(Gated)),
        (
            "m is only available on agentic harnesses",
            Outcome::of(Gated),
        ),
        (
            "User location is not supported for the API use.",
            Outcome::of(Gated),
        ),
        ("A reason that is not known", Outcome::of(Unavailable)),
        (
            "m requires moderation. Your input was flagged",
            Outcome::of(Refused),
        ),
        ("Content violates our policies", Outcome::of(Refused)),
        ("error code: 1010", Outcome::of(Unavailable)),
    ] {
        assert_eq!(error(403, message), expected, "{message}");
    }
    assert_eq!(
        classify(403, "<!DOCTYPE html><title>Access denied</title>"),
        Outcome::of(Unavailable)
    );
}

#[test]
fn a_bad_key_under_400_is_the_credentials() {
    let expected = Outcome::of(Unauthorised).provider();
    assert_eq!(
        classify(
            400,
            r#"[{"error":{"code":400,"details":[{"reason":"API_KEY_INVALID"}]}}]"#
        ),
        expected
    );
    // By words alone it is one target that does not work: the words may be the caller's.
    assert_eq!(
        classify(
            400,
            r#"{"code":"invalid-argument","error":"Incorrect API key provided: xx"}"#
        ),
        Outcome::of(Unavailable)
    );
}

#[test]
fn what_a_400_quotes_of_the_request_benches_no_provider() {
    for quoted in [
        "incorrect api key",
        "insufficient balance",
        "free-models-per-day",
        "account balance",
    ] {
        assert_eq!(
            error(400, &format!("Invalid value: '{quoted}'")).scope,
            Scope::Target,
            "{quoted}"
        );
    }
}

#[test]
fn a_window_that_is_too_small_is_named() {
    for (status, message, window) in [
        (
            400,
            "This model's maximum context length is 4096 tokens. However, you requested 5000",
            Some(4096),
        ),
        (
            400,
            "request (2009 tokens) exceeds the available context size (512 tokens)",
            Some(512),
        ),
        (
            400,
            "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens",
            Some(4096),
        ),
        (
            422,
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000",
            Some(8193),
        ),
        (
            400,
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            Some(1_048_576),
        ),
        (
            413,
            "Request body too large for gpt-4o model. Max size: 8000 tokens.",
            Some(8000),
        ),
        (400, "Prompt exceeds max length", None),
        (
            400,
            "Please reduce the length of the messages or completion.",
            None,
        ),
        (
            400,
            "maximum context length is 99999999999999999999999",
            None,
        ),
        (413, "Payload Too Large", None),
    ] {
        assert_eq!(error(status, message), too_long(window), "{message}");
    }
    assert_eq!(
        classify(400, r#"{"error":{"code":"1261","message":"m"}}"#),
        too_long(None)
    );
    assert_eq!(
        classify(
            400,
            r#"{"error":{"type":"exceed_context_size_error","n_ctx":512}}"#
        ),
        too_long(512)
    );
}

#[test]
fn a_request_over_a_minutes_tokens_is_unfit_whatever_it_says_of_waiting() {
    let message =
        "Request too large for model `m` on tokens per minute (TPM): Limit 8000, Requested 32979";
    let body = serde_json::json!({"error": {"message": message, "code": "rate_limit_exceeded"}})
        .to_string();
    let headers = headers(&[("retry-after", "9")]);
    for status in [413, 429] {
        let outcome = classify_with(status, &headers, body.as_bytes());
        assert_eq!(
            outcome,
            Outcome::unfit(Lack::TokensPerMinute(Some(8_000))),
            "{status}"
        );
    }
}

#[test]
fn a_missing_feature_is_a_lack_and_no_failure() {
    use Capability::{AudioInput, ImageInput, JsonObject, JsonSchema, Logprobs, Reasoning, Tools};
    for (status, message, expected) in [
        (
            404,
            "No endpoints found that support tool use. To learn more",
            lacks(Tools),
        ),
        (
            404,
            "No endpoints found that support image input",
            lacks(ImageInput),
        ),
        (
            404,
            "No endpoints found that support audio input",
            lacks(AudioInput),
        ),
        (
            404,
            "No endpoints found that can handle the requested parameters.",
            parameter(),
        ),
        (
            500,
            "image input is not supported - hint: you may need to provide the mmproj",
            lacks(ImageInput),
        ),
        (500, "tools param requires --jinja flag", lacks(Tools)),
        (
            501,
            "The current model does not support audio input.",
            lacks(AudioInput),
        ),
        (
            400,
            "messages[0]: unknown variant `image_url`, expected `text`",
            lacks(ImageInput),
        ),
        (
            400,
            "registry.ollama.ai/library/gemma:2b does not support tools",
            lacks(Tools),
        ),
        (
            400,
            "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set",
            lacks(Tools),
        ),
        (
            400,
            "This model does not support response format `json_schema`.",
            lacks(JsonSchema),
        ),
        (
            400,
            "JSON mode is not enabled for models/gemma-3-27b-it",
            lacks(JsonObject),
        ),
        (
            400,
            "Logprobs are not enabled for this model",
            lacks(Logprobs),
        ),
        (
            400,
            "\"deepseek-r1\" does not support thinking",
            lacks(Reasoning),
        ),
        (
            400,
            "Invalid JSON payload received. Unknown name \"min_p\": Cannot find field.",
            parameter(),
        ),
        (400, "property 'logit_bias' is unsupported", parameter()),
        (422, "Extra inputs are not permitted", parameter()),
    ] {
        assert_eq!(error(status, message), expected, "{message}");
    }
    let unsupported = |param: &str| {
        classify(
            400,
            &format!(
                r#"{{"error":{{"message":"m","code":"unsupported_parameter","param":"{param}"}}}}"#
            ),
        )
    };
    assert_eq!(unsupported("max_tokens"), parameter());
    assert_eq!(unsupported("top_logprobs"), lacks(Logprobs));
    assert_eq!(unsupported("tools[0].function"), lacks(Tools));
}

#[test]
fn a_model_that_is_not_there_is_gone() {
    for (status, message) in [
        (400, "x/y is not a valid model ID"),
        (
            404,
            "The model `m` does not exist or you do not have access to it.",
        ),
        (404, "No endpoints found for x/y:free."),
        (404, "Function 'f': Not found for account 'a'"),
        (404, "model \"x\" not found, try pulling it first"),
        (
            400,
            "The model `m` has been decommissioned and is no longer supported.",
        ),
        (410, "end of life"),
    ] {
        assert_eq!(error(status, message), Outcome::of(Gone), "{message}");
    }
    assert_eq!(
        classify(
            400,
            r#"{"error":"Model not found: m","code":"invalid-argument"}"#
        ),
        Outcome::of(Gone)
    );
    assert_eq!(
        classify(
            404,
            r#"{"error":{"availability":{"code":"free_variant_ended"}}}"#
        ),
        Outcome::of(Gone)
    );
}

#[test]
fn something_else_that_is_not_there_does_not_mean_the_model() {
    let body = r#"{"error":{"message":"Previous response with id 'r' not found.","param":"previous_response_id"}}"#;
    assert_eq!(classify(404, body), Outcome::of(Refused));
    let body = r#"{"error":{"message":"Invalid value: the model does not exist","param":"messages[0].content"}}"#;
    assert_eq!(classify(400, body), Outcome::of(Refused));
    for (status, message) in [
        (404, "Vector store with id [vs_1] not found."),
        (404, "Prompt with id 'pmpt_1' not found."),
        (404, "Requested entity was not found."), // Gemini, of a file
        (403, "CachedContent not found (or permission denied)"), // Gemini
        (
            403,
            "You do not have permission to access the File f or it may not exist.",
        ), // Gemini
        (403, "Request blocked"),
    ] {
        assert_eq!(
            error(status, message),
            Outcome::of(Unavailable),
            "{message}"
        );
    }
}

#[test]
fn counters_with_something_left_make_no_fact_of_an_error_that_is_no_limit() {
    let counters = headers(&[
        ("x-ratelimit-remaining", "49"),
        ("x-ratelimit-reset", "3600"),
    ]);
    for status in [403, 404, 500, 502, 503] {
        let outcome = classify_with(status, &counters, b"");
        assert_eq!(outcome.recovery, Recovery::Unstated, "{status}");
    }
    assert_eq!(classify_with(429, &counters, b""), after(limited(), 3600.0));
}

#[test]
fn a_model_of_another_plan_is_gated_and_the_rest_of_the_plan_is_not() {
    for status in [402, 403] {
        for body in [
            r#"{"error":"this model is not in the Free plan"}"#,
            r#"{"error":"this model requires a subscription, upgrade for access"}"#,
        ] {
            assert_eq!(
                classify(status, body),
                Outcome::of(Gated),
                "{status} {body}"
            );
        }
    }
    assert_eq!(error(402, "your plan is used up"), quota());
}

#[test]
fn an_endpoint_that_is_not_there_does_not_mean_the_model() {
    let classify =
        |endpoint, body: &str| classify_at(endpoint, 404, &HeaderMap::new(), body.as_bytes());
    for body in [
        "",
        "404 page not found\n",
        r#"{"detail":"Not Found"}"#,
        r#"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#,
        "<!DOCTYPE html><pre>Cannot POST /v1/responses</pre>",
        r#"{"error":{"message":"Unknown request URL: POST /v1/responses","code":"unknown_url"}}"#,
    ] {
        for endpoint in Endpoint::ALL {
            let expected = match endpoint {
                Endpoint::ChatCompletions => Outcome::of(Gone),
                _ => Outcome::unfit(Lack::Endpoint),
            };
            assert_eq!(classify(endpoint, body), expected, "{endpoint} {body}");
        }
    }
    for body in [
        r#"{"error":{"message":"The model `m` does not exist","code":"model_not_found"}}"#,
        r#"{"error":"no such model: m"}"#,
    ] {
        assert_eq!(
            classify(Endpoint::Responses, body),
            Outcome::of(Gone),
            "{body}"
        );
    }
}

#[test]
fn a_model_that_is_not_made_for_what_was_asked_is_not_gone() {
    let provider = Provider::new("acme").free(FreeRule::All).build().unwrap();
    let chats = provider.target(Model::new("m").output(["text"])).unwrap();
    let headers = HeaderMap::new();
    let error = UpstreamError::read(StatusCode::GONE, &headers, "");
    let outcome = |endpoint| {
        DefaultClassify.classify(&Evidence::new(&chats, endpoint, &headers, &error, now()))
    };
    assert_eq!(outcome(Endpoint::ChatCompletions), Outcome::of(Gone));
    let embeddings = lacks(Capability::Embeddings);
    assert_eq!(outcome(Endpoint::Embeddings), embeddings);
}

#[test]
fn a_model_that_is_for_chats_only_is_not_gone() {
    for (status, body) in [
        (
            400,
            r#"{"error":{"message":"x/y is a chat model","availability":{"code":"wrong_endpoint"}}}"#,
        ),
        (
            404,
            r#"{"error":{"message":"This is a chat model and not supported in the v1/completions endpoint.","param":"model"}}"#,
        ),
    ] {
        let classify = |endpoint| classify_at(endpoint, status, &HeaderMap::new(), body.as_bytes());
        assert_eq!(classify(Endpoint::Completions), parameter(), "{body}");
        assert_eq!(
            classify(Endpoint::ChatCompletions),
            Outcome::of(Gone),
            "{body}"
        );
    }
}

#[test]
fn a_sampler_that_is_not_there_does_not_mean_the_model() {
    for body in [
        r#"{"detail":"Sampler not found"}"#,
        r#"{"error":"HTTPException","code":404,"detail":"Sampler not found","body":"","errors":"404: Sampler not found"}"#,
    ] {
        assert_eq!(classify(404, body), Outcome::of(Refused), "{body}");
    }
}

#[test]
fn a_model_for_another_endpoint_lacks_this_one_and_is_still_there() {
    let body = r#"{"type":"error","error":{"type":"ModelError","message":"Model chat-free is not supported for format openai"}}"#;
    assert_eq!(classify(400, body), parameter());
}

#[test]
fn a_policy_that_leaves_no_endpoint_gates_the_model() {
    assert_eq!(
        error(
            404,
            "No endpoints found matching your data policy (Free model training)."
        ),
        Outcome::of(Gated)
    );
    assert_eq!(
        classify(
            404,
            r#"{"error":{"availability":{"code":"privacy_restricted"}}}"#
        ),
        Outcome::of(Gated)
    );
}

#[test]
fn a_sick_deployment_is_unavailable_under_any_status() {
    assert_eq!(
        error(400, "Function id 'f': DEGRADED function cannot be invoked"),
        Outcome::of(Unavailable)
    );
    assert_eq!(
        classify(400, r#"{"error":{"code":"tool_use_failed","message":"m"}}"#),
        Outcome::of(Unavailable)
    );
}

#[test]
fn any_other_fault_of_the_request_is_refused() {
    assert_eq!(
        error(400, "Temperature must be between 0 and 2"),
        Outcome::of(Refused)
    );
    assert_eq!(
        classify(
            400,
            r#"{"success":false,"error":{"name":"ZodError","message":"[]"}}"#
        ),
        Outcome::of(Refused)
    );
    assert_eq!(
        classify(
            422,
            r#"{"detail":[{"msg":"field required","loc":["body"]}]}"#
        ),
        Outcome::of(Refused)
    );
}

#[test]
fn an_error_in_a_200_is_what_its_inner_code_says() {
    for (error, expected) in [
        (r#"{"code":429,"message":"m"}"#, limited()),
        (r#"{"code":"429","message":"m"}"#, limited()),
        (r#"{"code":502,"message":"m"}"#, Outcome::of(Unavailable)),
        (
            r#"{"code":"server_error","message":"m"}"#,
            Outcome::of(Unavailable),
        ),
        (r#"{"code":400,"message":"m"}"#, Outcome::of(Refused)),
        (
            r#"{"code":401,"message":"m"}"#,
            Outcome::of(Unauthorised).provider(),
        ),
        (r#"{"code":402,"message":"m"}"#, quota()),
        (
            r#"{"code":404,"message":"No endpoints found that support tool use"}"#,
            lacks(Capability::Tools),
        ),
        (
            r#"{"type":"insufficient_quota","code":"insufficient_quota"}"#,
            quota(),
        ),
        (
            r#"{"type":"invalid_request_error","code":"rate_limit_exceeded"}"#,
            limited(),
        ),
        (
            r#"{"type":"invalid_request_error","message":"m"}"#,
            Outcome::of(Refused),
        ),
        (
            r#"{"type":"invalid_request_error","code":"context_length_exceeded"}"#,
            too_long(None),
        ),
        (
            r#"{"type":"overloaded_error","message":"Overloaded"}"#,
            Outcome::of(Unavailable),
        ),
        (
            r#"{"status":"RESOURCE_EXHAUSTED","message":"m"}"#,
            limited(),
        ),
        (r#"{"message":"Too Many Requests"}"#, limited()),
        (r#"{"message":"Something broke"}"#, Outcome::of(Unavailable)),
        (r#""upstream failed""#, Outcome::of(Unavailable)),
    ] {
        for body in [
            format!(r#"{{"error":{error}}}"#),
            format!(
                r#"{{"id":"x","created":429,"error":{error},"choices":[{{"delta":{{"content":""}},"finish_reason":"error"}}]}}"#
            ),
            format!(
                r#"{{"choices":[{{"message":{{"content":"half"}},"finish_reason":"error","error":{error}}}]}}"#
            ),
            format!(
                r#"{{"type":"response.failed","response":{{"status":"failed","error":{error}}}}}"#
            ),
            format!(r#"{{"type":"error","error":{error}}}"#),
        ] {
            assert_eq!(classify(200, &body), expected, "{body}");
        }
    }
}

#[test]
fn a_200_without_any_word_of_its_error_is_unavailable() {
    for body in [
        "",
        "{}",
        r#"{"choices":[{"finish_reason":"error"}]}"#,
        "data: garbage",
        r#"{"error":{"code":200}}"#,
    ] {
        assert_eq!(classify(200, body), Outcome::of(Unavailable), "{body}");
    }
}

#[test]
fn of_a_200_only_the_error_says_when_to_return() {
    let headers = headers(&[
        ("retry-after", "60"),
        ("date", "Fri, 04 Sep 2026 09:00:00 GMT"),
    ]);
    let reset =
        r#"{"error":{"code":429,"metadata":{"headers":{"X-RateLimit-Reset":"1788512407"}}}}"#;
    assert_eq!(
        classify_with(200, &headers, br#"{"error":{"code":429}}"#),
        limited()
    );
    assert_eq!(
        classify_with(200, &headers, reset.as_bytes()),
        after(limited(), 7.0)
    );
}

#[test]
fn whom_a_relayed_error_names_is_not_us() {
    let relayed = |code: u16, raw: &str| {
        let error = serde_json::json!({"error": {"code": code, "message": "Provider returned error",
            "metadata": {"provider_name": "Chutes", "raw": raw}}});
        classify(code, &error.to_string())
    };
    assert_eq!(relayed(429, "limit reached for your API key"), limited());
    assert_eq!(
        relayed(402, "Quota exceeded and account balance is $0.0"),
        Outcome::of(Unavailable)
    );
    assert_eq!(relayed(401, "bad key"), Outcome::of(Unavailable));
    assert_eq!(
        relayed(
            400,
            r#"{"error":{"message":"User location is not supported for the API use."}}"#
        ),
        Outcome::of(Gated)
    );
}

#[test]
fn a_body_cut_short_is_read_as_far_as_it_goes() {
    let body = r#"{"error":{"message":"Rate limit exceeded: free-models-per-day. ","code":429,"metadata":{"hea"#;
    assert_eq!(
        classify(429, body),
        limited().provider().until(Recovery::DayEnd)
    );
    assert_eq!(
        classify(
            429,
            r#"{"error":{"message":"Rate limit exceeded: free-models-per-day"#
        )
        .scope,
        Scope::Provider
    );
}

#[test]
fn every_phrase_is_written_as_it_is_compared() {
    for Sign(_, by, _) in SIGNS {
        let phrases = match by {
            By::Label(phrase) | By::Whole(phrase) => vec![*phrase],
            By::Text(phrases) | By::Opening(phrases) | By::Anywhere(phrases) => phrases.to_vec(),
            By::Listed(label, opening, part) => vec![*label, *opening, *part],
        };
        assert!(!phrases.is_empty());
        for phrase in phrases {
            assert!(!phrase.is_empty());
            assert_eq!(phrase.to_ascii_lowercase(), phrase);
        }
    }
}

#[test]
fn a_sign_is_believed_under_its_statuses_or_under_any_in_the_order_of_the_table() {
    for status in 300..=600 {
        let believed = SIGNS
            .iter()
            .filter(|Sign(statuses, ..)| statuses.is_empty() || statuses.contains(&status));
        let place = |sign: &'static Sign| std::ptr::from_ref(sign);
        assert!(
            signs_under(status).map(place).eq(believed.map(place)),
            "{status}"
        );
    }
}

#[test]
fn what_a_request_says_cannot_bench_a_model_for_a_day() {
    for quoted in [
        "model x does not exist",
        "the model has been decommissioned",
        "model not found",
        "user location is not supported",
    ] {
        let message = format!(
            "1 validation error: [{{'type': 'enum', 'loc': ('body', 'role'), 'input': '{quoted}'}}]"
        );
        let body = serde_json::json!({"error": {"message": message, "code": 400}}).to_string();
        assert_eq!(classify(400, &body).kind, Refused, "{quoted}");
    }
}

#[test]
fn words_alone_name_the_account_only_under_a_status_of_limits_or_credentials() {
    for sign in SIGNS {
        let Sign(statuses, by, means) = sign;
        let is_account = matches!(
            means,
            Means::Quota | Means::Unauthorised | Means::Limited(Scope::Provider)
        );
        if is_account && !matches!(by, By::Label(_)) {
            let known = |status: &u16| matches!(status, 401..=403 | 429);
            assert!(
                !statuses.is_empty() && statuses.iter().all(known),
                "{sign:?}"
            );
        }
    }
}

#[test]
fn words_alone_bench_a_model_for_finding_fault_only_if_they_are_a_whole_sentence() {
    for sign in SIGNS {
        let Sign(statuses, by, means) = sign;
        let lasts = matches!(means, Means::Gone | Means::Gated);
        let finds_fault =
            statuses.is_empty() || [400, 422, 500].iter().any(|s| statuses.contains(s));
        if lasts && finds_fault {
            assert!(matches!(by, By::Label(_) | By::Whole(_)), "{sign:?}");
        }
    }
}

#[test]
fn a_sign_that_may_stand_in_quotes_cools_nothing() {
    for sign in SIGNS {
        let in_quotes = match sign.1 {
            By::Anywhere(_) => true,
            By::Text(phrases) => phrases.iter().any(|phrase| {
                phrase
                    .trim_end_matches(['\'', '"', '`'])
                    .contains(['`', '"'])
            }),
            _ => false,
        };
        assert!(!(in_quotes && sign.2.cools()), "{sign:?}");
    }
}

#[test]
fn only_the_first_line_outside_of_quotes_says_whose_limit_it_is_and_when_it_ends() {
    for message in [
        "Rate limit exceeded\nfor your account. Please try again in 30 days.",
        "Rate limit exceeded for 'your api key. Please try again in 30 days.'",
        "Rate limit exceeded for “your account”, `try again in 5s`, «free-models-per-day»",
        "Rate limit exceeded: \"insufficient credits, used daily",
    ] {
        assert_eq!(error(429, message), limited(), "{message}");
    }
}

#[test]
fn a_sentence_states_a_wait_only_where_the_status_is_one_of_limits() {
    for status in 300..=599 {
        let outcome = error(status, "Odd. Please try again in 2 hours.");
        let expected = match status {
            402 | 429 | 503 => Recovery::After(Duration::from_secs(7200)),
            _ => Recovery::Unstated,
        };
        assert_eq!(outcome.recovery, expected, "{status}");
    }
}

#[test]
fn a_sentence_states_a_day_at_most() {
    for (status, of) in [
        (402, Outcome::of(OutOfQuota).provider()),
        (429, limited()),
        (503, Outcome::of(Unavailable)),
    ] {
        let outcome = error(status, "Odd. Please try again in 30 days.");
        assert_eq!(outcome, after(of, 86_400.0), "{status}");
    }
}

#[test]
fn an_error_in_a_200_that_is_a_limit_in_words_alone_is_a_guess() {
    for message in [
        "Rate limit exceeded for your account",
        "Rate limit exceeded: free-models-per-day",
        "Too many requests. Please try again in 3 hours.",
        "Too many requests per day",
    ] {
        assert_eq!(error(200, message), limited(), "{message}");
    }
}

#[test]
fn what_blames_a_parameter_other_than_the_model_cools_nothing() {
    for (status, fields) in [
        (400, r#""message":"API key not valid","param":"user""#),
        (
            400,
            r#""message":"Model m does not exist","param":"messages[0].content""#,
        ),
        (
            403,
            r#""message":"this model requires a subscription","param":"tools""#,
        ),
        (
            404,
            r#""message":"not found","code":"model_not_found","param":"file_id""#,
        ),
        (
            422,
            r#""message":"m","code":"insufficient_quota","param":"prompt""#,
        ),
        (
            500,
            r#""message":"DEGRADED function cannot be invoked","param":"prompt""#,
        ),
        (500, r#""message":"odd","param":"messages""#),
    ] {
        let body = format!(r#"{{"error":{{{fields}}}}}"#);
        assert_eq!(classify(status, &body), Outcome::of(Refused), "{body}");
    }
    for place in [r#"["body","user"]"#, r#"["body","messages",0,"role"]"#] {
        let found = format!(r#"{{"detail":[{{"loc":{place},"msg":"API key not valid"}}]}}"#);
        assert_eq!(classify(400, &found), Outcome::of(Refused), "{place}");
    }
    // Under a limit it is none of the request's.
    let queue = r#"{"message":"high traffic","param":"queue","code":"queue_exceeded"}"#;
    assert_eq!(classify(429, queue), limited());
    let model = r#"{"error":{"message":"m","param":"model","code":"model_not_found"}}"#;
    assert_eq!(classify(400, model), Outcome::of(Gone));
}

#[test]
fn what_a_failed_response_repeats_of_its_request_is_no_label() {
    let written =
        r#""metadata":{"code":"insufficient_quota","reason":"API_KEY_INVALID","status":429}"#;
    for body in [
        format!(r#"{{"object":"response","error":{{"message":"m"}},{written}}}"#),
        format!(
            r#"{{"type":"response.failed","response":{{"error":{{"message":"m"}},{written}}}}}"#
        ),
        r#"{"error":{"message":{"role":"user","name":"x","type":"insufficient_quota"}}}"#
            .to_owned(),
        format!(r#"{{"error":{{"message":"m"}},"choices":[{{"message":{{{written}}}}}]}}"#),
        r#"{"error":{"message":"m","name":"insufficient_quota"}}"#.to_owned(),
    ] {
        assert_eq!(classify(500, &body), Outcome::of(Unavailable), "{body}");
    }
}

#[test]
fn what_a_relayed_error_holds_cannot_say_that_it_is_the_routers_own() {
    let raw = r#"{"error":{"message":"m","limit_source":"openrouter_credits"}}"#;
    let body = serde_json::json!({"error": {"code": 400, "message": "Provider returned error",
        "metadata": {"provider_name": "Chutes", "raw": raw}}});
    let outcome = classify(400, &body.to_string());
    assert_eq!((outcome.kind, outcome.scope), (Refused, Scope::Target));
}

#[test]
fn a_403_about_one_model_is_gated() {
    for message in [
        "x/y is not available on your account tier",
        "This model is not available on your account tier.",
        "Your API key is not permitted to call model x",
        "You are not permitted to call model x",
        "Your account does not have access to this model",
    ] {
        assert_eq!(error(403, message), Outcome::of(Gated), "{message}");
    }
}

#[test]
fn a_key_that_has_spent_its_limit_is_out_of_quota() {
    for message in [
        "Key limit exceeded (monthly limit). Manage it using https://openrouter.ai/settings/keys",
        "Key limit exceeded (total limit)",
    ] {
        assert_eq!(error(403, message), quota(), "{message}");
    }
}

#[test]
fn an_argument_that_no_service_knows_is_the_callers_fault() {
    for (status, body) in [
        (
            400,
            r#"{"error":{"message":"Unrecognized request argument supplied: foo"}}"#,
        ),
        (
            400,
            r#"{"error":{"message":"Unrecognized request arguments supplied: min_p, foo"}}"#,
        ),
        (
            400,
            r#"{"error":{"message":"m","code":"unknown_parameter","param":"foo"}}"#,
        ),
        (
            400,
            r#"{"error":{"message":"m","code":"unsupported_parameter","param":"foo.bar"}}"#,
        ),
        (
            400,
            r#"{"error":{"message":"property 'foo' is unsupported"}}"#,
        ),
        (
            400,
            r#"[{"error":{"message":"Unknown name \"foo\": Cannot find field."}}]"#,
        ),
        (
            422,
            r#"{"detail":[{"type":"extra_forbidden","loc":["body","foo"],"msg":"Extra inputs are not permitted"}]}"#,
        ),
    ] {
        assert_eq!(classify(status, body), Outcome::of(Refused), "{body}");
    }
}

#[test]
fn an_argument_that_other_services_know_is_a_lack_of_this_one() {
    for (status, body) in [
        (
            400,
            r#"{"error":{"message":"Unrecognized request argument supplied: min_p"}}"#,
        ),
        (
            400,
            r#"{"error":{"message":"m","code":"unsupported_parameter","param":"seed"}}"#,
        ),
        // A part of `tools` that is not known does not mean that there are none.
        (
            422,
            r#"{"detail":[{"type":"extra_forbidden","loc":["body","tools",0,"function","strict"],"msg":"Extra inputs are not permitted"}]}"#,
        ),
        (
            422,
            r#"{"message":{"detail":[{"type":"extra_forbidden","loc":["body","top_k"],"msg":"Extra inputs are not permitted"}]}}"#,
        ),
    ] {
        assert_eq!(classify(status, body), parameter(), "{body}");
    }
}

#[test]
fn a_parameter_that_is_not_supported_is_a_lack_of_what_it_is_needed_for() {
    for code in ["unsupported_parameter", "unknown_parameter"] {
        for (param, message, capability) in [
            ("response_format", "m", Capability::JsonObject),
            (
                "response_format",
                "no json_schema here",
                Capability::JsonSchema,
            ),
            (
                "response_format.json_schema",
                "json_schema",
                Capability::JsonSchema,
            ),
            ("text.format", "m", Capability::JsonSchema),
            ("tools", "m", Capability::Tools),
            ("functions", "m", Capability::Tools),
            ("reasoning_effort", "m", Capability::Reasoning),
            ("logprobs", "m", Capability::Logprobs),
            ("audio", "m", Capability::AudioOutput),
        ] {
            let error = serde_json::json!({"message": message, "code": code, "param": param});
            let body = serde_json::json!({ "error": error }).to_string();
            assert_eq!(classify(400, &body), lacks(capability), "{body}");
        }
    }
}

#[test]
fn a_history_that_a_template_cannot_render_is_the_callers_fault() {
    for message in [
        "Failed to parse tool call arguments as JSON: [json.exception.parse_error.101] parse error at line 1, column 2: unexpected end of input",
        "Conversation roles must alternate user/assistant/user/assistant/... at row 19, column 27:\n {%- if (message['role'] == 'user') -%}\n ^",
        "\n------------\nWhile executing CallExpression at line 189, column 32 in source:\n...== 0) %}↵ {{- raise_exception('After the optional system message, con...\n ^\nError: Jinja Exception: After the optional system message, conversation roles must alternate user and assistant roles except for tool calls and results.",
        "\n------------\nWhile executing FilterExpression at line 120, column 73 in source:\n...\n^\nError: Unknown (built-in) filter 'items' for type String",
        "Cannot use tools in the first user message",
    ] {
        let error = serde_json::json!({"code": 500, "message": message, "type": "server_error"});
        let body = serde_json::json!({ "error": error }).to_string();
        assert_eq!(classify(500, &body), Outcome::of(Refused), "{message}");
    }
    assert_eq!(
        error(500, "Failed to parse input at pos 3"),
        Outcome::of(Unavailable)
    );
}

#[test]
fn a_relayed_refusal_is_the_upstreams_word() {
    let refusal = |name: Option<&str>| {
        let metadata = serde_json::json!({"provider_name": name, "raw": "bad value"});
        let error = serde_json::json!({"code": 400, "message": "Provider returned error", "metadata": metadata});
        classify(400, &serde_json::json!({ "error": error }).to_string())
    };
    assert!(refusal(Some("Venice")).relayed);
    assert_eq!(refusal(Some("Venice")).kind, Refused);
    assert_eq!(refusal(None), Outcome::of(Refused));
}

#[test]
fn a_relayed_403_for_an_unknown_reason_is_a_guess() {
    let error = serde_json::json!({"code": 403, "message": "Provider returned error",
        "metadata": {"provider_name": "Venice", "raw": "we do not like this"}});
    let body = serde_json::json!({ "error": error }).to_string();
    assert_eq!(classify(403, &body), Outcome::of(Unavailable));
}

#[test]
fn debug_shows_nothing_of_the_body() {
    let headers = headers(&[("authorization", "Bearer sk-secret")]);
    let error = UpstreamError::read(StatusCode::UNAUTHORIZED, &headers, "sk-secret");
    let target = target();
    let evidence = Evidence::new(&target, Endpoint::Responses, &headers, &error, now());
    let shown = format!("{evidence:?}");
    assert!(!shown.contains("sk-secret"));
    assert!(shown.contains("status: 401"), "{shown}");
}

/// How far an expected recovery is known: the recorded bodies hold instants.
#[derive(Clone, Copy, Debug)]
enum Until {
    Unstated,
    DayEnd,
    /// Stated, between these seconds.
    Within(u64, u64),
}
use Until::{DayEnd, Unstated, Within};

fn fits(outcome: &Outcome, kind: OutcomeKind, scope: Scope, until: Until) -> bool {
    outcome.kind == kind
        && outcome.scope == scope
        && match (until, outcome.recovery) {
            (Unstated, Recovery::Unstated) | (DayEnd, Recovery::DayEnd) => true,
            (Within(from, to), Recovery::After(wait)) => {
                (Duration::from_secs(from)..=Duration::from_secs(to)).contains(&wait)
            }
            _ => false,
        }
}

#[derive(serde::Deserialize)]
struct Recorded {
    #[serde(default)]
    id: String,
    #[serde(default)]
    path: String,
    provider: String,
    status: u16,
    headers: std::collections::BTreeMap<String, String>,
    body: String,
}

/// Errors of the same shapes as recorded ones, and the recordings where they are at hand.
fn recorded(file: &str) -> Vec<Recorded> {
    let root = env!("CARGO_MANIFEST_DIR");
    let ours = std::fs::read_to_string(format!("{root}/tests/fixtures/errors/{file}"));
    let theirs = std::fs::read_to_string(format!("{root}/../shared/data/errors/{file}"));
    let lines = [
        ours.expect("our own are always there"),
        theirs.unwrap_or_default(),
    ]
    .concat();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

impl Recorded {
    fn outcome(&self) -> Outcome {
        Outcome {
            limit: None,
            ..self.with_limit()
        }
    }

    fn with_limit(&self) -> Outcome {
        let pairs: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let body = self.body.strip_prefix("data: ").unwrap_or(&self.body);
        let endpoint = Endpoint::of(&http::Method::POST, &self.path);
        let endpoint = endpoint.unwrap_or(Endpoint::ChatCompletions);
        with_limit(endpoint, self.status, &headers(&pairs), body.as_bytes())
    }
}

/// A day in seconds, beyond which the resets of the recorded bodies lie or not, depending on when "now" is.
const MAX_WAIT: u64 = 32 * 86_400;

#[test]
fn recorded_errors_by_name_are_what_they_were() {
    use Scope::{Provider, Target};
    let expected: &[(&str, OutcomeKind, Scope, Until)] = &[
        // Resets of months ago are past, those ahead are stated.
        (
            "or_account_daily_no_credit",
            RateLimited,
            Provider,
            Within(0, 0),
        ),
        (
            "or_account_daily_no_credit_2026_09",
            RateLimited,
            Provider,
            Within(86_400, MAX_WAIT),
        ),
        (
            "or_account_daily_high_balance",
            RateLimited,
            Provider,
            Within(86_400, MAX_WAIT),
        ),
        (
            "or_account_minute_2025_12",
            RateLimited,
            Provider,
            Within(0, 0),
        ),
        (
            "or_account_minute_2026",
            RateLimited,
            Provider,
            Within(0, 0),
        ),
        ("or_upstream_2025", RateLimited, Target, Unstated),
        ("or_upstream_2026_05", RateLimited, Target, Within(29, 29)),
        ("or_upstream_2026_10", RateLimited, Target, Within(1, 1)),
        (
            "or_capacity_exhausted_doc",
            RateLimited,
            Target,
            Within(40, 40),
        ),
        ("or_404_tools", Unfit, Target, Unstated),
        ("or_404_image", Unfit, Target, Unstated),
        ("or_404_params", Unfit, Target, Unstated),
        ("or_404_policy", Gated, Target, Unstated),
        ("or_404_gone", Gone, Target, Unstated),
        ("or_403_harness", Gated, Target, Unstated),
        ("or_400_location", Gated, Target, Unstated),
        ("or_400_bad_model", Gone, Target, Unstated),
        ("or_400_ctx", Unfit, Target, Unstated),
        ("or_401_missing", Unauthorised, Provider, Unstated),
        ("or_401_bad", Unauthorised, Provider, Unstated),
        ("or_402_inflight", RateLimited, Provider, Unstated),
        ("or_400_zod", Refused, Target, Unstated),
        ("or_200_error_body", RateLimited, Target, Unstated),
        ("or_200_choice_error_doc", Unavailable, Target, Unstated),
        ("groq_tpm", RateLimited, Target, Within(5, 6)),
        ("groq_rpm", RateLimited, Target, Within(2, 2)),
        ("groq_tpd", RateLimited, Target, Within(660, 661)),
        ("groq_413_too_large", Unfit, Target, Unstated),
        ("groq_decommissioned", Gone, Target, Unstated),
        ("cerebras_tpm", RateLimited, Target, Within(57, 57)),
        ("cerebras_queue", RateLimited, Target, Unstated),
        ("gemini_daily", RateLimited, Target, DayEnd),
        ("gemini_minute", RateLimited, Target, Within(34, 35)),
        ("gemini_tpm", RateLimited, Target, Unstated),
        ("gemini_limit0", Gone, Target, Unstated),
        ("gemini_unknown_field", Unfit, Target, Unstated),
        ("github_daily", RateLimited, Target, Within(5631, 5631)),
        ("github_concurrent", RateLimited, Provider, Within(0, 0)),
        ("mistral_429", RateLimited, Target, Unstated),
        ("mistral_429_old", RateLimited, Target, Unstated),
        ("mistral_429_capacity", RateLimited, Target, Unstated),
        ("cohere_month", OutOfQuota, Provider, DayEnd),
        ("cohere_minute", RateLimited, Provider, Unstated),
        ("nvidia_429", RateLimited, Target, Unstated),
        ("nvidia_degraded", Unavailable, Target, Unstated),
        ("hf_402", OutOfQuota, Provider, DayEnd),
        ("cf_neurons", OutOfQuota, Provider, DayEnd),
        ("zai_1302", RateLimited, Target, Unstated),
        // Ends at 10:30:53 UTC of the day that is "now".
        ("zai_1310", OutOfQuota, Provider, Within(1853, 1853)),
        ("llm7_429", RateLimited, Target, Within(1, 1)),
        ("ollama_cloud_429", RateLimited, Provider, Unstated),
        ("ollama_local_503", Unavailable, Target, Unstated),
        ("zen_429", RateLimited, Provider, Within(6314, 6314)),
        ("kilo_429", RateLimited, Provider, Unstated),
        ("openai_quota", OutOfQuota, Provider, DayEnd),
        ("openai_max_tokens", Unfit, Target, Unstated),
        ("llamacpp_ctx", Unfit, Target, Unstated),
        ("vllm_ctx", Unfit, Target, Unstated),
        ("sdnext_429", RateLimited, Target, Unstated),
        ("or_midstream_doc", RateLimited, Target, Unstated),
        ("or_midstream_doc_strcode", Unavailable, Target, Unstated),
        ("or_midstream_real", Unfit, Target, Unstated),
    ];
    for recorded in recorded("verbatim_errors.jsonl") {
        let id = &*recorded.id;
        let (_, kind, scope, until) = expected.iter().find(|row| row.0 == id).expect(id);
        let outcome = recorded.outcome();
        assert!(fits(&outcome, *kind, *scope, *until), "{id}: {outcome:?}");
        assert_eq!(outcome.lack.is_some(), *kind == Unfit, "{id}");
    }
}

#[test]
fn recorded_lacks_are_named() {
    let expected = [
        ("or_404_tools", Lack::Capability(Capability::Tools)),
        ("or_404_image", Lack::Capability(Capability::ImageInput)),
        ("or_404_params", Lack::Parameter),
        ("or_400_ctx", Lack::ContextLength(Some(32_768))),
        ("groq_413_too_large", Lack::TokensPerMinute(Some(8_000))),
        ("gemini_unknown_field", Lack::Parameter),
        ("openai_max_tokens", Lack::Parameter),
        ("llamacpp_ctx", Lack::ContextLength(Some(512))),
        ("vllm_ctx", Lack::ContextLength(Some(128_000))),
        ("or_midstream_real", Lack::ContextLength(None)),
    ];
    for recorded in recorded("verbatim_errors.jsonl") {
        if let Some((_, lack)) = expected.iter().find(|(id, _)| *id == recorded.id) {
            assert_eq!(recorded.outcome().lack, Some(*lack), "{}", recorded.id);
        }
    }
}

#[test]
fn recorded_limits_are_named() {
    use LimitOf::{AtOnce, Requests, Tokens};
    const MINUTE: Option<u64> = Some(60);
    const DAY: Option<u64> = Some(86_400);
    let expected = [
        ("or_account_daily_no_credit", Requests, DAY, Some(50)),
        (
            "or_account_daily_no_credit_2026_09",
            Requests,
            DAY,
            Some(50),
        ),
        ("or_account_daily_high_balance", Requests, DAY, Some(1000)),
        ("or_account_minute_2025_12", Requests, MINUTE, Some(20)),
        ("or_account_minute_2026", Requests, MINUTE, Some(20)),
        ("groq_tpm", Tokens, MINUTE, Some(15_000)),
        ("groq_rpm", Requests, MINUTE, Some(30)),
        ("groq_tpd", Tokens, DAY, Some(200_000)),
        ("cerebras_tpm", Tokens, MINUTE, None),
        ("gemini_daily", Requests, DAY, Some(20)),
        ("gemini_minute", Requests, MINUTE, None),
        ("gemini_tpm", Tokens, MINUTE, Some(250_000)),
        ("github_daily", Requests, DAY, Some(50)),
        ("github_concurrent", AtOnce, None, Some(5)),
        ("mistral_429", Requests, MINUTE, Some(23)),
        ("mistral_429_old", Requests, None, None),
        ("cohere_month", Requests, None, Some(1000)),
        ("cohere_minute", Requests, MINUTE, Some(20)),
        ("zai_1302", AtOnce, None, None),
    ];
    for recorded in recorded("verbatim_errors.jsonl") {
        let row = expected.iter().find(|row| row.0 == recorded.id);
        let limit = recorded.with_limit().limit;
        let limit = limit.map(|hit| (hit.of, hit.window.map(|time| time.as_secs()), hit.limit));
        let expected = row.map(|&(_, of, window, limit)| (of, window, limit));
        assert_eq!(limit, expected, "{}", recorded.id);
    }
}

#[test]
fn errors_recorded_from_requests_are_what_they_were() {
    use Scope::{Provider, Target};
    // The first row whose text is in the body counts.
    let expected: &[(&str, OutcomeKind, Scope, Option<Lack>)] = &[
        (
            "unknown variant `image_url`",
            Unfit,
            Target,
            Some(Lack::Capability(Capability::ImageInput)),
        ),
        (
            "does not support this tool_choice",
            Unfit,
            Target,
            Some(Lack::Parameter),
        ),
        (
            "tools param requires --jinja",
            Unfit,
            Target,
            Some(Lack::Capability(Capability::Tools)),
        ),
        (
            "does not support audio input",
            Unfit,
            Target,
            Some(Lack::Capability(Capability::AudioInput)),
        ),
        (
            "Logprobs are not enabled",
            Unfit,
            Target,
            Some(Lack::Capability(Capability::Logprobs)),
        ),
        (
            "exceeds the available context size",
            Unfit,
            Target,
            Some(Lack::ContextLength(Some(512))),
        ),
        (
            "Unknown parameter: 'response_format'",
            Unfit,
            Target,
            Some(Lack::Parameter),
        ),
        (
            "does not support 'system' with this model",
            Unfit,
            Target,
            Some(Lack::Parameter),
        ),
        ("supported API model names are", Gone, Target, None),
        ("Invalid model:", Gone, Target, None),
        ("does not exist", Gone, Target, None),
        ("is not found for API version", Gone, Target, None),
        ("odel not found", Gone, Target, None),
        ("'command-does-not-exist' not found", Gone, Target, None),
        ("tool_use_failed", Unavailable, Target, None),
        ("API key not valid", Unauthorised, Provider, None),
        ("invalid_api_key", Unauthorised, Provider, None),
        ("\"message\":\"Forbidden\"", Unauthorised, Provider, None),
        (
            "temporarily rate-limited upstream",
            RateLimited,
            Target,
            None,
        ),
        // The request is at fault, and no other model would take it.
        ("cannot make GET request", Refused, Target, None),
        ("\"message\":\"Invalid request\"", Refused, Target, None),
        ("Temperature must be between", Refused, Target, None),
        ("Pooling type 'none'", Refused, Target, None),
        ("type must be number, but is string", Refused, Target, None),
        ("must be a non-empty string array", Refused, Target, None),
        ("Invalid value: 'rig-invalid'", Refused, Target, None),
        ("empty string. Expected a string", Refused, Target, None),
        ("Input should be 'json', 'text'", Refused, Target, None),
        ("decimal below minimum value", Refused, Target, None),
    ];
    for recorded in recorded("cassette_errors.jsonl") {
        let row = expected.iter().find(|row| recorded.body.contains(row.0));
        let (_, kind, scope, lack) =
            row.unwrap_or_else(|| panic!("{}: {}", recorded.provider, recorded.body));
        let outcome = recorded.outcome();
        assert!(
            fits(&outcome, *kind, *scope, Unstated),
            "{}: {outcome:?}",
            recorded.body
        );
        assert_eq!(outcome.lack, *lack, "{}", recorded.body);
    }
}

proptest! {
    #[test]
    fn no_evidence_panics(
        status in 100..=999_u16,
        body in prop::collection::vec(any::<u8>(), 0..300),
        text in "\\PC{0,200}",
        sign in prop::sample::select(SIGNS.iter().collect::<Vec<_>>()),
    ) {
        let sign = match sign.1 {
            By::Label(phrase) => phrase.to_owned(),
            By::Text(phrases) | By::Opening(phrases) | By::Anywhere(phrases) => phrases.join(&text),
            By::Whole(sentence) => sentence.replace('*', &text),
            By::Listed(_, opening, part) => format!("{opening}{text},{part}"),
        };
        let json = serde_json::json!({"error": {"message": format!("{sign} {text}"), "code": sign}}).to_string();
        for body in [&body[..], text.as_bytes(), sign.as_bytes(), json.as_bytes()] {
            let outcome = classify_with(status, &HeaderMap::new(), body);
            prop_assert_eq!(outcome.lack.is_some(), outcome.kind == Unfit);
            if let Recovery::After(wait) = outcome.recovery {
                prop_assert!(wait <= resets::MAX);
            }
        }
    }
}

/// What a caller may write into a request in order to bench a provider: phrases of the table, waits, lines and quotes.
fn written_by_a_caller() -> impl Strategy<Value = String> {
    let phrases = SIGNS.iter().flat_map(|sign| match sign.1 {
        By::Label(phrase) => vec![phrase.to_owned()],
        By::Whole(sentence) => vec![sentence.replace("**", "a").replace('*', "m")],
        By::Text(phrases) => vec![phrases.join(" ")],
        By::Opening(phrases) => phrases.iter().map(|&phrase| phrase.to_owned()).collect(),
        By::Anywhere(_) => vec![],
        By::Listed(label, opening, part) => vec![format!("{label}\n* {opening}, {part}, model")],
    });
    let more = [
        "Please try again in 30 days.",
        "resets at 2026-10-04 10:00:00",
        "Rate limit exceeded for your api key per day",
        "\"code\":\"insufficient_quota\"",
        "\",\"code\":\"insufficient_quota\",\"x\":\"",
        "{\"error\":{\"code\":\"invalid_api_key\",\"retry_after\":\"2592000\"}}",
        "\n",
        "\r\n",
        "\u{2028}",
        "'",
        "\"",
        "`",
        "’",
        "“",
        "”",
        "«",
        "»",
        "\\",
        "it's",
        ". ",
        ": ",
    ];
    let pieces: Vec<String> = phrases.chain(more.map(str::to_owned)).collect();
    let piece = prop_oneof![6 => prop::sample::select(pieces), 1 => "\\PC{0,12}"];
    prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.join(" "))
}

/// Ways in which upstreams put a part of the request into a message of theirs.
const TEMPLATES: [&str; 12] = [
    "Invalid value: {}",
    "Invalid value: {}. Supported values are: 'low', 'high'.",
    "{} is not one of the roles",
    "{}: Extra inputs are not permitted",
    "Unrecognized request argument supplied: {}",
    "Unknown name {}: Cannot find field.",
    "1 validation error for Request\n{}\n  Field required",
    "[{'type': 'enum', 'loc': ('body', 'role'), 'input': {}}]",
    "Failed to parse tool call arguments: {}, expected a value",
    "Error code: 400 - {'error': {'message': {}}}",
    "Role: {}",
    "The tool {} was not found, and here is the prompt",
];

const QUOTES: [(&str, &str); 9] = [
    ("", ""),
    ("'", "'"),
    ("\"", "\""),
    ("`", "`"),
    ("“", "”"),
    ("«", "»"),
    ("‘", "’"),
    ("'", ""),
    ("\"", ""),
];

/// Bodies in which such a message, and the bare text, can stand.
fn quoting_bodies(message: &str, written: &str) -> Vec<String> {
    use serde_json::json;
    let inner = json!({"error": {"message": message, "param": written}}).to_string();
    let relayed = |raw: &str| json!({"error": {"message": "Provider returned error", "code": 400, "metadata": {"provider_name": "Venice", "raw": raw}}});
    let own = json!({"code": "insufficient_quota", "retry_after": "2592000", "reason": written});
    vec![
        json!({"error": {"message": message, "type": "invalid_request_error"}}).to_string(),
        json!({"error": {"message": message, "param": written, "code": "unknown_parameter"}}).to_string(),
        json!({"error": {"message": message, "details": written, "failed_generation": written}}).to_string(),
        json!({"error": message}).to_string(),
        json!({"message": message, "type": "invalid_request_error"}).to_string(),
        json!({"detail": [{"type": "enum", "loc": ["body", written], "msg": message, "input": written, "ctx": own}]}).to_string(),
        json!({"detail": [{"msg": message, "input": {"code": "insufficient_quota", "retry_after": 9}}]}).to_string(),
        json!({"errors": [{"message": message}], "success": false}).to_string(),
        json!({"error": {"message": message}, "metadata": own}).to_string(),
        json!({"response": {"error": {"message": message}, "metadata": own, "instructions": written}}).to_string(),
        relayed(message).to_string(),
        relayed(&inner).to_string(),
    ]
}

/// Whether nothing is held back for longer than a guess, and nothing but the target.
fn is_a_guess_at_most(outcome: &Outcome) -> bool {
    matches!(outcome.kind, Refused | Unfit | Unavailable | RateLimited)
        && outcome.scope == Scope::Target
        && outcome.recovery == Recovery::Unstated
}

proptest! {
    #[test]
    fn whatever_an_upstream_quotes_of_a_request_it_holds_nothing_back_longer_than_a_guess(
        status in prop::sample::select(vec![400, 409, 413, 422, 500, 501]),
        template in prop::sample::select(TEMPLATES.to_vec()),
        (open, close) in prop::sample::select(QUOTES.to_vec()),
        written in written_by_a_caller(),
        cut in 0..2000_usize,
    ) {
        let message = template.replace("{}", &format!("{open}{written}{close}"));
        let json = headers(&[("content-type", "application/json")]);
        let plain = headers(&[("content-type", "text/plain; charset=utf-8")]);
        let bodies = quoting_bodies(&message, &written);
        let bodies = bodies.iter().map(|body| (&json, body)).chain([(&plain, &message)]);
        for (headers, body) in bodies {
            // Of a body that is too long only the beginning is read. An error in a 200 has no status but its words.
            let cut = body.get(..cut).unwrap_or(body);
            for (status, body) in [(status, &**body), (status, cut), (200, body)] {
                if status == 200 && body.contains("\"code\":400") {
                    continue;
                }
                let outcome = classify_with(status, headers, body.as_bytes());
                prop_assert!(is_a_guess_at_most(&outcome), "{} {}: {:?}", status, body, outcome);
            }
        }
    }
}

#[test]
fn a_model_that_is_not_there_is_gone_as_long_as_stated_if_that_is_a_minute_or_more() {
    for (wait, recovery) in [
        ("59", Recovery::Unstated),
        ("60", Recovery::After(Duration::from_secs(60))),
        ("3600", Recovery::After(Duration::from_secs(3600))),
    ] {
        let headers = headers(&[("retry-after", wait)]);
        for (body, kind) in [
            (r#"{"error":"model 'm' not found"}"#, Gone),
            (
                r#"{"error":{"availability":{"code":"privacy_restricted"}}}"#,
                Gated,
            ),
        ] {
            let outcome = classify_with(404, &headers, body.as_bytes());
            assert_eq!(outcome, Outcome::of(kind).until(recovery), "{wait}");
        }
    }
}

#[test]
fn a_quota_of_zero_means_gone_and_another_quota_a_limit() {
    for (limit, expected) in [("0", Outcome::of(Gone)), ("20", limited())] {
        let metric = "generativelanguage.googleapis.com/free_tier_requests";
        let message = format!("* Quota exceeded for metric: {metric}, limit: {limit}, model: m");
        let error =
            serde_json::json!({ "code": 429, "message": message, "status": "RESOURCE_EXHAUSTED" });
        let body = serde_json::json!({ "error": error }).to_string();
        assert_eq!(classify(429, &body), expected, "{limit}");
    }
}
