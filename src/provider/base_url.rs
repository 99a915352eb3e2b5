//! Where a provider is.

use std::{error::Error, fmt, sync::Arc};

use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::endpoint::Endpoint;

/// The base URL of an OpenAI-compatible service, such as `https://openrouter.ai/api/v1`.
///
/// ```
/// use tower_free_models::provider::BaseUrl;
///
/// let base = BaseUrl::parse("https://openrouter.ai/api/v1/")?;
/// let uri = base.uri("/v1/chat/completions", None);
/// assert_eq!(uri, "https://openrouter.ai/api/v1/chat/completions");
/// # Ok::<(), tower_free_models::provider::BaseUrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl {
    scheme: Scheme,
    authority: Authority,
    /// Empty, or with a leading and without a trailing slash.
    path: String,
    /// All of the above.
    uri: Uri,
    /// The addresses of the endpoints, in the order of [`Endpoint::ALL`]: made once, because every request has one.
    endpoints: Arc<[Uri]>,
}

impl BaseUrl {
    /// Reads an absolute http or https URL.
    ///
    /// # Errors
    ///
    /// If it is not one, or holds what a base cannot: a user, a query, a fragment.
    pub fn parse(url: &str) -> Result<Self, BaseUrlError> {
        // `Uri` drops a fragment without a word.
        if url.contains('#') {
            return Err(BaseUrlError::new("has a fragment"));
        }
        let uri: Uri = url
            .parse()
            .map_err(|_| BaseUrlError::new("is not a URL, such as https://host/v1"))?;
        let scheme = match uri.scheme_str() {
            Some(s) if s.eq_ignore_ascii_case("http") => Scheme::HTTP,
            Some(s) if s.eq_ignore_ascii_case("https") => Scheme::HTTPS,
            _ => return Err(BaseUrlError::new("does not begin with http:// or https://")),
        };
        let authority = match uri.authority() {
            Some(authority) if !authority.host().is_empty() => authority.clone(),
            _ => return Err(BaseUrlError::new("names no host")),
        };
        if authority.as_str().contains('@') {
            return Err(BaseUrlError::new(
                "holds a user or password; a key is set apart from the URL",
            ));
        }
        if authority.as_str() != authority.host() && authority.port_u16().is_none() {
            return Err(BaseUrlError::new(
                "has a port that is not a number up to 65535",
            ));
        }
        if uri.query().is_some() {
            return Err(BaseUrlError::new("has a query"));
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        let uri = join(&scheme, &authority, &path)
            .ok_or_else(|| BaseUrlError::new("is not a URL, such as https://host/v1"))?;
        Ok(Self::of(scheme, authority, path, uri))
    }

    fn of(scheme: Scheme, authority: Authority, path: String, uri: Uri) -> Self {
        let mut base = Self {
            scheme,
            authority,
            path,
            uri,
            endpoints: Arc::default(),
        };
        let endpoints = Endpoint::ALL.map(|endpoint| base.uri(endpoint.versioned_path(), None));
        base.endpoints = Arc::new(endpoints);
        base
    }

    /// The address of an endpoint of OpenAI's under this base.
    pub(crate) fn endpoint(&self, endpoint: Endpoint, query: Option<&str>) -> Uri {
        match self.endpoints.get(endpoint as usize) {
            Some(uri) if query.is_none() => uri.clone(),
            _ => self.uri(endpoint.versioned_path(), query),
        }
    }

    /// The address of an endpoint under this base: the path of the base and that of the endpoint.
    ///
    /// A base with a path names its own version, so the `/v1` of an endpoint is left out over it: never a doubled
    /// `/v1`, and none at all for a service without, as at `…/v1beta/openai/chat/completions`. A path under
    /// `/sdapi/v1` is that of an API beside OpenAI's: it takes the place of a `/v1` or `/sdapi/v1` at the end of the
    /// base. What cannot be part of a URI gives the base itself, where no service answers.
    #[must_use]
    pub fn uri(&self, endpoint_path: &str, query: Option<&str>) -> Uri {
        let mut base = self.path.as_str();
        let mut endpoint = endpoint_path;
        if endpoint.starts_with(SDAPI) {
            base = base.strip_suffix("/v1").unwrap_or(base);
            base = base.strip_suffix("/sdapi").unwrap_or(base);
        } else if let Some(rest) = endpoint.strip_prefix("/v1") {
            if !base.is_empty() && (rest.is_empty() || rest.starts_with('/')) {
                endpoint = rest;
            }
        }
        let mut path = base.to_owned();
        if !endpoint.is_empty() && !endpoint.starts_with('/') {
            path.push('/');
        }
        path.push_str(endpoint);
        if let Some(query) = query {
            path.push('?');
            path.push_str(query);
        }
        join(&self.scheme, &self.authority, &path).unwrap_or_else(|| self.uri.clone())
    }

    /// The base without the last segment of its path.
    pub(crate) fn parent(&self) -> Self {
        let (path, _) = self.path.rsplit_once('/').unwrap_or_default();
        let uri = join(&self.scheme, &self.authority, path).unwrap_or_else(|| self.uri.clone());
        let (scheme, authority) = (self.scheme.clone(), self.authority.clone());
        Self::of(scheme, authority, path.to_owned(), uri)
    }

    /// Whether another address is at the same origin: scheme, host and port.
    pub(crate) fn has_origin_of(&self, other: &Uri) -> bool {
        let origin = |scheme: Option<&Scheme>, authority: Option<&Authority>| {
            let (scheme, authority) = (scheme?, authority?);
            let usual = if *scheme == Scheme::HTTPS { 443 } else { 80 };
            let port = authority.port_u16().unwrap_or(usual);
            Some((scheme.clone(), authority.host().to_ascii_lowercase(), port))
        };
        origin(Some(&self.scheme), Some(&self.authority))
            == origin(other.scheme(), other.authority())
    }

    /// The host, without a port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority.host()
    }
}

