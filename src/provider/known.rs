//! The providers that are known by name: the types here, the data in `table`.

use http::HeaderName;

use crate::{
    endpoint::Endpoint,
    outcome::Scope,
    provider::{
        base_url::BaseUrl,
        builder::ProviderBuilder,
        dialect::Dialect,
        free_rule::{FreeRule, Plan},
        quota_day::Day,
        table::KNOWN,
    },
};

/// What is known of a provider by its name.
///
/// ```
/// use tower_free_models::{FreeRule, KnownProvider};
///
/// // Services whose free tier is a plan, and of whose account the operator knows that it cannot be billed.
/// let unbilled = ["groq", "google"];
///
/// // The providers for which the environment holds a key.
/// let providers = KnownProvider::all().iter().filter(|known| !known.opt_in).filter_map(|known| {
///     let key = known.key_env.iter().find_map(|name| std::env::var(name).ok())?;
///     let builder = match known.account_env {
///         Some(name) => known.builder().account(&std::env::var(name).ok()?),
///         None => known.builder(),
///     };
///     let builder = match unbilled.contains(&known.name) {
///         true => builder.free(FreeRule::Plan),
///         false => builder,
///     };
///     // One whose free tier is a plan is not built where this is not said.
///     builder.key(&key).build().ok()
/// });
/// # drop(providers);
/// ```
#[derive(Clone, Debug)]
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
    /// Whether it answers without a key too. With [`FreeRule::Keyless`] it is free only so.
    pub keyless: bool,
    /// Whether it is a server on one's own machine: its host says nothing of what is there, so it is known by name only.
    pub local: bool,
    /// How the key is sent.
    pub auth: Auth,
    /// The endpoint of its listing: under the base URL, beside its last segment if it begins with `../`, or a whole
    /// URL where it is somewhere else.
    pub listing: &'static str,
    /// The format of its listing.
    pub listing_format: ListingFormat,
    /// Free models that its listing leaves out. They are there where its rule is `free`, and no other.
    pub unlisted: &'static [&'static str],
    /// The endpoint under the base URL that tells of the key's own quota, where there is one: see
    /// [`AccountStatus`](crate::AccountStatus).
    pub account_status: Option<&'static str>,
    /// What is free there. At its host no rule is accepted that would take more for free, unless the operator can know
    /// better: see [`ProviderBuilder::free`].
    ///
    /// [`FreeRule::Plan`] is not taken over from here: whoever builds the provider has to say it of the account.
    pub free: FreeRule,
    /// What its free plan covers, where [`FreeRule::Plan`] is said.
    pub plan: Plan,
    /// Whether a new account is asked for a card, so that it may be billed.
    pub asks_for_card: bool,
    /// Whether it is meant to be used only if the operator names it: a key in the environment is not enough, because of
    /// the service's terms.
    pub opt_in: bool,
    /// The limits of its free plan, as far as they are known. They inform; what is enforced is what responses say.
    pub limits: Vec<Limit>,
    /// When its day ends.
    pub day: Day,
    /// The endpoints that it serves. It is asked on no other one.
    pub endpoints: &'static [Endpoint],
    /// How it differs from OpenAI's API.
    pub dialect: Dialect,
    /// Whether it, or the service that it relays to, reads a file for a model that cannot read files, and bills that also
    /// on a free model. Files go there only to models that are stated to read them.
    pub bills_files: bool,
    /// What else is worth knowing, for people.
    pub note: &'static str,
    /// Where this was read, and when that was written or, of what has no date, read. What is cited often has a short
    /// name:
    ///
    /// | name | |
    /// |---|---|
    /// | freellmapi | the gateway tashfeenahmed/freellmapi at 291556df |
    /// | list | the list cheahjs/free-llm-api-resources at e6765bc9 |
    /// | survey | a probe of the rate limits of 13 providers |
    /// | peers | what the sources of other free gateways state, as of the day that is given |
    pub source: &'static str,
}

/// How a key is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Auth {
    /// `Authorization: Bearer KEY` (RFC 6750).
    #[default]
    Bearer,
    /// `Authorization: Basic BASE64`, where the key is `user:password` (RFC 7617).
    Basic,
    /// `NAME: PREFIXKEY`, as in `x-api-key: KEY` or `Authorization: Token KEY`.
    Header {
        /// The name of the header.
        name: HeaderName,
        /// What stands before the key, with the space after it if there is one.
        prefix: String,
    },
}

/// The format of a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ListingFormat {
    /// `{"data": [{"id", …}]}`, the bare array, or `{"models": [{"name", …}]}` and `{"result": [{"name", …}]}`, with
    /// whatever of OpenRouter's, Groq's, Mistral's, GitHub's, Cohere's, Cloudflare's and other fields an entry has.
    #[default]
    OpenAi,
    /// The same, but every id begins with `models/`, which is no part of it.
    Google,
    /// `/sdapi/v1/sd-models`: `[{"title", "model_name", …}]`, the checkpoints of AUTOMATIC1111 and sdnext. The id is the
    /// title without the hash at its end.
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
pub(crate) const DEFAULT_LISTING: &str = "/v1/models";

impl KnownProvider {
    /// All of them.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &KNOWN
    }

    /// A builder that is filled in but for the key, and for the word of whoever builds it where
    /// [`free`](Self::free) is [`FreeRule::Plan`]: see [`ProviderBuilder::free`].
    pub fn builder(&self) -> ProviderBuilder {
        ProviderBuilder::known(self)
    }

    /// The provider of this name. `groq#2`, a second key of `groq`, is the same service.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        let (name, _) = name.split_once('#').unwrap_or((name, ""));
        KNOWN.iter().find(|known| known.name == name)
    }

    /// The provider that a base URL leads to, by its host or a subdomain of it.
    pub(crate) fn at(base: &BaseUrl) -> Option<&'static Self> {
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
    use crate::{listing::Prices, provider::dialect::Rule};

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
