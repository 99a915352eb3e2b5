//! Which fields of a whole answer strict clients need, and in which form.
//!
//! This table has two uses. The fallback's one reading of an answer checks it, and so finds the answers that a client
//! in a typed language fails at; and the layer that normalises answers changes the fields that do not fit.

use std::ops::Range;

use crate::{
    endpoint::Endpoint,
    json::{Event, Kind},
};

/// An object of an answer whose fields strict clients read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Chat,
    Completion,
    Usage,
    /// A choice of a chat.
    Choice,
    /// A choice of a completion.
    TextChoice,
    Message,
    /// A tool call.
    Call,
    /// The `function` of a tool call, or a `function_call`.
    Function,
}

impl Part {
    /// The answer to a request; `None` for endpoints other than chats and completions.
    pub(crate) const fn answer(endpoint: Endpoint) -> Option<Self> {
        match endpoint {
            Endpoint::ChatCompletions => Some(Self::Chat),
            Endpoint::Completions => Some(Self::Completion),
            _ => None,
        }
    }
}

/// A field that strict clients read.
#[derive(Debug)]
pub(crate) struct Field {
    part: Part,
    pub(crate) key: &'static str,
    form: Form,
}

/// The form in which they read it.
#[derive(Debug)]
enum Form {
    Text,
    /// A string that is not empty.
    Filled,
    TextOrNull,
    Integer,
    Object,
    /// One of these strings.
    Word(&'static [&'static str]),
    /// Null and a missing field will do as well.
    Optional(&'static Self),
}

const ANSWERED: &[&str] = &["chat.completion"];
const COMPLETED: &[&str] = &["text_completion"];
const ASSISTANT: &[&str] = &["assistant"];
const CALLS: &[&str] = &["function", "custom"];
/// `ServiceTier` of OpenAI's specification.
const TIERS: &[&str] = &["auto", "default", "flex", "scale", "priority"];
/// The finish reasons of a completion, and with the last two those of a chat.
const REASONS: [&str; 5] = [
    "stop",
    "length",
    "content_filter",
    "tool_calls",
    "function_call",
];

#[rustfmt::skip]
const FIELDS: &[Field] = &[
    field(Part::Chat, "id", Form::Text),
    field(Part::Chat, "object", Form::Word(ANSWERED)),
    field(Part::Chat, "created", Form::Integer),
    field(Part::Chat, "model", Form::Text),
    field(Part::Chat, "usage", Form::Optional(&Form::Object)),
    field(Part::Chat, "service_tier", Form::Optional(&Form::Word(TIERS))),
    field(Part::Completion, "id", Form::Text),
    field(Part::Completion, "object", Form::Word(COMPLETED)),
    field(Part::Completion, "created", Form::Integer),
    field(Part::Completion, "model", Form::Text),
    field(Part::Completion, "usage", Form::Optional(&Form::Object)),
    field(Part::Completion, "service_tier", Form::Optional(&Form::Word(TIERS))),
    field(Part::Usage, "prompt_tokens", Form::Integer),
    field(Part::Usage, "completion_tokens", Form::Integer),
    field(Part::Usage, "total_tokens", Form::Integer),
    field(Part::Choice, "index", Form::Integer),
    field(Part::Choice, "message", Form::Object),
    field(Part::Choice, "finish_reason", Form::Word(&REASONS)),
    field(Part::TextChoice, "index", Form::Integer),
    field(Part::TextChoice, "text", Form::Text),
    field(Part::TextChoice, "finish_reason", Form::Word(REASONS.split_at(3).0)),
    field(Part::Message, "role", Form::Word(ASSISTANT)),
    field(Part::Message, "content", Form::TextOrNull),
    field(Part::Call, "id", Form::Filled),
    field(Part::Call, "type", Form::Word(CALLS)),
    field(Part::Function, "arguments", Form::Text),
];

/// Where the fields of each part begin and end in the table, in the order of [`Part`].
const PARTS: [(usize, usize); 8] = {
    let mut parts = [(0, 0); 8];
    let mut nth = 0;
    while nth < FIELDS.len() {
        let part = FIELDS[nth].part as usize;
        if parts[part].1 == 0 {
            parts[part].0 = nth;
        } else {
            assert!(parts[part].1 == nth, "the fields of a part stand together");
        }
        nth += 1;
        parts[part].1 = nth;
    }
    parts
};

