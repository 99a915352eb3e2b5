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
    TokensPerMinute,
    /// The model refuses a parameter of the request.
    Parameter,
    /// The provider has no such endpoint.
    Endpoint,
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
