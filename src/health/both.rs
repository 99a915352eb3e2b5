//! A target and its provider under both their locks, for what concerns the two.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::{
    catalog::TargetId,
    health::{
        cell::{Locked, ProviderCell, TargetCell},
        cooldown::{Moment, Phase, Sequence},
        limits::Held as HeldByLimit,
        published::Held,
        standing::worse,
    },
};

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

impl TargetCell {
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
