//! Which requests are routed, and whether their bodies can be read at all.

use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};

use crate::{
    content_type::{is_form, is_json},
    endpoint::Endpoint,
    refusal::Refusal,
};

/// A request that is routed.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    pub(super) endpoint: Endpoint,
    pub(super) format: Format,
}

/// How the body of a routed request is written.
#[derive(Clone, Debug)]
pub(super) enum Format {
    Json,
    /// A form, with its content type: that names the boundary between the parts.
    Form(HeaderValue),
}

/// Reads from the head of a request whether it is routed, and if so, how its body is to be read.
pub(crate) fn admit(parts: &Parts) -> Result<Option<Admitted>, Refusal> {
    let path = parts.uri.path();
    if Endpoint::path_names_a_model(&parts.method, path) {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "model_in_path",
            "The path of the request names a model, which could cost money. Send it to a path such as \
             /v1/chat/completions, with `model` in the body.",
        ));
    }
    let Some(endpoint) = Endpoint::of(&parts.method, path) else {
        return Ok(None);
    };
    let format = format(&parts.headers, endpoint)?;
    Ok(Some(Admitted { endpoint, format }))
}

/// A body that is compressed, or neither JSON nor a form where the endpoint takes that, cannot be rewritten, and what is
/// not rewritten could cost money.
fn format(headers: &HeaderMap, endpoint: Endpoint) -> Result<Format, Refusal> {
    for encoding in headers.get_all(header::CONTENT_ENCODING) {
        let encoding = encoding.as_bytes().trim_ascii();
        if !encoding.eq_ignore_ascii_case(b"identity") {
            return Err(unsupported(
                "The request body is compressed (Content-Encoding). Send it without compression.",
            ));
        }
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (first, second) = (types.next(), types.next());
    if first.is_some_and(|first| !is_in_ascii(first.as_bytes())) {
        return Err(unsupported(
            "The charset of the request body is not one that is read here. Send UTF-8.",
        ));
    }
    match (first, second) {
        (None, _) if endpoint.takes_json() => Ok(Format::Json),
        (Some(json), None) if endpoint.takes_json() && is_json(json.as_bytes()) => Ok(Format::Json),
        (Some(form), None) if endpoint.takes_forms() && is_form(form.as_bytes()) => {
            Ok(Format::Form(form.clone()))
        }
        // Two content types are refused as well: upstreams differ in which of them counts.
        _ => {
            let accepted = match (endpoint.takes_json(), endpoint.takes_forms()) {
                (true, true) => "\"application/json\" or \"multipart/form-data\"",
                (false, true) => "\"multipart/form-data\"",
                (_, false) => "\"application/json\"",
            };
            Err(unsupported(format!(
                "The Content-Type of the request is not one that {endpoint} takes. Send {accepted}."
            )))
        }
    }
}

fn unsupported(message: impl Into<String>) -> Refusal {
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Refusal::new(status, "unsupported_media_type", message)
}

/// Whether the charset of a body, if one is stated, writes ASCII as it is.
///
/// In another one an upstream could read other keys in the same bytes: in UTF-7, which Node's `body-parser` knows,
/// `+AG0-odel` is `model`.
fn is_in_ascii(content_type: &[u8]) -> bool {
    const CHARSETS: [&[u8]; 4] = [b"utf-8", b"utf8", b"us-ascii", b"iso-8859-1"];
    let mut parameters = content_type.split(|&b| b == b';').skip(1);
    parameters.all(|parameter| {
        let mut halves = parameter.splitn(2, |&b| b == b'=').map(<[u8]>::trim_ascii);
        let name = halves.next().unwrap_or_default().to_ascii_lowercase();
        // `charset*` is another way to write it (RFC 2231); it is refused whatever its value is.
        let Some(rest) = name.strip_prefix(b"charset") else {
            return true;
        };
        let value = halves.next().unwrap_or_default();
        let quoted = value
            .strip_prefix(b"\"")
            .and_then(|value| value.strip_suffix(b"\""));
        let value = quoted.unwrap_or(value);
        rest.is_empty()
            && CHARSETS
                .iter()
                .any(|known| value.eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(endpoint: Endpoint, headers: &[(header::HeaderName, &'static str)]) -> u16 {
        let headers = headers
            .iter()
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, HeaderValue::from_static(value));
                headers
            });
        format(&headers, endpoint).map_or_else(|refusal| refusal.status.as_u16(), |_| 200)
    }

    #[test]
    fn a_compressed_body_is_unsupported_and_identity_is_not_compressed() {
        let with = |value| {
            let encoding = [(header::CONTENT_ENCODING, value)];
            status(Endpoint::ChatCompletions, &encoding)
        };
        assert_eq!(with("gzip"), 415);
        assert_eq!(with("identity"), 200);
    }

    #[test]
    fn a_charset_in_which_the_keys_could_be_others_is_unsupported() {
        for (kind, expected) in [
            ("application/json; charset=UTF-8", 200),
            ("application/json;charset=\"utf-8\"; x=y", 200),
            ("application/json; charset=iso-8859-1", 200),
            ("application/json; charset=utf-7", 415),
            ("application/json; Charset = \"utf-7\"", 415),
            ("application/json; charset=utf-8; charset=utf-7", 415),
            (
                "application/json; x=\"; charset=utf-8\"; charset=utf-7",
                415,
            ),
            ("application/json; charset*=utf-8''utf-7", 415),
            ("application/json; charset=utf-16", 415),
            ("application/json; charset", 415),
        ] {
            let headers = [(header::CONTENT_TYPE, kind)];
            let status = status(Endpoint::ChatCompletions, &headers);
            assert_eq!(status, expected, "{kind}");
        }
        let form = (
            header::CONTENT_TYPE,
            "multipart/form-data; boundary=x; charset=utf-7",
        );
        assert_eq!(status(Endpoint::AudioTranscriptions, &[form]), 415);
    }

    #[test]
    fn json_and_forms_are_taken_where_they_are_spoken() {
        const JSON: &str = "application/json; charset=utf-8";
        const FORM: &str = "Multipart/Form-Data; boundary=x";
        let kind = |kind| (header::CONTENT_TYPE, kind);
        for (endpoint, json, form, nothing) in [
            (Endpoint::ChatCompletions, 200, 415, 200),
            (Endpoint::ImageEdits, 200, 200, 200),
            (Endpoint::AudioTranscriptions, 415, 200, 415),
            (Endpoint::AudioTranslations, 415, 200, 415),
        ] {
            assert_eq!(status(endpoint, &[kind(JSON)]), json, "{endpoint}");
            assert_eq!(status(endpoint, &[kind(FORM)]), form, "{endpoint}");
            assert_eq!(status(endpoint, &[]), nothing, "{endpoint}");
            let other = [kind("multipart/mixed; boundary=x")];
            assert_eq!(status(endpoint, &other), 415, "{endpoint}");
            let both = [kind(FORM), kind(JSON)];
            assert_eq!(status(endpoint, &both), 415, "{endpoint}");
        }
    }
}
