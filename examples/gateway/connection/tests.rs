use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Body, Bytes},
    routing::get,
};
use futures_util::{Stream, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::{http1, http2};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use super::*;
use crate::gather::Gathered;

const IDLE: Duration = Duration::from_secs(60);

/// A connection to these routes, with room for so many bytes on the way, and what stops it.
fn connect(routes: impl Routes, room: usize) -> (DuplexStream, watch::Sender<bool>) {
    let (caller, server) = duplex(room);
    let (stop, stopped) = watch::channel(false);
    let (_, full) = watch::channel(false);
    let terms = Terms {
        idle_timeout: IDLE,
        full,
        stopped,
    };
    tokio::spawn(serve(server, routes, terms));
    (caller, stop)
}

/// `/` answers at once, `/slow` after 100 s.
fn routes() -> Router {
    let slow = || async {
        sleep(Duration::from_secs(100)).await;
        "late"
    };
    Router::new()
        .route("/", get(|| async { "ok" }))
        .route("/slow", get(slow))
}

/// `/` answers without end, in pieces of 64 KiB.
fn endless() -> (Router, oneshot::Receiver<()>) {
    answering(futures_util::stream::repeat(Bytes::from_static(
        &[b'x'; 65536],
    )))
}

/// `/` answers with these pieces; the receiver learns when the answer is dropped.
fn answering(
    pieces: impl Stream<Item = Bytes> + Clone + Send + Sync + 'static,
) -> (Router, oneshot::Receiver<()>) {
    let (dropped, told) = oneshot::channel::<()>();
    let dropped = Arc::new(Mutex::new(Some(dropped)));
    let answer = move || {
        let dropped = dropped.lock().unwrap().take();
        let pieces = pieces.clone().map(move |piece| {
            let _alive = &dropped;
            Ok::<_, Infallible>(http_body::Frame::data(piece))
        });
        async move { Body::new(StreamBody::new(pieces)) }
    };
    (Router::new().route("/", get(answer)), told)
}

async fn ask(caller: &mut DuplexStream, path: &str) {
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    caller.write_all(head.as_bytes()).await.unwrap();
}

/// All that comes until the connection is closed.
async fn rest(caller: &mut DuplexStream) -> String {
    let mut all = Vec::new();
    let closed = timeout(Duration::from_secs(1000), caller.read_to_end(&mut all));
    let _ = closed.await.expect("the connection is closed");
    String::from_utf8(all).unwrap()
}

#[tokio::test(start_paused = true)]
async fn half_a_head_is_not_waited_for_however_it_drips() {
    // The second is taken for the beginning of HTTP/2, the third for nothing yet.
    for head in ["GET / HTTP/1.1\r\nHost: loc", "PRI * HTTP/2.0\r\n", ""] {
        let begin = Instant::now();
        let (mut caller, _stop) = connect(routes(), 4096);
        caller.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(rest(&mut caller).await, "", "{head:?}");
        assert!(begin.elapsed() <= UNUSED + LINGER, "{head:?}");
    }
    let begin = Instant::now();
    let (mut caller, _stop) = connect(routes(), 4096);
    for byte in b"GET / HTTP/1.1\r\nX-Long: "
        .iter()
        .chain(std::iter::repeat(&b'x'))
    {
        if caller.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert!(begin.elapsed() <= UNUSED + LINGER + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_connection_between_requests_is_closed_and_one_with_a_request_is_not() {
    let begin = Instant::now();
    let (mut caller, _stop) = connect(routes(), 4096);
    ask(&mut caller, "/").await;
    sleep(Duration::from_secs(20)).await;
    ask(&mut caller, "/slow").await;
    let answers = rest(&mut caller).await;
    assert!(
        answers.contains("ok") && answers.ends_with("late"),
        "{answers}"
    );
    assert_eq!(begin.elapsed().as_secs(), 20 + 100 + UNUSED.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_gives_its_place_back() {
    let (router, dropped) = endless();
    let begin = Instant::now();
    let (mut caller, _stop) = connect(router, 4096);
    ask(&mut caller, "/").await;
    let _ = dropped.await;
    assert_eq!(begin.elapsed().as_secs(), IDLE.as_secs());
    // Its connection is not kept either.
    let mut head = [0; 4096];
    while caller.read(&mut head).await.is_ok_and(|bytes| bytes > 0) {}
    assert_eq!(begin.elapsed().as_secs(), IDLE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_http2_that_takes_nothing_gives_its_place_back() {
    let (router, dropped) = endless();
    let begin = Instant::now();
    let (caller, _stop) = connect(router.route("/ok", get(|| async { "ok" })), 4096);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(caller))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut get = async |path: &str| {
        let uri = format!("http://localhost{path}");
        let request = Request::get(uri).body(String::new()).unwrap();
        sender.send_request(request).await.unwrap()
    };
    let unread = get("/").await;
    let _ = dropped.await;
    assert_eq!(begin.elapsed().as_secs(), IDLE.as_secs());
    // Other requests of the same connection go on.
    let other = get("/ok").await.into_body().collect().await.unwrap();
    assert_eq!(other.to_bytes(), "ok");
    drop(unread);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_a_little_at_a_time_keeps_its_place() {
    let (router, mut dropped) = endless();
    let (mut caller, _stop) = connect(router, 1024);
    ask(&mut caller, "/").await;
    let mut some = vec![0; 1024];
    for _ in 0..100 {
        sleep(IDLE - Duration::from_secs(1)).await;
        caller.read_exact(&mut some).await.unwrap();
    }
    assert!(
        dropped
            .try_recv()
            .is_err_and(|error| error == oneshot::error::TryRecvError::Empty)
    );
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_pauses_before_the_end_of_its_answer_gets_all_of_it() {
    // All of it is taken by the server at once, so that nothing is under way while the reader pauses.
    let whole = || async { Body::from(vec![b'x'; 65536]) };
    let (mut caller, _stop) = connect(Router::new().route("/", get(whole)), 4096);
    ask(&mut caller, "/").await;
    let mut some = [0; 1024];
    for _ in 0..3 {
        caller.read_exact(&mut some).await.unwrap();
        sleep(IDLE - Duration::from_secs(1)).await;
    }
    let rest = rest(&mut caller).await;
    assert!(3 * some.len() + rest.len() > 65536, "{}", rest.len());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_hangs_up_ends_its_answer_though_nothing_comes() {
    let (router, dropped) = answering(futures_util::stream::pending());
    let begin = Instant::now();
    let (mut caller, _stop) = connect(router, 4096);
    ask(&mut caller, "/").await;
    let mut some = [0; 10];
    caller.read_exact(&mut some).await.unwrap();
    drop(caller);
    let ended = timeout(Duration::from_secs(1000), dropped).await;
    assert!(ended.is_ok() && begin.elapsed() < Duration::from_secs(1));
}

/// Whether this states the length of "ok".
fn states_length(headers: &http::HeaderMap) -> bool {
    headers
        .get("content-length")
        .is_some_and(|length| length == "2")
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_known_length_states_it() {
    let ok = || tower::service_fn(async |_| Ok(Response::new(Body::from("ok"))));
    let (caller, _stop) = connect(ok(), 4096);
    let (mut sender, connection) = http1::handshake(TokioIo::new(caller)).await.unwrap();
    tokio::spawn(connection);
    let request = || {
        Request::get("http://localhost/")
            .body(String::new())
            .unwrap()
    };
    let answer = sender.send_request(request()).await.unwrap();
    assert!(states_length(answer.headers()));

    let (caller, _stop) = connect(ok(), 4096);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(caller))
        .await
        .unwrap();
    tokio::spawn(connection);
    let answer = sender.send_request(request()).await.unwrap();
    assert!(states_length(answer.headers()));
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_not_waited_for_after_a_stop() {
    let (router, dropped) = endless();
    let begin = Instant::now();
    let (mut caller, stop) = connect(router, 4096);
    ask(&mut caller, "/").await;
    sleep(Duration::from_secs(20)).await;
    stop.send(true).unwrap();
    let _ = dropped.await;
    assert_eq!(begin.elapsed().as_secs(), IDLE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_short_answer_comes_with_its_head() {
    let (mut caller, _stop) = connect(routes(), 4096);
    ask(&mut caller, "/").await;
    let mut some = [0; 4096];
    let read = caller.read(&mut some).await.unwrap();
    assert!(some[..read].ends_with(b"\r\n\r\nok"));
}

/// `/` answers with so many bytes, each by itself, and breaks off.
fn breaking(bytes: usize) -> Router {
    let answer = move || {
        let pieces = (0..bytes).map(|_| Ok(http_body::Frame::data(Bytes::from_static(b"x"))));
        let pieces: Vec<_> = pieces.chain([Err("broken")]).collect();
        let body = StreamBody::new(futures_util::stream::iter(pieces));
        async move { Body::new(Gathered::new(body)) }
    };
    Router::new().route("/", get(answer))
}

#[tokio::test(start_paused = true)]
async fn what_came_of_an_answer_before_it_broke_off_is_written() {
    for bytes in [0, 1, 2, 5] {
        let (mut caller, _stop) = connect(breaking(bytes), 4096);
        ask(&mut caller, "/").await;
        let answer = rest(&mut caller).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.matches('x').count(), bytes, "{answer}");
        // The client can tell that it broke off.
        assert!(!body.ends_with("0\r\n\r\n"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_of_an_answer_of_http2_before_it_broke_off_is_written() {
    for bytes in [0, 1, 2, 5] {
        let (caller, _stop) = connect(breaking(bytes), 4096);
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(caller))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = Request::get("http://localhost/").body(String::new());
        let answer = sender.send_request(request.unwrap()).await.unwrap();
        let (mut body, mut came) = (answer.into_body(), 0);
        let end = loop {
            match body.frame().await {
                Some(Ok(frame)) => came += frame.into_data().unwrap().len(),
                end => break end,
            }
        };
        assert!(matches!(end, Some(Err(_))));
        assert_eq!(came, bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_timeout_that_no_clock_reaches_is_one() {
    let (router, mut dropped) = endless();
    let (mut caller, server) = duplex(4096);
    let (_stop, stopped) = watch::channel(false);
    let terms = Terms {
        idle_timeout: Duration::MAX,
        full: stopped.clone(),
        stopped,
    };
    tokio::spawn(serve(server, router, terms));
    ask(&mut caller, "/").await;
    sleep(Duration::from_secs(1_000_000)).await;
    assert!(
        dropped
            .try_recv()
            .is_err_and(|error| error == oneshot::error::TryRecvError::Empty)
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_requests_and_not_for_half_heads() {
    for (head, longest) in [
        ("GET / HTTP/1.1\r\nHost: loc", LINGER),
        ("PRI * HTTP/2.0\r\n", LINGER),
        ("", LINGER),
        (
            "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n",
            Duration::from_secs(101),
        ),
    ] {
        let begin = Instant::now();
        let (mut caller, stop) = connect(routes(), 4096);
        caller.write_all(head.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
        stop.send(true).unwrap();
        let answer = rest(&mut caller).await;
        assert_eq!(answer.ends_with("late"), head.contains("/slow"), "{answer}");
        assert!(begin.elapsed() <= longest, "{head:?}");
    }
}
