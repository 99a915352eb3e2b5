//! What services call the fields of a row, and what their words mean.

use crate::capability::Capability;

/// The window. Several names of one limit are promises, so the least counts: what the upstream of OpenRouter, GitHub or
/// llama.cpp grants can be less than the model has.
pub(super) const WINDOW: &[&str] = &[
    "context_length",
    "context_window",
    "max_context_length",
    "max_model_len",
    "loaded_context_length",
    "top_provider.context_length",
    "limits.context_length",
    "limits.max_input_tokens",
    "meta.n_ctx",
    "meta.n_ctx_train",
];

/// The longest answer; Groq states both of the first.
pub(super) const LONGEST_ANSWER: &[&str] = &[
    "max_completion_tokens",
    "max_output_length",
    "top_provider.max_completion_tokens",
    "limits.max_output_tokens",
];

/// What a message may hold.
pub(super) const INPUT: &[&str] = &[
    "architecture.input_modalities",
    "input_modalities",
    "supported_input_modalities",
];

/// What an answer holds.
pub(super) const OUTPUT: &[&str] = &[
    "architecture.output_modalities",
    "output_modalities",
    "supported_output_modalities",
];

/// The last day, as OpenRouter and Mistral call it.
pub(super) const LAST_DAY: &[&str] = &["expiration_date", "deprecation"];

/// What a model is said to be: by LM Studio and Together, by Cloudflare, and as a list by Cohere.
pub(super) const KIND: &[&str] = &["type", "task.name", "endpoints"];

/// Words for what a model can do, as a list (GitHub, LM Studio, Ollama, Cohere) or as an object of yes and no (Mistral).
pub(super) const ABILITIES: &[&str] = &["capabilities", "features"];

/// Whether a model is free, as Kilo writes it, and as others do.
pub(super) const IS_FREE: &[&str] = &["isFree", "is_free"];

/// What each server behind Hugging Face's router says of a model. The router may choose any of them.
pub(super) const OF_SERVERS: &[&str] = &["supports_tools", "supports_structured_output"];

/// Mistral's flag of the models that chat.
pub(super) const CHATS: &str = "completion_chat";

/// The words for what a model can do or not: in lists, in objects of yes and no, and in Cloudflare's `properties`.
const CAPABILITIES: &[(&str, Capability)] = &[
    ("tools", Capability::Tools),
    ("tool-calling", Capability::Tools),
    ("tool_use", Capability::Tools),
    ("function_calling", Capability::Tools),
    ("supports_tools", Capability::Tools),
    ("vision", Capability::ImageInput),
    ("audio", Capability::AudioInput),
    ("reasoning", Capability::Reasoning),
    ("thinking", Capability::Reasoning),
    ("json_mode", Capability::JsonObject),
    ("json_schema", Capability::JsonSchema),
    ("supports_structured_output", Capability::JsonSchema),
    (CHATS, Capability::TextOutput),
];

/// The words for what a model is, in small letters, as the modality that it answers with. A model with a modality that
/// no endpoint has is of no use here.
const KINDS: &[(&str, &str)] = &[
    ("llm", "text"),
    ("vlm", "text"),
    ("chat", "text"),
    ("language", "text"),
    ("code", "text"),
    ("generate", "text"),
    ("text generation", "text"),
    (CHATS, "text"),
    ("embeddings", "embeddings"),
    ("embedding", "embeddings"),
    ("embed", "embeddings"),
    ("text embeddings", "embeddings"),
    ("image", "image"),
    ("text-to-image", "image"),
    ("transcribe", "transcription"),
    ("transcription", "transcription"),
    ("audio_transcription", "transcription"),
    ("automatic speech recognition", "transcription"),
    ("audio", "audio"),
    ("text-to-speech", "audio"),
    ("video", "video"),
    ("rerank", "rerank"),
    ("classify", "classes"),
    ("moderation", "classes"),
    ("text classification", "classes"),
    ("image classification", "classes"),
    ("object detection", "classes"),
    ("voice activity detection", "classes"),
    ("image-to-text", "captions"),
    ("translation", "translation"),
    ("summarization", "summary"),
];

/// The capability that `word` stands for, if it is known.
pub(super) fn capability(word: &str) -> Option<Capability> {
    let known = CAPABILITIES.iter().find(|(name, _)| *name == word);
    known.map(|(_, capability)| *capability)
}

/// The modality that a model of this kind answers with, if the word is known.
pub(super) fn output(kind: &str) -> Option<&'static str> {
    let kind = kind.to_ascii_lowercase();
    let known = KINDS.iter().find(|(name, _)| *name == kind);
    known.map(|(_, output)| *output)
}

/// What a message may hold by the kind of its model: LM Studio tells a model that sees from one that does not only so.
pub(super) fn input(kind: &str) -> &'static [&'static str] {
    match kind {
        "vlm" => &["text", "image"],
        "llm" => &["text"],
        _ => &[],
    }
}
