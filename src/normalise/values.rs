//! How single values are made right.

use serde_json::Value;

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Whether a number, as it is written, is an integer.
pub(crate) fn is_integer(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// The integer that a number or a numeric string means; the part before the point.
pub(crate) fn integer(number: &str) -> Option<i64> {
    let number = number.trim();
    number.parse().ok().or_else(|| {
        let float: f64 = number.parse().ok()?;
        // The range in which floats count by ones.
        (float.abs() < 9e15).then_some(float as i64)
    })
}

/// OpenAI's word for why a chat ended, where `tool_calls` says whether it ended in calls.
///
/// Other words are those of Cohere, Gemini, Anthropic, Mistral, Together and TGI; one that nobody knows is an end.
pub(crate) fn chat_reason(reason: &str, tool_calls: bool) -> &'static str {
    let end = if tool_calls { "tool_calls" } else { "stop" };
    if reason == "stop" {
        return end;
    }
    match &*reason.to_ascii_lowercase() {
        "function_call" => "function_call",
        "tool_calls" | "tool_call" | "tool_use" => "tool_calls",
        reason => cut_off(reason).unwrap_or(end),
    }
}

/// The same for a completion, which calls no tools.
pub(crate) fn completion_reason(reason: &str) -> &'static str {
    cut_off(&reason.to_ascii_lowercase()).unwrap_or("stop")
}

fn cut_off(reason: &str) -> Option<&'static str> {
    match reason {
        "length" | "max_tokens" | "model_length" => Some("length"),
        "content_filter" | "safety" | "recitation" | "blocklist" | "prohibited_content"
        | "refusal" => Some("content_filter"),
        _ => None,
    }
}

/// What the parts of a `content` say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// The text, if there is any.
    pub(crate) text: Option<String>,
    /// What the model thought before.
    pub(crate) thinking: String,
}

/// Reads the parts of a `content`: text; thinking, which is text or parts of text (Mistral, `ThinkChunk`); references,
/// which say nothing of their own. `None` if there is anything else among them, such as an image: that is not text,
/// and is not to be lost.
pub(crate) fn parts(content: &str) -> Option<Parts> {
    let mut read = Parts::default();
    for part in serde_json::from_str::<Vec<Value>>(content).ok()? {
        if let Some(text) = part.as_str() {
            read.text.get_or_insert_default().push_str(text);
            continue;
        }
        match part["type"].as_str()? {
            "text" | "output_text" => {
                let text = part["text"].as_str()?;
                read.text.get_or_insert_default().push_str(text);
            }
            kind @ ("thinking" | "reasoning") => match &part[kind] {
                Value::String(text) => read.thinking.push_str(text),
                Value::Array(inner) => {
                    let texts = inner.iter().filter_map(|part| part["text"].as_str());
                    texts.for_each(|text| read.thinking.push_str(text));
                }
                _ => read.thinking.push_str(part["text"].as_str()?),
            },
            "reference" => {}
            _ => return None,
        }
    }
    Some(read)
}
