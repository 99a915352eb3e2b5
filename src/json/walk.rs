//! Reading arrays and objects by their elements and members.

use std::ops::Range;

use super::{
    reader::{Event, JsonError, Kind, Reader, Value},
    text::Text,
    tokens::Tokens,
};

/// A member of an object, up to the first token of its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    pub(crate) name: Text<'a>,
    /// The key, with its quotes.
    pub(crate) key: Range<usize>,
    pub(crate) value: Value<'a>,
}

impl<'a> Reader<'a> {
    /// Reads the value that begins with `first`, and hands over each member if it is an object. What `each` does not read
    /// of a member's value is skipped.
    #[inline]
    pub(crate) fn members<E: From<JsonError>>(
        &mut self,
        first: Event<'a>,
        mut each: impl FnMut(&mut Self, Member<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !matches!(first, Event::Begin(Kind::Object)) {
            return Ok(self.skip(first)?);
        }
        if self.is_empty(Kind::Object) {
            return Ok(());
        }
        loop {
            let (name, key) = self.key()?;
            let value = self.value()?;
            each(self, Member { name, key, value })?;
            self.skip_unread(&value)?;
            if self.is_last(Kind::Object)? {
                return Ok(());
            }
        }
    }

    /// The same with each element, if the value is an array.
    #[inline]
    pub(crate) fn elements<E: From<JsonError>>(
        &mut self,
        first: Event<'a>,
        mut each: impl FnMut(&mut Self, Value<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !matches!(first, Event::Begin(Kind::Array)) {
            return Ok(self.skip(first)?);
        }
        if self.is_empty(Kind::Array) {
            return Ok(());
        }
        loop {
            let element = self.value()?;
            each(self, element)?;
            self.skip_unread(&element)?;
            if self.is_last(Kind::Array)? {
                return Ok(());
            }
        }
    }

    /// Reads to the end of the value that begins with `first`.
    #[inline]
    pub(crate) fn skip(&mut self, first: Event<'_>) -> Result<(), JsonError> {
        match first {
            Event::Begin(kind) => self.skip_open(kind),
            _ => Ok(()),
        }
    }

    /// Reads to the end of a value, unless that is read already.
    #[inline]
    pub(crate) fn skip_unread(&mut self, value: &Value<'_>) -> Result<(), JsonError> {
        match self.depth() > value.depth {
            true => self.skip(value.first),
            false => Ok(()),
        }
    }

    fn skip_open(&mut self, kind: Kind) -> Result<(), JsonError> {
        self.visit(Event::Begin(kind), |_| {})
    }

    /// Reads to the end of the value that begins with `first`, and hands over each token inside of it.
    pub(crate) fn visit(
        &mut self,
        first: Event<'_>,
        mut each: impl FnMut(Event<'a>),
    ) -> Result<(), JsonError> {
        let Event::Begin(kind) = first else {
            return Ok(());
        };
        let mut tokens = Tokens::inside(self.clone(), kind);
        let depth = self.depth() - 1;
        while let Some(token) = tokens.next()? {
            if token.depth == depth {
                break;
            }
            each(token.event);
        }
        *self = tokens.into_reader();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_elements_are_handed_over_and_the_rest_is_skipped() {
        let text = r#"{"a":[1,{"b":[]},"x",[]],"c":{"d":[2]},"e":3}"#;
        let mut seen = Vec::new();
        let mut reader = Reader::new(text.as_bytes());
        let first = reader.value().unwrap();
        let read = reader.members(first.first, |reader, member| {
            seen.push(&text[member.key]);
            if member.name.raw == b"a" {
                reader.elements(member.value.first, |reader, element| {
                    reader.skip(element.first)?;
                    seen.push(&text[element.start..reader.at()]);
                    Ok::<_, JsonError>(())
                })?;
            }
            Ok::<_, JsonError>(())
        });
        assert_eq!(read, Ok(()));
        let expected = [
            r#""a""#,
            "1",
            r#"{"b":[]}"#,
            r#""x""#,
            "[]",
            r#""c""#,
            r#""e""#,
        ];
        assert_eq!(seen, expected);
        assert_eq!(reader.end(), Ok(()));
    }
}
