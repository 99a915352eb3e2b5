//! What an error's body says, in any of the envelopes that providers wrap it in.
//!
//! There is no one format: `{"error": {…}}` (OpenAI, OpenRouter, Google), `{"error": "…"}` (Ollama, Hugging Face,
//! Venice, xAI), flat `{"message", "code"}` (Cerebras, Mistral, Cohere), `{"detail": …}` (FastAPI, Mistral's gateway),
//! `{"status", "title"}` (NVIDIA), `[{"error": …}]` (Gemini), `{"success": false, "errors": […]}` (Cloudflare),
//! `{"type": "error", "error": …}` (Anthropic, OpenCode), a `response` or a choice that failed, or no JSON at all.

use http::HeaderMap;
use serde::de::MapAccess;

use crate::{
    json::{Extent, Reads, extent, into, skip},
    upstream::{prose::Saying, resets},
};

/// Prose beyond this is not looked at.
const MAX_TEXT: usize = 8 * 1024;

/// Messages beyond this many are no evidence.
const MAX_SAID: usize = 32;

/// Labels beyond this many, or this long, are none.
const MAX_LABELS: usize = 32;
const MAX_LABEL: usize = 128;

/// What OpenRouter's own labels begin with: they name its account, and not its upstream's.
pub(crate) const ROUTERS_OWN: &str = "openrouter_";

/// The most characters of a message for people.
const MAX_MESSAGE: usize = 300;

/// What was found in the body of an error.
#[derive(Debug, Default)]
pub(crate) struct ErrorBody {
    /// The words meant for programs, in lower case, in order: codes (numbers too), types, statuses, reasons, limit
    /// sources, routing steps. No caller can write one: the upstream takes them from its own lists.
    pub(crate) labels: Vec<String>,
    /// Google's `quotaId`s, in lower case.
    pub(crate) quotas: Vec<String>,
    /// The words meant for people, as they were sent; each ends with a line feed. They may quote the request.
    pub(crate) text: String,
    /// What of these words is evidence, message by message.
    pub(crate) said: Vec<Saying>,
    /// The first number that can be an HTTP status.
    pub(crate) status: Option<u16>,
    /// The request's parameter that is at fault.
    pub(crate) param: Option<String>,
    /// Something within another parameter than the model is at fault.
    pub(crate) within_param: bool,
    /// The context window in tokens, where it has a field of its own (llama.cpp).
    pub(crate) window: Option<u64>,
    /// The error is an upstream's, passed on by a router: who is named in it is not the caller (OpenRouter's
    /// `metadata.provider_name`).
    pub(crate) relayed: bool,
    /// A page for browsers: an edge or a proxy answered, not the API.
    pub(crate) html: bool,
    /// The reader is within an `error`. Beside it `metadata` is the caller's own, which a response repeats.
    in_error: bool,
    /// The reader is in the details, which show what the error is about.
    in_details: bool,
    /// This is an error that another error quotes in a string.
    quoted: bool,
}

impl ErrorBody {
    /// Reads `body`, which may be empty or cut short.
    pub(crate) fn of(body: &[u8]) -> Self {
        Self::cut_or_whole(body, true)
    }

    /// Reads the body of a response with these headers.
    ///
    /// What is not declared to be JSON is read as JSON only if it is a whole document: plain text may begin with what a
    /// caller wrote, and that may look like the beginning of one.
    pub(crate) fn of_response(headers: &HeaderMap, body: &[u8]) -> Self {
        Self::cut_or_whole(body, resets::may_be_cut(headers))
    }

    fn cut_or_whole(body: &[u8], may_be_cut: bool) -> Self {
        let text = String::from_utf8_lossy(body);
        Self::read(text.trim_start_matches('\u{feff}'), may_be_cut, false)
    }

    /// Reads a whole body, or the string that quotes one.
    fn read(text: &str, may_be_cut: bool, quoted: bool) -> Self {
        let text = text.trim();
        let blank = || Self {
            quoted,
            ..Self::default()
        };
        let mut error = blank();
        if text.starts_with('<') {
            error.html = true;
            return error;
        }
        match extent(text, &mut error) {
            Extent::Whole => return error,
            Extent::Cut if may_be_cut => {
                if error.text.is_empty() {
                    error = closed(text).unwrap_or(error);
                }
            }
            Extent::Cut | Extent::Other => error = blank(),
        }
        if error.text.is_empty() {
            // Plain text, or JSON that was cut before its message.
            error.say(text);
        }
        error
    }

