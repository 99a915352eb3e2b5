//! One call of the inner service, for one target.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use crate::{
    catalog::Target,
    health::{cooldown::Sequence, map::HealthMap, tally::End},
    outcome::{Outcome, OutcomeKind},
};

/// One call of the inner service for one target, from the pick to its outcome.
///
/// Made by a [`HealthMap`], and finished exactly once: by [`succeed`](Self::succeed), by
/// [`fail`](Self::fail), or by being dropped, which counts as *abandoned* and says nothing about the target.
/// It holds a probe lease of a target in probation, and gives it back when it has
/// [`responded`](Self::responded), at [`commit`](Self::commit), at the end, or when dropped.
#[must_use = "an attempt that is dropped counts as abandoned"]
pub struct Attempt {
    pub(crate) map: HealthMap,
    pub(crate) target: Target,
    pub(crate) sequence: Sequence,
    pub(crate) began: Instant,
    /// When its first content came.
    pub(crate) committed: Option<Instant>,
    pub(crate) ended: bool,
    /// Whether it had to wait for a turn at its server, where there are turns.
    pub(crate) in_line: bool,
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

    /// Whether other requests were before this one at its server, and took of its time.
    pub(crate) const fn was_in_line(&self) -> bool {
        self.in_line
    }

    /// The head of a success has come: gives the probe lease back, so that the next probe may go. Whether it holds an
    /// answer is not known yet.
    pub fn responded(&self) {
        self.map.responded(self);
    }

    /// An answer has begun: ends a guessed cooldown of the target, and lets more probes go. How soon it came is recorded
    /// once the answer is whole: a failure must never make a target look fast.
    ///
    /// Further calls do nothing.
    pub fn commit(&mut self) {
        if self.committed.is_none() {
            self.committed = Some(Instant::now());
            self.map.committed(self);
        }
    }

    /// A success says that nothing is left for so long.
    ///
    /// This cools the target before the first refusal: `x-ratelimit-remaining: 0` on a 200.
    pub fn exhausted(&self, reset: Duration) {
        self.map.exhausted(self, reset);
    }

    /// The answer was billed: the target is quarantined until it is reset by hand.
    pub fn billed(&self) {
        self.map.quarantine(self.target.id());
    }

    /// The whole answer has come.
    pub fn succeed(mut self) {
        self.answered();
    }

    /// The whole answer has come, and is one part of what the caller gets: the attempt has succeeded, whatever becomes of
    /// the other parts. What ends it later changes nothing.
    pub(crate) fn answered(&mut self) {
        if !self.ended {
            self.commit();
            self.ended = true;
            self.map.ended(self, End::Succeeded, None);
        }
    }

    /// It has failed. [`OutcomeKind::Succeeded`] and [`OutcomeKind::Abandoned`] are taken at their word.
    pub fn fail(mut self, outcome: &Outcome) {
        match outcome.kind {
            OutcomeKind::Succeeded => self.succeed(),
            OutcomeKind::Abandoned => drop(self),
            _ if self.ended => {}
            _ => {
                self.ended = true;
                self.map.ended(&self, End::Failed, Some(outcome));
            }
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.ended {
            self.map.ended(self, End::Abandoned, None);
        }
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
