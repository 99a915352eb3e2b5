//! Fresh processes: how long the start takes, and the memory before the first request and with many large bodies at a time.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use tokio::time::Instant;

use crate::{
    bodies,
    figures::median,
    generator::Run,
    rounds::Bench,
    workload::{AT_A_TIME, System, Workload},
};

const MIB: f64 = 1024.0 * 1024.0;

/// What was seen of one system: the median of all rounds.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) system: System,
    /// Until the first answer, in milliseconds.
    pub(crate) start: Option<f64>,
    /// In MiB, when the first answer was there.
    pub(crate) idle: Option<f64>,
    /// In MiB.
    pub(crate) peak: Option<f64>,
}

/// Starts each system anew in each round.
pub(crate) fn measure(bench: &Bench, workload: &Workload) -> io::Result<Vec<Fresh>> {
    let systems = System::ALL.map(|system| (system, Vec::new()));
    let mut systems: Vec<_> = systems.into_iter().collect();
    for _ in 0..bench.plan.rounds {
        for (system, rounds) in &mut systems {
            rounds.extend(once(bench, workload, *system)?);
        }
    }
    systems.retain(|(_, rounds)| !rounds.is_empty());
    let fresh = systems.into_iter().map(|(system, rounds)| Fresh {
        system,
        start: median(rounds.iter().map(|round| round.0)),
        idle: median(rounds.iter().filter_map(|round| round.1)),
        peak: median(rounds.iter().filter_map(|round| round.2)),
    });
    Ok(fresh.collect())
}

/// The start in milliseconds, memory at rest and at its peak in MiB.
type Once = (f64, Option<f64>, Option<f64>);

fn once(bench: &Bench, workload: &Workload, system: System) -> io::Result<Option<Once>> {
    let begun = Instant::now();
    let Some(server) = bench.start_system(system)? else {
        return Ok(None);
    };
    ask(server.address)?;
    let start = begun.elapsed().as_secs_f64() * 1e3;
    let idle = server.memory().map(|memory| memory.now as f64 / MIB);
    let run = Run {
        address: server.address,
        body: &bench.body_of(workload),
        connections: if bench.plan.is_smoke { 2 } else { AT_A_TIME },
        seconds: 0.0,
        first_text: 1,
        number: 0,
        cores: bench.other_cores(),
    };
    run.client(true)?;
    let peak = server.memory().map(|memory| memory.peak as f64 / MIB);
    Ok(Some((start, idle, peak)))
}

/// One small request, without a runtime: its start would be measured too.
fn ask(address: SocketAddr) -> io::Result<()> {
    let body = bodies::small();
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    match answer.starts_with(b"HTTP/1.1 200 ") {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "the first answer is {}",
            String::from_utf8_lossy(&answer)
        ))),
    }
}
