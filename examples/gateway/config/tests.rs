use tower_free_models::{
    catalog::Capability,
    provider::{Day, Dialect, Endpoint, ImageApi, Limit, Period, Quantity, Rule},
};

use super::*;

fn read(text: &str) -> Result<Config, String> {
    let variable = |name: &str| match name {
        "LOCAL_KEY" => Some("canary-key\n".to_owned()),
        "EMPTY_KEY" => Some(String::new()),
        "BROKEN_KEY" => Some("two\nlines".to_owned()),
        _ => None,
    };
    let is_known = |name: &str| tower_free_models::Provider::known(name).is_some();
    Config::parse(text, &is_known, &variable).map_err(|error| error.to_string())
}

/// A whole file of one provider with these further keys.
fn local(keys: &str) -> Result<Config, String> {
    read(&format!(
        "[[provider]]\nname = \"local\"\nbase_url = \"http://127.0.0.1:9001/v1\"\n{keys}"
    ))
}

/// A file whose first line is this setting.
fn setting(line: &str) -> Result<Config, String> {
    read(&format!("{line}\n[[provider]]\nname = \"openrouter\"\n"))
}

#[track_caller]
fn refused(result: Result<Config, String>, words: &[&str]) {
    let error = result.expect_err("should be refused");
    for word in words {
        assert!(error.contains(word), "{error:?} should say {word:?}");
    }
}

#[test]
fn every_key_of_the_file_arrives() {
    let config = read(
        r#"
        listen = "[::1]:8080"
        access_keys_env = "CALLERS"
        hosts = ["Gateway.example.", "box"]
        cors_origins = ["https://app.example", "tauri://localhost"]
        max_body = "64MiB"
        prefer_requested = false
        embedding_model = "local/minilm"
        selector = "sticky"
        seed = 7
        max_attempts = 3
        deadline = "1h"
        max_wait = "3s"
        hedge = 0.25
        header_timeout = "500ms"
        first_token_timeout = "10m"
        answer_timeout = "1m 30s"
        idle_timeout = "1.5s"
        body_timeout = "2s"
        shutdown_grace = "0s"
        catalog_refresh = "5m"

        [[provider]]
        name = "openrouter"

        [[provider]]
        name = "local"
        base_url = "http://127.0.0.1:9001/v1"
        key_env = "LOCAL_KEY"
        free = "all"
        [[provider.model]]
        id = "tiny"
        context_length = 8192
        max_output = 2048
        input = ["text", "image"]
        output = ["text"]
        parameters = ["tools", "response_format"]
        random = false
        [[provider.model]]
        id = "minilm"
        output = ["embeddings"]
        "#,
    )
    .unwrap();

    assert_eq!(config.listen.to_string(), "[::1]:8080");
    assert_eq!(config.access_keys_env.as_deref(), Some("CALLERS"));
    let hosts: Vec<_> = config.hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["gateway.example", "box"]);
    let origins: Vec<_> = config
        .cors_origins
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(origins, ["https://app.example:443", "tauri://localhost"]);
    assert_eq!(config.max_body, 64 << 20);
    assert!(!config.prefer_requested);
    assert_eq!(config.embedding_model.as_deref(), Some("local/minilm"));
    assert_eq!(config.selector, Selector::Sticky);
    assert_eq!(config.seed, Some(7));
    assert_eq!(config.max_attempts.get(), 3);
    assert_eq!(config.deadline, Duration::from_secs(3600));
    assert_eq!(config.max_wait, Duration::from_secs(3));
    assert_eq!(format!("{}", config.hedge), "0.25");
    assert_eq!(config.header_timeout, Duration::from_millis(500));
    assert_eq!(config.first_token_timeout, Duration::from_secs(600));
    assert_eq!(config.answer_timeout, Duration::from_secs(90));
    assert_eq!(config.idle_timeout, Duration::from_millis(1500));
    assert_eq!(config.body_timeout, Duration::from_secs(2));
    assert_eq!(config.shutdown_grace, Duration::ZERO);
    assert_eq!(config.catalog_refresh, Duration::from_secs(300));

    let [known, local] = &config.providers[..] else {
        panic!("two providers")
    };
    assert_eq!(
        (known.name.as_str(), &known.base_url, &known.key),
        ("openrouter", &None, &None)
    );
    assert_eq!((known.free, known.models.len()), (None, 0));
    assert_eq!(local.base_url.as_ref().unwrap(), "http://127.0.0.1:9001/v1");
    assert_eq!(local.key.as_ref().unwrap().as_str(), "canary-key");
    assert_eq!(local.free, Some(Free::All));
    let [tiny, minilm] = &local.models[..] else {
        panic!("two models")
    };
    assert!(!tiny.random && minilm.random);
    assert_eq!(minilm.output.as_deref(), Some(&[Modality::Embeddings][..]));
    assert_eq!(
        (tiny.id.as_str(), tiny.context_length, tiny.max_output),
        ("tiny", Some(8192), Some(2048))
    );
    assert_eq!(
        tiny.input.as_deref(),
        Some(&[Modality::Text, Modality::Image][..])
    );
    assert_eq!(tiny.output.as_deref().unwrap()[0].name(), "text");
    assert_eq!(
        tiny.parameters.as_deref().unwrap(),
        ["tools", "response_format"]
    );
}

