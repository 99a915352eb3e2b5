//! The endpoints that are routed.

use http::Method;

/// An endpoint whose requests are routed. Anything else passes through as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// `POST …/chat/completions`.
    ChatCompletions,
}

impl Endpoint {
    const ALL: [Self; 1] = [Self::ChatCompletions];

    /// The endpoint that a request is for, if it is a routed one.
    ///
    /// Only the end of the path counts, so that any base path will do: `/v1`, `/api/v1`,
    /// `/openai/v1`, or none.
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

    /// The end of its path, after the version.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/chat/completions",
        }
    }

    /// Its path with the version, as at a service whose base has no path of its own.
    pub(crate) const fn versioned_path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
        }
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
            "/v1/mychat/completions",
            "chat/completions",
            "/v1/chat/completions/extra",
            "/v1/chat/completions//",
            "/v1/completions",
            "/",
            "",
        ] {
            assert_eq!(Endpoint::of(&Method::POST, path), None, "{path}");
        }
    }

    #[test]
    fn only_post_is_routed() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT] {
            assert_eq!(Endpoint::of(&method, "/v1/chat/completions"), None);
        }
    }
}
