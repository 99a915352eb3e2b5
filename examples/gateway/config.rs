//! What a configuration file may say, read into plain values.
//!
//! A file is taken exactly: a key that does not exist is an error, so that no setting is silently
//! without effect. Nothing here knows which providers exist or where variables come from; both are
//! asked of the caller.

use std::{collections::HashSet, fmt, fs, num::NonZeroUsize, path::Path, time::Duration};

use bytesize::ByteSize;
use http::Uri;
use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, de};

use crate::{
    host::Name,
    listen::{self, Listen},
    origin::Origin,
};

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

/// A credential: it can be used, and it can not be printed by accident.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Key(String);

/// Why a configuration was not taken, in words for whoever wrote it.
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
            seed: None,
            max_attempts: NonZeroUsize::MIN.saturating_add(5),
            deadline: Duration::from_secs(300),
            max_wait: Duration::from_secs(10),
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

impl Provider {
    /// Checks what one key alone can not show, and fetches the credential.
    fn complete(
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

// Values that are written as text. What is expected is part of every error, whether the text makes
// no sense or something else stands in its place.

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parsed(
        from,
        "a duration above zero, like \"500ms\", \"30s\", \"10m\" or \"1h\"",
        |text| parse_duration(text).filter(|duration| !duration.is_zero()),
    )
}

fn duration_or_zero<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parsed(
        from,
        "a duration, like \"0s\", \"500ms\" or \"30s\"",
        parse_duration,
    )
}

fn parse_duration(text: &str) -> Option<Duration> {
    text.parse::<SignedDuration>().ok()?.try_into().ok()
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    parsed(
        from,
        "a size above zero, like \"64MB\", \"64MiB\" or a number of bytes",
        |text| {
            let size: ByteSize = text.parse().ok()?;
            usize::try_from(size.as_u64())
                .ok()
                .filter(|&bytes| bytes > 0)
        },
    )
}

fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Listen, D::Error> {
    parsed(from, listen::EXPECTED, |text| text.parse().ok())
}

fn host_names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Name>, D::Error> {
    each(
        from,
        "a name without a port, like \"gateway.example\"",
        Name::parse,
    )
}

fn origins<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Origin>, D::Error> {
    each(
        from,
        "the origin of web pages, like \"https://app.example\" or \"http://localhost:8000\"",
        Origin::parse,
    )
}

fn base_url<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Uri>, D::Error> {
    parsed(
        from,
        "an address like \"http://127.0.0.1:9001/v1\"",
        |text| {
            let uri: Uri = text.parse().ok()?;
            let usable =
                matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none();
            // Somebody's name or password in front of the host would be a credential in an address.
            let plain = uri
                .authority()
                .is_some_and(|authority| !authority.as_str().contains('@'));
            (usable && plain).then_some(Some(uri))
        },
    )
}

fn some_id<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    id(from).map(Some)
}

/// Names stand in headers, in logs and before the `/` of `provider/model`.
fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    parsed(
        from,
        "a name of letters, digits, \"-\", \"_\" and \".\", with \"#2\" behind it for a second key of one service",
        |text| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            let (service, key) = match text.split_once('#') {
                Some((service, key)) => (service, Some(key)),
                None => (text, None),
            };
            let counts = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit());
            (!service.is_empty() && service.bytes().all(fits) && key.is_none_or(counts))
                .then(|| text.to_owned())
        },
    )
}

fn variable_name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    parsed(
        from,
        "the name of an environment variable (the key itself belongs into that variable)",
        |text| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            (!text.is_empty() && text.bytes().all(fits)).then(|| Some(text.to_owned()))
        },
    )
}

fn id<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    parsed(from, "the id of a model", |text| {
        // There are blanks in the titles of checkpoints.
        let fits = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        (!text.is_empty() && text.trim() == text && text.bytes().all(fits)).then(|| text.to_owned())
    })
}

fn image_size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<(u32, u32)>, D::Error> {
    parsed(
        from,
        "a width and a height in pixels, like \"512x512\"",
        |text| {
            let (width, height) = text.split_once('x')?;
            let pixels = |text: &str| text.parse().ok().filter(|&pixels: &u32| pixels > 0);
            Some(Some((pixels(width)?, pixels(height)?)))
        },
    )
}

