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
        let byte = self.skip_whitespace();
        let (start, depth) = (self.at, self.depth);
        let first = match byte {
            Some(b'"') => Event::Text(self.string()?),
            Some(b'{') => self.open(Kind::Object)?,
            Some(b'[') => self.open(Kind::Array)?,
            Some(b'-' | b'0'..=b'9') => Event::Number(self.number()?),
            Some(b't') => self.word(b"true", Event::Bool(true))?,
            Some(b'f') => self.word(b"false", Event::Bool(false))?,
            Some(b'n') => self.word(b"null", Event::Null)?,
            _ => return self.fail("expected a value"),
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
        let byte = self.skip_whitespace();
        let start = self.at;
        if byte != Some(b'"') {
            return self.fail("expected a key");
        }
        let key = self.string()?;
        let span = start..self.at;
        if self.skip_whitespace() != Some(b':') {
            return self.fail("expected a colon");
        }
        self.at += 1;
        Ok((key, span))
    }

    /// Whether the array or object that was just opened ends here.
    pub(super) fn is_empty(&mut self, kind: Kind) -> bool {
        let is_empty = self.skip_whitespace() == Some(kind.close());
        if is_empty {
            self.close();
        }
        is_empty
    }

    /// Whether the innermost array or object ends behind the element or member that was just read; if not, the comma is
    /// read.
    #[inline(always)]
    pub(super) fn is_last(&mut self, kind: Kind) -> Result<bool, JsonError> {
        match self.skip_whitespace() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(close) if close == kind.close() => {
                self.close();
                Ok(true)
            }
            _ => self.fail("expected a comma or the end of the array or object"),
        }
    }

    /// Makes sure that nothing follows the outermost value.
    pub(crate) fn end(&mut self) -> Result<(), JsonError> {
        match self.skip_whitespace() {
            None => Ok(()),
            Some(_) => self.fail("something follows the end"),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    #[cold]
    fn fail<T>(&self, what: &'static str) -> Result<T, JsonError> {
        Err(JsonError::Syntax {
            offset: self.at,
            what,
        })
    }

    /// The first byte that is not white space.
    #[inline(always)]
    fn skip_whitespace(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                byte => return byte,
            }
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

    fn close(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    fn word(&mut self, word: &[u8], event: Event<'a>) -> Result<Event<'a>, JsonError> {
        if !self.rest().starts_with(word) {
            return self.fail("expected a value");
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
            0 => self.fail("expected a digit"),
            _ => Ok(()),
        }
    }

    #[inline(always)]
    fn string(&mut self) -> Result<Text<'a>, JsonError> {
        self.at += 1;
        match string::read(self.rest()) {
            Ok(text) => {
                self.at += text.raw.len() + 1;
                Ok(text)
            }
            Err(valid) => {
                self.at += valid;
                self.fail(string::fault(self.peek()))
            }
        }
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
