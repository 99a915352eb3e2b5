//! The laws of the scan, over any body.

use std::{fmt::Debug, fs, path::Path};

use bytes::Bytes;
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select, subsequence},
};

use crate::{
    capability::Capability,
    endpoint::Endpoint,
    json::{Collected, JsonError},
    provider::{
        Dialect, Rule,
        dialect::{names, rules},
    },
    request::{
        Envelope, Needs, Recipient, ScanError,
        oracle::{self, Expected},
        scan,
    },
};

/// Space of any kind, mostly none.
fn space() -> impl Strategy<Value = String> {
    prop_oneof![5 => Just(String::new()), 1 => "[ \t\n\r]{1,3}"]
}

/// A string in quotes, each of whose characters may be escaped.
fn quoted(content: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (content, any::<u64>()).prop_map(|(content, escapes)| {
        let mut quoted = String::from("\"");
        for (at, char) in content.chars().enumerate() {
            let bit = escapes.rotate_right(at as u32) & 7 == 1;
            if bit || char < ' ' || char == '"' || char == '\\' {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    quoted += &format!("\\u{unit:04x}");
                }
            } else {
                quoted.push(char);
            }
        }
        quoted + "\""
    })
}

/// A key: often one that matters, in some case, sometimes with other letters that fold to it.
fn key() -> impl Strategy<Value = String> {
    const NAMES: [&str; 18] = [
        "model",
        "model",
        "model",
        "models",
        "route",
        "preset",
        "service_tier",
        "max_tokens",
        "max_completion_tokens",
        "name",
        "web_search_options",
        "messages",
        "modelx",
        "mode",
        "content",
        "stream",
        "",
        "type",
    ];
    let known =
        (select(&NAMES[..]), option::weighted(0.4, any::<u32>())).prop_map(|(name, case)| {
            let case = case.unwrap_or(0);
            let other =
                |(at, char): (usize, char)| match (case.rotate_right(2 * at as u32) & 3, char) {
                    (1, _) => char.to_ascii_uppercase(),
                    (2, 's') => 'ſ',
                    (2, 'i') => 'ı',
                    (3, 'i') => 'İ',
                    _ => char,
                };
            name.chars().enumerate().map(other).collect()
        });
    quoted(prop_oneof![8 => known, 1 => ".{0,6}"])
}

/// A number, in any way it may be written.
fn number() -> impl Strategy<Value = String> {
    "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,3})?"
}

/// The members of some fields may be left out, or go by the name of another one.
fn rule() -> impl Strategy<Value = (&'static str, Rule)> {
    const NAMES: [&str; 7] = [
        "max_tokens",
        "max_completion_tokens",
        "content",
        "stream",
        "type",
        "mode",
        "route",
    ];
    let rule = prop_oneof![
        1 => Just(Rule::Drop),
        2 => select(&NAMES[..]).prop_map(|name| Rule::Rename(name.into())),
        2 => (0..2000u64).prop_map(Rule::AtMost),
        2 => select(&["{\"a\" : []}", "1234"][..]).prop_map(|json| Rule::Default(json.into())),
        1 => Just(Rule::DefaultLimit { answer: 1234, with_thoughts: 9 }),
        1 => Just(Rule::Replace("true".into(), "false".into())),
    ];
    (select(&NAMES[..]), rule)
}

/// Any dialect.
fn dialect() -> impl Strategy<Value = Dialect> {
    let only = subsequence(vec!["content", "max_tokens", "mode", "plugins", ""], 0..4);
    let messages = subsequence(vec!["name", "audio"], 0..3);
    let known = subsequence(vec!["mode", "type", "plugins"], 0..3);
    (
        vec(rule(), 0..5),
        option::weighted(0.3, only),
        option::weighted(0.3, known),
        messages,
        any::<[bool; 2]>(),
    )
        .prop_map(
            |(fields, only, known, messages, [developer_role, null_content])| Dialect {
                fields: rules(&fields),
                only: names(&only.unwrap_or_default()),
                known: known.map(|known| names(&known)),
                message_fields: names(&messages),
                developer_role,
                null_content,
                ..Dialect::OPENAI
            },
        )
}

