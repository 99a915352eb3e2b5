//! `POST /images/generations` at services that have it not: what is asked of them instead, and OpenAI's answer made of
//! what they say.
//!
//! A [`Translation`] does no I/O. It says what to ask, is given the answer, and says what to ask next or what the
//! caller gets. Whoever drives it passes any answer on that is not a 2xx, as it came.

pub(crate) mod answer;
pub(crate) mod call;
pub(crate) mod chat;
pub(crate) mod exchange;
pub(crate) mod format;
pub(crate) mod openrouter;
pub(crate) mod progress;
pub(crate) mod request;
pub(crate) mod sdapi;
pub(crate) mod series;

pub(crate) use self::{exchange::Exchange, series::Series};

use std::fmt;

use bytes::Bytes;
use http::Method;

use crate::{
    capability::{Capability, CapabilitySet},
    catalog::Target,
    endpoint::Endpoint,
    images::{chat::Chat, openrouter::OpenRouter, request::ImageRequest, sdapi::Sdapi},
    provider::ImageApi,
    refusal::Refusal,
};

/// How a target is asked for an image; `None` if it cannot be asked at all.
///
/// The dialect of its provider says so. Where that does not serve `/images/generations`, a model that writes text and
/// makes images is asked by chat. A provider without a base URL is given the request as it is: its inner service knows
/// where to go, and how.
pub(crate) fn api_of(target: &Target) -> Option<ImageApi> {
    /// A chat model that makes images, such as Gemini's.
    const ILLUSTRATOR: CapabilitySet = CapabilitySet::EMPTY
        .with(Capability::TextOutput)
        .with(Capability::ImageOutput);
    let provider = target.provider();
    let api = provider.dialect().images;
    if provider.base().is_none() {
        return Some(ImageApi::OpenAi);
    }
    if api != ImageApi::OpenAi || provider.serves(Endpoint::ImageGenerations) != Some(false) {
        return Some(api);
    }
    let chats = provider.serves(Endpoint::ChatCompletions) != Some(false);
    (chats && target.model().capabilities().certain(ILLUSTRATOR)).then_some(ImageApi::Chat)
}

/// A question to the provider.
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Under the base URL.
    pub(crate) path: &'static str,
    /// JSON; empty for none.
    pub(crate) body: Bytes,
    /// It is asked in its turn: the server makes one image at a time.
    pub(crate) in_turn: bool,
}

impl Ask {
    fn post(path: &'static str, body: &serde_json::Value) -> Self {
        Self {
            method: Method::POST,
            path,
            body: Bytes::from(body.to_string()),
            in_turn: false,
        }
    }

    const fn get(path: &'static str) -> Self {
        Self {
            method: Method::GET,
            path,
            body: Bytes::new(),
            in_turn: false,
        }
    }
}

/// Without the body, which holds the prompt.
impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// What comes after an answer.
pub(crate) enum Step {
    /// Another question.
    Ask(Ask),
    /// The caller's answer, in OpenAI's format.
    Answer(Bytes),
    /// The answer as it came: it says why there is no image.
    Pass,
    /// The answer holds no image, and earlier ones did.
    NoFurther,
}

/// Without the answer, in which a server may repeat the prompt.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask(ask) => write!(f, "Ask({ask:?})"),
            Self::Answer(_) => f.write_str("Answer"),
            Self::Pass => f.write_str("Pass"),
            Self::NoFurther => f.write_str("NoFurther"),
        }
    }
}

/// A request for images on its way through another API.
pub(crate) enum Translation {
    Chat(Chat),
    OpenRouter(OpenRouter),
    Sdapi(Sdapi),
}

impl Translation {
    /// Reads a request for a target whose API is not OpenAI's; `None` if it is. With it come the fields that its API has no
    /// place for.
    ///
    /// # Errors
    ///
    /// A 400 that names the field, if this API cannot do what is asked.
    pub(crate) fn begin(
        api: ImageApi,
        target: &Target,
        body: &[u8],
    ) -> Result<Option<(Self, Vec<String>)>, Refusal> {
        let model = target.model();
        let request = || ImageRequest::read(body, model);
        Ok(Some(match api {
            ImageApi::OpenAi => return Ok(None),
            ImageApi::Chat => {
                let request = request()?;
                let chat = Chat::new(model.id(), &request);
                (Self::Chat(chat), request.left_out(&[]))
            }
            ImageApi::OpenRouter => {
                let request = request()?;
                let openrouter = OpenRouter::new(model.id(), &request);
                (
                    Self::OpenRouter(openrouter),
                    request.left_out(openrouter::FIELDS),
                )
            }
            ImageApi::Sdapi => {
                let request = request()?;
                let sdapi = Sdapi::new(model.id(), &request)?;
                (Self::Sdapi(sdapi), request.left_out(sdapi::FIELDS))
            }
        }))
    }

