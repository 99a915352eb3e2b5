//! The map as plain data.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::{
    catalog::TargetId,
    health::{
        cooldown::{Cooldown, Phase},
        state::State,
        tally::Tally,
    },
    outcome::{OutcomeKind, Scope},
};

/// The health of all targets and providers at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HealthSnapshot {
    /// Sorted by provider and model.
    pub targets: Vec<TargetHealth>,
    /// Sorted by name.
    pub providers: Vec<ProviderHealth>,
}

/// The health of one target.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TargetHealth {
    /// Which one.
    pub id: TargetId,
    /// Where it stands.
    pub state: TargetState,
    /// What holds it back, if anything does: its own cooldown, or its provider's where that ends later.
    pub cooling: Option<Cooling>,
    /// Its counts.
    pub tally: Tally,
    /// The share of successes among recent attempts, 0 to 1; `None` before the first.
    pub success_rate: Option<f64>,
    /// The mean time to the first content of recent successes.
    pub first_token: Option<Duration>,
    /// The mean time to the end of recent successes.
    pub total: Option<Duration>,
}

/// The health of one provider as a whole.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProviderHealth {
    /// Its name.
    pub name: String,
    /// How many of its targets the map has met.
    pub targets: usize,
    /// What holds all of it back, if anything does.
    pub cooling: Option<Cooling>,
}

/// A cooldown that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cooling {
    /// Its end.
    pub until: SystemTime,
    /// How long that is from now.
    pub remaining: Duration,
    /// Whether the end was named by the upstream or set by a fixed rule; else it is a guess.
    pub stated: bool,
    /// Whether it holds for the target or for its whole provider.
    pub scope: Scope,
    /// What it was set for.
    pub reason: OutcomeKind,
}

/// Where a target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TargetState {
    /// It may be picked.
    Healthy,
    /// It, or its provider, is cooling down.
    Cooling,
    /// A guessed cooldown has ended; the next attempt is a probe.
    Probation,
    /// A probe is under way.
    Probing,
    /// It was seen to cost money and is out until it is reset by hand.
    Quarantined,
    /// Its provider no longer has it.
    Gone,
}

impl TargetState {
    /// The name in snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Cooling => "cooling",
            Self::Probation => "probation",
            Self::Probing => "probing",
            Self::Quarantined => "quarantined",
            Self::Gone => "gone",
        }
    }
}

impl HealthSnapshot {
    pub(crate) fn of(state: &State, now: Instant) -> Self {
        let mut targets: Vec<_> = state
            .targets
            .iter()
            .map(|(id, entry)| {
                let own = cooling(&entry.cooldown, Scope::Target, state, now);
                let provider = state.providers.get(id.provider());
                let whole =
                    provider.and_then(|p| cooling(&p.cooldown, Scope::Provider, state, now));
                let cooling = own
                    .into_iter()
                    .chain(whole)
                    .max_by_key(|c| (c.stated, c.until));
                let phases = [
                    entry.cooldown.phase(now),
                    provider.map_or(Phase::Healthy, |p| p.cooldown.phase(now)),
                ];
                TargetHealth {
                    id: id.clone(),
                    state: if entry.quarantined {
                        TargetState::Quarantined
                    } else {
                        state_of(phases, cooling)
                    },
                    cooling,
                    tally: entry.tally,
                    success_rate: entry.record.success_rate(),
                    first_token: entry.record.mean_first_token(),
                    total: entry.record.mean_total(),
                }
            })
            .collect();
        targets
            .sort_by(|a, b| (a.id.provider(), a.id.model()).cmp(&(b.id.provider(), b.id.model())));
        let mut providers: Vec<_> = state
            .providers
            .iter()
            .map(|(name, entry)| ProviderHealth {
                name: name.to_string(),
                targets: state
                    .targets
                    .keys()
                    .filter(|id| id.provider() == &**name)
                    .count(),
                cooling: cooling(&entry.cooldown, Scope::Provider, state, now),
            })
            .collect();
        providers.sort_by(|a, b| a.name.cmp(&b.name));
        Self { targets, providers }
    }

    /// The health of one target, if the map has met it.
    #[must_use]
    pub fn target(&self, provider: &str, model: &str) -> Option<&TargetHealth> {
        self.targets
            .iter()
            .find(|target| target.id.provider() == provider && target.id.model() == model)
    }
}

fn cooling(cooldown: &Cooldown, scope: Scope, state: &State, now: Instant) -> Option<Cooling> {
    cooldown
        .cooling(now)
        .map(|(until, reason, stated)| Cooling {
            until: state.clock.wall(until),
            remaining: until - now,
            stated,
            scope,
            reason,
        })
}

fn state_of(phases: [Phase; 2], cooling: Option<Cooling>) -> TargetState {
    if phases
        .iter()
        .any(|phase| matches!(phase, Phase::Stated(..) | Phase::Guessed(..)))
    {
        match cooling {
            Some(Cooling {
                reason: OutcomeKind::Gone,
                scope: Scope::Target,
                ..
            }) => TargetState::Gone,
            _ => TargetState::Cooling,
        }
    } else if phases
        .iter()
        .any(|phase| matches!(phase, Phase::Probing(_)))
    {
        TargetState::Probing
    } else if phases
        .iter()
        .any(|phase| matches!(phase, Phase::Probation { .. }))
    {
        TargetState::Probation
    } else {
        TargetState::Healthy
    }
}
