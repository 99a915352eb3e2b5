//! How a target stands at the moment of a pick.

use tokio::time::Instant;

use crate::{capability::CapabilitySet, health::cooldown::Phase};

/// How one target stands at the moment of a pick.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// Of the target's own phase and its provider's, the one that holds it back more.
    pub(crate) phase: Phase,
    pub(crate) quarantined: bool,
    /// The request has more tokens than a limit allows in all.
    pub(crate) too_large: bool,
    /// Whether it succeeded lately.
    pub(crate) proven: bool,
    /// Capabilities that it was found to lack.
    pub(crate) lacks: CapabilitySet,
    /// The window that it was last found to have, in tokens.
    pub(crate) window: Option<u64>,
}

impl Standing {
    /// Nothing is known of the target.
    pub(crate) const HEALTHY: Self = Self {
        phase: Phase::Healthy,
        quarantined: false,
        too_large: false,
        proven: false,
        lacks: CapabilitySet::EMPTY,
        window: None,
    };
}

/// The phase that holds a target back more; of two of one kind the one that ends later.
pub(super) fn worse(a: Phase, b: Phase) -> Phase {
    const fn rank(phase: Phase) -> (u8, Option<Instant>) {
        match phase {
            Phase::Healthy => (0, None),
            Phase::Probation { rested: true } => (1, None),
            Phase::Probation { rested: false } => (2, None),
            Phase::Guessed(until, _) => (3, Some(until)),
            Phase::Probing(until) => (4, Some(until)),
            Phase::Stated(until, _) => (5, Some(until)),
        }
    }
    if rank(a) >= rank(b) { a } else { b }
}
