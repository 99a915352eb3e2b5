//! What a configuration file may say, read into plain values.
//!
//! A provider that is not known by name can be described wholly:
//!
//! ```toml
//! [[provider]]
//! name = "acme"
//! base_url = "https://acme.example/api/v2"
//! key_env = "ACME_KEY"
//! free = "priced"
//! endpoints = ["chat/completions", "embeddings"]
//! listing = { path = "../catalog", format = "openai" }   # or "google", "checkpoints"
//! auth = { header = "x-acme-key", prefix = "Token " }    # or { basic = true } where the key is user:password
//!
//! [provider.dialect]                                     # the words of `tower_free_models::provider::Dialect`
//! developer_role = false
//! message_fields = ["name"]
//! lacks = ["logprobs"]
//! [provider.dialect.fields]
//! seed = { rename = "random_seed" }
//! top_k = { drop = true }
//! n = { at_most = 1 }
//! [provider.dialect.elsewhere.embeddings]
//! input_type = { default = "query" }
//! ```
//!
//! Where such a key is given to a known provider, it takes the place of what is known.
//!
//! A file is taken exactly: a key that does not exist is an error, so that no setting is silently
//! without effect. Nothing here knows which providers exist or where variables come from; both are
//! asked of the caller.

mod dialect;
mod provider;
#[cfg(test)]
mod tests;
mod values;

use std::{collections::HashSet, fmt, fs, num::NonZeroUsize, path::Path, time::Duration};

use serde::Deserialize;

pub(crate) use self::provider::{Free, Key, Modality, Model, Provider};
use self::values::{
    address, duration, duration_or_zero, host_names, origins, selector, share, size, some_id,
    variable_name,
};
use crate::{host::Name, listen::Listen, origin::Origin, selector::Selector};

/// The gateway's settings; every key has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where to listen: an address or a name, and a port; a port alone means 127.0.0.1, and port 0 lets the system
    /// choose. What other machines can reach needs `access_keys_env`, or `--open` on the command line.
    #[serde(deserialize_with = "address")]
    pub(crate) listen: Listen,
    /// The environment variable that holds the keys of callers, separated by commas. Where it is named, every request
    /// needs one of them, as `Authorization: Bearer` or as `x-api-key`, but for `/healthz` and preflights.
    #[serde(deserialize_with = "variable_name")]
    pub(crate) access_keys_env: Option<String>,
    /// The names under which callers may reach the gateway, in `Host`; `localhost` and addresses in digits always may.
    #[serde(deserialize_with = "host_names")]
    pub(crate) hosts: Vec<Name>,
    /// The origins whose web pages may use the gateway, like `https://app.example`; without one, none may.
    #[serde(deserialize_with = "origins")]
    pub(crate) cors_origins: Vec<Origin>,
    /// The largest request body, in bytes.
    #[serde(deserialize_with = "size")]
    pub(crate) max_body: usize,
    /// Whether a `model` that names a model of the pool is tried first.
    pub(crate) prefer_requested: bool,
    /// The model of embedding requests that name none.
    #[serde(deserialize_with = "some_id")]
    pub(crate) embedding_model: Option<String>,
    /// Which of the equally good models a request gets.
    #[serde(deserialize_with = "selector")]
    pub(crate) selector: Selector,
    /// Makes the choice of models reproducible.
    pub(crate) seed: Option<u64>,
    /// How many models one request may be sent to.
    pub(crate) max_attempts: NonZeroUsize,
    /// How long a request may take until its answer begins.
    #[serde(deserialize_with = "duration")]
    pub(crate) deadline: Duration,
    /// How long a request waits for a model while all that could serve it are cooling; zero refuses it at once.
    #[serde(deserialize_with = "duration_or_zero")]
    pub(crate) max_wait: Duration,
    /// The share of requests for which a second model may be asked beside one that takes longer than usual: `true` is 0.1.
    #[serde(deserialize_with = "share")]
    pub(crate) hedge: f64,
    /// Streams: how long until the head of one attempt's response.
    #[serde(deserialize_with = "duration")]
    pub(crate) header_timeout: Duration,
    /// Streams: how long until one attempt's first token.
    #[serde(deserialize_with = "duration")]
    pub(crate) first_token_timeout: Duration,
    /// Other answers: how long until one attempt's whole answer.
    #[serde(deserialize_with = "duration")]
    pub(crate) answer_timeout: Duration,
    /// Streams: how long between bytes once the answer has begun; and how long a caller may take none of an answer.
    #[serde(deserialize_with = "duration")]
    pub(crate) idle_timeout: Duration,
    /// How long the caller's upload may take.
    #[serde(deserialize_with = "duration")]
    pub(crate) body_timeout: Duration,
    /// How long running streams may still take after a signal to stop; zero ends them at once.
    #[serde(deserialize_with = "duration_or_zero")]
    pub(crate) shutdown_grace: Duration,
    /// How often providers are asked for their models.
    #[serde(deserialize_with = "duration")]
    pub(crate) catalog_refresh: Duration,
    /// The providers, in the file's order.
    #[serde(rename = "provider")]
    pub(crate) providers: Vec<Provider>,
}

