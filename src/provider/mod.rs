//! One account at one OpenAI-compatible service.

pub(crate) mod base_url;
pub(crate) mod credential;
pub(crate) mod dialect;
pub(crate) mod free_rule;
pub(crate) mod image_queue;
pub(crate) mod known;
pub(crate) mod quota_day;
pub(crate) mod table;

pub use self::{
    base_url::{BaseUrl, BaseUrlError},
    dialect::{Dialect, ImageApi, Rule},
    free_rule::{FreeRule, Plan},
    image_queue::{ImageQueue, Progress},
    known::{Auth, KnownProvider, Limit, ListingFormat, Period, Quantity},
    quota_day::Day,
};
pub(crate) use self::{
    credential::{Credential, Redactor},
    image_queue::{Queue, Turn},
};

use std::{error::Error, fmt, sync::Arc};

use http::{
    Request, Uri,
    header::{
        ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST,
        HeaderName, HeaderValue, TRANSFER_ENCODING,
    },
};

use crate::{
    body::Body,
    catalog::{Model, NotFree, Target},
    endpoint::Endpoint,
    listing::Prices,
    provider::{credential::BadKey, known::DEFAULT_LISTING},
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
    /// The service that it is, or stands in for.
    known: Option<&'static KnownProvider>,
    base: Option<BaseUrl>,
    credential: Arc<Credential>,
    free: FreeRule,
    listing: &'static str,
    unlisted: &'static [&'static str],
    day: Day,
    dialect: Dialect,
    /// There where the server makes one image at a time.
    image_queue: Option<Arc<Queue>>,
}

impl Provider {
    /// A provider of this name, about which nothing else is known yet.
    ///
    /// A name is part of headers, so it is visible ASCII without `/`, `,` and `=`.
    #[expect(clippy::new_ret_no_self, reason = "a provider begins as its builder")]
    pub fn new(name: impl Into<String>) -> ProviderBuilder {
        ProviderBuilder {
            name: name.into(),
            known: None,
            base_url: None,
            key: None,
            account: None,
            headers: Vec::new(),
            free: None,
            day: None,
            dialect: None,
        }
    }

    /// OpenRouter.
    pub fn openrouter() -> ProviderBuilder {
        KnownProvider::openrouter().builder()
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
        let listing = self.0.listing;
        match listing.strip_prefix("..") {
            Some(beside) => Some(base.parent().uri(beside, None)),
            None if is_whole(listing) => listing.parse().ok(),
            None => Some(base.uri(listing, None)),
        }
    }

    /// The format of its listing.
    #[must_use]
    pub fn listing_format(&self) -> ListingFormat {
        self.known_as()
            .map(|known| known.listing_format)
            .unwrap_or_default()
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
        self.credential().set(headers);
        Some(request)
    }

    /// What is free there.
    #[must_use]
    pub fn free_rule(&self) -> FreeRule {
        self.0.free
    }

    /// Whether an entry of its listing is free.
    pub(crate) fn is_free(&self, id: &str, prices: Prices) -> bool {
        self.free_rule().admits(self.plan(), id, prices)
    }

    /// Whether a model of this id can be free.
    pub(crate) fn may_be_free(&self, id: &str) -> bool {
        self.free_rule().admits_written(self.plan(), id)
    }

    fn plan(&self) -> Plan {
        self.known_as().map_or(Plan::DEFAULT, |known| known.plan)
    }

    /// Whether a file costs money on a model that cannot read files itself: see [`KnownProvider::bills_files`].
    pub(crate) fn bills_files(&self) -> bool {
        self.free_rule() == FreeRule::OpenRouter
            || self.known_as().is_some_and(|known| known.bills_files)
    }

    /// The known service that it is, or stands in for.
    pub(crate) fn known_as(&self) -> Option<&'static KnownProvider> {
        self.0.known
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

    /// How it differs from OpenAI's API.
    #[must_use]
    pub fn dialect(&self) -> &Dialect {
        &self.0.dialect
    }

