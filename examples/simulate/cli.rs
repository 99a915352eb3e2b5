//! The command line.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf, thread};

use clap::Parser;

use crate::{
    policy::{Policy, Setting},
    scenario::{BoxError, Scenario},
};

/// Compares this crate's layers with other policies, against simulated providers in simulated time.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
pub(crate) struct Cli {
    /// A scenario: a name, or a file. Default: all that are not held back. May be given several times.
    #[arg(long, value_name = "NAME|FILE", value_delimiter = ',')]
    scenario: Vec<String>,

    /// The policies: names of `settings.toml`, of `--setting`, `uniform`, `cooldown`, `oracle`.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "ours,uniform,cooldown,oracle"
    )]
    policy: Vec<String>,

    /// A setting of the layers, as TOML, which is a policy too: 'patient = { max_wait_s = 25 }'.
    #[arg(long, value_name = "NAME = { … }")]
    setting: Vec<String>,

    /// This seed alone.
    #[arg(long)]
    seed: Option<u64>,

    /// So many seeds: even ones, or odd ones with `--held-back`.
    #[arg(long, value_name = "N", default_value_t = 2)]
    seeds: u64,

    /// The scenarios and the seeds that nothing was tuned on, and no others.
    #[arg(long)]
    held_back: bool,

    /// A folder for the tables and the plots.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// How many runs at a time. Default: as many as the machine has threads.
    #[arg(long, default_value_t = threads())]
    pub(crate) jobs: usize,
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The settings that have names.
const SETTINGS: &str = include_str!("settings.toml");

impl Cli {
    pub(crate) fn scenarios(&self) -> Result<Vec<Scenario>, BoxError> {
        if !self.scenario.is_empty() {
            return self
                .scenario
                .iter()
                .map(|name| Scenario::load(name))
                .collect();
        }
        let mut all = Scenario::all()?;
        all.retain(|scenario| scenario.held_back == self.held_back);
        Ok(all)
    }

    pub(crate) fn policies(&self) -> Result<Vec<Policy>, BoxError> {
        let mut settings = Vec::new();
        for text in [SETTINGS]
            .into_iter()
            .chain(self.setting.iter().map(String::as_str))
        {
            let some: BTreeMap<String, Setting> = toml::from_str(text)?;
            settings.extend(some);
        }
        self.policy
            .iter()
            .chain(&self.named()?)
            .map(|name| Policy::named(name, &settings))
            .collect()
    }

    /// The settings of the command line: they are compared without being named again.
    fn named(&self) -> Result<Vec<String>, BoxError> {
        let mut names = Vec::new();
        for text in &self.setting {
            let some: BTreeMap<String, toml::Value> = toml::from_str(text)?;
            names.extend(some.into_keys().filter(|name| !self.policy.contains(name)));
        }
        Ok(names)
    }

    pub(crate) fn seeds(&self) -> Vec<u64> {
        match self.seed {
            Some(seed) => vec![seed],
            None => (0..self.seeds)
                .map(|n| n * 2 + u64::from(self.held_back))
                .collect(),
        }
    }
}
