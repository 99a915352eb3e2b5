//! Bodies of requests.

use bytes::Bytes;
use serde_json::{Value, json};

/// A conversation of about `len` bytes.
pub(crate) fn conversation(len: usize) -> Bytes {
    let turn =
        "Please look at the second paragraph again:\n\"the river will take it\" is too strong. ";
    let messages: Vec<_> = (0..len / (turn.len() + 45) + 1)
        .map(|n| json!({"role": if n % 2 == 0 { "user" } else { "assistant" }, "content": turn}))
        .collect();
    request(&json!(messages))
}

/// A question about an image of `len` bytes of base64.
pub(crate) fn image(len: usize) -> Bytes {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let data: String = (0..len).map(|n| alphabet[n * 7919 % 64] as char).collect();
    let url = format!("data:image/png;base64,{data}");
    request(&json!([{"role": "user", "content": [
        {"type": "text", "text": "What is in this image?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]}]))
}

fn request(messages: &Value) -> Bytes {
    let body = json!({"model": "free", "stream": true, "max_tokens": 1000, "messages": messages});
    body.to_string().into()
}

const PROSE: &str = "The committee had been sitting since nine o'clock, and nobody could remember who had first \
    proposed that the bridge be moved.\n\n\"If we leave it where it is,\" said the engineer, \"the river will take it.\"";
const CODE: &str = "fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {\n    \
    println!(\"{}\", \"ready\");\n    match self.inner.poll_ready(cx) {\n        Poll::Pending => Poll::Pending,\n    }\n}\n";
const CHINESE: &str =
    "委员会从早上九点就开始开会，等到灯点亮的时候，已经没有人记得是谁最先提议把那座桥搬走的了。";
const GERMAN: &str = "Der Ausschuss tagte seit neun Uhr morgens, und als die Lampen angezündet wurden, konnte sich \
    niemand mehr erinnern, wer zuerst vorgeschlagen hatte, die Brücke zu versetzen.";
const RUSSIAN: &str = "Комитет заседал с девяти часов утра, и никто уже не мог вспомнить, кто предложил перенести мост.";

/// An object whose members stand in an order that depends on `turn`.
fn object(turn: usize, mut members: Vec<(&str, Value)>) -> String {
    let first = turn % members.len();
    members.rotate_left(first);
    let members: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("{name:?}:{value}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// A conversation of about `len` bytes with all that real ones have: tools, calls of tools, content in parts, several
/// languages, escapes, members in any order. The model stands first or last.
pub(crate) fn mixed(len: usize, model_is_first: bool) -> Bytes {
    let texts = [PROSE, CHINESE, CODE, GERMAN, PROSE, RUSSIAN, CODE];
    let mut messages = vec![object(
        0,
        vec![("role", json!("system")), ("content", json!(PROSE))],
    )];
    let mut written = 0;
    while written < len {
        let turn = messages.len();
        let (text, other) = (texts[turn % 7], texts[(turn + 3) % 7]);
        let arguments = json!({"path": "src/lib.rs", "pattern": "fn \"main\"", "limit": 20});
        let call = json!({"id": "call_1", "type": "function",
            "function": {"name": "search", "arguments": arguments.to_string()}});
        let parts = json!([{"type": "text", "text": text},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]);
        let message = match turn % 5 {
            0 => vec![
                ("role", json!("user")),
                ("content", json!(text.repeat(1 + turn % 3))),
            ],
            1 => vec![
                ("role", json!("assistant")),
                ("content", Value::Null),
                ("tool_calls", json!([call])),
            ],
            2 => vec![
                ("role", json!("tool")),
                ("tool_call_id", json!("call_1")),
                ("content", json!(other)),
            ],
            3 => vec![
                ("role", json!("user")),
                ("content", parts),
                ("name", json!("anna")),
            ],
            _ => vec![
                ("role", json!("assistant")),
                ("content", json!(other)),
                ("refusal", Value::Null),
            ],
        };
        let message = object(turn, message);
        written += message.len();
        messages.push(message);
    }
    let parameters = json!({"type": "object", "properties": {"path": {"type": "string", "description": "Where to look"},
        "limit": {"type": "integer", "minimum": 1, "maximum": 100}}, "required": ["path"], "additionalProperties": false});
    let tool =
        json!({"type": "function", "function": {"name": "search", "parameters": parameters}});
    let rest = format!(
        r#""messages":[{}],"tools":{},"tool_choice":"auto","temperature":0.7,"max_completion_tokens":2000"#,
        messages.join(","),
        json!(vec![tool; 20]),
    );
    match model_is_first {
        true => format!(r#"{{"model":"free",{rest}}}"#),
        false => format!(r#"{{{rest},"model":"free"}}"#),
    }
    .into()
}
