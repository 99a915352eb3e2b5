//! The simulated pool: three providers, eleven models, no prices.

use serde_json::{Value, json};

use super::manner::Manner;

/// One made-up account at one made-up service.
#[derive(Debug)]
pub(crate) struct Provider {
    /// Its name, and the first segment of its path.
    pub(crate) name: &'static str,
    /// Its key. No secret: it only proves that each provider is sent its own.
    pub(crate) key: &'static str,
    /// How many requests the account may make in a minute.
    pub(super) per_minute: Option<u32>,
    pub(super) models: &'static [Model],
}

/// One made-up model.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) id: &'static str,
    pub(super) context_length: u64,
    pub(super) max_output: u64,
    pub(super) input: &'static [&'static str],
    pub(super) output: &'static [&'static str],
    pub(super) parameters: &'static [&'static str],
    pub(super) manner: Manner,
}

const TEXT: &[&str] = &["text"];
const VECTORS: &[&str] = &["embeddings"];
const IMAGES: &[&str] = &["image"];
const TRANSCRIPTS: &[&str] = &["transcription"];
const SEES: &[&str] = &["text", "image"];
const HEARS: &[&str] = &["audio"];

const PLAIN: &[&str] = &["max_tokens", "temperature", "seed"];
const TOOLS: &[&str] = &["max_tokens", "temperature", "tools", "tool_choice"];
const JSON: &[&str] = &["max_tokens", "temperature", "response_format"];
const ALL: &[&str] = &[
    "max_tokens",
    "temperature",
    "seed",
    "tools",
    "tool_choice",
    "response_format",
    "structured_outputs",
    "reasoning",
    "include_reasoning",
];

/// The model that makes vectors.
pub(crate) const EMBEDDING_MODEL: &str = "pebble-embed";

/// The whole pool. One model is at two providers, as popular ones are.
pub(crate) const PROVIDERS: &[Provider] = &[
    Provider {
        name: "sim-harbor",
        key: "sim-harbor-key",
        per_minute: None,
        models: &[
            model("lighthouse-70b", 131_072, 8192, TEXT, ALL, Manner::Steady),
            model("seagull-12b", 65_536, 4096, SEES, ALL, Manner::Steady),
            model("lynx-8b", 32_768, 4096, TEXT, TOOLS, Manner::Slow),
        ],
    },
    Provider {
        name: "sim-comet",
        key: "sim-comet-key",
        per_minute: Some(20),
        models: &[
            model("lynx-8b", 16_384, 2048, TEXT, PLAIN, Manner::Steady),
            model("deep-27b", 262_144, 16_384, TEXT, ALL, Manner::Stalling),
        ],
    },
    Provider {
        name: "sim-atlas",
        key: "sim-atlas-key",
        per_minute: None,
        models: &[
            model("crowd-24b", 65_536, 4096, TEXT, TOOLS, Manner::Busy),
            model("crack-13b", 8192, 2048, TEXT, JSON, Manner::Broken),
            model("nap-34b", 131_072, 8192, SEES, ALL, Manner::Overloaded),
            for_output(VECTORS, EMBEDDING_MODEL, TEXT, 8192),
            for_output(IMAGES, "easel-2b", SEES, 4096),
            for_output(TRANSCRIPTS, "echo-1b", HEARS, 4096),
        ],
    },
];

const fn model(
    id: &'static str,
    context_length: u64,
    max_output: u64,
    input: &'static [&'static str],
    parameters: &'static [&'static str],
    manner: Manner,
) -> Model {
    Model {
        id,
        context_length,
        max_output,
        input,
        output: TEXT,
        parameters,
        manner,
    }
}

/// A model that answers with something else than text.
const fn for_output(
    output: &'static [&'static str],
    id: &'static str,
    input: &'static [&'static str],
    context_length: u64,
) -> Model {
    Model {
        output,
        ..model(
            id,
            context_length,
            context_length,
            input,
            &[],
            Manner::Steady,
        )
    }
}

impl Model {
    /// Whether it answers with this.
    pub(super) fn makes(&self, output: &str) -> bool {
        self.output.contains(&output)
    }

    pub(super) fn understands(&self, parameter: &str) -> bool {
        self.parameters.contains(&parameter)
    }

    /// Its entry in a listing, in OpenRouter's shape.
    pub(super) fn listing(&self) -> Value {
        json!({
            "id": self.id,
            "name": format!("{} (simulated)", self.id),
            "created": 1_700_000_000,
            "context_length": self.context_length,
            "architecture": { "input_modalities": self.input, "output_modalities": self.output },
            "pricing": { "prompt": "0", "completion": "0" },
            "top_provider": {
                "context_length": self.context_length,
                "max_completion_tokens": self.max_output,
                "is_moderated": false,
            },
            "supported_parameters": self.parameters,
        })
    }
}
