//! One pass over an answer, in which its faults are gathered.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    endpoint::Endpoint,
    json::{Event, Kind, Reader, Token},
    normalise::{
        Normal,
        values::{chat_reason, completion_reason, integer, is_integer, parts, quoted},
    },
};

/// An answer with more faults than this is left to its reader.
const MAX_EDITS: usize = 1024;

/// The tiers that OpenAI's specification knows (`ServiceTier`).
const TIERS: [&str; 5] = ["auto", "default", "flex", "scale", "priority"];

/// Reads an answer. Whatever is `None` ends the pass: it is no JSON, or not what these endpoints answer.
pub(crate) struct Walk<'a> {
    text: &'a str,
    reader: Reader<'a>,
    chat: bool,
    model: &'a str,
    now: SystemTime,
    edits: Vec<Edit>,
    changed: Vec<&'static str>,
    /// The hash of the whole answer, once it was needed.
    hash: Option<u64>,
}

/// Other text for a part of the answer; for an empty one it is added.
struct Edit {
    span: Range<usize>,
    text: String,
}

/// A value, read to its end.
struct Field<'a> {
    event: Event<'a>,
    span: Range<usize>,
    /// As it is written.
    raw: &'a str,
}

impl<'a> Field<'a> {
    fn is_null(&self) -> bool {
        self.event == Event::Null
    }

    /// The string, if it is a short one: to compare with known words.
    fn word(&self) -> Option<Cow<'a, str>> {
        match self.event {
            Event::Text(text) => Some(text.name()),
            _ => None,
        }
    }

    /// The number that it is, or says as a string.
    fn integer(&self) -> Option<i64> {
        match self.event {
            Event::Number(number) => integer(number),
            Event::Text(text) => integer(&text.name()),
            _ => None,
        }
    }
}

/// The end of an object, where members can be added.
struct End {
    at: usize,
    /// It has members already.
    comma: bool,
}

/// The three counts that every client reads.
const COUNTS: [&str; 3] = ["prompt_tokens", "completion_tokens", "total_tokens"];

impl<'a> Walk<'a> {
    pub(crate) fn new(text: &'a str, endpoint: Endpoint, model: &'a str, now: SystemTime) -> Self {
        Self {
            text,
            reader: Reader::new(text),
            chat: endpoint == Endpoint::ChatCompletions,
            model,
            now,
            edits: Vec::new(),
            changed: Vec::new(),
            hash: None,
        }
    }

    pub(crate) fn answer(mut self) -> Option<Normal> {
        let first = self.token()?;
        if first.event != Event::Begin(Kind::Object) {
            return None;
        }
        let (mut id, mut object, mut created, mut model) = (false, false, false, false);
        let mut choices = false;
        let kind = if self.chat {
            "chat.completion"
        } else {
            "text_completion"
        };
        let mut end = self.members(|walk, key, first| match key {
            "id" => {
                id = true;
                walk.text_or("id", first, Self::id)
            }
            "object" => {
                object = true;
                walk.word_of("object", first, kind)
            }
            "created" => {
                created = true;
                let now = walk.seconds();
                walk.integer_or("created", first, now)
            }
            "model" => {
                model = true;
                walk.text_or("model", first, |walk| walk.model.to_owned())
            }
            "choices" => {
                choices = true;
                walk.choices(&first)
            }
            "usage" => walk.usage(first),
            "service_tier" => walk.tier(first),
            _ => walk.rest(first).map(drop),
        })?;
        // Nothing may follow.
        if !choices || self.reader.next() != Ok(None) {
            return None;
        }
        if !id {
            let id = quoted(&self.id());
            self.add("id", &mut end, "id", &id)?;
        }
        if !object {
            self.add("object", &mut end, "object", &quoted(kind))?;
        }
        if !created {
            let now = self.seconds().to_string();
            self.add("created", &mut end, "created", &now)?;
        }
        if !model {
            let model = quoted(self.model);
            self.add("model", &mut end, "model", &model)?;
        }
        self.made()
    }

    fn choices(&mut self, first: &Token<'a>) -> Option<()> {
        self.elements(first, |walk, index, first| match first.event {
            Event::Begin(Kind::Object) => walk.choice(index),
            _ => walk.rest(first).map(drop),
        })
        .map(drop)
    }

