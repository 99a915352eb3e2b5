//! What the attempts of one request share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::{
    catalog::TargetId,
    health::Place,
    outcome::OutcomeKind,
    request::Parsed,
    upstream::{Classify, DefaultClassify},
};

/// What is shared between the attempts of one request.
#[derive(Default)]
pub(crate) struct Session(Mutex<Memory>);

/// What a request remembers from one attempt to the next.
#[derive(Default)]
pub(crate) struct Memory {
    /// Targets tried so far.
    pub(crate) tried: Vec<Tried>,
    /// Providers that cannot help this request any more.
    pub(crate) avoided: Vec<Avoided>,
    /// A window of this size was too small.
    pub(crate) too_small: Option<u64>,
    /// How often a limit has refused the request after its wait.
    pub(crate) refused_after_wait: u32,
    /// Whether the request waits where a guess is all that holds targets back.
    pub(crate) wait: WaitState,
    /// Its place among the requests that wait, if it has waited and looks again now.
    pub(crate) place: Option<Place>,
    /// Other targets than the one that was picked last could have been tried.
    pub(crate) had_choice: bool,
    /// The present attempt is made beside another one, which takes longer than usual.
    pub(crate) is_hedge: bool,
    /// What the fallback grants for the present attempt; `None` where no fallback is around the router.
    pub(crate) terms: Option<Terms>,
    /// Calls that the router has made as further attempts, with their outcomes: the fallback adds them to the trail.
    pub(crate) earlier: Vec<(TargetId, OutcomeKind)>,
    /// The request as the fallback has read it.
    pub(crate) parsed: Option<Arc<Parsed>>,
    /// How failures are told apart: as the fallback is set, else as the router is.
    pub(crate) classify: Option<Arc<dyn Classify>>,
}

/// What a fallback grants a router that answers one request by several calls of the inner service.
#[derive(Clone)]
pub(crate) struct Terms {
    /// How many calls may be made, the first one included.
    pub(crate) calls: usize,
    /// The end of the wait for the whole answer.
    pub(crate) answer_by: Instant,
    /// The same where other targets could have been tried.
    pub(crate) answer_by_with_choice: Instant,
}

/// What a request does where a guess is all that holds targets back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WaitState {
    /// It does not wait: it is sent as soon as it gets a probe's lease.
    #[default]
    Never,
    /// It waits for the end of the guess.
    Waits,
    /// It has waited as long as it may: it is sent, also beside other probes.
    Over,
    /// It was sent like that, and limits have refused it twice: more such calls would most likely be in vain, and cost quota.
    /// It is refused where a guess is all that is left.
    Spent,
}

/// A target that a request has been sent to.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    pub(crate) id: TargetId,
    /// How often it has failed; 0 if it is being asked for the first time.
    pub(crate) times: u32,
    /// When it may be tried once more.
    pub(crate) second_try: SecondTry,
    /// It may be tried once more, where no untried target is left.
    pub(crate) again: bool,
}

/// When a target that failed may be tried once more by the same request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecondTry {
    Never,
    /// At the end that it named, or that a fixed rule sets.
    AtReset,
    /// At the end of a guess.
    At(Instant),
}

/// A provider that cannot serve this request.
#[derive(Clone, Debug)]
pub(crate) struct Avoided {
    pub(crate) provider: Arc<str>,
    /// Until its limit is over; else for good.
    limited: bool,
}

impl Session {
    /// What tells the failures of this request apart.
    pub(crate) fn classify(&self) -> Arc<dyn Classify> {
        let classify = self.lock().classify.clone();
        classify.unwrap_or_else(|| Arc::new(DefaultClassify))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// The end of the fallback's wait for the whole answer.
    pub(crate) fn answer_by(&self) -> Option<Instant> {
        self.terms.as_ref().map(|terms| match self.had_choice {
            true => terms.answer_by_with_choice,
            false => terms.answer_by,
        })
    }

    /// An attempt for this target has failed.
    pub(crate) fn tried(&mut self, id: &TargetId, second_try: SecondTry) {
        let tried = self.asked(id);
        tried.times += 1;
        tried.second_try = second_try;
    }

    /// This target is being asked, so that another attempt goes elsewhere.
    pub(crate) fn asked(&mut self, id: &TargetId) -> &mut Tried {
        let index = self.tried.iter().position(|tried| tried.id == *id);
        let index = index.unwrap_or_else(|| {
            // There was another target after all: a target is asked twice without a wait only where it is the only one.
            let asked = self.tried.iter_mut();
            let without_a_wait = asked.filter(|tried| tried.second_try == SecondTry::Never);
            without_a_wait.for_each(|tried| tried.again = false);
            self.tried.push(Tried {
                id: id.clone(),
                times: 0,
                second_try: SecondTry::Never,
                again: false,
            });
            self.tried.len() - 1
        });
        let tried = &mut self.tried[index];
        tried.again = false;
        tried
    }

    /// Lets a target be tried a second time, where no untried one is left.
    pub(crate) fn allow_again(&mut self, which: impl Fn(&Tried) -> bool) {
        for tried in &mut self.tried {
            tried.again |= tried.times == 1 && which(tried);
        }
    }

    /// Whether waiting for this target's stated recovery can help: after the wait it may be tried once more.
    pub(crate) fn may_wait_for(&self, id: &TargetId) -> bool {
        self.record_of(id).is_none_or(|tried| tried.times == 1)
    }

    /// When this target may be tried once more, if a guess is all that is against it.
    pub(crate) fn second_try(&self, id: &TargetId) -> Option<Instant> {
        let tried = self.record_of(id)?;
        match tried.second_try {
            SecondTry::At(at) if tried.times == 1 => Some(at),
            _ => None,
        }
    }

    /// This provider cannot help: for good, or because it is `limited` for now.
    pub(crate) fn avoid(&mut self, provider: &str, limited: bool) {
        self.avoided.push(Avoided {
            provider: provider.into(),
            limited,
        });
    }

    /// The record of this target, if an attempt for it has failed.
    pub(crate) fn record_of(&self, id: &TargetId) -> Option<&Tried> {
        self.tried.iter().find(|tried| tried.id == *id)
    }

    /// Whether the request has no use for this provider any more.
    pub(crate) fn avoids(&self, provider: &str) -> bool {
        let mut avoided = self.avoided.iter();
        avoided.any(|avoided| *avoided.provider == *provider)
    }

    /// The request has waited until `now`.
    pub(crate) fn waited(&mut self, now: Instant) {
        self.allow_again(|tried| match tried.second_try {
            SecondTry::Never => false,
            SecondTry::AtReset => true,
            SecondTry::At(at) => at <= now,
        });
        self.avoided.retain(|avoided| !avoided.limited);
    }
}
