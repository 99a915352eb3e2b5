//! The command line: where the settings come from, and the few worth changing for one run.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;

use crate::config::Config;

/// An OpenAI-compatible gateway that answers from free models.
///
/// Point any OpenAI client at the address it prints. With providers' keys in the environment
/// (OPENROUTER_API_KEY, GROQ_API_KEY, GEMINI_API_KEY, … and GROQ_API_KEY_2 for a second account) it
/// uses those providers; with none it runs on simulated models, offline. A provider that bills an account
/// with a payment method is used only with --plan.
#[derive(Debug, Parser)]
#[command(name = "gateway")]
pub(crate) struct Cli {
    /// Use exactly what this TOML file says, instead of what the environment offers
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Listen here; port 0 lets the system choose [default: 127.0.0.1:3733]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,

    /// Also use the providers that need no key; what you send goes to them
    #[arg(long, conflicts_with = "config")]
    pub(crate) keyless: bool,

    /// Also use providers whose free tier is a plan, because their accounts cannot be billed; all means all
    /// of them [env: FREE_MODELS_PLAN]
    #[arg(long, value_name = "NAME,…", conflicts_with = "config")]
    pub(crate) plan: Option<String>,

    /// Make the choice of models reproducible, for requests sent one after another
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

impl Cli {
    /// What was said here goes before what a file says.
    pub(crate) fn override_in(&self, config: &mut Config) {
        config.listen = self.listen.unwrap_or(config.listen);
        config.seed = self.seed.or(config.seed);
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, Config};

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let mut config = Config {
            seed: Some(1),
            ..Config::default()
        };
        Cli::parse_from(["gateway"]).override_in(&mut config);
        assert_eq!((config.listen.port(), config.seed), (3733, Some(1)));

        Cli::parse_from(["gateway", "--listen", "127.0.0.1:0", "--seed", "7"])
            .override_in(&mut config);
        assert_eq!((config.listen.port(), config.seed), (0, Some(7)));
    }

    #[test]
    fn a_file_says_of_itself_which_accounts_cannot_be_billed() {
        let error = Cli::try_parse_from(["gateway", "--config", "f.toml", "--plan", "groq"]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("--plan"), "{error}");
    }

    #[test]
    fn an_address_without_a_port_is_refused() {
        let error = Cli::try_parse_from(["gateway", "--listen", "localhost"]).unwrap_err();
        assert!(error.to_string().contains("--listen"), "{error}");
    }
}