/// Where AUTOMATIC1111 and sdnext have their own API.
const SDAPI: &str = "/sdapi/v1/";

fn join(scheme: &Scheme, authority: &Authority, path: &str) -> Option<Uri> {
    let path = match path {
        "" => PathAndQuery::from_static("/"),
        path => PathAndQuery::try_from(path).ok()?,
    };
    Uri::builder()
        .scheme(scheme.clone())
        .authority(authority.clone())
        .path_and_query(path)
        .build()
        .ok()
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.path)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no base URL. It does not repeat the text, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrlError {
    fault: &'static str,
}

impl BaseUrlError {
    const fn new(fault: &'static str) -> Self {
        Self { fault }
    }
}

impl fmt::Display for BaseUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the base URL {}", self.fault)
    }
}

impl Error for BaseUrlError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(base: &str, endpoint: &str) -> String {
        let base = BaseUrl::parse(base).expect("a base URL");
        base.uri(endpoint, None).to_string()
    }

    #[test]
    fn v1_is_never_doubled() {
        for base in [
            "http://h:9/v1",
            "http://h:9/v1/",
            "http://h:9",
            "http://h:9/",
        ] {
            assert_eq!(at(base, "/v1/models"), "http://h:9/v1/models", "{base}");
        }
    }

    #[test]
    fn a_base_with_another_path_takes_the_place_of_v1() {
        for (base, there) in [
            ("https://h/api/v1", "https://h/api/v1/chat/completions"),
            (
                "https://h/v1beta/openai/",
                "https://h/v1beta/openai/chat/completions",
            ),
            (
                "https://h/inference",
                "https://h/inference/chat/completions",
            ),
        ] {
            assert_eq!(at(base, "/v1/chat/completions"), there);
            assert_eq!(at(base, "/chat/completions"), there);
        }
    }

    #[test]
    fn an_api_beside_openais_is_found_from_any_base() {
        for (base, there) in [
            ("http://h:9", "http://h:9/sdapi/v1/txt2img"),
            ("http://h:9/v1", "http://h:9/sdapi/v1/txt2img"),
            ("http://h:9/sdapi/v1/", "http://h:9/sdapi/v1/txt2img"),
            ("http://h:9/sub/v1", "http://h:9/sub/sdapi/v1/txt2img"),
            ("http://h:9/sub", "http://h:9/sub/sdapi/v1/txt2img"),
        ] {
            assert_eq!(at(base, "/sdapi/v1/txt2img"), there);
        }
    }

    #[test]
    fn v1_is_a_whole_segment() {
        assert_eq!(at("http://h/v1", "/v1beta/x"), "http://h/v1/v1beta/x");
        assert_eq!(at("http://h/v1", "/v1"), "http://h/v1");
    }

    #[test]
    fn the_query_is_kept() {
        let base = BaseUrl::parse("http://h/v1").expect("a base URL");
        assert_eq!(
            base.uri("/v1/models", Some("a=b&c")),
            "http://h/v1/models?a=b&c"
        );
    }

    #[test]
    fn what_a_base_cannot_hold_is_refused_by_name_and_not_repeated() {
        for (url, fault) in [
            ("", "not a URL"),
            ("openrouter.ai", "begin with"),
            ("/v1", "begin with"),
            ("ftp://h/v1", "begin with"),
            ("http://me:secret@h/v1", "user or password"),
            ("http://h/v1?secret", "query"),
            ("http://h/v1#secret", "fragment"),
            ("http://h:70000/v1", "port"),
            ("http://h:/v1", "port"),
            ("http://h h/v1", "not a URL"),
        ] {
            let error = BaseUrl::parse(url).expect_err(url).to_string();
            assert!(error.contains(fault), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_scheme_may_be_in_capitals() {
        assert_eq!(at("HTTPS://h/v1", "/models"), "https://h/v1/models");
    }

    #[test]
    fn an_ipv6_host_is_a_host() {
        assert_eq!(
            at("http://[::1]:8080", "/v1/models"),
            "http://[::1]:8080/v1/models"
        );
        assert_eq!(at("http://[::1]", "/v1/models"), "http://[::1]/v1/models");
    }

    proptest! {
        #[test]
        fn any_endpoint_stays_at_the_host(endpoint in ".{0,40}", query in proptest::option::of(".{0,20}")) {
            let base = BaseUrl::parse("http://h/v1").expect("a base URL");
            let uri = base.uri(&endpoint, query.as_deref());
            prop_assert_eq!(uri.authority().map(Authority::as_str), Some("h"));
            prop_assert!(uri.path().starts_with("/v1"));
        }

        #[test]
        fn any_text_is_a_base_or_an_error(url in ".{0,60}") {
            if let Ok(base) = BaseUrl::parse(&url) {
                prop_assert_eq!(BaseUrl::parse(&base.to_string()), Ok(base));
            }
        }
    }
}
