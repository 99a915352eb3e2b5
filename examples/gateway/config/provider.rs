//! What a file says of one provider.

use std::{collections::HashSet, fmt, num::NonZeroU64};

use http::{HeaderName, Uri, header::AUTHORIZATION};
use serde::Deserialize;
use tower_free_models::provider::{self, Endpoint, Limit, ListingFormat, Period, Quantity};

use super::{
    dialect::Dialect,
    values::{base_url, endpoints, header, id, image_size, name, place, variable_name},
};

/// One account at one service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    /// The provider's name, unique in a file.
    #[serde(deserialize_with = "name")]
    pub(crate) name: String,
    /// Its address; absent only where the name is known and brings one.
    #[serde(default, deserialize_with = "base_url")]
    pub(crate) base_url: Option<Uri>,
    /// The environment variable that holds its key.
    #[serde(default, deserialize_with = "variable_name")]
    pub(crate) key_env: Option<String>,
    /// What that variable held.
    #[serde(skip)]
    pub(crate) key: Option<Key>,
    /// What is free there; absent: the known provider's own rule, else [`Free::Priced`].
    pub(crate) free: Option<Free>,
    /// The endpoints that it serves; absent: those of the known provider, else any.
    #[serde(default, deserialize_with = "endpoints")]
    pub(crate) endpoints: Option<Vec<Endpoint>>,
    /// Where its listing is; absent: where that of the known provider is, else `/v1/models`.
    pub(crate) listing: Option<Listing>,
    /// How many requests a minute the account may make, those that fail included; absent: what is known of the provider,
    /// what its answers say, and what is inferred.
    pub(crate) rpm: Option<NonZeroU64>,
    /// How many requests a day.
    pub(crate) rpd: Option<NonZeroU64>,
    /// How many tokens a minute, of prompts and answers.
    pub(crate) tpm: Option<NonZeroU64>,
    /// How many tokens a day.
    pub(crate) tpd: Option<NonZeroU64>,
    /// How many requests at a time.
    pub(crate) in_flight: Option<NonZeroU64>,
    /// When its day ends; absent: as known of the provider, else 24 hours after what was used.
    pub(crate) day: Option<Day>,
    /// How its key is sent; absent: as the known provider wants it, else `Authorization: Bearer KEY`.
    pub(crate) auth: Option<Auth>,
    /// How it differs from OpenAI's API; absent: as the known provider does, else not at all.
    pub(crate) dialect: Option<Dialect>,
    /// Models given here instead of by the provider's listing.
    #[serde(default, rename = "model")]
    pub(crate) models: Vec<Model>,
}

/// Which models of a listing are free.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Free {
    /// Those whose listing states zero prices.
    Priced,
    /// What the account's free plan covers; the operator says that this account cannot be billed.
    Plan,
    /// All: the operator vouches for them.
    All,
}

/// When the day of an account ends.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Day {
    /// At midnight UTC.
    Utc,
    /// At midnight in California.
    Pacific,
    /// At midnight in China.
    China,
    /// 24 hours after what was used.
    Rolling,
}

/// A model the operator describes. What is left out is unknown, which is not the same as missing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// The id that is sent to the provider.
    #[serde(deserialize_with = "id")]
    pub(crate) id: String,
    /// Whether it is picked for requests that do not name it; if not, those that do get no other.
    #[serde(default = "yes")]
    pub(crate) random: bool,
    /// How many tokens fit, prompt and answer together.
    pub(crate) context_length: Option<u64>,
    /// How many tokens an answer may have.
    pub(crate) max_output: Option<u64>,
    /// What a message may hold.
    pub(crate) input: Option<Vec<Modality>>,
    /// What an answer may hold.
    pub(crate) output: Option<Vec<Modality>>,
    /// The request's parameters it understands, in the words of OpenRouter's listing.
    pub(crate) parameters: Option<Vec<String>>,
    /// Width and height in pixels of the images it makes where a request does not say.
    #[serde(default, deserialize_with = "image_size")]
    pub(crate) size: Option<(u32, u32)>,
}

/// A kind of content. A closed list, because a misspelt one would silently exclude a model.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Modality {
    /// Text.
    Text,
    /// Images.
    Image,
    /// Audio.
    Audio,
    /// Files, such as PDF.
    File,
    /// Video.
    Video,
    /// Vectors.
    Embeddings,
    /// What was said in a recording.
    Transcription,
}

/// Where a listing is, and what it looks like.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listing {
    /// A path under the base URL, one beside its last segment (`../models`), or a whole URL, which is asked without the
    /// key unless scheme, host and port are those of the base URL.
    #[serde(deserialize_with = "place")]
    pub(crate) path: String,
    /// What it looks like.
    #[serde(default)]
    pub(crate) format: Format,
}

