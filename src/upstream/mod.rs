//! What providers answer: failures, whole answers and streams. Each is read once, here.

pub(crate) mod answer;
mod arguments;
pub(crate) mod body_headers;
mod classify;
mod document;
mod envelope;
mod error;
mod event_kind;
mod events;
mod fields;
mod follow;
pub(crate) mod limits;
mod meaning;
mod patterns;
mod place;
mod prose;
pub(crate) mod resets;
mod searchable;
mod shape;
pub(crate) mod strict;
mod template;

pub(crate) use self::{
    answer::{Irregular, Verdict},
    body_headers::{encodings, no_longer_as_sent, relabel},
    events::EventReader,
    follow::Follow,
    meaning::Meaning,
    resets::parse_reset,
    shape::Indexes,
};
pub use self::{
    classify::{Classify, DefaultClassify, Evidence},
    error::UpstreamError,
};

/// What a provider wrote, with U+FFFD in the place of what is no UTF-8.
fn as_text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    // The check is faster than the conversion, which is needed for invalid text alone.
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}
