//! JSON without a tree: tokens, strings that are not copied, and changes by span; and a lenient reading of answers.

pub(crate) mod lenient;
mod reader;
mod splice;
mod text;
mod walk;

pub(crate) use self::{
    lenient::{Reads, into, is_json, read, skip, value, without_lone_surrogates},
    reader::{Event, JsonError, Kind, MAX_DEPTH, Reader, Token},
    splice::{Segments, Splice},
    text::{Piece, Text, unescape_percent},
    walk::Member,
};
