//! What is kept of one target and of one provider: an entry under a lock of its own, and beside it what picks read of it.
//!
//! A pick looks at all targets and must not meet other threads there, so each cell publishes a [`Glance`]: one atomic that
//! says whether anything is held against the target. Only where it says [`Glance::Look`], the entry is read. What a pick
//! has read may be out of date when it begins an attempt: beginning looks again, under the lock.
//!
//! Locks are taken in this order: that of the map, of a provider, of a target. Whatever is changed of a provider, and all
//! that is not the plain life of an attempt at a healthy target, is changed under the lock of the map as well. Quotas are
//! changed without it, and what is over is forgotten without it, by the thread that reads an entry.

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
        cooldown::Sequence,
        entry::{ProviderEntry, TargetEntry},
        limits::Held as HeldByLimit,
        published::{Glance, Held, NONE, PublishedAllowance, nanos, publish_counts, refresh},
        standing::{Standing, worse},
        tally::{Speed, Usual},
    },
    limits::{Quota, Room},
    outcome::OutcomeKind,
    select::Allowance,
};

/// A provider, as the map knows it.
#[derive(Debug)]
pub(crate) struct ProviderCell {
    pub(super) name: Arc<str>,
    epoch: Instant,
    /// Also says [`Glance::Look`] where an answer would change something.
    pub(super) held: Held,
    /// Whether calls of its account are counted, so that its limits have to be asked.
    counts: AtomicBool,
    allowance: PublishedAllowance,
    pub(super) newest: Newest,
    entry: Mutex<ProviderEntry>,
}

/// The number of the newest attempt at a provider: written by each attempt, and so apart from what each pick reads.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Newest(pub(super) AtomicU64);

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
    pub(super) fn next(&self) -> Sequence {
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

/// An entry under its lock. What picks read of it is published when this is dropped.
pub(super) struct Locked<'a, C: Publish> {
    pub(super) cell: &'a C,
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
