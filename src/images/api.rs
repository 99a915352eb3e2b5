use crate::{
    capability::{Capability, CapabilitySet},
    catalog::Target,
    endpoint::Endpoint,
    provider::ImageApi,
};

/// The APIs that a request for images is translated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Chat,
    OpenRouter,
    Sdapi,
}

impl Api {
    /// The API through which a target has to be asked for images. `None` where the request is sent as it is, or where the
    /// target cannot be asked for images at all.
    ///
    /// The dialect of the provider names the API. Where that is OpenAI's and the provider is known not to serve
    /// `/images/generations`, a model that writes text and makes images is asked by chat. A request to a provider without
    /// a base URL is never translated, because only the inner service knows where it goes.
    pub(crate) fn of(target: &Target) -> Option<Self> {
        /// A chat model that makes images, such as Gemini's.
        const ILLUSTRATOR: CapabilitySet = CapabilitySet::EMPTY
            .with(Capability::TextOutput)
            .with(Capability::ImageOutput);
        let provider = target.provider();
        provider.base()?;
        match provider.dialect().images {
            ImageApi::Chat => Some(Self::Chat),
            ImageApi::OpenRouter => Some(Self::OpenRouter),
            ImageApi::Sdapi => Some(Self::Sdapi),
            ImageApi::OpenAi => {
                let generates = provider.serves(Endpoint::ImageGenerations) != Some(false);
                let chats = provider.serves(Endpoint::ChatCompletions) != Some(false);
                let by_chat = !generates && chats;
                (by_chat && target.model().capabilities().certain(ILLUSTRATOR))
                    .then_some(Self::Chat)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::Model,
        provider::{Dialect, FreeRule, Provider},
    };

    fn of(images: ImageApi, base: Option<&str>) -> Option<Api> {
        let mut provider = Provider::new("p").free(FreeRule::All).dialect(Dialect {
            images,
            ..Dialect::OPENAI
        });
        if let Some(base) = base {
            provider = provider.base_url(base);
        }
        let provider = provider.build().expect("a provider");
        Api::of(&provider.target(Model::new("m")).expect("a target"))
    }

    #[test]
    fn the_dialect_names_the_api() {
        for (images, api) in [
            (ImageApi::OpenAi, None),
            (ImageApi::OpenRouter, Some(Api::OpenRouter)),
            (ImageApi::Chat, Some(Api::Chat)),
            (ImageApi::Sdapi, Some(Api::Sdapi)),
        ] {
            assert_eq!(of(images, Some("http://h/v1")), api);
        }
    }

    #[test]
    fn without_a_base_url_nothing_is_translated() {
        assert_eq!(of(ImageApi::Sdapi, None), None);
    }

    #[test]
    fn where_there_are_no_generations_only_a_model_with_text_and_images_is_asked_by_chat() {
        let groq = Provider::known("groq").expect("it is known");
        let provider = groq.free(FreeRule::Plan).build().expect("a provider");
        let generates = provider.serves(Endpoint::ImageGenerations);
        assert_eq!(generates, Some(false));
        let api = |output: &[&str]| {
            let model = Model::new("m").output(output);
            Api::of(&provider.target(model).expect("a target"))
        };
        assert_eq!(api(&["text", "image"]), Some(Api::Chat));
        assert_eq!(api(&["image"]), None);
        assert_eq!(api(&["text"]), None);
        assert_eq!(api(&[]), None);
    }
}
