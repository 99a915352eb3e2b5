//! Which argument of a request an error finds fault with, and what that means.
//!
//! A service that does not know `min_p` lacks what others have, so that these are asked. One that does not know `foo`
//! lacks nothing: the caller's mistake is shown to one other provider at most.

use crate::{
    capability::Capability,
    endpoint::Endpoint,
    outcome::{Lack, Outcome, OutcomeKind},
    upstream::{envelope::Envelope, prose::Message},
};

/// Parameters that some services know and others do not: a request with one of these, that is refused for it here, may
/// be taken elsewhere. Of OpenAI's endpoints (its specification), of vLLM, llama.cpp and OpenRouter. Any other is taken
/// for one that no service knows.
#[rustfmt::skip]
const PARAMETERS: &[&str] = &[
    "audio", "background", "best_of", "cache_prompt", "chat_template_kwargs", "dimensions", "echo", "enable_thinking",
    "encoding_format", "extra_body", "format", "frequency_penalty", "function_call", "functions", "guided_json",
    "include", "include_reasoning", "input", "input_type", "instructions", "keep_alive", "language", "logit_bias",
    "logprobs", "max_completion_tokens", "max_output_tokens", "max_tokens", "messages", "metadata", "min_p", "min_tokens",
    "mirostat", "modalities", "moderation", "n", "negative_prompt", "num_ctx", "options", "output_compression",
    "output_format", "parallel_tool_calls", "partial_images", "prediction", "presence_penalty",
    "previous_response_id", "prompt", "prompt_cache_key", "provider", "quality", "random_seed", "reasoning",
    "reasoning_content", "reasoning_effort", "reasoning_format", "repeat_penalty", "repetition_penalty",
    "response_format", "safe_prompt", "safety_identifier", "safety_settings", "seed", "service_tier", "session_id",
    "size", "stop", "stop_token_ids", "store", "stream", "stream_options", "strict", "structured_outputs", "style",
    "suffix", "system", "temperature", "text", "thinking", "thinking_budget", "tool_choice", "tools", "top_a", "top_k",
    "top_logprobs", "top_p", "transforms", "truncation", "typical_p", "user", "verbosity", "voice",
    "web_search_options",
];

/// What it means that an argument is not known. Where the error does not name it, others may know it.
pub(super) fn unknown(error: &Envelope, endpoint: Endpoint) -> Outcome {
    let names = names(error);
    if names.iter().any(|name| !PARAMETERS.contains(&root(name))) {
        return Outcome::of(OutcomeKind::Refused);
    }
    let name = names.first().map(|name| &**name).unwrap_or_default();
    Outcome::unfit(lack_of(name, error, endpoint))
}

/// What is lacking where the error finds fault with a parameter.
pub(super) fn lack(error: &Envelope, endpoint: Endpoint) -> Lack {
    let param = error.param.as_deref().unwrap_or_default();
    lack_of(param, error, endpoint)
}

/// The arguments that are at fault, in lower case, as far as the error names them: in a field, in a list behind
/// "supplied: ", or as the first name in quotes.
fn names(error: &Envelope) -> Vec<String> {
    if let Some(param) = &error.param {
        return vec![param.to_ascii_lowercase()];
    }
    let supplied = ["argument supplied: ", "arguments supplied: "];
    let mut lists = supplied.iter().filter_map(|before| {
        error
            .messages
            .iter()
            .find_map(|message| message.after(before))
    });
    if let Some(list) = lists.next() {
        let first_word = |name: &str| Some(name.split_whitespace().next()?.to_owned());
        return list.split(',').filter_map(first_word).collect();
    }
    let quoted = error.messages.iter().find_map(Message::first_name);
    quoted.map(str::to_owned).into_iter().collect()
}

/// A parameter that stands for a capability is that.
fn lack_of(param: &str, error: &Envelope, endpoint: Endpoint) -> Lack {
    let of_text = matches!(
        endpoint,
        Endpoint::ChatCompletions | Endpoint::Completions | Endpoint::Responses
    );
    Lack::Capability(match root(param) {
        "logprobs" | "top_logprobs" => Capability::Logprobs,
        "tools" | "functions" | "function_call" => Capability::Tools,
        "reasoning" | "reasoning_effort" | "include_reasoning" => Capability::Reasoning,
        "audio" if of_text => Capability::AudioOutput,
        // Of an image or a transcript it says something else.
        "response_format" if of_text => match names_schema(param, error) {
            true => Capability::JsonSchema,
            false => Capability::JsonObject,
        },
        "text" if param.starts_with("text.format") => Capability::JsonSchema,
        _ => return Lack::Parameter,
    })
}

fn names_schema(param: &str, error: &Envelope) -> bool {
    param.contains("json_schema") || error.text.contains("json_schema")
}

/// The field of the request that a parameter is, or is in.
fn root(param: &str) -> &str {
    param.split(['.', '[']).next().unwrap_or_default()
}
