//! The tables, in Markdown.

use std::fmt::Write as _;

use crate::{
    fresh::Fresh,
    rounds::{Group, Plan, Results, Sample, Series},
    workload::{AT_A_TIME, IDLE_MIB, Kind, START_MILLIS, System, Workload},
};

/// The ratios of the summary are those at so many connections, or at the most there are below.
const SUMMARY_AT: usize = 16;

/// The whole page.
pub(crate) fn page(results: &Results, plan: &Plan, machine: &str) -> String {
    let mut text = String::from(
        "# Speed\n\nWhat the gateway costs, next to proxies that do less. Written by `cargo bench --bench load`, which \
         anyone can run.\n\n",
    );
    let _ = writeln!(
        text,
        "{machine}- cores: {}\n- rounds: {}\n- load generator: {:?}\n",
        plan.cores.words, plan.rounds, plan.generator
    );
    for note in &results.notes {
        let _ = writeln!(text, "> {note}\n");
    }
    rates(&mut text, results);
    first_texts(&mut text, results);
    limited(&mut text, results);
    fresh(&mut text, results);
    text.push_str(HOW);
    all(&mut text, results);
    text
}

const HOW: &str = "## How it is measured

One upstream on loopback answers each request with a canned answer as soon as it has read it. Each process of the bench is
a child of it: the upstream, the proxies, the load generator, and the gateway, which is `examples/gateway` in the release
profile with default settings and a configuration file. The proxies are an axum server and a hyper-util client with a pool, on a
runtime of one thread where they have one core:

- *bare* forwards bodies as they come;
- *collect and forward* collects the request's body whole first;
- *naive* also parses it to a `serde_json::Value`, sets `model` and writes it again;
- *gateway, 60 targets* has six providers with ten models each, whose windows and abilities differ, or are not stated;
- *gateway, 1 target* has one model that states nothing;
- *no proxy* is the load generator at the upstream, on their own cores: what they can do at most.

In each round every system runs once for each workload and number of connections, one after another, for one or two
seconds. A figure is the median of all rounds; a ratio is the median of the ratios within each round. Processes live through the
whole run, after a round that warms them up and is not counted. CPU per request is the time that all threads of the proxy spent on
a core (`schedstat`), divided by the number of answers; it is disturbed less by other processes than the rate. In the row without
a proxy it is the upstream's. *At work* is the part of the time that the proxy was on a core, *queued* the part that it waited for
one because other processes were there.

- The *first text* of a stream is there when the client has read the first event with text. The event before it, with
  the role alone, commits the gateway to nothing, so it is not handed on by itself. The small client in the bench measures this,
  because load generators measure the end.
- Unpaced events come in one write of the upstream, paced ones in one each, a millisecond after the one before.
- *One 429, then success*: the upstream answers the first attempt of each request with a rate limit that states its end
  (`retry-after-ms: 0.01`), and the next with success. That each limit ends at once keeps the pool as large as it was; all of
  the failed attempt is done: its body is read and classified, the target cools, another one is picked.
- Memory: a fresh process, sixteen requests with all but the last byte of their bodies sent, then the last bytes at once; `VmHWM`
  afterwards. Idle memory is `VmRSS` after the first answer, and the start lasts from before the process to that answer.

";

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// A ratio that is in bold if it has what is asked.
fn judged(value: Option<f64>, is_enough: impl Fn(f64) -> bool, digits: usize) -> String {
    let text = number(value, digits);
    match value.is_some_and(is_enough) {
        true => format!("**{text}**"),
        false => text,
    }
}

fn rate(sample: &Sample) -> Option<f64> {
    Some(sample.rate)
}

fn whole(sample: &Sample) -> Option<f64> {
    Some(sample.p50)
}

