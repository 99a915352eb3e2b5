//! JSON without a tree: tokens, strings that are not copied, and changes by span.

mod collected;
mod reader;
mod segments;
mod splice;
mod text;
mod walk;
mod whole;

pub(crate) use self::{
    collected::{Collected, Hole},
    reader::{Event, JsonError, Kind, MAX_DEPTH, Reader, Token},
    segments::Segments,
    splice::Splice,
    text::{Piece, Text, unescape_percent},
    walk::Member,
    whole::{is_json, without_lone_surrogates},
};
