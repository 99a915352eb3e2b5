//! What differs between providers is put right in each attempt, and told.

mod support;

use serde_json::json;
use support::{Reply, Upstream, chat_with, provider, seeded, send, target};
use tower_free_models::{Capability, Dialect, FreeRule, Model, Provider, Routed, Rule};

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
    dialect.fields = &[
        ("max_tokens", Rule::Rename("max_completion_tokens")),
        ("top_k", Rule::Drop),
    ];
    dialect.message_fields = &["name"];
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
    dialect.lacks = &[Capability::Logprobs];
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
