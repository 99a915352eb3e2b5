//! Finds the fields of an answer that strict clients fail at, by the table in `upstream::strict`, and what to write in
//! their place.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
    time::UNIX_EPOCH,
};

use bytes::Bytes;

use super::values::{integer, parts, quoted, reason};
use crate::{
    json::{Event, Kind, Tokens},
    upstream::{
        Irregular,
        strict::{Field, Part, Seen},
    },
};

/// An answer with more faults than this passes as it is.
const MAX_EDITS: usize = 1024;

/// A message without content.
const NO_MESSAGE: &str = r#"{"role":"assistant","content":null}"#;

/// An answer that was changed.
#[derive(Debug)]
pub(crate) struct Normal {
    /// The whole of it.
    pub(crate) body: Bytes,
    /// The names of the fields that were changed, each once.
    pub(crate) changed: Vec<&'static str>,
}

/// The answer as strict clients can read it. `None` where nothing has to be changed; also where `body` is no answer of
/// these endpoints, or has more than 1024 faults.
pub(crate) fn normalise(answer: &Irregular, body: &[u8]) -> Option<Normal> {
    let text = std::str::from_utf8(body).ok()?;
    let blank = [' ', '\n', '\t', '\r'];
    let root = Value {
        raw: text.trim_matches(blank),
        start: text.len() - text.trim_start_matches(blank).len(),
    };
    let is_complete = root.each(&mut |_, _| Some(())).is_some();
    if !is_complete || !root.is_object() || !root.get("choices")?.raw.starts_with('[') {
        return None;
    }
    let mut mender = Mender {
        answer,
        body,
        edits: Vec::new(),
        changed: Vec::new(),
    };
    mender.object(Part::answer(answer.endpoint)?, root, At::default())?;
    mender.made(text)
}

/// A value in the answer: its text, and where that starts.
#[derive(Clone, Copy)]
struct Value<'a> {
    raw: &'a str,
    start: usize,
}

impl<'a> Value<'a> {
    fn span(self) -> Range<usize> {
        self.start..self.start + self.raw.len()
    }

    fn first(self) -> Option<Event<'a>> {
        Some(Tokens::new(self.raw.as_bytes()).next().ok()??.event)
    }

    fn is_object(self) -> bool {
        self.raw.starts_with('{')
    }

    /// Calls `f` with the key and value of each member of an object, or with each element of an array and an empty key.
    /// `None` if `f` says so, or if the value is no valid JSON.
    fn each(self, f: &mut dyn FnMut(&str, Self) -> Option<()>) -> Option<()> {
        let mut reader = Tokens::new(self.raw.as_bytes());
        let (mut key, mut start) = (Cow::Borrowed(""), 0);
        while let Some(token) = reader.next().ok()? {
            match token.event {
                _ if token.depth != 1 => {}
                Event::Key(text) => key = text.name(),
                Event::Begin(_) => start = token.start,
                event => {
                    if !matches!(event, Event::End(_)) {
                        start = token.start;
                    }
                    let value = Self {
                        raw: &self.raw[start..token.end],
                        start: self.start + start,
                    };
                    f(&std::mem::take(&mut key), value)?;
                }
            }
        }
        Some(())
    }

    /// The value of a member of an object; the last, if there are several of this name.
    fn get(self, name: &str) -> Option<Self> {
        let mut found = None;
        self.each(&mut |key, value| {
            if key == name {
                found = Some(value);
            }
            Some(())
        });
        found
    }

    fn integer(self) -> Option<i64> {
        match self.first()? {
            Event::Number(number) => integer(number.as_str()),
            Event::Text(text) => integer(&text.name()),
            _ => None,
        }
    }
}

/// Where an object stands.
#[derive(Clone, Copy, Default)]
struct At {
    choice: usize,
    call: usize,
    /// The choice calls tools.
    calls: bool,
    /// The call is one of a custom tool.
    is_custom: bool,
    /// The counts of the `usage`.
    counts: [Option<i64>; 3],
    /// The name under which the changes below a field are reported.
    name: Option<&'static str>,
}

struct Mender<'a> {
    answer: &'a Irregular,
    body: &'a [u8],
    edits: Vec<(Range<usize>, String)>,
    changed: Vec<&'static str>,
}

