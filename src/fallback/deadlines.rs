//! The time that one request has.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{config::Config, expected_time::Allowance};
use crate::{
    attempt_slot::NoTarget, clock::later, health::Usual, request::Parsed, session::WaitState,
};

#[derive(Clone)]
pub(super) struct Deadlines {
    config: Arc<Config>,
    /// The answer is asked for as a stream of events.
    streams: bool,
    allowance: Allowance,
    /// An answer must have begun by then.
    pub(super) end: Instant,
    /// How long the request may wait for a target, from the first time that it has to.
    waits: Option<Waits>,
}

/// How long a request may wait for a target.
#[derive(Clone, Copy)]
struct Waits {
    /// For the end of what is stated.
    until: Instant,
    /// Where a guess is all that holds targets back: then it is sent in the end, and needs time for an answer.
    by_guess: Instant,
}

/// The target that is asked.
pub(super) struct Asked {
    /// Others can be asked instead.
    pub(super) others: bool,
    /// How long it usually takes; `None` as long as it is not known which target it is.
    pub(super) usual: Option<Usual>,
}

/// What a request does that found no target.
pub(super) enum Wait {
    Until(Instant),
    /// It is sent, whatever is guessed of the targets.
    Over,
    OutOfTime,
    Refuse,
}

impl Deadlines {
    pub(super) fn new(config: Arc<Config>, request: &Parsed) -> Self {
        Self {
            streams: request.streams(),
            allowance: Allowance::of(&request.envelope.needs),
            end: later(Instant::now(), config.deadline),
            waits: None,
            config,
        }
    }

    pub(super) fn are_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Whether the request has waited for a target.
    pub(super) const fn has_waited(&self) -> bool {
        self.waits.is_some()
    }

    /// So long after `began`, but not after the end.
    pub(super) fn until(&self, began: Instant, limit: Duration) -> Instant {
        later(began, limit).min(self.end)
    }

    /// The end of the wait for a head. The head of a stream comes before its first token; that of another answer may come
    /// with the whole of it.
    pub(super) fn head(&self, began: Instant, target: &Asked) -> Instant {
        match self.streams {
            true => {
                let head = self.until(began, self.config.header_timeout);
                head.min(self.first_token(began, target))
            }
            false => self.answer_of(began, target),
        }
    }

    /// The end of the wait for the first content of a stream.
    pub(super) fn first_token(&self, began: Instant, target: &Asked) -> Instant {
        let end = self.until(began, self.config.first_token_timeout);
        match target.others {
            true => {
                let expected = self.allowance.first_content(target.usual.as_ref());
                end.min(later(began, expected))
            }
            false => end,
        }
    }

    /// Whether a second target may be asked beside one that is slow: not where the time that an answer takes is not known.
    pub(super) const fn may_hedge(&self) -> bool {
        self.allowance.is_of_text()
    }

    /// When an attempt that began then takes longer than usual.
    pub(super) fn late(&self, began: Instant, usual: Option<&Usual>) -> Instant {
        self.until(began, self.allowance.late(self.streams, usual))
    }

    /// The end of the wait for an answer of this target that is not streamed.
    pub(super) fn answer_of(&self, began: Instant, target: &Asked) -> Instant {
        let end = self.answer(began, target.others);
        match self.allowance.whole(target.usual.as_ref()) {
            Some(expected) if target.others => end.min(later(began, expected)),
            _ => end,
        }
    }

    /// The end of the wait for an answer that is not streamed, whatever target is asked for it.
    ///
    /// Where `others` can still be asked, a target that hangs may use up half of what is left, so that another can still
    /// answer; but never less than the head of a stream may take, because no other would answer in less.
    pub(super) fn answer(&self, began: Instant, others: bool) -> Instant {
        let end = self.until(began, self.config.answer_timeout);
        let left = self.end.saturating_duration_since(began);
        match others {
            true => end.min(later(began, (left / 2).max(self.config.header_timeout))),
            false => end,
        }
    }

    /// Whether, and until when, a request waits that found no target.
    pub(super) fn wait(&mut self, no_target: &NoTarget, state: &mut WaitState) -> Wait {
        let now = Instant::now();
        if now >= self.end {
            return Wait::OutOfTime;
        }
        if *state == WaitState::Waits {
            let (end, max_wait) = (self.end, self.config.max_wait);
            let Waits { until, by_guess } = *self.waits.get_or_insert_with(|| {
                let until = later(now, max_wait).min(end);
                let by_guess = until.min(now + end.saturating_duration_since(now) / 2);
                Waits { until, by_guess }
            });
            let limit = if no_target.by_guess { by_guess } else { until };
            let first = no_target.worth_waiting.filter(|first| first.at <= limit);
            let end = first.map(|first| match &no_target.place {
                // A turn that comes too late for this request is its last moment instead.
                Some(place) if first.is_shared => place.turn(first.at).min(limit),
                _ => first.at,
            });
            let end = end.or_else(|| no_target.probing.then_some(limit));
            if let Some(end) = end.filter(|_| limit > now) {
                return Wait::Until(end);
            }
        }
        // All that is left to wait for is further away, and a guess at that.
        if no_target.by_guess && matches!(state, WaitState::Never | WaitState::Waits) {
            *state = WaitState::Over;
            return Wait::Over;
        }
        Wait::Refuse
    }
}
