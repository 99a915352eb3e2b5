//! How single values are rewritten.

use serde_json::Value;

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The integer that a number or a numeric string means; the part before the point.
pub(super) fn integer(number: &str) -> Option<i64> {
    let number = number.trim();
    number.parse().ok().or_else(|| {
        let float: f64 = number.parse().ok()?;
        // The range in which floats count by ones.
        (float.abs() < 9e15).then_some(float as i64)
    })
}

/// OpenAI's word for why an answer ended; `tool_calls` says whether it ended in calls.
///
/// The known words are those of OpenAI, Cohere, Gemini, Anthropic, Mistral, Together and TGI. An unknown one, or none, is
/// read as a regular end.
pub(super) fn reason(reason: &str, is_chat: bool, tool_calls: bool) -> &'static str {
    match &*reason.to_ascii_lowercase() {
        "length" | "max_tokens" | "model_length" => "length",
        "content_filter" | "safety" | "recitation" | "blocklist" | "prohibited_content"
        | "refusal" => "content_filter",
        "function_call" if is_chat => "function_call",
        "tool_calls" | "tool_call" | "tool_use" if is_chat => "tool_calls",
        _ if tool_calls => "tool_calls",
        _ => "stop",
    }
}

/// The text in the parts of a `content`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// The answer's own text, if there is any.
    pub(super) text: Option<String>,
    /// What the model thought before.
    pub(super) thinking: String,
}

/// Reads the parts of a `content`: text; thinking, which is text or parts of text (Mistral, `ThinkChunk`); references,
/// which have no text. `None` if there is a part of another kind, such as an image, because text alone would lose it.
pub(super) fn parts(content: &str) -> Option<Parts> {
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
