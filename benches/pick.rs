//! What it costs to route one request among many targets, next to the bare service and to a pool of one; what two threads
//! reach together, next to one alone; and what a pick costs while another thread reads the whole health map.

mod inputs;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use criterion::Criterion;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_free_models::{Catalog, FreeModelRouteLayer, HealthMap};

use crate::inputs::pools::{Mix, history, pool};

const SIZES: [usize; 6] = [1, 2, 30, 300, 3_000, 10_000];

fn request() -> Request<Full<Bytes>> {
    let body = r#"{"model":"free","messages":[{"role":"user","content":"Hi"}]}"#;
    Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .expect("a request")
}

fn answer<B>(request: &Request<B>) -> Ready<Result<Response<Empty<Bytes>>, Infallible>> {
    black_box(request);
    ready(Ok(Response::new(Empty::new())))
}

/// Sends one request. Nothing in it has to wait, so that no runtime is needed.
fn send<S, B>(service: S)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
{
    let sent = service.oneshot(request()).now_or_never();
    let Ok(response) = sent.expect("the service answers at once");
    assert_eq!(response.status(), 200);
}

/// A router over a pool of this size, and its health map.
fn routed(
    size: usize,
    mix: Mix,
) -> (
    impl Service<
        Request<Full<Bytes>>,
        Response = Response<impl Sized>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + Sync,
    HealthMap,
) {
    let targets = pool(size, mix);
    let health = history(&targets);
    let layer = FreeModelRouteLayer::new(Catalog::from_targets(targets), health.clone());
    (layer.layer(service_fn(|request| answer(&request))), health)
}

fn one_thread(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick");
    let bare = service_fn(|request: Request<Full<Bytes>>| answer(&request));
    group.bench_function("bare", |b| b.iter(|| send(bare)));
    for mix in Mix::ALL {
        for size in SIZES {
            group.bench_function(format!("{}/{size}", mix.name()), |b| {
                let (route, _) = routed(size, mix);
                b.iter(|| send(route.clone()));
            });
        }
    }
    group.finish();
}

/// How many requests as many threads send together in about this time, per second.
fn rate(route: &(impl Fn() + Sync), threads: usize, time: Duration) -> f64 {
    let start = Barrier::new(threads);
    let send = || {
        start.wait();
        let began = Instant::now();
        let mut sent = 0_u32;
        while began.elapsed() < time {
            (0..8).for_each(|_| route());
            sent += 8;
        }
        f64::from(sent) / began.elapsed().as_secs_f64()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(send)).collect();
        let rates = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        rates.sum()
    })
}

/// The best of many short runs, which other work on the machine spoils least; the runs of both take turns.
fn best<const N: usize>(run: impl Fn(usize) -> f64) -> [f64; N] {
    let mut best = [0.0; N];
    for _ in 0..12 {
        for (at, best) in best.iter_mut().enumerate() {
            *best = f64::max(*best, run(at));
        }
    }
    best
}

fn two_threads() {
    const TIME: Duration = Duration::from_millis(25);
    println!(
        "{:>16} {:>12} {:>12} {:>6} {:>22}",
        "pool", "one thread", "two", "ratio", "beside snapshots"
    );
    for size in SIZES {
        let (route, health) = routed(size, Mix::Uniform);
        let route = || send(route.clone());
        let [one, two, beside] = best(|at| match at {
            0 => rate(&route, 1, TIME),
            1 => rate(&route, 2, TIME),
            _ => {
                let is_over = AtomicBool::new(false);
                thread::scope(|scope| {
                    scope.spawn(|| {
                        while !is_over.load(Ordering::Relaxed) {
                            black_box(health.snapshot());
                        }
                    });
                    let rate = rate(&route, 1, TIME);
                    is_over.store(true, Ordering::Relaxed);
                    rate
                })
            }
        });
        println!(
            "{size:>16} {one:>10.0}/s {two:>10.0}/s {:>6.2} {beside:>14.0}/s ({:.2})",
            two / one,
            beside / one
        );
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    one_thread(&mut criterion);
    criterion.final_summary();
    // Not where cargo only checks that the benches run, nor under a profiler.
    let has = |arg| std::env::args().any(|given| given == arg);
    if has("--bench") && !has("--profile-time") {
        two_threads();
    }
}
