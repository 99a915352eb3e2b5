//! What an attempt came to.

use std::{fmt, time::Duration};

use crate::capability::Capability;

/// What one attempt came to. The names are those of `/status`, trails and logs.
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
    /// The model is no longer there.
    Gone,
    /// The model cannot serve this request, and is well otherwise.
    Unfit,
    /// The upstream is overloaded or broken.
    Unavailable,
    /// The upstream found fault with the request.
    Refused,
    /// The inner service answered with an error: nothing was reached.
    Unreachable,
    /// A deadline passed.
    TooSlow,
    /// A 200 without an answer in it.
    Empty,
    /// The answer broke off after its first bytes had been passed on.
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

    /// Whether a stated cooldown for this ends by the clock, so that a caller can come back then. That a key is
    /// refused, or a model gone, has an end by rule, but it is no rate that a caller could keep to.
    pub(crate) const fn is_limit(self) -> bool {
        !matches!(self, Self::Unauthorised | Self::Gated | Self::Gone)
    }
}

impl fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the evidence of an outcome speaks of.
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
    /// It has not got this capability.
    Capability(Capability),
    /// The prompt and the requested output do not fit its window; the window in tokens, if it was named.
    ContextLength(Option<u64>),
    /// One request of this size is over the provider's tokens a minute: no wait will help.
    TokensPerMinute,
    /// A parameter that the body names and this model refuses.
    Parameter,
    /// The endpoint: its provider has none of that kind.
    Endpoint,
}

/// What an attempt came to, at the scope that its evidence supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What happened.
    pub kind: OutcomeKind,
    /// To whom.
    pub scope: Scope,
    /// Until when.
    pub recovery: Recovery,
    /// What was lacking, where the kind is [`OutcomeKind::Unfit`].
    pub lack: Option<Lack>,
    /// The provider is a router, and this is what the upstream of this one model said. Of an
    /// [`OutcomeKind::Refused`]: another model of the same provider has another upstream, and may be asked next.
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
