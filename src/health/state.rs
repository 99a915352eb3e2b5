//! What the map remembers: the cells of all targets and providers, and the line of the requests that wait.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    catalog::{Snapshot, Target, TargetId},
    clock::SharedClock,
    health::{
        cell::{ProviderCell, TargetCell},
        cooldown::Cooldown,
        limits,
        line::{Interest, Line},
        standing::Standing,
    },
    limits::Quota,
    outcome::Scope,
    provider::{Provider, Quantity},
};

/// What is known of a target that no provider lists any more is kept for this long, in case it comes back.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

pub(super) type Targets = HashMap<TargetId, Arc<TargetCell>, BuildHasherDefault<Hashed>>;

#[derive(Debug)]
pub(super) struct State {
    pub(super) clock: Arc<SharedClock>,
    /// The catalog snapshot whose targets are all known here.
    generation: Option<u64>,
    /// The providers of that snapshot.
    pub(super) pool: Vec<Arc<str>>,
    /// Shared, because reading all of it takes longer than the lock of the map may be held.
    pub(super) targets: Arc<Targets>,
    pub(super) providers: HashMap<Arc<str>, Arc<ProviderCell>>,
    pub(super) line: Line,
    pub(super) known: Arc<KnownLimits>,
}

/// Which limits are known of any target: picks read it without a lock. Once true, they stay so.
#[derive(Debug, Default)]
pub(super) struct KnownLimits {
    pub(super) any: AtomicBool,
    /// The tokens of a request have to be estimated.
    pub(super) tokens: AtomicBool,
}

/// Takes the hash that a [`TargetId`] contains: a new catalog looks up every target, and need not hash each once more.
#[derive(Debug, Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        // A `TargetId` writes nothing but its hash.
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }
}

impl State {
    /// `freed` counts the events that have freed something.
    pub(super) fn new(
        clock: Arc<SharedClock>,
        freed: Arc<AtomicU64>,
        known: Arc<KnownLimits>,
    ) -> Self {
        Self {
            known,
            clock,
            generation: None,
            pool: Vec::new(),
            targets: Arc::default(),
            providers: HashMap::new(),
            line: Line::new(freed),
        }
    }

    /// Brings the clock up to date after a suspend.
    pub(super) fn catch_up(&mut self, now: Instant) {
        if let Some(ahead) = self.clock.catch_up(now) {
            self.each_cooldown(|cooldown| cooldown.jump(ahead, now));
            for provider in self.providers.values() {
                provider.lock().quota.jump(ahead, now);
            }
            for target in self.targets.values() {
                target.lock().quota.jump(ahead, now);
            }
        }
    }

    /// Changes the cooldowns of all targets and providers.
    pub(super) fn each_cooldown(&self, change: impl Fn(&mut Cooldown)) {
        for provider in self.providers.values() {
            change(&mut provider.lock().cooldown);
        }
        for target in self.targets.values() {
            change(&mut target.lock().cooldown);
        }
    }

    /// How a target stands.
    pub(super) fn standing(&self, target: &Target, now: Instant) -> Standing {
        let provider = self.providers.get(target.provider().name());
        let provider = provider.map(|provider| provider.standing(0, now));
        let provider = provider.unwrap_or(Standing::HEALTHY);
        match self.targets.get(target.id()) {
            Some(cell) => cell.standing(&provider, 0, now),
            None => provider,
        }
    }

    /// Makes sure that every target of the catalog has a cell.
    pub(super) fn observe(&mut self, snapshot: &Snapshot) {
        if self.generation == Some(snapshot.generation()) {
            return;
        }
        self.generation = Some(snapshot.generation());
        let providers = snapshot.providers().iter();
        self.pool = providers.map(|provider| provider.name().into()).collect();
        let mut provider = None;
        for target in snapshot.targets() {
            let cell = self.register(target);
            if provider.replace(target.provider()) != Some(target.provider()) {
                self.set_rules(
                    target.provider(),
                    Scope::Provider,
                    &mut cell.provider.lock().quota,
                );
            }
            self.set_rules(target.provider(), Scope::Target, &mut cell.lock().quota);
        }
        // Some of them may be new.
        self.line.open(Interest::ALL);
    }

    /// Hands the limits that are known of a provider to a quota. Days and months end elsewhere each time.
    fn set_rules(&self, provider: &Provider, scope: Scope, quota: &mut Quota) {
        let now = Instant::now();
        let rules = limits::rules(provider, scope, now, self.clock.wall(now));
        if rules.iter().any(|rule| rule.of == Quantity::Tokens) {
            self.known.tokens.store(true, Ordering::Release);
        }
        if !rules.is_empty() {
            self.known.any.store(true, Ordering::Release);
        }
        quota.set_rules(&rules, now);
    }

    /// The cell of a target that is listed.
    pub(super) fn register(&mut self, target: &Target) -> Arc<TargetCell> {
        if let Some(cell) = self.targets.get(target.id()) {
            cell.lock().is_listed(target.row());
            return Arc::clone(cell);
        }
        let name = target.provider().name();
        if !self.providers.contains_key(name) {
            let name = Arc::<str>::from(name);
            let cell = ProviderCell::new(Arc::clone(&name), self.clock.epoch());
            self.providers.insert(name, Arc::new(cell));
        }
        let provider = Arc::clone(&self.providers[name]);
        let cell = TargetCell::new(target.id().clone(), Arc::clone(&provider), target.row());
        self.set_rules(
            target.provider(),
            Scope::Provider,
            &mut provider.lock().quota,
        );
        self.set_rules(target.provider(), Scope::Target, &mut cell.lock().quota);
        let cell = Arc::new(cell);
        let targets = Arc::make_mut(&mut self.targets);
        targets.insert(target.id().clone(), Arc::clone(&cell));
        cell
    }

    /// Forgets the targets that have not been listed for a day, and at once those that were never tried, or a listing
    /// with new ids each time would fill the map. Those that cost money or are in use stay. Says whether any is forgotten.
    pub(super) fn sweep(&mut self, listed: &HashSet<&TargetId>, now: Instant) -> bool {
        let targets = Arc::make_mut(&mut self.targets);
        let before = targets.len();
        targets.retain(|id, cell| {
            if listed.contains(id) {
                return true;
            }
            let mut entry = cell.lock();
            let since = *entry.vanished.get_or_insert(now);
            let is_remembered = now.saturating_duration_since(since) < REMEMBERED;
            entry.forgotten = !(entry.quarantined
                || entry.tally.in_flight() > 0
                || entry.tally.started > 0 && is_remembered);
            !entry.forgotten
        });
        targets.len() < before
    }
}
