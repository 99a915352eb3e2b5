//! A second target that is asked beside one that takes longer than usual.

use std::time::Duration;

use crate::support::*;
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::json;
use tokio::time::Instant;
use tower::{Layer, ServiceExt};
use tower_free_models::{HealthMap, Stack, Target, classify::Outcome, classify::OutcomeKind};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Targets of which a request is sent to the first; every request may be hedged.
fn pool(providers: &[&str]) -> (Stack, HealthMap, Vec<Target>) {
    let targets = targets(providers, &["m"]);
    let (stack, health) = seeded(targets.clone());
    let stack = without_waiting(stack).fallback(|f| f.hedge(1.0));
    (stack, health, targets)
}

fn asks_first(stream: bool) -> http::Request<http_body_util::Full<bytes::Bytes>> {
    let messages = json!([{ "role": "user", "content": "hi" }]);
    chat_with(json!({ "model": "a/m", "stream": stream, "messages": messages }))
}

/// An answer in the form that was asked for.
fn answer(stream: bool, text: &str) -> Reply {
    if stream {
        Reply::words(&[text])
    } else {
        Reply::answer(text)
    }
}

/// The head comes at once and the content after so long.
fn late(stream: bool, text: &str, after: Duration) -> Reply {
    let mut reply = answer(stream, text);
    reply.steps.insert(0, Step::Pause(after));
    reply
}

/// Started, succeeded, failed and abandoned attempts of a target, and those in flight.
fn tally(health: &HealthMap, target: &Target) -> [u64; 5] {
    let snapshot = health.snapshot();
    let id = target.id();
    let tally = snapshot
        .target(id.provider(), id.model())
        .map_or_else(Default::default, |t| t.tally);
    let ended = [
        tally.started,
        tally.succeeded,
        tally.failed,
        tally.abandoned,
    ];
    let [started, succeeded, failed, abandoned] = ended;
    [started, succeeded, failed, abandoned, tally.in_flight()]
}

/// The time after which a target of which nothing is known is late.
fn unknown_is_late(stream: bool) -> Duration {
    secs(if stream { 4 } else { 10 })
}

