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
mod meaning;
mod patterns;
mod place;
mod prose;
pub(crate) mod resets;
mod shape;
pub(crate) mod strict;

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
