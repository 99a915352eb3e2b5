use axum::{Router, routing::get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
    time::Instant,
};

use super::*;
use crate::connection::{LINGER, UNUSED_WHEN_FULL};

const IDLE: Duration = Duration::from_secs(60);

/// `/` answers at once, `/slow` after 100 s.
fn workers() -> Workers {
    let slow = || async {
        sleep(Duration::from_secs(100)).await;
        "late"
    };
    let routes = Router::new()
        .route("/", get(|| async { "ok" }))
        .route("/slow", get(slow));
    Workers::here(routes)
}

/// How long a caller waits for its answer where others came before it and sent this; two are served at a time.
async fn waits_behind(others: &str) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits {
        connections: 2,
        idle_timeout: IDLE,
        grace: Duration::ZERO,
    };
    tokio::spawn(async move { serve(listener, &workers(), limits, std::future::pending()).await });
    let begin = Instant::now();
    let mut before = Vec::new();
    for _ in 0..6 {
        let mut other = TcpStream::connect(address).await.unwrap();
        other.write_all(others.as_bytes()).await.unwrap();
        before.push(other);
    }
    let mut caller = TcpStream::connect(address).await.unwrap();
    caller
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    caller.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("ok"), "{answer}");
    begin.elapsed()
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let waits = waits_behind("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(waits.as_secs() >= 3 * 100, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn half_heads_give_way_where_all_places_are_taken() {
    let waits = waits_behind("GET / HTTP/1.1\r\nHo").await;
    assert!(waits <= 6 * (UNUSED_WHEN_FULL + LINGER), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn the_gateway_stops_within_the_grace() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits {
        connections: 2,
        idle_timeout: IDLE,
        grace: Duration::from_secs(50),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let stop = async {
            let _ = stopped.await;
        };
        serve(listener, &workers(), limits, stop).await;
    });
    let mut caller = TcpStream::connect(address).await.unwrap();
    let head = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n";
    caller.write_all(head).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    drop(stop);
    serving.await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 50);
}

#[tokio::test]
async fn an_accepted_connection_sends_small_pieces_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let caller = TcpStream::connect(listener.local_addr().unwrap());
    let (accepted, _caller) = tokio::join!(accept(&listener), caller);
    assert!(accepted.nodelay().unwrap());
}
