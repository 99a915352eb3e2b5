use crate::{
    hash::StableHash,
    select::{Allowance, Candidate, Chance, Select, SelectRequest, weights},
};

/// The same candidate for all requests of a conversation.
///
/// A conversation is known by its [session](SelectRequest::session), else by
/// [how it begins](SelectRequest::conversation); a request that has neither is picked for as [`Random`](super::Random) does.
/// Conversations that begin with the same words share a target, unless sessions tell them apart.
///
/// Nothing is remembered: the conversation and each candidate are hashed together, and the candidate with the best
/// hash wins (weighted rendezvous hashing). So every process that has the same pool picks the same, no client can change what
/// another one gets, and a conversation leaves its target only where it must:
///
/// - A target that leaves the pool, is cooling or has no room hands its conversations to the others, each to the one with the
///   next best hash, and has them back when it returns.
/// - A new target takes over conversations from the others in proportion to its weight, and no conversation moves
///   between the others.
/// - So does a target whose weight grows, and one whose weight shrinks hands some over.
///
/// A candidate weighs what its limits [grant](Allowance::granted) in the long run, because what they leave changes with
/// every request. Where a limit of an account is known, the account has that weight and its candidates share it. What is not
/// known counts as 20 requests a minute, which is what many services grant.
///
/// The hash is the same on every machine and in every version of this crate, but for one in 10^15 picks, because logarithms
/// may differ in the last bit from one machine to another.
///
/// ```
/// use http::HeaderMap;
/// use tower_free_models::{Model, Provider, Select, provider::{Endpoint, FreeRule}};
/// use tower_free_models::select::{Candidate, Chance, Needs, SelectRequest, Sticky};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let local = Provider::new("local").free(FreeRule::All).build()?;
/// let targets = ["a", "b", "c", "d"].map(|id| local.target(Model::new(id)).expect("a free model"));
/// let candidates = targets.each_ref().map(Candidate::new);
/// let needs = Needs::new(Endpoint::ChatCompletions);
/// let mut headers = HeaderMap::new();
/// headers.insert("x-session-id", "a conversation".parse()?);
/// let request = SelectRequest::new(&needs, &headers);
/// let pick = |candidates: &[Candidate<'_>], seed| {
///     let index = Sticky.select(&request, candidates, &Chance::seeded(seed));
///     candidates[index].target.id().clone()
/// };
///
/// let picked = pick(&candidates, 1);
/// assert_eq!(pick(&candidates, 2), picked);
/// // While another target is cooling, the conversation stays where it is.
/// let other = candidates.iter().position(|candidate| *candidate.target.id() != picked);
/// let mut fewer = candidates.to_vec();
/// fewer.remove(other.expect("another target"));
/// assert_eq!(pick(&fewer, 3), picked);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sticky;

/// What an unknown limit counts as, in requests a second: a fixed number, since a mean of what is known of others would move
/// conversations whenever one of those came or went.
const UNKNOWN: f64 = 20.0 / 60.0;

