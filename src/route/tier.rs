//! Which eligible targets may be tried now, and how good each is for the request: facts exclude, estimates rank.

use tokio::time::Instant;

use crate::{
    capability::{Capabilities, Capability},
    catalog::{Kind, Target, TargetId},
    health::{Phase, Standing},
    outcome::OutcomeKind,
    request::Needs,
    route::{eligible::Eligible, wish::Wish},
    session::{Memory, Tried, WaitState},
};

/// An eligible target, and its rank if it may be tried now.
pub(super) struct Judged<'a> {
    pub(super) target: &'a Target,
    pub(super) phase: Phase,
    pub(super) rank: Result<Rank, HeldBack>,
}

/// How good a target is for a request; the lowest is best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// The request has tried it already.
    again: bool,
    tier: Tier,
    /// How far its window is from the largest there can be, where a larger one is a better guess. Else 0 for all of its
    /// tier.
    less_room: u64,
    /// It has not succeeded lately, which matters once another target has failed this request.
    unproven: bool,
    /// The end of the guess that it cools by: the first to end is tried first.
    until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Named,
    Fit,
    UnknownFit,
    /// Its window, its output, or a capability that it was found to lack, seems not to be enough.
    Doubtful,
    Cooling,
}

/// Why an eligible target may not be tried now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeldBack {
    Tried,
    Cooling(Instant, OutcomeKind),
    Guessed(Instant),
    Probing(Instant),
    Quarantined,
    /// It has more tokens than a limit of the target allows in all.
    TooLarge,
    Avoided,
    /// It is not good enough to be asked beside another target.
    NotSecond,
}

impl HeldBack {
    /// Whether the request may be sent to this target once what holds it back is over.
    pub(super) fn is_worth_waiting_for(self, id: &TargetId, memory: &Memory) -> bool {
        match self {
            Self::Cooling(..) => memory.may_wait_for(id),
            Self::Guessed(_) | Self::Probing(_) => true,
            Self::Tried => memory.second_try(id).is_some(),
            Self::Quarantined | Self::TooLarge | Self::Avoided | Self::NotSecond => false,
        }
    }
}

impl Rank {
    /// Whether the request has tried the target already.
    pub(super) const fn is_second_try(&self) -> bool {
        self.again
    }

    /// The same for a target that has succeeded lately.
    pub(super) const fn proven(mut self) -> Self {
        self.unproven = false;
        self
    }

    /// Whether the target cools by a guess.
    pub(super) const fn is_guessed(&self) -> bool {
        self.until.is_some()
    }

    /// Whether the target is as good as those against which nothing is held.
    pub(super) fn is_healthy(&self) -> bool {
        self.tier < Tier::Cooling
    }
}

/// How good a target is for a request, if it may be tried now.
///
/// `tried`: what became of it before, if the request has tried it. `avoided`: its provider cannot help the request.
pub(super) fn rank(
    eligible: &Eligible<'_>,
    standing: &Standing,
    tried: Option<&Tried>,
    avoided: bool,
    wish: &Wish<'_>,
    memory: &Memory,
) -> Result<Rank, HeldBack> {
    held_back(standing, tried, avoided, memory)?;
    Ok(worth(eligible, standing, tried.is_some(), wish, memory))
}

/// What holds a target back, whatever it is worth.
pub(super) fn held_back(
    standing: &Standing,
    tried: Option<&Tried>,
    avoided: bool,
    memory: &Memory,
) -> Result<(), HeldBack> {
    if standing.quarantined {
        return Err(HeldBack::Quarantined);
    }
    if let Phase::Stated(until, kind) = standing.phase {
        return Err(HeldBack::Cooling(until, kind));
    }
    if standing.too_large {
        return Err(HeldBack::TooLarge);
    }
    if tried.is_some_and(|tried| !tried.again) {
        return Err(HeldBack::Tried);
    }
    if avoided {
        return Err(HeldBack::Avoided);
    }
    if memory.is_hedge && !may_be_asked_second(standing) {
        return Err(HeldBack::NotSecond);
    }
    match (standing.phase, memory.wait) {
        (Phase::Probing(until), WaitState::Never | WaitState::Waits | WaitState::Spent) => {
            Err(HeldBack::Probing(until))
        }
        (Phase::Guessed(until, _), WaitState::Waits | WaitState::Spent) => {
            Err(HeldBack::Guessed(until))
        }
        _ => Ok(()),
    }
}

/// Whether a target may be asked beside another one: that is a luxury, so that nothing may speak against the target.
const fn may_be_asked_second(standing: &Standing) -> bool {
    matches!(standing.phase, Phase::Healthy)
}

