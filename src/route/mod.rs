//! The router: which free model gets a request, and what the request looks like there.
//!
//! `router` turns a whole request into the one to send, `pick` chooses the target, and `refusals` says why there is none.
//! `forward` addresses the request to the target, `incoming` says which headers of the response are passed on, and
//! `routed` marks the response with the target that answered. `responses` remembers which provider holds what a later
//! request may build upon. Where a provider wants images asked for in another way, `exchange` makes the calls.

mod body;
mod call;
mod exchange;
mod forward;
mod future;
mod incoming;
mod layer;
mod pick;
mod progress;
mod refusals;
mod responses;
mod routed;
mod router;
mod series;
mod service;

pub use body::ResponseBody;
pub use future::ResponseFuture;
pub use layer::FreeModelRouteLayer;
pub use routed::Routed;
pub(crate) use routed::mark_trail;
pub(crate) use router::RoutedWithoutFallback;
pub use service::FreeModelRoute;
