//! The grammar of JSON, one token at a time.
//!
//! The reader accepts what `serde_json::from_slice::<&RawValue>` accepts and nothing else, except that nesting has a
//! limit. It does not recurse: each array or object that is open costs one byte.

use super::text::Text;

/// How deep arrays and objects may nest, the outermost included.
pub(crate) const MAX_DEPTH: usize = 512;

/// Why a text cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonError {
    /// The text is not JSON.
    Syntax {
        /// Where reading stopped, in bytes.
        offset: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// Arrays and objects nest deeper than [`MAX_DEPTH`].
    TooDeep {
        /// Where the first array or object begins that is too deep.
        offset: usize,
    },
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// An array or object begins.
    Begin(Kind),
    /// The innermost one ends.
    End(Kind),
    /// The key of the member whose value comes next.
    Key(Text<'a>),
    /// A string.
    Text(Text<'a>),
    /// A number, as it is written.
    Number(&'a str),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}

/// What nests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Array,
    Object,
}

/// An [`Event`] and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) event: Event<'a>,
    /// Its first byte.
    pub(crate) start: usize,
    /// One past its last byte; a key's includes its quotes, but not the colon.
    pub(crate) end: usize,
    /// The number of arrays and objects around it. A container's own brackets do not count.
    pub(crate) depth: usize,
}

/// Most strings are short. For those of up to so many bytes, eight bytes at a time cost less than a search that is
/// prepared for long ones.
const SHORT: usize = 64;

/// The number of bytes before the first quote, backslash or control character.
///
/// Each test finds the lowest byte that is zero, or less than a bound, by the borrow of a subtraction; it may be wrong only
/// about bytes above that one (Bit Twiddling Hacks, "Determine if a word has a zero byte").
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let less = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word;
    let mut at = 0;
    while let Some(Ok(eight)) = bytes.get(at..at + 8).map(TryInto::try_into) {
        let word = u64::from_le_bytes(eight);
        let quote = less(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = less(word ^ (ONES * u64::from(b'\\')), 1);
        let ends = (quote | backslash | less(word, 0x20)) & HIGH;
        if ends != 0 {
            return at + ends.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(ends).unwrap_or(rest.len())
}

/// Reads tokens off a text.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    open: Open,
    expect: Expect,
}

/// The arrays and objects that are open, a bit for each: without memory on the heap, because a reader is made for every
/// event of a stream.
#[derive(Debug, Default)]
struct Open {
    objects: [u64; MAX_DEPTH / 64],
    depth: usize,
}

impl Open {
    fn push(&mut self, kind: Kind) {
        let (word, bit) = (self.depth / 64, 1 << (self.depth % 64));
        if let Some(word) = self.objects.get_mut(word) {
            match kind {
                Kind::Object => *word |= bit,
                Kind::Array => *word &= !bit,
            }
        }
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    fn last(&self) -> Option<Kind> {
        let at = self.depth.checked_sub(1)?;
        let word = self.objects.get(at / 64)?;
        Some(match word >> (at % 64) & 1 {
            0 => Kind::Array,
            _ => Kind::Object,
        })
    }
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// A value, and nothing else.
    Value,
    /// The first element or member, or the end.
    First,
    /// A comma and one more, or the end.
    More,
    /// The end of the text.
    Nothing,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            open: Open::default(),
            expect: Expect::Value,
        }
    }

    /// The offset of the first byte that is not read yet: one past the last token.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next token; `None` at the end of a valid text.
    // A token is large: where it is handed over in memory, reading a conversation takes a fifth longer.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<Token<'a>>, JsonError> {
        self.skip_whitespace();
        let kind = match (self.expect, self.open.last()) {
            (Expect::Nothing, _) => {
                return match self.peek() {
                    None => Ok(None),
                    Some(_) => self.fail("something follows the end"),
                };
            }
            (Expect::Value, _) | (_, None) => return self.read_value().map(Some),
            (_, Some(kind)) => kind,
        };
        if self.peek() == Some(kind.close()) {
            return Ok(Some(self.close(kind)));
        }
        if self.expect == Expect::More {
            if self.peek() != Some(b',') {
                return self.fail("expected a comma or the end of the array or object");
            }
            self.at += 1;
            self.skip_whitespace();
        }
        match kind {
            Kind::Array => self.read_value(),
            Kind::Object => self.read_key(),
        }
        .map(Some)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    #[cold]
    fn fail<T>(&self, what: &'static str) -> Result<T, JsonError> {
        Err(JsonError::Syntax {
            offset: self.at,
            what,
        })
    }

    pub(super) fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn token(&self, event: Event<'a>, start: usize) -> Token<'a> {
        Token {
            event,
            start,
            end: self.at,
            depth: self.open.depth,
        }
    }

    #[inline(always)]
    pub(super) fn read_value(&mut self) -> Result<Token<'a>, JsonError> {
        let start = self.at;
        let event = match self.peek() {
            Some(b'"') => Event::Text(self.string()?),
            Some(b'{') => return self.open(Kind::Object),
            Some(b'[') => return self.open(Kind::Array),
            Some(b'-' | b'0'..=b'9') => Event::Number(self.number()?),
            Some(b't') => self.word("true", Event::Bool(true))?,
            Some(b'f') => self.word("false", Event::Bool(false))?,
            Some(b'n') => self.word("null", Event::Null)?,
            _ => return self.fail("expected a value"),
        };
        self.expect = self.after_value();
        Ok(self.token(event, start))
    }

    #[inline(always)]
    fn read_key(&mut self) -> Result<Token<'a>, JsonError> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return self.fail("expected a key");
        }
        let key = self.string()?;
        let token = self.token(Event::Key(key), start);
        self.skip_whitespace();
        if self.peek() != Some(b':') {
            return self.fail("expected a colon");
        }
        self.at += 1;
        self.expect = Expect::Value;
        Ok(token)
    }

    fn open(&mut self, kind: Kind) -> Result<Token<'a>, JsonError> {
        let start = self.at;
        self.at += 1;
        let token = self.token(Event::Begin(kind), start);
        if self.open.depth == MAX_DEPTH {
            return Err(JsonError::TooDeep { offset: start });
        }
        self.open.push(kind);
        self.expect = Expect::First;
        Ok(token)
    }

    fn close(&mut self, kind: Kind) -> Token<'a> {
        let start = self.at;
        self.at += 1;
        self.open.pop();
        self.expect = self.after_value();
        self.token(Event::End(kind), start)
    }

    fn after_value(&self) -> Expect {
        match self.open.depth {
            0 => Expect::Nothing,
            _ => Expect::More,
        }
    }

    fn word(&mut self, word: &str, event: Event<'a>) -> Result<Event<'a>, JsonError> {
        if !self.rest().starts_with(word.as_bytes()) {
            return self.fail("expected a value");
        }
        self.at += word.len();
        Ok(event)
    }

    fn number(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        // A digit after a leading zero is found to be none of a comma and an end.
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        match self.at - start {
            0 => self.fail("expected a digit"),
            _ => Ok(()),
        }
    }

    #[inline(always)]
    fn string(&mut self) -> Result<Text<'a>, JsonError> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        let beginning = self.rest();
        let beginning = &beginning[..beginning.len().min(SHORT)];
        self.at += plain_length(beginning);
        if self.peek() == Some(b'"') {
            let raw = self.text.get(start..self.at).unwrap_or_default();
            self.at += 1;
            return Ok(Text { raw, escaped });
        }
        loop {
            let rest = self.rest();
            let len = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
            let plain = rest.get(..len).unwrap_or_default();
            // Without a branch in it, so that it becomes vector instructions: a string may be megabytes of base64.
            if plain.iter().fold(false, |any, &byte| any | (byte < 0x20)) {
                self.at += plain.iter().take_while(|byte| **byte >= 0x20).count();
                return self.fail("a control character in a string must be escaped");
            }
            self.at += len;
            match self.peek() {
                Some(b'"') => break,
                Some(_) => {
                    escaped = true;
                    self.escape()?;
                }
                None => return self.fail("a string does not end"),
            }
        }
        let raw = self.text.get(start..self.at).unwrap_or_default();
        self.at += 1;
        Ok(Text { raw, escaped })
    }

    /// One escape. Surrogates need not be paired: they are valid JSON, if not valid text.
    fn escape(&mut self) -> Result<(), JsonError> {
        self.at += match self.rest() {
            [
                _,
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
                ..,
            ] => 2,
            [_, b'u', hex @ ..] if hex.len() >= 4 && hex[..4].iter().all(u8::is_ascii_hexdigit) => {
                6
            }
            _ => return self.fail("no such escape"),
        };
        Ok(())
    }
}

