//! The shared map.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::Instant,
};

use super::{
    attempt::Attempt,
    cooldown::{Cooldown, Phase},
    effect::Event,
    snapshot::HealthSnapshot,
    state::{ProviderEntry, Standing, State, TargetEntry},
    tally::End,
};
use crate::{
    catalog::{Snapshot, Target, TargetId},
    outcome::Outcome,
    rng::Rng,
};

/// The health of every target. A cheap handle: clones share one map.
///
/// It is meant for one catalog: what is in that catalog now is what "every provider at once" is judged by.
/// It remembers a few hundred bytes for each target it has met. All time in it is tokio's, so a
/// test under paused time is exact; reading or changing it outside a tokio runtime works as well.
///
/// ```
/// use tower_free_models::{FreeRule, HealthMap, Model, Outcome, OutcomeKind, Provider, TargetState};
///
/// let local = Provider::new("local").base_url("http://127.0.0.1:9001/v1").free(FreeRule::All).build()?;
/// let target = local.target(Model::new("tiny"))?;
///
/// let health = HealthMap::new();
/// let attempt = health.begin(&target).expect("nothing is known against it");
/// attempt.fail(&Outcome::of(OutcomeKind::Unavailable));
///
/// let snapshot = health.snapshot();
/// assert_eq!(snapshot.targets[0].state, TargetState::Cooling);
/// assert_eq!(snapshot.targets[0].tally.failed, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct HealthMap(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Told whenever something that was held back may be free again.
    changed: Arc<Notify>,
    rng: Rng,
}

impl HealthMap {
    /// An empty map, in which nothing is known against anyone.
    #[must_use]
    pub fn new() -> Self {
        Self::with_rng(Rng::unpredictable())
    }

