//! Which of the equally good targets a request gets, by the strategy of the router.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use http_body_util::Full;
use serde_json::json;
use tower::{Layer, ServiceExt, service_fn};
use tower_free_models::{
    Body, Catalog, FreeModelRouteLayer, HealthMap, Select,
    classify::{Outcome, OutcomeKind, Recovery},
    select::{Candidate, Chance, Fastest, Ordered, Random, SelectRequest, Sticky, Uniform},
};

use crate::support::{chat, chat_with, targets};

/// The models that so many requests get from a router, one after the other.
async fn models(
    select: impl Select + 'static,
    health: &HealthMap,
    requests: impl IntoIterator<Item = Request<Full<bytes::Bytes>>>,
) -> Vec<String> {
    let pool = Catalog::from_targets(targets(&["p", "q"], &["a", "b", "c", "d"]));
    let client = service_fn(async |_: Request<Body>| {
        Ok::<_, std::convert::Infallible>(Response::new(Full::<bytes::Bytes>::default()))
    });
    let route = FreeModelRouteLayer::new(pool, health.clone());
    let route = route.seed(7).select(select).layer(client);
    let mut models = Vec::new();
    for request in requests {
        let response = route.clone().oneshot(request).await.unwrap();
        let name = |header| response.headers()[header].to_str().unwrap();
        models.push(format!(
            "{}/{}",
            name("x-free-provider"),
            name("x-free-model")
        ));
    }
    models
}

fn cool(health: &HealthMap, name: &str) {
    let pool = targets(&["p", "q"], &["a", "b", "c", "d"]);
    let target = pool.iter().find(|target| target.id().to_string() == name);
    let an_hour = Recovery::After(std::time::Duration::from_secs(3600));
    let limited = Outcome::of(OutcomeKind::RateLimited).until(an_hour);
    health.begin(target.unwrap()).unwrap().fail(&limited);
}

fn chats(n: usize) -> Vec<Request<Full<bytes::Bytes>>> {
    (0..n).map(|_| chat()).collect()
}

fn of_session(session: usize) -> Request<Full<bytes::Bytes>> {
    let mut request = chat();
    let session = session.to_string().parse().unwrap();
    request.headers_mut().insert("x-session-id", session);
    request
}

#[tokio::test]
async fn every_selector_picks_the_same_again_from_the_same_seed() {
    async fn twice(select: impl Select + Clone + 'static) {
        let [first, again] = [HealthMap::seeded(1), HealthMap::seeded(1)];
        let first = models(select.clone(), &first, chats(30)).await;
        assert_eq!(models(select, &again, chats(30)).await, first);
    }
    twice(Random).await;
    twice(Uniform).await;
    twice(Sticky).await;
    twice(Ordered::default()).await;
}

#[tokio::test(start_paused = true)]
async fn the_fastest_is_reproducible_where_the_clock_is() {
    let [first, again] = [HealthMap::seeded(1), HealthMap::seeded(1)];
    let first = models(Fastest, &first, chats(30)).await;
    assert_eq!(models(Fastest, &again, chats(30)).await, first);
}

#[tokio::test]
async fn a_session_stays_at_its_target_until_that_is_cooling() {
    let health = HealthMap::seeded(1);
    let sessions = || (0..40).map(of_session);
    let before = models(Sticky, &health, sessions()).await;
    assert_eq!(models(Sticky, &health, sessions()).await, before);
    cool(&health, "q/b");
    let after = models(Sticky, &health, sessions()).await;
    let mut moved = 0;
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || before == "q/b", "{before} {after}");
        moved += usize::from(before != after);
    }
    assert!(moved > 0);
}

#[tokio::test]
async fn a_conversation_stays_at_its_target_turn_by_turn() {
    let health = HealthMap::seeded(1);
    let mut homes = HashSet::new();
    for conversation in 0..20 {
        let first = json!({ "role": "user", "content": format!("Question {conversation}") });
        let mut messages = vec![json!({ "role": "system", "content": "Be brief." }), first];
        let mut turns = Vec::new();
        for turn in 0..5 {
            turns.push(chat_with(json!({ "model": "free", "messages": messages })));
            messages.push(json!({ "role": "assistant", "content": format!("Answer {turn}") }));
            messages.push(json!({ "role": "user", "content": format!("And {turn}?") }));
        }
        let homes_of_turns: HashSet<_> = models(Sticky, &health, turns).await.into_iter().collect();
        assert_eq!(homes_of_turns.len(), 1, "{homes_of_turns:?}");
        homes.extend(homes_of_turns);
    }
    assert!(homes.len() > 4, "{homes:?}");
}

#[tokio::test]
async fn the_first_of_the_operators_order_is_used_until_it_is_cooling() {
    let health = HealthMap::seeded(1);
    let ordered = || Ordered::new(["q/c", "q"]);
    assert_eq!(models(ordered(), &health, chats(5)).await, ["q/c"; 5]);
    cool(&health, "q/c");
    assert_eq!(models(ordered(), &health, chats(5)).await, ["q/a"; 5]);
    assert_eq!(
        models(Ordered::default(), &health, chats(5)).await,
        ["p/a"; 5]
    );
}

#[tokio::test]
async fn a_selector_sees_only_targets_that_may_be_tried() {
    let health = HealthMap::seeded(1);
    cool(&health, "p/a");
    cool(&health, "q/d");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let select = {
        let seen = Arc::clone(&seen);
        move |_: &SelectRequest<'_>, candidates: &[Candidate<'_>], _: &Chance| {
            let ids = candidates.iter().map(|one| one.target.id().to_string());
            *seen.lock().unwrap() = ids.collect();
            usize::MAX
        }
    };
    // An index out of range counts as the last one.
    assert_eq!(models(select, &health, chats(1)).await, ["q/c"]);
    let all = ["p/b", "p/c", "p/d", "q/a", "q/b", "q/c"];
    assert_eq!(*seen.lock().unwrap(), all);
}
