//! The top-level fields of a request by their names: which become the model, which must not pass, and which OpenAI's API
//! has at each endpoint.

use std::borrow::Cow;

use crate::{endpoint::Endpoint, json::Text};

/// How many top-level fields must change at most, and how many tools may be left out. An honest body has six such
/// fields, and OpenAI's API takes 128 tools; each one costs some hundred bytes in each attempt.
pub(crate) const MAX_GUARDED: usize = 256;

/// How many other top-level fields a body may have. OpenAI's API has 34. All are listed, because some services are sent
/// known fields only; each costs 64 bytes as long as the request lives.
pub(crate) const MAX_FIELDS: usize = 256;

/// Top-level fields that can spend money, leave the pool, or send the request or its credential elsewhere.
///
/// `models` and `route` name other models, and a `preset` holds such names on OpenRouter's side. `providerOptions`
/// (Vercel's gateway) and `fallbacks` (LiteLLM, as are `api_base`, `base_url` and `api_key`) name models, providers and
/// addresses. Plugins, searches and remote tool servers are billed whatever the model costs: `web_search_options` is
/// OpenAI's, `search_parameters` xAI's, `enable_search` Alibaba's, `mcp_servers` Anthropic's. A `service_tier` has a
/// price of its own.
const GUARDED: [&str; 16] = [
    "models",
    "route",
    "preset",
    "plugins",
    "web_search_options",
    "providerOptions",
    "provider_options",
    "fallbacks",
    "search_parameters",
    "enable_search",
    "web_search",
    "mcp_servers",
    "api_base",
    "base_url",
    "api_key",
    "service_tier",
];

/// What the name of a top-level field says of it. Names that must change or must not pass are compared as the most
/// lenient upstream would compare them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// The value becomes the model of the recipient. `exact`: to the letter; else the name only folds to `model`.
    Model { exact: bool },
    /// The field must not pass. This is its proper name.
    Guarded(&'static str),
    /// The list of tools.
    Tools,
    /// `tool_choice`: without tools it means nothing, and OpenAI's API refuses it.
    ToolChoice,
    /// `parallel_tool_calls`: the same.
    ParallelToolCalls,
    /// The dialect of the recipient says what is done to it.
    Other,
}

impl Name {
    pub(crate) fn of(name: Text<'_>) -> Self {
        const MODEL: Plain = Plain::of("model");
        const TOOLS: Plain = Plain::of("tools");
        const TOOL_CHOICE: Plain = Plain::of("toolchoice");
        const PARALLEL_TOOL_CALLS: Plain = Plain::of("paralleltoolcalls");
        const GUARDED_PLAIN: [Plain; GUARDED.len()] = {
            let mut plain = [MODEL; GUARDED.len()];
            let mut at = 0;
            while at < plain.len() {
                plain[at] = Plain::of(GUARDED[at]);
                at += 1;
            }
            plain
        };
        match Plain::of_text(name) {
            MODEL if name.folds_to("model") => {
                let exact = *name.name_bytes() == *b"model";
                Self::Model { exact }
            }
            TOOLS if name.folds_to("tools") => Self::Tools,
            TOOL_CHOICE => Self::ToolChoice,
            PARALLEL_TOOL_CALLS => Self::ParallelToolCalls,
            plain => {
                let guarded = GUARDED.into_iter().zip(&GUARDED_PLAIN);
                let mut alike = guarded.filter(|(_, guarded)| **guarded == plain);
                let Some((first, _)) = alike.next() else {
                    return Self::Other;
                };
                // Of two spellings of one field, the one that the client used is told.
                let has_underscore = name.chars().any(|char| char == '_');
                let as_written = |(told, _): &(&str, _)| told.contains('_') == has_underscore;
                let told = alike.find(as_written).map_or(first, |(told, _)| told);
                Self::Guarded(told)
            }
        }
    }

    /// Of a name without escapes, as it stands in a dialect or in a form.
    pub(crate) fn of_plain(raw: &str) -> Self {
        Self::of(Text {
            raw: raw.as_bytes(),
            escaped: false,
        })
    }

    /// Whether the field may only be what this crate makes of it, whatever a dialect says.
    pub(crate) const fn is_ours(self) -> bool {
        matches!(self, Self::Model { .. } | Self::Guarded(_))
    }
}

