//! The live catalog: when providers are asked, what their answers change, and what stays.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use crate::support::server::{Received, Server};
use crate::support::*;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode, header::HeaderMap};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_free_models::{
    Body, Catalog, HealthMap, Model, Provider,
    classify::{Outcome, OutcomeKind},
    health::TargetState,
    provider::FreeRule,
    refresh::{Refresh, Report},
    stack,
};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Free models of these ids, as OpenRouter lists them.
fn listing(ids: &[&str]) -> Reply {
    let price = json!({ "prompt": "0", "completion": "0" });
    let row = |id: &&str| json!({ "id": id, "pricing": price });
    Reply::json(
        200,
        json!({ "data": ids.iter().map(row).collect::<Vec<_>>() }),
    )
}

/// A provider whose models are free if their price says so.
fn priced(name: &str) -> Provider {
    Provider::new(name)
        .base_url(&format!("http://{name}.test/v1"))
        .key(&format!("key-of-{name}"))
        .build()
        .expect("a valid provider")
}

/// A provider whose whole listing is free by the operator's word.
fn vouched(name: &str) -> Provider {
    let provider = Provider::new(name).base_url(&format!("http://{name}.test/v1"));
    provider.free(FreeRule::All).build().expect("a provider")
}

fn pool(catalog: &Catalog) -> Vec<String> {
    let snapshot = catalog.snapshot();
    let targets = snapshot.targets().iter();
    targets.map(|target| target.id().to_string()).collect()
}

fn refresh(catalog: &Catalog, providers: &[Provider]) -> Refresh {
    let refresh = Refresh::new(catalog.clone(), HealthMap::seeded(7))
        .seed(7)
        .jitter(0.0);
    let add = |refresh: Refresh, provider: &Provider| refresh.provider(provider.clone());
    providers.iter().fold(refresh, add)
}

/// A call of an upstream: when, whom, with what.
type Call = (Duration, String, HeaderMap);

/// An upstream that notes when it is called, on a clock that only the test moves.
fn noted(
    answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
) -> (Upstream, Arc<Mutex<Vec<Call>>>) {
    let (began, calls) = (Instant::now(), Arc::new(Mutex::new(Vec::<Call>::new())));
    let upstream = Upstream::new({
        let calls = Arc::clone(&calls);
        move |seen: &Seen| {
            let host = seen.parts.uri.host().expect("a host").to_owned();
            let mut calls = calls.lock().unwrap();
            let before = calls.iter().filter(|(_, known, _)| *known == host).count();
            calls.push((began.elapsed(), host, seen.parts.headers.clone()));
            drop(calls);
            answer(seen, before)
        }
    });
    (upstream, calls)
}

/// At which second each call came.
fn times(calls: &Mutex<Vec<Call>>) -> Vec<u64> {
    let calls = calls.lock().unwrap();
    calls.iter().map(|(at, ..)| at.as_secs()).collect()
}

fn one(mut reports: Vec<Report>) -> Report {
    assert_eq!(reports.len(), 1);
    reports.remove(0)
}

// Who is asked, and what comes of it.

#[tokio::test(start_paused = true)]
async fn all_are_asked_at_once_and_brought_in_in_the_order_given() {
    let upstream = Upstream::new(|seen| match seen.parts.uri.host() {
        Some("slow.test") => listing(&["m"]).after(secs(9)),
        Some("slower.test") => listing(&["m"]).after(secs(10)),
        _ => listing(&["m"]),
    });
    let catalog = Catalog::new();
    let mut refresh = refresh(
        &catalog,
        &[priced("slower"), priced("quick"), priced("slow")],
    );
    let began = Instant::now();
    let reports = refresh.once(upstream).await;
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(pool(&catalog), ["slower/m", "quick/m", "slow/m"]);
    let named: Vec<_> = reports
        .iter()
        .map(|report| report.provider.as_str())
        .collect();
    assert_eq!(named, ["slower", "quick", "slow"]);
}

