//! Runs this program under valgrind, one case at a time, and reads what it has counted.

use std::{
    collections::BTreeMap,
    env, fs,
    io::ErrorKind,
    process::{Command, Output},
};

use serde::Deserialize;

use crate::{Error, cases::Turn};

/// The function that [`measured_turn`] is in the symbols: only what happens in it is counted.
const MEASURED: &str = "measured_turn";

/// The modules of this crate, as they begin the names of functions.
const CRATE: &str = "tower_free_models::";
/// The modules of this bench: the service in place of an upstream, and what reads the answer.
const BENCH: &str = "instructions::";

/// Runs one turn of a case. Everything in it is counted, and nothing else.
#[inline(never)]
pub(crate) fn measured_turn(turn: Turn) {
    turn();
}

/// The instructions of all measured turns of a case.
pub(crate) fn instructions(case: &str) -> Result<u64, Error> {
    let toggle = format!("--toggle-collect=*{MEASURED}*");
    let options = [
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        &toggle,
    ];
    let output = run(&options, case)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let count = collected.and_then(|(_, count)| count.trim().parse().ok());
    match count {
        Some(count) if count > 0 => Ok(count),
        _ => Err(format!("callgrind has counted nothing of {case}:\n{said}").into()),
    }
}

/// What one function of the crate has allocated in all measured turns, by one call of another crate's function.
#[derive(Debug)]
pub(crate) struct Place {
    /// The function of this crate, without the name of the crate.
    pub(crate) function: String,
    /// The function of another crate that it calls, and that allocates for it.
    pub(crate) callee: String,
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
}

/// The allocations of all measured turns of a case, by the function of this crate that made them. Those that the bench
/// itself makes, in place of an upstream and of a client, are left out.
pub(crate) fn allocations(case: &str) -> Result<Vec<Place>, Error> {
    let path = env::temp_dir().join(format!("tower-free-models-{}.dhat", std::process::id()));
    let out = format!("--dhat-out-file={}", path.display());
    run(&["--tool=dhat", "--num-callers=500", &out], case)?;
    let text = fs::read(&path)?;
    fs::remove_file(&path)?;
    let profile: Profile = serde_json::from_slice(&text)?;
    let mut places = BTreeMap::<(String, String), (u64, u64)>::new();
    for point in &profile.pps {
        if let Some(function) = profile.function_that_allocates(point) {
            let (blocks, bytes) = places.entry(function).or_default();
            *blocks += point.tbk;
            *bytes += point.tb;
        }
    }
    if places.is_empty() {
        return Err(format!("dhat has seen no allocation in {case}").into());
    }
    let place = |((function, callee), (blocks, bytes))| Place {
        function,
        callee,
        blocks,
        bytes,
    };
    Ok(places.into_iter().map(place).collect())
}

fn run(options: &[&str], case: &str) -> Result<Output, Error> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(options)
        .arg(env::current_exe()?)
        .args(["--case", case]);
    let output = valgrind.output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            Error::from("valgrind is needed (Debian, Ubuntu: apt-get install valgrind)")
        }
        _ => Error::from(error),
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("valgrind {}: {}\n{said}", options.join(" "), output.status).into());
    }
    Ok(output)
}

/// What dhat writes, as far as it is of use here.
#[derive(Deserialize)]
struct Profile {
    pps: Vec<Point>,
    /// The frames that `Point::fs` are indices of: `0x1234: function (file:line)`.
    ftbl: Vec<String>,
}

/// Where memory is allocated: one for each different stack.
#[derive(Deserialize)]
struct Point {
    /// How many bytes were allocated.
    tb: u64,
    /// How many times.
    tbk: u64,
    /// The stack, innermost frame first.
    fs: Vec<usize>,
}

impl Profile {
    /// The function of this crate that is nearest to the allocation, and what it calls, if that is measured and not the
    /// bench's own.
    fn function_that_allocates(&self, point: &Point) -> Option<(String, String)> {
        let frames = point.fs.iter().filter_map(|&frame| self.ftbl.get(frame));
        let names: Vec<_> = frames.map(|frame| function(frame)).collect();
        let measured = names.iter().position(|name| name.contains(MEASURED))?;
        let mut callee = "";
        for name in &names[..measured] {
            if name.starts_with(BENCH) {
                return None;
            }
            if let Some(own) = name.strip_prefix(CRATE) {
                return Some((own.to_owned(), callee.to_owned()));
            }
            if *name != "UnknownInlinedFun" {
                callee = name;
            }
        }
        Some(("another crate".to_owned(), callee.to_owned()))
    }
}

/// The name of a function from its frame. Of a method of a trait it begins with the type that has it.
fn function(frame: &str) -> &str {
    let name = frame.split_once(": ").map_or(frame, |(_, name)| name);
    let name = name.rsplit_once(" (").map_or(name, |(name, _)| name);
    name.trim_start_matches(['<', '&'])
}