/// The names of guarded fields that were found, each once, in the order of the list.
pub(crate) fn told(found: &[&'static str]) -> Vec<Cow<'static, str>> {
    let found = GUARDED.into_iter().filter(|name| found.contains(name));
    found.map(Cow::Borrowed).collect()
}

/// A name without its case, underscores and hyphens: equal for two names if a parser that ignores case, or reads `aB` and
/// `a_b` as one field (as readers of protobuf's JSON do), could take one for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plain([u8; Self::LONGEST]);

impl Plain {
    /// All names that another is compared with are shorter. A longer one is cut here.
    const LONGEST: usize = 32;

    /// Of a name in ASCII without escapes.
    pub(crate) const fn of(name: &str) -> Self {
        Self::of_ascii(name.as_bytes())
    }

    const fn of_ascii(name: &[u8]) -> Self {
        let mut plain = [0; Self::LONGEST];
        let (mut at, mut len) = (0, 0);
        while at < name.len() && len < plain.len() {
            let byte = name[at];
            if byte != b'_' && byte != b'-' {
                plain[len] = match byte {
                    // No name has it, and it is not what is left empty.
                    0 => u8::MAX,
                    byte => byte.to_ascii_lowercase(),
                };
                len += 1;
            }
            at += 1;
        }
        Self(plain)
    }

    pub(crate) fn of_text(name: Text<'_>) -> Self {
        if !name.escaped && name.raw.is_ascii() {
            return Self::of_ascii(name.raw);
        }
        let folded = name
            .folded()
            .map(|char| u8::try_from(char).unwrap_or(u8::MAX));
        // As many underscores and hyphens as it may have.
        let folded: Vec<u8> = folded
            .filter(|byte| !b"_-".contains(byte))
            .take(Self::LONGEST)
            .collect();
        Self::of_ascii(&folded)
    }
}

/// Whether OpenAI's API has a field of this name at this endpoint, but for those that are guarded.
///
/// OpenAI's specification 2.3.0 (github.com/openai/openai-openapi), with the fields that were added until 2026-07.
pub(crate) fn is_of_openai(endpoint: Endpoint, name: &str) -> bool {
    of_openai(endpoint).any(|known| known == name)
}

pub(crate) fn of_openai(endpoint: Endpoint) -> impl Iterator<Item = &'static str> {
    const IMAGES: &str = "background model moderation n output_compression output_format partial_images prompt quality \
         response_format size stream user";
    let (shared, own) = match endpoint {
        Endpoint::ChatCompletions => (
            "",
            "audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens \
             messages metadata modalities model n parallel_tool_calls prediction presence_penalty prompt_cache_key \
             prompt_cache_retention reasoning_effort response_format safety_identifier seed stop store stream \
             stream_options temperature tool_choice tools top_logprobs top_p user verbosity",
        ),
        Endpoint::Completions => (
            "",
            "best_of echo frequency_penalty logit_bias logprobs max_tokens model n presence_penalty prompt seed stop \
             stream stream_options suffix temperature top_p user",
        ),
        Endpoint::Responses => (
            "",
            "background conversation include input instructions max_output_tokens max_tool_calls metadata model \
             parallel_tool_calls previous_response_id prompt prompt_cache_key prompt_cache_retention reasoning \
             safety_identifier store stream stream_options temperature text tool_choice tools top_logprobs top_p \
             truncation user",
        ),
        Endpoint::Embeddings => ("", "dimensions encoding_format input model user"),
        Endpoint::ImageGenerations => (IMAGES, "style"),
        Endpoint::ImageEdits => (IMAGES, "image images input_fidelity mask"),
        Endpoint::AudioTranscriptions => (
            "",
            "chunking_strategy file include known_speaker_names known_speaker_references language model prompt \
             response_format stream temperature timestamp_granularities",
        ),
        Endpoint::AudioTranslations => ("", "file model prompt response_format temperature"),
    };
    shared
        .split_ascii_whitespace()
        .chain(own.split_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(raw: &str) -> Option<&'static str> {
        let escaped = raw.contains('\\');
        let raw = raw.as_bytes();
        match Name::of(Text { raw, escaped }) {
            Name::Guarded(name) => Some(name),
            _ => None,
        }
    }

    #[test]
    fn a_guarded_name_is_known_in_every_spelling() {
        for name in GUARDED {
            let lower = name.to_lowercase();
            let mut camel = String::new();
            for word in name.split('_') {
                let (first, rest) = word.split_at(1);
                match camel.is_empty() {
                    true => camel += first,
                    false => camel += &first.to_uppercase(),
                }
                camel += rest;
            }
            let escaped: String = name
                .chars()
                .map(|c| format!("\\u{:04x}", c as u32))
                .collect();
            let long_s = lower.replace('s', "\u{17f}");
            let kebab = lower.replace('_', "-");
            for raw in [
                &*lower,
                &name.to_uppercase(),
                &camel,
                &escaped,
                &long_s,
                &kebab,
            ] {
                assert!(named(raw).is_some(), "{raw}");
            }
            assert_eq!(named(name), Some(name));
        }
    }

    #[test]
    fn of_two_spellings_the_callers_is_told() {
        for (raw, name) in [
            ("providerOptions", "providerOptions"),
            ("PROVIDEROPTIONS", "providerOptions"),
            ("provider_options", "provider_options"),
            ("Provider_Options", "provider_options"),
            (r"provider\u005foptions", "provider_options"),
            ("mcpServers", "mcp_servers"),
            ("serviceTier", "service_tier"),
        ] {
            assert_eq!(named(raw), Some(name), "{raw}");
        }
    }

    #[test]
    fn other_names_are_not_guarded() {
        for raw in [
            "",
            "_",
            "model",
            "provider",
            "web",
            "search",
            "tools",
            "messages",
            "modelsx",
            "xmodels",
            "routé",
            "api.key",
            "a name that is longer than any of ours",
        ] {
            assert_eq!(named(raw), None, "{raw}");
        }
    }

    #[test]
    fn no_known_field_is_one_that_must_not_pass() {
        for endpoint in Endpoint::ALL {
            assert!(is_of_openai(endpoint, "model"));
            for name in of_openai(endpoint) {
                assert_eq!(named(name), None, "{endpoint} {name}");
            }
        }
    }
}
