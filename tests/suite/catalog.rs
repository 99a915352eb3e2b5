//! What comes of a provider's listing: only what is free, and all that is.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::{Value, json};
use tower_free_models::{
    Capabilities, Capability, FreeRule, KnownProvider, Listing, Model, Provider, SkipReason, Target,
};

const OPENROUTER: &str = include_str!("../fixtures/openrouter.json");
const PLAIN: &str = include_str!("../fixtures/plain_list.json");

fn openrouter() -> Provider {
    Provider::openrouter().build().expect("a provider")
}

fn provider(rule: FreeRule) -> Provider {
    Provider::new("local")
        .free(rule)
        .build()
        .expect("a provider")
}

/// Midnight at the end of this many days since 1970.
fn day(days: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400)
}

/// 2026-10-30, the last day but one of a model of the fixture.
const TODAY: u64 = 20_756;

fn read(provider: &Provider, body: impl AsRef<[u8]>) -> Listing {
    provider
        .read_listing(body.as_ref(), day(TODAY))
        .expect("a listing")
}

fn ids(listing: &Listing) -> Vec<&str> {
    listing
        .targets()
        .iter()
        .map(|target| target.model().id())
        .collect()
}

fn reasons(listing: &Listing) -> Vec<(usize, Option<&str>, SkipReason)> {
    listing
        .skipped()
        .iter()
        .map(|s| (s.index(), s.id(), s.reason()))
        .collect()
}

fn model<'a>(listing: &'a Listing, id: &str) -> &'a Model {
    listing
        .targets()
        .iter()
        .map(Target::model)
        .find(|model| model.id() == id)
        .expect(id)
}

/// What a listing of one entry says of it.
fn one(entry: &Value) -> Listing {
    read(&openrouter(), json!({ "data": [entry] }).to_string())
}

#[test]
fn only_free_variants_at_zero_prices_are_targets() {
    let listing = read(&openrouter(), OPENROUTER);
    assert_eq!(
        ids(&listing),
        [
            "acme/chat:free",
            "acme/strict:free",
            "acme/bare:free",
            "acme/content-safety:free"
        ]
    );
    assert_eq!(
        reasons(&listing),
        [
            (15, Some("~acme/latest:free"), SkipReason::Alias),
            (16, Some("acme/voice:free"), SkipReason::NoChat),
        ]
    );
    assert_eq!((listing.not_free(), listing.unpriced()), (11, 2));
}

#[test]
fn the_smaller_of_two_windows_counts_and_zero_is_unknown() {
    let listing = read(&openrouter(), OPENROUTER);
    let chat = model(&listing, "acme/chat:free");
    assert_eq!(chat.context_length(), Some(131_072));
    assert_eq!(chat.max_output(), Some(32_768));
    assert_eq!(chat.created(), Some(1_767_225_600));
    let strict = model(&listing, "acme/strict:free");
    assert_eq!((strict.context_length(), strict.max_output()), (None, None));
}

#[test]
fn what_a_row_states_is_known_and_what_it_does_not_is_not() {
    let listing = read(&openrouter(), OPENROUTER);
    let chat = model(&listing, "acme/chat:free").capabilities();
    for yes in [
        Capability::Tools,
        Capability::ImageInput,
        Capability::JsonObject,
        Capability::TextOutput,
    ] {
        assert!(chat.yes.contains(yes), "{yes}");
    }
    for no in [
        Capability::JsonSchema,
        Capability::AudioInput,
        Capability::ImageOutput,
        Capability::Logprobs,
    ] {
        assert!(chat.no.contains(no), "{no}");
    }
    let bare = model(&listing, "acme/bare:free").capabilities();
    assert!(bare.yes.is_empty() && bare.no.is_empty());
}

#[test]
fn a_guard_is_a_target_that_is_marked_as_one() {
    let listing = read(&openrouter(), OPENROUTER);
    let guards = listing
        .targets()
        .iter()
        .map(Target::model)
        .filter(|model| model.is_guard());
    assert_eq!(
        guards.map(Model::id).collect::<Vec<_>>(),
        ["acme/content-safety:free"]
    );
}

#[test]
fn a_model_is_gone_after_the_day_of_its_expiration_and_not_before() {
    let entry = |date: &Value| {
        json!({"data": [{"id": "a/b:free", "expiration_date": date, "pricing": {"prompt": "0", "completion": "0"}}]})
            .to_string()
    };
    let there = |date: &Value, now| {
        let listing = openrouter()
            .read_listing(entry(date).as_bytes(), now)
            .expect("a listing");
        assert_eq!(listing.targets().is_empty(), listing.skipped().len() == 1);
        !listing.targets().is_empty()
    };
    let last = json!("2026-10-31");
    assert!(there(&last, day(TODAY)));
    assert!(there(&last, day(TODAY + 2) - Duration::from_secs(1)));
    assert!(!there(&last, day(TODAY + 2)));
    for unknown in [
        json!(null),
        json!(""),
        json!("soon"),
        json!("2026-13-45"),
        json!(7),
        json!("äöüäöüäöü"),
    ] {
        assert!(there(&unknown, day(TODAY + 10_000)), "{unknown}");
    }
    assert!(there(&json!("2098-12-31"), day(TODAY)));
}

