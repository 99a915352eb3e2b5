//! What is used of one limit.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::{
    clock::later,
    limits::{
        log::{Entry, Log},
        room::{Left, Reported, Room},
        rule::{DAY, Rule, Source, Window, next},
    },
    provider::Quantity,
};

/// What was seen to be accepted beyond a figure of the table is believed for this long after it was last seen.
const RAISED: Duration = DAY;
/// Calls beyond a figure of the table that may be unanswered at a time: of more, the others do not correct it.
const TRIALS: usize = 64;
/// What is left is spread over this time at least.
const HORIZON: Duration = Duration::from_secs(60);

/// A rule, and what is used of it.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) rule: Rule,
    /// Another rule knows better: this one is not applied.
    pub(super) is_superseded: bool,
    used: u64,
    /// Of a rolling window: the place in the log of the first call that counts.
    start: u64,
    /// Of a fixed window: when the present one began; `None` where that is too early for an instant.
    began: Option<Instant>,
    /// What was seen to be accepted beyond a figure of the table, and until when that is believed.
    raised: Option<(u64, Instant)>,
    /// Calls that went beyond a figure of the table, and how much was used with each.
    trials: VecDeque<(u64, u64)>,
}

impl Counted {
    pub(super) fn new(rule: Rule, log: &Log, now: Instant) -> Self {
        let began = match rule.window {
            Window::Until { end, period } => end.checked_sub(period),
            Window::Rolling(_) | Window::AtOnce => None,
        };
        let mut new = Self {
            rule,
            is_superseded: false,
            used: 0,
            start: log.first(),
            began,
            raised: None,
            trials: VecDeque::new(),
        };
        let counted = log
            .entries()
            .filter(|entry| began.is_none_or(|began| entry.begun >= began));
        new.used = counted.map(|entry| new.weight(entry)).sum();
        new.advance(log, now);
        new
    }

    /// Takes over what was counted by another rule for times of the same length.
    pub(super) fn continues(&mut self, old: &Self) {
        if !self.rule.is_like(&old.rule) {
            return;
        }
        if self.rule.source == Source::Table && old.rule.source == Source::Table {
            self.raised = old.raised;
            self.trials.clone_from(&old.trials);
        }
        if let (Window::Until { .. }, Window::Until { .. }) = (self.rule.window, old.rule.window) {
            (self.used, self.began) = (old.used, old.began);
        }
    }

    /// Counts a rolling window again, because the places of the log have changed.
    pub(super) fn recount(&mut self, log: &Log, now: Instant) {
        if let Window::Rolling(_) = self.rule.window {
            self.start = log.first();
            self.used = log.entries().map(|entry| self.weight(entry)).sum();
            self.advance(log, now);
        }
    }

    fn weight(&self, entry: &Entry) -> u64 {
        // A call that was refused takes no part of an inferred limit: that follows from the others alone. Of the limits that
        // are known some count refused calls too (OpenRouter), so all are taken to do so.
        entry.weight(self.rule.of, self.rule.source != Source::Inferred)
    }

    /// Forgets what no longer counts.
    pub(super) fn advance(&mut self, log: &Log, now: Instant) {
        match &mut self.rule.window {
            Window::Until { end, period } if *end <= now => {
                let (began, until) = next(*end, *period, now);
                (self.began, *end) = (Some(began), until);
                self.used = 0;
                self.trials.clear();
            }
            Window::Rolling(length) => {
                let length = *length;
                self.start = self.start.max(log.first());
                while let Some(entry) = log.at(self.start) {
                    if now.saturating_duration_since(entry.begun) < length {
                        break;
                    }
                    self.used = self.used.saturating_sub(self.weight(entry));
                    self.start += 1;
                }
            }
            Window::Until { .. } | Window::AtOnce => {}
        }
    }

    /// How many are allowed.
    pub(super) fn amount(&self, now: Instant) -> u64 {
        let raised = self.raised.filter(|&(_, until)| until > now);
        raised.map_or(self.rule.amount, |(amount, _)| amount.max(self.rule.amount))
    }

    fn used(&self, log: &Log) -> u64 {
        match self.rule.window {
            Window::AtOnce => log.open(),
            Window::Rolling(_) | Window::Until { .. } => self.used,
        }
    }

    /// How much of it a call with so many tokens needs.
    const fn need(&self, tokens: u64) -> u64 {
        match self.rule.of {
            Quantity::Requests => 1,
            Quantity::Tokens => tokens,
        }
    }

    /// How much is left.
    pub(super) fn left(&self, log: &Log, now: Instant) -> u64 {
        self.amount(now).saturating_sub(self.used(log))
    }

    /// Whether a call with so many tokens has room. What is over is forgotten already.
    pub(super) fn room(&self, tokens: u64, log: &Log, now: Instant) -> Room {
        let (amount, need) = (self.amount(now), self.need(tokens));
        let used = self.used(log);
        if used.saturating_add(need) <= amount {
            return Room::Now;
        }
        let is_fact = self.rule.source.is_fact();
        if self.rule.of == Quantity::Tokens && need > amount {
            let most = amount;
            return Room::TooLarge { most, is_fact };
        }
        match self.rule.window {
            Window::AtOnce => Room::AtOnce { is_fact },
            Window::Until { end, .. } => Room::until(end, is_fact),
            Window::Rolling(length) => {
                let excess = used.saturating_add(need) - amount;
                let end = self.when_left(excess, length, log, now);
                Room::until(end, is_fact)
            }
        }
    }

