//! What picks read of a cell without its lock: copies that are written when the entry has changed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::time::Instant;

use crate::{
    limits::{Left, Quota},
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
pub(super) struct Held(pub(super) AtomicU64);

impl Held {
    pub(super) const NOTHING: u64 = 0;
    pub(super) const LOOK: u64 = 1;
    pub(super) const FOR_EVER: u64 = u64::MAX;

    pub(super) const fn until(end: u64) -> u64 {
        if end > Self::LOOK { end } else { Self::LOOK }
    }

    pub(super) fn glance(&self, now: u64) -> Glance {
        match self.0.load(Ordering::SeqCst) {
            Self::NOTHING => Glance::Clear,
            end if end > now && end > Self::LOOK => Glance::Out,
            _ => Glance::Look,
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.0.load(Ordering::SeqCst) == Self::NOTHING
    }
}

/// Nanoseconds from the epoch of a map to an instant.
pub(super) fn nanos(epoch: Instant, at: Instant) -> u64 {
    let after = at.saturating_duration_since(epoch).as_nanos();
    u64::try_from(after).unwrap_or(u64::MAX)
}

/// Stands for no instant, no duration and no rate: as the bits of an `f64` it is not a number.
pub(super) const NONE: u64 = u64::MAX;

/// A copy of what limits leave: two numbers of requests a second, as their bits.
#[derive(Debug)]
pub(super) struct PublishedAllowance {
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
    pub(super) fn publish(&self, left: Option<Left>) {
        refresh(
            &self.left,
            left.map_or(NONE, |left| left.per_second.to_bits()),
        );
        refresh(
            &self.granted,
            left.map_or(NONE, |left| left.granted.to_bits()),
        );
    }

    pub(super) fn read(&self) -> Option<Allowance> {
        let left = self.left.load(Ordering::Relaxed);
        let granted = f64::from_bits(self.granted.load(Ordering::Relaxed));
        (left != NONE).then(|| Allowance::new(f64::from_bits(left), granted))
    }
}

pub(super) fn publish_counts(counts: &AtomicBool, quota: &Quota) {
    if counts.load(Ordering::Relaxed) != quota.is_counting() {
        counts.store(quota.is_counting(), Ordering::Release);
    }
}

/// Writes a copy if it has changed: other threads read what is next to it, and a write makes that slow.
pub(super) fn refresh(copy: &AtomicU64, value: u64) {
    if copy.load(Ordering::Relaxed) != value {
        copy.store(value, Ordering::Release);
    }
}
