//! The layers of this crate, as they are.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    time::Duration,
};

use http::Response;
use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use tower::{Layer, ServiceExt};
use tower_free_models::{
    Catalog, HealthMap, Stack,
    select::{Candidate, Chance, SelectRequest},
    stack,
};

use super::{OUT_OF_PATIENCE, Reply, millis_since};
use crate::{demand::Ask, pool::Pool, run::Stage, upstream::Upstream, wire::request};

/// How the layers are set. What is missing is as they are by default.
///
/// For a new setting of the layers, add a field here and a line in [`Setting::apply`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Setting {
    max_attempts: Option<usize>,
    max_wait_s: Option<f64>,
    deadline_s: Option<f64>,
    header_timeout_s: Option<f64>,
    first_token_timeout_s: Option<f64>,
    answer_timeout_s: Option<f64>,
    idle_timeout_s: Option<f64>,
    selector: Option<Selector>,
}

/// What picks among equally good models.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Selector {
    /// A conversation stays at one model as long as that is among the best: by its header `x-session-id`.
    Sticky,
    /// The faster of two at random, by the mean time to the first content.
    Fastest,
}

impl Setting {
    fn apply(&self, mut stack: Stack) -> Stack {
        let time = |seconds: Option<f64>| seconds.map(Duration::from_secs_f64);
        stack = stack.fallback(|mut fallback| {
            if let Some(attempts) = self.max_attempts {
                fallback = fallback.max_attempts(attempts);
            }
            if let Some(limit) = time(self.max_wait_s) {
                fallback = fallback.max_wait(limit);
            }
            if let Some(limit) = time(self.deadline_s) {
                fallback = fallback.deadline(limit);
            }
            if let Some(limit) = time(self.header_timeout_s) {
                fallback = fallback.header_timeout(limit);
            }
            if let Some(limit) = time(self.first_token_timeout_s) {
                fallback = fallback.first_token_timeout(limit);
            }
            if let Some(limit) = time(self.answer_timeout_s) {
                fallback = fallback.answer_timeout(limit);
            }
            if let Some(limit) = time(self.idle_timeout_s) {
                fallback = fallback.idle_timeout(limit);
            }
            fallback
        });
        match self.selector {
            None => stack,
            Some(Selector::Sticky) => stack.route(|route| route.select(sticky)),
            Some(Selector::Fastest) => stack.route(|route| route.select(fastest)),
        }
    }
}

fn sticky(request: &SelectRequest<'_>, candidates: &[Candidate<'_>], chance: &Chance) -> usize {
    let Some(session) = request.session() else {
        return chance.below(candidates.len());
    };
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let weight = |at: &usize| hasher.hash_one((session, candidates[*at].target.id()));
    (0..candidates.len()).max_by_key(weight).unwrap_or(0)
}

fn fastest(_: &SelectRequest<'_>, candidates: &[Candidate<'_>], chance: &Chance) -> usize {
    let [a, b] = [(); 2].map(|()| chance.below(candidates.len()));
    let time = |at: usize| candidates[at].first_token.unwrap_or_default();
    if time(b) < time(a) { b } else { a }
}

/// A client of the layers around the simulated providers.
#[derive(Clone)]
pub(crate) struct Ours {
    service: <Stack as Layer<Upstream>>::Service,
    stage: Stage,
}

impl Ours {
    pub(super) fn new(
        setting: &Setting,
        stage: &Stage,
        catalog: Catalog,
        health: HealthMap,
    ) -> Self {
        let stack = stack(catalog, health).route(|route| route.seed(stage.seed));
        let upstream = Upstream {
            world: stage.world.clone(),
            asks: stage.asks.clone(),
        };
        Self {
            service: setting.apply(stack).layer(upstream),
            stage: stage.clone(),
        }
    }

    pub(super) async fn serve(&self, ask: &Ask, arrived: Instant) -> Reply {
        let end = arrived + Duration::from_millis(self.stage.patience);
        let response = timeout_at(end, self.service.clone().oneshot(request(ask))).await;
        let response = match response {
            Err(_) => return Reply::Lost(OUT_OF_PATIENCE.to_owned()),
            Ok(Err(error)) => return Reply::Lost(error.to_string()),
            Ok(Ok(response)) => response,
        };
        let first = millis_since(arrived);
        let model = model_of(&self.stage.world.pool, &response);
        let status = response.status();
        let body = match response.into_body().collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return Reply::Lost("broken off".to_owned()),
        };
        let text = String::from_utf8_lossy(&body);
        match model {
            Some(model) if status == 200 && !text.contains(r#""error""#) => {
                Reply::Served { first, model }
            }
            _ => {
                let code = text
                    .split_once(r#""code":""#)
                    .and_then(|(_, rest)| rest.split_once('"'));
                let code = code.map_or("", |(code, _)| code);
                Reply::Lost(format!("{} {code}", status.as_u16()))
            }
        }
    }
}

/// The model that answered.
fn model_of<B>(pool: &Pool, response: &Response<B>) -> Option<usize> {
    let header = |name| response.headers().get(name)?.to_str().ok();
    let host = format!("{}.example", header("x-free-provider")?);
    pool.find(&host, header("x-free-model")?)
}
