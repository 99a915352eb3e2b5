//! Keeps a provider's credentials out of what is passed on: bodies, events, headers and messages.
//!
//! The only place that knows how a credential may be spelled. A spelling is undone before the search: text that holds
//! escapes of JSON (`\u002b`, `\/`) is searched again without them, and once more for JSON in a string of JSON.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName};
use memchr::{memchr, memchr_iter, memmem};

use crate::provider::Provider;

const REDACTED: &str = "[redacted]";

/// A secret shorter than this is not searched for: a dummy such as `x`, which local servers are given, stands in every
/// second word.
const SHORTEST: usize = 8;

/// JSON in a string of JSON in a string of JSON: routers relay their upstream's error as a string.
const DEEPEST: usize = 3;

/// What frames a response. None of these can carry a credential, and a client needs them.
const STRUCTURAL: &[&str] = &[
    "content-type",
    "content-length",
    "content-encoding",
    "date",
    "retry-after",
    "retry-after-ms",
    "trailer",
];

/// What of a provider is looked for.
fn secrets(provider: &Provider) -> impl Iterator<Item = &str> {
    provider.secrets().filter(|secret| secret.len() >= SHORTEST)
}

/// The bytes with every occurrence of a credential of the provider replaced, however JSON spells it. Bytes without one
/// are not copied.
pub(crate) fn redact(bytes: &Bytes, provider: &Provider) -> Bytes {
    match redacted(bytes, provider, word) {
        Some(bytes) => bytes.into(),
        None => bytes.clone(),
    }
}

/// The same for a text.
pub(crate) fn redact_text(text: &str, provider: &Provider) -> String {
    match redacted(text.as_bytes(), provider, word) {
        // A match begins and ends where characters do, since a secret does.
        Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        None => text.to_owned(),
    }
}

/// Removes headers that echo a credential.
pub(crate) fn redact_headers(headers: &mut HeaderMap, provider: &Provider) {
    let echoes: Vec<HeaderName> = headers
        .iter()
        .filter(|(name, _)| !STRUCTURAL.contains(&name.as_str()))
        .filter(|(_, value)| !matches(value.as_bytes(), provider).is_empty())
        .map(|(name, _)| name.clone())
        .collect();
    for name in echoes {
        headers.remove(name);
    }
}

fn word(_: usize) -> Cow<'static, str> {
    REDACTED.into()
}

/// Of the same length as what it replaces.
fn mask(length: usize) -> Cow<'static, str> {
    match REDACTED.get(..length) {
        Some(cut) => cut.into(),
        None => format!("{REDACTED:*<length$}").into(),
    }
}

fn redacted(
    bytes: &[u8],
    provider: &Provider,
    instead: fn(usize) -> Cow<'static, str>,
) -> Option<Vec<u8>> {
    let matches = matches(bytes, provider);
    if matches.is_empty() {
        return None;
    }
    let mut redacted = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for (start, end) in matches {
        redacted.extend_from_slice(&bytes[from..start]);
        redacted.extend_from_slice(instead(end - start).as_bytes());
        from = end;
    }
    redacted.extend_from_slice(&bytes[from..]);
    Some(redacted)
}

/// Where credentials stand, in order. Those that overlap are one: a password ends the pair of user and password.
fn matches(bytes: &[u8], provider: &Provider) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut text = Unescaped::of(bytes);
    for depth in 0..=DEEPEST {
        for secret in secrets(provider) {
            let mut from = 0;
            while let Some(at) = memmem::find(&text.bytes[from..], secret.as_bytes()) {
                let end = from + at + secret.len();
                found.push((text.origin(from + at), text.origin(end)));
                from = end;
            }
        }
        if depth == DEEPEST || !has_escapes(&text.bytes) {
            break;
        }
        text = text.unescaped();
    }
    found.sort_unstable();
    found.dedup_by(|next, last| {
        let overlaps = next.0 < last.1;
        if overlaps {
            last.1 = last.1.max(next.1);
        }
        overlaps
    });
    found
}

/// Whether there is an escape that could stand in a credential. Line feeds and quotes do not.
fn has_escapes(bytes: &[u8]) -> bool {
    memchr_iter(b'\\', bytes).any(|at| matches!(bytes.get(at + 1), Some(b'u' | b'/' | b'\\')))
}

/// A text with its escapes undone, and where each of its bytes came from.
struct Unescaped<'a> {
    bytes: Cow<'a, [u8]>,
    /// The origins of all bytes, and of the end; none where nothing was undone yet.
    origins: Vec<usize>,
}

impl<'a> Unescaped<'a> {
    const fn of(bytes: &'a [u8]) -> Self {
        Self {
            bytes: Cow::Borrowed(bytes),
            origins: Vec::new(),
        }
    }

    fn origin(&self, at: usize) -> usize {
        self.origins.get(at).copied().unwrap_or(at)
    }