    fn choice(&mut self, position: usize) -> Option<()> {
        let (mut index, mut said, mut calls) = (false, false, false);
        let mut reason = None;
        let position = i64::try_from(position).ok()?;
        let saying = if self.chat { "message" } else { "text" };
        let mut end = self.members(|walk, key, first| match key {
            "index" => {
                index = true;
                walk.integer_or("index", first, position)
            }
            "finish_reason" => {
                reason = Some(walk.rest(first)?);
                Some(())
            }
            "message" if walk.chat => {
                said = true;
                calls = walk.message(first, position)?;
                Some(())
            }
            "text" if !walk.chat => {
                said = true;
                let field = walk.rest(first)?;
                match field.event {
                    Event::Text(_) => Some(()),
                    Event::Null => walk.replace("text", field.span, quoted("")),
                    _ => walk.replace("text", field.span, quoted(field.raw)),
                }
            }
            _ => walk.rest(first).map(drop),
        })?;
        if !index {
            self.add("index", &mut end, "index", &position.to_string())?;
        }
        if !said {
            let nothing = if self.chat { NO_MESSAGE } else { "\"\"" };
            self.add(saying, &mut end, saying, nothing)?;
        }
        self.reason(reason, calls, &mut end)
    }

    fn reason(&mut self, reason: Option<Field<'a>>, calls: bool, end: &mut End) -> Option<()> {
        let said = reason.as_ref().and_then(Field::word).unwrap_or_default();
        let word = match self.chat {
            true => chat_reason(&said, calls),
            false => completion_reason(&said),
        };
        match reason {
            Some(_) if said == word => Some(()),
            Some(field) => self.replace("finish_reason", field.span, quoted(word)),
            None => self.add("finish_reason", end, "finish_reason", &quoted(word)),
        }
    }

    /// Whether it calls tools.
    fn message(&mut self, first: Token<'a>, choice: i64) -> Option<bool> {
        if first.event != Event::Begin(Kind::Object) {
            let field = self.rest(first)?;
            self.replace("message", field.span, NO_MESSAGE.to_owned())?;
            return Some(false);
        }
        let (mut role, mut content, mut calls) = (false, false, false);
        let mut thinking = String::new();
        // Whether the message has a field for its reasoning, and where that is null.
        let (mut reasoned, mut no_reasoning) = (false, None);
        let mut end = self.members(|walk, key, first| match key {
            "role" => {
                role = true;
                walk.word_of("role", first, "assistant")
            }
            "content" => {
                content = true;
                thinking = walk.content(first)?;
                Some(())
            }
            "tool_calls" => {
                calls = walk.calls(&first, choice)?;
                Some(())
            }
            "function_call" if first.event == Event::Begin(Kind::Object) => {
                walk.function("function_call")
            }
            "reasoning_content" => {
                let field = walk.rest(first)?;
                reasoned |= !field.is_null();
                no_reasoning = field.is_null().then_some(field.span);
                Some(())
            }
            "reasoning" => {
                reasoned |= !walk.rest(first)?.is_null();
                Some(())
            }
            _ => walk.rest(first).map(drop),
        })?;
        if !role {
            self.add("role", &mut end, "role", "\"assistant\"")?;
        }
        if !content {
            self.add("content", &mut end, "content", "null")?;
        }
        // The name that DeepSeek gave it and most clients know.
        if !thinking.is_empty() && !reasoned {
            match no_reasoning {
                Some(null) => self.replace("content", null, quoted(&thinking))?,
                None => self.add("content", &mut end, "reasoning_content", &quoted(&thinking))?,
            }
        }
        Some(calls)
    }

    /// What was thought, where that stood among the parts of the content.
    fn content(&mut self, first: Token<'a>) -> Option<String> {
        let field = self.rest(first)?;
        let text = match field.event {
            Event::Text(_) | Event::Null => return Some(String::new()),
            Event::Begin(Kind::Array) => {
                let Some(parts) = parts(field.raw) else {
                    return Some(String::new());
                };
                let text = parts
                    .text
                    .map_or_else(|| "null".to_owned(), |text| quoted(&text));
                self.replace("content", field.span, text)?;
                return Some(parts.thinking);
            }
            _ => quoted(field.raw),
        };
        self.replace("content", field.span, text)?;
        Some(String::new())
    }

    /// Whether there are any.
    fn calls(&mut self, first: &Token<'a>, choice: i64) -> Option<bool> {
        if first.event != Event::Begin(Kind::Array) {
            self.rest(*first)?;
            return Some(false);
        }
        let count = self.elements(first, |walk, index, first| match first.event {
            Event::Begin(Kind::Object) => walk.call(choice, index),
            _ => walk.rest(first).map(drop),
        })?;
        Some(count > 0)
    }

