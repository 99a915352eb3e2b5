//! Scenarios: a pool of simulated providers, and what is demanded of it. Plain data, read from TOML.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    demand::DemandRule,
    pool::millis,
    weather::BurstRule,
    window::{Forgets, Millis},
};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where the scenarios of this crate are.
const OWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/simulate/scenarios");

/// One scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// The name: that of its file.
    #[serde(skip)]
    pub(crate) name: String,
    /// What it is, for the head of a column.
    pub(crate) title: String,
    /// Nothing may be tuned on it: it is for reports.
    #[serde(default)]
    pub(crate) held_back: bool,
    /// The time of day, UTC, at which it begins.
    #[serde(default)]
    pub(crate) begins_at_hour: f64,
    /// How long a caller waits for the first content, or for the whole of an answer that is not streamed. Default: 30.
    #[serde(default = "half_a_minute")]
    pub(crate) patience_s: f64,
    /// A file with providers, relative to that of the scenario.
    pool: Option<PathBuf>,
    /// Providers of its own.
    #[serde(default, rename = "provider")]
    pub(crate) providers: Vec<ProviderRule>,
    #[serde(rename = "demand")]
    pub(crate) demands: Vec<DemandRule>,
}

const fn half_a_minute() -> f64 {
    30.0
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolFile {
    #[serde(rename = "provider")]
    providers: Vec<ProviderRule>,
}

/// One provider, as it truly is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProviderRule {
    /// The name.
    pub(crate) name: String,
    /// The name of the provider, among those the crate knows, that it stands in for: with its day and its dialect.
    pub(crate) known: Option<String>,
    /// So many of the kind, with a number after the name. Default: 1.
    #[serde(default = "single")]
    pub(crate) copies: usize,
    /// The time until a refusal arrives. Default: 0.15.
    #[serde(default = "round_trip")]
    pub(crate) round_trip_s: f64,
    /// Headers of each success. `<left:NAME>`, `<limit:NAME>`, `<reset_s:NAME>` are those of the limit of that name.
    #[serde(default)]
    pub(crate) success_headers: Vec<(String, String)>,
    /// What a congested or broken model is refused with.
    #[serde(default)]
    pub(crate) busy: Refusal,
    #[serde(default, rename = "limit")]
    pub(crate) limits: Vec<LimitRule>,
    #[serde(default, rename = "outage")]
    pub(crate) outages: Vec<Outage>,
    #[serde(rename = "model")]
    pub(crate) models: Vec<ModelRule>,
}

const fn single() -> usize {
    1
}

const fn round_trip() -> f64 {
    0.15
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Counts {
    Requests,
    /// Of the prompt, and those that the request allows for the answer.
    Tokens,
    /// Requests under way.
    InFlight,
}

/// For what a limit is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Of {
    Account,
    /// Each model by itself.
    Model,
}

/// One limit of a provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitRule {
    /// What refusals and headers call it by.
    pub(crate) name: String,
    pub(crate) counts: Counts,
    pub(crate) of: Of,
    pub(crate) amount: u64,
    /// The window, in seconds. What is under way has none.
    #[serde(default)]
    pub(crate) per_s: f64,
    /// How the window forgets. Default: fixed.
    #[serde(default)]
    pub(crate) window: Forgets,
    /// The hour, UTC, at which a fixed window of a day begins.
    #[serde(default)]
    pub(crate) begins_at_hour: f64,
    /// Only for these models, where it is a limit of models. Default: all.
    #[serde(default)]
    pub(crate) models: Vec<String>,
    /// Calls that fail, or that another limit or this one refuses, count too.
    #[serde(default)]
    pub(crate) counts_failed: bool,
    /// Each success states how much is left.
    #[serde(default)]
    pub(crate) is_stated: bool,
    /// What other users of the account draw, per minute, on the mean: as much of what is counted as an amount.
    #[serde(default)]
    pub(crate) others_per_minute: f64,
    /// What says that it is used up.
    pub(crate) refusal: Refusal,
    /// What says that one request is larger than all of it. Default: the same.
    pub(crate) too_large: Option<Refusal>,
}

/// A refusal as it looks on the wire.
///
/// In headers and in the body these are filled in: `<model>`, `<limit>`, `<used>`, `<requested>`, `<left>`; the time until
/// the request would be admitted as `<reset_s>` (whole seconds), `<reset_f>` (with a fraction), `<reset_go>` (`2m59.56s`),
/// `<reset_epoch_ms>`, `<reset_epoch_s>`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Default for Refusal {
    fn default() -> Self {
        Self {
            status: 503,
            headers: Vec::new(),
            body: r#"{"error":{"message":"The model is overloaded.","code":503}}"#.to_owned(),
        }
    }
}

