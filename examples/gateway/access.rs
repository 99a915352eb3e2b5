//! The keys that the gateway asks of its callers.

use std::{fmt, sync::Arc};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use subtle::{Choice, ConstantTimeEq};

use crate::refusal::openai_error;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The route that needs no key, for whatever watches over the gateway.
pub(crate) const HEALTHZ: &str = "/healthz";

/// The keys, any of which opens the gateway; there is at least one.
#[derive(Clone)]
pub(crate) struct AccessKeys(Arc<[String]>);

impl AccessKeys {
    /// The keys that a variable holds, separated by commas.
    pub(crate) fn from_variable(
        name: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let value = variable(name).ok_or_else(|| {
            format!("access_keys_env names the environment variable {name}, which is not set")
        })?;
        let keys: Arc<[String]> = value
            .split(',')
            .map(str::trim)
            .filter(|key| !key.is_empty())
            .map(str::to_owned)
            .collect();
        if keys.is_empty() {
            return Err(format!(
                "the environment variable {name} holds no key: it should hold callers' keys, separated by commas"
            ));
        }
        if !keys
            .iter()
            .all(|key| key.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(format!(
                "the environment variable {name} holds characters that no header can carry in a key"
            ));
        }
        Ok(Self(keys))
    }

    /// The refusal of a request that carries none of the keys. The stack hands no credential of a caller to a provider.
    pub(crate) fn refuse<B>(&self, request: &Request<B>) -> Option<Response> {
        let passes = request.uri().path() == HEALTHZ || self.open(request.headers());
        (!passes).then(refused)
    }

    /// Whether a caller gave one of the keys. How long that takes depends on the lengths alone.
    fn open(&self, headers: &HeaderMap) -> bool {
        let bearer = headers
            .get_all(header::AUTHORIZATION)
            .iter()
            .filter_map(bearer);
        let plain = headers.get_all(X_API_KEY).iter().map(HeaderValue::as_bytes);
        let mut fits = Choice::from(0);
        for given in bearer.chain(plain) {
            for key in &*self.0 {
                fits |= key.as_bytes().ct_eq(given);
            }
        }
        fits.into()
    }
}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessKeys({})", self.0.len())
    }
}

/// The credential of `Authorization: Bearer …`; the scheme's case does not matter (RFC 9110, section 11.1).
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, credential) = value.as_bytes().split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| credential.trim_ascii())
}

fn refused() -> Response {
    let message = "This gateway asks its callers for a key. Send one of its own keys, not a provider's, as \
                   `Authorization: Bearer KEY` or as `x-api-key: KEY`.";
    let error = openai_error(
        StatusCode::UNAUTHORIZED,
        "invalid_api_key",
        message,
        json!({}),
    );
    ([(header::WWW_AUTHENTICATE, "Bearer")], error).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(value: &str) -> Result<AccessKeys, String> {
        AccessKeys::from_variable("KEYS", &|name| (name == "KEYS").then(|| value.to_owned()))
    }

    fn opens(headers: &[(HeaderName, &'static str)]) -> bool {
        let headers = headers
            .iter()
            .fold(HeaderMap::new(), |mut all, (name, value)| {
                all.append(name, HeaderValue::from_static(value));
                all
            });
        keys(" first, second\n,").expect("keys").open(&headers)
    }

    #[test]
    fn each_key_opens_in_either_header() {
        for value in ["Bearer first", "bearer second", "BEARER  first"] {
            assert!(opens(&[(header::AUTHORIZATION, value)]), "{value}");
        }
        assert!(opens(&[(X_API_KEY, "second")]));
        // Some clients insist on a key of their own in the other header.
        assert!(opens(&[
            (header::AUTHORIZATION, "Bearer sk-none"),
            (X_API_KEY, "first")
        ]));
    }

    #[test]
    fn nothing_else_opens() {
        assert!(!opens(&[]));
        for value in [
            "Bearer",
            "Bearer ",
            "Bearer firs",
            "Bearer firstt",
            "Bearer FIRST",
            "Bearer first, second",
            "first",
            "Basic first",
        ] {
            assert!(!opens(&[(header::AUTHORIZATION, value)]), "{value}");
        }
        for value in ["", "third", "Bearer first"] {
            assert!(!opens(&[(X_API_KEY, value)]), "{value}");
        }
    }

    #[test]
    fn a_variable_without_a_usable_key_is_an_error_that_does_not_show_it() {
        for value in ["", " , ,", "canary two", "canary\u{e9}"] {
            let error = keys(value).expect_err("an error");
            assert!(
                error.contains("KEYS") && !error.contains("canary"),
                "{error}"
            );
        }
        let error = AccessKeys::from_variable("NONE", &|_| None).expect_err("an error");
        assert!(error.contains("NONE"), "{error}");
    }

    #[test]
    fn keys_are_not_in_debug_output() {
        assert!(!format!("{:?}", keys("canary")).contains("canary"));
    }
}
