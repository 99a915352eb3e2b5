//! One call of the inner service, for one target.

use std::{fmt, sync::MutexGuard, time::Duration};

use tokio::time::Instant;

use crate::{
    catalog::Target,
    health::{
        cooldown::{Moment, Phase, Sequence},
        effect::Speed,
        hooks::EndedAttempt,
        map::HealthMap,
        state::State,
    },
    outcome::{Outcome, OutcomeKind},
};

/// One call of the inner service for one target, from the pick to its outcome.
///
/// Made by [`HealthMap::begin`], and finished exactly once: by [`succeed`](Self::succeed), by [`fail`](Self::fail), or by
/// being dropped, which counts as *abandoned* and says nothing about the target. If the target is in probation, the
/// attempt holds a probe lease, and gives it back when it has [`responded`](Self::responded), at
/// [`commit`](Self::commit), at its end, or when dropped.
#[must_use = "an attempt that is dropped counts as abandoned"]
pub struct Attempt {
    map: HealthMap,
    target: Target,
    sequence: Sequence,
    began: Instant,
    /// When its first content came.
    committed: Option<Instant>,
    ended: bool,
    /// Its answer was the first since the target began to cool.
    recovered: bool,
    /// Whether it had to wait for a turn at its server, where there are turns.
    in_line: bool,
}

impl HealthMap {
    /// Begins an attempt for `target`, if that may be tried now.
    ///
    /// `None` where it is quarantined or in a stated cooldown, or where as many probes as are allowed are under way. If
    /// the target is cooling by a guess or in probation, this attempt takes a probe lease.
    #[must_use = "an attempt that is dropped counts as abandoned"]
    pub fn begin(&self, target: &Target) -> Option<Attempt> {
        self.begin_beside(target, false)
    }

    /// The same. With `probes` also beside as many probes as are allowed, and then without a lease.
    pub(crate) fn begin_beside(&self, target: &Target, probes: bool) -> Option<Attempt> {
        let (mut state, now) = self.lock();
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
        let (entry, provider) = state.entries(target)?;
        entry.tally.started += 1;
        entry.cooldown.take_lease(sequence, now);
        provider.cooldown.take_lease(sequence, now);
        drop(state);
        Some(Attempt {
            map: self.clone(),
            target: target.clone(),
            sequence,
            began: now,
            committed: None,
            ended: false,
            recovered: false,
            in_line: false,
        })
    }
}

impl Attempt {
    /// The target that this attempt is for.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// How long ago it began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) const fn began(&self) -> Instant {
        self.began
    }

    pub(crate) const fn map(&self) -> &HealthMap {
        &self.map
    }

    /// The request has to wait for its turn at the server.
    pub(crate) const fn waits_in_line(&mut self) {
        self.in_line = true;
    }

    /// Whether other requests were before this one at its server, and used some of its time.
    pub(crate) const fn was_in_line(&self) -> bool {
        self.in_line
    }

    /// The head of a success has come: gives the probe lease back, so that the next probe may go. It is not known yet
    /// whether an answer follows.
    pub fn responded(&self) {
        let (mut state, at) = self.lock(0.0);
        state.free_leases(&self.target, at, false);
    }

    /// An answer has begun: ends a guessed cooldown of the target, and lets more probes go. How soon it came is recorded
    /// once the answer is whole: a failure must never make a target look fast.
    ///
    /// Further calls do nothing.
    pub fn commit(&mut self) {
        if self.committed.is_none() {
            let (mut state, at) = self.lock(0.0);
            let recovered = state.answered(&self.target, at);
            drop(state);
            (self.recovered, self.committed) = (recovered, Some(at.now));
        }
    }

    /// A success says that nothing is left for this long, as `x-ratelimit-remaining: 0` on a 200 does: cools the target
    /// before the first refusal.
    pub fn exhausted(&self, reset: Duration) {
        let (mut state, at) = self.lock(0.0);
        state.exhausted(&self.target, reset, at);
    }

    /// The answer was billed: the target is quarantined until it is [reset](HealthMap::reset) by hand.
    pub fn billed(&self) {
        self.map.quarantine(self.target.id());
    }

    /// The whole answer has come.
    pub fn succeed(mut self) {
        self.answered();
    }

    /// The whole answer has come, and is one part of the answer to the caller: the attempt has succeeded, whatever the
    /// outcome of the other parts. What ends it later changes nothing.
    pub(crate) fn answered(&mut self) {
        self.end(&Outcome::of(OutcomeKind::Succeeded));
    }

    /// It has failed. The kinds [`OutcomeKind::Succeeded`] and [`OutcomeKind::Abandoned`] are recorded as what they say.
    pub fn fail(mut self, outcome: &Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: &Outcome) {
        if self.ended {
            return;
        }
        if outcome.kind == OutcomeKind::Succeeded {
            self.commit();
        }
        self.ended = true;
        let (mut state, at) = self.lock(self.map.chance());
        let total = at.now.saturating_duration_since(self.began);
        let committed = self.committed;
        let first_content =
            committed.map(|committed| committed.saturating_duration_since(self.began));
        let speed = first_content.map(|first_content| Speed {
            first_content,
            total,
        });
        let is_observed = !self.map.ended_hooks().is_empty();
        let before = is_observed.then(|| state.cooling(&self.target, at.now));
        state.ended(&self.target, outcome, speed, at);
        let Some(before) = before else { return };
        let after = state.cooling(&self.target, at.now).into_iter().zip(before);
        let changed = after.filter(|(after, before)| after != before);
        let ended = EndedAttempt {
            target: self.target.clone(),
            outcome: outcome.clone(),
            cooled: changed
                .filter_map(|(after, _)| after)
                .max_by_key(|cooling| cooling.until),
            recovered: self.recovered,
            began: state.clock.wall(self.began),
            first_content,
            total,
        };
        drop(state);
        self.map.ended_hooks().call(&ended);
    }

    fn lock(&self, chance: f64) -> (MutexGuard<'_, State>, Moment) {
        let (state, now) = self.map.lock();
        let at = Moment {
            attempt: self.sequence,
            last: state.sequence,
            now,
            chance,
        };
        (state, at)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.end(&Outcome::of(OutcomeKind::Abandoned));
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("target", self.target.id())
            .field("committed", &self.committed.is_some())
            .finish_non_exhaustive()
    }
}
