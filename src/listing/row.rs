//! One entry of a listing, as far as it can be read.

use std::{collections::HashMap, time::SystemTime};

use jiff::{civil::Date, tz::TimeZone};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    capability::Capability,
    catalog::{Model, assumed_output},
    listing::{
        SkipReason,
        envelope::IdIn,
        price::Prices,
        value::{boolean, count, object, smallest, string, strings},
        vocabulary,
    },
    provider::ListingFormat,
};

/// The modalities of answers that somebody asks for here.
const OUTPUTS: &[&str] = &["text", "image", "embeddings", "embedding", "transcription"];

/// An entry, as far as it could be read.
pub(crate) struct Row<'a> {
    pub(crate) index: usize,
    pub(crate) raw: &'a str,
    pub(crate) id: String,
    pub(crate) prices: Prices,
    fields: Fields<'a>,
    /// What HF's router says of who serves the model, live ones only.
    servers: Vec<Server<'a>>,
    format: ListingFormat,
}

/// The fields of an entry that are looked at. A field that is there twice makes the entry malformed.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    title: Option<&'a RawValue>,
    #[serde(borrow)]
    created: Option<&'a RawValue>,
    #[serde(borrow)]
    owned_by: Option<&'a RawValue>,
    #[serde(borrow)]
    pricing: Option<&'a RawValue>,
    // As Kilo writes it, and as others do.
    #[serde(borrow, rename = "isFree", alias = "is_free")]
    is_free: Option<&'a RawValue>,
    #[serde(borrow)]
    alias_target: Option<&'a RawValue>,
    // The last day, as OpenRouter and Mistral call it.
    #[serde(borrow)]
    expiration_date: Option<&'a RawValue>,
    #[serde(borrow)]
    deprecation: Option<&'a RawValue>,
    // Groq: whether it is served.
    #[serde(borrow)]
    active: Option<&'a RawValue>,
    // What it is, as LM Studio, Cloudflare and Cohere say.
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    task: Option<&'a RawValue>,
    #[serde(borrow)]
    endpoints: Option<&'a RawValue>,
    #[serde(borrow)]
    architecture: Option<&'a RawValue>,
    #[serde(borrow)]
    input_modalities: Option<&'a RawValue>,
    #[serde(borrow)]
    output_modalities: Option<&'a RawValue>,
    // The same at GitHub.
    #[serde(borrow)]
    supported_input_modalities: Option<&'a RawValue>,
    #[serde(borrow)]
    supported_output_modalities: Option<&'a RawValue>,
    // What it can do, as OpenRouter, Mistral and GitHub, Cohere, and Cloudflare say.
    #[serde(borrow)]
    supported_parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    capabilities: Option<&'a RawValue>,
    #[serde(borrow)]
    features: Option<&'a RawValue>,
    #[serde(borrow)]
    properties: Option<&'a RawValue>,
    // What is granted of it: by OpenRouter's upstream, by GitHub, by llama.cpp, by HF's providers.
    #[serde(borrow)]
    top_provider: Option<&'a RawValue>,
    #[serde(borrow)]
    limits: Option<&'a RawValue>,
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
    #[serde(borrow)]
    providers: Option<&'a RawValue>,
    // The window, as OpenRouter, Groq, Mistral, vLLM and LM Studio call it.
    #[serde(borrow)]
    context_length: Option<&'a RawValue>,
    #[serde(borrow)]
    context_window: Option<&'a RawValue>,
    #[serde(borrow)]
    max_context_length: Option<&'a RawValue>,
    #[serde(borrow)]
    max_model_len: Option<&'a RawValue>,
    #[serde(borrow)]
    loaded_context_length: Option<&'a RawValue>,
    // The longest answer: Groq states both.
    #[serde(borrow)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_output_length: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Architecture<'a> {
    #[serde(borrow)]
    input_modalities: Option<&'a RawValue>,
    #[serde(borrow)]
    output_modalities: Option<&'a RawValue>,
}

/// What the upstream that serves a model grants of it, which can be less than the model has: OpenRouter's
/// `top_provider`, GitHub's `limits`, llama.cpp's `meta`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Granted<'a> {
    #[serde(borrow)]
    context_length: Option<&'a RawValue>,
    #[serde(borrow)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    n_ctx: Option<&'a RawValue>,
    #[serde(borrow)]
    n_ctx_train: Option<&'a RawValue>,
}

