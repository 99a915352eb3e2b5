//! From the configuration to the pool: providers, their listings, the catalog.

use std::{error::Error, fmt, time::Duration};

use tower_free_models::{
    Catalog, HealthMap, Model, Provider, Target,
    catalog::{CatalogError, Snapshot},
    provider::{FreeRule, KnownProvider, ProviderBuilder},
    refresh::{Refresh, Report},
};

use crate::{
    client::HttpClient,
    config::{self, Config, Free},
    say::say,
};

type BoxError = Box<dyn Error + Send + Sync>;

/// What a file has to say of an account.
const UNSAID: &str = "its free tier is a plan, and an account that has a payment method is billed: if this one cannot \
                      be billed, say free = \"plan\"";

/// The start waits so long at most for the listings of all providers.
const FIRST_ROUND: Duration = Duration::from_secs(5);

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
        if let Some(endpoints) = &config.endpoints {
            builder = builder.endpoints(endpoints.iter().copied());
        }
        builder = config.limits().fold(builder, ProviderBuilder::limit);
        if let Some(day) = config.day {
            builder = builder.day(day.day());
        }
        if let Some(listing) = &config.listing {
            builder = builder.listing(&listing.path, listing.format());
        }
        if let Some(auth) = &config.auth {
            builder = builder.auth(auth.scheme());
        }
        if let Some(dialect) = &config.dialect {
            builder = builder.dialect(dialect.build());
        }
        let provider = builder
            .build()
            .map_err(|error| match error.is_plan_unsaid() {
                true => context(&UNSAID),
                // That error names the provider itself.
                false => error.to_string(),
            })?;
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
    pub(crate) fn listed(provider: Provider) -> Self {
        let models = Vec::new();
        Self { provider, models }
    }
}