    /// One level less.
    fn unescaped(&self) -> Self {
        let source = &*self.bytes;
        let mut bytes = Vec::with_capacity(source.len());
        let mut origins = Vec::with_capacity(source.len() + 1);
        let mut at = 0;
        while at < source.len() {
            let plain = memchr(b'\\', &source[at..]).unwrap_or(source.len() - at);
            bytes.extend_from_slice(&source[at..at + plain]);
            origins.extend((at..at + plain).map(|at| self.origin(at)));
            at += plain;
            let Some(&escaped) = source.get(at + 1) else {
                // A backslash at the very end, or none.
                bytes.extend_from_slice(&source[at..]);
                origins.extend((at..source.len()).map(|at| self.origin(at)));
                break;
            };
            let (character, length) = match escaped {
                b'u' => match hex(source, at + 2) {
                    Some(character) => (character, 6),
                    None => ('\\', 1),
                },
                b'n' => ('\n', 2),
                b't' => ('\t', 2),
                b'r' => ('\r', 2),
                _ if escaped.is_ascii() => (char::from(escaped), 2),
                _ => ('\\', 1),
            };
            let mut buffer = [0; 4];
            let character = character.encode_utf8(&mut buffer).as_bytes();
            bytes.extend_from_slice(character);
            origins.extend(character.iter().map(|_| self.origin(at)));
            at += length;
        }
        origins.push(self.origin(source.len()));
        Self {
            bytes: Cow::Owned(bytes),
            origins,
        }
    }
}

/// The character of `\uXXXX`. Half a surrogate pair is none: a credential is sent in a header, and has no such characters.
fn hex(bytes: &[u8], at: usize) -> Option<char> {
    let digits = std::str::from_utf8(bytes.get(at..at + 4)?).ok()?;
    let digits = digits
        .bytes()
        .all(|b| b.is_ascii_hexdigit())
        .then_some(digits)?;
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}

/// Redacts a body as it passes, over the edges of its frames, and keeps its length: a credential gives way to as many
/// other characters.
///
/// Holds back at most [`HELD`](Self::HELD) bytes and the longest spelling of a credential.
#[derive(Clone, Debug)]
pub(crate) struct Redactor {
    provider: Provider,
    held: BytesMut,
    /// Whole lines pass at once, as those of a stream have to.
    by_lines: bool,
    /// The longest spelling of a credential.
    longest: usize,
}

impl Redactor {
    /// So much is held back until it is passed on in parts.
    const HELD: usize = 64 * 1024;

    /// A redactor for a body; none if there is nothing to look for.
    pub(crate) fn new(provider: &Provider, by_lines: bool) -> Option<Self> {
        let longest = secrets(provider).map(str::len).max()?;
        Some(Self {
            provider: provider.clone(),
            held: BytesMut::new(),
            by_lines,
            // Six bytes a character, and two for each backslash in a string in a string.
            longest: longest * (6 + DEEPEST * 2),
        })
    }

    /// Takes the next bytes; what of all so far may pass.
    pub(crate) fn push(&mut self, bytes: Bytes) -> Bytes {
        let lines = || memchr::memrchr2(b'\n', b'\r', &bytes).map_or(0, |at| at + 1);
        let ready = if self.by_lines { lines() } else { 0 };
        if self.held.is_empty() && ready == bytes.len() {
            return self.clean(bytes);
        }
        let ready = if ready > 0 {
            self.held.len() + ready
        } else {
            0
        };
        self.held.extend_from_slice(&bytes);
        let most = self.held.len().saturating_sub(self.longest);
        let ready = match self.held.len() - ready > Self::HELD {
            // A credential may begin in what stays, but none that begins in what passes ends there.
            true => self.cut_before_a_credential(most),
            false => ready,
        };
        let passed = self.held.split_to(ready).freeze();
        self.clean(passed)
    }

    /// The end: what is left.
    pub(crate) fn finish(&mut self) -> Bytes {
        let rest = self.held.split().freeze();
        self.clean(rest)
    }

