//! The signs by which an error tells what it is, as data: what a body says, and what that means.
//!
//! The first sign that is found counts, so the order is part of the table: what is certain and narrow goes first. A
//! phrase stands in lower case. Only a phrase that names the account (its key, its plan, its day) makes an error the
//! provider's; anything else is the target's.
//!
//! A label is believed under any status: no caller can write one. Words are not, since an upstream may quote the request
//! in them ([`prose`](super::prose)). Where a request is found at fault (400, 422, 500 and their like) words alone
//! cool nothing for longer than a guess, unless they are a whole known sentence; and the account is named by words only
//! where the status is one of limits and credentials.
//!
//! Sources are named beside the signs: the provider whose error it is, from its documentation or from recorded traffic.

use std::{collections::BTreeSet, sync::LazyLock};

use crate::{
    capability::Capability,
    outcome::{Lack, Scope},
};

/// A sign, the statuses under which it is believed, and its meaning.
#[derive(Debug)]
pub(super) struct Sign(pub(super) &'static [u16], pub(super) By, pub(super) Means);

/// How a sign shows.
#[derive(Debug)]
pub(super) enum By {
    /// A word for programs that is exactly this one: a code, a type, a reason, a routing step.
    Label(&'static str),
    /// One message has all of these in its first line, outside of quotes. A phrase with a quote in it is looked for
    /// where quoted names are as well.
    Text(&'static [&'static str]),
    /// One message opens with one of these.
    Opening(&'static [&'static str]),
    /// One message is this sentence, and nothing else: `*` stands for one word, `*/*` for one with a slash, `**` for any.
    Whole(&'static str),
    /// All of these stand somewhere in the text, on whatever line, also in quotes. Only for what cools nothing.
    Anywhere(&'static [&'static str]),
    /// Under this label, some line opens with the one and has the other as one of its parts, between commas.
    Listed(&'static str, &'static str, &'static str),
}

/// What an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// A limit of requests or tokens, for as long as stated.
    Limited(Scope),
    /// The account's quota is used up.
    Quota,
    /// The credential is refused.
    Unauthorised,
    /// This account may not use this model.
    Gated,
    /// The model is no longer there.
    Gone,
    /// The model lacks this.
    Lacks(Lack),
    /// The request does not fit the model's window.
    TooLong,
    /// Overloaded, sick, or a bad generation.
    Unavailable,
    /// The request has an argument that this service or model does not know; the error says which.
    Argument,
    /// The request is at fault.
    Refused,
}

impl Means {
    /// Whether it holds back a target or a provider.
    pub(super) const fn cools(self) -> bool {
        !matches!(
            self,
            Self::Lacks(_) | Self::TooLong | Self::Argument | Self::Refused
        )
    }
}

use By::{Anywhere, Label, Listed, Opening, Text, Whole};
use Capability::{
    AudioInput, FileInput, ImageInput, JsonObject, JsonSchema, Logprobs, Reasoning, Tools,
    VideoInput,
};
use Lack::{Parameter, TokensPerMinute};
use Means::{
    Argument, Gated, Gone, Lacks, Limited, Quota, Refused, TooLong, Unauthorised, Unavailable,
};

/// Under any status.
const ANY: &[u16] = &[];
/// Where what a request asks for is found at fault, and the 500 and 501 of local servers (llama.cpp) for what they were
/// not started with.
const MISFIT: &[u16] = &[400, 404, 405, 415, 422, 500, 501];
/// Where the size of a request is found at fault.
const SIZE: &[u16] = &[400, 413, 422, 500];
/// Where a model is not found.
const MISSING: &[u16] = &[400, 403, 404, 410, 422];
/// The same without those that find fault with a request and may quote it: a caller who writes "model x does not
/// exist" into one must not bench a model for a day.
const NOT_FOUND: &[u16] = &[403, 404, 410];
/// Statuses that speak of the account's limits or credential, so that words may say which. Not 400, 422 or 500: what
/// finds fault with a request may quote it, and a caller who writes "insufficient credits" into one must not bench a
/// provider. Not 403, which is also for a model or for content.
const LIMIT: &[u16] = &[401, 402, 429];
/// What finds fault with a request.
const FAULT: &[u16] = &[400, 422, 500];
/// Where a credential is refused, and a label says so.
const CREDENTIAL: &[u16] = &[400, 403, 404];

