//! What differs between providers is put right in each attempt, and told.

use crate::support::{Reply, Upstream, chat_with, post, provider, seeded, send, target};
use serde_json::{Value, json};
use tower_free_models::{
    Model, Provider, Routed,
    catalog::Capability,
    provider::{Dialect, Endpoint, FreeRule, KnownProvider, Rule},
};

fn speaking(name: &str, dialect: Dialect) -> Provider {
    Provider::new(name)
        .base_url(&format!("http://{name}.test/v1"))
        .free(FreeRule::All)
        .dialect(dialect)
        .build()
        .expect("a valid provider")
}

fn strict() -> Dialect {
    let mut dialect = Dialect::OPENAI;
    dialect.fields = vec![
        (
            "max_tokens".into(),
            Rule::Rename("max_completion_tokens".into()),
        ),
        ("top_k".into(), Rule::Drop),
    ];
    dialect.message_fields = vec!["name".into()];
    dialect
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_made_of_what_the_caller_sent() {
    let body = json!({
        "model": "strict/m", "max_tokens": 100, "top_k": 3,
        "messages": [{ "role": "user", "name": "me", "content": "hi" }],
    });
    let (stack, _) = seeded([
        target(&speaking("strict", strict()), "m"),
        target(&provider("plain"), "m"),
    ]);
    let upstream = Upstream::script([Reply::error(503), Reply::answer("yes")]);
    let response = send(&stack, &upstream, chat_with(body.clone())).await;
    assert_eq!(response.header("x-free-provider"), Some("plain"));
    assert_eq!(response.header("x-free-dropped"), None);
    assert_eq!(response.header("x-free-adjusted"), None);

    let seen = upstream.seen.lock().unwrap();
    let sent = json!({
        "model": "m", "max_completion_tokens": 100,
        "messages": [{ "role": "user", "content": "hi" }],
    });
    assert_eq!(seen[0].json(), sent);
    let mut whole = body;
    whole["model"] = "m".into();
    assert_eq!(seen[1].json(), whole);
}

#[tokio::test(start_paused = true)]
async fn what_was_changed_for_the_one_that_answered_is_told() {
    let model = Model::new("m").max_output(8192);
    let one = speaking("strict", strict()).target(model).expect("free");
    let (stack, _) = seeded([one]);
    let upstream = Upstream::script([
        Reply::answer("yes").header("x-free-adjusted", "a claim of the upstream's")
    ]);
    let body = json!({
        "model": "free", "max_tokens": 64_000, "top_k": 3, "models": ["x"],
        "messages": [{ "role": "user", "name": "me", "content": "hi" }],
    });
    let response = send(&stack, &upstream, chat_with(body)).await;
    let dropped = response.header("x-free-dropped");
    assert_eq!(dropped, Some("models, top_k, messages.name"));
    assert_eq!(response.header("x-free-adjusted"), Some("max_tokens"));
    let routed = response.parts.extensions.get::<Routed>().expect("routed");
    assert_eq!(routed.dropped, ["models", "top_k", "messages.name"]);
    assert_eq!(routed.adjusted, ["max_tokens"]);
    let seen = upstream.seen.lock().unwrap();
    assert_eq!(seen[0].json()["max_completion_tokens"], 8192);
}

#[tokio::test(start_paused = true)]
async fn what_no_model_of_a_provider_has_is_not_asked_of_it() {
    let mut dialect = Dialect::OPENAI;
    dialect.lacks.insert(Capability::Logprobs);
    // Whatever the listing says.
    let model = || Model::new("m").parameters(["logprobs"]);
    let without = speaking("without", dialect).target(model()).expect("free");
    let body = json!({ "model": "without/m", "logprobs": true, "messages": [] });

    let upstream = Upstream::script([Reply::answer("yes")]);
    let (stack, _) = seeded([without.clone()]);
    let refused = send(&stack, &upstream, chat_with(body.clone())).await;
    assert_eq!((refused.status(), upstream.calls()), (404, 0));

    let (stack, _) = seeded([without, provider("with").target(model()).expect("free")]);
    let response = send(&stack, &upstream, chat_with(body)).await;
    assert_eq!(response.header("x-free-provider"), Some("with"));
}

/// A provider of the table, as an operator builds it.
fn known(name: &str) -> Provider {
    let mut all = KnownProvider::all().iter();
    let known = all.find(|known| known.name == name).expect("it is known");
    let builder = match known.account_env {
        Some(_) => known.builder().account("0123"),
        None => known.builder(),
    };
    builder.free(known.free).build().expect("a valid provider")
}

/// What a provider gets of a body, without its `model`, and what is told to be left out and to be changed.
async fn told(
    provider: Provider,
    model: &str,
    endpoint: Endpoint,
    body: &Value,
) -> (Value, String, String) {
    let target = provider.target(Model::new(model)).expect("a free model");
    let (stack, _) = seeded([target]);
    let upstream = Upstream::new(|_| Reply::answer("yes"));
    let path = format!("/v1{endpoint}");
    let response = send(&stack, &upstream, post(&path, body.to_string())).await;
    let seen = upstream.seen.lock().unwrap();
    let mut sent = seen.first().expect("it was asked").json();
    sent.as_object_mut().expect("an object").remove("model");
    let header = |name| response.header(name).unwrap_or_default().to_owned();
    (sent, header("x-free-dropped"), header("x-free-adjusted"))
}

#[tokio::test(start_paused = true)]
async fn the_role_developer_is_system_at_services_that_do_not_know_it() {
    let developer = json!({ "messages": [{ "role": "developer", "content": "Be brief." }] });
    let system = json!({ "messages": [{ "role": "system", "content": "Be brief." }] });
    for (name, model) in [
        ("zai", "glm-4.5-flash"),
        ("mistral", "m"),
        ("nvidia", "m"),
        ("vllm", "m"),
    ] {
        let (sent, _, adjusted) =
            told(known(name), model, Endpoint::ChatCompletions, &developer).await;
        assert_eq!(
            (sent, &*adjusted),
            (system.clone(), "messages.role"),
            "{name}"
        );
    }
    let (sent, _, adjusted) = told(known("groq"), "m", Endpoint::ChatCompletions, &developer).await;
    assert_eq!((sent, &*adjusted), (developer, ""));
}

#[tokio::test(start_paused = true)]
async fn cloudflare_gets_no_null_content() {
    let body = json!({ "max_tokens": 9, "messages": [{ "role": "assistant", "content": null, "tool_calls": [] }] });
    let (mut sent, _, adjusted) =
        told(known("cloudflare"), "m", Endpoint::ChatCompletions, &body).await;
    assert_eq!(adjusted, "messages.content");
    assert_eq!(sent["messages"][0]["content"].take(), "");
    assert_eq!(sent, body);
}

#[tokio::test(start_paused = true)]
async fn cohere_gets_no_keyword_that_it_refuses() {
    let tool = |parameters| json!({ "tools": [{ "type": "function", "function": { "name": "f", "parameters": parameters } }] });
    let body = tool(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": false,
        "properties": { "a": { "type": "array", "items": { "type": "object", "additionalProperties": true } }, "$schema": {} },
    }));
    let left = tool(json!({
        "type": "object",
        "properties": { "a": { "type": "array", "items": { "type": "object" } }, "$schema": {} },
    }));
    let (sent, dropped, _) = told(known("cohere"), "m", Endpoint::ChatCompletions, &body).await;
    assert_eq!(sent, left);
    let mut dropped: Vec<_> = dropped.split(", ").collect();
    dropped.sort_unstable();
    assert_eq!(dropped, ["tools.$schema", "tools.additionalProperties"]);
}