    /// Adds something meant for people.
    pub(crate) fn say(&mut self, text: &str) {
        let room = MAX_TEXT.saturating_sub(self.text.len());
        let text = text.trim();
        if !text.is_empty() && room > 0 {
            let cut = (0..=room.min(text.len())).rev();
            let end = cut
                .into_iter()
                .find(|&at| text.is_char_boundary(at))
                .unwrap_or(0);
            let shown = &text[..end];
            self.text.push_str(shown);
            self.text.push('\n');
            if self.said.len() < MAX_SAID {
                let is_message = !self.in_details && end == text.len();
                self.said.push(Saying::of(shown, is_message));
            }
        }
    }

    fn label(&mut self, label: &str) {
        let label = label.trim();
        if self.labels.len() < MAX_LABELS && !label.is_empty() && label.len() <= MAX_LABEL {
            self.labels.push(label.to_ascii_lowercase());
        }
    }

    /// Takes a number that may be a status: of several the outermost, so that a router's own goes first.
    fn number_of_status(&mut self, scalar: &Scalar) {
        if let Some(status) = scalar.status() {
            self.status.get_or_insert(status);
        }
    }

    /// Takes what the upstream of a router said. What only the router can say of itself is not believed of it.
    fn take_quoted(&mut self, raw: &str) {
        let mut inner = Self::read(raw, false, true);
        let room = MAX_TEXT.saturating_sub(self.text.len());
        if inner.text.len() <= room {
            self.text.push_str(&inner.text);
        } else {
            self.say(&inner.text);
        }
        self.said.append(&mut inner.said);
        self.said.truncate(MAX_SAID);
        let labels = inner.labels.iter();
        labels
            .filter(|label| !label.starts_with(ROUTERS_OWN))
            .for_each(|label| self.label(label));
        self.quotas.append(&mut inner.quotas);
        self.quotas.truncate(MAX_LABELS);
        self.param = self.param.take().or(inner.param);
        self.within_param |= inner.within_param;
        self.window = self.window.or(inner.window);
    }
}

/// JSON that was cut within its message, read as if the message ended there.
fn closed(text: &str) -> Option<ErrorBody> {
    /// The longest escape, of which a part may be left at the end: a surrogate pair.
    const LONGEST_ESCAPE: usize = 12;

    let starts = (0..=LONGEST_ESCAPE).filter_map(|cut| text.get(..text.len().checked_sub(cut)?));
    starts
        .map(|start| {
            let mut error = ErrorBody::default();
            extent(&format!("{start}\""), &mut error);
            // How it went on is not known.
            error.said.iter_mut().for_each(Saying::is_cut);
            error
        })
        .find(|error| !error.text.is_empty())
}

