//! Refuses requests that a foreign web page could have made a browser send.
//!
//! Any page can make its visitor's browser send requests to an address of the visitor's own machine. Three rules keep
//! pages out. The gateway is reached under an address in digits, `localhost` or a name that the operator gave: a page
//! that points a name of its own at this machine (DNS rebinding) is known by that name. A request that a browser sends
//! for a page says where the page came from: `Origin` and `Sec-Fetch-Site` (<https://www.w3.org/TR/fetch-metadata/>). A
//! POST states its `Content-Type`: a page can leave it out without a preflight.

use std::sync::Arc;

use axum::{
    http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header},
    response::Response,
};
use serde_json::json;

use crate::{
    host::{Host, Name},
    origin::Origin,
    refusal::openai_error,
};

/// The names and the origins that the operator allows.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    pub(crate) hosts: Arc<[Name]>,
    pub(crate) origins: Arc<[Origin]>,
}

/// Why a request is refused.
#[derive(Debug)]
enum Refused {
    /// No host, several, or a value that is not a host.
    NoHost(&'static str),
    /// A name that is not the gateway's.
    Host(Name),
    /// A page of a foreign origin, as it was written, or a browser that does not say which.
    Origin(Option<String>),
}

/// An origin is repeated to the caller and the operator up to here.
const SHOWN: usize = 200;

/// The refusal of a request that does not say what its body is.
pub(crate) fn refuse_untyped(headers: &HeaderMap) -> Option<Response> {
    if headers.contains_key(header::CONTENT_TYPE) {
        return None;
    }
    let message = "The request has no Content-Type. Send \"application/json\", or \"multipart/form-data\" where a form \
                   is taken.";
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Some(openai_error(
        status,
        "unsupported_media_type",
        message,
        json!({}),
    ))
}

impl Guard {
    /// The refusal of a request that may not come in.
    pub(crate) fn refuse<B>(&self, request: &Request<B>) -> Option<Response> {
        let refused = self.check(request).err()?;
        let (status, code, message) = refused.words();
        tracing::warn!("refused: {message}");
        Some(openai_error(status, code, &message, json!({})))
    }

    fn check<B>(&self, request: &Request<B>) -> Result<(), Refused> {
        let host = self.host(request)?;
        self.origin(request.headers(), host.as_ref())
    }

    /// The host that the request names: in its target, as HTTP/2 and proxies write it, or in `Host`. If in both, both
    /// have to be allowed. HTTP/1.0 may leave it out, as health checks do and browsers do not.
    fn host<B>(&self, request: &Request<B>) -> Result<Option<Host>, Refused> {
        let read = |text: Option<&str>| {
            let host = text.and_then(Host::parse);
            let host = host.ok_or(Refused::NoHost("The host of the request is not a host."))?;
            match self.is_served(&host.name) {
                true => Ok(host),
                false => Err(Refused::Host(host.name)),
            }
        };
        let mut headers = request.headers().get_all(header::HOST).iter();
        let header = headers.next();
        if headers.next().is_some() {
            return Err(Refused::NoHost("The request has several Host headers."));
        }
        let header = header.map(|value| read(value.to_str().ok())).transpose()?;
        let target = request.uri().authority();
        let target = target
            .map(|target| read(Some(target.as_str())))
            .transpose()?;
        let host = target.or(header);
        if host.is_none() && request.version() > Version::HTTP_10 {
            return Err(Refused::NoHost("The request has no Host header."));
        }
        Ok(host)
    }

    fn is_served(&self, name: &Name) -> bool {
        matches!(name, Name::Address(_)) || name.is_localhost() || self.hosts.contains(name)
    }

