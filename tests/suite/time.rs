//! Deadlines, cooldowns and waits, under a clock that only the test moves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use crate::support::*;
use bytes::Bytes;
use futures_util::FutureExt;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tokio::time::{Instant, advance};
use tower::{Layer, ServiceExt};
use tower_free_models::{
    Catalog, FallbackLayer, FreeModelRouteLayer, HealthMap, Provider, Stack,
    health::{Cooling, TargetHealth, TargetState},
    provider::FreeRule,
};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// So late, on a clock whose timers are rounded up to a millisecond.
#[track_caller]
fn assert_after(began: Instant, expected: Duration) {
    let elapsed = began.elapsed();
    assert!(
        elapsed >= expected && elapsed <= expected + millis(1),
        "after {elapsed:?} instead of {expected:?}"
    );
}

/// A pool in which no request waits, unless the test says so.
fn pool(providers: &[&str]) -> (Stack, HealthMap) {
    let (stack, health) = seeded(targets(providers, &["m"]));
    (without_waiting(stack), health)
}

fn one() -> (Stack, HealthMap) {
    pool(&["a"])
}

fn two() -> (Stack, HealthMap) {
    pool(&["a", "b"])
}

fn limited(retry_after: &str) -> Reply {
    Reply::error(429).header("retry-after", retry_after)
}

fn only(health: &HealthMap) -> TargetHealth {
    let snapshot = health.snapshot();
    assert_eq!(snapshot.targets.len(), 1);
    snapshot.targets[0].clone()
}

/// What the only target is held back by, after this was its reply.
async fn cooling_after(reply: Reply) -> Cooling {
    let (stack, health) = one();
    send(&stack, &Upstream::script([reply]), chat()).await;
    only(&health).cooling.expect("it cools")
}

fn content(whole: &Whole) -> Value {
    whole.json()["choices"][0]["message"]["content"].clone()
}

// Before an answer begins.

