//! What a failure changes in what is remembered of its target and its provider.

use std::time::Duration;

use crate::{
    capability::Capability,
    catalog::TargetId,
    clock::later,
    health::{
        cooldown::{Cooldown, Moment},
        entry::{ProviderEntry, TargetEntry},
    },
    outcome::{Lack, LimitHit, LimitOf, Outcome, OutcomeKind, Recovery, Scope},
};

/// A refused credential is tried again after this long, then after twice as long, and so on.
const UNAUTHORISED: Duration = Duration::from_secs(3600);
/// This many soft failures in a row cool a target, and so do this many failures that may be accidents, of a target that
/// is doing well.
const SOFT_LIMIT: u32 = 3;
/// This many targets of one provider out of reach, within ten seconds, mean that the provider is out of reach.
const UNREACHABLE_TARGETS: usize = 3;
/// A target whose absence has no stated end is looked for again after a day.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A failure, and what is remembered of its target.
pub(super) struct Failure<'a> {
    pub(super) target: &'a TargetId,
    /// The tokens of the request, as estimated; 0 where that was not known to matter.
    pub(super) tokens: u64,
    pub(super) entry: &'a mut TargetEntry,
    pub(super) provider: &'a mut ProviderEntry,
    pub(super) outcome: &'a Outcome,
    /// How long the provider's day still lasts.
    pub(super) rest_of_day: Duration,
    pub(super) at: Moment,
}

impl Failure<'_> {
    pub(super) fn apply(&mut self) {
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
                wait if kind == Kind::RateLimited && self.is_explained(wait) => {
                    self.entry.record.failure();
                }
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

    /// Tells the quotas of a refusal because of a limit. Says whether one of them explains it: then it knows better than a
    /// cooldown which requests have room, and when.
    fn is_explained(&mut self, stated: Option<Duration>) -> bool {
        let (call, now) = (self.at.attempt, self.at.now);
        let hit = self.outcome.limit;
        let is_explained = match hit.map(|hit| hit.of) {
            // What another upstream behind the provider is busy with says nothing of this account.
            _ if self.outcome.relayed => false,
            Some(LimitOf::Tokens) => self.is_of_its_size(hit, stated),
            // How many it allows is a fact: that was stated before.
            Some(LimitOf::Requests)
                if hit.is_some_and(|hit| hit.limit.and(hit.window).is_some()) =>
            {
                false
            }
            // Where the end is stated there is nothing to guess: the refusal may be one of congestion.
            Some(LimitOf::Requests | LimitOf::AtOnce) | None => {
                stated.is_none() && self.is_inferred()
            }
        };
        for quota in [&mut self.entry.quota, &mut self.provider.quota] {
            quota.not_taken(call, now);
        }
        is_explained
    }

    /// Whether the refusal holds for requests of this size or more alone, until a stated end.
    fn is_of_its_size(&mut self, hit: Option<LimitHit>, stated: Option<Duration>) -> bool {
        let now = self.at.now;
        let requested = hit.and_then(|hit| hit.requested).unwrap_or(self.tokens);
        let left = hit.and_then(|hit| hit.limit?.checked_sub(hit.used?));
        let Some(wait) = stated.filter(|_| requested > 0) else {
            return false;
        };
        let quota = match self.outcome.scope {
            Scope::Target => &mut self.entry.quota,
            Scope::Provider => &mut self.provider.quota,
        };
        quota.refused_tokens(requested, left, later(now, wait), now);
        true
    }

    /// Whether the refusal follows from a limit that can be inferred.
    fn is_inferred(&mut self) -> bool {
        let (call, now) = (self.at.attempt, self.at.now);
        let meets_another = self.provider.meets_another(self.target, now);
        let may_be_of_account = meets_another || self.outcome.scope == Scope::Provider;
        self.entry.quota.allow_fixed_windows(now);
        let of_model = self.entry.quota.refused(call, now);
        // What the model's own limit explains is no evidence of one of the account.
        let is_inferred = of_model || may_be_of_account && self.provider.quota.refused(call, now);
        if is_inferred {
            // What was guessed before is known better now.
            let cooldown = &mut self.entry.cooldown;
            cooldown.forgive(OutcomeKind::RateLimited, |_| true);
        }
        is_inferred
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
            Some(Lack::ContextLength(Some(tokens)) | Lack::TokensPerMinute(Some(tokens))) => {
                self.entry.learn_window(tokens, self.at.now);
            }
            // Without a number there is nothing to remember of a window. A rate, a parameter or an endpoint says
            // something of the request or of the provider, and nothing of the model.
            Some(
                Lack::ContextLength(None)
                | Lack::TokensPerMinute(None)
                | Lack::Parameter
                | Lack::Endpoint,
            )
            | None => {}
        }
    }
}
