//! What an event in the life of an attempt changes in the state: nothing else but the arguments decides.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    capability::Capability,
    catalog::Target,
    health::{
        cooldown::{Cooldown, Moment, Phase},
        line::Interest,
        state::{ProviderEntry, State, TargetEntry},
    },
    outcome::{Lack, Outcome, OutcomeKind, Recovery, Scope},
};

/// A day's quota is back after this long at the latest, where no upstream names its reset.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A refused credential is tried again after this long, then after twice as long, and so on.
const UNAUTHORISED: Duration = Duration::from_secs(3600);
/// This many soft failures in a row cool a target, and so do this many failures that may be accidents, of a target that
/// is doing well.
const SOFT_LIMIT: u32 = 3;
/// This many targets of one provider out of reach, within this window, mean that the provider is out of reach.
const UNREACHABLE_TARGETS: usize = 3;
const UNREACHABLE_WINDOW: Duration = Duration::from_secs(10);

/// How long an answer took, to its first content and to its end.
#[derive(Clone, Copy)]
pub(super) struct Speed {
    pub(super) first_content: Duration,
    pub(super) total: Duration,
}

impl State {
    /// An attempt has begun to answer: guesses that were made before it began are over. Says whether it is the first
    /// answer since the target or its provider began to cool.
    pub(super) fn answered(&mut self, target: &Target, at: Moment) -> bool {
        let Some((entry, provider)) = self.entries(target) else {
            return false;
        };
        provider.unreachable.clear();
        entry.answering += 1;
        let (mut was_guessed, mut recovered) = (false, false);
        for cooldown in [&mut provider.cooldown, &mut entry.cooldown] {
            was_guessed |= cooldown.phase(at.now) != Phase::Healthy;
            recovered |= cooldown.success(at);
        }
        self.free_leases(target, at, was_guessed);
        recovered
    }

    /// A success said that nothing is left until this long from now.
    pub(super) fn exhausted(&mut self, target: &Target, reset: Duration, at: Moment) {
        let entries = self.entries(target);
        if let Some((entry, _)) =
            entries.filter(|_| !is_callers_own(OutcomeKind::RateLimited, target))
        {
            entry.cooldown.state(reset, OutcomeKind::RateLimited, at);
        }
    }

    /// An attempt has ended. `speed` is that of its answer, if it had begun to answer.
    pub(super) fn ended(
        &mut self,
        target: &Target,
        outcome: &Outcome,
        speed: Option<Speed>,
        at: Moment,
    ) {
        let Some((entry, _)) = self.entries(target) else {
            return;
        };
        entry.tally.end(outcome.kind);
        if speed.is_some() {
            entry.answering = entry.answering.saturating_sub(1);
        }
        match (outcome.kind, speed) {
            (OutcomeKind::Succeeded, Some(speed)) => {
                entry.record.success(speed.first_content, speed.total);
                entry.soft = 0;
                entry.last_success = Some(at.now);
            }
            (OutcomeKind::Succeeded | OutcomeKind::Abandoned, _) => {}
            _ => self.failed(target, outcome, at),
        }
        self.free_leases(target, at, false);
    }

    fn failed(&mut self, target: &Target, outcome: &Outcome, at: Moment) {
        let rest_of_day = target.provider().day().rest(self.clock.wall(at.now));
        if let Some((_, provider)) = self.entries(target) {
            match outcome.kind {
                OutcomeKind::Unreachable => provider.note_unreachable(target, at.now),
                OutcomeKind::TooSlow => {}
                _ => provider.unreachable.clear(),
            }
        }
        let is_our_network =
            outcome.kind == OutcomeKind::Unreachable && self.is_no_provider_reached(at.now);
        if is_our_network {
            self.forgive_unreachable(at.now);
        }
        let Some((entry, provider)) = self.entries(target) else {
            return;
        };
        if is_our_network {
            entry.record.failure();
        } else if !is_callers_own(outcome.kind, target) {
            Failure {
                entry,
                provider,
                outcome,
                rest_of_day: rest_of_day.unwrap_or(DAY),
                at,
            }
            .apply();
        }
    }

    /// Whether all providers at once are out of reach: then our own network is, which must not be held against any.
    fn is_no_provider_reached(&self, now: Instant) -> bool {
        let is_present = |name| self.pool.is_empty() || self.pool.contains(name);
        let mut present = self.providers.iter().filter(|(name, _)| is_present(name));
        present.clone().count() > 1
            && present.all(|(_, provider)| {
                let mut lately = provider.unreachable.iter();
                lately.any(|&(_, at)| is_recent(at, now))
            })
    }

