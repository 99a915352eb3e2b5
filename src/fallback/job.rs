//! All that outlives one attempt: the request, what its attempts came to, and what to answer in the end.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, request, response};
use tokio::time::Instant;

use crate::{
    attempt_slot::{AttemptSlot, NoTarget, SecondTry, Session, Terms, WaitState},
    body::Body,
    catalog::{Target, TargetId},
    clock::later,
    endpoint::Endpoint,
    fallback::{
        config::Config,
        final_response::{Account, Failed, LastError, OutOf},
        peek::Drain,
    },
    health::{Attempt, Place},
    memory::Held,
    outcome::{Lack, Outcome, OutcomeKind, Recovery, Scope},
    refusal::Refusal,
    request::Segments,
    routed::{Routed, mark_trail},
    upstream::{Classify, Evidence, UpstreamError},
};

pub(crate) struct Job<S, E> {
    pub(crate) config: Arc<Config>,
    /// What the request asks for.
    pub(crate) endpoint: Endpoint,
    /// Never called itself: each later attempt gets a clone.
    service: S,
    parts: request::Parts,
    bytes: Bytes,
    _held: Held,
    session: Arc<Session>,
    trail: Vec<(TargetId, OutcomeKind)>,
    /// Until then an answer must have begun.
    pub(crate) deadline: Instant,
    /// Until then the request may wait for a target, once it has begun to wait.
    waits: Option<Waits>,
    /// The first answer that finds fault with the request.
    refused: Option<Failed>,
    /// The last answer of a target that could not serve this request.
    unfit: Option<Failed>,
    /// The last answer that told of a limit of the caller's own credential, which health does not keep.
    callers_limit: Option<Failed>,
    /// What the last upstream that failed said.
    last: Option<LastError>,
    /// The last error of the inner service. It goes back if nothing but such errors came.
    error: Option<E>,
    /// The first end of a limit that an attempt has met.
    limit: Option<Instant>,
}

impl<S, E> Drop for Job<S, E> {
    /// The session may outlive the request in what the inner service keeps of it; the place in the line must not.
    fn drop(&mut self) {
        let place = self.session.lock().place.take();
        drop(place);
    }
}

/// What a request does that found no target.
pub(crate) enum Wait {
    Until(Instant),
    /// It is sent, whatever is guessed of the targets.
    Over,
    OutOfTime,
    Refuse,
}

/// How long a request may wait for a target.
#[derive(Clone, Copy)]
struct Waits {
    /// For the end of what is stated.
    until: Instant,
    /// Where a guess is all that holds targets back: then it is sent in the end, and needs time for an answer.
    by_guess: Instant,
}

/// What comes after a failure.
pub(crate) enum After<E> {
    /// Another attempt.
    Again,
    /// This answer.
    Answer(Response<Bytes>),
    /// The inner service's own error.
    Error(E),
}

impl<S: Clone, E> Job<S, E> {
    pub(crate) fn new(
        config: Arc<Config>,
        endpoint: Endpoint,
        parts: request::Parts,
        bytes: Bytes,
        held: Held,
        service: S,
    ) -> Self {
        let deadline = later(Instant::now(), config.deadline);
        let session = Arc::<Session>::default();
        if !config.max_wait.is_zero() {
            session.lock().wait = WaitState::Waits;
        }
        session.lock().classify.clone_from(&config.classify);
        Self {
            config,
            endpoint,
            service,
            parts,
            bytes,
            _held: held,
            session,
            trail: Vec::new(),
            deadline,
            waits: None,
            refused: None,
            unfit: None,
            callers_limit: None,
            last: None,
            error: None,
            limit: None,
        }
    }

    pub(crate) fn classify(&self) -> Arc<dyn Classify> {
        self.session.classify()
    }

    pub(crate) fn service(&self) -> S {
        self.service.clone()
    }

