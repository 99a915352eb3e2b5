//! What the router and the image layer tell each other about one request.

use bytes::Bytes;

use super::api::Api;
use crate::{attempt_slot::AttemptSlot, catalog::Target, health::HealthMap};

/// The extension of a request that the router wants translated. The request itself is addressed to the target.
#[derive(Clone)]
pub(crate) struct Handover {
    pub(crate) api: Api,
    pub(crate) target: Target,
    /// The body as the client sent it, because the rewritten one may lack fields that the API takes.
    pub(crate) body: Bytes,
    /// Holds the attempt for the first call; from here on that for the present call.
    pub(crate) slot: AttemptSlot,
    pub(crate) health: HealthMap,
}

/// The extension of the response to such a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Translated {
    /// Fields of the request that the API has no place for.
    pub(crate) dropped: Vec<String>,
    /// Fields of the request that were not followed to the letter.
    pub(crate) adjusted: Vec<String>,
}