#[tokio::test(start_paused = true)]
async fn comments_for_ten_minutes_are_a_failover_when_the_first_token_is_due() {
    let (stack, health) = two();
    let mut steps = vec![role()];
    for _ in 0..120 {
        steps.extend([comment(), Step::Pause(secs(5))]);
    }
    let upstream = Upstream::script([Reply::stream(steps), Reply::words(&["hello"])]);
    let began = Instant::now();
    let whole = send(&stack, &upstream, streamed_chat()).await;
    assert_after(began, secs(20));
    assert!(whole.text().contains("hello") && !whole.text().contains("PROCESSING"));
    assert!(
        whole
            .header("x-free-trail")
            .unwrap()
            .contains("=too_slow, ")
    );
    assert_eq!(upstream.alive(), 0);
    let failed: u64 = health
        .snapshot()
        .targets
        .iter()
        .map(|t| t.tally.failed)
        .sum();
    assert_eq!(failed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_first_token_just_in_time_is_an_answer() {
    let (stack, _) = two();
    let steps = [
        role(),
        Step::Pause(millis(19_999)),
        delta("slow"),
        finish(),
        done(),
    ];
    let upstream = Upstream::script([Reply::stream(steps), Reply::words(&["hello"])]);
    let whole = send(&stack, &upstream, streamed_chat()).await;
    assert!(whole.text().contains("slow"));
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_head_does_not_come_is_a_failover() {
    let (stack, _) = two();
    let upstream = Upstream::script([Reply::hang(), Reply::words(&["hello"])]);
    let began = Instant::now();
    let whole = send(&stack, &upstream, streamed_chat()).await;
    assert_after(began, secs(20));
    assert!(
        whole
            .header("x-free-trail")
            .unwrap()
            .contains("=too_slow, ")
    );
    assert_eq!(upstream.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_has_longer_for_its_head_and_has_to_be_whole_in_time() {
    let slow_head = Reply::hang();
    let mut slow_body = Reply::answer("slow");
    slow_body.steps.insert(0, Step::Hang);
    for slow in [slow_head, slow_body] {
        let (stack, _) = two();
        let stack = stack.fallback(|f| f.answer_timeout(secs(25)));
        let upstream = Upstream::script([slow, Reply::answer("hello")]);
        let began = Instant::now();
        let whole = send(&stack, &upstream, chat()).await;
        assert_after(began, secs(25));
        assert_eq!(content(&whole), "hello");
        assert!(
            whole
                .header("x-free-trail")
                .unwrap()
                .contains("=too_slow, ")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_request_is_a_504_that_tells_of_its_attempts() {
    let (stack, health) = two();
    let stack = stack.fallback(|f| f.deadline(secs(35)));
    let upstream = Upstream::script([Reply::hang()]);
    let began = Instant::now();
    let whole = send(&stack, &upstream, streamed_chat()).await;
    assert_after(began, secs(35));
    assert_eq!(whole.status(), 504);
    let error = &whole.json()["error"];
    assert_eq!(error["code"], "deadline_exceeded");
    assert_eq!(error["metadata"]["attempts"], 2);
    assert_eq!(error["metadata"]["outcomes"], json!({ "too_slow": 2 }));
    assert_eq!(whole.header("x-free-attempts"), Some("2"));
    // The second one had only what the first one left of the time.
    let (mut failed, mut abandoned) = (0, 0);
    for target in health.snapshot().targets {
        failed += target.tally.failed;
        abandoned += target.tally.abandoned;
    }
    assert_eq!((failed, abandoned), (1, 1));
    assert_eq!(upstream.alive(), 0);
}

// After an answer has begun.

#[tokio::test(start_paused = true)]
async fn a_committed_stream_of_thirty_minutes_survives() {
    let (stack, health) = one();
    let mut steps = vec![delta("begin")];
    for _ in 0..30 {
        steps.extend([Step::Pause(secs(60)), delta("more")]);
    }
    steps.extend([finish(), done()]);
    let upstream = Upstream::script([Reply::stream(steps)]);
    let began = Instant::now();
    let whole = send(&stack, &upstream, streamed_chat()).await;
    assert_after(began, secs(30 * 60));
    assert!(whole.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(only(&health).tally.succeeded, 1);
}

#[tokio::test(start_paused = true)]
async fn comments_after_commit_keep_a_stream_alive() {
    let (stack, _) = one();
    let mut steps = vec![delta("begin")];
    for _ in 0..30 {
        steps.extend([Step::Pause(secs(100)), comment()]);
    }
    steps.extend([finish(), done()]);
    let whole = send(
        &stack,
        &Upstream::script([Reply::stream(steps)]),
        streamed_chat(),
    )
    .await;
    assert!(whole.text().ends_with("data: [DONE]\n\n"));
}

#[tokio::test(start_paused = true)]
async fn an_idle_gap_after_commit_ends_a_stream_with_one_error() {
    let (stack, health) = one();
    let upstream = Upstream::script([Reply::stream([delta("begin"), Step::Hang])]);
    let began = Instant::now();
    let whole = send(&stack, &upstream, streamed_chat()).await;
    assert_after(began, secs(120));
    let text = whole.text();
    assert_eq!(text.matches("data: ").count(), 2);
    assert!(text.contains("\"code\":\"too_slow\"") && !text.contains("DONE"));
    assert_eq!(whole.broken, None);
    assert_eq!(upstream.alive(), 0);
    let target = only(&health);
    assert_eq!((target.tally.failed, target.tally.succeeded), (1, 0));
    let cooling = target.cooling.unwrap();
    assert_eq!((cooling.reason.name(), cooling.stated), ("too_slow", false));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_no_silence_of_the_upstream() {
    for polled_before in [false, true] {
        let (stack, health) = one();
        let steps = [
            delta("one"),
            Step::Pause(secs(60)),
            delta("two"),
            finish(),
            done(),
        ];
        let upstream = Upstream::script([Reply::stream(steps)]);
        let service = stack.layer(upstream);
        let response = service.oneshot(streamed_chat()).await.unwrap();
        let mut body = Box::pin(response.into_body());
        assert!(body.frame().now_or_never().is_some());
        if polled_before {
            assert!(body.frame().now_or_never().is_none());
        }
        advance(secs(3600)).await;
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            rest.extend(frame.unwrap().into_data().unwrap());
            advance(secs(3600)).await;
        }
        assert!(rest.ends_with(b"data: [DONE]\n\n"));
        assert_eq!(only(&health).tally.succeeded, 1);
    }
}

// Failures, and what they say of themselves.

#[tokio::test(start_paused = true)]
async fn nothing_sleeps_while_another_target_is_healthy() {
    let (stack, _) = seeded(targets(&["a", "b", "c"], &["m", "n"]));
    let stack = stack.fallback(|f| f.max_wait(secs(60)));
    let overloaded = Reply::error(503).header("retry-after", "30");
    let failures = [limited("30"), overloaded].into_iter().cycle().take(5);
    let upstream = Upstream::script(failures.chain([Reply::answer("hello")]));
    let began = Instant::now();
    let whole = send(&stack, &upstream, chat()).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(content(&whole), "hello");
    assert_eq!(whole.header("x-free-attempts"), Some("6"));
}

#[tokio::test(start_paused = true)]
async fn an_error_body_that_does_not_end_is_read_for_two_seconds() {
    let (stack, _) = two();
    let mut stuck = limited("30");
    stuck.steps.push(Step::Hang);
    let upstream = Upstream::script([stuck, Reply::answer("hello")]);
    let began = Instant::now();
    let whole = send(&stack, &upstream, chat()).await;
    assert_after(began, secs(2));
    assert_eq!(content(&whole), "hello");
    assert!(
        whole
            .header("x-free-trail")
            .unwrap()
            .contains("=rate_limited, ")
    );
}

#[tokio::test(start_paused = true)]
async fn of_an_error_body_no_more_than_64_kib_are_read() {
    const FRAME: Bytes = Bytes::from_static(&[b'x'; 1000]);
    let produced = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&produced);
    let (stack, health) = one();
    let service = stack.layer(tower::service_fn(move |_: http::Request<_>| {
        let counter = Arc::clone(&counter);
        let frames = std::iter::repeat_with(move || {
            counter.fetch_add(FRAME.len(), Ordering::SeqCst);
            Ok::<_, BoxError>(Frame::data(FRAME))
        });
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let response = Response::builder().status(500).body(body).unwrap();
        std::future::ready(Ok::<_, BoxError>(response))
    }));
    let response = service.oneshot(chat()).await.unwrap();
    assert_eq!(response.status(), 503);
    let read = produced.load(Ordering::SeqCst);
    assert!(read <= 64 * 1024 + FRAME.len(), "{read} bytes were read");
    assert_eq!(only(&health).tally.failed, 1);
}

const EPOCH_2015: u64 = 1_420_070_400;
const DATE_2015: &str = "Thu, 01 Jan 2015 00:00:00 GMT";

#[tokio::test(start_paused = true)]
async fn a_skewed_clock_of_the_upstream_does_no_harm() {
    let in_a_minute = EPOCH_2015 + 60;
    for (name, value) in [
        ("x-ratelimit-reset", in_a_minute.to_string()),
        ("x-ratelimit-reset", format!("{in_a_minute}000")),
        ("x-ratelimit-reset-requests", "2015-01-01T00:01:00Z".into()),
        ("retry-after", "Thu, 01 Jan 2015 00:01:00 GMT".into()),
    ] {
        let reply = Reply::error(429)
            .header("date", DATE_2015)
            .header(name, &value);
        let cooling = cooling_after(reply).await;
        assert_eq!(cooling.remaining, secs(60), "{name}: {value}");
        assert!(cooling.stated);
    }
    let body = json!({ "error": { "message": "m", "code": 429,
        "metadata": { "headers": { "X-RateLimit-Reset": format!("{in_a_minute}000"), "X-RateLimit-Remaining": "0" } } } });
    let cooling = cooling_after(Reply::json(429, body).header("date", DATE_2015)).await;
    assert_eq!(cooling.remaining, secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_reset_in_the_past_is_a_guess_of_at_most_a_second() {
    let past = (EPOCH_2015 - 60).to_string();
    for reply in [
        Reply::error(429).header("x-ratelimit-reset", &past),
        Reply::error(429)
            .header("x-ratelimit-reset", &past)
            .header("date", DATE_2015),
        limited("0"),
        limited("Thu, 01 Jan 2015 00:00:00 GMT"),
    ] {
        let cooling = cooling_after(reply.clone()).await;
        assert!(!cooling.stated, "{reply:?}");
        assert!(
            cooling.remaining <= secs(1),
            "{:?}: {reply:?}",
            cooling.remaining
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_read_in_every_form_from_headers() {
    for (name, value, wait) in [
        ("retry-after", "7", secs(7)),
        ("retry-after-ms", "7500", millis(7500)),
        ("x-ratelimit-reset", "7", secs(7)),
        ("x-ratelimit-reset-tokens", "7.66s", millis(7660)),
        ("x-ratelimit-reset-requests", "2m59.56s", millis(179_560)),
        ("x-ratelimit-reset-requests", "1h0m1s", secs(3601)),
        ("x-ratelimit-reset-day", "120ms", millis(120)),
        ("retry-after", "99999999", secs(32 * 86_400)),
    ] {
        let cooling = cooling_after(Reply::error(429).header(name, value)).await;
        assert_eq!(cooling.remaining, wait, "{name}: {value}");
        assert!(cooling.stated, "{name}: {value}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_read_in_every_form_from_bodies() {
    for (error, wait) in [
        (
            json!({ "message": "m", "metadata": { "retry_after_seconds": 7 } }),
            secs(7),
        ),
        (
            json!({ "message": "m", "metadata": { "headers": { "Retry-After": "7" } } }),
            secs(7),
        ),
        (
            json!({ "message": "Please try again in 11m0.528s. Visit us" }),
            millis(660_528),
        ),
        (
            json!({ "message": "Quota exceeded. Please retry in 15.5s." }),
            millis(15_500),
        ),
        (
            json!({ "message": "m", "details": [{ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s" }] }),
            secs(34),
        ),
        (
            json!({ "message": "limited (reset after 2m 13s)" }),
            secs(133),
        ),
    ] {
        let cooling = cooling_after(Reply::json(429, json!({ "error": error }))).await;
        assert_eq!(cooling.remaining, wait, "{error}");
        assert!(cooling.stated, "{error}");
    }
}

/// A whole second of the real clock, an hour ahead: what an upstream would name.
#[allow(clippy::disallowed_methods)]
fn in_an_hour() -> (SystemTime, u64) {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let then = now.as_secs() + 3600;
    (SystemTime::UNIX_EPOCH + secs(then), then)
}

#[tokio::test(start_paused = true)]
async fn an_instant_that_is_named_is_the_end_of_the_cooldown() {
    let (until, epoch) = in_an_hour();
    let body = |reset: Value| {
        Reply::json(
            429,
            json!({ "error": { "message": "m", "code": 429, "metadata": { "headers": { "X-RateLimit-Reset": reset } } } }),
        )
    };
    for reply in [
        Reply::error(429).header("x-ratelimit-reset", &epoch.to_string()),
        Reply::error(429).header("x-ratelimit-reset", &format!("{epoch}000")),
        Reply::error(429).header("retry-after", &httpdate::fmt_http_date(until)),
        body(json!(epoch)),
        body(json!(epoch * 1000)),
        body(json!(format!("{epoch}000"))),
        // The same in a success that holds an error.
        Reply {
            status: http::StatusCode::OK,
            ..body(json!(epoch * 1000))
        },
    ] {
        let cooling = cooling_after(reply.clone()).await;
        assert_eq!(cooling.until, until, "{reply:?}");
        assert!(cooling.stated, "{reply:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_that_was_the_last_one_cools_its_target() {
    let (stack, health) = one();
    let reply = Reply::answer("hello")
        .header("x-ratelimit-remaining", "0")
        .header("x-ratelimit-reset", "20");
    let upstream = Upstream::script([reply]);
    assert_eq!(send(&stack, &upstream, chat()).await.status(), 200);
    let cooling = only(&health).cooling.unwrap();
    assert!(cooling.stated);
    assert_eq!(cooling.remaining, secs(20));
    assert_eq!(send(&stack, &upstream, chat()).await.status(), 429);
    assert_eq!(upstream.calls(), 1);
}

// Refusals, and cooldowns at their ends.

#[tokio::test(start_paused = true)]
async fn a_refusal_names_the_earliest_stated_recovery() {
    for (first, second, retry_after, should_retry) in [
        ("100", "40", "40", None),
        ("60", "100", "60", None),
        ("61", "100", "61", Some("false")),
        ("86400", "3600", "3600", Some("false")),
    ] {
        let (stack, _) = two();
        let upstream = Upstream::script([limited(first), limited(second)]);
        // In the request that meets them, and in one that finds them cooling.
        for calls in [2, 2] {
            let whole = send(&stack, &upstream, chat()).await;
            assert_eq!(upstream.calls(), calls);
            assert_eq!(whole.status(), 429, "{first} {second}");
            assert_eq!(whole.header("retry-after"), Some(retry_after));
            assert_eq!(whole.header("x-should-retry"), should_retry);
            assert_eq!(whole.json()["error"]["type"], "rate_limit_error");
        }
    }
}

/// A target that failed once, and whose guessed cooldown has just ended.
async fn in_probation(then: Reply) -> (Stack, HealthMap, Upstream) {
    let (stack, health) = one();
    let upstream = Upstream::script([Reply::error(503), then]);
    assert_eq!(send(&stack, &upstream, chat()).await.status(), 503);
    let cooling = only(&health).cooling.unwrap();
    assert!(!cooling.stated && cooling.remaining <= secs(1));
    advance(cooling.remaining).await;
    assert_eq!(only(&health).state, TargetState::Probation);
    (stack, health, upstream)
}

/// A stream that begins to say something only after so long, and never ends.
fn slow_to_begin(wait: Duration) -> Reply {
    Reply::stream([role(), Step::Pause(wait), delta("at last"), Step::Hang])
}

#[tokio::test(start_paused = true)]
async fn in_probation_one_probe_goes_and_others_wait_until_it_has_a_head() {
    let late = Reply::answer("late").after(secs(4));
    let (stack, health, upstream) = in_probation(late).await;
    let stack = stack.fallback(|f| f.max_wait(secs(5)));
    let began = Instant::now();
    let service = stack.layer(upstream.clone());
    let mut probe = Box::pin(service.oneshot(chat()));
    assert!(probe.as_mut().now_or_never().is_none());
    assert_eq!(only(&health).state, TargetState::Probing);
    let service = stack.layer(upstream.clone());
    let mut other = Box::pin(service.oneshot(chat()));
    assert!(other.as_mut().now_or_never().is_none());
    assert_eq!(upstream.calls(), 2, "the failure and the probe");
    let (probe, other) = tokio::join!(probe, other);
    assert_eq!(
        (probe.unwrap().status(), other.unwrap().status()),
        (http::StatusCode::OK, http::StatusCode::OK)
    );
    let elapsed = began.elapsed();
    assert!(
        elapsed >= secs(8) && elapsed <= millis(8_010),
        "{elapsed:?}"
    );
    assert_eq!(
        only(&health).state,
        TargetState::Probation,
        "until it has taken more"
    );
}

#[tokio::test(start_paused = true)]
async fn where_only_a_probe_holds_a_request_back_it_is_sent_and_not_refused() {
    for max_wait in [secs(0), secs(10)] {
        let (stack, _, upstream) = in_probation(Reply::answer("late").after(secs(60))).await;
        let stack = stack.fallback(|f| f.max_wait(max_wait));
        let service = stack.layer(upstream.clone());
        let mut probe = Box::pin(service.oneshot(chat()));
        assert!(probe.as_mut().now_or_never().is_none());
        let began = Instant::now();
        let whole = send(&stack, &upstream, chat()).await;
        assert_eq!(whole.status(), 200);
        // The wait and the answer each end on a tick of their own.
        let (expected, elapsed) = (max_wait + secs(60), began.elapsed());
        assert!(
            elapsed >= expected && elapsed <= expected + millis(5),
            "{elapsed:?}"
        );
        assert_eq!(probe.await.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_cools_longer() {
    let (stack, health, upstream) = in_probation(Reply::error(503)).await;
    assert_eq!(send(&stack, &upstream, chat()).await.status(), 503);
    assert_eq!(upstream.calls(), 2);
    let cooling = only(&health).cooling.unwrap();
    assert!(!cooling.stated);
    assert!(
        cooling.remaining >= secs(1) && cooling.remaining <= secs(2),
        "{cooling:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_goes_on_as_soon_as_the_probe_has_a_head() {
    let late = slow_to_begin(secs(100)).after(secs(10));
    let (stack, _, upstream) = in_probation(late).await;
    let began = Instant::now();
    let service = stack.layer(upstream.clone());
    let mut probe = Box::pin(service.oneshot(streamed_chat()));
    assert!(probe.as_mut().now_or_never().is_none());
    let patient = stack.clone().fallback(|f| f.max_wait(secs(60)));
    let words = Upstream::script([Reply::words(&["hello"])]);
    let second = async {
        let whole = send(&patient, &words, streamed_chat()).await;
        (whole, began.elapsed())
    };
    let (probe, (whole, waited)) = tokio::join!(probe, second);
    assert!(probe.is_ok());
    assert!(whole.text().contains("hello"));
    assert!(waited >= secs(10) && waited <= millis(10_001), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_a_probe_waits_no_longer_than_it_may() {
    let (stack, _, upstream) = in_probation(Reply::hang()).await;
    let service = stack.layer(upstream.clone());
    let mut probe = Box::pin(service.oneshot(streamed_chat()));
    assert!(probe.as_mut().now_or_never().is_none());
    let patient = stack.clone().fallback(|f| f.max_wait(secs(5)));
    let began = Instant::now();
    let words = Upstream::script([Reply::words(&["hello"])]);
    assert_eq!(send(&patient, &words, streamed_chat()).await.status(), 200);
    assert_after(began, secs(5));
}

// Waiting for a recovery.

#[tokio::test(start_paused = true)]
async fn max_wait_waits_until_the_stated_reset_and_tries_once_more() {
    let (stack, _) = one();
    let stack = stack.fallback(|f| f.max_wait(secs(30)));
    let upstream = Upstream::script([limited("10"), Reply::answer("hello")]);
    let began = Instant::now();
    let whole = send(&stack, &upstream, chat()).await;
    assert_after(began, secs(10));
    assert_eq!(content(&whole), "hello");
    assert_eq!(
        whole.header("x-free-trail"),
        Some("a/m=rate_limited, a/m=succeeded")
    );
}

#[tokio::test(start_paused = true)]
async fn max_wait_waits_for_a_limit_of_the_whole_account_too() {
    let (stack, health) = seeded(targets(&["a"], &["m", "n"]));
    let stack = stack.fallback(|f| f.max_wait(secs(30)));
    let body =
        json!({ "error": { "message": "Rate limit exceeded: free-models-per-min", "code": 429 } });
    let account = Reply::json(429, body).header("retry-after", "10");
    let upstream = Upstream::script([account, Reply::answer("hello")]);
    let began = Instant::now();
    let whole = send(&stack, &upstream, chat()).await;
    assert_after(began, secs(10));
    assert_eq!(whole.status(), 200, "{:?} {:?}", whole, health.snapshot());
    assert_eq!(content(&whole), "hello");
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn after_the_wait_a_tried_target_is_tried_once_and_not_twice() {
    let (stack, _) = one();
    let stack = stack.fallback(|f| f.max_wait(secs(60)));
    let upstream = Upstream::script([limited("10")]);
    let began = Instant::now();
    let whole = send(&stack, &upstream, chat()).await;
    assert_after(began, secs(10));
    assert_eq!(whole.status(), 429);
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reset_beyond_max_wait_is_refused_at_once() {
    let (stack, _) = one();
    let stack = stack.fallback(|f| f.max_wait(millis(9_999)));
    let upstream = Upstream::script([limited("10")]);
    let began = Instant::now();
    let whole = send(&stack, &upstream, chat()).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(whole.status(), 429);
    assert_eq!(whole.header("retry-after"), Some("10"));
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_max_wait_nobody_waits() {
    let (stack, _) = one();
    let began = Instant::now();
    let whole = send(&stack, &Upstream::script([limited("1")]), chat()).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(whole.status(), 429);
}

#[tokio::test(start_paused = true)]
async fn the_only_target_is_asked_once_more_after_its_short_guess() {
    for (replies, status) in [
        (vec![Reply::error(503), Reply::answer("hello")], 200),
        (vec![Reply::error(503)], 503),
        (vec![Reply::error(429), Reply::answer("hello")], 200),
        (vec![Reply::unreachable(), Reply::answer("hello")], 200),
    ] {
        let (stack, _) = one();
        let stack = stack.fallback(|f| f.max_wait(secs(10)));
        let upstream = Upstream::script(replies);
        let began = Instant::now();
        let whole = send(&stack, &upstream, chat()).await;
        let waited = began.elapsed();
        assert!(
            waited >= millis(500) && waited <= millis(1001),
            "{waited:?}"
        );
        assert_eq!((whole.status(), upstream.calls()), (status, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_was_too_slow_is_not_asked_again() {
    let (stack, _) = one();
    let stack = stack.fallback(|f| f.max_wait(secs(10)).header_timeout(secs(5)));
    let upstream = Upstream::script([Reply::hang()]);
    assert_eq!(send(&stack, &upstream, streamed_chat()).await.status(), 503);
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_untried_target_that_is_cooling_by_a_guess_is_waited_for() {
    let (stack, health) = one();
    let upstream = Upstream::script([Reply::error(503), Reply::answer("hello")]);
    send(&stack, &upstream, chat()).await;
    let guess = only(&health).cooling.unwrap().remaining;
    let began = Instant::now();
    let stack = stack.fallback(|f| f.max_wait(secs(10)));
    assert_eq!(content(&send(&stack, &upstream, chat()).await), "hello");
    assert_after(began, guess);
}

#[tokio::test(start_paused = true)]
async fn a_hung_answer_leaves_half_of_the_time_to_an_untried_target() {
    let hurried = |(stack, health): (Stack, HealthMap)| {
        let stack = stack.fallback(|f| f.deadline(secs(40)).header_timeout(secs(5)));
        (stack, health)
    };
    for streamed in [false, true] {
        let (stack, _) = hurried(two());
        let upstream = Upstream::script([Reply::hang(), Reply::answer("hello")]);
        let began = Instant::now();
        let request = if streamed { streamed_chat() } else { chat() };
        assert_eq!(send(&stack, &upstream, request).await.status(), 200);
        assert_after(began, secs(if streamed { 5 } else { 20 }));
    }
    // Where there is no other, or the other was tried, it has all of it.
    let slow = Reply::answer("hello").after(secs(39));
    for (pool, replies) in [
        (one(), vec![slow.clone()]),
        (two(), vec![Reply::error(503), slow]),
    ] {
        let (stack, _) = hurried(pool);
        let upstream = Upstream::script(replies);
        assert_eq!(send(&stack, &upstream, chat()).await.status(), 200);
    }
}

/// A fallback, and a layer inside it that sends each request on to the router after so long.
async fn behind_a_queue(
    fallback: FallbackLayer,
    queue: Duration,
    providers: &[&str],
    replies: Vec<Reply>,
    request: http::Request<http_body_util::Full<Bytes>>,
) -> Whole {
    let catalog = Catalog::from_targets(targets(providers, &["m"]));
    let route = FreeModelRouteLayer::new(catalog, HealthMap::seeded(7));
    let route = route.layer(Upstream::script(replies));
    let queued = tower::service_fn(move |request| {
        let route = route.clone();
        async move {
            tokio::time::sleep(queue).await;
            route.oneshot(request).await
        }
    });
    let service = fallback.layer(queued);
    read(service.oneshot(request).await.expect("a response")).await
}

#[tokio::test(start_paused = true)]
async fn behind_a_queue_a_hung_answer_leaves_half_of_the_time_to_an_untried_target() {
    let hurried = || {
        FallbackLayer::new()
            .deadline(secs(40))
            .header_timeout(secs(5))
    };
    let began = Instant::now();
    let replies = vec![Reply::hang(), Reply::answer("hello")];
    let whole = behind_a_queue(hurried(), millis(10), &["a", "b"], replies, chat()).await;
    assert_eq!(whole.header("x-free-attempts"), Some("2"));
    assert_after(began, secs(20) + millis(10));
    // Where there is no other, it has all of it.
    let replies = vec![Reply::answer("hello").after(secs(39))];
    let whole = behind_a_queue(hurried(), millis(10), &["a"], replies, chat()).await;
    assert_eq!(whole.header("x-free-attempts"), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn as_long_as_no_target_is_picked_none_is_too_slow() {
    for request in [streamed_chat(), chat()] {
        let replies = vec![Reply::error(503), Reply::answer("hello")];
        let fallback = FallbackLayer::new();
        let whole = behind_a_queue(fallback, secs(110), &["a", "b"], replies, request).await;
        assert_eq!(
            (whole.status(), whole.header("x-free-attempts")),
            (200, Some("2"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn limits_without_end_are_no_fault() {
    for request in [streamed_chat(), chat()] {
        let (stack, _) = two();
        let stack = stack.fallback(|fallback| {
            fallback
                .deadline(Duration::MAX)
                .header_timeout(Duration::MAX)
                .first_token_timeout(Duration::MAX)
                .answer_timeout(Duration::MAX)
                .idle_timeout(Duration::MAX)
                .body_timeout(Duration::MAX)
                .max_wait(Duration::MAX)
        });
        let slow = Reply::answer("hello").after(secs(100_000));
        let replies = [Reply::error(503).after(secs(1)), slow];
        let whole = send(&stack, &Upstream::script(replies), request).await;
        assert_eq!(whole.status(), 200);
    }
}

fn keyless() -> Provider {
    let local = Provider::new("local").base_url("https://local.example/v1");
    local.free(FreeRule::All).build().expect("a provider")
}

type Nothing = fn() -> Frame<Bytes>;

/// A body that begins so, and then has frames without bytes, without end.
fn endless(
    first: &Bytes,
    nothing: Nothing,
) -> impl http_body::Body<Data = Bytes, Error = BoxError> + Send + use<> {
    let frames = std::iter::once(Frame::data(first.clone())).chain(std::iter::repeat_with(nothing));
    StreamBody::new(futures_util::stream::iter(frames.map(Ok)))
}

#[tokio::test(start_paused = true)]
async fn frames_without_bytes_and_without_end_are_a_silence() {
    let trailers: Nothing = || Frame::trailers(http::HeaderMap::new());
    let empty: Nothing = || Frame::data(Bytes::new());
    let Step::Data(content) = delta("a") else {
        unreachable!("events are data");
    };
    let (json, events, none) = ("application/json", "text/event-stream", Bytes::new());
    // Before an answer has begun.
    for (status, kind, nothing, limit) in [
        (503, json, empty, 2),
        (200, json, empty, 300),
        (200, json, trailers, 300),
        (200, events, empty, 120),
    ] {
        // A body that is searched for a key ends at its trailers. Here is no key, so that frames can go on after them.
        let (stack, health) = seeded([target(&keyless(), "m")]);
        let stack = without_waiting(stack);
        let body = none.clone();
        let service = stack.layer(tower::service_fn(move |_: http::Request<_>| {
            let response = Response::builder()
                .status(status)
                .header("content-type", kind);
            let response = response.body(endless(&body, nothing)).unwrap();
            std::future::ready(Ok::<_, BoxError>(response))
        }));
        let mut response = std::pin::pin!(service.oneshot(chat()));
        // The clock of a paused runtime stands still while there is work, so it is moved by hand.
        assert!(response.as_mut().now_or_never().is_none());
        advance(secs(limit) + millis(2)).await;
        let response = response.now_or_never().expect("an end").unwrap();
        assert!(response.status().is_server_error(), "{kind}");
        assert_eq!(only(&health).tally.failed, 1, "{kind}");
    }
    // After it has.
    for (kind, first) in [
        (events, content),
        ("audio/mpeg", Bytes::from_static(b"sound")),
    ] {
        let (stack, health) = one();
        let service = stack.layer(tower::service_fn(move |_: http::Request<_>| {
            let response = Response::builder().header("content-type", kind);
            let response = response.body(endless(&first, empty)).unwrap();
            std::future::ready(Ok::<_, BoxError>(response))
        }));
        let response = service
            .oneshot(chat())
            .now_or_never()
            .expect("it begins")
            .unwrap();
        let mut rest = std::pin::pin!(read(response));
        assert!(rest.as_mut().now_or_never().is_none(), "{kind}");
        advance(secs(120) + millis(2)).await;
        let whole = rest.now_or_never().expect("an end");
        assert!(
            whole.broken.is_some() || whole.text().contains("too_slow"),
            "{kind}"
        );
        assert_eq!(only(&health).tally.failed, 1, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_one_end_go_a_few_at_a_time() {
    const WAITING: usize = 100;
    let (stack, _) = one();
    let limited_once = Upstream::script([limited("5"), Reply::answer("hello").after(secs(1))]);
    send(&stack, &limited_once, chat()).await;
    let stack = stack.fallback(|f| f.max_wait(secs(10)));
    let end = Instant::now() + secs(5);
    let service = stack.layer(limited_once.clone());
    let waiting: Vec<_> = (0..WAITING)
        .map(|_| tokio::spawn(service.clone().oneshot(chat())))
        .collect();
    tokio::time::sleep_until(end - millis(1)).await;
    assert_eq!(limited_once.calls(), 1, "none goes before the end");
    let mut at_once = Vec::new();
    for _ in 0..20 {
        let before = limited_once.calls();
        tokio::time::sleep(millis(50)).await;
        at_once.push(limited_once.calls() - before);
    }
    assert_eq!(at_once.iter().sum::<usize>(), WAITING, "{at_once:?}");
    assert!(
        at_once[0] <= 2 && at_once.iter().all(|&n| n <= WAITING / 2),
        "{at_once:?}"
    );
    for request in waiting {
        assert_eq!(request.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_do_not_wait_delay_none_that_does() {
    let (stack, _) = one();
    let upstream = Upstream::script([limited("60"), Reply::answer("hello")]);
    let end = Instant::now() + secs(60);
    send(&stack, &upstream, chat()).await;
    let stack = stack.fallback(|f| f.max_wait(secs(10)));
    for _ in 0..1000 {
        assert_eq!(send(&stack, &upstream, chat()).await.status(), 429);
    }
    tokio::time::sleep_until(end - secs(5)).await;
    assert_eq!(content(&send(&stack, &upstream, chat()).await), "hello");
    assert_after(end, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn no_request_is_refused_because_its_turn_comes_after_the_end_of_its_wait() {
    let (stack, _) = one();
    let upstream = Upstream::script([limited("5"), Reply::answer("hello")]);
    send(&stack, &upstream, chat()).await;
    let stack = stack.fallback(|f| f.max_wait(millis(5100)));
    let service = stack.layer(upstream);
    let waiting: Vec<_> = (0..1000)
        .map(|_| tokio::spawn(service.clone().oneshot(chat())))
        .collect();
    for request in waiting {
        assert_eq!(request.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_probe_leaves_half_of_the_deadline_to_an_answer() {
    let (stack, health, _) = in_probation(Reply::hang()).await;
    let service = stack.layer(Upstream::script([Reply::hang()]));
    let probe = tokio::spawn(service.oneshot(chat()));
    tokio::task::yield_now().await;
    let began = Instant::now();
    let hurried = stack.fallback(|f| f.max_wait(secs(10)).deadline(secs(6)));
    let upstream = Upstream::script([Reply::answer("hello").after(secs(2))]);
    assert_eq!(content(&send(&hurried, &upstream, chat()).await), "hello");
    let elapsed = began.elapsed();
    assert!(
        elapsed >= secs(5) && elapsed <= millis(5_010),
        "{elapsed:?}"
    );
    probe.abort();
    assert_eq!(only(&health).tally.failed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_target_is_not_blamed_for_the_time_in_which_a_request_waited_for_it() {
    let (stack, health, _) = in_probation(Reply::hang()).await;
    let probe = tokio::spawn(
        stack
            .layer(Upstream::script([Reply::hang()]))
            .oneshot(chat()),
    );
    tokio::task::yield_now().await;
    let failed = only(&health).tally.failed;
    let hurried = stack.fallback(|f| f.max_wait(secs(10)).deadline(secs(6)));
    let whole = send(&hurried, &Upstream::script([Reply::hang()]), chat()).await;
    assert_eq!(whole.status(), 504);
    probe.abort();
    assert_eq!(only(&health).tally.failed, failed);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_open_again_is_not_kept_for_those_who_may_not_try_it_yet() {
    let (stack, health) = one();
    let stack = stack.fallback(|f| f.max_wait(secs(10)));
    let fails = || Reply::error(503).after(millis(10));
    let upstream = Upstream::script([fails(), fails(), Reply::answer("hello")]);
    let service = stack.layer(upstream);
    let tried: Vec<_> = (0..2)
        .map(|_| tokio::spawn(service.clone().oneshot(chat())))
        .collect();
    tokio::time::sleep(millis(100)).await;
    let untried = tokio::spawn(service.oneshot(chat()));
    tokio::time::sleep(millis(100)).await;
    assert!(health.reset(&health.snapshot().targets[0].id));
    let began = Instant::now();
    assert_eq!(untried.await.unwrap().unwrap().status(), 200);
    assert_after(began, Duration::ZERO);
    for request in tried {
        assert_eq!(request.await.unwrap().unwrap().status(), 200);
    }
}
