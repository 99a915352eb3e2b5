//! What the map remembers, and how a pick reads it.

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
        attempt::Attempt,
        cooldown::{Cooldown, Phase, Sequence},
        tally::{Record, Tally},
        waiting::{Interest, Line},
    },
    provider::Provider,
};

/// What a failure taught about a target is believed for this long.
pub(crate) const LEARNED: Duration = Duration::from_secs(3600);
/// What is known of a target that no provider lists any more is kept for this long, in case it comes back.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// A success this recent makes a target proven.
const PROVEN: Duration = Duration::from_secs(600);
/// A share of successes that makes a single failure look like an accident.
const GOOD_RECORD: f64 = 0.5;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) clock: Clock,
    /// The number of the newest attempt.
    pub(crate) sequence: Sequence,
    /// The catalog snapshot whose targets are all known here.
    generation: Option<u64>,
    /// Its providers.
    pub(crate) pool: Vec<Arc<str>>,
    pub(crate) targets: HashMap<TargetId, TargetEntry, BuildHasherDefault<Hashed>>,
    pub(crate) providers: HashMap<Arc<str>, ProviderEntry>,
    pub(crate) line: Line,
}

/// A [`TargetId`] brings its hash along: a pick looks up every target, and need not hash that once more.
#[derive(Debug, Default)]
pub(crate) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Nothing but a whole hash is ever written.
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct TargetEntry {
    pub(crate) cooldown: Cooldown,
    pub(crate) tally: Tally,
    pub(crate) record: Record,
    /// It was seen to cost money. Only a manual reset forgets that.
    pub(crate) quarantined: bool,
    /// What the listing said of it when it was last seen.
    pub(crate) row: u64,
    /// Since when no provider lists it.
    pub(crate) vanished: Option<Instant>,
    /// Soft failures since the last success.
    pub(crate) soft: u32,
    /// Attempts in flight that have begun to answer.
    pub(crate) answering: u64,
    pub(crate) last_success: Option<Instant>,
    lacks: Vec<(Capability, Instant)>,
    window: Option<(u64, Instant)>,
}

#[derive(Debug, Default)]
pub(crate) struct ProviderEntry {
    pub(crate) cooldown: Cooldown,
    /// Targets that could not be reached lately.
    pub(crate) unreachable: Vec<(TargetId, Instant)>,
}

/// How one target stands at the moment of a pick.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) phase: Phase,
    pub(crate) quarantined: bool,
    /// It succeeded lately.
    pub(crate) proven: bool,
    pub(crate) success_rate: Option<f64>,
    pub(crate) first_token: Option<Duration>,
    pub(crate) in_flight: u64,
    /// What it was found to lack.
    pub(crate) lacks: CapabilitySet,
    /// The window it was last found to have.
    pub(crate) window: Option<u64>,
}

