//! The headers that the layers read and set, and how names stand in them.

use std::fmt::Write as _;

use http::{HeaderName, HeaderValue};

/// The model that answered.
pub(crate) const MODEL: HeaderName = HeaderName::from_static("x-free-model");
/// Its provider.
pub(crate) const PROVIDER: HeaderName = HeaderName::from_static("x-free-provider");
/// How many attempts were made.
pub(crate) const ATTEMPTS: HeaderName = HeaderName::from_static("x-free-attempts");
/// The outcome of each attempt.
pub(crate) const TRAIL: HeaderName = HeaderName::from_static("x-free-trail");
/// Fields of the request that were left out: they could cost money, or the provider does not take them.
pub(crate) const DROPPED: HeaderName = HeaderName::from_static("x-free-dropped");
/// Fields of the request that were renamed, lowered or added, as the provider or the model needs it, or of which less was
/// done (`n`).
pub(crate) const ADJUSTED: HeaderName = HeaderName::from_static("x-free-adjusted");
/// Fields of a whole answer that were changed so that strict clients can read the answer.
pub(crate) const NORMALISED: HeaderName = HeaderName::from_static("x-free-normalised");

/// Names the routers that a request has passed through, so that a router recognises its own requests.
pub(crate) const VIA: HeaderName = HeaderName::from_static("x-free-via");
/// `true` forbids any other model than the one that is named.
pub(crate) const PIN: HeaderName = HeaderName::from_static("x-free-pin");

/// The session that a request is part of. The name is OpenRouter's (`session_id` in the reference of its API).
pub(crate) const SESSION: HeaderName = HeaderName::from_static("x-session-id");

/// How a target is named in the headers of a response: made once, because every response has them.
pub(crate) struct HeaderNames {
    /// For [`MODEL`].
    pub(crate) model: HeaderValue,
    /// For [`PROVIDER`].
    pub(crate) provider: HeaderValue,
    /// For [`TRAIL`], where the target has answered at the first attempt.
    pub(crate) succeeded: HeaderValue,
}

impl HeaderNames {
    pub(crate) fn new(provider: &str, model: &str) -> Self {
        // Names are checked when a target is made, and encoded here, so they are always fit for a header.
        let value =
            |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("?"));
        let mut succeeded = in_trail(provider, model);
        succeeded.push_str("=succeeded");
        Self {
            model: value(&percent_encoded(model, b"")),
            provider: value(provider),
            succeeded: value(&succeeded),
        }
    }
}

/// A target as it stands in [`TRAIL`].
pub(crate) fn in_trail(provider: &str, model: &str) -> String {
    let mut name = percent_encoded(model, b",= ");
    name.insert(0, '/');
    name.insert_str(0, provider);
    name
}

/// A name as it stands in a header: the percent sign, the bytes in `also` and those that are not printable ASCII are
/// encoded as in a URL (RFC 3986, section 2.1).
pub(crate) fn percent_encoded(name: &str, also: &[u8]) -> String {
    name.bytes()
        .fold(String::with_capacity(name.len()), |mut encoded, byte| {
            match byte {
                b' '..=b'~' if byte != b'%' && !also.contains(&byte) => {
                    encoded.push(char::from(byte));
                }
                _ => {
                    let _ = write!(encoded, "%{byte:02X}");
                }
            }
            encoded
        })
}

/// The name that stands encoded in a header; `None` where no part of it is encoded, or where it decodes to no UTF-8.
pub(crate) fn percent_decoded(name: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    let mut changed = false;
    while let Some((&byte, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        let value = (byte == b'%').then(|| Some(digit(0)? * 16 + digit(1)?));
        if let Some(Some(value)) = value {
            changed = true;
            decoded.push(value as u8);
            rest = &after[2..];
        } else {
            decoded.push(byte);
            rest = after;
        }
    }
    String::from_utf8(decoded).ok().filter(|_| changed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_written_as_in_a_url_where_a_header_cannot_carry_it() {
        for (name, encoded) in [
            ("acme/chat:free", "acme/chat:free"),
            ("my model [ab12]", "my model [ab12]"),
            ("grün", "gr%C3%BCn"),
            ("模型", "%E6%A8%A1%E5%9E%8B"),
            ("100%", "100%25"),
        ] {
            assert_eq!(percent_encoded(name, b""), encoded);
        }
        assert_eq!(percent_encoded("a, b=c", b", ="), "a%2C%20b%3Dc");
        assert_eq!(percent_decoded("100%"), None);
        assert_eq!(percent_decoded("%zz%4"), None);
        assert_eq!(percent_decoded("%FF"), None);
    }

    proptest! {
        #[test]
        fn a_name_that_is_read_in_a_header_is_the_name(name in "\\PC{0,40}") {
            let encoded = percent_encoded(&name, b",=");
            prop_assert!(encoded.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert_eq!(percent_decoded(&encoded).unwrap_or(encoded), name);
        }
    }
}