    /// The request for one attempt, with a fresh slot.
    pub(crate) fn request(&self) -> (Request<Body>, AttemptSlot) {
        let slot = AttemptSlot::new(Arc::clone(&self.session));
        let now = Instant::now();
        self.session.lock().terms = Some(Terms {
            calls: self.config.max_attempts.saturating_sub(self.trail.len()),
            answer_by: self.answer_end(now, false),
            answer_by_with_choice: self.answer_end(now, true),
        });
        let mut parts = self.parts.clone();
        parts.extensions.insert(slot.clone());
        (
            Request::from_parts(parts, Body::whole(Segments::from(self.bytes.clone()), None)),
            slot,
        )
    }

    /// The end of the wait for a head, as long as it is not known whether the answer is to be streamed.
    pub(crate) fn first_deadline(&self, began: Instant) -> Instant {
        let head = later(began, self.stream_timeout()).min(self.deadline);
        head.min(self.answer_deadline(began))
    }

    /// The end of the wait for a head: for one that is not streamed the head may come with the whole answer.
    pub(crate) fn head_deadline(&self, began: Instant) -> Instant {
        if self.session.lock().streams().unwrap_or(false) {
            self.within(began, self.stream_timeout())
        } else {
            self.answer_deadline(began)
        }
    }

    /// How long the head of a stream may take: the wait for it is a part of the wait for the first token.
    fn stream_timeout(&self) -> Duration {
        let config = &self.config;
        config.header_timeout.min(config.first_token_timeout)
    }

    /// The end of the wait for an answer that is not streamed. While other targets are untried, one that hangs may
    /// use up half of what is left of the deadline, so that another can still answer; but never less than the head of a
    /// stream may take, for in less time no other would answer either.
    pub(crate) fn answer_deadline(&self, began: Instant) -> Instant {
        self.answer_end(began, self.session.lock().had_choice)
    }

    fn answer_end(&self, began: Instant, had_choice: bool) -> Instant {
        let end = self.within(began, self.config.answer_timeout);
        let left = self.deadline.saturating_duration_since(began);
        match had_choice && self.trail.len() + 1 < self.config.max_attempts {
            true => end.min(began + (left / 2).max(self.config.header_timeout)),
            false => end,
        }
    }

    pub(crate) fn within(&self, began: Instant, limit: Duration) -> Instant {
        later(began, limit).min(self.deadline)
    }

    /// An answer begins: marks its head with the way it took here.
    pub(crate) fn mark<B>(&mut self, target: &TargetId, response: &mut Response<B>) {
        self.note(target, OutcomeKind::Succeeded);
        self.mark_trail(response);
    }

    /// Adds an attempt to the trail, after those that the router made before it to answer by several calls.
    fn note(&mut self, target: &TargetId, outcome: OutcomeKind) {
        self.note_earlier();
        self.trail.push((target.clone(), outcome));
    }

    fn note_earlier(&mut self) {
        self.trail.append(&mut self.session.lock().earlier);
    }

    fn mark_trail<B>(&self, response: &mut Response<B>) {
        mark_trail(response.headers_mut(), &self.trail);
        if let Some(routed) = response.extensions_mut().get_mut::<Routed>() {
            routed.trail.clone_from(&self.trail);
        }
    }

    /// The inner service answered with an error.
    pub(crate) fn unreachable(&mut self, attempt: Attempt, error: E) -> After<E> {
        self.error = Some(error);
        self.failed(attempt, &Outcome::of(OutcomeKind::Unreachable), None)
    }

    /// A deadline passed before an answer had begun.
    pub(crate) fn too_slow(&mut self, attempt: Attempt) -> After<E> {
        let out_of_time = Instant::now() >= self.deadline;
        if out_of_time && (!self.trail.is_empty() || self.waits.is_some()) {
            // It had only what other attempts, or the wait for a target, left of the time: no fault of its own.
            self.note(attempt.target().id(), OutcomeKind::TooSlow);
            drop(attempt);
            return self.end(OutOf::Time(self.config.deadline.as_secs_f64()));
        }
        self.failed(attempt, &Outcome::of(OutcomeKind::TooSlow), None)
    }