const fn lacks(capability: Capability) -> Means {
    Lacks(Lack::Capability(capability))
}

/// Where Cloudflare's codes mean its quota; 500 is how relays pass them on.
const ACCOUNT: &[u16] = &[402, 403, 429, 500];

/// What an error of a bad key opens with.
const BAD_KEY: &[&str] = &[
    "incorrect api key", // xAI
    "api key not valid", // Gemini
    "invalid api key",   // Mistral, Together
    "api key expired",   // Gemini
];

/// What a 403 about the credential opens with: further on its words may be the caller's.
const CREDENTIAL_WORDS: &[&str] = &[
    "your api key",
    "your account",
    "your credential",
    "your access token",
    "your token",
    "your project",
    "this api key",
    "this account",
    "this token",
    "the api key",
    "the provided api key",
    "the access token",
    "the token",
    "the credential",
    "api key",
    "access token",
    "credential",
    "missing api key",
    "missing credential",
    "no api key",
    "no credential",
    "no cookie auth credentials", // OpenRouter
    "invalid token",
    "invalid access token",
    "invalid credential",
    "invalid authentication",
    "you must provide an api key",
    "method doesn't allow unregistered callers", // Google
    "authorization failed",                      // NVIDIA NIM
    "authorization required",
    "authenticat",
    "not authenticated",
    "could not authenticate",
    "account suspended",
    "account disabled",
];

/// The signs that are believed under this status, in the order of the table.
pub(super) fn signs_under(status: u16) -> impl Iterator<Item = &'static Sign> {
    /// Those of each status that the table names, and of all others at last.
    static SIGNS_UNDER: LazyLock<Vec<(Option<u16>, Vec<&Sign>)>> = LazyLock::new(|| {
        let named: BTreeSet<_> = SIGNS.iter().flat_map(|sign| sign.0).copied().collect();
        let believed = |status: Option<u16>| {
            let is = |sign: &&Sign| {
                sign.0.is_empty() || status.is_some_and(|status| sign.0.contains(&status))
            };
            SIGNS.iter().filter(is).collect()
        };
        let named = named.into_iter().map(Some).chain([None]);
        named.map(|status| (status, believed(status))).collect()
    });

    let mut statuses = SIGNS_UNDER.iter();
    let under = statuses.find(|(named, _)| named.is_none_or(|named| named == status));
    under
        .into_iter()
        .flat_map(|(_, signs)| signs.iter().copied())
}

