//! The headers that describe the body of a response.

use http::{HeaderMap, HeaderValue, header};

use crate::content_type::is_json;

/// Headers that are no longer true when a body is replaced.
const DESCRIBING: &[&str] = &[
    "accept-ranges",
    "content-digest",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-md5",
    "content-range",
    "digest",
    "etag",
    "last-modified",
    "repr-digest",
    "transfer-encoding",
];

/// The content encodings of a body in the order in which they were applied, without `identity`.
pub(crate) fn encodings(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    values
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity"))
}

/// Whether a body that is no whole JSON document may be the beginning of one: it is not declared to be something else.
pub(super) fn may_be_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    kind.is_none_or(|kind| kind.to_ascii_lowercase().contains("json"))
}

/// Removes the headers that described the body as it was sent.
pub(crate) fn no_longer_as_sent(headers: &mut HeaderMap) {
    for name in DESCRIBING {
        headers.remove(*name);
    }
    headers.remove(header::CONTENT_LENGTH);
}

/// Makes headers fit a JSON body of `len` bytes.
pub(crate) fn relabel(headers: &mut HeaderMap, len: usize) {
    no_longer_as_sent(headers);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    let says_json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| is_json(kind.as_bytes()));
    if !says_json {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_described_the_old_body_go() {
        let mut headers = HeaderMap::new();
        for name in [
            "content-encoding",
            "etag",
            "digest",
            "transfer-encoding",
            "x-request-id",
        ] {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        headers.insert("content-type", HeaderValue::from_static("text/html"));
        relabel(&mut headers, 7);
        assert_eq!(headers.len(), 3);
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["content-length"], "7");
        assert_eq!(headers["x-request-id"], "x");
    }

    #[test]
    fn a_type_that_is_json_stays() {
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert("content-type", kind.clone());
        relabel(&mut headers, 0);
        assert_eq!(headers["content-type"], kind);
    }
}