impl Reads for ErrorBody {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            // Envelopes, and what speaks to people: of those the strings are taken, of their objects the fields.
            "error" | "errors" => {
                let outer = std::mem::replace(&mut self.in_error, true);
                let read = into(map, self);
                self.in_error = outer;
                read
            }
            "msg" | "detail" | "title" => into(map, self),
            "message" => into(map, &mut Only(self, &["detail", "error", "message"])),
            "details" | "violations" => {
                let outer = std::mem::replace(&mut self.in_details, true);
                let read = into(map, self);
                self.in_details = outer;
                read
            }
            "metadata" | "availability" if self.in_error => into(map, self),
            // A response that failed repeats the request: the caller's `metadata`, messages, tools.
            "response" | "choices" => into(map, &mut Only(self, &["error"])),
            "code" | "status" | "http_status" | "status_code" | "raw_status_code" => {
                let mut scalar = Scalar::default();
                into(map, &mut scalar)?;
                self.number_of_status(&scalar);
                self.label(&scalar.0);
                Ok(())
            }
            "type"
            | "error_type"
            | "reason"
            | "limit_source"
            | "failed_routing_step"
            | "provider_error_code" => {
                let mut scalar = Scalar::default();
                into(map, &mut scalar)?;
                self.label(&scalar.0);
                Ok(())
            }
            "quotaId" => {
                let mut scalar = Scalar::default();
                into(map, &mut scalar)?;
                if self.quotas.len() < MAX_LABELS && scalar.0.len() <= MAX_LABEL {
                    self.quotas.push(scalar.0.to_ascii_lowercase());
                }
                Ok(())
            }
            "param" => {
                let mut scalar = Scalar::default();
                into(map, &mut scalar)?;
                if !scalar.0.is_empty() {
                    self.param.get_or_insert(scalar.0);
                }
                Ok(())
            }
            // Where FastAPI found the fault: ["body", "messages", 0, "content"].
            "loc" => {
                let mut place = Place::default();
                into(map, &mut place)?;
                match &place.steps[..] {
                    [body, name] if body == "body" && place.depth == 2 => {
                        self.param.get_or_insert_with(|| name.clone());
                    }
                    [body, name] if body == "body" && name != "model" => self.within_param = true,
                    _ => {}
                }
                Ok(())
            }
            "n_ctx" => {
                let mut scalar = Scalar::default();
                into(map, &mut scalar)?;
                self.window = scalar.0.parse().ok();
                Ok(())
            }
            "provider_name" => {
                let mut scalar = Scalar::default();
                into(map, &mut scalar)?;
                self.relayed |= !scalar.0.is_empty();
                Ok(())
            }
            // What the upstream said to the router: prose, or its JSON in a string, which is read once deep.
            "raw" if !self.quoted => {
                let mut raw = Scalar::default();
                into(map, &mut raw)?;
                self.take_quoted(&raw.0);
                Ok(())
            }
            _ => skip(map),
        }
    }

    fn text(&mut self, text: &str) {
        self.say(text);
    }
}

/// An envelope of which only some fields are the error's; a string in its place is one.
struct Only<'a>(&'a mut ErrorBody, &'static [&'static str]);

impl Reads for Only<'_> {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if self.1.contains(&key) {
            self.0.field(key, map)
        } else {
            skip(map)
        }
    }

    fn text(&mut self, text: &str) {
        self.0.say(text);
    }
}

/// The place of a fault in a request: its first two names, and how many steps lead to it.
#[derive(Default)]
struct Place {
    steps: Vec<String>,
    depth: usize,
}

impl Reads for Place {
    fn text(&mut self, text: &str) {
        self.depth += 1;
        if self.depth <= 2 {
            self.steps.push(text.to_owned());
        }
    }

    fn number(&mut self, _: f64) {
        self.depth += 1;
    }
}

/// A string or a number, as text.
#[derive(Default)]
struct Scalar(String);

impl Scalar {
    /// An HTTP status that is an error's.
    fn status(&self) -> Option<u16> {
        self.0
            .trim()
            .parse()
            .ok()
            .filter(|status| (300..=599).contains(status))
    }
}

impl Reads for Scalar {
    fn text(&mut self, text: &str) {
        text.clone_into(&mut self.0);
    }

    fn number(&mut self, number: f64) {
        self.0 = number.to_string();
    }
}

