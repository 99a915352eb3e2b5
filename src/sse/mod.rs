//! Server-sent events: where one ends, and what it means.

mod meaning;
mod reader;

pub(crate) use self::{meaning::Meaning, reader::EventReader};

/// The most bytes of an error event that are kept for the classifier.
const MAX_ERROR: usize = 64 * 1024;
