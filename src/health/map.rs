//! The shared map.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::time::Instant;

use crate::{
    catalog::{Snapshot, Target, TargetId},
    clock::SharedClock,
    health::{
        cell::TargetCell,
        cooldown::{FIRST_GUESS, Phase, jittered},
        hooks::{EndedAttempt, Hooks},
        line::Interest,
        published::nanos,
        snapshot::{self, HealthSnapshot},
        state::{KnownLimits, State},
    },
    provider::Quantity,
    rng::Rng,
};

/// The health of every target. A cheap handle: clones share one map.
///
/// It is meant for one catalog: "every provider at once" means the providers in that catalog now. It remembers a few
/// hundred bytes for each target it has met. All time in it is tokio's, so a test under paused time is exact; reading or
/// changing it outside a tokio runtime works as well.
///
/// ```
/// use tower_free_models::{
///     HealthMap, Model, Provider, classify::{Outcome, OutcomeKind}, health::TargetState,
///     provider::FreeRule,
/// };
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
pub struct HealthMap(Arc<Handle>);

/// What clones of a handle count in, apart from what they share: threads that count in one place wait for each other.
#[repr(align(128))]
struct Handle(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    clock: Arc<SharedClock>,
    /// How many events have freed something.
    freed: Arc<AtomicU64>,
    known: Arc<KnownLimits>,
    /// How often targets were forgotten.
    sweeps: AtomicU64,
    rng: Rng,
    on_outcome: Hooks<EndedAttempt>,
    on_quarantine: Hooks<TargetId>,
}