#[tokio::test(start_paused = true)]
async fn an_embedding_of_nvidia_says_what_it_is_for() {
    let ask = async |body: Value| {
        let mut with_model = body;
        with_model["model"] = "m".into();
        told(known("nvidia"), "m", Endpoint::Embeddings, &with_model).await
    };
    let (sent, _, adjusted) = ask(json!({ "input": "x" })).await;
    assert_eq!(sent, json!({ "input": "x", "input_type": "query" }));
    assert_eq!(adjusted, "input_type");
    let passage = json!({ "input": "x", "input_type": "passage" });
    assert_eq!(
        ask(passage.clone()).await,
        (passage, String::new(), String::new())
    );
}

#[tokio::test(start_paused = true)]
async fn github_is_asked_for_no_more_than_it_gives() {
    let body = json!({ "max_tokens": 16_000, "messages": [] });
    let (sent, _, adjusted) = told(known("github"), "m", Endpoint::ChatCompletions, &body).await;
    assert_eq!(
        (sent["max_tokens"].as_u64(), &*adjusted),
        (Some(4000), "max_tokens")
    );
}

#[tokio::test(start_paused = true)]
async fn mistral_is_told_how_hard_to_think() {
    let body = json!({ "reasoning_effort": "high", "messages": [], "top_k": 1 });
    let (sent, dropped, _) = told(known("mistral"), "m", Endpoint::ChatCompletions, &body).await;
    assert_eq!(sent, json!({ "reasoning_effort": "high", "messages": [] }));
    assert_eq!(dropped, "top_k");
}