/// Why a configuration was refused, in words for its author.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct ConfigError(String);

impl Config {
    /// Reads a file. `is_known` says which provider names bring their own address and rule,
    /// `variable` looks into the environment.
    pub(crate) fn load(
        path: &Path,
        is_known: &dyn Fn(&str) -> bool,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let file = path.display();
        let text = fs::read_to_string(path).map_err(|error| {
            ConfigError(format!("cannot read the configuration {file}: {error}"))
        })?;
        Self::parse(&text, is_known, variable)
            .map_err(|ConfigError(why)| ConfigError(format!("{file}: {why}")))
    }

    /// As [`load`](Self::load), for text at hand.
    pub(crate) fn parse(
        text: &str,
        is_known: &dyn Fn(&str) -> bool,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let file =
            toml::Deserializer::parse(text).map_err(|error| ConfigError::at(text, &error, None))?;
        let mut config: Self = serde_path_to_error::deserialize(file).map_err(|error| {
            let key = error.path().to_string();
            ConfigError::at(text, error.inner(), Some(&key))
        })?;
        if config.providers.is_empty() {
            return Err(ConfigError(
                "names no provider, so there is nothing to route to: add a [[provider]] table"
                    .into(),
            ));
        }
        let mut names = HashSet::new();
        for provider in &mut config.providers {
            if !names.insert(provider.name.clone()) {
                return Err(ConfigError(format!(
                    "two providers are named \"{0}\": each needs a name of its own; the second key of one \
                     service is \"{0}#2\"",
                    provider.name
                )));
            }
            provider
                .complete(is_known, variable)
                .map_err(|why| ConfigError(format!("provider \"{}\": {why}", provider.name)))?;
        }
        Ok(config)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Listen::loopback(3733),
            access_keys_env: None,
            hosts: Vec::new(),
            cors_origins: Vec::new(),
            max_body: 64_000_000,
            prefer_requested: true,
            embedding_model: None,
            selector: Selector::default(),
            seed: None,
            max_attempts: NonZeroUsize::MIN.saturating_add(5),
            deadline: Duration::from_secs(300),
            max_wait: Duration::from_secs(25),
            hedge: 0.0,
            header_timeout: Duration::from_secs(30),
            first_token_timeout: Duration::from_secs(120),
            answer_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(120),
            body_timeout: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(30),
            catalog_refresh: Duration::from_secs(600),
            providers: Vec::new(),
        }
    }
}

impl ConfigError {
    /// The line, the key and the reason, but not the value: someone may have written a credential there.
    fn at(text: &str, error: &toml::de::Error, key: Option<&str>) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map(|before| format!("line {}", before.matches('\n').count() + 1));
        // A path of one dot is the whole file.
        let key = key.filter(|key| *key != ".").map(|key| format!("`{key}`"));
        let reason = without_text(error.message());
        let all = [line, key, Some(reason)];
        Self(all.into_iter().flatten().collect::<Vec<_>>().join(": "))
    }
}

/// `invalid type: string "…", expected u64`, as serde writes it, without the text.
fn without_text(reason: &str) -> String {
    let cut = || {
        let (before, rest) = reason.split_once("string \"")?;
        let (_, after) = rest.rsplit_once("\", expected ")?;
        Some(format!("{before}string, expected {after}"))
    };
    cut().unwrap_or_else(|| reason.to_owned())
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}
