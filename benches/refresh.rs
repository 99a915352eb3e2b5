//! What it costs to refresh a large listing, next to a JSON tree of the same bytes; and how long picks take while a
//! refresh swaps the catalog under them.

mod inputs;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use http::{Request, Response};
use http_body_util::{Empty, Full};
use serde_json::Value;
use tokio::{runtime, time::Instant};
use tower::{Layer, ServiceExt, service_fn};
use tower_free_models::{
    Body, Catalog, FreeModelRoute, FreeModelRouteLayer, HealthMap, Provider, refresh::Refresh,
};

use crate::inputs::listing::listing;

fn provider() -> Provider {
    Provider::openrouter()
        .key("key")
        .build()
        .expect("a provider")
}

/// A client that has the listing at hand.
fn upstream(
    body: &Bytes,
) -> impl tower::Service<
    Request<Body>,
    Response = Response<Full<Bytes>>,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send
+ use<> {
    let body = body.clone();
    service_fn(move |_| ready(Ok(Response::new(Full::new(body.clone())))))
}

fn refresh_beside_a_tree(c: &mut Criterion) {
    let body = listing(400);
    let runtime = runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let mut group = c.benchmark_group("refresh");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("json_tree_of_400_models", |b| {
        b.iter(|| serde_json::from_slice::<Value>(black_box(&body)));
    });
    let catalog = Catalog::new();
    let mut refresh = Refresh::new(catalog.clone(), HealthMap::new()).provider(provider());
    group.bench_function("read_and_swap_400_models", |b| {
        b.iter(|| runtime.block_on(refresh.once(upstream(&body))));
    });
    assert_eq!(catalog.snapshot().len(), 40);
    group.finish();
}

/// So many threads pick at once.
const THREADS: usize = 8;

fn request() -> Request<Full<Bytes>> {
    let body = r#"{"model":"free","messages":[{"role":"user","content":"Hi"}]}"#;
    Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .expect("a request")
}

fn answer<B>(_: Request<B>) -> Ready<Result<Response<Empty<Bytes>>, Infallible>> {
    ready(Ok(Response::new(Empty::new())))
}

/// How long each pick of all threads took, sorted.
fn picks<S>(route: &FreeModelRoute<S>, each: usize) -> Vec<Duration>
where
    FreeModelRoute<S>: tower::Service<Request<Full<Bytes>>> + Clone + Sync,
{
    let mut all = Vec::with_capacity(THREADS * each);
    thread::scope(|scope| {
        let pick = || {
            let runtime = runtime::Builder::new_current_thread().enable_time().build();
            let runtime = runtime.expect("a runtime");
            let one = |_| {
                let began = Instant::now();
                let _ = black_box(runtime.block_on(route.clone().oneshot(request())));
                began.elapsed()
            };
            (0..each).map(one).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(pick)).collect();
        for thread in threads {
            all.extend(thread.join().expect("picks"));
        }
    });
    all.sort_unstable();
    all
}

/// Printed and not asserted: with fewer cores than threads, the longest pick is one that lost its turn.
fn picks_while_a_refresh_swaps() {
    const EACH: usize = 20_000;
    let body = listing(400);
    let (catalog, health) = (Catalog::new(), HealthMap::seeded(7));
    let mut refresh = Refresh::new(catalog.clone(), health.clone()).provider(provider());
    let runtime = runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(refresh.once(upstream(&body)));
    let route = FreeModelRouteLayer::new(catalog, health)
        .seed(7)
        .layer(service_fn(answer));
    let show = |what: &str, picks: &[Duration], swaps: usize| {
        let at = |share: f64| picks[((picks.len() - 1) as f64 * share) as usize];
        println!(
            "picks/{THREADS}_threads/{what}: median {:?}, 99.9 % {:?}, longest {:?}, swaps {swaps}",
            at(0.5),
            at(0.999),
            at(1.0),
        );
    };
    // One thread more is busy in either case, so that the difference is the swaps alone.
    for swapping in [false, true] {
        let over = AtomicBool::new(false);
        let mut swaps = 0;
        let picks = thread::scope(|scope| {
            let (over, swaps, refresh, runtime) = (&over, &mut swaps, &mut refresh, &runtime);
            let body = &body;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    if swapping {
                        black_box(runtime.block_on(refresh.once(upstream(body))));
                        *swaps += 1;
                    } else {
                        let _ = black_box(serde_json::from_slice::<Value>(body));
                    }
                }
            });
            let picks = picks(&route, EACH);
            over.store(true, Ordering::Relaxed);
            picks
        });
        let what = if swapping {
            "while_swapping"
        } else {
            "at_rest"
        };
        show(what, &picks, swaps);
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    refresh_beside_a_tree(&mut criterion);
    picks_while_a_refresh_swaps();
    criterion.final_summary();
}
