//! Tower middleware that gives any HTTP stack free LLM inference.

// Until the layers read it, part of the catalog has no caller.
mod capability;
#[allow(dead_code)]
mod catalog;
mod outcome;
#[allow(dead_code, unused_imports)] // Until the route is written.
mod request;

pub use capability::{Capabilities, Capability, CapabilitySet};
pub use catalog::{
    BaseUrl, BaseUrlError, Catalog, CatalogError, Day, FreeRule, KnownProvider, Listing,
    ListingError, Model, ModelBuilder, NotFree, Provider, ProviderBuilder, ProviderError,
    SkipReason, Skipped, Snapshot, Swap, Target, TargetId, means_any,
};
pub use outcome::{Lack, Outcome, OutcomeKind, Recovery, Scope};
pub use request::{Endpoint, Needs};

/// For the benchmarks and fuzz targets of this crate. Not API: it changes without notice.
#[doc(hidden)]
pub mod __private {
    use bytes::Bytes;

    use crate::request::{Endpoint, ScanError, scan};

    /// Why a body was refused.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Refusal {
        /// It is no JSON.
        NotJson,
        /// It is JSON that is not routed.
        NotRouted,
    }

    /// Scans a chat request and rewrites it once.
    pub fn rewrite(body: &Bytes, model: &str) -> Result<Vec<Bytes>, Refusal> {
        match scan(body, Endpoint::ChatCompletions) {
            Ok(envelope) => Ok(envelope.rewrite(body, model).collect()),
            Err(ScanError::NotUtf8 { .. } | ScanError::Syntax { .. }) => Err(Refusal::NotJson),
            Err(_) => Err(Refusal::NotRouted),
        }
    }
}