/// How good a target is that nothing holds back. `again`: the request has tried it.
#[inline]
pub(super) fn worth(
    eligible: &Eligible<'_>,
    standing: &Standing,
    again: bool,
    wish: &Wish<'_>,
    memory: &Memory,
) -> Rank {
    let tier = match standing.phase {
        // A name is a wish to try that one first, and a target in probation needs a request that tries it.
        Phase::Probation { .. } | Phase::Healthy if eligible.named && wish.prefer_requested => {
            Tier::Named
        }
        Phase::Probation { rested: true } | Phase::Healthy => {
            fit(eligible, standing, wish.needs, memory)
        }
        _ => Tier::Cooling,
    };
    let by_room = tier == Tier::Doubtful || memory.too_small.is_some();
    Rank {
        again,
        tier,
        less_room: match by_room {
            true => u64::MAX - window(eligible.kind, standing).unwrap_or(u64::MAX),
            false => 0,
        },
        unproven: !memory.tried.is_empty() && !standing.proven,
        until: match standing.phase {
            Phase::Guessed(until, _) => Some(until),
            _ => None,
        },
    }
}

#[inline]
fn fit(eligible: &Eligible<'_>, standing: &Standing, needs: &Needs, memory: &Memory) -> Tier {
    /// Any model that is offered today has at least such a window.
    const SMALLEST_WINDOW: u64 = 4096;
    let kind = eligible.kind;
    let window = window(kind, standing);
    let is_too_small = |window| {
        let too_small = memory.too_small;
        !needs.fits(window) || too_small.is_some_and(|too_small| window <= too_small)
    };
    let asks_too_much = match (needs.output_tokens, kind.max_output) {
        (Some(asked), Some(most)) => asked > most,
        _ => false,
    };
    if window.is_some_and(is_too_small)
        || asks_too_much
        || !standing.lacks.intersection(needs.hard).is_empty()
    {
        return Tier::Doubtful;
    }
    let capabilities = kind.capabilities();
    // The listing of a chat model need not say that it writes text.
    let stated = Capabilities {
        yes: capabilities.yes.with(Capability::TextOutput),
        no: capabilities.no,
    };
    let is_known = eligible.serves == Some(true)
        && stated.certain(needs.hard)
        && capabilities.missing(needs.soft).is_empty()
        && (window.is_some() || needs.fits(SMALLEST_WINDOW));
    if is_known {
        Tier::Fit
    } else {
        Tier::UnknownFit
    }
}

