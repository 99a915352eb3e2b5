//! What one pass over a body finds.

use std::{borrow::Cow, ops::Range};

use super::{
    error::ScanError,
    fields::{MAX_FIELDS, MAX_GUARDED, Name, told},
    form::Form,
    messages::MessageEdits,
    needs::Needs,
    needs_reader::NeedsReader,
    tools::ToolGuard,
};
use crate::{
    capability::Capability,
    endpoint::Endpoint,
    json::{Collected, Event, Kind, Member, Reader, Text},
};

/// What to change in a body, and what it needs of a model.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    /// The model that the client asked for: the string of the last `model` key, else that of the last key that only
    /// folds to `model`. Of one that is longer than any, its beginning.
    pub(crate) requested: Option<String>,
    /// What is left out of the rewritten body for every recipient: fields, each once, by their proper names, and entries
    /// of `tools`.
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
    Form(Form),
}

/// What can change in a body of JSON, as it is kept for all attempts.
#[derive(Clone, Debug, Default)]
pub(crate) struct JsonEdits {
    /// One past the bracket that opens the body.
    pub(crate) open: usize,
    pub(crate) fields: Vec<Field>,
    pub(crate) messages: MessageEdits,
    /// The entries of `tools` that are left out.
    pub(crate) tools: Vec<Range<usize>>,
}

/// A top-level field of a body.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: Name,
    /// The field is left out for every recipient.
    pub(crate) goes: bool,
    /// The key, with its quotes.
    pub(crate) key: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// How much is kept of the model that the client asked for, in characters: more than any target's name has. It is a copy that
/// is counted nowhere.
const LONGEST_REQUESTED: usize = 4096;

/// Most bodies have no more top-level fields.
const USUAL_FIELDS: usize = 8;

/// Reads `body` once and makes sure that it is a JSON object that can be sent without the tools that must not pass.
pub(crate) fn scan(body: &Collected, endpoint: Endpoint) -> Result<Envelope, ScanError> {
    read(body, endpoint).map_err(|error| match std::str::from_utf8(body.text()) {
        // That is said first, whatever else is wrong: most of what follows from it looks odd.
        Err(error) => ScanError::NotUtf8 {
            offset: error.valid_up_to(),
        },
        Ok(_) => error,
    })
}

fn read(body: &Collected, endpoint: Endpoint) -> Result<Envelope, ScanError> {
    let mut reader = Reader::new(body.text());
    let object = reader.value()?;
    if object.first != Event::Begin(Kind::Object) {
        return Err(ScanError::NotAnObject);
    }
    let mut scan = Scan {
        needs: NeedsReader::new(body, endpoint),
        tools: ToolGuard::default(),
        guarded: Vec::new(),
        exact: None,
        folded: None,
        edits: JsonEdits {
            open: reader.at(),
            fields: Vec::with_capacity(USUAL_FIELDS),
            ..JsonEdits::default()
        },
    };
    reader.members(object.first, |reader, member| scan.field(reader, member))?;
    reader.end()?;
    scan.finish(body.len())
}

/// Reads a form once, whose `Content-Type` is this.
pub(crate) fn scan_form(
    body: &[u8],
    endpoint: Endpoint,
    content_type: &[u8],
) -> Result<Envelope, ScanError> {
    let form = Form::read(body, content_type)?;
    let mut needs = Needs::new(endpoint);
    needs.stream = form.stream;
    if endpoint == Endpoint::ImageEdits {
        needs.hard.insert(Capability::ImageInput);
    }
    Ok(Envelope {
        requested: form.requested.clone(),
        dropped: told(&form.guarded),
        needs,
        edits: Edits::Form(form),
        len: body.len(),
    })
}

struct Scan<'a> {
    needs: NeedsReader,
    tools: ToolGuard<'a>,
    guarded: Vec<&'static str>,
    /// The model by the last key that is `model`, and by the last that only folds to it.
    exact: Option<Text<'a>>,
    folded: Option<Text<'a>>,
    edits: JsonEdits,
}

