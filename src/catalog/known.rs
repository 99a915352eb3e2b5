//! The providers that are known by name.

use super::{BaseUrl, FreeRule, ProviderBuilder};

/// When an account's daily quota begins anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Day {
    /// Not known: what is used up rests for 24 hours.
    #[default]
    Unknown,
    /// At midnight UTC.
    Utc,
}

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
    /// Where it is.
    pub base_url: &'static str,
    /// The environment variables in which its key is usually found, the most usual first.
    pub key_env: &'static [&'static str],
    /// What is free there.
    pub free: FreeRule,
    /// The endpoint of its listing, under the base URL.
    pub listing: &'static str,
    /// When its day ends.
    pub day: Day,
    /// Where this was read, and when that was written.
    pub source: &'static str,
}

static KNOWN: &[KnownProvider] = &[OPENROUTER];

const OPENROUTER: KnownProvider = KnownProvider {
    name: "openrouter",
    base_url: "https://openrouter.ai/api/v1",
    key_env: &["OPENROUTER_API_KEY"],
    free: FreeRule::OpenRouter,
    listing: DEFAULT_LISTING,
    day: Day::Utc,
    source: "openrouter.ai/docs: api-reference/limits, openapi.yaml (2026-08-22)",
};

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
        &OPENROUTER
    }

    pub(super) fn named(name: &str) -> Option<&'static Self> {
        KNOWN.iter().find(|known| known.name == name)
    }

    /// The provider that a base URL leads to, by its host or a subdomain of it.
    pub(super) fn at(base: &BaseUrl) -> Option<&'static Self> {
        let host = base.host().trim_end_matches('.').to_ascii_lowercase();
        KNOWN.iter().find(|known| {
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
            let provider = known.builder().build().expect(known.name);
            assert_eq!(provider.name(), known.name);
            assert_eq!(provider.free_rule(), known.free);
            assert_eq!(provider.day(), known.day);
            let base = provider.base().expect(known.name);
            assert_eq!(base.host(), known.host());
            assert_eq!(KnownProvider::at(base).map(|k| k.name), Some(known.name));
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
