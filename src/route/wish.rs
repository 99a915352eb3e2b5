//! What one request asks of a pick.

use http::HeaderMap;

use crate::request::Needs;

/// What one request asks of a pick.
pub(super) struct Wish<'a> {
    pub(super) needs: &'a Needs,
    /// The caller's headers.
    pub(super) headers: &'a HeaderMap,
    /// The model that the caller named.
    pub(super) requested: Option<&'a str>,
    /// No other model may answer.
    pub(super) pinned: bool,
    /// A model that is named is tried first.
    pub(super) prefer_requested: bool,
    /// There is an [`ImageLayer`](crate::ImageLayer), which asks for images in other ways than OpenAI's as well.
    pub(super) image_layer: bool,
    /// The only provider that has what the request builds upon.
    pub(super) provider: Option<&'a str>,
}

#[cfg(test)]
impl<'a> Wish<'a> {
    /// Any model that has what the request needs.
    pub(super) const fn any(needs: &'a Needs, headers: &'a HeaderMap) -> Self {
        Self {
            needs,
            headers,
            requested: None,
            pinned: false,
            prefer_requested: true,
            image_layer: false,
            provider: None,
        }
    }
}