impl<'a> Mender<'a> {
    /// Mends an object and those below it. `None` if there are too many faults.
    fn object(&mut self, part: Part, object: Value<'a>, mut at: At) -> Option<()> {
        if part == Part::Choice {
            let calls = object.get("message").and_then(|m| m.get("tool_calls"));
            calls.map(|calls| {
                calls.each(&mut |_, call| {
                    at.calls |= call.is_object();
                    Some(())
                })
            });
        }
        // Once for each object, and not for each fault in it: of those there may be a thousand.
        at.is_custom = part == Part::Call && object.get("custom").is_some();
        if part == Part::Usage {
            at.counts = counts(object);
        }
        let (mut seen, mut is_empty) = (Seen::default(), true);
        object.each(&mut |key, value| {
            is_empty = false;
            if let Some((this, field)) = Field::find(part, key) {
                seen.add(this);
                self.field(part, field, value, at)?;
            }
            self.below(part, key, value, at)
        })?;
        for field in seen.missing(part) {
            if let Some(value) = self.right(part, field.key, None, at) {
                self.add(field.key, &value, object, &mut is_empty, at)?;
            }
        }
        match part {
            Part::Message => self.reasoning(object, at),
            _ => Some(()),
        }
    }

    /// Replaces the value of a field, if strict clients do not accept it.
    fn field(&mut self, part: Part, field: &Field, value: Value<'a>, at: At) -> Option<()> {
        let first = value.first()?;
        // Agents that go on at `tool_calls` only do not see the calls beside a `stop`.
        let is_early_stop = at.calls
            && field.key == "finish_reason"
            && matches!(first, Event::Text(text) if text.name() == "stop");
        if field.accepts(&first) && !is_early_stop {
            return Some(());
        }
        match self.right(part, field.key, Some(value), at) {
            Some(right) => self.edit(at.name.unwrap_or(field.key), value.span(), right),
            None => Some(()),
        }
    }

    /// Mends the objects in the value of a field.
    fn below(&mut self, part: Part, key: &str, value: Value<'a>, at: At) -> Option<()> {
        let (part, name) = match (part, key) {
            (Part::Chat, "choices") => (Part::Choice, None),
            (Part::Completion, "choices") => (Part::TextChoice, None),
            (Part::Chat | Part::Completion, "usage") => (Part::Usage, Some("usage")),
            (Part::Choice, "message") => (Part::Message, None),
            (Part::Message, "tool_calls") => (Part::Call, Some("tool_calls")),
            (Part::Message, "function_call") => (Part::Function, Some("function_call")),
            (Part::Call, "function") => (Part::Function, at.name),
            _ => return Some(()),
        };
        let at = At { name, ..at };
        match (part, value.first()?) {
            (Part::Choice | Part::TextChoice | Part::Call, Event::Begin(Kind::Array)) => {
                let mut nth = 0;
                value.each(&mut |_, element| {
                    let at = match part {
                        Part::Call => At { call: nth, ..at },
                        _ => At { choice: nth, ..at },
                    };
                    nth += 1;
                    match element.is_object() {
                        true => self.object(part, element, at),
                        false => Some(()),
                    }
                })
            }
            (Part::Usage, Event::Begin(Kind::Object)) if counts(value) == [None; 3] => {
                // No count is known, and zeros would be wrong.
                self.edit("usage", value.span(), "null".to_owned())
            }
            (Part::Choice | Part::TextChoice | Part::Call, _) => Some(()),
            (_, Event::Begin(Kind::Object)) => self.object(part, value, at),
            _ => Some(()),
        }
    }

    /// What a field should hold in place of this value, or where it is missing. `None`: it stays as it is.
    fn right(&self, part: Part, key: &str, value: Option<Value<'a>>, at: At) -> Option<String> {
        let first = value.and_then(Value::first).unwrap_or(Event::Null);
        let integer = value.and_then(Value::integer);
        let raw = value.map_or("null", |value| value.raw);
        Some(match (part, key) {
            (_, "id" | "model") if matches!(first, Event::Number(_)) => quoted(raw),
            // Mistral takes back ids of nine letters or digits only.
            (Part::Call, "id") => quoted(&format!(
                "{:09}",
                self.hash((at.choice, at.call)) % 1_000_000_000
            )),
            (_, "id") => {
                let prefix = if part == Part::Chat {
                    "chatcmpl"
                } else {
                    "cmpl"
                };
                quoted(&format!("{prefix}-{:016x}", self.hash(())))
            }
            (_, "model") => quoted(&self.answer.model),
            (Part::Chat, "object") => quoted("chat.completion"),
            (_, "object") => quoted("text_completion"),
            (_, "created") => {
                let since = self.answer.now.duration_since(UNIX_EPOCH);
                let now = since.unwrap_or_default().as_secs();
                integer.map_or_else(|| now.to_string(), |created| created.to_string())
            }
            (_, "index") => integer
                .unwrap_or_else(|| i64::try_from(at.choice).unwrap_or(i64::MAX))
                .to_string(),
            (_, "message") => NO_MESSAGE.to_owned(),
            (_, "finish_reason") => {
                let said = match first {
                    Event::Text(text) => text.name(),
                    _ => Cow::Borrowed(""),
                };
                quoted(reason(&said, part == Part::Choice, at.calls))
            }
            (_, "role") => quoted("assistant"),
            (_, "type") if at.is_custom => quoted("custom"),
            (_, "type") => quoted("function"),
            (_, "arguments") if first == Event::Null => quoted("{}"),
            (_, "text") if first == Event::Null => quoted(""),
            (_, "content") if first == Event::Begin(Kind::Array) => match parts(raw)?.text {
                Some(text) => quoted(&text),
                None => "null".to_owned(),
            },
            (_, "content") if first == Event::Null => "null".to_owned(),
            (_, "arguments" | "text" | "content") => quoted(raw),
            (Part::Usage, key) => count(key, at.counts).to_string(),
            // `usage` and `service_tier`.
            _ => "null".to_owned(),
        })
    }

