//! Events that say the same as one before them.
//!
//! The chunks of one answer are alike but for the words that they bring. Such a chunk is compared with an earlier one,
//! which takes a tenth of the time of reading it; what the earlier one meant, it means.

use std::{mem, ops::Range, str};

use super::meaning::{MOST_FREE, Meaning};

/// A larger event is read, and not kept as a template, in bytes: of a long text the reader is as fast as a comparison.
const LONGEST: usize = 2048;

/// The last event of a stream that was read and held content, and nothing but content.
#[derive(Debug, Default)]
pub(super) struct Template {
    name: Vec<u8>,
    data: Vec<u8>,
    /// Where the values stand in `data` that may differ, with their quotes. Without any there is no template.
    free: Vec<Range<usize>>,
    meaning: Meaning,
    /// The same of the event that is being read; kept for its memory.
    next_free: Vec<Range<usize>>,
}

impl Template {
    /// What an event of this name, which may be empty, with this data means.
    pub(super) fn read(&mut self, name: &[u8], data: &[u8]) -> Meaning {
        let data = data.trim_ascii();
        if self.fits(name, data) {
            return self.meaning.clone();
        }
        let meaning = Meaning::of(name, data, &mut self.next_free);
        // One with more values that may differ would take as long to compare as to read.
        let is_template = meaning.content
            && meaning.error.is_none()
            && (1..=MOST_FREE).contains(&self.next_free.len())
            && data.len() <= LONGEST;
        if is_template {
            mem::swap(&mut self.free, &mut self.next_free);
            self.name.clear();
            self.name.extend_from_slice(name);
            self.data.clear();
            self.data.extend_from_slice(data);
            self.meaning.clone_from(&meaning);
        }
        meaning
    }

    /// Whether an event differs from the template in nothing but values that may differ.
    fn fits(&self, name: &[u8], data: &[u8]) -> bool {
        if self.free.is_empty() || data.len() > LONGEST || self.name != name {
            return false;
        }
        // What is left of both.
        let (mut at, mut rest) = (0, data);
        let mut free = self.free.iter();
        loop {
            let template = &self.data[at..];
            let same = same_bytes(template, rest);
            if same == template.len() {
                return same == rest.len();
            }
            // The value in which they differ.
            let differs = at + same;
            let Some(value) = free.find(|value| differs < value.end) else {
                return false;
            };
            if differs < value.start {
                return false;
            }
            let other = &rest[value.start - at..];
            let length = match self.data[value.start] {
                b'"' => text(other),
                _ => number(other),
            };
            let Some(length) = length else {
                return false;
            };
            (at, rest) = (value.end, &other[length..]);
        }
    }
}

/// With how many bytes in common both begin.
fn same_bytes(one: &[u8], other: &[u8]) -> usize {
    const BLOCK: usize = 32;
    let mut same = 0;
    // The length of a block is known here, so that the compiler compares one with a few wide instructions.
    while let (Some(one), Some(other)) =
        (one.get(same..same + BLOCK), other.get(same..same + BLOCK))
    {
        if one != other {
            break;
        }
        same += BLOCK;
    }
    let rest = one[same..].iter().zip(&other[same..]);
    same + rest.take_while(|(one, other)| one == other).count()
}

/// The length of the string that `json` begins with, with its quotes, if it is one that says something: not blank, and
/// without `\u`, which may be blank as well.
fn text(json: &[u8]) -> Option<usize> {
    let mut at = json.starts_with(b"\"").then_some(1)?;
    let mut is_blank = true;
    loop {
        let run = &json[at..];
        let length = run
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\' | ..0x20))?;
        is_blank = is_blank && str::from_utf8(&run[..length]).ok()?.trim().is_empty();
        at += length;
        match (json[at], json.get(at + 1)?) {
            (b'"', _) => return (!is_blank).then_some(at + 1),
            (b'\\', b'"' | b'\\' | b'/') => is_blank = false,
            (b'\\', b'n' | b'r' | b't') => {}
            _ => return None,
        }
        at += 2;
    }
}

