//! One limit at work: what is used up, what other users draw, and what a caller could know of it.

use crate::{
    demand::Ask,
    dice::Dice,
    pool::{PoolLimit, millis},
    scenario::Counts,
    window::{InFlight, Millis, Window},
};

/// What other users of an account draw at a time, where tokens are counted.
const DRAW_OF_TOKENS: u64 = 500;

/// The state of one limit.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    meter: Meter,
    /// What the calls of this run used alone, where others draw too.
    own: Option<Window>,
    /// How many draws of others are noted, and when the next one is.
    others: (u64, Millis),
    seen: Seen,
}

#[derive(Clone, Debug)]
enum Meter {
    Window(Window),
    InFlight(InFlight),
}

/// What the answers so far have told of a limit. Times are those at which an answer arrived.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// The first refusal.
    refusal: Option<Millis>,
    /// The first success that states what is left.
    statement: Option<Millis>,
    /// The last refusal, and until when nothing was left.
    closed: Option<(Millis, Millis)>,
    /// The smallest request that was too large.
    too_large: Option<(Millis, u64)>,
}

/// Why a limit refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refuses {
    UsedUp,
    /// One request is larger than all of it.
    TooLarge,
}

impl Limit {
    /// `midnight`: the wall clock at the beginning, from midnight.
    pub(crate) fn new(limit: &PoolLimit, dice: Dice, midnight: Millis) -> Self {
        const DAY: Millis = 24 * 3_600_000;
        let rule = &limit.rule;
        let phase = midnight + DAY - millis(rule.begins_at_hour * 3600.0);
        let window = Window::new(rule.window, rule.amount, millis(rule.per_s), phase);
        let mut state = Self {
            own: (rule.others_per_minute > 0.0).then(|| window.clone()),
            meter: match rule.counts {
                Counts::InFlight => Meter::InFlight(InFlight::new(rule.amount)),
                _ => Meter::Window(window),
            },
            others: (0, Millis::MAX),
            seen: Seen::default(),
        };
        if state.own.is_some() {
            state.others.1 = state.pause(limit, dice);
        }
        state
    }

    /// The time between two draws of others.
    fn pause(&self, limit: &PoolLimit, dice: Dice) -> Millis {
        let per_minute = limit.rule.others_per_minute / draw(limit) as f64;
        millis(dice.exponential(60.0 / per_minute, &[limit.number, self.others.0])) + 1
    }

    /// Forgets what is over at `now`, and notes what others draw until `until`. They draw whatever this run uses, so that
    /// all policies meet the same.
    pub(crate) fn advance(&mut self, limit: &PoolLimit, dice: Dice, now: Millis, until: Millis) {
        match &mut self.meter {
            Meter::Window(window) => window.forget(now),
            Meter::InFlight(calls) => calls.forget(now),
        }
        if let Some(own) = &mut self.own {
            own.forget(now);
        }
        while self.others.1 <= until {
            if let Meter::Window(window) = &mut self.meter {
                window.note(self.others.1, draw(limit));
            }
            self.others.0 += 1;
            self.others.1 += self.pause(limit, dice);
        }
    }

    /// Whether `ask` is refused at `at`; it is under way until `until`.
    pub(crate) fn refuses(
        &self,
        limit: &PoolLimit,
        ask: &Ask,
        at: Millis,
        until: Millis,
    ) -> Option<Refuses> {
        let n = limit.use_of(ask);
        match &self.meter {
            Meter::Window(window) if n > window.amount() => Some(Refuses::TooLarge),
            Meter::Window(window) => (!window.admits(at, n)).then_some(Refuses::UsedUp),
            Meter::InFlight(calls) => (!calls.admits(at, until)).then_some(Refuses::UsedUp),
        }
    }

    pub(crate) fn note(
        &mut self,
        limit: &PoolLimit,
        ask: &Ask,
        call: u64,
        at: Millis,
        until: Millis,
    ) {
        let n = limit.use_of(ask);
        match &mut self.meter {
            Meter::Window(window) => window.note(at, n),
            Meter::InFlight(calls) => calls.note(call, at, until),
        }
        if let Some(own) = &mut self.own {
            own.note(at, n);
        }
    }

    /// A call has ended.
    pub(crate) fn end(&mut self, call: u64, at: Millis) {
        if let Meter::InFlight(calls) = &mut self.meter {
            calls.end(call, at);
        }
    }

    /// What is left of it.
    pub(crate) fn left(&self, at: Millis) -> u64 {
        match &self.meter {
            Meter::Window(window) => window.left(at),
            Meter::InFlight(calls) => calls.left(at),
        }
    }

    /// The first moment after `at` at which `ask` could be admitted.
    pub(crate) fn next(&self, limit: &PoolLimit, ask: &Ask, at: Millis) -> Option<Millis> {
        match &self.meter {
            Meter::Window(window) => window.next(at, limit.use_of(ask)),
            Meter::InFlight(calls) => Some(calls.next(at).unwrap_or(at + 1000)),
        }
    }

    /// Whether the caller could have known that `ask`, sent at `at`, is refused; and notes what the refusal, which arrives at
    /// `arrives`, tells for later. See [`Tally`](crate::tally::Tally).
    pub(crate) fn refused(
        &mut self,
        limit: &PoolLimit,
        ask: &Ask,
        why: Refuses,
        at: Millis,
        arrives: Millis,
    ) -> bool {
        let n = limit.use_of(ask);
        let until = match why {
            Refuses::TooLarge => {
                let seen = self.seen.too_large;
                let known = seen.is_some_and(|(since, size)| since <= at && size <= n);
                if seen.is_none_or(|(_, size)| n < size) {
                    self.seen.too_large = Some((arrives, n));
                }
                return known;
            }
            Refuses::UsedUp => self.next(limit, ask, at).unwrap_or(at),
        };
        let seen = &self.seen;
        let is_before = |time: Option<Millis>| time.is_some_and(|time| time <= at);
        let is_closed = seen
            .closed
            .is_some_and(|(since, until)| since <= at && at < until);
        let by_own = self.own.as_ref().is_none_or(|own| !own.admits(at, n));
        let known = is_closed || (by_own && (is_before(seen.refusal) || is_before(seen.statement)));
        self.seen.refusal.get_or_insert(arrives);
        if seen_is_over(self.seen.closed, at) {
            self.seen.closed = Some((arrives, until));
        }
        known
    }

    /// A success that states what is left arrives.
    pub(crate) fn stated(&mut self, arrives: Millis) {
        self.seen.statement.get_or_insert(arrives);
    }
}

fn seen_is_over(closed: Option<(Millis, Millis)>, at: Millis) -> bool {
    closed.is_none_or(|(_, until)| until <= at)
}

const fn draw(limit: &PoolLimit) -> u64 {
    match limit.rule.counts {
        Counts::Tokens => DRAW_OF_TOKENS,
        Counts::Requests | Counts::InFlight => 1,
    }
}
