//! How long a target is waited for, by what it usually takes.

use std::time::Duration;

use crate::support::*;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;
use tokio::time::Instant;
use tower_free_models::{HealthMap, Stack, Target};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Two targets, of which a request is sent to the first; and that one.
fn two() -> (Stack, HealthMap, Target) {
    let targets = targets(&["a", "b"], &["m"]);
    let (stack, health) = seeded(targets.clone());
    (without_waiting(stack), health, targets[0].clone())
}

/// A chat that goes to the first target, with these further fields.
fn asks_first(fields: &[(&str, serde_json::Value)]) -> Request<Full<Bytes>> {
    let mut body = json!({ "model": "a/m", "messages": [{ "role": "user", "content": "hi" }] });
    for (name, value) in fields {
        body[*name] = value.clone();
    }
    chat_with(body)
}

/// The target has answered so often, after so long each time.
async fn has_answered(health: &HealthMap, target: &Target, times: usize, after: Duration) {
    for _ in 0..times {
        let attempt = health.begin(target).expect("a healthy target");
        tokio::time::sleep(after).await;
        attempt.succeed();
    }
}

/// How long the first target is waited for that hangs.
async fn given_up_after(stack: &Stack, request: Request<Full<Bytes>>) -> Duration {
    let upstream = Upstream::new(|seen| match seen.target().as_str() {
        "a/m" => Reply::hang(),
        _ => Reply::answer("hello"),
    });
    let began = Instant::now();
    let whole = send(stack, &upstream, request).await;
    assert_eq!(whole.status(), 200);
    assert_eq!(upstream.asked(), ["a/m", "b/m"]);
    // Timers are rounded up to a millisecond.
    Duration::from_secs(began.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_target_is_given_a_multiple_of_what_it_usually_takes() {
    let stream = &[("stream", json!(true))][..];
    for (fields, usual, expected) in [
        (stream, secs(1), secs(10)),
        (stream, secs(6), secs(18)),
        (stream, secs(25), secs(75)),
        (stream, secs(60), secs(120)),
        (&[], secs(2), secs(30)),
        (&[], secs(20), secs(60)),
        (&[], secs(90), secs(150)),
    ] {
        let (stack, health, first) = two();
        let stack = stack.fallback(|f| f.header_timeout(secs(120)));
        has_answered(&health, &first, 30, usual).await;
        let waited = given_up_after(&stack, asks_first(fields)).await;
        assert_eq!(waited, expected, "{fields:?}, usually {usual:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_whose_answers_vary_is_given_longer() {
    let (stack, health, first) = two();
    let stack = stack.fallback(|f| f.header_timeout(secs(120)));
    for _ in 0..30 {
        has_answered(&health, &first, 1, secs(1)).await;
        has_answered(&health, &first, 1, secs(15)).await;
    }
    let waited = given_up_after(&stack, asks_first(&[("stream", json!(true))])).await;
    assert!(waited > secs(45) && waited < secs(60), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_larger_request_is_given_longer() {
    let long = json!([{ "role": "user", "content": "x".repeat(80_000) }]);
    for (fields, least, most) in [
        (
            vec![("stream", json!(true)), ("messages", long.clone())],
            29,
            31,
        ),
        (vec![("messages", long)], 39, 41),
        (vec![("max_tokens", json!(4000))], 50, 50),
        (
            vec![("stream", json!(true)), ("max_tokens", json!(4000))],
            20,
            20,
        ),
        (vec![("max_tokens", json!(u64::MAX))], 150, 150),
    ] {
        let (stack, ..) = two();
        let waited = given_up_after(&stack, asks_first(&fields)).await;
        assert!(
            (secs(least)..=secs(most)).contains(&waited),
            "{waited:?}, not {least} to {most} s"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_slower_than_known_is_given_twice_as_long_each_time() {
    let (stack, health, first) = two();
    let stack = stack.fallback(|f| f.header_timeout(secs(120)));
    let stream = || asks_first(&[("stream", json!(true))]);
    for expected in [20, 40, 80, 120] {
        assert_eq!(given_up_after(&stack, stream()).await, secs(expected));
        assert!(health.reset(first.id()));
    }
    has_answered(&health, &first, 1, secs(1)).await;
    assert_eq!(given_up_after(&stack, stream()).await, secs(10));
}

#[tokio::test(start_paused = true)]
async fn where_no_other_can_be_asked_the_configured_time_holds() {
    for stream in [true, false] {
        let targets = targets(&["a"], &["m"]);
        let (stack, health) = seeded(targets.clone());
        has_answered(&health, &targets[0], 3, secs(1)).await;
        let stack = without_waiting(stack).fallback(|f| {
            f.header_timeout(secs(100))
                .first_token_timeout(secs(100))
                .answer_timeout(secs(100))
        });
        let upstream = Upstream::script([Reply::answer("hello").after(secs(99))]);
        let request = asks_first(&[("stream", json!(stream))]);
        assert_eq!(send(&stack, &upstream, request).await.status(), 200);
    }
}
