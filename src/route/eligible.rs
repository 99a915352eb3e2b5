//! Which targets of the catalog can serve a request at all, whatever their health.

use tokio::time::Instant;

use crate::{
    capability::{Capability, CapabilitySet},
    catalog::{Alike, Kind, Snapshot, Target, means_any},
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

/// What a target is to a request that it can serve, whatever its health.
#[derive(Clone, Copy)]
pub(super) struct Eligible<'a> {
    pub(super) kind: &'a Kind,
    /// Whether the request names it.
    pub(super) named: bool,
    /// Whether its provider serves the endpoint, as far as that is known.
    pub(super) serves: Option<bool>,
}

/// Targets that are the same to a request: all of one kind that it does not name, or one that it names.
struct Group<'a> {
    eligible: Eligible<'a>,
    /// The index of the kind.
    kind: usize,
    /// The index of the target that the request names.
    named: Option<usize>,
    count: usize,
    /// Of the capabilities that the request must have, those that these targets are known to lack.
    lacks: CapabilitySet,
}

/// The targets that can serve a request; at least one.
pub(super) struct EligibleTargets<'a> {
    snapshot: &'a Snapshot,
    /// By kind, what its targets are that the request does not name; empty where only named ones can serve it.
    by_kind: Vec<Option<Eligible<'a>>>,
    /// The targets that the request names, by index, ascending.
    named: Vec<(usize, Option<Eligible<'a>>)>,
}

impl<'a> EligibleTargets<'a> {
    /// By kind, what its targets are that the request does not name; empty where only named ones can serve it.
    pub(super) fn by_kind(&self) -> &[Option<Eligible<'a>>] {
        &self.by_kind
    }

    /// The indices of the targets that the request names, ascending.
    pub(super) fn named(&self) -> impl Iterator<Item = usize> {
        self.named.iter().map(|&(index, _)| index)
    }

    /// What the target of this index is to the request, if it can serve it.
    pub(super) fn get(&self, index: usize) -> Option<Eligible<'a>> {
        match self.named.binary_search_by_key(&index, |&(named, _)| named) {
            Ok(at) => self.named[at].1,
            Err(_) => {
                let kind = *self.snapshot.kind_of().get(index)? as usize;
                *self.by_kind.get(kind)?
            }
        }
    }
}

/// The targets that can serve the request at `now`; at least one.
pub(super) fn eligible<'a>(
    snapshot: &'a Snapshot,
    wish: &Wish<'_>,
    now: Instant,
) -> Result<EligibleTargets<'a>, Refusal> {
    let (mut groups, named) = open(snapshot, wish, now)?;
    let (models, needs) = (groups.iter().map(|group| group.count).sum(), wish.needs);
    groups.retain(|group| group.eligible.serves != Some(false));
    if groups.is_empty() {
        return Err(not_served(models, needs.endpoint));
    }
    if groups.iter().all(|group| !group.lacks.is_empty()) {
        // A need that no target meets explains more than the last one that some target missed.
        let lacked = |need| groups.iter().all(|group| group.lacks.contains(need));
        let by_all = needs.hard.iter().find(|&need| lacked(need));
        let by_last = || last(&groups, snapshot)?.lacks.iter().next();
        return Err(incapable(by_all.or_else(by_last), models, needs));
    }
    groups.retain(|group| group.lacks.is_empty());
    let is_unnamed = |group: &Group<'_>| group.named.is_none();
    let mut all = EligibleTargets {
        snapshot,
        by_kind: match groups.iter().any(is_unnamed) {
            true => vec![None; snapshot.kinds().len()],
            false => Vec::new(),
        },
        named: named.into_iter().map(|index| (index, None)).collect(),
    };
    for group in groups {
        match group.named {
            None => all.by_kind[group.kind] = Some(group.eligible),
            Some(index) => {
                let at = all.named.binary_search_by_key(&index, |&(named, _)| named);
                if let Ok(at) = at {
                    all.named[at].1 = Some(group.eligible);
                }
            }
        }
    }
    Ok(all)
}

