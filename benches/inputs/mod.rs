//! What the benches measure with. Those of time and that of instructions share it, so that both are about the same.

#![allow(dead_code, reason = "each bench takes some of it")]

pub(crate) mod bodies;
pub(crate) mod chat;
pub(crate) mod listing;
pub(crate) mod pools;
