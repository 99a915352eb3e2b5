//! How a conversation begins, by which its turns are known to belong together.

use std::ops::Range;

use crate::{
    hash::StableHash,
    json::{Collected, Event, JsonError, Member, Reader, Value},
};

/// Where in a body the conversation begins, noted as the body is read. What stands there is read once more only where it
/// is asked for, and no further than to the end of the first message of a user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beginning {
    /// The spans of these fields; empty where there is none.
    tools: Range<usize>,
    instructions: Range<usize>,
    /// `messages` of a chat, `input` of the Responses API.
    messages: Range<usize>,
}

impl Beginning {
    /// A field of a chat or of a request of the Responses API was read.
    pub(super) fn note(&mut self, name: &[u8], span: Range<usize>) {
        match name {
            b"tools" => self.tools = span,
            b"instructions" => self.instructions = span,
            b"messages" | b"input" => self.messages = span,
            _ => {}
        }
    }

    /// A hash of the tools, and of what is written in the instructions and in the messages up to the first one of a user:
    /// the same in each turn, because each adds messages behind these. `None` where nothing is written.
    ///
    /// Of a message only its text counts, whether that is its content or parts of it: images do not, nor does what clients
    /// mark in one turn and not in the next (`cache_control`).
    pub(super) fn key(&self, body: &Collected) -> Option<u64> {
        let mut key = Key {
            body,
            hash: StableHash::new(),
            is_written: false,
        };
        key.write([self.tools.clone()]);
        // Tools are not what is said.
        key.is_written = false;
        key.texts(&self.instructions);
        key.texts(&self.messages);
        key.is_written.then(|| key.hash.finish())
    }
}

struct Key<'a> {
    body: &'a Collected,
    hash: StableHash,
    is_written: bool,
}

/// What follows makes no difference.
struct Stop;

impl From<JsonError> for Stop {
    fn from(_: JsonError) -> Self {
        Self
    }
}

