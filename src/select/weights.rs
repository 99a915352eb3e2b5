//! What candidates weigh by what their limits leave, and a draw in proportion to that.

use crate::select::{Allowance, Candidate, Chance};

/// No upstream lets anybody send more requests a second. A limit that leaves more counts as this, so that sums stay finite.
const MOST: f64 = 1e9;

/// One in 30 years. A limit that leaves less leaves nothing.
const LEAST: f64 = 1e-9;

/// Draws one of the candidates, in proportion to their weights: uniformly where nothing is known of any.
///
/// It passes over the candidates three times at most, and allocates nothing.
pub(super) fn draw(candidates: &[Candidate<'_>], chance: &Chance) -> usize {
    let is_unknown = |one: &Candidate<'_>| {
        known(one.allowance).is_none() && known(one.account_allowance).is_none()
    };
    if candidates.iter().all(is_unknown) {
        return chance.below(candidates.len());
    }
    let (mut sum, mut count) = (0.0, 0);
    weights(candidates).flatten().for_each(|weight| {
        sum += weight;
        count += 1;
    });
    let of_unknown = match sum > 0.0 {
        true => sum / f64::from(count),
        // Of the others nothing is left.
        false => 1.0,
    };
    let total = sum + of_unknown * (candidates.len() as f64 - f64::from(count));
    if total <= 0.0 {
        return chance.below(candidates.len());
    }
    let mut rest = chance.unit() * total;
    let mut last = 0;
    for (index, weight) in weights(candidates).enumerate() {
        let weight = weight.unwrap_or(of_unknown);
        if rest < weight {
            return index;
        }
        if weight > 0.0 {
            last = index;
        }
        rest -= weight;
    }
    // The sum was rounded up.
    last
}

/// What each of the candidates weighs, in their order; `None` where nothing is known of it.
///
/// The candidates of one account stand together, as they do in the catalog.
fn weights(candidates: &[Candidate<'_>]) -> impl Iterator<Item = Option<f64>> {
    let accounts = candidates.chunk_by(|a, b| a.target.provider() == b.target.provider());
    accounts.flat_map(|account| {
        account.iter().map(|one| {
            let share = known(one.account_allowance).map(|left| left / account.len() as f64);
            let both = [known(one.allowance), share];
            both.into_iter().flatten().reduce(f64::min)
        })
    })
}

/// What an allowance leaves, if it is a number that makes sense.
fn known(allowance: Option<Allowance>) -> Option<f64> {
    let left = allowance?.left;
    let is_number = left >= 0.0 && left.is_finite();
    is_number.then(|| if left < LEAST { 0.0 } else { left.min(MOST) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::select::testing::{is_likely, targets};

    fn left(left: f64) -> Option<Allowance> {
        Some(Allowance::new(left, 1.0))
    }

    /// What the candidates weigh, as it is documented, where they are of these accounts.
    fn documented(candidates: &[Candidate<'_>]) -> Vec<f64> {
        let plain: Vec<_> = candidates
            .iter()
            .map(|one| {
                let provider = one.target.provider();
                let same = candidates
                    .iter()
                    .filter(|o| o.target.provider() == provider);
                let share = known(one.account_allowance).map(|all| all / same.count() as f64);
                match (known(one.allowance), share) {
                    (Some(own), Some(share)) => Some(own.min(share)),
                    (own, share) => own.or(share),
                }
            })
            .collect();
        let known: Vec<_> = plain.iter().copied().flatten().collect();
        let sum: f64 = known.iter().sum();
        let mean = if sum > 0.0 {
            sum / known.len() as f64
        } else {
            1.0
        };
        let all: Vec<_> = plain.iter().map(|one| one.unwrap_or(mean)).collect();
        match all.iter().sum::<f64>() > 0.0 {
            true => all,
            false => vec![1.0; all.len()],
        }
    }

    fn allowance() -> impl Strategy<Value = Option<Allowance>> {
        use prop::sample::select;
        let odd = select(vec![0.0, -1.0, f64::NAN, f64::INFINITY, f64::MAX, 5e-324]);
        prop_oneof![
            3 => Just(None),
            3 => (0..40_u32).prop_map(|n| left(f64::from(n) / 10.0)),
            1 => odd.prop_map(left),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn a_candidate_is_drawn_as_often_as_its_weight_says(
            known in prop::collection::vec((0..3_usize, allowance(), allowance()), 1..8),
            seed in any::<u64>(),
        ) {
            const DRAWS: u32 = 1_000;
            let mut known = known;
            known.sort_by_key(|one| one.0);
            let targets = targets(known.iter().map(|one| one.0));
            let mut candidates: Vec<_> = targets.iter().map(Candidate::new).collect();
            for (candidate, (_, own, account)) in candidates.iter_mut().zip(known) {
                (candidate.allowance, candidate.account_allowance) = (own, account);
            }
            let chance = Chance::seeded(seed);
            let mut drawn = vec![0_u32; candidates.len()];
            (0..DRAWS).for_each(|_| drawn[draw(&candidates, &chance)] += 1);
            let weights = documented(&candidates);
            let total: f64 = weights.iter().sum();
            for (count, weight) in drawn.iter().zip(&weights) {
                prop_assert!(
                    is_likely(*count, DRAWS, weight / total),
                    "{:?} of {:?}", drawn, weights,
                );
            }
        }
    }

    #[test]
    fn the_limit_of_an_account_is_shared_by_its_candidates() {
        let targets = targets([0, 0, 0, 1]);
        let mut candidates: Vec<_> = targets.iter().map(Candidate::new).collect();
        for candidate in &mut candidates {
            candidate.account_allowance = left(3.0);
        }
        candidates[2].allowance = left(0.5);
        let weights: Vec<_> = weights(&candidates).flatten().collect();
        assert_eq!(weights, [1.0, 1.0, 0.5, 3.0]);
    }

    #[test]
    fn a_draw_among_candidates_of_which_nothing_is_known_is_the_uniform_one() {
        let targets = targets([0; 50]);
        let mut candidates: Vec<_> = targets.iter().map(Candidate::new).collect();
        candidates[7].allowance = left(f64::NAN);
        let (chance, same) = (Chance::seeded(3), Chance::seeded(3));
        for _ in 0..100 {
            assert_eq!(draw(&candidates, &chance), same.below(50));
        }
    }
}
