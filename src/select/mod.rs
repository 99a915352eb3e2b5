//! Strategies: which of the targets that are equally good gets the request.

pub(crate) mod random;

pub use self::random::Random;

use std::{fmt, time::Duration};

use crate::{catalog::Target, rng::Rng};

/// Picks one of the targets of the best tier.
///
/// All candidates can serve the request and are equally healthy, as far as is known. Called once for each
/// attempt, while the health map is not locked: other requests go on.
///
/// ```
/// use tower_free_models::{Candidate, Chance, Select};
///
/// /// The least busy one.
/// struct LeastBusy;
///
/// impl Select for LeastBusy {
///     fn select(&self, candidates: &[Candidate<'_>], _chance: &Chance<'_>) -> usize {
///         (0..candidates.len()).min_by_key(|&i| candidates[i].in_flight).unwrap_or(0)
///     }
/// }
/// ```
pub trait Select: Send + Sync {
    /// The index of the pick. `candidates` is never empty; an index outside of it counts as the last one.
    fn select(&self, candidates: &[Candidate<'_>], chance: &Chance<'_>) -> usize;
}

/// One of the targets to pick from, and what is known of its record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// The target.
    pub target: &'a Target,
    /// The share of successes among recent attempts, 0 to 1; `None` before the first.
    pub success_rate: Option<f64>,
    /// The mean time to the first content of recent successes.
    pub first_token: Option<Duration>,
    /// Attempts under way.
    pub in_flight: u64,
}

/// The router's source of chance: seeded, where the router is.
pub struct Chance<'a>(pub(crate) &'a Rng);

impl Chance<'_> {
    /// A number below `n`, uniformly; 0 where `n` is 0.
    #[must_use]
    pub fn below(&self, n: usize) -> usize {
        self.0.below(n)
    }

    /// A number from 0 to 1, without 1, uniformly.
    #[must_use]
    pub fn unit(&self) -> f64 {
        self.0.unit()
    }
}

impl fmt::Debug for Chance<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chance")
    }
}
