//! What an outcome means for this request: what the next pick has to know, whether another attempt is made, and what
//! goes back to the client if none is.

use std::{mem, sync::Arc};

use bytes::Bytes;
use http::{Response, response};
use tokio::time::Instant;

use super::{
    call::Call,
    config::Config,
    deadlines::{Deadlines, Wait},
    final_response::{Account, Failed, LastError, OutOf},
    hedging::Hedges,
    inspect,
};
use crate::{
    attempt_slot::{AttemptSlot, NoTarget},
    byte_budget::Held,
    catalog::{Target, TargetId},
    endpoint::Endpoint,
    health::{Attempt, Place},
    outcome::{Lack, Outcome, OutcomeKind, Recovery, Scope},
    refusal::Refusal,
    request::Parsed,
    routed::mark_trail,
    session::{SecondTry, Session, WaitState},
    upstream::{Classify, Evidence, UpstreamError, limits},
};

/// All that outlives one attempt.
pub(super) struct Judge<E> {
    pub(super) config: Arc<Config>,
    parsed: Arc<Parsed>,
    _held: Held,
    session: Arc<Session>,
    /// Every attempt in order, with what it came to.
    trail: Vec<(TargetId, OutcomeKind)>,
    pub(super) deadlines: Deadlines,
    /// What an upstream said that may go back to the client, and of which kind: the first refusal of the request, or else
    /// the last response that does if all attempts ended in its kind.
    said: Option<(OutcomeKind, Failed)>,
    /// What the last upstream that failed said.
    last: Option<LastError>,
    /// The last error of the inner service. It goes back if all attempts ended in one.
    error: Option<E>,
    /// The first end of a limit that an attempt has met.
    limit: Option<Instant>,
    /// The target of the call that is under way beside the one that is judged.
    beside: Option<TargetId>,
}

impl<E> Drop for Judge<E> {
    /// The inner service may keep the session with the request; it must not keep the place among those that wait, nor
    /// the body.
    fn drop(&mut self) {
        let mut session = self.session.lock();
        let ended = (session.place.take(), session.parsed.take());
        drop(session);
        drop(ended);
    }
}

/// What comes next.
pub(super) enum Next<E> {
    Attempt,
    Answer(Response<Bytes>),
    /// The inner service's own error.
    Error(E),
}

impl<E> Judge<E> {
    pub(super) fn new(config: Arc<Config>, parsed: Parsed, held: Held) -> Self {
        let deadlines = Deadlines::new(Arc::clone(&config), &parsed);
        if let Some(hedges) = &config.hedges {
            hedges.earn();
        }
        let (parsed, session) = (Arc::new(parsed), Arc::<Session>::default());
        let mut memory = session.lock();
        memory.parsed = Some(Arc::clone(&parsed));
        memory.classify.clone_from(&config.classify);
        if !config.max_wait.is_zero() {
            memory.wait = WaitState::Waits;
        }
        drop(memory);
        Self {
            config,
            parsed,
            _held: held,
            session,
            trail: Vec::new(),
            deadlines,
            said: None,
            last: None,
            error: None,
            limit: None,
            beside: None,
        }
    }

    /// The next call.
    pub(super) fn call(&self) -> Call {
        self.call_beside(0)
    }

    /// A call beside so many others that are under way.
    fn call_beside(&self, others: usize) -> Call {
        Call {
            parsed: Arc::clone(&self.parsed),
            slot: AttemptSlot::new(Arc::clone(&self.session)),
            deadlines: self.deadlines.clone(),
            calls: self.calls_left().saturating_sub(others),
            peek_limit: self.config.peek_limit,
            is_hedge: others > 0,
            picked: None,
        }
    }

    fn calls_left(&self) -> usize {
        self.config.max_attempts.saturating_sub(self.trail.len())
    }

    // ===== a second call beside the first =====

    /// What a second call beside the next one takes its place from, if there may be one.
    pub(super) fn hedges(&self) -> Option<Arc<Hedges>> {
        let may_hedge = self.deadlines.may_hedge() && self.calls_left() >= 2;
        self.config.hedges.clone().filter(|_| may_hedge)
    }

    /// A second call, beside the first one for this target, which is not asked twice.
    pub(super) fn hedge(&self, first: &TargetId) -> Call {
        self.session.lock().asked(first);
        self.call_beside(1)
    }

    /// The target of the call that is under way beside the one that is judged.
    pub(super) fn set_beside(&mut self, beside: Option<TargetId>) {
        self.beside = beside;
    }

    /// The call beside this one is given up.
    fn note_beside(&mut self) {
        if let Some(target) = self.beside.take() {
            self.note(&target, OutcomeKind::Abandoned);
        }
    }

    pub(super) fn classify(&self) -> Arc<dyn Classify> {
        self.session.classify()
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.parsed.endpoint()
    }

    // ===== what an attempt came to =====

