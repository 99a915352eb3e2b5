//! The body of one attempt.

use std::{fmt::Write as _, ops::Range};

use bytes::Bytes;

use crate::{
    endpoint::Endpoint,
    json::Text,
    provider::Dialect,
    request::{
        edits::{Field, JsonEdits, MessageValue},
        members::{Commas, Member},
        needs::Needs,
        rules::{Fate, Given, Rules},
        scan::{Edits, Envelope},
        schema,
        segments::Segments,
    },
};

/// Who gets a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipient<'a> {
    /// The model, by its provider's name for it.
    pub(crate) model: &'a str,
    pub(crate) dialect: &'a Dialect,
    /// The longest answer that the model is known to give, in tokens.
    pub(crate) max_output: Option<u64>,
    /// The model's window, if it is known, in tokens.
    pub(crate) window: Option<u64>,
    /// Whether the model thinks before it answers, or may: nothing says that it does not.
    pub(crate) thinks: bool,
}

/// What a body has become.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    pub(crate) body: Segments,
    /// The fields that were left out, each once.
    pub(crate) dropped: Vec<String>,
    /// The fields that go by another name, or have another value, each once.
    pub(crate) adjusted: Vec<String>,
}

/// One change to a body.
#[derive(Debug)]
struct Edit {
    /// The bytes that go.
    span: Range<usize>,
    /// What comes in their place.
    with: Bytes,
}

impl Edit {
    const fn cut(span: Range<usize>) -> Self {
        let with = Bytes::new();
        Self { span, with }
    }
}

impl Envelope {
    /// The body as it is sent to one recipient, made of slices of `body`, and what is not as the caller sent it.
    ///
    /// `body` must be the very bytes that were scanned.
    pub(crate) fn rewrite(&self, body: &Bytes, to: &Recipient<'_>) -> Rewritten {
        debug_assert_eq!(body.len(), self.len, "not the body that was scanned");
        let mut done = Rewritten::default();
        for name in &self.dropped {
            note(&mut done.dropped, name);
        }
        match &self.edits {
            Edits::Form(form) => {
                done.body = form.rewrite(body, self.needs.endpoint, to, &mut done.dropped);
                done
            }
            Edits::Json(json) => {
                let edits = Vec::with_capacity(json.fields.len());
                Rewriting { body, edits, done }.json(json, &self.needs, to)
            }
        }
    }
}

struct Rewriting<'a> {
    body: &'a Bytes,
    edits: Vec<Edit>,
    done: Rewritten,
}