impl Granted<'_> {
    fn windows(&self) -> [u64; 4] {
        let Self {
            context_length,
            max_input_tokens,
            n_ctx,
            n_ctx_train,
            ..
        } = self;
        [context_length, max_input_tokens, n_ctx, n_ctx_train].map(|raw| count(*raw))
    }

    fn outputs(&self) -> [u64; 2] {
        [self.max_completion_tokens, self.max_output_tokens].map(count)
    }
}

/// One of the providers of a model at HF's router.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Server<'a> {
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    context_length: Option<&'a RawValue>,
    #[serde(borrow)]
    pricing: Option<&'a RawValue>,
    #[serde(borrow)]
    is_free: Option<&'a RawValue>,
    #[serde(borrow)]
    supports_tools: Option<&'a RawValue>,
    #[serde(borrow)]
    supports_structured_output: Option<&'a RawValue>,
}

impl Server<'_> {
    fn is_live(&self) -> bool {
        string(self.status).is_none_or(|status| status == "live")
    }

    fn prices(&self) -> Prices {
        match (
            Prices::of_input_and_output(self.pricing),
            boolean(self.is_free),
        ) {
            (_, Some(false)) => Prices::NotZero,
            (Prices::Unstated, Some(true)) => Prices::Zero,
            (prices, _) => prices,
        }
    }
}

/// One of Cloudflare's properties of a model, whose values are strings.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Property<'a> {
    #[serde(borrow)]
    property_id: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

impl<'a> Row<'a> {
    pub(crate) fn read(
        index: usize,
        raw: &'a RawValue,
        id_in: IdIn,
        format: ListingFormat,
    ) -> Option<Self> {
        let fields: Fields<'a> = object_of(raw)?;
        let id = match (format, id_in) {
            (ListingFormat::Checkpoints, _) => unhashed(string(fields.title)?),
            (ListingFormat::Google, _) => unprefixed(string(fields.id)?),
            (_, IdIn::Name) => string(fields.name)?,
            (_, IdIn::Id) => string(fields.id)?,
        };
        let prices = match boolean(fields.is_free) {
            Some(false) => Prices::NotZero,
            _ => prices(fields.pricing, fields.providers),
        };
        let all: Vec<Server<'a>> = objects(fields.providers);
        let servers = all.into_iter().filter(Server::is_live).collect();
        Some(Self {
            index,
            raw: raw.get(),
            id,
            prices,
            fields,
            servers,
            format,
        })
    }

    /// Why it is left out although it is free.
    pub(crate) fn unwanted(&self, now: SystemTime) -> Option<SkipReason> {
        let over = |end: SystemTime| now >= end;
        let outputs = self.outputs();
        let asked_for = |output: &String| OUTPUTS.contains(&output.as_str());
        let useless = match outputs.is_empty() {
            true => self.is_no_chat() && is_for_text_or_nothing(&self.id),
            false => !outputs.iter().any(asked_for),
        };
        if self.fields.alias_target.is_some() {
            Some(SkipReason::Alias)
        } else if self.expires().is_some_and(over) {
            Some(SkipReason::Expired)
        } else if self.is_inactive() {
            Some(SkipReason::Inactive)
        } else if useless {
            Some(SkipReason::NoChat)
        } else {
            None
        }
    }

    pub(crate) fn model(&self) -> Model {
        let mut model = Model::new(self.id.as_str())
            .shown_as(&string(self.fields.name).unwrap_or_default())
            .context_length(self.window())
            .max_output(self.longest_answer())
            .created(count(self.fields.created))
            .expires(self.expires())
            .input(self.inputs())
            .output(self.outputs());
        for (capability, is_there) in self.abilities() {
            model = model.capability(capability, is_there);
        }
        let model = model.parameters(strings(self.fields.supported_parameters));
        match string(self.fields.owned_by) {
            Some(owner) => model.owned_by(owner),
            None => model,
        }
        .build()
    }

    fn window(&self) -> u64 {
        let fields = &self.fields;
        let own = [
            fields.context_length,
            fields.context_window,
            fields.max_context_length,
            fields.max_model_len,
            fields.loaded_context_length,
        ];
        let servers = self.servers.iter().map(|server| server.context_length);
        let own = own.into_iter().chain(servers).map(count);
        let granted = self.granted().into_iter().flat_map(|g| g.windows());
        let property = self.property("context_window");
        let property = property.and_then(|value| value.parse().ok()).unwrap_or(0);
        smallest(own.chain(granted).chain([property]))
    }

