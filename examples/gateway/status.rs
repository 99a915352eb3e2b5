//! The health of the pool as JSON.

use jiff::Timestamp;
use serde_json::{Value, json};
use tower_free_models::{Cooling, ImageQueue};

use crate::server::Gateway;

pub(crate) fn status(gateway: &Gateway) -> Value {
    let pool = gateway.catalog.snapshot();
    // Those that were never tried are shown as well.
    gateway.health.observe(&pool);
    let health = gateway.health.snapshot();
    let targets: Vec<_> = health
        .targets
        .iter()
        .filter(|target| pool.find(&target.id).is_some())
        .map(|target| {
            json!({
                "provider": target.id.provider(),
                "model": target.id.model(),
                "state": target.state.name(),
                "cooling": target.cooling.as_ref().map(cooling),
                "in_flight": target.tally.in_flight(),
                "started": target.tally.started,
                "succeeded": target.tally.succeeded,
                "failed": target.tally.failed,
                "abandoned": target.tally.abandoned,
                "success_rate": target.success_rate,
            })
        })
        .collect();
    let providers: Vec<_> = health
        .providers
        .iter()
        .filter_map(|provider| {
            let known = pool
                .providers()
                .iter()
                .find(|known| known.name() == provider.name)?;
            Some(json!({
                "name": provider.name,
                "targets": provider.targets,
                "cooling": provider.cooling.as_ref().map(cooling),
                "images": known.image_queue().as_ref().map(images),
            }))
        })
        .collect();
    json!({ "targets": targets, "providers": providers })
}

/// A server that makes one image at a time.
fn images(queue: &ImageQueue) -> Value {
    json!({
        "waiting": queue.waiting,
        "running": queue.running.map(|progress| json!({
            "fraction": progress.fraction,
            "eta_s": progress.eta.map(|eta| eta.as_secs_f64()),
        })),
    })
}

fn cooling(cooling: &Cooling) -> Value {
    json!({
        "until": Timestamp::try_from(cooling.until).ok().map(|until| until.to_string()),
        "remaining_s": cooling.remaining.as_secs_f64(),
        "stated": cooling.stated,
        "scope": cooling.scope.name(),
        "reason": cooling.reason.name(),
    })
}
