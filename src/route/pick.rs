//! The pick of a target for one attempt: facts exclude, estimates rank, the selector picks within the best tier.

use std::borrow::Cow;

use crate::{
    attempt_slot::NoTarget,
    health::{Against, Attempt, Binding, Bound, HealthMap, Place},
    refusal::Refusal,
    rng::Rng,
    route::{
        eligible::eligible,
        not_now::not_now,
        ranking::{Ranking, Shortlist},
        tier::{HeldBack, Judged},
        wish::Wish,
    },
    select::{Candidate, Chance, Random, Select, SelectRequest},
    session::{Memory, WaitState},
};

/// What a router picks from, and by.
pub(super) struct Pool<'a> {
    pub(super) binding: &'a Binding,
    /// Without one the pick is random.
    pub(super) select: Option<&'a dyn Select>,
    pub(super) rng: &'a Rng,
}

/// Why there is no pick.
pub(super) enum NoPick {
    /// No target can ever serve this request.
    Refused(Box<Refusal>),
    /// Some targets could serve it, but none may be tried now.
    NotNow(Box<NoTarget>),
}

impl Pool<'_> {
    /// Picks a target and begins an attempt for it.
    pub(super) fn pick(&self, wish: &Wish<'_>, memory: &mut Memory) -> Result<Attempt, NoPick> {
        let mut place = memory.place.take();
        let mut has_joined = false;
        loop {
            // Read before the catalog and the targets are: what is freed after that makes this request look again.
            let freed = self.binding.freed();
            let bound = self.binding.present();
            let health = &bound.map;
            let now = health.now();
            place.take_if(|place| !place.is_of(health));
            let eligible = eligible(&bound.snapshot, wish, now)
                .map_err(|refusal| NoPick::Refused(Box::new(refusal)))?;
            let tokens = match health.counts_tokens() {
                true => wish.needs.window(),
                false => 0,
            };
            let ranking = Ranking::new(&bound, &eligible, wish, memory, now, tokens);
            let shortlist = ranking.shortlist();
            if shortlist.best.is_empty() {
                let judged = ranking.judged();
                if judged.iter().any(|judged| judged.rank.is_ok()) {
                    // It was freed while the others were read.
                    continue;
                }
                // Once in the line the request is called for whatever is freed later: one more look is enough.
                let is_fresh = join_line(health, &judged, memory, &mut place, freed);
                if !is_fresh && !std::mem::replace(&mut has_joined, true) {
                    continue;
                }
                let no_target = not_now(&judged, memory, place);
                return Err(NoPick::NotNow(Box::new(no_target)));
            }
            let index = self.select(wish, &bound, &shortlist);
            let (cell, target) = (&bound.cells[index], &bound.snapshot.targets()[index]);
            let against = Against {
                guess: shortlist.is_guessed,
                probes: memory.wait == WaitState::Over,
            };
            // Where another request has changed what was read, this one reads again.
            if let Some(attempt) = health.begin_against(cell, target, against, tokens, now) {
                if let Some(place) = place {
                    place.served(target);
                }
                memory.had_choice = shortlist.untried > 1;
                return Ok(attempt);
            }
        }
    }

    /// The index of one of the best targets, which are at least one, or of one in probation.
    fn select(&self, wish: &Wish<'_>, bound: &Bound, shortlist: &Shortlist) -> usize {
        let explores = self.select.is_none_or(Select::explores);
        let best = self.among(shortlist, explores);
        // What is known of the candidates is not gathered where nothing reads it.
        let select = match self.select {
            Some(select) => select,
            None if bound.map.knows_limits() => &Random,
            None => return best[self.rng.below(best.len())] as usize,
        };
        let candidate = |&index: &u32| {
            let record = bound.cells[index as usize].record();
            Candidate {
                success_rate: record.success_rate,
                first_token: record.first_token,
                in_flight: record.in_flight,
                allowance: record.allowance,
                account_allowance: record.account_allowance,
                ..Candidate::new(&bound.snapshot.targets()[index as usize])
            }
        };
        let candidates: Vec<_> = best.iter().map(candidate).collect();
        let request = SelectRequest::new(wish.needs, wish.headers);
        let picked = select.select(&request, &candidates, &Chance::of(self.rng));
        best[picked.min(best.len() - 1)] as usize
    }

    /// The indices of the targets that this pick is among, ascending: those of the best rank, unless it is one of the few that
    /// may go to a target in probation.
    fn among<'s>(&self, shortlist: &'s Shortlist, explores: bool) -> Cow<'s, [u32]> {
        let (best, in_probation) = (&shortlist.best, &shortlist.in_probation);
        // No number is drawn where it makes no difference, so that a seed gives the same picks.
        if in_probation.is_empty() || self.rng.below(PROBATION_PICKS) > 0 {
            return best.into();
        }
        if explores {
            return in_probation.into();
        }
        let mut all = [&best[..], in_probation].concat();
        all.sort_unstable();
        all.into()
    }
}