impl Select for Sticky {
    fn select(
        &self,
        request: &SelectRequest<'_>,
        candidates: &[Candidate<'_>],
        chance: &Chance,
    ) -> usize {
        let Some(key) = key(request) else {
            return weights::draw(candidates, chance);
        };
        let delays = candidates.iter().map(|candidate| delay(&key, candidate));
        let soonest = delays
            .enumerate()
            .reduce(|best, next| match next.1 < best.1 {
                true => next,
                false => best,
            });
        soonest.map_or(0, |(index, _)| index)
    }
}

/// What a hash of the conversation begins with.
fn key(request: &SelectRequest<'_>) -> Option<StableHash> {
    let key = StableHash::new();
    if let Some(session) = request.session() {
        return Some(key.field(b"session").field(session.as_bytes()));
    }
    let conversation = request.conversation()?;
    Some(key.field(b"begin").field(&conversation.to_le_bytes()))
}

/// How long after the beginning of a race a candidate would arrive, and of two that arrive together which is first: a number
/// drawn from an exponential distribution, whose rate is the weight, by the hash instead of by chance. So the
/// first of several to arrive is each of them in proportion to the weights, and which one it is depends on no other number
/// than theirs.
fn delay(key: &StableHash, candidate: &Candidate<'_>) -> (f64, f64) {
    let (id, own) = (candidate.target.id(), granted(candidate.allowance));
    let account = key.clone().field(id.provider().as_bytes());
    let target = account.clone().field(id.model().as_bytes());
    let within = exponential(target.finish()) / own.unwrap_or(UNKNOWN);
    match granted(candidate.account_allowance) {
        // All candidates of an account arrive together.
        Some(all) => (exponential(account.finish()) / all, within),
        None => (within, 0.0),
    }
}

/// A hash as a number drawn from the exponential distribution of rate 1.
fn exponential(hash: u64) -> f64 {
    /// 2^53: so many numbers from 0 to 1 are told apart.
    const STEPS: f64 = 9_007_199_254_740_992.0;
    -(((hash >> 11) as f64 + 0.5) / STEPS).ln()
}

/// What a limit grants, if it is known.
fn granted(allowance: Option<Allowance>) -> Option<f64> {
    let granted = allowance?.granted;
    (granted > 0.0 && granted.is_finite()).then_some(granted)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::select::testing::{is_likely, needs, picks, targets};

    /// The index that each of these conversations gets.
    fn homes(candidates: &[Candidate<'_>], conversations: u64) -> Vec<usize> {
        let (headers, chance) = (HeaderMap::new(), Chance::seeded(1));
        let home = |conversation| {
            let needs = needs().with_conversation(conversation);
            Sticky.select(&SelectRequest::new(&needs, &headers), candidates, &chance)
        };
        (0..conversations).map(home).collect()
    }

    fn grants(granted: f64) -> Option<Allowance> {
        Some(Allowance::new(0.0, granted))
    }

    /// Candidates of up to three accounts, some of which have a limit that is known.
    fn pool() -> impl Strategy<Value = Vec<(usize, Option<Allowance>, Option<Allowance>)>> {
        let weight = || prop::option::of((1..20_u32).prop_map(|n| f64::from(n) / 10.0));
        let accounts = [weight(), weight(), weight()];
        let own = prop::collection::vec((0..3_usize, weight()), 2..8);
        (own, accounts).prop_map(|(mut own, accounts)| {
            own.sort_by_key(|one| one.0);
            let one = |(account, own): (usize, Option<f64>)| {
                let all: Option<f64> = accounts[account];
                (account, own.and_then(grants), all.and_then(grants))
            };
            own.into_iter().map(one).collect()
        })
    }

    fn candidates<'a>(
        targets: &'a [crate::Target],
        pool: &[(usize, Option<Allowance>, Option<Allowance>)],
    ) -> Vec<Candidate<'a>> {
        let all = targets.iter().zip(pool);
        all.map(|(target, &(_, allowance, account_allowance))| Candidate {
            allowance,
            account_allowance,
            ..Candidate::new(target)
        })
        .collect()
    }

    const CONVERSATIONS: u64 = 200;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn a_candidate_that_goes_moves_its_own_conversations_and_no_others(
            pool in pool(), gone in any::<prop::sample::Index>(),
        ) {
            let targets = targets(pool.iter().map(|one| one.0));
            let all = candidates(&targets, &pool);
            let gone = gone.index(all.len());
            let mut fewer = all.clone();
            fewer.remove(gone);
            let moved = homes(&all, CONVERSATIONS).into_iter().zip(homes(&fewer, CONVERSATIONS));
            for (before, after) in moved {
                // Read the other way round, it is a candidate that comes.
                let after = after + usize::from(after >= gone);
                prop_assert!(before == gone || before == after);
            }
        }

