//! Sends a request again, until a target answers, and ends every attempt with what it came to.
//!
//! `attempts` is the way of a request: it is collected and read; then, attempt after attempt, an instance of the inner
//! service becomes ready and is called. The router inside leaves the attempt in a slot.
//!
//! - `call` is one call, until it is clear what came of it. `hedging` bounds how often a second one is made beside it.
//! - `inspect` reads what came: a success until it is clear that it answers (`stream_buffer` holds the events of a stream
//!   back), a failure for what it says of itself.
//! - `judge` decides what an outcome means for this request: what the next pick has to know, whether another attempt is
//!   made, and what goes back if none is. `deadlines` has the time that is left and
//!   `expected_time` what of it a target is given, `final_response` the response when no
//!   attempt answered.
//! - `body` passes an answer on that has begun, and `watch` ends its attempt.

mod attempts;
mod body;
mod call;
mod config;
mod deadlines;
mod expected_time;
mod final_response;
mod frames;
mod future;
mod hedging;
mod inspect;
mod judge;
pub(crate) mod layer;
pub(crate) mod service;
mod silence;
mod stream_buffer;
mod watch;

pub use self::{body::ResponseBody, future::ResponseFuture};
pub(crate) use self::{layer::FallbackLayer, service::Fallback};
