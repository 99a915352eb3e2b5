//! One entry of a provider's list.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::SystemTime,
};

use crate::capability::{Capabilities, Capability, CapabilitySet};

/// A model: its id, and what is stated of it.
///
/// What is not stated is unknown, and unknown excludes nothing.
///
/// ```
/// use tower_free_models::{Capability, Model};
///
/// let model = Model::new("tiny")
///     .context_length(8192)
///     .input(["text", "image"])
///     .parameters(["tools", "response_format"])
///     .build();
/// assert!(model.capabilities().yes.contains(Capability::ImageInput));
/// assert!(model.capabilities().yes.contains(Capability::JsonObject));
/// assert!(model.capabilities().no.contains(Capability::JsonSchema));
/// assert!(!model.capabilities().no.contains(Capability::ImageOutput));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    id: String,
    context_length: Option<u64>,
    max_output: Option<u64>,
    capabilities: Capabilities,
    image_size: Option<(u32, u32)>,
    random: bool,
    guard: bool,
    /// What its id says that it answers with.
    likely_kind: Option<Capability>,
    created: Option<u64>,
    expires: Option<SystemTime>,
    owned_by: Option<String>,
}

/// What each capability is called in `supported_parameters`, under any of these names.
const PARAMETERS: &[(Capability, &[&str])] = &[
    (Capability::Tools, &["tools"]),
    // A model that follows a schema can write JSON.
    (
        Capability::JsonObject,
        &["response_format", "structured_outputs"],
    ),
    // `response_format` alone is the JSON object: gemma-4-31b-it:free has it, and refuses a schema.
    (Capability::JsonSchema, &["structured_outputs"]),
    (
        Capability::Reasoning,
        &["reasoning", "include_reasoning", "reasoning_effort"],
    ),
    (Capability::Logprobs, &["logprobs", "top_logprobs"]),
];

const INPUTS: &[(Capability, &[&str])] = &[
    (Capability::ImageInput, &["image"]),
    (Capability::AudioInput, &["audio"]),
    (Capability::FileInput, &["file"]),
    (Capability::VideoInput, &["video"]),
];

const OUTPUTS: &[(Capability, &[&str])] = &[
    (Capability::TextOutput, &["text"]),
    (Capability::ImageOutput, &["image"]),
    (Capability::AudioOutput, &["audio"]),
    (Capability::Embeddings, &["embeddings", "embedding"]),
    (Capability::Transcription, &["transcription"]),
];

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

impl Model {
    /// A model of this id, of which nothing is stated yet.
    #[expect(clippy::new_ret_no_self, reason = "a model begins as its builder")]
    pub fn new(id: impl Into<String>) -> ModelBuilder {
        let id = id.into();
        ModelBuilder(Self {
            guard: names_a_guard(&id),
            likely_kind: assumed_output(&id),
            id,
            context_length: None,
            max_output: None,
            capabilities: Capabilities::UNKNOWN,
            image_size: None,
            random: true,
            created: None,
            expires: None,
            owned_by: None,
        })
    }

    /// The id, as the provider wants it in `model`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The window in tokens, if it is stated.
    #[must_use]
    pub fn context_length(&self) -> Option<u64> {
        self.context_length
    }

    /// The longest answer in tokens, if it is stated.
    ///
    /// A request that allows for more (in `max_tokens`, `max_completion_tokens` or `max_output_tokens`) goes to models
    /// that have more first. To this one it is sent with this limit instead, which `x-free-adjusted` tells: the answer
    /// could not be longer anyway, and many upstreams refuse the larger number with a 400.
    #[must_use]
    pub fn max_output(&self) -> Option<u64> {
        self.max_output
    }

    /// What it can and cannot do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Width and height in pixels of the images it makes where a request does not say.
    #[must_use]
    pub fn image_size(&self) -> Option<(u32, u32)> {
        self.image_size
    }

    /// Whether it may be picked without being asked for by name.
    #[must_use]
    pub fn is_random(&self) -> bool {
        self.random
    }

    /// Whether it judges conversations: to a chat it answers "safe", so it is never picked at random for one.
    #[must_use]
    pub fn is_guard(&self) -> bool {
        self.guard
    }

    /// Whether it may be picked at random for a request that has to be answered with `output`.
    ///
    /// Where a listing does not say what a model answers with, its id may: `whisper`, `text-embedding`. That is an
    /// assumption, so it keeps nobody from asking for the model by name. What has no such name is a model for text.
    #[must_use]
    pub fn is_for(&self, output: Capability) -> bool {
        let Capabilities { yes, no } = self.capabilities;
        yes.contains(output) || !no.contains(output) && self.likely_kind == Some(output)
    }

    /// When it was made, in seconds since 1970, if it is known.
    #[must_use]
    pub fn created(&self) -> Option<u64> {
        self.created
    }

    /// The moment from which it is no longer there, if its listing states one: the end, in UTC, of its last day.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// Who made it, if it is known.
    #[must_use]
    pub fn owned_by(&self) -> Option<&str> {
        self.owned_by.as_deref()
    }