fn parsed<'de, D: Deserializer<'de>, T>(
    from: D,
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    from.deserialize_any(Parsed { expected, parse })
}

/// A list, each of whose entries is read like this.
fn each<'de, D: Deserializer<'de>, T>(
    from: D,
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let entry = |text: &String| {
        parse(text).ok_or_else(|| de::Error::custom(format_args!("this is not {expected}")))
    };
    texts.iter().map(entry).collect()
}

/// Takes a value if its text makes sense; a number's text is its digits. What makes none is not
/// repeated in the error, since it may be a key in the wrong place.
struct Parsed<T> {
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
}

impl<T> de::Visitor<'_> for Parsed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::custom(format_args!("this is not {}", self.expected)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let variable = |name: &str| match name {
            "LOCAL_KEY" => Some("canary-key\n".to_owned()),
            "EMPTY_KEY" => Some(String::new()),
            "BROKEN_KEY" => Some("two\nlines".to_owned()),
            _ => None,
        };
        let is_known = |name: &str| tower_free_models::Provider::known(name).is_some();
        Config::parse(text, &is_known, &variable).map_err(|error| error.to_string())
    }

    /// A whole file of one provider with these further keys.
    fn local(keys: &str) -> Result<Config, String> {
        read(&format!(
            "[[provider]]\nname = \"local\"\nbase_url = \"http://127.0.0.1:9001/v1\"\n{keys}"
        ))
    }

    /// A file whose first line is this setting.
    fn setting(line: &str) -> Result<Config, String> {
        read(&format!("{line}\n[[provider]]\nname = \"openrouter\"\n"))
    }

    #[track_caller]
    fn refused(result: Result<Config, String>, words: &[&str]) {
        let error = result.expect_err("should be refused");
        for word in words {
            assert!(error.contains(word), "{error:?} should say {word:?}");
        }
    }

    #[test]
    fn every_key_of_the_file_arrives() {
        let config = read(
            r#"
            listen = "[::1]:8080"
            access_keys_env = "CALLERS"
            hosts = ["Gateway.example.", "box"]
            cors_origins = ["https://app.example", "tauri://localhost"]
            max_body = "64MiB"
            prefer_requested = false
            embedding_model = "local/minilm"
            seed = 7
            max_attempts = 3
            deadline = "1h"
            max_wait = "3s"
            header_timeout = "500ms"
            first_token_timeout = "10m"
            answer_timeout = "1m 30s"
            idle_timeout = "1.5s"
            body_timeout = "2s"
            shutdown_grace = "0s"
            catalog_refresh = "5m"

            [[provider]]
            name = "openrouter"

            [[provider]]
            name = "local"
            base_url = "http://127.0.0.1:9001/v1"
            key_env = "LOCAL_KEY"
            free = "all"
            [[provider.model]]
            id = "tiny"
            context_length = 8192
            max_output = 2048
            input = ["text", "image"]
            output = ["text"]
            parameters = ["tools", "response_format"]
            random = false
            [[provider.model]]
            id = "minilm"
            output = ["embeddings"]
            "#,
        )
        .unwrap();

        assert_eq!(config.listen.to_string(), "[::1]:8080");
        assert_eq!(config.access_keys_env.as_deref(), Some("CALLERS"));
        let hosts: Vec<_> = config.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["gateway.example", "box"]);
        let origins: Vec<_> = config
            .cors_origins
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(origins, ["https://app.example:443", "tauri://localhost"]);
        assert_eq!(config.max_body, 64 << 20);
        assert!(!config.prefer_requested);
        assert_eq!(config.embedding_model.as_deref(), Some("local/minilm"));
        assert_eq!(config.seed, Some(7));
        assert_eq!(config.max_attempts.get(), 3);
        assert_eq!(config.deadline, Duration::from_secs(3600));
        assert_eq!(config.max_wait, Duration::from_secs(3));
        assert_eq!(config.header_timeout, Duration::from_millis(500));
        assert_eq!(config.first_token_timeout, Duration::from_secs(600));
        assert_eq!(config.answer_timeout, Duration::from_secs(90));
        assert_eq!(config.idle_timeout, Duration::from_millis(1500));
        assert_eq!(config.body_timeout, Duration::from_secs(2));
        assert_eq!(config.shutdown_grace, Duration::ZERO);
        assert_eq!(config.catalog_refresh, Duration::from_secs(300));

        let [known, local] = &config.providers[..] else {
            panic!("two providers")
        };
        assert_eq!(
            (known.name.as_str(), &known.base_url, &known.key),
            ("openrouter", &None, &None)
        );
        assert_eq!((known.free, known.models.len()), (None, 0));
        assert_eq!(local.base_url.as_ref().unwrap(), "http://127.0.0.1:9001/v1");
        assert_eq!(local.key.as_ref().unwrap().as_str(), "canary-key");
        assert_eq!(local.free, Some(Free::All));
        let [tiny, minilm] = &local.models[..] else {
            panic!("two models")
        };
        assert!(!tiny.random && minilm.random);
        assert_eq!(minilm.output.as_deref(), Some(&[Modality::Embeddings][..]));
        assert_eq!(
            (tiny.id.as_str(), tiny.context_length, tiny.max_output),
            ("tiny", Some(8192), Some(2048))
        );
        assert_eq!(
            tiny.input.as_deref(),
            Some(&[Modality::Text, Modality::Image][..])
        );
        assert_eq!(tiny.output.as_deref().unwrap()[0].name(), "text");
        assert_eq!(
            tiny.parameters.as_deref().unwrap(),
            ["tools", "response_format"]
        );
    }

    #[test]
    fn what_a_file_leaves_out_has_its_default() {
        let config = setting("").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:3733");
        assert_eq!(config.max_body, 64_000_000);
        assert!(config.access_keys_env.is_none());
        assert!(config.hosts.is_empty() && config.cors_origins.is_empty());
        assert!(config.prefer_requested);
        assert_eq!((config.seed, config.embedding_model), (None, None));
        assert_eq!(config.max_attempts.get(), 6);
        let seconds = [
            config.deadline,
            config.max_wait,
            config.header_timeout,
            config.first_token_timeout,
            config.answer_timeout,
            config.idle_timeout,
            config.body_timeout,
            config.shutdown_grace,
            config.catalog_refresh,
        ]
        .map(|duration| duration.as_secs());
        assert_eq!(seconds, [300, 10, 30, 120, 300, 120, 30, 30, 600]);
    }

    #[test]
    fn what_a_model_leaves_out_is_unknown() {
        let config = local("[[provider.model]]\nid = \"tiny\"\n").unwrap();
        let tiny = &config.providers[0].models[0];
        assert!(tiny.input.is_none() && tiny.output.is_none() && tiny.parameters.is_none());
        assert!(tiny.context_length.is_none() && tiny.max_output.is_none());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_keys_there_are() {
        refused(
            setting("max_waits = \"0s\""),
            &["line 1", "`max_waits`", "`listen`", "`shutdown_grace`"],
        );
        refused(
            local("free = \"all\"\nrpm = 20\n"),
            &["line 5", "`rpm`", "`base_url`", "`key_env`"],
        );
        refused(
            local("[[provider.model]]\nid = \"tiny\"\nrpm = 3\n"),
            &["line 6", "`rpm`", "`context_length`"],
        );
    }

    #[test]
    fn a_key_written_into_the_file_is_not_printed_back() {
        let error = local("key = \"sk-canary\"\n").unwrap_err();
        assert!(
            error.contains("`key`") && error.contains("`key_env`"),
            "{error}"
        );
        assert!(!error.contains("sk-canary"), "{error}");
    }

    #[test]
    fn sizes_are_decimal_or_binary_as_written() {
        for (text, bytes) in [
            ("\"64MB\"", 64_000_000),
            ("\"64MiB\"", 67_108_864),
            ("\"1 kB\"", 1000),
            ("65536", 65536),
            ("\"65536\"", 65536),
        ] {
            assert_eq!(
                setting(&format!("max_body = {text}")).unwrap().max_body,
                bytes,
                "{text}"
            );
        }
        for nonsense in [
            "0",
            "\"0MB\"",
            "-5",
            "\"-5MB\"",
            "\"\"",
            "\"MB\"",
            "\"64 parrots\"",
            "true",
            "[]",
        ] {
            refused(
                setting(&format!("max_body = {nonsense}")),
                &["line 1", "a size above zero", "64MiB"],
            );
        }
    }

    #[test]
    fn a_duration_needs_a_unit_and_may_not_be_zero_or_negative() {
        for nonsense in [
            "\"0s\"",
            "\"-1s\"",
            "\"1s ago\"",
            "\"30\"",
            "30",
            "\"\"",
            "\"soon\"",
            "1.5",
            "\"1d\"",
        ] {
            refused(
                setting(&format!("deadline = {nonsense}")),
                &["line 1", "a duration above zero", "10m"],
            );
        }
        refused(
            setting("shutdown_grace = \"-1s\""),
            &["line 1", "a duration"],
        );
    }

    #[test]
    fn an_address_to_listen_on_must_parse() {
        for nonsense in ["\"127.0.0.1\"", "\"localhost\"", "70000", "\":\""] {
            refused(
                setting(&format!("listen = {nonsense}")),
                &["line 1", "`listen`", "127.0.0.1:3733"],
            );
        }
        for port in ["3733", "\":3733\"", "\"3733\""] {
            let config = setting(&format!("listen = {port}")).unwrap();
            assert_eq!(config.listen.to_string(), "127.0.0.1:3733");
        }
    }

    #[test]
    fn a_wrong_type_is_named_with_its_key_and_its_line_and_without_its_text() {
        for (line, key) in [
            ("seed = \"canary\"", "`seed`"),
            ("prefer_requested = \"canary\"", "`prefer_requested`"),
            (
                "max_attempts = \"canary \\\"quoted\\\", expected\"",
                "`max_attempts`",
            ),
            ("max_attempts = [1]", "`max_attempts`"),
            ("deadline = [\"canary\"]", "`deadline`"),
            ("hosts = \"canary\"", "`hosts`"),
            (
                "cors_origins = [\"https://app.example\", 7]",
                "`cors_origins[1]`",
            ),
            ("provider = \"canary\"", "`provider`"),
        ] {
            let error = read(&format!("\n{line}\n")).expect_err("should be refused");
            assert!(error.starts_with(&format!("line 2: {key}: ")), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
        for (keys, key) in [
            ("free = true", "`provider[0].free`"),
            (
                "[[provider.model]]\nid = \"a\"\nrandom = \"no\"",
                "`provider[0].model[0].random`",
            ),
        ] {
            refused(local(keys), &["line ", key]);
        }
    }

    #[test]
    fn a_host_is_a_name_and_an_origin_is_not_everything() {
        for nonsense in ["a.example:80", "http://a.example", "*", ""] {
            refused(
                setting(&format!("hosts = [\"{nonsense}\"]")),
                &["line 1", "`hosts", "gateway.example"],
            );
        }
        for nonsense in ["*", "null", "app.example", "https://app.example/"] {
            refused(
                setting(&format!("cors_origins = [\"{nonsense}\"]")),
                &["line 1", "`cors_origins", "https://app.example"],
            );
        }
    }

    #[test]
    fn attempts_are_at_least_one() {
        refused(setting("max_attempts = 0"), &["line 1", "0"]);
        refused(setting("max_attempts = -1"), &["line 1", "-1"]);
    }

    #[test]
    fn a_file_without_a_provider_is_refused() {
        refused(read("seed = 7\n"), &["names no provider", "[[provider]]"]);
    }

    #[test]
    fn provider_names_are_unique_and_fit_into_a_header() {
        let twice = "[[provider]]\nname = \"openrouter\"\n".repeat(2);
        refused(read(&twice), &["two providers", "\"openrouter\""]);
        for name in [
            "", "a/b", "a b", "naïve", "a\\n", "#2", "a#", "a#b", "a#2#3",
        ] {
            refused(
                read(&format!("[[provider]]\nname = \"{name}\"\n")),
                &["line 2", "letters, digits"],
            );
        }
        refused(
            read("[[provider]]\nbase_url = \"http://a/v1\"\n"),
            &["line 1", "`name`"],
        );
    }

    #[test]
    fn a_second_key_of_one_service_is_a_provider_of_its_own() {
        let config = read(
            "[[provider]]\nname = \"openrouter\"\n[[provider]]\nname = \"openrouter#2\"\nkey_env = \"LOCAL_KEY\"\n",
        );
        let names = config.map(|config| {
            config
                .providers
                .into_iter()
                .map(|known| known.name)
                .collect::<Vec<_>>()
        });
        assert_eq!(names.unwrap(), ["openrouter", "openrouter#2"]);
    }

    #[test]
    fn a_name_that_is_not_known_needs_an_address() {
        refused(
            read("[[provider]]\nname = \"elsewhere\"\n"),
            &["\"elsewhere\"", "base_url"],
        );
    }

    #[test]
    fn an_address_is_absolute_and_holds_no_credential() {
        for address in [
            "127.0.0.1:9001",
            "/v1",
            "ftp://a/v1",
            "http://",
            "http://a/v1?key=b",
            "http://me:secret@a/v1",
        ] {
            let file = format!("[[provider]]\nname = \"local\"\nbase_url = \"{address}\"\n");
            refused(read(&file), &["line 3", "http://127.0.0.1:9001/v1"]);
        }
    }

    #[test]
    fn a_named_variable_must_hold_a_key() {
        refused(
            local("key_env = \"NO_KEY\"\n"),
            &["\"local\"", "NO_KEY", "not set"],
        );
        refused(
            local("key_env = \"EMPTY_KEY\"\n"),
            &["\"local\"", "EMPTY_KEY", "empty"],
        );
        refused(
            local("key_env = \"BROKEN_KEY\"\n"),
            &["\"local\"", "BROKEN_KEY", "characters"],
        );
    }

    #[test]
    fn a_credential_is_not_in_debug_output() {
        let config = local("key_env = \"LOCAL_KEY\"\n").unwrap();
        assert!(!format!("{config:?}").contains("canary"));
    }

    #[test]
    fn free_is_one_of_three_words_and_does_not_contradict_the_models() {
        assert_eq!(
            local("free = \"priced\"").unwrap().providers[0].free,
            Some(Free::Priced)
        );
        assert_eq!(
            local("free = \"plan\"").unwrap().providers[0].free,
            Some(Free::Plan)
        );
        refused(
            local("free = \"maybe\""),
            &["line 4", "`priced`", "`plan`", "`all`"],
        );
        refused(
            local("free = \"priced\"\n[[provider.model]]\nid = \"tiny\"\n"),
            &["\"local\"", "vouches"],
        );
    }

    #[test]
    fn models_have_ids_of_their_own_and_modalities_that_exist() {
        refused(
            local(&"[[provider.model]]\nid = \"tiny\"\n".repeat(2)),
            &["\"local\"", "\"tiny\" twice"],
        );
        refused(
            local("[[provider.model]]\nid = \"\"\n"),
            &["line 5", "the id of a model"],
        );
        refused(
            local("[[provider.model]]\nid = \"a\"\ninput = [\"pictures\"]\n"),
            &["line 6", "`image`"],
        );
    }

    #[test]
    fn a_model_of_images_has_a_title_and_may_have_a_size() {
        let config = local("[[provider.model]]\nid = \"me [0123]\"\nsize = \"512x768\"\n").unwrap();
        let me = &config.providers[0].models[0];
        assert_eq!((me.id.as_str(), me.size), ("me [0123]", Some((512, 768))));
        for nonsense in ["\"512\"", "512", "\"0x512\"", "\"512x-1\"", "\"big\""] {
            refused(
                local(&format!(
                    "[[provider.model]]\nid = \"me\"\nsize = {nonsense}\n"
                )),
                &["line 6", "like \"512x512\""],
            );
        }
    }

    #[test]
    fn a_file_that_can_not_be_read_is_named() {
        let error =
            Config::load(Path::new("no/such/gateway.toml"), &|_| true, &|_| None).unwrap_err();
        assert!(
            error.to_string().contains("no/such/gateway.toml"),
            "{error}"
        );
    }

    #[test]
    fn text_that_is_not_toml_is_refused_at_its_line() {
        refused(read("seed = 7\nthis is not toml\n"), &["line 2"]);
    }
}
