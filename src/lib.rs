//! Tower middleware that gives any HTTP stack free LLM inference.

mod capability;
mod outcome;

pub use capability::{Capabilities, Capability, CapabilitySet};
pub use outcome::{Lack, Outcome, OutcomeKind, Recovery, Scope};