impl HealthMap {
    /// An empty map, in which nothing is held against any target.
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
        let clock = Arc::new(SharedClock::new());
        let (freed, known) = (Arc::default(), Arc::default());
        Self::of(Arc::new(Shared {
            state: Mutex::new(State::new(
                Arc::clone(&clock),
                Arc::clone(&freed),
                Arc::clone(&known),
            )),
            clock,
            freed,
            known,
            sweeps: AtomicU64::new(0),
            rng,
            on_outcome: Hooks::default(),
            on_quarantine: Hooks::default(),
        }))
    }

    fn of(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Handle(shared)))
    }

    /// A handle of the same map whose clones are counted apart from those of this one.
    pub(super) fn sibling(&self) -> Self {
        Self::of(Arc::clone(self.shared()))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// Calls `hook` with each attempt that ends from now on: for logs, metrics and alarms.
    ///
    /// Several hooks may be added; they are called in that order and stay as long as the map. They are called after the
    /// outcome is recorded, on the thread that ended the attempt, so from several threads at a time; a slow hook delays a
    /// request. No lock is held: a hook may read and change the map. A panic in a hook is caught, and ends that call
    /// alone. An attempt that a hook ends is told to the hooks as well, so a hook that ends one each time would not return. Of two attempts that end at about the same time either may be told first.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use tower_free_models::{
    ///     HealthMap, Model, Provider, classify::{Outcome, OutcomeKind}, provider::FreeRule,
    /// };
    ///
    /// let health = HealthMap::new();
    /// let log = Arc::new(Mutex::new(Vec::new()));
    /// health.on_outcome({
    ///     let log = Arc::clone(&log);
    ///     move |ended| {
    ///         let mut line = format!("{} {} after {:?}", ended.target.id(), ended.outcome.kind, ended.total);
    ///         if let Some(cooling) = &ended.cooled {
    ///             line += &format!(", its {} cools for {:?}", cooling.scope.name(), cooling.remaining);
    ///         }
    ///         log.lock().unwrap().push(line);
    ///     }
    /// });
    ///
    /// let local = Provider::new("local").base_url("http://127.0.0.1:9001/v1").free(FreeRule::All).build()?;
    /// let attempt = health.begin(&local.target(Model::new("tiny"))?).expect("it is healthy");
    /// attempt.fail(&Outcome::of(OutcomeKind::Unavailable));
    ///
    /// let log = log.lock().unwrap();
    /// assert!(log[0].starts_with("local/tiny unavailable after "));
    /// assert!(log[0].contains("its target cools for "));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_outcome(&self, hook: impl Fn(&EndedAttempt) + Send + Sync + 'static) {
        self.shared().on_outcome.add(hook);
    }

    /// Calls `hook` with each target that is quarantined from now on, because an answer of it reported a cost. What is
    /// said of [`on_outcome`](Self::on_outcome) holds here too.
    pub fn on_quarantine(&self, hook: impl Fn(&TargetId) + Send + Sync + 'static) {
        self.shared().on_quarantine.add(hook);
    }

    /// The health of all targets met so far, as plain data, sorted by provider and model.
    ///
    /// Targets are read one after another, so that no request waits for all of them to be read: each is as it was at some
    /// moment during the call.
    #[must_use]
    pub fn snapshot(&self) -> HealthSnapshot {
        let (state, now) = self.lock();
        let (targets, providers) = (Arc::clone(&state.targets), state.providers.clone());
        drop(state);
        snapshot::take(&targets, &providers, &self.shared().clock, now)
    }

    /// Forgets what is held against one target: cooldown, probation, quarantine, learnt limits. Its counts stay.
    ///
    /// Says whether the target is known.
    #[expect(
        clippy::must_use_candidate,
        reason = "it is called for what it changes"
    )]
    pub fn reset(&self, target: &TargetId) -> bool {
        let (mut state, now) = self.lock();
        let cell = state.targets.get(target);
        let is_known = cell.map(|cell| cell.lock().forget_all(now)).is_some();
        state.line.open(Interest::of(target));
        is_known
    }

    /// Forgets what is held against a provider as a whole. Says whether the provider is known.
    #[expect(
        clippy::must_use_candidate,
        reason = "it is called for what it changes"
    )]
    pub fn reset_provider(&self, name: &str) -> bool {
        let (mut state, now) = self.lock();
        let cell = state.providers.get(name);
        let is_known = cell.map(|cell| cell.lock().forget_all(now));
        state.line.open(Interest::of_provider(name));
        is_known.is_some()
    }

    /// Forgets what is held against all targets and providers.
    pub fn reset_all(&self) {
        let (mut state, now) = self.lock();
        for cell in state.targets.values() {
            cell.lock().forget_all(now);
        }
        for cell in state.providers.values() {
            cell.lock().forget_all(now);
        }
        state.line.open(Interest::ALL);
    }

    /// Makes the targets of a snapshot known, so that [`snapshot`](Self::snapshot) lists those that were never tried as
    /// well.
    pub fn observe(&self, snapshot: &Snapshot) {
        self.lock().0.observe(snapshot);
    }

    /// Makes the targets of a snapshot known, and forgets those that have not been in any for a day, or that were never
    /// tried.
    ///
    /// A target that was seen to cost money stays quarantined for ever, and one that has attempts in flight stays until
    /// they have ended. The day begins at the first sweep that misses a target; [`Refresh`](crate::refresh::Refresh) sweeps after
    /// each listing.
    pub fn sweep(&self, snapshot: &Snapshot) {
        let listed: HashSet<_> = snapshot.targets().iter().map(Target::id).collect();
        let (mut state, now) = self.lock();
        state.observe(snapshot);
        if state.sweep(&listed, now) {
            self.shared().sweeps.fetch_add(1, Ordering::Release);
        }
    }

    /// What is known of the targets of a snapshot, in its order.
    pub(super) fn cells(&self, snapshot: &Snapshot) -> Vec<Arc<TargetCell>> {
        let (mut state, _) = self.lock();
        state.observe(snapshot);
        let targets = snapshot.targets().iter();
        targets.map(|target| state.register(target)).collect()
    }

    /// How often targets were forgotten: cells that were [got](Self::cells) before may be out of use.
    pub(super) fn sweeps(&self) -> u64 {
        self.shared().sweeps.load(Ordering::Acquire)
    }

    /// Whether a limit of tokens is known, so that the tokens of a request have to be estimated.
    pub(crate) fn counts_tokens(&self) -> bool {
        self.shared().known.tokens.load(Ordering::Acquire)
    }

    /// Whether any limit is known.
    pub(crate) fn knows_limits(&self) -> bool {
        self.shared().known.any.load(Ordering::Acquire)
    }

    /// A limit of this is known from now on.
    pub(super) fn knows(&self, of: Quantity) {
        let known = &self.shared().known;
        known.any.store(true, Ordering::Release);
        if of == Quantity::Tokens {
            known.tokens.store(true, Ordering::Release);
        }
    }

    /// How many events have freed something so far.
    pub(super) fn freed(&self) -> u64 {
        self.shared().freed.load(Ordering::Acquire)
    }

    /// The moment of a pick. What is held back until a stated instant is brought up to date first, if the machine was
    /// suspended.
    pub(crate) fn now(&self) -> Instant {
        let now = Instant::now();
        if self.shared().clock.is_behind(now) {
            return self.lock().1;
        }
        now
    }

    /// An instant in nanoseconds after the epoch of this map, by which a pick [glances](TargetCell::glance) at targets.
    pub(crate) fn nanos(&self, at: Instant) -> u64 {
        nanos(self.shared().clock.epoch(), at)
    }

    /// When a target that has just failed may be tried once more by the same request, if only a guess or nothing
    /// holds it back: at the end of the guess, or after as long as a first one lasts.
    pub(crate) fn second_try(&self, target: &Target) -> Option<Instant> {
        let (state, now) = self.lock();
        match state.standing(target, now).phase {
            Phase::Stated(..) => None,
            Phase::Guessed(until, _) => Some(until),
            _ => Some(now + jittered(FIRST_GUESS, self.chance())),
        }
    }

    /// The stated end of a limit that holds a target back.
    pub(crate) fn end_of_limit(&self, target: &Target) -> Option<Instant> {
        let (state, now) = self.lock();
        match state.standing(target, now).phase {
            Phase::Stated(until, kind) if kind.is_limit() => Some(until),
            _ => None,
        }
    }

    /// The wall-clock time, in step with tokio's clock.
    pub(crate) fn wall(&self) -> SystemTime {
        self.wall_at(self.now())
    }

    /// The same at another instant.
    pub(super) fn wall_at(&self, instant: Instant) -> SystemTime {
        self.shared().clock.wall(instant)
    }

    /// Whether both are handles of one map.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.shared(), other.shared())
    }

    pub(crate) fn quarantine(&self, target: &TargetId) {
        let (state, _) = self.lock();
        let cell = state.targets.get(target);
        let is_new =
            cell.is_some_and(|cell| !std::mem::replace(&mut cell.lock().quarantined, true));
        drop(state);
        if is_new {
            self.shared().on_quarantine.call(target);
        }
    }

    pub(super) fn ended_hooks(&self) -> &Hooks<EndedAttempt> {
        &self.shared().on_outcome
    }

    /// A random number in 0..1.
    pub(super) fn chance(&self) -> f64 {
        self.shared().rng.unit()
    }

    /// The state, brought up to date, and the moment of that.
    pub(super) fn lock(&self) -> (MutexGuard<'_, State>, Instant) {
        let now = Instant::now();
        // Every change under the lock leaves the state consistent, so a poisoned lock can be used.
        let mut state = self
            .shared()
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.catch_up(now);
        (state, now)
    }
}

impl Default for HealthMap {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HealthMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, _) = self.lock();
        f.debug_struct("HealthMap")
            .field("targets", &state.targets.len())
            .field("providers", &state.providers.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;
    use crate::{
        catalog::Model,
        health::Place,
        outcome::{Outcome, OutcomeKind},
        provider::{FreeRule, Provider},
    };

    fn targets() -> [Target; 2] {
        let provider = Provider::new("p").free(FreeRule::All).build().unwrap();
        ["a", "b"].map(|model| provider.target(Model::new(model)).unwrap())
    }

    fn join(health: &HealthMap, target: &Target) -> Place {
        let freed = health.freed();
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
    async fn a_new_catalog_lets_waiting_requests_look() {
        let health = HealthMap::seeded(1);
        let waits = join(&health, &targets()[0]);
        health.observe(&crate::Catalog::from_targets(targets()).snapshot());
        assert!(waits.called().now_or_never().is_some());
    }
}