/// The window that is stated, or the smaller one that was found.
fn window(kind: &Kind, standing: &Standing) -> Option<u64> {
    match (kind.window, standing.window) {
        (Some(stated), Some(found)) => Some(stated.min(found)),
        (stated, found) => stated.or(found),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;

    use super::*;
    use crate::{
        capability::CapabilitySet,
        catalog::{Catalog, Model, ModelBuilder},
        endpoint::Endpoint,
        provider::{FreeRule, Provider},
        request::scan,
        session::SecondTry,
    };

    fn target(model: ModelBuilder) -> Target {
        let provider = Provider::new("p").free(FreeRule::All).build().unwrap();
        provider.target(model).unwrap()
    }

    fn model() -> ModelBuilder {
        Model::new("m").context_length(8192).output(&["text"])
    }

    fn standing(phase: Phase) -> Standing {
        Standing {
            phase,
            ..Standing::HEALTHY
        }
    }

    fn waiting(wait: WaitState) -> Memory {
        Memory {
            wait,
            ..Memory::default()
        }
    }

    fn rank_of(
        model: ModelBuilder,
        standing: &Standing,
        named: bool,
        memory: &Memory,
    ) -> Result<Rank, HeldBack> {
        let body = r#"{"messages":[{"role":"user","content":"Hi"}],"max_tokens":100}"#;
        let envelope = scan(&body.into(), Endpoint::ChatCompletions).unwrap();
        let snapshot = Catalog::from_targets([target(model)]).snapshot();
        let eligible = Eligible {
            kind: &snapshot.kinds()[0].kind,
            named,
            serves: Some(true),
        };
        let headers = HeaderMap::new();
        let wish = Wish::any(&envelope.needs, &headers);
        let tried = memory.record_of(snapshot.targets()[0].id());
        rank(
            &eligible,
            standing,
            tried,
            memory.avoids("p"),
            &wish,
            memory,
        )
    }

    fn tier(model: ModelBuilder, standing: &Standing, named: bool) -> Tier {
        let rank = rank_of(model, standing, named, &waiting(WaitState::Over));
        rank.unwrap().tier
    }

    const PROBATION: Phase = Phase::Probation { rested: false };
    const RESTED: Phase = Phase::Probation { rested: true };

    #[tokio::test(start_paused = true)]
    async fn only_a_request_that_names_a_target_puts_it_first_in_probation() {
        for (phase, unnamed) in [
            (Phase::Healthy, Tier::Fit),
            (RESTED, Tier::Fit),
            (PROBATION, Tier::Cooling),
        ] {
            assert_eq!(tier(model(), &standing(phase), true), Tier::Named);
            assert_eq!(tier(model(), &standing(phase), false), unnamed);
        }
        let soon = Instant::now() + Duration::from_secs(1);
        for phase in [
            Phase::Guessed(soon, OutcomeKind::Empty),
            Phase::Probing(soon),
        ] {
            for named in [true, false] {
                assert_eq!(tier(model(), &standing(phase), named), Tier::Cooling);
            }
        }
    }

    #[test]
    fn a_target_fits_by_what_is_stated_and_what_was_found() {
        let healthy = standing(Phase::Healthy);
        let fit = |model, standing: &Standing| tier(model, standing, false);
        let small = || model().context_length(50);
        assert_eq!(fit(model(), &healthy), Tier::Fit);
        assert_eq!(fit(small(), &healthy), Tier::Doubtful);
        assert_eq!(fit(model().max_output(99), &healthy), Tier::Doubtful);
        let found = |window, lacks| Standing {
            window,
            lacks,
            ..healthy.clone()
        };
        let lack = CapabilitySet::EMPTY.with(Capability::TextOutput);
        let other = CapabilitySet::EMPTY.with(Capability::Tools);
        assert_eq!(fit(model(), &found(Some(50), other)), Tier::Doubtful);
        assert_eq!(fit(model(), &found(None, lack)), Tier::Doubtful);
        assert_eq!(fit(model(), &found(None, other)), Tier::Fit);
        let order = [
            Tier::Named,
            Tier::Fit,
            Tier::UnknownFit,
            Tier::Doubtful,
            Tier::Cooling,
        ];
        assert!(order.is_sorted());
    }

    #[tokio::test(start_paused = true)]
    async fn what_holds_a_target_back_depends_on_whether_the_request_waits() {
        use WaitState::{Never, Over, Waits};
        let until = Instant::now() + Duration::from_secs(1);
        let kind = OutcomeKind::Unavailable;
        let probing = (Phase::Probing(until), HeldBack::Probing(until));
        let guessed = (Phase::Guessed(until, kind), HeldBack::Guessed(until));
        let stated = (Phase::Stated(until, kind), HeldBack::Cooling(until, kind));
        for ((phase, why), holds) in [
            (probing, &[Never, Waits][..]),
            (guessed, &[Waits]),
            (stated, &[Never, Waits, Over]),
        ] {
            for wait in [Never, Waits, Over] {
                let rank = rank_of(model(), &standing(phase), true, &waiting(wait));
                assert_eq!(rank.err(), holds.contains(&wait).then_some(why), "{wait:?}");
            }
        }
        let quarantined = Standing {
            quarantined: true,
            ..standing(Phase::Healthy)
        };
        let rank = rank_of(model(), &quarantined, true, &waiting(Over));
        assert_eq!(rank, Err(HeldBack::Quarantined));
    }

    #[test]
    fn a_tried_target_comes_last_and_a_provider_that_cannot_help_is_avoided() {
        let (healthy, mut memory) = (standing(Phase::Healthy), Memory::default());
        let first = rank_of(model(), &healthy, false, &memory).unwrap();
        memory.tried(target(model()).id(), SecondTry::AtReset);
        let rank = |memory: &Memory| rank_of(model(), &healthy, true, memory);
        assert_eq!(rank(&memory), Err(HeldBack::Tried));
        memory.allow_again(|_| true);
        let again = rank(&memory).unwrap();
        assert!(again > first && again.tier == Tier::Named);
        memory.avoid("p", true);
        assert_eq!(rank(&memory), Err(HeldBack::Avoided));
    }

    #[tokio::test(start_paused = true)]
    async fn within_a_tier_the_larger_the_proven_and_the_first_to_end_go_first() {
        let rank = |model, standing: &Standing, memory: &Memory| {
            rank_of(model, standing, false, memory).unwrap()
        };
        let (healthy, mut memory) = (standing(Phase::Healthy), Memory::default());
        let proven = Standing {
            proven: true,
            ..standing(Phase::Healthy)
        };
        let [small, tiny] = [60, 50].map(|window| model().context_length(window));
        assert!(rank(small, &healthy, &memory) < rank(tiny, &healthy, &memory));
        assert_eq!(
            rank(model(), &healthy, &memory),
            rank(model().context_length(9000), &proven, &memory),
            "before a failure neither window nor record matters"
        );
        let second = Duration::from_secs(1);
        let guessed = |end| standing(Phase::Guessed(end, OutcomeKind::Empty));
        let [sooner, later] = [1, 2].map(|n| guessed(Instant::now() + n * second));
        assert!(rank(model(), &sooner, &memory) < rank(model(), &later, &memory));
        memory.tried(target(Model::new("other")).id(), SecondTry::Never);
        assert!(rank(model(), &proven, &memory) < rank(model(), &healthy, &memory));
        memory.too_small = Some(4096);
        let larger = model().context_length(9000);
        assert!(rank(larger, &healthy, &memory) < rank(model(), &proven, &memory));
        memory.too_small = Some(8192);
        assert_eq!(rank(model(), &proven, &memory).tier, Tier::Doubtful);
    }
}
