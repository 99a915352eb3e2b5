//! What a model for recordings hears.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

/// A request, as far as it matters here.
#[derive(Deserialize)]
pub(super) struct RecordingRequest {
    pub(super) model: String,
    /// How many bytes it has.
    file: usize,
    response_format: Option<String>,
}

impl RecordingRequest {
    pub(super) fn answer(&self, by: &str) -> Response {
        let text = format!("{} bytes of sound — heard by {by}, simulated", self.file);
        match self.response_format.as_deref() {
            Some("text") => text.into_response(),
            _ => Json(json!({ "text": text })).into_response(),
        }
    }
}
