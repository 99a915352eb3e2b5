//! The measurement: round after round, and in each all systems one after another for each workload, so that what disturbs the
//! machine for a while disturbs all of them.

use std::{fs, io, path::PathBuf, time::Duration};

use clap::ValueEnum as _;

use crate::{
    figures::median,
    fresh::{self, Fresh},
    gateway::{self, Pool},
    generator::{Generator, Run},
    machine::Cores,
    process::{CoreList, Server, Spent, role},
    proxy,
    upstream::{self, Counts, Mode},
    workload::{Kind, System, Workload},
};

/// Connections that the load generator has broken off are gone after this.
const SETTLED: Duration = Duration::from_millis(20);

/// A proxy that is at work for this part of the time, or waits for its core, limits the rate itself.
const FULL: f64 = 0.9;

/// On a quiet machine a proxy waits for its core for less than this part of the time.
const QUIET: f64 = 0.05;

/// How long a run takes in a smoke run, and in the round that warms up; in seconds.
const SMOKE: f64 = 0.01;
const WARM_UP: f64 = 0.2;

/// No run sends as many requests.
const NUMBERS: u64 = 1_000_000_000;

/// How much is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) workloads: Vec<&'static Workload>,
    /// Only with so many connections; none: with all that the workloads have.
    pub(crate) connections: Vec<usize>,
    pub(crate) rounds: usize,
    /// As little as shows that everything works: the shortest runs, few connections, no warming up.
    pub(crate) is_smoke: bool,
    pub(crate) generator: Generator,
    pub(crate) cores: Cores,
    /// For files of the run.
    pub(crate) directory: PathBuf,
}

/// One run of one system. Times are in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Requests a second.
    pub(crate) rate: f64,
    /// The median time until the first text, of streams.
    pub(crate) first: Option<f64>,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Of the proxy, for one request; of the upstream, where there is no proxy.
    pub(crate) cpu: Option<f64>,
    /// The part of the time that the proxy was at work; above 1 on several cores.
    pub(crate) at_work: Option<f64>,
    /// The part of the time that its threads waited for a core, on which other processes ran.
    pub(crate) queued: Option<f64>,
}

/// One system in all rounds.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) system: System,
    /// How the upstream answers.
    mode: Mode,
    pub(crate) samples: Vec<Sample>,
}

impl Series {
    pub(crate) fn median(&self, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        median(self.samples.iter().filter_map(of))
    }

    /// The median of the ratios within each round.
    pub(crate) fn ratio(&self, to: &Self, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let rounds = self.samples.iter().zip(&to.samples);
        median(rounds.filter_map(|(own, other)| Some(of(own)? / of(other)?)))
    }
}

/// What is compared: one workload at so many connections.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) workload: &'static Workload,
    pub(crate) connections: usize,
    pub(crate) series: Vec<Series>,
}

impl Group {
    fn new(workload: &'static Workload, connections: usize) -> Self {
        let series = |(system, mode)| Series {
            system,
            mode,
            samples: Vec::new(),
        };
        let of_systems = || System::ALL.map(|system| (system, workload.mode)).to_vec();
        let contestants = match workload.kind {
            Kind::Rate(_) | Kind::FirstText { .. } => of_systems(),
            Kind::Limited(_) => vec![
                (System::Gateway, Mode::Answer),
                (System::Gateway, workload.mode),
            ],
            Kind::Fresh(_) => Vec::new(),
        };
        Self {
            workload,
            connections,
            series: contestants.into_iter().map(series).collect(),
        }
    }

    /// The series of a system; where it has two, that with the plain answers.
    pub(crate) fn series_of(&self, system: System) -> Option<&Series> {
        self.series.iter().find(|series| series.system == system)
    }
}

/// All that was measured.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) groups: Vec<Group>,
    pub(crate) fresh: Vec<(&'static Workload, Vec<Fresh>)>,
    /// What a reader has to know of this run.
    pub(crate) notes: Vec<String>,
}

/// The processes of a run.
pub(crate) struct Bench {
    pub(crate) plan: Plan,
    pub(crate) gateway: PathBuf,
    upstream: Server,
    servers: Vec<(System, Server)>,
    /// The next number of a request.
    number: u64,
    notes: Vec<String>,
}

