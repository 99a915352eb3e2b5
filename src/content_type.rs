//! What a `Content-Type` says.

/// The media type without its parameters.
pub(crate) fn essence(content_type: &[u8]) -> &[u8] {
    let essence = content_type.split(|&b| b == b';').next();
    essence.unwrap_or_default().trim_ascii()
}

/// `application/json`, `text/json` and everything that ends in `+json`, with any parameters.
pub(crate) fn is_json(content_type: &[u8]) -> bool {
    let essence = essence(content_type);
    [&b"application/json"[..], b"text/json"]
        .iter()
        .any(|json| essence.eq_ignore_ascii_case(json))
        || essence.len() > 5 && essence[essence.len() - 5..].eq_ignore_ascii_case(b"+json")
}

/// `text/…`, with any parameters.
pub(crate) fn is_text(content_type: &[u8]) -> bool {
    let kind = essence(content_type).get(..5);
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/"))
}

/// `text/event-stream`, with any parameters.
pub(crate) fn is_event_stream(content_type: &[u8]) -> bool {
    essence(content_type).eq_ignore_ascii_case(b"text/event-stream")
}

/// `multipart/form-data`, with any parameters.
pub(crate) fn is_form(content_type: &[u8]) -> bool {
    essence(content_type).eq_ignore_ascii_case(b"multipart/form-data")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_by_its_essence() {
        for yes in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
        ] {
            assert!(is_json(yes.as_bytes()), "{yes}");
        }
        for no in [
            "application/jsonl",
            "text/plain",
            "multipart/form-data; boundary=json",
            "",
            "+jso",
        ] {
            assert!(!is_json(no.as_bytes()), "{no}");
        }
    }
}
