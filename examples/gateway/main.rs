//! A gateway that answers OpenAI-format requests from free models.
//!
//! For now it reads its settings and serves the simulated providers alone, each under its own path.
#![allow(dead_code)] // until the gateway's own routes use all of it

mod cli;
mod config;
mod simulated;

use std::error::Error;

use clap::Parser;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cli = cli::Cli::parse();
    let mut config = match &cli.config {
        Some(path) => config::Config::load(path, &|name| name == "openrouter", &|name| {
            std::env::var(name).ok()
        })?,
        None => config::Config::default(),
    };
    cli.override_in(&mut config);
    let listener = TcpListener::bind(config.listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, simulated::upstream(config.seed.unwrap_or(0))).await?;
    Ok(())
}
