//! The simulated providers: what becomes of each call.

mod foresight;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use crate::{
    demand::Ask,
    dice::Dice,
    limit::{Limit, Refuses},
    pool::{Pool, millis},
    scenario::{Counts, OutageKind, Refusal, Scenario},
    tally::{Cause, Tally},
    weather::Weather,
    window::Millis,
    wire::{Filling, NO_SUCH_MODEL, PROXY_PAGE},
};

/// The simulated time begins on this day, a Monday: 2035-01-01, in milliseconds since 1970.
pub(crate) const FIRST_DAY: Millis = 2_051_222_400_000;

/// The simulated providers, and the time they are in.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) pool: Arc<Pool>,
    dice: Dice,
    began: Instant,
    /// The wall clock at the beginning, in milliseconds since 1970.
    wall: Millis,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limits: Vec<Limit>,
    models: Vec<ModelState>,
    /// How often each request was sent to each model.
    tries: HashMap<(u64, usize), u64>,
    tally: Tally,
}

#[derive(Clone, Debug, Default)]
struct ModelState {
    weather: Weather,
    /// The last stated time to wait: when that was seen, and its end.
    told_to_wait: Option<(Millis, Millis)>,
    /// When it was first seen that the model has vanished.
    gone: Option<Millis>,
}

/// What becomes of a call.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    Answers(Times),
    /// The head of a response, and nothing after it.
    Stalls,
    /// After so long.
    ErrorIn200(Millis),
    Refused(Cause, Refusal),
    Unreachable,
    /// Not even a head.
    Hangs,
}

/// When an answer comes, from the beginning of its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) first: Millis,
    pub(crate) last: Millis,
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) number: u64,
    pub(crate) model: usize,
    pub(crate) fate: Fate,
    /// The headers of a success.
    pub(crate) headers: Vec<(String, String)>,
}

impl World {
    /// A world that begins now.
    pub(crate) fn new(scenario: &Scenario, pool: Arc<Pool>, seed: u64) -> Self {
        let dice = Dice::new(seed);
        let midnight = millis(scenario.begins_at_hour * 3600.0);
        let limits = pool
            .limits
            .iter()
            .map(|limit| Limit::new(limit, dice, midnight));
        Self {
            state: Mutex::new(State {
                limits: limits.collect(),
                models: vec![ModelState::default(); pool.models.len()],
                tries: HashMap::new(),
                tally: Tally::default(),
            }),
            dice,
            began: Instant::now(),
            wall: FIRST_DAY + midnight,
            pool,
        }
    }

    pub(crate) fn now(&self) -> Millis {
        self.began.elapsed().as_millis() as Millis
    }

    pub(crate) fn instant(&self, at: Millis) -> Instant {
        self.began + std::time::Duration::from_millis(at)
    }

    /// The wall clock, in milliseconds since 1970.
    pub(crate) fn wall(&self, at: Millis) -> Millis {
        self.wall + at
    }

    pub(crate) fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    /// A call had an answer after its client had left.
    pub(crate) fn dropped(&self, call: &Call) {
        let mut state = self.lock();
        state
            .tally
            .in_vain(self.service(call.model), Cause::Dropped, false);
    }

    /// The service of a model: accounts of one kind are counted together.
    fn service(&self, model: usize) -> &str {
        let provider = &self.pool.providers[self.pool.models[model].provider];
        provider.known.as_deref().unwrap_or(&provider.name)
    }

    /// The time until a refusal of this model arrives.
    pub(crate) fn round_trip(&self, model: usize) -> Millis {
        millis(self.pool.providers[self.pool.models[model].provider].round_trip_s)
    }