fn joined(open: char, items: &[String], close: char) -> String {
    format!("{open}{}{close}", items.join(","))
}

fn member(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (space(), key(), space(), value, space()).prop_map(|(before, key, between, value, after)| {
        format!("{before}{key}{between}:{between}{value}{after}")
    })
}

/// Any JSON value as text.
fn value() -> impl Strategy<Value = String> {
    let text = prop_oneof![Just("free".to_owned()), ".{0,8}", "[,:{}\\[\\]\"\\\\]{1,5}"];
    let leaf = prop_oneof![
        select(
            &[
                "null",
                "true",
                "false",
                "\"\\ud800\"",
                "[]",
                "{}",
                "[ ]",
                "{ }"
            ][..]
        )
        .prop_map(str::to_owned),
        number(),
        quoted(text),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let spaced = (space(), inner.clone(), space()).prop_map(|(a, value, b)| a + &value + &b);
        prop_oneof![
            vec(spaced, 1..4).prop_map(|items| joined('[', &items, ']')),
            vec(member(inner), 1..4).prop_map(|items| joined('{', &items, '}')),
        ]
    })
}

/// Any JSON object as text.
fn object() -> impl Strategy<Value = String> {
    let object = prop_oneof![
        1 => space().prop_map(|space| format!("{{{space}}}")),
        20 => vec(member(value()), 1..7).prop_map(|items| joined('{', &items, '}')),
    ];
    (space(), object, space()).prop_map(|(before, object, after)| before + &object + &after)
}

/// A body with messages.
fn conversation() -> impl Strategy<Value = String> {
    let common = select(
        &[
            "\"role\":\"developer\"",
            "\"r\\u006fle\" : \"d\\u0065veloper\"",
            "\"role\":\"user\"",
            "\"content\": null",
            "\"content\":[null]",
        ][..],
    );
    let common = prop_oneof![common.prop_map(str::to_owned), member(value())];
    let entry = prop_oneof![
        4 => vec(common, 0..4).prop_map(|items| joined('{', &items, '}')),
        1 => value(),
    ];
    let messages =
        vec(entry, 0..4).prop_map(|items| format!("\"messages\":{}", joined('[', &items, ']')));
    let member = prop_oneof![messages, member(value())];
    vec(member, 1..4).prop_map(|items| joined('{', &items, '}'))
}

/// A body with tools, of which some pass.
fn with_tools() -> impl Strategy<Value = String> {
    let tools: &[&str] = &[
        r#"{"type":"function","function":{"name":"f","parameters":{}}}"#,
        r#"{"function" : {"name":"g"} , "t\u0079pe":null}"#,
        r#"{"type":"custom"}"#,
        r#"{"type":"function","function":{},"Web_\u0053earch":{}}"#,
        r#"{"type":"web_search"}"#,
        r#"{"type":"function","Type":"mcp"}"#,
        r#"{"type":"function","type":"\u0066unction"}"#,
        "{}",
        "[[]]",
        "null",
        "\"function\"",
        "-1.5",
    ];
    let entry = prop_oneof![
        4 => (space(), select(tools), space()).prop_map(|(a, tool, b)| a + tool + &b),
        1 => value(),
    ];
    let list = prop_oneof![
        8 => vec(entry, 0..6).prop_map(|items| joined('[', &items, ']')),
        1 => Just("null".to_owned()),
    ];
    let name = select(&["tools", "tools", "Tools", "tool\\u0073", "tool\u{17f}"][..]);
    let tools =
        (name, space(), list).prop_map(|(name, space, list)| format!("\"{name}\"{space}:{list}"));
    let choice = select(
        &[
            "\"tool_choice\":\"auto\"",
            "\"toolChoice\" : null",
            "\"parallel_tool_calls\":true",
            "\"Tool_Choice\":\"none\"",
        ][..],
    );
    let member = prop_oneof![
        3 => tools,
        1 => choice.prop_map(str::to_owned),
        1 => member(value()),
    ];
    vec(member, 1..6).prop_map(|items| joined('{', &items, '}'))
}

