pub(crate) mod lenient;
pub(crate) mod reader;
pub(crate) mod text;

pub(crate) use self::{
    lenient::{Extent, Reads, extent, into, is_json, read, skip},
    reader::{Event, Kind, Reader, Token},
    text::{Piece, Text, unescape_percent},
};