    /// A fingerprint of all that is stated and may matter to what was learned of the model.
    pub(crate) fn fingerprint(&self) -> u64 {
        let Self {
            id,
            context_length,
            max_output,
            capabilities: Capabilities { yes, no },
            image_size,
            random,
            guard,
            expires,
            owned_by,
            // Of some servers (llama.cpp, vLLM) the moment at which they were asked.
            created: _,
            // The same for the same id, until the crate changes its mind.
            likely_kind: _,
        } = self;
        let mut hasher = DefaultHasher::new();
        (id, context_length, max_output, yes, no, image_size).hash(&mut hasher);
        (random, guard, expires, owned_by).hash(&mut hasher);
        hasher.finish()
    }

    /// This model without what no model has at its provider, whatever is stated of it.
    pub(crate) fn without(mut self, lacks: CapabilitySet) -> Self {
        let Capabilities { yes, no } = &mut self.capabilities;
        *yes = yes.difference(lacks);
        *no = no.union(lacks);
        self
    }

    /// This model with a capability, unless it is stated to be without.
    pub(crate) fn with(mut self, capability: Capability) -> Self {
        let Capabilities { yes, no } = &mut self.capabilities;
        if !no.contains(capability) {
            yes.insert(capability);
        }
        self
    }
}

/// Builds a [`Model`].
///
/// A list that is stated says yes or no to every capability it governs; an empty one states nothing. A listing that
/// fills in no parameters has not looked: reading it as a *no* to everything would empty the pool.
#[derive(Clone, Debug)]
#[must_use]
pub struct ModelBuilder(Model);

impl ModelBuilder {
    /// The window, in tokens. Zero is unknown.
    pub fn context_length(mut self, tokens: u64) -> Self {
        self.0.context_length = (tokens > 0).then_some(tokens);
        self
    }

    /// The longest answer, in tokens. Zero is unknown.
    pub fn max_output(mut self, tokens: u64) -> Self {
        self.0.max_output = (tokens > 0).then_some(tokens);
        self
    }

    /// What it can and cannot do, in place of everything stated before.
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.0.capabilities = capabilities;
        self
    }

    /// What it accepts: `text`, `image`, `audio`, `file`, `video`.
    pub fn input<I>(self, modalities: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.stating(modalities, INPUTS)
    }

    /// What it answers with: `text`, `image`, `audio`, `embeddings`, `transcription`.
    pub fn output<I>(self, modalities: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.stating(modalities, OUTPUTS)
    }

    /// The parameters it knows, as in OpenRouter's `supported_parameters`: `tools`, `response_format`,
    /// `structured_outputs`, `reasoning`, `logprobs`, …
    pub fn parameters<I>(self, parameters: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.stating(parameters, PARAMETERS)
    }

    /// Width and height in pixels of the images it makes where a request does not say; zero is unknown.
    ///
    /// The default is the provider's own: 1024 by 1024 at sdnext, where a checkpoint that was trained on 512 by 512
    /// (Stable Diffusion 1.x) shows everything twice. It is not used where a provider serves `/images/generations`
    /// itself.
    pub fn image_size(mut self, width: u32, height: u32) -> Self {
        self.0.image_size = (width > 0 && height > 0).then_some((width, height));
        self
    }

    /// Whether it may be picked without being asked for by name. The default is that it may.
    pub fn random(mut self, random: bool) -> Self {
        self.0.random = random;
        self
    }

    /// The model.
    #[must_use]
    pub fn build(self) -> Model {
        self.0
    }

    /// The name it is shown under, which may tell a guard that its id does not.
    pub(crate) fn shown_as(mut self, name: &str) -> Self {
        self.0.guard |= names_a_guard(name);
        self
    }

    /// When it was made. Zero is unknown.
    pub(crate) fn created(mut self, seconds: u64) -> Self {
        self.0.created = (seconds > 0).then_some(seconds);
        self
    }

    /// The end of its last day.
    pub(crate) fn expires(mut self, end: Option<SystemTime>) -> Self {
        self.0.expires = end;
        self
    }

    /// Whether it has one capability.
    pub(crate) fn capability(mut self, capability: Capability, is_there: bool) -> Self {
        let one = CapabilitySet::EMPTY.with(capability);
        let Capabilities { yes, no } = &mut self.0.capabilities;
        let (here, other) = match is_there {
            true => (yes, no),
            false => (no, yes),
        };
        *here = here.union(one);
        *other = other.difference(one);
        self
    }

    pub(crate) fn owned_by(mut self, owner: String) -> Self {
        self.0.owned_by = Some(owner);
        self
    }

    fn stating<I>(mut self, list: I, governed: &[(Capability, &[&str])]) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut stated = false;
        let mut yes = CapabilitySet::EMPTY;
        for word in list {
            stated = true;
            let named = governed
                .iter()
                .filter(|(_, names)| names.contains(&word.as_ref()));
            yes = named.fold(yes, |yes, (capability, _)| yes.with(*capability));
        }
        if stated {
            let all: CapabilitySet = governed.iter().map(|(capability, _)| *capability).collect();
            let capabilities = &mut self.0.capabilities;
            capabilities.yes = capabilities.yes.difference(all).union(yes);
            capabilities.no = capabilities.no.difference(yes).union(all.difference(yes));
        }
        self
    }
}