    /// An answer begins: marks its head with all attempts.
    pub(super) fn succeeded<B>(&mut self, target: &TargetId, response: &mut Response<B>) {
        self.note_beside();
        self.note(target, OutcomeKind::Succeeded);
        mark_trail(response, mem::take(&mut self.trail));
    }

    /// The inner service answered with an error.
    pub(super) fn unreachable(&mut self, attempt: Attempt, error: E) -> Next<E> {
        self.error = Some(error);
        self.failed(attempt, &Outcome::of(OutcomeKind::Unreachable), None)
    }

    /// A deadline passed before an answer had begun.
    pub(super) fn too_slow(&mut self, attempt: Attempt) -> Next<E> {
        let shared = !self.trail.is_empty() || self.deadlines.has_waited();
        if shared && self.deadlines.are_over() {
            // It had only what other attempts, or the wait for a target, left of the time: that is not its fault.
            self.note(attempt.target().id(), OutcomeKind::TooSlow);
            drop(attempt);
            return self.out_of_time();
        }
        self.failed(attempt, &Outcome::of(OutcomeKind::TooSlow), None)
    }

    /// A success does not answer.
    pub(super) fn no_answer(
        &mut self,
        attempt: Attempt,
        head: response::Parts,
        failure: inspect::Failure,
    ) -> Next<E> {
        let body = match failure {
            inspect::Failure::Outcome(OutcomeKind::TooSlow) => return self.too_slow(attempt),
            inspect::Failure::Outcome(kind) => {
                return self.failed(attempt, &Outcome::of(kind), None);
            }
            // The router looks for a credential in an answer from its first word "error" on, and this one may have none.
            inspect::Failure::Error(body) => attempt.target().provider().credential().redact(&body),
        };
        self.failure(attempt, head, body)
    }

    /// Reads what an upstream's failure says, once: for health, for this request and for the client.
    pub(super) fn failure(
        &mut self,
        attempt: Attempt,
        mut head: response::Parts,
        body: Bytes,
    ) -> Next<E> {
        let target = attempt.target().clone();
        let error = UpstreamError::read(head.status, &head.headers, body);
        let now = attempt.map().wall();
        let evidence = Evidence::new(&target, self.endpoint(), &head.headers, &error, now);
        let outcome = self.session.classify().classify(&evidence);
        attempt.stated(&limits::of(&head.headers, now), None);
        let stated = limits::of_refusal(&error, &head.headers, outcome.limit.as_ref(), now);
        attempt.stated(&stated, Some(outcome.scope));
        // An error in a 2xx goes back as the failure that it is.
        head.status = error.answered_with();
        let failed = Failed {
            target,
            head,
            error,
        };
        self.failed(attempt, &outcome, Some(failed))
    }

    /// Records the outcome of an attempt, and decides.
    fn failed(&mut self, attempt: Attempt, outcome: &Outcome, failed: Option<Failed>) -> Next<E> {
        use OutcomeKind as Kind;
        let target = attempt.target().clone();
        self.note(target.id(), outcome.kind);
        let failed = match failed {
            Some(failed) if is_clients_own(&target, outcome, &failed) => {
                attempt.fail(&Outcome::of(Kind::Refused));
                self.said = Some((Kind::Refused, failed));
                return self.end(OutOf::Budget);
            }
            failed => failed,
        };
        let map = attempt.map().clone();
        // Before the next pick, so that the pick sees it.
        if outcome.kind == Kind::TooSlow && attempt.was_in_line() {
            // It had only what requests before it at its server left of the time: that is not its fault.
            drop(attempt);
        } else {
            attempt.fail(outcome);
        }
        self.remember(&target, outcome, map.second_try(&target));
        let limits = [self.limit, map.end_of_limit(&target)];
        self.limit = limits.into_iter().flatten().min();
        self.last = Some(LastError {
            target: target.id().clone(),
            status: failed.as_ref().map(|failed| failed.head.status),
            message: failed.as_ref().and_then(|failed| failed.error.summary()),
        });
        let goes_back = match outcome.kind {
            Kind::Refused if self.is_refused() => return self.end(OutOf::Budget),
            Kind::Refused => true,
            Kind::Unfit => !self.is_refused(),
            // A limit of the client's own credential, which health does not keep.
            Kind::RateLimited => !self.is_refused() && target.provider().takes_callers_credential(),
            _ => false,
        };
        if goes_back {
            self.said = failed.map(|failed| (outcome.kind, failed));
        }
        if self.trail.len() >= self.config.max_attempts {
            self.end(OutOf::Budget)
        } else if self.deadlines.are_over() {
            self.out_of_time()
        } else {
            Next::Attempt
        }
    }

    /// Whether an upstream has found fault with the request.
    fn is_refused(&self) -> bool {
        matches!(self.said, Some((OutcomeKind::Refused, _)))
    }