#[tokio::test(start_paused = true)]
async fn the_second_target_answers_where_the_first_stalls() {
    for stream in [true, false] {
        for stalled in [Reply::hang(), late(stream, "late", secs(3600))] {
            let (stack, health, targets) = pool(&["a", "b"]);
            let upstream = Upstream::script([stalled, answer(stream, "hello")]);
            let service = stack.layer(upstream.clone());
            let began = Instant::now();
            let response = service.oneshot(asks_first(stream)).await.unwrap();
            let elapsed = began.elapsed();
            assert!(
                elapsed - unknown_is_late(stream) <= millis(1),
                "{elapsed:?}"
            );
            assert_eq!(upstream.asked(), ["a/m", "b/m"]);
            assert_eq!(
                tally(&health, &targets[0]),
                [1, 0, 0, 1, 0],
                "the loser is dropped before the answer has been read"
            );
            let whole = read(response).await;
            assert!(whole.text().contains("hello") && !whole.text().contains("late"));
            assert_eq!(whole.header("x-free-attempts"), Some("2"));
            let trail = "a/m=abandoned, b/m=succeeded";
            assert_eq!(whole.header("x-free-trail"), Some(trail));
            assert_eq!(tally(&health, &targets[1]), [1, 1, 0, 0, 0]);
            assert_eq!(upstream.alive(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_target_wins_if_it_answers_before_the_second() {
    for stream in [true, false] {
        let (stack, health, targets) = pool(&["a", "b"]);
        let first = late(stream, "first", unknown_is_late(stream) + secs(1));
        let second = late(stream, "second", secs(2));
        let upstream = Upstream::script([first, second]);
        let whole = send(&stack, &upstream, asks_first(stream)).await;
        assert!(whole.text().contains("first") && !whole.text().contains("second"));
        assert_eq!(whole.header("x-free-model"), Some("m"));
        assert_eq!(whole.header("x-free-provider"), Some("a"));
        assert_eq!(
            whole.header("x-free-trail"),
            Some("b/m=abandoned, a/m=succeeded")
        );
        assert_eq!(tally(&health, &targets[0]), [1, 1, 0, 0, 0]);
        assert_eq!(tally(&health, &targets[1]), [1, 0, 0, 1, 0]);
        assert_eq!(upstream.alive(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_in_its_usual_time_is_alone() {
    for (usual, takes, calls) in [
        (None, millis(3_990), 1),
        (None, millis(4_010), 2),
        (Some(secs(10)), millis(14_990), 1),
        (Some(secs(10)), millis(15_010), 2),
        (Some(millis(100)), millis(990), 1),
        (Some(millis(100)), millis(1_010), 2),
    ] {
        let (stack, health, targets) = pool(&["a", "b"]);
        for _ in 0..30 {
            let Some(usual) = usual else { break };
            let attempt = health.begin(&targets[0]).unwrap();
            tokio::time::sleep(usual).await;
            attempt.succeed();
        }
        let upstream = Upstream::script([late(true, "one", takes), late(true, "two", secs(60))]);
        let whole = send(&stack, &upstream, asks_first(true)).await;
        assert!(whole.text().contains("one"));
        assert_eq!(upstream.calls(), calls, "usually {usual:?}, took {takes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_failure_of_one_is_recorded_and_the_other_goes_on() {
    for stream in [true, false] {
        let late_at = unknown_is_late(stream);
        // The first one fails while the second is under way, and the other way round.
        for (first, second, failed) in [
            (
                Reply::error(503).after(late_at + secs(1)),
                late(stream, "hello", secs(3)),
                0,
            ),
            (
                late(stream, "hello", late_at + secs(3)),
                Reply::error(503).after(secs(1)),
                1,
            ),
        ] {
            let (stack, health, targets) = pool(&["a", "b", "c"]);
            let upstream = Upstream::script([first, second]);
            let service = stack.layer(upstream.clone());
            let running = tokio::spawn(service.oneshot(asks_first(stream)));
            tokio::time::sleep(late_at + secs(2)).await;
            assert_eq!(upstream.calls(), 2);
            let failed = targets
                .iter()
                .find(|t| t.id().to_string() == upstream.asked()[failed]);
            let failed = failed.unwrap();
            assert_eq!(tally(&health, failed), [1, 0, 1, 0, 0], "at once");
            let whole = read(running.await.unwrap().unwrap()).await;
            assert!(whole.text().contains("hello"));
            let trail = whole.header("x-free-trail").unwrap().to_owned();
            assert!(
                trail.starts_with(&format!("{}=unavailable, ", failed.id())),
                "{trail}"
            );
            assert_eq!(upstream.calls(), 2, "no third one beside the other");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_both_fail_the_next_one_is_asked() {
    let (stack, _, _) = pool(&["a", "b", "c"]);
    let fails = |after| Reply::error(503).after(after);
    let upstream = Upstream::script([fails(secs(5)), fails(secs(2)), Reply::words(&["hello"])]);
    let whole = send(&stack, &upstream, asks_first(true)).await;
    assert_eq!((whole.status(), upstream.calls()), (200, 3));
    assert_eq!(whole.header("x-free-attempts"), Some("3"));
    let mut asked = upstream.asked();
    asked.sort();
    assert_eq!(asked, ["a/m", "b/m", "c/m"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_call_is_one_of_the_budget() {
    for (budget, calls) in [(1, 1), (2, 2)] {
        let (stack, _, _) = pool(&["a", "b", "c"]);
        let stack = stack.fallback(|f| f.max_attempts(budget));
        let upstream = Upstream::script([Reply::error(503).after(secs(5))]);
        let whole = send(&stack, &upstream, asks_first(true)).await;
        assert_eq!((whole.status(), upstream.calls()), (503, calls));
        let attempts = calls.to_string();
        assert_eq!(whole.header("x-free-attempts"), Some(attempts.as_str()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_for_both_tells_of_both() {
    let (stack, health, targets) = pool(&["a", "b"]);
    let stack = stack.fallback(|f| f.deadline(secs(10)));
    let upstream = Upstream::script([Reply::hang()]);
    let whole = send(&stack, &upstream, asks_first(true)).await;
    assert_eq!((whole.status(), upstream.calls()), (504, 2));
    assert_eq!(
        whole.header("x-free-trail"),
        Some("a/m=too_slow, b/m=abandoned")
    );
    assert_eq!(tally(&health, &targets[0]), [1, 0, 1, 0, 0]);
    assert_eq!(tally(&health, &targets[1]), [1, 0, 0, 1, 0]);
    assert_eq!(upstream.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_second_target_the_first_goes_on() {
    let cools = |health: &HealthMap, target: &Target| {
        let outcome = Outcome::of(OutcomeKind::Unavailable);
        health.begin(target).unwrap().fail(&outcome);
    };
    for max_wait in [secs(0), secs(60)] {
        for providers in [&["a"][..], &["a", "b"]] {
            let (stack, health, targets) = pool(providers);
            let stack = stack.fallback(|f| f.max_wait(max_wait));
            if let Some(second) = targets.get(1) {
                cools(&health, second);
                // Its guess is over, and it is in probation.
                tokio::time::sleep(secs(2)).await;
            }
            let upstream = Upstream::script([late(true, "hello", secs(15))]);
            let whole = send(&stack, &upstream, asks_first(true)).await;
            assert!(
                whole.text().contains("hello"),
                "{providers:?} {max_wait:?} {whole:?}"
            );
            assert_eq!(upstream.calls(), 1);
            assert_eq!(whole.header("x-free-attempts"), Some("1"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_alone() {
    let (stack, health, targets) = pool(&["a", "b"]);
    let outcome = Outcome::of(OutcomeKind::Unavailable);
    health.begin(&targets[0]).unwrap().fail(&outcome);
    tokio::time::sleep(secs(5)).await;
    let upstream = Upstream::script([late(true, "hello", secs(15))]);
    let whole = send(&stack, &upstream, asks_first(true)).await;
    assert!(whole.text().contains("hello"));
    assert_eq!(upstream.asked(), ["a/m"]);
}

#[tokio::test(start_paused = true)]
async fn no_more_second_calls_are_made_than_the_share_of_requests() {
    for (share, hedged) in [(0.0, 0), (0.1, 1 + 3), (1.0, 30)] {
        let (stack, health, targets) = pool(&["a", "b"]);
        let stack = stack.fallback(|f| f.hedge(share));
        let upstream = Upstream::new(|seen| match seen.target().as_str() {
            "a/m" => Reply::hang(),
            _ => Reply::words(&["hello"]),
        });
        for _ in 0..30 {
            let whole = send(&stack, &upstream, asks_first(true)).await;
            assert_eq!(whole.status(), 200);
            health.reset(targets[0].id());
        }
        let [started, _, _, abandoned, _] = tally(&health, &targets[0]);
        assert_eq!((started, abandoned), (30, hedged), "{share}");
    }
}

#[derive(Clone, Debug)]
enum Way {
    Answers(u64),
    Fails(u64),
    Hangs,
    Breaks(u64),
    Unreachable(u64),
}

impl Way {
    fn reply(&self, stream: bool) -> Reply {
        match *self {
            Self::Answers(after) => late(stream, "hello", millis(after)),
            Self::Fails(after) => Reply::error(503).after(millis(after)),
            Self::Hangs => Reply::hang(),
            Self::Breaks(after) => {
                let mut reply = late(stream, "hello", millis(after));
                reply.steps.truncate(1);
                reply.steps.push(Step::Break);
                reply
            }
            Self::Unreachable(after) => Reply::unreachable().after(millis(after)),
        }
    }
}

fn way() -> impl Strategy<Value = Way> {
    let after = || 0..20_000_u64;
    prop_oneof![
        3 => after().prop_map(Way::Answers),
        1 => after().prop_map(Way::Fails),
        1 => Just(Way::Hangs),
        1 => after().prop_map(Way::Breaks),
        1 => after().prop_map(Way::Unreachable),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_call_ends_once_whichever_wins_and_whenever_the_caller_leaves(
        ways in prop::collection::vec(way(), 2..6),
        stream in any::<bool>(),
        leaves in prop::option::of(0..40_000_u64),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let (stack, health, targets) = pool(&["a", "b", "c", "d"]);
            let upstream = Upstream::script(ways.iter().map(|way| way.reply(stream)));
            let service = stack.layer(upstream.clone());
            let request = async {
                let Ok(response) = service.oneshot(asks_first(stream)).await else {
                    return None;
                };
                let attempts: usize = response.headers()["x-free-attempts"].to_str().unwrap().parse().unwrap();
                let status = response.status();
                if status == 200 {
                    assert_eq!(upstream.alive(), usize::from(stream), "only the winner is left");
                }
                let _ = response.into_body().collect().await;
                Some((status, attempts))
            };
            let limit = leaves.map_or(secs(3600), millis);
            let ended = tokio::time::timeout(limit, request).await;
            let tallies: Vec<_> = targets.iter().map(|target| tally(&health, target)).collect();
            let sum = |of: usize| tallies.iter().map(|tally| tally[of]).sum::<u64>();
            assert_eq!((sum(4), upstream.alive()), (0, 0), "nothing is left in flight: {tallies:?}");
            assert_eq!(sum(0), upstream.calls() as u64, "each call is one attempt");
            assert!(sum(1) <= 1, "one answer at most");
            if let Ok(Some((status, attempts))) = ended {
                assert_eq!(attempts, upstream.calls());
                let answers = ways.iter().take(attempts).any(|way| matches!(way, Way::Answers(_)));
                assert!(status != 200 || answers, "an answer comes from an upstream");
            }
        });
    }
}
