//! Reads JSON that others wrote, and takes what it can of it.
//!
//! A derived `Deserialize` fails as a whole when one field has an odd type, occurs twice, or when the text was cut
//! short. What providers send does all three, so the readers here are told of one field at a time, keep what they have
//! seen when the text ends early, and never build a tree.

use std::{borrow::Cow, fmt};

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

/// The key under which `serde_json` hands over a number when a dependent turned its `arbitrary_precision` on.
const ARBITRARY_PRECISION: &str = "$serde_json::private::Number";

/// Something that is told, piece by piece, what a JSON value holds.
///
/// An array tells of each of its elements as if it stood alone; null tells nothing.
pub(crate) trait Reads {
    /// A field of an object. Must take exactly one value out of `map`.
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let _ = key;
        skip(map)
    }

    /// A string.
    fn text(&mut self, _text: &str) {}

    /// A number.
    fn number(&mut self, _number: f64) {}

    /// True or false.
    fn truth(&mut self, _truth: bool) {}

    /// An object has ended: all its fields have been told.
    fn closed(&mut self) {}
}

/// Reads `json` into `reader`. Whether it was one whole JSON document; if not, the reader has what came before.
///
/// Half a surrogate pair (`"\ud83d"`), at which `serde_json` stops, reads as U+FFFD: upstreams cut emoji in two, and the
/// fields after it count.
pub(crate) fn read<T: Reads>(json: &str, reader: &mut T) -> bool {
    extent(json, reader) == Extent::Whole
}

/// How much of a JSON document a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of one.
    Whole,
    /// The beginning of one, which was cut short.
    Cut,
    /// It is none: what the reader was told may be JSON that a text in another format quotes.
    Other,
}

/// Reads `json` into `reader`, and says how much of a document it is.
pub(crate) fn extent<T: Reads>(json: &str, reader: &mut T) -> Extent {
    let json = without_lone_surrogates(json);
    let mut source = serde_json::Deserializer::from_str(&json);
    match Seed(reader).deserialize(&mut source) {
        Ok(()) if source.end().is_ok() => Extent::Whole,
        Err(error) if error.is_eof() => Extent::Cut,
        _ => Extent::Other,
    }
}

/// The text with `\ufffd` in the place of each escape that is half a surrogate pair; as long as it was, and copied only
/// if there is one.
pub(crate) fn without_lone_surrogates(json: &str) -> Cow<'_, str> {
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut lone = Vec::new();
    let mut at = 0;
    while let Some(next) = memchr::memchr(b'\\', &json.as_bytes()[at..]) {
        at += next;
        at += match unit(at) {
            Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => 12,
            Some(0xD800..=0xDFFF) => {
                lone.push(at);
                6
            }
            Some(_) => 6,
            // The backslash and what it escapes, which may be the first byte of a longer character.
            None => 2,
        };
        if at >= json.len() {
            break;
        }
    }
    if lone.is_empty() {
        return Cow::Borrowed(json);
    }
    let mut mended = String::with_capacity(json.len());
    let mut from = 0;
    for at in lone {
        mended.push_str(&json[from..at]);
        mended.push_str("\\ufffd");
        from = at + 6;
    }
    mended.push_str(&json[from..]);
    Cow::Owned(mended)
}

/// Whether `text` is JSON by structure alone: also where it nests too deep, which [`read`] gives up on.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Takes the value of a field into `reader`.
pub(crate) fn into<'de, A: MapAccess<'de>, T: Reads>(
    map: &mut A,
    reader: &mut T,
) -> Result<(), A::Error> {
    map.next_value_seed(Seed(reader))
}

/// Takes the value of a field into a new reader.
pub(crate) fn value<'de, A: MapAccess<'de>, T: Reads + Default>(
    map: &mut A,
) -> Result<T, A::Error> {
    let mut reader = T::default();
    into(map, &mut reader)?;
    Ok(reader)
}

/// Takes the value of a field and drops it.
pub(crate) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// Leads a deserializer to a reader.
struct Seed<'a, T>(&'a mut T);

impl<'de, T: Reads> DeserializeSeed<'de> for Seed<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de, T: Reads> Visitor<'de> for Seed<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            if key == ARBITRARY_PRECISION {
                let Key(number) = map.next_value()?;
                self.0.number(number.parse().unwrap_or(f64::NAN));
            } else {
                self.0.field(&key, &mut map)?;
            }
        }
        self.0.closed();
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Seed(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.text(text);
        Ok(())
    }

    fn visit_bool<E>(self, truth: bool) -> Result<(), E> {
        self.0.truth(truth);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.0.number(number);
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key, borrowed unless it holds an escape.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }

        source.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Names(Vec<String>);

    impl Reads for Names {
        fn field<'de, A: MapAccess<'de>>(
            &mut self,
            key: &str,
            map: &mut A,
        ) -> Result<(), A::Error> {
            match key {
                "name" => into(map, self),
                _ => skip(map),
            }
        }

        fn text(&mut self, text: &str) {
            self.0.push(text.to_owned());
        }
    }

    fn names(json: &str) -> (bool, Vec<String>) {
        let mut names = Names::default();
        let whole = read(json, &mut names);
        (whole, names.0)
    }

    #[test]
    fn a_field_that_occurs_twice_is_read_twice() {
        let (whole, names) = names(r#"{"name":"a","x":[{}],"na\u006de":["b",null,7]}"#);
        assert!(whole);
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn what_came_before_the_cut_is_kept() {
        let (whole, names) = names(r#"[{"name":"a"},{"name":"b","#);
        assert!(!whole);
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn half_a_surrogate_pair_hides_no_field_after_it() {
        for (text, read) in [
            (r"\ud83d", "\u{fffd}"),
            (r"\uDE00 x", "\u{fffd} x"),
            (r"\ud83d\u0061", "\u{fffd}a"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
            (r"\ud83d\n", "\u{fffd}\n"),
            (r"\\ud83d", r"\ud83d"),
            (r"\ud83d\ude00", "\u{1f600}"),
            (r"ä\ud83dä", "ä\u{fffd}ä"),
        ] {
            let json = format!(r#"[{{"name":"{text}"}},{{"name":"after"}}]"#);
            assert_eq!(
                names(&json),
                (true, vec![read.to_owned(), "after".into()]),
                "{text}"
            );
        }
        for broken in [r#"{"name":"\"#, r#"{"name":"\ud8"#, r"\ä", "\\"] {
            assert!(!names(broken).0, "{broken}");
        }
    }

    #[test]
    fn depth_is_an_error_and_no_overflow() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(!names(&deep).0);
        assert!(is_json(&deep));
    }
}
