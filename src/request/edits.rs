//! What changes in a body: every `model`, and the fields that must not pass.

use std::ops::Range;

use super::{
    error::ScanError,
    json::{Event, Token},
    text::Text,
};

/// Top-level fields that can spend money or leave the pool.
///
/// `models` and `route` name other models, a `preset` holds such names on OpenRouter's side, and plugins and web search
/// are billed whatever the model costs.
pub(super) const DROPPED: [&str; 5] =
    ["models", "route", "preset", "plugins", "web_search_options"];

/// How many top-level members of one body may change. An honest body has five at most; each one
/// costs some hundred bytes in each attempt, which would add up in a body that is full of them.
pub(super) const MAX_EDITS: usize = 256;

/// One change to a body.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    /// The bytes that go.
    pub(super) span: Range<usize>,
    /// Whether the model's name comes in their place.
    pub(super) replace: bool,
}

/// Collects the edits of a body.
///
/// Keys are compared as the most lenient upstream would: unescaped, and without their case.
#[derive(Debug, Default)]
pub(super) struct Edits<'a> {
    /// In the order of the text, and not overlapping.
    pub(super) list: Vec<Edit>,
    /// One past the bracket that opens the body.
    pub(super) open: usize,
    /// Whether a member is left that is not dropped.
    pub(super) any_kept: bool,
    /// Whether a key is `model` to the letter.
    pub(super) any_exact: bool,
    dropped: [bool; DROPPED.len()],
    exact: Option<Text<'a>>,
    folded: Option<Text<'a>>,
    member: Member,
    /// Where the current member's key stands.
    key: usize,
    /// Where the comma before it stands.
    comma: usize,
    /// Where its value begins, if that is an array or object.
    value: usize,
    /// Whether the last member takes the comma after it along, should one come.
    takes_next_comma: bool,
}

/// What the current member is to us.
#[derive(Clone, Copy, Debug, Default)]
enum Member {
    #[default]
    Other,
    Model {
        exact: bool,
    },
    Dropped,
}

impl<'a> Edits<'a> {
    pub(super) fn read(&mut self, token: &Token<'a>) -> Result<(), ScanError> {
        match (token.depth, token.event) {
            (0, Event::Begin(_)) => self.open = token.end,
            (1, Event::Key(key)) => self.key(key, token),
            (1, Event::Begin(_)) => self.value = token.start,
            (1, Event::End(_)) => self.value(self.value..token.end, None)?,
            (1, Event::Text(text)) => self.value(token.start..token.end, Some(text))?,
            (1, _) => self.value(token.start..token.end, None)?,
            _ => {}
        }
        Ok(())
    }

    /// The model that the caller asked for: what the last `model` says, or else the last key that
    /// only folds to it.
    pub(super) fn requested(&self) -> Option<String> {
        let text = self.exact.or(self.folded)?;
        Some(text.chars().collect())
    }

    /// Which of [`DROPPED`] were there.
    pub(super) fn dropped(&self) -> Vec<&'static str> {
        let there = DROPPED.into_iter().zip(self.dropped);
        there
            .filter_map(|(name, there)| there.then_some(name))
            .collect()
    }

    fn key(&mut self, key: Text<'a>, token: &Token<'a>) {
        self.key = token.start;
        self.comma = token.comma;
        if std::mem::take(&mut self.takes_next_comma) {
            if let Some(last) = self.list.last_mut() {
                last.span.end = token.comma + 1;
            }
        }
        self.member = if key.folds_to("model") {
            let exact = key.name() == "model";
            Member::Model { exact }
        } else if let Some(field) = DROPPED.iter().position(|name| key.folds_to(name)) {
            self.dropped[field] = true;
            Member::Dropped
        } else {
            Member::Other
        };
    }

    fn value(&mut self, span: Range<usize>, text: Option<Text<'a>>) -> Result<(), ScanError> {
        let edit = match self.member {
            Member::Other => {
                self.any_kept = true;
                return Ok(());
            }
            Member::Model { exact } => {
                self.any_kept = true;
                if exact {
                    self.any_exact = true;
                    self.exact = text;
                } else {
                    self.folded = text;
                }
                Edit {
                    span,
                    replace: true,
                }
            }
            // A dropped member takes one comma along: the one before it, or, as long as nothing is
            // left before it, the one after it.
            Member::Dropped => {
                self.takes_next_comma = !self.any_kept;
                let start = if self.any_kept { self.comma } else { self.key };
                Edit {
                    span: start..span.end,
                    replace: false,
                }
            }
        };
        if self.list.len() == MAX_EDITS {
            return Err(ScanError::TooManyEdits);
        }
        self.list.push(edit);
        Ok(())
    }
}