impl Rewriting<'_> {
    fn json(mut self, json: &JsonEdits, needs: &Needs, to: &Recipient<'_>) -> Rewritten {
        let insert = self.fields(json, needs, to);
        let top_level = self.edits.len();
        self.edits.extend(json.tools.iter().cloned().map(Edit::cut));
        if needs.endpoint == Endpoint::ChatCompletions {
            self.messages(&json.messages, &to.dialect.message_fields);
            self.message_values(&json.message_values, to.dialect);
            self.schemas(json, &to.dialect.schema_keywords);
        }
        if self.edits.len() > top_level {
            self.edits.sort_unstable_by_key(|edit| edit.span.start);
        }
        self.finish(json.open, insert)
    }

    /// Edits the top-level members; returns what is to be put before them.
    fn fields(&mut self, json: &JsonEdits, needs: &Needs, to: &Recipient<'_>) -> String {
        let body = self.body;
        let model = Bytes::from(quoted(to.model));
        let given: Vec<_> = if Rules::any(needs.endpoint, to) {
            let members = json.fields.iter();
            members.map(|member| given(body, member)).collect()
        } else {
            Vec::new()
        };
        let rules = Rules::new(needs, to, &given);
        let mut commas = Commas::default();
        let mut has_model = false;
        let mut sent: Vec<&str> = Vec::new();
        for (index, member) in json.fields.iter().enumerate() {
            let field = given.get(index);
            let fate = match member.what {
                Field::Dropped => Fate::Gone,
                Field::Model { exact: true } => Fate::UNTOUCHED,
                Field::Model { exact: false } | Field::Other => {
                    field.map_or(Fate::UNTOUCHED, |field| rules.fate(field))
                }
            };
            let span = commas.pass(member, fate != Fate::Gone);
            self.edits.extend(span.map(Edit::cut));
            match (fate, member.what, field) {
                (Fate::Gone, Field::Dropped, _) | (Fate::Gone, _, None) => {}
                (Fate::Gone, _, Some(field)) => note(&mut self.done.dropped, &field.name),
                (Fate::Stays { .. }, Field::Model { exact }, _) => {
                    has_model |= exact;
                    self.replace(&member.value, model.clone());
                }
                (Fate::Stays { name, value }, _, Some(field)) => {
                    sent.push(name.unwrap_or(&field.name));
                    if name.is_some() || value.is_some() {
                        note(&mut self.done.adjusted, &field.name);
                    }
                    if let Some(name) = name {
                        self.replace(&member.key, quoted(name).into());
                    }
                    if let Some(value) = value {
                        self.replace(&member.value, value.into());
                    }
                }
                (Fate::Stays { .. }, _, None) => {}
            }
        }
        let mut insert = String::new();
        if !has_model {
            let model = quoted(to.model);
            let _ = write!(insert, "\"model\":{model},");
        }
        for (name, value) in rules.defaults() {
            if !sent.contains(&name) {
                let _ = write!(insert, "{}:{value},", quoted(name));
                note(&mut self.done.adjusted, name);
            }
        }
        if !commas.any_left {
            insert.pop();
        }
        insert
    }

    /// Leaves `names` out of all messages.
    fn messages(&mut self, members: &[Member<&'static str>], names: &[String]) {
        if names.is_empty() {
            return;
        }
        let mut commas = Commas::default();
        for member in members {
            let stays = names.iter().all(|name| name != member.what);
            if let Some(span) = commas.pass(member, stays) {
                self.edits.push(Edit::cut(span));
                note(&mut self.done.dropped, &format!("messages.{}", member.what));
            }
        }
    }

    /// Puts another value where the recipient refuses the one that is there.
    fn message_values(&mut self, values: &[(MessageValue, Range<usize>)], dialect: &Dialect) {
        for (value, span) in values {
            let (is_taken, name, with) = match value {
                MessageValue::DeveloperRole => {
                    (dialect.developer_role, "messages.role", "\"system\"")
                }
                MessageValue::NullContent => (dialect.null_content, "messages.content", "\"\""),
            };
            if !is_taken {
                self.replace(span, Bytes::from_static(with.as_bytes()));
                note(&mut self.done.adjusted, name);
            }
        }
    }

    /// Leaves `keywords` out of the schemas of all tools.
    fn schemas(&mut self, json: &JsonEdits, keywords: &[String]) {
        if keywords.is_empty() {
            return;
        }
        let body = self.body;
        for member in &json.fields {
            if given(body, member).name != "tools" {
                continue;
            }
            let start = member.value.start;
            let (cuts, found) = schema::cuts(text(body, member.value.clone()), keywords);
            let cuts = cuts
                .into_iter()
                .map(|cut| start + cut.start..start + cut.end);
            self.edits.extend(cuts.map(Edit::cut));
            for keyword in found {
                note(&mut self.done.dropped, &format!("tools.{keyword}"));
            }
        }
    }

    fn replace(&mut self, span: &Range<usize>, with: Bytes) {
        let span = span.clone();
        self.edits.push(Edit { span, with });
    }

    fn finish(self, open: usize, insert: String) -> Rewritten {
        let Self {
            body,
            edits,
            mut done,
        } = self;
        let mut at = 0;
        if !insert.is_empty() {
            done.body.push(body.slice(..open));
            done.body.push(insert.into());
            at = open;
        }
        for Edit { span, with } in edits {
            // A message can stand in a field that goes as a whole, and a schema in a tool that does.
            if span.start >= at {
                done.body.push(body.slice(at..span.start));
                done.body.push(with);
                at = span.end;
            }
        }
        done.body.push(body.slice(at..));
        done
    }
}

