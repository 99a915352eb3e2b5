//! What one request requires of a model.

use crate::{capability::CapabilitySet, endpoint::Endpoint};

/// What one request requires of a model.
///
/// Read off the request as it came: see [`hard`](Self::hard) and [`soft`](Self::soft) for what a
/// model must and should have, and [`window`](Self::window) for how much it must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needs {
    /// The endpoint that was called.
    pub endpoint: Endpoint,
    /// Whether the answer is asked for as a stream of events.
    pub stream: bool,
    /// What a model without cannot serve this request with.
    pub hard: CapabilitySet,
    /// What is better to have. Upstreams ignore the fields that ask for it where a model has it
    /// not.
    pub soft: CapabilitySet,
    /// How long the prompt is, in tokens: an estimate, the same for every model, which ranks models
    /// and excludes none.
    pub prompt_tokens: u64,
    /// The most that the answer may take, in tokens, if the request says so.
    pub output_tokens: Option<u64>,
    /// What it builds upon that only one provider has.
    pub(crate) state: State,
}

/// The longest id of a response that is remembered, in bytes. OpenAI's have 55.
pub(crate) const LONGEST_ID: usize = 256;

/// What a request of the Responses API builds upon: something that is kept by the provider that made it, and by nobody
/// else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing: any provider will do.
    #[default]
    None,
    /// An earlier response, by its id. Of an id that is longer than any that is remembered, its beginning.
    Response(String),
    /// Something that is never made through this router, by the name of the field.
    Foreign(&'static str),
}

impl Needs {
    /// The context window that holds prompt and answer, in tokens.
    #[must_use]
    pub const fn window(&self) -> u64 {
        match self.output_tokens {
            Some(output) => self.prompt_tokens.saturating_add(output),
            None => self.prompt_tokens,
        }
    }
}