/// The length of the integer that `json` begins with.
fn number(json: &[u8]) -> Option<usize> {
    let length = json.iter().position(|byte| !byte.is_ascii_digit())?;
    let has_leading_zero = length > 1 && json[0] == b'0';
    (length > 0 && !has_leading_zero).then_some(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(data: &str) -> Meaning {
        Meaning::of(b"", data.as_bytes(), &mut Vec::new())
    }

    /// A template that has read one event.
    fn of(name: &str, data: &str) -> Template {
        let mut template = Template::default();
        template.read(name.as_bytes(), data.as_bytes());
        template
    }

    fn chunk(id: &str, created: &str, content: &str) -> String {
        format!(
            r#"{{"id":{id},"object":"chat.completion.chunk","created":{created},"choices":[{{"index":0,"delta":{{"content":{content}}},"finish_reason":null}}]}}"#
        )
    }

    fn fits(data: &str) -> bool {
        let template = of("", &chunk(r#""x-1""#, "12", r#"" a""#));
        template.fits(b"", data.as_bytes())
    }

    #[test]
    fn words_ids_and_times_may_differ() {
        for content in [
            "\" a\"",
            "\"你好\"",
            r#""a\nb""#,
            r#""\"""#,
            r#""\\""#,
            r#"" b \t""#,
        ] {
            assert!(fits(&chunk(r#""x-1""#, "12", content)), "{content}");
            assert!(fits(&chunk(r#""x-23""#, "1763000000", content)));
        }
    }

    #[test]
    fn what_may_mean_something_else_does_not_fit() {
        let other = |content| !fits(&chunk(r#""x-1""#, "12", content));
        for content in [
            r#""""#,
            r#"" ""#,
            r#""\n""#,
            r#""\u0020""#,
            "null",
            r#"["a"]"#,
            r#""a","error":"b""#,
            "\"a\tb\"",
            r#""a\x""#,
            r#""a"#,
        ] {
            assert!(other(content), "{content}");
        }
        for created in ["012", "1.5", "\"12\"", "-1", "12,\"error\":1", ""] {
            assert!(!fits(&chunk(r#""x-1""#, created, r#"" a""#)), "{created}");
        }
        let chunk = chunk(r#""x-1""#, "12", r#"" a""#);
        for (from, to) in [
            ("\"index\":0", "\"index\":1"),
            ("\"finish_reason\":null", "\"finish_reason\":\"stop\""),
            ("chat.completion.chunk", "error"),
            ("content", "refusal"),
            ("}]}", "}],\"usage\":{\"cost\":1}}"),
        ] {
            assert!(!fits(&chunk.replace(from, to)), "{to}");
        }
        assert!(!fits(&chunk[..chunk.len() - 1]) && !fits(""));
        assert!(!of("a", &chunk).fits(b"", chunk.as_bytes()));
    }

    #[test]
    fn bytes_are_the_same_up_to_the_first_that_differs() {
        let bytes: Vec<u8> = (0..100).collect();
        for length in [0, 1, 31, 32, 33, 64, 99, 100] {
            assert_eq!(same_bytes(&bytes, &bytes[..length]), length);
            assert_eq!(same_bytes(&bytes[..length], &bytes), length);
            let mut other = bytes.clone();
            other[length.min(99)] ^= 1;
            assert_eq!(same_bytes(&bytes, &other), length.min(99));
        }
    }

    #[test]
    fn only_content_alone_is_a_template() {
        for data in [
            "[DONE]",
            "{}",
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"delta":{"content":"a"},"error":"b"}]}"#,
            "{\"text\":\"a\"",
            r#"{"error":"a"}"#,
        ] {
            assert!(of("", data).free.is_empty(), "{data}");
        }
        let long = chunk(r#""x-1""#, "12", &format!("\"{}\"", "a".repeat(LONGEST)));
        assert!(of("", &long).free.is_empty() && !fits(&long));
        let many = chunk("1", "2", &format!("[{}1]", r#""a","#.repeat(2 * MOST_FREE)));
        let template = of("", &many);
        assert!(template.free.is_empty() && template.next_free.len() == MOST_FREE + 1);
    }

    /// Parts of events, which mean something in some places.
    fn value() -> impl Strategy<Value = String> + Clone {
        prop::sample::select(vec![
            "null",
            "0",
            "1",
            "12",
            "1.5",
            "true",
            r#""""#,
            r#"" ""#,
            r#""a""#,
            r#""b c""#,
            r#""\n""#,
            r#""\"""#,
            r#""stop""#,
            r#""error""#,
            r#""\u0061""#,
            r#""你""#,
            r#""\ud83d""#,
            r#"{"content":"a"}"#,
            r#"{"text":"b"}"#,
            r#"["a"]"#,
            r#"{"cost":1}"#,
            "{}",
            "[]",
            "\"\u{a0}\"",
            "\"a\tb\"",
            "01",
            "-1",
        ])
        .prop_map(str::to_owned)
    }

    /// A key, its value in the first of two events, another value, and whether the second event has the first value.
    type Field = (&'static str, String, String, bool);

    fn object(fields: &[Field], is_second: bool) -> String {
        let members = fields.iter().map(|(key, first, other, is_same)| {
            let value = if is_second && !is_same { other } else { first };
            format!("\"{key}\":{value}")
        });
        members.collect::<Vec<_>>().join(",")
    }

    /// Two events of the same fields.
    fn events() -> impl Strategy<Value = (String, String)> {
        let key = prop::sample::select(vec![
            "id",
            "created",
            "object",
            "type",
            "delta",
            "text",
            "error",
            "usage",
            "index",
            "finish_reason",
            "content",
            "item",
            "response",
            "status",
            "x",
            "role",
            "arguments",
            "cost",
            "tool_calls",
        ]);
        let fields = prop::collection::vec((key, value(), value(), any::<bool>()), 0..5);
        (fields.clone(), fields.clone(), fields, 0..3_usize).prop_map(event_pair)
    }

    fn event_pair(
        (event, choice, delta, form): (Vec<Field>, Vec<Field>, Vec<Field>, usize),
    ) -> (String, String) {
        let [first, second] = [false, true].map(|is_second| {
            let [event, choice, delta] =
                [&event, &choice, &delta].map(|fields| object(fields, is_second));
            match form {
                0 => format!("{{{event}}}"),
                1 => format!(r#"{{"choices":[{{"delta":{{{delta}}}}}],"y":{{{event}}}}}"#),
                _ => {
                    format!(r#"{{"choices":[{{"z":{{{choice}}},"delta":{{{delta}}},"index":0}}]}}"#)
                }
            }
        });
        (first, second)
    }

    /// Events as providers send them.
    const SENT: &[&str] = &[
        r#"{"id":"gen-1","provider":"P","model":"m","object":"chat.completion.chunk","created":1,"choices":[{"index":0,"delta":{"role":"assistant","content":"a","reasoning":null},"finish_reason":null,"native_finish_reason":null,"logprobs":null}],"usage":{"prompt_tokens":1,"cost":0,"is_byok":false,"cost_details":{"upstream_inference_cost":0}}}"#,
        r#"{"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"f","arguments":"{\"a\":"}}]},"finish_reason":null}],"x_groq":{"id":"r"}}"#,
        r#"{"type":"response.output_text.delta","sequence_number":4,"item_id":"i","output_index":0,"content_index":0,"delta":"a","logprobs":[],"obfuscation":"abc"}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"a"}],"role":"model"},"index":0}],"usageMetadata":{"totalTokenCount":2},"modelVersion":"g"}"#,
        r#"{"token":{"id":1,"text":"a","logprob":0,"special":false},"generated_text":null}"#,
    ];

    /// One of these events, and the same with some of its bytes replaced.
    fn changed() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
        let piece = prop::sample::select(vec![
            "",
            "\"",
            "\\",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            " ",
            "\n",
            "0",
            "1",
            "-",
            ".",
            "e",
            "null",
            "true",
            "stop",
            "error",
            "\"error\":\"x\",",
            "\"cost\":1,",
            "\\u0020",
            "\\\"",
            "\u{a0}",
            "\u{e9}",
        ]);
        let change = (any::<prop::sample::Index>(), 0..4_usize, piece);
        let changes = prop::collection::vec(change, 1..4);
        (prop::sample::select(SENT), changes).prop_map(|(sent, changes)| {
            let mut bytes = sent.as_bytes().to_vec();
            for (at, length, piece) in changes {
                let at = at.index(bytes.len() + 1);
                let end = bytes.len().min(at + length);
                bytes.splice(at..end, piece.bytes());
            }
            (sent, bytes)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn an_event_means_what_it_means_whatever_came_before((first, second) in events()) {
            let mut template = of("", &first);
            prop_assert_eq!(template.read(b"", second.as_bytes()), read(&second), "{} {}", first, second);
        }

        #[test]
        fn an_event_with_other_bytes_means_what_it_means((sent, other) in changed()) {
            let mut template = of("", sent);
            let alone = Meaning::of(b"", other.trim_ascii(), &mut Vec::new());
            prop_assert_eq!(template.read(b"", &other), alone, "{}", String::from_utf8_lossy(&other));
        }
    }
}