/// A body with fields that mean something to one endpoint or another.
fn addressed() -> impl Strategy<Value = String> {
    let fields: &[&str] = &[
        "messages",
        "input",
        "prompt",
        "suffix",
        "images",
        "text",
        "tools",
        "conversation",
        "previous_response_id",
    ];
    let member =
        (select(fields), value()).prop_map(|(field, value)| format!("\"{field}\":{value}"));
    vec(member, 1..5).prop_map(|items| joined('{', &items, '}'))
}

/// A change of one place of a text to something that may break it.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let bytes: &[&[u8]] = &[
        b"",
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"0",
        b".",
        b"e",
        b"-",
        b" ",
        b"\0",
        b"\x1f",
        b"\x7f",
        b"\x80",
        b"\xff",
        b"\xc3",
        b"\xe4\xb8",
        b"\xed\xa0\x80",
        b"\\u12",
        b"nul",
        b"true",
        b"\"\":1,",
    ];
    let change = (any::<Index>(), 0..3usize, select(bytes));
    (object(), vec(change, 1..3)).prop_map(|(text, changes)| {
        let mut body = text.into_bytes();
        for (at, cut, bytes) in changes {
            let at = at.index(body.len() + 1);
            let end = (at + cut).min(body.len());
            body.splice(at..end, bytes.iter().copied());
        }
        body
    })
}

/// Asserts that the scan refuses `body` if and only if the reference does.
fn assert_refused_as_by_reference(body: &[u8]) {
    let ours = scanned(body);
    match ours {
        Err(ScanError::NotUtf8 { .. } | ScanError::Json(JsonError::Syntax { .. })) => {
            assert!(!oracle::is_json(body));
        }
        Err(ScanError::NotAnObject) => {
            let first = body.iter().find(|byte| !b" \n\t\r".contains(byte));
            assert_ne!(first, Some(&b'{'));
        }
        Err(ScanError::ToolsNotAList | ScanError::DemandedTool { .. }) | Ok(_) => {
            assert!(oracle::is_json(body));
        }
        Err(error) => panic!("{error}"),
    }
}

fn scanned(body: &[u8]) -> Result<Envelope, ScanError> {
    scan(&body.to_owned().into(), Endpoint::ChatCompletions)
}

/// All that the needs of a request say.
fn said(needs: &Needs) -> impl PartialEq + Debug {
    (
        (needs.endpoint, needs.stream, needs.hard, needs.soft),
        (needs.output_tokens, needs.prompt_tokens()),
        needs.state.clone(),
    )
}

fn rewritten(
    envelope: &Envelope,
    body: &Collected,
    model: &str,
    dialect: &Dialect,
    max_output: Option<u64>,
) -> Vec<Bytes> {
    let recipient = Recipient {
        max_output,
        ..Recipient::new(model, dialect)
    };
    envelope.rewrite(body, &recipient).body.collect()
}

fn assert_rewritten(body: &Bytes, model: &str, dialect: &Dialect, max_output: Option<u64>) {
    let collected = body.clone().into();
    let envelope = scan(&collected, Endpoint::ChatCompletions).unwrap();
    let segments = rewritten(&envelope, &collected, model, dialect, max_output);
    let expected = Expected {
        model,
        dialect,
        max_output,
    };
    oracle::assert_rewritten(body, &expected, &segments);
}