    /// Whether it serves an endpoint, if that is known.
    #[must_use]
    pub fn serves(&self, endpoint: Endpoint) -> Option<bool> {
        Some(self.known_as()?.endpoints.contains(&endpoint))
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

    /// What is sent to it and to no one else, and is redacted in what it answers.
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

/// Builds a [`Provider`].
#[derive(Clone)]
#[must_use = "a provider is made by `build`"]
pub struct ProviderBuilder {
    name: String,
    known: Option<&'static KnownProvider>,
    base_url: Option<String>,
    account: Option<String>,
    key: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    free: Option<FreeRule>,
    day: Option<Day>,
    dialect: Option<Dialect>,
}

impl ProviderBuilder {
    pub(crate) fn known(known: &KnownProvider) -> Self {
        Self {
            known: KnownProvider::named(known.name),
            base_url: Some(known.base_url.to_owned()),
            // A free plan is for whoever builds the provider to say.
            free: Some(known.free).filter(|free| *free != FreeRule::Plan),
            ..Provider::new(known.name)
        }
    }

    /// Another name, as for a second key of the same service: `openrouter#2`. What is known of the service stays.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Where it is. The default is that the inner service knows.
    pub fn base_url(mut self, url: &str) -> Self {
        self.base_url = Some(url.to_owned());
        self
    }

    /// The id of the account, where the base URL has a place for it: `{account_id}`.
    pub fn account(mut self, id: &str) -> Self {
        self.account = Some(id.to_owned());
        self
    }

    /// The key, sent to the base URL and nowhere else: as `Authorization: Bearer`, unless the service is known to want
    /// it in [another form](Auth). The default is none.
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// What is free there. The default is the rule that is known for the host or the name, else [`FreeRule::Priced`].
    ///
    /// There is no default where that rule is [`FreeRule::Plan`]: such a service bills an account that has a payment
    /// method, and its key does not tell. Whoever builds the provider says that its account cannot be billed:
    ///
    /// ```
    /// use tower_free_models::{FreeRule, Provider};
    ///
    /// let groq = || Provider::known("groq").expect("a known provider").key("gsk_0123");
    /// assert!(groq().build().is_err_and(|error| error.is_plan_unsaid()));
    /// assert!(groq().free(FreeRule::Plan).build().is_ok());
    /// ```
    ///
    /// Where the host is known to have paid models, no rule is accepted that would take them for free, such as
    /// [`FreeRule::All`] for openrouter.ai.
    pub fn free(mut self, rule: FreeRule) -> Self {
        self.free = Some(rule);
        self
    }

    /// A header that is sent with every attempt, such as one of attribution.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// When the account's day ends. The default is what is known for the host or the name, else [`Day::Unknown`].
    pub fn day(mut self, day: Day) -> Self {
        self.day = Some(day);
        self
    }

    /// How it differs from OpenAI's API. The default is what is known for the host or the name, else that nothing does.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = Some(dialect);
        self
    }

    /// The provider.
    ///
    /// # Errors
    ///
    /// If the name or the key cannot stand in a header, the base URL is none, there is a key and no base URL to send
    /// it to, the known rule is [`FreeRule::Plan`] and no rule is said, the rule is weaker than its host demands, a key
    /// comes with [`FreeRule::Keyless`] or, without a base URL, the caller's would, or a header is one that the layers
    /// set.
    pub fn build(self) -> Result<Provider, ProviderError> {
        let fault = |fault| ProviderError {
            name: self.name.clone(),
            fault,
        };
        if !is_name(&self.name) {
            return Err(fault(Fault::Name));
        }
        let url = self.base_url.as_deref().map(|url| match &self.account {
            Some(id) if is_account(id) => Ok(url.replace(ACCOUNT, id)),
            None if !url.contains(ACCOUNT) => Ok(url.to_owned()),
            _ => Err(fault(Fault::Account)),
        });
        let base = url.transpose()?.as_deref().map(BaseUrl::parse);
        let base = base.transpose().map_err(|e| fault(Fault::BaseUrl(e)))?;
        let at = base.as_ref().and_then(KnownProvider::at);
        let known = at
            .or(self.known)
            .or_else(|| KnownProvider::named(&self.name));
        let auth = known.map(|known| known.auth).unwrap_or_default();
        let has_key = self.key.is_some();
        if let Some((name, _)) = self.headers.iter().find(|(name, _)| is_reserved(name)) {
            return Err(fault(Fault::Header(name.clone())));
        }
        let headers = self.headers.iter().cloned();
        let credential = Credential::new(self.key.as_deref(), auth, headers);
        let credential = credential.map_err(|bad| fault(Fault::Key(bad)))?;
        if has_key && base.is_none() {
            return Err(fault(Fault::KeyWithoutBase));
        }
        let free = match (self.free, known) {
            (Some(rule), _) => rule,
            (None, Some(known)) if known.free == FreeRule::Plan => {
                return Err(fault(Fault::PlanUnsaid));
            }
            (None, Some(known)) => known.free,
            (None, None) => FreeRule::default(),
        };
        // A weaker rule would turn a price list into a pool: the one mistake that costs money at once.
        if at.is_some_and(|at| !at.free.allows(free)) {
            return Err(fault(Fault::Rule(free)));
        }
        // Without a base URL the caller's own key is sent.
        if free == FreeRule::Keyless && (has_key || base.is_none()) {
            return Err(fault(Fault::KeyCosts));
        }
        let known_day = known.map(|known| known.day).unwrap_or_default();
        let known_dialect = known.map(|known| known.dialect).unwrap_or_default();
        let mut dialect = self.dialect.unwrap_or(known_dialect);
        // What guards against costs is no matter of taste. By OpenRouter's rule something stands in for OpenRouter.
        let by_rule = match free {
            FreeRule::OpenRouter => KnownProvider::openrouter().dialect.known,
            _ => None,
        };
        dialect.known = dialect.known.or(known_dialect.known).or(by_rule);
        Ok(Provider(Arc::new(Inner {
            name: self.name.into(),
            known,
            base,
            credential: Arc::new(credential),
            free,
            // A listing at a place of its own is the known service's, and no business of whoever stands in for it.
            listing: known
                .map(|known| known.listing)
                .filter(|listing| !is_whole(listing) || at.is_some())
                .unwrap_or(DEFAULT_LISTING),
            // They are free by the known rule, and by no other.
            unlisted: known
                .filter(|known| known.free == free)
                .map(|known| known.unlisted)
                .unwrap_or_default(),
            day: self.day.unwrap_or(known_day),
            image_queue: (dialect.images == ImageApi::Sdapi).then(Queue::new),
            dialect,
        })))
    }
}

impl fmt::Debug for ProviderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not even the base URL: before it is parsed it may hold a password.
        f.debug_struct("ProviderBuilder")
            .field("name", &self.name)
            .field("has_key", &self.key.is_some())
            .field(
                "headers",
                &names(self.headers.iter().map(|(name, value)| (name, value))),
            )
            .field("free", &self.free)
            .field("day", &self.day)
            .finish_non_exhaustive()
    }
}

