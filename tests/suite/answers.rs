//! Answers that are not streamed: what is one, what only looks like one, and what becomes of it.

use std::{io::Write, time::Duration};

use crate::support::*;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use tower_free_models::{Catalog, FreeModelRouteLayer, HealthMap, Stack, health::TargetState};

const GOOD: &str = "the answer of another";

fn two() -> (Stack, HealthMap) {
    seeded(targets(&["a", "b"], &["m"]))
}

/// The first target answers so; a second one answers well.
async fn asked(first: Reply) -> (Whole, HealthMap, Upstream) {
    let (stack, health) = two();
    let upstream = Upstream::script([first, Reply::answer(GOOD)]);
    let whole = send(&stack, &upstream, chat()).await;
    (whole, health, upstream)
}

/// The first outcome in the trail.
fn first_outcome(whole: &Whole) -> &str {
    let trail = whole.header("x-free-trail").expect("a trail");
    let first = trail.split(", ").next().unwrap_or_default();
    first.split('=').next_back().unwrap_or_default()
}

/// It goes to the other target, nothing of it is seen, and the trail says why.
async fn assert_failover(first: Reply, outcome: &str) {
    let why = format!("{first:?}");
    let (whole, health, _) = asked(first).await;
    assert_eq!(whole.status(), 200, "{why}");
    assert_eq!(
        whole.json()["choices"][0]["message"]["content"],
        GOOD,
        "{why}"
    );
    assert_eq!(whole.header("x-free-attempts"), Some("2"), "{why}");
    assert_eq!(first_outcome(&whole), outcome, "{why}");
    let targets = health.snapshot().targets;
    let sum = |count: fn(&tower_free_models::health::Tally) -> u64| -> u64 {
        targets.iter().map(|target| count(&target.tally)).sum()
    };
    assert_eq!(sum(|t| t.started), 2, "{why}");
    assert_eq!((sum(|t| t.succeeded), sum(|t| t.failed)), (1, 1), "{why}");
}

/// It goes to the caller as it is.
async fn assert_passes(first: Reply) {
    let why = format!("{first:?}");
    let mut expected = Vec::new();
    for step in &first.steps {
        if let Step::Data(data) = step {
            expected.extend_from_slice(data);
        }
    }
    let (whole, health, upstream) = asked(first).await;
    assert_eq!(upstream.calls(), 1, "{why}");
    assert_eq!(whole.broken, None, "{why}");
    assert_eq!(whole.body, expected, "{why}");
    let targets = health.snapshot().targets;
    let succeeded: u64 = targets.iter().map(|target| target.tally.succeeded).sum();
    assert_eq!(succeeded, 1, "{why}");
}

