//! What an event in the life of an attempt changes in the state: nothing else but the arguments decides.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::Instant;

use crate::{
    catalog::{Target, TargetId},
    health::{
        both::Both,
        cell::TargetCell,
        cooldown::{Cooldown, Moment, Phase, Sequence},
        entry::ProviderEntry,
        failure::Failure,
        line::Interest,
        state::State,
        tally::Speed,
    },
    limits::Quota,
    outcome::{LimitOf, Outcome, OutcomeKind},
};

/// A day's quota is back after this long at the latest, where no upstream names its reset.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Targets that are out of reach within this time are so together.
const UNREACHABLE_WINDOW: Duration = Duration::from_secs(10);

/// An attempt that has ended.
#[derive(Clone, Copy)]
pub(super) struct Ended<'a> {
    pub(super) cell: &'a TargetCell,
    pub(super) target: &'a Target,
    pub(super) attempt: Sequence,
    pub(super) outcome: &'a Outcome,
    /// As estimated; 0 where no limit of tokens is known.
    pub(super) tokens: u64,
    /// How soon it was answered, if it had begun to be.
    pub(super) speed: Option<Speed>,
    pub(super) now: Instant,
}

impl State {
    /// An attempt has begun to answer: guesses that were made before it began are over. Says whether it is the first
    /// answer since the target or its provider began to cool.
    pub(super) fn answered(&mut self, cell: &TargetCell, attempt: Sequence, now: Instant) -> bool {
        let mut both = cell.lock_both();
        let at = both.moment(attempt, now, 0.0);
        both.provider.unreachable.clear();
        both.target.answering += 1;
        let (mut was_guessed, mut recovered) = (false, false);
        for cooldown in [&mut both.provider.cooldown, &mut both.target.cooldown] {
            was_guessed |= cooldown.phase(now) != Phase::Healthy;
            recovered |= cooldown.success(at);
        }
        let freed = both.free_leases(at, was_guessed);
        drop(both);
        self.tell(freed);
        recovered
    }

    /// The head of a success has come to an attempt that holds a lease.
    pub(super) fn responded(&mut self, cell: &TargetCell, attempt: Sequence, now: Instant) {
        let mut both = cell.lock_both();
        let at = both.moment(attempt, now, 0.0);
        let freed = both.free_leases(at, false);
        drop(both);
        self.tell(freed);
    }

    /// An attempt has ended. `speed` is that of its answer, if it had begun to answer; `chance` is in 0..1.
    pub(super) fn ended(&mut self, ended: &Ended<'_>, chance: f64) {
        let Ended {
            cell, outcome, now, ..
        } = *ended;
        let is_failure = !matches!(
            outcome.kind,
            OutcomeKind::Succeeded | OutcomeKind::Abandoned
        );
        let is_our_network = is_failure && self.is_our_network_out(cell, outcome.kind, now);
        if is_our_network {
            self.forgive_unreachable(now);
        }
        let mut both = cell.lock_both();
        let at = both.moment(ended.attempt, now, chance);
        if is_failure {
            both.target.ended(outcome.kind, ended.speed);
            both.answer_quotas(outcome, ended.attempt, now);
            if outcome.kind == OutcomeKind::RateLimited {
                self.known.any.store(true, Ordering::Release);
            }
            if outcome.limit.is_some_and(|hit| hit.of == LimitOf::Tokens) {
                self.known.tokens.store(true, Ordering::Release);
            }
            if is_our_network {
                both.target.record.failure();
            } else if !is_callers_own(outcome.kind, ended.target) {
                let wall = self.clock.wall(now);
                Failure {
                    target: &cell.id,
                    tokens: ended.tokens,
                    entry: &mut both.target,
                    provider: &mut both.provider,
                    outcome,
                    rest_of_day: ended.target.provider().day().rest(wall).unwrap_or(DAY),
                    at,
                }
                .apply();
            }
        } else {
            both.target.ended_well(outcome.kind, ended.speed, now);
        }
        let freed = both.free_leases(at, false);
        drop(both);
        self.tell(freed);
        let ended = |quota: &mut Quota| quota.ended(ended.attempt, None, now);
        if cell.change_quotas(ended, now) {
            self.ends_in_flight(cell);
        }
    }

    /// An attempt has ended that was one of as many as may be in flight at once.
    pub(super) fn ends_in_flight(&mut self, cell: &TargetCell) {
        self.line.free(Interest::of_provider(cell.id.provider()), 1);
    }

    /// Calls the requests that wait for what is free now. Picks must be able to see it already.
    fn tell(&mut self, freed: Option<Freed>) {
        match freed {
            Some((to, Some(places))) => self.line.free(to, places),
            Some((to, None)) => self.line.open(to),
            None => {}
        }
    }

    /// Notes for the provider whether it was reached. Says whether this was the last one: then our own network is out of
    /// order.
    fn is_our_network_out(&self, cell: &TargetCell, kind: OutcomeKind, now: Instant) -> bool {
        let mut provider = cell.provider.lock();
        match kind {
            OutcomeKind::Unreachable => provider.note_unreachable(&cell.id, now),
            OutcomeKind::TooSlow => {}
            _ => provider.unreachable.clear(),
        }
        drop(provider);
        kind == OutcomeKind::Unreachable && self.is_no_provider_reached(now)
    }

