//! JSON without a tree: tokens, strings that are not copied, and changes by span.

mod reader;
mod splice;
mod text;
mod walk;
mod whole;

pub(crate) use self::{
    reader::{Event, JsonError, Kind, MAX_DEPTH, Reader, Token},
    splice::{Segments, Splice},
    text::{Piece, Text, unescape_percent},
    walk::Member,
    whole::{is_json, without_lone_surrogates},
};