    fn call(&mut self, choice: i64, index: usize) -> Option<()> {
        const NAME: &str = "tool_calls";
        let (mut id, mut kind, mut custom) = (false, None, false);
        let mut end = self.members(|walk, key, first| match key {
            "id" => {
                id = true;
                let field = walk.rest(first)?;
                match field.event {
                    Event::Text(text) if !text.raw.is_empty() => Some(()),
                    Event::Number(number) => walk.replace(NAME, field.span, quoted(number)),
                    _ => {
                        let new = quoted(&walk.call_id(choice, index));
                        walk.replace(NAME, field.span, new)
                    }
                }
            }
            "type" => {
                kind = Some(walk.rest(first)?);
                Some(())
            }
            "function" if first.event == Event::Begin(Kind::Object) => walk.function(NAME),
            "custom" => {
                custom = true;
                walk.rest(first).map(drop)
            }
            _ => walk.rest(first).map(drop),
        })?;
        if !id {
            let new = quoted(&self.call_id(choice, index));
            self.add(NAME, &mut end, "id", &new)?;
        }
        let wanted = if custom { "\"custom\"" } else { "\"function\"" };
        let known = |word: Cow<'_, str>| matches!(&*word, "function" | "custom");
        match kind {
            Some(kind) if kind.word().is_some_and(known) => Some(()),
            Some(kind) => self.replace(NAME, kind.span, wanted.to_owned()),
            None => self.add(NAME, &mut end, "type", wanted),
        }
    }

    /// The function of a call: its arguments are a string that holds JSON.
    fn function(&mut self, name: &'static str) -> Option<()> {
        let mut arguments = false;
        let mut end = self.members(|walk, key, first| {
            let field = walk.rest(first)?;
            if key != "arguments" {
                return Some(());
            }
            arguments = true;
            match field.event {
                Event::Text(_) => Some(()),
                Event::Null => walk.replace(name, field.span, "\"{}\"".to_owned()),
                _ => walk.replace(name, field.span, quoted(field.raw)),
            }
        })?;
        match arguments {
            true => Some(()),
            false => self.add(name, &mut end, "arguments", "\"{}\""),
        }
    }

    fn usage(&mut self, first: Token<'a>) -> Option<()> {
        if first.event != Event::Begin(Kind::Object) {
            let field = self.rest(first)?;
            return match field.is_null() {
                true => Some(()),
                false => self.replace("usage", field.span, "null".to_owned()),
            };
        }
        let start = first.start;
        let mut counts: [Option<Field<'a>>; 3] = [None, None, None];
        let mut end = self.members(|walk, key, first| {
            let field = walk.rest(first)?;
            if let Some(i) = COUNTS.iter().position(|count| *count == key) {
                counts[i] = Some(field);
            }
            Some(())
        })?;
        let [prompt, completion, total] = counts.each_ref().map(|count| count.as_ref()?.integer());
        if (prompt, completion, total) == (None, None, None) {
            // Nothing is known, and zeros would be a lie.
            return self.replace("usage", start..end.at + 1, "null".to_owned());
        }
        let less = |part: Option<i64>| total.unwrap_or(0).saturating_sub(part.unwrap_or(0)).max(0);
        let sum = prompt.unwrap_or(0).saturating_add(completion.unwrap_or(0));
        let right = [
            prompt.unwrap_or_else(|| less(completion)),
            completion.unwrap_or_else(|| less(prompt)),
            total.unwrap_or(sum),
        ];
        for ((name, count), right) in COUNTS.into_iter().zip(counts).zip(right) {
            match count {
                Some(Field {
                    event: Event::Number(number),
                    ..
                }) if is_integer(number) => {}
                Some(field) => self.replace("usage", field.span, right.to_string())?,
                None => self.add("usage", &mut end, name, &right.to_string())?,
            }
        }
        Some(())
    }

    fn tier(&mut self, first: Token<'a>) -> Option<()> {
        let field = self.rest(first)?;
        let known = |word: Cow<'_, str>| TIERS.contains(&&*word);
        match field.is_null() || field.word().is_some_and(known) {
            true => Some(()),
            false => self.replace("service_tier", field.span, "null".to_owned()),
        }
    }

    /// A field that must be a string.
    fn text_or(
        &mut self,
        name: &'static str,
        first: Token<'a>,
        other: impl FnOnce(&mut Self) -> String,
    ) -> Option<()> {
        let field = self.rest(first)?;
        let text = match field.event {
            Event::Text(_) => return Some(()),
            Event::Number(number) => number.to_owned(),
            _ => other(self),
        };
        self.replace(name, field.span, quoted(&text))
    }

    /// A field that must be the one word.
    fn word_of(&mut self, name: &'static str, first: Token<'a>, word: &str) -> Option<()> {
        let field = self.rest(first)?;
        match field.word().is_some_and(|said| said == word) {
            true => Some(()),
            false => self.replace(name, field.span, quoted(word)),
        }
    }

    /// A field that must be an integer.
    fn integer_or(&mut self, name: &'static str, first: Token<'a>, other: i64) -> Option<()> {
        let field = self.rest(first)?;
        match field.event {
            Event::Number(number) if is_integer(number) => Some(()),
            _ => {
                let integer = field.integer().unwrap_or(other);
                self.replace(name, field.span, integer.to_string())
            }
        }
    }

    /// An id for an answer that has none.
    fn id(&mut self) -> String {
        let prefix = if self.chat { "chatcmpl" } else { "cmpl" };
        let hash = self.hash();
        format!("{prefix}-{hash:016x}")
    }

    /// An id for a call that has none: nine letters and digits, for Mistral takes back no others.
    fn call_id(&mut self, choice: i64, call: usize) -> String {
        let mut hasher = DefaultHasher::new();
        (self.hash(), choice, call).hash(&mut hasher);
        let mut hash = hasher.finish();
        let letter = |_| {
            let digit = (hash % 36) as u32;
            hash /= 36;
            char::from_digit(digit, 36).unwrap_or('0')
        };
        (0..9).map(letter).collect()
    }

    /// A number that no other answer has.
    fn hash(&mut self) -> u64 {
        let (text, now) = (self.text, self.now);
        *self.hash.get_or_insert_with(|| {
            let mut hasher = DefaultHasher::new();
            (text, now).hash(&mut hasher);
            hasher.finish()
        })
    }

    /// Now, as OpenAI writes it: in seconds since 1970.
    fn seconds(&self) -> i64 {
        let since = self.now.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }

    fn token(&mut self) -> Option<Token<'a>> {
        self.reader.next().ok().flatten()
    }