impl State {
    pub(crate) fn new() -> Self {
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
    pub(crate) fn catch_up(&mut self, now: Instant) {
        if let Some(ahead) = self.clock.catch_up(now) {
            self.targets
                .values_mut()
                .for_each(|entry| entry.cooldown.jump(ahead, now));
            self.providers
                .values_mut()
                .for_each(|entry| entry.cooldown.jump(ahead, now));
        }
    }

    /// Makes sure that every target of the catalog has an entry; where a listing row has changed, or was away, what was
    /// said of the old one ("gone", "gated") no longer holds.
    pub(crate) fn observe(&mut self, snapshot: &Snapshot) {
        if self.generation == Some(snapshot.generation()) {
            return;
        }
        self.generation = Some(snapshot.generation());
        self.pool = snapshot
            .providers()
            .iter()
            .map(|provider| provider.name().into())
            .collect();
        for target in snapshot.targets() {
            self.register(target);
        }
        // Some of them may be new.
        self.line.open(Interest::ALL);
    }

    /// Forgets the targets that have not been listed for long, save those that cost money or are in use; those that
    /// were never tried at once, for nothing is known of them: else a listing of new ids each time would fill the map.
    pub(crate) fn sweep(&mut self, listed: &HashSet<&TargetId>, now: Instant) {
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

    pub(crate) fn register(&mut self, target: &Target) {
        if !self.providers.contains_key(target.provider().name()) {
            self.providers
                .insert(target.provider().name().into(), ProviderEntry::default());
        }
        let row = target.row();
        let entry = self
            .targets
            .entry(target.id().clone())
            .or_insert_with(|| TargetEntry {
                row,
                ..TargetEntry::default()
            });
        let is_back = entry.vanished.take().is_some();
        if entry.row != row || is_back {
            entry.row = row;
            entry.cooldown.row_changed();
        }
    }

    /// Gives back the probe leases of an attempt. Says whether there was one.
    pub(crate) fn free_leases(&mut self, attempt: &Attempt) -> bool {
        let sequence = attempt.sequence;
        let target = self.targets.get_mut(attempt.target.id());
        let target = target.is_some_and(|entry| entry.cooldown.free_lease(sequence));
        let provider = self.providers.get_mut(attempt.target.provider().name());
        provider.is_some_and(|entry| entry.cooldown.free_lease(sequence)) || target
    }

    /// Calls as many waiting requests as may go to this target now, or to its provider.
    pub(crate) fn call_to(&mut self, target: &Target, now: Instant) {
        let own = self.targets.get(target.id()).map(|entry| &entry.cooldown);
        let whole = self.providers.get(target.provider().name());
        let whole = whole.map(|entry| &entry.cooldown);
        let is_open = |cooldown: Option<&Cooldown>| {
            cooldown.is_none_or(|cooldown| cooldown.phase(now) == Phase::Healthy)
        };
        let room = |cooldown: Option<&Cooldown>| cooldown.map_or(0, |cooldown| cooldown.room(now));
        // A probe of the provider may go to any of its targets.
        match (is_open(own), is_open(whole)) {
            (true, true) => self.line.open(Interest::of(target.id())),
            (false, true) => {
                let places = room(own);
                self.line.free(Interest::of(target.id()), places);
            }
            (_, false) => {
                let places = room(whole);
                let name = target.provider().name();
                self.line.free(Interest::of_provider(name), places);
            }
        }
    }

    pub(crate) fn standing(&self, target: &Target, now: Instant) -> Standing {
        self.standing_at(target, self.phase_of(target.provider(), now), now)
    }

    /// How every target of a snapshot stands.
    pub(crate) fn standings(&self, snapshot: &Snapshot, now: Instant) -> Vec<Standing> {
        let mut last: Option<(&Provider, Phase)> = None;
        let targets = snapshot.targets().iter();
        targets
            .map(|target| {
                let provider = target.provider();
                // Targets of one provider stand together.
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
        self.targets.get(target.id()).map_or_else(
            || Standing::untried(provider),
            |entry| Standing {
                phase: worse(entry.cooldown.phase(now), provider),
                quarantined: entry.quarantined,
                proven: entry
                    .last_success
                    .is_some_and(|at| now.saturating_duration_since(at) < PROVEN),
                success_rate: entry.record.success_rate(),
                first_token: entry.record.mean_first_token(),
                in_flight: entry.tally.in_flight(),
                lacks: entry
                    .lacks
                    .iter()
                    .filter(|(_, until)| *until > now)
                    .map(|&(lack, _)| lack)
                    .collect(),
                window: entry
                    .window
                    .filter(|&(_, until)| until > now)
                    .map(|(tokens, _)| tokens),
            },
        )
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

impl TargetEntry {
    /// Whether a single failure may be an accident: it is answering others, or has answered well lately.
    pub(crate) fn is_doing_well(&self, now: Instant) -> bool {
        let has_good_record = || {
            let is_recent = |at: Instant| now.saturating_duration_since(at) < PROVEN;
            self.last_success.is_some_and(is_recent)
                && self.record.success_rate() >= Some(GOOD_RECORD)
        };
        !self.cooldown.is_unproven() && (self.answering > 0 || has_good_record())
    }

    pub(crate) fn learn_lack(&mut self, lack: Capability, now: Instant) {
        self.lacks
            .retain(|&(known, until)| known != lack && until > now);
        self.lacks.push((lack, now + LEARNED));
    }

    pub(crate) fn learn_window(&mut self, tokens: u64, now: Instant) {
        self.window = Some((tokens, now + LEARNED));
    }

    pub(crate) fn forget_all(&mut self) {
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

/// Of a target's phase and its provider's, the one that holds it back more.
fn worse(a: Phase, b: Phase) -> Phase {
    const fn rank(phase: Phase) -> u8 {
        match phase {
            Phase::Healthy => 0,
            Phase::Probation { rested: true } => 1,
            Phase::Probation { rested: false } => 2,
            Phase::Guessed(..) => 3,
            Phase::Probing(_) => 4,
            Phase::Stated(..) => 5,
        }
    }
    match (a, b) {
        (Phase::Stated(x, _), Phase::Stated(y, _))
        | (Phase::Guessed(x, _), Phase::Guessed(y, _))
        | (Phase::Probing(x), Phase::Probing(y)) => {
            if x >= y {
                a
            } else {
                b
            }
        }
        _ => {
            if rank(a) >= rank(b) {
                a
            } else {
                b
            }
        }
    }
}
