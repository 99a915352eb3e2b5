//! One reading of a failed response.

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::{Value, json};

use crate::{
    refusal::kind_of,
    upstream::{
        as_text,
        body_headers::{encodings, may_be_json},
        document::prefix,
        envelope::{Envelope, MAX_WORD, is_name},
        patterns::{LIMITED_WORDS, STATUSES},
    },
};

/// The most bytes of an upstream's body, and of a message made of it, that are passed to the client.
const MAX_RAW: usize = 4096;

/// The most characters of a message in a refusal.
const MAX_SUMMARY: usize = 300;

/// Headers in which an upstream explains its error, and what to put before their values.
static EXPLAINING: [(HeaderName, &str); 2] = [
    // GitHub Models names whose limit it is.
    (HeaderName::from_static("x-ratelimit-type"), "exceeded for "),
    // Hugging Face.
    (HeaderName::from_static("x-error-message"), ""),
];

/// A failed response, or an error that was found in a 2xx or in an event of a stream, read once.
///
/// It serves the [classifier](crate::Classify), refusals, and the answer to the client. What an upstream says is not
/// to be trusted: it may quote the request.
///
/// ```
/// use http::{HeaderMap, StatusCode};
/// use tower_free_models::classify::UpstreamError;
///
/// let body = r#"[{"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}}]"#;
/// let error = UpstreamError::read(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), body);
/// assert_eq!(error.message(), Some("Slow down."));
/// assert_eq!(error.code(), Some("RESOURCE_EXHAUSTED"));
/// ```
pub struct UpstreamError {
    sent: StatusCode,
    status: StatusCode,
    status_in_words: bool,
    body: Bytes,
    form: Form,
    pub(super) envelope: Envelope,
}

/// What a body is.
enum Form {
    Json(Value),
    /// Text, JSON that was cut short, or nothing.
    Text,
    /// A page for browsers: a proxy answered, not the API.
    Html,
    /// It is in a content encoding that is not undone.
    Encoded,
}

impl UpstreamError {
    /// Reads a response with this status and these headers. `body` may be empty or cut short; for an event of a stream
    /// it is the event's data. All of it is read, so it should be bounded before: the layers read at most 64 KiB of a
    /// response that is no success.
    ///
    /// A 2xx is read as one that holds an error.
    #[must_use]
    pub fn read(status: StatusCode, headers: &HeaderMap, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let text = as_text(&body);
        let text = text.trim_start_matches('\u{feff}').trim();
        let (mut envelope, form) = if encodings(headers).next().is_some() {
            (Envelope::default(), Form::Encoded)
        } else if text.starts_with('<') {
            (Envelope::default(), Form::Html)
        } else {
            let (envelope, tree) = Envelope::of(text, || may_be_json(headers));
            (envelope, tree.map_or(Form::Text, Form::Json))
        };
        for (header, before) in &EXPLAINING {
            let value = headers.get(header).and_then(|value| value.to_str().ok());
            if let Some(value) = value {
                envelope.add(&format!("{before}{value}"));
            }
        }
        let stated = status_in(&envelope).and_then(|status| StatusCode::from_u16(status).ok());
        Self {
            sent: status,
            status: match stated {
                _ if !status.is_success() => status,
                Some(stated) => stated,
                None if is_limit_in_words(&envelope) => StatusCode::TOO_MANY_REQUESTS,
                None => StatusCode::INTERNAL_SERVER_ERROR,
            },
            status_in_words: status.is_success() && stated.is_none(),
            body,
            form,
            envelope,
        }
    }

