//! What one request requires of a model.

use std::{
    fmt,
    ops::{Range, RangeInclusive},
    sync::OnceLock,
};

use super::{conversation::Beginning, tokens};
use crate::{capability::CapabilitySet, endpoint::Endpoint, json::Collected};

/// What one request requires of a model.
///
/// It is read off the request as the client sent it. A test of a [`Select`](crate::Select) can make one:
///
/// ```
/// use tower_free_models::{catalog::Capability, provider::Endpoint, select::Needs};
///
/// let mut needs = Needs::new(Endpoint::ChatCompletions).with_prompt_tokens(3_000);
/// needs.stream = true;
/// needs.hard.insert(Capability::Tools);
/// needs.output_tokens = Some(1_000);
///
/// assert!(needs.hard.contains(Capability::TextOutput));
/// assert_eq!(needs.window(), 4_000);
/// assert!(needs.fits(8_192) && !needs.fits(2_048));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Needs {
    /// The endpoint that was called.
    pub endpoint: Endpoint,
    /// Whether the answer is asked for as a stream of events.
    pub stream: bool,
    /// Capabilities the model must have to serve this request. A model that is stated to be without one of them is
    /// not picked.
    pub hard: CapabilitySet,
    /// Capabilities the model should have. Upstreams ignore the fields that ask for them if the model has them not.
    pub soft: CapabilitySet,
    /// The most that the answer may take, in tokens, if the request says so.
    pub output_tokens: Option<u64>,
    /// What the model reads.
    pub(crate) prompt: Prompt,
    /// What the request builds upon that only one provider has.
    pub(crate) state: State,
    /// The number that its conversation is known by, computed when it is asked for first.
    conversation: OnceLock<Option<u64>>,
}

/// The longest id of a response that is remembered, in bytes. OpenAI's have 55.
pub(crate) const LONGEST_ID: usize = 256;

/// What a request of the Responses API builds upon: something that only the provider keeps that made it.
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
    /// The needs of the simplest request to `endpoint`: an answer of the endpoint's own kind, to an empty prompt.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            stream: false,
            hard: CapabilitySet::EMPTY.with(endpoint.output()),
            soft: CapabilitySet::EMPTY,
            output_tokens: None,
            prompt: Prompt::default(),
            state: State::None,
            conversation: OnceLock::new(),
        }
    }

    /// The same with a prompt of this length, in tokens.
    #[must_use]
    pub fn with_prompt_tokens(mut self, tokens: u64) -> Self {
        self.prompt = Prompt {
            tokens,
            ..Prompt::default()
        };
        self
    }

    /// The same in a conversation that is known by this number.
    #[must_use]
    pub fn with_conversation(mut self, key: u64) -> Self {
        self.conversation = Some(key).into();
        self
    }

    /// See [`SelectRequest::conversation`](crate::select::SelectRequest::conversation).
    pub(crate) fn conversation(&self) -> Option<u64> {
        let prompt = &self.prompt;
        let key = || prompt.beginning.key(&prompt.body);
        *self.conversation.get_or_init(key)
    }

    /// How long the prompt is, in tokens.
    ///
    /// This is an estimate, the same for every model, and often wrong by a fifth: it may rank models, and should
    /// exclude none. It is computed when it is asked for first, in some microseconds, because of a prompt of more than 16 KiB
    /// only a sample is counted; [`fits`](Self::fits) often knows without it.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        *self.prompt.estimate.get_or_init(|| {
            let text = tokens::estimate(self.prompt.text(), self.prompt.bytes());
            text.saturating_add(self.prompt.tokens)
        })
    }

    /// The most that [`prompt_tokens`](Self::prompt_tokens) can be, which costs nothing.
    pub(crate) fn most_prompt_tokens(&self) -> u64 {
        *self.prompt.bounds().end()
    }

    /// The context window that holds prompt and answer, in tokens: an estimate, like
    /// [`prompt_tokens`](Self::prompt_tokens).
    #[must_use]
    pub fn window(&self) -> u64 {
        let prompt = self.prompt_tokens();
        prompt.saturating_add(self.output_tokens.unwrap_or(0))
    }

    /// Whether a context window of this many tokens holds prompt and answer, as far as can be estimated.
    ///
    /// The estimate is not computed where the number of bytes decides: where it is at most twice the room, or more than 32
    /// times as much.
    #[must_use]
    pub fn fits(&self, window: u64) -> bool {
        let room = window.checked_sub(self.output_tokens.unwrap_or(0));
        room.is_some_and(|room| {
            let bounds = self.prompt.bounds();
            bounds.end() <= &room || bounds.start() <= &room && self.prompt_tokens() <= room
        })
    }
}

/// What a model reads of a request.
#[derive(Clone, Default)]
pub(crate) struct Prompt {
    body: Collected,
    /// The spans of the body that the model reads, in order.
    spans: Vec<Range<usize>>,
    /// What the model does not read as text inside of these spans, in order.
    left_out: Vec<Range<usize>>,
    /// Where the conversation begins.
    pub(super) beginning: Beginning,
    /// What the parts that are not text come to, in tokens.
    pub(crate) tokens: u64,
    /// See [`bytes`](Self::bytes). Counted once: each candidate of a pick is compared with it.
    bytes: OnceLock<u64>,
    estimate: OnceLock<u64>,
}

