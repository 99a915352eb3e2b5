//! The router: which free model gets a request, and what the request looks like there.
//!
//! `router` turns a whole request into the one to send, `pick` chooses the target, and `refusals` says why there is none.
//! `forward` addresses the request to the target, `incoming` says which headers of the response are passed on, and
//! `routed` marks the response with the target that answered. `responses` remembers which provider holds what a later
//! request may build upon. Where a provider wants images asked for in another way, `exchange` makes the calls.

pub(crate) mod body;
pub(crate) mod future;
pub(crate) mod incoming;
mod inflate;
pub(crate) mod layer;
pub(crate) mod outgoing;
pub(crate) mod pick;
pub(crate) mod refusals;
pub(crate) mod response_owners;
pub(crate) mod router;
pub(crate) mod service;

pub(crate) use self::router::{Info, RoutedWithoutFallback};
pub use self::{
    body::ResponseBody, future::ResponseFuture, layer::FreeModelRouteLayer, service::FreeModelRoute,
};
