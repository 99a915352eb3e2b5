pub(crate) mod reader;
pub(crate) mod text;
mod whole;

pub(crate) use self::{
    reader::{Event, Kind, Reader, Token},
    text::{Piece, Text, unescape_percent},
    whole::{is_json, without_lone_surrogates},
};
