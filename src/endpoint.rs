//! The endpoints that are routed.

use std::{borrow::Cow, fmt};

use http::Method;

use crate::{capability::Capability, json::unescape_percent};

/// An endpoint whose requests are routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Endpoint {
    /// `POST /chat/completions`.
    ChatCompletions,
    /// `POST /completions`: a prompt and no messages.
    Completions,
    /// `POST /responses`.
    Responses,
    /// `POST /embeddings`. A request is never given another model than the one it asks for.
    Embeddings,
    /// `POST /images/generations`.
    ImageGenerations,
    /// `POST /images/edits`, as JSON or as a form.
    ImageEdits,
    /// `POST /audio/transcriptions`, as a form.
    AudioTranscriptions,
    /// `POST /audio/translations`, as a form.
    AudioTranslations,
}

impl Endpoint {
    /// All of them. One whose path ends in another one's comes before it.
    pub const ALL: [Self; 8] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Responses,
        Self::Embeddings,
        Self::ImageGenerations,
        Self::ImageEdits,
        Self::AudioTranscriptions,
        Self::AudioTranslations,
    ];

    /// The endpoint that a request is for, under any base path.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        if method != Method::POST {
            return None;
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        // Each endpoint's path begins with a slash, so that it can only match whole segments.
        Self::ALL
            .into_iter()
            .find(|endpoint| path.ends_with(endpoint.path()))
    }

    /// Whether a path names the model, as Azure's `/openai/deployments/{model}/…`, the old `/engines/{model}/…` and
    /// Hugging Face's `/models/{model}/v1/chat/completions` do: an upstream goes by the path, whatever the body says.
    pub(crate) fn path_names_a_model(method: &Method, path: &str) -> bool {
        if method != Method::POST {
            return false;
        }
        let is_routed = Self::of(method, path).is_some();
        // An escaped slash divides a path at some upstreams too.
        let path = match path.contains('%') {
            true => Cow::Owned(unescape_percent(path)),
            false => Cow::Borrowed(path),
        };
        let mut segments = path.split(['/', '\\']).filter(|part| !part.is_empty());
        let before = |segment: &str| {
            let is = |known: &str| segment.eq_ignore_ascii_case(known);
            // Elsewhere `/models/{model}` is about a model and not answered by it.
            is("deployments") || is("engines") || is_routed && is("models")
        };
        // After it come the model and the operation.
        segments.any(before) && segments.nth(1).is_some()
    }

    /// Its path under a base that names the version, such as `/chat/completions`.
    #[must_use]
    pub fn path(self) -> &'static str {
        let path = self.versioned_path();
        path.strip_prefix("/v1").unwrap_or(path)
    }

    /// Its path with OpenAI's version.
    pub(crate) const fn versioned_path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Responses => "/v1/responses",
            Self::Embeddings => "/v1/embeddings",
            Self::ImageGenerations => "/v1/images/generations",
            Self::ImageEdits => "/v1/images/edits",
            Self::AudioTranscriptions => "/v1/audio/transcriptions",
            Self::AudioTranslations => "/v1/audio/translations",
        }
    }

    /// What a model has to answer with here, where a request does not ask for more.
    #[must_use]
    pub const fn output(self) -> Capability {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Responses => Capability::TextOutput,
            Self::Embeddings => Capability::Embeddings,
            Self::ImageGenerations | Self::ImageEdits => Capability::ImageOutput,
            Self::AudioTranscriptions | Self::AudioTranslations => Capability::Transcription,
        }
    }

    /// Whether a request may come as JSON.
    pub(crate) const fn takes_json(self) -> bool {
        !matches!(self, Self::AudioTranscriptions | Self::AudioTranslations)
    }

    /// Whether a request may come as a form (`multipart/form-data`).
    pub(crate) const fn takes_forms(self) -> bool {
        matches!(
            self,
            Self::ImageEdits | Self::AudioTranscriptions | Self::AudioTranslations
        )
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_base_path_leads_to_the_endpoint() {
        for path in [
            "/v1/chat/completions",
            "/api/v1/chat/completions",
            "/chat/completions",
            "/openai/v1/chat/completions",
            "/v1/chat/completions/",
        ] {
            assert_eq!(
                Endpoint::of(&Method::POST, path),
                Some(Endpoint::ChatCompletions),
                "{path}"
            );
        }
    }

    #[test]
    fn only_whole_segments_count() {
        for path in [
            "/v1/chat/completions/extra",
            "/v1/chat/completions//",
            "/v1/mycompletions",
            "/",
            "",
        ] {
            assert_eq!(Endpoint::of(&Method::POST, path), None, "{path}");
        }
    }

    #[test]
    fn every_endpoint_is_found_by_its_own_path() {
        for endpoint in Endpoint::ALL {
            let path = endpoint.versioned_path();
            assert_eq!(Endpoint::of(&Method::POST, path), Some(endpoint), "{path}");
            assert_eq!(path.strip_prefix("/v1"), Some(endpoint.path()));
        }
    }

    #[test]
    fn a_path_that_names_a_model_is_known_however_it_is_written() {
        for path in [
            "/openai/deployments/gpt-4o/chat/completions",
            "/openai/deployments/gpt-4o/anything",
            "/v1/engines/davinci/completions",
            "/engines/davinci/completions/",
            "//openai//Deployments//gpt-4o//chat/completions",
            "/openai/%64eployments/gpt-4o/chat/completions",
            "/openai/deployments%2Fgpt-4o%2fchat/completions",
            "/openai%5Cdeployments%5Cgpt-4o/chat/completions",
            "/hf-inference/models/acme/chat/v1/chat/completions",
            "/v1/Models/gpt-4o/chat/completions",
        ] {
            assert!(Endpoint::path_names_a_model(&Method::POST, path), "{path}");
            assert!(!Endpoint::path_names_a_model(&Method::GET, path), "{path}");
        }
        for path in [
            "/v1/chat/completions",
            "/deployments",
            "/v1/engines/davinci",
            "/my-deployments/v1/chat/completions",
            "/v1/models/acme/chat",
            "/v1/models/acme/chat/load",
        ] {
            assert!(!Endpoint::path_names_a_model(&Method::POST, path), "{path}");
        }
    }

    #[test]
    fn only_post_is_routed() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT] {
            assert_eq!(Endpoint::of(&method, "/v1/chat/completions"), None);
        }
    }
}
