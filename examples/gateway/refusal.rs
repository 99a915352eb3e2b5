//! The gateway's own errors, in OpenAI's format.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// An error with this code and these words; `more` is an object of further fields of `error`.
pub(crate) fn openai_error(status: StatusCode, code: &str, message: &str, more: Value) -> Response {
    let mut error =
        json!({ "message": message, "type": kind(status), "param": null, "code": code });
    if let (Some(error), Value::Object(more)) = (error.as_object_mut(), more) {
        error.extend(more);
    }
    (status, Json(json!({ "error": error }))).into_response()
}

/// The `type` of an error, in the same words as the library's errors.
fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "server_error",
    }
}