/// A string as JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A member as it is written in the body.
fn given<'a>(body: &'a Bytes, member: &Member<Field>) -> Given<'a> {
    let raw = text(body, member.key.start + 1..member.key.end - 1);
    let escaped = raw.contains('\\');
    Given {
        name: Text { raw, escaped }.name(),
        value: text(body, member.value.clone()),
    }
}

/// A part of the body, which is UTF-8.
fn text(body: &Bytes, span: Range<usize>) -> &str {
    let bytes = body.get(span).unwrap_or_default();
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Adds a name to a list, once, and as it can stand in a header among others: a caller can call a field anything.
pub(crate) fn note(names: &mut Vec<String>, name: &str) {
    /// Longer names are cut. The longest of OpenAI's has 22 bytes.
    const LONGEST: usize = 64;
    let mut visible = String::new();
    for byte in name.bytes() {
        if visible.len() >= LONGEST {
            visible.push_str("...");
            break;
        }
        match byte {
            b'%' | b',' => write!(visible, "%{byte:02X}").unwrap_or_default(),
            b'!'..=b'~' => visible.push(byte.into()),
            _ => write!(visible, "%{byte:02X}").unwrap_or_default(),
        }
    }
    if names.iter().all(|known| *known != visible) {
        names.push(visible);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        provider::{
            KnownProvider, Rule,
            dialect::{names, rules},
        },
        request::{
            edits::{MAX_MESSAGE_FIELDS, MESSAGE_FIELDS},
            known_fields, scan,
        },
    };

    const MODEL: &str = "a\"b";

    fn rewrite(endpoint: Endpoint, body: &str, to: &Recipient<'_>) -> (String, Rewritten) {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let mut rewritten = scan(&body, endpoint).unwrap().rewrite(&body, to);
        let len = rewritten.body.len();
        let body: Vec<u8> = rewritten.body.by_ref().flatten().collect();
        assert_eq!(len, body.len() as u64);
        (String::from_utf8(body).unwrap(), rewritten)
    }

    fn rewritten(body: &str) -> String {
        let to = Recipient {
            model: MODEL,
            dialect: &Dialect::OPENAI,
            max_output: None,
            window: None,
            thinks: false,
        };
        rewrite(Endpoint::ChatCompletions, body, &to).0
    }

    /// The body without its model, what was dropped, and what was adjusted.
    fn spoken(dialect: &Dialect, body: &str) -> (String, String, String) {
        let to = Recipient {
            model: "m",
            dialect,
            max_output: None,
            window: None,
            thinks: false,
        };
        let (body, done) = rewrite(Endpoint::ChatCompletions, body, &to);
        (body, done.dropped.join(" "), done.adjusted.join(" "))
    }

    fn fields(fields: &[(&str, Rule)]) -> Dialect {
        Dialect {
            fields: rules(fields),
            ..Dialect::OPENAI
        }
    }

    fn assert_spoken(dialect: &Dialect, cases: &[(&str, &str, &str, &str)]) {
        for &(before, after, dropped, adjusted) in cases {
            let expected = (after.to_owned(), dropped.to_owned(), adjusted.to_owned());
            assert_eq!(spoken(dialect, before), expected, "{before}");
        }
    }

    #[test]
    fn every_model_is_replaced_however_it_is_written() {
        for (before, after) in [
            (r#"{"model":"x"}"#, r#"{"model":"a\"b"}"#),
            (
                r#"{"model":"x","model" : {"a":[1]} }"#,
                r#"{"model":"a\"b","model" : "a\"b" }"#,
            ),
            (
                r#"{"\u006dodel":null,"k":{"model":1}}"#,
                r#"{"\u006dodel":"a\"b","k":{"model":1}}"#,
            ),
            (
                r#"{"Model":"x","MODEL":[]}"#,
                r#"{"model":"a\"b","Model":"a\"b","MODEL":"a\"b"}"#,
            ),
        ] {
            assert_eq!(rewritten(before), after, "{before}");
        }
    }

    #[test]
    fn a_missing_model_is_inserted() {
        for (before, after) in [
            ("{}", r#"{"model":"a\"b"}"#),
            (" { } ", r#" {"model":"a\"b" } "#),
            (r#"{"a":1}"#, r#"{"model":"a\"b","a":1}"#),
            (r#"{"models":[]}"#, r#"{"model":"a\"b"}"#),
            (r#"{ "route":1 , "models":2 }"#, r#"{"model":"a\"b"   }"#),
        ] {
            assert_eq!(rewritten(before), after, "{before}");
        }
    }

    #[test]
    fn a_dropped_member_goes_with_one_comma() {
        for (before, after) in [
            (r#"{"models":1,"model":0}"#, r#"{"model":"a\"b"}"#),
            (r#"{"model":0,"models":1}"#, r#"{"model":"a\"b"}"#),
            (
                r#"{"route":[1,2],"Models":{"a":1},"model":0,"plugins":"," , "x":2}"#,
                r#"{"model":"a\"b" , "x":2}"#,
            ),
            (
                r#"{"a":1,"models":1,"models":2,"model":0,"web_search_options":{}}"#,
                r#"{"a":1,"model":"a\"b"}"#,
            ),
        ] {
            assert_eq!(rewritten(before), after, "{before}");
        }
    }

    #[test]
    fn a_field_that_is_not_taken_is_left_out_however_it_is_written() {
        let dialect = fields(&[("seed", Rule::Drop), ("top_k", Rule::Drop)]);
        assert_spoken(
            &dialect,
            &[
                (r#"{"model":0,"seed":1}"#, r#"{"model":"m"}"#, "seed", ""),
                (r#"{"seed":1,"model":0}"#, r#"{"model":"m"}"#, "seed", ""),
                (
                    r#"{"\u0074op_k":[1,{"a":","}], "models":1 , "seed":2,"x":{"seed":1},"seed":3,"model":0}"#,
                    r#"{  "x":{"seed":1},"model":"m"}"#,
                    "models top_k seed",
                    "",
                ),
                (r#"{"seed":1}"#, r#"{"model":"m"}"#, "seed", ""),
                (r#"{"Seed":1}"#, r#"{"model":"m","Seed":1}"#, "", ""),
            ],
        );
    }

    #[test]
    fn a_renamed_field_keeps_its_value_byte_for_byte() {
        let dialect = fields(&[("old", Rule::Rename("new".into()))]);
        assert_spoken(
            &dialect,
            &[
                (
                    r#"{"model":0, "o\u006cd" : [ 1.0 ]}"#,
                    r#"{"model":"m", "new" : [ 1.0 ]}"#,
                    "",
                    "old",
                ),
                // Whoever gives both means the new one, unless that says nothing.
                (
                    r#"{"model":0,"old":1,"new":2}"#,
                    r#"{"model":"m","new":2}"#,
                    "old",
                    "",
                ),
                (
                    r#"{"new":2,"old":1,"model":0}"#,
                    r#"{"new":2,"model":"m"}"#,
                    "old",
                    "",
                ),
                (
                    r#"{"old":1,"new":null,"model":0}"#,
                    r#"{"new":1,"model":"m"}"#,
                    "new",
                    "old",
                ),
                (
                    r#"{"old":null,"new":null,"model":0}"#,
                    r#"{"new":null,"model":"m"}"#,
                    "old",
                    "",
                ),
            ],
        );
    }

    #[test]
    fn a_number_above_the_most_is_lowered_however_it_is_written() {
        let dialect = fields(&[("n", Rule::AtMost(400))]);
        for (given, sent) in [
            ("400", "400"),
            ("401", "400"),
            ("1e6", "400"),
            ("400.0", "400.0"),
            ("400.5", "400"),
            ("99999999999999999999999", "400"),
            ("1e999", "400"),
            ("-1e999", "-1e999"),
            ("0", "0"),
            ("null", "null"),
            ("\"500\"", "\"500\""),
            ("[500]", "[500]"),
        ] {
            let adjusted = if given == sent { "" } else { "n" };
            let before = format!(r#"{{"model":0,"n":{given}}}"#);
            let after = format!(r#"{{"model":"m","n":{sent}}}"#);
            assert_spoken(&dialect, &[(&before, &after, "", adjusted)]);
        }
    }

    #[test]
    fn a_default_stands_where_nothing_is_given() {
        let dialect = fields(&[
            ("n", Rule::Default("{\"a\": 1}".into())),
            ("old", Rule::Rename("new".into())),
            ("old", Rule::Default("500".into())),
            ("new", Rule::AtMost(400)),
        ]);
        assert_spoken(
            &dialect,
            &[
                ("{}", r#"{"model":"m","n":{"a": 1},"new":400}"#, "", "n new"),
                (
                    r#"{"n":null,"new":7,"model":0}"#,
                    r#"{"n":{"a": 1},"new":7,"model":"m"}"#,
                    "",
                    "n",
                ),
                (
                    r#"{"model":0,"n":false,"old":9}"#,
                    r#"{"model":"m","n":false,"new":9}"#,
                    "",
                    "old",
                ),
                (
                    r#"{ "model":0,"n":0}"#,
                    r#"{"new":400, "model":"m","n":0}"#,
                    "",
                    "new",
                ),
            ],
        );
    }

    #[test]
    fn only_what_is_known_is_let_through_where_all_else_is_refused() {
        let dialect = Dialect {
            only: names(&["temperature"]),
            ..fields(&[("old", Rule::Rename("new".into()))])
        };
        assert_spoken(
            &dialect,
            &[
                (
                    r#"{"stream":true,"x":1,"messages":[],"temperature":0,"old":1,"model":0,"input":1,"prompt":2}"#,
                    r#"{"stream":true,"messages":[],"temperature":0,"new":1,"model":"m","input":1,"prompt":2}"#,
                    "x",
                    "old",
                ),
                (
                    r#"{"new":1,"Temperature":1}"#,
                    r#"{"model":"m","new":1}"#,
                    "Temperature",
                    "",
                ),
                (r#"{"Model":1}"#, r#"{"model":"m"}"#, "Model", ""),
            ],
        );
    }

    #[test]
    fn any_name_that_is_left_out_can_stand_in_a_header() {
        let dialect = Dialect {
            only: names(&["n"]),
            ..Dialect::OPENAI
        };
        let long = "x".repeat(1000);
        let body = format!(r#"{{"a, b\r\n%é":1,"":2,"{long}":3,"model":0}}"#);
        let (_, dropped, _) = spoken(&dialect, &body);
        let expected = format!("a%2C%20b%0D%0A%25%C3%A9  {}...", "x".repeat(64));
        assert_eq!(dropped, expected);
    }

    #[test]
    fn a_service_that_chooses_by_itself_gets_known_fields_only() {
        let dialect = Dialect {
            known: Some(names(&["top_k"])),
            ..fields(&[
                ("old", Rule::Rename("temperature".into())),
                ("top_p", Rule::Drop),
            ])
        };
        assert_spoken(
            &dialect,
            &[
                (
                    r#"{"model":0,"messages":[],"top_k":1,"t\u006fp_k":1,"compound_custom":{},"extra_body":{"models":[]},"seed":1,"top_p":1,"old":1,"":2}"#,
                    r#"{"model":"m","messages":[],"top_k":1,"t\u006fp_k":1,"seed":1,"temperature":1}"#,
                    "compound_custom extra_body top_p ",
                    "old",
                ),
                (
                    r#"{"Top_K":1,"modelx":1,"Model":1,"seed":1}"#,
                    r#"{"model":"m","seed":1}"#,
                    "Top_K modelx Model",
                    "",
                ),
            ],
        );
    }

    #[test]
    fn known_fields_are_those_of_the_endpoint() {
        let dialect = Dialect {
            known: Some(names(&["input_type"])),
            ..Dialect::OPENAI
        };
        let to = Recipient {
            model: "m",
            dialect: &dialect,
            max_output: None,
            window: None,
            thinks: false,
        };
        for endpoint in Endpoint::ALL {
            let known = known_fields::of_openai(endpoint).iter();
            let known: String = known
                .filter(|field| **field != "model")
                .map(|field| format!(r#","{field}":null"#))
                .collect();
            let left = format!(r#"{{"model":"m"{known},"input_type":1}}"#);
            let body = left.replace("null", r#"null,"enabled_tools":[]"#);
            let (sent, done) = rewrite(endpoint, &body, &to);
            assert_eq!(sent, left, "{endpoint}");
            assert_eq!(done.dropped, ["enabled_tools"], "{endpoint}");
        }
        let (sent, _) = rewrite(
            Endpoint::Embeddings,
            r#"{"model":"m","temperature":1}"#,
            &to,
        );
        assert_eq!(sent, r#"{"model":"m"}"#);
    }

    #[test]
    fn a_value_that_is_refused_becomes_another() {
        let dialect = fields(&[("store", Rule::Replace("true".into(), "false".into()))]);
        assert_spoken(
            &dialect,
            &[
                (
                    r#"{"model":0,"store": true ,"x":true}"#,
                    r#"{"model":"m","store": false ,"x":true}"#,
                    "",
                    "store",
                ),
                (
                    r#"{"model":0,"store":null}"#,
                    r#"{"model":"m","store":null}"#,
                    "",
                    "",
                ),
                (
                    r#"{"model":0,"store":"true"}"#,
                    r#"{"model":"m","store":"true"}"#,
                    "",
                    "",
                ),
            ],
        );
    }

    #[test]
    fn the_role_developer_is_system_where_it_is_not_known() {
        let dialect = Dialect {
            developer_role: false,
            ..Dialect::OPENAI
        };
        assert_spoken(
            &dialect,
            &[
                (
                    r#"{"model":0,"messages":[{"role":"developer","content":"role"},{"content":null,"r\u006fle" : "dev\u0065loper"},{"role":"user","name":"developer","content":[{"role":"developer"}]}],"role":"developer"}"#,
                    r#"{"model":"m","messages":[{"role":"system","content":"role"},{"content":null,"r\u006fle" : "system"},{"role":"user","name":"developer","content":[{"role":"developer"}]}],"role":"developer"}"#,
                    "",
                    "messages.role",
                ),
                (
                    r#"{"model":0,"messages":[{"role":"Developer"},{"role":["developer"]}]}"#,
                    r#"{"model":"m","messages":[{"role":"Developer"},{"role":["developer"]}]}"#,
                    "",
                    "",
                ),
            ],
        );
    }

    #[test]
    fn a_null_content_is_empty_where_null_is_refused() {
        let dialect = Dialect {
            null_content: false,
            message_fields: names(&["name"]),
            ..Dialect::OPENAI
        };
        assert_spoken(
            &dialect,
            &[(
                r#"{"messages":[{"name":1,"content": null,"tool_calls":[{"content":null}]},{"content":[null],"name":null}],"content":null,"model":0}"#,
                r#"{"messages":[{"content": "","tool_calls":[{"content":null}]},{"content":[null]}],"content":null,"model":"m"}"#,
                "messages.name",
                "messages.content",
            )],
        );
    }

    #[test]
    fn keywords_of_schemas_go_with_their_commas_from_the_tools_that_are_left() {
        let dialect = Dialect {
            schema_keywords: names(&["additionalProperties", "$schema"]),
            ..fields(&[("n", Rule::Drop)])
        };
        assert_spoken(
            &dialect,
            &[(
                r#"{"n":1,"tools":[{"type":"x","parameters":{"$schema":1}},{"type":"function","function":{"name":"f","parameters":{"$schema":"s","type":"object","additionalProperties":false}}},{"type":"y"}],"model":0,"response_format":{"additionalProperties":1}}"#,
                r#"{"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"model":"m","response_format":{"additionalProperties":1}}"#,
                "tools[0] tools[2] n tools.$schema tools.additionalProperties",
                "",
            )],
        );
    }

    #[test]
    fn a_limit_that_is_put_in_leaves_room_for_thoughts() {
        let dialect = fields(&[(
            "max_tokens",
            Rule::DefaultLimit {
                answer: 4096,
                with_thoughts: 32_768,
            },
        )]);
        for (thinks, window, max_output, limit) in [
            (false, None, None, "4096"),
            (true, None, None, "32768"),
            (true, Some(131_072), None, "32768"),
            (true, Some(131_072), Some(16_384), "16384"),
            (true, Some(20_000), None, "17500"),
            // What the service does by itself with a prompt that leaves no room is for it to say.
            (true, Some(2_000), None, "4096"),
            (false, Some(2_000), None, "4096"),
        ] {
            let to = Recipient {
                model: "m",
                dialect: &dialect,
                max_output,
                window,
                thinks,
            };
            for body in [r#"{"model":"m"}"#, r#"{"model":"m","max_tokens":null}"#] {
                let (sent, done) = rewrite(Endpoint::ChatCompletions, body, &to);
                assert!(sent.contains(&format!(r#""max_tokens":{limit}"#)), "{sent}");
                assert_eq!(done.adjusted, ["max_tokens"]);
            }
        }
    }

    #[test]
    fn another_endpoint_has_rules_of_its_own() {
        let dialect = Dialect {
            elsewhere: vec![(
                Endpoint::Embeddings,
                rules(&[("input_type", Rule::Default("\"query\"".into()))]),
            )],
            ..fields(&[("input", Rule::Drop)])
        };
        let to = Recipient {
            model: "m",
            dialect: &dialect,
            max_output: None,
            window: None,
            thinks: false,
        };
        let body = r#"{"model":"m","input":1}"#;
        let (sent, done) = rewrite(Endpoint::Embeddings, body, &to);
        assert_eq!(sent, r#"{"input_type":"query","model":"m","input":1}"#);
        assert_eq!(done.adjusted, ["input_type"]);
        let given = r#"{"model":"m","input_type":"passage"}"#;
        assert_eq!(rewrite(Endpoint::Embeddings, given, &to).0, given);
        assert_eq!(rewrite(Endpoint::Completions, body, &to).0, body);
        assert_eq!(
            rewrite(Endpoint::ChatCompletions, body, &to).0,
            r#"{"model":"m"}"#
        );
    }

    #[test]
    fn no_rule_brings_back_what_can_cost() {
        let dialect = fields(&[
            ("a", Rule::Rename("models".into())),
            ("b", Rule::Rename("Model".into())),
            ("route", Rule::Default("1".into())),
            ("model", Rule::Drop),
            ("model", Rule::Rename("c".into())),
        ]);
        let body = r#"{"a":1,"b":2,"model":0}"#;
        assert_spoken(&dialect, &[(body, r#"{"a":1,"b":2,"model":"m"}"#, "", "")]);
    }

    #[test]
    fn members_of_messages_go_with_one_comma_each() {
        let dialect = Dialect {
            message_fields: names(&["name", "reasoning"]),
            ..Dialect::OPENAI
        };
        assert_spoken(
            &dialect,
            &[
                (
                    r#"{"model":0,"messages":[{"name":1,"role":"a"},{"role":"a", "n\u0061me":{"name":[]},"reasoning":2 },{"name":1},{"refusal":1,"name":2},{"reasoning":1,"name":2,"x":[{"name":1}],"audio":3}, 1,[{"name":1}]],"name":1}"#,
                    r#"{"model":"m","messages":[{"role":"a"},{"role":"a" },{},{"refusal":1},{"x":[{"name":1}],"audio":3}, 1,[{"name":1}]],"name":1}"#,
                    "messages.name messages.reasoning",
                    "",
                ),
                (
                    r#"{"model":0,"messages":{"a":{"name":1}},"Messages":[{"name":1}]}"#,
                    r#"{"model":"m","messages":{"a":{"name":1}},"Messages":[{"name":1}]}"#,
                    "",
                    "",
                ),
            ],
        );
    }

    #[test]
    fn a_dialect_is_one_of_chats() {
        let dialect = Dialect {
            only: names(&["a"]),
            message_fields: names(&["name"]),
            ..fields(&[("max_tokens", Rule::Rename("max_completion_tokens".into()))])
        };
        let to = Recipient {
            model: "m",
            dialect: &dialect,
            max_output: None,
            window: None,
            thinks: false,
        };
        let body = r#"{"model":"m","max_tokens":1,"messages":[{"name":1}]}"#;
        assert_eq!(rewrite(Endpoint::Completions, body, &to).0, body);
        assert_ne!(rewrite(Endpoint::ChatCompletions, body, &to).0, body);
    }

    #[test]
    fn no_more_is_asked_for_than_the_model_can_answer() {
        let dialect = fields(&[
            ("max_tokens", Rule::Rename("most".into())),
            ("most", Rule::AtMost(9000)),
        ]);
        let to = Recipient {
            model: "m",
            dialect: &dialect,
            max_output: Some(8192),
            window: None,
            thinks: false,
        };
        for (endpoint, name, sent) in [
            (Endpoint::ChatCompletions, "max_tokens", "most"),
            (
                Endpoint::ChatCompletions,
                "max_completion_tokens",
                "max_completion_tokens",
            ),
            (Endpoint::Completions, "max_tokens", "max_tokens"),
            (
                Endpoint::Responses,
                "max_output_tokens",
                "max_output_tokens",
            ),
        ] {
            let body = format!(r#"{{"model":0,"{name}":64000,"n":64000}}"#);
            let (body, done) = rewrite(endpoint, &body, &to);
            assert_eq!(body, format!(r#"{{"model":"m","{sent}":8192,"n":64000}}"#));
            assert_eq!(done.adjusted, [name]);
            let body = format!(r#"{{"model":"m","{name}":8192}}"#);
            assert_eq!(rewrite(endpoint, &body, &to).0, body.replace(name, sent));
        }
    }

    #[test]
    fn what_is_too_much_to_know_stays_as_it_is() {
        let dialect = Dialect {
            message_fields: names(&["name"]),
            ..fields(&[("missing", Rule::Default("1".into()))])
        };
        let many = r#"{"name":1},"#.repeat(MAX_MESSAGE_FIELDS);
        let body = format!(r#"{{"model":"m","messages":[{many}{{"name":1}}],"missing":2}}"#);
        let (body, ..) = spoken(&dialect, &body);
        assert!(
            body.ends_with(r#"{},{"name":1}],"missing":2}"#),
            "{}",
            body.len()
        );
    }

    #[test]
    fn every_known_dialect_can_be_spoken() {
        for known in KnownProvider::all() {
            let dialect = &known.dialect;
            for field in &dialect.message_fields {
                assert!(
                    MESSAGE_FIELDS.contains(&field.as_str()),
                    "{}: {field}",
                    known.name
                );
            }
            for (name, rule) in &dialect.fields {
                if let Rule::Default(json) = rule {
                    let value = serde_json::from_str::<serde_json::Value>(json);
                    assert!(value.is_ok(), "{}: {name}", known.name);
                }
            }
        }
    }
}
