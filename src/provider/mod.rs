//! One account at one OpenAI-compatible service.

mod base_url;
mod builder;
pub(crate) mod dialect;
mod error;
mod free_rule;
mod image_queue;
mod known;
mod quota_day;
mod redact;
mod table;
#[cfg(test)]
mod tests;

pub use self::{
    base_url::{BaseUrl, BaseUrlError},
    builder::ProviderBuilder,
    dialect::{Dialect, ImageApi, Rule},
    error::ProviderError,
    free_rule::{FreeRule, Plan},
    image_queue::{ImageQueue, Progress},
    known::{Auth, KnownProvider, Limit, ListingFormat, Period, Quantity},
    quota_day::Day,
};
pub(crate) use self::{
    image_queue::{Turn, Waiting},
    redact::{Redactor, redact, redact_headers, redact_text},
};

use std::{borrow::Cow, fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::{
    HeaderMap, Request, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderName, HeaderValue},
};

use self::{builder::is_whole, error::Fault, image_queue::Queue};
use crate::{
    body::Body,
    catalog::{Model, NotFree, Target},
    endpoint::Endpoint,
    listing::Prices,
};

/// One account at one OpenAI-compatible service: where it is, its credential, and what is free there.
///
/// A handle: clones are the same provider, and two providers are equal only if one is a clone of the other. Two keys
/// of one service are two providers, under two names.
///
/// With a base URL, a request is sent there with the provider's own key, or without one. With none, the inner service
/// knows where to go, and the caller's credential stays.
///
/// ```
/// use tower_free_models::{FreeRule, Provider};
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
/// # Ok::<(), tower_free_models::ProviderError>(())
/// ```
#[derive(Clone)]
pub struct Provider(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    base: Option<BaseUrl>,
    key: Option<Key>,
    headers: HeaderMap,
    free: FreeRule,
    plan: Plan,
    listing: Cow<'static, str>,
    listing_format: ListingFormat,
    unlisted: &'static [&'static str],
    account_status: Option<&'static str>,
    bills_files: bool,
    /// `None`: it is not known what it serves.
    endpoints: Option<Vec<Endpoint>>,
    day: Day,
    dialect: Dialect,
    /// There where the server makes one image at a time.
    image_queue: Option<Arc<Queue>>,
}

/// A key, and the header that carries it.
struct Key {
    secret: String,
    authorization: Option<HeaderValue>,
    /// The header that carries it elsewhere than in `Authorization`.
    other_header: Option<(HeaderName, HeaderValue)>,
}

impl Provider {
    /// A provider of this name, about which nothing else is known yet.
    ///
    /// A name is part of headers, so it is visible ASCII without `/`, `,` and `=`.
    #[expect(clippy::new_ret_no_self, reason = "a provider begins as its builder")]
    pub fn new(name: impl Into<String>) -> ProviderBuilder {
        ProviderBuilder::new(name.into())
    }

    /// OpenRouter.
    pub fn openrouter() -> ProviderBuilder {
        table::openrouter().builder()
    }

    /// The provider that is known under this name, if one is.
    #[must_use]
    pub fn known(name: &str) -> Option<ProviderBuilder> {
        KnownProvider::named(name).map(KnownProvider::builder)
    }

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
    /// with, and what that is refused concerns nobody else.
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

    /// Whether a file costs money on a model that cannot read files itself: see [`KnownProvider::bills_files`].
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

    /// What it is doing for us, if it is a server that makes [one image at a time](ImageApi::Sdapi).
    ///
    /// ```
    /// use tower_free_models::{Dialect, ImageApi, Provider};
    ///
    /// let mut dialect = Dialect::default();
    /// dialect.images = ImageApi::Sdapi;
    /// let studio = Provider::new("studio")
    ///     .base_url("http://127.0.0.1:7860")
    ///     .dialect(dialect)
    ///     .build()?;
    /// let queue = studio.image_queue().expect("it is such a server");
    /// assert_eq!((queue.waiting, queue.running), (0, None));
    /// # Ok::<(), tower_free_models::ProviderError>(())
    /// ```
    #[must_use]
    pub fn image_queue(&self) -> Option<ImageQueue> {
        self.queue().map(|queue| queue.state())
    }

    /// A target for a model that the operator wrote down, and vouches for by writing it.
    ///
    /// # Errors
    ///
    /// If the provider's rule says that the id cannot be free, as on OpenRouter without `:free` at its end, or under
    /// [`FreeRule::Plan`] if the service is [known](Plan) to leave it out of its free plan; or if the id is empty, longer
    /// than 256 bytes, or holds control characters.
    ///
    /// ```
    /// use tower_free_models::{Model, Provider};
    ///
    /// let openrouter = Provider::openrouter().build()?;
    /// assert!(openrouter.target(Model::new("acme/chat:free")).is_ok());
    /// assert!(openrouter.target(Model::new("acme/chat")).is_err());
    /// # Ok::<(), tower_free_models::ProviderError>(())
    /// ```
    pub fn target(&self, model: impl Into<Model>) -> Result<Target, NotFree> {
        Target::written(self, model.into())
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
fn names<'a>(headers: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> Vec<&'a str> {
    headers.into_iter().map(|(name, _)| name.as_str()).collect()
}

impl Key {
    fn new(key: &str, auth: &Auth) -> Result<Self, Fault> {
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
