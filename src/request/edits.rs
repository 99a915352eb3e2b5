//! Which members of a body can change: every `model`, the fields that must not pass, and what a dialect may ask for.

use super::{
    error::ScanError,
    json::{Event, Kind, Token},
    members::{Member, Members},
    text::Text,
};

/// Top-level fields that can spend money or leave the pool.
///
/// `models` and `route` name other models, a `preset` holds such names on OpenRouter's side, and plugins and web search
/// are billed whatever the model costs.
pub(super) const DROPPED: [&str; 5] =
    ["models", "route", "preset", "plugins", "web_search_options"];

/// Members of an entry of `messages` that a dialect may leave out: what one service adds to a message, and another one
/// refuses when it is sent back, or does not know at all. Nothing that a conversation would not be the same without.
pub(super) const MESSAGE_FIELDS: [&str; 8] = [
    "name",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "refusal",
    "annotations",
    "audio",
    "images",
];

/// How many top-level members of one body must change. An honest body has six at most; each one
/// costs some hundred bytes in each attempt, which would add up in a body that is full of them.
pub(super) const MAX_EDITS: usize = 256;

/// How many other top-level members are known to a dialect; the rest of them stays as it is. Each costs 64 bytes as long
/// as the request lives. OpenAI's API has 34.
pub(super) const MAX_FIELDS: usize = 256;

/// How many [`MESSAGE_FIELDS`] are known to a dialect, over all messages; the rest of them stays as it is, for the
/// upstream to refuse if it must. Each costs 80 bytes as long as the request lives, so all of them 1.3 MB.
pub(super) const MAX_MESSAGE_FIELDS: usize = 16_384;

/// What a top-level member is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// Its value becomes the model's name. `exact`: to the letter; else it only folds to `model`.
    Model { exact: bool },
    /// It must not pass.
    Dropped,
    /// A dialect may have a word for it.
    Other,
}

/// Collects the members of a body that can change.
///
/// The keys of what must change are compared as the most lenient upstream would: unescaped, and without their case.
#[derive(Debug, Default)]
pub(super) struct EditsReader<'a> {
    fields: Members<Field>,
    messages: Members<&'static str>,
    /// One past the bracket that opens the body.
    open: usize,
    must: usize,
    others: usize,
    dropped: [bool; DROPPED.len()],
    exact: Option<Text<'a>>,
    folded: Option<Text<'a>>,
    /// What the current top-level member is.
    field: Option<Field>,
    /// Where the current token stands.
    within: Within,
}

/// How far a token stands inside `messages`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd)]
enum Within {
    #[default]
    Elsewhere,
    /// The key was `messages`.
    Messages,
    /// Among its entries.
    Entries,
    /// In an entry that is an object.
    Message,
}

impl<'a> EditsReader<'a> {
    pub(super) fn read(&mut self, token: &Token<'a>) -> Result<(), ScanError> {
        match (token.depth, token.event) {
            (0, Event::Begin(_)) => {
                self.open = token.end;
                self.fields.begin(token.start);
            }
            (1, Event::Key(key)) => self.key(key, token)?,
            (1, event) => self.value(event, token),
            (2, event) if self.within >= Within::Entries => {
                self.within = if event == Event::Begin(Kind::Object) {
                    self.messages.begin(token.start);
                    Within::Message
                } else {
                    Within::Entries
                };
            }
            (3, Event::Key(key)) if self.within == Within::Message => {
                let room = self.messages.list.len() < MAX_MESSAGE_FIELDS;
                let field = message_field(&key.name()).filter(|_| room);
                self.messages.key(token, field);
            }
            (3, _) if self.within == Within::Message => self.messages.value(token),
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

    fn key(&mut self, key: Text<'a>, token: &Token<'a>) -> Result<(), ScanError> {
        let field = if key.folds_to("model") {
            let exact = key.name() == "model";
            Field::Model { exact }
        } else if let Some(field) = DROPPED.iter().position(|name| key.folds_to(name)) {
            self.dropped[field] = true;
            Field::Dropped
        } else {
            Field::Other
        };
        let (count, most) = match field {
            Field::Other => (&mut self.others, MAX_FIELDS),
            _ => (&mut self.must, MAX_EDITS),
        };
        *count += 1;
        let room = *count <= most;
        if !room && field != Field::Other {
            return Err(ScanError::TooManyEdits);
        }
        self.within = match &*key.name() {
            "messages" => Within::Messages,
            _ => Within::Elsewhere,
        };
        self.field = room.then_some(field);
        self.fields.key(token, self.field);
        Ok(())
    }

    fn value(&mut self, event: Event<'a>, token: &Token<'a>) {
        self.fields.value(token);
        if let Event::Begin(kind) = event {
            if self.within == Within::Messages && kind == Kind::Array {
                self.within = Within::Entries;
            }
            return;
        }
        self.within = Within::Elsewhere;
        let text = match event {
            Event::Text(text) => Some(text),
            _ => None,
        };
        match self.field {
            Some(Field::Model { exact: true }) => self.exact = text,
            Some(Field::Model { exact: false }) => self.folded = text,
            _ => {}
        }
    }
}

/// Which of [`MESSAGE_FIELDS`] this is.
fn message_field(name: &str) -> Option<&'static str> {
    // What nearly every message has needs no search.
    if let "role" | "content" = name {
        return None;
    }
    MESSAGE_FIELDS.into_iter().find(|known| *known == name)
}

/// The members of a body that can change, as they are kept for all attempts.
#[derive(Clone, Debug)]
pub(super) struct JsonEdits {
    pub(super) fields: Vec<Member<Field>>,
    /// Whether there are more fields than these.
    pub(super) any_unlisted: bool,
    pub(super) messages: Vec<Member<&'static str>>,
    /// One past the bracket that opens the body.
    pub(super) open: usize,
}

impl From<EditsReader<'_>> for JsonEdits {
    fn from(edits: EditsReader<'_>) -> Self {
        Self {
            fields: edits.fields.list,
            any_unlisted: edits.fields.any_unlisted,
            messages: edits.messages.list,
            open: edits.open,
        }
    }
}
