use bytes::Bytes;
use http::{Response, StatusCode};

use crate::refusal::Refusal;

/// Why a call brought no image.
pub(super) enum Failure<E> {
    /// The inner service failed.
    Service(E),
    /// What the client gets if there are no other images: the upstream's own answer, or a refusal in its place.
    Answer(Box<Response<Bytes>>),
    /// The layer itself stopped, for want of `memory` or `time`.
    Stopped(&'static str),
}

impl<E> Failure<E> {
    /// An answer that cannot be read to its end.
    pub(super) fn unread(why: &str) -> Self {
        let message = format!("The provider {why}.");
        Refusal::new(StatusCode::BAD_GATEWAY, "invalid_answer", message).into()
    }
}

impl<E> From<Refusal> for Failure<E> {
    fn from(refusal: Refusal) -> Self {
        refusal.into_response().into()
    }
}

impl<E> From<Response<Bytes>> for Failure<E> {
    fn from(response: Response<Bytes>) -> Self {
        Self::Answer(Box::new(response))
    }
}
