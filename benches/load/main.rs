//! What the gateway costs under load, next to proxies that do less.
//!
//! `cargo bench --bench load` starts an upstream, three proxies and the gateway, lets them take turns, prints tables, and
//! writes `docs/speed.md`. It needs [wrk](https://github.com/wg/wrk), and takes about half an hour.
//!
//! ```text
//! cargo bench --bench load -- --only 1k --only paced      # these workloads, nothing is written
//! cargo bench --bench load -- --quick                     # a smoke run of seconds
//! cargo bench --bench load -- --cores 2                   # the proxies on two cores
//! ```
//!
//! `workload` says what is sent, `rounds` measures, `report` writes. `upstream`, `proxy` and `client` are roles that the bench
//! starts its own program in.

mod bodies;
mod client;
mod figures;
mod fresh;
mod gateway;
mod generator;
mod machine;
mod process;
mod proxy;
mod report;
mod rounds;
mod upstream;
mod workload;

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use http::uri::Authority;

use crate::{
    client::Load,
    generator::Generator,
    machine::Cores,
    rounds::{Bench, Plan},
};

type BoxError = Box<dyn Error + Send + Sync>;

#[derive(Debug, Parser)]
#[command(name = "load")]
struct Options {
    #[command(subcommand)]
    role: Option<Role>,
    /// Look whether everything works, in seconds; the figures mean little
    #[arg(long)]
    quick: bool,
    /// Only this workload; can be repeated
    #[arg(long, value_name = "WORKLOAD", value_parser = workload_names())]
    only: Vec<String>,
    /// Only with so many connections, where a workload has that number; can be repeated
    #[arg(long, value_name = "N")]
    connections: Vec<usize>,
    /// How often each system is measured at each workload
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// How many cores the proxy under test gets
    #[arg(long, value_name = "N", default_value_t = 1)]
    cores: usize,
    /// Write the page here [default: docs/speed.md, where nothing is left out]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What sends the requests [default: wrk]
    #[arg(long, value_name = "GENERATOR")]
    generator: Option<Generator>,
    /// What `cargo bench` adds; without it, as in `cargo test --benches`, this is a smoke run
    #[arg(long, hide = true)]
    bench: bool,
    /// A smoke run
    #[arg(long, hide = true)]
    test: bool,
}

/// What a process of the bench does.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
enum Role {
    Upstream,
    Proxy {
        kind: proxy::Kind,
        upstream: Authority,
    },
    Client(Load),
}

fn workload_names() -> impl clap::builder::TypedValueParser<Value = String> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(workload::ALL.iter().map(|workload| workload.name))
        .map(|name| name)
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.role {
        Some(Role::Upstream) => upstream::run().map_err(BoxError::from),
        Some(Role::Proxy { kind, upstream }) => proxy::run(kind, upstream).map_err(BoxError::from),
        Some(Role::Client(load)) => client::run(load),
        None => measure(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), BoxError> {
    let is_smoke = options.quick || options.test || !options.bench;
    let is_wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|n| n == name);
    let plan = Plan {
        workloads: workload::ALL
            .iter()
            .filter(|workload| is_wanted(workload.name))
            .collect(),
        connections: options.connections.clone(),
        rounds: if is_smoke { 1 } else { options.rounds.max(1) },
        is_smoke,
        generator: match is_smoke {
            true => options.generator.unwrap_or(Generator::Client),
            false => Generator::choose(options.generator)?,
        },
        cores: Cores::split(options.cores),
        directory: Path::new(env!("CARGO_TARGET_TMPDIR")).join("load"),
    };
    let machine = machine::described();
    let results = Bench::start(plan.clone())?.run(&|step| eprintln!("{step}"))?;
    let page = report::page(&results, &plan, &machine);
    println!("{page}");
    let is_whole = !is_smoke && options.only.is_empty() && options.connections.is_empty();
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/speed.md");
    if let Some(path) = options.out.clone().or_else(|| is_whole.then_some(default)) {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(&path, page)?;
        eprintln!("written to {}", path.display());
    }
    match (is_smoke, results.notes.first()) {
        (true, Some(note)) => Err(note.clone().into()),
        _ => Ok(()),
    }
}
