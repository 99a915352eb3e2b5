//! What a strategy sees of a request and of the targets that it may pick.

use std::{fmt, time::Duration};

use http::HeaderMap;

use crate::{catalog::Target, headers::SESSION, request::Needs, rng::Rng};

/// Picks one of the targets of the best tier.
///
/// All candidates can serve the request and are equally healthy, as far as is known, but for the few picks that may go to a
/// target which [has to be tried again](Self::explores). They come in the order of the
/// [`Snapshot`](crate::catalog::Snapshot) of the catalog, which stays the same until the catalog changes. A strategy is called once
/// for each attempt, so that it is asked again where the target that it picked has failed; no lock of the health map is
/// held meanwhile. It should not block.
///
/// The strategies of this crate are in [`select`](crate::select). A function or a closure with the types of
/// [`select`](Self::select) is a strategy too. This one prefers a provider's models to all others:
///
/// ```
/// use tower_free_models::{
///     Catalog, FreeModelRouteLayer, HealthMap, Select,
///     select::{Candidate, Chance, Random, SelectRequest},
/// };
///
/// fn local_first(request: &SelectRequest<'_>, candidates: &[Candidate<'_>], chance: &Chance) -> usize {
///     let is_local = |candidate: &Candidate<'_>| candidate.target.id().provider() == "local";
///     let local = candidates.iter().position(is_local);
///     local.unwrap_or_else(|| Random.select(request, candidates, chance))
/// }
///
/// let route = FreeModelRouteLayer::new(Catalog::new(), HealthMap::new()).select(local_first);
/// ```
pub trait Select: Send + Sync {
    /// The index of the pick. `candidates` is never empty; an index outside of it counts as the last one.
    fn select(
        &self,
        request: &SelectRequest<'_>,
        candidates: &[Candidate<'_>],
        chance: &Chance,
    ) -> usize;

    /// Whether one candidate is as good as another to this strategy, so that the router may leave it fewer of them. Default:
    /// no.
    ///
    /// A target that has failed and may be tried again is not as good as a healthy one, but it has to be tried for the
    /// pool to know when it has recovered: about one pick in ten may go to such a target. For that pick a strategy which
    /// explores gets those targets alone as candidates. One which does not gets them beside the healthy ones, and
    /// picks by its own preference.
    fn explores(&self) -> bool {
        false
    }
}

impl<F> Select for F
where
    F: Fn(&SelectRequest<'_>, &[Candidate<'_>], &Chance) -> usize + Send + Sync,
{
    fn select(
        &self,
        request: &SelectRequest<'_>,
        candidates: &[Candidate<'_>],
        chance: &Chance,
    ) -> usize {
        self(request, candidates, chance)
    }
}

/// The request that a target is picked for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SelectRequest<'a> {
    /// What it requires of a model.
    pub needs: &'a Needs,
    /// The headers as the caller sent them, so the caller's credential is among them.
    pub headers: &'a HeaderMap,
}

impl<'a> SelectRequest<'a> {
    /// A request with these needs and headers.
    #[must_use]
    pub const fn new(needs: &'a Needs, headers: &'a HeaderMap) -> Self {
        Self { needs, headers }
    }

    /// The session that the request is part of: the value of its header `x-session-id`, by which OpenRouter keeps
    /// requests together as well (`session_id` in the reference of its API). `None` where the header is missing, empty,
    /// or not printable ASCII.
    #[must_use]
    pub fn session(&self) -> Option<&'a str> {
        let session = self.headers.get(SESSION)?.to_str().ok()?;
        (!session.is_empty()).then_some(session)
    }

    /// A hash of how the conversation begins that the request continues: of its tools and of what is written in its
    /// instructions, its system messages and its first message of a user. It is the same for each turn of the conversation,
    /// on every machine and in every version of this crate, and for two conversations that begin in the same way. `None` for
    /// other endpoints than `/chat/completions` and `/responses`, and where none of these messages is there.
    ///
    /// It is computed when it is asked for first, for which these parts of the body are read once more.
    #[must_use]
    pub fn conversation(&self) -> Option<u64> {
        self.needs.conversation()
    }
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
    /// What the limits of this target alone allow; `None` where no such limit is known.
    pub allowance: Option<Allowance>,
    /// What the limits of its provider's account allow to all targets of that provider together; `None` where no such limit
    /// is known.
    pub account_allowance: Option<Allowance>,
}

impl<'a> Candidate<'a> {
    /// A target without a record or a known limit. The fields can be set: a test of a strategy makes its candidates so.
    #[must_use]
    pub const fn new(target: &'a Target) -> Self {
        Self {
            target,
            success_rate: None,
            first_token: None,
            in_flight: 0,
            allowance: None,
            account_allowance: None,
        }
    }
}

/// What a limit allows, in requests a second.
///
/// The strategies take a number that is negative, infinite or none as not known.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Allowance {
    /// What it leaves now: the requests that it still admits, divided by the seconds until it resets. It changes with every
    /// request.
    pub left: f64,
    /// What it grants in the long run: its amount divided by its window in seconds. It stays the same as long as the limit
    /// does.
    pub granted: f64,
}

impl Allowance {
    /// A limit that leaves and grants so many requests a second.
    ///
    /// ```
    /// use tower_free_models::select::Allowance;
    ///
    /// // 50 requests a day, of which 10 are left for the last six hours.
    /// let allowance = Allowance::new(10.0 / (6.0 * 3600.0), 50.0 / 86_400.0);
    /// assert!(allowance.left < allowance.granted);
    /// ```
    #[must_use]
    pub const fn new(left: f64, granted: f64) -> Self {
        Self { left, granted }
    }
}

/// The router's source of random numbers: seeded, where the router is.
pub struct Chance(Rng);

impl Chance {
    /// A source of its own, for tests: the same seed gives the same numbers.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Rng::seeded(seed))
    }

    pub(crate) fn of(rng: &Rng) -> Self {
        Self(rng.clone())
    }

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

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chance")
    }
}