impl Kind {
    const fn close(self) -> u8 {
        match self {
            Self::Array => b']',
            Self::Object => b'}',
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn read(text: &str) -> Result<Vec<Token<'_>>, JsonError> {
        let mut reader = Reader::new(text);
        let mut tokens = Vec::new();
        while let Some(token) = reader.next()? {
            tokens.push(token);
        }
        Ok(tokens)
    }

    #[test]
    fn tokens_know_their_place() {
        let text = r#" {"a" : [1, "b\n"]}"#;
        let tokens = read(text).unwrap();
        let seen: Vec<_> = tokens
            .iter()
            .map(|token| (&text[token.start..token.end], token.depth))
            .collect();
        let expected = [
            ("{", 0),
            (r#""a""#, 1),
            ("[", 1),
            ("1", 2),
            (r#""b\n""#, 2),
            ("]", 1),
            ("}", 0),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn odd_texts_are_read_as_the_reference_reads_them() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[",
            "]",
            "[,]",
            "[1,]",
            "[1 2]",
            "{,}",
            r#"{"a":1,}"#,
            r#"{"a"}"#,
            r#"{"a",1}"#,
            r#"{a:1}"#,
            "{1:1}",
            "[}",
            "{]",
            "01",
            "-01",
            "0",
            "-0",
            "-",
            "+1",
            "1.",
            ".1",
            "1.e1",
            "1e",
            "1e+",
            "1e+1",
            "1E-01",
            "0e0",
            "00",
            "1e1.1",
            "nul",
            "nulll",
            "true",
            "tru",
            "TRUE",
            "NaN",
            "-Infinity",
            r#""a"#,
            r#""\x""#,
            r#""\u12""#,
            r#""\u12g4""#,
            r#""\ud800""#,
            r#""\"#,
            r#""\u"#,
            "\"\u{1f}\"",
            "\"\u{7f}\"",
            "\"\t\"",
            "\u{feff}{}",
            "{} x",
            "{}{}",
            "{} \n\t\r",
            "\u{b}{}",
            "\u{a0}{}",
            "[1]]",
            "1 1",
            "\"a\" ,",
            "'a'",
            "/**/1",
            "[1,,2]",
            "[\u{0}]",
            "{}\u{0}",
        ] {
            let reference = serde_json::from_str::<&serde_json::value::RawValue>(text);
            assert_eq!(read(text).is_ok(), reference.is_ok(), "{text:?}");
        }
    }

    #[test]
    fn every_special_byte_is_found_wherever_it_stands() {
        for byte in 0..=0x7f_u8 {
            for at in 0..80 {
                let mut text = "a".repeat(80);
                text.replace_range(at..=at, &char::from(byte).to_string());
                // What stands behind it must not hide it.
                for text in [text.clone(), format!("{text}!\u{1f}")] {
                    let quoted = format!("\"{text}\"");
                    let reference = serde_json::from_str::<&serde_json::value::RawValue>(&quoted);
                    assert_eq!(read(&quoted).is_ok(), reference.is_ok(), "{quoted:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_length_of_what_is_plain_is_that_of_a_search_byte_by_byte(
            bytes in vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), 0x1e_u8..0x24, Just(b'a')], 0..40),
            plain in 0_usize..30,
        ) {
            let bytes = [&vec![b'\x80'; plain][..], &bytes[..]].concat();
            let ends = |byte: &u8| matches!(byte, b'"' | b'\\') || *byte < 0x20;
            let expected = bytes.iter().position(ends).unwrap_or(bytes.len());
            prop_assert_eq!(plain_length(&bytes), expected);
        }
    }
}
