//! What an outcome does to the health of its target and of its provider.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    capability::Capability,
    catalog::{Target, TargetId},
    health::{
        cooldown::{Cooldown, Phase, Sequence},
        state::{State, TargetEntry},
        waiting::Interest,
    },
    outcome::{Lack, Outcome, OutcomeKind, Recovery, Scope},
};

/// A day's quota is back after this long at the latest, where no upstream names its reset.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A refused credential is tried again after this long, then after twice as long, and so on.
const UNAUTHORISED: Duration = Duration::from_secs(3600);
/// This many soft failures in a row cool a target; of a target that is doing well, also this many failures of other kinds
/// that may be accidents.
const SOFT_LIMIT: u32 = 3;
/// So many targets of one provider out of reach, within so long, mean that the provider is.
const UNREACHABLE_TARGETS: usize = 3;
const UNREACHABLE_WINDOW: Duration = Duration::from_secs(10);

/// The attempt that an outcome belongs to, and the moment.
pub(crate) struct Event<'a> {
    pub(crate) target: &'a Target,
    pub(crate) began: Sequence,
    pub(crate) now: Instant,
    /// In 0..1, for the jitter of a guess.
    pub(crate) chance: f64,
}

/// Whether this outcome is about the credential that the request came with: where the caller's own goes to the target,
/// its limits, its plan and what it may see are those of one caller, and the others have theirs.
fn is_callers_own(kind: OutcomeKind, target: &Target) -> bool {
    use OutcomeKind as Kind;
    target.provider().takes_callers_credential()
        && matches!(
            kind,
            Kind::RateLimited | Kind::OutOfQuota | Kind::Unauthorised | Kind::Gated | Kind::Gone
        )
}

impl State {
    /// A target has begun to answer: what was guessed before the attempt began is over. Says whether there was a guess.
    pub(crate) fn answered(&mut self, event: &Event<'_>) -> bool {
        let Event { began, now, .. } = *event;
        let mut was_guessed = false;
        let mut answered = |cooldown: &mut Cooldown| {
            was_guessed |= cooldown.phase(now) != Phase::Healthy;
            cooldown.success(began, now);
        };
        if let Some(provider) = self.providers.get_mut(event.target.provider().name()) {
            answered(&mut provider.cooldown);
            provider.unreachable.clear();
        }
        if let Some(entry) = self.targets.get_mut(event.target.id()) {
            answered(&mut entry.cooldown);
            entry.answering += 1;
        }
        was_guessed
    }

    /// A target failed.
    pub(crate) fn failed(&mut self, outcome: &Outcome, event: &Event<'_>) {
        use OutcomeKind as Kind;
        if !matches!(outcome.kind, Kind::Unreachable | Kind::TooSlow) {
            self.was_reached(event.target);
        }
        if is_callers_own(outcome.kind, event.target) {
            return;
        }
        match outcome.kind {
            // No fault of the target.
            Kind::Succeeded | Kind::Abandoned | Kind::Refused => {}
            Kind::Unfit => self.learn(outcome.lack, event),
            Kind::RateLimited | Kind::Unavailable | Kind::TooSlow => {
                match self.stated(outcome.recovery, event) {
                    Some(wait) => {
                        self.hard_failure(event);
                        self.cooldown(outcome.scope, event, |c, _| {
                            c.state(wait, outcome.kind, event.now)
                        });
                    }
                    None if outcome.kind == Kind::RateLimited
                        || outcome.scope == Scope::Provider =>
                    {
                        self.hard_failure(event);
                        self.guess(outcome.scope, outcome.kind, event);
                    }
                    None => self.accident(outcome.kind, event),
                }
            }
            Kind::OutOfQuota => {
                self.hard_failure(event);
                let wait = self
                    .stated(outcome.recovery, event)
                    .unwrap_or_else(|| self.rest_of_day(event));
                self.cooldown(outcome.scope, event, |c, _| {
                    c.state(wait, outcome.kind, event.now)
                });
            }
            Kind::Unauthorised => {
                self.cooldown(outcome.scope, event, |c, last| {
                    c.state_doubling(UNAUTHORISED, outcome.kind, event.began, last, event.now);
                });
            }
            Kind::Gated | Kind::Gone => {
                let wait = match outcome.recovery {
                    Recovery::After(wait) if !wait.is_zero() => wait,
                    _ => DAY,
                };
                self.cooldown(outcome.scope, event, |c, _| {
                    c.state(wait, outcome.kind, event.now)
                });
            }
            Kind::Unreachable => self.unreachable(event),
            Kind::Empty | Kind::Interrupted => self.soft_failure(outcome.kind, SOFT_LIMIT, event),
        }
    }

    /// A success said that nothing is left for so long.
    pub(crate) fn exhausted(&mut self, target: &Target, reset: Duration, now: Instant) {
        if is_callers_own(OutcomeKind::RateLimited, target) {
            return;
        }
        if let Some(entry) = self.targets.get_mut(target.id()) {
            entry.cooldown.state(reset, OutcomeKind::RateLimited, now);
        }
    }

