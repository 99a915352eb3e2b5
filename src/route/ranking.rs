//! The targets that are the best for one attempt, found in one pass over all of them.
//!
//! Most targets have nothing held against them, and then their kind decides what they are worth. So that is decided once
//! for each kind, and the pass reads no more of a target than its kind and one atomic. Each of the others is judged for
//! itself: what the request names or has tried before, and what has something held against it.

use std::cmp::Ordering;

use tokio::time::Instant;

use crate::{
    catalog::Target,
    health::{Bound, Glance, Phase, Standing},
    route::{
        eligible::{Eligible, EligibleTargets},
        tier::{HeldBack, Judged, Rank, held_back, rank, worth},
        wish::Wish,
    },
    session::Memory,
};

/// What the targets are ranked by for one attempt.
pub(super) struct Ranking<'a> {
    bound: &'a Bound,
    eligible: &'a EligibleTargets<'a>,
    wish: &'a Wish<'a>,
    memory: &'a Memory,
    now: Instant,
    /// The same in nanoseconds after the epoch of the map.
    nanos: u64,
    /// Of the prompt and the answer, as estimated; 0 where no limit of tokens is known.
    tokens: u64,
    /// By [account](crate::catalog::Kind::account).
    providers: Vec<ProviderState>,
}

/// What a pick needs to know of a provider.
struct ProviderState {
    /// That of its targets against which nothing is held by themselves, and which have not succeeded lately.
    standing: Standing,
    /// These may not be tried now.
    is_held_back: bool,
    /// It cannot help the request any more.
    avoided: bool,
}

/// The best targets for one attempt.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shortlist {
    /// The indices of those of the best rank, ascending; empty where no target may be tried now.
    pub(super) best: Vec<u32>,
    /// Whether they cool by a guess.
    pub(super) is_guessed: bool,
    /// How many targets of any rank may be tried now that the request has not tried.
    pub(super) untried: usize,
    /// The indices of those in probation that would be of the best rank or a better one if they were healthy, ascending;
    /// empty where the best are not healthy themselves.
    pub(super) in_probation: Vec<u32>,
}

impl<'a> Ranking<'a> {
    pub(super) fn new(
        bound: &'a Bound,
        eligible: &'a EligibleTargets<'a>,
        wish: &'a Wish<'a>,
        memory: &'a Memory,
        now: Instant,
        tokens: u64,
    ) -> Self {
        let snapshot = &*bound.snapshot;
        let state = |&first: &usize| {
            let standing = bound.provider_standing(first, tokens, now);
            let avoided = memory.avoids(snapshot.targets()[first].id().provider());
            ProviderState {
                is_held_back: held_back(&standing, None, avoided, memory).is_err(),
                standing,
                avoided,
            }
        };
        let providers = snapshot.accounts().iter().map(state).collect();
        Self {
            bound,
            eligible,
            wish,
            memory,
            now,
            nanos: bound.map.nanos(now),
            tokens,
            providers,
        }
    }

    /// The targets of the best rank.
    pub(super) fn shortlist(&self) -> Shortlist {
        let special = self.special();
        let by_kind = self.ranks_by_kind();
        let mut found = Found::default();
        if by_kind.is_empty() {
            let judged = special.iter().filter_map(|&index| self.judged_rank(index));
            judged.for_each(|(index, rank)| found.add(index, rank));
            return self.shortlisted(found);
        }
        let tells_proven = self.tells_proven();
        let mut special = special.into_iter().peekable();
        let targets = self.bound.snapshot.kind_of().iter().zip(&self.bound.cells);
        for (index, (&kind, cell)) in (0..).zip(targets) {
            let glance = match special.next_if_eq(&index) {
                Some(_) => Glance::Look,
                None if by_kind[kind as usize].is_none() => continue,
                None => cell.glance(self.tokens, self.nanos),
            };
            let rank = match glance {
                Glance::Out => None,
                Glance::Look => self.judged_rank(index).map(|(_, rank)| rank),
                Glance::Clear if tells_proven && cell.is_proven(self.nanos) => {
                    by_kind[kind as usize].map(Rank::proven)
                }
                Glance::Clear => by_kind[kind as usize],
            };
            if let Some(rank) = rank {
                found.add(index, rank);
            }
        }
        self.shortlisted(found)
    }

    fn shortlisted(&self, found: Found) -> Shortlist {
        let Some(rank) = found.rank else {
            return Shortlist::default();
        };
        let is_as_good = |&index: &u32| self.rested_rank(index).is_some_and(|own| own <= rank);
        let in_probation = match rank.is_healthy() {
            true => found.probation.into_iter().filter(is_as_good).collect(),
            false => Vec::new(),
        };
        Shortlist {
            best: found.best,
            is_guessed: rank.is_guessed(),
            untried: found.untried,
            in_probation,
        }
    }