/// The table, a line for each sign.
#[rustfmt::skip]
pub(super) static SIGNS: &[Sign] = &[
    // -- A sick deployment or a bad generation, under the status of a bad request.
    Sign(ANY, Label("tool_use_failed"), Unavailable), // Groq
    Sign(ANY, Label("json_validate_failed"), Unavailable), // Groq
    Sign(&[400, 404, 500], Text(&["degraded function cannot be invoked"]), Unavailable), // NVIDIA NIM

    // -- One request is over a minute's tokens: no wait helps, whatever `Retry-After` it carries.
    Sign(&[413], Text(&["tokens per min"]), Lacks(TokensPerMinute(None))), // Groq
    Sign(&[400, 429], Text(&["request too large", "tokens per min"]), Lacks(TokensPerMinute(None))), // OpenAI

    // -- The request does not fit the window.
    Sign(SIZE, Label("context_length_exceeded"), TooLong), // OpenAI, OpenRouter
    Sign(SIZE, Label("max_tokens_exceeded"), TooLong), // OpenRouter
    Sign(SIZE, Label("token_limit_exceeded"), TooLong), // OpenRouter
    Sign(SIZE, Label("string_too_long"), TooLong), // OpenRouter
    Sign(SIZE, Label("tokens_limit_reached"), TooLong), // GitHub Models
    Sign(SIZE, Label("exceed_context_size_error"), TooLong), // llama.cpp
    Sign(ANY, Label("1261"), TooLong), // Z.ai
    Sign(SIZE, Text(&["prompt exceeds max length"]), TooLong), // Z.ai
    Sign(SIZE, Text(&["maximum context length"]), TooLong), // OpenAI, OpenRouter, vLLM
    Sign(SIZE, Text(&["context the overflows"]), TooLong), // LM Studio, as it spells it
    Sign(SIZE, Text(&["exceeds the available context size"]), TooLong), // llama.cpp
    Sign(SIZE, Text(&["exceed", "context length"]), TooLong), // vLLM, Ollama, SambaNova
    Sign(SIZE, Text(&["exceed", "context window"]), TooLong), // Anthropic, OpenAI Responses
    Sign(SIZE, Text(&["`context_window`"]), TooLong), // Groq, of max_tokens
    Sign(SIZE, Text(&["`inputs` tokens + `max_new_tokens` must be"]), TooLong), // Together
    Sign(SIZE, Text(&["input token count", "exceeds the maximum"]), TooLong), // Gemini
    Sign(SIZE, Text(&["reduce the length of the messages"]), TooLong), // Groq, OpenAI
    Sign(SIZE, Text(&["prompt is too long"]), TooLong), // Anthropic
    Sign(SIZE, Text(&["too many tokens"]), TooLong), // Cohere
    Sign(SIZE, Text(&["max_tokens", "too large"]), TooLong), // OpenAI, GitHub Models: the output does not fit
    Sign(SIZE, Text(&["token limit reached"]), TooLong), // OpenRouter's upstreams, mid-stream

    // -- A limit of the account, or one that names another owner.
    Sign(ANY, Label("openrouter_in_flight_budget"), Limited(Scope::Provider)), // OpenRouter
    Sign(ANY, Label("in_flight_budget_exhausted"), Limited(Scope::Provider)), // OpenRouter
    Sign(ANY, Label("weight_exceeds_budget"), Limited(Scope::Provider)), // OpenRouter
    Sign(&[402], Text(&["in-flight requests"]), Limited(Scope::Provider)), // OpenRouter
    Sign(ANY, Label("openrouter_free_tier_daily"), Limited(Scope::Provider)), // OpenRouter
    Sign(ANY, Label("openrouter_free_tier_per_minute"), Limited(Scope::Provider)), // OpenRouter
    Sign(LIMIT, Text(&["free-models-per-"]), Limited(Scope::Provider)), // OpenRouter before 2026
    Sign(ANY, Label("upstream_provider_shared_pool"), Limited(Scope::Target)), // OpenRouter
    Sign(LIMIT, Text(&["userbymodel"]), Limited(Scope::Target)), // GitHub Models: its type says whose limit it is
    Sign(LIMIT, Text(&["exceeded for user"]), Limited(Scope::Provider)), // GitHub Models
    Sign(ANY, Label("freeusagelimiterror"), Limited(Scope::Provider)), // OpenCode Zen
    Sign(LIMIT, Text(&["rate limit exceeded for free models"]), Limited(Scope::Provider)), // Kilo
    Sign(LIMIT, Text(&["hourly usage limit"]), Limited(Scope::Provider)), // Ollama cloud
    Sign(LIMIT, Text(&["trial key", "calls / minute"]), Limited(Scope::Provider)), // Cohere

    // -- Google: the day that never begins. What else its quotas mean is in their ids.
    Sign(&[429], Listed("resource_exhausted", "quota exceeded for metric", "limit: 0"), Gone), // Gemini: not on the free tier

    // -- The account's quota, under whatever status.
    Sign(ANY, Label("insufficient_quota"), Quota), // OpenAI
    Sign(ANY, Label("billing_hard_limit_reached"), Quota), // OpenAI
    Sign(ANY, Label("openrouter_credits"), Quota), // OpenRouter
    Sign(ANY, Label("openrouter_key_limit"), Quota), // OpenRouter
    Sign(ANY, Label("creditserror"), Quota), // OpenCode Zen, as a 401
    Sign(ACCOUNT, Label("4006"), Quota), // Cloudflare: the day's neurons
    Sign(ACCOUNT, Label("3036"), Quota), // Cloudflare: the same
    Sign(ANY, Label("1308"), Quota), // Z.ai: five hours
    Sign(ANY, Label("1310"), Quota), // Z.ai: week or month
    Sign(ANY, Label("1316"), Quota), // Z.ai
    Sign(ANY, Label("1317"), Quota), // Z.ai
    Sign(LIMIT, Text(&["included credits"]), Quota), // Hugging Face
    Sign(LIMIT, Text(&["api calls / month"]), Quota), // Cohere
    Sign(LIMIT, Text(&["daily free allocation", "neurons"]), Quota), // Cloudflare 4006, 3036
    Sign(LIMIT, Text(&["account balance"]), Quota), // Chutes
    Sign(LIMIT, Text(&["insufficient balance"]), Quota), // DeepSeek, Z.ai 1113
    Sign(LIMIT, Text(&["insufficient credits"]), Quota), // OpenRouter
    Sign(&[403], Opening(&["key limit exceeded", "insufficient credits"]), Quota), // OpenRouter
    Sign(&[403], Opening(&["insufficient balance"]), Quota), // DeepSeek
    Sign(&[400], Opening(&["your credit balance is too low"]), Unavailable), // Anthropic, by words alone
    Sign(LIMIT, Text(&["daily usage limit"]), Quota), // Ollama cloud
    Sign(LIMIT, Text(&["weekly usage limit"]), Quota), // Ollama cloud
    Sign(LIMIT, Text(&["monthly limit exhausted"]), Quota), // Z.ai

    // -- A 429 that names the account in other words.
    Sign(&[429], Text(&["your api key"]), Limited(Scope::Provider)),
    Sign(&[429], Text(&["this api key"]), Limited(Scope::Provider)),
    Sign(&[429], Text(&["for your account"]), Limited(Scope::Provider)),
    Sign(&[429], Text(&["trial key"]), Limited(Scope::Provider)), // Cohere

    // -- A credential that is refused under another status than 401.
    Sign(CREDENTIAL, Label("api_key_invalid"), Unauthorised), // Gemini
    Sign(CREDENTIAL, Label("invalid_api_key"), Unauthorised), // OpenAI, Groq
    Sign(&[403], Label("api_key_service_blocked"), Unauthorised), // Google
    Sign(&[403], Label("service_disabled"), Unauthorised), // Google
    Sign(&[403], Label("consumer_suspended"), Unauthorised), // Google
    Sign(&[400, 403], Label("unauthenticated"), Unauthorised), // Google
    Sign(&[400, 403], Label("authentication_error"), Unauthorised), // Anthropic, Cerebras
    Sign(&[403], Opening(BAD_KEY), Unauthorised),
    Sign(&[400], Opening(BAD_KEY), Unavailable), // xAI, by words alone

    // -- The edge, not the API: a block of the client, or of the network.
    Sign(&[403], Text(&["error code: 10"]), Unavailable), // Cloudflare 1010, 1020

    // -- The content is found at fault.
    Sign(&[500], Text(&["cannot make get request"]), Refused), // llama.cpp: an image's URL that it cannot fetch
    Sign(FAULT, Text(&["failed to parse tool call arguments as json"]), Refused), // llama.cpp: issues/25510, as a 500
    Sign(FAULT, Text(&["conversation roles must alternate"]), Refused), // llama.cpp, vLLM: from the model's template
    Sign(FAULT, Text(&["cannot use tool"]), Refused), // llama.cpp: the same
    Sign(FAULT, Anywhere(&["jinja exception"]), Refused), // llama.cpp since 2026: the line after the template's
    Sign(FAULT, Anywhere(&["while executing ", " in source:"]), Refused), // llama.cpp since 2026: issues/19905
    Sign(&[404], Opening(&["sampler not found"]), Refused), // AUTOMATIC1111, sdnext
    Sign(&[404], Label("image_not_found"), Refused), // OpenRouter
    Sign(&[404], Opening(&["file '", "file \"", "file `", "file file-", "no such file"]), Refused), // OpenAI
    Sign(&[400, 403, 422], Label("content_policy_violation"), Refused), // OpenAI, OpenRouter
    Sign(&[400, 403, 422], Label("content_filter"), Refused), // Azure, GitHub Models
    Sign(&[403], Text(&["moderation"]), Refused), // OpenRouter: "requires moderation … your input was flagged"
    Sign(&[403], Text(&["flagged"]), Refused), // OpenRouter
    Sign(&[403], Text(&["content policy"]), Refused), // OpenAI
    Sign(&[403], Text(&["usage guidelines"]), Refused), // xAI
    Sign(&[403], Text(&["content", "violat"]), Refused),
    Sign(&[403], Text(&["prompt", "violat"]), Refused),
    Sign(&[403], Text(&["safety system"]), Refused), // OpenAI

    // -- This account may not use this model.
    Sign(ANY, Label("gate free endpoints by agentic harness"), Gated), // OpenRouter
    Sign(ANY, Label("filter by data policy"), Gated), // OpenRouter
    Sign(ANY, Label("filter by guardrails"), Gated), // OpenRouter
    Sign(ANY, Label("privacy_restricted"), Gated), // OpenRouter
    Sign(ANY, Label("region_restricted"), Gated), // OpenRouter
    Sign(ANY, Label("unsupported_country_region_territory"), Gated), // OpenAI
    Sign(&[403, 404], Text(&["agentic harnesses"]), Gated), // OpenRouter
    Sign(&[403, 404], Text(&["your data policy"]), Gated), // OpenRouter
    Sign(&[403, 404], Text(&["guardrail"]), Gated), // OpenRouter
    Sign(&[400], Whole("user location is not supported for the api use"), Gated), // Gemini, also relayed
    Sign(&[403, 404], Text(&["location is not supported"]), Gated), // Gemini
    Sign(&[402, 403], Text(&["requires a subscription"]), Gated), // Ollama cloud
    Sign(&[402, 403], Text(&["model", "not in the free plan"]), Gated), // Ollama cloud
    Sign(&[403], Text(&["model_terms_required"]), Gated), // Groq
    Sign(&[400, 403], Label("model_terms_required"), Gated), // Groq

    // -- What the model, or the way its server was started, lacks.
    Sign(MISFIT, Text(&["support this tool_choice"]), Lacks(Parameter)), // DeepSeek, thinking
    Sign(MISFIT, Text(&["single tool-calls at once"]), Lacks(Parameter)), // NVIDIA NIM: parallel_tool_calls
    Sign(MISFIT, Text(&["support tool use"]), lacks(Tools)), // OpenRouter
    Sign(MISFIT, Text(&["tools param requires --jinja"]), lacks(Tools)), // llama.cpp
    Sign(MISFIT, Text(&["tool choice requires --enable-auto-tool-choice"]), lacks(Tools)), // vLLM
    Sign(MISFIT, Text(&["does not support tools"]), lacks(Tools)), // Ollama
    Sign(MISFIT, Text(&["`tool calling` is not supported"]), lacks(Tools)), // Groq
    Sign(MISFIT, Text(&["does not support function calling"]), lacks(Tools)), // SambaNova, Together
    Sign(MISFIT, Text(&["function calling is not enabled"]), lacks(Tools)), // Gemini, of Gemma
    Sign(ANY, Label("filter by image support"), lacks(ImageInput)), // OpenRouter
    Sign(MISFIT, Text(&["support image input"]), lacks(ImageInput)), // OpenRouter
    Sign(MISFIT, Text(&["image input is not supported"]), lacks(ImageInput)), // llama.cpp
    Sign(MISFIT, Text(&["unknown variant `image_url`"]), lacks(ImageInput)), // DeepSeek
    Sign(MISFIT, Text(&["is not a multimodal model"]), lacks(ImageInput)), // vLLM
    Sign(MISFIT, Text(&["at most 0 image(s)"]), lacks(ImageInput)), // vLLM
    Sign(MISFIT, Text(&["does not support image"]), lacks(ImageInput)),
    Sign(ANY, Label("filter by audio support"), lacks(AudioInput)), // OpenRouter
    Sign(MISFIT, Text(&["support audio input"]), lacks(AudioInput)), // llama.cpp, OpenRouter
    Sign(MISFIT, Text(&["audio input is not supported"]), lacks(AudioInput)), // llama.cpp
    Sign(MISFIT, Text(&["unknown variant `input_audio`"]), lacks(AudioInput)), // DeepSeek
    Sign(MISFIT, Text(&["support file input"]), lacks(FileInput)), // OpenRouter
    Sign(MISFIT, Text(&["unknown variant `file`"]), lacks(FileInput)), // DeepSeek
    Sign(MISFIT, Text(&["support video input"]), lacks(VideoInput)), // OpenRouter
    Sign(MISFIT, Text(&["unknown variant `video_url`"]), lacks(VideoInput)), // DeepSeek
    Sign(MISFIT, Text(&["json mode is not enabled"]), lacks(JsonObject)), // Gemini, of Gemma
    Sign(MISFIT, Text(&["response format `json_schema`"]), lacks(JsonSchema)), // Groq
    Sign(MISFIT, Text(&["response format `json_object`"]), lacks(JsonObject)), // Groq
    Sign(MISFIT, Text(&["logprobs are not enabled"]), lacks(Logprobs)), // Mistral 3051
    Sign(MISFIT, Text(&["logprobs is not supported"]), lacks(Logprobs)),
    Sign(MISFIT, Text(&["logprobs` is not supported"]), lacks(Logprobs)), // Groq
    Sign(MISFIT, Text(&["does not support thinking"]), lacks(Reasoning)), // Ollama
    Sign(MISFIT, Text(&["`reasoning_effort` is not supported"]), lacks(Reasoning)), // Groq
    Sign(MISFIT, Text(&["reasoning is mandatory"]), Lacks(Parameter)), // OpenRouter: it cannot be turned off
    Sign(MISFIT, Label("filter by parameters"), Lacks(Parameter)), // OpenRouter
    Sign(MISFIT, Label("constraint_filtered"), Lacks(Parameter)), // OpenRouter
    Sign(MISFIT, Text(&["no endpoints found that"]), Lacks(Parameter)), // OpenRouter, for the rest
    Sign(MISFIT, Label("unsupported_parameter"), Argument), // OpenAI
    Sign(MISFIT, Label("unknown_parameter"), Argument), // OpenAI
    Sign(MISFIT, Label("unsupported_value"), Lacks(Parameter)), // OpenAI
    Sign(MISFIT, Label("extra_forbidden"), Argument), // Mistral
    Sign(MISFIT, Text(&["extra inputs are not permitted"]), Argument), // Mistral, FastAPI
    Sign(MISFIT, Text(&["unknown name", "cannot find field"]), Argument), // Gemini
    Sign(MISFIT, Text(&["unrecognized request argument"]), Argument), // OpenAI, Azure, GitHub Models
    Sign(MISFIT, Text(&["property '", "is unsupported"]), Argument), // Groq, Cerebras
    Sign(MISFIT, Text(&["is not enabled for models/"]), Lacks(Parameter)), // Gemini, of Gemma
    Sign(MISFIT, Whole("model * is not supported for format openai"), Lacks(Parameter)), // OpenCode Zen: not for chats
    Sign(MISFIT, Text(&["is not supported with this model"]), Lacks(Parameter)), // OpenAI, Groq
    Sign(MISFIT, Text(&["is not supported by this model"]), Lacks(Parameter)),
    Sign(MISFIT, Text(&["is not supported for this model"]), Lacks(Parameter)),

    // -- The model is not there, or no longer.
    Sign(MISSING, Label("model_not_found"), Gone), // OpenAI, Groq, OpenRouter
    Sign(MISSING, Label("model_decommissioned"), Gone), // Groq
    Sign(MISSING, Label("invalid_model"), Gone), // Mistral
    Sign(MISSING, Label("no_endpoints"), Gone), // OpenRouter
    Sign(MISSING, Label("model_deprecated"), Gone), // OpenRouter
    Sign(MISSING, Label("model_unavailable_upstream"), Gone), // OpenRouter
    Sign(MISSING, Label("free_variant_ended"), Gone), // OpenRouter
    Sign(MISSING, Label("wrong_endpoint"), Gone), // OpenRouter: not a model for this
    Sign(MISSING, Whole("*/* is not a valid model id"), Gone), // OpenRouter
    Sign(MISSING, Whole("model * does not exist"), Gone), // OpenRouter's embeddings
    Sign(MISSING, Whole("the model * does not exist"), Gone), // OpenAI, vLLM
    Sign(MISSING, Whole("the requested model * does not exist"), Gone), // OpenAI
    Sign(MISSING, Whole("model not found: *"), Gone), // xAI
    Sign(MISSING, Whole("the supported api model names are ** but you passed *"), Gone), // DeepSeek
    Sign(MISSING, Whole("the model * has been decommissioned and is no longer supported"), Gone), // Groq
    Sign(NOT_FOUND, Text(&["model", "does not exist"]), Gone), // OpenAI, vLLM
    Sign(NOT_FOUND, Text(&["model not found"]), Gone), // Venice
    Sign(NOT_FOUND, Text(&["model '", "not found"]), Gone), // Cohere
    Sign(NOT_FOUND, Text(&["model \"", "not found"]), Gone), // Ollama
    Sign(NOT_FOUND, Text(&["models/", "is not found for api version"]), Gone), // Gemini
    Sign(NOT_FOUND, Text(&["has been decommissioned"]), Gone), // Groq
    Sign(NOT_FOUND, Text(&["no endpoints found for"]), Gone), // OpenRouter

    // -- A 403 that speaks of the model, or opens with the credential; what says less is left to its status.
    Sign(&[403], Text(&["model"]), Gated), // OpenAI, Groq: "Project … does not have access to model"
    Sign(&[403], Text(&["account tier"]), Gated), // "x is not available on your account tier"
    Sign(&[403], Opening(CREDENTIAL_WORDS), Unauthorised),
];