    /// Reads on to the end of the value that begins with `first`.
    fn rest(&mut self, first: Token<'a>) -> Option<Field<'a>> {
        let mut end = first.end;
        if let Event::Begin(_) = first.event {
            loop {
                let token = self.token()?;
                if matches!(token.event, Event::End(_)) && token.depth == first.depth {
                    end = token.end;
                    break;
                }
            }
        }
        Some(Field {
            event: first.event,
            raw: self.text.get(first.start..end)?,
            span: first.start..end,
        })
    }

    /// Reads the members of an object that has begun. `each` is given a key and the first token of its value, and
    /// reads that to its end.
    fn members(
        &mut self,
        mut each: impl FnMut(&mut Self, &str, Token<'a>) -> Option<()>,
    ) -> Option<End> {
        let mut comma = false;
        loop {
            let token = self.token()?;
            let Event::Key(key) = token.event else {
                return Some(End {
                    at: token.start,
                    comma,
                });
            };
            comma = true;
            let first = self.token()?;
            each(self, &key.name(), first)?;
        }
    }

    /// The same for the elements of an array, which `first` begins; says how many there are.
    fn elements(
        &mut self,
        first: &Token<'a>,
        mut each: impl FnMut(&mut Self, usize, Token<'a>) -> Option<()>,
    ) -> Option<usize> {
        if first.event != Event::Begin(Kind::Array) {
            return None;
        }
        let mut count = 0;
        loop {
            let token = self.token()?;
            if let Event::End(_) = token.event {
                return Some(count);
            }
            each(self, count, token)?;
            count += 1;
        }
    }

    fn replace(&mut self, name: &'static str, span: Range<usize>, text: String) -> Option<()> {
        if !self.changed.contains(&name) {
            self.changed.push(name);
        }
        self.edits.push(Edit { span, text });
        (self.edits.len() <= MAX_EDITS).then_some(())
    }

    /// Adds a member at the end of an object.
    fn add(&mut self, name: &'static str, end: &mut End, key: &str, value: &str) -> Option<()> {
        let comma = if end.comma { "," } else { "" };
        end.comma = true;
        self.replace(name, end.at..end.at, format!("{comma}\"{key}\":{value}"))
    }

    fn made(mut self) -> Option<Normal> {
        if self.edits.is_empty() {
            return None;
        }
        // A reason that stands before its message is judged after it. No two edits overlap.
        self.edits.sort_by_key(|edit| edit.span.start);
        let added: usize = self.edits.iter().map(|edit| edit.text.len()).sum();
        let mut made = String::with_capacity(self.text.len() + added);
        let mut at = 0;
        for Edit { span, text } in &self.edits {
            made.push_str(self.text.get(at..span.start)?);
            made.push_str(text);
            at = span.end;
        }
        made.push_str(self.text.get(at..)?);
        Some(Normal {
            body: made.into(),
            changed: self.changed,
        })
    }
}

/// A message that says nothing.
const NO_MESSAGE: &str = r#"{"role":"assistant","content":null}"#;
