//! Readiness is kept: `poll_ready` forwards, every attempt is made by an instance that is ready for it, and
//! nothing readied is held while something else is waited for.

use std::{iter, time::Duration};

use crate::support::probe::*;
use crate::support::*;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, buffer::Buffer, limit::ConcurrencyLimit,
    load_shed::LoadShed, util::BoxCloneSyncService,
};
use tower_free_models::{
    AttemptSlot, Body, Catalog, FallbackLayer, FreeModelRouteLayer, HealthMap, Target,
};
use tower_test::mock;

type Answer = Response<UnsyncBoxBody<bytes::Bytes, BoxError>>;
type Boxed = BoxCloneSyncService<Request<Upload>, Answer, BoxError>;

fn boxed<S, B>(service: S) -> Boxed
where
    S: Service<Request<Upload>, Response = Response<B>, Error = BoxError>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    BoxCloneSyncService::new(service.map_response(|response: Response<B>| {
        response.map(|body| body.map_err(Into::into).boxed_unsync())
    }))
}

/// Fills the slot in place of our router, so that the fallback can be looked at alone.
fn standing_in(
    pool: Vec<Target>,
    health: HealthMap,
) -> impl Fn(Request<Body>) -> Request<Body> + Clone + Send + Sync + 'static {
    move |request| {
        let slot = request
            .extensions()
            .get::<AttemptSlot>()
            .expect("a slot for each attempt");
        if let Some(attempt) = pool
            .iter()
            .find(|target| slot.may_try(target))
            .and_then(|target| health.begin(target))
        {
            slot.fill(attempt);
        }
        request
    }
}

fn pool() -> Vec<Target> {
    targets(&["a", "b", "c", "d"], &["m"])
}

/// Every service of this crate.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Route,
    Fallback,
    Stack,
}

use Kind::{Fallback, Route, Stack};

impl Kind {
    const ALL: [Self; 3] = [Route, Fallback, Stack];
    /// Those that make several attempts for one request.
    const RETRYING: [Self; 2] = [Fallback, Stack];

    fn over(self, probe: &Probe) -> Boxed {
        self.with(probe, |fallback| fallback)
    }

    fn with(self, probe: &Probe, change: impl FnOnce(FallbackLayer) -> FallbackLayer) -> Boxed {
        let health = HealthMap::seeded(7);
        let route = FreeModelRouteLayer::new(Catalog::from_targets(pool()), health.clone()).seed(7);
        let fallback = change(FallbackLayer::new());
        match self {
            Route => boxed(route.layer(probe.clone())),
            Fallback => boxed(
                ServiceBuilder::new()
                    .layer(fallback)
                    .map_request(standing_in(pool(), health))
                    .service(probe.clone()),
            ),
            Stack => boxed(fallback.layer(route.layer(probe.clone()))),
        }
    }
}

/// So many failures, and then this.
fn failing(times: usize, then: Reply) -> Upstream {
    Upstream::script(iter::repeat_n(Reply::error(503), times).chain([then]))
}

// ===== the contract =====