/// The names of headers without their values, which may be credentials.
fn names<'a>(headers: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> Vec<&'a str> {
    headers.into_iter().map(|(name, _)| name.as_str()).collect()
}

/// Whether a listing's place is a URL of its own.
fn is_whole(listing: &str) -> bool {
    listing.starts_with("http")
}

/// Whether a name can stand in `provider/model=outcome, …` and be told from what surrounds it.
fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b',' | b'=');
    (1..=64).contains(&name.len()) && name.bytes().all(is_part)
}

/// What stands for the account's id in a base URL.
const ACCOUNT: &str = "{account_id}";

/// Whether an id can be one segment of a path.
fn is_account(id: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=128).contains(&id.len()) && id.bytes().all(is_part)
}

/// What only the layers and the key may set.
fn is_reserved(name: &HeaderName) -> bool {
    [
        AUTHORIZATION,
        CONNECTION,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        HOST,
        TRANSFER_ENCODING,
    ]
    .contains(name)
}

/// Why a provider cannot be built. It never holds the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderError {
    name: String,
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Name,
    BaseUrl(BaseUrlError),
    Account,
    Key(BadKey),
    KeyWithoutBase,
    KeyCosts,
    Header(HeaderName),
    Rule(FreeRule),
    PlanUnsaid,
}

