//! A gateway that answers OpenAI-format requests from free models.
//!
//! `cargo run --example gateway` needs nothing: without keys it serves a pool of simulated models. With a
//! provider's key in the environment it uses that provider, with `--config FILE` exactly what the file says.

mod alarm;
mod cli;
mod client;
mod config;
mod environment;
mod models;
mod page;
mod pool;
mod server;
mod simulated;
mod status;

use std::{error::Error, process::ExitCode, time::Duration};

use clap::Parser;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tower_free_models::{Catalog, FreeRule, HealthMap, KnownProvider, Provider};
use tracing_subscriber::EnvFilter;

use crate::{cli::Cli, config::Config, environment::Unbilled, pool::Source, server::Gateway};

type BoxError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .init();
    match run(&Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
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

    let mut sources = config
        .providers
        .iter()
        .map(|provider| Source::from_config(provider, &variable))
        .collect::<Result<Vec<_>, _>>()?;
    if cli.config.is_none() {
        let known = KnownProvider::all();
        let unbilled = Unbilled::said(cli.plan.as_deref(), known, &variable)?;
        let offered = environment::offered(known, cli.keyless, &unbilled, &variable);
        offered
            .left_out
            .iter()
            .for_each(|why| println!("left out: {why}"));
        sources = offered.providers.into_iter().map(Source::listed).collect();
        if sources.is_empty() {
            sources = simulate(&mut config, offered.why_none).await?;
        }
    }

    let (client, catalog) = (client::client(), Catalog::new());
    let health = config.seed.map_or_else(HealthMap::new, HealthMap::seeded);
    let refresh = pool::fill(sources, &config, client.clone(), &catalog, &health).await?;
    if catalog.snapshot().is_empty() {
        println!("{}", pool::waiting_for(&catalog.snapshot())?);
    }
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", config.listen))?;
    let address = listener.local_addr()?;
    println!("{} free models in the pool", catalog.snapshot().len());
    println!("listening on http://{address}\n\nTry it:\n");
    println!("  curl http://{address}/v1/chat/completions -H 'content-type: application/json' \\");
    println!(
        "    -d '{{\"model\": \"free\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello!\"}}]}}' -i\n"
    );

    tokio::spawn(alarm::watch(health.clone()));
    let gateway = Gateway {
        catalog,
        health,
        reports: refresh.reports(),
    };
    tokio::spawn(refresh.run(client.clone()));
    let router = server::router(gateway, &config, client);
    serve(listener, router, config.shutdown_grace).await
}

/// The simulated pool, on a port of its own, and its providers.
async fn simulate(config: &mut Config, why: &str) -> Result<Vec<Source>, BoxError> {
    println!("*** SIMULATED MODELS: {why}, so all answers are made up. ***");
    println!(
        "*** They are rate limited, fail and recover like real ones; every answer says x-free-simulated: true. ***"
    );
    // A simulated model that stalls does so for 8 s; what a newcomer should see is the fallback.
    config.first_token_timeout = config.first_token_timeout.min(Duration::from_secs(3));
    config
        .embedding_model
        .get_or_insert_with(|| simulated::EMBEDDING_MODEL.to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
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

/// Serves until a signal comes; then lets what is under way end within the grace.
async fn serve(
    listener: TcpListener,
    router: axum::Router,
    grace: Duration,
) -> Result<(), BoxError> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let (stop, mut stopping) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        println!(
            "stopping: what is under way may take {} s more",
            grace.as_secs()
        );
        let _ = stop.send(true);
        // Who asks twice does not want to wait.
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
    let mut asked = stopping.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    });
    tokio::select! {
        served = server.into_future() => Ok(served?),
        () = async {
            let _ = asked.wait_for(|stop| *stop).await;
            tokio::time::sleep(grace).await;
        } => Ok(()),
    }
}
