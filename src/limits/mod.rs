//! What an account, or one model of it, allows within a time: what is used of it, and where each figure comes from.
//!
//! | file | |
//! |---|---|
//! | `quota` | all limits of one account or model |
//! | `counting` | the same, from when there is something to count |
//! | `rule` | one limit: how many of what within which time, and who says so |
//! | `count` | what is used of one rule |
//! | `stated` | what an upstream has stated to be left, and until when |
//! | `statements` | what such a statement changes |
//! | `refill` | whether that is refilled all the time, or begins anew at its end |
//! | `holds` | refusals of requests of some size |
//! | `infer` | a limit that no upstream states, from what was accepted and refused |
//! | `trial` | calls beyond an estimate |
//! | `log` | the calls that still count |
//! | `room` | what a quota answers |
//! | `saved` | what is kept across restarts |
//!
//! Limits that the upstream or the operator has stated are facts. Those of the table are a prior: calls beyond them that are
//! accepted raise them. Those that are inferred hold for a time. Only facts say that there is no room; the others say that
//! there is none by an estimate.
//!
//! Nothing here reads a clock, locks, or draws a random number: the time, and when days end, are arguments.

mod count;
mod counting;
mod holds;
mod infer;
mod log;
mod quota;
mod refill;
mod room;
mod rule;
mod saved;
mod stated;
mod statements;
mod trial;

#[cfg(test)]
mod tests;

pub use self::rule::Source;
pub(crate) use self::{
    quota::Quota,
    room::{Left, Reported, Room},
    rule::{Ends, Rule},
    stated::StatedLimit,
};
#[cfg(test)]
pub(crate) use self::{
    rule::Window,
    saved::{Anchor, SavedQuota},
};