impl ProviderError {
    /// Whether nothing is missing but the word that the account cannot be billed: [`FreeRule::Plan`].
    #[must_use]
    pub fn is_plan_unsaid(&self) -> bool {
        self.fault == Fault::PlanUnsaid
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "provider {:?}: ", self.name)?;
        match &self.fault {
            Fault::Name => f.write_str(
                "a name is 1 to 64 visible ASCII characters other than `/`, `,` and `=`",
            ),
            Fault::BaseUrl(error) => error.fmt(f),
            Fault::Account => f.write_str(
                "the base URL has a place for the account's id: letters, digits, `-` and `_`",
            ),
            Fault::Key(BadKey::Empty) => f.write_str("the key is empty"),
            Fault::Key(BadKey::Character) => {
                f.write_str("the key holds a character that no header can carry")
            }
            Fault::KeyWithoutBase => f.write_str("a key needs a base URL to be sent to"),
            Fault::KeyCosts => {
                f.write_str("it is free without a key only, and bills whoever sends one")
            }
            Fault::Header(name) => write!(f, "the header {name} is not one to be added"),
            Fault::Rule(rule) => write!(
                f,
                "the rule {rule:?} would take paid models of this host for free"
            ),
            Fault::PlanUnsaid => f.write_str(
                "its free tier is a plan, and an account that has a payment method is billed: say \
                 `FreeRule::Plan` if this account cannot be billed",
            ),
        }
    }
}

