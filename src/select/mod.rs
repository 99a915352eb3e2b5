//! Strategies that pick one of the targets which are equally good for a request.
//!
//! The router decides which targets may serve a request and which of them are best: see [`Select`] for what is left to a
//! strategy. [`Random`] is the default; [`FreeModelRouteLayer::select`](crate::FreeModelRouteLayer::select) sets another.

mod random;
pub(crate) mod strategy;

pub(crate) use self::strategy::Select;
pub use self::{
    random::Random,
    strategy::{Candidate, Chance, SelectRequest},
};
pub use crate::request::Needs;
