//! What an upstream has stated to be left, and until when.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    clock::later,
    limits::{
        count::spread,
        log::Entry,
        refill::Refill,
        room::{Left, Reported, Room},
        rule::{Source, next},
    },
    provider::Quantity,
};

/// A count whose end is not stated is believed for so long: most limits are those of a minute (facts: B0).
const UNSTATED: Duration = Duration::from_secs(60);

/// What one response, or one body, says of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StatedLimit {
    /// What it counts.
    pub(crate) of: Quantity,
    /// The length of its window, if that is stated.
    pub(crate) window: Option<Duration>,
    /// How many are allowed.
    pub(crate) limit: Option<u64>,
    /// How many are left, after the call that was answered.
    pub(crate) remaining: Option<u64>,
    /// When they are all left again.
    pub(crate) until: Option<Instant>,
}

/// The newest statement of one limit, and what was used of it since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counter {
    pub(super) stated: StatedLimit,
    /// What was left when it was stated, or when its window began.
    remaining: u64,
    spent: u64,
    /// The call whose answer stated it: later ones are not counted in it.
    by: u64,
    /// The newest call when it was stated. The answers to all calls up to this one may be older than the statement.
    newest: u64,
    until: Instant,
    /// Whether the upstream has named that end.
    is_end_stated: bool,
    /// When the present window began, if another one has ended before.
    began: Option<Instant>,
    refill: Refill,
}

impl Counter {
    /// `spent`: what the calls need that the statement in the answer to `by` may not include; `newest`: the newest call.
    pub(super) fn new(
        stated: StatedLimit,
        remaining: u64,
        spent: u64,
        (by, newest): (u64, u64),
        now: Instant,
    ) -> Self {
        let length = stated.window.unwrap_or(UNSTATED);
        Self {
            stated,
            remaining,
            spent,
            by,
            newest,
            until: stated.until.unwrap_or_else(|| later(now, length)),
            is_end_stated: stated.until.is_some(),
            began: None,
            refill: Refill::default().and(&stated, now),
        }
    }

    /// Whether both are about one limit.
    pub(super) fn is_about(&self, stated: &StatedLimit) -> bool {
        self.stated.of == stated.of && self.stated.window == stated.window
    }

    /// Whether a statement in the answer to this call may be older than this one.
    pub(super) fn is_concurrent(&self, call: u64, stated: &StatedLimit) -> bool {
        let (ends, length) = (stated.until, stated.window.unwrap_or(UNSTATED));
        let is_later = ends.is_some_and(|end| end > later(self.until, length / 2));
        call <= self.newest && !is_later
    }

    /// Takes over a newer statement.
    pub(super) fn renew(&mut self, mut new: Self, now: Instant) {
        new.stated.limit = new.stated.limit.or(self.stated.limit);
        // An end that is not stated is not put off by each statement, while the count goes down.
        if !new.is_end_stated && new.remaining <= self.remaining {
            (new.until, new.is_end_stated) = (self.until, self.is_end_stated);
        }
        new.began = self.began;
        new.refill = self.refill.and(&new.stated, now);
        *self = new;
    }

    /// Takes over a statement in the answer to a call that was in flight at the present one, and may be older: of both the
    /// smaller holds. It includes the call itself, whose need is `weight`. `newest`: the newest call.
    pub(super) fn renew_concurrent(&mut self, call: u64, remaining: u64, weight: u64, newest: u64) {
        if remaining < self.remaining {
            (self.remaining, self.newest) = (remaining, newest);
        }
        if call != self.by {
            self.spent = self.spent.saturating_sub(weight);
        }
        self.by = self.by.max(call);
    }

