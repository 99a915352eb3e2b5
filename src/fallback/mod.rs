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

mod arguments;
mod body;
mod classify;
mod config;
mod envelope;
mod error_body;
mod final_response;
mod frames;
mod future;
mod gate;
mod inflate;
mod job;
mod layer;
mod peek;
mod prose;
mod relabel;
mod service;
mod signs;
mod silence;
mod stage;
mod steps;
mod watch;

pub use body::ResponseBody;
pub use classify::{Classify, DefaultClassify, Evidence};
pub use future::ResponseFuture;
pub use layer::FallbackLayer;
pub use service::Fallback;