/// The group of the last target, in the order of the snapshot, that is in one of these.
fn last<'g, 'a>(groups: &'g [Group<'a>], snapshot: &Snapshot) -> Option<&'g Group<'a>> {
    let is_named = |index| groups.iter().find(|group| group.named == Some(index));
    let mut kinds = snapshot.kind_of().iter().enumerate().rev();
    kinds.find_map(|(index, &kind)| {
        let is_unnamed = |group: &&Group<'_>| group.named.is_none() && group.kind == kind as usize;
        is_named(index).or_else(|| groups.iter().find(is_unnamed))
    })
}

/// The targets that the request may go to, whatever it needs, at least one; and the indices of those that it names.
fn open<'a>(
    snapshot: &'a Snapshot,
    wish: &Wish<'_>,
    now: Instant,
) -> Result<(Vec<Group<'a>>, Vec<usize>), Refusal> {
    let name = wish.requested.filter(|name| !means_any(name));
    let named = name.map_or_else(Vec::new, |name| snapshot.indices_named(name));
    // A request that names a model which is never picked at random gets no other, also where that model is not at the
    // only provider that would do.
    let is_own = |&index: &usize| !snapshot.targets()[index].model().is_random();
    let pinned = wish.pinned && name.is_some() || named.iter().any(is_own);
    let mut groups: Vec<Group<'a>> = Vec::with_capacity(named.len() + snapshot.kinds().len());
    let mut add = |alike: &'a Alike, kind, named: Option<usize>, count| {
        let target = &snapshot.targets()[named.unwrap_or(alike.first)];
        let provider = wish.provider;
        let is_there = provider.is_none_or(|provider| target.id().provider() == provider);
        if count > 0 && is_there && alike.kind.is_open_to(named.is_some(), now) {
            let eligible = Eligible {
                kind: &alike.kind,
                named: named.is_some(),
                serves: serves(target, wish),
            };
            groups.push(Group {
                eligible,
                kind,
                named,
                count,
                lacks: lacks(&eligible, target, wish.needs),
            });
        }
    };
    let (kinds, kind_of) = (snapshot.kinds(), snapshot.kind_of());
    for &index in &named {
        let kind = kind_of[index] as usize;
        add(&kinds[kind], kind, Some(index), 1);
    }
    if !pinned {
        for (kind, alike) in kinds.iter().enumerate() {
            let is_own = |&&index: &&usize| kind_of[index] as usize == kind;
            let unnamed = alike.count - named.iter().filter(is_own).count();
            add(alike, kind, None, unnamed);
        }
    }
    if !groups.is_empty() {
        return Ok((groups, named));
    }
    Err(match (name.filter(|_| pinned), wish.provider) {
        _ if snapshot.is_empty() && snapshot.awaited().len() > 0 => empty_pool(snapshot),
        (Some(name), Some(_)) if !named.is_empty() => response_elsewhere(name),
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
fn lacks(eligible: &Eligible<'_>, target: &Target, needs: &Needs) -> CapabilitySet {
    let kind = eligible.kind;
    let capabilities = kind.capabilities();
    let mut lacks = capabilities.missing(needs.hard);
    // A caller that names a model knows what it is for; no other request gets a model that is made for something else.
    let output = needs.endpoint.output();
    if !eligible.named && needs.hard.contains(output) && !kind.is_for(output) {
        lacks.insert(output);
    }
    // llama.cpp's server lists every model as one for text, also one that it embeds with. Embeddings go to a model that
    // is named, so no request gets them from a model that was not meant.
    lacks = lacks.difference(CapabilitySet::EMPTY.with(Capability::Embeddings));
    // Where a service reads files for a model that cannot, and bills that, only a stated capability is good enough.
    if target.provider().bills_files()
        && needs.hard.contains(Capability::FileInput)
        && !capabilities.yes.contains(Capability::FileInput)
    {
        lacks.insert(Capability::FileInput);
    }
    lacks
}
