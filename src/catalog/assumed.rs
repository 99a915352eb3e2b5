//! What models usually have, where nobody says what this one has.
//!
//! Many listings state ids alone. What is assumed here fills in what is not stated: as a size or as a yes, never as a no,
//! so it ranks a model and excludes none, and a [`Model`] says what of it is assumed. Windows and outputs are the
//! smaller ones of those that are offered; most are read off OpenRouter's listing of 2026-06-06 and the lists of other
//! free gateways (2026-11-21).

use crate::{
    capability::{Capability, CapabilitySet},
    catalog::model::{Likeness, Model},
};

const NOTHING: CapabilitySet = CapabilitySet::EMPTY;
const JSON: CapabilitySet = NOTHING.with(Capability::JsonObject);
const SCHEMA: CapabilitySet = JSON.with(Capability::JsonSchema);
const SEES: CapabilitySet = NOTHING.with(Capability::ImageInput);
const TOOLS: CapabilitySet = NOTHING.with(Capability::Tools);
const SEES_TOOLS: CapabilitySet = TOOLS.with(Capability::ImageInput);
const THINKS: CapabilitySet = NOTHING.with(Capability::Reasoning);
const THINKS_TOOLS: CapabilitySet = TOOLS.with(Capability::Reasoning);
const THINKS_SEES_TOOLS: CapabilitySet = THINKS_TOOLS.with(Capability::ImageInput);
const OMNI: CapabilitySet = THINKS_SEES_TOOLS
    .with(Capability::AudioInput)
    .with(Capability::VideoInput)
    .with(Capability::FileInput);

/// What a service gives to each of its models for text, whichever it is: the window that it serves, or 0, and
/// capabilities that are the server's work.
const SERVICES: &[(&str, u64, CapabilitySet)] = &[
    // The free plan cuts every window (juspay/neurolink: providers/cerebras.md, 2026-08-27; others say 8,192).
    // inference-docs.cerebras.ai/capabilities/structured-outputs
    ("cerebras", 65_536, SCHEMA),
    // ai.google.dev/gemini-api/docs/openai
    ("google", 0, SCHEMA),
    // console.groq.com/docs/structured-outputs: the object of every model, a schema of some.
    ("groq", 0, JSON),
    // github.com/ggml-org/llama.cpp: tools/server/README.md
    ("llama-cpp", 0, SCHEMA),
    // lmstudio.ai/docs: structured-output
    ("lm-studio", 0, SCHEMA),
    // docs.mistral.ai/capabilities/structured-output
    ("mistral", 0, SCHEMA),
    // docs.ollama.com: context-length (on a small graphics card; what is longer is cut without a word),
    // structured-outputs
    ("ollama", 4_096, SCHEMA),
    // docs.vllm.ai: features/structured_outputs
    ("vllm", 0, SCHEMA),
];