/// The status that a word for programs stands for, where an error comes in a 200 and has no number.
pub(super) const STATUSES: &[(&str, u16)] = &[
    // OpenAI, Anthropic, OpenRouter's `error_type`.
    ("rate_limit_exceeded", 429),
    ("rate_limit_error", 429),
    ("too_many_requests", 429),
    ("authentication", 401),
    ("authentication_error", 401),
    ("invalid_api_key", 401),
    ("payment_required", 402),
    ("permission_denied", 403),
    ("permission_error", 403),
    ("not_found", 404),
    ("not_found_error", 404),
    ("model_not_found", 404),
    ("payload_too_large", 413),
    ("request_too_large", 413),
    ("unprocessable", 422),
    ("context_length_exceeded", 400),
    ("max_tokens_exceeded", 400),
    ("token_limit_exceeded", 400),
    ("content_policy_violation", 400),
    ("refusal", 400),
    ("invalid_request", 400),
    ("invalid_prompt", 400),
    ("invalid_image", 400),
    ("image_too_large", 400),
    ("unsupported_parameter", 400),
    ("unsupported_value", 400),
    ("server_error", 500),
    ("internal_server_error", 500),
    ("server", 500),
    ("api_error", 500),
    ("provider_unavailable", 502),
    ("provider_overloaded", 503),
    ("overloaded_error", 529),
    ("timeout", 504),
    // Google's statuses: <https://cloud.google.com/apis/design/errors#handling_errors>.
    ("resource_exhausted", 429),
    ("unauthenticated", 401),
    ("invalid_argument", 400),
    ("failed_precondition", 400),
    ("internal", 500),
    ("unavailable", 503),
    ("deadline_exceeded", 504),
    // Mistral, Cerebras.
    ("rate_limited", 429),
    ("too_many_requests_error", 429),
    ("too_many_tokens_error", 429),
    // Last, since OpenAI's `type` says this of nearly everything that has a better `code`.
    ("invalid_request_error", 400),
];

/// Words in the text of an error that comes in a 200 and has neither a number nor a label.
pub(super) const LIMITED_WORDS: &[&str] = &["rate limit", "rate-limit", "too many requests"];

/// A limit that ends with the day, where nothing says when that is: in text or in Google's `quotaId`.
pub(super) const DAY_WORDS: &[&str] = &[
    "per day", "per-day", "perday", "(tpd)", "(rpd)", "daily", "86400s", "/ day",
];

/// What stands before the size of a window, in tokens.
pub(super) const BEFORE_WINDOW: &[&str] = &[
    "maximum context length is ",         // OpenAI, OpenRouter, vLLM
    "available context size (",           // llama.cpp
    "context length of only ",            // LM Studio
    "context length of ",                 // vLLM, SambaNova
    "`max_new_tokens` must be <= ",       // Together
    "maximum number of tokens allowed (", // Gemini
    "max size: ",                         // GitHub Models
];
