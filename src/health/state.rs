//! What the map remembers.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    capability::{Capability, CapabilitySet},
    catalog::{Snapshot, Target, TargetId},
    clock::Clock,
    health::{
        cooldown::{Cooldown, Moment, Phase, Sequence},
        line::{Interest, Line},
        tally::{Record, Tally},
    },
};

/// What a failure taught about a target is believed for this long.
const LEARNED: Duration = Duration::from_secs(3600);
/// What is known of a target that no provider lists any more is kept for this long, in case it comes back.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// A success this recent makes a target proven.
const PROVEN: Duration = Duration::from_secs(600);
/// With this share of successes a single failure looks like an accident.
const GOOD_RECORD: f64 = 0.5;

#[derive(Debug)]
pub(super) struct State {
    pub(super) clock: Clock,
    /// The number of the newest attempt.
    pub(super) sequence: Sequence,
    /// The catalog snapshot whose targets are all known here.
    generation: Option<u64>,
    /// The providers of that snapshot.
    pub(super) pool: Vec<Arc<str>>,
    pub(super) targets: HashMap<TargetId, TargetEntry, BuildHasherDefault<Hashed>>,
    pub(super) providers: HashMap<Arc<str>, ProviderEntry>,
    pub(super) line: Line,
}

/// Takes the hash that a [`TargetId`] contains: a pick looks up every target, and need not hash each once more.
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

#[derive(Debug, Default)]
pub(super) struct TargetEntry {
    pub(super) cooldown: Cooldown,
    pub(super) tally: Tally,
    pub(super) record: Record,
    /// It was seen to cost money. Only a manual reset forgets that.
    pub(super) quarantined: bool,
    /// A hash of what the listing said of it when it was last seen.
    row: u64,
    /// Since when no provider lists it.
    vanished: Option<Instant>,
    /// Soft failures since the last success.
    pub(super) soft: u32,
    /// Attempts in flight that have begun to answer.
    pub(super) answering: u64,
    pub(super) last_success: Option<Instant>,
    lacks: Vec<(Capability, Instant)>,
    window: Option<(u64, Instant)>,
}

