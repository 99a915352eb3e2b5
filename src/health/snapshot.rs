//! The map as plain data.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::{
    catalog::TargetId,
    clock::SharedClock,
    health::{
        cell::{ProviderCell, TargetCell},
        cooldown::{Cooldown, Phase},
        state::{State, Targets},
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
    /// The health of one target, if the map has met it.
    #[must_use]
    pub fn target(&self, provider: &str, model: &str) -> Option<&TargetHealth> {
        self.targets
            .iter()
            .find(|target| target.id.provider() == provider && target.id.model() == model)
    }
}

/// Reads the targets one after another, each under its own lock. Those of one provider are all held back by what held the
/// provider back at the beginning.
pub(super) fn take(
    targets: &Targets,
    providers: &HashMap<Arc<str>, Arc<ProviderCell>>,
    clock: &SharedClock,
    now: Instant,
) -> HealthSnapshot {
    let of_provider = |cell: &Arc<ProviderCell>| {
        let entry = cell.lock();
        let whole = Whole {
            phase: entry.cooldown.phase(now),
            cooling: cooling(&entry.cooldown, Scope::Provider, clock, now),
            targets: 0,
        };
        (Arc::clone(&cell.name), whole)
    };
    let mut wholes: HashMap<_, _> = providers.values().map(of_provider).collect();
    let of_target = |cell: &Arc<TargetCell>| {
        // A provider is never forgotten.
        let whole = wholes.entry(Arc::clone(&cell.provider.name)).or_default();
        whole.targets += 1;
        target_health(cell, whole, clock, now)
    };
    let mut targets: Vec<_> = targets.values().map(of_target).collect();
    targets.sort_unstable_by(|a, b| {
        let by_provider = a.id.provider().cmp(b.id.provider());
        by_provider.then_with(|| a.id.model().cmp(b.id.model()))
    });
    let of_provider = |(name, whole): (Arc<str>, Whole)| ProviderHealth {
        name: name.to_string(),
        targets: whole.targets,
        cooling: whole.cooling,
    };
    let mut providers: Vec<_> = wholes.into_iter().map(of_provider).collect();
    providers.sort_by(|a, b| a.name.cmp(&b.name));
    HealthSnapshot { targets, providers }
}

/// A provider as a whole.
struct Whole {
    phase: Phase,
    cooling: Option<Cooling>,
    /// How many of its targets are known.
    targets: usize,
}

impl Default for Whole {
    fn default() -> Self {
        Self {
            phase: Phase::Healthy,
            cooling: None,
            targets: 0,
        }
    }
}

impl State {
    /// What cools a target: its own cooldown, and its provider's.
    pub(super) fn cooling(&self, cell: &TargetCell, now: Instant) -> [Option<Cooling>; 2] {
        let provider = cell.provider.lock();
        let whole = cooling(&provider.cooldown, Scope::Provider, &self.clock, now);
        let own = cooling(&cell.lock().cooldown, Scope::Target, &self.clock, now);
        [own, whole]
    }
}

fn target_health(
    cell: &TargetCell,
    whole: &Whole,
    clock: &SharedClock,
    now: Instant,
) -> TargetHealth {
    let entry = cell.lock();
    let own = cooling(&entry.cooldown, Scope::Target, clock, now);
    let cooling = [own, whole.cooling].into_iter().flatten();
    let cooling = cooling.max_by_key(|cooling| (cooling.stated, cooling.until));
    let phases = [entry.cooldown.phase(now), whole.phase];
    let is_gone = cooling.is_some_and(|cooling| {
        cooling.reason == OutcomeKind::Gone && cooling.scope == Scope::Target
    });
    let state = match phases.map(held_back).into_iter().max() {
        _ if entry.quarantined => TargetState::Quarantined,
        Some(3) if is_gone => TargetState::Gone,
        Some(3) => TargetState::Cooling,
        Some(2) => TargetState::Probing,
        Some(1) => TargetState::Probation,
        _ => TargetState::Healthy,
    };
    TargetHealth {
        id: cell.id.clone(),
        state,
        cooling,
        tally: entry.tally,
        success_rate: entry.record.success_rate(),
        first_token: entry.record.mean_first_token(),
        total: entry.record.mean_total(),
    }
}

/// How much a phase holds a target back.
const fn held_back(phase: Phase) -> u8 {
    match phase {
        Phase::Healthy => 0,
        Phase::Probation { .. } => 1,
        Phase::Probing(_) => 2,
        Phase::Stated(..) | Phase::Guessed(..) => 3,
    }
}

fn cooling(
    cooldown: &Cooldown,
    scope: Scope,
    clock: &SharedClock,
    now: Instant,
) -> Option<Cooling> {
    let (until, reason, stated) = cooldown.cooling(now)?;
    Some(Cooling {
        until: clock.wall(until),
        remaining: until - now,
        stated,
        scope,
        reason,
    })
}
