//! Server-sent events: where one ends, and what it means.

mod meaning;
mod reader;

pub(crate) use self::{meaning::Meaning, reader::EventReader};

/// The most bytes of an error event that are kept for the classifier.
const MAX_ERROR: usize = 64 * 1024;

/// Whether this content type is that of a stream of events.
pub(crate) fn is_event_stream(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&b| b == b';').next();
    let essence = essence.unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"text/event-stream")
}
