//! What is read of a request before it is routed, and how its body is rewritten.
//!
//! [`scan()`] reads a body once, without building a tree: which bytes to replace, which members to
//! leave out, and what the request [needs](Needs) of a model. [`Envelope::rewrite`] then makes the
//! body of one attempt out of slices of the original [`Bytes`](bytes::Bytes), so a second attempt
//! at another model costs no copy and no second scan.
//!
//! One job a file: `json` knows the grammar, `text` what a string stands for, `edits` the members that can change,
//! `guarded` the names that must not pass, `members` the commas between members, `tools` which tools may pass, `places`
//! where in a request something is needed, `tokens` how long text is to a model, `form` the forms that some requests come
//! as. `rules` says what a dialect makes of a field, with the fields of OpenAI's API from `known_fields`, `schema` what it
//! makes of the schemas of tools, and `rewrite` does it.

mod edits;
mod endpoint;
mod error;
mod form;
mod guarded;
pub(crate) mod json;
mod known_fields;
mod members;
mod needs;
#[cfg(test)]
mod oracle;
mod places;
#[cfg(test)]
mod proptests;
mod rewrite;
mod rules;
mod scan;
mod schema;
mod segments;
mod text;
mod tokens;
mod tools;

#[cfg(test)]
use crate::dialect::{Dialect, Rule};
pub use endpoint::Endpoint;
pub(crate) use error::ScanError;
pub(crate) use form::scan_form;
pub use needs::Needs;
pub(crate) use needs::{LONGEST_ID, State};
pub(crate) use rewrite::{Recipient, Rewritten, note};
pub(crate) use scan::{Envelope, scan};
pub(crate) use segments::Segments;

/// How deep arrays and objects may nest, the body's own object included.
const MAX_DEPTH: usize = 512;