#[test]
fn a_plain_list_has_free_models_only_by_the_operators_word() {
    let priced = read(&provider(FreeRule::Priced), PLAIN);
    assert!(priced.targets().is_empty());
    assert_eq!((priced.not_free(), priced.unpriced()), (4, 4));

    let all = read(&provider(FreeRule::All), PLAIN);
    assert_eq!(ids(&all), ["tiny", "small", "listener", "prompt-guard"]);
    assert_eq!(reasons(&all), []);
    let tiny = model(&all, "tiny");
    assert_eq!(
        (tiny.context_length(), tiny.max_output()),
        (Some(8192), Some(2048))
    );
    assert_eq!(tiny.owned_by(), Some("acme"));
    assert_eq!(model(&all, "small").context_length(), Some(4096));
    assert_eq!(model(&all, "small").created(), None);
    assert!(model(&all, "listener").is_for(Capability::Transcription));
    assert!(!model(&all, "listener").is_for(Capability::TextOutput));
    assert!(model(&all, "prompt-guard").is_guard());
}

#[test]
fn a_bare_array_is_a_listing() {
    assert_eq!(
        ids(&read(&provider(FreeRule::All), r#" [{"id":"a"}]"#)),
        ["a"]
    );
    assert_eq!(
        ids(&read(&provider(FreeRule::All), "\u{feff}[{\"id\":\"a\"}]")),
        ["a"]
    );
}

#[test]
fn one_malformed_entry_never_spoils_a_listing() {
    let long = "x".repeat(300);
    for (bad, reason) in [
        (r#""text""#.to_owned(), SkipReason::Malformed),
        ("null".to_owned(), SkipReason::Malformed),
        ("[]".to_owned(), SkipReason::Malformed),
        ("{}".to_owned(), SkipReason::Malformed),
        (r#"{"id":7}"#.to_owned(), SkipReason::Malformed),
        (r#"{"id":null}"#.to_owned(), SkipReason::Malformed),
        (r#"{"id":"x","id":"y"}"#.to_owned(), SkipReason::Malformed),
        (r#"{"id":"\ud800"}"#.to_owned(), SkipReason::Malformed),
        (r#"{"id":""}"#.to_owned(), SkipReason::BadId),
        (r#"{"id":"a\r\nx: y"}"#.to_owned(), SkipReason::BadId),
        (format!(r#"{{"id":"{long}"}}"#), SkipReason::BadId),
    ] {
        let body = format!(r#"{{"data":[{{"id":"a"}},{bad},{{"id":"b"}}]}}"#);
        let listing = read(&provider(FreeRule::All), body);
        assert_eq!(ids(&listing), ["a", "b"], "{bad}");
        let skipped: Vec<_> = listing
            .skipped()
            .iter()
            .map(|s| (s.index(), s.reason()))
            .collect();
        assert_eq!(skipped, [(1, reason)], "{bad}");
    }
}

#[test]
fn broken_utf8_breaks_its_own_entry_only() {
    let body = b"[{\"id\":\"a\"},{\"id\":\"\xff\"},{\"id\":\"b\",\"name\":\"\xff\"}]";
    let listing = read(&provider(FreeRule::All), body);
    assert_eq!(ids(&listing), ["a", "b"]);
    assert_eq!(listing.skipped().len(), 1);
}

#[test]
fn a_field_of_another_type_states_nothing() {
    let entry = json!({
        "id": "a/b:free", "name": 7, "created": "now", "owned_by": [], "context_length": "long",
        "architecture": "text", "supported_parameters": {"tools": true}, "top_provider": [],
        "expiration_date": {}, "pricing": {"prompt": "0", "completion": "0"},
    });
    let listing = one(&entry);
    let model = model(&listing, "a/b:free");
    assert!(model.capabilities().yes.is_empty() && model.capabilities().no.is_empty());
    assert_eq!(
        (model.context_length(), model.created(), model.owned_by()),
        (None, None, None)
    );
}

#[test]
fn of_two_entries_with_one_id_the_first_counts_and_the_other_is_reported_if_it_differs() {
    let body = r#"[{"id":"a","created":1},{"id":"a","created":1},{"id":"a","created":2}]"#;
    let listing = read(&provider(FreeRule::All), body);
    assert_eq!(listing.targets().len(), 1);
    assert_eq!(model(&listing, "a").created(), Some(1));
    assert_eq!(reasons(&listing), [(2, Some("a"), SkipReason::Duplicate)]);
}

#[test]
fn an_id_that_is_free_once_and_costs_once_costs() {
    let free = r#"{"id":"a/b:free","pricing":{"prompt":"0","completion":"0"}}"#;
    let costs = r#"{"id":"a/b:free","pricing":{"prompt":"0","completion":"1"}}"#;
    for body in [format!("[{free},{costs}]"), format!("[{costs},{free}]")] {
        let listing = read(&openrouter(), body);
        assert!(listing.targets().is_empty());
        assert_eq!(listing.not_free(), 2);
    }
}

#[test]
fn what_is_no_listing_is_an_error_that_does_not_repeat_it() {
    for body in [
        "",
        "secret",
        "{\"data\":[",
        "7",
        "null",
        "\"secret\"",
        "{}",
        r#"{"data":null}"#,
        r#"{"data":{"secret":1}}"#,
        r#"{"error":{"message":"secret"}}"#,
        "<html>secret",
    ] {
        let error = openrouter()
            .read_listing(body.as_bytes(), day(0))
            .expect_err(body);
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
    assert!(read(&openrouter(), r#"{"data":[]}"#).targets().is_empty());
}

#[test]
fn deep_nesting_is_read_without_overflow() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let body =
        format!(r#"[{{"id":"a","junk":{deep},"pricing":{{"prompt":{deep}}}}},{{"id":"b"}}]"#);
    assert_eq!(ids(&read(&provider(FreeRule::All), body)), ["a", "b"]);
}

/// A listing as it was recorded, if the recordings are at hand.
fn recorded(name: &str) -> Option<Vec<u8>> {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/data/openrouter_models"
    );
    std::fs::read(format!("{folder}/{name}")).ok()
}

/// Law 1, once more and in another way: over a whole `Value`, with decimals as text.
fn is_free(entry: &Value) -> bool {
    fn zero(price: &Value) -> bool {
        let text = match price {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return false,
        };
        text.starts_with('0') && text.trim_start_matches(['0', '.']).is_empty()
    }
    fn all_zero(prices: &Value) -> bool {
        prices.as_object().is_some_and(|prices| {
            prices.iter().all(|(key, value)| match key.as_str() {
                "overrides" => value
                    .as_array()
                    .is_some_and(|list| list.iter().all(all_zero)),
                "discount" | "min_prompt_tokens" | "utc_start" | "utc_end" => {
                    value.is_number() || value.is_null() || zero(value)
                }
                _ => zero(value),
            })
        })
    }
    let pricing = &entry["pricing"];
    entry["id"]
        .as_str()
        .is_some_and(|id| id.ends_with(":free") && !id.starts_with("openrouter/"))
        && pricing.get("prompt").is_some()
        && pricing.get("completion").is_some()
        && all_zero(pricing)
}

#[test]
fn every_free_model_of_the_recorded_listings_is_a_target_and_nothing_else_is() {
    for name in [
        "openrouter_models_2025-04-23.all.raw.json",
        "openrouter_models_2026-06-06.raw.json",
    ] {
        let Some(body) = recorded(name) else { return };
        let whole: Value = serde_json::from_slice(&body).expect("JSON");
        let entries = whole["data"].as_array().expect("a list");
        let free: Vec<_> = entries
            .iter()
            .filter(|e| is_free(e))
            .filter_map(|e| e["id"].as_str())
            .collect();
        let listing = openrouter().read_listing(&body, day(0)).expect(name);
        assert_eq!(ids(&listing), free, "{name}");
        assert!(free.len() > 20, "{name}");
        assert_eq!(listing.not_free(), entries.len() - free.len(), "{name}");
        assert!(
            listing.skipped().is_empty(),
            "{name}: {:?}",
            listing.skipped()
        );
    }
}

#[test]
fn the_capabilities_of_a_recorded_row_are_those_it_states() {
    let Some(body) = recorded("openrouter_models_2026-06-06.raw.json") else {
        return;
    };
    let listing = read(&openrouter(), body);
    let gemma = model(&listing, "google/gemma-4-31b-it:free");
    let stated = gemma.capabilities();
    for yes in [
        Capability::Tools,
        Capability::ImageInput,
        Capability::VideoInput,
        Capability::JsonObject,
    ] {
        assert!(stated.yes.contains(yes), "{yes}");
    }
    for no in [
        Capability::JsonSchema,
        Capability::AudioInput,
        Capability::FileInput,
        Capability::ImageOutput,
    ] {
        assert!(stated.no.contains(no), "{no}");
    }
    assert_eq!(gemma.max_output(), Some(32_768));
    assert_eq!(
        model(&listing, "qwen/qwen3-coder:free").context_length(),
        Some(262_000)
    );
    let guards: Vec<_> = listing
        .targets()
        .iter()
        .filter(|t| t.model().is_guard())
        .collect();
    assert_eq!(guards.len(), 1);
}

#[test]
fn an_older_listing_that_states_no_parameters_leaves_them_unknown() {
    let Some(body) = recorded("openrouter_models_2025-04-23.all.raw.json") else {
        return;
    };
    let listing = read(&openrouter(), body);
    assert!(!listing.targets().is_empty());
    for target in listing.targets() {
        let Capabilities { yes, no } = target.model().capabilities();
        assert!(!yes.contains(Capability::Tools) && !no.contains(Capability::Tools));
    }
}

fn price() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => Just(json!("0")),
        2 => Just(json!(0)),
        1 => Just(json!("0.000")),
        1 => Just(json!(null)),
        1 => Just(json!("")),
        1 => Just(json!("-1")),
        1 => Just(json!("0.0000001")),
        1 => any::<f64>().prop_map(|price| json!(price)),
        1 => Just(json!({"prompt": "0"})),
    ]
}

fn pricing() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("prompt"),
        Just("completion"),
        Just("request"),
        Just("min_prompt_tokens")
    ];
    let overrides = proptest::collection::hash_map(key, price(), 0..3);
    let overrides = proptest::option::weighted(0.3, proptest::collection::vec(overrides, 0..2));
    let more = proptest::collection::hash_map("[a-z_]{1,8}", price(), 0..2);
    (
        proptest::option::weighted(0.95, price()),
        proptest::option::weighted(0.95, price()),
        more,
        overrides,
    )
        .prop_map(|(prompt, completion, more, overrides)| {
            let mut pricing = json!(more);
            for (key, value) in [("prompt", prompt), ("completion", completion)] {
                if let Some(value) = value {
                    pricing[key] = value;
                }
            }
            if let Some(overrides) = overrides {
                pricing["overrides"] = json!(overrides);
            }
            pricing
        })
}

fn entry() -> impl Strategy<Value = Value> {
    let id = prop_oneof![4 => "[a-c]/[a-c]{1,2}:free", 1 => "[a-c]/[a-c]", 1 => Just("openrouter/x:free".to_owned())];
    (id, pricing()).prop_map(|(id, pricing)| json!({"id": id, "pricing": pricing}))
}

/// Fields of all sorts of listings.
const FIELDS: &[&str] = &[
    "capabilities",
    "context_length",
    "endpoints",
    "expiration_date",
    "features",
    "limits",
    "meta",
    "models",
    "name",
    "properties",
    "providers",
    "result",
    "task",
    "title",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from)
    ];
    let key = prop_oneof![
        Just("id".to_owned()),
        Just("data".to_owned()),
        Just("pricing".to_owned()),
        Just("architecture".to_owned()),
        proptest::sample::select(FIELDS).prop_map(str::to_owned),
        ".{0,4}"
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::hash_map(key.clone(), inner, 0..6).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_a_listing_or_an_error(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = openrouter().read_listing(&body, day(TODAY));
    }

    #[test]
    fn any_json_is_a_listing_or_an_error(body in any_json(), wrap in any::<bool>()) {
        let body = if wrap { json!({"data": [body]}) } else { body };
        for rule in [FreeRule::All, FreeRule::Priced, FreeRule::OpenRouter] {
            let _ = provider(rule).read_listing(body.to_string().as_bytes(), day(TODAY));
        }
        for known in KnownProvider::all() {
            let builder = known.builder().account("0").free(known.free);
            let provider = builder.build().expect(known.name);
            let _ = provider.read_listing(body.to_string().as_bytes(), day(TODAY));
        }
    }

    #[test]
    fn no_listing_yields_a_target_that_breaks_the_rule(entries in proptest::collection::vec(entry(), 0..8)) {
        let listing = read(&openrouter(), json!({"data": entries}).to_string());
        for target in listing.targets() {
            let id = target.model().id();
            prop_assert!(entries.iter().filter(|entry| entry["id"] == id).all(is_free), "{id}");
        }
        for entry in entries.iter().filter(|entry| is_free(entry)) {
            let twins = entries.iter().filter(|twin| twin["id"] == entry["id"]).all(is_free);
            let found = ids(&listing).iter().any(|id| entry["id"] == **id);
            prop_assert!(found == twins, "{entry}");
        }
    }

    #[test]
    fn half_a_listing_is_an_error(cut in 0..OPENROUTER.trim_end().len()) {
        let half = OPENROUTER.get(..cut).unwrap_or_default();
        prop_assert!(openrouter().read_listing(half.as_bytes(), day(TODAY)).is_err());
    }
}