    /// When so much has left a rolling window.
    fn when_left(&self, mut excess: u64, length: Duration, log: &Log, now: Instant) -> Instant {
        for entry in log.from(self.start) {
            excess = excess.saturating_sub(self.weight(entry));
            if excess == 0 {
                return later(entry.begun, length);
            }
        }
        // Nothing is allowed at all.
        later(now, length)
    }

    /// A call begins; `place` is where it stands in the log. Says whether it goes beyond an estimate.
    pub(super) fn add(&mut self, entry: &Entry, place: u64, log: &Log, now: Instant) -> bool {
        match self.rule.window {
            // It was put in order among calls that have left the window.
            Window::Rolling(_) if place < self.start => self.start += 1,
            Window::Rolling(_) | Window::Until { .. } => {
                self.used = self.used.saturating_add(self.weight(entry));
            }
            Window::AtOnce => {}
        }
        let used = self.used(log);
        let is_beyond = !self.rule.source.is_fact() && used > self.rule.amount;
        if is_beyond && self.rule.source == Source::Table && self.trials.len() < TRIALS {
            self.trials.push_back((entry.call, used));
        }
        is_beyond && used > self.amount(now)
    }

    /// What a call counts has changed, or will be nothing, from what it was in `old` to what it is in `new`.
    pub(super) fn change(&mut self, old: &Entry, new: &Entry, place: u64) {
        let counts = match self.rule.window {
            Window::Rolling(_) => place >= self.start,
            Window::Until { .. } => self.began.is_none_or(|began| old.begun >= began),
            Window::AtOnce => false,
        };
        if counts {
            let without = self.used.saturating_sub(self.weight(old));
            self.used = without.saturating_add(self.weight(new));
        }
        self.trials
            .retain(|&(call, _)| new.requests > 0 || call != new.call);
    }

    /// A call that went beyond the figure of the table was accepted, or refused.
    pub(super) fn answered(&mut self, call: u64, is_accepted: bool, now: Instant) {
        let Some(index) = self.trials.iter().position(|&(of, _)| of == call) else {
            return;
        };
        let Some((_, used)) = self.trials.remove(index) else {
            return;
        };
        let raised = self.amount(now);
        let amount = match is_accepted {
            true => raised.max(used),
            // What was seen before no longer holds, if it is that what refused the call.
            false => raised.min(used.saturating_sub(1)),
        };
        self.raised = (amount > self.rule.amount).then(|| (amount, later(now, RAISED)));
    }

    /// What a limit of requests leaves.
    pub(super) fn leaves(&self, log: &Log, now: Instant) -> Option<Left> {
        let length = self.rule.window.length()?;
        let until = match self.rule.window {
            Window::Until { end, .. } => end,
            Window::Rolling(length) => later(now, length),
            Window::AtOnce => return None,
        };
        let left = self.left(log, now);
        let is_of_requests = self.rule.of == Quantity::Requests;
        is_of_requests.then(|| spread(left, self.amount(now), until, length, now))
    }

    /// For snapshots. What is over may still be counted.
    pub(super) fn report(&self, log: &Log, now: Instant) -> Reported {
        let mut present = Self {
            trials: VecDeque::new(),
            ..self.clone()
        };
        present.advance(log, now);
        let resets = match present.rule.window {
            Window::Until { end, .. } => Some(end),
            Window::Rolling(length) => {
                let oldest = log
                    .from(present.start)
                    .find(|entry| present.weight(entry) > 0);
                oldest.map(|oldest| later(oldest.begun, length))
            }
            Window::AtOnce => None,
        };
        Reported {
            of: self.rule.of,
            window: self.rule.window.length(),
            at_once: self.rule.window == Window::AtOnce,
            limit: Some(present.amount(now)),
            left: present.left(log, now),
            resets,
            source: self.rule.source,
        }
    }

    /// The machine was suspended for this long while tokio's clock stood still.
    pub(super) fn jump(&mut self, ahead: Duration, now: Instant) {
        let sooner = |at: &mut Instant| *at = at.checked_sub(ahead).unwrap_or(now);
        if let Window::Until { end, .. } = &mut self.rule.window {
            sooner(end);
        }
        if let Some((_, until)) = &mut self.raised {
            sooner(until);
        }
        self.began = self.began.and_then(|began| began.checked_sub(ahead));
    }

    /// What is kept of it across restarts: what is used of a fixed window, and what is believed beyond the table.
    pub(super) fn kept(&self) -> (u64, Option<(u64, Instant)>) {
        (self.used, self.raised)
    }

    /// Takes over what was kept.
    pub(super) fn restore(&mut self, used: u64, raised: Option<(u64, Instant)>) {
        if let Window::Until { .. } = self.rule.window {
            self.used = self.used.saturating_add(used);
        }
        self.raised = raised;
    }
}

/// So many requests until then, at a limit that allows `amount` again after it.
pub(super) fn spread(
    left: u64,
    amount: u64,
    until: Instant,
    length: Duration,
    now: Instant,
) -> Left {
    let rest = until.saturating_duration_since(now);
    let time = rest.max(HORIZON);
    let after = (time - rest).as_secs_f64() / length.as_secs_f64().max(0.001);
    let requests = left as f64 + amount as f64 * after;
    Left {
        per_second: requests / time.as_secs_f64(),
        granted: amount as f64 / length.as_secs_f64().max(0.001),
    }
}
