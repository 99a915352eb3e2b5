//! Tower middleware that gives any HTTP stack free LLM inference.

mod capability;
mod outcome;
#[allow(dead_code)] // Until the route is written.
mod request;

pub use capability::{Capabilities, Capability, CapabilitySet};
pub use outcome::{Lack, Outcome, OutcomeKind, Recovery, Scope};
pub use request::{Endpoint, Needs};
