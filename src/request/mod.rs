//! What is read of a request before it is routed, and how its body is rewritten.
//!
//! [`scan()`] reads a body once, without building a tree: which bytes to replace, which members to leave out, and what the
//! request [needs](Needs) of a model. [`Envelope::rewrite`] then makes the body of one attempt out of slices of the
//! original [`Bytes`](bytes::Bytes), so a second attempt at another model costs no copy and no second scan.
//!
//! Of the files that read a body, each builds on those before it in this list: `error`; `fields`, what the names of
//! top-level fields say; `tokens`, how long text is to a model; `conversation`, how one begins; `needs`; `needs_reader`, where in a request something is
//! needed; `messages`, `tools` and `form`, what can change in them; `scan`, the one pass; `recipient`, `rules` and
//! `schema`, what a dialect makes of a request; `rewrite`. `admit`, `assemble` and `collect` come before them, and `parsed`
//! after.

mod admit;
mod assemble;
mod collect;
mod conversation;
mod error;
mod fields;
mod form;
mod messages;
mod needs;
mod needs_reader;
#[cfg(test)]
mod oracle;
mod parsed;
#[cfg(test)]
mod proptests;
mod recipient;
mod rewrite;
mod rules;
mod scan;
mod schema;
mod tokens;
mod tools;

pub use self::needs::Needs;
pub(crate) use self::{
    admit::{Admitted, admit},
    collect::Bounds,
    error::ScanError,
    needs::{LONGEST_ID, State},
    parsed::Parsed,
    recipient::{Recipient, Rewritten, note},
    scan::{Envelope, scan, scan_form},
};
