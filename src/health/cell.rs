//! What is kept of one target and of one provider: an entry under a lock of its own, and beside it what picks read of it.
//!
//! A pick looks at all targets and must not meet other threads there, so each cell publishes a [`Glance`]: one atomic that
//! says whether anything is held against the target. Only where it says [`Glance::Look`], the entry is read. What a pick
//! has read may be out of date when it begins an attempt: beginning looks again, under the lock.
//!
//! Locks are taken in this order: that of the map, of a provider, of a target. Whatever is changed of a provider, and all
//! that is not the plain life of an attempt at a healthy target, is changed under the lock of the map as well. Only what is
//! over is forgotten without it, by the thread that reads an entry.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    catalog::TargetId,
    health::{
        cooldown::{Moment, Phase, Sequence},
        entry::{ProviderEntry, TargetEntry},
        limits::Held as HeldByLimit,
        standing::{Standing, worse},
        tally::{Speed, Usual},
    },
    limits::{Left, Quota, Room},
    outcome::OutcomeKind,
    select::Allowance,
};

/// What a pick sees of a target or of a provider without its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glance {
    /// Nothing is held against it.
    Clear,
    /// It must not be tried now.
    Out,
    /// Its entry has to be read.
    Look,
}

/// What a [`Glance`] is made of: 0 for nothing, 1 for look, else the end of a stated cooldown, in nanoseconds after the
/// epoch of the map. After that end the entry has to be read.
#[derive(Debug, Default)]
struct Held(AtomicU64);

impl Held {
    const NOTHING: u64 = 0;
    const LOOK: u64 = 1;
    const FOR_EVER: u64 = u64::MAX;

    const fn until(end: u64) -> u64 {
        if end > Self::LOOK { end } else { Self::LOOK }
    }

    fn glance(&self, now: u64) -> Glance {
        match self.0.load(Ordering::SeqCst) {
            Self::NOTHING => Glance::Clear,
            end if end > now && end > Self::LOOK => Glance::Out,
            _ => Glance::Look,
        }
    }

    fn is_nothing(&self) -> bool {
        self.0.load(Ordering::SeqCst) == Self::NOTHING
    }
}

/// Nanoseconds from the epoch of a map to an instant.
pub(super) fn nanos(epoch: Instant, at: Instant) -> u64 {
    let after = at.saturating_duration_since(epoch).as_nanos();
    u64::try_from(after).unwrap_or(u64::MAX)
}

/// A provider, as the map knows it.
#[derive(Debug)]
pub(crate) struct ProviderCell {
    pub(super) name: Arc<str>,
    epoch: Instant,
    /// Also says [`Glance::Look`] where an answer would change something.
    held: Held,
    /// Whether calls of its account are counted, so that its limits have to be asked.
    counts: AtomicBool,
    allowance: PublishedAllowance,
    newest: Newest,
    entry: Mutex<ProviderEntry>,
}

/// The number of the newest attempt at a provider: written by each attempt, and so apart from what each pick reads.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Newest(AtomicU64);

/// A target, as the map knows it.
#[derive(Debug)]
pub(crate) struct TargetCell {
    pub(super) id: TargetId,
    pub(super) provider: Arc<ProviderCell>,
    epoch: Instant,
    held: Held,
    /// The most tokens of a request that surely has room.
    fits: AtomicU64,
    /// Whether calls of the model are counted.
    counts: AtomicBool,
    allowance: PublishedAllowance,
    /// These are copies of what the entry holds, for a pick that sees no need to read it.
    last_success: AtomicU64,
    in_flight: AtomicU64,
    success_rate: AtomicU64,
    first_token: AtomicU64,
    entry: Mutex<TargetEntry>,
}

/// Stands for no instant, no duration and no rate: as the bits of an `f64` it is not a number.
const NONE: u64 = u64::MAX;

/// A copy of what limits leave: two numbers of requests a second, as their bits.
#[derive(Debug)]
struct PublishedAllowance {
    left: AtomicU64,
    granted: AtomicU64,
}

impl Default for PublishedAllowance {
    fn default() -> Self {
        Self {
            left: AtomicU64::new(NONE),
            granted: AtomicU64::new(NONE),
        }
    }
}

impl PublishedAllowance {
    fn publish(&self, left: Option<Left>) {
        refresh(
            &self.left,
            left.map_or(NONE, |left| left.per_second.to_bits()),
        );
        refresh(
            &self.granted,
            left.map_or(NONE, |left| left.granted.to_bits()),
        );
    }