/// A known service that answers no request without a key is of no use without one.
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
    if let Some(note) = said_unbilled(&sources) {
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
    let reports = refresh.once_within(client, FIRST_ROUND).await;
    let is_reported = |name: &&str| reports.iter().any(|report| report.provider == *name);
    for name in catalog
        .snapshot()
        .awaited()
        .filter(|name| !is_reported(name))
    {
        say!(
            "{name}: its listing did not come within {FIRST_ROUND:?}; its models are added when it does"
        );
    }
    for report in reports {
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

/// What an empty pool waits for.
///
/// # Errors
///
/// If it waits for nothing: all listings were read, and have no free model.
pub(crate) fn waiting_for(pool: &Snapshot) -> Result<String, &'static str> {
    let awaited: Vec<_> = pool.awaited().collect();
    match awaited.is_empty() {
        true => Err("no provider has a free model to offer, so there is nothing to serve"),
        false => Ok(format!(
            "no provider could be reached yet: requests are refused until the listing of {} can be read, which is asked \
             for again and again",
            awaited.join(", ")
        )),
    }
}

/// A key does not tell whether its account can be billed: the operator has said that it cannot.
fn said_unbilled(sources: &[Source]) -> Option<String> {
    let on_a_plan = sources
        .iter()
        .map(|source| &source.provider)
        .filter(|provider| provider.free_rule() == FreeRule::Plan);
    let names: Vec<_> = on_a_plan.map(Provider::name).collect();
    (!names.is_empty()).then(|| {
        format!(
            "note: {} would bill an account that has a payment method; you say that yours has none",
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
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use http_body_util::{BodyExt, Full};
    use tower::{Layer, ServiceExt, service_fn};
    use tower_free_models::Body;

    use super::*;

    #[test]
    fn the_accounts_that_are_said_not_to_be_billed_are_named() {
        let listed = |name: &str| {
            let known = KnownProvider::named(name).expect("an entry");
            let builder = known.builder().key("k").free(known.free);
            Source::listed(builder.build().expect("a provider"))
        };
        let sources = [listed("openrouter"), listed("groq"), listed("google")];
        let note = said_unbilled(&sources).expect("a note");
        assert!(note.contains("groq, google would bill"), "{note}");
        assert_eq!(said_unbilled(&sources[..1]), None);
    }

    #[test]
    fn the_file_of_the_readme_makes_a_pool() {
        let readme = include_str!("../../README.md");
        let (_, file) = readme.split_once("```toml\n").expect("a file");
        let (file, _) = file.split_once("```").expect("its end");
        let variable = |_: &str| Some("key".to_owned());
        let is_known = |name: &str| KnownProvider::named(name).is_some();
        let config = Config::parse(file, &is_known, &variable).expect("a configuration");
        let providers = config.providers.iter();
        let sources: Result<Vec<_>, _> = providers
            .map(|provider| Source::from_config(provider, &variable))
            .collect();
        assert!(sources.expect("providers").len() > 2);
    }

    #[test]
    fn a_provider_with_a_plan_in_a_file_needs_the_word_that_its_account_is_not_billed() {
        let from = |lines: &str| {
            let variable = |_: &str| Some("k".to_owned());
            let is_known = |name: &str| KnownProvider::named(name).is_some();
            let toml = format!("[[provider]]\nkey_env = \"KEY\"\n{lines}");
            let config = Config::parse(&toml, &is_known, &variable).expect("a configuration");
            Source::from_config(&config.providers[0], &variable)
        };
        for lines in [
            "name = \"groq\"",
            "name = \"groq#2\"",
            "name = \"mine\"\nbase_url = \"https://api.groq.com/openai/v1\"",
            "name = \"groq\"\n[[provider.model]]\nid = \"m\"",
        ] {
            let error = from(lines).expect_err(lines).to_string();
            assert!(error.contains("free = \"plan\""), "{error}");
            assert_eq!(error.matches("provider \"").count(), 1, "{error}");
        }
        for (free, rule) in [("plan", FreeRule::Plan), ("all", FreeRule::All)] {
            let source = from(&format!("name = \"groq\"\nfree = \"{free}\"")).expect(free);
            assert_eq!(source.provider.free_rule(), rule);
        }
    }

    #[tokio::test]
    async fn a_pool_that_is_empty_because_its_providers_cannot_be_reached_names_them() {
        let (catalog, health) = (Catalog::new(), HealthMap::new());
        assert!(waiting_for(&catalog.snapshot()).is_err());
        // A port that is closed again.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let provider = Provider::new("down").base_url(&format!("http://{address}/v1"));
        let source = Source::listed(provider.build().expect("a provider"));
        let client = crate::client::client(crate::client::connector());
        let config = Config::default();
        let refresh = fill(vec![source], &config, client, &catalog, &health).await;
        assert!(refresh.is_ok());
        let why = waiting_for(&catalog.snapshot()).expect("it is waited for");
        assert!(why.contains("down"), "{why}");
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
        let second = from("[[provider]]\nname = \"groq#2\"\nkey_env = \"KEY_2\"\nfree = \"plan\"");
        let second = second.expect("a provider").provider;
        assert_eq!(second.name(), "groq#2");
        assert_eq!(
            second.base().map(ToString::to_string).as_deref(),
            Some("https://api.groq.com/openai/v1")
        );
        assert!(!second.dialect().fields.is_empty());
    }

    #[tokio::test]
    async fn a_provider_described_in_a_file_is_used_as_it_says() {
        let file = r#"
            [[provider]]
            name = "acme"
            base_url = "http://acme.test/api/v2"
            key_env = "ACME_KEY"
            free = "all"
            endpoints = ["chat/completions"]
            listing = { path = "../catalog", format = "google" }
            auth = { header = "x-acme-key", prefix = "Token " }
            [provider.dialect]
            developer_role = false
            [provider.dialect.fields]
            seed = { rename = "random_seed" }
        "#;
        let variable = |_: &str| Some("sk-1".to_owned());
        let config = Config::parse(file, &|_| false, &variable).expect("a configuration");
        let acme = Source::from_config(&config.providers[0], &variable).expect("a provider");

        // What is asked of it, and with which body.
        let sent = Arc::new(Mutex::new(Vec::new()));
        let client = service_fn({
            let sent = Arc::clone(&sent);
            move |request: Request<Body>| {
                let sent = Arc::clone(&sent);
                async move {
                    let (head, body) = request.into_parts();
                    assert_eq!(head.headers["x-acme-key"], "Token sk-1");
                    assert!(!head.headers.contains_key("authorization"));
                    let body = body.collect().await?.to_bytes();
                    let answer = match head.method == Method::GET {
                        true => r#"{"data":[{"id":"models/m"}]}"#,
                        false => {
                            r#"{"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}]}"#
                        }
                    };
                    sent.lock().unwrap().push((head.uri.to_string(), body));
                    let answer = Response::new(Full::from(answer));
                    Ok::<_, BoxError>(answer)
                }
            }
        });
        let (catalog, health) = (Catalog::new(), HealthMap::new());
        let mut refresh = Refresh::new(catalog.clone(), health.clone()).provider(acme.provider);
        refresh.once(client.clone()).await;
        let service = tower_free_models::stack(catalog, health).layer(client);
        let ask = |path: &str, body: &str| {
            let request = Request::post(path).header("content-type", "application/json");
            let request = request
                .body(Full::from(body.to_owned()))
                .expect("a request");
            service.clone().oneshot(request)
        };
        let body = r#"{"model":"m","seed":1,"messages":[{"role":"developer","content":"x"}]}"#;
        let answer = ask("/v1/chat/completions", body).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let answer = ask("/v1/completions", r#"{"model":"m"}"#).await;
        assert_eq!(answer.expect("a refusal").status(), 404);

        let sent = sent.lock().unwrap();
        let uris: Vec<_> = sent.iter().map(|(uri, _)| uri.as_str()).collect();
        let chat = "http://acme.test/api/v2/chat/completions";
        assert_eq!(uris, ["http://acme.test/api/catalog", chat]);
        let chat = r#"{"model":"m","random_seed":1,"messages":[{"role":"system","content":"x"}]}"#;
        assert_eq!(sent[1].1, chat);
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
