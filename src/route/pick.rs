//! Which target gets a request: facts exclude, estimates rank, the selector picks within the best tier.

use std::cmp::Reverse;

use tokio::time::Instant;

use crate::{
    attempt_slot::{Memory, WaitState},
    capability::{Capability, CapabilitySet},
    catalog::{Catalog, Snapshot, Target, means_any},
    endpoint::Endpoint,
    health::{Attempt, HealthMap, Phase, Standing},
    images,
    refusal::Refusal,
    request::Needs,
    rng::Rng,
    route::refusals::{
        Nobody, Out, empty_pool, incapable, not_in_pool, not_now, not_served, response_elsewhere,
        response_not_found,
    },
    select::{Candidate, Chance, Select},
};

/// What one pick goes by.
pub(crate) struct Wish<'a> {
    pub(crate) needs: &'a Needs,
    /// The model that the caller named.
    pub(crate) requested: Option<&'a str>,
    /// No other model will do.
    pub(crate) pinned: bool,
    /// A model that is named is tried first.
    pub(crate) prefer_requested: bool,
    /// Images can be asked for where a provider has another API for them than OpenAI's.
    pub(crate) image_layer: bool,
    /// No other provider has what the request builds upon.
    pub(crate) provider: Option<&'a str>,
}

/// What the pick reads and uses.
pub(crate) struct Pool<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) health: &'a HealthMap,
    pub(crate) select: &'a dyn Select,
    pub(crate) rng: &'a Rng,
}

/// How good a target is for a request; the lowest is best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Named,
    Fit,
    UnknownFit,
    /// Its window, its output, or something it was found to lack, seems not to be enough.
    Doubtful,
    Cooling,
}

impl Pool<'_> {
    /// Picks a target and begins an attempt for it.
    pub(crate) fn pick(&self, wish: &Wish<'_>, memory: &mut Memory) -> Result<Attempt, Nobody> {
        let snapshot = self.catalog.snapshot();
        let capable =
            capable(&snapshot, wish).map_err(|refusal| Nobody::Refused(Box::new(refusal)))?;
        let mut place = memory.place.take().filter(|place| place.is_of(self.health));
        let mut looks_once_more = false;
        loop {
            let (standings, freed) = self.health.standings(&snapshot);
            let judged: Vec<_> = capable
                .iter()
                .map(|&(index, named)| {
                    let (target, standing) = (&snapshot.targets()[index], &standings[index]);
                    (
                        target,
                        standing,
                        judge(
                            target,
                            standing,
                            named && wish.prefer_requested,
                            wish.needs,
                            memory,
                        ),
                    )
                })
                .collect();
            let best = best(&judged, memory);
            if best.is_empty() {
                let held_back = held_back(&judged);
                if memory.wait == WaitState::Waits {
                    // One that was tried has to let its own time pass: until then a call is of no use to it.
                    let wanted = held_back.iter().filter(|(target, _, out)| {
                        *out != Out::Tried && out.is_worth_waiting_for(target.id(), memory)
                    });
                    let wanted = wanted.map(|(target, ..)| target.id());
                    let is_fresh = self.health.wait_for(wanted, &mut place, freed);
                    // Once in the line it is called for whatever is freed later, so that one more look is enough.
                    if !is_fresh && !std::mem::replace(&mut looks_once_more, true) {
                        continue;
                    }
                }
                let no_target = not_now(&held_back, judged.len(), memory, place);
                return Err(Nobody::NotNow(Box::new(no_target)));
            }
            let candidates: Vec<_> = best
                .iter()
                .map(|&(target, standing)| Candidate {
                    target,
                    success_rate: standing.success_rate,
                    first_token: standing.first_token,
                    in_flight: standing.in_flight,
                })
                .collect();
            let picked = self
                .select
                .select(&candidates, &Chance(self.rng))
                .min(candidates.len() - 1);
            let target = candidates[picked].target;
            let beside_probes = memory.wait == WaitState::Over;
            // Another request may have changed what was read; then what is true now is read again.
            if let Some(attempt) = self.health.begin_beside(target, beside_probes) {
                if let Some(place) = place {
                    place.served(target);
                }
                let untried = |(.., verdict): &Judged<'_>| matches!(verdict, Ok((_, false)));
                memory.had_choice = judged.iter().filter(|judged| untried(judged)).count() > 1;
                return Ok(attempt);
            }
        }
    }
}

