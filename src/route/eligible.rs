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
        by_kind: match open.pinned {
            true => Vec::new(),
            false => vec![None; snapshot.kinds().len()],
        },
        named: open.named.iter().map(|&index| (index, None)).collect(),
    };
    let (mut some_named, mut some_others) = (false, false);
    open.for_each_group(|group| match group.named {
        _ if !group.can_serve() => {}
        Some(at) => {
            all.named[at].1 = Some(group.eligible);
            some_named = true;
        }
        None => {
            all.by_kind[group.kind] = Some(group.eligible);
            some_others = true;
        }
    });
    if !some_others {
        all.by_kind.clear();
    }
    match some_named || some_others {
        true => Ok(all),
        false => Err(open.refusal()),
    }
}

impl Group<'_> {
    #[inline]
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
    #[inline]
    fn for_each_group(&self, mut take: impl FnMut(Group<'a>)) {
        let (kinds, kind_of) = (self.snapshot.kinds(), self.snapshot.kind_of());
        for (at, &index) in self.named.iter().enumerate() {
            let kind = kind_of[index] as usize;
            self.group(kind, index, Some(at), 1).map(&mut take);
        }
        if self.pinned {
            return;
        }
        for (kind, alike) in kinds.iter().enumerate() {
            let is_own = |&&index: &&usize| kind_of[index] as usize == kind;
            let unnamed = alike.count - self.named.iter().filter(is_own).count();
            self.group(kind, alike.first, None, unnamed).map(&mut take);
        }
    }

    /// So many targets of a kind, of which this `index` is one, if the request may go to them.
    #[inline]
    fn group(
        &self,
        kind: usize,
        index: usize,
        named: Option<usize>,
        count: usize,
    ) -> Option<Group<'a>> {
        let alike = &self.snapshot.kinds()[kind];
        let target = || &self.snapshot.targets()[index];
        let is_there = |provider| target().id().provider() == provider;
        let is_open = count > 0
            && alike.kind.is_open_to(named.is_some(), self.now)
            && self.wish.provider.is_none_or(is_there);
        if !is_open {
            return None;
        }
        let eligible = Eligible {
            kind: &alike.kind,
            named: named.is_some(),
            serves: serves(&alike.kind, target, self.wish),
        };
        Some(Group {
            lacks: lacks(&eligible, self.wish.needs),
            eligible,
            kind,
            named,
            count,
        })
    }

    /// Why no target can serve the request.
    fn refusal(&self) -> Refusal {
        let (snapshot, wish) = (self.snapshot, self.wish);
        let mut groups = Vec::new();
        self.for_each_group(|group| groups.push(group));
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
#[inline]
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
#[inline]
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
