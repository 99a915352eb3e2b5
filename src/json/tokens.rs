//! The tokens of a JSON text, one after the other, however they nest.
//!
//! This does not recurse: each array or object that is open costs one bit.

use std::ops::Range;

use super::{
    nesting::Nesting,
    reader::{Event, JsonError, Kind, Reader, Value},
};

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

/// Reads tokens off a text.
#[derive(Debug)]
pub(crate) struct Tokens<'a> {
    reader: Reader<'a>,
    nesting: Nesting,
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

impl<'a> Tokens<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(text),
            nesting: Nesting::default(),
            expect: Expect::Value,
        }
    }

    /// The offset of the first byte that is not read yet: one past the last token.
    pub(crate) fn at(&self) -> usize {
        self.reader.at()
    }

    /// Reads to the end of the value that begins with `first`, which was just read.
    pub(crate) fn skip(&mut self, first: &Token<'_>) -> Result<(), JsonError> {
        if let Event::Begin(_) = first.event {
            while let Some(token) = self.next()? {
                if token.depth == first.depth {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The next token; `None` at the end of a valid text.
    // A token is large: where it is handed over in memory, reading a conversation takes a fifth longer.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<Token<'a>>, JsonError> {
        let (kind, is_first) = match self.expect {
            Expect::Nothing => {
                self.reader.end()?;
                return Ok(None);
            }
            Expect::Value => return self.value().map(Some),
            Expect::First => (self.innermost(), true),
            Expect::More => (self.innermost(), false),
        };
        let ends = match is_first {
            true => self.reader.is_empty(kind),
            false => self.reader.is_last(kind)?,
        };
        if ends {
            self.expect = self.after_value();
            let end = self.at();
            return Ok(Some(Token {
                event: Event::End(kind),
                start: end - 1,
                end,
                depth: self.reader.depth(),
            }));
        }
        match kind {
            Kind::Array => self.value().map(Some),
            Kind::Object => {
                let (key, span) = self.reader.key()?;
                self.expect = Expect::Value;
                let depth = self.reader.depth();
                let (event, Range { start, end }) = (Event::Key(key), span);
                Ok(Some(Token {
                    event,
                    start,
                    end,
                    depth,
                }))
            }
        }
    }

    #[inline(always)]
    fn value(&mut self) -> Result<Token<'a>, JsonError> {
        let Value {
            first,
            start,
            depth,
        } = self.reader.value()?;
        self.expect = match first {
            Event::Begin(kind) => {
                self.nesting.set(depth, kind);
                Expect::First
            }
            _ => self.after_value(),
        };
        let (event, end) = (first, self.at());
        Ok(Token {
            event,
            start,
            end,
            depth,
        })
    }

    fn after_value(&self) -> Expect {
        match self.reader.depth() {
            0 => Expect::Nothing,
            _ => Expect::More,
        }
    }

    /// The kind of what was opened last and is still open.
    fn innermost(&self) -> Kind {
        self.nesting.get(self.reader.depth() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Token<'_>>, JsonError> {
        let mut reader = Tokens::new(text.as_bytes());
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
}
