//! Why nobody can be picked, for people and for programs.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    attempt_slot::{FirstEnd, Memory, NoTarget},
    capability::Capability,
    catalog::{Snapshot, Target, TargetId},
    endpoint::Endpoint,
    health::{Phase, Place, Standing},
    outcome::OutcomeKind,
    refusal::{Refusal, in_words},
    request::Needs,
};

/// That there is no pick.
pub(crate) enum Nobody {
    /// No target can ever serve this.
    Refused(Box<Refusal>),
    /// Targets could, but not now.
    NotNow(Box<NoTarget>),
}

/// Why a target that could serve the request is not up for a pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    Tried,
    Cooling(Instant, OutcomeKind),
    Guessed(Instant),
    Probing(Instant),
    Quarantined,
    Avoided,
}

impl Out {
    /// Whether the request may be sent to this target once what holds it back is over.
    pub(crate) fn is_worth_waiting_for(self, id: &TargetId, memory: &Memory) -> bool {
        match self {
            Self::Cooling(..) => memory.may_wait_for(id),
            Self::Guessed(_) | Self::Probing(_) => true,
            Self::Tried => memory.second_try(id).is_some(),
            Self::Quarantined | Self::Avoided => false,
        }
    }

    /// When that is, at the latest.
    fn ends(self, id: &TargetId, memory: &Memory) -> Option<Instant> {
        match self {
            Self::Cooling(until, _) | Self::Guessed(until) | Self::Probing(until) => Some(until),
            Self::Tried => memory.second_try(id),
            Self::Quarantined | Self::Avoided => None,
        }
    }
}

/// There is no model that could be picked at random.
pub(crate) fn empty_pool(pool: &Snapshot) -> Refusal {
    let refusal = |message| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "empty_pool", message);
    let awaited: Vec<_> = pool.awaited().collect();
    if pool.is_empty() && !awaited.is_empty() {
        let names = awaited.join(", ");
        return refusal(format!(
            "There is no free model in the pool yet: the listing of {names} could not be read. It is asked for again \
             and again."
        ))
        .metadata("waiting_for", json!(awaited));
    }
    refusal(match pool.len() {
        0 => "There is no free model in the pool. Check the configured providers and their keys."
            .to_owned(),
        models => format!(
            "None of the {models} free models in the pool can be picked at random: they are there for requests that \
             name one, or their listings could not be read for an hour, so that their prices may have changed."
        ),
    })
}

pub(crate) fn not_in_pool(name: &str, endpoint: Endpoint) -> Refusal {
    let shown = shown(name);
    let why = match endpoint {
        Endpoint::Embeddings => "vectors of another model could not be compared with its own",
        _ => "x-free-pin forbids any other",
    };
    Refusal::new(
        StatusCode::NOT_FOUND,
        "model_not_found",
        format!("The model `{shown}` is not in the pool of free models, and {why}."),
    )
    .param("model")
}

/// A name that a caller sent, fit for a message.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Vectors of two models cannot be compared, so there is no model that is as good as any other.
pub(crate) fn no_embedding_model() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "embedding_model_required",
        "Vectors of different models cannot be compared, so none is picked at random here: name the embedding model in \
         `model`. No default is configured.",
    )
    .param("model")
}

/// Only the provider that made a response can build upon it, and which one that was is not known.
pub(crate) fn response_not_found() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "previous_response_not_found",
        "The response that `previous_response_id` names was not made through this router, or too long ago, or its \
         provider has left the pool. Send the conversation so far as `input` instead.",
    )
    .param("previous_response_id")
}

/// The one model that would do is not where the response is.
pub(crate) fn response_elsewhere(name: &str) -> Refusal {
    let shown = shown(name);
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "previous_response_not_found",
        format!(
            "The model `{shown}` is not at the provider that made the response which `previous_response_id` names, and \
             no other model may answer. Send the conversation so far as `input` instead."
        ),
    )
    .param("previous_response_id")
}

/// A target whose provider has another API for images was picked, and there is no layer that speaks it.
pub(crate) fn no_image_layer() -> Refusal {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "image_layer_missing",
        "FreeModelRouteLayer has `image_layer(true)`, but no ImageLayer is inside it to ask for images. Put one there: use \
         `stack`, or add ImageLayer to the ServiceBuilder after FreeModelRouteLayer.",
    )
}

/// The request builds upon something that lives at one provider and was not made through this router.
pub(crate) fn foreign_state(field: &'static str) -> Refusal {
    let why = match field {
        "background" => {
            "A response that is made in the background can only be asked for at the provider that makes it"
        }
        "input" => "An item that is only referred to is kept at the provider that made it",
        _ => "It is kept at one provider",
    };
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "unsupported_state",
        format!("`{field}` cannot be served here. {why}, and a request may go to any provider of the pool."),
    )
    .param(field)
}

/// All of them are at providers that have no such endpoint.
pub(crate) fn not_served(pool: usize, endpoint: Endpoint) -> Refusal {
    if endpoint.output() == Capability::ImageOutput {
        return no_image_model(pool);
    }
    Refusal::new(
        StatusCode::NOT_FOUND,
        "missing_capability",
        format!(
            "None of the {pool} free models in the pool is at a provider that serves {endpoint}."
        ),
    )
    .param(endpoint.output().name())
}

