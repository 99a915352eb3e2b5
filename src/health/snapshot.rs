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
        limits::Held,
        standing::worse,
        state::{State, Targets},
        tally::Tally,
    },
    limits::{Quota, Reported, Source as LimitSource},
    outcome::{OutcomeKind, Scope},
    provider::Quantity,
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
    /// The limits of this model alone.
    pub limits: Vec<LimitHealth>,
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
    /// The limits that all its models share.
    pub limits: Vec<LimitHealth>,
}

/// A limit, and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitHealth {
    /// What it counts.
    pub of: Quantity,
    /// The length of its window; `None` where it counts requests in flight, and where it is not known.
    pub window: Option<Duration>,
    /// Whether it counts requests in flight.
    pub at_once: bool,
    /// How many are allowed, if that is known.
    pub limit: Option<u64>,
    /// How many are left, as far as is known here: others may use the same account.
    pub left: u64,
    /// When more are left; `None` where nothing is used, or where requests in flight are counted.
    pub resets: Option<SystemTime>,
    /// Where the figure comes from.
    pub source: LimitSource,
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
        let mut entry = cell.lock();
        let limits = phase_by_limit(&mut entry.quota, now);
        let by_limit = cooling_by_limit(limits, Scope::Provider, clock, now);
        let by_cooldown = cooling(&entry.cooldown, Scope::Provider, clock, now);
        let whole = Whole {
            phase: worse(entry.cooldown.phase(now), limits),
            cooling: longest([by_cooldown, by_limit]),
            limits: limits_of(&entry.quota, clock, now),
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
        limits: whole.limits,
    };
    let mut providers: Vec<_> = wholes.into_iter().map(of_provider).collect();
    providers.sort_by(|a, b| a.name.cmp(&b.name));
    HealthSnapshot { targets, providers }
}

/// A provider as a whole.
struct Whole {
    phase: Phase,
    cooling: Option<Cooling>,
    limits: Vec<LimitHealth>,
    /// How many of its targets are known.
    targets: usize,
}

impl Default for Whole {
    fn default() -> Self {
        Self {
            phase: Phase::Healthy,
            cooling: None,
            limits: Vec::new(),
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
    let mut entry = cell.lock();
    let limits = phase_by_limit(&mut entry.quota, now);
    let by_limit = cooling_by_limit(limits, Scope::Target, clock, now);
    let own = cooling(&entry.cooldown, Scope::Target, clock, now);
    let cooling = longest([own, by_limit, whole.cooling]);
    let phases = [entry.cooldown.phase(now), limits, whole.phase];
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
        limits: limits_of(&entry.quota, clock, now),
    }
}

/// What holds a target back for longest: facts before guesses.
fn longest<const N: usize>(all: [Option<Cooling>; N]) -> Option<Cooling> {
    let all = all.into_iter().flatten();
    all.max_by_key(|cooling| (cooling.stated, cooling.until))
}

/// Whether a limit leaves no room. An estimate is no such limit: what is left by it stands among the limits.
fn phase_by_limit(quota: &mut Quota, now: Instant) -> Phase {
    match Held::by(quota.room(0, now), now).phase {
        full @ Phase::Stated(..) => full,
        _ => Phase::Healthy,
    }
}

/// A limit that leaves no room, as a cooldown.
fn cooling_by_limit(
    phase: Phase,
    scope: Scope,
    clock: &SharedClock,
    now: Instant,
) -> Option<Cooling> {
    let Phase::Stated(until, reason) = phase else {
        return None;
    };
    Some(Cooling {
        until: clock.wall(until),
        remaining: until - now,
        stated: true,
        scope,
        reason,
    })
}

fn limits_of(quota: &Quota, clock: &SharedClock, now: Instant) -> Vec<LimitHealth> {
    let limit = |limit: Reported| LimitHealth {
        of: limit.of,
        window: limit.window,
        at_once: limit.at_once,
        limit: limit.limit,
        left: limit.left,
        resets: limit.resets.map(|at| clock.wall(at)),
        source: limit.source,
    };
    quota.report(now).into_iter().map(limit).collect()
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