    /// The thinking among the parts of a content becomes a field of its own, if the message has none. `reasoning_content`
    /// is the name that DeepSeek gave it and most clients know.
    fn reasoning(&mut self, message: Value<'a>, at: At) -> Option<()> {
        let parts = message
            .get("content")
            .and_then(|content| parts(content.raw));
        let thinking = parts.map(|parts| parts.thinking).unwrap_or_default();
        let is_stated = |key| message.get(key).is_some_and(|value| value.raw != "null");
        if thinking.is_empty() || is_stated("reasoning") || is_stated("reasoning_content") {
            return Some(());
        }
        let (name, key) = (Some("content"), "reasoning_content");
        match message.get(key) {
            Some(null) => self.edit("content", null.span(), quoted(&thinking)),
            None => self.add(
                key,
                &quoted(&thinking),
                message,
                &mut false,
                At { name, ..at },
            ),
        }
    }

    /// A number that no other answer has, and no other place in this one.
    fn hash(&self, place: impl Hash) -> u64 {
        // The beginning has what tells answers apart. To hash all of it for each call would take long.
        let beginning = &self.body[..self.body.len().min(4096)];
        let mut hasher = DefaultHasher::new();
        (beginning, self.body.len(), self.answer.now, place).hash(&mut hasher);
        hasher.finish()
    }

    fn edit(&mut self, name: &'static str, span: Range<usize>, text: String) -> Option<()> {
        if !self.changed.contains(&name) {
            self.changed.push(name);
        }
        self.edits.push((span, text));
        (self.edits.len() <= MAX_EDITS).then_some(())
    }

    /// Adds a member at the end of an object.
    fn add(
        &mut self,
        key: &'static str,
        value: &str,
        object: Value<'a>,
        is_empty: &mut bool,
        at: At,
    ) -> Option<()> {
        let comma = if std::mem::take(is_empty) { "" } else { "," };
        let end = object.span().end - 1;
        let name = at.name.unwrap_or(key);
        self.edit(name, end..end, format!("{comma}\"{key}\":{value}"))
    }

    fn made(mut self, text: &str) -> Option<Normal> {
        if self.edits.is_empty() {
            return None;
        }
        // No two of them overlap, and those at one place stay in order.
        self.edits.sort_by_key(|(span, _)| span.start);
        let added: usize = self.edits.iter().map(|(_, text)| text.len()).sum();
        let mut made = String::with_capacity(text.len() + added);
        let mut at = 0;
        for (span, new) in &self.edits {
            made.push_str(text.get(at..span.start)?);
            made.push_str(new);
            at = span.end;
        }
        made.push_str(text.get(at..)?);
        Some(Normal {
            body: made.into(),
            changed: self.changed,
        })
    }
}

/// The counts of tokens in a `usage`: of the prompt, of the completion, and the total.
fn counts(usage: Value<'_>) -> [Option<i64>; 3] {
    ["prompt_tokens", "completion_tokens", "total_tokens"]
        .map(|name| usage.get(name).and_then(Value::integer))
}

/// A count as it is stated, or as it follows from the others.
fn count(name: &str, [prompt, completion, total]: [Option<i64>; 3]) -> i64 {
    let less = |part: Option<i64>| total.unwrap_or(0).saturating_sub(part.unwrap_or(0)).max(0);
    match name {
        "prompt_tokens" => prompt.unwrap_or_else(|| less(completion)),
        "completion_tokens" => completion.unwrap_or_else(|| less(prompt)),
        _ => total.unwrap_or_else(|| prompt.unwrap_or(0).saturating_add(completion.unwrap_or(0))),
    }
}
