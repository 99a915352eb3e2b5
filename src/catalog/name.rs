//! What the name of a model tells of it, where its listing does not.

use crate::capability::Capability;

/// Parts of the names of models that judge a conversation and do not take part in it: llama-guard, gpt-oss-safeguard,
/// nemotron content-safety, shieldgemma, omni-moderation, nemoguard-jailbreak-detect.
const GUARDS: &[&str] = &["guard", "safety", "shield", "moderation", "jailbreak"];

/// Parts of ids that tell what a model answers with, where its listing does not say: nothing, where it is nothing that
/// is asked for here. The first that fits counts. What has none of them is a model for text.
const KINDS: &[(Option<Capability>, &[&str])] = &[
    // Before the vectors: nvidia's rerankers are called `…-embed-…-rerank` too.
    (None, &["rerank", "reward"]),
    (
        Some(Capability::Embeddings),
        &["embed", "bge-", "minilm", "e5-large", "gte-", "nvclip"],
    ),
    (
        Some(Capability::Transcription),
        &["whisper", "transcribe", "parakeet", "-asr"],
    ),
    (
        Some(Capability::AudioOutput),
        &["tts", "native-audio", "orpheus", "lyria", "kokoro"],
    ),
    (
        Some(Capability::ImageOutput),
        &[
            "stable-diffusion",
            "sdxl",
            "flux",
            "imagen",
            "-image",
            "dall-e",
            "dreamshaper",
        ],
    ),
    // Readers of pages, taggers, and what makes videos.
    (
        None,
        &["-ocr", "-parse", "deplot", "gliner", "veo-", "sora-"],
    ),
];

/// What a model of this id answers with, as far as its name tells; nothing, if it is nothing that is asked for here.
pub(crate) fn assumed_output(id: &str) -> Option<Capability> {
    let id = id.to_ascii_lowercase();
    let kind = KINDS
        .iter()
        .find(|(_, parts)| parts.iter().any(|part| id.contains(part)));
    kind.map_or(Some(Capability::TextOutput), |(output, _)| *output)
}

/// Whether a model of this name judges conversations.
pub(super) fn names_a_guard(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    GUARDS.iter().any(|guard| name.contains(guard))
}