/// Families of models by a part of their ids, in small letters and with `-` for `.`, `_` and `:`. With the window and the
/// longest answer in tokens, or 0. The first that fits counts, so a special one stands before its like.
const FAMILIES: &[(&str, u64, u64, CapabilitySet)] = &[
    ("command-a-vision", 128_000, 8_000, SEES),
    ("command-a-reasoning", 256_000, 32_000, THINKS_TOOLS),
    ("command-a", 128_000, 8_000, TOOLS),
    ("command-r", 128_000, 4_000, TOOLS),
    ("codestral", 256_000, 0, TOOLS),
    ("deepseek-r1-distill", 80_000, 0, THINKS),
    ("deepseek-r1", 64_000, 0, THINKS),
    ("deepseek-v3", 131_072, 0, TOOLS),
    ("deepseek-v4", 131_072, 0, THINKS_TOOLS),
    ("devstral", 131_072, 0, TOOLS),
    ("gemini-1-5", 1_048_576, 8_192, SEES_TOOLS),
    ("gemini-2-0", 1_048_576, 8_192, SEES_TOOLS),
    ("gemini-2-5-computer-use", 131_072, 65_535, SEES_TOOLS),
    ("gemini-", 1_048_576, 65_535, OMNI),
    ("gemma-2-", 8_192, 0, NOTHING),
    ("gemma2", 8_192, 0, NOTHING),
    ("gemma-3-1b", 32_768, 8_192, NOTHING),
    ("gemma-3n", 8_192, 0, NOTHING),
    ("gemma-3", 32_768, 8_192, SEES),
    ("gemma-4", 131_072, 0, THINKS_SEES_TOOLS),
    ("gemma4", 131_072, 0, THINKS_SEES_TOOLS),
    ("glm-4-5v", 65_536, 16_384, THINKS_SEES_TOOLS),
    ("glm-4-6v", 128_000, 24_000, THINKS_SEES_TOOLS),
    ("glm-4-5", 128_000, 96_000, THINKS_TOOLS),
    ("glm-4-6", 200_000, 131_072, THINKS_TOOLS),
    ("glm-4-7", 131_072, 16_384, THINKS_TOOLS),
    ("glm-5", 131_072, 0, THINKS_TOOLS),
    ("gpt-4-1", 1_047_576, 32_768, SEES_TOOLS),
    ("gpt-4o", 128_000, 16_384, SEES_TOOLS),
    ("gpt-oss", 131_072, 0, THINKS_TOOLS),
    ("granite-3", 8_192, 0, NOTHING),
    ("granite-4", 131_000, 0, TOOLS),
    ("kimi-k2-thinking", 262_144, 0, THINKS_TOOLS),
    ("kimi-k2", 131_072, 0, TOOLS),
    ("kimi-k3", 262_144, 0, TOOLS),
    ("llama-3-1", 131_072, 0, TOOLS),
    ("llama3-1", 131_072, 0, TOOLS),
    ("llama-3-2-11b-vision", 131_072, 0, SEES),
    ("llama-3-2-90b-vision", 131_072, 0, SEES_TOOLS),
    ("llama-3-2", 131_072, 0, NOTHING),
    ("llama3-2", 131_072, 0, NOTHING),
    ("llama-3-3", 131_072, 0, TOOLS),
    ("llama3-3", 131_072, 0, TOOLS),
    ("llama-4", 131_072, 0, SEES_TOOLS),
    ("llama-3-", 8_192, 0, NOTHING),
    ("llama3-", 8_192, 0, NOTHING),
    ("magistral", 40_000, 0, THINKS_TOOLS),
    ("minimax-m2", 180_000, 0, THINKS_TOOLS),
    ("minimax-m3", 262_144, 0, THINKS_TOOLS),
    ("ministral", 131_072, 0, TOOLS),
    ("mistral-7b", 32_768, 0, NOTHING),
    ("mistral-large", 128_000, 0, TOOLS),
    ("mistral-medium", 128_000, 0, SEES_TOOLS),
    ("mistral-nemo", 128_000, 0, TOOLS),
    ("mistral-small-24b", 32_768, 0, TOOLS),
    ("mistral-small", 128_000, 0, SEES_TOOLS),
    ("mixtral-8x22b", 65_536, 0, TOOLS),
    ("mixtral-8x7b", 32_768, 0, NOTHING),
    ("nemotron-nano-12b-v2-vl", 128_000, 0, THINKS_SEES_TOOLS),
    ("nemotron-nano-9b", 128_000, 0, THINKS_TOOLS),
    ("nemotron-3-nano-omni", 131_000, 0, THINKS_SEES_TOOLS),
    ("nemotron-3-5-super-vl", 262_144, 0, THINKS_SEES_TOOLS),
    ("nemotron-3", 256_000, 0, THINKS_TOOLS),
    ("phi-4-mini", 128_000, 0, NOTHING),
    ("phi-4-multimodal", 128_000, 0, SEES),
    ("phi-4", 16_384, 0, NOTHING),
    ("pixtral", 128_000, 0, SEES_TOOLS),
    ("qwen2-5-vl", 32_000, 0, SEES),
    ("qwen2-5", 32_000, 0, TOOLS),
    ("qwen3-coder", 160_000, 32_768, TOOLS),
    ("qwen3-next", 262_144, 16_384, TOOLS),
    ("qwen3-vl", 131_072, 16_384, SEES_TOOLS),
    ("qwen3-5", 250_000, 0, THINKS_SEES_TOOLS),
    ("qwen3-6", 131_072, 0, THINKS_SEES_TOOLS),
    ("qwen3-8-", 131_000, 0, THINKS_SEES_TOOLS),
    ("qwen3", 32_000, 0, THINKS_TOOLS),
    ("qwen-3-", 32_000, 0, THINKS_TOOLS),
    ("qwq", 32_000, 0, THINKS),
];

