//! Follows a JSON document as its bytes pass, without holding it: whether it has ended, and what it says it cost.
//!
//! An answer above the peek limit is passed on piece by piece. Its end is its last closing bracket; a body that stops
//! before that was cut, whatever the connection says. What it cost stands anywhere in it.

/// Longer names are not looked for, and longer amounts of money are none.
const LONGEST_WORD: usize = 48;

/// What stands deeper is not looked at: a cost stands at most seven objects and arrays deep
/// (`choices[0].message.provider_metadata.gateway.cost`).
const DEEPEST: usize = 16;

/// A reader of one JSON document. Takes constant memory, and any bytes.
#[derive(Debug, Default)]
pub(crate) struct Follow {
    state: State,
    /// How many objects and arrays are open.
    depth: usize,
    /// The names under which the outermost of them stand.
    path: Vec<Name>,
    /// The last string, number or literal, as long as it may be a name or an amount.
    word: Vec<u8>,
    /// The name of the value that comes next.
    name: Option<Name>,
    /// The `usage` that is open says that the request ran on the operator's own key at the upstream.
    own_key: bool,
    /// It says what that upstream charged.
    charged_upstream: bool,
    billed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing but white space has come.
    #[default]
    Start,
    /// It does not begin as a JSON object or array does.
    Foreign,
    /// Between strings.
    Between,
    /// In a number or a literal.
    Literal,
    /// In a string.
    Text,
    /// In a string, after a backslash.
    Escape,
}

/// The names that lead to a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    /// None: the document itself, or an element of an array.
    Element,
    /// What holds an answer, or a part of one.
    Answer,
    Usage,
    Metadata,
    Gateway,
    Cost,
    CostDetails,
    TotalCost,
    UpstreamCost,
    OwnKey,
    /// Any other one. What stands below it is no word of the provider's: a response of the Responses API repeats the
    /// caller's `tools`, `metadata` and `text`.
    Other,
}

impl Name {
    fn of(word: &[u8]) -> Self {
        match word {
            b"response" | b"choices" | b"message" | b"delta" | b"data" | b"result" => Self::Answer,
            b"usage" => Self::Usage,
            b"provider_metadata" | b"providerMetadata" => Self::Metadata,
            b"gateway" => Self::Gateway,
            b"cost" => Self::Cost,
            b"cost_details" => Self::CostDetails,
            b"total_cost" => Self::TotalCost,
            b"upstream_inference_cost" => Self::UpstreamCost,
            b"is_byok" => Self::OwnKey,
            _ => Self::Other,
        }
    }
}

impl Follow {
    /// Takes the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.state {
                State::Foreign => return,
                State::Start => self.start(rest),
                State::Between => self.between(rest),
                State::Literal => self.literal(rest),
                State::Text => self.text(rest),
                State::Escape => {
                    // Of what is escaped no name is made: those that count are plain.
                    self.spoil();
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
            _ => self.depth > 0,
        }
    }

    /// Whether it has reported a cost above zero.
    pub(crate) const fn billed(&self) -> bool {
        self.billed
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
        match bytes[0] {
            b'"' => {
                self.word.clear();
                self.state = State::Text;
            }
            b':' => {
                self.name = Some(Name::of(&self.word));
                self.word.clear();
            }
            b',' => self.name = None,
            b'{' | b'[' => self.open(),
            b'}' | b']' => self.close(),
            byte if byte.is_ascii_whitespace() => {}
            _ => {
                self.word.clear();
                self.state = State::Literal;
                return bytes;
            }
        }
        &bytes[1..]
    }

    fn open(&mut self) {
        self.depth = self.depth.saturating_add(1);
        if self.depth <= DEEPEST {
            let name = self.name.take().unwrap_or(Name::Element);
            if name == Name::Usage {
                (self.own_key, self.charged_upstream) = (false, false);
            }
            self.path.push(name);
        }
        self.name = None;
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.path.truncate(self.depth);
        self.name = None;
    }

    fn literal<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let is_end = |byte: &u8| b",:{}[]\" \t\r\n".contains(byte);
        let end = bytes.iter().position(is_end);
        let (literal, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        self.hold(literal);
        if end.is_some() {
            self.state = State::Between;
            self.value();
        }
        rest
    }

    fn text<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = memchr::memchr2(b'"', b'\\', bytes) else {
            self.hold(bytes);
            return &[];
        };
        self.hold(&bytes[..end]);
        if bytes[end] == b'\\' {
            self.state = State::Escape;
        } else {
            self.state = State::Between;
            self.value();
        }
        &bytes[end + 1..]
    }

    /// Keeps a part of a word; one that is too long is none, and stays it.
    fn hold(&mut self, part: &[u8]) {
        let room = (LONGEST_WORD + 1).saturating_sub(self.word.len());
        self.word.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn spoil(&mut self) {
        self.word.resize(LONGEST_WORD + 1, b'?');
    }

    /// A string, number or literal has ended; where it has a name it is that name's value.
    fn value(&mut self) {
        let Some(name) = self.name.take() else {
            return;
        };
        if self.depth > DEEPEST || self.path.contains(&Name::Other) {
            return;
        }
        let parent = self.path.last().copied();
        let grandparent = self.path.iter().rev().nth(1).copied();
        match (grandparent, parent, name) {
            (_, Some(Name::Usage), Name::Cost)
            | (Some(Name::Usage), Some(Name::Cost), Name::TotalCost)
            | (Some(Name::Metadata), Some(Name::Gateway), Name::Cost) => {
                self.billed |= self.is_above_zero();
            }
            (_, Some(Name::Usage), Name::OwnKey) => self.own_key = self.word == b"true",
            (Some(Name::Usage), Some(Name::CostDetails), Name::UpstreamCost) => {
                self.charged_upstream = self.is_above_zero();
            }
            _ => {}
        }
        self.billed |= self.own_key && self.charged_upstream;
    }

    fn is_above_zero(&self) -> bool {
        let amount = std::str::from_utf8(&self.word).ok();
        let amount = amount.and_then(|amount| amount.trim().parse::<f64>().ok());
        amount.is_some_and(|amount| amount > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn followed(json: &str, size: usize) -> Follow {
        let mut follow = Follow::default();
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
                let mut follow = Follow::default();
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
        let mut follow = Follow::default();
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
            assert!(follow.path.capacity() <= 2 * DEEPEST);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_tell_the_same_in_any_split(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\":,\\ 1".to_vec())], 0..200), size in 1..9_usize) {
            let mut whole = Follow::default();
            whole.push(&bytes);
            let mut split = Follow::default();
            bytes.chunks(size).for_each(|chunk| split.push(chunk));
            prop_assert_eq!(format!("{whole:?}"), format!("{split:?}"));
        }

        #[test]
        fn the_end_of_any_json_is_seen(seed in prop::collection::vec(".{0,20}", 0..8)) {
            let json = serde_json::json!({ "a": seed, "b": [{ "c": seed }] }).to_string();
            prop_assert!(!followed(&json, 5).is_cut());
            let mut follow = Follow::default();
            follow.push(&json.as_bytes()[..json.len() - 1]);
            prop_assert!(follow.is_cut());
        }
    }
}
