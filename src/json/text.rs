//! A string as it stands in JSON, read without copying it.

use std::{borrow::Cow, str};

/// What stands between the quotes of a JSON string that the [`Reader`](super::reader::Reader) found valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    /// UTF-8. Not a `str`, because only the reader knows that, and most strings are never looked at.
    pub(crate) raw: &'a [u8],
    pub(crate) escaped: bool,
}

/// A part of a [`Text`]: a run without escapes, or one escaped character.
#[derive(Clone, Copy, Debug)]
enum Piece<'a> {
    Run(&'a str),
    Char(char),
}

impl<'a> Text<'a> {
    /// The longest name that anything is compared with, all of it escaped as surrogate pairs.
    const LONGEST_NAME: usize = 32 * 12;

    /// The characters that the string stands for. A lone surrogate, which JSON allows, becomes U+FFFD.
    pub(crate) fn chars(self) -> impl Iterator<Item = char> {
        Pieces(self).flat_map(|piece| {
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
        match self.escaped {
            false => Cow::Borrowed(as_str(self.raw)),
            true => Cow::Owned(self.unescaped_name()),
        }
    }

    /// The same as bytes, which need no second look at whether they are UTF-8.
    #[inline]
    pub(crate) fn name_bytes(self) -> Cow<'a, [u8]> {
        match self.escaped {
            false => Cow::Borrowed(self.raw),
            true => Cow::Owned(self.unescaped_name().into_bytes()),
        }
    }

    /// Whether the string is this name.
    #[inline(always)]
    pub(crate) fn is(self, name: &str) -> bool {
        match self.escaped {
            false => self.raw == name.as_bytes(),
            true => self.unescaped_name() == name,
        }
    }

    /// The whole string as bytes, however long it is.
    pub(crate) fn bytes(self) -> Cow<'a, [u8]> {
        match self.escaped {
            false => Cow::Borrowed(self.raw),
            true => Cow::Owned(self.chars().collect::<String>().into_bytes()),
        }
    }

    #[cold]
    #[inline(never)]
    fn unescaped_name(self) -> String {
        match self.raw.len() > Self::LONGEST_NAME {
            true => String::new(),
            false => self.chars().collect(),
        }
    }

    /// Whether a parser that ignores case could take this for `name`, which is in lower case.
    pub(crate) fn folds_to(self, name: &str) -> bool {
        match self.escaped || !self.raw.is_ascii() {
            true => self.folded().eq(name.chars()),
            false => self.raw.eq_ignore_ascii_case(name.as_bytes()),
        }
    }

    /// The characters without their case, as the most lenient parser reads a name.
    pub(crate) fn folded(self) -> impl Iterator<Item = char> {
        self.chars().map(fold)
    }
}

/// What the reader found to be UTF-8.
fn as_str(raw: &[u8]) -> &str {
    str::from_utf8(raw).unwrap_or_default()
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

/// The parts of a [`Text`], in order.
#[derive(Clone, Debug)]
struct Pieces<'a>(Text<'a>);

impl<'a> Pieces<'a> {
    /// Takes the first `len` bytes off. None is missing, because the reader has found the string valid.
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self
            .0
            .raw
            .split_at_checked(len)
            .unwrap_or((self.0.raw, &[]));
        self.0.raw = rest;
        taken
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
            true => memchr::memchr(b'\\', raw).unwrap_or(raw.len()),
            false => raw.len(),
        };
        Some(match run {
            0 => {
                let (char, len) = unescape(raw);
                self.take(len);
                Piece::Char(char)
            }
            _ => Piece::Run(as_str(self.take(run))),
        })
    }
}

/// The character that the escape at the front stands for, and the length of the escape. A lone surrogate becomes U+FFFD.
pub(crate) fn unescape(raw: &[u8]) -> (char, usize) {
    let Some(unit) = unit(raw) else {
        let letter = raw.get(1).copied().unwrap_or_default();
        return (char::from(unescape_letter(letter)), 2);
    };
    if let 0xd800..=0xdbff = unit {
        if let Some(low @ 0xdc00..=0xdfff) = raw.get(6..).and_then(self::unit) {
            let code = 0x1_0000 + ((u32::from(unit) - 0xd800) << 10) + u32::from(low) - 0xdc00;
            return (
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
                12,
            );
        }
    }
    let char = char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER);
    (char, 6)
}

/// What a backslash and this letter stand for.
pub(crate) const fn unescape_letter(letter: u8) -> u8 {
    match letter {
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        itself => itself,
    }
}

/// The code unit that `\uXXXX` at the front stands for, if there is one.
fn unit(raw: &[u8]) -> Option<u16> {
    let [b'\\', b'u', hex @ ..] = raw else {
        return None;
    };
    hex.get(..4)?.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | digit as u16)
    })
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
        let raw = raw.as_bytes();
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
        assert_eq!(*text(&r"\u0041".repeat(1000)).bytes(), [b'A'; 1000]);
    }
}
