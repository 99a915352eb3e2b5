use http::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};

use super::{error::Fault, *};
use crate::endpoint::Endpoint;

/// What is sent to a provider beside the request.
fn sent_to(provider: &Provider) -> HeaderMap {
    let mut headers = HeaderMap::new();
    provider.credential().set(&mut headers);
    headers
}

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
    let headers = sent_to(&provider);
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
    let credential = &sent_to(&studio)[AUTHORIZATION];
    assert_eq!(credential, "Basic dXNlcjpwYXNzd29yZA==");
    let home = known("ollama").name("home").build().expect("a provider");
    assert_eq!(home.serves(Endpoint::Responses), Some(true));
    assert!(!home.dialect().developer_role);
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
fn a_key_goes_with_a_listing_to_the_origin_of_the_base_only() {
    let asked_at = |base: &str, place: &str| {
        let acme = Provider::new("acme").base_url(base).key("sk-secret");
        let acme = acme.header(
            HeaderName::from_static("x-account"),
            HeaderValue::from_static("1"),
        );
        let acme = acme.listing(place, ListingFormat::OpenAi).build();
        let acme = acme.expect("a provider");
        let request = acme.listing_request().expect("a request");
        let headers = request.headers();
        let has_key = headers.contains_key(AUTHORIZATION);
        assert_eq!(headers.contains_key("x-account"), has_key, "{place}");
        (request.uri().to_string(), has_key)
    };
    for place in [
        "//other.test/models",
        "/../../models",
        "../../models",
        "..//other.test/models",
        "/@other.test/models",
        "/models?at=https://other.test/",
        "https://acme.test/models",
        "https://ACME.test:443/models",
    ] {
        let (uri, has_key) = asked_at("https://acme.test/v1", place);
        let uri = uri.to_ascii_lowercase();
        let rest = uri.strip_prefix("https://acme.test");
        let is_own = rest.is_some_and(|rest| rest.starts_with('/') || rest.starts_with(":443/"));
        assert!(is_own && has_key, "{place}: {uri}");
    }
    for place in [
        "https://other.test/models",
        "http://acme.test/models",
        "https://acme.test:8443/models",
        "https://acme.test.other.test/models",
    ] {
        let asked = asked_at("https://acme.test/v1", place);
        assert_eq!(asked, (place.to_owned(), false));
    }
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

#[test]
fn a_provider_can_be_described_wholly() {
    let auth = Auth::Header {
        name: HeaderName::from_static("x-acme-access"),
        prefix: "Token ".into(),
    };
    let builder = Provider::new("acme")
        .base_url("https://acme.test/api/v2")
        .key("sk-secret")
        .auth(auth)
        .endpoints([Endpoint::Completions])
        .listing("../catalog", ListingFormat::Google);
    let acme = builder.clone().build().expect("a provider");
    let request = acme.listing_request().expect("a request");
    assert_eq!(*request.uri(), "https://acme.test/api/catalog");
    let headers = request.headers();
    assert_eq!(headers["x-acme-access"], "Token sk-secret");
    assert!(headers["x-acme-access"].is_sensitive());
    assert!(!headers.contains_key("authorization"));
    assert_eq!(acme.credential().redact_text("<sk-secret>"), "<redacted*>");
    assert_eq!(acme.listing_format(), ListingFormat::Google);
    assert_eq!(acme.serves(Endpoint::Completions), Some(true));
    assert_eq!(acme.serves(Endpoint::ChatCompletions), Some(false));

    for place in [
        "models",
        "ftp://acme.test/",
        "https://",
        "https://user:password@acme.test/",
        "/a b",
    ] {
        let builder = builder.clone().listing(place, ListingFormat::OpenAi);
        assert_eq!(fault(builder), Fault::Listing, "{place}");
    }
    for reserved in [
        "host",
        "content-length",
        "content-encoding",
        "te",
        "upgrade",
    ] {
        let auth = Auth::Header {
            name: HeaderName::from_static(reserved),
            prefix: String::new(),
        };
        let fault = fault(builder.clone().auth(auth));
        assert!(matches!(fault, Fault::Header(_)), "{reserved}");
    }
    let auth = Auth::Header {
        name: HeaderName::from_static("x-key"),
        prefix: "Token\r\nx-evil: ".into(),
    };
    assert_eq!(fault(builder.auth(auth)), Fault::Key);
}

#[test]
fn what_its_user_says_takes_the_place_of_the_same_limit_that_the_host_is_known_for() {
    let minute = |amount| Limit::new(amount, Quantity::Requests, Period::Minute);
    let day = Limit::new(50, Quantity::Requests, Period::Day);
    let usual = Provider::openrouter().build().unwrap();
    assert_eq!(usual.usual_limits(), [minute(20), day]);
    assert_eq!(usual.limits(), []);
    let said = Provider::openrouter().limit(minute(200)).build().unwrap();
    assert_eq!(said.usual_limits(), [day]);
    assert_eq!(said.limits(), [minute(200)]);
    // At another host something stands in for it, and has limits of its own.
    let elsewhere = Provider::openrouter().base_url("http://127.0.0.1:9001/v1");
    assert_eq!(elsewhere.build().unwrap().usual_limits(), []);
    assert_eq!(
        fault(Provider::openrouter().limit(minute(0))),
        Fault::LimitOfZero
    );
}

#[test]
fn what_a_rule_puts_in_is_one_json_value() {
    for json in ["", "word", "1,2", r#"1,"models":["paid"]"#, "{} {}", "[1"] {
        for rule in [
            Rule::Default(json.into()),
            Rule::Replace("1".into(), json.into()),
        ] {
            for endpoint in [None, Some(Endpoint::Embeddings)] {
                let fields = vec![("n".to_owned(), rule.clone())];
                let dialect = match endpoint {
                    None => Dialect {
                        fields,
                        ..Dialect::OPENAI
                    },
                    Some(endpoint) => Dialect {
                        elsewhere: vec![(endpoint, fields)],
                        ..Dialect::OPENAI
                    },
                };
                let builder = Provider::new("acme").dialect(dialect);
                assert_eq!(fault(builder), Fault::NotJson("n".into()), "{json}");
            }
        }
    }
}

#[test]
fn another_scheme_of_the_same_header_takes_the_place_of_bearer() {
    let auth = Auth::Header {
        name: AUTHORIZATION,
        prefix: "Token ".into(),
    };
    let acme = Provider::new("acme")
        .base_url("https://acme.test")
        .key("sk-secret");
    let acme = acme.auth(auth).build().expect("a provider");
    assert_eq!(sent_to(&acme)[AUTHORIZATION], "Token sk-secret");
}

#[test]
fn what_would_do_nothing_is_refused() {
    let local = || Provider::new("local").base_url("http://127.0.0.1:9001/v1");
    assert_eq!(fault(local().endpoints([])), Fault::NoEndpoints);
    let elsewhere = |endpoint| {
        let rules = vec![("n".to_owned(), Rule::Drop)];
        local().dialect(Dialect {
            elsewhere: vec![(endpoint, rules)],
            ..Dialect::OPENAI
        })
    };
    let chat = elsewhere(Endpoint::ChatCompletions);
    assert_eq!(fault(chat), Fault::ChatElsewhere);
    assert!(elsewhere(Endpoint::Embeddings).build().is_ok());
    let accept = Auth::Header {
        name: HeaderName::from_static("accept-encoding"),
        prefix: String::new(),
    };
    let refused = fault(local().key("k").auth(accept));
    assert!(matches!(refused, Fault::Header(_)), "{refused:?}");
}