    fn forgive_unreachable(&mut self, now: Instant) {
        self.cooldowns().for_each(|cooldown| {
            cooldown.forgive(OutcomeKind::Unreachable, |made| is_recent(made, now));
        });
        self.line.open(Interest::ALL);
    }
}

impl ProviderEntry {
    fn note_unreachable(&mut self, target: &Target, now: Instant) {
        self.unreachable
            .retain(|(id, at)| id != target.id() && is_recent(*at, now));
        self.unreachable.push((target.id().clone(), now));
    }
}

/// Whether an instant is recent enough to count among targets out of reach.
fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) <= UNREACHABLE_WINDOW
}

/// Whether this outcome is about the credential that the request came with. Where the caller's own credential goes to the
/// target, its limits, its plan and its models are those of one caller, and say nothing to the others.
fn is_callers_own(kind: OutcomeKind, target: &Target) -> bool {
    use OutcomeKind as Kind;
    target.provider().takes_callers_credential()
        && matches!(
            kind,
            Kind::RateLimited | Kind::OutOfQuota | Kind::Unauthorised | Kind::Gated | Kind::Gone
        )
}

/// A failure, and what is remembered of its target.
struct Failure<'a> {
    entry: &'a mut TargetEntry,
    provider: &'a mut ProviderEntry,
    outcome: &'a Outcome,
    /// How long the provider's day still lasts.
    rest_of_day: Duration,
    at: Moment,
}

