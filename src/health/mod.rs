//! The health of every target, learnt from the outcomes of attempts.
//!
//! A [`HealthMap`] is a cheap handle; clones share one map. A router takes an [`Attempt`] from it for each call, and
//! the layer that sees the outcome finishes that attempt. So an outcome is always recorded in the map that the pick was
//! read from, for the target of the attempt.
//!
//! `cooldown` and `tally` are the data of one target, `line` that of the requests which wait for one, and `limits` says what the
//! limits of an account or a model hold back. `entry` is all that is remembered of one target or provider, and `cell` has
//! its lock, and what picks read without it (`published`); `both` is a target and its provider under both locks, and `state` holds all cells.
//! `effect` says what an event changes, `failure` what a failure does, `standing` and `snapshot` read it. `map` puts it
//! behind a lock and `hooks` tells users of outcomes; an `attempt` and a `place` in the line are handles that change the map.
//! `bound` has the cells of a catalog in its order, for picks.

pub(crate) mod attempt;
mod both;
mod bound;
mod cell;
mod cooldown;
mod effect;
mod entry;
mod failure;
mod hooks;
mod limits;
mod line;
pub(crate) mod map;
mod place;
mod published;
mod snapshot;
mod standing;
mod state;
mod tally;

pub(crate) use self::{attempt::Attempt, map::HealthMap};
pub(crate) use self::{
    both::Against,
    bound::{Binding, Bound},
    cooldown::Phase,
    place::Place,
    published::Glance,
    standing::Standing,
    tally::{Pace, Usual},
};
pub use self::{
    hooks::EndedAttempt,
    snapshot::{Cooling, HealthSnapshot, LimitHealth, ProviderHealth, TargetHealth, TargetState},
    tally::Tally,
};
pub use crate::limits::Source as LimitSource;