    /// How many bytes are held back.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    fn cut_before_a_credential(&self, most: usize) -> usize {
        let matches = matches(&self.held, &self.provider);
        let across = matches
            .iter()
            .find(|&&(start, end)| start < most && end > most);
        across.map_or(most, |&(start, _)| start)
    }

    fn clean(&self, bytes: Bytes) -> Bytes {
        match redacted(&bytes, &self.provider, mask) {
            Some(redacted) => redacted.into(),
            None => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn provider(key: &str) -> Provider {
        let header = (
            HeaderName::from_static("x-api-key"),
            HeaderValue::from_static("second-secret"),
        );
        Provider::new("p")
            .base_url("http://p.test/v1")
            .key(key)
            .header(header.0, header.1)
            .build()
            .unwrap()
    }

    #[test]
    fn every_occurrence_goes_and_nothing_else() {
        let body = Bytes::from_static(b"bad key sk-12345, really: sk-12345! and second-secret");
        assert_eq!(
            redact(&body, &provider("sk-12345")),
            "bad key [redacted], really: [redacted]! and [redacted]"
        );
    }

    #[test]
    fn a_clean_body_is_not_copied() {
        let body = Bytes::from_static(br"fine \u0041");
        assert_eq!(redact(&body, &provider("sk-12345")).as_ptr(), body.as_ptr());
    }

    #[test]
    fn a_key_goes_however_json_writes_it() {
        let provider = provider("a/b+c=d\\e");
        for body in [
            r"a/b+c=d\e",
            r"a\/b+c=d\\e",
            r"a/b\u002Bc\u003Dd\u005ce",
            r"\u0061\u002fb\u002bc\u003dd\\e",
            // JSON in a string, and JSON in that.
            r"a\\/b\\u002bc=d\\\\e",
            r"a\\\\/b\\\\u002bc=d\\\\\\\\e",
        ] {
            assert_eq!(
                redact_text(&format!("<{body}>\\u00"), &provider),
                "<[redacted]>\\u00",
                "{body}"
            );
        }
    }

    #[test]
    fn credentials_that_overlap_go_as_one() {
        let provider = provider("12345678second");
        let text = redact_text("<12345678second-secret>", &provider);
        assert_eq!(text, "<[redacted]>");
        let mut redactor = Redactor::new(&provider, false).unwrap();
        let (out, _) = passed(&mut redactor, "<12345678second-secret>", 5);
        assert_eq!(out, "<[redacted]***********>");
    }

    #[test]
    fn a_dummy_key_is_not_searched_for() {
        for key in ["x", "none", "1234567"] {
            let body = Bytes::from(format!("text with {key} in it"));
            assert_eq!(redact(&body, &provider(key)), body);
        }
    }

    #[test]
    fn a_header_that_echoes_a_key_goes_unless_it_frames_the_response() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("x-request-id", "application/json-1"),
            ("x-other", "json"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        redact_headers(&mut headers, &provider("application/json"));
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-type", "x-other"]);
    }

    #[test]
    fn either_half_of_a_basic_credential_is_a_secret() {
        let sdnext = Provider::known("sdnext").expect("a known provider");
        let provider = sdnext.key("administrator:open sesame").build().unwrap();
        for echo in [
            "administrator:open sesame",
            "administrator",
            "open sesame",
            "YWRtaW5pc3RyYXRvcjpvcGVuIHNlc2FtZQ==",
        ] {
            let text = redact_text(&format!("who is {echo}?"), &provider);
            assert_eq!(text, "who is [redacted]?", "{echo}");
        }
    }

    fn passed(redactor: &mut Redactor, body: &str, size: usize) -> (String, usize) {
        let (mut out, mut most) = (Vec::new(), 0);
        for chunk in body.as_bytes().chunks(size) {
            out.extend(redactor.push(Bytes::copy_from_slice(chunk)));
            most = most.max(redactor.held());
        }
        out.extend(redactor.finish());
        (String::from_utf8(out).unwrap(), most)
    }

    #[test]
    fn a_key_that_is_split_over_frames_goes_and_the_length_stays() {
        let body = "data: {\"error\":\"bad key sk-12345-abc\"}\n\ndata: sk\\u002d12345-abc";
        for by_lines in [false, true] {
            for size in 1..=body.len() {
                let mut redactor = Redactor::new(&provider("sk-12345-abc"), by_lines).unwrap();
                let (out, _) = passed(&mut redactor, body, size);
                assert_eq!(
                    out, "data: {\"error\":\"bad key [redacted]**\"}\n\ndata: [redacted]*******",
                    "by {size}"
                );
            }
        }
    }

    #[test]
    fn a_line_passes_when_it_ends_and_no_later() {
        let mut redactor = Redactor::new(&provider("sk-12345"), true).unwrap();
        assert_eq!(
            redactor.push(Bytes::from_static(b"data: a\n\nda")),
            "data: a\n\n"
        );
        assert_eq!(redactor.push(Bytes::from_static(b"ta: b\n")), "data: b\n");
        assert_eq!(redactor.held(), 0);
    }

    #[test]
    fn a_long_body_passes_in_parts_and_no_key_in_it_is_cut() {
        let key = "sk-12345-abc";
        let body = format!("{}{key}", "x".repeat(70_000 - key.len() * 7)).repeat(4);
        for size in [1000, 4096, 60_000] {
            let mut redactor = Redactor::new(&provider(key), false).unwrap();
            let (out, most) = passed(&mut redactor, &body, size);
            assert_eq!(out, body.replace(key, "[redacted]**"));
            assert!(most <= Redactor::HELD + size, "{most}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_the_length_stays(pieces in prop::collection::vec(prop::sample::select(vec![&b"sk-12345"[..], b"\\", b"\\u", b"\\u00", b"73k-12345", b"\\/", b"\n", b"second-secret", "ä".as_bytes(), b"\xFF", b"\\ud83d"]), 0..40), size in 1..9_usize) {
            let body = pieces.concat();
            let mut redactor = Redactor::new(&provider("sk-12345"), false).unwrap();
            let mut out = Vec::new();
            for chunk in body.chunks(size) {
                out.extend(redactor.push(Bytes::copy_from_slice(chunk)));
            }
            out.extend(redactor.finish());
            prop_assert_eq!(out.len(), body.len());
            prop_assert!(memmem::find(&out, b"sk-12345").is_none());
        }
    }
}
