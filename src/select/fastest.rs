use std::time::Duration;

use crate::select::{Candidate, Chance, Select, SelectRequest, weights};

/// Of two candidates, drawn as [`Random`](super::Random) draws one, that which should begin to answer sooner.
///
/// A candidate is expected to begin after its mean time to the first content, times the number of requests that would then be
/// under way at it, divided by its rate of success: a request that fails has to begin again elsewhere, so a failure, however
/// fast, makes a candidate look slower. One without a record counts as if it began after 500 ms and never failed, which is
/// sooner than most do, so that it is tried; each request that waits for it makes it look slower. A rate below 5 % counts as
/// 5 %, and a time below 1 ms as 1 ms.
///
/// The two may be one: so the slowest is picked now and then as well, and it is noticed if it has become fast. Most requests
/// avoid the slow candidates, and still not all of them meet at the fastest one, as they would if the best of all were taken.
///
/// ```
/// use std::time::Duration;
///
/// use tower_free_models::{Model, Provider, Select, provider::{Endpoint, FreeRule}};
/// use tower_free_models::select::{Candidate, Chance, Fastest, Needs, SelectRequest};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let local = Provider::new("local").free(FreeRule::All).build()?;
/// let targets = [local.target(Model::new("slow"))?, local.target(Model::new("fast"))?];
/// let mut candidates = [Candidate::new(&targets[0]), Candidate::new(&targets[1])];
/// candidates[0].first_token = Some(Duration::from_secs(3));
/// candidates[1].first_token = Some(Duration::from_secs(1));
/// let (needs, headers) = (Needs::new(Endpoint::ChatCompletions), http::HeaderMap::new());
/// let request = SelectRequest::new(&needs, &headers);
///
/// let chance = Chance::seeded(7);
/// let fast = (0..1_000).filter(|_| Fastest.select(&request, &candidates, &chance) == 1);
/// assert!((700..800).contains(&fast.count()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fastest;

/// When a candidate without a record is expected to begin. The simulated and measured free tiers begin between half a second
/// and some seconds after.
const UNKNOWN: Duration = Duration::from_millis(500);

/// So that a target which answers at once is still slower under load.
const SHORTEST: Duration = Duration::from_millis(1);

/// So that a target which has only failed can still be compared with others.
const LOWEST_RATE: f64 = 0.05;

impl Select for Fastest {
    fn select(
        &self,
        _: &SelectRequest<'_>,
        candidates: &[Candidate<'_>],
        chance: &Chance,
    ) -> usize {
        let [a, b] = [(); 2].map(|()| weights::draw(candidates, chance));
        let time = |index: usize| candidates.get(index).map(expected);
        if time(b) < time(a) { b } else { a }
    }

    fn explores(&self) -> bool {
        true
    }
}

/// After how many seconds a candidate should begin to answer.
fn expected(candidate: &Candidate<'_>) -> f64 {
    let first_token = candidate.first_token.unwrap_or(UNKNOWN).max(SHORTEST);
    let under_way = candidate.in_flight as f64 + 1.0;
    // A rate that is no number counts as the lowest.
    let rate = candidate.success_rate.unwrap_or(1.0).max(LOWEST_RATE);
    first_token.as_secs_f64() * under_way / rate
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::select::{
        Allowance,
        testing::{is_likely, picks, targets},
    };

    fn seconds(first_token: u64, success_rate: Option<f64>, in_flight: u64) -> f64 {
        let targets = targets([0]);
        expected(&Candidate {
            first_token: Some(Duration::from_secs(first_token)),
            success_rate,
            in_flight,
            ..Candidate::new(&targets[0])
        })
    }

    #[test]
    fn load_and_failures_make_a_candidate_slower() {
        assert_eq!(seconds(2, None, 0), 2.0);
        assert_eq!(seconds(2, Some(1.0), 3), 8.0);
        assert_eq!(seconds(2, Some(0.5), 0), 4.0);
        for rate in [0.0, -1.0, f64::NAN] {
            assert_eq!(seconds(1, Some(rate), 0), 20.0);
        }
        assert_eq!(seconds(0, None, 1), 0.002);
        assert!(seconds(u64::MAX, Some(0.0), u64::MAX).is_finite());
    }

    #[test]
    fn a_candidate_without_a_record_is_tried_until_requests_wait_for_it() {
        let targets = targets([0]);
        let new = Candidate::new(&targets[0]);
        assert!(expected(&new) < seconds(1, Some(1.0), 0));
        let asked = Candidate {
            in_flight: 2,
            ..new.clone()
        };
        assert!(expected(&asked) > seconds(1, Some(1.0), 0));
        let failing = Candidate {
            success_rate: Some(0.0),
            ..new
        };
        assert!(expected(&failing) > seconds(5, Some(1.0), 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn a_candidate_is_picked_unless_the_other_of_two_is_faster(
            all in prop::collection::vec((1..1_000_u64, 0..5_u32), 1..8), seed in any::<u64>(),
        ) {
            const DRAWS: usize = 1_000;
            let targets = targets(0..all.len());
            let candidates: Vec<_> = targets.iter().zip(&all).map(|(target, &(millis, left))| Candidate {
                first_token: Some(Duration::from_millis(millis)),
                allowance: Some(Allowance::new(f64::from(left), 1.0)),
                ..Candidate::new(target)
            }).collect();
            let picks = picks(&Fastest, &candidates, seed, DRAWS);
            // Those of one time are counted together.
            let total: f64 = all.iter().map(|one| f64::from(one.1)).sum();
            let share = |within: &dyn Fn(u64) -> bool| match total > 0.0 {
                true => all.iter().filter(|one| within(one.0)).map(|one| f64::from(one.1)).sum::<f64>() / total,
                false => all.iter().filter(|one| within(one.0)).count() as f64 / all.len() as f64,
            };
            for &(millis, _) in &all {
                let slower = share(&|other| other > millis);
                let at_least = share(&|other| other >= millis);
                let p = at_least * at_least - slower * slower;
                let count = picks.iter().filter(|&&at| all[at].0 == millis).count();
                prop_assert!(is_likely(count as u32, DRAWS as u32, p.clamp(0.0, 1.0)), "{} ms: {} of {}", millis, count, p);
            }
        }
    }
}
