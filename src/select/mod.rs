//! Strategies that pick one of the targets which are equally good for a request.
//!
//! The router decides which targets may serve a request and which of them are best: see [`Select`] for what is left to a
//! strategy. [`FreeModelRouteLayer::select`](crate::FreeModelRouteLayer::select) sets one of these, or your own:
//!
//! | strategy | picks |
//! |---|---|
//! | [`Random`], the default | at random, in proportion to what the limits of each candidate leave |
//! | [`Uniform`] | at random, each candidate with the same probability |
//! | [`Fastest`] | the one of two random candidates that should begin to answer sooner |
//! | [`Sticky`] | the same candidate for all requests of a conversation |
//! | [`Ordered`] | the first candidate in the order of the operator |
//!
//! All of them are reproducible where the router is [seeded](crate::FreeModelRouteLayer::seed).

mod fastest;
mod ordered;
mod random;
mod sticky;
pub(crate) mod strategy;
#[cfg(test)]
mod testing;
mod uniform;
mod weights;

pub(crate) use self::strategy::Select;
pub use self::{
    fastest::Fastest,
    ordered::Ordered,
    random::Random,
    sticky::Sticky,
    strategy::{Allowance, Candidate, Chance, SelectRequest},
    uniform::Uniform,
};
pub use crate::request::Needs;
