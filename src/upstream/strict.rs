//! Which fields of a whole answer strict clients need, and in which form.
//!
//! This table has two uses. The fallback's one reading of an answer checks it, and so finds the answers that a client
//! in a typed language fails at; and the layer that normalises answers changes the fields that do not fit.

use crate::{
    endpoint::Endpoint,
    json::{Event, Kind},
};

/// An object of an answer whose fields strict clients read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Answer,
    Usage,
    Choice,
    Message,
    /// A tool call.
    Call,
    /// The `function` of a tool call, or a `function_call`.
    Function,
}

/// A field that strict clients read.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) key: &'static str,
    form: Form,
    nullable: bool,
    pub(crate) required: bool,
}

#[derive(Debug)]
enum Form {
    Text,
    /// A string that is not empty.
    Filled,
    /// One of these strings.
    Word(&'static [&'static str]),
    Integer,
    Object,
}

impl Field {
    const fn required(key: &'static str, form: Form) -> Self {
        Self {
            key,
            form,
            nullable: false,
            required: true,
        }
    }

    /// It may be null or missing.
    const fn optional(key: &'static str, form: Form) -> Self {
        Self {
            key,
            form,
            nullable: true,
            required: false,
        }
    }

    /// Whether strict clients accept a value of which this is the first token.
    pub(crate) fn accepts(&self, value: &Event<'_>) -> bool {
        match (&self.form, value) {
            (_, Event::Null) => self.nullable,
            (Form::Text, Event::Text(_)) | (Form::Object, Event::Begin(Kind::Object)) => true,
            (Form::Filled, Event::Text(text)) => !text.raw.is_empty(),
            (Form::Word(words), Event::Text(text)) => words.contains(&&*text.name()),
            (Form::Integer, Event::Number(number)) => !number.contains(['.', 'e', 'E']),
            _ => false,
        }
    }
}

const CHAT: &[Field] = &[
    Field::required("id", Form::Text),
    Field::required("object", Form::Word(&["chat.completion"])),
    Field::required("created", Form::Integer),
    Field::required("model", Form::Text),
    Field::optional("usage", Form::Object),
    Field::optional("service_tier", TIER),
];

const COMPLETION: &[Field] = &[
    Field::required("id", Form::Text),
    Field::required("object", Form::Word(&["text_completion"])),
    Field::required("created", Form::Integer),
    Field::required("model", Form::Text),
    Field::optional("usage", Form::Object),
    Field::optional("service_tier", TIER),
];

/// The tiers of OpenAI's specification (`ServiceTier`).
const TIER: Form = Form::Word(&["auto", "default", "flex", "scale", "priority"]);

const USAGE: &[Field] = &[
    Field::required("prompt_tokens", Form::Integer),
    Field::required("completion_tokens", Form::Integer),
    Field::required("total_tokens", Form::Integer),
];

const CHAT_CHOICE: &[Field] = &[
    Field::required("index", Form::Integer),
    Field::required("message", Form::Object),
    Field::required("finish_reason", CHAT_REASON),
];

const CHAT_REASON: Form = Form::Word(&[
    "stop",
    "length",
    "tool_calls",
    "content_filter",
    "function_call",
]);

const COMPLETION_CHOICE: &[Field] = &[
    Field::required("index", Form::Integer),
    Field::required("text", Form::Text),
    Field::required(
        "finish_reason",
        Form::Word(&["stop", "length", "content_filter"]),
    ),
];

const MESSAGE: &[Field] = &[
    Field::required("role", Form::Word(&["assistant"])),
    Field {
        key: "content",
        form: Form::Text,
        nullable: true,
        required: true,
    },
];

const CALL: &[Field] = &[
    Field::required("id", Form::Filled),
    Field::required("type", Form::Word(&["function", "custom"])),
];

const FUNCTION: &[Field] = &[Field::required("arguments", Form::Text)];

/// The fields of an object in an answer to this endpoint; none for endpoints other than chats and completions.
pub(crate) const fn fields(endpoint: Endpoint, part: Part) -> &'static [Field] {
    let is_chat = matches!(endpoint, Endpoint::ChatCompletions);
    if !is_chat && !matches!(endpoint, Endpoint::Completions) {
        return &[];
    }
    match part {
        Part::Answer if is_chat => CHAT,
        Part::Answer => COMPLETION,
        Part::Usage => USAGE,
        Part::Choice if is_chat => CHAT_CHOICE,
        Part::Choice => COMPLETION_CHOICE,
        Part::Message if is_chat => MESSAGE,
        Part::Call if is_chat => CALL,
        Part::Function if is_chat => FUNCTION,
        _ => &[],
    }
}

/// Checks an answer against the table, while another reader goes through it.
///
/// It may call an answer irregular that is not, but not the other way: `stop` beside tool calls is looked for in the
/// answer as a whole, and parts of content may be left as they are.
#[derive(Debug)]
pub(super) struct Check {
    endpoint: Endpoint,
    /// The required fields that have come, as bits, of each object that is open.
    seen: Vec<(Part, u8)>,
    /// The field whose value comes next.
    field: Option<&'static Field>,
    has_choices: bool,
    calls_tools: bool,
    stops: bool,
    misfit: bool,
}

impl Check {
    pub(super) const fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            seen: Vec::new(),
            field: None,
            has_choices: false,
            calls_tools: false,
            stops: false,
            misfit: false,
        }
    }

    /// Whether a strict client may fail at this answer, if it is one to such an endpoint at all.
    pub(super) const fn is_irregular(&self) -> bool {
        self.has_choices && (self.misfit || (self.stops && self.calls_tools))
    }

    pub(super) fn open(&mut self, part: Part) {
        self.calls_tools |= part == Part::Call;
        self.seen.push((part, 0));
    }

    /// A key of the innermost open object.
    pub(super) fn key(&mut self, key: &str) {
        let Some((part, seen)) = self.seen.last_mut() else {
            return;
        };
        self.has_choices |= *part == Part::Answer && key == "choices";
        let fields = fields(self.endpoint, *part);
        let nth = fields.iter().position(|field| field.key == key);
        self.field = nth.map(|nth| {
            *seen |= 1 << nth;
            &fields[nth]
        });
    }

    /// The first token of a value.
    pub(super) fn value(&mut self, value: &Event<'_>) {
        if let Some(field) = self.field.take() {
            self.misfit |= !field.accepts(value);
            self.stops |= matches!(value, Event::Text(text) if text.name() == "stop");
        }
    }

    pub(super) fn close(&mut self) {
        let Some((part, seen)) = self.seen.pop() else {
            return;
        };
        let mut fields = fields(self.endpoint, part).iter().enumerate();
        self.misfit |= fields.any(|(nth, field)| field.required && seen & (1 << nth) == 0);
    }
}
