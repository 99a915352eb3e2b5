//! The outcome of an attempt.

use std::{fmt, time::Duration};

use crate::capability::Capability;

/// The kind of an attempt's outcome. The names are those of trails, logs and refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutcomeKind {
    /// A 2xx with content, to its end.
    Succeeded,
    /// A limit of requests or tokens was reached.
    RateLimited,
    /// The account has no quota left: its day, month or credit is used up.
    OutOfQuota,
    /// The credential was refused.
    Unauthorised,
    /// This account may not use this model.
    Gated,
    /// The provider no longer has the model.
    Gone,
    /// The model cannot serve this request; others it can.
    Unfit,
    /// The upstream is overloaded or broken.
    Unavailable,
    /// The upstream found fault with the request.
    Refused,
    /// The inner service returned an error: the upstream was not reached.
    Unreachable,
    /// A deadline passed.
    TooSlow,
    /// A 200 without an answer in it.
    Empty,
    /// The answer broke off after its first bytes were passed on.
    Interrupted,
    /// The caller went away.
    Abandoned,
}

impl OutcomeKind {
    /// The name in snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::RateLimited => "rate_limited",
            Self::OutOfQuota => "out_of_quota",
            Self::Unauthorised => "unauthorised",
            Self::Gated => "gated",
            Self::Gone => "gone",
            Self::Unfit => "unfit",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TooSlow => "too_slow",
            Self::Empty => "empty",
            Self::Interrupted => "interrupted",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether a stated cooldown for this is a limit whose end a client can wait for. The cooldown for a refused key or a
    /// missing model has an end as well, but the model may be missing then still.
    pub(crate) const fn is_limit(self) -> bool {
        !matches!(self, Self::Unauthorised | Self::Gated | Self::Gone)
    }
}

impl fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the evidence of an outcome is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One model at one provider.
    Target,
    /// The account: every model of that provider.
    Provider,
}

impl Scope {
    /// `target` or `provider`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Provider => "provider",
        }
    }
}

/// When the evidence says that it is worth trying again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovery {
    /// It says nothing: the health map applies the fixed rule of the outcome, or a guess.
    #[default]
    Unstated,
    /// After this long, as the upstream named it.
    After(Duration),
    /// When the provider's day ends; after 24 hours where that is not known.
    DayEnd,
}

/// Why a target was unfit for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lack {
    /// The model lacks this capability.
    Capability(Capability),
    /// The prompt and the requested output do not fit the model's window, which has this many tokens, if it was named.
    ContextLength(Option<u64>),
    /// A single request of this size exceeds the provider's limit of tokens per minute: no wait will help.
    /// The limit is in tokens, if it was named.
    TokensPerMinute(Option<u64>),
    /// The model refuses a parameter of the request.
    Parameter,
    /// The provider has no such endpoint.
    Endpoint,
}

/// What a limit that was reached counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitOf {
    /// Requests within a time.
    Requests,
    /// Tokens within a time.
    Tokens,
    /// Requests in flight at the same time.
    AtOnce,
}

/// The limit that refused a request, as far as the upstream names it.
///
/// ```
/// use std::time::Duration;
///
/// use tower_free_models::classify::{LimitHit, LimitOf, Outcome, OutcomeKind};
///
/// let mut hit = LimitHit::new(LimitOf::Tokens);
/// hit.window = Some(Duration::from_secs(60));
/// hit.limit = Some(8_000);
/// let mut outcome = Outcome::of(OutcomeKind::RateLimited);
/// outcome.limit = Some(hit);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitHit {
    /// What it counts.
    pub of: LimitOf,
    /// The length of its window, if that was named; `None` also for [`LimitOf::AtOnce`], which has none.
    pub window: Option<Duration>,
    /// How many are allowed, if that was named. Never 0.
    pub limit: Option<u64>,
    /// How many were used without the request that was refused, if that was named.
    pub used: Option<u64>,
    /// How many the request would have used, by the upstream's count, if that was named.
    pub requested: Option<u64>,
}

impl LimitHit {
    /// A limit of which nothing more was named.
    #[must_use]
    pub const fn new(of: LimitOf) -> Self {
        Self {
            of,
            window: None,
            limit: None,
            used: None,
            requested: None,
        }
    }
}

/// The outcome of an attempt, at the scope that its evidence supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The kind.
    pub kind: OutcomeKind,
    /// Whether it is about the target or its whole provider.
    pub scope: Scope,
    /// When it is worth trying again.
    pub recovery: Recovery,
    /// What the target lacked, where the kind is [`OutcomeKind::Unfit`].
    pub lack: Option<Lack>,
    /// Which limit was reached, where the kind is [`OutcomeKind::RateLimited`] or [`OutcomeKind::OutOfQuota`] and the
    /// upstream says so of our account.
    pub limit: Option<LimitHit>,
    /// The provider is a router and passed on what the upstream of this one model said. After an
    /// [`OutcomeKind::Refused`] another model of the same provider may be tried, because it has another upstream.
    pub relayed: bool,
}

impl Outcome {
    /// An outcome of the target that states nothing further.
    #[must_use]
    pub const fn of(kind: OutcomeKind) -> Self {
        Self {
            kind,
            scope: Scope::Target,
            recovery: Recovery::Unstated,
            lack: None,
            limit: None,
            relayed: false,
        }
    }

    /// The same, for the whole provider.
    #[must_use]
    pub const fn provider(mut self) -> Self {
        self.scope = Scope::Provider;
        self
    }

    /// The same, with a recovery.
    #[must_use]
    pub const fn until(mut self, recovery: Recovery) -> Self {
        self.recovery = recovery;
        self
    }

    /// An [`OutcomeKind::Unfit`] for this lack.
    #[must_use]
    pub const fn unfit(lack: Lack) -> Self {
        Self {
            lack: Some(lack),
            ..Self::of(OutcomeKind::Unfit)
        }
    }
}
