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

mod admit;
mod collect;
pub(crate) mod edits;
pub(crate) mod error;
pub(crate) mod form;
pub(crate) mod guarded;
pub(crate) mod intake;
pub(crate) mod known_fields;
pub(crate) mod members;
pub(crate) mod needs;
pub(crate) mod needs_reader;
#[cfg(test)]
mod oracle;
mod parsed;
#[cfg(test)]
mod proptests;
pub(crate) mod rewrite;
pub(crate) mod rules;
pub(crate) mod scan;
pub(crate) mod schema;
pub(crate) mod segments;
pub(crate) mod tokens;
pub(crate) mod tools;

pub use self::needs::Needs;
pub(crate) use self::scan::{Envelope, scan};
pub(crate) use self::segments::Segments;
pub(crate) use self::{
    admit::{Admitted, admit},
    collect::Bounds,
    error::ScanError,
    form::scan_form,
    intake::{Collect, Intake},
    needs::{LONGEST_ID, State},
    parsed::Parsed,
    rewrite::{Recipient, Rewritten, note},
};

/// How deep arrays and objects may nest, the body's own object included.
pub(crate) const MAX_DEPTH: usize = 512;
