//! What is sent and how it is answered, and what the gateway has to reach.

use crate::{bodies, upstream::Mode};

/// One row of the result.
#[derive(Debug)]
pub(crate) struct Workload {
    /// As `--only` has it.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) body: fn() -> String,
    pub(crate) mode: Mode,
    pub(crate) kind: Kind,
    pub(crate) connections: &'static [usize],
    /// How long one run of one proxy lasts.
    pub(crate) seconds: u64,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Requests a second, as a part of the bare proxy's; at least this.
    Rate(f64),
    /// The time until the first text of a stream and, if said, until its end, as multiples of the bare proxy's; at most
    /// this.
    FirstText { first: f64, whole: Option<f64> },
    /// Requests a second through the gateway of which each first attempt is answered by a 429, as a part of half as many
    /// that are answered at once; at least this.
    Limited(f64),
    /// Fresh processes: the start, memory at rest, and memory with sixteen bodies at a time; the latter as a multiple of
    /// that of the proxy that collects; at most this.
    Fresh(f64),
}

/// The gateway at rest, in MiB, and until its first answer, in milliseconds: at most this.
pub(crate) const IDLE_MIB: f64 = 10.0;
pub(crate) const START_MILLIS: f64 = 50.0;

/// So many bodies at a time where memory is measured.
pub(crate) const AT_A_TIME: usize = 16;

const CONNECTIONS: &[usize] = &[1, 16, 64];

/// A load generator and an upstream on one core cannot keep up a pace for 64 streams.
const FEW: &[usize] = &[1, 16];

pub(crate) const ALL: [Workload; 11] = [
    Workload {
        name: "1k",
        title: "1 KB conversation",
        body: bodies::small,
        mode: Mode::Answer,
        kind: Kind::Rate(0.75),
        connections: CONNECTIONS,
        seconds: 1,
    },
    Workload {
        name: "100k",
        title: "100 KB conversation, plain",
        body: bodies::conversation_100k,
        mode: Mode::Answer,
        kind: Kind::Rate(0.60),
        connections: CONNECTIONS,
        seconds: 1,
    },
    Workload {
        name: "100k-mixed",
        title: "100 KB with tools, parts, several roles, CJK, escapes",
        body: bodies::mixed_100k,
        mode: Mode::Answer,
        kind: Kind::Rate(0.45),
        connections: CONNECTIONS,
        seconds: 1,
    },
    Workload {
        name: "2m-image",
        title: "2 MB with one image",
        body: bodies::image_2m,
        mode: Mode::Answer,
        kind: Kind::Rate(0.85),
        connections: CONNECTIONS,
        seconds: 2,
    },
    Workload {
        name: "2m",
        title: "2 MB conversation",
        body: bodies::conversation_2m,
        mode: Mode::Answer,
        kind: Kind::Rate(0.55),
        connections: CONNECTIONS,
        seconds: 2,
    },
    Workload {
        name: "events",
        title: "stream of 200 events, unpaced",
        body: bodies::small_streamed,
        mode: Mode::Events,
        kind: Kind::Rate(1.5),
        connections: CONNECTIONS,
        seconds: 1,
    },
    Workload {
        name: "events-first",
        title: "stream of 200 events, unpaced",
        body: bodies::small_streamed,
        mode: Mode::Events,
        kind: Kind::FirstText {
            first: 1.05,
            whole: None,
        },
        connections: FEW,
        seconds: 1,
    },
    Workload {
        name: "paced",
        title: "stream of 200 events, one a millisecond",
        body: bodies::small_streamed,
        mode: Mode::Paced,
        kind: Kind::FirstText {
            first: 1.02,
            whole: Some(1.02),
        },
        connections: FEW,
        seconds: 2,
    },
    Workload {
        name: "limited",
        title: "one 429, then success",
        body: bodies::numbered,
        mode: Mode::LimitedFirst,
        kind: Kind::Limited(0.95),
        connections: CONNECTIONS,
        seconds: 1,
    },
    Workload {
        name: "memory-image",
        title: "2 MB with one image",
        body: bodies::image_2m,
        mode: Mode::Answer,
        kind: Kind::Fresh(1.5),
        connections: &[AT_A_TIME],
        seconds: 0,
    },
    Workload {
        name: "memory",
        title: "2 MB conversation",
        body: bodies::conversation_2m,
        mode: Mode::Answer,
        kind: Kind::Fresh(1.5),
        connections: &[AT_A_TIME],
        seconds: 0,
    },
];

/// What is measured side by side.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum System {
    /// The load generator at the upstream, with nothing between: what the other side can do at most.
    Direct,
    Bare,
    Collect,
    Naive,
    /// The gateway with 60 targets.
    Gateway,
    /// The gateway with one target.
    GatewayOfOne,
}

impl System {
    pub(crate) const ALL: [Self; 6] = [
        Self::Direct,
        Self::Bare,
        Self::Collect,
        Self::Naive,
        Self::Gateway,
        Self::GatewayOfOne,
    ];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Direct => "no proxy",
            Self::Bare => "bare",
            Self::Collect => "collect and forward",
            Self::Naive => "naive",
            Self::Gateway => "gateway, 60 targets",
            Self::GatewayOfOne => "gateway, 1 target",
        }
    }
}