impl Bench {
    /// Builds the gateway and starts everything.
    pub(crate) fn start(plan: Plan) -> io::Result<Self> {
        let gateway = gateway::build()?;
        fs::create_dir_all(&plan.directory)?;
        let command = role(&plan.cores.others, ["upstream"])?;
        let upstream = Server::start(command, &plan.directory.join("upstream.log"))?;
        let mut bench = Self {
            plan,
            gateway,
            upstream,
            servers: Vec::new(),
            number: 1,
            notes: Vec::new(),
        };
        for system in System::ALL {
            if let Some(server) = bench.start_system(system)? {
                bench.servers.push((system, server));
            }
        }
        Ok(bench)
    }

    /// A new process of a system; `None` for that without one.
    pub(crate) fn start_system(&self, system: System) -> io::Result<Option<Server>> {
        let (cores, directory) = (&self.plan.cores.proxy, &self.plan.directory);
        let upstream = self.upstream.address;
        let proxy = |kind: proxy::Kind| {
            let name = kind
                .to_possible_value()
                .map(|value| value.get_name().to_owned());
            let name = name.unwrap_or_default();
            let command = role(cores, ["proxy", &name, &upstream.to_string()])?;
            Server::start(command, &directory.join(format!("{name}.log")))
        };
        let gateway = |pool| gateway::start(&self.gateway, upstream, pool, cores, directory);
        match system {
            System::Direct => return Ok(None),
            System::Bare => proxy(proxy::Kind::Bare),
            System::Collect => proxy(proxy::Kind::Collect),
            System::Naive => proxy(proxy::Kind::Naive),
            System::Gateway => gateway(Pool::Mixed),
            System::GatewayOfOne => gateway(Pool::One),
        }
        .map(Some)
    }

    /// Measures everything. `told` hears of each step.
    pub(crate) fn run(mut self, told: &dyn Fn(&str)) -> io::Result<Results> {
        let mut groups = Vec::new();
        for &workload in &self.plan.workloads {
            fs::write(self.body_of(workload), (workload.body)())?;
            if matches!(workload.kind, Kind::Fresh(_)) {
                continue;
            }
            let many = if self.plan.is_smoke { 1 } else { usize::MAX };
            let wanted = &self.plan.connections;
            let is_wanted = |n: &&usize| wanted.is_empty() || wanted.contains(n);
            let connections = workload.connections.iter().filter(is_wanted).take(many);
            groups.extend(connections.map(|&n| Group::new(workload, n)));
        }
        // Round 0 warms up: connections to the upstream, pools of memory, records of health.
        for round in usize::from(self.plan.is_smoke)..=self.plan.rounds {
            for group in &mut groups {
                told(&format!(
                    "round {round} of {}: {} ({}) at {}",
                    self.plan.rounds, group.workload.title, group.workload.name, group.connections
                ));
                for series in &mut group.series {
                    let at = (group.workload, group.connections);
                    let sample = self.sample(at, series.system, series.mode, round == 0)?;
                    if round > 0 {
                        series.samples.push(sample);
                    }
                }
            }
        }
        let mut fresh = Vec::new();
        let workloads = self.plan.workloads.clone();
        for workload in workloads {
            if matches!(workload.kind, Kind::Fresh(_)) {
                told(&format!(
                    "fresh processes: {} ({})",
                    workload.title, workload.name
                ));
                self.set_mode(workload.mode)?;
                fresh.push((workload, fresh::measure(&self, workload)?));
            }
        }
        self.note_limits(&groups);
        Ok(Results {
            groups,
            fresh,
            notes: self.notes,
        })
    }

    /// The file with a workload's body.
    pub(crate) fn body_of(&self, workload: &Workload) -> PathBuf {
        self.plan.directory.join(format!("{}.json", workload.name))
    }

    fn set_mode(&mut self, mode: Mode) -> io::Result<Counts> {
        let value = mode.to_possible_value();
        let line = self
            .upstream
            .ask(value.as_ref().map_or("", |value| value.get_name()))?;
        Counts::parse(&line).ok_or_else(|| io::Error::other("the upstream has ended"))
    }