    /// The rank that a target which is in probation would have if its probes had been answered.
    fn rested_rank(&self, index: u32) -> Option<Rank> {
        let (eligible, mut standing) = self.standing(index as usize)?;
        if standing.phase != (Phase::Probation { rested: false }) {
            return None;
        }
        standing.phase = Phase::Probation { rested: true };
        let target = &self.bound.snapshot.targets()[index as usize];
        self.rank(target, &eligible, &standing).ok()
    }

    /// Whether it matters that a target has succeeded lately: it does once another has failed this request.
    fn tells_proven(&self) -> bool {
        !self.memory.tried.is_empty()
    }

    /// For each kind the rank of its targets against which nothing is held, and which have not succeeded lately, if they may
    /// be tried now.
    fn ranks_by_kind(&self) -> Vec<Option<Rank>> {
        let rank = |eligible: &Option<Eligible<'_>>| {
            let eligible = eligible.as_ref()?;
            let provider = &self.providers[eligible.kind.account];
            let worth = || worth(eligible, &provider.standing, false, self.wish, self.memory);
            (!provider.is_held_back).then(worth)
        };
        self.eligible.by_kind().iter().map(rank).collect()
    }

    /// The indices of the targets that the request names or has tried, ascending.
    fn special(&self) -> Vec<u32> {
        let tried = self.memory.tried.iter();
        let tried = tried.filter_map(|tried| self.bound.snapshot.index_of(&tried.id));
        let special = self.eligible.named().chain(tried);
        let mut special: Vec<_> = special
            .filter_map(|index| u32::try_from(index).ok())
            .collect();
        special.sort_unstable();
        special.dedup();
        special
    }

    /// All targets that can serve the request, each judged for itself, in the order of the snapshot.
    pub(super) fn judged(&self) -> Vec<Judged<'a>> {
        let all = 0..self.bound.snapshot.len();
        all.filter_map(|index| self.judge(index)).collect()
    }

    fn judged_rank(&self, index: u32) -> Option<(u32, Rank)> {
        let judged = self.judge(index as usize)?;
        Some((index, judged.rank.ok()?))
    }

    fn judge(&self, index: usize) -> Option<Judged<'a>> {
        let (eligible, standing) = self.standing(index)?;
        let target = &self.bound.snapshot.targets()[index];
        Some(Judged {
            target,
            phase: standing.phase,
            rank: self.rank(target, &eligible, &standing),
        })
    }

    /// What a target is to the request, if it can serve it, and how it stands.
    fn standing(&self, index: usize) -> Option<(Eligible<'a>, Standing)> {
        let eligible = self.eligible.get(index)?;
        let provider = &self.providers[eligible.kind.account];
        let standing = self.bound.cells[index].standing(&provider.standing, self.tokens, self.now);
        Some((eligible, standing))
    }

    fn rank(
        &self,
        target: &Target,
        eligible: &Eligible<'_>,
        standing: &Standing,
    ) -> Result<Rank, HeldBack> {
        let tried = self.memory.record_of(target.id());
        let avoided = self.providers[eligible.kind.account].avoided;
        rank(eligible, standing, tried, avoided, self.wish, self.memory)
    }
}

/// The best of the targets that were looked at so far.
#[derive(Default)]
struct Found {
    rank: Option<Rank>,
    best: Vec<u32>,
    untried: usize,
    /// Those in probation, or beside whose probes the request may be sent.
    probation: Vec<u32>,
}

impl Found {
    /// Takes note of a target that may be tried now.
    fn add(&mut self, index: u32, rank: Rank) {
        self.untried += usize::from(!rank.is_second_try());
        if !rank.is_healthy() && !rank.is_guessed() {
            self.probation.push(index);
        }
        match self.rank.map_or(Ordering::Less, |best| rank.cmp(&best)) {
            Ordering::Greater => return,
            Ordering::Equal => {}
            Ordering::Less => {
                self.rank = Some(rank);
                self.best.clear();
            }
        }
        self.best.push(index);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        capability::Capability,
        catalog::{Catalog, Model},
        endpoint::Endpoint,
        health::{Binding, HealthMap},
        outcome::{Lack, Outcome, OutcomeKind, Recovery},
        provider::{FreeRule, Provider},
        request::Needs,
        route::eligible::eligible,
        session::{SecondTry, WaitState},
    };

    const HOUR: Duration = Duration::from_secs(3600);