/// What models like this one usually have at the known service of this name.
pub(crate) fn of(service: &str, model: &Model) -> Likeness {
    // A model that is for something else takes part in nothing that is assumed of those for text.
    if model.is_guard() || !model.is_for(Capability::TextOutput) {
        return Likeness::default();
    }
    let service = SERVICES.iter().find(|(name, ..)| *name == service);
    let &(_, cut, served) = service.unwrap_or(&("", 0, NOTHING));
    let id = model
        .id()
        .to_ascii_lowercase()
        .replace(['.', '_', ':'], "-");
    let family = FAMILIES.iter().find(|(part, ..)| id.contains(part));
    let &(_, window, output, able) = family.unwrap_or(&("", 0, 0, NOTHING));
    let stated = |tokens: u64| (tokens > 0).then_some(tokens);
    Likeness {
        context_length: stated(if cut > 0 { cut } else { window }),
        max_output: stated(output),
        yes: served.union(able),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{FreeRule, Provider};

    /// The model as it is at a provider of this name.
    fn at(provider: &str, model: impl Into<Model>) -> Model {
        let provider = Provider::new(provider).free(FreeRule::All).build();
        let target = provider.expect("a provider").target(model);
        target.expect("a target").model().clone()
    }

    #[test]
    fn what_is_not_stated_is_assumed_of_its_like_and_marked() {
        for id in [
            "openai/gpt-oss-120b",
            "gpt-oss:20b",
            "@cf/openai/GPT-OSS-20b",
        ] {
            let model = at("p", Model::new(id));
            assert_eq!(model.context_length(), Some(131_072), "{id}");
            assert!(model.context_is_assumed());
            assert!(model.capabilities().yes.contains(Capability::Tools));
            assert!(model.assumed().contains(Capability::Tools));
        }
    }

    #[test]
    fn an_assumed_output_is_likely_and_not_stated() {
        let gemini = at("google", Model::new("gemini-3.5-flash"));
        assert_eq!(gemini.likely_output(), Some(65_535));
        assert_eq!(gemini.max_output(), None);
    }

    #[test]
    fn nothing_that_is_stated_is_assumed_otherwise() {
        let model = Model::new("gpt-oss-120b")
            .context_length(1000)
            .max_output(10)
            .parameters(["reasoning"]);
        let model = at("p", model);
        assert_eq!(model.context_length(), Some(1000));
        assert_eq!(
            (model.max_output(), model.likely_output()),
            (Some(10), Some(10))
        );
        assert!(!model.context_is_assumed());
        assert!(model.capabilities().no.contains(Capability::Tools));
        assert!(model.capabilities().yes.contains(Capability::Reasoning));
        assert_eq!(model.assumed(), CapabilitySet::EMPTY);
    }

    #[test]
    fn nothing_is_assumed_to_be_missing() {
        for (part, ..) in FAMILIES {
            for (service, ..) in SERVICES {
                let model = at("p", Model::new(*part));
                let there = at(service, Model::new(*part));
                let lacks = Provider::new(*service).free(FreeRule::All).build();
                let lacks = lacks.expect("a provider");
                let lacks = lacks.dialect().lacks;
                assert_eq!(model.capabilities().no, CapabilitySet::EMPTY);
                assert_eq!(there.capabilities().no, lacks, "{service} {part}");
            }
        }
    }

    #[test]
    fn every_family_can_be_found() {
        for (index, (part, ..)) in FAMILIES.iter().enumerate() {
            let first = FAMILIES.iter().position(|(other, ..)| part.contains(other));
            assert_eq!(first, Some(index), "{part}");
            assert!(!part.contains(['.', '_', ':']), "{part}");
        }
    }

    #[test]
    fn a_service_that_cuts_windows_cuts_those_of_every_family() {
        assert_eq!(
            at("ollama", Model::new("qwen3:8b")).context_length(),
            Some(4_096)
        );
        assert_eq!(
            at("cerebras#2", Model::new("unheard-of")).context_length(),
            Some(65_536)
        );
    }

    #[test]
    fn a_model_that_is_not_for_text_is_like_none_that_is() {
        for id in [
            "gemini-embedding-001",
            "qwen3guard-gen-8b",
            "gemini-2.5-flash-image",
        ] {
            let model = at("google", Model::new(id));
            assert_eq!(model.assumed(), CapabilitySet::EMPTY, "{id}");
            assert_eq!(model.context_length(), None, "{id}");
        }
    }

    #[test]
    fn what_no_model_has_at_a_provider_is_missing_whatever_is_stated() {
        let model = Model::new("m").parameters(["logprobs", "tools"]);
        let model = at("groq", model);
        assert!(model.capabilities().no.contains(Capability::Logprobs));
        assert!(!model.capabilities().yes.contains(Capability::Logprobs));
        assert!(model.capabilities().yes.contains(Capability::Tools));
    }
}
