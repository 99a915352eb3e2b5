//! What goes wrong, in the words and shapes of OpenRouter.

use std::time::Duration;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::request::Misfit;

/// What is said instead of an answer.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    metadata: Value,
}

/// The account's requests of this minute are used up: no model of the provider helps.
pub(super) fn account_limit(limit: u32, reset_epoch_ms: u128) -> Refusal {
    let metadata = json!({
        "headers": {
            "X-RateLimit-Limit": limit.to_string(),
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": reset_epoch_ms.to_string(),
        },
        "limit_source": "openrouter_free_tier_per_minute",
        "provider_name": null,
    });
    let message = "Rate limit exceeded: free-models-per-min. ";
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, message, metadata)
}

/// One model is asked too much: another helps.
pub(super) fn busy(model: &str, provider: &str, wait: Duration) -> Refusal {
    let exact = wait.as_secs_f64();
    let seconds = exact.ceil();
    let metadata = json!({
        "raw": format!("{model} is temporarily rate-limited upstream. Please retry shortly."),
        "provider_name": provider,
        "provider_error_code": "rate_limit_exceeded",
        "limit_source": "upstream_provider_shared_pool",
        "retry_after_seconds": seconds as u64,
        "retry_after_seconds_raw": exact,
        "headers": { "Retry-After": seconds.to_string() },
    });
    let message = "Provider returned error";
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, message, metadata)
}

/// The model is down for an unknown time.
pub(super) fn overloaded() -> Refusal {
    let message = "No instances available";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message, Value::Null)
}

/// The model broke down: an error that comes inside a success.
pub(super) fn broke_down(model: &str) -> Refusal {
    let metadata = json!({
        "raw": format!("{model}: the worker exited"),
        "error_type": "provider_unavailable",
    });
    Refusal::new(StatusCode::BAD_GATEWAY, "Provider returned error", metadata)
}

/// The model can not serve this request, however often it is asked.
pub(super) fn misfit(misfit: &Misfit) -> Refusal {
    match misfit {
        Misfit::Tools => not_found("No endpoints found that support tool use.".to_owned()),
        Misfit::Input(input) => not_found(format!("No endpoints found that support {input} input")),
        Misfit::Parameters => {
            not_found("No endpoints found that can handle the requested parameters.".to_owned())
        }
        Misfit::TooLong { limit, asked } => {
            let message = format!(
                "This endpoint's maximum context length is {limit} tokens. \
                 However, you requested about {asked} tokens."
            );
            let metadata = json!({ "error_type": "context_length_exceeded" });
            Refusal::new(StatusCode::BAD_REQUEST, message, metadata)
        }
    }
}

/// The model is for something else.
pub(super) fn cannot_make(output: &str) -> Refusal {
    not_found(format!("No endpoints found that support {output} output"))
}

pub(super) fn bad_request(why: &serde_json::Error) -> Refusal {
    let message = format!("The request is not understood: {why}");
    Refusal::new(StatusCode::BAD_REQUEST, message, Value::Null)
}

pub(super) fn no_such_model(model: &str) -> Refusal {
    not_found(format!("{model} is not a valid model ID"))
}

pub(super) fn no_such_provider(provider: &str) -> Refusal {
    not_found(format!("There is no simulated provider {provider}"))
}

pub(super) fn no_key() -> Refusal {
    let message = "No cookie auth credentials found";
    Refusal::new(StatusCode::UNAUTHORIZED, message, Value::Null)
}

pub(super) fn wrong_key() -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "User not found.", Value::Null)
}

fn not_found(message: String) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, message, Value::Null)
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>, metadata: Value) -> Self {
        Self {
            status,
            message: message.into(),
            metadata,
        }
    }

    /// The error object, which also stands in answers that are errors.
    pub(super) fn body(&self) -> Value {
        let mut error = json!({ "message": self.message, "code": self.status.as_u16() });
        if !self.metadata.is_null() {
            error["metadata"] = self.metadata.clone();
        }
        json!({ "error": error })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body())).into_response()
    }
}