const fn field(part: Part, key: &'static str, form: Form) -> Field {
    Field { part, key, form }
}

impl Field {
    /// Whether strict clients accept a value of which this is the first token.
    pub(crate) fn accepts(&self, value: &Event<'_>) -> bool {
        self.form.accepts(value)
    }

    /// This field of an object.
    pub(crate) fn find(part: Part, key: &str) -> Option<(Seen, &'static Self)> {
        let nth = Self::of(part).find(|&nth| FIELDS[nth].key == key)?;
        Some((Seen(1 << nth), &FIELDS[nth]))
    }

    /// Where the fields of a part stand in the table.
    fn of(part: Part) -> Range<usize> {
        let (start, end) = PARTS[part as usize];
        start..end
    }

    const fn is_required(&self) -> bool {
        !matches!(self.form, Form::Optional(_))
    }
}

impl Form {
    fn accepts(&self, value: &Event<'_>) -> bool {
        match (self, value) {
            (Self::Optional(_) | Self::TextOrNull, Event::Null)
            | (Self::Text | Self::TextOrNull, Event::Text(_))
            | (Self::Object, Event::Begin(Kind::Object)) => true,
            (Self::Optional(form), value) => form.accepts(value),
            (Self::Filled, Event::Text(text)) => !text.raw.is_empty(),
            (Self::Word(words), Event::Text(text)) => words.contains(&&*text.name()),
            (Self::Integer, Event::Number(number)) => !number.as_str().contains(['.', 'e', 'E']),
            _ => false,
        }
    }
}

/// The fields of an object that have been seen, as bits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen(u32);

impl Seen {
    pub(crate) const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The fields that strict clients require in such an object and that have not been seen.
    pub(crate) fn missing(self, part: Part) -> impl Iterator<Item = &'static Field> {
        Field::of(part).filter_map(move |nth| {
            let field = &FIELDS[nth];
            (field.is_required() && self.0 & (1 << nth) == 0).then_some(field)
        })
    }
}

/// Checks an answer against the table, while another reader goes through it.
///
/// It may call an answer irregular that is not, but not the other way: `stop` beside tool calls is looked for in the
/// answer as a whole, and parts of content may be left as they are.
#[derive(Debug)]
pub(super) struct Check {
    answer: Part,
    /// The objects that are open, with their fields that have been seen.
    open: Vec<(Part, Seen)>,
    /// The field whose value comes next.
    field: Option<&'static Field>,
    has_choices: bool,
    calls_tools: bool,
    stops: bool,
    misfit: bool,
}

impl Check {
    /// `None` for endpoints that are not checked.
    pub(super) fn new(endpoint: Endpoint) -> Option<Self> {
        Some(Self {
            answer: Part::answer(endpoint)?,
            open: Vec::new(),
            field: None,
            has_choices: false,
            calls_tools: false,
            stops: false,
            misfit: false,
        })
    }

    /// Whether a strict client may fail at this answer, if it is one to such an endpoint at all.
    pub(super) const fn is_irregular(&self) -> bool {
        self.has_choices && (self.misfit || (self.stops && self.calls_tools))
    }

    pub(super) fn open(&mut self, part: Part) {
        let part = match (part, self.answer) {
            (Part::Chat, answer) => answer,
            (Part::Choice, Part::Completion) => Part::TextChoice,
            (part, _) => part,
        };
        self.calls_tools |= part == Part::Call;
        self.open.push((part, Seen::default()));
    }

    /// A key of the innermost open object.
    pub(super) fn key(&mut self, key: &str) {
        let Some((part, seen)) = self.open.last_mut() else {
            return;
        };
        self.has_choices |= *part == self.answer && key == "choices";
        if let Some((this, field)) = Field::find(*part, key) {
            seen.add(this);
            self.field = Some(field);
        }
    }

    /// The first token of a value.
    pub(super) fn value(&mut self, value: &Event<'_>) {
        if let Some(field) = self.field.take() {
            self.misfit |= !field.accepts(value);
            self.stops |= matches!(value, Event::Text(text) if text.name() == "stop");
        }
    }

    pub(super) fn close(&mut self) {
        if let Some((part, seen)) = self.open.pop() {
            self.misfit |= seen.missing(part).next().is_some();
        }
    }
}
