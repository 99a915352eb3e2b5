//! The load generators: wrk, which is light and known, and the [small client](crate::client).

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use clap::ValueEnum;
use serde::Deserialize;

use crate::{
    bodies::BEFORE_NUMBER,
    client::Timing,
    machine::runs,
    process::{CoreList, pinned, role},
};

/// What sends the requests of which the rate is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Generator {
    Wrk,
    Client,
}

const MISSING: &str = "the load generator wrk is not installed: `apt-get install wrk`, `dnf install wrk`, \
                       `brew install wrk`, or https://github.com/wg/wrk; `--generator client` goes without, but \
                       that client needs more of its core and may hold up fast proxies";

/// One run of a generator.
pub(crate) struct Run<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) body: &'a Path,
    pub(crate) connections: usize,
    pub(crate) seconds: f64,
    /// The bytes of an answer until its first text.
    pub(crate) first_text: usize,
    /// Requests are numbered from here on; 0: they are all the same.
    pub(crate) number: u64,
    pub(crate) cores: &'a CoreList,
}

impl Generator {
    /// wrk, unless another is asked for.
    pub(crate) fn choose(wanted: Option<Self>) -> io::Result<Self> {
        match wanted.unwrap_or(Self::Wrk) {
            Self::Wrk if !runs("wrk", "--version") => Err(io::Error::other(MISSING)),
            chosen => Ok(chosen),
        }
    }

    pub(crate) fn run(self, run: &Run<'_>, directory: &Path) -> io::Result<Timing> {
        match self {
            Self::Wrk => run.wrk(directory),
            Self::Client => run.client(false),
        }
    }
}

impl Run<'_> {
    fn wrk(&self, directory: &Path) -> io::Result<Timing> {
        #[derive(Deserialize)]
        struct Said {
            requests: u64,
            micros: f64,
            p50: f64,
            p99: f64,
            errors: u64,
        }
        let script: PathBuf = directory.join("load.lua");
        fs::write(&script, include_str!("load.lua"))?;
        let seconds = (self.seconds.round() as u64).max(1);
        let mut command = pinned("wrk".as_ref(), self.cores);
        command
            .args(["--threads", "1", "--timeout", "30s"])
            .args(["--connections", &self.connections.to_string()])
            .args(["--duration", &format!("{seconds}s")])
            .arg("--script")
            .arg(script)
            .arg(format!("http://{}/v1/chat/completions", self.address))
            .arg("--")
            .arg(self.body)
            .args([&self.number.to_string(), BEFORE_NUMBER]);
        let said: Said = json_of(command, "RESULT ")?;
        if said.errors > 0 {
            return Err(io::Error::other(format!(
                "{} of {} requests failed",
                said.errors, said.requests
            )));
        }
        Ok(Timing {
            requests: said.requests,
            micros: said.micros,
            first_p50: None,
            p50: said.p50,
            p99: said.p99,
        })
    }

    /// With `at_a_time`, one request a connection, all of them complete at one instant.
    pub(crate) fn client(&self, at_a_time: bool) -> io::Result<Timing> {
        let mut command = role(self.cores, ["client", &self.address.to_string()])?;
        let millis = (self.seconds * 1000.0) as u64;
        command
            .arg(self.body)
            .args(["--connections", &self.connections.to_string()])
            .args(["--millis", &millis.to_string()])
            .args(["--first-text", &self.first_text.to_string()])
            .args(["--number", &self.number.to_string()]);
        if at_a_time {
            command.arg("--at-a-time");
        }
        json_of(command, "")
    }
}

/// What a command writes as JSON behind `prefix`.
fn json_of<T: for<'de> Deserialize<'de>>(mut command: Command, prefix: &str) -> io::Result<T> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().find_map(|line| line.strip_prefix(prefix));
    match (output.status.success(), found) {
        (true, Some(json)) => serde_json::from_str(json).map_err(io::Error::other),
        _ => Err(io::Error::other(format!(
            "{command:?} failed:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        ))),
    }
}
