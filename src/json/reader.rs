//! The grammar of JSON, one value at a time.
//!
//! The reader accepts what `serde_json::from_slice::<&RawValue>` accepts and nothing else, except that nesting has a
//! limit. Each byte is read once: whether a string is UTF-8 is found where it is read, and no byte outside of a string
//! may be anything but ASCII.

use std::{ops::Range, str};

use super::{string, text::Text};

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
    /// A number.
    Number(Number<'a>),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}

/// A number, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number<'a>(pub(crate) &'a [u8]);

impl<'a> Number<'a> {
    pub(crate) fn as_str(self) -> &'a str {
        str::from_utf8(self.0).unwrap_or_default()
    }
}

/// What nests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Array,
    Object,
}

/// A value, up to its first token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    pub(crate) first: Event<'a>,
    /// Its first byte.
    pub(crate) start: usize,
    /// The number of arrays and objects around it.
    pub(super) depth: usize,
}

/// Reads values off a text. What has an end of its own, an array or an object, is read further by
/// [`members`](Self::members), [`elements`](Self::elements), [`visit`](Self::visit) or [`skip`](Self::skip).
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// The number of arrays and objects that are open.
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
        }
    }

    /// The offset of the first byte that is not read yet: one past the last token.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// The next value, up to its first token.
    // Inlined, because a value is large: where it is handed over in memory, reading a conversation takes a fifth longer.
    #[inline(always)]
    pub(crate) fn value(&mut self) -> Result<Value<'a>, JsonError> {
        let (start, byte) = self.behind_whitespace(self.at);
        let depth = self.depth;
        if byte == Some(b'"') {
            let (text, end) = self.string(start)?;
            self.at = end;
            let first = Event::Text(text);
            return Ok(Value {
                first,
                start,
                depth,
            });
        }
        self.at = start;
        let first = match byte {
            Some(b'{') => self.open(Kind::Object)?,
            Some(b'[') => self.open(Kind::Array)?,
            Some(b'-' | b'0'..=b'9') => Event::Number(self.number()?),
            Some(b't') => self.word(b"true", Event::Bool(true))?,
            Some(b'f') => self.word(b"false", Event::Bool(false))?,
            Some(b'n') => self.word(b"null", Event::Null)?,
            _ => return fail(self.at, "expected a value"),
        };
        Ok(Value {
            first,
            start,
            depth,
        })
    }

    /// A key, its place with its quotes, and its colon.
    #[inline(always)]
    pub(super) fn key(&mut self) -> Result<(Text<'a>, Range<usize>), JsonError> {
        let (start, byte) = self.behind_whitespace(self.at);
        if byte != Some(b'"') {
            return fail(start, "expected a key");
        }
        let (key, end) = self.string(start)?;
        let (colon, byte) = self.behind_whitespace(end);
        if byte != Some(b':') {
            return fail(colon, "expected a colon");
        }
        self.at = colon + 1;
        Ok((key, start..end))
    }

    /// Whether the array or object that was just opened ends here.
    pub(super) fn is_empty(&mut self, kind: Kind) -> bool {
        let (at, byte) = self.behind_whitespace(self.at);
        let is_empty = byte == Some(kind.close());
        if is_empty {
            self.close(at);
        }
        is_empty
    }

    /// Whether the innermost array or object ends behind the element or member that was just read; if not, the comma is
    /// read.
    #[inline(always)]
    pub(super) fn is_last(&mut self, kind: Kind) -> Result<bool, JsonError> {
        let (at, byte) = self.behind_whitespace(self.at);
        match byte {
            Some(b',') => {
                self.at = at + 1;
                Ok(false)
            }
            Some(close) if close == kind.close() => {
                self.close(at);
                Ok(true)
            }
            _ => fail(at, "expected a comma or the end of the array or object"),
        }
    }

    /// Makes sure that nothing follows the outermost value.
    pub(crate) fn end(&mut self) -> Result<(), JsonError> {
        match self.behind_whitespace(self.at) {
            (_, None) => Ok(()),
            (at, Some(_)) => fail(at, "something follows the end"),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The place of the first byte from `at` on that is not white space, and that byte.
    #[inline(always)]
    fn behind_whitespace(&self, at: usize) -> (usize, Option<u8>) {
        match self.text.get(at) {
            Some(byte) if *byte > b' ' => (at, Some(*byte)),
            _ => behind_whitespace(self.text, at),
        }
    }

    fn open(&mut self, kind: Kind) -> Result<Event<'a>, JsonError> {
        if self.depth == MAX_DEPTH {
            return Err(JsonError::TooDeep { offset: self.at });
        }
        self.at += 1;
        self.depth += 1;
        Ok(Event::Begin(kind))
    }

    /// The innermost array or object ends with the byte at `at`.
    fn close(&mut self, at: usize) {
        self.at = at + 1;
        self.depth -= 1;
    }

    fn word(&mut self, word: &[u8], event: Event<'a>) -> Result<Event<'a>, JsonError> {
        if !self.rest().starts_with(word) {
            return fail(self.at, "expected a value");
        }
        self.at += word.len();
        Ok(event)
    }

    fn number(&mut self) -> Result<Number<'a>, JsonError> {
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
        Ok(Number(self.text.get(start..self.at).unwrap_or_default()))
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        match self.at - start {
            0 => fail(self.at, "expected a digit"),
            _ => Ok(()),
        }
    }

    /// The string whose first quote is at `start`, and where it ends.
    #[inline(always)]
    fn string(&self, start: usize) -> Result<(Text<'a>, usize), JsonError> {
        let start = start + 1;
        let Some(rest) = self.text.get(start..) else {
            return fail(start, string::fault(None));
        };
        match string::read(rest) {
            Ok(text) => Ok((text, start + text.raw.len() + 1)),
            Err(valid) => {
                let at = start + valid;
                fail(at, string::fault(self.text.get(at).copied()))
            }
        }
    }
}

// These two take no reader: one whose address is known elsewhere could not be kept in registers.

#[cold]
fn fail<T>(offset: usize, what: &'static str) -> Result<T, JsonError> {
    Err(JsonError::Syntax { offset, what })
}

/// See [`Reader::behind_whitespace`].
#[inline(never)]
fn behind_whitespace(text: &[u8], at: usize) -> (usize, Option<u8>) {
    let rest = text.get(at..).unwrap_or_default();
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\n' | b'\t' | b'\r');
    let at = at + rest.iter().take_while(is_space).count();
    (at, text.get(at).copied())
}

impl Kind {
    const fn close(self) -> u8 {
        match self {
            Self::Array => b']',
            Self::Object => b'}',
        }
    }
}
