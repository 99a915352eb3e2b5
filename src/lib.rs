//! Tower middleware that gives any HTTP stack free LLM inference.

#[allow(dead_code)]
mod answer;
mod capability;
mod fallback;
mod lenient;
#[allow(dead_code)]
mod limits;
mod outcome;
#[allow(dead_code)]
mod sse;

pub use capability::{Capabilities, Capability, CapabilitySet};
pub use fallback::{Classify, DefaultClassify, Evidence};
pub use outcome::{Lack, Outcome, OutcomeKind, Recovery, Scope};
