//! All limits of one account or model, from when there is something to count.

use std::{iter, time::Duration};

use tokio::time::Instant;

use crate::{
    clock::later,
    limits::{
        count::Counted,
        holds::Holds,
        infer::{self, Evidence},
        log::{Answer, Entry, Log},
        room::{Left, Reported, Room},
        rule::{DAY, Rule, Source, Window},
        stated::Counter,
        trial::Trials,
    },
    provider::Quantity,
};

#[derive(Clone, Debug)]
pub(crate) struct Counting {
    /// Of the operator, of the table, and those stated without a count of what is left.
    pub(super) rules: Vec<Counted>,
    /// The inferred rule, and until when it is believed.
    pub(super) inferred: Option<(Counted, Instant)>,
    /// Stated with what is left.
    pub(super) counters: Vec<Counter>,
    pub(super) holds: Holds,
    pub(super) log: Log,
    trials: Trials,
    /// Windows of an unstated limit may be fixed ones.
    pub(super) may_be_fixed: bool,
    pub(super) evidence: Evidence,
    /// Until when calls are counted although no limit is known, because there was one.
    pub(super) watched: Instant,
}

impl Counting {
    pub(super) fn new(now: Instant) -> Self {
        let mut evidence = Evidence::default();
        evidence.begin(now);
        Self {
            rules: Vec::new(),
            inferred: None,
            counters: Vec::new(),
            holds: Holds::default(),
            log: Log::default(),
            trials: Trials::default(),
            may_be_fixed: false,
            evidence,
            watched: later(now, DAY),
        }
    }

    /// There were no calls before it began.
    pub(super) fn knows_all(&mut self) {
        self.evidence.knows_all();
    }

    pub(super) fn set_rules(&mut self, rules: &[Rule], now: Instant) {
        let mut old = std::mem::take(&mut self.rules);
        for &rule in rules {
            let mut new = Counted::new(rule, &self.log, now);
            if let Some(old) = old.iter().find(|old| old.rule.is_like(&rule)) {
                new.continues(old);
            }
            new.advance(&self.log, now);
            self.rules.push(new);
        }
        old.retain(|old| old.rule.source == Source::Stated);
        self.rules.append(&mut old);
        self.supersede();
    }

    /// The limits of the table and of the operator.
    pub(super) fn known_rules(&self) -> Vec<Rule> {
        let rules = self.rules.iter().map(|counted| counted.rule);
        rules.filter(|rule| rule.source != Source::Stated).collect()
    }

    /// Where the operator or the upstream has stated a limit, the table's is not applied.
    pub(super) fn supersede(&mut self) {
        let facts = self.rules.iter().map(|known| known.rule);
        let facts: Vec<Rule> = facts.filter(|rule| rule.source.is_fact()).collect();
        for known in &mut self.rules {
            let rule = known.rule;
            let is_stated = |counter: &Counter| {
                let stated = counter.stated;
                stated.of == rule.of && stated.window == rule.window.length()
            };
            known.is_superseded = rule.source == Source::Table
                && (facts.iter().any(|fact| fact.is_like(&rule))
                    || self.counters.iter().any(is_stated));
        }
    }

    /// The rules that are applied.
    fn applied(&self) -> impl Iterator<Item = &Counted> {
        let inferred = self.inferred.iter().map(|(counted, _)| counted);
        let rules = self.rules.iter().filter(|counted| !counted.is_superseded);
        rules.chain(inferred)
    }

    /// All rules, to be changed by what the log says.
    fn rules_and_log(&mut self) -> (impl Iterator<Item = &mut Counted>, &Log) {
        let inferred = self.inferred.iter_mut().map(|(counted, _)| counted);
        (self.rules.iter_mut().chain(inferred), &self.log)
    }

    fn each_rule(&mut self) -> impl Iterator<Item = &mut Counted> {
        self.rules_and_log().0
    }

    /// Forgets what no longer counts.
    pub(super) fn advance(&mut self, now: Instant) {
        self.inferred.take_if(|(_, until)| *until <= now);
        let (rules, log) = self.rules_and_log();
        for counted in rules {
            counted.advance(log, now);
        }
        let known = self.counters.len();
        self.counters.retain_mut(|counter| counter.advance(now));
        if self.counters.len() < known {
            self.supersede();
        }
    }

