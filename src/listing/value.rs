//! The values of an entry's fields, read leniently: what is not what it should be is not there.

use serde::Deserialize;
use serde_json::value::RawValue;

pub(crate) fn object<'a, T: Default + Deserialize<'a>>(raw: Option<&'a RawValue>) -> T {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

pub(crate) fn string(raw: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(raw?.get()).ok()
}

pub(crate) fn boolean(raw: Option<&RawValue>) -> Option<bool> {
    serde_json::from_str(raw?.get()).ok()
}

/// The strings of a list; of anything else none, which states nothing.
pub(crate) fn strings(raw: Option<&RawValue>) -> Vec<String> {
    object::<Vec<&RawValue>>(raw)
        .into_iter()
        .filter_map(|word| string(Some(word)))
        .collect()
}

/// The smallest count that is stated, else 0: several names of one limit are promises, and the least is kept.
pub(crate) fn smallest(counts: impl IntoIterator<Item = u64>) -> u64 {
    let stated = counts.into_iter().filter(|&count| count > 0);
    stated.min().unwrap_or(0)
}

/// A count, or 0 where none is stated or it is absurd: negative, broken, or beyond any model of this decade.
pub(crate) fn count(raw: Option<&RawValue>) -> u64 {
    const ABSURD: u64 = 1 << 40;
    raw.and_then(|raw| number(raw.get()).parse().ok())
        .filter(|&count| count < ABSURD)
        .unwrap_or(0)
}

/// A number as it is written, without the fraction that is none: Cohere's counts are doubles, `128000.0`.
fn number(text: &str) -> &str {
    match text.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => whole,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absurd_count_is_unknown() {
        let count = |json| count(Some(serde_json::from_str(json).expect("test JSON")));
        assert_eq!(count("131072"), 131_072);
        assert_eq!(count("128000.0"), 128_000);
        for absurd in [
            "0",
            "-1",
            "1.5",
            "1e400",
            "99999999999999999999",
            "1099511627776",
            "true",
            "{}",
        ] {
            assert_eq!(count(absurd), 0, "{absurd}");
        }
    }
}