    /// Begins a new window where the present one is over. Says whether anything is known of it.
    pub(super) fn advance(&mut self, now: Instant) -> bool {
        if let Some((limit, window)) = self.bucket() {
            let gain = self.refill.gain(limit, window, now);
            let full = limit.saturating_add(self.spent);
            self.remaining = self.remaining.saturating_add(gain).min(full);
            return true;
        }
        if self.until > now {
            return true;
        }
        let (Some(limit), Some(length)) = (self.stated.limit, self.stated.window) else {
            return false;
        };
        let (began, until) = next(self.until, length, now);
        (self.remaining, self.spent) = (limit, 0);
        (self.began, self.until) = (Some(began), until);
        self.is_end_stated = false;
        true
    }

    /// How many a bucket holds, and the time in which so many come in, if it is one.
    fn bucket(&self) -> Option<(u64, Duration)> {
        let is_bucket = self.refill.is_bucket();
        self.stated
            .limit
            .zip(self.stated.window)
            .filter(|_| is_bucket)
    }

    /// When so many will be left, and whether that follows from statements alone.
    fn when(&self, need: u64, now: Instant) -> (Instant, bool) {
        match self.bucket() {
            Some((limit, window)) => {
                let missing = self
                    .spent
                    .saturating_add(need)
                    .saturating_sub(self.remaining);
                (self.refill.when(missing, limit, window, now), true)
            }
            None => (self.until, self.is_end_stated),
        }
    }

    pub(super) fn left(&self) -> u64 {
        self.remaining.saturating_sub(self.spent)
    }

    /// Whether a call with so many tokens has room.
    pub(super) fn room(&self, tokens: u64, now: Instant) -> Room {
        let is_of_tokens = self.stated.of == Quantity::Tokens;
        let need = if is_of_tokens { tokens } else { 1 };
        if self.left() >= need {
            return Room::Now;
        }
        match self.stated.limit {
            Some(most) if is_of_tokens && need > most => {
                let is_fact = true;
                Room::TooLarge { most, is_fact }
            }
            _ => {
                let (end, is_fact) = self.when(need, now);
                Room::until(end, is_fact)
            }
        }
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        self.spent = self.spent.saturating_add(self.weight(entry));
    }

    fn weight(&self, entry: &Entry) -> u64 {
        entry.weight(self.stated.of, true)
    }

    /// What a call counts has changed. `is_counted`: also where the statement is newer than the call.
    pub(super) fn change(&mut self, old: &Entry, new: &Entry, is_counted: bool) {
        let is_of_window = self.began.is_none_or(|began| old.begun >= began);
        if is_of_window && (is_counted || old.call > self.by) {
            let without = self.spent.saturating_sub(self.weight(old));
            self.spent = without.saturating_add(self.weight(new));
        }
    }

    pub(super) fn leaves(&self, now: Instant) -> Option<Left> {
        let is_of_requests = self.stated.of == Quantity::Requests;
        let length = self.stated.window.unwrap_or(UNSTATED);
        let amount = self.stated.limit.unwrap_or(self.remaining);
        let until = match self.bucket() {
            // It is refilled from now on, and not only from its end.
            Some(_) => now,
            None => self.until,
        };
        is_of_requests.then(|| spread(self.left(), amount, until, length, now))
    }

    pub(super) fn report(mut self, now: Instant) -> Option<Reported> {
        self.advance(now).then(|| Reported {
            of: self.stated.of,
            window: self.stated.window,
            at_once: false,
            limit: self.stated.limit,
            left: self.left(),
            resets: Some(self.when(self.stated.limit.unwrap_or(0), now).0),
            source: Source::Stated,
        })
    }

    /// The machine was suspended for this long while tokio's clock stood still.
    pub(super) fn jump(&mut self, ahead: Duration, now: Instant) {
        self.until = self.until.checked_sub(ahead).unwrap_or(now);
        self.began = self.began.and_then(|began| began.checked_sub(ahead));
        let counted = &mut self.refill.counted;
        *counted = counted.and_then(|counted| counted.checked_sub(ahead));
    }

    /// When all are left again, if that follows from statements alone.
    pub(super) fn stated_end(&self, now: Instant) -> Option<Instant> {
        let (end, is_fact) = self.when(self.stated.limit.unwrap_or(0), now);
        is_fact.then_some(end)
    }
}