impl Error for ProviderError {}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn fault(builder: ProviderBuilder) -> Fault {
        builder.build().expect_err("a fault").fault
    }

    #[test]
    fn debug_shows_no_key_and_no_header_value() {
        let builder = Provider::openrouter().key("sk-secret").header(
            HeaderName::from_static("x-api-key"),
            HeaderValue::from_static("hidden"),
        );
        let shown = format!("{builder:?}");
        let provider = builder.build().expect("a provider");
        let mut headers = HeaderMap::new();
        provider.credential().set(&mut headers);
        assert_eq!(headers.len(), 2);
        let shown = format!("{shown} {provider:?} {headers:?}");
        assert!(
            !shown.contains("secret") && !shown.contains("hidden"),
            "{shown}"
        );
    }

    #[test]
    fn an_error_shows_no_key() {
        for builder in [
            Provider::openrouter().key("sk secret"),
            Provider::openrouter().key("sk-secret\u{7f}"),
            Provider::new("p").key("sk-secret"),
            Provider::new("p")
                .key("secret")
                .base_url("http://u:secret@h/"),
        ] {
            let error = builder.build().expect_err("a fault");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_key_goes_to_a_base_url_only() {
        assert_eq!(fault(Provider::new("p").key("k")), Fault::KeyWithoutBase);
    }

    #[test]
    fn a_name_can_stand_in_a_trail() {
        for name in ["openrouter", "openrouter#2", "a.b-c_d:e"] {
            assert!(Provider::new(name).build().is_ok(), "{name}");
        }
        let long = "x".repeat(65);
        for name in ["", "a/b", "a,b", "a=b", "a b", "ä", "a\n", long.as_str()] {
            assert_eq!(fault(Provider::new(name)), Fault::Name, "{name}");
        }
    }

    #[test]
    fn no_weaker_rule_is_accepted_for_openrouter() {
        let url = "https://openrouter.ai/api/v1";
        for rule in [FreeRule::All, FreeRule::Priced] {
            let builder = Provider::new("mine").base_url(url).free(rule);
            assert_eq!(fault(builder), Fault::Rule(rule));
        }
        let provider = Provider::new("mine")
            .base_url(url)
            .build()
            .expect("a provider");
        assert_eq!(provider.free_rule(), FreeRule::OpenRouter);
        assert_eq!(provider.day(), Day::Utc);
    }

    #[test]
    fn a_known_name_brings_its_rule_to_another_base() {
        let provider = Provider::new("openrouter")
            .base_url("http://127.0.0.1:1/v1")
            .build();
        assert_eq!(
            provider.expect("a provider").free_rule(),
            FreeRule::OpenRouter
        );
        let provider = Provider::new("local").build().expect("a provider");
        assert_eq!(provider.free_rule(), FreeRule::Priced);
    }

    #[test]
    fn what_is_known_of_a_service_stays_under_any_name() {
        let known = |name| Provider::known(name).expect("a known provider");
        let studio = known("sdnext").name("studio").key("user:password");
        let studio = studio.build().expect("a provider");
        assert_eq!(studio.listing_format(), ListingFormat::Checkpoints);
        assert_eq!(studio.dialect().images, ImageApi::Sdapi);
        assert_eq!(studio.serves(Endpoint::ChatCompletions), Some(false));
        let mut headers = HeaderMap::new();
        studio.credential().set(&mut headers);
        assert_eq!(headers[AUTHORIZATION], "Basic dXNlcjpwYXNzd29yZA==");
        let home = known("ollama").name("home").build().expect("a provider");
        let target = home.target(Model::new("unheard-of")).expect("a target");
        assert_eq!(target.model().context_length(), Some(4_096));
    }

    #[test]
    fn what_the_layers_set_cannot_be_added() {
        let builder = Provider::new("p").header(AUTHORIZATION, HeaderValue::from_static("x"));
        assert_eq!(fault(builder), Fault::Header(AUTHORIZATION));
    }

    #[test]
    fn the_listing_is_under_the_base() {
        let uri = |builder: ProviderBuilder| builder.build().expect("a provider").listing_uri();
        let there = uri(Provider::openrouter()).expect("a listing");
        assert_eq!(there, "https://openrouter.ai/api/v1/models");
        assert_eq!(uri(Provider::new("p")), None);
    }

    #[test]
    fn a_listing_can_stand_beside_the_base() {
        let cloudflare = Provider::known("cloudflare").expect("a known provider");
        let cloudflare = cloudflare.free(FreeRule::Plan);
        let provider = cloudflare.account("0123").build().expect("a provider");
        assert_eq!(
            provider.listing_uri().expect("a listing"),
            "https://api.cloudflare.com/client/v4/accounts/0123/ai/models/search?per_page=1000"
        );
        let studio = Provider::known("lm-studio").expect("a known provider");
        let provider = studio.build().expect("a provider");
        assert_eq!(
            provider.listing_uri().expect("a listing"),
            "http://127.0.0.1:1234/api/v0/models"
        );
    }

    #[test]
    fn a_listing_elsewhere_is_asked_by_the_known_host_only() {
        let cohere = || {
            let cohere = Provider::known("cohere").expect("a known provider");
            cohere.free(FreeRule::Plan)
        };
        let uri = |builder: ProviderBuilder| builder.build().expect("a provider").listing_uri();
        assert_eq!(
            uri(cohere()).expect("a listing"),
            "https://api.cohere.com/v1/models?page_size=1000"
        );
        assert_eq!(
            uri(cohere().base_url("http://127.0.0.1:1/v1")).expect("a listing"),
            "http://127.0.0.1:1/v1/models"
        );
    }

    #[test]
    fn a_provider_whose_free_tier_is_a_plan_is_not_built_before_that_is_said_of_its_account() {
        let on_a_plan = KnownProvider::all()
            .iter()
            .filter(|known| known.free == FreeRule::Plan);
        for known in on_a_plan {
            let account = |builder: ProviderBuilder| match known.account_env {
                Some(_) => builder.account("0123"),
                None => builder,
            };
            let url = known.base_url;
            for builder in [
                known.builder().key("k"),
                known.builder().name("mine").key("k"),
                Provider::new(known.name).base_url(url).key("k"),
                Provider::new("mine").base_url(url).key("k"),
                Provider::new(known.name),
            ] {
                let builder = match builder.base_url {
                    Some(_) => account(builder),
                    None => builder,
                };
                let error = builder.clone().build().expect_err(known.name);
                assert!(error.is_plan_unsaid(), "{error}");
                let provider = builder.free(FreeRule::Plan).build().expect(known.name);
                assert_eq!(provider.free_rule(), FreeRule::Plan);
            }
        }
    }

    #[test]
    fn a_key_that_would_be_billed_is_refused() {
        let ovh = || Provider::known("ovh").expect("a known provider");
        assert!(ovh().build().is_ok());
        assert_eq!(fault(ovh().key("k")), Fault::KeyCosts);
        assert_eq!(fault(Provider::new("ovh")), Fault::KeyCosts);
        let vouched = ovh().key("k").free(FreeRule::All);
        assert_eq!(fault(vouched), Fault::Rule(FreeRule::All));
    }
}
