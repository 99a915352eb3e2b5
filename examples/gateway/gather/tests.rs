use std::collections::VecDeque;

use axum::http::HeaderMap;
use proptest::prelude::*;
use tokio_test::{assert_pending, task};

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Chunk(Bytes),
    /// Pending once. What comes next is there at the next poll.
    Wait,
    Trailers,
    Error,
}

use Step::{Chunk, Error, Trailers, Wait};

/// A body that does what is written.
struct Script(VecDeque<Step>);

impl Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Next<Self>> {
        Poll::Ready(match self.0.pop_front() {
            Some(Wait) => return Poll::Pending,
            Some(Chunk(data)) => Some(Ok(Frame::data(data))),
            Some(Trailers) => Some(Ok(Frame::trailers(HeaderMap::new()))),
            Some(Error) => Some(Err("broken")),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let length = |step: &Step| match step {
            Chunk(data) => data.len() as u64,
            _ => 0,
        };
        SizeHint::with_exact(self.0.iter().map(length).sum())
    }
}

fn chunk(text: &'static str) -> Step {
    Chunk(Bytes::from_static(text.as_bytes()))
}

fn gathered(steps: impl IntoIterator<Item = Step>) -> task::Spawn<Gathered<Script>> {
    task::spawn(Gathered::new(Script(steps.into_iter().collect())))
}

fn poll(body: &mut task::Spawn<Gathered<Script>>) -> Poll<Next<Script>> {
    body.enter(|cx, body| body.poll_frame(cx))
}

/// The data of a frame that is ready, as text.
fn data(polled: Poll<Next<Script>>) -> String {
    let Poll::Ready(Some(Ok(frame))) = polled else {
        panic!("no frame: {polled:?}")
    };
    let data = frame.into_data().expect("data");
    String::from_utf8(data.to_vec()).expect("text")
}

/// Passes the first chunk on, after which chunks are joined.
fn begun(rest: impl IntoIterator<Item = Step>) -> task::Spawn<Gathered<Script>> {
    let mut body = gathered([chunk("a"), Wait].into_iter().chain(rest));
    assert_eq!(data(poll(&mut body)), "a");
    assert_pending!(poll(&mut body));
    assert!(!body.is_woken());
    body
}

#[test]
fn what_is_ready_at_first_is_passed_on_at_once_and_written_before_more_is_taken() {
    let mut body = gathered([Wait, chunk("a"), chunk("b"), Wait, chunk("c"), chunk("d")]);
    assert_pending!(poll(&mut body));
    for expected in ["a", "b"] {
        assert_eq!(data(poll(&mut body)), expected);
    }
    assert_pending!(poll(&mut body));
    assert_eq!(data(poll(&mut body)), "cd");
    assert!(matches!(poll(&mut body), Poll::Ready(None)));
}

#[test]
fn what_is_ready_later_is_passed_on_in_one() {
    let mut body = begun([chunk("b"), Wait, Wait, chunk("c"), chunk("d")]);
    for _ in 0..YIELDS {
        assert_pending!(poll(&mut body));
        assert!(body.is_woken());
    }
    assert_eq!(data(poll(&mut body)), "bcd");
    assert!(matches!(poll(&mut body), Poll::Ready(None)));
}

#[test]
fn a_chunk_that_comes_alone_waits_for_no_other() {
    let mut body = begun([chunk("b"), Wait, Wait, Wait, Wait, chunk("c")]);
    for _ in 0..YIELDS {
        assert_pending!(poll(&mut body));
        assert!(body.is_woken());
    }
    assert_eq!(data(poll(&mut body)), "b");
    // With nothing taken, it is the inner body that wakes the task.
    assert_pending!(poll(&mut body));
    assert!(!body.is_woken());
    assert_eq!(data(poll(&mut body)), "c");
}

#[test]
fn trailers_and_errors_come_after_the_data_before_them() {
    for last in [Trailers, Error] {
        let mut body = begun([chunk("b"), chunk("c"), last.clone()]);
        assert_eq!(data(poll(&mut body)), "bc");
        assert!(!body.is_end_stream());
        if matches!(last, Error) {
            // Until then a server may have written nothing of the data.
            assert_pending!(poll(&mut body));
            assert!(body.is_woken() && !body.is_end_stream());
        }
        match (poll(&mut body), last) {
            (Poll::Ready(Some(Ok(frame))), Trailers) => assert!(frame.is_trailers()),
            (Poll::Ready(Some(Err(error))), Error) => assert_eq!(error, "broken"),
            (other, _) => panic!("{other:?}"),
        }
        assert!(body.is_end_stream());
    }
}

#[test]
fn a_large_chunk_is_not_copied() {
    let large = Bytes::from(vec![b'x'; MOST]);
    let mut body = begun([Chunk(large.clone()), chunk("b"), Chunk(large.clone())]);
    for n in 0..2 {
        let Poll::Ready(Some(Ok(frame))) = poll(&mut body) else {
            panic!("no frame")
        };
        let passed = frame.into_data().expect("data");
        assert_eq!(passed.as_ptr(), large.as_ptr());
        if n == 0 {
            assert_eq!(data(poll(&mut body)), "b");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn data_is_not_held_for_long_where_each_yield_takes_long() {
    let steady = (0..100).flat_map(|_| [chunk("x"), Wait]);
    let mut body = begun(steady);
    for _ in 0..4 {
        assert_pending!(poll(&mut body));
        tokio::time::advance(LONGEST / 4).await;
    }
    assert_eq!(data(poll(&mut body)), "xxxxx");
}

/// Steps that end as bodies do.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![8 => 0..200usize, 1 => 0..2 * MOST];
    let chunk = (size, any::<u8>()).prop_map(|(size, byte)| Chunk(vec![byte; size].into()));
    let step = prop_oneof![3 => chunk, 1 => Just(Wait)];
    let last = prop_oneof![Just(None), Just(Some(Trailers)), Just(Some(Error))];
    (prop::collection::vec(step, 0..400), last).prop_map(|(mut steps, last)| {
        steps.extend(last);
        steps
    })
}

proptest! {
    #[test]
    fn every_byte_is_passed_on_in_order_and_soon(steps in steps()) {
        let chunks = || steps.iter().filter_map(|step| match step {
            Chunk(data) => Some(data),
            _ => None,
        });
        let all: Vec<u8> = chunks().flatten().copied().collect();
        let mut body = gathered(steps.clone());
        let (mut passed, mut last, mut pending) = (Vec::new(), None, 0);
        loop {
            let rest = (all.len() - passed.len()) as u64;
            prop_assert_eq!(body.size_hint().exact(), Some(rest));
            let is_end = body.is_end_stream();
            match poll(&mut body) {
                Poll::Pending => {
                    // Data that was taken is passed on though nothing else happens.
                    pending += 1;
                    let held = !body.taken.is_empty();
                    prop_assert!(body.is_woken() || !held && body.next.is_none());
                    prop_assert!(!held || body.taken.yields <= YIELDS);
                }
                Poll::Ready(Some(Ok(frame))) => {
                    prop_assert!(!is_end && last.is_none());
                    match frame.into_data() {
                        Ok(data) => {
                            prop_assert!(data.len() <= MOST || chunks().any(|chunk| *chunk == data));
                            passed.extend_from_slice(&data);
                        }
                        Err(_) => last = Some("trailers"),
                    }
                }
                Poll::Ready(Some(Err(error))) => last = Some(error),
                Poll::Ready(None) => break,
            }
            if last == Some("broken") {
                break;
            }
        }
        prop_assert_eq!(passed, all);
        // An error waits for what came before it to be written.
        let waits = steps.iter().filter(|step| matches!(step, Wait | Error)).count();
        prop_assert!(pending <= waits);
        let expected = match steps.last() {
            Some(Trailers) => Some("trailers"),
            Some(Error) => Some("broken"),
            _ => None,
        };
        prop_assert_eq!(last, expected);
    }
}
