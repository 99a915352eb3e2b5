use serde_json::{Value, json};

use super::*;
use crate::{
    listing::Listing,
    provider::{FreeRule, Provider},
};

fn read(provider: &str, body: &Value) -> Listing {
    let provider = Provider::new(provider).free(FreeRule::All).build();
    let provider = provider.expect("a provider");
    let listing = provider.read_listing(body.to_string().as_bytes(), SystemTime::UNIX_EPOCH);
    listing.expect("a listing")
}

/// What a listing of one entry, in this envelope, says of its model.
fn one(provider: &str, body: &Value) -> Model {
    let listing = read(provider, body);
    let target = listing.targets().first().expect("a target");
    target.model().clone()
}

fn only_reason(listing: &Listing) -> SkipReason {
    assert!(listing.targets().is_empty());
    listing.skipped()[0].reason()
}

fn has(model: &Model, yes: &[Capability], no: &[Capability]) {
    for &capability in yes {
        assert!(
            model.capabilities().yes.contains(capability),
            "{capability}"
        );
    }
    for &capability in no {
        assert!(model.capabilities().no.contains(capability), "{capability}");
    }
}

#[test]
fn groq_states_windows_and_modalities_and_what_is_not_served() {
    let chat = json!({"id": "acme/chat", "active": true, "context_window": 131072, "context_length": 131072,
        "max_completion_tokens": 65536, "max_output_length": 32768,
        "input_modalities": ["text"], "output_modalities": ["text"]});
    let whisper = json!({"id": "whisper-large", "active": true, "context_window": 448,
        "input_modalities": ["audio"], "output_modalities": ["transcription"]});
    let gone = json!({"id": "acme/old", "active": false});
    let listing = read(
        "groq",
        &json!({"object": "list", "data": [chat, whisper, gone]}),
    );
    let [chat, whisper] = listing.targets() else {
        panic!("{listing}");
    };
    assert_eq!(chat.model().context_length(), Some(131_072));
    assert_eq!(chat.model().max_output(), Some(32_768));
    has(
        chat.model(),
        &[Capability::TextOutput],
        &[Capability::ImageInput],
    );
    assert!(whisper.model().is_for(Capability::Transcription));
    assert!(!whisper.model().is_for(Capability::TextOutput));
    assert_eq!(listing.skipped()[0].reason(), SkipReason::Inactive);
}

#[test]
fn mistral_says_yes_and_no_to_what_a_model_can_do() {
    let capabilities = json!({"completion_chat": true, "function_calling": true, "vision": false,
        "audio": false, "reasoning": false, "completion_fim": true});
    let row = json!({"id": "acme-medium", "max_context_length": 131072, "deprecation": null,
        "capabilities": capabilities});
    let model = one("mistral", &json!({"data": [row]}));
    assert_eq!(model.context_length(), Some(131_072));
    has(
        &model,
        &[Capability::TextOutput, Capability::Tools],
        &[
            Capability::ImageInput,
            Capability::AudioInput,
            Capability::Reasoning,
        ],
    );
}

#[test]
fn what_does_not_chat_at_mistral_is_what_its_name_says_or_of_no_use() {
    let row = |id: &str| json!({"data": [{"id": id, "capabilities": {"completion_chat": false, "vision": false}}]});
    let embed = one("mistral", &row("acme-embed"));
    assert!(embed.is_for(Capability::Embeddings));
    assert!(embed.capabilities().no.contains(Capability::TextOutput));
    for id in ["acme-ocr-latest", "acme-classifier"] {
        assert_eq!(
            only_reason(&read("mistral", &row(id))),
            SkipReason::NoChat,
            "{id}"
        );
    }
    let transcribes = json!({"id": "voxy", "capabilities":
        {"completion_chat": false, "audio_transcription": true}});
    let model = one("mistral", &json!({"data": [transcribes]}));
    assert!(model.is_for(Capability::Transcription));
}