    /// What to ask first.
    pub(crate) fn first(&self) -> Ask {
        match self {
            Self::Chat(chat) => chat.ask(),
            Self::OpenRouter(openrouter) => openrouter.ask(),
            Self::Sdapi(_) => Sdapi::ask(),
        }
    }

    /// What follows from the body of a 2xx. `created` is the time of the answer, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// A 404 if the server has no such model, a 502 if what it says holds no image where one should be.
    pub(crate) fn next(&mut self, body: &Bytes, created: u64) -> Result<Step, Refusal> {
        match self {
            Self::Chat(chat) => chat.next(body, created),
            Self::OpenRouter(openrouter) => openrouter.next(body, created),
            Self::Sdapi(sdapi) => sdapi.next(body, created),
        }
    }

    /// Whether images are there that further questions are to add to.
    pub(crate) fn has_images(&self) -> bool {
        matches!(self, Self::Chat(chat) if chat.has_images())
    }

    /// Whether images are there, but fewer than were asked for.
    pub(crate) fn is_short(&self) -> bool {
        matches!(self, Self::Chat(chat) if chat.is_short())
    }

    /// The caller's answer with the images that are there, and why there are no more of them; `None` if there is none.
    pub(crate) fn finish(&mut self, created: u64, stopped_by: &str) -> Option<Bytes> {
        match self {
            Self::Chat(chat) if chat.has_images() => Some(chat.answer(created, stopped_by)),
            Self::Chat(_) | Self::OpenRouter(_) | Self::Sdapi(_) => None,
        }
    }

    /// Where to ask how far it is while a question [in turn](Ask::in_turn) is being answered.
    pub(crate) fn progress(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Sdapi(_) => Some(sdapi::PROGRESS),
            Self::Chat(_) | Self::OpenRouter(_) => None,
        }
    }
}

/// The refusal for an upstream whose 2xx is not what its API has.
fn no_image(what: &str) -> Refusal {
    Refusal::new(
        http::StatusCode::BAD_GATEWAY,
        "invalid_image",
        format!("The provider answered with {what}."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::Model,
        provider::{Dialect, FreeRule, Provider},
    };

    fn target(images: ImageApi, base: Option<&str>) -> Target {
        let mut provider = Provider::new("p").free(FreeRule::All).dialect(Dialect {
            images,
            ..Dialect::OPENAI
        });
        if let Some(base) = base {
            provider = provider.base_url(base);
        }
        let model = Model::new("m");
        provider
            .build()
            .expect("a provider")
            .target(model)
            .expect("a target")
    }

    #[test]
    fn the_dialect_says_how_an_image_is_asked_for() {
        for api in [
            ImageApi::OpenAi,
            ImageApi::OpenRouter,
            ImageApi::Chat,
            ImageApi::Sdapi,
        ] {
            assert_eq!(api_of(&target(api, Some("http://h/v1"))), Some(api));
        }
    }

    #[test]
    fn without_a_base_url_nothing_is_translated() {
        assert_eq!(
            api_of(&target(ImageApi::Sdapi, None)),
            Some(ImageApi::OpenAi)
        );
    }

    #[test]
    fn where_there_are_no_generations_only_a_model_with_text_and_images_is_asked_by_chat() {
        let groq = Provider::known("groq").expect("it is known");
        let provider = groq.free(FreeRule::Plan).build().expect("a provider");
        let generates = provider.serves(Endpoint::ImageGenerations);
        assert_eq!(generates, Some(false));
        let api = |output: &[&str]| {
            let model = Model::new("m").output(output);
            api_of(&provider.target(model).expect("a target"))
        };
        assert_eq!(api(&["text", "image"]), Some(ImageApi::Chat));
        assert_eq!(api(&["image"]), None);
        assert_eq!(api(&["text"]), None);
        assert_eq!(api(&[]), None);
    }
}
