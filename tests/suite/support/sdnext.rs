//! A stand-in for sdnext, made by its published schema (vladmandic/sdnext@058a7f0c, `modules/api`): a second request
//! waits until the first is done, a checkpoint that it does not have is ignored without a word, and a generation that
//! fails is a 200 without images.
//!
//! What is not for its own API goes to another upstream, so that a stack has both.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::Service;
use tower_free_models::{
    Body, Provider,
    provider::{Dialect, FreeRule, ImageApi},
};

use super::{BoxError, Seen, Upstream, png::png};

/// How long it takes to make the images of one request.
pub const GENERATION: Duration = Duration::from_secs(20);

/// What it has, by title; the first one is loaded at the start.
pub const CHECKPOINTS: [&str; 3] = [
    "base.safetensors [0123456789]",
    "me.safetensors",
    "möwe_海.safetensors [89abcdef01]",
];

/// What becomes of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// A 200 without images.
    Nothing,
    /// A 200 with something that is no image.
    Garbage,
    OutOfMemory,
}

#[derive(Clone)]
pub struct Sdnext {
    state: Arc<State>,
    other: Upstream,
}

struct State {
    mood: Mood,
    seen: Mutex<Vec<Seen>>,
    loaded: Mutex<String>,
    lock: tokio::sync::Mutex<()>,
    began: Mutex<Option<Instant>>,
    /// Requests for images that are being served or wait within the server.
    inside: AtomicUsize,
    most_inside: AtomicUsize,
}

impl Sdnext {
    pub fn new(mood: Mood, other: Upstream) -> Self {
        Self {
            state: Arc::new(State {
                mood,
                seen: Mutex::default(),
                loaded: Mutex::new(CHECKPOINTS[0].to_owned()),
                lock: tokio::sync::Mutex::default(),
                began: Mutex::default(),
                inside: AtomicUsize::new(0),
                most_inside: AtomicUsize::new(0),
            }),
            other,
        }
    }

    /// What it was asked, as `METHOD path?query`.
    pub fn asked(&self) -> Vec<String> {
        let seen = self.state.seen.lock().unwrap();
        seen.iter()
            .map(|seen| {
                format!(
                    "{} {}",
                    seen.parts.method,
                    seen.parts.uri.path_and_query().unwrap()
                )
            })
            .collect()
    }

    /// The bodies of the requests for images.
    pub fn generations(&self) -> Vec<Value> {
        let seen = self.state.seen.lock().unwrap();
        seen.iter()
            .filter(|seen| seen.parts.uri.path().ends_with("/txt2img"))
            .map(Seen::json)
            .collect()
    }

    /// What the first request brought.
    pub fn first_header(&self, name: &str) -> Option<String> {
        let seen = self.state.seen.lock().unwrap();
        Some(
            seen[0]
                .parts
                .headers
                .get(name)?
                .to_str()
                .unwrap()
                .to_owned(),
        )
    }

    pub fn inside(&self) -> usize {
        self.state.inside.load(Ordering::SeqCst)
    }

    pub fn most_inside(&self) -> usize {
        self.state.most_inside.load(Ordering::SeqCst)
    }
}

/// Such a server as a provider, at this base URL.
pub fn provider(name: &str, base: &str) -> Provider {
    let mut dialect = Dialect::default();
    dialect.images = ImageApi::Sdapi;
    Provider::new(name)
        .base_url(base)
        .key(&format!("key-of-{name}"))
        .free(FreeRule::All)
        .dialect(dialect)
        .build()
        .expect("a valid provider")
}

type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

