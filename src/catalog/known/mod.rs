//! The providers that are known by name: the types here, the data in `table`.

mod day;
mod table;

pub use self::day::Day;
use self::table::KNOWN;
use super::{BaseUrl, FreeRule, ProviderBuilder};
use crate::{dialect::Dialect, outcome::Scope, request::Endpoint};

/// What is known of a provider by its name.
///
/// ```
/// use tower_free_models::KnownProvider;
///
/// // The providers for which the environment holds a key.
/// let providers = KnownProvider::all().iter().filter_map(|known| {
///     let key = known.key_env.iter().find_map(|name| std::env::var(name).ok())?;
///     known.builder().key(&key).build().ok()
/// });
/// # drop(providers);
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct KnownProvider {
    /// Its name.
    pub name: &'static str,
    /// Where it is. `{account_id}` in it stands for the account's own id.
    pub base_url: &'static str,
    /// The environment variable in which the account's id is usually found, where the base URL needs one.
    pub account_env: Option<&'static str>,
    /// The environment variables in which its key is usually found, the most usual first.
    pub key_env: &'static [&'static str],
    /// Whether it answers without a key too.
    pub keyless: bool,
    /// Whether it is a server on one's own machine.
    pub local: bool,
    /// How the key is sent.
    pub auth: Auth,
    /// The endpoint of its listing: under the base URL, beside its last segment if it begins with `../`, or a whole
    /// URL where it is somewhere else.
    pub listing: &'static str,
    /// The format of its listing.
    pub listing_format: ListingFormat,
    /// Free models that its listing leaves out.
    pub unlisted: &'static [&'static str],
    /// The endpoint under the base URL that tells of the key's own quota, where there is one.
    pub account_status: Option<&'static str>,
    /// What is free there.
    pub free: FreeRule,
    /// The limits of its free plan, as far as they are known.
    pub limits: &'static [Limit],
    /// When its day ends.
    pub day: Day,
    /// What it serves.
    pub endpoints: &'static [Endpoint],
    /// How it differs from OpenAI's API.
    pub dialect: Dialect,
    /// What else is worth knowing, for people.
    pub note: &'static str,
    /// Where this was read, and when that was written.
    pub source: &'static str,
}

/// How a key is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Auth {
    /// `Authorization: Bearer KEY` (RFC 6750).
    #[default]
    Bearer,
    /// `Authorization: Basic BASE64`, where the key is `user:password` (RFC 7617).
    Basic,
}

/// The format of a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ListingFormat {
    /// `{"data": [{"id", …}]}` or the bare array, with whatever of OpenRouter's, Groq's, Mistral's, GitHub's and other
    /// fields an entry has.
    #[default]
    OpenAi,
    /// `/sdapi/v1/sd-models`: `[{"title", "model_name", …}]`, the checkpoints of AUTOMATIC1111 and sdnext.
    Checkpoints,
}

/// A limit of a free plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// How many.
    pub amount: u64,
    /// Of what.
    pub of: Quantity,
    /// In which time.
    pub per: Period,
    /// Whether each model has this limit of its own, or all models of the account share it.
    pub scope: Scope,
}

/// What a [`Limit`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Quantity {
    /// Requests.
    Requests,
    /// Tokens of prompts and answers.
    Tokens,
}

/// The time of a [`Limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Period {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day, as [`KnownProvider::day`] has it.
    Day,
    /// A calendar month.
    Month,
}

/// Where OpenAI's own listing is, and that of whoever speaks its format.
pub(super) const DEFAULT_LISTING: &str = "/v1/models";

impl KnownProvider {
    /// All of them.
    #[must_use]
    pub fn all() -> &'static [Self] {
        KNOWN
    }

    /// A builder that is filled in but for the key.
    pub fn builder(&self) -> ProviderBuilder {
        ProviderBuilder::known(self)
    }

    pub(super) const fn openrouter() -> &'static Self {
        &table::OPENROUTER
    }

    pub(super) fn named(name: &str) -> Option<&'static Self> {
        // `groq#2` is a second key of `groq`.
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

    fn host(&self) -> &'static str {
        let (_, rest) = self.base_url.split_once("://").unwrap_or_default();
        rest.split(['/', ':']).next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_provider_builds_and_is_found_by_name_and_by_host() {
        for known in KnownProvider::all() {
            let builder = match known.account_env {
                Some(_) => known.builder().account("0123"),
                None => known.builder(),
            };
            let provider = builder.build().expect(known.name);
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
            assert!(!known.source.is_empty());
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
}
