//! A gateway that answers OpenAI-format requests from free models.
//!
//! `cargo run --example gateway` needs nothing: without keys it serves a pool of simulated models. With a
//! provider's key in the environment it uses that provider, with `--config FILE` exactly what the file says.

// They panic where the other end of stdout or stderr has gone away: see `say`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod accept;
mod access;
mod activity;
mod alarm;
mod cli;
mod client;
mod config;
mod connection;
mod environment;
mod front;
mod gather;
mod guard;
mod handover;
mod host;
mod listen;
mod models;
mod origin;
mod page;
mod pool;
mod refusal;
mod say;
mod selector;
mod server;
mod signals;
mod simulated;
mod status;
mod workers;

use std::{error::Error, io::Write as _, net::SocketAddr, process::ExitCode, time::Duration};

use axum::serve::ListenerExt as _;
use clap::Parser;
use tokio::net::TcpListener;
use tower_free_models::{
    Catalog, HealthMap, Provider,
    provider::{FreeRule, KnownProvider},
};
use tracing_subscriber::EnvFilter;

use crate::{
    accept::Limits, access::AccessKeys, cli::Cli, config::Config, environment::Unbilled,
    front::Site, pool::Source, say::say, server::Gateway, signals::Signals, workers::Workers,
};

type BoxError = Box<dyn Error + Send + Sync>;

/// What is not on the way of a request happens in this thread: accepting connections, reading listings, signals.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        // Or a line that cannot be written is complained about with `esay!`.
        .log_internal_errors(false)
        .init();
    match run(&Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> Result<(), BoxError> {
    let variable = environment::variable;
    let mut config = match &cli.config {
        Some(path) => Config::load(path, &|name| Provider::known(name).is_some(), &variable)
            .map_err(|error| error.to_string())?,
        None => Config::default(),
    };
    cli.override_in(&mut config);
    let keys = config.access_keys_env.as_deref();
    let keys = keys
        .map(|name| AccessKeys::from_variable(name, &variable))
        .transpose()?;
    // Before providers are asked for anything: what is wrong with it is seen at once.
    let listener = config.listen.bind(cli.open || keys.is_some()).await?;
    let address = listener.local_addr()?;

    let mut sources = config
        .providers
        .iter()
        .map(|provider| Source::from_config(provider, &variable))
        .collect::<Result<Vec<_>, _>>()?;
    if cli.config.is_none() {
        let known = KnownProvider::all();
        let unbilled = Unbilled::said(&cli.plan, known, &variable)?;
        let offered = environment::offered(known, cli.keyless, &unbilled, &variable);
        offered
            .left_out
            .iter()
            .for_each(|why| say!("left out: {why}"));
        sources = offered.providers.into_iter().map(Source::listed).collect();
        if sources.is_empty() {
            sources = simulate(&mut config, offered.why_none).await?;
        }
    }

    let order = sources
        .iter()
        .map(|source| source.provider.name().to_owned());
    let order = order.collect();
    let (connector, catalog) = (client::connector(), Catalog::new());
    let client = client::client(connector.clone());
    let health = config.seed.map_or_else(HealthMap::new, HealthMap::seeded);
    alarm::listen(&health);
    let refresh = pool::fill(sources, &config, client.clone(), &catalog, &health).await?;
    if catalog.snapshot().is_empty() {
        say!("{}", pool::waiting_for(&catalog.snapshot())?);
    }
    if keys.is_none() && !address.ip().to_canonical().is_loopback() {
        say!("*** OPEN: other machines can reach this gateway, and callers need no key. ***");
    }
    say!("{} free models in the pool", catalog.snapshot().len());
    say!("listening on http://{address}\n\nTry it:\n");
    say!("{}\n", first_request(address, keys.is_some()));

    let gateway = Gateway {
        catalog,
        health,
        order,
        reports: refresh.reports(),
    };
    tokio::spawn(refresh.run(client));
    let site = Site::new(gateway, &config, keys);
    let routes = || site.front(client::client(connector.clone()));
    let workers = Workers::start(cli.threads(), routes)?;
    let limits = Limits {
        connections: accept::MOST,
        idle_timeout: config.idle_timeout,
        grace: config.shutdown_grace,
    };
    let stop = stop(Signals::listen()?, limits.grace);
    accept::serve(listener, &workers, limits, stop).await;
    Ok(())
}

/// A command that a newcomer can copy. Where callers need a key, the shell takes it from a variable.
fn first_request(address: SocketAddr, needs_key: bool) -> String {
    let key = match needs_key {
        true => "-H \"authorization: Bearer $ONE_OF_THE_KEYS\" ",
        false => "",
    };
    format!(
        "  curl http://{address}/v1/chat/completions {key}-H 'content-type: application/json' \\\n    \
         -d '{{\"model\": \"free\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello!\"}}]}}' -i"
    )
}

/// Resolves at the first signal. A second one ends the gateway without waiting for requests under way.
async fn stop(mut signals: Signals, grace: Duration) {
    signals.next().await;
    say!(
        "stopping: what is under way may take {} s more",
        grace.as_secs()
    );
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(130);
    });
}

/// The simulated pool, on a port of its own, and its providers.
async fn simulate(config: &mut Config, why: &str) -> Result<Vec<Source>, BoxError> {
    say!("*** SIMULATED MODELS: {why}, so all answers are made up. ***");
    say!(
        "*** They are rate limited, fail and recover like real ones; every answer says x-free-simulated: true. ***"
    );
    // A simulated model that stalls does so for 8 s; what a newcomer should see is the fallback.
    config.first_token_timeout = config.first_token_timeout.min(Duration::from_secs(3));
    config
        .embedding_model
        .get_or_insert_with(|| simulated::EMBEDDING_MODEL.to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let upstream =
        simulated::upstream(config.seed.unwrap_or_else(|| u64::from(std::process::id())));
    tokio::spawn(async move { axum::serve(listener, upstream).await });
    simulated::PROVIDERS
        .iter()
        .map(|provider| {
            let name = provider.name;
            let provider = Provider::new(name)
                .base_url(&format!("http://{address}/{name}/v1"))
                .key(provider.key)
                .free(FreeRule::Priced);
            Ok(Source::listed(provider.build()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::first_request;

    #[test]
    fn the_first_request_carries_a_key_where_callers_need_one() {
        let address = ([127, 0, 0, 1], 3733).into();
        assert!(first_request(address, true).contains("authorization: Bearer $"));
        assert!(!first_request(address, false).contains("authorization"));
    }
}