#[derive(Debug, Default)]
pub(super) struct ProviderEntry {
    pub(super) cooldown: Cooldown,
    /// Targets that could not be reached lately.
    pub(super) unreachable: Vec<(TargetId, Instant)>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            clock: Clock::new(),
            sequence: 0,
            generation: None,
            pool: Vec::new(),
            targets: HashMap::default(),
            providers: HashMap::new(),
            line: Line::default(),
        }
    }

    /// Brings the clock up to date after a suspend.
    pub(super) fn catch_up(&mut self, now: Instant) {
        if let Some(ahead) = self.clock.catch_up(now) {
            self.cooldowns()
                .for_each(|cooldown| cooldown.jump(ahead, now));
        }
    }

    /// The cooldowns of all targets and providers.
    pub(super) fn cooldowns(&mut self) -> impl Iterator<Item = &mut Cooldown> {
        let targets = self.targets.values_mut().map(|entry| &mut entry.cooldown);
        let providers = self.providers.values_mut().map(|entry| &mut entry.cooldown);
        targets.chain(providers)
    }

    /// What is remembered of a target and of its provider. There always is something while an attempt is in flight.
    pub(super) fn entries(
        &mut self,
        target: &Target,
    ) -> Option<(&mut TargetEntry, &mut ProviderEntry)> {
        let entry = self.targets.get_mut(target.id())?;
        let provider = self.providers.get_mut(target.provider().name())?;
        Some((entry, provider))
    }

    /// Makes sure that every target of the catalog has an entry.
    pub(super) fn observe(&mut self, snapshot: &Snapshot) {
        if self.generation == Some(snapshot.generation()) {
            return;
        }
        self.generation = Some(snapshot.generation());
        let providers = snapshot.providers().iter();
        self.pool = providers.map(|provider| provider.name().into()).collect();
        for target in snapshot.targets() {
            self.register(target);
        }
        // Some of them may be new.
        self.line.open(Interest::ALL);
    }

    /// Makes sure that a target has an entry. Where its listing row has changed, or it was not listed for a while, what was
    /// said of the old row ("gone", "gated") no longer holds.
    pub(super) fn register(&mut self, target: &Target) {
        let name = target.provider().name();
        if !self.providers.contains_key(name) {
            self.providers.insert(name.into(), ProviderEntry::default());
        }
        let row = target.row();
        let entry = self.targets.entry(target.id().clone());
        let entry = entry.or_insert_with(|| TargetEntry {
            row,
            ..TargetEntry::default()
        });
        let is_back = entry.vanished.take().is_some();
        if entry.row != row || is_back {
            entry.row = row;
            entry.cooldown.row_changed();
        }
    }

    /// Forgets the targets that have not been listed for a day, and at once those that were never tried, or a listing
    /// with new ids each time would fill the map. Those that cost money or are in use stay.
    pub(super) fn sweep(&mut self, listed: &HashSet<&TargetId>, now: Instant) {
        self.targets.retain(|id, entry| {
            if listed.contains(id) {
                return true;
            }
            let since = *entry.vanished.get_or_insert(now);
            let is_remembered = now.saturating_duration_since(since) < REMEMBERED;
            entry.quarantined
                || entry.tally.in_flight() > 0
                || entry.tally.started > 0 && is_remembered
        });
    }

    /// Gives back the probe leases of an attempt. If it held one, or has changed a cooldown, this calls as many waiting
    /// requests as may go to its target or provider now.
    pub(super) fn free_leases(&mut self, target: &Target, at: Moment, has_changed: bool) {
        let Some((entry, provider)) = self.entries(target) else {
            return;
        };
        let (own, whole) = (&mut entry.cooldown, &mut provider.cooldown);
        if !(own.free_lease(at.attempt) | whole.free_lease(at.attempt) | has_changed) {
            return;
        }
        let is_open = |cooldown: &Cooldown| cooldown.phase(at.now) == Phase::Healthy;
        match (is_open(own), is_open(whole)) {
            (true, true) => self.line.open(Interest::of(target.id())),
            (false, true) => {
                let places = own.room(at.now);
                self.line.free(Interest::of(target.id()), places);
            }
            // A probe of the provider may go to any of its targets.
            (_, false) => {
                let places = whole.room(at.now);
                let name = target.provider().name();
                self.line.free(Interest::of_provider(name), places);
            }
        }
    }
}

impl TargetEntry {
    /// Whether it succeeded lately.
    pub(super) fn is_proven(&self, now: Instant) -> bool {
        self.last_success
            .is_some_and(|at| now.saturating_duration_since(at) < PROVEN)
    }

    /// Whether a single failure may be an accident: it is answering other requests, or has answered well lately.
    pub(super) fn is_doing_well(&self, now: Instant) -> bool {
        let has_good_record =
            || self.is_proven(now) && self.record.success_rate() >= Some(GOOD_RECORD);
        !self.cooldown.is_unproven() && (self.answering > 0 || has_good_record())
    }

    pub(super) fn learn_lack(&mut self, lack: Capability, now: Instant) {
        self.lacks
            .retain(|&(known, until)| known != lack && until > now);
        self.lacks.push((lack, now + LEARNED));
    }

    /// The capabilities that it was found to lack.
    pub(super) fn lacks(&self, now: Instant) -> CapabilitySet {
        let lacks = self.lacks.iter().filter(|(_, until)| *until > now);
        lacks.map(|&(lack, _)| lack).collect()
    }

    pub(super) fn learn_window(&mut self, tokens: u64, now: Instant) {
        self.window = Some((tokens, now + LEARNED));
    }

    /// The window that it was last found to have, in tokens.
    pub(super) fn window(&self, now: Instant) -> Option<u64> {
        let window = self.window.filter(|&(_, until)| until > now);
        window.map(|(tokens, _)| tokens)
    }

    /// Forgets what is held against it; its counts stay.
    pub(super) fn forget_all(&mut self) {
        *self = Self {
            tally: self.tally,
            record: self.record,
            row: self.row,
            vanished: self.vanished,
            answering: self.answering,
            ..Self::default()
        };
    }
}