impl<'a> Scan<'a> {
    fn field(&mut self, reader: &mut Reader<'a>, member: Member<'a>) -> Result<(), ScanError> {
        let Member { name, key, value } = member;
        let field = Name::of(name);
        let must_change = |field: &&Field| field.name.is_ours();
        let ours = self.edits.fields.iter().filter(must_change).count();
        if field.is_ours() && ours == MAX_GUARDED {
            return Err(ScanError::TooManyEdits);
        }
        if !field.is_ours() && self.edits.fields.len() - ours == MAX_FIELDS {
            return Err(ScanError::TooManyFields);
        }
        let mut goes = false;
        match field {
            Name::Model { exact } => {
                let model = match value.first {
                    Event::Text(text) => Some(text),
                    _ => None,
                };
                *(if exact {
                    &mut self.exact
                } else {
                    &mut self.folded
                }) = model;
            }
            Name::Guarded(name) => {
                goes = true;
                if !self.guarded.contains(&name) {
                    self.guarded.push(name);
                }
            }
            Name::Tools => {
                let (entries, left) = self.tools.list(reader, value)?;
                // Upstreams refuse an empty list, so a field of which nothing is left goes as a whole.
                goes = entries > 0 && left == 0;
                let span = value.start..reader.at();
                self.needs.tools(&name.name_bytes(), span, entries > 0);
            }
            Name::ToolChoice => self.tools.choice(reader, value)?,
            Name::ParallelToolCalls | Name::Other => {
                match (self.needs.needs.endpoint, &*name.name_bytes()) {
                    (Endpoint::ChatCompletions, b"messages") => {
                        self.edits.messages.read(reader, value, &mut self.needs)?;
                        let span = value.start..reader.at();
                        let beginning = &mut self.needs.needs.prompt.beginning;
                        beginning.note(b"messages", span);
                    }
                    (_, name) => self.needs.field(reader, name, value)?,
                }
            }
        }
        reader.skip_unread(&value)?;
        self.edits.fields.push(Field {
            name: field,
            goes,
            key,
            value: value.start..reader.at(),
        });
        Ok(())
    }

    fn finish(mut self, len: usize) -> Result<Envelope, ScanError> {
        let tools = self.tools.finish()?;
        let mut dropped = told(&self.guarded);
        let indices = tools.dropped.iter();
        dropped.extend(indices.map(|index| Cow::Owned(format!("tools[{index}]"))));
        if tools.none_left {
            for field in &mut self.edits.fields {
                let name = match field.name {
                    Name::ToolChoice => "tool_choice",
                    Name::ParallelToolCalls => "parallel_tool_calls",
                    _ => continue,
                };
                field.goes = true;
                dropped.push(name.into());
            }
        }
        self.edits.tools = tools.cuts;
        Ok(Envelope {
            requested: self
                .exact
                .or(self.folded)
                .map(|text| text.chars().take(LONGEST_REQUESTED).collect()),
            dropped,
            needs: self.needs.finish(tools.none_left),
            edits: Edits::Json(self.edits),
            len,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::JsonError;

    fn refusal(body: &str) -> Option<ScanError> {
        scan(&Collected::from(body.to_owned()), Endpoint::ChatCompletions).err()
    }

    fn requested(body: &str) -> Option<String> {
        let envelope = scan(&Collected::from(body.to_owned()), Endpoint::ChatCompletions).unwrap();
        envelope.requested
    }

    #[test]
    fn dropped_fields_are_named_once_by_their_proper_names() {
        let body = r#"{"PLUGINS":1,"model\u017f":1,"models":2,"nested":{"route":1}}"#;
        let envelope = scan(&Collected::from(body), Endpoint::ChatCompletions).unwrap();
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
    fn of_a_model_that_is_longer_than_any_the_beginning_is_kept() {
        let model = "m".repeat(LONGEST_REQUESTED);
        let body = format!(r#"{{"model":"{model}{model}"}}"#);
        assert_eq!(requested(&body), Some(model));
    }

    #[test]
    fn only_an_object_is_a_request() {
        for body in ["[]", "1", "null", "\"{}\"", " [[[[ "] {
            assert_eq!(refusal(body), Some(ScanError::NotAnObject), "{body}");
        }
        assert!(matches!(
            refusal(""),
            Some(ScanError::Json(JsonError::Syntax { .. }))
        ));
        let error = scan(
            &Collected::from(&b"{\"a\":\"\xff\"}"[..]),
            Endpoint::ChatCompletions,
        )
        .unwrap_err();
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
            Some(ScanError::Json(JsonError::TooDeep { offset: 517 - 1 }))
        );
        let deep = nested(1_000_000);
        assert!(matches!(
            refusal(&deep),
            Some(ScanError::Json(JsonError::TooDeep { .. }))
        ));
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