    /// Begins a call.
    pub(crate) fn begin(&self, model: usize, ask: &Ask) -> Call {
        let now = self.now();
        let mut state = self.lock();
        let state = &mut *state;
        let nth = state.tries.entry((ask.id, model)).or_default();
        let die = [self.pool.models[model].number, ask.id, *nth];
        *nth += 1;
        state.tally.call(self.service(model));
        let number = state.tally.calls;
        for &limit in &self.pool.models[model].limits {
            state.limits[limit].advance(&self.pool.limits[limit], self.dice, now, now);
        }
        let (fate, knowable) = self.fate(state, model, ask, now, die);
        let (cause, counts) = match &fate {
            Fate::Answers(_) => (None, true),
            Fate::Stalls => (Some(Cause::Stall), true),
            Fate::ErrorIn200(_) => (Some(Cause::ErrorIn200), true),
            Fate::Refused(cause, _) => (Some(*cause), false),
            Fate::Unreachable | Fate::Hangs => (Some(Cause::Outage), false),
        };
        if let Some(cause) = cause {
            state.tally.in_vain(self.service(model), cause, knowable);
        }
        let is_out = matches!(cause, Some(Cause::Outage));
        for &limit in &self.pool.models[model].limits {
            let rule = &self.pool.limits[limit];
            if counts || (rule.rule.counts_failed && !is_out) {
                state.limits[limit].note(rule, ask, number, now, Millis::MAX);
            }
        }
        let headers = match &fate {
            Fate::Answers(times) => self.success_headers(state, model, ask, now, now + times.first),
            _ => Vec::new(),
        };
        Call {
            number,
            model,
            fate,
            headers,
        }
    }

    /// A call has ended, or its caller does not wait for more.
    pub(crate) fn end(&self, call: &Call) {
        let now = self.now();
        let mut state = self.lock();
        for &limit in &self.pool.models[call.model].limits {
            state.limits[limit].end(call.number, now);
        }
    }

    /// What becomes of a call, and whether a failure could have been known.
    fn fate(
        &self,
        state: &mut State,
        model: usize,
        ask: &Ask,
        now: Millis,
        die: [u64; 3],
    ) -> (Fate, bool) {
        let place = &self.pool.models[model];
        let provider = &self.pool.providers[place.provider];
        let arrives = now + millis(provider.round_trip_s);
        if let Some(outage) = self.outage(model, now) {
            let fate = match outage {
                OutageKind::Refuses => Fate::Refused(
                    Cause::Outage,
                    Refusal {
                        status: 502,
                        headers: vec![("content-type".into(), "text/html".into())],
                        body: PROXY_PAGE.into(),
                    },
                ),
                OutageKind::Unreachable => Fate::Unreachable,
                OutageKind::Hangs => Fate::Hangs,
            };
            return (fate, false);
        }
        if !place.is_there(now) {
            let seen = state.models[model].gone.get_or_insert(arrives);
            let knowable = *seen <= now;
            let refusal = Refusal {
                status: 404,
                headers: Vec::new(),
                body: NO_SUCH_MODEL.into(),
            };
            return (Fate::Refused(Cause::Gone, refusal), knowable);
        }
        let times = self.times(model, ask, &die);
        for &limit in &place.limits {
            let rule = &self.pool.limits[limit];
            let limit = &mut state.limits[limit];
            let Some(why) = limit.refuses(rule, ask, now, now + times.last) else {
                continue;
            };
            let left = limit.left(now);
            let knowable = limit.refused(rule, ask, why, now, arrives);
            let refusal = match (why, &rule.rule.too_large) {
                (Refuses::TooLarge, Some(refusal)) => refusal,
                _ => &rule.rule.refusal,
            };
            let filling = Filling {
                model: &place.rule.id,
                limit: rule.rule.amount,
                left,
                requested: rule.use_of(ask),
                wait: limit.next(rule, ask, now).map_or(0, |next| next - now),
                wall: self.wall(now),
            };
            let cause = match (why, rule.rule.counts) {
                (Refuses::TooLarge, _) => Cause::TooLarge,
                (_, Counts::Requests) => Cause::Requests,
                (_, Counts::Tokens) => Cause::Tokens,
                (_, Counts::InFlight) => Cause::InFlight,
            };
            return (Fate::Refused(cause, filling.refusal(refusal)), knowable);
        }
        let busy = |wait| {
            Filling {
                model: &place.rule.id,
                wait,
                wall: self.wall(now),
                ..Filling::default()
            }
            .refusal(&provider.busy)
        };
        if let Some(bursts) = &place.rule.bursts {
            let known = &mut state.models[model];
            let until = known
                .weather
                .burst_until(bursts, self.dice, place.number, now);
            if until.is_some() && self.is_hit(bursts.refuses, &die) {
                let told = known.told_to_wait;
                let knowable = told.is_some_and(|(seen, end)| seen <= now && now < end);
                if let Some(wait) = bursts.says_s {
                    known.told_to_wait = Some((arrives, arrives + wait * 1000));
                }
                let wait = bursts.says_s.unwrap_or(0) * 1000;
                return (Fate::Refused(Cause::Burst, busy(wait)), knowable);
            }
        }
        let fate = match self.accident(model, &die) {
            Some(Cause::Broken) => Fate::Refused(Cause::Broken, busy(0)),
            Some(Cause::Stall) => Fate::Stalls,
            Some(_) => Fate::ErrorIn200(times.first),
            None => Fate::Answers(times),
        };
        (fate, false)
    }