    /// A success without an answer in it, or one that broke off before it began.
    pub(crate) fn no_answer(&mut self, attempt: Attempt, kind: OutcomeKind) -> After<E> {
        self.failed(attempt, &Outcome::of(kind), None)
    }

    /// An error found in a success.
    pub(crate) fn hidden_error(
        &mut self,
        attempt: Attempt,
        head: response::Parts,
        body: Bytes,
    ) -> After<E> {
        // The router passes an answer as it is, and so does not look for a credential in it.
        let body = attempt.target().provider().credential().redact(&body);
        self.failed_response(attempt, head, body)
    }

    /// A response that is no success.
    pub(crate) fn failure(
        &mut self,
        attempt: Attempt,
        head: response::Parts,
        drain: &mut Drain,
    ) -> After<E> {
        self.failed_response(attempt, head, drain.body())
    }

    fn failed_response(
        &mut self,
        attempt: Attempt,
        mut head: response::Parts,
        body: Bytes,
    ) -> After<E> {
        let target = attempt.target().clone();
        let error = UpstreamError::read(head.status, &head.headers, body);
        let now = attempt.map().wall();
        let evidence = Evidence::new(&target, self.endpoint, &head.headers, &error, now);
        let outcome = self.session.classify().classify(&evidence);
        // An error in a 2xx goes back as the failure that it is.
        head.status = error.answered_with();
        let failed = Failed {
            target,
            head,
            error,
        };
        self.failed(attempt, &outcome, Some(failed))
    }

    fn failed(&mut self, attempt: Attempt, outcome: &Outcome, failed: Option<Failed>) -> After<E> {
        let target = attempt.target().clone();
        self.note(target.id(), outcome.kind);
        if is_callers_own(&target, outcome, failed.as_ref()) {
            attempt.fail(&Outcome::of(OutcomeKind::Refused));
            self.refused = failed;
            return self.end(OutOf::Targets(Refusal::bad_request(
                "The credential was refused.",
            )));
        }
        let map = attempt.map().clone();
        // Before the next pick, so that it sees this.
        if outcome.kind == OutcomeKind::TooSlow && attempt.was_in_line() {
            // It had only what others left of the time: no fault of its own.
            drop(attempt);
        } else {
            attempt.fail(outcome);
        }
        self.remember(&target, outcome, map.second_try(&target));
        let end = map.end_of_limit(&target);
        self.limit = [self.limit, end].into_iter().flatten().min();
        self.last = Some(LastError {
            target: target.id().clone(),
            status: failed.as_ref().map(|failed| failed.head.status),
            message: failed.as_ref().and_then(|failed| failed.error.summary()),
        });
        match outcome.kind {
            OutcomeKind::Refused if self.refused.is_some() => return self.end(OutOf::Budget),
            OutcomeKind::Refused => self.refused = failed,
            OutcomeKind::Unfit => self.unfit = failed,
            OutcomeKind::RateLimited if target.provider().takes_callers_credential() => {
                self.callers_limit = failed;
            }
            _ => {}
        }
        if self.trail.len() >= self.config.max_attempts {
            self.end(OutOf::Budget)
        } else if Instant::now() >= self.deadline {
            self.end(OutOf::Time(self.config.deadline.as_secs_f64()))
        } else {
            After::Again
        }
    }

    /// What the next pick has to know. `after_guess`: when a target that is not in a stated cooldown may be tried again.
    fn remember(&mut self, target: &Target, outcome: &Outcome, after_guess: Option<Instant>) {
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
        match (outcome.kind, outcome.lack) {
            // An empty answer may be an accident: the only target is asked once more.
            (OutcomeKind::Empty, _) if memory.tried.len() == 1 => memory.allow_again(|_| true),
            (_, Some(Lack::ContextLength(window))) => {
                let too_small = window.or_else(|| target.model().context_length());
                memory.too_small = memory.too_small.max(too_small);
            }
            _ => {}
        }
        let of_the_provider =
            outcome.scope == Scope::Provider && outcome.kind != OutcomeKind::Unreachable;
        // Another model of a router has another upstream.
        let for_good = outcome.kind == OutcomeKind::Refused && !outcome.relayed
            || matches!(outcome.lack, Some(Lack::TokensPerMinute | Lack::Endpoint));
        if for_good || of_the_provider {
            memory.avoid(target.provider().name(), !for_good);
        }
    }

