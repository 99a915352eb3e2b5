//! The router: which free model gets a request, and what the request looks like there.
//!
//! `router` turns a whole request into the one to send, `pick` chooses the target (or `nobody` says
//! why there is none), `forward` addresses the
//! request to it, `incoming` says what of the response is passed on, `routed` says in the response who answered, `responses` remembers who holds what a later request may
//! build upon. Where a provider wants images asked for in another way, `exchange` makes the calls that takes.

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