    fn longest_answer(&self) -> u64 {
        let own = [
            self.fields.max_completion_tokens,
            self.fields.max_output_length,
        ];
        let granted = self.granted().into_iter().flat_map(|g| g.outputs());
        smallest(own.into_iter().map(count).chain(granted))
    }

    fn granted(&self) -> [Granted<'a>; 3] {
        let Fields {
            top_provider,
            limits,
            meta,
            ..
        } = self.fields;
        [top_provider, limits, meta].map(object)
    }

    fn property(&self, name: &str) -> Option<String> {
        let properties: Vec<Property<'_>> = objects(self.fields.properties);
        let named = |p: &&Property<'_>| string(p.property_id).as_deref() == Some(name);
        string(properties.iter().find(named)?.value)
    }

    fn inputs(&self) -> Vec<String> {
        let architecture: Architecture<'_> = object(self.fields.architecture);
        let stated = strings(
            architecture
                .input_modalities
                .or(self.fields.input_modalities)
                .or(self.fields.supported_input_modalities),
        );
        // LM Studio tells a model that sees from one that does not by its type.
        match string(self.fields.kind).as_deref() {
            Some("vlm") if stated.is_empty() => ["text", "image"].map(str::to_owned).into(),
            Some("llm") if stated.is_empty() => ["text"].map(str::to_owned).into(),
            _ => stated,
        }
    }

    fn outputs(&self) -> Vec<String> {
        if self.format == ListingFormat::Checkpoints {
            return ["image"].map(str::to_owned).into();
        }
        let architecture: Architecture<'_> = object(self.fields.architecture);
        let stated = strings(
            architecture
                .output_modalities
                .or(self.fields.output_modalities)
                .or(self.fields.supported_output_modalities),
        );
        match stated.is_empty() {
            true => self.outputs_by_kind(),
            false => stated,
        }
    }

    /// What it answers with, by what it is said to be.
    fn outputs_by_kind(&self) -> Vec<String> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Task<'a> {
            #[serde(borrow)]
            name: Option<&'a RawValue>,
        }

        let task: Task<'_> = object(self.fields.task);
        let kinds = [string(self.fields.kind), string(task.name)];
        let endpoints = strings(self.fields.endpoints);
        let mut outputs: Vec<String> = kinds
            .into_iter()
            .flatten()
            .chain(endpoints)
            .filter_map(|kind| vocabulary::output(&kind))
            .map(str::to_owned)
            .collect();
        // Mistral's flags. What does not chat there may be a model for embeddings, which has no flag.
        let flags = self.flags();
        if flags.get("completion_chat") == Some(&true) {
            outputs.push("text".into());
        }
        if flags.get("audio_transcription") == Some(&true) {
            outputs.push("transcription".into());
        }
        outputs
    }

    /// What it is said to be able to do, or not to, elsewhere than in lists of modalities and parameters.
    fn abilities(&self) -> Vec<(Capability, bool)> {
        let fields = &self.fields;
        // A list of words says what is there. What it leaves out may only be beside its point.
        let listed = strings(fields.capabilities)
            .into_iter()
            .chain(strings(fields.features))
            .map(|word| (word, true));
        let properties: Vec<Property<'_>> = objects(fields.properties);
        let properties = properties.iter().filter_map(|property| {
            let value = string(property.value)?.parse().ok()?;
            Some((string(property.property_id)?, value))
        });
        let words = listed.chain(self.flags()).chain(properties);
        let mut abilities: Vec<_> = words
            .flat_map(|(word, is_there)| {
                let named = vocabulary::capabilities(&word).iter();
                named.map(move |&capability| (capability, is_there))
            })
            .collect();
        if self.is_no_chat() {
            abilities.push((Capability::TextOutput, false));
        }
        if let Some(tools) = self.agreed(|server| server.supports_tools) {
            abilities.push((Capability::Tools, tools));
        }
        if let Some(schema) = self.agreed(|server| server.supports_structured_output) {
            abilities.push((Capability::JsonSchema, schema));
            if schema {
                abilities.push((Capability::JsonObject, true));
            }
        }
        abilities
    }

    /// Mistral's `capabilities`: an object of yes and no.
    fn flags(&self) -> HashMap<String, bool> {
        let flags: HashMap<String, &RawValue> = object(self.fields.capabilities);
        let read = |(name, raw)| Some((name, boolean(Some(raw))?));
        flags.into_iter().filter_map(read).collect()
    }

    /// What all servers of the model say alike: the router may choose any of them.
    fn agreed(&self, of: impl Fn(&Server<'a>) -> Option<&'a RawValue>) -> Option<bool> {
        let mut stated = self.servers.iter().map(|server| boolean(of(server)));
        let first = stated.next()??;
        stated.all(|other| other == Some(first)).then_some(first)
    }

    /// Mistral says so of models that embed, transcribe, moderate or read pages: which of them, only the name may tell.
    fn is_no_chat(&self) -> bool {
        self.flags().get("completion_chat") == Some(&false)
    }

    fn is_inactive(&self) -> bool {
        let nobody_is_live =
            self.servers.is_empty() && !objects::<Server<'_>>(self.fields.providers).is_empty();
        boolean(self.fields.active) == Some(false) || nobody_is_live
    }

    /// The end of the last day on which it is there, in UTC.
    fn expires(&self) -> Option<SystemTime> {
        let fields = &self.fields;
        let date = string(fields.expiration_date).or_else(|| string(fields.deprecation))?;
        let day: Date = date.get(..10)?.parse().ok()?;
        let end = day.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?;
        Some(end.timestamp().into())
    }
}

