//! Request bodies: of our own making, the same in every run, in the order in which OpenAI's Python client writes members
//! (`messages` before `model`).

use std::{fmt::Write as _, iter};

use base64::Engine as _;
use serde_json::{Value, json};

/// The digits of the number of a request in [`numbered`].
pub(crate) const DIGITS: usize = 15;

/// What stands before that number.
pub(crate) const BEFORE_NUMBER: &str = "Request number ";

const ENGLISH: &str = "The river takes what it is given, the hills give what they have, and the town between them keeps an \
                       account of both. Each spring the water comes down brown and quick; by June one can walk across.";
const CHINESE: &str = "河水带走它得到的一切，山丘给出它们所有的一切。每年春天，水流湍急而浑浊；到了六月，人们就可以走过去了。";
const MIXED: &str =
    "naïve café — “quoted”,\ttab\n{\"a\": [1, 2]}\\path\\to 😀 Ω; and plain words again.";

/// A conversation of about 1 KB.
pub(crate) fn small() -> String {
    conversation(1_000, false)
}

/// A conversation of about 1 KB whose answer is a stream.
pub(crate) fn small_streamed() -> String {
    conversation(1_000, true)
}

/// A conversation of about 100 KB, ASCII without escapes.
pub(crate) fn conversation_100k() -> String {
    conversation(100_000, false)
}

/// A conversation of about 2 MB, ASCII without escapes.
pub(crate) fn conversation_2m() -> String {
    conversation(2_000_000, false)
}

/// As [`small`], with a number of [`DIGITS`] digits that the load generator changes from request to request.
pub(crate) fn numbered() -> String {
    let zeros = "0".repeat(DIGITS);
    let text = format!("{BEFORE_NUMBER}{zeros}. {}", ENGLISH.repeat(4));
    body(
        &json!([{ "role": "user", "content": text }]).to_string(),
        json!({}),
    )
}

/// A question about an image of about 2 MB, in base64.
pub(crate) fn image_2m() -> String {
    let mut state = 1_u32;
    let bytes: Vec<u8> = iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(1_500_000)
    .collect();
    let image = base64::engine::general_purpose::STANDARD.encode(bytes);
    let content = json!([
        { "type": "text", "text": "What is in this image?" },
        { "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{image}") } },
    ]);
    body(
        &json!([{ "role": "user", "content": content }]).to_string(),
        json!({ "max_tokens": 300 }),
    )
}

/// About 100 KB of what agents send: tools, calls and their results, parts, five roles, CJK, and escapes of each kind.
pub(crate) fn mixed_100k() -> String {
    let tools: Vec<_> = (0..20).map(tool).collect();
    let mut messages = String::from("[");
    let first = [
        json!({ "role": "system", "content": ENGLISH.repeat(5) }),
        json!({ "role": "developer", "content": MIXED.repeat(3) }),
    ];
    let turns = (0..).flat_map(turn);
    for (n, message) in first.into_iter().chain(turns).enumerate() {
        let message = message.to_string();
        // Some clients escape all that is not ASCII.
        match n % 3 {
            0 => messages.push_str(&ascii(&message)),
            _ => messages.push_str(&message),
        }
        if messages.len() > 88_000 {
            break;
        }
        messages.push(',');
    }
    messages.push(']');
    body(
        &messages,
        json!({ "parallel_tool_calls": true, "temperature": 0.2, "tool_choice": "auto", "tools": tools }),
    )
}

/// A question, a call, its result and an answer.
fn turn(n: usize) -> [Value; 4] {
    let id = format!("call_{n:06}");
    let arguments = json!({ "path": format!("src/part_{n}.rs"), "text": MIXED }).to_string();
    [
        json!({ "role": "user", "content": [
            { "type": "text", "text": CHINESE.repeat(1 + n % 3) },
            { "type": "text", "text": ENGLISH.repeat(2) },
        ] }),
        json!({ "role": "assistant", "content": null, "tool_calls": [
            { "id": id, "type": "function", "function": { "name": "tool_3", "arguments": arguments } },
        ] }),
        json!({ "role": "tool", "tool_call_id": id, "content": MIXED.repeat(6) }),
        json!({ "role": "assistant", "content": format!("{ENGLISH}\n\n{CHINESE}\n\n{MIXED}") }),
    ]
}

fn tool(n: usize) -> Value {
    json!({ "type": "function", "function": {
        "name": format!("tool_{n}"),
        "description": "Reads or writes one part of a file, and says what stood there before.",
        "parameters": {
            "type": "object",
            "properties": {
                "path": { "type": "string", "description": "Where the file is, below the project." },
                "text": { "type": "string", "description": "What to write; nothing is written without it." },
                "lines": { "type": "array", "items": { "type": "integer", "minimum": 1 }, "maxItems": 2 },
                "mode": { "type": "string", "enum": ["read", "write", "append"] },
            },
            "required": ["path"],
            "additionalProperties": false,
        },
    } })
}

/// Plain messages of a user and an assistant, until the body has about `len` bytes.
fn conversation(len: usize, stream: bool) -> String {
    let system = json!({ "role": "system", "content": "You are brief." });
    let turns = (0..).map(|n: usize| {
        let role = if n % 2 == 0 { "user" } else { "assistant" };
        let times = if len < 10_000 { 1 } else { 1 + n % 7 };
        json!({ "role": role, "content": ENGLISH.repeat(times) })
    });
    let mut messages = format!("[{system}");
    for message in turns {
        let _ = write!(messages, ",{message}");
        if messages.len() + ENGLISH.len() > len {
            break;
        }
    }
    messages.push(']');
    let more = match stream {
        true => json!({ "stream": true, "temperature": 0.7 }),
        false => json!({ "temperature": 0.7 }),
    };
    body(&messages, more)
}

/// A body with these messages, a model and `more` members.
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers have it as a literal"
)]
fn body(messages: &str, more: Value) -> String {
    let more = more.to_string();
    let more = match more.as_str() {
        "{}" => "}".to_owned(),
        members => format!(",{}", &members[1..]),
    };
    format!("{{\"messages\":{messages},\"model\":\"free\"{more}")
}

/// The same JSON, with `\u` escapes for all that is not ASCII.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    for c in json.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}
