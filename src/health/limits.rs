//! What the limits of a target, or of its provider, hold back.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::{
    health::cooldown::Phase,
    limits::{Ends, Room, Rule, Source},
    outcome::{OutcomeKind, Scope},
    provider::Provider,
};

/// When a call in flight ends is not known. A request that waits for one is called then, and looks by itself after so long.
const NEXT_END: Duration = Duration::from_secs(1);

/// How limits hold back a request of some size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) phase: Phase,
    /// The most tokens that a request can have by an estimate, where this one has more.
    pub(super) most_tokens: Option<u64>,
    /// It is a fact that the request has more tokens than the whole limit.
    pub(super) too_large: bool,
}

impl Held {
    pub(super) fn by(room: Room, now: Instant) -> Self {
        let reason = OutcomeKind::RateLimited;
        let phase = match room {
            Room::Now | Room::TooLarge { .. } => Phase::Healthy,
            // One call at a time may go beyond an estimate: if it is accepted, the estimate was wrong.
            Room::Estimated(_) | Room::AtOnce { is_fact: false } => {
                Phase::Probation { rested: false }
            }
            Room::Stated(until) | Room::Confirmed(until) => Phase::Stated(until, reason),
            Room::AtOnce { is_fact: true } => Phase::Stated(now + NEXT_END, reason),
        };
        let (most_tokens, too_large) = match room {
            Room::TooLarge { most, is_fact } => (Some(most), is_fact),
            _ => (None, false),
        };
        Self {
            phase,
            most_tokens,
            too_large,
        }
    }
}

/// The limits of a provider, or of each of its models, by the table and by its user.
pub(super) fn rules(
    provider: &Provider,
    scope: Scope,
    now: Instant,
    wall: SystemTime,
) -> Vec<Rule> {
    if provider.limits().is_empty() && provider.usual_limits().is_empty() {
        return Vec::new();
    }
    let ends = Ends {
        day: provider.day().rest(wall).map(|rest| now + rest),
        month: None,
    };
    let said = provider
        .limits()
        .iter()
        .map(|limit| (limit, Source::Operator));
    let usual = provider
        .usual_limits()
        .iter()
        .map(|limit| (limit, Source::Table));
    let of_scope = said.chain(usual).filter(|(limit, _)| limit.scope == scope);
    of_scope
        .map(|(limit, source)| Rule::of(limit, source, ends))
        .collect()
}