    pub(super) fn room(&mut self, tokens: u64, now: Instant) -> Room {
        self.advance(now);
        let rules = self
            .applied()
            .map(|counted| counted.room(tokens, &self.log, now));
        let counters = self
            .counters
            .iter()
            .map(|counter| counter.room(tokens, now));
        let holds = iter::once(self.holds.room(tokens, now));
        let room = rules
            .chain(counters)
            .chain(holds)
            .fold(Room::Now, Room::and);
        match room {
            Room::Estimated(end) if !self.trials.may_begin(now) => Room::Confirmed(end),
            Room::AtOnce { is_fact } => Room::AtOnce {
                is_fact: is_fact || !self.trials.may_begin(now),
            },
            room => room,
        }
    }

    pub(super) fn fits(&mut self, now: Instant) -> u64 {
        if self.room(0, now) != Room::Now {
            return 0;
        }
        let rules = self
            .applied()
            .filter(|counted| counted.rule.of == Quantity::Tokens);
        let rules = rules.map(|counted| counted.left(&self.log, now));
        let counters = self
            .counters
            .iter()
            .filter(|counter| counter.stated.of == Quantity::Tokens);
        let counters = counters.map(Counter::left);
        let least = rules.chain(counters).min().unwrap_or(u64::MAX);
        least.min(self.holds.fits(now))
    }

    pub(super) fn reserve(&mut self, call: u64, tokens: u64, now: Instant) {
        self.advance(now);
        self.log.forget(self.horizon(), now);
        if self.log.compact(now) {
            let (rules, log) = self.rules_and_log();
            for counted in rules {
                counted.recount(log, now);
            }
        }
        let Some(place) = self.log.push(call, tokens, now) else {
            return;
        };
        let Some(&entry) = self.log.at(place) else {
            return;
        };
        let (rules, log) = self.rules_and_log();
        let mut is_trial = false;
        for counted in rules {
            is_trial |= counted.add(&entry, place, log, now);
        }
        for counter in &mut self.counters {
            counter.add(&entry);
        }
        if is_trial {
            self.log.change(call, |entry| entry.is_trial = true);
            self.trials.begun(call);
        }
    }

    /// How long calls that have ended are remembered.
    fn horizon(&self) -> Duration {
        let evidence = match self.evidence.is_empty() {
            true => infer::LONGEST * 2,
            false => infer::MEMORY,
        };
        let lengths = self
            .rules
            .iter()
            .filter_map(|counted| match counted.rule.window {
                Window::Rolling(length) => Some(length),
                Window::Until { .. } | Window::AtOnce => None,
            });
        lengths.fold(evidence, Duration::max)
    }

    /// Changes a call in flight, and what it counts. `is_counted`: also in what was stated after it began.
    fn change(
        &mut self,
        call: u64,
        is_counted: bool,
        change: impl FnOnce(&mut Entry),
    ) -> Option<Entry> {
        let (place, old, new) = self.log.change(call, change)?;
        for counted in self.each_rule() {
            counted.change(&old, &new, place);
        }
        for counter in &mut self.counters {
            counter.change(&old, &new, is_counted);
        }
        Some(new)
    }

    pub(super) fn give_back(&mut self, call: u64, now: Instant) {
        let is_unanswered = |entry: &&Entry| entry.answer == Answer::None;
        if self.log.call(call).filter(is_unanswered).is_none() {
            // The upstream has answered, so it has counted.
            return self.ended(call, None, now);
        }
        self.change(call, true, |entry| {
            (entry.requests, entry.tokens) = (0, 0);
            entry.answer = Answer::GivenBack;
            entry.ended = Some(now);
        });
        self.trials.ended(call);
    }

    pub(super) fn accepted(&mut self, call: u64, now: Instant) {
        let Some(entry) = self.answer(call, true, now) else {
            return;
        };
        let inferred = self.inferred.as_ref();
        let is_contradicted = |(counted, _): &(Counted, Instant)| {
            infer::is_contradicted(&counted.rule, &self.log, now)
        };
        if entry.is_trial && inferred.is_some_and(is_contradicted) {
            self.inferred = None;
            self.infer(now);
        }
    }

    pub(super) fn not_taken(&mut self, call: u64, now: Instant) {
        self.answer(call, false, now);
    }