impl From<ModelBuilder> for Model {
    fn from(builder: ModelBuilder) -> Self {
        builder.build()
    }
}

/// What a model of this id answers with, as far as its name tells; nothing, if it is nothing that is asked for here.
pub(crate) fn assumed_output(id: &str) -> Option<Capability> {
    let id = id.to_ascii_lowercase();
    let kind = KINDS
        .iter()
        .find(|(_, parts)| parts.iter().any(|part| id.contains(part)));
    kind.map_or(Some(Capability::TextOutput), |(output, _)| *output)
}

fn names_a_guard(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    GUARDS.iter().any(|guard| name.contains(guard))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(capabilities: impl IntoIterator<Item = Capability>) -> CapabilitySet {
        capabilities.into_iter().collect()
    }

    #[test]
    fn a_stated_list_governs_its_own_capabilities_and_no_others() {
        let model = Model::new("m").input(["text", "image"]).build();
        let Capabilities { yes, no } = model.capabilities();
        assert_eq!(yes, set([Capability::ImageInput]));
        let others = [
            Capability::AudioInput,
            Capability::FileInput,
            Capability::VideoInput,
        ];
        assert_eq!(no, set(others));
    }

    #[test]
    fn an_empty_list_states_nothing() {
        let none: [&str; 0] = [];
        let model = Model::new("m")
            .parameters(none)
            .input(none)
            .output(none)
            .build();
        assert_eq!(model.capabilities(), Capabilities::UNKNOWN);
    }

    #[test]
    fn response_format_is_a_json_object_and_structured_outputs_are_both() {
        let model = Model::new("m").parameters(["response_format"]).build();
        assert!(model.capabilities().yes.contains(Capability::JsonObject));
        assert!(model.capabilities().no.contains(Capability::JsonSchema));
        let model = Model::new("m").parameters(["structured_outputs"]).build();
        assert!(model.capabilities().yes.contains(Capability::JsonObject));
        assert!(model.capabilities().yes.contains(Capability::JsonSchema));
    }

    #[test]
    fn the_last_word_on_a_capability_counts() {
        let model = Model::new("m")
            .parameters(["tools"])
            .parameters(["seed"])
            .build();
        assert!(model.capabilities().no.contains(Capability::Tools));
        let model = Model::new("m")
            .parameters(["seed"])
            .parameters(["tools"])
            .build();
        assert!(model.capabilities().yes.contains(Capability::Tools));
        assert!(!model.capabilities().no.contains(Capability::Tools));
    }

    #[test]
    fn guards_are_known_by_their_names() {
        for id in [
            "acme/llama-guard-4-12b",
            "acme/gpt-safeguard-20b",
            "acme/content-safety:free",
            "ShieldGemma",
            "omni-moderation-latest",
            "nvidia/nemoguard-jailbreak-detect",
        ] {
            assert!(Model::new(id).build().is_guard(), "{id}");
        }
        assert!(
            Model::new("m")
                .shown_as("Acme: Guardian")
                .build()
                .is_guard()
        );
        assert!(!Model::new("acme/chat").build().is_guard());
    }

    #[test]
    fn a_fingerprint_follows_what_is_stated() {
        let tiny = |tokens| {
            Model::new("tiny")
                .context_length(tokens)
                .build()
                .fingerprint()
        };
        assert_eq!(tiny(1), tiny(1));
        assert_ne!(tiny(1), tiny(2));
    }

    #[test]
    fn a_name_tells_what_a_model_is_for() {
        use Capability::{AudioOutput, Embeddings, ImageOutput, TextOutput, Transcription};
        for (id, output) in [
            ("openai/gpt-oss-120b", Some(TextOutput)),
            ("text-embedding-3-small", Some(Embeddings)),
            ("@cf/baai/bge-m3", Some(Embeddings)),
            ("whisper-large-v3-turbo", Some(Transcription)),
            ("gemini-2.5-flash-preview-tts", Some(AudioOutput)),
            ("gemini-2.5-flash-image", Some(ImageOutput)),
            ("black-forest-labs/FLUX.1-schnell", Some(ImageOutput)),
            ("rerank-v3.5", None),
            ("nvidia/llama-nemotron-embed-rerank-1b", None),
            ("mistral-ocr-latest", None),
            ("veo-3.1", None),
        ] {
            let model = Model::new(id).build();
            for asked in [
                TextOutput,
                Embeddings,
                ImageOutput,
                Transcription,
                AudioOutput,
            ] {
                assert_eq!(model.is_for(asked), output == Some(asked), "{id} {asked}");
            }
        }
    }

    #[test]
    fn what_is_stated_outweighs_a_name() {
        let chat = Model::new("my-embedder").output(["text"]).build();
        assert!(chat.is_for(Capability::TextOutput));
        assert!(!chat.is_for(Capability::Embeddings));
    }
}
