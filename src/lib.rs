//! Tower middleware that gives any HTTP stack free LLM inference.

// Until the layers read it, part of the catalog has no caller.
mod capability;
#[allow(dead_code)]
mod catalog;
mod outcome;

pub use capability::{Capabilities, Capability, CapabilitySet};
pub use catalog::{
    BaseUrl, BaseUrlError, Catalog, CatalogError, Day, FreeRule, KnownProvider, Listing,
    ListingError, Model, ModelBuilder, NotFree, Provider, ProviderBuilder, ProviderError,
    SkipReason, Skipped, Snapshot, Swap, Target, TargetId, means_any,
};
pub use outcome::{Lack, Outcome, OutcomeKind, Recovery, Scope};
