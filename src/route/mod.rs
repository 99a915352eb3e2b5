//! The router: which free model gets a request, and what the request looks like there.
//!
//! `router` turns a whole request into the one to send. `pick` chooses the target: among those that are `eligible`, it is
//! one of the best `tier`; `refusals` and
//! `not_now` say why there is none. `outgoing` addresses the request to the target, `incoming`
//! says which headers of the response are passed on. `response_owners` remembers which provider holds what a later request
//! may build upon. A request that an [`ImageLayer`](crate::ImageLayer) inside has to translate is sent on with an
//! extension that says so.

pub(crate) mod body;
mod eligible;
pub(crate) mod future;
pub(crate) mod incoming;
mod inflate;
pub(crate) mod layer;
mod not_now;
pub(crate) mod outgoing;
mod pick;
mod refusals;
pub(crate) mod response_owners;
pub(crate) mod router;
mod routing;
pub(crate) mod service;
#[cfg(test)]
mod tests;
mod tier;
mod wish;

pub use self::{
    body::ResponseBody, future::ResponseFuture, layer::FreeModelRouteLayer, service::FreeModelRoute,
};
