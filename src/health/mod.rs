//! The health of every target, inferred from what attempts come to.
//!
//! A [`HealthMap`] is a cheap handle; clones share one map. A router takes an [`Attempt`] from it for each
//! call, and whoever sees the outcome finishes that attempt. So what is learned always lands in the map that
//! the pick was read from, at the target it belongs to.
//!
//! Three files decide: `cooldown` when a target may be tried again, `tally` what is counted, and `effect`
//! what an outcome does to both. `waiting` is the line of requests for which no target is free.

mod attempt;
mod cooldown;
mod effect;
mod map;
mod snapshot;
mod state;
mod tally;
mod waiting;

pub use attempt::Attempt;
pub(crate) use cooldown::Phase;
pub use map::HealthMap;
pub use snapshot::{Cooling, HealthSnapshot, ProviderHealth, TargetHealth, TargetState};
pub(crate) use state::Standing;
pub use tally::Tally;
pub(crate) use waiting::Place;
