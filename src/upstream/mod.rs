pub(crate) mod answer;
pub(crate) mod arguments;
pub(crate) mod classify;
pub(crate) mod envelope;
pub(crate) mod error;
pub(crate) mod event_kind;
pub(crate) mod events;
pub(crate) mod follow;
pub(crate) mod inflate;
pub(crate) mod meaning;
pub(crate) mod patterns;
pub(crate) mod place;
pub(crate) mod prose;
pub(crate) mod relabel;
pub(crate) mod resets;
pub(crate) mod shape;
pub(crate) mod strict;

pub use self::classify::{Classify, DefaultClassify, Evidence};
pub(crate) use self::{
    answer::{Irregular, Verdict},
    envelope::{Sent, openai_error},
    error::ErrorBody,
    events::{EventReader, is_event_stream},
    follow::Follow,
    inflate::{Inflated, encodings},
    meaning::Meaning,
    relabel::relabel,
    resets::parse::parse_reset,
    shape::Indexes,
};
