//! The command line: where the settings come from, and the few worth changing for one run.

use std::{num::NonZeroUsize, path::PathBuf, thread};

use clap::Parser;

use crate::{config::Config, host::Name, listen::Listen, origin::Origin, selector::Selector};

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

    /// Listen here: an address or a name with a port, or a port at 127.0.0.1; port 0 lets the system choose [default:
    /// 127.0.0.1:3733]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<Listen>,

    /// Listen where other machines can reach it without asking callers for a key
    #[arg(long)]
    pub(crate) open: bool,

    /// Ask callers for one of the keys that this environment variable holds, separated by commas
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) access_keys_env: Option<String>,

    /// Also answer under this name; localhost and addresses in digits always work. Can be repeated
    #[arg(long = "host", value_name = "NAME", value_parser = host)]
    pub(crate) hosts: Vec<Name>,

    /// Let the web pages of this origin use the gateway, like http://localhost:8000. Can be repeated
    #[arg(long = "cors-origin", value_name = "ORIGIN", value_parser = origin)]
    pub(crate) cors_origins: Vec<Origin>,

    /// Also use the providers that need no key; what you send goes to them
    #[arg(long, conflicts_with = "config")]
    pub(crate) keyless: bool,

    /// Also use these providers, whose free tier is a plan: you say that your accounts there cannot be billed. Can be
    /// repeated; all means all of them [env: FREE_MODELS_PLAN]
    #[arg(long, value_name = "NAME,…", conflicts_with = "config")]
    pub(crate) plan: Vec<String>,

    /// Which of the equally good models a request gets [default: random]
    #[arg(long, value_name = "NAME")]
    pub(crate) selector: Option<Selector>,

    /// Make the choice of models reproducible, for requests sent one after another
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Serve connections in so many threads [default: one for each core that the process may use]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

impl Cli {
    /// How many threads serve connections: as many as were asked for, or as there are cores to use.
    pub(crate) fn threads(&self) -> NonZeroUsize {
        let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.threads.unwrap_or_else(cores)
    }

    /// What was said here goes before what a file says, and lists are added to the file's.
    pub(crate) fn override_in(&self, config: &mut Config) {
        if let Some(listen) = &self.listen {
            config.listen = listen.clone();
        }
        if let Some(variable) = &self.access_keys_env {
            config.access_keys_env = Some(variable.clone());
        }
        config.hosts.extend_from_slice(&self.hosts);
        config.cors_origins.extend_from_slice(&self.cors_origins);
        config.selector = self.selector.unwrap_or(config.selector);
        config.seed = self.seed.or(config.seed);
    }
}

fn host(text: &str) -> Result<Name, &'static str> {
    Name::parse(text).ok_or("this is not a name without a port")
}

fn origin(text: &str) -> Result<Origin, &'static str> {
    Origin::parse(text).ok_or("this is not an origin like https://app.example")
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, Config, Name, Selector};

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let mut config = Config {
            seed: Some(1),
            selector: Selector::Sticky,
            ..Config::default()
        };
        Cli::parse_from(["gateway"]).override_in(&mut config);
        assert_eq!(config.listen.to_string(), "127.0.0.1:3733");
        assert_eq!(config.seed, Some(1));
        assert_eq!(config.selector, Selector::Sticky);

        let said = [
            "gateway",
            "--listen",
            ":0",
            "--seed",
            "7",
            "--selector",
            "ordered",
        ];
        Cli::parse_from(said).override_in(&mut config);
        assert_eq!(config.listen.to_string(), "127.0.0.1:0");
        assert_eq!(config.seed, Some(7));
        assert_eq!(config.selector, Selector::Ordered);
    }

    #[test]
    fn a_selector_that_is_none_is_refused_with_all_names_and_the_nearest() {
        let error = Cli::try_parse_from(["gateway", "--selector", "stikcy"]).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("random, uniform, fastest, sticky, ordered"),
            "{error}"
        );
        assert!(error.contains("similar value exists: 'sticky'"), "{error}");
    }

    #[test]
    fn hosts_and_origins_are_added_to_those_of_the_file() {
        let mut config = Config {
            hosts: vec![Name::Dns("box".to_owned())],
            ..Config::default()
        };
        let said = [
            "gateway",
            "--host",
            "Gateway.example",
            "--cors-origin",
            "http://localhost:8000",
            "--cors-origin=https://app.example",
            "--access-keys-env",
            "KEYS",
        ];
        Cli::parse_from(said).override_in(&mut config);
        let hosts: Vec<_> = config.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["box", "gateway.example"]);
        assert_eq!(config.cors_origins.len(), 2);
        assert_eq!(config.access_keys_env.as_deref(), Some("KEYS"));
        for wrong in [["--host", "a:80"], ["--cors-origin", "*"]] {
            assert!(Cli::try_parse_from(["gateway", wrong[0], wrong[1]]).is_err());
        }
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
