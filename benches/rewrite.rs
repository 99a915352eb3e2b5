//! What the rewrite of a body costs, next to a copy of it and to a round trip through a tree.

mod inputs;

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use serde_json::Value;
use tower_free_models::{__private, provider::Dialect};

use crate::inputs::bodies::{conversation, image, mixed};

const MODEL: &str = "meta-llama/llama-3.3-70b-instruct:free";

fn rewrite(body: &Bytes) -> Vec<Bytes> {
    __private::rewrite(body, MODEL, &Dialect::OPENAI, None).expect("the body is routed")
}

/// What most proxies do.
fn round_trip(body: &[u8]) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(body).expect("the body is JSON");
    value["model"] = MODEL.into();
    serde_json::to_vec(&value).expect("a value is JSON")
}

fn define(c: &mut Criterion) {
    for (name, body) in [
        ("conversation_1kb", conversation(1_000)),
        ("conversation_100kb", conversation(100_000)),
        ("conversation_2mb", conversation(2_000_000)),
        ("image_2mb", image(2_000_000)),
        ("mixed_100kb_model_first", mixed(100_000, true)),
        ("mixed_100kb_model_last", mixed(100_000, false)),
    ] {
        let ours = rewrite(&body).concat();
        let (ours, tree): (Value, Value) = (
            serde_json::from_slice(&ours).expect("what is sent is JSON"),
            serde_json::from_slice(&round_trip(&body)).expect("what is sent is JSON"),
        );
        assert_eq!(ours, tree);

        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("copy", |b| b.iter(|| black_box(&body).to_vec()));
        group.bench_function("rewrite", |b| b.iter(|| rewrite(black_box(&body))));
        group.bench_function("tree", |b| b.iter(|| round_trip(black_box(&body))));
        group.finish();
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    define(&mut criterion);
    criterion.final_summary();
}