#[allow(clippy::needless_pass_by_value)]
fn message(message: Value) -> Value {
    let calls = message["tool_calls"]
        .as_array()
        .is_some_and(|calls| !calls.is_empty());
    let reason = if calls { "tool_calls" } else { "stop" };
    json!({ "id": "1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{ "index": 0, "message": message, "finish_reason": reason }],
        "usage": { "prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3 } })
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_anything_in_it_is_empty() {
    for body in [
        message(json!({ "role": "assistant", "content": null })),
        message(json!({ "role": "assistant", "content": "" })),
        message(json!({ "role": "assistant", "content": " \n\t " })),
        message(json!({ "role": "assistant", "content": [] })),
        message(json!({ "role": "assistant", "content": [{ "type": "text", "text": "" }] })),
        message(json!({ "role": "assistant", "content": "", "tool_calls": [] })),
        message(json!({ "role": "assistant", "content": "", "tool_calls": null, "refusal": null })),
        message(
            json!({ "role": "assistant", "content": null, "reasoning": "", "reasoning_details": [] }),
        ),
        message(json!({ "role": "assistant" })),
        message(json!({})),
        message(json!(null)),
        json!({ "choices": [] }),
        json!({ "choices": null }),
        json!({ "choices": [{}] }),
        json!({ "choices": [{ "index": 0, "finish_reason": "stop" }] }),
        json!({ "choices": [{ "text": "", "finish_reason": "stop" }] }),
        json!({ "id": "1", "object": "chat.completion" }),
        json!({}),
        json!([]),
        json!(null),
    ] {
        assert_failover(Reply::json(200, body), "empty").await;
    }
    for body in ["", " \n"] {
        assert_failover(Reply::new(200, "application/json", body), "empty").await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_content_is_empty() {
    let mut reply = Reply::new(204, "application/json", "");
    reply.headers.clear();
    reply.steps.clear();
    assert_failover(reply, "empty").await;
}

#[tokio::test(start_paused = true)]
async fn text_is_not_the_only_answer() {
    for said in [
        json!({ "role": "assistant", "content": null, "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } }] }),
        json!({ "role": "assistant", "content": null, "function_call": { "name": "f", "arguments": "" } }),
        json!({ "role": "assistant", "content": null, "refusal": "I can not." }),
        json!({ "role": "assistant", "content": "", "reasoning": "hm" }),
        json!({ "role": "assistant", "content": "", "reasoning_content": "hm" }),
        json!({ "role": "assistant", "content": null, "audio": { "id": "a", "data": "UklG" } }),
        json!({ "role": "assistant", "content": "", "images": [{ "type": "image_url", "image_url": { "url": "data:," } }] }),
    ] {
        assert_passes(Reply::json(200, message(said))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn cut_off_before_its_first_word_is_an_answer() {
    for reason in ["length", "content_filter"] {
        let mut body = message(json!({ "role": "assistant", "content": "" }));
        body["choices"][0]["finish_reason"] = json!(reason);
        assert_passes(Reply::json(200, body)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_in_a_200_fails_over_as_what_it_says() {
    for (body, outcome) in [
        (
            json!({ "error": { "message": "m", "code": 429 } }),
            "rate_limited",
        ),
        (
            json!({ "error": { "message": "m", "code": "429" } }),
            "rate_limited",
        ),
        (
            json!({ "error": { "message": "m", "code": "rate_limit_exceeded", "type": "requests" } }),
            "rate_limited",
        ),
        (
            json!({ "error": { "message": "Too many requests, slow down" } }),
            "rate_limited",
        ),
        (
            json!({ "error": { "message": "m", "code": 503 }, "choices": [] }),
            "unavailable",
        ),
        (
            json!({ "error": { "message": "m", "code": 502 }, "choices": [{ "message": { "content": "" } }] }),
            "unavailable",
        ),
        (json!({ "error": "model is overloaded" }), "unavailable"),
        (
            json!({ "error": { "message": "m", "code": null } }),
            "unavailable",
        ),
        (
            json!([{ "error": { "code": 503, "message": "m", "status": "UNAVAILABLE" } }]),
            "unavailable",
        ),
        (
            json!({ "success": false, "errors": [{ "code": 5000, "message": "m" }], "result": {} }),
            "unavailable",
        ),
        (
            json!({ "success": false, "error": { "name": "Busy", "message": "m" } }),
            "unavailable",
        ),
        (
            json!({ "type": "error", "error": { "type": "overloaded_error", "message": "m" } }),
            "unavailable",
        ),
        (
            json!({ "object": "error", "message": "m", "code": 500 }),
            "unavailable",
        ),
        (
            json!({ "message": "m", "type": "server_error", "code": "500" }),
            "unavailable",
        ),
        (json!({ "detail": "worker gone" }), "unavailable"),
        (
            json!({ "detail": [{ "msg": "worker gone" }] }),
            "unavailable",
        ),
        (json!({ "id": "x", "message": "m" }), "unavailable"),
        (
            json!({ "choices": [{ "error": { "code": 502, "message": "m" }, "message": { "content": "half" }, "finish_reason": "error" }] }),
            "unavailable",
        ),
        (
            json!({ "choices": [{ "error": { "code": 429, "message": "m" }, "finish_reason": "error" }] }),
            "rate_limited",
        ),
        (
            json!({ "choices": [{ "message": { "content": "half" }, "finish_reason": "error" }] }),
            "unavailable",
        ),
    ] {
        assert_failover(Reply::json(200, body), outcome).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_null_or_blank_is_none() {
    for error in [json!(null), json!(""), json!({}), json!([]), json!(false)] {
        let mut body = message(json!({ "role": "assistant", "content": "hi" }));
        body["error"] = error;
        assert_passes(Reply::json(200, body)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_json_is_no_answer() {
    let whole = message(json!({ "role": "assistant", "content": "hi" })).to_string();
    for at in 1..whole.len() {
        assert_failover(
            Reply::new(200, "application/json", whole[..at].to_owned()),
            "unavailable",
        )
        .await;
    }
    for (kind, body) in [
        (
            "text/html; charset=utf-8",
            "<html><body>Bad gateway</body></html>",
        ),
        ("application/json", "<html></html>"),
        ("text/plain", "busy"),
    ] {
        assert_failover(Reply::new(200, kind, body), "unavailable").await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_many_frames_arrives_as_it_was_sent() {
    let whole =
        Bytes::from(message(json!({ "role": "assistant", "content": "Grüße" })).to_string());
    let mut byte_by_byte = Reply::new(200, "application/json", "");
    byte_by_byte.steps = (0..whole.len())
        .map(|at| Step::Data(whole.slice(at..=at)))
        .collect();
    assert_passes(
        byte_by_byte
            .clone()
            .header("content-length", &whole.len().to_string()),
    )
    .await;
    byte_by_byte
        .steps
        .insert(10, Step::Pause(Duration::from_secs(20)));
    assert_passes(byte_by_byte).await;
}

/// A long answer in frames of 1000 bytes, and then this.
fn long(frames: usize, then: Option<Step>) -> Reply {
    let mut reply = Reply::new(
        200,
        "application/json",
        "{\"choices\":[{\"message\":{\"content\":\"",
    );
    let frame = Step::Data(Bytes::from("x".repeat(1000)));
    reply.steps.extend(std::iter::repeat_n(frame, frames));
    reply.steps.extend(then);
    reply
}

fn closing() -> Step {
    Step::Data(Bytes::from_static(b"\"}}]}"))
}

#[tokio::test(start_paused = true)]
async fn an_answer_beyond_the_peek_limit_commits_before_its_end() {
    let (stack, health) = two();
    let stack = stack.fallback(|f| f.peek_limit(5000));
    let upstream = Upstream::script([long(10, Some(Step::Hang)), Reply::answer(GOOD)]);
    let service = stack.layer(upstream.clone());
    let response = service.oneshot(chat()).await.unwrap();
    let mut body = std::pin::pin!(response.into_body());
    let first = body.frame().await.unwrap().unwrap();
    assert!(first.is_data());
    assert_eq!(upstream.calls(), 1);
    let succeeded: u64 = health
        .snapshot()
        .targets
        .iter()
        .map(|t| t.tally.succeeded)
        .sum();
    assert_eq!(succeeded, 0, "its end is not there yet");

    let upstream = Upstream::script([long(10, Some(closing())), Reply::answer(GOOD)]);
    let whole = send(&stack, &upstream, chat()).await;
    assert_eq!(
        whole.json()["choices"][0]["message"]["content"],
        "x".repeat(10_000)
    );
}

/// This answer is passed on beyond the peek limit and ends in an error, and its attempt has failed.
async fn cut_after_commit(reply: Reply) {
    let why = format!("{} steps", reply.steps.len());
    let (stack, health) = two();
    let stack = stack.fallback(|f| f.peek_limit(5000));
    let upstream = Upstream::script([reply, Reply::answer(GOOD)]);
    let whole = send(&stack, &upstream, chat()).await;
    let broken = whole.broken.expect(&why);
    assert!(broken.contains("broke off before its end"), "{broken}");
    let targets = health.snapshot().targets;
    let failed: Vec<_> = targets.iter().filter(|t| t.tally.failed > 0).collect();
    assert_eq!(failed.len(), 1, "{why}");
    assert!(targets.iter().all(|t| t.tally.succeeded == 0), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_cut_answer_whose_length_was_not_stated_does_not_pass_as_whole() {
    // Within its text, behind its text, and before its last bracket.
    for end in ["", "\"}}", "\"}}]", "\"}}],\"usage\":{\"x\":\"}\"}"] {
        let end = Step::Data(Bytes::from_static(end.as_bytes()));
        cut_after_commit(long(10, Some(end))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_knows_its_end_does_not_hide_that_its_answer_was_cut() {
    let (stack, health) = seeded(targets(&["a"], &["m"]));
    let stack = stack.fallback(|f| f.peek_limit(1000));
    let cut = format!(
        "{{\"choices\":[{{\"message\":{{\"content\":\"{}",
        "x".repeat(5000)
    );
    let service = stack.layer(tower::service_fn(move |_: http::Request<_>| {
        let body = http_body_util::Full::new(Bytes::from(cut.clone()));
        let response = http::Response::builder().header("content-type", "application/json");
        std::future::ready(Ok::<_, BoxError>(response.body(body).unwrap()))
    }));
    let response = service.oneshot(chat()).await.unwrap();
    assert!(!http_body::Body::is_end_stream(response.body()));
    assert!(read(response).await.broken.is_some());
    let tally = health.snapshot().targets[0].tally;
    assert_eq!((tally.succeeded, tally.failed), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_large_answer_that_is_no_json_document_has_no_end_to_miss() {
    let (stack, health) = two();
    let stack = stack.fallback(|f| f.peek_limit(1000));
    let text = Reply::new(200, "text/plain", "a { that is never closed\n".repeat(100));
    let whole = send(&stack, &Upstream::script([text]), chat()).await;
    assert_eq!(whole.broken, None);
    let succeeded: u64 = health
        .snapshot()
        .targets
        .iter()
        .map(|t| t.tally.succeeded)
        .sum();
    assert_eq!(succeeded, 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_large_answer_cost_is_seen_wherever_it_stands() {
    for (before, after) in [
        ("\"usage\":{\"cost\":0.1},", ""),
        ("", ",\"usage\":{\"cost\":0.1}"),
        (
            "\"x\":\"\\ud800\",\"provider_metadata\":{\"gateway\":{\"cost\":\"0.1\"}},",
            "",
        ),
    ] {
        let (stack, health) = two();
        let stack = stack.fallback(|f| f.peek_limit(1000));
        let text = "x".repeat(50_000);
        let body =
            format!("{{{before}\"choices\":[{{\"message\":{{\"content\":\"{text}\"}}}}]{after}}}");
        let pieces = body.as_bytes().chunks(999).map(Bytes::copy_from_slice);
        let mut reply = Reply::new(200, "application/json", "");
        reply.steps = pieces.map(Step::Data).collect();
        let whole = send(&stack, &Upstream::script([reply]), chat()).await;
        assert_eq!(whole.text(), body);
        assert_eq!(quarantined(&health), 1, "{before}{after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cost_is_seen_behind_half_a_surrogate_pair_and_in_what_a_gateway_adds() {
    for body in [
        r#"{"choices":[{"message":{"content":"\ud83d"},"finish_reason":"stop"}],"usage":{"cost":0.1}}"#,
        r#"{"choices":[{"message":{"content":"a","provider_metadata":{"gateway":{"cost":"0.1"}}},"finish_reason":"stop"}]}"#,
        r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"provider_metadata":{"gateway":{"cost":0.1}}}"#,
    ] {
        let (_, health, _) = asked(Reply::new(200, "application/json", body)).await;
        assert_eq!(quarantined(&health), 1, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_notice_of_progress_is_no_answer() {
    assert_failover(Reply::json(200, json!({ "status": "queued" })), "empty").await;
}

fn quarantined(health: &HealthMap) -> usize {
    let targets = health.snapshot().targets;
    let states = targets.iter().map(|target| target.state);
    states
        .filter(|&state| state == TargetState::Quarantined)
        .count()
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_before_commit_is_a_failover() {
    assert_failover(long(0, Some(Step::Break)), "unavailable").await;
    assert_failover(long(10, Some(Step::Break)), "unavailable").await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_after_commit_ends_in_an_error_and_counts_as_interrupted() {
    let (stack, health) = two();
    let stack = stack.fallback(|f| f.peek_limit(5000));
    for n in 1..=3 {
        let upstream = Upstream::script([long(10, Some(Step::Break))]);
        let whole = send(&stack, &upstream, chat_with(json!({ "model": "a/m" }))).await;
        assert_eq!(whole.body.len(), 10_035, "no byte is added");
        assert!(whole.broken.unwrap().contains("connection reset"));
        let snapshot = health.snapshot();
        assert_eq!(snapshot.target("a", "m").unwrap().tally.failed, n);
    }
    // Three soft failures in a row cool, and say for what.
    let snapshot = health.snapshot();
    let cooling = snapshot.target("a", "m").unwrap().cooling.unwrap();
    assert_eq!(cooling.reason.name(), "interrupted");
    assert!(!cooling.stated);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_after_commit_ends_in_an_error_and_counts_as_too_slow() {
    let (stack, health) = seeded(targets(&["a"], &["m"]));
    let stack = stack.fallback(|f| f.peek_limit(5000));
    let upstream = Upstream::script([long(10, Some(Step::Hang))]);
    let whole = send(&stack, &upstream, chat()).await;
    assert_eq!(whole.body.len(), 10_035);
    assert!(whole.broken.unwrap().contains("stalled"));
    let cooling = health.snapshot().targets[0].cooling.unwrap();
    assert_eq!(cooling.reason.name(), "too_slow");
    assert_eq!(upstream.alive(), 0, "the upstream is let go");
}

#[tokio::test(start_paused = true)]
async fn the_only_target_is_asked_once_more_when_it_was_empty() {
    let empty = || Reply::json(200, json!({ "choices": [] }));
    let (stack, _) = seeded(targets(&["a"], &["m"]));
    let upstream = Upstream::script([empty(), Reply::answer("at last")]);
    let whole = send(&stack, &upstream, chat()).await;
    assert_eq!(whole.json()["choices"][0]["message"]["content"], "at last");
    assert_eq!(
        whole.header("x-free-trail"),
        Some("a/m=empty, a/m=succeeded")
    );
}

#[tokio::test(start_paused = true)]
async fn the_only_target_is_refused_when_it_is_empty_twice() {
    let (stack, health) = seeded(targets(&["a"], &["m"]));
    let upstream = Upstream::script([Reply::json(200, json!({ "choices": [] }))]);
    let whole = send(&stack, &upstream, chat()).await;
    assert_eq!(upstream.calls(), 2);
    assert_eq!(whole.status(), 503);
    assert_eq!(whole.header("x-free-trail"), Some("a/m=empty, a/m=empty"));
    assert_eq!(
        whole.json()["error"]["metadata"]["outcomes"],
        json!({ "empty": 2 })
    );
    assert_eq!(health.snapshot().targets[0].tally.failed, 2);
}

#[tokio::test(start_paused = true)]
async fn only_a_target_that_is_alone_is_asked_again_when_it_was_empty() {
    let (stack, _) = two();
    let upstream = Upstream::script([Reply::json(200, json!({ "choices": [] }))]);
    let whole = send(&stack, &upstream, chat()).await;
    assert_eq!(whole.status(), 503);
    let asked = upstream.asked();
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[0], asked[1]);
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap().into()
}

/// The same, compressed although `identity` was asked for, in pieces of this size.
fn compressed(reply: Reply, size: usize) -> Reply {
    let mut bytes = Vec::new();
    for step in &reply.steps {
        if let Step::Data(data) = step {
            bytes.extend_from_slice(data);
        }
    }
    let gzip = gzip(&bytes);
    let steps = gzip
        .chunks(size)
        .map(|piece| Step::Data(gzip.slice_ref(piece)));
    Reply {
        steps: steps.collect(),
        ..reply
    }
    .header("content-encoding", "gzip")
    .header("content-length", &gzip.len().to_string())
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_compressed_all_the_same_is_inflated_and_read() {
    for size in [1, 10, 10_000] {
        let answer = Reply::answer("hello");
        let (whole, health, _) = asked(compressed(answer.clone(), size)).await;
        assert_eq!(whole.json()["choices"][0]["message"]["content"], "hello");
        assert_eq!(whole.header("content-encoding"), None);
        assert_ne!(whole.header("content-length"), Some("1"));
        let failed: u64 = health
            .snapshot()
            .targets
            .iter()
            .map(|t| t.tally.failed)
            .sum();
        assert_eq!(failed, 0);

        let hidden = json!({ "error": { "message": "busy", "code": 503 } });
        assert_failover(compressed(Reply::json(200, hidden), size), "unavailable").await;
        let empty = json!({ "choices": [] });
        assert_failover(compressed(Reply::json(200, empty), size), "empty").await;
        let limited = json!({ "error": { "message": "slow down", "code": 429 } });
        assert_failover(compressed(Reply::json(429, limited), size), "rate_limited").await;
    }
}

/// Reads a body, and compares what it said of its rest before each frame with what came.
async fn assert_hints_are_true<B>(response: http::Response<B>, why: &str)
where
    B: http_body::Body<Data = Bytes, Error = BoxError>,
{
    let (head, body) = response.into_parts();
    let mut body = std::pin::pin!(body);
    let (mut hints, mut read, mut frames) = (Vec::new(), 0_u64, 0);
    loop {
        hints.push((read, frames, body.size_hint(), body.is_end_stream()));
        let Some(frame) = body.frame().await else {
            break;
        };
        let frame = frame.expect("a whole answer");
        read += frame.data_ref().map_or(0, Bytes::len) as u64;
        frames += 1;
    }
    for (before, so_far, hint, ended) in hints {
        let rest = read - before;
        assert!(hint.lower() <= rest, "{why}: {hint:?}, {rest}");
        assert!(
            hint.upper().is_none_or(|upper| rest <= upper),
            "{why}: {hint:?}, {rest}"
        );
        assert!(!ended || so_far == frames, "{why}: a frame after the end");
    }
    if let Some(length) = head.headers.get("content-length") {
        assert_eq!(length, &read.to_string(), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_body_says_of_its_rest_is_true() {
    let bytes = |reply: &Reply| {
        let mut bytes = Vec::new();
        for step in &reply.steps {
            if let Step::Data(data) = step {
                bytes.extend_from_slice(data);
            }
        }
        Bytes::from(bytes)
    };
    let replies = [
        Reply::answer("hello"),
        Reply::answer(&"long ".repeat(300_000)),
        Reply::words(&["a", "b"]),
        Reply::new(200, "audio/mpeg", "sound"),
        Reply::new(200, "audio/mpeg", ""),
        Reply::new(422, "application/json", r#"{"detail": "bad key key-of-a"}"#),
        Reply::error(503),
    ];
    for reply in replies {
        let whole = bytes(&reply);
        for (encoding, body) in [
            ("identity", whole.clone()),
            ("gzip", gzip(&whole)),
            ("gzip", Bytes::new()),
        ] {
            let why = format!(
                "{} {:?} {encoding}, {} bytes",
                reply.status,
                reply.headers,
                body.len()
            );
            let (status, kind) = (reply.status, reply.headers[0].1.clone());
            let upstream = tower::service_fn(move |_: http::Request<_>| {
                let response = http::Response::builder()
                    .status(status)
                    .header("content-type", &kind)
                    .header("content-encoding", encoding)
                    .header("content-length", body.len());
                let response = response
                    .body(http_body_util::Full::new(body.clone()))
                    .unwrap();
                std::future::ready(Ok::<_, BoxError>(response))
            });
            let (stack, health) = seeded(targets(&["a"], &["m"]));
            let response = stack.layer(upstream.clone()).oneshot(chat()).await.unwrap();
            assert_hints_are_true(response, &why).await;
            let catalog = Catalog::from_targets(targets(&["a"], &["m"]));
            let alone = FreeModelRouteLayer::new(catalog, health).layer(upstream);
            let response = alone.oneshot(chat()).await.unwrap();
            assert_hints_are_true(response, &why).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_compressed_is_inflated_and_commits_at_its_first_word() {
    for size in [1, 10, 10_000] {
        let words = compressed(Reply::words(&["one", "two"]), size);
        let (whole, ..) = asked(words).await;
        let mut expected = Vec::new();
        for step in Reply::words(&["one", "two"]).steps {
            if let Step::Data(data) = step {
                expected.extend_from_slice(&data);
            }
        }
        assert_eq!(whole.body, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_compressed_answer_that_is_cut_is_no_answer() {
    let mut cut = compressed(Reply::answer("hello"), 10);
    cut.steps.pop();
    assert_failover(cut, "unavailable").await;
    let odd = Reply::new(200, "application/json", "not gzip at all");
    assert_failover(odd.header("content-encoding", "gzip"), "unavailable").await;
}

#[tokio::test(start_paused = true)]
async fn a_small_body_that_grows_without_end_is_held_up_to_the_peek_limit() {
    let text = "x".repeat(20_000_000);
    let bomb = compressed(Reply::answer(&text), 1_000_000);
    let (stack, health) = two();
    let upstream = Upstream::script([bomb, Reply::answer(GOOD)]);
    let stack = stack.fallback(|f| f.peek_limit(5000));
    let response = stack.layer(upstream).oneshot(chat()).await.unwrap();
    let mut body = std::pin::pin!(response.into_body());
    let (mut largest, mut all) = (0, 0);
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        largest = largest.max(data.len());
        all += data.len();
    }
    assert!(all > 20_000_000);
    assert!(largest <= 128 * 1024, "{largest}");
    let succeeded: u64 = health
        .snapshot()
        .targets
        .iter()
        .map(|t| t.tally.succeeded)
        .sum();
    assert_eq!(succeeded, 1);
}

#[tokio::test(start_paused = true)]
async fn an_encoding_that_is_not_undone_has_failed() {
    for encoding in ["br", "zstd", "made-up", "gzip, br"] {
        for kind in ["application/json", "text/event-stream", "audio/mpeg"] {
            let reply = Reply::new(200, kind, "opaque").header("content-encoding", encoding);
            assert_failover(reply, "unavailable").await;
        }
    }
    let identity =
        Reply::json(200, json!({ "choices": [] })).header("content-encoding", "identity");
    assert_failover(identity, "empty").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_text_passes_as_it_is() {
    for kind in ["audio/mpeg", "image/png", "application/octet-stream"] {
        assert_passes(Reply::new(200, kind, vec![0xFF, 0, 1, 2])).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_costs_is_passed_on_and_its_target_quarantined() {
    let mut body = message(json!({ "role": "assistant", "content": "hi" }));
    body["usage"]["cost"] = json!(0.00014);
    let (whole, health, _) = asked(Reply::json(200, body)).await;
    assert_eq!(whole.header("x-free-attempts"), Some("1"));
    assert_eq!(quarantined(&health), 1);
}
