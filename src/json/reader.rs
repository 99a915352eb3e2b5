//! The grammar of JSON, one token at a time.
//!
//! What `serde_json::from_slice::<&RawValue>` accepts is accepted here and nothing else, but for
//! nesting, which has a limit. There is no recursion: where the reader stands is one bit a level.

use crate::{
    json::text::Text,
    request::{MAX_DEPTH, ScanError},
};

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

/// An [`Event`] and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) event: Event<'a>,
    /// Its first byte.
    pub(crate) start: usize,
    /// One past its last byte; a key's includes its quotes, but not the colon.
    pub(crate) end: usize,
    /// In how many arrays and objects it stands. A container's own brackets do not count.
    pub(crate) depth: usize,
    /// Where the last comma stands that was read.
    pub(crate) comma: usize,
}

/// Reads tokens off a text.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    comma: usize,
    nest: Nest,
    expect: Expect,
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
            comma: 0,
            nest: Nest::default(),
            expect: Expect::Value,
        }
    }

    /// The next token; `None` at the end of a valid text.
    // A token is large: where it is handed over in memory, reading a conversation takes a fifth longer.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<Token<'a>>, ScanError> {
        self.skip_whitespace();
        let kind = match (self.expect, self.nest.innermost()) {
            (Expect::Nothing, _) => {
                return match self.peek() {
                    None => Ok(None),
                    Some(_) => self.fail("something follows the end"),
                };
            }
            (Expect::Value, _) | (_, None) => return self.value().map(Some),
            (_, Some(kind)) => kind,
        };
        if self.peek() == Some(kind.close()) {
            return Ok(Some(self.close(kind)));
        }
        if self.expect == Expect::More {
            if self.peek() != Some(b',') {
                return self.fail("expected a comma or the end of the array or object");
            }
            self.comma = self.at;
            self.at += 1;
            self.skip_whitespace();
        }
        match kind {
            Kind::Array => self.value(),
            Kind::Object => self.key(),
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
    fn fail<T>(&self, what: &'static str) -> Result<T, ScanError> {
        Err(ScanError::Syntax {
            offset: self.at,
            what,
        })
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn token(&self, event: Event<'a>, start: usize) -> Token<'a> {
        Token {
            event,
            start,
            end: self.at,
            depth: self.nest.depth,
            comma: self.comma,
        }
    }

    #[inline(always)]
    fn value(&mut self) -> Result<Token<'a>, ScanError> {
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
        self.expect = self.nest.after_value();
        Ok(self.token(event, start))
    }

    #[inline(always)]
    fn key(&mut self) -> Result<Token<'a>, ScanError> {
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

    fn open(&mut self, kind: Kind) -> Result<Token<'a>, ScanError> {
        let start = self.at;
        self.at += 1;
        let token = self.token(Event::Begin(kind), start);
        if !self.nest.enter(kind) {
            return Err(ScanError::TooDeep { offset: start });
        }
        self.expect = Expect::First;
        Ok(token)
    }

    fn close(&mut self, kind: Kind) -> Token<'a> {
        let start = self.at;
        self.at += 1;
        self.nest.leave();
        self.expect = self.nest.after_value();
        self.token(Event::End(kind), start)
    }

    fn word(&mut self, word: &str, event: Event<'a>) -> Result<Event<'a>, ScanError> {
        if !self.rest().starts_with(word.as_bytes()) {
            return self.fail("expected a value");
        }
        self.at += word.len();
        Ok(event)
    }

    fn number(&mut self) -> Result<&'a str, ScanError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        // A digit after a leading zero needs no look: no comma and no end begins with one.
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
    fn digits(&mut self) -> Result<(), ScanError> {
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
    fn string(&mut self) -> Result<Text<'a>, ScanError> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_prefix(self.rest());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.fail("a control character in a string must be escaped"),
                None => return self.fail("a string does not end"),
            }
        }
        let raw = self.text.get(start..self.at).unwrap_or_default();
        self.at += 1;
        Ok(Text { raw, escaped })
    }

    /// One escape. Surrogates need not be paired: they are valid JSON, if not valid text.
    fn escape(&mut self) -> Result<(), ScanError> {
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

/// How many bytes of a string come before the first that is not taken as it is.
///
/// First a block at a time without a branch inside, which the compiler turns into vector
/// instructions: a string may be megabytes of base64. Then the words of the block that ends it.
fn plain_prefix(bytes: &[u8]) -> usize {
    let special = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    let mut rest = bytes;
    while let Some((block, after)) = rest.split_first_chunk::<32>() {
        if block.iter().fold(false, |any, &byte| any | special(byte)) {
            break;
        }
        rest = after;
    }
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        let specials = special_in_word(u64::from_le_bytes(*word));
        if specials != 0 {
            return bytes.len() - rest.len() + specials.trailing_zeros() as usize / 8;
        }
        rest = after;
    }
    let tail = rest.iter().position(|&byte| special(byte));
    bytes.len() - rest.len() + tail.unwrap_or(rest.len())
}

/// A word whose lowest bit that is set lies in the lowest byte that is not taken as it is; zero if
/// there is none.
///
/// Subtracting borrows the top bit of a byte that is too small, so above the first such byte the
/// bits mean nothing.
const fn special_in_word(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = word ^ (ONES * b'"' as u64);
    let quote = quote.wrapping_sub(ONES) & !quote;
    let escape = word ^ (ONES * b'\\' as u64);
    let escape = escape.wrapping_sub(ONES) & !escape;
    (control | quote | escape) & (ONES << 7)
}

impl Kind {
    const fn close(self) -> u8 {
        match self {
            Self::Array => b']',
            Self::Object => b'}',
        }
    }
}

/// The arrays and objects that are open, as one bit each.
#[derive(Debug, Default)]
struct Nest {
    objects: [u64; MAX_DEPTH / 64],
    depth: usize,
}

impl Nest {
    fn innermost(&self) -> Option<Kind> {
        let level = self.depth.checked_sub(1)?;
        let object = self.objects.get(level / 64)? >> (level % 64) & 1 == 1;
        Some(if object { Kind::Object } else { Kind::Array })
    }

    /// Whether there was room for one more.
    fn enter(&mut self, kind: Kind) -> bool {
        let Some(word) = self.objects.get_mut(self.depth / 64) else {
            return false;
        };
        let bit = 1 << (self.depth % 64);
        match kind {
            Kind::Array => *word &= !bit,
            Kind::Object => *word |= bit,
        }
        self.depth += 1;
        true
    }

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    fn after_value(&self) -> Expect {
        match self.depth {
            0 => Expect::Nothing,
            _ => Expect::More,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Token<'_>>, ScanError> {
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
        for byte in 0..=u8::MAX {
            let special = byte < 0x20 || byte == b'"' || byte == b'\\';
            for at in 0..80 {
                let mut bytes = [b'a'; 80];
                bytes[at] = byte;
                let expected = if special { at } else { bytes.len() };
                assert_eq!(plain_prefix(&bytes), expected, "{byte:#x} at {at}");
                // What stands behind it must not hide it.
                bytes[at + 1..].fill(0x21);
                assert_eq!(plain_prefix(&bytes), expected, "{byte:#x} at {at}");
            }
        }
    }
}
