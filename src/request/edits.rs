//! Which members of a body can change: every `model`, the fields that must not pass, and what a dialect may ask for.

use std::{borrow::Cow, ops::Range};

use crate::{
    json::{Event, Kind, Text, Token},
    request::{
        error::ScanError,
        guarded,
        members::{Member, Members},
        tools::ToolEdits,
    },
};

/// Members of an entry of `messages` that a dialect may leave out: what one service adds to a message, and another one
/// refuses when it is sent back, or does not know at all. Nothing that a conversation would not be the same without.
pub(crate) const MESSAGE_FIELDS: [&str; 8] = [
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
pub(crate) const MAX_EDITS: usize = 256;

/// How many other top-level members a body may have. Each costs 64 bytes as long as the request lives. OpenAI's API has
/// 34. All are listed, since a service may be given known ones only.
pub(crate) const MAX_FIELDS: usize = 256;

/// How many [`MESSAGE_FIELDS`] are known to a dialect, over all messages, and how many [`MessageValue`]s; the rest of
/// them stays as it is, for the upstream to refuse if it must. Each costs 80 bytes as long as the request lives, so all
/// of them 1.3 MB.
pub(crate) const MAX_MESSAGE_FIELDS: usize = 16_384;

/// What a top-level member is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// Its value becomes the model's name. `exact`: to the letter; else it only folds to `model`.
    Model { exact: bool },
    /// It must not pass.
    Dropped,
    /// A dialect may have a word for it.
    Other,
}

/// A value in a message that not every service takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageValue {
    /// The role `developer`.
    DeveloperRole,
    /// A content that is null.
    NullContent,
}

/// Collects the members of a body that can change.
///
/// The keys of what must change are compared as the most lenient upstream would: unescaped, and without their case.
#[derive(Debug, Default)]
pub(crate) struct EditsReader<'a> {
    fields: Members<Field>,
    messages: Members<&'static str>,
    message_values: Vec<(MessageValue, Range<usize>)>,
    /// What the current member of the current message could hold.
    message_value: Option<MessageValue>,
    /// One past the bracket that opens the body.
    open: usize,
    must: usize,
    others: usize,
    dropped: Vec<&'static str>,
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
    #[inline]
    pub(crate) fn read(&mut self, token: &Token<'a>) -> Result<(), ScanError> {
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
                // What nearly every message has needs no search.
                let (value, field) = match &*key.name() {
                    "role" => (Some(MessageValue::DeveloperRole), None),
                    "content" => (Some(MessageValue::NullContent), None),
                    name => (None, message_field(name).filter(|_| room)),
                };
                self.message_value = value;
                self.messages.key(token, field);
            }
            (3, event) if self.within == Within::Message => {
                self.messages.value(token);
                self.message_value(event, token);
            }
            _ => {}
        }
        Ok(())
    }

    /// The model that the caller asked for: what the last `model` says, or else the last key that
    /// only folds to it.
    pub(crate) fn requested(&self) -> Option<String> {
        let text = self.exact.or(self.folded)?;
        Some(text.chars().collect())
    }

    /// The fields that must not pass and were there, in the order of their list.
    pub(crate) fn dropped(&self) -> Vec<&'static str> {
        let there = |name: &&str| self.dropped.contains(name);
        guarded::names().filter(there).collect()
    }

    /// Notes a value that not every service takes.
    fn message_value(&mut self, event: Event<'_>, token: &Token<'_>) {
        let Some(value) = self.message_value.take() else {
            return;
        };
        let is_there = match (value, event) {
            (MessageValue::DeveloperRole, Event::Text(role)) => {
                role.raw.len() >= "developer".len() && role.name() == "developer"
            }
            (MessageValue::NullContent, Event::Null) => true,
            _ => false,
        };
        if is_there && self.message_values.len() < MAX_MESSAGE_FIELDS {
            self.message_values.push((value, token.start..token.end));
        }
    }

    fn key(&mut self, key: Text<'a>, token: &Token<'a>) -> Result<(), ScanError> {
        let field = if key.folds_to("model") {
            let exact = key.name() == "model";
            Field::Model { exact }
        } else if let Some(name) = guarded::guarded(key) {
            if !self.dropped.contains(&name) {
                self.dropped.push(name);
            }
            Field::Dropped
        } else {
            Field::Other
        };
        match field {
            Field::Other if self.others == MAX_FIELDS => return Err(ScanError::TooManyFields),
            Field::Other => self.others += 1,
            _ if self.must == MAX_EDITS => return Err(ScanError::TooManyEdits),
            _ => self.must += 1,
        }
        self.within = match &*key.name() {
            "messages" => Within::Messages,
            _ => Within::Elsewhere,
        };
        self.field = Some(field);
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
    MESSAGE_FIELDS.into_iter().find(|known| *known == name)
}

/// The members of a body that can change, as they are kept for all attempts.
#[derive(Clone, Debug)]
pub(crate) struct JsonEdits {
    pub(crate) fields: Vec<Member<Field>>,
    pub(crate) messages: Vec<Member<&'static str>>,
    pub(crate) message_values: Vec<(MessageValue, Range<usize>)>,
    /// The entries of `tools` that are left out.
    pub(crate) tools: Vec<Range<usize>>,
    /// One past the bracket that opens the body.
    pub(crate) open: usize,
}

impl JsonEdits {
    /// What can change in this text. The names of the fields that go with the tools are added to `dropped`.
    pub(crate) fn new(
        edits: EditsReader<'_>,
        tools: ToolEdits,
        text: &str,
        dropped: &mut Vec<Cow<'static, str>>,
    ) -> Self {
        let mut fields = edits.fields.list;
        let indices = tools.dropped.iter();
        dropped.extend(indices.map(|index| Cow::Owned(format!("tools[{index}]"))));
        for member in &mut fields {
            if tools.emptied.contains(&member.value.start) {
                member.what = Field::Dropped;
            }
            // Without a tool these mean nothing, and OpenAI's API refuses them.
            let meaningless = match tools.none_left {
                true => with_tools(text, &member.key),
                false => None,
            };
            if let Some(name) = meaningless {
                member.what = Field::Dropped;
                dropped.push(name.into());
            }
        }
        Self {
            fields,
            messages: edits.messages.list,
            message_values: edits.message_values,
            tools: tools.cuts,
            open: edits.open,
        }
    }
}

/// Which of the fields this key is that are for requests with tools only.
fn with_tools(text: &str, key: &Range<usize>) -> Option<&'static str> {
    const FIELDS: [(&str, &str); 2] = [
        ("tool_choice", "toolchoice"),
        ("parallel_tool_calls", "paralleltoolcalls"),
    ];
    let raw = text.get(key.start + 1..key.end - 1)?;
    let escaped = raw.contains('\\');
    let is_like = |&&(_, plain): &&(&str, &str)| guarded::is_like(Text { raw, escaped }, plain);
    FIELDS.iter().find(is_like).map(|&(name, _)| name)
}
