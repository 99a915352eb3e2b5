//! The pick of a target for one attempt: facts exclude, estimates rank, the selector picks within the best tier.

use crate::{
    attempt_slot::NoTarget,
    health::{Attempt, Binding, Bound, HealthMap, Place},
    refusal::Refusal,
    rng::Rng,
    route::{
        eligible::eligible,
        not_now::not_now,
        ranking::{Ranking, Shortlist},
        tier::{HeldBack, Judged},
        wish::Wish,
    },
    select::{Candidate, Chance, Select, SelectRequest},
    session::{Memory, WaitState},
};

/// What a router picks from, and by.
pub(super) struct Pool<'a> {
    pub(super) binding: &'a Binding,
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
        let mut place = memory.place.take();
        let mut has_joined = false;
        loop {
            let bound = self.binding.present();
            let health = &bound.map;
            let now = health.now();
            place.take_if(|place| !place.is_of(health));
            let eligible = eligible(&bound.snapshot, wish, now)
                .map_err(|refusal| NoPick::Refused(Box::new(refusal)))?;
            // Read before the targets are: what is freed after that makes this request look again.
            let freed = health.freed();
            let ranking = Ranking::new(&bound, &eligible, wish, memory, now, health.nanos(now));
            let Shortlist { best, untried } = ranking.shortlist();
            if best.is_empty() {
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
            let index = self.select(wish, &bound, &best);
            let (cell, target) = (&bound.cells[index], &bound.snapshot.targets()[index]);
            let beside_probes = memory.wait == WaitState::Over;
            // Where another request has changed what was read, this one reads again.
            if let Some(attempt) = health.begin_beside(cell, target, beside_probes, now) {
                if let Some(place) = place {
                    place.served(target);
                }
                memory.had_choice = untried > 1;
                return Ok(attempt);
            }
        }
    }

    /// The index of one of the `best` targets, which are at least one.
    fn select(&self, wish: &Wish<'_>, bound: &Bound, best: &[u32]) -> usize {
        let candidate = |&index: &u32| {
            let record = bound.cells[index as usize].record();
            Candidate {
                target: &bound.snapshot.targets()[index as usize],
                success_rate: record.success_rate,
                first_token: record.first_token,
                in_flight: record.in_flight,
            }
        };
        let candidates: Vec<_> = best.iter().map(candidate).collect();
        let request = SelectRequest::new(wish.needs, wish.headers);
        let picked = self
            .select
            .select(&request, &candidates, &Chance::of(self.rng));
        best[picked.min(best.len() - 1)] as usize
    }
}

/// Has a request that may wait join the line of those that wait for a target. Says whether what it has read is still
/// true; if not, it has to look once more.
fn join_line(
    health: &HealthMap,
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
    health.wait_for(wanted, place, freed)
}
