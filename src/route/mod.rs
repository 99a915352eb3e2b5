//! The router: which free model gets a request, and what the request looks like there.
//!
//! `router` turns a whole request into the one to send. `pick` chooses the target: among those that are `eligible`, it is
//! one of the best `tier`; `refusals` and `not_now` say why there is none. `outgoing` addresses the request to the target.
//!
//! `routing` marks the response with the target, and ends the attempt where no fallback does; `incoming` says which of its
//! headers are passed on, `body` passes its bytes on, and `response_owners` remembers which provider holds what a later
//! request may build upon. A request that an [`ImageLayer`](crate::ImageLayer) inside has to translate is sent on with an
//! extension that says so.
//!
//! Under a [`Fallback`](crate::Fallback) a request has been collected and read already: the router picks and calls at once.
//! Alone, or where a layer in between has changed the request, the router collects and reads it itself.

mod body;
mod eligible;
mod future;
mod incoming;
mod inflate;
pub(crate) mod layer;
mod not_now;
mod outgoing;
mod pick;
mod ranking;
mod refusals;
mod response_owners;
mod router;
mod routing;
pub(crate) mod service;
#[cfg(test)]
mod tests;
mod tier;
mod wish;

pub use self::{body::ResponseBody, future::ResponseFuture};
pub(crate) use self::{layer::FreeModelRouteLayer, service::FreeModelRoute};
