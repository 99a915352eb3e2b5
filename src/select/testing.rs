//! What tests of strategies share.

use http::HeaderMap;

use crate::{
    catalog::{Model, Target},
    endpoint::Endpoint,
    provider::{FreeRule, Provider},
    request::Needs,
    select::{Candidate, Chance, Select, SelectRequest},
};

/// A target for each of these numbers of a provider, which ascend.
pub(super) fn targets(providers: impl IntoIterator<Item = usize>) -> Vec<Target> {
    let mut built: Vec<(usize, Provider)> = Vec::new();
    let all = providers.into_iter().enumerate().map(|(n, number)| {
        if built.last().is_none_or(|(last, _)| *last != number) {
            let provider = Provider::new(format!("p{number}")).free(FreeRule::All);
            built.push((number, provider.build().unwrap()));
        }
        let provider = &built.last().unwrap().1;
        provider.target(Model::new(format!("m{n}"))).unwrap()
    });
    all.collect()
}

pub(super) fn needs() -> Needs {
    Needs::new(Endpoint::ChatCompletions)
}

/// What a strategy picks for a request without a session, at these numbers of draws.
pub(super) fn picks(
    select: &dyn Select,
    candidates: &[Candidate<'_>],
    seed: u64,
    draws: usize,
) -> Vec<usize> {
    let (needs, headers) = (needs(), HeaderMap::new());
    let request = SelectRequest::new(&needs, &headers);
    let chance = Chance::seeded(seed);
    let draw = |_| select.select(&request, candidates, &chance);
    (0..draws).map(draw).collect()
}

/// Whether `count` of `draws`, each a hit with probability `p`, is nothing rarer than one in a thousand million: the exact
/// tail of the binomial distribution.
pub(super) fn is_likely(count: u32, draws: u32, p: f64) -> bool {
    const RARE: f64 = 1e-9;
    if p <= 0.0 || p >= 1.0 {
        return count == if p <= 0.0 { 0 } else { draws };
    }
    let ln_factorial: Vec<f64> = (0..=draws)
        .scan(0.0, |sum, n| {
            *sum += f64::from(n.max(1)).ln();
            Some(*sum)
        })
        .collect();
    let probability = |k: u32| {
        let rest = draws - k;
        let ways =
            ln_factorial[draws as usize] - ln_factorial[k as usize] - ln_factorial[rest as usize];
        (ways + f64::from(k) * p.ln() + f64::from(rest) * (-p).ln_1p()).exp()
    };
    let below: f64 = (0..=count).map(probability).sum();
    let above: f64 = (count..=draws).map(probability).sum();
    below > RARE && above > RARE
}

#[test]
fn a_count_is_likely_as_the_binomial_distribution_says() {
    // 2^-10 each at the ends, and 2^-40 for forty of forty.
    assert!(is_likely(0, 10, 0.5) && is_likely(10, 10, 0.5) && is_likely(5, 10, 0.5));
    assert!(!is_likely(0, 40, 0.5) && !is_likely(40, 40, 0.5) && is_likely(20, 40, 0.5));
    assert!(!is_likely(1, 10, 0.0) && is_likely(10, 10, 1.0) && !is_likely(9, 10, 1.0));
}
