//! A string as it stands in JSON, read without copying it.

use std::{borrow::Cow, str};

/// What stands between the quotes of a JSON string that the [`Reader`](super::reader::Reader) found valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    pub(crate) raw: &'a str,
    pub(crate) escaped: bool,
}

/// A part of a [`Text`]: a run without escapes, or one escaped character.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece<'a> {
    Run(&'a str),
    Char(char),
}

impl<'a> Text<'a> {
    /// The longest name that anything is compared with, all of it escaped as surrogate pairs.
    const LONGEST_NAME: usize = 32 * 12;

    /// The parts, in order. A lone surrogate, which JSON allows, becomes U+FFFD.
    pub(crate) fn pieces(self) -> Pieces<'a> {
        Pieces(self)
    }

    /// The characters that the string stands for.
    pub(crate) fn chars(self) -> impl Iterator<Item = char> {
        self.pieces().flat_map(|piece| {
            let (run, one) = match piece {
                Piece::Run(run) => (run, None),
                Piece::Char(char) => ("", Some(char)),
            };
            run.chars().chain(one)
        })
    }

    /// The string, to be compared with the names of fields and types, which are all short. A string that has escapes
    /// and is too long to be one of them becomes empty, so that it costs nothing.
    pub(crate) fn name(self) -> Cow<'a, str> {
        match self {
            Self {
                raw,
                escaped: false,
            } => Cow::Borrowed(raw),
            Self { raw, .. } if raw.len() > Self::LONGEST_NAME => Cow::Borrowed(""),
            _ => Cow::Owned(self.chars().collect()),
        }
    }

    /// Whether a parser that ignores case could take this for `name`, which is in lower case.
    pub(crate) fn folds_to(self, name: &str) -> bool {
        match self.escaped || !self.raw.is_ascii() {
            true => self.folded().eq(name.chars()),
            false => self.raw.eq_ignore_ascii_case(name),
        }
    }

    /// The characters without their case, as the most lenient parser reads a name.
    pub(crate) fn folded(self) -> impl Iterator<Item = char> {
        self.chars().map(fold)
    }
}

/// The ASCII letter that a character is without its case.
///
/// Besides the ASCII capitals, four characters have an ASCII letter on the other side of a simple
/// case mapping, and parsers use it: Go's `encoding/json` takes `modelſ` for `models`, and Java's
/// `equalsIgnoreCase` takes `plugıns` for `plugins`.
const fn fold(char: char) -> char {
    match char {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        '\u{130}' | '\u{131}' => 'i',
        _ => char.to_ascii_lowercase(),
    }
}

/// Iterator over the [pieces](Text::pieces) of a [`Text`].
#[derive(Clone, Debug)]
pub(crate) struct Pieces<'a>(Text<'a>);

impl<'a> Pieces<'a> {
    /// Takes the first `len` bytes off. None is missing, because the reader has found the string valid.
    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.0.raw.split_at_checked(len).unwrap_or((self.0.raw, ""));
        self.0.raw = rest;
        taken
    }

    /// The code unit that `\uXXXX` at the front stands for, if there is one.
    fn unit(&self) -> Option<u16> {
        let hex = self.0.raw.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(hex, 16).ok()
    }

    /// Takes one escape off the front.
    fn escape(&mut self) -> char {
        let Some(unit) = self.unit() else {
            return match self.take(2) {
                "\\b" => '\u{8}',
                "\\f" => '\u{c}',
                "\\n" => '\n',
                "\\r" => '\r',
                "\\t" => '\t',
                itself => itself.chars().next_back().unwrap_or_default(),
            };
        };
        self.take(6);
        if let 0xd800..=0xdbff = unit {
            if let Some(low @ 0xdc00..=0xdfff) = self.unit() {
                self.take(6);
                let code = 0x1_0000 + ((u32::from(unit) - 0xd800) << 10) + u32::from(low) - 0xdc00;
                return char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            }
        }
        char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER)
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let Text { raw, escaped } = self.0;
        if raw.is_empty() {
            return None;
        }
        let run = match escaped {
            true => memchr::memchr(b'\\', raw.as_bytes()).unwrap_or(raw.len()),
            false => raw.len(),
        };
        Some(match run {
            0 => Piece::Char(self.escape()),
            _ => Piece::Run(self.take(run)),
        })
    }
}

/// Browsers write a quote in a name as `%22`, and some upstreams read any such escape.
pub(crate) fn unescape_percent(name: &str) -> String {
    let mut pieces = name.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let byte = piece
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(b'%'));
        bytes.extend(&piece.as_bytes()[byte.map_or(0, |_| 2)..]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: &str) -> Text<'_> {
        Text { raw, escaped: true }
    }

    fn read(raw: &str) -> String {
        text(raw).chars().collect()
    }

    #[test]
    fn every_escape_is_read_as_the_reference_reads_it() {
        let raw = r#"a\"\\\/\b\f\n\r\t\u0041\u00e9\u4e2d\ud83d\ude00z"#;
        let reference: String = serde_json::from_str(&format!("\"{raw}\"")).unwrap();
        assert_eq!(read(raw), reference);
    }

    #[test]
    fn a_lone_surrogate_is_replaced() {
        assert_eq!(read(r"\ud83d"), "\u{fffd}");
        assert_eq!(read(r"\ude00x"), "\u{fffd}x");
        assert_eq!(read(r"\ud83d\ud83d\ude00"), "\u{fffd}\u{1f600}");
        assert_eq!(read(r"\ud83d\n"), "\u{fffd}\n");
    }

    #[test]
    fn names_are_compared_without_escapes_and_case() {
        for raw in ["model", "MODEL", r"\u006dodel", r"mo\u0044EL"] {
            assert!(text(raw).folds_to("model"), "{raw}");
        }
        for raw in ["", "mode", "models", " model", r"model\u0000", "modeł"] {
            assert!(!text(raw).folds_to("model"), "{raw}");
        }
        assert!(text("model\u{17f}").folds_to("models"));
        assert!(text(r"plugin\u017f").folds_to("plugins"));
    }

    #[test]
    fn every_single_letter_that_changes_case_into_ascii_is_folded() {
        let ascii =
            |mut mapped: Box<dyn Iterator<Item = char>>| match (mapped.next(), mapped.next()) {
                (Some(letter), None) if letter.is_ascii() => Some(letter.to_ascii_lowercase()),
                _ => None,
            };
        for char in ('\u{80}'..=char::MAX).filter(|&c| c != '\u{130}') {
            let expected = ascii(Box::new(char.to_lowercase()))
                .or_else(|| ascii(Box::new(char.to_uppercase())))
                .unwrap_or(char);
            assert_eq!(fold(char), expected, "{char:?}");
        }
        // Its simple mapping, which is Java's; Rust has the full one, of two characters.
        assert_eq!(fold('\u{130}'), 'i');
    }

    #[test]
    fn escapes_of_urls_are_read_and_anything_else_stays() {
        for (name, expected) in [
            ("a%62c%22", "abc\""),
            ("%6d%6F%64", "mod"),
            ("100%", "100%"),
            ("%%41%4", "%A%4"),
            ("%zz%é", "%zz%é"),
            ("%c3%a9", "é"),
        ] {
            assert_eq!(unescape_percent(name), expected, "{name}");
        }
    }

    #[test]
    fn a_name_is_empty_when_too_long_to_be_one() {
        assert_eq!(text(&r"\u0041".repeat(1000)).name(), "");
        assert_eq!(text(r"\u0073tream").name(), "stream");
    }
}