#[tokio::test(start_paused = true)]
async fn openrouter_is_not_asked_to_store_a_response() {
    let body = json!({ "store": true, "input": "hi" });
    let (sent, _, adjusted) =
        told(known("openrouter"), "a/b:free", Endpoint::Responses, &body).await;
    assert_eq!(
        (sent, &*adjusted),
        (json!({ "store": false, "input": "hi" }), "store")
    );
    let chat = json!({ "store": true, "messages": [] });
    let (sent, ..) = told(
        known("openrouter"),
        "a/b:free",
        Endpoint::ChatCompletions,
        &chat,
    )
    .await;
    assert_eq!(sent, chat);
}

#[tokio::test(start_paused = true)]
async fn services_that_choose_by_themselves_get_known_fields_only() {
    for (name, model, own) in [
        ("openrouter", "a/b:free", "provider"),
        ("kilo", "a/b:free", "reasoning"),
        ("vercel", "b-free", "top_k"),
        ("huggingface", "b", "min_p"),
        ("groq", "b", "reasoning_format"),
    ] {
        let body = json!({
            "messages": [], "temperature": 0, "seed": 1, own: {},
            "compound_custom": {}, "extra_body": { "models": ["x"] }, "Temperature": 1, "enabled_tools": [],
        });
        let left = json!({ "messages": [], "temperature": 0, "seed": 1, own: {} });
        let (sent, dropped, _) = told(known(name), model, Endpoint::ChatCompletions, &body).await;
        assert_eq!(sent, left, "{name}");
        let mut dropped: Vec<_> = dropped.split(", ").collect();
        dropped.sort_unstable();
        assert_eq!(
            dropped,
            [
                "Temperature",
                "compound_custom",
                "enabled_tools",
                "extra_body"
            ],
            "{name}"
        );
    }
    let body = json!({ "input": "hi", "search_settings": {}, "text": {} });
    let (sent, dropped, _) = told(known("groq"), "b", Endpoint::Responses, &body).await;
    assert_eq!(
        (sent, &*dropped),
        (json!({ "input": "hi", "text": {} }), "search_settings")
    );
}

#[tokio::test(start_paused = true)]
async fn another_dialect_opens_no_service_that_gets_known_fields_only() {
    let mut all = KnownProvider::all().iter();
    let groq = all.find(|known| known.name == "groq").expect("it is known");
    let builder = groq.builder().free(groq.free).dialect(strict());
    let provider = builder.build().expect("a valid provider");
    let body = json!({ "messages": [], "top_k": 1, "compound_custom": {} });
    let (sent, ..) = told(provider, "m", Endpoint::ChatCompletions, &body).await;
    assert_eq!(sent, json!({ "messages": [] }));
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_for_openrouter_gets_known_fields_only() {
    let mirror = Provider::new("mirror")
        .base_url("http://mirror.test/v1")
        .free(FreeRule::OpenRouter);
    let mirror = mirror.build().expect("a valid provider");
    let body = json!({ "messages": [], "top_k": 1, "compound_custom": {} });
    let (sent, ..) = told(mirror, "a/b:free", Endpoint::ChatCompletions, &body).await;
    assert_eq!(sent, json!({ "messages": [], "top_k": 1 }));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_put_in_does_not_cut_thoughts_short() {
    let body = json!({ "messages": [] });
    for (name, field) in [
        ("cerebras", "max_completion_tokens"),
        ("cloudflare", "max_tokens"),
    ] {
        let (sent, _, adjusted) = told(
            known(name),
            "gpt-oss-120b",
            Endpoint::ChatCompletions,
            &body,
        )
        .await;
        assert!(sent[field].as_u64() >= Some(32_000), "{sent}");
        assert_eq!(adjusted, field);
    }
}
