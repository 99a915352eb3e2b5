//! The machine and the code that the figures are of.

use std::{fs, process::Command};

use crate::process::CoreList;

/// Which cores are whose.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    /// Of the proxy under test.
    pub(crate) proxy: CoreList,
    /// Of the load generator and the upstream.
    pub(crate) others: CoreList,
    /// How that was done, in words.
    pub(crate) words: String,
}

impl Cores {
    /// Gives the proxy so many of the cores that this process may use, and the rest to the others.
    pub(crate) fn split(wanted: usize) -> Self {
        let allowed = allowed();
        let unpinned = |why: &str| Self {
            proxy: None,
            others: None,
            words: format!("**not pinned** ({why}): all processes share the cores"),
        };
        if allowed.len() < 2 {
            return unpinned("one core, or this system does not say which there are");
        }
        if !runs("taskset", "--version") {
            return unpinned("there is no taskset");
        }
        let list = |cores: &[String]| Some(cores.join(","));
        let (proxy, others) = allowed.split_at(wanted.clamp(1, allowed.len()));
        let count = proxy.len();
        let noun = if count == 1 { "core" } else { "cores" };
        match others.is_empty() {
            true => Self {
                proxy: list(&allowed),
                others: list(&allowed),
                words: format!(
                    "proxies on {count} {noun}, **which they share** with the load generator and the upstream, because there \
                     are no others: only CPU per request tells much here"
                ),
            },
            false => Self {
                proxy: list(proxy),
                others: list(others),
                words: format!(
                    "the proxy under test on {count} {noun}, load generator and upstream on {} other",
                    others.len()
                ),
            },
        }
    }

    /// Whether the proxy shares its cores with no other process of the bench.
    pub(crate) fn is_own(&self) -> bool {
        self.proxy != self.others
    }
}

/// The numbers of the cores that this process may use.
fn allowed() -> Vec<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let ranges = list.unwrap_or_default().trim().split(',');
    let cores = ranges.filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u32>().ok()?..=last.parse().ok()?)
    });
    cores.flatten().map(|core| core.to_string()).collect()
}

/// Whether there is such a program.
pub(crate) fn runs(program: &str, argument: &str) -> bool {
    Command::new(program).arg(argument).output().is_ok()
}

/// The machine, the system, the compiler, the commit and the day, one a line.
pub(crate) fn described() -> String {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let changed = match said(
        "git",
        &[
            "status",
            "--porcelain",
            "--",
            "src",
            "examples",
            "Cargo.toml",
        ],
    ) {
        Some(changes) if !changes.is_empty() => ", with changes",
        _ => "",
    };
    let unknown = || "unknown".to_owned();
    format!(
        "- machine: {cores} cores, {model}, {} {}; load average before the run {load}\n\
         - code: commit {}{changed}, {}\n\
         - day: {}\n",
        std::env::consts::OS,
        fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim(),
        said("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_else(unknown),
        said("rustc", &["--version"]).unwrap_or_else(unknown),
        jiff::Timestamp::now().strftime("%Y-%m-%d"),
    )
}

/// What a command writes to its stdout.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
