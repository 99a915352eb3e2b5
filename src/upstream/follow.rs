//! Follows a JSON document as its bytes pass, without holding it: whether it has ended, and what it says it cost.
//!
//! An answer above the peek limit is passed on piece by piece. Its end is its last closing bracket; a body that stops
//! before that was cut, whatever the connection says. What it cost stands anywhere in it.

use crate::{
    json::{Event, Kind, Number, Text},
    upstream::shape::Shape,
};

/// The keys and words that count are shorter; of a longer one only so much is kept, which equals none of them.
const LONGEST_WORD: usize = 48;

/// Splits the bytes of a JSON document into tokens, however they come, and leaves it to a [`Shape`] what these say.
/// Takes constant memory, and any bytes: what is broken is read as far as it makes sense.
#[derive(Debug)]
pub(crate) struct Follow {
    state: State,
    /// The last string, number or literal, or its beginning.
    word: Vec<u8>,
    shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Only white space has come.
    Start,
    /// It does not begin as a JSON object or array does.
    Foreign,
    Between,
    /// A string has ended; what comes next decides whether it is a key.
    AfterText,
    /// In a number or a literal.
    Literal,
    /// In a string.
    Text,
    /// In a string, after a backslash.
    Escape,
}

impl Follow {
    /// Follows a whole answer.
    pub(crate) fn document() -> Self {
        Self::of(Shape::document())
    }

    /// Follows the data of an event.
    pub(super) fn event() -> Self {
        Self::of(Shape::event())
    }

    const fn of(shape: Shape) -> Self {
        Self {
            state: State::Start,
            word: Vec::new(),
            shape,
        }
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.state {
                State::Foreign => return,
                State::Start => self.start(rest),
                State::Between | State::AfterText => self.between(rest),
                State::Literal => self.literal(rest),
                State::Text => self.text(rest),
                State::Escape => {
                    // The words that count are plain, so one with an escape is not among them.
                    self.word.resize(LONGEST_WORD + 1, b'?');
                    self.state = State::Text;
                    &rest[1..]
                }
            };
        }
    }

    /// Whether the document, if it is one, lacks its end.
    pub(crate) fn is_cut(&self) -> bool {
        match self.state {
            State::Foreign => false,
            State::Start => true,
            _ => self.shape.is_open(),
        }
    }

    /// Whether it has reported a cost above zero.
    pub(crate) const fn billed(&self) -> bool {
        self.shape.facts.billed
    }

    fn start<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        // A byte order mark may stand before it.
        let blank = |byte: &u8| byte.is_ascii_whitespace() || b"\xEF\xBB\xBF".contains(byte);
        let Some(first) = bytes.iter().position(|byte| !blank(byte)) else {
            return &[];
        };
        self.state = match bytes[first] {
            b'{' | b'[' => State::Between,
            _ => State::Foreign,
        };
        &bytes[first..]
    }

    fn between<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if bytes[0].is_ascii_whitespace() {
            return &bytes[1..];
        }
        if std::mem::replace(&mut self.state, State::Between) == State::AfterText {
            self.end_text(bytes[0] == b':');
        }
        match bytes[0] {
            b'"' => self.state = State::Text,
            b'{' => self.take(&Event::Begin(Kind::Object)),
            b'[' => self.take(&Event::Begin(Kind::Array)),
            b'}' => self.take(&Event::End(Kind::Object)),
            b']' => self.take(&Event::End(Kind::Array)),
            b',' | b':' => {}
            _ => {
                self.state = State::Literal;
                return bytes;
            }
        }
        &bytes[1..]
    }

    fn literal<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let is_end = |byte: &u8| b",:{}[]\" \t\r\n".contains(byte);
        let end = bytes.iter().position(is_end);
        let (literal, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        self.hold(literal);
        if end.is_some() {
            self.state = State::Between;
            let word = std::mem::take(&mut self.word);
            self.take(&match &*word {
                b"null" => Event::Null,
                b"true" | b"false" => Event::Bool(&*word == b"true"),
                _ => Event::Number(Number(&word)),
            });
            self.reuse(word);
        }
        rest
    }

    fn text<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = memchr::memchr2(b'"', b'\\', bytes) else {
            self.hold(bytes);
            return &[];
        };
        self.hold(&bytes[..end]);
        self.state = match bytes[end] {
            b'"' => State::AfterText,
            _ => State::Escape,
        };
        &bytes[end + 1..]
    }

    /// Keeps a part of a word.
    fn hold(&mut self, part: &[u8]) {
        let room = (LONGEST_WORD + 1).saturating_sub(self.word.len());
        self.word.extend_from_slice(&part[..part.len().min(room)]);
    }

    /// A string has been read to its end.
    fn end_text(&mut self, is_key: bool) {
        let word = std::mem::take(&mut self.word);
        let text = Text {
            raw: as_text(&word).as_bytes(),
            escaped: false,
        };
        self.take(&match is_key {
            true => Event::Key(text),
            false => Event::Text(text),
        });
        self.reuse(word);
    }

    fn take(&mut self, event: &Event<'_>) {
        self.shape.take(event);
    }

    fn reuse(&mut self, mut word: Vec<u8>) {
        word.clear();
        self.word = word;
    }
}

