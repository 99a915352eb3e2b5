//! What do the layers make of a free tier? A simulator, in which a day takes a second.
//!
//! The layers of this crate run as they are, around simulated providers with the rules of real ones: limits of requests, of
//! tokens and of calls under way, congestion in bursts, stalls, outages, other users of the same key, models that appear
//! and vanish. Time is tokio's paused clock, which jumps to the next timer, so nothing waits.
//!
//! ```text
//! cargo run --release --example simulate                                # all scenarios that are not held back
//! cargo run --release --example simulate -- --scenario spike --seeds 8
//! cargo run --release --example simulate -- --scenario my-pool.toml --policy ours,cooldown,oracle --out report
//! cargo run --release --example simulate -- --setting 'patient = { max_wait_s = 25 }'
//! cargo run --release --example simulate -- --held-back --out report    # what nothing was tuned on
//! ```
//!
//! For each scenario and policy the report says what is served, beside an oracle that knows all limits, bursts and dice;
//! which upstream calls were in vain, and how many of these could have been known (`tally.rs` says what that means); the
//! time to the first content of streamed answers; and how often a conversation was answered by another model than the turn
//! before. `--out` writes it into a folder, with plots. The same command prints the same bytes: chance depends on the seed
//! alone, and what happens to a call does not depend on the policy, so differences between policies are theirs.
//!
//! # Policies
//!
//! `ours` is `stack(…)` with its defaults. Other settings are in `settings.toml`, or come by `--setting`; the names of
//! the fields are those of `Setting` in `policy/ours.rs`. `uniform` sends a request to a model at random, and to another if
//! that fails, six times at most. `cooldown` does the same, and leaves a model that failed alone for 60 s. `oracle` sends
//! each request where its answer begins soonest, and keeps a place for it if that is later. It takes requests in the order
//! of their arrival, so it is no proof of what is possible: where capacity is short, another order may serve a few more.
//!
//! # A pool of one's own
//!
//! A scenario is a TOML file: see `scenarios`, and `scenario.rs` and `demand.rs` for all fields. This one has a provider
//! with 30 requests in a minute, refused without a hint, and a client that asks ten times:
//!
//! ```toml
//! title = "my pool"
//!
//! [[provider]]
//! name = "mine"
//! # known = "mistral"            # stands in for a provider that the crate knows, with its dialect and its day
//!
//! [[provider.limit]]
//! name = "minute"
//! counts = "requests"            # or "tokens", "in_flight"
//! of = "account"                 # or "model"
//! amount = 30
//! per_s = 60
//! window = "rolling"             # or "fixed", "refill"
//! refusal = { status = 429, headers = [["retry-after", "<reset_s>"]], body = '{"error":{"message":"Slow down."}}' }
//!
//! [[provider.model]]
//! id = "large"
//! window = 32768
//! first_token_s = 0.8
//! tokens_per_s = 50
//! bursts = { on_s = 20, off_s = 200 }
//!
//! [[demand]]
//! name = "client"
//! for_s = 1
//! count = 1
//! turns = 10
//! think_s = 2
//! prompt_tokens = 500
//! ```
//!
//! A request that no model of the pool fits is lost for every policy. Callers wait 30 s (`patience_s`) for the first
//! content, or for the whole of an answer that is not streamed; a caller who has waited that long is gone.

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

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;

    #[test]
    fn the_example_of_the_documentation_is_a_scenario() {
        let lines = include_str!("main.rs")
            .lines()
            .map_while(|line| line.strip_prefix("//!"));
        let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line));
        let example = lines.skip_while(|line| *line != "```toml").skip(1);
        let example: Vec<_> = example.take_while(|line| *line != "```").collect();
        assert_eq!(Scenario::parse(&example.join("\n")).demands[0].turns, 10);
    }
}