    /// Programs that are no browsers send neither `Origin` nor `Sec-Fetch-Site`.
    fn origin(&self, headers: &HeaderMap, host: Option<&Host>) -> Result<(), Refused> {
        let cross_site = headers
            .get_all("sec-fetch-site")
            .iter()
            .any(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site"));
        let mut origins = headers.get_all(header::ORIGIN).iter().peekable();
        if origins.peek().is_none() && cross_site {
            return Err(Refused::Origin(None));
        }
        let is_own = |origin: &Origin| !cross_site && host.is_some_and(|host| origin.is_at(host));
        let is_allowed = |value: &HeaderValue| {
            Origin::of(value)
                .is_some_and(|origin| self.origins.contains(&origin) || is_own(&origin))
        };
        let shown = |origin: &HeaderValue| {
            let bytes = origin.as_bytes().iter().take(SHOWN);
            let plain = |&byte: &u8| match byte.is_ascii_graphic() {
                true => char::from(byte),
                false => '?',
            };
            bytes.map(plain).collect()
        };
        match origins.find(|origin| !is_allowed(origin)) {
            Some(origin) => Err(Refused::Origin(Some(shown(origin)))),
            None => Ok(()),
        }
    }
}

impl Refused {
    fn words(self) -> (StatusCode, &'static str, String) {
        match self {
            Self::NoHost(why) => (StatusCode::BAD_REQUEST, "invalid_host", why.to_owned()),
            Self::Host(name) => (
                StatusCode::FORBIDDEN,
                "host_not_allowed",
                format!(
                    "This gateway is not reached under the name {name}. Use its address in digits, or localhost; or add \
                     the name to `hosts` in the gateway's configuration."
                ),
            ),
            Self::Origin(origin) => (
                StatusCode::FORBIDDEN,
                "origin_not_allowed",
                match origin {
                    Some(origin) => format!(
                        "Web pages from {origin} may not use this gateway. If that is wanted, add the origin to \
                         `cors_origins` in the gateway's configuration."
                    ),
                    None => "Web pages from other sites may not use this gateway.".to_owned(),
                },
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard {
            hosts: [Name::parse("Box.example").expect("a name")].into(),
            origins: [Origin::parse("https://app.example").expect("an origin")].into(),
        }
    }

    /// The status that a request with these headers is refused with, or 200.
    fn request(target: &str, version: Version, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::post(target).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        guard()
            .check(&request)
            .map_or_else(|refused| refused.words().0.as_u16(), |()| 200)
    }

    fn with(headers: &[(&str, &str)]) -> u16 {
        request("/", Version::HTTP_11, headers)
    }

    /// As sent to 127.0.0.1:3733.
    fn from_page(headers: &[(&str, &str)]) -> u16 {
        with(&[&[("host", "127.0.0.1:3733")], headers].concat())
    }

    #[test]
    fn the_host_is_an_address_in_digits_localhost_or_a_name_of_the_operator() {
        for host in [
            "127.0.0.1:3733",
            "192.168.1.7",
            "[::1]:3733",
            "[2001:db8::1]",
            "localhost",
            "LOCALHOST:3733",
            "localhost.",
            "box.example:80",
            "BOX.example.",
        ] {
            assert_eq!(with(&[("host", host)]), 200, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:3733",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "sub.box.example",
            "notlocalhost",
        ] {
            assert_eq!(with(&[("host", host)]), 403, "{host}");
        }
    }

    #[test]
    fn no_host_several_or_nonsense_is_400() {
        assert_eq!(with(&[]), 400);
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(with(&twice), 400);
        for nonsense in [
            "",
            "user@localhost",
            "localhost, evil.example",
            "localhost:x",
            "::1",
        ] {
            assert_eq!(with(&[("host", nonsense)]), 400, "{nonsense}");
        }
        assert_eq!(request("/", Version::HTTP_2, &[]), 400);
    }

    #[test]
    fn an_old_health_check_without_a_host_is_let_in_and_a_page_is_not() {
        assert_eq!(request("/", Version::HTTP_10, &[]), 200);
        let page = [("origin", "http://localhost")];
        assert_eq!(request("/", Version::HTTP_10, &page), 403);
    }

    #[test]
    fn the_authority_of_the_target_counts_as_host() {
        for version in [Version::HTTP_2, Version::HTTP_11] {
            let local = "http://localhost:3733/v1/models";
            assert_eq!(request(local, version, &[]), 200);
            let rebound = "http://evil.example:3733/v1/models";
            assert_eq!(request(rebound, version, &[]), 403);
            let host = [("host", "localhost:3733")];
            assert_eq!(request(rebound, version, &host), 403);
            let host = [("host", "evil.example")];
            assert_eq!(request(local, version, &host), 403);
        }
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        for origin in [
            "http://evil.example",
            "http://127.0.0.1:8000",
            "http://127.0.0.1",
            "http://localhost:3733",
            "https://app.example:8443",
            "http://app.example",
            "https://app.example.evil.example",
            "null",
            "",
            "https://app.example, http://evil.example",
            "file://",
        ] {
            assert_eq!(from_page(&[("origin", origin)]), 403, "{origin}");
        }
        let smuggled = [
            ("origin", "https://app.example"),
            ("origin", "http://evil.example"),
        ];
        assert_eq!(from_page(&smuggled), 403);
    }

    #[test]
    fn a_request_from_another_site_is_refused_without_an_origin_too() {
        assert_eq!(from_page(&[("sec-fetch-site", "cross-site")]), 403);
        assert_eq!(from_page(&[("sec-fetch-site", "Cross-Site")]), 403);
        let redirected = [
            ("origin", "http://127.0.0.1:3733"),
            ("sec-fetch-site", "cross-site"),
        ];
        assert_eq!(from_page(&redirected), 403);
    }

    #[test]
    fn the_gateways_own_page_a_typed_address_and_programs_are_let_in() {
        assert_eq!(from_page(&[]), 200);
        assert_eq!(from_page(&[("sec-fetch-site", "none")]), 200);
        let own = [
            ("origin", "http://127.0.0.1:3733"),
            ("sec-fetch-site", "same-origin"),
        ];
        assert_eq!(from_page(&own), 200);
    }

    #[test]
    fn a_page_of_an_allowed_origin_is_let_in() {
        for origin in ["https://app.example", "https://APP.example:443"] {
            let page = [("origin", origin), ("sec-fetch-site", "cross-site")];
            assert_eq!(from_page(&page), 200, "{origin}");
        }
    }
}
