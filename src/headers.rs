//! The headers by which the layers speak with callers, and with each other across the wire.

use http::HeaderName;

/// The model that answered.
pub(crate) const MODEL: HeaderName = HeaderName::from_static("x-free-model");
/// Its provider.
pub(crate) const PROVIDER: HeaderName = HeaderName::from_static("x-free-provider");
/// How many attempts were made.
pub(crate) const ATTEMPTS: HeaderName = HeaderName::from_static("x-free-attempts");
/// What each attempt came to.
pub(crate) const TRAIL: HeaderName = HeaderName::from_static("x-free-trail");
/// Fields of the request that were left out: they could cost money, or the provider does not take them.
pub(crate) const DROPPED: HeaderName = HeaderName::from_static("x-free-dropped");
/// Fields of the request that were renamed, lowered or put in, as the provider or the model wants them, or of which less was
/// done (`n`).
pub(crate) const ADJUSTED: HeaderName = HeaderName::from_static("x-free-adjusted");
/// Fields of a whole answer that were changed so that strict clients can read it.
pub(crate) const NORMALISED: HeaderName = HeaderName::from_static("x-free-normalised");

/// Names the routers that a request has passed through, so that one knows its own.
pub(crate) const VIA: HeaderName = HeaderName::from_static("x-free-via");
/// `true` forbids any model but the one that is named.
pub(crate) const PIN: HeaderName = HeaderName::from_static("x-free-pin");