impl Key<'_> {
    /// What is written in a string, or in a list of messages up to the first one of a user.
    fn texts(&mut self, span: &Range<usize>) {
        let Some(text) = self.body.text().get(span.clone()) else {
            return;
        };
        let mut reader = Reader::new(text);
        let Ok(value) = reader.value() else {
            return;
        };
        if matches!(value.first, Event::Text(_)) {
            self.write([span.clone()]);
            return;
        }
        // It was read before, so nothing is wrong with it.
        let _ = reader.elements(value.first, |reader, message| {
            self.message(span.start, reader, message)
        });
    }

    fn message<'a>(
        &mut self,
        offset: usize,
        reader: &mut Reader<'a>,
        message: Value<'a>,
    ) -> Result<(), Stop> {
        let (mut counts, mut is_last, mut texts) = (false, false, Vec::new());
        let mut read = |reader: &Reader<'a>, value: &Value<'a>| {
            if matches!(value.first, Event::Text(_)) {
                texts.push(offset + value.start..offset + reader.at());
            }
        };
        reader.members(message.first, |reader, Member { name, value, .. }| {
            match (&*name.name_bytes(), value.first) {
                (b"role", Event::Text(role)) => {
                    let role = role.name_bytes();
                    is_last = *role == *b"user";
                    counts = is_last || [&b"system"[..], b"developer"].contains(&&*role);
                }
                (b"content", Event::Text(_)) => read(reader, &value),
                (b"content", first) => reader.elements(first, |reader, part| {
                    reader.members(part.first, |reader, Member { name, value, .. }| {
                        if *name.name_bytes() == *b"text" {
                            read(reader, &value);
                        }
                        Ok::<_, Stop>(())
                    })
                })?,
                _ => {}
            }
            Ok::<_, Stop>(())
        })?;
        if counts {
            self.write(texts);
        }
        if is_last { Err(Stop) } else { Ok(()) }
    }

    /// Writes a field of what stands in these spans.
    fn write(&mut self, spans: impl IntoIterator<Item = Range<usize>>) {
        for span in spans {
            for (bytes, part) in self.body.pieces(span) {
                self.hash.write(bytes.get(part).unwrap_or_default());
            }
            self.is_written = true;
        }
        self.hash.end_field();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use crate::{
        endpoint::Endpoint,
        json::Collected,
        request::{Needs, scan},
    };

    fn needs(endpoint: Endpoint, body: &Value) -> Needs {
        let body = Collected::from(Bytes::from(body.to_string()));
        scan(&body, endpoint).ok().unwrap().needs
    }

    fn chat(messages: &Value) -> Option<u64> {
        needs(Endpoint::ChatCompletions, &json!({ "messages": messages })).conversation()
    }

    fn response(body: &Value) -> Option<u64> {
        needs(Endpoint::Responses, body).conversation()
    }

    fn system() -> Value {
        json!({"role": "system", "content": "Be brief."})
    }

    fn user(text: &str) -> Value {
        json!({"role": "user", "content": text})
    }

    #[test]
    fn all_turns_of_a_chat_have_one_key() {
        let first = chat(&json!([system(), user("Hi")]));
        assert!(first.is_some());
        let answer = json!({"role": "assistant", "content": "Hello!"});
        let same = [
            json!([system(), user("Hi"), answer, user("How are you?")]),
            json!([system(), user("Hi"), answer, system(), answer, user("Bye")]),
            json!([system(), answer, {"content": "Hi", "role": "user"}]),
            json!([system(), {"role": "user", "content": [
                {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ]}]),
        ];
        for messages in same {
            assert_eq!(chat(&messages), first, "{messages}");
        }
        for messages in [
            json!([user("Hi")]),
            json!([system(), user("Ho")]),
            json!([system(), system(), user("Hi")]),
            json!([{"role": "system", "content": "Be long."}, user("Hi")]),
        ] {
            assert_ne!(chat(&messages), first, "{messages}");
            assert!(chat(&messages).is_some());
        }
    }

    #[test]
    fn all_turns_of_a_response_have_one_key() {
        let first = response(&json!({"instructions": "Be brief.", "input": "Hi"}));
        let text = |kind: &str, text: &str| json!([{"type": kind, "text": text}]);
        let later = json!({"input": [
            {"type": "message", "role": "user", "content": text("input_text", "Hi")},
            {"type": "message", "role": "assistant", "content": text("output_text", "Hello!")},
            {"type": "function_call_output", "call_id": "1", "output": "7"},
            {"role": "user", "content": "Bye"},
        ], "instructions": "Be brief."});
        assert!(first.is_some());
        assert_eq!(response(&later), first);
        assert_ne!(response(&json!({"input": "Hi"})), first);
        assert_ne!(
            response(&json!({"instructions": "Be brief.", "input": "Ho"})),
            first
        );
    }

    #[test]
    fn tools_count_wherever_they_stand() {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let with = |body: &str| {
            let body = Collected::from(body.to_owned());
            scan(&body, Endpoint::ChatCompletions)
                .ok()
                .unwrap()
                .needs
                .conversation()
        };
        let messages = json!([user("Hi")]);
        let before = with(&format!(r#"{{"tools":{tools},"messages":{messages}}}"#));
        let behind = with(&format!(r#"{{"messages":{messages},"tools":{tools}}}"#));
        assert_eq!(before, behind);
        assert_ne!(before, chat(&messages));
    }

    #[test]
    fn where_nothing_is_written_there_is_no_key() {
        for messages in [
            json!([]),
            json!([{"role": "assistant", "content": "x"}]),
            json!([{"role": "user", "content": [{"type": "image_url"}]}]),
            json!("Hi"),
            json!(7),
        ] {
            let is_text = messages.is_string();
            assert_eq!(chat(&messages).is_some(), is_text, "{messages}");
        }
        assert_eq!(response(&json!({"tools": []})), None);
        for endpoint in [
            Endpoint::Completions,
            Endpoint::Embeddings,
            Endpoint::ImageGenerations,
        ] {
            let body = json!({"prompt": "Hi", "input": "Hi", "messages": [user("Hi")]});
            assert_eq!(needs(endpoint, &body).conversation(), None);
        }
    }

    proptest! {
        /// The holes of a body are in long strings, which this one has.
        #[test]
        fn the_key_does_not_depend_on_how_the_body_comes(cut in 1..2_000_usize) {
            let body = json!({"messages": [
                {"role": "system", "content": "s".repeat(1_500)},
                {"role": "user", "content": [{"type": "text", "text": "u".repeat(1_500)}]},
            ]}).to_string();
            let whole = scan(&Collected::from(body.clone()), Endpoint::ChatCompletions).ok().unwrap();
            let hole = crate::json::Hole { at: cut, bytes: Bytes::from(body[cut..cut + 500].to_owned()) };
            let text = [&body[..cut], &body[cut + 500..]].concat();
            // A hole is inside of a string.
            let quotes = |text: &str| text.matches('"').count();
            prop_assume!(quotes(&body[..cut]) % 2 == 1 && quotes(&body[cut..cut + 500]) == 0);
            let parts = Collected::new(Bytes::from(text), vec![hole]);
            let parts = scan(&parts, Endpoint::ChatCompletions).ok().unwrap();
            prop_assert_eq!(parts.needs.conversation(), whole.needs.conversation());
        }
    }
}
