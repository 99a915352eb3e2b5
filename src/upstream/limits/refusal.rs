//! The limits that the body of a refusal states.

use std::time::SystemTime;

use http::HeaderMap;

use crate::{
    outcome::{LimitHit, LimitOf},
    provider::Quantity,
    upstream::{
        error::UpstreamError,
        limits::{headers::of_pairs, statement::Statement},
        resets::date,
    },
};

/// What the body of an error states: counters as OpenRouter has them in `metadata.headers`, and the limit that was
/// `hit`, which says how many are allowed in which time. The headers are stated already.
///
/// What a router passes on is stated of its own account at its upstream, and not of ours.
pub(crate) fn of_refusal(
    error: &UpstreamError,
    headers: &HeaderMap,
    hit: Option<&LimitHit>,
    now: SystemTime,
) -> Vec<Statement> {
    if error.envelope.is_of_routers_upstream() {
        return Vec::new();
    }
    let now = date(headers).unwrap_or(now);
    let mut all = of_pairs(&error.envelope.waits.counters, now);
    let Some(hit) = hit else { return all };
    let of = match hit.of {
        LimitOf::Requests => Quantity::Requests,
        LimitOf::Tokens => Quantity::Tokens,
        LimitOf::AtOnce => return all,
    };
    // The counter in a body is that of the limit which was hit.
    if let [only] = &mut all[..] {
        if only.of == of && only.window.is_none() && only.remaining == Some(0) {
            only.window = hit.window;
        }
    }
    if !all
        .iter()
        .any(|known| known.of == of && known.window == hit.window)
    {
        let mut new = Statement::new(of, hit.window);
        new.limit = hit.limit;
        all.extend(new.says_something().then_some(new));
    }
    all
}