        #[test]
        fn a_weight_that_grows_takes_conversations_over_and_one_that_shrinks_hands_some_over(
            pool in pool(), changed in any::<prop::sample::Index>(), to in 1..30_u32, of_account in any::<bool>(),
        ) {
            let targets = targets(pool.iter().map(|one| one.0));
            let all = candidates(&targets, &pool);
            let (account, mut changed_pool) = (changed.get(&pool).0, pool.clone());
            let same = |one: &(usize, Option<Allowance>, Option<Allowance>)| of_account && one.0 == account;
            let to = f64::from(to) / 10.0;
            let (of, grows) = if of_account {
                // Where the limit of an account becomes known, its candidates become a group, which is another matter.
                let Some(before) = changed.get(&pool).2 else { return Ok(()) };
                changed_pool.iter_mut().filter(|one| same(one)).for_each(|one| one.2 = grants(to));
                ((0..all.len()).filter(|&at| same(&pool[at])).collect(), to > before.granted)
            } else {
                let at = changed.index(pool.len());
                let before = pool[at].1.map_or(UNKNOWN, |before| before.granted);
                changed_pool[at].1 = grants(to);
                (vec![at], to > before)
            };
            let changed = candidates(&targets, &changed_pool);
            for (before, after) in homes(&all, CONVERSATIONS).into_iter().zip(homes(&changed, CONVERSATIONS)) {
                let end = if grows { after } else { before };
                prop_assert!(before == after || of.contains(&end));
                // Within an account whose weight changes nothing moves.
                prop_assert!(!of_account || before == after || of.contains(&before) != of.contains(&after));
            }
        }

        #[test]
        fn conversations_spread_in_proportion_to_the_weights(pool in pool()) {
            const MANY: u64 = 1_000;
            let targets = targets(pool.iter().map(|one| one.0));
            let homes = homes(&candidates(&targets, &pool), MANY);
            let own = |one: &(_, Option<Allowance>, _)| one.1.map_or(UNKNOWN, |own: Allowance| own.granted);
            let same = |of: usize| pool.iter().filter(move |one| one.0 == of);
            // Each account weighs what it is granted, or else what its candidates are.
            let weight = |of: usize| -> f64 {
                let all = same(of).next().map(|one| one.2.map(|all| all.granted));
                all.map_or(0.0, |all| all.unwrap_or_else(|| same(of).map(own).sum()))
            };
            let total: f64 = (0..3).map(weight).sum();
            for (at, one) in pool.iter().enumerate() {
                let within: f64 = same(one.0).map(own).sum();
                let p = weight(one.0) / total * own(one) / within;
                let count = homes.iter().filter(|&&home| home == at).count();
                prop_assert!(is_likely(count as u32, MANY as u32, p), "{}: {} of {}", at, count, p);
            }
        }
    }

    #[test]
    fn a_session_goes_before_the_beginning_of_the_conversation() {
        let targets = targets([0; 20]);
        let candidates: Vec<_> = targets.iter().map(Candidate::new).collect();
        let chance = Chance::seeded(1);
        let mut headers = HeaderMap::new();
        let mut of_session = Vec::new();
        for session in ["a", "b", "c", "d", "e", "f"] {
            headers.insert("x-session-id", HeaderValue::from_static(session));
            let home = |conversation| {
                let needs = needs().with_conversation(conversation);
                Sticky.select(&SelectRequest::new(&needs, &headers), &candidates, &chance)
            };
            let home_of_first = home(1);
            assert!((2..50).all(|conversation| home(conversation) == home_of_first));
            of_session.push(home_of_first);
        }
        // Pinned: the hash is the same in every version.
        assert_eq!(of_session, [8, 16, 9, 5, 18, 0]);
    }

    #[test]
    fn a_request_without_a_conversation_gets_what_random_picks() {
        let targets = targets([0, 0, 1]);
        let mut candidates: Vec<_> = targets.iter().map(Candidate::new).collect();
        candidates[2].allowance = Some(Allowance::new(5.0, 1.0));
        let of = |select: &dyn Select| picks(select, &candidates, 9, 100);
        assert_eq!(of(&Sticky), of(&crate::select::Random));
    }
}