    /// A model of a pool, and what has happened to it.
    #[derive(Clone, Debug)]
    struct Sample {
        provider: usize,
        window: u64,
        max_output: u64,
        stated: usize,
        random: bool,
        events: Vec<usize>,
    }

    #[derive(Clone, Debug)]
    struct Request {
        endpoint: Endpoint,
        needs_tools: bool,
        prompt: u64,
        output: Option<u64>,
        requested: Option<&'static str>,
        pinned: bool,
        prefer_requested: bool,
        provider: Option<&'static str>,
        wait: WaitState,
        too_small: Option<u64>,
        /// Which targets were tried, and whether each may be tried again.
        tried: Vec<(usize, bool)>,
        avoided: Option<usize>,
    }

    fn sample() -> impl Strategy<Value = Sample> {
        let window = prop::sample::select(vec![0, 50, 4096, 8192]);
        let max_output = prop::sample::select(vec![0, 100]);
        let events = prop::collection::vec(0..9_usize, 0..3);
        (
            0..3_usize,
            window,
            max_output,
            0..4_usize,
            prop::bool::weighted(0.9),
            events,
        )
            .prop_map(
                |(provider, window, max_output, stated, random, events)| Sample {
                    provider,
                    window,
                    max_output,
                    stated,
                    random,
                    events,
                },
            )
    }

    fn request() -> impl Strategy<Value = Request> {
        use prop::sample::select;
        let asks = (
            select(vec![
                Endpoint::ChatCompletions,
                Endpoint::ChatCompletions,
                Endpoint::Responses,
                Endpoint::ImageGenerations,
            ]),
            any::<bool>(),
            select(vec![1, 60, 5000]),
            select(vec![None, Some(10), Some(200)]),
            select(vec![None, None, Some("m1"), Some("p1/m2"), Some("other")]),
            prop::bool::weighted(0.2),
            prop::bool::weighted(0.8),
            select(vec![None, None, None, Some("p0"), Some("p9")]),
        );
        let remembers = (
            select(vec![WaitState::Never, WaitState::Waits, WaitState::Over]),
            select(vec![None, None, Some(4096)]),
            prop::collection::vec((0..12_usize, any::<bool>()), 0..3),
            select(vec![None, None, Some(0), Some(1)]),
        );
        (asks, remembers).prop_map(|(asks, remembers)| Request {
            endpoint: asks.0,
            needs_tools: asks.1,
            prompt: asks.2,
            output: asks.3,
            requested: asks.4,
            pinned: asks.5,
            prefer_requested: asks.6,
            provider: asks.7,
            wait: remembers.0,
            too_small: remembers.1,
            tried: remembers.2,
            avoided: remembers.3,
        })
    }

    fn targets(samples: &[Sample]) -> Vec<Target> {
        let providers = [0, 1, 2].map(|n| {
            let provider = Provider::new(format!("p{n}")).free(FreeRule::All);
            let provider = provider.base_url(&format!("http://p{n}.test/v1"));
            match n {
                0 => provider,
                1 => provider.endpoints([Endpoint::ChatCompletions, Endpoint::Responses]),
                _ => provider.endpoints([Endpoint::ChatCompletions]),
            }
            .build()
            .unwrap()
        });
        let target = |(n, sample): (usize, &Sample)| {
            let model = Model::new(format!("m{}", n % 8));
            let model = model
                .context_length(sample.window)
                .max_output(sample.max_output);
            let model = match sample.stated {
                0 => model,
                1 => model.output(["text"]).parameters(["tools"]),
                2 => model.output(["text"]).parameters(["seed"]),
                _ => model.output(["text", "image"]),
            };
            providers[sample.provider]
                .target(model.random(sample.random))
                .unwrap()
        };
        samples.iter().enumerate().map(target).collect()
    }

