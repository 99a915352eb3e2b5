//! The free models there are: providers, their listings, and the set of targets that all requests read.

mod belief;
mod model;
mod set;
mod snapshot;
mod target;

pub(crate) use self::{
    belief::{Belief, FRESH},
    model::assumed_output,
    target::BadId,
};
pub use self::{
    model::{Model, ModelBuilder},
    set::{Catalog, CatalogError, Swap},
    snapshot::Snapshot,
    target::{NotFree, Target, TargetId, means_any},
};
