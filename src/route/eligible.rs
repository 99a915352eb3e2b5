//! Which targets of the catalog can serve a request at all, whatever their health.

use tokio::time::Instant;

use crate::{
    capability::{Capability, CapabilitySet},
    catalog::{Kind, Snapshot, Target, means_any},
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
    /// Where the target that the request names stands among those that it names.
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
    let open = Open::new(snapshot, wish, now);
    let mut all = EligibleTargets {
        snapshot,
        by_kind: Vec::new(),
        named: open.named.iter().map(|&index| (index, None)).collect(),
    };
    let mut is_none = true;
    for group in open.groups().filter(Group::can_serve) {
        is_none = false;
        match group.named {
            Some(at) => all.named[at].1 = Some(group.eligible),
            None => {
                all.by_kind.resize(snapshot.kinds().len(), None);
                all.by_kind[group.kind] = Some(group.eligible);
            }
        }
    }
    match is_none {
        true => Err(open.refusal()),
        false => Ok(all),
    }
}

impl Group<'_> {
    fn can_serve(&self) -> bool {
        self.eligible.serves != Some(false) && self.lacks.is_empty()
    }
}

/// The targets that a request may go to, whatever it needs.
struct Open<'a, 'w> {
    snapshot: &'a Snapshot,
    wish: &'w Wish<'w>,
    now: Instant,
    /// The model that the request asks for.
    name: Option<&'w str>,
    /// The indices of the targets that it names, ascending.
    named: Vec<usize>,
    /// It may go to no other.
    pinned: bool,
}

impl<'a, 'w> Open<'a, 'w> {
    fn new(snapshot: &'a Snapshot, wish: &'w Wish<'w>, now: Instant) -> Self {
        let name = wish.requested.filter(|name| !means_any(name));
        let named = name.map_or_else(Vec::new, |name| snapshot.indices_named(name));
        // A request that names a model which is never picked at random gets no other, also where that model is not at the
        // only provider that would do.
        let is_own = |&index: &usize| !snapshot.targets()[index].model().is_random();
        let pinned = wish.pinned && name.is_some() || named.iter().any(is_own);
        Self {
            snapshot,
            wish,
            now,
            name,
            named,
            pinned,
        }
    }

    /// Those that the request names, and then, unless it may go to no others, the kinds of the others.
    fn groups(&self) -> impl Iterator<Item = Group<'a>> {
        let (kinds, kind_of) = (self.snapshot.kinds(), self.snapshot.kind_of());
        let named = self.named.iter().enumerate().map(move |(at, &index)| {
            let kind = kind_of[index] as usize;
            (kind, index, Some(at), 1)
        });
        let others = if self.pinned { &[] } else { kinds };
        let others = others.iter().enumerate().map(move |(kind, alike)| {
            let is_own = |&&index: &&usize| kind_of[index] as usize == kind;
            let unnamed = alike.count - self.named.iter().filter(is_own).count();
            (kind, alike.first, None, unnamed)
        });
        named
            .chain(others)
            .filter_map(|(kind, index, named, count)| {
                let eligible =
                    (count > 0).then(|| self.eligible(&kinds[kind].kind, index, named))??;
                Some(Group {
                    eligible,
                    kind,
                    named,
                    count,
                    lacks: lacks(&eligible, self.wish.needs),
                })
            })
    }

    /// What the targets of a kind are to the request, of which this `index` is one, if it may go to them.
    fn eligible(&self, kind: &'a Kind, index: usize, named: Option<usize>) -> Option<Eligible<'a>> {
        let target = || &self.snapshot.targets()[index];
        let provider = self.wish.provider;
        let is_there = provider.is_none_or(|provider| target().id().provider() == provider);
        let is_open = is_there && kind.is_open_to(named.is_some(), self.now);
        is_open.then(|| Eligible {
            kind,
            named: named.is_some(),
            serves: serves(kind, target, self.wish),
        })
    }

    /// Why no target can serve the request.
    fn refusal(&self) -> Refusal {
        let (snapshot, wish) = (self.snapshot, self.wish);
        let mut groups: Vec<_> = self.groups().collect();
        if groups.is_empty() {
            return match (self.name.filter(|_| self.pinned), wish.provider) {
                _ if snapshot.is_empty() && snapshot.awaited().len() > 0 => empty_pool(snapshot),
                (Some(name), Some(_)) if !self.named.is_empty() => response_elsewhere(name),
                (Some(name), _) => not_in_pool(name, wish.needs.endpoint),
                (None, Some(_)) => response_not_found(),
                (None, None) => empty_pool(snapshot),
            };
        }
        let models = groups.iter().map(|group| group.count).sum();
        groups.retain(|group| group.eligible.serves != Some(false));
        if groups.is_empty() {
            return not_served(models, wish.needs.endpoint);
        }
        // A need that no target meets explains more than the last one that some target missed.
        let lacked = |need| groups.iter().all(|group| group.lacks.contains(need));
        let by_all = wish.needs.hard.iter().find(|&need| lacked(need));
        let by_last = || self.last(&groups)?.lacks.iter().next();
        incapable(by_all.or_else(by_last), models, wish.needs)
    }

    /// The group of the last target, in the order of the snapshot, that is in one of these.
    fn last<'g>(&self, groups: &'g [Group<'a>]) -> Option<&'g Group<'a>> {
        let index_of = |group: &Group<'_>| group.named.map(|at| self.named[at]);
        let is_named = |index| groups.iter().find(|&group| index_of(group) == Some(index));
        let mut kinds = self.snapshot.kind_of().iter().enumerate().rev();
        kinds.find_map(|(index, &kind)| {
            let is_unnamed =
                |group: &&Group<'_>| group.named.is_none() && group.kind == kind as usize;
            is_named(index).or_else(|| groups.iter().find(is_unnamed))
        })
    }
}

/// Whether targets of a kind answer on the endpoint of the request, as far as that is known; `target` is one of them.
fn serves<'a>(kind: &Kind, target: impl Fn() -> &'a Target, wish: &Wish<'_>) -> Option<bool> {
    let endpoint = wish.needs.endpoint;
    if endpoint == Endpoint::ImageGenerations && images::Api::of(target()).is_some() {
        return Some(wish.image_layer);
    }
    match (kind.serves(endpoint), endpoint) {
        // A provider that speaks OpenAI's API at all serves chats.
        (None, Endpoint::ChatCompletions) => Some(true),
        (known, _) => known,
    }
}

/// The capabilities that a request must have and these targets are known to lack.
fn lacks(eligible: &Eligible<'_>, needs: &Needs) -> CapabilitySet {
    let kind = eligible.kind;
    // A caller that names a model knows what it is for; no other request gets a model that is made for something else.
    let output = needs.endpoint.output();
    let by_purpose = match eligible.named || kind.is_for(output) {
        true => CapabilitySet::EMPTY,
        false => CapabilitySet::EMPTY.with(output),
    };
    // llama.cpp's server lists every model as one for text, also one that it embeds with. Embeddings go to a model that
    // is named, so no request gets them from a model that was not meant.
    let embeddings = CapabilitySet::EMPTY.with(Capability::Embeddings);
    let lacks = kind.lacks().union(by_purpose).difference(embeddings);
    needs.hard.intersection(lacks)
}
