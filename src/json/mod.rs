//! JSON without a tree: tokens, strings that are not copied, and changes by span.

mod collected;
mod nesting;
mod reader;
mod segments;
mod splice;
mod string;
mod text;
mod tokens;
mod utf8;
mod walk;
mod whole;

pub(crate) use self::{
    collected::{Collected, Hole},
    reader::{Event, JsonError, Kind, MAX_DEPTH, Number, Reader, Value},
    segments::Segments,
    splice::Splice,
    text::{Text, unescape, unescape_letter, unescape_percent},
    tokens::Tokens,
    walk::Member,
    whole::{is_json, without_lone_surrogates},
};
