//! Which tools may pass: those that the caller runs, and no others.

use super::{
    error::ScanError,
    json::{Event, Kind, Token},
    text::Text,
};

/// The most of a tool's type that is told back.
const LONGEST_KIND: usize = 40;

/// Looks at every entry of `tools`, and remembers the first that must not pass.
///
/// An entry passes if its `type` is `function` or `custom`, or if it has none but a `function`.
/// Of two `types` either may be the one that the upstream reads, so both must pass.
#[derive(Debug, Default)]
pub(super) struct ToolGuard {
    inside: bool,
    index: usize,
    entry: Entry,
    field: Field,
    refused: Option<(usize, String)>,
}

/// What the current entry has shown so far.
#[derive(Debug, Default)]
struct Entry {
    typed: bool,
    function: bool,
}

/// The current field of the current entry.
#[derive(Clone, Copy, Debug, Default)]
enum Field {
    #[default]
    Other,
    Type,
    Function,
}

impl ToolGuard {
    pub(super) fn read(&mut self, token: &Token<'_>) {
        if let (1, Event::Key(key)) = (token.depth, token.event) {
            self.inside = key.folds_to("tools");
            self.index = 0;
        } else if self.inside && self.refused.is_none() {
            match token.depth {
                1 => self.list(token.event),
                2 => self.entry(token.event),
                3 => self.field(token.event),
                _ => {}
            }
        }
    }

    /// What the scan comes to.
    pub(super) fn finish(self) -> Result<(), ScanError> {
        match self.refused {
            Some((index, kind)) => Err(ScanError::UnsupportedTool { index, kind }),
            None => Ok(()),
        }
    }

    fn refuse(&mut self, kind: Option<Text<'_>>) {
        let kind = kind.map(|kind| kind.chars().take(LONGEST_KIND).collect());
        self.refused = Some((self.index, kind.unwrap_or_default()));
    }

    fn list(&mut self, event: Event<'_>) {
        match event {
            Event::Begin(Kind::Array) | Event::End(_) | Event::Null => {}
            // What a parser would make of an object or a string is anybody's guess.
            _ => self.refuse(None),
        }
    }

    fn entry(&mut self, event: Event<'_>) {
        match event {
            Event::Begin(Kind::Object) => self.entry = Entry::default(),
            Event::End(Kind::Object) if self.entry.typed || self.entry.function => self.index += 1,
            _ => self.refuse(None),
        }
    }

    fn field(&mut self, event: Event<'_>) {
        match (self.field, event) {
            (_, Event::Key(key)) => {
                self.field = if key.folds_to("type") {
                    Field::Type
                } else if key.folds_to("function") {
                    Field::Function
                } else {
                    Field::Other
                };
            }
            (Field::Function, Event::Begin(Kind::Object)) => self.entry.function = true,
            (Field::Type, Event::Null) => {}
            (Field::Type, Event::Text(kind)) => match &*kind.name() {
                "function" | "custom" => self.entry.typed = true,
                _ => self.refuse(Some(kind)),
            },
            (Field::Type, _) => self.refuse(None),
            _ => {}
        }
    }
}