/// One group of each workload of a kind: that of the summary.
fn summary(results: &Results, is_kind: impl Fn(Kind) -> bool) -> Vec<&Group> {
    let mut best: Vec<&Group> = Vec::new();
    for group in &results.groups {
        if !is_kind(group.workload.kind) || group.connections > SUMMARY_AT {
            continue;
        }
        match best.last_mut() {
            Some(last) if last.workload.name == group.workload.name => *last = group,
            _ => best.push(group),
        }
    }
    best
}

const COMPARED: [System; 4] = [
    System::Gateway,
    System::GatewayOfOne,
    System::Collect,
    System::Naive,
];

fn heads(systems: &[System]) -> String {
    let mut text = String::new();
    for system in systems {
        let _ = write!(text, " {} |", system.title());
    }
    text.push_str("\n|---|---|");
    text.push_str(&"---|".repeat(systems.len()));
    text.push('\n');
    text
}

fn rates(text: &mut String, results: &Results) {
    let groups = summary(results, |kind| matches!(kind, Kind::Rate(_)));
    let Some(first) = groups.first() else { return };
    let _ = write!(
        text,
        "## Requests a second, as a part of the bare proxy's\n\nAt {} connections; in brackets the same by CPU per request. \
         What reaches the floor is bold.\n\n| workload | floor |{}",
        first.connections,
        heads(&COMPARED)
    );
    for group in groups {
        let Kind::Rate(floor) = group.workload.kind else {
            continue;
        };
        let _ = write!(text, "| {} | {floor:.2} |", group.workload.title);
        for system in COMPARED {
            let (ratio, cpu) = ratios_to_bare(group, system);
            let is_gateway = matches!(system, System::Gateway | System::GatewayOfOne);
            let ratio = judged(ratio, |ratio| is_gateway && ratio >= floor, 2);
            let _ = write!(text, " {ratio} ({}) |", number(cpu, 2));
        }
        text.push('\n');
    }
    text.push('\n');
}

/// By rate, and by the inverse of CPU per request.
fn ratios_to_bare(group: &Group, system: System) -> (Option<f64>, Option<f64>) {
    let pair = group.series_of(system).zip(group.series_of(System::Bare));
    let rate = pair.and_then(|(own, bare)| own.ratio(bare, rate));
    // Without a proxy, the CPU time is the upstream's.
    let pair = pair.filter(|_| system != System::Direct);
    let cpu = pair.and_then(|(own, bare)| bare.ratio(own, |sample| sample.cpu));
    (rate, cpu)
}

fn first_texts(text: &mut String, results: &Results) {
    let is_first = |group: &&Group| matches!(group.workload.kind, Kind::FirstText { .. });
    let groups: Vec<_> = results.groups.iter().filter(is_first).collect();
    if groups.is_empty() {
        return;
    }
    let _ = write!(
        text,
        "## Streams: times as multiples of the bare proxy's\n\n| | at most |{}",
        heads(&COMPARED)
    );
    for group in groups {
        let Kind::FirstText { first, whole: end } = group.workload.kind else {
            continue;
        };
        let rows = [
            ("first text", Some(first), first_of as fn(&Sample) -> _),
            ("whole", end, whole),
        ];
        for (what, most, of) in rows {
            let Some(most) = most else { continue };
            let (title, connections) = (group.workload.title, group.connections);
            let _ = write!(text, "| {title}: {what}, at {connections} | {most:.2} |");
            for system in COMPARED {
                let pair = group.series_of(system).zip(group.series_of(System::Bare));
                let ratio = pair.and_then(|(own, bare)| own.ratio(bare, of));
                let is_gateway = matches!(system, System::Gateway | System::GatewayOfOne);
                let ratio = judged(ratio, |ratio| is_gateway && ratio <= most, 3);
                let _ = write!(text, " {ratio} |");
            }
            text.push('\n');
        }
    }
    text.push('\n');
}

const fn first_of(sample: &Sample) -> Option<f64> {
    sample.first
}

