//! Origins of web pages, and what a browser is told about those that may use the gateway.

use std::{fmt, sync::Arc, time::Duration};

use axum::http::{HeaderValue, Method, request::Parts};
use tower_http::cors::{AllowHeaders, AllowOrigin, AllowPrivateNetwork, Any, CorsLayer};

use crate::host::Host;

/// How long a browser may remember the answer to a preflight.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Where a page came from: `https://app.example`, `http://localhost:8000`, `tauri://localhost`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    scheme: String,
    host: Host,
}

impl Origin {
    /// A value that is not an origin is refused, and so is `null`: any sandboxed frame and any local file has it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, host) = text.split_once("://")?;
        let mut bytes = scheme.bytes();
        let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !starts || !bytes.all(fits) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let mut host = Host::parse(host)?;
        host.port = host.port.or_else(|| usual_port(&scheme));
        Some(Self { scheme, host })
    }

    pub(crate) fn of(value: &HeaderValue) -> Option<Self> {
        Self::parse(value.to_str().ok()?)
    }

    /// Whether this is the origin of the gateway's own page, which was reached under this host. A proxy in front may
    /// have spoken TLS with the browser, so the scheme may be either of HTTP's.
    pub(crate) fn is_at(&self, host: &Host) -> bool {
        let port = host.port.or_else(|| usual_port(&self.scheme));
        matches!(self.scheme.as_str(), "http" | "https")
            && self.host.name == host.name
            && self.host.port == port
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host.name)?;
        match self.host.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Answers the preflights of these origins, and lets their pages read the answers with all headers.
pub(crate) fn cors(allowed: Arc<[Origin]>) -> CorsLayer {
    let is_allowed = move |origin: &HeaderValue, _: &Parts| {
        Origin::of(origin).is_some_and(|origin| allowed.contains(&origin))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods([Method::GET, Method::POST])
        // Authorization, Content-Type, X-Stainless-* and whatever else a client sends: the guard has let this page in.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(Any)
        // A page of a public address asks for this before it may reach a private one.
        .allow_private_network(AllowPrivateNetwork::yes())
        .max_age(MAX_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port_and_nothing_more() {
        for text in [
            "null",
            "",
            "app.example",
            "https://",
            "https://app.example/",
            "https://app.example/path",
            "https://me@app.example",
            "://app.example",
            "1https://app.example",
            "https://a https://b",
            "*",
        ] {
            assert_eq!(Origin::parse(text), None, "{text}");
        }
    }

    #[test]
    fn one_origin_in_two_spellings_is_one() {
        for (one, other) in [
            ("https://app.example", "HTTPS://App.Example:443"),
            ("http://[::1]:80", "http://[0::1]"),
            ("tauri://localhost", "tauri://localhost"),
        ] {
            assert_eq!(Origin::parse(one), Origin::parse(other));
        }
        for other in [
            "http://app.example",
            "https://app.example:444",
            "https://app.example.org",
        ] {
            assert_ne!(Origin::parse("https://app.example"), Origin::parse(other));
        }
    }

    #[test]
    fn the_gateways_own_page_has_the_host_and_the_port_it_was_reached_under() {
        let own = |origin: &str, host: &str| {
            let host = Host::parse(host).expect("a host");
            Origin::parse(origin).expect("an origin").is_at(&host)
        };
        assert!(own("http://127.0.0.1:3733", "127.0.0.1:3733"));
        assert!(own("https://llm.example", "llm.example"));
        assert!(own("http://localhost", "LOCALHOST:80"));
        assert!(!own("http://127.0.0.1:8000", "127.0.0.1:3733"));
        assert!(!own("http://localhost:3733", "127.0.0.1:3733"));
        assert!(!own("ftp://localhost:3733", "localhost:3733"));
    }
}