    fn read(&self) -> Option<Allowance> {
        let left = self.left.load(Ordering::Relaxed);
        let granted = f64::from_bits(self.granted.load(Ordering::Relaxed));
        (left != NONE).then(|| Allowance::new(f64::from_bits(left), granted))
    }
}

/// What is known of the record of a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) success_rate: Option<f64>,
    pub(crate) first_token: Option<Duration>,
    pub(crate) in_flight: u64,
    /// What the limits of the model leave.
    pub(crate) allowance: Option<Allowance>,
    /// What the limits of the account leave to all its models.
    pub(crate) account_allowance: Option<Allowance>,
}

impl ProviderCell {
    pub(super) fn new(name: Arc<str>, epoch: Instant) -> Self {
        Self {
            name,
            epoch,
            held: Held::default(),
            counts: AtomicBool::new(false),
            allowance: PublishedAllowance::default(),
            newest: Newest::default(),
            entry: Mutex::default(),
        }
    }

    pub(super) fn lock(&self) -> Locked<'_, Self> {
        Locked::of(self, &self.entry)
    }

    /// How the provider as a whole stands, for a request of so many tokens.
    pub(crate) fn standing(&self, tokens: u64, now: Instant) -> Standing {
        if self.held.is_nothing() && !self.counts() {
            return Standing::HEALTHY;
        }
        let mut entry = self.lock();
        entry.cooldown.drop_past(now);
        let limits = HeldByLimit::by(entry.quota.room(tokens, now), now);
        Standing {
            phase: worse(entry.cooldown.phase(now), limits.phase),
            window: limits.most_tokens,
            too_large: limits.too_large,
            ..Standing::HEALTHY
        }
    }

    fn counts(&self) -> bool {
        self.counts.load(Ordering::Acquire)
    }

    /// The number of an attempt that begins.
    fn next(&self) -> Sequence {
        self.newest.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

impl TargetCell {
    pub(super) fn new(id: TargetId, provider: Arc<ProviderCell>, row: u64) -> Self {
        let cell = Self {
            id,
            epoch: provider.epoch,
            provider,
            held: Held::default(),
            fits: AtomicU64::new(u64::MAX),
            counts: AtomicBool::new(false),
            allowance: PublishedAllowance::default(),
            last_success: AtomicU64::new(NONE),
            in_flight: AtomicU64::new(0),
            success_rate: AtomicU64::new(NONE),
            first_token: AtomicU64::new(NONE),
            entry: Mutex::default(),
        };
        cell.lock().row = row;
        cell
    }

    /// Whether anything is held against the target, for a request of so many tokens; `now` in nanoseconds after the map's
    /// epoch.
    pub(crate) fn glance(&self, tokens: u64, now: u64) -> Glance {
        match self.held.glance(now) {
            Glance::Clear if tokens > self.fits.load(Ordering::Acquire) => Glance::Look,
            glance => glance,
        }
    }

    /// Whether it succeeded lately; `now` in nanoseconds after the map's epoch.
    pub(crate) fn is_proven(&self, now: u64) -> bool {
        let at = self.last_success.load(Ordering::Relaxed);
        at != NONE && TargetEntry::proves(Duration::from_nanos(now.saturating_sub(at)))
    }

    pub(crate) fn record(&self) -> Record {
        let read = |of: &AtomicU64| Some(of.load(Ordering::Relaxed)).filter(|&bits| bits != NONE);
        Record {
            success_rate: read(&self.success_rate).map(f64::from_bits),
            first_token: read(&self.first_token).map(Duration::from_nanos),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            allowance: self.allowance.read(),
            account_allowance: self.provider.allowance.read(),
        }
    }

    /// How long it usually takes to answer.
    pub(super) fn usual(&self) -> Usual {
        // Nothing changes, so that nothing has to be published.
        let entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        entry.record.usual()
    }

    /// How the target stands for a request of so many tokens, at a provider that stands like this.
    pub(crate) fn standing(&self, provider: &Standing, tokens: u64, now: Instant) -> Standing {
        let mut entry = self.lock();
        // Where nothing is left to read, the next pick need not look here.
        entry.drop_past(now);
        let limits = HeldByLimit::by(entry.quota.room(tokens, now), now);
        let windows = [entry.window(now), limits.most_tokens, provider.window];
        Standing {
            phase: worse(
                worse(entry.cooldown.phase(now), limits.phase),
                provider.phase,
            ),
            quarantined: entry.quarantined,
            too_large: limits.too_large || provider.too_large,
            proven: entry.is_proven(now),
            lacks: entry.lacks(now),
            window: windows.into_iter().flatten().min(),
        }
    }

    pub(super) fn lock(&self) -> Locked<'_, Self> {
        Locked::of(self, &self.entry)
    }

    /// The entries of both, to be changed.
    pub(super) fn lock_both(&self) -> Both<'_> {
        let provider = self.provider.lock();
        // An attempt that begins meanwhile at another target of this provider draws its number and then reads this. So
        // either it sees that it has to wait, or its number is drawn before `Both::moment` reads the newest.
        self.provider.held.0.store(Held::LOOK, Ordering::SeqCst);
        Both {
            target: self.lock(),
            provider,
        }
    }

    /// Begins an attempt, if nothing is held against the target and its provider; `row` is that of its listing.
    pub(super) fn begin_clear(&self, row: u64, tokens: u64, now: Instant) -> Option<Sequence> {
        let mut whole = self.provider.counts().then(|| self.provider.lock());
        let mut entry = self.lock();
        if !entry.is_clear() || entry.row != row {
            return None;
        }
        let has_room = |quota: &mut Quota| quota.room(tokens, now) == Room::Now;
        let has_whole_room = |whole: &mut Locked<'_, ProviderCell>| has_room(&mut whole.quota);
        if !has_room(&mut entry.quota) || !whole.as_mut().is_none_or(has_whole_room) {
            return None;
        }
        let sequence = self.provider.next();
        if !self.provider.held.is_nothing() {
            return None;
        }
        entry.quota.reserve(sequence, tokens, now);
        if let Some(whole) = &mut whole {
            whole.quota.reserve(sequence, tokens, now);
        }
        entry.tally.started += 1;
        Some(sequence)
    }

    /// Changes the quotas in which a call is counted. Says whether a place in flight has come free by that.
    pub(super) fn change_quotas(&self, change: impl Fn(&mut Quota), now: Instant) -> bool {
        let mut frees = false;
        let mut change = |quota: &mut Quota| {
            let is_full = |quota: &mut Quota| matches!(quota.room(0, now), Room::AtOnce { .. });
            let was_full = is_full(quota);
            change(quota);
            frees |= was_full && !is_full(quota);
        };
        if self.provider.counts() {
            change(&mut self.provider.lock().quota);
        }
        if self.counts.load(Ordering::Acquire) {
            change(&mut self.lock().quota);
        }
        frees
    }

    /// An attempt without a lease has begun to answer: notes that, if it changes nothing but that.
    pub(super) fn answered_clear(&self) -> bool {
        let mut entry = self.lock();
        let is_clear = entry.cooldown.is_blank() && self.provider.held.is_nothing();
        entry.answering += u64::from(is_clear);
        is_clear
    }

    /// An attempt without a lease has ended, and not in a failure.
    pub(super) fn ended_well(&self, kind: OutcomeKind, speed: Option<Speed>, now: Instant) {
        self.lock().ended_well(kind, speed, now);
    }
}