/// The targets that can serve the request, by index, and whether each was asked for by name.
fn capable(snapshot: &Snapshot, wish: &Wish<'_>) -> Result<Vec<(usize, bool)>, Refusal> {
    let pool = pool(snapshot, wish)?;
    let endpoint = wish.needs.endpoint;
    let (mut served, mut missing) = (false, None);
    let capable: Vec<_> = pool
        .iter()
        .filter(|&&(_, target, named)| {
            if serves(target, endpoint, wish.image_layer) == Some(false) {
                return false;
            }
            served = true;
            let lacks = lacks(target, named, wish.needs);
            if let Some(lack) = lacks.iter().next() {
                missing = Some(lack);
            }
            lacks.is_empty()
        })
        .map(|&(index, _, named)| (index, named))
        .collect();
    if capable.is_empty() && !served {
        return Err(not_served(pool.len(), endpoint));
    }
    if capable.is_empty() {
        // A need that no target meets explains more than the last one that some target missed.
        let by_all = wish.needs.hard.iter().find(|&need| {
            pool.iter()
                .all(|&(_, target, named)| lacks(target, named, wish.needs).contains(need))
        });
        return Err(incapable(by_all.or(missing), pool.len(), wish.needs));
    }
    Ok(capable)
}

/// The targets that the request may go to at all, by index, and whether each was asked for by name.
fn pool<'a>(
    snapshot: &'a Snapshot,
    wish: &Wish<'_>,
) -> Result<Vec<(usize, &'a Target, bool)>, Refusal> {
    let name = wish.requested.filter(|name| !means_any(name));
    let is_named = |target: &Target| name.is_some_and(|name| target.is_named(name));
    let there = |target: &Target| {
        wish.provider
            .is_none_or(|provider| target.id().provider() == provider)
    };
    let now = Instant::now();
    let mut pool: Vec<_> = snapshot
        .targets()
        .iter()
        .enumerate()
        .filter(|(_, target)| there(target))
        .map(|(index, target)| (index, target, is_named(target)))
        .filter(|&(_, target, named)| target.is_open_to(named, now))
        .collect();
    // Few models are: their names are looked at last.
    let is_own = |target: &Target| !target.model().is_random() && is_named(target);
    // Whoever asks for a model of their own has no use for another, also where it is not at the provider.
    let pinned = wish.pinned && name.is_some() || snapshot.targets().iter().any(is_own);
    if pinned {
        pool.retain(|&(_, _, named)| named);
    }
    if snapshot.is_empty() && snapshot.awaited().len() > 0 {
        return Err(empty_pool(snapshot));
    }
    if pool.is_empty() {
        return Err(match (name.filter(|_| pinned), wish.provider) {
            (Some(name), Some(_)) if snapshot.targets().iter().any(is_named) => {
                response_elsewhere(name)
            }
            (Some(name), _) => not_in_pool(name, wish.needs.endpoint),
            (None, Some(_)) => response_not_found(),
            (None, None) => empty_pool(snapshot),
        });
    }
    Ok(pool)
}

/// Whether a target answers on an endpoint, as far as that is known.
fn serves(target: &Target, endpoint: Endpoint, image_layer: bool) -> Option<bool> {
    if endpoint == Endpoint::ImageGenerations && images::Api::of(target).is_some() {
        return Some(image_layer);
    }
    match (target.provider().serves(endpoint), endpoint) {
        // Who speaks OpenAI's API at all chats.
        (None, Endpoint::ChatCompletions) => Some(true),
        (known, _) => known,
    }
}

/// What a target is known to lack of what a request must have.
fn lacks(target: &Target, named: bool, needs: &Needs) -> CapabilitySet {
    let capabilities = target.model().capabilities();
    let mut lacks = capabilities.missing(needs.hard);
    // A caller who names a model knows what it is for; no other request is given one that is made for something else.
    let output = needs.endpoint.output();
    if !named && needs.hard.contains(output) && !target.model().is_for(output) {
        lacks.insert(output);
    }
    // llama.cpp's server lists every model as one for text, also one that it embeds with. Vectors are asked for by name
    // only, so no request gets them from a model that was not meant.
    lacks = lacks.difference(CapabilitySet::EMPTY.with(Capability::Embeddings));
    // Where a service reads files for a model that cannot and bills that, neither unknown nor assumed is good enough.
    let stated = capabilities.yes.difference(target.model().assumed());
    if target.provider().bills_files()
        && needs.hard.contains(Capability::FileInput)
        && !stated.contains(Capability::FileInput)
    {
        lacks.insert(Capability::FileInput);
    }
    lacks
}

