//! Capabilities: what a request needs of a model, and what a listing states of one.

use std::fmt;

/// One thing that a request can need and a model can have.
///
/// The [`name`](Self::name) is what a refusal carries in `error.param` when no free model has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum Capability {
    /// Function calling: `tools` or the older `functions`.
    Tools,
    /// Image parts in a message.
    ImageInput,
    /// Audio parts in a message.
    AudioInput,
    /// File parts in a message.
    FileInput,
    /// Video parts in a message.
    VideoInput,
    /// `response_format: {"type": "json_object"}`: the answer is some JSON.
    JsonObject,
    /// `response_format: {"type": "json_schema"}`: the answer follows a given schema.
    JsonSchema,
    /// Control over reasoning: `reasoning`, `reasoning_effort`, `include_reasoning`.
    Reasoning,
    /// `logprobs` or `top_logprobs`.
    Logprobs,
    /// The answer is text.
    TextOutput,
    /// The answer holds images.
    ImageOutput,
    /// The answer holds audio.
    AudioOutput,
    /// The answer is a vector.
    Embeddings,
    /// The answer is what was said in a recording.
    Transcription,
}

impl Capability {
    /// Every capability, in the order in which a refusal looks for the one that is missing.
    pub const ALL: [Self; 14] = [
        Self::Embeddings,
        Self::Transcription,
        Self::ImageOutput,
        Self::AudioOutput,
        Self::TextOutput,
        Self::ImageInput,
        Self::AudioInput,
        Self::FileInput,
        Self::VideoInput,
        Self::Tools,
        Self::JsonSchema,
        Self::JsonObject,
        Self::Logprobs,
        Self::Reasoning,
    ];

    /// The name used in `error.param` and in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::ImageInput => "image",
            Self::AudioInput => "audio",
            Self::FileInput => "file",
            Self::VideoInput => "video",
            Self::JsonObject => "json_object",
            Self::JsonSchema => "json_schema",
            Self::Reasoning => "reasoning",
            Self::Logprobs => "logprobs",
            Self::TextOutput => "output_text",
            Self::ImageOutput => "output_image",
            Self::AudioOutput => "output_audio",
            Self::Embeddings => "embeddings",
            Self::Transcription => "transcription",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of [`Capability`], as a bit mask.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CapabilitySet(u16);

impl CapabilitySet {
    /// The empty set.
    pub const EMPTY: Self = Self(0);

    /// This set with `capability` in it.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u8)
    }

    /// Puts `capability` into the set.
    pub const fn insert(&mut self, capability: Capability) {
        *self = self.with(capability);
    }

    /// Whether `capability` is in the set.
    #[must_use]
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & 1 << capability as u8 != 0
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The members, in the order of [`Capability::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL
            .into_iter()
            .filter(move |&c| self.contains(c))
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(iter: I) -> Self {
        iter.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What a listing states of a model: for each capability yes, no, or nothing (unknown).
///
/// Only a stated *no* excludes a model; unknown ranks below yes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Stated to be there.
    pub yes: CapabilitySet,
    /// Stated not to be there.
    pub no: CapabilitySet,
}

impl Capabilities {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        yes: CapabilitySet::EMPTY,
        no: CapabilitySet::EMPTY,
    };

    /// Of `needs`, what the model is stated not to have.
    #[must_use]
    pub const fn missing(self, needs: CapabilitySet) -> CapabilitySet {
        needs.intersection(self.no).difference(self.yes)
    }

    /// Whether the model is stated to have all of `needs`.
    #[must_use]
    pub const fn certain(self, needs: CapabilitySet) -> bool {
        needs.difference(self.yes).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_every_capability_once() {
        let set: CapabilitySet = Capability::ALL.into_iter().collect();
        assert_eq!(set.iter().count(), Capability::ALL.len());
        assert_eq!(set.0.count_ones() as usize, Capability::ALL.len());
    }

    #[test]
    fn unknown_is_neither_missing_nor_certain() {
        let needs = CapabilitySet::EMPTY.with(Capability::Tools);
        assert!(Capabilities::UNKNOWN.missing(needs).is_empty());
        assert!(!Capabilities::UNKNOWN.certain(needs));
    }
}
