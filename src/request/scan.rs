//! One pass over a body of JSON.

use std::borrow::Cow;

use crate::{
    endpoint::Endpoint,
    json::{Event, Kind, Reader},
    request::{
        edits::{EditsReader, JsonEdits},
        error::ScanError,
        form::FormEdits,
        needs::Needs,
        needs_reader::NeedsReader,
        tools::ToolGuard,
    },
};

/// What one pass over a body finds: what to change in it, and what it needs of a model.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    /// The model that the caller asked for: the string of the last `model` key, else that of the
    /// last key which only folds to `model`.
    pub(crate) requested: Option<String>,
    /// What is left out of the rewritten body whoever gets it: fields, each once, by their proper names, and entries of
    /// `tools`.
    pub(crate) dropped: Vec<Cow<'static, str>>,
    /// What the request needs.
    pub(crate) needs: Needs,
    pub(crate) edits: Edits,
    pub(crate) len: usize,
}

/// What can change in a body.
#[derive(Clone, Debug)]
pub(crate) enum Edits {
    Json(JsonEdits),
    Form(FormEdits),
}

/// Reads `body` once and makes sure that it is a JSON object that can be sent without the tools that must not pass.
pub(crate) fn scan(body: &[u8], endpoint: Endpoint) -> Result<Envelope, ScanError> {
    let text = std::str::from_utf8(body).map_err(|error| ScanError::NotUtf8 {
        offset: error.valid_up_to(),
    })?;
    let mut reader = Reader::new(text);
    let mut edits = EditsReader::default();
    let mut tools = ToolGuard::default();
    let mut needs = NeedsReader::new(endpoint);
    while let Some(token) = reader.next()? {
        if token.depth == 0 && !matches!(token.event, Event::Begin(Kind::Object) | Event::End(_)) {
            return Err(ScanError::NotAnObject);
        }
        edits.read(&token)?;
        tools.read(&token);
        needs.read(&token);
    }
    // Last, so that what is no JSON at all is called so.
    let tools = tools.finish()?;
    if tools.none_left {
        needs.without_tools();
    }
    let requested = edits.requested();
    let mut dropped = edits.dropped().into_iter().map(Cow::Borrowed).collect();
    Ok(Envelope {
        requested,
        needs: needs.finish(),
        edits: Edits::Json(JsonEdits::new(edits, tools, text, &mut dropped)),
        dropped,
        len: body.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> Option<ScanError> {
        scan(body.as_bytes(), Endpoint::ChatCompletions).err()
    }

    fn requested(body: &str) -> Option<String> {
        let envelope = scan(body.as_bytes(), Endpoint::ChatCompletions).unwrap();
        envelope.requested
    }

    #[test]
    fn dropped_fields_are_named_once_by_their_proper_names() {
        let body = r#"{"PLUGINS":1,"model\u017f":1,"models":2,"nested":{"route":1}}"#;
        let envelope = scan(body.as_bytes(), Endpoint::ChatCompletions).unwrap();
        assert_eq!(envelope.dropped, ["models", "plugins"]);
    }

    #[test]
    fn the_last_exact_model_that_is_a_string_is_the_one_asked_for() {
        for (body, expected) in [
            (r#"{"model":"a","model":"b","Model":"c"}"#, Some("b")),
            (r#"{"model":"a\u0062\n"}"#, Some("ab\n")),
            (r#"{"Model":"c"}"#, Some("c")),
            (r#"{"model":1,"Model":"c"}"#, Some("c")),
            (r#"{"model":"a","model":null}"#, None),
            (r#"{"messages":[{"model":"a"}]}"#, None),
        ] {
            assert_eq!(requested(body).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn only_an_object_is_a_request() {
        for body in ["[]", "1", "null", "\"{}\"", " [[[[ "] {
            assert_eq!(refusal(body), Some(ScanError::NotAnObject), "{body}");
        }
        assert!(matches!(refusal(""), Some(ScanError::Syntax { .. })));
        let error = scan(b"{\"a\":\"\xff\"}", Endpoint::ChatCompletions).unwrap_err();
        assert_eq!(error, ScanError::NotUtf8 { offset: 6 });
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |depth: usize| {
            format!(
                "{{\"a\":{}{}}}",
                "[".repeat(depth - 1),
                "]".repeat(depth - 1)
            )
        };
        assert_eq!(refusal(&nested(512)), None);
        assert_eq!(
            refusal(&nested(513)),
            Some(ScanError::TooDeep { offset: 517 - 1 })
        );
        let deep = nested(1_000_000);
        assert!(matches!(refusal(&deep), Some(ScanError::TooDeep { .. })));
    }

    #[test]
    fn a_body_full_of_models_is_refused() {
        let body = |models: usize| format!("{{{}}}", vec![r#""model":0"#; models].join(","));
        assert_eq!(refusal(&body(256)), None);
        assert_eq!(refusal(&body(257)), Some(ScanError::TooManyEdits));
    }

    #[test]
    fn a_body_full_of_fields_is_refused() {
        let body = |fields: usize| format!("{{{}}}", vec![r#""x":0"#; fields].join(","));
        assert_eq!(refusal(&body(256)), None);
        assert_eq!(refusal(&body(257)), Some(ScanError::TooManyFields));
    }

    #[test]
    fn a_refusal_quotes_little() {
        let kind = "\\n".repeat(1000);
        let body = format!(r#"{{"tool_choice":{{"type":"{kind}"}}}}"#);
        let message = refusal(&body).unwrap().to_string();
        assert!(message.len() < 500, "{message}");
        assert!(!message.contains('\n'), "{message}");
        let body = r#"{"messages":[{"content":"a secret" oops}]}"#;
        let message = refusal(body).unwrap().to_string();
        assert!(!message.contains("secret"), "{message}");
        assert!(message.contains("byte 35"), "{message}");
    }
}