#[test]
fn what_a_file_leaves_out_has_its_default() {
    let config = setting("").unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:3733");
    assert_eq!(config.max_body, 64_000_000);
    assert!(config.access_keys_env.is_none());
    assert!(config.hosts.is_empty() && config.cors_origins.is_empty());
    assert!(config.prefer_requested);
    assert_eq!((config.seed, config.embedding_model), (None, None));
    assert_eq!(config.max_attempts.get(), 6);
    let seconds = [
        config.deadline,
        config.max_wait,
        config.header_timeout,
        config.first_token_timeout,
        config.answer_timeout,
        config.idle_timeout,
        config.body_timeout,
        config.shutdown_grace,
        config.catalog_refresh,
    ]
    .map(|duration| duration.as_secs());
    assert_eq!(seconds, [300, 25, 30, 120, 300, 120, 30, 30, 600]);
    assert_eq!(format!("{}", config.hedge), "0");
}

#[test]
fn what_a_model_leaves_out_is_unknown() {
    let config = local("[[provider.model]]\nid = \"tiny\"\n").unwrap();
    let tiny = &config.providers[0].models[0];
    assert!(tiny.input.is_none() && tiny.output.is_none() && tiny.parameters.is_none());
    assert!(tiny.context_length.is_none() && tiny.max_output.is_none());
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_keys_there_are() {
    refused(
        setting("max_waits = \"0s\""),
        &["line 1", "`max_waits`", "`listen`", "`shutdown_grace`"],
    );
    refused(
        local("free = \"all\"\nrps = 20\n"),
        &["line 5", "`rps`", "`base_url`", "`rpm`", "`key_env`"],
    );
    refused(
        local("[[provider.model]]\nid = \"tiny\"\nrpm = 3\n"),
        &["line 6", "`rpm`", "`context_length`"],
    );
}

#[test]
fn limits_of_an_account_are_numbers_above_zero() {
    let limits = "rpm = 20\nrpd = 50\ntpm = 8000\ntpd = 100\nin_flight = 2\nday = \"china\"\n";
    let config = local(limits).unwrap();
    let provider = &config.providers[0];
    let limits: Vec<_> = provider.limits().collect();
    for (amount, of, per) in [
        (20, Quantity::Requests, Period::Minute),
        (50, Quantity::Requests, Period::Day),
        (8000, Quantity::Tokens, Period::Minute),
        (100, Quantity::Tokens, Period::Day),
        (2, Quantity::Requests, Period::AtOnce),
    ] {
        assert!(limits.contains(&Limit::new(amount, of, per)), "{amount}");
    }
    assert_eq!(limits.len(), 5);
    assert_eq!(provider.day.map(|day| day.day()), Some(Day::China));
    assert_eq!(local("").unwrap().providers[0].limits().count(), 0);
    refused(local("rpm = 0\n"), &["line 4", "nonzero"]);
    refused(
        local("day = \"mars\"\n"),
        &["line 4", "`mars`", "`pacific`"],
    );
}

#[test]
fn a_key_written_into_the_file_is_not_printed_back() {
    let error = local("key = \"sk-canary\"\n").unwrap_err();
    assert!(
        error.contains("`key`") && error.contains("`key_env`"),
        "{error}"
    );
    assert!(!error.contains("sk-canary"), "{error}");
}

#[test]
fn sizes_are_decimal_or_binary_as_written() {
    for (text, bytes) in [
        ("\"64MB\"", 64_000_000),
        ("\"64MiB\"", 67_108_864),
        ("\"1 kB\"", 1000),
        ("65536", 65536),
        ("\"65536\"", 65536),
    ] {
        assert_eq!(
            setting(&format!("max_body = {text}")).unwrap().max_body,
            bytes,
            "{text}"
        );
    }
    for nonsense in [
        "0",
        "\"0MB\"",
        "-5",
        "\"-5MB\"",
        "\"\"",
        "\"MB\"",
        "\"64 parrots\"",
        "true",
        "[]",
    ] {
        refused(
            setting(&format!("max_body = {nonsense}")),
            &["line 1", "a size above zero", "64MiB"],
        );
    }
}

#[test]
fn a_duration_needs_a_unit_and_may_not_be_zero_or_negative() {
    for nonsense in [
        "\"0s\"",
        "\"-1s\"",
        "\"1s ago\"",
        "\"30\"",
        "30",
        "\"\"",
        "\"soon\"",
        "1.5",
        "\"1d\"",
    ] {
        refused(
            setting(&format!("deadline = {nonsense}")),
            &["line 1", "a duration above zero", "10m"],
        );
    }
    refused(
        setting("shutdown_grace = \"-1s\""),
        &["line 1", "a duration"],
    );
}

#[test]
fn an_address_to_listen_on_must_parse() {
    for nonsense in ["\"127.0.0.1\"", "\"localhost\"", "70000", "\":\""] {
        refused(
            setting(&format!("listen = {nonsense}")),
            &["line 1", "`listen`", "127.0.0.1:3733"],
        );
    }
    for port in ["3733", "\":3733\"", "\"3733\""] {
        let config = setting(&format!("listen = {port}")).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:3733");
    }
}

#[test]
fn a_wrong_type_is_named_with_its_key_and_its_line_and_without_its_text() {
    for (line, key) in [
        ("seed = \"canary\"", "`seed`"),
        ("prefer_requested = \"canary\"", "`prefer_requested`"),
        (
            "max_attempts = \"canary \\\"quoted\\\", expected\"",
            "`max_attempts`",
        ),
        ("max_attempts = [1]", "`max_attempts`"),
        ("deadline = [\"canary\"]", "`deadline`"),
        ("hosts = \"canary\"", "`hosts`"),
        (
            "cors_origins = [\"https://app.example\", 7]",
            "`cors_origins[1]`",
        ),
        ("provider = \"canary\"", "`provider`"),
    ] {
        let error = read(&format!("\n{line}\n")).expect_err("should be refused");
        assert!(error.starts_with(&format!("line 2: {key}: ")), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
    for (keys, key) in [
        ("free = true", "`provider[0].free`"),
        (
            "[[provider.model]]\nid = \"a\"\nrandom = \"no\"",
            "`provider[0].model[0].random`",
        ),
    ] {
        refused(local(keys), &["line ", key]);
    }
}

#[test]
fn a_host_is_a_name_and_an_origin_is_not_everything() {
    for nonsense in ["a.example:80", "http://a.example", "*", ""] {
        refused(
            setting(&format!("hosts = [\"{nonsense}\"]")),
            &["line 1", "`hosts", "gateway.example"],
        );
    }
    for nonsense in ["*", "null", "app.example", "https://app.example/"] {
        refused(
            setting(&format!("cors_origins = [\"{nonsense}\"]")),
            &["line 1", "`cors_origins", "https://app.example"],
        );
    }
}

#[test]
fn attempts_are_at_least_one() {
    refused(setting("max_attempts = 0"), &["line 1", "0"]);
    refused(setting("max_attempts = -1"), &["line 1", "-1"]);
}

#[test]
fn a_file_without_a_provider_is_refused() {
    refused(read("seed = 7\n"), &["names no provider", "[[provider]]"]);
}

#[test]
fn provider_names_are_unique_and_fit_into_a_header() {
    let twice = "[[provider]]\nname = \"openrouter\"\n".repeat(2);
    refused(read(&twice), &["two providers", "\"openrouter\""]);
    for name in [
        "", "a/b", "a b", "naïve", "a\\n", "#2", "a#", "a#b", "a#2#3",
    ] {
        refused(
            read(&format!("[[provider]]\nname = \"{name}\"\n")),
            &["line 2", "letters, digits"],
        );
    }
    refused(
        read("[[provider]]\nbase_url = \"http://a/v1\"\n"),
        &["line 1", "`name`"],
    );
}

#[test]
fn a_second_key_of_one_service_is_a_provider_of_its_own() {
    let config = read(
        "[[provider]]\nname = \"openrouter\"\n[[provider]]\nname = \"openrouter#2\"\nkey_env = \"LOCAL_KEY\"\n",
    );
    let names = config.map(|config| {
        config
            .providers
            .into_iter()
            .map(|known| known.name)
            .collect::<Vec<_>>()
    });
    assert_eq!(names.unwrap(), ["openrouter", "openrouter#2"]);
}

#[test]
fn a_name_that_is_not_known_needs_an_address() {
    refused(
        read("[[provider]]\nname = \"elsewhere\"\n"),
        &["\"elsewhere\"", "base_url"],
    );
}

#[test]
fn an_address_is_absolute_and_holds_no_credential() {
    for address in [
        "127.0.0.1:9001",
        "/v1",
        "ftp://a/v1",
        "http://",
        "http://a/v1?key=b",
        "http://me:secret@a/v1",
    ] {
        let file = format!("[[provider]]\nname = \"local\"\nbase_url = \"{address}\"\n");
        refused(read(&file), &["line 3", "http://127.0.0.1:9001/v1"]);
    }
}

#[test]
fn a_named_variable_must_hold_a_key() {
    refused(
        local("key_env = \"NO_KEY\"\n"),
        &["\"local\"", "NO_KEY", "not set"],
    );
    refused(
        local("key_env = \"EMPTY_KEY\"\n"),
        &["\"local\"", "EMPTY_KEY", "empty"],
    );
    refused(
        local("key_env = \"BROKEN_KEY\"\n"),
        &["\"local\"", "BROKEN_KEY", "characters"],
    );
}

#[test]
fn a_credential_is_not_in_debug_output() {
    let config = local("key_env = \"LOCAL_KEY\"\n").unwrap();
    assert!(!format!("{config:?}").contains("canary"));
}

#[test]
fn free_is_one_of_three_words_and_does_not_contradict_the_models() {
    assert_eq!(
        local("free = \"priced\"").unwrap().providers[0].free,
        Some(Free::Priced)
    );
    assert_eq!(
        local("free = \"plan\"").unwrap().providers[0].free,
        Some(Free::Plan)
    );
    refused(
        local("free = \"maybe\""),
        &["line 4", "`priced`", "`plan`", "`all`"],
    );
    refused(
        local("free = \"priced\"\n[[provider.model]]\nid = \"tiny\"\n"),
        &["\"local\"", "vouches"],
    );
}

#[test]
fn models_have_ids_of_their_own_and_modalities_that_exist() {
    refused(
        local(&"[[provider.model]]\nid = \"tiny\"\n".repeat(2)),
        &["\"local\"", "\"tiny\" twice"],
    );
    refused(
        local("[[provider.model]]\nid = \"\"\n"),
        &["line 5", "the id of a model"],
    );
    refused(
        local("[[provider.model]]\nid = \"a\"\ninput = [\"pictures\"]\n"),
        &["line 6", "`image`"],
    );
}

#[test]
fn a_model_of_images_has_a_title_and_may_have_a_size() {
    let config = local("[[provider.model]]\nid = \"me [0123]\"\nsize = \"512x768\"\n").unwrap();
    let me = &config.providers[0].models[0];
    assert_eq!((me.id.as_str(), me.size), ("me [0123]", Some((512, 768))));
    for nonsense in ["\"512\"", "512", "\"0x512\"", "\"512x-1\"", "\"big\""] {
        refused(
            local(&format!(
                "[[provider.model]]\nid = \"me\"\nsize = {nonsense}\n"
            )),
            &["line 6", "like \"512x512\""],
        );
    }
}

#[test]
fn a_file_that_can_not_be_read_is_named() {
    let error = Config::load(Path::new("no/such/gateway.toml"), &|_| true, &|_| None).unwrap_err();
    assert!(
        error.to_string().contains("no/such/gateway.toml"),
        "{error}"
    );
}

#[test]
fn text_that_is_not_toml_is_refused_at_its_line() {
    refused(read("seed = 7\nthis is not toml\n"), &["line 2"]);
}

#[test]
fn what_a_provider_is_can_be_said_wholly_and_nothing_else_can() {
    let whole = r#"
        key_env = "LOCAL_KEY"
        endpoints = ["chat/completions", "embeddings"]
        listing = { path = "../catalog", format = "google" }
        auth = { header = "x-acme-key", prefix = "Token " }
        [provider.dialect]
        only = ["messages", "seed"]
        known_fields = ["top_k"]
        message_fields = ["name"]
        developer_role = false
        null_content = false
        schema_keywords = ["$schema"]
        lacks = ["logprobs"]
        images = "chat"
        [provider.dialect.fields]
        seed = { rename = "random_seed", at_most = 7 }
        top_k = { drop = true }
        store = { replace = [true, false] }
        max_tokens = { default_limit = { answer = 10, with_thoughts = 20 } }
        [provider.dialect.elsewhere.embeddings]
        input_type = { default = "query" }
    "#;
    let config = local(whole).unwrap();
    let said = config.providers[0].dialect.as_ref().unwrap().build();
    let mut expected = Dialect::OPENAI;
    let limit = Rule::DefaultLimit {
        answer: 10,
        with_thoughts: 20,
    };
    expected.fields = [
        ("max_tokens", limit),
        ("seed", Rule::Rename("random_seed".into())),
        ("seed", Rule::AtMost(7)),
        ("store", Rule::Replace("true".into(), "false".into())),
        ("top_k", Rule::Drop),
    ]
    .map(|(name, rule)| (name.into(), rule))
    .into();
    let default = ("input_type".into(), Rule::Default("\"query\"".into()));
    expected.elsewhere = vec![(Endpoint::Embeddings, vec![default])];
    expected.only = vec!["messages".into(), "seed".into()];
    expected.known = Some(vec!["top_k".into()]);
    expected.message_fields = vec!["name".into()];
    expected.developer_role = false;
    expected.null_content = false;
    expected.schema_keywords = vec!["$schema".into()];
    expected.lacks.insert(Capability::Logprobs);
    expected.images = ImageApi::Chat;
    assert_eq!(said, expected);

    for (keys, words) in [
        (
            "endpoints = [\"chat\"]",
            ["`provider[0].endpoints", "chat/completions"],
        ),
        ("listing = { url = \"/models\" }", ["`url`", "`path`"]),
        (
            "listing = { path = \"models\" }",
            ["listing.path", "/v1/models"],
        ),
        (
            "listing = { path = \"/models\", format = \"xml\" }",
            ["listing.format", "checkpoints"],
        ),
        ("auth = { headers = \"x\" }", ["`headers`", "`header`"]),
        ("auth = { header = \"a b\" }", ["auth.header", "x-api-key"]),
        ("auth = { header = \"x-key\" }", ["\"local\"", "key_env"]),
        (
            "dialect = { developer = false }",
            ["`developer`", "`developer_role`"],
        ),
        (
            "dialect = { message_fields = [\"content\"] }",
            ["message_fields", "reasoning"],
        ),
        ("dialect = { lacks = [\"wings\"] }", ["lacks", "logprobs"]),
        ("dialect = { images = \"oil\" }", ["images", "sdapi"]),
        (
            "dialect = { fields = { n = { most = 1 } } }",
            ["`most`", "`at_most`"],
        ),
        (
            "dialect = { elsewhere = { chats = {} } }",
            ["elsewhere", "chat/completions"],
        ),
        (
            "dialect = { elsewhere = { \"chat/completions\" = {} } }",
            ["`fields`", "`elsewhere`"],
        ),
    ] {
        refused(local(keys), &words);
    }
    refused(
        local("key_env = \"LOCAL_KEY\"\nauth = { basic = true, prefix = \"x\" }"),
        &["\"local\"", "basic"],
    );
    refused(
        local("listing = { path = \"/models\" }\n[[provider.model]]\nid = \"a\""),
        &["\"local\"", "listing"],
    );
}

#[test]
fn a_selector_is_one_of_the_names_and_what_is_none_is_not_repeated() {
    refused(
        setting("selector = \"stikcy\""),
        &[
            "line 1",
            "`selector`",
            "\"uniform\"",
            "did you mean \"sticky\"?",
        ],
    );
    refused(setting("selector = 7"), &["line 1", "`selector`"]);
    let error = setting("selector = \"sk-secret\"").unwrap_err();
    assert!(!error.contains("secret"), "{error}");
}