    fn sample(
        &mut self,
        (workload, connections): (&Workload, usize),
        system: System,
        mode: Mode,
        warms_up: bool,
    ) -> io::Result<Sample> {
        self.set_mode(mode)?;
        let server = self.servers.iter().find(|(of, _)| *of == system);
        let server = server.map(|(_, server)| server);
        let is_stream = matches!(mode, Mode::Events | Mode::Paced);
        let generator = match workload.kind {
            Kind::FirstText { .. } => Generator::Client,
            _ if warms_up => Generator::Client,
            _ => self.plan.generator,
        };
        let run = Run {
            address: server.map_or(self.upstream.address, |server| server.address),
            body: &self.body_of(workload),
            connections,
            seconds: match (self.plan.is_smoke, warms_up) {
                (true, _) => SMOKE,
                (_, true) => WARM_UP,
                _ => workload.seconds as f64,
            },
            first_text: if is_stream {
                upstream::first_text_ends()
            } else {
                1
            },
            number: match workload.kind {
                Kind::Limited(_) => self.number,
                _ => 0,
            },
            cores: &self.plan.cores.others,
        };
        let watched = server.unwrap_or(&self.upstream);
        let before = watched.spent();
        let timing = generator.run(&run, &self.plan.directory).map_err(|error| {
            io::Error::other(format!("{}, {}: {error}", workload.title, system.title()))
        })?;
        let after = watched.spent();
        // No number comes twice: a request that was broken off has left its own behind.
        self.number += NUMBERS;
        std::thread::sleep(SETTLED);
        let counts = self.set_mode(mode)?;
        self.check(
            (workload, connections),
            system,
            mode,
            timing.requests,
            counts,
        );
        let micros = |of: fn(&Spent) -> Duration| {
            let (before, after) = before.as_ref().zip(after.as_ref())?;
            Some(of(after).saturating_sub(of(before)).as_secs_f64() * 1e6)
        };
        let (on_core, in_queue) = (
            micros(|spent| spent.on_core),
            micros(|spent| spent.in_queue),
        );
        let requests = timing.requests as f64;
        Ok(Sample {
            rate: requests / timing.micros * 1e6,
            first: timing.first_p50.filter(|_| is_stream),
            p50: timing.p50,
            p99: timing.p99,
            cpu: on_core.map(|on_core| on_core / requests),
            at_work: on_core.map(|on_core| on_core / timing.micros),
            queued: in_queue.map(|in_queue| in_queue / timing.micros),
        })
    }

    /// Each request has to reach the upstream, and the first attempts that should be refused have to be.
    fn check(
        &mut self,
        (workload, connections): (&Workload, usize),
        system: System,
        mode: Mode,
        requests: u64,
        counts: Counts,
    ) {
        // The last request of each connection may be broken off; the client sends one more on each to warm it up. wrk counts
        // some less than it has read.
        let slack = 2 * connections as u64 + 2 + requests / 200;
        let (least, most) = (requests, requests + slack);
        let limited = match mode {
            Mode::LimitedFirst => counts.limited,
            _ => counts.answered,
        };
        for (what, count) in [
            ("answered", counts.answered),
            ("limited or answered", limited),
        ] {
            if !(least..=most).contains(&count) {
                self.notes.push(format!(
                    "{} at {connections}, {}: of {requests} requests the upstream {what} {count}",
                    workload.title,
                    system.title()
                ));
            }
        }
    }

    /// Says where something else than the proxy may have limited the rate.
    fn note_limits(&mut self, groups: &[Group]) {
        let is_rate =
            |group: &&Group| matches!(group.workload.kind, Kind::Rate(_)) && group.connections > 1;
        let (mut held, mut queued) = (Vec::new(), Vec::new());
        for group in groups.iter().filter(is_rate) {
            let of_proxies = |one: &&Series| one.system != System::Direct;
            for one in group.series.iter().filter(of_proxies) {
                let at_work = one.median(|sample| sample.at_work);
                let parts = at_work.zip(one.median(|sample| sample.queued));
                let Some((at_work, waited)) = parts else {
                    continue;
                };
                queued.push(waited);
                if at_work + waited < FULL {
                    held.push(format!(
                        "{} at {}, {} ({:.0} %)",
                        group.workload.name,
                        group.connections,
                        one.system.title(),
                        at_work * 100.0
                    ));
                }
            }
        }
        let queued = median(queued).unwrap_or_default();
        if queued > QUIET && self.plan.cores.is_own() {
            self.notes.push(format!(
                "The machine was not quiet: the proxies waited for {:.0} % of the time (median) while other processes were on \
                 their core. CPU per request is disturbed less than rates and times.",
                queued * 100.0
            ));
        }
        if !held.is_empty() {
            self.notes.push(format!(
                "The load generator and the upstream held down the rate, because the proxy was at work for a part of the \
                 time only: {}.",
                held.join("; ")
            ));
        }
    }

    /// Where the load generator and the upstream run.
    pub(crate) const fn other_cores(&self) -> &CoreList {
        &self.plan.cores.others
    }
}
