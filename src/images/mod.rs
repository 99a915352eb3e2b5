//! `POST …/images/generations` at providers that have another API for images than OpenAI's.
//!
//! A [router](crate::FreeModelRoute) sends the request as it is where a provider serves that. Elsewhere an [`ImageLayer`]
//! inside the router translates it, as the provider's [`ImageApi`](crate::provider::ImageApi) says, and the answer comes back in
//! OpenAI's format: `data[]` with `b64_json`, or with a data URL in `url` if `response_format` is `"url"`.
//!
//! # What is read of a request
//!
//! `prompt`, `n` (1 to 10), `size` and `response_format`. A request that cannot be followed is a 400 that names the field,
//! `stream` among them. `txt2img` also takes `negative_prompt`, `steps` (1 to 150) and `seed`, with sides that are multiples
//! of 8 up to 2048 pixels; OpenRouter takes the fields of its own `/images`. A model may have
//! [a size of its own](crate::catalog::ModelBuilder::image_size). [`Routed::dropped`](crate::Routed::dropped) names the fields that the
//! API has no place for.
//!
//! # What an answer says
//!
//! Of each image its `media_type`, `width` and `height`, all read from its bytes, and where the server tells them its `seed`
//! and `infotext`; `metadata` names the checkpoint that was used and its settings. What is no PNG, JPEG or WebP is a failure,
//! and so are answers to one request above 64 MiB together. They are held in memory with what is made of them:
//! [`max_images_in_flight`](ImageLayer::max_images_in_flight) bounds that over all requests.
//!
//! # Several calls
//!
//! A chat model makes one image at a time, so `n` images are `n` chats with the same model. Each is an attempt of its own:
//! in the health map, in `x-free-attempts` and against [`max_attempts`](crate::FallbackLayer::max_attempts). If a further
//! chat fails or may not be made, the answer is a 200 with the images that are there: `x-free-adjusted` names `n`, and
//! `metadata` has `images_asked_for`, `images_made` and `stopped_by`: the outcome of the chat that failed, `max_attempts`,
//! `time` (the answer was due), `cooling` (a limit was met), `memory` or `billed` (a chat reported a cost).
//!
//! A server with `txt2img` makes one image at a time, so requests wait for it in an
//! [`ImageQueue`](crate::Provider::image_queue), which also tells how far the present one is.

mod answer;
mod api;
mod attempts;
mod body;
mod calls;
mod chat;
mod collect;
mod exchange;
mod failure;
mod few;
mod format;
mod future;
mod handover;
pub(crate) mod layer;
mod openrouter;
mod request;
mod sdapi;
mod service;
#[cfg(test)]
mod tests;

pub(crate) use self::layer::ImageLayer;
pub(crate) use self::{
    api::Api,
    handover::{Handover, Translated},
};
pub use self::{body::ResponseBody, future::ResponseFuture, service::Images};