impl Service<Request<Body>> for Sdnext {
    type Response = Response<AnyBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !request.uri().path().starts_with("/sdapi/") {
            let answer = self.other.call(request);
            return Box::pin(async move { Ok(answer.await?.map(BodyExt::boxed_unsync)) });
        }
        let state = Arc::clone(&self.state);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
            let seen = Seen { parts, body };
            let request: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
            state.seen.lock().unwrap().push(seen);
            let (status, answer) = match (&method, path.as_str()) {
                (&Method::GET, "/sdapi/v1/sd-models") => (200, checkpoints()),
                (&Method::GET, "/sdapi/v1/options") => {
                    let loaded = state.loaded.lock().unwrap().clone();
                    (200, json!({ "sd_model_checkpoint": loaded }))
                }
                (&Method::GET, "/sdapi/v1/progress") => (200, state.progress()),
                (&Method::POST, "/sdapi/v1/txt2img") => state.generate(&request).await,
                _ => (404, json!({ "detail": "Not Found" })),
            };
            let body = Full::new(Bytes::from(answer.to_string()));
            let body = body.map_err(|never| match never {}).boxed_unsync();
            Ok(Response::builder()
                .status(status)
                .header("content-type", "application/json")
                .body(body)?)
        })
    }
}

fn checkpoints() -> Value {
    let entry = |title: &&str| {
        let file = title.split(' ').next().unwrap();
        let hash = title.split(['[', ']']).nth(1);
        json!({ "title": title, "model_name": file.trim_end_matches(".safetensors"), "filename": format!("/models/{file}"),
            "type": "Stable Diffusion", "sha256": null, "hash": hash, "config": null })
    };
    CHECKPOINTS.iter().map(entry).collect()
}

struct Inside<'a>(&'a AtomicUsize);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl State {
    fn progress(&self) -> Value {
        let began = *self.began.lock().unwrap();
        let done = began.map_or(0.0, |at| at.elapsed().div_duration_f64(GENERATION));
        let eta = GENERATION.mul_f64(1.0 - done).as_secs_f64();
        json!({ "id": 1, "progress": done, "eta_relative": if began.is_some() { eta } else { 0.0 },
            "state": { "skipped": false, "interrupted": false, "job": "txt2img", "job_count": 1, "job_timestamp": "0",
                "job_no": 0, "sampling_step": 0, "sampling_steps": 20 },
            "current_image": null, "textinfo": null })
    }

    async fn generate(&self, request: &Value) -> (u16, Value) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        let _inside = Inside(&self.inside);
        self.most_inside.fetch_max(inside, Ordering::SeqCst);
        let _lock = self.lock.lock().await;
        *self.began.lock().unwrap() = Some(Instant::now());
        tokio::time::sleep(GENERATION).await;
        *self.began.lock().unwrap() = None;

        // Only a warning in its log, if there is no such checkpoint.
        let wanted = request["override_settings"]["sd_model_checkpoint"].as_str();
        if let Some(title) = CHECKPOINTS.iter().find(|&&title| Some(title) == wanted) {
            *self.loaded.lock().unwrap() = (*title).to_owned();
        }
        let number = |name: &str, default| request[name].as_u64().unwrap_or(default);
        let (width, height) = (number("width", 1024), number("height", 1024));
        let n = number("batch_size", 1) * number("n_iter", 1);
        let seeds: Vec<_> = (0..n).map(|i| number("seed", 1000) + i).collect();
        let image = || png(width as u32, height as u32, 128);
        let images: Vec<_> = match self.mood {
            Mood::OutOfMemory => {
                let detail = "CUDA out of memory. Tried to allocate 2.00 GiB.";
                return (
                    500,
                    json!({ "error": "OutOfMemoryError", "code": 500, "detail": detail, "body": "", "errors": detail }),
                );
            }
            Mood::Nothing => Vec::new(),
            Mood::Garbage => seeds.iter().map(|_| BASE64.encode("no image")).collect(),
            Mood::Well => seeds.iter().map(|_| BASE64.encode(image())).collect(),
        };
        let loaded = self.loaded.lock().unwrap().clone();
        let name = loaded.split(".safetensors").next().unwrap();
        let infotext = |seed: &u64| {
            format!(
                "{}\nSteps: 20, Seed: {seed}",
                request["prompt"].as_str().unwrap()
            )
        };
        let info = json!({ "all_seeds": seeds, "sd_model_name": name, "sampler_name": "Default", "cfg_scale": 6.0,
            "steps": number("steps", 20), "index_of_first_image": 0,
            "infotexts": seeds.iter().map(infotext).collect::<Vec<_>>() });
        (
            200,
            json!({ "images": images, "parameters": request, "info": info.to_string() }),
        )
    }
}