/// What a listing looks like.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// OpenAI's, and what most other services make of it.
    #[default]
    OpenAi,
    /// The same, with `models/` before every id.
    Google,
    /// The checkpoints of AUTOMATIC1111 and sdnext.
    Checkpoints,
}

/// How a key is sent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Auth {
    /// The header; absent: `authorization`.
    #[serde(deserialize_with = "header")]
    pub(crate) header: Option<HeaderName>,
    /// What stands before the key, with its space; absent: nothing.
    pub(crate) prefix: Option<String>,
    /// Whether the key is `user:password`, sent as `Authorization: Basic`.
    pub(crate) basic: bool,
}

impl Listing {
    /// The format, as the crate has it.
    pub(crate) fn format(&self) -> ListingFormat {
        match self.format {
            Format::OpenAi => ListingFormat::OpenAi,
            Format::Google => ListingFormat::Google,
            Format::Checkpoints => ListingFormat::Checkpoints,
        }
    }
}

impl Day {
    /// The same, as the crate has it.
    pub(crate) const fn day(self) -> provider::Day {
        match self {
            Self::Utc => provider::Day::Utc,
            Self::Pacific => provider::Day::Pacific,
            Self::China => provider::Day::China,
            Self::Rolling => provider::Day::Unknown,
        }
    }
}

impl Auth {
    /// The same, as the crate has it.
    pub(crate) fn scheme(&self) -> provider::Auth {
        match self.basic {
            true => provider::Auth::Basic,
            false => provider::Auth::Header {
                name: self.header.clone().unwrap_or(AUTHORIZATION),
                prefix: self.prefix.clone().unwrap_or_default(),
            },
        }
    }
}

/// A credential: it can be used, and it can not be printed by accident.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Key(String);

impl Provider {
    /// The limits of the account.
    pub(crate) fn limits(&self) -> impl Iterator<Item = Limit> {
        let requests = [
            (self.rpm, Period::Minute),
            (self.rpd, Period::Day),
            (self.in_flight, Period::AtOnce),
        ];
        let tokens = [(self.tpm, Period::Minute), (self.tpd, Period::Day)];
        let of = |of| {
            move |(amount, per): (Option<NonZeroU64>, _)| Some(Limit::new(amount?.get(), of, per))
        };
        let requests = requests.into_iter().filter_map(of(Quantity::Requests));
        requests.chain(tokens.into_iter().filter_map(of(Quantity::Tokens)))
    }

    /// Checks what one key alone can not show, and fetches the credential.
    pub(super) fn complete(
        &mut self,
        is_known: &dyn Fn(&str) -> bool,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), String> {
        if self.base_url.is_none() && !is_known(&self.name) {
            return Err("is not a name known here, so it needs a base_url".into());
        }
        if self.free == Some(Free::Priced) && !self.models.is_empty() {
            return Err(
                "free = \"priced\" asks for a listing, but its models are written here, which already \
                 vouches for them: leave one of the two out"
                    .into(),
            );
        }
        let mut ids = HashSet::new();
        if let Some(twice) = self.models.iter().find(|model| !ids.insert(&model.id)) {
            return Err(format!("has the model \"{}\" twice", twice.id));
        }
        if self.listing.is_some() && !self.models.is_empty() {
            return Err(
                "has a listing, and its models are written here: leave one of the two out".into(),
            );
        }
        if self.auth.is_some() && self.key_env.is_none() {
            return Err(
                "says how its key is sent, but has none: name its variable with key_env".into(),
            );
        }
        if let Some(Auth {
            basic: true,
            header,
            prefix,
        }) = &self.auth
        {
            if header.is_some() || prefix.is_some() {
                return Err("auth is either basic, or a header and a prefix".into());
            }
        }
        if let Some(name) = &self.key_env {
            self.key = Some(Key::from_variable(name, variable)?);
        }
        Ok(())
    }
}

impl Key {
    /// The key that a variable holds, without the line break that files often add.
    pub(crate) fn from_variable(
        name: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let value = variable(name).ok_or_else(|| {
            format!("key_env names the environment variable {name}, which is not set: set it, or leave key_env out")
        })?;
        let key = value.trim();
        if key.is_empty() {
            return Err(format!(
                "the environment variable {name} is empty: it should hold a key"
            ));
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "the environment variable {name} holds characters that no key has (blanks, line breaks or others)"
            ));
        }
        Ok(Self(key.to_owned()))
    }

    /// The credential itself.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Modality {
    /// The word a listing has for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Audio => "audio",
            Self::File => "file",
            Self::Video => "video",
            Self::Embeddings => "embeddings",
            Self::Transcription => "transcription",
        }
    }
}

fn yes() -> bool {
    true
}