    /// Whether all providers at once are out of reach: then our own network is, which must not be held against any.
    fn is_no_provider_reached(&self, now: Instant) -> bool {
        let is_present = |name| self.pool.is_empty() || self.pool.contains(name);
        let mut present = self.providers.iter().filter(|(name, _)| is_present(name));
        present.clone().count() > 1
            && present.all(|(_, provider)| {
                let provider = provider.lock();
                let mut lately = provider.unreachable.iter();
                lately.any(|&(_, at)| is_recent(at, now))
            })
    }

    fn forgive_unreachable(&mut self, now: Instant) {
        self.each_cooldown(|cooldown| {
            cooldown.forgive(OutcomeKind::Unreachable, |made| is_recent(made, now));
        });
        self.line.open(Interest::ALL);
    }
}

/// Targets or a provider that can be tried, and how many requests may be; any number, where that is not said.
type Freed = (Interest, Option<u32>);

impl Both<'_> {
    /// Tells the quotas what a failure says of their limits. What it says of a refusal is up to [`Failure`].
    fn answer_quotas(&mut self, outcome: &Outcome, call: Sequence, now: Instant) {
        use OutcomeKind as Kind;
        for quota in [&mut self.target.quota, &mut self.provider.quota] {
            match outcome.kind {
                // Of one that was too slow it is not known whether it was taken; which limit refused one is known later.
                Kind::TooSlow | Kind::RateLimited => {}
                Kind::OutOfQuota => quota.not_taken(call, now),
                Kind::Unreachable => quota.give_back(call, now),
                _ => quota.accepted(call, now),
            }
        }
    }

    /// Gives back the probe leases of an attempt. If it held one, or has changed a cooldown, this says what is free now.
    fn free_leases(&mut self, at: Moment, has_changed: bool) -> Option<Freed> {
        let (own, whole) = (&mut self.target.cooldown, &mut self.provider.cooldown);
        if !(own.free_lease(at.attempt) | whole.free_lease(at.attempt) | has_changed) {
            return None;
        }
        let is_open = |cooldown: &Cooldown| cooldown.phase(at.now) == Phase::Healthy;
        Some(match (is_open(own), is_open(whole)) {
            (true, true) => (Interest::of(self.id()), None),
            (false, true) => {
                let places = own.room(at.now);
                (Interest::of(self.id()), Some(places))
            }
            // A probe of the provider may go to any of its targets.
            (_, false) => {
                let places = whole.room(at.now);
                (Interest::of_provider(self.id().provider()), Some(places))
            }
        })
    }

    /// A success said that nothing is left of `target` until this long from now.
    pub(super) fn exhausted(&mut self, target: &Target, reset: Duration, at: Moment) {
        if !is_callers_own(OutcomeKind::RateLimited, target) {
            let cooldown = &mut self.target.cooldown;
            cooldown.state(reset, OutcomeKind::RateLimited, at);
        }
    }
}

impl ProviderEntry {
    fn note_unreachable(&mut self, target: &TargetId, now: Instant) {
        self.unreachable
            .retain(|(id, at)| id != target && is_recent(*at, now));
        self.unreachable.push((target.clone(), now));
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::{
        capability::{Capability, CapabilitySet},
        catalog::Model,
        health::{HealthMap, Standing},
        outcome::Lack,
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
        let freed = health.freed();
        let mut place = None;
        assert!(health.wait_for([target.id()], &mut place, freed));
        health.begin(&target).unwrap().succeed();
        let call = place.unwrap().called().now_or_never();
        assert!(call.is_none());
    }

    /// The upstream allows so many requests of the account, or of each model, within any time of this length, and states
    /// nothing. Says how many were accepted and refused in ten minutes by callers who never rest.
    async fn saturated(
        models: usize,
        of_account: bool,
        amount: usize,
        window: Duration,
    ) -> (usize, usize) {
        let provider = Provider::new("p").base_url("http://p.test/v1");
        let provider = provider.free(FreeRule::All).build().unwrap();
        let target = |n| provider.target(Model::new(format!("m{n}"))).unwrap();
        let targets: Vec<_> = (0..models).map(target).collect();
        let health = HealthMap::seeded(1);
        let (mut accepted, mut refused) = (Vec::new(), 0);
        for _ in 0..6_000 {
            let now = Instant::now();
            for (model, target) in targets.iter().enumerate() {
                let phase = standing(&health, target).phase;
                if !matches!(phase, Phase::Healthy | Phase::Probation { .. }) {
                    continue;
                }
                let Some(attempt) = health.begin(target) else {
                    continue;
                };
                let counts = |&&(of, at): &&(usize, Instant)| {
                    (of_account || of == model) && now - at < window
                };
                if accepted.iter().filter(counts).count() < amount {
                    accepted.push((model, now));
                    attempt.succeed();
                } else {
                    refused += 1;
                    attempt.fail(&Outcome::of(OutcomeKind::RateLimited));
                }
            }
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        (accepted.len(), refused)
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_is_not_stated_is_learned_and_kept_be_it_of_a_model_or_of_the_account() {
        let secs = Duration::from_secs;
        for (models, of_account, amount, window) in [
            (4, true, 40, secs(60)),
            (4, false, 20, secs(60)),
            (2, false, 1, secs(1)),
            (1, false, 3, secs(5)),
        ] {
            let (accepted, refused) = saturated(models, of_account, amount, window).await;
            let each = if of_account { 1 } else { models };
            let most = each * amount * 600 / window.as_secs() as usize;
            let why =
                format!("{amount} in {window:?}, {accepted} of {most} accepted, {refused} refused");
            assert!(accepted * 100 >= most * 95, "{why}");
            assert!(refused * 8 <= accepted, "{why}");
        }
    }
}
