//! The layers at a glance.

mod support;
use support::*;

#[tokio::test(start_paused = true)]
async fn a_failing_model_is_not_noticed() {
    let (stack, health) = seeded(targets(&["a", "b"], &["m", "n"]));
    let upstream = Upstream::script([Reply::error(503), Reply::error(429), Reply::answer("hello")]);
    let response = send(&stack, &upstream, chat()).await;
    println!("{response:?} {:?}", upstream.asked());
    assert_eq!(response.status(), 200);
    assert_eq!(response.header("x-free-attempts"), Some("3"));
    println!("{:?}", health.snapshot());
    let upstream = Upstream::script([
        Reply::stream([comment(), role(), Step::Break]),
        Reply::words(&["a", "b"]),
    ]);
    let response = send(&stack, &upstream, streamed_chat()).await;
    println!("{response:?} {:?}", upstream.asked());
    assert_eq!(response.status(), 200);
}
