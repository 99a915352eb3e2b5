//! A pool of simulated free models, for a first try without keys and for tests without a network.
//!
//! [`upstream`] serves three made-up providers over the OpenAI API. Their models answer with a
//! short text about what they were asked, and get in the way like real free ones: they are rate
//! limited, overloaded, broken or slow for a while, and recover. All chance comes from one seed and
//! all time from tokio's clock, so that a test sees the same troubles in each run.

mod account;
mod answer;
mod chance;
mod clock;
mod completions;
mod error;
mod forms;
mod manner;
mod pictures;
mod pool;
mod recordings;
mod request;
mod responses;
mod schema;
mod vectors;
mod wire;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use self::{
    account::Account,
    answer::Answer,
    clock::Clock,
    error::Refusal,
    manner::{Mood, Pace, Turn},
    pictures::ImageRequest,
    pool::Model,
    recordings::RecordingRequest,
    request::ChatRequest,
    vectors::EmbeddingRequest,
    wire::Reply,
};

pub(crate) use self::pool::{EMBEDDING_MODEL, PROVIDERS, Provider};

/// Marks every answer of this pool.
pub(crate) const SIMULATED: HeaderName = HeaderName::from_static("x-free-simulated");

/// The simulated providers of [`PROVIDERS`], each under `/{name}/v1`.
pub(crate) fn upstream(seed: u64) -> Router {
    let upstream = Arc::new(Upstream::new(seed));
    Router::new()
        .route("/{provider}/v1/models", get(models))
        .route("/{provider}/v1/chat/completions", saying(&CHAT))
        .route("/{provider}/v1/completions", saying(&COMPLETIONS))
        .route("/{provider}/v1/responses", saying(&RESPONSES))
        .route("/{provider}/v1/embeddings", post(embed))
        .route("/{provider}/v1/images/generations", post(draw))
        .route("/{provider}/v1/images/edits", post(draw))
        .route("/{provider}/v1/audio/transcriptions", post(hear))
        .route("/{provider}/v1/audio/translations", post(hear))
        // The gateway around this service has a limit of its own.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::map_response_with_state(
            Arc::clone(&upstream),
            mark,
        ))
        .with_state(upstream)
}

/// What the pool remembers between requests.
struct Upstream {
    clock: Clock,
    places: Vec<Place>,
    answers: AtomicU64,
}

/// One provider with its account and its models' moods, in the order of its list.
struct Place {
    provider: &'static Provider,
    account: Mutex<Account>,
    moods: Vec<Mutex<Mood>>,
}

/// `GET /{provider}/v1/models`, in the shape of OpenRouter's listing.
async fn models(
    State(upstream): State<Arc<Upstream>>,
    Path(provider): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let place = upstream.enter(&provider, &headers)?;
    let data: Vec<_> = place.provider.models.iter().map(Model::listing).collect();
    Ok(Json(json!({ "data": data })).into_response())
}

/// `POST /{provider}/v1/chat/completions`.
const CHAT: Api = Api {
    read: |body| serde_json::from_slice(body),
    whole: Reply::whole,
    stream: |reply, request, pace| reply.stream(pace, request.wants_usage()),
};

/// `POST /{provider}/v1/completions`.
const COMPLETIONS: Api = Api {
    read: completions::read,
    whole: completions::whole,
    stream: |reply, _, pace| completions::stream(reply, pace),
};

/// `POST /{provider}/v1/responses`.
const RESPONSES: Api = Api {
    read: responses::read,
    whole: responses::whole,
    stream: |reply, _, pace| responses::stream(reply, pace),
};

/// A route on which models say something, in the words of this API.
fn saying(api: &'static Api) -> MethodRouter<Arc<Upstream>> {
    post(
        move |State(upstream): State<Arc<Upstream>>,
              Path(provider): Path<String>,
              headers: HeaderMap,
              body: Bytes| async move { upstream.say(&provider, &headers, &body, api).await },
    )
}

/// `POST /{provider}/v1/embeddings`.
async fn embed(
    State(upstream): State<Arc<Upstream>>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let place = upstream.admit(&provider, &headers, Instant::now())?;
    let request: EmbeddingRequest =
        serde_json::from_slice(&body).map_err(|why| error::bad_request(&why))?;
    place.maker(&request.model, "embeddings")?;
    Ok(Json(request.answer(body.len())).into_response())
}

/// `POST /{provider}/v1/images/generations` and `/images/edits`, which draws anew.
async fn draw(
    State(upstream): State<Arc<Upstream>>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let now = Instant::now();
    let place = upstream.admit(&provider, &headers, now)?;
    let request: ImageRequest = read(&headers, &body)?;
    let model = place.maker(&request.model, "image")?;
    let created = u64::try_from(upstream.clock.epoch_ms(now) / 1000).unwrap_or_default();
    let by = format!("{}/{}", place.provider.name, model.id);
    Ok(Json(request.answer(created, &by)).into_response())
}

/// `POST /{provider}/v1/audio/transcriptions` and `/audio/translations`.
async fn hear(
    State(upstream): State<Arc<Upstream>>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let place = upstream.admit(&provider, &headers, Instant::now())?;
    let request: RecordingRequest = read(&headers, &body)?;
    let model = place.maker(&request.model, "transcription")?;
    Ok(request.answer(&format!("{}/{}", place.provider.name, model.id)))
}

