//! The health map against a simple model of what it should be.

use std::{
    collections::HashMap,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::*;
use proptest::prelude::*;
use tokio::time::Instant;
use tower_free_models::{
    Attempt, Catalog, HealthMap, Target,
    catalog::Capability,
    classify::{Lack, Outcome, OutcomeKind, Recovery, Scope},
    health::{Cooling, HealthSnapshot, TargetState},
};

const PROVIDERS: usize = 3;
const MODELS: usize = 3;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const MONTH: Duration = Duration::from_secs(32 * 24 * 3600);
/// A probe's lease.
const LEASE: Duration = Duration::from_secs(30);

// ---- What happens.

#[derive(Clone, Debug)]
enum Step {
    Begin(usize),
    /// What follows is done to one of the attempts in flight.
    Respond(usize),
    Commit(usize),
    Succeed(usize),
    Fail(usize, Outcome),
    Abandon(usize),
    Exhausted(usize, Duration),
    Billed(usize),
    Wait(Duration),
    Reset(usize),
    ResetProvider(usize),
}

fn recovery() -> impl Strategy<Value = Recovery> {
    prop_oneof![
        4 => Just(Recovery::Unstated),
        1 => Just(Recovery::DayEnd),
        1 => Just(Recovery::After(Duration::ZERO)),
        4 => (1..600_u64).prop_map(|s| Recovery::After(Duration::from_secs(s))),
        1 => (1..100_u64).prop_map(|days| Recovery::After(DAY * u32::try_from(days).unwrap())),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let kind = prop_oneof![
        3 => Just(OutcomeKind::RateLimited),
        1 => Just(OutcomeKind::OutOfQuota),
        1 => Just(OutcomeKind::Unauthorised),
        1 => Just(OutcomeKind::Gated),
        1 => Just(OutcomeKind::Gone),
        1 => Just(OutcomeKind::Unfit),
        4 => Just(OutcomeKind::Unavailable),
        1 => Just(OutcomeKind::Refused),
        4 => Just(OutcomeKind::Unreachable),
        2 => Just(OutcomeKind::TooSlow),
        4 => Just(OutcomeKind::Empty),
        2 => Just(OutcomeKind::Interrupted),
    ];
    (kind, any::<bool>(), recovery()).prop_map(|(kind, whole, recovery)| {
        let outcome = match kind {
            OutcomeKind::Unfit => Outcome::unfit(Lack::Capability(Capability::Tools)),
            _ => Outcome::of(kind).until(recovery),
        };
        let may_be_whole = !matches!(
            kind,
            OutcomeKind::Unreachable
                | OutcomeKind::Empty
                | OutcomeKind::Interrupted
                | OutcomeKind::Unfit
        );
        if whole && may_be_whole {
            outcome.provider()
        } else {
            outcome
        }
    })
}

fn wait() -> impl Strategy<Value = Duration> {
    prop_oneof![
        6 => (0..3000_u64).prop_map(Duration::from_millis),
        3 => (0..120_u64).prop_map(Duration::from_secs),
        1 => (0..48_u64).prop_map(|hours| HOUR * u32::try_from(hours).unwrap()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let target = 0..PROVIDERS * MODELS;
    let attempt = 0..64_usize;
    prop_oneof![
        12 => target.clone().prop_map(Step::Begin),
        1 => attempt.clone().prop_map(Step::Respond),
        3 => attempt.clone().prop_map(Step::Commit),
        4 => attempt.clone().prop_map(Step::Succeed),
        10 => (attempt.clone(), outcome()).prop_map(|(a, o)| Step::Fail(a, o)),
        2 => attempt.clone().prop_map(Step::Abandon),
        1 => (attempt.clone(), 0..90_u64).prop_map(|(a, s)| Step::Exhausted(a, Duration::from_secs(s))),
        8 => wait().prop_map(Step::Wait),
        1 => prop_oneof![
            3 => target.prop_map(Step::Reset),
            1 => (0..PROVIDERS).prop_map(Step::ResetProvider),
            1 => attempt.prop_map(Step::Billed),
        ],
    ]
}

// ---- The model: written from the words of the design.

/// What is known of a guess: chance decides its length, within bounds.
#[derive(Clone, Copy, Debug)]
struct Guess {
    made: Instant,
    earliest: Instant,
    latest: Instant,
    kind: OutcomeKind,
    doublings: u32,
    /// How many attempts had begun when it was made.
    begun: u64,
    /// How many successes have come since.
    answers: u32,
}

#[derive(Clone, Debug, Default)]
struct Held {
    stated: Option<(Instant, OutcomeKind)>,
    guess: Option<Guess>,
    /// Which attempts probe, and until when each keeps its place.
    probes: Vec<(u64, Instant)>,
    /// Refusals of the credential in a row, and how many attempts had begun at the last one.
    refusals: Option<(u32, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stands {
    Healthy,
    Stated,
    Guessed,
    /// The guess may or may not have ended.
    GuessedOrProbation,
    Probation,
    Probing,
}

impl Held {
    fn stands(&self, now: Instant) -> Stands {
        if self.stated.is_some_and(|(until, _)| now < until) {
            return Stands::Stated;
        }
        match self.guess {
            None => Stands::Healthy,
            Some(guess) if self.probing(now) >= guess.probes(now) => Stands::Probing,
            Some(guess) if now < guess.earliest => Stands::Guessed,
            Some(guess) if now >= guess.latest => Stands::Probation,
            Some(_) => Stands::GuessedOrProbation,
        }
    }

    fn probing(&self, now: Instant) -> usize {
        let under_way = self.probes.iter().filter(|(_, until)| now < *until);
        under_way.count()
    }

    fn state_fact(&mut self, wait: Duration, kind: OutcomeKind, now: Instant) {
        let until = now + wait.min(MONTH);
        match self.stated {
            Some((old, _)) if old >= until => {}
            _ => self.stated = Some((until, kind)),
        }
    }

    fn guess(&mut self, kind: OutcomeKind, number: u64, begun: u64, now: Instant) {
        let doublings = match self.guess {
            // It began before the cooldown: part of the same burst.
            Some(guess) if number <= guess.begun => return,
            Some(guess) if guess.answers == 0 => guess.doublings + 1,
            _ => 0,
        };
        let most =
            Duration::from_secs(2_u64.saturating_pow(doublings)).min(Duration::from_secs(120));
        self.guess = Some(Guess {
            made: now,
            earliest: now,
            latest: now + most,
            kind,
            doublings,
            begun,
            answers: 0,
        });
    }

    fn refuse_credential(&mut self, number: u64, begun: u64, now: Instant) {
        let times = match self.refusals {
            Some((_, begun)) if number <= begun => return,
            Some((times, _)) => times + 1,
            None => 0,
        };
        self.refusals = Some((times, begun));
        let wait = HOUR.saturating_mul(2_u32.saturating_pow(times));
        self.state_fact(wait, OutcomeKind::Unauthorised, now);
    }

    fn success(&mut self, number: u64, now: Instant) {
        if let Some(guess) = self.guess.as_mut().filter(|guess| number > guess.begun) {
            guess.answers += 1;
            guess.earliest = guess.earliest.min(now);
            guess.latest = guess.latest.min(now);
            if guess.answers == 4 {
                self.guess = None;
                self.probes.clear();
            }
        }
        if self.refusals.is_some_and(|(_, begun)| number > begun) {
            self.refusals = None;
        }
    }

    fn free_probe(&mut self, number: u64) {
        self.probes.retain(|(holder, _)| *holder != number);
    }

    /// Checks a cooldown that is shown, and learns from it how long chance made the guess.
    fn assert_shows(&mut self, shown: Option<Cooling>, scope: Scope, now: Instant, what: &str) {
        if let Some((until, kind)) = self.stated.filter(|(until, _)| now < *until) {
            let shown = shown.unwrap_or_else(|| panic!("{what}: no stated cooldown"));
            assert_eq!(
                (shown.stated, shown.scope, shown.reason),
                (true, scope, kind),
                "{what}"
            );
            assert_eq!(shown.remaining, until - now, "{what}");
            return;
        }
        match (&mut self.guess, shown) {
            (Some(guess), Some(shown)) => {
                assert_eq!(
                    (shown.stated, shown.scope, shown.reason),
                    (false, scope, guess.kind),
                    "{what}"
                );
                let until = now + shown.remaining;
                assert!(
                    guess.earliest <= until && until <= guess.latest,
                    "{what}: {shown:?} {guess:?}"
                );
                (guess.earliest, guess.latest) = (until, until);
            }
            (Some(guess), None) => {
                assert!(
                    guess.earliest <= now,
                    "{what}: the guess has ended before its time"
                );
                guess.latest = guess.latest.min(now);
            }
            (None, shown) => assert_eq!(shown, None, "{what}"),
        }
    }
}

impl Guess {
    /// How many probes may be under way at a time: before its end one, then twice as many with each answer.
    fn probes(&self, now: Instant) -> usize {
        if now < self.latest {
            1
        } else {
            1 << self.answers
        }
    }
}

#[derive(Debug, Default)]
struct ModelTarget {
    held: Held,
    quarantined: bool,
    soft: u32,
    /// The share of successes: each attempt weighs a fifth.
    rate: Option<f64>,
    last_success: Option<Instant>,
    /// Attempts in flight that have begun to answer.
    answering: u64,
    started: u64,
    succeeded: u64,
    failed: u64,
    abandoned: u64,
}

#[derive(Debug, Default)]
struct ModelProvider {
    held: Held,
    /// When each target could not be reached, until something of this provider was reached.
    unreachable: HashMap<usize, Instant>,
}

#[derive(Debug, Default)]
struct Simple {
    targets: Vec<ModelTarget>,
    providers: Vec<ModelProvider>,
    begun: u64,
}

impl ModelTarget {
    fn weigh(&mut self, sample: f64) {
        self.rate = Some(
            self.rate
                .map_or(sample, |rate| rate + 0.2 * (sample - rate)),
        );
    }

    fn fail_softly(&mut self, most: u32, kind: OutcomeKind, number: u64, begun: u64, now: Instant) {
        self.weigh(0.0);
        self.soft += 1;
        if self.soft >= most {
            self.soft = 0;
            self.held.guess(kind, number, begun, now);
        }
    }
}

impl Simple {
    fn new() -> Self {
        Self {
            targets: (0..PROVIDERS * MODELS)
                .map(|_| ModelTarget::default())
                .collect(),
            providers: (0..PROVIDERS).map(|_| ModelProvider::default()).collect(),
            begun: 0,
        }
    }

    const fn provider_of(target: usize) -> usize {
        target / MODELS
    }

    fn may_begin(&self, target: usize, now: Instant) -> bool {
        let both = [
            &self.targets[target].held,
            &self.providers[Self::provider_of(target)].held,
        ];
        !self.targets[target].quarantined
            && both
                .iter()
                .all(|held| !matches!(held.stands(now), Stands::Stated | Stands::Probing))
    }

    fn begin(&mut self, target: usize, now: Instant) -> u64 {
        self.begun += 1;
        self.targets[target].started += 1;
        let number = self.begun;
        let both = [
            &mut self.targets[target].held,
            &mut self.providers[Self::provider_of(target)].held,
        ];
        for held in both {
            if held.guess.is_some() {
                held.probes.push((number, now + LEASE));
            }
        }
        number
    }

    fn commit(&mut self, target: usize, number: u64, now: Instant) {
        self.targets[target].held.success(number, now);
        self.targets[target].answering += 1;
        let provider = &mut self.providers[Self::provider_of(target)];
        provider.held.success(number, now);
        provider.unreachable.clear();
        self.free(target, number);
    }

    fn succeed(&mut self, target: usize, now: Instant) {
        let target = &mut self.targets[target];
        target.succeeded += 1;
        target.soft = 0;
        target.last_success = Some(now);
        target.answering -= 1;
        target.weigh(1.0);
    }

    /// An outcome that one in a series of successes may be an accident.
    fn accident(&mut self, target: usize, number: u64, kind: OutcomeKind, now: Instant) {
        let begun = self.begun;
        let target = &mut self.targets[target];
        let answered_well =
            target.rate >= Some(0.5) && target.last_success.is_some_and(|at| now - at < HOUR / 6);
        let unproven = target.held.guess.is_some_and(|guess| guess.answers == 0);
        let well = !unproven && (target.answering > 0 || answered_well);
        target.fail_softly(if well { 3 } else { 1 }, kind, number, begun, now);
    }

    fn free(&mut self, target: usize, number: u64) {
        self.targets[target].held.free_probe(number);
        self.providers[Self::provider_of(target)]
            .held
            .free_probe(number);
    }

    fn fail(
        &mut self,
        target: usize,
        number: u64,
        committed: bool,
        outcome: &Outcome,
        now: Instant,
    ) {
        use OutcomeKind as Kind;
        let begun = self.begun;
        self.targets[target].failed += 1;
        self.targets[target].answering -= u64::from(committed);
        if !matches!(outcome.kind, Kind::Unreachable | Kind::TooSlow) {
            self.providers[Self::provider_of(target)]
                .unreachable
                .clear();
        }
        let stated = match outcome.recovery {
            Recovery::After(wait) if !wait.is_zero() => Some(wait),
            // The providers of this test have no known day.
            Recovery::DayEnd => Some(DAY),
            _ => None,
        };
        let held = match outcome.scope {
            Scope::Target => &mut self.targets[target].held,
            Scope::Provider => &mut self.providers[Self::provider_of(target)].held,
        };
        match outcome.kind {
            Kind::RateLimited | Kind::Unavailable | Kind::TooSlow => match stated {
                Some(wait) => {
                    held.state_fact(wait, outcome.kind, now);
                    self.targets[target].weigh(0.0);
                }
                None if outcome.kind == Kind::RateLimited || outcome.scope == Scope::Provider => {
                    held.guess(outcome.kind, number, begun, now);
                    self.targets[target].weigh(0.0);
                }
                None => self.accident(target, number, outcome.kind, now),
            },
            Kind::OutOfQuota => {
                held.state_fact(stated.unwrap_or(DAY), outcome.kind, now);
                self.targets[target].weigh(0.0);
            }
            Kind::Unauthorised => held.refuse_credential(number, begun, now),
            Kind::Gated | Kind::Gone => {
                let stated = stated.filter(|_| outcome.recovery != Recovery::DayEnd);
                held.state_fact(stated.unwrap_or(DAY), outcome.kind, now);
            }
            Kind::Empty | Kind::Interrupted => {
                self.targets[target].fail_softly(3, outcome.kind, number, begun, now);
            }
            Kind::Unreachable => self.unreachable(target, number, now),
            _ => {}
        }
        self.free(target, number);
    }

    fn unreachable(&mut self, target: usize, number: u64, now: Instant) {
        const WINDOW: Duration = Duration::from_secs(10);
        let begun = self.begun;
        self.providers[Self::provider_of(target)]
            .unreachable
            .insert(target, now);
        let lately = |provider: &ModelProvider| {
            provider
                .unreachable
                .values()
                .filter(|at| now - **at <= WINDOW)
                .count()
        };
        if self.providers.iter().all(|provider| lately(provider) > 0) {
            // It is our own network.
            self.targets[target].weigh(0.0);
            let targets = self.targets.iter_mut().map(|t| &mut t.held);
            let providers = self.providers.iter_mut().map(|p| &mut p.held);
            for held in targets.chain(providers) {
                if held.guess.is_some_and(|guess| {
                    guess.kind == OutcomeKind::Unreachable && now - guess.made <= WINDOW
                }) {
                    held.guess = None;
                    held.probes.clear();
                }
            }
            return;
        }
        self.accident(target, number, OutcomeKind::Unreachable, now);
        let provider = &mut self.providers[Self::provider_of(target)];
        if lately(provider) >= 3 {
            provider
                .held
                .guess(OutcomeKind::Unreachable, number, begun, now);
        }
    }

    fn reset(&mut self, target: usize) {
        let target = &mut self.targets[target];
        (target.held, target.quarantined, target.soft) = (Held::default(), false, 0);
        target.last_success = None;
    }

    /// Everything that the map shows is what the model says.
    fn assert_matches(&mut self, snapshot: &HealthSnapshot, now: Instant) {
        for (p, shown) in snapshot.providers.iter().enumerate() {
            let what = format!("provider {}", shown.name);
            self.providers[p]
                .held
                .assert_shows(shown.cooling, Scope::Provider, now, &what);
            assert_eq!(shown.targets, MODELS);
        }
        for (t, shown) in snapshot.targets.iter().enumerate() {
            let what = shown.id.to_string();
            let whole = snapshot.providers[Self::provider_of(t)].cooling;
            let (own, provider) = (&mut self.targets[t], &self.providers[Self::provider_of(t)]);
            // The later of the two is shown, and a fact before a guess; where it is not the provider's it is its own.
            match shown.cooling {
                Some(cooling) if cooling.scope == Scope::Provider => {
                    assert_eq!(Some(cooling), whole, "{what}");
                    let own_fact = own.held.stated.filter(|(until, _)| now < *until);
                    let later = own_fact.is_some_and(|(until, _)| until > now + cooling.remaining);
                    assert!(
                        !later,
                        "{what}: its own cooldown ends later than {cooling:?}"
                    );
                    assert!(
                        own_fact.is_none() || cooling.stated,
                        "{what}: a fact is hidden by {cooling:?}"
                    );
                }
                shown => {
                    own.held.assert_shows(shown, Scope::Target, now, &what);
                    assert!(
                        whole.is_none() || shown.is_some(),
                        "{what}: {whole:?} is hidden"
                    );
                }
            }

            let tally = shown.tally;
            assert_eq!(
                (
                    tally.started,
                    tally.succeeded,
                    tally.failed,
                    tally.abandoned
                ),
                (own.started, own.succeeded, own.failed, own.abandoned),
                "{what}"
            );
            let ended = own.succeeded + own.failed + own.abandoned;
            assert_eq!(tally.in_flight(), own.started - ended, "{what}");
            assert!(
                shown
                    .success_rate
                    .is_none_or(|rate| (0.0..=1.0).contains(&rate)),
                "{what}"
            );

            let both = [own.held.stands(now), provider.held.stands(now)];
            let some = |stands| both.contains(&stands);
            let state = shown.state;
            if own.quarantined {
                assert_eq!(state, TargetState::Quarantined, "{what}");
            } else if some(Stands::Stated) || some(Stands::Guessed) {
                assert!(
                    matches!(state, TargetState::Cooling | TargetState::Gone),
                    "{what}: {state:?} {both:?}"
                );
                let gone = shown
                    .cooling
                    .is_some_and(|c| c.scope == Scope::Target && c.reason == OutcomeKind::Gone);
                assert_eq!(state == TargetState::Gone, gone, "{what}");
            } else if some(Stands::GuessedOrProbation) {
                let open = [
                    TargetState::Cooling,
                    TargetState::Probation,
                    TargetState::Probing,
                ];
                assert!(open.contains(&state), "{what}: {state:?} {both:?}");
            } else if some(Stands::Probing) {
                assert_eq!(state, TargetState::Probing, "{what}");
            } else if some(Stands::Probation) {
                assert_eq!(state, TargetState::Probation, "{what}");
            } else {
                assert_eq!(state, TargetState::Healthy, "{what}");
            }
        }
    }
}

/// The map and the model, side by side.
struct Pair {
    health: HealthMap,
    model: Simple,
    targets: Vec<Target>,
    in_flight: Vec<(usize, u64, bool, Attempt)>,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let targets = targets(&["p0", "p1", "p2"], &["m0", "m1", "m2"]);
        let health = HealthMap::seeded(seed);
        health.observe(&Catalog::from_targets(targets.clone()).snapshot());
        Self {
            health,
            model: Simple::new(),
            targets,
            in_flight: Vec::new(),
        }
    }

    fn take(&mut self, n: usize) -> Option<(usize, u64, bool, Attempt)> {
        let len = self.in_flight.len();
        (len > 0).then(|| self.in_flight.swap_remove(n % len))
    }

    async fn step(&mut self, step: &Step) {
        let now = Instant::now();
        match step {
            Step::Begin(target) => {
                let began = self.health.begin(&self.targets[*target]);
                assert_eq!(
                    began.is_some(),
                    self.model.may_begin(*target, now),
                    "may {} begin",
                    self.targets[*target].id()
                );
                if let Some(attempt) = began {
                    let number = self.model.begin(*target, now);
                    self.in_flight.push((*target, number, false, attempt));
                }
            }
            Step::Respond(n) => {
                if let Some((target, number, committed, attempt)) = self.take(*n) {
                    attempt.responded();
                    self.model.free(target, number);
                    self.in_flight.push((target, number, committed, attempt));
                }
            }
            Step::Commit(n) => {
                if let Some((target, number, committed, mut attempt)) = self.take(*n) {
                    attempt.commit();
                    if !committed {
                        self.model.commit(target, number, now);
                    }
                    self.in_flight.push((target, number, true, attempt));
                }
            }
            Step::Succeed(n) => {
                if let Some((target, number, committed, attempt)) = self.take(*n) {
                    attempt.succeed();
                    if !committed {
                        self.model.commit(target, number, now);
                    }
                    self.model.succeed(target, now);
                }
            }
            Step::Fail(n, outcome) => {
                if let Some((target, number, committed, attempt)) = self.take(*n) {
                    attempt.fail(outcome);
                    self.model.fail(target, number, committed, outcome, now);
                }
            }
            Step::Abandon(n) => {
                if let Some((target, number, committed, attempt)) = self.take(*n) {
                    drop(attempt);
                    self.model.targets[target].answering -= u64::from(committed);
                    self.model.targets[target].abandoned += 1;
                    self.model.free(target, number);
                }
            }
            Step::Exhausted(n, wait) => {
                if let Some((target, number, committed, attempt)) = self.take(*n) {
                    attempt.exhausted(*wait);
                    self.model.targets[target].held.state_fact(
                        *wait,
                        OutcomeKind::RateLimited,
                        now,
                    );
                    self.in_flight.push((target, number, committed, attempt));
                }
            }
            Step::Billed(n) => {
                if let Some((target, number, committed, attempt)) = self.take(*n) {
                    attempt.billed();
                    self.model.targets[target].quarantined = true;
                    self.in_flight.push((target, number, committed, attempt));
                }
            }
            Step::Wait(time) => tokio::time::advance(*time).await,
            Step::Reset(target) => {
                assert!(self.health.reset(self.targets[*target].id()));
                self.model.reset(*target);
            }
            Step::ResetProvider(provider) => {
                assert!(self.health.reset_provider(&format!("p{provider}")));
                self.model.providers[*provider] = ModelProvider::default();
            }
        }
        self.model
            .assert_matches(&self.health.snapshot(), Instant::now());
    }
}

fn paused<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_map_does_what_the_model_says(steps in prop::collection::vec(step(), 1..200), seed in any::<u64>()) {
        paused(async {
            let mut pair = Pair::new(seed);
            for step in &steps {
                pair.step(step).await;
            }
            // The attempts that are left are dropped, and then none is in flight.
            for (target, number, _, attempt) in std::mem::take(&mut pair.in_flight) {
                drop(attempt);
                pair.model.targets[target].abandoned += 1;
                pair.model.free(target, number);
            }
            let snapshot = pair.health.snapshot();
            pair.model.assert_matches(&snapshot, Instant::now());
            assert!(snapshot.targets.iter().all(|target| target.tally.in_flight() == 0));
        });
    }

    #[test]
    fn a_stated_cooldown_is_never_shortened(waits in prop::collection::vec((1..100_000_u64, 0..500_u64), 1..20)) {
        paused(async {
            let target = &targets(&["p"], &["m"])[0];
            let health = HealthMap::seeded(1);
            // All begun before any of them failed.
            let attempts: Vec<_> = waits.iter().map(|_| health.begin(target).expect("healthy")).collect();
            let mut end = Instant::now();
            for (attempt, (wait, pause)) in attempts.into_iter().zip(&waits) {
                let now = Instant::now();
                attempt.fail(&Outcome::of(OutcomeKind::RateLimited).until(Recovery::After(Duration::from_secs(*wait))));
                end = end.max(now + Duration::from_secs(*wait));
                let shown = health.snapshot().targets[0].cooling.expect("it cools");
                assert_eq!(shown.remaining, end - now);
                tokio::time::advance(Duration::from_millis(*pause)).await;
            }
            tokio::time::advance(end - Instant::now() - Duration::from_millis(1)).await;
            assert!(health.begin(target).is_none(), "before its end");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!(health.snapshot().targets[0].state, TargetState::Healthy, "a stated one simply ends");
        });
    }
}

/// Two probes, because the first one's lease ran out; the first then fails, which is news since the guess.
#[tokio::test(start_paused = true)]
async fn a_commit_frees_the_lease_also_where_the_guess_is_newer() {
    let target = targets(&["a"], &["m"]).remove(0);
    let health = HealthMap::seeded(1);
    let state = || health.snapshot().targets[0].state;
    health.begin(&target).expect("healthy").fail(&unavailable());
    let first = health.begin(&target).expect("the probe");
    tokio::time::advance(LEASE).await;
    let mut second = health.begin(&target).expect("the lease has run out");
    first.fail(&unavailable());
    assert_eq!(state(), TargetState::Probing);
    second.commit();
    assert_eq!(state(), TargetState::Cooling);
    assert!(health.begin(&target).is_some(), "no probe is under way");
}

/// The share of successes is good in each case: what differs is whether an answer has come since the guess.
#[tokio::test(start_paused = true)]
async fn after_a_guess_one_failure_is_enough_until_an_answer_has_come() {
    for (answered, state) in [
        (false, TargetState::Cooling),
        (true, TargetState::Probation),
    ] {
        let target = targets(&["a"], &["m"]).remove(0);
        let health = HealthMap::seeded(1);
        let begin = || health.begin(&target).expect("it may be tried");
        (0..5).for_each(|_| begin().succeed());
        // In flight, so that the target is doing well; begun before the guess, so that it does not end that.
        let mut earlier = begin();
        begin().fail(&Outcome::of(OutcomeKind::RateLimited));
        earlier.commit();
        tokio::time::advance(Duration::from_secs(1)).await;
        if answered {
            begin().commit();
        }
        begin().fail(&unavailable());
        assert_eq!(health.snapshot().targets[0].state, state);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_an_attempt_begun_before_a_refusal_does_not_make_the_next_refusal_shorter() {
    let target = targets(&["a"], &["m"]).remove(0);
    let health = HealthMap::seeded(1);
    let refused = Outcome::of(OutcomeKind::Unauthorised).provider();
    for hours in [1, 2, 4] {
        let [first, second] = [(); 2].map(|()| health.begin(&target).expect("no cooldown"));
        first.fail(&refused);
        let cooling = health.snapshot().targets[0].cooling.expect("it cools");
        assert_eq!(cooling.remaining, HOUR * hours);
        tokio::time::advance(cooling.remaining).await;
        second.succeed();
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_has_recovered_with_the_first_answer_to_an_attempt_begun_after_its_cooldown() {
    for outcome in [
        unavailable(),
        Outcome::of(OutcomeKind::RateLimited).until(Recovery::After(HOUR)),
    ] {
        let target = targets(&["a"], &["m"]).remove(0);
        let health = HealthMap::seeded(1);
        let told = Arc::new(AtomicUsize::new(0));
        let hook = Arc::clone(&told);
        health
            .on_outcome(move |ended| _ = hook.fetch_add(ended.recovered.into(), Ordering::Relaxed));
        let recovered = || told.load(Ordering::Relaxed);
        let [first, second] = [(); 2].map(|()| health.begin(&target).expect("healthy"));
        first.fail(&outcome);
        second.succeed();
        assert_eq!(recovered(), 0, "the second began before the cooldown");
        tokio::time::advance(HOUR).await;
        for _ in 0..2 {
            health.begin(&target).expect("it may be tried").succeed();
            assert_eq!(recovered(), 1);
        }
    }
}

// ---- Threads.

const THREADS: usize = 8;

fn unavailable() -> Outcome {
    Outcome::of(OutcomeKind::Unavailable)
}

#[test]
fn counts_add_up_whatever_many_threads_do() {
    let targets = targets(&["a", "b"], &["m", "n"]);
    let health = HealthMap::seeded(1);
    let told = Arc::new(AtomicU64::new(0));
    let hook = Arc::clone(&told);
    health.on_outcome(move |_| _ = hook.fetch_add(1, Ordering::Relaxed));
    let (begun, ended) = (AtomicU64::new(0), [const { AtomicU64::new(0) }; 3]);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (health, targets, begun, ended) = (&health, &targets, &begun, &ended);
            scope.spawn(move || {
                for n in 0..5_000 {
                    let Some(mut attempt) = health.begin(&targets[(thread + n) % targets.len()])
                    else {
                        continue;
                    };
                    begun.fetch_add(1, Ordering::Relaxed);
                    let end = (thread * 7 + n) % 5;
                    match end {
                        0 | 1 => attempt.succeed(),
                        2 => attempt.fail(&Outcome::of(OutcomeKind::Refused)),
                        3 => attempt.fail(&unavailable()),
                        _ => {
                            attempt.commit();
                            drop(attempt);
                        }
                    }
                    let kind = [0, 0, 1, 1, 2][end];
                    ended[kind].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let snapshot = health.snapshot();
    let sum = |of: fn(&tower_free_models::health::Tally) -> u64| -> u64 {
        snapshot.targets.iter().map(|t| of(&t.tally)).sum()
    };
    let begun = begun.into_inner();
    assert_eq!(
        (sum(|t| t.started), told.load(Ordering::Relaxed)),
        (begun, begun)
    );
    assert_eq!(
        [
            sum(|t| t.succeeded),
            sum(|t| t.failed),
            sum(|t| t.abandoned)
        ],
        ended.map(AtomicU64::into_inner)
    );
    assert_eq!(sum(|t| t.in_flight()), 0);
}

#[test]
fn there_is_one_probe_at_a_time_however_many_threads_ask() {
    let target = targets(&["a"], &["m"]).remove(0);
    let health = HealthMap::seeded(1);
    health.begin(&target).expect("healthy").fail(&unavailable());
    let (probing, probes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let (health, target, probing, probes, barrier) =
                (&health, &target, &probing, &probes, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for n in 0..5_000 {
                    let Some(attempt) = health.begin(target) else {
                        std::thread::yield_now();
                        continue;
                    };
                    assert_eq!(
                        probing.fetch_add(1, Ordering::SeqCst),
                        0,
                        "two probes at a time"
                    );
                    probes.fetch_add(1, Ordering::SeqCst);
                    std::thread::yield_now();
                    probing.fetch_sub(1, Ordering::SeqCst);
                    // Neither ends the probation: the next probe must wait for this one all the same.
                    if n % 2 == 0 {
                        attempt.fail(&unavailable())
                    } else {
                        drop(attempt)
                    }
                }
            });
        }
    });
    assert!(probes.into_inner() > 1);
}

#[test]
fn no_begin_after_a_failure_is_recorded_gets_its_target() {
    for round in 0..200 {
        let target = targets(&["a"], &["m"]).remove(0);
        let health = HealthMap::seeded(round);
        let recorded = AtomicBool::new(false);
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let (health, target, recorded, barrier) = (&health, &target, &recorded, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for _ in 0..200 {
                        let before = recorded.load(Ordering::SeqCst);
                        let began = health.begin(target).is_some();
                        assert!(!(before && began), "picked after its failure was recorded");
                    }
                });
            }
            let attempt = health.begin(&target).expect("healthy");
            barrier.wait();
            attempt.fail(&unavailable().until(Recovery::After(HOUR)));
            recorded.store(true, Ordering::SeqCst);
        });
    }
}
