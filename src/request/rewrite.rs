//! The body of one attempt.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;

use super::{
    messages::MessageEdit,
    needs::Needs,
    recipient::{Recipient, Rewritten, note},
    rules::{Fate, Given, Rules},
    scan::{Edits, Envelope, JsonEdits},
    schema::{self, MAX_KEYWORDS},
};
use crate::{
    endpoint::Endpoint,
    json::{Collected, Splice, Text},
    provider::Dialect,
};

impl Envelope {
    /// The body as it is sent to one recipient, made of slices of `body`, and what is not as the client sent it.
    ///
    /// `body` must be the very bytes that were scanned.
    pub(crate) fn rewrite(&self, body: &Collected, to: &Recipient<'_>) -> Rewritten {
        debug_assert_eq!(body.len(), self.len, "not the body that was scanned");
        let mut done = Rewritten::default();
        for name in &self.dropped {
            note(&mut done.dropped, name);
        }
        let mut splice = Splice::default();
        let text = body.text();
        match &self.edits {
            Edits::Form(form) => {
                form.rewrite(self.needs.endpoint, to, &mut splice, &mut done.dropped);
            }
            Edits::Json(json) => {
                fields(json, body, &self.needs, to, &mut splice, &mut done);
                for tool in &json.tools {
                    splice.cut_item(tool.clone());
                }
                if self.needs.endpoint == Endpoint::ChatCompletions {
                    messages(json, to.dialect, &mut splice, &mut done);
                    schemas(json, text, to.dialect, &mut splice, &mut done);
                }
            }
        }
        done.body = splice.apply(body);
        done
    }
}

/// Edits the top-level fields.
fn fields(
    json: &JsonEdits,
    body: &Collected,
    needs: &Needs,
    to: &Recipient<'_>,
    splice: &mut Splice,
    done: &mut Rewritten,
) {
    let given: Vec<_> = json
        .fields
        .iter()
        .map(|field| Given {
            field,
            name: key(body.text(), &field.key),
            value: body.text().get(field.value.clone()).unwrap_or_default(),
            body,
        })
        .collect();
    let rules = Rules::new(needs, to, &given);
    let mut sent: Vec<&str> = Vec::with_capacity(given.len());
    let mut any_left = false;
    for given in &given {
        let field = given.field;
        let fate = rules.fate(given);
        any_left |= !matches!(fate, Fate::Gone { .. });
        match fate {
            Fate::Gone { is_told } => {
                splice.cut_item(field.key.start..field.value.end);
                if !is_told {
                    note(&mut done.dropped, &given.name);
                }
            }
            Fate::Model => {
                sent.push(&given.name);
                splice.replace(field.value.clone(), quoted(to.model));
            }
            Fate::Stays { name, value } => {
                sent.push(name.unwrap_or(&given.name));
                if name.is_some() || value.is_some() {
                    note(&mut done.adjusted, &given.name);
                }
                if let Some(name) = name {
                    splice.replace(field.key.clone(), quoted(name));
                }
                if let Some(value) = value {
                    splice.replace(field.value.clone(), value);
                }
            }
        }
    }
    let mut insert = Vec::new();
    if !sent.contains(&"model") {
        insert.push(format!("\"model\":{}", quoted(to.model)));
    }
    for (name, value) in rules.defaults() {
        if !sent.contains(&name) {
            insert.push(format!("{}:{value}", quoted(name)));
            note(&mut done.adjusted, name);
        }
    }
    if !insert.is_empty() {
        let comma = if any_left { "," } else { "" };
        splice.replace(json.open..json.open, insert.join(",") + comma);
    }
}

/// Leaves out what the recipient does not take in a message, or puts something else there.
fn messages(json: &JsonEdits, dialect: &Dialect, splice: &mut Splice, done: &mut Rewritten) {
    for (edit, span) in &json.messages.0 {
        let span = span.clone();
        match edit {
            MessageEdit::Field(name) if dialect.message_fields.iter().any(|goes| goes == name) => {
                splice.cut_item(span);
                note(&mut done.dropped, &format!("messages.{name}"));
            }
            MessageEdit::DeveloperRole if !dialect.developer_role => {
                splice.replace(span, "\"system\"");
                note(&mut done.adjusted, "messages.role");
            }
            MessageEdit::NullContent if !dialect.null_content => {
                splice.replace(span, "\"\"");
                note(&mut done.adjusted, "messages.content");
            }
            _ => {}
        }
    }
}

/// Leaves keywords out of the schemas of all tools.
fn schemas(
    json: &JsonEdits,
    body: &Bytes,
    dialect: &Dialect,
    splice: &mut Splice,
    done: &mut Rewritten,
) {
    if dialect.schema_keywords.is_empty() {
        return;
    }
    let mut most = MAX_KEYWORDS;
    for field in &json.fields {
        if field.goes || key(body, &field.key) != "tools" {
            continue;
        }
        let start = field.value.start;
        let tools = text(body, &field.value);
        // The list has been read before: it is JSON.
        let found = schema::members(tools, &dialect.schema_keywords, most).unwrap_or_default();
        most -= found.len();
        for (keyword, span) in found {
            splice.cut_item(start + span.start..start + span.end);
            note(&mut done.dropped, &format!("tools.{keyword}"));
        }
    }
}