/// A request that may come as a form.
fn read<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Refusal> {
    match forms::fields(headers, body) {
        Some(fields) => serde_json::from_value(fields),
        None => serde_json::from_slice(body),
    }
    .map_err(|why| error::bad_request(&why))
}

/// How one API for texts asks and answers.
struct Api {
    read: fn(&Bytes) -> serde_json::Result<ChatRequest>,
    whole: fn(&Reply) -> Value,
    stream: fn(&Reply, &ChatRequest, Pace) -> Response,
}

/// Says on every response, errors too, that it is simulated, and when. The `Date` is the pool's own
/// because the resets it states are measured by the same clock.
async fn mark(State(upstream): State<Arc<Upstream>>, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(SIMULATED, HeaderValue::from_static("true"));
    if let Ok(date) = HeaderValue::try_from(upstream.clock.http_date(Instant::now())) {
        headers.insert(header::DATE, date);
    }
    response
}

impl Upstream {
    fn new(seed: u64) -> Self {
        // Every model has its own chance: what one is asked does not change another's troubles.
        let mut seeds = seed..;
        let mut mood = |model: &Model| {
            let seed = seeds.next().unwrap_or(seed);
            Mutex::new(Mood::new(model.manner, seed))
        };
        let places = PROVIDERS
            .iter()
            .map(|provider| Place {
                provider,
                account: Mutex::new(Account::new(provider.per_minute)),
                moods: provider.models.iter().map(&mut mood).collect(),
            })
            .collect();
        Self {
            clock: Clock::start(),
            places,
            answers: AtomicU64::new(1),
        }
    }

    /// Answers a request with a text.
    async fn say(
        &self,
        provider: &str,
        headers: &HeaderMap,
        body: &Bytes,
        api: &Api,
    ) -> Result<Response, Refusal> {
        let now = Instant::now();
        let place = self.admit(provider, headers, now)?;
        let request = (api.read)(body).map_err(|why| error::bad_request(&why))?;
        let (model, mood) = place
            .find(&request.model)
            .ok_or_else(|| error::no_such_model(&request.model))?;
        request
            .fits(model)
            .map_err(|misfit| error::misfit(&misfit))?;

        let turn = lock(mood).turn(now);
        let pace = match turn {
            Turn::Busy(wait) => return Err(error::busy(model.id, place.provider.name, wait)),
            Turn::Overloaded => return Err(error::overloaded()),
            Turn::Broken if request.stream => return Ok(wire::broken_stream(model.id)),
            Turn::Broken => {
                return Ok(Json(error::broke_down(model.id).body()).into_response());
            }
            Turn::Answers(pace) => pace,
        };

        let asked = request.max_output().unwrap_or(model.max_output);
        let reply = Reply {
            number: self.answers.fetch_add(1, Ordering::Relaxed),
            created: self.clock.epoch_ms(now) / 1000,
            model: model.id,
            prompt_tokens: request::tokens(body.len()),
            answer: Answer::to(&request, place.provider.name, model.id)
                .cut_to(asked.min(model.max_output)),
        };
        if request.stream {
            return Ok((api.stream)(&reply, &request, pace));
        }
        sleep(pace.total(reply.answer.pieces().len())).await;
        Ok(Json((api.whole)(&reply)).into_response())
    }

    /// As [`enter`](Self::enter), for a request that counts against the account, as it does at real ones also where
    /// it fails later.
    fn admit(&self, name: &str, headers: &HeaderMap, now: Instant) -> Result<&Place, Refusal> {
        let place = self.enter(name, headers)?;
        lock(&place.account)
            .admit(now)
            .map_err(|spent| error::account_limit(spent.limit, self.clock.epoch_ms(spent.reset)))?;
        Ok(place)
    }

    /// The provider of this name, if the caller holds its key: another provider's does not open it.
    fn enter(&self, name: &str, headers: &HeaderMap) -> Result<&Place, Refusal> {
        let place = self
            .places
            .iter()
            .find(|place| place.provider.name == name)
            .ok_or_else(|| error::no_such_provider(name))?;
        let given = headers
            .get(header::AUTHORIZATION)
            .ok_or_else(error::no_key)?;
        let key = given
            .to_str()
            .ok()
            .and_then(|value| value.strip_prefix("Bearer "));
        match key {
            Some(key) if key == place.provider.key => Ok(place),
            _ => Err(error::wrong_key()),
        }
    }
}

impl Place {
    /// The model of this id, if it answers with this.
    fn maker(&self, id: &str, output: &str) -> Result<&'static Model, Refusal> {
        let (model, _) = self.find(id).ok_or_else(|| error::no_such_model(id))?;
        match model.makes(output) {
            true => Ok(model),
            false => Err(error::cannot_make(output)),
        }
    }

    fn find(&self, id: &str) -> Option<(&'static Model, &Mutex<Mood>)> {
        let mut models = self.provider.models.iter().zip(&self.moods);
        models.find(|(model, _)| model.id == id)
    }
}

/// A panic elsewhere leaves nothing half done in these states.
fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
