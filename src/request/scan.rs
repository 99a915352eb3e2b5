//! One pass over a body of JSON.

use super::{
    edits::{EditsReader, JsonEdits},
    endpoint::Endpoint,
    error::ScanError,
    form::FormEdits,
    json::{Event, Kind, Reader},
    needs::Needs,
    places::NeedsReader,
    tools::ToolGuard,
};

/// What one pass over a body finds: what to change in it, and what it needs of a model.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    /// The model that the caller asked for: the string of the last `model` key, else that of the
    /// last key which only folds to `model`.
    pub(crate) requested: Option<String>,
    /// Which fields are left out of the rewritten body, each once, by their proper names.
    pub(crate) dropped: Vec<&'static str>,
    /// What the request needs.
    pub(crate) needs: Needs,
    pub(super) edits: Edits,
    pub(super) len: usize,
}

/// What can change in a body.
#[derive(Clone, Debug)]
pub(super) enum Edits {
    Json(JsonEdits),
    Form(FormEdits),
}

/// Reads `body` once and makes sure that it is a JSON object whose tools may pass.
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
    tools.finish()?;
    Ok(Envelope {
        requested: edits.requested(),
        dropped: edits.dropped(),
        needs: needs.finish(),
        edits: Edits::Json(edits.into()),
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
    fn tools_that_the_caller_runs_pass() {
        for tools in [
            "null",
            "[]",
            r#"[{"type":"function","function":{}},{"type":"custom"}]"#,
            r#"[{"function":{"name":"f"}}]"#,
            r#"[{"type":null,"function":{"type":"web_search"}}]"#,
            r#"[{"\u0074ype":"\u0066unction"}]"#,
            r#"[{"type":"function","x":{"type":"web_search"}}]"#,
        ] {
            let body = format!(r#"{{"tools":{tools},"other":[{{"type":"web_search"}}]}}"#);
            assert_eq!(refusal(&body), None, "{tools}");
        }
    }

    #[test]
    fn tools_that_the_provider_would_run_are_refused() {
        for (tools, at, name) in [
            (r#"[{"type":"web_search"}]"#, 0, "web_search"),
            (
                r#"[{"type":"function"},{"type":"openrouter:x"}]"#,
                1,
                "openrouter:x",
            ),
            (
                r#"[{"type":"function","type":"web_search"}]"#,
                0,
                "web_search",
            ),
            (
                r#"[{"type":"web_search","type":"function"}]"#,
                0,
                "web_search",
            ),
            (r#"[{"\u0074ype":"\u0077eb_search"}]"#, 0, "web_search"),
            (
                r#"[{"Type":"web_search","type":"function"}]"#,
                0,
                "web_search",
            ),
            (r#"[{"type":"Function"}]"#, 0, "Function"),
            (r#"[{"type":1,"function":{}}]"#, 0, ""),
            (r#"[{"type":["function"],"function":{}}]"#, 0, ""),
            (r#"[{"type":""}]"#, 0, ""),
            (r#"[{"name":"f"}]"#, 0, ""),
            (r#"[{"function":null}]"#, 0, ""),
            ("[{}]", 0, ""),
            (r#"["web_search"]"#, 0, ""),
            ("[[]]", 0, ""),
            (r#"{"0":{"type":"web_search"}}"#, 0, ""),
            (r#""web_search""#, 0, ""),
        ] {
            for field in ["tools", "Tools", r"\u0074ools", "tool\u{17f}"] {
                let body = format!(r#"{{"tools":[],"{field}":{tools},"tools":[]}}"#);
                let expected = ScanError::UnsupportedTool {
                    index: at,
                    kind: name.to_owned(),
                };
                assert_eq!(refusal(&body), Some(expected), "{body}");
            }
        }
    }

    #[test]
    fn a_refusal_quotes_little() {
        let body = format!(r#"{{"tools":[{{"type":"{}"}}]}}"#, "\\n".repeat(1000));
        let message = refusal(&body).unwrap().to_string();
        assert!(message.len() < 200, "{message}");
        assert!(!message.contains('\n'), "{message}");
        let body = r#"{"messages":[{"content":"a secret" oops}]}"#;
        let message = refusal(body).unwrap().to_string();
        assert!(!message.contains("secret"), "{message}");
        assert!(message.contains("byte 35"), "{message}");
    }
}