fn limited(text: &mut String, results: &Results) {
    let is_limited = |group: &&Group| matches!(group.workload.kind, Kind::Limited(_));
    let groups: Vec<_> = results.groups.iter().filter(is_limited).collect();
    if groups.is_empty() {
        return;
    }
    text.push_str(
        "## One 429, then success\n\nNext to two plain requests through the gateway with 60 targets; in brackets the same by \
         CPU.\n\n| connections | floor | ratio |\n|---|---|---|\n",
    );
    for group in groups {
        let (Kind::Limited(floor), [plain, limited]) = (group.workload.kind, &group.series[..])
        else {
            continue;
        };
        let ratio = limited.ratio(plain, rate).map(|ratio| 2.0 * ratio);
        let cpu = plain.ratio(limited, |sample| sample.cpu);
        let _ = writeln!(
            text,
            "| {} | {floor:.2} | {} ({}) |",
            group.connections,
            judged(ratio, |ratio| ratio >= floor, 2),
            number(cpu.map(|cpu| 2.0 * cpu), 2)
        );
    }
    text.push('\n');
}

fn fresh(text: &mut String, results: &Results) {
    for (workload, systems) in &results.fresh {
        let Kind::Fresh(most) = workload.kind else {
            continue;
        };
        fresh_table(text, workload, systems, most);
    }
}

fn fresh_table(text: &mut String, workload: &Workload, systems: &[Fresh], most: f64) {
    let _ = write!(
        text,
        "## Memory and start: {AT_A_TIME} at a time of: {}\n\n| | until the first answer | at rest | peak | peak, as a \
         multiple of *collect and forward* |\n|---|---|---|---|---|\n| at most, of the gateway | {START_MILLIS:.0} ms | \
         {IDLE_MIB:.0} MiB | | {most:.2} |\n",
        workload.title
    );
    let collect = systems.iter().find(|one| one.system == System::Collect);
    for one in systems {
        let is_gateway = matches!(one.system, System::Gateway | System::GatewayOfOne);
        let multiple = one.peak.zip(collect.and_then(|collect| collect.peak));
        let multiple = multiple.map(|(own, collect)| own / collect);
        let _ = writeln!(
            text,
            "| {} | {} ms | {} MiB | {} MiB | {} |",
            one.system.title(),
            judged(one.start, |start| is_gateway && start < START_MILLIS, 0),
            judged(one.idle, |idle| is_gateway && idle < IDLE_MIB, 1),
            number(one.peak, 1),
            judged(multiple, |multiple| is_gateway && multiple <= most, 2),
        );
    }
    text.push('\n');
}

fn all(text: &mut String, results: &Results) {
    text.push_str("## All figures\n\nTimes are in microseconds.\n\n");
    for group in &results.groups {
        let title = match group.workload.kind {
            Kind::FirstText { .. } => format!("{}, first text", group.workload.title),
            _ => group.workload.title.to_owned(),
        };
        let _ = write!(
            text,
            "### {title}: {} at a time\n\n| | requests/s | to bare | p50 | p99 | first text | CPU per request | to bare | \
             at work | queued |\n|---|---|---|---|---|---|---|---|---|---|\n",
            group.connections
        );
        for (at, series) in group.series.iter().enumerate() {
            let (ratio, cpu) = ratios_to_bare(group, series.system);
            let title = match (group.workload.kind, at) {
                (Kind::Limited(_), 0) => "gateway, all answered at once",
                (Kind::Limited(_), _) => "gateway, first attempts limited",
                _ => series.system.title(),
            };
            let _ = writeln!(
                text,
                "| {title} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                number(series.median(rate), 0),
                number(ratio, 2),
                number(series.median(whole), 0),
                number(p99(series), 0),
                number(series.median(first_of), 0),
                number(series.median(|sample| sample.cpu), 1),
                number(cpu, 2),
                number(series.median(|sample| sample.at_work), 2),
                number(series.median(|sample| sample.queued), 2),
            );
        }
        text.push('\n');
    }
}

fn p99(series: &Series) -> Option<f64> {
    series.median(|sample| Some(sample.p99))
}