    fn outage(&self, model: usize, at: Millis) -> Option<OutageKind> {
        let provider = &self.pool.providers[self.pool.models[model].provider];
        let mut outages = provider.outages.iter();
        let outage =
            outages.find(|outage| (millis(outage.from_s)..millis(outage.until_s)).contains(&at));
        outage.map(|outage| outage.kind)
    }

    fn is_hit(&self, refuses: f64, die: &[u64; 3]) -> bool {
        self.dice.happens(refuses, &[die[0], die[1], die[2], 1])
    }

    /// What goes wrong by chance, whenever the call is made.
    fn accident(&self, model: usize, die: &[u64; 3]) -> Option<Cause> {
        let rule = &self.pool.models[model].rule;
        let number = self.dice.unit(&[die[0], die[1], die[2], 2]);
        let mut sum = 0.0;
        let accidents = [
            (rule.breaks, Cause::Broken),
            (rule.stalls, Cause::Stall),
            (rule.errors_in_200, Cause::ErrorIn200),
        ];
        accidents.into_iter().find_map(|(probability, cause)| {
            sum += probability;
            (number < sum).then_some(cause)
        })
    }

    fn times(&self, model: usize, ask: &Ask, die: &[u64; 3]) -> Times {
        let rule = &self.pool.models[model].rule;
        let draw = |which| [die[0], die[1], die[2], which];
        let first = self
            .dice
            .log_normal(rule.first_token_s, rule.spread, &draw(3));
        let speed = self.dice.log_normal(rule.tokens_per_s, 0.2, &draw(4));
        let first = millis(first).max(10);
        Times {
            first,
            last: first + millis(ask.output as f64 / speed).max(10),
        }
    }

    fn success_headers(
        &self,
        state: &mut State,
        model: usize,
        ask: &Ask,
        now: Millis,
        arrives: Millis,
    ) -> Vec<(String, String)> {
        let place = &self.pool.models[model];
        let headers = &self.pool.providers[place.provider].success_headers;
        let mut filled = Vec::new();
        for &limit in &place.limits {
            let rule = &self.pool.limits[limit];
            let known = &mut state.limits[limit];
            if !rule.rule.is_stated {
                continue;
            }
            known.stated(arrives);
            let filling = Filling {
                model: &place.rule.id,
                limit: rule.rule.amount,
                left: known.left(now),
                requested: rule.use_of(ask),
                wait: known.next(rule, ask, now).map_or(0, |next| next - now),
                wall: self.wall(now),
            };
            let own = format!(":{}>", rule.rule.name);
            let own = headers.iter().filter(|(_, value)| value.contains(&own));
            filled.extend(own.map(|(name, value)| {
                (
                    name.clone(),
                    filling.fill(&value.replace(&format!(":{}>", rule.rule.name), ">")),
                )
            }));
        }
        filled
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, advance};

    use super::*;
    use crate::demand::conversations;

    fn world(rules: &str, seed: u64) -> (World, Vec<Ask>) {
        let text = format!(
            "title = \"a world\"\n[[provider]]\nname = \"p\"\n{rules}\n[[demand]]\nname = \"d\"\nfor_s = 1\ncount = 300\nprompt_tokens = 100\nprompt_spread = 0"
        );
        let scenario = Scenario::parse(&text);
        let asks = conversations(&scenario.demands, Dice::new(seed));
        let asks = asks.into_iter().map(|all| all.turns[0].1.clone()).collect();
        (
            World::new(&scenario, Arc::new(Pool::new(&scenario)), seed),
            asks,
        )
    }

