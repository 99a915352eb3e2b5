//! Builds a provider: from what is known of its service, and from what its user says.

use std::{fmt, sync::Arc};

use http::{
    Uri,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
        EXPECT, HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
    uri::PathAndQuery,
};

use super::{
    account::{Inner, Provider, is_whole},
    base_url::BaseUrl,
    credential::Credential,
    dialect::{Dialect, ImageApi},
    error::{Fault, ProviderError},
    free_rule::FreeRule,
    image_queue::Queue,
    known::{Auth, DEFAULT_LISTING, KnownProvider, ListingFormat},
    limit::Limit,
    quota_day::Day,
    table,
};
use crate::endpoint::Endpoint;

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
}

impl KnownProvider {
    /// A builder that is filled in but for the key. Where [`free`](Self::free) is [`FreeRule::Plan`], the rule is left
    /// open too: see [`ProviderBuilder::free`].
    pub fn builder(&self) -> ProviderBuilder {
        ProviderBuilder::known(self)
    }
}

/// Builds a [`Provider`].
#[derive(Clone)]
#[must_use = "a provider is made by `build`"]
pub struct ProviderBuilder {
    name: String,
    known: Option<&'static KnownProvider>,
    pub(super) base_url: Option<String>,
    account: Option<String>,
    key: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    free: Option<FreeRule>,
    day: Option<Day>,
    limits: Vec<Limit>,
    dialect: Option<Dialect>,
    auth: Option<Auth>,
    endpoints: Option<Vec<Endpoint>>,
    listing: Option<(String, ListingFormat)>,
}