#[test]
fn the_day_of_its_deprecation_is_the_last_day_of_a_model() {
    let row = json!({"id": "acme-old", "deprecation": "1970-01-02T12:00:00Z"});
    let body = json!({ "data": [row] });
    let day = |days: u64| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(days * 86_400);
    assert_eq!(one("mistral", &body).expires(), Some(day(2)));
    let provider = Provider::new("mistral")
        .free(FreeRule::Plan)
        .build()
        .expect("a provider");
    let listing = provider.read_listing(body.to_string().as_bytes(), day(2));
    assert_eq!(
        only_reason(&listing.expect("a listing")),
        SkipReason::Expired
    );
}

#[test]
fn github_lists_what_a_model_can_do_in_a_bare_array() {
    let body = json!([{"id": "acme/large", "name": "Acme Large", "publisher": "Acme",
        "supported_input_modalities": ["text", "image"], "supported_output_modalities": ["text"],
        "capabilities": ["streaming", "tool-calling"],
        "limits": {"max_input_tokens": 8000, "max_output_tokens": 4000}}]);
    let model = one("github", &body);
    assert_eq!(model.context_length(), Some(8_000));
    assert_eq!(model.max_output(), Some(4_000));
    has(
        &model,
        &[
            Capability::Tools,
            Capability::ImageInput,
            Capability::TextOutput,
        ],
        &[Capability::AudioInput],
    );
    // What a list of words leaves out may be beside its point.
    assert!(!model.capabilities().no.contains(Capability::Reasoning));
}

#[test]
fn google_calls_its_models_by_a_path() {
    let body =
        json!({"object": "list", "data": [{"id": "models/gemini-9-flash", "object": "model"}]});
    assert_eq!(one("google", &body).id(), "gemini-9-flash");
    // At other places such an id is a path to a file.
    assert_eq!(one("local", &body).id(), "models/gemini-9-flash");
}

#[test]
fn cohere_names_its_models_and_tells_what_they_are_for_by_endpoints() {
    let chat = json!({"name": "command-z", "endpoints": ["generate", "chat", "summarize"],
        "context_length": 128000.0, "features": ["tools", "json_schema", "strict_tools"]});
    let embed =
        json!({"name": "embed-z", "endpoints": ["embed"], "context_length": 512, "features": null});
    let rerank = json!({"name": "rerank-z", "endpoints": ["rerank"]});
    let listing = read("cohere", &json!({"models": [chat, embed, rerank]}));
    let [chat, embed] = listing.targets() else {
        panic!("{listing}");
    };
    assert_eq!(chat.model().id(), "command-z");
    assert_eq!(chat.model().context_length(), Some(128_000));
    has(
        chat.model(),
        &[
            Capability::Tools,
            Capability::JsonSchema,
            Capability::JsonObject,
        ],
        &[Capability::Embeddings, Capability::Logprobs],
    );
    assert!(embed.model().is_for(Capability::Embeddings));
    assert_eq!(listing.skipped()[0].reason(), SkipReason::NoChat);
}

#[test]
fn cloudflare_names_its_models_and_their_tasks_and_properties() {
    let chat = json!({"id": "f8703a00-ed54", "name": "@cf/acme/chat", "task": {"name": "Text Generation"},
        "properties": [{"property_id": "context_window", "value": "24000"},
            {"property_id": "function_calling", "value": "true"},
            {"property_id": "price", "value": [{"unit": "per M input tokens", "price": 0.29}]}]});
    let other = json!({"id": "0123", "name": "@cf/acme/reader", "task": {"name": "Image-to-Text"}});
    let listing = read(
        "cloudflare",
        &json!({"success": true, "result": [chat, other]}),
    );
    let [chat] = listing.targets() else {
        panic!("{listing}");
    };
    assert_eq!(chat.model().id(), "@cf/acme/chat");
    assert_eq!(chat.model().context_length(), Some(24_000));
    has(
        chat.model(),
        &[Capability::Tools, Capability::TextOutput],
        &[Capability::ImageOutput],
    );
    assert_eq!(listing.skipped()[0].reason(), SkipReason::NoChat);
}

