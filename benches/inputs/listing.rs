//! The listing of a provider.

use bytes::Bytes;
use serde_json::json;

/// Rows as OpenRouter has them, about 1.3 kB each; every tenth is free.
pub(crate) fn listing(rows: usize) -> Bytes {
    let rows = (0..rows).map(|n| {
        let (suffix, price) = if n % 10 == 0 { (":free", "0") } else { ("", "0.0000012") };
        json!({
            "id": format!("author-{}/model-{n}{suffix}", n % 40),
            "canonical_slug": format!("author-{}/model-{n}", n % 40),
            "name": format!("Author: Model {n}"),
            "created": 1_760_000_000 + n,
            "description": "A model of many words. ".repeat(25),
            "context_length": 131_072,
            "architecture": {
                "modality": "text+image->text",
                "input_modalities": ["text", "image"],
                "output_modalities": ["text"],
                "tokenizer": "Other",
                "instruct_type": null,
            },
            "pricing": { "prompt": price, "completion": price, "request": "0", "image": "0" },
            "top_provider": { "context_length": 131_072, "max_completion_tokens": 16_384, "is_moderated": false },
            "per_request_limits": null,
            "supported_parameters": [
                "max_tokens", "temperature", "top_p", "tools", "tool_choice", "response_format",
                "structured_outputs", "stop", "seed", "frequency_penalty", "presence_penalty",
            ],
        })
    });
    json!({ "data": rows.collect::<Vec<_>>() })
        .to_string()
        .into()
}
