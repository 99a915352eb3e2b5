//! Reading arrays and objects by their elements and members.

use std::ops::Range;

use super::{
    nesting::Nesting,
    reader::{Event, JsonError, Kind, Reader, Value},
    text::Text,
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
    #[inline]
    pub(crate) fn visit(
        &mut self,
        first: Event<'_>,
        mut each: impl FnMut(Event<'a>),
    ) -> Result<(), JsonError> {
        let Event::Begin(mut kind) = first else {
            return Ok(());
        };
        let outside = self.depth() - 1;
        let mut nesting = Nesting::default();
        nesting.set(outside, kind);
        let mut ends = self.is_empty(kind);
        loop {
            while ends {
                if self.depth() == outside {
                    return Ok(());
                }
                each(Event::End(kind));
                kind = nesting.get(self.depth() - 1);
                ends = self.is_last(kind)?;
            }
            if kind == Kind::Object {
                each(Event::Key(self.key()?.0));
            }
            let value = self.value()?;
            each(value.first);
            ends = match value.first {
                Event::Begin(inner) => {
                    kind = inner;
                    nesting.set(value.depth, kind);
                    self.is_empty(kind)
                }
                _ => self.is_last(kind)?,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::json::Tokens;

    /// The events of a text as [`Tokens`] reads them, or as a visit does.
    fn events(text: &str, visits: bool) -> Result<Vec<Event<'_>>, JsonError> {
        let mut events = Vec::new();
        if visits {
            let mut reader = Reader::new(text.as_bytes());
            let first = reader.value()?.first;
            events.push(first);
            reader.visit(first, |event| events.push(event))?;
            if let Event::Begin(kind) = first {
                events.push(Event::End(kind));
            }
            reader.end()?;
        } else {
            let mut tokens = Tokens::new(text.as_bytes());
            while let Some(token) = tokens.next()? {
                events.push(token.event);
            }
        }
        Ok(events)
    }

    proptest! {
        #[test]
        fn a_visit_sees_the_tokens_of_the_text(
            text in Just("1".to_owned()).prop_recursive(6, 60, 4, |inner| prop_oneof![
                vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(" , "))),
                vec(inner, 0..4).prop_map(|all| {
                    let members = all.iter().map(|value| format!("\"a\\n\":{value}"));
                    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
                }),
            ]),
            change in any::<(prop::sample::Index, bool, prop::sample::Index)>(),
        ) {
            let valid = events(&text, false);
            prop_assert!(valid.is_ok());
            prop_assert_eq!(&valid, &events(&text, true));
            // One byte is another one, in most cases at a place where it is wrong.
            let (at, changes, byte) = change;
            let mut changed = text.clone();
            if changes {
                let at = at.index(text.len());
                let other = &["[", "]", "{", "}", ",", ":", " ", "x"][byte.index(8)];
                changed.replace_range(at..=at, other);
            }
            prop_assert_eq!(events(&changed, false), events(&changed, true));
        }
    }

    #[test]
    fn a_visit_goes_as_deep_as_arrays_may_nest() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            for deep in [511, 512, 513] {
                let text = format!("{}1{}", open.repeat(deep), close.repeat(deep));
                let (tokens, visited) = (events(&text, false), events(&text, true));
                assert_eq!(tokens, visited, "{deep}");
                assert_eq!(visited.is_ok(), deep <= 512);
            }
        }
    }

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
