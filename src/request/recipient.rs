//! Which target a body is rewritten for, and what it becomes.

use std::fmt::Write as _;

use super::fields::is_of_openai;
use crate::{endpoint::Endpoint, json::Segments, provider::Dialect};

/// The target that a request is sent to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipient<'a> {
    /// The model, by its provider's name for it.
    pub(crate) model: &'a str,
    pub(crate) dialect: &'a Dialect,
    /// The longest answer that the model is known to give, in tokens.
    pub(crate) max_output: Option<u64>,
    /// The model's window, if it is known, in tokens.
    pub(crate) window: Option<u64>,
    /// Whether the model thinks before it answers, or may: nothing says that it does not.
    pub(crate) thinks: bool,
}

impl<'a> Recipient<'a> {
    /// Whether a field may be sent at all: not every service may be sent what it could be told other things by.
    pub(crate) fn knows(&self, endpoint: Endpoint, name: &str) -> bool {
        let known = self.dialect.known.as_ref();
        known.is_none_or(|own| own.iter().any(|own| own == name) || is_of_openai(endpoint, name))
    }

    /// A model of which nothing more is known.
    pub(crate) fn new(model: &'a str, dialect: &'a Dialect) -> Self {
        Self {
            model,
            dialect,
            max_output: None,
            window: None,
            thinks: false,
        }
    }
}

/// What a body has become.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    pub(crate) body: Segments,
    /// The fields that were left out, each once.
    pub(crate) dropped: Vec<String>,
    /// The fields that go by another name, or have another value, each once.
    pub(crate) adjusted: Vec<String>,
}

/// Adds a name to a list, once, and as it can stand in a header among others: a client can call a field anything.
pub(crate) fn note(names: &mut Vec<String>, name: &str) {
    /// Longer names are cut. The longest of OpenAI's has 22 bytes.
    const LONGEST: usize = 64;
    let mut visible = String::new();
    for byte in name.bytes() {
        if visible.len() >= LONGEST {
            visible.push_str("...");
            break;
        }
        match byte {
            b'!'..=b'~' if !b"%,".contains(&byte) => visible.push(byte.into()),
            _ => write!(visible, "%{byte:02X}").unwrap_or_default(),
        }
    }
    if !names.contains(&visible) {
        names.push(visible);
    }
}