/// A time during which a whole provider does not work.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outage {
    pub(crate) from_s: f64,
    pub(crate) until_s: f64,
    pub(crate) kind: OutageKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutageKind {
    /// A page of a proxy, with a 502.
    Refuses,
    /// No connection.
    Unreachable,
    /// A connection, and never a response.
    Hangs,
}

/// One model of a provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelRule {
    pub(crate) id: String,
    /// So many of the kind, with a number after the id. Default: 1.
    #[serde(default = "single")]
    pub(crate) copies: usize,
    /// The context window, in tokens.
    pub(crate) window: u64,
    /// `text` and what it accepts besides: `image`.
    #[serde(default = "text")]
    pub(crate) input: Vec<String>,
    /// As in OpenRouter's listing: `tools`, `response_format`, `structured_outputs`.
    #[serde(default = "parameters")]
    pub(crate) parameters: Vec<String>,
    /// The median time to the first content.
    pub(crate) first_token_s: f64,
    /// Two thirds of all answers begin within a factor of e^`spread` of the median. Default: 0.5.
    #[serde(default = "half")]
    pub(crate) spread: f64,
    pub(crate) tokens_per_s: f64,
    pub(crate) bursts: Option<BurstRule>,
    /// The probability that a call gets a head and then nothing.
    #[serde(default)]
    pub(crate) stalls: f64,
    /// The probability of an error within a 200.
    #[serde(default)]
    pub(crate) errors_in_200: f64,
    /// The probability of a 503, at any time.
    #[serde(default)]
    pub(crate) breaks: f64,
    /// It is there from this second on. Default: from the beginning.
    #[serde(default)]
    pub(crate) from_s: f64,
    /// It is there until this second. Default: to the end.
    #[serde(default = "for_ever")]
    pub(crate) until_s: f64,
}

fn text() -> Vec<String> {
    vec!["text".to_owned()]
}

fn parameters() -> Vec<String> {
    ["max_tokens", "temperature", "tools", "tool_choice"]
        .map(str::to_owned)
        .into()
}

const fn half() -> f64 {
    0.5
}

const fn for_ever() -> f64 {
    f64::INFINITY
}

impl Scenario {
    /// The scenario of this name among those of the crate, or in this file.
    pub(crate) fn load(name: &str) -> Result<Self, BoxError> {
        let own = Path::new(OWN).join(format!("{name}.toml"));
        let path = if own.exists() {
            own
        } else {
            PathBuf::from(name)
        };
        Self::read(&path).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// All scenarios of the crate, by name.
    pub(crate) fn all() -> Result<Vec<Self>, BoxError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(OWN)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                names.extend(
                    path.file_stem()
                        .map(|stem| stem.to_string_lossy().into_owned()),
                );
            }
        }
        names.sort();
        names.iter().map(|name| Self::load(name)).collect()
    }

    fn read(path: &Path) -> Result<Self, BoxError> {
        let mut scenario: Self = parse(&fs::read_to_string(path)?)?;
        scenario.name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Some(pool) = &scenario.pool {
            let path = path.parent().unwrap_or_else(|| Path::new(".")).join(pool);
            let text = fs::read_to_string(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let pool: PoolFile =
                parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
            scenario.providers.extend(pool.providers);
        }
        if scenario.providers.is_empty() {
            return Err("there is neither a `pool` nor a `[[provider]]`".into());
        }
        Ok(scenario)
    }

    /// The simulated time during which requests arrive, at least.
    pub(crate) fn length(&self) -> Millis {
        let ends = self
            .demands
            .iter()
            .map(|demand| millis(demand.from_s + demand.for_s));
        ends.max().unwrap_or(0)
    }

    /// A scenario from the text of a file that names no pool.
    #[cfg(test)]
    pub(crate) fn parse(text: &str) -> Self {
        let scenario: Self = parse(text).expect("a scenario");
        assert!(scenario.pool.is_none());
        scenario
    }
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, BoxError> {
    Ok(toml::from_str(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_scenarios_of_the_crate_can_be_read_and_half_of_them_are_held_back() {
        let all = Scenario::all().expect("scenarios");
        let held_back = all.iter().filter(|scenario| scenario.held_back).count();
        assert!(all.len() >= 14);
        assert_eq!(held_back * 2, all.len());
    }
}
