//! What services call a capability, where they do not say it as OpenRouter does.

use crate::capability::Capability;

/// The words for what a model can do: in GitHub's and LM Studio's `capabilities`, Cohere's `features`, Mistral's
/// `capabilities` (with a yes or a no), Cloudflare's `properties` and Ollama's `capabilities`.
const CAPABILITIES: &[(&str, &[Capability])] = &[
    ("tools", &[Capability::Tools]),
    ("tool-calling", &[Capability::Tools]),
    ("tool_use", &[Capability::Tools]),
    ("function_calling", &[Capability::Tools]),
    ("vision", &[Capability::ImageInput]),
    ("audio", &[Capability::AudioInput]),
    ("reasoning", &[Capability::Reasoning]),
    ("thinking", &[Capability::Reasoning]),
    ("json_mode", &[Capability::JsonObject]),
    (
        "json_schema",
        &[Capability::JsonObject, Capability::JsonSchema],
    ),
];

/// The words for what a model is, as the modality it answers with: LM Studio's and Together's `type`, Cloudflare's
/// `task.name` and Cohere's `endpoints`, in small letters. Where the modality is none of ours, its model is of no use
/// here.
const KINDS: &[(&str, &str)] = &[
    ("llm", "text"),
    ("vlm", "text"),
    ("chat", "text"),
    ("language", "text"),
    ("code", "text"),
    ("generate", "text"),
    ("text generation", "text"),
    ("embeddings", "embeddings"),
    ("embedding", "embeddings"),
    ("embed", "embeddings"),
    ("text embeddings", "embeddings"),
    ("image", "image"),
    ("text-to-image", "image"),
    ("transcribe", "transcription"),
    ("transcription", "transcription"),
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

/// What `word` says that a model can do, if it is known.
pub(crate) fn capabilities(word: &str) -> &'static [Capability] {
    let known = CAPABILITIES.iter().find(|(name, _)| *name == word);
    known.map_or(&[], |(_, capabilities)| capabilities)
}

/// The modality that a model of this kind answers with, if the word is known.
pub(crate) fn output(kind: &str) -> Option<&'static str> {
    let kind = kind.to_ascii_lowercase();
    let known = KINDS.iter().find(|(name, _)| *name == kind);
    known.map(|(_, output)| *output)
}