    /// What the next pick has to know. `after_guess`: when a target that is not in a stated cooldown may be tried again.
    fn remember(&self, target: &Target, outcome: &Outcome, after_guess: Option<Instant>) {
        use OutcomeKind as Kind;
        let stated = match outcome.recovery {
            Recovery::After(wait) => !wait.is_zero(),
            Recovery::DayEnd => true,
            Recovery::Unstated => outcome.kind == Kind::OutOfQuota,
        };
        let second_try = match (outcome.kind, after_guess) {
            _ if stated => SecondTry::AtReset,
            // One that was too slow would take as long again.
            (Kind::RateLimited | Kind::Unavailable | Kind::Unreachable, Some(at)) => {
                SecondTry::At(at)
            }
            _ => SecondTry::Never,
        };
        let mut memory = self.session.lock();
        memory.tried(target.id(), second_try);
        if outcome.kind == Kind::RateLimited && memory.wait == WaitState::Over {
            memory.refused_after_wait += 1;
            if memory.refused_after_wait > 1 {
                memory.wait = WaitState::Spent;
            }
        }
        match (outcome.kind, outcome.lack) {
            // An empty answer may be an accident: the only target is asked once more.
            (Kind::Empty, _) if memory.tried.len() == 1 => memory.allow_again(|_| true),
            (_, Some(Lack::ContextLength(window))) => {
                let too_small = window.or_else(|| target.model().context_length());
                memory.too_small = memory.too_small.max(too_small);
            }
            _ => {}
        }
        let of_the_provider = outcome.scope == Scope::Provider && outcome.kind != Kind::Unreachable;
        // Another model of a router has another upstream.
        let for_good = outcome.kind == Kind::Refused && !outcome.relayed
            || matches!(
                outcome.lack,
                Some(Lack::TokensPerMinute(_) | Lack::Endpoint)
            );
        if for_good || of_the_provider {
            memory.avoid(target.provider().name(), !for_good);
        }
    }

    // ===== where no target is free =====

    /// Whether, and until when, the request waits for a target.
    pub(super) fn wait(&mut self, no_target: &NoTarget) -> Wait {
        match self.is_refused() {
            true => Wait::Refuse,
            false => self
                .deadlines
                .wait(no_target, &mut self.session.lock().wait),
        }
    }

    /// The request has waited, and looks again from its place among those that wait.
    pub(super) fn waited(&self, place: Option<Place>) {
        let mut memory = self.session.lock();
        memory.waited(Instant::now());
        memory.place = place;
    }

    pub(super) fn no_target(&mut self, refusal: Refusal) -> Next<E> {
        self.end(OutOf::Targets(refusal))
    }

    /// A layer inside has answered by itself: that goes back, unless an upstream has refused the request before. Then it
    /// is that refusal.
    pub(super) fn instead_of<B>(&mut self, response: &mut Response<B>) -> Option<Next<E>> {
        if self.is_refused() {
            return Some(self.end(OutOf::Budget));
        }
        self.note_earlier();
        if !self.trail.is_empty() {
            mark_trail(response, mem::take(&mut self.trail));
        }
        None
    }

    // ===== the end =====

    pub(super) fn out_of_time(&mut self) -> Next<E> {
        self.end(OutOf::Time(self.config.deadline.as_secs_f64()))
    }

    /// The final response, when no attempt answered.
    fn end(&mut self, out_of: OutOf) -> Next<E> {
        let alike = self.ended_alike();
        self.note_beside();
        match self.error.take() {
            Some(error) if alike == Some(OutcomeKind::Unreachable) => return Next::Error(error),
            _ => {}
        }
        let said = self.said.take();
        let said = said.filter(|&(kind, _)| kind == OutcomeKind::Refused || alike == Some(kind));
        let mut response = match said {
            Some((_, failed)) => failed.into_response(),
            None => Account {
                trail: &self.trail,
                last: self.last.as_ref(),
                limit: self.limit,
            }
            .refusal(out_of)
            .into_response(),
        };
        mark_trail(&mut response, mem::take(&mut self.trail));
        Next::Answer(response)
    }

    /// The outcome of all attempts, if they ended alike.
    fn ended_alike(&self) -> Option<OutcomeKind> {
        let (_, first) = self.trail.first()?;
        let alike = self.trail.iter().all(|(_, outcome)| outcome == first);
        alike.then_some(*first)
    }

    /// Adds an attempt to the trail, after those that were made inside before it, to answer by several calls.
    fn note(&mut self, target: &TargetId, outcome: OutcomeKind) {
        self.note_earlier();
        self.trail.push((target.clone(), outcome));
    }

    fn note_earlier(&mut self) {
        self.trail.append(&mut self.session.lock().earlier);
    }
}

/// Whether the client's own credential was refused: that goes back to the client, and is not written to shared health.
fn is_clients_own(target: &Target, outcome: &Outcome, failed: &Failed) -> bool {
    let by_status = matches!(failed.head.status.as_u16(), 401..=403);
    let by_kind = matches!(
        outcome.kind,
        OutcomeKind::Unauthorised | OutcomeKind::OutOfQuota | OutcomeKind::Gated
    );
    target.provider().takes_callers_credential() && (by_status || by_kind)
}
