//! The law of the rewrite, told apart from how it is done: what a body must have become.
//!
//! Written with nothing but `serde_json` and the standard library, and shared with the fuzz target.

use std::{collections::HashMap, fmt, ops::Range};

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object, in order and with duplicates, each with its key and value as written.
struct Members<'a>(Vec<(&'a str, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(&'de str, &'de str)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    members.push((key.get(), value.get()));
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(InOrder).map(Self)
    }
}

/// Whether the reference takes `body` for JSON.
pub(super) fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(body).is_ok()
}

/// A key as a parser sees it. One that no parser can make a string of is seen as it is written.
fn unescape(key: &str) -> String {
    serde_json::from_str(key).unwrap_or_else(|_| key.to_owned())
}

fn fold(key: &str) -> String {
    let upper = key.replace('\u{130}', "i").to_uppercase();
    upper.to_lowercase()
}

/// Where `part`, a slice of `whole`, stands in it.
fn place(whole: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let end = start + part.len();
    (end <= whole.len()).then_some(start..end)
}

/// Asserts that `segments` are what `body`, a JSON object, must become for `model`.
pub(super) fn assert_rewritten(body: &Bytes, model: &str, segments: &[Bytes]) {
    let model = serde_json::to_string(model).expect("a string is JSON");
    let before: Members<'_> = serde_json::from_slice(body).expect("the body is an object");
    let joined = segments.concat();
    let after: Members<'_> = serde_json::from_slice(&joined).expect("what is sent is an object");

    // The same members in the same order, but for what must change.
    let has_model = before.0.iter().any(|(key, _)| unescape(key) == "model");
    let inserted = (!has_model).then_some(("\"model\"", &*model));
    let kept = before
        .0
        .iter()
        .filter_map(|&(key, value)| match &*fold(&unescape(key)) {
            "models" | "route" | "plugins" | "web_search_options" => None,
            "model" => Some((key, &*model)),
            _ => Some((key, value)),
        });
    let expected: Vec<_> = inserted.into_iter().chain(kept).collect();
    assert_eq!(after.0, expected);

    // So whether the first of two equal keys counts or the last, the one model is ours.
    let last: HashMap<_, _> = after
        .0
        .iter()
        .map(|(key, value)| (unescape(key), *value))
        .collect();
    let first: HashMap<_, _> = after
        .0
        .iter()
        .rev()
        .map(|(key, value)| (unescape(key), *value))
        .collect();
    assert_eq!(first["model"], model);
    assert_eq!(last["model"], model);

    // Every byte is a byte of the body in its old order, or of our own model.
    let mut at = 0;
    let mut gone = Vec::new();
    for segment in segments {
        match place(body, segment) {
            Some(range) => {
                assert!(range.start >= at, "the body's bytes are out of order");
                gone.push(at..range.start);
                at = range.end;
            }
            None => {
                let ours = segment.strip_prefix(b"\"model\":").unwrap_or(segment);
                let ours = ours.strip_suffix(b",").unwrap_or(ours);
                assert_eq!(ours, model.as_bytes(), "bytes of the body were copied");
            }
        }
    }
    gone.push(at..body.len());

    // What is gone is members that must change, and commas and space between them.
    let touched: Vec<_> = before
        .0
        .iter()
        .filter_map(|(key, value)| {
            let start = match &*fold(&unescape(key)) {
                "models" | "route" | "plugins" | "web_search_options" => key,
                "model" => value,
                _ => return None,
            };
            let start = place(body, start.as_bytes())?.start;
            Some(start..place(body, value.as_bytes())?.end)
        })
        .collect();
    for at in gone.into_iter().flatten() {
        let between = matches!(body[at], b',' | b' ' | b'\n' | b'\t' | b'\r');
        assert!(
            between || touched.iter().any(|range| range.contains(&at)),
            "byte {at} is missing"
        );
    }
}
