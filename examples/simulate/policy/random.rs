//! Models at random, as simple gateways pick them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout_at};

use super::{OUT_OF_PATIENCE, Reply, millis_since};
use crate::{
    demand::Ask,
    dice::Dice,
    run::Stage,
    upstream::Open,
    window::Millis,
    world::{Fate, Times},
};

/// As many as the layers make by default.
const ATTEMPTS: u64 = 6;

/// Sends each request to a model at random, and to others if it fails.
#[derive(Clone)]
pub(crate) struct Random {
    stage: Stage,
    dice: Dice,
    /// How long a model that failed is left alone.
    cooldown: Option<Millis>,
    /// Until when each model is left alone.
    cooling: Arc<Mutex<Vec<Millis>>>,
}

impl Random {
    pub(super) fn new(stage: &Stage, cooldown: Option<Millis>) -> Self {
        Self {
            dice: Dice::new(stage.seed ^ 0x7261_6e64),
            cooldown,
            cooling: Arc::new(Mutex::new(vec![0; stage.world.pool.models.len()])),
            stage: stage.clone(),
        }
    }

    pub(super) async fn serve(&self, ask: &Ask, arrived: Instant) -> Reply {
        let end = arrived + Duration::from_millis(self.stage.patience);
        let (call, times) = match timeout_at(end, self.first(ask)).await {
            Err(_) => return Reply::Lost(OUT_OF_PATIENCE.to_owned()),
            Ok(Err(why)) => return Reply::Lost(why.to_owned()),
            Ok(Ok(answer)) => answer,
        };
        let first = millis_since(arrived);
        if ask.stream {
            sleep(Duration::from_millis(times.last - times.first)).await;
        }
        let model = call.call.model;
        call.complete();
        Reply::Served { first, model }
    }

    /// A call that has begun to answer.
    async fn first(&self, ask: &Ask) -> Result<(Open, Times), &'static str> {
        let world = &self.stage.world;
        let mut tried = Vec::new();
        for attempt in 0..ATTEMPTS {
            let now = world.now();
            let candidates: Vec<_> = {
                let cooling = self.cooling.lock().unwrap_or_else(PoisonError::into_inner);
                let fit = world
                    .pool
                    .fit(ask)
                    .filter(|model| world.pool.models[*model].is_there(now));
                fit.filter(|model| !tried.contains(model) && cooling[*model] <= now)
                    .collect()
            };
            if candidates.is_empty() {
                return Err("no model left");
            }
            let die = self.dice.number(&[ask.id, attempt]) % candidates.len() as u64;
            let model = candidates[die as usize];
            tried.push(model);
            let call = Open::begin(world, model, ask);
            let round_trip = world.round_trip(model);
            let wait = match call.call.fate {
                Fate::Answers(times) => {
                    let wait = if ask.stream { times.first } else { times.last };
                    sleep(Duration::from_millis(wait)).await;
                    return Ok((call, times));
                }
                Fate::ErrorIn200(wait) => wait,
                Fate::Refused(..) | Fate::Unreachable => round_trip,
                Fate::Stalls | Fate::Hangs => std::future::pending().await,
            };
            sleep(Duration::from_millis(wait)).await;
            if let Some(cooldown) = self.cooldown {
                let mut cooling = self.cooling.lock().unwrap_or_else(PoisonError::into_inner);
                cooling[model] = world.now() + cooldown;
            }
        }
        Err("all attempts failed")
    }
}