/// The error in a few words for people: at most 300 characters, none of them a control character. None if the body has
/// none to say, or is a page for browsers. `redact` sees the text before it is cut: half a key is a secret too.
pub(crate) fn message(body: &[u8], redact: impl Fn(&str) -> String) -> Option<String> {
    let text = redact(&ErrorBody::of(body).text);
    // A router's own "Provider returned error" says less than what the provider said.
    let text = text
        .strip_prefix("Provider returned error\n")
        .filter(|raw| !raw.is_empty())
        .unwrap_or(&text);
    let message: String = text
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(MAX_MESSAGE)
        .collect();
    (!message.is_empty()).then_some(message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(body: &str) -> Option<String> {
        message(body.as_bytes(), str::to_owned)
    }

    #[test]
    fn a_key_is_not_cut_in_half() {
        let words = "x".repeat(MAX_MESSAGE - 4);
        let body = format!(r#"{{"error":"{words} \u0073k-secret"}}"#);
        let redact = |text: &str| text.replace("sk-secret", "[redacted]");
        let message = message(body.as_bytes(), redact).expect("a message");
        assert!(message.ends_with("[re"), "{message}");
    }

    #[test]
    fn every_envelope_gives_its_message() {
        for body in [
            r#"{"error":{"message":"busy","type":"t","param":null,"code":null}}"#,
            r#"{"error":"busy"}"#,
            r#"{"code":"invalid-argument","error":"busy"}"#,
            r#"{"message":"busy","type":"t","code":"c"}"#,
            r#"{"object":"error","message":{"detail":[{"type":"t","loc":["body"],"msg":"busy"}]}}"#,
            r#"{"detail":"busy"}"#,
            r#"{"detail":[{"msg":"busy","loc":["body",0]}]}"#,
            r#"{"status":429,"title":"busy"}"#,
            r#"{"id":"x","message":"busy"}"#,
            r#"[{"error":{"code":429,"message":"busy","status":"RESOURCE_EXHAUSTED"}}]"#,
            r#"{"errors":[{"code":4006,"message":"busy"}],"success":false,"result":{}}"#,
            r#"{"type":"error","error":{"type":"t","message":"busy"}}"#,
            r#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"busy"}}}"#,
            r#"{"choices":[{"message":{"content":"half"},"finish_reason":"error","error":{"message":"busy"}}]}"#,
            r#"{"error":{"message":"Provider returned error","metadata":{"raw":"busy"}}}"#,
            r#"{"error":{"message":"Provider returned error","metadata":{"raw":"{\"error\":{\"message\":\"busy\"}}"}}}"#,
            "busy",
            " busy \r\n",
        ] {
            assert_eq!(said(body).as_deref(), Some("busy"), "{body}");
        }
    }

    #[test]
    fn a_page_for_browsers_says_nothing() {
        assert_eq!(said("<!DOCTYPE html><html>Access denied</html>"), None);
        assert_eq!(said(""), None);
        assert_eq!(said("{}"), None);
    }

    #[test]
    fn a_message_is_short_and_fits_a_line() {
        let long =
            said(&serde_json::json!({ "error": "ä\u{7}\n\u{85} ".repeat(1000) }).to_string())
                .unwrap();
        assert!(long.chars().count() <= MAX_MESSAGE);
        assert!(long.starts_with("ä ä"));
        assert!(!long.contains(char::is_control));
    }

    #[test]
    fn a_status_is_a_number_that_can_be_one() {
        let status = |body: &str| ErrorBody::of(body.as_bytes()).status;
        assert_eq!(status(r#"{"error":{"code":429}}"#), Some(429));
        assert_eq!(status(r#"{"error":{"code":"503"}}"#), Some(503));
        assert_eq!(
            status(r#"{"code":"1300","raw_status_code":429}"#),
            Some(429)
        );
        assert_eq!(status(r#"{"error":{"http_status":429}}"#), Some(429));
        assert_eq!(status(r#"{"error":{"code":4006}}"#), None);
        assert_eq!(status(r#"{"error":{"code":200}}"#), None);
        assert_eq!(status(r#"{"error":{"code":"server_error"}}"#), None);
    }

    #[test]
    fn a_body_cut_short_gives_what_came_before() {
        let error =
            ErrorBody::of(br#"{"error":{"code":429,"message":"busy","metadata":{"raw":"mod"#);
        assert_eq!((error.status, &*error.text), (Some(429), "busy\n"));
        let error = ErrorBody::of(br#"{"error":{"message":"Rate limit exc"#);
        assert!(error.text.contains("Rate limit exc"));
    }

    proptest! {
        #[test]
        fn no_body_panics_or_grows(body in prop::collection::vec(any::<u8>(), 0..400), text in "\\PC{0,400}") {
            for body in [&body[..], text.as_bytes(), serde_json::json!({ "error": text }).to_string().as_bytes()] {
                prop_assert!(ErrorBody::of(body).text.len() <= MAX_TEXT + 1);
                prop_assert!(message(body, str::to_owned).is_none_or(|message| message.chars().count() <= MAX_MESSAGE));
            }
        }
    }
}
