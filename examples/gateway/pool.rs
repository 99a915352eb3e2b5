//! From the configuration to the pool: providers, their listings, the catalog.

use std::{
    error::Error,
    fmt,
    time::{Duration, SystemTime},
};

use http_body_util::{BodyExt, Limited};
use tower_free_models::{
    Catalog, FreeRule, KnownProvider, Listing, Model, Provider, ProviderBuilder, Target,
};

use crate::{
    client::HttpClient,
    config::{self, Free},
};

/// A listing takes at most this long, and is at most this large; the largest known is half a megabyte.
const LISTING_TIMEOUT: Duration = Duration::from_secs(30);
const LISTING_LIMIT: usize = 16 * 1024 * 1024;

type BoxError = Box<dyn Error + Send + Sync>;
/// A provider's free models, and what was left out of its listing.
type Found = (Vec<Target>, Vec<String>);

/// A provider, and how its models become known.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) provider: Provider,
    /// Models that the operator has written; none means that the provider is asked for its listing.
    pub(crate) models: Vec<Target>,
}

/// What one provider has brought into the pool.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) free: usize,
    /// Entries of the listing that are no use: broken, expired, or otherwise left out.
    pub(crate) skipped: Vec<String>,
    pub(crate) error: Option<String>,
}

impl Source {
    /// A provider as the configuration describes it.
    pub(crate) fn from_config(config: &config::Provider) -> Result<Self, BoxError> {
        let name = &config.name;
        let context = |error: &dyn fmt::Display| format!("provider \"{name}\": {error}");
        let mut builder = Provider::known(name).unwrap_or_else(|| Provider::new(name.as_str()));
        if let Some(url) = &config.base_url {
            builder = builder.base_url(&url.to_string());
        }
        if let Some(key) = &config.key {
            builder = builder.key(key.as_str());
        }
        builder = match config.free {
            Some(Free::All) => builder.free(FreeRule::All),
            Some(Free::Priced) => builder.free(FreeRule::Priced),
            None => builder,
        };
        let provider = builder.build().map_err(|error| context(&error))?;
        let models = config
            .models
            .iter()
            .map(|model| {
                provider
                    .target(written(model))
                    .map_err(|error| context(&error))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { provider, models })
    }

    /// The known providers whose key is in the environment.
    pub(crate) fn from_environment(
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<Self>, BoxError> {
        KnownProvider::all()
            .iter()
            .filter_map(|known| {
                let set = known
                    .key_env
                    .iter()
                    .find(|name| variable(name).is_some_and(|key| !key.trim().is_empty()))?;
                Some(
                    config::Key::from_variable(set, variable)
                        .map(|key| known.builder().key(key.as_str())),
                )
            })
            .map(|builder| Self::listed(builder?))
            .collect()
    }

    /// A provider that is asked for its listing.
    pub(crate) fn listed(builder: ProviderBuilder) -> Result<Self, BoxError> {
        Ok(Self {
            provider: builder.build()?,
            models: Vec::new(),
        })
    }

    async fn targets(&self, client: &HttpClient) -> Result<Found, BoxError> {
        if !self.models.is_empty() {
            return Ok((self.models.clone(), Vec::new()));
        }
        let listing = tokio::time::timeout(LISTING_TIMEOUT, self.listing(client))
            .await
            .map_err(|_| {
                format!(
                    "its listing did not come within {} s",
                    LISTING_TIMEOUT.as_secs()
                )
            })??;
        let skipped = listing.skipped().iter().map(ToString::to_string).collect();
        Ok((listing.into_targets(), skipped))
    }

    async fn listing(&self, client: &HttpClient) -> Result<Listing, BoxError> {
        let request = self
            .provider
            .listing_request()
            .ok_or("it has no address to ask for its models")?;
        let response = client.request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LISTING_LIMIT)
            .collect()
            .await?
            .to_bytes();
        if !status.is_success() {
            return Err(format!("its listing answered {status}").into());
        }
        Ok(self.provider.read_listing(&body, now())?)
    }
}

/// Asks all providers at once, and brings their models into the catalog in the order of the configuration: a
/// seed makes the choice among them reproducible.
pub(crate) async fn load(
    sources: &[Source],
    client: &HttpClient,
    catalog: &Catalog,
) -> Vec<Loaded> {
    let asked =
        futures_util::future::join_all(sources.iter().map(|source| source.targets(client))).await;
    let bring = |(source, asked): (&Source, Result<Found, BoxError>)| {
        let name = source.provider.name().to_owned();
        match asked {
            Ok((targets, skipped)) => {
                let free = targets.len();
                let error = catalog
                    .replace(&source.provider, targets)
                    .err()
                    .map(|error| error.to_string());
                Loaded {
                    name,
                    free,
                    skipped,
                    error,
                }
            }
            Err(error) => Loaded {
                name,
                free: 0,
                skipped: Vec::new(),
                error: Some(describe(&*error)),
            },
        }
    };
    sources.iter().zip(asked).map(bring).collect()
}

fn written(model: &config::Model) -> Model {
    let mut builder = Model::new(model.id.as_str()).random(model.random);
    if let Some(tokens) = model.context_length {
        builder = builder.context_length(tokens);
    }
    if let Some(tokens) = model.max_output {
        builder = builder.max_output(tokens);
    }
    let names =
        |modalities: &[config::Modality]| modalities.iter().map(|m| m.name()).collect::<Vec<_>>();
    if let Some(input) = &model.input {
        builder = builder.input(&names(input));
    }
    if let Some(output) = &model.output {
        builder = builder.output(&names(output));
    }
    if let Some(parameters) = &model.parameters {
        builder = builder.parameters(parameters);
    }
    builder.into()
}

/// An error with its causes: "error sending request: connection refused".
pub(crate) fn describe(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Listings name days on which models expire.
#[allow(clippy::disallowed_methods)]
fn now() -> SystemTime {
    SystemTime::now()
}
