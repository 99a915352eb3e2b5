//! A gateway that answers OpenAI-format requests from free models.
#![allow(dead_code)] // until the gateway's own routes use all of it

mod cli;
mod config;

use clap::Parser;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cli = cli::Cli::parse();
    let mut config = match &cli.config {
        Some(path) => config::Config::load(path, &|name| name == "openrouter", &|name| {
            std::env::var(name).ok()
        })?,
        None => config::Config::default(),
    };
    cli.override_in(&mut config);
    println!("{config:#?}");
    Ok(())
}
