//! What a request looks like to the upstream it is sent to.

use std::mem;

use http::{HeaderMap, HeaderName, HeaderValue, Version, header, request::Parts};

use crate::{
    catalog::Target,
    endpoint::Endpoint,
    headers::{PIN, VIA},
    request::note,
};

/// Whether a header of a client reaches a provider; any other may hold something that is meant for this router alone.
fn is_passed(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "accept"
            | "accept-language"
            | "content-type"
            | "user-agent"
            | "x-request-id"
            // Tracing, W3C Trace Context.
            | "traceparent"
            | "tracestate"
            // Attribution and metadata, https://openrouter.ai/docs/app-attribution.
            | "http-referer"
            | "x-title"
            | "x-openrouter-title"
            | "x-openrouter-categories"
            | "x-openrouter-metadata"
            | "x-free-via"
    )
}

/// Room for the headers of most requests: the first number for those that are passed on, the second for those that are
/// added. There may be more of both.
const ROOM: (usize, usize) = (8, 6);

/// What describes the bytes of a body, and is no longer true of others that are sent in their place:
/// RFC 9110 8.6, RFC 9112 6.1, RFC 9530, RFC 3230, RFC 1864.
pub(super) const OF_THE_BODY: &[&str] = &[
    "content-length",
    "transfer-encoding",
    "content-encoding",
    "content-digest",
    "repr-digest",
    "digest",
    "content-md5",
    "trailer",
];

/// Query parameters of a client that reach a provider. Any other one may choose a model or a tool, or hold a credential.
///
/// `api-version` is the version of the API that Azure's services, and GitHub's in their way, want to be told.
const PASSED_PARAMETERS: &[&str] = &["api-version"];

/// Addresses a request to a target, and gives it the credential of the target's provider. The query parameters that are
/// left out are added to `dropped`, each as `?name`.
pub(super) fn address(
    parts: &mut Parts,
    target: &Target,
    endpoint: Endpoint,
    length: u64,
    identity: &HeaderValue,
    dropped: &mut Vec<String>,
) {
    let provider = target.provider();
    let hop = of_this_hop(&parts.headers);
    if let Some(base) = provider.base() {
        let query = passed_query(parts.uri.query().unwrap_or_default(), dropped);
        let query = Some(&*query).filter(|query| !query.is_empty());
        parts.uri = base.endpoint(endpoint, query);
        parts.headers = passed(mem::take(&mut parts.headers), &hop);
        provider.credential().set(&mut parts.headers);
    } else {
        for name in hop {
            parts.headers.remove(name);
        }
        for name in OF_THE_BODY.iter().chain(OF_THE_HOP) {
            parts.headers.remove(*name);
        }
        parts.headers.remove(PIN);
    }
    // The version that the request came with says nothing about the connection to the upstream.
    parts.version = Version::HTTP_11;
    let headers = &mut parts.headers;
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers
        .entry(header::CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/json"));
    // The answer has to be read before it is passed on.
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    headers.append(VIA, identity.clone());
}

/// The part of the client's query that reaches a provider.
fn passed_query(query: &str, dropped: &mut Vec<String>) -> String {
    // Some servers divide a query at `;` too, or unescape it first: a version needs neither.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._=".contains(&byte);
    let passes = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        let passes = PASSED_PARAMETERS.contains(&name) && pair.bytes().all(is_plain);
        if !passes && !pair.is_empty() {
            note(dropped, &format!("?{name}"));
        }
        passes
    };
    query
        .split('&')
        .filter(passes)
        .collect::<Vec<_>>()
        .join("&")
}

/// Headers that belong to the client's connection (RFC 9110 7.6.1).
const OF_THE_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "upgrade",
    "expect",
];

/// The headers of a client that reach a provider, without those that belong to this `hop`.
fn passed(headers: HeaderMap, hop: &[HeaderName]) -> HeaderMap {
    let mut passed = HeaderMap::with_capacity(headers.len().min(ROOM.0) + ROOM.1);
    let mut last = None;
    for (name, value) in headers {
        // Of several values of one header only the first comes with the name.
        if let Some(name) = name {
            last = (is_passed(&name) && !hop.contains(&name)).then_some(name);
        }
        if let Some(name) = &last {
            passed.append(name.clone(), value);
        }
    }
    passed
}

/// What `Connection` names belongs to one hop, even if a list would pass it (RFC 9110 7.6.1).
pub(super) fn of_this_hop(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

/// Whether a request has been here before.
pub(super) fn is_ours(headers: &HeaderMap, identity: &HeaderValue) -> bool {
    headers.get_all(VIA).iter().any(|via| {
        via.as_bytes()
            .split(|&b| b == b',')
            .any(|id| id.trim_ascii() == identity.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_query_only_known_parameters_pass_and_the_others_are_told() {
        for (query, passed, told) in [
            (
                "api-version=1&model=x&key=k",
                "api-version=1",
                "?model ?key",
            ),
            ("b&api-version=1&&b=2", "api-version=1", "?b"),
            (
                "api-version=2024-10-21&api-version=1;model=x&api-version=1%26key=k",
                "api-version=2024-10-21",
                "?api-version",
            ),
            (
                "Api-Version=1&api%2Dversion=2",
                "",
                "?Api-Version ?api%252Dversion",
            ),
            ("", "", ""),
        ] {
            let mut dropped = Vec::new();
            assert_eq!(passed_query(query, &mut dropped), passed);
            assert_eq!(dropped.join(" "), told);
        }
    }

    #[test]
    fn what_connection_names_does_not_pass() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Request-Id"),
            ("x-request-id", "1"),
            ("accept", "a"),
            ("accept", "b"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let hop = of_this_hop(&headers);
        let passed = passed(headers, &hop);
        assert_eq!(passed.get_all("accept").iter().count(), 2);
        assert_eq!(passed.len(), 2);
    }
}