#[tokio::test(start_paused = true)]
async fn every_attempt_is_made_by_an_instance_that_is_ready() {
    for kind in Kind::ALL {
        for body in [at_once(CHAT), in_pieces(CHAT, 3)] {
            for failures in 0..3 {
                let probe = Probe::new(failing(failures, Reply::answer("hello")));
                let mut service = kind.over(&probe);
                let mut last = service
                    .ready()
                    .await
                    .unwrap()
                    .call(upload(body.clone()))
                    .await;
                if kind == Route {
                    // The router makes one attempt for a request, so here each attempt is a request.
                    for _ in 0..failures {
                        last = service
                            .ready()
                            .await
                            .unwrap()
                            .call(upload(body.clone()))
                            .await;
                    }
                }
                assert_eq!(last.unwrap().status(), 200, "{kind:?}");
                assert_eq!(probe.called().len(), failures + 1, "{kind:?}");
                assert_eq!(probe.held(), 0, "{kind:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_readied_instance_makes_the_first_call_if_the_body_is_there() {
    for kind in Kind::ALL {
        let probe = Probe::new(failing(0, Reply::answer("hello")));
        let mut service = kind.over(&probe);
        service.ready().await.unwrap();
        let (polls, readied) = (probe.polls(), probe.held());
        assert_eq!(readied, 1);
        let response = service.call(upload(at_once(CHAT))).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(probe.polls(), polls, "{kind:?} asked a second time");
        assert_eq!(probe.held(), 0, "{kind:?} called another one");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_routed_is_passed_to_the_readied_instance() {
    for kind in Kind::ALL {
        let probe = Probe::new(failing(0, Reply::answer("hello")));
        let mut service = if kind == Fallback {
            boxed(FallbackLayer::new().layer(probe.clone()))
        } else {
            kind.over(&probe)
        };
        let mut request = upload(at_once("{}"));
        *request.method_mut() = http::Method::PUT;
        service.ready().await.unwrap();
        let polls = probe.polls();
        let _ = service.call(request).await.unwrap();
        assert_eq!(
            (probe.called().len(), probe.polls()),
            (1, polls),
            "{kind:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_late_is_sent_by_a_clone_that_became_ready_since() {
    for kind in Kind::ALL {
        let probe = Probe::new(failing(0, Reply::answer("hello")));
        let mut service = kind.over(&probe);
        service.ready().await.unwrap();
        let polls = probe.polls();
        let response = service.call(upload(in_pieces(CHAT, 2))).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(probe.polls(), polls + 1, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_may_be_polled_ready_again_and_again() {
    for kind in Kind::ALL {
        let probe = Probe::new(failing(1, Reply::answer("hello")));
        let mut service = kind.over(&probe);
        for _ in 0..3 {
            service.ready().await.unwrap();
        }
        assert_eq!(probe.held(), 1, "{kind:?} holds one place");
        let _ = service.call(upload(at_once(CHAT))).await.unwrap();
        assert_eq!(probe.held(), 0, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_is_ready_when_its_inner_one_is() {
    for kind in Kind::ALL {
        let probe = Probe::new(failing(0, Reply::answer("hello")));
        probe.close();
        let mut service = kind.over(&probe);
        let mut ready = task::spawn(service.ready());
        assert_pending!(ready.poll());
        probe.open();
        assert!(ready.is_woken(), "{kind:?}");
        assert!(assert_ready!(ready.poll()).is_ok(), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_has_refused_a_request_takes_the_next() {
    for kind in Kind::ALL {
        let probe = Probe::new(failing(0, Reply::answer("hello")));
        let mut service = kind.over(&probe);
        let mut unreadable = upload(at_once(CHAT));
        let gzip = http::HeaderValue::from_static("gzip");
        unreadable.headers_mut().insert("content-encoding", gzip);
        let refused = service.ready().await.unwrap().call(unreadable).await;
        assert_eq!(refused.unwrap().status(), 415, "{kind:?}");
        let next = service.ready().await.unwrap().call(upload(at_once(CHAT)));
        assert_eq!(next.await.unwrap().status(), 200, "{kind:?}");
        assert_eq!((probe.called().len(), probe.held()), (1, 0), "{kind:?}");
    }
}

// ===== the mock of tower-test: a clone of it is not ready until it is polled =====

type Upstreams = mock::Handle<Request<Body>, Response<Full<bytes::Bytes>>>;

fn mocked(kind: Kind) -> (Boxed, Upstreams) {
    let (mock, handle) = mock::pair::<Request<Body>, Response<Full<bytes::Bytes>>>();
    let health = HealthMap::seeded(7);
    let route = FreeModelRouteLayer::new(Catalog::from_targets(pool()), health.clone()).seed(7);
    let service = match kind {
        Route => boxed(route.layer(mock)),
        Fallback => boxed(
            ServiceBuilder::new()
                .layer(FallbackLayer::new())
                .map_request(standing_in(pool(), health))
                .service(mock),
        ),
        Stack => boxed(FallbackLayer::new().layer(route.layer(mock))),
    };
    (service, handle)
}

fn reply(status: u16) -> Response<Full<bytes::Bytes>> {
    let reply = if status == 200 {
        Reply::answer("hello")
    } else {
        Reply::error(status)
    };
    let body = match &reply.steps[..] {
        [Step::Data(data)] => data.clone(),
        _ => unreachable!("a reply in one piece"),
    };
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::new(body))
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_attempt_waits_until_the_inner_service_is_ready_for_it() {
    for kind in Kind::RETRYING {
        for body in [at_once(CHAT), in_pieces(CHAT, 3)] {
            let late = body.len() > 1;
            let (mut service, mut upstreams) = mocked(kind);
            upstreams.allow(1);
            service.ready().await.unwrap();
            upstreams.allow(0);
            let mut response = task::spawn(service.call(upload(body)));
            for _ in 0..6 {
                assert_pending!(response.poll());
                tokio::time::advance(LATE).await;
            }
            for (attempt, status) in [503, 429, 200].into_iter().enumerate() {
                // The instance that was ready makes the first call, if the body was there.
                if attempt > 0 || late {
                    assert_pending!(response.poll());
                    let mut waiting = task::spawn(upstreams.next_request());
                    assert_pending!(waiting.poll(), "{kind:?}: attempt {attempt} came too soon");
                    drop(waiting);
                    upstreams.allow(1);
                    assert_pending!(response.poll());
                }
                let (_, answer) = upstreams.next_request().await.expect("a request");
                upstreams.allow(0);
                answer.send_response(reply(status));
            }
            assert_eq!(assert_ready_ok!(response.poll()).status(), 200, "{kind:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_router_waits_until_the_inner_service_is_ready_for_a_late_body() {
    let (mut service, mut upstreams) = mocked(Route);
    upstreams.allow(1);
    service.ready().await.unwrap();
    let mut response = task::spawn(service.call(upload(in_pieces(CHAT, 1))));
    assert_pending!(response.poll());
    upstreams.allow(0);
    tokio::time::advance(LATE).await;
    assert_pending!(response.poll());
    upstreams.allow(1);
    assert!(response.is_woken());
    assert_pending!(response.poll());
    let (_, answer) = upstreams.next_request().await.expect("a request");
    answer.send_response(reply(200));
    assert_eq!(assert_ready_ok!(response.poll()).status(), 200);
}

// ===== nothing readied is held =====

#[tokio::test(start_paused = true)]
async fn nothing_readied_is_held_while_an_upload_stalls() {
    for kind in Kind::ALL {
        let probe = Probe::new(failing(0, Reply::answer("hello")));
        let mut service = kind.over(&probe);
        service.ready().await.unwrap();
        let mut response = task::spawn(service.call(upload(stalled(CHAT))));
        assert_pending!(response.poll());
        assert_eq!(probe.held(), 0, "{kind:?}");
    }
}

/// Polls a request once, over an upstream that comes to a halt at the given attempt.
async fn nothing_is_held_at(halt: Reply, change: impl Fn(FallbackLayer) -> FallbackLayer) {
    for kind in Kind::RETRYING {
        for failures in 0..3 {
            let probe = Probe::new(failing(failures, halt.clone()));
            let mut service = kind.with(&probe, &change);
            service.ready().await.unwrap();
            let mut response = task::spawn(service.call(upload(at_once(CHAT))));
            assert_pending!(response.poll());
            assert_eq!(probe.called().len(), failures + 1, "{kind:?}");
            assert_eq!(probe.held(), 0, "{kind:?}, attempt {failures}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_readied_is_held_while_an_attempt_is_under_way() {
    nothing_is_held_at(Reply::hang(), |fallback| fallback).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_readied_is_held_while_an_error_is_read() {
    let mut slow = Reply::error(503);
    slow.steps.push(Step::Hang);
    nothing_is_held_at(slow, |fallback| fallback).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_readied_is_held_while_an_answer_is_looked_at() {
    nothing_is_held_at(Reply::stream([comment(), Step::Hang]), |fallback| fallback).await;
    let mut slow = Reply::answer("hello");
    slow.steps.push(Step::Hang);
    nothing_is_held_at(slow, |fallback| fallback).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_readied_is_held_while_a_recovery_is_waited_for() {
    let probe = Probe::new(Upstream::script([
        Reply::error(429).header("retry-after", "5"),
        Reply::answer("hello"),
    ]));
    let (stack, _) = seeded(targets(&["a"], &["m"]));
    let stack = stack.fallback(|fallback| fallback.max_wait(Duration::from_secs(10)));
    let mut service = boxed(stack.layer(probe.clone()));
    service.ready().await.unwrap();
    let mut response = task::spawn(service.call(upload(at_once(CHAT))));
    assert_pending!(response.poll());
    assert_eq!((probe.upstream.calls(), probe.held()), (1, 0));
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(assert_ready_ok!(response.poll()).status(), 200);
}

// ===== readiness that does not come =====

#[tokio::test(start_paused = true)]
async fn readiness_that_never_comes_ends_at_the_deadline() {
    let deadline = Duration::from_secs(20);
    for kind in Kind::RETRYING {
        // For a late body that is the first attempt, else the second.
        for (body, late, attempts) in [
            (in_pieces(CHAT, 1), LATE, "0"),
            (at_once(CHAT), Duration::ZERO, "1"),
        ] {
            let probe = Probe::new(failing(0, Reply::error(503).after(Duration::from_secs(1))));
            let mut service = kind.with(&probe, |fallback| fallback.deadline(deadline));
            service.ready().await.unwrap();
            let began = Instant::now();
            let mut response = task::spawn(service.call(upload(body)));
            assert_pending!(response.poll());
            probe.close();
            let response = tokio::time::timeout(2 * deadline, response).await;
            let response = read(response.expect("an end").unwrap()).await;
            assert_eq!(response.status(), 504, "{kind:?}");
            let error = &response.json()["error"];
            assert_eq!(error["code"], "deadline_exceeded");
            assert!(
                !error["message"].as_str().unwrap().contains(": )"),
                "{error}"
            );
            assert_eq!(response.header("x-free-attempts"), Some(attempts));
            assert_eq!(began.elapsed(), deadline + late, "{kind:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_readiness_goes_to_the_caller_as_it_is() {
    for kind in Kind::ALL {
        let probe = Probe::new(failing(0, Reply::error(503).after(Duration::from_secs(1))));
        let mut service = kind.over(&probe);
        service.ready().await.unwrap();
        let late = task::spawn(service.call(upload(in_pieces(CHAT, 1))));
        service.ready().await.unwrap();
        let mut again = task::spawn(service.call(upload(at_once(CHAT))));
        assert_pending!(again.poll());
        probe.break_down();
        let mut errors = vec![
            service.ready().await.map(|_| ()).unwrap_err(),
            late.await.map(|_| ()).unwrap_err(),
        ];
        if kind != Route {
            errors.push(again.await.map(|_| ()).unwrap_err());
        }
        for error in errors {
            assert_eq!(error.downcast_ref(), Some(&NeverReady), "{kind:?}");
        }
    }
}

// ===== over tower's own layers =====

/// Sends a few requests at a time, of which many need several attempts.
async fn all_are_answered(service: Boxed, requests: usize) {
    let tasks: Vec<_> = (0..requests)
        .map(|i| {
            let body = if i % 2 == 0 {
                at_once(CHAT)
            } else {
                in_pieces(CHAT, 3)
            };
            tokio::spawn(service.clone().oneshot(upload(body)))
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), 200);
    }
}

fn over<S>(inner: S) -> Boxed
where
    S: Service<Request<Body>, Response = Response<ScriptedBody>, Error = BoxError>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let (stack, _) = seeded(targets(&["a", "b", "c"], &["m", "n"]));
    boxed(stack.layer(inner))
}

#[tokio::test(start_paused = true)]
async fn several_attempts_complete_over_a_buffer() {
    let probe = Probe::new(failing(2, Reply::answer("hello")));
    all_are_answered(over(Buffer::new(probe.clone(), 1)), 20).await;
    assert_eq!(probe.called().len(), 22);
}

#[tokio::test(start_paused = true)]
async fn several_attempts_complete_over_one_place() {
    let probe = Probe::new(failing(2, Reply::answer("hello").after(LATE)));
    all_are_answered(over(ConcurrencyLimit::new(probe.clone(), 1)), 20).await;
    assert_eq!(probe.called().len(), 22);
}

#[tokio::test(start_paused = true)]
async fn several_attempts_complete_over_load_shedding() {
    let probe = Probe::new(failing(2, Reply::answer("hello")));
    let service = over(LoadShed::new(probe.clone()));
    all_are_answered(service, 1).await;
    assert_eq!(probe.called().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_taken_is_shed_as_the_inner_services_own_error() {
    let limited = ServiceBuilder::new()
        .load_shed()
        .concurrency_limit(1)
        .service(Probe::new(failing(0, Reply::hang())));
    let service = over(limited);
    let mut first = task::spawn(service.clone().oneshot(upload(at_once(CHAT))));
    assert_pending!(first.poll());
    let shed = service.oneshot(upload(at_once(CHAT))).await.unwrap_err();
    assert!(shed.is::<tower::load_shed::error::Overloaded>(), "{shed}");
}

async fn a_second_request_completes_beside(first: Vec<Step>, replies: Vec<Reply>) {
    let probe = Probe::new(Upstream::script(replies));
    let service = over(ConcurrencyLimit::new(probe, 1));
    let mut first = task::spawn(service.clone().oneshot(upload(first)));
    assert_pending!(first.poll());
    let mut second = task::spawn(service.oneshot(upload(at_once(CHAT))));
    assert_eq!(assert_ready_ok!(second.poll()).status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_upload_takes_no_place() {
    a_second_request_completes_beside(stalled(CHAT), vec![Reply::answer("hello")]).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_error_takes_no_place() {
    let mut slow = Reply::error(503);
    slow.steps.push(Step::Hang);
    a_second_request_completes_beside(at_once(CHAT), vec![slow, Reply::answer("hello")]).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_takes_no_place() {
    let slow = Reply::stream([comment(), Step::Hang]);
    a_second_request_completes_beside(at_once(STREAMED_CHAT), vec![slow, Reply::answer("hello")])
        .await;
}
