//! The health of every target, inferred from what attempts come to.
//!
//! A [`HealthMap`] is a cheap handle; clones share one map. A router takes an [`Attempt`] from it for each
//! call, and whoever sees the outcome finishes that attempt. So what is learned always lands in the map that
//! the pick was read from, at the target it belongs to.
//!
//! Three files decide: `cooldown` when a target may be tried again, `tally` what is counted, and `effect`
//! what an outcome does to both. `waiting` is the line of requests for which no target is free.

pub(crate) mod attempt;
pub(crate) mod cooldown;
pub(crate) mod effect;
pub(crate) mod map;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod tally;
pub(crate) mod waiting;

pub use self::{
    attempt::Attempt,
    map::HealthMap,
    snapshot::{Cooling, HealthSnapshot, ProviderHealth, TargetHealth, TargetState},
    tally::Tally,
};
pub(crate) use self::{cooldown::Phase, state::Standing, waiting::Place};
