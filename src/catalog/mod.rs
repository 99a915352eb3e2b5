//! The free models there are: providers, their listings, and the set of targets that all requests read.

mod belief;
mod index;
mod kind;
pub(crate) mod model;
mod name;
pub(crate) mod set;
mod snapshot;
pub(crate) mod target;

pub(crate) use self::{
    belief::{Belief, FRESH},
    kind::Kind,
    model::Model,
    name::assumed_output,
    set::Catalog,
    target::{BadId, Target},
};
pub use self::{
    model::ModelBuilder,
    set::{CatalogError, Swap},
    snapshot::Snapshot,
    target::{NotFree, TargetId, means_any},
};
pub use crate::capability::{Capabilities, Capability, CapabilitySet};
