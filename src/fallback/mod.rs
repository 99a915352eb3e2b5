//! The fallback: sends a request again, until a target answers, and finishes every attempt.
//!
//! The way of a request: `stage` says where it can stand, `future` polls it there, `steps` lead from one stage to
//! the next, and `job` decides. `final_response` is the answer to the caller when no attempt succeeded,
//! and `envelope` gives a provider's own error the shape that clients know.
//!
//! 1. *Collecting*: the body is collected once, within bounds.
//! 2. *Readying*: an instance of the inner service becomes ready.
//! 3. *Calling*: an attempt is under way. The router inside leaves it in a slot.
//! 4. *Peeking*: a success is read until it is clear that it answers (`peek`, and `gate` for streams).
//!    What it was compressed with is undone first (`inflate`).
//!    *Draining*: a failure is read for its evidence, and `classify` says what it means.
//! 5. An answer goes to the caller in a `body` that finishes the attempt; a failure leads back to 2, or, when
//!    no target is left, to *Waiting* for a recovery, or to a refusal.

pub(crate) mod attempts;
pub(crate) mod body;
pub(crate) mod config;
pub(crate) mod final_response;
pub(crate) mod frames;
pub(crate) mod future;
pub(crate) mod inspect;
pub(crate) mod judge;
pub(crate) mod layer;
pub(crate) mod service;
pub(crate) mod silence;
pub(crate) mod stream_buffer;
pub(crate) mod watch;

pub use self::{
    body::ResponseBody, future::ResponseFuture, layer::FallbackLayer, service::Fallback,
};
