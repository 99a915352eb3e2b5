//! The health of the pool as JSON.

use std::{
    collections::{BTreeSet, HashSet},
    time::SystemTime,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tower_free_models::{
    Provider, Target,
    health::{Cooling, LimitHealth},
    provider::{ImageQueue, Quantity},
    refresh::{AccountStatus, Report},
};

use crate::server::Gateway;

pub(crate) fn status(gateway: &Gateway) -> Value {
    let pool = gateway.catalog.snapshot();
    // Those that were never tried are shown as well.
    gateway.health.observe(&pool);
    let listed: HashSet<_> = pool.targets().iter().map(Target::id).collect();
    let health = gateway.health.snapshot();
    let targets: Vec<_> = health
        .targets
        .iter()
        .filter(|target| listed.contains(&target.id))
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
                "first_token_s": target.first_token.map(|mean| mean.as_secs_f64()),
                "limits": limits(&target.limits),
            })
        })
        .collect();
    let reports = gateway.reports.all();
    let in_pool = pool.providers().iter().map(Provider::name);
    // Those that have nothing to offer now are shown as well.
    let names: BTreeSet<_> = in_pool
        .chain(reports.iter().map(|report| report.provider.as_str()))
        .collect();
    let providers: Vec<_> = names
        .into_iter()
        .map(|name| {
            let of_health = health.providers.iter().find(|known| known.name == name);
            let report = reports.iter().find(|report| report.provider == name);
            let targets = pool.targets().iter();
            let known = pool.providers().iter().find(|known| known.name() == name);
            let queue = known.and_then(Provider::image_queue);
            json!({
                "name": name,
                "targets": targets.filter(|target| target.provider().name() == name).count(),
                "cooling": of_health.and_then(|known| known.cooling.as_ref()).map(cooling),
                "limits": of_health.map_or_else(Vec::new, |known| limits(&known.limits)),
                "listing": report.map(listing),
                "images": queue.as_ref().map(images),
                "account": report.and_then(|report| report.account.as_ref()).map(account),
            })
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

/// How the last refresh went; null for a provider whose models are written.
fn listing(report: &Report) -> Value {
    json!({
        "read_at": report.read_at.and_then(time),
        "failed": report.error.is_some(),
        "error": report.error.as_ref().map(ToString::to_string),
        "next": time(report.next),
    })
}

/// What a provider says of its key's own quota.
fn account(account: &AccountStatus) -> Value {
    json!({
        "free_tier": account.free_tier,
        "limit_remaining": account.limit_remaining,
        "daily_requests": account.daily_requests.map(|daily| json!({
            "used": daily.used,
            "limit": daily.limit,
            "remaining": daily.remaining,
        })),
        "read_at": time(account.read_at),
    })
}

/// Limits, what is left of them, and where each figure comes from.
fn limits(limits: &[LimitHealth]) -> Vec<Value> {
    let limit = |limit: &LimitHealth| {
        json!({
            "of": match limit.of {
                Quantity::Tokens => "tokens",
                _ => "requests",
            },
            "window_s": limit.window.map(|window| window.as_secs_f64()),
            "at_once": limit.at_once,
            "limit": limit.limit,
            "left": limit.left,
            "resets": limit.resets.and_then(time),
            "source": limit.source.name(),
        })
    };
    limits.iter().map(limit).collect()
}

fn time(at: SystemTime) -> Option<String> {
    Some(Timestamp::try_from(at).ok()?.to_string())
}

fn cooling(cooling: &Cooling) -> Value {
    json!({
        "until": time(cooling.until),
        "remaining_s": cooling.remaining.as_secs_f64(),
        "stated": cooling.stated,
        "scope": cooling.scope.name(),
        "reason": cooling.reason.name(),
    })
}
