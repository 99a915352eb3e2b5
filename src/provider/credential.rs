//! The credential of a provider: set on requests, and taken out of whatever comes back.
//!
//! A key is searched for as it is, as JSON escapes it (`\u002b`, `\/`), and in JSON in a string of JSON, because routers
//! relay the error of their upstream as a string. It gives way to as many other characters, so that the length of a
//! body stays.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use memchr::{memchr, memchr2_iter, memmem, memrchr2};

use super::{
    error::Fault,
    known::Auth,
    spelling::{LONGEST_CHARACTER, Spelled, spelled},
};

/// What stands in the place of a secret; the shorter in that of a secret of less than 10 bytes.
const REDACTED: [&[u8]; 2] = [b"[redacted]", b"redacted"];

/// The shortest secret that is searched for, in bytes: a dummy such as `x`, which local servers are given, stands in
/// every second word.
const SHORTEST: usize = 8;

/// Headers that frame a response. They cannot carry a credential, and a client needs them.
const STRUCTURAL: &[&str] = &[
    "content-type",
    "content-length",
    "content-encoding",
    "date",
    "retry-after",
    "retry-after-ms",
    "trailer",
];

/// What is sent to one provider only: its key, and the headers that its operator added.
pub(crate) struct Credential {
    /// The header that carries the key.
    key: Option<(HeaderName, HeaderValue)>,
    headers: HeaderMap,
    /// The key, what of it is sent, and the headers that may hold credentials, as far as they are searched for.
    secrets: Vec<String>,
}