/// One pick in so many goes to a target in probation while others are healthy. If none did, a target that has recovered
/// would not be used for two minutes. If all did, 5 to 7 % more calls would be wasted, as measured with simulated free tiers.
const PROBATION_PICKS: usize = 10;

/// Has a request that may wait join the line of those that wait for a target. Says whether what it has read is still
/// true; if not, it has to look once more.
fn join_line(
    health: &HealthMap,
    judged: &[Judged<'_>],
    memory: &Memory,
    place: &mut Option<Place>,
    freed: u64,
) -> bool {
    if memory.wait != WaitState::Waits || memory.is_hedge {
        return true;
    }
    // A target that was tried has to let its own time pass: until then a call is of no use to this request.
    let wanted = judged.iter().filter(|judged| {
        let held_back = judged.rank.as_ref().err();
        held_back.is_some_and(|held_back| {
            *held_back != HeldBack::Tried
                && held_back.is_worth_waiting_for(judged.target.id(), memory)
        })
    });
    let wanted = wanted.map(|judged| judged.target.id());
    health.wait_for(wanted, place, freed)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Barrier, Mutex,
            atomic::{AtomicBool, Ordering},
        },
        thread,
        time::Duration,
    };

    use futures_util::FutureExt;
    use http::HeaderMap;

    use super::*;
    use crate::{
        catalog::{Catalog, Model, Target},
        endpoint::Endpoint,
        outcome::{Outcome, OutcomeKind, Recovery},
        provider::{FreeRule, Provider},
        request::Needs,
    };

    const HOUR: Duration = Duration::from_secs(3600);

    fn provider(name: &str) -> Provider {
        let provider = Provider::new(name).base_url("http://p.test/v1");
        provider.free(FreeRule::All).build().unwrap()
    }

    fn target(provider: &Provider, model: &str) -> Target {
        provider.target(Model::new(model)).unwrap()
    }

    fn pick(
        binding: &Binding,
        select: Option<&dyn Select>,
        wait: WaitState,
    ) -> Result<Attempt, Option<Place>> {
        let pool = Pool {
            binding,
            select,
            rng: &Rng::seeded(1),
        };
        let (needs, headers) = (Needs::new(Endpoint::ChatCompletions), HeaderMap::new());
        let wish = Wish::any(&needs, &headers);
        let mut memory = Memory {
            wait,
            ..Memory::default()
        };
        pool.pick(&wish, &mut memory)
            .map_err(|no_pick| match no_pick {
                NoPick::Refused(_) => panic!("refused"),
                NoPick::NotNow(no_target) => no_target.place,
            })
    }

    #[test]
    fn without_a_strategy_the_pick_is_that_of_random() {
        let p = provider("p");
        let targets = (0..50).map(|n| target(&p, &format!("m{n}")));
        let catalog = Catalog::from_targets(targets);
        let binding = Binding::new(catalog, HealthMap::seeded(1));
        let rng = Rng::seeded(5);
        let plain = Rng::seeded(5);
        let mut memory = Memory::default();
        let (needs, headers) = (Needs::new(Endpoint::ChatCompletions), HeaderMap::new());
        let mut picks = |select, rng| {
            let binding = &binding;
            let pool = Pool {
                binding,
                select,
                rng,
            };
            let wish = Wish::any(&needs, &headers);
            let attempt = pool.pick(&wish, &mut memory).ok().unwrap();
            attempt.target().id().clone()
        };
        for _ in 0..20 {
            assert_eq!(picks(None, &rng), picks(Some(&Random), &plain));
        }
    }

    /// What so many requests get of a pool, each of which is abandoned at once.
    fn picks(
        binding: &Binding,
        select: Option<&dyn Select>,
        seed: u64,
        count: usize,
    ) -> Vec<String> {
        let (needs, headers) = (Needs::new(Endpoint::ChatCompletions), HeaderMap::new());
        let needs = needs.with_prompt_tokens(1_000);
        let wish = Wish::any(&needs, &headers);
        let rng = &Rng::seeded(seed);
        let pool = Pool {
            binding,
            select,
            rng,
        };
        let pick = |_| {
            let attempt = pool.pick(&wish, &mut Memory::default()).ok().unwrap();
            attempt.target().id().model().to_owned()
        };
        (0..count).map(pick).collect()
    }

    /// Healthy targets `a` and `b`; in probation `c`, which is as good, and `small`, which is not.
    async fn with_two_in_probation() -> Binding {
        let p = provider("p");
        let model = |id: &str, window| p.target(Model::new(id).context_length(window)).unwrap();
        let targets = [("a", 8_192), ("b", 8_192), ("c", 8_192), ("small", 500)];
        let targets = targets.map(|(id, window)| model(id, window));
        let health = HealthMap::seeded(1);
        for failed in &targets[2..] {
            let limited = Outcome::of(OutcomeKind::RateLimited);
            health.begin(failed).unwrap().fail(&limited);
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        Binding::new(Catalog::from_targets(targets), health)
    }

    #[tokio::test(start_paused = true)]
    async fn one_pick_in_ten_goes_to_a_target_in_probation_that_is_as_good_as_the_best() {
        let binding = with_two_in_probation().await;
        let picks = picks(&binding, None, 7, 10_000);
        let count = |id: &str| picks.iter().filter(|pick| *pick == id).count();
        // Ten standard deviations to each side of 1,000.
        assert!((700..1_300).contains(&count("c")), "{}", count("c"));
        assert_eq!(count("small"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_strategy_that_does_not_explore_gets_targets_in_probation_beside_the_healthy_ones() {
        let binding = with_two_in_probation().await;
        let seen = Mutex::new(Vec::new());
        let select = |_: &SelectRequest<'_>, candidates: &[Candidate<'_>], _: &Chance| {
            let ids = candidates.iter().map(|one| one.target.id().model());
            seen.lock().unwrap().push(ids.collect::<String>());
            0
        };
        assert_eq!(picks(&binding, Some(&select), 7, 1_000), ["a"; 1_000]);
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        let of_healthy = seen.partition_point(|ids| ids == "ab");
        assert!((800..1_000).contains(&of_healthy), "{of_healthy}");
        assert!(
            seen[of_healthy..].iter().all(|ids| ids == "abc"),
            "{seen:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_number_is_drawn_where_no_target_in_probation_is_good_enough() {
        let p = provider("p");
        let targets = ["a", "b"].map(|id| target(&p, id));
        let tiny = p.target(Model::new("tiny").context_length(500)).unwrap();
        let health = HealthMap::seeded(1);
        let limited = Outcome::of(OutcomeKind::RateLimited);
        health.begin(&tiny).unwrap().fail(&limited);
        tokio::time::advance(Duration::from_secs(2)).await;
        let all = targets.clone().into_iter().chain([tiny]);
        let with = Binding::new(Catalog::from_targets(all), health);
        let without = Binding::new(Catalog::from_targets(targets), HealthMap::seeded(1));
        assert_eq!(picks(&with, None, 7, 100), picks(&without, None, 7, 100));
    }

    #[test]
    fn a_cooldown_that_begins_during_a_pick_is_seen_before_the_attempt() {
        let limited = || Outcome::of(OutcomeKind::RateLimited);
        for outcome in [
            limited(),
            limited().provider(),
            limited().until(Recovery::After(HOUR)),
            limited().provider().until(Recovery::After(HOUR)),
        ] {
            for wait in [WaitState::Never, WaitState::Waits, WaitState::Over] {
                let targets = ["p", "q"].map(|name| target(&provider(name), "m"));
                let health = HealthMap::seeded(1);
                let binding = Binding::new(Catalog::from_targets(targets.clone()), health.clone());
                let fails = Mutex::new(health.begin(&targets[0]));
                // Another request fails at the target that this one has chosen.
                let select = |_: &SelectRequest<'_>, _: &[Candidate<'_>], _: &Chance| {
                    if let Some(attempt) = fails.lock().unwrap().take() {
                        attempt.fail(&outcome);
                    }
                    0
                };
                let attempt = pick(&binding, Some(&select), wait).ok().unwrap();
                assert_eq!(
                    attempt.target().id(),
                    targets[1].id(),
                    "{outcome:?} {wait:?}"
                );
            }
        }
    }

    #[test]
    fn a_request_that_waits_misses_no_new_catalog() {
        let [few, many] = ["few", "many"].map(provider);
        // So many kinds that it takes a while to find out which can serve a request.
        let model = |n: u64| Model::new(format!("m{n}")).context_length(4096 + n);
        let old: Vec<_> = (0..500).map(|n| many.target(model(n)).unwrap()).collect();
        let new = vec![target(&many, "new")];
        let all = [vec![target(&few, "m")], old.clone()].concat();
        let (catalog, health) = (Catalog::from_targets(all.clone()), HealthMap::seeded(1));
        for target in &all {
            let limited = Outcome::of(OutcomeKind::RateLimited).until(Recovery::After(HOUR));
            health.begin(target).unwrap().fail(&limited);
        }
        let binding = Binding::new(catalog.clone(), health.clone());
        for round in 0..100 {
            catalog.replace(&many, old.clone()).unwrap();
            assert!(pick(&binding, None, WaitState::Waits).is_err());
            let (barrier, is_replaced) = (Barrier::new(2), AtomicBool::new(false));
            thread::scope(|scope| {
                scope.spawn(|| {
                    barrier.wait();
                    catalog.replace(&many, new.clone()).unwrap();
                    health.observe(&catalog.snapshot());
                    is_replaced.store(true, Ordering::SeqCst);
                });
                barrier.wait();
                while let Err(place) = pick(&binding, None, WaitState::Waits) {
                    if is_replaced.load(Ordering::SeqCst) {
                        let call = place.unwrap().called().now_or_never();
                        assert!(call.is_some(), "round {round}");
                        break;
                    }
                }
            });
        }
    }
}