impl Prompt {
    /// What is left out of a span costs memory as long as the request lives. What is shorter than this many bytes is
    /// counted as text: it makes little difference.
    const LEFT_OUT_FROM: usize = 1024;

    /// The prompt of a request whose body is this. Nothing of the body is read yet.
    pub(crate) fn of(body: &Collected) -> Self {
        Self {
            body: body.clone(),
            ..Self::default()
        }
    }

    /// The model reads this span of the body.
    pub(crate) fn read(&mut self, span: Range<usize>) {
        self.spans.push(span);
    }

    /// The model does not read this part of a span as text. All that was left out inside of it is so no longer.
    pub(crate) fn leave_out(&mut self, part: Range<usize>) {
        if self.len_of(&part) >= Self::LEFT_OUT_FROM {
            let inside = |last: &Range<usize>| last.start >= part.start;
            while self.left_out.last().is_some_and(inside) {
                self.left_out.pop();
            }
            self.left_out.push(part);
        }
    }

    /// To be given to [`text_len`](Self::text_len) once a span that begins here is read.
    pub(super) fn mark(&self) -> usize {
        self.left_out.len()
    }

    /// How many bytes of a span the model reads as text; it began at this mark.
    pub(super) fn text_len(&self, span: &Range<usize>, mark: usize) -> u64 {
        let left_out = self.left_out.iter().skip(mark);
        let left_out = left_out.map(|part| self.len_of(part));
        self.len_of(span).saturating_sub(left_out.sum()) as u64
    }

    /// How many bytes of the body a span is.
    pub(super) fn len_of(&self, span: &Range<usize>) -> usize {
        self.body.len_of(span)
    }

    /// The parts of the body that the model reads as text.
    fn text(&self) -> impl Iterator<Item = &[u8]> {
        let mut left_out = self.left_out.iter().peekable();
        self.spans.iter().flat_map(move |span| {
            let mut parts = Vec::new();
            let mut at = span.start;
            while let Some(out) = left_out.next_if(|out| out.start < span.end) {
                if out.start >= at {
                    parts.push(at..out.start);
                    at = out.end;
                }
            }
            parts.push(at..span.end);
            let pieces = parts.into_iter().flat_map(|part| self.body.pieces(part));
            pieces.map(|(bytes, part)| bytes.get(part).unwrap_or_default())
        })
    }

    /// The number of bytes that are read as text.
    fn bytes(&self) -> u64 {
        let count = || self.text().map(|text| text.len() as u64).sum();
        *self.bytes.get_or_init(count)
    }

    /// What the estimate can be at least and at most.
    fn bounds(&self) -> RangeInclusive<u64> {
        let text = tokens::bounds(self.bytes());
        let with_others = |text: &u64| text.saturating_add(self.tokens);
        with_others(text.start())..=with_others(text.end())
    }
}

impl fmt::Debug for Prompt {
    /// Without the prompt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prompt")
            .field("tokens", &self.estimate.get())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The needs of a request whose model reads these spans of a body, without these parts.
    fn needs(body: &'static str, spans: &[[usize; 2]], left_out: &[[usize; 2]]) -> Needs {
        let mut needs = Needs::new(Endpoint::ChatCompletions);
        needs.prompt = Prompt::of(&body.into());
        spans
            .iter()
            .for_each(|&[start, end]| needs.prompt.read(start..end));
        needs.prompt.left_out = left_out.iter().map(|&[start, end]| start..end).collect();
        needs
    }

    #[test]
    fn a_part_that_is_left_out_is_not_counted() {
        const BODY: &str = "aaaa bbbb cccc dddd eeee";
        for (spans, left_out, text) in [
            (&[[0, 24]][..], &[][..], "aaaa bbbb cccc dddd eeee"),
            (&[[0, 24]], &[[5, 10], [10, 15]], "aaaa dddd eeee"),
            (&[[0, 4], [15, 24]], &[[0, 4], [5, 15], [19, 24]], "dddd"),
        ] {
            let needs = needs(BODY, spans, left_out);
            let read: Vec<_> = needs.prompt.text().flatten().copied().collect();
            assert_eq!(String::from_utf8(read).unwrap(), text);
            assert_eq!(needs.prompt.bounds(), tokens::bounds(text.len() as u64));
        }
    }

    #[test]
    fn nothing_is_estimated_where_the_bytes_decide() {
        let mut needs = needs("aaaa bbbb cccc dddd eeee", &[[0, 24]], &[]);
        needs.output_tokens = Some(100);
        assert!(needs.fits(112) && !needs.fits(99));
        assert_eq!(needs.prompt.estimate.get(), None);
        assert!(needs.fits(111));
        assert_eq!(needs.prompt.estimate.get(), Some(&needs.prompt_tokens()));
        let window = needs.window();
        assert!(needs.fits(window) && !needs.fits(window - 1));
        let long = self::needs(
            concat!("aaaa bbbb cccc dddd ", "eeee ffff gggg"),
            &[[0, 34]],
            &[],
        );
        assert!(!long.fits(0));
        assert_eq!(long.prompt.estimate.get(), None);
    }

    #[test]
    fn debug_does_not_show_the_prompt() {
        let needs = needs("a secret", &[[0, 8]], &[]);
        assert!(!format!("{needs:?}").contains("secret"));
    }
}
