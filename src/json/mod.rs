pub(crate) mod lenient;
pub(crate) mod reader;
pub(crate) mod text;

pub(crate) use self::{
    lenient::{Reads, into, is_json, read, skip, value, without_lone_surrogates},
    reader::{Event, Kind, Reader, Token},
    text::{Piece, Text, unescape_percent},
};