proptest! {
    #[test]
    fn nothing_changes_but_what_must(body in object(), model in ".{0,12}") {
        assert_rewritten(&body.into(), &model, &Dialect::OPENAI, None);
    }

    #[test]
    fn nothing_changes_but_what_any_dialect_asks_for(
        body in prop_oneof![object(), conversation()],
        dialect in dialect(),
        max_output in option::of(1..2000u64),
    ) {
        assert_rewritten(&body.into(), "a/b:free", &dialect, max_output);
    }

    #[test]
    fn tools_are_what_they_were_without_those_that_cannot_be_sent(
        body in with_tools(),
        dialect in dialect(),
    ) {
        let body = Bytes::from(body);
        assert_rewritten(&body, "a/b:free", &Dialect::OPENAI, None);
        assert_rewritten(&body, "a/b:free", &dialect, None);
    }

    #[test]
    fn what_is_refused_does_not_depend_on_the_endpoint(
        body in prop_oneof![addressed().prop_map(String::into_bytes), damaged()],
    ) {
        let body = body.into();
        let chat = scan(&body, Endpoint::ChatCompletions).err();
        for endpoint in Endpoint::ALL {
            prop_assert_eq!(scan(&body, endpoint).err(), chat.clone(), "{}", endpoint);
        }
    }

    #[test]
    fn a_rewritten_body_is_a_fixed_point(body in object()) {
        let rewrite = |body: Bytes| {
            let body = body.into();
            let envelope = scan(&body, Endpoint::ChatCompletions).unwrap();
            let segments = rewritten(&envelope, &body, "a/b:free", &Dialect::OPENAI, None);
            (envelope, Bytes::from(segments.concat()))
        };
        let (before, once) = rewrite(body.into());
        let (after, twice) = rewrite(once.clone());
        prop_assert_eq!(once, twice);
        prop_assert_eq!(after.requested.as_deref(), Some("a/b:free"));
        prop_assert!(after.dropped.is_empty());
        prop_assert_eq!(said(&before.needs), said(&after.needs));
    }

    #[test]
    fn what_the_reference_refuses_is_refused(body in damaged()) {
        assert_refused_as_by_reference(&body);
    }

    #[test]
    fn any_bytes_are_refused_as_by_the_reference(body in vec(any::<u8>(), 0..40)) {
        assert_refused_as_by_reference(&body);
        let object = [&b"{\"a\":"[..], &body, b"}"].concat();
        assert_refused_as_by_reference(&object);
        let text = [&b"{\"a\":\""[..], &body, b"\"}"].concat();
        assert_refused_as_by_reference(&text);
    }

    #[test]
    fn a_body_cut_short_is_refused(body in object()) {
        let whole = body.trim_end().len();
        for end in 0..whole {
            let error = scanned(&body.as_bytes()[..end]).unwrap_err();
            let broken = matches!(error, ScanError::Json(_) | ScanError::NotUtf8 { .. });
            prop_assert!(broken, "{error}");
        }
    }
}

/// Requests that clients really sent, where there is a folder of them beside the crate's.
fn real_bodies() -> Vec<(String, Bytes)> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/requests");
    let index = fs::read_to_string(data.join("INDEX.tsv")).unwrap_or_default();
    index
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(_, rest)| rest.contains("/chat/completions\t"))
        .map(|(name, _)| (name.to_owned(), fs::read(data.join(name)).unwrap().into()))
        .collect()
}

#[test]
fn real_requests_need_what_their_names_say() {
    for (name, body) in real_bodies() {
        let needs = scanned(&body).unwrap().needs;
        let words: Vec<_> = name.split('_').collect();
        for (word, capability) in [
            ("tools", Capability::Tools),
            ("image", Capability::ImageInput),
            ("audio", Capability::AudioInput),
            ("file", Capability::FileInput),
            ("video", Capability::VideoInput),
            ("jsonschema", Capability::JsonSchema),
        ] {
            let needed = needs.hard.contains(capability);
            assert_eq!(needed, words.contains(&word), "{name}: {word}");
        }
        let reasoning = needs.soft.contains(Capability::Reasoning);
        assert_eq!(reasoning, words.contains(&"reasoning"), "{name}");
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(needs.stream, value["stream"] == true, "{name}");
    }
}

#[test]
fn real_requests_change_only_in_their_model() {
    for (_, body) in real_bodies() {
        assert_rewritten(&body, "a/b:free", &Dialect::OPENAI, None);
    }
}

#[test]
fn real_requests_cut_anywhere_are_refused() {
    for (name, body) in real_bodies() {
        let step = body.len() / 500 + 1;
        for end in (0..body.len()).step_by(step) {
            assert!(scanned(&body[..end]).is_err(), "{name}: {end}");
        }
    }
}
