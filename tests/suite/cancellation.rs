//! A caller that goes away: dropping the response future or the response body, after any number of polls and in
//! every stage, drops the upstream and leaves nothing behind.

use std::{
    future::poll_fn,
    iter,
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use crate::support::probe::*;
use crate::support::*;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimit};
use tower_free_models::{
    AttemptSlot, Body, Catalog, FallbackLayer, FreeModelRouteLayer, HealthMap, Stack,
    classify::{Outcome, OutcomeKind},
    health::TargetState,
};

/// Polls a future so many times, whenever it is woken, and then drops it.
async fn polled<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Polls a body so many times, whenever it is woken, and then drops it. Says whether it came to its end.
async fn body_polled<B: http_body::Body>(body: B, times: usize) -> bool {
    let mut body = Box::pin(body);
    let mut left = times;
    poll_fn(|cx| {
        while left > 0 {
            left -= 1;
            match body.as_mut().poll_frame(cx) {
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Pending if left > 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(false)
    })
    .await
}

/// One way for a request to take its time.
#[derive(Clone)]
struct Stage {
    targets: &'static [&'static str],
    body: Vec<Step>,
    /// How often an instance of the inner service is pending before it is ready.
    unready: usize,
    replies: Vec<Reply>,
    max_wait: Duration,
    /// Each target is in probation, so that an attempt needs its lease.
    probation: bool,
}

impl Stage {
    fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self {
            targets: &["m"],
            body: at_once(CHAT),
            unready: 0,
            replies: replies.into_iter().collect(),
            max_wait: Duration::ZERO,
            probation: false,
        }
    }

    async fn world(&self) -> World {
        let targets = targets(&["a"], self.targets);
        let (stack, health) = seeded(targets.clone());
        let length = CHAT.len().max(STREAMED_CHAT.len()) as u64;
        let stack = stack.fallback(|fallback| {
            fallback
                .max_wait(self.max_wait)
                .max_bodies_in_flight(length)
        });
        if self.probation {
            for target in &targets {
                let attempt = health.begin(target).expect("nobody is known yet");
                attempt.fail(&Outcome::of(OutcomeKind::Unavailable));
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        World {
            before: tallies(&health),
            stack,
            health,
            targets,
            probe: Probe::new(Upstream::script(self.replies.clone())).pending(self.unready),
        }
    }

    /// Drops the response future after every number of polls; says how many were possible.
    async fn drop_the_future_after_every_poll(&self) -> usize {
        for polls in 0..1000 {
            let world = self.world().await;
            let service = world.stack.layer(world.probe.clone());
            let response = polled(service.oneshot(upload(self.body.clone())), polls).await;
            let completed = response.is_some();
            drop(response);
            world.has_forgotten_the_caller(polls).await;
            if completed {
                return polls;
            }
        }
        panic!("the request never completed");
    }

    /// Drops the response body after every number of polls; says how many were possible.
    async fn drop_the_body_after_every_poll(&self) -> usize {
        for polls in 0..1000 {
            let world = self.world().await;
            let service = world.stack.layer(world.probe.clone());
            let response = service.oneshot(upload(self.body.clone())).await.unwrap();
            assert_eq!(response.status(), 200);
            let completed = body_polled(response.into_body(), polls).await;
            world.has_forgotten_the_caller(polls).await;
            if completed {
                return polls;
            }
        }
        panic!("the body never came to its end");
    }
}

struct World {
    stack: Stack,
    health: HealthMap,
    targets: Vec<tower_free_models::Target>,
    probe: Probe,
    before: Vec<Counts>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Counts {
    succeeded: u64,
    failed: u64,
    rate: Option<f64>,
}

fn tallies(health: &HealthMap) -> Vec<Counts> {
    let snapshot = health.snapshot();
    let counts = snapshot.targets.iter().map(|target| Counts {
        succeeded: target.tally.succeeded,
        failed: target.tally.failed,
        rate: target.success_rate,
    });
    counts.collect()
}

impl World {
    async fn has_forgotten_the_caller(&self, polls: usize) {
        let at = format!("after {polls} polls");
        assert_eq!(self.probe.upstream.alive(), 0, "the upstream lives {at}");
        assert_eq!(self.probe.held(), 0, "a place is held {at}");
        let snapshot = self.health.snapshot();
        let before = self.before.iter().copied().map(Some);
        let before = before.chain(iter::repeat(None));
        for (target, before) in snapshot.targets.iter().zip(before) {
            let tally = target.tally;
            assert_eq!(tally.in_flight(), 0, "{} is in flight {at}", target.id);
            assert_ne!(target.state, TargetState::Probing, "{at}");
            let before = before.unwrap_or(Counts {
                succeeded: 0,
                failed: 0,
                rate: None,
            });
            if (tally.succeeded, tally.failed) == (before.succeeded, before.failed) {
                // It was abandoned, if it was tried at all.
                assert_eq!(target.success_rate, before.rate, "{at}");
                assert_eq!(target.cooling, None, "{at}");
                let again = self.targets.iter().find(|known| *known.id() == target.id);
                let again = again.and_then(|target| self.health.begin(target));
                assert!(again.is_some(), "{} is not to be had {at}", target.id);
            }
        }
        // The bytes are given back: there is room for one request at a time.
        tokio::time::sleep(Duration::from_secs(300)).await;
        let upstream = Upstream::script([Reply::answer("hello")]);
        let next = send(&self.stack, &upstream, post("/v1/chat/completions", CHAT)).await;
        assert_eq!(next.status(), 200, "{at}: {}", next.text());
    }
}

/// The stage, with targets that nothing is known of and with targets in probation.
async fn future_dropped_anywhere(stage: Stage, at_least: usize) {
    for probation in [false, true] {
        let polls = Stage {
            probation,
            ..stage.clone()
        }
        .drop_the_future_after_every_poll()
        .await;
        assert!(polls >= at_least, "only {polls} polls");
    }
}

async fn body_dropped_anywhere(stage: Stage, at_least: usize) {
    for probation in [false, true] {
        let polls = Stage {
            probation,
            ..stage.clone()
        }
        .drop_the_body_after_every_poll()
        .await;
        assert!(polls >= at_least, "only {polls} polls");
    }
}

fn slow(mut reply: Reply, pieces: usize) -> Reply {
    let Some(Step::Data(body)) = reply.steps.pop() else {
        unreachable!("a reply in one piece");
    };
    reply.steps = in_pieces(body, pieces);
    reply
}

fn slow_stream() -> Reply {
    let events = [
        comment(),
        comment(),
        role(),
        delta("a"),
        delta("b"),
        finish(),
        done(),
    ];
    let pause = iter::repeat(Step::Pause(LATE));
    Reply::stream(pause.zip(events).flat_map(|(pause, event)| [pause, event]))
}

// ===== the response future =====

#[tokio::test(start_paused = true)]
async fn while_collecting() {
    let stage = Stage {
        body: in_pieces(CHAT, 5),
        ..Stage::new([Reply::answer("hello")])
    };
    future_dropped_anywhere(stage, 6).await;
}

#[tokio::test(start_paused = true)]
async fn while_readying() {
    let stage = Stage {
        unready: 3,
        body: in_pieces(CHAT, 1),
        ..Stage::new([Reply::answer("hello")])
    };
    future_dropped_anywhere(stage, 7).await;
}

#[tokio::test(start_paused = true)]
async fn while_readying_for_another_attempt() {
    let stage = Stage {
        unready: 3,
        targets: &["m", "n"],
        ..Stage::new([Reply::error(503), Reply::answer("hello")])
    };
    future_dropped_anywhere(stage, 7).await;
}

#[tokio::test(start_paused = true)]
async fn while_calling() {
    let stage = Stage {
        targets: &["m", "n", "o"],
        ..Stage::new([
            Reply::unreachable().after(LATE),
            Reply::error(429).after(LATE),
            Reply::answer("hello").after(LATE),
        ])
    };
    future_dropped_anywhere(stage, 4).await;
}

#[tokio::test(start_paused = true)]
async fn while_peeking_at_a_stream() {
    let stage = Stage {
        body: at_once(STREAMED_CHAT),
        ..Stage::new([slow_stream()])
    };
    future_dropped_anywhere(stage, 5).await;
}

#[tokio::test(start_paused = true)]
async fn while_peeking_at_an_answer() {
    future_dropped_anywhere(Stage::new([slow(Reply::answer("hello"), 5)]), 6).await;
}

#[tokio::test(start_paused = true)]
async fn while_draining() {
    let stage = Stage {
        targets: &["m", "n"],
        ..Stage::new([slow(Reply::error(503), 5), Reply::answer("hello")])
    };
    future_dropped_anywhere(stage, 6).await;
}

#[tokio::test(start_paused = true)]
async fn while_waiting_for_a_stated_recovery() {
    let stage = Stage {
        max_wait: Duration::from_secs(60),
        ..Stage::new([
            Reply::error(429).header("retry-after", "5"),
            Reply::answer("hello"),
        ])
    };
    future_dropped_anywhere(stage, 2).await;
}

#[tokio::test(start_paused = true)]
async fn while_waiting_for_the_probe_of_another() {
    let world = Stage {
        probation: true,
        max_wait: Duration::from_secs(60),
        ..Stage::new([Reply::answer("hello")])
    }
    .world()
    .await;
    let probe = world.health.begin(&world.targets[0]).expect("a probe");
    for polls in 0..3 {
        let service = world.stack.layer(world.probe.clone());
        // Each time the request is woken there is nobody to be had still.
        let mut response = task::spawn(service.oneshot(upload(at_once(CHAT))));
        for _ in 0..polls {
            assert_pending!(response.poll());
        }
        drop(response);
        let state = world.health.snapshot().targets[0].state;
        assert_eq!(state, TargetState::Probing, "the lease is the other one's");
    }
    drop(probe);
    world.has_forgotten_the_caller(0).await;
}

// ===== the response body =====

#[tokio::test(start_paused = true)]
async fn within_a_stream() {
    let stage = Stage {
        body: at_once(STREAMED_CHAT),
        ..Stage::new([slow_stream()])
    };
    body_dropped_anywhere(stage, 7).await;
}

#[tokio::test(start_paused = true)]
async fn within_a_stream_after_a_failure() {
    let stage = Stage {
        body: at_once(STREAMED_CHAT),
        targets: &["m", "n"],
        ..Stage::new([Reply::error(503), slow_stream()])
    };
    body_dropped_anywhere(stage, 7).await;
}

#[tokio::test(start_paused = true)]
async fn within_a_stream_that_breaks_off() {
    let pieces = [delta("a"), Step::Pause(LATE), delta("b"), Step::Break];
    let stage = Stage {
        body: at_once(STREAMED_CHAT),
        ..Stage::new([Reply::stream(pieces)])
    };
    body_dropped_anywhere(stage, 4).await;
}

#[tokio::test(start_paused = true)]
async fn within_a_body_that_is_not_looked_at() {
    let audio = slow(Reply::new(200, "audio/mpeg", "a few bytes of sound"), 5);
    body_dropped_anywhere(Stage::new([audio]), 6).await;
}

#[tokio::test(start_paused = true)]
async fn before_a_whole_answer_is_read() {
    body_dropped_anywhere(Stage::new([Reply::answer("hello")]), 2).await;
}

// ===== what is counted =====

#[tokio::test(start_paused = true)]
async fn an_attempt_whose_caller_went_away_is_counted_as_abandoned() {
    let (stack, health) = seeded(targets(&["a"], &["m"]));
    let upstream = Upstream::script([Reply::hang(), slow_stream()]);
    let service = stack.layer(upstream.clone());
    let mut response = task::spawn(service.clone().oneshot(upload(at_once(CHAT))));
    assert_pending!(response.poll());
    drop(response);
    let response = service.oneshot(upload(at_once(STREAMED_CHAT))).await;
    drop(response.unwrap());
    let tally = health.snapshot().targets[0].tally;
    assert_eq!((tally.started, tally.abandoned), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_keeps_the_request_does_not_keep_the_attempt() {
    // The recorded requests, with all their extensions, live as long as the upstream.
    let (stack, health) = seeded(targets(&["a"], &["m"]));
    let upstream = Upstream::script([Reply::hang()]);
    let mut response = task::spawn(stack.layer(upstream.clone()).oneshot(upload(at_once(CHAT))));
    assert_pending!(response.poll());
    drop(response);
    assert_eq!(upstream.calls(), 1);
    assert_eq!(health.snapshot().targets[0].tally.abandoned, 1);
}

/// A router that leaves the slot in the request.
fn other_router<F: Fn(&AttemptSlot) + Clone + Send + 'static>(
    upstream: &Upstream,
    slots: &Arc<Mutex<Vec<AttemptSlot>>>,
    fill: F,
) -> impl Service<Request<Body>, Response = Response<ScriptedBody>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ use<F> {
    let slots = Arc::clone(slots);
    ServiceBuilder::new()
        .map_request(move |request: Request<Body>| {
            let slot = request.extensions().get::<AttemptSlot>().unwrap();
            fill(slot);
            slots.lock().unwrap().push(slot.clone());
            request
        })
        .service(upstream.clone())
}

#[tokio::test(start_paused = true)]
async fn another_router_that_keeps_the_slot_does_not_keep_the_attempt() {
    let (target, health) = (target(&provider("a"), "m"), HealthMap::seeded(7));
    let (slots, upstream) = (Arc::default(), Upstream::script([Reply::hang()]));
    let map = health.clone();
    let router = other_router(&upstream, &slots, move |slot| {
        slot.fill(map.begin(&target).unwrap());
    });
    let service = FallbackLayer::new().layer(router);
    let mut response = task::spawn(service.oneshot(upload(at_once(CHAT))));
    assert_pending!(response.poll());
    drop(response);
    assert_eq!(health.snapshot().targets[0].tally.abandoned, 1);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_filled_after_the_caller_went_away_keeps_nothing() {
    let (target, health) = (target(&provider("a"), "m"), HealthMap::seeded(7));
    let (slots, upstream) = (Arc::default(), Upstream::script([Reply::hang()]));
    let service = FallbackLayer::new().layer(other_router(&upstream, &slots, |_| {}));
    let mut response = task::spawn(service.oneshot(upload(at_once(CHAT))));
    assert_pending!(response.poll());
    drop(response);
    slots.lock().unwrap()[0].fill(health.begin(&target).unwrap());
    assert_eq!(health.snapshot().targets[0].tally.abandoned, 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_after_the_last_event_has_had_its_answer() {
    let (Step::Data(text), Step::Data(end)) = (delta("a"), done()) else {
        unreachable!("events are data");
    };
    let in_one_piece = Step::Data([text, end].concat().into());
    for (steps, polls) in [
        (vec![delta("a"), finish(), Step::Hang], 3),
        (vec![delta("a"), done(), Step::Hang], 3),
        (vec![in_one_piece, Step::Hang], 2),
    ] {
        let (stack, health) = seeded(targets(&["a"], &["m"]));
        let service = stack.layer(Upstream::script([Reply::stream(steps)]));
        let response = service.oneshot(upload(at_once(STREAMED_CHAT))).await;
        // As clients do that know the end when they see it.
        assert!(!body_polled(response.unwrap().into_body(), polls).await);
        let target = &health.snapshot().targets[0];
        assert_eq!((target.tally.succeeded, target.tally.abandoned), (1, 0));
        assert_eq!(target.success_rate, Some(1.0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_at_an_error_event_does_not_hide_it() {
    let error = event(&serde_json::json!({ "error": { "message": "overloaded", "code": 503 } }));
    let (stack, health) = seeded(targets(&["a"], &["m"]));
    let service = stack.layer(Upstream::script([Reply::stream([
        delta("a"),
        error,
        Step::Hang,
    ])]));
    let response = service.oneshot(upload(at_once(STREAMED_CHAT))).await;
    // As OpenAI's own clients do.
    assert!(!body_polled(response.unwrap().into_body(), 2).await);
    let target = &health.snapshot().targets[0];
    assert_eq!((target.tally.failed, target.tally.abandoned), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_bytes_of_a_request_are_counted_once_for_all_its_attempts() {
    // An upstream that keeps what it was sent, as one does that is still sending it.
    let (stack, _) = seeded(targets(&["a", "b", "c"], &["m"]));
    let room = CHAT.len() as u64;
    let stack = stack.fallback(|fallback| fallback.max_bodies_in_flight(room));
    let replies = [Reply::error(503), Reply::error(503), Reply::answer("hello")];
    let upstream = Upstream::script(replies);
    let response = send(&stack, &upstream, post("/v1/chat/completions", CHAT)).await;
    assert_eq!((response.status(), upstream.calls()), (200, 3));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_the_queue_for_a_place_leaves_its_turn_to_the_next() {
    let (stack, _) = seeded(targets(&["a"], &["m"]));
    let upstream = Upstream::script([Reply::hang(), Reply::answer("hello")]);
    let service = stack.layer(ConcurrencyLimit::new(upstream.clone(), 1));
    let late = || task::spawn(service.clone().oneshot(upload(in_pieces(CHAT, 1))));
    let (mut second, mut third) = (late(), late());
    assert_pending!(second.poll());
    assert_pending!(third.poll());
    let mut first = task::spawn(service.clone().oneshot(upload(at_once(CHAT))));
    assert_pending!(first.poll());
    tokio::time::advance(2 * LATE).await;
    // Now the bodies are there, and the place is taken.
    assert_pending!(second.poll());
    assert_pending!(third.poll());
    drop(first);
    assert!(second.is_woken());
    drop(second);
    assert!(third.is_woken());
    assert_eq!(assert_ready_ok!(third.poll()).status(), 200);
}

// ===== the router alone =====

#[tokio::test(start_paused = true)]
async fn with_the_router_alone() {
    for (body, unready) in [(at_once(CHAT), 0), (in_pieces(CHAT, 4), 3)] {
        let mut completed = false;
        let mut polls = 0;
        while !completed {
            let health = HealthMap::seeded(7);
            let pool = targets(&["a"], &["m"]);
            let probe = Probe::new(Upstream::script([Reply::answer("hello").after(LATE)]));
            let probe = probe.pending(unready);
            let route =
                FreeModelRouteLayer::new(Catalog::from_targets(pool.clone()), health.clone());
            let service = route.layer(probe.clone());
            let response: Option<Result<Response<_>, _>> =
                polled(service.oneshot(upload(body.clone())), polls).await;
            completed = response.is_some();
            drop(response);
            assert_eq!((probe.upstream.alive(), probe.held()), (0, 0), "{polls}");
            if let Some(target) = health.snapshot().targets.first() {
                assert_eq!((target.tally.in_flight(), target.cooling), (0, None));
                assert_eq!(target.success_rate.is_some(), completed, "{polls}");
            }
            let next = route.layer(probe).oneshot(upload(at_once(CHAT))).await;
            assert_eq!(next.unwrap().status(), 200, "{polls}");
            polls += 1;
        }
        assert!(polls > unready + 1, "only {polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_router_alone_keeps_no_bytes_that_were_sent() {
    let sink = tower::service_fn(|request: Request<Body>| async move {
        request.into_body().collect().await?;
        std::future::pending::<Result<Response<Body>, BoxError>>().await
    });
    let catalog = Catalog::from_targets(targets(&["a"], &["m"]));
    let service = FreeModelRouteLayer::new(catalog, HealthMap::seeded(7)).layer(sink);
    let bytes = bytes::Bytes::from(CHAT.to_owned());
    let mut response = task::spawn(service.oneshot(post("/v1/chat/completions", bytes.clone())));
    assert_pending!(response.poll());
    assert!(bytes.is_unique());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_holds_bytes_back_drops_its_upstream_with_them() {
    let held = |status, kind, text: &str| {
        let steps = [text, text].map(|text| Step::Data(text.to_owned().into()));
        let steps = steps.into_iter().chain([Step::Pause(LATE), Step::Hang]);
        Reply {
            steps: steps.collect(),
            ..Reply::new(status, kind, "")
        }
    };
    // An error that is redacted, and a line of a stream whose end has not come.
    for reply in [
        held(422, "application/json", "{\"detail\":"),
        held(200, "text/event-stream", "data: {"),
    ] {
        let health = HealthMap::seeded(7);
        let upstream = Upstream::script([reply]);
        let catalog = Catalog::from_targets(targets(&["a"], &["m"]));
        let route = FreeModelRouteLayer::new(catalog, health).layer(upstream.clone());
        let response = route.oneshot(upload(at_once(CHAT))).await.unwrap();
        assert_eq!(upstream.alive(), 1);
        assert!(!body_polled(response.into_body(), 2).await);
        assert_eq!(upstream.alive(), 0);
    }
}
