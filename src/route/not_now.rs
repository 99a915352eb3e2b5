//! What the router says where targets can serve a request, but none may be tried now.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    attempt_slot::{FirstEnd, NoTarget},
    catalog::TargetId,
    health::{Phase, Place},
    refusal::{Refusal, in_words},
    route::tier::{HeldBack, Judged},
    session::Memory,
};

/// All targets that can serve the request are held back: says by what, and until when.
pub(super) fn not_now(judged: &[Judged<'_>], memory: &Memory, place: Option<Place>) -> NoTarget {
    let now = Instant::now();
    let held_back = || {
        judged
            .iter()
            .filter_map(|one| Some((one, *one.rank.as_ref().err()?)))
    };
    let worth_waiting = held_back()
        .filter(|(one, why)| why.is_worth_waiting_for(one.target.id(), memory))
        .filter_map(|(one, why)| first_end(why, one.target.id(), memory))
        .min_by_key(|first| first.at);
    let is_limit = |why| match why {
        HeldBack::Cooling(until, kind) if kind.is_limit() => Some(until),
        _ => None,
    };
    let limit = held_back().filter_map(|(_, why)| is_limit(why)).min();
    let mut first = None::<Instant>;
    let mut by_reason = BTreeMap::<&str, usize>::new();
    for (one, why) in held_back() {
        let (reason, back) = reason(why, one.phase, now);
        *by_reason.entry(reason).or_default() += 1;
        first = [first, back].into_iter().flatten().min();
    }
    let is_probing = |why: HeldBack| matches!(why, HeldBack::Probing(_));
    let is_guess = |why: HeldBack| is_probing(why) || matches!(why, HeldBack::Guessed(_));
    NoTarget {
        refusal: refusal(&by_reason, limit, first, now),
        worth_waiting,
        probing: held_back().any(|(_, why)| is_probing(why)),
        by_guess: held_back().any(|(_, why)| is_guess(why)),
        place,
    }
}

/// When a target may be tried again, at the latest.
fn first_end(why: HeldBack, id: &TargetId, memory: &Memory) -> Option<FirstEnd> {
    // Other requests wait for the end of a cooldown as well; not for that of this lease, or of this request's own wait.
    let (at, is_shared) = match why {
        HeldBack::Cooling(until, _) | HeldBack::Guessed(until) => (until, true),
        HeldBack::Probing(until) => (until, false),
        HeldBack::Tried => (memory.second_try(id)?, false),
        HeldBack::Quarantined | HeldBack::TooLarge | HeldBack::Avoided | HeldBack::NotSecond => {
            return None;
        }
    };
    Some(FirstEnd { at, is_shared })
}

/// The name of what holds a target back, and when the target may be back for another request.
fn reason(why: HeldBack, phase: Phase, now: Instant) -> (&'static str, Option<Instant>) {
    match (why, phase) {
        (HeldBack::Cooling(until, kind), _) => (kind.name(), Some(until)),
        (HeldBack::Guessed(until), _) => ("cooling", Some(until)),
        // The probe may end at any moment; its lease is only the latest end.
        (HeldBack::Probing(_), _) => ("probing", Some(now)),
        (HeldBack::Quarantined, _) => ("quarantined", None),
        (HeldBack::TooLarge, _) => ("too_large", None),
        (HeldBack::Tried, Phase::Guessed(until, _)) => ("tried", Some(until)),
        (HeldBack::Tried, _) => ("tried", Some(now)),
        (HeldBack::NotSecond, _) => ("cooling", Some(now)),
        (HeldBack::Avoided, _) => ("provider_excluded", Some(now)),
    }
}

/// `limit` is the first end of a stated limit, `first` the first end of all, guesses included.
fn refusal(
    by_reason: &BTreeMap<&str, usize>,
    limit: Option<Instant>,
    first: Option<Instant>,
    now: Instant,
) -> Refusal {
    let wait = |until: Instant| until.saturating_duration_since(now);
    let targets: usize = by_reason.values().sum();
    let reasons: Vec<_> = by_reason
        .iter()
        .map(|(reason, n)| format!("{n} {}", reason.replace('_', " ")))
        .collect();
    let back = first.map(|first| format!("; the first may be back {}", in_words(wait(first))));
    let message = format!(
        "No free model can take this request now. Of the {targets} that could: {}{}.",
        reasons.join(", "),
        back.unwrap_or_default()
    );
    let (status, code) = match limit {
        Some(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "no_model_available"),
    };
    let mut refusal = Refusal::new(status, code, message)
        .metadata("targets", json!(targets))
        .metadata("held_back", json!(by_reason));
    if let Some(until) = limit.or(first) {
        refusal = refusal.retry_after(wait(until));
    }
    if let Some(until) = first {
        refusal = refusal.recovers_in(wait(until));
    }
    refusal
}
