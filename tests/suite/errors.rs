//! What a caller reads where the request itself was at fault: one OpenAI error, whoever found the fault.

use crate::support::*;
use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use tower_free_models::{
    Catalog, Classify, FreeModelRouteLayer, HealthMap, Provider, Stack,
    classify::{DefaultClassify, Evidence, Outcome, OutcomeKind},
    provider::FreeRule,
};

fn alone() -> Stack {
    seeded(targets(&["acme"], &["m"])).0
}

/// What the caller gets when the only provider answers so.
async fn answer_to(reply: Reply) -> Whole {
    let upstream = Upstream::script([reply]);
    send(&alone(), &upstream, chat()).await
}

/// Checks that it is an OpenAI error, with a head that fits it, and gives the error.
fn openai_error(whole: &Whole) -> Value {
    assert_eq!(whole.header("content-type"), Some("application/json"));
    if let Some(len) = whole.header("content-length") {
        assert_eq!(len, whole.body.len().to_string());
    }
    let error = whole.json()["error"].clone();
    assert!(
        error["message"].is_string() && error["type"].is_string(),
        "{error}"
    );
    for field in ["param", "code"] {
        assert!(
            error[field].is_null() || error[field].is_string(),
            "{error}"
        );
    }
    error
}

#[tokio::test(start_paused = true)]
async fn an_openai_error_goes_back_byte_for_byte() {
    for body in [
        r#"{ "error": { "message": "Unsupported value", "type": "invalid_request_error", "param": "n", "code": null } }"#,
        r#"{"error":{"message":"bad","type":"x","code":"c","more":1.0},"user_id":"u"}"#,
    ] {
        let reply = Reply::new(400, "application/json", body).header("x-request-id", "r");
        let whole = answer_to(reply).await;
        assert_eq!((whole.status(), whole.text()), (400, body));
        assert_eq!(
            whole.header("content-length"),
            Some(&*body.len().to_string())
        );
        assert_eq!(whole.header("x-request-id"), Some("r"));
    }
}