impl Credential {
    pub(super) fn new(
        key: Option<&str>,
        auth: &Auth,
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Result<Self, Fault> {
        // An operator may put anything into a header, so none of them is for logs.
        let headers = headers.into_iter().map(|(name, mut value)| {
            value.set_sensitive(true);
            (name, value)
        });
        let headers: HeaderMap = headers.collect();
        let named = headers.iter().filter(|(name, _)| is_secret(name));
        let named = named.filter_map(|(_, value)| value.to_str().ok());
        let mut secrets: Vec<_> = named.flat_map(credentials_in).map(str::to_owned).collect();
        // The line end that a key brings along from a file is not part of it.
        let key = key.map(str::trim);
        secrets.extend(key.map(str::to_owned));
        let key = key.map(|key| {
            let fits = match auth {
                // A password may hold anything but control characters (RFC 7617, section 2).
                Auth::Basic => !key.contains(char::is_control),
                Auth::Bearer | Auth::Header { .. } => {
                    key.bytes().all(|byte| byte.is_ascii_graphic())
                }
            };
            let (name, value) = match auth {
                _ if key.is_empty() => return Err(Fault::EmptyKey),
                _ if !fits => return Err(Fault::Key),
                Auth::Bearer => (AUTHORIZATION, format!("Bearer {key}")),
                Auth::Basic => {
                    let sent = BASE64.encode(key);
                    let value = format!("Basic {sent}");
                    // A server that decodes it may echo the user or the password alone.
                    if let Some((user, password)) = key.split_once(':') {
                        secrets.extend([user.to_owned(), password.to_owned()]);
                    }
                    secrets.push(sent);
                    (AUTHORIZATION, value)
                }
                Auth::Header { name, prefix } => (name.clone(), format!("{prefix}{key}")),
            };
            let mut value = HeaderValue::try_from(value).map_err(|_| Fault::Key)?;
            value.set_sensitive(true);
            Ok((name, value))
        });
        let key = key.transpose()?;
        secrets.retain(|secret| secret.len() >= SHORTEST);
        secrets.sort_unstable();
        secrets.dedup();
        Ok(Self {
            key,
            headers,
            secrets,
        })
    }

    pub(crate) const fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Puts it on a request, and takes away the credential that the request came with.
    pub(crate) fn set(&self, headers: &mut HeaderMap) {
        headers.remove(AUTHORIZATION);
        let key = self.key.iter().map(|(name, value)| (name, value));
        for (name, value) in self.headers.iter().chain(key) {
            headers.insert(name, value.clone());
        }
    }

    /// Redacts bytes. Those without a secret are not copied.
    pub(crate) fn redact(&self, bytes: &Bytes) -> Bytes {
        match self.redacted(bytes) {
            Some(redacted) => redacted.into(),
            None => bytes.clone(),
        }
    }

    pub(crate) fn redact_text(&self, text: &str) -> String {
        match self.redacted(text.as_bytes()) {
            // A match begins and ends where characters do, because a secret does.
            Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            None => text.to_owned(),
        }
    }

    /// Removes headers that echo a secret.
    pub(crate) fn redact_headers(&self, headers: &mut HeaderMap) {
        let echoes: Vec<HeaderName> = headers
            .iter()
            .filter(|(name, _)| !STRUCTURAL.contains(&name.as_str()))
            .filter(|(_, value)| !self.find(value.as_bytes()).is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        for name in echoes {
            headers.remove(name);
        }
    }

    fn redacted(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let found = self.find(bytes);
        let mut redacted = (!found.is_empty()).then(|| bytes.to_vec())?;
        for (start, end) in found {
            mask(&mut redacted[start..end]);
        }
        Some(redacted)
    }

    /// Redacts a secret of which only the beginning came before the end of these bytes.
    fn redact_cut(&self, bytes: Bytes) -> Bytes {
        let start = self.safe_end(&bytes);
        if bytes.len() - start < SHORTEST {
            return bytes;
        }
        let mut redacted = bytes.to_vec();
        mask(&mut redacted[start..]);
        redacted.into()
    }

    /// Where secrets stand, in order. Those that overlap are one: a password ends the pair of user and password.
    fn find(&self, bytes: &[u8]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        // No spelling of a secret is shorter than itself; most values of headers are.
        let long_enough = |secret: &&String| secret.len() <= bytes.len();
        if !self.secrets.iter().any(|secret| long_enough(&secret)) {
            return found;
        }
        let has_escapes = memchr(b'\\', bytes).is_some();
        for secret in self.secrets.iter().filter(long_enough) {
            let first = secret.as_bytes()[0];
            if has_escapes {
                found.extend(memchr2_iter(first, b'\\', bytes).filter_map(|at| {
                    match spelled(&bytes[at..], secret) {
                        Spelled::Whole(length) => Some((at, at + length)),
                        _ => None,
                    }
                }));
            } else {
                let starts = memmem::find_iter(bytes, secret);
                found.extend(starts.map(|at| (at, at + secret.len())));
            }
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

    /// Where a secret may begin of which the end is yet to come; else the end of the bytes.
    fn safe_end(&self, bytes: &[u8]) -> usize {
        let begins = |secret: &String| {
            let window = bytes.len().saturating_sub(secret.len() * LONGEST_CHARACTER);
            let mut starts = memchr2_iter(secret.as_bytes()[0], b'\\', &bytes[window..]);
            let start = starts
                .find(|at| matches!(spelled(&bytes[window + at..], secret), Spelled::Beginning));
            start.map(|at| window + at)
        };
        let Some(end) = self.secrets.iter().filter_map(begins).min() else {
            return bytes.len();
        };
        // It may begin within another one, and both go as one.
        let found = self.find(bytes);
        let across = found
            .iter()
            .find(|(start, past)| *start < end && *past > end);
        let start = across.map_or(end, |(start, _)| *start);
        if bytes.len() - start > Redactor::MAX_LINE {
            end
        } else {
            start
        }
    }
}

/// The names of the headers, without their values.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("has_key", &self.has_key())
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

fn mask(echo: &mut [u8]) {
    echo.fill(b'*');
    if let Some(word) = REDACTED.iter().find(|word| word.len() <= echo.len()) {
        echo[..word.len()].copy_from_slice(word);
    }
}

/// Whether the name of a header says that its value is a credential.
fn is_secret(name: &HeaderName) -> bool {
    [
        "key",
        "token",
        "auth",
        "secret",
        "cookie",
        "pass",
        "credential",
    ]
    .iter()
    .any(|word| name.as_str().contains(word))
}

/// What an upstream may echo of the value of such a header: all of it, and each credential in it without the scheme or
/// the name before it (`Bearer …`, `session=…; …`).
fn credentials_in(value: &str) -> impl Iterator<Item = &str> {
    let words = value.split([' ', ';', ',']);
    let named = words
        .clone()
        .filter_map(|word| Some(word.split_once('=')?.1));
    std::iter::once(value)
        .chain(words)
        .chain(named.map(|value| value.trim_matches('"')))
}

/// A word that nearly every error has somewhere.
const ERROR: &[u8] = b"error";

fn has_error(bytes: &[u8]) -> bool {
    /// Prepared once, because every frame is searched.
    static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(ERROR));
    FINDER.find(bytes).is_some()
}

/// Redacts a body as it passes, over the edges of its frames.
///
/// Of a document it holds back only what may be the beginning of a secret; of a stream the line that has not ended yet, up
/// to [`MAX_LINE`](Self::MAX_LINE) bytes.
pub(crate) struct Redactor {
    credential: Arc<Credential>,
    held: BytesMut,
    is_stream: bool,
    /// From here on secrets are searched for: in an error from its beginning on; in an answer from the first word "error"
    /// on, in a stream from the first line with that word in it, or one that is too long to be held until it has ended.
    searching: bool,
}

impl Redactor {
    /// Parts of a longer line pass before it has ended.
    const MAX_LINE: usize = 4 * 1024;

    /// A redactor for the body of an error, or for an answer that may hold one; `None` if there is no secret to look for.
    pub(crate) fn new(
        credential: &Arc<Credential>,
        is_error: bool,
        is_stream: bool,
    ) -> Option<Self> {
        (!credential.secrets.is_empty()).then(|| Self {
            credential: Arc::clone(credential),
            held: BytesMut::new(),
            is_stream,
            searching: is_error,
        })
    }

    /// Takes the next bytes, and returns those of all so far that may pass.
    pub(crate) fn push(&mut self, bytes: Bytes) -> Bytes {
        let lines = self
            .is_stream
            .then(|| memrchr2(b'\n', b'\r', &bytes).map_or(0, |at| at + 1));
        if self.held.is_empty() {
            let ready = match lines {
                Some(end) => end,
                None => self.safe_end(&bytes),
            };
            if ready == bytes.len() {
                return self.clean(bytes);
            }
        }
        let before = self.held.len();
        self.held.extend_from_slice(&bytes);
        let lines = lines.map(|end| if end > 0 { before + end } else { 0 });
        let ready = match lines.filter(|end| self.held.len() - end <= Self::MAX_LINE) {
            Some(end) => end,
            None => {
                // A line of which a part has passed may be an error's all the same.
                self.searching |= self.is_stream;
                let held = std::mem::take(&mut self.held);
                let end = self.safe_end(&held);
                self.held = held;
                end
            }
        };
        let passed = self.held.split_to(ready).freeze();
        self.clean(passed)
    }

    /// The end: returns what is left.
    pub(crate) fn finish(&mut self) -> Bytes {
        let rest = self.held.split().freeze();
        let rest = self.clean(rest);
        match self.searching {
            true => self.credential.redact_cut(rest),
            false => rest,
        }
    }

    /// Where something may begin of which the end is yet to come: a secret, or the word from which on they are searched
    /// for.
    fn safe_end(&mut self, bytes: &[u8]) -> usize {
        self.searching = self.searching || has_error(bytes);
        if self.searching {
            return self.credential.safe_end(bytes);
        }
        let mut parts = (1..ERROR.len()).rev();
        let part = parts.find(|&part| bytes.ends_with(&ERROR[..part]));
        bytes.len() - part.unwrap_or(0)
    }

    /// How many bytes are held back.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    fn clean(&mut self, bytes: Bytes) -> Bytes {
        self.searching = self.searching || self.is_stream && has_error(&bytes);
        match self.searching {
            true => self.credential.redact(&bytes),
            false => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn credential(key: &str) -> Arc<Credential> {
        let header = (
            HeaderName::from_static("x-api-key"),
            HeaderValue::from_static("second-secret"),
        );
        Arc::new(Credential::new(Some(key), &Auth::Bearer, [header]).unwrap())
    }

    fn redacted(text: &str, key: &str) -> String {
        credential(key).redact_text(text)
    }

    fn redactor(key: &str, is_stream: bool) -> Redactor {
        Redactor::new(&credential(key), true, is_stream).unwrap()
    }

    #[test]
    fn a_key_is_trimmed_and_never_empty() {
        let new = |key| Credential::new(Some(key), &Auth::Bearer, []);
        let mut headers = HeaderMap::new();
        new("sk-1\n").unwrap().set(&mut headers);
        assert_eq!(headers[AUTHORIZATION], "Bearer sk-1");
        assert!(headers[AUTHORIZATION].is_sensitive());
        assert_eq!(new(" \n").err(), Some(Fault::EmptyKey));
        assert_eq!(new("sk 1").err(), Some(Fault::Key));
    }

    #[test]
    fn the_callers_credential_does_not_stay_beside_it() {
        for key in [None, Some("sk-1")] {
            let credential = Credential::new(key, &Auth::Bearer, []).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer caller"));
            credential.set(&mut headers);
            assert_eq!(headers.len(), usize::from(key.is_some()));
            assert_ne!(
                headers.get(AUTHORIZATION).map(HeaderValue::as_bytes),
                Some(&b"Bearer caller"[..])
            );
        }
    }

    #[test]
    fn a_basic_credential_is_the_base64_of_user_and_password() {
        // The example of RFC 7617, section 2.
        let key = "Aladdin:open sesame";
        let credential = Credential::new(Some(key), &Auth::Basic, []).unwrap();
        let mut headers = HeaderMap::new();
        credential.set(&mut headers);
        assert_eq!(headers[AUTHORIZATION], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(headers[AUTHORIZATION].is_sensitive());
    }

    #[test]
    fn every_occurrence_goes_and_nothing_else() {
        let text = "bad key sk-1234567, really: sk-1234567! and second-secret";
        assert_eq!(
            redacted(text, "sk-1234567"),
            "bad key [redacted], really: [redacted]! and [redacted]***"
        );
        assert_eq!(
            redacted("bad key sk-12345!", "sk-12345"),
            "bad key redacted!"
        );
    }

    #[test]
    fn a_clean_body_is_not_copied() {
        let body = Bytes::from_static(br"fine \u0041");
        assert_eq!(credential("sk-12345").redact(&body).as_ptr(), body.as_ptr());
    }

    #[test]
    fn a_key_goes_however_json_writes_it() {
        for (key, spellings) in [
            (
                "a/b+c=d_e",
                &[
                    "a/b+c=d_e",
                    r"a\/b+c=d_e",
                    r"a/b\u002Bc\u003Dd_e",
                    r"\u0061\u002fb\u002bc\u003dd_e",
                    // JSON in a string of JSON.
                    r"a\\/b\\u002bc=d_e",
                    r"\\u0061/b+c=d_e",
                ][..],
            ),
            (
                "sk-uvwu12u",
                &[
                    r"sk-uvw\u007512\u0075",
                    r"sk-\\u0075vwu12u",
                    r"s\u006b-uvwu12u",
                ],
            ),
            (
                r"abcdef\gh",
                &[r"abcdef\gh", r"abcdef\\gh", r"abcdef\\\\\u0067h"],
            ),
            (r"abcdefg\", &[r"abcdefg\", r"abcdefg\\", r"abcdefg\\\\"]),
        ] {
            for spelling in spellings {
                let text = redacted(&format!("<{spelling}>\\u00"), key);
                let mask = match spelling.len() {
                    length @ 10.. => format!("[redacted]{}", "*".repeat(length - 10)),
                    length => format!("redacted{}", "*".repeat(length - 8)),
                };
                assert_eq!(text, format!("<{mask}>\\u00"), "{spelling}");
            }
        }
        let others = r"<abcdef\u0068gh abcdefgh abcdef\\hgh \u00>";
        assert_eq!(redacted(others, r"abcdef\gh"), others);
    }

    #[test]
    fn backslashes_without_end_take_no_time() {
        let text = "\\".repeat(1_000_000);
        assert_eq!(redacted(&text, r"\abcdefgh"), text);
    }

    #[test]
    fn credentials_that_overlap_go_as_one() {
        let key = "12345678second";
        let text = "<12345678second-secret>";
        assert_eq!(redacted(text, key), "<[redacted]***********>");
        let (out, _) = passed(&mut redactor(key, false), text, 5);
        assert_eq!(out, "<[redacted]***********>");
    }

    #[test]
    fn a_dummy_key_is_not_searched_for() {
        for key in ["x", "none", "1234567"] {
            let text = format!("text with {key} in it");
            assert_eq!(redacted(&text, key), text);
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
        credential("application/json").redact_headers(&mut headers);
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-type", "x-other"]);
    }

    #[test]
    fn a_credential_in_a_header_goes_without_its_scheme_or_name() {
        for (name, value) in [
            ("authorization", "Bearer sk-12345-abc"),
            ("authorization", "Token token=\"sk-12345-abc\", v=1"),
            ("cookie", "a=b; session=sk-12345-abc; c=d"),
            ("x-password", "sk-12345-abc"),
        ] {
            let header = (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
            let credential = Credential::new(None, &Auth::Bearer, [header]).unwrap();
            let text = credential.redact_text("no such key: sk-12345-abc.");
            assert_eq!(text, "no such key: [redacted]**.", "{name}: {value}");
            let whole = credential.redact_text(&format!("<{value}>"));
            assert!(!whole.contains("12345"), "{whole}");
        }
    }

    #[test]
    fn either_half_of_a_basic_credential_is_a_secret() {
        let key = Some("administrator:open sesame");
        let credential = Credential::new(key, &Auth::Basic, []).unwrap();
        for echo in [
            "administrator:open sesame",
            "administrator",
            "open sesame",
            "YWRtaW5pc3RyYXRvcjpvcGVuIHNlc2FtZQ==",
        ] {
            let text = credential.redact_text(&format!("who is {echo}?"));
            assert!(
                text.starts_with("who is [redacted]") && !text.contains(echo),
                "{echo}"
            );
            assert_eq!(text.len(), "who is ?".len() + echo.len());
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
        for is_stream in [false, true] {
            for size in 1..=body.len() {
                let mut redactor = redactor("sk-12345-abc", is_stream);
                let (out, _) = passed(&mut redactor, body, size);
                assert_eq!(
                    out, "data: {\"error\":\"bad key [redacted]**\"}\n\ndata: [redacted]*******",
                    "by {size}"
                );
            }
        }
    }

    #[test]
    fn a_key_that_breaks_off_with_its_body_goes() {
        let key = "sk-12345-abc";
        for is_stream in [false, true] {
            for (end, expected) in [
                ("bad key sk-12345", "bad key redacted"),
                ("bad key sk-12345-ab", "bad key [redacted]*"),
                (r"bad key s\u006b-12345-", "bad key [redacted]****"),
                // So little may be anything.
                ("bad key sk-1234", "bad key sk-1234"),
            ] {
                for size in 1..=end.len() {
                    let mut redactor = redactor(key, is_stream);
                    assert_eq!(passed(&mut redactor, end, size).0, expected, "by {size}");
                }
            }
        }
    }

    #[test]
    fn an_answer_is_searched_from_the_word_error_on_however_it_is_split() {
        let credential = credential("sk-12345-abc");
        let answer = r#"{"a":"sk-12345-abc","erro":"sk-12345-abc"}"#;
        let error = r#"{"error":{"message":"bad key sk-12345-abc"}}"#;
        let redacted = error.replace("sk-12345-abc", "[redacted]**");
        for size in 1..=50 {
            let mut redactor = Redactor::new(&credential, false, false).unwrap();
            let (out, most) = passed(&mut redactor, answer, size);
            assert_eq!(out, answer, "by {size}");
            assert!(most < ERROR.len(), "{most}");
            let mut redactor = Redactor::new(&credential, false, false).unwrap();
            assert_eq!(passed(&mut redactor, error, size).0, redacted, "by {size}");
        }
    }

    #[test]
    fn a_line_passes_when_it_ends_and_no_later() {
        let mut redactor = redactor("sk-12345", true);
        assert_eq!(
            redactor.push(Bytes::from_static(b"data: a\n\nda")),
            "data: a\n\n"
        );
        assert_eq!(redactor.push(Bytes::from_static(b"ta: b\n")), "data: b\n");
        assert_eq!(redactor.held(), 0);
    }

    #[test]
    fn a_stream_is_searched_from_the_first_line_on_that_can_be_an_errors() {
        let credential = credential("sk-12345-abc");
        let answer = "data: sk-12345-abc\n\n";
        let errors = "event: error\ndata: sk-12345-abc\n\ndata: sk-12345-abc\n\n";
        for size in 1..=50 {
            let mut redactor = Redactor::new(&credential, false, true).unwrap();
            assert_eq!(passed(&mut redactor, answer, size).0, answer);
            let redacted = errors.replace("sk-12345-abc", "[redacted]**");
            assert_eq!(passed(&mut redactor, errors, size).0, redacted, "by {size}");
        }
    }

    #[test]
    fn a_long_body_passes_in_parts_and_no_key_in_it_is_cut() {
        let key = "sk-12345-abc";
        let body = format!("{}{key}", "x".repeat(70_000 - key.len() * 7)).repeat(4);
        for size in [1000, 4096, 60_000] {
            let mut redactor = redactor(key, false);
            let (out, most) = passed(&mut redactor, &body, size);
            assert_eq!(out, body.replace(key, "[redacted]**"));
            assert!(most < key.len(), "{most}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_the_length_stays(pieces in prop::collection::vec(prop::sample::select(vec![&b"sk-12345"[..], b"\\", b"\\u", b"\\u00", b"73k-12345", b"\\/", b"\n", b"second-secret", "ä".as_bytes(), b"\xFF", b"\\ud83d"]), 0..40), size in 1..9_usize) {
            let body = pieces.concat();
            let mut redactor = redactor("sk-12345", false);
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
