//! Which targets of the catalog can serve a request at all, whatever their health.

use tokio::time::Instant;

use crate::{
    capability::{Capability, CapabilitySet},
    catalog::{Snapshot, Target, means_any},
    endpoint::Endpoint,
    images,
    refusal::Refusal,
    request::Needs,
    route::{
        refusals::{
            empty_pool, incapable, not_in_pool, not_served, response_elsewhere, response_not_found,
        },
        wish::Wish,
    },
};

/// A target that can serve the request.
#[derive(Clone, Copy)]
pub(super) struct Eligible<'a> {
    pub(super) target: &'a Target,
    /// Its index in the snapshot.
    pub(super) index: usize,
    /// Whether the request names it.
    pub(super) named: bool,
    /// Whether its provider serves the endpoint, as far as that is known.
    pub(super) serves: Option<bool>,
}

/// The targets that can serve the request; at least one.
pub(super) fn eligible<'a>(
    snapshot: &'a Snapshot,
    wish: &Wish<'_>,
) -> Result<Vec<Eligible<'a>>, Refusal> {
    let mut pool = open(snapshot, wish)?;
    let (models, needs) = (pool.len(), wish.needs);
    pool.retain(|one| one.serves != Some(false));
    if pool.is_empty() {
        return Err(not_served(models, needs.endpoint));
    }
    if pool.iter().all(|one| !lacks(one, needs).is_empty()) {
        // A need that no target meets explains more than the last one that some target missed.
        let lacked = |need| pool.iter().all(|one| lacks(one, needs).contains(need));
        let by_all = needs.hard.iter().find(|&need| lacked(need));
        let by_last = || lacks(pool.last()?, needs).iter().next();
        return Err(incapable(by_all.or_else(by_last), models, needs));
    }
    pool.retain(|one| lacks(one, needs).is_empty());
    Ok(pool)
}

/// The targets that the request may go to, whatever it needs; at least one.
fn open<'a>(snapshot: &'a Snapshot, wish: &Wish<'_>) -> Result<Vec<Eligible<'a>>, Refusal> {
    let name = wish.requested.filter(|name| !means_any(name));
    let is_named = |target: &Target| name.is_some_and(|name| target.is_named(name));
    let is_there = |target: &Target| {
        let provider = wish.provider;
        provider.is_none_or(|provider| target.id().provider() == provider)
    };
    let now = Instant::now();
    let targets = snapshot.targets().iter().enumerate();
    let mut pool: Vec<_> = targets
        .filter(|(_, target)| is_there(target))
        .map(|(index, target)| Eligible {
            target,
            index,
            named: is_named(target),
            serves: serves(target, wish),
        })
        .filter(|one| one.target.is_open_to(one.named, now))
        .collect();
    // A request that names a model which is never picked at random gets no other, also where that model is not at the
    // only provider that would do. Few models are such, so their names are compared last.
    let is_own = |target: &Target| !target.model().is_random() && is_named(target);
    let pinned = wish.pinned && name.is_some() || snapshot.targets().iter().any(is_own);
    if pinned {
        pool.retain(|one| one.named);
    }
    if !pool.is_empty() {
        return Ok(pool);
    }
    Err(match (name.filter(|_| pinned), wish.provider) {
        _ if snapshot.is_empty() && snapshot.awaited().len() > 0 => empty_pool(snapshot),
        (Some(name), Some(_)) if snapshot.targets().iter().any(is_named) => {
            response_elsewhere(name)
        }
        (Some(name), _) => not_in_pool(name, wish.needs.endpoint),
        (None, Some(_)) => response_not_found(),
        (None, None) => empty_pool(snapshot),
    })
}

/// Whether a target answers on the endpoint of the request, as far as that is known.
fn serves(target: &Target, wish: &Wish<'_>) -> Option<bool> {
    let endpoint = wish.needs.endpoint;
    if endpoint == Endpoint::ImageGenerations && images::Api::of(target).is_some() {
        return Some(wish.image_layer);
    }
    match (target.provider().serves(endpoint), endpoint) {
        // A provider that speaks OpenAI's API at all serves chats.
        (None, Endpoint::ChatCompletions) => Some(true),
        (known, _) => known,
    }
}

/// The capabilities that a request must have and a target is known to lack.
fn lacks(one: &Eligible<'_>, needs: &Needs) -> CapabilitySet {
    let model = one.target.model();
    let capabilities = model.capabilities();
    let mut lacks = capabilities.missing(needs.hard);
    // A caller that names a model knows what it is for; no other request gets a model that is made for something else.
    let output = needs.endpoint.output();
    if !one.named && needs.hard.contains(output) && !model.is_for(output) {
        lacks.insert(output);
    }
    // llama.cpp's server lists every model as one for text, also one that it embeds with. Embeddings go to a model that
    // is named, so no request gets them from a model that was not meant.
    lacks = lacks.difference(CapabilitySet::EMPTY.with(Capability::Embeddings));
    // Where a service reads files for a model that cannot, and bills that, only a stated capability is good enough.
    if one.target.provider().bills_files()
        && needs.hard.contains(Capability::FileInput)
        && !capabilities.yes.contains(Capability::FileInput)
    {
        lacks.insert(Capability::FileInput);
    }
    lacks
}
