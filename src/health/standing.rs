//! How a target stands at the moment of a pick.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    capability::CapabilitySet,
    catalog::{Snapshot, Target},
    health::{cooldown::Phase, state::State},
    provider::Provider,
};

/// How one target stands at the moment of a pick.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// Of the target's own phase and its provider's, the one that holds it back more.
    pub(crate) phase: Phase,
    pub(crate) quarantined: bool,
    /// Whether it succeeded lately.
    pub(crate) proven: bool,
    pub(crate) success_rate: Option<f64>,
    pub(crate) first_token: Option<Duration>,
    pub(crate) in_flight: u64,
    /// Capabilities that it was found to lack.
    pub(crate) lacks: CapabilitySet,
    /// The window that it was last found to have, in tokens.
    pub(crate) window: Option<u64>,
}

impl State {
    pub(super) fn standing(&self, target: &Target, now: Instant) -> Standing {
        self.standing_at(target, self.phase_of(target.provider(), now), now)
    }

    /// How every target of a snapshot stands.
    pub(super) fn standings(&self, snapshot: &Snapshot, now: Instant) -> Vec<Standing> {
        let mut last: Option<(&Provider, Phase)> = None;
        let targets = snapshot.targets().iter();
        targets
            .map(|target| {
                let provider = target.provider();
                // The targets of one provider stand together in a snapshot.
                let phase = match last {
                    Some((same, phase)) if same == provider => phase,
                    _ => self.phase_of(provider, now),
                };
                last = Some((provider, phase));
                self.standing_at(target, phase, now)
            })
            .collect()
    }

    fn phase_of(&self, provider: &Provider, now: Instant) -> Phase {
        let entry = self.providers.get(provider.name());
        entry.map_or(Phase::Healthy, |entry| entry.cooldown.phase(now))
    }

    fn standing_at(&self, target: &Target, provider: Phase, now: Instant) -> Standing {
        let Some(entry) = self.targets.get(target.id()) else {
            return Standing::untried(provider);
        };
        Standing {
            phase: worse(entry.cooldown.phase(now), provider),
            quarantined: entry.quarantined,
            proven: entry.is_proven(now),
            success_rate: entry.record.success_rate(),
            first_token: entry.record.mean_first_token(),
            in_flight: entry.tally.in_flight(),
            lacks: entry.lacks(now),
            window: entry.window(now),
        }
    }
}

impl Standing {
    const fn untried(phase: Phase) -> Self {
        Self {
            phase,
            quarantined: false,
            proven: false,
            success_rate: None,
            first_token: None,
            in_flight: 0,
            lacks: CapabilitySet::EMPTY,
            window: None,
        }
    }
}

/// The phase that holds a target back more; of two of one kind the one that ends later.
fn worse(a: Phase, b: Phase) -> Phase {
    const fn rank(phase: Phase) -> (u8, Option<Instant>) {
        match phase {
            Phase::Healthy => (0, None),
            Phase::Probation { rested: true } => (1, None),
            Phase::Probation { rested: false } => (2, None),
            Phase::Guessed(until, _) => (3, Some(until)),
            Phase::Probing(until) => (4, Some(until)),
            Phase::Stated(until, _) => (5, Some(until)),
        }
    }
    if rank(a) >= rank(b) { a } else { b }
}
