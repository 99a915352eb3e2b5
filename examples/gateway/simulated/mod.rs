//! A pool of simulated free models, for a first try without keys and for tests without a network.
//!
//! [`upstream`] serves three made-up providers over the OpenAI API. Their models answer with a
//! short text about what they were asked, and get in the way like real free ones: they are rate
//! limited, overloaded, broken or slow for a while, and recover. All chance comes from one seed and
//! all time from tokio's clock, so that a test sees the same troubles in each run.

mod account;
mod answer;
mod clock;
mod error;
mod manner;
mod pool;
mod request;
mod schema;
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
    routing::{get, post},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use self::{
    account::Account,
    answer::Answer,
    clock::Clock,
    error::Refusal,
    manner::{Mood, Turn},
    pool::Model,
    request::ChatRequest,
    wire::Reply,
};

pub(crate) use self::pool::{PROVIDERS, Provider};

/// Marks every answer of this pool.
pub(crate) const SIMULATED: HeaderName = HeaderName::from_static("x-free-simulated");

/// The simulated providers of [`PROVIDERS`], each under `/{name}/v1`.
pub(crate) fn upstream(seed: u64) -> Router {
    let upstream = Arc::new(Upstream::new(seed));
    Router::new()
        .route("/{provider}/v1/models", get(models))
        .route("/{provider}/v1/chat/completions", post(chat))
        // Whoever stands in front has a limit of its own.
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
async fn chat(
    State(upstream): State<Arc<Upstream>>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let place = upstream.enter(&provider, &headers)?;
    let now = Instant::now();
    // Attempts that fail below count against the account, as they do at real ones.
    lock(&place.account)
        .admit(now)
        .map_err(|spent| error::account_limit(spent.limit, upstream.clock.epoch_ms(spent.reset)))?;

    let request: ChatRequest =
        serde_json::from_slice(&body).map_err(|why| error::bad_request(&why))?;
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
        number: upstream.answers.fetch_add(1, Ordering::Relaxed),
        created: upstream.clock.epoch_ms(now) / 1000,
        model: model.id,
        prompt_tokens: request::tokens(body.len()),
        answer: Answer::to(&request, place.provider.name, model.id)
            .cut_to(asked.min(model.max_output)),
    };
    if request.stream {
        return Ok(reply.stream(pace, request.wants_usage()));
    }
    sleep(pace.total(reply.answer.pieces().len())).await;
    Ok(Json(reply.whole()).into_response())
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