fn is_for_text_or_nothing(id: &str) -> bool {
    matches!(assumed_output(id), None | Some(Capability::TextOutput))
}

/// What a model costs: as it says itself, or else as all its servers say, since the router may choose any of them: also
/// one that is not live while the listing is made, and is again a minute later.
fn prices(own: Option<&RawValue>, servers: Option<&RawValue>) -> Prices {
    let own = Prices::read(own);
    let price = |raw: &RawValue| match object_of::<Server<'_>>(raw) {
        Some(server) => server.prices(),
        None => Prices::NotZero,
    };
    let servers = Prices::all(object::<Vec<&RawValue>>(servers).into_iter().map(price));
    match (own, servers) {
        (Prices::Unstated, servers) => servers,
        (_, Prices::NotZero) => Prices::NotZero,
        (own, _) => own,
    }
}

/// The objects of a list, each read by itself.
fn objects<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Vec<T> {
    object::<Vec<&'a RawValue>>(raw)
        .into_iter()
        .filter_map(object_of)
        .collect()
}

/// One object; a struct could be read from an array too.
fn object_of<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    let text = raw.get();
    text.starts_with('{')
        .then(|| serde_json::from_str(text).ok())?
}

/// The title of a checkpoint without the hash that is in it once the server has computed one: `name [31e35c80fc]`.
///
/// What is left is its name, by which both servers find it too: `checkpoint_aliases` of sdnext at 058a7f0c, and
/// `CheckpointInfo.ids` of AUTOMATIC1111 at 008a8e75.
fn unhashed(title: String) -> String {
    let hash = |rest: &str| rest.bytes().all(|digit| digit.is_ascii_hexdigit());
    let name = title
        .strip_suffix(']')
        .and_then(|title| title.rsplit_once(" ["))
        .filter(|(_, rest)| hash(rest));
    match name {
        Some((name, _)) => name.to_owned(),
        None => title,
    }
}

/// An id of Google's without `models/`, which is how the model is named everywhere else.
fn unprefixed(id: String) -> String {
    match id.strip_prefix("models/") {
        Some(name) => name.to_owned(),
        None => id,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        capability::CapabilitySet,
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

    /// What is stated, and not assumed.
    fn stated(model: &Model) -> CapabilitySet {
        model.capabilities().yes.difference(model.assumed())
    }

    fn has(model: &Model, yes: &[Capability], no: &[Capability]) {
        for &capability in yes {
            assert!(stated(model).contains(capability), "{capability}");
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
        let day =
            |days: u64| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(days * 86_400);
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
        let embed = json!({"name": "embed-z", "endpoints": ["embed"], "context_length": 512, "features": null});
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
        let other =
            json!({"id": "0123", "name": "@cf/acme/reader", "task": {"name": "Image-to-Text"}});
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
        let free =
            json!({"status": "live", "is_free": true, "pricing": {"input": 0, "output": 0.0}});
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
}
