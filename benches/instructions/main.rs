//! How many instructions, and how many allocations, the functions take that every request goes through.
//!
//! Unlike times, these numbers do not depend on what else the machine does. `record.toml` has them, and this bench
//! compares with it:
//!
//! ```sh
//! cargo bench --bench instructions              # counts, compares, fails if there are over 5 % more than recorded
//! cargo bench --bench instructions -- --record  # counts, and records
//! ```
//!
//! Valgrind does the counting: callgrind the instructions, dhat the allocations. This program runs itself under it, once
//! for each case. Valgrind runs on the machine's own kind of processor, so the numbers hold for that kind only; the C
//! library and `memchr` also choose their functions by whether it has AVX2.
//!
//! To see where the instructions of one case go:
//!
//! ```sh
//! valgrind --tool=callgrind --toggle-collect='*measured_turn*' target/release/deps/instructions-… --case answer
//! callgrind_annotate callgrind.out.…
//! ```

mod cases;
#[path = "../inputs/mod.rs"]
mod inputs;
mod record;
mod valgrind;

use std::process::ExitCode;

use clap::Parser;

use cases::{CASES, Case};
use record::{Comparison, Record};

/// How many turns of a case are counted; a count is their mean.
const TURNS: u32 = 10;

type Error = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Options {
    /// Given by `cargo bench`. Without it each case runs once and nothing is counted, as in `cargo test --benches`.
    #[arg(long)]
    bench: bool,
    /// Write what is counted to `record.toml`.
    #[arg(long)]
    record: bool,
    /// How many per cent more than recorded are let pass.
    #[arg(long, default_value_t = 5.0)]
    tolerance: f64,
    /// Run this case by itself, to be counted from outside.
    #[arg(long)]
    case: Option<String>,
    /// Count only the cases whose names contain this. They are not recorded.
    #[arg(conflicts_with = "record")]
    filter: Option<String>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<ExitCode, Error> {
    if let Some(name) = &options.case {
        let case = CASES.iter().find(|case| case.name == name);
        take_turns(case.ok_or("there is no such case")?, TURNS);
        return Ok(ExitCode::SUCCESS);
    }
    if !options.bench {
        CASES.iter().for_each(|case| take_turns(case, 1));
        return Ok(ExitCode::SUCCESS);
    }
    if options.record {
        count("")?.write()?;
        println!("\nrecorded in {}", record::PATH);
        return Ok(ExitCode::SUCCESS);
    }
    let recorded = Record::read()?;
    let counted = count(options.filter.as_deref().unwrap_or_default())?;
    Ok(match counted.compare(&recorded, options.tolerance) {
        Comparison::NoMore => ExitCode::SUCCESS,
        Comparison::More => ExitCode::FAILURE,
    })
}

/// Runs a case: a few turns first, so that what is made only once has been made, then those that count.
fn take_turns(case: &Case, turns: u32) {
    let mut next = (case.prepare)();
    for _ in 0..3 {
        next()();
    }
    for _ in 0..turns {
        valgrind::measured_turn(next());
    }
}

fn count(filter: &str) -> Result<Record, Error> {
    let mut record = Record::of_this_compiler()?;
    for case in CASES.iter().filter(|case| case.name.contains(filter)) {
        let instructions = valgrind::instructions(case.name)? / u64::from(TURNS);
        record
            .instructions
            .insert(case.name.to_owned(), instructions);
        if case.has_allocations {
            let places = valgrind::allocations(case.name)?;
            print_places(case.name, &places);
            let sum = |of: fn(&valgrind::Place) -> u64| {
                places.iter().map(of).sum::<u64>() / u64::from(TURNS)
            };
            record
                .allocations
                .insert(case.name.to_owned(), sum(|place| place.blocks));
            record
                .bytes
                .insert(case.name.to_owned(), sum(|place| place.bytes));
        }
    }
    Ok(record)
}

/// The allocations of a turn, by the function of this crate that makes them, and what it calls for that.
fn print_places(case: &str, places: &[valgrind::Place]) {
    let of_one = |sum: u64| sum as f64 / f64::from(TURNS);
    println!("\nallocations of {case}, and their bytes");
    for place in places {
        let (blocks, bytes) = (of_one(place.blocks), of_one(place.bytes));
        println!(
            "{blocks:>6.1}{bytes:>10.1}  {} < {:.80}",
            place.function, place.callee
        );
    }
}