fn routed(servers: &Value) -> Value {
    json!({"object": "list", "data": [{"id": "acme/chat", "architecture":
        {"input_modalities": ["text"], "output_modalities": ["text"]}, "providers": servers}]})
}

#[test]
fn what_the_live_servers_of_a_routed_model_agree_on_is_stated() {
    let servers = json!([
        {"provider": "a", "status": "live", "context_length": 131072, "supports_tools": true,
            "supports_structured_output": false},
        {"provider": "b", "status": "live", "context_length": 32768, "supports_tools": true,
            "supports_structured_output": true},
        {"provider": "c", "status": "error", "context_length": 10, "supports_tools": false}]);
    let model = one("huggingface", &routed(&servers));
    assert_eq!(model.context_length(), Some(32_768));
    has(&model, &[Capability::Tools], &[]);
    let either = model.capabilities().yes.union(model.capabilities().no);
    assert!(!either.contains(Capability::JsonSchema));
}

#[test]
fn a_routed_model_is_free_only_if_it_is_free_at_every_server() {
    let free = json!({"status": "live", "is_free": true, "pricing": {"input": 0, "output": 0.0}});
    let paid =
        json!({"status": "live", "is_free": false, "pricing": {"input": 0.1, "output": 0.4}});
    let dead = json!({"status": "error", "pricing": {"input": 0.1, "output": 0.4}});
    let unstated = json!({"status": "live"});
    let mislabelled =
        json!({"status": "live", "is_free": true, "pricing": {"input": 0.1, "output": 0}});
    let count = |servers: Value| {
        let provider = Provider::new("huggingface").free(FreeRule::Priced).build();
        let provider = provider.expect("a provider");
        let body = routed(&servers).to_string();
        let listing = provider.read_listing(body.as_bytes(), SystemTime::UNIX_EPOCH);
        listing.expect("a listing").targets().len()
    };
    let not_free =
        json!({"status": "live", "is_free": false, "pricing": {"input": 0, "output": 0}});
    assert_eq!(count(json!([free])), 1);
    // It may be live again before the next listing.
    assert_eq!(count(json!([free, dead])), 0);
    assert_eq!(count(json!([not_free])), 0);
    assert_eq!(count(json!([free, "who is this?"])), 0);
    assert_eq!(count(json!([free, paid])), 0);
    assert_eq!(count(json!([free, unstated])), 0);
    assert_eq!(count(json!([mislabelled])), 0);
}

#[test]
fn a_price_of_its_own_and_those_of_its_servers_must_all_be_zero() {
    let row = |prompt: u64, input: u64| {
        json!({"data": [{"id": "acme/chat", "pricing": {"prompt": prompt, "completion": 0},
            "providers": [{"pricing": {"input": input, "output": 0}}, {"name": "b"}]}]})
    };
    let provider = Provider::new("p").build().expect("a provider");
    let count = |prompt, input| {
        let body = row(prompt, input).to_string();
        let listing = provider.read_listing(body.as_bytes(), SystemTime::UNIX_EPOCH);
        listing.expect("a listing").targets().len()
    };
    assert_eq!((count(0, 0), count(1, 0), count(0, 1)), (1, 0, 0));
}

#[test]
fn a_routed_model_without_a_live_server_is_not_served() {
    let listing = read("huggingface", &routed(&json!([{"status": "error"}])));
    assert_eq!(only_reason(&listing), SkipReason::Inactive);
}

