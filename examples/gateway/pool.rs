//! From the configuration to the pool: providers, their listings, the catalog.

use std::{error::Error, fmt};

use tower_free_models::{
    Catalog, CatalogError, FreeRule, HealthMap, KnownProvider, Model, Provider, ProviderBuilder,
    Refresh, Report, Target,
};

use crate::{
    client::HttpClient,
    config::{self, Config, Free},
    say::say,
};

type BoxError = Box<dyn Error + Send + Sync>;

/// A provider, and how its models become known.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) provider: Provider,
    /// Models that the operator has written; none means that the provider is asked for its listing.
    pub(crate) models: Vec<Target>,
}

impl Source {
    /// A provider as the configuration describes it.
    pub(crate) fn from_config(
        config: &config::Provider,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, BoxError> {
        let name = &config.name;
        let context = |error: &dyn fmt::Display| format!("provider \"{name}\": {error}");
        let mut builder = Provider::new(name.as_str());
        if let Some(known) = KnownProvider::named(name) {
            needs(known, config).map_err(|error| context(&error))?;
            builder = known.builder().name(name.as_str());
            if let Some(id) = known.account_env.and_then(variable) {
                builder = builder.account(&id);
            }
        }
        if let Some(url) = &config.base_url {
            builder = builder.base_url(&url.to_string());
        }
        if let Some(key) = &config.key {
            builder = builder.key(key.as_str());
        }
        builder = match config.free {
            Some(Free::All) => builder.free(FreeRule::All),
            Some(Free::Plan) => builder.free(FreeRule::Plan),
            Some(Free::Priced) => builder.free(FreeRule::Priced),
            None => builder,
        };
        // That error names the provider itself.
        let provider = builder.build()?;
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

    /// A provider that is asked for its listing.
    pub(crate) fn listed(builder: ProviderBuilder) -> Result<Self, BoxError> {
        Ok(Self {
            provider: builder.build()?,
            models: Vec::new(),
        })
    }
}

/// A known service that answers nobody without a key is of no use without one.
fn needs(known: &KnownProvider, config: &config::Provider) -> Result<(), String> {
    if known.keyless || config.key.is_some() || config.base_url.is_some() {
        return Ok(());
    }
    Err(format!(
        "it needs a key: name the environment variable that holds it, as in key_env = \"{}\"",
        known.key_env.first().unwrap_or(&"MY_KEY")
    ))
}

/// Brings the written models into the catalog, and asks the other providers for theirs, all at once.
///
/// What comes back keeps them up to date, once it is [run](Refresh::run).
pub(crate) async fn fill(
    sources: Vec<Source>,
    config: &Config,
    client: HttpClient,
    catalog: &Catalog,
    health: &HealthMap,
) -> Result<Refresh, CatalogError> {
    let mut refresh =
        Refresh::new(catalog.clone(), health.clone()).interval(config.catalog_refresh);
    if let Some(seed) = config.seed {
        refresh = refresh.seed(seed);
    }
    if let Some(note) = may_be_billed(&sources) {
        say!("{note}");
    }
    for Source { provider, models } in sources {
        if models.is_empty() {
            refresh = refresh.provider(provider);
        } else {
            say!("{}: {} models as written", provider.name(), models.len());
            catalog.replace(&provider, models)?;
        }
    }
    for report in refresh.once(client).await {
        say!("{report}");
        for skipped in &report.skipped {
            tracing::warn!(
                provider = report.provider,
                "left out of the listing: {skipped}"
            );
        }
    }
    Ok(refresh.on_report(log))
}

/// Nobody but the account's owner knows whether it can be billed.
fn may_be_billed(sources: &[Source]) -> Option<String> {
    let on_a_plan = sources
        .iter()
        .map(|source| &source.provider)
        .filter(|provider| provider.free_rule() == FreeRule::Plan);
    let names: Vec<_> = on_a_plan.map(Provider::name).collect();
    (!names.is_empty()).then(|| {
        format!(
            "note: {} may bill an account that has a payment method; use keys of accounts without one",
            names.join(", ")
        )
    })
}

/// What comes later is told only where it changes something.
fn log(report: &Report) {
    let changed = report
        .swap
        .is_some_and(|swap| swap.added + swap.removed > 0);
    match &report.error {
        Some(_) => tracing::warn!("{report}"),
        None if changed => tracing::info!("{report}"),
        None => tracing::debug!("{report}"),
    }
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
    if let Some((width, height)) = model.size {
        builder = builder.image_size(width, height);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_be_billed_is_told_so() {
        let listed = |name: &str| {
            let builder = Provider::known(name).expect("an entry").key("k");
            Source::listed(builder).expect("a provider")
        };
        let sources = [listed("openrouter"), listed("groq"), listed("google")];
        let note = may_be_billed(&sources).expect("a note");
        assert!(note.contains("groq, google may bill"), "{note}");
        assert_eq!(may_be_billed(&sources[..1]), None);
    }

    #[test]
    fn a_known_provider_in_a_file_needs_its_key_and_keeps_its_ways_under_a_second_name() {
        let from = |toml: &str| {
            let variable = |name: &str| (name == "KEY_2").then(|| "k".to_owned());
            let is_known = |name: &str| KnownProvider::named(name).is_some();
            let config = Config::parse(toml, &is_known, &variable).expect("a configuration");
            Source::from_config(&config.providers[0], &variable)
        };
        let error = from("[[provider]]\nname = \"groq\"").expect_err("no key");
        assert!(error.to_string().contains("GROQ_API_KEY"), "{error}");
        let second = from("[[provider]]\nname = \"groq#2\"\nkey_env = \"KEY_2\"");
        let second = second.expect("a provider").provider;
        assert_eq!(second.name(), "groq#2");
        assert_eq!(
            second.base().map(ToString::to_string).as_deref(),
            Some("https://api.groq.com/openai/v1")
        );
        assert!(!second.dialect().fields.is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_provider_names_it_once() {
        for (lines, why) in [
            ("name = \"groq\"", "GROQ_API_KEY"),
            ("name = \"ovh\"\nkey_env = \"KEY\"", "bills"),
            (
                "name = \"openrouter\"\nkey_env = \"KEY\"\n[[provider.model]]\nid = \"paid\"",
                "paid",
            ),
        ] {
            let variable = |_: &str| Some("canary".to_owned());
            let text = format!("[[provider]]\n{lines}\n");
            let is_known = |name: &str| Provider::known(name).is_some();
            let config = Config::parse(&text, &is_known, &variable).unwrap();
            let error = Source::from_config(&config.providers[0], &variable)
                .unwrap_err()
                .to_string();
            assert!(error.contains(why) && !error.contains("canary"), "{error}");
            assert_eq!(error.matches("provider \"").count(), 1, "{error}");
        }
    }
}
