//! A provider, and what it takes to ask it.

use std::{borrow::Cow, fmt, sync::Arc};

use http::{
    Request, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, HeaderValue},
};

use super::{
    base_url::BaseUrl,
    credential::Credential,
    dialect::Dialect,
    free_rule::{FreeRule, Plan, Prices},
    image_queue::{ImageQueue, Queue},
    known::ListingFormat,
    limit::Limit,
    quota_day::Day,
};
use crate::{body::Body, endpoint::Endpoint};

/// One account at one OpenAI-compatible service: where it is, its credential, and what is free there.
///
/// A handle: clones are the same provider, and two providers are equal only if one is a clone of the other. Two keys
/// of one service are two providers, under two names.
///
/// With a base URL, a request is sent there with the provider's own key, or without one. With none, the inner service
/// knows where to go, and the caller's credential stays.
///
/// ```
/// use tower_free_models::{Provider, provider::FreeRule};
///
/// let openrouter = Provider::openrouter().key("sk-or-v1-0123").build()?;
/// assert_eq!(openrouter.name(), "openrouter");
/// assert!(!format!("{openrouter:?}").contains("0123"));
///
/// let local = Provider::new("local")
///     .base_url("http://127.0.0.1:8080/v1")
///     .free(FreeRule::All)
///     .build()?;
/// assert!(!local.has_key());
/// # Ok::<(), tower_free_models::provider::ProviderError>(())
/// ```
#[derive(Clone)]
pub struct Provider(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) name: Arc<str>,
    pub(super) base: Option<BaseUrl>,
    pub(super) credential: Arc<Credential>,
    pub(super) free: FreeRule,
    pub(super) plan: Plan,
    pub(super) listing: Cow<'static, str>,
    /// No place was set for the listing: it is under the base URL, or where the service at this host is known to have it.
    pub(super) listing_is_known: bool,
    pub(super) listing_format: ListingFormat,
    pub(super) unlisted: &'static [&'static str],
    pub(super) account_status: Option<&'static str>,
    pub(super) bills_files: bool,
    /// `None`: it is not known what it serves.
    pub(super) endpoints: Option<Vec<Endpoint>>,
    pub(super) day: Day,
    /// What its user said.
    pub(super) limits: Vec<Limit>,
    /// What its service is known for, without what its user has said of the same quantity and period.
    pub(super) usual_limits: Vec<Limit>,
    pub(super) dialect: Dialect,
    /// There where the server makes one image at a time.
    pub(super) image_queue: Option<Arc<Queue>>,
}

impl Provider {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Where it is, unless the inner service knows that.
    #[must_use]
    pub fn base(&self) -> Option<&BaseUrl> {
        self.0.base.as_ref()
    }

    /// Whether the caller's own credential goes to it: where no base URL is applied, the request keeps the one it came
    /// with, so an upstream that refuses it says nothing of other callers.
    pub(crate) fn takes_callers_credential(&self) -> bool {
        self.0.base.is_none()
    }

    /// Where its listing is, if it has a base URL.
    #[must_use]
    pub fn listing_uri(&self) -> Option<Uri> {
        let base = self.base()?;
        let listing = &*self.0.listing;
        match listing.strip_prefix("..") {
            Some(beside) => Some(base.parent().uri(beside, None)),
            None if is_whole(listing) => listing.parse().ok(),
            None => Some(base.uri(listing, None)),
        }
    }

    /// The format of its listing.
    #[must_use]
    pub fn listing_format(&self) -> ListingFormat {
        self.0.listing_format
    }

    /// The request that asks for its listing, if it has a base URL. Its own credential is on it, unless the operator has
    /// set a place for the listing at another origin than the base URL.
    ///
    /// Any HTTP client can send it; what comes back is for [`read_listing`](Self::read_listing).
    #[must_use]
    pub fn listing_request(&self) -> Option<Request<Body>> {
        let place = self.listing_uri()?;
        let is_own = self.0.listing_is_known || self.base()?.has_origin_of(&place);
        Some(self.get(place, is_own))
    }

