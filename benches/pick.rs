//! What it costs to route one request among many targets, next to the bare service and to a pool of one.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    time::Duration,
};

use bytes::Bytes;
use criterion::Criterion;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tokio::runtime::Runtime;
use tower::{Layer, ServiceExt, service_fn};
use tower_free_models::{
    Catalog, FreeModelRouteLayer, HealthMap, Model, Provider, Target,
    classify::{Outcome, OutcomeKind, Recovery},
    provider::FreeRule,
};

/// As many targets, at five providers.
fn pool(size: usize) -> Vec<Target> {
    let providers: Vec<_> = (0..5)
        .map(|n| {
            Provider::new(format!("provider-{n}"))
                .base_url(&format!("https://provider-{n}.example/v1"))
                .key("key")
                .free(FreeRule::All)
                .build()
                .expect("a provider")
        })
        .collect();
    (0..size)
        .map(|n| {
            let model = Model::new(format!("author/model-{n}:free")).context_length(131_072);
            providers[n % 5].target(model).expect("a free model")
        })
        .collect()
}

/// A map in which every third target has failed and every other third has succeeded.
fn history(targets: &[Target]) -> HealthMap {
    let health = HealthMap::seeded(7);
    for (n, target) in targets.iter().enumerate() {
        let attempt = health.begin(target).expect("nothing is held against it");
        match n % 3 {
            // One must be left to pick.
            1 if n > 1 => {
                let hour = Recovery::After(Duration::from_secs(3600));
                attempt.fail(&Outcome::of(OutcomeKind::RateLimited).until(hour));
            }
            _ => attempt.succeed(),
        }
    }
    health
}

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

fn define(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = c.benchmark_group("pick");
    let bare = service_fn(|request: Request<Full<Bytes>>| answer(&request));
    group.bench_function("bare", |b| {
        b.iter(|| runtime.block_on(bare.oneshot(request())));
    });
    for size in [1, 2, 30, 300] {
        let targets = pool(size);
        let health = history(&targets);
        let layer = FreeModelRouteLayer::new(Catalog::from_targets(targets), health).seed(7);
        let route = layer.layer(service_fn(|request| answer(&request)));
        let Ok(response) = runtime.block_on(route.clone().oneshot(request()));
        assert_eq!(response.status(), 200);
        assert!(response.headers().contains_key("x-free-model"));
        group.bench_function(format!("among_{size}"), |b| {
            b.iter(|| runtime.block_on(route.clone().oneshot(request())));
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    define(&mut criterion);
    criterion.final_summary();
}