    /// The same, with its jitter drawn from a seeded generator.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self::with_rng(Rng::seeded(seed))
    }

    fn with_rng(rng: Rng) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State::new()),
            changed: Arc::new(Notify::new()),
            rng,
        }))
    }

    /// Begins an attempt for `target`, if that may be tried now.
    ///
    /// `None` where it is quarantined or in a stated cooldown, or where another probe is under way. A target
    /// that is cooling by a guess, or in probation, gives its probe lease to this attempt.
    #[must_use = "an attempt that is dropped counts as abandoned"]
    pub fn begin(&self, target: &Target) -> Option<Attempt> {
        let now = Instant::now();
        let mut state = self.lock(now);
        state.register(target);
        let standing = state.standing(target, now);
        if standing.quarantined || matches!(standing.phase, Phase::Stated(..) | Phase::Probing(_)) {
            return None;
        }
        state.sequence += 1;
        let sequence = state.sequence;
        let lease = |cooldown: &mut Cooldown| {
            if cooldown.needs_lease(now) {
                cooldown.take_lease(sequence, now);
            }
        };
        let entry = state.targets.get_mut(target.id())?;
        entry.tally.started += 1;
        lease(&mut entry.cooldown);
        lease(&mut state.providers.get_mut(target.provider().name())?.cooldown);
        drop(state);
        Some(Attempt {
            map: self.clone(),
            target: target.clone(),
            sequence,
            began: now,
            committed: None,
            ended: false,
            in_line: None,
        })
    }

    /// The health of all targets met so far, as plain data, sorted by provider and model.
    #[must_use]
    pub fn snapshot(&self) -> HealthSnapshot {
        let now = Instant::now();
        HealthSnapshot::of(&self.lock(now), now)
    }

    /// Forgets what is held against one target: cooldown, probation, quarantine, learned limits. Its counts stay.
    ///
    /// Says whether the target is known.
    pub fn reset(&self, target: &TargetId) -> bool {
        let known = self
            .lock(Instant::now())
            .targets
            .get_mut(target)
            .map(TargetEntry::forget_all)
            .is_some();
        self.0.changed.notify_waiters();
        known
    }

    /// Forgets what is held against a provider as a whole. Says whether the provider is known.
    pub fn reset_provider(&self, name: &str) -> bool {
        let known = self
            .lock(Instant::now())
            .providers
            .get_mut(name)
            .map(std::mem::take)
            .is_some();
        self.0.changed.notify_waiters();
        known
    }

    /// Forgets what is held against anyone.
    pub fn reset_all(&self) {
        let mut state = self.lock(Instant::now());
        state.targets.values_mut().for_each(TargetEntry::forget_all);
        state
            .providers
            .values_mut()
            .for_each(|provider| *provider = ProviderEntry::default());
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// How every target of a snapshot stands, read under one lock.
    pub(crate) fn standings(&self, snapshot: &Snapshot) -> Vec<Standing> {
        let now = Instant::now();
        let mut state = self.lock(now);
        state.observe(snapshot);
        state.standings(snapshot, now)
    }

    /// The stated end of a limit that holds a target back.
    pub(crate) fn end_of_limit(&self, target: &Target) -> Option<Instant> {
        let now = Instant::now();
        match self.lock(now).standing(target, now).phase {
            Phase::Stated(until, kind) if kind.is_limit() => Some(until),
            _ => None,
        }
    }

    /// Resolves at the next change that may free a target. What changes from here on is not missed, even if
    /// the future is polled later.
    pub(crate) fn changed(&self) -> OwnedNotified {
        Arc::clone(&self.0.changed).notified_owned()
    }

    /// The wall-clock time, in step with tokio's clock.
    pub(crate) fn wall(&self) -> SystemTime {
        let now = Instant::now();
        self.lock(now).clock.wall(now)
    }

    /// Makes the targets of a snapshot known, so that [`snapshot`](Self::snapshot) lists those that were never tried as well.
    pub fn observe(&self, snapshot: &Snapshot) {
        self.lock(Instant::now()).observe(snapshot);
    }

    /// Makes the targets of a snapshot known, and forgets those that have not been in any for a day, or that were never
    /// tried.
    ///
    /// What was seen to cost money stays quarantined for ever, and what has attempts in flight stays until they have
    /// ended. The day begins at the first sweep that misses a target; [`Refresh`](crate::Refresh) sweeps after each
    /// listing.
    pub fn sweep(&self, snapshot: &Snapshot) {
        let listed: HashSet<_> = snapshot.targets().iter().map(Target::id).collect();
        let now = Instant::now();
        let mut state = self.lock(now);
        state.observe(snapshot);
        state.sweep(&listed, now);
    }

    pub(super) fn committed(&self, attempt: &Attempt) {
        let now = Instant::now();
        let mut state = self.lock(now);
        // First: the success takes the lease along with the probation.
        let freed = free(&mut state, attempt);
        let event = self.event(attempt, now);
        state.answered(&event);
        drop(state);
        if freed {
            self.0.changed.notify_waiters();
        }
    }

    pub(super) fn exhausted(&self, attempt: &Attempt, reset: Duration) {
        let now = Instant::now();
        self.lock(now).exhausted(&attempt.target, reset, now);
    }

    pub(super) fn quarantine(&self, target: &TargetId) {
        if let Some(entry) = self.lock(Instant::now()).targets.get_mut(target) {
            entry.quarantined = true;
        }
    }

    pub(super) fn ended(&self, attempt: &Attempt, end: End, outcome: Option<&Outcome>) {
        let now = Instant::now();
        let mut state = self.lock(now);
        if let Some(entry) = state.targets.get_mut(attempt.target.id()) {
            entry.tally.end(end);
            if end == End::Succeeded {
                let since = |at: Instant| at.saturating_duration_since(attempt.began);
                entry
                    .record
                    .success(since(attempt.committed.unwrap_or(now)), since(now));
                entry.soft = 0;
                entry.last_success = Some(now);
            }
        }
        if let Some(outcome) = outcome {
            let event = self.event(attempt, now);
            state.failed(outcome, &event);
        }
        let freed = free(&mut state, attempt);
        drop(state);
        if freed || outcome.is_some() {
            self.0.changed.notify_waiters();
        }
    }

    fn event<'a>(&self, attempt: &'a Attempt, now: Instant) -> Event<'a> {
        Event {
            target: &attempt.target,
            began: attempt.sequence,
            now,
            chance: self.0.rng.unit(),
        }
    }

    fn lock(&self, now: Instant) -> MutexGuard<'_, State> {
        // Every change under the lock leaves the state consistent, so a poisoned one can be used.
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.catch_up(now);
        state
    }
}

/// Gives back the probe leases of an attempt.
fn free(state: &mut State, attempt: &Attempt) -> bool {
    let target = state
        .targets
        .get_mut(attempt.target.id())
        .map(|entry| &mut entry.cooldown);
    let freed = target.is_some_and(|cooldown| cooldown.free_lease(attempt.sequence));
    let provider = state
        .providers
        .get_mut(attempt.target.provider().name())
        .map(|entry| &mut entry.cooldown);
    provider.is_some_and(|cooldown| cooldown.free_lease(attempt.sequence)) || freed
}

impl Default for HealthMap {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HealthMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("HealthMap")
            .field("targets", &state.targets.len())
            .field("providers", &state.providers.len())
            .finish_non_exhaustive()
    }
}
