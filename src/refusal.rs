//! Refusals: the answers that the layers give themselves, in OpenAI's error format.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::headers::ATTEMPTS;

/// Tells OpenAI's official clients whether to retry
/// (`openai-python`, `_base_client.py`, `_should_retry`).
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The longest wait for a recovery that is worth a client's own retry.
const WORTH_A_RETRY: Duration = Duration::from_secs(60);

/// An answer of our own instead of an upstream's: a status and an error in OpenAI's format.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    message: String,
    code: &'static str,
    param: Option<String>,
    metadata: Map<String, Value>,
    /// The time until a target recovers for certain.
    retry_after: Option<Duration>,
    /// A client should not send the request again soon.
    hopeless: bool,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            code,
            param: None,
            metadata: Map::new(),
            retry_after: None,
            hopeless: false,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    pub(crate) fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub(crate) fn metadata(mut self, key: &str, value: Value) -> Self {
        self.metadata.insert(key.to_owned(), value);
        self
    }

    /// `Retry-After`, in whole seconds, rounded up, at least one.
    pub(crate) const fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The first recovery is this far away: further than a minute, `x-should-retry` says not to retry.
    pub(crate) fn recovers_in(mut self, wait: Duration) -> Self {
        self.hopeless |= wait > WORTH_A_RETRY;
        self
    }

    pub(crate) fn into_response(self) -> Response<Bytes> {
        let mut error = json!({ "message": self.message, "type": kind_of(self.status), "param": self.param, "code": self.code });
        if !self.metadata.is_empty() {
            error["metadata"] = Value::Object(self.metadata);
        }
        let mut response = Response::new(Bytes::from(json!({ "error": error }).to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        // The fallback sets the count, where it has made attempts.
        headers.insert(ATTEMPTS, HeaderValue::from_static("0"));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if self.hopeless {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response
    }
}

/// The `type` of an error, by its status: as OpenAI's clients name their errors
/// (`openai-python`, `_client.py`, `_make_status_error`).
pub(crate) fn kind_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

/// Rounded up, so that no client comes back too early; at least one.
fn whole_seconds(wait: Duration) -> u64 {
    let part = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(part).max(1)
}

/// "in 45 s", "in 12 min", "in 3 h": for messages to people.
pub(crate) fn in_words(wait: Duration) -> String {
    let seconds = whole_seconds(wait);
    match seconds {
        ..120 => format!("in {seconds} s"),
        120..7200 => format!("in {} min", seconds.div_ceil(60)),
        _ => format!("in {} h", seconds.div_ceil(3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_openai_error() {
        let refusal =
            Refusal::new(StatusCode::NOT_FOUND, "missing_capability", "no").param("tools");
        let response = refusal.into_response();
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()["content-type"], "application/json");
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(
            body,
            json!({ "error": { "message": "no", "type": "not_found_error", "param": "tools", "code": "missing_capability" } })
        );
    }

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
        assert_eq!(whole_seconds(Duration::from_millis(1001)), 2);
        assert_eq!(whole_seconds(Duration::from_secs(7)), 7);
    }

    #[test]
    fn a_far_recovery_says_not_to_retry() {
        let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "x", "y");
        let header = |wait| {
            refusal
                .clone()
                .recovers_in(Duration::from_secs(wait))
                .into_response()
                .headers()
                .get("x-should-retry")
                .cloned()
        };
        assert_eq!(header(60), None);
        assert_eq!(header(61), Some(HeaderValue::from_static("false")));
    }
}