    /// No target is free. Says whether, and until when, to wait for one.
    pub(crate) fn wait(&mut self, no_target: &NoTarget) -> Wait {
        if self.refused.is_some() {
            return Wait::Refuse;
        }
        let now = Instant::now();
        if now >= self.deadline {
            return Wait::OutOfTime;
        }
        let mut memory = self.session.lock();
        if memory.wait == WaitState::Waits {
            let (deadline, max_wait) = (self.deadline, self.config.max_wait);
            let Waits { until, by_guess } = *self.waits.get_or_insert_with(|| {
                let until = later(now, max_wait).min(deadline);
                let by_guess = until.min(now + deadline.saturating_duration_since(now) / 2);
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
        if no_target.by_guess && memory.wait != WaitState::Over {
            memory.wait = WaitState::Over;
            return Wait::Over;
        }
        Wait::Refuse
    }

    /// The request has waited, and looks again from its place in the line.
    pub(crate) fn waited(&self, place: Option<Place>) {
        let mut memory = self.session.lock();
        memory.waited(Instant::now());
        memory.place = place;
    }

    pub(crate) fn nobody(&mut self, refusal: Refusal) -> After<E> {
        self.end(OutOf::Targets(refusal))
    }

    /// The router itself refuses, or there is no router: what it says goes back, unless an upstream has said more.
    pub(crate) fn passed_on<B>(&mut self, response: &mut Response<B>) -> Option<After<E>> {
        if self.refused.is_some() {
            return Some(self.end(OutOf::Budget));
        }
        self.note_earlier();
        if !self.trail.is_empty() {
            self.mark_trail(response);
        }
        None
    }

    pub(crate) fn out_of_time(&mut self) -> After<E> {
        self.end(OutOf::Time(self.config.deadline.as_secs_f64()))
    }

    /// The last word, when no attempt answered.
    fn end(&mut self, out_of: OutOf) -> After<E> {
        let unreachable = |(_, outcome): &(_, _)| *outcome == OutcomeKind::Unreachable;
        if let Some(error) = self
            .error
            .take()
            .filter(|_| self.trail.iter().all(unreachable))
        {
            return After::Error(error);
        }
        // The caller's fault goes back in the upstream's own words: the first that found fault with the request,
        // or, where nothing but that went wrong, the last that could not serve it.
        let only_unfit = self
            .trail
            .iter()
            .all(|(_, outcome)| matches!(outcome, OutcomeKind::Unfit | OutcomeKind::Refused));
        let only_limits = self
            .trail
            .iter()
            .all(|(_, outcome)| *outcome == OutcomeKind::RateLimited);
        let said = self
            .refused
            .take()
            .or_else(|| self.unfit.take().filter(|_| only_unfit))
            .or_else(|| self.callers_limit.take().filter(|_| only_limits));
        let account = Account {
            trail: &self.trail,
            last: self.last.as_ref(),
            limit: self.limit,
        };
        let mut response = said.map_or_else(
            || account.refusal(out_of).into_response(),
            Failed::into_response,
        );
        self.mark_trail(&mut response);
        After::Answer(response)
    }
}

/// Whether the caller's own credential was refused: that goes back to the caller, and is not written to shared health.
fn is_callers_own(target: &Target, outcome: &Outcome, failed: Option<&Failed>) -> bool {
    let by_status = failed.is_some_and(|failed| matches!(failed.head.status.as_u16(), 401..=403));
    let by_kind = matches!(
        outcome.kind,
        OutcomeKind::Unauthorised | OutcomeKind::OutOfQuota | OutcomeKind::Gated
    );
    target.provider().takes_callers_credential() && (by_status || by_kind && failed.is_some())
}