    /// The status of the failure: that of the response, or, of an error in a 2xx, what its code or words say.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The error's own words, as the upstream sent them; `None` if there are none, or the body is a web page.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.envelope.message.as_deref()
    }

    /// The error's code: a word or a number of the upstream's own, or a word for its status.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        let Envelope { codes, names, .. } = &self.envelope;
        // A number that repeats the status says less than a word: Google's `status`, the `name` that validators have,
        // the class of exceptions that sdnext has for `error`.
        let status = self.answered_with();
        let says_more = |code: &&String| **code != status.as_str();
        let class = || match &self.form {
            Form::Json(tree) if tree["detail"].is_string() => tree["error"].as_str(),
            _ => None,
        };
        let own = codes.iter().find(says_more).or_else(|| names.first());
        own.map(String::as_str)
            .or_else(|| class().filter(|class| is_name(class)))
            .or_else(|| codes.first().map(String::as_str))
    }

    /// The parameter of the request that is at fault, as far as the error says.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        let Envelope { param, place, .. } = &self.envelope;
        let param = param.as_deref().filter(|param| param.len() <= MAX_WORD);
        place.as_deref().or(param)
    }

    /// The body as it was sent.
    pub(super) const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The status of the response.
    pub(super) const fn sent_status(&self) -> StatusCode {
        self.sent
    }

    /// The status of an error in a 2xx is no number and no label, but a guess by its words, which may be the caller's.
    pub(super) const fn status_in_words(&self) -> bool {
        self.status_in_words
    }

    pub(super) const fn is_html(&self) -> bool {
        matches!(self.form, Form::Html)
    }

    /// The status with which the error goes to the client.
    pub(crate) const fn answered_with(&self) -> StatusCode {
        match self.status_in_words {
            true => StatusCode::BAD_REQUEST,
            false => self.status,
        }
    }

    /// The message in one line without control characters, cut at 300 characters.
    pub(crate) fn summary(&self) -> Option<String> {
        let words = self
            .message()?
            .split(|c: char| c.is_control() || c.is_whitespace());
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        Some(words.join(" ").chars().take(MAX_SUMMARY).collect())
    }

    /// The body for the client. One in OpenAI's envelope, which has a string in `error.message` and strings or null in
    /// `type`, `param` and `code`, goes back as it was sent, and any other error becomes
    ///
    /// ```json
    /// {"error": {"message": "…", "type": "…", "param": null, "code": null, "metadata": {"provider": "…", "raw": …}}}
    /// ```
    ///
    /// where `type` follows from the status, the other three are the provider's, and `raw` is what it sent.
    pub(crate) fn into_openai(self, provider: &str) -> Bytes {
        if matches!(&self.form, Form::Json(tree) if is_openai_error(tree)) {
            return self.body;
        }
        let status = self.answered_with();
        let unexplained = match self.form {
            Form::Html => {
                format!(
                    "{provider} answered with a web page instead of an error (status {status})."
                )
            }
            Form::Encoded => format!(
                "{provider} answered with status {status}, and a compressed body although none was asked for."
            ),
            _ => format!("{provider} answered with status {status}, and did not say why."),
        };
        let message = self.message().unwrap_or(&unexplained);
        let mut error = json!({
            "message": prefix(message, MAX_RAW),
            "type": kind_of(status),
            "param": self.param(),
            "code": self.code(),
            "metadata": { "provider": provider },
        });
        let raw = match self.form {
            Form::Json(tree) => {
                let text = tree.to_string();
                Some(if text.len() <= MAX_RAW {
                    tree
                } else {
                    prefix(&text, MAX_RAW).into()
                })
            }
            Form::Text if !self.body.is_empty() => {
                let text = String::from_utf8_lossy(&self.body);
                Some(prefix(text.trim_start_matches('\u{feff}'), MAX_RAW).into())
            }
            _ => None,
        };
        if let Some(raw) = raw {
            error["metadata"]["raw"] = raw;
        }
        json!({ "error": error }).to_string().into()
    }
}

/// The status that a number or a label of an error states.
fn status_in(envelope: &Envelope) -> Option<u16> {
    let labelled = envelope.labels.iter().filter_map(|label| {
        let (_, status) = STATUSES.iter().find(|(word, _)| word == label)?;
        Some(*status)
    });
    // A type that says "bad request" is believed last: the code beside it says more.
    let mut labelled: Vec<_> = labelled.collect();
    labelled.sort_by_key(|status| *status == 400);
    envelope.status.or_else(|| labelled.first().copied())
}

fn is_limit_in_words(envelope: &Envelope) -> bool {
    let mut messages = envelope.messages.iter();
    messages.any(|message| LIMITED_WORDS.iter().any(|words| message.holds(&[words])))
}

/// Whether every client of OpenAI's can read all of it: those in typed languages fail at a number in `code`.
fn is_openai_error(body: &Value) -> bool {
    let error = &body["error"];
    error["message"].is_string()
        && ["type", "param", "code"]
            .iter()
            .all(|field| matches!(error[*field], Value::Null | Value::String(_)))
}

/// The body may echo a credential or the request, so only its length is shown.
impl fmt::Debug for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamError")
            .field("status", &self.status)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish_non_exhaustive()
    }
}
