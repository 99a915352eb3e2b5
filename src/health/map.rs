//! The shared map.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::{
    catalog::{Snapshot, Target, TargetId},
    health::{
        attempt::Attempt,
        cooldown::{Cooldown, FIRST_GUESS, Phase},
        effect::Event,
        snapshot::HealthSnapshot,
        state::{ProviderEntry, Standing, State, TargetEntry},
        tally::End,
        waiting::{Interest, Line, Place},
    },
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
            rng,
        }))
    }

    /// Begins an attempt for `target`, if that may be tried now.
    ///
    /// `None` where it is quarantined or in a stated cooldown, or where another probe is under way. A target
    /// that is cooling by a guess, or in probation, gives its probe lease to this attempt.
    #[must_use = "an attempt that is dropped counts as abandoned"]
    pub fn begin(&self, target: &Target) -> Option<Attempt> {
        self.begin_beside(target, false)
    }

    /// The same; `probes`: also beside other probes, and then without a lease.
    pub(crate) fn begin_beside(&self, target: &Target, probes: bool) -> Option<Attempt> {
        let now = Instant::now();
        let mut state = self.lock(now);
        state.register(target);
        let standing = state.standing(target, now);
        match standing.phase {
            _ if standing.quarantined => return None,
            Phase::Stated(..) => return None,
            Phase::Probing(_) if !probes => return None,
            _ => {}
        }
        state.sequence += 1;
        let sequence = state.sequence;
        let lease = |cooldown: &mut Cooldown| {
            if cooldown.room(now) > 0 {
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
            in_line: false,
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
        self.with_line(|line| line.open(Interest::of(target)));
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
        self.with_line(|line| line.open(Interest::of_provider(name)));
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
        state.line.open(Interest::ALL);
    }

    /// How every target of a snapshot stands, and how often something has been freed so far, read under one lock.
    pub(crate) fn standings(&self, snapshot: &Snapshot) -> (Vec<Standing>, u64) {
        let now = Instant::now();
        let mut state = self.lock(now);
        state.observe(snapshot);
        (state.standings(snapshot, now), state.line.freed)
    }

    /// Joins the line of those that wait for one of these targets, or comes back to the place in it, after a look in
    /// vain. `read` is how often something had been freed by that look; says whether nothing has been freed since:
    /// if something was, the request has to look once more, and from now on it is called.
    pub(crate) fn wait_for<'a>(
        &self,
        wants: impl IntoIterator<Item = &'a TargetId>,
        place: &mut Option<Place>,
        read: u64,
    ) -> bool {
        let wants = wants.into_iter().collect();
        let mut state = self.lock(Instant::now());
        let is_fresh = state.line.freed == read;
        let number = place.as_ref().map(|place| place.number);
        let (number, notify) = state.line.join(number, wants, read);
        drop(state);
        place.get_or_insert_with(|| Place {
            map: self.clone(),
            number,
            notify,
        });
        is_fresh
    }

    /// When it is this request's turn after an end that several may wait for.
    pub(crate) fn turn(&self, place: &Place, end: Instant) -> Instant {
        let (now, chance) = (Instant::now(), self.0.rng.unit());
        self.lock(now).line.turn(place.number, end, now, chance)
    }

    /// Whether both are handles of one map.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn with_line(&self, change: impl FnOnce(&mut Line)) {
        change(&mut self.lock(Instant::now()).line);
    }

    /// When a target that has just failed may be tried once more by the same request, if only a guess or nothing
    /// holds it back: at the end of the guess, or after as long as a first one lasts.
    pub(crate) fn second_try(&self, target: &Target) -> Option<Instant> {
        let now = Instant::now();
        match self.lock(now).standing(target, now).phase {
            Phase::Stated(..) => None,
            Phase::Guessed(until, _) => Some(until),
            _ => Some(now + FIRST_GUESS.mul_f64(0.5 + 0.5 * self.0.rng.unit())),
        }
    }

    /// The stated end of a limit that holds a target back.
    pub(crate) fn end_of_limit(&self, target: &Target) -> Option<Instant> {
        let now = Instant::now();
        match self.lock(now).standing(target, now).phase {
            Phase::Stated(until, kind) if kind.is_limit() => Some(until),
            _ => None,
        }
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

    pub(crate) fn responded(&self, attempt: &Attempt) {
        let now = Instant::now();
        let mut state = self.lock(now);
        if state.free_leases(attempt) {
            state.call_to(&attempt.target, now);
        }
    }

    pub(crate) fn committed(&self, attempt: &Attempt) {
        let now = Instant::now();
        let event = self.event(attempt, now);
        let mut state = self.lock(now);
        let freed = state.free_leases(attempt);
        if state.answered(&event) || freed {
            state.call_to(&attempt.target, now);
        }
    }

    pub(crate) fn exhausted(&self, attempt: &Attempt, reset: Duration) {
        let now = Instant::now();
        self.lock(now).exhausted(&attempt.target, reset, now);
    }

    pub(crate) fn quarantine(&self, target: &TargetId) {
        if let Some(entry) = self.lock(Instant::now()).targets.get_mut(target) {
            entry.quarantined = true;
        }
    }

    pub(crate) fn ended(&self, attempt: &Attempt, end: End, outcome: Option<&Outcome>) {
        let now = Instant::now();
        let event = self.event(attempt, now);
        let mut state = self.lock(now);
        if let Some(entry) = state.targets.get_mut(attempt.target.id()) {
            entry.tally.end(end);
            if attempt.committed.is_some() {
                entry.answering = entry.answering.saturating_sub(1);
            }
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
            state.failed(outcome, &event);
        }
        // What held no lease frees nothing.
        if state.free_leases(attempt) {
            state.call_to(&attempt.target, now);
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::{
        catalog::Model,
        outcome::OutcomeKind,
        provider::{FreeRule, Provider},
    };

    fn targets() -> [Target; 2] {
        let provider = Provider::new("p").free(FreeRule::All).build().unwrap();
        ["a", "b"].map(|model| provider.target(Model::new(model)).unwrap())
    }

    fn join(health: &HealthMap, target: &Target) -> Place {
        let freed = health.lock(Instant::now()).line.freed;
        let mut place = None;
        assert!(health.wait_for([target.id()], &mut place, freed));
        place.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_frees_nothing_wakes_no_request() {
        let health = HealthMap::seeded(1);
        let [a, b] = targets();
        let (waits, also) = (join(&health, &a), join(&health, &a));
        let is_called = |place: &Place| place.called().now_or_never().is_some();
        // Neither of these holds a lease.
        let first = health.begin(&a).unwrap();
        let second = health.begin(&a).unwrap();
        let probe = health.begin(&b).unwrap();
        first.fail(&Outcome::of(OutcomeKind::Unavailable));
        drop(second);
        probe.fail(&Outcome::of(OutcomeKind::Unavailable));
        assert!(!is_called(&waits) && !is_called(&also));
        // A probe's end lets one look.
        tokio::time::advance(Duration::from_secs(1)).await;
        health.begin(&a).unwrap().responded();
        assert!(is_called(&waits) && !is_called(&also));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_catalog_lets_those_who_wait_look() {
        let health = HealthMap::seeded(1);
        let waits = join(&health, &targets()[0]);
        health.observe(&crate::Catalog::from_targets(targets()).snapshot());
        assert!(waits.called().now_or_never().is_some());
    }
}