    const MODEL: &str =
        "[[provider.model]]\nid = \"m\"\nwindow = 1000\nfirst_token_s = 1\ntokens_per_s = 50\n";

    fn limited(limit: &str) -> String {
        format!(
            "[[provider.limit]]\nname = \"l\"\nof = \"account\"\nrefusal = {{ status = 429, body = \"no\" }}\n{limit}\n{MODEL}"
        )
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_to_a_call_does_not_depend_on_the_calls_before() {
        let rules = format!(
            "{MODEL}stalls = 0.2\nbreaks = 0.2\nbursts = {{ on_s = 5, off_s = 5, refuses = 0.5 }}"
        );
        let ((alone, asks), (busy, _)) = (world(&rules, 4), world(&rules, 4));
        let mut kinds = std::collections::BTreeSet::new();
        for (n, ask) in asks[..150].iter().enumerate() {
            advance(Duration::from_millis(100)).await;
            busy.begin(0, &asks[150 + n]);
            let fate = format!("{:?}", alone.begin(0, ask).fate);
            assert_eq!(fate, format!("{:?}", busy.begin(0, ask).fate));
            kinds.insert(fate[..6].to_owned());
        }
        assert_eq!(kinds.len(), 3, "{kinds:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_knowable_once_the_limit_has_been_met() {
        let (world, asks) = world(&limited("counts = \"requests\"\namount = 1\nper_s = 60"), 1);
        let knowable = |n: usize| {
            world.begin(0, &asks[n]);
            world.tally().knowable()
        };
        // The first is admitted. The second is refused; before that is answered, the third cannot know.
        assert_eq!([knowable(0), knowable(1), knowable(2)], [0, 0, 0]);
        advance(Duration::from_millis(151)).await;
        assert_eq!(knowable(3), 1);
        advance(Duration::from_secs(60)).await;
        assert_eq!([knowable(4), knowable(5)], [1, 2]);
        assert_eq!(world.tally().wasted(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_draw_cannot_be_known_until_it_is_met() {
        let rule = "counts = \"requests\"\namount = 3\nper_s = 60\nothers_per_minute = 600";
        let (world, asks) = world(&limited(rule), 1);
        for minute in 0..2 {
            // All is drawn by others within a second, in the second minute as well, although the limit is known by then.
            advance(Duration::from_secs(2)).await;
            world.begin(0, &asks[minute * 2]);
            assert_eq!(
                (world.tally().wasted(), world.tally().knowable()),
                (minute as u64 * 2 + 1, minute as u64)
            );
            advance(Duration::from_secs(1)).await;
            world.begin(0, &asks[minute * 2 + 1]);
            assert_eq!(world.tally().knowable(), minute as u64 + 1);
            advance(Duration::from_secs(57)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_size_that_was_too_large_is_known_for_all_larger_ones() {
        let (world, asks) = world(&limited("counts = \"tokens\"\namount = 150\nper_s = 60"), 1);
        let sized = |output| Ask {
            output,
            ..asks[0].clone()
        };
        let knowable = async |output| {
            world.begin(0, &sized(output));
            advance(Duration::from_secs(1)).await;
            world.tally().knowable()
        };
        assert_eq!(
            [
                knowable(100).await,
                knowable(60).await,
                knowable(60).await,
                knowable(70).await
            ],
            [0, 0, 1, 2]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn calls_under_way_are_freed_when_they_end() {
        let (world, asks) = world(&limited("counts = \"in_flight\"\namount = 1"), 1);
        let first = world.begin(0, &asks[0]);
        assert!(matches!(first.fate, Fate::Answers(_)));
        assert!(matches!(
            world.begin(0, &asks[1]).fate,
            Fate::Refused(Cause::InFlight, _)
        ));
        world.end(&first);
        assert!(matches!(world.begin(0, &asks[2]).fate, Fate::Answers(_)));
    }
}