/// A word that is not UTF-8, or was cut within a character, does not count.
fn as_text(word: &[u8]) -> &str {
    std::str::from_utf8(word).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn followed(json: &str, size: usize) -> Follow {
        let mut follow = Follow::document();
        json.as_bytes()
            .chunks(size)
            .for_each(|chunk| follow.push(chunk));
        follow
    }

    #[test]
    fn a_document_lacks_its_end_until_its_last_bracket() {
        for json in [
            r#"{"a":[1,{"b":"}]\"\\"}],"c":null}"#,
            r#" [[],"]",{"x":"\u005d"}]"#,
            "\u{feff}{}",
        ] {
            for at in 0..json.len() {
                let mut follow = Follow::document();
                follow.push(&json.as_bytes()[..at]);
                assert!(follow.is_cut(), "{json} at {at}");
            }
            for size in 1..=json.len() {
                assert!(!followed(json, size).is_cut(), "{json} by {size}");
                assert!(!followed(&format!("{json} \n"), size).is_cut(), "{json}");
            }
        }
    }

    #[test]
    fn what_is_no_json_document_lacks_nothing() {
        for text in ["WEBVTT\n{", "\"text", "12", "<html>{", "\u{fffd}{"] {
            assert!(!followed(text, 1).is_cut(), "{text}");
        }
    }

    #[test]
    fn a_cost_is_seen_wherever_it_stands_and_however_it_is_split() {
        for (json, billed) in [
            (r#"{"usage":{"cost":0.001},"choices":[]}"#, true),
            (
                r#"{"x":"\ud800","usage":{"total":9,"cost" : "1e-4"}}"#,
                true,
            ),
            (r#"{"usage":{"cost":{"total_cost":0.005}}}"#, true),
            (r#"{"response":{"usage":{"cost":1}}}"#, true),
            (
                r#"{"choices":[{"message":{"provider_metadata":{"gateway":{"routing":{},"cost":"0.02"}}}}]}"#,
                true,
            ),
            (
                r#"{"data":[],"providerMetadata":{"gateway":{"cost":0.02}}}"#,
                true,
            ),
            (
                r#"{"usage":{"is_byok":true,"cost_details":{"upstream_inference_cost":0.1}}}"#,
                true,
            ),
            (
                r#"{"usage":{"cost_details":{"upstream_inference_cost":0.1},"is_byok":true}}"#,
                true,
            ),
            (
                r#"{"usage":{"cost_details":{"upstream_inference_cost":0.1},"is_byok":false}}"#,
                false,
            ),
            (
                r#"{"usage":{"cost":0,"cost_details":{"upstream_inference_cost":0.1}}}"#,
                false,
            ),
            (r#"{"usage":{"cost":"0.000"}}"#, false),
            (r#"{"usage":{"cost":-1}}"#, false),
            (r#"{"usage":{"cost":null,"x":1}}"#, false),
            (r#"{"usage":{"cost":"free"}}"#, false),
            (r#"{"content":"\"usage\":{\"cost\":1}"}"#, false),
            (r#"{"arguments":{"cost":5,"gateway":{"cost":5}}}"#, false),
            (r#"{"usage":{"x":["cost",5]}}"#, false),
        ] {
            for size in [1, 2, 3, 7, 1000] {
                assert_eq!(followed(json, size).billed(), billed, "{json} by {size}");
            }
        }
    }

    #[test]
    fn a_cost_that_the_caller_wrote_is_none() {
        let cost = r#"{"usage":{"cost":1},"provider_metadata":{"gateway":{"cost":1}}}"#;
        for json in [
            format!(r#"{{"tools":[{{"type":"function","parameters":{cost}}}]}}"#),
            format!(
                r#"{{"type":"response.created","response":{{"tools":[{{"parameters":{cost}}}]}}}}"#
            ),
            format!(r#"{{"metadata":{cost},"text":{{"format":{{"schema":{cost}}}}}}}"#),
        ] {
            assert!(!followed(&json, 1000).billed(), "{json}");
            let real = format!(r#"{},"usage":{{"cost":1}}}}"#, &json[..json.len() - 1]);
            assert!(followed(&real, 1000).billed(), "{real}");
        }
    }

    #[test]
    fn little_is_held_whatever_comes() {
        let mut follow = Follow::document();
        for piece in [
            &b"[{\"usage\":"[..],
            b"\"",
            &[b'x'; 1000],
            b"\",",
            &[b'1'; 1000],
        ] {
            for _ in 0..10_000 {
                follow.push(piece);
            }
            assert!(follow.word.capacity() <= 4 * LONGEST_WORD);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_tell_the_same_in_any_split(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\":,\\ 1".to_vec())], 0..200), size in 1..9_usize) {
            let mut whole = Follow::document();
            whole.push(&bytes);
            let mut split = Follow::document();
            bytes.chunks(size).for_each(|chunk| split.push(chunk));
            prop_assert_eq!(format!("{whole:?}"), format!("{split:?}"));
        }

        #[test]
        fn the_end_of_any_json_is_seen(seed in prop::collection::vec(".{0,20}", 0..8)) {
            let json = serde_json::json!({ "a": seed, "b": [{ "c": seed }] }).to_string();
            prop_assert!(!followed(&json, 5).is_cut());
            let mut follow = Follow::document();
            follow.push(&json.as_bytes()[..json.len() - 1]);
            prop_assert!(follow.is_cut());
        }
    }
}
