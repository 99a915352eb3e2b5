//! A simulator.
mod cli;
mod demand;
mod dice;
mod limit;
mod plot;
mod policy;
mod pool;
mod report;
mod run;
mod runs;
mod scenario;
mod tally;
mod upstream;
mod weather;
mod window;
mod wire;
mod world;

use std::fs;

use clap::Parser as _;

use crate::{cli::Cli, report::overview, scenario::BoxError};

fn main() -> Result<(), BoxError> {
    let cli = Cli::parse();
    let comparisons = runs::all(&cli.scenarios()?, &cli.policies()?, &cli.seeds(), cli.jobs)?;
    let mut text = overview(&comparisons);
    text.extend(comparisons.iter().map(|comparison| comparison.markdown()));
    if let Some(folder) = &cli.out {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("simulation.md"), &text)?;
        plot::all(&comparisons, folder)?;
    }
    print!("{text}");
    Ok(())
}
