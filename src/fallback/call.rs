//! One call of the inner service, until it is clear what came of it.

use std::{
    pin::pin,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use http::{Request, Response, response};
use tokio::time::Instant;
use tower_service::Service;

use super::{
    deadlines::{Asked, Deadlines},
    inspect::{Answer, DRAIN_TIME, Failure, Incoming, Limits, drain, look},
};
use crate::{
    attempt_slot::{AttemptSlot, NoTarget, OpenSlot, Taken},
    body::Body,
    catalog::TargetId,
    deadline::within,
    health::{Attempt, Usual},
    request::Parsed,
    session::Terms,
    upstream::{limits as stated, resets},
};

/// What a call has to know of its request. It shares nothing that changes with the judge, so that two can be under way.
pub(super) struct Call {
    pub(super) parsed: Arc<Parsed>,
    pub(super) slot: AttemptSlot,
    pub(super) deadlines: Deadlines,
    /// How many calls may be made, this one included.
    pub(super) calls: usize,
    /// How many bytes of an answer are held back.
    pub(super) peek_limit: usize,
    /// It is made beside another one.
    pub(super) is_hedge: bool,
    /// Where it says what was picked, if it is watched.
    pub(super) picked: Option<Arc<OnceLock<Picked>>>,
}

/// What came of a call.
pub(super) enum Came<R, E> {
    Answer(Incoming<R>, Answer),
    /// A success that does not answer.
    NoAnswer(Attempt, response::Parts, Failure),
    /// A failure, and what it says of itself.
    Failure(Attempt, response::Parts, Bytes),
    Error(Attempt, E),
    /// The deadline came before a head did.
    TooSlow(Attempt),
    /// The deadline came before a target was picked.
    OutOfTime,
    /// The router has found no target.
    NoTarget(NoTarget),
    /// There is no router, or it has refused the request: there is nothing to choose.
    Unrouted(Result<Response<R>, E>),
}

impl<R, E> Came<R, E> {
    /// Whether a target was called.
    pub(super) const fn has_attempt(&self) -> bool {
        !matches!(
            self,
            Self::OutOfTime | Self::NoTarget(_) | Self::Unrouted(_)
        )
    }
}

/// The target that was picked for a call.
#[derive(Clone)]
pub(super) struct Picked {
    pub(super) target: TargetId,
    pub(super) usual: Usual,
    pub(super) began: Instant,
    pub(super) is_probe: bool,
}

impl Picked {
    fn of(attempt: &Attempt) -> Self {
        Self {
            target: attempt.target().id().clone(),
            usual: attempt.usual(),
            began: attempt.began(),
            is_probe: attempt.is_probe(),
        }
    }
}

/// What can be seen of a call that is under way.
pub(super) struct Progress {
    slot: AttemptSlot,
    picked: Arc<OnceLock<Picked>>,
}

impl Progress {
    /// The target of the call, once one was picked.
    pub(super) fn picked(&self) -> Option<Picked> {
        let before_the_head = || self.slot.read_attempt(Picked::of);
        self.picked.get().cloned().or_else(before_the_head)
    }
}

impl Call {
    /// Lets it be seen from outside how far the call has come.
    pub(super) fn watch(&mut self) -> Progress {
        Progress {
            slot: self.slot.clone(),
            picked: Arc::clone(self.picked.get_or_insert_default()),
        }
    }

    /// Calls the inner service, in which the router begins an attempt, and reads the response until it is clear what it is.
    pub(super) async fn make<S, R>(self, service: S) -> Came<R, S::Error>
    where
        S: Service<Request<Body>, Response = Response<R>>,
        R: http_body::Body<Data = Bytes>,
    {
        let (attempt, response) = match self.head(service).await {
            Ok(responded) => responded,
            Err(came) => return came,
        };
        if let Some(picked) = &self.picked {
            // Nothing else sets it.
            let _ = picked.set(Picked::of(&attempt));
        }
        let (head, body) = response.into_parts();
        let mut body = Box::pin(body);
        if !head.status.is_success() {
            let end = self.deadlines.until(Instant::now(), DRAIN_TIME);
            let said = drain(body.as_mut(), end).await;
            return Came::Failure(attempt, head, said);
        }
        attempt.responded();
        let wall = attempt.map().wall();
        attempt.stated(&stated::of(&head.headers, wall), None);
        if let Some(reset) = resets::exhausted(&head.headers, wall) {
            attempt.exhausted(reset);
        }
        let limits = self.limits(&attempt);
        let mut incoming = Incoming {
            attempt,
            head,
            body,
        };
        match look(&mut incoming, limits).await {
            Ok(answer) => Came::Answer(incoming, answer),
            Err(failure) => Came::NoAnswer(incoming.attempt, incoming.head, failure),
        }
    }

    /// Waits for the head of the response.
    async fn head<S, R>(&self, mut service: S) -> Result<(Attempt, Response<R>), Came<R, S::Error>>
    where
        S: Service<Request<Body>, Response = Response<R>>,
    {
        let mut began = Instant::now();
        let slot = OpenSlot(self.slot.clone());
        let future = pin!(service.call(self.request(began)));
        drop(service);
        // Whether other targets could have been tried is known when the router has picked one. Where a layer in between
        // queues requests, that takes longer than the first poll: as long as there is no attempt, none is too slow, and the
        // deadline is put off.
        let deadline = || {
            let usual = self.slot.read_attempt(Attempt::usual);
            if usual.is_none() {
                began = Instant::now();
            }
            self.head_deadline(began, usual)
        };
        let came = within(future, deadline).await;
        match (came, slot.0.take()) {
            (Some(Ok(response)), Taken::Attempt(attempt)) => Ok((attempt, response)),
            (Some(Err(error)), Taken::Attempt(attempt)) => Err(Came::Error(attempt, error)),
            (None, Taken::Attempt(attempt)) => Err(Came::TooSlow(attempt)),
            (Some(Ok(_)), Taken::NoTarget(no_target)) => Err(Came::NoTarget(no_target)),
            (Some(result), _) => Err(Came::Unrouted(result)),
            (None, _) => Err(Came::OutOfTime),
        }
    }

    /// The request for an attempt that begins `now`.
    fn request(&self, now: Instant) -> Request<Body> {
        let mut memory = self.slot.session().lock();
        memory.is_hedge = self.is_hedge;
        memory.terms = Some(Terms {
            calls: self.calls,
            answer_by: self.deadlines.answer(now, false),
            answer_by_with_choice: self.deadlines.answer(now, self.may_be_followed()),
        });
        drop(memory);
        let mut parts = self.parsed.parts.clone();
        parts.extensions.insert(self.slot.clone());
        let body = Body::whole(self.parsed.body.segments(), None);
        Request::from_parts(parts, body)
    }

    /// The end of the wait for a head, of a target that `usual` is known of. As long as none is picked, others may be left
    /// to ask.
    fn head_deadline(&self, began: Instant, usual: Option<Usual>) -> Instant {
        let others = match usual {
            Some(_) => self.can_ask_others(),
            None => self.may_be_followed(),
        };
        self.deadlines.head(began, &Asked { others, usual })
    }

    /// Within which bounds a success is read.
    fn limits(&self, attempt: &Attempt) -> Limits {
        let began = attempt.began();
        let asked = Asked {
            others: self.can_ask_others(),
            usual: Some(attempt.usual()),
        };
        Limits {
            endpoint: self.parsed.endpoint(),
            bytes: self.peek_limit,
            first_token: self.deadlines.first_token(began, &asked),
            answer: self.deadlines.answer_of(began, &asked),
        }
    }

    /// Whether other targets could have been picked, and one of them may still be asked.
    fn can_ask_others(&self) -> bool {
        self.may_be_followed() && self.slot.session().lock().had_choice
    }

    /// Whether another call may follow this one.
    const fn may_be_followed(&self) -> bool {
        self.calls > 1
    }
}