impl ProviderBuilder {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            known: None,
            base_url: None,
            key: None,
            account: None,
            headers: Vec::new(),
            free: None,
            day: None,
            limits: Vec::new(),
            dialect: None,
            auth: None,
            endpoints: None,
            listing: None,
        }
    }

    pub(super) fn known(known: &KnownProvider) -> Self {
        Self {
            known: KnownProvider::named(known.name),
            base_url: Some(known.base_url.to_owned()),
            // That the account has a free plan is never taken over: the user of the builder says so.
            free: Some(known.free).filter(|free| *free != FreeRule::Plan),
            ..Self::new(known.name.to_owned())
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

    /// The key, sent to the base URL and nowhere else, in the form that [`auth`](Self::auth) says. Default: no key.
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// What is free there. The default is the rule that is known for the host or the name, else [`FreeRule::Priced`].
    ///
    /// There is no default where that rule is [`FreeRule::Plan`]: such a service bills an account that has a payment
    /// method, and its key does not tell. The user of the builder says that the account cannot be billed:
    ///
    /// ```
    /// use tower_free_models::{Provider, provider::FreeRule};
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

    /// A limit that the account, or each of its models, is known to have. It is enforced before a request is sent: what
    /// would exceed it goes elsewhere, or waits. Failed requests count as well.
    ///
    /// Several may be said. Without one, limits are what the service is known for at its own host, what its answers
    /// state, and what is inferred from the requests that it refuses. A limit that is said here takes the place of those known for the
    /// host of the same quantity and period.
    ///
    /// ```
    /// use tower_free_models::{Provider, provider::{FreeRule, Limit, Period, Quantity}};
    ///
    /// let team = Provider::new("team")
    ///     .base_url("http://127.0.0.1:9001/v1")
    ///     .free(FreeRule::All)
    ///     .limit(Limit::new(20, Quantity::Requests, Period::Minute))
    ///     .limit(Limit::new(2, Quantity::Requests, Period::AtOnce))
    ///     .build()?;
    /// assert_eq!(team.limits().len(), 2);
    /// # Ok::<(), tower_free_models::provider::ProviderError>(())
    /// ```
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limits.push(limit);
        self
    }

    /// How it differs from OpenAI's API. The default is what is known for the host or the name, else that nothing does.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = Some(dialect);
        self
    }

    /// How the key is sent. The default is what is known for the host or the name, else [`Auth::Bearer`].
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = Some(auth);
        self
    }

    /// The endpoints that it serves, at least one; requests to others do not go to it. The default is what is known for
    /// the host or the name, else that it may serve all.
    pub fn endpoints(mut self, endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        self.endpoints = Some(endpoints.into_iter().collect());
        self
    }

    /// Where its listing is, and in which format. The default is what is known for the host or the name, else
    /// `/v1/models` in OpenAI's format.
    ///
    /// The place is a path under the base URL (`/v1/models`), one beside its last segment (`../models`), or a whole URL.
    /// At another scheme, host or port than those of the base URL it is asked without the provider's key and headers.
    pub fn listing(mut self, place: &str, format: ListingFormat) -> Self {
        self.listing = Some((place.to_owned(), format));
        self
    }

    /// The provider.
    ///
    /// # Errors
    ///
    /// If
    /// - the name or the key cannot stand in a header, or the base URL or the place of the listing is not a URL;
    /// - there is a key, and no base URL to send it to;
    /// - the known rule is [`FreeRule::Plan`] and the operator has not said so of the account, or the rule is weaker than
    ///   the host demands;
    /// - a key comes with [`FreeRule::Keyless`], or the client's key would, because there is no base URL;
    /// - a header is one that the layers set;
    /// - the list of endpoints is empty;
    /// - a rule of the dialect puts in text that is not one JSON value, or rules for `/chat/completions` stand in
    ///   [`elsewhere`](Dialect::elsewhere).
    pub fn build(self) -> Result<Provider, ProviderError> {
        let name = self.name.clone();
        self.checked()
            .map_err(|fault| ProviderError { name, fault })
    }

    fn checked(self) -> Result<Provider, Fault> {
        if !is_name(&self.name) {
            return Err(Fault::Name);
        }
        let base = self.base()?;
        // The service that the host is known to be decides what may be free. Another one that stands in for a known
        // service has its ways.
        let at = base.as_ref().and_then(KnownProvider::at);
        let known = at
            .or(self.known)
            .or_else(|| KnownProvider::named(&self.name));
        let auth = self.auth.or_else(|| known.map(|known| known.auth.clone()));
        let auth = auth.unwrap_or_default();
        if self.key.is_some() && base.is_none() {
            return Err(Fault::KeyWithoutBase);
        }
        let of_key = match &auth {
            Auth::Header { name, .. } if self.key.is_some() && *name != AUTHORIZATION => Some(name),
            _ => None,
        };
        let mut names = self.headers.iter().map(|(name, _)| name).chain(of_key);
        if let Some(name) = names.find(|name| is_reserved(name)) {
            return Err(Fault::Header(name.clone()));
        }
        // A limit of nothing at all would shut the provider out for ever.
        if self.limits.iter().any(|limit| limit.amount == 0) {
            return Err(Fault::LimitOfZero);
        }
        if self.endpoints.as_ref().is_some_and(Vec::is_empty) {
            return Err(Fault::NoEndpoints);
        }
        let credential = Credential::new(self.key.as_deref(), &auth, self.headers)?;
        let free = match (self.free, known) {
            (Some(rule), _) => rule,
            (None, Some(known)) if known.free == FreeRule::Plan => return Err(Fault::PlanUnsaid),
            (None, Some(known)) => known.free,
            (None, None) => FreeRule::default(),
        };
        // A weaker rule would turn a price list into a pool.
        if at.is_some_and(|at| !at.free.allows(free)) {
            return Err(Fault::Rule(free));
        }
        // Without a base URL the caller's own key is sent.
        if free == FreeRule::Keyless && (credential.has_key() || base.is_none()) {
            return Err(Fault::KeyCosts);
        }
        let of_known = known.map(|known| known.dialect.clone()).unwrap_or_default();
        // What guards against costs is never replaced by less. By OpenRouter's rule something stands in for OpenRouter.
        let by_rule = match free {
            FreeRule::OpenRouter => table::openrouter().dialect.known.clone(),
            _ => None,
        };
        let guard = of_known.known.clone().or(by_rule);
        let mut dialect = self.dialect.unwrap_or(of_known);
        dialect.known = dialect.known.or(guard);
        let listing_is_known = self.listing.is_none();
        if let Some(field) = dialect.not_json() {
            return Err(Fault::NotJson(field.to_owned()));
        }
        let is_about_chats = |(endpoint, _): &(Endpoint, _)| *endpoint == Endpoint::ChatCompletions;
        if dialect.elsewhere.iter().any(is_about_chats) {
            return Err(Fault::ChatElsewhere);
        }
        let (listing, listing_format) = match self.listing {
            Some((place, format)) if is_place(&place) => (place.into(), format),
            Some(_) => return Err(Fault::Listing),
            None => {
                // A listing at another host is that of the known service, and not of another one in its place.
                let place = known.map(|known| known.listing);
                let place = place.filter(|place| !is_whole(place) || at.is_some());
                let format = known.map(|known| known.listing_format);
                let place = place.unwrap_or(DEFAULT_LISTING).into();
                (place, format.unwrap_or_default())
            }
        };
        // What is free by the known rule is so by no other.
        let by_known_rule = known.filter(|known| known.free == free);
        Ok(Provider(Arc::new(Inner {
            name: self.name.into(),
            base,
            credential: Arc::new(credential),
            free,
            plan: known.map(|known| known.plan).unwrap_or_default(),
            listing,
            listing_is_known,
            listing_format,
            unlisted: by_known_rule
                .map(|known| known.unlisted)
                .unwrap_or_default(),
            account_status: known.and_then(|known| known.account_status),
            bills_files: free == FreeRule::OpenRouter
                || known.is_some_and(|known| known.bills_files),
            endpoints: self
                .endpoints
                .or_else(|| known.map(|known| known.endpoints.to_vec())),
            day: self
                .day
                .or_else(|| known.map(|known| known.day))
                .unwrap_or_default(),
            usual_limits: at
                .map(|known| {
                    let is_said = |usual: &&Limit| {
                        let mut said = self.limits.iter();
                        said.any(|said| (said.of, said.per) == (usual.of, usual.per))
                    };
                    let usual = known.limits.iter().filter(|usual| !is_said(usual));
                    usual.copied().collect()
                })
                .unwrap_or_default(),
            limits: self.limits,
            image_queue: (dialect.images == ImageApi::Sdapi).then(Queue::new),
            dialect,
        })))
    }

    /// The base URL, with the account's id where it has a place for one.
    fn base(&self) -> Result<Option<BaseUrl>, Fault> {
        let Some(url) = &self.base_url else {
            return Ok(None);
        };
        let url = match &self.account {
            Some(id) if is_account(id) => url.replace(ACCOUNT, id),
            None if !url.contains(ACCOUNT) => url.clone(),
            _ => return Err(Fault::Account),
        };
        BaseUrl::parse(&url).map(Some).map_err(Fault::BaseUrl)
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
                &self
                    .headers
                    .iter()
                    .map(|(name, _)| name)
                    .collect::<Vec<_>>(),
            )
            .field("free", &self.free)
            .field("day", &self.day)
            .finish_non_exhaustive()
    }
}

/// Whether a listing can be there.
fn is_place(place: &str) -> bool {
    let path = place.strip_prefix("..").unwrap_or(place);
    match is_whole(place) {
        true => place
            .parse::<Uri>()
            .is_ok_and(|uri| !uri.authority().is_some_and(|at| at.as_str().contains('@'))),
        false => path.starts_with('/') && PathAndQuery::try_from(path).is_ok(),
    }
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

/// The headers that only the layers and the key may set.
fn is_reserved(name: &HeaderName) -> bool {
    [
        ACCEPT_ENCODING,
        AUTHORIZATION,
        CONNECTION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        EXPECT,
        HOST,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ]
    .contains(name)
}