/// What has a [`Glance`] and other copies of its entry.
pub(super) trait Publish {
    type Entry;

    fn publish(&self, entry: &mut Self::Entry);
}

impl Publish for ProviderCell {
    type Entry = ProviderEntry;

    fn publish(&self, entry: &mut ProviderEntry) {
        let held = match entry.unreachable.is_empty() && entry.cooldown.is_blank() {
            true => Held::NOTHING,
            false => Held::LOOK,
        };
        refresh(&self.held.0, held);
        publish_counts(&self.counts, &entry.quota);
        if entry.quota.is_counting() {
            self.allowance.publish(entry.quota.left(Instant::now()));
        }
    }
}

impl Publish for TargetCell {
    type Entry = TargetEntry;

    fn publish(&self, entry: &mut TargetEntry) {
        let first_token = entry.record.mean_first_token();
        let first_token = first_token.and_then(|mean| u64::try_from(mean.as_nanos()).ok());
        let success_rate = entry.record.success_rate().map(f64::to_bits);
        let last_success = entry.last_success.map(|at| nanos(self.epoch, at));
        for (copy, value) in [
            (&self.first_token, first_token),
            (&self.success_rate, success_rate),
            (&self.last_success, last_success),
        ] {
            refresh(copy, value.unwrap_or(NONE));
        }
        refresh(&self.in_flight, entry.tally.in_flight());
        publish_counts(&self.counts, &entry.quota);
        let (fits, room) = match entry.quota.is_counting() {
            true => {
                let now = Instant::now();
                self.allowance.publish(entry.quota.left(now));
                (entry.quota.fits(now), entry.quota.room(0, now))
            }
            false => (u64::MAX, Room::Now),
        };
        refresh(&self.fits, fits);
        let full_until = match room {
            Room::Stated(until) | Room::Confirmed(until) => Some(until),
            _ => None,
        };
        let held = match entry.cooldown.stated_end().max(full_until) {
            _ if entry.quarantined => Held::FOR_EVER,
            Some(end) => Held::until(nanos(self.epoch, end)),
            None if room != Room::Now => Held::LOOK,
            None if entry.is_clear() && entry.has_learned_nothing() => Held::NOTHING,
            None => Held::LOOK,
        };
        refresh(&self.held.0, held);
    }
}