#[tokio::test(start_paused = true)]
async fn every_envelope_comes_out_as_openai_s_with_the_provider_s_words() {
    for (status, body, kind, message, param, code) in [
        (
            400,
            r#"{"error":"prompt is odd"}"#,
            "invalid_request_error",
            "prompt is odd",
            None,
            None,
        ),
        (
            422,
            r#"{"message":"prompt is odd","type":"t","param":"prompt","code":"wrong_value"}"#,
            "invalid_request_error",
            "prompt is odd",
            Some("prompt"),
            Some("wrong_value"),
        ),
        (
            422,
            r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","top_q"],"msg":"Extra inputs are not permitted"}]},"type":"invalid_request_error","param":null,"code":null}"#,
            "invalid_request_error",
            "top_q: Extra inputs are not permitted",
            Some("top_q"),
            None,
        ),
        (
            422,
            r#"{"detail":[{"loc":["body","messages",2,"role"],"msg":"Field required"}]}"#,
            "invalid_request_error",
            "messages[2].role: Field required",
            Some("messages[2].role"),
            None,
        ),
        (
            400,
            r#"{"status":400,"title":"Bad Request","detail":"prompt is odd"}"#,
            "invalid_request_error",
            "Bad Request: prompt is odd",
            None,
            None,
        ),
        (
            400,
            r#"{"id":"5","message":"prompt is odd"}"#,
            "invalid_request_error",
            "prompt is odd",
            None,
            None,
        ),
        (
            400,
            r#"[{"error":{"code":400,"message":"prompt is odd","status":"INVALID_ARGUMENT"}}]"#,
            "invalid_request_error",
            "prompt is odd",
            None,
            Some("INVALID_ARGUMENT"),
        ),
        (
            400,
            r#"{"success":false,"errors":[{"code":7003,"message":"prompt is odd"}],"messages":[],"result":null}"#,
            "invalid_request_error",
            "prompt is odd",
            None,
            Some("7003"),
        ),
        (
            418,
            "prompt is odd",
            "invalid_request_error",
            "prompt is odd",
            None,
            None,
        ),
    ] {
        let whole = answer_to(Reply::new(status, "text/plain", body)).await;
        assert_eq!(whole.status(), status, "{body}");
        let error = openai_error(&whole);
        assert_eq!(error["type"], kind, "{body}");
        assert_eq!(error["message"], message, "{body}");
        assert_eq!(error["param"].as_str(), param, "{body}");
        assert_eq!(error["code"].as_str(), code, "{body}");
        let raw = serde_json::from_str(body).unwrap_or_else(|_| Value::from(body));
        assert_eq!(
            error["metadata"],
            json!({ "provider": "acme", "raw": raw }),
            "{body}"
        );
        assert_eq!(whole.header("x-free-attempts"), Some("1"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_web_page_is_not_shown_to_the_caller() {
    let page = "<!DOCTYPE html><html><h1>I am a teapot</h1></html>";
    let whole = answer_to(Reply::new(418, "text/html; charset=utf-8", page)).await;
    assert_eq!(whole.status(), 418);
    let message = openai_error(&whole)["message"].as_str().unwrap().to_owned();
    assert!(message.contains("acme") && message.contains("web page") && message.contains("418"));
    assert!(!whole.text().contains("<h1>"));
}

#[tokio::test(start_paused = true)]
async fn headers_that_described_the_old_body_do_not_stay() {
    let reply = Reply::new(422, "text/plain", r#"{"detail":"odd"}"#)
        .header("etag", "\"1\"")
        .header("digest", "sha-256=x")
        .header("content-encoding", "identity")
        .header("x-request-id", "r");
    let whole = answer_to(reply).await;
    assert_eq!(openai_error(&whole)["message"], "odd");
    for name in ["etag", "digest", "content-encoding"] {
        assert_eq!(whole.header(name), None, "{name}");
    }
    assert_eq!(whole.header("x-request-id"), Some("r"));
}

#[tokio::test(start_paused = true)]
async fn a_compressed_error_is_told_as_an_error_of_its_status() {
    let reply = Reply::new(422, "application/json", vec![0x1F, 0x8B, 8, 0]);
    let whole = answer_to(reply.header("content-encoding", "gzip")).await;
    assert_eq!(whole.status(), 422);
    let error = openai_error(&whole);
    assert!(
        error["message"].as_str().unwrap().contains("acme"),
        "{error}"
    );
    assert_eq!(whole.header("content-encoding"), None);
}

#[tokio::test(start_paused = true)]
async fn an_error_inside_a_success_comes_out_the_same() {
    for (body, status) in [
        (r#"{"error":{"message":"odd prompt","code":422}}"#, 422),
        (
            r#"{"success":false,"errors":[{"code":400,"message":"odd prompt"}]}"#,
            400,
        ),
        (
            r#"{"choices":[{"message":{"content":"ha"},"finish_reason":"error","error":{"code":400,"message":"odd prompt"}}]}"#,
            400,
        ),
    ] {
        let whole = answer_to(Reply::new(200, "application/json", body).header("etag", "1")).await;
        assert_eq!(whole.status(), status, "{body}");
        assert_eq!(openai_error(&whole)["message"], "odd prompt", "{body}");
        assert_eq!(whole.header("etag"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_a_stream_s_first_event_comes_out_the_same() {
    let failed = event(&json!({ "error": { "message": "odd prompt", "code": 400 } }));
    let upstream = Upstream::script([Reply::stream([failed])]);
    let whole = send(&alone(), &upstream, streamed_chat()).await;
    assert_eq!(whole.status(), 400);
    assert_eq!(openai_error(&whole)["message"], "odd prompt");
}

#[tokio::test(start_paused = true)]
async fn what_a_request_lacks_everywhere_comes_out_the_same() {
    let body = r#"{"message":"This model does not support image input","code":"3051"}"#;
    let (stack, _) = seeded(targets(&["a", "b", "c"], &["m"]));
    let upstream = Upstream::script([Reply::new(400, "application/json", body)]);
    let whole = send(&stack, &upstream, chat()).await;
    assert_eq!(whole.status(), 400);
    let error = openai_error(&whole);
    assert_eq!(error["message"], "This model does not support image input");
    assert_eq!(error["code"], "3051");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_caller_s_own_credential_comes_out_the_same() {
    for (status, kind) in [(401, "authentication_error"), (403, "permission_error")] {
        let (stack, _) = seeded([target(&bare_provider("own"), "m")]);
        let reply = Reply::json(status, json!({ "detail": "Invalid API Key" }));
        let whole = send(&stack, &Upstream::script([reply]), chat()).await;
        assert_eq!(whole.status(), status);
        let error = openai_error(&whole);
        assert_eq!(
            (&error["type"], &error["message"]),
            (&json!(kind), &json!("Invalid API Key"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_spelling_of_a_credential_reaches_the_caller() {
    let provider = Provider::new("acme")
        .base_url("http://acme.test/v1")
        .key("sk-12345/67")
        .free(FreeRule::All)
        .build()
        .expect("a valid provider");
    for body in [
        r#"{"detail":"odd key sk-12345/67"}"#,
        r#"{"detail":"odd key \u0073k-12345\/67"}"#,
        r#"{"detail":[{"loc":["body","sk-12345\/67"],"msg":"odd"}],"sk\u002d12345/67":1}"#,
        r#"{"error":{"message":"Provider returned error","code":1,"metadata":{"raw":"{\"error\":{\"message\":\"odd key \\u0073k-12345\\/67\"}}"}}}"#,
        "odd key sk-12345/67",
    ] {
        let (stack, _) = seeded([target(&provider, "m")]);
        let whole = send(
            &stack,
            &Upstream::script([Reply::new(422, "application/json", body)]),
            chat(),
        )
        .await;
        assert_eq!(whole.status(), 422, "{body}");
        openai_error(&whole);
        assert!(!whole.text().contains("k-12345"), "{}", whole.text());
        assert!(whole.text().contains("[redacted]"), "{}", whole.text());
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_body_is_cut_and_its_words_are_kept() {
    let body = format!(
        r#"{{"message":"odd prompt","echo":"{}"}}"#,
        "x".repeat(100_000)
    );
    for steps in [
        vec![Step::Data(Bytes::from(body))],
        vec![
            Step::Data(Bytes::from_static(br#"{"message":"odd prompt","#)),
            Step::Break,
        ],
    ] {
        let reply = Reply {
            steps,
            ..Reply::error(422)
        };
        let whole = answer_to(reply).await;
        assert_eq!(openai_error(&whole)["message"], "odd prompt");
        assert!(whole.body.len() < 10_000, "{}", whole.body.len());
    }
}

#[tokio::test(start_paused = true)]
async fn the_pool_s_own_refusal_keeps_the_last_error_beside_it() {
    let reply = Reply::json(503, json!({ "detail": "out of order" }));
    let whole = answer_to(reply).await;
    assert_eq!(whole.status(), 503);
    let error = openai_error(&whole);
    assert_eq!(
        error["metadata"]["last_error"],
        json!({ "provider": "acme", "model": "m", "status": 503, "message": "out of order" })
    );
}

/// A provider with this key.
fn with_key(key: &str) -> Provider {
    Provider::new("acme")
        .base_url("http://acme.test/v1")
        .key(key)
        .free(FreeRule::All)
        .build()
        .expect("a valid provider")
}

#[tokio::test(start_paused = true)]
async fn a_dummy_key_takes_no_header_and_no_word_away() {
    for key in ["x", "json", "none", "a"] {
        let (stack, _) = seeded([target(&with_key(key), "m")]);
        let reply = Reply::json(
            422,
            json!({ "detail": format!("{key} is no json of a box") }),
        )
        .header("x-request-id", key);
        let whole = send(&stack, &Upstream::script([reply]), chat()).await;
        assert_eq!(
            whole.header("content-type"),
            Some("application/json"),
            "{key}"
        );
        assert_eq!(whole.header("x-request-id"), Some(key));
        assert_eq!(
            openai_error(&whole)["message"],
            format!("{key} is no json of a box")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_that_frames_the_response_is_never_taken_away() {
    let (stack, _) = seeded([target(&with_key("application/json"), "m")]);
    let reply = Reply::answer("hi").header("x-request-id", "application/json");
    let whole = send(&stack, &Upstream::script([reply]), chat()).await;
    assert_eq!(whole.header("content-type"), Some("application/json"));
    assert_eq!(whole.header("x-request-id"), None);
}

#[tokio::test(start_paused = true)]
async fn half_of_a_basic_credential_does_not_reach_the_caller() {
    let sdnext = Provider::known("sdnext").expect("a known provider");
    let sdnext = sdnext
        .base_url("http://studio.test")
        .key("operator-1:hunter2-hunter2");
    let provider = sdnext
        .free(FreeRule::All)
        .build()
        .expect("a valid provider");
    for half in ["operator-1", "hunter2-hunter2"] {
        let (stack, _) = seeded([target(&provider, "m")]);
        let reply = Reply::json(422, json!({ "detail": format!("odd {half}") }));
        let whole = send(&stack, &Upstream::script([reply]), chat()).await;
        assert!(!whole.text().contains(half), "{}", whole.text());
    }
}

// ---- Whose classifier is asked.

/// Calls a 418 of `acme` by this name, and any other response as the default does.
fn teapot(kind: OutcomeKind) -> impl Classify + 'static {
    move |evidence: &Evidence<'_>| match evidence.target.provider().name() {
        "acme" if evidence.status == 418 => Outcome::of(kind),
        _ => DefaultClassify.classify(evidence),
    }
}

#[tokio::test(start_paused = true)]
async fn under_a_fallback_the_routers_classifier_is_asked_unless_the_fallback_has_its_own() {
    let by_router = || alone().route(|route| route.classify(teapot(OutcomeKind::Gated)));
    let by_both = by_router().fallback(|fallback| fallback.classify(teapot(OutcomeKind::Gone)));
    for (stack, expected) in [
        (alone(), "acme/m=refused"),
        (by_router(), "acme/m=gated"),
        (by_both, "acme/m=gone"),
    ] {
        let whole = send(&stack, &Upstream::script([Reply::error(418)]), chat()).await;
        assert_eq!(whole.header("x-free-trail"), Some(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn a_router_alone_asks_its_classifier() {
    let health = HealthMap::seeded(7);
    let catalog = Catalog::from_targets(targets(&["acme"], &["m"]));
    let route = FreeModelRouteLayer::new(catalog, health.clone());
    let route = route.classify(teapot(OutcomeKind::Gated));
    let service = route.layer(Upstream::script([Reply::error(418)]));
    service.oneshot(chat()).await.expect("a response");
    let snapshot = health.snapshot();
    let cooling = snapshot.target("acme", "m").expect("it was tried").cooling;
    assert_eq!(cooling.expect("it cools").reason, OutcomeKind::Gated);
}

// ---- The router alone, without a fallback around it.

async fn routed_alone(key: &str, reply: Reply) -> Whole {
    let catalog = Catalog::from_targets([target(&with_key(key), "m")]);
    let route = FreeModelRouteLayer::new(catalog, HealthMap::seeded(7));
    let service = route.layer(Upstream::script([reply]));
    read(service.oneshot(chat()).await.expect("a response")).await
}

fn in_pieces(body: &str, size: usize) -> Vec<Step> {
    let pieces = body.as_bytes().chunks(size).map(Bytes::copy_from_slice);
    pieces.map(Step::Data).collect()
}

#[tokio::test(start_paused = true)]
async fn a_router_alone_redacts_errors_however_they_come() {
    const KEY: &str = "sk-canary/123";
    for body in [
        format!(r#"{{"error":{{"message":"bad key {KEY}!"}}}}"#),
        r#"{"error":{"message":"bad key sk\u002dcanary\/123!"}}"#.to_owned(),
        format!("bad key {KEY}!"),
        format!("{}{KEY}!", "x".repeat(200_000)),
    ] {
        for size in [1, 7, 100_000] {
            if body.len() / size > 100_000 {
                continue;
            }
            for status in [400, 401, 429, 500] {
                let reply = Reply {
                    steps: in_pieces(&body, size),
                    ..Reply::new(status, "application/json", "")
                };
                let length = body.len().to_string();
                let whole = routed_alone(KEY, reply.header("content-length", &length)).await;
                assert_eq!(whole.status(), status);
                assert!(!whole.text().contains("canary"), "{size}");
                assert!(whole.text().contains("[redacted]"), "{size}");
                // So the length that was stated is still true.
                assert_eq!(whole.body.len(), body.len());
                assert!(whole.text().contains('!'), "what follows it stays");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_router_alone_redacts_the_error_events_of_a_stream_and_holds_no_line_back() {
    const KEY: &str = "sk-canary-123";
    let stream = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"content\":\"a\"}}}}]}}\n\nevent: error\r\ndata: {{\"error\":\"bad {KEY}\"}}\r\n\r\n"
    );
    for size in 1..=stream.len() {
        let reply = Reply::stream(in_pieces(&stream, size));
        let whole = routed_alone(KEY, reply).await;
        assert_eq!(whole.text(), stream.replace(KEY, "[redacted]***"), "{size}");
    }
    let catalog = Catalog::from_targets([target(&with_key(KEY), "m")]);
    let route = FreeModelRouteLayer::new(catalog, HealthMap::seeded(7));
    let service = route.layer(Upstream::script([Reply::stream([delta("a"), Step::Hang])]));
    let response = service.oneshot(streamed_chat()).await.expect("a response");
    let mut body = Box::pin(response.into_body());
    let first = body.frame().now_or_never().expect("not held back");
    assert!(first.expect("a frame").expect("no error").is_data());
}

#[tokio::test(start_paused = true)]
async fn a_compressed_error_is_inflated_and_redacted_with_a_fallback_and_without() {
    const KEY: &str = "sk-canary-123";
    let error = json!({ "error": { "message": format!("bad key {KEY}"), "code": null } });
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(error.to_string().as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    for size in [1, 7, gzip.len()] {
        let steps = gzip.chunks(size).map(Bytes::copy_from_slice);
        let reply = Reply {
            steps: steps.map(Step::Data).collect(),
            ..Reply::new(422, "application/json", "")
        };
        let reply = reply.header("content-encoding", "gzip");
        let (stack, _) = seeded([target(&with_key(KEY), "m")]);
        let behind = send(&stack, &Upstream::script([reply.clone()]), chat()).await;
        for whole in [routed_alone(KEY, reply).await, behind] {
            assert_eq!(whole.header("content-encoding"), None);
            assert_eq!(whole.json()["error"]["message"], "bad key [redacted]***");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_in_a_success_is_redacted_where_it_becomes_a_failure() {
    let (stack, _) = seeded([target(&with_key("sk-canary-123"), "m")]);
    let error = json!({ "error": { "message": "bad key sk-canary-123", "code": 422 } });
    let reply = Reply::json(200, error);
    let whole = send(&stack, &Upstream::script([reply]), chat()).await;
    assert_eq!(openai_error(&whole)["message"], "bad key [redacted]***");
}

#[tokio::test(start_paused = true)]
async fn a_router_alone_redacts_an_error_in_a_success() {
    const KEY: &str = "sk-canary-123";
    let error =
        json!({ "error": { "message": format!("bad key {KEY}"), "code": 422 } }).to_string();
    for kind in ["application/json", "text/plain"] {
        for size in [1, 7, 1000] {
            let reply = Reply {
                steps: in_pieces(&error, size),
                ..Reply::new(200, kind, "")
            };
            let whole = routed_alone(KEY, reply).await;
            assert_eq!(whole.text(), error.replace(KEY, "[redacted]***"), "{size}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_error_of_a_refusal_holds_no_part_of_a_key() {
    // Wherever the message is cut.
    for before in 270..305 {
        let words = "x".repeat(before);
        let error = format!(r#"{{"error":{{"message":"{words} \u0073k-canary-123 "}}}}"#);
        let reply = Reply::new(401, "application/json", error);
        let reply = reply.header("x-error-message", "bad key sk-canary-123");
        let reply = reply.header("x-request-id", "sk-canary-123");
        let (stack, _) = seeded([target(&with_key("sk-canary-123"), "m")]);
        let whole = send(&stack, &Upstream::script([reply]), chat()).await;
        let last = &whole.json()["error"]["metadata"]["last_error"]["message"];
        assert!(last.as_str().is_some_and(|said| said.starts_with("xxx")));
        assert!(!whole.text().contains("k-"), "{}", whole.text());
        assert!(!format!("{:?}", whole.parts.headers).contains("canary"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_router_alone_passes_answers_as_they_are() {
    let reply = Reply::answer("hello");
    let whole = routed_alone("sk-canary-123", reply.clone()).await;
    let Step::Data(sent) = &reply.steps[0] else {
        panic!("an answer is data")
    };
    assert_eq!(whole.body, sent);
}
