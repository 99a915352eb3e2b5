use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::mend::{Normal, normalise};
use crate::{
    endpoint::Endpoint,
    upstream::{Irregular, answer::read_for},
};

const NOW: u64 = 1_795_000_000;

fn normal_of(endpoint: Endpoint, body: &str) -> Option<Normal> {
    normal_of_bytes(endpoint, body.as_bytes())
}

fn normal_of_bytes(endpoint: Endpoint, body: &[u8]) -> Option<Normal> {
    let answer = Irregular {
        endpoint,
        model: "the-model".to_owned(),
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(NOW),
    };
    let normal = normalise(&answer, body);
    // The fallback's reading of an answer marks whatever has to be changed.
    assert!(normal.is_none() || read_for(endpoint, body).1);
    normal
}

/// What becomes of an answer, and which fields were changed.
fn normal(body: &str) -> (Value, Vec<&'static str>) {
    let normal =
        normal_of(Endpoint::ChatCompletions, body).unwrap_or_else(|| panic!("unchanged: {body}"));
    (
        serde_json::from_slice(&normal.body).unwrap(),
        normal.changed,
    )
}

fn is_untouched(body: &str) -> bool {
    normal_of(Endpoint::ChatCompletions, body).is_none()
}

/// An answer with this choice in it.
fn with_choice(choice: &str) -> String {
    format!(
        r#"{{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{choice}]}}"#
    )
}

/// An answer with this message in it.
fn with_message(message: &str) -> String {
    with_choice(&format!(
        r#"{{"index":0,"message":{message},"finish_reason":"stop"}}"#
    ))
}

/// An answer that calls one tool.
fn with_call(call: &str) -> String {
    with_choice(&format!(
        r#"{{"index":0,"message":{{"role":"assistant","content":null,"tool_calls":[{call}]}},"finish_reason":"tool_calls"}}"#
    ))
}

const CALL: &str = r#"{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}"#;

/// The message that comes of one, and which fields were changed.
fn message(message: &str) -> (Value, Vec<&'static str>) {
    let (mut answer, changed) = normal(&with_message(message));
    (answer["choices"][0]["message"].take(), changed)
}