impl Failure<'_> {
    fn apply(&mut self) {
        use OutcomeKind as Kind;
        let (kind, at) = (self.outcome.kind, self.at);
        // A reset now, or in the past, states nothing.
        let stated = match self.outcome.recovery {
            Recovery::Unstated => None,
            Recovery::After(wait) => (!wait.is_zero()).then_some(wait),
            Recovery::DayEnd => Some(self.rest_of_day),
        };
        match kind {
            // The target is not at fault.
            Kind::Succeeded | Kind::Abandoned | Kind::Refused => {}
            Kind::Unfit => self.learn(),
            Kind::RateLimited | Kind::Unavailable | Kind::TooSlow => match stated {
                Some(wait) => self.hard_cooldown().state(wait, kind, at),
                None if kind == Kind::RateLimited || self.outcome.scope == Scope::Provider => {
                    self.hard_cooldown().guess(kind, at);
                }
                None => self.accident(),
            },
            Kind::OutOfQuota => {
                let wait = stated.unwrap_or(self.rest_of_day);
                self.hard_cooldown().state(wait, kind, at);
            }
            Kind::Unauthorised => self.cooldown().state_doubling(UNAUTHORISED, kind, at),
            Kind::Gated | Kind::Gone => {
                let is_named = self.outcome.recovery != Recovery::DayEnd;
                let wait = stated.filter(|_| is_named).unwrap_or(DAY);
                self.cooldown().state(wait, kind, at);
            }
            Kind::Unreachable => {
                self.accident();
                if self.provider.unreachable.len() >= UNREACHABLE_TARGETS {
                    self.provider.cooldown.guess(kind, at);
                }
            }
            Kind::Empty | Kind::Interrupted => self.soft(SOFT_LIMIT),
        }
    }

    /// The cooldown at the scope of the evidence.
    const fn cooldown(&mut self) -> &mut Cooldown {
        match self.outcome.scope {
            Scope::Target => &mut self.entry.cooldown,
            Scope::Provider => &mut self.provider.cooldown,
        }
    }

    /// The same, for a failure that lowers the success rate.
    fn hard_cooldown(&mut self) -> &mut Cooldown {
        self.entry.record.failure();
        self.cooldown()
    }

    /// One failure does not close a target that is doing well: among many requests each would close it for all.
    fn accident(&mut self) {
        let is_doing_well = self.entry.is_doing_well(self.at.now);
        self.soft(if is_doing_well { SOFT_LIMIT } else { 1 });
    }

    /// Cools the target by a guess if this is the last of so many failures in a row.
    fn soft(&mut self, limit: u32) {
        self.entry.record.failure();
        self.entry.soft += 1;
        if self.entry.soft >= limit {
            self.entry.soft = 0;
            self.entry.cooldown.guess(self.outcome.kind, self.at);
        }
    }

    fn learn(&mut self) {
        match self.outcome.lack {
            Some(Lack::Capability(capability)) => {
                self.entry.learn_lack(capability, self.at.now);
                // A model that cannot answer in JSON at all cannot follow a schema either.
                if capability == Capability::JsonObject {
                    self.entry.learn_lack(Capability::JsonSchema, self.at.now);
                }
            }
            Some(Lack::ContextLength(Some(tokens))) => {
                self.entry.learn_window(tokens, self.at.now);
            }
            // Without a number there is nothing to remember of a window. A rate, a parameter or an endpoint says
            // something of the request or of the provider, and nothing of the model.
            Some(
                Lack::ContextLength(None)
                | Lack::TokensPerMinute
                | Lack::Parameter
                | Lack::Endpoint,
            )
            | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::{
        capability::CapabilitySet,
        catalog::Model,
        health::{HealthMap, Standing},
        provider::{FreeRule, Provider, ProviderBuilder},
    };

    const HOUR: Duration = Duration::from_secs(3600);

    fn target(provider: ProviderBuilder) -> Target {
        let provider = provider.free(FreeRule::All).build().unwrap();
        provider.target(Model::new("m")).unwrap()
    }

    fn fail(health: &HealthMap, target: &Target, outcome: &Outcome) -> Standing {
        health.begin(target).unwrap().fail(outcome);
        standing(health, target)
    }

    fn standing(health: &HealthMap, target: &Target) -> Standing {
        let (state, now) = health.lock();
        state.standing(target, now)
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_failure_taught_is_believed_for_an_hour() {
        let (health, target) = (HealthMap::seeded(1), target(Provider::new("p")));
        let lacks = |lack| Outcome::unfit(Lack::Capability(lack));
        fail(&health, &target, &lacks(Capability::JsonObject));
        fail(&health, &target, &Outcome::unfit(Lack::ContextLength(None)));
        let window = Lack::ContextLength(Some(100));
        let known = fail(&health, &target, &Outcome::unfit(window));
        // A model that cannot answer in JSON at all cannot follow a schema either.
        let json = CapabilitySet::EMPTY.with(Capability::JsonObject);
        assert_eq!(known.lacks, json.with(Capability::JsonSchema));
        assert_eq!((known.window, known.phase), (Some(100), Phase::Healthy));
        tokio::time::advance(HOUR).await;
        let forgotten = standing(&health, &target);
        assert_eq!(
            (forgotten.lacks, forgotten.window),
            (CapabilitySet::EMPTY, None)
        );
        let schema = fail(&health, &target, &lacks(Capability::JsonSchema));
        assert_eq!(
            schema.lacks,
            CapabilitySet::EMPTY.with(Capability::JsonSchema)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_callers_credential_is_refused_cools_nothing_and_an_overload_does() {
        use OutcomeKind::{Gated, Gone, OutOfQuota, RateLimited, Unauthorised, Unavailable};
        let own = || Provider::new("p").base_url("http://p.test/v1");
        for (kind, is_callers) in [
            (RateLimited, true),
            (OutOfQuota, true),
            (Unauthorised, true),
            (Gated, true),
            (Gone, true),
            (Unavailable, false),
        ] {
            for (provider, cools) in [(Provider::new("p"), !is_callers), (own(), true)] {
                let (health, target) = (HealthMap::seeded(1), target(provider));
                let known = fail(&health, &target, &Outcome::of(kind));
                assert_eq!(known.phase != Phase::Healthy, cools, "{kind}");
            }
        }
        let (health, target) = (HealthMap::seeded(1), target(Provider::new("p")));
        health.begin(&target).unwrap().exhausted(HOUR);
        assert_eq!(standing(&health, &target).phase, Phase::Healthy);
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_makes_a_target_proven_for_ten_minutes() {
        let (health, target) = (HealthMap::seeded(1), target(Provider::new("p")));
        health.begin(&target).unwrap().succeed();
        assert!(standing(&health, &target).proven);
        tokio::time::advance(HOUR / 6).await;
        assert!(!standing(&health, &target).proven);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_a_healthy_target_wakes_no_request() {
        let (health, target) = (HealthMap::seeded(1), target(Provider::new("p")));
        let freed = health.lock().0.line.freed;
        let mut place = None;
        assert!(health.wait_for([target.id()], &mut place, freed));
        health.begin(&target).unwrap().succeed();
        let call = place.unwrap().called().now_or_never();
        assert!(call.is_none());
    }
}