/// A string as JSON.
fn quoted(text: &str) -> String {
    let is_plain = |byte: &u8| (b' '..=b'~').contains(byte) & (*byte != b'"') & (*byte != b'\\');
    if !text
        .as_bytes()
        .iter()
        .fold(true, |all, byte| all & is_plain(byte))
    {
        return serde_json::Value::from(text).to_string();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    quoted.push_str(text);
    quoted.push('"');
    quoted
}

/// The name that a key stands for, which is given with its quotes.
fn key<'a>(body: &'a Bytes, key: &Range<usize>) -> Cow<'a, str> {
    let raw = body.get(key.start + 1..key.end - 1).unwrap_or_default();
    let escaped = raw.contains(&b'\\');
    Text { raw, escaped }.name()
}

/// A part of the body, which is UTF-8.
fn text<'a>(body: &'a Bytes, span: &Range<usize>) -> &'a str {
    let bytes = body.get(span.clone()).unwrap_or_default();
    std::str::from_utf8(bytes).unwrap_or_default()
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
            fields::of_openai,
            messages::{MAX_MESSAGE_EDITS, MESSAGE_FIELDS},
            scan,
        },
    };

    const MODEL: &str = "a\"b";

    fn rewrite(endpoint: Endpoint, body: &str, to: &Recipient<'_>) -> (String, Rewritten) {
        let body = Bytes::copy_from_slice(body.as_bytes()).into();
        let mut rewritten = scan(&body, endpoint).unwrap().rewrite(&body, to);
        let len = rewritten.body.len();
        let body: Vec<u8> = rewritten.body.by_ref().flatten().collect();
        assert_eq!(len, body.len() as u64);
        (String::from_utf8(body).unwrap(), rewritten)
    }

    fn rewritten(body: &str) -> String {
        let dialect = Dialect::OPENAI;
        let to = Recipient::new(MODEL, &dialect);
        rewrite(Endpoint::ChatCompletions, body, &to).0
    }

    /// The body without its model, what was dropped, and what was adjusted.
    fn spoken(dialect: &Dialect, body: &str) -> (String, String, String) {
        let to = Recipient::new("m", dialect);
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
            (r#"{ "route":1 , "models":2 }"#, r#"{"model":"a\"b"  }"#),
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
                r#"{"model":"a\"b", "x":2}"#,
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
                // Of both names the new one counts, unless it is null.
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
        let to = Recipient::new("m", &dialect);
        for endpoint in Endpoint::ALL {
            let known: String = of_openai(endpoint)
                .filter(|field| *field != "model")
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
        let to = Recipient::new("m", &dialect);
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
    fn of_two_fields_that_get_one_name_the_last_is_sent() {
        let dialect = fields(&[
            ("a", Rule::Rename("c".into())),
            ("b", Rule::Rename("c".into())),
        ]);
        assert_spoken(
            &dialect,
            &[
                (
                    r#"{"model":"m","a":1,"b":2}"#,
                    r#"{"model":"m","c":2}"#,
                    "a",
                    "b",
                ),
                (
                    r#"{"b":2,"a":1,"model":"m"}"#,
                    r#"{"c":1,"model":"m"}"#,
                    "b",
                    "a",
                ),
                (
                    r#"{"model":"m","a":1,"b":null}"#,
                    r#"{"model":"m","c":1}"#,
                    "b",
                    "a",
                ),
            ],
        );
    }

    #[test]
    fn no_rule_brings_tools_that_were_not_looked_at() {
        const SEARCH: &str = r#"[{"type":"web_search"}]"#;
        let dialect = fields(&[
            ("a", Rule::Rename("tools".into())),
            ("b", Rule::Rename("Tools".into())),
            ("tools", Rule::Default(SEARCH.into())),
            ("tools", Rule::Replace("null".into(), SEARCH.into())),
            ("tools", Rule::Replace("[]".into(), SEARCH.into())),
        ]);
        let body = format!(r#"{{"model":"m","a":{SEARCH},"b":{SEARCH}}}"#);
        assert_spoken(&dialect, &[(&body, &body, "", "")]);
        for body in [
            r#"{"model":"m","tools":null}"#,
            r#"{"model":"m","tools":[]}"#,
        ] {
            assert_spoken(&dialect, &[(body, body, "", "")]);
        }
        // A list that was looked at may go by another name.
        let dialect = fields(&[("tools", Rule::Rename("functions".into()))]);
        let body = r#"{"model":"m","tools":[{"type":"function"},{"type":"x"}]}"#;
        let sent = r#"{"model":"m","functions":[{"type":"function"}]}"#;
        assert_spoken(&dialect, &[(body, sent, "tools[1]", "tools")]);
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
        let to = Recipient::new("m", &dialect);
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
            max_output: Some(8192),
            ..Recipient::new("m", &dialect)
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
        let many = r#"{"name":1},"#.repeat(MAX_MESSAGE_EDITS);
        let body = format!(r#"{{"model":"m","messages":[{many}{{"name":1}}],"missing":2}}"#);
        let (body, ..) = spoken(&dialect, &body);
        assert!(
            body.ends_with(r#"{},{"name":1}],"missing":2}"#),
            "{}",
            body.len()
        );

        let dialect = Dialect {
            schema_keywords: names(&["$schema"]),
            ..Dialect::OPENAI
        };
        let tools = |keywords: &str| {
            format!(r#""tools":[{{"function":{{"parameters":{{{keywords}"a":1}}}}}}]"#)
        };
        let many = tools(&r#""$schema":1,"#.repeat(MAX_KEYWORDS));
        let one = tools(r#""$schema":1,"#);
        let (body, ..) = spoken(&dialect, &format!(r#"{{"model":"m",{many},{one}}}"#));
        assert_eq!(body, format!(r#"{{"model":"m",{},{one}}}"#, tools("")));
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
