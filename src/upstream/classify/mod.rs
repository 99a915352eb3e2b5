//! What a failed response means.

mod decide;
#[cfg(test)]
mod tests;

use std::{fmt, time::SystemTime};

use http::{HeaderMap, StatusCode};

use crate::{
    catalog::Target,
    endpoint::Endpoint,
    outcome::Outcome,
    upstream::{classify::decide::Case, error::UpstreamError},
};

/// What is known of a failed response.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Evidence<'a> {
    /// The model, and its provider, that failed.
    pub target: &'a Target,
    /// What was asked for.
    pub endpoint: Endpoint,
    /// The status of the response; of an error in a 2xx, that one.
    pub status: StatusCode,
    /// The headers of the response.
    pub headers: &'a HeaderMap,
    /// The error, read.
    pub error: &'a UpstreamError,
    /// The body that was read, or the data of the event that holds the error. It may be empty or cut short.
    pub body: &'a [u8],
    /// The time by the wall clock.
    pub now: SystemTime,
}

impl<'a> Evidence<'a> {
    /// Puts the evidence together. `headers` are those that `error` was read with.
    #[must_use]
    pub fn new(
        target: &'a Target,
        endpoint: Endpoint,
        headers: &'a HeaderMap,
        error: &'a UpstreamError,
        now: SystemTime,
    ) -> Self {
        Self {
            target,
            endpoint,
            status: error.sent_status(),
            headers,
            error,
            body: error.body(),
            now,
        }
    }
}

/// The body may echo a credential or the request, so only its length is shown.
impl fmt::Debug for Evidence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evidence")
            .field("target", &self.target.id())
            .field("endpoint", &self.endpoint)
            .field("status", &self.status)
            .field("error", &self.error)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// Tells what a failed response means: for this request, and for the health of its target.
///
/// It is asked about every response that is not a 2xx, and about an error in a 2xx: in the body, or in an event of a
/// stream, also after the answer has begun. It can ask [`DefaultClassify`] and change some of its answers. A closure
/// will do:
///
/// ```
/// use std::time::SystemTime;
///
/// use http::{HeaderMap, StatusCode};
/// use tower_free_models::{
///     Classify, Model, Provider,
///     classify::{DefaultClassify, Evidence, Outcome, OutcomeKind, UpstreamError},
///     provider::{Endpoint, FreeRule},
/// };
///
/// // A provider whose 418 means that it is overloaded.
/// let classify = |evidence: &Evidence<'_>| match evidence.target.provider().name() {
///     "teapot" if evidence.status == StatusCode::IM_A_TEAPOT => Outcome::of(OutcomeKind::Unavailable),
///     _ => DefaultClassify.classify(evidence),
/// };
///
/// let headers = HeaderMap::new();
/// let error = UpstreamError::read(StatusCode::IM_A_TEAPOT, &headers, "short and stout");
/// let outcome_at = |name: &str| -> Result<Outcome, Box<dyn std::error::Error>> {
///     let provider = Provider::new(name).free(FreeRule::All).build()?;
///     let target = provider.target(Model::new("small"))?;
///     let evidence = Evidence::new(&target, Endpoint::ChatCompletions, &headers, &error, SystemTime::UNIX_EPOCH);
///     Ok(classify.classify(&evidence))
/// };
/// assert_eq!(outcome_at("teapot")?.kind, OutcomeKind::Unavailable);
/// assert_eq!(outcome_at("other")?.kind, OutcomeKind::Refused);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Classify: Send + Sync {
    /// What this response means.
    fn classify(&self, evidence: &Evidence<'_>) -> Outcome;
}

impl<F> Classify for F
where
    F: Fn(&Evidence<'_>) -> Outcome + Send + Sync,
{
    fn classify(&self, evidence: &Evidence<'_>) -> Outcome {
        self(evidence)
    }
}

/// What is known of the errors of the free providers.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultClassify;

impl Classify for DefaultClassify {
    fn classify(&self, evidence: &Evidence<'_>) -> Outcome {
        Case::of(evidence).outcome()
    }
}
