//! Who answered: headers for any client, a typed extension for Rust.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::{
    catalog::{Target, TargetId},
    outcome::OutcomeKind,
};

/// The model that answered.
pub(crate) const MODEL: HeaderName = HeaderName::from_static("x-free-model");
/// Its provider.
pub(crate) const PROVIDER: HeaderName = HeaderName::from_static("x-free-provider");
/// How many attempts were made.
pub(crate) const ATTEMPTS: HeaderName = HeaderName::from_static("x-free-attempts");
/// What each attempt came to.
pub(crate) const TRAIL: HeaderName = HeaderName::from_static("x-free-trail");
/// Top-level fields of the request that were left out because they could cost money.
pub(crate) const DROPPED: HeaderName = HeaderName::from_static("x-free-dropped");

/// Many servers and proxies refuse headers above 8 KiB altogether; this leaves room for all others.
const LONGEST_TRAIL: usize = 2048;

/// The extension of every response that came from a target: which one answered, and how it came to that.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Routed {
    /// The target that answered.
    pub target: Target,
    /// Every attempt in order, with what it came to. The last one is the one that answered; it stands as
    /// succeeded from the moment its answer began. Empty where no [`FallbackLayer`](crate::FallbackLayer) is around the router.
    pub trail: Vec<(TargetId, OutcomeKind)>,
    /// Top-level fields of the request that were left out because they could cost money.
    pub dropped: Vec<&'static str>,
}

impl Routed {
    /// Sets the headers and the extension.
    pub(crate) fn mark<B>(self, response: &mut Response<B>) {
        let headers = response.headers_mut();
        let id = self.target.id();
        insert(headers, MODEL, id.model());
        insert(headers, PROVIDER, id.provider());
        headers.remove(DROPPED);
        if !self.dropped.is_empty() {
            insert(headers, DROPPED, &self.dropped.join(", "));
        }
        response.extensions_mut().insert(self);
    }
}

/// Sets the headers that tell of all attempts.
pub(crate) fn mark_trail(headers: &mut HeaderMap, trail: &[(TargetId, OutcomeKind)]) {
    headers.insert(ATTEMPTS, HeaderValue::from(trail.len()));
    if !trail.is_empty() {
        insert(headers, TRAIL, &trail_text(trail));
    }
}

/// `provider/model=outcome, …`; where that is too long, the newest attempts.
fn trail_text(trail: &[(TargetId, OutcomeKind)]) -> String {
    let mut text = String::new();
    for (i, (id, outcome)) in trail.iter().enumerate().rev() {
        let mut entry = String::new();
        let _ = write!(entry, "{id}={outcome}");
        if !text.is_empty() {
            entry.push_str(", ");
        }
        if text.len() + entry.len() > LONGEST_TRAIL {
            return format!("{} earlier, {text}", i + 1);
        }
        text.insert_str(0, &entry);
    }
    text
}

/// Names are checked when a target is made, so they are always fit for a header.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