#[tokio::test(start_paused = true)]
async fn a_report_says_what_changed() {
    let upstream = Upstream::script([
        listing(&["a", "b"]),
        Reply::json(
            200,
            json!([
                { "id": "b", "pricing": { "prompt": "0", "completion": "0" } },
                { "id": "c", "pricing": { "prompt": "0", "completion": "0" } },
                { "id": "d", "pricing": { "prompt": "1", "completion": "1" } },
                { "id": "e" },
                "what is this?",
            ]),
        ),
        Reply::error(503),
    ]);
    let catalog = Catalog::new();
    let mut refresh = refresh(&catalog, &[priced("p")]);
    let reports = refresh.reports();
    let first = one(refresh.once(upstream.clone()).await);
    assert_eq!(first.to_string(), "p: 2 free models, 2 new, 0 gone");

    let second = one(refresh.once(upstream.clone()).await);
    let swap = second.swap.expect("a swap");
    assert_eq!((swap.added, swap.removed, swap.kept), (1, 1, 1));
    assert_eq!((second.free, second.not_free, second.unpriced), (2, 2, 1));
    assert_eq!(second.skipped.len(), 1);
    assert!(second.error.is_none());

    advance(secs(60)).await;
    let third = one(refresh.once(upstream).await);
    let error = third.error.as_ref().expect("an error");
    assert_eq!(error.status(), Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!((third.swap, third.free), (None, 2));
    assert_eq!(third.read_at, second.read_at);
    assert!(
        third
            .to_string()
            .starts_with("p: 2 free models; not refreshed: "),
        "{third}"
    );
    let kept = reports.of("p").expect("a report");
    assert_eq!((kept.error, reports.all().len()), (third.error, 1));
}

#[tokio::test(start_paused = true)]
async fn a_credential_goes_to_its_own_listing_only() {
    let (upstream, calls) = noted(|_, _| listing(&["m"]));
    let providers = [priced("a"), priced("b")];
    refresh(&Catalog::new(), &providers).once(upstream).await;
    let calls = calls.lock().unwrap();
    let sent = |host: &str| {
        let mut of_host = calls.iter().filter(|(_, known, _)| known == host);
        of_host.next().expect("a call").2["authorization"].clone()
    };
    assert_eq!(calls.len(), 2);
    assert_eq!(sent("a.test"), "Bearer key-of-a");
    assert_eq!(sent("b.test"), "Bearer key-of-b");
}

#[tokio::test(start_paused = true)]
async fn an_error_never_shows_a_key() {
    let upstream = Upstream::new(|seen| Reply {
        error: Some(format!(
            "cannot send {:?}",
            seen.parts.headers["authorization"].to_str()
        )),
        ..Reply::error(500)
    });
    let report = one(refresh(&Catalog::new(), &[priced("p")])
        .once(upstream)
        .await);
    assert!(report.to_string().contains("cannot send"), "{report}");
    assert!(
        !format!("{report} {report:?}").contains("key-of-p"),
        "{report:?}"
    );
}

// What stays, and what does not.

#[tokio::test(start_paused = true)]
async fn what_is_known_stays_when_a_listing_cannot_be_read() {
    let broken = Step::Data(Bytes::from_static(b"{\"data\": ["));
    let redirect = Reply::error(302).header("location", "http://elsewhere.test/v1/models");
    for (reply, why) in [
        (Reply::error(500), "500"),
        (Reply::error(401), "401"),
        (Reply::error(304), "304"),
        (redirect, "302"),
        (Reply::unreachable(), "connection refused"),
        (Reply::hang(), "within 30s"),
        (
            Reply::new(200, "text/html", "<html>maintenance</html>"),
            "not JSON",
        ),
        (Reply::json(200, json!({ "error": "later" })), "no list"),
        (Reply::json(200, json!({ "data": [] })), "empty"),
        (
            Reply::json(200, json!([1, "x", { "id": "\n" }])),
            "no entry",
        ),
        (
            listing(&["x".repeat(4096).as_str()]),
            "larger than 4096 bytes",
        ),
        (
            Reply {
                steps: vec![broken.clone(), Step::Break],
                ..listing(&[])
            },
            "connection reset",
        ),
        (
            Reply {
                steps: vec![broken, Step::Hang],
                ..listing(&[])
            },
            "within 30s",
        ),
    ] {
        let catalog = Catalog::new();
        let upstream = Upstream::script([listing(&["m"]), reply]);
        let mut refresh = refresh(&catalog, &[priced("p")]).max_listing(4096);
        refresh.once(upstream.clone()).await;
        let report = one(refresh.once(upstream.clone()).await);
        let error = report.error.expect(why).to_string();
        assert!(error.contains(why), "{why}: {error}");
        assert_eq!(
            (pool(&catalog), report.free),
            (vec!["p/m".to_owned()], 1),
            "{why}"
        );
        assert_eq!((upstream.calls(), upstream.alive()), (2, 0), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_of_empty_frames_without_end_is_over_at_the_deadline() {
    let client = service_fn(|_: Request<Body>| {
        let nothing = || Ok::<_, Infallible>(Frame::data(Bytes::new()));
        let frames = futures_util::stream::repeat_with(nothing);
        ready(Ok::<_, Infallible>(Response::new(StreamBody::new(frames))))
    });
    let mut refresh = refresh(&Catalog::new(), &[priced("p")]).timeout(secs(3));
    let asked = refresh.once(client);
    let mut asked = std::pin::pin!(asked);
    // The clock of a paused runtime stands still while there is work, so it is moved by hand.
    assert!(asked.as_mut().now_or_never().is_none());
    advance(secs(4)).await;
    let report = one(asked.now_or_never().expect("an end"));
    assert!(
        report
            .error
            .expect("an error")
            .to_string()
            .contains("within 3s")
    );
}

#[tokio::test(start_paused = true)]
async fn a_listing_of_which_nothing_is_free_any_more_empties_its_provider() {
    for price in [
        json!({ "prompt": "0.1", "completion": "0" }),
        json!(null),
        json!({}),
    ] {
        let paid = json!({ "data": [{ "id": "m", "pricing": price }] });
        let upstream = Upstream::new(move |seen| match seen.parts.uri.host() {
            Some("other.test") => listing(&["m"]),
            _ => Reply::json(200, paid.clone()),
        });
        let (catalog, providers) = (Catalog::new(), [priced("p"), priced("other")]);
        let mut refresh = refresh(&catalog, &providers);
        refresh.once(Upstream::script([listing(&["m"])])).await;
        let reports = refresh.once(upstream).await;
        assert_eq!(pool(&catalog), ["other/m"]);
        assert!(reports[0].error.is_none());
        assert_eq!(reports[0].swap.expect("a swap").removed, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_leaves_lets_requests_in_flight_finish_and_gets_no_more() {
    let (catalog, health) = (Catalog::new(), HealthMap::seeded(7));
    let mut refresh = Refresh::new(catalog.clone(), health.clone()).provider(priced("p"));
    refresh.once(Upstream::script([listing(&["old"])])).await;
    let stack = stack(catalog.clone(), health.clone());
    let mut slow = Reply::words(&["hel", "lo"]);
    slow.steps.insert(2, Step::Pause(secs(60)));
    let upstream = Upstream::script([slow, Reply::answer("new here")]);
    let response = stack.layer(upstream.clone()).oneshot(streamed_chat()).await;
    let response = response.expect("a response");

    refresh.once(Upstream::script([listing(&["new"])])).await;
    assert_eq!(pool(&catalog), ["p/new"]);
    let whole = read(response).await;
    assert!(whole.broken.is_none() && whole.text().contains("[DONE]"));
    let of_old = health.snapshot();
    let of_old = of_old.target("p", "old").expect("it is remembered").tally;
    assert_eq!((of_old.started, of_old.succeeded), (1, 1));

    let whole = send(&stack, &upstream, chat()).await;
    assert_eq!(whole.header("x-free-model"), Some("new"));
}

/// A free model whose last day is tomorrow, and one without an end.
fn ending() -> Reply {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let last = now.date().tomorrow().expect("a day").to_string();
    let price = json!({ "prompt": "0", "completion": "0" });
    let rows = json!([{ "id": "ends", "pricing": price, "expiration_date": last }, { "id": "m", "pricing": price }]);
    Reply::json(200, rows)
}

#[tokio::test(start_paused = true)]
async fn an_expired_model_leaves_when_its_day_is_over_whatever_its_provider_answers() {
    for later in [Reply::error(500), Reply::hang()] {
        let upstream = Upstream::script([ending(), later.clone(), later]);
        let (catalog, told) = (Catalog::new(), Arc::new(Mutex::new(Vec::new())));
        let refresh = refresh(&catalog, &[vouched("p")]).on_report({
            let told = Arc::clone(&told);
            move |report| told.lock().unwrap().push(report.to_string())
        });
        let running = tokio::spawn(refresh.run(upstream));
        sleep(secs(1)).await;
        assert_eq!(pool(&catalog), ["p/ends", "p/m"]);
        sleep(secs(2 * 86_400)).await;
        assert_eq!(pool(&catalog), ["p/m"]);
        let told = told.lock().unwrap();
        let of_end = told.iter().filter(|line| line.contains("0 new, 1 gone"));
        assert_eq!(of_end.count(), 1, "{told:?}");
        running.abort();
    }
}

// For how long a price is believed.

const HOUR: Duration = secs(3600);
const DAY: Duration = secs(86_400);
const MILLISECOND: Duration = Duration::from_millis(1);

fn chat_for(model: &str) -> Request<Full<Bytes>> {
    chat_with(json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] }))
}

/// What a chat that asks for this model is answered with: the status, and the code of an error.
async fn answered(catalog: &Catalog, model: &str) -> (u16, Value) {
    let stack = stack(catalog.clone(), HealthMap::seeded(7));
    let upstream = Upstream::new(|_| Reply::answer("hi"));
    let whole = send(&stack, &upstream, chat_for(model)).await;
    (whole.status(), whole.json()["error"]["code"].clone())
}

/// A running refresh of one provider whose listing was read now, and what is answered from now on.
async fn running(
    provider: Provider,
    then: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> (Catalog, tokio::task::JoinHandle<Infallible>) {
    let catalog = Catalog::new();
    let mut refresh = refresh(&catalog, &[provider]);
    let first = listing(&["m"]).header("etag", "\"one\"");
    refresh.once(Upstream::script([first])).await;
    let running = tokio::spawn(refresh.run(Upstream::new(then)));
    (catalog, running)
}

#[tokio::test(start_paused = true)]
async fn after_an_hour_without_a_good_listing_a_model_is_picked_by_name_only() {
    let (catalog, running) = running(priced("p"), |_| Reply::error(500)).await;
    sleep(HOUR - MILLISECOND).await;
    assert_eq!(answered(&catalog, "free").await.0, 200);
    sleep(MILLISECOND).await;
    assert_eq!(answered(&catalog, "free").await, (503, json!("empty_pool")));
    assert_eq!(answered(&catalog, "gpt-4").await.0, 503);
    assert_eq!(answered(&catalog, "m").await.0, 200);
    assert_eq!(answered(&catalog, "p/m").await.0, 200);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_report_says_that_models_are_picked_by_name_only() {
    let catalog = Catalog::new();
    let upstream = Upstream::script([listing(&["m", "n"]), Reply::error(500)]);
    let mut refresh = refresh(&catalog, &[priced("p")]);
    refresh.once(upstream.clone()).await;
    advance(HOUR - MILLISECOND).await;
    assert_eq!(one(refresh.once(upstream.clone()).await).by_name_only, 0);
    advance(MILLISECOND).await;
    let report = one(refresh.once(upstream).await);
    assert_eq!((report.free, report.by_name_only), (2, 2));
    assert!(
        report.to_string().contains("2 of them by name only"),
        "{report}"
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_day_without_a_good_listing_a_model_leaves() {
    let (catalog, running) = running(priced("p"), |_| Reply::unreachable()).await;
    sleep(DAY - MILLISECOND).await;
    assert_eq!(pool(&catalog), ["p/m"]);
    assert_eq!(answered(&catalog, "m").await.0, 200);
    sleep(MILLISECOND * 2).await;
    assert!(pool(&catalog).is_empty());
    assert_eq!(answered(&catalog, "m").await.0, 503);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_price_that_nobody_refreshes_is_believed_no_longer() {
    let catalog = Catalog::new();
    refresh(&catalog, &[priced("p")])
        .once(Upstream::script([listing(&["m"])]))
        .await;
    advance(HOUR - MILLISECOND).await;
    assert_eq!(answered(&catalog, "free").await.0, 200);
    advance(MILLISECOND).await;
    assert_eq!(answered(&catalog, "free").await.0, 503);
    advance(DAY - HOUR - MILLISECOND).await;
    assert_eq!(answered(&catalog, "m").await.0, 200);
    advance(MILLISECOND).await;
    assert_ne!(answered(&catalog, "m").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn prices_that_come_back_are_believed_again() {
    let began = Instant::now();
    let (catalog, running) = running(priced("p"), move |_| match began.elapsed() > HOUR {
        true => listing(&["m"]),
        false => Reply::error(500),
    })
    .await;
    sleep(HOUR).await;
    assert_eq!(answered(&catalog, "free").await.0, 503);
    sleep(secs(601)).await;
    assert_eq!(answered(&catalog, "free").await.0, 200);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_not_free_by_its_price_does_not_age() {
    let (catalog, running) = running(vouched("p"), |_| Reply::error(500)).await;
    let written = priced("q").target(Model::new("written")).expect("a target");
    catalog
        .replace(&written.provider().clone(), vec![written])
        .expect("a swap");
    sleep(DAY * 2).await;
    assert_eq!(pool(&catalog), ["p/m", "q/written"]);
    assert_eq!(answered(&catalog, "p/m").await.0, 200);
    assert_eq!(answered(&catalog, "free").await.0, 200);
    running.abort();
}

// What is waited for.

#[tokio::test(start_paused = true)]
async fn an_empty_pool_names_the_providers_that_it_waits_for_and_fills_as_they_come() {
    let catalog = Catalog::new();
    let began = Instant::now();
    let upstream = Upstream::new(move |seen| match seen.parts.uri.host() {
        Some("late.test") if began.elapsed() > secs(60) => listing(&["m"]),
        _ => Reply::unreachable(),
    });
    let providers = [priced("late"), priced("never")];
    let running = tokio::spawn(refresh(&catalog, &providers).run(upstream.clone()));
    sleep(secs(1)).await;
    let stack = stack(catalog.clone(), HealthMap::seeded(7));
    for (model, pin) in [("free", "false"), ("m", "false"), ("m", "true")] {
        let mut request = chat_for(model);
        let pin = http::HeaderValue::from_static(pin);
        request.headers_mut().insert("x-free-pin", pin);
        let refused = send(&stack, &upstream, request).await;
        let error = &refused.json()["error"];
        assert_eq!(
            (refused.status(), &error["code"]),
            (503, &json!("empty_pool"))
        );
        assert_eq!(error["metadata"]["waiting_for"], json!(["late", "never"]));
        assert!(
            error["message"].as_str().unwrap().contains("late, never"),
            "{error}"
        );
    }
    sleep(secs(100)).await;
    assert_eq!(pool(&catalog), ["late/m"]);
    let snapshot = catalog.snapshot();
    assert_eq!(snapshot.awaited().collect::<Vec<_>>(), ["never"]);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_first_round_waits_for_so_long_only_and_leaves_the_slow_ones_to_the_next() {
    let (upstream, calls) = noted(|seen, before| match seen.parts.uri.host() {
        Some("slow.test") if before == 0 => listing(&["m"]).after(secs(9)),
        _ => listing(&["m"]),
    });
    let catalog = Catalog::new();
    let mut refresh = refresh(&catalog, &[priced("slow"), priced("quick")]);
    let report = one(refresh.once_within(upstream.clone(), secs(5)).await);
    assert_eq!(
        (report.provider.as_str(), pool(&catalog)),
        ("quick", vec!["quick/m".to_owned()])
    );
    assert_eq!(catalog.snapshot().awaited().collect::<Vec<_>>(), ["slow"]);
    let running = tokio::spawn(refresh.run(upstream));
    sleep(secs(1)).await;
    assert_eq!(pool(&catalog), ["quick/m", "slow/m"]);
    assert_eq!(catalog.snapshot().awaited().len(), 0);
    assert_eq!(times(&calls), [0, 0, 5]);
    running.abort();
}

// When.

/// Runs a refresh for so long, and says at which seconds it asked.
async fn run_for(time: Duration, refresh: Refresh, answer: fn(&Seen, usize) -> Reply) -> Vec<u64> {
    let (upstream, calls) = noted(answer);
    let running = tokio::spawn(refresh.run(upstream));
    sleep(time).await;
    running.abort();
    times(&calls)
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_asked_every_ten_minutes() {
    let refresh = refresh(&Catalog::new(), &[priced("p")]);
    let times = run_for(secs(1900), refresh, |_, _| listing(&["m"])).await;
    assert_eq!(times, [0, 600, 1200, 1800]);
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_schedule_within_a_tenth_of_the_interval() {
    let ask = |seed| {
        let refresh = Refresh::new(Catalog::new(), HealthMap::new()).provider(priced("p"));
        run_for(secs(30_000), refresh.seed(seed), |_, _| listing(&["m"]))
    };
    let times = ask(7).await;
    assert_eq!(times, ask(7).await);
    assert_ne!(times, ask(8).await);
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        waits.iter().all(|wait| (539..=661).contains(wait)),
        "{waits:?}"
    );
    assert!(waits.iter().any(|&wait| wait != waits[0]), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn where_prices_decide_a_listing_is_asked_for_well_before_its_prices_are_too_old() {
    let refresh = refresh(&Catalog::new(), &[priced("p")]).interval(secs(86_400));
    let times = run_for(secs(3700), refresh, |_, _| listing(&["m"]));
    assert_eq!(times.await, [0, 1800, 3600]);
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_sooner_and_then_less_often() {
    let refresh = refresh(&Catalog::new(), &[priced("p")]);
    let times = run_for(secs(1600), refresh, |_, calls| match calls {
        6 => listing(&["m"]),
        _ => Reply::error(500),
    });
    assert_eq!(times.await, [0, 30, 90, 210, 450, 930, 1530]);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_asks_for_a_pause_gets_it() {
    let refresh = refresh(&Catalog::new(), &[priced("p")]);
    let times = run_for(secs(1700), refresh, |_, calls| match calls {
        0 => Reply::error(429).header("retry-after", "1000"),
        _ => listing(&["m"]),
    });
    assert_eq!(times.await, [0, 1000, 1600]);
}

#[tokio::test(start_paused = true)]
async fn one_providers_trouble_neither_delays_nor_touches_another() {
    let (upstream, calls) = noted(|seen, _| match seen.parts.uri.host() {
        Some("well.test") => listing(&["m"]),
        Some("dead.test") => Reply::unreachable(),
        _ => Reply::hang(),
    });
    let catalog = Catalog::new();
    let providers = [priced("silent"), priced("dead"), priced("well")];
    let refresh = refresh(&catalog, &providers).timeout(secs(3000));
    let running = tokio::spawn(refresh.run(upstream));
    sleep(secs(1)).await;
    assert_eq!(pool(&catalog), ["well/m"]);
    sleep(secs(1800)).await;
    let calls = calls.lock().unwrap();
    let well = calls.iter().filter(|(_, host, _)| host == "well.test");
    let times: Vec<_> = well.map(|(at, ..)| at.as_secs()).collect();
    assert_eq!(times, [0, 600, 1200, 1800]);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_first_round_counts_for_the_schedule_of_the_next_ones() {
    let (upstream, calls) = noted(|_, _| listing(&["m"]));
    let mut refresh = refresh(&Catalog::new(), &[priced("p")]);
    refresh.once(upstream.clone()).await;
    let running = tokio::spawn(refresh.run(upstream));
    sleep(secs(700)).await;
    assert_eq!(times(&calls), [0, 600]);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn every_report_is_told() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let refresh = refresh(&Catalog::new(), &[priced("p")]).on_report({
        let told = Arc::clone(&told);
        move |report| told.lock().unwrap().push(report.to_string())
    });
    run_for(secs(700), refresh, |_, calls| match calls {
        0 => listing(&["m"]),
        _ => Reply::error(500),
    })
    .await;
    let told = told.lock().unwrap();
    assert_eq!(told[0], "p: 1 free models, 1 new, 0 gone");
    assert!(told[1].contains("500"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_is_dropped_drops_what_is_under_way() {
    let upstream = Upstream::script([Reply::hang()]);
    let refresh = refresh(&Catalog::new(), &[priced("a"), priced("b")]);
    let mut running = Box::pin(refresh.run(upstream.clone()));
    assert!(running.as_mut().now_or_never().is_none());
    assert_eq!(upstream.alive(), 2);
    drop(running);
    assert_eq!(upstream.alive(), 0);
}

// Health.

#[tokio::test(start_paused = true)]
async fn health_survives_a_refresh() {
    let (catalog, health) = (Catalog::new(), HealthMap::seeded(7));
    let mut refresh = Refresh::new(catalog.clone(), health.clone()).provider(priced("p"));
    let upstream = Upstream::script([listing(&["m"])]);
    refresh.once(upstream.clone()).await;
    let target = catalog.snapshot().targets()[0].clone();
    health.begin(&target).expect("healthy").succeed();
    health
        .begin(&target)
        .expect("healthy")
        .fail(&Outcome::of(OutcomeKind::Gone));
    refresh.once(upstream).await;
    let snapshot = health.snapshot();
    let of_m = snapshot.target("p", "m").expect("it is known");
    assert_eq!((of_m.state, of_m.tally.started), (TargetState::Gone, 2));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_was_gone_is_tried_again_when_its_row_changes_or_comes_back() {
    let changed = json!([{ "id": "m", "pricing": { "prompt": "0", "completion": "0" }, "context_length": 9 }]);
    for answers in [
        vec![listing(&["m"]), Reply::json(200, changed)],
        vec![listing(&["m"]), listing(&["n"]), listing(&["m"])],
    ] {
        let (catalog, health) = (Catalog::new(), HealthMap::seeded(7));
        let mut refresh = Refresh::new(catalog.clone(), health.clone()).provider(priced("p"));
        let upstream = Upstream::script(answers.clone());
        refresh.once(upstream.clone()).await;
        let target = catalog.snapshot().targets()[0].clone();
        let attempt = health.begin(&target).expect("healthy");
        attempt.fail(&Outcome::of(OutcomeKind::Gone));
        for _ in 1..answers.len() {
            let snapshot = health.snapshot();
            assert_eq!(
                snapshot.target("p", "m").expect("known").state,
                TargetState::Gone
            );
            refresh.once(upstream.clone()).await;
        }
        let snapshot = health.snapshot();
        assert_eq!(
            snapshot.target("p", "m").expect("known").state,
            TargetState::Healthy
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_vanished_target_is_forgotten_after_a_day() {
    let health = HealthMap::seeded(7);
    let all = targets(&["p"], &["stays", "goes"]);
    let (both, left) = (
        Catalog::from_targets(all.clone()).snapshot(),
        Catalog::from_targets([all[0].clone()]).snapshot(),
    );
    let known = || health.snapshot().targets.len();
    health.begin(&all[1]).expect("healthy").succeed();
    health.sweep(&both);
    advance(secs(2 * 86_400)).await;
    health.sweep(&left);
    assert_eq!(known(), 2, "the day begins when it is missed");
    advance(secs(86_399)).await;
    health.sweep(&both);
    health.sweep(&left);
    advance(secs(86_399)).await;
    health.sweep(&left);
    assert_eq!(known(), 2, "and begins anew when it was back");
    advance(secs(1)).await;
    health.sweep(&left);
    assert_eq!(known(), 1);
    assert!(health.snapshot().target("p", "stays").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_vanished_target_that_was_never_tried_is_forgotten_at_once() {
    let health = HealthMap::seeded(7);
    for round in 0..100 {
        let ids = [format!("new-{round}"), format!("tried-{}", round / 50)];
        let now = targets(&["p"], &[&*ids[0], &*ids[1]]);
        health.sweep(&Catalog::from_targets(now.clone()).snapshot());
        health.begin(&now[1]).expect("healthy").succeed();
    }
    assert_eq!(health.snapshot().targets.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_cost_money_stays_out_for_ever_and_what_is_in_flight_stays_until_its_end() {
    let health = HealthMap::seeded(7);
    let all = targets(&["p"], &["bills", "busy", "idle"]);
    let empty = Catalog::new().snapshot();
    health.begin(&all[0]).expect("healthy").billed();
    let busy = health.begin(&all[1]).expect("healthy");
    health.begin(&all[2]).expect("healthy").succeed();
    let known = || {
        let snapshot = health.snapshot();
        let models = snapshot
            .targets
            .iter()
            .map(|target| target.id.model().to_owned());
        models.collect::<Vec<_>>()
    };
    health.sweep(&empty);
    advance(secs(40 * 86_400)).await;
    health.sweep(&empty);
    assert_eq!(known(), ["bills", "busy"]);
    busy.succeed();
    health.sweep(&empty);
    assert_eq!(known(), ["bills"]);
    health.sweep(&Catalog::from_targets(all.clone()).snapshot());
    assert!(health.begin(&all[0]).is_none(), "it is still quarantined");
}

// The account of a key.

fn openrouter(name: &str) -> Provider {
    Provider::openrouter()
        .name(name)
        .key("k")
        .build()
        .expect("a provider")
}

fn is_about_the_key(seen: &Seen) -> bool {
    seen.parts.uri == "https://openrouter.ai/api/v1/key"
}

#[tokio::test(start_paused = true)]
async fn what_a_key_says_of_its_quota_is_kept() {
    let upstream = Upstream::new(|seen| match is_about_the_key(seen) {
        true => Reply::json(
            200,
            json!({ "data": {
                "label": "sk-or-v1-abc", "limit": null, "limit_remaining": 1.5, "usage": 0, "is_free_tier": true,
                "free_model_daily_requests": { "used": 1060, "limit": 1000, "remaining": 0 },
            } }),
        ),
        false => listing(&["a/m:free"]),
    });
    let catalog = Catalog::new();
    let mut refresh = refresh(
        &catalog,
        &[openrouter("openrouter"), openrouter("openrouter#2")],
    );
    let reports = refresh.reports();
    refresh.once(upstream).await;
    for name in ["openrouter", "openrouter#2"] {
        let account = reports.of(name).expect("a report").account;
        let account = account.expect("a status");
        assert_eq!(account.free_tier, Some(true));
        assert_eq!(account.limit_remaining, Some(1.5));
        let daily = account.daily_requests.expect("a day");
        assert_eq!((daily.used, daily.limit, daily.remaining), (1060, 1000, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_says_nothing_is_unknown_and_no_error() {
    for reply in [
        Reply::error(401),
        Reply::error(404),
        Reply::unreachable(),
        Reply::hang(),
        Reply::new(200, "text/html", "<html>"),
        Reply::new(200, "application/json", " ".repeat(1 << 20)),
    ] {
        let shown = format!("{reply:.100?}");
        let upstream = Upstream::new(move |seen| match is_about_the_key(seen) {
            true => reply.clone(),
            false => listing(&["a/m:free"]),
        });
        let catalog = Catalog::new();
        let report = one(refresh(&catalog, &[openrouter("openrouter")])
            .once(upstream)
            .await);
        assert!(
            report.error.is_none() && report.account.is_none(),
            "{shown}"
        );
        assert_eq!(pool(&catalog), ["openrouter/a/m:free"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_key_said_is_known_until_it_says_something_else() {
    let told = Arc::new(Mutex::new(0));
    let upstream = Upstream::new(move |seen| {
        if !is_about_the_key(seen) {
            return listing(&["a/m:free"]);
        }
        let mut told = told.lock().unwrap();
        *told += 1;
        match *told {
            1 => Reply::json(200, json!({ "data": { "is_free_tier": true } })),
            _ => Reply::error(500),
        }
    });
    let mut refresh = refresh(&Catalog::new(), &[openrouter("openrouter")]);
    let first = one(refresh.once(upstream.clone()).await).account;
    advance(secs(60)).await;
    let second = one(refresh.once(upstream).await).account;
    assert!(first.is_some_and(|account| account.free_tier == Some(true)));
    assert_eq!(second, first);
}

// Any client.

/// Answers a listing, and fails the test if it is called without having been ready.
#[derive(Default)]
struct Strict {
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<Body>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called without being ready"
        );
        ready(Ok(Response::new(Full::from(
            r#"{"data": [{"id": "a/m:free", "pricing": {"prompt": "0", "completion": "0"}}]}"#,
        ))))
    }
}

#[tokio::test(start_paused = true)]
async fn the_instance_that_is_called_is_the_one_that_was_ready() {
    let catalog = Catalog::new();
    refresh(&catalog, &[openrouter("openrouter"), priced("p")])
        .once(Strict::default())
        .await;
    assert_eq!(catalog.snapshot().len(), 2);
}

#[tokio::test]
async fn a_real_client_reads_the_listing_of_a_real_server() {
    let server = Server::start(|_: &Received| listing(&["m"])).await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let catalog = Catalog::new();
    let mut refresh = refresh(&catalog, &[server.provider("p")]);
    let report = one(refresh.once(client).await);
    assert_eq!((report.swap.is_some(), report.error), (true, None));
    assert_eq!(pool(&catalog), ["p/m"]);
    let seen = server.seen();
    assert_eq!(seen[0].parts.uri.path(), "/v1/models");
    assert_eq!(seen[0].header("authorization"), Some("Bearer key-of-p"));
}

#[tokio::test(start_paused = true)]
async fn a_client_need_not_be_send() {
    let mine = Rc::new(Value::Null);
    let client = service_fn(move |_: Request<Body>| {
        let mine = Rc::clone(&mine);
        ready(Ok::<_, Infallible>(Response::new(Full::from(
            mine.to_string(),
        ))))
    });
    let report = one(refresh(&Catalog::new(), &[priced("p")]).once(client).await);
    assert!(report.error.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_provider_without_an_address_is_reported_and_the_others_are_asked() {
    let upstream = Upstream::script([listing(&["m"])]);
    let catalog = Catalog::new();
    let reports = refresh(&catalog, &[bare_provider("bare"), priced("p")])
        .once(upstream)
        .await;
    assert!(
        reports[0]
            .error
            .as_ref()
            .expect("an error")
            .to_string()
            .contains("no base URL")
    );
    assert_eq!(pool(&catalog), ["p/m"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_provider_there_is_nothing_to_do_for_ever() {
    let upstream = Upstream::script([Reply::error(500)]);
    let mut refresh = refresh(&Catalog::new(), &[]);
    assert!(refresh.once(upstream.clone()).await.is_empty());
    assert!(
        tokio::time::timeout(secs(1_000_000), refresh.run(upstream))
            .await
            .is_err()
    );
}
