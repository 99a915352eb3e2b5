//! One who knows everything.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::sleep;

use super::Reply;
use crate::{demand::Ask, run::Stage, window::Millis, world::Times};

/// Sends each request where its answer begins soonest.
#[derive(Clone)]
pub(crate) struct Oracle {
    stage: Stage,
    /// Each call: when, where, what for.
    pub(crate) calls: Arc<Mutex<Vec<(Millis, usize, u64)>>>,
}

impl Oracle {
    pub(crate) fn new(stage: &Stage) -> Self {
        Self {
            stage: stage.clone(),
            calls: Arc::default(),
        }
    }

    pub(crate) async fn serve(&self, ask: &Ask) -> Reply {
        let world = &self.stage.world;
        let now = world.now();
        let wait = |times: Times| if ask.stream { times.first } else { times.last };
        let mut best: Option<(Millis, Millis, usize, Times)> = None;
        for model in world.pool.fit(ask) {
            // Another model is only worth a look if its answer could begin sooner than the best one so far.
            let end = best.map_or(now + self.stage.patience, |best| best.0.saturating_sub(1));
            let Some((at, times)) = world.foresee(model, ask, end) else {
                continue;
            };
            if at + wait(times) <= end {
                best = Some((at + wait(times), at, model, times));
            }
        }
        let Some((first, at, model, times)) = best else {
            return Reply::Lost("no place".to_owned());
        };
        world.take(model, ask, at, times);
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((at, model, ask.id));
        sleep(Duration::from_millis(at + times.last - now)).await;
        Reply::Served {
            first: first - now,
            model,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{task::yield_now, time::sleep_until};

    use super::*;
    use crate::{
        demand::conversations,
        dice::Dice,
        pool::{Pool, millis},
        run::{Asks, runtime},
        scenario::Scenario,
        upstream::Open,
        world::{Fate, World},
    };

    /// What the oracle did is done again in a world that knows nothing of it.
    fn replay(scenario: &Scenario, seed: u64) -> usize {
        let conversations = conversations(&scenario.demands, Dice::new(seed));
        let asks = Arc::new(Asks::new(&conversations));
        let pool = Arc::new(Pool::new(scenario));
        let stage = || Stage {
            world: Arc::new(World::new(scenario, Arc::clone(&pool), seed)),
            asks: Arc::clone(&asks),
            seed,
            patience: millis(scenario.patience_s),
        };
        let mut calls = runtime().expect("a runtime").block_on(async {
            let stage = stage();
            let oracle = Oracle::new(&stage);
            let mut tasks = tokio::task::JoinSet::new();
            for conversation in conversations {
                sleep_until(stage.world.instant(conversation.begins)).await;
                let oracle = oracle.clone();
                tasks.spawn(async move {
                    for (think, ask) in &conversation.turns {
                        sleep(Duration::from_millis(*think)).await;
                        oracle.serve(ask).await;
                    }
                });
            }
            tasks.join_all().await;
            oracle.calls.lock().expect("calls").clone()
        });
        calls.sort_unstable();
        let served = calls.len();
        runtime().expect("a runtime").block_on(async {
            let stage = stage();
            for (at, model, id) in calls {
                sleep_until(stage.world.instant(at)).await;
                // An answer that ends at this very moment has ended.
                for _ in 0..10 {
                    yield_now().await;
                }
                let call = Open::begin(&stage.world, model, asks.get(id));
                let Fate::Answers(times) = call.call.fate else {
                    panic!("{at} {id}: {:?}", call.call.fate);
                };
                tokio::spawn(async move {
                    sleep(Duration::from_millis(times.last)).await;
                    call.complete();
                });
            }
        });
        served
    }

    #[test]
    fn no_call_of_the_oracle_is_refused() {
        for name in ["spike", "conversations", "team-day-2"] {
            let scenario = Scenario::load(name).expect("a scenario");
            assert!(replay(&scenario, 1) > 50, "{name}");
        }
    }
}
