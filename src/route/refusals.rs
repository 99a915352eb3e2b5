//! What the router answers itself where no target can serve a request, for people and for programs.

use http::StatusCode;
use serde_json::json;

use crate::{
    capability::Capability, catalog::Snapshot, endpoint::Endpoint, refusal::Refusal, request::Needs,
};

/// No listing could be read yet, no provider is configured, or no model may be picked at random.
pub(super) fn empty_pool(pool: &Snapshot) -> Refusal {
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

/// No other model may answer than the one that the request names, and that is not in the pool.
pub(super) fn not_in_pool(name: &str, endpoint: Endpoint) -> Refusal {
    let shown = shown(name);
    let why = match endpoint {
        Endpoint::Embeddings => "vectors of another model could not be compared with its own",
        _ => "x-free-pin forbids any other",
    };
    let message = format!("The model `{shown}` is not in the pool of free models, and {why}.");
    Refusal::new(StatusCode::NOT_FOUND, "model_not_found", message).param("model")
}

/// A name that a caller sent, fit for a message.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Vectors of two models cannot be compared, so no model is as good as any other.
pub(super) fn no_embedding_model() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "embedding_model_required",
        "Vectors of different models cannot be compared, so none is picked at random here: name the embedding model in \
         `model`. No default is configured.",
    )
    .param("model")
}

fn no_previous_response(message: impl Into<String>) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "previous_response_not_found",
        message,
    )
    .param("previous_response_id")
}

/// Only the provider that made a response can build upon it, and which one that was is not known.
pub(super) fn response_not_found() -> Refusal {
    no_previous_response(
        "The response that `previous_response_id` names was not made through this router, or too long ago, or its \
         provider has left the pool. Send the conversation so far as `input` instead.",
    )
}

/// The model that the request insists on is not at the provider that has the response.
pub(super) fn response_elsewhere(name: &str) -> Refusal {
    let shown = shown(name);
    no_previous_response(format!(
        "The model `{shown}` is not at the provider that made the response which `previous_response_id` names, and no \
         other model may answer. Send the conversation so far as `input` instead."
    ))
}

/// The client of this request is this very router.
pub(super) fn routing_loop() -> Refusal {
    Refusal::new(
        StatusCode::LOOP_DETECTED,
        "routing_loop",
        "This request was sent by this very router: one of its providers has the router's own address.",
    )
}

/// A target whose provider has another API for images was picked, and there is no layer that speaks it.
pub(super) fn no_image_layer() -> Refusal {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "image_layer_missing",
        "FreeModelRouteLayer has `image_layer(true)`, but no ImageLayer is inside it to ask for images. Put one there: use \
         `stack`, or add ImageLayer to the ServiceBuilder after FreeModelRouteLayer.",
    )
}

/// The request builds upon something that lives at one provider and was not made through this router.
pub(super) fn foreign_state(field: &'static str) -> Refusal {
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

fn missing_capability(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "missing_capability", message)
}

/// All models are at providers that do not serve the endpoint.
pub(super) fn not_served(models: usize, endpoint: Endpoint) -> Refusal {
    if endpoint.output() == Capability::ImageOutput {
        return no_image_model(models);
    }
    missing_capability(format!(
        "None of the {models} free models in the pool is at a provider that serves {endpoint}."
    ))
    .param(endpoint.output().name())
}

fn no_image_model(models: usize) -> Refusal {
    missing_capability(format!(
        "None of the {models} free models in the pool makes images. What would: a provider with a free image model, a \
         local server such as SD.Next or AUTOMATIC1111, or a chat model with image output."
    ))
    .param(Capability::ImageOutput.name())
}

/// All models lack a capability that the request must have: this one, if it is known.
pub(super) fn incapable(missing: Option<Capability>, models: usize, needs: &Needs) -> Refusal {
    let image = Capability::ImageOutput;
    if missing == Some(image) && needs.endpoint.output() == image {
        return no_image_model(models);
    }
    let cannot = format!("None of the {models} free models in the pool can serve this request");
    let names: Vec<_> = needs.hard.iter().map(Capability::name).collect();
    let refusal = match missing.map(Capability::name) {
        Some(name) => missing_capability(format!("{cannot}: it needs `{name}`.")).param(name),
        None => missing_capability(format!("{cannot}.")),
    };
    refusal.metadata("needs", json!(names))
}
