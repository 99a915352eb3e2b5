//! The live pool in OpenAI's format.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tower_free_models::{Snapshot, Target};

/// The name that means any model of the pool.
const ANY: &str = "free";

/// `free` first, then every model once, by its bare id, with the providers that have it.
pub(crate) fn list(pool: &Snapshot) -> Value {
    let mut by_id = BTreeMap::<&str, Vec<&Target>>::new();
    for target in pool.targets() {
        by_id.entry(target.id().model()).or_default().push(target);
    }
    let models = by_id.values().map(|targets| model(targets));
    let data: Vec<_> = std::iter::once(any(pool)).chain(models).collect();
    json!({ "object": "list", "data": data })
}

pub(crate) fn find(pool: &Snapshot, id: &str) -> Option<Value> {
    if id == ANY {
        return Some(any(pool));
    }
    let named: Vec<_> = pool.named(id).collect();
    (!named.is_empty()).then(|| model(&named))
}

fn any(pool: &Snapshot) -> Value {
    let providers: Vec<_> = pool
        .providers()
        .iter()
        .map(|provider| provider.name())
        .collect();
    json!({ "id": ANY, "object": "model", "created": 0, "owned_by": "tower-free-models", "providers": providers })
}

/// One model at all its providers; there is always one.
fn model(targets: &[&Target]) -> Value {
    let first = targets[0];
    let id = first.id().model();
    // Ids are mostly `vendor/model`; OpenAI's format calls the vendor the owner.
    let vendor = id
        .split_once('/')
        .map_or_else(|| first.id().provider(), |(vendor, _)| vendor);
    json!({
        "id": id,
        "object": "model",
        "created": first.model().created().unwrap_or(0),
        "owned_by": first.model().owned_by().unwrap_or(vendor),
        "providers": targets.iter().map(|target| target.id().provider()).collect::<Vec<_>>(),
        "context_length": targets.iter().filter_map(|target| target.model().context_length()).max(),
    })
}
