//! JSON that may have been cut short.

use serde_json::Value;

use crate::json::without_lone_surrogates;

/// A text is no JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotJson {
    /// It may be the beginning of one.
    pub(super) is_cut: bool,
}

/// Reads a whole JSON document. Half a surrogate pair (`"\ud83d"`) reads as U+FFFD, because upstreams cut emoji in two.
pub(super) fn parse(text: &str) -> Result<Value, NotJson> {
    serde_json::from_str(&without_lone_surrogates(text)).map_err(|error| NotJson {
        is_cut: error.is_eof(),
    })
}

/// Reads the whole values of a document that was cut short; with `keep_cut` also the string in which it was cut, if that
/// is a value.
pub(super) fn close(text: &str, keep_cut: bool) -> Option<Value> {
    /// The longest escape, of which a part may be left at the end: a surrogate pair.
    const LONGEST_ESCAPE: usize = 12;

    let open = Open::of(text);
    let brackets: String = open.brackets.iter().rev().collect();
    if !keep_cut {
        return parse(&format!("{}{brackets}", &text[..open.whole])).ok();
    }
    let starts = (0..=LONGEST_ESCAPE).filter_map(|cut| text.get(..text.len().checked_sub(cut)?));
    let mut starts = starts.filter(|_| open.in_value);
    starts.find_map(|start| parse(&format!("{start}\"{brackets}")).ok())
}

/// The longest beginning of a text that has at most `most` bytes.
pub(super) fn prefix(text: &str, most: usize) -> &str {
    let ends = (0..=most.min(text.len())).rev();
    let end = ends.into_iter().find(|&at| text.is_char_boundary(at));
    &text[..end.unwrap_or_default()]
}

/// What is open at the end of a document that was cut short.
#[derive(Default)]
struct Open {
    /// The brackets that would close it, the innermost last.
    brackets: Vec<char>,
    /// The end of the last value that is whole, or of the last bracket that opened one.
    whole: usize,
    /// It was cut in a string that is a value.
    in_value: bool,
}

impl Open {
    fn of(text: &str) -> Self {
        let mut open = Self::default();
        let (mut in_string, mut escaped, mut is_key) = (false, false, false);
        for (at, byte) in text.bytes().enumerate() {
            if in_string {
                in_string = byte != b'"' || escaped;
                escaped = byte == b'\\' && !escaped;
                if !in_string && !is_key {
                    open.whole = at + 1;
                }
                continue;
            }
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => {
                    open.brackets.push(if byte == b'{' { '}' } else { ']' });
                    open.whole = at + 1;
                    is_key = byte == b'{';
                }
                b'}' | b']' => {
                    open.brackets.pop();
                    open.whole = at + 1;
                    is_key = false;
                }
                b',' => {
                    open.whole = at;
                    is_key = open.brackets.last() == Some(&'}');
                }
                b':' => is_key = false,
                _ => {}
            }
        }
        open.in_value = in_string && !is_key;
        open
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_that_was_cut_keeps_what_is_whole() {
        for (text, whole, with_cut) in [
            (
                r#"{"a":1,"b":{"c":"d"},"e":"f"#,
                json!({"a":1,"b":{"c":"d"}}),
                Some(json!({"a":1,"b":{"c":"d"},"e":"f"})),
            ),
            (
                r#"[{"a":"x\"]}","b":["c"#,
                json!([{"a":"x\"]}","b":[]}]),
                Some(json!([{"a":"x\"]}","b":["c"]}])),
            ),
            (r#"{"a":12"#, json!({}), None),
            (r#"{"a":tru"#, json!({}), None),
            (r#"{"a":[1,2],"ke"#, json!({"a":[1,2]}), None),
            (r#"{"a":1,"b""#, json!({"a":1}), None),
            (r#"{"a":1,"b":"#, json!({"a":1}), None),
            (r#"{"a":"b\u00e"#, json!({}), Some(json!({"a":"b"}))),
            (
                r#"{"a":"b\ud83d\ud"#,
                json!({}),
                Some(json!({"a":"b\u{fffd}"})),
            ),
            (r#"{"a":"b\"#, json!({}), Some(json!({"a":"b"}))),
        ] {
            assert_eq!(parse(text), Err(NotJson { is_cut: true }), "{text}");
            assert_eq!(close(text, false), Some(whole), "{text}");
            assert_eq!(close(text, true), with_cut, "{text}");
        }
        assert_eq!(parse("[1] x"), Err(NotJson { is_cut: false }));
    }

    proptest! {
        #[test]
        fn a_document_reads_wherever_it_was_cut(words in prop::collection::vec("\\PC{0,8}", 0..5), at in any::<prop::sample::Index>()) {
            let text = json!({ "a": words, "b": { "c": [1, null, words] }, "d": 1.5 }).to_string();
            let at = at.index(text.len() - 1) + 1;
            if let Some(start) = text.get(..at) {
                prop_assert!(close(start, false).is_some(), "{}", start);
            }
        }

        #[test]
        fn no_text_panics(text in "[\\[\\]{}\",:\\\\u0-9a ]{0,40}") {
            let _ = (parse(&text), close(&text, false), close(&text, true));
        }
    }
}