#[test]
fn what_says_that_it_is_not_free_is_not() {
    let row = |name: &str, is_free: bool| {
        json!({"data": [{"id": "acme/chat:free", name: is_free,
            "pricing": {"prompt": "0", "completion": "0"}}]})
    };
    let kilo = Provider::known("kilo").expect("known").build();
    let kilo = kilo.expect("a provider");
    for name in ["isFree", "is_free"] {
        let count = |is_free| {
            let body = row(name, is_free).to_string();
            let listing = kilo.read_listing(body.as_bytes(), SystemTime::UNIX_EPOCH);
            listing.expect("a listing").targets().len()
        };
        assert_eq!((count(true), count(false)), (1, 0), "{name}");
    }
}

#[test]
fn a_local_server_states_the_window_that_it_runs_with() {
    // llama.cpp sends a second list, which is not in OpenAI's format.
    let llama = json!({"models": [{"name": "tiny.gguf"}], "object": "list",
        "data": [{"id": "tiny", "meta": {"n_ctx": 2048, "n_ctx_train": 8192}}]});
    let model = one("llama-cpp", &llama);
    assert_eq!((model.id(), model.context_length()), ("tiny", Some(2_048)));
    let vllm = json!({"data": [{"id": "tiny", "max_model_len": 4096}]});
    assert_eq!(one("vllm", &vllm).context_length(), Some(4_096));
    let studio = json!({"data": [{"id": "tiny", "type": "vlm", "state": "loaded",
        "max_context_length": 32768, "loaded_context_length": 4096, "capabilities": ["tool_use"]}]});
    let model = one("lm-studio", &studio);
    assert_eq!(model.context_length(), Some(4_096));
    has(
        &model,
        &[
            Capability::Tools,
            Capability::ImageInput,
            Capability::TextOutput,
        ],
        &[Capability::Embeddings],
    );
    let embeds = json!({"data": [{"id": "tiny", "type": "embeddings"}]});
    assert!(one("lm-studio", &embeds).is_for(Capability::Embeddings));
    let tags = json!({"models": [{"name": "tiny:1b", "model": "tiny:1b", "size": 1}]});
    assert_eq!(one("ollama", &tags).id(), "tiny:1b");
}

#[test]
fn a_checkpoint_makes_images_and_is_known_by_its_name_with_and_without_its_hash() {
    let body = |title: &str| json!([{"title": title, "model_name": "sks_dog", "hash": null}]);
    for title in ["sks_dog.safetensors", "sks_dog.safetensors [31e35c80fc]"] {
        let model = one("sdnext", &body(title));
        assert_eq!(model.id(), "sks_dog.safetensors");
        assert!(model.is_for(Capability::ImageOutput));
        has(
            &model,
            &[Capability::ImageOutput],
            &[Capability::TextOutput],
        );
    }
    let model = one("automatic1111", &body("dog [final]"));
    assert_eq!(model.id(), "dog [final]");
}

#[test]
fn a_listing_may_leave_out_what_is_free() {
    let zai = Provider::known("zai").expect("known").build();
    let zai = zai.expect("a provider");
    let body = json!({"data": [{"id": "glm-4.7"}, {"id": "glm-4.7-flash"}]}).to_string();
    let listing = zai.read_listing(body.as_bytes(), SystemTime::UNIX_EPOCH);
    let listing = listing.expect("a listing");
    let ids: Vec<_> = listing.targets().iter().map(|t| t.model().id()).collect();
    assert_eq!(ids, ["glm-4.7-flash", "glm-4.5-flash", "glm-4.6v-flash"]);
    assert_eq!(listing.not_free(), 1);
    // What is priced is listed, and not free.
    let body = json!({"data": [{"id": "glm-4.7-flash", "pricing": {"prompt": 1}}]}).to_string();
    let listing = zai.read_listing(body.as_bytes(), SystemTime::UNIX_EPOCH);
    let listing = listing.expect("a listing");
    let ids: Vec<_> = listing.targets().iter().map(|t| t.model().id()).collect();
    assert_eq!(ids, ["glm-4.5-flash", "glm-4.6v-flash"]);
}
