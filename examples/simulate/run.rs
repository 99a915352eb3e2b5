//! One run: a scenario, a policy and a seed, in simulated time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::{Instant, advance, sleep, sleep_until},
};
use tower_free_models::HealthMap;

use crate::{
    demand::{Ask, Conversation, conversations},
    dice::Dice,
    policy::{Client, Policy, Reply},
    pool::{Listed, Pool, millis},
    scenario::{BoxError, Scenario},
    tally::Tally,
    window::Millis,
    world::{FIRST_DAY, World},
};

/// The requests of a run, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Asks(HashMap<u64, Ask>);

impl Asks {
    pub(crate) fn new(conversations: &[Conversation]) -> Self {
        let turns = conversations
            .iter()
            .flat_map(|conversation| &conversation.turns);
        Self(turns.map(|(_, ask)| (ask.id, ask.clone())).collect())
    }

    pub(crate) fn get(&self, id: u64) -> &Ask {
        &self.0[&id]
    }
}

/// What came of one request.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) conversation: u64,
    pub(crate) turn: u64,
    pub(crate) stream: bool,
    pub(crate) reply: Reply,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// By conversation and turn.
    pub(crate) records: Vec<Record>,
    pub(crate) tally: Tally,
}

/// What a client of any policy needs.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) world: Arc<World>,
    pub(crate) asks: Arc<Asks>,
    pub(crate) seed: u64,
    pub(crate) patience: Millis,
}

/// Runs a scenario. `passed` is called with the simulated time that has passed since the last call.
pub(crate) fn run(
    scenario: &Scenario,
    policy: &Policy,
    seed: u64,
    passed: impl Fn(Millis),
) -> Result<Outcome, BoxError> {
    runtime()?.block_on(async {
        let conversations = conversations(&scenario.demands, Dice::new(seed));
        let health = health_at(seed, FIRST_DAY + millis(scenario.begins_at_hour * 3600.0)).await?;
        let pool = Arc::new(Pool::new(scenario));
        let listed = Listed::new(&pool)?;
        let world = Arc::new(World::new(scenario, Arc::clone(&pool), seed));
        let stage = Stage {
            asks: Arc::new(Asks::new(&conversations)),
            world: Arc::clone(&world),
            seed,
            patience: millis(scenario.patience_s),
        };
        let client = policy.client(&stage, listed.catalog.clone(), health);
        let records = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let listing = tokio::spawn(keep_listing(listed, Arc::clone(&world)));
        let mut last = 0;
        for conversation in conversations {
            sleep_until(world.instant(conversation.begins)).await;
            passed(conversation.begins - last);
            last = conversation.begins;
            tasks.spawn(converse(conversation, client.clone(), Arc::clone(&records)));
            while tasks.try_join_next().transpose()?.is_some() {}
        }
        while tasks.join_next().await.transpose()?.is_some() {}
        listing.abort();
        let mut records = records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .split_off(0);
        records.sort_by_key(|record: &Record| (record.conversation, record.turn));
        Ok(Outcome {
            records,
            tally: world.tally(),
        })
    })
}

/// A runtime of one thread, whose time jumps to the next timer whenever nothing is left to do.
pub(crate) fn runtime() -> Result<Runtime, BoxError> {
    Ok(Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?)
}

/// A map by whose clock it is `wall` now, in milliseconds since 1970.
///
/// A map reads the system's clock when it is made, and goes by tokio's from then on. So that the same command does the same
/// at any time, tokio's clock is moved to a day that is to come. It is moved by whole milliseconds: what the two clocks
/// differ by then is less than one, and tokio's timers are rounded up to the next.
#[expect(
    clippy::disallowed_methods,
    reason = "the clock of the map is to be moved from what the system says"
)]
async fn health_at(seed: u64, wall: Millis) -> Result<HealthMap, BoxError> {
    loop {
        let before = since_1970(SystemTime::now())?;
        let health = HealthMap::seeded(seed);
        if since_1970(SystemTime::now())? == before {
            let ahead = wall
                .checked_sub(before)
                .ok_or("the first simulated day is over")?;
            advance(Duration::from_millis(ahead)).await;
            return Ok(health);
        }
    }
}

fn since_1970(time: SystemTime) -> Result<Millis, BoxError> {
    Ok(time.duration_since(UNIX_EPOCH)?.as_millis() as Millis)
}

/// A provider's listing says that a model has appeared or vanished so long afterwards, on the mean.
const LISTING_LAG: Duration = Duration::from_secs(300);

/// Keeps the catalog in step with what there is.
async fn keep_listing(listed: Listed, world: Arc<World>) {
    for change in world.pool.changes() {
        sleep_until(world.instant(change) + LISTING_LAG).await;
        listed
            .refresh(&world.pool, change)
            .expect("the same targets as before");
    }
}

/// Asks all turns of a conversation, each after the answer to the last.
async fn converse(conversation: Conversation, client: Client, records: Arc<Mutex<Vec<Record>>>) {
    for (think, ask) in conversation.turns {
        if think > 0 {
            sleep(Duration::from_millis(think)).await;
        }
        let reply = client.serve(&ask, Instant::now()).await;
        let record = Record {
            conversation: ask.conversation,
            turn: ask.turn,
            stream: ask.stream,
            reply,
        };
        records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(record);
    }
}