fn no_image_model(pool: usize) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "missing_capability",
        format!(
            "None of the {pool} free models in the pool makes images. What would: a provider with a free image model, \
             a local server such as SD.Next or AUTOMATIC1111, or a chat model with image output."
        ),
    )
    .param(Capability::ImageOutput.name())
}

pub(crate) fn incapable(missing: Option<Capability>, pool: usize, needs: &Needs) -> Refusal {
    if missing == Some(Capability::ImageOutput)
        && needs.endpoint.output() == Capability::ImageOutput
    {
        return no_image_model(pool);
    }
    let names: Vec<_> = needs.hard.iter().map(Capability::name).collect();
    let message = match missing {
        Some(missing) => format!(
            "None of the {pool} free models in the pool can serve this request: it needs `{missing}`."
        ),
        None => format!("None of the {pool} free models in the pool can serve this request."),
    };
    let refusal = Refusal::new(StatusCode::NOT_FOUND, "missing_capability", message)
        .metadata("needs", json!(names));
    match missing {
        Some(missing) => refusal.param(missing.name()),
        None => refusal,
    }
}

/// All that could serve the request are held back: says by what, and until when.
pub(crate) fn not_now(
    held_back: &[(&Target, &Standing, Out)],
    targets: usize,
    memory: &Memory,
    place: Option<Place>,
) -> NoTarget {
    let worth_waiting = held_back
        .iter()
        .filter(|(target, _, out)| out.is_worth_waiting_for(target.id(), memory))
        .filter_map(|(target, _, out)| Some((out.ends(target.id(), memory)?, *out)))
        .min_by_key(|&(end, _)| end);
    let worth_waiting = worth_waiting.map(|(end, out)| FirstEnd {
        at: end,
        // The end of one lease, or of this request's own wait, is no end that others wait for.
        is_shared: !matches!(out, Out::Probing(_) | Out::Tried),
    });
    let is_out = |is: fn(&Out) -> bool| held_back.iter().any(|(_, _, out)| is(out));
    let mut recovery = Recoveries {
        now: Instant::now(),
        limit: None,
        any: None,
    };
    let mut by_reason = BTreeMap::<&str, usize>::new();
    for &(_, standing, out) in held_back {
        *by_reason
            .entry(recovery.note(out, standing.phase))
            .or_default() += 1;
    }
    NoTarget {
        refusal: refusal(targets, &by_reason, &recovery),
        worth_waiting,
        probing: is_out(|out| matches!(out, Out::Probing(_))),
        by_guess: is_out(|out| matches!(out, Out::Probing(_) | Out::Guessed(_))),
        place,
    }
}

/// When those that are held back will be back.
struct Recoveries {
    now: Instant,
    /// The end of the first stated limit.
    limit: Option<Instant>,
    /// The first of all, guesses included.
    any: Option<Instant>,
}

impl Recoveries {
    /// Takes one target into account, and names what holds it back.
    fn note(&mut self, out: Out, phase: Phase) -> &'static str {
        let (reason, back) = match (out, phase) {
            (Out::Cooling(until, kind), _) => {
                if kind.is_limit() {
                    self.limit = earlier(self.limit, until);
                }
                (kind.name(), Some(until))
            }
            (Out::Guessed(until), _) => ("cooling", Some(until)),
            // The probe may end at any moment; its lease only ends at the latest.
            (Out::Probing(_), _) => ("probing", Some(self.now)),
            (Out::Quarantined, _) => ("quarantined", None),
            (Out::Tried, Phase::Guessed(until, _)) => ("tried", Some(until)),
            (Out::Tried, _) => ("tried", Some(self.now)),
            (Out::Avoided, _) => ("provider_excluded", Some(self.now)),
        };
        if let Some(back) = back {
            self.any = earlier(self.any, back);
        }
        reason
    }
}

fn earlier(known: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(known.map_or(other, |known| known.min(other)))
}

fn refusal(targets: usize, by_reason: &BTreeMap<&str, usize>, recovery: &Recoveries) -> Refusal {
    let wait = |until: Instant| until.saturating_duration_since(recovery.now);
    let reasons: Vec<_> = by_reason
        .iter()
        .map(|(reason, n)| format!("{n} {}", reason.replace('_', " ")))
        .collect();
    let mut message = format!(
        "No free model can take this request now. Of the {targets} that could: {}",
        reasons.join(", ")
    );
    if let Some(first) = recovery.any {
        message.push_str("; the first may be back ");
        message.push_str(&in_words(wait(first)));
    }
    message.push('.');
    let (status, code) = match recovery.limit {
        Some(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "no_model_available"),
    };
    let mut refusal = Refusal::new(status, code, message)
        .metadata("targets", json!(targets))
        .metadata("held_back", json!(by_reason));
    if let Some(until) = recovery.limit.or(recovery.any) {
        refusal = refusal.retry_after(wait(until));
    }
    if let Some(until) = recovery.any {
        refusal = refusal.recovers_in(wait(until));
    }
    refusal
}