fn publish_counts(counts: &AtomicBool, quota: &Quota) {
    if counts.load(Ordering::Relaxed) != quota.is_counting() {
        counts.store(quota.is_counting(), Ordering::Release);
    }
}

/// Writes a copy if it has changed: other threads read what is next to it, and a write makes that slow.
fn refresh(copy: &AtomicU64, value: u64) {
    if copy.load(Ordering::Relaxed) != value {
        copy.store(value, Ordering::Release);
    }
}

/// An entry under its lock. What picks read of it is published when this is dropped.
pub(super) struct Locked<'a, C: Publish> {
    cell: &'a C,
    entry: MutexGuard<'a, C::Entry>,
}

impl<'a, C: Publish> Locked<'a, C> {
    fn of(cell: &'a C, entry: &'a Mutex<C::Entry>) -> Self {
        // Every change under the lock leaves the entry consistent, so a poisoned lock can be used.
        let entry = entry.lock().unwrap_or_else(PoisonError::into_inner);
        Self { cell, entry }
    }
}

impl<C: Publish> Deref for Locked<'_, C> {
    type Target = C::Entry;

    fn deref(&self) -> &C::Entry {
        &self.entry
    }
}

impl<C: Publish> DerefMut for Locked<'_, C> {
    fn deref_mut(&mut self) -> &mut C::Entry {
        &mut self.entry
    }
}

impl<C: Publish> Drop for Locked<'_, C> {
    fn drop(&mut self) {
        self.cell.publish(&mut self.entry);
    }
}

/// What an attempt may begin against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Against {
    /// A guess that has not ended.
    pub(crate) guess: bool,
    /// As many probes under way as are allowed: the attempt begins without a lease then.
    pub(crate) probes: bool,
}

/// What is remembered of a target and of its provider, under both locks.
pub(super) struct Both<'a> {
    pub(super) target: Locked<'a, TargetCell>,
    pub(super) provider: Locked<'a, ProviderCell>,
}

impl Both<'_> {
    /// The id of the target.
    pub(super) const fn id(&self) -> &TargetId {
        &self.target.cell.id
    }

    /// What a change goes by that this attempt is the reason for.
    pub(super) fn moment(&self, attempt: Sequence, now: Instant, chance: f64) -> Moment {
        let last = self.provider.cell.newest.0.load(Ordering::SeqCst);
        Moment {
            attempt,
            last,
            now,
            chance,
        }
    }

    /// Begins an attempt of so many tokens, if it may be tried now. Says as well whether the attempt has taken a lease.
    pub(super) fn begin(
        &mut self,
        against: Against,
        tokens: u64,
        now: Instant,
    ) -> Option<(Sequence, bool)> {
        self.target.drop_past(now);
        self.provider.drop_past(now);
        let rooms = [&mut self.target.quota, &mut self.provider.quota];
        let limits = rooms.map(|quota| HeldByLimit::by(quota.room(tokens, now), now));
        let cooldowns = [&self.target.cooldown, &self.provider.cooldown];
        let phases = cooldowns.map(|cooldown| cooldown.phase(now));
        let phases = phases.into_iter().chain(limits.map(|limit| limit.phase));
        match phases.fold(Phase::Healthy, worse) {
            _ if self.target.quarantined || limits.iter().any(|limit| limit.too_large) => {
                return None;
            }
            Phase::Stated(..) => return None,
            Phase::Probing(_) if !against.probes => return None,
            Phase::Guessed(..) if !against.guess => return None,
            _ => {}
        }
        let sequence = self.provider.cell.next();
        self.target.tally.started += 1;
        for quota in [&mut self.target.quota, &mut self.provider.quota] {
            quota.reserve(sequence, tokens, now);
        }
        let has_lease = [&mut self.target.cooldown, &mut self.provider.cooldown]
            .map(|cooldown| cooldown.take_lease(sequence, now))
            .contains(&true);
        Some((sequence, has_lease))
    }
}
