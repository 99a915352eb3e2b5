//! A provider, and what it takes to ask it.

use std::{borrow::Cow, fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::{
    HeaderMap, Request, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderName, HeaderValue},
};

use super::{
    base_url::BaseUrl,
    dialect::Dialect,
    error::Fault,
    free_rule::{FreeRule, Plan, Prices},
    image_queue::{ImageQueue, Queue},
    known::{Auth, ListingFormat},
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
    pub(super) key: Option<Key>,
    pub(super) headers: HeaderMap,
    pub(super) free: FreeRule,
    pub(super) plan: Plan,
    pub(super) listing: Cow<'static, str>,
    pub(super) listing_format: ListingFormat,
    pub(super) unlisted: &'static [&'static str],
    pub(super) account_status: Option<&'static str>,
    pub(super) bills_files: bool,
    /// `None`: it is not known what it serves.
    pub(super) endpoints: Option<Vec<Endpoint>>,
    pub(super) day: Day,
    pub(super) dialect: Dialect,
    /// There where the server makes one image at a time.
    pub(super) image_queue: Option<Arc<Queue>>,
}

/// A key, and the header that carries it.
pub(super) struct Key {
    secret: String,
    authorization: Option<HeaderValue>,
    /// The header that carries it elsewhere than in `Authorization`.
    pub(super) other_header: Option<(HeaderName, HeaderValue)>,
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

    /// The request that asks for its listing, with its own credential, if it has a base URL.
    ///
    /// Any HTTP client can send it; what comes back is for [`read_listing`](Self::read_listing).
    #[must_use]
    pub fn listing_request(&self) -> Option<Request<Body>> {
        let mut request = Request::new(Body::default());
        *request.uri_mut() = self.listing_uri()?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.extend(self.headers().clone());
        if let Some(credential) = self.authorization() {
            headers.insert(AUTHORIZATION, credential.clone());
        }
        Some(request)
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
        self.0.key.is_some()
    }

    /// When its day ends.
    #[must_use]
    pub fn day(&self) -> Day {
        self.0.day
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

    /// The `Authorization` header of its key, marked as sensitive.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.0.key.as_ref()?.authorization.as_ref()
    }

    /// The key itself, and what of it is sent, to find where an upstream echoes it.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        let key = self.0.key.iter().flat_map(Key::secrets);
        let headers = self.0.headers.iter().filter(|(name, _)| is_secret(name));
        key.chain(headers.filter_map(|(_, value)| value.to_str().ok()))
            .filter(|secret| !secret.is_empty())
    }

    /// What is sent with every attempt.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.0.headers
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
            .field("has_key", &self.has_key())
            .field("headers", &names(&self.0.headers))
            .field("free", &self.0.free)
            .field("day", &self.0.day)
            .finish()
    }
}

/// Whether the name of a header says that its value is a credential.
fn is_secret(name: &HeaderName) -> bool {
    ["key", "token", "auth", "secret", "cookie"]
        .iter()
        .any(|word| name.as_str().contains(word))
}

/// The names of headers without their values, which may be credentials.
pub(super) fn names<'a>(
    headers: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) -> Vec<&'a str> {
    headers.into_iter().map(|(name, _)| name.as_str()).collect()
}

impl Key {
    pub(super) fn new(key: &str, auth: &Auth) -> Result<Self, Fault> {
        // The line end that a key brings along from a file is not part of it.
        let secret = key.trim();
        if secret.is_empty() {
            return Err(Fault::EmptyKey);
        }
        let fits = match auth {
            // A password may hold anything but control characters (RFC 7617, section 2).
            Auth::Basic => !secret.contains(char::is_control),
            Auth::Bearer | Auth::Header { .. } => {
                secret.bytes().all(|byte| byte.is_ascii_graphic())
            }
        };
        if !fits {
            return Err(Fault::Key);
        }
        let (header, credential) = match auth {
            Auth::Bearer => (AUTHORIZATION, format!("Bearer {secret}")),
            Auth::Basic => (AUTHORIZATION, format!("Basic {}", BASE64.encode(secret))),
            Auth::Header { name, prefix } => (name.clone(), format!("{prefix}{secret}")),
        };
        let mut credential = HeaderValue::try_from(credential).map_err(|_| Fault::Key)?;
        credential.set_sensitive(true);
        let is_authorization = header == AUTHORIZATION;
        let (authorization, other_header) = match is_authorization {
            true => (Some(credential), None),
            false => (None, Some((header, credential))),
        };
        Ok(Self {
            secret: secret.to_owned(),
            authorization,
            other_header,
        })
    }

    /// The key, and the credential made of it where that is something else: Base64 is no disguise, and a server that
    /// decodes it may echo the user or the password alone (RFC 7617, section 2).
    fn secrets(&self) -> impl Iterator<Item = &str> {
        let sent = self
            .authorization
            .as_ref()
            .and_then(|sent| sent.to_str().ok());
        let basic = sent.and_then(|sent| sent.strip_prefix("Basic "));
        let halves = basic.and_then(|_| self.secret.split_once(':'));
        let halves = halves
            .into_iter()
            .flat_map(|(user, password)| [user, password]);
        [self.secret.as_str()]
            .into_iter()
            .chain(basic)
            .chain(halves)
    }
}

/// Whether a listing's place is a URL of its own.
pub(super) fn is_whole(place: &str) -> bool {
    place.starts_with("http://") || place.starts_with("https://")
}
