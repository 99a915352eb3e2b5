//! The top-level fields that OpenAI's API has at each endpoint, for services that get no others.

use crate::endpoint::Endpoint;

/// The fields of OpenAI's API at this endpoint, but for those that are [guarded](super::guarded).
///
/// OpenAI's specification 2.3.0 (github.com/openai/openai-openapi), with the fields that were added until 2026-07.
pub(crate) const fn of_openai(endpoint: Endpoint) -> &'static [&'static str] {
    match endpoint {
        Endpoint::ChatCompletions => &[
            "audio",
            "frequency_penalty",
            "function_call",
            "functions",
            "logit_bias",
            "logprobs",
            "max_completion_tokens",
            "max_tokens",
            "messages",
            "metadata",
            "modalities",
            "model",
            "n",
            "parallel_tool_calls",
            "prediction",
            "presence_penalty",
            "prompt_cache_key",
            "prompt_cache_retention",
            "reasoning_effort",
            "response_format",
            "safety_identifier",
            "seed",
            "stop",
            "store",
            "stream",
            "stream_options",
            "temperature",
            "tool_choice",
            "tools",
            "top_logprobs",
            "top_p",
            "user",
            "verbosity",
        ],
        Endpoint::Completions => &[
            "best_of",
            "echo",
            "frequency_penalty",
            "logit_bias",
            "logprobs",
            "max_tokens",
            "model",
            "n",
            "presence_penalty",
            "prompt",
            "seed",
            "stop",
            "stream",
            "stream_options",
            "suffix",
            "temperature",
            "top_p",
            "user",
        ],
        Endpoint::Responses => &[
            "background",
            "conversation",
            "include",
            "input",
            "instructions",
            "max_output_tokens",
            "max_tool_calls",
            "metadata",
            "model",
            "parallel_tool_calls",
            "previous_response_id",
            "prompt",
            "prompt_cache_key",
            "prompt_cache_retention",
            "reasoning",
            "safety_identifier",
            "store",
            "stream",
            "stream_options",
            "temperature",
            "text",
            "tool_choice",
            "tools",
            "top_logprobs",
            "top_p",
            "truncation",
            "user",
        ],
        Endpoint::Embeddings => &["dimensions", "encoding_format", "input", "model", "user"],
        Endpoint::ImageGenerations => &[
            "background",
            "model",
            "moderation",
            "n",
            "output_compression",
            "output_format",
            "partial_images",
            "prompt",
            "quality",
            "response_format",
            "size",
            "stream",
            "style",
            "user",
        ],
        Endpoint::ImageEdits => &[
            "background",
            "image",
            "images",
            "input_fidelity",
            "mask",
            "model",
            "moderation",
            "n",
            "output_compression",
            "output_format",
            "partial_images",
            "prompt",
            "quality",
            "response_format",
            "size",
            "stream",
            "user",
        ],
        Endpoint::AudioTranscriptions => &[
            "chunking_strategy",
            "file",
            "include",
            "known_speaker_names",
            "known_speaker_references",
            "language",
            "model",
            "prompt",
            "response_format",
            "stream",
            "temperature",
            "timestamp_granularities",
        ],
        Endpoint::AudioTranslations => {
            &["file", "model", "prompt", "response_format", "temperature"]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{json::Text, request::guarded::guarded};

    #[test]
    fn no_known_field_is_one_that_must_not_pass() {
        for endpoint in Endpoint::ALL {
            for &raw in of_openai(endpoint) {
                let name = Text {
                    raw,
                    escaped: false,
                };
                assert_eq!(guarded(name), None, "{endpoint} {raw}");
            }
        }
    }
}