fn judge(
    target: &Target,
    standing: &Standing,
    named: bool,
    needs: &Needs,
    memory: &Memory,
) -> Result<(Tier, bool), Out> {
    if standing.quarantined {
        return Err(Out::Quarantined);
    }
    let tried = memory.tried.iter().find(|tried| tried.id == *target.id());
    if let Phase::Stated(until, kind) = standing.phase {
        return Err(Out::Cooling(until, kind));
    }
    if tried.is_some_and(|tried| !tried.again) {
        return Err(Out::Tried);
    }
    if memory
        .avoided
        .iter()
        .any(|avoided| *avoided.provider == *target.provider().name())
    {
        return Err(Out::Avoided);
    }
    let phase = match (standing.phase, memory.wait) {
        (Phase::Probing(until), WaitState::Never | WaitState::Waits) => {
            return Err(Out::Probing(until));
        }
        (Phase::Guessed(until, _), WaitState::Waits) => return Err(Out::Guessed(until)),
        (phase, _) => phase,
    };
    let tier = match phase {
        // A name is a wish to try that one first, and a target in probation needs a request that tries it.
        Phase::Probation { .. } if named => Tier::Named,
        Phase::Guessed(..)
        | Phase::Stated(..)
        | Phase::Probing(_)
        | Phase::Probation { rested: false } => Tier::Cooling,
        Phase::Probation { rested: true } | Phase::Healthy => {
            if named {
                Tier::Named
            } else {
                fit(target, standing, needs, memory)
            }
        }
    };
    Ok((tier, tried.is_some()))
}

fn fit(target: &Target, standing: &Standing, needs: &Needs, memory: &Memory) -> Tier {
    /// Any model that is offered today has at least such a window.
    const SMALLEST_WINDOW: u64 = 4096;
    let model = target.model();
    let window = window(target, standing);
    let too_small = window.is_some_and(|window| {
        window < needs.window()
            || memory
                .too_small
                .is_some_and(|too_small| window <= too_small)
    });
    let output_too_small = needs
        .output_tokens
        .zip(model.likely_output())
        .is_some_and(|(asked, most)| asked > most);
    if too_small || output_too_small || !standing.lacks.intersection(needs.hard).is_empty() {
        return Tier::Doubtful;
    }
    // A list of chat models need not say that they write text.
    let stated = crate::Capabilities {
        yes: model.capabilities().yes.with(Capability::TextOutput),
        no: model.capabilities().no,
    };
    // Where there is no image layer, no target that needs it comes so far.
    let known = serves(target, needs.endpoint, true) == Some(true)
        && stated.certain(needs.hard)
        && model.capabilities().missing(needs.soft).is_empty()
        && (window.is_some() || needs.window() <= SMALLEST_WINDOW);
    if known { Tier::Fit } else { Tier::UnknownFit }
}

/// The window that is stated, or the smaller one that was found.
fn window(target: &Target, standing: &Standing) -> Option<u64> {
    [target.model().context_length(), standing.window]
        .into_iter()
        .flatten()
        .min()
}

type Judged<'a> = (&'a Target, &'a Standing, Result<(Tier, bool), Out>);

/// The targets that are not up for a pick, and why.
fn held_back<'a>(judged: &[Judged<'a>]) -> Vec<(&'a Target, &'a Standing, Out)> {
    let out = |&(target, standing, ref verdict): &Judged<'a>| {
        Some((target, standing, *verdict.as_ref().err()?))
    };
    judged.iter().filter_map(out).collect()
}

/// The targets of the best tier.
fn best<'a>(judged: &[Judged<'a>], memory: &Memory) -> Vec<(&'a Target, &'a Standing)> {
    let up = judged
        .iter()
        .filter_map(|&(target, standing, ref verdict)| {
            let (tier, again) = *verdict.as_ref().ok()?;
            // The tried ones come after all others.
            Some((again, tier, target, standing))
        });
    let key = |&(again, tier, target, standing): &(bool, Tier, &Target, &Standing)| {
        // After a first failure those that succeeded lately go before unproven ones.
        let unproven = !memory.tried.is_empty() && !standing.proven;
        // Where all seem too small, or one was found to be, the largest is the best guess; where all are cooling,
        // what is over first.
        let by_room = tier == Tier::Doubtful || memory.too_small.is_some();
        let room = by_room.then(|| window(target, standing).unwrap_or(u64::MAX));
        let until = match standing.phase {
            Phase::Guessed(until, _) => Some(until),
            _ => None,
        };
        (again, tier, Reverse(room), unproven, until)
    };
    let Some(first) = up.clone().map(|entry| key(&entry)).min() else {
        return Vec::new();
    };
    up.filter(|entry| key(entry) == first)
        .map(|(_, _, target, standing)| (target, standing))
        .collect()
}