    pub(super) fn refused(&mut self, call: u64, now: Instant) -> bool {
        self.watched = later(now, DAY);
        let Some(entry) = self.answer(call, false, now) else {
            return false;
        };
        self.evidence.refused(&entry, &self.log, now);
        self.infer(now);
        (entry.is_trial || self.inferred.is_some()) && self.room(0, now) != Room::Now
    }

    /// The first answer to a call in flight.
    fn answer(&mut self, call: u64, is_accepted: bool, now: Instant) -> Option<Entry> {
        self.log.call(call).filter(|entry| entry.is_pending())?;
        // An unanswered call is counted in all that was stated.
        let entry = self.change(call, true, |entry| {
            if is_accepted {
                entry.answer = Answer::Accepted;
            } else {
                // What is refused is not processed.
                (entry.answer, entry.refused, entry.tokens) = (Answer::Refused, 1, 0);
            }
        })?;
        for counted in &mut self.rules {
            counted.answered(call, is_accepted, now);
        }
        self.trials.answered(call, is_accepted, now);
        Some(entry)
    }

    fn infer(&mut self, now: Instant) {
        self.evidence.forget(now);
        // With less evidence a rule that was known before a restart stays.
        if let Some(rule) = self.evidence.rule(self.may_be_fixed, &self.log, now) {
            let rule = rule.zip(self.evidence.until());
            let counted = rule.map(|(rule, until)| (Counted::new(rule, &self.log, now), until));
            self.inferred = counted;
        }
    }

    pub(super) fn refused_tokens(
        &mut self,
        requested: u64,
        left: Option<u64>,
        until: Instant,
        now: Instant,
    ) {
        self.watched = later(now, DAY);
        let least = left.map_or(requested, |left| left.saturating_add(1).min(requested));
        self.holds.add(least.max(1), until, now);
    }

    pub(super) fn ended(&mut self, call: u64, used_tokens: Option<u64>, now: Instant) {
        self.trials.ended(call);
        self.change(call, false, |entry| {
            entry.tokens = used_tokens.unwrap_or(entry.tokens);
            entry.ended = Some(now);
        });
    }

    pub(super) fn left(&mut self, now: Instant) -> Option<Left> {
        self.advance(now);
        let rules = self
            .applied()
            .filter_map(|counted| counted.leaves(&self.log, now));
        let counters = self
            .counters
            .iter()
            .filter_map(|counter| counter.leaves(now));
        let all = rules.chain(counters);
        all.min_by(|one, other| one.per_second.total_cmp(&other.per_second))
    }

    pub(super) fn report(&self, now: Instant) -> Vec<Reported> {
        let inferred = self.inferred.iter().filter(|(_, until)| *until > now);
        let inferred = inferred.map(|(counted, _)| counted);
        let rules = self.rules.iter().filter(|counted| !counted.is_superseded);
        let rules = rules
            .chain(inferred)
            .map(|counted| counted.report(&self.log, now));
        let counters = self
            .counters
            .iter()
            .filter_map(|counter| counter.report(now));
        counters
            .chain(rules)
            .chain(self.holds.report(now))
            .collect()
    }

    /// Forgets what is over. Says whether nothing is left to be counted.
    pub(super) fn drop_past(&mut self, now: Instant) -> bool {
        self.advance(now);
        self.evidence.forget(now);
        self.holds.forget(now);
        self.log.forget(self.horizon(), now);
        let knows_limits = !self.rules.is_empty() || !self.counters.is_empty();
        let has_learned = self.inferred.is_some() || !self.holds.is_empty();
        let is_watched = self.watched > now || !self.evidence.is_empty() || self.log.open() > 0;
        !(knows_limits || has_learned || is_watched)
    }

    pub(super) fn jump(&mut self, ahead: Duration, now: Instant) {
        self.log.jump(ahead);
        for counted in self.each_rule() {
            counted.jump(ahead, now);
        }
        if let Some((_, until)) = &mut self.inferred {
            *until = until.checked_sub(ahead).unwrap_or(now);
        }
        for counter in &mut self.counters {
            counter.jump(ahead, now);
        }
        self.holds.jump(ahead, now);
        self.evidence.jump(ahead);
        self.trials.jump(ahead);
        self.watched = self.watched.checked_sub(ahead).unwrap_or(now);
        self.advance(now);
    }
}
