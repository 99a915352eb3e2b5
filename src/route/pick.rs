//! The pick of a target for one attempt: facts exclude, estimates rank, the selector picks within the best tier.

use crate::{
    attempt_slot::NoTarget,
    catalog::{Catalog, Target},
    health::{Attempt, HealthMap, Place},
    refusal::Refusal,
    rng::Rng,
    route::{
        eligible::eligible,
        not_now::not_now,
        tier::{HeldBack, Judged, best},
        wish::Wish,
    },
    select::{Candidate, Chance, Select, SelectRequest},
    session::{Memory, WaitState},
};

/// What a router picks from, and by.
pub(super) struct Pool<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) health: &'a HealthMap,
    pub(super) select: &'a dyn Select,
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
        let snapshot = self.catalog.snapshot();
        let eligible =
            eligible(&snapshot, wish).map_err(|refusal| NoPick::Refused(Box::new(refusal)))?;
        let mut place = memory.place.take().filter(|place| place.is_of(self.health));
        let mut has_joined = false;
        loop {
            let (standings, freed) = self.health.standings(&snapshot);
            let judge = |&eligible| Judged::new(eligible, &standings, wish, memory);
            let judged: Vec<_> = eligible.iter().map(judge).collect();
            let best = best(&judged);
            if best.is_empty() {
                // Once in the line the request is called for whatever is freed later: one more look is enough.
                let is_fresh = self.join_line(&judged, memory, &mut place, freed);
                if !is_fresh && !std::mem::replace(&mut has_joined, true) {
                    continue;
                }
                let no_target = not_now(&judged, memory, place);
                return Err(NoPick::NotNow(Box::new(no_target)));
            }
            let target = self.select(wish, &best);
            let beside_probes = memory.wait == WaitState::Over;
            // Where another request has changed what was read, this one reads again.
            if let Some(attempt) = self.health.begin_beside(target, beside_probes) {
                if let Some(place) = place {
                    place.served(target);
                }
                let untried = judged.iter().filter(|judged| judged.is_untried());
                memory.had_choice = untried.count() > 1;
                return Ok(attempt);
            }
        }
    }

    fn select<'a>(&self, wish: &Wish<'_>, best: &[&Judged<'a>]) -> &'a Target {
        let candidates: Vec<_> = best
            .iter()
            .map(|judged| Candidate {
                target: judged.target,
                success_rate: judged.standing.success_rate,
                first_token: judged.standing.first_token,
                in_flight: judged.standing.in_flight,
            })
            .collect();
        let request = SelectRequest::new(wish.needs, wish.headers);
        let picked = self
            .select
            .select(&request, &candidates, &Chance::of(self.rng));
        candidates[picked.min(candidates.len() - 1)].target
    }

    /// Has a request that may wait join the line of those that wait for a target. Says whether what it has read is still
    /// true; if not, it has to look once more.
    fn join_line(
        &self,
        judged: &[Judged<'_>],
        memory: &Memory,
        place: &mut Option<Place>,
        freed: u64,
    ) -> bool {
        if memory.wait != WaitState::Waits {
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
        self.health.wait_for(wanted, place, freed)
    }
}
