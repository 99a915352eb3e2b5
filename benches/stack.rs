//! What the layers cost around a service that answers at once, next to that service alone.

mod inputs;

use std::convert::Infallible;

use bytes::Bytes;
use criterion::Criterion;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::runtime::Runtime;
use tower::{Layer, Service, ServiceExt};
use tower_free_models::{HealthMap, stack};

use crate::inputs::{
    chat::{Mock, chat},
    pools::at_one_provider,
};

/// One request, and its whole answer; how many bytes there were.
async fn run<S, B>(service: S, stream: bool) -> usize
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes>,
{
    let Ok(response) = service.oneshot(chat(stream)).await;
    assert_eq!(response.status(), 200);
    let mut body = std::pin::pin!(response.into_body());
    let mut len = 0;
    while let Some(Ok(frame)) = body.frame().await {
        len += frame.data_ref().map_or(0, Bytes::len);
    }
    len
}

fn define(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let stack = stack(at_one_provider(), HealthMap::new());
    for (name, mock, stream) in [
        ("answer", Mock::answer(), false),
        ("stream_of_50_events", Mock::events(), true),
        (
            "stream_of_50_events_in_one_frame",
            Mock::events().in_one_frame(),
            true,
        ),
    ] {
        let layered = stack.layer(mock.clone());
        let both = (
            runtime.block_on(run(mock.clone(), stream)),
            runtime.block_on(run(layered.clone(), stream)),
        );
        assert_eq!(both.0, both.1, "the same bytes arrive");
        let mut group = c.benchmark_group(name);
        group.bench_function("bare", |b| {
            b.iter(|| runtime.block_on(run(mock.clone(), stream)));
        });
        group.bench_function("stack", |b| {
            b.iter(|| runtime.block_on(run(layered.clone(), stream)));
        });
        group.finish();
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    define(&mut criterion);
    criterion.final_summary();
}
