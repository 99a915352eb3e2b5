//! JSON texts of others, taken as a whole.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// Whether `text` is JSON by structure alone, however deep it nests.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_surrogate_pair_is_replaced_and_a_whole_one_stays() {
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
            let json = format!("[\"{text}\"]");
            let mended = without_lone_surrogates(&json);
            let strings: Vec<String> = serde_json::from_str(&mended).unwrap();
            assert_eq!(strings, [read], "{text}");
        }
        for broken in [r#"{"name":"\"#, r#"{"name":"\ud8"#, r"\ä", "\\"] {
            assert_eq!(without_lone_surrogates(broken), broken);
        }
    }

    #[test]
    fn depth_is_no_fault() {
        assert!(is_json(&("[".repeat(100_000) + &"]".repeat(100_000))));
    }
}
