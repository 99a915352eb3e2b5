//! What decides where a request is sent: the layers of the crate, and what they are compared with.

mod oracle;
mod ours;
mod random;

use tokio::time::Instant;
use tower_free_models::{Catalog, HealthMap};

pub(crate) use self::ours::Setting;
use self::{oracle::Oracle, ours::Ours, random::Random};
use crate::{demand::Ask, run::Stage, scenario::BoxError, window::Millis};

/// A policy.
#[derive(Clone, Debug)]
pub(crate) enum Policy {
    /// The layers, with a setting of this name.
    Ours(String, Box<Setting>),
    /// A model at random, and another one if it fails: as many attempts as the layers make.
    Uniform,
    /// The same, and a model that failed is left alone for 60 s.
    Cooldown,
    /// Knows every limit, every burst and every die. It sends each request, in the order of their arrival, where its answer
    /// begins soonest, and keeps a place for it there if that is later.
    Oracle,
}

/// One who sends requests by a policy.
#[derive(Clone)]
pub(crate) enum Client {
    Ours(Ours),
    Random(Random),
    Oracle(Oracle),
}

/// What a caller gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Served {
        /// From the arrival of the request to the first content, or to the whole of an answer that is not streamed.
        first: Millis,
        model: usize,
    },
    /// Why there was no answer.
    Lost(String),
}

impl Policy {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Ours(name, _) => name,
            Self::Uniform => "uniform",
            Self::Cooldown => "cooldown",
            Self::Oracle => "oracle",
        }
    }

    /// The policy of this name, or the layers with that one of the settings.
    pub(crate) fn named(name: &str, settings: &[(String, Setting)]) -> Result<Self, BoxError> {
        Ok(match name {
            "uniform" => Self::Uniform,
            "cooldown" => Self::Cooldown,
            "oracle" => Self::Oracle,
            _ => {
                let known = settings.iter().find(|(known, _)| known == name);
                let (name, setting) = known.ok_or_else(|| format!("no policy is called {name}"))?;
                Self::Ours(name.clone(), Box::new(setting.clone()))
            }
        })
    }

    pub(crate) fn client(&self, stage: &Stage, catalog: Catalog, health: HealthMap) -> Client {
        match self {
            Self::Ours(_, setting) => Client::Ours(Ours::new(setting, stage, catalog, health)),
            Self::Uniform => Client::Random(Random::new(stage, None)),
            Self::Cooldown => Client::Random(Random::new(stage, Some(60_000))),
            Self::Oracle => Client::Oracle(Oracle::new(stage)),
        }
    }
}

impl Client {
    /// Sends a request, and waits for the end of its answer.
    pub(crate) async fn serve(&self, ask: &Ask, arrived: Instant) -> Reply {
        match self {
            Self::Ours(ours) => ours.serve(ask, arrived).await,
            Self::Random(random) => random.serve(ask, arrived).await,
            Self::Oracle(oracle) => oracle.serve(ask).await,
        }
    }
}

/// Why there was no answer: the caller did not wait longer.
const OUT_OF_PATIENCE: &str = "out of patience";

fn millis_since(instant: Instant) -> Millis {
    instant.elapsed().as_millis() as Millis
}