    fn entry(&mut self, id: &TargetId) -> &mut TargetEntry {
        self.targets.entry(id.clone()).or_default()
    }

    /// The cooldown at the scope of the evidence, with the number of the newest attempt.
    fn cooldown(
        &mut self,
        scope: Scope,
        event: &Event<'_>,
        change: impl FnOnce(&mut Cooldown, Sequence),
    ) {
        let last = self.sequence;
        match scope {
            Scope::Target => change(&mut self.entry(event.target.id()).cooldown, last),
            Scope::Provider => {
                let name = event.target.provider().name();
                let provider = self.providers.entry(name.into()).or_default();
                change(&mut provider.cooldown, last);
            }
        }
    }

    fn guess(&mut self, scope: Scope, kind: OutcomeKind, event: &Event<'_>) {
        self.cooldown(scope, event, |c, last| {
            c.guess(kind, event.began, last, event.now, event.chance)
        });
    }

    fn hard_failure(&mut self, event: &Event<'_>) {
        self.entry(event.target.id()).record.failure();
    }

    /// One failure does not close a target that is doing well: among many callers each would close it for all.
    fn accident(&mut self, kind: OutcomeKind, event: &Event<'_>) {
        let is_doing_well = self.entry(event.target.id()).is_doing_well(event.now);
        let limit = if is_doing_well { SOFT_LIMIT } else { 1 };
        self.soft_failure(kind, limit, event);
    }

    /// Cools the target by a guess if it is the last of so many failures in a row.
    fn soft_failure(&mut self, kind: OutcomeKind, limit: u32, event: &Event<'_>) {
        let entry = self.entry(event.target.id());
        entry.record.failure();
        entry.soft += 1;
        if entry.soft >= limit {
            entry.soft = 0;
            self.guess(Scope::Target, kind, event);
        }
    }

    fn learn(&mut self, lack: Option<Lack>, event: &Event<'_>) {
        let entry = self.entry(event.target.id());
        match lack {
            Some(Lack::Capability(capability)) => {
                entry.learn_lack(capability, event.now);
                // What cannot answer in JSON at all cannot follow a schema either.
                if capability == Capability::JsonObject {
                    entry.learn_lack(Capability::JsonSchema, event.now);
                }
            }
            Some(Lack::ContextLength(Some(tokens))) => entry.learn_window(tokens, event.now),
            // Without a number there is nothing to remember; a rate is no property of the model.
            // What its provider lacks is no property of it either.
            Some(
                Lack::ContextLength(None)
                | Lack::TokensPerMinute
                | Lack::Parameter
                | Lack::Endpoint,
            )
            | None => {}
        }
    }

    /// A wait that is a fact. A reset in the past, or now, is none.
    fn stated(&self, recovery: Recovery, event: &Event<'_>) -> Option<Duration> {
        match recovery {
            Recovery::Unstated => None,
            Recovery::After(wait) => (!wait.is_zero()).then_some(wait),
            Recovery::DayEnd => Some(self.rest_of_day(event)),
        }
    }

    fn rest_of_day(&self, event: &Event<'_>) -> Duration {
        let wall = self.clock.wall(event.now);
        event.target.provider().day().rest(wall).unwrap_or(DAY)
    }

    fn was_reached(&mut self, target: &Target) {
        if let Some(provider) = self.providers.get_mut(target.provider().name()) {
            provider.unreachable.clear();
        }
    }

    /// One target out of reach may be that target, three of one provider are the provider, and all providers
    /// at once are our own network, which must be held against none of them.
    fn unreachable(&mut self, event: &Event<'_>) {
        const KIND: OutcomeKind = OutcomeKind::Unreachable;
        let recent = |at: Instant| event.now.saturating_duration_since(at) <= UNREACHABLE_WINDOW;
        let provider = self
            .providers
            .entry(event.target.provider().name().into())
            .or_default();
        provider
            .unreachable
            .retain(|(id, at)| id != event.target.id() && recent(*at));
        provider
            .unreachable
            .push((event.target.id().clone(), event.now));
        let many = provider.unreachable.len() >= UNREACHABLE_TARGETS;
        let mut present = self
            .providers
            .iter()
            .filter(|(name, _)| self.pool.is_empty() || self.pool.contains(*name));
        let all = present.clone().count() > 1
            && present.all(|(_, p)| p.unreachable.iter().any(|&(_, at)| recent(at)));
        if all {
            self.line.open(Interest::ALL);
            self.hard_failure(event);
            self.targets
                .values_mut()
                .for_each(|entry| entry.cooldown.forgive(KIND, recent));
            self.providers
                .values_mut()
                .for_each(|entry| entry.cooldown.forgive(KIND, recent));
        } else {
            self.accident(KIND, event);
            if many {
                self.guess(Scope::Provider, KIND, event);
            }
        }
    }
}