#[test]
fn a_good_answer_is_untouched() {
    for body in [
        with_message(r#"{"role":"assistant","content":"hi"}"#),
        with_message(r#"{"role":"assistant","content":null,"refusal":"no","tool_calls":null}"#),
        with_message(r#"{"role":"assistant","content":"hi","tool_calls":[]}"#),
        with_call(CALL),
        with_call(r#"{"id":"c","type":"custom","custom":{"name":"f","input":"x"}}"#),
        with_choice(r#"{"index":0,"message":{"role":"assistant","content":"x"},"logprobs":null,"finish_reason":"length"}"#),
        r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"cost":1.0e-7},"service_tier":"default","x":{"created":1.5}}"#.to_owned(),
        r#" {"object":"chat\u002ecompletion","usage":null,"service_tier":null,"id":"","created":0,"model":"","choices":[]} "#.to_owned(),
    ] {
        assert!(is_untouched(&body), "{body}");
        let (_, irregular) = read_for(Endpoint::ChatCompletions, body.as_bytes());
        assert!(!irregular, "{body}");
    }
}

#[test]
fn what_is_no_such_answer_is_untouched() {
    for body in [
        "",
        "[]",
        "null",
        r#"{"id":1}"#,
        r#"{"choices":null}"#,
        r#"{"choices":{}}"#,
        r#"{"choices":[]} x"#,
        r#"{"choices":[{"message":"#,
        r#"{"object":"list","data":[]}"#,
        r#"{"message":{"content":[{"type":"text","text":"hi"}]},"finish_reason":"COMPLETE"}"#,
    ] {
        assert!(is_untouched(body), "{body}");
    }
    for endpoint in [
        Endpoint::Embeddings,
        Endpoint::Responses,
        Endpoint::ImageGenerations,
    ] {
        assert!(normal_of(endpoint, r#"{"choices":[]}"#).is_none());
    }
}

#[test]
fn what_an_answer_lacks_is_added() {
    let (answer, changed) = normal(r#"{"choices":[{"message":{"content":"hi"}}]}"#);
    let id = answer["id"].as_str().unwrap();
    assert!(id.starts_with("chatcmpl-"), "{id}");
    assert_eq!(
        answer,
        json!({
            "id": id, "object": "chat.completion", "created": NOW, "model": "the-model",
            "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": "hi" } }],
        })
    );
    assert_eq!(
        changed,
        [
            "role",
            "index",
            "finish_reason",
            "id",
            "object",
            "created",
            "model"
        ]
    );
}

#[test]
fn everything_else_stays_as_it_was_written() {
    let body = r#"{ "id": "1", "object":"chat.completion", "created": 1.5e3, "model":"m",
        "choices":[ {"index":0,"logprobs":{"x":1.10},"message":{"role":"assistant","content":"\u0068i","y":0.30000000000000004},"finish_reason":"eos"} ],"big":123456789012345678901 }"#;
    let normal = normal_of(Endpoint::ChatCompletions, body).unwrap();
    let expected = body
        .replace("1.5e3", "1500")
        .replace(r#""eos""#, r#""stop""#);
    assert_eq!(normal.body, expected);
    assert_eq!(normal.changed, ["created", "finish_reason"]);
}

#[test]
fn created_is_an_integer() {
    for (created, seconds) in [
        ("1700000000.25", 1_700_000_000),
        (r#""1700000000""#, 1_700_000_000),
        ("1.7e9", 1_700_000_000),
        ("null", NOW),
        (r#""today""#, NOW),
        ("1e300", NOW),
        ("{}", NOW),
    ] {
        let body = with_choice("").replace(r#""created":1"#, &format!(r#""created":{created}"#));
        assert_eq!(normal(&body).0["created"], seconds, "{created}");
    }
}

#[test]
fn a_tier_that_openai_does_not_know_is_null() {
    let body =
        |tier: &str| with_choice("").replace(r#""id""#, &format!(r#""service_tier":{tier},"id""#));
    for tier in [r#""on_demand""#, r#""standard""#, "7"] {
        let (answer, changed) = normal(&body(tier));
        assert_eq!(
            (&answer["service_tier"], &*changed),
            (&Value::Null, &["service_tier"][..])
        );
    }
    assert!(is_untouched(&body(r#""priority""#)));
}

#[test]
fn every_reason_becomes_one_that_openai_knows() {
    for (reason, expected) in [
        (r#""eos""#, "stop"),
        (r#""COMPLETE""#, "stop"),
        (r#""STOP""#, "stop"),
        (r#""""#, "stop"),
        ("null", "stop"),
        (r#""MAX_TOKENS""#, "length"),
        (r#""model_length""#, "length"),
        (r#""SAFETY""#, "content_filter"),
        (r#""TOOL_CALL""#, "tool_calls"),
    ] {
        let body = with_choice(&format!(
            r#"{{"finish_reason":{reason},"index":0,"message":{{"role":"assistant","content":"x"}}}}"#
        ));
        let (answer, changed) = normal(&body);
        assert_eq!(answer["choices"][0]["finish_reason"], expected, "{reason}");
        assert_eq!(changed, ["finish_reason"], "{reason}");
    }
}

#[test]
fn an_answer_that_calls_tools_ends_in_tool_calls() {
    for reason in [r#""stop""#, "null", r#""STOP""#] {
        for body in [
            with_call(CALL).replace(r#""tool_calls"}"#, &format!("{reason}}}")),
            with_choice(&format!(
                r#"{{"finish_reason":{reason},"index":0,"message":{{"role":"assistant","content":"","tool_calls":[{CALL}]}}}}"#
            )),
        ] {
            let (answer, changed) = normal(&body);
            assert_eq!(
                answer["choices"][0]["finish_reason"], "tool_calls",
                "{body}"
            );
            assert_eq!(changed, ["finish_reason"], "{body}");
        }
    }
    let cut_off = with_call(CALL).replace(r#""tool_calls"}"#, r#""length"}"#);
    assert!(is_untouched(&cut_off));
}

#[test]
fn parts_become_text_and_thinking_becomes_reasoning() {
    let parts = r#"[{"type":"thinking","thinking":[{"type":"text","text":"Hm. "},{"type":"text","text":"4?"}]},{"type":"text","text":"2 + 2 "},{"type":"reference","reference_ids":[1]},{"type":"text","text":"= 4"}]"#;
    let (made, changed) = message(&format!(r#"{{"role":"assistant","content":{parts}}}"#));
    assert_eq!(
        made,
        json!({ "role": "assistant", "content": "2 + 2 = 4", "reasoning_content": "Hm. 4?" })
    );
    assert_eq!(changed, ["content"]);
    // Where the message has its reasoning already, or says that it has none.
    let (made, _) = message(&format!(
        r#"{{"reasoning":"so","role":"assistant","content":{parts}}}"#
    ));
    assert_eq!(made["reasoning_content"], Value::Null);
    let (made, _) = message(&format!(
        r#"{{"reasoning_content":null,"role":"assistant","content":{parts}}}"#
    ));
    assert_eq!(made["reasoning_content"], "Hm. 4?");
}

#[test]
fn parts_that_are_not_all_text_stay() {
    let image = r#"{"role":"assistant","content":[{"type":"text","text":"See"},{"type":"image_url","image_url":{"url":"data:,"}}]}"#;
    assert!(is_untouched(&with_message(image)));
}

#[test]
fn content_that_is_json_itself_becomes_its_text() {
    for (content, text) in [
        (r#"{"a": 1.0, "b": [true]}"#, r#"{"a": 1.0, "b": [true]}"#),
        ("42", "42"),
        ("false", "false"),
    ] {
        let (made, _) = message(&format!(r#"{{"role":"assistant","content":{content}}}"#));
        assert_eq!(made["content"], text);
    }
}

#[test]
fn a_call_has_an_id_a_type_and_arguments_in_a_string() {
    for (call, arguments) in [
        (
            r#"{"function":{"name":"f","arguments":{"x": 1.50}}}"#,
            r#"{"x": 1.50}"#,
        ),
        (
            r#"{"id":"","type":"function","function":{"name":"f","arguments":null}}"#,
            "{}",
        ),
        (r#"{"id":null,"type":null,"function":{"name":"f"}}"#, "{}"),
        (
            r#"{"type":"tool","function":{"name":"f","arguments":"{\"y\":2}"}}"#,
            r#"{"y":2}"#,
        ),
    ] {
        let (answer, changed) = normal(&with_call(call));
        let made = &answer["choices"][0]["message"]["tool_calls"][0];
        let id = made["id"].as_str().unwrap();
        // Mistral takes back nine letters and digits only.
        assert!(
            id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()),
            "{id}"
        );
        assert_eq!(
            *made,
            json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": arguments } })
        );
        assert_eq!(changed, ["tool_calls"]);
    }
}

#[test]
fn calls_without_ids_get_different_ones() {
    let calls = vec![r#"{"id":"","type":"function","function":{"name":"f","arguments":"{}"}}"#; 50];
    let (answer, _) = normal(&with_call(&calls.join(",")));
    let calls = answer["choices"][0]["message"]["tool_calls"]
        .as_array()
        .unwrap();
    let ids: std::collections::HashSet<_> = calls.iter().map(|call| call["id"].as_str()).collect();
    assert_eq!(ids.len(), 50);
}

#[test]
fn counts_are_integers_and_what_is_missing_follows_from_the_others() {
    for (usage, expected) in [
        (
            r#"{"prompt_tokens":3,"completion_tokens":null,"total_tokens":10}"#,
            json!([3, 7, 10]),
        ),
        (
            r#"{"prompt_tokens":3,"completion_tokens":4}"#,
            json!([3, 4, 7]),
        ),
        (
            r#"{"prompt_tokens":3.0,"completion_tokens":"4","total_tokens":7}"#,
            json!([3, 4, 7]),
        ),
        (
            r#"{"total_tokens":-9223372036854775808,"prompt_tokens":9223372036854775807}"#,
            json!([i64::MAX, 0, i64::MIN]),
        ),
    ] {
        let body = with_choice("").replace(r#""id""#, &format!(r#""usage":{usage},"id""#));
        let (answer, changed) = normal(&body);
        let usage = &answer["usage"];
        let counts = json!([
            usage["prompt_tokens"],
            usage["completion_tokens"],
            usage["total_tokens"]
        ]);
        assert_eq!((counts, &*changed), (expected, &["usage"][..]));
    }
    for usage in ["{}", r#"{"billed_units":{"input_tokens":1}}"#, "[]", "7"] {
        let body = with_choice("").replace(r#""id""#, &format!(r#""usage":{usage},"id""#));
        assert_eq!(normal(&body).0["usage"], Value::Null, "{usage}");
    }
}

#[test]
fn a_completion_is_made_right_as_well() {
    let body = r#"{"choices":[{"text":null,"finish_reason":"eos"},{"text":"a","index":1,"finish_reason":"length"}],"created":1}"#;
    let normal = normal_of(Endpoint::Completions, body).unwrap();
    let answer: Value = serde_json::from_slice(&normal.body).unwrap();
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(
        answer["choices"],
        json!([{ "text": "", "index": 0, "finish_reason": "stop" }, { "text": "a", "index": 1, "finish_reason": "length" }])
    );
}

#[test]
fn an_answer_with_very_many_faults_is_left() {
    let choices = |n| with_choice(&vec!["{}"; n].join(","));
    assert!(!is_untouched(&choices(100)));
    assert!(is_untouched(&choices(10_000)));
}

/// Of the recorded answers those of Groq, Mistral and Cerebras need something, and no others.
#[test]
fn recorded_answers_are_changed_only_where_a_client_would_fail() {
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/answers");
    let theirs = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/data/streams/vercel-ai"
    );
    let expected = |name: &str| match name {
        "groq-tool-call.json" => vec!["content", "service_tier"],
        "groq-text.json" | "groq-reasoning.json" => vec!["service_tier"],
        "mistral-tool-call.json" => vec!["tool_calls", "content"],
        "mistral-reasoning.json" | "cerebras-structured-output-tools.1.json" => vec!["content"],
        _ => vec![],
    };
    let ours = std::fs::read_dir(ours).expect("our own are always there");
    let theirs = std::fs::read_dir(theirs).into_iter().flatten();
    for vendor in ours.chain(theirs).flatten() {
        for file in std::fs::read_dir(vendor.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = file.file_name().to_string_lossy().into_owned();
            if !name.ends_with(".json") || name.starts_with("completion_") {
                continue;
            }
            let body = std::fs::read_to_string(file.path()).unwrap();
            let changed = normal_of(Endpoint::ChatCompletions, &body);
            let changed = changed.map(|normal| normal.changed).unwrap_or_default();
            assert_eq!(changed, expected(&name), "{name}");
        }
    }
}

/// Whether a client of OpenAI's reads it, as far as this module sees to that.
fn conforms(answer: &Value) -> Result<(), String> {
    let ensure = |holds: bool, what: &str| {
        holds
            .then_some(())
            .ok_or_else(|| format!("{what}: {answer}"))
    };
    ensure(answer["id"].is_string(), "id")?;
    ensure(answer["object"] == "chat.completion", "object")?;
    ensure(
        answer["created"].is_i64() || answer["created"].is_u64(),
        "created",
    )?;
    ensure(answer["model"].is_string(), "model")?;
    let usage = &answer["usage"];
    for count in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        ensure(
            usage.is_null() || usage[count].is_i64() || usage[count].is_u64(),
            "usage",
        )?;
    }
    for choice in answer["choices"].as_array().unwrap() {
        if !choice.is_object() {
            continue;
        }
        ensure(
            choice["index"].is_i64() || choice["index"].is_u64(),
            "index",
        )?;
        let reasons = [
            "stop",
            "length",
            "tool_calls",
            "content_filter",
            "function_call",
        ];
        ensure(
            choice["finish_reason"]
                .as_str()
                .is_some_and(|reason| reasons.contains(&reason)),
            "finish_reason",
        )?;
        let message = &choice["message"];
        ensure(message["role"] == "assistant", "role")?;
        let content = &message["content"];
        ensure(
            content.is_null() || content.is_string() || content.is_array(),
            "content",
        )?;
        for call in message["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|call| call.is_object())
        {
            ensure(
                call["id"].as_str().is_some_and(|id| !id.is_empty()),
                "tool_calls.id",
            )?;
            ensure(
                call["type"] == "function" || call["type"] == "custom",
                "tool_calls.type",
            )?;
            let function = &call["function"];
            ensure(
                !function.is_object() || function["arguments"].is_string(),
                "arguments",
            )?;
        }
    }
    Ok(())
}

/// Any value, more often one that stands in answers.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        prop::sample::select(vec![
            "stop",
            "text",
            "thinking",
            "assistant",
            "12",
            "function",
            "chat.completion"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let key = prop::sample::select(vec![
            "type",
            "text",
            "thinking",
            "name",
            "arguments",
            "prompt_tokens",
            "total_tokens",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4).prop_map(Value::from_iter),
        ]
    })
}

/// An object with some of these fields, each with a value that fits or with any.
fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let field = |(key, fit): (&'static str, BoxedStrategy<Value>)| {
        prop::option::of(
            prop_oneof![3 => fit, 1 => value().boxed()].prop_map(move |value| (key, value)),
        )
    };
    let fields: Vec<_> = fields.into_iter().map(field).collect();
    (fields, any::<bool>())
        .prop_map(|(mut fields, reversed)| {
            if reversed {
                fields.reverse();
            }
            // A list of fields keeps its order; an object of serde_json's does not.
            Value::from_iter(fields.into_iter().flatten())
        })
        .boxed()
}

fn answer() -> BoxedStrategy<Value> {
    let just = |value: Value| Just(value).boxed();
    let list = |item: BoxedStrategy<Value>| {
        prop::collection::vec(item, 0..3)
            .prop_map(Value::from)
            .boxed()
    };
    let function = object(vec![
        ("name", just(json!("f"))),
        ("arguments", just(json!("{}"))),
    ]);
    let call = object(vec![
        ("id", just(json!("c"))),
        ("type", just(json!("function"))),
        ("function", function.clone()),
    ]);
    let message = object(vec![
        ("role", just(json!("assistant"))),
        ("content", value().boxed()),
        ("tool_calls", list(call)),
        ("function_call", function),
        ("reasoning_content", value().boxed()),
    ]);
    let choice = object(vec![
        ("index", just(json!(0))),
        ("message", message),
        ("finish_reason", just(json!("stop"))),
    ]);
    let usage = object(vec![
        ("prompt_tokens", just(json!(1))),
        ("completion_tokens", just(json!(2))),
        ("total_tokens", just(json!(3))),
    ]);
    (
        object(vec![
            ("id", just(json!("1"))),
            ("object", just(json!("chat.completion"))),
            ("created", just(json!(1))),
            ("model", just(json!("m"))),
            ("usage", usage),
            ("service_tier", just(json!("auto"))),
        ]),
        list(choice),
    )
        .prop_map(|(mut answer, choices)| {
            answer["choices"] = choices;
            answer
        })
        .boxed()
}

proptest! {
    #[test]
    fn whatever_comes_in_an_answer_a_client_can_read_it(answer in answer()) {
        let made = match normal_of(Endpoint::ChatCompletions, &answer.to_string()) {
            Some(normal) => serde_json::from_slice(&normal.body).unwrap(),
            None => answer,
        };
        prop_assert_eq!(conforms(&made), Ok(()));
        // Once is enough.
        prop_assert!(is_untouched(&made.to_string()), "{}", made);
    }

    #[test]
    fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..300), cut in any::<prop::sample::Index>(), answer in answer()) {
        let answer = answer.to_string().into_bytes();
        for endpoint in Endpoint::ALL {
            for body in [&body[..], &answer[..cut.index(answer.len())]] {
                prop_assert!(normal_of_bytes(endpoint, body).is_none());
            }
        }
    }
}
