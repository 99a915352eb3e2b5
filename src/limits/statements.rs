//! What a statement of an upstream changes.

use tokio::time::Instant;

use crate::{
    clock::later,
    limits::{
        count::Counted,
        counting::Counting,
        rule::{DAY, Rule, Source, Window},
        stated::{Counter, StatedLimit},
    },
    provider::Quantity,
};

/// Stated limits that are kept, of each kind. The most known are Cerebras' six. Of more, the oldest is forgotten.
const MOST_STATED: usize = 12;

impl Counting {
    pub(super) fn state(&mut self, call: Option<u64>, stated: StatedLimit, now: Instant) {
        self.watched = later(now, DAY);
        self.advance(now);
        match stated.remaining {
            // It says nothing of now.
            Some(_) if stated.until.is_some_and(|end| end <= now) => {}
            Some(remaining) => self.state_remaining(call, stated, remaining, now),
            None => self.state_amount(stated, now),
        }
    }

    fn state_remaining(
        &mut self,
        call: Option<u64>,
        stated: StatedLimit,
        remaining: u64,
        now: Instant,
    ) {
        let newest = self
            .log
            .entries()
            .next_back()
            .map_or(0, |newest| newest.call);
        let by = call.unwrap_or(newest);
        let weight = self
            .log
            .call(by)
            .map_or(0, |entry| entry.weight(stated.of, true));
        let spent = self.not_included(by, call.is_some(), stated.of);
        let known = self
            .counters
            .iter_mut()
            .find(|counter| counter.is_about(&stated));
        let new = Counter::new(stated, remaining, spent, (by, newest), now);
        let Some(known) = known else {
            push_bounded(&mut self.counters, new, |_| true);
            self.rules.retain(|known| {
                known.rule.source != Source::Stated
                    || known.rule.of != stated.of
                    || known.rule.window.length() != stated.window
            });
            return self.supersede();
        };
        if call.is_some_and(|call| known.is_concurrent(call, &stated)) {
            known.renew_concurrent(by, remaining, weight, newest);
        } else {
            known.renew(new, now);
        }
    }

    /// A statement of how many are allowed, without what is left of it.
    fn state_amount(&mut self, stated: StatedLimit, now: Instant) {
        let (Some(amount), Some(length)) = (stated.limit, stated.window) else {
            return;
        };
        if let Some(known) = self
            .counters
            .iter_mut()
            .find(|counter| counter.is_about(&stated))
        {
            known.stated.limit = Some(amount);
            return;
        }
        let window = match stated.until {
            Some(end) => Window::Until {
                end,
                period: length,
            },
            None => Window::Rolling(length),
        };
        let (of, source) = (stated.of, Source::Stated);
        let rule = Rule {
            amount,
            of,
            window,
            source,
        };
        let mut new = Counted::new(rule, &self.log, now);
        let is_known = |known: &Counted| known.rule.source == source && known.rule.is_like(&rule);
        if let Some(old) = self.rules.iter().find(|known| is_known(known)) {
            new.continues(old);
        }
        self.rules.retain(|known| !is_known(known));
        push_bounded(&mut self.rules, new, |known| known.rule.source == source);
        self.supersede();
    }

    /// What the calls need that a statement in the answer to `by` may not include: those that are unanswered, and those
    /// that began after it.
    fn not_included(&self, by: u64, is_answer: bool, of: Quantity) -> u64 {
        let mut needed = self.log.pending(of);
        for entry in self.log.entries().rev() {
            let weight = entry.weight(of, true);
            if entry.call > by {
                if !entry.is_pending() {
                    needed = needed.saturating_add(weight);
                }
                continue;
            }
            if is_answer && entry.call == by && entry.is_pending() {
                needed = needed.saturating_sub(weight);
            }
            break;
        }
        needed
    }
}

/// Adds to those that `is_one`; of more than [`MOST_STATED`] of them the oldest goes.
fn push_bounded<T>(all: &mut Vec<T>, new: T, is_one: impl Fn(&T) -> bool) {
    if all.iter().filter(|known| is_one(known)).count() >= MOST_STATED {
        if let Some(oldest) = all.iter().position(is_one) {
            all.remove(oldest);
        }
    }
    all.push(new);
}
