//! Keeps a provider's credential out of what is passed on.

use bytes::{Bytes, BytesMut};
use memchr::memmem;

const REDACTED: &[u8] = b"[redacted]";

/// The body with every occurrence of the secret replaced. Bodies without one are not copied.
pub(super) fn redact(body: &Bytes, secret: Option<&str>) -> Bytes {
    let Some(secret) = secret
        .map(str::as_bytes)
        .filter(|secret| !secret.is_empty())
    else {
        return body.clone();
    };
    let mut found = memmem::find_iter(body, secret).peekable();
    if found.peek().is_none() {
        return body.clone();
    }
    let mut redacted = BytesMut::with_capacity(body.len());
    let mut from = 0;
    for at in found {
        redacted.extend_from_slice(&body[from..at]);
        redacted.extend_from_slice(REDACTED);
        from = at + secret.len();
    }
    redacted.extend_from_slice(&body[from..]);
    redacted.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_occurrence_goes_and_nothing_else() {
        let body = Bytes::from_static(b"bad key sk-1, really: sk-1!");
        assert_eq!(
            redact(&body, Some("sk-1")),
            "bad key [redacted], really: [redacted]!"
        );
    }

    #[test]
    fn a_clean_body_is_not_copied() {
        let body = Bytes::from_static(b"fine");
        assert_eq!(redact(&body, Some("sk-1")).as_ptr(), body.as_ptr());
        assert_eq!(redact(&body, Some("")).as_ptr(), body.as_ptr());
        assert_eq!(redact(&body, None).as_ptr(), body.as_ptr());
    }
}
