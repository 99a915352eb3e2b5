//! One call of the inner service, for one target.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    catalog::Target,
    health::{
        both::Against,
        cell::TargetCell,
        cooldown::Sequence,
        effect::Ended,
        hooks::EndedAttempt,
        map::HealthMap,
        snapshot::Cooling,
        tally::{Speed, Usual},
    },
    limits::Quota,
    outcome::{Outcome, OutcomeKind, Scope},
    upstream::limits::Statement,
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
    /// What the map knows of the target. It stays that of the map as long as the attempt is in flight.
    cell: Arc<TargetCell>,
    sequence: Sequence,
    /// The tokens of its prompt and answer, as estimated; 0 where no limit of tokens is known.
    tokens: u64,
    /// It began as a probe, and may hold a lease.
    has_lease: bool,
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
        let (mut state, now) = self.lock();
        let cell = state.register(target);
        drop(state);
        let against = Against {
            guess: true,
            probes: false,
        };
        self.begin_against(&cell, target, against, 0, now)
    }

    /// The same for a target whose cell is known, and against no more than this.
    pub(crate) fn begin_against(
        &self,
        cell: &Arc<TargetCell>,
        target: &Target,
        against: Against,
        tokens: u64,
        now: Instant,
    ) -> Option<Attempt> {
        let (cell, sequence, has_lease) = match cell.begin_clear(target.row(), tokens, now) {
            Some(sequence) => (Arc::clone(cell), sequence, false),
            None => {
                let (mut state, now) = self.lock();
                // The map may have forgotten the target since its cell was read.
                let cell = state.register(target);
                let (sequence, has_lease) = cell.lock_both().begin(against, tokens, now)?;
                (cell, sequence, has_lease)
            }
        };
        Some(Attempt {
            map: self.clone(),
            target: target.clone(),
            cell,
            sequence,
            tokens,
            has_lease,
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

    /// Whether it began as a probe.
    pub(crate) const fn is_probe(&self) -> bool {
        self.has_lease
    }

    /// How long its target usually takes to answer.
    pub(crate) fn usual(&self) -> Usual {
        self.cell.usual()
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
        if self.has_lease {
            let (mut state, now) = self.map.lock();
            state.responded(&self.cell, self.sequence, now);
        }
    }

    /// An answer has begun: ends a guessed cooldown of the target, and lets more probes go. How soon it came is recorded
    /// once the answer is whole: a failure must never make a target look fast.
    ///
    /// Further calls do nothing.
    pub fn commit(&mut self) {
        if self.committed.is_none() {
            self.commit_at(Instant::now());
        }
    }

    fn commit_at(&mut self, now: Instant) {
        self.accepted(now);
        if self.has_lease || !self.cell.answered_clear() {
            let (mut state, now) = self.map.lock();
            self.recovered = state.answered(&self.cell, self.sequence, now);
        }
        self.committed = Some(now);
    }

    /// The upstream has taken the call, so no limit has refused it.
    fn accepted(&self, now: Instant) {
        let accepted = |quota: &mut Quota| quota.accepted(self.sequence, now);
        self.cell.change_quotas(accepted, now);
    }

    /// The upstream states limits: in the headers of its response (`scope` is `None`), or in a refusal, which is about
    /// this scope.
    pub(crate) fn stated(&self, statements: &[Statement], scope: Option<Scope>) {
        if statements.is_empty() {
            return;
        }
        let provider = self.target.provider();
        if provider.takes_callers_credential() {
            return;
        }
        let known = [provider.limits(), provider.usual_limits()].concat();
        let now = self.map.now();
        for statement in statements {
            let stated = statement.stated(&known, now);
            let scope = scope.or_else(|| statement.scope_in(&known));
            self.map.knows(stated.of);
            let mut both = self.cell.lock_both();
            let quota = match scope.unwrap_or(Scope::Target) {
                Scope::Target => &mut both.target.quota,
                Scope::Provider => &mut both.provider.quota,
            };
            quota.state(Some(self.sequence), stated, now);
        }
    }

    /// A success says that nothing is left for this long, as `x-ratelimit-remaining: 0` on a 200 does: cools the target
    /// before the first refusal.
    pub fn exhausted(&self, reset: Duration) {
        let (_state, now) = self.map.lock();
        let mut both = self.cell.lock_both();
        let at = both.moment(self.sequence, now, 0.0);
        both.exhausted(&self.target, reset, at);
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
        self.ended = true;
        let now = Instant::now();
        if outcome.kind == OutcomeKind::Succeeded && self.committed.is_none() {
            self.commit_at(now);
        }
        let since_began = |at: Instant| at.saturating_duration_since(self.began);
        let (total, first_content) = (since_began(now), self.committed.map(since_began));
        let speed = first_content.map(|first_content| Speed {
            first_content,
            total,
        });
        if outcome.kind == OutcomeKind::TooSlow && self.committed.is_none() {
            self.cell.lock().record.waited_in_vain(total);
        }
        let cooled = match outcome.kind {
            kind @ (OutcomeKind::Succeeded | OutcomeKind::Abandoned) if !self.has_lease => {
                self.cell.ended_well(kind, speed, now);
                let ended = |quota: &mut Quota| quota.ended(self.sequence, None, now);
                if self.cell.change_quotas(ended, now) {
                    self.map.lock().0.ends_in_flight(&self.cell);
                }
                None
            }
            _ => self.end_with_effect(outcome, speed),
        };
        if !self.map.ended_hooks().is_empty() {
            self.map.ended_hooks().call(&EndedAttempt {
                target: self.target.clone(),
                outcome: outcome.clone(),
                cooled,
                recovered: self.recovered,
                began: self.map.wall_at(self.began),
                first_content,
                total,
            });
        }
    }

    /// Records an outcome that may change what holds the target or its provider back. Says which cooldown it began or
    /// lengthened.
    fn end_with_effect(&self, outcome: &Outcome, speed: Option<Speed>) -> Option<Cooling> {
        let chance = self.map.chance();
        let (mut state, now) = self.map.lock();
        let before = state.cooling(&self.cell, now);
        let ended = Ended {
            cell: &self.cell,
            target: &self.target,
            attempt: self.sequence,
            outcome,
            tokens: self.tokens,
            speed,
            now,
        };
        state.ended(&ended, chance);
        let after = state.cooling(&self.cell, now).into_iter().zip(before);
        let changed = after.filter(|(after, before)| after != before);
        changed
            .filter_map(|(after, _)| after)
            .max_by_key(|cooling| cooling.until)
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

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::*;
    use crate::{
        catalog::{Catalog, Model},
        provider::{FreeRule, Provider},
    };

    /// Such an attempt takes no lock that the failure holds, until it sees the cooldown.
    #[test]
    fn an_attempt_at_another_target_has_begun_before_its_provider_cools_or_sees_that() {
        let provider = Provider::new("p").base_url("http://p.test/v1");
        let provider = provider.free(FreeRule::All).build().unwrap();
        let targets = ["a", "b"].map(|model| provider.target(Model::new(model)).unwrap());
        let snapshot = Catalog::from_targets(targets.clone()).snapshot();
        let against = Against {
            guess: true,
            probes: false,
        };
        let mut seen = [false; 2];
        for round in 0..5_000 {
            let health = HealthMap::seeded(round);
            let cells = health.cells(&snapshot);
            let fails = health.begin(&targets[0]).unwrap();
            let barrier = Barrier::new(2);
            let mut attempt = thread::scope(|scope| {
                let begins = scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..round % 50 {
                        std::hint::spin_loop();
                    }
                    health.begin_against(&cells[1], &targets[1], against, 0, Instant::now())
                });
                barrier.wait();
                fails.fail(&Outcome::of(OutcomeKind::RateLimited).provider());
                begins.join().unwrap().expect("a guess lets a probe go")
            });
            attempt.commit();
            assert_eq!(
                attempt.recovered, attempt.has_lease,
                "the answer to a probe, and to no attempt before, ends the guess"
            );
            seen[usize::from(attempt.has_lease)] = true;
        }
        assert_eq!(seen, [true; 2]);
    }
}
