//! What holds for every provider of the table, shown on a fixture of its answers: see `fixtures/providers/README.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::support::*;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tower_free_models::{
    HealthMap, Model, Provider, Target,
    catalog::{Capability, CapabilitySet, TargetId},
    classify::Scope,
    health::{HealthSnapshot, LimitSource},
    provider::{Auth, Day, Endpoint, FreeRule, ImageApi, KnownProvider, Limit, Quantity, Rule},
};

#[path = "../../examples/providers.rs"]
mod page;

/// The tests' key: `user:password`, so that it can be sent in any form.
const KEY: &str = "someone:sk-never-to-be-seen";
/// The tests' account, where a base URL has a place for one.
const ACCOUNT: &str = "account-0";
/// What the caller brings along, and no upstream may see.
const CALLERS_OWN: [(&str, &str); 6] = [
    ("authorization", "Bearer callers-own"),
    ("cookie", "session=callers-own"),
    ("x-api-key", "callers-own"),
    ("api-key", "callers-own"),
    ("proxy-authorization", "Basic callers-own"),
    ("openai-organization", "callers-own"),
];
const DAY_IN_S: f64 = 86_400.0;

/// 2026-09-21, when the fixtures' listings were read.
fn today() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

/// What a provider was seen, or is documented, to answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    /// Where each shape is from, as the page of providers tells.
    seen: Map<String, Value>,
    listing: ListingCase,
    #[serde(default)]
    requests: Vec<RequestCase>,
    success: Option<Value>,
    answer: Option<Value>,
    stream: Option<Vec<String>>,
    errors: Vec<ErrorCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListingCase {
    body: Value,
    /// The free ones, in order.
    free: Vec<String>,
    /// What is stated of them; of one that is not named here, nothing is.
    models: BTreeMap<String, Facts>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Facts {
    context_length: Option<u64>,
    max_output: Option<u64>,
    yes: BTreeSet<String>,
    no: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestCase {
    /// Under `/v1`; that of a chat if it is missing.
    endpoint: Option<String>,
    body: Map<String, Value>,
    sent: Map<String, Value>,
    #[serde(default)]
    dropped: Vec<String>,
    #[serde(default)]
    adjusted: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorCase {
    what: String,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Value,
    /// What a caller must find of it.
    says: Option<String>,
    outcome: String,
    scope: String,
    recovers_in_s: Recovers,
}

/// When the cooldown ends. Nothing is known of it where it is a guess, or where there is none.
#[derive(Deserialize)]
#[serde(untagged)]
enum Recovers {
    After(f64),
    /// `"day"`: when the account's day does.
    Day(String),
    Unstated(()),
}

impl ErrorCase {
    fn reply(&self) -> Reply {
        let mut reply = match &self.body {
            Value::String(text) => Reply::new(self.status, "text/plain", text.clone()),
            json => Reply::json(self.status, json.clone()),
        };
        for (name, value) in &self.headers {
            reply = reply.header(name, value);
        }
        reply
    }

    /// Whether it comes in a stream that began well.
    fn is_streamed(&self) -> bool {
        self.headers.get("content-type").map(String::as_str) == Some("text/event-stream")
    }
}

impl RequestCase {
    fn path(&self) -> &str {
        self.endpoint.as_deref().unwrap_or("/v1/chat/completions")
    }
}

// ---- The entries, and pools of them.

fn in_repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// An entry of the table with its fixture.
struct Entry {
    known: &'static KnownProvider,
    fixture: Fixture,
}

fn entries() -> Vec<Entry> {
    KnownProvider::all().iter().map(Entry::of).collect()
}

/// Shows a law on every entry. Each is a task of its own, so that one that fails hides no other.
async fn for_every_entry<F>(law: impl Fn(Entry) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut failed = Vec::new();
    for entry in entries() {
        let name = entry.known.name;
        if tokio::spawn(law(entry)).await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}

/// Shows a law on every error of every entry.
async fn for_every_error<F>(law: fn(Arc<Entry>, usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    for_every_entry(|entry| async move {
        let entry = Arc::new(entry);
        let mut failed = Vec::new();
        for index in 0..entry.fixture.errors.len() {
            if tokio::spawn(law(Arc::clone(&entry), index)).await.is_err() {
                failed.push(&entry.fixture.errors[index].what);
            }
        }
        assert!(failed.is_empty(), "{}: {failed:?}", entry.known.name);
    })
    .await;
}

impl Entry {
    fn of(known: &'static KnownProvider) -> Self {
        let path = in_repository(&format!("tests/fixtures/providers/{}.json", known.name));
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let fixture = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", known.name));
        Self { known, fixture }
    }

    /// Whether a key can be sent there, and the entry's models remain free.
    fn takes_a_key(&self) -> bool {
        self.known.free != FreeRule::Keyless
    }

    fn provider(&self) -> Provider {
        self.provider_with(self.takes_a_key().then_some(KEY))
    }

    fn provider_with(&self, key: Option<&str>) -> Provider {
        let mut builder = self.known.builder().free(self.known.free);
        if self.known.account_env.is_some() {
            builder = builder.account(ACCOUNT);
        }
        if let Some(key) = key {
            builder = builder.key(key);
        }
        builder.build().expect(self.known.name)
    }

    /// The credential, as the upstream has to get it.
    fn credential(&self) -> String {
        match &self.known.auth {
            Auth::Bearer => format!("Bearer {KEY}"),
            Auth::Basic => format!("Basic {}", BASE64.encode(KEY)),
            other => panic!("{}: how is {other:?} sent?", self.known.name),
        }
    }

    /// Whether a text holds the key, or what is sent for it.
    fn tells(&self, text: &str) -> bool {
        let credential = self.credential();
        let secret = credential.split_once(' ').map(|(_, secret)| secret);
        text.contains(KEY) || secret.is_some_and(|secret| text.contains(secret))
    }

    fn base(&self) -> String {
        self.known.base_url.replace("{account_id}", ACCOUNT)
    }

    /// Whether this was sent to the entry's own server.
    fn is_at(&self, uri: &Uri) -> bool {
        let base: Uri = self.base().parse().expect("a base URL");
        (uri.scheme(), uri.authority()) == (base.scheme(), base.authority())
    }

    fn listed(&self, provider: &Provider) -> Vec<Target> {
        let body = self.fixture.listing.body.to_string();
        let listing = provider.read_listing(body.as_bytes(), today());
        let listing = listing.unwrap_or_else(|e| panic!("{}: {e}", self.known.name));
        listing.into_targets()
    }

    fn serves_chats(&self) -> bool {
        self.known.endpoints.contains(&Endpoint::ChatCompletions)
    }

    /// The first of the listing's models that can answer the request of [`ask`](Self::ask).
    fn asked(&self, provider: &Provider) -> Target {
        let fits = |target: &Target| target.model().is_for(self.output());
        let asked = self.listed(provider).into_iter().find(fits);
        asked.unwrap_or_else(|| panic!("{}: nobody to ask", self.known.name))
    }

    fn output(&self) -> Capability {
        match self.serves_chats() {
            true => Capability::TextOutput,
            false => Capability::ImageOutput,
        }
    }

    /// Another provider's target that can answer too.
    fn another(&self) -> Target {
        let output = match self.serves_chats() {
            true => "text",
            false => "image",
        };
        let model = Model::new("other").output([output]);
        provider("second").target(model).expect("a free model")
    }

    /// How that answers.
    fn another_answer(&self) -> Reply {
        match self.serves_chats() {
            true => Reply::answer("hello"),
            false => Reply::json(
                200,
                json!({ "created": 1, "data": [{ "b64_json": "aGVsbG8=" }] }),
            ),
        }
    }

    /// What is asked of the entry: a chat, or an image where it has no chats.
    fn ask(&self, target: &Target, streamed: bool) -> Request<Full<Bytes>> {
        let model = target.id().to_string();
        match self.serves_chats() {
            true => chat_with(json!({
                "model": model, "stream": streamed, "messages": [{ "role": "user", "content": "hi" }],
            })),
            false => post(
                "/v1/images/generations",
                json!({ "model": model, "prompt": "a tree" }).to_string(),
            ),
        }
    }

    /// An upstream that answers a question with `reply`; a question about its checkpoints is answered well.
    fn upstream(&self, reply: Reply) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
        let listing = self.fixture.listing.body.clone();
        move |seen| match seen.parts.method == http::Method::GET {
            true => Reply::json(200, listing.clone()),
            false => reply.clone(),
        }
    }

    /// Asks the entry, which answers with `reply`; `another` is there to go on with.
    async fn meet(&self, reply: Reply, streamed: bool, another: Option<Target>) -> Met {
        let asked = self.asked(&self.provider());
        let (stack, health) = seeded([asked.clone()].into_iter().chain(another));
        let (first, then) = (self.upstream(reply), self.another_answer());
        let upstream = Upstream::new(move |seen| match seen.parts.uri.host() {
            Some("second.test") => then.clone(),
            _ => first(seen),
        });
        let request = with_callers_own(self.ask(&asked, streamed));
        let response = send(&stack, &upstream, request).await;
        Met {
            asked,
            health,
            upstream,
            response,
        }
    }
}

/// The request with the caller's own credentials.
fn with_callers_own(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    for (name, value) in CALLERS_OWN {
        let value = value.parse().expect("a header");
        request.headers_mut().insert(name, value);
    }
    request
}

/// What came of asking an entry.
struct Met {
    asked: Target,
    health: HealthMap,
    upstream: Upstream,
    response: Whole,
}

fn names(set: CapabilitySet) -> BTreeSet<String> {
    let there = |capability: &&Capability| set.contains(**capability);
    let there = Capability::ALL.iter().filter(there);
    there
        .map(|capability| capability.name().to_owned())
        .collect()
}

/// What is stated of a model.
fn stated(model: &Model) -> Facts {
    let capabilities = model.capabilities();
    Facts {
        context_length: model.context_length(),
        max_output: model.max_output(),
        yes: names(capabilities.yes),
        no: names(capabilities.no),
    }
}

fn text_of(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// All strings of a JSON value.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(members) => members.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

fn words(header: Option<&str>) -> Vec<&str> {
    header
        .into_iter()
        .flat_map(|list| list.split(", "))
        .collect()
}

// ---- The table.

#[test]
fn every_fixture_belongs_to_an_entry() {
    for file in fs::read_dir(in_repository("tests/fixtures/providers")).expect("the fixtures") {
        let file = file
            .expect("a file")
            .file_name()
            .into_string()
            .expect("a name");
        if let Some(name) = file.strip_suffix(".json") {
            assert!(Provider::known(name).is_some(), "no entry for {file}");
        }
    }
}

#[test]
fn every_entry_says_what_it_serves_and_where_and_when_that_was_read() {
    for Entry { known, .. } in entries() {
        let name = known.name;
        assert!(!known.endpoints.is_empty(), "{name}");
        let years = (2024..2100).map(|year: u16| year.to_string());
        assert!(
            years.into_iter().any(|year| known.source.contains(&year)),
            "{name}: no date in {:?}",
            known.source
        );
        assert!(
            known.keyless || !known.key_env.is_empty(),
            "{name} needs a key, and has no variable for it"
        );
        assert!(
            !known.local || known.base_url.starts_with("http://127.0.0.1:"),
            "{name}"
        );
        assert!(
            known.local || known.base_url.starts_with("https://"),
            "{name}"
        );
    }
}

#[test]
fn every_limit_can_be_kept() {
    for Entry { known, .. } in entries() {
        for (index, limit) in known.limits.iter().enumerate() {
            assert!(limit.amount > 0, "{}: {limit:?}", known.name);
            let same = |other: &Limit| {
                (other.of, other.per, other.scope) == (limit.of, limit.per, limit.scope)
            };
            assert!(
                !known.limits[..index].iter().any(same),
                "{}: two limits in one: {limit:?}",
                known.name
            );
        }
    }
}

#[test]
fn every_fixture_is_whole() {
    for Entry { known, fixture } in entries() {
        let is_seen = |shape: &str| fixture.seen.contains_key(shape);
        assert_eq!(
            fixture.success.is_some(),
            is_seen("success"),
            "{}",
            known.name
        );
        assert_eq!(
            fixture.stream.is_some(),
            is_seen("stream"),
            "{}",
            known.name
        );
        let chats = known.endpoints.contains(&Endpoint::ChatCompletions);
        assert_eq!(
            chats,
            fixture.success.is_some() && fixture.stream.is_some(),
            "{}",
            known.name
        );
        assert!(!fixture.errors.is_empty(), "{}", known.name);
        for case in &fixture.errors {
            // A page for browsers and an empty answer have nothing to say.
            let page = case.body.as_str().is_some_and(|text| text.starts_with('<'));
            let silent = page || case.outcome == "empty";
            assert_eq!(case.says.is_none(), silent, "{}: {}", known.name, case.what);
        }
    }
}

// ---- The listing.

#[tokio::test]
async fn a_listing_reads_to_what_is_free_and_to_what_is_stated() {
    for_every_entry(|entry| async move {
        let name = entry.known.name;
        let targets = entry.listed(&entry.provider());
        let ids: Vec<_> = targets.iter().map(|target| target.model().id()).collect();
        assert_eq!(ids, entry.fixture.listing.free, "{name}");
        for target in &targets {
            let id = target.model().id();
            let nothing = Facts::default();
            let expected = entry.fixture.listing.models.get(id).unwrap_or(&nothing);
            assert_eq!(stated(target.model()), *expected, "{name}: {id}");
        }
        for id in entry.fixture.listing.models.keys() {
            assert!(ids.contains(&id.as_str()), "{name}: {id} is not free");
        }
    })
    .await;
}

/// The ids that this listing, read by this rule, leaves in the pool.
fn admitted(entry: &Entry, rule: FreeRule, listing: &Value) -> Vec<String> {
    let builder = entry.known.builder().account(ACCOUNT).free(rule);
    let provider = builder.build().expect(entry.known.name);
    let listing = provider.read_listing(listing.to_string().as_bytes(), today());
    let targets = listing.expect(entry.known.name).into_targets();
    let ids = targets.iter().map(|target| target.model().id().to_owned());
    ids.collect()
}

fn entries_on_a_plan() -> impl Iterator<Item = Entry> {
    let entries = entries().into_iter();
    entries.filter(|entry| entry.known.free == FreeRule::Plan)
}

#[test]
fn under_a_plan_a_model_that_is_listed_at_a_price_is_not_free_unless_its_entry_says_so() {
    let price = |amount| json!({ "prompt": amount, "completion": "0" });
    let listing = json!({ "data": [
        { "id": "unpriced" }, { "id": "zero", "pricing": price("0") }, { "id": "costs", "pricing": price("0.1") },
    ] });
    for entry in entries_on_a_plan() {
        let name = entry.known.name;
        let all = ["unpriced", "zero", "costs"];
        let covered = match entry.known.plan.covers_priced {
            true => &all[..],
            false => &all[..2],
        };
        assert_eq!(
            admitted(&entry, FreeRule::Plan, &listing),
            covered,
            "{name}"
        );
        assert_eq!(admitted(&entry, FreeRule::All, &listing), all, "{name}");
    }
    // What is listed at a price is covered only by a grant that the service itself counts.
    let covering = entries_on_a_plan().filter(|entry| entry.known.plan.covers_priced);
    let covering: Vec<_> = covering.map(|entry| entry.known.name).collect();
    assert_eq!(covering, ["cloudflare", "pollinations"]);
}

#[test]
fn under_a_plan_a_model_that_is_known_to_be_outside_of_it_is_not_free() {
    for entry in entries_on_a_plan() {
        let listing = &entry.fixture.listing.body;
        let covered = admitted(&entry, FreeRule::Plan, listing);
        let all = admitted(&entry, FreeRule::All, listing);
        for word in entry.known.plan.outside {
            let has = |id: &&String| id.split(['-', '.']).any(|part| part == *word);
            let name = entry.known.name;
            assert!(all.iter().any(|id| has(&id)), "{name}: {word} is not shown");
            assert!(!covered.iter().any(|id| has(&id)), "{name}: {word}");
        }
    }
    let google = entries_on_a_plan().find(|entry| entry.known.name == "google");
    let outside = google.expect("an entry").known.plan.outside;
    assert!(
        ["pro", "imagen", "veo"]
            .iter()
            .all(|word| outside.contains(word))
    );
}

#[test]
fn a_service_that_asks_for_a_card_or_has_to_be_asked_for_is_marked() {
    let named = |is: fn(&KnownProvider) -> bool| {
        let marked = KnownProvider::all().iter().filter(|known| is(known));
        marked.map(|known| known.name).collect::<Vec<_>>()
    };
    assert_eq!(
        named(|known| known.asks_for_card),
        ["cerebras", "sambanova", "vercel"]
    );
    assert_eq!(named(|known| known.opt_in), ["opencode-zen"]);
}

// ---- The key.

#[tokio::test(start_paused = true)]
async fn a_key_goes_to_its_own_server_in_its_own_form_and_nowhere_else() {
    for_every_entry(|entry| async move {
        if !entry.takes_a_key() {
            return;
        }
        let name = entry.known.name;
        let met = entry
            .meet(Reply::error(401), false, Some(entry.another()))
            .await;
        assert_eq!(met.response.status(), 200, "{name}");
        let seen = met.upstream.seen.lock().unwrap();
        assert!(
            seen.iter().any(|seen| entry.is_at(&seen.parts.uri)),
            "{name}"
        );
        assert!(
            seen.iter().any(|seen| !entry.is_at(&seen.parts.uri)),
            "{name}"
        );
        for seen in seen.iter() {
            let credential = match entry.is_at(&seen.parts.uri) {
                true => entry.credential(),
                false => "Bearer key-of-second".to_owned(),
            };
            let headers: Vec<_> = seen.parts.headers.iter().collect();
            let sent: Vec<_> = headers
                .iter()
                .filter(|(name, _)| *name == "authorization")
                .map(|(_, value)| text_of(value))
                .collect();
            assert_eq!(sent, [credential.as_str()], "{name}");
            for (header, value) in headers {
                let value = text_of(value);
                assert!(!value.contains("callers-own"), "{name}: {header}");
                let is_its_place = header == "authorization";
                assert!(is_its_place || !entry.tells(&value), "{name}: {header}");
            }
            assert!(!entry.tells(&seen.parts.uri.to_string()), "{name}");
            assert!(!entry.tells(&String::from_utf8_lossy(&seen.body)), "{name}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_a_key_no_credential_is_sent() {
    for_every_entry(|entry| async move {
        if !entry.known.keyless {
            return;
        }
        let provider = entry.provider_with(None);
        let asked = entry.asked(&provider);
        let request = provider.listing_request().expect("a listing");
        assert!(
            !request.headers().contains_key("authorization"),
            "{}",
            entry.known.name
        );
        let (stack, _) = seeded([asked.clone()]);
        let upstream = Upstream::new(entry.upstream(Reply::answer("hello")));
        let request = with_callers_own(entry.ask(&asked, false));
        send(&stack, &upstream, request).await;
        let seen = upstream.seen.lock().unwrap();
        assert!(!seen.is_empty(), "{}", entry.known.name);
        for (name, _) in CALLERS_OWN {
            let arrived = seen
                .iter()
                .any(|seen| seen.parts.headers.contains_key(name));
            assert!(!arrived, "{}: {name}", entry.known.name);
        }
    })
    .await;
}

#[test]
fn the_listing_is_asked_for_with_the_key() {
    for entry in entries().iter().filter(|entry| entry.takes_a_key()) {
        let name = entry.known.name;
        let request = entry.provider().listing_request().expect(name);
        assert_eq!(
            text_of(&request.headers()["authorization"]),
            entry.credential(),
            "{name}"
        );
        assert!(!entry.tells(&request.uri().to_string()), "{name}");
        // Another host of the same provider is named by its entry; nobody else's is.
        let other = entry.known.listing.starts_with("http");
        assert!(
            other || entry.is_at(request.uri()),
            "{name}: {}",
            request.uri()
        );
        assert!(
            !request.uri().path().contains("/v1/v1"),
            "{name}: {}",
            request.uri()
        );
    }
}

// ---- The way there.

/// Where a request for an endpoint has to arrive.
fn address(entry: &Entry, endpoint: Endpoint) -> String {
    let base = entry.base();
    let path = match (endpoint, entry.known.dialect.images) {
        (Endpoint::ImageGenerations, ImageApi::OpenRouter) => "/images",
        (Endpoint::ImageGenerations, ImageApi::Chat) => "/chat/completions",
        (Endpoint::ImageGenerations, ImageApi::Sdapi) => "/sdapi/v1/txt2img",
        _ => endpoint.path(),
    };
    format!("{base}{path}")
}

/// A request for an endpoint that asks for this model.
fn request_for(endpoint: Endpoint, model: &str) -> Request<Full<Bytes>> {
    let path = format!("/v1{}", endpoint.path());
    let body = match endpoint {
        Endpoint::ChatCompletions => {
            json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] })
        }
        Endpoint::Responses | Endpoint::Embeddings => json!({ "model": model, "input": "hi" }),
        Endpoint::AudioTranscriptions | Endpoint::AudioTranslations => {
            let form = format!(
                "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n\
                 --b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--b--\r\n"
            );
            return Request::post(path)
                .header("content-type", "multipart/form-data; boundary=b")
                .body(Full::from(form))
                .expect("a valid request");
        }
        _ => json!({ "model": model, "prompt": "hi" }),
    };
    post(&path, body.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_to_the_base_url_and_the_endpoint() {
    for_every_entry(|entry| async move {
        let name = entry.known.name;
        let provider = entry.provider();
        for &endpoint in entry.known.endpoints {
            // A model of which nothing is stated can be asked for anything.
            let model = match entry.known.free {
                FreeRule::Suffix(suffix) => format!("acme/any{suffix}"),
                FreeRule::OpenRouter => "acme/any:free".to_owned(),
                _ => "acme/any".to_owned(),
            };
            let model = match entry.known.dialect.images {
                // An unknown checkpoint is not asked for.
                ImageApi::Sdapi => entry.fixture.listing.free[0].clone(),
                _ => model,
            };
            let target = provider.target(Model::new(model.as_str())).expect(name);
            let (stack, _) = seeded([target.clone()]);
            let upstream = Upstream::new(entry.upstream(Reply::error(503)));
            send(
                &stack,
                &upstream,
                request_for(endpoint, &target.id().to_string()),
            )
            .await;
            let seen = upstream.seen.lock().unwrap();
            let sent = seen
                .iter()
                .rfind(|seen| seen.parts.method == http::Method::POST);
            let sent = sent.unwrap_or_else(|| panic!("{name}: nothing for {endpoint}"));
            assert_eq!(
                sent.parts.uri.to_string(),
                address(&entry, endpoint),
                "{name}"
            );
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_arrives_as_the_provider_takes_it() {
    for_every_entry(|entry| async move {
        let name = entry.known.name;
        let provider = entry.provider();
        for case in &entry.fixture.requests {
            let asked = entry.asked(&provider);
            let (stack, _) = seeded([asked.clone()]);
            let upstream = Upstream::new(|_| Reply::answer("hello"));
            let mut body = case.body.clone();
            body.insert("model".into(), asked.id().to_string().into());
            let request = post(case.path(), Value::from(body).to_string());
            let response = send(&stack, &upstream, request).await;
            assert_eq!(response.status(), 200, "{name}: {response:?}");
            let mut sent = case.sent.clone();
            sent.insert("model".into(), asked.model().id().into());
            let seen = upstream.seen.lock().unwrap();
            assert_eq!(seen[0].json(), Value::from(sent), "{name}");
            for (header, expected) in [
                ("x-free-dropped", &case.dropped),
                ("x-free-adjusted", &case.adjusted),
            ] {
                let mut found = words(response.header(header));
                found.sort_unstable();
                assert_eq!(found, *expected, "{name}: {header}");
            }
        }
    })
    .await;
}

/// So that no quirk of the table is without a case that shows it.
#[test]
fn every_quirk_of_an_entry_has_a_request_that_meets_it() {
    for Entry { known, fixture } in entries() {
        let (name, dialect) = (known.name, &known.dialect);
        let any = |such: &dyn Fn(&RequestCase) -> bool| fixture.requests.iter().any(such);
        for (field, rule) in &dialect.fields {
            let met = match rule {
                Rule::Default(_) | Rule::DefaultLimit { .. } => {
                    any(&|case| !case.body.contains_key(field))
                }
                _ => any(&|case| case.body.contains_key(field)),
            };
            assert!(met, "{name}: {field}");
        }
        for field in &dialect.message_fields {
            let dropped = format!("messages.{field}");
            assert!(
                any(&|case| case.dropped.contains(&dropped)),
                "{name}: {field}"
            );
        }
        let unknown = |field: &String| {
            let named = |(known, _): &(String, Rule)| known == field;
            !field.contains('.') && !dialect.fields.iter().any(named)
        };
        let all_known = |case: &RequestCase| !case.dropped.iter().any(unknown);
        let met = dialect.only.is_empty() || any(&|case| !all_known(case));
        assert!(met, "{name}: a field that is not let through");
    }
}

// ---- What comes back.

#[tokio::test(start_paused = true)]
async fn a_success_reaches_the_caller() {
    for_every_entry(|entry| async move {
        let (name, Some(success)) = (entry.known.name, &entry.fixture.success) else {
            return;
        };
        let met = entry
            .meet(Reply::json(200, success.clone()), false, None)
            .await;
        assert_eq!(met.response.status(), 200, "{name}: {:?}", met.response);
        assert_eq!(met.response.header("x-free-provider"), Some(name));
        match &entry.fixture.answer {
            Some(answer) => assert_eq!(met.response.json(), *answer, "{name}"),
            None => assert_eq!(met.response.text(), success.to_string(), "{name}"),
        }
        let changed = met.response.header("x-free-normalised").is_some();
        assert_eq!(changed, entry.fixture.answer.is_some(), "{name}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_reaches_the_caller_byte_for_byte() {
    for_every_entry(|entry| async move {
        let (name, Some(events)) = (entry.known.name, &entry.fixture.stream) else {
            return;
        };
        let whole: String = events.iter().map(|event| format!("{event}\n\n")).collect();
        let steps = events
            .iter()
            .map(|event| Step::Data(format!("{event}\n\n").into()));
        let met = entry.meet(Reply::stream(steps), true, None).await;
        assert_eq!(met.response.status(), 200, "{name}: {:?}", met.response);
        assert_eq!(met.response.text(), whole, "{name}");
        assert_eq!(met.response.broken, None, "{name}");
        let snapshot = met.health.snapshot();
        let id = met.asked.id();
        let health = snapshot.target(id.provider(), id.model()).expect(name);
        assert_eq!(health.tally.succeeded, 1, "{name}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_error_is_what_its_words_say_and_the_request_goes_on_elsewhere() {
    for_every_error(goes_on_elsewhere).await;
}

async fn goes_on_elsewhere(entry: Arc<Entry>, index: usize) {
    let case = &entry.fixture.errors[index];
    let what = format!("{}: {}", entry.known.name, case.what);
    let met = entry
        .meet(case.reply(), case.is_streamed(), Some(entry.another()))
        .await;
    assert_eq!(met.response.status(), 200, "{what}: {:?}", met.response);
    let trail = format!("{}={}, ", met.asked.id(), case.outcome);
    let found = met.response.header("x-free-trail").unwrap_or_default();
    assert!(found.starts_with(&trail), "{what}: {found}");
    assert_cooling(&met, case, entry.known.day, &what);
}

/// For whom requests of some size and more are held back, and for how long.
#[expect(
    clippy::disallowed_methods,
    reason = "the end is a time of the wall clock, which the map reads as well"
)]
pub(crate) fn tokens_held(snapshot: &HealthSnapshot, id: &TargetId) -> Option<(Scope, Duration)> {
    let target = snapshot.target(id.provider(), id.model())?;
    let provider = snapshot
        .providers
        .iter()
        .find(|known| known.name == id.provider())?;
    let all = [
        (Scope::Target, &target.limits),
        (Scope::Provider, &provider.limits),
    ];
    all.into_iter().find_map(|(scope, limits)| {
        let held = limits.iter().find(|limit| {
            let is_hold = limit.limit.is_none() && limit.window.is_none();
            limit.of == Quantity::Tokens && is_hold && limit.source == LimitSource::Stated
        });
        let until = held?.resets?;
        Some((
            scope,
            until.duration_since(SystemTime::now()).unwrap_or_default(),
        ))
    })
}

fn assert_cooling(met: &Met, case: &ErrorCase, day: Day, what: &str) {
    let id = met.asked.id();
    let snapshot = met.health.snapshot();
    let health = snapshot.target(id.provider(), id.model()).expect(what);
    if let Some((scope, remaining)) = tokens_held(&snapshot, id) {
        // A refusal for tokens holds for requests of that size: smaller ones may go.
        assert_eq!(
            (scope.name(), health.cooling),
            (&*case.scope, None),
            "{what}"
        );
        let Recovers::After(seconds) = case.recovers_in_s else {
            panic!("{what}: its end is not stated");
        };
        assert!(
            (remaining.as_secs_f64() - seconds).abs() <= 1.0,
            "{what}: {remaining:?}"
        );
        return;
    }
    let cools = !["unfit", "refused", "empty"].contains(&case.outcome.as_str());
    assert_eq!(health.cooling.is_some(), cools, "{what}: {health:?}");
    let Some(cooling) = health.cooling else {
        let nothing = matches!(case.recovers_in_s, Recovers::Unstated(()));
        assert!(nothing, "{what}: nothing cools down, so nothing recovers");
        return;
    };
    assert_eq!(cooling.reason.name(), case.outcome, "{what}");
    let scope = match cooling.scope {
        Scope::Target => "target",
        Scope::Provider => "provider",
    };
    assert_eq!(scope, case.scope, "{what}");
    let recovers = match &case.recovers_in_s {
        Recovers::Unstated(()) => None,
        Recovers::After(seconds) => Some(seconds - 1.0..=seconds + 1.0),
        Recovers::Day(word) => {
            assert_eq!(word, "day", "{what}");
            Some(match day {
                Day::Unknown => DAY_IN_S - 1.0..=DAY_IN_S,
                // When the clocks go back it has 25 hours.
                _ => 0.0..=DAY_IN_S + 3600.0,
            })
        }
    };
    assert_eq!(cooling.stated, recovers.is_some(), "{what}: {cooling:?}");
    if let Some(recovers) = recovers {
        let remaining = cooling.remaining.as_secs_f64();
        assert!(recovers.contains(&remaining), "{what}: {cooling:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_nobody_can_mend_is_one_openai_error_in_the_providers_words() {
    for_every_error(is_one_openai_error).await;
}

async fn is_one_openai_error(entry: Arc<Entry>, index: usize) {
    let case = &entry.fixture.errors[index];
    let what = format!("{}: {}", entry.known.name, case.what);
    let met = entry.meet(case.reply(), case.is_streamed(), None).await;
    let response = &met.response;
    assert!(response.status() >= 400, "{what}: {response:?}");
    let content_type = response.header("content-type").unwrap_or_default();
    assert!(
        content_type.starts_with("application/json"),
        "{what}: {content_type}"
    );
    let body = response.json();
    let error = &body["error"];
    let message = error["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty(), "{what}: {body}");
    // As `ErrorResponse` of OpenAI's specification has it: clients in typed languages read nothing else.
    for field in ["type", "param", "code"] {
        let readable = error[field].is_string() || error[field].is_null();
        assert!(readable, "{what}: {field} in {body}");
    }
    if let Some(says) = &case.says {
        let found = strings(&body);
        assert!(
            found.iter().any(|text| text.contains(says)),
            "{what}: {body}"
        );
    }
    // A failure of the pool's own credential is not the caller's.
    if case.outcome == "unauthorised" || case.outcome == "out_of_quota" {
        assert!(
            ![401, 402, 403].contains(&response.status()),
            "{what}: {response:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_error_gives_a_key_away() {
    for_every_entry(|entry| async move {
        if !entry.takes_a_key() {
            return;
        }
        let name = entry.known.name;
        let echo = format!("Who is {KEY}? You sent {}.", entry.credential());
        for status in [400, 401, 403, 404, 429, 500] {
            for reply in [
                // What clients can read is passed on as it is, and anything else is put into other words.
                Reply::json(
                    status,
                    json!({ "error": { "message": echo, "type": "t", "code": "c" } }),
                ),
                Reply::json(status, json!({ "message": echo, "code": status })),
                Reply::new(status, "text/plain", echo.clone()),
            ] {
                let met = entry.meet(reply, false, None).await;
                let mut said = met.response.text().to_owned();
                for (header, value) in &met.response.parts.headers {
                    said.push_str(&format!("{header}: {}\n", text_of(value)));
                }
                said.push_str(&format!("{:?}", met.health.snapshot()));
                assert!(!entry.tells(&said), "{name}: {said}");
            }
        }
    })
    .await;
}

// ---- The page for people.

#[test]
fn the_page_of_providers_is_what_the_table_says() {
    let found = fs::read_to_string(in_repository("PROVIDERS.md")).unwrap_or_default();
    assert!(
        found == page::page(),
        "PROVIDERS.md is out of date: cargo run --example providers > PROVIDERS.md"
    );
}
