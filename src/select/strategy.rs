//! Strategies that pick one of the targets which are equally good for a request.
//!
//! The router decides which targets may serve a request and which of them are best: see [`Select`] for what is left to a
//! strategy. [`Random`] is the default; [`FreeModelRouteLayer::select`](crate::FreeModelRouteLayer::select) sets another.

use std::{fmt, time::Duration};

use http::HeaderMap;

use crate::{catalog::Target, headers::SESSION, request::Needs, rng::Rng};

/// Picks one of the targets of the best tier.
///
/// All candidates can serve the request and are equally healthy, as far as is known. They come in the order of the
/// [`Snapshot`](crate::catalog::Snapshot) of the catalog, which stays the same until the catalog changes. A strategy is called once
/// for each attempt, so that it is asked again where the target that it picked has failed; no lock of the health map is
/// held meanwhile. It should not block.
///
/// A function or a closure with the types of [`select`](Self::select) is a strategy too. This one keeps a session at one
/// target as long as that is among the best, and moves few sessions when the pool changes (rendezvous hashing: the
/// candidate with the highest hash of session and id wins):
///
/// ```
/// use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
///
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_free_models::{
///     Body, Catalog, FreeModelRouteLayer, HealthMap, Model, Provider, provider::FreeRule,
///     select::{Candidate, Chance, SelectRequest},
/// };
///
/// fn sticky(request: &SelectRequest<'_>, candidates: &[Candidate<'_>], chance: &Chance) -> usize {
///     let Some(session) = request.session() else {
///         return chance.below(candidates.len());
///     };
///     let hasher = BuildHasherDefault::<DefaultHasher>::default();
///     let weight = |at: &usize| hasher.hash_one((session, candidates[*at].target.id()));
///     (0..candidates.len()).max_by_key(weight).unwrap_or(0)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let local = Provider::new("local").base_url("http://127.0.0.1:9001/v1").free(FreeRule::All).build()?;
/// let model = |id: &str| local.target(Model::new(id)).expect("a free model");
/// let catalog = Catalog::from_targets(["a", "b", "c", "d"].map(model));
/// let client = service_fn(async |_: Request<Body>| Ok::<_, std::io::Error>(Response::new(Full::from("{}"))));
/// let route = FreeModelRouteLayer::new(catalog.clone(), HealthMap::new()).select(sticky).layer(client);
/// let answered_by = async |session: &str| -> Result<String, Box<dyn std::error::Error>> {
///     let request = Request::post("/v1/chat/completions")
///         .header("content-type", "application/json")
///         .header("x-session-id", session)
///         .body(Full::from(r#"{"messages": []}"#))?;
///     let response = route.clone().oneshot(request).await?;
///     Ok(response.headers()["x-free-model"].to_str()?.to_owned())
/// };
///
/// let first = answered_by("conversation 1").await?;
/// assert_eq!(answered_by("conversation 1").await?, first);
/// // A model that leaves the pool takes no other model's sessions with it.
/// let stay = ["a", "b", "c", "d"].into_iter().filter(|id| *id == first || *id < "c");
/// catalog.replace(&local, stay.map(model).collect())?;
/// assert_eq!(answered_by("conversation 1").await?, first);
/// # Ok(())
/// # }
/// ```
pub trait Select: Send + Sync {
    /// The index of the pick. `candidates` is never empty; an index outside of it counts as the last one.
    fn select(
        &self,
        request: &SelectRequest<'_>,
        candidates: &[Candidate<'_>],
        chance: &Chance,
    ) -> usize;
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

impl<'a> Candidate<'a> {
    /// A target without a record. The fields can be set: a test of a strategy makes its candidates so.
    #[must_use]
    pub const fn new(target: &'a Target) -> Self {
        Self {
            target,
            success_rate: None,
            first_token: None,
            in_flight: 0,
        }
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