    /// Lets this happen to the target; what is still in flight is added to `kept`.
    fn happen(
        event: usize,
        health: &HealthMap,
        target: &Target,
        kept: &mut Vec<crate::health::Attempt>,
    ) {
        let Some(attempt) = health.begin(target) else {
            return;
        };
        let limited = Outcome::of(OutcomeKind::RateLimited);
        match event {
            0 => attempt.succeed(),
            1 => attempt.fail(&limited.until(Recovery::After(HOUR))),
            2 => attempt.fail(&limited.until(Recovery::After(Duration::from_secs(1)))),
            3 => attempt.fail(&limited),
            4 => attempt.fail(&Outcome::unfit(Lack::Capability(Capability::Tools))),
            5 => attempt.fail(&Outcome::unfit(Lack::ContextLength(Some(60)))),
            6 => attempt.billed(),
            7 => attempt.fail(&limited.provider()),
            _ => kept.push(attempt),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

        /// What is decided by kind and by glance is what comes of judging each target for itself, as if it were alone in the
        /// catalog.
        #[test]
        fn the_shortlist_is_what_comes_of_judging_each_target_for_itself(
            samples in prop::collection::vec(sample(), 1..12),
            request in request(),
            pauses in prop::collection::vec(prop::sample::select(vec![0, 300, 1_000, 3_000, 700_000]), 3),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let catalog = Catalog::from_targets(targets(&samples));
                let health = HealthMap::seeded(1);
                let binding = Binding::new(catalog.clone(), health.clone());
                let bound = binding.present();
                let all = bound.snapshot.targets();
                let mut kept = Vec::new();
                let events = |round: usize| samples.iter().map(move |sample| sample.events.get(round));
                for (round, pause) in pauses.into_iter().enumerate() {
                    for (target, event) in targets(&samples).iter().zip(events(round)) {
                        event.into_iter().for_each(|&event| happen(event, &health, target, &mut kept));
                    }
                    tokio::time::advance(Duration::from_millis(pause)).await;
                }

                let mut needs = Needs::new(request.endpoint).with_prompt_tokens(request.prompt);
                needs.output_tokens = request.output;
                if request.needs_tools {
                    needs.hard.insert(Capability::Tools);
                }
                let headers = HeaderMap::new();
                let wish = |pinned| Wish {
                    needs: &needs,
                    headers: &headers,
                    requested: request.requested,
                    pinned,
                    prefer_requested: request.prefer_requested,
                    image_layer: false,
                    provider: request.provider,
                };
                let mut memory = Memory {
                    wait: request.wait,
                    too_small: request.too_small,
                    ..Memory::default()
                };
                for &(tried, again) in &request.tried {
                    let id = all[tried % all.len()].id();
                    memory.tried(id, SecondTry::Never);
                    memory.allow_again(|tried| again && tried.id == *id);
                }
                if let Some(provider) = request.avoided {
                    memory.avoid(&format!("p{provider}"), true);
                }

                let now = health.now();
                let is_own = |target: &&Target| {
                    let is_named = request.requested.is_some_and(|name| target.is_named(name));
                    is_named && !target.model().is_random()
                };
                let pinned = request.pinned || all.iter().find(is_own).is_some();
                let alone = |target: &Target| {
                    let snapshot = Catalog::from_targets([target.clone()]).snapshot();
                    eligible(&snapshot, &wish(pinned), now).is_ok()
                };
                let plain: Vec<_> = all.iter().map(alone).collect();
                let wish = wish(request.pinned);
                let Ok(eligible) = eligible(&bound.snapshot, &wish, now) else {
                    prop_assert!(!plain.contains(&true));
                    return Ok(());
                };
                let by_kind: Vec<_> = (0..all.len()).map(|index| eligible.get(index).is_some()).collect();
                prop_assert_eq!(by_kind, plain);

                let ranking = Ranking::new(&bound, &eligible, &wish, &memory, now, health.nanos(now));
                let shortlist = ranking.shortlist();
                let ranks: Vec<_> = (0..12).filter_map(|index| {
                    let judged = (index < all.len()).then(|| ranking.judge(index)).flatten()?;
                    Some((index as u32, judged.rank.ok()?))
                }).collect();
                let first = ranks.iter().map(|(_, rank)| rank).min();
                let best = ranks.iter().filter(|(_, rank)| Some(rank) == first);
                let untried = ranks.iter().filter(|(_, rank)| !rank.is_second_try()).count();
                let plain = Shortlist {
                    best: best.map(|(index, _)| *index).collect(),
                    is_guessed: first.is_some_and(Rank::is_guessed),
                    untried,
                    in_probation: ranks.iter().filter(|&&(index, rank)| {
                        let phase = ranking.judge(index as usize).map(|judged| judged.phase);
                        let is_cooling = phase == Some(Phase::Probation { rested: false }) && !rank.is_healthy();
                        let rested = ranking.rested_rank(index);
                        is_cooling && first.is_some_and(Rank::is_healthy) && rested.as_ref() <= first
                    }).map(|(index, _)| *index).collect(),
                };
                prop_assert_eq!(&shortlist, &plain);
                prop_assert_eq!(ranking.shortlist(), plain, "after each cell was read");
                prop_assert_eq!(ranking.judged().len(), (0..all.len()).filter(|&at| eligible.get(at).is_some()).count());
                Ok(())
            })?;
        }
    }
}
