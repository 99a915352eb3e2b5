//! What is known of a service: the types. The data stand in `table`.

use http::HeaderName;

use crate::{
    endpoint::Endpoint,
    provider::{
        dialect::Dialect,
        free_rule::{FreeRule, Plan},
        limit::Limit,
        quota_day::Day,
    },
};

/// What is known of a provider by its name.
///
/// ```
/// use tower_free_models::provider::{FreeRule, KnownProvider};
///
/// // Services with a plan as free tier, where the operator knows that the account cannot be billed.
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
///     // A service with a plan is not built where the operator has not said so.
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
    /// Whether it is a server on the operator's machine: `127.0.0.1` does not tell which, so it is known by name only.
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
    /// [`AccountStatus`](crate::refresh::AccountStatus).
    pub account_status: Option<&'static str>,
    /// What is free there. At its host no rule is accepted that would take more for free, unless the operator can know
    /// better: see [`ProviderBuilder::free`](super::ProviderBuilder::free).
    ///
    /// [`FreeRule::Plan`] is not taken over from here: the user of the builder has to say it of the account.
    pub free: FreeRule,
    /// What its free plan covers, where [`FreeRule::Plan`] is said.
    pub plan: Plan,
    /// Whether a new account is asked for a card, so that it may be billed.
    pub asks_for_card: bool,
    /// Whether it is meant to be used only if the operator names it: a key in the environment is not enough, because of
    /// the service's terms.
    pub opt_in: bool,
    /// The limits of its free plan, as far as they are known: what to expect of an account until its answers say
    /// otherwise. Limits of an account that its user knows are said by [`ProviderBuilder::limit`](super::ProviderBuilder::limit).
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

/// Where OpenAI's listing is, and that of most services that speak its API.
pub(crate) const DEFAULT_LISTING: &str = "/v1/models";

impl KnownProvider {
    pub(super) fn host(&self) -> &'static str {
        let (_, rest) = self.base_url.split_once("://").unwrap_or_default();
        rest.split(['/', ':']).next().unwrap_or_default()
    }
}
