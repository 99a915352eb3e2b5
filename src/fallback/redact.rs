//! Keeps a provider's credentials out of what is passed on.

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use crate::catalog::Provider;

const REDACTED: &str = "[redacted]";

/// The body with every occurrence of a credential of the provider replaced, also as JSON may write it.
/// Bodies without one are not copied.
pub(super) fn redact(body: &Bytes, provider: &Provider) -> Bytes {
    provider
        .secrets()
        .flat_map(spellings)
        .fold(body.clone(), |body, secret| {
            without(&body, secret.as_bytes())
        })
}

/// The same for a text.
pub(super) fn redact_text(text: &str, provider: &Provider) -> String {
    provider.secrets().fold(text.to_owned(), |text, secret| {
        text.replace(secret, REDACTED)
    })
}

/// A secret, and what some writers of JSON make of it: `\/` for a slash (PHP), `\u002B` for what HTML or URLs
/// give a meaning to (.NET, Go).
fn spellings(secret: &str) -> Vec<String> {
    let escaped = |upper: bool| {
        secret.chars().fold(String::new(), |mut escaped, c| {
            match (c, upper) {
                ('+' | '<' | '>' | '&' | '\'' | '=' | '/', true) => {
                    escaped.push_str(&format!("\\u{:04X}", u32::from(c)))
                }
                ('+' | '<' | '>' | '&' | '\'' | '=' | '/', false) => {
                    escaped.push_str(&format!("\\u{:04x}", u32::from(c)))
                }
                _ => escaped.push(c),
            }
            escaped
        })
    };
    let mut spellings = vec![
        secret.to_owned(),
        secret.replace('/', "\\/"),
        escaped(true),
        escaped(false),
    ];
    let slash_as_it_is = |text: &String| text.replace("\\u002F", "/").replace("\\u002f", "/");
    spellings.extend([slash_as_it_is(&spellings[2]), slash_as_it_is(&spellings[3])]);
    spellings.sort();
    spellings.dedup();
    spellings
}

fn without(body: &Bytes, secret: &[u8]) -> Bytes {
    let mut found = memmem::find_iter(body, secret).peekable();
    if secret.is_empty() || found.peek().is_none() {
        return body.clone();
    }
    let mut redacted = BytesMut::with_capacity(body.len());
    let mut from = 0;
    for at in found {
        redacted.extend_from_slice(&body[from..at]);
        redacted.extend_from_slice(REDACTED.as_bytes());
        from = at + secret.len();
    }
    redacted.extend_from_slice(&body[from..]);
    redacted.freeze()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

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
        let body = Bytes::from_static(b"bad key sk-1, really: sk-1! and second-secret");
        assert_eq!(
            redact(&body, &provider("sk-1")),
            "bad key [redacted], really: [redacted]! and [redacted]"
        );
    }

    #[test]
    fn a_clean_body_is_not_copied() {
        let body = Bytes::from_static(b"fine");
        assert_eq!(redact(&body, &provider("sk-1")).as_ptr(), body.as_ptr());
    }

    #[test]
    fn a_key_goes_however_json_writes_it() {
        let provider = provider("a/b+c=");
        for body in [
            r"a/b+c=",
            r"a\/b+c=",
            r"a/b\u002Bc\u003D",
            r"a\u002fb\u002bc\u003d",
        ] {
            assert_eq!(
                redact(&Bytes::from(body), &provider),
                "[redacted]",
                "{body}"
            );
        }
        assert_eq!(
            redact_text("with a/b+c= in it", &provider),
            "with [redacted] in it"
        );
    }
}