    /// A request for JSON at this place, with the provider's own credential if the place `is_own`.
    pub(crate) fn get(&self, place: Uri, is_own: bool) -> Request<Body> {
        let mut request = Request::new(Body::default());
        *request.uri_mut() = place;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if is_own {
            self.credential().set(headers);
        }
        request
    }

    /// What is free there.
    #[must_use]
    pub fn free_rule(&self) -> FreeRule {
        self.0.free
    }

    /// Whether an entry of its listing is free.
    pub(crate) fn is_free(&self, id: &str, prices: Prices) -> bool {
        self.free_rule().admits(self.0.plan, id, prices)
    }

    /// Whether a model of this id can be free.
    pub(crate) fn may_be_free(&self, id: &str) -> bool {
        self.free_rule().admits_written(self.0.plan, id)
    }

    /// Whether a file costs money on a model that cannot read files itself: see [`KnownProvider::bills_files`](super::KnownProvider::bills_files).
    pub(crate) fn bills_files(&self) -> bool {
        self.0.bills_files
    }

    /// The endpoint under the base URL that tells of the key's own quota.
    pub(crate) fn account_status(&self) -> Option<&'static str> {
        self.0.account_status
    }

    /// Free models that its listing leaves out.
    pub(crate) fn unlisted(&self) -> &'static [&'static str] {
        self.0.unlisted
    }

    /// Whether it has a key of its own.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.0.credential.has_key()
    }

    /// When its day ends.
    #[must_use]
    pub fn day(&self) -> Day {
        self.0.day
    }

    /// The limits that its user [said](super::ProviderBuilder::limit) it has.
    #[must_use]
    pub fn limits(&self) -> &[Limit] {
        &self.0.limits
    }

    /// The limits that accounts at its host are known to have, but for those that its user has said otherwise.
    #[must_use]
    pub fn usual_limits(&self) -> &[Limit] {
        &self.0.usual_limits
    }

    /// How it differs from OpenAI's API.
    #[must_use]
    pub fn dialect(&self) -> &Dialect {
        &self.0.dialect
    }

    /// Whether it serves an endpoint, if that is known.
    #[must_use]
    pub fn serves(&self, endpoint: Endpoint) -> Option<bool> {
        Some(self.0.endpoints.as_ref()?.contains(&endpoint))
    }

    /// What it is doing for us, if it is a server that makes [one image at a time](super::ImageApi::Sdapi).
    ///
    /// ```
    /// use tower_free_models::{Provider, provider::{Dialect, ImageApi}};
    ///
    /// let mut dialect = Dialect::default();
    /// dialect.images = ImageApi::Sdapi;
    /// let studio = Provider::new("studio")
    ///     .base_url("http://127.0.0.1:7860")
    ///     .dialect(dialect)
    ///     .build()?;
    /// let queue = studio.image_queue().expect("it is such a server");
    /// assert_eq!((queue.waiting, queue.running), (0, None));
    /// # Ok::<(), tower_free_models::provider::ProviderError>(())
    /// ```
    #[must_use]
    pub fn image_queue(&self) -> Option<ImageQueue> {
        self.queue().map(|queue| queue.state())
    }

    /// The queue of requests for images, where there is one.
    pub(crate) fn queue(&self) -> Option<&Arc<Queue>> {
        self.0.image_queue.as_ref()
    }

    /// What is sent to this provider only, and is redacted in what it answers.
    pub(crate) fn credential(&self) -> &Arc<Credential> {
        &self.0.credential
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.0.name)
    }
}

impl PartialEq for Provider {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Provider {}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.0.name)
            .field("base", &self.0.base)
            .field("credential", &self.0.credential)
            .field("free", &self.0.free)
            .field("day", &self.0.day)
            .finish()
    }
}

/// Whether a listing's place is a URL of its own.
pub(super) fn is_whole(place: &str) -> bool {
    place.starts_with("http://") || place.starts_with("https://")
}
