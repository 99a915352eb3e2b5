//! Reading arrays and objects by their elements and members.

use std::ops::Range;

use super::{
    reader::{Event, JsonError, Kind, Reader, Token},
    text::Text,
};

/// A member of an object, up to the first token of its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    pub(crate) name: Text<'a>,
    /// The key, with its quotes.
    pub(crate) key: Range<usize>,
    pub(crate) value: Token<'a>,
}

impl<'a> Reader<'a> {
    /// Reads the value that begins with `first`, and hands over each member if it is an object. What `each` does not read
    /// of a member's value is skipped.
    pub(crate) fn members<E: From<JsonError>>(
        &mut self,
        first: &Token<'a>,
        mut each: impl FnMut(&mut Self, &Member<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        if first.event != Event::Begin(Kind::Object) {
            return Ok(self.skip(first)?);
        }
        while let Some(token) = self.next()? {
            let Event::Key(name) = token.event else {
                break;
            };
            self.skip_whitespace();
            let member = Member {
                name,
                key: token.start..token.end,
                value: self.read_value()?,
            };
            each(self, &member)?;
            self.skip_unread(&member.value)?;
        }
        Ok(())
    }

    /// The same with each element, if the value is an array.
    pub(crate) fn elements<E: From<JsonError>>(
        &mut self,
        first: &Token<'a>,
        mut each: impl FnMut(&mut Self, &Token<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        if first.event != Event::Begin(Kind::Array) {
            return Ok(self.skip(first)?);
        }
        while let Some(element) = self.next()? {
            if let Event::End(_) = element.event {
                break;
            }
            each(self, &element)?;
            self.skip_unread(&element)?;
        }
        Ok(())
    }

    /// Reads to the end of a value, unless something of it is read already.
    pub(crate) fn skip_unread(&mut self, first: &Token<'_>) -> Result<(), JsonError> {
        match self.at() == first.end {
            true => self.skip(first),
            false => Ok(()),
        }
    }

    /// Reads to the end of the value that begins with `first`.
    pub(crate) fn skip(&mut self, first: &Token<'_>) -> Result<(), JsonError> {
        self.visit(first, |_| {})
    }

    /// The same, and hands over each token inside of the value.
    pub(crate) fn visit(
        &mut self,
        first: &Token<'_>,
        mut each: impl FnMut(Event<'a>),
    ) -> Result<(), JsonError> {
        if !matches!(first.event, Event::Begin(_)) {
            return Ok(());
        }
        while let Some(token) = self.next()? {
            if token.depth == first.depth {
                break;
            }
            each(token.event);
        }
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
        let mut reader = Reader::new(text);
        let first = reader.next().unwrap().unwrap();
        let read = reader.members(&first, |reader, member| {
            seen.push(&text[member.key.clone()]);
            if member.name.raw == "a" {
                reader.elements(&member.value, |reader, element| {
                    reader.skip(element)?;
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
        assert_eq!(reader.next(), Ok(None));
    }
}
